//! Layers whose output overlaps their input give the same bits, at the smallest distances that they allow, and those are
//! as small as can be.

mod drawn;
mod integer;

use condconv::{
    Add, AveragePool2d, CondConv2d, CondDepthwiseConv2d, Conv2d, DepthwiseConv2d, Geometry, Lookup,
    MaxPool2d, Mul, Operand, Overlap, Requantize, RoutingWeight, Shape, Window,
};
use drawn::{Number, check};
use integer::{Fixed, Mixture, Output, smallest_shift};
use proptest::collection::vec;
use proptest::prelude::*;

type Outcome = Result<(), TestCaseError>;

/// Numbers of the input's pixels that each output pixel sees, padding left out.
fn seen(geometry: &Geometry) -> Vec<Vec<usize>> {
    let (input, output, window) = (geometry.input(), geometry.output(), geometry.window());
    let inside = |start: usize, tap: usize, dilation: usize, padding: usize, len: usize| {
        (start + tap * dilation).checked_sub(padding).filter(|&at| at < len)
    };
    (0..output.pixels())
        .map(|pixel| {
            let (y, x) = (pixel / output.width * window.stride[0], pixel % output.width * window.stride[1]);
            let rows = (0..window.kernel[0])
                .filter_map(|tap| inside(y, tap, window.dilation[0], window.padding.top, input.height));
            rows.flat_map(|row| {
                let columns = (0..window.kernel[1])
                    .filter_map(|tap| inside(x, tap, window.dilation[1], window.padding.left, input.width));
                columns.map(move |column| row * input.width + column)
            })
            .collect()
        })
        .collect()
}

/// The smallest distances with which no pixel writes over what it or pixels after it see.
fn distances(geometry: &Geometry) -> (usize, usize) {
    let (inputs, outputs) = (geometry.input().channels as i64, geometry.output().channels as i64);
    let seen = seen(geometry);
    let (mut before, mut after) = (0, 0);
    for pixel in 0..seen.len() as i64 {
        let first = seen[pixel as usize..].iter().flatten().min();
        let last = seen[..=pixel as usize].iter().flatten().max();
        before = before.max(first.map_or(0, |&first| (pixel + 1) * outputs - first as i64 * inputs));
        after = after.max(last.map_or(0, |&last| (last as i64 + 1) * inputs - pixel * outputs));
    }
    (before as usize, after as usize)
}

#[test]
fn distances_are_the_smallest() {
    for depthwise in [false, true] {
        check(2000, &drawn::geometry(depthwise), |geometry| {
            let channels = geometry.output().channels;
            let Some(overlap) = geometry.overlap() else {
                let refused = if geometry.is_depthwise() { channels % 4 != 0 } else { geometry.groups() > 1 };
                prop_assert!(refused);
                return Ok(());
            };
            let (before, after) = distances(&geometry);
            let before = before.next_multiple_of(overlap.step);
            if seen(&geometry).iter().any(Vec::is_empty) {
                prop_assert!(overlap.before >= before && overlap.after.is_none_or(|a| a >= after));
            } else {
                prop_assert_eq!(overlap.before, before);
                prop_assert!(overlap.after.is_none_or(|a| a == after));
            }
            Ok(())
        });
    }
}

/// Runs a layer within one memory at the smallest distances, and one step farther.
fn agrees<X: Number + PartialEq>(
    overlap: Option<Overlap>,
    input: &[X],
    expected: &[X],
    infer: impl Fn(&mut [X], [usize; 2]),
) -> Outcome {
    let Some(overlap) = overlap else { return Ok(()) };
    for farther in [0, overlap.step] {
        let places = [Some([overlap.before + farther, 0]), overlap.after.map(|after| [0, after + farther])];
        for [from, to] in places.into_iter().flatten() {
            prop_assert!(overlap.allows(from, to));
            let mut memory = vec![X::saturate(77); (from + input.len()).max(to + expected.len()) + 1];
            memory[from..][..input.len()].copy_from_slice(input);
            infer(&mut memory, [from, to]);
            prop_assert_eq!(&memory[to..][..expected.len()], expected, "{:?}", [from, to]);
        }
    }
    Ok(())
}

#[derive(Debug, Clone)]
struct Case<X, K> {
    geometry: Geometry,
    input: Vec<X>,
    zero_point: i32,
    kernels: K,
    output: Output,
}

