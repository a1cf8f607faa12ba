//! From floats to integers: layer after layer, each on what the integer layers before it really yield, so that
//! the mean error that a layer has made by then is taken out of its bias.

mod calibrate;
mod equalize;
mod kernels;
mod operators;
mod options;
mod ranges;
mod routing;
mod sensitivity;

use std::collections::{BTreeMap, BTreeSet};

use condconv::{LayerError, RoutingWeight};
use thiserror::Error;

pub use calibrate::{Calibration, Preactivation, Range};
pub use equalize::equalize;
pub use kernels::interleave;
pub use options::{Int16, NameError, NamedRange, Options, RangeMethod, Ranges};
pub use sensitivity::{Quantized, Trade, WideTensor, quantize};

use crate::graph::{self, Clamp, Network, ValueId};
use crate::names::shortened;
use crate::parallel;
use crate::quantized::{
    ElementType, ExpertKernels, Kernels, Layer, Op, QuantizedNetwork, Requantize, Routing, Tensor,
};
use crate::run::{Data, RunnableLayer, route};
use kernels::{Scales, WithUnits, experts, fixed, leaves_room_for_int16, multiplier, smallest_output_scale};

/// int16 tensors reach this many times as far as calibration saw, so that no logit is clipped.
const INT16_HEADROOM: f64 = 4.0;

/// Why a network cannot be put into integers.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum QuantizeError {
    /// A layer cannot.
    #[error("{layer}{reason}; split the layer into smaller ones, or check its weights and its input's range")]
    Layer {
        /// The node, as the message begins with it.
        layer: String,
        /// What the library finds wrong.
        reason: LayerError,
    },
    /// A name that was given in an option.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl From<LayerError> for QuantizeError {
    fn from(reason: LayerError) -> Self {
        Self::Layer { layer: String::new(), reason }
    }
}

impl QuantizeError {
    /// Names the node, unless a routing function was named already.
    fn at(self, node: &str) -> Self {
        match self {
            Self::Layer { layer, reason } if layer.is_empty() => {
                Self::Layer { layer: format!("node '{}': ", shortened(node)), reason }
            }
            named => named,
        }
    }
}

struct Quantizer<'a> {
    float: &'a Network,
    calibration: &'a Calibration,
    result: QuantizedNetwork,
    /// Integer values of the calibration inputs, of tensors that a layer still has to read.
    values: BTreeMap<ValueId, Vec<Data>>,
    /// Routing functions that layers have used so far, and their weights for the calibration inputs.
    routings: BTreeMap<graph::RoutingId, (Routing, Vec<Vec<RoutingWeight>>)>,
}

impl<'a> Quantizer<'a> {
    /// `wide` are the tensors to be int16 beside those that always are.
    fn new(float: &'a Network, calibration: &'a Calibration, wide: &BTreeSet<ValueId>) -> Self {
        let tensor = |id: ValueId| {
            let value = &float.values[id];
            let wide = wide.contains(&id) || element_type(float, id) == ElementType::I16;
            let tensor = if wide {
                int16(value, calibration.extents[id])
            } else {
                int8(value, calibration.ranges[id])
            };
            Tensor { gains: calibration.gains[id].clone(), ..tensor }
        };
        let tensors: Vec<Tensor> = (0..float.values.len()).map(tensor).collect();
        let input = &tensors[float.input];
        let inputs = calibration.inputs.iter().map(|sample| Data::input(input, sample)).collect();
        let result = QuantizedNetwork {
            input: float.input,
            output: float.output,
            routings: Vec::new(),
            tensors,
            layers: Vec::new(),
        };
        Self {
            float,
            calibration,
            result,
            values: BTreeMap::from([(float.input, inputs)]),
            routings: BTreeMap::new(),
        }
    }

    /// The network, and its outputs for the calibration inputs.
    fn run(mut self) -> Result<(QuantizedNetwork, Vec<Data>), QuantizeError> {
        for index in 0..self.float.layers.len() {
            let layer = &self.float.layers[index];
            self.layer(index).map_err(|error| error.at(&layer.name))?;
            self.drop_values_without_reader_after(index);
        }
        // Every routing function is used by some layer; the map has them in the order of their ids.
        self.result.routings = self.routings.into_values().map(|(routing, _)| routing).collect();
        let outputs = self.values.remove(&self.float.output).unwrap_or_default();
        Ok((self.result, outputs))
    }

