//! Which tensors are worth int16: those whose rounding makes much of the noise at the network's output. The network is
//! quantised on some calibration inputs and judged on others, since biases fit the inputs that they are corrected on.

use std::collections::BTreeSet;

use serde::Serialize;

use super::options::{Int16, resolve, source, table_reader};
use super::{Calibration, QuantizeError, Quantizer};
use crate::deviation::Deviation;
use crate::graph::{Network, ValueId};
use crate::parallel;
use crate::plan::Plan;
use crate::quantized::{ElementType, QuantizedNetwork};
use crate::run::{Data, Runner};

/// A tensor is worth int16 if it makes at least this share of the noise that is left at the output.
const WORTH: f64 = 0.1;

/// Calibration inputs to quantise on, and as many others to measure on.
const SAMPLES: usize = 64;

/// Less noise counts if it is less by so many standard errors of the difference between inputs.
const SIGNIFICANT: f64 = 1.0;

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
    /// Share that it takes of the output's noise, as those before it have left it; none if it was chosen by name.
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
        Int16::Auto => Trial::new(network, calibration).most_sensitive()?,
        Int16::Named(names) => resolve(network, names)?.into_iter().map(|id| (id, None)).collect(),
    };
    let without = Attempt::new(network, calibration, &BTreeSet::new())?;
    if tensors.is_empty() {
        return Ok(Quantized { network: without.network, trade: None });
    }
    let with = Attempt::new(network, calibration, &tensors.iter().map(|&(id, _)| id).collect())?;
    // What helped on the inputs held back may not help on all.
    if *int16 == Int16::Auto && with.deviation.sqnr_db() <= without.deviation.sqnr_db() {
        return Ok(Quantized { network: without.network, trade: None });
    }
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

/// A network to be quantised on every other calibration input and measured on the rest.
struct Trial<'a> {
    network: &'a Network,
    quantise_on: Calibration,
    measure_on: Calibration,
}

impl<'a> Trial<'a> {
    fn new(network: &'a Network, calibration: &Calibration) -> Self {
        let [quantise_on, measure_on] = [0, 1].map(|first| calibration.every_other(first, SAMPLES));
        Self { network, quantise_on, measure_on }
    }

    fn quantized(&self, wide: &BTreeSet<ValueId>) -> Result<QuantizedNetwork, QuantizeError> {
        Ok(Quantizer::new(self.network, &self.quantise_on, wide).run()?.0)
    }

    /// Noise at the output, one number an input.
    fn noise(&self, network: &QuantizedNetwork) -> Vec<f64> {
        let runner = Runner::new(network);
        let samples: Vec<_> = self.measure_on.inputs.iter().zip(&self.measure_on.outputs).collect();
        parallel::map(&samples, |(input, floats)| {
            let trace = runner.run(Data::input(&network.tensors[network.input], input));
            let mut deviation = Deviation::default();
            if let Some(integers) = &trace.values[network.output] {
                deviation.compare(&network.tensors[network.output], integers, floats);
            }
            deviation.noise()
        })
    }

    /// Noise with these tensors in int16; none if that cannot be put into integers.
    fn noise_with(&self, wide: &BTreeSet<ValueId>) -> Option<Vec<f64>> {
        self.quantized(wide).ok().map(|network| self.noise(&network))
    }

    /// Tensors by how much of the output's noise goes with each alone, most first. Each is taken if it takes enough of
    /// the noise that those before it have left.
    fn most_sensitive(&self) -> Result<Vec<(ValueId, Option<f64>)>, QuantizeError> {
        let base = self.quantized(&BTreeSet::new())?;
        let may_be_wide = |&id: &ValueId| {
            base.tensors[id].element == ElementType::I8
                && source(self.network, id) == id
                && table_reader(self.network, id).is_none()
        };
        let mut least = self.noise(&base);
        let alone = |id: ValueId| {
            let gain = Gain::of(&least, &self.noise_with(&BTreeSet::from([id]))?);
            gain.significant.then_some((id, gain.share))
        };
        let mut candidates: Vec<(ValueId, f64)> =
            (0..self.network.values.len()).filter(may_be_wide).filter_map(alone).collect();
        candidates.sort_by(|(_, a), (_, b)| b.total_cmp(a));

        let (mut chosen, mut wide) = (Vec::new(), BTreeSet::new());
        for (id, _) in candidates {
            wide.insert(id);
            let noise = self.noise_with(&wide);
            let gain = noise.as_ref().map(|noise| Gain::of(&least, noise));
            match (noise, gain) {
                (Some(noise), Some(gain)) if gain.significant && gain.share >= WORTH => {
                    least = noise;
                    chosen.push((id, Some(gain.share)));
                }
                _ => {
                    wide.remove(&id);
                }
            }
        }
        Ok(chosen)
    }
}

/// By how much noise becomes less.
struct Gain {
    /// The share of it that goes.
    share: f64,
    /// Whether chance is unlikely to have made it.
    significant: bool,
}

impl Gain {
    /// Compares input by input, by ratios: in a sum of noise, the few inputs that clip would outweigh all others. Of
    /// fewer than two inputs nothing is known.
    fn of(before: &[f64], after: &[f64]) -> Self {
        let count = before.len() as f64;
        let logarithm = |noise: f64| noise.max(f64::MIN_POSITIVE).ln();
        let gains: Vec<f64> =
            before.iter().zip(after).map(|(&before, &after)| logarithm(before) - logarithm(after)).collect();
        let mean = gains.iter().sum::<f64>() / count;
        let variance = gains.iter().map(|gain| (gain - mean).powi(2)).sum::<f64>() / (count - 1.0);
        Self {
            share: 1.0 - after.iter().sum::<f64>() / before.iter().sum::<f64>(),
            significant: mean > SIGNIFICANT * (variance / count).sqrt(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gains_of_chance_do_not_count() {
        let gain = |after: &[f64]| Gain::of(&[4.0, 4.0, 4.0, 4.0], after);
        assert!(gain(&[2.0, 1.0, 2.0, 1.0]).significant);
        assert!((gain(&[2.0, 1.0, 2.0, 1.0]).share - 0.625).abs() < 1e-12);
        assert!(!gain(&[3.0, 4.0, 6.0, 4.0]).significant, "one input gains");
        assert!(!gain(&[5.0, 5.0, 5.0, 5.0]).significant);
        assert!(!gain(&[4.0, 4.0, 4.0, 4.0]).significant);
        assert!(!Gain::of(&[4.0], &[0.0]).significant && !Gain::of(&[], &[]).significant);
    }
}
