//! The generated module: compiled by a stranger's crate, run on the host, compared with the host's executor.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use condconv_tools::convert::{Model, read_samples};
use condconv_tools::plan::Plan;
use condconv_tools::quantize::{Int16, Options, RangeMethod};
use rten_onnx::onnx::ModelProto;
use tempfile::TempDir;

#[allow(dead_code, reason = "the importer's tests use the rest")]
#[path = "import/build.rs"]
mod build;
#[allow(dead_code, reason = "the importer's tests use the rest")]
#[path = "import/check.rs"]
mod check;
#[allow(dead_code, reason = "the importer's tests use it")]
#[path = "import/float.rs"]
mod float;
#[allow(dead_code, reason = "other tests read files")]
#[path = "shared/inputs.rs"]
mod inputs;

use build::Build;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Prints the scores of each sample of `samples.f32`, a line a sample; for bytes also through `quantize_u8`.
const MAIN: &str = r#"
#![forbid(unsafe_code)]
#![deny(warnings, missing_docs)]
//! Runs a generated network.
mod network;
use network::{INPUT_LEN, Network};

fn main() {
    let bytes = std::fs::read("samples.f32").unwrap();
    let mut net = Network::new();
    assert_eq!(size_of::<Network>(), network::RAM_BYTES);
    assert_eq!(network::INPUT_SHAPE.len(), INPUT_LEN);
    for sample in bytes.chunks_exact(4 * INPUT_LEN) {
        let reals: [f32; INPUT_LEN] =
            std::array::from_fn(|i| f32::from_le_bytes(sample[4 * i..4 * i + 4].try_into().unwrap()));
        network::quantize_f32(&reals, net.input_mut());
        if reals.iter().all(|&x| (0.0..=255.0).contains(&x) && x.fract() == 0.0) {
            let by_real = *net.input_mut();
            network::quantize_u8(&reals.map(|x| x as u8), net.input_mut());
            assert_eq!(by_real, *net.input_mut());
        }
        let scores = *net.infer();
        assert!(scores.iter().all(|&score| score <= scores[network::argmax(&scores)]));
        let reals = network::dequantize(&scores);
        for (real, score) in reals.iter().zip(scores) {
            assert_eq!(*real, f32::from(score) * network::OUTPUT.scale);
        }
        println!("{}", scores.map(|score| score.to_string()).join(" "));
    }
}
"#;

/// The same for a network whose input arrives row by row; rows are asked for in their order.
const MAIN_ROWS: &str = r#"
#![forbid(unsafe_code)]
#![deny(warnings, missing_docs)]
//! Runs a generated network.
mod network;
use network::{INPUT_LEN, Network, ROW_LEN};

fn main() {
    let bytes = std::fs::read("samples.f32").unwrap();
    let mut net = Network::new();
    assert_eq!(size_of::<Network>(), network::RAM_BYTES);
    assert_eq!(network::INPUT_SHAPE.row_len(), ROW_LEN);
    for sample in bytes.chunks_exact(4 * INPUT_LEN) {
        let reals: [f32; INPUT_LEN] =
            std::array::from_fn(|i| f32::from_le_bytes(sample[4 * i..4 * i + 4].try_into().unwrap()));
        let mut rows = 0;
        let scores = net.infer(|y, row| {
            assert_eq!(y, rows);
            rows += 1;
            let reals: &[f32; ROW_LEN] = reals[y * ROW_LEN..][..ROW_LEN].try_into().unwrap();
            network::quantize_f32(reals, row);
            if reals.iter().all(|&x| (0.0..=255.0).contains(&x) && x.fract() == 0.0) {
                let by_real = *row;
                network::quantize_u8(&reals.map(|x| x as u8), row);
                assert_eq!(by_real, *row);
            }
        });
        println!("{}", scores.map(|score| score.to_string()).join(" "));
    }
}
"#;

/// The same between words that nobody may write to, in an arena that is painted before each run, in two colours; before the
/// scores it prints whether the first and the last word of the arena were written to.
const GUARDED_MAIN: &str = r#"
#![forbid(unsafe_code)]
#![deny(warnings)]
mod network;
use std::hint::black_box;
use network::{INPUT_LEN, Network};

