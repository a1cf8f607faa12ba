//! The firmware of the shipped networks, and of networks with every operator, on six emulated cores: its scores are
//! the host's, bit for bit.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use condconv_tools::convert::{Model, read_labels, read_samples};
use condconv_tools::emulate::{self, Core, EmulateError};
use condconv_tools::profile::profile;
use condconv_tools::quantize::{Int16, Options};
use condconv_tools::quantized::Step;

static DIGITS: LazyLock<Network> = LazyLock::new(|| Network::load("digits", "digits"));
static WATCH: LazyLock<Network> = LazyLock::new(|| Network::load("watch", "watch"));

/// A model, converted, with test samples.
struct Network {
    model: Model,
    module: PathBuf,
    /// Sample by sample, NCHW.
    samples: Vec<Vec<f32>>,
    labels: Vec<usize>,
}

impl Network {
    fn load(name: &str, data: &str) -> Self {
        Self::with(name, data, name, &Options::default())
    }

    fn with(name: &str, data: &str, module: &str, options: &Options) -> Self {
        let labels = |model: &Model, file: &Path, count| read_labels(file, count, model).unwrap();
        Self::from("models", name, data, (module, options), labels)
    }

    /// Where the weights are random there are no labels, and any will do.
    fn fixture(name: &str, data: &str) -> Self {
        let options = (name, &Options::default());
        Self::from("tests/fixtures/networks", name, data, options, |model, file, count| {
            if file.exists() { read_labels(file, count, model).unwrap() } else { vec![0; count] }
        })
    }

    fn from(
        folder: &str,
        name: &str,
        data: &str,
        (module, options): (&str, &Options),
        labels: impl Fn(&Model, &Path, usize) -> Vec<usize>,
    ) -> Self {
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let file = |suffix: &str| models.join(format!("{data}.{suffix}.npy"));
        let model =
            Model::load(&models.join(name).with_extension("onnx"), &file("calibrate"), options).unwrap();
        let samples = read_samples(&file("test"), &model.import).unwrap();
        let labels = labels(&model, &file("labels"), samples.len());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("device");
        let (module, _) = model.write(&folder, module, &[]).unwrap();
        Self { module, samples: samples.iter().map(<[f32]>::to_vec).collect(), labels, model }
    }

    /// Runs the first samples on an emulated core and compares all that comes back with the host's.
    fn check(&self, core: Core, count: usize) {
        let plan = &self.model.plan;
        let (samples, labels) = (&self.samples[..count], &self.labels[..count]);
        let reals: Vec<f32> = samples.iter().flat_map(|sample| self.model.nhwc(sample)).collect();
        let classes: Vec<u8> = labels.iter().map(|&label| label.try_into().unwrap()).collect();
        let image = emulate::build(core, &self.module).unwrap_or_else(|error| panic!("{error}"));
        let run = |trace| {
            emulate::run(&image, &reals, Some(&classes), trace).unwrap_or_else(|error| panic!("{error}"))
        };
        let plain = run(false);
        let traced = run(true);

        assert_eq!(plain.plan_id, plan.id());
        assert_eq!((plain.ram_bytes, plain.flash_bytes), (plan.ram_bytes(), plan.flash_bytes()));
        assert_eq!(plain.samples.len(), count);
        let right = plain.samples.iter().zip(labels).filter(|(sample, label)| sample.prediction == **label);
        assert_eq!(plain.correct, Some(right.count()));
        let runner = self.model.runner();
        for ((sample, plain), traced) in samples.iter().zip(&plain.samples).zip(&traced.samples) {
            let host = runner.run(self.model.input(sample));
            let scores: Vec<i32> = host.values[plan.network.output].as_ref().unwrap().iter().collect();
            assert_eq!(plain.scores, scores, "{} {core:?}", self.module.display());
            assert_eq!(traced.scores, scores, "{} {core:?}", self.module.display());
            let routings = plan.network.steps().into_iter().filter_map(|step| match step {
                Step::Routing(id) => {
                    Some((plan.network.routings[id].name.clone(), host.routings[id].clone()))
                }
                Step::Layer(_) => None,
            });
            assert_eq!(traced.routing, routings.collect::<Vec<_>>());
        }
    }
}

