//! Depthwise convolutions: a channel of four pixels at a time.

use super::call::Channels;
use super::{BLOCK, Source, Weights, sum};
use crate::kernels::windows::{PIXELS, Pixels, Windows, each_pixels};
use crate::kernels::{Tensors, portable};
use crate::quantize::Element;
use crate::{Geometry, Requantize};

/// Convolves each channel with its kernel, block by block of as many channels as the scratch has room for.
#[inline(never)]
pub(crate) fn depthwise<S: Source>(
    geometry: &Geometry,
    zero_point: i32,
    requantize: &Requantize<'_>,
    source: &S,
    scratch: &mut [i32],
    tensors: &mut Tensors<'_, i8, i8>,
) {
    let words = PIXELS * geometry.window.taps();
    // The least scratch that there may be has no room for the taps of four pixels.
    if scratch.len() < words || source.block_channels(&scratch[words..]) == 0 {
        return portable::depthwise(geometry, zero_point, requantize, source, scratch, tensors);
    }
    let (offsets, rest) = scratch.split_at_mut(words);
    let padding = [i8::saturate(zero_point); BLOCK];
    let all_channels = geometry.output.channels;
    let step = source.block_channels(rest).min(BLOCK);
    for first in (0..all_channels).step_by(step) {
        let channels = first..all_channels.min(first + step);
        let kernels = source.block(channels.clone(), rest);
        let mut starts = [0; BLOCK];
        let starts = &mut starts[..channels.len()];
        kernels.fold(zero_point, sum, starts);
        let multipliers = &requantize.multipliers()[channels];
        let block = Channels { starts, multipliers, zero_point: requantize.zero_point() };
        let weights = Weights::of(&kernels);
        each_pixels(geometry.output, tensors.backwards(), |pixels| {
            let taps = Taps::find(geometry, pixels, first, &padding, tensors.input(), offsets);
            let places = pixels.map(|pixel| geometry.output.place(pixel) + first);
            taps.multiply(weights, &block, places, tensors);
        });
    }
    requantize.bound(tensors.output());
}

/// Where the taps of four pixels lie: offsets of channels of the input, or of padding, from the input's first.
struct Taps<'a> {
    offsets: &'a [i32],
    padding: &'a [i8; BLOCK],
    /// The first channel that is convolved, and all that lie at each offset.
    first: usize,
    channels: usize,
}

impl<'a> Taps<'a> {
    #[inline(never)]
    fn find(
        geometry: &Geometry,
        pixels: &Pixels,
        first: usize,
        padding: &'a [i8; BLOCK],
        input: &[i8],
        offsets: &'a mut [i32],
    ) -> Self {
        let windows = Windows::new(geometry, 0, input);
        let corners = pixels.map(|pixel| windows.corner(pixel));
        let outside = outside(&input[first..], padding);
        let [_, columns] = geometry.window.kernel;
        let [mut row, mut column] = [0, 0];
        for tap in offsets.as_chunks_mut::<PIXELS>().0 {
            *tap = corners.map(|corner| windows.offset(corner, row, column).map_or(outside, |at| at as i32));
            column += 1;
            if column == columns {
                [row, column] = [row + 1, 0];
            }
        }
        Self { offsets, padding, first, channels: geometry.input.channels }
    }

    /// Convolves the four pixels with all channels; `places` is where their outputs lie. Outputs are bounded by int8 only.
    ///
    /// # Panics
    ///
    /// If lengths do not fit together.
    fn multiply(
        &self,
        weights: Weights<'_>,
        channels: &Channels<'_>,
        places: [usize; PIXELS],
        tensors: &mut Tensors<'_, i8, i8>,
    ) {
        let count = channels.starts.len();
        assert!(
            channels.fit(places, tensors.output())
                && count <= self.padding.len().min(self.channels - self.first)
                && weights.len() == self.offsets.len() / PIXELS * count
        );
        #[cfg(target_arch = "arm")]
        self.native(weights, channels, places, tensors);
        #[cfg(not(target_arch = "arm"))]
        self.computed(weights, channels, places, tensors);
    }

    #[cfg(target_arch = "arm")]
    #[allow(unsafe_code, reason = "loops that the compiler does not find")]
    fn native(
        &self,
        weights: Weights<'_>,
        channels: &Channels<'_>,
        places: [usize; PIXELS],
        tensors: &mut Tensors<'_, i8, i8>,
    ) {
        use super::thumb;
        let (input, output) = tensors.pointers();
        let mut call = channels.call(self.offsets, input.wrapping_add(self.first), places, output);
        // SAFETY: the caller has checked that there are channels, a weight of each for every tap, and room for the outputs. At
        // each offset there are as many numbers as channels. Nothing else refers to the output but the input where they
        // overlap, and that too by its pointer only.
        unsafe {
            match weights {
                Weights::Static(weights) => thumb::depthwise_static(&mut call, weights.as_ptr()),
                Weights::Mixed(weights) => thumb::depthwise_mixed(&mut call, weights.as_ptr()),
            }
        }
    }

    #[cfg(not(target_arch = "arm"))]
    fn computed(
        &self,
        weights: Weights<'_>,
        channels: &Channels<'_>,
        places: [usize; PIXELS],
        tensors: &mut Tensors<'_, i8, i8>,
    ) {
        let taps = self.offsets.as_chunks::<PIXELS>().0;
        for (channel, &start) in channels.starts.iter().enumerate() {
            let mut sums = [start; PIXELS];
            for (k, offsets) in (channel * taps.len()..).zip(taps) {
                let weight: i32 = match weights {
                    Weights::Static(weights) => weights[k].into(),
                    Weights::Mixed(weights) => weights[k].into(),
                };
                for (sum, &offset) in sums.iter_mut().zip(offsets) {
                    let input = &tensors.input()[self.first..];
                    let seen = if offset == outside(input, self.padding) {
                        self.padding[channel]
                    } else {
                        input[offset as usize + channel]
                    };
                    *sum = sum.wrapping_add(weight * i32::from(seen));
                }
            }
            channels.put(channel, sums, places, tensors.output());
        }
    }
}

/// The offset of padding from the input. The loop reads it there, which the compiler has to know.
#[cfg(target_arch = "arm")]
fn outside(input: &[i8], padding: &[i8; BLOCK]) -> i32 {
    padding.as_ptr().expose_provenance().wrapping_sub(input.as_ptr().expose_provenance()) as i32
}

/// An offset that means padding, which may lie farther away than an offset reaches.
#[cfg(not(target_arch = "arm"))]
const fn outside(_: &[i8], _: &[i8; BLOCK]) -> i32 {
    -1
}
