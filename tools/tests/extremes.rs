//! Layers of every kind with numbers at both ends of their types, on every emulated core: what comes out is what the host
//! computes, bit for bit. Weights and inputs are -128 and 127, zero points lie at either end, accumulators come close to the
//! ends of 32 bits, and outputs would reach up to three times as far as their type does.

use std::collections::BTreeSet;

use condconv::WeightSums;
use condconv_tools::emulate::Core;
use condconv_tools::plan::Plan;
use condconv_tools::profile::{Subject, measure};
use condconv_tools::quantize::interleave;
use condconv_tools::quantized::{
    ElementType, ExpertKernels, FixedKernels, Kernels, Op, QuantizedNetwork, Requantize, Routing, Tensor,
};
use condconv_tools::run::{Data, RunnableLayer, Runner};

#[allow(dead_code, reason = "the benchmark has layers of more kinds")]
#[path = "shared/net.rs"]
mod net;

use net::{Net, Random};

/// Both ends of int8.
const ENDS: [i8; 2] = [-128, 127];

/// A real number that every scale takes to an end.
const BEYOND: f32 = 1e9;

/// Largest coefficient of an expert.
const MAX_COEFFICIENT: i64 = 16383;

/// A network of one layer and what shows its output.
struct Case {
    name: String,
    plan: Plan,
    sample: Vec<f32>,
}

/// What differs from case to case beside the layer.
struct Choice {
    /// Of the input, and of what layers with kernels yield.
    zero_points: [i8; 2],
    /// Whether outputs have bounds within their type, as an activation's.
    is_bounded: bool,
    /// Whether all routing weights are the largest; else some are, some are none, and some depend on the input.
    is_routed_to_all: bool,
    /// With the least memory, which some loops are for.
    is_small: bool,
}

fn cases() -> Vec<Case> {
    let mut random = Random(0);
    layers().into_iter().map(|(name, net)| case(name, net, &Choice::draw(&mut random), &mut random)).collect()
}

impl Choice {
    fn draw(random: &mut Random) -> Self {
        Self {
            zero_points: [0; 2].map(|_| either(ENDS, random)),
            is_bounded: either([false, true], random),
            is_routed_to_all: either([false, true], random),
            is_small: either([false, true], random),
        }
    }
}

fn either<T>([one, other]: [T; 2], random: &mut Random) -> T {
    if random.next() < 0.0 { one } else { other }
}

/// The layers. What yields int8 has a pool of columns behind it, which ends in int16 and tells rows from columns.
fn layers() -> Vec<(String, Net)> {
    let mut layers = Vec::new();
    for (kernel, stride, input, channels) in [
        (3, 1, [5, 7, 8], 12),
        (3, 1, [6, 6, 16], 16),
        (3, 1, [5, 7, 5], 7),
        (3, 1, [7, 5, 30], 6),
        (3, 2, [6, 7, 12], 8),
        (3, 1, [7, 6, 1], 8),
        (3, 2, [7, 6, 3], 8),
        (1, 1, [5, 7, 8], 12),
        (1, 1, [6, 6, 5], 7),
        (1, 1, [5, 7, 30], 5),
        (1, 2, [6, 6, 16], 10),
    ] {
        let name = format!("convolution {kernel}x{kernel} by {stride}, {input:?} to {channels}");
        layers.push(pooled(name, Net::new(input).conv([kernel; 2], stride, channels, 0)));
    }
    for input in [[6, 6, 16], [5, 7, 6], [7, 5, 30], [6, 5, 3]] {
        layers.push(pooled(format!("depthwise, {input:?}"), Net::new(input).depthwise([3, 3], 0)));
    }
    for [features, outputs] in [[16, 24], [64, 16], [30, 13], [7, 9]] {
        let net = Net::new([1, 1, features]).linear(outputs, 0);
        layers.push(pooled(format!("fully connected, {features} to {outputs}"), net));
    }
    layers.extend([3, 4, 8].into_iter().flat_map(conditional_layers));
    for channels in [16, 6] {
        let depthwise = |input| Net::new(input).depthwise([3, 3], 0);
        let sum = Net::new([6, 5, channels]);
        let input = sum.last();
        let means = depthwise([6, 6, channels]).average_pool([2, 3]);
        layers.push(pooled(format!("sum, {channels}"), sum.depthwise([3, 3], 0).add(input)));
        layers.push(pooled(format!("means, {channels}"), means));
        layers.push((format!("mean, {channels}"), depthwise([5, 7, channels]).global_average_pool()));
    }
    // From int16 to int8, and from there to int16.
    for experts in [0, 4] {
        let net = Net::new([5, 6, 16]).conv([1, 1], 1, 30, 0).global_average_pool();
        let net = net.linear(14, experts).linear(13, experts);
        layers.push((format!("fully connected of int16, {experts} experts"), net));
    }
    layers
}

