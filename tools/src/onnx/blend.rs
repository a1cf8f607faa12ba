//! Outputs of experts, weighted and added: the same as one layer with mixed kernels, and imported so.

use std::slice;

use super::error::Fault;
use super::import::Importer;
use super::meaning::Features;
use super::node::Node;
use crate::graph::{Clamp, Kernels, Layer, Op};

impl<'a> Importer<'a> {
    /// A convolution's output times one routing weight, as a convolution whose kernel is mixed.
    pub(super) fn weighted(
        &mut self,
        node: &'a Node,
        features: &Features,
        gate: &str,
        weight: &str,
        output: &str,
    ) -> Result<Option<Features>, Fault> {
        let is_plain = |layer: &usize| match &self.layers[*layer].op {
            Op::Conv { kernels, clamp, .. } => kernels.routing.is_none() && *clamp == Clamp::NONE,
            _ => false,
        };
        let Some(layer) = self.own_layer(features).filter(is_plain) else { return Ok(None) };
        if node.operator != "Mul"
            || self.trace.len(weight) != 1
            || self.trace.len(output) != self.shape(features).len()
        {
            return Ok(None);
        }
        let routing = self.routing(node, gate)?;
        let weight = self.probe_mixture(node, gate, weight)?;
        if weight.at_zero != [0.0] {
            return Ok(None);
        }
        if let Some(kernels) = self.layers[layer].op.kernels_mut() {
            let shares = || weight.experts.iter().map(|share| share[0]);
            let scaled =
                |numbers: &[f32]| shares().map(|share| numbers.iter().map(|x| share * x).collect()).collect();
            let biases = scaled(&kernels.bias);
            *kernels = Kernels {
                experts: scaled(&kernels.experts[0]),
                expert_biases: if kernels.bias.iter().any(|&bias| bias != 0.0) { biases } else { Vec::new() },
                bias: vec![0.0; kernels.channels],
                routing: Some(routing),
                ..*kernels
            };
        }
        let layer = self.moved_to_the_end(layer);
        self.name_sums(layer, features, output);
        Ok(Some(self.folded(features, output)))
    }

    /// The sum of two convolutions of one tensor by one routing, as one.
    pub(super) fn blended(&mut self, a: &Features, b: &Features, output: &str) -> Option<Features> {
        let (first, second) = (self.own_layer(a)?, self.own_layer(b)?);
        if first == second || a.order != b.order || !are_alike(&self.layers[first], &self.layers[second]) {
            return None;
        }
        let more = self.layers[second].op.kernels()?.clone();
        let kernels = self.layers[first].op.kernels_mut()?;
        add(&mut kernels.experts, &more.experts);
        add(slice::from_mut(&mut kernels.bias), slice::from_ref(&more.bias));
        if !more.expert_biases.is_empty() {
            add(kernels.expert_biases_mut(), &more.expert_biases);
        }
        self.name_sums(first, a, output);
        Some(self.folded(a, output))
    }

    /// Moves a layer behind all that its routing may need.
    fn moved_to_the_end(&mut self, layer: usize) -> usize {
        let moved = self.layers.remove(layer);
        self.layers.push(moved);
        self.layers.len() - 1
    }
}

/// Whether two conditional convolutions differ in nothing but their kernels.
fn are_alike(a: &Layer, b: &Layer) -> bool {
    match (&a.op, &b.op) {
        (
            Op::Conv { window, groups, kernels, clamp: Clamp::NONE },
            Op::Conv { window: other_window, groups: other_groups, kernels: other, clamp: Clamp::NONE },
        ) => {
            kernels.routing.is_some()
                && a.inputs == b.inputs
                && (window, groups, kernels.routing, kernels.channels)
                    == (other_window, other_groups, other.routing, other.channels)
        }
        _ => false,
    }
}

/// Adds lists of numbers to others of the same length.
pub(super) fn add(sums: &mut [Vec<f32>], terms: &[Vec<f32>]) {
    for (sum, term) in sums.iter_mut().zip(terms) {
        sum.iter_mut().zip(term).for_each(|(sum, term)| *sum += term);
    }
}
