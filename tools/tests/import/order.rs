//! Tensors that the graph holds in another order than NCHW: channels last, rows of features, the input renamed.

use condconv::{Padding, Shape};
use condconv_tools::graph::{Network, Op};
use condconv_tools::onnx::Import;
use condconv_tools::reference::Reference;

use crate::build::Attribute::{Int, Ints};
use crate::build::Build;
use crate::check::experts;

fn input(import: &Import) -> Shape {
    import.network.values[import.network.input].shape
}

fn output(network: &Network) -> Shape {
    network.values[network.output].shape
}

/// A map `c` of four channels.
fn conv() -> Build {
    Build::new(&[1, 2, 5, 6]).weights("w", &[4, 2, 2, 1]).node("Conv", "x w", "c")
}

impl Build {
    fn transposed(self, input: &str, output: &str, axes: &[i64]) -> Self {
        self.node_with("Transpose", input, output, &[("perm", Ints(axes))])
    }
}

/// What Keras writes: the sample is a row of pixels, and stays so.
#[test]
fn inputs_with_channels_last() {
    let import = Build::new(&[1, 5, 6, 3])
        .weights("w", &[4, 3, 3, 3])
        .transposed("x", "t", &[0, 3, 1, 2])
        .node("Conv", "t w", "y")
        .import();
    assert_eq!((input(&import), import.network.layers.len()), (Shape::new(5, 6, 3), 1));
    let sample: Vec<f32> = (0..90u8).map(f32::from).collect();
    assert_eq!(Reference::new(&import).nhwc(&sample), sample);
    // As many rows as channels: the order must not be guessed from the shape.
    let import = Build::new(&[1, 3, 3, 3])
        .weights("w", &[4, 3, 2, 3])
        .transposed("x", "t", &[0, 3, 1, 2])
        .node("Conv", "t w", "y")
        .import();
    assert_eq!(import.network.layers.len(), 1);
    let line = Build::new(&[1, 9, 2])
        .weights("w", &[4, 2, 3])
        .transposed("x", "t", &[0, 2, 1])
        .node("Conv", "t w", "y")
        .import();
    assert_eq!(input(&line), Shape::new(1, 9, 2));
}

/// Without a channel axis, or with one at the end that is as good as none.
#[test]
fn inputs_that_are_reshaped() {
    for (dims, operator, parameter) in [
        (&[1, 5, 6, 1][..], "Reshape", &[1, 1, 5, 6][..]),
        (&[1, 5, 6][..], "Unsqueeze", &[1][..]),
        (&[1, 30][..], "Reshape", &[1, 1, 5, 6][..]),
    ] {
        let import = Build::new(dims)
            .ints("p", parameter)
            .weights("w", &[4, 1, 3, 3])
            .node(operator, "x p", "t")
            .node("Conv", "t w", "y")
            .import();
        assert_eq!((input(&import), import.network.layers.len()), (Shape::new(5, 6, 1), 1));
    }
}

/// Everything between two transpositions.
#[test]
fn maps_with_channels_last() {
    let import = conv()
        .weights("gamma", &[4])
        .weights("v", &[6, 8, 1, 1])
        .ints("spatial", &[1, 2])
        .transposed("c", "t", &[0, 2, 3, 1])
        .node("Mul", "t gamma", "m")
        .node("Relu", "m", "r")
        .node("Tanh", "r", "h")
        .node("Add", "r h", "s")
        .node("ReduceMean", "s spatial", "mean")
        .node("Sigmoid", "mean", "gate")
        .node("Mul", "gate s", "g")
        .node_with("Concat", "g r", "k", &[("axis", Int(3))])
        .transposed("k", "n", &[0, 3, 1, 2])
        .node("Conv", "n v", "d")
        .transposed("d", "y", &[0, 2, 3, 1])
        .import();
    let network = import.network;
    assert_eq!((network.layers.len(), output(&network)), (8, Shape::new(4, 6, 6)));
    let Op::Concat = network.layers[6].op else { panic!("{:?}", network.layers[6]) };
}

#[test]
fn pads_with_channels_last() {
    let pad = || {
        conv()
            .ints("pads", &[0, 1, 0, 0, 0, 2, 1, 0])
            .transposed("c", "t", &[0, 2, 3, 1])
            .node("Pad", "t pads", "p")
    };
    let import = pad()
        .weights("v", &[3, 4, 2, 2])
        .transposed("p", "n", &[0, 3, 1, 2])
        .node("Conv", "n v", "y")
        .import();
    let Op::Conv { window, .. } = &import.network.layers[1].op else { panic!("no convolution") };
    assert_eq!(window.padding, Padding::new(1, 0, 2, 1));
    assert_eq!(pad().node("Relu", "p", "y").import().network.layers.len(), 3);
}

/// Flattened maps, one after the other.
#[test]
fn maps_flattened_and_joined() {
    let import = conv()
        .node("Relu", "c", "r")
        .node("Tanh", "r", "h")
        .node("Flatten", "r", "a")
        .transposed("h", "t", &[0, 2, 3, 1])
        .node("Flatten", "t", "b")
        .node_with("Concat", "b a", "k", &[("axis", Int(1))])
        .weights("fc", &[192, 3])
        .node("MatMul", "k fc", "y")
        .import();
    assert_eq!(import.network.layers.len(), 4);
}

