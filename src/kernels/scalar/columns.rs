//! What four output pixels see of the input, tap after tap. For int8 weights two pixels share a word, for int16 weights each
//! has one:
//!
//! ```text
//! pixel 0 + 2^16 pixel 1   pixel 2 + 2^16 pixel 3               int8
//! pixel 0   pixel 1   pixel 2   pixel 3                         int16
//! ```

use crate::kernels::windows::{PIXELS, Pixels, Windows};

/// Columns of the windows of one group's input channels.
#[derive(Clone, Copy)]
pub(super) struct Columns<'a> {
    pub(super) windows: Windows<'a>,
    /// A tap of zero points.
    pub(super) padding: &'a [i8],
    pub(super) packed: bool,
}

/// Words of a tap.
pub(super) const fn tap_words(packed: bool) -> usize {
    if packed { PIXELS / 2 } else { PIXELS }
}

impl Columns<'_> {
    /// Puts what four pixels see into columns.
    #[inline(never)]
    pub(super) fn put(&self, pixels: &Pixels, mut columns: &mut [i32]) {
        self.windows.each_run(pixels, self.padding, |runs| {
            let run;
            (run, columns) =
                core::mem::take(&mut columns).split_at_mut(runs[0].len() * tap_words(self.packed));
            put_run(runs, self.packed, run);
        });
    }
}

/// # Panics
///
/// If there are not as many taps in all runs and in the columns, or none.
#[inline(always)]
fn put_run(runs: [&[i8]; PIXELS], packed: bool, columns: &mut [i32]) {
    let len = runs[0].len();
    assert!(len > 0 && runs.iter().all(|run| run.len() == len) && columns.len() == len * tap_words(packed));
    #[cfg(target_arch = "arm")]
    native(runs, packed, columns);
    #[cfg(not(target_arch = "arm"))]
    for (k, tap) in columns.chunks_exact_mut(tap_words(packed)).enumerate() {
        let [a, b, c, d] = runs.map(|run| i32::from(run[k]));
        if packed {
            tap.copy_from_slice(&[a + (b << 16), c + (d << 16)]);
        } else {
            tap.copy_from_slice(&[a, b, c, d]);
        }
    }
}

#[cfg(target_arch = "arm")]
#[allow(unsafe_code, reason = "loops that need every register")]
fn native(runs: [&[i8]; PIXELS], packed: bool, columns: &mut [i32]) {
    let put = if packed { super::thumb::pack } else { super::thumb::spread };
    // SAFETY: the caller has checked that all runs have as many taps as the columns, at least one.
    unsafe { put(&runs.map(<[i8]>::as_ptr), runs[0].len(), columns.as_mut_ptr()) };
}
