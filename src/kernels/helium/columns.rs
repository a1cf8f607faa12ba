//! What four output pixels see of the input, a vector of each in turn:
//!
//! ```text
//! 0..16 of pixel 0   0..16 of pixel 1   0..16 of pixel 2   0..16 of pixel 3   16..32 of pixel 0   16..32 of pixel 1   ..
//! ```
//!
//! Padding is the zero point.

use super::VECTOR;
use super::copy::{Offsets, copy_gathered, copy_run, copy_runs};
use crate::kernels::windows::{Corner, PIXELS, Windows};
use crate::quantize::Element;

/// The columns of the windows of one group's input channels.
#[derive(Clone, Copy)]
pub(super) struct Columns<'a> {
    windows: Windows<'a>,
    zero_point: i8,
    /// From the first number that a window sees to the last.
    span: usize,
    layout: Layout<'a>,
}

/// How what a window sees lies in memory.
#[derive(Clone, Copy)]
enum Layout<'a> {
    /// So many runs of so many numbers, `step` apart: whole vectors, or a single run.
    Runs { count: usize, len: usize, step: usize },
    /// One by one, so far from the first number.
    Gathered(Offsets<'a>),
    /// Farther than offsets reach.
    Far,
}

impl<'a> Columns<'a> {
    /// Offsets of what windows see are put in a table, if it has room for them.
    pub(super) fn new(windows: Windows<'a>, zero_point: i32, table: &'a mut [u16]) -> Self {
        let span = windows.span();
        Self { windows, zero_point: i8::saturate(zero_point), span, layout: layout(&windows, span, table) }
    }

    /// Puts what four pixels see into the columns.
    #[inline(never)]
    pub(super) fn put(&self, pixels: [[usize; 2]; PIXELS], columns: &mut [i8]) {
        if let Some(seen) = self.windows.pixels_themselves(pixels) {
            return copy_runs(seen, 1, self.span, 0, columns);
        }
        let corners = pixels.map(|pixel| self.windows.corner(pixel));
        let mut seen = corners.map(|corner| self.windows.whole(corner, self.span));
        if matches!(self.layout, Layout::Far) {
            seen = [None; PIXELS];
        }
        if let Some(any) = seen.iter().copied().find_map(|seen| seen) {
            // Where a pixel meets padding, something is put that is replaced.
            let seen = seen.map(|seen| seen.unwrap_or(any));
            match self.layout {
                Layout::Runs { count, len, step } => copy_runs(seen, count, len, step, columns),
                Layout::Gathered(offsets) => copy_gathered(seen, &offsets, columns),
                Layout::Far => {}
            }
        }
        for (lane, (corner, seen)) in corners.into_iter().zip(seen).enumerate() {
            if seen.is_none() {
                self.put_one(corner, lane, columns);
            }
        }
    }

    #[inline(never)]
    fn put_one(&self, corner: Corner, lane: usize, columns: &mut [i8]) {
        let inside = self.windows.columns_inside(corner);
        if self.windows.meets_padding(corner, &inside) {
            for vectors in columns.chunks_exact_mut(PIXELS * VECTOR) {
                vectors[lane * VECTOR..][..VECTOR].fill(self.zero_point);
            }
        }
        self.windows.each_run_inside(corner, &inside, |at, run| copy_run(run, lane, at, columns));
    }
}

fn layout<'a>(windows: &Windows<'_>, span: usize, table: &'a mut [u16]) -> Layout<'a> {
    let geometry = windows.geometry;
    let [rows, columns] = geometry.window.kernel;
    let depth = geometry.group_channels();
    let row_step = geometry.window.dilation[0] * geometry.input.width * geometry.input.channels;
    if geometry.whole_rows() && (rows == 1 || (columns * depth).is_multiple_of(VECTOR)) {
        return Layout::Runs { count: rows, len: columns * depth, step: row_step };
    }
    let len = geometry.kernel_len();
    if table.len() < len.next_multiple_of(VECTOR) || span > 1 << 16 {
        return Layout::Far;
    }
    let (offsets, _) = table.split_at_mut(len.next_multiple_of(VECTOR));
    offsets.fill(0);
    let column_step = geometry.window.dilation[1] * geometry.input.channels;
    for (tap, offsets) in offsets[..len].chunks_exact_mut(depth).enumerate() {
        let first = tap / columns * row_step + tap % columns * column_step;
        for (channel, offset) in offsets.iter_mut().enumerate() {
            *offset = (first + channel) as u16;
        }
    }
    Layout::Gathered(Offsets::new(offsets))
}
