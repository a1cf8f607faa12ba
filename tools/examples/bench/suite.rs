//! What is measured: every layer and network of `cmsis_nn.tsv`, what CondConv adds to them, layers of less even
//! shapes, and the shipped networks.

use condconv_tools::convert::{Error, Model, read_samples};
use condconv_tools::emulate::Core;
use condconv_tools::plan::Plan;
use condconv_tools::profile::{Cost, Profile, StepCost, Subject, measure};
use condconv_tools::quantize::Options;
use condconv_tools::quantized::{Layer, Op};

use crate::net::Net;
use crate::shipped;
use crate::table::{Part, Row, short_name};

/// Constants that share a program: a Cortex-M55's machine has 512 KiB of flash.
const BATCH_BYTES: usize = 300 << 10;

/// Layers whose shapes suit no inner loop, and the regular ones that they lie next to.
pub(crate) const NEIGHBOURS: [(&str, &str); 3] = [
    ("conv3x3_15x17x30_30", "conv3x3_16x16x32_32"),
    ("conv1x1_11x13x62_126", "conv1x1_12x12x64_128"),
    ("dw3x3_23x5x62", "dw3x3_25x5x64"),
];

/// Something to measure.
pub(crate) struct Case {
    pub(crate) name: String,
    plan: Plan,
    sample: Vec<f32>,
    /// Whether it is a whole network, or the layer before the pool that ends one.
    network: bool,
}

/// All of them, in the order of the tables.
pub(crate) fn cases() -> Result<Vec<Case>, Error> {
    let mut cases = random();
    for (name, data) in shipped::NETWORKS {
        let calibrate = shipped::file(data, "calibrate.npy");
        let model = Model::load(&shipped::file(name, "onnx"), &calibrate, &Options::default())?;
        let samples = read_samples(&calibrate, &model.import)?;
        let sample = model.nhwc(samples.iter().next().unwrap_or_default());
        cases.push(Case { name: name.into(), plan: model.plan, sample, network: true });
    }
    Ok(cases)
}

/// Those with random weights.
fn random() -> Vec<Case> {
    let networks = [("NET_DSCNN_KWS", ds_cnn()), ("NET_RESNET8_CIFAR10", resnet8())].map(network);
    layers().into_iter().chain(conditional_layers()).map(layer).chain(networks).collect()
}

/// A pool behind a layer keeps its output from being the network's, which has int16 elements. It means over columns only: over
/// all pixels, it would not see their order.
fn layer((name, net): (String, Net)) -> Case {
    let height = net.shape().height;
    let (plan, sample) = net.average_pool([height, 1]).plan();
    Case { name, plan, sample, network: false }
}

fn network((name, net): (&str, Net)) -> Case {
    let (plan, sample) = net.plan();
    Case { name: name.into(), plan, sample, network: true }
}

