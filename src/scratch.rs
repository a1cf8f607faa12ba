//! Memory in which convolutions prepare their work.

/// Room for a convolution to work in: `COLUMNS` words for the inputs of two output pixels, `KERNELS` words for the kernels
/// of a block of output channels, and `CHANNELS` biases. A convolution takes as many channels at a time as fit; the
/// result is the same for every size.
#[derive(Clone, Debug)]
pub struct ScratchBuffer<const COLUMNS: usize, const KERNELS: usize, const CHANNELS: usize> {
    columns: [i32; COLUMNS],
    kernels: [i32; KERNELS],
    bias: [i32; CHANNELS],
}

impl<const COLUMNS: usize, const KERNELS: usize, const CHANNELS: usize>
    ScratchBuffer<COLUMNS, KERNELS, CHANNELS>
{
    /// An empty buffer.
    #[must_use]
    pub const fn new() -> Self {
        Self { columns: [0; COLUMNS], kernels: [0; KERNELS], bias: [0; CHANNELS] }
    }

    /// The room, lent to a layer.
    #[must_use]
    pub const fn lend(&mut self) -> Scratch<'_> {
        Scratch { columns: &mut self.columns, kernels: &mut self.kernels, bias: &mut self.bias }
    }
}

impl<const COLUMNS: usize, const KERNELS: usize, const CHANNELS: usize> Default
    for ScratchBuffer<COLUMNS, KERNELS, CHANNELS>
{
    fn default() -> Self {
        Self::new()
    }
}

/// A [`ScratchBuffer`] lent to a layer.
#[derive(Debug)]
pub struct Scratch<'a> {
    /// Room for the inputs of two output pixels: [`Geometry::column_words`](crate::Geometry::column_words). With less a
    /// convolution runs by slower loops.
    pub columns: &'a mut [i32],
    /// Room for kernels: a multiple of [`Geometry::kernel_words`](crate::Geometry::kernel_words) for each two output
    /// channels. A conditional layer needs half of that at least, a static layer nothing.
    pub kernels: &'a mut [i32],
    /// Room for one bias a channel, of conditional layers.
    pub bias: &'a mut [i32],
}

impl Scratch<'_> {
    #[cfg(condconv_dsp)]
    pub(crate) fn reborrow(&mut self) -> Scratch<'_> {
        Scratch { columns: self.columns, kernels: self.kernels, bias: self.bias }
    }

    /// No room: enough for static layers.
    #[must_use]
    pub const fn none() -> Self {
        Self { columns: &mut [], kernels: &mut [], bias: &mut [] }
    }
}
