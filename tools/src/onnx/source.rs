//! The graph as the file states it, checked: one input, one output, known operators, sound tensors, and nodes in
//! an order in which they can run. What does not contribute to the output is left out.

use std::collections::{HashMap, HashSet};

use rten_onnx::onnx::{
    DataType, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, ValueInfoProto,
};

use super::argmax;
use super::error::Fault;
use super::expand::expand;
use super::import::Reordered;
use super::node::{Node, named, simplify, unsupported};
use super::operators;
use super::tensor::{self, MAX_ELEMENTS};
use super::wire;

const EXPORT_AGAIN: &str = "export the network again";

/// Of a longer cycle, so many nodes at its beginning and its end are named.
const SHOWN_OF_CYCLE: usize = 4;

/// A checked graph.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) nodes: Vec<Node>,
    pub(super) input: String,
    /// Dimensions of the input, the first of them 1.
    pub(super) input_dims: Vec<usize>,
    /// Whether the file leaves the batch open.
    pub(super) symbolic_batch: bool,
    /// The value that the network ends at.
    pub(super) output: String,
    /// The ArgMax by which the file goes on from there.
    pub(super) argmax: Option<Node>,
    /// How many inputs of nodes read a value; the graph's output counts as one.
    pub(super) readers: HashMap<String, usize>,
    initializers: Vec<TensorProto>,
    opsets: Vec<OperatorSetIdProto>,
}

impl Source {
    /// Parses and checks a file's content.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        if bytes.is_empty() {
            return Err(Fault::new("the file is empty", EXPORT_AGAIN));
        }
        let no_model = || Fault::new("not an ONNX model, or a truncated one", EXPORT_AGAIN);
        if !wire::is_well_formed(bytes) {
            return Err(no_model());
        }
        let model = ModelProto::parse_buf(bytes).map_err(|_| no_model())?;
        let graph = model.graph.ok_or_else(no_model)?;
        let input = only("input", inputs(&graph))?.clone();
        let output = only("output", graph.output.iter())?.name.clone().unwrap_or_default();

        let (nodes, mut initializers) = constants_apart(graph.node, graph.initializer)?;
        let nodes = expand(nodes, &initializers);
        let (output, argmax) = argmax::cut(&nodes, output)?;
        let nodes = contributing(nodes, &output);
        let mut nodes = named(nodes)?;
        nodes.iter().try_for_each(check_operator)?;

        let mut readers = HashMap::from([(output.clone(), 1)]);
        for name in nodes.iter().flat_map(Node::given_inputs) {
            *readers.entry(name.to_string()).or_insert(0) += 1;
        }
        initializers.retain(|tensor| tensor.name.as_ref().is_some_and(|name| readers.contains_key(name)));
        check_tensors(&nodes, &initializers)?;

        let (input_dims, symbolic_batch) = input_dims(&input)?;
        let input = input.name.unwrap_or_default();
        for node in &mut nodes {
            let weights = initializers.iter().find(|tensor| tensor.name.as_deref() == node.input(1));
            simplify(node, weights.map_or(input_dims.len(), |weights| weights.dims.len()));
        }
        check_order(&nodes, &initializers, &input, &output)?;
        Ok(Self {
            nodes,
            input,
            input_dims,
            symbolic_batch,
            output,
            argmax,
            readers,
            initializers,
            opsets: model.opset_import,
        })
    }

    /// The names of the stored tensors.
    pub(super) fn initializers(&self) -> impl Iterator<Item = &str> {
        self.initializers.iter().filter_map(|tensor| tensor.name.as_deref())
    }

    /// Adds values that hold others in NCHW order.
    pub(super) fn reorder(&mut self, reordered: Vec<Reordered>) {
        for Reordered { name, value, order } in reordered {
            let mut from = vec![0; order.len()];
            for (element, &position) in (0..).zip(order.iter()) {
                from[position] = element;
            }
            let [flat, shape, indices] =
                ["flat", "flat shape", "indices"].map(|what| format!("{name}, {what}"));
            let ints = |name: &String, ints: Vec<i64>| TensorProto {
                name: Some(name.clone()),
                dims: vec![i64::try_from(ints.len()).unwrap_or(i64::MAX)],
                data_type: Some(DataType::INT64),
                int64_data: ints,
                ..TensorProto::default()
            };
            self.initializers.extend([ints(&shape, vec![-1]), ints(&indices, from)]);
            self.nodes.push(Node::new("Reshape", [value, shape], flat.clone()));
            self.nodes.push(Node::new("Gather", [flat, indices], name));
        }
    }

    /// The checked graph as an ONNX file, for the evaluator. Nodes get no names, since theirs may clash with those of
    /// values, which the evaluator keeps in the same table.
    pub(super) fn encode(&self) -> Result<Vec<u8>, Fault> {
        self.encode_part(&self.nodes, self.initializers.clone())
    }

    /// One node alone, to find the one that the evaluator does not take.
    pub(super) fn encode_node(&self, node: &Node) -> Result<Vec<u8>, Fault> {
        self.encode_part(std::slice::from_ref(node), Vec::new())
    }

    fn encode_part(&self, nodes: &[Node], initializer: Vec<TensorProto>) -> Result<Vec<u8>, Fault> {
        let value = |name: &str| ValueInfoProto { name: Some(name.into()), r#type: None };
        let graph = GraphProto {
            node: nodes.iter().map(|node| NodeProto { name: None, ..node.proto.clone() }).collect(),
            initializer,
            input: vec![value(&self.input)],
            output: vec![value(&self.output)],
            value_info: Vec::new(),
        };
        let model = ModelProto {
            ir_version: Some(8),
            graph: Some(graph),
            opset_import: self.opsets.clone(),
            ..ModelProto::default()
        };
        model.write_buf().map_err(|error| Fault::new(format!("cannot be evaluated ({error})"), EXPORT_AGAIN))
    }
}