const GUARD: [u32; 64] = [0x600d_600d; 64];

#[repr(C)]
struct Guarded {
    before: [u32; 64],
    network: Network,
    after: [u32; 64],
}

fn main() {
    let bytes = std::fs::read("samples.f32").unwrap();
    let mut memory = Box::new(Guarded { before: GUARD, network: Network::new(), after: GUARD });
    assert_eq!(size_of::<Guarded>(), size_of_val(&GUARD) * 2 + network::RAM_BYTES);
    for sample in bytes.chunks_exact(4 * INPUT_LEN) {
        let reals: [f32; INPUT_LEN] =
            std::array::from_fn(|i| f32::from_le_bytes(sample[4 * i..4 * i + 4].try_into().unwrap()));
        let [a, b] = [0x5555_5555, 0x2aaa_aaaa].map(|paint| {
            memory.network.arena_mut().fill(paint);
            network::quantize_f32(&reals, memory.network.input_mut());
            let scores = *memory.network.infer();
            let memory = black_box(&mut *memory);
            assert!(memory.before == GUARD && memory.after == GUARD, "written beside the network");
            let arena = memory.network.arena_mut();
            (scores, [arena[0], arena[arena.len() - 1]].map(|word| word != paint))
        });
        assert_eq!(a.0, b.0, "scores depend on what was in memory before");
        let [first, last] = [0, 1].map(|end| u8::from(a.1[end] || b.1[end]));
        println!("{first} {last} {}", a.0.map(|score| score.to_string()).join(" "));
    }
}
"#;

fn model(onnx: &str, calibrate: &str) -> Model {
    let path = |name: &str| Path::new(ROOT).join(name);
    Model::load(&path(onnx), &path(calibrate), &Options::default()).unwrap()
}

/// A stranger's crate around a model's module, with samples (NCHW) to run it on.
fn project(package: &str, model: &Model, samples: &[&[f32]], classes: &[String]) -> TempDir {
    let project = tempfile::tempdir().unwrap();
    let source = project.path().join("src");
    model.write(&source, "network", classes).unwrap();
    let main = if model.plan.rows.is_some() { MAIN_ROWS } else { MAIN };
    fs::write(source.join("main.rs"), main).unwrap();
    let manifest = format!(
        "[package]\nname = \"{package}\"\nedition = \"2024\"\n[workspace]\n\
         [dependencies]\ncondconv = {{ path = {:?} }}\n[profile.dev]\nopt-level = 2\noverflow-checks = true\n",
        fs::canonicalize(ROOT).unwrap()
    );
    fs::write(project.path().join("Cargo.toml"), manifest).unwrap();
    fs::copy(Path::new(ROOT).join("Cargo.lock"), project.path().join("Cargo.lock")).unwrap();
    let bytes: Vec<u8> =
        samples.iter().flat_map(|sample| model.nhwc(sample)).flat_map(f32::to_le_bytes).collect();
    fs::write(project.path().join("samples.f32"), bytes).unwrap();
    project
}

fn cargo(command: &str, project: &Path) -> Output {
    cargo_with(command, project, None)
}

/// With the loops of some core. There is a folder for all strangers' crates with the same loops, so that dependencies are
/// compiled once.
fn cargo_with(command: &str, project: &Path, kernels: Option<&str>) -> Output {
    let target_dir = format!("strangers{}", kernels.map(|kernels| format!("_{kernels}")).unwrap_or_default());
    Command::new(env!("CARGO"))
        .args([command, "--quiet", "--target-dir"])
        .arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join(target_dir))
        .envs(kernels.map(|kernels| ("CONDCONV_KERNELS", kernels)))
        .current_dir(project)
        .output()
        .unwrap()
}

/// Compiles and runs a model's module on samples (NCHW) and returns what it prints.
fn run_module(package: &str, model: &Model, samples: &[&[f32]], classes: &[String]) -> Vec<Vec<i32>> {
    numbers(&cargo("run", project(package, model, samples, classes).path()))
}

/// What a program prints, line by line.
fn numbers(output: &Output) -> Vec<Vec<i32>> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| line.split(' ').map(|score| score.parse().unwrap()).collect())
        .collect()
}

