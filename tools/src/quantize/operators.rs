//! Operators without kernels.

use condconv::{Operand, Window};

use super::kernels::{multiplier, smallest_output_scale};
use super::{Quantizer, bounds};
use crate::graph::{self, Clamp, Function, ValueId};
use crate::quantized::{ConcatPart, Op, Requantize, Tensor};

/// Sums of operands keep at most this many fraction bits.
const LARGEST_SHIFT: f64 = 22.0;

impl Quantizer<'_> {
    /// Quantises a layer that has no kernels. Raises the output's scale where its accumulator is coarser than that.
    pub(super) fn quantize_operator(&mut self, index: usize) -> Op {
        let layer = &self.float.layers[index];
        let inputs: Vec<Tensor> = layer.inputs.iter().map(|&id| self.result.tensors[id].clone()).collect();
        let output = layer.output;
        let shape = inputs[0].shape;
        match &layer.op {
            graph::Op::GlobalAveragePool => {
                let (shift, requantize) = self.mean(&inputs[0], output, &[shape.pixels()]);
                Op::GlobalAveragePool { shape, shift, requantize }
            }
            graph::Op::AveragePool { window, count_padding } => {
                let (shift, requantize) = self.mean(&inputs[0], output, &divisors(window, *count_padding));
                Op::AveragePool { shape, window: *window, shift, requantize }
            }
            graph::Op::MaxPool { window } => {
                self.take_over(&inputs[0], output);
                Op::MaxPool { shape, window: *window }
            }
            graph::Op::Pad { padding } => {
                self.take_over(&inputs[0], output);
                Op::Pad { shape, padding: *padding }
            }
            graph::Op::Add { clamp } => {
                let tensor = &self.result.tensors[output];
                let ratios = [inputs[0].scale / tensor.scale, inputs[1].scale / tensor.scale];
                let shift = shift_for(&inputs, &ratios);
                let operand = |i: usize| operand(&inputs[i], ratios[i], shift);
                let operands = [operand(0), operand(1)];
                Op::Add { shape, operands, shift, bounds: bounds(tensor, *clamp) }
            }
            graph::Op::Mul { clamp } => {
                let unit = inputs[0].scale * inputs[1].scale;
                let tensor = self.raise_scale(output, smallest_output_scale(unit));
                let requantize = Requantize {
                    multipliers: vec![multiplier(unit / tensor.scale)],
                    ..bounds(tensor, *clamp)
                };
                Op::Mul { shape, per_channel: inputs[1].shape != shape, requantize }
            }
            graph::Op::Concat => {
                let tensor = &self.result.tensors[output];
                let mut first_channel = 0;
                let part = |input: &Tensor| {
                    let ratio = input.scale / tensor.scale;
                    let shift = shift_for(std::slice::from_ref(input), &[ratio]);
                    let operand = operand(input, ratio, shift);
                    let part = ConcatPart { shape: input.shape, first_channel, operand, shift };
                    first_channel += input.shape.channels;
                    part
                };
                Op::Concat { parts: inputs.iter().map(part).collect(), shape: tensor.shape }
            }
            graph::Op::Activation(function) => {
                let table = table(*function, &inputs[0], &self.result.tensors[output]);
                Op::Lookup { function: function.name(), table }
            }
            graph::Op::Softmax => {
                let tensor = &mut self.result.tensors[output];
                tensor.scale = 1.0 / 32768.0;
                tensor.zero_point = 0;
                let ratio = inputs[0].scale * 4096.0 * std::f64::consts::LOG2_E;
                let shift = (30.0 - ratio.log2().ceil()).clamp(1.0, 31.0);
                let multiplier = (ratio * shift.exp2()).round().min(f64::from(i32::MAX)) as i32;
                Op::Softmax { classes: shape.len(), multiplier, shift: shift as u32 }
            }
            graph::Op::Conv { .. } | graph::Op::Linear { .. } => {
                unreachable!("operators with kernels are quantised elsewhere")
            }
        }
    }

    /// Means over several numbers of taps: a left shift of the sums that brings multipliers below but close to 1/2.
    fn mean(&mut self, input: &Tensor, output: ValueId, divisors: &[usize]) -> (u32, Requantize) {
        let (low, high) = input.element.range();
        let most = divisors.iter().max().map_or(1.0, |&most| most as f64);
        let largest_sum = most * f64::from(high - low);
        let largest_shift = (f64::from(i32::MAX) / largest_sum).log2().floor().max(0.0);
        let largest_unit = divisors.iter().min().map_or(1.0, |&least| input.scale / least as f64);
        let tensor = self.raise_scale(output, smallest_output_scale(largest_unit) / largest_shift.exp2());
        let wanted = (smallest_output_scale(largest_unit) / tensor.scale).log2().ceil().max(0.0);
        let shift = wanted.min(largest_shift);
        let ratio = |&divisor: &usize| input.scale / divisor as f64 / shift.exp2() / tensor.scale;
        let multipliers = divisors.iter().map(|divisor| multiplier(ratio(divisor))).collect();
        (shift as u32, Requantize { multipliers, ..bounds(tensor, Clamp::NONE) })
    }

    /// The output has the input's scale and zero point.
    fn take_over(&mut self, input: &Tensor, output: ValueId) {
        let tensor = &mut self.result.tensors[output];
        tensor.element = input.element;
        tensor.scale = input.scale;
        tensor.zero_point = input.zero_point;
    }
}

/// What the sum is divided by for each number of taps that meet the input, from one to all.
fn divisors(window: &Window, count_padding: bool) -> Vec<usize> {
    let taps = window.taps();
    (1..=taps).map(|inside| if count_padding { taps } else { inside }).collect()
}

/// The most fraction bits for which a sum of operands fits i32.
fn shift_for(inputs: &[Tensor], ratios: &[f64]) -> u32 {
    let reach: f64 = inputs
        .iter()
        .zip(ratios)
        .map(|(input, ratio)| {
            let (low, high) = input.element.range();
            f64::from(high - low) * ratio
        })
        .sum();
    // Half a step more for rounding, and room for the rounding of the multipliers.
    let room = f64::from(i32::MAX) / (reach + 1.0) / (1.0 + 1e-6);
    room.log2().floor().clamp(1.0, LARGEST_SHIFT) as u32
}

fn operand(input: &Tensor, ratio: f64, shift: u32) -> Operand {
    Operand::new(input.zero_point, (ratio * f64::from(shift).exp2()).round() as i32)
}

/// The function's result for each int8 value.
fn table(function: Function, input: &Tensor, output: &Tensor) -> Vec<i32> {
    let (low, high) = output.element.range();
    (-128..=127).map(|x| output.quantize(function.apply(input.dequantize(x))).clamp(low, high)).collect()
}
