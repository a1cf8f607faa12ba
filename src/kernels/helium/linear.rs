//! Fully connected layers: a vector of features of four rows at a time.

use super::requantize::apply_all;
use crate::kernels::features::Features;
use crate::quantize::Element;
use crate::{Requantize, StaticKernels};

/// Rows whose sums are requantised at a time.
const BLOCK: usize = 32;

/// Rows that are multiplied at a time.
#[cfg(target_arch = "arm")]
const ROWS: usize = 4;

/// Multiplies a vector by a matrix; returns whether there is a loop for the input: there is none for int16 with a zero point.
#[inline(always)]
pub(crate) fn linear<X: Element, Y: Element>(
    kernels: &StaticKernels<'_>,
    zero_point: i32,
    requantize: &Requantize<'_>,
    input: &[X],
    output: &mut [Y],
) -> bool {
    let Some(input) = Features::of(input, zero_point) else { return false };
    let len = input.len();
    let mut sums = [0; BLOCK];
    let mut first = 0;
    for rows in kernels.weights().chunks(BLOCK * len) {
        let count = rows.len() / len;
        input.multiply(rows, count, &mut sums);
        apply_all(requantize, first, kernels.bias(), &sums[..count], output);
        first += count;
    }
    true
}

impl Features<'_> {
    /// Puts the products with so many rows where sums are.
    ///
    /// # Panics
    ///
    /// If rows are not as many, or none.
    #[inline(never)]
    fn multiply(self, rows: &[i8], count: usize, sums: &mut [i32; BLOCK]) {
        assert!(count > 0 && count <= BLOCK && rows.len() == self.len() * count);
        #[cfg(target_arch = "arm")]
        self.native(rows, count, sums);
        #[cfg(not(target_arch = "arm"))]
        self.computed(rows, sums);
    }

    #[cfg(target_arch = "arm")]
    #[allow(unsafe_code, reason = "loops that the compiler does not find")]
    fn native(self, rows: &[i8], count: usize, sums: &mut [i32; BLOCK]) {
        let stride = self.len();
        let (input, zero_point) = match self {
            Self::Narrow { input, zero_point } => (input.as_ptr(), zero_point),
            Self::Wide(input) => (input.as_ptr().cast(), 0),
        };
        let whole = count / ROWS * ROWS;
        let mut call = arm::Call {
            sums: sums.as_mut_ptr(),
            sums_end: sums[whole..].as_mut_ptr(),
            input,
            row: rows.as_ptr(),
            steps: [stride; 3],
            whole_end: input.wrapping_add(stride / 16 * 16),
            len: stride,
            zero_point,
        };
        let multiply = match self {
            Self::Narrow { .. } => arm::narrow,
            Self::Wide(_) => arm::wide,
        };
        if whole > 0 {
            // SAFETY: the input has so many features, and so many rows of as many weights are left, as the caller has checked.
            unsafe { multiply(&mut call) };
        }
        if whole < count {
            // Rows that are missing of four are the last of those that there are.
            let steps = core::array::from_fn(|row| if whole + row + 1 < count { stride } else { 0 });
            let end = call.sums.wrapping_add(ROWS);
            call = arm::Call { steps, sums_end: end, ..call };
            // SAFETY: as above; sums, of which there are whole fours, have room for all four.
            unsafe { multiply(&mut call) };
        }
    }

    #[cfg(not(target_arch = "arm"))]
    fn computed(self, rows: &[i8], sums: &mut [i32; BLOCK]) {
        use crate::kernels::portable::dot;
        for (sum, row) in sums.iter_mut().zip(rows.chunks_exact(self.len())) {
            *sum = match self {
                Self::Narrow { input, zero_point } => dot(input, row, zero_point),
                Self::Wide(input) => dot(input, row, 0),
            };
        }
    }
}

#[cfg(target_arch = "arm")]
mod arm {
    #![allow(unsafe_code, reason = "loops that need every register")]

    use core::arch::asm;

    /// What the loops read, and walk along. Steps are in bytes.
    #[repr(C)]
    pub(super) struct Call {
        pub(super) sums: *mut i32,
        pub(super) sums_end: *mut i32,
        pub(super) input: *const i8,
        pub(super) row: *const i8,
        /// From each of four rows to the next.
        pub(super) steps: [usize; 3],
        /// Where features end that fill vectors.
        pub(super) whole_end: *const i8,
        pub(super) len: usize,
        pub(super) zero_point: i32,
    }

    // r1 features; r3 r5 r7 r9 rows; r11 end of features; r0 r2 r4 r6 sums of products; r8 r10 r12 lr sums of weights.

