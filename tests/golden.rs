//! Golden vectors that PyTorch computed with timm's layer and with nibuiro's formula: the f64 reference reproduces
//! them, and so does the quantised layer within its tolerances.

mod float_layer;
mod random;
mod reference;

use std::fs::File;
use std::path::{Path, PathBuf};

use condconv::{Padding, Shape, Window};
use condconv_tools::graph::Clamp;
use float_layer::{FloatLayer, Parts, Place, percentile};
use npyz::NpyFile;
use random::Random;
use reference::BatchNorm;
use serde_json::Value;

/// One folder, in the layouts of the reference.
#[derive(Debug)]
struct Golden {
    name: String,
    input_shape: Shape,
    input: Vec<f64>,
    /// `None` for a fully connected layer.
    convolution: Option<(Window, usize)>,
    matrix: Vec<Vec<f64>>,
    routing_bias: Vec<f64>,
    experts: Vec<Vec<f64>>,
    /// Empty where the layer has none.
    expert_biases: Vec<Vec<f64>>,
    norm: Option<BatchNorm>,
    channels: usize,
    alpha: Vec<f64>,
    output: Vec<f64>,
}

/// A batch norm folded into the layer before it. The static part stays apart: routing weights do not sum to one.
#[derive(Debug)]
struct Folded {
    experts: Vec<Vec<f64>>,
    expert_biases: Vec<Vec<f64>>,
    bias: Vec<f64>,
}

impl Golden {
    fn read(folder: &Path) -> Self {
        let case: Value = serde_json::from_reader(File::open(folder.join("case.json")).unwrap()).unwrap();
        let pair = |key: &str| [0, 1].map(|axis| number(&case[key][axis]));
        let dims = |array: &str| -> Vec<usize> {
            case["shapes"][array].as_array().unwrap().iter().map(number).collect()
        };
        let has = |array: &str| case["shapes"].get(array).is_some();
        let array = |name: &str| read_array(&folder.join(name).with_extension("npy"));
        let rows = |name: &str| -> Vec<Vec<f64>> {
            let data = array(name);
            data.chunks_exact(data.len() / dims(name)[0]).map(<[f64]>::to_vec).collect()
        };

        let input = dims("input");
        let experts = dims("experts");
        let channels = experts[1];
        let convolution = (input.len() == 4).then(|| {
            let [vertical, horizontal] = pair("padding");
            let window = Window::new([experts[3], experts[4]])
                .stride(pair("stride"))
                .dilation(pair("dilation"))
                .padding(Padding::symmetric(vertical, horizontal));
            (window, number(&case["groups"]))
        });
        let (input_shape, kernel_channels) = match &convolution {
            Some(_) => (Shape::new(input[2], input[3], input[1]), experts[2]),
            None => (Shape::vector(input[1]), experts[2]),
        };
        let channels_last_kernels = |expert: &Vec<f64>| {
            expert
                .chunks_exact(expert.len() / channels)
                .flat_map(|k| channels_last(k, kernel_channels))
                .collect()
        };
        let norm = has("norm_gamma").then(|| BatchNorm {
            gamma: array("norm_gamma"),
            beta: array("norm_beta"),
            mean: array("norm_mean"),
            variance: array("norm_variance"),
            epsilon: case["batch_norm_epsilon"].as_f64().unwrap(),
        });
        Self {
            name: folder.file_name().unwrap().to_string_lossy().into_owned(),
            input_shape,
            input: channels_last(&array("input"), input[1]),
            convolution,
            matrix: rows("routing_weight"),
            routing_bias: array("routing_bias"),
            experts: rows("experts").iter().map(channels_last_kernels).collect(),
            expert_biases: if has("expert_bias") { rows("expert_bias") } else { Vec::new() },
            norm,
            channels,
            alpha: array("alpha"),
            output: channels_last(&array("output"), channels),
        }
    }

    fn alpha(&self) -> Vec<f64> {
        reference::route(&self.input, self.input_shape, &self.matrix, &self.routing_bias)
    }

    /// The layer without the batch norm behind it.
    fn layer(&self, experts: &[Vec<f64>], expert_biases: &[Vec<f64>], bias: &[f64]) -> Vec<f64> {
        let alpha = self.alpha();
        let kernels = reference::mix(&alpha, experts);
        let mut bias = bias.to_vec();
        if !expert_biases.is_empty() {
            bias.iter_mut()
                .zip(reference::mix(&alpha, expert_biases))
                .for_each(|(bias, mixed)| *bias += mixed);
        }
        match self.convolution {
            Some((window, groups)) => {
                reference::convolve(&self.input, self.input_shape, window, groups, &kernels, &bias)
            }
            None => reference::linear(&self.input, &kernels, &bias),
        }
    }

