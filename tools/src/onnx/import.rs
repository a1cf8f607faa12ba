//! The walk over the nodes that turns the graph into layers.

use std::collections::{HashMap, HashSet};

use condconv::{Padding, Shape};

use super::absorb;
use super::argmax;
use super::engine::Engine;
use super::error::Fault;
use super::meaning::{Features, Gate, Meaning, Order, channels_last, is_vector, map_shape};
use super::node::{Node, free_name, unsupported};
use super::pointwise::Pointwise;
use super::pool::padded;
use super::prune;
use super::source::Source;
use super::trace::Trace;
use super::view::View;
use crate::graph::{Function, Layer, Network, Op, Routing, RoutingId, Value, ValueId};

/// A value of the graph that holds a tensor in another than NCHW order, and the name that it gets in that order.
#[derive(Debug)]
pub(super) struct Reordered {
    pub(super) name: String,
    pub(super) value: String,
    pub(super) order: Order,
}

/// The network as far as it is built, and what each value of the graph means.
pub(super) struct Importer<'a> {
    pub(super) source: &'a Source,
    pub(super) trace: &'a Trace,
    pub(super) engine: &'a Engine,
    pub(super) meanings: HashMap<&'a str, Meaning>,
    pub(super) values: Vec<Value>,
    pub(super) layers: Vec<Layer>,
    pub(super) routings: Vec<Routing>,
    pub(super) routing_of: HashMap<Gate, RoutingId>,
    pub(super) pointwise: Pointwise,
    /// Padded maps that became tensors of their own, by name.
    pub(super) padded: HashMap<String, Features>,
    /// Values whose numbers the network needs in NCHW order.
    reordered: Vec<Reordered>,
    /// Whether sigmoids and the like are taken as layers at once, not put off until it is clear what they are for.
    pub(super) eager: bool,
    /// Index of the node that computes a value.
    pub(super) producers: HashMap<&'a str, usize>,
}

impl<'a> Importer<'a> {
    pub(super) fn new(source: &'a Source, trace: &'a Trace, engine: &'a Engine) -> Self {
        let nodes = source.nodes.iter().enumerate();
        Self {
            source,
            trace,
            engine,
            meanings: HashMap::new(),
            values: Vec::new(),
            layers: Vec::new(),
            routings: Vec::new(),
            routing_of: HashMap::new(),
            pointwise: Pointwise::find(source, trace, engine),
            padded: HashMap::new(),
            reordered: Vec::new(),
            eager: false,
            producers: nodes
                .flat_map(|(index, node)| node.wanted_outputs().map(move |name| (name, index)))
                .collect(),
        }
    }

    /// Imports the whole graph, its input taken for the map given. Yields the network, and what the float reference must
    /// know besides the graph's own values.
    pub(super) fn network(mut self, view: &View) -> Result<(Network, Vec<Reordered>), Fault> {
        let name = self.source.input.as_str();
        let input = self.add_value(name, view.order.as_ref(), view.shape);
        let features = Features { order: view.order.clone(), ..self.features(input, name) };
        self.meanings.insert(name, Meaning::Features(features));
        for (index, node) in self.source.nodes.iter().enumerate() {
            self.import(index, node);
        }
        let output = self.output()?;
        self.softmax_ends(output)?;
        let mut network =
            Network { values: self.values, input, output, routings: self.routings, layers: self.layers };
        network = prune::prune(network);
        absorb::absorb(&mut network);
        network = prune::prune(network);
        check_numbers(self.source, &network)?;
        make_names_unique(&mut network);
        let mut reordered = self.reordered;
        reordered.retain(|one| {
            network.values.iter().any(|value| value.onnx_name == one.name)
                || network.layers.iter().any(|layer| layer.preactivation == one.name)
        });
        Ok((network, reordered))
    }

