//! What can be chosen about quantisation, by the same options of all commands.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use serde::Serialize;
use thiserror::Error;

use crate::graph::{Network, Op, ValueId};
use crate::quantized::{ElementType, Tensor};

/// Choices that change the plan.
#[derive(Debug, Clone, Default, Args)]
pub struct Options {
    /// Tensors to keep in int16: auto, none, or names of layers or tensors, separated by commas. auto takes those
    /// that make much of the output's noise on calibration inputs held back; each takes more RAM and time
    #[arg(long, value_name = "auto|none|NAME,..", default_value = "none")]
    pub int16: Int16,
    /// How far int8 tensors reach: min-max, as far as the calibration inputs; percentile, without the outermost 0.1 %
    /// of their numbers; mse, where rounding and clipping together make the least squared error. One for all, then
    /// others for layers or tensors by name
    #[arg(long, value_name = "METHOD[,NAME=METHOD..]", default_value = "min-max")]
    pub ranges: Ranges,
    /// Most RAM that the network may take, in bytes. With less, convolutions prepare fewer kernels at a time, which is
    /// slower; without a bound it is as fast as it can be
    #[arg(long, value_name = "BYTES")]
    pub ram: Option<usize>,
    /// Take the input row by row, as a camera or sensor delivers it: the first layers run as rows arrive, so that neither
    /// the whole input nor large maps behind it lie in RAM
    #[arg(long)]
    pub rows: bool,
}

/// Which tensors are int16 beside those for which it costs next to nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Int16 {
    /// No others.
    #[default]
    None,
    /// Those whose rounding makes much of the output's noise.
    Auto,
    /// The outputs of these layers, or the tensors of these names.
    Named(Vec<String>),
}

impl FromStr for Int16 {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "none" => Self::None,
            "auto" => Self::Auto,
            names => Self::Named(names.split(',').map(|name| name.trim().to_string()).collect()),
        })
    }
}

/// How far int8 tensors reach.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Ranges {
    /// Of all tensors but the network's input, which is data, often bytes, and reaches as far as that.
    pub method: RangeMethod,
    /// Of the outputs of these layers, or the tensors of these names.
    pub named: Vec<NamedRange>,
}

/// How far one tensor reaches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NamedRange {
    /// A layer or tensor.
    pub name: String,
    /// How its range is found.
    pub method: RangeMethod,
}

/// How a range is found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RangeMethod {
    /// As far as the calibration inputs.
    #[default]
    MinMax,
    /// Without the outermost numbers, 0.05 % on each side.
    Percentile,
    /// Where rounding and clipping together make the least squared error.
    Mse,
}

impl From<RangeMethod> for Ranges {
    fn from(method: RangeMethod) -> Self {
        Self { method, named: Vec::new() }
    }
}

impl FromStr for Ranges {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let method = |text: &str| {
            RangeMethod::from_str(text.trim(), false)
                .map_err(|_| format!("'{text}' is no method; choose min-max, percentile or mse"))
        };
        let mut parts = text.split(',');
        let of_all = method(parts.next().unwrap_or_default())?;
        let named = |part: &str| {
            // Names may have an equals sign.
            let (name, of_one) =
                part.rsplit_once('=').ok_or_else(|| format!("'{part}' is no NAME=METHOD"))?;
            Ok(NamedRange { name: name.trim().into(), method: method(of_one)? })
        };
        Ok(Self { method: of_all, named: parts.map(named).collect::<Result<_, String>>()? })
    }
}

impl Ranges {
    /// The method of each value.
    pub(crate) fn resolve(&self, network: &Network) -> Result<Vec<RangeMethod>, NameError> {
        let mut methods = vec![self.method; network.values.len()];
        methods[network.input] = RangeMethod::MinMax;
        for NamedRange { name, method } in &self.named {
            methods[find(network, "--ranges", name)?] = *method;
        }
        Ok(methods)
    }

    /// Refuses names of int16 tensors, whose reach is not chosen by a method.
    pub(crate) fn check(&self, network: &Network, tensors: &[Tensor]) -> Result<(), NameError> {
        for NamedRange { name, .. } in &self.named {
            if tensors[find(network, "--ranges", name)?].element == ElementType::I16 {
                return Err(NameError::Wide(name.clone()));
            }
        }
        Ok(())
    }
}

/// A name for which there is no such choice.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NameError {
    /// There is no such name.
    #[error("{option}: no layer or tensor is called '{name}'; `condconv inspect` lists the layers")]
    Unknown {
        /// The option that names it.
        option: &'static str,
        /// The name given.
        name: String,
    },
    /// A name is missing.
    #[error("{0}: a name is empty; give names of layers or tensors with commas between")]
    Empty(&'static str),
    /// A word that is no name.
    #[error("--int16: '{0}' stands for all tensors and takes no names beside it; give one or the other")]
    Alone(String),
    /// A range for a tensor that is int16.
    #[error(
        "--ranges: '{0}' is int16, with room for four times what calibration saw; leave it out, since methods are \
         for int8 tensors"
    )]
    Wide(String),
    /// Its reader takes int8 only.
    #[error(
        "--int16: '{name}' is read by '{reader}', which looks int8 numbers up in a table; name its result instead"
    )]
    Table {
        /// The name given.
        name: String,
        /// The layer that reads it.
        reader: String,
    },
}

/// The tensors that are to be int16.
pub(super) fn resolve(network: &Network, names: &[String]) -> Result<BTreeSet<ValueId>, NameError> {
    names
        .iter()
        .map(|name| {
            if matches!(name.as_str(), "auto" | "none") {
                return Err(NameError::Alone(name.clone()));
            }
            let value = find(network, "--int16", name)?;
            match table_reader(network, value) {
                Some(reader) => Err(NameError::Table { name: name.clone(), reader: reader.into() }),
                None => Ok(value),
            }
        })
        .collect()
}

/// The tensor that the name of a layer or tensor stands for.
fn find(network: &Network, option: &'static str, name: &str) -> Result<ValueId, NameError> {
    if name.is_empty() {
        return Err(NameError::Empty(option));
    }
    let of_layer = network.layers.iter().find(|layer| layer.name == name).map(|layer| layer.output);
    of_layer
        .or_else(|| network.values.iter().position(|value| value.onnx_name == name))
        .map(|value| source(network, value))
        .ok_or_else(|| NameError::Unknown { option, name: name.into() })
}

/// The tensor from which one takes its element type over.
pub(super) fn source(network: &Network, value: ValueId) -> ValueId {
    match network.layers.iter().find(|layer| layer.output == value) {
        Some(layer) if layer.op.passes_numbers_on() => source(network, layer.inputs[0]),
        _ => value,
    }
}

/// A layer that looks the tensor's numbers up, which must be int8 for that.
pub(super) fn table_reader(network: &Network, value: ValueId) -> Option<&str> {
    network.layers.iter().find_map(|layer| {
        let reads = layer.inputs.iter().any(|&input| source(network, input) == value);
        (reads && matches!(layer.op, Op::Activation(_))).then_some(layer.name.as_str())
    })
}
