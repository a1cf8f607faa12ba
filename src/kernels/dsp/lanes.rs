//! The order in which the inner loop reads numbers. Four int8 numbers 0 1 2 3 of one word become two words of int16 pairs,
//! (0, 2) and (1, 3), as SXTB16 makes them; two pixels, or two output channels, lie side by side in lanes 0 and 1:
//!
//! ```text
//! lane 0 (0, 2)   lane 1 (0, 2)   lane 0 (1, 3)   lane 1 (1, 3)   lane 0 (4, 6)   ..
//! ```

use core::ops::Range;

use super::instructions::{sxtab16, sxtab16_ror8};
use crate::Geometry;

/// Numbers of a window that lie side by side in memory.
#[derive(Clone, Copy)]
pub(crate) struct Runs {
    count: usize,
    len: usize,
    whole_rows: bool,
}

impl Runs {
    pub(super) const fn of(geometry: &Geometry) -> Self {
        let (count, len) = geometry.runs();
        Self { count, len, whole_rows: geometry.whole_rows() }
    }

    /// Numbers of a run.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Words of a run in both lanes.
    pub(super) const fn run_words(&self) -> usize {
        self.len.div_ceil(4) * 4
    }

    /// Words of all runs in both lanes.
    pub(super) const fn words(&self) -> usize {
        self.count * self.run_words()
    }
}

/// Widens a run into a lane and adds `offset` to each half of its words. Where the run ends within a word, its rest is taken
/// for zeros.
#[inline(never)]
pub(super) fn spread(run: &[i8], offset: i32, words: &mut [i32], lane: usize) {
    let lane = lane & 1;
    let (whole, rest) = run.as_chunks::<4>();
    let put = |group: &mut [i32; 4], bytes: [i8; 4]| {
        let word = i32::from_le_bytes(bytes.map(i8::cast_unsigned));
        group[lane] = sxtab16(offset, word);
        group[lane + 2] = sxtab16_ror8(offset, word);
    };
    let (groups, last) = words.as_chunks_mut::<4>().0.split_at_mut(whole.len());
    for (group, bytes) in groups.iter_mut().zip(whole) {
        put(group, *bytes);
    }
    if let (Some(group), [first, others @ ..]) = (last.first_mut(), rest) {
        let [second, third] = [others.first(), others.get(1)].map(|byte| byte.copied().unwrap_or(0));
        put(group, [*first, second, third, 0]);
    }
}

/// Both halves of a word.
pub(super) const fn both(x: i32) -> i32 {
    (x & 0xffff) | (x << 16)
}

fn zero(words: &mut [i32], lane: usize) {
    for group in words.as_chunks_mut::<4>().0 {
        group[lane & 1] = 0;
        group[(lane & 1) + 2] = 0;
    }
}

/// What output pixels see of one group's input channels.
#[derive(Clone, Copy)]
pub(super) struct Columns<'a> {
    pub(super) geometry: &'a Geometry,
    pub(super) runs: Runs,
    pub(super) zero_point: i32,
    pub(super) group: usize,
}

impl Columns<'_> {
    /// What a pixel sees, less the zero point, in a lane; padding is zero.
    #[inline(always)]
    pub(super) fn put(&self, pixel: usize, input: &[i8], words: &mut [i32], lane: usize) {
        let Self { geometry, runs, zero_point, group } = *self;
        let Geometry { input: shape, output, window, .. } = *geometry;
        let (rows, first_row) = geometry.rows(pixel / output.width);
        let (columns, first_column) = geometry.columns(pixel % output.width);
        let offset = both(-zero_point);
        let row_start = |row: usize| (first_row + (row - rows.start) * window.dilation[0]) * shape.width;
        let row_words = runs.words() / window.kernel[0];
        for (row, words) in words.chunks_exact_mut(row_words).enumerate() {
            if !rows.contains(&row) {
                zero(words, lane);
            } else if runs.whole_rows {
                let from = (row_start(row) + first_column) * shape.channels;
                let inside = &input[from..from + columns.len() * shape.channels];
                if columns.len() == window.kernel[1] {
                    spread(inside, offset, words, lane);
                } else {
                    let channels = columns.start * shape.channels..columns.end * shape.channels;
                    spread_part(inside, channels, zero_point, words, lane);
                }
            } else {
                for (tap, words) in words.chunks_exact_mut(runs.run_words()).enumerate() {
                    if columns.contains(&tap) {
                        let column = first_column + (tap - columns.start) * window.dilation[1];
                        let from = (row_start(row) + column) * shape.channels + group * runs.len;
                        spread(&input[from..from + runs.len], offset, words, lane);
                    } else {
                        zero(words, lane);
                    }
                }
            }
        }
    }
}

/// A run of which only `inside` lies on the map.
fn spread_part(part: &[i8], inside: Range<usize>, zero_point: i32, words: &mut [i32], lane: usize) {
    if inside.start.is_multiple_of(4) && part.len().is_multiple_of(4) {
        let (before, rest) = words.split_at_mut(inside.start);
        let (within, after) = rest.split_at_mut(part.len());
        zero(before, lane);
        spread(part, both(-zero_point), within, lane);
        zero(after, lane);
    } else {
        for (index, words) in words.chunks_exact_mut(4).enumerate() {
            let bytes: [i8; 4] = core::array::from_fn(|byte| {
                let outside = zero_point as i8;
                (4 * index + byte)
                    .checked_sub(inside.start)
                    .and_then(|at| part.get(at))
                    .copied()
                    .unwrap_or(outside)
            });
            spread(&bytes, both(-zero_point), words, lane);
        }
    }
}
