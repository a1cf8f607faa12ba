//! Loops for cores with Helium, the vector extension of Armv8.1-M: sixteen int8 or eight int16 products an instruction.
//!
//! Numbers are multiplied as they are, zero point included; what it adds up to, zero point times sum of weights, is taken
//! from the bias beforehand. Depthwise convolutions are the exception: their lanes are channels, and which taps meet the map
//! differs from pixel to pixel.
//!
//! Nothing is read past the end of a slice: lanes of a vector that is not full are switched off, or the last vector begins
//! earlier.

mod columns;
mod conv;
mod copy;
mod depthwise;
mod linear;
mod mix;
mod multiply;
mod neighbours;
mod pool;
#[cfg(target_arch = "arm")]
mod softmax;
mod sum;
mod taps;

pub(crate) use conv::{Source, convolve};
pub(crate) use depthwise::depthwise;
pub(crate) use linear::linear;
#[cfg(target_arch = "arm")]
pub(crate) use mix::mix_biases;
pub(crate) use mix::{Order, mix};
pub(crate) use pool::add_pixels;
#[cfg(target_arch = "arm")]
pub(crate) use softmax::softmax;

/// Bytes of a vector.
const VECTOR: usize = 16;
