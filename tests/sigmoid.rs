//! The sigmoid for each of its arguments, and the routing weights of random layers.

mod float_layer;
mod random;
mod reference;

use condconv::{RoutingLogit, Shape, Window, sigmoid};
use condconv_tools::graph::Clamp;
use float_layer::{FloatLayer, Parts, Place};
use random::Random;

fn bits(logit: i16) -> i32 {
    i32::from(sigmoid(RoutingLogit::from_bits(logit)).to_bits())
}

#[test]
fn every_logit_is_within_four_steps() {
    let error = |logit: i16| {
        let exact = reference::sigmoid(f64::from(logit) / 2048.0) * 32768.0;
        (f64::from(bits(logit)) - exact).abs()
    };
    let worst = (i16::MIN..=i16::MAX).map(error).fold(0.0, f64::max);
    println!("largest error of the sigmoid: {worst:.2} steps of 2^-15");
    assert!(worst <= 4.0, "{worst}");
}

/// The table as it is described: raised by half of the largest error of a chord, `h^2 / 16 |sigmoid''|`.
#[test]
fn entries_of_the_table() {
    for entry in 0..128 {
        let s = reference::sigmoid(f64::from(entry) / 8.0);
        let raised = s + (s * (1.0 - s) * (2.0 * s - 1.0)) / (64.0 * 16.0);
        let error = f64::from(bits(entry * 256)) - (raised * 32768.0).min(32767.0);
        assert!(error.abs() < 0.51, "entry {entry} is off by {error}");
    }
}

#[test]
fn the_sigmoid_never_falls() {
    for logit in i16::MIN..i16::MAX {
        assert!(bits(logit) <= bits(logit + 1), "at {logit}");
    }
    assert_eq!([bits(i16::MIN), bits(0), bits(i16::MAX)], [0, 16384, 32767]);
}

#[test]
fn opposite_logits_sum_to_one() {
    for logit in 1..=i16::MAX {
        // One itself is no Q0.15 number: it becomes the largest.
        let one = if bits(-logit) == 0 { 32767 } else { 32768 };
        assert_eq!(bits(logit) + bits(-logit), one, "at {logit}");
    }
}

/// Maps of all sizes, weak and strong routings, on inputs that int8 holds exactly.
#[test]
fn routing_weights_are_within_a_4096th() {
    let mut worst = 0.0_f64;
    for seed in 0..400 {
        let random = &mut Random::new(seed);
        let side = random.pick(&[1, 2, 5, 16, 40]);
        let channels = random.pick(&[1, 3, 16, 64, 200]);
        let shape = Shape::new(side, side, channels);
        let n = random.pick(&[1, 2, 5, 8, 32]);
        let deviation = random.pick(&[0.1, 1.0, 6.0]) / (channels as f64).sqrt();
        let bias = random.pick(&[0.0, 1.0, 4.0]);
        let parts = Parts {
            input: shape,
            convolution: Some((Window::new([1, 1]).stride([side; 2]), channels)),
            clamp: Clamp::NONE,
            experts: vec![vec![1.0; channels]; n],
            bias: vec![0.0; channels],
            expert_biases: Vec::new(),
            routing: Some((
                (0..n).map(|_| random.gaussians(channels, deviation)).collect(),
                random.gaussians(n, bias),
            )),
        };
        let layer = FloatLayer::new(parts, Place::Inside);
        let inputs: Vec<Vec<f32>> = (0..4)
            .map(|_| {
                let means = random.gaussians(channels, 0.5);
                let pixels = random.gaussians(shape.len(), 1.0);
                pixels.iter().zip(means.iter().cycle()).map(|(x, mean)| x + mean).collect()
            })
            .collect();
        let errors = layer
            .compare(&layer.calibrate(&inputs), &inputs)
            .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let alpha = errors.largest_alpha();
        assert!(alpha < 1.0 / 4096.0, "seed {seed}: {alpha}");
        worst = worst.max(alpha);
    }
    println!("largest error of a routing weight: {worst:.6}");
}
