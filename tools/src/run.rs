//! Runs a quantised network on the host, by the layers of the library.

use condconv::{
    Add, AveragePool2d, ConcatPart, CondConv2d, CondDepthwiseConv2d, CondLinear, Conv2d, DepthwiseConv2d,
    Element, Geometry, GlobalAveragePool, LayerError, Linear, Lookup, MaxPool2d, Mul, Pad, Quantization,
    RoutingWeight, Shape, SigmoidGate, Softmax, SoftmaxGate,
};

use crate::graph::Gate;
use crate::quantized::{
    self, ElementType, Kernels, Layer, Op, QuantizedNetwork, Requantize, Routing, Tensor,
};

/// The elements of a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// int8.
    I8(Vec<i8>),
    /// int16.
    I16(Vec<i16>),
}

impl Data {
    /// The elements, widened.
    pub fn iter(&self) -> Box<dyn Iterator<Item = i32> + '_> {
        match self {
            Self::I8(data) => Box::new(data.iter().map(|&x| i32::from(x))),
            Self::I16(data) => Box::new(data.iter().map(|&x| i32::from(x))),
        }
    }

    /// A network's input for a sample (NHWC), quantised as on the device.
    #[must_use]
    pub fn input(tensor: &Tensor, sample: &[f32]) -> Self {
        let quantization = Quantization::new(tensor.scale as f32, tensor.zero_point);
        match tensor.element {
            ElementType::I8 => Self::I8(sample.iter().map(|&real| quantization.quantize(real)).collect()),
            ElementType::I16 => {
                Self::I16(sample.iter().map(|&real| quantization.quantize_wide(real)).collect())
            }
        }
    }
}

/// Access to the elements of a known type.
trait HostElement: Element + Send + Sync {
    fn slice(data: &Data) -> &[Self];
    fn data(elements: Vec<Self>) -> Data;
}

impl HostElement for i8 {
    fn slice(data: &Data) -> &[Self] {
        match data {
            Data::I8(data) => data,
            Data::I16(_) => unreachable!("the runner gives every layer the element type it was made for"),
        }
    }

    fn data(elements: Vec<Self>) -> Data {
        Data::I8(elements)
    }
}

impl HostElement for i16 {
    fn slice(data: &Data) -> &[Self] {
        match data {
            Data::I16(data) => data,
            Data::I8(_) => unreachable!("the runner gives every layer the element type it was made for"),
        }
    }

    fn data(elements: Vec<Self>) -> Data {
        Data::I16(elements)
    }
}

type Infer<'a> = dyn Fn(&[&Data], &[RoutingWeight]) -> Data + Send + Sync + 'a;

/// A library layer: inputs and routing weights in, output out.
pub struct RunnableLayer<'a>(Box<Infer<'a>>);

impl std::fmt::Debug for RunnableLayer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RunnableLayer")
    }
}

/// Evaluates an expression with `$T` as the Rust type of elements.
macro_rules! with_type {
    ($element:expr, $T:ident => $result:expr) => {
        match $element {
            ElementType::I8 => {
                type $T = i8;
                $result
            }
            ElementType::I16 => {
                type $T = i16;
                $result
            }
        }
    };
}

impl<'a> RunnableLayer<'a> {
    /// Builds the library's layer for an operator between tensors.
    ///
    /// # Errors
    ///
    /// What the library finds wrong with it.
    pub fn new(op: &'a Op, inputs: &[&Tensor], output: &Tensor) -> Result<Self, LayerError> {
        let (x, y) = (inputs[0], output);
        match op {
            Op::Add { shape, operands: [a, b], shift, bounds } => with_type!(x.element, A => {
                with_type!(inputs[1].element, B => with_type!(y.element, Y => {
                    let Requantize { zero_point, min, max, .. } = *bounds;
                    let layer = Add::<A, B, Y>::new(*shape, *a, *b, *shift, zero_point, min, max)?;
                    Ok(binary(shape.len(), move |a, b, y| layer.infer(a, b, y)))
                }))
            }),
            Op::Mul { shape, per_channel, requantize } => with_type!(x.element, A => {
                with_type!(inputs[1].element, B => with_type!(y.element, Y => {
                    let zero_points = [x.zero_point, inputs[1].zero_point];
                    let [a, b] = zero_points;
                    let layer = Mul::<A, B, Y>::new(*shape, a, *per_channel, b, requantize.view()?)?;
                    Ok(binary(shape.len(), move |a, b, y| layer.infer(a, b, y)))
                }))
            }),
            Op::Concat { parts, shape } => with_type!(y.element, Y => {
                let parts: Vec<Part<'a, Y>> = parts
                    .iter()
                    .zip(inputs)
                    .map(|(part, input)| with_type!(input.element, X => concat_part::<X, Y>(part, shape, y)))
                    .collect::<Result<_, _>>()?;
                let len = shape.len();
                Ok(Self(Box::new(move |inputs, _| {
                    let mut output = vec![Y::default(); len];
                    for (part, input) in parts.iter().zip(inputs) {
                        part(input, &mut output);
                    }
                    Y::data(output)
                })))
            }),
            _ => with_type!(x.element, X => with_type!(y.element, Y => unary::<X, Y>(op, x, y))),
        }
    }

