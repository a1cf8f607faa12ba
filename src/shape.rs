//! Shapes of tensors (NHWC, batch 1) and the window of a convolution.

use core::ops::Range;

use crate::LayerError;

/// Largest extent of anything: heights, widths, channels, kernels, strides, paddings. 256 pixels of so many channels are counted in 32 bits.
const MAX_EXTENT: usize = (1 << 24) - 1;

/// Height, width and channels of a tensor in NHWC order with a batch of one. A vector of k features is
/// 1 x 1 x k.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Shape {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Channels.
    pub channels: usize,
}

impl Shape {
    /// A shape from height, width and channels.
    ///
    /// ```
    /// assert_eq!(condconv::Shape::new(28, 28, 3).len(), 2352);
    /// ```
    #[must_use]
    pub const fn new(height: usize, width: usize, channels: usize) -> Self {
        Self { height, width, channels }
    }

    /// A vector of features.
    #[must_use]
    pub const fn vector(features: usize) -> Self {
        Self::new(1, 1, features)
    }

    /// Number of pixels, height x width.
    #[must_use]
    pub const fn pixels(&self) -> usize {
        self.height * self.width
    }

    /// Number of elements of a row.
    #[must_use]
    pub const fn row_len(&self) -> usize {
        self.width * self.channels
    }

    /// Number of elements.
    #[must_use]
    #[allow(clippy::len_without_is_empty)]
    pub const fn len(&self) -> usize {
        self.pixels() * self.channels
    }

    /// Where the elements of a pixel begin, by its row and column.
    #[cfg(not(condconv_kernels = "portable"))]
    #[inline(always)]
    pub(crate) const fn place(&self, [y, x]: [usize; 2]) -> usize {
        (y * self.width + x) * self.channels
    }

    /// An error if a dimension is zero, or the tensor has 2^31 elements or more.
    pub(crate) const fn check(&self) -> Result<(), LayerError> {
        let Self { height, width, channels } = *self;
        if height == 0 || width == 0 || channels == 0 {
            return Err(LayerError::ZeroDimension);
        }
        if height > MAX_EXTENT || width > MAX_EXTENT || channels > MAX_EXTENT {
            return Err(LayerError::TooLarge);
        }
        if height as u128 * width as u128 * channels as u128 > i32::MAX as u128 {
            return Err(LayerError::TooLarge);
        }
        Ok(())
    }
}

/// Rows and columns of zeros around the input; each side on its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Padding {
    /// Rows above.
    pub top: usize,
    /// Columns to the left.
    pub left: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns to the right.
    pub right: usize,
}

impl Padding {
    /// A padding from its four sides.
    #[must_use]
    pub const fn new(top: usize, left: usize, bottom: usize, right: usize) -> Self {
        Self { top, left, bottom, right }
    }

    /// The same padding above and below, and left and right.
    #[must_use]
    pub const fn symmetric(vertical: usize, horizontal: usize) -> Self {
        Self { top: vertical, left: horizontal, bottom: vertical, right: horizontal }
    }

    /// An error if a side is too large.
    pub(crate) const fn check(&self) -> Result<(), LayerError> {
        let Self { top, left, bottom, right } = *self;
        if top > MAX_EXTENT || left > MAX_EXTENT || bottom > MAX_EXTENT || right > MAX_EXTENT {
            return Err(LayerError::TooLarge);
        }
        Ok(())
    }
}

/// How a kernel slides over its input. `[vertical, horizontal]` throughout.
///
/// ```
/// use condconv::{Padding, Shape, Window};
/// let window = Window::new([3, 3]).stride([2, 2]).padding(Padding::symmetric(1, 1));
/// assert_eq!(window.output(Shape::new(28, 28, 1), 8), Ok(Shape::new(14, 14, 8)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Window {
    /// Kernel rows and columns.
    pub kernel: [usize; 2],
    /// Step between output pixels, in input pixels.
    pub stride: [usize; 2],
    /// Zeros around the input.
    pub padding: Padding,
    /// Distance between kernel taps, in input pixels.
    pub dilation: [usize; 2],
}

impl Window {
    /// A kernel of the given rows and columns with stride 1, no padding and no dilation.
    #[must_use]
    pub const fn new(kernel: [usize; 2]) -> Self {
        Self { kernel, stride: [1, 1], padding: Padding::symmetric(0, 0), dilation: [1, 1] }
    }

    /// The window with another stride.
    #[must_use]
    pub const fn stride(self, stride: [usize; 2]) -> Self {
        Self { stride, ..self }
    }

    /// The window with another padding.
    #[must_use]
    pub const fn padding(self, padding: Padding) -> Self {
        Self { padding, ..self }
    }

    /// The window with another dilation.
    #[must_use]
    pub const fn dilation(self, dilation: [usize; 2]) -> Self {
        Self { dilation, ..self }
    }

