//! In which order layers run: another one than the file's may need less memory at a time.

use std::collections::HashMap;

use super::arena::Pair;
use super::layout::in_words;
use super::needs::{self, Scratch};
use super::rows;
use crate::graph::ValueId;
use crate::quantized::{Layer, QuantizedNetwork};

/// Sets of layers that are followed at a time. Smaller networks are searched through, of others the best sets are kept.
const SETS: usize = 512;

/// Orders in which a network takes less words at a time than in its own: with the least scratch, and with all that makes it
/// faster. Placement may lose that again. So many layers at the beginning run together before all others.
pub(super) fn better(network: &QuantizedNetwork, together: usize) -> Vec<Vec<usize>> {
    let search = |fastest| {
        let search = Search::new(network, together, fastest);
        search.order_below(search.peak(together..network.layers.len()))
    };
    let mut orders: Vec<Vec<usize>> = [false, true].into_iter().filter_map(search).collect();
    orders.dedup();
    orders
}

/// Puts layers into an order.
pub(super) fn reorder(layers: &mut Vec<Layer>, order: &[usize]) {
    let mut from: Vec<Option<Layer>> = std::mem::take(layers).into_iter().map(Some).collect();
    layers.extend(order.iter().filter_map(|&layer| from[layer].take()));
}

/// Some of the layers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Set(Vec<u64>);

impl Set {
    fn of(len: usize, layers: impl IntoIterator<Item = usize>) -> Self {
        let mut set = Self(vec![0; len.div_ceil(64)]);
        layers.into_iter().for_each(|layer| set.insert(layer));
        set
    }

    fn insert(&mut self, layer: usize) {
        self.0[layer / 64] |= 1 << (layer % 64);
    }

    fn contains(&self, layer: usize) -> bool {
        self.0[layer / 64] >> (layer % 64) & 1 == 1
    }

    fn contains_all(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).all(|(a, b)| b & !a == 0)
    }

    fn meets(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).any(|(a, b)| a & b != 0)
    }

    fn len(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }
}

/// A tensor, and who needs it.
#[derive(Debug)]
struct Need {
    words: usize,
    readers: Set,
    /// For each routing function that reads it the layers before the first of which that happens.
    routed: Vec<Set>,
    is_output: bool,
}

impl Need {
    fn is_needed_after(&self, done: &Set) -> bool {
        self.is_output
            || !done.contains_all(&self.readers)
            || self.routed.iter().any(|users| !users.meets(done))
    }
}

/// A layer.
#[derive(Debug)]
struct Run {
    /// The layers before it.
    after: Set,
    /// What it or its routing function reads.
    reads: Vec<ValueId>,
    output: ValueId,
    scratch: usize,
    /// Words less where it is the last to need an input, and writes over it.
    saved: Vec<(ValueId, usize)>,
    /// The other layers with its routing function, if there are any.
    shares_routing: Option<Set>,
}

/// What has been done, and what is needed from there on.
#[derive(Debug, Clone)]
struct State {
    done: Set,
    live: usize,
    peak: usize,
}

struct Search {
    needs: Vec<Need>,
    runs: Vec<Run>,
    start: State,
}