    fn reference(&self) -> Vec<f64> {
        let mut output = self.layer(&self.experts, &self.expert_biases, &vec![0.0; self.channels]);
        if let Some(norm) = &self.norm {
            norm.apply(&mut output);
        }
        output
    }

    /// `t W_i`, `t b_i` and `beta - t mean`, with `t` the batch norm's factor.
    fn folded(&self) -> Folded {
        let factor = |c: usize| self.norm.as_ref().map_or(1.0, |norm| norm.factor(c));
        let scaled = |rows: &[Vec<f64>]| -> Vec<Vec<f64>> {
            let scale = |row: &Vec<f64>| {
                let per_channel = row.len() / self.channels;
                row.iter().enumerate().map(|(i, w)| factor(i / per_channel) * w).collect()
            };
            rows.iter().map(scale).collect()
        };
        let offset =
            |c: usize| self.norm.as_ref().map_or(0.0, |norm| norm.beta[c] - norm.factor(c) * norm.mean[c]);
        Folded {
            experts: scaled(&self.experts),
            expert_biases: scaled(&self.expert_biases),
            bias: (0..self.channels).map(offset).collect(),
        }
    }

    fn float_layer(&self) -> FloatLayer {
        let Folded { experts, expert_biases, bias } = self.folded();
        let parts = Parts {
            input: self.input_shape,
            convolution: self.convolution,
            clamp: Clamp::NONE,
            experts: experts.iter().map(|row| narrow(row)).collect(),
            bias: narrow(&bias),
            expert_biases: expert_biases.iter().map(|row| narrow(row)).collect(),
            routing: Some((self.matrix.iter().map(|row| narrow(row)).collect(), narrow(&self.routing_bias))),
        };
        FloatLayer::new(parts, Place::Inside)
    }
}

fn all() -> Vec<Golden> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut cases: Vec<PathBuf> =
        folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    cases.sort();
    assert!(!cases.is_empty());
    cases.iter().map(|case| Golden::read(case)).collect()
}

fn number(value: &Value) -> usize {
    usize::try_from(value.as_u64().unwrap()).unwrap()
}

fn read_array(path: &Path) -> Vec<f64> {
    let file = NpyFile::new(File::open(path).unwrap()).unwrap();
    file.into_vec::<f32>().unwrap().into_iter().map(f64::from).collect()
}

/// From `[channel][..]` to `[..][channel]`.
fn channels_last(data: &[f64], channels: usize) -> Vec<f64> {
    let plane = data.len() / channels;
    (0..data.len()).map(|i| data[i % channels * plane + i / channels]).collect()
}

fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&v| v as f32).collect()
}

fn largest_difference(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).fold(0.0, |largest, (a, b)| largest.max((a - b).abs()))
}

#[test]
fn the_reference_reproduces_pytorch() {
    for golden in all() {
        let alpha = largest_difference(&golden.alpha(), &golden.alpha);
        let output = largest_difference(&golden.reference(), &golden.output);
        assert!(alpha < 1e-6 && output < 1e-5, "{}: alpha {alpha:e}, output {output:e}", golden.name);
    }
}

#[test]
fn a_folded_batch_norm_changes_nothing() {
    let with_norm: Vec<Golden> = all().into_iter().filter(|golden| golden.norm.is_some()).collect();
    assert!(with_norm.len() > 1);
    for golden in with_norm {
        let Folded { experts, expert_biases, bias } = golden.folded();
        let difference =
            largest_difference(&golden.layer(&experts, &expert_biases, &bias), &golden.reference());
        assert!(difference < 1e-12, "{}: {difference:e}", golden.name);
    }
}

/// Against PyTorch's own output; the rounding of the input to int8 is part of the error.
#[test]
fn quantized_layers_reproduce_pytorch() {
    let random = &mut Random::new(1);
    println!("case                               max LSB  99 % LSB");
    for golden in all() {
        let layer = golden.float_layer();
        let input = narrow(&golden.input);
        let mut inputs: Vec<Vec<f32>> = (0..63).map(|_| random.gaussians(input.len(), 1.0)).collect();
        inputs.push(input.clone());
        let (output, step) = layer.infer(&layer.calibrate(&inputs), &input).unwrap();
        let steps: Vec<f64> = output.iter().zip(&golden.output).map(|(a, b)| (a - b) / step).collect();
        let (largest, percentile_99) = (percentile(&steps, 1.0), percentile(&steps, 0.99));
        println!("{:<34} {largest:>7.2} {percentile_99:>9.2}", golden.name);
        assert!(largest <= 5.0 && percentile_99 <= 1.1, "{}: {largest}, {percentile_99}", golden.name);
    }
}
