//! Output pixels, and where their windows lie on the input.

use core::ops::Range;

use crate::{Geometry, Shape};

/// Output pixels that are convolved at a time.
pub(super) const PIXELS: usize = 4;

/// The windows of one group's input channels.
#[derive(Clone, Copy)]
pub(super) struct Windows<'a> {
    pub(super) geometry: &'a Geometry,
    group: usize,
    input: &'a [i8],
}

/// Where a window begins: above or left of the map the numbers have wrapped around.
#[derive(Clone, Copy)]
pub(super) struct Corner {
    row: usize,
    column: usize,
}

impl<'a> Windows<'a> {
    pub(super) const fn new(geometry: &'a Geometry, group: usize, input: &'a [i8]) -> Self {
        Self { geometry, group, input }
    }

    /// Calls `each` with what pixels see, run of memory after run of memory, each of one length for all. A tap in the padding
    /// sees `padding`, as many channels as a group has.
    #[cfg(not(condconv_kernels = "helium"))]
    #[inline(always)]
    pub(super) fn each_run(
        &self,
        pixels: [[usize; 2]; PIXELS],
        padding: &[i8],
        mut each: impl FnMut([&[i8]; PIXELS]),
    ) {
        if let Some(runs) = self.pixels_themselves(pixels) {
            return each(runs);
        }
        let corners = pixels.map(|pixel| self.corner(pixel));
        let [rows, columns] = self.geometry.window.kernel;
        let all = 0..columns;
        let whole_rows =
            self.geometry.whole_rows() && corners.iter().all(|corner| self.columns_inside(*corner) == all);
        for row in 0..rows {
            if whole_rows {
                let runs = corners.map(|corner| self.run(corner, row, &all));
                if runs.iter().all(Option::is_some) {
                    each(runs.map(Option::unwrap_or_default));
                    continue;
                }
            }
            for column in 0..columns {
                each(corners.map(|corner| self.tap(corner, row, column).unwrap_or(padding)));
            }
        }
    }

    /// What the pixels see, if that is nothing but the input's pixels at the same place.
    #[cfg(not(condconv_kernels = "helium"))]
    #[inline(always)]
    pub(super) fn pixels_themselves(&self, pixels: [[usize; 2]; PIXELS]) -> Option<[&'a [i8]; PIXELS]> {
        let Geometry { input: shape, output, window, groups } = *self.geometry;
        let same_places =
            [shape.height, shape.width] == [output.height, output.width] && window.stride == [1, 1];
        let same = window.kernel == [1, 1] && same_places && groups == 1;
        let input = self.input;
        same.then(|| pixels.map(|[y, x]| &input[(y * shape.width + x) * shape.channels..][..shape.channels]))
    }

    pub(super) fn corner(&self, [y, x]: [usize; 2]) -> Corner {
        let window = &self.geometry.window;
        Corner {
            row: (y * window.stride[0]).wrapping_sub(window.padding.top),
            column: (x * window.stride[1]).wrapping_sub(window.padding.left),
        }
    }

    /// Where the channels lie that the tap in that row and column of a kernel sees, unless it lies in the padding.
    #[inline(always)]
    pub(super) fn offset(&self, corner: Corner, row: usize, column: usize) -> Option<usize> {
        let Geometry { input: shape, window, .. } = *self.geometry;
        let row = corner.row.wrapping_add(row * window.dilation[0]);
        let column = corner.column.wrapping_add(column * window.dilation[1]);
        let depth = self.geometry.group_channels();
        let inside = row < shape.height && column < shape.width;
        inside.then(|| (row * shape.width + column) * shape.channels + self.group * depth)
    }

