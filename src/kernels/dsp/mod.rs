//! Loops for cores with the DSP extension (Cortex-M4, M7, M33): two 16-bit multiply-accumulates an instruction.
//!
//! Kernels, from flash or mixed, and the inputs that an output pixel sees are laid out as int16 pairs first ([`lanes`]);
//! then two output channels of two pixels are computed at a time.

mod conv;
mod depthwise;
mod instructions;
mod lanes;
mod linear;
mod mix;
mod multiply;

pub(crate) use conv::{Source, convolve};
pub(crate) use depthwise::depthwise;
pub(crate) use linear::dots;