impl Search {
    fn new(network: &QuantizedNetwork, together: usize, fastest: bool) -> Self {
        let layers = &network.layers;
        let set = |chosen: &dyn Fn(&Layer) -> bool| {
            Set::of(layers.len(), (0..layers.len()).filter(|&layer| chosen(&layers[layer])))
        };
        let routes =
            |layer: &Layer, id: usize| layer.op.experts().is_some_and(|experts| experts.routing == id);
        let needs: Vec<Need> = (0..network.tensors.len())
            .map(|id| {
                let routings = (0..network.routings.len()).filter(|&r| network.routings[r].input == id);
                let users = routings.map(|r| set(&|layer| routes(layer, r)));
                Need {
                    words: network.tensors[id].bytes().div_ceil(4),
                    readers: set(&|layer| layer.inputs.contains(&id)),
                    routed: users.filter(|users| users.len() > 0).collect(),
                    is_output: id == network.output,
                }
            })
            .collect();
        let run = |layer: &Layer| {
            let routing = layer.op.experts().map(|experts| experts.routing);
            let routed = routing.map(|id| network.routings[id].input);
            let mut reads: Vec<ValueId> = layer.inputs.iter().copied().chain(routed).collect();
            reads.sort_unstable();
            reads.dedup();
            let sharing = routing.map(|id| set(&|other| routes(other, id)));
            let (scratch, saved) = scratch_and_saved(network, &needs, layer, fastest);
            Run {
                after: set(&|other| reads.contains(&other.output)),
                reads,
                output: layer.output,
                scratch,
                saved,
                shares_routing: sharing.filter(|users| users.len() > 1),
            }
        };
        let runs: Vec<Run> = layers.iter().map(run).collect();
        let done = Set::of(layers.len(), 0..together);
        // No order does with less than a layer takes by itself.
        let alone = |(run, layer): (&Run, &Layer)| {
            // Another layer may have had the routing function run before.
            let reads =
                run.reads.iter().filter(|id| run.shares_routing.is_none() || layer.inputs.contains(id));
            let saved = run.saved.iter().map(|&(_, words)| words).max().unwrap_or(0);
            reads.map(|&id| needs[id].words).sum::<usize>() + needs[run.output].words + run.scratch - saved
        };
        let there = rows::tensors(network, together).map(|id| &needs[id]);
        let live = there.filter(|need| need.is_needed_after(&done)).map(|need| need.words).sum();
        let peak = runs.iter().zip(layers).skip(together).map(alone).max().unwrap_or(0);
        let start = State { done, live, peak };
        Self { needs, runs, start }
    }

    /// A layer after others: what is needed while it runs, and the state then.
    fn after(&self, state: &State, layer: usize) -> State {
        let run = &self.runs[layer];
        let mut done = state.done.clone();
        done.insert(layer);
        let is_gone = |id: ValueId| !self.needs[id].is_needed_after(&done);
        let saved = run.saved.iter().filter(|(id, _)| is_gone(*id)).map(|&(_, words)| words).max();
        let during = state.live + self.needs[run.output].words;
        let freed = run.reads.iter().filter(|&&id| self.needs[id].is_needed_after(&state.done));
        let freed = freed.chain([&run.output]).filter(|&&id| is_gone(id));
        let live = during - freed.map(|&id| self.needs[id].words).sum::<usize>();
        let peak = state.peak.max(during + run.scratch - saved.unwrap_or(0));
        State { done, live, peak }
    }

    /// The most words that an order needs at a time.
    fn peak(&self, order: impl IntoIterator<Item = usize>) -> usize {
        order.into_iter().fold(self.start.clone(), |state, layer| self.after(&state, layer)).peak
    }

    /// What may come next: one layer, if there is one that makes nothing worse, whatever comes later.
    fn next(&self, state: &State) -> Vec<(usize, State)> {
        let mut next = Vec::new();
        for (layer, run) in self.runs.iter().enumerate() {
            if state.done.contains(layer) || !state.done.contains_all(&run.after) {
                continue;
            }
            let after = self.after(state, layer);
            // Another layer may be the first with the routing function, and what that reads be gone before.
            let is_first = run.shares_routing.as_ref().is_some_and(|users| !users.meets(&state.done));
            if after.peak == state.peak && after.live <= state.live && !is_first {
                return vec![(layer, after)];
            }
            next.push((layer, after));
        }
        next
    }

