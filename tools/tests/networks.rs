//! Whole networks, most of them with random weights: integers cost nothing that quantisation did not. Measured on 64
//! inputs and more, so that chance moves no figure by a decibel.

use std::path::{Path, PathBuf};

use condconv_tools::convert::Model;
use condconv_tools::quantize::Options;

#[path = "shared/inputs.rs"]
mod inputs;
#[path = "shared/rounded.rs"]
mod rounded;

use inputs::test_inputs;
use rounded::{Quality, quality};

fn measure(onnx: &Path) -> Quality {
    let name = onnx.file_stem().unwrap().to_str().unwrap();
    let (base, _exporter) = name.rsplit_once('_').unwrap();
    let calibrate = onnx.with_file_name(format!("{base}.calibrate.npy"));
    let model = Model::load(onnx, &calibrate, &Options::default()).unwrap_or_else(|error| panic!("{error}"));
    let samples = test_inputs(&model);
    quality(&model, &samples.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

fn onnx_files(folder: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "onnx")).collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/networks")
}

/// The decibels that are little enough to be a fault. Each SiLU rounds twice, and the blocks have five of them.
const FLOOR: [(&str, f64); 6] = [
    ("branches", 40.0),
    ("dynamic", 30.0),
    ("blocks", 24.0),
    ("keras", 30.0),
    ("mobilenet_v2_condconv", 32.0),
    ("efficientnet_condconv", 28.0),
];

/// Whether integers are as good as floats rounded like them, with and without the correction of biases.
fn cost_nothing(quality: &Quality) -> bool {
    quality.integer >= quality.rounded.max(quality.corrected) - 1.0
}

/// The figures of a file, as text.
fn describe(onnx: &Path, quality: &Quality) -> String {
    let Quality { integer, rounded, corrected, rounded_input, apart, import_error } = quality;
    format!(
        "{}: {integer:.1} dB, rounded floats {rounded:.1} dB, with corrected biases {corrected:.1} dB, \
         only the input rounded {rounded_input:.1} dB, apart by {apart:.1} dB, import {import_error:.1e}",
        onnx.file_stem().unwrap().display()
    )
}

#[test]
fn integers_cost_nothing() {
    for path in onnx_files(&fixtures()) {
        let quality = measure(&path);
        let text = describe(&path, &quality);
        println!("{text}");
        let (_, floor) =
            FLOOR.iter().find(|(name, _)| text.starts_with(name)).expect("every fixture has a floor");
        assert!(quality.import_error < 1e-5, "{text}");
        assert!(quality.integer >= *floor && cost_nothing(&quality), "{text}");
        // Only experts are rounded otherwise; the correction of biases would hide errors of scale from the above.
        assert!(quality.apart >= quality.integer + 2.0, "{text}");
    }
}

/// The larger networks as PyTorch exports them: `python make.py FOLDER` in the folder of fixtures, then
/// `NETWORKS=FOLDER cargo test --test networks -- --ignored --nocapture`. They are too large to be kept; those of MLPerf
/// Tiny are built in `tiny.rs` too. In the deepest, the importer's error is the rounding of the reference to `f32`, grown.
#[test]
#[ignore = "needs files that are not kept in the repository"]
fn integers_cost_nothing_in_large_networks() {
    let folder = std::env::var_os("NETWORKS").expect("NETWORKS names the folder of ONNX files");
    let mut worse = Vec::new();
    for path in onnx_files(Path::new(&folder)) {
        let quality = measure(&path);
        let text = describe(&path, &quality);
        println!("{text}");
        if quality.import_error > 1e-2 || !cost_nothing(&quality) {
            worse.push(text);
        }
    }
    assert!(worse.is_empty(), "{worse:#?}");
}
