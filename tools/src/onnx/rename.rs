//! Nodes that only rename or reorder elements. What they do is found by sending element numbers through them.

use std::rc::Rc;

use condconv::Padding;
use rten::ValueView;

use super::engine::floats;
use super::error::Fault;
use super::import::Importer;
use super::meaning::{Features, Meaning};
use super::node::Node;

impl<'a> Importer<'a> {
    /// The tensor under the node's output name, if the node passes on all of its elements.
    pub(super) fn rename(&mut self, node: &'a Node, output: &str) -> Result<Option<Features>, Fault> {
        let mut inputs = node.given_inputs().filter(|name| !self.trace.is_constant(name));
        let (Some(data), None) = (inputs.next(), inputs.next()) else { return Ok(None) };
        let Some(Meaning::Features(mut features)) = self.meanings.get(data).cloned() else { return Ok(None) };
        let dims = self.trace.shape(data);
        if features.padding != Padding::default() {
            features = self.demand(node, data)?;
        }
        let Some(moved) = self.moved(data, dims, output) else { return Ok(None) };
        if moved.len() != self.shape(&features).len() {
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
        let order: Vec<_> = moved
            .into_iter()
            .map(|position| features.order.as_ref().map_or(position, |order| order[position]))
            .collect();
        let natural = order.iter().enumerate().all(|(index, &position)| index == position);
        Ok(Some(Features {
            order: (!natural).then(|| Rc::from(order)),
            exclusive: features.exclusive && self.has_one_reader(output),
            ..features
        }))
    }

    /// Where each element of the output comes from.
    fn moved(&self, data: &str, dims: &[usize], output: &str) -> Option<Vec<usize>> {
        let count = self.trace.len(data);
        // Exact in float32, since inputs of more than 2^24 elements are refused, as are larger maps here.
        if count > 1 << 24 {
            return None;
        }
        let numbers: Vec<f32> = (0..count).map(|index| index as f32).collect();
        let numbers = ValueView::from_shape(dims, &numbers).ok()?;
        let mut given: Vec<_> = self.trace.folded().collect();
        given.push((data, numbers));
        let moved = self.engine.run(&given, &[output]).ok()?.pop()?;
        Some(floats(&moved)?.into_iter().map(|number| number as usize).collect())
    }
}
