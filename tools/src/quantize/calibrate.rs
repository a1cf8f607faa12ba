//! What the float network does on the calibration inputs: ranges of tensors and means of preactivations.

use std::thread;

use super::equalize::equalize;
use super::options::RangeMethod;
use super::ranges::Histogram;
use crate::graph::{Layer, Network, Value};
use crate::parallel;
use crate::reference::{Reference, ReferenceError, nhwc_from_nchw};

/// Smallest and largest number of a tensor; zero is always inside, since padding and ReLU need it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    /// At most zero.
    pub min: f64,
    /// At least zero.
    pub max: f64,
}

impl Range {
    const ZERO: Self = Self { min: 0.0, max: 0.0 };

    fn of(values: &[f32]) -> Self {
        values.iter().fold(Self::ZERO, |range, &v| range.union(Self { min: f64::from(v), max: f64::from(v) }))
    }

    fn times(self, gain: f64) -> Self {
        Self { min: self.min * gain, max: self.max * gain }
    }

    fn union(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max) }
    }

    /// The larger magnitude.
    #[must_use]
    pub fn magnitude(self) -> f64 {
        self.max.max(-self.min)
    }
}

/// Statistics of a layer's output before its activation.
#[derive(Debug, Clone)]
pub struct Preactivation {
    /// Over all channels.
    pub range: Range,
    /// Mean of each channel over the pixels, `[sample][channel]`.
    pub means: Vec<Vec<f64>>,
}

/// What was seen on the calibration inputs, of the equalised network.
#[derive(Debug, Clone)]
pub struct Calibration {
    /// What each channel of each value is multiplied by, compared with the original network.
    pub gains: Vec<Vec<f64>>,
    /// As far as each value of the network reaches.
    pub extents: Vec<Range>,
    /// As far as it should reach in int8.
    pub ranges: Vec<Range>,
    /// One a layer.
    pub preactivations: Vec<Preactivation>,
    /// The inputs, NHWC.
    pub inputs: Vec<Vec<f32>>,
    /// The network's outputs, NHWC.
    pub outputs: Vec<Vec<f32>>,
}

/// What one sample shows of the original network: ranges and means are those of channels.
struct Seen {
    extents: Vec<Vec<Range>>,
    preactivations: Vec<Vec<(Range, f64)>>,
    output: Vec<f32>,
}

impl Calibration {
    /// Runs the float reference on every input and equalises the network by what it sees. Ranges are found by one
    /// method a value. The result does not depend on the number of threads.
    ///
    /// # Errors
    ///
    /// If the reference fails.
    pub fn new(
        network: &mut Network,
        reference: &Reference,
        inputs: &[&[f32]],
        methods: &[RangeMethod],
    ) -> Result<Self, ReferenceError> {
        let seen = parallel::map(inputs, |input| see(network, reference, input))
            .into_iter()
            .collect::<Result<Vec<Seen>, ReferenceError>>()?;
        let extents_of = |value: usize, channel: usize| {
            seen.iter().fold(Range::ZERO, |range, sample| range.union(sample.extents[value][channel]))
        };
        let of_channels: Vec<Vec<Range>> = network
            .values
            .iter()
            .enumerate()
            .map(|(id, value)| (0..value.shape.channels).map(|channel| extents_of(id, channel)).collect())
            .collect();
        let gains = equalize(network, &of_channels, inputs.len());
        let extents: Vec<Range> =
            of_channels.iter().zip(&gains).map(|(ranges, gains)| widest(ranges, gains)).collect();
        let ranges = if methods.iter().all(|&method| method == RangeMethod::MinMax) {
            extents.clone()
        } else {
            choose(network, reference, inputs, (&extents, &gains), methods)?
        };
        let preactivation = |(id, layer): (usize, &Layer)| {
            let gains = &gains[layer.output];
            let of_sample = |sample: &Seen| -> (Range, Vec<f64>) {
                let (ranges, means): (Vec<Range>, Vec<f64>) =
                    sample.preactivations[id].iter().copied().unzip();
                (widest(&ranges, gains), means.iter().zip(gains).map(|(mean, gain)| mean * gain).collect())
            };
            let (ranges, means): (Vec<Range>, _) = seen.iter().map(of_sample).unzip();
            Preactivation { range: ranges.into_iter().fold(Range::ZERO, Range::union), means }
        };
        let preactivations = network.layers.iter().enumerate().map(preactivation).collect();
        let inputs = inputs.iter().map(|input| reference.nhwc(input)).collect();
        let outputs = seen.into_iter().map(|sample| sample.output).collect();
        Ok(Self { gains, extents, ranges, preactivations, inputs, outputs })
    }

