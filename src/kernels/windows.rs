//! Where the windows of output pixels lie on the input.

use core::ops::Range;

use crate::{Geometry, Shape};

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
    pub(super) row: usize,
    column: usize,
}

impl<'a> Windows<'a> {
    pub(super) const fn new(geometry: &'a Geometry, group: usize, input: &'a [i8]) -> Self {
        Self { geometry, group, input }
    }

    /// What the pixels see, if that is nothing but the input's pixels at the same place.
    #[inline(always)]
    pub(super) fn pixels_themselves<const N: usize>(&self, pixels: [[usize; 2]; N]) -> Option<[&'a [i8]; N]> {
        let Geometry { input: shape, output, window, groups } = *self.geometry;
        let same_places =
            [shape.height, shape.width] == [output.height, output.width] && window.stride == [1, 1];
        let same = window.kernel == [1, 1] && same_places && groups == 1;
        let input = self.input;
        (same && self.geometry.runs_are_words())
            .then(|| pixels.map(|[y, x]| &input[(y * shape.width + x) * shape.channels..][..shape.channels]))
    }

    pub(super) fn corner(&self, [y, x]: [usize; 2]) -> Corner {
        let window = &self.geometry.window;
        Corner {
            row: (y * window.stride[0]).wrapping_sub(window.padding.top),
            column: (x * window.stride[1]).wrapping_sub(window.padding.left),
        }
    }

    /// The channels that the tap in that row and column of a kernel sees, unless it lies in the padding.
    #[inline(always)]
    pub(super) fn tap(&self, corner: Corner, row: usize, column: usize) -> Option<&'a [i8]> {
        let Geometry { input: shape, window, .. } = *self.geometry;
        let row = corner.row.wrapping_add(row * window.dilation[0]);
        let column = corner.column.wrapping_add(column * window.dilation[1]);
        let depth = self.geometry.group_channels();
        let inside = row < shape.height && column < shape.width;
        inside.then(|| {
            &self.input[(row * shape.width + column) * shape.channels + self.group * depth..][..depth]
        })
    }

    /// What columns of a row of a kernel see that are one run of memory, unless the row or the first of them lies in the
    /// padding.
    #[inline(always)]
    pub(super) fn run(&self, corner: Corner, row: usize, columns: &Range<usize>) -> Option<&'a [i8]> {
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

/// Calls `each` with `N` output pixels after the other: row and column of each, and its number in the map. Past the last pixel
/// the last is repeated.
#[inline(always)]
pub(super) fn each_pixels<const N: usize>(shape: Shape, mut each: impl FnMut([[usize; 2]; N], [usize; N])) {
    let last = shape.pixels() - 1;
    let [mut y, mut x] = [0, 0];
    for first in (0..=last).step_by(N) {
        let numbers = core::array::from_fn(|lane| last.min(first + lane));
        let mut pixels = [[0; 2]; N];
        for pixel in &mut pixels {
            *pixel = [y, x];
            if x + 1 < shape.width {
                x += 1;
            } else if y + 1 < shape.height {
                [y, x] = [y + 1, 0];
            }
        }
        each(pixels, numbers);
    }
}
