//! The integer network beside the float reference: layer by layer, and at the output.

use serde::Serialize;

use crate::convert::{Error, Model};
use crate::deviation::Deviation;
use crate::parallel;
use crate::plan::Sizes;
use crate::quantize::{Ranges, Trade};
use crate::reference::{ReferenceError, nhwc_from_nchw};
use crate::run::{Data, Runner};

/// What `condconv verify` found.
#[derive(Debug, Clone, Serialize)]
pub struct Verification {
    /// Identifies the plan.
    pub plan_id: String,
    /// Number of inputs.
    pub samples: usize,
    /// The layers.
    pub layers: Vec<LayerResult>,
    /// The routing functions.
    pub routings: Vec<RoutingResult>,
    /// The network's output.
    pub output: OutputResult,
    /// How far int8 tensors reach.
    pub ranges: Ranges,
    /// What int16 tensors cost and bring, where some were chosen.
    pub int16: Option<Trade>,
    /// What it needs.
    #[serde(flatten)]
    pub sizes: Sizes,
}

/// One layer's output beside the float reference.
#[derive(Debug, Clone, Serialize)]
pub struct LayerResult {
    /// The ONNX node.
    pub name: String,
    /// The library's operator.
    pub op: &'static str,
    /// Output shape: height, width, channels.
    pub shape: [usize; 3],
    /// Element type of the output.
    pub element: &'static str,
    /// Number of experts; 0 for static layers.
    pub experts: usize,
    /// Multiply-accumulates.
    pub macs: usize,
    /// 10 log10 of signal over noise, over all samples and elements.
    pub sqnr_db: f64,
    /// Largest error in steps of the output.
    pub max_error_lsb: f64,
    /// Elements whose float value lies beyond the range of the output's type.
    pub saturations: u64,
}

/// One routing function beside the float reference.
#[derive(Debug, Clone, Serialize)]
pub struct RoutingResult {
    /// The ONNX node.
    pub name: String,
    /// Number of experts.
    pub experts: usize,
    /// Largest error of a routing weight.
    pub max_error: f64,
}

/// The network's output beside the float reference.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct OutputResult {
    /// As for layers.
    pub sqnr_db: f64,
    /// Largest error in float units.
    pub max_error: f64,
    /// Share of inputs for which both have the same largest score; none if the output is no vector of scores.
    pub top1_agreement: Option<f64>,
    /// Share of inputs that the float network gets right; none without labels.
    pub accuracy_float: Option<f64>,
    /// Share of inputs that the integer network gets right; none without labels.
    pub accuracy_int8: Option<f64>,
}

struct SampleResult {
    layers: Vec<Deviation>,
    routings: Vec<f64>,
    top_float: usize,
    top_integer: usize,
}

/// Runs both networks on every input, in parallel; the result does not depend on the number of threads.
///
/// # Errors
///
/// If the float reference fails.
pub fn verify(model: &Model, inputs: &[&[f32]], labels: Option<&[usize]>) -> Result<Verification, Error> {
    let plan = &model.plan;
    let network = &plan.network;
    let runner = model.runner();
    let results = parallel::map(inputs, |input| compare(model, &runner, input))
        .into_iter()
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| Error::Reference { model: model.path.clone(), source })?;

    let mut deviations = vec![Deviation::default(); network.layers.len()];
    let mut routing_errors = vec![0.0f64; network.routings.len()];
    for result in &results {
        for (sum, deviation) in deviations.iter_mut().zip(&result.layers) {
            sum.add(*deviation);
        }
        for (largest, error) in routing_errors.iter_mut().zip(&result.routings) {
            *largest = largest.max(*error);
        }
    }
    let layers = network
        .layers
        .iter()
        .zip(&deviations)
        .map(|(layer, deviation)| {
            let tensor = &network.tensors[layer.output];
            LayerResult {
                name: layer.name.clone(),
                op: layer.op.name(),
                shape: [tensor.shape.height, tensor.shape.width, tensor.shape.channels],
                element: tensor.element.rust_name(),
                experts: layer.op.experts().map_or(0, |experts| experts.count),
                macs: layer.op.macs(),
                sqnr_db: deviation.sqnr_db(),
                max_error_lsb: deviation.largest_steps,
                saturations: deviation.saturations,
            }
        })
        .collect();
    let output = network
        .layers
        .iter()
        .zip(&deviations)
        .find(|(layer, _)| layer.output == network.output)
        .map_or(Deviation::default(), |(_, deviation)| *deviation);
    let share = |count: usize| count as f64 / results.len() as f64;
    let is_scores = model.classes().is_some();
    let accuracy = |top: fn(&SampleResult) -> usize| {
        labels.filter(|_| is_scores).map(|labels| {
            share(results.iter().zip(labels).filter(|(result, label)| top(result) == **label).count())
        })
    };
    Ok(Verification {
        plan_id: plan.id(),
        samples: results.len(),
        layers,
        routings: network
            .routings
            .iter()
            .zip(routing_errors)
            .map(|(routing, max_error)| RoutingResult {
                name: routing.name.clone(),
                experts: routing.bias.len(),
                max_error,
            })
            .collect(),
        output: OutputResult {
            sqnr_db: output.sqnr_db(),
            max_error: output.largest,
            top1_agreement: is_scores
                .then(|| share(results.iter().filter(|r| r.top_float == r.top_integer).count())),
            accuracy_float: accuracy(|result| result.top_float),
            accuracy_int8: accuracy(|result| result.top_integer),
        },
        ranges: model.ranges.clone(),
        int16: model.int16.clone(),
        sizes: plan.sizes(),
    })
}

fn compare(model: &Model, runner: &Runner<'_>, input: &[f32]) -> Result<SampleResult, ReferenceError> {
    let network = &model.plan.network;
    let mut names: Vec<&str> =
        network.layers.iter().map(|layer| network.tensors[layer.output].onnx_name.as_str()).collect();
    names.extend(network.routings.iter().map(|routing| routing.onnx_name.as_str()));
    let mut floats = model.reference.run(input, &names)?;
    let routing_floats = floats.split_off(network.layers.len());

    let trace = runner.run(model.input(input));
    let layers = network
        .layers
        .iter()
        .zip(&floats)
        .filter_map(|(layer, floats)| {
            let tensor = &network.tensors[layer.output];
            let integers = trace.values[layer.output].as_ref()?;
            let mut deviation = Deviation::default();
            deviation.compare(tensor, integers, &nhwc_from_nchw(floats, tensor.shape));
            Some(deviation)
        })
        .collect();
    let routings = trace
        .routings
        .iter()
        .zip(&routing_floats)
        .map(|(weights, floats)| {
            let errors = weights
                .iter()
                .zip(floats)
                .map(|(weight, float)| (weight.to_num::<f64>() - f64::from(*float)).abs());
            errors.fold(0.0, f64::max)
        })
        .collect();
    let scores = network.layers.iter().zip(&floats).find(|(layer, _)| layer.output == network.output);
    let output: Vec<i32> = trace.values[network.output].iter().flat_map(Data::iter).collect();
    Ok(SampleResult {
        layers,
        routings,
        top_float: scores.map_or(0, |(_, scores)| largest(scores)),
        top_integer: largest(&output),
    })
}

/// The index of the largest; the first of several.
fn largest<T: PartialOrd>(values: &[T]) -> usize {
    let mut best = 0;
    for (i, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = i;
        }
    }
    best
}
