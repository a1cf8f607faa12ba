//! Convolutions.

use super::instructions::smmlar;
use super::lanes::{Columns, Runs, spread};
use super::mix::{mix_each, mix_lane};
use super::multiply::two_by_two;
use crate::kernel_source::StaticKernels;
use crate::mixing::Mixture;
use crate::{Geometry, Requantize, Scratch};

/// Kernels one by one, in the order that a loop wants.
pub(crate) trait Source {
    /// Writes a channel's kernel into a lane.
    fn lane(&self, channel: usize, runs: Runs, words: &mut [i32], lane: usize);

    /// Hands over a channel's weights, in their order.
    fn each(&self, channel: usize, put: impl FnMut(usize, i16));

    /// Where a channel's accumulator starts.
    fn bias(&self, channel: usize) -> i32;
}

impl Source for StaticKernels<'_> {
    fn lane(&self, channel: usize, runs: Runs, words: &mut [i32], lane: usize) {
        let kernel = self.kernel(channel).chunks_exact(runs.len());
        for (run, words) in kernel.zip(words.chunks_exact_mut(runs.run_words())) {
            spread(run, 0, words, lane);
        }
    }

    fn each(&self, channel: usize, mut put: impl FnMut(usize, i16)) {
        for (k, weight) in self.kernel(channel).iter().enumerate() {
            put(k, (*weight).into());
        }
    }

    fn bias(&self, channel: usize) -> i32 {
        StaticKernels::bias(self)[channel]
    }
}

impl Source for Mixture<'_> {
    fn lane(&self, channel: usize, runs: Runs, words: &mut [i32], lane: usize) {
        mix_lane(self, channel, runs, words, lane);
    }

    fn each(&self, channel: usize, put: impl FnMut(usize, i16)) {
        mix_each(self, channel, put);
    }

    fn bias(&self, channel: usize) -> i32 {
        self.experts.mixed_bias(channel, self.routing)
    }
}

/// An output element.
#[inline(always)]
pub(super) fn requantize(requantize: &Requantize<'_>, multiplier: i32, accumulator: i32) -> i8 {
    let rounded = smmlar(accumulator, multiplier, requantize.zero_point());
    let (min, max) = requantize.bounds();
    rounded.clamp(min, max) as i8
}

/// Convolves, if the scratch has room for two channels and two pixels; returns whether it did.
#[inline(never)]
pub(crate) fn convolve(
    geometry: &Geometry,
    zero_point: i32,
    source: &impl Source,
    scale: &Requantize<'_>,
    scratch: Scratch<'_>,
    input: &[i8],
    output: &mut [i8],
) -> bool {
    let runs = Runs::of(geometry);
    let words = runs.words();
    let Scratch { columns, kernels, bias } = scratch;
    let block_channels = (kernels.len() / words * 2).min(bias.len() / 2 * 2);
    let Some(columns) = columns.get_mut(..words) else { return false };
    if block_channels == 0 {
        return false;
    }
    let channels = geometry.output.channels;
    let group_channels = channels / geometry.groups;
    for group in 0..geometry.groups {
        let seen = Columns { geometry, runs, zero_point, group };
        let end = (group + 1) * group_channels;
        let mut first = group * group_channels;
        while first < end {
            let block = first..end.min(first + block_channels);
            let pairs = block.len().div_ceil(2);
            let kernels = &mut kernels[..pairs * words];
            for (pair, kernels) in kernels.chunks_exact_mut(words).enumerate() {
                let channel = first + 2 * pair;
                source.lane(channel, runs, kernels, 0);
                // Of an odd number the last has no partner; what is in its lane is computed and not used.
                if channel + 1 < end {
                    source.lane(channel + 1, runs, kernels, 1);
                }
            }
            for (bias, channel) in bias.iter_mut().zip(block.clone()) {
                *bias = source.bias(channel);
            }
            let prepared = Block {
                kernels,
                bias: &bias[..block.len()],
                multipliers: &scale.multipliers()[block.clone()],
            };
            let mut pixels = output.chunks_exact_mut(channels).enumerate();
            while let Some((pixel, output)) = pixels.next() {
                seen.put(pixel, input, columns, 0);
                let output = &mut output[block.clone()];
                if let Some((pixel, next)) = pixels.next() {
                    seen.put(pixel, input, columns, 1);
                    prepared.multiply(columns, scale, [output, &mut next[block.clone()]]);
                } else {
                    prepared.multiply(columns, scale, [output]);
                }
            }
            first += block_channels;
        }
    }
    true
}

/// A block of output channels, ready to be multiplied.
struct Block<'a> {
    kernels: &'a [i32],
    bias: &'a [i32],
    multipliers: &'a [i32],
}

impl Block<'_> {
    /// All channels of one or two pixels. Of one, lane 1 of the columns is left over from the pixels before.
    #[inline(always)]
    fn multiply<const PIXELS: usize>(
        &self,
        columns: &[i32],
        scale: &Requantize<'_>,
        mut outputs: [&mut [i8]; PIXELS],
    ) {
        let pairs = self.kernels.chunks_exact(columns.len());
        for (pair, kernels) in pairs.enumerate() {
            let channel = 2 * pair;
            let bias = [self.bias[channel], self.bias.get(channel + 1).copied().unwrap_or(0)];
            let sums = two_by_two(kernels, columns, [bias[0], bias[0], bias[1], bias[1]]);
            for (lane, sums) in sums.as_chunks::<2>().0.iter().enumerate() {
                if let Some(&multiplier) = self.multipliers.get(channel + lane) {
                    for (output, sum) in outputs.iter_mut().zip(sums) {
                        output[channel + lane] = requantize(scale, multiplier, *sum);
                    }
                }
            }
        }
    }
}
