//! The networks of MLPerf Tiny, their graphs written and their weights drawn here: integers cost nothing that
//! quantisation did not. Those of the CondConv paper are among the fixtures of `networks.rs`.

use std::path::Path;

use condconv_tools::convert::Model;
use condconv_tools::quantize::Options;

#[allow(dead_code, reason = "the importer's tests use the rest")]
#[path = "import/build.rs"]
mod build;
#[allow(dead_code, reason = "the importer's tests use the rest")]
#[path = "import/check.rs"]
mod check;
#[allow(dead_code, reason = "other tests read files")]
#[path = "shared/inputs.rs"]
mod inputs;
#[allow(dead_code, reason = "other tests report more")]
#[path = "shared/rounded.rs"]
mod rounded;

use build::Attribute::{Int, Ints};
use build::Build;
use rounded::{float, quality};

/// A graph that grows layer by layer.
struct Tiny {
    graph: Build,
    /// The value that the next layer reads, and its channels.
    value: String,
    channels: i64,
    layers: usize,
}

impl Tiny {
    fn new(input: &[i64]) -> Self {
        Self { graph: Build::new(input), value: "x".into(), channels: input[1], layers: 0 }
    }

    /// Appends a node that reads the last value and those named.
    fn node(mut self, op: &str, others: &str, attributes: &[(&str, build::Attribute<'_>)]) -> Self {
        let output = format!("{op}{}", self.layers);
        let inputs = format!("{} {others}", self.value);
        self.graph = self.graph.node_with(op, inputs.trim_end(), &output, attributes);
        self.value = output;
        self
    }

    /// Weights for the next layer, named `w` and its number.
    fn weights(mut self, dims: &[i64]) -> (Self, String) {
        self.layers += 1;
        let name = format!("w{}", self.layers);
        self.graph = self.graph.weights(&name, dims);
        self.channels = dims[0];
        (self, name)
    }

    /// A batch norm that keeps the variance of what random weights make.
    fn norm(mut self, taps: i64) -> Self {
        let [gain, shift, mean, variance] = ["g", "s", "m", "v"].map(|kind| format!("{kind}{}", self.layers));
        let (dims, count) = ([self.channels], usize::try_from(self.channels).unwrap());
        self.graph = self
            .graph
            .weights(&gain, &dims)
            .weights(&shift, &dims)
            .floats(&mean, &dims, &vec![0.0; count])
            .floats(&variance, &dims, &vec![taps as f32 / 12.0; count]);
        self.node("BatchNormalization", &format!("{gain} {shift} {mean} {variance}"), &[])
    }

    fn relu(self) -> Self {
        self.node("Relu", "", &[])
    }

    /// Convolution and batch norm, padded at the top and left like at the bottom and right.
    fn conv(self, channels: i64, [height, width]: [i64; 2], stride: i64, groups: i64) -> Self {
        let inputs = self.channels / groups;
        let (net, weights) = self.weights(&[channels, inputs, height, width]);
        let pads = [height / 2, width / 2, (height - 1) / 2, (width - 1) / 2];
        net.node(
            "Conv",
            &weights,
            &[("strides", Ints(&[stride, stride])), ("pads", Ints(&pads)), ("group", Int(groups))],
        )
        .norm(inputs * height * width)
    }

    fn linear(self, features: i64) -> Self {
        let inputs = self.channels;
        let (net, weights) = self.weights(&[features, inputs]);
        net.node("Gemm", &weights, &[("transB", Int(1))]).norm(inputs)
    }

    /// Depthwise and pointwise.
    fn separable(self, channels: i64, stride: i64) -> Self {
        let groups = self.channels;
        self.conv(groups, [3, 3], stride, groups).relu().conv(channels, [1, 1], 1, 1).relu()
    }

    /// Two convolutions beside a shortcut.
    fn residual(self, channels: i64, stride: i64) -> Self {
        let input = self.value.clone();
        let inputs = self.channels;
        let mut net = self.conv(channels, [3, 3], stride, 1).relu().conv(channels, [3, 3], 1, 1);
        if stride == 1 {
            return net.node("Add", &input, &[]).relu();
        }
        let body = std::mem::replace(&mut net.value, input);
        net.channels = inputs;
        net.conv(channels, [1, 1], stride, 1).node("Add", &body, &[]).relu()
    }

    fn classify(self, classes: i64) -> Self {
        self.node("GlobalAveragePool", "", &[]).node("Flatten", "", &[]).linear(classes)
    }

    /// Whether integers are as good as floats rounded like them.
    fn costs_nothing(mut self, calibrate: &[Vec<f32>], test: &[Vec<f32>]) {
        self.graph.graph.output[0].name = Some(self.value);
        let import = self.graph.load().unwrap_or_else(|error| panic!("{error}"));
        let model =
            Model::new(Path::new("tiny"), Path::new(""), import, &slices(calibrate), &Options::default());
        let quality = quality(&model.unwrap_or_else(|error| panic!("{error}")), &slices(test));
        println!("{quality:?}");
        assert!(quality.import_error < 1e-3, "{quality:?}");
        assert!(quality.integer >= quality.rounded.max(quality.corrected) - 1.0, "{quality:?}");
    }

    fn costs_nothing_on_noise(self, channels: usize, size: [usize; 2]) {
        let inputs = inputs::noise(channels, size, 128);
        let (calibrate, test) = inputs.split_at(64);
        self.costs_nothing(calibrate, test);
    }
}

fn slices(inputs: &[Vec<f32>]) -> Vec<&[f32]> {
    inputs.iter().map(Vec::as_slice).collect()
}

#[test]
fn mobilenet_v1() {
    let plan = [(16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2)];
    let rest = [(128, 1), (128, 1), (128, 1), (128, 1), (128, 1), (256, 2), (256, 1)];
    let stem = Tiny::new(&[1, 3, 96, 96]).conv(8, [3, 3], 2, 1).relu();
    let blocks = plan.into_iter().chain(rest);
    let net = blocks.fold(stem, |net, (channels, stride)| net.separable(channels, stride));
    net.classify(2).costs_nothing_on_noise(3, [96, 96]);
}

#[test]
fn resnet8() {
    let net = Tiny::new(&[1, 3, 32, 32]).conv(16, [3, 3], 1, 1).relu();
    let net = net.residual(16, 1).residual(32, 2).residual(64, 2);
    net.classify(10).costs_nothing_on_noise(3, [32, 32]);
}

#[test]
fn ds_cnn() {
    let stem = Tiny::new(&[1, 1, 49, 10]).conv(64, [10, 4], 2, 1).relu();
    let net = (0..4).fold(stem, |net, _| net.separable(64, 1));
    net.classify(12).costs_nothing_on_noise(1, [49, 10]);
}

#[test]
fn autoencoder() {
    let hidden = [128, 128, 128, 128, 8, 128, 128, 128, 128];
    let net = hidden.into_iter().fold(Tiny::new(&[1, 640]), |net, features| net.linear(features).relu());
    // Frames of a spectrum: rows of noise, one after the other.
    let inputs = inputs::noise(1, [5, 128], 128);
    let (calibrate, test) = inputs.split_at(64);
    net.linear(640).costs_nothing(calibrate, test);
}
