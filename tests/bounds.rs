//! Layers at the last numbers that the overflow checks accept: right there, refused one step further.

mod integer;

use condconv::{
    CondConv2d, CondLinear, Conv2d, DepthwiseConv2d, Element, Geometry, GlobalAveragePool, LayerError,
    Linear, RoutingWeight, Shape, Window,
};
use integer::{Fixed, Mixture, Output, Route, smallest_shift};

/// Passes the largest accumulators on without saturation.
const EIGHT_BITS: i32 = 1 << 8;

fn output(channels: usize) -> Output {
    Output { multipliers: vec![EIGHT_BITS; channels], zero_point: 0, min: -32768, max: 32767 }
}

/// An input that is as far from its zero point as can be, everywhere.
fn farthest<X: Element>(len: usize) -> (Vec<X>, i32, i128) {
    (vec![X::saturate(X::MAX); len], X::MIN, i128::from(X::MAX - X::MIN))
}

fn reached(layer_output: i16) -> i32 {
    layer_output.widen()
}

/// A channel that comes to `i32::MAX`, and one that comes to `-i32::MAX`; with `beyond`, further than that.
fn static_kernels(kernel_len: usize, span: i128, beyond: i32) -> Fixed {
    let largest = i128::from(i32::MAX) - span * 127 * kernel_len as i128;
    let largest = i32::try_from(largest).unwrap() + beyond;
    let weights = [127, -127].iter().flat_map(|&w| vec![w; kernel_len]).collect();
    Fixed { weights, bias: vec![largest, -largest] }
}

fn static_layers<X: Element>(kernel_len: usize) {
    let (x, zero_point, span) = farthest::<X>(kernel_len);
    let output = output(2);
    let expected = output.of(&[i32::MAX.into(), (-i32::MAX).into()]);
    let dense = Geometry::new(Shape::new(1, kernel_len, 1), 2, Window::new([1, kernel_len]), 1).unwrap();
    let depthwise = Geometry::new(Shape::new(1, kernel_len, 2), 2, Window::new([1, kernel_len]), 2).unwrap();

    let mut dense_scratch = vec![0; dense.scratch_words(1)];

    let kernels = static_kernels(kernel_len, span, 0);
    let mut y = [0i16; 2];
    let view = kernels.view();
    Conv2d::new(dense, zero_point, view, output.view()).unwrap().infer(&x, &mut dense_scratch, &mut y);
    assert_eq!(y.map(reached), *expected);
    Linear::new(kernel_len, zero_point, view, output.view()).unwrap().infer(&x, &mut y);
    assert_eq!(y.map(reached), *expected);
    let both = [x.as_slice(), &x].concat();
    DepthwiseConv2d::new(depthwise, zero_point, view, output.view()).unwrap().infer(
        &both,
        &mut vec![0; depthwise.depthwise_scratch_words(2)],
        &mut y,
    );
    assert_eq!(y.map(reached), *expected);

    let kernels = static_kernels(kernel_len, span, 1);
    let (view, overflow) = (kernels.view(), Some(LayerError::AccumulatorOverflow));
    assert_eq!(Conv2d::<X, i16>::new(dense, zero_point, view, output.view()).err(), overflow);
    assert_eq!(Linear::<X, i16>::new(kernel_len, zero_point, view, output.view()).err(), overflow);
    assert_eq!(DepthwiseConv2d::<X, i16>::new(depthwise, zero_point, view, output.view()).err(), overflow);
}

#[test]
fn static_accumulators() {
    static_layers::<i8>(1);
    static_layers::<i8>(66_311);
    static_layers::<i16>(1);
    static_layers::<i16>(258);
}

/// Experts of two channels, all weights at one end, biases still zero.
fn extreme_experts(ends: [i8; 2], n: usize, kernel_len: usize, shift: u32) -> Mixture {
    let plane: Vec<i8> = ends.iter().flat_map(|&w| vec![w; kernel_len]).collect();
    Mixture {
        planes: vec![plane; n],
        ratios: vec![32767; 2 * n],
        shift,
        bias: vec![0; 2],
        expert_bias: vec![0; 2 * n],
    }
}

/// Shares what room there is under a bound among the static bias and the experts' own.
fn fill_bias(experts: &mut Mixture, room: i128) {
    let n = experts.count();
    let room = i32::try_from(room).unwrap();
    let share = room / (2 * n as i32);
    for (channel, sign) in [1, -1].into_iter().enumerate() {
        experts.bias[channel] = sign * (room - share * n as i32);
        experts.expert_bias[channel * n..(channel + 1) * n].fill(sign * share);
    }
}

