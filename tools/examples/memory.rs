//! The tables of `docs/memory.md`: what networks need in the fastest plan and in the smallest, on an emulated Cortex-M4, with
//! an input that is there before and with one that arrives row by row; the shipped ones, and those of a folder made by
//! `make.py` in `tests/fixtures/networks`.
//!
//! ```text
//! cargo run --release --package condconv-tools --example memory -- FOLDER
//! ```

use std::env;
use std::error::Error;
use std::path::{Path, PathBuf};

use condconv_tools::convert::{Model, read_samples};
use condconv_tools::emulate::Core;
use condconv_tools::profile::{Profile, profile};
use condconv_tools::quantize::Options;

#[path = "../tests/shared/shipped.rs"]
mod shipped;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(env::args_os().nth(1).ok_or("give the folder that make.py made")?);
    for rows in [false, true] {
        let input = if rows { "network, input row by row" } else { "network" };
        println!(
            "| {input} | MACs + mixing | RAM, fastest | instructions | RAM, least | instructions | more | stack | code that ran | of the library, linked |"
        );
        println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
        for (name, data) in shipped::NETWORKS {
            print_row(name, &shipped::file(name, "onnx"), &shipped::file(data, "calibrate.npy"), rows)?;
        }
        for (label, name) in [
            ("MLPerf Tiny's ds_cnn", "ds_cnn"),
            ("MLPerf Tiny's resnet8", "resnet8"),
            ("MLPerf Tiny's mobilenet_v1", "mobilenet_v1"),
            ("MobileNetV2, width 0.3, 80x80", "mobilenet_v2"),
        ] {
            let [onnx, calibrate] =
                ["_dynamo.onnx", ".calibrate.npy"].map(|end| folder.join(format!("{name}{end}")));
            print_row(label, &onnx, &calibrate, rows)?;
        }
        println!();
    }
    Ok(())
}

fn print_row(name: &str, onnx: &Path, calibrate: &Path, rows: bool) -> Result<(), Box<dyn Error>> {
    let run = |ram| -> Result<Profile, Box<dyn Error>> {
        let model = Model::load(onnx, calibrate, &Options { ram, rows, ..Options::default() })?;
        let samples = read_samples(calibrate, &model.import)?;
        let sample = samples.iter().next().ok_or("no sample")?;
        Ok(profile(&model, Core::CortexM4, sample)?)
    };
    let fastest = run(None)?;
    let least = run(Some(fastest.sizes.least_ram_bytes))?;
    let instructions = [&fastest, &least].map(|profile| profile.total.instructions);
    println!(
        "| {name} | {} + {} | {} | {} | {} | {} | {:.1} % | {} | {} | {} |",
        fastest.sizes.macs,
        fastest.sizes.mixing_macs,
        fastest.sizes.ram_bytes,
        instructions[0],
        least.sizes.ram_bytes,
        instructions[1],
        100.0 * (instructions[1] as f64 / instructions[0] as f64 - 1.0),
        fastest.stack_bytes.max(least.stack_bytes),
        fastest.code_bytes,
        fastest.library_code_bytes,
    );
    Ok(())
}
