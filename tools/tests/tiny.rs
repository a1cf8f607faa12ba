//! The networks of MLPerf Tiny, their graphs written and their weights drawn here: integers cost nothing that
//! quantisation did not, and hardly differ from floats with the same steps and biases. Those of the CondConv paper are
//! among the fixtures of `networks.rs`.

use std::path::Path;

use condconv_tools::convert::Model;
use condconv_tools::onnx::Import;
use condconv_tools::quantize::Options;
use condconv_tools::reference::Reference;

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
    calibrate: Vec<Vec<f32>>,
    test: Vec<Vec<f32>>,
}

impl Tiny {
    /// Nothing but an input, and what to calibrate and test the network on.
    fn new(input: &[i64], mut calibrate: Vec<Vec<f32>>) -> Self {
        let test = calibrate.split_off(64);
        Self { graph: Build::new(input), value: "x".into(), channels: input[1], layers: 0, calibrate, test }
    }

    /// The same for a map.
    fn of_noise(channels: usize, size: [usize; 2]) -> Self {
        let dims = [1, channels, size[0], size[1]].map(|size| i64::try_from(size).unwrap());
        Self::new(&dims, inputs::noise(channels, size, 128))
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

    /// The float network as far as it has grown.
    fn import(&self) -> Import {
        let mut graph = self.graph.clone();
        graph.graph.output[0].name = Some(self.value.clone());
        graph.load().unwrap_or_else(|error| panic!("{error}"))
    }

    /// Mean and variance of each channel of the last value on the calibration inputs.
    fn moments(&self) -> (Vec<f32>, Vec<f32>) {
        let reference = Reference::new(&self.import());
        let value = |input: &Vec<f32>| reference.run(input, &[&self.value]).unwrap().remove(0);
        let values: Vec<Vec<f32>> = self.calibrate.iter().map(value).collect();
        let pixels = values[0].len() / usize::try_from(self.channels).unwrap();
        let of_channel = |channel: usize| {
            let numbers = || values.iter().flat_map(|value| &value[channel * pixels..][..pixels]);
            let mean = |power: i32| {
                let powers = numbers().map(|x| f64::from(*x).powi(power));
                powers.sum::<f64>() / (values.len() * pixels) as f64
            };
            (mean(1) as f32, (mean(2) - mean(1).powi(2)) as f32)
        };
        (0..values[0].len() / pixels).map(of_channel).unzip()
    }

    /// A batch norm that fits the calibration inputs, so that outputs vary with the input; shifted, so that a ReLU cuts
    /// little and noise grows little.
    fn norm(mut self) -> Self {
        let [gain, shift, mean, variance] = ["g", "s", "m", "v"].map(|kind| format!("{kind}{}", self.layers));
        let dims = [self.channels];
        let (means, variances) = self.moments();
        self.graph = self
            .graph
            .floats(&gain, &dims, &vec![1.0; means.len()])
            .floats(&shift, &dims, &vec![1.0; means.len()])
            .floats(&mean, &dims, &means)
            .floats(&variance, &dims, &variances);
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
        .norm()
    }

    fn linear(self, features: i64) -> Self {
        let inputs = self.channels;
        let (net, weights) = self.weights(&[features, inputs]);
        net.node("Gemm", &weights, &[("transB", Int(1))]).norm()
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

    /// Whether integers are as good as floats rounded like them, and, but for rare ties, the same.
    fn costs_nothing(self) {
        let import = self.import();
        let model = Model::new(
            Path::new("tiny"),
            Path::new(""),
            import,
            &slices(&self.calibrate),
            &Options::default(),
        );
        let quality = quality(&model.unwrap_or_else(|error| panic!("{error}")), &slices(&self.test));
        println!("{quality:?}");
        assert!(quality.import_error < 1e-3, "{quality:?}");
        assert!(quality.integer >= quality.rounded.max(quality.corrected) - 1.0, "{quality:?}");
        assert!(quality.apart >= quality.integer + 12.0, "{quality:?}");
    }
}

fn slices(inputs: &[Vec<f32>]) -> Vec<&[f32]> {
    inputs.iter().map(Vec::as_slice).collect()
}

#[test]
fn mobilenet_v1() {
    let plan = [(16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2)];
    let rest = [(128, 1), (128, 1), (128, 1), (128, 1), (128, 1), (256, 2), (256, 1)];
    let stem = Tiny::of_noise(3, [96, 96]).conv(8, [3, 3], 2, 1).relu();
    let blocks = plan.into_iter().chain(rest);
    let net = blocks.fold(stem, |net, (channels, stride)| net.separable(channels, stride));
    net.classify(2).costs_nothing();
}

#[test]
fn resnet8() {
    let net = Tiny::of_noise(3, [32, 32]).conv(16, [3, 3], 1, 1).relu();
    let net = net.residual(16, 1).residual(32, 2).residual(64, 2);
    net.classify(10).costs_nothing();
}

#[test]
fn ds_cnn() {
    let stem = Tiny::of_noise(1, [49, 10]).conv(64, [10, 4], 2, 1).relu();
    let net = (0..4).fold(stem, |net, _| net.separable(64, 1));
    net.classify(12).costs_nothing();
}

#[test]
fn autoencoder() {
    let hidden = [128, 128, 128, 128, 8, 128, 128, 128, 128];
    // Frames of a spectrum: rows of noise, one after the other.
    let frames = Tiny::new(&[1, 640], inputs::noise(1, [5, 128], 128));
    let net = hidden.into_iter().fold(frames, |net, features| net.linear(features).relu());
    net.linear(640).costs_nothing();
}
