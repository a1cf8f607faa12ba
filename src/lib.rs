//! Conditionally parameterised convolutions (CondConv) for microcontrollers: int8, `no_std`, no heap.
//!
//! A CondConv layer (Yang et al., NeurIPS 2019) has n expert kernels and computes
//! `activation((alpha_1 W_1 + ... + alpha_n W_n) * x + b)`, where the weights `alpha` are a function of the
//! layer's input. It has the capacity of n convolutions and the cost of one. Three steps:
//!
//! 1. **route** ([`Routing`]): pool the input, multiply by a small matrix, take the sigmoid: one
//!    [`RoutingWeight`] an expert;
//! 2. **mix** ([`Experts`]): weigh and sum the int8 experts into one int16 kernel, as many output channels at
//!    a time as a scratch has room for ([`Geometry::scratch_words`]);
//! 3. **convolve** ([`CondConv2d`], [`CondDepthwiseConv2d`]): one ordinary convolution. [`CondLinear`] takes
//!    n products instead of mixing.
//!
//! Static layers ([`Conv2d`], [`DepthwiseConv2d`], [`Linear`], [`GlobalAveragePool`]) are run by the same loops.
//!
//! Tensors are NHWC slices with a batch of one. Everything is integer; the same code runs on the host and on the
//! device and gives the same bits. Layers are checked when they are made, in constant evaluation if they are
//! statics, accumulator bounds included: no input can make them overflow.
//!
//! An [`Observer`] looks on while a network runs, such as [`RoutingTrace`] and [`Timing`]. Three features, all off by default, bring
//! more of them: `defmt` a log, `embedded-hal` a pin for a logic analyser, `cortex-m` the processor's counters.
//!
//! Networks are not usually written by hand: the `condconv` program (package `condconv-tools`) converts an ONNX
//! file into a Rust module that uses this crate. By hand, it looks like this:
//!
//! ```
//! use condconv::{
//!     CondConv2d, Experts, Geometry, Requantize, Routing, RoutingWeight, Shape, WeightSums, Window,
//!     checked,
//! };
//!
//! const INPUT: Shape = Shape::new(2, 2, 1);
//! // Expert 0 passes the pixel on, expert 1 negates it.
//! const SUMS: [WeightSums; 2] = [WeightSums::new(127, 0), WeightSums::new(0, 127)];
//! static ROUTE: Routing<'static> =
//!     checked(Routing::new(INPUT, 0, &[32767, -32767], &[0, 0], &[16384; 2], &[20; 2]));
//! static LAYER: CondConv2d<'static> = checked(CondConv2d::new(
//!     checked(Geometry::new(INPUT, 1, Window::new([1, 1]), 1)),
//!     0,
//!     checked(Experts::new(2, &[127, -127], &[32767; 2], 8, &[0], &[], &SUMS)),
//!     checked(Requantize::new(&[1 << 19], 0, -128, 127)),
//! ));
//!
//! let input = [10, 20, 30, 40]; // bright: expert 0 is chosen
//! let mut alpha = [RoutingWeight::ZERO; 2];
//! ROUTE.infer(&input, &mut alpha);
//! assert!(alpha[0] > 0.99 && alpha[1] < 0.01);
//!
//! let mut scratch = [0; LAYER.scratch_words()];
//! let mut output = [0; 4];
//! LAYER.infer(&input, &alpha, &mut scratch, &mut output);
//! assert_eq!(output, [10, 20, 30, 40]);
//! ```
#![no_std]

mod activation;
mod concat;
mod conv;
mod depthwise;
mod edge;
mod elementwise;
mod error;
mod kernel_source;
mod kernels;
mod linear;
mod memory;
mod mixing;
mod observe;
mod overlap;
mod pooling;
mod quantize;
mod routing;
mod rows;
mod shape;
mod softmax;

pub use activation::Lookup;
pub use concat::{ConcatPart, Pad};
pub use conv::{CondConv2d, Conv2d};
pub use depthwise::{CondDepthwiseConv2d, DepthwiseConv2d};
pub use edge::{Quantization, argmax};
pub use elementwise::{Add, Mul, Operand};
pub use error::{LayerError, checked};
pub use kernel_source::StaticKernels;
pub use linear::{CondLinear, Linear};
pub use memory::{Aligned, Placed, disjoint, elements, none_meet, rows};
pub use mixing::Experts;
#[cfg(feature = "defmt")]
pub use observe::DefmtLogger;
#[cfg(feature = "embedded-hal")]
pub use observe::PinProbe;
#[cfg(feature = "cortex-m")]
pub use observe::{CounterError, DwtCycles, SysTickCycles};
pub use observe::{Cycles, Observer, RoutingTrace, Timing};
pub use overlap::Overlap;
pub use pooling::{AveragePool2d, GlobalAveragePool, MaxPool2d};
pub use quantize::{Element, Requantize, WeightSums};
pub use routing::{Gate, Routing, RoutingLogit, RoutingWeight, SigmoidGate, SoftmaxGate, sigmoid};
pub use rows::{RowProgress, RowSchedule, RowStep, RowTensor, RowWindow};
pub use shape::{Geometry, Padding, Shape, Window};
pub use softmax::Softmax;

/// Largest number of experts of a layer.
pub const MAX_EXPERTS: usize = 32;

/// Version of the layout of weights and of the arguments of layers. A generated module asserts that it is the
/// one it was made for.
pub const FORMAT_VERSION: u32 = 2;
