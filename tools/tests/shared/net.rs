//! Networks with random weights, always the same. What a layer costs follows from its shape.

use condconv::{Padding, Shape, Window};
use condconv_tools::graph::{
    Clamp, Function, Gate, Kernels, Layer, Network, Op, Routing, RoutingId, Value, ValueId,
};
use condconv_tools::plan::Plan;
use condconv_tools::quantize::{Calibration, Int16, Preactivation, Range, quantize};
use condconv_tools::quantized::QuantizedNetwork;

/// As far as tensors reach: weights and inputs are such that their variance is one.
const REACH: f64 = 3.0;

/// A network that grows layer by layer.
pub(crate) struct Net {
    network: Network,
    ranges: Vec<Range>,
    random: Random,
}

impl Net {
    /// A network of no layers yet.
    pub(crate) fn new([height, width, channels]: [usize; 3]) -> Self {
        let network = Network { values: vec![], input: 0, output: 0, routings: vec![], layers: vec![] };
        let mut net = Self { network, ranges: vec![], random: Random(1) };
        net.value(Shape::new(height, width, channels), REACH);
        net
    }

    /// The tensor that the next layer reads.
    pub(crate) const fn last(&self) -> ValueId {
        self.network.output
    }

    /// Goes back to a tensor, for a layer beside those that were appended since.
    pub(crate) fn from(mut self, value: ValueId) -> Self {
        self.network.output = value;
        self
    }

    pub(crate) fn shape(&self) -> Shape {
        self.network.values[self.last()].shape
    }

    fn value(&mut self, shape: Shape, reach: f64) {
        self.network.output = self.network.values.len();
        self.network.values.push(Value { onnx_name: format!("value {}", self.network.output), shape });
        self.ranges.push(Range { min: -reach, max: reach });
    }

    fn layer(mut self, op: Op, inputs: Vec<ValueId>, shape: Shape) -> Self {
        self.value(shape, REACH);
        let name = format!("layer {}", self.network.layers.len());
        let output = self.last();
        self.network.layers.push(Layer { preactivation: name.clone(), name, op, inputs, output });
        self
    }

    /// The next layer reads the last tensor only.
    fn append(self, op: Op, shape: Shape) -> Self {
        let inputs = vec![self.last()];
        self.layer(op, inputs, shape)
    }

    /// Kernels of `len` weights; without experts they are static.
    fn kernels(&mut self, channels: usize, len: usize, experts: usize) -> Kernels {
        let routing = (experts > 0).then(|| self.routing(experts));
        let count = experts.max(1);
        let reach = (3.0 / (len * count) as f32).sqrt() * if experts > 0 { 2.0 } else { 1.0 };
        Kernels {
            channels,
            experts: (0..count).map(|_| self.random.numbers(channels * len, reach)).collect(),
            bias: self.random.numbers(channels, 0.5),
            expert_biases: (0..experts).map(|_| self.random.numbers(channels, 0.5)).collect(),
            routing,
        }
    }

    fn routing(&mut self, experts: usize) -> RoutingId {
        let (id, input, channels) = (self.network.routings.len(), self.last(), self.shape().channels);
        self.network.routings.push(Routing {
            gate: Gate::Sigmoid,
            name: format!("routing {id}"),
            onnx_name: format!("routing {id}"),
            input,
            matrix: (0..experts).map(|_| self.random.numbers(channels, 1.0)).collect(),
            bias: self.random.numbers(experts, 1.0),
        });
        id
    }

    /// A convolution whose output has the input's size over the stride.
    pub(crate) fn conv(self, kernel: [usize; 2], stride: usize, channels: usize, experts: usize) -> Self {
        self.grouped(kernel, stride, channels, 1, experts)
    }

    /// A convolution of each channel.
    pub(crate) fn depthwise(self, kernel: [usize; 2], experts: usize) -> Self {
        let channels = self.shape().channels;
        self.grouped(kernel, 1, channels, channels, experts)
    }

