//! Step one, route: the input's mean over height and width, a fully connected layer, a sigmoid or softmax.
//!
//! ```text
//! alpha = sigmoid(GlobalAveragePool(x) R + r)
//! ```
//!
//! The pool is an exact sum; the matrix is int16, since the error of int8 would reach 4e-2 in alpha; the
//! sigmoid interpolates a table. On thousands of random layers with logits up to 6 alpha is off by less than 2^-12.

use core::marker::PhantomData;

use fixed::types::{I1F15, I5F11};

use crate::quantize::{Element, check_zero_point, round_shift_wide, span};
use crate::softmax::{exponent, shares};
use crate::{LayerError, MAX_EXPERTS, Shape, kernels};

/// A routing weight, in `0..=32767` units of 2^-15. Layers take a negative one for 0.
pub type RoutingWeight = I1F15;

/// The sigmoid's argument, saturated to -16..16.
pub type RoutingLogit = I5F11;

mod sealed {
    pub trait Gate {
        fn weigh(logits: &[i64], weights: &mut [crate::RoutingWeight]);
    }
}

/// From logits to routing weights.
pub trait Gate: sealed::Gate {}

/// Each weight on its own: `sigmoid(logit)`, logits in steps of 2^-11 (CondConv).
#[derive(Clone, Copy, Debug)]
pub struct SigmoidGate;

/// Weights that sum to one: `2^logit / sum of 2^logits`, logits in steps of 2^-12; `log2(e)` and a temperature
/// belong to the multiplier (Chen et al., Dynamic Convolution, CVPR 2020).
#[derive(Clone, Copy, Debug)]
pub struct SoftmaxGate;

impl Gate for SigmoidGate {}

impl sealed::Gate for SigmoidGate {
    fn weigh(logits: &[i64], weights: &mut [RoutingWeight]) {
        for (weight, logit) in weights.iter_mut().zip(logits) {
            *weight = sigmoid(RoutingLogit::from_bits((*logit).clamp(-32768, 32767) as i16));
        }
    }
}

impl Gate for SoftmaxGate {}

impl sealed::Gate for SoftmaxGate {
    fn weigh(logits: &[i64], weights: &mut [RoutingWeight]) {
        let largest = logits.iter().fold(i64::MIN, |largest, &logit| largest.max(logit));
        let exponents = logits.iter().map(|logit| exponent(largest - logit));
        shares(exponents, |expert, share| weights[expert] = RoutingWeight::from_bits(share));
    }
}

/// The routing function of a layer or block.
#[derive(Clone, Copy, Debug)]
pub struct Routing<'a, X = i8, G = SigmoidGate> {
    input: Shape,
    zero_point: i32,
    matrix: &'a [i16],
    bias: &'a [i64],
    multipliers: &'a [i16],
    shifts: &'a [u8],
    types: PhantomData<(X, G)>,
}

impl<'a, X: Element, G: Gate> Routing<'a, X, G> {
    /// `matrix[channel * n + expert]`; `bias[expert]` in units of the accumulator
    /// `sum over channels of matrix * (sum of the channel - pixels * zero_point)`;
    /// logit (in the gate's steps) = `accumulator * multiplier / 2^shift`, with multipliers in `0..2^15` and shifts in
    /// `1..=62`. The division by the number of pixels belongs to the multiplier.
    ///
    /// # Errors
    ///
    /// [`LayerError::Experts`], [`LayerError::TableLength`], [`LayerError::WeightLength`],
    /// [`LayerError::Multiplier`], [`LayerError::OutputRange`], or [`LayerError::RoutingOverflow`] if
    /// `32767 * 255 * elements + |bias|` reaches 2^47.
    ///
    /// ```
    /// use condconv::{Routing, RoutingWeight, Shape};
    /// // Two experts, one channel: logits +mean and -mean of a 2x2 map with scale 2^-6.
    /// let matrix = [16384, -16384];
    /// let routing = Routing::<i8>::new(Shape::new(2, 2, 1), 0, &matrix, &[0, 0], &[16384; 2], &[25; 2]).unwrap();
    /// let mut weights = [RoutingWeight::ZERO; 2];
    /// routing.infer(&[64, 64, 64, 64], &mut weights); // mean 1.0
    /// assert!((weights[0].to_num::<f32>() - 0.7311).abs() < 2e-4); // sigmoid(1)
    /// assert!((weights[1].to_num::<f32>() - 0.2689).abs() < 2e-4);
    /// ```
    pub const fn new(
        input: Shape,
        zero_point: i32,
        matrix: &'a [i16],
        bias: &'a [i64],
        multipliers: &'a [i16],
        shifts: &'a [u8],
    ) -> Result<Self, LayerError> {
        if let Err(error) = input.check() {
            return Err(error);
        }
        if let Err(error) = check_zero_point::<X>(zero_point) {
            return Err(error);
        }
        let experts = bias.len();
        if experts == 0 || experts > MAX_EXPERTS {
            return Err(LayerError::Experts);
        }
        if multipliers.len() != experts || shifts.len() != experts {
            return Err(LayerError::TableLength);
        }
        if matrix.len() != input.channels * experts {
            return Err(LayerError::WeightLength);
        }
        // The pool's i32 sums, and the i64 accumulators below 2^47: times 2^15 they stay below 2^62.
        let pixels_span = input.pixels() as i64 * span::<X>();
        if pixels_span > i32::MAX as i64 {
            return Err(LayerError::RoutingOverflow);
        }
        let reach = (32767 * pixels_span).saturating_mul(input.channels as i64);
        let limit = (1i64 << 47).saturating_sub(reach);
        let mut i = 0;
        while i < experts {
            if multipliers[i] < 0 || shifts[i] == 0 || shifts[i] > 62 {
                return Err(LayerError::Multiplier);
            }
            if bias[i] >= limit || bias[i] <= -limit {
                return Err(LayerError::RoutingOverflow);
            }
            i += 1;
        }
        Ok(Self { input, zero_point, matrix, bias, multipliers, shifts, types: PhantomData })
    }

