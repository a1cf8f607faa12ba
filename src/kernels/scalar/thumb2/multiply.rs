//! The inner loop of convolutions.

use core::arch::asm;

use super::super::call::Call;

/// Multiplies packed columns: eleven instructions for two weights and four pixels.
///
/// # Safety
///
/// The pointers of the call are those of the slices that their names say. There is a channel, each output can take a byte for
/// every one, and there are as many kernels as packed columns are long.
#[inline(never)]
pub(in super::super) unsafe fn multiply_packed(call: *mut Call, kernels: *const i8) {
    // r0 kernel; r1 columns; r2 r3 weights; r4..r7 columns, products; r8 r10 sums of products, r9 r11 of their upper halves;
    // r12 what makes lower halves of products positive; lr end of the columns. All sums are negative: so two products never
    // reach 2^15. On the stack: call, what r12 adds up to, words of the columns.
    macro_rules! two_taps {
        () => {
            "ldrsb r2, [r0], #1
             ldmia r1!, {{r4-r7}}
             ldrsb r3, [r0], #1
             mls r4, r4, r2, r12
             mls r5, r5, r2, r12
             mls r4, r6, r3, r4
             mls r5, r7, r3, r5
             add r8, r8, r4
             add r9, r9, r4, asr #16
             add r10, r10, r5
             add r11, r11, r5, asr #16
             "
        };
    }
    // SAFETY: the caller promises that all of these can be read and written; registers that are no operands are saved and
    // restored.
    unsafe {
        asm!(
            "push {{r4-r11, lr}}",
            "ldr r3, [r0, #44]",
            "adds r2, r3, #2",
            "lsrs r2, r2, #2",
            "lsls r2, r2, #15",
            "push {{r0, r2, r3}}",
            "mov r0, r1",
            "mov r12, #0x8000",
            // A channel.
            "2:",
            "ldrd r2, r3, [sp]",
            "ldr r4, [r2, #16]",
            "ldrd r1, lr, [r2, #32]",
            "ldr r9, [r4]",
            "rsb r9, r9, #0",
            "mov r11, r9",
            "sub r8, r9, r3",
            "add r8, r8, r9, lsl #16",
            "mov r10, r8",
            "cmp r1, lr",
            "beq 4f",
            "3:",
            two_taps!(),
            "cmp r1, lr",
            "bne 3b",
            "4:",
            "ldr r2, [sp]",
            "ldr lr, [r2, #40]",
            "cmp r1, lr",
            "beq 6f",
            "5:",
            two_taps!(),
            two_taps!(),
            two_taps!(),
            two_taps!(),
            "cmp r1, lr",
            "bne 5b",
            "6:",
            // The last of an odd number of taps.
            "ldr r2, [sp, #8]",
            "lsls r2, r2, #30",
            "beq 7f",
            "ldrsb r2, [r0], #1",
            "ldmia r1!, {{r4, r5}}",
            "mls r4, r4, r2, r12",
            "mls r5, r5, r2, r12",
            "add r8, r8, r4",
            "add r9, r9, r4, asr #16",
            "add r10, r10, r5",
            "add r11, r11, r5, asr #16",
            "7:",
            "rsb r8, r8, r9, lsl #16",
            "rsb r10, r10, r11, lsl #16",
            "rsb r9, r9, #0",
            "rsb r11, r11, #0",
            requantize!(),
            "bne 2b",
            "add sp, #12",
            "pop {{r4-r11, lr}}",
            inout("r0") call => _,
            inout("r1") kernels => _,
            out("r2") _,
            out("r3") _,
            out("r12") _,
        )
    }
}

channels!(
    /// Multiplies columns of a word a pixel: six instructions for a weight and four pixels.
    multiply,
    i16,
    "ldrsh r2, [r0], #2
     ldmia r1!, {{r4-r7}}
     mla r8, r4, r2, r8
     mla r9, r5, r2, r9
     mla r10, r6, r2, r10
     mla r11, r7, r2, r11"
);
