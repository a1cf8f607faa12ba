//! Pools: the mean or largest of windows, or of the whole map however that is written.

use condconv::{Geometry, MaxPool2d, Padding, Shape, Window};

use super::conv::pair;
use super::error::Fault;
use super::import::Importer;
use super::meaning::{Features, Meaning, axis, is_column, map_shape};
use super::node::{Node, unsupported};
use crate::graph::Op;

impl<'a> Importer<'a> {
    /// AveragePool, MaxPool, or the mean or largest of a whole map.
    pub(super) fn pool(&mut self, node: &'a Node, output: &str) -> Result<Option<Features>, Fault> {
        let name = node.input(0).unwrap_or_default();
        let Some(Meaning::Features(features)) = self.meanings.get(name).cloned() else { return Ok(None) };
        let mean = !matches!(node.operator.as_str(), "MaxPool" | "GlobalMaxPool" | "ReduceMax");
        if let Some(reduced) = self.reduced_axes(node, name) {
            let features = self.demand(node, name)?;
            if self.reduces_pixels(&features, [name, output], &reduced) {
                let shape = self.shape(&features);
                let op = if mean {
                    Op::GlobalAveragePool
                } else {
                    Op::MaxPool { window: Window::new([shape.height, shape.width]) }
                };
                let vector = Shape::vector(shape.channels);
                return Ok(Some(self.add_layer(&node.name, op, vec![features.value], output, vector)));
            }
            // The mean or largest of each row or column.
            let shape = self.shape(&features);
            let kernel = match reduced[..] {
                [2] => Some([shape.height, 1]),
                [3] => Some([1, shape.width]),
                _ => None,
            };
            if let Some(kernel) = kernel.filter(|_| self.is_map(node, &features, name).is_ok()) {
                return self
                    .add_pool(node, &features, Window::new(kernel), mean.then_some(false), output)
                    .map(Some);
            }
        }
        if !matches!(node.operator.as_str(), "AveragePool" | "MaxPool") {
            return Err(unsupported(node));
        }
        let column = is_column(self.trace.shape(name), padded(self.shape(&features), features.padding));
        let window = node
            .sizes("kernel_shape")
            .and_then(|kernel| pair(&kernel))
            .and_then(|kernel| self.window(node, Padding::default(), kernel, column))
            .ok_or_else(|| bad_window(node))?;
        let counts = node.int("count_include_pad").unwrap_or(0) != 0;
        // Zeros that a Pad adds count.
        if mean
            && features.padding != Padding::default()
            && features.order.is_none()
            && (counts || window.padding == Padding::default())
        {
            let padding = sum(features.padding, window.padding);
            let joined = window.padding(padding);
            let bare = Features { padding: Padding::default(), ..features.clone() };
            let shape = self.shape(&bare);
            if self.is_plain(&joined, shape, output) {
                return self.add_pool(node, &bare, joined, Some(true), output).map(Some);
            }
        }
        let features = self.demand(node, name)?;
        self.is_map(node, &features, name)?;
        let shape = self.shape(&features);
        let whole = self.whole(node, window, shape, output, mean && counts)?;
        let counts = counts && window.padding != Padding::default();
        self.add_pool(node, &features, whole, mean.then_some(counts), output).map(Some)
    }

    /// Whether a window yields the output's shape as it is.
    fn is_plain(&self, window: &Window, shape: Shape, output: &str) -> bool {
        MaxPool2d::<i8>::new(shape, *window).is_ok()
            && window.output(shape, shape.channels).ok() == map_shape(self.trace.shape(output), shape)
    }

    /// The window with so much padding at the end as rounding the output's size up asks for.
    fn whole(
        &self,
        node: &Node,
        window: Window,
        shape: Shape,
        output: &str,
        padding_counts: bool,
    ) -> Result<Window, Fault> {
        let wanted = map_shape(self.trace.shape(output), shape).ok_or_else(|| bad_window(node))?;
        if window.output(shape, shape.channels).ok() == Some(wanted) {
            return Ok(window);
        }
        if padding_counts && window.padding != Padding::default() {
            return Err(Fault::at(
                node,
                "rounds its size up (ceil_mode) and counts padding",
                "use ceil_mode=0, or count_include_pad=0",
            ));
        }
        let end = |axis: usize, size: usize, start: usize, wanted: usize| {
            let extent = (window.kernel[axis] - 1) * window.dilation[axis] + 1;
            ((wanted - 1) * window.stride[axis] + extent).saturating_sub(size + start)
        };
        let Padding { top, left, .. } = window.padding;
        if wanted.height == 0 || wanted.width == 0 || window.taps() == 0 {
            return Err(bad_window(node));
        }
        let bottom = end(0, shape.height, top, wanted.height).max(window.padding.bottom);
        let right = end(1, shape.width, left, wanted.width).max(window.padding.right);
        Ok(window.padding(Padding { top, left, bottom, right }))
    }

