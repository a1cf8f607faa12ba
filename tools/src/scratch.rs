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
    let largest = |channels: fn(&Convolution) -> usize| {
        let convolutions = network.layers.iter().filter_map(|layer| Convolution::of(network, layer));
        convolutions.map(|convolution| convolution.words(channels)).max().unwrap_or_default()
    };
    largest(Convolution::least_channels)..=largest(Convolution::best_channels)
}

struct Convolution {
    geometry: Geometry,
    /// Both the input and the output are int8: there are loops with columns for these.
    narrow: bool,
    is_static: bool,
}

impl Convolution {
    fn of(network: &QuantizedNetwork, layer: &Layer) -> Option<Self> {
        let Op::Conv { geometry, kernels, .. } = &layer.op else { return None };
        let narrow =
            [layer.inputs[0], layer.output].iter().all(|&id| network.tensors[id].element == ElementType::I8);
        Some(Self { geometry: *geometry, narrow, is_static: matches!(kernels, Kernels::Static(_)) })
    }

    /// Whether kernels can be read from flash.
    fn in_flash(&self) -> bool {
        let in_words = !self.narrow || self.geometry.kernel_len().is_multiple_of(4);
        self.is_static && in_words && !self.geometry.is_depthwise()
    }

    fn least_channels(&self) -> usize {
        usize::from(!self.in_flash())
    }

    fn best_channels(&self) -> usize {
        let all = self.geometry.output().channels;
        if self.geometry.is_depthwise() {
            return all;
        }
        // The loops with columns take a group at a time.
        let channels = if self.narrow { all / self.geometry.groups() } else { all };
        let pair = self.geometry.scratch_words(2) - self.geometry.scratch_words(0);
        let largest = BLOCK_WORDS / pair * 2;
        if self.in_flash() && (!self.narrow || largest < BLOCK_CHANNELS.min(channels)) {
            return 0;
        }
        // Blocks of about the same size.
        channels.div_ceil(channels.div_ceil(largest.max(BLOCK_CHANNELS)))
    }

    fn words(&self, channels: fn(&Self) -> usize) -> usize {
        let geometry = &self.geometry;
        if geometry.is_depthwise() {
            let least = geometry.depthwise_scratch_words(1);
            return geometry.depthwise_scratch_words(channels(self)).min(BLOCK_WORDS.max(least));
        }
        let words = geometry.scratch_words(channels(self));
        if self.narrow { words } else { words - geometry.scratch_words(0) }
    }
}
