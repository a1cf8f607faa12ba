//! Fully connected layers: four outputs at a time.

use super::both;
use crate::quantize::Element;

/// Rows that are multiplied at a time.
const ROWS: usize = 4;

/// Calls `each` with all rows of a matrix and their products with the input less its zero point, if there are four rows or
/// more; returns whether it did. There is no loop for int16 inputs with a zero point.
#[inline(always)]
pub(crate) fn dots<X: Element>(
    input: &[X],
    matrix: &[i8],
    zero_point: i32,
    each: &mut impl FnMut(usize, i32),
) -> bool {
    let rows = matrix.len() / input.len();
    let narrow = X::int8(input);
    if rows < ROWS || (narrow.is_none() && zero_point != 0) {
        return false;
    }
    for first in (0..rows).step_by(ROWS) {
        // The last four, if there are fewer left, are in part those before.
        let first = first.min(rows - ROWS);
        let four = &matrix[first * input.len()..][..ROWS * input.len()];
        let products = match (narrow, X::int16(input)) {
            (Some(input), _) => products(Input::Narrow(input, zero_point), four),
            (None, Some(input)) => products(Input::Wide(input), four),
            (None, None) => return false,
        };
        for (row, product) in (first..).zip(products) {
            each(row, product);
        }
    }
    true
}

#[derive(Clone, Copy)]
enum Input<'a> {
    /// With its zero point.
    Narrow(&'a [i8], i32),
    Wide(&'a [i16]),
}

/// The products of four rows.
#[inline(never)]
fn products(input: Input<'_>, rows: &[i8]) -> [i32; ROWS] {
    let len = match input {
        Input::Narrow(input, _) => input.len(),
        Input::Wide(input) => input.len(),
    };
    assert!(rows.len() == ROWS * len);
    let whole = len / 4 * 4;
    let mut sums = [0; ROWS];
    if whole > 0 {
        #[cfg(target_arch = "arm")]
        arm::add_products(input, rows, whole, &mut sums);
        #[cfg(not(target_arch = "arm"))]
        computed(input, rows, whole, &mut sums);
    }
    for (sum, row) in sums.iter_mut().zip(rows.chunks_exact(len)) {
        for (k, weight) in row.iter().enumerate().skip(whole) {
            let x = match input {
                Input::Narrow(input, zero_point) => i32::from(input[k]) - zero_point,
                Input::Wide(input) => input[k].into(),
            };
            *sum += i32::from(*weight) * x;
        }
    }
    sums
}

#[cfg(not(target_arch = "arm"))]
fn computed(input: Input<'_>, rows: &[i8], whole: usize, sums: &mut [i32; ROWS]) {
    use super::instructions::smlad;
    use super::{pair, widen};
    let wide = |group: usize| match input {
        Input::Narrow(input, zero_point) => widen(input.as_chunks().0[group], both(-zero_point)),
        Input::Wide(input) => {
            let [a, b, c, d] = input.as_chunks().0[group].map(i32::from);
            [pair(a, c), pair(b, d)]
        }
    };
    for (sum, row) in sums.iter_mut().zip(rows.chunks_exact(rows.len() / ROWS)) {
        for (group, weights) in row[..whole].as_chunks().0.iter().enumerate() {
            let ([even, odd], [x_even, x_odd]) = (widen(*weights, 0), wide(group));
            *sum = smlad(odd, x_odd, smlad(even, x_even, *sum));
        }
    }
}

#[cfg(target_arch = "arm")]
mod arm {
    #![allow(unsafe_code, reason = "loops that need every register")]

    use core::arch::asm;

    use super::{Input, ROWS, both};

    /// Adds the products of the first `whole` numbers, whole fours and one at least.
    pub(super) fn add_products(input: Input<'_>, rows: &[i8], whole: usize, sums: &mut [i32; ROWS]) {
        let row = rows.len() / ROWS;
        let mut call = Call { rows: core::array::from_fn(|i| rows[i * row..][..whole].as_ptr()), offset: 0 };
        // SAFETY: there are as many numbers of the input, and of each row as the slices above show.
        unsafe {
            match input {
                Input::Narrow(input, zero_point) => {
                    let input = input[..whole].as_ptr_range();
                    call.offset = both(-zero_point);
                    narrow(input.start, input.end, &call, sums);
                }
                Input::Wide(input) => {
                    let input = input[..whole].as_ptr_range();
                    wide(input.start, input.end, &call, sums);
                }
            }
        }
    }

    /// What the loops read.
    #[repr(C)]
    struct Call {
        rows: [*const i8; ROWS],
        offset: i32,
    }

    // r0 input; r1..r4 rows; r5 offset; r6 r7 inputs (0, 2) and (1, 3); r8 r9 weights; r10..r12, lr sums. On the stack: the
    // end of the input, the sums.
    macro_rules! products {
        ($name:ident, $input:ty, $load:literal) => {
            /// # Safety
            ///
            /// There are whole fours of inputs up to `end`, one at least, and as many weights of each row.
            #[inline(never)]
            unsafe fn $name(
                input: *const $input,
                end: *const $input,
                call: &Call,
                sums: &mut [i32; ROWS],
            ) {
                macro_rules! row {
                    ($row:literal, $sum:literal) => {
                        concat!(
                            "ldr r8, [",
                            $row,
                            "], #4
                             sxtb16 r9, r8
                             sxtb16 r8, r8, ror #8
                             smlad ",
                            $sum,
                            ", r9, r6, ",
                            $sum,
                            "
                             smlad ",
                            $sum,
                            ", r8, r7, ",
                            $sum,
                            "
                             "
                        )
                    };
                }
                // SAFETY: the caller promises that all of these can be read and written; registers that are no operands are saved
                // and restored.
                unsafe {
                    asm!(
                        "push {{r4-r11, lr}}",
                        "push {{r1, r3}}",
                        "mov r6, r3",
                        "ldmia r2, {{r1-r5}}",
                        "ldmia r6, {{r10, r11, r12, lr}}",
                        "2:",
                        $load,
                        row!("r1", "r10"),
                        row!("r2", "r11"),
                        row!("r3", "r12"),
                        row!("r4", "lr"),
                        "ldr r6, [sp]",
                        "cmp r0, r6",
                        "bne 2b",
                        "ldr r6, [sp, #4]",
                        "stmia r6, {{r10, r11, r12, lr}}",
                        "add sp, #8",
                        "pop {{r4-r11, lr}}",
                        inout("r0") input => _,
                        inout("r1") end => _,
                        inout("r2") call => _,
                        inout("r3") sums => _,
                        out("r12") _,
                    )
                }
            }
        };
    }
    products!(
        narrow,
        i8,
        "ldr r6, [r0], #4
         sxtab16 r7, r5, r6, ror #8
         sxtab16 r6, r5, r6"
    );
    products!(
        wide,
        i16,
        "ldr r8, [r0], #4
         ldr r9, [r0], #4
         pkhbt r6, r8, r9, lsl #16
         pkhtb r7, r9, r8, asr #16"
    );
}
