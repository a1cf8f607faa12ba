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
            let seen = Seen::new(geometry, input, pixel / shape.width, pixel % shape.width);
            let prepared = kernels.chunks_exact(words).zip(bias.as_chunks::<4>().0);
            for (quad, (kernel, bias)) in block.clone().zip(prepared) {
                let channel = start(quad);
                let sums = seen.sums(channel, both(-zero_point), kernel, *bias);
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
struct Seen<'a> {
    /// From the first tap that meets the input on.
    input: &'a [i8],
    /// Taps of a row that meet the input, and rows that do.
    columns: usize,
    rows: usize,
    /// Steps to the next column and to the next row.
    column_step: usize,
    row_step: usize,
    /// Words of the kernel before the first tap, and from a row to the next.
    kernel_first: usize,
    kernel_step: usize,
}

impl<'a> Seen<'a> {
    #[inline(always)]
    fn new(geometry: &Geometry, input: &'a [i8], y: usize, x: usize) -> Self {
        let Geometry { input: shape, window, .. } = *geometry;
        let ((rows, first_row), (columns, first_column)) = (geometry.rows(y), geometry.columns(x));
        let empty = rows.is_empty() || columns.is_empty();
        Self {
            input: &input[(first_row * shape.width + first_column) * shape.channels..],
            columns: columns.len(),
            rows: if empty { 0 } else { rows.len() },
            column_step: window.dilation[1] * shape.channels,
            row_step: window.dilation[0] * shape.width * shape.channels,
            kernel_first: 2 * (rows.start * window.kernel[1] + columns.start),
            kernel_step: 2 * window.kernel[1],
        }
    }

    /// The accumulators of four channels.
    #[inline(always)]
    #[allow(unsafe_code, reason = "one bounds check a window, not one a tap")]
    fn sums(&self, channel: usize, offset: i32, kernel: &[i32], bias: [i32; 4]) -> [i32; 4] {
        if self.rows == 0 {
            return bias;
        }
        let (rows, columns) = (self.rows - 1, self.columns - 1);
        let input = &self.input[channel..];
        let kernel = &kernel[self.kernel_first..];
        assert!(input.len() >= rows * self.row_step + columns * self.column_step + 4);
        assert!(kernel.len() >= rows * self.kernel_step + 2 * columns + 2);
        let mut sums = bias;
        for row in 0..self.rows {
            // SAFETY: the assertions above say that the last tap of the last row lies within both slices, and no tap lies
            // further.
            unsafe {
                let from = input.as_ptr().add(row * self.row_step);
                let taps = kernel.as_ptr().add(row * self.kernel_step).cast::<[i32; 2]>();
                if self.columns == 3 {
                    add_row(from, self.column_step, offset, taps, 3, &mut sums);
                } else {
                    add_row(from, self.column_step, offset, taps, self.columns, &mut sums);
                }
            }
        }
        sums
    }
}

/// Adds the taps of one row.
///
/// # Safety
///
/// Four bytes can be read at `input` and at each of `columns` steps from it, and as many pairs of words at `taps`.
#[inline(always)]
#[allow(unsafe_code, reason = "one bounds check a window, not one a tap")]
unsafe fn add_row(
    input: *const i8,
    step: usize,
    offset: i32,
    taps: *const [i32; 2],
    columns: usize,
    sums: &mut [i32; 4],
) {
    for column in 0..columns {
        // SAFETY: as the caller promises.
        let (word, [even, odd]) =
            unsafe { (input.add(column * step).cast::<i32>().read_unaligned(), *taps.add(column)) };
        let (x_even, x_odd) = (sxtab16(offset, word), sxtab16_ror8(offset, word));
        sums[0] = smlabb(x_even, even, sums[0]);
        sums[1] = smlabb(x_odd, odd, sums[1]);
        sums[2] = smlatt(x_even, even, sums[2]);
        sums[3] = smlatt(x_odd, odd, sums[3]);
    }
}
