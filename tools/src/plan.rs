//! Where everything lies: tensors in the arena, constants in the weights file, blocks of mixed kernels.

use std::ops::Range;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::graph::ValueId;
use crate::quantized::{ElementType, Kernels, Op, QuantizedNetwork};
use crate::scratch;

/// What a network needs; part of every report.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Sizes {
    /// Multiply-accumulates, mixing and routing apart.
    pub macs: usize,
    /// Multiply-accumulates of mixing and routing.
    pub mixing_macs: usize,
    /// All constants.
    pub flash_bytes: usize,
    /// `size_of::<Network>()`.
    pub ram_bytes: usize,
    /// The same with the least scratch that the network can run in, which is slower.
    pub least_ram_bytes: usize,
    /// The same with all the scratch that makes it faster.
    pub fastest_ram_bytes: usize,
}

/// A quantised network and its layout.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The network.
    pub network: QuantizedNetwork,
    /// Place of each tensor in the arena of its element type, in elements; of the output in an array of its own.
    pub places: Vec<Range<usize>>,
    /// Elements of the int8 arena.
    pub arena: usize,
    /// Elements of the int16 arena.
    pub wide_arena: usize,
    /// Place of each routing function's weights among all that are kept.
    pub routing_places: Vec<Range<usize>>,
    /// Routing weights that are kept at a time.
    pub routing_weights: usize,
    /// Words in which convolutions prepare kernels and columns.
    pub scratch: usize,
    /// The weights file.
    pub weights: Vec<u8>,
    /// Place of each layer's weights in the file.
    pub weight_places: Vec<Range<usize>>,
}

impl Plan {
    /// Lays a network out. The result depends on the network only.
    #[must_use]
    pub fn new(network: QuantizedNetwork) -> Self {
        let lifetimes = lifetimes(&network);
        let (places, arena, wide_arena) = place_tensors(&network, &lifetimes);
        let (routing_places, routing_weights) = place_routing_weights(&network);
        let (weights, weight_places) = place_weights(&network);
        let scratch = *scratch::words(&network).end();
        Self {
            network,
            places,
            arena,
            wide_arena,
            routing_places,
            routing_weights,
            scratch,
            weights,
            weight_places,
        }
    }

    /// The plan with no more RAM than that: less scratch makes convolutions prepare fewer kernels at a time, and read static
    /// ones from flash. Nothing else changes.
    ///
    /// # Errors
    ///
    /// The least RAM that the network can run in, if it is more.
    pub fn within(mut self, ram_bytes: usize) -> Result<Self, usize> {
        let words = scratch::words(&self.network);
        let least = self.ram_bytes_with(*words.start());
        if least > ram_bytes {
            return Err(least);
        }
        let words_left = (ram_bytes - least) / 4;
        self.scratch = (words.start() + words_left).min(*words.end());
        Ok(self)
    }

    /// Bytes of all constants: the weights file, biases, multipliers, ratios, routing.
    #[must_use]
    pub fn flash_bytes(&self) -> usize {
        let tables: usize = (0..self.network.layers.len()).map(|layer| self.table_bytes(layer)).sum();
        let routings: usize = (0..self.network.routings.len()).map(|id| self.routing_flash_bytes(id)).sum();
        self.weights.len() + tables + routings
    }

    /// Bytes of one layer's constants.
    #[must_use]
    pub fn layer_flash_bytes(&self, layer: usize) -> usize {
        self.weight_places[layer].len() + self.table_bytes(layer)
    }

    fn table_bytes(&self, layer: usize) -> usize {
        let layer = &self.network.layers[layer];
        let tables = match (&layer.op, layer.op.kernels()) {
            (_, Some(Kernels::Static(kernels))) => 4 * kernels.bias.len(),
            (_, Some(Kernels::Experts(kernels))) => {
                4 * (kernels.bias.len() + kernels.expert_bias.len()) + 2 * kernels.ratios.len()
            }
            (Op::Lookup { table, .. }, None) => {
                table.len() * self.network.tensors[layer.output].element.bytes()
            }
            _ => 0,
        };
        tables + 4 * layer.op.requantize().map_or(0, |requantize| requantize.multipliers.len())
    }

    /// Bytes of one routing function's constants.
    #[must_use]
    pub fn routing_flash_bytes(&self, routing: usize) -> usize {
        let routing = &self.network.routings[routing];
        2 * routing.matrix.len()
            + 8 * routing.bias.len()
            + 2 * routing.multipliers.len()
            + routing.shifts.len()
    }

    /// `size_of::<Network>()` on the device: both arenas, the output, routing weights, the scratch.
    #[must_use]
    pub fn ram_bytes(&self) -> usize {
        self.ram_bytes_with(self.scratch)
    }

    fn ram_bytes_with(&self, scratch: usize) -> usize {
        let output = self.network.tensors[self.network.output].bytes();
        let tensors = self.arena + 2 * self.wide_arena + output;
        let alignment = if scratch > 0 { 4 } else { 2 };
        (tensors + 2 * self.routing_weights + 4 * scratch).next_multiple_of(alignment)
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
        let words = scratch::words(&self.network);
        Sizes {
            macs: self.macs(),
            mixing_macs: self.mixing_macs(),
            flash_bytes: self.flash_bytes(),
            ram_bytes: self.ram_bytes(),
            least_ram_bytes: self.ram_bytes_with(*words.start()),
            fastest_ram_bytes: self.ram_bytes_with(*words.end()),
        }
    }

