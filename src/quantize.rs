//! Numbers on the device: elements, zero points, and the one step from an accumulator to an output.
//!
//! A real number `r` is stored as `q` with `r = scale * (q - zero_point)`. Scales stay on the host; what is
//! left of them on the device is one multiplier a channel:
//!
//! ```text
//! y = clamp(zero_point + ((acc * multiplier + 2^31) >> 32))      in i64, rounding half up
//! ```

use crate::LayerError;

pub(crate) mod sealed {
    /// What elements are, where a loop is made for one type.
    #[cfg_attr(condconv_kernels = "portable", allow(dead_code, reason = "the portable loops take all types"))]
    pub trait Sealed: Sized {
        fn int8(_: &[Self]) -> Option<&[i8]> {
            None
        }

        fn int8_mut(_: &mut [Self]) -> Option<&mut [i8]> {
            None
        }

        fn int16(_: &[Self]) -> Option<&[i16]> {
            None
        }

        fn of_words(words: &mut [i32]) -> &mut [Self];
    }

    impl Sealed for i8 {
        #[inline(always)]
        fn int8(elements: &[Self]) -> Option<&[i8]> {
            Some(elements)
        }

        #[inline(always)]
        fn int8_mut(elements: &mut [Self]) -> Option<&mut [i8]> {
            Some(elements)
        }

        #[inline(always)]
        fn of_words(words: &mut [i32]) -> &mut [Self] {
            bytemuck::must_cast_slice_mut(words)
        }
    }

    impl Sealed for i16 {
        #[inline(always)]
        fn int16(elements: &[Self]) -> Option<&[i16]> {
            Some(elements)
        }

        #[inline(always)]
        fn of_words(words: &mut [i32]) -> &mut [Self] {
            bytemuck::must_cast_slice_mut(words)
        }
    }
}

/// An element of a tensor: `i8`, or `i16` where a network needs finer steps (pooled features, logits).
pub trait Element: Copy + Default + sealed::Sealed + 'static {
    /// Smallest value.
    const MIN: i32;
    /// Largest value.
    const MAX: i32;

    /// The value, widened.
    fn widen(self) -> i32;

    /// The element nearest to `value`.
    fn saturate(value: i32) -> Self;
}

impl Element for i8 {
    const MIN: i32 = -128;
    const MAX: i32 = 127;

    #[inline(always)]
    fn widen(self) -> i32 {
        i32::from(self)
    }

    #[inline(always)]
    fn saturate(value: i32) -> Self {
        value.clamp(<Self as Element>::MIN, <Self as Element>::MAX) as Self
    }
}

impl Element for i16 {
    const MIN: i32 = -32768;
    const MAX: i32 = 32767;

    #[inline(always)]
    fn widen(self) -> i32 {
        i32::from(self)
    }

    #[inline(always)]
    fn saturate(value: i32) -> Self {
        value.clamp(<Self as Element>::MIN, <Self as Element>::MAX) as Self
    }
}

/// From 32-bit accumulators to elements of the output: one multiplier a channel, a zero point, and the bounds
/// of the fused activation (ReLU, ReLU6 and clamp are nothing but bounds).
#[derive(Clone, Copy, Debug)]
pub struct Requantize<'a> {
    multipliers: &'a [i32],
    zero_point: i32,
    min: i32,
    max: i32,
}

