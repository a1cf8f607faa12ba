//! The inner loops of fully connected layers.

use core::arch::asm;

use super::super::linear::{Loops, Rows};

// r0 lr weights; r1 inputs; r2 their end; r3 the first row, whose address steps on, so that it comes last; r4 input; r5 r6 one and
// three lengths of a row; r7..r11 sums; r12 offset. On the stack: call.
macro_rules! one_row {
    ($load:literal) => {
        concat!(
            $load,
            "
             ldrsb r0, [r3], #1
             add r4, r4, r12
             mla r8, r0, r4, r8
             "
        )
    };
}
macro_rules! four_rows {
    ($load:literal) => {
        concat!(
            $load,
            "
             ldrsb r0, [r3, r5]
             ldrsb lr, [r3, r5, lsl #1]
             add r4, r4, r12
             mla r9, r0, r4, r9
             mla r10, lr, r4, r10
             ldrsb r0, [r3, r6]
             ldrsb lr, [r3], #1
             mla r11, r0, r4, r11
             mla r8, lr, r4, r8
             "
        )
    };
}
macro_rules! five_rows {
    ($load:literal) => {
        concat!(
            $load,
            "
             ldrsb r0, [r3, r5]
             ldrsb lr, [r3, r5, lsl #1]
             add r4, r4, r12
             mla r8, r0, r4, r8
             mla r9, lr, r4, r9
             ldrsb r0, [r3, r6]
             ldrsb lr, [r3, r5, lsl #2]
             mla r10, r0, r4, r10
             ldrsb r0, [r3], #1
             mla r11, lr, r4, r11
             mla r7, r0, r4, r7
             "
        )
    };
}
// A sum, and its multiplier; r0 call; r12 zero point.
macro_rules! rescale {
    ($sum:literal, $multiplier:literal) => {
        concat!(
            "smull r1, ",
            $sum,
            ", ",
            $sum,
            ", ",
            $multiplier,
            "
             adds r1, #0x80000000
             adc ",
            $sum,
            ", ",
            $sum,
            ", r12
             "
        )
    };
}
macro_rules! put {
    (int8, $sum:literal) => {
        concat!("ssat r2, #8, ", $sum, "\n strb r2, [r1], #1\n")
    };
    (int16, $sum:literal) => {
        concat!("ssat r2, #16, ", $sum, "\n strh r2, [r1], #2\n")
    };
}
// `$biases` walk along lr, `$multipliers` along r1; the row after these goes to lr.
macro_rules! rows {
    (
        $name:ident, $output:ident, $load:literal, $scale:literal, $rows:ident,
        $biases:literal, $next:literal, $multipliers:literal, $($sum:literal $multiplier:literal),+
    ) => {
        /// Multiplies some rows at a time.
        ///
        /// # Safety
        ///
        /// The pointers of the call are those that their names say: there is an input, `len` of them, and up to `output_end` there is
        /// a multiple of so many outputs, at least one, each with a row of `len` weights, a bias and a multiplier.
        #[inline(never)]
        unsafe fn $name(call: *mut Rows) {
            // SAFETY: the caller promises that all of these can be read and written; registers that are no operands are saved
            // and restored.
            unsafe {
                asm!(
                    "push {{r4-r11, lr}}",
                    "push {{r0}}",
                    // Some rows.
                    "2:",
                    "ldr lr, [r0, #16]",
                    $biases,
                    "str lr, [r0, #16]",
                    "ldrd r1, r5, [r0]",
                    "ldrd r12, r3, [r0, #8]",
                    concat!("add r2, r1, r5, lsl #", $scale),
                    "add r6, r5, r5, lsl #1",
                    $next,
                    "str lr, [r0, #12]",
                    // Four inputs at a time; the first of them are left out that would be too many.
                    "ands r0, r5, #3",
                    "beq 3f",
                    "cmp r0, #2",
                    "bhi 4f",
                    "beq 5f",
                    "b 6f",
                    "3:",
                    $rows!($load),
                    "4:",
                    $rows!($load),
                    "5:",
                    $rows!($load),
                    "6:",
                    $rows!($load),
                    "cmp r1, r2",
                    "bne 3b",
                    "ldr r0, [sp]",
                    "ldrd r1, r12, [r0, #20]",
                    $multipliers,
                    "str r1, [r0, #20]",
                    $(rescale!($sum, $multiplier),)+
                    "ldrd r1, r3, [r0, #28]",
                    $(put!($output, $sum),)+
                    "str r1, [r0, #28]",
                    "cmp r1, r3",
                    "bne 2b",
                    "add sp, #4",
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
macro_rules! loops {
    ($name:ident, $one:ident, $four:ident, $five:ident, $load:literal, $scale:literal, $output:ident) => {
        rows!(
            $one,
            $output,
            $load,
            $scale,
            one_row,
            "ldr r8, [lr], #4",
            "add lr, r3, r5",
            "ldr r2, [r1], #4",
            "r8" "r2"
        );
        rows!(
            $four,
            $output,
            $load,
            $scale,
            four_rows,
            "ldmia lr!, {{r8-r11}}",
            "add lr, r3, r5, lsl #2",
            "ldmia r1!, {{r2-r5}}",
            "r8" "r2", "r9" "r3", "r10" "r4", "r11" "r5"
        );
        rows!(
            $five,
            $output,
            $load,
            $scale,
            five_rows,
            "ldmia lr!, {{r7-r11}}",
            "add lr, r3, r5, lsl #2
             add lr, r5",
            "ldmia r1!, {{r2-r6}}",
            "r7" "r2", "r8" "r3", "r9" "r4", "r10" "r5", "r11" "r6"
        );
        pub(in super::super) const $name: Loops = [$five, $four, $one];
    };
}
macro_rules! loops_for_int8 {
    ($name:ident, $one:ident, $four:ident, $five:ident, $output:ident) => {
        loops!($name, $one, $four, $five, "ldrsb r4, [r1], #1", "0", $output);
    };
}
macro_rules! loops_for_int16 {
    ($name:ident, $one:ident, $four:ident, $five:ident, $output:ident) => {
        loops!($name, $one, $four, $five, "ldrsh r4, [r1], #2", "1", $output);
    };
}
loops_for_int8!(INT8_TO_INT8, int8_to_int8_1, int8_to_int8_4, int8_to_int8_5, int8);
loops_for_int8!(INT8_TO_INT16, int8_to_int16_1, int8_to_int16_4, int8_to_int16_5, int16);
loops_for_int16!(INT16_TO_INT8, int16_to_int8_1, int16_to_int8_4, int16_to_int8_5, int8);
loops_for_int16!(INT16_TO_INT16, int16_to_int16_1, int16_to_int16_4, int16_to_int16_5, int16);