    /// The channels that lie there.
    #[inline(always)]
    fn tap(&self, corner: Corner, row: usize, column: usize) -> Option<&'a [i8]> {
        let depth = self.geometry.group_channels();
        self.offset(corner, row, column).map(|at| &self.input[at..][..depth])
    }

    /// What columns of a row of a kernel see that are one run of memory, unless the row or the first of them lies in the
    /// padding.
    #[inline(always)]
    fn run(&self, corner: Corner, row: usize, columns: &Range<usize>) -> Option<&'a [i8]> {
        let Shape { height, width, channels } = self.geometry.input;
        let row = corner.row.wrapping_add(row * self.geometry.window.dilation[0]);
        let first = corner.column.wrapping_add(columns.start);
        (row < height && first < width)
            .then(|| &self.input[(row * width + first) * channels..][..columns.len() * channels])
    }

    /// The columns of a kernel that lie on the map, if they are neighbours there.
    pub(super) fn columns_inside(&self, corner: Corner) -> Range<usize> {
        let len = self.geometry.window.kernel[1];
        let width = self.geometry.input.width;
        let left = 0usize.wrapping_sub(corner.column);
        if left <= len {
            left..len.min(width + left)
        } else {
            0..len.min(width.saturating_sub(corner.column))
        }
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
        let first =
            [window.padding.top.div_ceil(window.stride[0]), window.padding.left.div_ceil(window.stride[1])];
        let ends = [
            (shape.height + window.padding.top).saturating_sub(rows).div_ceil(window.stride[0]),
            (shape.width + window.padding.left).saturating_sub(columns).div_ceil(window.stride[1]),
        ];
        let depth = geometry.group_channels();
        let padding = window
            .padding
            .top
            .wrapping_mul(row)
            .wrapping_add(window.padding.left.wrapping_mul(shape.channels));
        Self {
            first,
            count: [ends[0].saturating_sub(first[0]), ends[1].saturating_sub(first[1])],
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
impl<'a> Windows<'a> {
    /// What lies from the tap on in that row and column of a kernel, unless it lies in the padding.
    #[cfg(condconv_kernels = "helium")]
    pub(super) fn from(&self, corner: Corner, row: usize, column: usize) -> Option<&'a [i8]> {
        self.offset(corner, row, column).map(|at| &self.input[at..])
    }

    /// Calls `each` with what one pixel sees, run of memory after run of memory, and where in a kernel each begins. What lies in
    /// the padding is an empty run; `columns` of the kernel lie [inside](Self::columns_inside).
    #[inline(always)]
    pub(super) fn each_run_inside(
        &self,
        corner: Corner,
        columns: &Range<usize>,
        mut each: impl FnMut(usize, &[i8]),
    ) {
        let [kernel_rows, kernel_columns] = self.geometry.window.kernel;
        let depth = self.geometry.group_channels();
        let whole_rows = self.geometry.whole_rows();
        for row in 0..kernel_rows {
            if whole_rows {
                let run = self.run(corner, row, columns).unwrap_or_default();
                each((row * kernel_columns + columns.start) * depth, run);
            } else {
                (0..kernel_columns).for_each(|column| {
                    let tap = self.tap(corner, row, column).unwrap_or_default();
                    each((row * kernel_columns + column) * depth, tap);
                });
            }
        }
    }

    /// Whether some tap may lie in the padding, if `columns` of the kernel lie [inside](Self::columns_inside).
    #[cfg(not(condconv_kernels = "helium"))]
    #[inline(always)]
    pub(super) fn meets_padding(&self, corner: Corner, columns: &Range<usize>) -> bool {
        let window = &self.geometry.window;
        let last_row = corner.row.wrapping_add((window.kernel[0] - 1) * window.dilation[0]);
        let height = self.geometry.input.height;
        !self.geometry.whole_rows()
            || columns.len() < window.kernel[1]
            || corner.row >= height
            || last_row >= height
    }
}

/// Bounds some channels of pixels further than int8 does.
#[cfg(not(condconv_kernels = "helium"))]
pub(super) fn bound(
    (min, max): (i32, i32),
    pixels: Range<usize>,
    all_channels: usize,
    channels: Range<usize>,
    output: &mut [i8],
) {
    if (min, max) == (-128, 127) {
        return;
    }
    for pixel in pixels {
        for y in &mut output[pixel * all_channels..][channels.clone()] {
            *y = (*y).clamp(min as i8, max as i8);
        }
    }
}

/// Whether there is room for some channels from each place of the output on.
pub(super) fn have_room(places: [usize; PIXELS], channels: usize, output: &[i8]) -> bool {
    places.iter().all(|&place| place <= output.len() && output.len() - place >= channels)
}

/// Calls `each` with four output pixels after the other: row and column of each, and its number in the map. Past the last pixel
/// the last is repeated.
#[inline(always)]
pub(super) fn each_pixels(
    shape: Shape,
    backwards: bool,
    mut each: impl FnMut([[usize; 2]; PIXELS], [usize; PIXELS]),
) {
    let last = shape.pixels() - 1;
    let mut first = if backwards { last / PIXELS * PIXELS } else { 0 };
    let [mut y, mut x] = if backwards { [first / shape.width, first % shape.width] } else { [0; 2] };
    loop {
        let start = [y, x];
        let numbers = core::array::from_fn(|lane| last.min(first + lane));
        let mut pixels = [[0; 2]; PIXELS];
        for pixel in &mut pixels {
            *pixel = [y, x];
            if x + 1 < shape.width {
                x += 1;
            } else if y + 1 < shape.height {
                [y, x] = [y + 1, 0];
            }
        }
        each(pixels, numbers);
        if !backwards {
            first += PIXELS;
            if first > last {
                return;
            }
            continue;
        }
        if first == 0 {
            return;
        }
        first -= PIXELS;
        [y, x] = start;
        for _ in 0..PIXELS {
            [y, x] = if x > 0 { [y, x - 1] } else { [y - 1, shape.width - 1] };
        }
    }
}
