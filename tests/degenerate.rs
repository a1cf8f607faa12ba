//! Layers with nothing in them: zero experts, channels, routings and ranges, dead channels with large biases. All are
//! quantised without an error and stay within the tolerance.

mod float_layer;
mod random;
mod reference;

use condconv::{Padding, Shape, Window};
use condconv_tools::graph::Clamp;
use float_layer::{FloatLayer, Parts, Place};
use random::Random;

const LARGEST_ERROR: f64 = 5.0;
const ALPHA_ERROR: f64 = 1.0 / 4096.0;
const RELU: Clamp = Clamp { min: 0.0, max: f32::INFINITY };

const CHANNELS: usize = 6;
const EXPERTS: usize = 5;

/// A layer of each operator: static (one expert, no routing) and conditional.
fn layers(random: &mut Random) -> Vec<(&'static str, Parts, Place)> {
    let map = Shape::new(6, 5, CHANNELS);
    let window = Window::new([3, 3]).padding(Padding::symmetric(1, 1));
    let last = Place::Last { pixels: 9 };
    let forms = [
        ("convolution", map, Some((window, 1)), Place::Inside),
        ("depthwise", map, Some((window, CHANNELS)), Place::Inside),
        ("fully connected", Shape::vector(CHANNELS), None, Place::Inside),
        ("fully connected, last", Shape::vector(CHANNELS), None, last),
    ];
    let mut layers = Vec::new();
    for (name, input, convolution, place) in forms {
        for (n, conditional) in [(1, false), (1, true), (EXPERTS, true)] {
            let kernel_len = convolution
                .map_or(CHANNELS, |(window, groups): (Window, usize)| window.taps() * CHANNELS / groups);
            let parts = Parts {
                input,
                convolution,
                clamp: Clamp::NONE,
                experts: (0..n).map(|_| random.gaussians(CHANNELS * kernel_len, 0.3)).collect(),
                bias: random.gaussians(CHANNELS, 0.3),
                expert_biases: Vec::new(),
                routing: conditional.then(|| {
                    ((0..n).map(|_| random.gaussians(CHANNELS, 1.0)).collect(), random.gaussians(n, 1.0))
                }),
            };
            layers.push((name, parts, place));
        }
    }
    layers
}

fn gaussian_inputs(random: &mut Random, shape: Shape) -> Vec<Vec<f32>> {
    (0..16).map(|_| random.gaussians(shape.len(), 1.0)).collect()
}

/// Changes each layer and runs it on inputs that are made for it.
fn hold(change: impl Fn(&mut Parts), inputs: impl Fn(&mut Random, Shape) -> Vec<Vec<f32>>) {
    let random = &mut Random::new(7);
    for (name, mut parts, place) in layers(random) {
        let context = format!("{name}, {} experts, routed: {}", parts.experts.len(), parts.routing.is_some());
        change(&mut parts);
        let layer = FloatLayer::new(parts, place);
        let inputs = inputs(random, layer.input());
        let errors = layer
            .compare(&layer.calibrate(&inputs), &inputs)
            .unwrap_or_else(|error| panic!("{context}: {error}"));
        assert!(errors.largest() <= LARGEST_ERROR, "{context}: {} LSB", errors.largest());
        assert!(errors.largest_alpha() < ALPHA_ERROR, "{context}: alpha {}", errors.largest_alpha());
    }
}

/// One channel's part of every expert.
fn for_channel(parts: &mut Parts, channel: usize, each: impl Fn(&mut f32)) {
    for expert in &mut parts.experts {
        let len = expert.len() / CHANNELS;
        expert[channel * len..(channel + 1) * len].iter_mut().for_each(&each);
    }
}

#[test]
fn an_expert_of_zeros() {
    hold(|parts| parts.experts[0].fill(0.0), gaussian_inputs);
}

