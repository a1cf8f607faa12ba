//! Activations, pools, and layers of several tensors, in all the forms that are understood.

use condconv::{Padding, Window};
use condconv_tools::graph::{Clamp, Function, Gate, Network, Op};

use crate::build::Attribute::{Float, Int, Ints, String};
use crate::build::Build;

/// A map `c` of four channels.
fn conv() -> Build {
    Build::new(&[1, 2, 7, 6]).weights("w", &[4, 2, 1, 1]).weights("b", &[4]).node("Conv", "x w b", "c")
}

/// A second map of the same shape, `d`.
fn two() -> Build {
    conv().weights("v", &[4, 2, 3, 3]).node_with("Conv", "x v", "d", &[("pads", Ints(&[1, 1, 1, 1]))])
}

/// A vector `f` of four features.
fn vector() -> Build {
    conv().node("Relu", "c", "rc").node("GlobalAveragePool", "rc", "p").node("Flatten", "p", "f")
}

fn scalar(build: Build, name: &str, number: f32) -> Build {
    build.floats(name, &[], &[number])
}

fn names(network: &Network) -> Vec<&'static str> {
    let name = |op: &Op| match op {
        Op::Conv { .. } => "conv",
        Op::Linear { .. } => "linear",
        Op::GlobalAveragePool => "mean",
        Op::AveragePool { .. } => "average",
        Op::MaxPool { .. } => "max",
        Op::Add { .. } => "add",
        Op::Mul { .. } => "mul",
        Op::Concat => "concat",
        Op::Pad { .. } => "pad",
        Op::Activation(function) => function.name(),
        Op::Softmax => "softmax",
    };
    network.layers.iter().map(|layer| name(&layer.op)).collect()
}

fn last(network: &Network) -> &Op {
    &network.layers.last().expect("there is a layer").op
}

fn assert_function(build: Build, expected: Function) {
    let import = build.import();
    assert_eq!(import.network.layers.len(), 2, "{:?}", names(&import.network));
    match last(&import.network) {
        Op::Activation(function) => match (*function, expected) {
            (Function::LeakyRelu { slope: a }, Function::LeakyRelu { slope: b })
            | (Function::Elu { alpha: a }, Function::Elu { alpha: b }) => {
                assert!((a - b).abs() < 1e-4, "{a} in place of {b}");
            }
            (Function::HardSigmoid { alpha: a, beta: b }, Function::HardSigmoid { alpha: c, beta: d })
            | (Function::Softplus { beta: a, threshold: b }, Function::Softplus { beta: c, threshold: d })
                if b == d =>
            {
                assert!((a - c).abs() < 1e-4, "{function:?}");
            }
            (Function::HardSigmoid { alpha: a, beta: b }, Function::HardSigmoid { alpha: c, beta: d }) => {
                assert!((a - c).abs() < 1e-4 && (b - d).abs() < 1e-4, "{function:?}")
            }
            (function, expected) => assert_eq!(function, expected),
        },
        other => panic!("{other:?} in place of {expected:?}"),
    }
}

#[test]
fn activations_as_one_node() {
    let node = |operator: &str| conv().node(operator, "c", "y");
    assert_function(node("HardSwish"), Function::HardSwish);
    assert_function(node("Sigmoid"), Function::Sigmoid);
    assert_function(node("Tanh"), Function::Tanh);
    assert_function(node("Gelu"), Function::Gelu);
    assert_function(node("Swish"), Function::Silu);
    assert_function(node("Softplus"), Function::Softplus { beta: 1.0, threshold: f32::INFINITY });
    assert_function(node("Mish"), Function::Mish);
    assert_function(node("Elu"), Function::Elu { alpha: 1.0 });
    assert_function(node("LeakyRelu"), Function::LeakyRelu { slope: 0.01 });
    assert_function(node("HardSigmoid"), Function::HardSigmoid { alpha: 0.2, beta: 0.5 });
    assert_function(
        conv().node_with("HardSigmoid", "c", "y", &[("alpha", Float(1.0 / 6.0)), ("beta", Float(0.5))]),
        Function::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 },
    );
    assert_function(
        conv().node_with("Gelu", "c", "y", &[("approximate", String("tanh"))]),
        Function::GeluTanh,
    );
    let prelu = conv().floats("slope", &[1, 1, 1], &[0.3]).node("PRelu", "c slope", "y");
    assert_function(prelu, Function::LeakyRelu { slope: 0.3 });
}

