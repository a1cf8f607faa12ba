//! No file, however damaged, may panic or take the importer's memory.

use rten_onnx::onnx::{DataType, ModelProto};

use crate::build::Attribute::Ints;
use crate::build::{Build, load_bytes};
use crate::fixtures;

/// Mutations tried on each fixture.
const TRIES: usize = 20;

/// xorshift
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end.max(1) as u64).unwrap()
    }

    fn number(&mut self) -> i64 {
        const ODD: [i64; 12] = [0, 1, -1, 2, 3, 7, 100, 4096, i64::MAX, i64::MIN, i32::MAX as i64, -3];
        ODD[self.below(ODD.len())]
    }
}

/// Neither the importer nor the evaluator's planner may run out of stack.
#[test]
fn long_chains() {
    let chain = |nodes: usize| {
        let build = Build::new(&[1, 3]).weights("w", &[3, 2]).node("Identity", "x", "v0");
        let build = (0..nodes).fold(build, |build, node| {
            build.node("Identity", &format!("v{node}"), &format!("v{}", node + 1))
        });
        build.node("MatMul", &format!("v{nodes} w"), "y")
    };
    assert_eq!(chain(4990).import().network.layers.len(), 1);
    assert!(chain(5000).refused().reason().contains("5002 nodes"));
}

/// A circle has no order in which its nodes can run; a node may also read itself.
#[test]
fn circles() {
    let conv = || Build::new(&[1, 2, 4, 4]).weights("w", &[2, 2, 1, 1]);
    let two = conv().node("Add", "x b", "a").node("Conv", "a w", "b").node("Relu", "b", "y").refused();
    assert_eq!(two.node(), Some("a"));
    assert!(two.reason().contains("cycle: `a` -> `b` -> `a`"), "{two}");
    // Its last node stands after all that read it, and the output is not on the way.
    let beside = conv()
        .node("Conv", "c w", "a")
        .node("Relu", "a", "b")
        .node("Add", "b x", "c")
        .node("Relu", "b", "y")
        .refused();
    assert!(beside.reason().contains("cycle: `a` -> `b` -> `c` -> `a`"), "{beside}");
    let one = conv().node("Add", "x y", "y").refused();
    assert_eq!(one.node(), Some("y"));
    assert!(one.reason().contains("cycle: `y` -> `y`"), "{one}");
    let link = |build: Build, i: i32| build.node("Relu", &format!("v{i}"), &format!("v{}", (i + 1) % 3000));
    let long = (0..3000).fold(conv(), link).node("Relu", "v9", "y").refused();
    assert!(long.reason().contains("(2993 more)") && long.reason().len() < 200, "{long}");
    let cut = Build::new(&[1, 2]).node("Identity", "y", "z").node("Identity", "z", "y").refused();
    assert!(cut.reason().contains("cycle: `z` -> `y` -> `z`"), "{cut}");
    assert!(cut.remedy().contains("unroll"), "{cut}");
}

/// Beyond 2^31 elements, as stated and as computed: refused before anything is allocated.
#[test]
fn enormous_tensors() {
    let conv = || Build::new(&[1, 2, 4, 4]).weights("w", &[2, 2, 1, 1]).node("Conv", "x w", "c");
    let refused = |build: Build, node: Option<&str>, reason: &str| {
        let error = build.refused();
        assert_eq!(error.node(), node, "{error}");
        assert!(error.reason().contains(reason), "{error}");
    };
    let mut stated = conv().node("Relu", "c", "y");
    stated.graph.initializer[0].dims = vec![1 << 16, 1 << 16, 1, 1];
    refused(stated, Some("c"), "larger than 256 MiB");
    let mut overflowing = conv().node("Relu", "c", "y");
    overflowing.graph.initializer[0].dims = vec![1 << 62, 4, 1, 1];
    refused(overflowing, Some("c"), "larger than 256 MiB");
    refused(Build::new(&[1, 1 << 16, 1 << 15]).node("Relu", "x", "y"), None, "larger than 64 MiB");
    let filled = conv().ints("s", &[1, 2, 1 << 16, 1 << 15]).node("ConstantOfShape", "s", "k");
    refused(filled.node("Add", "c k", "y"), Some("k"), "beyond 256 MiB");
    let expanded = conv().ints("s", &[1 << 31, 2, 4, 4]).node("Expand", "c s", "y");
    refused(expanded, Some("y"), "beyond 256 MiB");
    let padded = conv().ints("s", &[0, 0, 1 << 30, 0, 0, 0, 0, 0]).node("Pad", "c s", "y");
    refused(padded, Some("y"), "beyond 256 MiB");
    let product = conv()
        .ints("s", &[1 << 16, 1])
        .ints("t", &[1, 1 << 16])
        .floats("one", &[1, 1], &[1.0])
        .node("Expand", "one s", "p")
        .node("Expand", "one t", "q")
        .node("MatMul", "p q", "r");
    refused(product.node("Add", "c r", "y"), Some("r"), "beyond 256 MiB");
    let resized =
        conv().floats("scales", &[4], &[1.0, 1.0, 65536.0, 65536.0]).node("Resize", "c _ scales", "y");
    refused(resized, Some("y"), "not supported");
    let pads = [("pads", Ints(&[1 << 40, 0, 0, 0])), ("kernel_shape", Ints(&[1, 1]))];
    refused(conv().node_with("MaxPool", "c", "y", &pads), Some("y"), "beyond 256 MiB");
}

