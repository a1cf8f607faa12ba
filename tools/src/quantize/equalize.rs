//! Channels of one tensor share a scale, so that those that reach less far than the largest lose precision.
//! Equalisation (Nagel et al., ICCV 2019) multiplies such a channel by a gain in the layer that makes it and divides by
//! the same in the layers that read it. Kernels have a scale a channel anyway: it costs nothing at run time.

use super::Range;
use crate::graph::{Clamp, Kernels, Layer, Network, Op, ValueId, taps};

/// The gain is this power of what a channel lacks to the largest: channels that reach as far as any would make kernels
/// uneven instead.
const POWER: f64 = 0.7;

/// Larger gains make a channel clip too early on inputs beyond those that were seen.
const LARGEST_GAIN: f64 = 4.0;

/// How far a channel reaches is not known from fewer numbers.
const FEWEST_NUMBERS: usize = 1024;

/// Equalises a network in place. `extents` are those of each value's channels, seen on a number of samples; returns each
/// channel's gain.
pub fn equalize(network: &mut Network, extents: &[Vec<Range>], samples: usize) -> Vec<Vec<f64>> {
    let mut gains: Vec<Vec<f64>> = extents.iter().map(|channels| vec![1.0; channels.len()]).collect();
    for index in 0..network.layers.len() {
        let layer = &network.layers[index];
        let known = samples * network.values[layer.output].shape.pixels() >= FEWEST_NUMBERS;
        if known && scales(layer) && absorbs(network, layer.output) {
            let of_output = self::gains(&extents[layer.output]);
            if let Some(kernels) = network.layers[index].op.kernels_mut() {
                kernels.scale_and_shift(&of_output, &vec![0.0; of_output.len()]);
            }
            divide(network, index, &of_output, &mut gains);
        }
    }
    gains
}

fn gains(extents: &[Range]) -> Vec<f64> {
    let largest = extents.iter().map(|range| range.magnitude()).fold(0.0, f64::max);
    let gain = |range: &Range| match range.magnitude() {
        0.0 => 1.0,
        magnitude => (largest / magnitude).powf(POWER).min(LARGEST_GAIN),
    };
    extents.iter().map(gain).collect()
}

/// Whether a layer's output follows its kernels: it is not cut at all, or at zero from below. Then a bound above may stay as
/// it is, since no channel reaches further than the largest did.
fn scales(layer: &Layer) -> bool {
    match layer.op {
        Op::Conv { clamp, .. } | Op::Linear { clamp, .. } => clamp == Clamp::NONE || clamp.min == 0.0,
        _ => false,
    }
}

/// Whether every reader of a value has kernels, or works channel by channel and hands the gain on to such.
fn absorbs(network: &Network, value: ValueId) -> bool {
    value != network.output
        && network.layers.iter().filter(|layer| layer.inputs.contains(&value)).all(|layer| match layer.op {
            Op::Conv { .. } | Op::Linear { .. } => true,
            Op::GlobalAveragePool | Op::AveragePool { .. } | Op::MaxPool { .. } | Op::Pad { .. } => {
                absorbs(network, layer.output)
            }
            _ => false,
        })
}

/// Divides by the gains of a layer's output wherever it is read, and notes them.
fn divide(network: &mut Network, producer: usize, of_output: &[f64], gains: &mut [Vec<f64>]) {
    let value = network.layers[producer].output;
    gains[value] = of_output.to_vec();
    let divide_each = |weights: &mut [f32], gains: &[f64]| {
        for (weight, gain) in weights.iter_mut().zip(gains) {
            *weight = (f64::from(*weight) / gain) as f32;
        }
    };
    for routing in network.routings.iter_mut().filter(|routing| routing.input == value) {
        routing.matrix.iter_mut().for_each(|row| divide_each(row, of_output));
    }
    for reader in 0..network.layers.len() {
        let layer = &mut network.layers[reader];
        if !layer.inputs.contains(&value) {
            continue;
        }
        let groups = layer.op.groups();
        match layer.op.kernels_mut() {
            Some(Kernels { channels, experts, .. }) => {
                for tap in taps(experts, *channels, of_output.len(), groups) {
                    divide_each(tap.weights, &of_output[tap.inputs]);
                }
            }
            None => divide(network, reader, of_output, gains),
        }
    }
}
