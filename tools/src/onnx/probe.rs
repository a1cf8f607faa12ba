//! Finds what a part of the graph computes by evaluating it.

use std::collections::HashSet;

use condconv::Shape;
use rten::{Value, ValueView};

use super::engine::floats;
use super::error::Fault;
use super::import::Importer;
use super::meaning::{Features, Meaning, Mixed, is_vector, nchw_to_nhwc};
use super::node::{Node, unsupported};
use super::trace::random_floats;
use crate::graph::{Clamp, Kernels, Op};

/// Allowed error of a function that is linear but for rounding, relative to its largest value.
const TOLERANCE: f32 = 1e-5;

/// More evaluations would take minutes.
const MAX_EVALUATIONS: usize = 1 << 16;

/// A value that is a sum of experts weighted by routing weights, plus a constant.
pub(super) struct Mixture {
    pub(super) at_zero: Vec<f32>,
    pub(super) experts: Vec<Vec<f32>>,
}

impl Importer<'_> {
    /// Decomposes a value that is computed from the routing weights `gate`.
    pub(super) fn probe_mixture(&self, node: &Node, gate: &str, name: &str) -> Result<Mixture, Fault> {
        let count = self.trace.len(gate);
        let at = |weights: &[f32]| {
            self.evaluate(node, &[(gate, weights)], &[name]).map(|mut values| values.swap_remove(0))
        };
        let at_zero = at(&vec![0.0; count])?;
        let units: Vec<_> = (0..count).map(|expert| at(&unit(count, expert))).collect::<Result<_, _>>()?;
        let experts: Vec<Vec<f32>> = units.iter().map(|unit| difference(unit, &at_zero)).collect();
        let linear = |weights: &[f32]| -> Result<bool, Fault> {
            let mut expected = at_zero.clone();
            for (expert, weight) in experts.iter().zip(weights) {
                expected.iter_mut().zip(expert).for_each(|(sum, term)| *sum += weight * term);
            }
            Ok(close(&at(weights)?, &expected))
        };
        if linear(&random_floats(count))? && linear(&vec![1.0; count])? {
            Ok(Mixture { at_zero, experts })
        } else {
            Err(Fault::at(
                node,
                format!("`{name}` is not a linear function of the routing weights `{gate}`"),
                "mix the experts as a weighted sum (CondConv), with nothing between sigmoid and sum nor between sum and layer",
            ))
        }
    }

    /// Adds the fully connected layer that a part of the graph amounts to: linear in a vector, or, with routing, in
    /// the vector and the routing weights.
    pub(super) fn probe_linear(&mut self, name: &str, mixed: &Mixed) -> Result<Features, Fault> {
        let source = self.source;
        let node = &source.nodes[mixed.node];
        let shape = self.values[mixed.part.value].shape;
        let routing = mixed.gate.as_deref().map(|gate| self.routing(node, gate)).transpose()?;
        let experts = mixed.gate.as_deref().map_or(0, |gate| self.trace.len(gate));
        let channels = self.trace.len(name);
        if channels == 0
            || !is_vector(self.trace.shape(name))
            || (experts + 2) * shape.len() > MAX_EVALUATIONS
        {
            return Err(unsupported(node));
        }

        let probe = Probe { importer: self, node, mixed, name };
        let origin = vec![0.0; shape.len()];
        let fixed = probe.at(&probe.routed(&vec![0.0; experts])?, &origin)?;
        let matrix_at = |weights: &[f32]| -> Result<(Vec<f32>, Vec<f32>), Fault> {
            let routed = probe.routed(weights)?;
            let bias = probe.at(&routed, &origin)?;
            let mut matrix = vec![0.0; channels * shape.len()];
            for input in 0..shape.len() {
                let column = difference(&probe.at(&routed, &unit(shape.len(), input))?, &bias);
                let position = nchw_to_nhwc(input, shape);
                column.into_iter().enumerate().for_each(|(row, x)| matrix[row * shape.len() + position] = x);
            }
            Ok((matrix, difference(&bias, &fixed)))
        };
        let points: Vec<_> = (0..experts).map(|expert| unit(experts, expert)).collect();
        let points = if routing.is_none() { vec![Vec::new()] } else { points };
        let (matrices, biases): (Vec<_>, Vec<_>) =
            points.iter().map(|point| matrix_at(point)).collect::<Result<Vec<_>, _>>()?.into_iter().unzip();

        let linear = |scale: f32| -> Result<bool, Fault> {
            let weights = if routing.is_none() { vec![1.0] } else { random_floats(experts) };
            let vector: Vec<_> = random_floats(shape.len()).iter().map(|x| scale * (2.0 * x - 1.0)).collect();
            let mut expected = fixed.clone();
            for ((matrix, bias), weight) in matrices.iter().zip(&biases).zip(&weights) {
                for (row, sum) in expected.iter_mut().enumerate() {
                    let products = vector.iter().enumerate().map(|(input, x)| {
                        f64::from(matrix[row * shape.len() + nchw_to_nhwc(input, shape)]) * f64::from(*x)
                    });
                    *sum += weight * (products.sum::<f64>() as f32 + bias[row]);
                }
            }
            Ok(close(&probe.at(&probe.routed(&weights)?, &vector)?, &expected))
        };
        // Both signs and sizes, or a clamp could hide.
        if !linear(1.0)? || !linear(1000.0)? {
            return Err(match &mixed.gate {
                None => unsupported(node),
                Some(gate) => Fault::at(
                    node,
                    format!("`{name}` is not linear in both the features and the routing weights `{gate}`"),
                    "a fully connected CondConv is a matrix, mixed as a weighted sum, times the features",
                ),
            });
        }
        let expert_biases = if routing.is_none() || biases.iter().flatten().all(|&bias| bias == 0.0) {
            Vec::new()
        } else {
            biases
        };
        let kernels = Kernels { channels, experts: matrices, bias: fixed, expert_biases, routing };
        let op = Op::Linear { kernels, clamp: Clamp::NONE };
        Ok(self.add_layer(&node.name, op, vec![mixed.part.value], name, Shape::vector(channels)))
    }

    /// Evaluates values, given the numbers of others.
    pub(super) fn evaluate(
        &self,
        node: &Node,
        given: &[(&str, &[f32])],
        wanted: &[&str],
    ) -> Result<Vec<Vec<f32>>, Fault> {
        let fault = |error: String| {
            Fault::at(node, format!("cannot be evaluated: {error}"), "export the network again")
        };
        let mut inputs: Vec<_> = self.trace.folded().collect();
        for &(name, numbers) in given {
            let view = ValueView::from_shape(self.trace.shape(name), numbers)
                .map_err(|error| fault(error.to_string()))?;
            inputs.push((name, view));
        }
        let values = self.engine.run(&inputs, wanted).map_err(fault)?;
        let numbers: Option<Vec<_>> = values.iter().map(|value: &Value| floats(value)).collect();
        numbers.ok_or_else(|| fault("it yields integers".into()))
    }
}

