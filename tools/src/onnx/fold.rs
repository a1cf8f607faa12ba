//! What is folded into the layer before it: batch norms, constants per channel, activations, pads.

use condconv::{Padding, Window};

use super::error::Fault;
use super::import::Importer;
use super::meaning::{Features, Meaning, is_column, is_vector};
use super::node::{Node, unsupported};
use super::pool::{padded, sum, turned};
use crate::graph::{Clamp, Kernels, Op};

/// `scale * x + shift`, channel by channel.
struct Affine {
    scale: Vec<f64>,
    shift: Vec<f64>,
}

impl<'a> Importer<'a> {
    pub(super) fn batch_norm(&mut self, node: &'a Node, output: &str) -> Result<Features, Fault> {
        let name = node.input(0).unwrap_or_default();
        let features = self.demand(node, name)?;
        let shape = self.shape(&features);
        let channels = shape.channels;
        if !features.channels_along(1, self.trace.shape(name), shape) {
            self.is_map(node, &features, name)?;
        }
        let statistics = |index: usize| {
            let numbers = node.input(index).and_then(|name| self.trace.floats(name));
            numbers.filter(|numbers| numbers.len() == channels).ok_or_else(|| unsupported(node))
        };
        let (gamma, beta, mean, variance) = (statistics(1)?, statistics(2)?, statistics(3)?, statistics(4)?);
        if node.int("training_mode").unwrap_or(0) != 0 {
            return Err(Fault::at(
                node,
                "is exported in training mode",
                "call model.eval() before the export",
            ));
        }
        let epsilon = f64::from(node.float("epsilon").unwrap_or(1e-5));
        if let Some(channel) = variance.iter().position(|&v| f64::from(v) + epsilon <= 0.0) {
            return Err(Fault::at(
                node,
                format!("its variance is {} in channel {channel}", variance[channel]),
                "a variance cannot be negative: check the training, then export again",
            ));
        }
        let scale: Vec<_> = gamma
            .iter()
            .zip(&variance)
            .map(|(&g, &v)| f64::from(g) / (f64::from(v) + epsilon).sqrt())
            .collect();
        let shift = (0..channels).map(|c| f64::from(beta[c]) - scale[c] * f64::from(mean[c])).collect();
        self.affine(node, &features, output, &Affine { scale, shift })
    }

