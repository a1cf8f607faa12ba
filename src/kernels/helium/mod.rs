//! Loops for cores with Helium, the vector extension of Armv8.1-M: sixteen int8 or eight int16 products an instruction.
//!
//! Numbers are multiplied as they are, zero point included; what it adds up to, zero point times sum of weights, is taken
//! from the bias beforehand. Lanes of a vector that is not full are switched off, so nothing is read past its end.
//!
//! What has no loop here has one for the DSP extension, which these cores have too.

mod columns;
mod conv;
mod multiply;
mod sum;

pub(crate) use super::dsp::{depthwise, linear};
pub(crate) use conv::{Source, convolve};

/// Bytes of a vector.
const VECTOR: usize = 16;