    fn grouped(
        mut self,
        kernel: [usize; 2],
        stride: usize,
        channels: usize,
        groups: usize,
        experts: usize,
    ) -> Self {
        let input = self.shape();
        let [(top, bottom), (left, right)] =
            [(input.height, kernel[0]), (input.width, kernel[1])].map(|(size, kernel)| {
                let padding = ((size.div_ceil(stride) - 1) * stride + kernel).saturating_sub(size);
                (padding / 2, padding - padding / 2)
            });
        let window =
            Window::new(kernel).stride([stride, stride]).padding(Padding::new(top, left, bottom, right));
        let kernels = self.kernels(channels, kernel[0] * kernel[1] * input.channels / groups, experts);
        let shape = window.output(input, channels).expect("the window fits");
        self.append(Op::Conv { window, groups, kernels, clamp: Clamp::NONE }, shape)
    }

    pub(crate) fn linear(mut self, features: usize, experts: usize) -> Self {
        let kernels = self.kernels(features, self.shape().len(), experts);
        self.append(Op::Linear { kernels, clamp: Clamp::NONE }, Shape::vector(features))
    }

    pub(crate) fn add(self, other: ValueId) -> Self {
        let (inputs, shape) = (vec![other, self.last()], self.shape());
        self.layer(Op::Add { clamp: Clamp::NONE }, inputs, shape)
    }

    /// Gives the last layer an activation.
    pub(crate) fn relu(mut self) -> Self {
        let layer = self.network.layers.last_mut().expect("there is a layer");
        *layer.op.clamp_mut().expect("it can have an activation") = Clamp { min: 0.0, max: f32::INFINITY };
        self.ranges[layer.output].min = 0.0;
        self
    }

    /// Lets the last tensor reach further than others do.
    pub(crate) fn reaching(mut self, factor: f64) -> Self {
        let range = &mut self.ranges[self.network.output];
        (range.min, range.max) = (factor * range.min, factor * range.max);
        self
    }

    pub(crate) fn leaky_relu(self) -> Self {
        let shape = self.shape();
        self.append(Op::Activation(Function::LeakyRelu { slope: 0.1 }), shape)
    }

    /// The mean of one window.
    pub(crate) fn average_pool(self, kernel: [usize; 2]) -> Self {
        let window = Window::new(kernel).stride(kernel);
        let shape = window.output(self.shape(), self.shape().channels).expect("the window fits");
        self.append(Op::AveragePool { window, count_padding: false }, shape)
    }

    pub(crate) fn global_average_pool(self) -> Self {
        let shape = Shape::vector(self.shape().channels);
        self.append(Op::GlobalAveragePool, shape)
    }

    pub(crate) fn softmax(self) -> Self {
        let shape = self.shape();
        self.append(Op::Softmax, shape)
    }

    /// The network in integers, laid out, and an input.
    pub(crate) fn plan(self) -> (Plan, Vec<f32>) {
        let (network, input) = self.quantize();
        (Plan::new(network), input)
    }

    /// The network in integers, and an input.
    pub(crate) fn quantize(mut self) -> (QuantizedNetwork, Vec<f32>) {
        let input = self.random.numbers(self.network.values[self.network.input].shape.len(), 3f32.sqrt());
        let ones = |value: &Value| vec![1.0; value.shape.channels];
        let preactivation = |layer: &Layer| Preactivation {
            range: self.ranges[layer.output],
            means: vec![vec![0.0; self.network.values[layer.output].shape.channels]],
        };
        let calibration = Calibration {
            gains: self.network.values.iter().map(ones).collect(),
            preactivations: self.network.layers.iter().map(preactivation).collect(),
            extents: self.ranges.clone(),
            ranges: self.ranges,
            inputs: vec![input.clone()],
            outputs: Vec::new(),
        };
        let quantized = quantize(&self.network, &calibration, &Int16::None).expect("weights are small");
        (quantized.network, input)
    }
}

/// SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// Numbers from minus to plus `reach`.
    fn numbers(&mut self, count: usize, reach: f32) -> Vec<f32> {
        (0..count).map(|_| reach * self.next()).collect()
    }

    /// A number from minus one to one.
    pub(crate) fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ bits >> 31) >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}