#[test]
fn activations_as_several_nodes() {
    let silu = conv().node("Sigmoid", "c", "s");
    assert_function(silu.node("Mul", "s c", "y"), Function::Silu);
    let clip = || scalar(scalar(scalar(conv(), "zero", 0.0), "three", 3.0), "six", 6.0);
    let relu6 = || clip().node("Add", "c three", "a").node("Clip", "a zero six", "r");
    assert_function(relu6().node("Mul", "c r", "m").node("Div", "m six", "y"), Function::HardSwish);
    assert_function(relu6().node("Div", "r six", "h").node("Mul", "c h", "y"), Function::HardSwish);
    // The sum is part of the convolution.
    let sigmoid = Function::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.0 };
    assert_function(relu6().node("Div", "r six", "y"), sigmoid);
    let gelu = scalar(scalar(scalar(conv(), "root", std::f32::consts::SQRT_2), "one", 1.0), "half", 0.5)
        .node("Div", "c root", "d")
        .node("Erf", "d", "e")
        .node("Add", "e one", "a");
    assert_function(gelu.node("Mul", "c a", "m").node("Mul", "m half", "y"), Function::Gelu);
    let leaky = scalar(conv(), "slope", 0.1).node("Mul", "c slope", "m").node("Max", "c m", "y");
    assert_function(leaky, Function::LeakyRelu { slope: 0.1 });
    let mish = conv().node("Softplus", "c", "s").node("Tanh", "s", "t").node("Mul", "c t", "y");
    assert_function(mish, Function::Mish);
}

/// As PyTorch's newer exporter writes it: with a threshold, and with `beta` unless it is 1.
#[test]
fn softplus_with_a_threshold() {
    for threshold in [20.0, 5.0] {
        let plain = scalar(conv(), "threshold", threshold)
            .node("Softplus", "c", "s")
            .node("Greater", "c threshold", "above")
            .node("Where", "above c s", "y");
        assert_function(plain, Function::Softplus { beta: 1.0, threshold });
        let scaled = scalar(scalar(conv(), "threshold", threshold), "beta", 3.0)
            .node("Mul", "c beta", "m")
            .node("Softplus", "m", "s")
            .node("Div", "s beta", "d")
            .node("Greater", "m threshold", "above")
            .node("Where", "above c d", "y");
        assert_function(scaled, Function::Softplus { beta: 3.0, threshold });
    }
}

/// A sigmoid that is read both by the product and by something else stays a layer.
#[test]
fn parts_of_functions_that_are_read_elsewhere() {
    let import = conv().node("Sigmoid", "c", "s").node("Mul", "c s", "m").node("Add", "m s", "y").import();
    assert_eq!(names(&import.network), ["conv", "Sigmoid", "SiLU", "add"]);
    let import = conv().node("Sigmoid", "c", "s").node("Mul", "c s", "m").node("Add", "m c", "y").import();
    assert_eq!(names(&import.network), ["conv", "SiLU", "add"]);
}

#[test]
fn clamps_by_maximum_and_minimum() {
    let import = scalar(scalar(conv(), "zero", 0.0), "six", 6.0)
        .node("Max", "zero c", "m")
        .node("Min", "m six", "y")
        .import();
    assert_eq!(import.network.layers.len(), 1);
    assert_eq!(import.network.layers[0].op.clone().clamp_mut(), Some(&mut Clamp { min: 0.0, max: 6.0 }));
}

#[test]
fn sigmoid_at_the_output() {
    for last in ["Sigmoid", "Tanh"] {
        let import =
            vector().weights("fc", &[4, 3]).node("MatMul", "f fc", "l").node(last, "l", "y").import();
        assert_eq!(names(&import.network), ["conv", "mean", "linear", last]);
    }
    let renamed =
        conv().node("Sigmoid", "c", "s").node("Identity", "s", "i").node("Flatten", "i", "y").import();
    assert_eq!(names(&renamed.network), ["conv", "Sigmoid"]);
}