    /// Sixteen int8 features of four rows.
    macro_rules! sixteen {
        ($vpst:literal, $load:literal) => {
            concat!(
                $vpst,
                "\n",
                $load,
                " q0, [r1], #16\n",
                $vpst,
                "\n",
                $load,
                " q1, [r3], #16\n",
                "vmladava.s8 r0, q0, q1\n",
                $vpst,
                "\n",
                $load,
                " q2, [r5], #16\n",
                "vaddva.s8 r8, q1\n",
                "vmladava.s8 r2, q0, q2\n",
                $vpst,
                "\n",
                $load,
                " q1, [r7], #16\n",
                "vaddva.s8 r10, q2\n",
                "vmladava.s8 r4, q0, q1\n",
                $vpst,
                "\n",
                $load,
                " q2, [r9], #16\n",
                "vaddva.s8 r12, q1\n",
                "vmladava.s8 r6, q0, q2\n",
                "vaddva.s8 lr, q2\n",
            )
        };
    }

    /// Multiplies int8 features: fifteen instructions for sixteen of four rows.
    ///
    /// # Safety
    ///
    /// There are so many features, and rows of as many weights, `steps` apart; the step to the next four is four times the
    /// first step, which `sums_end` says how often it is made.
    #[inline(never)]
    pub(super) unsafe fn narrow(call: &mut Call) {
        // SAFETY: the caller promises that all of these can be read and written; registers that are no operands are saved
        // and restored. What is left of a vector is switched off.
        unsafe {
            asm!(
                "push {{r4-r11, lr}}",
                "2:",
                "ldr r11, [r0, #28]",
                "push {{r0}}",
                "ldrd r1, r3, [r0, #8]",
                "ldrd r5, r7, [r0, #16]",
                "ldr r9, [r0, #24]",
                "add r5, r3",
                "add r7, r5",
                "add r9, r7",
                "mov r0, #0",
                "mov r2, #0",
                "mov r4, #0",
                "mov r6, #0",
                "mov r8, #0",
                "mov r10, #0",
                "mov r12, #0",
                "mov lr, #0",
                "cmp r1, r11",
                "beq 4f",
                "3:",
                sixteen!("", "vldrb.u8"),
                "cmp r1, r11",
                "bne 3b",
                "4:",
                "ldr r11, [sp]",
                "ldr r11, [r11, #32]",
                "ands r11, r11, #15",
                "beq 5f",
                "vctp.8 r11",
                sixteen!("vpst", "vldrbt.u8"),
                "5:",
                "pop {{r11}}",
                "ldr r1, [r11, #36]",
                "mls r0, r8, r1, r0",
                "mls r2, r10, r1, r2",
                "mls r4, r12, r1, r4",
                "mls r6, lr, r1, r6",
                "ldrd r8, r10, [r11]",
                "stmia r8!, {{r0, r2, r4, r6}}",
                "ldrd r1, r3, [r11, #12]",
                "add r1, r1, r3, lsl #2",
                "str r1, [r11, #12]",
                "str r8, [r11]",
                "mov r0, r11",
                "cmp r8, r10",
                "bne 2b",
                "pop {{r4-r11, lr}}",
                inout("r0") call => _,
                out("r1") _,
                out("r2") _,
                out("r3") _,
                out("r12") _,
                out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _,
            )
        }
    }

    /// Multiplies int16 features: ten instructions for eight of four rows.
    ///
    /// # Safety
    ///
    /// As above.
    #[inline(never)]
    pub(super) unsafe fn wide(call: &mut Call) {
        // SAFETY: as above.
        unsafe {
            asm!(
                "push {{r4-r11, lr}}",
                "mov r12, r0",
                "2:",
                "ldrd r9, r1, [r12, #8]",
                "ldrd r3, r5, [r12, #16]",
                "ldr r7, [r12, #24]",
                "add r3, r1",
                "add r5, r3",
                "add r7, r5",
                "mov r0, #0",
                "mov r2, #0",
                "mov r4, #0",
                "mov r6, #0",
                "ldr r8, [r12, #32]",
                "dlstp.16 lr, r8",
                "3:",
                "vldrh.u16 q0, [r9], #16",
                "vldrb.s16 q1, [r1], #8",
                "vmladava.s16 r0, q0, q1",
                "vldrb.s16 q2, [r3], #8",
                "vmladava.s16 r2, q0, q2",
                "vldrb.s16 q1, [r5], #8",
                "vmladava.s16 r4, q0, q1",
                "vldrb.s16 q2, [r7], #8",
                "vmladava.s16 r6, q0, q2",
                "letp lr, 3b",
                "ldrd r8, r10, [r12]",
                "stmia r8!, {{r0, r2, r4, r6}}",
                "ldrd r1, r3, [r12, #12]",
                "add r1, r1, r3, lsl #2",
                "str r1, [r12, #12]",
                "str r8, [r12]",
                "cmp r8, r10",
                "bne 2b",
                "pop {{r4-r11, lr}}",
                inout("r0") call => _,
                out("r1") _,
                out("r2") _,
                out("r3") _,
                out("r12") _,
                out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _,
            )
        }
    }
}
