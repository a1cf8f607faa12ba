//! What the float network does on the calibration inputs: ranges of tensors and means of preactivations.

use crate::graph::Network;
use crate::parallel;
use crate::reference::{Reference, ReferenceError};

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
    /// Mean of each channel over samples and pixels.
    pub means: Vec<f64>,
}

/// What was seen on the calibration inputs.
#[derive(Debug, Clone)]
pub struct Calibration {
    /// One a value of the network.
    pub ranges: Vec<Range>,
    /// One a layer.
    pub preactivations: Vec<Preactivation>,
    /// The inputs, NHWC.
    pub inputs: Vec<Vec<f32>>,
}

struct Seen {
    ranges: Vec<Range>,
    preactivations: Vec<(Range, Vec<f64>)>,
}

impl Calibration {
    /// Runs the float reference on every input. The result does not depend on the number of threads.
    ///
    /// # Errors
    ///
    /// If the reference fails.
    pub fn new(network: &Network, reference: &Reference, inputs: &[&[f32]]) -> Result<Self, ReferenceError> {
        let mut names: Vec<&str> = network.values.iter().map(|value| value.onnx_name.as_str()).collect();
        names.extend(network.layers.iter().map(|layer| layer.preactivation.as_str()));
        let seen = parallel::map(inputs, |input| {
            let values = reference.run(input, &names)?;
            let (values, preactivations) = values.split_at(network.values.len());
            let channel_means = |(layer, values): (&crate::graph::Layer, &Vec<f32>)| {
                let shape = network.values[layer.output].shape;
                let planes = values.chunks_exact(shape.pixels());
                let means = planes
                    .map(|plane| plane.iter().map(|&v| f64::from(v)).sum::<f64>() / shape.pixels() as f64)
                    .collect();
                (Range::of(values), means)
            };
            Ok(Seen {
                ranges: values.iter().map(|values| Range::of(values)).collect(),
                preactivations: network.layers.iter().zip(preactivations).map(channel_means).collect(),
            })
        })
        .into_iter()
        .collect::<Result<Vec<Seen>, ReferenceError>>()?;
        let count = inputs.len() as f64;
        let ranges = (0..network.values.len())
            .map(|id| seen.iter().fold(Range::ZERO, |range, s| range.union(s.ranges[id])))
            .collect();
        let preactivations = (0..network.layers.len())
            .map(|id| {
                let mut means = vec![0.0; network.values[network.layers[id].output].shape.channels];
                let mut range = Range::ZERO;
                for (sample_range, sample_means) in seen.iter().map(|s| &s.preactivations[id]) {
                    range = range.union(*sample_range);
                    for (mean, sample_mean) in means.iter_mut().zip(sample_means) {
                        *mean += sample_mean / count;
                    }
                }
                Preactivation { range, means }
            })
            .collect();
        let inputs = inputs.iter().map(|input| reference.nhwc(input)).collect();
        Ok(Self { ranges, preactivations, inputs })
    }
}