    fn output(&mut self) -> Result<ValueId, Fault> {
        let source = self.source;
        let mut name = source.output.as_str();
        let scores = self.trace.shape(name);
        if let Some(argmax) = &source.argmax {
            if !argmax::is_over_all(argmax, scores) {
                return Err(argmax::misplaced(argmax, scores));
            }
            // The largest share is that of the largest score.
            name = self.before_softmax(name).unwrap_or(name);
        }
        let Some(&producer) = self.producers.get(name) else {
            return Err(Fault::new("the graph computes nothing", "export a network with at least one layer"));
        };
        let node = &source.nodes[producer];
        let output = self.demand(node, name)?;
        let shape = self.shape(&output);
        // The device holds maps channels last, whatever the file does; a vector has but one order.
        if shape.pixels() == 1 || !output.is_channels_last(shape) {
            self.in_order(node, &output)?;
        }
        if let Some(argmax) = source.argmax.as_ref().filter(|_| shape.pixels() != 1) {
            return Err(argmax::misplaced(argmax, scores));
        }
        match self.layers.iter().find(|layer| layer.output == output.value) {
            // The network's output has a type of its own.
            Some(layer) if layer.op.passes_numbers_on() => Ok(self.add_identity(node, &output, name).1.value),
            Some(_) => Ok(output.value),
            None => Err(Fault::new(
                "the graph only renames its input",
                "export a network with at least one layer",
            )),
        }
    }

