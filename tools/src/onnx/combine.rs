//! Nodes that are not looked into: what they compute is left to probing.

use std::collections::BTreeSet;

use condconv::Padding;

use super::error::Fault;
use super::import::Importer;
use super::meaning::{Features, Gate, Meaning, Mixed, Part, is_vector};
use super::node::{Node, unsupported};
use crate::graph::{Clamp, Kernels, Op};

impl<'a> Importer<'a> {
    /// The meaning of a node from those of its inputs.
    pub(super) fn combine(&self, index: usize, node: &'a Node) -> Result<Meaning, Fault> {
        let meanings: Vec<_> =
            node.given_inputs().filter_map(|name| Some((name, self.meanings.get(name)?))).collect();
        // A fault before this node explains more than what it leads to.
        for (_, meaning) in &meanings {
            if let Meaning::Unknown(fault) = meaning {
                return Err(fault.clone());
            }
        }
        let mut first = index;
        let mut gates: BTreeSet<&Gate> = BTreeSet::new();
        let mut part: Option<Part> = None;
        for (name, meaning) in meanings {
            let more = match meaning {
                Meaning::Unknown(_) => continue,
                Meaning::Routed(gate) => {
                    gates.insert(gate);
                    continue;
                }
                Meaning::Features(features) => self.part(name, features),
                Meaning::Mixed(mixed) => {
                    gates.extend(&mixed.gate);
                    first = first.min(mixed.node);
                    Some(mixed.part.clone())
                }
            };
            let more = more.ok_or_else(|| unsupported(node))?;
            part = Some(match part {
                None => more,
                Some(part) => self.joined(part, more).ok_or_else(|| unsupported(node))?,
            });
        }
        if gates.len() > 1 {
            return Err(Fault::at(
                node,
                "mixes the routing weights of two routings",
                "a CondConv layer must be routed by one sigmoid",
            ));
        }
        match (part, gates.pop_first().cloned()) {
            (Some(part), gate) => Ok(Meaning::Mixed(Mixed { node: first, part, gate })),
            (None, Some(gate)) => Ok(Meaning::Routed(gate)),
            (None, None) => Err(unsupported(node)),
        }
    }

    /// A vector, as a part of the graph reads it. A table of vectors is taken for the outputs of all experts, side by
    /// side.
    fn part(&self, name: &str, features: &Features) -> Option<Part> {
        let part = Part { value: features.value, names: BTreeSet::from([name.to_string()]) };
        match (features.padding == Padding::default(), is_vector(self.trace.shape(name))) {
            (true, true) => Some(part),
            (true, false) => self.before_linear(&part),
            (false, _) => None,
        }
    }

    /// Both parts as one, if they read the same tensor, or do so before static fully connected layers, as where the
    /// outputs of the experts are mixed and not their matrices.
    fn joined(&self, a: Part, b: Part) -> Option<Part> {
        let candidates = |part: Part| [self.before_linear(&part), Some(part)].into_iter().flatten().rev();
        let pairs = candidates(a).flat_map(|a| candidates(b.clone()).map(move |b| (a.clone(), b)));
        let (a, b) = pairs.into_iter().find(|(a, b)| a.value == b.value)?;
        Some(Part { value: a.value, names: &a.names | &b.names })
    }

    /// The input of the static fully connected layer that computes the part's tensor.
    fn before_linear(&self, part: &Part) -> Option<Part> {
        let layer = self.layers.iter().rfind(|layer| layer.output == part.value)?;
        match layer.op {
            Op::Linear { kernels: Kernels { routing: None, .. }, clamp: Clamp::NONE } => {
                let input = layer.inputs[0];
                let name = self.values[input].onnx_name.clone();
                // In another order, it has no name in the graph itself.
                self.trace.is_known(&name).then(|| Part { value: input, names: BTreeSet::from([name]) })
            }
            _ => None,
        }
    }
}
