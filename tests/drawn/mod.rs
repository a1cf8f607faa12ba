//! What proptest draws: geometries, elements, weights, outputs; their ends more often than chance would.
#![allow(dead_code, reason = "each test file uses a part")]

use std::fmt::Debug;
use std::ops::RangeInclusive;

use condconv::{Element, Geometry, Padding, RoutingWeight, Shape, Window};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::integer::{Fixed, Mixture, Output};

/// An element that a failure can print.
pub(crate) trait Number: Element + Debug {}

impl Number for i8 {}
impl Number for i16 {}

/// Runs a test on as many drawn values; a failure prints the simplest one that fails.
pub(crate) fn check<S: Strategy>(
    cases: u32,
    strategy: &S,
    test: impl Fn(S::Value) -> Result<(), TestCaseError>,
) {
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) };
    TestRunner::new(config).run(strategy, test).unwrap_or_else(|failure| panic!("{failure}"));
}

/// `len` numbers between two: any ones, all at one end, or the ends in turn.
fn numbers(low: i32, high: i32, len: usize) -> impl Strategy<Value = Vec<i32>> {
    prop_oneof![
        4 => vec(low..=high, len),
        1 => Just(vec![low; len]),
        1 => Just(vec![high; len]),
        1 => Just((0..len).map(|i| if i % 2 == 0 { low } else { high }).collect()),
    ]
}

pub(crate) fn elements<X: Number>(len: usize) -> impl Strategy<Value = Vec<X>> {
    numbers(X::MIN, X::MAX, len).prop_map(|values| values.into_iter().map(X::saturate).collect())
}

pub(crate) fn weights(len: usize) -> impl Strategy<Value = Vec<i8>> {
    prop_oneof![6 => numbers(-127, 127, len), 1 => Just(vec![0; len])]
        .prop_map(|values| values.into_iter().map(i8::saturate).collect())
}

pub(crate) fn zero_point<X: Element>() -> impl Strategy<Value = i32> {
    prop_oneof![Just(X::MIN), Just(X::MAX), X::MIN..=X::MAX]
}

fn biases(len: usize) -> impl Strategy<Value = Vec<i32>> {
    (0..28).prop_flat_map(move |bits: i32| numbers(-(1 << bits), 1 << bits, len))
}

/// Multipliers of any size, bounds that often cut something off.
pub(crate) fn output<Y: Element>(channels: usize) -> impl Strategy<Value = Output> {
    let multipliers = vec((0u32..=31).prop_flat_map(|bits| 0..=i32::MAX >> bits), channels);
    let bounds = prop_oneof![Just((Y::MIN, Y::MAX)), (Y::MIN..=Y::MAX, Y::MIN..=Y::MAX)];
    (multipliers, zero_point::<Y>(), bounds).prop_map(|(multipliers, zero_point, (a, b))| Output {
        multipliers,
        zero_point,
        min: a.min(b),
        max: a.max(b),
    })
}

/// Windows of all kinds, among them ones that lie wholly in the padding.
fn window(height: usize, width: usize) -> impl Strategy<Value = Window> {
    let pair = |end: usize| [1..=end, 1..=end];
    let sides = [0usize..=5, 0..=5, 0..=5, 0..=5];
    (pair(4), pair(3), pair(3), sides).prop_map(move |(kernel, stride, dilation, sides)| {
        let [top, left, bottom, right] = sides;
        let missing = |axis: usize, len: usize, before: usize| {
            ((kernel[axis] - 1) * dilation[axis] + 1).saturating_sub(len + before)
        };
        let bottom = bottom.max(missing(0, height, top));
        let right = right.max(missing(1, width, left));
        Window::new(kernel).stride(stride).dilation(dilation).padding(Padding { top, left, bottom, right })
    })
}

/// Convolutions of one to three groups, or depthwise ones.
pub(crate) fn geometry(depthwise: bool) -> impl Strategy<Value = Geometry> {
    let channels = if depthwise {
        (1usize..=9).prop_map(|channels| [channels; 3]).boxed()
    } else {
        [1usize..=3, 1..=5, 1..=5]
            .prop_map(|[groups, inputs, outputs]| [groups, groups * inputs, groups * outputs])
            .boxed()
    };
    (channels, 1usize..=7, 1usize..=7).prop_flat_map(|([groups, inputs, outputs], height, width)| {
        window(height, width).prop_map(move |window| {
            Geometry::new(Shape::new(height, width, inputs), outputs, window, groups)
                .expect("the window fits")
        })
    })
}

/// Convolutions of whole vectors of channels, mostly of three columns next to each other; or depthwise ones of some vectors. Maps
/// are wider than high, or higher than wide.
pub(crate) fn vectors(depthwise: bool) -> impl Strategy<Value = Geometry> {
    let channels = if depthwise {
        (8usize..=70).prop_map(|channels| [channels; 3]).boxed()
    } else {
        (1usize..=3, prop_oneof![2 => 1usize..=20, 1 => Just(16)])
            .prop_map(|(vectors, outputs)| [1, 16 * vectors, outputs])
            .boxed()
    };
    let steps = prop_oneof![3 => Just([1, 1]), 1 => [1usize..=2, 1..=2]];
    let window = ([1usize..=3, 3..=3], steps.clone(), steps, [0usize..=2, 0..=4, 0..=2, 0..=4]).prop_map(
        |(kernel, stride, dilation, [top, left, bottom, right])| {
            Window::new(kernel).stride(stride).dilation(dilation).padding(Padding {
                top,
                left,
                bottom,
                right,
            })
        },
    );
    let sides = ([5usize..=7, 5..=19], any::<bool>())
        .prop_map(|([short, long], high)| if high { [long, short] } else { [short, long] });
    (channels, sides, window).prop_map(|([groups, inputs, outputs], [height, width], window)| {
        Geometry::new(Shape::new(height, width, inputs), outputs, window, groups).expect("the window fits")
    })
}

pub(crate) fn fixed(channels: usize, kernel_len: usize) -> impl Strategy<Value = Fixed> {
    (weights(channels * kernel_len), biases(channels)).prop_map(|(weights, bias)| Fixed { weights, bias })
}

/// Experts with a shift between two.
pub(crate) fn mixture(
    count: usize,
    channels: usize,
    kernel_len: usize,
    shifts: RangeInclusive<u32>,
) -> impl Strategy<Value = Mixture> {
    let ratios = numbers(0, 32767, channels * count);
    let expert_bias = prop_oneof![Just(Vec::new()), biases(channels * count)];
    let planes = vec(weights(channels * kernel_len), count);
    (planes, ratios, shifts, biases(channels), expert_bias).prop_map(
        |(planes, ratios, shift, bias, expert_bias)| Mixture {
            planes,
            ratios: ratios.into_iter().map(i16::saturate).collect(),
            shift,
            bias,
            expert_bias,
        },
    )
}

/// Rarely negative ones among them.
pub(crate) fn routing_weights(count: usize) -> impl Strategy<Value = Vec<RoutingWeight>> {
    prop_oneof![5 => numbers(0, 32767, count), 1 => numbers(-32768, 32767, count)]
        .prop_map(|bits| bits.into_iter().map(|b| RoutingWeight::from_bits(i16::saturate(b))).collect())
}
