//! The tables of `docs/networks.md`: the shipped networks, and those of a folder made by `make.py` in
//! `tests/fixtures/networks`.
//!
//! ```text
//! cargo run --release --package condconv-tools --example networks -- FOLDER
//! ```

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use condconv_tools::convert::{Model, read_labels, read_samples};
use condconv_tools::quantize::Options;
use condconv_tools::verify::verify;

#[allow(dead_code, reason = "the tests read more")]
#[path = "../tests/shared/rounded.rs"]
mod rounded;
#[path = "../tests/shared/shipped.rs"]
mod shipped;

use rounded::{Quality, quality};

const HEADER: &str = "\
| network | conditional + static layers | routings | MACs + mixing | flash | RAM | worst layer, dB | output, dB | rounded floats, dB | with corrected biases, dB | only input rounded, dB | agreement, % | accuracy float / int8, % | import error |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|";

fn main() -> Result<(), Box<dyn Error>> {
    let folder = env::args_os().nth(1).ok_or("give the folder that make.py made")?;
    println!("Shipped:\n\n{HEADER}");
    for (name, data) in shipped::NETWORKS {
        print_row(&shipped::file(name, "onnx"), |kind| shipped::file(data, &format!("{kind}.npy")))?;
    }
    println!("\nOf the folder:\n\n{HEADER}");
    let files =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, Box<dyn Error>>>()?;
    let mut files: Vec<_> =
        files.into_iter().filter(|file| file.extension().is_some_and(|end| end == "onnx")).collect();
    files.sort();
    for file in files {
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        let (base, exporter) =
            name.rsplit_once('_').ok_or_else(|| format!("{name}: no exporter in the name"))?;
        // Those of other opsets than the exporters' own are the same networks once more.
        if !["legacy", "dynamo"].contains(&exporter) {
            continue;
        }
        print_row(&file, |kind| file.with_file_name(format!("{base}.{kind}.npy")))?;
    }
    Ok(())
}

fn print_row(onnx: &Path, data: impl Fn(&str) -> PathBuf) -> Result<(), Box<dyn Error>> {
    let model = Model::load(onnx, &data("calibrate"), &Options::default())?;
    let samples = read_samples(&data("test"), &model.import)?;
    let samples: Vec<&[f32]> = samples.iter().collect();
    // Networks with random weights have none.
    let labels = data("labels");
    let labels = labels.exists().then(|| read_labels(&labels, samples.len(), &model)).transpose()?;
    let result = verify(&model, &samples, labels.as_deref())?;
    let Quality { integer, rounded, corrected, rounded_input, import_error, .. } = quality(&model, &samples);
    let kernels = model.import.network.layers.iter().filter_map(|layer| layer.op.kernels());
    let (conditional, fixed): (Vec<_>, Vec<_>) = kernels.partition(|kernels| kernels.routing.is_some());
    let worst = result.layers.iter().map(|layer| layer.sqnr_db).fold(f64::INFINITY, f64::min);
    let percent = |share: Option<f64>| share.map_or("-".into(), |share| format!("{:.1}", 100.0 * share));
    let [agreement, float, int8] =
        [result.output.top1_agreement, result.output.accuracy_float, result.output.accuracy_int8]
            .map(percent);
    println!(
        "| {} | {} + {} | {} | {} + {} | {} | {} | {worst:.1} | {integer:.1} | {rounded:.1} | {corrected:.1} | {rounded_input:.1} | {agreement} | {float} / {int8} | {import_error:.0e} |",
        onnx.file_stem().unwrap_or_default().display(),
        conditional.len(),
        fixed.len(),
        result.routings.len(),
        result.sizes.macs,
        result.sizes.mixing_macs,
        result.sizes.flash_bytes,
        result.sizes.ram_bytes,
    );
    Ok(())
}
