//! Static layers in all the forms that are understood.

use condconv::{Padding, Shape};
use condconv_tools::graph::{Clamp, Network, Op};

use crate::build::Attribute::{Float, Int, Ints, String};
use crate::build::Build;

fn padding(network: &Network) -> Padding {
    match &network.layers[0].op {
        Op::Conv { window, .. } => window.padding,
        other => panic!("{other:?} is no convolution"),
    }
}

fn clamp(network: &Network, layer: usize) -> Clamp {
    *network.layers[layer].op.clone().clamp_mut().expect("the layer has an activation")
}

#[test]
fn convolutions_of_all_shapes() {
    for (kernel, stride, dilation) in [
        ([1, 1], [1, 1], [1, 1]),
        ([3, 2], [2, 1], [1, 1]),
        ([1, 4], [1, 3], [1, 1]),
        ([2, 2], [1, 1], [3, 2]),
    ] {
        let [h, w] = kernel;
        Build::new(&[1, 4, 7, 9])
            .weights("w", &[6, 2, h, w])
            .weights("b", &[6])
            .node_with(
                "Conv",
                "x w b",
                "y",
                &[
                    ("kernel_shape", Ints(&kernel)),
                    ("strides", Ints(&stride)),
                    ("dilations", Ints(&dilation)),
                    ("pads", Ints(&[0, 1, 2, 0])),
                    ("group", Int(2)),
                ],
            )
            .import();
    }
}

#[test]
fn depthwise_without_kernel_shape() {
    let import = Build::new(&[1, 3, 6, 5]).weights("w", &[3, 1, 2, 3]).node_with(
        "Conv",
        "x w",
        "y",
        &[("group", Int(3))],
    );
    let network = import.import().network;
    assert_eq!(network.values[network.output].shape, Shape::new(5, 3, 3));
}

#[test]
fn automatic_pads() {
    let conv = |auto_pad: &str| {
        let attributes =
            [("kernel_shape", Ints(&[3, 4])), ("strides", Ints(&[2, 1])), ("auto_pad", String(auto_pad))];
        Build::new(&[1, 2, 8, 5])
            .weights("w", &[3, 2, 3, 4])
            .node_with("Conv", "x w", "y", &attributes)
            .import()
            .network
    };
    assert_eq!(padding(&conv("SAME_UPPER")), Padding { top: 0, left: 1, bottom: 1, right: 2 });
    assert_eq!(padding(&conv("SAME_LOWER")), Padding { top: 1, left: 2, bottom: 0, right: 1 });
    assert_eq!(padding(&conv("VALID")), Padding::default());
}

#[test]
fn a_zero_pad_joins_the_convolution() {
    let import = Build::new(&[1, 2, 6, 5])
        .ints("pads", &[0, 0, 1, 0, 0, 0, 0, 2])
        .weights("w", &[3, 2, 3, 3])
        .node("Pad", "x pads", "padded")
        .node_with("Conv", "padded w", "y", &[("kernel_shape", Ints(&[3, 3])), ("pads", Ints(&[0, 1, 1, 0]))])
        .import();
    assert_eq!(padding(&import.network), Padding { top: 1, left: 1, bottom: 1, right: 2 });
    assert_eq!(import.network.layers.len(), 1);
}

#[test]
fn one_dimensional_convolution() {
    let import = Build::new(&[1, 3, 12])
        .weights("w", &[4, 3, 5])
        .node_with(
            "Conv",
            "x w",
            "c",
            &[("kernel_shape", Ints(&[5])), ("strides", Ints(&[2])), ("pads", Ints(&[1, 2]))],
        )
        .node("Relu", "c", "r")
        .node("GlobalAveragePool", "r", "y")
        .import();
    assert_eq!(import.network.values[1].shape, Shape::new(1, 6, 4));
}

#[test]
fn what_follows_a_convolution_is_folded() {
    let import = Build::new(&[1, 2, 4, 5])
        .weights("w", &[3, 2, 1, 1])
        .weights("shift", &[1, 3, 1, 1])
        .weights("scale", &[3, 1, 1])
        .weights("gamma", &[3])
        .weights("beta", &[3])
        .weights("mean", &[3])
        .floats("var", &[3], &[0.5, 1.0, 2.0])
        .floats("two", &[], &[2.0])
        .node("Conv", "x w", "c")
        .node("Add", "shift c", "a")
        .node("Mul", "a scale", "m")
        .node_with("BatchNormalization", "m gamma beta mean var", "n", &[("epsilon", Float(0.01))])
        .node("Sub", "two n", "s")
        .node("Div", "s two", "d")
        .node("Clip", "d __ two", "y")
        .import();
    assert_eq!(import.network.layers.len(), 1);
    assert_eq!(import.network.layers[0].preactivation, "d");
    assert_eq!(clamp(&import.network, 0), Clamp { max: 2.0, ..Clamp::NONE });
}

#[test]
fn activations_are_joined() {
    let import = Build::new(&[1, 2, 4, 5])
        .weights("w", &[3, 2, 1, 1])
        .floats("low", &[], &[-0.5])
        .floats("high", &[1], &[0.75])
        .node("Conv", "x w", "c")
        .node("Clip", "c low high", "a")
        .node("Relu", "a", "y")
        .import();
    assert_eq!(clamp(&import.network, 0), Clamp { min: 0.0, max: 0.75 });
    assert_eq!(
        (import.network.layers[0].preactivation.as_str(), import.network.values[1].onnx_name.as_str()),
        ("c", "y")
    );
}

