//! The `Network`: its memory, and the calls of its layers.

use std::fmt::{self, Write as _};

use super::Writer;
use super::text::{ARGUMENTS, assignment, call, observe, range};
use crate::graph::ValueId;
use crate::quantized::{ElementType, Layer, Op, Step};

impl Writer<'_> {
    pub(super) fn network(&self, out: &mut String) -> fmt::Result {
        let plan = self.plan;
        let mut fields = Vec::new();
        if plan.arena > 0 {
            fields.push(("arena", format!("[i8; {}]", plan.arena), format!("[0; {}]", plan.arena)));
        }
        if plan.wide_arena > 0 {
            fields.push(("wide", format!("[i16; {}]", plan.wide_arena), format!("[0; {}]", plan.wide_arena)));
        }
        fields.push(("output", "[i16; OUTPUT_LEN]".into(), "[0; OUTPUT_LEN]".into()));
        if plan.routing_weights > 0 {
            let weights = plan.routing_weights;
            let array = (format!("[RoutingWeight; {weights}]"), format!("[RoutingWeight::ZERO; {weights}]"));
            fields.push(("routing", array.0, array.1));
        }
        if plan.scratch > 0 {
            fields.push(("scratch", format!("[i32; {}]", plan.scratch), format!("[0; {}]", plan.scratch)));
        }
        writeln!(out, "/// The network and all memory that it uses.")?;
        writeln!(out, "#[derive(Debug)]\npub struct Network {{")?;
        for (name, ty, _) in &fields {
            writeln!(out, "    {name}: {ty},")?;
        }
        writeln!(out, "}}\n\nimpl Default for Network {{\n    fn default() -> Self {{")?;
        writeln!(out, "        Self::new()\n    }}\n}}\n\nimpl Network {{")?;
        writeln!(out, "    /// A network with an input of zeros.\n    #[must_use]")?;
        writeln!(out, "    pub const fn new() -> Self {{\n        Self {{")?;
        for (name, _, value) in &fields {
            writeln!(out, "            {name}: {value},")?;
        }
        writeln!(out, "        }}\n    }}\n")?;
        let element = plan.network.tensors[plan.network.input].element.rust_name();
        let arena = self.arena(plan.network.input);
        out.write_str(
            "    /// The input, NHWC, to be written before each inference: layers reuse its memory.\n",
        )?;
        writeln!(out, "    pub const fn input_mut(&mut self) -> &mut [{element}; INPUT_LEN] {{")?;
        writeln!(out, "        condconv::head(&mut self.{arena})\n    }}\n")?;
        out.write_str(
            r"    /// Runs the network on its input.
    pub fn infer(&mut self) -> &[i16; OUTPUT_LEN] {
        self.infer_observed(&mut ())
    }

    /// Runs the network on its input and tells the observer of each step.
    pub fn infer_observed(&mut self, observer: &mut impl Observer) -> &[i16; OUTPUT_LEN] {
",
        )?;
        for step in plan.network.steps() {
            match step {
                Step::Routing(id) => self.route_step(out, id)?,
                Step::Layer(index) => {
                    self.layer_step(out, &plan.network.layers[index], &self.names[index])?;
                }
            }
        }
        writeln!(out, "        &self.output\n    }}\n}}")
    }

    fn route_step(&self, out: &mut String, id: usize) -> fmt::Result {
        let routing = &self.plan.network.routings[id];
        let place = self.place(routing.input);
        let weights = self.routing_place(id);
        observe(out, "begin", &routing.name, &[])?;
        call(out, &format!("ROUTING_{id}"), &[&format!("&{place}"), &format!("&mut {weights}")])?;
        observe(out, "end", &routing.name, &[])?;
        observe(out, "routing", &routing.name, &[format!("&{weights}")])?;
        writeln!(out)
    }

    fn layer_step(&self, out: &mut String, layer: &Layer, name: &str) -> fmt::Result {
        let experts = layer.op.experts();
        let mut arguments = Vec::new();
        if let Some(experts) = experts {
            arguments.push(format!("&{}", self.routing_place(experts.routing)));
        }
        if matches!(layer.op, Op::Conv { .. }) {
            arguments.push(if self.plan.scratch == 0 { "&mut []" } else { "&mut self.scratch" }.into());
        }
        observe(out, "begin", &layer.name, &[])?;
        if let Op::Concat { .. } = &layer.op {
            return self.concat_step(out, layer, name);
        }
        let arena = self.arena(layer.output);
        let parted = self.beside_output(layer);
        let input = |id: ValueId| match parted.iter().position(|&other| other == id) {
            Some(0) if parted.len() == 1 => "input".to_string(),
            Some(position) => format!("input_{position}"),
            None => format!("&{}", self.place(id)),
        };
        let mut output = format!("&mut {}", self.place(layer.output));
        if !parted.is_empty() {
            let names: Vec<String> = parted.iter().map(|&id| input(id)).collect();
            let ranges: Vec<String> =
                parted.iter().chain([&layer.output]).map(|&id| range(&self.plan.places[id])).collect();
            part(out, &names.join(", "), arena, &ranges.join(", "))?;
            output = "output".into();
        }
        let inputs: Vec<String> = layer.inputs.iter().map(|&id| input(id)).collect();
        let arguments: Vec<&str> =
            inputs.iter().chain(&arguments).chain([&output]).map(String::as_str).collect();
        call(out, name, &arguments)?;
        observe(out, "end", &layer.name, &[])?;
        writeln!(out)
    }

    /// Part by part, each with a view of input and output of its own.
    fn concat_step(&self, out: &mut String, layer: &Layer, name: &str) -> fmt::Result {
        let arena = self.arena(layer.output);
        let places = &self.plan.places;
        for (number, &input) in layer.inputs.iter().enumerate() {
            let name = format!("{name}_{number}");
            if self.arena(input) == arena {
                let ranges = [input, layer.output].map(|id| range(&places[id])).join(", ");
                part(out, "input", arena, &ranges)?;
                call(out, &name, &["input", "output"])?;
            } else {
                let [input, output] = [input, layer.output].map(|id| self.place(id));
                call(out, &name, &[&format!("&{input}"), &format!("&mut {output}")])?;
            }
        }
        observe(out, "end", &layer.name, &[])?;
        writeln!(out)
    }

    /// Inputs in the arena that the layer writes to, each once: they are parted from its output.
    pub(super) fn beside_output(&self, layer: &Layer) -> Vec<ValueId> {
        let mut inputs: Vec<ValueId> = Vec::new();
        for &input in &layer.inputs {
            if self.arena(input) == self.arena(layer.output) && !inputs.contains(&input) {
                inputs.push(input);
            }
        }
        inputs
    }

    pub(super) fn arena(&self, id: usize) -> &'static str {
        let network = &self.plan.network;
        match (id == network.output, network.tensors[id].element) {
            (true, _) => "output",
            (false, ElementType::I8) => "arena",
            (false, ElementType::I16) => "wide",
        }
    }

    fn routing_place(&self, id: usize) -> String {
        format!("self.routing[{}]", range(&self.plan.routing_places[id]))
    }

    fn place(&self, id: usize) -> String {
        match self.arena(id) {
            "output" => "self.output".into(),
            arena => format!("self.{arena}[{}]", range(&self.plan.places[id])),
        }
    }
}

/// Parts ranges of an arena, the last of which is the output.
fn part(out: &mut String, names: &str, arena: &str, ranges: &str) -> fmt::Result {
    let head = format!("let [{names}, output] =");
    let arguments = format!("&mut self.{arena}, [{ranges}]");
    if arguments.len() <= ARGUMENTS {
        assignment(out, "        ", &head, &format!("disjoint({arguments});"))
    } else {
        writeln!(out, "        {head} disjoint(")?;
        writeln!(out, "            &mut self.{arena},\n            [{ranges}],\n        );")
    }
}
