//! The statics: a layer or routing function each, with its tables.

use std::fmt::{self, Write as _};

use condconv::{Operand, WeightSums};

use super::Writer;
use super::text::{LINE, assignment, checked, dimensions, padding, shape, table, window, wrapped};
use crate::graph::Gate;
use crate::quantized::{Kernels, Layer, Op, Requantize, Routing, Tensor};

impl Writer<'_> {
    pub(super) fn routing(&self, out: &mut String, id: usize) -> fmt::Result {
        let network = &self.plan.network;
        let routing: &Routing = &network.routings[id];
        let tensor = &network.tensors[routing.input];
        writeln!(
            out,
            "\n/// `{}`: {} -> {} routing weights.",
            routing.name,
            dimensions(tensor.shape),
            routing.bias.len()
        )?;
        let element = tensor.element.rust_name();
        let gate = match routing.gate {
            Gate::Sigmoid => "SigmoidGate",
            Gate::Softmax => "SoftmaxGate",
        };
        writeln!(out, "static ROUTING_{id}: Routing<'static, {element}, {gate}> = {{")?;
        table(out, "    ", "static MATRIX", "i16", &routing.matrix)?;
        table(out, "    ", "static BIAS", "i64", &routing.bias)?;
        table(out, "    ", "static MULTIPLIERS", "i16", &routing.multipliers)?;
        table(out, "    ", "static SHIFTS", "u8", &routing.shifts)?;
        new(
            out,
            "Routing",
            &[
                shape(tensor.shape),
                tensor.zero_point.to_string(),
                "&MATRIX".into(),
                "&BIAS".into(),
                "&MULTIPLIERS".into(),
                "&SHIFTS".into(),
            ],
        )?;
        assertion(out, &format!("ROUTING_{id}.input_len() == {}", tensor.shape.len()))
    }

    /// That the layer's call in `infer` fits: lengths, scratch, and where its output overlaps its input.
    fn layer_checks(&self, out: &mut String, index: usize) -> fmt::Result {
        let network = &self.plan.network;
        let layer = &network.layers[index];
        let name = &self.names[index];
        let len = |id: usize| network.tensors[id].shape.len();
        match &layer.op {
            // A table fits any tensor.
            Op::Lookup { .. } => {}
            Op::Concat { .. } => {
                for (part, &input) in layer.inputs.iter().enumerate() {
                    assertion(out, &format!("{name}_{part}.input_len() == {}", len(input)))?;
                    assertion(out, &format!("{name}_{part}.output_len() == {}", len(layer.output)))?;
                }
            }
            op => {
                let methods: &[&str] = match op {
                    Op::Add { .. } => &["input_len", "input_len"],
                    Op::Mul { .. } => &["input_len", "factor_len"],
                    _ => &["input_len"],
                };
                for (method, &input) in methods.iter().zip(&layer.inputs) {
                    assertion(out, &format!("{name}.{method}() == {}", len(input)))?;
                }
                assertion(out, &format!("{name}.output_len() == {}", len(layer.output)))?;
            }
        }
        let overlaps = self.plan.overlaps(index);
        if let Op::Conv { geometry, .. } = &layer.op {
            let words = self.plan.scratch[index].len();
            let needed =
                if overlaps && !geometry.is_depthwise() { "overlap_scratch_words" } else { "scratch_words" };
            // Nothing is less than zero, as lints point out.
            let comparison = if words == 0 { "==" } else { "<=" };
            assertion(out, &format!("{name}.{needed}() {comparison} {words}"))?;
        }
        if overlaps && matches!(layer.op, Op::Conv { .. } | Op::MaxPool { .. } | Op::AveragePool { .. }) {
            let (_, [input, output]) = self.shared(index);
            assertion(out, &format!("{name}.geometry().may_overlap({input}, {output})"))?;
        }
        Ok(())
    }

    pub(super) fn layer(&self, out: &mut String, index: usize) -> fmt::Result {
        let layer = &self.plan.network.layers[index];
        let network = &self.plan.network;
        let inputs: Vec<&Tensor> = layer.inputs.iter().map(|&id| &network.tensors[id]).collect();
        let output = &network.tensors[layer.output];
        let name = &self.names[index];
        describe(out, layer, &inputs, output)?;
        let op = layer.op.name();
        if let Op::Concat { parts, shape: whole } = &layer.op {
            for (number, (part, input)) in parts.iter().zip(&inputs).enumerate() {
                let elements = types(&[input, output]);
                plain(
                    out,
                    &format!("static {name}_{number}: {op}<{elements}> ="),
                    op,
                    &[
                        shape(part.shape),
                        whole.channels.to_string(),
                        part.first_channel.to_string(),
                        operand(&part.operand),
                        part.shift.to_string(),
                        output.zero_point.to_string(),
                    ],
                )?;
            }
            return self.layer_checks(out, index);
        }
        let head = format!("static {name}: {op}<{}> =", generics(&layer.op, &inputs, output));
        if matches!(layer.op, Op::Add { .. } | Op::MaxPool { .. } | Op::Pad { .. } | Op::Softmax { .. }) {
            plain(out, &head, op, &self.arguments(index, &inputs, 4))?;
            return self.layer_checks(out, index);
        }
        writeln!(out, "{head} {{")?;
        match layer.op.kernels() {
            Some(Kernels::Static(kernels)) => {
                table(out, "    ", "static BIAS", "i32", &kernels.bias)?;
                sums_table(out, &kernels.sums)?;
            }
            Some(Kernels::Experts(kernels)) => {
                table(out, "    ", "static RATIOS", "i16", &kernels.ratios)?;
                table(out, "    ", "static BIAS", "i32", &kernels.bias)?;
                table(out, "    ", "static EXPERT_BIAS", "i32", &kernels.expert_bias)?;
                sums_table(out, &kernels.sums)?;
            }
            None => {}
        }
        if let Op::Lookup { table: results, .. } = &layer.op {
            table(out, "    ", "static TABLE", output.element.rust_name(), results)?;
            writeln!(out, "    Lookup::new(&TABLE)\n}};")?;
            return self.layer_checks(out, index);
        }
        if let Some(requantize) = layer.op.requantize() {
            table(out, "    ", "static MULTIPLIERS", "i32", &requantize.multipliers)?;
        }
        new(out, op, &self.arguments(index, &inputs, 8))?;
        self.layer_checks(out, index)
    }

    /// The arguments of a layer's `new`, to be written at an indentation.
    fn arguments(&self, index: usize, inputs: &[&Tensor], indent: usize) -> Vec<String> {
        let layer = &self.plan.network.layers[index];
        let zero_point = inputs[0].zero_point.to_string();
        let mut arguments = match &layer.op {
            Op::Conv { geometry, .. } => {
                let geometry = [
                    shape(geometry.input()),
                    geometry.output().channels.to_string(),
                    window(&geometry.window(), indent + 4),
                    geometry.groups().to_string(),
                ];
                let geometry = checked("Geometry", &geometry, indent);
                vec![geometry, zero_point]
            }
            Op::Linear { features, .. } => vec![features.to_string(), zero_point],
            Op::GlobalAveragePool { shape: pooled, shift, .. } => {
                vec![shape(*pooled), zero_point, shift.to_string()]
            }
            Op::AveragePool { shape: pooled, window: w, shift, .. } => {
                vec![shape(*pooled), window(w, indent), zero_point, shift.to_string()]
            }
            Op::MaxPool { shape: pooled, window: w } => vec![shape(*pooled), window(w, indent)],
            Op::Pad { shape: inner, padding: p } => vec![shape(*inner), padding(p), zero_point],
            Op::Add { shape: summed, operands: [a, b], shift, bounds } => {
                let Requantize { zero_point, min, max, .. } = bounds;
                let mut arguments = vec![shape(*summed), operand(a), operand(b)];
                arguments.extend([shift.to_string(), zero_point.to_string()]);
                arguments.extend([min.to_string(), max.to_string()]);
                arguments
            }
            Op::Mul { shape: scaled, per_channel, .. } => {
                vec![shape(*scaled), zero_point, per_channel.to_string(), inputs[1].zero_point.to_string()]
            }
            Op::Softmax { classes, multiplier, shift } => {
                vec![classes.to_string(), multiplier.to_string(), shift.to_string()]
            }
            Op::Concat { .. } | Op::Lookup { .. } => Vec::new(),
        };
        let place = &self.plan.weight_places[index];
        let weights = format!("WEIGHTS.weights({}, {})", place.start, place.len());
        match layer.op.kernels() {
            Some(Kernels::Static(_)) => {
                let tables = [weights, "&BIAS".into(), "&SUMS".into()];
                arguments.push(checked("StaticKernels", &tables, indent));
            }
            Some(Kernels::Experts(kernels)) => {
                let inner = [
                    kernels.count.to_string(),
                    weights,
                    "&RATIOS".into(),
                    kernels.shift.to_string(),
                    "&BIAS".into(),
                    "&EXPERT_BIAS".into(),
                    "&SUMS".into(),
                ];
                arguments.push(checked("Experts", &inner, indent));
            }
            None => {}
        }
        if let Some(Requantize { zero_point, min, max, .. }) = layer.op.requantize() {
            let numbers = [zero_point, min, max].map(i32::to_string);
            let inner: Vec<String> = ["&MULTIPLIERS".into()].into_iter().chain(numbers).collect();
            arguments.push(checked("Requantize", &inner, indent));
        }
        arguments
    }
}

