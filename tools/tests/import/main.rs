//! ONNX files become networks that compute the same, or are refused with one clear error.

mod build;
mod check;
mod conditional;
mod fixtures;
mod float;
mod hostile;
mod layers;
mod norms;
mod operators;
mod order;
mod refused;
#[path = "../shared/shipped.rs"]
mod shipped;
