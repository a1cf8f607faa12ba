//! Fully connected layers: four outputs at a time.

use super::{both, pair, widen};
use crate::quantize::Element;

/// Rows that are multiplied at a time.
const ROWS: usize = 4;

/// Rows for which the input is made wide once.
const BLOCK: usize = 32;

/// Inputs that are made wide at a time.
const FEATURES: usize = 64;

/// Two words for four inputs.
type Wide = [[i32; 2]; FEATURES / 4];

/// As [`dots`](super::super::dots), if there are four rows or more; returns whether it did. There is no loop for int16 inputs
/// with a zero point.
#[inline(always)]
pub(crate) fn dots<X: Element>(
    input: &[X],
    matrix: &[i8],
    zero_point: i32,
    each: &mut impl FnMut(usize, &[i32]),
) -> bool {
    let (len, rows) = (input.len(), matrix.len() / input.len());
    let input = match (X::int8(input), X::int16(input)) {
        (Some(input), _) => Input::Narrow { input, zero_point },
        (None, Some(input)) if zero_point == 0 => Input::Wide(input),
        _ => return false,
    };
    if rows < ROWS {
        return false;
    }
    for first in (0..rows).step_by(BLOCK) {
        // Fewer than four are in part the rows before.
        let first = first.min(rows - ROWS);
        let count = BLOCK.min(rows - first);
        let mut sums = [0; BLOCK];
        let sums = &mut sums[..count];
        add_products(input, &matrix[first * len..][..count * len], sums);
        each(first, sums);
    }
    true
}

#[derive(Clone, Copy)]
enum Input<'a> {
    Narrow { input: &'a [i8], zero_point: i32 },
    Wide(&'a [i16]),
}

impl Input<'_> {
    const fn len(&self) -> usize {
        match self {
            Self::Narrow { input, .. } => input.len(),
            Self::Wide(input) => input.len(),
        }
    }

    fn number(&self, k: usize) -> i32 {
        match self {
            Self::Narrow { input, zero_point } => i32::from(input[k]) - zero_point,
            Self::Wide(input) => input[k].into(),
        }
    }

    /// Makes inputs wide from the `first` on.
    fn widen(&self, first: usize, wide: &mut [[i32; 2]]) {
        match self {
            Self::Narrow { input, zero_point } => {
                for (wide, bytes) in wide.iter_mut().zip(input[first..].as_chunks().0) {
                    *wide = widen(*bytes, both(-zero_point));
                }
            }
            Self::Wide(input) => {
                for (wide, numbers) in wide.iter_mut().zip(input[first..].as_chunks().0) {
                    let [a, b, c, d]: [i16; 4] = *numbers;
                    *wide = [pair(a.into(), c.into()), pair(b.into(), d.into())];
                }
            }
        }
    }
}

/// Adds the products of rows, at least four, to as many sums of zero.
#[inline(never)]
fn add_products(input: Input<'_>, rows: &[i8], sums: &mut [i32]) {
    let len = input.len();
    let whole = len / 4 * 4;
    let mut wide: Wide = [[0; 2]; FEATURES / 4];
    for first in (0..whole).step_by(FEATURES) {
        let wide = &mut wide[..(whole - first).min(FEATURES) / 4];
        input.widen(first, wide);
        let (fours, rest) = sums.split_at_mut(sums.len() / ROWS * ROWS);
        multiply(wide, &rows[first..], len, fours);
        if !rest.is_empty() {
            // The last four rows; those before the rest are there already.
            let mut last = [0; ROWS];
            multiply(wide, &rows[(fours.len() + rest.len() - ROWS) * len + first..], len, &mut last);
            for (sum, product) in rest.iter_mut().rev().zip(last.iter().rev()) {
                *sum += product;
            }
        }
    }
    if whole < len {
        for (sum, row) in sums.iter_mut().zip(rows.chunks_exact(len)) {
            for (k, weight) in row.iter().enumerate().skip(whole) {
                *sum += i32::from(*weight) * input.number(k);
            }
        }
    }
}

