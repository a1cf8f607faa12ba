//! Chooses each layer's scratch, and lays tensors and scratch out in the arena.

use std::ops::Range;

use condconv::Overlap;

use super::arena::{Item, Pair, Placement, meet, place};
use super::needs::{self, Scratch};
use super::rows::{self, RowPlan};
use crate::graph::ValueId;
use crate::quantized::QuantizedNetwork;

/// Words of the arena.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// Of each tensor.
    pub(super) places: Vec<Range<usize>>,
    /// Of each layer's scratch.
    pub(super) scratch: Vec<Range<usize>>,
    pub(super) arena: usize,
}

/// What is known of a network before it is laid out.
#[derive(Debug)]
pub(super) struct Planner<'a> {
    network: &'a QuantizedNetwork,
    rows: Option<&'a RowPlan>,
    lifetimes: Vec<Option<Range<usize>>>,
    scratch: Vec<Scratch>,
    /// The inputs that a layer may write over, and at which distances in words.
    overlaps: Vec<Vec<(ValueId, Overlap)>>,
}

impl<'a> Planner<'a> {
    pub(super) fn new(network: &'a QuantizedNetwork, rows: Option<&'a RowPlan>) -> Self {
        let lifetimes = lifetimes(network, rows);
        let scratch = network.layers.iter().map(|layer| Scratch::of(network, layer)).collect();
        let overlaps = (0..network.layers.len())
            .map(|step| if step < by_row(rows) { Vec::new() } else { overlaps(network, &lifetimes, step) })
            .collect();
        Self { network, rows, lifetimes, scratch, overlaps }
    }

    /// Words that are needed while layers run row by row.
    pub(super) fn words_by_row(&self) -> usize {
        let tensors = rows::tensors(self.network, by_row(self.rows)).map(|id| self.words(id));
        tensors.sum::<usize>() + self.scratch_by_row(0)
    }

    /// Words of scratch for layers that run row by row, one at a time: kernels are read from flash or, if they do not lie there in
    /// whole words and there is room, are all at hand, so that columns are made once.
    fn scratch_by_row(&self, cap: usize) -> usize {
        let scratch = self.scratch[..by_row(self.rows)].iter();
        scratch.map(|scratch| cap.clamp(scratch.least, scratch.overlapping)).max().unwrap_or(0)
    }

    /// The smallest arena, which is not always that of the least scratch: the search may miss the best.
    pub(super) fn least(&self) -> Layout {
        let layouts = self.caps().into_iter().map(|cap| self.layout(cap, 0));
        layouts.min_by_key(|layout| layout.arena).unwrap_or_else(|| self.layout(0, 0))
    }

    /// The smallest arena with all the scratch that makes layers faster.
    pub(super) fn fastest(&self) -> Layout {
        self.layout(usize::MAX, 0)
    }