    /// Identifies everything that decides the network's results and memory: a hash in hexadecimal.
    #[must_use]
    pub fn id(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(format!(
            "{:?}",
            (&self.network, &self.places, &self.routing_places, &self.weight_places)
        ));
        hash.update(format!("{:?}", (self.arena, self.wide_arena, self.scratch)));
        hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The steps (layers, in their order) during which each tensor is needed. The network's input is there before the
/// first, its output after the last.
fn lifetimes(network: &QuantizedNetwork) -> Vec<Option<Range<usize>>> {
    let mut lifetimes: Vec<Option<Range<usize>>> = vec![None; network.tensors.len()];
    let mut extend = |id: ValueId, step: usize| {
        let lifetime = lifetimes[id].get_or_insert(step..step + 1);
        lifetime.end = lifetime.end.max(step + 1);
    };
    extend(network.input, 0);
    for (step, layer) in network.layers.iter().enumerate() {
        if let Some(experts) = layer.op.experts() {
            let first_use = network
                .layers
                .iter()
                .position(|l| l.op.experts().is_some_and(|e| e.routing == experts.routing))
                .unwrap_or(step);
            extend(network.routings[experts.routing].input, first_use);
        }
        for &input in &layer.inputs {
            extend(input, step);
        }
        extend(layer.output, step);
    }
    lifetimes
}

/// The network's input at the start of its arena, then the largest first.
fn place_tensors(
    network: &QuantizedNetwork,
    lifetimes: &[Option<Range<usize>>],
) -> (Vec<Range<usize>>, usize, usize) {
    let mut order: Vec<ValueId> = (0..network.tensors.len()).filter(|&id| lifetimes[id].is_some()).collect();
    order.sort_by_key(|&id| (id != network.input, usize::MAX - network.tensors[id].shape.len(), id));
    let mut places = vec![0..0; network.tensors.len()];
    let mut sizes = [0, 0];
    let mut placed: Vec<ValueId> = Vec::new();
    for id in order {
        let tensor = &network.tensors[id];
        let len = tensor.shape.len();
        if id == network.output {
            places[id] = 0..len;
            continue;
        }
        let at_the_same_time = placed
            .iter()
            .filter(|&&other| network.tensors[other].element == tensor.element)
            .filter(|&&other| overlap(lifetimes[other].as_ref(), lifetimes[id].as_ref()))
            .map(|&other| places[other].clone());
        places[id] = lowest_gap(at_the_same_time.collect(), len);
        let size = &mut sizes[usize::from(tensor.element == ElementType::I16)];
        *size = (*size).max(places[id].end);
        placed.push(id);
    }
    (places, sizes[0], sizes[1])
}

/// Each from the first layer that uses it to the last.
fn place_routing_weights(network: &QuantizedNetwork) -> (Vec<Range<usize>>, usize) {
    let uses = |id: usize| {
        let layers = network.layers.iter().enumerate();
        layers.filter(move |(_, layer)| layer.op.experts().is_some_and(|experts| experts.routing == id))
    };
    let lifetime = |id: usize| Some(uses(id).next()?.0..uses(id).next_back()?.0 + 1);
    let lifetimes: Vec<Option<Range<usize>>> = (0..network.routings.len()).map(lifetime).collect();
    let mut places: Vec<Range<usize>> = Vec::new();
    for (id, routing) in network.routings.iter().enumerate() {
        let at_the_same_time = places
            .iter()
            .zip(&lifetimes)
            .filter(|(_, other)| overlap(other.as_ref(), lifetimes[id].as_ref()))
            .map(|(place, _)| place.clone());
        places.push(lowest_gap(at_the_same_time.collect(), routing.bias.len()));
    }
    let size = places.iter().map(|place| place.end).max().unwrap_or(0);
    (places, size)
}

/// The lowest place of that length outside all that is taken.
fn lowest_gap(mut taken: Vec<Range<usize>>, len: usize) -> Range<usize> {
    taken.sort_by_key(|place| place.start);
    let mut start = 0;
    for place in taken {
        if start + len <= place.start {
            break;
        }
        start = start.max(place.end);
    }
    start..start + len
}

fn overlap(a: Option<&Range<usize>>, b: Option<&Range<usize>>) -> bool {
    matches!((a, b), (Some(a), Some(b)) if a.start < b.end && b.start < a.end)
}

/// All weights one after the other, each layer's from a multiple of four bytes on.
fn place_weights(network: &QuantizedNetwork) -> (Vec<u8>, Vec<Range<usize>>) {
    let mut file = Vec::new();
    let places = network
        .layers
        .iter()
        .map(|layer| {
            let weights: &[i8] = match layer.op.kernels() {
                Some(Kernels::Static(kernels)) => &kernels.weights,
                Some(Kernels::Experts(kernels)) => &kernels.weights,
                None => &[],
            };
            file.resize(file.len().next_multiple_of(4), 0);
            let start = file.len();
            file.extend(weights.iter().map(|&w| w.cast_unsigned()));
            start..file.len()
        })
        .collect();
    (file, places)
}
