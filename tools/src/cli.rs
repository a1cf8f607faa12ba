//! The command line.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};
use serde::Serialize;

use crate::convert::{
    Error, Model, keep_inputs, module_name, read_class_names, read_labels, read_samples, write_file,
};
use crate::emulate::Core;
use crate::quantize::Options;
use crate::{demo, inspect, profile, report, verify};

/// Converts float CondConv networks (ONNX) into int8 Rust modules for microcontrollers, and verifies them.
#[derive(Debug, Parser)]
#[command(name = "condconv", version, about, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write DIR/IDENT.rs and DIR/IDENT.bin: the network as a Rust module and its weights
    Convert {
        #[command(flatten)]
        model: ModelArgs,
        /// Folder to write to
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Name of the module [default: from the model's file name]
        #[arg(long, value_name = "IDENT")]
        name: Option<String>,
        /// Names of the classes, one a line, to go into the module
        #[arg(long, value_name = "NAMES.txt")]
        classes: Option<PathBuf>,
    },
    /// Compare the int8 network with the float network, layer by layer
    Verify {
        #[command(flatten)]
        model: ModelArgs,
        /// Test inputs; the first axis is the sample, the rest as the model's input
        #[arg(long, value_name = "X.npy")]
        inputs: PathBuf,
        /// Integer labels of the test inputs
        #[arg(long, value_name = "Y.npy")]
        labels: Option<PathBuf>,
        /// Write the results as JSON; - is standard output
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Show operators, shapes, multiply-accumulates, flash and RAM
    Inspect {
        /// The network
        #[arg(value_name = "MODEL.onnx")]
        model: PathBuf,
        /// Calibration inputs; without them sizes are shown, but no plan id
        #[arg(long, value_name = "X.npy")]
        calibrate: Option<PathBuf>,
        #[command(flatten)]
        options: Options,
        /// Write the results as JSON; - is standard output
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
        /// Draw what lies in memory over the run as an SVG picture; - is standard output
        #[arg(long, value_name = "FILE")]
        svg: Option<PathBuf>,
    },
    /// Count the instructions of one inference on an emulated core, layer by layer
    Profile {
        #[command(flatten)]
        model: ModelArgs,
        /// The core: cortex-m0, cortex-m3, cortex-m4, cortex-m7, cortex-m33 or cortex-m55
        #[arg(long)]
        core: Core,
        /// Write the results as JSON; - is standard output
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Convert and verify the digit network, run it on an emulated Cortex-M4 and show what it sees
    Demo,
}

#[derive(Debug, Args)]
struct ModelArgs {
    /// The network: one ONNX file, exported with a batch of one
    #[arg(value_name = "MODEL.onnx")]
    model: PathBuf,
    /// Calibration inputs, 64 or better 256 from the training data; the first axis is the sample, the rest as
    /// the model's input
    #[arg(long, value_name = "X.npy")]
    calibrate: PathBuf,
    #[command(flatten)]
    options: Options,
}

impl ModelArgs {
    fn load(&self) -> Result<Model, Error> {
        load(&self.model, &self.calibrate, &self.options)
    }
}

impl Cli {
    /// Does what was asked for.
    ///
    /// # Errors
    ///
    /// Whatever stands in the way: file, cause and remedy.
    pub fn run(self) -> Result<(), Error> {
        match self.command {
            Command::Convert { model: args, out, name, classes } => {
                let name = module_name(name.as_deref(), &args.model)?;
                let model = args.load()?;
                let classes = match &classes {
                    Some(path) => read_class_names(path, &model)?,
                    None => Vec::new(),
                };
                let (module, weights) = model.write(&out, &name, &classes)?;
                let plan = &model.plan;
                say(&format!(
                    "{}\n{}\n{}{}{}",
                    module.display(),
                    weights.display(),
                    report::ranges(&model.ranges),
                    report::int16(model.int16.as_ref()),
                    report::sizes(&plan.sizes(), &plan.id())
                ))
            }
            Command::Verify { model: args, inputs, labels, json } => {
                let mut read: Vec<&Path> = vec![&args.model, &args.calibrate, &inputs];
                read.extend(labels.as_deref());
                keep(json.as_deref(), &read)?;
                let model = args.load()?;
                let samples = read_samples(&inputs, &model.import)?;
                let samples: Vec<&[f32]> = samples.iter().collect();
                let labels =
                    labels.as_deref().map(|path| read_labels(path, samples.len(), &model)).transpose()?;
                let result = verify::verify(&model, &samples, labels.as_deref())?;
                output(&result, json.as_deref(), || report::verification(&result))
            }
            Command::Inspect { model, calibrate, options, json, svg } => {
                let mut read: Vec<&Path> = vec![&model];
                read.extend(calibrate.as_deref());
                keep(json.as_deref(), &read)?;
                keep(svg.as_deref(), &read)?;
                if let Some(path) = svg.as_ref().filter(|path| json.as_ref() == Some(path)) {
                    return Err(Error::WrittenTwice { path: path.clone() });
                }
                let loaded = match &calibrate {
                    Some(samples) => load(&model, samples, &options)?,
                    None => Model::load_uncalibrated(&model, &options)?,
                };
                let result = inspect::inspect(&loaded, calibrate.is_some());
                let Some(svg) = &svg else {
                    return output(&result, json.as_deref(), || report::inspection(&result));
                };
                let name = model.file_name().unwrap_or(model.as_os_str()).to_string_lossy();
                let picture = loaded.plan.memory_svg(&name);
                if svg == Path::new("-") {
                    return output(&result, json.as_deref(), || picture.clone());
                }
                write_file(svg, picture.as_bytes())?;
                output(&result, json.as_deref(), || report::inspection(&result))
            }
            Command::Profile { model: args, core, json } => {
                keep(json.as_deref(), &[&args.model, &args.calibrate])?;
                let model = args.load()?;
                let samples = read_samples(&args.calibrate, &model.import)?;
                let sample = samples.iter().next().unwrap_or_default();
                let result = profile::profile(&model, core, sample)?;
                output(&result, json.as_deref(), || report::profile(&result))
            }
            Command::Demo => demo::run(say),
        }
    }
}

/// Reads a model, and warns of calibration inputs that are no good.
fn load(model: &Path, calibrate: &Path, options: &Options) -> Result<Model, Error> {
    let model = Model::load(model, calibrate, options)?;
    if let Some(doubt) = model.doubt {
        eprintln!("warning: {}: {doubt}", calibrate.display());
    }
    Ok(model)
}

/// Refuses to write over a file that is read.
fn keep(written: Option<&Path>, read: &[&Path]) -> Result<(), Error> {
    written.map_or(Ok(()), |written| keep_inputs(written, read))
}

/// JSON to a file beside the text on standard output, or instead of it.
fn output(result: &impl Serialize, json: Option<&Path>, text: impl Fn() -> String) -> Result<(), Error> {
    let Some(path) = json else {
        return say(&text());
    };
    let mut document = serde_json::to_string_pretty(result)
        .unwrap_or_else(|error| unreachable!("results are plain structures: {error}"));
    document.push('\n');
    if path == Path::new("-") {
        say(&document)
    } else {
        write_file(path, document.as_bytes())?;
        say(&text())
    }
}

/// Writes to standard output. That nobody reads it any more, as in a pipe to `head`, is no error.
fn say(text: &str) -> Result<(), Error> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Error::Output(error)),
        _ => Ok(()),
    }
}
