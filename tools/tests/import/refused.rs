//! What is refused, and what the error says.

use rten_onnx::onnx::Dimension;

use crate::build::Attribute::{Int, Ints, String};
use crate::build::{Build, load_bytes};

/// Asserts that a graph is refused at the node that yields the value given, for the reason and with the remedy given.
fn assert_refused(build: Build, node: Option<&str>, reason: &str, remedy: &str) {
    let error = build.refused();
    assert_eq!(error.node(), node, "{error}");
    assert!(error.reason().contains(reason), "{error}");
    assert!(error.remedy().contains(remedy), "{error}");
    let text = error.to_string();
    assert!(text.contains(error.file().to_str().unwrap()) && text.lines().count() == 1, "{text}");
}

fn conv() -> Build {
    Build::new(&[1, 2, 4, 4]).weights("w", &[2, 2, 1, 1]).node("Conv", "x w", "c")
}

#[test]
fn activations_that_are_not_supported() {
    assert_refused(conv().node("Exp", "c", "y"), Some("y"), "not supported", "HardSwish");
    let slopes = conv().weights("slopes", &[2, 1, 1]).node("PRelu", "c slopes", "y");
    assert_refused(slopes, Some("y"), "not supported", "one slope");
    let squared = conv().node("Sigmoid", "c", "s").node("Mul", "s s", "m").node("Exp", "m", "y");
    assert_refused(squared, Some("y"), "not supported", "Tanh");
}

#[test]
fn softmax_of_other_than_a_vector() {
    let softmax = |axis: i64| conv().node_with("Softmax", "c", "y", &[("axis", Int(axis))]);
    assert_refused(softmax(1), Some("y"), "over the features of a vector", "end the network");
    assert_refused(softmax(-1), Some("y"), "over the features of a vector", "end the network");
    let inside = conv()
        .weights("fc", &[2, 2])
        .node("GlobalAveragePool", "c", "p")
        .node("Flatten", "p", "f")
        .node("Softmax", "f", "s")
        .node("Tanh", "s", "y");
    assert_refused(inside, Some("s"), "not supported", "end the network");
}

#[test]
fn tensors_that_do_not_fit_each_other() {
    let one = conv().weights("one", &[1, 2, 1, 1]).node("Conv", "c one", "o");
    let spatial = || Build::new(&[1, 2, 4, 4]).weights("one", &[1, 2, 1, 1]).node("Conv", "x one", "o");
    assert_refused(one.node("Mul", "c o", "y"), Some("y"), "[1, 1, 4, 4]", "1xCx1x1");
    assert_refused(spatial().node("Add", "x o", "y"), Some("y"), "[1, 1, 4, 4]", "one shape");
    let global = conv().node("GlobalAveragePool", "c", "p").node("Add", "c p", "y");
    assert_refused(global, Some("y"), "[1, 2, 1, 1]", "one shape");
    // A vector of as many numbers as there are columns is no vector of channels.
    let columns = conv()
        .weights("fc", &[2, 4])
        .node("GlobalAveragePool", "c", "p")
        .node("Flatten", "p", "f")
        .node("MatMul", "f fc", "v")
        .node("Mul", "c v", "y");
    assert_refused(columns, Some("y"), "[1, 4]", "1xCx1x1");
    assert_refused(conv().node("Div", "c x", "y"), Some("y"), "not supported", "difference and product");
    assert_refused(conv().node("Max", "c x", "y"), Some("y"), "not supported", "difference and product");
    let rows = conv().node_with("Concat", "c x", "y", &[("axis", Int(2))]);
    assert_refused(rows, Some("y"), "not supported", "along channels");
    let constant = conv().weights("k", &[1, 3, 4, 4]).node_with("Concat", "c k", "y", &[("axis", Int(1))]);
    assert_refused(constant, Some("y"), "constants", "depend on the input");
    let other = conv()
        .node_with("MaxPool", "c", "p", &[("kernel_shape", Ints(&[2, 2]))])
        .node("Flatten", "c", "a")
        .node("Flatten", "p", "b")
        .node_with("Concat", "a b", "f", &[("axis", Int(1))])
        .weights("fc", &[50, 2])
        .node("MatMul", "f fc", "y");
    assert_refused(other, Some("f"), "another height or width", "along C");
}