#[test]
fn softmax_at_the_output() {
    let scores = || vector().weights("fc", &[4, 3]).node("MatMul", "f fc", "l");
    let import = scores().node("Softmax", "l", "y").import();
    assert_eq!(names(&import.network), ["conv", "mean", "linear", "softmax"]);
    let import =
        scores().node_with("Softmax", "l", "s", &[("axis", Int(1))]).node("Identity", "s", "y").import();
    assert_eq!(names(&import.network), ["conv", "mean", "linear", "softmax"]);
    let pooled =
        vector().node_with("Softmax", "p", "s", &[("axis", Int(1))]).node("Flatten", "s", "y").import();
    assert_eq!(names(&pooled.network), ["conv", "mean", "softmax"]);
}

/// The network ends at the scores, whatever is done to the index of the largest.
#[test]
fn argmax_at_the_output() {
    let scores = || vector().weights("fc", &[4, 3]).node("MatMul", "f fc", "l").ints("zero", &[0]);
    let axis = |axis: i64| [("axis", Int(axis))];
    let without = |axis: i64| [("axis", Int(axis)), ("keepdims", Int(0))];
    for build in [
        scores().node_with("ArgMax", "l", "y", &axis(1)),
        scores().node_with("ArgMax", "l", "y", &without(-1)),
        scores().node_with("ArgMax", "l", "a", &axis(-1)).node("Squeeze", "a", "y"),
        scores().node_with("ArgMax", "l", "a", &without(1)).node_with("Cast", "a", "y", &[("to", Int(6))]),
        scores()
            .node_with("ArgMax", "l", "a", &axis(1))
            .node("Identity", "a", "i")
            .node("Reshape", "i zero", "y"),
        scores().node("Squeeze", "l zero", "v").node("ArgMax", "v", "y"),
        scores().node("Softmax", "l", "s").node_with("ArgMax", "s", "y", &without(1)),
        scores().node("LogSoftmax", "l", "s").node_with("ArgMax", "s", "y", &axis(-1)),
    ] {
        let import = build.import();
        assert_eq!(names(&import.network), ["conv", "mean", "linear"]);
        assert_eq!(import.network.values[import.network.output].shape.channels, 3);
    }
}

#[test]
fn sums() {
    for (operator, operands) in [("Add", "c d"), ("Sum", "d c")] {
        let import = two().node(operator, operands, "s").node("Relu", "s", "y").import();
        assert_eq!(names(&import.network), ["conv", "conv", "add"]);
        let Op::Add { clamp } = last(&import.network) else { panic!("no sum") };
        assert_eq!(*clamp, Clamp { min: 0.0, ..Clamp::NONE });
        assert_eq!(import.network.layers[2].preactivation, "s");
    }
    let three = two().node("Sum", "c d c", "s").node("Relu", "s", "y").import();
    assert_eq!(names(&three.network), ["conv", "conv", "add", "add"]);
    let five = two()
        .weights("k", &[4, 1, 1])
        .weights("j", &[4, 1, 1])
        .node("Sum", "k c d j c", "s")
        .node("Sum", "s", "y")
        .import();
    assert_eq!(names(&five.network), ["conv", "conv", "conv", "add", "conv", "add"]);
    let twice = conv().node("Add", "c c", "y").import();
    assert_eq!(names(&twice.network), ["conv", "add"]);
    let square = conv().node("Mul", "c c", "y").import();
    assert_eq!(names(&square.network), ["conv", "mul"]);
}

