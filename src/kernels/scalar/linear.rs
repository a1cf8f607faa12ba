//! Fully connected layers: up to five outputs at a time.

use crate::quantize::Element;

/// As [`sums`](super::super::sums); always has a loop.
///
/// # Panics
///
/// If rows, biases and sums are not as many.
#[inline(always)]
pub(crate) fn sums<X: Element>(
    input: &[X],
    rows: &[i8],
    bias: &[i32],
    zero_point: i32,
    sums: &mut [i32],
) -> bool {
    assert!(!input.is_empty() && rows.len() == input.len() * sums.len() && bias.len() == sums.len());
    #[cfg(target_arch = "arm")]
    return native(input, rows, bias, zero_point, sums);
    #[cfg(not(target_arch = "arm"))]
    crate::kernels::portable::sums(input, rows, bias, zero_point, sums);
    #[cfg(not(target_arch = "arm"))]
    true
}

/// What the loops read, and walk along.
#[cfg(target_arch = "arm")]
#[repr(C)]
pub(super) struct Rows<X> {
    input: *const X,
    len: usize,
    /// Added to each input.
    offset: i32,
    rows: *const i8,
    bias: *const i32,
    sums: *mut i32,
    sums_end: *const i32,
}

#[cfg(target_arch = "arm")]
#[allow(unsafe_code, reason = "loops that the compiler does not find")]
fn native<X: Element>(input: &[X], rows: &[i8], bias: &[i32], zero_point: i32, sums: &mut [i32]) -> bool {
    use super::thumb;
    if let Some(input) = X::int8(input) {
        let loops = [thumb::int8_5, thumb::int8_4, thumb::int8_1];
        // SAFETY: the caller has checked what is to be checked.
        unsafe { in_fives_and_fours(loops, input, rows, bias, zero_point, sums) };
    } else if let Some(input) = X::int16(input) {
        let loops = [thumb::int16_5, thumb::int16_4, thumb::int16_1];
        // SAFETY: as above.
        unsafe { in_fives_and_fours(loops, input, rows, bias, zero_point, sums) };
    } else {
        return false;
    }
    true
}

/// Runs loops for five rows, four rows and one row at a time.
///
/// # Safety
///
/// There is an input, and there are a bias and a row of as many weights for each sum.
#[cfg(target_arch = "arm")]
#[allow(unsafe_code, reason = "loops that the compiler does not find")]
#[inline(never)]
unsafe fn in_fives_and_fours<X>(
    loops: [unsafe fn(*mut Rows<X>); 3],
    input: &[X],
    rows: &[i8],
    bias: &[i32],
    zero_point: i32,
    sums: &mut [i32],
) {
    let mut call = Rows {
        input: input.as_ptr(),
        len: input.len(),
        offset: -zero_point,
        rows: rows.as_ptr(),
        bias: bias.as_ptr(),
        sums: sums.as_mut_ptr(),
        sums_end: core::ptr::null(),
    };
    // Fives in place of fours take in rows that fill no four.
    let (fours, left) = (sums.len() / 4, sums.len() % 4);
    let fives = fours.min(left);
    let mut done = 0;
    for (rows, count) in loops.into_iter().zip([5 * fives, 4 * (fours - fives), left - fives]) {
        if count > 0 {
            done += count;
            call.sums_end = sums[done..].as_ptr();
            // SAFETY: the caller promises that there are rows and biases for all sums; a multiple of so many is left as the loop
            // takes at a time.
            unsafe { rows(&mut call) };
        }
    }
}
