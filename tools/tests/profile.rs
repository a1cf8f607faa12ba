//! Executed instructions: every one is counted, the same on every run, and looking on costs nothing.

use std::cmp::Reverse;
use std::fs;
use std::path::{Path, PathBuf};

use condconv_tools::convert::{Model, read_samples};
use condconv_tools::emulate::{self, Core, Counted, EmulateError, Image};
use condconv_tools::profile::thumb::{Class, Instruction};
use condconv_tools::profile::{Cost, FileCost, profile};
use condconv_tools::quantize::Options;

/// Bytes in the order of memory, class and text of instructions, disassembled or assembled by LLVM 14.
const ENCODINGS: &str = include_str!("thumb/encodings.tsv");

struct Network {
    model: Model,
    /// NCHW.
    sample: Vec<f32>,
}

fn network(name: &str) -> Network {
    let file = |end: &str| -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../models").join(format!("{name}.{end}"))
    };
    let model = Model::load(&file("onnx"), &file("calibrate.npy"), &Options::default()).unwrap();
    let samples = read_samples(&file("calibrate.npy"), &model.import).unwrap();
    let sample = samples.iter().next().unwrap().to_vec();
    Network { model, sample }
}

#[test]
fn instructions_are_classed_as_a_disassembler_does() {
    let mut classes = std::collections::BTreeSet::new();
    for line in ENCODINGS.lines() {
        let [hexadecimal, class, text] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let bytes: Vec<u8> = (0..hexadecimal.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&hexadecimal[i..i + 2], 16).unwrap())
            .collect();
        let instruction = Instruction::decode(&bytes, 0).unwrap();
        let found = match instruction.class {
            Class::Load => "load".into(),
            Class::LoadMultiple(registers) => format!("load {registers}"),
            Class::Store => "store".into(),
            Class::StoreMultiple(registers) => format!("store {registers}"),
            Class::Multiply => "multiply".into(),
            Class::Divide => "divide".into(),
            Class::Branch(_) => "branch".into(),
            Class::Other => "other".to_string(),
        };
        assert_eq!((found.as_str(), instruction.size), (class, bytes.len() as u64), "{text}");
        classes.insert(found);
    }
    assert!(classes.len() > 15);
}

#[test]
fn branches_lead_where_a_disassembler_says() {
    for (address, bytes, target) in [
        (0x0000_0c78, &[0x00, 0xf0, 0x3a, 0xfe][..], 0x0000_18f0),
        (0x1000_07c0, &[0x07, 0xf0, 0xb8, 0xf8], 0x1000_7934),
        (0x0000_078e, &[0x05, 0xf0, 0x19, 0xff], 0x0000_65c4),
        (0x1000_07d0, &[0xfb, 0xe7], 0x1000_07ca),
        (0x0000_0882, &[0x0e, 0xe0], 0x0000_08a2),
    ] {
        let instruction = Instruction::decode(bytes, address).unwrap();
        assert_eq!(instruction.class, Class::Branch(Some(target)), "{address:x}");
    }
    assert_eq!(Instruction::decode(&[0x00, 0xf0, 0x3a], 0), None);
    assert_eq!(Instruction::decode(&[0x00], 0), None);
}

/// All steps of all cores add up, and a second run counts the same.
#[test]
fn every_instruction_is_counted_once() {
    let Network { model, sample } = network("watch");
    for core in Core::ALL {
        let result = profile(&model, core, &sample).unwrap_or_else(|error| panic!("{error}"));
        let mut sum = result.rest;
        result.layers.iter().for_each(|layer| sum += layer.cost);
        assert_eq!(sum, result.total);
        // Calls and their arguments: a few instructions each.
        let calls = result.layers.len() as u64 + 1;
        assert!((1..=10 * calls).contains(&result.rest.instructions), "{core:?}: {:?}", result.rest);
        assert!(result.layers.iter().all(|layer| layer.cost.instructions > 10));
        for layer in &result.layers {
            let (mixing, all) = (layer.mixing.instructions, layer.cost.instructions);
            let mixes = layer.op.starts_with("Cond") && layer.op != "CondLinear";
            // A weight takes its share of an instruction and of a load from each expert at least.
            assert!(!mixes || mixing > layer.mixing_macs as u64 / 2, "{core:?} {}: {mixing}", layer.name);
            assert!(mixing < all && (layer.experts > 0 || mixing == 0), "{core:?} {}: {mixing}", layer.name);
        }
        // No core does more than 16 products at once, and none loads and stores with every instruction.
        let Cost { instructions, loads, stores, cycles_estimated } = result.total;
        assert!(instructions > model.plan.macs() as u64 / 16);
        assert!(loads > 0 && stores > 0 && loads + stores < instructions);
        assert!(cycles_estimated > instructions);
        assert!((256..3072).contains(&result.stack_bytes), "{}", result.stack_bytes);
        assert!((2048..65536).contains(&result.code_bytes), "{}", result.code_bytes);
        assert!(2048 < result.library_code_bytes && result.library_code_bytes < 65536);

        // Each comes from one file, and convolutions are in the files that say so.
        let from = |file: &FileCost| file.instructions;
        assert_eq!(result.files.iter().map(from).sum::<u64>(), instructions);
        assert!(result.files.is_sorted_by_key(|file| Reverse(file.instructions)));
        let of_kernels =
            |file: &&FileCost| file.file.as_deref().is_some_and(|file| file.starts_with("kernels/"));
        let kernels: u64 = result.files.iter().filter(of_kernels).map(from).sum();
        assert!(2 * kernels > instructions, "{core:?}: {:?}", result.files);

        let again = profile(&model, core, &sample).unwrap();
        assert_eq!(serde_json::to_value(&again).unwrap(), serde_json::to_value(&result).unwrap());
    }
}

