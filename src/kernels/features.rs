//! The vectors that fully connected layers multiply.

use crate::quantize::Element;

#[derive(Clone, Copy)]
pub(super) enum Features<'a> {
    Narrow {
        input: &'a [i8],
        zero_point: i32,
    },
    /// Of zero point zero.
    Wide(&'a [i16]),
}

impl<'a> Features<'a> {
    /// There is no loop for int16 with a zero point.
    #[inline(always)]
    pub(super) fn of<X: Element>(input: &'a [X], zero_point: i32) -> Option<Self> {
        match (X::int8(input), X::int16(input)) {
            (Some(input), _) => Some(Self::Narrow { input, zero_point }),
            (None, Some(input)) if zero_point == 0 => Some(Self::Wide(input)),
            _ => None,
        }
    }

    #[inline(always)]
    pub(super) const fn len(&self) -> usize {
        match self {
            Self::Narrow { input, .. } => input.len(),
            Self::Wide(input) => input.len(),
        }
    }
}
