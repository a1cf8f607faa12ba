//! Step three, convolve: one convolution, whose kernels lie in flash or were mixed a moment ago.

use core::marker::PhantomData;

use crate::kernel_source::StaticKernels;
use crate::kernels::{Source, Tensors};
use crate::mixing::Mixture;
use crate::quantize::{Element, check_zero_point, span};
use crate::{Experts, Geometry, LayerError, Requantize, RoutingWeight, kernels};

/// What static and conditional convolutions share: everything but the source of the kernels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Convolution<'a, X, Y> {
    geometry: Geometry,
    zero_point: i32,
    requantize: Requantize<'a>,
    elements: PhantomData<(X, Y)>,
}

impl<'a, X: Element, Y: Element> Convolution<'a, X, Y> {
    const NARROW: bool = X::MAX == <i8 as Element>::MAX && Y::MAX == <i8 as Element>::MAX;

    pub(crate) const fn new(
        geometry: Geometry,
        zero_point: i32,
        requantize: Requantize<'a>,
    ) -> Result<Self, LayerError> {
        if let Err(error) = check_zero_point::<X>(zero_point) {
            return Err(error);
        }
        if let Err(error) = requantize.check::<Y>(geometry.output().channels) {
            return Err(error);
        }
        Ok(Self { geometry, zero_point, requantize, elements: PhantomData })
    }

    pub(crate) const fn geometry(&self) -> Geometry {
        self.geometry
    }

    pub(crate) const fn row(&self, y: usize) -> Self {
        Self { geometry: self.geometry.row(y), ..*self }
    }

    pub(crate) const fn scratch_words(&self, mixed: bool) -> usize {
        self.geometry.least_scratch_words(Self::NARROW, mixed)
    }

    pub(crate) const fn overlap_scratch_words(&self, mixed: bool) -> usize {
        self.geometry.overlap_scratch_words(Self::NARROW, mixed)
    }

    #[inline]
    pub(crate) fn check(&self, input: &[X], output: &[Y]) {
        assert!(input.len() == self.geometry.input().len() && output.len() == self.geometry.output().len());
    }

    #[inline]
    pub(crate) fn infer(&self, source: &impl Source, scratch: &mut [i32], tensors: Tensors<'_, X, Y>) {
        kernels::convolve(&self.geometry, self.zero_point, &self.requantize, source, scratch, tensors);
    }

    #[inline]
    pub(crate) fn infer_depthwise(
        &self,
        source: &impl Source,
        scratch: &mut [i32],
        tensors: Tensors<'_, X, Y>,
    ) {
        kernels::depthwise(&self.geometry, self.zero_point, &self.requantize, source, scratch, tensors);
    }
}

impl<X: Element> Convolution<'_, X, X> {
    /// The tensors in one memory, where they begin at these elements.
    #[inline(always)]
    pub(crate) fn within<'t>(&self, memory: &'t mut [X], [input, output]: [usize; 2]) -> Tensors<'t, X, X> {
        let Geometry { input: from, output: to, .. } = self.geometry;
        Tensors::within(memory, input..input + from.len(), output..output + to.len())
    }
}

/// A convolution with kernels in flash, activation included; of any groups, though
/// [`DepthwiseConv2d`](crate::DepthwiseConv2d) has a loop of its own.
///
/// ```
/// use condconv::{Conv2d, Geometry, Requantize, Shape, StaticKernels, WeightSums, Window, checked};
///
/// // A 1x2 difference kernel on a row of four pixels; the requantisation divides by four.
/// static DIFFERENCE: Conv2d<'static> = checked(Conv2d::new(
///     checked(Geometry::new(Shape::new(1, 4, 1), 1, Window::new([1, 2]), 1)),
///     0,
///     checked(StaticKernels::new(&[-4, 4], &[0], &[WeightSums::new(4, 4)])),
///     checked(Requantize::new(&[1 << 30], 0, -128, 127)),
/// ));
/// let mut scratch = [0; DIFFERENCE.scratch_words()];
/// let mut output = [0; 3];
/// DIFFERENCE.infer(&[1, 3, 6, 10], &mut scratch, &mut output);
/// assert_eq!(output, [2, 3, 4]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Conv2d<'a, X = i8, Y = i8> {
    convolution: Convolution<'a, X, Y>,
    kernels: StaticKernels<'a>,
}

