//! A layer's input and output.

use core::marker::PhantomData;
use core::ops::Range;

use crate::quantize::Element;

/// An input and an output: slices of their own, or ranges of one memory, which may overlap. Either can be looked at, but not
/// both at a time.
pub(crate) struct Tensors<'a, X, Y> {
    input: *const X,
    input_len: usize,
    output: *mut Y,
    output_len: usize,
    backwards: bool,
    overlap: bool,
    memory: PhantomData<(&'a [X], &'a mut [Y])>,
}

impl<'a, X: Element, Y: Element> Tensors<'a, X, Y> {
    #[inline(always)]
    pub(crate) const fn apart(input: &'a [X], output: &'a mut [Y]) -> Self {
        Self {
            input: input.as_ptr(),
            input_len: input.len(),
            output: output.as_mut_ptr(),
            output_len: output.len(),
            backwards: false,
            overlap: false,
            memory: PhantomData,
        }
    }

    /// Whether pixels are to be taken from the last to the first: where the output begins after the input in one memory.
    #[inline(always)]
    #[cfg(not(condconv_kernels = "portable"))]
    pub(crate) const fn backwards(&self) -> bool {
        self.backwards
    }

    /// So many rows, or pixels of a row, in the order in which they are to be taken.
    #[inline(always)]
    pub(crate) fn in_order(&self, len: usize) -> impl Iterator<Item = usize> + use<'a, X, Y> {
        let backwards = self.backwards;
        (0..len).map(move |i| if backwards { len - 1 - i } else { i })
    }

    /// Whether writing the output destroys what has been read of the input, so that each pixel has to be read once and for
    /// all its channels.
    #[inline(always)]
    pub(crate) const fn overlap(&self) -> bool {
        self.overlap
    }

    #[inline(always)]
    #[allow(unsafe_code, reason = "input and output may overlap")]
    pub(crate) const fn input(&self) -> &[X] {
        // SAFETY: it was made from a slice of that length that this still borrows. The only other reference to it that there
        // may be is from `output`, which borrows this mutably.
        unsafe { core::slice::from_raw_parts(self.input, self.input_len) }
    }

    #[inline(always)]
    #[allow(unsafe_code, reason = "input and output may overlap")]
    pub(crate) const fn output(&mut self) -> &mut [Y] {
        // SAFETY: it was made from a mutable slice of that length that this still borrows, and is now borrowed mutably itself:
        // there is no other reference.
        unsafe { core::slice::from_raw_parts_mut(self.output, self.output_len) }
    }

    /// Where they begin, for loops that read the one while they write the other.
    #[inline(always)]
    #[cfg(all(target_arch = "arm", not(condconv_kernels = "portable")))]
    pub(crate) const fn pointers(&mut self) -> (*const X, *mut Y) {
        (self.input, self.output)
    }

    /// These tensors, if both have int8 elements.
    #[inline(always)]
    #[cfg(not(condconv_kernels = "portable"))]
    pub(crate) fn int8(&mut self) -> Option<Tensors<'_, i8, i8>> {
        (X::int8(&[]).is_some() && Y::int8(&[]).is_some()).then(|| Tensors {
            input: self.input.cast(),
            input_len: self.input_len,
            output: self.output.cast(),
            output_len: self.output_len,
            backwards: self.backwards,
            overlap: self.overlap,
            memory: PhantomData,
        })
    }
}

impl<'a, X: Element> Tensors<'a, X, X> {
    /// # Panics
    ///
    /// If a range leaves the memory.
    #[inline(always)]
    pub(crate) fn within(memory: &'a mut [X], input: Range<usize>, output: Range<usize>) -> Self {
        assert!(
            input.start <= input.end
                && input.end <= memory.len()
                && output.start <= output.end
                && output.end <= memory.len()
        );
        let start = memory.as_mut_ptr();
        Self {
            input: start.wrapping_add(input.start),
            input_len: input.len(),
            output: start.wrapping_add(output.start),
            output_len: output.len(),
            backwards: output.start > input.start,
            overlap: output.start < input.end && input.start < output.end,
            memory: PhantomData,
        }
    }
}