/// The graph's inputs. Old files list the stored tensors among them.
fn inputs(graph: &GraphProto) -> impl Iterator<Item = &ValueInfoProto> {
    let stored: HashSet<_> = graph.initializer.iter().map(|tensor| &tensor.name).collect();
    graph.input.iter().filter(move |input| !stored.contains(&input.name))
}

fn only<'a>(
    what: &str,
    mut values: impl Iterator<Item = &'a ValueInfoProto>,
) -> Result<&'a ValueInfoProto, Fault> {
    match (values.next(), values.count()) {
        (Some(value), 0) => Ok(value),
        (None, _) => Err(Fault::new(format!("the graph has no {what}"), EXPORT_AGAIN)),
        (Some(_), more) => Err(Fault::new(
            format!("the graph has {} {what}s", more + 1),
            format!("export a network with one {what}"),
        )),
    }
}

/// Turns `Constant` nodes into stored tensors.
fn constants_apart(
    nodes: Vec<NodeProto>,
    mut tensors: Vec<TensorProto>,
) -> Result<(Vec<NodeProto>, Vec<TensorProto>), Fault> {
    let (constants, nodes): (Vec<_>, Vec<_>) =
        nodes.into_iter().partition(|node| node.op_type.as_deref() == Some("Constant"));
    for node in constants {
        let ([output], [attribute]) = (&node.output[..], &node.attribute[..]) else {
            return Err(Fault::new("a Constant node states no value", EXPORT_AGAIN));
        };
        let tensor = tensor::from_constant(attribute).ok_or_else(|| {
            Fault::new(format!("constant `{output}` is not a dense tensor of numbers"), EXPORT_AGAIN)
        })?;
        tensors.push(TensorProto { name: Some(output.clone()), ..tensor });
    }
    Ok((nodes, tensors))
}

