//! Layers without kernels, of any shape on any numbers: bit for bit against their documented equations, and close to
//! the same operator in floats.

mod drawn;
mod integer;
mod reference;

use condconv::{
    Add, AveragePool2d, ConcatPart, Element, Geometry, LayerError, Lookup, MaxPool2d, Mul, Operand, Pad,
    Padding, Routing, RoutingWeight, Shape, Softmax, SoftmaxGate, Window,
};
use drawn::{Number, check};
use integer::{Output, half_up};
use proptest::collection::vec;
use proptest::prelude::*;

type Outcome = Result<(), TestCaseError>;

fn widened<Y: Element>(output: &[Y]) -> Vec<i32> {
    output.iter().map(|y| y.widen()).collect()
}

fn shape() -> impl Strategy<Value = Shape> {
    [1usize..=5, 1..=5, 1..=6].prop_map(|[height, width, channels]| Shape::new(height, width, channels))
}

/// The largest multipliers that two operands may have at a shift, and smaller ones.
fn operands<A: Element, B: Element>(shift: u32) -> impl Strategy<Value = [i32; 2]> {
    let room = i64::from(i32::MAX) - (1 << (shift - 1));
    let spans = [A::MAX - A::MIN, B::MAX - B::MIN].map(i64::from);
    (0..=room / spans[0]).prop_flat_map(move |a| {
        let rest = (room - spans[0] * a) / spans[1];
        let b = prop_oneof![Just(rest), 0..=rest];
        b.prop_map(move |b| [a as i32, b as i32])
    })
}

fn addition<A: Number, B: Number, Y: Number>() {
    let cases = (shape(), 1u32..=24).prop_flat_map(|(shape, shift)| {
        let tensors = (drawn::elements::<A>(shape.len()), drawn::elements::<B>(shape.len()));
        let zero_points = (drawn::zero_point::<A>(), drawn::zero_point::<B>());
        (Just((shape, shift)), tensors, zero_points, operands::<A, B>(shift), drawn::output::<Y>(1))
    });
    check(1000, &cases, |((shape, shift), (a, b), (za, zb), [ma, mb], output)| {
        let (for_a, for_b) = (Operand::new(za, ma), Operand::new(zb, mb));
        let Output { zero_point, min, max, .. } = output;
        let layer = Add::<A, B, Y>::new(shape, for_a, for_b, shift, zero_point, min, max).unwrap();
        let mut sums = vec![Y::default(); shape.len()];
        layer.infer(&a, &b, &mut sums);
        let expected: Vec<i32> = a
            .iter()
            .zip(&b)
            .map(|(a, b)| {
                let [a, b] = [a.widen() - za, b.widen() - zb].map(i128::from);
                let sum = half_up(a * i128::from(ma) + b * i128::from(mb), shift);
                (i128::from(zero_point) + sum).clamp(min.into(), max.into()) as i32
            })
            .collect();
        prop_assert_eq!(widened(&sums), expected);
        Ok(())
    });
}

#[test]
fn add() {
    addition::<i8, i8, i8>();
    addition::<i8, i8, i16>();
    addition::<i8, i16, i8>();
    addition::<i16, i16, i16>();
}

#[test]
fn add_at_the_bound() {
    let add = |a: i32, b: i32| {
        Add::<i8, i8>::new(Shape::vector(1), Operand::new(-128, a), Operand::new(-128, b), 1, 0, -128, 127)
    };
    let most = (i32::MAX - 1) / 255;
    let mut output = [0];
    add(most, 0).unwrap().infer(&[127], &[127], &mut output);
    assert_eq!(output, [127]);
    assert_eq!(add(most, 1).unwrap_err(), LayerError::AccumulatorOverflow);
    assert_eq!(add(most + 1, 0).unwrap_err(), LayerError::AccumulatorOverflow);
    assert_eq!(add(-1, 0).unwrap_err(), LayerError::Multiplier);
}

