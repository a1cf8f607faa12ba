//! What can be chosen about quantisation, by the same options of all commands.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use thiserror::Error;

use crate::graph::{Network, Op, ValueId};

/// Choices that change the plan.
#[derive(Debug, Clone, Default, Args)]
pub struct Options {
    /// Tensors to keep in int16: auto, none, or names of layers or tensors, separated by commas. auto takes those
    /// that make much of the output's noise; each takes more RAM and time
    #[arg(long, value_name = "auto|none|NAME,..", default_value = "none")]
    pub int16: Int16,
    /// How far int8 tensors reach: as far as the calibration inputs, without the outermost 0.1 % of their numbers, or
    /// where rounding and clipping together make the least squared error
    #[arg(long, value_enum, default_value_t)]
    pub ranges: Ranges,
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Ranges {
    /// As far as the calibration inputs.
    #[default]
    MinMax,
    /// Without the outermost numbers, 0.05 % on each side.
    Percentile,
    /// Where rounding and clipping together make the least squared error.
    Mse,
}

/// A name that cannot be int16.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Int16Error {
    /// There is no such name.
    #[error("--int16: no layer or tensor is called '{0}'; `condconv inspect` lists the layers")]
    Unknown(String),
    /// A name is missing.
    #[error("--int16: a name is empty; give auto, none, or names of layers or tensors with commas between")]
    Empty,
    /// A word that is no name.
    #[error("--int16: '{0}' stands for all tensors and takes no names beside it; give one or the other")]
    Alone(String),
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

/// The tensors that names stand for.
pub(super) fn resolve(network: &Network, names: &[String]) -> Result<BTreeSet<ValueId>, Int16Error> {
    names
        .iter()
        .map(|name| {
            let layer = network.layers.iter().find(|layer| layer.name == *name);
            let value = layer.map(|layer| layer.output);
            let value = value.or_else(|| network.values.iter().position(|value| value.onnx_name == *name));
            let value = source(network, value.ok_or_else(|| unknown(name))?);
            match table_reader(network, value) {
                Some(reader) => Err(Int16Error::Table { name: name.clone(), reader: reader.into() }),
                None => Ok(value),
            }
        })
        .collect()
}

fn unknown(name: &str) -> Int16Error {
    match name {
        "" => Int16Error::Empty,
        "auto" | "none" => Int16Error::Alone(name.into()),
        _ => Int16Error::Unknown(name.into()),
    }
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
