//! ONNX files of all kinds become networks that compute the same, and those that cannot are refused.

mod float;

use std::path::{Path, PathBuf};

use condconv::Shape;
use condconv_tools::graph::{Network, Op};
use condconv_tools::npy::Samples;
use condconv_tools::onnx::{Import, load};
use condconv_tools::reference::{Reference, nhwc_from_nchw};

const TOLERANCE: f64 = 1e-4;

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

#[derive(serde::Deserialize)]
struct Fixture {
    file: String,
    good: bool,
    #[serde(default)]
    experts: Vec<usize>,
}

fn fixtures(good: bool) -> Vec<(PathBuf, Fixture)> {
    let folder = repository("tests/fixtures/onnx");
    let index = std::fs::read(folder.join("index.json")).expect("the fixtures are there");
    let fixtures: Vec<Fixture> = serde_json::from_slice(&index).expect("the index is JSON");
    fixtures.into_iter().filter(|f| f.good == good).map(|f| (folder.join(&f.file), f)).collect()
}

fn experts(network: &Network) -> Vec<usize> {
    let experts = network.layers.iter().filter_map(|layer| match &layer.op {
        Op::Conv { kernels, .. } | Op::Linear { kernels, .. } => Some(kernels.experts.len()),
        Op::GlobalAveragePool => None,
    });
    experts.collect()
}

fn assert_close(what: &str, got: &[f64], expected: &[f32]) {
    let largest = expected.iter().fold(0.0, |largest: f64, x| largest.max(f64::from(*x).abs()));
    assert_eq!(got.len(), expected.len(), "{what}");
    for (index, (got, expected)) in got.iter().zip(expected).enumerate() {
        let error = (got - f64::from(*expected)).abs();
        assert!(error <= TOLERANCE * largest.max(1e-3), "{what}: {got} in place of {expected} at {index}");
    }
}

/// Compares every value, every sum before an activation and every routing weight with those of the ONNX graph; returns
/// the output of the graph.
fn compare(import: &Import, input: &[f32]) -> Vec<f32> {
    let network = &import.network;
    let run = float::run(network, &nhwc_from_nchw(input, network.values[network.input].shape));
    let reference = Reference::new(import);
    let fetch = |name: &str, shape: Shape| {
        nhwc_from_nchw(
            &reference.run(input, &[name]).expect("the reference knows all names").remove(0),
            shape,
        )
    };
    for (value, got) in network.values.iter().zip(&run.values) {
        assert_close(&value.onnx_name, got, &fetch(&value.onnx_name, value.shape));
    }
    for (layer, got) in network.layers.iter().zip(&run.preactivations) {
        let expected = fetch(&layer.preactivation, network.values[layer.output].shape);
        assert_close(&format!("sums of {}", layer.name), got, &expected);
    }
    for (routing, got) in network.routings.iter().zip(&run.routings) {
        assert_close(&routing.name, got, &fetch(&routing.onnx_name, Shape::vector(routing.bias.len())));
    }
    fetch(&network.values[network.output].onnx_name, network.values[network.output].shape)
}

#[test]
fn networks_compute_what_their_files_state() {
    for (path, fixture) in
        fixtures(true).into_iter().filter(|(_, fixture)| !fixture.file.starts_with("softmax"))
    {
        let import = load(&path).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(experts(&import.network), fixture.experts, "{}", fixture.file);
        let samples = |kind: &str, dims: &[usize]| Samples::read(&path.with_extension(kind), dims).unwrap();
        let output = compare(&import, &samples("input.npy", &import.input_dims).data);
        let expected = samples("output.npy", &[1, output.len()]).data;
        let output: Vec<f64> = output.into_iter().map(f64::from).collect();
        assert_close(&fixture.file, &output, &expected);
    }
}

#[test]
fn shipped_networks_are_imported() {
    for (name, conditional) in [
        ("digits", true),
        ("watch", true),
        ("watch_acc", true),
        ("digits_static", false),
        ("watch_wide", false),
    ] {
        let import =
            load(&repository(&format!("models/{name}.onnx"))).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(experts(&import.network).iter().any(|&n| n > 1), conditional, "{name}");
        let data = repository(&format!(
            "models/{}.calibrate.npy",
            name.trim_end_matches("_static").trim_end_matches("_wide")
        ));
        let samples = Samples::read(&data, &import.input_dims).unwrap();
        for sample in samples.iter().take(2) {
            compare(&import, sample);
        }
    }
}

#[test]
fn bad_files_are_refused() {
    for (path, fixture) in fixtures(false) {
        let error = load(&path).expect_err(&fixture.file).to_string();
        println!("{error}");
        assert!(error.contains(&fixture.file), "{error}");
    }
}
