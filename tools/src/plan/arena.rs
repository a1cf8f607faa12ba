//! Places in one memory for things that are needed for a while each.

use std::cmp::Reverse;
use std::ops::Range;

use condconv::Overlap;

/// Something that takes place during some steps.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) words: usize,
    pub(super) steps: Range<usize>,
}

/// Two items of which one is a layer's input, and not needed any more when the layer is done, the other its output.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pair {
    pub(super) input: usize,
    pub(super) output: usize,
    /// In words.
    pub(super) overlap: Overlap,
}

impl Pair {
    /// Words of both, as far as they can share any.
    pub(super) fn words_together(overlap: &Overlap, input: usize, output: usize) -> usize {
        let before = output.max(input + overlap.before);
        overlap.after.map_or(before, |after| before.min(input.max(output + after)))
    }
}

/// Whether two ranges have something in common.
pub(super) fn meet(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start < b.end && b.start < a.end
}

/// Where every item begins, and the words of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placement {
    pub(super) starts: Vec<usize>,
    pub(super) words: usize,
}

/// Places items so that none lies where another does that is needed at the same time, unless they are a pair that may overlap,
/// in little memory. The search is the same every time.
pub(super) fn place(items: &[Item], pairs: &[Pair]) -> Placement {
    let search = Search::new(items, pairs);
    let least = search.least_words();
    let all = || 0..items.len();
    // The largest first, as they come, from the last to the first (an input finds the room before which its output lies), and
    // what is needed when most is.
    let mut orders: [Vec<usize>; 5] = std::array::from_fn(|_| all().collect());
    orders[0].sort_by_key(|&id| Reverse(items[id].words));
    orders[1].sort_by_key(|&id| (items[id].steps.start, Reverse(items[id].words)));
    orders[2].sort_by_key(|&id| (Reverse(items[id].steps.end), Reverse(items[id].words)));
    orders[3].sort_by_key(|&id| (Reverse(items[id].words), Reverse(items[id].steps.end)));
    orders[4]
        .sort_by_cached_key(|&id| Reverse(items[id].steps.clone().map(|step| search.words_at(step)).max()));
    let mut best: Option<(Placement, Vec<usize>)> = None;
    for mut order in orders {
        for _ in 0..search.rounds() {
            let placement = search.in_order(&order);
            // What reaches highest comes first the next time.
            let highest = order
                .iter()
                .position(|&id| placement.starts[id] + items[id].words == placement.words)
                .unwrap_or_default();
            if best.as_ref().is_none_or(|(best, _)| placement.words < best.words) {
                best = Some((placement, order.clone()));
            }
            if highest == 0 || best.as_ref().is_some_and(|(best, _)| best.words <= least) {
                break;
            }
            order[..=highest].rotate_right(1);
        }
    }
    let Some((mut best, mut best_order)) = best else {
        return Placement { starts: Vec::new(), words: 0 };
    };
    // Those orders may lead back to where they came from. From the best on, items go to other places in the order by chance,
    // the same every time.
    let mut state = 1_u64;
    let mut chance = |end: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % end
    };
    for _ in 0..2 * search.rounds() {
        if items.len() < 2 || best.words <= least {
            break;
        }
        let mut order = best_order.clone();
        for _ in 0..=chance(3) {
            let id = order.remove(chance(items.len()));
            order.insert(chance(items.len()), id);
        }
        let placement = search.in_order(&order);
        if placement.words <= best.words {
            (best, best_order) = (placement, order);
        }
    }
    best
}

struct Search<'a> {
    items: &'a [Item],
    /// For each item those that are needed at the same time.
    others: Vec<Vec<usize>>,
    /// For each item the pairs that it is one of.
    pairs_of: Vec<Vec<Pair>>,
}

