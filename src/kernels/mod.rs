//! The inner loops. `portable` is the specification; every other implementation equals it bit for bit.

mod portable;

pub(crate) use portable::{convolve, depthwise, dot, expert_dots, mix, pool, pool_matrix};
