//! The vectors that fully connected layers multiply, in words.

use super::{both, pair, widen};
pub(super) use crate::kernels::features::Features;

/// Groups of four features that are made wide at a time.
pub(super) const GROUPS: usize = 32;

impl Features<'_> {
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
    pub(super) fn get(&self, k: usize) -> i32 {
        match self {
            Self::Narrow { input, zero_point } => i32::from(input[k]) - zero_point,
            Self::Wide(input) => input[k].into(),
        }
    }

    /// Four less the zero point: the first and third, and the second and fourth.
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