#[test]
fn maps_that_are_reordered() {
    let transposed =
        conv().node_with("Transpose", "c", "t", &[("perm", Ints(&[0, 1, 3, 2]))]).node("Conv", "t w", "y");
    assert_refused(transposed, Some("y"), "reordered", "NxCxHxW");
    let reshaped =
        conv().ints("shape", &[1, 2, 2, 8]).node("Reshape", "c shape", "t").node("Conv", "t w", "y");
    assert_refused(reshaped, Some("y"), "[1, 2, 2, 8]", "no Reshape");
}

#[test]
fn pools_that_are_not_supported() {
    let channels = conv().ints("axes", &[1]).node("ReduceMean", "c axes", "y");
    assert_refused(channels, Some("y"), "not supported", "height, width or both");
    // As many numbers as the global pool would yield.
    let channels = Build::new(&[1, 2, 2, 1]).ints("axes", &[1]).node("ReduceMean", "x axes", "y");
    assert_refused(channels, Some("y"), "not supported", "height, width or both");
    let empty = [("kernel_shape", Ints(&[2, 2])), ("pads", Ints(&[3, 0, 0, 0]))];
    assert_refused(
        conv().node_with("MaxPool", "c", "y", &empty),
        Some("y"),
        "nothing but padding",
        "on the map",
    );
    let uneven = [
        ("kernel_shape", Ints(&[3, 3])),
        ("strides", Ints(&[2, 2])),
        ("pads", Ints(&[1, 1, 1, 1])),
        ("ceil_mode", Int(1)),
        ("count_include_pad", Int(1)),
    ];
    let uneven = conv().node_with("AveragePool", "c", "y", &uneven);
    assert_refused(uneven, Some("y"), "ceil_mode", "ceil_mode=0");
    let dilated = [("kernel_shape", Ints(&[2, 2])), ("dilations", Ints(&[2, 2]))];
    for pool in ["MaxPool", "AveragePool"] {
        let graph = conv().node_with(pool, "c", "y", &dilated);
        assert_refused(graph, Some("y"), "gaps (dilations)", "without dilation");
    }
}

#[test]
fn windows_larger_than_their_maps() {
    let pool = |operator: &str| {
        let window = [("kernel_shape", Ints(&[2, 5])), ("pads", Ints(&[0, 0, 0, 0]))];
        conv().node_with(operator, "c", "y", &window)
    };
    for operator in ["MaxPool", "AveragePool"] {
        assert_refused(
            pool(operator),
            Some("y"),
            "window of 5 is larger than its map of 4",
            "smaller kernel",
        );
    }
    let dilated = [("dilations", Ints(&[4, 1])), ("pads", Ints(&[1, 0, 1, 0]))];
    let dilated = conv().weights("v", &[2, 2, 3, 1]).node_with("Conv", "c v", "y", &dilated);
    assert_refused(dilated, Some("y"), "window of 9 is larger than its map of 6 (axis 0", "smaller kernel");
    let fits = [("dilations", Ints(&[4, 1])), ("pads", Ints(&[3, 0, 2, 0]))];
    conv().weights("v", &[2, 2, 3, 1]).node_with("Conv", "c v", "y", &fits).import();
}

#[test]
fn operators_of_another_domain() {
    let mut build = conv().node("FusedConv", "c w", "y");
    build.graph.node[1].domain = Some("com.microsoft".into());
    assert_refused(build, Some("y"), "domain `com.microsoft`", "ONNX's own operators");
}

