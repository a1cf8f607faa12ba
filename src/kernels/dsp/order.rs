//! Where the weights of a kernel go, as int16.

use super::{padded, widen};

/// In what order a loop wants the weights of a kernel.
#[derive(Clone, Copy)]
pub(crate) enum Order {
    /// Wide words of two channels, for four weights of each: `(0, 2) of lane 0, (0, 2) of lane 1, (1, 3), (1, 3)`. What
    /// fills no four is filled up with zeros.
    Wide {
        /// 0 or 1.
        lane: usize,
    },
    /// Two words a tap of four channels.
    Taps {
        /// Which half of the words is the channel's.
        half: usize,
    },
}

impl Order {
    /// The half of a word in which a weight goes.
    pub(super) const fn place(self, k: usize) -> usize {
        match self {
            Self::Wide { lane } => k / 4 * 8 + k % 2 * 4 + lane * 2 + k / 2 % 2,
            Self::Taps { half } => 4 * k + half,
        }
    }
}

/// Puts weights as they are in flash in order.
#[inline(never)]
pub(super) fn put(weights: &[i8], order: Order, words: &mut [i32]) {
    match order {
        Order::Wide { lane } => {
            let (whole, rest) = weights.as_chunks::<4>();
            let (groups, last) = words.as_chunks_mut::<4>().0.split_at_mut(whole.len());
            for (group, bytes) in groups.iter_mut().zip(whole) {
                [group[lane & 1], group[(lane & 1) + 2]] = widen(*bytes, 0);
            }
            if let Some(group) = last.first_mut() {
                [group[lane & 1], group[(lane & 1) + 2]] = widen(padded(rest), 0);
            }
        }
        Order::Taps { .. } => {
            let halves: &mut [i16] = bytemuck::must_cast_slice_mut(words);
            for (k, weight) in weights.iter().enumerate() {
                halves[order.place(k)] = (*weight).into();
            }
        }
    }
}