/// A difference is a sum with one sign changed, in the layer that computes it where that is possible.
#[test]
fn differences() {
    let import = two().node("Sub", "c d", "s").node("Relu", "s", "y").import();
    assert_eq!(names(&import.network), ["conv", "conv", "add"]);
    let kept = two().node("Relu", "d", "r").node("Sub", "c r", "y").import();
    assert_eq!(names(&kept.network), ["conv", "conv", "conv", "add"]);
    let own = conv().node("Sub", "c x", "y").weights("w", &[2, 2, 1, 1]).weights("b", &[2]);
    let mut own = own;
    own.graph.initializer.drain(..2);
    assert_eq!(names(&own.import().network), ["conv", "conv", "add"]);
    let computed = conv()
        .weights("k", &[4, 1, 1])
        .weights("j", &[4, 1, 1])
        .node("Add", "k j", "a")
        .node("Sub", "c a", "y")
        .import();
    assert_eq!(names(&computed.network), ["conv"]);
}

/// Of the nodes that one node is written as, the last keeps its name.
#[test]
fn names_of_sums() {
    for (operator, operands) in [("Sum", "c d c"), ("Sub", "c r"), ("Sub", "c d")] {
        let mut build = two().node("Relu", "d", "r").node(operator, operands, "y");
        build.graph.node.last_mut().unwrap().name = Some("own".into());
        let import = build.import();
        let layers = &import.network.layers;
        assert_eq!(layers.last().unwrap().name, "own", "{operator}");
        assert!(layers.iter().all(|layer| !layer.name.starts_with("own_")), "{operator}");
    }
}

/// A constant is not folded into a sum, which has no weights.
#[test]
fn constants_after_sums() {
    let import = two()
        .weights("scale", &[4, 1, 1])
        .node("Add", "c d", "s")
        .node("Mul", "s scale", "m")
        .node("Relu", "m", "y")
        .import();
    assert_eq!(names(&import.network), ["conv", "conv", "add", "conv"]);
}

/// Residual blocks: what is read twice is not changed by what follows one of its readers.
#[test]
fn residual_blocks() {
    let import = conv()
        .weights("v", &[4, 4, 3, 3])
        .weights("u", &[4, 4, 1, 1])
        .node("Relu", "c", "r")
        .node_with("Conv", "r v", "e", &[("pads", Ints(&[1, 1, 1, 1]))])
        .node("Relu", "e", "re")
        .node("Conv", "re u", "g")
        .node("Add", "r g", "s")
        .node("Relu", "s", "t")
        .node("Relu", "g", "h")
        .node("Add", "h t", "y")
        .import();
    assert_eq!(names(&import.network), ["conv", "conv", "conv", "add", "conv", "add"]);
}

/// Vectors: linear parts are joined, others added.
#[test]
fn residual_vectors() {
    let base = || vector().weights("fc", &[4, 4]).node("MatMul", "f fc", "l");
    let linear = base().node("Add", "f l", "y").import();
    assert_eq!(names(&linear.network), ["conv", "mean", "linear"]);
    let curved = base().node("Relu", "l", "r").node("Add", "f r", "y").import();
    assert_eq!(names(&curved.network), ["conv", "mean", "linear", "add"]);
    let gated = base().weights("gc", &[4, 4]).node("MatMul", "f gc", "g").node("Mul", "l g", "y").import();
    assert_eq!(names(&gated.network), ["conv", "mean", "linear", "linear", "mul"]);
}

#[test]
fn squeeze_and_excitation() {
    let excite = |gate: &str, product: &str| {
        vector()
            .weights("squeeze", &[2, 4, 1, 1])
            .weights("excite", &[4, 2, 1, 1])
            .node("Conv", "p squeeze", "s")
            .node("Relu", "s", "r")
            .node("Conv", "r excite", "e")
            .node(gate, "e", "g")
            .node("Mul", product, "y")
            .import()
    };
    for gate in ["Sigmoid", "HardSigmoid"] {
        for product in ["rc g", "g rc"] {
            let import = excite(gate, product);
            assert_eq!(names(&import.network), ["conv", "mean", "linear", "linear", gate, "mul"]);
            let mul = import.network.layers.last().unwrap();
            assert_eq!(import.network.values[mul.inputs[0]].shape.pixels(), 42);
        }
    }
    // Fully connected, the gate brought back to a map of one pixel.
    let import = vector()
        .weights("squeeze", &[4, 2])
        .weights("excite", &[2, 4])
        .ints("map", &[1, 4, 1, 1])
        .node("MatMul", "f squeeze", "s")
        .node("Relu", "s", "r")
        .node("MatMul", "r excite", "e")
        .node("Sigmoid", "e", "g")
        .node("Reshape", "g map", "m")
        .node("Mul", "m rc", "y")
        .import();
    assert_eq!(names(&import.network), ["conv", "mean", "linear", "linear", "Sigmoid", "mul"]);
}