    /// The order with the least peak, if that is below the one given; of networks with many branches one that comes close.
    fn order_below(&self, bound: usize) -> Option<Vec<usize>> {
        if self.start.peak >= bound {
            return None;
        }
        // Sets of as many layers each; for each the best state, and how it was reached.
        let mut states = vec![self.start.clone()];
        let mut steps: Vec<Vec<(usize, usize)>> = Vec::new();
        let together = self.start.done.len() as usize;
        for _ in together..self.runs.len() {
            let mut found: Vec<(State, (usize, usize))> = Vec::new();
            let mut index: HashMap<Set, usize> = HashMap::new();
            for (before, state) in states.iter().enumerate() {
                for (layer, after) in self.next(state) {
                    if after.peak >= bound {
                        continue;
                    }
                    match index.get(&after.done) {
                        None => {
                            index.insert(after.done.clone(), found.len());
                            found.push((after, (before, layer)));
                        }
                        Some(&same) if after.peak < found[same].0.peak => {
                            found[same] = (after, (before, layer));
                        }
                        Some(_) => {}
                    }
                }
            }
            if found.len() > SETS {
                found.sort_by_key(|(state, _)| (state.peak, state.live));
                found.truncate(SETS);
            }
            let (next, reached) = found.into_iter().unzip();
            states = next;
            steps.push(reached);
        }
        states.first()?;
        let mut order = Vec::new();
        let mut at = 0;
        for step in steps.iter().rev() {
            let (before, layer) = step[at];
            order.push(layer);
            at = before;
        }
        order.reverse();
        Some((0..together).chain(order).collect())
    }
}

/// A layer's scratch, and how much less it takes with that if it writes over an input.
fn scratch_and_saved(
    network: &QuantizedNetwork,
    needs: &[Need],
    layer: &Layer,
    fastest: bool,
) -> (usize, Vec<(ValueId, usize)>) {
    let needed = Scratch::of(network, layer);
    let scratch = if fastest { needed.best } else { needed.least };
    // What all kernels at once take beside that, if the layer may have it.
    let more = if needed.in_blocks {
        (!fastest || !needed.in_order_is_slower).then_some(0)
    } else if scratch >= needed.whole || (needed.reads_flash() && needed.best == needed.least) {
        Some(0)
    } else {
        (!fastest).then(|| needed.overlapping.saturating_sub(needed.least))
    };
    let saved = |(number, &id): (usize, &ValueId)| {
        let overlap = needs::overlap(network, layer, number)?;
        let overlap = in_words(overlap, network.tensors[id].element.bytes());
        let [input, output] = [id, layer.output].map(|id| needs[id].words);
        let shared = (input + output).saturating_sub(Pair::words_together(&overlap, input, output));
        Some((id, shared.saturating_sub(more?)))
    };
    let once = |id: &ValueId| layer.inputs.iter().filter(|input| *input == id).count() == 1;
    let inputs = layer.inputs.iter().enumerate().filter(|(_, id)| once(id));
    (scratch, inputs.filter_map(saved).collect())
}

#[cfg(test)]
mod tests {
    use condconv::{Geometry, Operand, Padding, Shape, Window};
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::graph::Gate;
    use crate::plan::choice::{Bounds, Choice, choose_order};
    use crate::plan::layout;
    use crate::quantized::{
        ConcatPart, ElementType, ExpertKernels, FixedKernels, Kernels, Op, Requantize, Routing, Tensor,
    };

    /// A network without numbers: memory is all that it is asked for.
    fn empty(input: Shape) -> QuantizedNetwork {
        let (tensors, routings, layers) = (vec![tensor(input)], Vec::new(), Vec::new());
        QuantizedNetwork { tensors, input: 0, output: 0, routings, layers }
    }

    fn tensor(shape: Shape) -> Tensor {
        let (onnx_name, gains) = (String::new(), Vec::new());
        Tensor { onnx_name, shape, element: ElementType::I8, scale: 1.0, zero_point: 0, gains }
    }

    impl QuantizedNetwork {
        fn add(&mut self, op: Op, inputs: Vec<ValueId>, shape: Shape) -> ValueId {
            self.output = self.tensors.len();
            self.tensors.push(tensor(shape));
            let name = self.layers.len().to_string();
            self.layers.push(Layer { name, op, inputs, output: self.output });
            self.output
        }

        fn convolve(
            &mut self,
            input: ValueId,
            [kernel, channels, groups]: [usize; 3],
            kernels: Kernels,
        ) -> ValueId {
            let window = Window::new([kernel, kernel]).padding(Padding::symmetric(kernel / 2, kernel / 2));
            let geometry = Geometry::new(self.tensors[input].shape, channels, window, groups).unwrap();
            let requantize = Requantize { multipliers: Vec::new(), zero_point: 0, min: 0, max: 0 };
            self.add(Op::Conv { geometry, kernels, requantize }, vec![input], geometry.output())
        }

