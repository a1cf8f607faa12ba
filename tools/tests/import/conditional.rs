//! CondConv layers, in forms beyond those of the fixtures.

use condconv_tools::graph::Kernels;
use condconv_tools::onnx::Import;

use crate::build::Attribute::{Int, Ints};
use crate::build::Build;

fn kernels(import: &Import, layer: usize) -> &Kernels {
    import.network.layers[layer].op.kernels().expect("the layer has kernels")
}

/// A map, routed by three sigmoids `r`, and three experts of 4x2x3x3 flattened.
fn routed() -> Build {
    Build::new(&[1, 2, 5, 6])
        .weights("fc", &[2, 3])
        .weights("fb", &[3])
        .weights("experts", &[3, 72])
        .ints("kernel", &[4, 2, 3, 3])
        .node("GlobalAveragePool", "x", "pool")
        .node("Flatten", "pool", "flat")
        .node("Gemm", "flat fc fb", "logits")
        .node("Sigmoid", "logits", "r")
}

#[test]
fn mixed_bias_within_and_after_the_convolution() {
    let biases = || {
        routed().weights("bias", &[3, 4]).weights("static", &[4]).ints("vector", &[4]).ints("map", &[4, 1, 1])
    };
    let mixed = || {
        biases()
            .node("MatMul", "r experts", "m")
            .node("Reshape", "m kernel", "w")
            .node("MatMul", "r bias", "b1")
    };
    let within = mixed()
        .node("Reshape", "b1 vector", "b2")
        .node("Add", "b2 static", "b")
        .node("Conv", "x w b", "y")
        .import();
    let after = || mixed().node("Reshape", "b1 map", "b").node("Conv", "x w static", "c");
    let last = after().node("Add", "b c", "y").import();
    let activated = after().node("Add", "c b", "a").node("Relu", "a", "y").import();
    for import in [within, last, activated] {
        assert_eq!(import.network.layers.len(), 1);
        assert_eq!(kernels(&import, 0).expert_biases.len(), 3);
    }
}

#[test]
fn batch_norm_leaves_its_shift_to_the_static_bias() {
    let import = routed()
        .weights("gamma", &[4])
        .floats("beta", &[4], &[1.0, 2.0, 3.0, 4.0])
        .floats("mean", &[4], &[0.0; 4])
        .floats("var", &[4], &[1.0; 4])
        .node("MatMul", "r experts", "m")
        .node("Reshape", "m kernel", "w")
        .node("Conv", "x w", "c")
        .node("BatchNormalization", "c gamma beta mean var", "y")
        .import();
    let kernels = kernels(&import, 0);
    assert_eq!(kernels.bias, [1.0, 2.0, 3.0, 4.0]);
    assert!(kernels.expert_biases.is_empty());
}

/// A routing with a hidden layer, made of convolutions on the pooled pixel.
#[test]
fn deep_routing() {
    let import = Build::new(&[1, 2, 5, 6])
        .weights("h", &[5, 2, 1, 1])
        .weights("fc", &[3, 5, 1, 1])
        .weights("experts", &[3, 72])
        .ints("kernel", &[4, 2, 3, 3])
        .ints("row", &[1, 3])
        .node("GlobalAveragePool", "x", "pool")
        .node("Conv", "pool h", "hidden")
        .node("Relu", "hidden", "active")
        .node("Conv", "active fc", "logits")
        .node("Sigmoid", "logits", "gate")
        .node("Reshape", "gate row", "r")
        .node("MatMul", "r experts", "m")
        .node("Reshape", "m kernel", "w")
        .node("Conv", "x w", "y")
        .import();
    let names: Vec<_> = import.network.layers.iter().map(|layer| layer.name.as_str()).collect();
    assert_eq!(names, ["pool", "hidden", "y"]);
}

/// Routing weights from a flattened map: nothing is pooled, so the logits are a layer.
#[test]
fn routing_without_pool() {
    let import = Build::new(&[1, 2, 3, 2])
        .weights("fc", &[12, 3])
        .weights("experts", &[3, 8])
        .ints("kernel", &[4, 2, 1, 1])
        .node("Flatten", "x", "flat")
        .node("MatMul", "flat fc", "logits")
        .node("Sigmoid", "logits", "r")
        .node("MatMul", "r experts", "m")
        .node("Reshape", "m kernel", "w")
        .node("Conv", "x w", "y")
        .import();
    assert_eq!(import.network.layers.len(), 2);
}

