//! Pooling: the largest or mean value of each channel, in windows or over the whole map.

use core::marker::PhantomData;

use crate::kernels::Tensors;
use crate::quantize::{Element, check_sum, check_zero_point};
use crate::{Geometry, LayerError, Requantize, Shape, Window, kernels};

/// The mean over height and width of each channel, as int8 or, without loss worth naming, int16.
///
/// ```
/// use condconv::{GlobalAveragePool, Requantize, Shape, checked};
///
/// // Scale 1 in, 1/2 out: 2 / 4 pixels, and 2^16 of headroom for the multiplier.
/// static POOL: GlobalAveragePool<'static, i8, i16> = checked(GlobalAveragePool::new(
///     Shape::new(2, 2, 1),
///     0,
///     16,
///     checked(Requantize::new(&[1 << 15], 0, -32768, 32767)),
/// ));
/// let mut output = [0];
/// POOL.infer(&[1, 2, 3, 4], &mut output);
/// assert_eq!(output, [5]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct GlobalAveragePool<'a, X = i8, Y = i8> {
    input: Shape,
    zero_point: i32,
    shift: u32,
    requantize: Requantize<'a>,
    elements: PhantomData<(X, Y)>,
}

impl<'a, X: Element, Y: Element> GlobalAveragePool<'a, X, Y> {
    /// The accumulator is the sum of `x - zero_point` times `2^shift`; `requantize` has one multiplier for all
    /// channels, the division by the number of pixels included.
    ///
    /// # Errors
    ///
    /// [`LayerError::AccumulatorOverflow`] if `span * pixels * 2^shift` reaches 2^31, and errors for lengths
    /// and ranges.
    pub const fn new(
        input: Shape,
        zero_point: i32,
        shift: u32,
        requantize: Requantize<'a>,
    ) -> Result<Self, LayerError> {
        if let Err(error) = input.check() {
            return Err(error);
        }
        if let Err(error) = check_sum::<X>(input.pixels(), shift) {
            return Err(error);
        }
        match (check_zero_point::<X>(zero_point), requantize.check::<Y>(1)) {
            (Ok(()), Ok(())) => Ok(Self { input, zero_point, shift, requantize, elements: PhantomData }),
            (Err(error), _) | (_, Err(error)) => Err(error),
        }
    }

    /// Elements of the input.
    #[must_use]
    pub const fn input_len(&self) -> usize {
        self.input.len()
    }

    /// Elements of the output.
    #[must_use]
    pub const fn output_len(&self) -> usize {
        self.input.channels
    }

    /// Pools an NHWC tensor into one value a channel.
    ///
    /// # Panics
    ///
    /// If a slice is not of the layer's shape.
    #[inline(never)]
    pub fn infer(&self, input: &[X], output: &mut [Y]) {
        assert!(input.len() == self.input_len() && output.len() == self.output_len());
        kernels::pool(self.input, self.zero_point, input, |first, sums| {
            for (output, sum) in output[first..].iter_mut().zip(sums) {
                *output = self.requantize.apply(0, sum << self.shift);
            }
        });
    }
}

/// The largest value in each window. Padding takes no part.
///
/// ```
/// use condconv::{Geometry, MaxPool2d, Shape, Window, checked};
///
/// static POOL: MaxPool2d = checked(MaxPool2d::new(Shape::new(1, 4, 1), Window::new([1, 2]).stride([1, 2])));
/// let mut output = [0i8; 2];
/// POOL.infer(&[3, 7, -1, -5], &mut output);
/// assert_eq!(output, [7, -1]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct MaxPool2d<X = i8> {
    geometry: Geometry,
    element: PhantomData<X>,
}

impl<X: Element> MaxPool2d<X> {
    /// Scale and zero point of the output are those of the input.
    ///
    /// # Errors
    ///
    /// As [`Geometry::new`], and [`LayerError::EmptyWindow`] if some window meets nothing but padding.
    pub const fn new(input: Shape, window: Window) -> Result<Self, LayerError> {
        match pool_geometry(input, window) {
            Ok(geometry) => Ok(Self { geometry, element: PhantomData }),
            Err(error) => Err(error),
        }
    }

    /// The layer's shapes.
    #[must_use]
    pub const fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Elements of the input.
    #[must_use]
    pub const fn input_len(&self) -> usize {
        self.geometry.input().len()
    }

    /// Elements of the output.
    #[must_use]
    pub const fn output_len(&self) -> usize {
        self.geometry.output().len()
    }

    /// Pools an NHWC tensor.
    ///
    /// # Panics
    ///
    /// If a slice is not of the layer's shape.
    #[inline]
    pub fn infer(&self, input: &[X], output: &mut [X]) {
        assert!(input.len() == self.input_len() && output.len() == self.output_len());
        kernels::max_pool(&self.geometry, Tensors::apart(input, output));
    }

    /// Pools row `y` alone, from the rows of the input that [`Geometry::row_window`] says.
    ///
    /// # Panics
    ///
    /// If a slice is not of these rows' shape.
    #[inline(never)]
    pub fn infer_row(&self, y: usize, input: &[X], output: &mut [X]) {
        Self { geometry: self.geometry.row(y), ..*self }.infer(input, output);
    }
}