fn cases<X: Number, K: std::fmt::Debug + Clone, S: Strategy<Value = K>>(
    geometries: impl Strategy<Value = Geometry>,
    kernels: impl Fn(usize, usize) -> S,
) -> impl Strategy<Value = Case<X, K>> {
    geometries.prop_flat_map(move |geometry| {
        let channels = geometry.output().channels;
        (
            drawn::elements(geometry.input().len()),
            drawn::zero_point::<X>(),
            kernels(channels, geometry.kernel_len()),
            drawn::output::<X>(channels),
        )
            .prop_map(move |(input, zero_point, kernels, output)| Case {
                geometry,
                input,
                zero_point,
                kernels,
                output,
            })
    })
}

fn fixed<X: Number + PartialEq>(depthwise: bool, geometries: impl Strategy<Value = Geometry>) {
    check(400, &cases::<X, Fixed, _>(geometries, drawn::fixed), |case| {
        let Case { geometry, input, zero_point, kernels, output } = &case;
        let mut expected = vec![X::default(); geometry.output().len()];
        if depthwise {
            let layer =
                DepthwiseConv2d::<X, X>::new(*geometry, *zero_point, kernels.view(), output.view()).unwrap();
            layer.infer(input, &mut vec![-1; layer.scratch_words()], &mut expected);
            // Room for as few channels as can be, and for all.
            for words in [layer.scratch_words(), geometry.depthwise_scratch_words(geometry.output().channels)]
            {
                agrees(geometry.overlap(), input, &expected, |memory, places| {
                    layer.infer_within(memory, places, &mut vec![-1; words]);
                })?;
            }
            Ok(())
        } else {
            let layer = Conv2d::<X, X>::new(*geometry, *zero_point, kernels.view(), output.view()).unwrap();
            layer.infer(input, &mut vec![-1; layer.scratch_words()], &mut expected);
            // In between there is room for some kernels, not for all.
            for more in [0, geometry.scratch_words(2), geometry.scratch_words(9)] {
                let words = layer.overlap_scratch_words() + more;
                agrees(geometry.overlap(), input, &expected, |memory, places| {
                    layer.infer_within(memory, places, &mut vec![-1; words]);
                })?;
            }
            Ok(())
        }
    });
}

fn mixed<X: Number + PartialEq>(depthwise: bool, geometries: impl Strategy<Value = Geometry>) {
    let shift = smallest_shift(3) + 4;
    let kernels = move |channels, len| {
        let experts = drawn::mixture(3, channels, len, shift..=shift + 6);
        (experts, drawn::routing_weights(3))
    };
    check(400, &cases::<X, (Mixture, Vec<RoutingWeight>), _>(geometries, kernels), |case| {
        let Case { geometry, input, zero_point, kernels: (experts, routing), output } = &case;
        let flash = experts.flash();
        let experts = experts.view(&flash);
        let mut expected = vec![X::default(); geometry.output().len()];
        if depthwise {
            let layer = CondDepthwiseConv2d::<X, X>::new(*geometry, *zero_point, experts, output.view());
            let Ok(layer) = layer else { return Ok(()) };
            layer.infer(input, routing, &mut vec![-1; layer.scratch_words()], &mut expected);
            for words in [layer.scratch_words(), geometry.depthwise_scratch_words(geometry.output().channels)]
            {
                agrees(geometry.overlap(), input, &expected, |memory, places| {
                    layer.infer_within(memory, places, routing, &mut vec![-1; words]);
                })?;
            }
            Ok(())
        } else {
            let layer = CondConv2d::<X, X>::new(*geometry, *zero_point, experts, output.view());
            let Ok(layer) = layer else { return Ok(()) };
            layer.infer(input, routing, &mut vec![-1; layer.scratch_words()], &mut expected);
            for more in [0, geometry.scratch_words(9)] {
                let words = layer.overlap_scratch_words() + more;
                agrees(geometry.overlap(), input, &expected, |memory, places| {
                    layer.infer_within(memory, places, routing, &mut vec![-1; words]);
                })?;
            }
            Ok(())
        }
    });
}

#[test]
fn static_kernels() {
    fixed::<i8>(false, drawn::geometry(false));
    fixed::<i8>(true, drawn::geometry(true));
    fixed::<i16>(false, drawn::geometry(false));
    fixed::<i16>(true, drawn::geometry(true));
    fixed::<i8>(false, drawn::vectors(false));
    fixed::<i8>(true, drawn::vectors(true));
}

#[test]
fn mixed_kernels() {
    mixed::<i8>(false, drawn::geometry(false));
    mixed::<i8>(true, drawn::geometry(true));
    mixed::<i16>(false, drawn::geometry(false));
    mixed::<i16>(true, drawn::geometry(true));
    mixed::<i8>(false, drawn::vectors(false));
    mixed::<i8>(true, drawn::vectors(true));
}

