//! ArgMax at the network's output: the network ends at the scores, and whoever reads them looks for the largest.

use rten_onnx::onnx::NodeProto;

use super::error::Fault;
use super::meaning::axis;
use super::node::{Node, named};

/// Operators by which the index that an ArgMax yields keeps its value.
const RENAMES: [&str; 6] = ["Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"];

/// More in a row make no sense.
const MAX_RENAMES: usize = 16;

/// ONNX's number of the type that an index does not survive.
const BOOL: i64 = 9;

/// The value that the network ends at, and the ArgMax that the graph goes on with, if it does.
pub(super) fn cut(nodes: &[NodeProto], output: String) -> Result<(String, Option<Node>), Fault> {
    let mut name = &output;
    for _ in 0..MAX_RENAMES {
        let Some(proto) = nodes.iter().find(|node| node.output.contains(name)) else { break };
        let operator = proto.op_type.as_deref().unwrap_or_default();
        let Some(input) = proto.input.first() else { break };
        if operator == "ArgMax" {
            let argmax = named(vec![proto.clone()])?.swap_remove(0);
            if argmax.int("select_last_index").unwrap_or(0) != 0 {
                return Err(Fault::at(
                    &argmax,
                    "takes the last of equal scores (select_last_index=1)",
                    "use select_last_index=0: the first of equal scores is the class",
                ));
            }
            return Ok((input.clone(), Some(argmax)));
        }
        let to_bool = || proto.attribute.iter().any(|a| a.name.as_deref() == Some("to") && a.i == Some(BOOL));
        if !RENAMES.contains(&operator) || to_bool() {
            break;
        }
        name = input;
    }
    Ok((output, None))
}

/// The fault of an ArgMax that is not over all scores of one vector.
pub(super) fn misplaced(argmax: &Node, scores: &[usize]) -> Fault {
    Fault::at(
        argmax,
        format!("is not over all scores of one vector: it reads {scores:?}"),
        "end the network at an ArgMax over 1xK, or at the map of scores",
    )
}

/// Whether an ArgMax is over all numbers of a tensor of the dimensions given.
pub(super) fn is_over_all(argmax: &Node, dims: &[usize]) -> bool {
    axis(argmax.int("axis").unwrap_or(0), dims.len()).and_then(|axis| dims.get(axis))
        == Some(&dims.iter().product())
}
