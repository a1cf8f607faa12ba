//! Step three, convolve: one convolution, whose kernels lie in flash or were mixed a moment ago.

use core::marker::PhantomData;

use crate::kernel_source::StaticKernels;
use crate::kernels::Source;
use crate::mixing::Mixture;
use crate::quantize::{Element, check_zero_point, span};
use crate::{Experts, Geometry, LayerError, Requantize, RoutingWeight, Scratch, kernels};

/// What static and conditional convolutions share: everything but the source of the kernels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Convolution<'a, X, Y> {
    geometry: Geometry,
    zero_point: i32,
    requantize: Requantize<'a>,
    elements: PhantomData<(X, Y)>,
}

impl<'a, X: Element, Y: Element> Convolution<'a, X, Y> {
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

    #[inline]
    pub(crate) fn check(&self, input: &[X], output: &[Y]) {
        assert!(input.len() == self.geometry.input().len() && output.len() == self.geometry.output().len());
    }

    pub(crate) fn infer(&self, source: impl Source, scratch: Scratch<'_>, input: &[X], output: &mut [Y]) {
        kernels::convolve(&self.geometry, self.zero_point, &self.requantize, source, scratch, input, output);
    }

    pub(crate) fn infer_depthwise(
        &self,
        source: impl Source,
        scratch: Scratch<'_>,
        input: &[X],
        output: &mut [Y],
    ) {
        kernels::depthwise(&self.geometry, self.zero_point, &self.requantize, source, scratch, input, output);
    }
}

/// A convolution with kernels in flash, activation included; of any groups, though
/// [`DepthwiseConv2d`](crate::DepthwiseConv2d) has a loop of its own.
///
/// ```
/// use condconv::{Conv2d, Geometry, Requantize, Scratch, Shape, StaticKernels, WeightSums, Window, checked};
///
/// // A 1x2 difference kernel on a row of four pixels; the requantisation divides by four.
/// static DIFFERENCE: Conv2d<'static> = checked(Conv2d::new(
///     checked(Geometry::new(Shape::new(1, 4, 1), 1, Window::new([1, 2]), 1)),
///     0,
///     checked(StaticKernels::new(&[-4, 4], &[0], &[WeightSums::new(4, 4)])),
///     checked(Requantize::new(&[1 << 30], 0, -128, 127)),
/// ));
/// let mut output = [0; 3];
/// DIFFERENCE.infer(&[1, 3, 6, 10], Scratch::none(), &mut output);
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

    /// Convolves an NHWC tensor, faster with room in the scratch.
    ///
    /// # Panics
    ///
    /// If a slice is not of the layer's shape.
    #[inline]
    pub fn infer(&self, input: &[X], scratch: Scratch<'_>, output: &mut [Y]) {
        self.convolution.check(input, output);
        self.convolution.infer(self.kernels, scratch, input, output);
    }
}

/// A convolution whose kernels are mixed from experts for each input (Yang et al., CondConv, NeurIPS 2019):
/// `activation((alpha_1 W_1 + ... + alpha_n W_n) * x + b)`.
///
/// ```
/// use condconv::{
///     CondConv2d, Experts, Geometry, Requantize, RoutingWeight, ScratchBuffer, Shape, WeightSums, Window, checked,
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
/// let mut buffer = ScratchBuffer::<0, 1, 1>::new();
/// let mut output = [0];
/// LAYER.infer(&[20], &routing, buffer.lend(), &mut output);
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

    /// Mixes the kernels for `routing` and convolves an NHWC tensor, as many output channels at a time as the
    /// scratch holds.
    ///
    /// # Panics
    ///
    /// If a slice is not of the layer's shape, `routing` is not one weight an expert, or the scratch does not
    /// hold the kernel of one output channel.
    #[inline]
    pub fn infer(&self, input: &[X], routing: &[RoutingWeight], scratch: Scratch<'_>, output: &mut [Y]) {
        self.convolution.check(input, output);
        self.convolution.infer(Mixture::new(&self.experts, routing), scratch, input, output);
    }
}
