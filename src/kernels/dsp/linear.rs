//! Fully connected layers: four features of up to five rows at a time.

use super::both;
#[cfg(not(target_arch = "arm"))]
use super::{pair, widen};
use crate::quantize::Element;

#[derive(Clone, Copy)]
enum Input<'a> {
    Narrow {
        input: &'a [i8],
        zero_point: i32,
    },
    /// Of zero point zero.
    Wide(&'a [i16]),
}

/// As [`sums`](super::super::sums); returns whether there is a loop for the input: there is none for int16 with a zero point.
#[inline(always)]
pub(crate) fn sums<X: Element>(
    input: &[X],
    rows: &[i8],
    bias: &[i32],
    zero_point: i32,
    sums: &mut [i32],
) -> bool {
    let input = match (X::int8(input), X::int16(input)) {
        (Some(input), _) => Input::Narrow { input, zero_point },
        (None, Some(input)) if zero_point == 0 => Input::Wide(input),
        _ => return false,
    };
    input.multiply(rows, bias, sums);
    true
}

impl Input<'_> {
    const fn len(&self) -> usize {
        match self {
            Self::Narrow { input, .. } => input.len(),
            Self::Wide(input) => input.len(),
        }
    }

    /// The sums of biases and products, one a row.
    ///
    /// # Panics
    ///
    /// If rows, biases and sums are not as many.
    #[inline(never)]
    fn multiply(self, rows: &[i8], bias: &[i32], sums: &mut [i32]) {
        let len = self.len();
        assert!(rows.len() == len * sums.len() && bias.len() == sums.len());
        let whole = len / 4 * 4;
        if whole > 0 {
            #[cfg(target_arch = "arm")]
            self.native(rows, bias, sums);
            #[cfg(not(target_arch = "arm"))]
            self.computed(rows, bias, sums);
        } else {
            sums.copy_from_slice(bias);
        }
        if whole < len {
            for (sum, row) in sums.iter_mut().zip(rows.chunks_exact(len)) {
                for (k, weight) in row.iter().enumerate().skip(whole) {
                    let x = match self {
                        Self::Narrow { input, zero_point } => i32::from(input[k]) - zero_point,
                        Self::Wide(input) => input[k].into(),
                    };
                    *sum += i32::from(*weight) * x;
                }
            }
        }
    }

    #[cfg(target_arch = "arm")]
    #[allow(unsafe_code, reason = "a loop that the compiler does not find")]
    fn native(self, rows: &[i8], bias: &[i32], sums: &mut [i32]) {
        let stride = self.len();
        let groups = stride / 4;
        let (input, bytes, offset) = match self {
            Self::Narrow { input, zero_point } => (input.as_ptr(), 4, both(-zero_point)),
            Self::Wide(input) => (input.as_ptr().cast(), 8, 0),
        };
        let mut call = arm::Call {
            sums: sums.as_mut_ptr(),
            sums_end: core::ptr::null_mut(),
            input,
            odd_end: input.wrapping_add(groups % 2 * bytes),
            end: input.wrapping_add(groups * bytes),
            row: rows.as_ptr(),
            stride,
            offset,
            bias: bias.as_ptr(),
        };
        // Fives in place of fours take in rows that fill no four.
        let (fours, left) = (sums.len() / 4, sums.len() % 4);
        let fives = fours.min(left);
        let left = left - fives;
        let mut done = 0;
        for (count, times) in [(5, fives), (4, fours - fives), (2, left / 2), (1, left % 2)] {
            if times == 0 {
                continue;
            }
            done += count * times;
            call.sums_end = sums[done..].as_mut_ptr();
            // SAFETY: the input has at least one whole group of four features; there are a bias and a row of as many weights for
            // each sum, as the caller has checked; a multiple of so many rows is left as the loop takes at a time.
            unsafe {
                match (self, count) {
                    (Self::Narrow { .. }, 5) => arm::narrow_5(&mut call),
                    (Self::Narrow { .. }, 4) => arm::narrow_4(&mut call),
                    (Self::Narrow { .. }, 2) => arm::narrow_2(&mut call),
                    (Self::Narrow { .. }, _) => arm::narrow_1(&mut call),
                    (Self::Wide(_), 5) => arm::wide_5(&mut call),
                    (Self::Wide(_), 4) => arm::wide_4(&mut call),
                    (Self::Wide(_), 2) => arm::wide_2(&mut call),
                    (Self::Wide(_), _) => arm::wide_1(&mut call),
                }
            }
        }
    }

    #[cfg(not(target_arch = "arm"))]
    fn computed(self, rows: &[i8], bias: &[i32], sums: &mut [i32]) {
        use super::instructions::smlad;
        for ((sum, bias), row) in sums.iter_mut().zip(bias).zip(rows.chunks_exact(self.len())) {
            *sum = *bias;
            for (k, weights) in row.as_chunks::<4>().0.iter().enumerate() {
                let x = match self {
                    Self::Narrow { input, zero_point } => widen(input.as_chunks().0[k], both(-zero_point)),
                    Self::Wide(input) => {
                        let [a, b, c, d] = input.as_chunks().0[k].map(i32::from);
                        [pair(a, c), pair(b, d)]
                    }
                };
                let weights = widen(*weights, 0);
                *sum = smlad(weights[1], x[1], smlad(weights[0], x[0], *sum));
            }
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
        pub(super) odd_end: *const i8,
        pub(super) end: *const i8,
        pub(super) row: *const i8,
        pub(super) stride: usize,
        pub(super) offset: i32,
        pub(super) bias: *const i32,
    }

    // Four features: r0 input; r1 offset; to r6 r7.
    macro_rules! narrow {
        () => {
            "ldr r7, [r0], #4
             sxtab16 r6, r1, r7
             sxtab16 r7, r1, r7, ror #8
             "
        };
    }
    macro_rules! wide {
        () => {
            "ldr r8, [r0], #4
             ldr r9, [r0], #4
             pkhbt r6, r8, r9, lsl #16
             pkhtb r7, r9, r8, asr #16
             "
        };
    }
    // The first row comes last, for its address steps on.
    macro_rules! group {
        ($features:ident, $($row:literal $sum:literal),+) => {
            concat!(
                $features!(),
                $("ldr r8, ", $row, "
                   sxtb16 r9, r8
                   sxtb16 r8, r8, ror #8
                   smlad ", $sum, ", r9, r6, ", $sum, "
                   smlad ", $sum, ", r8, r7, ", $sum, "
                   ",)+
            )
        };
    }
    // Registers: those of `group`; r2 the first row, r3 and r4 one and three strides, r5 the end of the features but with five
    // rows, whose first sum it is. Biases are loaded from r9, sums stored to r0; r6 is to be the row after these. On the stack:
    // call, the end of the features.
    macro_rules! multiply {
        ($name:ident, $features:ident, $load:literal, $store:literal, $next:literal, $end:literal, $at_end:literal, $($row:literal $sum:literal),+) => {
            /// Sums up biases and products for some rows at a time.
            ///
            /// # Safety
            ///
            /// The pointers of the call are those that their names say; there is a multiple of so many sums, at least one, and as
            /// many biases; there are four features or a multiple; of each row, `stride` bytes apart, as many bytes can be read as
            /// there are features.
            #[inline(never)]
            pub(super) unsafe fn $name(call: &mut Call) {
                // SAFETY: the caller promises that all of these can be read and written; registers that are no operands are
                // saved and restored.
                unsafe {
                    asm!(
                        "push {{r4-r11, lr}}",
                        "ldr r1, [r0, #16]",
                        "push {{r0, r1}}",
                        "mov r8, r0",
                        "2:",
                        "ldrd r1, r9, [r8, #28]",
                        $end,
                        $load,
                        "ldrd r2, r3, [r8, #20]",
                        "str r9, [r8, #32]",
                        "add r4, r3, r3, lsl #1",
                        $next,
                        "str r6, [r8, #20]",
                        "ldrd r0, r9, [r8, #8]",
                        "cmp r0, r9",
                        "beq 3f",
                        group!($features, $($row $sum),+),
                        $at_end,
                        "beq 4f",
                        "3:",
                        group!($features, $($row $sum),+),
                        group!($features, $($row $sum),+),
                        $at_end,
                        "bne 3b",
                        "4:",
                        "ldr r8, [sp]",
                        "ldrd r0, r1, [r8]",
                        $store,
                        "str r0, [r8]",
                        "cmp r0, r1",
                        "bne 2b",
                        "add sp, #8",
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
    multiply!(narrow_5, narrow, "ldmia r9!, {{r5, r10-r12, lr}}", "stmia r0!, {{r5, r10-r12, lr}}", "add r6, r2, r3, lsl #2\n add r6, r3", "", "ldr r8, [sp, #4]\n cmp r0, r8", "[r2, r3]" "r10", "[r2, r3, lsl #1]" "r11", "[r2, r4]" "r12", "[r2, r3, lsl #2]" "lr", "[r2], #4" "r5");
    multiply!(narrow_4, narrow, "ldmia r9!, {{r10-r12, lr}}", "stmia r0!, {{r10-r12, lr}}", "add r6, r2, r3, lsl #2", "ldr r5, [r8, #16]", "cmp r0, r5", "[r2, r3]" "r11", "[r2, r3, lsl #1]" "r12", "[r2, r4]" "lr", "[r2], #4" "r10");
    multiply!(narrow_2, narrow, "ldmia r9!, {{r10, r11}}", "stmia r0!, {{r10, r11}}", "add r6, r2, r3, lsl #1", "ldr r5, [r8, #16]", "cmp r0, r5", "[r2, r3]" "r11", "[r2], #4" "r10");
    multiply!(narrow_1, narrow, "ldr r10, [r9], #4", "str r10, [r0], #4", "add r6, r2, r3", "ldr r5, [r8, #16]", "cmp r0, r5", "[r2], #4" "r10");
    multiply!(wide_5, wide, "ldmia r9!, {{r5, r10-r12, lr}}", "stmia r0!, {{r5, r10-r12, lr}}", "add r6, r2, r3, lsl #2\n add r6, r3", "", "ldr r8, [sp, #4]\n cmp r0, r8", "[r2, r3]" "r10", "[r2, r3, lsl #1]" "r11", "[r2, r4]" "r12", "[r2, r3, lsl #2]" "lr", "[r2], #4" "r5");
    multiply!(wide_4, wide, "ldmia r9!, {{r10-r12, lr}}", "stmia r0!, {{r10-r12, lr}}", "add r6, r2, r3, lsl #2", "ldr r5, [r8, #16]", "cmp r0, r5", "[r2, r3]" "r11", "[r2, r3, lsl #1]" "r12", "[r2, r4]" "lr", "[r2], #4" "r10");
    multiply!(wide_2, wide, "ldmia r9!, {{r10, r11}}", "stmia r0!, {{r10, r11}}", "add r6, r2, r3, lsl #1", "ldr r5, [r8, #16]", "cmp r0, r5", "[r2, r3]" "r11", "[r2], #4" "r10");
    multiply!(wide_1, wide, "ldr r10, [r9], #4", "str r10, [r0], #4", "add r6, r2, r3", "ldr r5, [r8, #16]", "cmp r0, r5", "[r2], #4" "r10");
}
