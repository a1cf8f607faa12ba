//! Channels of one tensor share a scale, so that those that reach less far than the largest lose precision.
//! Equalisation (Nagel et al., ICCV 2019) multiplies such a channel by a gain in the layer that makes it and divides by
//! the same in the layers that read it. Kernels have a scale a channel anyway: it costs nothing at run time.

use super::Range;
use crate::graph::{Clamp, Kernels, Layer, Network, Op, ValueId};

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
            multiply(&mut network.layers[index], &of_output);
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

/// Multiplies a layer's output channels.
fn multiply(layer: &mut Layer, gains: &[f64]) {
    let Some(kernels) = layer.op.kernels_mut() else { return };
    let Kernels { channels, experts, bias, expert_biases, .. } = kernels;
    for expert in experts {
        let len = expert.len() / *channels;
        for (kernel, gain) in expert.chunks_exact_mut(len).zip(gains) {
            kernel.iter_mut().for_each(|weight| *weight = (f64::from(*weight) * gain) as f32);
        }
    }
    for biases in expert_biases.iter_mut().chain([bias]) {
        for (bias, gain) in biases.iter_mut().zip(gains) {
            *bias = (f64::from(*bias) * gain) as f32;
        }
    }
}

/// Divides by the gains of a layer's output wherever it is read, and notes them.
fn divide(network: &mut Network, producer: usize, of_output: &[f64], gains: &mut [Vec<f64>]) {
    let value = network.layers[producer].output;
    gains[value] = of_output.to_vec();
    for routing in network.routings.iter_mut().filter(|routing| routing.input == value) {
        for row in &mut routing.matrix {
            for (weight, gain) in row.iter_mut().zip(of_output) {
                *weight = (f64::from(*weight) / gain) as f32;
            }
        }
    }
    for reader in 0..network.layers.len() {
        let layer = &mut network.layers[reader];
        if !layer.inputs.contains(&value) {
            continue;
        }
        let groups = if let Op::Conv { groups, .. } = layer.op { groups } else { 1 };
        match layer.op.kernels_mut() {
            Some(kernels) => divide_kernels(kernels, groups, of_output),
            None => divide(network, reader, of_output, gains),
        }
    }
}

/// The channels that a group reads lie innermost in its kernels.
fn divide_kernels(kernels: &mut Kernels, groups: usize, gains: &[f64]) {
    let len = kernels.experts[0].len() / kernels.channels;
    let of_groups = gains.chunks_exact(gains.len() / groups);
    for expert in &mut kernels.experts {
        for (group, gains) in
            expert.chunks_exact_mut(len * (kernels.channels / groups)).zip(of_groups.clone())
        {
            for (weight, gain) in group.iter_mut().zip(gains.iter().cycle()) {
                *weight = (f64::from(*weight) / gain) as f32;
            }
        }
    }
}
