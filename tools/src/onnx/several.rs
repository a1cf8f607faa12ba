//! Layers of several tensors: sums, products, concatenations. And activations, which are no longer looked into.

use condconv::Shape;

use super::error::Fault;
use super::import::Importer;
use super::meaning::{Features, Meaning, axis, is_vector, order, sample_shape};
use super::node::{Node, unsupported};
use super::trace::random_floats;
use crate::graph::{Clamp, Function, Op};

impl<'a> Importer<'a> {
    /// Adds the layer of a function of each element.
    pub(super) fn activation(
        &mut self,
        node: &'a Node,
        root: &str,
        function: Function,
        output: &str,
    ) -> Result<Option<Features>, Fault> {
        if matches!(self.meanings.get(root), Some(Meaning::Routed(gate)) if gate.as_ref() != root) {
            return Ok(None);
        }
        let features = self.demand(node, root)?;
        let shape = self.shape(&features);
        let (op, inputs) = (Op::Activation(function), vec![features.value]);
        Ok(Some(self.add_ordered_layer(&node.name, op, inputs, (output, features.order), shape)))
    }

    /// Adds the layer of a softmax over the features of a vector.
    pub(super) fn softmax(&mut self, node: &'a Node, output: &str) -> Result<Features, Fault> {
        let features = self.demand(node, node.input(0).unwrap_or_default())?;
        self.in_order(node, &features)?;
        let shape = self.shape(&features);
        if shape.pixels() != 1 || !self.is_softmax_of_all(node, output) {
            return Err(Fault::at(
                node,
                "is not a softmax over the features of a vector",
                "use a softmax over all scores at the network's output, or end the network at the scores",
            ));
        }
        Ok(self.add_layer(&node.name, Op::Softmax, vec![features.value], output, shape))
    }

    /// Whether a softmax, or its logarithm, is that of all of its inputs.
    pub(super) fn is_softmax_of_all(&self, node: &Node, output: &str) -> bool {
        let name = node.input(0).unwrap_or_default();
        let logits: Vec<f32> = random_floats(self.trace.len(name)).iter().map(|x| 4.0 * x - 2.0).collect();
        let Ok(values) = self.evaluate(node, &[(name, &logits)], &[output]) else { return false };
        let sum: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
        let log = node.operator == "LogSoftmax";
        values.first().is_some_and(|shares| {
            shares.len() == logits.len()
                && shares
                    .iter()
                    .zip(&logits)
                    .map(|(&share, &logit)| (f64::from(share), f64::from(logit).exp() / sum))
                    .all(|(share, expected)| (if log { share.exp() } else { share } - expected).abs() < 1e-5)
        })
    }

