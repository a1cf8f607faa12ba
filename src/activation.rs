//! Activations that are no clamp.

use crate::quantize::Element;

/// Any function of one int8 element, such as a sigmoid or a swish, as a table of its 256 results. The step to the
/// output's scale and zero point is in the table.
///
/// ```
/// use condconv::Lookup;
///
/// // The magnitude, for zero points 0.
/// static TABLE: [i8; 256] = {
///     let mut table = [0; 256];
///     let mut i = 0;
///     while i < 256 {
///         let magnitude = (i as i32 - 128).abs();
///         table[i] = if magnitude > 127 { 127 } else { magnitude as i8 };
///         i += 1;
///     }
///     table
/// };
/// static ABSOLUTE: Lookup<'static> = Lookup::new(&TABLE);
/// let mut output = [0; 3];
/// ABSOLUTE.infer(&[-128, -3, 5], &mut output);
/// assert_eq!(output, [127, 3, 5]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Lookup<'a, Y = i8> {
    table: &'a [Y; 256],
}

impl<'a, Y: Element> Lookup<'a, Y> {
    /// `table[x + 128]` is the result for `x`.
    #[must_use]
    pub const fn new(table: &'a [Y; 256]) -> Self {
        Self { table }
    }

    /// Looks every element up.
    ///
    /// # Panics
    ///
    /// If input and output differ in length.
    #[inline]
    pub fn infer(&self, input: &[i8], output: &mut [Y]) {
        assert!(input.len() == output.len());
        self.look_up(input, output);
    }

    /// Once a kind of layer, not once a layer.
    #[inline(never)]
    fn look_up(&self, input: &[i8], output: &mut [Y]) {
        for (output, x) in output.iter_mut().zip(input) {
            *output = self.of(*x);
        }
    }

    #[inline(always)]
    fn of(&self, x: i8) -> Y {
        self.table[usize::from(x.cast_unsigned() ^ 0x80)]
    }
}

impl Lookup<'_> {
    /// Looks every element up, in its place.
    #[inline(never)]
    pub fn infer_in_place(&self, tensor: &mut [i8]) {
        for x in tensor {
            *x = self.of(*x);
        }
    }
}
