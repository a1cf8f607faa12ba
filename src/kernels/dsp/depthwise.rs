//! Depthwise convolutions: four channels at a time, a word of the input.

use core::ops::Range;

use super::conv::{Source, convolve};
use super::order::Order;
use super::taps::{Block, Run};
use crate::kernels::Tensors;
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

/// Convolves all pixels of a block of channels: in each row the pixels whose windows lie on the map from left to right go
/// together, the others one by one.
#[inline(never)]
fn convolve_block(
    geometry: &Geometry,
    block: &Block<'_>,
    bounds: (i32, i32),
    channels: Range<usize>,
    tensors: &mut Tensors<'_, i8, i8>,
) {
    let Geometry { input: shape, output: out_shape, window, .. } = *geometry;
    let mut xs = 0..out_shape.width;
    let is_inside = |x: &usize| geometry.columns(*x).0.len() == window.kernel[1];
    let first = xs.find(is_inside).unwrap_or(out_shape.width);
    let inside = first..xs.find(|x| !is_inside(x)).unwrap_or(out_shape.width);
    for y in 0..out_shape.height {
        let (rows, first_row) = geometry.rows(y);
        let mut x = 0;
        while x < out_shape.width {
            let (columns, first_column) = geometry.columns(x);
            let pixels = if inside.contains(&x) { inside.len() } else { 1 };
            // Where a step wraps around there is nothing to step to.
            let run = Run {
                input: (first_row * shape.width + first_column) * shape.channels + channels.start,
                output: (y * out_shape.width + x) * out_shape.channels + channels.start,
                pixels,
                output_step: shape.channels,
                input_step: window.stride[1].wrapping_mul(shape.channels),
                rows: rows.len(),
                columns: columns.len(),
                row_step: window.dilation[0].wrapping_mul(shape.width * shape.channels),
                column_step: window.dilation[1].wrapping_mul(shape.channels),
                tap: rows.start * window.kernel[1] + columns.start,
                kernel_columns: window.kernel[1],
            };
            block.multiply(&run, tensors);
            x += pixels;
        }
        let row = y * out_shape.width..(y + 1) * out_shape.width;
        bound(bounds, row, out_shape.channels, channels.clone(), tensors.output());
    }
}
