//! Scaling and shifting channel by channel, as by a batch norm before a layer, goes into the layers and routings that read
//! it, if all of them can take it in: not where zeros are put around a map that is shifted.

use condconv::{Padding, Shape};

use crate::graph::{Clamp, Kernels, Layer, Network, Op, ValueId, taps};

/// Lets layers absorb what stands before them. The layers that are left without a reader remain.
pub(super) fn absorb(network: &mut Network) {
    // The last ones first, so that of two in a row both are absorbed.
    for index in (0..network.layers.len()).rev() {
        let Some((scale, shift)) = affine(&network.layers[index]) else { continue };
        let (from, to) = (network.layers[index].inputs[0], network.layers[index].output);
        let readers = || network.layers.iter().filter(|layer| layer.inputs.contains(&to));
        if to == network.output
            || !readers().all(|layer| takes(layer, shift.iter().any(|&shift| shift != 0.0)))
        {
            continue;
        }
        let shape = network.values[to].shape;
        for layer in network.layers.iter_mut().filter(|layer| layer.inputs.contains(&to)) {
            take(layer, from, shape, &scale, &shift);
        }
        for routing in network.routings.iter_mut().filter(|routing| routing.input == to) {
            for (row, bias) in routing.matrix.iter_mut().zip(&mut routing.bias) {
                *bias += product(row, &shift);
                row.iter_mut().zip(&scale).for_each(|(weight, scale)| *weight *= scale);
            }
            routing.input = from;
        }
    }
}

/// Scale and shift of each channel, of a layer that does nothing else.
fn affine(layer: &Layer) -> Option<(Vec<f32>, Vec<f32>)> {
    match &layer.op {
        Op::Conv { window, groups, kernels, clamp: Clamp::NONE }
            if window.taps() == 1
                && window.stride == [1, 1]
                && window.padding == Padding::default()
                && *groups == kernels.channels
                && kernels.routing.is_none()
                && kernels.experts[0].len() == kernels.channels =>
        {
            Some((kernels.experts[0].clone(), kernels.bias.clone()))
        }
        _ => None,
    }
}

/// Whether a layer can take a scale and a shift in.
fn takes(layer: &Layer, shifts: bool) -> bool {
    match &layer.op {
        Op::Conv { window, .. } => !shifts || window.padding == Padding::default(),
        Op::Linear { .. } => true,
        _ => false,
    }
}

fn take(layer: &mut Layer, from: ValueId, shape: Shape, scale: &[f32], shift: &[f32]) {
    let groups = layer.op.groups();
    if let Some(kernels) = layer.op.kernels_mut() {
        if kernels.routing.is_some() {
            kernels.expert_biases_mut();
        }
        let Kernels { channels, experts, bias, expert_biases, routing } = kernels;
        for tap in taps(experts, *channels, shape.channels, groups) {
            let biases = if routing.is_some() { &mut expert_biases[tap.expert] } else { &mut *bias };
            biases[tap.channel] += product(tap.weights, &shift[tap.inputs.clone()]);
            tap.weights.iter_mut().zip(&scale[tap.inputs]).for_each(|(weight, scale)| *weight *= scale);
        }
        if expert_biases.iter().flatten().all(|&bias| bias == 0.0) {
            expert_biases.clear();
        }
    }
    layer.inputs[0] = from;
}

fn product(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>() as f32
}
