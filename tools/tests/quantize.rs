//! Choices of the quantiser: equalised channels, int16 tensors, ranges.

use std::path::{Path, PathBuf};

use condconv::{Padding, Shape, Window};
use condconv_tools::convert::{Error, Model};
use condconv_tools::graph::{Clamp, Gate, Kernels, Layer, Network, Op, Routing, Value};
use condconv_tools::quantize::{
    Int16, NameError, NamedRange, Options, QuantizeError, Range, RangeMethod, Ranges, equalize,
};
use condconv_tools::quantized::ElementType;
use condconv_tools::verify::verify;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;

#[allow(dead_code, reason = "the importer's tests use the rest")]
#[path = "import/float.rs"]
mod float;
#[path = "shared/inputs.rs"]
mod inputs;

use float::Exact;
use inputs::test_inputs;

fn root(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

/// A network whose first convolution can be equalised: conv (groups, experts) - pad - pool - conv (groups, experts) -
/// mean - linear, with routings that read the input and the equalised tensor.
#[derive(Debug, Clone)]
struct Drawn {
    network: Network,
    extents: Vec<Vec<Range>>,
    input: Vec<f32>,
}

#[derive(Debug, Clone)]
struct Shapes {
    map: [usize; 2],
    groups: [usize; 2],
    /// Channels of each group: input, between, output.
    channels: [usize; 3],
    experts: [usize; 2],
    clamp: Clamp,
}

fn shapes() -> impl Strategy<Value = Shapes> {
    let pairs = (prop::array::uniform2(3usize..6), prop::array::uniform2(1usize..4));
    // Of bounds other than zero only those that must keep a layer from being equalised.
    let bounds =
        [(0.0, f32::INFINITY), (f32::NEG_INFINITY, f32::INFINITY), (f32::NEG_INFINITY, 0.1), (-0.2, 0.3)];
    let clamp = prop::sample::select(bounds.map(|(min, max)| Clamp { min, max }).to_vec());
    let rest = (prop::array::uniform3(1usize..4), prop::array::uniform2(0usize..4), clamp);
    (pairs, rest).prop_map(|((map, groups), (channels, experts, clamp))| Shapes {
        map,
        groups,
        channels,
        experts,
        clamp,
    })
}

fn drawn() -> impl Strategy<Value = Drawn> {
    (shapes(), vec(-1.0f32..1.0, 4096), vec(0.01f64..1.0, 64)).prop_map(|(shapes, numbers, extents)| {
        let mut numbers = numbers.into_iter().cycle();
        draw(&shapes, &mut numbers, &mut extents.into_iter().cycle())
    })
}

fn draw(
    shapes: &Shapes,
    numbers: &mut impl Iterator<Item = f32>,
    extents: &mut impl Iterator<Item = f64>,
) -> Drawn {
    let Shapes { map: [height, width], groups, channels, experts, clamp } = *shapes;
    let [first, second] = groups;
    // Both groups divide the channels between them.
    let wide = [channels[0] * first, channels[1] * first * second, channels[2] * second];
    let padded = [height + 1, width + 2];
    let shape = |[height, width]: [usize; 2], channels| Shape::new(height, width, channels);
    let value = |shape| Value { onnx_name: String::new(), shape };
    let values = vec![
        value(shape([height, width], wide[0])),
        value(shape([height, width], wide[1])),
        value(shape(padded, wide[1])),
        value(shape([padded[0] - 1, padded[1] - 1], wide[1])),
        value(shape([padded[0] - 1, padded[1] - 1], wide[2])),
        value(Shape::vector(wide[2])),
        value(Shape::vector(3)),
    ];
    let mut routings = Vec::new();
    let mut kernels = |channels: usize, len: usize, experts: usize, reads: usize| {
        let mut take = |count: usize| -> Vec<f32> { numbers.by_ref().take(count).collect() };
        let routing = (experts > 0).then(|| {
            let inputs = values[reads].shape.channels;
            routings.push(Routing {
                gate: Gate::Sigmoid,
                name: String::new(),
                onnx_name: String::new(),
                input: reads,
                matrix: (0..experts).map(|_| take(inputs)).collect(),
                bias: take(experts),
            });
            routings.len() - 1
        });
        Kernels {
            channels,
            experts: (0..experts.max(1)).map(|_| take(channels * len)).collect(),
            bias: take(channels),
            expert_biases: (0..experts).map(|_| take(channels)).collect(),
            routing,
        }
    };
    let same = Window::new([3, 3]).padding(Padding::symmetric(1, 1));
    let ops = [
        Op::Conv {
            window: same,
            groups: first,
            kernels: kernels(wide[1], 9 * channels[0], experts[0], 0),
            clamp,
        },
        Op::Pad { padding: Padding::new(1, 0, 0, 2) },
        Op::MaxPool { window: Window::new([2, 2]) },
        Op::Conv {
            window: Window::new([1, 1]),
            groups: second,
            kernels: kernels(wide[2], wide[1] / second, experts[1], 1),
            clamp,
        },
        Op::GlobalAveragePool,
        Op::Linear { kernels: kernels(3, wide[2], 0, 0), clamp: Clamp::NONE },
    ];
    let layer = |(index, op)| Layer {
        name: String::new(),
        op,
        inputs: vec![index],
        output: index + 1,
        preactivation: String::new(),
    };
    let layers = ops.into_iter().enumerate().map(layer).collect();
    let input = numbers.by_ref().take(values[0].shape.len()).collect();
    let of_channels = |value: &Value| {
        let channels = extents.by_ref().take(value.shape.channels);
        channels.map(|max| Range { min: 0.0, max }).collect()
    };
    let extents = values.iter().map(of_channels).collect();
    Drawn { network: Network { values, input: 0, output: 6, routings, layers }, extents, input }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Gains are made and undone: the output is the same, and every channel on the way is its gain times what it was.
    #[test]
    fn equalised_networks_compute_the_same(drawn in drawn()) {
        let Drawn { network, extents, input } = drawn;
        let mut equalized = network.clone();
        let gains = equalize(&mut equalized, &extents, 1 << 10);
        prop_assert!(gains[0].iter().chain(&gains[6]).all(|&gain| gain == 1.0));
        prop_assert_eq!(&gains[1], &gains[3]);
        for id in [1, 4] {
            let scaled = || extents[id].iter().zip(&gains[id]).map(|(range, gain)| range.max * gain);
            let largest = extents[id].iter().map(|range| range.max).fold(0.0, f64::max);
            prop_assert!(scaled().all(|max| max <= largest * 1.000_001));
            prop_assert!(gains[id].iter().all(|gain| (1.0..=4.0).contains(gain)));
        }
        let (before, after) = (float::run(&network, &input, &Exact), float::run(&equalized, &input, &Exact));
        for ((before, after), gains) in before.values.iter().zip(&after.values).zip(&gains) {
            let largest = before.iter().fold(0.0f64, |largest, x| largest.max(x.abs()));
            for ((before, after), gain) in before.iter().zip(after).zip(gains.iter().cycle()) {
                prop_assert!((before * gain - after).abs() <= 1e-5 * largest, "{} {}", before * gain, after);
            }
        }
    }
}

#[test]
fn what_is_known_from_too_few_numbers_is_left_alone() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let Drawn { mut network, extents, .. } = drawn().new_tree(&mut runner).unwrap().current();
    let gains = equalize(&mut network, &extents, 1);
    assert!(gains.iter().flatten().all(|&gain| gain == 1.0));
}

