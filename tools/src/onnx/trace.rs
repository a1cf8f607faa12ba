//! One run of the whole graph, node by node: it gives the shape of every value, and all values that do not depend
//! on the input.

use std::collections::{HashMap, HashSet};

use rten::{Value, ValueView};
use rten_tensor::prelude::*;

use super::engine::{Engine, floats};
use super::error::Fault;
use super::guard;
use super::node::Node;
use super::source::Source;
use super::tensor::MAX_ELEMENTS;

/// The shapes of all values at batch 1, and the constants.
#[derive(Debug)]
pub(super) struct Trace {
    shapes: HashMap<String, Vec<usize>>,
    constants: HashMap<String, Value>,
    /// Constants that are not stored in the file but computed.
    folded: Vec<String>,
}

impl Trace {
    /// Runs the graph on a random input.
    pub(super) fn run(source: &Source, engine: &Engine) -> Result<Self, Fault> {
        let mut values = HashMap::new();
        for name in source.initializers() {
            let value =
                engine.run(&[], &[name]).map_err(|error| Fault::new(error, "export the network again"))?;
            values.extend(value.into_iter().map(|value| (name.to_string(), value)));
        }
        let mut constants: HashSet<String> = values.keys().cloned().collect();
        let stored = constants.clone();
        let input = random_floats(source.input_dims.iter().product());
        if let Ok(input) = Value::from_shape(&source.input_dims, input) {
            values.insert(source.input.clone(), input);
        }

        let mut budget = 4 * MAX_ELEMENTS;
        for node in &source.nodes {
            let outputs =
                evaluate(node, &values, &stored, engine, &mut budget).map_err(|fault| hint(fault, source))?;
            // Sizes are fixed: a shape does not depend on the input, whatever it is the shape of.
            let constant = matches!(node.operator.as_str(), "Shape" | "Size")
                || node.given_inputs().all(|name| constants.contains(name));
            for (name, value) in node.wanted_outputs().zip(outputs) {
                if constant {
                    constants.insert(name.to_string());
                }
                values.insert(name.to_string(), value);
            }
        }
        let shapes = values.iter().map(|(name, value)| (name.clone(), value.shape().to_vec())).collect();
        values.retain(|name, _| constants.contains(name));
        let mut folded: Vec<_> = constants.difference(&stored).cloned().collect();
        folded.sort_unstable();
        Ok(Self { shapes, constants: values, folded })
    }

    /// The shape of a value, with the batch dimension as in the graph.
    pub(super) fn shape(&self, name: &str) -> &[usize] {
        self.shapes.get(name).map_or(&[], Vec::as_slice)
    }

    /// The number of elements of a value.
    pub(super) fn len(&self, name: &str) -> usize {
        self.shape(name).iter().product()
    }

    /// Whether the graph has a value of that name.
    pub(super) fn is_known(&self, name: &str) -> bool {
        self.shapes.contains_key(name)
    }

    /// Whether a value does not depend on the input.
    pub(super) fn is_constant(&self, name: &str) -> bool {
        self.constants.contains_key(name)
    }

    /// The numbers of a constant float tensor.
    pub(super) fn floats(&self, name: &str) -> Option<Vec<f32>> {
        self.constants.get(name).and_then(floats)
    }

    /// The numbers of a constant integer tensor.
    pub(super) fn ints(&self, name: &str) -> Option<Vec<i64>> {
        self.constants.get(name).and_then(guard::indices)
    }

    /// The constants that the evaluator would otherwise compute anew, some of them from the shape of values that
    /// are not given when a part of the graph runs.
    pub(super) fn folded(&self) -> impl Iterator<Item = (&str, ValueView<'_>)> {
        self.folded.iter().filter_map(|name| Some((name.as_str(), self.constants.get(name)?.as_view())))
    }
}

fn evaluate(
    node: &Node,
    values: &HashMap<String, Value>,
    stored: &HashSet<String>,
    engine: &Engine,
    budget: &mut usize,
) -> Result<Vec<Value>, Fault> {
    let inputs: Vec<_> = node.inputs.iter().map(|name| values.get(name)).collect();
    guard::check_window(node, &inputs)?;
    let Some(left) = guard::modest_count(node, &inputs).and_then(|count| budget.checked_sub(count)) else {
        return Err(Fault::at(
            node,
            "its sizes are inconsistent, or beyond 256 MiB or 1 GiB in all",
            "check the shapes, kernel, stride and pads of this node",
        ));
    };
    *budget = left;
    let mut given: Vec<(&str, ValueView)> = Vec::new();
    for (name, value) in node.inputs.iter().zip(inputs) {
        if let Some(value) =
            value.filter(|_| !stored.contains(name) && given.iter().all(|(other, _)| other != name))
        {
            given.push((name, value.as_view()));
        }
    }
    let wanted: Vec<_> = node.wanted_outputs().collect();
    engine.run(&given, &wanted).map_err(|error| not_evaluated(node, &error))
}

/// The fault of a node that the evaluator does not take.
pub(super) fn not_evaluated(node: &Node, error: &str) -> Fault {
    // It was not told the names of nodes.
    let error = error.replace("operator \"\" failed: ", "").replace("operator error: ", "");
    let remedy = "check the graph with onnx.checker, or export it again";
    Fault::at(node, format!("cannot be evaluated: {error}"), remedy)
}

/// A graph exported at another batch, its batch declared open afterwards, does not run at batch 1.
fn hint(fault: Fault, source: &Source) -> Fault {
    if source.symbolic_batch {
        fault.with_remedy("export with a fixed batch of 1 (no dynamic axes)")
    } else {
        fault
    }
}

/// Reproducible numbers in 0..1.
pub(super) fn random_floats(count: usize) -> Vec<f32> {
    let mut state = 0x2545_f491_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 8) as f32 / (1 << 24) as f32
    };
    (0..count).map(|_| next()).collect()
}