#[test]
fn negative_dimensions() {
    let mut build = conv().node("Relu", "c", "y");
    build.graph.initializer[0].dims = vec![-2, 2, 1, 1];
    assert_refused(build, Some("c"), "tensor `w` has the shape [-2, 2, 1, 1]", "export the network again");
}

/// Layers keep names of their own, whatever the file calls its nodes.
#[test]
fn names_that_are_not_unique() {
    let window = [("kernel_shape", Ints(&[2, 2]))];
    let mut build = conv().node("Sigmoid", "c", "s").node_with("MaxPool", "s", "y", &window);
    for node in &mut build.graph.node {
        node.name = Some("same".into());
    }
    let names: Vec<_> = build.import().network.layers.into_iter().map(|layer| layer.name).collect();
    assert_eq!(names, ["same", "same_2", "same_3", "same_3'"]);
}

#[test]
fn pads_with_other_than_zeros() {
    let pad = || conv().ints("pads", &[0, 0, 1, 1, 0, 0, 1, 1]).floats("one", &[], &[1.0]);
    assert_refused(
        pad().node("Pad", "c pads one", "p").node("Conv", "p w", "y"),
        Some("p"),
        "zeros",
        "zero padding",
    );
    let reflected = pad().node_with("Pad", "c pads", "p", &[("mode", String("reflect"))]);
    assert_refused(reflected.node("Conv", "p w", "y"), Some("p"), "zeros", "zero padding");
}

#[test]
fn kernels_of_two_sizes() {
    let build = Build::new(&[1, 2, 4, 4]).weights("w", &[2, 2, 3, 1]);
    let contradiction = build.node_with("Conv", "x w", "y", &[("kernel_shape", Ints(&[1, 3]))]);
    assert_refused(contradiction, Some("y"), "kernel_shape [1, 3] for weights of [3, 1]", "export");
}

#[test]
fn inputs_and_outputs() {
    let mut two = conv().node("Relu", "c", "y");
    two.graph.output.extend(two.graph.output.clone());
    assert_refused(two, None, "2 outputs", "one output");
    let mut none = conv().node("Relu", "c", "y");
    none.graph.input.clear();
    assert_refused(none, None, "no input", "export");
    let mut symbolic = conv().node("Relu", "c", "y");
    let tensor = symbolic.graph.input[0].r#type.as_mut().and_then(|of| of.tensor_type.as_mut()).unwrap();
    tensor.shape.as_mut().unwrap().dim[2] = Dimension { dim_value: None, dim_param: Some("height".into()) };
    assert_refused(symbolic, None, "`height`", "fixed height");
    let mut shapeless = conv().node("Relu", "c", "y");
    shapeless.graph.input[0].r#type.as_mut().and_then(|of| of.tensor_type.as_mut()).unwrap().shape = None;
    assert_refused(shapeless, None, "no shape", "1xCxHxW");
    assert_refused(
        Build::new(&[2, 6]).weights("w", &[6, 2]).node("MatMul", "x w", "y"),
        None,
        "batch of 2",
        "batch of 1",
    );
    assert_refused(Build::new(&[1, 6]).node("Identity", "x", "y"), None, "renames", "layer");
}

#[test]
fn argmax_of_other_than_the_scores() {
    let pixels = conv().node_with("ArgMax", "c", "y", &[("axis", Int(1))]);
    assert_refused(pixels, Some("y"), "[1, 2, 4, 4]", "1xK");
    let flat = || conv().node("Flatten", "c", "f");
    assert_refused(flat().node_with("ArgMax", "f", "y", &[("axis", Int(0))]), Some("y"), "one vector", "1xK");
    let batch = conv().node("GlobalAveragePool", "c", "p").node("ArgMax", "p", "y");
    assert_refused(batch, Some("y"), "[1, 2, 1, 1]", "1xK");
    let last = [("axis", Int(1)), ("select_last_index", Int(1))];
    assert_refused(
        flat().node_with("ArgMax", "f", "y", &last),
        Some("y"),
        "last of equal",
        "select_last_index=0",
    );
    let inside = flat().node_with("ArgMax", "f", "a", &[("axis", Int(1))]).node("Add", "f a", "y");
    assert_refused(inside, Some("a"), "not supported", "ArgMax over all");
    // The index of the largest element of a map is another on the device.
    assert_refused(flat().node_with("ArgMax", "f", "y", &[("axis", Int(1))]), Some("y"), "one vector", "1xK");
    let shares =
        conv().node("GlobalAveragePool", "c", "p").node_with("LogSoftmax", "p", "y", &[("axis", Int(1))]);
    assert_refused(shares, Some("y"), "not supported", "at the scores");
}

