//! The inner loops of fully connected layers.

use core::arch::asm;

use super::super::linear::Rows;

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
// `$biases` walk along lr, `$sums` along r1; the row after these goes to lr.
macro_rules! rows {
    (
        $name:ident, $input:ty, $load:literal, $scale:literal, $rows:ident,
        $biases:literal, $next:literal, $sums:literal
    ) => {
        /// Sums up biases and products for some rows at a time.
        ///
        /// # Safety
        ///
        /// There is an input, and `len` of them; there is a multiple of so many sums up to `sums_end`, at least one, and there are
        /// a bias and a row of `len` weights for each.
        #[inline(never)]
        pub(in super::super) unsafe fn $name(call: *mut Rows<$input>) {
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
                    "ldrd r1, r2, [r0, #20]",
                    $sums,
                    "str r1, [r0, #20]",
                    "cmp r1, r2",
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
macro_rules! one_four_and_five_rows {
    ($one:ident, $four:ident, $five:ident, $input:ty, $load:literal, $scale:literal) => {
        rows!($one, $input, $load, $scale, one_row, "ldr r8, [lr], #4", "add lr, r3, r5", "str r8, [r1], #4");
        rows!(
            $four,
            $input,
            $load,
            $scale,
            four_rows,
            "ldmia lr!, {{r8-r11}}",
            "add lr, r3, r5, lsl #2",
            "stmia r1!, {{r8-r11}}"
        );
        rows!(
            $five,
            $input,
            $load,
            $scale,
            five_rows,
            "ldmia lr!, {{r7-r11}}",
            "add lr, r3, r5, lsl #2
             add lr, r5",
            "stmia r1!, {{r7-r11}}"
        );
    };
}
one_four_and_five_rows!(int8_1, int8_4, int8_5, i8, "ldrsb r4, [r1], #1", "0");
one_four_and_five_rows!(int16_1, int16_4, int16_5, i16, "ldrsh r4, [r1], #2", "1");
