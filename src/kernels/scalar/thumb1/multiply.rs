//! The inner loop of convolutions.

use core::arch::asm;

use super::super::call::Call;

/// Multiplies packed columns: twenty-one instructions for two weights and four pixels.
///
/// # Safety
///
/// The pointers of the call are those of the slices that their names say. There is a channel, each output can take a byte for
/// every one, and there are as many kernels as packed columns are long.
#[inline(never)]
pub(in super::super) unsafe fn multiply_packed(call: *mut Call, kernels: *const i8) {
    // r0 kernel; r1 columns; r2 r3 products; r4 weight; r5 columns; r6 r7 sums of products' upper halves, r8 r9 of products;
    // r10 end of the columns; r11 what makes lower halves of products positive. All sums are negative as the columns are. On the stack: sums of the pixels, call.
    macro_rules! two_taps {
        ($first:literal, $second:literal) => {
            concat!(
                "movs r4, #",
                $first,
                "
                 ldrsb r4, [r0, r4]
                 ldmia r1!, {{r2, r3}}
                 muls r2, r4, r2
                 muls r3, r4, r3
                 movs r4, #",
                $second,
                "
                 ldrsb r4, [r0, r4]
                 ldmia r1!, {{r5}}
                 muls r5, r4, r5
                 adds r2, r2, r5
                 ldmia r1!, {{r5}}
                 muls r5, r4, r5
                 adds r3, r3, r5
                 add r2, r11
                 add r8, r2
                 asrs r2, r2, #16
                 adds r6, r6, r2
                 add r3, r11
                 add r9, r3
                 asrs r3, r3, #16
                 adds r7, r7, r3
                 "
            )
        };
    }
    // SAFETY: the caller promises that all of these can be read and written; registers that are no operands are saved and
    // restored.
    unsafe {
        asm!(
            save!(),
            "push {{r0}}",
            "sub sp, #16",
            "movs r0, r1",
            "movs r2, #1",
            "lsls r2, r2, #15",
            "mov r11, r2",
            // A channel.
            "2:",
            "ldr r2, [sp, #16]",
            "ldr r3, [r2, #16]",
            "ldr r6, [r3]",
            "negs r6, r6",
            "movs r7, r6",
            "lsls r4, r6, #16",
            "adds r4, r4, r6",
            "ldr r3, [r2, #44]",
            "adds r3, #2",
            "lsrs r3, r3, #2",
            "lsls r3, r3, #15",
            "subs r4, r4, r3",
            "mov r8, r4",
            "mov r9, r4",
            "ldr r1, [r2, #32]",
            "ldr r4, [r2, #36]",
            "mov r10, r4",
            "cmp r1, r10",
            "beq 4f",
            "3:",
            two_taps!("0", "1"),
            "adds r0, #2",
            "cmp r1, r10",
            "bne 3b",
            "4:",
            "ldr r2, [sp, #16]",
            "ldr r4, [r2, #40]",
            "mov r10, r4",
            "cmp r1, r10",
            "beq 6f",
            "5:",
            two_taps!("0", "1"),
            two_taps!("2", "3"),
            two_taps!("4", "5"),
            two_taps!("6", "7"),
            "adds r0, #8",
            "cmp r1, r10",
            "bne 5b",
            "6:",
            // The last of an odd number of taps.
            "ldr r2, [sp, #16]",
            "ldr r2, [r2, #44]",
            "lsls r2, r2, #30",
            "beq 7f",
            "movs r4, #0",
            "ldrsb r4, [r0, r4]",
            "adds r0, #1",
            "ldmia r1!, {{r2, r3}}",
            "muls r2, r4, r2",
            "muls r3, r4, r3",
            "add r2, r11",
            "add r8, r2",
            "asrs r2, r2, #16",
            "adds r6, r6, r2",
            "add r3, r11",
            "add r9, r3",
            "asrs r3, r3, #16",
            "adds r7, r7, r3",
            "7:",
            "mov r3, r8",
            "lsls r2, r6, #16",
            "subs r2, r2, r3",
            "negs r3, r6",
            "mov r5, r9",
            "lsls r4, r7, #16",
            "subs r4, r4, r5",
            "negs r5, r7",
            "mov r6, sp",
            "stmia r6!, {{r2-r5}}",
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

channels!(
    /// Multiplies columns of a word a pixel: twelve instructions for a weight and four pixels.
    multiply,
    i16,
    "movs r3, #0
     ldrsh r3, [r0, r3]
     adds r0, #2
     ldmia r1!, {{r4-r7}}
     muls r4, r3, r4
     muls r5, r3, r5
     muls r6, r3, r6
     muls r7, r3, r7
     add r8, r4
     add r9, r5
     add r10, r6
     add r11, r7"
);
