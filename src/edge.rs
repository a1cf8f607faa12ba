//! Between real numbers and tensors: before the first layer and after the last. The only floats here.

use micromath::F32;

use crate::quantize::Element;

/// Scale and zero point of a network's input or output: `real = scale * (q - zero_point)`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Quantization {
    /// Real units of one step.
    pub scale: f32,
    /// The value that stands for zero.
    pub zero_point: i32,
}

impl Quantization {
    /// From scale and zero point.
    #[must_use]
    pub const fn new(scale: f32, zero_point: i32) -> Self {
        Self { scale, zero_point }
    }

    /// The int8 value nearest to `real`, halves away from zero, saturated; not-a-number is zero.
    ///
    /// ```
    /// use condconv::Quantization;
    /// let pixels = Quantization::new(1.0, -128);
    /// assert_eq!(pixels.quantize(200.4), 72);
    /// assert_eq!(pixels.quantize(1e9), 127);
    /// assert_eq!(Quantization::new(1.0, 0).quantize(0.499_999_97), 0);
    /// ```
    #[must_use]
    pub const fn quantize(&self, real: f32) -> i8 {
        self.nearest(real, <i8 as Element>::MIN, <i8 as Element>::MAX) as i8
    }

    /// The int16 value nearest to `real`, for networks whose input is int16.
    ///
    /// ```
    /// assert_eq!(condconv::Quantization::new(0.01, 0).quantize_wide(-3.0), -300);
    /// ```
    #[must_use]
    pub const fn quantize_wide(&self, real: f32) -> i16 {
        self.nearest(real, <i16 as Element>::MIN, <i16 as Element>::MAX) as i16
    }

    const fn nearest(&self, real: f32, min: i32, max: i32) -> i32 {
        let steps = real / self.scale;
        let truncated = steps as i32;
        let rest = steps - truncated as f32;
        let rounded = if rest >= 0.5 {
            truncated.saturating_add(1)
        } else if rest <= -0.5 {
            truncated.saturating_sub(1)
        } else {
            truncated
        };
        let value = rounded.saturating_add(self.zero_point);
        if value < min {
            min
        } else if value > max {
            max
        } else {
            value
        }
    }

    /// The int8 values of all bytes 0..=255 taken as real numbers, for int8 inputs that come as bytes.
    ///
    /// ```
    /// use condconv::Quantization;
    /// const TABLE: [i8; 256] = Quantization::new(1.0, -128).byte_table();
    /// assert_eq!(TABLE[3], -125);
    /// ```
    #[must_use]
    pub const fn byte_table(&self) -> [i8; 256] {
        let mut table = [0; 256];
        let mut byte = 0;
        while byte < 256 {
            table[byte] = self.quantize(byte as f32);
            byte += 1;
        }
        table
    }

    /// The real number that a value stands for.
    ///
    /// ```
    /// assert_eq!(condconv::Quantization::new(0.5, 10).dequantize(12i16), 1.0);
    /// ```
    #[must_use]
    pub fn dequantize<Y: Element>(&self, value: Y) -> f32 {
        (value.widen() as f32 - self.zero_point as f32) * self.scale
    }

    /// The softmax of scores, within 1 % (micromath's exponential); `probabilities` is filled up to the
    /// shorter length.
    ///
    /// ```
    /// use condconv::Quantization;
    /// let mut probabilities = [0.0; 2];
    /// Quantization::new(0.01, 0).softmax(&[100i16, 0], &mut probabilities);
    /// assert!((probabilities[0] - 0.731).abs() < 0.01);
    /// ```
    pub fn softmax<Y: Element>(&self, scores: &[Y], probabilities: &mut [f32]) {
        let largest = scores.iter().map(|score| score.widen()).max().unwrap_or(0);
        let mut sum = 0.0;
        for (probability, score) in probabilities.iter_mut().zip(scores) {
            *probability = F32((score.widen() - largest) as f32 * self.scale).exp().0;
            sum += *probability;
        }
        for probability in probabilities.iter_mut().take(scores.len()) {
            *probability /= sum;
        }
    }
}

/// The index of the largest score; the first of several.
///
/// ```
/// assert_eq!(condconv::argmax(&[3i16, 7, 7]), 1);
/// ```
#[must_use]
pub fn argmax<Y: Element>(scores: &[Y]) -> usize {
    let mut best = 0;
    for (i, score) in scores.iter().enumerate() {
        if score.widen() > scores[best].widen() {
            best = i;
        }
    }
    best
}