impl<'a> Requantize<'a> {
    /// `multipliers[c] = round(2^32 * unit of the accumulator / scale of the output)`, below 2^31; `min` and
    /// `max` in units of the output.
    ///
    /// # Errors
    ///
    /// [`LayerError::Multiplier`] if a multiplier is negative, [`LayerError::OutputRange`] if `min > max` or the
    /// zero point is none of int16.
    ///
    /// ```
    /// use condconv::Requantize;
    /// let relu = Requantize::new(&[1 << 30], -128, -128, 127).unwrap(); // a quarter
    /// assert_eq!(relu.apply::<i8>(0, 10), -125);                       // 2.5 rounds up
    /// assert_eq!(relu.apply::<i8>(0, -10), -128);
    /// ```
    pub const fn new(
        multipliers: &'a [i32],
        zero_point: i32,
        min: i32,
        max: i32,
    ) -> Result<Self, LayerError> {
        let mut i = 0;
        while i < multipliers.len() {
            if multipliers[i] < 0 {
                return Err(LayerError::Multiplier);
            }
            i += 1;
        }
        if min > max || zero_point < <i16 as Element>::MIN || zero_point > <i16 as Element>::MAX {
            return Err(LayerError::OutputRange);
        }
        Ok(Self { multipliers, zero_point, min, max })
    }

    /// The output for an accumulator of the given channel.
    ///
    /// # Panics
    ///
    /// If there is no such channel.
    #[inline(always)]
    #[must_use]
    pub fn apply<Y: Element>(&self, channel: usize, accumulator: i32) -> Y {
        let scaled = rescale(accumulator, self.multipliers[channel]);
        Y::saturate((self.zero_point + scaled).clamp(self.min, self.max))
    }

    /// Bounds outputs further than their type does.
    #[cfg(any(condconv_kernels = "dsp", condconv_kernels = "scalar"))]
    #[inline(always)]
    pub(crate) fn bound<Y: Element>(&self, outputs: &mut [Y]) {
        if (self.min, self.max) != (Y::MIN, Y::MAX) {
            self.clamp(outputs);
        }
    }

    #[cfg(any(condconv_kernels = "dsp", condconv_kernels = "scalar"))]
    #[inline(never)]
    fn clamp<Y: Element>(&self, outputs: &mut [Y]) {
        for output in outputs {
            *output = Y::saturate(output.widen().clamp(self.min, self.max));
        }
    }

    #[cfg(not(condconv_kernels = "portable"))]
    pub(crate) const fn multipliers(&self) -> &'a [i32] {
        self.multipliers
    }

    #[cfg(not(condconv_kernels = "portable"))]
    pub(crate) const fn zero_point(&self) -> i32 {
        self.zero_point
    }

    #[cfg(condconv_kernels = "helium")]
    pub(crate) const fn bounds(&self) -> (i32, i32) {
        (self.min, self.max)
    }

    /// An error unless there is one multiplier for each of `channels` and the range fits `Y`.
    pub(crate) const fn check<Y: Element>(&self, channels: usize) -> Result<(), LayerError> {
        if self.multipliers.len() != channels {
            return Err(LayerError::TableLength);
        }
        check_range::<Y>(self.zero_point, self.min, self.max)
    }
}

/// An accumulator in units of the output, for a multiplier of 0 and more.
#[inline(always)]
pub(crate) const fn rescale(accumulator: i32, multiplier: i32) -> i32 {
    if cfg!(all(condconv_kernels = "scalar", not(condconv_thumb = "2"))) {
        return rescale_by_halves(accumulator, multiplier);
    }
    round_shift_wide(accumulator as i64 * multiplier as i64, 32) as i32
}

/// The same for cores without a product of 64 bits, put together of products of halves. What lies below 2^16 takes no part in
/// rounding.
#[inline(always)]
const fn rescale_by_halves(accumulator: i32, multiplier: i32) -> i32 {
    let [low, high] = [accumulator & 0xffff, accumulator >> 16];
    let [by_low, by_high] = [multiplier & 0xffff, multiplier >> 16];
    let below = (low as u32 * by_low as u32) >> 16;
    let upper = high * by_low;
    let middle = below + (low * by_high) as u32 + (upper & 0xffff) as u32 + (1 << 15);
    high * by_high + (upper >> 16) + (middle >> 16) as i32
}

/// `value / 2^shift`, halves up; `shift` is at least 1.
#[inline(always)]
pub(crate) const fn round_shift(value: i32, shift: u32) -> i32 {
    (value + (1 << (shift - 1))) >> shift
}