    fn layer(&mut self, index: usize) -> Result<(), QuantizeError> {
        let layer = &self.float.layers[index];
        if let Some(id) = layer.op.routing() {
            let name = &self.float.routings[id].name;
            self.route(id).map_err(|error| error.at(name))?;
        }
        let op = match &layer.op {
            graph::Op::Conv { kernels, clamp, .. } | graph::Op::Linear { kernels, clamp } => {
                // Once to see the layer's mean error, once with that error out of its bias.
                let first = self.quantize_kernels(index, kernels, *clamp, None)?;
                let correction = self.mean_error(index, &first)?;
                self.quantize_kernels(index, kernels, *clamp, Some(&correction))?
            }
            _ => self.quantize_operator(index),
        };
        let outputs = self.outputs(&op, layer, &self.result.tensors[layer.output])?;
        self.values.insert(layer.output, outputs);
        self.result.layers.push(Layer {
            name: layer.name.clone(),
            op,
            inputs: layer.inputs.clone(),
            output: layer.output,
        });
        Ok(())
    }

    /// Quantises a routing function on the tensor that it reads, whose scale is settled by now, and runs it on the
    /// calibration inputs.
    fn route(&mut self, id: graph::RoutingId) -> Result<(), QuantizeError> {
        if self.routings.contains_key(&id) {
            return Ok(());
        }
        let float = &self.float.routings[id];
        let tensor = &self.result.tensors[float.input];
        let quantized = routing::quantize(float, tensor);
        let weights = parallel::map(&self.values[&float.input], |input| route(&quantized, tensor, input))
            .into_iter()
            .collect::<Result<_, _>>()?;
        self.routings.insert(id, (quantized, weights));
        Ok(())
    }

    /// A layer with kernels in integers, `correction` added to its bias. Raises the output's scale where the
    /// accumulator is coarser than that.
    fn quantize_kernels(
        &mut self,
        index: usize,
        float_kernels: &graph::Kernels,
        clamp: Clamp,
        correction: Option<&[f64]>,
    ) -> Result<Op, QuantizeError> {
        let layer = &self.float.layers[index];
        let input = self.result.tensors[layer.inputs[0]].clone();
        let output = self.result.tensors[layer.output].clone();
        let (low, high) = input.element.range();
        let scales = Scales { input: input.scale, span: f64::from(high - low), output: output.scale };
        let mut float_kernels = float_kernels.clone();
        if let Some(correction) = correction {
            for (bias, correction) in float_kernels.bias.iter_mut().zip(correction) {
                *bias = (f64::from(*bias) + correction) as f32;
            }
        }
        let op_with = |kernels: Kernels, requantize: Requantize| match &layer.op {
            graph::Op::Conv { window, groups, .. } => {
                condconv::Geometry::new(input.shape, output.shape.channels, *window, *groups)
                    .map(|geometry| Op::Conv { geometry, kernels, requantize })
            }
            _ => Ok(Op::Linear { features: input.shape.len(), kernels, requantize }),
        };
        let unscaled =
            Requantize { multipliers: vec![0; float_kernels.channels], zero_point: 0, min: 0, max: 0 };
        let quantized = match float_kernels.routing {
            None => {
                let WithUnits { kernels, units } = fixed(&float_kernels, scales);
                WithUnits { kernels: Kernels::Static(kernels), units }
            }
            Some(routing) => {
                let check = |kernels: &ExpertKernels| {
                    let op = op_with(Kernels::Experts(kernels.clone()), unscaled.clone())?;
                    RunnableLayer::new(&op, &[&input], &output).map(|_| ())
                };
                let WithUnits { kernels, units } = experts(&float_kernels, routing, scales, check)?;
                WithUnits { kernels: Kernels::Experts(kernels), units }
            }
        };
        let tensor = self.raise_scale(layer.output, quantized.smallest_output_scale());
        let requantize =
            Requantize { multipliers: quantized.multipliers(tensor.scale), ..bounds(tensor, clamp) };
        Ok(op_with(quantized.kernels, requantize)?)
    }