fn assert_equal(module: &[Vec<i32>], host: &[Vec<i32>]) {
    assert_eq!(module.len(), host.len());
    for (sample, (module, host)) in module.iter().zip(host).enumerate() {
        assert_eq!(module, host, "sample {sample}");
    }
}

#[test]
fn shipped_networks_give_the_bits_of_the_host_executor() {
    for name in ["digits", "watch", "watch_acc"] {
        let model = model(&format!("models/{name}.onnx"), &format!("models/{name}.calibrate.npy"));
        let samples =
            read_samples(&Path::new(ROOT).join(format!("models/{name}.test.npy")), &model.import).unwrap();
        let samples: Vec<&[f32]> = samples.iter().take(200).collect();
        assert_equal(&run_module(name, &model, &samples, &[]), &model.scores(&samples));
    }
}

#[test]
fn every_written_form_gives_the_bits_of_the_host_executor() {
    for name in ["timm_legacy", "einsum_dynamo", "grouped_legacy", "shared_routing_dynamo", "asymmetric"] {
        let base = format!("tests/fixtures/onnx/{name}");
        let model = model(&format!("{base}.onnx"), &format!("{base}.input.npy"));
        let samples =
            read_samples(&Path::new(ROOT).join(format!("{base}.input.npy")), &model.import).unwrap();
        let samples: Vec<&[f32]> = samples.iter().collect();
        let labels: Vec<String> =
            (0..model.classes().unwrap()).map(|class| format!("class \"{class}\"")).collect();
        assert_equal(&run_module(name, &model, &samples, &labels), &model.scores(&samples));
    }
}

/// Sums, products, concatenations, pools, tables, softmax, in networks that have them all.
#[test]
fn every_operator_gives_the_bits_of_the_host_executor() {
    for name in ["branches_legacy", "dynamic_dynamo", "blocks_legacy", "keras_tf2onnx"] {
        let (base, _) = name.split_once('_').unwrap();
        let folder = "tests/fixtures/networks";
        let model = model(&format!("{folder}/{name}.onnx"), &format!("{folder}/{base}.calibrate.npy"));
        let samples =
            read_samples(&Path::new(ROOT).join(format!("{folder}/{base}.test.npy")), &model.import).unwrap();
        let samples: Vec<&[f32]> = samples.iter().collect();
        assert_equal(&run_module(name, &model, &samples, &[]), &model.scores(&samples));
    }
}

/// The input, what lies between layers, and what a skip connection carries.
#[test]
fn int16_tensors_give_the_bits_of_the_host_executor() {
    let names = ["input", "/stem/conv/Conv", "/pointwise1/conv/Conv", "/depthwise3/conv/Conv"];
    let int16 = Int16::Named(names.map(String::from).to_vec());
    let options = Options { int16, ranges: RangeMethod::Mse.into(), ram: None, rows: false };
    let file = |name: &str| Path::new(ROOT).join("models").join(name);
    let model = Model::load(&file("watch.onnx"), &file("watch.calibrate.npy"), &options).unwrap();
    let samples = read_samples(&file("watch.test.npy"), &model.import).unwrap();
    let samples: Vec<&[f32]> = samples.iter().take(100).collect();
    assert_equal(&run_module("int16", &model, &samples, &[]), &model.scores(&samples));

    // A picture in bytes.
    let options = Options { int16: Int16::Named(vec!["input".into()]), ..Options::default() };
    let model = Model::load(&file("digits.onnx"), &file("digits.calibrate.npy"), &options).unwrap();
    let samples = read_samples(&file("digits.test.npy"), &model.import).unwrap();
    let samples: Vec<&[f32]> = samples.iter().take(20).collect();
    assert_equal(&run_module("int16_bytes", &model, &samples, &[]), &model.scores(&samples));
}

