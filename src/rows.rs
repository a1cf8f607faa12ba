//! Row by row: layers that run as soon as the rows are there that they need, so that no more of their tensors lies in
//! memory.

use core::ops::Range;

use crate::{Geometry, LayerError};

/// The rows of a layer's input that each row of its output is computed from.
///
/// ```
/// use condconv::{Geometry, Padding, Shape, Window};
/// let window = Window::new([3, 3]).stride([2, 2]).padding(Padding::symmetric(1, 1));
/// let rows = Geometry::new(Shape::new(8, 8, 1), 1, window, 1).unwrap().row_window();
/// assert_eq!((rows.rows(0), rows.rows(1), rows.rows(3)), (0..2, 1..4, 5..8));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowWindow {
    /// Rows of the input.
    height: usize,
    /// From the window's first row to its last.
    extent: usize,
    stride: usize,
    /// Rows of padding above the input.
    padding: usize,
}

impl RowWindow {
    /// Each row from the one at its place, as in sums, products and tables of functions.
    #[must_use]
    pub const fn same(height: usize) -> Self {
        Self { height, extent: 1, stride: 1, padding: 0 }
    }

    /// The rows that row `y` is computed from; none if that meets nothing but padding.
    #[must_use]
    pub const fn rows(&self, y: usize) -> Range<usize> {
        let start = (y * self.stride).saturating_sub(self.padding);
        let end = (y * self.stride + self.extent).saturating_sub(self.padding);
        if end < self.height {
            start..end
        } else if start < self.height {
            start..self.height
        } else {
            self.height..self.height
        }
    }
}

impl Geometry {
    /// The rows of the input that each row of the output is computed from.
    #[must_use]
    pub const fn row_window(&self) -> RowWindow {
        let window = &self.window;
        RowWindow {
            height: self.input.height,
            extent: (window.kernel[0] - 1) * window.dilation[0] + 1,
            stride: window.stride[0],
            padding: window.padding.top,
        }
    }

    /// The geometry whose input are the rows that row `y` is computed from, and whose output is that row.
    pub(crate) const fn row(mut self, y: usize) -> Self {
        let window = self.row_window();
        let rows = window.rows(y);
        let padding = &mut self.window.padding;
        padding.top = padding.top.saturating_sub(y * window.stride);
        self.input.height = rows.end - rows.start;
        padding.bottom = window.extent - padding.top - self.input.height;
        self.output.height = 1;
        self
    }
}

/// A tensor whose rows are computed one after the other, and kept only as long as others are computed from them.
#[derive(Clone, Copy, Debug)]
pub struct RowTensor<'a> {
    /// Rows of the whole tensor.
    height: usize,
    /// Rows that there is room for.
    kept: usize,
    /// The tensors that it is computed from, by number.
    inputs: &'a [(usize, RowWindow)],
}

impl<'a> RowTensor<'a> {
    /// A tensor of `height` rows of which `kept` lie in memory at a time, and the numbers of the tensors that it is computed
    /// from; none for what comes from outside.
    #[must_use]
    pub const fn new(height: usize, kept: usize, inputs: &'a [(usize, RowWindow)]) -> Self {
        Self { height, kept, inputs }
    }
}

/// The order in which rows of `N` tensors are computed, from the network's input, number 0, to the last tensor, which is kept
/// whole: each no earlier than a row of the last one needs it.
///
/// ```
/// use condconv::{Geometry, Padding, RowSchedule, RowTensor, RowWindow, Shape, Window, checked};
///
/// // A 3x3 convolution of five rows, and its sum with its input.
/// const CONV: Geometry = checked(Geometry::new(
///     Shape::new(5, 4, 1), 1, Window::new([3, 3]).padding(Padding::symmetric(1, 1)), 1,
/// ));
/// static SCHEDULE: RowSchedule<'static, 3> = checked(RowSchedule::new([
///     RowTensor::new(5, 3, &[]),
///     RowTensor::new(5, 1, &[(0, CONV.row_window())]),
///     RowTensor::new(5, 5, &[(0, RowWindow::same(5)), (1, RowWindow::same(5))]),
/// ]));
/// let mut progress = SCHEDULE.start();
/// let mut steps = core::iter::from_fn(|| SCHEDULE.next(&mut progress)).map(|step| (step.tensor, step.row));
/// assert!(steps.by_ref().take(7).eq([(0, 0), (0, 1), (1, 0), (2, 0), (0, 2), (1, 1), (2, 1)]));
/// assert_eq!(steps.last(), Some((2, 4)));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RowSchedule<'a, const N: usize> {
    tensors: [RowTensor<'a>; N],
}

