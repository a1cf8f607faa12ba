//! How large the output of a node will be, known before it is computed: a hostile file must not make the evaluator
//! allocate without bounds.

use rten::Value;
use rten_tensor::prelude::*;

use super::error::Fault;
use super::node::Node;
use super::tensor::element_count;

/// Slices that begin further away make the evaluator's arithmetic overflow.
const MAX_START: i64 = 1 << 30;

/// Larger kernels, steps and pads make no sense on a microcontroller.
const MAX_WINDOW: i64 = 4096;

/// The number of elements of a node's output, if its attributes are in range and the number within the limit of
/// [`element_count`].
pub(super) fn modest_count(node: &Node, inputs: &[Option<&Value>]) -> Option<usize> {
    let modest = |name| node.ints(name).is_none_or(|list| list.iter().all(|n| (0..=MAX_WINDOW).contains(n)));
    let window = matches!(node.operator.as_str(), "Conv" | "AveragePool" | "MaxPool");
    if window && !["kernel_shape", "strides", "dilations", "pads"].into_iter().all(modest) {
        return None;
    }
    let starts = || inputs.get(1).copied().flatten().and_then(indices).unwrap_or_default();
    if node.operator == "Slice" && starts().iter().any(|start| start.abs() > MAX_START) {
        return None;
    }
    output_count(node, inputs)
}

/// Refuses a window that does not fit on its map with the zeros around it.
pub(super) fn check_window(node: &Node, inputs: &[Option<&Value>]) -> Result<(), Fault> {
    let size = |index: usize| -> Vec<i64> {
        let dims = inputs.get(index).copied().flatten().map(|value| value.shape().to_vec());
        dims.into_iter().flatten().skip(2).filter_map(|dim| dim.try_into().ok()).collect()
    };
    let kernel = match (node.operator.as_str(), node.ints("kernel_shape")) {
        ("Conv", _) => size(1),
        ("AveragePool" | "MaxPool", Some(kernel)) => kernel.to_vec(),
        _ => return Ok(()),
    };
    // SAME makes room for any window.
    if node.string("auto_pad").is_some_and(|pad| pad.starts_with("SAME")) {
        return Ok(());
    }
    let map = size(0);
    let at = |name: &str, index: usize, open: i64| {
        node.ints(name).and_then(|list| list.get(index).copied()).unwrap_or(open)
    };
    for (axis, (&taps, &pixels)) in kernel.iter().zip(&map).enumerate() {
        let window = (taps - 1).saturating_mul(at("dilations", axis, 1)).saturating_add(1);
        let padded =
            pixels.saturating_add(at("pads", axis, 0)).saturating_add(at("pads", axis + kernel.len(), 0));
        if window > padded {
            return Err(Fault::at(
                node,
                format!(
                    "its window of {window} is larger than its map of {padded} (axis {axis}, padding included)"
                ),
                "use a smaller kernel, or a larger input",
            ));
        }
    }
    Ok(())
}

fn output_count(node: &Node, inputs: &[Option<&Value>]) -> Option<usize> {
    let shapes: Vec<Vec<usize>> = inputs.iter().flatten().map(|value| value.shape().to_vec()).collect();
    let shape = |index: usize| inputs.get(index).copied().flatten().map(|value| value.shape().to_vec());
    let numbers = |index: usize| inputs.get(index).copied().flatten().and_then(indices);
    match node.operator.as_str() {
        "Conv" => {
            let (data, weights) = (shape(0)?, shape(1)?);
            let pads = node.ints("pads").unwrap_or_default();
            let pad = usize::try_from(pads.iter().copied().max().unwrap_or(0)).ok()?;
            let pixels = element_count(data.iter().skip(2).map(|dim| dim + 2 * pad))?;
            // The evaluator unfolds the input: one column of all the taps for each output pixel.
            element_count(weights.iter().skip(1).copied().chain([pixels]))?;
            element_count([*data.first()?, *weights.first()?, pixels])
        }
        "AveragePool" | "MaxPool" | "Pad" => {
            let pads = node.ints("pads").map(<[i64]>::to_vec).or_else(|| numbers(1)).unwrap_or_default();
            let pad = usize::try_from(pads.iter().copied().max().unwrap_or(0).max(0)).ok()?;
            element_count(shape(0)?.iter().map(|dim| dim.saturating_add(2 * pad)))
        }
        "MatMul" | "Gemm" => {
            let (a, b) = (shape(0)?, shape(1)?);
            let largest = |dims: &[usize]| dims.iter().copied().max().unwrap_or(1);
            let [matrices_a, matrices_b] = [&a, &b].map(|dims| &dims[..dims.len().saturating_sub(2)]);
            let [rows, columns] = [&a, &b].map(|dims| largest(&dims[dims.len().saturating_sub(2)..]));
            element_count(
                broadcast(&[matrices_a.to_vec(), matrices_b.to_vec()]).into_iter().chain([rows, columns]),
            )
        }
        "Einsum" => {
            let labels = node.string("equation")?.split("->").next()?.replace(' ', "");
            let mut sizes = std::collections::BTreeMap::new();
            for (term, dims) in labels.split(',').zip(&shapes) {
                for (label, &dim) in term.chars().zip(dims) {
                    let size = sizes.entry(label).or_insert(dim);
                    *size = dim.max(*size);
                }
            }
            element_count(sizes.into_values())
        }
        "Expand" => {
            let target: Result<Vec<usize>, _> = numbers(1)?.into_iter().map(usize::try_from).collect();
            element_count(broadcast(&[shape(0)?, target.ok()?]))
        }
        "ConstantOfShape" => {
            let dims: Result<Vec<usize>, _> = numbers(0)?.into_iter().map(usize::try_from).collect();
            element_count(dims.ok()?)
        }
        "Gather" => element_count(shape(0)?.into_iter().chain(shape(1)?)),
        "Concat" => element_count([shapes.iter().flat_map(|dims| element_count(dims.iter().copied())).sum()]),
        _ => element_count(broadcast(&shapes)),
    }
}

/// The dimensions of several shapes broadcast together, each the largest there is.
fn broadcast(shapes: &[Vec<usize>]) -> Vec<usize> {
    let rank = shapes.iter().map(Vec::len).max().unwrap_or(0);
    let dim =
        |dims: &Vec<usize>, axis: usize| (axis + dims.len()).checked_sub(rank).map_or(1, |axis| dims[axis]);
    (0..rank).map(|axis| shapes.iter().map(|dims| dim(dims, axis)).max().unwrap_or(1)).collect()
}

/// The numbers of an integer tensor.
pub(super) fn indices(value: &Value) -> Option<Vec<i64>> {
    value.as_tensor_view::<i32>().map(|view| view.iter().map(|&n| n.into()).collect())
}
