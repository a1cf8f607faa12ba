//! Which map the graph takes its input for: it may be stored channels last, without its channel axis, or flattened.

use condconv::Shape;

use super::engine::Engine;
use super::meaning::{Order, channels_last, nchw_to_nhwc, order, sample_shape};
use super::rename::moved;
use super::source::Source;
use super::trace::Trace;

/// More views than these are not tried.
const MAX_VIEWS: usize = 8;

/// One way to take the input for a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View {
    pub(super) shape: Shape,
    /// Where each element of the input lies in the map's NCHW order; `None` if in that very order.
    pub(super) order: Option<Order>,
}

impl View {
    /// The views to try: as the file states it, as the graph renames it, and channels last.
    pub(super) fn candidates(source: &Source, trace: &Trace, engine: &Engine) -> Vec<Self> {
        let dims = &source.input_dims[..];
        let stated = sample_shape(dims).map(|shape| Self { shape, order: None });
        let last = match *dims {
            [1, height, width, channels] => Some(Shape::new(height, width, channels)),
            [1, width, channels] => Some(Shape::new(1, width, channels)),
            _ => None,
        };
        let last = last.map(|shape| Self { shape, order: channels_last(shape) });
        let mut names = vec![source.input.as_str()];
        for node in &source.nodes {
            let renames = matches!(
                node.operator.as_str(),
                "Transpose" | "Reshape" | "Unsqueeze" | "Squeeze" | "Identity" | "Cast"
            );
            if let (true, Some(data), [output]) = (renames, node.input(0), &node.outputs[..])
                && names.contains(&data)
                && names.len() < MAX_VIEWS
            {
                names.push(output);
            }
        }
        let renamed = names.iter().skip(1).filter_map(|name| {
            let shape = sample_shape(trace.shape(name))?;
            let from = moved(trace, engine, &source.input, name)?;
            let mut positions = vec![None; shape.len()];
            from.iter().enumerate().for_each(|(position, &element)| {
                if let Some(slot) = positions.get_mut(element) {
                    *slot = Some(position);
                }
            });
            Some(Self { shape, order: order(positions.into_iter().collect::<Option<_>>()?) })
        });
        let mut views = Vec::new();
        for view in stated.into_iter().chain(renamed).chain(last) {
            if !views.contains(&view) {
                views.push(view);
            }
        }
        views
    }

    /// Where each element of the map in NHWC order is in the input.
    pub(super) fn positions(&self) -> Vec<usize> {
        let mut from = vec![0; self.shape.len()];
        for index in 0..from.len() {
            let position = self.order.as_ref().map_or(index, |order| order[index]);
            from[nchw_to_nhwc(position, self.shape)] = index;
        }
        from
    }
}
