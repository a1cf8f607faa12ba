//! Convolutions: the kernels of a block of channels, four pixels at a time.

use core::ops::Range;

use super::columns::{PIXELS, Windows};
use super::mix::{mix_wide, mixed_weights};
use super::multiply::{Block, Weights};
use super::{padded, widen};
use crate::kernel_source::StaticKernels;
use crate::mixing::Mixture;
use crate::{Geometry, Requantize};

/// Kernels in the order that a loop wants.
pub(crate) trait Source {
    /// All kernels, where they lie in flash in whole words.
    fn in_flash(&self) -> Option<&StaticKernels<'_>>;

    /// Writes a channel's kernel, wide.
    fn wide(&self, channel: usize, words: &mut [i32]);

    /// Hands over a channel's weights, in their order.
    fn for_each_weight(&self, channel: usize, each: impl FnMut(usize, i16));

    /// Where a channel's accumulator starts.
    fn bias(&self, channel: usize) -> i32;
}

impl Source for StaticKernels<'_> {
    fn in_flash(&self) -> Option<&StaticKernels<'_>> {
        self.kernel_len().is_multiple_of(4).then_some(self)
    }

    fn wide(&self, channel: usize, words: &mut [i32]) {
        let (bytes, rest) = self.of(channel..channel + 1).as_chunks::<4>();
        let (pairs, last) = words.as_chunks_mut::<2>().0.split_at_mut(bytes.len());
        for (pair, bytes) in pairs.iter_mut().zip(bytes) {
            *pair = widen(*bytes, 0);
        }
        if let Some(pair) = last.first_mut() {
            *pair = widen(padded(rest), 0);
        }
    }

    fn for_each_weight(&self, channel: usize, mut each: impl FnMut(usize, i16)) {
        for (k, weight) in self.of(channel..channel + 1).iter().enumerate() {
            each(k, (*weight).into());
        }
    }

    fn bias(&self, channel: usize) -> i32 {
        StaticKernels::bias(self)[channel]
    }
}

impl Source for Mixture<'_> {
    fn in_flash(&self) -> Option<&StaticKernels<'_>> {
        None
    }

    fn wide(&self, channel: usize, words: &mut [i32]) {
        mix_wide(self, channel, words);
    }

    fn for_each_weight(&self, channel: usize, each: impl FnMut(usize, i16)) {
        mixed_weights(self, channel, each);
    }

    fn bias(&self, channel: usize) -> i32 {
        self.experts.mixed_bias(channel, self.routing)
    }
}

/// Convolves block by block of as many channels as the scratch has room for.
///
/// # Panics
///
/// If it has no room for the columns, or none for a kernel that does not lie in flash in whole words.
#[inline(never)]
pub(crate) fn convolve(
    geometry: &Geometry,
    zero_point: i32,
    source: &impl Source,
    requantize: &Requantize<'_>,
    scratch: &mut [i32],
    input: &[i8],
    output: &mut [i8],
) {
    let (columns, rest) = scratch.split_at_mut(PIXELS * geometry.kernel_words());
    let (staged, rest) = rest.split_at_mut(geometry.staged_words());
    let group_channels = geometry.output.channels / geometry.groups;
    for group in 0..geometry.groups {
        let windows = Windows { geometry, zero_point, group, input };
        let channels = group * group_channels..(group + 1) * group_channels;
        let mut run = |channels: Range<usize>, weights: Weights<'_>, bias: &[i32]| {
            let multipliers = &requantize.multipliers()[channels.clone()];
            let block = Block { weights, bias, multipliers, zero_point: requantize.zero_point() };
            convolve_block(&windows, &block, requantize.bounds(), channels, columns, staged, output);
        };
        if let Some(kernels) = source.in_flash() {
            let weights = Weights::Narrow(kernels.of(channels.clone()));
            run(channels.clone(), weights, &kernels.bias()[channels]);
            continue;
        }
        let words = geometry.kernel_words();
        let step = rest.len() / (words + 1);
        assert!(step > 0);
        let (kernels, bias) = rest.split_at_mut(step * words);
        for first in channels.clone().step_by(step) {
            let channels = first..channels.end.min(first + step);
            let kernels = &mut kernels[..channels.len() * words];
            let bias = &mut bias[..channels.len()];
            for ((channel, kernel), bias) in
                channels.clone().zip(kernels.chunks_exact_mut(words)).zip(&mut *bias)
            {
                source.wide(channel, kernel);
                *bias = source.bias(channel);
            }
            run(channels, Weights::Wide(kernels), bias);
        }
    }
}

/// Convolves all pixels with a block of channels.
#[inline(never)]
fn convolve_block(
    windows: &Windows<'_>,
    block: &Block<'_>,
    bounds: (i32, i32),
    channels: Range<usize>,
    columns: &mut [i32],
    staged: &mut [i32],
    output: &mut [i8],
) {
    let shape = windows.geometry.output;
    for first in (0..shape.pixels()).step_by(PIXELS) {
        // Past the last pixel the last is computed again.
        let pixels = core::array::from_fn(|lane| (first + lane).min(shape.pixels() - 1));
        windows.put(pixels, columns, staged);
        block.multiply(columns, pixels.map(|pixel| pixel * shape.channels + channels.start), output);
        if bounds != (-128, 127) {
            let (min, max) = (bounds.0 as i8, bounds.1 as i8);
            for pixel in first..shape.pixels().min(first + PIXELS) {
                for y in &mut output[pixel * shape.channels..][channels.clone()] {
                    *y = (*y).clamp(min, max);
                }
            }
        }
    }
}