/// Convolutions of all kinds, pools, sums, products, concatenations and tables that run row by row, in as little memory as can
/// be and in what makes them fastest.
#[test]
fn layers_that_run_row_by_row_give_the_bits_of_the_host_executor() {
    let folder = "tests/fixtures/networks";
    for (name, onnx, data, int16) in [
        ("rows_resnet8", "models/resnet8", "models/digits", Int16::None),
        ("rows_watch", "models/watch", "models/watch", Int16::Named(vec!["/stem/conv/Conv".into()])),
        ("rows_branches", "branches_dynamo", "branches", Int16::None),
        ("rows_blocks", "blocks_legacy", "blocks", Int16::None),
        ("rows_v2", "mobilenet_v2_condconv_legacy", "mobilenet_v2_condconv", Int16::None),
    ] {
        let file = |name: &str| Path::new(ROOT).join(if name.contains('/') { "" } else { folder }).join(name);
        let options = Options { int16, rows: true, ..Options::default() };
        let mut model =
            Model::load(&file(&format!("{onnx}.onnx")), &file(&format!("{data}.calibrate.npy")), &options)
                .unwrap();
        let samples = read_samples(&file(&format!("{data}.test.npy")), &model.import).unwrap();
        let samples: Vec<&[f32]> = samples.iter().take(20).collect();
        let expected = model.scores(&samples);
        assert_equal(&run_module(name, &model, &samples, &[]), &expected);
        let least = model.plan.sizes().least_ram_bytes;
        model.plan = model.plan.within(least).unwrap();
        assert_equal(&run_module(&format!("{name}_least"), &model, &samples, &[]), &expected);
    }
}

#[test]
fn inputs_that_are_needed_whole_cannot_arrive_row_by_row() {
    let vector = Build::new(&[1, 8]).weights("w", &[8, 3]).node("MatMul", "x w", "y");
    let early_and_late = Build::new(&[1, 2, 5, 5])
        .weights("w", &[2, 2, 3, 3])
        .node("Conv", "x w", "c")
        .node("GlobalAveragePool", "c", "p")
        .node("GlobalAveragePool", "x", "q")
        .node("Add", "p q", "y");
    for (graph, len, cause) in
        [(vector, 8, "(Linear) needs its whole input"), (early_and_late, 50, "'x' is read early and late")]
    {
        let samples = vec![0.5; len];
        let (file, options) = (Path::new("graph.onnx"), Options { rows: true, ..Options::default() });
        let error = Model::new(file, file, graph.load().unwrap(), &[&samples], &options).unwrap_err();
        let message = error.to_string();
        assert!(
            ["graph.onnx", cause, "leave --rows out"].iter().all(|part| message.contains(part)),
            "{message}"
        );
    }
}

/// An ONNX file whose nodes and values are called what no Rust program could call anything.
fn with_odd_names(onnx: &Path) -> Vec<u8> {
    const NAMES: [&str; 17] = [
        "Mul",
        "a Softmax, checked",
        "\"disjoint(Lookup)\"",
        "output_len",
        "routing/0",
        "weights",
        "",
        "9",
        "fn",
        "Größe",
        "größe",
        "a\nb",
        "*/ `\"{}\\",
        "classes",
        "a/b",
        "a.b",
        "\u{202e}卷积",
    ];
    let mut model = ModelProto::parse_buf(&fs::read(onnx).unwrap()).unwrap();
    let graph = model.graph.as_mut().unwrap();
    let mut values: BTreeMap<String, String> = BTreeMap::new();
    for node in &graph.node {
        for name in node.input.iter().chain(&node.output).filter(|name| !name.is_empty()) {
            let number = values.len();
            // Values need names of their own; sanitised, these are the same.
            values.entry(name.clone()).or_insert_with(|| {
                format!("{}{}", NAMES[number % NAMES.len()], "'".repeat(number / NAMES.len() + 1))
            });
        }
    }
    for (node, name) in graph.node.iter_mut().zip(NAMES.iter().cycle()) {
        node.name = Some((*name).into());
        node.input
            .iter_mut()
            .chain(&mut node.output)
            .for_each(|name| name.clone_from(&values[name.as_str()]));
    }
    for tensor in &mut graph.initializer {
        tensor.name = tensor.name.as_ref().and_then(|name| values.get(name).cloned());
    }
    for value in graph.input.iter_mut().chain(&mut graph.output) {
        value.name = value.name.as_ref().and_then(|name| values.get(name).cloned());
    }
    graph.value_info.clear();
    model.write_buf().unwrap()
}

