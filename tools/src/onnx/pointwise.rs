//! Functions of each element, however they are written: a part of the graph that works on one tensor element by
//! element is evaluated on a grid of points and compared with the functions that the network can have.

use std::collections::{HashMap, HashSet};

use rten::ValueView;

use super::engine::{Engine, floats};
use super::node::Node;
use super::source::Source;
use super::trace::Trace;
use crate::graph::Function;

/// Nodes of a part at most; GELU by its tanh form has nine.
const MAX_NODES: usize = 16;

/// Allowed error, of the function's value and of its argument's magnitude.
const TOLERANCE: f64 = 2e-5;

/// Operators that work element by element.
const OPERATORS: [&str; 34] = [
    "Abs",
    "Add",
    "Cast",
    "Clip",
    "Div",
    "Elu",
    "Erf",
    "Exp",
    "Gelu",
    "Greater",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "LeakyRelu",
    "Log",
    "Max",
    "Min",
    "Mul",
    "Neg",
    "PRelu",
    "Pow",
    "Reciprocal",
    "Relu",
    "Selu",
    "Sigmoid",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Sub",
    "Sum",
    "Swish",
    "Tanh",
    "ThresholdedRelu",
    "Where",
];

/// The functions of a graph.
#[derive(Debug, Default)]
pub(super) struct Pointwise {
    /// By the index of a part's last node: the value that the part works on, and what it computes.
    pub(super) functions: HashMap<usize, (String, Function)>,
    /// Nodes whose results only such parts read.
    pub(super) inside: HashSet<usize>,
}

impl Pointwise {
    /// Finds the functions, the last ones first, so that the largest parts are found before what they consist of.
    pub(super) fn find(source: &Source, trace: &Trace, engine: &Engine) -> Self {
        let search = Search::new(source, trace, engine);
        let mut found = Self::default();
        for last in (0..source.nodes.len()).rev() {
            if found.inside.contains(&last) {
                continue;
            }
            if let Some((root, function, nodes)) = search.function(last) {
                found.inside.extend(search.read_inside_only(last, &nodes));
                found.functions.insert(last, (root.to_string(), function));
            }
        }
        found
    }
}

struct Search<'a> {
    source: &'a Source,
    trace: &'a Trace,
    engine: &'a Engine,
    /// Index of the node that computes a value.
    producers: HashMap<&'a str, usize>,
    /// Indices of the nodes that read a value.
    readers: HashMap<&'a str, Vec<usize>>,
    points: Vec<f32>,
}

impl<'a> Search<'a> {
    fn new(source: &'a Source, trace: &'a Trace, engine: &'a Engine) -> Self {
        let mut producers = HashMap::new();
        let mut readers: HashMap<&str, Vec<usize>> = HashMap::new();
        for (index, node) in source.nodes.iter().enumerate() {
            producers.extend(node.wanted_outputs().map(|name| (name, index)));
            for name in node.given_inputs() {
                readers.entry(name).or_default().push(index);
            }
        }
        let fine = (-160..=160i16).map(|i| f32::from(i) / 20.0);
        let coarse = (-40..=40i16).map(f32::from);
        Self { source, trace, engine, producers, readers, points: fine.chain(coarse).collect() }
    }

    /// What a node computes from the nearest value from which it computes a known function.
    fn function(&self, last: usize) -> Option<(&'a str, Function, HashSet<usize>)> {
        let node = &self.source.nodes[last];
        let output = node.outputs.first()?;
        let mut open: HashSet<&'a str> = self.arguments(node)?;
        let mut nodes = HashSet::from([last]);
        loop {
            if let [root] = open.iter().copied().collect::<Vec<_>>()[..]
                && self.may_be_curved(last, &nodes)
                && let Some(function) = self.evaluate(root, output, self.threshold(&nodes))
            {
                // A sigmoid may turn out to yield routing weights.
                return (function != Function::Sigmoid).then_some((root, function, nodes));
            }
            if nodes.len() == MAX_NODES {
                return None;
            }
            let latest = open.iter().filter_map(|name| Some((*self.producers.get(name)?, *name))).max()?;
            open.remove(latest.1);
            nodes.insert(latest.0);
            open.extend(self.arguments(&self.source.nodes[latest.0])?);
        }
    }

