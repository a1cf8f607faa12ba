//! The float network between the importer and the quantiser: what is left of an ONNX graph once batch
//! norms are folded, activations fused and every CondConv recognised.

use condconv::{Shape, Window};

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

/// Pool, fully connected, sigmoid: the weights of the experts as a function of a tensor.
#[derive(Debug, Clone)]
pub struct Routing {
    /// Name of the ONNX node that yields the routing weights (the Sigmoid).
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

/// One layer of the network: an operator, with batch norm and activation fused into it.
#[derive(Debug, Clone)]
pub struct Layer {
    /// Name of the ONNX node that the layer was made from.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// The tensor that it reads.
    pub input: ValueId,
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