#[test]
fn kernels_that_are_no_mixture() {
    let routed = || {
        Build::new(&[1, 2, 4, 4])
            .weights("fc", &[2, 3])
            .weights("experts", &[3, 4])
            .weights("w", &[2, 2, 1, 1])
            .ints("kernel", &[2, 2, 1, 1])
            .node("GlobalAveragePool", "x", "pool")
            .node("Flatten", "pool", "flat")
            .node("MatMul", "flat fc", "logits")
    };
    let mixed = |build: Build| build.node("MatMul", "r experts", "m").node("Reshape", "m kernel", "mixed");
    let constant =
        mixed(routed().node("Sigmoid", "logits", "r")).node("Add", "mixed w", "k").node("Conv", "x k", "y");
    assert_refused(constant, Some("y"), "not zero", "mix experts");
    let normalised = routed()
        .ints("axis", &[1])
        .node("Sigmoid", "logits", "s")
        .node("ReduceSum", "s axis", "sum")
        .node("Div", "s sum", "r");
    assert_refused(
        mixed(normalised).node("Conv", "x mixed", "y"),
        Some("y"),
        "not a linear function",
        "weighted sum",
    );
    let rectified = mixed(routed().node("Relu", "logits", "r")).node("Conv", "x mixed", "y");
    assert_refused(rectified, Some("y"), "not through routing weights", "one sigmoid");
    let hard = routed()
        .ints("column", &[3, 1])
        .node("HardSigmoid", "logits", "s")
        .node("Reshape", "s column", "r")
        .ints("axis", &[0])
        .node("Mul", "r experts", "m")
        .node("ReduceSum", "m axis", "sum")
        .node("Reshape", "sum kernel", "k")
        .node("Conv", "x k", "y");
    assert_refused(hard, Some("m"), "no routing weights", "softmax");
    let two_groups = routed()
        .ints("groups", &[3, 1])
        .ints("row", &[1, 3])
        .node("Reshape", "logits groups", "g")
        .node("Softmax", "g", "s")
        .node("Reshape", "s row", "r");
    let two_groups = mixed(two_groups).node("Conv", "x mixed", "y");
    assert_refused(two_groups, Some("s"), "sum to one", "over all experts");
    let two = mixed(routed().node("Sigmoid", "logits", "r"))
        .node("Sigmoid", "flat", "other")
        .ints("vector", &[2])
        .weights("by_two", &[2, 2])
        .node("MatMul", "other by_two", "b1")
        .node("Reshape", "b1 vector", "b");
    assert_refused(two.node("Conv", "x mixed b", "y"), Some("y"), "another routing", "share");
    let both = mixed(routed().node("Sigmoid", "logits", "r"))
        .weights("more", &[2, 4])
        .node("Sigmoid", "flat", "other")
        .node("MatMul", "other more", "n")
        .node("Reshape", "n kernel", "second")
        .node("Add", "mixed second", "k");
    assert_refused(both.node("Conv", "x k", "y"), Some("k"), "two routings", "one sigmoid");
    let many = Build::new(&[1, 2, 4, 4])
        .weights("fc", &[2, 33])
        .weights("experts", &[33, 4])
        .ints("kernel", &[2, 2, 1, 1])
        .node("GlobalAveragePool", "x", "pool")
        .node("Flatten", "pool", "flat")
        .node("MatMul", "flat fc", "logits")
        .node("Sigmoid", "logits", "r");
    assert_refused(mixed(many).node("Conv", "x mixed", "y"), Some("r"), "33", "32");
}

