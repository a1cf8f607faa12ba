//! What four pixels see, side by side.

use core::arch::asm;

macro_rules! columns {
    ($(#[$doc:meta])* $name:ident, $tap:expr) => {
        $(#[$doc])*
        ///
        /// # Safety
        ///
        /// From each of the runs `len` numbers can be read, at least one, and as many taps written.
        #[inline(never)]
        pub(in super::super) unsafe fn $name(runs: &[*const i8; 4], len: usize, columns: *mut i32) {
            // r0..r3 runs; r4 tap; r5 columns; r6 r7 numbers; r8 taps.
            // SAFETY: the caller promises that all of these can be read and written; registers that are no operands are saved
            // and restored.
            unsafe {
                asm!(
                    save!(),
                    "mov r8, r1",
                    "movs r5, r2",
                    "ldmia r0, {{r0-r3}}",
                    "movs r4, #0",
                    "2:",
                    $tap,
                    "adds r4, #1",
                    "cmp r4, r8",
                    "bne 2b",
                    restore!(),
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
    /// Two pixels a word, negated: then two products never reach 2^15.
    pack,
    "ldrsb r6, [r0, r4]
     ldrsb r7, [r1, r4]
     lsls r7, r7, #16
     adds r6, r6, r7
     negs r6, r6
     stmia r5!, {{r6}}
     ldrsb r6, [r2, r4]
     ldrsb r7, [r3, r4]
     lsls r7, r7, #16
     adds r6, r6, r7
     negs r6, r6
     stmia r5!, {{r6}}"
);
columns!(
    /// A word a pixel.
    spread,
    "ldrsb r6, [r0, r4]
     ldrsb r7, [r1, r4]
     stmia r5!, {{r6, r7}}
     ldrsb r6, [r2, r4]
     ldrsb r7, [r3, r4]
     stmia r5!, {{r6, r7}}"
);
