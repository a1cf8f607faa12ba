//! The quantised network: what the device gets, before it is laid out in memory. Everything that runs or is
//! written into a module is made from it.

use condconv::{
    Element, Experts, Gate, Geometry, LayerError, Operand, Padding, Requantize as RequantizeRef,
    Routing as RoutingRef, Shape, StaticKernels, WeightSums, Window,
};
use serde::Serialize;

use crate::graph::{self, RoutingId, ValueId};

/// A network in integers. Indices are those of the float network that it was made from.
#[derive(Debug, Clone)]
pub struct QuantizedNetwork {
    /// The tensors between layers.
    pub tensors: Vec<Tensor>,
    /// The network's input, int8.
    pub input: ValueId,
    /// The network's output, int16.
    pub output: ValueId,
    /// Routing functions.
    pub routings: Vec<Routing>,
    /// Layers in the order in which they run.
    pub layers: Vec<Layer>,
}

/// A step of an inference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A routing function, by its index.
    Routing(RoutingId),
    /// A layer, by its index.
    Layer(usize),
}

impl QuantizedNetwork {
    /// The steps in their order: each routing function before the first layer that uses it.
    #[must_use]
    pub fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (index, layer) in self.layers.iter().enumerate() {
            if let Some(experts) = layer.op.experts()
                && !steps.contains(&Step::Routing(experts.routing))
            {
                steps.push(Step::Routing(experts.routing));
            }
            steps.push(Step::Layer(index));
        }
        steps
    }
}

/// The type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ElementType {
    /// `i8`.
    I8,
    /// `i16`.
    I16,
}

impl ElementType {
    /// Bytes of an element.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::I8 => 1,
            Self::I16 => 2,
        }
    }

    /// Smallest and largest value.
    #[must_use]
    pub fn range(self) -> (i32, i32) {
        match self {
            Self::I8 => (<i8 as Element>::MIN, <i8 as Element>::MAX),
            Self::I16 => (<i16 as Element>::MIN, <i16 as Element>::MAX),
        }
    }

    /// The Rust name of the type.
    #[must_use]
    pub fn rust_name(self) -> &'static str {
        match self {
            Self::I8 => "i8",
            Self::I16 => "i16",
        }
    }
}

/// A tensor between layers: `gain * real = scale * (q - zero_point)`.
#[derive(Debug, Clone)]
pub struct Tensor {
    /// Name of the ONNX value that holds the float numbers.
    pub onnx_name: String,
    /// One sample, NHWC.
    pub shape: Shape,
    /// Type of the elements.
    pub element: ElementType,
    /// Real units of one step. An `f32` value: the module hands it on as such.
    pub scale: f64,
    /// The value that stands for zero.
    pub zero_point: i32,
    /// What each channel is multiplied by, compared with the float numbers.
    pub gains: Vec<f64>,
}

impl Tensor {
    /// Bytes that the tensor needs.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.shape.len() * self.element.bytes()
    }

    /// The integer nearest to a real number, halves up, not saturated to the element type.
    #[must_use]
    pub fn quantize(&self, real: f64) -> i32 {
        let steps = (real / self.scale + 0.5).floor() + f64::from(self.zero_point);
        steps.clamp(-1e9, 1e9) as i32
    }

    /// The real number of an integer.
    #[must_use]
    pub fn dequantize(&self, value: i32) -> f64 {
        self.scale * f64::from(value - self.zero_point)
    }
}

/// A layer, the tensors that it reads and the one that it writes.
#[derive(Debug, Clone)]
pub struct Layer {
    /// Name of the ONNX node.
    pub name: String,
    /// The operator.
    pub op: Op,
    /// The tensors that it reads.
    pub inputs: Vec<ValueId>,
    /// The tensor that it writes.
    pub output: ValueId,
}