    /// The same ranges, with every other of the samples from the first given, and no more than `count`.
    pub(super) fn every_other(&self, first: usize, count: usize) -> Self {
        fn chosen<T: Clone>(samples: &[T], first: usize, count: usize) -> Vec<T> {
            samples.iter().skip(first).step_by(2).take(count).cloned().collect()
        }
        let preactivation = |seen: &Preactivation| Preactivation {
            range: seen.range,
            means: chosen(&seen.means, first, count),
        };
        Self {
            gains: self.gains.clone(),
            extents: self.extents.clone(),
            ranges: self.ranges.clone(),
            preactivations: self.preactivations.iter().map(preactivation).collect(),
            inputs: chosen(&self.inputs, first, count),
            outputs: chosen(&self.outputs, first, count),
        }
    }
}

/// The range of all channels, each times its gain.
fn widest(channels: &[Range], gains: &[f64]) -> Range {
    channels.iter().zip(gains).fold(Range::ZERO, |range, (channel, &gain)| range.union(channel.times(gain)))
}

fn see(network: &Network, reference: &Reference, input: &[f32]) -> Result<Seen, ReferenceError> {
    let mut names = value_names(network);
    names.extend(network.layers.iter().map(|layer| layer.preactivation.as_str()));
    let values = reference.run(input, &names)?;
    let (values, preactivations) = values.split_at(network.values.len());
    let range_and_mean = |(layer, values): (&Layer, &Vec<f32>)| {
        let pixels = network.values[layer.output].shape.pixels();
        let mean = |plane: &[f32]| plane.iter().map(|&v| f64::from(v)).sum::<f64>() / pixels as f64;
        values.chunks_exact(pixels).map(|plane| (Range::of(plane), mean(plane))).collect()
    };
    let ranges = |(value, values): (&Value, &Vec<f32>)| {
        values.chunks_exact(value.shape.pixels()).map(Range::of).collect()
    };
    Ok(Seen {
        extents: network.values.iter().zip(values).map(ranges).collect(),
        preactivations: network.layers.iter().zip(preactivations).map(range_and_mean).collect(),
        output: nhwc_from_nchw(&values[network.output], network.values[network.output].shape),
    })
}

/// Ranges by methods that look at how numbers are distributed.
fn choose(
    network: &Network,
    reference: &Reference,
    inputs: &[&[f32]],
    (extents, gains): (&[Range], &[Vec<f64>]),
    methods: &[RangeMethod],
) -> Result<Vec<Range>, ReferenceError> {
    let names = value_names(network);
    let empty = || -> Vec<Histogram> { extents.iter().map(|&range| Histogram::new(range)).collect() };
    let mut histograms = empty();
    // A few samples at a time, so that their histograms do not pile up.
    let at_once = 4 * thread::available_parallelism().map_or(1, usize::from);
    for inputs in inputs.chunks(at_once) {
        let of_samples = parallel::map(inputs, |input| {
            let mut histograms = empty();
            let values = reference.run(input, &names)?;
            for ((histogram, values), gains) in histograms.iter_mut().zip(&values).zip(gains) {
                for (plane, gain) in values.chunks_exact(values.len() / gains.len()).zip(gains) {
                    histogram.add(plane, *gain);
                }
            }
            Ok(histograms)
        });
        for of_sample in of_samples {
            for (histogram, other) in histograms.iter_mut().zip(of_sample?) {
                histogram.merge(&other);
            }
        }
    }
    Ok(histograms.iter().zip(methods).map(|(histogram, &method)| histogram.choose(method)).collect())
}

fn value_names(network: &Network) -> Vec<&str> {
    network.values.iter().map(|value| value.onnx_name.as_str()).collect()
}