    /// Runs it. Static layers ignore the routing weights.
    #[must_use]
    pub fn run(&self, inputs: &[&Data], routing: &[RoutingWeight]) -> Data {
        (self.0)(inputs, routing)
    }
}

/// A layer with one input.
fn unary<'a, X: HostElement, Y: HostElement>(
    op: &'a Op,
    input: &Tensor,
    output: &Tensor,
) -> Result<RunnableLayer<'a>, LayerError> {
    let zero_point = input.zero_point;
    Ok(match op {
        Op::Conv { geometry, kernels, requantize } => {
            let requantize = requantize.view()?;
            let geometry = *geometry;
            match (kernels, geometry.is_depthwise()) {
                (Kernels::Static(kernels), false) => {
                    let layer = Conv2d::<X, Y>::new(geometry, zero_point, kernels.view()?, requantize)?;
                    convolution(geometry, move |x, _, s, y| layer.infer(x, s, y))
                }
                (Kernels::Static(kernels), true) => {
                    let layer =
                        DepthwiseConv2d::<X, Y>::new(geometry, zero_point, kernels.view()?, requantize)?;
                    convolution(geometry, move |x, _, s, y| layer.infer(x, s, y))
                }
                (Kernels::Experts(kernels), false) => {
                    let layer = CondConv2d::<X, Y>::new(geometry, zero_point, kernels.view()?, requantize)?;
                    convolution(geometry, move |x, r, s, y| layer.infer(x, r, s, y))
                }
                (Kernels::Experts(kernels), true) => {
                    let layer =
                        CondDepthwiseConv2d::<X, Y>::new(geometry, zero_point, kernels.view()?, requantize)?;
                    convolution(geometry, move |x, r, s, y| layer.infer(x, r, s, y))
                }
            }
        }
        Op::Linear { features, kernels, requantize } => {
            let outputs = requantize.multipliers.len();
            let requantize = requantize.view()?;
            match kernels {
                Kernels::Static(kernels) => {
                    let layer = Linear::<X, Y>::new(*features, zero_point, kernels.view()?, requantize)?;
                    fixed(outputs, move |x, y| layer.infer(x, y))
                }
                Kernels::Experts(kernels) => {
                    let layer = CondLinear::<X, Y>::new(*features, zero_point, kernels.view()?, requantize)?;
                    RunnableLayer(Box::new(move |inputs, routing| {
                        let mut output = vec![Y::default(); outputs];
                        layer.infer(X::slice(inputs[0]), routing, &mut output);
                        Y::data(output)
                    }))
                }
            }
        }
        Op::GlobalAveragePool { shape, shift, requantize } => {
            let layer = GlobalAveragePool::<X, Y>::new(*shape, zero_point, *shift, requantize.view()?)?;
            fixed(shape.channels, move |x, y| layer.infer(x, y))
        }
        Op::AveragePool { shape, window, shift, requantize } => {
            let requantize = requantize.view()?;
            let layer = AveragePool2d::<X, Y>::new(*shape, *window, zero_point, *shift, requantize)?;
            fixed(output.shape.len(), move |x, y| layer.infer(x, y))
        }
        Op::MaxPool { shape, window } => {
            let layer = MaxPool2d::<X>::new(*shape, *window)?;
            fixed(output.shape.len(), move |x, y| layer.infer(x, y))
        }
        Op::Pad { shape, padding } => {
            let layer = Pad::<X>::new(*shape, *padding, zero_point)?;
            fixed(output.shape.len(), move |x, y| layer.infer(x, y))
        }
        Op::Lookup { table, .. } => {
            let table: Vec<Y> = table.iter().map(|&value| Y::saturate(value)).collect();
            let table: Box<[Y; 256]> = table.try_into().map_err(|_| LayerError::TableLength)?;
            fixed(output.shape.len(), move |x, y| Lookup::new(&table).infer(x, y))
        }
        Op::Softmax { classes, multiplier, shift } => {
            let layer = Softmax::<X>::new(*classes, *multiplier, *shift)?;
            fixed(*classes, move |x, y| layer.infer(x, y))
        }
        Op::Add { .. } | Op::Mul { .. } | Op::Concat { .. } => {
            unreachable!("operators with several inputs are built elsewhere")
        }
    })
}

fn fixed<'a, X: HostElement, Y: HostElement>(
    outputs: usize,
    infer: impl Fn(&[X], &mut [Y]) + Send + Sync + 'a,
) -> RunnableLayer<'a> {
    RunnableLayer(Box::new(move |inputs, _| {
        let mut output = vec![Y::default(); outputs];
        infer(X::slice(inputs[0]), &mut output);
        Y::data(output)
    }))
}

