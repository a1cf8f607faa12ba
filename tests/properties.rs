//! Layers of any shape on any numbers, bit for bit against the equations that the library documents.

mod drawn;
mod integer;
mod reference;

use condconv::{
    CondConv2d, CondDepthwiseConv2d, CondLinear, Conv2d, DepthwiseConv2d, Element, Geometry,
    GlobalAveragePool, LayerError, Linear, Requantize, RoutingWeight, Shape,
};
use condconv_tools::quantize::interleave;
use drawn::{Number, check};
use integer::{Fixed, Mixture, Output, Route, pooled, smallest_shift};
use proptest::collection::vec;
use proptest::prelude::*;

type Outcome = Result<(), TestCaseError>;

/// `x - zero_point`.
fn centred<X: Element>(input: &[X], zero_point: i32) -> Vec<i128> {
    input.iter().map(|x| i128::from(x.widen() - zero_point)).collect()
}

fn span<X: Element>() -> i128 {
    i128::from(X::MAX - X::MIN)
}

fn widened<Y: Element>(output: &[Y]) -> Vec<i32> {
    output.iter().map(|y| y.widen()).collect()
}

fn wide(values: &[impl Into<i128> + Copy]) -> Vec<i128> {
    values.iter().map(|&v| v.into()).collect()
}

/// Scratch to prepare a number of channels in, with something in it.
fn scratch(geometry: &Geometry, channels: usize, junk: i16) -> Vec<i32> {
    let words = geometry.scratch_words(channels).max(geometry.depthwise_scratch_words(channels));
    vec![i32::from(junk).wrapping_mul(0x1_0001); words]
}

fn convolved(geometry: &Geometry, x: &[i128], kernels: &[i128], bias: &[i128]) -> Vec<i128> {
    reference::convolve(x, geometry.input(), geometry.window(), geometry.groups(), kernels, bias)
}

mod requantize {
    use super::*;

    fn agrees(output: &Output, accumulator: i32) -> Outcome {
        let expected = output.of(&[accumulator.into()]);
        prop_assert_eq!(vec![output.view().apply::<i16>(0, accumulator).widen()], expected);
        Ok(())
    }

    #[test]
    fn any_accumulator() {
        let accumulators = prop_oneof![any::<i32>(), Just(i32::MIN), Just(i32::MAX), -1000..1000];
        check(20000, &(drawn::output::<i16>(1), accumulators), |(output, accumulator)| {
            agrees(&output, accumulator)
        });
    }

    /// Products that lie exactly between two outputs, and one step beside.
    #[test]
    fn ties() {
        for bits in 1..=30 {
            let output = Output { multipliers: vec![1 << bits], zero_point: 3, min: -32768, max: 32767 };
            for odd in [-7, -5, -3, -1, 1, 3, 5, 7] {
                for beside in [-1, 0, 1] {
                    let Some(tie) = i32::checked_mul(odd, 1 << (31 - bits)) else { continue };
                    agrees(&output, tie + beside).unwrap();
                }
            }
        }
        let half = Requantize::new(&[1 << 30], 0, -128, 127).unwrap();
        assert_eq!([2, -2, 6, -6].map(|a| half.apply::<i8>(0, a)), [1, 0, 2, -1]);
    }
}

mod fixed {
    use super::*;

    #[derive(Debug, Clone)]
    struct Case<X> {
        geometry: Geometry,
        input: Vec<X>,
        zero_point: i32,
        kernels: Fixed,
        output: Output,
    }

    fn cases<X: Number, Y: Element>(
        geometries: impl Strategy<Value = Geometry>,
    ) -> impl Strategy<Value = Case<X>> {
        geometries.prop_flat_map(|geometry| {
            let channels = geometry.output().channels;
            let input = drawn::elements(geometry.input().len());
            let kernels = drawn::fixed(channels, geometry.kernel_len());
            let layer = (drawn::zero_point::<X>(), kernels, drawn::output::<Y>(channels));
            (input, layer).prop_map(move |(input, (zero_point, kernels, output))| Case {
                geometry,
                input,
                zero_point,
                kernels,
                output,
            })
        })
    }

    impl<X: Number> Case<X> {
        fn expected(&self) -> Vec<i32> {
            let x = centred(&self.input, self.zero_point);
            let (kernels, bias) = (wide(&self.kernels.weights), wide(&self.kernels.bias));
            self.output.of(&convolved(&self.geometry, &x, &kernels, &bias))
        }

