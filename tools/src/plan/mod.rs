//! Where everything lies: tensors and scratch in the arena, constants in the weights file.

mod arena;
mod choice;
mod flash;
mod layout;
mod map;
mod needs;
mod order;
mod rows;
mod svg;
mod weights;

use std::ops::Range;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::quantized::{Layer, Op, QuantizedNetwork, Step};
use choice::{Bounds, Choice, bounds, choose_order, ram_bytes};
pub use flash::Flash;
use layout::{Layout, Planner};
pub use map::{Content, Peak, Placed, Role};
pub use rows::{RowPlan, WholeInput};

/// What a network needs; part of every report.
#[derive(Debug, Clone, Serialize)]
pub struct Sizes {
    /// Multiply-accumulates, mixing and routing apart.
    pub macs: usize,
    /// Multiply-accumulates of mixing and routing.
    pub mixing_macs: usize,
    /// All constants.
    pub flash_bytes: usize,
    /// The same by what they are.
    pub flash: Flash,
    /// `size_of::<Network>()`.
    pub ram_bytes: usize,
    /// The same with the least memory that the network can run in, which is slower.
    pub least_ram_bytes: usize,
    /// The same with all the scratch that makes it faster.
    pub fastest_ram_bytes: usize,
    /// Those two if layers ran in the order of the file, where they do not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_order_ram_bytes: Option<[usize; 2]>,
    /// The layer that takes most of the arena; none in a network without layers.
    pub peak: Option<Peak>,
    /// The first layers, if they run row by row.
    pub rows: Option<RowPlan>,
}

/// A quantised network and its layout.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The network.
    pub network: QuantizedNetwork,
    /// Words of the arena where each tensor lies; none if nothing reads or writes it.
    pub places: Vec<Range<usize>>,
    /// Words of the arena in which each layer prepares kernels and columns.
    pub scratch: Vec<Range<usize>>,
    /// Words of the arena.
    pub arena: usize,
    /// The first layers, if they run row by row.
    pub rows: Option<RowPlan>,
    /// Place of each routing function's weights among all that are kept.
    pub routing_places: Vec<Range<usize>>,
    /// Routing weights that are kept at a time.
    pub routing_weights: usize,
    /// The weights file.
    pub weights: Vec<u8>,
    /// Place of each layer's weights in the file.
    pub weight_places: Vec<Range<usize>>,
    /// Layers whose operands are taken in another order than the network's.
    swapped: Vec<usize>,
    /// How far layers may run row by row, what is best first.
    choices: Vec<Choice>,
    /// RAM in the order of the file, if that is another.
    file_order_ram_bytes: Option<[usize; 2]>,
}

impl Plan {
    /// Lays a network out to be as fast as can be, in as little memory as that takes. The result depends on the network
    /// only. Its layers run in another order than they have where all of that takes less memory.
    #[must_use]
    pub fn new(mut network: QuantizedNetwork) -> Self {
        let (bounds, file_order_ram_bytes) = choose_order(&mut network, Choice::whole);
        Self::in_order(network, bounds, file_order_ram_bytes)
    }

    /// The same for an input that arrives row by row: the first layers run as soon as the rows are there that they need, no more
    /// layers than make for the least memory with which the network is fastest.
    ///
    /// # Errors
    ///
    /// If the first layers need their whole input.
    pub fn row_by_row(mut network: QuantizedNetwork) -> Result<Self, WholeInput> {
        RowPlan::all(&network)?;
        let (bounds, file_order_ram_bytes) = choose_order(&mut network, Choice::by_row);
        Ok(Self::in_order(network, bounds, file_order_ram_bytes))
    }

    fn in_order(network: QuantizedNetwork, bounds: Bounds, file_order_ram_bytes: Option<[usize; 2]>) -> Self {
        let Bounds { choices, routing_places, routing_weights } = bounds;
        let rows = choices.first().and_then(|choice| choice.rows.clone());
        let fastest = Planner::new(&network, rows.as_ref()).fastest();
        let (weights, weight_places) = weights::place(&network);
        Self {
            network,
            places: Vec::new(),
            scratch: Vec::new(),
            arena: 0,
            rows: None,
            routing_places,
            routing_weights,
            weights,
            weight_places,
            swapped: Vec::new(),
            choices,
            file_order_ram_bytes,
        }
        .with(rows, fastest)
    }