    /// Number of taps.
    #[must_use]
    pub const fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// The shape of a convolution's output.
    ///
    /// # Errors
    ///
    /// [`LayerError::ZeroDimension`], [`LayerError::TooLarge`] or [`LayerError::KernelLargerThanInput`].
    pub const fn output(&self, input: Shape, channels: usize) -> Result<Shape, LayerError> {
        if let Err(error) = input.check() {
            return Err(error);
        }
        let mut axis = 0;
        while axis < 2 {
            if self.kernel[axis] == 0 || self.stride[axis] == 0 || self.dilation[axis] == 0 {
                return Err(LayerError::ZeroDimension);
            }
            if self.kernel[axis] > MAX_EXTENT
                || self.stride[axis] > MAX_EXTENT
                || self.dilation[axis] > MAX_EXTENT / self.kernel[axis]
            {
                return Err(LayerError::TooLarge);
            }
            axis += 1;
        }
        if let Err(error) = self.padding.check() {
            return Err(error);
        }
        let extent_h = (self.kernel[0] - 1) * self.dilation[0] + 1;
        let extent_w = (self.kernel[1] - 1) * self.dilation[1] + 1;
        let padded_h = input.height + self.padding.top + self.padding.bottom;
        let padded_w = input.width + self.padding.left + self.padding.right;
        if padded_h < extent_h || padded_w < extent_w {
            return Err(LayerError::KernelLargerThanInput);
        }
        let output = Shape::new(
            (padded_h - extent_h) / self.stride[0] + 1,
            (padded_w - extent_w) / self.stride[1] + 1,
            channels,
        );
        match output.check() {
            Ok(()) => Ok(output),
            Err(error) => Err(error),
        }
    }
}

/// A convolution's shapes, checked once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Geometry {
    pub(crate) input: Shape,
    pub(crate) output: Shape,
    pub(crate) window: Window,
    pub(crate) groups: usize,
}

impl Geometry {
    /// The geometry of a convolution of `groups` groups with the given number of output channels.
    ///
    /// # Errors
    ///
    /// As [`Window::output`], and [`LayerError::Groups`] where channels are not a multiple of the groups.
    ///
    /// ```
    /// use condconv::{Geometry, Shape, Window};
    /// let geometry = Geometry::new(Shape::new(8, 8, 4), 6, Window::new([3, 3]), 2).unwrap();
    /// assert_eq!(geometry.output(), Shape::new(6, 6, 6));
    /// assert_eq!(geometry.kernel_len(), 18);
    /// assert_eq!(geometry.macs(), 3888);
    /// ```
    pub const fn new(
        input: Shape,
        output_channels: usize,
        window: Window,
        groups: usize,
    ) -> Result<Self, LayerError> {
        let output = match window.output(input, output_channels) {
            Ok(output) => output,
            Err(error) => return Err(error),
        };
        if groups == 0 {
            return Err(LayerError::ZeroDimension);
        }
        if !input.channels.is_multiple_of(groups) || !output_channels.is_multiple_of(groups) {
            return Err(LayerError::Groups);
        }
        // Weights are counted in 32 bits on the device.
        let kernel = Shape::new(window.kernel[0], window.kernel[1], input.channels / groups);
        match kernel.check() {
            Ok(()) => Ok(Self { input, output, window, groups }),
            Err(error) => Err(error),
        }
    }

    /// The input's shape.
    #[must_use]
    pub const fn input(&self) -> Shape {
        self.input
    }

    /// The output's shape.
    #[must_use]
    pub const fn output(&self) -> Shape {
        self.output
    }

    /// Kernel, stride, padding and dilation.
    #[must_use]
    pub const fn window(&self) -> Window {
        self.window
    }

    /// Groups.
    #[must_use]
    pub const fn groups(&self) -> usize {
        self.groups
    }

    /// Whether every channel has a kernel of its own and there are as many outputs as inputs.
    #[must_use]
    pub const fn is_depthwise(&self) -> bool {
        self.groups == self.input.channels && self.groups == self.output.channels
    }

    /// Weights of one output channel: taps x input channels of its group.
    #[must_use]
    pub const fn kernel_len(&self) -> usize {
        self.window.taps() * self.group_channels()
    }

    /// Multiply-accumulates of the whole layer, padding included.
    #[must_use]
    pub const fn macs(&self) -> usize {
        self.output.len() * self.kernel_len()
    }

