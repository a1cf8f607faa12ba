//! Convolutions: the kernels of a block of channels, four pixels at a time.

use core::ops::Range;

use super::columns::Columns;
use super::mix::mix;
use super::multiply::{Block, Weights};
use super::order::{Order, put};
use crate::kernel_source::{KernelSource, StaticKernels};
use crate::kernels::Tensors;
use crate::kernels::windows::{PIXELS, each_pixels};
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
    requantize: &Requantize<'_>,
    source: &impl Source,
    scratch: &mut [i32],
    tensors: &mut Tensors<'_, i8, i8>,
) {
    let (columns, rest) = scratch.split_at_mut(PIXELS * geometry.kernel_words());
    let (staged, rest) = rest.split_at_mut(geometry.staged_words());
    let mut columns = Columns::new(geometry, zero_point, columns, bytemuck::must_cast_slice_mut(staged));
    let group_channels = geometry.output.channels / geometry.groups;
    let pair_words = 2 * geometry.kernel_words();
    let room = rest.len() / (pair_words + 2) * 2;
    let least = if tensors.overlap() { group_channels } else { 1 };
    let in_flash = source.in_flash().filter(|_| room < least.max(WIDE_CHANNELS.min(group_channels)));
    let step = if in_flash.is_some() { group_channels } else { room };
    assert!(step >= least);
    let mut first = 0;
    while first < geometry.output.channels {
        columns.group = first / group_channels;
        let end = (first + step).min((columns.group + 1) * group_channels);
        let channels = first..end;
        let (weights, bias) = if let Some(kernels) = in_flash {
            (Weights::Narrow(kernels.of(channels.clone())), &kernels.bias()[channels.clone()])
        } else {
            let pairs = channels.len().div_ceil(2);
            let (kernels, bias) = rest.split_at_mut(pairs * pair_words);
            source.put(channels.clone(), Order::Wide { words: pair_words }, kernels);
            source.put_biases(first, &mut bias[..channels.len()]);
            (Weights::Wide(kernels), &bias[..2 * pairs])
        };
        let block = Block {
            weights,
            bias,
            multipliers: &requantize.multipliers()[channels],
            zero_point: requantize.zero_point(),
            output: geometry.output,
            first,
        };
        convolve_block(&block, &mut columns, tensors);
        first = end;
    }
    requantize.bound(tensors.output());
}

/// Convolves all pixels with a block of a group's channels.
#[inline(never)]
fn convolve_block(block: &Block<'_>, columns: &mut Columns<'_>, tensors: &mut Tensors<'_, i8, i8>) {
    each_pixels(block.output, tensors.backwards(), |pixels| {
        columns.put(tensors.input(), pixels);
        block.multiply(columns.words(), pixels, tensors.output());
    });
}