/// The routing pools a map before the activation that the layer sees, so that the two may not be joined.
#[test]
fn routing_before_the_activation() {
    for between in ["map", "c"] {
        let import = Build::new(&[1, 2, 5, 6])
            .weights("k", &[2, 2, 1, 1])
            .weights("fc", &[2, 3])
            .weights("experts", &[3, 8])
            .ints("kernel", &[4, 2, 1, 1])
            .node("Conv", "x k", "c")
            .node("Identity", "c", "map")
            .node("GlobalAveragePool", "c", "pool")
            .node("Flatten", "pool", "flat")
            .node("MatMul", "flat fc", "logits")
            .node("Sigmoid", "logits", "r")
            .node("MatMul", "r experts", "m")
            .node("Reshape", "m kernel", "w")
            .node("Relu", between, "active")
            .node("Conv", "active w", "y")
            .import();
        assert_eq!(import.network.layers.len(), 3);
    }
}

#[test]
fn absorbed_routing_leaves_no_layers() {
    let import = routed()
        .node("MatMul", "r experts", "m")
        .node("Reshape", "m kernel", "w")
        .node("Conv", "x w", "y")
        .import();
    assert_eq!(import.network.layers.len(), 1);
    assert_eq!(import.network.routings[0].input, import.network.input);
    assert_eq!((import.network.routings[0].matrix.len(), import.network.routings[0].matrix[0].len()), (3, 2));
}

/// Two routings over the same map.
#[test]
fn two_routings() {
    let import = routed()
        .weights("fc2", &[2, 2])
        .weights("experts2", &[2, 16])
        .ints("kernel2", &[4, 4, 1, 1])
        .node("MatMul", "flat fc2", "logits2")
        .node("Sigmoid", "logits2", "r2")
        .node("MatMul", "r2 experts2", "m2")
        .node("Reshape", "m2 kernel2", "w2")
        .node("MatMul", "r experts", "m")
        .node("Reshape", "m kernel", "w")
        .node("Conv", "x w", "c")
        .node("Conv", "c w2", "y")
        .import();
    assert_eq!(import.network.routings.len(), 2);
}

/// A vector of twelve, routed by four sigmoids `r`.
fn routed_vector() -> Build {
    Build::new(&[1, 2, 2, 3])
        .weights("fc", &[2, 4])
        .ints("spatial", &[2, 3])
        .ints("one", &[1])
        .node_with("ReduceMean", "x spatial", "pool", &[("keepdims", Int(0))])
        .node("MatMul", "pool fc", "logits")
        .node("Sigmoid", "logits", "r")
        .node_with("Transpose", "x", "t", &[("perm", Ints(&[0, 2, 3, 1]))])
        .node("Flatten", "t", "flat")
}

/// The outputs of all experts, mixed: the form in which a fully connected CondConv runs.
#[test]
fn fully_connected_by_outputs() {
    let import = routed_vector()
        .weights("experts", &[12, 20])
        .weights("bias", &[20])
        .ints("table", &[1, 4, 5])
        .ints("column", &[1, 4, 1])
        .node("Gemm", "flat experts bias", "all")
        .node("Reshape", "all table", "each")
        .node("Reshape", "r column", "weights")
        .node("Mul", "each weights", "weighted")
        .node_with("ReduceSum", "weighted one", "y", &[("keepdims", Int(0))])
        .import();
    assert_eq!(import.network.layers.len(), 1);
    assert_eq!((kernels(&import, 0).experts.len(), kernels(&import, 0).expert_biases.len()), (4, 4));
}

/// The same, the outputs mixed by a product with the routing weights from either side.
#[test]
fn fully_connected_by_a_product_with_outputs() {
    let table = |dims: &[i64]| {
        let build = routed_vector().weights("experts", &[12, 20]).ints("table", dims).ints("vector", &[1, 5]);
        build.node("MatMul", "flat experts", "all").node("Reshape", "all table", "each")
    };
    let left = table(&[4, 5]).node("MatMul", "r each", "y");
    let right = table(&[1, 5, 4])
        .ints("column", &[1, 4, 1])
        .node("Reshape", "r column", "weights")
        .node("MatMul", "each weights", "m")
        .node("Reshape", "m vector", "y");
    for build in [left, right] {
        let import = build.import();
        assert_eq!((import.network.layers.len(), kernels(&import, 0).experts.len()), (1, 4));
    }
}