        fn conv<Y: Element>(&self) -> Vec<i32> {
            let layer =
                Conv2d::<X, Y>::new(self.geometry, self.zero_point, self.kernels.view(), self.output.view());
            let layer = layer.unwrap();
            self.in_any_room(layer.scratch_words(), |scratch, output: &mut [Y]| {
                layer.infer(&self.input, scratch, output)
            })
        }

        /// The output, which does not depend on the scratch.
        fn in_any_room<Y: Element>(&self, least: usize, infer: impl Fn(&mut [i32], &mut [Y])) -> Vec<i32> {
            let mut output = vec![Y::default(); self.geometry.output().len()];
            infer(&mut vec![0; least], &mut output);
            let expected = widened(&output);
            for channels in 1..=self.geometry.output().channels + 1 {
                output.fill(Y::default());
                infer(&mut scratch(&self.geometry, channels, -3), &mut output);
                assert_eq!(widened(&output), expected);
            }
            expected
        }

        fn depthwise<Y: Element>(&self) -> Vec<i32> {
            let layer = DepthwiseConv2d::<X, Y>::new(
                self.geometry,
                self.zero_point,
                self.kernels.view(),
                self.output.view(),
            );
            let layer = layer.unwrap();
            self.in_any_room(layer.scratch_words(), |scratch, output: &mut [Y]| {
                layer.infer(&self.input, scratch, output)
            })
        }

        /// The same layer with one group: a grouped kernel with zeros for the inputs of all other groups.
        fn dense(&self) -> Self {
            let g = &self.geometry;
            let (inputs, outputs) = (g.input().channels, g.output().channels);
            let depth = inputs / g.groups();
            let mut weights = vec![0; outputs * g.window().taps() * inputs];
            for (i, &weight) in self.kernels.weights.iter().enumerate() {
                let (tap, d) = (i / depth, i % depth);
                let group = tap / g.window().taps() / (outputs / g.groups());
                weights[tap * inputs + group * depth + d] = weight;
            }
            Self {
                geometry: Geometry::new(g.input(), outputs, g.window(), 1).unwrap(),
                kernels: Fixed { weights, ..self.kernels.clone() },
                ..self.clone()
            }
        }
    }

    fn convolution<X: Number, Y: Element>() {
        check(2000, &cases::<X, Y>(drawn::geometry(false)), |case| {
            prop_assert_eq!(case.conv::<Y>(), case.expected());
            Ok(())
        });
    }

    #[test]
    fn conv() {
        convolution::<i8, i8>();
        convolution::<i8, i16>();
        convolution::<i16, i8>();
        convolution::<i16, i16>();
    }

    fn depthwise_convolution<X: Number, Y: Element>() {
        check(2000, &cases::<X, Y>(drawn::geometry(true)), |case| {
            prop_assert_eq!(case.depthwise::<Y>(), case.expected());
            Ok(())
        });
    }

    #[test]
    fn depthwise() {
        depthwise_convolution::<i8, i8>();
        depthwise_convolution::<i8, i16>();
        depthwise_convolution::<i16, i8>();
        depthwise_convolution::<i16, i16>();
    }

    #[test]
    fn vectors_of_channels() {
        check(150, &cases::<i8, i8>(drawn::vectors(false)), |case| {
            prop_assert_eq!(case.conv::<i8>(), case.expected());
            Ok(())
        });
        check(100, &cases::<i8, i8>(drawn::vectors(true)), |case| {
            prop_assert_eq!(case.depthwise::<i8>(), case.expected());
            Ok(())
        });
    }

    #[test]
    fn grouped_equals_dense_with_zeros() {
        check(1000, &cases::<i8, i8>(drawn::geometry(false)), |case| {
            prop_assert_eq!(case.conv::<i8>(), case.dense().conv::<i8>());
            Ok(())
        });
    }

    #[test]
    fn depthwise_equals_grouped_and_dense() {
        check(1000, &cases::<i8, i8>(drawn::geometry(true)), |case| {
            prop_assert_eq!(case.depthwise::<i8>(), case.conv::<i8>());
            prop_assert_eq!(case.depthwise::<i8>(), case.dense().conv::<i8>());
            Ok(())
        });
    }

