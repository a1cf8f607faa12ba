//! Output pixels, and where their windows lie on the input.

#[cfg(not(condconv_kernels = "scalar"))]
use core::ops::Range;

use crate::{Geometry, Shape};

/// Output pixels that are convolved at a time.
pub(super) const PIXELS: usize = 4;

/// Row and column of each.
pub(super) type Pixels = [[usize; 2]; PIXELS];

/// The windows of one group's input channels.
#[derive(Clone, Copy)]
pub(super) struct Windows<'a> {
    geometry: &'a Geometry,
    group: usize,
    input: &'a [i8],
}

/// Where a window begins: above or left of the map the numbers have wrapped around.
#[cfg(not(condconv_kernels = "helium"))]
#[derive(Clone, Copy)]
pub(super) struct Corner {
    row: usize,
    column: usize,
    /// Where the first of the group's channels would lie.
    place: usize,
}

impl<'a> Windows<'a> {
    pub(super) const fn new(geometry: &'a Geometry, group: usize, input: &'a [i8]) -> Self {
        Self { geometry, group, input }
    }
}

#[cfg(not(condconv_kernels = "helium"))]
impl Windows<'_> {
    /// Calls `each` with what pixels see, run of memory after run of memory, each of one length for all. A tap in the padding
    /// sees `padding`, as many channels as a group has.
    #[inline(always)]
    pub(super) fn each_run(&self, pixels: &Pixels, padding: &[i8], mut each: impl FnMut([&[i8]; PIXELS])) {
        let Geometry { input: shape, window, .. } = self.geometry;
        if self.geometry.pixels_see_themselves() {
            return each(pixels.map(|pixel| &self.input[shape.place(pixel)..][..shape.channels]));
        }
        let corners = pixels.map(|pixel| self.corner(pixel));
        let [rows, columns] = window.kernel;
        let depth = self.geometry.group_channels();
        // The rows of all pixels' windows are whole if none begins too far to the right, or wraps around.
        let begin = (shape.width + 1).saturating_sub(columns);
        let whole_rows = self.geometry.whole_rows() && corners.iter().all(|corner| corner.column < begin);
        for row in 0..rows {
            let down = row * window.dilation[0];
            if whole_rows && corners.iter().all(|corner| corner.row.wrapping_add(down) < shape.height) {
                let (first, len) = (down.wrapping_mul(shape.row_len()), columns * depth);
                each(corners.map(|corner| &self.input[corner.place.wrapping_add(first)..][..len]));
                continue;
            }
            for column in 0..columns {
                each(corners.map(|corner| {
                    self.offset(corner, row, column).map_or(padding, |at| &self.input[at..][..depth])
                }));
            }
        }
    }

    pub(super) fn corner(&self, [y, x]: [usize; 2]) -> Corner {
        let Geometry { input: shape, window, .. } = *self.geometry;
        let row = (y * window.stride[0]).wrapping_sub(window.padding.top);
        let column = (x * window.stride[1]).wrapping_sub(window.padding.left);
        let pixel = row.wrapping_mul(shape.width).wrapping_add(column);
        let channel = self.group * self.geometry.group_channels();
        Corner { row, column, place: pixel.wrapping_mul(shape.channels).wrapping_add(channel) }
    }

    /// Where the channels lie that the tap in that row and column of a kernel sees, unless it lies in the padding.
    #[inline(always)]
    pub(super) fn offset(&self, corner: Corner, row: usize, column: usize) -> Option<usize> {
        let Geometry { input: shape, window, .. } = *self.geometry;
        let row = corner.row.wrapping_add(row * window.dilation[0]);
        let column = corner.column.wrapping_add(column * window.dilation[1]);
        let first = self.group * self.geometry.group_channels();
        let inside = row < shape.height && column < shape.width;
        inside.then(|| shape.place([row, column]) + first)
    }
}

/// The windows that meet no padding: what each sees lies from its first tap to its last.
#[cfg(condconv_kernels = "helium")]
#[derive(Clone, Copy)]
pub(super) struct WholeWindows {
    /// The first of the pixels that have one, in each direction, and how many there are.
    first: [usize; 2],
    count: [usize; 2],
    /// From a pixel's window to the next one's, and where that of pixel 0, 0 would begin.
    step: [usize; 2],
    start: usize,
    /// Of what a window sees.
    pub(super) span: usize,
}

