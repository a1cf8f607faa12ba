//! The vectors that fully connected layers multiply.

use super::both;
#[cfg(any(condconv_kernels = "dsp", not(target_arch = "arm")))]
use super::{pair, widen};
use crate::quantize::Element;

/// Groups of four features that are made wide at a time.
#[cfg(condconv_kernels = "dsp")]
pub(super) const GROUPS: usize = 32;

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

    /// Where they begin, how many bytes each has, and what is added to both halves of a word.
    #[cfg(target_arch = "arm")]
    #[inline(always)]
    pub(super) fn place(&self) -> (*const i8, usize, i32) {
        match self {
            Self::Narrow { input, zero_point } => (input.as_ptr(), 1, both(-zero_point)),
            Self::Wide(input) => (input.as_ptr().cast(), 2, 0),
        }
    }

    /// One, less the zero point.
    #[cfg(any(condconv_kernels = "dsp", not(target_arch = "arm")))]
    pub(super) fn get(&self, k: usize) -> i32 {
        match self {
            Self::Narrow { input, zero_point } => i32::from(input[k]) - zero_point,
            Self::Wide(input) => input[k].into(),
        }
    }

    /// Four less the zero point: the first and third, and the second and fourth.
    #[cfg(any(condconv_kernels = "dsp", not(target_arch = "arm")))]
    #[inline(always)]
    pub(super) fn four(&self, group: usize) -> [i32; 2] {
        match self {
            Self::Narrow { input, zero_point } => widen(input.as_chunks().0[group], both(-zero_point)),
            Self::Wide(input) => {
                let [a, b, c, d] = input.as_chunks().0[group].map(i32::from);
                [pair(a, c), pair(b, d)]
            }
        }
    }

    /// Groups of four, from the first on.
    #[cfg(condconv_kernels = "dsp")]
    pub(super) fn widen(&self, first: usize, groups: &mut [[i32; 2]]) {
        for (i, group) in groups.iter_mut().enumerate() {
            *group = self.four(first + i);
        }
    }
}

/// Instructions that read four features, to r6 and r7, or one, to r6: r0 input, r1 what is added to both halves. Change r8 and r9.
#[cfg(target_arch = "arm")]
macro_rules! narrow {
    (four) => {
        "ldr r7, [r0], #4
         sxtab16 r6, r1, r7
         sxtab16 r7, r1, r7, ror #8
         "
    };
    (one) => {
        "ldrsb r6, [r0], #1
         sxtah r6, r6, r1
         "
    };
}
#[cfg(target_arch = "arm")]
macro_rules! wide {
    (four) => {
        "ldr r8, [r0], #4
         ldr r9, [r0], #4
         pkhbt r6, r8, r9, lsl #16
         pkhtb r7, r9, r8, asr #16
         "
    };
    (one) => {
        "ldrsh r6, [r0], #2
         "
    };
}
#[cfg(target_arch = "arm")]
pub(super) use {narrow, wide};