/// [`round_shift`] in i64.
#[inline(always)]
pub(crate) const fn round_shift_wide(value: i64, shift: u32) -> i64 {
    (value + (1 << (shift - 1))) >> shift
}

/// An error unless zero point and bounds are values of `Y`, the bounds in order.
pub(crate) const fn check_range<Y: Element>(zero_point: i32, min: i32, max: i32) -> Result<(), LayerError> {
    if min > max || min < Y::MIN || max > Y::MAX {
        return Err(LayerError::OutputRange);
    }
    check_zero_point::<Y>(zero_point)
}

/// An error unless a sum of `terms` inputs of type `X`, shifted left, fits i32.
pub(crate) const fn check_sum<X: Element>(terms: usize, shift: u32) -> Result<(), LayerError> {
    if shift > 30 {
        return Err(LayerError::Multiplier);
    }
    if span::<X>().saturating_mul(terms as i64) > i32::MAX as i64 >> shift {
        return Err(LayerError::AccumulatorOverflow);
    }
    Ok(())
}

/// An error if `zero_point` is no value of `X`.
pub(crate) const fn check_zero_point<X: Element>(zero_point: i32) -> Result<(), LayerError> {
    if zero_point < X::MIN || zero_point > X::MAX { Err(LayerError::OutputRange) } else { Ok(()) }
}

/// Largest distance of two elements: the span of `x - zero_point`.
pub(crate) const fn span<X: Element>() -> i64 {
    (X::MAX - X::MIN) as i64
}

/// Sums of the positive and of the negative weights of one kernel, both as magnitudes. They bound what the
/// kernel can add up to, whatever the input: `-span * max <= sum w (x - zero_point) <= span * max`, where `max`
/// is the larger of the two and `span` is 255 for `i8`. Layers take them in place of the weights, since going
/// through a large array takes a compiler's constant evaluation too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WeightSums {
    /// Sum of the positive weights.
    pub positive: u32,
    /// Sum of the magnitudes of the negative weights.
    pub negative: u32,
}

impl WeightSums {
    /// From magnitudes.
    #[must_use]
    pub const fn new(positive: u32, negative: u32) -> Self {
        Self { positive, negative }
    }

    /// A table of sums from pairs of magnitudes, positive first.
    ///
    /// ```
    /// use condconv::WeightSums;
    /// assert_eq!(WeightSums::table([[8, 5]]), [WeightSums::new(8, 5)]);
    /// ```
    #[must_use]
    pub const fn table<const N: usize>(pairs: [[u32; 2]; N]) -> [Self; N] {
        let mut table = [Self::new(0, 0); N];
        let mut i = 0;
        while i < N {
            table[i] = Self::new(pairs[i][0], pairs[i][1]);
            i += 1;
        }
        table
    }

    /// The sums of a kernel's weights.
    ///
    /// ```
    /// use condconv::WeightSums;
    /// assert_eq!(WeightSums::of(&[3, -4, 0, 5, -1]), WeightSums::new(8, 5));
    /// ```
    #[must_use]
    pub const fn of(weights: &[i8]) -> Self {
        let mut sums = Self::new(0, 0);
        let mut i = 0;
        while i < weights.len() {
            if weights[i] < 0 {
                sums.negative += weights[i].unsigned_abs() as u32;
            } else {
                sums.positive += weights[i].unsigned_abs() as u32;
            }
            i += 1;
        }
        sums
    }

    /// The larger of the two.
    #[must_use]
    pub const fn largest(self) -> u32 {
        if self.positive > self.negative { self.positive } else { self.negative }
    }
}

/// Largest magnitude in a table.
pub(crate) const fn largest_magnitude(values: &[i32]) -> i64 {
    let mut largest = 0;
    let mut i = 0;
    while i < values.len() {
        let magnitude = values[i].unsigned_abs() as i64;
        if magnitude > largest {
            largest = magnitude;
        }
        i += 1;
    }
    largest
}
