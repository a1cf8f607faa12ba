//! Depthwise convolutions: one kernel a channel, from flash or mixed.

use crate::conv::Convolution;
use crate::kernel_source::StaticKernels;
use crate::kernels::Tensors;
use crate::mixing::Mixture;
use crate::quantize::{Element, span};
use crate::{Experts, Geometry, LayerError, Requantize, RoutingWeight};

const fn check(geometry: &Geometry) -> Result<(), LayerError> {
    if geometry.is_depthwise() { Ok(()) } else { Err(LayerError::Groups) }
}

/// A depthwise convolution with kernels in flash. A depth multiplier above one is a grouped
/// [`Conv2d`](crate::Conv2d).
///
/// ```
/// use condconv::{DepthwiseConv2d, Geometry, Requantize, Shape, StaticKernels, WeightSums, Window, checked};
///
/// // Two channels of two pixels; one channel is summed, the other subtracted.
/// const SUMS: [WeightSums; 2] = [WeightSums::new(4, 0), WeightSums::new(2, 2)];
/// static LAYER: DepthwiseConv2d<'static> = checked(DepthwiseConv2d::new(
///     checked(Geometry::new(Shape::new(1, 2, 2), 2, Window::new([1, 2]), 2)),
///     0,
///     checked(StaticKernels::new(&[2, 2, 2, -2], &[0, 0], &SUMS)),
///     checked(Requantize::new(&[1 << 30; 2], 0, -128, 127)),
/// ));
/// let mut scratch = [0; LAYER.scratch_words()];
/// let mut output = [0; 2];
/// LAYER.infer(&[10, 20, 30, 40], &mut scratch, &mut output);
/// assert_eq!(output, [20, -10]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct DepthwiseConv2d<'a, X = i8, Y = i8> {
    convolution: Convolution<'a, X, Y>,
    kernels: StaticKernels<'a>,
}

impl<'a, X: Element, Y: Element> DepthwiseConv2d<'a, X, Y> {
    /// The geometry has as many groups as channels; `zero_point` is the input's.
    ///
    /// # Errors
    ///
    /// [`LayerError::Groups`] if the geometry is not depthwise, and as
    /// [`Conv2d::new`](crate::Conv2d::new).
    pub const fn new(
        geometry: Geometry,
        zero_point: i32,
        kernels: StaticKernels<'a>,
        requantize: Requantize<'a>,
    ) -> Result<Self, LayerError> {
        match (
            check(&geometry),
            kernels.check(geometry.output().channels, geometry.kernel_len(), span::<X>()),
            Convolution::new(geometry, zero_point, requantize),
        ) {
            (Ok(()), Ok(()), Ok(convolution)) => Ok(Self { convolution, kernels }),
            (Err(error), ..) | (_, Err(error), _) | (_, _, Err(error)) => Err(error),
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

    /// Words of scratch that the layer needs to prepare four channels at a time.
    #[must_use]
    pub const fn scratch_words(&self) -> usize {
        self.geometry().depthwise_scratch_words(1)
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
        self.convolution.infer_depthwise(&self.kernels, scratch, Tensors::apart(input, output));
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
        row.infer_depthwise(&self.kernels, scratch, Tensors::apart(input, output));
    }
}

impl<X: Element> DepthwiseConv2d<'_, X, X> {
    /// The same with both tensors in one memory, where they begin at elements that [`Geometry::overlap`] allows: at others
    /// that overlap the output is none.
    ///
    /// # Panics
    ///
    /// If a tensor leaves the memory or the scratch is shorter than
    /// [`scratch_words`](Self::scratch_words).
    #[inline]
    pub fn infer_within(&self, memory: &mut [X], places: [usize; 2], scratch: &mut [i32]) {
        assert!(scratch.len() >= self.scratch_words());
        self.convolution.infer_depthwise(&self.kernels, scratch, self.convolution.within(memory, places));
    }
}

/// A depthwise convolution whose kernels are mixed from experts for each input.
#[derive(Clone, Copy, Debug)]
pub struct CondDepthwiseConv2d<'a, X = i8, Y = i8> {
    convolution: Convolution<'a, X, Y>,
    experts: Experts<'a>,
}

impl<'a, X: Element, Y: Element> CondDepthwiseConv2d<'a, X, Y> {
    /// The geometry has as many groups as channels; `zero_point` is the input's.
    ///
    /// # Errors
    ///
    /// [`LayerError::Groups`] if the geometry is not depthwise, and as
    /// [`CondConv2d::new`](crate::CondConv2d::new).
    pub const fn new(
        geometry: Geometry,
        zero_point: i32,
        experts: Experts<'a>,
        requantize: Requantize<'a>,
    ) -> Result<Self, LayerError> {
        match (
            check(&geometry),
            experts.check_mixed(geometry.output().channels, geometry.kernel_len(), span::<X>()),
            Convolution::new(geometry, zero_point, requantize),
        ) {
            (Ok(()), Ok(()), Ok(convolution)) => Ok(Self { convolution, experts }),
            (Err(error), ..) | (_, Err(error), _) | (_, _, Err(error)) => Err(error),
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

    /// Words of scratch that the layer needs to mix the kernels of four channels at a time.
    #[must_use]
    pub const fn scratch_words(&self) -> usize {
        self.geometry().depthwise_scratch_words(1)
    }

    /// Mixes the kernels for `routing` and convolves an NHWC tensor.
    ///
    /// # Panics
    ///
    /// As [`CondConv2d::infer`](crate::CondConv2d::infer).
    #[inline]
    pub fn infer(&self, input: &[X], routing: &[RoutingWeight], scratch: &mut [i32], output: &mut [Y]) {
        self.convolution.check(input, output);
        assert!(scratch.len() >= self.scratch_words());
        self.convolution.infer_depthwise(
            &Mixture::new(&self.experts, routing),
            scratch,
            Tensors::apart(input, output),
        );
    }
}

impl<X: Element> CondDepthwiseConv2d<'_, X, X> {
    /// The same with both tensors in one memory, where they begin at elements that [`Geometry::overlap`] allows: at others
    /// that overlap the output is none.
    ///
    /// # Panics
    ///
    /// If a tensor leaves the memory, `routing` is not one weight an expert, or the scratch is shorter than
    /// [`scratch_words`](Self::scratch_words).
    #[inline]
    pub fn infer_within(
        &self,
        memory: &mut [X],
        places: [usize; 2],
        routing: &[RoutingWeight],
        scratch: &mut [i32],
    ) {
        assert!(scratch.len() >= self.scratch_words());
        self.convolution.infer_depthwise(
            &Mixture::new(&self.experts, routing),
            scratch,
            self.convolution.within(memory, places),
        );
    }
}
