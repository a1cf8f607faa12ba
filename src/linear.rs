//! Fully connected layers on a vector of features.
//!
//! A conditional one does not mix: a weight would be used once, so mixing would cost more than the layer. It
//! takes the paper's equivalent form, n products combined by the coefficients:
//!
//! ```text
//! D_i = sum_k W_ik (x_k - zero_point)
//! acc = B + ((sum_i coef_i D_i + 2^(shift-1)) >> shift)
//! ```

use core::marker::PhantomData;

use crate::kernel_source::StaticKernels;
use crate::quantize::{Element, check_zero_point, round_shift_wide, span};
use crate::{Experts, LayerError, MAX_EXPERTS, Requantize, RoutingWeight, Shape, kernels};

/// A fully connected layer with weights in flash, activation included.
///
/// ```
/// use condconv::{Linear, Requantize, StaticKernels, WeightSums, checked};
///
/// const SUMS: [WeightSums; 2] = [WeightSums::new(3, 0), WeightSums::new(1, 2)];
/// static LAYER: Linear<'static, i8, i16> = checked(Linear::new(
///     2,
///     0,
///     checked(StaticKernels::new(&[1, 2, 1, -2], &[40, 0], &SUMS)),
///     checked(Requantize::new(&[1 << 30; 2], 0, -32768, 32767)),
/// ));
/// let mut output = [0; 2];
/// LAYER.infer(&[100, 50], &mut output);
/// assert_eq!(output, [60, 0]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Linear<'a, X = i8, Y = i8> {
    features: usize,
    zero_point: i32,
    kernels: StaticKernels<'a>,
    requantize: Requantize<'a>,
    elements: PhantomData<(X, Y)>,
}

impl<'a, X: Element, Y: Element> Linear<'a, X, Y> {
    /// `features` inputs; weights `[output][input]`; `zero_point` is the input's.
    ///
    /// # Errors
    ///
    /// If lengths do not match, a number lies outside its type, or the accumulator could leave i32.
    pub const fn new(
        features: usize,
        zero_point: i32,
        kernels: StaticKernels<'a>,
        requantize: Requantize<'a>,
    ) -> Result<Self, LayerError> {
        if let Err(error) = Shape::vector(features).check() {
            return Err(error);
        }
        let outputs = kernels.bias().len();
        match (
            kernels.check(outputs, features, span::<X>()),
            requantize.check::<Y>(outputs),
            check_zero_point::<X>(zero_point),
        ) {
            (Ok(()), Ok(()), Ok(())) => {
                Ok(Self { features, zero_point, kernels, requantize, elements: PhantomData })
            }
            (Err(error), ..) | (_, Err(error), _) | (_, _, Err(error)) => Err(error),
        }
    }

    /// Elements of the input.
    #[must_use]
    pub const fn input_len(&self) -> usize {
        self.features
    }

    /// Elements of the output.
    #[must_use]
    pub const fn output_len(&self) -> usize {
        self.kernels.bias().len()
    }

    /// Multiplies a vector.
    ///
    /// # Panics
    ///
    /// If a slice is not of the layer's size.
    // Once a kind of layer, not once a layer.
    #[inline(never)]
    pub fn infer(&self, input: &[X], output: &mut [Y]) {
        assert!(input.len() == self.input_len() && output.len() == self.output_len());
        self.multiply(input, output);
    }

    fn multiply(&self, input: &[X], output: &mut [Y]) {
        let each = |first: usize, products: &[i32]| {
            kernels::requantize(&self.requantize, first, self.kernels.bias(), products, output);
        };
        kernels::dots(input, self.kernels.weights(), self.zero_point, each);
    }
}

/// A fully connected layer whose weights depend on the input through the routing weights.
///
/// ```
/// use condconv::{CondLinear, Experts, Requantize, RoutingWeight, WeightSums, checked};
///
/// // One output, two experts that each look at one feature; shift 14 keeps the experts' scale.
/// const SUMS: [WeightSums; 2] = [WeightSums::new(100, 0); 2];
/// static LAYER: CondLinear<'static, i8, i16> = checked(CondLinear::new(
///     2,
///     0,
///     checked(Experts::new(2, &[100, 0, 0, 100], &[32767; 2], 14, &[0], &[], &SUMS)),
///     checked(Requantize::new(&[1 << 30], 0, -32768, 32767)),
/// ));
/// let mut output = [0];
/// LAYER.infer(&[40, 80], &[RoutingWeight::from_num(0.5), RoutingWeight::from_num(0.25)], &mut output);
/// assert_eq!(output, [1000]); // (0.5 * 4000 + 0.25 * 8000) / 4
/// ```
#[derive(Clone, Copy, Debug)]
pub struct CondLinear<'a, X = i8, Y = i8> {
    features: usize,
    zero_point: i32,
    experts: Experts<'a>,
    requantize: Requantize<'a>,
    elements: PhantomData<(X, Y)>,
}

impl<'a, X: Element, Y: Element> CondLinear<'a, X, Y> {
    /// `features` inputs; kernels `[output][input]`; `zero_point` is the input's.
    ///
    /// # Errors
    ///
    /// If lengths do not match, a number lies outside its type, or an expert's product or the accumulator
    /// could leave i32.
    pub const fn new(
        features: usize,
        zero_point: i32,
        experts: Experts<'a>,
        requantize: Requantize<'a>,
    ) -> Result<Self, LayerError> {
        if let Err(error) = Shape::vector(features).check() {
            return Err(error);
        }
        let outputs = experts.channels();
        match (
            experts.check_products(outputs, features, span::<X>()),
            requantize.check::<Y>(outputs),
            check_zero_point::<X>(zero_point),
        ) {
            (Ok(()), Ok(()), Ok(())) => {
                Ok(Self { features, zero_point, experts, requantize, elements: PhantomData })
            }
            (Err(error), ..) | (_, Err(error), _) | (_, _, Err(error)) => Err(error),
        }
    }

    /// Number of experts.
    #[must_use]
    pub const fn experts(&self) -> usize {
        self.experts.count()
    }

    /// Elements of the input.
    #[must_use]
    pub const fn input_len(&self) -> usize {
        self.features
    }

    /// Elements of the output.
    #[must_use]
    pub const fn output_len(&self) -> usize {
        self.experts.channels()
    }

    /// Multiplies a vector by every expert and combines the products.
    ///
    /// # Panics
    ///
    /// If a slice is not of the layer's size, or `routing` is not one weight an expert.
    #[inline]
    pub fn infer(&self, input: &[X], routing: &[RoutingWeight], output: &mut [Y]) {
        assert!(
            input.len() == self.input_len()
                && output.len() == self.output_len()
                && routing.len() == self.experts.count()
        );
        self.multiply(input, routing, output);
    }

    fn multiply(&self, input: &[X], routing: &[RoutingWeight], output: &mut [Y]) {
        let experts = &self.experts;
        let mut coefficients = [0; MAX_EXPERTS];
        let mut products = [0; MAX_EXPERTS];
        for (channel, output) in output.iter_mut().enumerate() {
            experts.coefficients(channel, routing, &mut coefficients);
            let products = &mut products[..experts.count()];
            kernels::expert_dots(experts, channel, input, self.zero_point, products);
            let sum: i64 =
                products.iter().zip(&coefficients).map(|(&d, &c)| i64::from(d) * i64::from(c)).sum();
            let combined = round_shift_wide(sum, experts.shift()) as i32;
            let accumulator = experts.mixed_bias(channel, routing) + combined;
            *output = self.requantize.apply(channel, accumulator);
        }
    }
}