    /// The scores of which the largest share is taken, where a softmax stands between.
    fn before_softmax(&self, name: &str) -> Option<&'a str> {
        let node = self.producers.get(name).map(|&index| &self.source.nodes[index])?;
        let is_softmax = matches!(node.operator.as_str(), "Softmax" | "LogSoftmax");
        (is_softmax && self.is_softmax_of_all(node, name)).then(|| node.input(0))?
    }

    /// Probabilities are int16 and sum to one: nothing but the network's output needs them.
    fn softmax_ends(&self, output: ValueId) -> Result<(), Fault> {
        let softmax = self.layers.iter().find(|layer| {
            matches!(layer.op, Op::Softmax)
                && self.layers.iter().any(|reader| reader.inputs.contains(&layer.output))
        });
        let node = softmax.and_then(|softmax| {
            (softmax.output != output)
                .then(|| self.source.nodes.iter().find(|node| node.name == softmax.name))?
        });
        node.map_or(Ok(()), |node| Err(unsupported(node)))
    }

    pub(super) fn import(&mut self, index: usize, node: &'a Node) {
        if self.pointwise.inside.contains(&index) {
            return;
        }
        let mut names = node.wanted_outputs().filter(|name| !self.trace.is_constant(name));
        let Some(first) = names.next() else { return };
        let rest: Vec<_> = names.collect();
        let meaning = self.meaning(index, node, first).unwrap_or_else(Meaning::Unknown);
        // Of the operators with several outputs, only those that split have any use for the second.
        let other = match &meaning {
            Meaning::Features(_) => Meaning::Unknown(unsupported(node)),
            other => other.clone(),
        };
        self.meanings.insert(first, meaning);
        self.meanings.extend(rest.into_iter().map(|name| (name, other.clone())));
    }

    fn meaning(&mut self, index: usize, node: &'a Node, output: &'a str) -> Result<Meaning, Fault> {
        if let Some((root, function)) = self.pointwise.functions.get(&index).cloned()
            && let Some(features) = self.activation(node, &root, function, output)?
        {
            return Ok(Meaning::Features(features));
        }
        let layer = match node.operator.as_str() {
            "Conv" => Some(self.conv(node, output)?),
            "BatchNormalization" => Some(self.batch_norm(node, output)?),
            "Relu" | "Clip" | "Max" | "Min" => self.clamp(node, output)?,
            "GlobalAveragePool" | "GlobalMaxPool" | "ReduceMean" | "ReduceMax" | "AveragePool"
            | "MaxPool" => self.pool(node, output)?,
            "Gemm" | "MatMul" => self.linear(node, output)?,
            "Add" | "Sub" | "Mul" | "Div" | "Sum" => self.arithmetic(index, node, output)?,
            "Neg" => self.negated(node, output)?,
            "Pad" => self.pad(node)?,
            "Sigmoid" | "Softmax" => return self.gate(index, node, output),
            "Concat" => match self.concat(index, node, output)? {
                None => self.rename(node, output)?,
                layer => layer,
            },
            "Flatten" | "Reshape" | "Squeeze" | "Unsqueeze" | "Transpose" | "Identity" | "Dropout"
            | "Cast" | "Slice" | "Gather" | "Split" | "Expand" => self.rename(node, output)?,
            _ => None,
        };
        layer.map_or_else(|| self.combine(index, node), |features| Ok(Meaning::Features(features)))
    }

    /// The meaning of a sigmoid or softmax: routing weights, unless it turns out to be a layer. Of several in a row the last
    /// one routes, since nothing is linear in what came before it.
    fn gate(&mut self, index: usize, node: &'a Node, output: &'a str) -> Result<Meaning, Fault> {
        let input = self.meanings.get(node.input(0).unwrap_or_default());
        let is_softmax = node.operator == "Softmax";
        // Routing weights are a vector.
        let of_map = match input {
            Some(Meaning::Features(features)) => {
                self.shape(features).pixels() > 1 && !is_vector(self.trace.shape(output))
            }
            _ => false,
        };
        if self.eager || (of_map && !is_softmax) {
            let layer = if is_softmax {
                Some(self.softmax(node, output)?)
            } else {
                self.activation(node, node.input(0).unwrap_or_default(), Function::Sigmoid, output)?
            };
            return layer.map(Meaning::Features).ok_or_else(|| unsupported(node));
        }
        if !matches!(input, Some(Meaning::Features(_))) {
            self.combine(index, node)?;
        }
        Ok(Meaning::Routed(output.into()))
    }

    /// A value as a tensor of the network, adding the layer that computes it if need be.
    pub(super) fn demand(&mut self, reader: &Node, name: &str) -> Result<Features, Fault> {
        let features = self.demand_padded(reader, name)?;
        if features.padding == Padding::default() {
            return Ok(features);
        }
        if let Some(known) = self.padded.get(name) {
            return Ok(known.clone());
        }
        let padding = features.padding;
        let inner = self.shape(&features);
        let shape = padded(inner, padding);
        let order = features.order.as_ref().and_then(|_| channels_last(shape));
        let node = self.producers.get(name).map_or(reader, |&index| &self.source.nodes[index]);
        let padded = self.add_ordered_layer(
            &node.name,
            Op::Pad { padding },
            vec![features.value],
            (name, order),
            shape,
        );
        self.padded.insert(name.into(), padded.clone());
        Ok(padded)
    }

    /// The same, perhaps with zeros around it that are still to be added.
    pub(super) fn demand_padded(&mut self, reader: &Node, name: &str) -> Result<Features, Fault> {
        match self.meanings.get(name).cloned() {
            Some(Meaning::Features(features)) => Ok(features),
            Some(Meaning::Unknown(fault)) => Err(fault),
            Some(Meaning::Mixed(mixed)) => match self.probe_linear(name, &mixed) {
                Ok(features) => {
                    if let Some(meaning) = self.meanings.get_mut(name) {
                        *meaning = Meaning::Features(features.clone());
                    }
                    Ok(features)
                }
                Err(fault) => self.resolve(name).ok().flatten().ok_or(fault),
            },
            Some(Meaning::Routed(gate)) => {
                let features = self.resolve(name)?;
                features.ok_or_else(|| unsupported(self.gate_node(&gate).unwrap_or(reader)))
            }
            None => Err(Fault::at(
                reader,
                format!("works on the constant `{name}`"),
                "fold what does not depend on the input before the export",
            )),
        }
    }

    /// The node that computes routing weights.
    pub(super) fn gate_node(&self, gate: &str) -> Option<&'a Node> {
        self.producers.get(gate).and_then(|&index| self.source.nodes.get(index))
    }

    /// A new tensor of the network, held by the value of the given name and order.
    fn add_value(&mut self, name: &str, order: Option<&Order>, shape: Shape) -> ValueId {
        let onnx_name = self.name_in_order(name, order);
        self.values.push(Value { onnx_name, shape });
        self.values.len() - 1
    }

    /// The name under which the float reference yields a value in NCHW order.
    pub(super) fn name_in_order(&mut self, name: &str, order: Option<&Order>) -> String {
        let Some(order) = order else { return name.into() };
        if let Some(known) = self.reordered.iter().find(|one| one.value == name) {
            return known.name.clone();
        }
        let is_free =
            |name: &str| !self.trace.is_known(name) && self.reordered.iter().all(|one| one.name != name);
        let new = free_name(format!("{name} as NCHW"), is_free);
        self.reordered.push(Reordered { name: new.clone(), value: name.into(), order: order.clone() });
        new
    }

    /// A new layer, whose output is the value of the given name, in NCHW order.
    pub(super) fn add_layer(
        &mut self,
        name: &str,
        op: Op,
        inputs: Vec<ValueId>,
        output: &str,
        shape: Shape,
    ) -> Features {
        self.add_ordered_layer(name, op, inputs, (output, None), shape)
    }

    /// A new layer, whose output is the value of the given name and order.
    pub(super) fn add_ordered_layer(
        &mut self,
        name: &str,
        op: Op,
        inputs: Vec<ValueId>,
        (output, order): (&str, Option<Order>),
        shape: Shape,
    ) -> Features {
        let value = self.add_value(output, order.as_ref(), shape);
        let preactivation = self.values[value].onnx_name.clone();
        self.layers.push(Layer { name: name.into(), op, inputs, output: value, preactivation });
        Features { order, ..self.features(value, output) }
    }

    fn features(&self, value: ValueId, name: &str) -> Features {
        Features { value, order: None, padding: Padding::default(), exclusive: self.has_one_reader(name) }
    }

    pub(super) fn has_one_reader(&self, name: &str) -> bool {
        self.source.readers.get(name) == Some(&1)
    }

    pub(super) fn shape(&self, features: &Features) -> Shape {
        self.values[features.value].shape
    }

    /// Refuses features that the graph does not hold as 1xCxHxW or 1xCxW.
    pub(super) fn is_map(&self, node: &Node, features: &Features, name: &str) -> Result<(), Fault> {
        let inner = Features { padding: Padding::default(), ..features.clone() };
        self.in_order(node, &inner)?;
        let dims = self.trace.shape(name);
        let shape = padded(self.shape(features), features.padding);
        if map_shape(dims, shape) == Some(shape) {
            return Ok(());
        }
        Err(Fault::of_order(
            node,
            format!("reads {dims:?} where 1xCxHxW is expected"),
            "keep maps as 1xCxHxW: no Reshape that changes height, width or channels between layers",
        ))
    }

    /// Refuses features whose elements were reordered or padded.
    pub(super) fn in_order(&self, node: &Node, features: &Features) -> Result<(), Fault> {
        if features.padding != Padding::default() {
            Err(Fault::at(node, "reads a padded map", "use the pads of the Conv or pool itself"))
        } else if features.order.is_some() {
            Err(Fault::of_order(
                node,
                "reads a map whose elements were reordered",
                "bring maps back to NxCxHxW, their channels in the order of the layer before (no channel shuffle)",
            ))
        } else {
            Ok(())
        }
    }
}

/// A node may become several layers, such as one that copies a pool's result to the output.
fn make_names_unique(network: &mut Network) {
    let mut taken = HashSet::new();
    for layer in &mut network.layers {
        layer.name = free_name(std::mem::take(&mut layer.name), |name| !taken.contains(name));
        taken.insert(layer.name.clone());
    }
}

/// Refuses kernels that became NaN or infinite, as by a product beyond float32.
fn check_numbers(source: &Source, network: &Network) -> Result<(), Fault> {
    for layer in &network.layers {
        let Some(kernels) = layer.op.kernels() else { continue };
        let numbers = kernels.experts.iter().chain(&kernels.expert_biases).chain([&kernels.bias]);
        if numbers.flatten().any(|number| !number.is_finite()) {
            let reason = "its weights are NaN or infinite once what follows is folded into them";
            let remedy = "check the training and large constants first";
            let node = source.nodes.iter().find(|node| node.name == layer.name);
            return Err(match node {
                Some(node) => Fault::at(node, reason, remedy),
                None => Fault::new(format!("layer `{}`: {reason}", layer.name), remedy),
            });
        }
    }
    Ok(())
}
