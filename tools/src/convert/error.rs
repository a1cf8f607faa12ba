//! Why a command failed.

use std::path::PathBuf;

use thiserror::Error;

use crate::npy::NpyError;
use crate::onnx::ImportError;
use crate::plan::WholeInput;
use crate::quantize::QuantizeError;
use crate::reference::ReferenceError;

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
    /// The network takes more RAM than it may.
    #[error(
        "{model}: --ram {ram_bytes}: the network takes {least_ram_bytes} bytes at least; allow as many, or make it smaller"
    )]
    Ram {
        /// The ONNX file.
        model: PathBuf,
        /// What is allowed.
        ram_bytes: usize,
        /// What is needed.
        least_ram_bytes: usize,
    },
    /// The first layers cannot run row by row.
    #[error("{model}: {source}, so that it cannot arrive row by row; leave --rows out")]
    Rows {
        /// The ONNX file.
        model: PathBuf,
        /// Why.
        source: WholeInput,
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
    /// Two outputs would replace one another.
    #[error("{path}: would be written twice; give each output a file of its own")]
    WrittenTwice {
        /// The file.
        path: PathBuf,
    },
    /// A file cannot be read.
    #[error("{path}: cannot be read: {source}; check the path")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file cannot be written.
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
    /// Class names are no text.
    #[error("{path}: is not UTF-8 text; save it as UTF-8")]
    ClassNamesEncoding {
        /// The file of names.
        path: PathBuf,
    },
    /// Two classes have one name.
    #[error("{path}: names two classes '{name}'; give each a name of its own")]
    ClassNameTwice {
        /// The file of names.
        path: PathBuf,
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
