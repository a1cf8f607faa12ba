//! The integer equations that the library documents, in i128 and in the plainest loops. What the library yields
//! must be equal to them bit for bit.
#![allow(dead_code, reason = "each test file uses a part")]

use condconv::{
    Element, Experts, LayerError, Requantize, Routing, RoutingLogit, RoutingWeight, Shape, StaticKernels,
    WeightSums, sigmoid,
};

/// `value / 2^shift`, rounded to the nearest, halves up.
pub(crate) fn half_up(value: i128, shift: u32) -> i128 {
    (2 * value + (1 << shift)).div_euclid(2 << shift)
}

/// From accumulators to outputs.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    pub(crate) multipliers: Vec<i32>,
    pub(crate) zero_point: i32,
    pub(crate) min: i32,
    pub(crate) max: i32,
}

impl Output {
    pub(crate) fn view(&self) -> Requantize<'_> {
        Requantize::new(&self.multipliers, self.zero_point, self.min, self.max).expect("drawn within range")
    }

    /// The outputs of an NHWC tensor of accumulators.
    pub(crate) fn of(&self, accumulators: &[i128]) -> Vec<i32> {
        let apply = |(&accumulator, &multiplier): (&i128, &i32)| {
            let rounded = half_up(accumulator * i128::from(multiplier), 32);
            let value = i128::from(self.zero_point) + rounded;
            value.clamp(self.min.into(), self.max.into()) as i32
        };
        accumulators.iter().zip(self.multipliers.iter().cycle()).map(apply).collect()
    }
}

/// int8 kernels and int32 biases.
#[derive(Debug, Clone)]
pub(crate) struct Fixed {
    /// `[channel][k]`.
    pub(crate) weights: Vec<i8>,
    pub(crate) bias: Vec<i32>,
}

impl Fixed {
    pub(crate) fn sums(&self) -> Vec<WeightSums> {
        self.weights.chunks_exact(self.weights.len() / self.bias.len()).map(sums).collect()
    }

    pub(crate) fn view(&self) -> StaticKernels<'_> {
        StaticKernels::new(&self.weights, &self.bias, &self.sums()).expect("lengths match")
    }
}

/// Experts, each kept as a kernel of its own.
#[derive(Debug, Clone)]
pub(crate) struct Mixture {
    /// `[expert][channel][k]`.
    pub(crate) planes: Vec<Vec<i8>>,
    /// `[channel][expert]`.
    pub(crate) ratios: Vec<i16>,
    pub(crate) shift: u32,
    pub(crate) bias: Vec<i32>,
    /// `[channel][expert]`, or empty.
    pub(crate) expert_bias: Vec<i32>,
}

/// What [`Mixture`] hands to the library.
#[derive(Debug)]
pub(crate) struct Flash {
    pub(crate) weights: Vec<i8>,
    pub(crate) sums: Vec<WeightSums>,
}

impl Mixture {
    pub(crate) fn count(&self) -> usize {
        self.planes.len()
    }

    pub(crate) fn channels(&self) -> usize {
        self.bias.len()
    }

    pub(crate) fn kernel_len(&self) -> usize {
        self.planes[0].len() / self.channels()
    }

    /// The kernel of one expert and channel.
    fn row(&self, expert: usize, channel: usize) -> &[i8] {
        let len = self.kernel_len();
        &self.planes[expert][channel * len..(channel + 1) * len]
    }

    /// Every weight put where the documentation of [`Experts`] says that it lies.
    pub(crate) fn flash(&self) -> Flash {
        let (n, channels, len) = (self.count(), self.channels(), self.kernel_len());
        let quads = n / 4;
        let mut weights = vec![0; n * channels * len];
        let mut all_sums = Vec::new();
        for c in 0..channels {
            for i in 0..n {
                all_sums.push(sums(self.row(i, c)));
                for (k, &weight) in self.row(i, c).iter().enumerate() {
                    let place = if i < 4 * quads {
                        ((c * len + k) * quads + i / 4) * 4 + i % 4
                    } else {
                        channels * len * 4 * quads + ((i - 4 * quads) * channels + c) * len + k
                    };
                    weights[place] = weight;
                }
            }
        }
        Flash { weights, sums: all_sums }
    }

    pub(crate) fn view<'a>(&'a self, flash: &'a Flash) -> Experts<'a> {
        Experts::new(
            self.count(),
            &flash.weights,
            &self.ratios,
            self.shift,
            &self.bias,
            &self.expert_bias,
            &flash.sums,
        )
        .expect("lengths match")
    }

    /// `(alpha_i ratio_i + 2^15) >> 16`.
    fn coefficient(&self, expert: usize, channel: usize, alpha: i128) -> i128 {
        half_up(alpha * i128::from(self.ratios[channel * self.count() + expert]), 16)
    }

    fn coefficients(&self, channel: usize, alpha: &[RoutingWeight]) -> Vec<i128> {
        let each = alpha.iter().enumerate();
        each.map(|(i, &alpha)| self.coefficient(i, channel, units(alpha))).collect()
    }

    /// `(sum_i coef_i W_ik + 2^(shift-1)) >> shift`, `[channel][k]`.
    pub(crate) fn mixed(&self, alpha: &[RoutingWeight]) -> Vec<i128> {
        let mut kernels = Vec::new();
        for channel in 0..self.channels() {
            let coefficients = self.coefficients(channel, alpha);
            for k in 0..self.kernel_len() {
                let weight = |expert: usize| i128::from(self.row(expert, channel)[k]);
                let sum = coefficients.iter().enumerate().map(|(i, c)| c * weight(i)).sum();
                kernels.push(half_up(sum, self.shift));
            }
        }
        kernels
    }

