//! Where the weights of a block of kernels go, as int16.

use super::{padded, widen};

/// Halves of the two words of a tap in which the weights of four channels lie, as those of the words into which an input is
/// widened.
const HALVES: [usize; 4] = [0, 2, 1, 3];

/// In what order a loop wants the weights of kernels.
#[derive(Clone, Copy)]
pub(crate) enum Order {
    /// Wide words of two channels, for four weights of each: `(0, 2) of the first, (0, 2) of the second, (1, 3), (1, 3)`. What
    /// fills no four is filled up with zeros.
    Wide {
        /// Of two channels.
        words: usize,
    },
    /// Two words a tap of four channels.
    Taps {
        /// Of four channels.
        words: usize,
    },
}

impl Order {
    /// The half of a word in which a weight of the block's channels goes.
    pub(super) const fn place(self, channel: usize, k: usize) -> usize {
        match self {
            Self::Wide { words } => {
                channel / 2 * 2 * words + k / 4 * 8 + k % 2 * 4 + channel % 2 * 2 + k / 2 % 2
            }
            Self::Taps { words } => channel / 4 * 2 * words + 4 * k + HALVES[channel % 4],
        }
    }
}

/// Puts weights as they are in flash in order.
#[inline(never)]
pub(super) fn put(weights: &[i8], kernel_len: usize, order: Order, words: &mut [i32]) {
    for (channel, weights) in weights.chunks_exact(kernel_len).enumerate() {
        match order {
            Order::Wide { words: pair } => {
                let lane = channel % 2;
                let (whole, rest) = weights.as_chunks::<4>();
                let words = &mut words[channel / 2 * pair..][..pair];
                let (groups, last) = words.as_chunks_mut::<4>().0.split_at_mut(whole.len());
                for (group, bytes) in groups.iter_mut().zip(whole) {
                    [group[lane], group[lane + 2]] = widen(*bytes, 0);
                }
                if let Some(group) = last.first_mut() {
                    [group[lane], group[lane + 2]] = widen(padded(rest), 0);
                }
            }
            Order::Taps { .. } => {
                let halves: &mut [i16] = bytemuck::must_cast_slice_mut(words);
                for (k, weight) in weights.iter().enumerate() {
                    halves[order.place(channel, k)] = (*weight).into();
                }
            }
        }
    }
}
