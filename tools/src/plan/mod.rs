//! Where everything lies: tensors and scratch in the arena, constants in the weights file.

mod arena;
mod flash;
mod layout;
mod map;
mod needs;
mod order;
mod rows;
mod svg;
mod weights;

use std::collections::BTreeSet;
use std::ops::Range;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::quantized::{Layer, Op, QuantizedNetwork, Routing, Step};
use arena::{Item, Placement};
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

/// Some first layers that run row by row, or none, and words of the smallest arena for that and of the one with which the
/// network is fastest.
#[derive(Debug, Clone)]
struct Choice {
    rows: Option<RowPlan>,
    least: usize,
    fastest: usize,
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

fn ram_bytes(arena: usize, routing_weights: usize) -> usize {
    (4 * arena + 2 * routing_weights).next_multiple_of(4)
}

impl Choice {
    fn of(rows: Option<RowPlan>, planner: &Planner<'_>) -> Self {
        Self { rows, least: planner.least().arena, fastest: planner.fastest().arena }
    }

    /// The only one where the input is there before.
    fn whole(network: &QuantizedNetwork) -> Vec<Self> {
        vec![Self::of(None, &Planner::new(network, None))]
    }

    /// All where it arrives row by row, what is best first.
    fn by_row(network: &QuantizedNetwork) -> Vec<Self> {
        let mut plans = RowPlan::all(network).unwrap_or_default();
        plans.sort_by_cached_key(|rows| Planner::new(network, Some(rows)).words_by_row());
        let mut choices: Vec<Self> = Vec::new();
        for rows in plans {
            let planner = Planner::new(network, Some(&rows));
            // What takes more by itself than another does at least is of no use.
            if choices.iter().all(|choice| planner.words_by_row() < choice.least) {
                choices.push(Self::of(Some(rows.clone()), &planner));
            }
        }
        choices.sort_by_key(|choice| (choice.fastest, choice.layers()));
        choices
    }

    fn layers(&self) -> usize {
        self.rows.as_ref().map_or(0, |rows| rows.layers)
    }
}

/// What a network takes in the order that its layers have.
struct Bounds {
    choices: Vec<Choice>,
    routing_places: Vec<Range<usize>>,
    routing_weights: usize,
}

impl Bounds {
    fn of(network: &QuantizedNetwork, choices: Vec<Choice>) -> Self {
        let (routing_places, routing_weights) = place_routing_weights(network);
        Self { choices, routing_places, routing_weights }
    }

    /// Of the smallest plan and of the fastest.
    fn ram_bytes(&self) -> [usize; 2] {
        bounds(&self.choices).map(|arena| ram_bytes(arena, self.routing_weights))
    }
}

/// Words of the smallest arena and of the fastest, of all choices.
fn bounds(choices: &[Choice]) -> [usize; 2] {
    let least = choices.iter().map(|choice| choice.least).min();
    let fastest = choices.iter().map(|choice| choice.fastest).min();
    [least, fastest].map(Option::unwrap_or_default)
}

/// Puts layers into an order that takes less, if there is one with which neither the smallest plan nor the fastest takes more than
/// with the order that they have. Tells what that takes if it is another.
fn choose_order(
    network: &mut QuantizedNetwork,
    choices: impl Fn(&QuantizedNetwork) -> Vec<Choice>,
) -> (Bounds, Option<[usize; 2]>) {
    let given = Bounds::of(network, choices(network));
    let given_bytes = given.ram_bytes();
    let mut best = given;
    // What is good for the smallest plan and what is for the fastest may be found one after the other.
    while let Some((order, bounds)) = better_order(network, &best, &choices) {
        order::reorder(&mut network.layers, &order);
        best = bounds;
    }
    let is_another = best.ram_bytes() != given_bytes;
    (best, is_another.then_some(given_bytes))
}

/// The best of the orders that take less than the one that layers have.
fn better_order(
    network: &QuantizedNetwork,
    given: &Bounds,
    choices: impl Fn(&QuantizedNetwork) -> Vec<Choice>,
) -> Option<(Vec<usize>, Bounds)> {
    let sum = |bounds: &Bounds| bounds.ram_bytes().iter().sum::<usize>();
    let orders: BTreeSet<Vec<usize>> =
        given.choices.iter().flat_map(|choice| order::better(network, choice.layers())).collect();
    let reordered = orders.into_iter().map(|order| {
        let mut network = network.clone();
        order::reorder(&mut network.layers, &order);
        let bounds = Bounds::of(&network, choices(&network));
        (order, bounds)
    });
    let less = reordered.filter(|(_, bounds)| {
        let no_more = bounds.ram_bytes().iter().zip(given.ram_bytes()).all(|(bytes, given)| *bytes <= given);
        no_more && sum(bounds) < sum(given)
    });
    less.min_by_key(|(_, bounds)| sum(bounds))
}

/// Each from the first layer that uses it to the last.
fn place_routing_weights(network: &QuantizedNetwork) -> (Vec<Range<usize>>, usize) {
    let uses = |id: usize| {
        let layers = network.layers.iter().enumerate();
        layers.filter(move |(_, layer)| layer.op.experts().is_some_and(|experts| experts.routing == id))
    };
    let item = |(id, routing): (usize, &Routing)| Item {
        words: routing.bias.len(),
        steps: match (uses(id).next(), uses(id).next_back()) {
            (Some((first, _)), Some((last, _))) => first..last + 1,
            _ => 0..0,
        },
    };
    let items: Vec<Item> = network.routings.iter().enumerate().map(item).collect();
    let Placement { starts, words } = arena::place(&items, &[]);
    let places = starts.iter().zip(&items).map(|(&start, item)| start..start + item.words).collect();
    (places, words)
}
