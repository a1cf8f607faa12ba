//! What four output pixels see of the input, side by side and widened:
//!
//! ```text
//! pixel 0 (0, 2)   pixel 1 (0, 2)   pixel 2 (0, 2)   pixel 3 (0, 2)   pixel 0 (1, 3)   ..   pixel 3 (1, 3)   pixel 0 (4, 6)   ..
//! ```

use super::{both, widen};
use crate::Geometry;
use crate::quantize::Element;

/// Pixels that are convolved at a time.
pub(super) const PIXELS: usize = 4;

/// Four numbers that each of four pixels sees.
type Group = [i32; 2 * PIXELS];

/// The windows of one group's input channels.
#[derive(Clone, Copy)]
pub(super) struct Windows<'a> {
    pub(super) geometry: &'a Geometry,
    pub(super) zero_point: i32,
    pub(super) group: usize,
    pub(super) input: &'a [i8],
}

impl Windows<'_> {
    /// Puts what `pixels` see, less the zero point, into the columns; padding is zero.
    #[inline(never)]
    pub(super) fn put(&self, pixels: [usize; PIXELS], columns: &mut [i32], staged: &mut [i32]) {
        let groups = columns.as_chunks_mut::<{ 2 * PIXELS }>().0;
        let offset = both(-self.zero_point);
        for (lane, pixel) in pixels.into_iter().enumerate() {
            let mut at = 0;
            if self.geometry.runs_are_words() {
                self.for_each_run(pixel, |before, inside, after| {
                    zero(&mut groups[at / 4..(at + before) / 4], lane);
                    at += before;
                    spread(inside, offset, &mut groups[at / 4..(at + inside.len()) / 4], lane);
                    at += inside.len();
                    zero(&mut groups[at / 4..(at + after) / 4], lane);
                    at += after;
                });
            } else {
                // Runs end within words, so they are put together as bytes first. Past the last is what was there before:
                // kernels are zero there.
                let bytes: &mut [i8] = bytemuck::must_cast_slice_mut(staged);
                let outside = i8::saturate(self.zero_point);
                self.for_each_run(pixel, |before, inside, after| {
                    for byte in &mut bytes[at..at + before] {
                        *byte = outside;
                    }
                    at += before;
                    for (byte, x) in bytes[at..at + inside.len()].iter_mut().zip(inside) {
                        *byte = *x;
                    }
                    at += inside.len();
                    for byte in &mut bytes[at..at + after] {
                        *byte = outside;
                    }
                    at += after;
                });
                spread(bytes, offset, groups, lane);
            }
        }
    }

    /// Calls `each` with every run of numbers that lie side by side in memory: how many of it are padding before the map,
    /// those on the map, and how many are padding after it.
    #[inline(always)]
    fn for_each_run(&self, pixel: usize, mut each: impl FnMut(usize, &[i8], usize)) {
        let Geometry { input: shape, output, window, .. } = *self.geometry;
        let (rows, first_row) = self.geometry.rows(pixel / output.width);
        let (columns, first_column) = self.geometry.columns(pixel % output.width);
        let depth = self.geometry.group_channels();
        for row in 0..window.kernel[0] {
            if !rows.contains(&row) || columns.is_empty() {
                each(window.kernel[1] * depth, &[], 0);
                continue;
            }
            let input_row = (first_row + (row - rows.start) * window.dilation[0]) * shape.width;
            if self.geometry.whole_rows() {
                let from = (input_row + first_column) * depth;
                let inside = &self.input[from..from + columns.len() * depth];
                each(columns.start * depth, inside, (window.kernel[1] - columns.end) * depth);
                continue;
            }
            each(columns.start * depth, &[], 0);
            for tap in 0..columns.len() {
                let column = first_column + tap * window.dilation[1];
                let from = (input_row + column) * shape.channels + self.group * depth;
                each(0, &self.input[from..from + depth], 0);
            }
            each((window.kernel[1] - columns.end) * depth, &[], 0);
        }
    }
}

/// Widens whole words of a run into a lane and adds `offset` to each half.
#[inline(never)]
fn spread(run: &[i8], offset: i32, groups: &mut [Group], lane: usize) {
    let lane = lane % PIXELS;
    for (group, bytes) in groups.iter_mut().zip(run.as_chunks::<4>().0) {
        [group[lane], group[lane + PIXELS]] = widen(*bytes, offset);
    }
}

#[inline(never)]
fn zero(groups: &mut [Group], lane: usize) {
    let lane = lane % PIXELS;
    for group in groups {
        group[lane] = 0;
        group[lane + PIXELS] = 0;
    }
}
