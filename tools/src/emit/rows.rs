//! Layers that run row by row: their schedule, and the loop that follows it.

use std::fmt::{self, Write as _};

use super::Writer;
use super::text::range;
use crate::graph::ValueId;
use crate::plan::RowPlan;
use crate::quantized::Op;

impl Writer<'_> {
    /// The beginning of `infer` for an input that arrives row by row.
    pub(super) fn infer_by_row(&self, out: &mut String) -> fmt::Result {
        let input = &self.plan.network.tensors[self.plan.network.input];
        let element = input.element.rust_name();
        write!(
            out,
            "    /// Runs the network on an input that `source` writes row by row, NHWC, from the first on; it gets
    /// each row's number. It is not asked for rows at the end that no layer reads.
    pub fn infer(&mut self, source: impl FnMut(usize, &mut [{element}; ROW_LEN])) -> &[i16; OUTPUT_LEN] {{
        self.infer_observed(source, &mut ())
    }}

    /// The same, and tells the observer of each step: of layers that run row by row, and of their input, for
    /// each row.
    pub fn infer_observed(
        &mut self,
        source: impl FnMut(usize, &mut [{element}; ROW_LEN]),
        observer: &mut impl Observer,
    ) -> &[i16; OUTPUT_LEN] {{
        self.run_rows(source, observer);

"
        )
    }

    /// The method that runs the layers.
    pub(super) fn run_rows(&self, out: &mut String, plan: &RowPlan) -> fmt::Result {
        let network = &self.plan.network;
        let input = &network.tensors[network.input];
        let element = input.element.rust_name();
        write!(
            out,
            "
    #[rustfmt::skip]
    fn run_rows(
        &mut self,
        mut source: impl FnMut(usize, &mut [{element}; ROW_LEN]),
        observer: &mut impl Observer,
    ) {{
        let mut progress = ROWS.start();
        while let Some(step) = ROWS.next(&mut progress) {{
            let y = step.row;
            match step.tensor {{
                0 => {{
                    let row = step.output({});
                    observer.begin({name:?});
                    source(y, row);
                    observer.end({name:?});
                }}
",
            self.kept_rows(
                plan,
                network.input,
                &format!("&mut self.{}", self.words(&self.plan.places[network.input]))
            ),
            name = input.onnx_name,
        )?;
        for index in 0..plan.layers {
            if index + 1 < plan.layers {
                writeln!(out, "                {} => {{", index + 1)?;
            } else {
                writeln!(out, "                _ => {{")?;
            }
            self.row_call(out, plan, index)?;
            writeln!(out, "                }}")?;
        }
        writeln!(out, "            }}\n        }}\n    }}")
    }

    /// One layer computes a row.
    fn row_call(&self, out: &mut String, plan: &RowPlan, index: usize) -> fmt::Result {
        let network = &self.plan.network;
        let layer = &network.layers[index];
        let name = &self.names[index];
        let number = |number: usize| match layer.inputs.len() {
            1 => "input".to_string(),
            _ => format!("input_{number}"),
        };
        let inputs = || layer.inputs.iter().enumerate().map(|(n, &id)| (number(n), id));

        let mut parts: Vec<_> = inputs().map(|(input, id)| (input, &self.plan.places[id])).collect();
        let scratch = &self.plan.scratch[index];
        let is_convolution = matches!(layer.op, Op::Conv { .. });
        if is_convolution && !scratch.is_empty() {
            parts.push(("scratch".into(), scratch));
        }
        parts.push(("output".into(), &self.plan.places[layer.output]));
        let names: Vec<&str> = parts.iter().map(|(name, _)| name.as_str()).collect();
        let ranges: Vec<String> = parts.iter().map(|(_, words)| range(words)).collect();
        let margin = " ".repeat(20);
        writeln!(
            out,
            "{margin}let [{}] = disjoint(&mut self.arena, [{}]);",
            names.join(", "),
            ranges.join(", ")
        )?;
        for (input, id) in inputs() {
            let tensor = self.tensor_number(id);
            let rows = match &layer.op {
                Op::Conv { .. } | Op::MaxPool { .. } | Op::AveragePool { .. } => {
                    format!("{name}.geometry().row_window().rows(y)")
                }
                _ => "y..y + 1".into(),
            };
            let kept = self.kept_rows(plan, id, &input);
            writeln!(out, "{margin}let {input} = progress.input({tensor}, {rows}, {kept});")?;
        }
        writeln!(out, "{margin}let row = step.output({});", self.kept_rows(plan, layer.output, "output"))?;
        writeln!(out, "{margin}observer.begin({:?});", layer.name)?;
        let names: Vec<String> = inputs().map(|(input, _)| input).collect();
        let scratch = if scratch.is_empty() { "&mut []" } else { "scratch" };
        match &layer.op {
            Op::Conv { .. } => writeln!(out, "{margin}{name}.infer_row(y, input, {scratch}, row);")?,
            Op::MaxPool { .. } | Op::AveragePool { .. } => {
                writeln!(out, "{margin}{name}.infer_row(y, input, row);")?;
            }
            Op::Concat { .. } => {
                for (part, input) in names.iter().enumerate() {
                    writeln!(out, "{margin}{name}_{part}.infer_row({input}, row);")?;
                }
            }
            // A table fits any tensor.
            Op::Lookup { .. } => writeln!(out, "{margin}{name}.infer(input, row);")?,
            _ => writeln!(out, "{margin}{name}.infer_row({}, row);", names.join(", "))?,
        }
        writeln!(out, "{margin}observer.end({:?});", layer.name)
    }

    /// The order of rows, and how many of each tensor are kept.
    pub(super) fn schedule(&self, out: &mut String, plan: &RowPlan) -> fmt::Result {
        let network = &self.plan.network;
        let tensors = plan.kept.len();
        writeln!(out, "\n// When rows are computed, and how many of each tensor are kept for that.")?;
        writeln!(
            out,
            "#[rustfmt::skip]\nstatic ROWS: RowSchedule<'static, {tensors}> = checked(RowSchedule::new(["
        )?;
        let input = &network.tensors[network.input];
        writeln!(out, "    RowTensor::new({}, {}, &[]),", input.shape.height, plan.kept[0])?;
        for (index, kept) in plan.kept[1..].iter().enumerate() {
            let layer = &network.layers[index];
            let height = network.tensors[layer.output].shape.height;
            let window = match &layer.op {
                Op::Conv { .. } | Op::MaxPool { .. } | Op::AveragePool { .. } => {
                    format!("{}.geometry().row_window()", self.names[index])
                }
                _ => format!("RowWindow::same({height})"),
            };
            let inputs: Vec<String> =
                layer.inputs.iter().map(|&id| format!("({}, {window})", self.tensor_number(id))).collect();
            let inputs = inputs.join(", ");
            writeln!(out, "    RowTensor::new({height}, {kept}, const {{ &[{inputs}] }}),")?;
        }
        writeln!(out, "]));")
    }

    /// The number of a tensor among those that are computed row by row.
    fn tensor_number(&self, id: ValueId) -> usize {
        let network = &self.plan.network;
        network.layers.iter().position(|layer| layer.output == id).map_or(0, |layer| layer + 1)
    }

    /// The rows of a tensor that are kept, in some words.
    fn kept_rows(&self, plan: &RowPlan, id: ValueId, words: &str) -> String {
        let tensor = &self.plan.network.tensors[id];
        let row = tensor.shape.row_len();
        let kept = plan.kept[self.tensor_number(id)];
        format!("rows::<{}, {row}, {kept}>({words})", tensor.element.rust_name())
    }
}