    fn fully_connected<X: Number, Y: Element>() {
        let cases = [1usize..=40, 1..=12].prop_flat_map(|[features, outputs]| {
            let layer =
                (drawn::zero_point::<X>(), drawn::fixed(outputs, features), drawn::output::<Y>(outputs));
            (drawn::elements::<X>(features), layer)
        });
        check(1500, &cases, |(input, (zero_point, kernels, output))| {
            let layer = Linear::<X, Y>::new(input.len(), zero_point, kernels.view(), output.view()).unwrap();
            let mut y = vec![Y::default(); kernels.bias.len()];
            layer.infer(&input, &mut y);
            let geometry =
                Geometry::new(Shape::vector(input.len()), y.len(), condconv::Window::new([1, 1]), 1).unwrap();
            let x = centred(&input, zero_point);
            let accumulators = convolved(&geometry, &x, &wide(&kernels.weights), &wide(&kernels.bias));
            prop_assert_eq!(widened(&y), output.of(&accumulators));
            Ok(())
        });
    }

    #[test]
    fn linear() {
        fully_connected::<i8, i8>();
        fully_connected::<i8, i16>();
        fully_connected::<i16, i8>();
        fully_connected::<i16, i16>();
    }
}

mod conditional {
    use super::*;

    #[derive(Debug, Clone)]
    struct Case<X> {
        geometry: Geometry,
        input: Vec<X>,
        zero_point: i32,
        routing: Vec<RoutingWeight>,
        experts: Mixture,
        output: Output,
        /// What is in the scratch buffer before.
        junk: i16,
    }

    fn cases<X: Number, Y: Element>(
        count: usize,
        geometries: impl Strategy<Value = Geometry>,
    ) -> impl Strategy<Value = Case<X>> {
        geometries.prop_flat_map(move |geometry| {
            let channels = geometry.output().channels;
            let smallest = smallest_shift(count);
            let experts = drawn::mixture(count, channels, geometry.kernel_len(), smallest..=smallest + 10);
            (
                (drawn::elements(geometry.input().len()), drawn::zero_point::<X>()),
                (drawn::routing_weights(count), experts, drawn::output::<Y>(channels), any::<i16>()),
            )
                .prop_map(move |((input, zero_point), (routing, experts, output, junk))| Case {
                    geometry,
                    input,
                    zero_point,
                    routing,
                    experts,
                    output,
                    junk,
                })
        })
    }

    impl<X: Number> Case<X> {
        fn expected(&self) -> Vec<i32> {
            let x = centred(&self.input, self.zero_point);
            let kernels = self.experts.mixed(&self.routing);
            assert!(kernels.iter().all(|&v| i16::try_from(v).is_ok()), "bound 3 keeps kernels in int16");
            let accumulators =
                convolved(&self.geometry, &x, &kernels, &self.experts.mixed_bias(&self.routing));
            let fits = accumulators.iter().all(|&a| i32::try_from(a).is_ok());
            assert!(fits, "bound 4 keeps accumulators in int32");
            self.output.of(&accumulators)
        }

        /// Accepted exactly if the bound says so, and then right for every size of the scratch buffer.
        fn agrees<Y: Element>(
            &self,
            layer: Result<impl Fn(&[X], &[RoutingWeight], &mut [i32], &mut [Y]), LayerError>,
        ) -> Outcome {
            let bound = self.experts.convolution_bound(span::<X>());
            let infer = match layer {
                Ok(infer) => infer,
                Err(error) => {
                    prop_assert_eq!(error, LayerError::AccumulatorOverflow);
                    prop_assert!(bound > i128::from(i32::MAX));
                    return Ok(());
                }
            };
            prop_assert!(bound <= i128::from(i32::MAX));
            let expected = self.expected();
            for channels in 1..=self.geometry.output().channels + 1 {
                let mut output = vec![Y::default(); expected.len()];
                infer(
                    &self.input,
                    &self.routing,
                    &mut scratch(&self.geometry, channels, self.junk),
                    &mut output,
                );
                prop_assert_eq!(&widened(&output), &expected, "{} channels at a time", channels);
            }
            Ok(())
        }
    }