    /// Add, Sub, Mul or Div of a tensor and a constant per channel, or of a convolution and its mixed bias.
    pub(super) fn arithmetic(
        &mut self,
        index: usize,
        node: &'a Node,
        output: &'a str,
    ) -> Result<Option<Features>, Fault> {
        let (Some(a), Some(b), None) = (node.input(0), node.input(1), node.input(2)) else {
            // Perhaps a sum of experts.
            return Ok(None);
        };
        if let (Some(Meaning::Routed(first)), Some(Meaning::Routed(second))) =
            (self.meanings.get(a), self.meanings.get(b))
            && first != second
            && is_vector(self.trace.shape(output))
        {
            // Nothing is routed by two: these are activations.
            return self.two_tensors(index, node, [a, b], output);
        }
        let constant_first = self.trace.is_constant(a);
        let (name, other) = if constant_first || matches!(self.meanings.get(a), Some(Meaning::Routed(_))) {
            (b, a)
        } else {
            (a, b)
        };
        let Some(Meaning::Features(mut features)) = self.meanings.get(name).cloned() else {
            return Ok(None);
        };
        if let Some(Meaning::Routed(gate)) = self.meanings.get(other).cloned()
            && matches!(node.operator.as_str(), "Add" | "Sum")
            && self.add_mixed_bias(node, &features, &gate, other, output)?
        {
            return Ok(Some(self.folded(&features, output)));
        }
        if let Some(Meaning::Routed(gate)) = self.meanings.get(other).cloned()
            && let Ok(Some(weighted)) = self.weighted(node, &features, &gate, other, output)
        {
            return Ok(Some(weighted));
        }
        if !self.trace.is_constant(other) {
            return self.two_tensors(index, node, [a, b], output);
        }
        if features.padding != Padding::default() {
            features = self.demand(node, name)?;
        }
        let Some(constants) = self.channel_constants(&features, other, output) else {
            if self.trace.len(output) > self.shape(&features).len() {
                return Err(Fault::at(
                    node,
                    format!("multiplies `{other}` by numbers that are no routing weights"),
                    "mix kernels by the sigmoid of one logit for each expert, or by the softmax of all",
                ));
            }
            return if features.order.is_none() {
                Err(Fault::of_order(
                    node,
                    format!("`{other}` is not one constant per channel"),
                    "supported are constants per channel, which are folded into the layer before",
                ))
            } else {
                Ok(None)
            };
        };
        let ones = || vec![1.0; constants.len()];
        let zeros = || vec![0.0; constants.len()];
        let negated = || constants.iter().map(|c| -c).collect();
        let affine = match (node.operator.as_str(), constant_first) {
            ("Add" | "Sum", _) => Affine { scale: ones(), shift: constants },
            ("Sub", false) => Affine { scale: ones(), shift: negated() },
            ("Sub", true) => Affine { scale: vec![-1.0; constants.len()], shift: constants },
            ("Mul", _) => Affine { shift: zeros(), scale: constants },
            ("Div", false) => Affine { scale: constants.iter().map(|c| 1.0 / c).collect(), shift: zeros() },
            _ => return Err(unsupported(node)),
        };
        if affine.scale.iter().any(|scale| !scale.is_finite()) {
            return Err(Fault::at(node, format!("divides by a zero in `{other}`"), "check the training"));
        }
        self.affine(node, &features, output, &affine).map(Some)
    }

    /// A tensor with its sign changed, as a difference needs it.
    pub(super) fn negated(&mut self, node: &'a Node, output: &str) -> Result<Option<Features>, Fault> {
        let name = node.input(0).unwrap_or_default();
        if !matches!(self.meanings.get(name), Some(Meaning::Features(_))) {
            return Ok(None);
        }
        let features = self.demand(node, name)?;
        let channels = self.shape(&features).channels;
        let affine = Affine { scale: vec![-1.0; channels], shift: vec![0.0; channels] };
        self.affine(node, &features, output, &affine).map(Some)
    }

    /// The constant that each channel meets, if each meets just one.
    fn channel_constants(&self, features: &Features, name: &str, output: &str) -> Option<Vec<f64>> {
        let shape = self.shape(features);
        let dims = self.trace.shape(output);
        if self.trace.len(output) != shape.len() {
            return None;
        }
        let constants = self.trace.floats(name)?;
        let strides = broadcast_strides(self.trace.shape(name), dims)?;
        let mut channels = vec![None; shape.channels];
        for index in 0..shape.len() {
            let mut rest = index;
            let mut position = 0;
            for (dim, stride) in dims.iter().zip(&strides).rev() {
                position += (rest % dim) * stride;
                rest /= dim;
            }
            let constant = f64::from(*constants.get(position)?);
            if *channels[features.position(index) / shape.pixels()].get_or_insert(constant) != constant {
                return None;
            }
        }
        channels.into_iter().collect()
    }

