//! Convolutions.

use std::slice;

use condconv::{Geometry, Padding, Window};

use super::blend::add;
use super::error::Fault;
use super::import::Importer;
use super::meaning::{Features, Meaning, is_column, map_shape};
use super::node::{Node, unsupported};
use super::pool::{sum, turned};
use crate::graph::{Clamp, Kernels, Op};

impl<'a> Importer<'a> {
    pub(super) fn conv(&mut self, node: &'a Node, output: &str) -> Result<Features, Fault> {
        let (Some(data), Some(weight)) = (node.input(0), node.input(1)) else {
            return Err(unsupported(node));
        };
        let features = self.demand_padded(node, data)?;
        self.is_map(node, &features, data)?;
        let padding = features.padding;
        let input = self.shape(&features);
        let taps = self.trace.shape(weight).get(2..).unwrap_or_default();
        let column = is_column(self.trace.shape(data), input);
        let window =
            pair(taps).and_then(|kernel| self.window(node, padding, kernel, column)).ok_or_else(|| {
                Fault::at(
                    node,
                    "its kernel, stride, pads or dilation are not supported",
                    "use a 1-D or 2-D convolution",
                )
            })?;
        if let Some(stated) = node.ints("kernel_shape")
            && node.sizes("kernel_shape").as_deref() != Some(taps)
        {
            return Err(Fault::at(
                node,
                format!("states kernel_shape {stated:?} for weights of {taps:?}"),
                "the file contradicts itself: export the network again",
            ));
        }
        let groups = node.int("group").and_then(|groups| usize::try_from(groups).ok()).unwrap_or(1);
        let channels = self.trace.shape(weight).first().copied().unwrap_or(0);
        let geometry = Geometry::new(input, channels, window, groups).map_err(|error| {
            Fault::at(node, format!("is inconsistent: {error}"), "check the shapes of this node")
        })?;
        if map_shape(self.trace.shape(output), input) != Some(geometry.output()) {
            return Err(unsupported(node));
        }
        let taps = window.taps();
        let kernels =
            self.kernels(node, weight, node.input(2), channels, |kernel| hwi(kernel, channels, taps))?;
        let clamp = Clamp::NONE;
        let op = if input.pixels() == 1 && taps == 1 && groups == 1 && window.padding == Padding::default() {
            // The same numbers, and the library knows that there is but one pixel.
            Op::Linear { kernels, clamp }
        } else {
            Op::Conv { window, groups, kernels, clamp }
        };
        Ok(self.add_layer(&node.name, op, vec![features.value], output, geometry.output()))
    }

    /// The window of a convolution or pool, with zeros around the map added to its padding. What is stated for the width
    /// alone is meant for the height of a column.
    pub(super) fn window(
        &self,
        node: &Node,
        before: Padding,
        kernel: [usize; 2],
        column: bool,
    ) -> Option<Window> {
        let attribute = |name: &str| -> Option<[usize; 2]> {
            let list = node.sizes(name)?;
            if list.is_empty() { Some([1, 1]) } else { pair(&list) }
        };
        let window = Window::new(kernel).stride(attribute("strides")?).dilation(attribute("dilations")?);
        let own = match node.sizes("pads")?[..] {
            [] => Padding::default(),
            [left, right] => Padding { left, right, ..Padding::default() },
            [top, left, bottom, right] => Padding { top, left, bottom, right },
            _ => return None,
        };
        let Window { kernel: [h, w], stride: [down, right], dilation: [y, x], .. } = window;
        Some(if column {
            Window::new([w, h]).stride([right, down]).dilation([x, y]).padding(sum(before, turned(own)))
        } else {
            window.padding(sum(before, own))
        })
    }