#[cfg(condconv_kernels = "helium")]
impl WholeWindows {
    pub(super) const fn new(geometry: &Geometry, group: usize) -> Self {
        let Geometry { input: shape, window, .. } = *geometry;
        let row = shape.width * shape.channels;
        let rows = (window.kernel[0] - 1) * window.dilation[0];
        let columns = (window.kernel[1] - 1) * window.dilation[1];
        let inside = [geometry.rows_on_map(), geometry.columns_on_map()];
        let depth = geometry.group_channels();
        let padding = window
            .padding
            .top
            .wrapping_mul(row)
            .wrapping_add(window.padding.left.wrapping_mul(shape.channels));
        Self {
            first: [inside[0].start, inside[1].start],
            count: [inside[0].end - inside[0].start, inside[1].end - inside[1].start],
            step: [window.stride[0].wrapping_mul(row), window.stride[1].wrapping_mul(shape.channels)],
            start: (group * depth).wrapping_sub(padding),
            // Where this wraps around no window is whole.
            span: rows
                .wrapping_mul(row)
                .wrapping_add(columns.wrapping_mul(shape.channels))
                .wrapping_add(depth),
        }
    }

    /// Where what a pixel's window sees begins, or [`NOWHERE`](Self::NOWHERE) if it meets padding.
    #[inline(always)]
    pub(super) const fn place(&self, [y, x]: [usize; 2]) -> usize {
        let inside =
            y.wrapping_sub(self.first[0]) < self.count[0] && x.wrapping_sub(self.first[1]) < self.count[1];
        let at = y.wrapping_mul(self.step[0]).wrapping_add(x.wrapping_mul(self.step[1]));
        if inside { at.wrapping_add(self.start) } else { Self::NOWHERE }
    }

    pub(super) const NOWHERE: usize = usize::MAX;
}

/// One pixel at a time, where runs do not end where words or vectors do.
#[cfg(not(condconv_kernels = "scalar"))]
impl Windows<'_> {
    /// Calls `each` with what one pixel sees, run of memory after run of memory, and where in a kernel each begins; what lies in
    /// the padding is left out. The rows and columns of the kernel that lie on the map are those of the
    /// [geometry](Geometry::rows).
    #[inline(always)]
    pub(super) fn each_run_inside(
        &self,
        (rows, first_row): (Range<usize>, usize),
        (columns, first_column): (Range<usize>, usize),
        mut each: impl FnMut(usize, &[i8]),
    ) {
        let Geometry { input: shape, window, .. } = *self.geometry;
        let depth = self.geometry.group_channels();
        let (runs, len) =
            if self.geometry.whole_rows() { (1, columns.len() * depth) } else { (columns.len(), depth) };
        let mut from = shape.place([first_row, first_column]) + self.group * depth;
        let mut to = (rows.start * window.kernel[1] + columns.start) * depth;
        for _ in rows {
            for run in 0..runs {
                let at = from + run * window.dilation[1] * shape.channels;
                each(to + run * depth, &self.input[at..][..len]);
            }
            // Where a step wraps around there is nothing to step to.
            from = from.wrapping_add(window.dilation[0].wrapping_mul(shape.row_len()));
            to += window.kernel[1] * depth;
        }
    }
}

/// Whether there is room for some channels from each place of the output on.
pub(super) fn have_room([a, b, c, d]: [usize; PIXELS], channels: usize, output: &[i8]) -> bool {
    let last = a.max(b).max(c.max(d));
    last <= output.len() && output.len() - last >= channels
}

/// Calls `each` with four output pixels after the other. Past the last pixel the last is repeated.
#[inline(always)]
pub(super) fn each_pixels(shape: Shape, backwards: bool, mut each: impl FnMut(&Pixels)) {
    let last = [shape.height - 1, shape.width - 1];
    let first = (shape.pixels() - 1) / PIXELS * PIXELS;
    let [mut y, mut x] = if backwards { [first / shape.width, first % shape.width] } else { [0; 2] };
    loop {
        let mut pixels = [[0; 2]; PIXELS];
        for pixel in &mut pixels {
            *pixel = [y, x];
            if x < last[1] {
                x += 1;
            } else if y < last[0] {
                [y, x] = [y + 1, 0];
            }
        }
        each(&pixels);
        if !backwards {
            if pixels[PIXELS - 1] == last {
                return;
            }
            continue;
        }
        [y, x] = pixels[0];
        if [y, x] == [0; 2] {
            return;
        }
        for _ in 0..PIXELS {
            [y, x] = if x > 0 { [y, x - 1] } else { [y - 1, last[1]] };
        }
    }
}