/// The operators.
#[derive(Debug, Clone)]
pub enum Op {
    /// Convolution, depthwise convolution included.
    Conv {
        /// Shapes.
        geometry: Geometry,
        /// Kernels.
        kernels: Kernels,
        /// From accumulator to output.
        requantize: Requantize,
    },
    /// Fully connected.
    Linear {
        /// Input features.
        features: usize,
        /// Kernels.
        kernels: Kernels,
        /// From accumulator to output.
        requantize: Requantize,
    },
    /// Mean over height and width.
    GlobalAveragePool {
        /// The input.
        shape: Shape,
        /// Left shift of the accumulator.
        shift: u32,
        /// From accumulator to output.
        requantize: Requantize,
    },
    /// Mean of each window.
    AveragePool {
        /// The input.
        shape: Shape,
        /// The windows.
        window: Window,
        /// Left shift of the accumulator.
        shift: u32,
        /// From accumulator to output, a multiplier for each number of taps.
        requantize: Requantize,
    },
    /// Largest of each window.
    MaxPool {
        /// The input.
        shape: Shape,
        /// The windows.
        window: Window,
    },
    /// Sum of two tensors.
    Add {
        /// All three tensors.
        shape: Shape,
        /// What each is worth.
        operands: [Operand; 2],
        /// Right shift of the sum.
        shift: u32,
        /// The output's zero point and bounds; without multipliers.
        bounds: Requantize,
    },
    /// Product of two tensors, or of a tensor and a number a channel.
    Mul {
        /// The output, and the first input.
        shape: Shape,
        /// Whether the second input has one number a channel.
        per_channel: bool,
        /// From product to output.
        requantize: Requantize,
    },
    /// Concatenation along channels.
    Concat {
        /// The inputs.
        parts: Vec<ConcatPart>,
        /// The output.
        shape: Shape,
    },
    /// Zeros around a tensor.
    Pad {
        /// The input.
        shape: Shape,
        /// How many.
        padding: Padding,
    },
    /// A function of each element.
    Lookup {
        /// Its usual name.
        function: &'static str,
        /// Result for each of -128..=127.
        table: Vec<i32>,
    },
    /// Softmax of a vector.
    Softmax {
        /// Elements.
        classes: usize,
        /// With the shift: `2^12 log2(e)` times the input's scale.
        multiplier: i32,
        /// Right shift.
        shift: u32,
    },
}

/// One input of a concatenation.
#[derive(Debug, Clone, Copy)]
pub struct ConcatPart {
    /// The input.
    pub shape: Shape,
    /// The output's channel that its first becomes.
    pub first_channel: usize,
    /// What it is worth in the output.
    pub operand: Operand,
    /// Right shift.
    pub shift: u32,
}

impl Op {
    /// The library's name of the operator.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Conv { geometry, kernels, .. } => match (geometry.is_depthwise(), kernels) {
                (false, Kernels::Static(_)) => "Conv2d",
                (true, Kernels::Static(_)) => "DepthwiseConv2d",
                (false, Kernels::Experts(_)) => "CondConv2d",
                (true, Kernels::Experts(_)) => "CondDepthwiseConv2d",
            },
            Self::Linear { kernels: Kernels::Static(_), .. } => "Linear",
            Self::Linear { kernels: Kernels::Experts(_), .. } => "CondLinear",
            Self::GlobalAveragePool { .. } => "GlobalAveragePool",
            Self::AveragePool { .. } => "AveragePool2d",
            Self::MaxPool { .. } => "MaxPool2d",
            Self::Add { .. } => "Add",
            Self::Mul { .. } => "Mul",
            Self::Concat { .. } => "ConcatPart",
            Self::Pad { .. } => "Pad",
            Self::Lookup { .. } => "Lookup",
            Self::Softmax { .. } => "Softmax",
        }
    }

    /// The kernels, of operators that have them.
    #[must_use]
    pub fn kernels(&self) -> Option<&Kernels> {
        match self {
            Self::Conv { kernels, .. } | Self::Linear { kernels, .. } => Some(kernels),
            _ => None,
        }
    }

    /// The experts, of conditional operators.
    #[must_use]
    pub fn experts(&self) -> Option<&ExpertKernels> {
        match self.kernels() {
            Some(Kernels::Experts(experts)) => Some(experts),
            _ => None,
        }
    }

    /// The step from accumulator to output, of operators that have one with multipliers.
    #[must_use]
    pub fn requantize(&self) -> Option<&Requantize> {
        match self {
            Self::Conv { requantize, .. }
            | Self::Linear { requantize, .. }
            | Self::GlobalAveragePool { requantize, .. }
            | Self::AveragePool { requantize, .. }
            | Self::Mul { requantize, .. } => Some(requantize),
            _ => None,
        }
    }

    /// That step, to be changed.
    #[must_use]
    pub fn requantize_mut(&mut self) -> Option<&mut Requantize> {
        match self {
            Self::Conv { requantize, .. }
            | Self::Linear { requantize, .. }
            | Self::GlobalAveragePool { requantize, .. }
            | Self::AveragePool { requantize, .. }
            | Self::Mul { requantize, .. } => Some(requantize),
            _ => None,
        }
    }

    /// Multiply-accumulates, without routing and mixing.
    #[must_use]
    pub fn macs(&self) -> usize {
        match self {
            Self::Conv { geometry, .. } => geometry.macs(),
            Self::Linear { features, requantize, .. } => features * requantize.multipliers.len(),
            _ => 0,
        }
    }

    /// Multiply-accumulates of routing weights with experts: of mixing, or of the further products of a
    /// conditional fully connected layer and their combination.
    #[must_use]
    pub fn mixing_macs(&self) -> usize {
        match (self, self.experts()) {
            (Self::Conv { .. }, Some(experts)) => experts.weights.len(),
            (Self::Linear { .. }, Some(experts)) => {
                experts.weights.len() - self.macs() + experts.ratios.len()
            }
            _ => 0,
        }
    }
}

