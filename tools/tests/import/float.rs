//! The imported float network, run naively in f64: what the importer says a network is, computed as it says.

use condconv::{Shape, Window};
use condconv_tools::graph::{Clamp, Gate, Kernels, Network, Op, ValueId};

/// The numbers of each value and each routing, and of each layer before its activation.
pub(crate) struct Run {
    pub(crate) values: Vec<Vec<f64>>,
    pub(crate) routings: Vec<Vec<f64>>,
    pub(crate) preactivations: Vec<Vec<f64>>,
}

/// What is done to the numbers on the way.
pub(crate) trait Rounding {
    /// A tensor, once it is computed.
    fn value(&self, id: ValueId, numbers: &mut [f64]);
    /// A kernel, once it is mixed.
    fn kernel(&self, kernel: &mut [f64], channels: usize);
}

/// Nothing.
pub(crate) struct Exact;

impl Rounding for Exact {
    fn value(&self, _: ValueId, _: &mut [f64]) {}
    fn kernel(&self, _: &mut [f64], _: usize) {}
}

/// Runs a network on an input in NHWC order.
pub(crate) fn run(network: &Network, input: &[f32], rounding: &impl Rounding) -> Run {
    let mut run = Run {
        values: vec![Vec::new(); network.values.len()],
        routings: vec![Vec::new(); network.routings.len()],
        preactivations: Vec::new(),
    };
    run.values[network.input] = input.iter().copied().map(f64::from).collect();
    rounding.value(network.input, &mut run.values[network.input]);
    for layer in &network.layers {
        let shape = network.values[layer.inputs[0]].shape;
        let inputs: Vec<Vec<f64>> = layer.inputs.iter().map(|&id| run.values[id].clone()).collect();
        for (x, &id) in inputs.iter().zip(&layer.inputs) {
            let len = network.values[id].shape.len();
            assert_eq!(x.len(), len, "layer `{}` runs before its inputs are there", layer.name);
        }
        let x = inputs[0].clone();
        let (sums, clamp) = match &layer.op {
            Op::Conv { window, groups, kernels, clamp } => {
                let (kernel, bias) = mix(network, &mut run, kernels, rounding);
                (convolve(&x, shape, window, *groups, &kernel, &bias), *clamp)
            }
            Op::Linear { kernels, clamp } => {
                let (kernel, bias) = mix(network, &mut run, kernels, rounding);
                let rows = kernel.chunks(x.len()).zip(&bias);
                (rows.map(|(row, bias)| bias + dot(row, &x)).collect(), *clamp)
            }
            Op::GlobalAveragePool => (mean(&x, shape), Clamp::NONE),
            Op::AveragePool { window, count_padding } => {
                let mean = |taps: &[f64]| {
                    let count = if *count_padding { window.taps() } else { taps.len() };
                    taps.iter().sum::<f64>() / count as f64
                };
                (pool(&x, shape, window, mean), Clamp::NONE)
            }
            Op::MaxPool { window } => {
                let largest = |taps: &[f64]| taps.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                (pool(&x, shape, window, largest), Clamp::NONE)
            }
            Op::Add { clamp } => {
                assert_eq!(inputs[0].len(), inputs[1].len());
                (inputs[0].iter().zip(&inputs[1]).map(|(a, b)| a + b).collect(), *clamp)
            }
            Op::Mul { clamp } => {
                assert!(inputs[1].len() == x.len() || inputs[1].len() == shape.channels);
                (x.iter().zip(inputs[1].iter().cycle()).map(|(a, b)| a * b).collect(), *clamp)
            }
            Op::Concat => {
                let pixel = |pixel: usize| {
                    let parts = inputs.iter().zip(&layer.inputs);
                    parts.flat_map(move |(x, &id)| {
                        let channels = network.values[id].shape.channels;
                        x[pixel * channels..][..channels].to_vec()
                    })
                };
                ((0..shape.pixels()).flat_map(pixel).collect(), Clamp::NONE)
            }
            Op::Pad { padding } => {
                let one = Window::new([1, 1]).padding(*padding);
                (pool(&x, shape, &one, |taps| taps.first().copied().unwrap_or(0.0)), Clamp::NONE)
            }
            Op::Activation(function) => (x.iter().map(|&x| function.apply(x)).collect(), Clamp::NONE),
            Op::Softmax => (softmax(&x), Clamp::NONE),
        };
        assert_eq!(sums.len(), network.values[layer.output].shape.len(), "output of `{}`", layer.name);
        run.values[layer.output] = sums.iter().map(|y| y.clamp(clamp.min.into(), clamp.max.into())).collect();
        rounding.value(layer.output, &mut run.values[layer.output]);
        run.preactivations.push(sums);
    }
    run
}

