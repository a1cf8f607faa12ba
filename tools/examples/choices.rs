//! The table of choices in `docs/quantization.md`: what each brings. The shipped networks are calibrated on every other of
//! their calibration inputs and measured on the rest, so that no choice is made on test data; those that
//! `tests/fixtures/networks/make.py` made in a folder, most of them with random weights, on their test inputs.
//!
//! ```text
//! cargo run --release --package condconv-tools --example choices [FOLDER]
//! ```

use std::error::Error;
use std::path::{Path, PathBuf};

use condconv_tools::convert::{Model, read_samples};
use condconv_tools::onnx;
use condconv_tools::quantize::{Int16, Options, RangeMethod};
use condconv_tools::verify::verify;

#[path = "../tests/shared/shipped.rs"]
mod shipped;

const CHOICES: [(&str, Int16, RangeMethod); 5] = [
    ("min-max", Int16::None, RangeMethod::MinMax),
    ("percentile", Int16::None, RangeMethod::Percentile),
    ("least squared error (`--ranges mse`)", Int16::None, RangeMethod::Mse),
    ("min-max, `--int16 auto`", Int16::Auto, RangeMethod::MinMax),
    ("`--ranges mse --int16 auto`", Int16::Auto, RangeMethod::Mse),
];

/// A network, inputs to calibrate it on and others to measure it on.
struct Subject {
    onnx: PathBuf,
    calibrate: Vec<Vec<f32>>,
    measure: Vec<Vec<f32>>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os().nth(1);
    let mut groups = vec![("shipped", shipped()?)];
    if let Some(folder) = folder {
        groups.push(("of make.py", made(Path::new(&folder))?));
    }
    println!("| networks | choice | SQNR mean, dB | worst | agreement mean, % | RAM |");
    println!("|---|---|---|---|---|---|");
    for (group, subjects) in groups {
        for (choice, int16, ranges) in CHOICES {
            let options = Options { int16, ranges: ranges.into(), ram: None, rows: false };
            let (mut sum, mut worst, mut agreement, mut ram) = (0.0, f64::INFINITY, 0.0, 0);
            for subject in &subjects {
                let import = onnx::load(&subject.onnx)?;
                let calibrate: Vec<&[f32]> = subject.calibrate.iter().map(Vec::as_slice).collect();
                let model = Model::new(&subject.onnx, Path::new(""), import, &calibrate, &options)?;
                let measure: Vec<&[f32]> = subject.measure.iter().map(Vec::as_slice).collect();
                let result = verify(&model, &measure, None)?;
                sum += result.output.sqnr_db;
                worst = worst.min(result.output.sqnr_db);
                agreement += result.output.top1_agreement.unwrap_or(1.0);
                ram += result.sizes.ram_bytes;
            }
            let count = subjects.len() as f64;
            println!(
                "| {group} | {choice} | {:.1} | {worst:.1} | {:.2} | {ram} |",
                sum / count,
                100.0 * agreement / count
            );
        }
    }
    Ok(())
}

/// The shipped networks.
fn shipped() -> Result<Vec<Subject>, Box<dyn Error>> {
    let subject = |&(name, data): &(&str, &str)| {
        let onnx = shipped::file(name, "onnx");
        let samples = samples(&onnx, &shipped::file(data, "calibrate.npy"))?;
        let part = |rest: usize| samples.iter().skip(rest).step_by(2).cloned().collect();
        Ok(Subject { calibrate: part(0), measure: part(1), onnx })
    };
    shipped::NETWORKS.iter().map(subject).collect()
}

/// Those in a folder: `NAME_dynamo.onnx` with `NAME.calibrate.npy` and `NAME.test.npy`. Not timm's: `--int16 auto` would
/// quantise it anew for each of its tensors.
fn made(folder: &Path) -> Result<Vec<Subject>, Box<dyn Error>> {
    let mut subjects = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let onnx = entry?.path();
        let Some(name) = onnx.to_str().and_then(|name| name.strip_suffix("_dynamo.onnx")) else { continue };
        // Too large to be run so often; and one that is there for its memory, with random weights.
        if name.contains("tf_efficientnet") || name.ends_with("mobilenet_v2") {
            continue;
        }
        let data = |kind: &str| samples(&onnx, Path::new(&format!("{name}.{kind}.npy")));
        subjects.push(Subject { calibrate: data("calibrate")?, measure: data("test")?, onnx: onnx.clone() });
    }
    subjects.sort_by(|a, b| a.onnx.cmp(&b.onnx));
    Ok(subjects)
}

fn samples(onnx: &Path, npy: &Path) -> Result<Vec<Vec<f32>>, Box<dyn Error>> {
    let samples = read_samples(npy, &onnx::load(onnx)?)?;
    Ok(samples.iter().map(<[f32]>::to_vec).collect())
}
