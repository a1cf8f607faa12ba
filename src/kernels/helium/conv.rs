//! Convolutions: a block of channels, four pixels at a time.

use super::VECTOR;
use super::columns::Columns;
use super::depthwise::Lanes;
use super::multiply::{Block, Channels, Weight};
use super::neighbours::Neighbours;
use crate::kernel_source::KernelSource;
use crate::kernels::Tensors;
use crate::kernels::windows::{PIXELS, each_pixels};
use crate::{Geometry, Requantize};

/// Most channels in a block: their biases lie on the stack.
pub(super) const CHANNELS: usize = 64;

/// Kernels that the loops can multiply.
pub(crate) trait Source: KernelSource<Weight: Weight> + Lanes {}

impl<S: KernelSource<Weight: Weight> + Lanes> Source for S {}

/// Convolves block by block of as many channels as there is room for.
///
/// # Panics
///
/// If the scratch has no room for the columns, or none for a kernel that is mixed; for all of them where the output may overlap
/// the input.
#[inline(never)]
pub(crate) fn convolve<S: Source>(
    geometry: &Geometry,
    zero_point: i32,
    requantize: &Requantize<'_>,
    source: &S,
    scratch: &mut [i32],
    tensors: &mut Tensors<'_, i8, i8>,
) {
    let (columns, rest) = scratch.split_at_mut(geometry.scratch_words(0));
    if S::Weight::MIXED
        && let Some(neighbours) = Neighbours::of(geometry, zero_point, tensors.overlap())
    {
        let [room, kernels] = [&mut *columns, &mut *rest].map(bytemuck::must_cast_slice_mut);
        if neighbours.convolve(source, requantize, room, kernels, tensors) {
            return;
        }
    }
    // Kernels of four weights leave less than a vector for each pixel.
    let mut few = [0; PIXELS * VECTOR];
    let columns_len = PIXELS * geometry.kernel_len().next_multiple_of(VECTOR);
    // Columns are of int8, and the room for them of int16.
    let room: &mut [u16] = bytemuck::must_cast_slice_mut(columns);
    let (columns, table) = room.split_at_mut((columns_len / 2).min(room.len()));
    let columns = bytemuck::must_cast_slice_mut(columns);
    let columns = if columns.len() < columns_len { &mut few[..] } else { columns };
    let group_channels = geometry.output.channels / geometry.groups;
    let step = source.block_channels(rest).min(CHANNELS);
    assert!(step >= if tensors.overlap() { group_channels } else { 1 });
    for group in 0..geometry.groups {
        let columns_of = Columns::new(geometry, group, zero_point, table);
        let channels = group * group_channels..(group + 1) * group_channels;
        for first in channels.clone().step_by(step) {
            let channels = first..channels.end.min(first + step);
            let kernels = source.block(channels.clone(), rest);
            let mut bias = [0; CHANNELS];
            kernels.fold(zero_point, Weight::sum, &mut bias);
            let bias = &bias[..channels.len()];
            let requantize = Channels {
                multipliers: &requantize.multipliers()[channels],
                zero_point: requantize.zero_point(),
                bounds: requantize.bounds(),
            };
            let block = Block::new(kernels.weights, bias, requantize);
            convolve_block(geometry, &columns_of, &block, first, columns, tensors);
        }
    }
}

/// Convolves all pixels with a block of channels, from the `first` on.
#[inline(never)]
fn convolve_block<W: Weight>(
    geometry: &Geometry,
    columns_of: &Columns<'_>,
    block: &Block<'_, W>,
    first: usize,
    columns: &mut [i8],
    tensors: &mut Tensors<'_, i8, i8>,
) {
    let shape = geometry.output;
    each_pixels(shape, tensors.backwards(), |pixels| {
        columns_of.put(tensors.input(), pixels, columns);
        let places = pixels.map(|pixel| shape.place(pixel) + first);
        block.multiply(columns, places, tensors.output());
    });
}
