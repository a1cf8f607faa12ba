//! Pixels of a depthwise convolution whose windows meet the map alike.

use super::Tensors;
use crate::Geometry;

/// Neighbouring pixels of one row or column that see the same taps. Steps are in elements.
pub(super) struct Run {
    /// The first channel of the first tap of the first pixel, and of its output.
    pub(super) input: usize,
    pub(super) output: usize,
    pub(super) pixels: usize,
    /// From one output to the next.
    pub(super) output_step: usize,
    /// From what one pixel sees to what the next does.
    pub(super) input_step: usize,
    /// The taps that meet the map: their rows and columns, the steps between them, the first of them in the kernel.
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) row_step: usize,
    pub(super) column_step: usize,
    pub(super) tap: usize,
    pub(super) kernel_columns: usize,
}

impl Run {
    /// # Panics
    ///
    /// If the run leaves the input, the output or a kernel of so many taps.
    pub(super) fn check(&self, channels: usize, taps: usize, tensors: &mut Tensors<'_, i8, i8>) {
        assert!(
            self.pixels > 0
                && self.columns <= self.kernel_columns
                && tensors.output().len() >= self.output + (self.pixels - 1) * self.output_step + channels
        );
        if self.rows > 0 && self.columns > 0 {
            let (rows, columns) = (self.rows - 1, self.columns - 1);
            let last = self.input
                + (self.pixels - 1) * self.input_step
                + rows * self.row_step
                + columns * self.column_step;
            assert!(
                tensors.input().len() >= last + channels
                    && taps >= self.tap + rows * self.kernel_columns + self.columns
            );
        }
    }
}

/// Calls `each` with run after run, along the longer side of the map, or along rows if pixels have to come in their order: the
/// pixels whose windows lie on the map from one end to the other go together, the others one by one. Runs begin with the
/// `first` channel.
#[inline(always)]
pub(super) fn each_run(geometry: &Geometry, first: usize, in_order: bool, mut each: impl FnMut(&Run)) {
    let Geometry { input: shape, output: out_shape, window, .. } = *geometry;
    let down = !in_order && out_shape.height > out_shape.width;
    let (lines, line) =
        if down { (out_shape.width, out_shape.height) } else { (out_shape.height, out_shape.width) };
    let inside = if down { geometry.rows_on_map() } else { geometry.columns_on_map() };
    // Where a step wraps around there is nothing to step to.
    let input_row = shape.width * shape.channels;
    let (output_step, input_step) = if down {
        (out_shape.width * shape.channels, window.stride[0].wrapping_mul(input_row))
    } else {
        (shape.channels, window.stride[1].wrapping_mul(shape.channels))
    };
    for at in 0..lines {
        let mut i = 0;
        while i < line {
            let [y, x] = if down { [i, at] } else { [at, i] };
            let (rows, first_row) = geometry.rows(y);
            let (columns, first_column) = geometry.columns(x);
            let pixels = if inside.contains(&i) { inside.len() } else { 1 };
            each(&Run {
                input: first_row * input_row + first_column * shape.channels + first,
                output: (y * out_shape.width + x) * shape.channels + first,
                pixels,
                output_step,
                input_step,
                rows: rows.len(),
                columns: columns.len(),
                row_step: window.dilation[0].wrapping_mul(input_row),
                column_step: window.dilation[1].wrapping_mul(shape.channels),
                tap: rows.start * window.kernel[1] + columns.start,
                kernel_columns: window.kernel[1],
            });
            i += pixels;
        }
    }
}
