//! What a layer needs of the arena beside its tensors, and how its tensors may lie there.

use condconv::{Geometry, Overlap};

use crate::quantized::{ElementType, Kernels, Layer, Op, QuantizedNetwork};

/// Words for the kernels that a convolution prepares at a time.
const BLOCK_WORDS: usize = 2560;

/// Output channels that it prepares at least: columns are made anew for each block, which costs more than kernels in RAM save
/// if blocks are small. Static kernels stay in flash then.
const BLOCK_CHANNELS: usize = 16;

/// Words of scratch of a convolution.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Scratch {
    /// With which it runs.
    pub(super) least: usize,
    /// With which it runs while its output overlaps its input.
    pub(super) overlapping: usize,
    /// With which it is fastest.
    pub(super) best: usize,
    /// With which all kernels are in RAM at once.
    pub(super) whole: usize,
    /// Whether some kernels in RAM serve while the output overlaps the input: depthwise ones do.
    pub(super) in_blocks: bool,
    /// Whether that costs time, since pixels of a map that is higher than wide are else taken column by column.
    pub(super) in_order_is_slower: bool,
}

impl Scratch {
    /// The scratch of a layer: none but that of convolutions.
    pub(super) fn of(network: &QuantizedNetwork, layer: &Layer) -> Self {
        let Op::Conv { geometry, kernels, .. } = &layer.op else { return Self::default() };
        let narrow =
            [layer.inputs[0], layer.output].iter().all(|&id| network.tensors[id].element == ElementType::I8);
        let mixed = matches!(kernels, Kernels::Experts(_));
        if geometry.is_depthwise() {
            let least = geometry.depthwise_scratch_words(1);
            let whole = geometry.ample_scratch_words(geometry.output().channels, mixed);
            let in_order_is_slower = geometry.output().height > geometry.output().width;
            let best = whole.min(BLOCK_WORDS.max(least));
            return Self { least, overlapping: least, best, whole, in_blocks: true, in_order_is_slower };
        }
        Self {
            least: geometry.least_scratch_words(narrow, mixed),
            overlapping: geometry.overlap_scratch_words(narrow, mixed),
            best: best(geometry, narrow, mixed),
            in_blocks: false,
            in_order_is_slower: false,
            whole: if narrow || mixed {
                block(geometry, narrow, mixed, geometry.output().channels)
            } else {
                0
            },
        }
    }

    /// Whether kernels are read from flash while the output overlaps the input, however much there is.
    pub(super) fn reads_flash(&self) -> bool {
        self.overlapping == self.least && !self.in_blocks
    }
}

fn best(geometry: &Geometry, narrow: bool, mixed: bool) -> usize {
    let least = geometry.least_scratch_words(narrow, mixed);
    let all = geometry.output().channels;
    let columns = geometry.scratch_words(0);
    // The loops with columns take a group at a time.
    let channels = if narrow { all / geometry.groups() } else { all };
    let largest = BLOCK_WORDS / (geometry.scratch_words(2) - columns) * 2;
    let in_flash = !mixed && least <= columns;
    if in_flash && (!narrow || largest < BLOCK_CHANNELS.min(channels)) {
        return least;
    }
    // Blocks of about the same size.
    block(geometry, narrow, mixed, channels.div_ceil(channels.div_ceil(largest.max(BLOCK_CHANNELS))))
}

/// Words with which so many channels' kernels are prepared at a time.
fn block(geometry: &Geometry, narrow: bool, mixed: bool, channels: usize) -> usize {
    if narrow {
        geometry.ample_scratch_words(channels, mixed)
    } else {
        geometry.scratch_words(channels) - geometry.scratch_words(0)
    }
}

/// At which distances, in elements, a layer's output may overlap one of its inputs.
pub(super) fn overlap(network: &QuantizedNetwork, layer: &Layer, input: usize) -> Option<Overlap> {
    let element = |id: usize| network.tensors[id].element;
    if element(layer.inputs[input]) != element(layer.output) {
        return None;
    }
    match &layer.op {
        Op::Conv { geometry, .. } => geometry.overlap(),
        Op::MaxPool { shape, window } | Op::AveragePool { shape, window, .. } => {
            Geometry::new(*shape, shape.channels, *window, shape.channels).ok()?.overlap()
        }
        Op::Add { .. } | Op::Mul { per_channel: false, .. } | Op::Lookup { .. } => Some(Overlap::IN_PLACE),
        Op::Mul { per_channel: true, .. } if input == 0 => Some(Overlap::IN_PLACE),
        _ => None,
    }
}
