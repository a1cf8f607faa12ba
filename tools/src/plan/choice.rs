//! What a network takes: in which order its layers run, and how many of the first run row by row.

use std::collections::BTreeSet;
use std::ops::Range;

use super::arena::{self, Item, Placement};
use super::layout::Planner;
use super::order;
use super::rows::RowPlan;
use crate::quantized::{QuantizedNetwork, Routing};

/// Some first layers that run row by row, or none, and words of the smallest arena for that and of the one with which the
/// network is fastest.
#[derive(Debug, Clone)]
pub(super) struct Choice {
    pub(super) rows: Option<RowPlan>,
    pub(super) least: usize,
    fastest: usize,
}

impl Choice {
    fn of(rows: Option<RowPlan>, planner: &Planner<'_>) -> Self {
        Self { rows, least: planner.least().arena, fastest: planner.fastest().arena }
    }

    /// The only one where the input is there before.
    pub(super) fn whole(network: &QuantizedNetwork) -> Vec<Self> {
        vec![Self::of(None, &Planner::new(network, None))]
    }

    /// All where it arrives row by row, what is best first.
    pub(super) fn by_row(network: &QuantizedNetwork) -> Vec<Self> {
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
pub(super) struct Bounds {
    pub(super) choices: Vec<Choice>,
    pub(super) routing_places: Vec<Range<usize>>,
    pub(super) routing_weights: usize,
}

impl Bounds {
    pub(super) fn of(network: &QuantizedNetwork, choices: Vec<Choice>) -> Self {
        let (routing_places, routing_weights) = place_routing_weights(network);
        Self { choices, routing_places, routing_weights }
    }

    /// Of the smallest plan and of the fastest.
    pub(super) fn ram_bytes(&self) -> [usize; 2] {
        bounds(&self.choices).map(|arena| ram_bytes(arena, self.routing_weights))
    }
}

/// Words of the smallest arena and of the fastest, of all choices.
pub(super) fn bounds(choices: &[Choice]) -> [usize; 2] {
    let least = choices.iter().map(|choice| choice.least).min();
    let fastest = choices.iter().map(|choice| choice.fastest).min();
    [least, fastest].map(Option::unwrap_or_default)
}

/// Of the arena and routing weights.
pub(super) fn ram_bytes(arena: usize, routing_weights: usize) -> usize {
    (4 * arena + 2 * routing_weights).next_multiple_of(4)
}

/// Puts layers into an order that takes less, if there is one with which neither the smallest plan nor the fastest takes more than
/// with the order that they have. Tells what that takes if it is another.
pub(super) fn choose_order(
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