/// The nodes that contribute to the output, wherever they stand.
fn contributing(nodes: Vec<NodeProto>, output: &str) -> Vec<NodeProto> {
    let mut producers: HashMap<&str, Vec<usize>> = HashMap::new();
    for (index, name) in
        nodes.iter().enumerate().flat_map(|(i, node)| node.output.iter().map(move |o| (i, o)))
    {
        producers.entry(name).or_default().push(index);
    }
    let mut kept = HashSet::new();
    let mut wanted = vec![output];
    while let Some(name) = wanted.pop() {
        for index in producers.remove(name).unwrap_or_default() {
            if kept.insert(index) {
                wanted.extend(nodes[index].input.iter().filter(|name| !name.is_empty()).map(String::as_str));
            }
        }
    }
    let kept = |&(index, _): &(usize, NodeProto)| kept.contains(&index);
    nodes.into_iter().enumerate().filter(kept).map(|(_, node)| node).collect()
}

/// Refuses operators that are not known, and what the evaluator does not take of those that are.
fn check_operator(node: &Node) -> Result<(), Fault> {
    let domain = node.proto.domain.as_deref().unwrap_or_default();
    if !matches!(domain, "" | "ai.onnx") {
        return Err(Fault::at(
            node,
            format!("is an operator of the domain `{domain}`"),
            "export with ONNX's own operators alone: no custom ones, nor those that an optimiser put in",
        ));
    }
    if !operators::is_known(&node.operator) {
        return Err(unsupported(node));
    }
    let pools = matches!(&node.operator[..], "MaxPool" | "AveragePool");
    if pools && node.ints("dilations").is_some_and(|steps| steps.iter().any(|&n| n != 1)) {
        return Err(Fault::at(
            node,
            "its window has gaps (dilations)",
            "use a pool without dilation, or a dilated Conv",
        ));
    }
    Ok(())
}

fn check_tensors(nodes: &[Node], tensors: &[TensorProto]) -> Result<(), Fault> {
    let attributes = nodes.iter().flat_map(|node| node.proto.attribute.iter().filter_map(|a| a.t.as_ref()));
    for tensor in tensors.iter().chain(attributes) {
        let name = tensor.name.as_deref().unwrap_or_default();
        let mut readers = nodes.iter().filter(|node| node.given_inputs().any(|input| input == name));
        let first = readers.clone().next();
        let fault = |reason: String, remedy: &str| {
            let reason = format!("tensor `{name}` {reason}");
            first.map_or_else(|| Fault::new(&reason, remedy), |node| Fault::at(node, &reason, remedy))
        };
        tensor::check(tensor).map_err(|(reason, remedy)| fault(reason, remedy))?;
        if let Some(value) = tensor::not_finite(tensor) {
            let bound =
                !value.is_nan() && readers.all(|node| matches!(&node.operator[..], "Clip" | "Min" | "Max"));
            if !bound {
                return Err(fault(
                    format!("holds {}", if value.is_nan() { "NaN" } else { "an infinite number" }),
                    "weights must be finite: check the training, then export again",
                ));
            }
        }
    }
    Ok(())
}