fn pools<X: Number + PartialEq>() {
    let cases = cases::<X, (), _>(drawn::geometry(true), |_, _| Just(()));
    check(1000, &cases, |Case { geometry, input, zero_point, .. }| {
        let (shape, window) = (geometry.input(), geometry.window());
        let mut expected = vec![X::default(); geometry.output().len()];
        let Ok(pool) = MaxPool2d::<X>::new(shape, window) else { return Ok(()) };
        pool.infer(&input, &mut expected);
        let infer = |memory: &mut [X], places| pool.infer_within(memory, places);
        agrees(pool.geometry().overlap(), &input, &expected, infer)?;

        let multipliers: Vec<i32> = (1..=window.taps() as i32).map(|taps| (1 << 24) / taps).collect();
        let requantize = Requantize::new(&multipliers, zero_point, X::MIN, X::MAX).unwrap();
        let pool = AveragePool2d::<X, X>::new(shape, window, zero_point, 8, requantize).unwrap();
        pool.infer(&input, &mut expected);
        let infer = |memory: &mut [X], places| pool.infer_within(memory, places);
        agrees(pool.geometry().overlap(), &input, &expected, infer)
    });
}

#[test]
fn pools_of_both_types() {
    pools::<i8>();
    pools::<i16>();
}

#[test]
fn a_step_nearer_is_not_allowed_and_destroys_the_input() {
    let geometry = Geometry::new(Shape::new(4, 5, 2), 1, Window::new([3, 3]), 1).unwrap();
    let overlap = geometry.overlap().unwrap();
    assert!(!overlap.allows(overlap.before - 1, 0));
    assert!(!overlap.allows(0, overlap.after.unwrap() - 1));
    assert!(Overlap::IN_PLACE.allows(3, 3));
    assert!(!Overlap::IN_PLACE.allows(3, 2) && !Overlap::IN_PLACE.allows(2, 3));

    let kernels = Fixed { weights: vec![1; 18], bias: vec![0] };
    let requantize = Requantize::new(&[1 << 28], 0, -128, 127).unwrap();
    let layer: Conv2d<'_> = Conv2d::new(geometry, 0, kernels.view(), requantize).unwrap();
    let input: [i8; 40] = std::array::from_fn(|i| (i * i % 100) as i8);
    let mut expected = [0; 6];
    layer.infer(&input, &mut vec![0; layer.scratch_words()], &mut expected);
    let mut memory = [0; 40];
    memory.copy_from_slice(&input);
    layer.infer_within(&mut memory, [0, 10], &mut vec![0; layer.overlap_scratch_words()]);
    assert_ne!(memory[10..16], expected);
}

#[test]
fn element_by_element_in_place() {
    let triples = vec((any::<i8>(), any::<i8>()), 12);
    check(500, &(triples, drawn::zero_point::<i8>(), 0i32..256), |(pairs, zero_point, multiplier)| {
        let (a, b): (Vec<i8>, Vec<i8>) = pairs.into_iter().unzip();
        let shape = Shape::new(2, 2, 3);
        let mut expected = vec![0i8; 12];
        let mut in_place = a.clone();
        let operands = [Operand::new(zero_point, multiplier), Operand::new(3, 200)];
        let add = Add::<i8, i8, i8>::new(shape, operands[0], operands[1], 8, -5, -100, 120).unwrap();
        add.infer(&a, &b, &mut expected);
        add.infer_in_place(&mut in_place, &b);
        prop_assert_eq!(&in_place, &expected);

        for (per_channel, b) in [(false, &b[..]), (true, &b[..3])] {
            let requantize = Requantize::new(&[1 << 25], -5, -100, 120).unwrap();
            let mul = Mul::<i8, i8, i8>::new(shape, zero_point, per_channel, 3, requantize).unwrap();
            mul.infer(&a, b, &mut expected);
            in_place.clone_from(&a);
            mul.infer_in_place(&mut in_place, b);
            prop_assert_eq!(&in_place, &expected);
        }

        let table: [i8; 256] = std::array::from_fn(|i| ((i * 37) % 251) as u8 as i8);
        let lookup = Lookup::new(&table);
        lookup.infer(&a, &mut expected);
        in_place.clone_from(&a);
        lookup.infer_in_place(&mut in_place);
        prop_assert_eq!(&in_place, &expected);
        Ok(())
    });
}
