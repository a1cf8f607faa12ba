//! Resolves `auto_pad` of convolutions and pools into explicit pads, for the layers as well as for the evaluator, which takes
//! SAME_LOWER for SAME_UPPER.

use super::node::Node;
use super::source::Source;
use super::trace::Trace;

/// Makes all pads explicit; returns whether any were not.
pub(super) fn resolve(source: &mut Source, trace: &Trace) -> bool {
    let mut changed = false;
    let has_window = |node: &&mut Node| matches!(node.operator.as_str(), "Conv" | "AveragePool" | "MaxPool");
    for node in source.nodes.iter_mut().filter(has_window) {
        if let Some(pads) = pads(node, trace) {
            node.set_pads(pads);
            changed = true;
        }
    }
    changed
}

/// The pads that `auto_pad` stands for, starts before ends, if it is given.
fn pads(node: &Node, trace: &Trace) -> Option<Vec<i64>> {
    let size = |input: usize| trace.shape(node.input(input).unwrap_or_default()).get(2..).unwrap_or_default();
    let map = size(0);
    let kernel: Vec<usize> = match node.operator.as_str() {
        "Conv" => size(1).to_vec(),
        _ => node.ints("kernel_shape")?.iter().map(|&n| n.try_into().ok()).collect::<Option<_>>()?,
    };
    let lower = match node.string("auto_pad")? {
        "VALID" => return Some(vec![0; 2 * map.len()]),
        "SAME_UPPER" => false,
        "SAME_LOWER" => true,
        _ => return None,
    };
    let step =
        |name: &str, axis: usize| node.ints(name).and_then(|list| list.get(axis).copied()).unwrap_or(1);
    let side = |axis: usize| -> Option<[i64; 2]> {
        let total =
            same(*map.get(axis)?, *kernel.get(axis)?, step("strides", axis), step("dilations", axis))?;
        let (less, more) = (total / 2, total - total / 2);
        Some(if lower { [more, less] } else { [less, more] })
    };
    let sides: Option<Vec<_>> = (0..map.len()).map(side).collect();
    let sides = sides?;
    Some(sides.iter().map(|side| side[0]).chain(sides.iter().map(|side| side[1])).collect())
}

/// Zeros along an axis by which the output has size / stride pixels, rounded up.
fn same(size: usize, kernel: usize, stride: i64, dilation: i64) -> Option<i64> {
    let (size, kernel) = (i64::try_from(size).ok()?, i64::try_from(kernel).ok()?);
    let steps = size.checked_add(stride)?.checked_sub(1)?.checked_div(stride)? - 1;
    let reach =
        steps.checked_mul(stride)?.checked_add((kernel - 1).checked_mul(dilation)?)?.checked_add(1)?;
    Some((reach - size).max(0))
}

#[cfg(test)]
mod tests {
    use super::same;

    #[test]
    fn same_keeps_the_size_over_the_stride() {
        assert_eq!(same(8, 3, 1, 1), Some(2));
        assert_eq!(same(8, 3, 2, 1), Some(1));
        assert_eq!(same(7, 3, 2, 1), Some(2));
        assert_eq!(same(8, 3, 1, 2), Some(4));
        assert_eq!(same(8, 1, 2, 1), Some(0));
        assert_eq!(same(8, 1, 0, 1), None);
    }
}
