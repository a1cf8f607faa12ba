//! Fully connected layers with constant weights.

use condconv::{Padding, Shape};

use super::error::Fault;
use super::import::Importer;
use super::meaning::{Features, Meaning};
use super::node::Node;
use crate::graph::{Clamp, Kernels, Op};

impl<'a> Importer<'a> {
    /// Gemm or MatMul of features and a constant matrix; other forms are left to probing.
    pub(super) fn linear(&mut self, node: &'a Node, output: &str) -> Result<Option<Features>, Fault> {
        let (Some(data), Some(weight)) = (node.input(0), node.input(1)) else { return Ok(None) };
        if !self.meanings.contains_key(data)
            || (matches!(self.meanings.get(data), Some(Meaning::Routed(_))) && !self.eager)
        {
            return Ok(None);
        }
        let Some(weights) = self.trace.floats(weight) else { return Ok(None) };
        let features = self.demand(node, data)?;
        let dims = self.trace.shape(weight).to_vec();
        let ([.., rows, columns], true) = (&dims[..], dims.iter().rev().skip(2).all(|&dim| dim == 1)) else {
            return Ok(None);
        };
        let gemm = node.operator == "Gemm";
        let transposed = gemm && node.int("transB").unwrap_or(0) != 0;
        let (inputs, channels) = if transposed { (*columns, *rows) } else { (*rows, *columns) };
        let shape = self.shape(&features);
        if channels == 0
            || shape.len() != inputs
            || self.trace.len(output) != channels
            || features.padding != Padding::default()
        {
            return Err(Fault::at(
                node,
                format!("multiplies {shape:?} by a matrix of {rows} x {columns}"),
                "flatten the map before the fully connected layer, or use a Conv with kernel 1",
            ));
        }
        let alpha = if gemm { node.float("alpha").unwrap_or(1.0) } else { 1.0 };
        let bias = if gemm { self.gemm_bias(node, channels)? } else { vec![0.0; channels] };
        let mut expert = vec![0.0; channels * inputs];
        for (input, position) in features.nhwc(shape).into_iter().enumerate() {
            for channel in 0..channels {
                let from = if transposed { channel * inputs + input } else { input * channels + channel };
                expert[channel * inputs + position] = alpha * weights[from];
            }
        }
        let kernels =
            Kernels { channels, experts: vec![expert], bias, expert_biases: Vec::new(), routing: None };
        let op = Op::Linear { kernels, clamp: Clamp::NONE };
        Ok(Some(self.add_layer(&node.name, op, vec![features.value], output, Shape::vector(channels))))
    }

    fn gemm_bias(&self, node: &Node, channels: usize) -> Result<Vec<f32>, Fault> {
        let Some(name) = node.input(2) else { return Ok(vec![0.0; channels]) };
        let beta = node.float("beta").unwrap_or(1.0);
        let bias = self.trace.floats(name).unwrap_or_default();
        match bias[..] {
            [same] => Ok(vec![beta * same; channels]),
            _ if bias.len() == channels => Ok(bias.iter().map(|bias| beta * bias).collect()),
            _ => Err(Fault::at(
                node,
                format!("its bias `{name}` is not one constant per output"),
                "use a constant bias; a mixed bias belongs to a mixed matrix",
            )),
        }
    }
}