/// The static layers.
fn layers() -> Vec<(String, Net)> {
    let mut layers = Vec::new();
    let size = |[height, width, channels]: [usize; 3]| format!("{height}x{width}x{channels}");
    for (kernel, stride, input, channels) in [
        ([10, 4], 2, [49, 10, 1], 64),
        ([1, 1], 1, [12, 12, 64], 128),
        ([1, 1], 1, [11, 13, 62], 126),
        ([1, 1], 1, [25, 5, 64], 64),
        ([1, 1], 1, [6, 6, 128], 256),
        ([1, 1], 2, [16, 16, 32], 64),
        ([1, 1], 2, [32, 32, 16], 32),
        ([3, 3], 1, [16, 16, 32], 32),
        ([3, 3], 1, [15, 17, 30], 30),
        ([3, 3], 1, [32, 32, 16], 16),
        ([3, 3], 1, [32, 32, 3], 16),
        ([3, 3], 1, [8, 8, 64], 64),
        ([3, 3], 2, [16, 16, 32], 64),
        ([3, 3], 2, [32, 32, 16], 32),
        ([3, 3], 2, [96, 96, 3], 8),
    ] {
        let strided = if stride == 1 { String::new() } else { format!("s{stride}") };
        let name = format!("conv{}x{}{strided}_{}_{channels}", kernel[0], kernel[1], size(input));
        layers.push((name, Net::new(input).conv(kernel, stride, channels, 0)));
    }
    for (kernel, input) in
        [(3, [12, 12, 64]), (3, [24, 24, 32]), (3, [25, 5, 64]), (3, [23, 5, 62]), (5, [14, 14, 48])]
    {
        let name = format!("dw{kernel}x{kernel}_{}", size(input));
        layers.push((name, Net::new(input).depthwise([kernel; 2], 0)));
    }
    for (inputs, outputs) in [(128, 64), (256, 10), (32, 8), (64, 10), (64, 12), (64, 8)] {
        let net = Net::new([1, 1, inputs]).linear(outputs, 0);
        layers.push((format!("fc_{inputs}_{outputs}"), net));
    }
    for input in [[16, 16, 32], [32, 32, 16], [8, 8, 64]] {
        // The other tensor reaches less far, so that the two have different scales.
        let net = Net::new(input).reaching(0.5);
        let first = net.last();
        layers.push((format!("add_{}", size(input)), net.leaky_relu().add(first)));
    }
    layers.push(("avgpool24x5_25x5x64".into(), Net::new([25, 5, 64]).average_pool([24, 5])));
    for input in [[12, 12, 64], [16, 16, 32], [8, 8, 64]] {
        layers.push((format!("avgpool_{}", size(input)), Net::new(input).global_average_pool()));
    }
    for classes in [10, 12] {
        layers.push((format!("softmax_{classes}"), Net::new([1, 1, classes]).softmax()));
    }
    layers
}

fn conditional_layers() -> Vec<(String, Net)> {
    let with = |experts: usize| {
        [
            ("cc_12x12x64_128_1x1", Net::new([12, 12, 64]).conv([1, 1], 1, 128, experts)),
            ("cc_16x16x32_32_3x3", Net::new([16, 16, 32]).conv([3, 3], 1, 32, experts)),
            ("cc_dw3x3_12x12x64", Net::new([12, 12, 64]).depthwise([3, 3], experts)),
            ("cc_fc_128_64", Net::new([1, 1, 128]).linear(64, experts)),
        ]
        .map(|(name, net)| (format!("{name}_n{experts}"), net))
    };
    [4, 8].into_iter().flat_map(with).collect()
}

/// MLPerf Tiny's network for keywords.
fn ds_cnn() -> Net {
    let stem = Net::new([49, 10, 1]).conv([10, 4], 2, 64, 0).relu();
    let block = |net: Net, _| net.depthwise([3, 3], 0).relu().conv([1, 1], 1, 64, 0).relu();
    (0..4).fold(stem, block).average_pool([24, 5]).linear(12, 0).softmax()
}

/// MLPerf Tiny's network for small images.
fn resnet8() -> Net {
    let block = |net: Net, channels: usize, stride: usize| {
        let input = net.last();
        let net = net.conv([3, 3], stride, channels, 0).relu().conv([3, 3], 1, channels, 0);
        let body = net.last();
        let net = net.from(input);
        if stride == 1 { net.add(body) } else { net.conv([1, 1], stride, channels, 0).add(body) }.relu()
    };
    let stem = Net::new([32, 32, 3]).conv([3, 3], 1, 16, 0).relu();
    let blocks = [(16, 1), (32, 2), (64, 2)];
    blocks
        .into_iter()
        .fold(stem, |net, (channels, stride)| block(net, channels, stride))
        .global_average_pool()
        .linear(10, 0)
        .softmax()
}