fn mix(
    network: &Network,
    run: &mut Run,
    kernels: &Kernels,
    rounding: &impl Rounding,
) -> (Vec<f64>, Vec<f64>) {
    let weights = kernels.routing.map_or_else(
        || vec![1.0],
        |id| {
            if run.routings[id].is_empty() {
                let routing = &network.routings[id];
                let pooled = mean(&run.values[routing.input], network.values[routing.input].shape);
                let logits = routing.matrix.iter().zip(&routing.bias);
                let logits = logits.map(|(row, bias)| {
                    f64::from(*bias) + row.iter().zip(&pooled).map(|(w, x)| f64::from(*w) * x).sum::<f64>()
                });
                run.routings[id] = match routing.gate {
                    Gate::Sigmoid => logits.map(|logit| 1.0 / (1.0 + (-logit).exp())).collect(),
                    Gate::Softmax => softmax(&logits.collect::<Vec<_>>()),
                };
            }
            run.routings[id].clone()
        },
    );
    assert_eq!(weights.len(), kernels.experts.len());
    let mut kernel = vec![0.0; kernels.experts[0].len()];
    let mut bias: Vec<f64> = kernels.bias.iter().copied().map(f64::from).collect();
    assert_eq!(bias.len(), kernels.channels);
    for (expert, weight) in kernels.experts.iter().zip(&weights) {
        kernel.iter_mut().zip(expert).for_each(|(sum, w)| *sum += weight * f64::from(*w));
    }
    for (expert, weight) in kernels.expert_biases.iter().zip(&weights) {
        bias.iter_mut().zip(expert).for_each(|(sum, b)| *sum += weight * f64::from(*b));
    }
    rounding.kernel(&mut kernel, kernels.channels);
    (kernel, bias)
}

fn convolve(
    x: &[f64],
    shape: Shape,
    window: &Window,
    groups: usize,
    kernel: &[f64],
    bias: &[f64],
) -> Vec<f64> {
    let output = window.output(shape, bias.len()).expect("the importer has checked the window");
    let (inputs, outputs) = (shape.channels / groups, bias.len() / groups);
    let length = window.taps() * inputs;
    let mut y = Vec::new();
    for (row, column) in (0..output.height).flat_map(|row| (0..output.width).map(move |column| (row, column)))
    {
        for channel in 0..output.channels {
            let mut sum = bias[channel];
            for tap in 0..window.taps() {
                let (tap_row, tap_column) = (tap / window.kernel[1], tap % window.kernel[1]);
                let from_row =
                    (row * window.stride[0] + tap_row * window.dilation[0]).checked_sub(window.padding.top);
                let from_column = (column * window.stride[1] + tap_column * window.dilation[1])
                    .checked_sub(window.padding.left);
                let (Some(from_row), Some(from_column)) = (from_row, from_column) else { continue };
                if from_row < shape.height && from_column < shape.width {
                    let pixel =
                        (from_row * shape.width + from_column) * shape.channels + channel / outputs * inputs;
                    sum += dot(&kernel[channel * length + tap * inputs..][..inputs], &x[pixel..][..inputs]);
                }
            }
            y.push(sum);
        }
    }
    y
}

/// Applies a function to the taps of each window that lie on the map, channel by channel.
fn pool(x: &[f64], shape: Shape, window: &Window, of: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let output = window.output(shape, shape.channels).expect("the importer has checked the window");
    let position = |axis: usize, step: usize, tap: usize, padding: usize, size: usize| {
        let at = step * window.stride[axis] + tap * window.dilation[axis];
        at.checked_sub(padding).filter(|&at| at < size)
    };
    let mut y = Vec::new();
    for (row, column) in (0..output.height).flat_map(|row| (0..output.width).map(move |column| (row, column)))
    {
        for channel in 0..shape.channels {
            let taps: Vec<f64> = (0..window.taps())
                .filter_map(|tap| {
                    let (down, right) = (tap / window.kernel[1], tap % window.kernel[1]);
                    let row = position(0, row, down, window.padding.top, shape.height)?;
                    let column = position(1, column, right, window.padding.left, shape.width)?;
                    Some(x[(row * shape.width + column) * shape.channels + channel])
                })
                .collect();
            y.push(of(&taps));
        }
    }
    y
}

fn softmax(x: &[f64]) -> Vec<f64> {
    let sum: f64 = x.iter().map(|x| x.exp()).sum();
    x.iter().map(|x| x.exp() / sum).collect()
}

fn mean(x: &[f64], shape: Shape) -> Vec<f64> {
    let channel = |c: usize| x.iter().skip(c).step_by(shape.channels).sum::<f64>() / shape.pixels() as f64;
    (0..shape.channels).map(channel).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