    fn raise_scale(&mut self, id: ValueId, smallest: f64) -> &Tensor {
        let tensor = &mut self.result.tensors[id];
        if tensor.scale < smallest {
            tensor.scale = smallest_f32_not_below(smallest);
            if tensor.element == ElementType::I8 {
                tensor.zero_point = zero_point(self.calibration.ranges[id], tensor.scale);
            }
        }
        tensor
    }

    /// By how much the float layer's mean before the activation lies above the integer layer's, a channel.
    fn mean_error(&mut self, index: usize, op: &Op) -> Result<Vec<f64>, QuantizeError> {
        let layer = &self.float.layers[index];
        let seen = &self.calibration.preactivations[index];
        let channels = self.float.values[layer.output].shape.channels;
        let units: Vec<f64> = {
            let scale = self.result.tensors[layer.output].scale;
            op.requantize()
                .iter()
                .flat_map(|requantize| &requantize.multipliers)
                .map(|&m| f64::from(m) / 4_294_967_296.0 * scale)
                .collect()
        };
        let smallest = smallest_output_scale(units.iter().fold(0.0, |largest: f64, &u| largest.max(u)));
        let scale = (INT16_HEADROOM * seen.range.magnitude() / 32767.0).max(smallest);
        let wide = Tensor {
            element: ElementType::I16,
            scale,
            zero_point: 0,
            ..self.result.tensors[layer.output].clone()
        };
        let requantize = Requantize {
            multipliers: units.iter().map(|unit| multiplier(unit / scale)).collect(),
            ..bounds(&wide, Clamp::NONE)
        };
        let mut open = op.clone();
        if let Some(closed) = open.requantize_mut() {
            *closed = requantize;
        }
        let outputs = self.outputs(&open, layer, &wide)?;
        let pixels = wide.shape.pixels() as f64;
        let mean_of = |output: &Data, channel: usize| {
            let sum: i64 = output.iter().skip(channel).step_by(channels).map(i64::from).sum();
            sum as f64 / pixels * scale
        };
        let errors = |channel: usize| -> Vec<f64> {
            let samples = seen.means.iter().zip(&outputs);
            samples.map(|(means, output)| means[channel] - mean_of(output, channel)).collect()
        };
        Ok((0..channels).map(|channel| significant_mean(&errors(channel))).collect())
    }

    /// Runs a layer on the calibration inputs.
    fn outputs(&self, op: &Op, layer: &graph::Layer, output: &Tensor) -> Result<Vec<Data>, LayerError> {
        let tensors: Vec<&Tensor> = layer.inputs.iter().map(|&id| &self.result.tensors[id]).collect();
        let runnable = RunnableLayer::new(op, &tensors, output)?;
        let inputs: Vec<&Vec<Data>> = layer.inputs.iter().map(|id| &self.values[id]).collect();
        let routing = op.experts().map(|experts| &self.routings[&experts.routing].1);
        let samples: Vec<(Vec<&Data>, &[RoutingWeight])> = (0..inputs[0].len())
            .map(|i| {
                let weights = routing.map_or(&[][..], |weights| &weights[i]);
                (inputs.iter().map(|data| &data[i]).collect(), weights)
            })
            .collect();
        Ok(parallel::map(&samples, |(inputs, routing)| runnable.run(inputs, routing)))
    }

    fn drop_values_without_reader_after(&mut self, index: usize) {
        let later = &self.float.layers[index + 1..];
        self.values.retain(|&id, _| {
            id == self.float.output
                || later.iter().any(|layer| {
                    layer.inputs.contains(&id)
                        || layer.op.routing().is_some_and(|r| self.float.routings[r].input == id)
                })
        });
    }
}

/// Lets a routing function read the int16 mean of its input where an earlier layer has computed that already.
pub fn reuse_pools(network: &mut Network) {
    for id in 0..network.routings.len() {
        let input = network.routings[id].input;
        let until_first_use = network.layers.iter().take_while(|layer| layer.op.routing() != Some(id));
        let pool = until_first_use
            .filter(|layer| layer.inputs == [input] && matches!(layer.op, graph::Op::GlobalAveragePool))
            .find(|layer| element_type(network, layer.output) == ElementType::I16);
        if let Some(pool) = pool {
            network.routings[id].input = pool.output;
        }
    }
}