#[test]
fn mixed_kernels() {
    let geometry = Geometry::new(Shape::new(1, 3, 1), 2, Window::new([1, 3]), 1).unwrap();
    let output = output(2);
    for n in 1..=32 {
        let shift = smallest_shift(n);
        let experts = extreme_experts([127, -128], n, 3, shift);
        let flash = experts.flash();
        let layer = CondConv2d::<i8, i16>::new(geometry, -128, experts.view(&flash), output.view()).unwrap();
        let alpha = vec![RoutingWeight::MAX; n];
        // The kernels of both channels, behind their biases.
        let (mut scratch, mut y) = ([0; 6], [0; 2]);
        layer.infer(&[127; 3], &alpha, &mut scratch, &mut y);
        let mixed: Vec<i16> =
            scratch[2..5].iter().flat_map(|word| [*word as i16, (word >> 16) as i16]).collect();
        assert_eq!(mixed.iter().map(|&w| w.into()).collect::<Vec<i128>>(), experts.mixed(&alpha), "n = {n}");
        assert!(mixed[0] > 16383 && mixed[3] < -16383, "n = {n}: a smaller shift would fit");

        let coarser = Mixture { shift: shift - 1, ..experts };
        let refused = CondConv2d::<i8, i16>::new(geometry, -128, coarser.view(&flash), output.view());
        assert_eq!(refused.err(), Some(LayerError::MixOverflow), "n = {n}");
    }
}

fn mixed_layer<X: Element>(n: usize, kernel_len: usize, shift: u32) {
    let (x, zero_point, span) = farthest::<X>(kernel_len);
    let geometry = Geometry::new(Shape::new(1, kernel_len, 1), 2, Window::new([1, kernel_len]), 1).unwrap();
    let output = output(2);
    let mut experts = extreme_experts([127, -128], n, kernel_len, shift);
    let room = i128::from(i32::MAX) - experts.convolution_bound(span);
    fill_bias(&mut experts, room);
    let flash = experts.flash();
    let layer = CondConv2d::<X, i16>::new(geometry, zero_point, experts.view(&flash), output.view());
    let alpha = vec![RoutingWeight::MAX; n];
    let (layer, mut y) = (layer.unwrap(), [0; 2]);
    layer.infer(&x, &alpha, &mut vec![0; layer.scratch_words()], &mut y);
    let sums = experts
        .mixed(&alpha)
        .chunks(kernel_len)
        .map(|kernel| span * kernel.iter().sum::<i128>())
        .collect::<Vec<_>>();
    let accumulators: Vec<i128> =
        sums.iter().zip(experts.mixed_bias(&alpha)).map(|(sum, bias)| sum + bias).collect();
    assert_eq!(y.map(reached), *output.of(&accumulators));

    experts.bias[1] -= 1;
    let refused = CondConv2d::<X, i16>::new(geometry, zero_point, experts.view(&flash), output.view());
    assert_eq!(refused.err(), Some(LayerError::AccumulatorOverflow));
}

#[test]
fn mixed_accumulators() {
    for n in [1, 2, 3, 4, 7, 8, 32] {
        mixed_layer::<i8>(n, 1, smallest_shift(n));
        mixed_layer::<i8>(n, 250, smallest_shift(n));
        mixed_layer::<i8>(n, 4608, smallest_shift(n) + 5);
        mixed_layer::<i16>(n, 9, smallest_shift(n) + 4);
    }
}

fn product_layer<X: Element>(n: usize, kernel_len: usize, shift: u32) {
    let (x, zero_point, span) = farthest::<X>(kernel_len);
    let output = output(2);
    let mut experts = extreme_experts([127, -127], n, kernel_len, shift);
    // One product must fit as well as the accumulator that is made of all.
    let combined = (span * 16383 * 127 * n as i128 * kernel_len as i128) >> shift;
    fill_bias(&mut experts, i128::from(i32::MAX) - combined - 1);
    let flash = experts.flash();
    let alpha = vec![RoutingWeight::MAX; n];
    let mut y = [0; 2];
    let layer = CondLinear::<X, i16>::new(kernel_len, zero_point, experts.view(&flash), output.view());
    layer.unwrap().infer(&x, &alpha, &mut y);
    assert_eq!(y.map(reached), *output.of(&experts.products(&alpha, &vec![span; kernel_len])));

    experts.bias[1] -= 1;
    let refused = CondLinear::<X, i16>::new(kernel_len, zero_point, experts.view(&flash), output.view());
    assert_eq!(refused.err(), Some(LayerError::AccumulatorOverflow));
}

#[test]
fn product_accumulators() {
    product_layer::<i8>(1, 66_311, 14);
    product_layer::<i8>(2, 66_311, 15);
    product_layer::<i8>(32, 66_311, 19);
    product_layer::<i8>(3, 1, 1);
    product_layer::<i16>(4, 258, 16);

    let experts = extreme_experts([127, -127], 1, 66_312, 20);
    let (flash, output) = (experts.flash(), output(2));
    let refused = CondLinear::<i8, i16>::new(66_312, -128, experts.view(&flash), output.view());
    assert_eq!(refused.err(), Some(LayerError::AccumulatorOverflow));
}