/// Names that are no identifiers, that are taken, that are those of types, and that try to leave their comment or line;
/// scratch for one channel only.
#[test]
fn any_names_and_any_sizes_make_a_module_that_compiles() {
    let base = "tests/fixtures/onnx/shared_routing_legacy";
    let plain = model(&format!("{base}.onnx"), &format!("{base}.input.npy"));
    let folder = tempfile::tempdir().unwrap();
    let renamed = folder.path().join("renamed.onnx");
    fs::write(&renamed, with_odd_names(&Path::new(ROOT).join(format!("{base}.onnx")))).unwrap();
    let inputs = Path::new(ROOT).join(format!("{base}.input.npy"));
    let network = Model::load(&renamed, &inputs, &Options::default()).unwrap();
    let samples = read_samples(&inputs, &network.import).unwrap();
    let samples: Vec<&[f32]> = samples.iter().collect();
    assert_equal(&run_module("names", &network, &samples, &[]), &plain.scores(&samples));

    for name in
        ["timm_depthwise_dynamo", "depthwise_legacy", "one_expert_dynamo", "nibuiro_legacy", "flat_dynamo"]
    {
        let base = format!("tests/fixtures/onnx/{name}");
        let mut model = model(&format!("{base}.onnx"), &format!("{base}.input.npy"));
        // One channel at a time, in as little memory as there may be.
        let least = model.plan.sizes().least_ram_bytes;
        model.plan = model.plan.within(least).unwrap();
        let samples =
            read_samples(&Path::new(ROOT).join(format!("{base}.input.npy")), &model.import).unwrap();
        let samples: Vec<&[f32]> = samples.iter().collect();
        assert_equal(&run_module(name, &model, &samples, &[]), &model.scores(&samples));
    }
}

/// The arena is used up to its last word, and no further. What of its scratch a layer writes to depends on the loops, so that
/// the last word may be that of some of them only.
#[test]
fn nothing_is_written_beside_the_network() {
    let fixtures = "tests/fixtures/networks";
    for (folder, name, data, least) in [
        ("models", "digits", "digits", false),
        ("models", "digits", "digits", true),
        ("models", "watch", "watch", true),
        (fixtures, "branches_legacy", "branches", false),
        (fixtures, "blocks_legacy", "blocks", true),
    ] {
        let mut model = model(&format!("{folder}/{name}.onnx"), &format!("{folder}/{data}.calibrate.npy"));
        if least {
            let ram = model.plan.sizes().least_ram_bytes;
            model.plan = model.plan.within(ram).unwrap();
        }
        let samples =
            read_samples(&Path::new(ROOT).join(format!("{folder}/{data}.test.npy")), &model.import).unwrap();
        let samples: Vec<&[f32]> = samples.iter().take(4).collect();
        let project = project(&format!("guarded_{name}_{least}"), &model, &samples, &[]);
        let source = project.path().join("src");
        fs::write(source.join("main.rs"), GUARDED_MAIN).unwrap();
        // The arena is private, and a test may look at it.
        let module = source.join("network.rs");
        let mut text = fs::read_to_string(&module).unwrap();
        text += &format!(
            "impl Network {{ pub fn arena_mut(&mut self) -> &mut [i32; {}] {{ &mut self.arena }} }}\n",
            model.plan.arena
        );
        fs::write(module, text).unwrap();
        let host = model.scores(&samples);
        let both_ends_are_written = ["portable", "scalar", "dsp", "helium"].into_iter().any(|kernels| {
            let lines = numbers(&cargo_with("run", project.path(), Some(kernels)));
            let scores: Vec<Vec<i32>> = lines.iter().map(|line| line[2..].to_vec()).collect();
            assert_equal(&scores, &host);
            lines.iter().all(|line| line[..2] == [1, 1])
        });
        assert!(both_ends_are_written, "{name}: the arena is larger than what any loops use");
    }
}

