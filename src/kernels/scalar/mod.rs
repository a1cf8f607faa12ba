//! Loops for cores that multiply two numbers an instruction: Thumb as it was first (`thumb1`, Cortex-M0) and Thumb-2 without
//! the DSP extension (`thumb2`, Cortex-M3).
//!
//! A multiplication of 32 bits has room for two int8 numbers, where both have the same factor:
//!
//! ```text
//! p = w0 (a0 + 2^16 b0) + w1 (a1 + 2^16 b1) = l + 2^16 h        l = w0 a0 + w1 a1,  h = w0 b0 + w1 b1
//! ```
//!
//! The loops compute `-p`, since two products reach 2^15, but not beyond -2^15 + 256 from below: `-l` and `-h` fit 16 bits,
//! and `-h` is `(2^15 - p) / 2^16` rounded down. Summed over the taps, `sum p - 2^16 sum h` is `sum l`, and may overflow on the
//! way.
//!
//! Inputs are multiplied as they are. Their zero point is taken off the sum, once a channel: `bias - zero_point sum w` is
//! where an accumulator starts, and padding is the zero point.

mod call;
mod columns;
mod conv;
mod depthwise;
mod linear;
mod multiply;
#[cfg(all(target_arch = "arm", condconv_thumb = "1"))]
#[path = "thumb1/mod.rs"]
mod thumb;
#[cfg(all(target_arch = "arm", condconv_thumb = "2"))]
#[path = "thumb2/mod.rs"]
mod thumb;

pub(crate) use conv::convolve;
pub(crate) use depthwise::depthwise;
pub(crate) use linear::linear;

use crate::kernel_source::Kernels;
use crate::quantize::Element;

/// Output channels that are convolved at a time, unless there is scratch for fewer.
const BLOCK: usize = 64;

/// All sources of kernels.
pub(crate) use crate::kernel_source::KernelSource as Source;

/// Weights of a block of channels, kernel after kernel.
#[derive(Clone, Copy)]
enum Weights<'a> {
    Static(&'a [i8]),
    Mixed(&'a [i16]),
}

impl<'a> Weights<'a> {
    #[inline(always)]
    fn of<W: Element>(kernels: &Kernels<'a, W>) -> Self {
        match W::int8(kernels.weights) {
            Some(weights) => Self::Static(weights),
            None => Self::Mixed(W::int16(kernels.weights).unwrap_or_default()),
        }
    }

    const fn len(&self) -> usize {
        match self {
            Self::Static(weights) => weights.len(),
            Self::Mixed(weights) => weights.len(),
        }
    }
}

/// The sum of a kernel's weights.
fn sum<W: Element>(weights: &[W]) -> i32 {
    weights.iter().map(|weight| weight.widen()).sum()
}