/// Adds products with the first weights of rows that lie `stride` weights apart.
///
/// # Panics
///
/// If there are no inputs or sums, sums are no multiple of four, or rows are too short.
#[inline(always)]
fn multiply(wide: &[[i32; 2]], rows: &[i8], stride: usize, sums: &mut [i32]) {
    assert!(
        !wide.is_empty()
            && !sums.is_empty()
            && sums.len().is_multiple_of(ROWS)
            && rows.len() >= (sums.len() - 1) * stride + 4 * wide.len()
    );
    #[cfg(target_arch = "arm")]
    arm::multiply(wide, rows, stride, sums);
    #[cfg(not(target_arch = "arm"))]
    for (i, sum) in sums.iter_mut().enumerate() {
        use super::instructions::smlad;
        for ([x_even, x_odd], weights) in wide.iter().zip(rows[i * stride..].as_chunks().0) {
            let [even, odd] = widen(*weights, 0);
            *sum = smlad(odd, *x_odd, smlad(even, *x_even, *sum));
        }
    }
}

#[cfg(target_arch = "arm")]
mod arm {
    #![allow(unsafe_code, reason = "a loop that needs every register")]

    use core::arch::asm;

    /// What the loop reads, and walks along.
    #[repr(C)]
    struct Call {
        sums: *mut i32,
        sums_end: *mut i32,
        wide: *const [i32; 2],
        odd_wide_end: *const [i32; 2],
        wide_end: *const [i32; 2],
        row: *const i8,
        stride: usize,
    }

    pub(super) fn multiply(wide: &[[i32; 2]], rows: &[i8], stride: usize, sums: &mut [i32]) {
        let sums = sums.as_mut_ptr_range();
        let mut call = Call {
            sums: sums.start,
            sums_end: sums.end,
            wide: wide.as_ptr(),
            odd_wide_end: wide[wide.len() % 2..].as_ptr(),
            wide_end: wide.as_ptr_range().end,
            row: rows.as_ptr(),
            stride,
        };
        // SAFETY: the caller has checked that there are inputs, whole fours of sums, and weights for each.
        unsafe { four_rows(&mut call) };
    }

    /// # Safety
    ///
    /// The pointers of the call are those of the slices that their names say; there is an input, there are four sums or a
    /// multiple, and from each row, `stride` bytes apart, four bytes an input can be read.
    #[inline(never)]
    unsafe fn four_rows(call: &mut Call) {
        // r0 inputs; r1 their end; r2..r5 rows; r6 r7 an input; r8 r9 weights; r10..r12, lr sums. On the stack: call.
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
        macro_rules! group {
            () => {
                concat!(
                    "ldmia r0!, {{r6, r7}}\n",
                    row!("r2", "r10"),
                    row!("r3", "r11"),
                    row!("r4", "r12"),
                    row!("r5", "lr")
                )
            };
        }
        // SAFETY: the caller promises that all of these can be read and written; registers that are no operands are saved
        // and restored.
        unsafe {
            asm!(
                "push {{r4-r11, lr}}",
                "push {{r0}}",
                // Four rows.
                "2:",
                "ldr r8, [sp]",
                "ldr r9, [r8]",
                "ldmia r9, {{r10, r11, r12, lr}}",
                "ldrd r0, r1, [r8, #8]",
                "ldrd r2, r6, [r8, #20]",
                "add r3, r2, r6",
                "add r4, r3, r6",
                "add r5, r4, r6",
                "add r6, r5, r6",
                "str r6, [r8, #20]",
                "cmp r0, r1",
                "beq 3f",
                group!(),
                "3:",
                "ldr r1, [sp]",
                "ldr r1, [r1, #16]",
                "cmp r0, r1",
                "beq 5f",
                "4:",
                group!(),
                group!(),
                "cmp r0, r1",
                "bne 4b",
                "5:",
                "ldr r8, [sp]",
                "ldrd r0, r1, [r8]",
                "stmia r0!, {{r10, r11, r12, lr}}",
                "str r0, [r8]",
                "cmp r0, r1",
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
}