/// int16 for the network's output, for probabilities and the scores that they are made of, and for vectors of means
/// that only fully connected layers read or of features that only routing functions read; int8 else.
fn element_type(network: &Network, id: ValueId) -> ElementType {
    let readers = || network.layers.iter().filter(|layer| layer.inputs.contains(&id));
    let routes = network.routings.iter().any(|routing| routing.input == id);
    let into_linear = |layer: &graph::Layer| match &layer.op {
        graph::Op::Linear { kernels, .. } => leaves_room_for_int16(kernels),
        _ => false,
    };
    let wide = match network.layers.iter().find(|layer| layer.output == id).map(|layer| &layer.op) {
        None => false,
        Some(_) if id == network.output => true,
        Some(graph::Op::Softmax) => true,
        Some(graph::Op::GlobalAveragePool) => readers().all(into_linear),
        Some(graph::Op::Linear { .. }) if routes => readers().all(into_linear),
        Some(graph::Op::Linear { .. }) => {
            readers().next().is_some() && readers().all(|layer| matches!(layer.op, graph::Op::Softmax))
        }
        Some(_) => false,
    };
    if wide { ElementType::I16 } else { ElementType::I8 }
}

fn int8(value: &graph::Value, range: Range) -> Tensor {
    let scale = scale_or_one((range.max - range.min) / 255.0);
    tensor(value, ElementType::I8, scale, zero_point(range, scale))
}

fn int16(value: &graph::Value, extent: Range) -> Tensor {
    tensor(value, ElementType::I16, scale_or_one(INT16_HEADROOM * extent.magnitude() / 32767.0), 0)
}

fn tensor(value: &graph::Value, element: ElementType, scale: f64, zero_point: i32) -> Tensor {
    Tensor {
        onnx_name: value.onnx_name.clone(),
        shape: value.shape,
        element,
        scale,
        zero_point,
        gains: Vec::new(),
    }
}

/// The scale as the `f32` that the device knows: no less than the smallest that is normal, since the device divides by
/// it, and one for tensors that are always zero.
fn scale_or_one(scale: f64) -> f64 {
    if scale == 0.0 { 1.0 } else { f64::from((scale as f32).max(f32::MIN_POSITIVE)) }
}

fn smallest_f32_not_below(scale: f64) -> f64 {
    let nearest = scale as f32;
    f64::from(if f64::from(nearest) < scale { nearest.next_up() } else { nearest })
}

fn zero_point(range: Range, scale: f64) -> i32 {
    (-128.0 - range.min / scale).round().clamp(-128.0, 127.0) as i32
}

/// The mean, less what of it a sample of this size may owe to chance.
fn significant_mean(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0).max(1.0);
    let chance = variance / count;
    if mean == 0.0 { 0.0 } else { mean * (1.0 - chance / mean.powi(2)).max(0.0) }
}

/// Zero point and bounds of an output; multipliers are still to come.
fn bounds(tensor: &Tensor, clamp: Clamp) -> Requantize {
    let (low, high) = tensor.element.range();
    let bound = |real: f32| tensor.quantize(f64::from(real)).clamp(low, high);
    Requantize {
        multipliers: Vec::new(),
        zero_point: tensor.zero_point,
        min: bound(clamp.min),
        max: bound(clamp.max),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_of_all_sizes_keep_their_numbers() {
        let value = graph::Value { onnx_name: String::new(), shape: condconv::Shape::vector(1) };
        for exponent in -149..=120 {
            let max = f64::from(exponent).exp2();
            let smallest = f64::from(f32::MIN_POSITIVE);
            for tensor in [int8(&value, Range { min: 0.0, max }), int16(&value, Range { min: 0.0, max })] {
                assert!((tensor.scale as f32).is_normal());
                assert!(
                    tensor.scale <= (max / 255.0).max(smallest) * 1.000_001,
                    "2^{exponent}: {}",
                    tensor.scale
                );
                let back = tensor.dequantize(tensor.quantize(max));
                assert!((back - max).abs() <= 0.51 * tensor.scale, "2^{exponent}: {back}");
            }
        }
        assert_eq!(scale_or_one(0.0), 1.0);
    }
}