/// A part of the graph between a tensor, routing weights and a value.
struct Probe<'p> {
    importer: &'p Importer<'p>,
    node: &'p Node,
    mixed: &'p Mixed,
    name: &'p str,
}

impl<'p> Probe<'p> {
    /// The values computed from the routing weights alone, such as a mixed matrix: computed once for many vectors.
    fn routed(&self, weights: &[f32]) -> Result<Vec<(&'p str, Vec<f32>)>, Fault> {
        let Some(gate) = self.mixed.gate.as_deref() else { return Ok(Vec::new()) };
        let frontier = self.frontier();
        let computed: Vec<_> = frontier.iter().copied().filter(|&name| name != gate).collect();
        let values = self.importer.evaluate(self.node, &[(gate, weights)], &computed)?;
        let given = frontier.contains(&gate).then(|| (gate, weights.to_vec()));
        Ok(computed.into_iter().zip(values).chain(given).collect())
    }

    /// The routed values that the part reads.
    fn frontier(&self) -> Vec<&'p str> {
        let mut found = Vec::new();
        let mut seen = HashSet::new();
        let mut open = vec![self.name];
        while let Some(name) = open.pop() {
            match self.importer.meanings.get(name) {
                Some(Meaning::Routed(_)) => found.push(name),
                Some(Meaning::Mixed(_)) => {
                    let node = self
                        .importer
                        .producers
                        .get(name)
                        .and_then(|&node| self.importer.source.nodes.get(node));
                    open.extend(
                        node.into_iter().flat_map(Node::given_inputs).filter(|&input| seen.insert(input)),
                    );
                }
                _ => {}
            }
        }
        found
    }

    /// The value for a vector in NCHW order.
    fn at(&self, routed: &[(&str, Vec<f32>)], vector: &[f32]) -> Result<Vec<f32>, Fault> {
        let ordered = |name: &String| match self.importer.meanings.get(name.as_str()) {
            Some(Meaning::Features(Features { order: Some(order), .. })) => {
                order.iter().map(|&from| vector[from]).collect()
            }
            _ => vector.to_vec(),
        };
        let tensors: Vec<(&str, Vec<f32>)> =
            self.mixed.part.names.iter().map(|name| (name.as_str(), ordered(name))).collect();
        let given: Vec<(&str, &[f32])> =
            routed.iter().chain(&tensors).map(|(name, numbers)| (*name, numbers.as_slice())).collect();
        self.importer.evaluate(self.node, &given, &[self.name]).map(|mut values| values.swap_remove(0))
    }
}

fn unit(count: usize, one: usize) -> Vec<f32> {
    (0..count).map(|index| if index == one { 1.0 } else { 0.0 }).collect()
}

fn difference(a: &[f32], b: &[f32]) -> Vec<f32> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

/// Equal but for rounding; NaN equals nothing.
fn close(a: &[f32], b: &[f32]) -> bool {
    let largest = a.iter().chain(b).fold(0.0, |largest: f32, x| largest.max(x.abs()));
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= TOLERANCE * largest)
}
