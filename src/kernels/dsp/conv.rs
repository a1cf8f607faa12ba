//! Convolutions: the kernels of a block of channels, four pixels at a time.

use core::ops::Range;

use super::columns::Columns;
use super::mix::mix;
use super::multiply::{Block, Weights};
use super::order::{Order, put};
use crate::kernel_source::{KernelSource, StaticKernels};
use crate::kernels::Tensors;
use crate::kernels::windows::{PIXELS, Windows, bound, each_pixels};
use crate::mixing::Mixture;
use crate::{Geometry, Requantize};

/// Fewest channels for which it pays to make kernels wide that could be read from flash.
const WIDE_CHANNELS: usize = 8;

/// Kernels in the order that a loop wants.
pub(crate) trait Source: KernelSource {
    /// All kernels, where they lie in flash in whole words.
    fn in_flash(&self) -> Option<&StaticKernels<'_>>;

    /// Puts the kernels of some channels in order.
    fn put(&self, channels: Range<usize>, order: Order, words: &mut [i32]);
}

impl Source for StaticKernels<'_> {
    fn in_flash(&self) -> Option<&StaticKernels<'_>> {
        self.kernel_len().is_multiple_of(4).then_some(self)
    }

    fn put(&self, channels: Range<usize>, order: Order, words: &mut [i32]) {
        put(self.of(channels), self.kernel_len(), order, words);
    }
}

impl Source for Mixture<'_> {
    fn in_flash(&self) -> Option<&StaticKernels<'_>> {
        None
    }

    fn put(&self, channels: Range<usize>, order: Order, words: &mut [i32]) {
        mix(self, channels, order, words);
    }
}

/// Convolves block by block of as many channels as the scratch has room for.
///
/// # Panics
///
/// If it has no room for the columns, or none for kernels that do not lie in flash in whole words: one of them, or all
/// where the output may overlap the input.
#[inline(never)]
pub(crate) fn convolve(
    geometry: &Geometry,
    zero_point: i32,
    source: &impl Source,
    requantize: &Requantize<'_>,
    scratch: &mut [i32],
    mut tensors: Tensors<'_, i8, i8>,
) {
    let (columns, rest) = scratch.split_at_mut(PIXELS * geometry.kernel_words());
    let (staged, rest) = rest.split_at_mut(geometry.staged_words());
    let mut columns = Columns::new(zero_point, columns, bytemuck::must_cast_slice_mut(staged));
    let group_channels = geometry.output.channels / geometry.groups;
    let pair_words = 2 * geometry.kernel_words();
    let step = rest.len() / (pair_words + 2) * 2;
    let least = if tensors.overlap() { group_channels } else { 1 };
    for group in 0..geometry.groups {
        let channels = group * group_channels..(group + 1) * group_channels;
        let mut run = |channels: Range<usize>, weights: Weights<'_>, bias: &[i32]| {
            let multipliers = &requantize.multipliers()[channels.clone()];
            let block = Block { weights, bias, multipliers, zero_point: requantize.zero_point() };
            convolve_block(
                geometry,
                group,
                &block,
                requantize.bounds(),
                channels,
                &mut columns,
                &mut tensors,
            );
        };
        if let Some(kernels) = source.in_flash()
            && step < least.max(WIDE_CHANNELS.min(group_channels))
        {
            let weights = Weights::Narrow(kernels.of(channels.clone()));
            run(channels.clone(), weights, &kernels.bias()[channels]);
            continue;
        }
        assert!(step >= least);
        let (kernels, bias) = rest.split_at_mut(step / 2 * pair_words);
        for first in channels.clone().step_by(step) {
            let channels = first..channels.end.min(first + step);
            let kernels = &mut kernels[..channels.len().div_ceil(2) * pair_words];
            source.put(channels.clone(), Order::Wide { words: pair_words }, kernels);
            source.put_biases(first, &mut bias[..channels.len()]);
            run(channels.clone(), Weights::Wide(kernels), &bias[..channels.len().next_multiple_of(2)]);
        }
    }
}

/// Convolves all pixels with a block of a group's channels.
#[inline(never)]
fn convolve_block(
    geometry: &Geometry,
    group: usize,
    block: &Block<'_>,
    bounds: (i32, i32),
    channels: Range<usize>,
    columns: &mut Columns<'_>,
    tensors: &mut Tensors<'_, i8, i8>,
) {
    let shape = geometry.output;
    each_pixels(shape, tensors.backwards(), |pixels, numbers| {
        columns.put(&Windows::new(geometry, group, tensors.input()), pixels);
        let output = tensors.output();
        let places = numbers.map(|number| number * shape.channels + channels.start);
        block.multiply(columns.words(), places, output);
        bound(bounds, numbers[0]..numbers[PIXELS - 1] + 1, shape.channels, channels.clone(), output);
    });
}
