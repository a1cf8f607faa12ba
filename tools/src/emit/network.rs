//! The `Network`: its memory, and the calls of its layers.

use std::fmt::{self, Write as _};
use std::ops::Range;

use super::Writer;
use super::text::{ARGUMENTS, assignment, call, observe, range};
use crate::graph::ValueId;
use crate::quantized::{Layer, Op, Step};

impl Writer<'_> {
    pub(super) fn network(&self, out: &mut String) -> fmt::Result {
        let plan = self.plan;
        let mut fields = vec![("arena", format!("[i32; {}]", plan.arena), format!("[0; {}]", plan.arena))];
        if plan.routing_weights > 0 {
            let weights = plan.routing_weights;
            let array = (format!("[RoutingWeight; {weights}]"), format!("[RoutingWeight::ZERO; {weights}]"));
            fields.push(("routing", array.0, array.1));
        }
        writeln!(out, "/// The network and all memory that it uses.")?;
        writeln!(out, "#[derive(Debug)]\npub struct Network {{")?;
        for (name, ty, _) in &fields {
            writeln!(out, "    {name}: {ty},")?;
        }
        writeln!(out, "}}\n\nimpl Default for Network {{\n    fn default() -> Self {{")?;
        writeln!(out, "        Self::new()\n    }}\n}}\n\nimpl Network {{")?;
        writeln!(out, "    /// A network with an input of zeros.\n    #[must_use]")?;
        writeln!(out, "    pub const fn new() -> Self {{")?;
        if let [(name, _, value)] = &fields[..] {
            writeln!(out, "        Self {{ {name}: {value} }}\n    }}\n")?;
        } else {
            writeln!(out, "        Self {{")?;
            for (name, _, value) in &fields {
                writeln!(out, "            {name}: {value},")?;
            }
            writeln!(out, "        }}\n    }}\n")?;
        }
        match &plan.rows {
            Some(_) => self.infer_by_row(out)?,
            None => self.infer_whole(out)?,
        }
        for step in plan.network.steps().into_iter().filter(|step| !plan.runs_by_row(*step)) {
            match step {
                Step::Routing(id) => self.route_step(out, id)?,
                Step::Layer(index) => self.layer_step(out, index)?,
            }
        }
        let output = self.words(&plan.places[plan.network.output]);
        writeln!(out, "        elements(&mut self.{output})\n    }}")?;
        if let Some(rows) = &plan.rows {
            self.run_rows(out, rows)?;
        }
        writeln!(out, "}}")
    }

    /// The beginning of `infer` for an input that is there before.
    fn infer_whole(&self, out: &mut String) -> fmt::Result {
        let plan = self.plan;
        let element = plan.network.tensors[plan.network.input].element.rust_name();
        out.write_str(
            "    /// The input, NHWC, to be written before each inference: layers reuse its memory.\n",
        )?;
        writeln!(out, "    pub fn input_mut(&mut self) -> &mut [{element}; INPUT_LEN] {{")?;
        writeln!(
            out,
            "        elements(&mut self.{})\n    }}\n",
            self.words(&plan.places[plan.network.input])
        )?;
        out.write_str(
            r"    /// Runs the network on its input.
    pub fn infer(&mut self) -> &[i16; OUTPUT_LEN] {
        self.infer_observed(&mut ())
    }

    /// Runs the network on its input and tells the observer of each step.
    pub fn infer_observed(&mut self, observer: &mut impl Observer) -> &[i16; OUTPUT_LEN] {
",
        )
    }

    fn route_step(&self, out: &mut String, id: usize) -> fmt::Result {
        let routing = &self.plan.network.routings[id];
        let words = format!("&mut self.{}", self.words(&self.plan.places[routing.input]));
        let weights = self.routing_place(id);
        observe(out, "begin", &routing.name, &[])?;
        let input = self.elements(routing.input, &words);
        call(out, &format!("ROUTING_{id}"), "infer", &[&input, &format!("&mut {weights}")])?;
        observe(out, "end", &routing.name, &[])?;
        observe(out, "routing", &routing.name, &[format!("&{weights}")])?;
        writeln!(out)
    }

    fn layer_step(&self, out: &mut String, index: usize) -> fmt::Result {
        let layer = &self.plan.network.layers[index];
        observe(out, "begin", &layer.name, &[])?;
        match (&layer.op, self.plan.overlaps(index)) {
            (Op::Concat { .. }, _) => self.concat_calls(out, index)?,
            (_, false) => self.call_apart(out, index)?,
            (Op::Add { .. } | Op::Mul { .. } | Op::Lookup { .. }, true) => self.call_in_place(out, index)?,
            (_, true) => self.call_within(out, index)?,
        }
        observe(out, "end", &layer.name, &[])?;
        writeln!(out)
    }

    /// A layer whose output lies beside its inputs.
    fn call_apart(&self, out: &mut String, index: usize) -> fmt::Result {
        let layer = &self.plan.network.layers[index];
        let mut inputs = layer.inputs.clone();
        inputs.dedup();
        let name = |number: usize| match inputs.len() {
            1 => "input".to_string(),
            _ => format!("input_{number}"),
        };
        let mut parts: Vec<(String, &Range<usize>)> =
            inputs.iter().enumerate().map(|(number, &id)| (name(number), &self.plan.places[id])).collect();
        let scratch = &self.plan.scratch[index];
        if !scratch.is_empty() {
            parts.push(("scratch".into(), scratch));
        }
        parts.push(("output".into(), &self.plan.places[layer.output]));
        part(out, &parts)?;
        let twice = inputs.len() < layer.inputs.len();
        if twice {
            writeln!(out, "        let input = &*{};", self.elements(inputs[0], "input"))?;
        }
        let tensors = layer
            .inputs
            .iter()
            .enumerate()
            .map(|(number, &id)| if twice { name(0) } else { self.elements(id, &name(number)) });
        let mut arguments: Vec<String> = tensors.collect();
        arguments.extend(self.routing_argument(layer));
        arguments.extend(scratch_argument(layer, scratch));
        arguments.push(self.elements(layer.output, "output"));
        call(out, &self.names[index], "infer", &arguments)
    }

    /// A layer whose output overlaps its input.
    fn call_within(&self, out: &mut String, index: usize) -> fmt::Result {
        let layer = &self.plan.network.layers[index];
        let tensor = &self.plan.network.tensors[layer.output];
        let (words, begin) = self.shared(index);
        let scratch = &self.plan.scratch[index];
        let mut parts = vec![("memory".to_string(), &words)];
        if !scratch.is_empty() {
            parts.push(("scratch".into(), scratch));
        }
        part(out, &parts)?;
        let len = 4 * words.len() / tensor.element.bytes();
        let mut arguments =
            vec![format!("elements::<{}, {len}>(memory)", tensor.element.rust_name()), format!("{begin:?}")];
        arguments.extend(self.routing_argument(layer));
        arguments.extend(scratch_argument(layer, scratch));
        call(out, &self.names[index], "infer_within", &arguments)
    }

    /// A layer whose output is its first input.
    fn call_in_place(&self, out: &mut String, index: usize) -> fmt::Result {
        let layer = &self.plan.network.layers[index];
        let names = ["tensor", "other"];
        let parts: Vec<(String, &Range<usize>)> = names
            .iter()
            .zip(&layer.inputs)
            .map(|(name, &id)| ((*name).to_string(), &self.plan.places[id]))
            .collect();
        part(out, &parts)?;
        let arguments: Vec<String> =
            names.iter().zip(&layer.inputs).map(|(name, &id)| self.elements(id, name)).collect();
        call(out, &self.names[index], "infer_in_place", &arguments)
    }

    /// Part by part, each with a view of input and output of its own.
    fn concat_calls(&self, out: &mut String, index: usize) -> fmt::Result {
        let layer = &self.plan.network.layers[index];
        for (number, &input) in layer.inputs.iter().enumerate() {
            let places = [input, layer.output].map(|id| &self.plan.places[id]);
            part(out, &[("input".into(), places[0]), ("output".into(), places[1])])?;
            let arguments = [self.elements(input, "input"), self.elements(layer.output, "output")];
            call(out, &format!("{}_{number}", self.names[index]), "infer", &arguments)?;
        }
        Ok(())
    }

    /// Words that hold both tensors of a layer which overlap, and the elements where input and output begin.
    pub(super) fn shared(&self, index: usize) -> (Range<usize>, [usize; 2]) {
        let layer = &self.plan.network.layers[index];
        let [input, output] = [layer.inputs[0], layer.output].map(|id| &self.plan.places[id]);
        let words = input.start.min(output.start)..input.end.max(output.end);
        let elements = 4 / self.plan.network.tensors[layer.output].element.bytes();
        let begin = [input, output].map(|place| (place.start - words.start) * elements);
        (words, begin)
    }

    fn routing_argument(&self, layer: &Layer) -> Option<String> {
        layer.op.experts().map(|experts| format!("&{}", self.routing_place(experts.routing)))
    }

    /// A tensor in some words.
    fn elements(&self, id: ValueId, words: &str) -> String {
        let tensor = &self.plan.network.tensors[id];
        format!("elements::<{}, {}>({words})", tensor.element.rust_name(), tensor.shape.len())
    }

    fn routing_place(&self, id: usize) -> String {
        format!("self.routing[{}]", range(&self.plan.routing_places[id]))
    }

    pub(super) fn words(&self, words: &Range<usize>) -> String {
        format!("arena[{}]", range(words))
    }
}

/// The scratch of a layer that has a use for it.
fn scratch_argument(layer: &Layer, scratch: &Range<usize>) -> Option<String> {
    let scratch = if scratch.is_empty() { "&mut []" } else { "scratch" };
    matches!(layer.op, Op::Conv { .. }).then(|| scratch.to_string())
}

/// Parts words of the arena.
fn part(out: &mut String, parts: &[(String, &Range<usize>)]) -> fmt::Result {
    let names: Vec<&str> = parts.iter().map(|(name, _)| name.as_str()).collect();
    let ranges: Vec<String> = parts.iter().map(|(_, words)| range(words)).collect();
    let (names, ranges) = (names.join(", "), ranges.join(", "));
    let head = format!("let [{names}] =");
    let arguments = format!("&mut self.arena, [{ranges}]");
    if arguments.len() <= ARGUMENTS {
        assignment(out, "        ", &head, &format!("disjoint({arguments});"))
    } else {
        writeln!(out, "        {head} disjoint(")?;
        writeln!(out, "            &mut self.arena,\n            [{ranges}],\n        );")
    }
}
