//! An integer network beside float networks: exact, rounded like it, and with nothing but the input rounded.

use condconv_tools::convert::Model;
use condconv_tools::graph::{Network, ValueId};
use condconv_tools::quantized::{Kernels, Tensor};
use condconv_tools::reference::nhwc_from_nchw;
use condconv_tools::run::Data;

#[allow(dead_code, reason = "the importer's tests use the rest")]
#[path = "../import/float.rs"]
pub(crate) mod float;

use float::{Exact, Rounding};

/// Float numbers that an int8 engine can represent: channels equalised as in the integer network, tensors as planned, kernels with one scale a channel.
struct Rounded<'a>(&'a [Tensor]);

impl Rounding for Rounded<'_> {
    fn value(&self, id: ValueId, numbers: &mut [f64]) {
        round(numbers, &self.0[id]);
    }

    fn kernel(&self, kernel: &mut [f64], channels: usize) {
        let length = kernel.len() / channels;
        for kernel in kernel.chunks_mut(length) {
            let scale = kernel.iter().fold(0.0, |largest: f64, w| largest.max(w.abs())) / 127.0;
            if scale > 0.0 {
                kernel.iter_mut().for_each(|w| *w = (*w / scale).round() * scale);
            }
        }
    }
}

/// The input as an int8 engine gets it, and nothing else rounded: what comes out is noise of the input that the
/// network itself has let grow.
struct RoundedInput<'a>(ValueId, &'a Tensor);

impl Rounding for RoundedInput<'_> {
    fn value(&self, id: ValueId, numbers: &mut [f64]) {
        if id == self.0 {
            round(numbers, self.1);
        }
    }

    fn kernel(&self, _: &mut [f64], _: usize) {}
}

fn round(numbers: &mut [f64], tensor: &Tensor) {
    let (low, high) = tensor.element.range();
    for number in numbers {
        *number = tensor.dequantize(tensor.quantize(*number).clamp(low, high));
    }
}

/// Decibels at the output, of the integer network, of the float network rounded like one, of the same with the
/// integer network's corrected biases, and of the float network with only its input rounded; those of the output over the
/// distance between integers and floats with their biases; and the largest difference between what the importer and the
/// file say, relative to the largest output.
#[derive(Debug)]
pub(crate) struct Quality {
    pub(crate) integer: f64,
    pub(crate) rounded: f64,
    pub(crate) corrected: f64,
    pub(crate) rounded_input: f64,
    pub(crate) apart: f64,
    pub(crate) import_error: f64,
}

/// Runs all of them on samples (NCHW).
pub(crate) fn quality(model: &Model, samples: &[&[f32]]) -> Quality {
    let network = &model.plan.network;
    let runner = model.runner();
    let output = &network.tensors[network.output];
    let with_correction = with_correction(model);
    let (mut signal, mut integer, mut rounded, mut corrected, mut rounded_input) = (0.0, 0.0, 0.0, 0.0, 0.0);
    let (mut apart, mut difference, mut largest) = (0.0, 0.0f64, 0.0f64);
    for sample in samples {
        let nhwc = model.nhwc(sample);
        let exact = output_of(&model.import.network, &nhwc, &Exact);
        let trace = runner.run(model.input(sample));
        let integers: Vec<f64> = trace.values[network.output]
            .iter()
            .flat_map(Data::iter)
            .map(|value| output.dequantize(value))
            .collect();
        let distance = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
        let noise = |values: &[f64]| distance(values, &exact);
        signal += exact.iter().map(|x| x * x).sum::<f64>();
        integer += noise(&integers);
        rounded += noise(&output_of(&model.equalized, &nhwc, &Rounded(&network.tensors)));
        let floats = output_of(&with_correction, &nhwc, &Rounded(&network.tensors));
        corrected += noise(&floats);
        apart += distance(&integers, &floats);
        let rounding = RoundedInput(network.input, &network.tensors[network.input]);
        rounded_input += noise(&output_of(&model.import.network, &nhwc, &rounding));
        let reference = model.reference.run(sample, &[&output.onnx_name]).unwrap().remove(0);
        for (value, reference) in exact.iter().zip(nhwc_from_nchw(&reference, output.shape)) {
            difference = difference.max((value - f64::from(reference)).abs());
            largest = largest.max(value.abs());
        }
    }
    let decibels = |noise: f64| 10.0 * (signal / noise).log10();
    Quality {
        integer: decibels(integer),
        rounded: decibels(rounded),
        corrected: decibels(corrected),
        rounded_input: decibels(rounded_input),
        apart: decibels(apart),
        import_error: difference / largest,
    }
}

/// The float network with the integer network's biases.
fn with_correction(model: &Model) -> Network {
    let mut network = model.equalized.clone();
    // The plan may have its layers in another order.
    for float in &mut network.layers {
        let mut integers = model.plan.network.layers.iter();
        let integer = integers.find(|integer| integer.output == float.output).unwrap();
        let (Some(float), Some(integer_kernels)) = (float.op.kernels_mut(), integer.op.kernels()) else {
            continue;
        };
        let bias = match integer_kernels {
            Kernels::Static(kernels) => &kernels.bias,
            Kernels::Experts(kernels) => &kernels.bias,
        };
        let scale = model.plan.network.tensors[integer.output].scale;
        let units = integer
            .op
            .requantize()
            .unwrap()
            .multipliers
            .iter()
            .map(|&m| f64::from(m) / 2f64.powi(32) * scale);
        float.bias = bias.iter().zip(units).map(|(&bias, unit)| (f64::from(bias) * unit) as f32).collect();
    }
    network
}

fn output_of(network: &Network, nhwc: &[f32], rounding: &impl Rounding) -> Vec<f64> {
    float::run(network, nhwc, rounding).values.swap_remove(network.output)
}