/// Features in rows: a fully connected layer on each.
#[test]
fn fully_connected_layers_of_rows() {
    let rows = || Build::new(&[1, 7, 3]).weights("a", &[3, 5]).weights("ab", &[5]).weights("b", &[5, 2]);
    let import = rows()
        .node("MatMul", "x a", "m")
        .node("Add", "ab m", "s")
        .node("Relu", "s", "r")
        .node("MatMul", "r b", "y")
        .import();
    assert_eq!((input(&import), output(&import.network)), (Shape::new(1, 7, 3), Shape::new(1, 7, 2)));
    assert_eq!(import.network.layers.len(), 2);
    let gemm = rows()
        .ints("flat", &[7, 3])
        .ints("back", &[1, 7, 5])
        .node("Reshape", "x flat", "f")
        .node("Gemm", "f a ab", "g")
        .node("Reshape", "g back", "y")
        .import();
    assert_eq!((gemm.network.layers.len(), output(&gemm.network)), (1, Shape::new(1, 7, 5)));
    let pooled = rows()
        .ints("time", &[1])
        .node("MatMul", "x a", "m")
        .node_with("ReduceMean", "m time", "p", &[("keepdims", Int(0))])
        .node("MatMul", "p b", "y")
        .import();
    assert!(matches!(pooled.network.layers[1].op, Op::GlobalAveragePool));
}

/// The layer of each pixel of a map, as in ConvNeXt and MLP-Mixer.
#[test]
fn fully_connected_layers_of_pixels() {
    let import = conv()
        .weights("a", &[4, 7])
        .weights("ab", &[7])
        .weights("b", &[7, 4])
        .weights("gamma", &[4])
        .transposed("c", "t", &[0, 2, 3, 1])
        .node("MatMul", "t a", "m")
        .node("Add", "m ab", "s")
        .node("Gelu", "s", "g")
        .node("MatMul", "g b", "n")
        .node("Mul", "n gamma", "o")
        .transposed("o", "u", &[0, 3, 1, 2])
        .node("Add", "c u", "y")
        .import();
    assert_eq!(import.network.layers.len(), 5);
    // Pixels in one row, and a matrix from the left.
    let tokens = conv()
        .ints("tokens", &[1, 4, 24])
        .ints("map", &[1, 3, 4, 6])
        .weights("a", &[3, 4])
        .weights("v", &[2, 3, 3, 3])
        .node("Reshape", "c tokens", "t")
        .node("MatMul", "a t", "m")
        .node("Reshape", "m map", "n")
        .node("Conv", "n v", "y")
        .import();
    assert_eq!(tokens.network.layers.len(), 3);
}

/// Mixed matrices and biases on rows.
#[test]
fn conditional_layers_of_rows() {
    let import = Build::new(&[1, 7, 3])
        .weights("fc", &[3, 2])
        .weights("experts", &[2, 15])
        .weights("biases", &[2, 5])
        .ints("time", &[1])
        .ints("matrix", &[1, 3, 5])
        .ints("row", &[1, 1, 5])
        .node_with("ReduceMean", "x time", "p", &[("keepdims", Int(0))])
        .node("MatMul", "p fc", "logits")
        .node("Sigmoid", "logits", "r")
        .node("MatMul", "r experts", "e")
        .node("Reshape", "e matrix", "k")
        .node("MatMul", "r biases", "f")
        .node("Reshape", "f row", "b")
        .node("MatMul", "x k", "m")
        .node("Add", "m b", "y")
        .import();
    assert_eq!(experts(&import.network), [2]);
    assert_eq!(import.network.layers[0].op.kernels().unwrap().expert_biases.len(), 2);
}

/// A map of one column, read as a line: time runs downwards in spectrograms.
#[test]
fn columns_read_as_lines() {
    let column = || {
        Build::new(&[1, 1, 20, 6])
            .weights("w", &[4, 1, 3, 6])
            .weights("v", &[5, 4, 3])
            .ints("axis", &[3])
            .ints("pads", &[0, 0, 2, 0, 0, 1])
            .node("Conv", "x w", "c")
            .node("Squeeze", "c axis", "s")
    };
    let import = column()
        .node("Pad", "s pads", "p")
        .node_with(
            "Conv",
            "p v",
            "d",
            &[("strides", Ints(&[2])), ("dilations", Ints(&[2])), ("pads", Ints(&[0, 1]))],
        )
        .node("Relu", "d", "r")
        .node_with("MaxPool", "r", "m", &[("kernel_shape", Ints(&[2])), ("strides", Ints(&[2]))])
        .node_with("AveragePool", "m", "y", &[("kernel_shape", Ints(&[2]))])
        .import();
    assert_eq!(output(&import.network), Shape::new(3, 1, 5));
    let Op::Conv { window, .. } = &import.network.layers[1].op else { panic!("no convolution") };
    assert_eq!((window.kernel, window.stride, window.dilation), ([3, 1], [2, 1], [2, 1]));
    assert_eq!(window.padding, Padding::new(2, 0, 2, 0));
    let pooled = column().node("Conv", "s v", "d").node("GlobalAveragePool", "d", "y").import();
    assert_eq!(pooled.network.layers.len(), 3);
}

/// The mean of each row, or the largest of each column.
#[test]
fn maps_reduced_along_one_axis() {
    let reduced = |operator: &str, axis: i64, dims: &[i64]| {
        conv()
            .ints("axis", &[axis])
            .weights("fc", dims)
            .node_with(operator, "c axis", "m", &[("keepdims", Int(0))])
            .node("Flatten", "m", "f")
            .node("MatMul", "f fc", "y")
            .import()
            .network
    };
    let rows = reduced("ReduceMean", 3, &[16, 2]);
    assert_eq!(rows.values[rows.layers[1].output].shape, Shape::new(4, 1, 4));
    let columns = reduced("ReduceMax", -2, &[24, 2]);
    assert_eq!(columns.values[columns.layers[1].output].shape, Shape::new(1, 6, 4));
}