impl<'a> Search<'a> {
    fn new(items: &'a [Item], pairs: &[Pair]) -> Self {
        let others = (0..items.len())
            .map(|id| {
                (0..items.len())
                    .filter(|&other| other != id && meet(&items[id].steps, &items[other].steps))
                    .collect()
            })
            .collect();
        let of = |id: usize| {
            pairs.iter().copied().filter(|pair| [pair.input, pair.output].contains(&id)).collect()
        };
        Self { items, others, pairs_of: (0..items.len()).map(of).collect() }
    }

    /// Orders that are tried, fewer for large networks.
    fn rounds(&self) -> usize {
        (2_000_000 / (1 + self.others.iter().map(|others| 1 + others.len().pow(2)).sum::<usize>()))
            .clamp(20, 2000)
    }

    /// Words of all that is needed at a step.
    fn words_at(&self, step: usize) -> usize {
        self.items.iter().filter(|item| item.steps.contains(&step)).map(|item| item.words).sum()
    }

    /// Words that no placement can do without.
    fn least_words(&self) -> usize {
        let steps = self.items.iter().map(|item| item.steps.end).max().unwrap_or(0);
        // An output can lie in one of its layer's inputs.
        let saved = |step: usize| -> usize {
            let outputs = (0..self.items.len()).filter(|&id| self.items[id].steps.start == step);
            let inputs = |id: usize| self.pairs_of[id].iter().filter(move |pair| pair.output == id);
            outputs.filter_map(|id| inputs(id).map(|pair| self.saved(pair)).max()).sum()
        };
        (0..steps).map(|step| self.words_at(step).saturating_sub(saved(step))).max().unwrap_or(0)
    }

    /// Words that a pair shares at most.
    fn saved(&self, Pair { input, output, overlap }: &Pair) -> usize {
        let [input, output] = [input, output].map(|&id| self.items[id].words);
        (input + output).saturating_sub(Pair::words_together(overlap, input, output))
    }

    /// Each item at the lowest place that is left for it.
    fn in_order(&self, order: &[usize]) -> Placement {
        let mut starts: Vec<Option<usize>> = vec![None; self.items.len()];
        for &id in order {
            let placed: Vec<(usize, usize)> =
                self.others[id].iter().filter_map(|&other| Some((other, starts[other]?))).collect();
            let mut candidates = vec![0];
            for &(other, start) in &placed {
                candidates.push(start + self.items[other].words);
                candidates.extend(self.beside(id, other, start));
            }
            candidates.sort_unstable();
            let free = |&start: &usize| placed.iter().all(|&(other, at)| self.apart(id, start, other, at));
            starts[id] = candidates.into_iter().find(free);
        }
        let starts: Vec<usize> = starts.into_iter().map(Option::unwrap_or_default).collect();
        let words = starts.iter().zip(self.items).map(|(start, item)| start + item.words).max().unwrap_or(0);
        Placement { starts, words }
    }

    /// Places at which an item may overlap the other of its pair.
    fn beside(&self, id: usize, other: usize, start: usize) -> Vec<usize> {
        let mut places = Vec::new();
        for Pair { input, output, overlap } in &self.pairs_of[id] {
            let Overlap { before, after, step } = *overlap;
            if (*input, *output) == (other, id) {
                // The nearest before, and the farthest.
                if let Some(room) = start.checked_sub(before) {
                    places.extend([room, room % step]);
                }
                places.extend(after.map(|after| start + after));
            }
            if (*output, *input) == (other, id) {
                places.push(start + before);
                if let Some(room) = after.and_then(|after| start.checked_sub(after)) {
                    places.extend([room, room % step]);
                }
            }
        }
        places
    }

