//! The float network between the importer and the quantiser: what is left of an ONNX graph once batch
//! norms are folded, activations fused and every CondConv recognised.

use std::ops::Range;

use condconv::{Padding, Shape, Window};

/// A tensor between layers; index into [`Network::values`].
pub type ValueId = usize;

/// Index into [`Network::routings`].
pub type RoutingId = usize;

/// A float network at batch 1, its layers in an order in which they can run.
#[derive(Debug, Clone)]
pub struct Network {
    /// All tensors between layers. The shapes are those of one sample, NHWC.
    pub values: Vec<Value>,
    /// The value that holds the network's input.
    pub input: ValueId,
    /// The value that holds the network's output.
    pub output: ValueId,
    /// Routing functions, each placed before the first layer that uses it.
    pub routings: Vec<Routing>,
    /// The layers.
    pub layers: Vec<Layer>,
}

/// A tensor of the network.
#[derive(Debug, Clone)]
pub struct Value {
    /// Name of the ONNX value that holds the same numbers, so that the float reference can be asked for it.
    pub onnx_name: String,
    /// Height, width, channels. A vector of k features is 1 x 1 x k.
    pub shape: Shape,
}

/// Pool, fully connected, sigmoid or softmax: the weights of the experts as a function of a tensor.
#[derive(Debug, Clone)]
pub struct Routing {
    /// From logits to weights.
    pub gate: Gate,
    /// Name of the ONNX node that yields the routing weights (the Sigmoid or Softmax).
    pub name: String,
    /// Name of the ONNX value that holds the routing weights.
    pub onnx_name: String,
    /// The tensor that is pooled.
    pub input: ValueId,
    /// One row an expert: `matrix[expert][channel]`, applied to the mean over height and width.
    pub matrix: Vec<Vec<f32>>,
    /// One logit an expert.
    pub bias: Vec<f32>,
}

/// How logits become routing weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// Each on its own.
    Sigmoid,
    /// Together they make one; a temperature is part of the matrix and bias.
    Softmax,
}

/// One layer of the network: an operator, with batch norm and activation fused into it.
#[derive(Debug, Clone)]
pub struct Layer {
    /// Name of the ONNX node that the layer was made from.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// The tensors that it reads.
    pub inputs: Vec<ValueId>,
    /// The tensor that it writes.
    pub output: ValueId,
    /// Name of the ONNX value just before the fused activation (the same as the output's where there is none).
    pub preactivation: String,
}

/// The operators.
#[derive(Debug, Clone)]
pub enum Op {
    /// Convolution; depthwise where groups = input channels = output channels.
    Conv {
        /// Kernel, stride, padding, dilation.
        window: Window,
        /// Groups.
        groups: usize,
        /// Kernels, `[output channel][kernel row][kernel column][input channel of the group]`.
        kernels: Kernels,
        /// Bounds of the fused activation.
        clamp: Clamp,
    },
    /// Fully connected on a vector: kernels `[output feature][input feature]`, input features in the order of
    /// the NHWC tensor that is flattened into the vector.
    Linear {
        /// Kernels.
        kernels: Kernels,
        /// Bounds of the fused activation.
        clamp: Clamp,
    },
    /// Mean over height and width.
    GlobalAveragePool,
    /// Mean of each window, channel by channel.
    AveragePool {
        /// Kernel, stride, padding, dilation.
        window: Window,
        /// Whether padding counts as zeros; else the mean is over the taps inside the input.
        count_padding: bool,
    },
    /// Largest of each window, channel by channel.
    MaxPool {
        /// Kernel, stride, padding, dilation.
        window: Window,
    },
    /// Sum of two tensors of the same shape.
    Add {
        /// Bounds of the fused activation.
        clamp: Clamp,
    },
    /// Product of two tensors of the same shape, or of one tensor and a vector with one number a channel.
    Mul {
        /// Bounds of the fused activation.
        clamp: Clamp,
    },
    /// Concatenation along channels, of two tensors or more.
    Concat,
    /// Zeros around a tensor.
    Pad {
        /// How many, on each side.
        padding: Padding,
    },
    /// A function of each element.
    Activation(Function),
    /// Softmax over the features of a vector.
    Softmax,
}

