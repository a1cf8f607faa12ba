//! Where everything lies: tensors and scratch in the arena, constants in the weights file.

mod arena;
mod flash;
mod layout;
mod map;
mod needs;
mod svg;
mod weights;

use std::ops::Range;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::quantized::{Layer, Op, QuantizedNetwork, Routing};
use arena::{Item, Placement};
pub use flash::Flash;
use layout::{Layout, Planner};
pub use map::{Content, Peak, Placed, Role};

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
    /// The layer that takes most of the arena; none in a network without layers.
    pub peak: Option<Peak>,
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
    /// Words of the smallest arena, and of the one with which the network is fastest.
    arenas: [usize; 2],
}

impl Plan {
    /// Lays a network out to be as fast as can be, in as little memory as that takes. The result depends on the network
    /// only.
    #[must_use]
    pub fn new(network: QuantizedNetwork) -> Self {
        let planner = Planner::new(&network);
        let (least, fastest) = (planner.least(), planner.fastest());
        let arenas = [least.arena, fastest.arena];
        let (routing_places, routing_weights) = place_routing_weights(&network);
        let (weights, weight_places) = weights::place(&network);
        Self {
            network,
            places: Vec::new(),
            scratch: Vec::new(),
            arena: 0,
            routing_places,
            routing_weights,
            weights,
            weight_places,
            swapped: Vec::new(),
            arenas,
        }
        .with(fastest)
    }

    /// The plan with no more RAM than that: with less, convolutions prepare fewer kernels at a time, or read static ones from
    /// flash, so that their output can lie where their input does. Nothing else changes.
    ///
    /// # Errors
    ///
    /// The least RAM that the network can run in, if it is more.
    pub fn within(self, ram_bytes: usize) -> Result<Self, usize> {
        let words = ram_bytes.saturating_sub(self.ram_bytes_with(0)) / 4;
        let [least, _] = self.arenas;
        match if words < least { None } else { Planner::new(&self.network).within(words) } {
            Some(layout) => Ok(self.with(layout)),
            None => Err(self.ram_bytes_with(least)),
        }
    }

    fn with(mut self, layout: Layout) -> Self {
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
        Self { places, scratch, arena, ..self }
    }

    /// `size_of::<Network>()` on the device: the arena and routing weights.
    #[must_use]
    pub fn ram_bytes(&self) -> usize {
        self.ram_bytes_with(self.arena)
    }

    fn ram_bytes_with(&self, arena: usize) -> usize {
        (4 * arena + 2 * self.routing_weights).next_multiple_of(4)
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
        let [least, fastest] = self.arenas.map(|arena| self.ram_bytes_with(arena));
        Sizes {
            macs: self.macs(),
            mixing_macs: self.mixing_macs(),
            flash_bytes: self.flash_bytes(),
            flash: self.flash(),
            ram_bytes: self.ram_bytes(),
            least_ram_bytes: least,
            fastest_ram_bytes: fastest,
            peak: self.peak(),
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
        hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

fn swap_operands(layer: &mut Layer) {
    layer.inputs.swap(0, 1);
    if let Op::Add { operands, .. } = &mut layer.op {
        operands.swap(0, 1);
    }
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
