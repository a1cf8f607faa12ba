//! Comparison of an imported network with the graph that it was made from.

use condconv::Shape;
use condconv_tools::graph::Network;
use condconv_tools::onnx::Import;
use condconv_tools::reference::{Reference, nhwc_from_nchw};

use crate::float::{self, Exact};

const TOLERANCE: f64 = 1e-4;

pub(crate) fn assert_close(what: &str, got: &[f64], expected: &[f32]) {
    let largest = expected.iter().fold(0.0, |largest: f64, x| largest.max(f64::from(*x).abs()));
    assert_eq!(got.len(), expected.len(), "{what}");
    for (index, (got, expected)) in got.iter().zip(expected).enumerate() {
        let error = (got - f64::from(*expected)).abs();
        assert!(error <= TOLERANCE * largest.max(1e-3), "{what}: {got} in place of {expected} at {index}");
    }
}

/// Compares every value, every sum before an activation and every routing weight with those of the graph, for one
/// input ordered as in the file; returns the output of the graph.
pub(crate) fn compare(import: &Import, input: &[f32]) -> Vec<f32> {
    let network = &import.network;
    let reference = Reference::new(import);
    let run = float::run(network, &reference.nhwc(input), &Exact);
    let fetch = |name: &str, shape: Shape| {
        let value = reference.run(input, &[name]).expect("the reference knows all names").remove(0);
        nhwc_from_nchw(&value, shape)
    };
    for (value, got) in network.values.iter().zip(&run.values) {
        assert_close(&value.onnx_name, got, &fetch(&value.onnx_name, value.shape));
    }
    for (layer, got) in network.layers.iter().zip(&run.preactivations) {
        let expected = fetch(&layer.preactivation, network.values[layer.output].shape);
        assert_close(&format!("sums of {}", layer.name), got, &expected);
    }
    for (routing, got) in network.routings.iter().zip(&run.routings) {
        let expected = fetch(&routing.onnx_name, Shape::vector(routing.bias.len()));
        assert_close(&routing.name, got, &expected);
    }
    fetch(&network.values[network.output].onnx_name, network.values[network.output].shape)
}

/// The number of experts of each layer that has kernels.
pub(crate) fn experts(network: &Network) -> Vec<usize> {
    network.layers.iter().filter_map(|layer| Some(layer.op.kernels()?.experts.len())).collect()
}
