//! One float layer, quantised by the converter, run by the library, and compared with the float reference.
//!
//! Three numbers are compared for each element of the layer's output, all in steps of that output:
//!
//! * the float layer on the very integers that the quantised layer reads, as far as the output can hold it;
//! * the quantised layer, routing included;
//! * an oracle that knows the input: it routes and mixes in float, then quantises the mixed kernel to int8, one
//!   scale a channel, for this one input. That is what a static int8 layer can do at best.
#![allow(dead_code, reason = "each test file uses a part")]

use condconv::{Shape, Window};
use condconv_tools::graph::{Clamp, Gate, Kernels, Layer, Network, Op, Routing, Value};
use condconv_tools::quantize::{Calibration, Int16, Preactivation, QuantizeError, Range, quantize};
use condconv_tools::run::{Data, Runner};

use crate::reference;

/// What a convolution or fully connected layer is made of.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    /// The layer's input; a vector for a fully connected layer.
    pub(crate) input: Shape,
    /// Window and groups of a convolution; `None` for a fully connected layer.
    pub(crate) convolution: Option<(Window, usize)>,
    pub(crate) clamp: Clamp,
    pub(crate) experts: Vec<Vec<f32>>,
    pub(crate) bias: Vec<f32>,
    pub(crate) expert_biases: Vec<Vec<f32>>,
    /// Matrix (one row an expert) and bias; `None` for a static layer.
    pub(crate) routing: Option<(Vec<Vec<f32>>, Vec<f32>)>,
}

/// Where in a network the layer lies, which decides the types of its input and output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// After the network's input and before a global average pool: int8 to int8.
    Inside,
    /// After a global average pool of an input of that many pixels, and last: int16 to int16.
    Last { pixels: usize },
}

/// A network around one layer.
#[derive(Debug)]
pub(crate) struct FloatLayer {
    network: Network,
    /// Which of the network's two layers is the one in question.
    index: usize,
}

/// What a layer computes for one input.
#[derive(Debug)]
struct Run {
    preactivation: Vec<f64>,
    output: Vec<f64>,
}

impl FloatLayer {
    pub(crate) fn new(parts: Parts, place: Place) -> Self {
        let channels = parts.bias.len();
        let routing_input = usize::from(place != Place::Inside);
        let routings = parts.routing.map(|(matrix, bias)| Routing {
            gate: Gate::Sigmoid,
            name: "routing".into(),
            onnx_name: "routing".into(),
            input: routing_input,
            matrix,
            bias,
        });
        let kernels = Kernels {
            channels,
            experts: parts.experts,
            bias: parts.bias,
            expert_biases: parts.expert_biases,
            routing: routings.as_ref().map(|_| 0),
        };
        let clamp = parts.clamp;
        let (op, output) = match parts.convolution {
            Some((window, groups)) => {
                let output = window.output(parts.input, channels).expect("a valid window");
                (Op::Conv { window, groups, kernels, clamp }, output)
            }
            None => (Op::Linear { kernels, clamp }, Shape::vector(channels)),
        };
        let (shapes, ops, index) = match place {
            Place::Inside => ([parts.input, output, Shape::vector(channels)], [op, Op::GlobalAveragePool], 0),
            Place::Last { pixels } => {
                let map = Shape::new(1, pixels, parts.input.channels);
                ([map, parts.input, output], [Op::GlobalAveragePool, op], 1)
            }
        };
        let name = |id: usize| ["input", "inner", "output"][id].to_string();
        let network = Network {
            values: (0..3).map(|id| Value { onnx_name: name(id), shape: shapes[id] }).collect(),
            input: 0,
            output: 2,
            routings: routings.into_iter().collect(),
            layers: ops
                .into_iter()
                .enumerate()
                .map(|(id, op)| Layer {
                    name: format!("layer {id}"),
                    op,
                    inputs: vec![id],
                    output: id + 1,
                    preactivation: name(id + 1),
                })
                .collect(),
        };
        Self { network, index }
    }

    /// The shape of the network's input.
    pub(crate) fn input(&self) -> Shape {
        self.network.values[0].shape
    }

    /// Whether the activation passes on a good part of what it is given. Where it does not, a step of the output is
    /// finer than anything else in the layer, and errors in such steps say nothing.
    pub(crate) fn fires(&self, calibration: &Calibration) -> bool {
        let width = |range: Range| range.max - range.min;
        let passed = width(calibration.ranges[self.index + 1]);
        passed > 0.4 * width(calibration.preactivations[self.index].range)
    }

