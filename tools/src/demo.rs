//! The demonstration: the digit network from float to an emulated Cortex-M4.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use condconv::RoutingWeight;

use crate::convert::{Error, Model, read_class_names, read_labels, read_samples};
use crate::emulate::{self, Core, Sample};
use crate::quantize::Options;
use crate::{report, verify};

/// The shipped models.
const MODELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../models");

/// Test images that run on the emulated core.
const EMULATED: usize = 500;

/// Digits that are shown.
const SHOWN: usize = 5;

/// Converts the digit network, verifies it, runs it on an emulated Cortex-M4, compares the bits with the host's and shows
/// some digits; tells through `say` how it goes.
///
/// # Errors
///
/// Whatever stands in the way, and bits that differ.
pub fn run(say: fn(&str) -> Result<(), Error>) -> Result<(), Error> {
    let file = |name: &str| PathBuf::from(MODELS).join(name);
    let model_path = file("digits.onnx");
    if !model_path.is_file() {
        return Err(Error::NoModels { path: MODELS.into() });
    }
    say("1. Convert: digits.onnx, float, from PyTorch, becomes a Rust module in int8.\n\n")?;
    let model = Model::load(&model_path, &file("digits.calibrate.npy"), &Options::default())?;
    let names = read_class_names(&file("digits.classes.txt"), &model)?;
    let folder = tempfile::tempdir().map_err(|source| Error::Io {
        path: "a temporary folder".into(),
        action: "make",
        source,
    })?;
    let (module, _) = model.write(folder.path(), "digits", &names)?;
    say(&format!(
        "   {} lines of Rust, {} bytes of constants, {} bytes of RAM\n\n",
        std::fs::read_to_string(&module).map_or(0, |text| text.lines().count()),
        model.plan.flash_bytes(),
        model.plan.ram_bytes()
    ))?;

    say("2. Verify: every layer beside the float reference, on test images that training never saw.\n\n")?;
    let samples = read_samples(&file("digits.test.npy"), &model.import)?;
    let labels = read_labels(&file("digits.labels.npy"), samples.len(), &model)?;
    let samples: Vec<&[f32]> = samples.iter().collect();
    let result = verify::verify(&model, &samples, Some(&labels))?;
    say(&format!("{}\n", indented(&report::verification(&result))))?;

    say(&format!("3. Run: firmware for a Cortex-M4, emulated by QEMU, on {EMULATED} of these images.\n\n"))?;
    let shown = run_on_device(say, &model, &module, &samples[..EMULATED], &labels[..EMULATED])?;

    say("4. Look: some digits, what the device made of them, and the experts that each chose.\n\n")?;
    for (index, sample) in choose(&shown, &labels) {
        say(&format!("{}\n", picture(samples[index], labels[index], sample)))?;
    }
    Ok(())
}

/// Runs the samples on the emulated core and compares every score with the host's.
fn run_on_device(
    say: fn(&str) -> Result<(), Error>,
    model: &Model,
    module: &Path,
    samples: &[&[f32]],
    labels: &[usize],
) -> Result<Vec<Sample>, Error> {
    let core = Core::CortexM4;
    let image = emulate::build(core, module)?;
    let sections = image.sections()?;
    let reals: Vec<f32> = samples.iter().flat_map(|sample| model.nhwc(sample)).collect();
    let classes: Vec<u8> = labels.iter().map(|&label| label as u8).collect();
    let run = emulate::run(&image, &reals, Some(&classes), true)?;
    let host = model.scores(samples);
    let equal = run.samples.iter().zip(&host).filter(|(device, host)| device.scores == **host).count();
    say(&format!(
        "   image: {} bytes of flash, {} bytes of RAM without stack (network: {} and {})\n",
        sections.text + sections.data,
        sections.data + sections.bss,
        model.plan.flash_bytes(),
        model.plan.ram_bytes()
    ))?;
    say(&format!("   right: {} of {} images\n", run.correct.unwrap_or(0), samples.len()))?;
    say(&format!("   equal to the host, bit for bit: {equal} of {} images\n\n", samples.len()))?;
    if equal == samples.len() {
        Ok(run.samples)
    } else {
        Err(Error::Different { machine: image.machine(), samples: samples.len() - equal })
    }
}

/// The first digits of different classes, and one that the network gets wrong.
fn choose<'a>(samples: &'a [Sample], labels: &[usize]) -> Vec<(usize, &'a Sample)> {
    let mut chosen: Vec<(usize, &Sample)> = Vec::new();
    for (index, sample) in samples.iter().enumerate() {
        if chosen.len() < SHOWN - 1 && chosen.iter().all(|(other, _)| labels[*other] != labels[index]) {
            chosen.push((index, sample));
        }
    }
    let wrong = samples.iter().enumerate().find(|(index, sample)| sample.prediction != labels[*index]);
    chosen.extend(wrong);
    chosen
}

/// A digit beside its prediction and routing weights.
fn picture(pixels: &[f32], label: usize, sample: &Sample) -> String {
    const WIDTH: usize = 28;
    let dark = |row: usize, column: usize| pixels.get(row * WIDTH + column).is_some_and(|&p| p > 96.0);
    let verdict = if sample.prediction == label { "right" } else { "wrong" };
    let mut notes =
        vec![String::new(), format!("predicted {}, {verdict}: it is a {label}", sample.prediction)];
    notes.push(String::new());
    notes.push("routing weights, a column an expert".into());
    for (name, weights) in &sample.routing {
        notes.push(format!("{} {name}", bars(weights)));
    }
    let mut text = String::new();
    for line in 0..pixels.len() / WIDTH / 2 {
        let halves = (0..WIDTH).map(|column| match (dark(2 * line, column), dark(2 * line + 1, column)) {
            (true, true) => '█',
            (true, false) => '▀',
            (false, true) => '▄',
            (false, false) => ' ',
        });
        let note = notes.get(line).map_or("", String::as_str);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "   {}   {note}", halves.collect::<String>());
    }
    text
}

/// Weights from 0 to 1 as columns of eight heights.
fn bars(weights: &[RoutingWeight]) -> String {
    const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    weights.iter().map(|weight| HEIGHTS[usize::from(weight.to_bits().unsigned_abs() >> 12).min(7)]).collect()
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("   {}\n", line.trim_end())).collect()
}
