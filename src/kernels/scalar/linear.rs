//! Fully connected layers: up to five outputs at a time.

use crate::quantize::Element;
use crate::{Requantize, StaticKernels};

/// Multiplies a vector by a matrix; always has a loop. Outputs are bounded by their type only.
///
/// # Panics
///
/// If lengths do not fit together.
#[inline(always)]
pub(crate) fn linear<X: Element, Y: Element>(
    kernels: &StaticKernels<'_>,
    zero_point: i32,
    requantize: &Requantize<'_>,
    input: &[X],
    output: &mut [Y],
) -> bool {
    assert!(
        !input.is_empty()
            && kernels.weights().len() == input.len() * output.len()
            && kernels.bias().len() == output.len()
            && requantize.multipliers().len() == output.len()
    );
    #[cfg(target_arch = "arm")]
    native(kernels, zero_point, requantize, input, output);
    #[cfg(not(target_arch = "arm"))]
    crate::kernels::portable::linear(kernels, zero_point, requantize, input, output);
    true
}

/// What the loops read, and walk along.
#[cfg(target_arch = "arm")]
#[repr(C)]
pub(super) struct Rows {
    input: *const i8,
    len: usize,
    /// Added to each input.
    offset: i32,
    rows: *const i8,
    bias: *const i32,
    multipliers: *const i32,
    /// The output's.
    zero_point: i32,
    output: *mut i8,
    /// Where the outputs end that one loop is for.
    output_end: *const i8,
}

/// For five rows, four rows and one row at a time.
#[cfg(target_arch = "arm")]
pub(super) type Loops = [unsafe fn(*mut Rows); 3];

#[cfg(target_arch = "arm")]
#[inline(always)]
#[allow(unsafe_code, reason = "loops that the compiler does not find")]
fn native<X: Element, Y: Element>(
    kernels: &StaticKernels<'_>,
    zero_point: i32,
    requantize: &Requantize<'_>,
    input: &[X],
    output: &mut [Y],
) {
    use super::thumb::linear::{INT8_TO_INT8, INT8_TO_INT16, INT16_TO_INT8, INT16_TO_INT16};
    let mut call = Rows {
        input: input.as_ptr().cast(),
        len: input.len(),
        offset: -zero_point,
        rows: kernels.weights().as_ptr(),
        bias: kernels.bias().as_ptr(),
        multipliers: requantize.multipliers().as_ptr(),
        zero_point: requantize.zero_point(),
        output: output.as_mut_ptr().cast(),
        output_end: core::ptr::null(),
    };
    let loops = match (size_of::<X>(), size_of::<Y>()) {
        (1, 1) => INT8_TO_INT8,
        (1, _) => INT8_TO_INT16,
        (_, 1) => INT16_TO_INT8,
        _ => INT16_TO_INT16,
    };
    // SAFETY: the caller has checked that there are inputs, and a row of as many weights, a bias and a multiplier for each output.
    // Nothing else refers to the outputs.
    unsafe { run(&mut call, loops, output.len(), size_of::<Y>()) };
}

/// Runs one loop after the other, until all outputs are there.
///
/// # Safety
///
/// The pointers of the call are those that their names say; for each of so many outputs, of so many bytes, there are a row of as many
/// weights as there are inputs, at least one, a bias and a multiplier.
#[cfg(target_arch = "arm")]
#[allow(unsafe_code, reason = "loops that the compiler does not find")]
#[inline(never)]
unsafe fn run(call: &mut Rows, [five, four, one]: Loops, outputs: usize, bytes: usize) {
    let mut run = |rows: unsafe fn(*mut Rows), count: usize| {
        if count > 0 {
            call.output_end = call.output.wrapping_add(count * bytes);
            // SAFETY: the caller promises that all of these can be read and written; no loop takes more rows at a time than it is
            // run for.
            unsafe { rows(call) };
        }
    };
    // Fives in place of fours take in rows that fill no four.
    let (fours, left) = (outputs / 4, outputs % 4);
    let fives = fours.min(left);
    run(five, 5 * fives);
    run(four, 4 * (fours - fives));
    run(one, left - fives);
}