/// One fully connected layer an expert, as in a list of modules.
#[test]
fn fully_connected_by_a_list_of_experts() {
    let mut build = routed_vector().ints("two", &[2]).ints("four", &[4]);
    for expert in 0..4 {
        build = build
            .weights(&format!("w{expert}"), &[12, 5])
            .weights(&format!("b{expert}"), &[5])
            .ints(&format!("i{expert}"), &[expert])
            .node("Gemm", &format!("flat w{expert} b{expert}"), &format!("y{expert}"))
            .node_with("Gather", &format!("r i{expert}"), &format!("r{expert}"), &[("axis", Int(1))])
            .node("Mul", &format!("y{expert} r{expert}"), &format!("m{expert}"));
    }
    let import = build
        .node("Add", "m0 m1", "s1")
        .node("Add", "s1 m2", "s2")
        .node("Add", "m3 s2", "s")
        .node("Relu", "s", "y");
    let import = import.import();
    assert_eq!(import.network.layers.len(), 1);
    assert_eq!(kernels(&import, 0).experts.len(), 4);
}

/// Zeros around the map, which the pool sees too.
#[test]
fn pads_before_pool_and_layer() {
    let padded = |pool: &str, axes: &str, pad: &[i64]| {
        let build = Build::new(&[1, 2, 5, 6])
            .weights("fc", &[2, 3])
            .weights("experts", &[3, 72])
            .ints("kernel", &[4, 2, 3, 3])
            .ints("pads", pad)
            .ints("axes", &[2, 3]);
        let build = build
            .node("Pad", "x pads", "p")
            .node(pool, &format!("p{axes}"), "pool")
            .node("Flatten", "pool", "flat")
            .node("MatMul", "flat fc", "logits")
            .node("Sigmoid", "logits", "r")
            .node("MatMul", "r experts", "m")
            .node("Reshape", "m kernel", "w");
        build.node_with("Conv", "p w", "y", &[("pads", Ints(&[0, 1, 1, 0]))]).import()
    };
    for (pool, axes) in [("GlobalAveragePool", ""), ("ReduceMean", " axes")] {
        let import = padded(pool, axes, &[0, 0, 1, 0, 0, 0, 2, 1]);
        assert_eq!(kernels(&import, import.network.layers.len() - 1).experts.len(), 3);
    }
}

/// One convolution an expert, the outputs mixed: the same as mixed kernels, and a quarter of the work.
#[test]
fn convolutions_by_a_list_of_experts() {
    let weighted = |norm: bool| {
        let mut build = routed().ints("column", &[1, 1, 1, 1]).floats("one", &[4], &[1.0; 4]);
        for expert in 0..3 {
            build = build
                .weights(&format!("w{expert}"), &[4, 2, 3, 3])
                .weights(&format!("b{expert}"), &[4])
                .ints(&format!("i{expert}"), &[expert])
                .node("Conv", &format!("x w{expert} b{expert}"), &format!("c{expert}"))
                .node_with("Gather", &format!("r i{expert}"), &format!("g{expert}"), &[("axis", Int(1))])
                .node("Reshape", &format!("g{expert} column"), &format!("r{expert}"));
            let map = if norm { "n" } else { "c" };
            if norm {
                let statistics = format!("c{expert} one b{expert} b{expert} one");
                build = build.node("BatchNormalization", &statistics, &format!("n{expert}"));
            }
            build = build.node("Mul", &format!("r{expert} {map}{expert}"), &format!("m{expert}"));
        }
        build.node("Sum", "m0 m1 m2", "s").node("Relu", "s", "y").import()
    };
    for norm in [false, true] {
        let import = weighted(norm);
        assert_eq!(import.network.layers.len(), 1);
        assert_eq!((kernels(&import, 0).experts.len(), kernels(&import, 0).expert_biases.len()), (3, 3));
    }
}