    /// `b + ((sum_i alpha_i b_i + 2^14) >> 15)`, one a channel.
    pub(crate) fn mixed_bias(&self, alpha: &[RoutingWeight]) -> Vec<i128> {
        let mix = |(channel, &bias): (usize, &i32)| {
            let own = self.expert_bias.iter().skip(channel * self.count());
            let sum = alpha.iter().zip(own).map(|(&a, &b)| units(a) * i128::from(b)).sum();
            i128::from(bias) + half_up(sum, 15)
        };
        self.bias.iter().enumerate().map(mix).collect()
    }

    /// The accumulators of a conditional fully connected layer: `B + ((sum_i coef_i D_i + 2^(shift-1)) >> shift)`.
    pub(crate) fn products(&self, alpha: &[RoutingWeight], x: &[i128]) -> Vec<i128> {
        let combine = |(channel, bias): (usize, i128)| {
            let coefficients = self.coefficients(channel, alpha);
            let product = |expert: usize| -> i128 {
                self.row(expert, channel).iter().zip(x).map(|(&w, x)| i128::from(w) * x).sum()
            };
            let sum = coefficients.iter().enumerate().map(|(i, c)| c * product(i)).sum();
            bias + half_up(sum, self.shift)
        };
        self.mixed_bias(alpha).into_iter().enumerate().map(combine).collect()
    }

    /// The largest sum of one sign over one channel's mixed weights before the shift, with every alpha at its end.
    fn reach(&self) -> i128 {
        let side = |sign: i128, channel: usize| -> i128 {
            let of = |i: usize| -> i128 {
                let weights = self.row(i, channel).iter().map(|&w| (sign * i128::from(w)).max(0));
                self.coefficient(i, channel, 32767) * weights.sum::<i128>()
            };
            (0..self.count()).map(of).sum()
        };
        (0..self.channels()).flat_map(|c| [side(1, c), side(-1, c)]).max().unwrap_or(0)
    }

    fn largest_bias(&self) -> i128 {
        let bound = |(channel, bias): (usize, &i32)| {
            let own = self.expert_bias.iter().skip(channel * self.count()).take(self.count());
            own.chain([bias]).map(|&b| i128::from(b).abs()).sum()
        };
        self.bias.iter().enumerate().map(bound).max().unwrap_or(0)
    }

    /// Bound 4 of a convolution: what its accumulator can reach.
    pub(crate) fn convolution_bound(&self, span: i128) -> i128 {
        span * ((self.reach() >> self.shift) + self.kernel_len() as i128) + self.largest_bias()
    }

    /// What the accumulator of a conditional fully connected layer can reach, or one of its products if more.
    pub(crate) fn products_bound(&self, span: i128) -> i128 {
        let sums = self.flash().sums;
        let product = sums.iter().map(|s| span * i128::from(s.largest())).max().unwrap_or(0);
        product.max(((span * self.reach()) >> self.shift) + 1 + self.largest_bias())
    }
}

/// A routing weight in 2^-15; a negative one counts as zero.
fn units(alpha: RoutingWeight) -> i128 {
    i128::from(alpha.to_bits()).max(0)
}

/// The smallest shift at which the mixed kernel of `n` experts fits int16: bound 3.
pub(crate) fn smallest_shift(n: usize) -> u32 {
    let fits = |shift: &u32| ((128 * 16383 * n) >> shift) < 32767;
    (1..31).find(fits).expect("some shift is large enough")
}

/// The sum of `x - zero_point` of each channel.
pub(crate) fn pooled(input: &[i128], shape: Shape) -> Vec<i128> {
    (0..shape.channels).map(|c| input.iter().skip(c).step_by(shape.channels).sum()).collect()
}

/// Arguments of [`Routing`].
#[derive(Debug, Clone)]
pub(crate) struct Route {
    /// `[channel][expert]`.
    pub(crate) matrix: Vec<i16>,
    pub(crate) bias: Vec<i64>,
    pub(crate) multipliers: Vec<i16>,
    pub(crate) shifts: Vec<u8>,
}

impl Route {
    pub(crate) fn view<X: Element>(
        &self,
        shape: Shape,
        zero_point: i32,
    ) -> Result<Routing<'_, X>, LayerError> {
        Routing::new(shape, zero_point, &self.matrix, &self.bias, &self.multipliers, &self.shifts)
    }

    /// The routing weights for the sums of a pool. The sigmoid is the library's: it has a test of its own.
    pub(crate) fn weights(&self, sums: &[i128]) -> Vec<RoutingWeight> {
        let weight = |expert: usize| {
            let row = self.matrix.iter().skip(expert).step_by(self.bias.len());
            let products = sums.iter().zip(row).map(|(sum, &weight)| sum * i128::from(weight));
            let accumulator = i128::from(self.bias[expert]) + products.sum::<i128>();
            let product = accumulator * i128::from(self.multipliers[expert]);
            let logit = half_up(product, self.shifts[expert].into());
            let saturated = logit.clamp(i16::MIN.into(), i16::MAX.into()) as i16;
            sigmoid(RoutingLogit::from_bits(saturated))
        };
        (0..self.bias.len()).map(weight).collect()
    }
}

fn sums(weights: &[i8]) -> WeightSums {
    let side = |sign: i32| weights.iter().map(|&w| (sign * i32::from(w)).max(0).unsigned_abs()).sum();
    WeightSums::new(side(1), side(-1))
}
