//! Global average pooling.

use core::marker::PhantomData;

use crate::quantize::{Element, check_zero_point, span};
use crate::{LayerError, Requantize, Shape, kernels};

/// The mean over height and width of each channel, as int8 or, without loss worth naming, int16.
///
/// ```
/// use condconv::{GlobalAveragePool, Requantize, Shape, checked};
///
/// // Scale 1 in, 1/2 out: 2 / 4 pixels, and 2^16 of headroom for the multiplier.
/// static POOL: GlobalAveragePool<'static, i8, i16> = checked(GlobalAveragePool::new(
///     Shape::new(2, 2, 1),
///     0,
///     16,
///     checked(Requantize::new(&[1 << 15], 0, -32768, 32767)),
/// ));
/// let mut output = [0];
/// POOL.infer(&[1, 2, 3, 4], &mut output);
/// assert_eq!(output, [5]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct GlobalAveragePool<'a, X = i8, Y = i8> {
    input: Shape,
    zero_point: i32,
    shift: u32,
    requantize: Requantize<'a>,
    elements: PhantomData<(X, Y)>,
}

impl<'a, X: Element, Y: Element> GlobalAveragePool<'a, X, Y> {
    /// The accumulator is the sum of `x - zero_point` times `2^shift`; `requantize` has one multiplier for all
    /// channels, the division by the number of pixels included.
    ///
    /// # Errors
    ///
    /// [`LayerError::AccumulatorOverflow`] if `span * pixels * 2^shift` reaches 2^31, and errors for lengths
    /// and ranges.
    pub const fn new(
        input: Shape,
        zero_point: i32,
        shift: u32,
        requantize: Requantize<'a>,
    ) -> Result<Self, LayerError> {
        if let Err(error) = input.check() {
            return Err(error);
        }
        if shift > 30 {
            return Err(LayerError::Multiplier);
        }
        if span::<X>() * input.pixels() as i64 > i32::MAX as i64 >> shift {
            return Err(LayerError::AccumulatorOverflow);
        }
        match (check_zero_point::<X>(zero_point), requantize.check::<Y>(1)) {
            (Ok(()), Ok(())) => Ok(Self { input, zero_point, shift, requantize, elements: PhantomData }),
            (Err(error), _) | (_, Err(error)) => Err(error),
        }
    }

    /// Elements of the input.
    #[must_use]
    pub const fn input_len(&self) -> usize {
        self.input.len()
    }

    /// Elements of the output.
    #[must_use]
    pub const fn output_len(&self) -> usize {
        self.input.channels
    }

    /// Pools an NHWC tensor into one value a channel.
    ///
    /// # Panics
    ///
    /// If a slice is not of the layer's shape.
    #[inline]
    pub fn infer(&self, input: &[X], output: &mut [Y]) {
        assert!(input.len() == self.input_len() && output.len() == self.output_len());
        kernels::pool(self.input, self.zero_point, input, |channel, sum| {
            output[channel] = self.requantize.apply(0, sum << self.shift);
        });
    }
}