/// `HEAD checked(OP::new(ARGUMENTS));`.
fn plain(out: &mut String, head: &str, op: &str, arguments: &[String]) -> fmt::Result {
    let value = checked(op, arguments, 0);
    if value.contains('\n') {
        writeln!(out, "{head} {value};")
    } else {
        assignment(out, "", head, &format!("{value};"))
    }
}

/// `checked(OP::new(ARGUMENTS))` as the value of a static, after its tables.
fn new(out: &mut String, op: &str, arguments: &[String]) -> fmt::Result {
    writeln!(out, "    {}\n}};", checked(op, arguments, 4))
}

fn describe(out: &mut String, layer: &Layer, inputs: &[&Tensor], output: &Tensor) -> fmt::Result {
    let from: Vec<String> = inputs.iter().map(|input| dimensions(input.shape)).collect();
    let mut details = String::new();
    if let Op::Conv { geometry, .. } = &layer.op {
        let [height, width] = geometry.window().kernel;
        write!(details, ", kernel {height}x{width}")?;
        if geometry.groups() > 1 && !geometry.is_depthwise() {
            write!(details, ", {} groups", geometry.groups())?;
        }
    }
    if let Op::Lookup { function, .. } = &layer.op {
        write!(details, ", {function}")?;
    }
    if let Some(experts) = layer.op.experts() {
        write!(details, ", {} experts", experts.count)?;
    }
    let to = dimensions(output.shape);
    writeln!(out, "\n/// `{}`: {} -> {to}{details}.", layer.name, from.join(" and "))
}