impl<'a, const N: usize> RowSchedule<'a, N> {
    /// Each tensor is computed from ones before it.
    ///
    /// # Errors
    ///
    /// [`LayerError::ZeroDimension`] if there is no tensor, or one without rows; [`LayerError::Rows`] if rows are not kept as
    /// long as they are needed, or a tensor is computed from itself or from no row.
    pub const fn new(tensors: [RowTensor<'a>; N]) -> Result<Self, LayerError> {
        if N == 0 {
            return Err(LayerError::ZeroDimension);
        }
        let mut number = 0;
        while number < N {
            let RowTensor { height, inputs, .. } = tensors[number];
            if height == 0 {
                return Err(LayerError::ZeroDimension);
            }
            let mut input = 0;
            while input < inputs.len() {
                let (from, window) = inputs[input];
                if from >= number || window.height != tensors[from].height || window.has_empty_row(height) {
                    return Err(LayerError::Rows);
                }
                input += 1;
            }
            number += 1;
        }
        let schedule = Self { tensors };
        let mut progress = schedule.start();
        while schedule.next(&mut progress).is_some() {}
        if progress.made[N - 1] < tensors[N - 1].height || progress.first[N - 1] > 0 {
            return Err(LayerError::Rows);
        }
        Ok(schedule)
    }

    /// Before the first row.
    #[must_use]
    pub const fn start(&self) -> RowProgress<N> {
        RowProgress { made: [0; N], first: [0; N] }
    }

    /// The row to be computed next; none after the last.
    #[must_use]
    pub const fn next(&self, progress: &mut RowProgress<N>) -> Option<RowStep> {
        let mut tensor = N - 1;
        if progress.made[tensor] >= self.tensors[tensor].height {
            return None;
        }
        while let Some(input) = self.missing(progress, tensor) {
            tensor = input;
        }
        let kept = self.tensors[tensor].kept;
        let (row, first) = (progress.made[tensor], progress.first[tensor]);
        let mut dropped = 0;
        if row - first >= kept {
            dropped = self.first_needed(progress, tensor) - first;
            if dropped == 0 {
                return None;
            }
        }
        progress.first[tensor] += dropped;
        progress.made[tensor] += 1;
        Some(RowStep { tensor, row, dropped, place: row - first - dropped })
    }

    /// A tensor from whose next row the next of this one is computed.
    const fn missing(&self, progress: &RowProgress<N>, tensor: usize) -> Option<usize> {
        let inputs = self.tensors[tensor].inputs;
        let mut number = 0;
        while number < inputs.len() {
            let (input, window) = inputs[number];
            if window.rows(progress.made[tensor]).end > progress.made[input] {
                return Some(input);
            }
            number += 1;
        }
        None
    }

    /// The first row of a tensor from which a row that is still to come is computed.
    const fn first_needed(&self, progress: &RowProgress<N>, tensor: usize) -> usize {
        let mut first = progress.made[tensor];
        let mut reader = tensor + 1;
        while reader < N {
            let RowTensor { height, inputs, .. } = self.tensors[reader];
            let next = progress.made[reader];
            let mut number = 0;
            while number < inputs.len() && next < height {
                let (input, window) = inputs[number];
                if input == tensor && window.rows(next).start < first {
                    first = window.rows(next).start;
                }
                number += 1;
            }
            reader += 1;
        }
        first
    }
}

impl RowWindow {
    /// Whether one of so many rows is computed from none.
    const fn has_empty_row(&self, height: usize) -> bool {
        let (first, last) = (self.rows(0), self.rows(height - 1));
        first.start == first.end || last.start == last.end
    }
}

/// How many rows of each tensor there have been, and the first that is kept.
#[derive(Clone, Copy, Debug)]
pub struct RowProgress<const N: usize> {
    made: [usize; N],
    first: [usize; N],
}

impl<const N: usize> RowProgress<N> {
    /// Some rows of a tensor, from among those that are kept.
    ///
    /// # Panics
    ///
    /// If they are not kept: those that the last step is computed from are.
    #[inline]
    #[must_use]
    pub fn input<'b, X, const ROW: usize>(
        &self,
        tensor: usize,
        rows: Range<usize>,
        kept: &'b [[X; ROW]],
    ) -> &'b [X] {
        let first = self.first[tensor];
        kept[rows.start - first..rows.end - first].as_flattened()
    }
}

/// A row to be computed.
#[derive(Clone, Copy, Debug)]
pub struct RowStep {
    /// The tensor's number.
    pub tensor: usize,
    /// The row.
    pub row: usize,
    /// Rows that are needed no more.
    dropped: usize,
    /// Where it goes, after those are gone.
    place: usize,
}

impl RowStep {
    /// Where the row goes, among those that are kept: moves them up if there is no room.
    ///
    /// # Panics
    ///
    /// If there are fewer rows than the tensor's.
    #[inline]
    pub fn output<'b, X: Copy, const ROW: usize>(&self, kept: &'b mut [[X; ROW]]) -> &'b mut [X; ROW] {
        if self.dropped > 0 {
            kept.copy_within(self.dropped.., 0);
        }
        &mut kept[self.place]
    }
}