impl Case {
    /// The parts that have rows of their own.
    pub(crate) fn parts(&self) -> &'static [Part] {
        let network = &self.plan.network;
        let mixes = |layer: &Layer| layer.op.experts().is_some() && matches!(layer.op, Op::Conv { .. });
        match (network.routings.len(), network.layers.iter().any(mixes), self.network) {
            (0, ..) => &[Part::Whole],
            (_, false, _) => &[Part::Whole, Part::Routing],
            (_, true, false) => &Part::ALL,
            (_, true, true) => &[Part::Whole, Part::Routing, Part::Mixing],
        }
    }

    /// What belongs to a part: multiply-accumulates and cost.
    fn row(&self, core: Core, part: Part, profile: &Profile) -> Row {
        let (mut macs, mut cost) = (0, Cost::default());
        for step in self.steps(profile) {
            let (step_macs, step_cost) = match (part, step.op) {
                (Part::Whole, _) => (step.macs + step.mixing_macs, step.cost),
                (Part::Routing, "Routing") => (step.mixing_macs, step.cost),
                (Part::Routing, _) | (_, "Routing") => continue,
                (Part::Mixing, _) => (step.mixing_macs, step.mixing),
                (Part::Convolution, _) => (step.macs, step.cost - step.mixing),
            };
            macs += step_macs;
            cost += step_cost;
        }
        if self.network && part == Part::Whole {
            cost += profile.rest;
        }
        Row { core: short_name(core), layer: self.name.clone(), part, macs, cost }
    }

    /// The steps that are measured: all of a network, or a layer and its routing, without what made its other input and
    /// the pool behind it.
    fn steps<'a>(&self, profile: &'a Profile) -> &'a [StepCost] {
        if self.network {
            return &profile.layers;
        }
        let end = profile.layers.len() - 1;
        &profile.layers[end - 1 - self.plan.network.routings.len()..end]
    }
}

/// Measures all cases on a core. A network has a program to itself, as it would ship; layers share one, as those of a
/// network do.
pub(crate) fn run(core: Core, cases: &[Case]) -> Result<Vec<Row>, Error> {
    let mut rows = Vec::new();
    for batch in batches(cases) {
        let subjects: Vec<Subject<'_>> =
            batch.iter().map(|case| Subject { plan: &case.plan, sample: case.sample.clone() }).collect();
        let profiles = measure(core, &subjects)?;
        for (case, profile) in batch.iter().zip(&profiles) {
            rows.extend(case.parts().iter().map(|&part| case.row(core, part, profile)));
        }
    }
    Ok(rows)
}

fn batches(cases: &[Case]) -> Vec<&[Case]> {
    let mut batches = Vec::new();
    let mut rest = cases;
    while let Some(first) = rest.first() {
        let mut bytes = 0;
        let fits = |case: &&Case| {
            bytes += case.plan.flash_bytes();
            !case.network && bytes <= BATCH_BYTES
        };
        let count = if first.network { 1 } else { rest.iter().take_while(fits).count().max(1) };
        let (batch, others) = rest.split_at(count);
        batches.push(batch);
        rest = others;
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Peers;

    #[test]
    fn every_layer_and_network_of_the_peers_is_measured_and_has_their_multiply_accumulates() {
        let cases = random();
        for (layer, kind, macs) in Peers::read().unwrap().layers() {
            let case = cases.iter().find(|case| case.name == layer).unwrap_or_else(|| panic!("{layer}"));
            let layers = &case.plan.network.layers;
            let ours: usize = layers.iter().map(|layer| layer.op.macs()).sum();
            match kind {
                "conv" | "cc_conv" | "depthwise" | "fc" | "network" => assert_eq!(ours, macs, "{layer}"),
                "cc_mix_static" => {
                    let ours: usize = layers.iter().map(|layer| layer.op.mixing_macs()).sum();
                    assert_eq!(ours, macs, "{layer}");
                }
                "add" | "avgpool" | "softmax" => assert_eq!(ours, 0, "{layer}"),
                // Parts whose operations are counted otherwise.
                _ => {}
            }
        }
    }

    #[test]
    fn a_batch_fits_every_machine() {
        let cases = random();
        let batches = batches(&cases);
        assert_eq!(batches.iter().map(|batch| batch.len()).sum::<usize>(), cases.len());
        for batch in batches {
            let bytes: usize = batch.iter().map(|case| case.plan.flash_bytes()).sum();
            assert!(batch.len() == 1 || bytes <= BATCH_BYTES && batch.iter().all(|case| !case.network));
        }
    }
}
