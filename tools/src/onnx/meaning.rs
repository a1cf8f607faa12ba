//! What a value of the graph means for the network.

use std::collections::BTreeSet;
use std::rc::Rc;

use condconv::{Padding, Shape};

use super::error::Fault;
use crate::graph::ValueId;

/// What a value that depends on the input stands for. Constants have no meaning but their numbers.
#[derive(Debug, Clone)]
pub(super) enum Meaning {
    /// A tensor of the network, renamed or reordered.
    Features(Features),
    /// Computed from routing weights only, such as a mixed kernel.
    Routed(Gate),
    /// Computed from one tensor of the network, and perhaps routing weights, in a way not looked into yet: a fully
    /// connected layer, if it turns out to be linear.
    Mixed(Mixed),
    /// Not understood; the fault is reported if the value is needed.
    Unknown(Fault),
}

/// Name of the value that holds routing weights.
pub(super) type Gate = Rc<str>;

/// The position in a tensor's NCHW order of each of its elements.
pub(super) type Order = Rc<[usize]>;

/// A tensor of the network as the graph holds it.
#[derive(Debug, Clone)]
pub(super) struct Features {
    pub(super) value: ValueId,
    /// Where each element lies in the tensor's NCHW order; `None` if in that very order.
    pub(super) order: Option<Order>,
    /// Zeros around the tensor, from a `Pad` that the next convolution absorbs.
    pub(super) padding: Padding,
    /// Whether no other node reads the tensor, under any name.
    pub(super) exclusive: bool,
}

impl Features {
    /// The position in the tensor's NHWC order of each element.
    pub(super) fn nhwc(&self, shape: Shape) -> Vec<usize> {
        (0..shape.len()).map(|index| nchw_to_nhwc(self.position(index), shape)).collect()
    }

    /// The position in the tensor's NCHW order of an element.
    pub(super) fn position(&self, index: usize) -> usize {
        self.order.as_ref().map_or(index, |order| order[index])
    }

    /// Whether the elements are in NHWC order.
    pub(super) fn is_channels_last(&self, shape: Shape) -> bool {
        self.order.is_some() && self.nhwc(shape).into_iter().eq(0..shape.len())
    }

    /// Whether the channel of each element is its index along an axis of dimensions that hold the tensor.
    pub(super) fn channels_along(&self, axis: usize, dims: &[usize], shape: Shape) -> bool {
        let Some(inner) = dims.get(axis + 1..) else { return false };
        let inner: usize = inner.iter().product();
        (0..shape.len()).all(|index| index / inner % dims[axis] == self.position(index) / shape.pixels())
    }
}

/// See [`Meaning::Mixed`].
#[derive(Debug, Clone)]
pub(super) struct Mixed {
    /// Index of the node where it begins, to name in errors.
    pub(super) node: usize,
    pub(super) part: Part,
    pub(super) gate: Option<Gate>,
}

/// A tensor of the network and the names under which a part of the graph reads it.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) value: ValueId,
    pub(super) names: BTreeSet<String>,
}

/// An axis as a node states it, of a tensor of `rank` dimensions: negative ones count from the end.
pub(super) fn axis(stated: i64, rank: usize) -> Option<usize> {
    usize::try_from(if stated < 0 { stated + i64::try_from(rank).ok()? } else { stated }).ok()
}

/// The order of elements, if it is not NCHW order itself.
pub(super) fn order(positions: Vec<usize>) -> Option<Order> {
    let natural = positions.iter().enumerate().all(|(index, &position)| index == position);
    (!natural).then(|| positions.into())
}

/// NHWC order.
pub(super) fn channels_last(shape: Shape) -> Option<Order> {
    let (pixels, channels) = (shape.pixels(), shape.channels);
    order((0..shape.len()).map(|index| index % channels * pixels + index / channels).collect())
}

/// The position in NHWC order of the element at a position in NCHW order.
pub(super) fn nchw_to_nhwc(position: usize, shape: Shape) -> usize {
    (position % shape.pixels()) * shape.channels + position / shape.pixels()
}

/// The shape of one sample that is stored as 1xCxHxW, 1xCxW, 1xK or K.
pub(super) fn sample_shape(dims: &[usize]) -> Option<Shape> {
    match *dims {
        [1, channels, height, width] => Some(Shape::new(height, width, channels)),
        [1, channels, width] => Some(Shape::new(1, width, channels)),
        [1, features] | [features] => Some(Shape::vector(features)),
        _ => None,
    }
}

/// Whether dimensions state but one axis, which is the height of a map of the shape given.
pub(super) fn is_column(dims: &[usize], shape: Shape) -> bool {
    dims.len() == 3 && shape.width == 1 && shape.height > 1
}

/// The shape of a map that is stored like another of the shape given.
pub(super) fn map_shape(dims: &[usize], like: Shape) -> Option<Shape> {
    match *dims {
        [1, channels, height] if is_column(dims, like) => Some(Shape::new(height, 1, channels)),
        _ => sample_shape(dims),
    }
}

/// Whether at most one dimension is not 1.
pub(super) fn is_vector(dims: &[usize]) -> bool {
    dims.iter().filter(|&&dim| dim != 1).count() <= 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions() {
        // Two channels of 1x3: channel by channel there, pixel by pixel here.
        let shape = Shape::new(1, 3, 2);
        let features = Features { value: 0, order: None, padding: Padding::default(), exclusive: true };
        assert_eq!(features.nhwc(shape), [0, 2, 4, 1, 3, 5]);
        let order = Some(Rc::from([5, 4, 3, 2, 1, 0]));
        assert_eq!(Features { order, ..features }.nhwc(shape), [5, 3, 1, 4, 2, 0]);
    }
}
