//! Which tensors are worth int16: those whose rounding makes much of the noise at the network's output.

use std::collections::BTreeSet;

use serde::Serialize;

use super::options::{Int16, resolve, source, table_reader};
use super::{Calibration, QuantizeError, Quantizer};
use crate::deviation::Deviation;
use crate::graph::{Network, ValueId};
use crate::plan::Plan;
use crate::quantized::{ElementType, QuantizedNetwork};

/// A tensor is worth int16 if it makes at least this share of the output's noise.
const WORTH: f64 = 0.1;

/// Calibration inputs on which shares are measured.
const SAMPLES: usize = 64;

/// A network in integers, and what it owes to int16.
#[derive(Debug, Clone)]
pub struct Quantized {
    /// The network.
    pub network: QuantizedNetwork,
    /// What int16 tensors cost and bring, unless there are none but those that always are.
    pub trade: Option<Trade>,
}

/// What int16 tensors cost and bring; part of every report.
#[derive(Debug, Clone, Serialize)]
pub struct Trade {
    /// The tensors.
    pub tensors: Vec<WideTensor>,
    /// Signal-to-noise ratio of the network's output on the calibration inputs.
    pub sqnr_db: f64,
    /// The same without them.
    pub sqnr_db_without: f64,
    /// `size_of::<Network>()`.
    pub ram_bytes: usize,
    /// The same without them.
    pub ram_bytes_without: usize,
}

/// A tensor that is int16 by choice.
#[derive(Debug, Clone, Serialize)]
pub struct WideTensor {
    /// The ONNX value.
    pub name: String,
    /// Share of the output's noise that goes where only this tensor becomes int16; none if it was chosen by name.
    pub noise_share: Option<f64>,
}

/// Quantises a network on calibration inputs.
///
/// # Errors
///
/// If a layer's accumulator cannot be kept within 32 bits, or a name given is none.
pub fn quantize(
    network: &Network,
    calibration: &Calibration,
    int16: &Int16,
) -> Result<Quantized, QuantizeError> {
    let tensors: Vec<(ValueId, Option<f64>)> = match int16 {
        Int16::None => Vec::new(),
        Int16::Auto => most_sensitive(network, &calibration.truncated(SAMPLES))?,
        Int16::Named(names) => resolve(network, names)?.into_iter().map(|id| (id, None)).collect(),
    };
    let without = Attempt::new(network, calibration, &BTreeSet::new())?;
    if tensors.is_empty() {
        return Ok(Quantized { network: without.network, trade: None });
    }
    let with = Attempt::new(network, calibration, &tensors.iter().map(|&(id, _)| id).collect())?;
    let wide_tensor = |&(id, noise_share): &(ValueId, Option<f64>)| WideTensor {
        name: network.values[id].onnx_name.clone(),
        noise_share,
    };
    let trade = Trade {
        tensors: tensors.iter().map(wide_tensor).collect(),
        sqnr_db: with.deviation.sqnr_db(),
        sqnr_db_without: without.deviation.sqnr_db(),
        ram_bytes: Plan::new(with.network.clone()).ram_bytes(),
        ram_bytes_without: Plan::new(without.network).ram_bytes(),
    };
    Ok(Quantized { network: with.network, trade: Some(trade) })
}

/// A quantised network and how far its outputs are from the float network's.
struct Attempt {
    network: QuantizedNetwork,
    deviation: Deviation,
}

impl Attempt {
    fn new(
        float: &Network,
        calibration: &Calibration,
        wide: &BTreeSet<ValueId>,
    ) -> Result<Self, QuantizeError> {
        let (network, outputs) = Quantizer::new(float, calibration, wide).run()?;
        let mut deviation = Deviation::default();
        for (integers, floats) in outputs.iter().zip(&calibration.outputs) {
            deviation.compare(&network.tensors[network.output], integers, floats);
        }
        Ok(Self { network, deviation })
    }
}

/// Tensors by their share of the output's noise, largest first. Each is taken only if the network with it and those
/// before it can be put into integers and is less noisy than without it.
fn most_sensitive(
    network: &Network,
    calibration: &Calibration,
) -> Result<Vec<(ValueId, Option<f64>)>, QuantizeError> {
    let base = Attempt::new(network, calibration, &BTreeSet::new())?;
    let may_be_wide = |&id: &ValueId| {
        base.network.tensors[id].element == ElementType::I8
            && source(network, id) == id
            && table_reader(network, id).is_none()
    };
    let noise_with = |wide: &BTreeSet<ValueId>| {
        Attempt::new(network, calibration, wide).map_or(f64::INFINITY, |attempt| attempt.deviation.noise())
    };
    let share = |id: ValueId| (id, 1.0 - noise_with(&BTreeSet::from([id])) / base.deviation.noise());
    let mut shares: Vec<(ValueId, f64)> = (0..network.values.len())
        .filter(may_be_wide)
        .map(share)
        .filter(|&(_, share)| share >= WORTH)
        .collect();
    shares.sort_by(|(_, a), (_, b)| b.total_cmp(a));

    let (mut chosen, mut wide, mut least) = (Vec::new(), BTreeSet::new(), base.deviation.noise());
    for (id, share) in shares {
        wide.insert(id);
        let noise = noise_with(&wide);
        if noise < least {
            least = noise;
            chosen.push((id, Some(share)));
        } else {
            wide.remove(&id);
        }
    }
    Ok(chosen)
}
