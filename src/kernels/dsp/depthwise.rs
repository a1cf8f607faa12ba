//! Depthwise convolutions: four channels at a time, a word of the input.

use super::conv::{Source, convolve};
use super::order::Order;
use super::taps::Block;
use crate::kernels::Tensors;
use crate::kernels::runs::each_run;
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
    requantize: &Requantize<'_>,
    source: &impl Source,
    scratch: &mut [i32],
    tensors: &mut Tensors<'_, i8, i8>,
) {
    let channels = geometry.output.channels;
    if channels < QUAD {
        return convolve(geometry, zero_point, requantize, source, scratch, tensors);
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
        let prepared = Block {
            first: block.start,
            kernels,
            bias,
            multipliers: &requantize.multipliers()[block],
            input_zero_point: zero_point,
            zero_point: requantize.zero_point(),
        };
        convolve_block(geometry, &prepared, tensors);
    }
    requantize.bound(tensors.output());
}

/// Convolves all pixels of a block of channels.
#[inline(never)]
fn convolve_block(geometry: &Geometry, block: &Block<'_>, tensors: &mut Tensors<'_, i8, i8>) {
    each_run(geometry, block.first, tensors.overlap(), |run| block.multiply(run, tensors));
}
