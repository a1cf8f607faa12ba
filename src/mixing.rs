//! Step two, mix: n int8 experts and their routing weights become one int16 kernel, once per input.
//!
//! ```text
//! coef_i = (alpha_i ratio_i + 2^15) >> 16                       per channel, Q0.14
//! V_k    = (sum_i coef_i W_ik + 2^(shift-1)) >> shift           int16
//! B      = b + ((sum_i alpha_i b_i + 2^14) >> 15)
//! ```
//!
//! Every expert and channel has its own scale; `ratio_i` is that scale over the largest among the channel's
//! experts, in 2^-15. The mixed kernel's scale is fixed, so no maximum is looked for and no multiplier is
//! computed at run time.

use core::ops::Range;

use crate::kernel_source::{KernelSource, Kernels};
use crate::quantize::{WeightSums, round_shift, round_shift_wide};
use crate::{LayerError, MAX_EXPERTS, RoutingWeight, kernels};

/// Largest coefficient: `(32767 * 32767 + 2^15) >> 16`.
const MAX_COEFFICIENT: i64 = 16383;

/// The experts of a conditional layer, as they lie in flash.
///
/// Weights are interleaved, so that mixing reads them in one pass: with `quads = n / 4` and kernels of `K`
/// weights, weight `k` of expert `i` and channel `c` lies at
///
/// ```text
/// ((c K + k) quads + i / 4) 4 + i % 4                           i < 4 quads
/// channels K 4 quads + ((i - 4 quads) channels + c) K + k       the n % 4 experts that are left
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Experts<'a> {
    count: usize,
    /// Weights of one channel's kernel.
    kernel_len: usize,
    weights: &'a [i8],
    ratios: &'a [i16],
    shift: u32,
    bias: &'a [i32],
    expert_bias: &'a [i32],
    /// Largest sum over one channel's mixed weights, before the shift.
    largest_mixed_sum: i64,
    /// Largest sum over one expert's weights.
    largest_expert_sum: i64,
    largest_bias: i64,
}

impl<'a> Experts<'a> {
    /// `count` experts: `weights` in the layout above; `ratios[channel * n + expert]` in `0..=32767`; the
    /// mixing `shift`; the static `bias[channel]`; `expert_bias[channel * n + expert]`, or an empty slice; and
    /// `sums[channel * n + expert]`, which must be those of the weights, since the bounds rest on them. Biases are in units of `input scale * largest scale of the channel's
    /// experts * 2^(shift - 14)`.
    ///
    /// # Errors
    ///
    /// [`LayerError::Experts`], [`LayerError::TableLength`], [`LayerError::WeightLength`] and
    /// [`LayerError::Multiplier`].
    pub const fn new(
        count: usize,
        weights: &'a [i8],
        ratios: &'a [i16],
        shift: u32,
        bias: &'a [i32],
        expert_bias: &'a [i32],
        sums: &[WeightSums],
    ) -> Result<Self, LayerError> {
        if count == 0 || count > MAX_EXPERTS {
            return Err(LayerError::Experts);
        }
        let channels = bias.len();
        let entries = channels * count;
        if ratios.len() != entries
            || sums.len() != entries
            || (!expert_bias.is_empty() && expert_bias.len() != entries)
        {
            return Err(LayerError::TableLength);
        }
        if channels == 0 || !weights.len().is_multiple_of(entries) {
            return Err(LayerError::WeightLength);
        }
        if shift == 0 || shift > 30 {
            return Err(LayerError::Multiplier);
        }
        let mut largest_mixed_sum = 0;
        let mut largest_expert_sum = 0;
        let mut largest_bias = 0;
        let mut channel = 0;
        while channel < channels {
            let (mut positive, mut negative) = (0, 0);
            let mut bias_bound = bias[channel].unsigned_abs() as i64;
            let mut expert = 0;
            while expert < count {
                let entry = channel * count + expert;
                if ratios[entry] < 0 {
                    return Err(LayerError::Multiplier);
                }
                let coefficient = coefficient(i16::MAX, ratios[entry]) as i64;
                positive += coefficient * sums[entry].positive as i64;
                negative += coefficient * sums[entry].negative as i64;
                if sums[entry].largest() as i64 > largest_expert_sum {
                    largest_expert_sum = sums[entry].largest() as i64;
                }
                if !expert_bias.is_empty() {
                    bias_bound += expert_bias[entry].unsigned_abs() as i64;
                }
                expert += 1;
            }
            if positive > largest_mixed_sum {
                largest_mixed_sum = positive;
            }
            if negative > largest_mixed_sum {
                largest_mixed_sum = negative;
            }
            if bias_bound > largest_bias {
                largest_bias = bias_bound;
            }
            channel += 1;
        }
        Ok(Self {
            count,
            kernel_len: weights.len() / entries,
            weights,
            ratios,
            shift,
            bias,
            expert_bias,
            largest_mixed_sum,
            largest_expert_sum,
            largest_bias,
        })
    }

