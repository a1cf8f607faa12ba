//! Mixing: four experts a word, two multiply-accumulates an instruction.

use super::conv::{Pairs, put};
use super::instructions::smlad;
use super::{pair, widen};
use crate::MAX_EXPERTS;
use crate::mixing::Mixture;

/// Mixes one channel's kernel into a lane of wide words.
#[inline(never)]
pub(super) fn mix_wide(mixture: &Mixture<'_>, channel: usize, pairs: &mut [Pairs], lane: usize) {
    let mixer = Mixer::new(mixture, channel);
    let len = mixture.experts.kernel_len();
    // The usual numbers of experts have loops without a loop inside.
    match (mixer.quads, mixer.tail_count) {
        (1, 0) => fill(len, pairs, lane, |k| mixer.weight::<1>(k)),
        (2, 0) => fill(len, pairs, lane, |k| mixer.weight::<2>(k)),
        _ => fill(len, pairs, lane, |k| mixer.weight::<0>(k)),
    }
}

/// Mixes one channel's kernel and hands its weights over.
pub(super) fn mixed_weights(mixture: &Mixture<'_>, channel: usize, mut each: impl FnMut(usize, i16)) {
    let mixer = Mixer::new(mixture, channel);
    for k in 0..mixture.experts.kernel_len() {
        each(k, mixer.weight::<0>(k) as i16);
    }
}

/// Fills wide words with the weights 0, 1, 2.. of a kernel, and with zeros past its end.
#[inline(always)]
fn fill(len: usize, pairs: &mut [Pairs], lane: usize, weight: impl Fn(usize) -> i32) {
    let (whole, last) = pairs.split_at_mut(len / 4);
    let mut k = 0;
    for pairs in whole {
        put(pairs, lane, [pair(weight(k), weight(k + 2)), pair(weight(k + 1), weight(k + 3))]);
        k += 4;
    }
    if let Some(pairs) = last.first_mut() {
        let at = |k: usize| if k < len { weight(k) } else { 0 };
        put(pairs, lane, [pair(at(k), at(k + 2)), pair(at(k + 1), 0)]);
    }
}

/// One channel's experts and what each is worth.
struct Mixer<'a> {
    weights: &'a [i8],
    quads: usize,
    /// Of four experts, as the halves of two words: of experts 0 and 2, and of 1 and 3.
    coefficients: [[i32; 2]; MAX_EXPERTS / 4],
    tails: [&'a [i8]; 3],
    tail_coefficients: [i32; 3],
    tail_count: usize,
    shift: u32,
}

impl<'a> Mixer<'a> {
    fn new(mixture: &Mixture<'a>, channel: usize) -> Self {
        let experts = mixture.experts;
        let mut coefficients = [0; MAX_EXPERTS];
        experts.coefficients(channel, mixture.routing, &mut coefficients);
        let (whole, rest) = coefficients[..experts.count()].as_chunks::<4>();
        let mut mixer = Self {
            weights: experts.quads(channel),
            quads: whole.len(),
            coefficients: [[0; 2]; MAX_EXPERTS / 4],
            tails: [&[]; 3],
            tail_coefficients: [0; 3],
            tail_count: rest.len(),
            shift: experts.shift(),
        };
        for (quad, [a, b, c, d]) in mixer.coefficients.iter_mut().zip(whole) {
            *quad = [pair(*a, *c), pair(*b, *d)];
        }
        for (tail, coefficient) in rest.iter().enumerate() {
            mixer.tails[tail] = experts.tail(channel, tail);
            mixer.tail_coefficients[tail] = *coefficient;
        }
        mixer
    }

    /// One mixed weight; of `QUADS` words of experts, or of all that there are for 0.
    #[inline(always)]
    fn weight<const QUADS: usize>(&self, k: usize) -> i32 {
        let quads = if QUADS > 0 { QUADS } else { self.quads };
        let mut sum = 1 << (self.shift - 1);
        let words = self.weights[4 * quads * k..4 * quads * (k + 1)].as_chunks::<4>().0;
        for (bytes, coefficients) in words.iter().zip(&self.coefficients) {
            for (weights, coefficients) in widen(*bytes, 0).into_iter().zip(coefficients) {
                sum = smlad(weights, *coefficients, sum);
            }
        }
        if QUADS == 0 {
            for (tail, coefficient) in self.tails.iter().zip(&self.tail_coefficients).take(self.tail_count) {
                sum += coefficient * i32::from(tail[k]);
            }
        }
        sum >> self.shift
    }
}