fn fixture(name: &str, options: &Options) -> Result<Model, Error> {
    let (base, _) = name.rsplit_once('_').unwrap();
    let folder = root("tests/fixtures/networks");
    let data = folder.join(format!("{base}.calibrate.npy"));
    Model::load(&folder.join(format!("{name}.onnx")), &data, options)
}

/// Decibels at the output, against the float reference, on inputs that calibration has not seen.
fn sqnr(model: &Model) -> f64 {
    let samples = test_inputs(model);
    verify(model, &samples.iter().map(Vec::as_slice).collect::<Vec<_>>(), None).unwrap().output.sqnr_db
}

fn int16(name: &str) -> Options {
    Options { int16: Int16::Named(vec![name.into()]), ..Options::default() }
}

/// Each tensor of networks with every operator: in int16 the network is better on average and never much worse, or the
/// table that reads it is named.
#[test]
fn every_tensor_may_be_int16_unless_a_table_reads_it() {
    let (mut refused, mut gains) = (0, Vec::new());
    for name in ["branches_legacy", "dynamic_dynamo", "blocks_legacy"] {
        let narrow = fixture(name, &Options::default()).unwrap();
        let before = sqnr(&narrow);
        for (id, tensor) in narrow.plan.network.tensors.iter().enumerate() {
            match fixture(name, &int16(&tensor.onnx_name)) {
                Ok(model) => {
                    assert_eq!(model.plan.network.tensors[id].element, ElementType::I16, "{name} {id}");
                    let after = sqnr(&model);
                    assert!(after >= before - 0.5, "{name} {}: {before} to {after} dB", tensor.onnx_name);
                    gains.push(after - before);
                }
                Err(Error::Quantize {
                    source: QuantizeError::Name(NameError::Table { reader, .. }), ..
                }) => {
                    assert!(narrow.plan.network.layers.iter().any(|layer| layer.name == reader));
                    refused += 1;
                }
                Err(error) => panic!("{name} {}: {error}", tensor.onnx_name),
            }
        }
    }
    assert!(refused >= 3, "{refused} tables");
    assert!(gains.iter().sum::<f64>() > 0.1 * gains.len() as f64, "{gains:?}");
}