    /// Whether two items at these places do not disturb each other.
    fn apart(&self, a: usize, a_start: usize, b: usize, b_start: usize) -> bool {
        if a_start + self.items[a].words <= b_start || b_start + self.items[b].words <= a_start {
            return true;
        }
        self.pairs_of[a].iter().any(|pair| {
            ((pair.input, pair.output) == (a, b) && pair.overlap.allows(a_start, b_start))
                || ((pair.input, pair.output) == (b, a) && pair.overlap.allows(b_start, a_start))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn overlap() -> impl Strategy<Value = Overlap> {
        (1usize..4, 0usize..9, proptest::option::of(0usize..9)).prop_map(|(step, before, after)| Overlap {
            before: before * step,
            after: after.map(|after| after * step),
            step,
        })
    }

    /// Items of any lifetimes, some of them the output of one that ends when they begin.
    fn problem() -> impl Strategy<Value = (Vec<Item>, Vec<Pair>)> {
        let item = (1usize..40, 0usize..12, 1usize..5, proptest::option::of(overlap()));
        vec(item, 1..24).prop_map(|drawn| {
            let items: Vec<Item> = drawn
                .iter()
                .map(|&(words, start, len, _)| Item { words, steps: start..start + len })
                .collect();
            let mut pairs = Vec::new();
            for (output, (_, start, ..)) in drawn.iter().enumerate() {
                let ends = |item: &Item| item.steps.end == start + 1 && item.steps.start < *start;
                let input = items.iter().position(ends);
                if let (Some(input), Some(overlap)) = (input, drawn[output].3) {
                    pairs.push(Pair { input, output, overlap });
                }
            }
            (items, pairs)
        })
    }

    #[test]
    fn what_is_needed_at_the_same_time_does_not_overlap() {
        proptest!(|((items, pairs) in problem())| {
            let Placement { starts, words } = place(&items, &pairs);
            let range = |id: usize| starts[id]..starts[id] + items[id].words;
            for a in 0..items.len() {
                prop_assert!(range(a).end <= words);
                for b in 0..a {
                    let together = items[a].steps.clone().any(|step| items[b].steps.contains(&step));
                    let shared = range(a).any(|word| range(b).contains(&word));
                    let allowed = pairs.iter().any(|pair| {
                        [(a, b), (b, a)].contains(&(pair.input, pair.output))
                            && pair.overlap.allows(starts[pair.input], starts[pair.output])
                    });
                    prop_assert!(!together || !shared || allowed, "{a} and {b}");
                }
            }
        });
    }

    /// First fit in every order finds the least memory of a few items: the search has to come close.
    #[test]
    fn a_few_items_take_hardly_more_than_they_must() {
        let worst = std::cell::Cell::new(1.0_f64);
        proptest!(ProptestConfig::with_cases(100), |((items, pairs) in problem())| {
            let (items, pairs) = (&items[..items.len().min(6)], pairs);
            let pairs: Vec<Pair> =
                pairs.into_iter().filter(|pair| pair.input.max(pair.output) < items.len()).collect();
            let search = Search::new(items, &pairs);
            let mut least = usize::MAX;
            let mut order: Vec<usize> = (0..items.len()).collect();
            permutations(&mut order, 0, &mut |order| least = least.min(search.in_order(order).words));
            let found = place(items, &pairs).words;
            prop_assert!(found >= search.least_words());
            worst.set(worst.get().max(found as f64 / least as f64));
        });
        assert!(worst.get() < 1.25, "{worst:?}");
    }

    fn permutations(order: &mut Vec<usize>, from: usize, each: &mut impl FnMut(&[usize])) {
        if from == order.len() {
            return each(order);
        }
        for i in from..order.len() {
            order.swap(from, i);
            permutations(order, from + 1, each);
            order.swap(from, i);
        }
    }

    #[test]
    fn a_chain_that_writes_over_itself() {
        let chain = |steps: usize| (0..steps).map(|step| Item { words: 10, steps: step..step + 2 });
        let items: Vec<Item> = chain(6).collect();
        let pairs =
            |overlap| (1..6).map(|output| Pair { input: output - 1, output, overlap }).collect::<Vec<_>>();
        assert_eq!(place(&items, &[]).words, 20);
        assert_eq!(place(&items, &pairs(Overlap { before: 2, after: Some(3), step: 1 })).words, 13);
        assert_eq!(place(&items, &pairs(Overlap { before: 2, after: None, step: 1 })).words, 20);
        assert_eq!(place(&items, &pairs(Overlap::IN_PLACE)).words, 10);
    }
}
