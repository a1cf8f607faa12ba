//! Whole networks with random weights: integers cost nothing that quantisation did not.

use std::path::{Path, PathBuf};

use condconv_tools::convert::{Model, read_samples};
use condconv_tools::graph::ValueId;
use condconv_tools::quantize::Options;
use condconv_tools::quantized::Tensor;
use condconv_tools::reference::nhwc_from_nchw;
use condconv_tools::run::Data;

#[allow(dead_code, reason = "the importer's tests use the rest")]
#[path = "import/float.rs"]
mod float;

use float::{Exact, Rounding};

/// Float numbers that an int8 engine can represent: tensors as planned, kernels with one scale a channel.
struct Fake<'a>(&'a [Tensor]);

impl Rounding for Fake<'_> {
    fn value(&self, id: ValueId, numbers: &mut [f64]) {
        let tensor = &self.0[id];
        let (low, high) = tensor.element.range();
        for number in numbers {
            *number = tensor.dequantize(tensor.quantize(*number).clamp(low, high));
        }
    }

    fn kernel(&self, kernel: &mut [f64], channels: usize) {
        let length = kernel.len() / channels;
        for kernel in kernel.chunks_mut(length) {
            let scale = kernel.iter().fold(0.0, |largest: f64, w| largest.max(w.abs())) / 127.0;
            if scale > 0.0 {
                kernel.iter_mut().for_each(|w| *w = (*w / scale).round() * scale);
            }
        }
    }
}

/// Decibels at the output, of the integer network and of the float network rounded like one, and the largest
/// difference between what the importer and the file say, relative to the largest output.
struct Quality {
    integer: f64,
    fake: f64,
    import_error: f64,
}

fn quality(onnx: &Path) -> Quality {
    let name = onnx.file_stem().unwrap().to_str().unwrap();
    let (base, _) = name.rsplit_once('_').unwrap();
    let data = |kind: &str| onnx.with_file_name(format!("{base}.{kind}.npy"));
    let model =
        Model::load(onnx, &data("calibrate"), &Options::default()).unwrap_or_else(|error| panic!("{error}"));
    let network = &model.plan.network;
    let samples = read_samples(&data("test"), &model.import).unwrap();
    let runner = model.runner();
    let output = &network.tensors[network.output];
    let (mut signal, mut integer, mut fake, mut difference, mut largest) = (0.0, 0.0, 0.0, 0.0f64, 0.0f64);
    for sample in samples.iter() {
        let nhwc = model.nhwc(sample);
        let exact = float::run(&model.import.network, &nhwc, &Exact).values.swap_remove(network.output);
        let rounded = float::run(&model.equalized, &nhwc, &Fake(&network.tensors));
        let trace = runner.run(model.input(sample));
        let integers: Vec<f64> = trace.values[network.output]
            .iter()
            .flat_map(Data::iter)
            .map(|value| output.dequantize(value))
            .collect();
        let noise = |values: &[f64]| values.iter().zip(&exact).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
        signal += exact.iter().map(|x| x * x).sum::<f64>();
        integer += noise(&integers);
        fake += noise(&rounded.values[network.output]);
        let reference = model.reference.run(sample, &[&output.onnx_name]).unwrap().remove(0);
        for (value, reference) in exact.iter().zip(nhwc_from_nchw(&reference, output.shape)) {
            difference = difference.max((value - f64::from(reference)).abs());
            largest = largest.max(value.abs());
        }
    }
    let decibels = |noise: f64| 10.0 * (signal / noise).log10();
    Quality { integer: decibels(integer), fake: decibels(fake), import_error: difference / largest }
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
const FLOOR: [(&str, f64); 4] = [("branches", 40.0), ("dynamic", 30.0), ("blocks", 24.0), ("keras", 30.0)];

#[test]
fn integers_cost_nothing() {
    for path in onnx_files(&fixtures()) {
        let Quality { integer, fake, import_error } = quality(&path);
        let floor =
            FLOOR.iter().find(|(name, _)| path.file_name().unwrap().display().to_string().starts_with(name));
        let (_, floor) = floor.expect("every fixture has a floor");
        assert!(import_error < 1e-3, "{}: {import_error}", path.display());
        assert!(integer >= *floor && integer >= fake - 1.0, "{}: {integer} and {fake} dB", path.display());
    }
}

/// The larger networks: `python make.py FOLDER` in the folder of fixtures, then
/// `NETWORKS=FOLDER cargo test --test networks -- --ignored --nocapture`.
#[test]
#[ignore = "needs files that are not kept in the repository"]
fn integers_cost_nothing_in_large_networks() {
    let folder = std::env::var_os("NETWORKS").expect("NETWORKS names the folder of ONNX files");
    let mut worse = Vec::new();
    for path in onnx_files(Path::new(&folder)) {
        let Quality { integer, fake, import_error } = quality(&path);
        let name = path.file_stem().unwrap().display().to_string();
        println!("{name}: {integer:.1} dB, rounded floats {fake:.1} dB, import {import_error:.1e}");
        if import_error > 1e-3 || integer < fake - 1.0 {
            worse.push(name);
        }
    }
    assert!(worse.is_empty(), "{worse:?}");
}