/// A constant matrix beside the experts.
#[test]
fn fully_connected_layers_that_are_no_mixture() {
    let build = Build::new(&[1, 3])
        .weights("fc", &[3, 2])
        .weights("experts", &[2, 15])
        .weights("w", &[3, 5])
        .ints("matrix", &[3, 5])
        .node("MatMul", "x fc", "logits")
        .node("Sigmoid", "logits", "r")
        .node("MatMul", "r experts", "m")
        .node("Reshape", "m matrix", "mixed")
        .node("Add", "mixed w", "k")
        .node("MatMul", "x k", "y");
    assert_refused(build, Some("y"), "not linear in both", "times the features");
}

#[test]
fn broken_graphs() {
    assert_refused(conv().node("Relu", "nothing", "y"), Some("y"), "`nothing`", "export");
    assert_refused(
        conv().node("Relu", "c", "c").node("Relu", "c", "y"),
        Some("c_2"),
        "defined twice",
        "export",
    );
    assert_refused(conv(), None, "nothing computes", "export");
    let mismatch = Build::new(&[1, 2, 4, 4]).weights("w", &[2, 3, 1, 1]).node("Conv", "x w", "y");
    assert_refused(mismatch, Some("y"), "cannot be evaluated", "onnx.checker");
    let nothing = Build::new(&[1, 3]).weights("w", &[3, 0]).weights("v", &[0, 2]);
    let nothing = nothing.node("MatMul", "x w", "m").node("MatMul", "m v", "y");
    assert_refused(nothing, Some("m"), "3 x 0", "Conv");
    let mut short = conv().node("Relu", "c", "y");
    short.graph.initializer[0].dims[0] = 3;
    assert_refused(short, Some("c"), "less or more data", "damaged");
    // A name of a terabyte.
    let long = [0x08, 8, 0x12, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20];
    assert!(load_bytes(&long).is_err_and(|error| error.reason().contains("truncated")));
    let huge = conv().ints("shape", &[1, 2, 1 << 20, 1 << 20]).node("Expand", "c shape", "y");
    assert_refused(huge, Some("y"), "256 MiB", "shapes");
    let pads = [("pads", Ints(&[0, 0, i64::MAX, 1])), ("kernel_shape", Ints(&[1, 1]))];
    let padded = Build::new(&[1, 2, 4, 4]).weights("w", &[2, 2, 1, 1]).node_with("Conv", "x w", "y", &pads);
    assert_refused(padded, Some("y"), "256 MiB", "pads");
}

#[test]
fn batch_norms_of_negative_variance() {
    let norm = conv().floats("one", &[2], &[1.0, 1.0]).floats("variance", &[2], &[1.0, -1.0]).node(
        "BatchNormalization",
        "c one one one variance",
        "y",
    );
    assert_refused(norm, Some("y"), "variance is -1 in channel 1", "training");
}

#[test]
fn routing_by_a_map() {
    let routed = Build::new(&[1, 2, 2, 2])
        .node("Flatten", "x", "f")
        .node("Sigmoid", "f", "r")
        .weights("experts", &[8, 4])
        .ints("shape", &[2, 2, 1, 1])
        .node("MatMul", "r experts", "mixed")
        .node("Reshape", "mixed shape", "kernel")
        .node("Conv", "x kernel", "y");
    assert_refused(routed, Some("r"), "one logit for each expert", "pool");
}

#[test]
fn control_characters_leave_names() {
    let mut build = Build::new(&[1, 2, 4, 4]).weights("w", &[2, 2, 1, 1]).node("Conv", "x w", "y");
    build.graph.node[0].name = Some("a\nb\tc".into());
    assert_eq!(build.import().network.layers[0].name, "a_b_c");
}