/// The routing's own layers come after the experts' in the file.
#[test]
fn experts_before_their_routing() {
    let import = Build::new(&[1, 2, 5, 6])
        .weights("w", &[4, 2, 3, 3])
        .weights("h", &[2, 5])
        .weights("fc", &[5, 2])
        .ints("second", &[1])
        .ints("column", &[1, 1, 1, 1])
        .node("Conv", "x w", "c")
        .node("GlobalAveragePool", "x", "p")
        .node("Flatten", "p", "f")
        .node("MatMul", "f h", "hidden")
        .node("Relu", "hidden", "active")
        .node("MatMul", "active fc", "logits")
        .node("Sigmoid", "logits", "r")
        .node_with("Gather", "r second", "g", &[("axis", Int(1))])
        .node("Reshape", "g column", "k")
        .node("Mul", "c k", "y")
        .import();
    let names: Vec<_> = import.network.layers.iter().map(|layer| layer.name.as_str()).collect();
    assert_eq!(names, ["p", "hidden", "c"]);
}

/// Sigmoids where they may stand before a routing: on the map that the routing and the layer read, on the pooled vector,
/// and in a hidden layer of the routing.
#[test]
fn sigmoids_before_the_routing() {
    for gate in ["Sigmoid", "Softmax"] {
        for (map, pooled, hidden) in
            [(true, false, false), (false, true, false), (false, false, true), (true, true, true)]
        {
            let activation = |is_sigmoid| if is_sigmoid { "Sigmoid" } else { "Identity" };
            let import = Build::new(&[1, 2, 9, 9])
                .weights("k", &[6, 2, 1, 1])
                .weights("h", &[6, 5])
                .weights("fc", &[5, 3])
                .weights("experts", &[3, 4 * 6 * 9])
                .weights("more", &[3, 2 * 4])
                .ints("kernel", &[4, 6, 3, 3])
                .ints("pointwise", &[2, 4, 1, 1])
                .node("Conv", "x k", "c")
                .node(activation(map), "c", "s")
                .node("GlobalAveragePool", "s", "pool")
                .node(activation(pooled), "pool", "ps")
                .node("Flatten", "ps", "flat")
                .node("MatMul", "flat h", "hidden")
                .node(activation(hidden), "hidden", "hs")
                .node("MatMul", "hs fc", "logits")
                .node(gate, "logits", "r")
                .node("MatMul", "r experts", "m")
                .node("Reshape", "m kernel", "w")
                .node("Conv", "s w", "first")
                .node("Sigmoid", "first", "between")
                .node("MatMul", "r more", "n")
                .node("Reshape", "n pointwise", "v")
                .node("Conv", "between v", "y")
                .import();
            assert_eq!(import.network.routings.len(), 1, "shared");
            let experts = crate::check::experts(&import.network);
            assert_eq!(experts.iter().filter(|&&count| count == 3).count(), 2, "{experts:?}");
        }
    }
}

/// The sigmoid of a flattened map is a vector, and no routing weights all the same.
#[test]
fn routing_by_the_sigmoid_of_a_flattened_map() {
    let import = Build::new(&[1, 2, 5, 5])
        .weights("k", &[2, 2, 1, 1])
        .weights("fc", &[50, 3])
        .weights("experts", &[3, 8])
        .ints("kernel", &[4, 2, 1, 1])
        .node("Conv", "x k", "c")
        .node("Flatten", "c", "flat")
        .node("Sigmoid", "flat", "s")
        .node("MatMul", "s fc", "logits")
        .node("Sigmoid", "logits", "r")
        .node("MatMul", "r experts", "m")
        .node("Reshape", "m kernel", "w")
        .node("Conv", "c w", "y")
        .import();
    assert_eq!(kernels(&import, import.network.layers.len() - 1).experts.len(), 3);
}

/// Two sigmoids of maps that meet before anything asks for either.
#[test]
fn sigmoids_of_two_maps_are_added() {
    let import = Build::new(&[1, 2, 5, 6])
        .weights("k", &[2, 2, 1, 1])
        .weights("l", &[2, 2, 1, 1])
        .node("Conv", "x k", "a")
        .node("Conv", "x l", "b")
        .node("Sigmoid", "a", "sa")
        .node("Sigmoid", "b", "sb")
        .node("Add", "sa sb", "y")
        .import();
    assert_eq!(import.network.layers.len(), 5);
}
