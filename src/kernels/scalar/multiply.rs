//! The inner loop of convolutions.

use super::call::Channels;
use super::columns::tap_words;
use super::{PIXELS, Weights};

impl Weights<'_> {
    /// Convolves four pixels, which see `columns`, with all channels; `places` is where their outputs lie. Outputs are bounded
    /// by int8 only.
    ///
    /// # Panics
    ///
    /// If lengths do not fit together.
    pub(super) fn multiply(
        &self,
        channels: &Channels<'_>,
        columns: &[i32],
        places: [usize; PIXELS],
        output: &mut [i8],
    ) {
        let words = tap_words(matches!(self, Self::Static(_)));
        assert!(
            channels.fit(places, output)
                && columns.len().is_multiple_of(words)
                && self.len() == columns.len() / words * channels.starts.len()
        );
        #[cfg(target_arch = "arm")]
        self.native(channels, columns, places, output);
        #[cfg(not(target_arch = "arm"))]
        self.computed(channels, columns, places, output);
    }

    #[cfg(target_arch = "arm")]
    #[allow(unsafe_code, reason = "loops that the compiler does not find")]
    fn native(&self, channels: &Channels<'_>, columns: &[i32], places: [usize; PIXELS], output: &mut [i8]) {
        use super::thumb;
        let mut call = channels.call(columns, core::ptr::null(), places, output);
        // SAFETY: the caller has checked that there are channels, a weight of each for every tap of the columns, and room for
        // the outputs. Nothing else refers to these.
        unsafe {
            match self {
                Self::Static(weights) => thumb::multiply_packed(&mut call, weights.as_ptr()),
                Self::Mixed(weights) => thumb::multiply(&mut call, weights.as_ptr()),
            }
        }
    }

    #[cfg(not(target_arch = "arm"))]
    fn computed(&self, channels: &Channels<'_>, columns: &[i32], places: [usize; PIXELS], output: &mut [i8]) {
        let taps = self.len() / channels.starts.len();
        for (channel, &start) in channels.starts.iter().enumerate() {
            let mut sums = [start; PIXELS];
            for tap in 0..taps {
                let (weight, seen) = match self {
                    Self::Static(weights) => {
                        let both = |word: i32| [i32::from(word as i16), (word + (1 << 15)) >> 16];
                        let [[a, b], [c, d]] = [both(columns[2 * tap]), both(columns[2 * tap + 1])];
                        (weights[channel * taps + tap].into(), [a, b, c, d])
                    }
                    Self::Mixed(weights) => {
                        (weights[channel * taps + tap].into(), columns.as_chunks().0[tap])
                    }
                };
                let weight: i32 = weight;
                for (sum, x) in sums.iter_mut().zip(seen) {
                    *sum = sum.wrapping_add(weight * x);
                }
            }
            channels.put(channel, sums, places, output);
        }
    }
}
