//! Kernels: from floats to int8 weights, int32 biases and multipliers.
//!
//! Static: one scale a channel. Experts: one scale an expert and channel, their ratios to the channel's largest,
//! and the smallest mixing shift at which the library's own checks prove that nothing overflows.

use condconv::{Element, LayerError, WeightSums};

use super::QuantizeError;
use crate::graph;
use crate::quantized::{ExpertKernels, FixedKernels};

/// Multipliers stay in `[2^-20, 1/2)` of an output step per accumulator unit.
const SMALLEST_RATIO: f64 = 1.0 / (1 << 20) as f64;
const LARGEST_RATIO: f64 = 0.5 * (1.0 - 1e-6);

/// Biases stay below this many accumulator units.
const LARGEST_BIAS: f64 = (1 << 28) as f64;

/// int8 weights are symmetric.
const LARGEST_WEIGHT: f64 = 127.0;

/// What surrounds a layer's kernels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scales {
    /// Scale of the layer's input.
    pub(super) input: f64,
    /// Steps between the smallest and the largest number of the input's type.
    pub(super) span: f64,
    /// Scale of its output. Kernels whose accumulator is coarser than that raise it.
    pub(super) output: f64,
}

/// Kernels together with the units of their accumulators.
#[derive(Debug, Clone)]
pub(super) struct WithUnits<K> {
    /// The kernels.
    pub(super) kernels: K,
    /// Real units of one accumulator step, a channel.
    pub(super) units: Vec<f64>,
}

impl<K> WithUnits<K> {
    /// The smallest output scale for which all multipliers are in range.
    pub(super) fn smallest_output_scale(&self) -> f64 {
        smallest_output_scale(self.units.iter().fold(0.0, |largest: f64, &unit| largest.max(unit)))
    }

    /// The multipliers for an output scale that is at least the smallest.
    pub(super) fn multipliers(&self, output_scale: f64) -> Vec<i32> {
        self.units.iter().map(|unit| multiplier(unit / output_scale)).collect()
    }
}

/// The smallest output scale for which an accumulator unit is less than half a step.
pub(super) fn smallest_output_scale(unit: f64) -> f64 {
    unit / LARGEST_RATIO
}

/// A ratio below 1/2 in units of 2^-32.
pub(super) fn multiplier(ratio: f64) -> i32 {
    (ratio * 4_294_967_296.0).round().min(f64::from(i32::MAX)) as i32
}

/// Quantises the one kernel of a static layer.
pub(super) fn fixed(float: &graph::Kernels, scales: Scales) -> WithUnits<FixedKernels> {
    let kernel = &float.experts[0];
    let kernel_len = kernel.len() / float.channels;
    let mut weights = Vec::with_capacity(kernel.len());
    let mut bias = Vec::new();
    let mut sums = Vec::new();
    let mut units = Vec::new();
    for (row, &b) in kernel.chunks_exact(kernel_len).zip(&float.bias) {
        let b = f64::from(b);
        let scale = (largest(row) / LARGEST_WEIGHT)
            .max(largest_sum(row) / room(row.len(), scales.span))
            .max(smallest_scale(b.abs(), scales));
        let quantized: Vec<i8> = row.iter().map(|&w| (f64::from(w) / scale).round() as i8).collect();
        let unit = scales.input * scale;
        sums.push(WeightSums::of(&quantized));
        weights.extend(quantized);
        bias.push((b / unit).round() as i32);
        units.push(unit);
    }
    WithUnits { kernels: FixedKernels { weights, bias, sums }, units }
}

/// Quantises the experts of a conditional layer with the smallest mixing shift that `check` accepts.
pub(super) fn experts(
    float: &graph::Kernels,
    routing: graph::RoutingId,
    scales: Scales,
    check: impl Fn(&ExpertKernels) -> Result<(), LayerError>,
) -> Result<WithUnits<ExpertKernels>, QuantizeError> {
    let own = own_scales(float);
    let mut quantized = expert_weights(float, routing, &own);
    let mut last = LayerError::MixOverflow;
    for shift in 1..=30 {
        set_shift(&mut quantized, float, &own, scales, shift);
        match check(&quantized.kernels) {
            Ok(()) => return Ok(quantized),
            Err(error @ (LayerError::MixOverflow | LayerError::AccumulatorOverflow)) => last = error,
            Err(error) => return Err(error.into()),
        }
    }
    Err(last.into())
}

/// One channel's part of an expert.
fn kernel_of(expert: &[f32], channel: usize, channels: usize) -> &[f32] {
    let len = expert.len() / channels;
    &expert[channel * len..(channel + 1) * len]
}

/// The scale of each expert's kernel, `[channel][expert]`; zero where it has no weight.
fn own_scales(float: &graph::Kernels) -> Vec<Vec<f64>> {
    let scale =
        |expert: &Vec<f32>, channel| largest(kernel_of(expert, channel, float.channels)) / LARGEST_WEIGHT;
    let of_channel = |channel| float.experts.iter().map(|expert| scale(expert, channel)).collect();
    (0..float.channels).map(of_channel).collect()
}

