//! Writes a Sum of however many tensors as a chain of Adds, so that every sum on the way has a name.

use rten_onnx::onnx::NodeProto;

/// The nodes, with Adds in place of each Sum of three tensors or more, and none for a Sum of one.
pub(super) fn in_pairs(nodes: Vec<NodeProto>) -> Vec<NodeProto> {
    let mut taken: Vec<String> = nodes.iter().flat_map(|node| node.output.iter().cloned()).collect();
    taken.sort_unstable();
    let is_free = |name: &String| taken.binary_search(name).is_err();
    let pairs = |node: NodeProto| {
        let is_sum =
            node.op_type.as_deref() == Some("Sum") && node.domain.as_deref().unwrap_or("").is_empty();
        match (&node.input[..], &node.output[..]) {
            ([first, rest @ ..], [output]) if is_sum && rest.len() > 1 => {
                let mut left = first.clone();
                let partial = |index: usize| {
                    let plain = format!("{output}, {} of {}", index + 2, node.input.len());
                    let names = std::iter::successors(Some(plain), |name| Some(format!("{name}'")));
                    names.into_iter().find(is_free).unwrap_or_default()
                };
                let add = |(index, right): (usize, &String)| {
                    let sum = if index + 1 == rest.len() { output.clone() } else { partial(index) };
                    let input = vec![std::mem::replace(&mut left, sum.clone()), right.clone()];
                    let op_type = Some("Add".into());
                    NodeProto {
                        name: node.name.clone(),
                        op_type,
                        input,
                        output: vec![sum],
                        ..NodeProto::default()
                    }
                };
                rest.iter().enumerate().map(add).collect()
            }
            ([_], _) if is_sum => vec![NodeProto { op_type: Some("Identity".into()), ..node }],
            _ => vec![node],
        }
    };
    nodes.into_iter().flat_map(pairs).collect()
}