    /// Adds a pool: of means, with or without padding counted, or else of the largest.
    fn add_pool(
        &mut self,
        node: &Node,
        features: &Features,
        window: Window,
        mean: Option<bool>,
        output: &str,
    ) -> Result<Features, Fault> {
        let shape = self.shape(features);
        let fault = |reason: String| {
            Fault::at(node, reason, "use a pool whose windows all lie on the map, at least in part")
        };
        MaxPool2d::<i8>::new(shape, window).map_err(|error| fault(format!("is not supported: {error}")))?;
        let pooled = Geometry::new(shape, shape.channels, window, shape.channels)
            .map_err(|error| fault(format!("is inconsistent: {error}")))?
            .output();
        if map_shape(self.trace.shape(output), pooled) != Some(pooled) {
            return Err(bad_window(node));
        }
        let op = match mean {
            Some(count_padding) => Op::AveragePool { window, count_padding },
            None => Op::MaxPool { window },
        };
        Ok(self.add_layer(&node.name, op, vec![features.value], output, pooled))
    }

    /// The axes over which a node takes the mean or largest of all there is, if it does.
    fn reduced_axes(&self, node: &Node, name: &str) -> Option<Vec<usize>> {
        let dims = self.trace.shape(name);
        let rank = dims.len();
        match node.operator.as_str() {
            "GlobalAveragePool" | "GlobalMaxPool" => Some((2..rank).collect()),
            // With one output pixel and no pads, the window covers what it covers; it must be the whole map.
            "AveragePool" => {
                let whole = node.sizes("kernel_shape").as_deref() == Some(dims.get(2..).unwrap_or_default())
                    && node.ints("pads").unwrap_or_default().iter().all(|&pad| pad == 0);
                whole.then(|| (2..rank).collect())
            }
            "ReduceMean" | "ReduceMax" => {
                let axes = match node.input(1) {
                    Some(name) => self.trace.ints(name)?,
                    None => node.ints("axes").unwrap_or_default().to_vec(),
                };
                axes.into_iter().map(|stated| axis(stated, rank)).collect()
            }
            _ => None,
        }
    }

    /// Whether to reduce some axes is, for each channel, to reduce all of its pixels.
    fn reduces_pixels(&self, features: &Features, [name, output]: [&str; 2], reduced: &[usize]) -> bool {
        let shape = self.shape(features);
        let dims = self.trace.shape(name);
        let kept: usize =
            (0..dims.len()).filter(|axis| !reduced.contains(axis)).map(|axis| dims[axis]).product();
        // The index, of those that are kept, to which an element contributes.
        let target = |mut index: usize| {
            let (mut target, mut step) = (0, 1);
            for (axis, &dim) in dims.iter().enumerate().rev() {
                if !reduced.contains(&axis) {
                    target += index % dim * step;
                    step *= dim;
                }
                index /= dim;
            }
            target
        };
        kept == shape.channels
            && self.trace.len(output) == shape.channels
            && self.trace.len(name) == shape.len()
            && (0..shape.len()).all(|index| target(index) == features.position(index) / shape.pixels())
    }
}

fn bad_window(node: &Node) -> Fault {
    Fault::at(
        node,
        "its kernel, stride, pads, dilation or ceil_mode are not supported",
        "use a 1-D or 2-D pool with ceil_mode=0 and without dilation",
    )
}

/// Both paddings, one around the other.
pub(super) fn sum(a: Padding, b: Padding) -> Padding {
    Padding {
        top: a.top + b.top,
        left: a.left + b.left,
        bottom: a.bottom + b.bottom,
        right: a.right + b.right,
    }
}

/// The padding of the height in place of that of the width, and the other way around.
pub(super) fn turned(padding: Padding) -> Padding {
    let Padding { top, left, bottom, right } = padding;
    Padding { top: left, left: top, bottom: right, right: bottom }
}

/// The shape of a map with zeros around it.
pub(super) fn padded(shape: Shape, padding: Padding) -> Shape {
    Shape {
        height: shape.height + padding.top + padding.bottom,
        width: shape.width + padding.left + padding.right,
        ..shape
    }
}