#[test]
fn concatenation() {
    let import = two()
        .node("Relu", "d", "rd")
        .node_with("Concat", "c rd x c", "k", &[("axis", Int(-3))])
        .weights("u", &[3, 14, 1, 1])
        .node("Conv", "k u", "y")
        .import();
    assert_eq!(names(&import.network), ["conv", "conv", "concat", "conv"]);
    let vectors = vector()
        .weights("fc", &[4, 3])
        .node("MatMul", "f fc", "l")
        .node("Relu", "l", "r")
        .node_with("Concat", "f r", "k", &[("axis", Int(1))])
        .weights("out", &[7, 2])
        .node("MatMul", "k out", "y")
        .import();
    assert_eq!(names(&vectors.network), ["conv", "mean", "linear", "concat", "linear"]);
}

#[test]
fn max_pools() {
    let pool = |attributes: &[(&str, crate::build::Attribute<'_>)]| {
        let import = conv().node_with("MaxPool", "c", "p", attributes).node("Conv", "p u", "y");
        let import = import.weights("u", &[3, 4, 1, 1]).import();
        match import.network.layers[1].op {
            Op::MaxPool { window } => window,
            ref other => panic!("{other:?}"),
        }
    };
    let window = Window::new([2, 3]);
    assert_eq!(pool(&[("kernel_shape", Ints(&[2, 3]))]), window);
    assert_eq!(
        pool(&[("kernel_shape", Ints(&[3, 3])), ("strides", Ints(&[2, 2])), ("pads", Ints(&[1, 1, 1, 1])),]),
        Window::new([3, 3]).stride([2, 2]).padding(Padding::symmetric(1, 1))
    );
    // Seven rows and six columns in steps of two: the last row is alone.
    assert_eq!(
        pool(&[("kernel_shape", Ints(&[2, 2])), ("strides", Ints(&[2, 2])), ("ceil_mode", Int(1))]),
        Window::new([2, 2]).stride([2, 2]).padding(Padding::new(0, 0, 1, 0))
    );
    assert_eq!(
        pool(&[
            ("kernel_shape", Ints(&[2, 2])),
            ("strides", Ints(&[2, 2])),
            ("auto_pad", String("SAME_LOWER")),
        ]),
        Window::new([2, 2]).stride([2, 2]).padding(Padding::new(1, 0, 0, 0))
    );
    let global = conv().node("GlobalMaxPool", "c", "p").weights("u", &[3, 4, 1, 1]).node("Conv", "p u", "y");
    assert_eq!(names(&global.import().network), ["conv", "max", "linear"]);
}

#[test]
fn average_pools() {
    let pool = |attributes: &[(&str, crate::build::Attribute<'_>)]| {
        let import = conv().node_with("AveragePool", "c", "y", attributes).import();
        match import.network.layers[1].op {
            Op::AveragePool { window, count_padding } => (window, count_padding),
            ref other => panic!("{other:?}"),
        }
    };
    let kernel = || ("kernel_shape", Ints(&[3, 2]));
    let pads = || ("pads", Ints(&[1, 0, 2, 1]));
    let padded = Window::new([3, 2]).padding(Padding::new(1, 0, 2, 1));
    assert_eq!(pool(&[kernel()]), (Window::new([3, 2]), false));
    assert_eq!(pool(&[kernel(), pads()]), (padded, false));
    assert_eq!(pool(&[kernel(), pads(), ("count_include_pad", Int(1))]), (padded, true));
    assert_eq!(pool(&[kernel(), ("count_include_pad", Int(1))]), (Window::new([3, 2]), false));
    let stride = Window::new([3, 2]).stride([2, 3]);
    assert_eq!(
        pool(&[kernel(), ("strides", Ints(&[2, 3])), ("ceil_mode", Int(1))]),
        (stride.padding(Padding::new(0, 0, 0, 0)), false)
    );
    assert_eq!(
        pool(&[("kernel_shape", Ints(&[2, 2])), ("strides", Ints(&[2, 2])), ("ceil_mode", Int(1))]),
        (Window::new([2, 2]).stride([2, 2]).padding(Padding::new(0, 0, 1, 0)), false)
    );
    let partial = conv().node_with(
        "AveragePool",
        "c",
        "y",
        &[("kernel_shape", Ints(&[7, 6])), ("strides", Ints(&[9, 9])), ("pads", Ints(&[1, 1, 0, 0]))],
    );
    assert_eq!(names(&partial.import().network), ["conv", "average"]);
}

/// The largest of the whole map, by its axes.
#[test]
fn global_maxima() {
    let pixels = conv().ints("axes", &[3, 2]).node_with("ReduceMax", "c axes", "y", &[("keepdims", Int(0))]);
    let rows = conv()
        .ints("axes", &[1, -2])
        .node_with("Transpose", "c", "t", &[("perm", Ints(&[0, 2, 3, 1]))])
        .node("ReduceMax", "t axes", "m")
        .node("Tanh", "m", "y");
    assert_eq!(names(&pixels.import().network), ["conv", "max", "conv"]);
    assert_eq!(names(&rows.import().network), ["conv", "max", "Tanh"]);
}

#[test]
fn one_dimensional_pools() {
    let line = || Build::new(&[1, 3, 12]).weights("w", &[4, 3, 5]).node("Conv", "x w", "c");
    for (operator, name) in [("MaxPool", "max"), ("AveragePool", "average")] {
        let attributes = [("kernel_shape", Ints(&[3])), ("strides", Ints(&[2])), ("pads", Ints(&[1, 0]))];
        let import = line().node_with(operator, "c", "p", &attributes).node("Relu", "p", "y").import();
        assert_eq!(names(&import.network), ["conv", name, "conv"]);
    }
}

#[test]
fn pads_before_other_layers() {
    let pad = || conv().ints("pads", &[0, 0, 1, 0, 0, 0, 1, 1]).node("Pad", "c pads", "p");
    let kernel = [("kernel_shape", Ints(&[2, 2]))];
    let max = pad().node_with("MaxPool", "p", "q", &kernel).node("Relu", "q", "y").import();
    assert_eq!(names(&max.network), ["conv", "pad", "max", "conv"]);
    // Zeros count in a mean.
    let average = pad().node_with("AveragePool", "p", "y", &kernel).import();
    assert_eq!(names(&average.network), ["conv", "average"]);
    let Op::AveragePool { window, count_padding: true } = last(&average.network) else { panic!("no mean") };
    assert_eq!(window.padding, Padding::new(1, 0, 1, 1));
    let relu = pad().node("Relu", "p", "y").import();
    assert_eq!(names(&relu.network), ["conv", "pad", "conv"]);
    let mean = pad().node("GlobalAveragePool", "p", "y").import();
    assert_eq!(names(&mean.network), ["conv", "pad", "mean"]);
    let twice = pad()
        .weights("u", &[3, 4, 2, 2])
        .node("Pad", "p pads", "q")
        .node("Conv", "q u", "d")
        .node("Relu", "d", "y")
        .import();
    assert_eq!(names(&twice.network), ["conv", "conv"]);
    // One reader takes the zeros in, two do not.
    let several = pad()
        .weights("u", &[4, 4, 1, 1])
        .node("Conv", "p u", "d")
        .node("Relu", "p", "e")
        .node("Add", "d e", "s")
        .node("Add", "s p", "y")
        .import();
    assert_eq!(names(&several.network), ["conv", "conv", "pad", "conv", "add", "add"]);
}

/// The output is int16; pools and pads keep their input's type.
#[test]
fn pools_and_pads_at_the_output() {
    let pool = conv().node_with("MaxPool", "c", "y", &[("kernel_shape", Ints(&[2, 2]))]).import();
    assert_eq!(names(&pool.network), ["conv", "max", "conv"]);
    let pad = conv().ints("pads", &[0, 0, 1, 0, 0, 0, 2, 1]).node("Pad", "c pads", "y").import();
    assert_eq!(names(&pad.network), ["conv", "pad", "conv"]);
}

/// Dynamic Convolution (Chen et al. 2020): squeeze, ReLU, expand, softmax with a temperature.
#[test]
fn dynamic_convolution() {
    let routed = |build: Build| {
        scalar(build, "temperature", 30.0)
            .weights("experts", &[3, 72])
            .ints("kernel", &[4, 2, 3, 3])
            .ints("row", &[1, 3])
            .node("GlobalAveragePool", "x", "pool")
    };
    let mixed = |build: Build| {
        let build = build.node("Reshape", "r row", "weights").node("MatMul", "weights experts", "m");
        build.node("Reshape", "m kernel", "k").node("Conv", "x k", "c").node("Relu", "c", "y").import()
    };
    let convolutions = routed(Build::new(&[1, 2, 5, 6]))
        .weights("h", &[5, 2, 1, 1])
        .weights("fc", &[3, 5, 1, 1])
        .weights("fb", &[3])
        .node("Conv", "pool h", "hidden")
        .node("Relu", "hidden", "active")
        .node("Conv", "active fc fb", "scores")
        .node("Div", "scores temperature", "logits")
        .node_with("Softmax", "logits", "r", &[("axis", Int(1))]);
    let matrices = routed(Build::new(&[1, 2, 5, 6]))
        .weights("h", &[2, 5])
        .weights("fc", &[5, 3])
        .node("Flatten", "pool", "flat")
        .node("MatMul", "flat h", "hidden")
        .node("Relu", "hidden", "active")
        .node("MatMul", "active fc", "scores")
        .node("Div", "scores temperature", "logits")
        .node("Softmax", "logits", "r");
    for build in [convolutions, matrices] {
        let network = mixed(build).network;
        assert_eq!(names(&network), ["mean", "linear", "conv"]);
        let routing = &network.routings[0];
        assert_eq!((routing.gate, routing.matrix.len(), routing.matrix[0].len()), (Gate::Softmax, 3, 5));
        assert!(routing.matrix.iter().flatten().all(|weight| weight.abs() <= 1.0 / 30.0));
    }
}

/// A sigmoid may gate channels and the weights of experts in one network.
#[test]
fn gates_of_both_kinds() {
    let import = vector()
        .weights("fc", &[4, 3])
        .weights("experts", &[3, 16])
        .ints("kernel", &[4, 4, 1, 1])
        .node("Conv", "p excite", "e")
        .weights("excite", &[4, 4, 1, 1])
        .node("Sigmoid", "e", "g")
        .node("Mul", "rc g", "scaled")
        .node("MatMul", "f fc", "logits")
        .node("Sigmoid", "logits", "r")
        .node("MatMul", "r experts", "m")
        .node("Reshape", "m kernel", "k")
        .node("Conv", "scaled k", "h")
        .node("Sigmoid", "h", "i")
        .node("Mul", "h i", "j")
        .node("Add", "j rc", "y")
        .import();
    assert_eq!(names(&import.network), ["conv", "mean", "linear", "Sigmoid", "mul", "conv", "SiLU", "add"]);
    assert_eq!(import.network.routings.len(), 1);
}

/// Sigmoids of vectors, which might each have been routing weights.
#[test]
fn sigmoids_of_two_vectors_meet() {
    for (operator, last) in [("Mul", "mul"), ("Add", "add")] {
        let import = vector()
            .weights("fc", &[4, 3])
            .weights("fd", &[4, 3])
            .node("MatMul", "f fc", "l")
            .node("MatMul", "f fd", "m")
            .node("Sigmoid", "l", "sl")
            .node("Sigmoid", "m", "sm")
            .node(operator, "sl sm", "y")
            .import();
        assert_eq!(names(&import.network), ["conv", "mean", "linear", "linear", "Sigmoid", "Sigmoid", last]);
    }
}