/// Instructions from the first mark to the last, of a module whose text was changed.
fn instructions(
    build: impl Fn(Core, &[&Path]) -> Result<Image, EmulateError>,
    core: Core,
    network: &Network,
    change: impl Fn(String) -> String,
) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let (module, _) = network.model.write(folder.path(), "network", &[]).unwrap();
    let text = change(fs::read_to_string(&module).unwrap());
    fs::write(&module, text).unwrap();
    let image = build(core, &[&module]).unwrap_or_else(|error| panic!("{error}"));
    let Counted { segments, code, .. } =
        emulate::count(&image, &network.model.nhwc(&network.sample)).unwrap();
    segments[1..].iter().map(|segment| Cost::of(segment, &code).instructions).sum()
}

/// Of all else the next instruction follows, wherever the emulator's blocks end.
#[test]
fn only_branches_and_loads_lead_elsewhere() {
    let network = network("digits");
    let folder = tempfile::tempdir().unwrap();
    let (module, _) = network.model.write(folder.path(), "network", &[]).unwrap();
    let image = emulate::build_profile(Core::CortexM4, &[&module]).unwrap();
    let Counted { segments, code, .. } =
        emulate::count(&image, &network.model.nhwc(&network.sample)).unwrap();
    for executed in segments.iter().flat_map(|segment| &segment.executed) {
        let class =
            Instruction::decode(code.from(executed.address).unwrap(), executed.address).unwrap().class;
        let leads_on = !matches!(class, Class::Branch(_) | Class::Load | Class::LoadMultiple(_));
        assert!(!leads_on || executed.left == 0, "{executed:x?} {class:?}");
    }
}

/// `infer`, as it would ship, runs for as long as a module that knows of no observer, and marking its steps changes
/// next to nothing. Nor do features cost anything that are on and unused.
#[test]
fn observers_cost_nothing() {
    let network = network("digits");
    let build = emulate::build_profile;
    for core in [Core::CortexM0, Core::CortexM4] {
        let marked = instructions(build, core, &network, |text| text);
        let of_infer = |text: String| {
            text.replace("self.infer_observed(&mut ())", "self.run(&mut ())")
                .replace("pub fn infer_observed(&mut self, observer:", "pub fn run(&mut self, observer:")
                .replace("pub fn infer(&mut self)", "pub fn infer_observed(&mut self, _: &mut impl Observer)")
        };
        let plain = instructions(build, core, &network, of_infer);
        let featured = instructions(emulate::build_profile_with_features, core, &network, of_infer);
        let stripped = instructions(build, core, &network, |text| {
            let mut text = text.replace("observer: &mut impl", "_: &mut impl");
            while let Some(start) = text.find("        observer.") {
                let end = start + text[start..].find(");\n").unwrap() + 3;
                text.replace_range(start..end, "");
            }
            text
        });
        println!("{core:?}: {plain}, with features {featured}, without calls {stripped}, marked {marked}");
        assert_eq!(plain, stripped, "{core:?}");
        assert_eq!(plain, featured, "{core:?}");
        assert!(marked.abs_diff(plain) <= plain / 10_000, "{core:?}: {marked} and {plain}");
    }
}

/// On machines of 25 MHz, and 64 ns an instruction, SysTick has 8 ticks for 5 instructions: it agrees with the plugin but for
/// what reading it takes. There is no counter of cycles.
#[test]
fn layers_are_timed_by_the_processor_itself() {
    const TICKS_PER_INSTRUCTION: f64 = 64.0 / 40.0;
    let network = network("digits");
    let folder = tempfile::tempdir().unwrap();
    let (module, _) = network.model.write(folder.path(), "network", &[]).unwrap();
    for (core, reason) in [
        (Core::CortexM0, "the processor has no such counter"),
        (Core::CortexM4, "the counter was started and does not count"),
    ] {
        let image = emulate::build_timing(core, &module).unwrap_or_else(|error| panic!("{error}"));
        let timed = emulate::time(&image, &network.model.nhwc(&network.sample)).unwrap();
        assert_eq!(timed.cycle_counter, reason, "{core:?}");
        let counted = profile(&network.model, core, &network.sample).unwrap();
        assert_eq!(timed.layers.len(), counted.layers.len(), "{core:?}");
        for ((name, ticks), layer) in timed.layers.iter().zip(&counted.layers) {
            let instructions = *ticks as f64 / TICKS_PER_INSTRUCTION;
            let expected = layer.cost.instructions as f64;
            assert_eq!(*name, layer.name);
            assert!((instructions - expected).abs() < 40.0, "{core:?} {name}: {instructions} and {expected}");
        }
    }
}
