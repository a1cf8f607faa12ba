//! Writes operators as several simpler ones: sums of however many tensors and differences as Adds of two, so that every
//! value on the way has a name, and Mish, which the evaluator does not know.

use std::collections::HashSet;

use rten_onnx::onnx::{NodeProto, TensorProto};

use super::node::free_name;

/// The nodes, with Adds in place of each Sum of three tensors or more and of each Sub of what is not stored in the file,
/// none for a Sum of one, and `x * tanh(softplus(x))` in place of Mish. The last of several nodes keeps the name.
pub(super) fn expand(nodes: Vec<NodeProto>, stored: &[TensorProto]) -> Vec<NodeProto> {
    let stored: HashSet<&str> = stored.iter().filter_map(|tensor| tensor.name.as_deref()).collect();
    let taken: HashSet<String> = nodes.iter().flat_map(|node| node.output.iter().cloned()).collect();
    let free = |name| free_name(name, |name| !taken.contains(name) && !stored.contains(name));
    let with = |node: &NodeProto, operator: &str, input: Vec<String>, output: String| NodeProto {
        name: node.name.clone(),
        op_type: Some(operator.into()),
        input,
        output: vec![output],
        ..NodeProto::default()
    };
    let simpler = |node: NodeProto| {
        let unnamed = NodeProto { name: None, ..node.clone() };
        let standard = matches!(node.domain.as_deref(), None | Some("" | "ai.onnx"));
        let operator = node.op_type.as_deref().filter(|_| standard);
        match (operator, &node.input[..], &node.output[..]) {
            (Some("Sum"), [input], [output]) => {
                vec![with(&node, "Identity", vec![input.clone()], output.clone())]
            }
            (Some("Sum"), [first, rest @ ..], [output]) if rest.len() > 1 => {
                let mut left = first.clone();
                let add = |(index, right): (usize, &String)| {
                    let is_last = index + 1 == rest.len();
                    let partial = || free(format!("{output}, {} of {}", index + 2, node.input.len()));
                    let sum = if is_last { output.clone() } else { partial() };
                    let input = vec![std::mem::replace(&mut left, sum.clone()), right.clone()];
                    with(if is_last { &node } else { &unnamed }, "Add", input, sum)
                };
                rest.iter().enumerate().map(add).collect()
            }
            (Some("Sub"), [a, b], [output]) if !stored.contains(b.as_str()) => {
                let negated = free(format!("{output}, negated"));
                let sum = with(&node, "Add", vec![a.clone(), negated.clone()], output.clone());
                vec![with(&unnamed, "Neg", vec![b.clone()], negated), sum]
            }
            (Some("Mish"), [x], [output]) => {
                let [softplus, tanh] = ["softplus", "tanh"].map(|of| free(format!("{output}, {of}")));
                vec![
                    with(&unnamed, "Softplus", vec![x.clone()], softplus.clone()),
                    with(&unnamed, "Tanh", vec![softplus], tanh.clone()),
                    with(&node, "Mul", vec![x.clone(), tanh], output.clone()),
                ]
            }
            _ => vec![node],
        }
    };
    nodes.into_iter().flat_map(simpler).collect()
}