    /// Words of scratch with which a convolution prepares the kernels of `channels` output channels at a time, in twos; among them its
    /// columns, which are what four output pixels see of the input, as int16. What it needs at least is
    /// [`least_scratch_words`](Self::least_scratch_words).
    ///
    /// ```
    /// use condconv::{Geometry, Shape, Window};
    /// let geometry = Geometry::new(Shape::new(8, 8, 4), 6, Window::new([3, 3]), 1).unwrap();
    /// assert_eq!(geometry.scratch_words(0), 4 * 36 / 2 + 1); // and a pixel of padding
    /// assert_eq!(geometry.scratch_words(2), geometry.scratch_words(0) + 2 * (36 / 2 + 1)); // kernels and biases
    /// ```
    #[must_use]
    pub const fn scratch_words(&self, channels: usize) -> usize {
        4 * self.kernel_words() + self.staged_words() + channels.div_ceil(2) * 2 * (self.kernel_words() + 1)
    }

    /// Words of scratch that a convolution needs: columns, and room for a kernel if it is mixed or does not lie in flash in
    /// whole words. Layers with int16 elements (those that are not `narrow`) have loops that take no columns and read
    /// kernels in flash as they are.
    ///
    /// ```
    /// use condconv::{Geometry, Shape, Window};
    /// let geometry = Geometry::new(Shape::new(8, 8, 1), 6, Window::new([3, 3]), 1).unwrap();
    /// assert_eq!(geometry.least_scratch_words(true, false), geometry.scratch_words(1));
    /// assert_eq!(geometry.least_scratch_words(false, false), 0);
    /// ```
    #[must_use]
    pub const fn least_scratch_words(&self, narrow: bool, mixed: bool) -> usize {
        let columns = self.scratch_words(0);
        let kernel = self.scratch_words(1) - columns;
        match (narrow, mixed) {
            (true, false) if self.kernel_len().is_multiple_of(4) => columns,
            (true, _) => columns + kernel,
            (false, true) => kernel,
            (false, false) => 0,
        }
    }

    /// Words of scratch that a convolution needs whose output overlaps its input: kernels are mixed, or put in order, all at
    /// once.
    ///
    /// ```
    /// use condconv::{Geometry, Shape, Window};
    /// let geometry = Geometry::new(Shape::new(8, 8, 4), 6, Window::new([3, 3]), 1).unwrap();
    /// assert_eq!(geometry.overlap_scratch_words(true, true), geometry.scratch_words(6));
    /// assert_eq!(geometry.overlap_scratch_words(true, false), geometry.scratch_words(0));
    /// ```
    #[must_use]
    pub const fn overlap_scratch_words(&self, narrow: bool, mixed: bool) -> usize {
        let columns = self.scratch_words(0);
        let least = self.least_scratch_words(narrow, mixed);
        let in_flash = least <= if narrow { columns } else { 0 };
        match (in_flash, narrow) {
            (true, _) => least,
            (false, true) => self.scratch_words(self.output.channels),
            (false, false) => self.scratch_words(self.output.channels) - columns,
        }
    }

    /// Words of scratch with which a depthwise convolution prepares the kernels of `channels` channels at a time, in whole
    /// fours. With fewer than four channels it is [`scratch_words`](Self::scratch_words).
    ///
    /// ```
    /// use condconv::{Geometry, Shape, Window};
    /// let geometry = Geometry::new(Shape::new(8, 8, 6), 6, Window::new([3, 3]), 6).unwrap();
    /// assert_eq!(geometry.depthwise_scratch_words(6), 2 * (4 * 9 / 2 + 4));
    /// ```
    #[must_use]
    pub const fn depthwise_scratch_words(&self, channels: usize) -> usize {
        if self.output.channels < 4 {
            return self.scratch_words(channels);
        }
        channels.div_ceil(4) * (2 * self.window.taps() + 4)
    }

    /// Words of scratch with which the loops of every core prepare the kernels of `channels` channels at a time. Those of cores
    /// that multiply two numbers an instruction want a word for each tap of four pixels, beside what is mixed.
    ///
    /// ```
    /// use condconv::{Geometry, Shape, Window};
    /// let geometry = Geometry::new(Shape::new(8, 8, 4), 6, Window::new([3, 3]), 1).unwrap();
    /// assert_eq!(geometry.ample_scratch_words(6, true), 1 + 4 * 36 + 6 * (36 / 2 + 1));
    /// assert_eq!(geometry.ample_scratch_words(6, false), geometry.scratch_words(6));
    /// ```
    #[must_use]
    pub const fn ample_scratch_words(&self, channels: usize, mixed: bool) -> usize {
        let taps = 4 * self.kernel_len();
        let kernels = if mixed { channels * (self.kernel_len().div_ceil(2) + 1) } else { 0 };
        let (words, others) = if self.is_depthwise() {
            (self.depthwise_scratch_words(channels), taps + kernels)
        } else if mixed {
            (self.scratch_words(channels), self.group_channels().div_ceil(4) + taps + kernels)
        } else {
            (self.scratch_words(channels), 0)
        };
        if words < others { others } else { words }
    }

