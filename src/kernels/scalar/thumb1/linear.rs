//! The inner loops of fully connected layers.

use core::arch::asm;

use super::super::linear::Rows;

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
// `$biases` and `$sums` walk along r7; `$ends` lie one length, r6, apart from r7 on, and the last goes to r6.
macro_rules! rows {
    (
        $name:ident, $input:ty, $load:literal, $scale:literal, $rows:ident,
        $biases:literal, $ends:literal, $sums:literal
    ) => {
        /// Sums up biases and products for some rows at a time.
        ///
        /// # Safety
        ///
        /// There is an input, and `len` of them; there is a multiple of so many sums up to `sums_end`, at least one, and there are
        /// a bias and a row of `len` weights for each.
        #[inline(never)]
        pub(in super::super) unsafe fn $name(call: *mut Rows<$input>) {
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
                    concat!("lsls r4, r6, #", $scale),
                    "adds r5, r5, r4",
                    "negs r4, r6",
                    "ldr r7, [r0]",
                    "adds r7, r7, r6",
                    $ends,
                    "str r6, [r0]",
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
                    "ldr r0, [sp, #4]",
                    "ldr r7, [r0, #20]",
                    $sums,
                    "str r7, [r0, #20]",
                    "ldr r1, [r0, #24]",
                    "cmp r7, r1",
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
macro_rules! one_four_and_five_rows {
    ($one:ident, $four:ident, $five:ident, $input:ty, $load:literal, $scale:literal) => {
        rows!(
            $one,
            $input,
            $load,
            $scale,
            one_row,
            "ldmia r7!, {{r1}}
             mov r8, r1",
            "mov r6, r7",
            "mov r1, r8
             stmia r7!, {{r1}}"
        );
        rows!(
            $four,
            $input,
            $load,
            $scale,
            four_rows,
            "ldmia r7!, {{r1-r4}}
             mov r8, r1
             mov r9, r2
             mov r10, r3
             mov r11, r4",
            "adds r1, r7, r6
             adds r2, r1, r6
             adds r3, r2, r6
             mov r6, r3",
            "mov r1, r8
             mov r2, r9
             mov r3, r10
             mov r4, r11
             stmia r7!, {{r1-r4}}"
        );
        rows!(
            $five,
            $input,
            $load,
            $scale,
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
             str r6, [sp]",
            "mov r1, r8
             mov r2, r9
             mov r3, r10
             mov r4, r11
             mov r5, r12
             stmia r7!, {{r1-r5}}"
        );
    };
}
one_four_and_five_rows!(int8_1, int8_4, int8_5, i8, "ldrsb r6, [r5, r4]", "0");
one_four_and_five_rows!(
    int16_1,
    int16_4,
    int16_5,
    i16,
    "lsls r6, r4, #1
     ldrsh r6, [r5, r6]",
    "1"
);
