//! Files beside the model that are read, checked against it: samples, labels, names.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use super::{Error, Model};
use crate::npy::{self, Samples};
use crate::onnx::Import;

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

/// Reads class names, one a line, one for each output.
///
/// # Errors
///
/// If the file cannot be read, is no UTF-8, or does not hold one name for each output, all different.
pub fn read_class_names(path: &Path, model: &Model) -> Result<Vec<String>, Error> {
    let bytes = fs::read(path).map_err(|source| Error::Read { path: path.into(), source })?;
    let text = String::from_utf8(bytes).map_err(|_| Error::ClassNamesEncoding { path: path.into() })?;
    // Windows' editors begin files with a byte order mark.
    let text = text.trim_start_matches('\u{feff}');
    let names: Vec<String> =
        text.lines().map(|line| line.trim().to_string()).filter(|line| !line.is_empty()).collect();
    let network = &model.plan.network;
    let classes = network.tensors[network.output].shape.len();
    if names.len() != classes {
        return Err(Error::ClassNames { path: path.into(), names: names.len(), classes });
    }
    let mut known = HashSet::new();
    match names.iter().find(|name| !known.insert(name.as_str())) {
        Some(name) => Err(Error::ClassNameTwice { path: path.into(), name: name.clone() }),
        None => Ok(names),
    }
}

/// Why calibration inputs may be too poor to choose ranges by, if they are.
pub(super) fn doubt(samples: &[&[f32]], model: &Model) -> Option<&'static str> {
    let channels = model.import.network.values[model.import.network.input].shape.channels;
    let first = samples.first()?;
    let reference = &model.nhwc(first)[..channels];
    let is_constant = |sample: &&[f32]| model.nhwc(sample).chunks(channels).all(|pixel| pixel == reference);
    if samples.iter().all(is_constant) {
        Some("each channel is the same number everywhere, so that ranges say nothing; calibrate on real data")
    } else if samples.len() == 1 {
        Some("a single sample, so that ranges may be too narrow; calibrate on 64 to 256")
    } else {
        None
    }
}
