//! From floats to integers: layer after layer, each on what the integer layers before it really yield, so that
//! the mean error that a layer has made by then is taken out of its bias.

mod calibrate;
mod kernels;
mod operators;
mod routing;

use std::collections::BTreeMap;

use condconv::{LayerError, RoutingWeight};
use thiserror::Error;

pub use calibrate::{Calibration, Preactivation, Range};
pub use kernels::interleave;

use crate::graph::{self, Clamp, Network, ValueId};
use crate::parallel;
use crate::quantized::{
    ElementType, ExpertKernels, Kernels, Layer, Op, QuantizedNetwork, Requantize, Routing, Tensor,
};
use crate::run::{Data, RunnableLayer, route};
use kernels::{Quantized, Scales, experts, fixed, leaves_room_for_int16, multiplier, smallest_output_scale};

/// int16 tensors reach this many times as far as calibration saw, so that no logit is clipped.
const INT16_HEADROOM: f64 = 4.0;

/// A layer that cannot be put into integers.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{layer}{reason}; split the layer into smaller ones, or check its weights and its input's range")]
pub struct QuantizeError {
    layer: String,
    reason: LayerError,
}

impl From<LayerError> for QuantizeError {
    fn from(reason: LayerError) -> Self {
        Self { layer: String::new(), reason }
    }
}

impl QuantizeError {
    /// Names the node, unless a routing function was named already.
    fn at(self, layer: &str) -> Self {
        if self.layer.is_empty() { Self { layer: format!("node '{layer}': "), ..self } } else { self }
    }
}

/// Quantises a network on calibration inputs.
///
/// # Errors
///
/// If a layer's accumulator cannot be kept within 32 bits.
pub fn quantize(network: &Network, calibration: &Calibration) -> Result<QuantizedNetwork, QuantizeError> {
    Quantizer::new(network, calibration).run()
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
    fn new(float: &'a Network, calibration: &'a Calibration) -> Self {
        let tensors: Vec<Tensor> = (0..float.values.len())
            .map(|id| tensor(&float.values[id], element_type(float, id), calibration.ranges[id]))
            .collect();
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

    fn run(mut self) -> Result<QuantizedNetwork, QuantizeError> {
        for index in 0..self.float.layers.len() {
            let layer = &self.float.layers[index];
            self.layer(index).map_err(|error| error.at(&layer.name))?;
            self.drop_values_without_reader_after(index);
        }
        // Every routing function is used by some layer; the map has them in the order of their ids.
        self.result.routings = self.routings.into_values().map(|(routing, _)| routing).collect();
        Ok(self.result)
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
        let scales = Scales { input: input.scale, output: output.scale };
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
                let Quantized { kernels, units } = fixed(&float_kernels, scales);
                Quantized { kernels: Kernels::Static(kernels), units }
            }
            Some(routing) => {
                let check = |kernels: &ExpertKernels| {
                    let op = op_with(Kernels::Experts(kernels.clone()), unscaled.clone())?;
                    RunnableLayer::new(&op, &[&input], &output).map(|_| ())
                };
                let Quantized { kernels, units } = experts(&float_kernels, routing, scales, check)?;
                Quantized { kernels: Kernels::Experts(kernels), units }
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
        let channels = seen.means.len();
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
        let mut sums = vec![0i64; channels];
        for output in &outputs {
            for (i, value) in output.iter().enumerate() {
                sums[i % channels] += i64::from(value);
            }
        }
        let count = (outputs.len() * wide.shape.pixels()) as f64;
        Ok(seen.means.iter().zip(&sums).map(|(mean, &sum)| mean - sum as f64 / count * scale).collect())
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
            later.iter().any(|layer| {
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

fn tensor(value: &graph::Value, element: ElementType, range: Range) -> Tensor {
    let (scale, zero_point) = match element {
        ElementType::I8 => {
            let scale = scale_or_one((range.max - range.min) / 255.0);
            (scale, zero_point(range, scale))
        }
        ElementType::I16 => (scale_or_one(INT16_HEADROOM * range.magnitude() / 32767.0), 0),
    };
    Tensor { onnx_name: value.onnx_name.clone(), shape: value.shape, element, scale, zero_point }
}

/// The scale as the `f32` that the device knows; one for tensors that are always zero.
fn scale_or_one(scale: f64) -> f64 {
    let scale = scale as f32;
    if scale.is_normal() { f64::from(scale) } else { 1.0 }
}

fn smallest_f32_not_below(scale: f64) -> f64 {
    let nearest = scale as f32;
    f64::from(if f64::from(nearest) < scale { nearest.next_up() } else { nearest })
}

fn zero_point(range: Range, scale: f64) -> i32 {
    (-128.0 - range.min / scale).round().clamp(-128.0, 127.0) as i32
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