    fn convolution<X: Number, Y: Element>(count: usize, geometries: impl Strategy<Value = Geometry>) {
        check(64, &cases::<X, Y>(count, geometries), |case| {
            let flash = case.experts.flash();
            let (experts, output) = (case.experts.view(&flash), case.output.view());
            let layer = CondConv2d::<X, Y>::new(case.geometry, case.zero_point, experts, output);
            case.agrees(
                layer
                    .map(|layer| move |x: &[X], r: &[_], s: &mut [i32], y: &mut [Y]| layer.infer(x, r, s, y)),
            )
        });
    }

    fn depthwise_convolution<X: Number, Y: Element>(
        count: usize,
        geometries: impl Strategy<Value = Geometry>,
    ) {
        check(64, &cases::<X, Y>(count, geometries), |case| {
            let flash = case.experts.flash();
            let (experts, output) = (case.experts.view(&flash), case.output.view());
            let layer = CondDepthwiseConv2d::<X, Y>::new(case.geometry, case.zero_point, experts, output);
            case.agrees(
                layer
                    .map(|layer| move |x: &[X], r: &[_], s: &mut [i32], y: &mut [Y]| layer.infer(x, r, s, y)),
            )
        });
    }

    #[test]
    fn cond_conv_of_every_number_of_experts() {
        for count in 1..=32 {
            convolution::<i8, i8>(count, drawn::geometry(false));
            convolution::<i16, i16>(count, drawn::geometry(false));
        }
        convolution::<i8, i16>(5, drawn::geometry(false));
        convolution::<i16, i8>(5, drawn::geometry(false));
    }

    #[test]
    fn cond_depthwise_of_every_number_of_experts() {
        for count in 1..=32 {
            depthwise_convolution::<i8, i8>(count, drawn::geometry(true));
            depthwise_convolution::<i16, i16>(count, drawn::geometry(true));
        }
        depthwise_convolution::<i8, i16>(5, drawn::geometry(true));
        depthwise_convolution::<i16, i8>(5, drawn::geometry(true));
    }

    #[test]
    fn vectors_of_channels() {
        for count in [1, 4, 8] {
            convolution::<i8, i8>(count, drawn::vectors(false));
            depthwise_convolution::<i8, i8>(count, drawn::vectors(true));
        }
    }

    fn fully_connected<X: Number, Y: Element>(count: usize) {
        let cases = [1usize..=40, 1..=6].prop_flat_map(move |[features, outputs]| {
            let layer = (
                drawn::zero_point::<X>(),
                drawn::mixture(count, outputs, features, 1..=30),
                drawn::output::<Y>(outputs),
            );
            (drawn::elements::<X>(features), drawn::routing_weights(count), layer)
        });
        check(64, &cases, |(input, routing, (zero_point, experts, output))| {
            let flash = experts.flash();
            let layer = CondLinear::<X, Y>::new(input.len(), zero_point, experts.view(&flash), output.view());
            let bound = experts.products_bound(span::<X>());
            let layer = match layer {
                Ok(layer) => layer,
                Err(error) => {
                    prop_assert_eq!(error, LayerError::AccumulatorOverflow);
                    prop_assert!(bound > i128::from(i32::MAX));
                    return Ok(());
                }
            };
            prop_assert!(bound <= i128::from(i32::MAX));
            let mut y = vec![Y::default(); experts.channels()];
            layer.infer(&input, &routing, &mut y);
            let accumulators = experts.products(&routing, &centred(&input, zero_point));
            prop_assert_eq!(widened(&y), output.of(&accumulators));
            Ok(())
        });
    }

    #[test]
    fn cond_linear_of_every_number_of_experts() {
        for count in 1..=32 {
            fully_connected::<i8, i8>(count);
            fully_connected::<i8, i16>(count);
            fully_connected::<i16, i8>(count);
            fully_connected::<i16, i16>(count);
        }
    }