#[test]
fn every_operator() {
    for (name, data) in
        [("branches_dynamo", "branches"), ("dynamic_legacy", "dynamic"), ("blocks_dynamo", "blocks")]
    {
        let network = Network::fixture(name, data);
        for core in Core::ALL {
            network.check(core, 4);
        }
    }
}

/// Flash and RAM of small microcontrollers, the firmware around the network included.
#[test]
fn networks_of_the_size_of_microcontrollers() {
    for network in [
        Network::load("resnet8", "digits"),
        Network::fixture("mobilenet_v2_condconv_legacy", "mobilenet_v2_condconv"),
        Network::fixture("efficientnet_condconv_dynamo", "efficientnet_condconv"),
    ] {
        let image = emulate::build(Core::CortexM4, &network.module).unwrap().sections().unwrap();
        let flash = image.text + image.data;
        println!("{}: {flash} bytes of flash", network.module.display());
        assert!(flash < 256 * 1024, "{}: {image:?}", network.module.display());
        assert!(image.data + image.bss < 128 * 1024, "{}: {image:?}", network.module.display());
        for core in [Core::CortexM4, Core::CortexM7] {
            network.check(core, 4);
        }
    }
}

/// As much memory as the network and its stack are said to need, and the frames of the program around it.
#[test]
fn memory_cut_to_what_is_reported() {
    const PROGRAM: u64 = 96;
    let by_row = Options { rows: true, ..Options::default() };
    let by_row = Network::with("resnet8_static", "digits", "resnet8_static_cut_rows", &by_row);
    for (network, core) in [
        (&by_row, Core::CortexM4),
        (&*DIGITS, Core::CortexM4),
        (&*WATCH, Core::CortexM4),
        (&*DIGITS, Core::CortexM0),
        (&*DIGITS, Core::CortexM55),
    ] {
        let sample = &network.samples[0];
        let profile = profile(&network.model, core, sample).unwrap();
        let ram = network.model.plan.ram_bytes();
        let stack = (profile.stack_bytes + PROGRAM).next_multiple_of(8);
        let modules = [network.module.as_path()];
        let image = emulate::build_within(core, &modules, ram, stack).unwrap();
        assert_eq!(image.sections().unwrap().bss, ram as u64);
        let counted = emulate::count(&image, &network.model.nhwc(sample)).unwrap();
        assert_eq!(counted.networks[0].samples[0].scores, network.model.scores(&[sample])[0]);
        println!("{} on {}: {ram} + {stack} bytes", network.module.display(), core.name());

        let error = emulate::build_within(core, &modules, ram - 8, stack).unwrap_err();
        assert!(matches!(error, EmulateError::DoesNotFit { memory: "RAM", bytes: 8, .. }), "{error}");
    }
}

/// The inner loops of each core, with much scratch and with little. Routing weights lie behind the arena, so that most of these
/// networks have none.
#[test]
fn nothing_is_written_beside_the_network() {
    let with = |name: &str, data: &str, ram: Option<usize>| {
        let module = format!("{name}_guarded_{}", ram.unwrap_or(0));
        Network::with(name, data, &module, &Options { ram, ..Options::default() })
    };
    let fastest = with("digits_static", "digits", None);
    let least = [("digits_static", "digits"), ("watch", "watch")].map(|(name, data)| {
        with(name, data, Some(Network::load(name, data).model.plan.sizes().least_ram_bytes))
    });
    let branches = Network::fixture("branches_dynamo", "branches");
    let by_row = Options { rows: true, ..Options::default() };
    let by_row = Network::with("resnet8_static", "digits", "resnet8_static_guarded_rows", &by_row);
    for core in [Core::CortexM0, Core::CortexM3, Core::CortexM4, Core::CortexM55] {
        for network in least.iter().chain([&fastest, &branches, &by_row]) {
            let image = emulate::build_guarded(core, &network.module).unwrap();
            let samples: Vec<&[f32]> = network.samples.iter().take(2).map(Vec::as_slice).collect();
            let reals: Vec<f32> = samples.iter().flat_map(|sample| network.model.nhwc(sample)).collect();
            let run = emulate::run(&image, &reals, None, false).unwrap_or_else(|error| panic!("{error}"));
            let scores: Vec<_> = run.samples.into_iter().map(|sample| sample.scores).collect();
            assert_eq!(scores, network.model.scores(&samples), "{} {core:?}", network.module.display());
        }
    }
}

