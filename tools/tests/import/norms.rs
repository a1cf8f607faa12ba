//! Batch norms, wherever they stand: folded where that is exact, kept as a layer of their own elsewhere.

use condconv_tools::graph::{Clamp, Network, Op};

use crate::build::Attribute::Ints;
use crate::build::Build;
use crate::check::experts;

impl Build {
    /// A batch norm of `channels`, its shift zero on demand.
    fn norm(self, input: &str, output: &str, channels: u16, shifts: bool) -> Self {
        let [gamma, beta, mean, var] = ["g", "b", "m", "v"].map(|of| format!("{output}.{of}"));
        let dims = [i64::from(channels)];
        let variances: Vec<f32> = (1..=channels).map(|channel| f32::from(channel) / 2.0).collect();
        let zeros = vec![0.0; usize::from(channels)];
        let build = self.weights(&gamma, &dims).floats(&var, &dims, &variances);
        let build = if shifts {
            build.weights(&beta, &dims).weights(&mean, &dims)
        } else {
            build.floats(&beta, &dims, &zeros).floats(&mean, &dims, &zeros)
        };
        build.node("BatchNormalization", &format!("{input} {gamma} {beta} {mean} {var}"), output)
    }
}

fn input() -> Build {
    Build::new(&[1, 3, 5, 6]).weights("w", &[4, 3, 3, 3]).weights("u", &[3, 3, 1, 1])
}

fn layers(network: &Network) -> usize {
    network.layers.len()
}

const PADS: [(&str, crate::build::Attribute<'_>); 1] = [("pads", Ints(&[1, 1, 1, 1]))];

#[test]
fn before_a_convolution() {
    let exact = input().norm("x", "n", 3, true).node("Conv", "n w", "y").import();
    assert_eq!(layers(&exact.network), 1);
    // Without a shift, zeros stay zeros.
    let scaled = input().norm("x", "n", 3, false).node_with("Conv", "n w", "y", &PADS).import();
    assert_eq!(layers(&scaled.network), 1);
    let padded = input().norm("x", "n", 3, true).node_with("Conv", "n w", "y", &PADS).import();
    assert_eq!(layers(&padded.network), 2);
    let depthwise = input()
        .weights("d", &[3, 1, 2, 2])
        .norm("x", "n", 3, true)
        .node_with("Conv", "n d", "y", &[("group", crate::build::Attribute::Int(3))])
        .import();
    assert_eq!(layers(&depthwise.network), 1);
    let flat = input()
        .weights("fc", &[90, 2])
        .norm("x", "n", 3, true)
        .node("Flatten", "n", "f")
        .node("MatMul", "f fc", "y")
        .import();
    assert_eq!(layers(&flat.network), 1);
}

/// Read twice, by what can take it in and by what cannot.
#[test]
fn before_several_layers() {
    let both = input()
        .norm("x", "n", 3, true)
        .node("Conv", "n u", "a")
        .node("Relu", "a", "b")
        .node("Conv", "n u", "c")
        .node("Relu", "c", "d")
        .node("Add", "b d", "y")
        .import();
    assert_eq!(layers(&both.network), 3);
    let sum = input().norm("x", "n", 3, true).node("Conv", "n u", "c").node("Add", "c n", "y").import();
    assert_eq!(layers(&sum.network), 3);
}

#[test]
fn after_a_convolution_and_its_activation() {
    let folded = input().node("Conv", "x w", "c").norm("c", "n", 4, true).node("Relu", "n", "y").import();
    assert_eq!(layers(&folded.network), 1);
    // After the ReLU, it belongs to the next layer.
    let next = input()
        .weights("v", &[2, 4, 1, 1])
        .node("Conv", "x w", "c")
        .node("Relu", "c", "r")
        .norm("r", "n", 4, true)
        .node("Conv", "n v", "y")
        .import();
    assert_eq!(layers(&next.network), 2);
    let Op::Conv { clamp, .. } = next.network.layers[0].op else { panic!("no convolution") };
    assert_eq!(clamp, Clamp { min: 0.0, ..Clamp::NONE });
    // Before a ReLU, nothing can take it in but a layer of its own.
    let activated = input().norm("x", "n", 3, true).node("Relu", "n", "r").node("Conv", "r w", "y").import();
    assert_eq!(layers(&activated.network), 2);
}

#[test]
fn alone() {
    assert_eq!(layers(&input().norm("x", "y", 3, true).import().network), 1);
    let last = input().node("Tanh", "x", "t").norm("t", "y", 3, true).import();
    assert_eq!(layers(&last.network), 2);
    let pooled = input().node("GlobalAveragePool", "x", "p").norm("p", "n", 3, true).node("Conv", "n u", "y");
    assert_eq!(layers(&pooled.import().network), 2);
    let line =
        Build::new(&[1, 3, 9]).weights("w", &[4, 3, 2]).norm("x", "n", 3, true).node("Conv", "n w", "y");
    assert_eq!(layers(&line.import().network), 1);
    let twice = input().norm("x", "m", 3, true).norm("m", "n", 3, true).node("Conv", "n w", "y").import();
    assert_eq!(layers(&twice.network), 1);
}

/// Before, after and in the routing of a CondConv, which pools what the norm yields.
#[test]
fn around_a_conditional_convolution() {
    let routed = |map: &str, layer: &str| {
        input()
            .weights("fc", &[3, 2])
            .weights("experts", &[2, 108])
            .weights("biases", &[2, 4])
            .ints("kernel", &[4, 3, 3, 3])
            .ints("vector", &[4])
            .norm("x", "n", 3, true)
            .node("GlobalAveragePool", map, "p")
            .node("Flatten", "p", "f")
            .node("MatMul", "f fc", "logits")
            .norm("logits", "l", 2, true)
            .node("Sigmoid", "l", "r")
            .node("MatMul", "r experts", "e")
            .node("Reshape", "e kernel", "k")
            .node("MatMul", "r biases", "h")
            .node("Reshape", "h vector", "b")
            .node("Conv", layer, "c")
            .norm("c", "d", 4, true)
            .node("Relu", "d", "y")
            .import()
    };
    for (map, layer) in [("n", "n k b"), ("x", "n k b"), ("n", "x k b"), ("n", "n k")] {
        let import = routed(map, layer);
        assert_eq!((layers(&import.network), experts(&import.network)), (1, vec![2]), "{map} {layer}");
        assert_eq!(import.network.layers[0].op.kernels().unwrap().expert_biases.is_empty(), layer == "x k");
    }
}