/// A convolution, with room for all its channels at once.
fn convolution<'a, X: HostElement, Y: HostElement>(
    geometry: Geometry,
    infer: impl Fn(&[X], &[RoutingWeight], &mut [i32], &mut [Y]) + Send + Sync + 'a,
) -> RunnableLayer<'a> {
    let channels = geometry.output().channels;
    let words = geometry.scratch_words(channels).max(geometry.depthwise_scratch_words(channels));
    RunnableLayer(Box::new(move |inputs, routing| {
        let mut output = vec![Y::default(); geometry.output().len()];
        infer(X::slice(inputs[0]), routing, &mut vec![0; words], &mut output);
        Y::data(output)
    }))
}

fn binary<'a, A: HostElement, B: HostElement, Y: HostElement>(
    outputs: usize,
    infer: impl Fn(&[A], &[B], &mut [Y]) + Send + Sync + 'a,
) -> RunnableLayer<'a> {
    RunnableLayer(Box::new(move |inputs, _| {
        let mut output = vec![Y::default(); outputs];
        infer(A::slice(inputs[0]), B::slice(inputs[1]), &mut output);
        Y::data(output)
    }))
}

/// Writes one input of a concatenation.
type Part<'a, Y> = Box<dyn Fn(&Data, &mut [Y]) + Send + Sync + 'a>;

fn concat_part<'a, X: HostElement, Y: HostElement>(
    part: &quantized::ConcatPart,
    shape: &Shape,
    output: &Tensor,
) -> Result<Part<'a, Y>, LayerError> {
    let layer = ConcatPart::<X, Y>::new(
        part.shape,
        shape.channels,
        part.first_channel,
        part.operand,
        part.shift,
        output.zero_point,
    )?;
    Ok(Box::new(move |input, output| layer.infer(X::slice(input), output)))
}

/// Routing weights of one input.
///
/// # Errors
///
/// What the library finds wrong with the routing function.
pub fn route(routing: &Routing, tensor: &Tensor, input: &Data) -> Result<Vec<RoutingWeight>, LayerError> {
    let mut weights = vec![RoutingWeight::ZERO; routing.bias.len()];
    with_type!(tensor.element, X => match routing.gate {
        Gate::Sigmoid => routing.view::<X, SigmoidGate>(tensor)?.infer(X::slice(input), &mut weights),
        Gate::Softmax => routing.view::<X, SoftmaxGate>(tensor)?.infer(X::slice(input), &mut weights),
    });
    Ok(weights)
}

/// A network ready to run; shared by threads.
#[derive(Debug)]
pub struct Runner<'a> {
    network: &'a QuantizedNetwork,
    layers: Vec<RunnableLayer<'a>>,
}

/// Every tensor and routing of one inference.
#[derive(Debug, Clone)]
pub struct Trace {
    /// By value; `None` for values that no layer writes.
    pub values: Vec<Option<Data>>,
    /// By routing.
    pub routings: Vec<Vec<RoutingWeight>>,
}

impl<'a> Runner<'a> {
    /// Builds the library's layers.
    ///
    /// # Panics
    ///
    /// If the library finds something wrong with one, which was looked for when the network was quantised.
    #[must_use]
    pub fn new(network: &'a QuantizedNetwork) -> Self {
        let wrong = |name: &str, error: LayerError| -> ! {
            unreachable!("'{name}' was checked when quantised: {error}")
        };
        let build = |layer: &'a Layer| {
            let inputs: Vec<&Tensor> = layer.inputs.iter().map(|&id| &network.tensors[id]).collect();
            let output = &network.tensors[layer.output];
            RunnableLayer::new(&layer.op, &inputs, output).unwrap_or_else(|error| wrong(&layer.name, error))
        };
        for routing in &network.routings {
            let tensor = &network.tensors[routing.input];
            let check = with_type!(tensor.element, X => routing.view::<X, SigmoidGate>(tensor).map(|_| ()));
            check.unwrap_or_else(|error| wrong(&routing.name, error));
        }
        Self { network, layers: network.layers.iter().map(build).collect() }
    }

    /// Runs one input.
    ///
    /// # Panics
    ///
    /// If the input is not of the network's shape and type.
    #[must_use]
    pub fn run(&self, input: Data) -> Trace {
        let network = self.network;
        let mut trace = Trace {
            values: vec![None; network.tensors.len()],
            routings: vec![Vec::new(); network.routings.len()],
        };
        trace.values[network.input] = Some(input);
        for (layer, runnable) in network.layers.iter().zip(&self.layers) {
            let routing = layer.op.experts().map(|experts| experts.routing);
            if let Some(id) = routing
                && trace.routings[id].is_empty()
            {
                let routing = &network.routings[id];
                let input = value(&trace, routing.input);
                trace.routings[id] = route(routing, &network.tensors[routing.input], input)
                    .unwrap_or_else(|error| unreachable!("checked when the runner was made: {error}"));
            }
            let weights: &[RoutingWeight] = routing.map_or(&[], |id| &trace.routings[id]);
            let inputs: Vec<&Data> = layer.inputs.iter().map(|&id| value(&trace, id)).collect();
            let output = runnable.run(&inputs, weights);
            trace.values[layer.output] = Some(output);
        }
        trace
    }
}

fn value(trace: &Trace, id: usize) -> &Data {
    trace.values[id].as_ref().unwrap_or_else(|| unreachable!("layers are in executable order"))
}