    /// The plan with no more RAM than that: with less, convolutions prepare fewer kernels at a time, or read static ones from
    /// flash, so that their output can lie where their input does. Nothing else changes.
    ///
    /// # Errors
    ///
    /// The least RAM that the network can run in, if it is more.
    pub fn within(self, ram_bytes: usize) -> Result<Self, usize> {
        let words = ram_bytes.saturating_sub(self.ram_bytes_with(0)) / 4;
        let possible = self.choices.iter().filter(|choice| choice.least <= words);
        let mut layouts = possible.filter_map(|choice| {
            let layout = Planner::new(&self.network, choice.rows.as_ref()).within(words)?;
            Some((choice.rows.clone(), layout))
        });
        match layouts.next() {
            Some((rows, layout)) => Ok(self.with(rows, layout)),
            None => Err(self.sizes().least_ram_bytes),
        }
    }

    fn with(mut self, rows: Option<RowPlan>, layout: Layout) -> Self {
        let Layout { places, scratch, arena } = layout;
        for layer in std::mem::take(&mut self.swapped) {
            swap_operands(&mut self.network.layers[layer]);
        }
        // Sums and products are taken in place of their first operand.
        for (index, layer) in self.network.layers.iter_mut().enumerate() {
            let commutes = matches!(layer.op, Op::Add { .. } | Op::Mul { per_channel: false, .. });
            if commutes
                && places[layer.inputs[1]] == places[layer.output]
                && layer.inputs[0] != layer.inputs[1]
            {
                swap_operands(layer);
                self.swapped.push(index);
            }
        }
        Self { places, scratch, arena, rows, ..self }
    }

    /// The steps as they run: layers that run row by row once for each row, and none where a row of the input is asked for.
    #[must_use]
    pub fn steps(&self) -> Vec<Option<Step>> {
        let by_row = self.rows.iter().flat_map(|rows| rows.steps(&self.network));
        let whole = self.network.steps().into_iter().filter(|step| !self.runs_by_row(*step)).map(Some);
        by_row.chain(whole).collect()
    }

    /// Whether a step runs row by row.
    #[must_use]
    pub fn runs_by_row(&self, step: Step) -> bool {
        let layers = self.rows.as_ref().map_or(0, |rows| rows.layers);
        matches!(step, Step::Layer(layer) if layer < layers)
    }

    /// `size_of::<Network>()` on the device: the arena and routing weights.
    #[must_use]
    pub fn ram_bytes(&self) -> usize {
        self.ram_bytes_with(self.arena)
    }

    fn ram_bytes_with(&self, arena: usize) -> usize {
        ram_bytes(arena, self.routing_weights)
    }

    /// Multiply-accumulates of one inference, mixing and routing apart.
    #[must_use]
    pub fn macs(&self) -> usize {
        self.network.layers.iter().map(|layer| layer.op.macs()).sum()
    }

    /// Multiply-accumulates of mixing and routing.
    #[must_use]
    pub fn mixing_macs(&self) -> usize {
        let mixing: usize = self.network.layers.iter().map(|layer| layer.op.mixing_macs()).sum();
        mixing + self.network.routings.iter().map(|routing| routing.matrix.len()).sum::<usize>()
    }

    /// All these figures.
    #[must_use]
    pub fn sizes(&self) -> Sizes {
        let [least, fastest] = bounds(&self.choices).map(|arena| self.ram_bytes_with(arena));
        Sizes {
            macs: self.macs(),
            mixing_macs: self.mixing_macs(),
            flash_bytes: self.flash_bytes(),
            flash: self.flash(),
            ram_bytes: self.ram_bytes(),
            least_ram_bytes: least,
            fastest_ram_bytes: fastest,
            file_order_ram_bytes: self.file_order_ram_bytes,
            peak: self.peak(),
            rows: self.rows.clone(),
        }
    }

    /// Identifies everything that decides the network's results and memory: a hash in hexadecimal.
    #[must_use]
    pub fn id(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(format!(
            "{:?}",
            (&self.network, &self.places, &self.scratch, &self.routing_places, &self.weight_places)
        ));
        if let Some(rows) = &self.rows {
            hash.update(format!("{rows:?}"));
        }
        hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

fn swap_operands(layer: &mut Layer) {
    layer.inputs.swap(0, 1);
    if let Op::Add { operands, .. } = &mut layer.op {
        operands.swap(0, 1);
    }
}
