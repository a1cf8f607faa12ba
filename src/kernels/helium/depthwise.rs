//! Depthwise convolutions: lanes of a vector are channels, eight at a time, widened to int16.

use core::ops::Range;

use super::conv::Source;
use super::mix::{Order, mix};
use super::taps::{Block, FEW_LANES, LANES};
use crate::kernel_source::StaticKernels;
use crate::kernels::Tensors;
use crate::kernels::runs::each_run;
use crate::mixing::Mixture;
use crate::{Geometry, Requantize};

/// Most channels in a block: their biases lie on the stack.
const CHANNELS: usize = 64;

/// Kernels one channel after the other.
pub(crate) trait Lanes {
    /// Puts kernels of some channels, at least one, as int16.
    fn put(&self, channels: Range<usize>, order: Order, kernels: &mut [i16]);
}

impl Lanes for StaticKernels<'_> {
    fn put(&self, channels: Range<usize>, order: Order, kernels: &mut [i16]) {
        let [step, kernel_step] = order.steps(self.kernel_len());
        for (i, channel) in channels.enumerate() {
            let kernel = kernels[i * kernel_step..].iter_mut().step_by(step);
            for (half, weight) in kernel.zip(self.of(channel..channel + 1)) {
                *half = (*weight).into();
            }
        }
    }
}

impl Lanes for Mixture<'_> {
    fn put(&self, channels: Range<usize>, order: Order, kernels: &mut [i16]) {
        mix(self, channels, order, kernels);
    }
}

/// Convolves each channel with its kernel, block by block of as many channels as the scratch has room for.
///
/// # Panics
///
/// If the scratch has no room for four channels, or for all if there are fewer.
#[inline(never)]
pub(crate) fn depthwise(
    geometry: &Geometry,
    zero_point: i32,
    requantize: &Requantize<'_>,
    source: &impl Source,
    scratch: &mut [i32],
    tensors: &mut Tensors<'_, i8, i8>,
) {
    let all = geometry.output.channels;
    let taps = geometry.window.taps();
    let halves: &mut [i16] = bytemuck::must_cast_slice_mut(scratch);
    // Where the output overlaps the input no channel can be convolved twice.
    let fill_vectors = if tensors.overlap() { all.is_multiple_of(LANES) } else { all >= LANES };
    let lanes = if fill_vectors && halves.len() >= LANES * taps { LANES } else { FEW_LANES };
    let kernel_len = lanes * taps;
    // Vectors of few lanes reach as far as full ones.
    let groups = (halves.len() - (LANES - lanes)) / kernel_len;
    assert!(groups > 0);
    let step = (groups * lanes).min(CHANNELS);
    for first in (0..all).step_by(step) {
        let end = all.min(first + step);
        // The last vector of a block, if it is not full, are channels of the one before in part.
        let first = if lanes == LANES { first.min(end - LANES) } else { first };
        let block = first..end;
        let mut bias = [0; CHANNELS + LANES];
        source.put_biases(first, &mut bias[..block.len()]);
        for (group, kernel) in
            halves.chunks_exact_mut(kernel_len).take(block.len().div_ceil(lanes)).enumerate()
        {
            let first = first_channel(group, lanes, &block);
            source.put(first..end.min(first + lanes), Order::Weights { channels: lanes }, kernel);
        }
        let prepared = Block {
            lanes,
            kernels: halves,
            bias: &bias,
            multipliers: &requantize.multipliers()[block.clone()],
            taps,
            input_zero_point: zero_point,
            zero_point: requantize.zero_point(),
            bounds: requantize.bounds(),
        };
        convolve_block(geometry, &prepared, first, tensors);
    }
}

/// The first channel of a vector of a block.
fn first_channel(group: usize, lanes: usize, block: &Range<usize>) -> usize {
    let first = block.start + group * lanes;
    if lanes == LANES { first.min(block.end - LANES) } else { first }
}

/// Convolves all pixels of a block of channels, from the `first` on.
#[inline(never)]
fn convolve_block(geometry: &Geometry, block: &Block<'_>, first: usize, tensors: &mut Tensors<'_, i8, i8>) {
    each_run(geometry, first, tensors.overlap(), |run| block.multiply(run, tensors));
}