impl Op {
    /// The kernels, of operators that have them.
    #[must_use]
    pub fn kernels(&self) -> Option<&Kernels> {
        match self {
            Self::Conv { kernels, .. } | Self::Linear { kernels, .. } => Some(kernels),
            _ => None,
        }
    }

    /// The kernels, to be changed.
    #[must_use]
    pub fn kernels_mut(&mut self) -> Option<&mut Kernels> {
        match self {
            Self::Conv { kernels, .. } | Self::Linear { kernels, .. } => Some(kernels),
            _ => None,
        }
    }

    /// Groups of the input's channels that outputs are made of; one for operators that have none.
    #[must_use]
    pub fn groups(&self) -> usize {
        if let Self::Conv { groups, .. } = self { *groups } else { 1 }
    }

    /// Whether the result is of the input's very numbers, and so of its type, scale and zero point.
    #[must_use]
    pub fn passes_numbers_on(&self) -> bool {
        matches!(self, Self::MaxPool { .. } | Self::Pad { .. })
    }

    /// The routing that the operator uses.
    #[must_use]
    pub fn routing(&self) -> Option<RoutingId> {
        self.kernels()?.routing
    }

    /// The bounds of the fused activation, of operators that can have one.
    #[must_use]
    pub fn clamp_mut(&mut self) -> Option<&mut Clamp> {
        match self {
            Self::Conv { clamp, .. }
            | Self::Linear { clamp, .. }
            | Self::Add { clamp }
            | Self::Mul { clamp } => Some(clamp),
            _ => None,
        }
    }
}

/// Activations that are no clamp.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Function {
    /// `x` if positive, else `slope x`.
    LeakyRelu {
        /// Slope below zero.
        slope: f32,
    },
    /// `clamp(alpha x + beta, 0, 1)`.
    HardSigmoid {
        /// Slope.
        alpha: f32,
        /// Value at zero.
        beta: f32,
    },
    /// `x clamp(x / 6 + 1/2, 0, 1)`.
    HardSwish,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `x / (1 + exp(-x))`.
    Silu,
    /// Hyperbolic tangent.
    Tanh,
    /// `x` if positive, else `alpha (exp(x) - 1)`.
    Elu {
        /// The negated value far below zero.
        alpha: f32,
    },
    /// `ln(1 + exp(beta x)) / beta`, but `x` where `beta x` is above the threshold.
    Softplus {
        /// Slope of the argument.
        beta: f32,
        /// Infinity, or as PyTorch has it.
        threshold: f32,
    },
    /// `x tanh(ln(1 + exp(x)))`.
    Mish,
    /// `x / 2 (1 + erf(x / sqrt(2)))`.
    Gelu,
    /// `x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))`.
    GeluTanh,
}

impl Function {
    /// The function's value.
    #[must_use]
    pub fn apply(self, x: f64) -> f64 {
        match self {
            Self::LeakyRelu { slope } => {
                if x < 0.0 {
                    f64::from(slope) * x
                } else {
                    x
                }
            }
            Self::HardSigmoid { alpha, beta } => (f64::from(alpha) * x + f64::from(beta)).clamp(0.0, 1.0),
            Self::HardSwish => x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
            Self::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Self::Silu => x / (1.0 + (-x).exp()),
            Self::Tanh => x.tanh(),
            Self::Elu { alpha } => {
                if x < 0.0 {
                    f64::from(alpha) * x.exp_m1()
                } else {
                    x
                }
            }
            Self::Softplus { beta, threshold } => {
                let scaled = f64::from(beta) * x;
                if scaled > f64::from(threshold) { x } else { softplus(scaled) / f64::from(beta) }
            }
            Self::Mish => x * softplus(x).tanh(),
            Self::Gelu => 0.5 * x * (1.0 + libm::erf(x / std::f64::consts::SQRT_2)),
            Self::GeluTanh => {
                let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
                0.5 * x * (1.0 + inner.tanh())
            }
        }
    }

    /// Whether the function is more than a line or a clamp.
    pub(crate) fn is_curved(self) -> bool {
        match self {
            Self::LeakyRelu { slope } => slope.is_finite() && slope != 0.0 && slope != 1.0,
            Self::HardSigmoid { alpha, beta } => {
                alpha.is_finite() && alpha != 0.0 && (alpha, beta) != (1.0, 0.0)
            }
            Self::Elu { alpha } => alpha.is_finite() && alpha != 0.0,
            Self::Softplus { beta, .. } => beta.is_finite() && beta > 0.0,
            _ => true,
        }
    }

