//! From files to a plan, and from a plan to files.

mod error;
mod read;
mod write;

use std::fs;
use std::path::{Path, PathBuf};

pub use error::Error;
pub use read::{read_class_names, read_labels, read_samples};
pub use write::{keep_inputs, write_file};

use crate::emit::{self, Naming};
use crate::graph::Network;
use crate::onnx::{self, Import};
use crate::parallel;
use crate::plan::Plan;
use crate::quantize::{Calibration, Int16, Options, Quantized, Ranges, Trade, quantize, reuse_pools};
use crate::reference::Reference;
use crate::run::{Data, Runner};
use read::doubt;
use write::{persist, written};

/// A model, imported, calibrated, quantised and planned.
#[derive(Debug)]
pub struct Model {
    /// The ONNX file.
    pub path: PathBuf,
    /// The calibration inputs' file; empty if there was none.
    pub calibrate: PathBuf,
    /// The float network.
    pub import: Import,
    /// Runs the float network.
    pub reference: Reference,
    /// The float network that was quantised: the imported one with equalised channels.
    pub equalized: Network,
    /// The integer network.
    pub plan: Plan,
    /// How far int8 tensors reach.
    pub ranges: Ranges,
    /// What int16 tensors cost and bring, where some were chosen.
    pub int16: Option<Trade>,
    /// Why the calibration inputs may be too poor to choose ranges by, if they are.
    pub doubt: Option<&'static str>,
}

impl Model {
    /// Reads a model and quantises it on the calibration inputs.
    ///
    /// # Errors
    ///
    /// If a file cannot be read or does not fit, or the network cannot be quantised.
    pub fn load(path: &Path, calibrate: &Path, options: &Options) -> Result<Self, Error> {
        let import = onnx::load(path)?;
        let samples = read_samples(calibrate, &import)?;
        let samples: Vec<&[f32]> = samples.iter().collect();
        let mut model = Self::new(path, calibrate, import, &samples, options)?;
        model.doubt = doubt(&samples, &model);
        Ok(model)
    }