    /// Number of experts.
    #[must_use]
    pub const fn experts(&self) -> usize {
        self.bias.len()
    }

    /// Elements of the input.
    #[must_use]
    pub const fn input_len(&self) -> usize {
        self.input.len()
    }

    /// The routing weights for an input.
    ///
    /// # Panics
    ///
    /// If `input` is not of the shape given, or `weights` not one an expert.
    #[inline(never)]
    pub fn infer(&self, input: &[X], weights: &mut [RoutingWeight]) {
        assert!(input.len() == self.input_len() && weights.len() == self.experts());
        self.route(input, weights);
    }

    fn route(&self, input: &[X], weights: &mut [RoutingWeight]) {
        let mut accumulators = [0i64; MAX_EXPERTS];
        let accumulators = &mut accumulators[..self.bias.len()];
        accumulators.copy_from_slice(self.bias);
        kernels::pool(self.input, self.zero_point, input, |first, sums| {
            let experts = accumulators.len();
            let columns = self.matrix[first * experts..].chunks_exact(experts);
            for (expert, accumulator) in accumulators.iter_mut().enumerate() {
                for (&sum, column) in sums.iter().zip(columns.clone()) {
                    *accumulator += i64::from(sum) * i64::from(column[expert]);
                }
            }
        });
        let scales = self.multipliers.iter().zip(self.shifts);
        for (accumulator, (&multiplier, &shift)) in accumulators.iter_mut().zip(scales) {
            *accumulator = round_shift_wide(*accumulator * i64::from(multiplier), shift.into());
        }
        G::weigh(accumulators, weights);
    }
}

/// The sigmoid, by linear interpolation in a table of 128 segments over `0..16` and by
/// `sigmoid(-x) = 1 - sigmoid(x)`. Largest error 4 units of 2^-15 over all 65,536 arguments.
///
/// ```
/// use condconv::{sigmoid, RoutingLogit};
/// let half = sigmoid(RoutingLogit::from_num(0));
/// assert_eq!(half.to_bits(), 16384);
/// ```
#[must_use]
pub fn sigmoid(logit: RoutingLogit) -> RoutingWeight {
    let bits = i32::from(logit.to_bits());
    let magnitude = bits.unsigned_abs().min(32767) as usize;
    let (segment, fraction) = (magnitude >> 8, (magnitude & 255) as i32);
    let [low, high] = [SIGMOID[segment], SIGMOID[segment + 1]].map(i32::from);
    let positive = low + (((high - low) * fraction + 128) >> 8);
    let value = if bits < 0 { 32768 - positive } else { positive };
    RoutingWeight::from_bits(value.min(32767) as i16)
}

/// `sigmoid(k / 8)` in 2^-15, raised by half of the largest error of a chord, `h^2 / 16 |sigmoid''|`, so that the
/// interpolation errs to both sides alike.
#[rustfmt::skip]
static SIGMOID: [u16; 129] = [
    16384, 17407, 18422, 19422, 20399, 21346, 22258, 23130, 23958, 24740, 25474, 26158,
    26793, 27380, 27920, 28414, 28865, 29274, 29646, 29982, 30284, 30556, 30801, 31020,
    31215, 31390, 31546, 31685, 31808, 31918, 32016, 32102, 32179, 32247, 32308, 32361,
    32408, 32450, 32487, 32520, 32549, 32574, 32597, 32617, 32635, 32650, 32664, 32676,
    32687, 32697, 32705, 32712, 32719, 32725, 32730, 32734, 32738, 32742, 32745, 32747,
    32750, 32752, 32754, 32756, 32757, 32758, 32759, 32760, 32761, 32762, 32763, 32763,
    32764, 32764, 32765, 32765, 32766, 32766, 32766, 32766, 32767, 32767, 32767, 32767,
    32767, 32767, 32767, 32767, 32767, 32768, 32768, 32768, 32768, 32768, 32768, 32768,
    32768, 32768, 32768, 32768, 32768, 32768, 32768, 32768, 32768, 32768, 32768, 32768,
    32768, 32768, 32768, 32768, 32768, 32768, 32768, 32768, 32768, 32768, 32768, 32768,
    32768, 32768, 32768, 32768, 32768, 32768, 32768, 32768, 32768,
];
