//! Converts float CondConv networks into int8 Rust modules for the `condconv` crate, and verifies them.
//!
//! ```text
//! onnx       reads an ONNX file and recognises every CondConv              -> graph::Network
//! quantize   calibrates on samples, chooses scales and shifts             -> quantized::QuantizedNetwork
//! plan       lays tensors and weights out                                 -> plan::Plan
//! emit       writes the plan as a Rust module and its weights
//! run        runs the plan on the host, by the layers of the library
//! verify     compares that with the float network, run as the file states it (reference)
//! emulate    builds firmware of a module and runs it on an emulated Cortex-M
//! profile    counts what that executes, step by step
//! ```
//!
//! [`convert::Model`] holds all of it for one model. The program `condconv` is a thin shell around this library.

pub mod cli;
pub mod convert;
pub mod demo;
mod deviation;
pub mod emit;
pub mod emulate;
pub mod graph;
pub mod inspect;
mod names;
pub mod npy;
pub mod onnx;
mod parallel;
pub mod plan;
pub mod profile;
pub mod quantize;
pub mod quantized;
pub mod reference;
pub mod report;
pub mod run;
pub mod verify;
