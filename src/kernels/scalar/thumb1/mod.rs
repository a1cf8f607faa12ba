//! Loops in the first Thumb. They save and restore the registers that are no operands themselves, since the compiler knows no
//! high ones as operands here.

#![allow(unsafe_code, reason = "loops that need every register")]

macro_rules! save {
    () => {
        "push {{r4-r7, lr}}
         mov r4, r8
         mov r5, r9
         mov r6, r10
         mov r7, r11
         push {{r4-r7}}
         "
    };
}

macro_rules! restore {
    () => {
        "pop {{r4-r7}}
         mov r8, r4
         mov r9, r5
         mov r10, r6
         mov r11, r7
         pop {{r4-r7}}
         pop {{r3}}
         mov lr, r3
         "
    };
}

/// `(sum multiplier + 2^31) / 2^32` of r2, put together of products of halves; r6 and r7 are the halves of the multiplier. Leaves r0
/// and r1 alone.
macro_rules! rescale {
    () => {
        "uxth r3, r2
         asrs r2, r2, #16
         movs r4, r3
         muls r4, r6, r4
         lsrs r4, r4, #16
         muls r3, r7, r3
         adds r4, r4, r3
         movs r3, r2
         muls r3, r6, r3
         muls r2, r7, r2
         asrs r5, r3, #16
         adds r2, r2, r5
         uxth r3, r3
         adds r3, r3, r4
         lsrs r3, r3, #16
         adcs r2, r3
         "
    };
}

/// The int8 that is nearest to r2.
macro_rules! saturate {
    () => {
        "sxtb r3, r2
         cmp r2, r3
         beq 8f
         asrs r2, r2, #31
         movs r3, #127
         eors r2, r3
         8:
         "
    };
}

/// Requantises one of a channel's sums, which lies on the stack. r0 is the call.
macro_rules! requantize_one {
    ($offset:literal) => {
        concat!(
            "ldr r2, [sp, #",
            $offset,
            "]
             ",
            rescale!(),
            "ldr r3, [r0, #28]
             adds r2, r2, r3
             ",
            saturate!(),
            "ldr r3, [r0, #",
            $offset,
            "]
             strb r2, [r3]
             adds r3, #1
             str r3, [r0, #",
            $offset,
            "]
             "
        )
    };
}

/// Requantises a channel's sums, on top of the stack, and steps to the next: not equal, if there is one. The call lies below
/// the sums. Leaves r0 and the high registers but r8 alone.
macro_rules! requantize {
    () => {
        concat!(
            "mov r8, r0
             ldr r0, [sp, #16]
             ldr r6, [r0, #20]
             ldmia r6!, {{r7}}
             str r6, [r0, #20]
             uxth r6, r7
             lsrs r7, r7, #16
             ",
            requantize_one!("0"),
            requantize_one!("4"),
            requantize_one!("8"),
            requantize_one!("12"),
            "ldr r2, [r0, #16]
             adds r2, #4
             str r2, [r0, #16]
             ldr r3, [r0, #24]
             mov r0, r8
             cmp r2, r3
             "
        )
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
            // r0 kernel; r1 columns; r2 input; r3 weight; r4..r7 numbers; r8..r11 sums; lr end of the columns. On the stack:
            // sums of the pixels, call.
            // SAFETY: the caller promises that all of these can be read and written; registers that are no operands are saved
            // and restored.
            unsafe {
                asm!(
                    save!(),
                    "push {{r0}}",
                    "sub sp, #16",
                    "movs r0, r1",
                    // A channel.
                    "2:",
                    "ldr r3, [sp, #16]",
                    "ldr r4, [r3, #16]",
                    "ldr r4, [r4]",
                    "mov r8, r4",
                    "mov r9, r4",
                    "mov r10, r4",
                    "mov r11, r4",
                    "ldr r1, [r3, #32]",
                    "ldr r2, [r3, #48]",
                    "ldr r4, [r3, #36]",
                    "mov lr, r4",
                    "cmp r1, lr",
                    "beq 4f",
                    "3:",
                    $tap,
                    "cmp r1, lr",
                    "bne 3b",
                    "4:",
                    "ldr r3, [sp, #16]",
                    "ldr r4, [r3, #40]",
                    "mov lr, r4",
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
                    "ldr r3, [sp, #16]",
                    "adds r2, #1",
                    "str r2, [r3, #48]",
                    "mov r4, r8",
                    "mov r5, r9",
                    "mov r6, r10",
                    "mov r7, r11",
                    "mov r3, sp",
                    "stmia r3!, {{r4-r7}}",
                    requantize!(),
                    "beq 9f",
                    "b 2b",
                    "9:",
                    "add sp, #20",
                    restore!(),
                    inout("r0") call => _,
                    inout("r1") kernels => _,
                    out("r2") _,
                    out("r3") _,
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
