//! Fully connected layers: four outputs at a time.

use crate::quantize::Element;

/// Rows that are multiplied at a time.
const ROWS: usize = 4;

/// As [`dots`](super::super::dots), if there are four rows or more; returns whether it did.
#[inline(always)]
pub(crate) fn dots<X: Element>(
    input: &[X],
    matrix: &[i8],
    zero_point: i32,
    each: &mut impl FnMut(usize, &[i32]),
) -> bool {
    let (len, rows) = (input.len(), matrix.len() / input.len());
    if rows < ROWS {
        return false;
    }
    for first in (0..rows).step_by(ROWS) {
        // Fewer than four are in part the rows before.
        let first = first.min(rows - ROWS);
        each(first, &products(input, &matrix[first * len..][..ROWS * len], zero_point));
    }
    true
}

/// The products of four rows with the input.
///
/// # Panics
///
/// If they are not as long as the input.
#[inline(always)]
fn products<X: Element>(input: &[X], rows: &[i8], zero_point: i32) -> [i32; ROWS] {
    assert!(!input.is_empty() && rows.len() == ROWS * input.len());
    #[cfg(target_arch = "arm")]
    if let Some(products) = native(input, rows, zero_point) {
        return products;
    }
    let mut rows = rows.chunks_exact(input.len());
    core::array::from_fn(|_| {
        crate::kernels::portable::dot(input, rows.next().unwrap_or_default(), zero_point)
    })
}

/// What the loop reads, and its sums.
#[cfg(target_arch = "arm")]
#[repr(C)]
pub(super) struct Rows<X> {
    input: *const X,
    input_end: *const X,
    rows: *const i8,
    len: usize,
    /// Added to each input.
    offset: i32,
    sums: [i32; ROWS],
}

#[cfg(target_arch = "arm")]
#[allow(unsafe_code, reason = "loops that the compiler does not find")]
fn native<X: Element>(input: &[X], rows: &[i8], zero_point: i32) -> Option<[i32; ROWS]> {
    use super::thumb;
    fn call<X>(input: &[X], rows: &[i8], zero_point: i32) -> Rows<X> {
        let (ends, len) = (input.as_ptr_range(), input.len());
        let (rows, offset) = (rows.as_ptr(), -zero_point);
        Rows { input: ends.start, input_end: ends.end, rows, len, offset, sums: [0; ROWS] }
    }
    match (X::int8(input), X::int16(input)) {
        (Some(input), _) => {
            let mut call = call(input, rows, zero_point);
            // SAFETY: the caller has checked that there are inputs, and four rows of as many weights.
            unsafe { thumb::multiply_int8(&mut call) };
            Some(call.sums)
        }
        (None, Some(input)) => {
            let mut call = call(input, rows, zero_point);
            // SAFETY: as above.
            unsafe { thumb::multiply_int16(&mut call) };
            Some(call.sums)
        }
        _ => None,
    }
}