fn conditional_layers(experts: usize) -> Vec<(String, Net)> {
    let conv = |input, kernel: [usize; 2], channels| Net::new(input).conv(kernel, 1, channels, experts);
    let depthwise = |input| Net::new(input).depthwise([3, 3], experts);
    let linear = |features, outputs| Net::new([1, 1, features]).linear(outputs, experts);
    let layers = [
        ("CondConv 3x3, even", conv([5, 7, 8], [3, 3], 12)),
        ("CondConv 3x3, uneven", conv([6, 6, 3], [3, 3], 5)),
        ("CondConv 1x1, even", conv([6, 6, 16], [1, 1], 8)),
        ("CondConv 1x1, uneven", conv([5, 7, 5], [1, 1], 7)),
        ("conditional depthwise, even", depthwise([6, 6, 16])),
        ("conditional depthwise, uneven", depthwise([5, 7, 6])),
        ("CondLinear, even", linear(32, 16)),
        ("CondLinear, uneven", linear(30, 13)),
    ];
    layers.map(|(name, net)| pooled(format!("{name}, {experts} experts"), net)).into()
}

fn pooled(name: String, net: Net) -> (String, Net) {
    let height = net.shape().height;
    (name, net.average_pool([height, 1]))
}

fn case(name: String, net: Net, choice: &Choice, random: &mut Random) -> Case {
    let (mut network, _) = net.quantize();
    place_zero_points(&mut network, choice.zero_points);
    for routing in &mut network.routings {
        let pooled = &network.tensors[routing.input];
        route(routing, pooled, choice.is_routed_to_all, random);
    }
    for layer in &mut network.layers {
        let inputs: Vec<&Tensor> = layer.inputs.iter().map(|&id| &network.tensors[id]).collect();
        stretch(&mut layer.op, &inputs, &network.tensors[layer.output], choice.is_bounded, random);
    }
    let sample = sample(network.tensors[network.input].shape.len(), random);
    let mut plan = Plan::new(network);
    if choice.is_small {
        let least = plan.sizes().least_ram_bytes;
        plan = plan.within(least).unwrap();
    }
    Case { name, plan, sample }
}

/// A third of the one end, a third of the other, and a third of both.
fn sample(len: usize, random: &mut Random) -> Vec<f32> {
    let real = |i: usize| match 3 * i / len {
        0 => -BEYOND,
        1 => BEYOND,
        _ => either([-BEYOND, BEYOND], random),
    };
    (0..len).map(real).collect()
}

/// int16 tensors have none, and pools that of their input: else all that they yield would be beyond one end.
fn place_zero_points(network: &mut QuantizedNetwork, [input, output]: [i8; 2]) {
    network.tensors[network.input].zero_point = input.into();
    for layer in &network.layers {
        let zero_point = match layer.op {
            Op::AveragePool { .. } | Op::GlobalAveragePool { .. } => {
                network.tensors[layer.inputs[0]].zero_point
            }
            _ => output.into(),
        };
        let tensor = &mut network.tensors[layer.output];
        tensor.zero_point = if tensor.element == ElementType::I8 { zero_point } else { 0 };
    }
}

fn route(routing: &mut Routing, pooled: &Tensor, to_all: bool, random: &mut Random) {
    routing.matrix.fill_with(|| either([-32767, 32767], random));
    let largest = 32767 * span(pooled) * pooled.shape.len() as i64;
    let limit = (1 << 47) - largest - 1;
    for (expert, bias) in routing.bias.iter_mut().enumerate() {
        *bias = match expert % 3 {
            _ if to_all => limit,
            0 => limit,
            1 => -limit,
            _ => 0,
        };
    }
    // Sums that are an eighth of the largest are logits of about one.
    routing.multipliers.fill(i16::MAX);
    routing.shifts.fill((largest.ilog2() + 15 - 3 - 11) as u8);
}

