//! What the loops over channels read, and walk along.

use crate::kernels::windows::{PIXELS, have_room};

/// The channels of four pixels. The loops know where each field lies.
#[cfg(target_arch = "arm")]
#[repr(C)]
pub(super) struct Call {
    /// Of the four pixels' outputs, the next.
    outputs: [*mut i8; PIXELS],
    starts: *const i32,
    multipliers: *const i32,
    starts_end: *const i32,
    zero_point: i32,
    /// What the pixels see, in steps of four words.
    columns: *const i32,
    /// Where the steps are done that fill no four.
    odd_columns_end: *const i32,
    /// Where all whole steps are done.
    columns_end: *const i32,
    column_words: usize,
    /// The input's first channel, if the columns say where inputs lie.
    input: *const i8,
}

/// A block of output channels.
#[derive(Clone, Copy)]
pub(super) struct Channels<'a> {
    /// Where the accumulators start.
    pub(super) starts: &'a [i32],
    pub(super) multipliers: &'a [i32],
    /// The output's.
    pub(super) zero_point: i32,
}

impl Channels<'_> {
    /// Whether there are channels, and room for them in all places of the output.
    pub(super) fn fit(&self, places: [usize; PIXELS], output: &[i8]) -> bool {
        let channels = self.starts.len();
        channels > 0 && self.multipliers.len() == channels && have_room(places, channels, output)
    }

    /// The call for channels that [fit](Self::fit).
    #[cfg(target_arch = "arm")]
    pub(super) fn call(
        &self,
        columns: &[i32],
        input: *const i8,
        places: [usize; PIXELS],
        output: *mut i8,
    ) -> Call {
        let whole = &columns[..columns.len() / 4 * 4];
        let starts = self.starts.as_ptr_range();
        Call {
            outputs: places.map(|place| output.wrapping_add(place)),
            starts: starts.start,
            multipliers: self.multipliers.as_ptr(),
            starts_end: starts.end,
            zero_point: self.zero_point,
            columns: whole.as_ptr(),
            odd_columns_end: whole[whole.len() % 16..].as_ptr(),
            columns_end: whole.as_ptr_range().end,
            column_words: columns.len(),
            input,
        }
    }

    /// Requantises one channel of four pixels.
    #[cfg(not(target_arch = "arm"))]
    pub(super) fn put(
        &self,
        channel: usize,
        sums: [i32; PIXELS],
        places: [usize; PIXELS],
        output: &mut [i8],
    ) {
        use crate::quantize::rescale;
        for (place, sum) in places.into_iter().zip(sums) {
            let scaled = rescale(sum, self.multipliers[channel]);
            output[place + channel] = (self.zero_point + scaled).clamp(-128, 127) as i8;
        }
    }
}