    /// Words of a channel's kernel as int16, filled up to whole fours.
    pub(crate) const fn kernel_words(&self) -> usize {
        self.kernel_len().div_ceil(4) * 2
    }

    /// Words of padding that a tap sees; where runs of numbers are no whole words, those in which the bytes of four columns
    /// are put together.
    pub(crate) const fn staged_words(&self) -> usize {
        if self.runs_are_words() { self.group_channels() / 4 } else { 4 * self.kernel_len().div_ceil(4) }
    }

    /// Whether all runs of numbers that lie side by side in memory are whole words.
    pub(crate) const fn runs_are_words(&self) -> bool {
        self.group_channels().is_multiple_of(4)
    }

    /// Whether the taps of a kernel row lie side by side in memory.
    pub(crate) const fn whole_rows(&self) -> bool {
        self.groups == 1 && self.window.dilation[1] == 1
    }

    /// Whether pixels see nothing but the input's at the same place.
    #[cfg(any(condconv_kernels = "dsp", condconv_kernels = "scalar"))]
    pub(crate) const fn pixels_see_themselves(&self) -> bool {
        let Self { input, output, window, groups } = self;
        let ([rows, columns], [down, right]) = (window.kernel, window.stride);
        let same_places =
            input.height == output.height && input.width == output.width && down == 1 && right == 1;
        same_places && rows == 1 && columns == 1 && *groups == 1
    }

    pub(crate) const fn group_channels(&self) -> usize {
        self.input.channels / self.groups
    }

    /// Whether the window meets nothing but padding somewhere.
    pub(crate) const fn has_empty_window(&self) -> bool {
        let mut y = 0;
        while y < self.output.height {
            let rows = self.rows(y).0;
            if rows.start == rows.end {
                return true;
            }
            y += 1;
        }
        let mut x = 0;
        while x < self.output.width {
            let columns = self.columns(x).0;
            if columns.start == columns.end {
                return true;
            }
            x += 1;
        }
        false
    }

    /// The kernel rows that meet the input at output row `y`, and the input row that the first of them meets.
    pub(crate) const fn rows(&self, y: usize) -> (Range<usize>, usize) {
        let w = &self.window;
        taps(y * w.stride[0], w.kernel[0], w.dilation[0], w.padding.top, self.input.height)
    }

    /// The kernel columns that meet the input at output column `x`, and the input column of the first.
    pub(crate) const fn columns(&self, x: usize) -> (Range<usize>, usize) {
        let w = &self.window;
        taps(x * w.stride[1], w.kernel[1], w.dilation[1], w.padding.left, self.input.width)
    }

    /// The output rows at which all rows of the kernel meet the input.
    #[cfg(any(condconv_kernels = "dsp", condconv_kernels = "helium"))]
    pub(crate) const fn rows_on_map(&self) -> Range<usize> {
        let w = &self.window;
        let extent = (w.kernel[0] - 1) * w.dilation[0];
        on_map(w.stride[0], extent, w.padding.top, self.input.height, self.output.height)
    }

    /// The output columns at which all columns of the kernel do.
    #[cfg(any(condconv_kernels = "dsp", condconv_kernels = "helium"))]
    pub(crate) const fn columns_on_map(&self) -> Range<usize> {
        let w = &self.window;
        let extent = (w.kernel[1] - 1) * w.dilation[1];
        on_map(w.stride[1], extent, w.padding.left, self.input.width, self.output.width)
    }
}

/// Where a kernel whose first and last tap are `extent` apart lies in `0..len`, if it begins at multiples of `stride`, less the
/// padding.
#[cfg(any(condconv_kernels = "dsp", condconv_kernels = "helium"))]
const fn on_map(stride: usize, extent: usize, padding: usize, len: usize, outputs: usize) -> Range<usize> {
    let first = padding.div_ceil(stride);
    let inside = (len + padding).saturating_sub(extent).div_ceil(stride);
    let end = if inside < outputs { inside } else { outputs };
    if first < end { first..end } else { 0..0 }
}

/// The taps of a kernel placed at `start - padding` that lie inside `0..len`, and where the first of them lies. A
/// kernel that lies wholly in the padding has none.
const fn taps(
    start: usize,
    kernel: usize,
    dilation: usize,
    padding: usize,
    len: usize,
) -> (Range<usize>, usize) {
    // Most kernels lie inside from one end to the other, which takes no division to find.
    if start >= padding && start - padding + (kernel - 1) * dilation < len {
        return (0..kernel, start - padding);
    }
    let first = padding.saturating_sub(start).div_ceil(dilation);
    let inside = (len + padding).saturating_sub(start).div_ceil(dilation);
    let end = if inside < kernel { inside } else { kernel };
    if first < end { (first..end, start + first * dilation - padding) } else { (0..0, 0) }
}