    /// The function's usual name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::LeakyRelu { .. } => "LeakyReLU",
            Self::HardSigmoid { .. } => "HardSigmoid",
            Self::HardSwish => "HardSwish",
            Self::Sigmoid => "Sigmoid",
            Self::Silu => "SiLU",
            Self::Tanh => "Tanh",
            Self::Elu { .. } => "ELU",
            Self::Softplus { .. } => "Softplus",
            Self::Mish => "Mish",
            Self::Gelu | Self::GeluTanh => "GELU",
        }
    }
}

fn softplus(x: f64) -> f64 {
    // Without overflow.
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// Bounds of a fused activation: ReLU is `0..inf`, ReLU6 `0..6`, none `-inf..inf`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clamp {
    /// Lower bound.
    pub min: f32,
    /// Upper bound.
    pub max: f32,
}

impl Clamp {
    /// No activation.
    pub const NONE: Self = Self { min: f32::NEG_INFINITY, max: f32::INFINITY };
}

/// The kernels of a layer: one expert without routing for a static layer, n experts with routing for a
/// conditional one. `W = sum_i alpha_i experts[i]`, `b = bias + sum_i alpha_i expert_biases[i]`.
#[derive(Debug, Clone)]
pub struct Kernels {
    /// Output channels.
    pub channels: usize,
    /// One kernel an expert, each `channels * K` numbers, channel by channel.
    pub experts: Vec<Vec<f32>>,
    /// The static bias, one a channel; not multiplied by any routing weight.
    pub bias: Vec<f32>,
    /// One bias an expert and channel, `[expert][channel]`; empty where there is none, and for static layers.
    pub expert_biases: Vec<Vec<f32>>,
    /// The routing; `None` for a static layer.
    pub routing: Option<RoutingId>,
}

/// The weights of one tap, as of one pixel of a flattened map, and what they belong to.
#[derive(Debug)]
pub(crate) struct Tap<'a> {
    /// The expert.
    pub(crate) expert: usize,
    /// The output channel.
    pub(crate) channel: usize,
    /// The input channels that the weights meet, one after the other.
    pub(crate) inputs: Range<usize>,
    /// The weights.
    pub(crate) weights: &'a mut [f32],
}

/// All taps of experts with `channels` outputs that read `inputs` channels in groups.
pub(crate) fn taps(
    experts: &mut [Vec<f32>],
    channels: usize,
    inputs: usize,
    groups: usize,
) -> impl Iterator<Item = Tap<'_>> {
    let (depth, outputs) = (inputs / groups, channels / groups);
    experts.iter_mut().enumerate().flat_map(move |(expert, kernels)| {
        let len = kernels.len() / channels;
        kernels.chunks_exact_mut(len).enumerate().flat_map(move |(channel, kernel)| {
            let first = channel / outputs * depth;
            let inputs = first..first + depth;
            let tap = move |weights| Tap { expert, channel, inputs: inputs.clone(), weights };
            kernel.chunks_exact_mut(depth).map(tap)
        })
    })
}

impl Kernels {
    /// Multiplies the output channels and shifts them. The shift belongs to the static bias alone, since routing weights
    /// do not sum to one.
    pub(crate) fn scale_and_shift(&mut self, scale: &[f64], shift: &[f64]) {
        for numbers in self.experts.iter_mut().chain(&mut self.expert_biases) {
            let len = numbers.len() / self.channels;
            for (numbers, scale) in numbers.chunks_exact_mut(len).zip(scale) {
                numbers.iter_mut().for_each(|number| *number = (f64::from(*number) * scale) as f32);
            }
        }
        for ((bias, scale), shift) in self.bias.iter_mut().zip(scale).zip(shift) {
            *bias = (f64::from(*bias) * scale + shift) as f32;
        }
    }

    /// The experts' biases, zeros where there were none.
    pub(crate) fn expert_biases_mut(&mut self) -> &mut Vec<Vec<f32>> {
        self.expert_biases.resize_with(self.experts.len(), || vec![0.0; self.channels]);
        &mut self.expert_biases
    }
}
