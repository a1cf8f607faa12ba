//! One operator of the graph.

use std::collections::HashSet;

use rten_onnx::onnx::{AttributeProto, AttributeType, NodeProto};

use super::error::Fault;
use super::operators;

/// More nodes than any network for a microcontroller has.
const MAX_NODES: usize = 5000;

/// An operator of the graph.
#[derive(Debug)]
pub(super) struct Node {
    /// Unique and not empty.
    pub(super) name: String,
    pub(super) operator: String,
    /// Names of values; empty for optional inputs that are left out.
    pub(super) inputs: Vec<String>,
    pub(super) outputs: Vec<String>,
    pub(super) proto: NodeProto,
}

impl Node {
    /// An operator without attributes, named after its output.
    pub(super) fn new(operator: &str, inputs: [String; 2], output: String) -> Self {
        let proto = NodeProto {
            op_type: Some(operator.into()),
            input: inputs.to_vec(),
            output: vec![output.clone()],
            ..NodeProto::default()
        };
        Self {
            name: output.clone(),
            operator: operator.into(),
            inputs: inputs.into(),
            outputs: vec![output],
            proto,
        }
    }

    /// An integer attribute.
    pub(super) fn int(&self, name: &str) -> Option<i64> {
        self.attribute(name)?.i
    }

    /// An integer list attribute.
    pub(super) fn ints(&self, name: &str) -> Option<&[i64]> {
        self.attribute(name).map(|attribute| attribute.ints.as_slice())
    }

    /// A float attribute.
    pub(super) fn float(&self, name: &str) -> Option<f32> {
        self.attribute(name)?.f
    }

    /// A string attribute.
    pub(super) fn string(&self, name: &str) -> Option<&str> {
        self.attribute(name)?.s.as_deref()
    }

    /// States explicit pads in place of automatic ones.
    pub(super) fn set_pads(&mut self, pads: Vec<i64>) {
        self.proto
            .attribute
            .retain(|attribute| !matches!(attribute.name.as_deref(), Some("auto_pad" | "pads")));
        self.proto.attribute.push(ints("pads", pads));
    }

    fn attribute(&self, name: &str) -> Option<&AttributeProto> {
        self.proto.attribute.iter().find(|attribute| attribute.name.as_deref() == Some(name))
    }

    /// The name of an input that is given.
    pub(super) fn input(&self, index: usize) -> Option<&str> {
        self.inputs.get(index).map(String::as_str).filter(|name| !name.is_empty())
    }

    /// A list of counts, empty if it is not stated; none if one is negative.
    pub(super) fn sizes(&self, name: &str) -> Option<Vec<usize>> {
        self.ints(name).unwrap_or_default().iter().map(|&n| n.try_into().ok()).collect()
    }

    /// The names of the inputs that are given.
    pub(super) fn given_inputs(&self) -> impl Iterator<Item = &str> {
        self.inputs.iter().map(String::as_str).filter(|name| !name.is_empty())
    }

    /// The names of the outputs that are wanted.
    pub(super) fn wanted_outputs(&self) -> impl Iterator<Item = &str> {
        self.outputs.iter().map(String::as_str).filter(|name| !name.is_empty())
    }
}

/// The fault of an operator that is not supported, or not where it stands.
pub(super) fn unsupported(node: &Node) -> Fault {
    Fault::at(node, "this operator is not supported here", operators::remedy(&node.operator))
}

/// A name for a new value: the one given, with a mark after it for as long as it is not free.
pub(super) fn free_name(name: String, is_free: impl Fn(&str) -> bool) -> String {
    let mut names = std::iter::successors(Some(name), |name| Some(format!("{name}'")));
    names.find(|name| is_free(name)).unwrap_or_default()
}

/// Gives every node a name of its own: its own one, or that of its first output.
pub(super) fn named(protos: Vec<NodeProto>) -> Result<Vec<Node>, Fault> {
    if protos.len() > MAX_NODES {
        return Err(Fault::new(
            format!("the graph has {} nodes, more than {MAX_NODES}", protos.len()),
            "a network for a microcontroller must be far smaller",
        ));
    }
    let mut taken = HashSet::new();
    let name = |proto: &NodeProto, taken: &mut HashSet<String>| {
        let own = proto.name.iter().chain(&proto.output).find(|name| !name.is_empty());
        let base = own.map_or("node", String::as_str).replace(is_invisible, "_");
        let numbered = (2..).map(|number| format!("{base}_{number}"));
        let name = std::iter::once(base.clone()).chain(numbered).find(|name| !taken.contains(name));
        let name = name.unwrap_or_default();
        taken.insert(name.clone());
        name
    };
    Ok(protos
        .into_iter()
        .map(|proto| Node {
            name: name(&proto, &mut taken),
            operator: proto.op_type.clone().unwrap_or_default(),
            inputs: proto.input.clone(),
            outputs: proto.output.clone(),
            proto,
        })
        .collect())
}

/// Characters that steer a terminal or the direction of text, and have no business in a message or a comment.
pub(super) fn is_invisible(c: char) -> bool {
    let directions = ['\u{200b}'..='\u{200f}', '\u{2028}'..='\u{202e}', '\u{2060}'..='\u{206f}'];
    c.is_control() || c == '\u{feff}' || directions.iter().any(|range| range.contains(&c))
}

/// Writes out what the evaluator does not do by itself; `rank` is that of a convolution's weights.
pub(super) fn simplify(node: &mut Node, rank: usize) {
    match node.operator.as_str() {
        "Dropout" if node.outputs.len() == 1 => {
            // It does nothing but in training.
            node.inputs.truncate(1);
            let Node { inputs, outputs, .. } = &*node;
            let (input, output) = (inputs.clone(), outputs.clone());
            let op_type = Some("Identity".into());
            node.proto = NodeProto { input, output, op_type, ..NodeProto::default() };
        }
        "Conv" if node.ints("kernel_shape").is_none() => {
            let axes = rank.saturating_sub(2);
            for (name, list) in
                [("strides", vec![1; axes]), ("dilations", vec![1; axes]), ("pads", vec![0; 2 * axes])]
            {
                if node.attribute(name).is_none() {
                    node.proto.attribute.push(ints(name, list));
                }
            }
        }
        "AveragePool" | "MaxPool" if node.ints("strides").is_none() => {
            let axes = node.ints("kernel_shape").map_or(0, <[i64]>::len);
            node.proto.attribute.push(ints("strides", vec![1; axes]));
        }
        _ => {}
    }
}

fn ints(name: &str, ints: Vec<i64>) -> AttributeProto {
    AttributeProto {
        name: Some(name.into()),
        ints,
        r#type: Some(AttributeType::INTS),
        ..AttributeProto::default()
    }
}
