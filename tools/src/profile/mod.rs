//! How fast a network is: the instructions that one inference executes on an emulated core, step by step.

pub mod cost;
pub mod thumb;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

pub use cost::Cost;

use crate::convert::{Error, Model};
use crate::emit::{self, Naming};
use crate::emulate::{self, Code, Core, Counted, EmulateError, Function, Segment};
use crate::plan::{Plan, Sizes};
use crate::quantized::Step;
use crate::run::{Data, Runner};

/// What `condconv profile` found.
#[derive(Debug, Clone, Serialize)]
pub struct Profile {
    /// Identifies the plan.
    pub plan_id: String,
    /// The core.
    pub core: &'static str,
    /// What cycles are estimated for.
    pub cycles_model: &'static str,
    /// Layers and routing functions, in the order in which they run.
    pub layers: Vec<StepCost>,
    /// What lies between them: the call of `infer`, and the arguments of its calls.
    pub rest: Cost,
    /// The whole inference.
    #[serde(flatten)]
    pub total: Cost,
    /// Where the instructions of the whole inference come from.
    pub files: Vec<FileCost>,
    /// What the network needs.
    #[serde(flatten)]
    pub sizes: Sizes,
    /// Bytes of the functions that ran.
    pub code_bytes: u64,
    /// Bytes of all functions of the library in the program, whether they ran or not.
    pub library_code_bytes: u64,
    /// Bytes of stack below the caller's.
    pub stack_bytes: u64,
}

/// One layer or routing function.
#[derive(Debug, Clone, Serialize)]
pub struct StepCost {
    /// The ONNX node.
    pub name: String,
    /// The library's operator.
    pub op: &'static str,
    /// Shape of what it yields: height, width, channels.
    pub shape: [usize; 3],
    /// Number of experts; 0 for static layers.
    pub experts: usize,
    /// Multiply-accumulates.
    pub macs: usize,
    /// Multiply-accumulates of mixing or routing.
    pub mixing_macs: usize,
    /// What it costs.
    #[serde(flatten)]
    pub cost: Cost,
    /// What of that is mixing: all that functions do whose module or name says so.
    pub mixing: Cost,
}

/// The instructions that come from one file, wherever they were inlined.
#[derive(Debug, Clone, Serialize)]
pub struct FileCost {
    /// A file of the library, below `src`; none for the generated module, Rust's own libraries and the compiler's.
    pub file: Option<String>,
    /// Executed instructions.
    pub instructions: u64,
}

/// A network and the sample that it runs on.
#[derive(Debug)]
pub struct Subject<'a> {
    /// The network.
    pub plan: &'a Plan,
    /// Real numbers, NHWC.
    pub sample: Vec<f32>,
}

/// Counts what one inference of a model executes on a core, on a sample (NCHW).
///
/// # Errors
///
/// If the firmware cannot be built or run, or yields other scores than the host.
pub fn profile(model: &Model, core: Core, sample: &[f32]) -> Result<Profile, Error> {
    let subject = Subject { plan: &model.plan, sample: model.nhwc(sample) };
    let profiles = measure(core, &[subject])?;
    Ok(profiles.into_iter().next().unwrap_or_else(|| unreachable!("there is a profile for each subject")))
}

