//! The inner loops. `portable` is the specification; every other implementation equals it bit for bit, and is chosen when
//! the crate is built, by what instructions the core has (`build.rs`).

use core::ops::Range;

#[cfg(condconv_kernels = "dsp")]
mod dsp;
#[cfg(any(condconv_kernels = "dsp", condconv_kernels = "helium"))]
mod features;
#[cfg(condconv_kernels = "helium")]
mod helium;
mod portable;
#[cfg(any(condconv_kernels = "dsp", condconv_kernels = "helium"))]
mod runs;
#[cfg(condconv_kernels = "scalar")]
mod scalar;
mod tensors;
#[cfg(not(condconv_kernels = "portable"))]
mod windows;

#[cfg(condconv_kernels = "dsp")]
use dsp as native;
#[cfg(condconv_kernels = "helium")]
use helium as native;
#[cfg(condconv_kernels = "scalar")]
use scalar as native;

#[cfg(not(condconv_kernels = "helium"))]
use crate::MAX_EXPERTS;
#[cfg(not(all(condconv_kernels = "helium", target_arch = "arm")))]
use crate::RoutingWeight;
#[cfg(not(condconv_kernels = "portable"))]
use crate::kernel_source::KernelSource;
use crate::mixing::Mixture;
use crate::quantize::Element;
use crate::{Geometry, Requantize, Shape, StaticKernels};

#[cfg(not(condconv_kernels = "portable"))]
pub(crate) trait Source: KernelSource + native::Source {}
#[cfg(not(condconv_kernels = "portable"))]
impl<S: KernelSource + native::Source> Source for S {}

#[cfg(condconv_kernels = "portable")]
pub(crate) use crate::kernel_source::KernelSource as Source;

pub(crate) use portable::max_pool;
pub(crate) use tensors::Tensors;

/// Mixes kernels of channels, at least one, which are put one after the other.
#[inline(always)]
pub(crate) fn mix(mixture: &Mixture<'_>, channels: Range<usize>, kernels: &mut [i16]) {
    #[cfg(condconv_kernels = "helium")]
    helium::mix(mixture, channels, helium::Order::Channels, kernels);
    #[cfg(not(condconv_kernels = "helium"))]
    {
        let mut coefficients = [0; MAX_EXPERTS];
        let kernels = kernels.chunks_exact_mut(mixture.experts.kernel_len());
        for (channel, kernel) in channels.zip(kernels) {
            let coefficients = &mut coefficients[..mixture.experts.count()];
            portable::mix(mixture, channel, coefficients, kernel.iter_mut());
        }
    }
}

#[cfg(all(condconv_kernels = "helium", target_arch = "arm"))]
pub(crate) use helium::mix_biases;

/// Adds channels' own biases and those of their experts, weighed by the routing; returns whether there is a loop for it.
#[cfg(not(all(condconv_kernels = "helium", target_arch = "arm")))]
#[inline(always)]
pub(crate) const fn mix_biases(_: &[RoutingWeight], _: &[i32], _: &[i32], _: &mut [i32]) -> bool {
    false
}

pub(crate) use portable::weigh;

/// Convolves with kernels from a source.
#[inline(always)]
pub(crate) fn convolve<X: Element, Y: Element>(
    geometry: &Geometry,
    zero_point: i32,
    requantize: &Requantize<'_>,
    source: &impl Source,
    scratch: &mut [i32],
    mut tensors: Tensors<'_, X, Y>,
) {
    #[cfg(not(condconv_kernels = "portable"))]
    if let Some(mut tensors) = tensors.int8() {
        return native::convolve(geometry, zero_point, requantize, source, scratch, &mut tensors);
    }
    portable::convolve(geometry, zero_point, requantize, source, scratch, &mut tensors);
}

/// Convolves each channel with its kernel.
#[inline(always)]
pub(crate) fn depthwise<X: Element, Y: Element>(
    geometry: &Geometry,
    zero_point: i32,
    requantize: &Requantize<'_>,
    source: &impl Source,
    scratch: &mut [i32],
    mut tensors: Tensors<'_, X, Y>,
) {
    #[cfg(not(condconv_kernels = "portable"))]
    if let Some(mut tensors) = tensors.int8() {
        return native::depthwise(geometry, zero_point, requantize, source, scratch, &mut tensors);
    }
    portable::depthwise(geometry, zero_point, requantize, source, scratch, &mut tensors);
}

