//! Every reason for which a layer is refused, and what it says.

use condconv::{
    CondConv2d, CondDepthwiseConv2d, CondLinear, Conv2d, DepthwiseConv2d, Experts, Geometry,
    GlobalAveragePool, LayerError, Linear, Padding, Requantize, Routing, RoutingWeight, Shape, StaticKernels,
    WeightSums, Window, checked,
};

const SHAPE: Shape = Shape::new(4, 4, 2);
const WINDOW: Window = Window::new([3, 3]);
const SUMS: [WeightSums; 8] = [WeightSums::new(127, 127); 8];

fn geometry(groups: usize) -> Geometry {
    Geometry::new(SHAPE, 2, WINDOW, groups).unwrap()
}

fn requantize(channels: usize) -> Requantize<'static> {
    Requantize::new(&[1; 8][..channels], 0, -128, 127).unwrap()
}

/// Two channels of that many weights.
fn fixed(kernel_len: usize) -> StaticKernels<'static> {
    StaticKernels::new(&[1; 64][..2 * kernel_len], &[0; 2], &SUMS[..2]).unwrap()
}

/// Two experts of two channels of that many weights.
fn experts(kernel_len: usize) -> Experts<'static> {
    Experts::new(2, &[1; 128][..4 * kernel_len], &[32767; 4], 12, &[0; 2], &[], &SUMS[..4]).unwrap()
}

fn routing(
    matrix: &[i16],
    bias: &'static [i64],
    multipliers: &'static [i16],
    shifts: &'static [u8],
) -> Option<LayerError> {
    Routing::<i8>::new(SHAPE, 0, matrix, bias, multipliers, shifts).err()
}

#[test]
fn dimensions_of_zero() {
    let zero = Some(LayerError::ZeroDimension);
    for input in [Shape::new(0, 4, 2), Shape::new(4, 0, 2), Shape::new(4, 4, 0)] {
        assert_eq!(WINDOW.output(input, 2).err(), zero);
        assert_eq!(Geometry::new(input, 2, WINDOW, 1).err(), zero);
        assert_eq!(GlobalAveragePool::<i8, i8>::new(input, 0, 0, requantize(1)).err(), zero);
        assert_eq!(Routing::<i8>::new(input, 0, &[], &[0], &[1], &[1]).err(), zero);
    }
    assert_eq!(Geometry::new(SHAPE, 0, WINDOW, 1).err(), zero);
    assert_eq!(Linear::<i8, i8>::new(0, 0, fixed(1), requantize(2)).err(), zero);
    assert_eq!(CondLinear::<i8, i8>::new(0, 0, experts(1), requantize(2)).err(), zero);
    assert_eq!(Geometry::new(SHAPE, 2, WINDOW, 0).err(), zero);
    for pair in [[0, 1], [1, 0]] {
        for window in [Window::new(pair), WINDOW.stride(pair), WINDOW.dilation(pair)] {
            assert_eq!(Geometry::new(SHAPE, 2, window, 1).err(), zero);
        }
    }
}

#[test]
fn extents_without_bounds() {
    let large = Some(LayerError::TooLarge);
    let most = usize::MAX;
    for input in [Shape::new(most, 1, 1), Shape::new(1, most, 1), Shape::new(1 << 12, 1 << 12, 1 << 12)] {
        assert_eq!(Geometry::new(input, 2, Window::new([1, 1]), 1).err(), large);
    }
    for window in [
        Window::new([most, 1]),
        WINDOW.stride([1, most]),
        WINDOW.dilation([most, 1]),
        WINDOW.padding(Padding { top: most, left: 0, bottom: 0, right: 0 }),
        WINDOW.padding(Padding { top: 0, left: 0, bottom: 0, right: most }),
    ] {
        assert_eq!(Geometry::new(SHAPE, 2, window, 1).err(), large);
    }
    assert_eq!(Geometry::new(SHAPE, most, WINDOW, 1).err(), large);
    let wide = Shape::new(1 << 20, 1 << 20, 1);
    assert_eq!(GlobalAveragePool::<i8, i8>::new(wide, 0, 0, requantize(1)).err(), large);
    assert_eq!(Linear::<i8, i8>::new(most, 0, fixed(1), requantize(2)).err(), large);
    assert_eq!(CondLinear::<i8, i8>::new(most, 0, experts(1), requantize(2)).err(), large);
    assert_eq!(Requantize::new(&[1], i32::MAX, -128, 127).err(), Some(LayerError::OutputRange));
    let sums = [WeightSums::new(u32::MAX, u32::MAX); 4];
    let experts = Experts::new(2, &[1; 36], &[32767; 4], 12, &[0; 2], &[], &sums).unwrap();
    let small = Geometry::new(Shape::new(3, 3, 1), 2, WINDOW, 1).unwrap();
    let layer = CondConv2d::<i16, i16>::new(small, 0, experts, requantize(2));
    assert_eq!(layer.err(), Some(LayerError::AccumulatorOverflow));
}

