//! The table of the README: every shipped network, measured.
//!
//! ```text
//! cargo run --release --package condconv-tools --example figures
//! ```

use std::error::Error;

use condconv_tools::convert::{Model, read_labels, read_samples};
use condconv_tools::emulate::{self, Core};
use condconv_tools::quantize::Options;
use condconv_tools::verify::verify;

#[path = "../tests/shared/shipped.rs"]
mod shipped;

fn main() -> Result<(), Box<dyn Error>> {
    println!(
        "| network | accuracy float / int8, % | agreement, % | SQNR, dB | MACs + mixing | flash | RAM | image flash | image RAM |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let (mut loss, mut agreement) = (0.0, 0.0);
    for (name, data) in shipped::NETWORKS {
        let model = Model::load(
            &shipped::file(name, "onnx"),
            &shipped::file(data, "calibrate.npy"),
            &Options::default(),
        )?;
        let samples = read_samples(&shipped::file(data, "test.npy"), &model.import)?;
        let labels = read_labels(&shipped::file(data, "labels.npy"), samples.len(), &model)?;
        let samples: Vec<&[f32]> = samples.iter().collect();
        let result = verify(&model, &samples, Some(&labels))?;
        let folder = tempfile::tempdir()?;
        let (module, _) = model.write(folder.path(), "network", &[])?;
        let image = emulate::build(Core::CortexM4, &module)?.sections()?;
        let percent = |share: Option<f64>| 100.0 * share.unwrap_or(f64::NAN);
        let [float, int8, agree] =
            [result.output.accuracy_float, result.output.accuracy_int8, result.output.top1_agreement]
                .map(percent);
        println!(
            "| {name} | {float:.2} / {int8:.2} | {agree:.2} | {:.1} | {} + {} | {} | {} | {} | {} |",
            result.output.sqnr_db,
            result.sizes.macs,
            result.sizes.mixing_macs,
            result.sizes.flash_bytes,
            result.sizes.ram_bytes,
            image.text + image.data,
            image.data + image.bss
        );
        loss += float - int8;
        agreement += agree;
    }
    let count = shipped::NETWORKS.len() as f64;
    println!(
        "\nAccuracy lost on average: {:.2} points. Agreement on average: {:.2} %.",
        loss / count,
        agreement / count
    );
    Ok(())
}