fn multiplication<A: Number, B: Number, Y: Number>(per_channel: bool) {
    let cases = shape().prop_flat_map(move |shape| {
        let factors = if per_channel { shape.channels } else { shape.len() };
        let tensors = (drawn::elements::<A>(shape.len()), drawn::elements::<B>(factors));
        let zero_points = (drawn::zero_point::<A>(), drawn::zero_point::<B>());
        (Just(shape), tensors, zero_points, drawn::output::<Y>(1))
    });
    check(1000, &cases, |(shape, (a, b), (za, zb), output)| {
        let layer = Mul::<A, B, Y>::new(shape, za, per_channel, zb, output.view()).unwrap();
        let mut products = vec![Y::default(); shape.len()];
        layer.infer(&a, &b, &mut products);
        let accumulators: Vec<i128> = a
            .iter()
            .zip(b.iter().cycle())
            .map(|(a, b)| i128::from(a.widen() - za) * i128::from(b.widen() - zb))
            .collect();
        prop_assert_eq!(widened(&products), output.of(&accumulators));
        Ok(())
    });
}

#[test]
fn mul() {
    for per_channel in [false, true] {
        multiplication::<i8, i8, i8>(per_channel);
        multiplication::<i8, i8, i16>(per_channel);
        multiplication::<i8, i16, i8>(per_channel);
    }
    let wide = Mul::<i16, i16>::new(
        Shape::vector(1),
        0,
        false,
        0,
        condconv::Requantize::new(&[0], 0, 0, 0).unwrap(),
    );
    assert_eq!(wide.unwrap_err(), LayerError::AccumulatorOverflow);
}

#[test]
fn concat() {
    let cases = (shape(), vec(1usize..=4, 1..=4), 1u32..=22).prop_flat_map(|(shape, channels, shift)| {
        let part = move |channels: usize| {
            let len = shape.pixels() * channels;
            (drawn::elements::<i8>(len), drawn::zero_point::<i8>(), operands::<i8, i8>(shift))
        };
        let parts: Vec<_> = channels.iter().map(|&channels| part(channels)).collect();
        (Just((shape, channels, shift)), parts, drawn::zero_point::<i8>())
    });
    check(1000, &cases, |((shape, channels, shift), parts, zero_point)| {
        let all: usize = channels.iter().sum();
        let mut output = vec![0i8; shape.pixels() * all];
        let mut expected = vec![0; output.len()];
        let mut first = 0;
        for (&own, (input, zx, [multiplier, _])) in channels.iter().zip(&parts) {
            let part = Shape::new(shape.height, shape.width, own);
            let operand = Operand::new(*zx, *multiplier);
            ConcatPart::<i8, i8>::new(part, all, first, operand, shift, zero_point)
                .unwrap()
                .infer(input, &mut output);
            for (i, x) in input.iter().enumerate() {
                let scaled = half_up(i128::from(x.widen() - zx) * i128::from(*multiplier), shift);
                expected[i / own * all + first + i % own] =
                    (i128::from(zero_point) + scaled).clamp(-128, 127) as i32;
            }
            first += own;
        }
        prop_assert_eq!(widened(&output), expected);
        Ok(())
    });
    let beyond = ConcatPart::<i8, i8>::new(Shape::vector(3), 4, 2, Operand::new(0, 1), 1, 0);
    assert_eq!(beyond.unwrap_err(), LayerError::TableLength);
}

#[test]
fn pad() {
    let cases = (shape(), [0usize..=3, 0..=3, 0..=3, 0..=3]).prop_flat_map(|(shape, sides)| {
        (Just((shape, sides)), drawn::elements::<i8>(shape.len()), drawn::zero_point::<i8>())
    });
    check(1000, &cases, |((shape, [top, left, bottom, right]), input, zero_point)| {
        let layer = Pad::<i8>::new(shape, Padding::new(top, left, bottom, right), zero_point).unwrap();
        let whole = layer.output();
        let mut output = vec![99; whole.len()];
        layer.infer(&input, &mut output);
        for (i, &value) in output.iter().enumerate() {
            let (y, x) = (i / whole.channels / whole.width, i / whole.channels % whole.width);
            let inside = y.checked_sub(top).zip(x.checked_sub(left));
            let inside = inside.filter(|&(y, x)| y < shape.height && x < shape.width);
            let expected = inside.map_or(zero_point, |(y, x)| {
                input[(y * shape.width + x) * shape.channels + i % whole.channels].into()
            });
            prop_assert_eq!(i32::from(value), expected);
        }
        Ok(())
    });
}