/// Small blocks of mixed kernels, and static ones from flash.
#[test]
fn the_least_ram() {
    for (name, module) in [("digits", "digits_least"), ("resnet8", "resnet8_least")] {
        let ram = Network::load(name, "digits").model.plan.sizes().least_ram_bytes;
        let network =
            Network::with(name, "digits", module, &Options { ram: Some(ram), ..Options::default() });
        assert_eq!(network.model.plan.ram_bytes(), ram);
        network.check(Core::CortexM4, 20);
    }
}

/// From an input that arrives in rows: sums, pools, concatenations among the first layers, rows of odd lengths.
#[test]
fn row_by_row() {
    let options = Options { rows: true, ..Options::default() };
    let labels = |model: &Model, file: &Path, count| {
        if file.exists() { read_labels(file, count, model).unwrap() } else { vec![0; count] }
    };
    for (folder, name, data) in [
        ("models", "resnet8", "digits"),
        ("models", "watch", "watch"),
        ("tests/fixtures/networks", "branches_dynamo", "branches"),
    ] {
        let module = format!("{name}_rows");
        let network = Network::from(folder, name, data, (&module, &options), labels);
        for core in [Core::CortexM0, Core::CortexM4, Core::CortexM55] {
            network.check(core, 4);
        }
    }
}

#[test]
fn cortex_m0() {
    DIGITS.check(Core::CortexM0, 20);
    WATCH.check(Core::CortexM0, 20);
}

#[test]
fn cortex_m3() {
    DIGITS.check(Core::CortexM3, 50);
    WATCH.check(Core::CortexM3, 50);
}

#[test]
fn cortex_m4() {
    DIGITS.check(Core::CortexM4, 500);
    WATCH.check(Core::CortexM4, 500);
}

#[test]
fn cortex_m7() {
    DIGITS.check(Core::CortexM7, 50);
    WATCH.check(Core::CortexM7, 50);
}

#[test]
fn cortex_m33() {
    DIGITS.check(Core::CortexM33, 50);
    WATCH.check(Core::CortexM33, 50);
}

#[test]
fn cortex_m55() {
    DIGITS.check(Core::CortexM55, 50);
    WATCH.check(Core::CortexM55, 50);
}

#[test]
fn int16_tensors() {
    let names = ["input", "/stem/conv/Conv", "/pointwise1/conv/Conv", "/depthwise3/conv/Conv"];
    let int16 = Int16::Named(names.map(String::from).to_vec());
    let network = Network::with("watch", "watch", "watch_int16", &Options { int16, ..Options::default() });
    for core in [Core::CortexM0, Core::CortexM4] {
        network.check(core, 4);
    }
}

#[test]
fn a_cortex_m0_with_more_ram_where_the_small_one_is_too_small() {
    let wide = Network::load("digits_wide", "digits");
    assert_eq!(emulate::build(Core::CortexM0, &DIGITS.module).unwrap().machine(), "microbit");
    assert_eq!(emulate::build(Core::CortexM0, &wide.module).unwrap().machine(), "mps2-an385");
    wide.check(Core::CortexM0, 5);
}