/// The most pixels of which 255 each fit an i32.
const MOST_PIXELS: usize = 8_421_504;

#[test]
fn pooled_sums() {
    let output = output(1);
    let mut y = [0];
    for (low, zero_point) in [(127i8, -128), (-128, 127)] {
        let pool =
            GlobalAveragePool::<i8, i16>::new(Shape::new(1, MOST_PIXELS, 1), zero_point, 0, output.view());
        pool.unwrap().infer(&vec![low; MOST_PIXELS], &mut y);
        let sum = i128::from(i32::from(low) - zero_point) * MOST_PIXELS as i128;
        assert_eq!(y.map(reached), *output.of(&[sum]));
    }
    for (pixels, shift) in [(MOST_PIXELS + 1, 0), (MOST_PIXELS, 1)] {
        let pool = GlobalAveragePool::<i8, i16>::new(Shape::new(1, pixels, 1), 0, shift, output.view());
        assert_eq!(pool.err(), Some(LayerError::AccumulatorOverflow));
    }
}

/// Every choice of the least and the largest weights and inputs, two taps and two pixels at a time.
#[test]
fn extreme_products() {
    let ends = |bits: usize, count: usize| -> Vec<i8> {
        (0..count).map(|i| if bits >> i & 1 == 0 { -128 } else { 127 }).collect()
    };
    let geometry = Geometry::new(Shape::new(1, 4, 2), 1, Window::new([1, 1]), 1).unwrap();
    let output = Output { multipliers: vec![1 << 24], zero_point: 0, min: -128, max: 127 };
    for bits in 0..1 << 10 {
        let (weights, x) = (ends(bits, 2), ends(bits >> 2, 8));
        let kernels = Fixed { weights: weights.clone(), bias: vec![0] };
        let layer = Conv2d::new(geometry, 0, kernels.view(), output.view()).unwrap();
        let mut y = [0i8; 4];
        layer.infer(&x, &mut vec![0; geometry.scratch_words(1)], &mut y);
        for (x, y) in x.chunks(2).zip(y) {
            let sum = x.iter().zip(&weights).map(|(x, w)| i128::from(*x) * i128::from(*w)).sum();
            assert_eq!(i32::from(y), output.of(&[sum])[0], "{weights:?} {x:?}");
        }
    }
}

/// Sums of a word of channels at a time stay in 16 bits for 256 pixels only.
#[test]
fn pooled_words() {
    let output = output(1);
    for channels in 4..=9 {
        for pixels in [255, 256, 257, 512, 700] {
            let shape = Shape::new(1, pixels, channels);
            let extreme = |channel: usize| [-128i8, 127][channel % 2];
            let input: Vec<i8> = (0..shape.len()).map(|i| extreme(i % channels)).collect();
            let mut y = vec![0; channels];
            GlobalAveragePool::<i8, i16>::new(shape, 5, 12, output.view()).unwrap().infer(&input, &mut y);
            for (channel, y) in y.into_iter().enumerate() {
                let sum = i128::from(i32::from(extreme(channel)) - 5) * pixels as i128 * 4096;
                assert_eq!(
                    reached(y),
                    output.of(&[sum])[0],
                    "channel {channel} of {channels}, {pixels} pixels"
                );
            }
        }
    }
}

#[test]
fn routing_accumulators() {
    let shape = Shape::new(1, MOST_PIXELS, 2);
    let sum = 255 * MOST_PIXELS as i128;
    let room = (1i64 << 47) - 1 - i64::try_from(2 * 32767 * sum).unwrap();
    for shift in [1, 31, 47, 62] {
        let route = Route {
            matrix: vec![32767, -32767, 32767, -32767],
            bias: vec![room, -room],
            multipliers: vec![32767; 2],
            shifts: vec![shift; 2],
        };
        let mut alpha = [RoutingWeight::ZERO; 2];
        route.view::<i8>(shape, -128).unwrap().infer(&vec![127; shape.len()], &mut alpha);
        assert_eq!(alpha, *route.weights(&[sum; 2]));
    }
    for bias in [vec![room + 1, 0], vec![0, -room - 1]] {
        let route = Route { matrix: vec![0; 4], bias, multipliers: vec![1; 2], shifts: vec![1; 2] };
        assert_eq!(route.view::<i8>(shape, 0).err(), Some(LayerError::RoutingOverflow));
    }
    let route = Route { matrix: vec![0], bias: vec![0], multipliers: vec![1], shifts: vec![1] };
    let refused = route.view::<i8>(Shape::new(1, MOST_PIXELS + 1, 1), 0);
    assert_eq!(refused.err(), Some(LayerError::RoutingOverflow));
}
