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
            // r0..r3 ends of rows; r4 what is left, negative; r5 end of the inputs; r6 input; r7 weight; r8..r11 sums;
            // lr offset. On the stack: call.
            macro_rules! input {
                () => {
                    concat!(
                        $load,
                        "
                         add r6, lr
                         ldrsb r7, [r0, r4]
                         muls r7, r6, r7
                         add r8, r7
                         ldrsb r7, [r1, r4]
                         muls r7, r6, r7
                         add r9, r7
                         ldrsb r7, [r2, r4]
                         muls r7, r6, r7
                         add r10, r7
                         ldrsb r7, [r3, r4]
                         muls r7, r6, r7
                         add r11, r7
                         adds r4, #1
                         "
                    )
                };
            }
            // SAFETY: the caller promises that all of these can be read and written; registers that are no operands are saved
            // and restored.
            unsafe {
                asm!(
                    save!(),
                    "push {{r0}}",
                    "ldr r6, [r0, #16]",
                    "mov lr, r6",
                    "ldr r4, [r0, #12]",
                    "ldr r5, [r0, #4]",
                    "ldr r0, [r0, #8]",
                    "adds r0, r0, r4",
                    "adds r1, r0, r4",
                    "adds r2, r1, r4",
                    "adds r3, r2, r4",
                    "movs r6, #0",
                    "mov r8, r6",
                    "mov r9, r6",
                    "mov r10, r6",
                    "mov r11, r6",
                    "negs r4, r4",
                    "lsls r6, r4, #31",
                    "bne 3f",
                    "2:",
                    input!(),
                    "3:",
                    input!(),
                    "bne 2b",
                    "pop {{r0}}",
                    "adds r0, #20",
                    "mov r4, r8",
                    "mov r5, r9",
                    "mov r6, r10",
                    "mov r7, r11",
                    "stmia r0!, {{r4-r7}}",
                    restore!(),
                    inout("r0") call => _,
                    out("r1") _,
                    out("r2") _,
                    out("r3") _,
                )
            }
        }
    };
}

rows!(
    /// Multiplies four rows with int8 inputs: fifteen instructions for an input.
    multiply_int8,
    i8,
    "ldrsb r6, [r5, r4]"
);
rows!(
    /// The same with int16 inputs, one instruction more.
    multiply_int16,
    i16,
    "lsls r6, r4, #1
     ldrsh r6, [r5, r6]"
);
