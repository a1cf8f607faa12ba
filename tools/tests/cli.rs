//! The program as scripts call it: the contract of its arguments, files, JSON and errors.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rten_onnx::onnx::ModelProto;
use serde_json::Value;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn shared(name: &str) -> String {
    format!("{ROOT}/{name}")
}

fn condconv(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_condconv")).args(arguments).output().unwrap()
}

fn stdout_of_success(arguments: &[&str]) -> String {
    let output = condconv(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn json_of_success(arguments: &[&str]) -> Value {
    serde_json::from_str(&stdout_of_success(arguments)).unwrap()
}

/// Runs a command that must fail, and checks that its message is one line with all of `parts` and that nothing
/// was written to `folder`.
fn fails_with(arguments: &[&str], parts: &[&str], folder: &Path) {
    let before = entries(folder);
    let output = condconv(arguments);
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{arguments:?}");
    assert!(!message.contains("panicked"), "{message}");
    assert_eq!(message.trim_end().lines().count(), 1, "{message}");
    for part in parts {
        assert!(message.contains(part), "'{part}' is missing: {message}");
    }
    assert_eq!(entries(folder), before, "left behind");
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(folder).map(|dir| dir.map(|entry| entry.unwrap().path()).collect()).unwrap_or_default();
    entries.sort();
    entries
}

/// A `.npy` file with little-endian elements.
fn npy(path: &Path, descr: &str, shape: &[usize], data: &[u8]) {
    let dims: String = shape.iter().map(|d| format!("{d}, ")).collect();
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({dims}), }}");
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    fs::write(path, bytes).unwrap();
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

struct Digits {
    model: String,
    calibrate: String,
    test: String,
    labels: String,
}

fn digits() -> Digits {
    Digits {
        model: shared("models/digits.onnx"),
        calibrate: shared("models/digits.calibrate.npy"),
        test: shared("models/digits.test.npy"),
        labels: shared("models/digits.labels.npy"),
    }
}

#[test]
fn convert_writes_two_files_and_no_more_and_always_the_same_bytes() {
    let Digits { model, calibrate, .. } = digits();
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let out = first.path().join("new/folder");
    let out = out.to_str().unwrap();
    stdout_of_success(&["convert", &model, "--calibrate", &calibrate, "--out", out, "--name", "net"]);
    let names: Vec<PathBuf> = entries(Path::new(out));
    assert_eq!(names, [Path::new(out).join("net.bin"), Path::new(out).join("net.rs")]);

    // On one processor, by way of the affinity that the program inherits.
    let output = Command::new("taskset")
        .args(["-c", "0", env!("CARGO_BIN_EXE_condconv"), "convert", &model, "--calibrate", &calibrate])
        .args(["--name", "net", "--out"])
        .arg(second.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for name in ["net.rs", "net.bin"] {
        let files = [Path::new(out).join(name), second.path().join(name)].map(|path| fs::read(path).unwrap());
        assert!(files[0] == files[1], "{name}");
    }
}

#[test]
fn module_is_named_after_the_model_unless_it_is_given_a_name() {
    let Digits { model, calibrate, .. } = digits();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    stdout_of_success(&["convert", &model, "--calibrate", &calibrate, "--out", out]);
    assert!(folder.path().join("digits.rs").is_file());
    for name in ["9lives", "Digits", "fn", "a-b", "../x", ""] {
        let arguments = ["convert", &model, "--calibrate", &calibrate, "--out", out, "--name", name];
        fails_with(&arguments, &["name", "--name"], folder.path());
    }
}

#[test]
fn convert_verify_and_inspect_agree_on_plan_and_sizes() {
    let Digits { model, calibrate, test, labels } = digits();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let converted = stdout_of_success(&["convert", &model, "--calibrate", &calibrate, "--out", out]);
    let module = fs::read_to_string(folder.path().join("digits.rs")).unwrap();

    let data = ["--calibrate", &calibrate, "--inputs", &test, "--labels", &labels];
    let verified = json_of_success(&[&["verify", &model][..], &data, &["--json", "-"]].concat());
    let inspected = json_of_success(&["inspect", &model, "--calibrate", &calibrate, "--json", "-"]);
    let plan = verified["plan_id"].as_str().unwrap();
    assert!(module.contains(&format!("PLAN_ID: &str = \"{plan}\"")));
    assert_eq!(inspected["plan_id"], plan);
    for key in ["macs", "mixing_macs", "flash_bytes", "ram_bytes"] {
        assert!(verified[key].as_u64().unwrap() > 0, "{key}");
        assert_eq!(verified[key], inspected[key], "{key}");
    }
    assert!(module.contains(&format!("RAM_BYTES: usize = {};", verified["ram_bytes"])));
    assert!(module.contains(&format!("FLASH_BYTES: usize = {};", verified["flash_bytes"])));
    for key in ["flash", "peak"] {
        assert!(verified[key].is_object() && verified[key] == inspected[key], "{key}");
    }
    let sum = |kinds: &Value| kinds.as_object().unwrap().values().map(|v| v.as_u64().unwrap()).sum::<u64>();
    assert_eq!(verified["flash_bytes"], sum(&verified["flash"]));
    for layer in inspected["layers"].as_array().unwrap() {
        assert_eq!(layer["flash_bytes"], sum(&layer["flash"]), "{layer}");
    }
    let parts = ["layers", "routings"].map(|key| inspected[key].as_array().unwrap());
    let bytes = parts.into_iter().flatten().map(|part| part["flash_bytes"].as_u64().unwrap());
    assert_eq!(inspected["flash_bytes"], bytes.sum::<u64>());
    let peak = format!(
        "{} bytes in use by {}",
        verified["peak"]["ram_bytes"],
        verified["peak"]["layer"].as_str().unwrap()
    );
    assert!(converted.contains(&peak), "{converted}");
    let experts = format!("experts {}, static weights", verified["flash"]["experts"]);
    assert!(converted.contains(&experts), "{converted}");

    let layers = verified["layers"].as_array().unwrap();
    assert_eq!(layers.len(), inspected["layers"].as_array().unwrap().len());
    let sum: u64 = layers.iter().map(|layer| layer["macs"].as_u64().unwrap()).sum();
    assert_eq!(verified["macs"], sum);
    for layer in layers {
        assert!(layer["sqnr_db"].as_f64().unwrap() > 20.0, "{layer}");
        assert!(layer["max_error_lsb"].is_number() && layer["saturations"].is_u64());
        assert!(layer["name"].is_string() && layer["op"].is_string());
    }

    // Without calibration data: the same sizes, and no plan.
    let bare = json_of_success(&["inspect", &model, "--json", "-"]);
    assert_eq!(bare["plan_id"], Value::Null);
    for key in ["macs", "mixing_macs", "flash_bytes", "ram_bytes"] {
        assert_eq!(bare[key], inspected[key], "{key}");
    }
}

#[test]
fn options_that_change_the_plan_change_it_alike_for_every_command() {
    let Digits { calibrate, test, .. } = digits();
    let model = shared("models/digits_static.onnx");
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let plan_of = |options: &[&str]| {
        let base = ["--calibrate", &calibrate];
        stdout_of_success(&[&["convert", &model, "--out", out][..], &base, options].concat());
        let module = fs::read_to_string(folder.path().join("digits_static.rs")).unwrap();
        let json = ["--json", "-"];
        let inspected = json_of_success(&[&["inspect", &model][..], &base, options, &json].concat());
        let inputs = ["--inputs", &test];
        let verified = json_of_success(&[&["verify", &model][..], &base, &inputs, options, &json].concat());
        let plan = verified["plan_id"].as_str().unwrap();
        assert!(module.contains(&format!("PLAN_ID: &str = \"{plan}\"")));
        assert_eq!(inspected["plan_id"], plan);
        assert_eq!(inspected["int16"], verified["int16"]);
        (plan.to_string(), verified)
    };
    let (plain, verified) = plan_of(&[]);
    assert_eq!(verified["int16"], Value::Null);
    assert_eq!(plan_of(&["--int16", "none", "--ranges", "min-max"]).0, plain);
    let bytes = |result: &Value, key: &str| result[key].as_u64().unwrap();
    let [least, fastest] = ["least_ram_bytes", "fastest_ram_bytes"].map(|key| bytes(&verified, key));
    for ram in [least, least + 3, least + 4, fastest - 1, fastest, fastest + 1000] {
        let (id, bounded) = plan_of(&["--ram", &ram.to_string()]);
        assert!((least..=ram.min(fastest)).contains(&bytes(&bounded, "ram_bytes")));
        assert_eq!(id == plain, ram >= fastest);
    }

    let (by_row, verified) = plan_of(&["--rows"]);
    assert_ne!(by_row, plain);
    let less = bytes(&verified, "least_ram_bytes");
    assert!(less < least);
    assert_eq!(bytes(&plan_of(&["--rows", "--ram", &less.to_string()]).1, "ram_bytes"), less);

    let (auto, verified) = plan_of(&["--int16", "auto", "--ranges", "mse"]);
    let trade = &verified["int16"];
    assert!(trade["sqnr_db"].as_f64() > trade["sqnr_db_without"].as_f64());
    assert_eq!(trade["ram_bytes"], verified["ram_bytes"]);
    let tensors: Vec<&str> =
        trade["tensors"].as_array().unwrap().iter().map(|tensor| tensor["name"].as_str().unwrap()).collect();
    assert!(!tensors.is_empty());
    let (named, by_name) = plan_of(&["--ranges", "mse", "--int16", &tensors.join(",")]);
    assert_eq!(named, auto, "the same tensors, chosen by name");
    assert_eq!(by_name["int16"]["tensors"][0]["noise_share"], Value::Null);
    assert_eq!(by_name["ranges"]["method"], "mse");
    let layer = verified["layers"][2]["name"].as_str().unwrap();
    let (one, verified) = plan_of(&["--ranges", &format!("min-max,{layer}=mse")]);
    assert_ne!(one, plain);
    assert_eq!(verified["ranges"]["named"][0]["name"], layer);
    assert_eq!(verified["ranges"]["named"][0]["method"], "mse");
    let same = plan_of(&["--ranges", &format!("min-max,{layer}=min-max")]).0;
    assert_eq!(same, plain);
    let percentile = plan_of(&["--ranges", "percentile"]).0;
    assert!(plain != auto && auto != percentile && percentile != plain);

    let convert = |options: &[&str], parts: &[&str]| {
        let arguments = ["convert", &model, "--calibrate", &calibrate, "--out", out];
        fails_with(&[&arguments[..], options].concat(), parts, folder.path());
    };
    convert(&["--int16", "nowhere"], &["digits_static.onnx", "'nowhere'", "inspect"]);
    convert(&["--int16", ""], &["digits_static.onnx", "--int16", "empty", "commas"]);
    convert(&["--int16", &format!("auto,{}", tensors[0])], &["'auto'", "one or the other"]);
    convert(
        &["--ranges", "mse,nowhere=min-max"],
        &["digits_static.onnx", "--ranges", "'nowhere'", "inspect"],
    );
    convert(&["--ram", &(least - 1).to_string()], &["digits_static.onnx", "--ram", &least.to_string()]);
    convert(&["--ranges", "mse,=min-max"], &["digits_static.onnx", "--ranges", "empty"]);
    fails_with(&["inspect", &model, "--int16", "auto"], &["--calibrate"], folder.path());
}

#[test]
fn verify_prints_a_line_a_layer_and_writes_json_beside_it() {
    let Digits { model, calibrate, test, .. } = digits();
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("result.json");
    let text = stdout_of_success(&[
        "verify",
        &model,
        "--calibrate",
        &calibrate,
        "--inputs",
        &test,
        "--json",
        json.to_str().unwrap(),
    ]);
    let result: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    for layer in result["layers"].as_array().unwrap() {
        let name = layer["name"].as_str().unwrap();
        let line = text.lines().find(|line| line.contains(name)).unwrap();
        assert!(line.contains(layer["op"].as_str().unwrap()), "{line}");
        assert!(line.contains(&format!("{:.1}", layer["sqnr_db"].as_f64().unwrap())), "{line}");
    }
    // No labels, no accuracy; agreement needs none.
    assert_eq!(result["output"]["accuracy_float"], Value::Null);
    assert_eq!(result["output"]["accuracy_int8"], Value::Null);
    assert!(result["output"]["top1_agreement"].as_f64().unwrap() > 0.9);
}

#[test]
fn bad_models_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let Digits { calibrate, .. } = digits();
    for (file, parts) in [
        ("empty.onnx", &[][..]),
        ("garbage.onnx", &[]),
        ("text.onnx", &[]),
        ("truncated.onnx", &[]),
        ("transposed.onnx", &["ConvTranspose"]),
        ("lstm.onnx", &["LSTM"]),
        ("rectified_kernel.onnx", &["linear"]),
        ("squared_routing.onnx", &["linear"]),
        ("batch2_static.onnx", &["batch"]),
        ("batch2_timm.onnx", &["batch"]),
        ("batch2_nibuiro.onnx", &["batch"]),
        ("nan_static.onnx", &["NaN"]),
        ("nan_expert.onnx", &["NaN"]),
        ("infinite_expert.onnx", &["inf"]),
        ("external_data.onnx", &["external"]),
        ("missing.onnx", &[]),
    ] {
        let model = shared(&format!("tests/fixtures/onnx/{file}"));
        // File, cause and remedy.
        let mut expected = vec![file, ": ", "; "];
        expected.extend(parts);
        fails_with(&["convert", &model, "--calibrate", &calibrate, "--out", out], &expected, folder.path());
    }
}

#[test]
fn bad_arrays_are_refused() {
    let Digits { model, calibrate, test, .. } = digits();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let image = 28 * 28;
    npy(&path("narrow.npy"), "<f4", &[2, 1, 28, 27], &floats(&vec![0.0; 2 * 28 * 27]));
    npy(&path("flat.npy"), "<f4", &[2, image], &floats(&vec![0.0; 2 * image]));
    let mut odd = vec![1.0; 2 * image];
    odd[image + 3] = f32::NAN;
    npy(&path("nan.npy"), "<f4", &[2, 1, 28, 28], &floats(&odd));
    odd[image + 3] = f32::INFINITY;
    npy(&path("infinite.npy"), "<f4", &[2, 1, 28, 28], &floats(&odd));
    npy(&path("none.npy"), "<f4", &[0, 1, 28, 28], &[]);
    npy(&path("short.npy"), "<f4", &[2, 1, 28, 28], &floats(&vec![0.0; image]));
    fs::write(path("text.npy"), "not an array").unwrap();
    // The parser would take exponential time for it.
    let deep = format!("{{'descr': {}, }}\n", "{".repeat(40));
    let header = [b"\x93NUMPY\x01\x00", &(deep.len() as u16).to_le_bytes()[..], deep.as_bytes()].concat();
    fs::write(path("deep.npy"), header).unwrap();
    for (file, part) in [
        ("deep.npy", "damaged header"),
        ("narrow.npy", "28"),
        ("flat.npy", "28"),
        ("nan.npy", "sample 1 holds NaN at [0, 0, 3]"),
        ("infinite.npy", "inf"),
        ("none.npy", "samples"),
        ("short.npy", "short.npy"),
        ("text.npy", "text.npy"),
        ("missing.npy", "missing.npy"),
    ] {
        let array = path(file);
        let array = array.to_str().unwrap();
        let out = path("out");
        let arguments = ["convert", &model, "--calibrate", array, "--out", out.to_str().unwrap()];
        fails_with(&arguments, &[file, part], folder.path());
        let arguments = ["verify", &model, "--calibrate", &calibrate, "--inputs", array];
        fails_with(&arguments, &[file, part], folder.path());
    }

    npy(&path("few.npy"), "<i8", &[3], &[0; 24]);
    npy(&path("eleven.npy"), "|u1", &[1000], &[10; 1000]);
    npy(&path("negative.npy"), "|i1", &[1000], &[255; 1000]);
    npy(&path("real.npy"), "<f4", &[1000], &floats(&[0.5; 1000]));
    for (file, part) in
        [("few.npy", "3 labels for 1000"), ("eleven.npy", "10"), ("negative.npy", "-1"), ("real.npy", "")]
    {
        let labels = path(file);
        let json = path("result.json");
        let arguments = [
            "verify",
            &model,
            "--calibrate",
            &calibrate,
            "--inputs",
            &test,
            "--labels",
            labels.to_str().unwrap(),
            "--json",
            json.to_str().unwrap(),
        ];
        fails_with(&arguments, &[file, part], folder.path());
    }
}

#[test]
fn folders_that_cannot_be_written_are_reported() {
    let Digits { model, calibrate, test, .. } = digits();
    let folder = tempfile::tempdir().unwrap();
    // A file where a folder should be: nobody can write there, not even root.
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    let below = file.join("out");
    for out in [&file, &below] {
        let arguments = ["convert", &model, "--calibrate", &calibrate, "--out", out.to_str().unwrap()];
        fails_with(&arguments, &[out.to_str().unwrap(), "folder"], folder.path());
    }
    let json = file.join("result.json");
    let arguments =
        ["verify", &model, "--calibrate", &calibrate, "--inputs", &test, "--json", json.to_str().unwrap()];
    fails_with(&arguments, &["result.json"], folder.path());
    // The weights' name is taken by a folder: the module must not be left alone.
    fs::create_dir_all(folder.path().join("taken/digits.bin/x")).unwrap();
    let out = folder.path().join("taken");
    let arguments = ["convert", &model, "--calibrate", &calibrate, "--out", out.to_str().unwrap()];
    fails_with(&arguments, &["digits.bin"], &out);
    fs::create_dir_all(folder.path().join("module/digits.rs/x")).unwrap();
    let out = folder.path().join("module");
    let arguments = ["convert", &model, "--calibrate", &calibrate, "--out", out.to_str().unwrap()];
    fails_with(&arguments, &["digits.rs"], &out);
}

#[test]
fn labels_of_a_network_without_scores_are_not_used() {
    // One class is no score vector: the labels have nothing to be compared with.
    let model = shared("tests/fixtures/onnx/timm_legacy.onnx");
    let input = shared("tests/fixtures/onnx/timm_legacy.input.npy");
    let folder = tempfile::tempdir().unwrap();
    let labels = folder.path().join("labels.npy");
    npy(&labels, "|u1", &[1], &[0]);
    let arguments =
        ["verify", &model, "--calibrate", &input, "--inputs", &input, "--labels", labels.to_str().unwrap()];
    stdout_of_success(&arguments);
}

#[test]
fn inputs_are_not_written_over() {
    let Digits { model, calibrate, .. } = digits();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let (net, samples, out) = (at("net.bin"), at("cal.bin"), at("."));
    fs::copy(&model, &net).unwrap();
    fs::copy(&calibrate, &samples).unwrap();
    let attempts: [&[&str]; 4] = [
        &["convert", &net, "--calibrate", &calibrate, "--out", &out, "--name", "net"],
        &["convert", &model, "--calibrate", &samples, "--out", &out, "--name", "cal"],
        &["inspect", &net, "--calibrate", &samples, "--json", &net],
        &["inspect", &net, "--calibrate", &samples, "--svg", &samples],
    ];
    for arguments in attempts {
        fails_with(arguments, &["another name"], folder.path());
    }
    assert!(fs::read(&net).unwrap() == fs::read(&model).unwrap());
    assert!(fs::read(&samples).unwrap() == fs::read(&calibrate).unwrap());
}

/// Beside text and JSON, or in their place.
#[test]
fn inspect_draws_the_memory() {
    let Digits { model, calibrate, .. } = digits();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let (svg, json) = (at("memory.svg"), at("memory.json"));
    let arguments = ["inspect", &model, "--calibrate", &calibrate];
    let inspect = |options: &[&str]| stdout_of_success(&[&arguments[..], options].concat());
    assert_eq!(inspect(&["--svg", &svg, "--json", &json]), inspect(&[]));
    let result: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    let picture = fs::read_to_string(&svg).unwrap();
    assert!(picture.contains(&format!("digits.onnx: {} bytes of RAM", result["ram_bytes"])));
    assert_eq!(inspect(&["--svg", "-"]), picture);
    assert_eq!(inspect(&["--svg", &svg, "--json", "-"]), inspect(&["--json", "-"]));

    let fails = |svg: &str, json: &str, parts: &[&str]| {
        let options = ["--svg", svg, "--json", json];
        fails_with(&[&arguments[..], &options].concat(), parts, folder.path());
    };
    fails(&svg, &svg, &["memory.svg", "written twice", "of its own"]);
    fails("-", "-", &["-: would be written twice"]);
    fails(&at("no/memory.svg"), &json, &["no/memory.svg", "cannot write", "folder"]);
    let message = String::from_utf8(condconv(&["convert", &model, "--svg", &svg]).stderr).unwrap();
    assert!(message.contains("unexpected argument '--svg'"), "{message}");
}

#[test]
fn a_failed_conversion_keeps_what_an_earlier_one_wrote() {
    let Digits { model, calibrate, .. } = digits();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    fs::write(folder.path().join("k.bin"), "weights").unwrap();
    fs::create_dir_all(folder.path().join("k.rs/x")).unwrap();
    let arguments = ["convert", &model, "--calibrate", &calibrate, "--out", out, "--name", "k"];
    fails_with(&arguments, &["k.rs"], folder.path());
    assert_eq!(fs::read(folder.path().join("k.bin")).unwrap(), b"weights");
}

#[test]
fn class_names_go_into_the_module() {
    let Digits { model, calibrate, .. } = digits();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let names = folder.path().join("names.txt");
    fs::write(&names, "zero\none\ntwo\nthree\nfour\nfive\nsix\nseven\neight\n\"nine\"\n").unwrap();
    let names = names.to_str().unwrap();
    stdout_of_success(&["convert", &model, "--calibrate", &calibrate, "--out", out, "--classes", names]);
    let module = fs::read_to_string(folder.path().join("digits.rs")).unwrap();
    assert!(module.contains(r#""eight", "\"nine\"""#));
    let marked = "\u{feff}zero\r\none\r\ntwo\n3\n4\n5\n6\n7\n8\n9";
    fs::write(names, marked).unwrap();
    stdout_of_success(&["convert", &model, "--calibrate", &calibrate, "--out", out, "--classes", names]);
    let module = fs::read_to_string(folder.path().join("digits.rs")).unwrap();
    assert!(module.contains(r#""zero", "one", "two""#));
    for (text, parts) in [
        (&b"zero\none\n"[..], &["2 class names for 10"][..]),
        (b"zero\none\ntwo\nthree\n\xff\n5\n6\n7\n8\n9\n", &["UTF-8"]),
        (b"zero\none\ntwo\nthree\none\n5\n6\n7\n8\n9\n", &["'one'", "of its own"]),
    ] {
        fs::write(names, text).unwrap();
        let arguments = ["convert", &model, "--calibrate", &calibrate, "--out", out, "--classes", names];
        fails_with(&arguments, &[&["names.txt"], parts].concat(), folder.path());
    }
    let arguments = ["convert", &model, "--calibrate", &calibrate, "--out", out, "--classes", "no/such.txt"];
    fails_with(&arguments, &["no/such.txt", "cannot be read", "check the path"], folder.path());
}

/// Calibration inputs by which no ranges can be chosen: a warning, since what is asked for can be done.
#[test]
fn poor_calibration_inputs_are_warned_of() {
    let Digits { model, calibrate, .. } = digits();
    let folder = tempfile::tempdir().unwrap();
    let array = folder.path().join("poor.npy");
    let stderr = |array: &str| {
        let output = condconv(&["inspect", &model, "--calibrate", array]);
        assert!(output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let image = 28 * 28;
    let ramp: Vec<f32> = (0..image).map(|i| i as f32).collect();
    for (samples, data, part) in [
        (1, ramp, "a single sample"),
        (2, vec![0.0; 2 * image], "the same number"),
        (2, vec![3.5; 2 * image], "the same number"),
    ] {
        npy(&array, "<f4", &[samples, 1, 28, 28], &floats(&data));
        let message = stderr(array.to_str().unwrap());
        assert!(message.starts_with("warning: ") && message.contains("poor.npy: "), "{message}");
        assert!(message.contains(part) && message.contains("; calibrate on"), "{message}");
    }
    assert_eq!(stderr(&calibrate), "");
}

/// A name of thousands of characters does not push the columns apart, nor fill the screen.
#[test]
fn long_names_are_shortened() {
    let Digits { model, calibrate, .. } = digits();
    let folder = tempfile::tempdir().unwrap();
    let renamed = folder.path().join("long.onnx");
    let mut network = ModelProto::parse_buf(&fs::read(model).unwrap()).unwrap();
    for node in &mut network.graph.as_mut().unwrap().node {
        node.name = Some(format!("first{}{}", "ß".repeat(5000), node.op_type.as_deref().unwrap()));
    }
    fs::write(&renamed, network.write_buf().unwrap()).unwrap();
    let renamed = renamed.to_str().unwrap();
    let text = stdout_of_success(&["inspect", renamed, "--calibrate", &calibrate]);
    assert!(text.contains("…") && text.contains("first") && text.contains("Conv"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() < 160), "{text}");

    for node in &mut network.graph.as_mut().unwrap().node {
        node.op_type = Some("Exp".into());
        node.input.truncate(1);
        node.input[0].push_str(&"ß".repeat(5000));
    }
    fs::write(renamed, network.write_buf().unwrap()).unwrap();
    let output = condconv(&["inspect", renamed]);
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("…") && message.contains("(Exp)"), "{message}");
    assert!(message.chars().count() < 1000, "{message}");
}

#[test]
fn profile_counts_the_plan_that_convert_writes() {
    let Digits { model, calibrate, .. } = digits();
    let options = ["--int16", "input", "--ranges", "mse"];
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    stdout_of_success(
        &[&["convert", &model, "--calibrate", &calibrate, "--out", out][..], &options].concat(),
    );
    let module = fs::read_to_string(folder.path().join("digits.rs")).unwrap();
    let arguments = ["profile", &model, "--calibrate", &calibrate, "--core", "cortex-m4"];
    let profiled = json_of_success(&[&arguments[..], &options, &["--json", "-"]].concat());
    let plan = profiled["plan_id"].as_str().unwrap();
    assert!(module.contains(&format!("PLAN_ID: &str = \"{plan}\"")));
    for key in ["RAM_BYTES", "FLASH_BYTES"] {
        let bytes = profiled[key.to_lowercase()].as_u64().unwrap();
        assert!(module.contains(&format!("{key}: usize = {bytes};")));
    }
    let layers = profiled["layers"].as_array().unwrap();
    let sum = |key: &str| layers.iter().map(|layer| layer[key].as_u64().unwrap()).sum::<u64>();
    for key in ["macs", "mixing_macs"] {
        assert_eq!(profiled[key], sum(key), "{key}");
    }
    for key in ["instructions", "loads", "stores", "cycles_estimated"] {
        let rest = profiled["rest"][key].as_u64().unwrap();
        assert_eq!(profiled[key], sum(key) + rest, "{key}");
    }
    assert!(layers.iter().all(|layer| layer["name"].is_string() && layer["op"].is_string()));
    assert_eq!(layers.iter().filter(|layer| layer["op"] == "Routing").count(), 7);
    assert!(profiled["cycles_model"].as_str().unwrap().contains("zero wait states"));
    assert!(profiled["code_bytes"].as_u64().unwrap() > 0 && profiled["stack_bytes"].as_u64().unwrap() > 0);

    let text = stdout_of_success(&arguments);
    for part in ["instructions", "Routing", "CondConv2d", "zero wait states"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let wrong = ["profile", &model, "--calibrate", &calibrate, "--core", "cortex-a53"];
    let output = condconv(&wrong);
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && message.contains("cortex-m55"), "{message}");
}