/// The overflow proof is for weights of 0 and more; opposite experts show what a negative one would do.
#[test]
fn negative_routing_weights_count_as_zero() {
    const K: usize = 500;
    let mut weights = [127; 2 * K];
    weights[K..].fill(-127);
    let sums = [WeightSums::new(127 * K as u32, 0), WeightSums::new(0, 127 * K as u32)];
    let experts = Experts::new(2, &weights, &[32767; 2], 7, &[5], &[1000, -1000], &sums).unwrap();
    let shape = Geometry::new(Shape::vector(K), 1, Window::new([1, 1]), 1).unwrap();
    let layer = CondConv2d::<i8, i16>::new(shape, -128, experts, requantize(1)).unwrap();
    let run = |routing: [RoutingWeight; 2]| {
        let (mut buffer, mut output) = (vec![0; layer.scratch_words()], [0]);
        layer.infer(&[127; K], &routing, &mut buffer, &mut output);
        output
    };
    assert_eq!(run([RoutingWeight::MAX, RoutingWeight::MIN]), run([RoutingWeight::MAX, RoutingWeight::ZERO]));
}

#[test]
fn kernels_larger_than_the_input() {
    let larger = Some(LayerError::KernelLargerThanInput);
    for window in [Window::new([5, 1]), Window::new([1, 5]), WINDOW.dilation([2, 1]), WINDOW.dilation([1, 2])]
    {
        assert_eq!(Geometry::new(SHAPE, 2, window, 1).err(), larger);
        let padding = Padding { top: 1, left: 0, bottom: 0, right: 1 };
        assert!(Geometry::new(SHAPE, 2, window.padding(padding), 1).is_ok());
    }
}

#[test]
fn groups_that_do_not_match() {
    let groups = Some(LayerError::Groups);
    assert_eq!(Geometry::new(SHAPE, 3, WINDOW, 2).err(), groups);
    assert_eq!(Geometry::new(SHAPE, 3, WINDOW, 3).err(), groups);
    assert_eq!(DepthwiseConv2d::<i8, i8>::new(geometry(1), 0, fixed(18), requantize(2)).err(), groups);
    assert_eq!(CondDepthwiseConv2d::<i8, i8>::new(geometry(1), 0, experts(18), requantize(2)).err(), groups);
}

#[test]
fn numbers_of_weights() {
    let length = Some(LayerError::WeightLength);
    assert_eq!(StaticKernels::new(&[1; 5], &[0; 2], &SUMS[..2]).err(), length);
    assert_eq!(StaticKernels::new(&[], &[], &[]).err(), length);
    assert_eq!(Experts::new(2, &[1; 6], &[1; 4], 8, &[0; 2], &[], &SUMS[..4]).err(), length);
    assert_eq!(Experts::new(2, &[], &[], 8, &[], &[], &[]).err(), length);
    assert_eq!(Conv2d::<i8, i8>::new(geometry(1), 0, fixed(17), requantize(2)).err(), length);
    assert_eq!(DepthwiseConv2d::<i8, i8>::new(geometry(2), 0, fixed(8), requantize(2)).err(), length);
    assert_eq!(CondConv2d::<i8, i8>::new(geometry(1), 0, experts(17), requantize(2)).err(), length);
    assert_eq!(CondDepthwiseConv2d::<i8, i8>::new(geometry(2), 0, experts(8), requantize(2)).err(), length);
    assert_eq!(Linear::<i8, i8>::new(5, 0, fixed(4), requantize(2)).err(), length);
    assert_eq!(CondLinear::<i8, i8>::new(5, 0, experts(4), requantize(2)).err(), length);
    assert_eq!(routing(&[0; 3], &[0; 2], &[1; 2], &[1; 2]), length);
}

