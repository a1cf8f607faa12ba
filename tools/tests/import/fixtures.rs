//! The fixtures and the networks that are shipped.

use std::path::{Path, PathBuf};

use condconv_tools::npy::Samples;
use condconv_tools::onnx::load;

use crate::check::{assert_close, compare, experts};
use crate::shipped;

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// What `index.json` says of a file.
#[derive(serde::Deserialize)]
pub(crate) struct Fixture {
    pub(crate) file: String,
    pub(crate) good: bool,
    #[serde(default)]
    experts: Vec<usize>,
}

/// All fixtures, with their paths.
pub(crate) fn all() -> Vec<(PathBuf, Fixture)> {
    let folder = repository("tests/fixtures/onnx");
    let index = std::fs::read(folder.join("index.json")).expect("the fixtures are there");
    let fixtures: Vec<Fixture> = serde_json::from_slice(&index).expect("the index is JSON");
    fixtures.into_iter().map(|fixture| (folder.join(&fixture.file), fixture)).collect()
}

/// Files that are whole, to be damaged: the good fixtures, and networks with every operator.
pub(crate) fn whole() -> Vec<PathBuf> {
    let good = all().into_iter().filter(|(_, fixture)| fixture.good).map(|(path, _)| path);
    let networks = std::fs::read_dir(repository("tests/fixtures/networks")).expect("the networks are there");
    let mut networks: Vec<_> = networks.map(|entry| entry.expect("a readable folder").path()).collect();
    networks.retain(|path| path.extension().is_some_and(|end| end == "onnx"));
    networks.sort();
    good.chain(networks).collect()
}

#[test]
fn networks_compute_what_their_files_state() {
    for (path, fixture) in all().into_iter().filter(|(_, fixture)| fixture.good) {
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
    for (name, data) in shipped::NETWORKS {
        let import = load(&shipped::file(name, "onnx")).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(
            experts(&import.network).iter().any(|&n| n > 1),
            name == data || name == "resnet8",
            "{name}"
        );
        let samples = Samples::read(&shipped::file(data, "calibrate.npy"), &import.input_dims).unwrap();
        compare(&import, samples.iter().next().unwrap());
    }
}

/// Channels last in the file, as TensorFlow has them, and CondConv layers as in its EfficientNet.
#[test]
fn a_keras_network_is_imported() {
    let folder = repository("tests/fixtures/networks");
    let import = load(&folder.join("keras_tf2onnx.onnx")).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(experts(&import.network), [1, 3, 3, 4, 1]);
    assert_eq!((import.network.layers.len(), import.network.routings.len()), (6, 2));
    assert_eq!(import.input_dims, [1, 9, 12, 3]);
    let samples = Samples::read(&folder.join("keras.test.npy"), &import.input_dims).unwrap();
    samples.iter().for_each(|sample| {
        compare(&import, sample);
    });
}

/// Each bad file gives one error, which names the file, the node if it is one node's fault, and what is wrong.
#[test]
fn bad_files_are_refused() {
    let expected = [
        ("transposed", Some("/3/ConvTranspose"), "not supported"),
        ("rectified_kernel", Some("/3/Conv"), "not a linear function"),
        ("squared_routing", Some("/3/Conv"), "not a linear function"),
        ("batch2_timm", None, "batch of 2"),
        ("batch2_nibuiro", None, "batch of 2"),
        ("batch2_static", None, "batch of 2"),
        ("lstm", Some("lstm"), "not supported"),
        ("nan_static", Some("/0/Conv"), "NaN"),
        ("nan_expert", Some("/3/Flatten"), "NaN"),
        ("infinite_expert", Some("/3/Flatten"), "infinite"),
        ("external_data", Some("/3/Flatten"), "separate file"),
        ("truncated", None, "truncated"),
        ("garbage", None, "not an ONNX model"),
        ("empty", None, "empty"),
        ("text", None, "not an ONNX model"),
    ];
    let bad: Vec<_> = all().into_iter().filter(|(_, fixture)| !fixture.good).collect();
    for (path, fixture) in &bad {
        let error = load(path).expect_err(&fixture.file);
        let name = fixture.file.trim_end_matches(".onnx");
        let (_, node, reason) = expected.iter().find(|(file, ..)| *file == name).expect(name);
        assert_eq!(error.node(), *node, "{error}");
        assert!(error.reason().contains(reason), "{error}");
        assert!(error.to_string().contains(&fixture.file) && !error.remedy().is_empty(), "{error}");
    }
    assert!(load(Path::new("no/such.onnx")).is_err_and(|error| error.reason().contains("cannot be read")));
}
