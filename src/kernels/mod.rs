//! The inner loops. `portable` is the specification; every other implementation equals it bit for bit.

mod portable;

pub(crate) use portable::{
    average_pool, convolve, depthwise, dot, expert_dots, max_pool, mix, pool, pool_matrix,
};