/// The elements that the window at each output pixel and channel meets.
fn windows<X: Element>(geometry: &Geometry, input: &[X]) -> Vec<Vec<i128>> {
    let (shape, window) = (geometry.input(), geometry.window());
    let output = geometry.output();
    let mut all = Vec::new();
    for (y, x) in (0..output.height).flat_map(|y| (0..output.width).map(move |x| (y, x))) {
        for channel in 0..shape.channels {
            let mut met = Vec::new();
            for (row, column) in
                (0..window.kernel[0]).flat_map(|row| (0..window.kernel[1]).map(move |column| (row, column)))
            {
                let y = (y * window.stride[0] + row * window.dilation[0]).checked_sub(window.padding.top);
                let x = (x * window.stride[1] + column * window.dilation[1]).checked_sub(window.padding.left);
                if let (Some(y), Some(x)) = (y, x)
                    && y < shape.height
                    && x < shape.width
                {
                    met.push(input[(y * shape.width + x) * shape.channels + channel].widen().into());
                }
            }
            all.push(met);
        }
    }
    all
}

#[test]
fn max_pool() {
    let cases = drawn::geometry(true)
        .prop_flat_map(|geometry| (Just(geometry), drawn::elements::<i8>(geometry.input().len())));
    check(2000, &cases, |(geometry, input)| {
        let met = windows(&geometry, &input);
        let layer = MaxPool2d::<i8>::new(geometry.input(), geometry.window());
        if met.iter().any(Vec::is_empty) {
            prop_assert_eq!(layer.unwrap_err(), LayerError::EmptyWindow);
            return Ok(());
        }
        let mut output = vec![0; geometry.output().len()];
        layer.unwrap().infer(&input, &mut output);
        let expected: Vec<i32> = met.iter().map(|met| *met.iter().max().unwrap() as i32).collect();
        prop_assert_eq!(widened(&output), expected);
        Ok(())
    });
}

fn average<X: Number, Y: Number>() {
    let cases = drawn::geometry(true).prop_flat_map(|geometry| {
        let layer = (drawn::zero_point::<X>(), 0u32..=8, drawn::output::<Y>(geometry.window().taps()));
        (Just(geometry), drawn::elements::<X>(geometry.input().len()), layer)
    });
    check(2000, &cases, |(geometry, input, (zero_point, shift, output))| {
        let met = windows(&geometry, &input);
        let layer =
            AveragePool2d::<X, Y>::new(geometry.input(), geometry.window(), zero_point, shift, output.view());
        if met.iter().any(Vec::is_empty) {
            prop_assert_eq!(layer.unwrap_err(), LayerError::EmptyWindow);
            return Ok(());
        }
        let mut means = vec![Y::default(); geometry.output().len()];
        layer.unwrap().infer(&input, &mut means);
        let expected: Vec<i32> = met
            .iter()
            .map(|met| {
                let sum: i128 = met.iter().map(|x| x - i128::from(zero_point)).sum();
                let of_count =
                    Output { multipliers: vec![output.multipliers[met.len() - 1]], ..output.clone() };
                of_count.of(&[sum << shift])[0]
            })
            .collect();
        prop_assert_eq!(widened(&means), expected);
        Ok(())
    });
}

#[test]
fn average_pool() {
    average::<i8, i8>();
    average::<i8, i16>();
    average::<i16, i8>();
}

#[test]
fn lookup_of_every_value() {
    let table: [i16; 256] = std::array::from_fn(|i| (i as i16 - 128) * 7);
    let input: Vec<i8> = (i8::MIN..=i8::MAX).collect();
    let mut output = vec![0; 256];
    Lookup::new(&table).infer(&input, &mut output);
    assert_eq!(output, input.iter().map(|&x| i16::from(x) * 7).collect::<Vec<_>>());
}

/// Shares of one beside their exact values, in units of 2^-15.
fn close(shares: impl Iterator<Item = i16>, exact: &[f64]) -> Outcome {
    for (share, exact) in shares.zip(exact) {
        let error = f64::from(share) - (exact * 32768.0).min(32767.0);
        prop_assert!(error.abs() <= 4.0, "{error}");
    }
    Ok(())
}

