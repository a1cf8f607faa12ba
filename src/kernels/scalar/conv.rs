//! Convolutions: a block of channels, four pixels at a time.

use super::call::Channels;
use super::columns::{Columns, tap_words};
use super::{BLOCK, Source, Weights, sum};
use crate::kernels::windows::{Windows, each_pixels};
use crate::kernels::{Tensors, portable};
use crate::quantize::Element;
use crate::{Geometry, Requantize};

/// Convolves block by block of as many channels as the scratch has room for.
///
/// # Panics
///
/// If it has no room for a tap of padding and columns, or none for a mixed kernel.
#[inline(never)]
pub(crate) fn convolve<S: Source>(
    geometry: &Geometry,
    zero_point: i32,
    requantize: &Requantize<'_>,
    source: &S,
    scratch: &mut [i32],
    tensors: &mut Tensors<'_, i8, i8>,
) {
    let packed = S::Weight::MAX == <i8 as Element>::MAX;
    let padding_words = geometry.group_channels().div_ceil(4);
    let words = padding_words + geometry.kernel_len() * tap_words(packed);
    let group_channels = geometry.output.channels / geometry.groups;
    let least = if tensors.overlap() { group_channels } else { 1 };
    // In the least scratch that there may be int16 kernels have no room beside their columns.
    if scratch.len() < words || source.block_channels(&scratch[words..]).min(BLOCK) < least {
        return portable::convolve(geometry, zero_point, requantize, source, scratch, tensors);
    }
    let (columns, rest) = scratch.split_at_mut(words);
    let (padding, columns) = columns.split_at_mut(padding_words);
    let padding: &mut [i8] = bytemuck::must_cast_slice_mut(padding);
    padding.fill(i8::saturate(zero_point));
    let step = source.block_channels(rest).min(BLOCK);
    for group in 0..geometry.groups {
        let end = (group + 1) * group_channels;
        for first in (group * group_channels..end).step_by(step) {
            let channels = first..end.min(first + step);
            let kernels = source.block(channels.clone(), rest);
            let mut starts = [0; BLOCK];
            let starts = &mut starts[..channels.len()];
            kernels.fold(zero_point, sum, starts);
            let multipliers = &requantize.multipliers()[channels];
            let block = Channels { starts, multipliers, zero_point: requantize.zero_point() };
            let weights = Weights::of(&kernels);
            each_pixels(geometry.output, tensors.backwards(), |pixels| {
                let windows = Windows::new(geometry, group, tensors.input());
                let padding = &padding[..geometry.group_channels()];
                Columns { windows, padding, packed }.put(pixels, columns);
                let places = pixels.map(|pixel| geometry.output.place(pixel) + first);
                weights.multiply(&block, columns, places, tensors.output());
            });
        }
    }
    requantize.bound(tensors.output());
}
