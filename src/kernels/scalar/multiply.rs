//! The inner loop of convolutions.

use super::Weights;
use super::call::Channels;
use super::columns::tap_words;
use crate::kernels::windows::PIXELS;

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
        let mut call = channels.call(columns, core::ptr::null(), places, output.as_mut_ptr());
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
            let first = channel * taps;
            let sums = match self {
                Self::Static(weights) => packed(&weights[first..first + taps], columns),
                Self::Mixed(weights) => {
                    let taps = weights[first..first + taps].iter().zip(columns.as_chunks::<PIXELS>().0);
                    taps.fold([0; PIXELS], |sums: [i32; PIXELS], (&weight, seen)| {
                        core::array::from_fn(|pixel| {
                            sums[pixel].wrapping_add(i32::from(weight) * seen[pixel])
                        })
                    })
                }
            };
            let sums = sums.map(|sum| sum.wrapping_add(start));
            channels.put(channel, sums, places, output);
        }
    }
}

/// Sums of products with packed columns, in the steps of the loops.
#[cfg(not(target_arch = "arm"))]
fn packed(weights: &[i8], columns: &[i32]) -> [i32; PIXELS] {
    let mut sums = [0; PIXELS];
    for (pair, sums) in sums.as_chunks_mut::<2>().0.iter_mut().enumerate() {
        let [mut all, mut upper] = [0i32; 2];
        for (two, weights) in weights.chunks(2).enumerate() {
            let words = columns[4 * two + pair..].iter().step_by(2);
            let product = words
                .zip(weights)
                .fold(1 << 15, |sum: i32, (word, w)| sum.wrapping_sub(word.wrapping_mul((*w).into())));
            all = all.wrapping_add(product).wrapping_sub(1 << 15);
            upper = upper.wrapping_add(product >> 16);
        }
        *sums = [(upper << 16).wrapping_sub(all), upper.wrapping_neg()];
    }
    sums
}
