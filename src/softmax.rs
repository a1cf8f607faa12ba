//! Softmax in integers: of routing logits with a temperature (Chen et al., Dynamic Convolution, CVPR 2020), and of a
//! network's scores.
//!
//! ```text
//! z_i = (largest logit - logit_i) * log2(e) / temperature        Q.12, from the multiplier
//! e_i = 2^-z_i                                                   Q0.24, a table of 65 nodes over 0..1 and a shift
//! p_i = e_i / sum_j e_j                                          Q0.15, one division an element
//! ```

use crate::quantize::{Element, round_shift_wide};
use crate::{LayerError, kernels};

/// Fraction bits of an exponent.
const EXPONENT_BITS: u32 = 12;

/// Exponents from here on make nothing of 2^24.
pub(crate) const LARGEST_EXPONENT: i32 = 25 << EXPONENT_BITS;

/// `2^-z` in 2^-24, `z` in 2^-12; off by less than 2^-15 of its value, or half a unit. Many small shares add up: in
/// 2^-16, the rounding of forty of them would take 18 units of 2^-15 from the largest.
fn exp2_negative(z: i32) -> u32 {
    let z = z.clamp(0, LARGEST_EXPONENT) as u32;
    let (whole, fraction) = (z >> EXPONENT_BITS, z & ((1 << EXPONENT_BITS) - 1));
    let (node, rest) = ((fraction >> 6) as usize, fraction & 63);
    let [high, low] = [EXP2[node], EXP2[node + 1]];
    let value = ((high << 6) - (high - low) * rest) << 2;
    (value + ((1 << whole) >> 1)) >> whole
}

/// Turns exponents (`z`, in 2^-12, at least 0 and one of them 0) into shares of one, in 2^-15, by way of `write`.
pub(crate) fn shares(exponents: impl Iterator<Item = i32> + Clone, mut write: impl FnMut(usize, i16)) {
    let sum: u64 = exponents.clone().map(|z| u64::from(exp2_negative(z))).sum();
    for (index, z) in exponents.enumerate() {
        let share = ((u64::from(exp2_negative(z)) << 15) + sum / 2) / sum;
        write(index, share.min(32767) as i16);
    }
}

/// Scores as probabilities, in 2^-15; at a network's output.
///
/// ```
/// use condconv::{Softmax, checked};
///
/// // Scores in steps of 1/256: log2(e) / 256 in 2^-12 is 23.08, as 23.08 2^10 over a shift of 10.
/// static SOFTMAX: Softmax<i16> = checked(Softmax::new(2, 23_637, 10));
/// let mut output = [0; 2];
/// SOFTMAX.infer(&[256i16, 0], &mut output);
/// assert!((f32::from(output[0]) / 32768.0 - 0.7311).abs() < 2e-4);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Softmax<X = i8> {
    classes: usize,
    multiplier: i32,
    shift: u32,
    element: core::marker::PhantomData<X>,
}

/// With more classes a share could be less than half a unit for all of them.
const MAX_CLASSES: usize = 1 << 15;

impl<X: Element> Softmax<X> {
    /// `multiplier / 2^shift` is `2^12 log2(e)` times the scores' scale; `shift` in `1..=31`.
    ///
    /// # Errors
    ///
    /// [`LayerError::ZeroDimension`] without classes, [`LayerError::TableLength`] with more than 2^15,
    /// [`LayerError::Multiplier`].
    pub const fn new(classes: usize, multiplier: i32, shift: u32) -> Result<Self, LayerError> {
        if classes == 0 {
            return Err(LayerError::ZeroDimension);
        }
        if classes > MAX_CLASSES {
            return Err(LayerError::TableLength);
        }
        if multiplier < 0 || shift == 0 || shift > 31 {
            return Err(LayerError::Multiplier);
        }
        Ok(Self { classes, multiplier, shift, element: core::marker::PhantomData })
    }

    /// Elements of the input.
    #[must_use]
    pub const fn input_len(&self) -> usize {
        self.classes
    }

    /// Elements of the output.
    #[must_use]
    pub const fn output_len(&self) -> usize {
        self.classes
    }

    /// The probabilities of the scores.
    ///
    /// # Panics
    ///
    /// If a slice is not of the layer's size.
    #[inline]
    pub fn infer(&self, scores: &[X], probabilities: &mut [i16]) {
        assert!(scores.len() == self.input_len() && probabilities.len() == self.output_len());
        self.normalize(scores, probabilities);
    }

    fn normalize(&self, scores: &[X], probabilities: &mut [i16]) {
        if kernels::softmax(scores, self.multiplier, self.shift, &EXP2, probabilities) {
            return;
        }
        let largest = scores.iter().fold(X::MIN, |largest, score| largest.max(score.widen()));
        let exponents = scores.iter().map(|score| {
            let distance = i64::from(largest - score.widen()) * i64::from(self.multiplier);
            exponent(round_shift_wide(distance, self.shift))
        });
        shares(exponents, |index, share| probabilities[index] = share);
    }
}

/// A distance from the largest logit as an exponent of 1/2.
pub(crate) fn exponent(distance: i64) -> i32 {
    distance.min(i64::from(LARGEST_EXPONENT)) as i32
}

/// `2^(-k / 64)` in 2^-16, lowered by half of the largest error of a chord, as the sigmoid's table is raised.
#[rustfmt::skip]
static EXP2: [u32; 65] = [
    65536, 64830, 64131, 63440, 62757, 62081, 61412, 60751, 60096, 59449,
    58809, 58175, 57548, 56929, 56315, 55709, 55109, 54515, 53928, 53347,
    52772, 52204, 51641, 51085, 50535, 49990, 49452, 48919, 48392, 47871,
    47355, 46845, 46341, 45841, 45348, 44859, 44376, 43898, 43425, 42957,
    42495, 42037, 41584, 41136, 40693, 40255, 39821, 39392, 38968, 38548,
    38133, 37722, 37316, 36914, 36516, 36123, 35733, 35349, 34968, 34591,
    34219, 33850, 33485, 33125, 32768,
];