    /// The kernels of a layer, static or mixed. `arrange` brings one kernel into the order of the network.
    pub(super) fn kernels(
        &mut self,
        node: &Node,
        weight: &str,
        bias: Option<&str>,
        channels: usize,
        arrange: impl Fn(&[f32]) -> Vec<f32>,
    ) -> Result<Kernels, Fault> {
        let zeros = vec![0.0; channels];
        let static_bias = match bias {
            None => Some(zeros.clone()),
            Some(name) => self.trace.floats(name),
        };
        if let Some(weights) = self.trace.floats(weight) {
            let bias = static_bias.ok_or_else(|| {
                Fault::at(
                    node,
                    "has a constant kernel, but a bias that depends on the input",
                    "mix kernel and bias alike",
                )
            })?;
            let experts = vec![arrange(&weights)];
            return Ok(Kernels { channels, experts, bias, expert_biases: Vec::new(), routing: None });
        }
        let gate = match self.meanings.get(weight).cloned() {
            Some(Meaning::Routed(gate)) => gate,
            Some(Meaning::Unknown(fault)) => return Err(fault),
            _ => {
                return Err(Fault::at(
                    node,
                    format!("its kernel `{weight}` depends on the input, but not through routing weights"),
                    "a kernel must be constant, or a sum of experts weighted by one sigmoid (CondConv)",
                ));
            }
        };
        let routing = self.routing(node, &gate)?;
        let kernel = self.probe_mixture(node, &gate, weight)?;
        if kernel.at_zero.iter().any(|&weight| weight != 0.0) {
            return Err(Fault::at(
                node,
                format!("its kernel `{weight}` is not zero where all routing weights `{gate}` are zero"),
                "mix experts only; add a constant kernel as one more convolution or fold it into the experts",
            ));
        }
        let (bias, expert_biases) = match (static_bias, bias) {
            (Some(bias), _) => (bias, Vec::new()),
            (None, Some(name)) if self.is_routed_by(name, &gate) => {
                let mixed = self.probe_mixture(node, &gate, name)?;
                (mixed.at_zero, mixed.experts)
            }
            _ => {
                return Err(Fault::at(
                    node,
                    "its bias is mixed by another routing than its kernel",
                    "share the routing",
                ));
            }
        };
        let experts = kernel.experts.iter().map(|expert| arrange(expert)).collect();
        Ok(Kernels { channels, experts, bias, expert_biases, routing: Some(routing) })
    }

    pub(super) fn is_routed_by(&self, name: &str, gate: &str) -> bool {
        matches!(self.meanings.get(name), Some(Meaning::Routed(other)) if other.as_ref() == gate)
    }

    /// Adds a mixed bias to the CondConv before; false where that is not possible.
    pub(super) fn add_mixed_bias(
        &mut self,
        node: &Node,
        features: &Features,
        gate: &str,
        bias: &str,
        output: &str,
    ) -> Result<bool, Fault> {
        let Some(layer) = self.own_layer(features) else { return Ok(false) };
        let conditional = match &self.layers[layer].op {
            Op::Conv { kernels, clamp, .. } | Op::Linear { kernels, clamp } => {
                *clamp == Clamp::NONE
                    && kernels.routing.is_some()
                    && kernels.routing == self.routing_of.get(gate).copied()
            }
            _ => false,
        };
        if !conditional || !self.is_per_channel(bias, features, output) {
            return Ok(false);
        }
        let mixed = self.probe_mixture(node, gate, bias)?;
        if let Some(kernels) = self.layers[layer].op.kernels_mut() {
            add(kernels.expert_biases_mut(), &mixed.experts);
            add(slice::from_mut(&mut kernels.bias), slice::from_ref(&mixed.at_zero));
        }
        self.name_sums(layer, features, output);
        Ok(true)
    }

    /// Whether a value holds one number a channel, and broadcasts them along the channels of a map of the dimensions of
    /// `output`.
    pub(super) fn is_per_channel(&self, name: &str, features: &Features, output: &str) -> bool {
        let shape = self.shape(features);
        let (dims, target) = (self.trace.shape(name), self.trace.shape(output));
        let axis = dims.iter().rposition(|&dim| dim != 1).unwrap_or(0);
        let axis = (axis + target.len()).checked_sub(dims.len());
        self.trace.len(name) == shape.channels
            && self.trace.len(output) == shape.len()
            && dims.iter().filter(|&&dim| dim != 1).count() <= 1
            && (shape.channels == 1 || axis.is_some_and(|axis| features.channels_along(axis, target, shape)))
    }
}

/// Height and width, of a list that may state the width alone.
pub(super) fn pair(list: &[usize]) -> Option<[usize; 2]> {
    match *list {
        [width] => Some([1, width]),
        [height, width] => Some([height, width]),
        _ => None,
    }
}

/// Reorders a kernel from `[output channel][input channel][taps]` to `[output channel][taps][input channel]`.
fn hwi(kernel: &[f32], channels: usize, taps: usize) -> Vec<f32> {
    let inputs = kernel.len() / (channels * taps);
    let one = |kernel: &[f32]| -> Vec<f32> {
        (0..taps * inputs).map(|index| kernel[index % inputs * taps + index / inputs]).collect()
    };
    kernel.chunks(taps * inputs).flat_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_reordered() {
        // Two output channels, two input channels, three taps.
        let kernel: Vec<f32> = (0..12u8).map(f32::from).collect();
        assert_eq!(hwi(&kernel, 2, 3), [0., 3., 1., 4., 2., 5., 6., 9., 7., 10., 8., 11.]);
    }
}