/// Nothing in, nothing between, nothing out.
#[test]
fn empty_tensors() {
    let input = Build::new(&[1, 2, 0, 4]).weights("w", &[2, 2, 1, 1]).node("Conv", "x w", "y").refused();
    assert!(input.reason().contains("is empty in dimension 2"), "{input}");
    let conv = |w: &[i64]| Build::new(&[1, 2, 4, 4]).weights("w", w);
    let outputs = conv(&[0, 2, 1, 1]).node("Conv", "x w", "y").refused();
    assert_eq!(outputs.node(), Some("y"), "{outputs}");
    let taps = conv(&[2, 2, 0, 1]).node("Conv", "x w", "y").refused();
    assert_eq!(taps.node(), Some("y"), "{taps}");
    let sliced = conv(&[2, 2, 1, 1]).ints("none", &[0]).node("Slice", "x none none", "s");
    let sliced = sliced.node("Conv", "s w", "y").refused();
    assert!(sliced.node().is_some(), "{sliced}");
}

#[test]
fn damaged_bytes() {
    let mut random = Random(1);
    for (path, _) in fixtures::all() {
        let whole = std::fs::read(&path).unwrap();
        for _ in 0..TRIES {
            let mut bytes = whole.clone();
            for _ in 0..1 + random.below(4) {
                let at = random.below(bytes.len());
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = [0xff, 0, *byte ^ 1 << random.below(8)][random.below(3)];
                }
            }
            if random.below(4) == 0 {
                bytes.truncate(random.below(whole.len()));
            }
            let _ = load_bytes(&bytes);
        }
    }
}

#[test]
fn damaged_graphs() {
    let mut random = Random(2);
    for path in fixtures::whole() {
        let bytes = std::fs::read(&path).unwrap();
        for _ in 0..TRIES {
            let mut model = ModelProto::parse_buf(&bytes).unwrap();
            damage(&mut model, &mut random);
            damage(&mut model, &mut random);
            let _ = load_bytes(&model.write_buf().unwrap());
        }
    }
}

fn damage(model: &mut ModelProto, random: &mut Random) {
    let graph = model.graph.as_mut().unwrap();
    let names: Vec<String> =
        graph.node.iter().flat_map(|node| node.input.iter().chain(&node.output).cloned()).collect();
    let operators: Vec<_> = graph.node.iter().map(|node| node.op_type.clone()).collect();
    let (at, number) = (random.below(graph.node.len()), random.number());
    let node = &mut graph.node[at];
    match random.below(5) {
        0 => node.op_type = operators[random.below(operators.len())].clone(),
        1 => {
            let input = random.below(node.input.len());
            if let Some(input) = node.input.get_mut(input) {
                *input = names[random.below(names.len())].clone();
            }
        }
        2 => {
            let which = random.below(node.attribute.len());
            if let Some(attribute) = node.attribute.get_mut(which) {
                let index = random.below(attribute.ints.len());
                match attribute.ints.get_mut(index) {
                    Some(int) => *int = number,
                    None => attribute.i = Some(number),
                }
            }
        }
        3 => {
            let which = random.below(graph.initializer.len());
            let tensor = &mut graph.initializer[which];
            let axis = random.below(tensor.dims.len());
            match tensor.dims.get_mut(axis) {
                Some(dim) => *dim = number,
                None => tensor.dims.push(number),
            }
        }
        _ => {
            // Axes, shapes and so on.
            let attributes = node.attribute.iter().filter_map(|attribute| attribute.t.as_ref());
            let integers = |of: Option<DataType>| of == Some(DataType::INT64);
            for tensor in
                graph.initializer.iter().chain(attributes).filter(|tensor| integers(tensor.data_type))
            {
                if let Some(raw) = &tensor.raw_data {
                    for chunk in raw.borrow_mut().chunks_exact_mut(8).take(1) {
                        chunk.copy_from_slice(&number.to_le_bytes());
                    }
                }
            }
        }
    }
}

/// The evaluator's arithmetic overflows where a slice begins further away than any tensor reaches.
#[test]
fn slices_that_begin_nowhere() {
    let sliced = |start: i64| {
        Build::new(&[1, 2, 4, 4])
            .ints("start", &[start])
            .ints("end", &[i64::MIN])
            .ints("axis", &[1])
            .ints("step", &[-1])
            .node("Slice", "x start end axis step", "s")
            .weights("w", &[2, 2, 1, 1])
            .node("Conv", "s w", "y")
            .refused()
    };
    for start in [i64::MIN, -35_747_322_042_253_313, -(1 << 31), 1 << 40] {
        assert_eq!(sliced(start).node(), Some("s"));
    }
}
