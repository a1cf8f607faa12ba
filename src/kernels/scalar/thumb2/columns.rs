//! What four pixels see, side by side.

use core::arch::asm;

macro_rules! columns {
    ($(#[$doc:meta])* $name:ident, $shift:literal, $put:literal) => {
        $(#[$doc])*
        ///
        /// # Safety
        ///
        /// From each of the runs `len` numbers can be read, at least one, and as many taps written.
        #[inline(never)]
        pub(in super::super) unsafe fn $name(runs: &[*const i8; 4], len: usize, columns: *mut i32) {
            // r0..r3 runs; r4 columns; r5..r8 numbers; lr end of the columns.
            // SAFETY: the caller promises that all of these can be read and written; registers that are no operands are saved
            // and restored.
            unsafe {
                asm!(
                    "push {{r4-r8, lr}}",
                    "mov r4, r2",
                    concat!("add lr, r4, r1, lsl #", $shift),
                    "lsls r5, r1, #31",
                    "ldmia r0, {{r0-r3}}",
                    "bne 3f",
                    "2:",
                    "ldrsb r5, [r0], #1",
                    "ldrsb r6, [r1], #1",
                    "ldrsb r7, [r2], #1",
                    "ldrsb r8, [r3], #1",
                    $put,
                    "3:",
                    "ldrsb r5, [r0], #1",
                    "ldrsb r6, [r1], #1",
                    "ldrsb r7, [r2], #1",
                    "ldrsb r8, [r3], #1",
                    $put,
                    "cmp r4, lr",
                    "bne 2b",
                    "pop {{r4-r8, lr}}",
                    inout("r0") runs => _,
                    inout("r1") len => _,
                    inout("r2") columns => _,
                    out("r3") _,
                )
            }
        }
    };
}

columns!(
    /// Two pixels a word.
    pack,
    "3",
    "add r5, r5, r6, lsl #16
     add r6, r7, r8, lsl #16
     stmia r4!, {{r5, r6}}"
);
columns!(
    /// A word a pixel.
    spread,
    "4",
    "stmia r4!, {{r5-r8}}"
);