    /// The values that a node works on element by element, if it does so and constants are single numbers.
    fn arguments(&self, node: &'a Node) -> Option<HashSet<&'a str>> {
        let output = self.trace.shape(node.outputs.first()?);
        if OPERATORS.binary_search(&node.operator.as_str()).is_err()
            || node.wanted_outputs().count() != 1
            || self.trace.is_constant(&node.outputs[0])
        {
            return None;
        }
        let mut arguments = HashSet::new();
        for name in node.given_inputs() {
            if self.trace.is_constant(name) {
                if self.trace.len(name) != 1 {
                    return None;
                }
            } else if self.trace.shape(name) == output {
                arguments.insert(name);
            } else {
                return None;
            }
        }
        Some(arguments)
    }

    /// Clamps and scaling are folded into the layers before, one by one.
    fn may_be_curved(&self, last: usize, nodes: &HashSet<usize>) -> bool {
        let is = |index: usize, operators: &[&str]| {
            operators.contains(&self.source.nodes[index].operator.as_str())
        };
        let single = |index: usize| {
            self.source.nodes[index].given_inputs().filter(|name| !self.trace.is_constant(name)).count() == 1
        };
        let linear = |index: usize| {
            single(index) && is(index, &["Add", "Sub", "Mul", "Div", "Neg", "Identity", "Cast", "Sum"])
        };
        let clamp = |index: usize| single(index) && is(index, &["Relu", "Clip", "Max", "Min"]);
        let folded = nodes.iter().all(|&index| linear(index) || clamp(index));
        !folded || (!clamp(last) && nodes.iter().any(|&index| clamp(index)))
    }

    /// What the argument is compared with; infinity if it is not.
    fn threshold(&self, nodes: &HashSet<usize>) -> f32 {
        let nodes = nodes.iter().map(|&index| &self.source.nodes[index]);
        let mut compared = nodes.filter(|node| node.operator == "Greater").filter_map(|node| node.input(1));
        let bound = compared.next().and_then(|name| self.trace.floats(name));
        bound.and_then(|bound| bound.first().copied()).unwrap_or(f32::INFINITY)
    }

    /// The known function by which `output` depends on `root`.
    fn evaluate(&self, root: &str, output: &str, threshold: f32) -> Option<Function> {
        let mut given: Vec<_> = self.trace.folded().collect();
        // Of as many dimensions as the value has, since constants may have as many.
        let mut dims = vec![1; self.trace.shape(root).len().max(1)];
        *dims.last_mut()? = self.points.len();
        given.push((root, ValueView::from_shape(&dims, &self.points).ok()?));
        let values = floats(&self.engine.run(&given, &[output]).ok()?.pop()?)?;
        if values.len() != self.points.len() || values.iter().any(|value| !value.is_finite()) {
            return None;
        }
        let at = |x: f32| {
            let index = self.points.iter().position(|&point| point == x);
            index.and_then(|index| values.get(index)).copied().unwrap_or(f32::NAN)
        };
        let at_zero = at(0.0);
        let known = [
            Function::HardSwish,
            Function::Sigmoid,
            Function::Silu,
            Function::Tanh,
            Function::Gelu,
            Function::GeluTanh,
            Function::Mish,
            Function::Softplus { beta: std::f32::consts::LN_2 / at_zero, threshold },
            Function::LeakyRelu { slope: -at(-1.0) },
            Function::HardSigmoid { alpha: (at(0.1) - at_zero) / 0.1, beta: at_zero },
            // The value far below zero is -alpha.
            Function::Elu { alpha: -at(-40.0) },
        ];
        known.into_iter().find(|function| {
            function.is_curved()
                && self.points.iter().zip(&values).all(|(&x, &y)| {
                    let x = f64::from(x);
                    (function.apply(x) - f64::from(y)).abs() <= TOLERANCE * x.abs().max(1.0)
                })
        })
    }

    /// The nodes of a part whose results are of no use outside.
    fn read_inside_only(&self, last: usize, nodes: &HashSet<usize>) -> HashSet<usize> {
        let mut inside = HashSet::from([last]);
        let mut order: Vec<usize> = nodes.iter().copied().filter(|&index| index != last).collect();
        order.sort_unstable();
        for index in order.into_iter().rev() {
            let mut outputs = self.source.nodes[index].wanted_outputs();
            if outputs.all(|name| {
                name != self.source.output
                    && self.readers.get(name).is_none_or(|readers| readers.iter().all(|r| inside.contains(r)))
            }) {
                inside.insert(index);
            }
        }
        inside.remove(&last);
        inside
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn operators_are_sorted() {
        assert!(super::OPERATORS.is_sorted());
    }
}