#[test]
fn lengths_of_tables() {
    let length = Some(LayerError::TableLength);
    assert_eq!(StaticKernels::new(&[1; 4], &[0; 2], &SUMS[..1]).err(), length);
    for (ratios, expert_bias, sums) in [(3, 0, 4), (4, 3, 4), (4, 0, 3)] {
        let refused =
            Experts::new(2, &[1; 4], &[1; 4][..ratios], 8, &[0; 2], &[0; 4][..expert_bias], &SUMS[..sums]);
        assert_eq!(refused.err(), length);
    }
    let three = Geometry::new(SHAPE, 3, WINDOW, 1).unwrap();
    assert_eq!(Conv2d::<i8, i8>::new(three, 0, fixed(18), requantize(3)).err(), length);
    assert_eq!(CondConv2d::<i8, i8>::new(three, 0, experts(18), requantize(3)).err(), length);
    assert_eq!(Conv2d::<i8, i8>::new(geometry(1), 0, fixed(18), requantize(1)).err(), length);
    assert_eq!(CondConv2d::<i8, i8>::new(geometry(1), 0, experts(18), requantize(1)).err(), length);
    assert_eq!(DepthwiseConv2d::<i8, i8>::new(geometry(2), 0, fixed(9), requantize(1)).err(), length);
    assert_eq!(CondDepthwiseConv2d::<i8, i8>::new(geometry(2), 0, experts(9), requantize(3)).err(), length);
    assert_eq!(Linear::<i8, i8>::new(4, 0, fixed(4), requantize(1)).err(), length);
    assert_eq!(CondLinear::<i8, i8>::new(4, 0, experts(4), requantize(3)).err(), length);
    assert_eq!(GlobalAveragePool::<i8, i8>::new(SHAPE, 0, 0, requantize(2)).err(), length);
    assert_eq!(routing(&[0; 4], &[0; 2], &[1; 1], &[1; 2]), length);
    assert_eq!(routing(&[0; 4], &[0; 2], &[1; 2], &[1; 1]), length);
}

#[test]
fn numbers_of_experts() {
    let count = Some(LayerError::Experts);
    assert_eq!(Experts::new(0, &[], &[], 8, &[0], &[], &[]).err(), count);
    assert_eq!(Experts::new(33, &[0; 33], &[0; 33], 8, &[0], &[], &[WeightSums::new(0, 0); 33]).err(), count);
    assert_eq!(routing(&[], &[], &[], &[]), count);
    assert_eq!(routing(&[0; 66], &[0; 33], &[1; 33], &[1; 33]), count);
}