/// What does not depend on the mixing shift: the weights and their sums.
fn expert_weights(
    float: &graph::Kernels,
    routing: graph::RoutingId,
    own: &[Vec<f64>],
) -> WithUnits<ExpertKernels> {
    let mut planes = vec![Vec::new(); float.experts.len()];
    let mut sums = Vec::new();
    for (channel, scales) in own.iter().enumerate() {
        for ((expert, &scale), plane) in float.experts.iter().zip(scales).zip(&mut planes) {
            let quantize = |&w: &f32| if scale > 0.0 { (f64::from(w) / scale).round() as i8 } else { 0 };
            let quantized: Vec<i8> =
                kernel_of(expert, channel, float.channels).iter().map(quantize).collect();
            sums.push(WeightSums::of(&quantized));
            plane.extend(quantized);
        }
    }
    let kernels = ExpertKernels {
        routing,
        count: planes.len(),
        weights: interleave(&planes, float.channels, float.experts[0].len() / float.channels),
        ratios: Vec::new(),
        shift: 0,
        bias: Vec::new(),
        expert_bias: Vec::new(),
        sums,
    };
    WithUnits { kernels, units: Vec::new() }
}

/// What depends on it: ratios, biases and the units of the accumulators.
fn set_shift(
    quantized: &mut WithUnits<ExpertKernels>,
    float: &graph::Kernels,
    own: &[Vec<f64>],
    scales: Scales,
    shift: u32,
) {
    let WithUnits { kernels, units } = quantized;
    kernels.shift = shift;
    kernels.ratios.clear();
    kernels.bias.clear();
    kernels.expert_bias.clear();
    units.clear();
    let shift_factor = f64::from(shift as i32 - 14).exp2();
    for (channel, own) in own.iter().enumerate() {
        let expert_biases: Vec<f64> = float.expert_biases.iter().map(|b| f64::from(b[channel])).collect();
        let static_bias = f64::from(float.bias[channel]);
        let bias_bound = static_bias.abs() + expert_biases.iter().map(|b| b.abs()).sum::<f64>();
        let smallest = smallest_scale(bias_bound, scales) / shift_factor;
        let scale = own.iter().fold(smallest, |largest: f64, &s| largest.max(s));
        let unit = scales.input * scale * shift_factor;
        kernels.ratios.extend(own.iter().map(|own| (32768.0 * own / scale).round().min(32767.0) as i16));
        kernels.bias.push((static_bias / unit).round() as i32);
        kernels.expert_bias.extend(expert_biases.iter().map(|b| (b / unit).round() as i32));
        units.push(unit);
    }
}

/// The library's layout: all whole fours of experts interleaved weight by weight, then the rest as planes.
pub fn interleave(planes: &[Vec<i8>], channels: usize, kernel_len: usize) -> Vec<i8> {
    let (quads, tails) = planes.split_at(planes.len() / 4 * 4);
    let mut weights = Vec::with_capacity(planes.len() * channels * kernel_len);
    for k in 0..channels * kernel_len {
        weights.extend(quads.iter().map(|plane| plane[k]));
    }
    for plane in tails {
        weights.extend(plane);
    }
    weights
}

/// The smallest weight scale that keeps a bias below its bound and the multiplier above its own.
fn smallest_scale(bias: f64, scales: Scales) -> f64 {
    (bias / (LARGEST_BIAS * scales.input)).max(SMALLEST_RATIO * scales.output / scales.input)
}

fn largest(values: &[f32]) -> f64 {
    values.iter().fold(0.0, |largest: f64, &v| largest.max(f64::from(v).abs()))
}

/// The larger of the sums of positive and of negative weights, without sign.
fn largest_sum(row: &[f32]) -> f64 {
    let sum_of = |sign: f64| row.iter().map(|&w| (sign * f64::from(w)).max(0.0)).sum::<f64>();
    sum_of(1.0).max(sum_of(-1.0))
}

/// How large a sum of quantised weights may be for inputs of that span, if a bias is to have room in i32 too and every
/// weight may have been rounded up; at least one, which is refused later.
fn room(weights: usize, span: f64) -> f64 {
    ((f64::from(i32::MAX) - LARGEST_BIAS) / span - weights as f64 / 2.0).max(1.0)
}

/// Whether sums of int8 weights at their full precision leave room in i32 for int16 inputs and a bias.
pub(super) fn leaves_room_for_int16(float: &graph::Kernels) -> bool {
    let kernel_len = float.experts[0].len() / float.channels;
    let room = room(kernel_len, f64::from(<i16 as Element>::MAX - <i16 as Element>::MIN));
    let fits = |row: &[f32]| largest_sum(row) * LARGEST_WEIGHT <= room * largest(row);
    float.experts.iter().flat_map(|kernel| kernel.chunks_exact(kernel_len)).all(fits)
}
