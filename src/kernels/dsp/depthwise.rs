//! Depthwise convolutions: four channels at a time, a word of the input.

use core::ops::Range;

use super::conv::{Source, convolve};
use super::order::Order;
use super::taps::Block;
use crate::kernels::Tensors;
use crate::kernels::runs::each_run;
use crate::kernels::windows::bound;
use crate::{Geometry, Requantize};

/// Channels that are convolved at a time.
const QUAD: usize = 4;

/// Convolves each channel with its kernel, block by block of as many channels as the scratch has room for. Fewer than four
/// channels are groups of an ordinary convolution.
///
/// # Panics
///
/// If the scratch has no room for four channels, or for one if there are fewer.
#[inline(never)]
pub(crate) fn depthwise(
    geometry: &Geometry,
    zero_point: i32,
    source: &impl Source,
    requantize: &Requantize<'_>,
    scratch: &mut [i32],
    mut tensors: Tensors<'_, i8, i8>,
) {
    let channels = geometry.output.channels;
    if channels < QUAD {
        return convolve(geometry, zero_point, source, requantize, scratch, tensors);
    }
    let words = 2 * geometry.window.taps();
    let step = scratch.len() / (words + QUAD);
    assert!(step > 0);
    let (kernels, bias) = scratch.split_at_mut(step * words);
    let whole = channels / QUAD * QUAD;
    // The last channels, if they fill no word of their own, are those of a word before in part.
    let last = (whole < channels).then_some(channels - QUAD);
    for first in (0..whole).step_by(step * QUAD).chain(last) {
        let block =
            if first + QUAD > whole { first..channels } else { first..whole.min(first + step * QUAD) };
        let kernels = &mut kernels[..block.len() / QUAD * words];
        let bias = &mut bias[..block.len()];
        source.put(block.clone(), Order::Taps { words }, kernels);
        source.put_biases(block.start, bias);
        let multipliers = &requantize.multipliers()[block.clone()];
        let prepared = Block {
            kernels,
            bias,
            multipliers,
            input_zero_point: zero_point,
            zero_point: requantize.zero_point(),
        };
        convolve_block(geometry, &prepared, requantize.bounds(), block, &mut tensors);
    }
}

/// Convolves all pixels of a block of channels.
#[inline(never)]
fn convolve_block(
    geometry: &Geometry,
    block: &Block<'_>,
    bounds: (i32, i32),
    channels: Range<usize>,
    tensors: &mut Tensors<'_, i8, i8>,
) {
    each_run(geometry, channels.start, tensors.overlap(), |run| block.multiply(run, tensors));
    let shape = geometry.output;
    bound(bounds, 0..shape.pixels(), shape.channels, channels, tensors.output());
}
