//! What four output pixels see of the input, a vector of each in turn:
//!
//! ```text
//! 0..16 of pixel 0   0..16 of pixel 1   0..16 of pixel 2   0..16 of pixel 3   16..32 of pixel 0   16..32 of pixel 1   ..
//! ```
//!
//! Padding is the zero point.

use super::VECTOR;
use super::copy::{Offsets, copy_gathered, copy_run, copy_runs, copy_runs_of_one, fill};
use crate::Geometry;
use crate::kernels::windows::{PIXELS, Pixels, WholeWindows, Windows};
use crate::quantize::Element;

/// The columns of the windows of one group's input channels.
#[derive(Clone, Copy)]
pub(super) struct Columns<'a> {
    geometry: &'a Geometry,
    group: usize,
    zero_point: i8,
    whole: WholeWindows,
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
    pub(super) fn new(geometry: &'a Geometry, group: usize, zero_point: i32, table: &'a mut [u16]) -> Self {
        let whole = WholeWindows::new(geometry, group);
        let layout = layout(geometry, whole.span, table);
        Self { geometry, group, zero_point: i8::saturate(zero_point), whole, layout }
    }

    /// Puts what four pixels see of the input into the columns.
    #[inline(never)]
    pub(super) fn put(&self, input: &[i8], pixels: &Pixels, columns: &mut [i8]) {
        let places = pixels.map(|pixel| self.whole.place(pixel));
        if places.contains(&WholeWindows::NOWHERE) || matches!(self.layout, Layout::Far) {
            return self.put_some(input, pixels, places, columns);
        }
        self.copy(input, places, columns);
    }

    /// Copies what lies at four places.
    fn copy(&self, input: &[i8], places: [usize; PIXELS], columns: &mut [i8]) {
        match self.layout {
            Layout::Runs { count, len, step } => copy_runs(input, places, count, len, step, columns),
            Layout::Gathered(offsets) => copy_gathered(input, places, &offsets, columns),
            Layout::Far => {}
        }
    }

    /// Puts what pixels see of which some meet padding.
    #[inline(never)]
    fn put_some(&self, input: &[i8], pixels: &Pixels, places: [usize; PIXELS], columns: &mut [i8]) {
        let somewhere = places.into_iter().find(|place| *place != WholeWindows::NOWHERE);
        if let Some(somewhere) = somewhere {
            // Where a pixel meets padding, something is put that is replaced.
            let places = places.map(|place| if place == WholeWindows::NOWHERE { somewhere } else { place });
            self.copy(input, places, columns);
        }
        for (lane, (pixel, place)) in pixels.iter().zip(places).enumerate() {
            if place == WholeWindows::NOWHERE || matches!(self.layout, Layout::Far) {
                self.put_one(input, *pixel, lane, columns);
            }
        }
    }

    /// Puts what a pixel sees whose window meets padding.
    #[inline(never)]
    fn put_one(&self, input: &[i8], pixel: [usize; 2], lane: usize, columns: &mut [i8]) {
        let geometry = self.geometry;
        fill(self.zero_point, lane, columns);
        let (rows, first_row) = geometry.rows(pixel[0]);
        let (inside, first_column) = geometry.columns(pixel[1]);
        let depth = geometry.group_channels();
        if let Layout::Runs { step, .. } = self.layout
            && depth.is_multiple_of(VECTOR)
        {
            if !rows.is_empty() && !inside.is_empty() {
                let seen = &input[geometry.input.place([first_row, first_column]) + self.group * depth..];
                let [row_len, len] = [geometry.window.kernel[1], inside.len()].map(|columns| columns * depth);
                let at = rows.start * row_len + inside.start * depth;
                copy_runs_of_one(seen, rows.len(), len, step, lane, at, row_len, columns);
            }
            return;
        }
        let windows = Windows::new(geometry, self.group, input);
        windows.each_run_inside((rows, first_row), (inside, first_column), |at, run| {
            copy_run(run, lane, at, columns);
        });
    }
}

fn layout<'a>(geometry: &Geometry, span: usize, table: &'a mut [u16]) -> Layout<'a> {
    let [rows, columns] = geometry.window.kernel;
    let depth = geometry.group_channels();
    // Where a step wraps around there is nothing to step to.
    let row_step = geometry.window.dilation[0].wrapping_mul(geometry.input.width * geometry.input.channels);
    if geometry.whole_rows() && (rows == 1 || (columns * depth).is_multiple_of(VECTOR)) {
        return Layout::Runs { count: rows, len: columns * depth, step: row_step };
    }
    let len = geometry.kernel_len();
    if table.len() < len.next_multiple_of(VECTOR) || span > 1 << 16 {
        return Layout::Far;
    }
    let (offsets, _) = table.split_at_mut(len.next_multiple_of(VECTOR));
    offsets.fill(0);
    let column_step = geometry.window.dilation[1].wrapping_mul(geometry.input.channels);
    for (tap, offsets) in offsets[..len].chunks_exact_mut(depth).enumerate() {
        let first =
            (tap / columns).wrapping_mul(row_step).wrapping_add((tap % columns).wrapping_mul(column_step));
        for (channel, offset) in offsets.iter_mut().enumerate() {
            *offset = first.wrapping_add(channel) as u16;
        }
    }
    Layout::Gathered(Offsets::new(offsets))
}