        fn concat(&mut self, inputs: Vec<ValueId>) -> ValueId {
            let operand = Operand::new(0, 0);
            let mut channels = 0;
            let part = |&id: &ValueId| {
                let shape = self.tensors[id].shape;
                channels += shape.channels;
                ConcatPart { shape, first_channel: channels - shape.channels, operand, shift: 0 }
            };
            let parts: Vec<ConcatPart> = inputs.iter().map(part).collect();
            let shape = Shape { channels, ..parts[0].shape };
            self.add(Op::Concat { parts, shape }, inputs, shape)
        }

        fn is_in_order(&self) -> bool {
            let mut there = vec![false; self.tensors.len()];
            there[self.input] = true;
            self.layers.iter().all(|layer| {
                let routed = layer.op.experts().map(|experts| self.routings[experts.routing].input);
                let ready = layer.inputs.iter().chain(&routed).all(|&id| there[id]);
                there[layer.output] = true;
                ready
            })
        }

        /// The most words that are needed at a time, by the lifetimes that tensors have.
        fn peak(&self, fastest: bool) -> usize {
            let lifetimes = layout::lifetimes(self, None);
            let needs = Search::new(self, 0, fastest).needs;
            let during = |(step, layer): (usize, &Layer)| {
                let live = (0..self.tensors.len())
                    .filter(|&id| lifetimes[id].as_ref().is_some_and(|steps| steps.contains(&step)));
                let (scratch, saved) = scratch_and_saved(self, &needs, layer, fastest);
                let last = |id: ValueId| lifetimes[id].as_ref().is_some_and(|steps| steps.end == step + 1);
                let saved = saved.iter().filter(|(id, _)| last(*id)).map(|&(_, words)| words).max();
                live.map(|id| needs[id].words).sum::<usize>() + scratch - saved.unwrap_or(0)
            };
            self.layers.iter().enumerate().map(during).max().unwrap_or(0)
        }

        fn in_order(&self, order: &[usize]) -> Self {
            let mut network = self.clone();
            reorder(&mut network.layers, order);
            network
        }
    }

    fn fixed() -> Kernels {
        Kernels::Static(FixedKernels { weights: Vec::new(), bias: Vec::new(), sums: Vec::new() })
    }

    fn experts(routing: usize) -> Kernels {
        let (weights, ratios, sums) = (Vec::new(), Vec::new(), Vec::new());
        let (bias, expert_bias) = (Vec::new(), Vec::new());
        Kernels::Experts(ExpertKernels {
            routing,
            count: 2,
            weights,
            ratios,
            shift: 0,
            bias,
            expert_bias,
            sums,
        })
    }

    /// Any layers on any tensors that are there, the first on the input.
    fn network(layers: std::ops::Range<usize>) -> impl Strategy<Value = QuantizedNetwork> {
        let layer = (0..6, [0usize..99, 0usize..99, 0usize..99], 1usize..9);
        vec(layer, layers).prop_map(|drawn| {
            let mut network = empty(Shape::new(4, 3, 4));
            for (kind, [a, b, c], size) in drawn {
                let id = |number: usize| number % network.tensors.len();
                let (a, b, c) = if network.layers.is_empty() { (0, 0, 0) } else { (id(a), id(b), id(c)) };
                let channels = network.tensors[a].shape.channels;
                let shape = Shape::new(size, 2, 3);
                match kind {
                    0 => {
                        network.add(Op::Lookup { function: "", table: Vec::new() }, vec![a], shape);
                    }
                    1 => {
                        network.concat(vec![a, b, c]);
                    }
                    2 => {
                        network.convolve(a, [3, 4 * size, 1], fixed());
                    }
                    3 => {
                        network.convolve(a, [3, channels, channels], fixed());
                    }
                    _ => {
                        // One of the routing functions that are there, or another.
                        let routing = size % (network.routings.len() + 1);
                        if routing == network.routings.len() {
                            network.routings.push(Routing {
                                gate: Gate::Sigmoid,
                                name: String::new(),
                                onnx_name: String::new(),
                                input: b,
                                matrix: Vec::new(),
                                bias: vec![0; 2],
                                multipliers: Vec::new(),
                                shifts: Vec::new(),
                            });
                        }
                        network.convolve(a, [1, size, 1], experts(routing));
                    }
                }
            }
            network
        })
    }

