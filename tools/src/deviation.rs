//! How far integers are from the floats that they stand for.

use crate::quantized::Tensor;
use crate::run::Data;

/// Ratios in decibel are capped here.
const LARGEST_SQNR: f64 = 200.0;

/// Errors of one tensor, or of several samples of it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Deviation {
    signal: f64,
    noise: f64,
    /// The largest error in float units.
    pub(crate) largest: f64,
    /// The largest in steps of the tensor.
    pub(crate) largest_steps: f64,
    /// Elements whose float value lies beyond the range of the tensor's type.
    pub(crate) saturations: u64,
}

impl Deviation {
    /// Takes in a sample: integers of a tensor, and the floats that they stand for in the same order.
    pub(crate) fn compare(&mut self, tensor: &Tensor, integers: &Data, floats: &[f32]) {
        let (low, high) = tensor.element.range();
        let lowest = tensor.dequantize(low) - tensor.scale / 2.0;
        let highest = tensor.dequantize(high) + tensor.scale / 2.0;
        for ((integer, &float), gain) in integers.iter().zip(floats).zip(tensor.gains.iter().cycle()) {
            let float = f64::from(float);
            let error = tensor.dequantize(integer) / gain - float;
            self.signal += float * float;
            self.noise += error * error;
            self.largest = self.largest.max(error.abs());
            self.largest_steps = self.largest_steps.max(error.abs() * gain / tensor.scale);
            self.saturations += u64::from(float * gain < lowest || float * gain > highest);
        }
    }

    /// Takes in the errors of other samples.
    pub(crate) fn add(&mut self, other: Self) {
        self.signal += other.signal;
        self.noise += other.noise;
        self.largest = self.largest.max(other.largest);
        self.largest_steps = self.largest_steps.max(other.largest_steps);
        self.saturations += other.saturations;
    }

    /// The sum of squared errors.
    pub(crate) fn noise(&self) -> f64 {
        self.noise
    }

    /// Signal over noise in decibel.
    pub(crate) fn sqnr_db(&self) -> f64 {
        if self.noise == 0.0 {
            return LARGEST_SQNR;
        }
        (10.0 * (self.signal / self.noise).log10()).clamp(-LARGEST_SQNR, LARGEST_SQNR)
    }
}