    /// The most scratch for all layers with which the arena takes no more words, and then more for those that find room.
    pub(super) fn within(&self, words: usize) -> Option<Layout> {
        let fastest = self.fastest();
        if fastest.arena <= words {
            return Some(fastest);
        }
        let caps = self.caps();
        let mut fitting = None;
        let (mut low, mut high) = (0, caps.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            let layout = self.layout(caps[middle], words);
            if layout.arena <= words {
                fitting = Some(layout);
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        fitting.or_else(|| Some(self.least()).filter(|least| least.arena <= words))
    }

    /// All bounds on scratch that make a difference.
    fn caps(&self) -> Vec<usize> {
        let words = self.scratch.iter().flat_map(|s| [s.least, s.overlapping, s.best, s.whole]);
        let mut caps: Vec<usize> = words.chain([0, usize::MAX]).collect();
        caps.sort_unstable();
        caps.dedup();
        caps
    }

    /// Lays everything out, with no more scratch for a layer than it needs or the cap says; where the arena may be larger than
    /// it is by then, layers take what is left.
    fn layout(&self, cap: usize, arena: usize) -> Layout {
        let network = self.network;
        let tensors: Vec<ValueId> =
            (0..network.tensors.len()).filter(|&id| self.lifetimes[id].is_some()).collect();
        let mut items: Vec<Item> = tensors
            .iter()
            .map(|&id| Item { words: self.words(id), steps: self.lifetimes[id].clone().unwrap_or_default() })
            .collect();
        let item_of = |id: ValueId| tensors.binary_search(&id).unwrap_or_default();
        let mut pairs = Vec::new();
        let mut layers_of = Vec::new();
        let by_row = by_row(self.rows);
        let words = self.scratch_by_row(cap);
        if words > 0 {
            layers_of.push(0..by_row);
            items.push(Item { words, steps: 0..by_row });
        }
        for (step, layer) in network.layers.iter().enumerate().skip(by_row) {
            let (words, may_overlap) = self.request(step, cap);
            if words > 0 {
                layers_of.push(step..step + 1);
                items.push(Item { words, steps: step..step + 1 });
            }
            let overlaps = self.overlaps[step].iter().filter(|_| may_overlap);
            pairs.extend(overlaps.map(|&(input, overlap)| Pair {
                input: item_of(input),
                output: item_of(layer.output),
                overlap,
            }));
        }
        let Placement { starts, words } = place(&items, &pairs);
        let range = |item: usize| starts[item]..starts[item] + items[item].words;
        let mut places = vec![0..0; network.tensors.len()];
        for (item, &id) in tensors.iter().enumerate() {
            places[id] = range(item);
        }
        let mut scratch = vec![0..0; network.layers.len()];
        for (item, layers) in (tensors.len()..).zip(layers_of) {
            scratch[layers].fill(range(item));
        }
        let mut layout = Layout { places, scratch, arena: words };
        for step in by_row..network.layers.len() {
            self.grow(step, arena.max(words), &mut layout);
        }
        let ends = layout.places.iter().chain(&layout.scratch).map(|place| place.end);
        layout.arena = ends.max().unwrap_or(0);
        layout
    }

    fn words(&self, id: ValueId) -> usize {
        let tensor = &self.network.tensors[id];
        let kept = self.rows.and_then(|rows| rows.kept(self.network, id)).unwrap_or(tensor.shape.height);
        (tensor.shape.row_len() * kept * tensor.element.bytes()).div_ceil(4)
    }

    /// Words of scratch for a layer, and whether its output may overlap its input then.
    fn request(&self, step: usize, cap: usize) -> (usize, bool) {
        let scratch = self.scratch[step];
        let words = cap.clamp(scratch.least, scratch.best);
        if scratch.in_blocks {
            return (words, cap < usize::MAX || !scratch.in_order_is_slower);
        }
        if words >= scratch.whole {
            return (words, true);
        }
        let Some((input, overlap)) = self.overlaps[step].first() else { return (words, false) };
        if scratch.reads_flash() {
            // Neither is there a faster way, or there is no room for it.
            return if words == scratch.best && scratch.best > scratch.least {
                (words, false)
            } else {
                (scratch.least, true)
            };
        }
        // All kernels at once take more scratch, but less for tensors.
        let [input, output] = [*input, self.network.layers[step].output].map(|id| self.words(id));
        let together = Pair::words_together(overlap, input, output);
        if words < scratch.best && together + scratch.overlapping < input + output + words {
            (scratch.overlapping, true)
        } else {
            (words, false)
        }
    }

    /// Gives a layer the largest room that is left while it runs, as far as it is faster with that.
    fn grow(&self, step: usize, arena: usize, layout: &mut Layout) {
        let scratch = self.scratch[step];
        let own = layout.scratch[step].len();
        let layer = &self.network.layers[step];
        let mut taken: Vec<Range<usize>> = (0..self.lifetimes.len())
            .filter(|&id| self.lifetimes[id].as_ref().is_some_and(|steps| steps.contains(&step)))
            .map(|id| layout.places[id].clone())
            .collect();
        taken.sort_by_key(|place| place.start);
        taken.push(arena..arena);
        let mut largest = 0..0;
        let mut start = 0;
        for place in taken {
            if place.start > start && place.start - start > largest.len() {
                largest = start..place.start;
            }
            start = start.max(place.end);
        }
        let places = &layout.places;
        let overlapping = layer.inputs.iter().any(|&id| meet(&places[id], &places[layer.output]));
        let words = if largest.len() >= scratch.whole {
            scratch.whole
        } else if overlapping && scratch.reads_flash() {
            // Some kernels in RAM are of no use there.
            own
        } else {
            largest.len().min(scratch.best)
        };
        if words > own {
            layout.scratch[step] = largest.start..largest.start + words;
        }
    }
}

/// The first layers, if they run row by row.
fn by_row(rows: Option<&RowPlan>) -> usize {
    rows.map_or(0, |rows| rows.layers)
}

/// The inputs that a layer may write over since it is the last to read them.
fn overlaps(
    network: &QuantizedNetwork,
    lifetimes: &[Option<Range<usize>>],
    step: usize,
) -> Vec<(ValueId, Overlap)> {
    let layer = &network.layers[step];
    let is_last = |id: ValueId| lifetimes[id].as_ref().is_some_and(|steps| steps.end == step + 1);
    let once = |id: ValueId| layer.inputs.iter().filter(|&&input| input == id).count() == 1;
    let inputs = layer.inputs.iter().enumerate().filter(|&(_, &id)| is_last(id) && once(id));
    let found = inputs.filter_map(|(number, &id)| {
        let overlap = needs::overlap(network, layer, number)?;
        Some((id, in_words(overlap, network.tensors[id].element.bytes())))
    });
    found.collect()
}

/// Distances in words of four bytes.
pub(super) fn in_words(Overlap { before, after, step }: Overlap, element_bytes: usize) -> Overlap {
    if step == usize::MAX {
        return Overlap { before, after, step };
    }
    // The smallest number of words that is a whole number of steps.
    let step_bytes = step * element_bytes;
    let step = (1..=4).find(|steps| (step_bytes * steps).is_multiple_of(4)).unwrap_or(4) * step_bytes / 4;
    let words = |elements: usize| (elements * element_bytes).div_ceil(4).next_multiple_of(step);
    Overlap { before: words(before), after: after.map(words), step }
}

/// The steps (layers, in their order) during which each tensor is needed. The network's input is there before the
/// first, its output after the last. Layers that run row by row run together.
pub(super) fn lifetimes(network: &QuantizedNetwork, rows: Option<&RowPlan>) -> Vec<Option<Range<usize>>> {
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
    extend(network.output, network.layers.len());
    for id in rows.iter().flat_map(|rows| rows::tensors(network, rows.layers)) {
        let end = lifetimes[id].as_ref().map_or(0, |steps| steps.end);
        lifetimes[id] = Some(0..end.max(by_row(rows)));
    }
    lifetimes
}