/// The input's dimensions at batch 1, and whether the file leaves the batch open.
fn input_dims(input: &ValueInfoProto) -> Result<(Vec<usize>, bool), Fault> {
    let name = input.name.as_deref().unwrap_or_default();
    let fault = |reason: &str, remedy: &str| Fault::new(format!("input `{name}` {reason}"), remedy);
    let tensor_type = input.r#type.as_ref().and_then(|of| of.tensor_type.as_ref());
    let Some(tensor_type) = tensor_type else {
        return Err(fault("is not a tensor", "export a network with one float tensor as input"));
    };
    if tensor_type.elem_type != Some(DataType::FLOAT) {
        return Err(fault("does not hold float32 numbers", "export a network with a float32 input"));
    }
    let Some(shape) = &tensor_type.shape else {
        return Err(fault("has no shape", "export with the fixed shape 1xCxHxW (or 1xK for a vector)"));
    };
    if !(2..=4).contains(&shape.dim.len()) {
        return Err(fault(
            &format!("has {} dimensions", shape.dim.len()),
            "a network must take 1xCxHxW, or 1xK for a vector",
        ));
    }
    let mut dims = Vec::new();
    for (index, dim) in shape.dim.iter().enumerate() {
        dims.push(match dim.dim_value.map(usize::try_from) {
            None if index == 0 => 1,
            Some(Ok(1)) if index == 0 => 1,
            Some(Ok(batch)) if index == 0 && batch > 1 => {
                return Err(fault(&format!("has a batch of {batch}"), "export with a batch of 1"));
            }
            Some(Ok(0)) => {
                let remedy = "export with one pixel, channel or feature at the least";
                return Err(fault(&format!("is empty in dimension {index}"), remedy));
            }
            Some(Ok(size)) => size,
            _ => {
                let size = dim.dim_param.as_deref().unwrap_or("?");
                return Err(fault(
                    &format!("has no fixed size in dimension {index} (`{size}`)"),
                    "export with fixed height, width and channels",
                ));
            }
        });
    }
    // Beyond this, element numbers are no longer exact in float32, by which reordering is traced.
    if tensor::element_count(dims.iter().copied()).is_none_or(|n| n > MAX_ELEMENTS / 4) {
        return Err(fault("is larger than 64 MiB", "a network for a microcontroller must be far smaller"));
    }
    Ok((dims, shape.dim[0].dim_value.is_none()))
}

/// The nodes by which a node depends on itself, from the first to read its result, if there are such.
fn cycle(nodes: &[Node], node: &Node) -> Option<String> {
    let producer = |name: &str| nodes.iter().find(|node| node.wanted_outputs().any(|output| output == name));
    // The node that reads each one's result on the way to the first.
    let mut reader: HashMap<&str, &Node> = HashMap::new();
    let mut open = vec![node];
    while let Some(next) = open.pop() {
        for source in next.given_inputs().filter_map(producer) {
            if !reader.contains_key(source.name.as_str()) {
                reader.insert(&source.name, next);
                open.push(source);
            }
        }
    }
    let mut names = vec![format!("`{}`", node.name)];
    let mut next = reader.get(node.name.as_str())?;
    while next.name != node.name {
        names.push(format!("`{}`", next.name));
        next = reader.get(next.name.as_str())?;
    }
    names.push(format!("`{}`", node.name));
    let most = 2 * SHOWN_OF_CYCLE;
    if names.len() > most {
        names
            .splice(SHOWN_OF_CYCLE..names.len() - SHOWN_OF_CYCLE, [format!("({} more)", names.len() - most)]);
    }
    Some(names.join(" -> "))
}

/// Checks that each value is computed once, and before it is read.
fn check_order(nodes: &[Node], tensors: &[TensorProto], input: &str, output: &str) -> Result<(), Fault> {
    let mut known = HashSet::from([input]);
    for name in tensors.iter().filter_map(|tensor| tensor.name.as_deref()) {
        if !known.insert(name) {
            return Err(Fault::new(format!("value `{name}` is defined twice"), EXPORT_AGAIN));
        }
    }
    for node in nodes {
        if let Some(name) = node.given_inputs().find(|name| !known.contains(name)) {
            if let Some(cycle) = cycle(nodes, node) {
                return Err(Fault::at(
                    node,
                    format!("is part of a cycle: {cycle}"),
                    "a network must run from its input to its output: unroll what is recurrent",
                ));
            }
            return Err(Fault::at(
                node,
                format!("reads `{name}`, which nothing before it computes"),
                EXPORT_AGAIN,
            ));
        }
        for name in node.wanted_outputs() {
            if !known.insert(name) {
                return Err(Fault::at(node, format!("value `{name}` is defined twice"), EXPORT_AGAIN));
            }
        }
    }
    if known.contains(output) {
        Ok(())
    } else {
        Err(Fault::new(format!("nothing computes the output `{output}`"), EXPORT_AGAIN))
    }
}