impl<'a, X: Element, Y: Element> Conv2d<'a, X, Y> {
    /// `zero_point` is the input's.
    ///
    /// # Errors
    ///
    /// If lengths do not match the geometry, a number lies outside its type, or the accumulator could leave
    /// i32 for some input: [`LayerError`] says which.
    pub const fn new(
        geometry: Geometry,
        zero_point: i32,
        kernels: StaticKernels<'a>,
        requantize: Requantize<'a>,
    ) -> Result<Self, LayerError> {
        match (
            kernels.check(geometry.output().channels, geometry.kernel_len(), span::<X>()),
            Convolution::new(geometry, zero_point, requantize),
        ) {
            (Ok(()), Ok(convolution)) => Ok(Self { convolution, kernels }),
            (Err(error), _) | (_, Err(error)) => Err(error),
        }
    }

    /// The layer's shapes.
    #[must_use]
    pub const fn geometry(&self) -> Geometry {
        self.convolution.geometry()
    }

    /// Elements of the input.
    #[must_use]
    pub const fn input_len(&self) -> usize {
        self.geometry().input().len()
    }

    /// Elements of the output.
    #[must_use]
    pub const fn output_len(&self) -> usize {
        self.geometry().output().len()
    }

    /// Words of scratch that the layer needs.
    #[must_use]
    pub const fn scratch_words(&self) -> usize {
        self.convolution.scratch_words(false)
    }

    /// Convolves an NHWC tensor.
    ///
    /// # Panics
    ///
    /// If a slice is not of the layer's shape, or the scratch shorter than [`scratch_words`](Self::scratch_words).
    #[inline]
    pub fn infer(&self, input: &[X], scratch: &mut [i32], output: &mut [Y]) {
        self.convolution.check(input, output);
        assert!(scratch.len() >= self.scratch_words());
        self.convolution.infer(&self.kernels, scratch, Tensors::apart(input, output));
    }

    /// Convolves row `y` alone, from the rows of the input that [`Geometry::row_window`] says.
    ///
    /// # Panics
    ///
    /// If a slice is not of these rows' shape, or the scratch shorter than [`scratch_words`](Self::scratch_words).
    #[inline(never)]
    pub fn infer_row(&self, y: usize, input: &[X], scratch: &mut [i32], output: &mut [Y]) {
        let row = self.convolution.row(y);
        row.check(input, output);
        assert!(scratch.len() >= self.scratch_words());
        row.infer(&self.kernels, scratch, Tensors::apart(input, output));
    }
}

impl<X: Element> Conv2d<'_, X, X> {
    /// Words of scratch that the layer needs where its output overlaps its input.
    #[must_use]
    pub const fn overlap_scratch_words(&self) -> usize {
        self.convolution.overlap_scratch_words(false)
    }

    /// The same with both tensors in one memory, where they begin at elements that [`Geometry::overlap`] allows: at others
    /// that overlap the output is none.
    ///
    /// # Panics
    ///
    /// If a tensor leaves the memory or the scratch is shorter than
    /// [`overlap_scratch_words`](Self::overlap_scratch_words).
    #[inline]
    pub fn infer_within(&self, memory: &mut [X], places: [usize; 2], scratch: &mut [i32]) {
        assert!(scratch.len() >= self.overlap_scratch_words());
        self.convolution.infer(&self.kernels, scratch, self.convolution.within(memory, places));
    }
}