/// The same for several networks that share one program, and the code that they have in common.
///
/// # Errors
///
/// As [`profile`].
pub fn measure(core: Core, subjects: &[Subject<'_>]) -> Result<Vec<Profile>, Error> {
    let folder = tempfile::tempdir().map_err(|source| Error::Io {
        path: "a temporary folder".into(),
        action: "make",
        source,
    })?;
    let modules: Vec<PathBuf> = subjects
        .iter()
        .enumerate()
        .map(|(number, subject)| write_module(folder.path(), number, subject.plan))
        .collect::<Result<_, _>>()?;
    let image = emulate::build_profile(core, &modules.iter().map(PathBuf::as_path).collect::<Vec<_>>())?;
    let samples: Vec<f32> = subjects.iter().flat_map(|subject| subject.sample.iter().copied()).collect();
    let counted = emulate::count(&image, &samples)?;

    let machine = image.machine();
    let of_device = |number: usize| counted.networks.get(number).and_then(|run| run.samples.first());
    let different = subjects
        .iter()
        .enumerate()
        .filter(|(number, subject)| of_device(*number).is_none_or(|sample| sample.scores != scores(subject)));
    match different.count() {
        0 => {}
        samples => return Err(Error::Different { machine, samples }),
    }

    // The marks of a network: before and after `infer`, and before and after each step and row of the input.
    let marks = |subject: &Subject<'_>| 2 * subject.plan.steps().len() + 2;
    let expected = subjects.iter().map(marks).sum();
    if counted.segments.len() != expected {
        return Err(EmulateError::Marks { machine, found: counted.segments.len(), expected }.into());
    }
    let mut rest = &counted.segments[..];
    let profiles = subjects.iter().map(|subject| {
        let (segments, others) = rest.split_at(marks(subject));
        rest = others;
        // The first ran before `infer`.
        describe(core, subject.plan, &segments[1..], &counted)
    });
    Ok(profiles.collect())
}

fn write_module(folder: &Path, number: usize, plan: &Plan) -> Result<PathBuf, Error> {
    let name = format!("network_{number}");
    let naming = Naming { module: &name, source: "a plan", classes: &[] };
    let write = |end: &str, contents: &[u8]| {
        let path = folder.join(&name).with_extension(end);
        match fs::write(&path, contents) {
            Ok(()) => Ok(path),
            Err(source) => Err(Error::Io { path, action: "write", source }),
        }
    };
    write("bin", &plan.weights)?;
    write("rs", emit::module(plan, naming).as_bytes())
}

/// The host's scores.
fn scores(subject: &Subject<'_>) -> Vec<i32> {
    let network = &subject.plan.network;
    let trace = Runner::new(network).run(Data::input(&network.tensors[network.input], &subject.sample));
    trace.values[network.output].iter().flat_map(Data::iter).collect()
}

/// Segments alternate between what lies between steps and a step. Rows of the input are another's work.
fn describe(core: Core, plan: &Plan, segments: &[Segment], counted: &Counted) -> Profile {
    let Counted { code, origins, .. } = counted;
    let mixes = |address| origins.get(&address).is_some_and(|origin| origin.mixes);
    let order = plan.steps();
    let (mut steps, mut rest, mut own) = (Vec::new(), Cost::default(), Vec::new());
    for (number, segment) in segments.iter().enumerate() {
        let cost = Cost::of(segment, code);
        match (number % 2, order.get(number / 2)) {
            (1, Some(None)) => continue,
            (1, Some(Some(step))) => steps.push((*step, cost, Cost::of(&only(segment, mixes), code))),
            _ => rest += cost,
        }
        own.push(segment);
    }
    let mut total = rest;
    let mut layers: Vec<(Step, Cost, Cost)> = Vec::new();
    for (step, cost, mixing) in steps {
        total += cost;
        match layers.iter_mut().find(|(before, ..)| *before == step) {
            Some((_, costs, mixings)) => {
                *costs += cost;
                *mixings += mixing;
            }
            None => layers.push((step, cost, mixing)),
        }
    }
    let functions = functions(&own, code);
    let stack = own.iter().filter_map(|segment| segment.stack);
    let stack = stack.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
    Profile {
        plan_id: plan.id(),
        core: core.name(),
        cycles_model: "Cortex-M4, zero wait states",
        layers: layers.into_iter().map(|(step, cost, mixing)| step_cost(plan, step, cost, mixing)).collect(),
        rest,
        total,
        files: files(&own, counted),
        sizes: plan.sizes(),
        code_bytes: functions.iter().map(|function| function.end - function.start).sum(),
        library_code_bytes: code.library_bytes(),
        stack_bytes: stack.map_or(0, |(lowest, highest)| highest + 4 - lowest),
    }
}

/// What of a segment ran at some addresses.
fn only(segment: &Segment, at: impl Fn(u64) -> bool) -> Segment {
    let executed = segment.executed.iter().filter(|executed| at(executed.address));
    Segment { stack: None, executed: executed.copied().collect() }
}

/// The files that instructions come from, those with the most first.
fn files(segments: &[&Segment], counted: &Counted) -> Vec<FileCost> {
    let mut files: BTreeMap<Option<&str>, u64> = BTreeMap::new();
    for segment in segments {
        let mut parts: BTreeMap<Option<&str>, Segment> = BTreeMap::new();
        for &executed in &segment.executed {
            let origin = counted.origins.get(&executed.address);
            let part = parts.entry(origin.and_then(|origin| origin.file.as_deref())).or_default();
            part.executed.push(executed);
        }
        for (file, part) in parts {
            *files.entry(file).or_default() += Cost::of(&part, &counted.code).instructions;
        }
    }
    let mut files: Vec<_> = files
        .into_iter()
        .filter(|(_, instructions)| *instructions > 0)
        .map(|(file, instructions)| FileCost { file: file.map(String::from), instructions })
        .collect();
    files.sort_by_key(|file| Reverse(file.instructions));
    files
}

fn step_cost(plan: &Plan, step: Step, cost: Cost, mixing: Cost) -> StepCost {
    let network = &plan.network;
    match step {
        Step::Routing(id) => {
            let routing = &network.routings[id];
            let experts = routing.bias.len();
            StepCost {
                name: routing.name.clone(),
                op: "Routing",
                shape: [1, 1, experts],
                experts,
                macs: 0,
                mixing_macs: routing.matrix.len(),
                cost,
                mixing,
            }
        }
        Step::Layer(index) => {
            let layer = &network.layers[index];
            let shape = network.tensors[layer.output].shape;
            StepCost {
                name: layer.name.clone(),
                op: layer.op.name(),
                shape: [shape.height, shape.width, shape.channels],
                experts: layer.op.experts().map_or(0, |experts| experts.count),
                macs: layer.op.macs(),
                mixing_macs: layer.op.mixing_macs(),
                cost,
                mixing,
            }
        }
    }
}

/// All functions of which something ran, but the one that marks.
fn functions<'a>(segments: &[&Segment], code: &'a Code) -> BTreeSet<&'a Function> {
    let executed = segments.iter().flat_map(|segment| &segment.executed);
    let functions = executed.filter_map(|executed| code.function_at(executed.address));
    functions.filter(|function| function.start != code.mark.start).collect()
}
