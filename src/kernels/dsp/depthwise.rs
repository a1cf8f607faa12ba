//! Depthwise convolutions: four channels at a time, a word of the input.

use super::conv::{Source, requantize};
use super::instructions::{smlabb, smlatt, sxtab16, sxtab16_ror8};
use super::lanes::both;
use crate::{Geometry, Requantize, Scratch};

/// Where the weights of four channels lie in the two words of a tap: halves of the words into which an input is widened.
const HALVES: [usize; 4] = [0, 2, 1, 3];

/// Convolves each channel with its kernel, if there are four channels or more and the scratch has room for as many;
/// returns whether it did.
#[inline(never)]
pub(crate) fn depthwise(
    geometry: &Geometry,
    zero_point: i32,
    source: &impl Source,
    scale: &Requantize<'_>,
    scratch: Scratch<'_>,
    input: &[i8],
    output: &mut [i8],
) -> bool {
    let Geometry { output: shape, window, .. } = *geometry;
    let words = 2 * window.taps();
    let Scratch { kernels, bias, .. } = scratch;
    let block_quads = (kernels.len() / words).min(bias.len() / 4);
    if shape.channels < 4 || block_quads == 0 {
        return false;
    }
    // The last four channels, if they fill no word of their own, are those of a word before in part.
    let start = |quad: usize| (4 * quad).min(shape.channels - 4);
    let quads = shape.channels.div_ceil(4);
    let mut first = 0;
    while first < quads {
        let block = first..quads.min(first + block_quads);
        for ((quad, words), bias) in
            block.clone().zip(kernels.chunks_exact_mut(words)).zip(bias.chunks_exact_mut(4))
        {
            let weights: &mut [i16] = bytemuck::must_cast_slice_mut(words);
            for (channel, (half, bias)) in (start(quad)..).zip(HALVES.iter().zip(bias)) {
                source.each(channel, |tap, weight| weights[4 * tap + half] = weight);
                *bias = source.bias(channel);
            }
        }
        let pixels = output.chunks_exact_mut(shape.channels).enumerate();
        for (pixel, output) in pixels {
            let seen = Seen::new(geometry, pixel / shape.width, pixel % shape.width);
            let prepared = kernels.chunks_exact(words).zip(bias.as_chunks::<4>().0);
            for (quad, (kernel, bias)) in block.clone().zip(prepared) {
                let channel = start(quad);
                let sums = seen.sums(input, channel, both(-zero_point), kernel, *bias);
                let multipliers = &scale.multipliers()[channel..channel + 4];
                let results: [i8; 4] = core::array::from_fn(|i| requantize(scale, multipliers[i], sums[i]));
                output[channel..channel + 4].copy_from_slice(&results);
            }
        }
        first = block.end;
    }
    true
}

/// The part of the input that an output pixel sees.
struct Seen {
    /// Taps of a row that meet the input, and rows that do.
    columns: usize,
    rows: usize,
    /// Offset of the first of them, of the step to the next column and to the next row.
    first: usize,
    column_step: usize,
    row_step: usize,
    /// Words of the kernel before the first tap, and from a row to the next.
    kernel_first: usize,
    kernel_step: usize,
}

impl Seen {
    #[inline(always)]
    fn new(geometry: &Geometry, y: usize, x: usize) -> Self {
        let Geometry { input, window, .. } = *geometry;
        let ((rows, first_row), (columns, first_column)) = (geometry.rows(y), geometry.columns(x));
        Self {
            columns: columns.len(),
            rows: rows.len(),
            first: (first_row * input.width + first_column) * input.channels,
            column_step: window.dilation[1] * input.channels,
            row_step: window.dilation[0] * input.width * input.channels,
            kernel_first: 2 * (rows.start * window.kernel[1] + columns.start),
            kernel_step: 2 * window.kernel[1],
        }
    }

    /// The accumulators of four channels.
    #[inline(always)]
    fn sums(&self, input: &[i8], channel: usize, offset: i32, kernel: &[i32], bias: [i32; 4]) -> [i32; 4] {
        let mut sums = bias;
        for row in 0..self.rows {
            let taps = &kernel[self.kernel_first + row * self.kernel_step..][..2 * self.columns];
            let from = self.first + row * self.row_step + channel;
            sums = match self.columns {
                3 => add_row(&input[from..], self.column_step, offset, taps, 3, sums),
                columns => add_row(&input[from..], self.column_step, offset, taps, columns, sums),
            };
        }
        sums
    }
}

/// Adds the taps of one row.
#[inline(always)]
#[allow(unsafe_code, reason = "one bounds check a row, not one a tap")]
fn add_row(
    input: &[i8],
    step: usize,
    offset: i32,
    taps: &[i32],
    columns: usize,
    mut sums: [i32; 4],
) -> [i32; 4] {
    if columns == 0 {
        return sums;
    }
    assert!(input.len() >= (columns - 1) * step + 4 && taps.len() == 2 * columns);
    let (mut from, mut tap) = (input.as_ptr(), taps.as_ptr());
    for column in 0..columns {
        // SAFETY: the assertion above says that the four bytes at each of `columns` steps, and two words for each, are
        // there; pointers move on only where another step follows.
        let (word, even, odd) = unsafe { (from.cast::<i32>().read_unaligned(), *tap, *tap.add(1)) };
        if column + 1 < columns {
            // SAFETY: as above.
            unsafe {
                from = from.add(step);
                tap = tap.add(2);
            }
        }
        let (x_even, x_odd) = (sxtab16(offset, word), sxtab16_ror8(offset, word));
        sums[0] = smlabb(x_even, even, sums[0]);
        sums[1] = smlabb(x_odd, odd, sums[1]);
        sums[2] = smlatt(x_even, even, sums[2]);
        sums[3] = smlatt(x_odd, odd, sums[3]);
    }
    sums
}