    fn least_peak(network: &QuantizedNetwork, fastest: bool) -> usize {
        fn try_all(network: &mut QuantizedNetwork, from: usize, fastest: bool, least: &mut usize) {
            if from == network.layers.len() {
                if network.is_in_order() {
                    *least = network.peak(fastest).min(*least);
                }
                return;
            }
            for layer in from..network.layers.len() {
                network.layers.swap(from, layer);
                try_all(network, from + 1, fastest, least);
                network.layers.swap(from, layer);
            }
        }
        let mut least = usize::MAX;
        try_all(&mut network.clone(), 0, fastest, &mut least);
        least
    }

    #[test]
    fn no_order_of_a_few_layers_needs_less() {
        let improved = std::cell::Cell::new(0);
        proptest!(ProptestConfig::with_cases(200), |(network in network(1..7), fastest: bool)| {
            let search = Search::new(&network, 0, fastest);
            let given = network.peak(fastest);
            prop_assert_eq!(search.peak(0..network.layers.len()), given);
            let least = least_peak(&network, fastest);
            match search.order_below(given) {
                None => prop_assert_eq!(given, least),
                Some(order) => {
                    let ordered = network.in_order(&order);
                    prop_assert!(ordered.is_in_order());
                    prop_assert_eq!(ordered.peak(fastest), least);
                    prop_assert!(least < given);
                    improved.set(improved.get() + 1);
                }
            }
        });
        assert!(improved.get() > 0);
    }

    #[test]
    fn plans_never_take_more_than_in_the_order_given() {
        proptest!(ProptestConfig::with_cases(20), |(network in network(1..40))| {
            let given = Bounds::of(&network, Choice::whole(&network)).ram_bytes();
            let mut ordered = network.clone();
            let (chosen, before) = choose_order(&mut ordered, Choice::whole);
            let chosen = chosen.ram_bytes();
            prop_assert_eq!(before.unwrap_or(chosen), given);
            prop_assert!(ordered.is_in_order());
            prop_assert_eq!(Bounds::of(&ordered, Choice::whole(&ordered)).ram_bytes(), chosen);
            prop_assert!(chosen[0] <= given[0] && chosen[1] <= given[1]);
            let names = |network: &QuantizedNetwork| {
                network.layers.iter().map(|layer| layer.name.clone()).collect::<Vec<_>>()
            };
            prop_assert!(chosen != given || names(&ordered) == names(&network));
            prop_assert_eq!(better(&network, 0), better(&network, 0));
        });
    }

    /// Four branches of two convolutions each, which the file takes turns with: all that are wide are there at once. One
    /// after the other, the widest first, there is one at a time beside the ends of the others.
    #[test]
    fn branches_one_after_the_other() {
        let mut network = empty(Shape::new(16, 16, 8));
        let wide = [8, 16, 32, 64].map(|channels| network.convolve(0, [1, channels, 1], fixed()));
        let narrow = wide.map(|id| network.convolve(id, [3, 4, 1], fixed()));
        network.concat(narrow.to_vec());
        let (chosen, given) = choose_order(&mut network, Choice::whole);
        let (chosen, given) = (chosen.ram_bytes(), given.unwrap());
        let order: Vec<&str> = network.layers.iter().map(|layer| layer.name.as_str()).collect();
        assert_eq!(order.join(" "), "3 7 0 4 1 5 2 6 8");
        // 23,176 bytes of 31,376, and 27,800 of 33,128.
        assert!(100 * chosen[0] < 75 * given[0] && 100 * chosen[1] < 85 * given[1], "{chosen:?} {given:?}");
    }
}