/// Gives a layer numbers that lead beyond both ends of its output.
fn stretch(op: &mut Op, inputs: &[&Tensor], output: &Tensor, is_bounded: bool, random: &mut Random) {
    let is_int8 = output.element == ElementType::I8;
    let bound = |requantize: &mut Requantize| {
        requantize.zero_point = output.zero_point;
        (requantize.min, requantize.max) =
            if is_bounded && is_int8 { (-100, 90) } else { output.element.range() };
    };
    if let Some(requantize) = op.requantize_mut() {
        bound(requantize);
    }
    match op {
        Op::Conv { kernels: Kernels::Static(kernels), requantize, .. }
        | Op::Linear { kernels: Kernels::Static(kernels), requantize, .. } => {
            fix(kernels, requantize, inputs[0], output, random);
        }
        Op::Conv { .. } | Op::Linear { .. } => mix(op, inputs[0], output, random),
        // Twice as far; from int8 to int16 a pool takes up a fourth of the range.
        Op::AveragePool { shift, .. } if is_int8 => *shift += 1,
        Op::GlobalAveragePool { shift, .. } => *shift += 2,
        // The pool that shows a layer's output leaves it as it is.
        Op::AveragePool { .. } => {}
        Op::Add { operands, shift, bounds, .. } => {
            bound(bounds);
            *shift -= 1;
            for (operand, input) in operands.iter_mut().zip(inputs) {
                operand.zero_point = input.zero_point;
            }
        }
        other => panic!("no numbers are known for {}", other.name()),
    }
}

/// The weights of a channel's kernel.
fn weights(channel: usize, len: usize, random: &mut Random) -> Vec<i8> {
    let weight = |k: usize| match channel % 4 {
        0 => ENDS[0],
        1 => ENDS[1],
        2 => ENDS[k % 2],
        _ => either(ENDS, random),
    };
    (0..len).map(weight).collect()
}

/// Steps from one end of a tensor's type to the other.
fn span(tensor: &Tensor) -> i64 {
    let (low, high) = tensor.element.range();
    i64::from(high - low)
}

/// Least and largest sum of a kernel's products with an input.
fn reach(sums: WeightSums, input: &Tensor) -> [i64; 2] {
    let (low, high) = input.element.range();
    let [below, above] = [input.zero_point - low, high - input.zero_point].map(i64::from);
    let [positive, negative] = [sums.positive, sums.negative].map(i64::from);
    [-below * positive - above * negative, above * positive + below * negative]
}

/// Steps that a channel's outputs would take without bounds: once, twice or three times those of their type.
fn steps(channel: usize, output: &Tensor) -> i64 {
    (1 + channel as i64 % 3) * (span(output) + 1)
}

/// What takes a range of accumulators to so many steps.
fn multiplier([least, largest]: [i64; 2], steps: i64) -> i32 {
    i32::try_from((steps << 32) / (largest - least).max(1)).unwrap_or(i32::MAX)
}

/// The bias that lays these steps around the middle of the output's type.
fn centre([least, largest]: [i64; 2], steps: i64, output: &Tensor) -> i64 {
    -(least + largest) / 2 - i64::from(output.zero_point) * (largest - least) / steps
}

/// A bias so large that the accumulator can come to an end of i32, if products add up to no more than `bound` in any channel;
/// and the multiplier for it.
fn large_bias([least, largest]: [i64; 2], bound: i64, steps: i64) -> (i64, i32) {
    let room = i64::from(i32::MAX) - bound;
    (if largest > -least { room } else { -room }, multiplier([-1 << 31, 1 << 31], steps) / 2)
}

/// Whether a channel has such a bias; it centres the accumulators of others.
fn is_large(channel: usize) -> bool {
    channel % 5 == 4
}

fn fix(
    kernels: &mut FixedKernels,
    requantize: &mut Requantize,
    input: &Tensor,
    output: &Tensor,
    random: &mut Random,
) {
    let len = kernels.weights.len() / kernels.bias.len();
    for (channel, kernel) in kernels.weights.chunks_exact_mut(len).enumerate() {
        kernel.copy_from_slice(&weights(channel, len, random));
        let sums = WeightSums::of(kernel);
        kernels.sums[channel] = sums;
        let (reach, steps) = (reach(sums, input), steps(channel, output));
        let (bias, multiplier) = if is_large(channel) {
            large_bias(reach, span(input) * 128 * len as i64, steps)
        } else {
            (centre(reach, steps, output), multiplier(reach, steps))
        };
        kernels.bias[channel] = bias as i32;
        requantize.multipliers[channel] = multiplier;
    }
}