/// Multiplies a vector by a matrix.
pub(crate) fn linear<X: Element, Y: Element>(
    kernels: &StaticKernels<'_>,
    zero_point: i32,
    requantize: &Requantize<'_>,
    input: &[X],
    output: &mut [Y],
) {
    #[cfg(not(condconv_kernels = "portable"))]
    if native::linear(kernels, zero_point, requantize, input, output) {
        // With Helium outputs are bounded as they are made.
        #[cfg(not(condconv_kernels = "helium"))]
        requantize.bound(output);
        return;
    }
    portable::linear(kernels, zero_point, requantize, input, output);
}

/// Multiplies a vector by the matrices of all experts.
pub(crate) fn cond_linear<X: Element, Y: Element>(
    mixture: &Mixture<'_>,
    zero_point: i32,
    requantize: &Requantize<'_>,
    input: &[X],
    output: &mut [Y],
) {
    // With Helium the compiler's own vectors are faster.
    #[cfg(condconv_kernels = "dsp")]
    if dsp::cond_linear(mixture, zero_point, requantize, input, output) {
        return;
    }
    portable::cond_linear(mixture, zero_point, requantize, input, output);
}

#[cfg(all(condconv_kernels = "helium", target_arch = "arm"))]
pub(crate) use helium::softmax;

/// Turns scores into shares of one; returns whether there is a loop for them.
#[cfg(not(all(condconv_kernels = "helium", target_arch = "arm")))]
#[inline(always)]
pub(crate) const fn softmax<X>(_: &[X], _: i32, _: u32, _: &[u32; 65], _: &mut [i16]) -> bool {
    false
}

/// Channels that are pooled in one pass over the pixels.
const POOL_CHANNELS: usize = 16;

/// Calls `each` with all channels, some at a time: the first of them, and their sums of `x - zero_point` over all pixels.
pub(crate) fn pool<X: Element>(
    shape: Shape,
    zero_point: i32,
    input: &[X],
    mut each: impl FnMut(usize, &[i32]),
) {
    let offset = zero_point * shape.pixels() as i32;
    for first in (0..shape.channels).step_by(POOL_CHANNELS) {
        let mut sums = [-offset; POOL_CHANNELS];
        let sums = &mut sums[..POOL_CHANNELS.min(shape.channels - first)];
        add_pixels(shape.channels, first, input, sums);
        each(first, sums);
    }
}

/// The mean of each window, channel by channel; `requantize` has a multiplier for each number of taps.
pub(crate) fn average_pool<X: Element, Y: Element>(
    geometry: &Geometry,
    zero_point: i32,
    shift: u32,
    requantize: &Requantize<'_>,
    mut tensors: Tensors<'_, X, Y>,
) {
    let Geometry { input: shape, output: out_shape, window, .. } = *geometry;
    let channels = shape.channels;
    for pixel in 0..out_shape.pixels() {
        let (rows, first_row) = geometry.rows(pixel / out_shape.width);
        let (columns, first_column) = geometry.columns(pixel % out_shape.width);
        let count = rows.len() * columns.len();
        // Neighbouring taps of a row are one run of memory unless something lies between them.
        let (runs, mut run) =
            if window.dilation[1] == 1 { (1, columns.len() * channels) } else { (columns.len(), channels) };
        let mut lines = rows.len();
        if window.dilation[0] == 1 && run == shape.width * channels {
            // So are whole rows of the map.
            (run, lines) = (lines * run, 1);
        }
        for block in (0..channels).step_by(POOL_CHANNELS) {
            let mut sums = [-zero_point * count as i32; POOL_CHANNELS];
            let sums = &mut sums[..POOL_CHANNELS.min(channels - block)];
            for row in 0..lines {
                let first = (first_row + row * window.dilation[0]) * shape.width + first_column;
                for column in 0..runs {
                    let at = (first + column * window.dilation[1]) * channels;
                    add_pixels(channels, block, &tensors.input()[at..][..run], sums);
                }
            }
            for (output, sum) in tensors.output()[pixel * channels + block..].iter_mut().zip(sums) {
                *output = requantize.apply(count - 1, *sum << shift);
            }
        }
    }
}

/// Adds channels, from `first` on, over all pixels.
#[inline(never)]
fn add_pixels<X: Element>(channels: usize, first: usize, input: &[X], sums: &mut [i32]) {
    #[cfg(any(condconv_kernels = "dsp", condconv_kernels = "helium"))]
    let done = X::int8(input).map_or(0, |input| native::add_pixels(channels, first, input, sums));
    #[cfg(not(any(condconv_kernels = "dsp", condconv_kernels = "helium")))]
    let done = 0;
    if done < sums.len() {
        portable::add_pixels(channels, first + done, input, &mut sums[done..]);
    }
}