    /// Reads a model and lays it out without calibration: sizes are right, numbers are not.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn load_uncalibrated(path: &Path, options: &Options) -> Result<Self, Error> {
        if options.int16 == Int16::Auto {
            return Err(Error::Uncalibrated);
        }
        let import = onnx::load(path)?;
        let ramp: Vec<f32> = (0..import.network.values[import.network.input].shape.len())
            .map(|i| (i % 17) as f32 / 8.0 - 1.0)
            .collect();
        Self::new(path, Path::new(""), import, &[&ramp], options)
    }

    /// Quantises an imported model on calibration inputs, ordered as in the file; the paths are where they came from.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn new(
        path: &Path,
        calibrate: &Path,
        mut import: Import,
        inputs: &[&[f32]],
        options: &Options,
    ) -> Result<Self, Error> {
        reuse_pools(&mut import.network);
        let in_reference = |source| Error::Reference { model: path.into(), source };
        let reference = Reference::new(&import);
        let in_quantizer = |source| Error::Quantize { model: path.into(), source };
        let mut float = import.network.clone();
        let methods = options.ranges.resolve(&float).map_err(|error| in_quantizer(error.into()))?;
        let calibration = Calibration::new(&mut float, &reference, inputs, &methods).map_err(in_reference)?;
        let Quantized { network, trade } =
            quantize(&float, &calibration, &options.int16).map_err(in_quantizer)?;
        options.ranges.check(&float, &network.tensors).map_err(|error| in_quantizer(error.into()))?;
        let mut plan = if options.rows {
            Plan::row_by_row(network).map_err(|source| Error::Rows { model: path.into(), source })?
        } else {
            Plan::new(network)
        };
        if let Some(ram_bytes) = options.ram {
            plan = plan.within(ram_bytes).map_err(|least_ram_bytes| Error::Ram {
                model: path.into(),
                ram_bytes,
                least_ram_bytes,
            })?;
        }
        Ok(Self {
            path: path.into(),
            calibrate: calibrate.into(),
            import,
            reference,
            equalized: float,
            plan,
            ranges: options.ranges.clone(),
            int16: trade,
            doubt: None,
        })
    }

    /// Classes of the network's output, if it is a vector of scores.
    #[must_use]
    pub fn classes(&self) -> Option<usize> {
        let network = &self.plan.network;
        let shape = network.tensors[network.output].shape;
        (shape.pixels() == 1 && shape.channels > 1).then_some(shape.channels)
    }

    /// The integer outputs for samples, ordered as in the file, computed on the host, in parallel.
    #[must_use]
    pub fn scores(&self, samples: &[&[f32]]) -> Vec<Vec<i32>> {
        let network = &self.plan.network;
        let runner = self.runner();
        parallel::map(samples, |sample| {
            let trace = runner.run(self.input(sample));
            trace.values[network.output].iter().flat_map(Data::iter).collect()
        })
    }

    /// The network's integer input for a sample, ordered as in the file, as the device quantises it.
    #[must_use]
    pub fn input(&self, sample: &[f32]) -> Data {
        let network = &self.plan.network;
        Data::input(&network.tensors[network.input], &self.nhwc(sample))
    }

    /// A sample, ordered as in the file, in the order of the device.
    #[must_use]
    pub fn nhwc(&self, sample: &[f32]) -> Vec<f32> {
        self.reference.nhwc(sample)
    }

    /// Runs the integer network on the host.
    #[must_use]
    pub fn runner(&self) -> Runner<'_> {
        Runner::new(&self.plan.network)
    }

    /// Writes `DIR/<name>.rs` and `DIR/<name>.bin`, each whole: both are written beside their place before either is
    /// moved to it.
    ///
    /// # Errors
    ///
    /// If the folder cannot be written.
    pub fn write(&self, dir: &Path, name: &str, classes: &[String]) -> Result<(PathBuf, PathBuf), Error> {
        let source = self.path.file_name().unwrap_or(self.path.as_os_str()).to_string_lossy();
        let module = emit::module(&self.plan, Naming { module: name, source: &source, classes });
        fs::create_dir_all(dir).map_err(|source| Error::Io {
            path: dir.into(),
            action: "make the folder",
            source,
        })?;
        let module_path = dir.join(format!("{name}.rs"));
        let weights_path = dir.join(format!("{name}.bin"));
        for path in [&module_path, &weights_path] {
            keep_inputs(path, &[&self.path, &self.calibrate])?;
            if path.is_dir() {
                let source = std::io::ErrorKind::IsADirectory.into();
                return Err(Error::Io { path: path.clone(), action: "write", source });
            }
        }
        let module_file = written(dir, &module_path, module.as_bytes())?;
        let weights_file = written(dir, &weights_path, &self.plan.weights)?;
        persist(weights_file, &weights_path)?;
        persist(module_file, &module_path)?;
        Ok((module_path, weights_path))
    }
}

/// The module's name: as given, or made from the model's file name.
///
/// # Errors
///
/// If it is no Rust identifier.
pub fn module_name(name: Option<&str>, model: &Path) -> Result<String, Error> {
    const KEYWORDS: &[&str] = &[
        "as", "async", "await", "box", "break", "const", "continue", "crate", "dyn", "else", "enum",
        "extern", "false", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "match", "mod", "move",
        "mut", "pub", "ref", "return", "self", "static", "struct", "super", "trait", "true", "try", "type",
        "unsafe", "use", "where", "while", "yield", "abstract", "become", "do", "final", "macro", "override",
        "priv", "typeof", "unsized", "virtual",
    ];
    let name = match name {
        Some(name) => name.to_string(),
        None => {
            let stem = model.file_stem().unwrap_or_default().to_string_lossy();
            stem.chars()
                .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' })
                .collect()
        }
    };
    let starts = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    let continues = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    let only_underscores = name.chars().all(|c| c == '_');
    if starts && continues && !only_underscores && !KEYWORDS.contains(&name.as_str()) {
        Ok(name)
    } else {
        Err(Error::Name { name })
    }
}
