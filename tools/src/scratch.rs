//! Memory in which convolutions prepare kernels and columns: the more, the faster, up to a point.

use std::ops::RangeInclusive;

use condconv::Geometry;

use crate::quantized::{ElementType, Kernels, Layer, Op, QuantizedNetwork};

/// Words for the kernels that a convolution prepares at a time.
const BLOCK_WORDS: usize = 2560;

/// Output channels that it prepares at least: columns are made anew for each block, which costs more than kernels in RAM save
/// if blocks are small. Static kernels stay in flash then.
const BLOCK_CHANNELS: usize = 16;

/// Words of scratch that a network needs, and those with which it is fastest.
pub(crate) fn words(network: &QuantizedNetwork) -> RangeInclusive<usize> {
    let largest = |words: fn(&Convolution) -> usize| {
        let convolutions = network.layers.iter().filter_map(|layer| Convolution::of(network, layer));
        convolutions.map(|convolution| words(&convolution)).max().unwrap_or_default()
    };
    largest(Convolution::least)..=largest(Convolution::best)
}

struct Convolution {
    geometry: Geometry,
    /// Both the input and the output are int8: there are loops with columns for these.
    narrow: bool,
    mixed: bool,
}

impl Convolution {
    fn of(network: &QuantizedNetwork, layer: &Layer) -> Option<Self> {
        let Op::Conv { geometry, kernels, .. } = &layer.op else { return None };
        let narrow =
            [layer.inputs[0], layer.output].iter().all(|&id| network.tensors[id].element == ElementType::I8);
        Some(Self { geometry: *geometry, narrow, mixed: matches!(kernels, Kernels::Experts(_)) })
    }

    fn least(&self) -> usize {
        if self.geometry.is_depthwise() {
            self.geometry.depthwise_scratch_words(1)
        } else {
            self.geometry.least_scratch_words(self.narrow, self.mixed)
        }
    }

    fn best(&self) -> usize {
        let (geometry, least) = (&self.geometry, self.least());
        let all = geometry.output().channels;
        if geometry.is_depthwise() {
            return geometry.depthwise_scratch_words(all).min(BLOCK_WORDS.max(least));
        }
        let columns = geometry.scratch_words(0);
        // The loops with columns take a group at a time.
        let channels = if self.narrow { all / geometry.groups() } else { all };
        let largest = BLOCK_WORDS / (geometry.scratch_words(2) - columns) * 2;
        let in_flash = !self.mixed && least <= columns;
        if in_flash && (!self.narrow || largest < BLOCK_CHANNELS.min(channels)) {
            return least;
        }
        // Blocks of about the same size.
        let block = channels.div_ceil(channels.div_ceil(largest.max(BLOCK_CHANNELS)));
        geometry.scratch_words(block) - if self.narrow { 0 } else { columns }
    }
}