    /// Relu or Clip.
    pub(super) fn clamp(&mut self, node: &'a Node, output: &str) -> Result<Option<Features>, Fault> {
        let Some(name) = node.given_inputs().find(|name| !self.trace.is_constant(name)) else {
            return Ok(None);
        };
        if matches!(self.meanings.get(name), Some(Meaning::Routed(_))) && !self.eager {
            return Ok(None);
        }
        let bounds = match node.operator.as_str() {
            "Relu" => Clamp { min: 0.0, ..Clamp::NONE },
            "Clip" => self.bounds(node)?,
            _ => match self.extremum(node) {
                Some(bounds) => bounds,
                None => return Ok(None),
            },
        };
        let features = self.demand(node, name)?;
        let layer = self.own_layer(&features);
        let (layer, features) = match layer.filter(|&layer| self.layers[layer].op.clamp_mut().is_some()) {
            Some(layer) => (layer, self.folded(&features, output)),
            None => {
                let before = self.name_in_order(name, features.order.as_ref());
                let (layer, features) = self.add_identity(node, &features, output);
                self.layers[layer].preactivation = before;
                (layer, features)
            }
        };
        if let Some(clamp) = self.layers[layer].op.clamp_mut() {
            let within = |bound: f32| bound.max(bounds.min).min(bounds.max);
            *clamp = Clamp { min: within(clamp.min), max: within(clamp.max) };
        }
        self.values[features.value].onnx_name = self.name_in_order(output, features.order.as_ref());
        Ok(Some(features))
    }

    /// The bound that a Max or Min with one number amounts to.
    fn extremum(&self, node: &Node) -> Option<Clamp> {
        let mut constants = node.given_inputs().filter(|name| self.trace.is_constant(name));
        let (Some(name), None, 2) = (constants.next(), constants.next(), node.given_inputs().count()) else {
            return None;
        };
        match (&self.trace.floats(name)?[..], node.operator.as_str()) {
            (&[min], "Max") => Some(Clamp { min, ..Clamp::NONE }),
            (&[max], _) => Some(Clamp { max, ..Clamp::NONE }),
            _ => None,
        }
    }

    fn bounds(&self, node: &Node) -> Result<Clamp, Fault> {
        let bound = |attribute: &str, index: usize, open: f32| match node.input(index) {
            None => Some(node.float(attribute).unwrap_or(open)),
            Some(name) => self.trace.floats(name).and_then(|numbers| numbers.first().copied()),
        };
        let bounds = (bound("min", 1, f32::NEG_INFINITY), bound("max", 2, f32::INFINITY));
        match bounds {
            (Some(min), Some(max)) if min <= max => Ok(Clamp { min, max }),
            _ => Err(Fault::at(
                node,
                "its bounds are no constant interval",
                "use a Clip with constant bounds, min <= max",
            )),
        }
    }

    /// A `Pad` that only adds zeros around the map.
    pub(super) fn pad(&mut self, node: &'a Node) -> Result<Option<Features>, Fault> {
        let Some(Meaning::Features(features)) = self.meanings.get(node.input(0).unwrap_or_default()).cloned()
        else {
            return Ok(None);
        };
        let dims = self.trace.shape(node.input(0).unwrap_or_default());
        let shape = padded(self.shape(&features), features.padding);
        let pads = match node.input(1) {
            Some(name) => self.trace.ints(name),
            None => node.ints("pads").map(<[i64]>::to_vec),
        };
        let fill = node.input(2).and_then(|name| self.trace.floats(name));
        let zeros = fill.is_none_or(|fill| fill.iter().all(|&x| x == 0.0))
            && node.float("value").unwrap_or(0.0) == 0.0;
        let constant = matches!(node.string("mode"), None | Some("constant"));
        let channels = match &features.order {
            None => Some(1),
            Some(_) if features.is_channels_last(self.shape(&features)) => {
                pads.as_ref().map(|pads| pads.len() / 2 - 1)
            }
            Some(_) => None,
        };
        let pads = pads.filter(|_| zeros && constant && node.input(3).is_none());
        let padding = pads.zip(channels).and_then(|(pads, channels)| padding(&pads, channels));
        let padding = padding.map(|padding| if is_column(dims, shape) { turned(padding) } else { padding });
        match padding {
            Some(padding) => {
                Ok(Some(Features { padding: sum(features.padding, padding), exclusive: false, ..features }))
            }
            None => Err(Fault::at(
                node,
                "is not a pad with zeros around height and width",
                "use zero padding around height and width",
            )),
        }
    }

