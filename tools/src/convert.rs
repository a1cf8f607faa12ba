//! From files to a plan, and from a plan to files.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
use thiserror::Error;

use crate::emit::{self, Naming};
use crate::graph::Network;
use crate::npy::{self, NpyError, Samples};
use crate::onnx::{self, Import, ImportError};
use crate::parallel;
use crate::plan::Plan;
use crate::quantize::{Calibration, Int16, Options, QuantizeError, Quantized, Trade, quantize, reuse_pools};
use crate::reference::{Reference, ReferenceError};
use crate::run::{Data, Runner};

/// Why a command failed: the file, what is wrong with it, and what to do.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The model cannot be read.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// An array cannot be read.
    #[error(transparent)]
    Npy(#[from] NpyError),
    /// The float reference failed.
    #[error("{model}: the float reference failed: {source}")]
    Reference {
        /// The ONNX file.
        model: PathBuf,
        /// What it said.
        source: ReferenceError,
    },
    /// A layer cannot be put into integers.
    #[error("{model}: {source}")]
    Quantize {
        /// The ONNX file.
        model: PathBuf,
        /// The layer and the reason.
        source: QuantizeError,
    },
    /// There is nothing to measure on.
    #[error("--int16 auto measures on calibration inputs; give them with --calibrate")]
    Uncalibrated,
    /// There are no samples.
    #[error("{path}: no samples; give at least one, better 64 to 256")]
    NoSamples {
        /// The array.
        path: PathBuf,
    },
    /// There is not one label for each sample.
    #[error("{path}: {labels} labels for {samples} samples; give one label for each sample")]
    LabelCount {
        /// The labels.
        path: PathBuf,
        /// How many there are.
        labels: usize,
        /// How many there should be.
        samples: usize,
    },
    /// A label is no class of the network.
    #[error(
        "{path}: label {label} of sample {sample}, but the network has {classes} outputs; labels count from 0"
    )]
    Label {
        /// The labels.
        path: PathBuf,
        /// The label.
        label: usize,
        /// Which sample has it.
        sample: usize,
        /// Outputs of the network.
        classes: usize,
    },
    /// The shipped models are not there.
    #[error(
        "{path}: no models there; they are part of the repository, not of the installed program: run from a clone"
    )]
    NoModels {
        /// Where they should be.
        path: PathBuf,
    },
    /// The emulated core and the host disagree.
    #[error(
        "{machine}: {samples} samples with scores other than the host's; this is a bug of condconv, please report it"
    )]
    Different {
        /// QEMU's machine.
        machine: &'static str,
        /// How many samples.
        samples: usize,
    },
    /// The emulator failed.
    #[error(transparent)]
    Emulate(#[from] crate::emulate::EmulateError),
    /// An output would replace an input.
    #[error("{path}: is one of the files that were read; choose another name for what is written")]
    Overwrites {
        /// The file.
        path: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("{path}: cannot {action}: {source}; check that the folder exists and may be written")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// Standard output cannot be written.
    #[error("standard output cannot be written: {0}; check where it leads")]
    Output(std::io::Error),
    /// A name is no Rust identifier.
    #[error("'{name}' is no name for a Rust module: use lowercase letters, digits and _ with --name")]
    Name {
        /// The name.
        name: String,
    },
    /// There is not one class name for each output.
    #[error("{path}: {names} class names for {classes} outputs; give one name for each output, a line each")]
    ClassNames {
        /// The file of names.
        path: PathBuf,
        /// How many there are.
        names: usize,
        /// How many there should be.
        classes: usize,
    },
}

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
    /// What int16 tensors cost and bring, where some were chosen.
    pub int16: Option<Trade>,
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
        Self::new(path, calibrate, import, &samples.iter().collect::<Vec<_>>(), options)
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

    /// Quantises an imported model on calibration inputs (NCHW); the paths are where they came from.
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
        let mut float = import.network.clone();
        let calibration =
            Calibration::new(&mut float, &reference, inputs, options.ranges).map_err(in_reference)?;
        let Quantized { network, trade } = quantize(&float, &calibration, &options.int16)
            .map_err(|source| Error::Quantize { model: path.into(), source })?;
        Ok(Self {
            path: path.into(),
            calibrate: calibrate.into(),
            import,
            reference,
            equalized: float,
            plan: Plan::new(network),
            int16: trade,
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
            .unwrap_or_else(|(layer, error)| unreachable!("'{layer}' was checked when quantised: {error}"))
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

/// Refuses to write over one of the files that were read.
///
/// # Errors
///
/// If `output` is one of `inputs`, under whatever name.
pub fn keep_inputs(output: &Path, inputs: &[&Path]) -> Result<(), Error> {
    let Ok(existing) = fs::canonicalize(output) else { return Ok(()) };
    if inputs.iter().filter_map(|input| fs::canonicalize(input).ok()).any(|input| input == existing) {
        return Err(Error::Overwrites { path: output.into() });
    }
    Ok(())
}

/// Reads samples of a model's input, at least one.
///
/// # Errors
///
/// If the file cannot be read, is empty, or holds arrays of another shape, NaN or infinity.
pub fn read_samples(path: &Path, import: &Import) -> Result<Samples, Error> {
    let samples = Samples::read(path, &import.input_dims)?;
    if samples.is_empty() {
        return Err(Error::NoSamples { path: path.into() });
    }
    Ok(samples)
}

/// Reads labels: one for each sample, each a class of the network.
///
/// # Errors
///
/// If the file cannot be read, or a label is missing or is no class.
pub fn read_labels(path: &Path, samples: usize, model: &Model) -> Result<Vec<usize>, Error> {
    let labels = npy::read_labels(path)?;
    if labels.len() != samples {
        return Err(Error::LabelCount { path: path.into(), labels: labels.len(), samples });
    }
    // Labels of a network that yields no scores have nothing to be checked against, and are not used.
    if let Some(classes) = model.classes()
        && let Some(sample) = labels.iter().position(|&label| label >= classes)
    {
        return Err(Error::Label { path: path.into(), label: labels[sample], sample, classes });
    }
    Ok(labels)
}

/// Writes a file whole or not at all.
///
/// # Errors
///
/// If its folder cannot be written.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    // A link stays one; what is no file, such as a pipe, is written to as it is.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.into());
    if path.exists() && !path.is_file() && !path.is_dir() {
        return fs::write(path, bytes).map_err(|source| Error::Io {
            path: path.clone(),
            action: "write",
            source,
        });
    }
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    persist(written(dir, path, bytes)?, path)
}

fn written(dir: &Path, path: &Path, bytes: &[u8]) -> Result<NamedTempFile, Error> {
    let io = |source| Error::Io { path: path.into(), action: "write", source };
    let mut file = NamedTempFile::new_in(dir).map_err(io)?;
    file.write_all(bytes).map_err(io)?;
    Ok(file)
}

fn persist(file: NamedTempFile, path: &Path) -> Result<(), Error> {
    // Temporary files are private; what a build reads need not be.
    let io = |source| Error::Io { path: path.into(), action: "write", source };
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        file.as_file().set_permissions(fs::Permissions::from_mode(0o644)).map_err(io)?;
    }
    file.persist(path).map_err(|error| io(error.error))?;
    Ok(())
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

/// Reads class names, one a line, one for each output.
///
/// # Errors
///
/// If the file cannot be read or the number of names is another.
pub fn read_class_names(path: &Path, model: &Model) -> Result<Vec<String>, Error> {
    let bytes = fs::read(path).map_err(|source| Error::Io { path: path.into(), action: "read", source })?;
    let text = String::from_utf8_lossy(&bytes);
    let names: Vec<String> =
        text.lines().map(|line| line.trim().to_string()).filter(|line| !line.is_empty()).collect();
    let network = &model.plan.network;
    let classes = network.tensors[network.output].shape.len();
    if names.len() != classes {
        return Err(Error::ClassNames { path: path.into(), names: names.len(), classes });
    }
    Ok(names)
}