    /// Add, Sum, Sub, Mul or Div of two tensors of the network.
    pub(super) fn two_tensors(
        &mut self,
        index: usize,
        node: &'a Node,
        [a, b]: [&'a str; 2],
        output: &str,
    ) -> Result<Option<Features>, Fault> {
        if !self.eager && is_vector(self.trace.shape(output)) && self.combine(index, node).is_ok() {
            // Perhaps linear in the vector that both are made from; else they come back here.
            return Ok(None);
        }
        if !self.eager && (self.is_table(a) || self.is_table(b)) && self.combine(index, node).is_ok() {
            return Ok(None);
        }
        let sum = match node.operator.as_str() {
            "Add" | "Sum" => true,
            "Mul" => false,
            _ => return Err(unsupported(node)),
        };
        let first = self.demand(node, a)?;
        let second = self.demand(node, b)?;
        let dims = |name: &str| self.trace.shape(name).iter().skip_while(|&&dim| dim == 1);
        let whole = |name: &str| dims(name).eq(dims(output));
        let same = whole(a) && whole(b) && self.shape(&first) == self.shape(&second);
        if same && first.order != second.order {
            self.in_order(node, &first)?;
            self.in_order(node, &second)?;
        }
        if sum
            && same
            && let Some(blended) = self.blended(&first, &second, output)
        {
            return Ok(Some(blended));
        }
        let scales = |name: &str, scale: &Features, map: &Features| {
            self.shape(scale).pixels() == 1 && scale.order.is_none() && self.is_per_channel(name, map, output)
        };
        let (op, map, other) = if sum && same {
            (Op::Add { clamp: Clamp::NONE }, first, second)
        } else if !sum && whole(a) && (same || scales(b, &second, &first)) {
            (Op::Mul { clamp: Clamp::NONE }, first, second)
        } else if !sum && whole(b) && scales(a, &first, &second) {
            (Op::Mul { clamp: Clamp::NONE }, second, first)
        } else {
            let (a, b) = (self.trace.shape(a), self.trace.shape(b));
            return Err(Fault::at(
                node,
                format!("joins tensors of the shapes {a:?} and {b:?}"),
                "supported are sum, difference and product of tensors of one shape, and a map 1xCxHxW times 1xCx1x1",
            ));
        };
        let shape = self.shape(&map);
        let inputs = vec![map.value, other.value];
        Ok(Some(self.add_ordered_layer(&node.name, op, inputs, (output, map.order), shape)))
    }

    /// Whether a value holds a tensor in another shape than that of a map: a table of vectors.
    fn is_table(&self, name: &str) -> bool {
        matches!(self.meanings.get(name), Some(Meaning::Features(features))
            if sample_shape(self.trace.shape(name)) != Some(self.shape(features)))
    }

    /// Concat of several tensors along channels.
    pub(super) fn concat(
        &mut self,
        index: usize,
        node: &'a Node,
        output: &str,
    ) -> Result<Option<Features>, Fault> {
        let names: Vec<&'a str> = node.given_inputs().collect();
        let is_features = |name: &&str| matches!(self.meanings.get(*name), Some(Meaning::Features(_)));
        let constants = names.iter().filter(|name| self.trace.is_constant(name)).count();
        let dims = self.trace.shape(output).to_vec();
        let Some(axis) = axis(node.int("axis").unwrap_or(0), dims.len()) else { return Ok(None) };
        if names.len() < 2 || dims.len() < 2 || (axis != 1 && !names.iter().all(is_features)) {
            return Ok(None);
        }
        if !names.iter().any(is_features) && names.len() - constants < 2 {
            return Ok(None);
        }
        let lazy = !self.eager && !names.iter().any(is_features);
        if (lazy || names.iter().any(|name| self.is_table(name))) && self.combine(index, node).is_ok() {
            return Ok(None);
        }
        if constants > 0 {
            return Err(Fault::at(
                node,
                "concatenates constants with a map",
                "supported is the concatenation of tensors that depend on the input",
            ));
        }
        let mut parts = Vec::new();
        for name in names {
            parts.push((name, self.demand(node, name)?));
        }
        let [height, width] = [self.shape(&parts[0].1).height, self.shape(&parts[0].1).width];
        if let Some((name, _)) = parts.iter().find(|(_, part)| {
            let shape = self.shape(part);
            [shape.height, shape.width] != [height, width]
        }) {
            return Err(Fault::at(
                node,
                format!("joins `{name}` to maps of another height or width"),
                "concatenate maps 1xCxHxW along C",
            ));
        }
        // Where each element comes to lie once channels follow channels.
        let pixels = height * width;
        let block = dims.get(axis..).unwrap_or_default().iter().product::<usize>().max(1);
        let mut positions = Vec::new();
        for outer in 0..self.trace.len(output) / block {
            let mut first_channel = 0;
            for (name, part) in &parts {
                let length = self.trace.shape(name).get(axis..).unwrap_or_default().iter().product::<usize>();
                positions.extend(
                    (0..length).map(|index| first_channel * pixels + part.position(outer * length + index)),
                );
                first_channel += self.shape(part).channels;
            }
        }
        let channels = parts.iter().map(|(_, part)| self.shape(part).channels).sum();
        let shape = Shape::new(height, width, channels);
        let inputs = parts.iter().map(|(_, part)| part.value).collect();
        let order = order(positions);
        let joined = self.add_ordered_layer(&node.name, Op::Concat, inputs, (output, order), shape);
        // Rows below rows, for instance, are no concatenation along channels.
        if joined.order.is_none() || joined.is_channels_last(shape) || is_vector(&dims) {
            Ok(Some(joined))
        } else {
            Err(unsupported(node))
        }
    }

    /// Takes what was put off until it is clear what it is for (sigmoids, softmaxes, products with them) as layers,
    /// from the routing weights to the value given.
    pub(super) fn resolve(&mut self, name: &str) -> Result<Option<Features>, Fault> {
        let mut nodes = std::collections::BTreeSet::new();
        let mut open = vec![name];
        let source = self.source;
        while let Some(name) = open.pop() {
            if !matches!(self.meanings.get(name), Some(Meaning::Mixed(_) | Meaning::Routed(_))) {
                continue;
            }
            if let Some(&index) = self.producers.get(name)
                && nodes.insert(index)
            {
                open.extend(source.nodes[index].given_inputs());
            }
        }
        let eager = std::mem::replace(&mut self.eager, true);
        for index in nodes {
            self.import(index, &source.nodes[index]);
        }
        self.eager = eager;
        match self.meanings.get(name) {
            Some(Meaning::Features(features)) => Ok(Some(features.clone())),
            Some(Meaning::Unknown(fault)) => Err(fault.clone()),
            _ => Ok(None),
        }
    }
}