/// Kernels of a layer.
#[derive(Debug, Clone)]
pub enum Kernels {
    /// The same for every input.
    Static(FixedKernels),
    /// Experts and the routing that weighs them.
    Experts(ExpertKernels),
}

/// Arguments of [`StaticKernels`].
#[derive(Debug, Clone)]
pub struct FixedKernels {
    /// Channel by channel.
    pub weights: Vec<i8>,
    /// One a channel.
    pub bias: Vec<i32>,
    /// One a channel.
    pub sums: Vec<WeightSums>,
}

impl FixedKernels {
    /// The library's view.
    ///
    /// # Errors
    ///
    /// As [`StaticKernels::new`].
    pub fn view(&self) -> Result<StaticKernels<'_>, LayerError> {
        StaticKernels::new(&self.weights, &self.bias, &self.sums)
    }
}

/// Arguments of [`Experts`].
#[derive(Debug, Clone)]
pub struct ExpertKernels {
    /// The routing that weighs them.
    pub routing: RoutingId,
    /// Number of experts.
    pub count: usize,
    /// In the library's interleaved layout.
    pub weights: Vec<i8>,
    /// `[channel][expert]`.
    pub ratios: Vec<i16>,
    /// Mixing shift.
    pub shift: u32,
    /// One a channel.
    pub bias: Vec<i32>,
    /// `[channel][expert]`, or empty.
    pub expert_bias: Vec<i32>,
    /// `[channel][expert]`.
    pub sums: Vec<WeightSums>,
}

impl ExpertKernels {
    /// The library's view.
    ///
    /// # Errors
    ///
    /// As [`Experts::new`].
    pub fn view(&self) -> Result<Experts<'_>, LayerError> {
        Experts::new(
            self.count,
            &self.weights,
            &self.ratios,
            self.shift,
            &self.bias,
            &self.expert_bias,
            &self.sums,
        )
    }

    /// Weights of one channel's kernel.
    #[must_use]
    pub fn kernel_len(&self) -> usize {
        self.weights.len() / self.ratios.len()
    }
}

/// Arguments of [`condconv::Requantize`].
#[derive(Debug, Clone)]
pub struct Requantize {
    /// One a channel.
    pub multipliers: Vec<i32>,
    /// The output's.
    pub zero_point: i32,
    /// Lower bound.
    pub min: i32,
    /// Upper bound.
    pub max: i32,
}

impl Requantize {
    /// The library's view.
    ///
    /// # Errors
    ///
    /// As [`condconv::Requantize::new`].
    pub fn view(&self) -> Result<RequantizeRef<'_>, LayerError> {
        RequantizeRef::new(&self.multipliers, self.zero_point, self.min, self.max)
    }
}

/// Arguments of [`condconv::Routing`].
#[derive(Debug, Clone)]
pub struct Routing {
    /// From logits to weights.
    pub gate: graph::Gate,
    /// Name of the ONNX node that yields the routing weights.
    pub name: String,
    /// Name of the ONNX value that holds them.
    pub onnx_name: String,
    /// The tensor that is pooled.
    pub input: ValueId,
    /// `[channel][expert]`.
    pub matrix: Vec<i16>,
    /// One an expert.
    pub bias: Vec<i64>,
    /// One an expert.
    pub multipliers: Vec<i16>,
    /// One an expert.
    pub shifts: Vec<u8>,
}

impl Routing {
    /// The library's view, for an input tensor.
    ///
    /// # Errors
    ///
    /// As [`condconv::Routing::new`].
    pub fn view<X: Element, G: Gate>(&self, input: &Tensor) -> Result<RoutingRef<'_, X, G>, LayerError> {
        RoutingRef::new(
            input.shape,
            input.zero_point,
            &self.matrix,
            &self.bias,
            &self.multipliers,
            &self.shifts,
        )
    }
}
