//! Routing: an int16 matrix with one scale an expert, and the multiplier that makes logits of its sums.

use crate::graph::{self, Gate};
use crate::quantized::{Routing, Tensor};

const LARGEST_WEIGHT: f64 = 32767.0;

/// Logit steps a unit: 2^11 for a sigmoid; for a softmax 2^12, of logits to the base of two.
fn logit_steps(gate: Gate) -> f64 {
    match gate {
        Gate::Sigmoid => 2048.0,
        Gate::Softmax => 4096.0 * std::f64::consts::LOG2_E,
    }
}

/// Biases stay below 2^46 accumulator units.
const LARGEST_BIAS: f64 = (1u64 << 46) as f64;

/// Multipliers have 15 bits, shifts at most 62.
const SMALLEST_RATIO: f64 = 1.0 / (1u64 << 47) as f64;

/// Quantises a routing function that pools `input`.
pub(super) fn quantize(float: &graph::Routing, input: &Tensor) -> Routing {
    let experts = float.matrix.len();
    let steps = logit_steps(float.gate);
    let mean_unit = input.scale / input.shape.pixels() as f64;
    let mut routing = Routing {
        gate: float.gate,
        name: float.name.clone(),
        onnx_name: float.onnx_name.clone(),
        input: float.input,
        matrix: vec![0; input.shape.channels * experts],
        bias: Vec::new(),
        multipliers: Vec::new(),
        shifts: Vec::new(),
    };
    for (expert, (row, &bias)) in float.matrix.iter().zip(&float.bias).enumerate() {
        let bias = f64::from(bias);
        let largest = row.iter().fold(0.0, |largest: f64, &w| largest.max(f64::from(w).abs()));
        let scale = (largest / LARGEST_WEIGHT)
            .max(bias.abs() / (LARGEST_BIAS * mean_unit))
            .max(SMALLEST_RATIO / (steps * mean_unit));
        for (channel, &weight) in row.iter().enumerate() {
            routing.matrix[channel * experts + expert] = (f64::from(weight) / scale).round() as i16;
        }
        let unit = mean_unit * scale;
        routing.bias.push((bias / unit).round() as i64);
        let (multiplier, shift) = multiplier_and_shift(unit * steps);
        routing.multipliers.push(multiplier);
        routing.shifts.push(shift);
    }
    routing
}

/// `ratio = multiplier / 2^shift` with a multiplier in `[2^14, 2^15)`; ratios so large that every step saturates the
/// logit become the largest there is.
fn multiplier_and_shift(ratio: f64) -> (i16, u8) {
    let mut shift = 14 - ratio.log2().floor() as i32;
    let mut multiplier = (ratio * f64::from(shift).exp2()).round();
    if multiplier >= 32768.0 {
        multiplier /= 2.0;
        shift -= 1;
    }
    if shift < 1 { (i16::MAX, 1) } else { (multiplier as i16, shift as u8) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multipliers_keep_fifteen_bits() {
        for ratio in [1e-14, 1.27e-5, 0.499_999_999, 0.5, 1.0, 1.999_999_99, 1000.0] {
            let (multiplier, shift) = multiplier_and_shift(ratio);
            assert!((1 << 14..=i16::MAX).contains(&multiplier), "{ratio}: {multiplier}");
            let back = f64::from(multiplier) / f64::from(shift).exp2();
            assert!((back / ratio - 1.0).abs() <= 1.0 / 32768.0, "{ratio}: {back}");
        }
    }

    #[test]
    fn logits_that_always_saturate_have_a_multiplier() {
        assert_eq!(multiplier_and_shift(1e9), (i16::MAX, 1));
        assert_eq!(multiplier_and_shift(16383.9).1, 1);
    }
}
