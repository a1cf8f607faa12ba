//! Leaves out layers whose output nothing reads, such as those that a routing absorbed.

use crate::graph::Network;

pub(super) fn prune(mut network: Network) -> Network {
    let mut value_read = vec![false; network.values.len()];
    let mut routing_used = vec![false; network.routings.len()];
    value_read[network.input] = true;
    value_read[network.output] = true;
    // Each layer comes after those that it reads from.
    for layer in network.layers.iter().rev() {
        if value_read[layer.output] {
            for &input in &layer.inputs {
                value_read[input] = true;
            }
            if let Some(routing) = layer.op.routing() {
                routing_used[routing] = true;
                value_read[network.routings[routing].input] = true;
            }
        }
    }

    let new_value = renumber(&value_read);
    let new_routing = renumber(&routing_used);
    network.layers.retain(|layer| value_read[layer.output]);
    for layer in &mut network.layers {
        for input in &mut layer.inputs {
            *input = new_value[*input];
        }
        layer.output = new_value[layer.output];
        if let Some(routing) = layer.op.kernels_mut().and_then(|kernels| kernels.routing.as_mut()) {
            *routing = new_routing[*routing];
        }
    }
    keep(&mut network.routings, &routing_used);
    for routing in &mut network.routings {
        routing.input = new_value[routing.input];
    }
    keep(&mut network.values, &value_read);
    network.input = new_value[network.input];
    network.output = new_value[network.output];
    network
}

/// The index of each element once those that are not kept are gone.
fn renumber(kept: &[bool]) -> Vec<usize> {
    let mut next = 0;
    let number = |&kept: &bool| {
        next += usize::from(kept);
        next.saturating_sub(1)
    };
    kept.iter().map(number).collect()
}

fn keep<T>(list: &mut Vec<T>, kept: &[bool]) {
    let mut kept = kept.iter();
    list.retain(|_| kept.next() == Some(&true));
}