    /// Quantises, runs the inputs, and gathers the errors.
    pub(crate) fn compare(
        &self,
        calibration: &Calibration,
        inputs: &[Vec<f32>],
    ) -> Result<Errors, QuantizeError> {
        let network = quantize(&self.network, calibration, &Int16::None)?.network;
        let runner = Runner::new(&network);
        let [read, written] = [self.index, self.index + 1].map(|id| &network.tensors[id]);
        let bounds = network.layers[self.index].op.requantize().expect("the layer has kernels");
        let (low, high) = written.element.range();
        let mut errors = Errors::default();
        for input in inputs {
            let trace = runner.run(Data::input(&network.tensors[0], input));
            let values = |id: usize| trace.values[id].as_ref().expect("every value is written").iter();
            let x: Vec<f64> = values(self.index).map(|q| read.dequantize(q)).collect();
            let alpha = self.alpha(&x);
            let (kernel, bias) = self.mixed(&alpha);
            let float = self.apply(&x, &kernel, &bias).output;
            errors.kernel_len = kernel.len() / bias.len();
            let rounded = quantized_per_channel(&kernel, bias.len());
            let oracle = self.apply(&x, &rounded, &bias).preactivation;
            for ((q, float), oracle) in values(self.index + 1).zip(float).zip(oracle) {
                let steps = |real: f64| real / written.scale + f64::from(written.zero_point);
                let float = steps(float).clamp(f64::from(low), f64::from(high));
                let oracle = steps(oracle).round().clamp(f64::from(bounds.min), f64::from(bounds.max));
                errors.integer.push(f64::from(q) - float);
                errors.oracle.push(oracle - float);
            }
            let routed = trace.routings.iter().flatten().map(|weight| weight.to_num::<f64>());
            errors.alpha.extend(routed.zip(&alpha).map(|(routed, alpha)| routed - alpha));
        }
        errors.steps_of_int8 = f64::from(high - low) / 255.0;
        Ok(errors)
    }

    /// Quantises and runs one input: the layer's output in real numbers, and its step.
    pub(crate) fn infer(
        &self,
        calibration: &Calibration,
        input: &[f32],
    ) -> Result<(Vec<f64>, f64), QuantizeError> {
        let network = quantize(&self.network, calibration, &Int16::None)?.network;
        let runner = Runner::new(&network);
        let written = &network.tensors[self.index + 1];
        let trace = runner.run(Data::input(&network.tensors[0], input));
        let output = trace.values[self.index + 1].as_ref().expect("every value is written");
        Ok((output.iter().map(|q| written.dequantize(q)).collect(), written.scale))
    }

    /// What the float network does on the inputs.
    pub(crate) fn calibrate(&self, inputs: &[Vec<f32>]) -> Calibration {
        let layers = &self.network.layers;
        let mut ranges = vec![Range { min: 0.0, max: 0.0 }; self.network.values.len()];
        let mut preactivations: Vec<Preactivation> = layers
            .iter()
            .map(|_| Preactivation { range: Range { min: 0.0, max: 0.0 }, means: Vec::new() })
            .collect();
        let mut outputs = Vec::new();
        for input in inputs {
            let mut value: Vec<f64> = input.iter().map(|&x| f64::from(x)).collect();
            widen(&mut ranges[0], &value);
            for (id, (layer, preactivation)) in layers.iter().zip(&mut preactivations).enumerate() {
                let run = self.run(id, &value);
                let shape = self.network.values[layer.output].shape;
                widen(&mut preactivation.range, &run.preactivation);
                preactivation.means.push(reference::pool(&run.preactivation, shape));
                widen(&mut ranges[layer.output], &run.output);
                value = run.output;
            }
            outputs.push(value.into_iter().map(|y| y as f32).collect());
        }
        let ones = |value: &Value| vec![1.0; value.shape.channels];
        Calibration {
            gains: self.network.values.iter().map(ones).collect(),
            extents: ranges.clone(),
            ranges,
            preactivations,
            inputs: inputs.to_vec(),
            outputs,
        }
    }

    /// What one of the network's layers yields.
    fn run(&self, id: usize, x: &[f64]) -> Run {
        if id == self.index {
            let (kernel, bias) = self.mixed(&self.alpha(x));
            self.apply(x, &kernel, &bias)
        } else {
            let means = reference::pool(x, self.network.values[id].shape);
            Run { preactivation: means.clone(), output: means }
        }
    }

