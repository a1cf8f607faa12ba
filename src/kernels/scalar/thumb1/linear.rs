//! The inner loops of fully connected layers.

use core::arch::asm;

use super::super::linear::{Loops, Rows};

// r0..r3 ends of rows, that of a fifth on top of the stack; r4 what is left, negative; r5 end of the inputs; r6 input; r7 weight;
// r8..r12 sums; lr offset. On the stack after the fifth row: call.
macro_rules! row {
    ($row:literal, $sum:literal) => {
        concat!("ldrsb r7, [", $row, ", r4]\n muls r7, r6, r7\n add ", $sum, ", r7\n")
    };
}
macro_rules! one_row {
    () => {
        row!("r0", "r8")
    };
}
macro_rules! four_rows {
    () => {
        concat!(row!("r0", "r8"), row!("r1", "r9"), row!("r2", "r10"), row!("r3", "r11"))
    };
}
macro_rules! five_rows {
    () => {
        concat!(four_rows!(), "ldr r7, [sp]\n", row!("r7", "r12"))
    };
}
// r0 output; r1 multiplier; lr zero point.
macro_rules! put {
    (int8, $sum:literal, $number:literal) => {
        concat!(
            "ldmia r1!, {{r7}}
             mov r2, ",
            $sum,
            "
             uxth r6, r7
             lsrs r7, r7, #16
             ",
            rescale!(),
            "add r2, lr
             ",
            saturate!(),
            "strb r2, [r0, #",
            $number,
            "]
             "
        )
    };
    (int16, $sum:literal, $number:literal) => {
        concat!(
            "ldmia r1!, {{r7}}
             mov r2, ",
            $sum,
            "
             uxth r6, r7
             lsrs r7, r7, #16
             ",
            rescale!(),
            "add r2, lr
             sxth r3, r2
             cmp r2, r3
             beq 8f
             asrs r2, r2, #31
             movs r3, #1
             lsls r3, r3, #15
             subs r3, #1
             eors r2, r3
             8:
             strh r2, [r0, #",
            $number,
            " * 2]
             "
        )
    };
}

// `$biases` walk along r7; `$end` makes r5 that of the inputs, and `$ends` are those of the rows, from r7 on one length, r6, apart.
macro_rules! rows {
    (
        $name:ident, $count:literal, $output:ident, $bytes:literal, $load:literal, $end:literal, $rows:ident,
        $biases:literal, $ends:literal, $($sum:literal $number:literal),+
    ) => {
        /// Multiplies some rows at a time.
        ///
        /// # Safety
        ///
        /// The pointers of the call are those that their names say: there is an input, `len` of them, and up to `output_end` there is
        /// a multiple of so many outputs, at least one, each with a row of `len` weights, a bias and a multiplier.
        #[inline(never)]
        unsafe fn $name(call: *mut Rows) {
            macro_rules! input {
                () => {
                    concat!($load, "\n add r6, lr\n", $rows!(), "adds r4, #1\n")
                };
            }
            // SAFETY: the caller promises that all of these can be read and written; registers that are no operands are saved
            // and restored.
            unsafe {
                asm!(
                    save!(),
                    "mov r4, r12",
                    "push {{r0, r4}}",
                    "sub sp, #4",
                    // Some rows.
                    "2:",
                    "ldr r7, [r0, #16]",
                    $biases,
                    "str r7, [r0, #16]",
                    "ldmia r0!, {{r5, r6, r7}}",
                    "mov lr, r7",
                    $end,
                    "negs r4, r6",
                    "ldr r7, [r0]",
                    "adds r7, r7, r6",
                    $ends,
                    "mov r0, r7",
                    // Four inputs at a time; the first of them are left out that would be too many.
                    "movs r6, #3",
                    "ands r6, r4",
                    "beq 3f",
                    "cmp r6, #2",
                    "bcc 4f",
                    "beq 5f",
                    "b 6f",
                    "3:",
                    input!(),
                    "4:",
                    input!(),
                    "5:",
                    input!(),
                    "6:",
                    input!(),
                    "bne 3b",
                    "ldr r3, [sp, #4]",
                    "ldr r1, [r3, #20]",
                    "ldr r2, [r3, #24]",
                    "mov lr, r2",
                    "ldr r0, [r3, #28]",
                    $(put!($output, $sum, $number),)+
                    "ldr r3, [sp, #4]",
                    "str r1, [r3, #20]",
                    concat!("adds r0, #", $count, " * ", $bytes),
                    "str r0, [r3, #28]",
                    "ldr r1, [r3, #32]",
                    "cmp r0, r1",
                    "mov r0, r3",
                    "beq 7f",
                    "b 2b",
                    "7:",
                    "add sp, #8",
                    "pop {{r4}}",
                    "mov r12, r4",
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
macro_rules! loops {
    ($name:ident, $one:ident, $four:ident, $five:ident, $load:literal, $end:literal, $output:ident, $bytes:literal) => {
        rows!(
            $one,
            "1",
            $output,
            $bytes,
            $load,
            $end,
            one_row,
            "ldmia r7!, {{r1}}
             mov r8, r1",
            "str r7, [r0]",
            "r8" "0"
        );
        rows!(
            $four,
            "4",
            $output,
            $bytes,
            $load,
            $end,
            four_rows,
            "ldmia r7!, {{r1-r4}}
             mov r8, r1
             mov r9, r2
             mov r10, r3
             mov r11, r4",
            "adds r1, r7, r6
             adds r2, r1, r6
             adds r3, r2, r6
             str r3, [r0]",
            "r8" "0", "r9" "1", "r10" "2", "r11" "3"
        );
        rows!(
            $five,
            "5",
            $output,
            $bytes,
            $load,
            $end,
            five_rows,
            "ldmia r7!, {{r1-r5}}
             mov r8, r1
             mov r9, r2
             mov r10, r3
             mov r11, r4
             mov r12, r5",
            "adds r1, r7, r6
             adds r2, r1, r6
             adds r3, r2, r6
             adds r6, r3, r6
             str r6, [sp]
             str r6, [r0]",
            "r8" "0", "r9" "1", "r10" "2", "r11" "3", "r12" "4"
        );
        pub(in super::super) const $name: Loops = [$five, $four, $one];
    };
}
macro_rules! loops_for_int8 {
    ($name:ident, $one:ident, $four:ident, $five:ident, $output:ident, $bytes:literal) => {
        loops!($name, $one, $four, $five, "ldrsb r6, [r5, r4]", "adds r5, r5, r6", $output, $bytes);
    };
}
macro_rules! loops_for_int16 {
    ($name:ident, $one:ident, $four:ident, $five:ident, $output:ident, $bytes:literal) => {
        loops!(
            $name,
            $one,
            $four,
            $five,
            "lsls r6, r4, #1\n ldrsh r6, [r5, r6]",
            "lsls r4, r6, #1\n adds r5, r5, r4",
            $output,
            $bytes
        );
    };
}
loops_for_int8!(INT8_TO_INT8, int8_to_int8_1, int8_to_int8_4, int8_to_int8_5, int8, "1");
loops_for_int8!(INT8_TO_INT16, int8_to_int16_1, int8_to_int16_4, int8_to_int16_5, int16, "2");
loops_for_int16!(INT16_TO_INT8, int16_to_int8_1, int16_to_int8_4, int16_to_int8_5, int8, "1");
loops_for_int16!(INT16_TO_INT16, int16_to_int16_1, int16_to_int16_4, int16_to_int16_5, int16, "2");