/// The last layer's outputs are int16, and kernels of nine weights fill no whole words.
#[test]
fn a_convolution_at_the_end_has_the_scratch_that_it_needs() {
    let graph = Build::new(&[1, 1, 5, 6]).weights("w", &[50, 1, 3, 3]).weights("v", &[2, 50, 3, 3]);
    for (name, graph) in [
        ("one_convolution", graph.clone().node("Conv", "x w", "y")),
        ("two_convolutions", graph.node("Conv", "x w", "z").node("Conv", "z v", "y")),
    ] {
        let samples: Vec<Vec<f32>> = inputs::noise(1, [5, 6], 8);
        let samples: Vec<&[f32]> = samples.iter().map(Vec::as_slice).collect();
        let file = Path::new("graph");
        let model = Model::new(file, file, graph.load().unwrap(), &samples, &Options::default()).unwrap();
        assert_equal(&run_module(name, &model, &samples, &[]), &model.scores(&samples));
    }
}

/// Sums and products of a tensor with itself, of int8 and int16 elements.
#[test]
fn a_tensor_that_is_read_twice() {
    let graph = Build::new(&[1, 2, 3, 3])
        .weights("w", &[2, 2, 1, 1])
        .node("Add", "x x", "a")
        .node("Conv", "a w", "c")
        .node("Mul", "c c", "m")
        .node("Conv", "m w", "y");
    for (name, int16) in [("twice", Int16::None), ("twice_wide", Int16::Named(vec!["x".into()]))] {
        let samples: Vec<Vec<f32>> = inputs::noise(2, [3, 3], 8);
        let samples: Vec<&[f32]> = samples.iter().map(Vec::as_slice).collect();
        let file = Path::new("graph");
        let options = Options { int16, ..Options::default() };
        let model = Model::new(file, file, graph.clone().load().unwrap(), &samples, &options).unwrap();
        assert_equal(&run_module(name, &model, &samples, &[]), &model.scores(&samples));
    }
}

#[test]
fn a_range_that_was_changed_does_not_compile() {
    let model = model("models/digits.onnx", "models/digits.calibrate.npy");
    let mut broken = model;
    let output = broken.plan.network.layers[0].output;
    broken.plan.places[output] = broken.plan.scratch[0].clone();
    let project = project("range", &broken, &[], &[]);
    let output = cargo("check", project.path());
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("none_meet"));
}

#[test]
fn module_is_formatted_as_rustfmt_would() {
    let folder = tempfile::tempdir().unwrap();
    let shipped = ["digits", "watch"].map(|name| (name, "models", "calibrate"));
    let fixtures = ["timm_legacy", "grouped_dynamo", "asymmetric", "shared_routing_dynamo"]
        .map(|name| (name, "tests/fixtures/onnx", "input"));
    let networks = [
        "branches_legacy",
        "branches_dynamo",
        "dynamic_legacy",
        "dynamic_dynamo",
        "blocks_legacy",
        "blocks_dynamo",
    ]
    .map(|name| (name, "tests/fixtures/networks", "calibrate"));
    for (name, place, data) in shipped.into_iter().chain(fixtures).chain(networks) {
        // Exports of one network by both exporters share their data.
        let base =
            if data == "calibrate" { name.split_once('_').map_or(name, |(base, _)| base) } else { name };
        let model = model(&format!("{place}/{name}.onnx"), &format!("{place}/{base}.{data}.npy"));
        let (module, _) = model.write(folder.path(), name, &["a".into(), "b".into()]).unwrap();
        let output =
            Command::new("rustfmt").args(["--check", "--edition", "2024"]).arg(module).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        let Ok(plan) = Plan::row_by_row(model.plan.network.clone()) else { continue };
        let (module, _) = Model { plan, ..model }.write(folder.path(), name, &[]).unwrap();
        let output =
            Command::new("rustfmt").args(["--check", "--edition", "2024"]).arg(module).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn weights_that_were_changed_change_the_scores() {
    let model = model("models/digits.onnx", "models/digits.calibrate.npy");
    let samples = read_samples(&Path::new(ROOT).join("models/digits.test.npy"), &model.import).unwrap();
    let samples: Vec<&[f32]> = samples.iter().take(20).collect();
    let honest = model.scores(&samples);
    let mut broken = model;
    broken.plan.weights[5] ^= 0x40;
    assert_ne!(run_module("broken", &broken, &samples, &[]), honest);
}
