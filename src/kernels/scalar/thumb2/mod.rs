//! Loops in Thumb-2. They save and restore the registers that are no operands themselves, since the compiler lets some of
//! them be none.

#![allow(unsafe_code, reason = "loops that need every register")]

/// Requantises a channel's sums r8..r11 and steps to the next: not equal, if there is one. The call lies on top of the stack.
/// Leaves r0 and r12 alone.
macro_rules! requantize {
    () => {
        "ldr lr, [sp]
         add r1, lr, #16
         ldmia r1, {{r2-r5}}
         adds r2, #4
         ldr r6, [r3], #4
         stmia r1!, {{r2, r3}}
         mov r1, #0x80000000
         mov r3, r5
         smlal r1, r3, r8, r6
         mov r1, #0x80000000
         mov r7, r5
         smlal r1, r7, r9, r6
         mov r1, #0x80000000
         mov r8, r5
         smlal r1, r8, r10, r6
         mov r1, #0x80000000
         smlal r1, r5, r11, r6
         ssat r8, #8, r8
         ssat r9, #8, r3
         ssat r10, #8, r7
         ssat r11, #8, r5
         ldmia lr, {{r1, r3, r5, r6}}
         strb r9, [r1], #1
         strb r10, [r3], #1
         strb r8, [r5], #1
         strb r11, [r6], #1
         stmia lr, {{r1, r3, r5, r6}}
         cmp r2, r4
         "
    };
}

/// A loop over channels that makes one product for a weight and a pixel.
macro_rules! channels {
    ($(#[$doc:meta])* $name:ident, $weight:ty, $tap:expr) => {
        $(#[$doc])*
        ///
        /// # Safety
        ///
        /// The pointers of the call are those of the slices that their names say. There is a channel, each output can take a
        /// byte for every one, and there are as many kernels as columns are long.
        #[inline(never)]
        pub(in super::super) unsafe fn $name(call: *mut Call, kernels: *const $weight) {
            // r0 kernel; r1 columns; r2 weight; r4..r7 numbers; r8..r11 sums; r12 input; lr end of the columns. On the
            // stack: call.
            // SAFETY: the caller promises that all of these can be read and written; registers that are no operands are saved
            // and restored.
            unsafe {
                asm!(
                    "push {{r4-r11, lr}}",
                    "push {{r0}}",
                    "ldr r12, [r0, #48]",
                    "mov r0, r1",
                    // A channel.
                    "2:",
                    "ldr r3, [sp]",
                    "ldr r4, [r3, #16]",
                    "ldrd r1, lr, [r3, #32]",
                    "ldr r8, [r4]",
                    "mov r9, r8",
                    "mov r10, r8",
                    "mov r11, r8",
                    "cmp r1, lr",
                    "beq 4f",
                    "3:",
                    $tap,
                    "cmp r1, lr",
                    "bne 3b",
                    "4:",
                    "ldr lr, [r3, #40]",
                    "cmp r1, lr",
                    "beq 6f",
                    "5:",
                    $tap,
                    $tap,
                    $tap,
                    $tap,
                    "cmp r1, lr",
                    "bne 5b",
                    "6:",
                    "add r12, r12, #1",
                    requantize!(),
                    "bne 2b",
                    "add sp, #4",
                    "pop {{r4-r11, lr}}",
                    inout("r0") call => _,
                    inout("r1") kernels => _,
                    out("r2") _,
                    out("r3") _,
                    out("r12") _,
                )
            }
        }
    };
}

mod columns;
mod depthwise;
pub(super) mod linear;
mod multiply;

pub(super) use columns::{pack, spread};
pub(super) use depthwise::{depthwise_mixed, depthwise_static};
pub(super) use multiply::{multiply, multiply_packed};