    /// The routing weights of an input of the layer; none for a static one.
    fn alpha(&self, x: &[f64]) -> Vec<f64> {
        let route = |routing: &Routing| {
            let shape = self.network.values[routing.input].shape;
            reference::route(x, shape, &widened(&routing.matrix), &real(&routing.bias))
        };
        self.network.routings.first().map_or_else(Vec::new, route)
    }

    /// Kernel and bias for given routing weights.
    fn mixed(&self, alpha: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let (Op::Conv { kernels, .. } | Op::Linear { kernels, .. }) = &self.network.layers[self.index].op
        else {
            unreachable!("the layer in question has kernels");
        };
        if alpha.is_empty() {
            return (real(&kernels.experts[0]), real(&kernels.bias));
        }
        let mut bias = real(&kernels.bias);
        if !kernels.expert_biases.is_empty() {
            let mixed = reference::mix(alpha, &widened(&kernels.expert_biases));
            bias.iter_mut().zip(mixed).for_each(|(bias, mixed)| *bias += mixed);
        }
        (reference::mix(alpha, &widened(&kernels.experts)), bias)
    }

    /// The layer in question with a given kernel and bias.
    fn apply(&self, x: &[f64], kernel: &[f64], bias: &[f64]) -> Run {
        let shape = self.network.values[self.index].shape;
        let (preactivation, clamp) = match &self.network.layers[self.index].op {
            Op::Conv { window, groups, clamp, .. } => {
                (reference::convolve(x, shape, *window, *groups, kernel, bias), clamp)
            }
            Op::Linear { clamp, .. } => (reference::linear(x, kernel, bias), clamp),
            _ => unreachable!("the layer in question has kernels"),
        };
        let bounded = |v: &f64| v.clamp(f64::from(clamp.min), f64::from(clamp.max));
        Run { output: preactivation.iter().map(bounded).collect(), preactivation }
    }
}

/// Errors of many elements, in steps of the output.
#[derive(Debug, Default)]
pub(crate) struct Errors {
    pub(crate) integer: Vec<f64>,
    pub(crate) oracle: Vec<f64>,
    /// Errors of the routing weights.
    pub(crate) alpha: Vec<f64>,
    /// Steps of the output that are as wide as one of int8 would be: 1, or 257 for int16.
    pub(crate) steps_of_int8: f64,
    /// Weights of a channel's kernel.
    pub(crate) kernel_len: usize,
}

impl Errors {
    /// Largest error, in int8 steps.
    pub(crate) fn largest(&self) -> f64 {
        largest(&self.integer) / self.steps_of_int8
    }

    pub(crate) fn largest_alpha(&self) -> f64 {
        largest(&self.alpha)
    }

    /// Signal-to-noise ratio relative to the oracle's, in dB; equal where neither errs.
    pub(crate) fn relative_db(&self) -> f64 {
        let [oracle, integer] =
            [&self.oracle, &self.integer].map(|errors| energy(errors).max(f64::MIN_POSITIVE));
        10.0 * (oracle / integer).log10()
    }
}

/// The error that a fraction of all errors does not exceed.
pub(crate) fn percentile(errors: &[f64], fraction: f64) -> f64 {
    let mut sorted: Vec<f64> = errors.iter().map(|e| e.abs()).collect();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * fraction) as usize]
}

fn largest(errors: &[f64]) -> f64 {
    errors.iter().fold(0.0, |largest, e| largest.max(e.abs()))
}

fn energy(errors: &[f64]) -> f64 {
    errors.iter().map(|e| e * e).sum()
}

fn widen(range: &mut Range, values: &[f64]) {
    for &v in values {
        range.min = range.min.min(v);
        range.max = range.max.max(v);
    }
}

/// Each channel's kernel rounded to 127 steps of its own scale.
fn quantized_per_channel(kernel: &[f64], channels: usize) -> Vec<f64> {
    let quantize = |row: &[f64]| -> Vec<f64> {
        let scale = (largest(row) / 127.0).max(f64::MIN_POSITIVE);
        row.iter().map(|w| (w / scale).round() * scale).collect()
    };
    kernel.chunks_exact(kernel.len() / channels).flat_map(quantize).collect()
}

pub(crate) fn real(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

pub(crate) fn widened(rows: &[Vec<f32>]) -> Vec<Vec<f64>> {
    rows.iter().map(|row| real(row)).collect()
}
