//! Which first layers can run row by row, and how many rows of their tensors are kept for that.

use condconv::{Geometry, RowWindow};
use serde::Serialize;
use thiserror::Error;

use crate::graph::ValueId;
use crate::quantized::{Kernels, Layer, Op, QuantizedNetwork, Step};

/// The first layers of a network, run row by row from an input that arrives so. The last one's output is kept whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RowPlan {
    /// How many layers.
    pub layers: usize,
    /// Rows that are kept at a time of the network's input, and of each layer's output.
    pub kept: Vec<usize>,
}

/// Why a network's input cannot arrive row by row.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WholeInput {
    /// The first layer takes all rows at once.
    #[error("'{name}' ({op}) needs its whole input")]
    Layer {
        /// The ONNX node.
        name: String,
        /// The library's operator.
        op: &'static str,
    },
    /// A later layer reads the input, or two outputs of the first layers.
    #[error(
        "no first layers whose results are read by others once they are whole, since '{0}' is read early and late"
    )]
    Readers(String),
}

impl RowPlan {
    /// All that are possible.
    pub(super) fn all(network: &QuantizedNetwork) -> Result<Vec<Self>, WholeInput> {
        let windows: Vec<Vec<RowWindow>> =
            network.layers.iter().map_while(|layer| windows(network, layer)).collect();
        let plans: Vec<Self> = (1..=windows.len())
            .filter(|&layers| read_beyond(network, layers).is_none())
            .map(|layers| {
                let mut run = Run::new(network, &windows[..layers]);
                run.finish();
                Self { layers, kept: run.kept }
            })
            .collect();
        if !plans.is_empty() {
            return Ok(plans);
        }
        Err(match read_beyond(network, 1) {
            Some(id) if !windows.is_empty() => WholeInput::Readers(network.tensors[id].onnx_name.clone()),
            _ => match network.layers.first() {
                Some(layer) => WholeInput::Layer { name: layer.name.clone(), op: layer.op.name() },
                None => WholeInput::Readers(network.tensors[network.input].onnx_name.clone()),
            },
        })
    }

    /// The rows that are kept of a tensor; none if it lies in memory whole as any other.
    #[must_use]
    pub fn kept(&self, network: &QuantizedNetwork, id: ValueId) -> Option<usize> {
        let number = tensors(network, self.layers).position(|tensor| tensor == id)?;
        Some(self.kept[number])
    }

    /// The layers in the order in which they compute rows; none where a row of the input is asked for.
    pub(super) fn steps(&self, network: &QuantizedNetwork) -> Vec<Option<Step>> {
        let windows: Vec<_> =
            network.layers[..self.layers].iter().map_while(|layer| windows(network, layer)).collect();
        let mut run = Run::new(network, &windows);
        run.finish();
        run.order.iter().map(|tensor| tensor.checked_sub(1).map(Step::Layer)).collect()
    }
}

/// The network's input and the outputs of the first layers.
pub(super) fn tensors(network: &QuantizedNetwork, layers: usize) -> impl Iterator<Item = ValueId> {
    let outputs = network.layers[..layers].iter().map(|layer| layer.output);
    [network.input].into_iter().chain(outputs)
}

/// The rows of each input that rows of a layer's output are computed from, if the layer can do with these.
fn windows(network: &QuantizedNetwork, layer: &Layer) -> Option<Vec<RowWindow>> {
    let height = network.tensors[layer.output].shape.height;
    let window = match &layer.op {
        Op::Conv { geometry, kernels: Kernels::Static(_), .. } => geometry.row_window(),
        Op::MaxPool { shape, window } | Op::AveragePool { shape, window, .. } => {
            Geometry::new(*shape, shape.channels, *window, shape.channels).ok()?.row_window()
        }
        Op::Add { .. } | Op::Mul { per_channel: false, .. } | Op::Concat { .. } | Op::Lookup { .. } => {
            RowWindow::same(height)
        }
        _ => return None,
    };
    let empty = [0, height - 1].iter().any(|&y| window.rows(y).is_empty());
    let twice = (1..layer.inputs.len()).any(|number| layer.inputs[..number].contains(&layer.inputs[number]));
    (!empty && !twice).then(|| vec![window; layer.inputs.len()])
}

/// A tensor of the first layers, other than the last one's output, that something after them reads.
fn read_beyond(network: &QuantizedNetwork, layers: usize) -> Option<ValueId> {
    let last = network.layers.get(layers - 1)?.output;
    let read = |id: ValueId| {
        id == network.output
            || network.layers[layers..].iter().any(|layer| layer.inputs.contains(&id))
            || network.routings.iter().any(|routing| routing.input == id)
    };
    tensors(network, layers).find(|&id| id != last && read(id))
}

/// Computes rows no earlier than they are needed, as [`condconv::RowSchedule`] does.
struct Run<'a> {
    heights: Vec<usize>,
    /// Of each tensor the ones that it is computed from, by number.
    inputs: Vec<Vec<(usize, &'a RowWindow)>>,
    made: Vec<usize>,
    /// The most rows of each tensor that were needed at a time, with the one that was computed then.
    kept: Vec<usize>,
    order: Vec<usize>,
}

impl<'a> Run<'a> {
    fn new(network: &QuantizedNetwork, windows: &'a [Vec<RowWindow>]) -> Self {
        let ids: Vec<ValueId> = tensors(network, windows.len()).collect();
        let number = |id: &ValueId| ids.iter().position(|tensor| tensor == id).unwrap_or_default();
        let of_layer = |(layer, windows): (&Layer, &'a Vec<RowWindow>)| {
            layer.inputs.iter().map(number).zip(windows).collect()
        };
        let inputs = network.layers.iter().zip(windows).map(of_layer);
        Self {
            heights: ids.iter().map(|&id| network.tensors[id].shape.height).collect(),
            inputs: [Vec::new()].into_iter().chain(inputs).collect(),
            made: vec![0; ids.len()],
            kept: vec![1; ids.len()],
            order: Vec::new(),
        }
    }

    fn finish(&mut self) {
        let last = self.made.len() - 1;
        while self.made[last] < self.heights[last] {
            let mut tensor = last;
            while let Some(input) = self.missing(tensor) {
                tensor = input;
            }
            let row = self.made[tensor];
            let first = if tensor == last { 0 } else { self.first_needed(tensor) };
            self.kept[tensor] = self.kept[tensor].max(row + 1 - first);
            self.made[tensor] += 1;
            self.order.push(tensor);
        }
    }

    fn missing(&self, tensor: usize) -> Option<usize> {
        let mut inputs = self.inputs[tensor].iter();
        let missing =
            |(input, window): &&(usize, &RowWindow)| window.rows(self.made[tensor]).end > self.made[*input];
        inputs.find(missing).map(|(input, _)| *input)
    }

    fn first_needed(&self, tensor: usize) -> usize {
        let readers =
            (tensor + 1..self.made.len()).filter(|&reader| self.made[reader] < self.heights[reader]);
        let rows = readers.flat_map(|reader| {
            let inputs = self.inputs[reader].iter().filter(|(input, _)| *input == tensor);
            inputs.map(move |(_, window)| window.rows(self.made[reader]).start)
        });
        rows.fold(self.made[tensor], usize::min)
    }
}
