//! How far a layer's output has to begin before or after its input where both lie in one memory.

use crate::Geometry;

/// Most output channels of a convolution that can run with overlapping tensors: all kernels take so many at a time.
const OVERLAP_CHANNELS: usize = 64;

/// Distances, in elements, at which a layer's output may overlap its input: pixels are taken in such an order that none is
/// written over before the last that sees it is done.
///
/// ```
/// use condconv::{Geometry, Padding, Shape, Window};
///
/// // Four pixels of two channels become four of one, each of which sees its neighbours.
/// let window = Window::new([1, 3]).padding(Padding::symmetric(0, 1));
/// let overlap = Geometry::new(Shape::new(1, 4, 2), 1, window, 1).unwrap().overlap().unwrap();
/// assert_eq!((overlap.before, overlap.after), (2, Some(6)));
/// assert!(overlap.allows(2, 0) && overlap.allows(0, 6) && !overlap.allows(1, 0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Overlap {
    /// The output begins so many elements before the input, or more.
    pub before: usize,
    /// The output begins so many elements after the input, or more, if it can at all.
    pub after: Option<usize>,
    /// The distance is a multiple of this.
    pub step: usize,
}

impl Overlap {
    /// For layers that read an element, and write it, and never look back: both tensors begin at the same place.
    pub const IN_PLACE: Self = Self { before: 0, after: Some(0), step: usize::MAX };

    /// Whether the tensors may begin at these elements of one memory.
    #[must_use]
    pub const fn allows(&self, input: usize, output: usize) -> bool {
        if output <= input {
            let distance = input - output;
            distance >= self.before && distance.is_multiple_of(self.step)
        } else {
            let distance = output - input;
            match self.after {
                Some(after) => distance >= after && distance.is_multiple_of(self.step),
                None => false,
            }
        }
    }
}

impl Geometry {
    /// At which distances the output may overlap the input; none if it may not.
    ///
    /// Depthwise convolutions, and pools, go through the map once for some channels and then for others, so that a distance is
    /// whole pixels.
    #[must_use]
    pub const fn overlap(&self) -> Option<Overlap> {
        let channels = self.output().channels;
        if self.is_depthwise() {
            // Channels that fill no word are convolved twice.
            if channels > 4 && !channels.is_multiple_of(4) {
                return None;
            }
            let before = self.before().next_multiple_of(channels);
            return Some(Overlap { before, after: None, step: channels });
        }
        if self.groups() > 1 || channels > OVERLAP_CHANNELS {
            return None;
        }
        Some(Overlap { before: self.before(), after: Some(self.after()), step: 1 })
    }

    /// Whether input and output may begin at these elements of one memory.
    #[must_use]
    pub const fn may_overlap(&self, input: usize, output: usize) -> bool {
        match self.overlap() {
            Some(overlap) => overlap.allows(input, output),
            None => false,
        }
    }

    /// Elements from the beginning of the output to that of the input, so that no pixel reaches what it or later ones see.
    ///
    /// Rows and columns of a window that meet nothing but padding count as the first ones: farther than needed.
    const fn before(&self) -> usize {
        let (input, output) = (self.input(), self.output());
        // The farthest that the end of a pixel of a row is ahead of what it or the rest of the row sees, with a window at
        // column zero.
        let mut in_row = i64::MIN;
        let mut first_column = usize::MAX;
        let mut x = output.width;
        while x > 0 {
            x -= 1;
            first_column = min(first_column, self.columns(x).1);
            let ahead = offset(x + 1, output.channels) - offset(first_column, input.channels);
            if ahead > in_row {
                in_row = ahead;
            }
        }
        let mut before = 0;
        let mut later_rows = usize::MAX;
        let mut y = output.height;
        while y > 0 {
            let end_of_row = offset(y * output.width, output.channels);
            y -= 1;
            if later_rows < usize::MAX {
                let seen = offset(later_rows * input.width + first_column, input.channels);
                before = max(before, end_of_row - seen);
            }
            let first_row = self.rows(y).1;
            let start_of_row = offset(y * output.width, output.channels);
            before = max(before, start_of_row + in_row - offset(first_row * input.width, input.channels));
            later_rows = min(later_rows, first_row);
        }
        before
    }

    /// The same where pixels are taken from the last to the first: elements from the beginning of the input to that of the
    /// output.
    const fn after(&self) -> usize {
        let (input, output) = (self.input(), self.output());
        let mut in_row = i64::MIN;
        let mut last_column = 0;
        let mut x = 0;
        while x < output.width {
            let (columns, first) = self.columns(x);
            last_column =
                larger(last_column, last(columns.end - columns.start, first, self.window().dilation[1]));
            let behind = offset(last_column + 1, input.channels) - offset(x, output.channels);
            if behind > in_row {
                in_row = behind;
            }
            x += 1;
        }
        let mut after = 0;
        let mut earlier_rows = None;
        let mut y = 0;
        while y < output.height {
            let start_of_row = offset(y * output.width, output.channels);
            if let Some(row) = earlier_rows {
                let seen = offset(row * input.width + last_column + 1, input.channels);
                after = max(after, seen - start_of_row);
            }
            let (rows, first) = self.rows(y);
            let last_row = last(rows.end - rows.start, first, self.window().dilation[0]);
            after = max(after, offset(last_row * input.width, input.channels) + in_row - start_of_row);
            earlier_rows = match earlier_rows {
                Some(row) => Some(larger(row, last_row)),
                None => Some(last_row),
            };
            y += 1;
        }
        after
    }
}

/// The last of some taps.
const fn last(taps: usize, first: usize, dilation: usize) -> usize {
    if taps == 0 { 0 } else { first + (taps - 1) * dilation }
}

const fn offset(pixels: usize, channels: usize) -> i64 {
    pixels as i64 * channels as i64
}

const fn min(a: usize, b: usize) -> usize {
    if a < b { a } else { b }
}

const fn larger(a: usize, b: usize) -> usize {
    if a > b { a } else { b }
}

/// The larger of a distance and a difference, which may be negative.
const fn max(distance: usize, difference: i64) -> usize {
    if difference > distance as i64 { difference as usize } else { distance }
}