    /// Number of experts.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    const fn check_lengths(&self, channels: usize, kernel_len: usize) -> Result<(), LayerError> {
        if self.bias.len() != channels {
            return Err(LayerError::TableLength);
        }
        if kernel_len == 0 || self.kernel_len != kernel_len {
            return Err(LayerError::WeightLength);
        }
        Ok(())
    }

    /// An error unless the mixed kernels fit int16 and a convolution's accumulator fits i32.
    pub(crate) const fn check_mixed(
        &self,
        channels: usize,
        kernel_len: usize,
        span: i64,
    ) -> Result<(), LayerError> {
        if let Err(error) = self.check_lengths(channels, kernel_len) {
            return Err(error);
        }
        let largest_weight = 128 * MAX_COEFFICIENT * self.count as i64;
        if (largest_weight >> self.shift) + 1 > i16::MAX as i64 {
            return Err(LayerError::MixOverflow);
        }
        let reach = (self.largest_mixed_sum >> self.shift) + kernel_len as i64;
        if span.saturating_mul(reach).saturating_add(self.largest_bias) > i32::MAX as i64 {
            return Err(LayerError::AccumulatorOverflow);
        }
        Ok(())
    }

    /// An error unless every expert's own product and their combination fit i32.
    pub(crate) const fn check_products(
        &self,
        channels: usize,
        kernel_len: usize,
        span: i64,
    ) -> Result<(), LayerError> {
        if let Err(error) = self.check_lengths(channels, kernel_len) {
            return Err(error);
        }
        let reach = (span.saturating_mul(self.largest_mixed_sum) >> self.shift) + 1;
        if span * self.largest_expert_sum > i32::MAX as i64
            || reach.saturating_add(self.largest_bias) > i32::MAX as i64
        {
            return Err(LayerError::AccumulatorOverflow);
        }
        Ok(())
    }

    /// Output channels.
    pub(crate) const fn channels(&self) -> usize {
        self.bias.len()
    }

    /// Weights of one channel's kernel.
    pub(crate) const fn kernel_len(&self) -> usize {
        self.kernel_len
    }

    pub(crate) const fn shift(&self) -> u32 {
        self.shift
    }

    /// The interleaved weights of one channel: all experts in words of four.
    pub(crate) fn quads(&self, channel: usize) -> &'a [i8] {
        self.quads_of(channel..channel + 1)
    }

    /// Those of some channels.
    pub(crate) fn quads_of(&self, channels: Range<usize>) -> &'a [i8] {
        let len = self.kernel_len() * (self.count / 4) * 4;
        &self.weights[channels.start * len..channels.end * len]
    }

    /// One channel's kernel of one of the `count % 4` experts that fill no word.
    pub(crate) fn tail(&self, channel: usize, expert: usize) -> &'a [i8] {
        let kernel_len = self.kernel_len();
        let channels = self.bias.len();
        let start = (channels * (self.count / 4) * 4 + expert * channels + channel) * kernel_len;
        &self.weights[start..start + kernel_len]
    }

    /// What the scales of some channels' experts are, over the largest of each channel.
    pub(crate) fn ratios(&self, channels: Range<usize>) -> &'a [i16] {
        &self.ratios[channels.start * self.count..channels.end * self.count]
    }

    /// The coefficients of one channel's experts.
    pub(crate) fn coefficients(&self, channel: usize, routing: &[RoutingWeight], out: &mut [i32]) {
        for ((out, weight), &ratio) in out.iter_mut().zip(routing).zip(self.ratios(channel..channel + 1)) {
            *out = coefficient(non_negative(*weight), ratio);
        }
    }

    /// The accumulator of one channel, for its products with all experts.
    #[inline(always)]
    pub(crate) fn combine(&self, channel: usize, routing: &[RoutingWeight], products: &[i32]) -> i32 {
        let ratios = &self.ratios[channel * products.len()..][..products.len()];
        let terms = routing.iter().zip(ratios).zip(products);
        let sum: i64 = terms
            .map(|((w, &ratio), &d)| i64::from(d) * i64::from(coefficient(non_negative(*w), ratio)))
            .sum();
        self.mixed_bias(channel, routing) + round_shift_wide(sum, self.shift) as i32
    }

    /// The mixed biases of channels from the first on.
    #[inline(never)]
    pub(crate) fn mixed_biases(&self, first: usize, routing: &[RoutingWeight], biases: &mut [i32]) {
        let channels = first..first + biases.len();
        if !self.expert_bias.is_empty() {
            let own = &self.bias[channels.clone()];
            let of_experts = &self.expert_bias[channels.start * self.count..channels.end * self.count];
            if kernels::mix_biases(routing, own, of_experts, biases) {
                return;
            }
        }
        // The usual numbers of experts have loops of known length.
        if let Some(routing) = routing.as_array::<4>() {
            self.put_biases(first, routing, biases);
        } else if let Some(routing) = routing.as_array::<8>() {
            self.put_biases(first, routing, biases);
        } else {
            self.put_biases(first, routing, biases);
        }
    }

    #[inline(always)]
    fn put_biases(&self, first: usize, routing: &[RoutingWeight], biases: &mut [i32]) {
        for (channel, bias) in (first..).zip(biases) {
            *bias = self.mixed_bias(channel, routing);
        }
    }

    /// The mixed bias of one channel.
    #[inline(always)]
    fn mixed_bias(&self, channel: usize, routing: &[RoutingWeight]) -> i32 {
        if self.expert_bias.is_empty() {
            return self.bias[channel];
        }
        let biases = &self.expert_bias[channel * routing.len()..][..routing.len()];
        self.bias[channel] + round_shift_wide(kernels::weigh(routing, biases), 15) as i32
    }
}