#[test]
fn a_channel_of_zeros() {
    hold(|parts| for_channel(parts, 2, |w| *w = 0.0), gaussian_inputs);
    hold(
        |parts| {
            for_channel(parts, 2, |w| *w = 0.0);
            parts.bias[2] = 0.0;
        },
        gaussian_inputs,
    );
}

#[test]
fn nothing_but_zeros() {
    let zeros =
        |parts: &mut Parts| (0..CHANNELS).for_each(|channel| for_channel(parts, channel, |w| *w = 0.0));
    hold(zeros, gaussian_inputs);
    hold(
        |parts| {
            zeros(parts);
            parts.bias.fill(0.0);
        },
        gaussian_inputs,
    );
}

/// Batch norm leaves such channels behind: weights near zero, and a bias that is not.
#[test]
fn a_dead_channel_with_a_large_bias() {
    for (weight, bias) in [(0.0, 50.0), (0.0, -50.0), (1e-12, 50.0), (1e-30, 1e6), (1e-6, -1e3)] {
        hold(
            |parts| {
                for_channel(parts, 1, |w| *w *= weight);
                parts.bias[1] = bias;
            },
            gaussian_inputs,
        );
    }
}

#[test]
fn a_dead_channel_with_large_expert_biases() {
    hold(
        |parts| {
            for_channel(parts, 1, |w| *w *= 1e-12);
            if parts.routing.is_some() {
                parts.expert_biases = vec![vec![0.5; CHANNELS]; parts.experts.len()];
                parts.expert_biases[0][1] = 80.0;
            }
        },
        gaussian_inputs,
    );
}

#[test]
fn a_routing_matrix_of_zeros() {
    hold(
        |parts| {
            if let Some((matrix, _)) = &mut parts.routing {
                matrix.iter_mut().for_each(|row| row.fill(0.0));
            }
        },
        gaussian_inputs,
    );
    hold(
        |parts| {
            if let Some((matrix, bias)) = &mut parts.routing {
                matrix[0].fill(0.0);
                bias.fill(0.0);
            }
        },
        gaussian_inputs,
    );
}

#[test]
fn routings_that_never_change() {
    for extreme in [-1000.0, -12.0, 12.0, 1000.0] {
        hold(
            |parts| {
                if let Some((_, bias)) = &mut parts.routing {
                    bias[0] = extreme;
                }
            },
            gaussian_inputs,
        );
    }
}

#[test]
fn experts_and_channels_of_very_different_size() {
    hold(
        |parts| {
            parts.experts[0].iter_mut().for_each(|w| *w *= 1e-5);
            for_channel(parts, 3, |w| *w *= 1e-4);
            for_channel(parts, 4, |w| *w *= 1e3);
        },
        gaussian_inputs,
    );
}

#[test]
fn weights_of_any_size() {
    for factor in [1e-18, 1e-9, 1e9, 1e15] {
        hold(
            |parts| {
                (0..CHANNELS).for_each(|channel| for_channel(parts, channel, |w| *w *= factor));
                parts.bias.iter_mut().for_each(|b| *b *= factor);
            },
            gaussian_inputs,
        );
    }
}

#[test]
fn inputs_that_are_always_zero() {
    hold(|_| (), |_, shape| vec![vec![0.0; shape.len()]; 3]);
    hold(|parts| parts.clamp = RELU, |_, shape| vec![vec![0.0; shape.len()]; 3]);
}

#[test]
fn inputs_that_are_always_the_same() {
    for value in [-3.0, 1e-6, 7.0] {
        hold(|_| (), |_, shape| vec![vec![value; shape.len()]; 3]);
    }
}

#[test]
fn one_calibration_input() {
    hold(|_| (), |random, shape| vec![random.gaussians(shape.len(), 1.0)]);
}

#[test]
fn an_activation_that_passes_nothing() {
    hold(
        |parts| {
            parts.clamp = RELU;
            parts.bias.fill(-100.0);
        },
        gaussian_inputs,
    );
}
