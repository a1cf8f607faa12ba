//! Nodes that only rename or reorder elements. What they do is found by sending element numbers through them.

use condconv::Padding;
use rten::ValueView;

use super::engine::{Engine, floats};
use super::error::Fault;
use super::import::Importer;
use super::meaning::{Features, Meaning, channels_last, order};
use super::node::Node;
use super::pool::padded;
use super::trace::Trace;

impl<'a> Importer<'a> {
    /// The tensor under the node's output name, if the node passes on all of its elements.
    pub(super) fn rename(&mut self, node: &'a Node, output: &str) -> Result<Option<Features>, Fault> {
        let mut inputs = node.given_inputs().filter(|name| !self.trace.is_constant(name));
        let (Some(data), None) = (inputs.next(), inputs.next()) else { return Ok(None) };
        let Some(Meaning::Features(mut features)) = self.meanings.get(data).cloned() else { return Ok(None) };
        let outer = padded(self.shape(&features), features.padding);
        let Some(moved) = moved(self.trace, self.engine, data, output) else { return Ok(None) };
        if moved.len() != outer.len() {
            return Ok(None);
        }
        let mut seen = vec![false; moved.len()];
        for &position in &moved {
            match seen.get_mut(position) {
                Some(seen) => *seen = true,
                None => return Ok(None),
            }
        }
        if seen.contains(&false) {
            return Ok(None);
        }
        if features.padding != Padding::default() {
            // The order is that of the map inside; here it is one around the zeros.
            let whole = Features {
                order: features.order.as_ref().and_then(|_| channels_last(outer)),
                ..features.clone()
            };
            let renamed =
                Features { order: order(moved.iter().map(|&from| whole.position(from)).collect()), ..whole };
            let inner = match renamed.order {
                None => Some(None),
                Some(_) => renamed.is_channels_last(outer).then(|| channels_last(self.shape(&features))),
            };
            if let Some(order) = inner {
                return Ok(Some(Features { order, ..features }));
            }
            features = self.demand(node, data)?;
        }
        Ok(Some(Features {
            order: order(moved.into_iter().map(|from| features.position(from)).collect()),
            exclusive: features.exclusive && self.has_one_reader(output),
            ..features
        }))
    }
}

/// Where each element of the output comes from.
pub(super) fn moved(trace: &Trace, engine: &Engine, data: &str, output: &str) -> Option<Vec<usize>> {
    let count = trace.len(data);
    // Exact in float32, since inputs of more than 2^24 elements are refused, as are larger maps here.
    if count > 1 << 24 {
        return None;
    }
    let numbers: Vec<f32> = (0..count).map(|index| index as f32).collect();
    let numbers = ValueView::from_shape(trace.shape(data), &numbers).ok()?;
    let mut given: Vec<_> = trace.folded().collect();
    given.push((data, numbers));
    let moved = engine.run(&given, &[output]).ok()?.pop()?;
    Some(floats(&moved)?.into_iter().map(|number| number as usize).collect())
}
