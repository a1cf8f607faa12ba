//! The weights file.

use std::collections::HashMap;
use std::ops::Range;

use crate::quantized::{Kernels, QuantizedNetwork};

/// All weights one after the other, each layer's from a multiple of four bytes on; those of layers that have the same once.
pub(super) fn place(network: &QuantizedNetwork) -> (Vec<u8>, Vec<Range<usize>>) {
    let mut file = Vec::new();
    let mut known: HashMap<&[i8], Range<usize>> = HashMap::new();
    let places = network.layers.iter().map(|layer| {
        let weights: &[i8] = match layer.op.kernels() {
            Some(Kernels::Static(kernels)) => &kernels.weights,
            Some(Kernels::Experts(kernels)) => &kernels.weights,
            None => &[],
        };
        let place = known.entry(weights).or_insert_with(|| {
            if !weights.is_empty() {
                file.resize(file.len().next_multiple_of(4), 0);
            }
            let start = file.len();
            file.extend(weights.iter().map(|&w| w.cast_unsigned()));
            start..file.len()
        });
        place.clone()
    });
    let places = places.collect();
    (file, places)
}