    /// Folds an affine function into the layer before, or adds a layer that computes it.
    fn affine(
        &mut self,
        node: &Node,
        features: &Features,
        output: &str,
        affine: &Affine,
    ) -> Result<Features, Fault> {
        let open = self.own_layer(features).filter(|&layer| {
            let op = &mut self.layers[layer].op;
            op.kernels().is_some() && op.clamp_mut().is_some_and(|clamp| *clamp == Clamp::NONE)
        });
        let (layer, features) = match open {
            Some(layer) => (layer, self.folded(features, output)),
            None => self.add_identity(node, features, output),
        };
        if let Some(kernels) = self.layers[layer].op.kernels_mut() {
            kernels.scale_and_shift(&affine.scale, &affine.shift);
        }
        self.name_sums(layer, &features, output);
        Ok(features)
    }

    /// States that a layer's sums are the value of a name, and that no activation follows yet.
    pub(super) fn name_sums(&mut self, layer: usize, features: &Features, output: &str) {
        let name = self.name_in_order(output, features.order.as_ref());
        self.values[features.value].onnx_name = name.clone();
        self.layers[layer].preactivation = name;
    }

    /// The layer that computes a tensor, if nothing else reads it.
    pub(super) fn own_layer(&self, features: &Features) -> Option<usize> {
        let layer = self.layers.iter().rposition(|layer| layer.output == features.value);
        layer.filter(|_| features.exclusive)
    }

    /// The tensor under the name that it has after a node was folded.
    pub(super) fn folded(&self, features: &Features, output: &str) -> Features {
        Features { exclusive: self.has_one_reader(output), ..features.clone() }
    }

    /// A layer that copies its input: a depthwise convolution with kernel 1.
    pub(super) fn add_identity(
        &mut self,
        node: &Node,
        features: &Features,
        output: &str,
    ) -> (usize, Features) {
        let shape = self.shape(features);
        let channels = shape.channels;
        let kernels = Kernels {
            channels,
            experts: vec![vec![1.0; channels]],
            bias: vec![0.0; channels],
            expert_biases: Vec::new(),
            routing: None,
        };
        let op = Op::Conv { window: Window::new([1, 1]), groups: channels, kernels, clamp: Clamp::NONE };
        let order = features.order.clone();
        let copy = self.add_ordered_layer(&node.name, op, vec![features.value], (output, order), shape);
        (self.layers.len() - 1, copy)
    }
}

/// How far each step along the dimensions of `target` leads in a tensor that is broadcast to them.
pub(super) fn broadcast_strides(dims: &[usize], target: &[usize]) -> Option<Vec<usize>> {
    let missing = target.len().checked_sub(dims.len())?;
    let mut strides = vec![0; target.len()];
    let mut step = 1;
    for (axis, &dim) in dims.iter().enumerate().rev() {
        if dim != 1 {
            if dim != target[missing + axis] {
                return None;
            }
            strides[missing + axis] = step;
        }
        step *= dim;
    }
    Some(strides)
}

/// The padding that an ONNX pads list of `2 * rank` numbers states, if it pads height and width only: neither the batch
/// nor the axis of the channels.
fn padding(pads: &[i64], channels: usize) -> Option<Padding> {
    let (start, end) = pads.split_at(pads.len() / 2);
    let sides = start.iter().zip(end).enumerate();
    let (spatial, others): (Vec<_>, Vec<_>) = sides.partition(|(axis, _)| *axis != 0 && *axis != channels);
    if others.len() != 2 || others.iter().any(|(_, sides)| *sides != (&0, &0)) {
        return None;
    }
    let side = |side: &i64| usize::try_from(*side).ok();
    match spatial[..] {
        [(_, (top, bottom)), (_, (left, right))] => {
            Some(Padding { top: side(top)?, left: side(left)?, bottom: side(bottom)?, right: side(right)? })
        }
        [(_, (left, right))] => {
            Some(Padding { left: side(left)?, right: side(right)?, ..Padding::default() })
        }
        _ => None,
    }
}