/// Overflow is excluded for weights of 0 and more; a negative one counts as 0.
pub(crate) fn non_negative(weight: RoutingWeight) -> i16 {
    weight.to_bits().max(0)
}

const fn coefficient(weight: i16, ratio: i16) -> i32 {
    round_shift(weight as i32 * ratio as i32, 16)
}

/// Experts and the weights that an input gave them, as a source of kernels.
#[derive(Clone, Copy)]
pub(crate) struct Mixture<'a> {
    pub(crate) experts: &'a Experts<'a>,
    pub(crate) routing: &'a [RoutingWeight],
}

impl<'a> Mixture<'a> {
    /// # Panics
    ///
    /// If there is not one routing weight an expert.
    pub(crate) fn new(experts: &'a Experts<'a>, routing: &'a [RoutingWeight]) -> Self {
        assert!(routing.len() == experts.count);
        Self { experts, routing }
    }
}

impl KernelSource for Mixture<'_> {
    type Weight = i16;

    fn block_channels(&self, scratch: &[i32]) -> usize {
        scratch.len() / (self.experts.kernel_len().div_ceil(2) + 1)
    }

    fn block<'s>(&'s self, channels: Range<usize>, scratch: &'s mut [i32]) -> Kernels<'s, i16> {
        let kernel_len = self.experts.kernel_len();
        let (bias, weights) = scratch.split_at_mut(channels.len());
        let weights: &mut [i16] = bytemuck::must_cast_slice_mut(weights);
        let weights = &mut weights[..channels.len() * kernel_len];
        self.put_biases(channels.start, bias);
        kernels::mix(self, channels, weights);
        Kernels { weights, bias }
    }

    fn put_biases(&self, first: usize, biases: &mut [i32]) {
        self.experts.mixed_biases(first, self.routing, biases);
    }
}
