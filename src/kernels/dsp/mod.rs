//! Loops for cores with the DSP extension: two products an instruction.
//!
//! Four int8 numbers 0 1 2 3 of one word become two words of int16 pairs, (0, 2) and (1, 3), as SXTB16 makes them. A kernel
//! in this order is *wide*: two words for four weights.
//!
//! Words of int8 numbers are read wherever they lie: as on all these cores, unless loads that are not aligned were made to
//! trap.

mod columns;
mod conv;
mod depthwise;
mod experts;
mod features;
mod instructions;
mod linear;
mod mix;
mod multiply;
mod order;
mod pool;
mod taps;

pub(crate) use conv::{Source, convolve};
pub(crate) use depthwise::depthwise;
pub(crate) use experts::cond_linear;
pub(crate) use linear::linear;
pub(crate) use pool::add_pixels;

use instructions::{sxtab16, sxtab16_ror8};

/// Both halves of a word.
const fn both(x: i32) -> i32 {
    (x & 0xffff) | (x << 16)
}

/// Two halves of a word.
const fn pair(low: i32, high: i32) -> i32 {
    (low & 0xffff) | (high << 16)
}

/// Four numbers as two words of pairs, with `offset` added to each half.
#[inline(always)]
fn widen(bytes: [i8; 4], offset: i32) -> [i32; 2] {
    let word = i32::from_le_bytes(bytes.map(i8::cast_unsigned));
    [sxtab16(offset, word), sxtab16_ror8(offset, word)]
}

/// The first bytes of a word, and zeros.
fn padded(bytes: &[i8]) -> [i8; 4] {
    core::array::from_fn(|i| bytes.get(i).copied().unwrap_or(0))
}