impl<X: Element> MaxPool2d<X> {
    /// The same with both tensors in one memory, where they begin at elements that [`Geometry::overlap`] allows: at others
    /// that overlap the output is none.
    ///
    /// # Panics
    ///
    /// If a tensor leaves the memory.
    #[inline]
    pub fn infer_within(&self, memory: &mut [X], [input, output]: [usize; 2]) {
        let (from, to) = (input..input + self.input_len(), output..output + self.output_len());
        let tensors = Tensors::within(memory, from, to);
        kernels::max_pool(&self.geometry, tensors);
    }
}

/// The mean of each window.
///
/// ```
/// use condconv::{AveragePool2d, Requantize, Shape, Window, checked};
///
/// // Same scale in and out: a multiplier of 1/2 for two taps, 2^2 of headroom for it, 1/1 where only one counts.
/// static POOL: AveragePool2d<'static> = checked(AveragePool2d::new(
///     Shape::new(1, 4, 1),
///     Window::new([1, 2]).stride([1, 2]),
///     0,
///     2,
///     checked(Requantize::new(&[1 << 30, 1 << 29], 0, -128, 127)),
/// ));
/// let mut output = [0i8; 2];
/// POOL.infer(&[3i8, 7, -1, -5], &mut output);
/// assert_eq!(output, [5, -3]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct AveragePool2d<'a, X = i8, Y = i8> {
    geometry: Geometry,
    zero_point: i32,
    shift: u32,
    requantize: Requantize<'a>,
    elements: PhantomData<(X, Y)>,
}

impl<'a, X: Element, Y: Element> AveragePool2d<'a, X, Y> {
    /// The accumulator is the sum of `x - zero_point` over the taps inside the input, times `2^shift`.
    /// `requantize` has one multiplier for each number of such taps, from 1 to all of them, the division included:
    /// the same for all where padding counts as zeros.
    ///
    /// # Errors
    ///
    /// As [`Geometry::new`]; [`LayerError::EmptyWindow`] if some window meets nothing but padding;
    /// [`LayerError::AccumulatorOverflow`]; errors for lengths and ranges.
    pub const fn new(
        input: Shape,
        window: Window,
        zero_point: i32,
        shift: u32,
        requantize: Requantize<'a>,
    ) -> Result<Self, LayerError> {
        let geometry = match pool_geometry(input, window) {
            Ok(geometry) => geometry,
            Err(error) => return Err(error),
        };
        if let Err(error) = check_sum::<X>(window.taps(), shift) {
            return Err(error);
        }
        match (check_zero_point::<X>(zero_point), requantize.check::<Y>(window.taps())) {
            (Ok(()), Ok(())) => Ok(Self { geometry, zero_point, shift, requantize, elements: PhantomData }),
            (Err(error), _) | (_, Err(error)) => Err(error),
        }
    }

    /// The layer's shapes.
    #[must_use]
    pub const fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Elements of the input.
    #[must_use]
    pub const fn input_len(&self) -> usize {
        self.geometry.input().len()
    }

    /// Elements of the output.
    #[must_use]
    pub const fn output_len(&self) -> usize {
        self.geometry.output().len()
    }

    /// Pools an NHWC tensor.
    ///
    /// # Panics
    ///
    /// If a slice is not of the layer's shape.
    #[inline]
    pub fn infer(&self, input: &[X], output: &mut [Y]) {
        assert!(input.len() == self.input_len() && output.len() == self.output_len());
        let (shift, requantize) = (self.shift, &self.requantize);
        kernels::average_pool(
            &self.geometry,
            self.zero_point,
            shift,
            requantize,
            Tensors::apart(input, output),
        );
    }

    /// Pools row `y` alone, from the rows of the input that [`Geometry::row_window`] says.
    ///
    /// # Panics
    ///
    /// If a slice is not of these rows' shape.
    #[inline(never)]
    pub fn infer_row(&self, y: usize, input: &[X], output: &mut [Y]) {
        Self { geometry: self.geometry.row(y), ..*self }.infer(input, output);
    }
}

impl<X: Element> AveragePool2d<'_, X, X> {
    /// The same with both tensors in one memory, where they begin at elements that [`Geometry::overlap`] allows: at others
    /// that overlap the output is none.
    ///
    /// # Panics
    ///
    /// If a tensor leaves the memory.
    #[inline]
    pub fn infer_within(&self, memory: &mut [X], [input, output]: [usize; 2]) {
        let (from, to) = (input..input + self.input_len(), output..output + self.output_len());
        let tensors = Tensors::within(memory, from, to);
        let (shift, requantize) = (self.shift, &self.requantize);
        kernels::average_pool(&self.geometry, self.zero_point, shift, requantize, tensors);
    }
}

/// A window over each channel that meets the input everywhere.
const fn pool_geometry(input: Shape, window: Window) -> Result<Geometry, LayerError> {
    let geometry = match Geometry::new(input, input.channels, window, input.channels) {
        Ok(geometry) => geometry,
        Err(error) => return Err(error),
    };
    if geometry.has_empty_window() {
        return Err(LayerError::EmptyWindow);
    }
    Ok(geometry)
}
