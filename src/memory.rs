//! Memory of a generated network: constants from a file, and tensors in an arena.

use core::ops::Range;

/// Bytes at an address that is a multiple of four, so that weights can be loaded by words.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(4))]
pub struct Aligned<const LEN: usize>(pub [u8; LEN]);

impl<const LEN: usize> Aligned<LEN> {
    /// `len` weights from `start` on.
    ///
    /// ```
    /// use condconv::Aligned;
    /// static BYTES: Aligned<4> = Aligned([1, 2, 255, 128]);
    /// static WEIGHTS: &[i8] = BYTES.weights(1, 3);
    /// assert_eq!(WEIGHTS, [2, -1, -128]);
    /// ```
    ///
    /// # Panics
    ///
    /// If the range lies outside the bytes; in constant evaluation that is a compile error.
    #[must_use]
    pub const fn weights(&self, start: usize, len: usize) -> &[i8] {
        let bytes: &[u8] = &self.0;
        bytemuck::must_cast_slice(bytes.split_at(start).1.split_at(len).0)
    }
}

/// Whether ranges lie inside an arena and none overlaps the last: a layer may write the last while it reads the
/// others. For constant evaluation.
///
/// ```
/// assert!(condconv::may_write_last(&[0..4, 4..6], 6));
/// assert!(!condconv::may_write_last(&[0..4, 3..6], 6));
/// assert!(!condconv::may_write_last(&[0..4, 4..7], 6));
/// ```
#[must_use]
pub const fn may_write_last(ranges: &[Range<usize>], arena: usize) -> bool {
    let Some((last, others)) = ranges.split_last() else { return true };
    if last.start > last.end || last.end > arena {
        return false;
    }
    let mut i = 0;
    while i < others.len() {
        let Range { start, end } = others[i];
        if start > end || end > arena || (start < last.end && last.start < end) {
            return false;
        }
        i += 1;
    }
    true
}

/// Ranges of an arena that do not overlap: a layer's inputs and its output.
///
/// ```
/// let mut arena = [1, 2, 3, 4];
/// let [input, output] = condconv::disjoint(&mut arena, [2..4, 0..2]);
/// output.copy_from_slice(input);
/// assert_eq!(arena, [3, 4, 3, 4]);
/// ```
///
/// # Panics
///
/// If they overlap or leave the arena. Generated code checks its ranges by [`may_write_last`] when it is compiled.
#[inline(always)]
#[must_use]
pub fn disjoint<T, const N: usize>(arena: &mut [T], ranges: [Range<usize>; N]) -> [&mut [T]; N] {
    match arena.get_disjoint_mut(ranges) {
        Ok(parts) => parts,
        Err(_) => panic!("ranges overlap or leave the arena"),
    }
}

/// The first `N` elements of an arena, where a generated network keeps its input.
///
/// ```
/// let mut arena = [1, 2, 3];
/// let input: &mut [i8; 2] = condconv::head(&mut arena);
/// assert_eq!(input, &[1, 2]);
/// ```
///
/// # Panics
///
/// If the arena is shorter.
#[inline(always)]
#[must_use]
pub const fn head<T, const N: usize>(arena: &mut [T]) -> &mut [T; N] {
    match arena.first_chunk_mut() {
        Some(head) => head,
        None => panic!("the arena is shorter than the tensor"),
    }
}