/// The generic arguments of a layer's type: a lifetime where it borrows tables, and the element types.
fn generics(op: &Op, inputs: &[&Tensor], output: &Tensor) -> String {
    let elements = match op {
        Op::MaxPool { .. } | Op::Pad { .. } | Op::Softmax { .. } => types(inputs),
        Op::Lookup { .. } => types(&[output]),
        _ => types(&[inputs, &[output]].concat()),
    };
    let owned = matches!(op, Op::MaxPool { .. } | Op::Pad { .. } | Op::Softmax { .. } | Op::Add { .. });
    if owned { elements } else { format!("'static, {elements}") }
}

fn types(tensors: &[&Tensor]) -> String {
    tensors.iter().map(|tensor| tensor.element.rust_name()).collect::<Vec<_>>().join(", ")
}

/// An assertion in constant evaluation.
fn assertion(out: &mut String, condition: &str) -> fmt::Result {
    assignment(out, "", "const _: () =", &format!("assert!({condition});"))
}

fn operand(operand: &Operand) -> String {
    format!("Operand::new({}, {})", operand.zero_point, operand.multiplier)
}

fn sums_table(out: &mut String, sums: &[WeightSums]) -> fmt::Result {
    let pairs: Vec<String> = sums.iter().map(|s| format!("[{}, {}]", s.positive, s.negative)).collect();
    writeln!(out, "    #[rustfmt::skip]")?;
    writeln!(out, "    const SUMS: [WeightSums; {}] = WeightSums::table([", sums.len())?;
    write!(out, "{}", wrapped(&pairs, "        ", LINE))?;
    writeln!(out, "    ]);")
}
