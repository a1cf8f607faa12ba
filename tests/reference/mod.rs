//! CondConv as the paper states it, in the plainest loops; to be read, not to be fast. Nothing here is shared with
//! the library or the converter, save the types that describe shapes.
//!
//! Tensors are NHWC with a batch of one; kernels are `[output channel][row][column][input channel of the group]`.
#![allow(dead_code, reason = "each test file uses a part")]

use core::ops::{Add, Mul};

use condconv::{Shape, Window};

/// The mean of each channel over height and width.
pub(crate) fn pool(input: &[f64], shape: Shape) -> Vec<f64> {
    let sum = |channel| input.iter().skip(channel).step_by(shape.channels).sum::<f64>();
    (0..shape.channels).map(|channel| sum(channel) / shape.pixels() as f64).collect()
}

pub(crate) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The routing weights: one row of the matrix and one bias an expert.
pub(crate) fn route(input: &[f64], shape: Shape, matrix: &[Vec<f64>], bias: &[f64]) -> Vec<f64> {
    let pooled = pool(input, shape);
    matrix.iter().zip(bias).map(|(row, bias)| sigmoid(dot(row, &pooled) + bias)).collect()
}

/// `alpha_1 W_1 + ... + alpha_n W_n`, for kernels and for biases.
pub(crate) fn mix(alpha: &[f64], experts: &[Vec<f64>]) -> Vec<f64> {
    (0..experts[0].len()).map(|k| alpha.iter().zip(experts).map(|(a, expert)| a * expert[k]).sum()).collect()
}

/// A convolution, depthwise and grouped ones included, in floats or in integers. Whatever lies outside the input is
/// zero.
pub(crate) fn convolve<T>(
    input: &[T],
    shape: Shape,
    window: Window,
    groups: usize,
    kernels: &[T],
    bias: &[T],
) -> Vec<T>
where
    T: Copy + Add<Output = T> + Mul<Output = T>,
{
    let [kernel_h, kernel_w] = window.kernel;
    let depth = shape.channels / groups;
    let group_outputs = bias.len() / groups;
    let extent = |axis: usize| (window.kernel[axis] - 1) * window.dilation[axis] + 1;
    let padded_h = shape.height + window.padding.top + window.padding.bottom;
    let padded_w = shape.width + window.padding.left + window.padding.right;
    let mut output = Vec::new();
    for top in (0..=padded_h - extent(0)).step_by(window.stride[0]) {
        for left in (0..=padded_w - extent(1)).step_by(window.stride[1]) {
            for (channel, &bias) in bias.iter().enumerate() {
                let mut sum = bias;
                for row in 0..kernel_h {
                    for column in 0..kernel_w {
                        let y = (top + row * window.dilation[0]).checked_sub(window.padding.top);
                        let x = (left + column * window.dilation[1]).checked_sub(window.padding.left);
                        let (Some(y), Some(x)) = (y, x) else { continue };
                        if y >= shape.height || x >= shape.width {
                            continue;
                        }
                        for d in 0..depth {
                            let weight = ((channel * kernel_h + row) * kernel_w + column) * depth + d;
                            let from = channel / group_outputs * depth + d;
                            let pixel = y * shape.width + x;
                            sum = sum + kernels[weight] * input[pixel * shape.channels + from];
                        }
                    }
                }
                output.push(sum);
            }
        }
    }
    output
}

/// A fully connected layer: kernels `[output][input]`.
pub(crate) fn linear(input: &[f64], kernels: &[f64], bias: &[f64]) -> Vec<f64> {
    kernels.chunks_exact(input.len()).zip(bias).map(|(row, bias)| dot(row, input) + bias).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Batch normalisation with fixed statistics, one of each a channel.
#[derive(Debug)]
pub(crate) struct BatchNorm {
    pub(crate) gamma: Vec<f64>,
    pub(crate) beta: Vec<f64>,
    pub(crate) mean: Vec<f64>,
    pub(crate) variance: Vec<f64>,
    pub(crate) epsilon: f64,
}

impl BatchNorm {
    /// `gamma / sqrt(variance + epsilon)`.
    pub(crate) fn factor(&self, channel: usize) -> f64 {
        self.gamma[channel] / (self.variance[channel] + self.epsilon).sqrt()
    }

    pub(crate) fn apply(&self, tensor: &mut [f64]) {
        for pixel in tensor.chunks_exact_mut(self.gamma.len()) {
            for (channel, x) in pixel.iter_mut().enumerate() {
                *x = (*x - self.mean[channel]) * self.factor(channel) + self.beta[channel];
            }
        }
    }
}