/// A convolution whose kernels are mixed from experts for each input (Yang et al., CondConv, NeurIPS 2019):
/// `activation((alpha_1 W_1 + ... + alpha_n W_n) * x + b)`.
///
/// ```
/// use condconv::{
///     CondConv2d, Experts, Geometry, Requantize, RoutingWeight, Shape, WeightSums, Window, checked,
/// };
///
/// // Two 1x1 experts, 100 and -100, of the same scale, mixed with 3/4 and 1/4: 50 remains, in units of 2^-8
/// // of 2^14 since the mixing shift is 8.
/// const SUMS: [WeightSums; 2] = [WeightSums::new(100, 0), WeightSums::new(0, 100)];
/// static LAYER: CondConv2d<'static> = checked(CondConv2d::new(
///     checked(Geometry::new(Shape::new(1, 1, 1), 1, Window::new([1, 1]), 1)),
///     0,
///     checked(Experts::new(2, &[100, -100], &[32767, 32767], 8, &[0], &[], &SUMS)),
///     checked(Requantize::new(&[1 << 22], 0, -128, 127)),
/// ));
/// let routing = [RoutingWeight::from_num(0.75), RoutingWeight::from_num(0.25)];
/// let mut scratch = [0; LAYER.scratch_words()];
/// let mut output = [0];
/// LAYER.infer(&[20], &routing, &mut scratch, &mut output);
/// assert_eq!(output, [63]); // 50 * 20 * 2^6 * 2^-10 = 62.5
/// ```
#[derive(Clone, Copy, Debug)]
pub struct CondConv2d<'a, X = i8, Y = i8> {
    convolution: Convolution<'a, X, Y>,
    experts: Experts<'a>,
}

impl<'a, X: Element, Y: Element> CondConv2d<'a, X, Y> {
    /// `zero_point` is the input's.
    ///
    /// # Errors
    ///
    /// If lengths do not match the geometry, a number lies outside its type, or the mixed kernel could leave
    /// int16 or the accumulator i32 for some input and routing: [`LayerError`] says which.
    pub const fn new(
        geometry: Geometry,
        zero_point: i32,
        experts: Experts<'a>,
        requantize: Requantize<'a>,
    ) -> Result<Self, LayerError> {
        match (
            experts.check_mixed(geometry.output().channels, geometry.kernel_len(), span::<X>()),
            Convolution::new(geometry, zero_point, requantize),
        ) {
            (Ok(()), Ok(convolution)) => Ok(Self { convolution, experts }),
            (Err(error), _) | (_, Err(error)) => Err(error),
        }
    }

    /// The layer's shapes.
    #[must_use]
    pub const fn geometry(&self) -> Geometry {
        self.convolution.geometry()
    }

    /// Elements of the input.
    #[must_use]
    pub const fn input_len(&self) -> usize {
        self.geometry().input().len()
    }

    /// Elements of the output.
    #[must_use]
    pub const fn output_len(&self) -> usize {
        self.geometry().output().len()
    }

    /// Number of experts.
    #[must_use]
    pub const fn experts(&self) -> usize {
        self.experts.count()
    }

    /// Words of scratch that the layer needs to mix one kernel at a time; the more there are, the faster it is
    /// ([`Geometry::scratch_words`]).
    #[must_use]
    pub const fn scratch_words(&self) -> usize {
        self.convolution.scratch_words(true)
    }

    /// Mixes the kernels for `routing` and convolves an NHWC tensor, as many output channels at a time as the
    /// scratch has room for.
    ///
    /// # Panics
    ///
    /// If a slice is not of the layer's shape, `routing` is not one weight an expert, or the scratch is shorter than
    /// [`scratch_words`](Self::scratch_words).
    #[inline]
    pub fn infer(&self, input: &[X], routing: &[RoutingWeight], scratch: &mut [i32], output: &mut [Y]) {
        self.convolution.check(input, output);
        assert!(scratch.len() >= self.scratch_words());
        self.convolution.infer(&Mixture::new(&self.experts, routing), scratch, Tensors::apart(input, output));
    }
}

impl<X: Element> CondConv2d<'_, X, X> {
    /// Words of scratch that the layer needs where its output overlaps its input.
    #[must_use]
    pub const fn overlap_scratch_words(&self) -> usize {
        self.convolution.overlap_scratch_words(true)
    }

    /// The same with both tensors in one memory, where they begin at elements that [`Geometry::overlap`] allows: at others
    /// that overlap the output is none.
    ///
    /// # Panics
    ///
    /// If a tensor leaves the memory, `routing` is not one weight an expert, or the scratch is shorter than
    /// [`overlap_scratch_words`](Self::overlap_scratch_words).
    #[inline]
    pub fn infer_within(
        &self,
        memory: &mut [X],
        places: [usize; 2],
        routing: &[RoutingWeight],
        scratch: &mut [i32],
    ) {
        assert!(scratch.len() >= self.overlap_scratch_words());
        self.convolution.infer(
            &Mixture::new(&self.experts, routing),
            scratch,
            self.convolution.within(memory, places),
        );
    }
}
