//! Mixing: four experts a word, two multiply-accumulates an instruction.

use super::instructions::{smlad, sxtab16, sxtab16_ror8};
use super::lanes::Runs;
use crate::MAX_EXPERTS;
use crate::mixing::Mixture;

/// Coefficients of four experts, as the halves of two words: of experts 0 and 2, and of 1 and 3.
type Quad = [i32; 2];

/// Mixes one channel's kernel into a lane.
#[inline(never)]
pub(super) fn mix_lane(mixture: &Mixture<'_>, channel: usize, runs: Runs, words: &mut [i32], lane: usize) {
    let mixer = Mixer::new(mixture, channel);
    // The usual numbers of experts have loops without a loop inside.
    match (mixer.quads, mixer.tail_count) {
        (1, 0) => fill(runs, words, lane, |k| mixer.weight::<1>(k)),
        (2, 0) => fill(runs, words, lane, |k| mixer.weight::<2>(k)),
        _ => fill(runs, words, lane, |k| mixer.weight::<0>(k)),
    }
}

/// Mixes one channel's kernel and hands its weights over.
pub(super) fn mix_each(mixture: &Mixture<'_>, channel: usize, mut put: impl FnMut(usize, i16)) {
    let mixer = Mixer::new(mixture, channel);
    for k in 0..mixture.experts.kernel_len() {
        put(k, mixer.weight::<0>(k) as i16);
    }
}

/// Fills a lane with the numbers 0, 1, 2.. of a kernel; run by run, so that a run begins with a word.
#[inline(always)]
fn fill(runs: Runs, words: &mut [i32], lane: usize, of: impl Fn(usize) -> i32) {
    let lane = lane & 1;
    let mut k = 0;
    for words in words.chunks_exact_mut(runs.run_words()) {
        let (whole, last) = words.as_chunks_mut::<4>().0.split_at_mut(runs.len() / 4);
        for group in whole {
            group[lane] = pair(of(k), of(k + 2));
            group[lane + 2] = pair(of(k + 1), of(k + 3));
            k += 4;
        }
        if let [group] = last {
            let rest = runs.len() % 4;
            let at = |i: usize| if i < rest { of(k + i) } else { 0 };
            group[lane] = pair(at(0), at(2));
            group[lane + 2] = pair(at(1), 0);
            k += rest;
        }
    }
}

/// Two halves of a word.
fn pair(low: i32, high: i32) -> i32 {
    (low & 0xffff) | (high << 16)
}

/// One channel's experts and what each is worth.
struct Mixer<'a> {
    weights: &'a [i8],
    quads: usize,
    coefficients: [Quad; MAX_EXPERTS / 4],
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
            *quad = [a | (c << 16), b | (d << 16)];
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
        for (bytes, [even, odd]) in words.iter().zip(&self.coefficients) {
            let word = i32::from_le_bytes(bytes.map(i8::cast_unsigned));
            sum = smlad(sxtab16(0, word), *even, sum);
            sum = smlad(sxtab16_ror8(0, word), *odd, sum);
        }
        if QUADS == 0 {
            for (tail, coefficient) in self.tails.iter().zip(&self.tail_coefficients).take(self.tail_count) {
                sum += coefficient * i32::from(tail[k]);
            }
        }
        sum >> self.shift
    }
}
