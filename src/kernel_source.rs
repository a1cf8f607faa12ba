//! Where a convolution's kernels come from: flash as they are, or mixed from experts block by block.

use core::ops::Range;

use crate::LayerError;
use crate::quantize::{Element, WeightSums, largest_magnitude};

/// The kernels of a block of output channels, and their biases.
#[derive(Debug)]
pub(crate) struct Kernels<'s, W> {
    /// Channel by channel, `[kernel row][kernel column][input channel of the group]`.
    pub(crate) weights: &'s [W],
    /// One accumulator start a channel.
    pub(crate) bias: &'s [i32],
}

#[cfg(any(condconv_kernels = "scalar", condconv_kernels = "helium"))]
impl<W> Kernels<'_, W> {
    /// Where accumulators start if inputs are multiplied as they are, and padding as the zero point: at
    /// `bias - zero_point sum w`, which [`check`](StaticKernels::check) and its like for experts keep within i32.
    pub(crate) fn fold(&self, zero_point: i32, sum: impl Fn(&[W]) -> i32, starts: &mut [i32]) {
        let kernels = self.weights.chunks_exact(self.weights.len() / self.bias.len());
        for ((start, bias), kernel) in starts.iter_mut().zip(self.bias).zip(kernels) {
            *start = bias - zero_point * sum(kernel);
        }
    }
}

/// Lends the kernels of one block of output channels after the other. A convolution does not know more.
pub(crate) trait KernelSource {
    type Weight: Element;

    /// Output channels in a block, as many as the scratch has room for.
    fn block_channels(&self, scratch: &[i32]) -> usize;

    /// The kernels of `channels`, at most [`block_channels`](Self::block_channels) of them.
    fn block<'s>(&'s self, channels: Range<usize>, scratch: &'s mut [i32]) -> Kernels<'s, Self::Weight>;

    /// Puts where accumulators start of channels from the first on.
    fn put_biases(&self, first: usize, biases: &mut [i32]);
}

/// Kernels as they lie in flash: int8, one scale a channel, in accumulator units of
/// `input scale * weight scale`.
#[derive(Clone, Copy, Debug)]
pub struct StaticKernels<'a> {
    weights: &'a [i8],
    bias: &'a [i32],
    largest_sum: i64,
    largest_bias: i64,
}

impl<'a> StaticKernels<'a> {
    /// `weights` channel by channel, each `[kernel row][kernel column][input channel of the group]`; one bias
    /// and one [`WeightSums`] a channel, which must be those of the weights: the bound on the accumulator rests on them.
    ///
    /// # Errors
    ///
    /// [`LayerError::TableLength`] and [`LayerError::WeightLength`].
    ///
    /// ```
    /// use condconv::{StaticKernels, WeightSums};
    /// const WEIGHTS: [i8; 6] = [1, 2, 3, -1, -2, -3];
    /// const SUMS: [WeightSums; 2] = [WeightSums::new(6, 0), WeightSums::new(0, 6)];
    /// assert!(StaticKernels::new(&WEIGHTS, &[10, 20], &SUMS).is_ok());
    /// ```
    pub const fn new(weights: &'a [i8], bias: &'a [i32], sums: &[WeightSums]) -> Result<Self, LayerError> {
        if bias.len() != sums.len() {
            return Err(LayerError::TableLength);
        }
        if bias.is_empty() || !weights.len().is_multiple_of(bias.len()) {
            return Err(LayerError::WeightLength);
        }
        let mut largest_sum = 0;
        let mut i = 0;
        while i < sums.len() {
            let sum = sums[i].largest() as i64;
            if sum > largest_sum {
                largest_sum = sum;
            }
            i += 1;
        }
        Ok(Self { weights, bias, largest_sum, largest_bias: largest_magnitude(bias) })
    }

    /// An error unless there are kernels for `channels` of `kernel_len` weights whose accumulator fits i32 for
    /// inputs of the given span.
    pub(crate) const fn check(
        &self,
        channels: usize,
        kernel_len: usize,
        span: i64,
    ) -> Result<(), LayerError> {
        if self.bias.len() != channels {
            return Err(LayerError::TableLength);
        }
        if kernel_len == 0
            || self.weights.len() / kernel_len != channels
            || !self.weights.len().is_multiple_of(kernel_len)
        {
            return Err(LayerError::WeightLength);
        }
        if span * self.largest_sum + self.largest_bias > i32::MAX as i64 {
            return Err(LayerError::AccumulatorOverflow);
        }
        Ok(())
    }

    pub(crate) const fn weights(&self) -> &'a [i8] {
        self.weights
    }

    /// Weights of one channel's kernel.
    pub(crate) const fn kernel_len(&self) -> usize {
        self.weights.len() / self.bias.len()
    }

    /// The weights of some channels' kernels.
    pub(crate) fn of(&self, channels: Range<usize>) -> &'a [i8] {
        let len = self.kernel_len();
        &self.weights[channels.start * len..channels.end * len]
    }

    pub(crate) const fn bias(&self) -> &'a [i32] {
        self.bias
    }
}

impl KernelSource for StaticKernels<'_> {
    type Weight = i8;

    fn block_channels(&self, _: &[i32]) -> usize {
        self.bias.len()
    }

    fn block<'s>(&'s self, channels: Range<usize>, _: &'s mut [i32]) -> Kernels<'s, i8> {
        Kernels { weights: self.of(channels.clone()), bias: &self.bias[channels] }
    }

    fn put_biases(&self, first: usize, biases: &mut [i32]) {
        biases.copy_from_slice(&self.bias[first..][..biases.len()]);
    }
}
