//! From a sigmoid or softmax to the routing function: pool, fully connected, sigmoid or softmax.

use condconv::{MAX_EXPERTS, Shape};

use super::error::Fault;
use super::import::Importer;
use super::node::{Node, unsupported};
use crate::graph::{Clamp, Gate, Layer, Op, Routing, RoutingId, ValueId};

impl Importer<'_> {
    /// The routing function whose weights the value `gate` holds.
    pub(super) fn routing(&mut self, user: &Node, gate: &str) -> Result<RoutingId, Fault> {
        if let Some(&known) = self.routing_of.get(gate) {
            return Ok(known);
        }
        let node = self.gate_node(gate).ok_or_else(|| unsupported(user))?;
        let experts = self.trace.len(gate);
        if node.operator == "Softmax" && !self.is_softmax_of_all(node, gate) {
            return Err(Fault::at(
                node,
                "does not make all routing weights sum to one",
                "take the softmax over all experts of a layer",
            ));
        }
        if experts > MAX_EXPERTS {
            return Err(Fault::at(
                node,
                format!("yields {experts} routing weights"),
                format!("a CondConv may have up to {MAX_EXPERTS} experts"),
            ));
        }
        let logits = self.demand(node, node.input(0).unwrap_or_default())?;
        self.in_order(node, &logits)?;
        let linear = self.layers.iter().rfind(|layer| layer.output == logits.value).and_then(matrix_and_bias);
        let linear = linear.filter(|(features, ..)| self.values[*features].shape.pixels() == 1);
        if linear.is_none() && self.shape(&logits) != Shape::vector(experts) {
            return Err(Fault::at(
                node,
                "routes by numbers that are no vector with one logit for each expert",
                "route as CondConv does: pool, fully connected, sigmoid",
            ));
        }
        let (features, matrix, bias) =
            linear.unwrap_or_else(|| (logits.value, identity(experts), vec![0.0; experts]));
        let routing = Routing {
            gate: if node.operator == "Softmax" { Gate::Softmax } else { Gate::Sigmoid },
            name: node.name.clone(),
            onnx_name: gate.into(),
            input: self.before_pool(features),
            matrix,
            bias,
        };
        self.routings.push(routing);
        self.routing_of.insert(gate.into(), self.routings.len() - 1);
        Ok(self.routings.len() - 1)
    }

    /// The map that was pooled to a vector, or the vector itself. Routings pool by themselves.
    fn before_pool(&self, vector: ValueId) -> ValueId {
        let pool = self
            .layers
            .iter()
            .find(|layer| layer.output == vector && matches!(layer.op, Op::GlobalAveragePool));
        pool.map_or(vector, |pool| pool.inputs[0])
    }
}

/// Input, matrix and bias of a static layer without activation that is fully connected, or the same as a convolution
/// of one pixel.
fn matrix_and_bias(layer: &Layer) -> Option<(ValueId, Vec<Vec<f32>>, Vec<f32>)> {
    let kernels = match &layer.op {
        Op::Conv { window, groups: 1, kernels, clamp: Clamp::NONE } if window.taps() == 1 => kernels,
        Op::Linear { kernels, clamp: Clamp::NONE } => kernels,
        _ => return None,
    };
    match (&kernels.experts[..], kernels.routing) {
        ([expert], None) => {
            let rows = expert.chunks(expert.len() / kernels.channels).map(<[f32]>::to_vec).collect();
            Some((layer.inputs[0], rows, kernels.bias.clone()))
        }
        _ => None,
    }
}

fn identity(size: usize) -> Vec<Vec<f32>> {
    (0..size).map(|row| (0..size).map(|column| if row == column { 1.0 } else { 0.0 }).collect()).collect()
}