fn softmax(logits: &[f64]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f64::MIN, f64::max);
    let powers: Vec<f64> = logits.iter().map(|logit| (logit - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}

#[test]
fn softmax_of_scores() {
    let cases = (1usize..=40, 1e-5f64..=0.02)
        .prop_flat_map(|(classes, scale)| (Just(scale), drawn::elements::<i16>(classes)));
    check(5000, &cases, |(scale, scores)| {
        let ratio = scale * 4096.0 * std::f64::consts::LOG2_E;
        let layer = Softmax::<i16>::new(scores.len(), (ratio * 65536.0).round() as i32, 16).unwrap();
        let mut probabilities = vec![0; scores.len()];
        layer.infer(&scores, &mut probabilities);
        let logits: Vec<f64> = scores.iter().map(|&score| f64::from(score) * scale).collect();
        close(probabilities.into_iter(), &softmax(&logits))
    });
}

/// Each of the small shares is less than a unit of 2^-16, and rounding each would make the sum wrong.
#[test]
fn many_small_shares() {
    for distance in [9.0, 11.0, 11.8] {
        let mut scores = [-32768i16; 40];
        scores[0] = 32767;
        let scale = distance / 65535.0;
        let multiplier = (scale * 4096.0 * std::f64::consts::LOG2_E * f64::from(1 << 20)).round() as i32;
        let mut probabilities = [0; 40];
        Softmax::<i16>::new(40, multiplier, 20).unwrap().infer(&scores, &mut probabilities);
        let logits = scores.map(|score| f64::from(score) * scale);
        close(probabilities.into_iter(), &softmax(&logits)).unwrap();
    }
}

#[test]
fn softmax_routing() {
    // One pixel of one channel for each expert; the matrix picks it.
    let cases = (1usize..=32).prop_flat_map(drawn::elements::<i8>);
    check(2000, &cases, |input| {
        let experts = input.len();
        let matrix: Vec<i16> =
            (0..experts * experts).map(|i| if i / experts == i % experts { 1 << 14 } else { 0 }).collect();
        // Logits are the elements over 16.
        let multiplier =
            (4096.0 * std::f64::consts::LOG2_E / 16.0 / 16384.0 * f64::from(1 << 19)).round() as i16;
        let (bias, multipliers, shifts) = (vec![0; experts], vec![multiplier; experts], vec![19; experts]);
        let shape = Shape::vector(experts);
        let routing =
            Routing::<i8, SoftmaxGate>::new(shape, 0, &matrix, &bias, &multipliers, &shifts).unwrap();
        let mut weights = vec![RoutingWeight::ZERO; experts];
        routing.infer(&input, &mut weights);
        let logits: Vec<f64> = input.iter().map(|&x| f64::from(x) / 16.0).collect();
        close(weights.iter().map(|weight| weight.to_bits()), &softmax(&logits))
    });
}

#[test]
fn windows_in_the_padding_are_refused() {
    let window = |padding| Window::new([2, 2]).padding(padding);
    let shape = Shape::new(3, 3, 1);
    assert!(MaxPool2d::<i8>::new(shape, window(Padding::symmetric(1, 1))).is_ok());
    for padding in [Padding::new(2, 0, 0, 0), Padding::new(0, 2, 0, 0), Padding::new(0, 0, 2, 0)] {
        assert_eq!(MaxPool2d::<i8>::new(shape, window(padding)).unwrap_err(), LayerError::EmptyWindow);
    }
}

#[test]
fn extents_without_bounds() {
    let large = Some(LayerError::TooLarge);
    let most = usize::MAX;
    let shape = Shape::new(3, 3, 2);
    for padding in [Padding::new(most, 0, 0, 0), Padding::new(0, 0, 0, most)] {
        assert_eq!(Pad::<i8>::new(shape, padding, 0).err(), large);
    }
    let wide = Padding::symmetric(1 << 20, 1 << 20);
    assert_eq!(Pad::<i8>::new(shape, wide, 0).err(), large);
    let part =
        |channels, first| ConcatPart::<i8, i8>::new(shape, channels, first, Operand::new(0, 1), 1, 0).err();
    assert_eq!(part(4, most), Some(LayerError::TableLength));
    assert_eq!(part(1, 0), Some(LayerError::TableLength));
    assert_eq!(part(most, 0), large);
}