    /// One expert at full weight and all others at none is a static layer: with a shift of 14 the mixed kernel is
    /// the expert's own.
    #[test]
    fn one_expert_alone_equals_a_static_layer() {
        let cases = (1usize..=32, 0usize..32).prop_flat_map(|(count, chosen)| {
            drawn::geometry(false).prop_flat_map(move |geometry| {
                let channels = geometry.output().channels;
                (
                    Just((geometry, chosen % count)),
                    drawn::elements::<i8>(geometry.input().len()),
                    drawn::mixture(count, channels, geometry.kernel_len(), 14..=14),
                    drawn::output::<i8>(channels),
                )
            })
        });
        check(1000, &cases, |((geometry, chosen), input, mut experts, output)| {
            experts.ratios.fill(32767);
            experts.expert_bias.clear();
            let mut routing = vec![RoutingWeight::ZERO; experts.count()];
            routing[chosen] = RoutingWeight::MAX;
            let alone = Fixed { weights: experts.planes[chosen].clone(), bias: experts.bias.clone() };
            let flash = experts.flash();
            let conditional =
                CondConv2d::<i8, i8>::new(geometry, -7, experts.view(&flash), output.view()).unwrap();
            let fixed = Conv2d::<i8, i8>::new(geometry, -7, alone.view(), output.view()).unwrap();
            let mut y = vec![0; geometry.output().len()];
            let mut expected = y.clone();
            conditional.infer(&input, &routing, &mut scratch(&geometry, 2, 0), &mut y);
            fixed.infer(&input, &mut scratch(&geometry, 1, 0), &mut expected);
            prop_assert_eq!(y, expected);
            Ok(())
        });
    }

    #[test]
    fn the_converter_lays_experts_out_as_documented() {
        let cases = (1usize..=32, 1usize..=5, 1usize..=12)
            .prop_flat_map(|(count, channels, len)| drawn::mixture(count, channels, len, 14..=14));
        check(1000, &cases, |experts| {
            let written = interleave(&experts.planes, experts.channels(), experts.kernel_len());
            prop_assert_eq!(written, experts.flash().weights);
            Ok(())
        });
    }
}

mod pools {
    use super::*;

    fn shape() -> impl Strategy<Value = Shape> {
        [1usize..=6, 1..=6, 1..=20].prop_map(|[height, width, channels]| Shape::new(height, width, channels))
    }

    fn global_average_pool<X: Number, Y: Element>() {
        let cases = shape().prop_flat_map(|shape| {
            let input = drawn::elements::<X>(shape.len());
            (Just(shape), input, drawn::zero_point::<X>(), 0u32..=30, drawn::output::<Y>(1))
        });
        check(2000, &cases, |(shape, input, zero_point, shift, output)| {
            let bound = (span::<X>() * shape.pixels() as i128) << shift;
            let layer = match GlobalAveragePool::<X, Y>::new(shape, zero_point, shift, output.view()) {
                Ok(layer) => layer,
                Err(error) => {
                    prop_assert_eq!(error, LayerError::AccumulatorOverflow);
                    prop_assert!(bound > i128::from(i32::MAX));
                    return Ok(());
                }
            };
            prop_assert!(bound <= i128::from(i32::MAX));
            let mut y = vec![Y::default(); shape.channels];
            layer.infer(&input, &mut y);
            let sums = pooled(&centred(&input, zero_point), shape);
            let accumulators: Vec<i128> = sums.iter().map(|sum| sum << shift).collect();
            prop_assert_eq!(widened(&y), output.of(&accumulators));
            Ok(())
        });
    }

    #[test]
    fn pool() {
        global_average_pool::<i8, i8>();
        global_average_pool::<i8, i16>();
        global_average_pool::<i16, i8>();
        global_average_pool::<i16, i16>();
    }

    fn routing_function<X: Number>() {
        let cases = (shape(), 1usize..=32).prop_flat_map(|(shape, count)| {
            let matrix = drawn::elements::<i16>(shape.channels * count);
            let bias = (0..46).prop_flat_map(move |bits: i32| vec(-(1i64 << bits)..=1i64 << bits, count));
            let scales = (vec(0..=i16::MAX, count), vec(1u8..=62, count));
            let route = (matrix, bias, scales).prop_map(|(matrix, bias, (multipliers, shifts))| Route {
                matrix,
                bias,
                multipliers,
                shifts,
            });
            (Just(shape), drawn::elements::<X>(shape.len()), drawn::zero_point::<X>(), route)
        });
        check(3000, &cases, |(shape, input, zero_point, route)| {
            let mut alpha = vec![RoutingWeight::ZERO; route.bias.len()];
            route.view::<X>(shape, zero_point).unwrap().infer(&input, &mut alpha);
            prop_assert_eq!(alpha, route.weights(&pooled(&centred(&input, zero_point), shape)));
            Ok(())
        });
    }

    #[test]
    fn routing() {
        routing_function::<i8>();
        routing_function::<i16>();
    }
}