#[test]
fn zero_points_and_bounds() {
    let range = Some(LayerError::OutputRange);
    assert_eq!(Requantize::new(&[1], 0, 1, 0).err(), range);
    for (zero_point, min, max) in [(0, -129, 0), (0, 0, 128), (-129, 0, 0), (128, 0, 0)] {
        let wide = Requantize::new(&[1, 1], zero_point, min, max).unwrap();
        assert_eq!(Conv2d::<i8, i8>::new(geometry(1), 0, fixed(18), wide).err(), range);
        assert_eq!(CondConv2d::<i8, i8>::new(geometry(1), 0, experts(18), wide).err(), range);
        assert_eq!(Linear::<i8, i8>::new(4, 0, fixed(4), wide).err(), range);
        assert_eq!(CondLinear::<i8, i8>::new(4, 0, experts(4), wide).err(), range);
        assert!(Linear::<i8, i16>::new(4, 0, fixed(4), wide).is_ok());
    }
    for zero_point in [-129, 128] {
        assert_eq!(Conv2d::<i8, i8>::new(geometry(1), zero_point, fixed(18), requantize(2)).err(), range);
        assert_eq!(
            DepthwiseConv2d::<i8, i8>::new(geometry(2), zero_point, fixed(9), requantize(2)).err(),
            range
        );
        assert_eq!(
            CondConv2d::<i8, i8>::new(geometry(1), zero_point, experts(18), requantize(2)).err(),
            range
        );
        assert_eq!(Linear::<i8, i8>::new(4, zero_point, fixed(4), requantize(2)).err(), range);
        assert_eq!(CondLinear::<i8, i8>::new(4, zero_point, experts(4), requantize(2)).err(), range);
        assert_eq!(GlobalAveragePool::<i8, i8>::new(SHAPE, zero_point, 0, requantize(1)).err(), range);
        assert_eq!(Routing::<i8>::new(SHAPE, zero_point, &[0; 2], &[0], &[1], &[1]).err(), range);
        assert!(Linear::<i16, i8>::new(4, zero_point, fixed(4), requantize(2)).is_ok());
    }
}

#[test]
fn multipliers_and_shifts() {
    let multiplier = Some(LayerError::Multiplier);
    assert_eq!(Requantize::new(&[0, -1], 0, 0, 0).err(), multiplier);
    for (ratio, shift) in [(-1, 8), (1, 0), (1, 31)] {
        assert_eq!(Experts::new(1, &[1], &[ratio], shift, &[0], &[], &SUMS[..1]).err(), multiplier);
    }
    assert_eq!(GlobalAveragePool::<i8, i8>::new(SHAPE, 0, 31, requantize(1)).err(), multiplier);
    assert_eq!(routing(&[0; 2], &[0], &[-1], &[1]), multiplier);
    assert_eq!(routing(&[0; 2], &[0], &[1], &[0]), multiplier);
    assert_eq!(routing(&[0; 2], &[0], &[1], &[63]), multiplier);
}

#[test]
fn reasons_in_words() {
    let all = [
        LayerError::ZeroDimension,
        LayerError::KernelLargerThanInput,
        LayerError::Groups,
        LayerError::WeightLength,
        LayerError::TableLength,
        LayerError::Experts,
        LayerError::OutputRange,
        LayerError::Multiplier,
        LayerError::MixOverflow,
        LayerError::AccumulatorOverflow,
        LayerError::RoutingOverflow,
    ];
    let mut messages: Vec<String> = all.iter().map(LayerError::to_string).collect();
    messages.sort();
    messages.dedup();
    assert_eq!(messages.len(), all.len());
}

#[test]
#[should_panic = "the number of weights does not match the shape"]
fn checked_says_what_is_wrong() {
    let _ = checked(StaticKernels::new(&[1; 5], &[0; 2], &SUMS[..2]));
}

#[test]
#[should_panic = "assertion failed"]
fn a_tensor_of_another_shape() {
    let layer = Conv2d::<i8, i8>::new(geometry(1), 0, fixed(18), requantize(2)).unwrap();
    layer.infer(&[0; 31], &mut vec![0; layer.scratch_words()], &mut [0; 8]);
}

#[test]
#[should_panic = "assertion failed"]
fn a_scratch_without_room_for_one_channel() {
    let layer = CondConv2d::<i8, i8>::new(geometry(1), 0, experts(18), requantize(2)).unwrap();
    let mut scratch = vec![0; layer.scratch_words() - 1];
    layer.infer(&[0; 32], &[RoutingWeight::ZERO; 2], &mut scratch, &mut [0; 8]);
}

#[test]
#[should_panic = "assertion failed"]
fn a_routing_of_another_number_of_experts() {
    let layer = CondLinear::<i8, i8>::new(4, 0, experts(4), requantize(2)).unwrap();
    layer.infer(&[0; 4], &[RoutingWeight::ZERO; 3], &mut [0; 2]);
}