/// On inputs that it has not seen, whatever the number of those that it has.
#[test]
fn automatic_int16_costs_no_precision() {
    let auto = Options { int16: Int16::Auto, ..Options::default() };
    let mut gains = Vec::new();
    for name in [
        "branches_legacy",
        "dynamic_dynamo",
        "blocks_legacy",
        "keras_tf2onnx",
        "mobilenet_v2_condconv_legacy",
        "efficientnet_condconv_dynamo",
    ] {
        let (narrow, wide) = (fixture(name, &Options::default()).unwrap(), fixture(name, &auto).unwrap());
        let (before, after) = (sqnr(&narrow), sqnr(&wide));
        assert!(after >= before - 0.5, "{name}: {before} to {after} dB");
        gains.push(after - before);
        assert!(narrow.int16.is_none());
        let Some(trade) = &wide.int16 else { continue };
        assert!(trade.tensors.iter().all(|tensor| tensor.noise_share.is_some_and(|share| share >= 0.1)));
        assert!(trade.sqnr_db > trade.sqnr_db_without, "{name}: {trade:?}");
        assert_eq!(
            (trade.ram_bytes, trade.ram_bytes_without),
            (wide.plan.ram_bytes(), narrow.plan.ram_bytes())
        );
    }
    assert!(gains.iter().any(|&gain| gain >= 0.5), "{gains:?}");
}

fn with_ranges(ranges: Ranges) -> Model {
    fixture("branches_legacy", &Options { ranges, ..Options::default() }).unwrap()
}

/// A tensor that is named has the range that it would have if all had that method, and the others keep theirs.
#[test]
fn each_tensor_may_have_a_range_of_its_own() {
    let [all, none] =
        [RangeMethod::Mse, RangeMethod::MinMax].map(|method| with_ranges(method.into()).plan.network);
    let (mut named, mut changed) = (0, 0);
    for (id, tensor) in none.tensors.iter().enumerate() {
        let passed_on =
            none.layers.iter().any(|layer| layer.output == id && layer.op.name().contains("MaxPool"));
        if id == none.input || passed_on || tensor.element == ElementType::I16 {
            continue;
        }
        let range = NamedRange { name: tensor.onnx_name.clone(), method: RangeMethod::Mse };
        let one = with_ranges(Ranges { method: RangeMethod::MinMax, named: vec![range] }).plan.network;
        assert_eq!(one.tensors[id].scale, all.tensors[id].scale, "{}", tensor.onnx_name);
        named += 1;
        changed += usize::from(one.tensors[id].scale != tensor.scale);
        let others = (0..none.tensors.len()).filter(|&other| other != id);
        let same = others.filter(|&other| one.tensors[other].scale == none.tensors[other].scale).count();
        // Only what takes the tensor's numbers over, as a pool does, changes with it.
        assert!(same + 3 >= none.tensors.len(), "{}: {same}", tensor.onnx_name);
    }
    assert!(named > 5 && changed > named / 3, "{changed} of {named}");
}

/// An int16 tensor has no range to choose, whether it always is int16, was named, or was found to be worth it.
#[test]
fn ranges_of_int16_tensors_are_refused() {
    let plain = fixture("branches_legacy", &Options::default()).unwrap().plan.network;
    let auto = Options { int16: Int16::Auto, ..Options::default() };
    let chosen = fixture("branches_legacy", &auto).unwrap().int16.unwrap().tensors.remove(0).name;
    let output = plain.tensors[plain.output].onnx_name.clone();
    for (name, choice) in
        [(&output, Int16::None), (&chosen, Int16::Named(vec![chosen.clone()])), (&chosen, Int16::Auto)]
    {
        let range = NamedRange { name: name.clone(), method: RangeMethod::Mse };
        let ranges = Ranges { method: RangeMethod::MinMax, named: vec![range] };
        let error = fixture("branches_legacy", &Options { int16: choice, ranges, ram: None, rows: false })
            .unwrap_err();
        let Error::Quantize { source: QuantizeError::Name(NameError::Wide(wide)), .. } = &error else {
            panic!("{error}")
        };
        assert_eq!(wide, name);
        assert!(error.to_string().contains("leave it out"), "{error}");
    }
}

#[test]
fn ranges_follow_the_numbers() {
    let [widest, percentile, mse] = [RangeMethod::MinMax, RangeMethod::Percentile, RangeMethod::Mse]
        .map(|method| with_ranges(method.into()));
    let steps = |model: &Model| -> Vec<f64> {
        let int8 = model.plan.network.tensors.iter().filter(|tensor| tensor.element == ElementType::I8);
        int8.map(|tensor| tensor.scale).collect()
    };
    for narrower in [&percentile, &mse] {
        let pairs: Vec<(f64, f64)> = steps(&widest).into_iter().zip(steps(narrower)).collect();
        assert!(pairs.iter().all(|(wide, narrow)| *narrow <= wide * 1.000_001), "{pairs:?}");
        assert!(pairs.iter().filter(|(wide, narrow)| narrow < wide).count() >= pairs.len() / 3, "{pairs:?}");
        assert_eq!(pairs[0].0, pairs[0].1, "the input's range is the data's");
    }
    let decibels = [&widest, &percentile, &mse].map(sqnr);
    assert!(decibels[2] >= decibels[0] - 1.0 && decibels.iter().all(|&db| db > 30.0), "{decibels:?}");
}