/// The same for experts, with the smallest mixing shift that the library accepts.
fn mix(op: &mut Op, input: &Tensor, output: &Tensor, random: &mut Random) {
    let (experts, _) = parts(op);
    let (channels, len) = (experts.bias.len(), experts.kernel_len());
    let planes: Vec<Vec<i8>> = (0..experts.count)
        .map(|_| (0..channels).flat_map(|channel| weights(channel, len, random)).collect())
        .collect();
    experts.weights = interleave(&planes, channels, len);
    let kernels = |channel: usize| planes.iter().map(move |plane| &plane[channel * len..][..len]);
    experts.sums = (0..channels).flat_map(kernels).map(WeightSums::of).collect();
    for (entry, ratio) in experts.ratios.iter_mut().enumerate() {
        // Where weights are drawn, so is who counts.
        let counts = entry / experts.count % 4 < 3 || either([false, true], random);
        *ratio = if counts { i16::MAX } else { 0 };
    }
    let accepted = (1..=30).any(|shift| {
        let (experts, requantize) = parts(op);
        set_shift(experts, requantize, shift, input, output);
        RunnableLayer::new(op, &[input], output).is_ok()
    });
    assert!(accepted);
}

/// What is to be changed of a conditional layer.
fn parts(op: &mut Op) -> (&mut ExpertKernels, &mut Requantize) {
    match op {
        Op::Conv { kernels: Kernels::Experts(experts), requantize, .. }
        | Op::Linear { kernels: Kernels::Experts(experts), requantize, .. } => (experts, requantize),
        _ => panic!("no conditional layer"),
    }
}

/// Biases and multipliers for a mixing shift: each expert's bias centres what it adds.
fn set_shift(
    experts: &mut ExpertKernels,
    requantize: &mut Requantize,
    shift: u32,
    input: &Tensor,
    output: &Tensor,
) {
    experts.shift = shift;
    let (count, len) = (experts.count, experts.kernel_len() as i64);
    let mixed = ((count as i64 * MAX_COEFFICIENT * 128 * len) >> shift) + len;
    experts.expert_bias.clear();
    let entries = experts.sums.chunks_exact(count).zip(experts.ratios.chunks_exact(count));
    for (channel, (sums, ratios)) in entries.enumerate() {
        let reach = |(&sums, &ratio): (&WeightSums, &i16)| {
            let coefficient = if ratio > 0 { MAX_COEFFICIENT } else { 0 };
            reach(sums, input).map(|end| (end * coefficient) >> shift)
        };
        let reaches: Vec<[i64; 2]> = sums.iter().zip(ratios).map(reach).collect();
        let total = [0, 1].map(|end| reaches.iter().map(|reach| reach[end]).sum());
        let steps = steps(channel, output);
        let (bias, expert_biases, multiplier) = if is_large(channel) {
            let (bias, multiplier) = large_bias(total, span(input) * mixed, steps);
            let share = bias / 2 / count as i64;
            (bias - share * count as i64, vec![share; count], multiplier)
        } else {
            let centre = |&reach: &[i64; 2]| centre(reach, steps, output);
            (0, reaches.iter().map(centre).collect(), multiplier(total, steps))
        };
        experts.bias[channel] = bias as i32;
        experts.expert_bias.extend(expert_biases.into_iter().map(|bias| bias as i32));
        requantize.multipliers[channel] = multiplier;
    }
}

/// All tensors that layers with kernels write are at their ends in part.
#[test]
fn outputs_lie_at_their_ends_and_between() {
    let mut routing_weights = BTreeSet::new();
    for Case { name, plan, sample } in cases() {
        let network = &plan.network;
        let trace = Runner::new(network).run(Data::input(&network.tensors[network.input], &sample));
        for layer in network.layers.iter().filter(|layer| layer.op.kernels().is_some()) {
            let Requantize { min, max, .. } = *layer.op.requantize().unwrap();
            let values: Vec<i32> = trace.values[layer.output].as_ref().unwrap().iter().collect();
            let at_ends = values.iter().filter(|value| [min, max].contains(value)).count();
            let distinct = values.iter().collect::<BTreeSet<_>>().len();
            assert!(at_ends > 0 && 4 * at_ends <= 3 * values.len(), "{name}: {at_ends} of {}", values.len());
            assert!(distinct >= 6, "{name}: {distinct} different outputs");
        }
        routing_weights.extend(trace.routings.iter().flatten().map(|weight| weight.to_bits()));
    }
    assert_eq!((routing_weights.first(), routing_weights.last()), (Some(&0), Some(&i16::MAX)));
}

#[test]
fn cores_compute_what_the_host_does() {
    let cases = cases();
    let run = |core: Core| {
        let subjects: Vec<Subject<'_>> =
            cases.iter().map(|case| Subject { plan: &case.plan, sample: case.sample.clone() }).collect();
        measure(core, &subjects).err().map(|error| format!("{}: {error}", core.name()))
    };
    let errors: Vec<String> = Core::ALL.into_iter().filter_map(run).collect();
    assert!(errors.is_empty(), "{}", errors.join("\n"));
}