/// Where a value is read elsewhere too, or no layer stands before, a copying layer takes the rest.
#[test]
fn what_cannot_be_folded_becomes_a_layer() {
    let import = Build::new(&[1, 3, 4, 5])
        .weights("gamma", &[3])
        .weights("beta", &[3])
        .weights("mean", &[3])
        .floats("var", &[3], &[0.5, 1.0, 2.0])
        .weights("w", &[3, 3])
        .node("BatchNormalization", "x gamma beta mean var", "n")
        .node("Relu", "n", "r")
        .node("GlobalAveragePool", "r", "p")
        .node("Flatten", "p", "f")
        .node("Relu", "f", "g")
        .node("MatMul", "g w", "y")
        .import();
    assert_eq!(import.network.layers.len(), 4);
}

#[test]
fn flatten_before_a_fully_connected_layer() {
    let flat = || Build::new(&[1, 3, 4, 5]).weights("w", &[60, 7]).weights("b", &[7]);
    flat().node("Flatten", "x", "f").node("Gemm", "f w b", "y").import();
    let transposed =
        Build::new(&[1, 3, 4, 5]).weights("w", &[7, 60]).weights("b", &[1, 7]).ints("shape", &[1, -1]);
    let gemm = [("transB", Int(1)), ("alpha", Float(0.5)), ("beta", Float(-2.0))];
    transposed.node("Reshape", "x shape", "f").node_with("Gemm", "f w b", "y", &gemm).import();
    let import = flat()
        .ints("shape", &[1, 60])
        .node_with("Transpose", "x", "t", &[("perm", Ints(&[0, 2, 3, 1]))])
        .node("Reshape", "t shape", "f")
        .node("MatMul", "f w", "m")
        .node("Add", "m b", "a")
        .node("Relu", "a", "y")
        .import();
    assert_eq!(import.network.layers.len(), 1);
    assert_eq!(import.network.layers[0].preactivation, "a");
}

#[test]
fn no_ops_only_rename() {
    let import = Build::new(&[1, 3, 4, 5])
        .weights("w", &[3, 3, 1, 1])
        .ints("shape", &[3, 1, 4, 5])
        .ints("zero", &[0])
        .ints("one", &[1])
        .ints("batch", &[1])
        .node_with("Transpose", "x", "t", &[("perm", Ints(&[1, 0, 2, 3]))])
        .node("Reshape", "t shape", "s")
        .node_with("Transpose", "s", "u", &[("perm", Ints(&[1, 0, 2, 3]))])
        .node("Dropout", "u", "d")
        .node("Slice", "d zero one zero", "e")
        .node("Conv", "e w", "c")
        .node_with("Cast", "c", "k", &[("to", Int(1))])
        .node("Identity", "k", "i")
        .node("Relu", "i", "y")
        .import();
    assert_eq!(import.network.layers.len(), 1);
}

#[test]
fn pools_in_all_spellings() {
    let pool =
        || Build::new(&[1, 3, 4, 5]).weights("w", &[3, 2]).ints("axes", &[-1, 2]).ints("spatial", &[2, 3]);
    let head = |build: Build| {
        let import = build.node("MatMul", "p w", "y").import();
        assert!(matches!(import.network.layers[0].op, Op::GlobalAveragePool));
    };
    head(pool().node_with("ReduceMean", "x axes", "p", &[("keepdims", Int(0))]));
    head(pool().node("ReduceMean", "x axes", "q").node("Squeeze", "q spatial", "p"));
    head(
        pool()
            .node_with("AveragePool", "x", "q", &[("kernel_shape", Ints(&[4, 5]))])
            .node("Flatten", "q", "p"),
    );
    head(pool().node("GlobalAveragePool", "x", "q").node("Squeeze", "q spatial", "p"));
}

#[test]
fn vectors_in() {
    let import = Build::new(&[1, 6])
        .weights("w", &[6, 4])
        .weights("gamma", &[4])
        .weights("beta", &[4])
        .weights("mean", &[4])
        .floats("var", &[4], &[0.5, 1.0, 2.0, 0.1])
        .node("MatMul", "x w", "m")
        .node("BatchNormalization", "m gamma beta mean var", "n")
        .node("Relu", "n", "y")
        .import();
    assert_eq!(import.network.layers.len(), 1);
    assert_eq!(import.network.values[0].shape, Shape::vector(6));
}

/// Linear in ways that no rule knows: found by probing.
#[test]
fn linear_by_evaluation() {
    let matrix = || Build::new(&[1, 5]).weights("w", &[4, 5]).weights("b", &[4, 1]);
    matrix()
        .ints("axis", &[1])
        .node_with("Transpose", "x", "t", &[("perm", Ints(&[1, 0]))])
        .node("MatMul", "w t", "m")
        .node("Add", "m b", "a")
        .node("Squeeze", "a axis", "s")
        .node("Relu", "s", "y")
        .import();
    matrix().node_with("Einsum", "w x", "y", &[("equation", String("oi,bi->bo"))]).import();
}
