//! The inner loop of fully connected layers.

use core::arch::asm;

use super::super::linear::Rows;

macro_rules! rows {
    ($(#[$doc:meta])* $name:ident, $input:ty, $load:literal) => {
        $(#[$doc])*
        ///
        /// # Safety
        ///
        /// There are inputs from `input` to `input_end`, `len` of them and at least one; from `rows` on there are four times as
        /// many weights.
        #[inline(never)]
        pub(in super::super) unsafe fn $name(call: *mut Rows<$input>) {
            // r0 lr weights; r1 inputs; r2 their end; r3 r5 r6 r7 rows; r4 input; r8..r11 sums; r12 offset. On the stack: call.
            macro_rules! input {
                () => {
                    concat!(
                        $load,
                        "
                         ldrsb r0, [r3], #1
                         ldrsb lr, [r5], #1
                         add r4, r4, r12
                         mla r8, r0, r4, r8
                         mla r9, lr, r4, r9
                         ldrsb r0, [r6], #1
                         ldrsb lr, [r7], #1
                         mla r10, r0, r4, r10
                         mla r11, lr, r4, r11
                         "
                    )
                };
            }
            // SAFETY: the caller promises that all of these can be read and written; registers that are no operands are saved
            // and restored.
            unsafe {
                asm!(
                    "push {{r4-r11, lr}}",
                    "push {{r0}}",
                    "ldmia r0, {{r1-r4, r12}}",
                    "add r5, r3, r4",
                    "add r6, r5, r4",
                    "add r7, r6, r4",
                    "mov r8, #0",
                    "mov r9, #0",
                    "mov r10, #0",
                    "mov r11, #0",
                    "lsls r4, r4, #31",
                    "bne 3f",
                    "2:",
                    input!(),
                    "3:",
                    input!(),
                    "cmp r1, r2",
                    "bne 2b",
                    "pop {{r0}}",
                    "adds r0, #20",
                    "stmia r0, {{r8-r11}}",
                    "pop {{r4-r11, lr}}",
                    inout("r0") call => _,
                    out("r1") _,
                    out("r2") _,
                    out("r3") _,
                    out("r12") _,
                )
            }
        }
    };
}

rows!(
    /// Multiplies four rows with int8 inputs: ten instructions for an input.
    multiply_int8,
    i8,
    "ldrsb r4, [r1], #1"
);
rows!(
    /// The same with int16 inputs.
    multiply_int16,
    i16,
    "ldrsh r4, [r1], #2"
);
