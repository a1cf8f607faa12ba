//! Memory of a generated network: constants from a file, and tensors in an arena of words.

use core::ops::Range;

use crate::quantize::Element;

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

/// Something that takes place in an arena: its words, and the moments at which it is needed.
pub type Placed = (Range<usize>, Range<usize>);

/// Whether everything lies inside an arena, and nothing where something else does that is needed at the same moment. For
/// constant evaluation.
///
/// ```
/// assert!(condconv::none_meet(&[(0..4, 0..2), (4..6, 1..3), (0..2, 2..3)], 6));
/// assert!(!condconv::none_meet(&[(0..4, 0..2), (3..6, 1..3)], 6));
/// assert!(!condconv::none_meet(&[(0..4, 0..2), (4..7, 1..3)], 6));
/// ```
#[must_use]
pub const fn none_meet(placed: &[Placed], arena: usize) -> bool {
    let mut i = 0;
    while i < placed.len() {
        let (words, moments) = &placed[i];
        if words.start > words.end || words.end > arena {
            return false;
        }
        let mut j = 0;
        while j < i {
            if meet(words, &placed[j].0) && meet(moments, &placed[j].1) {
                return false;
            }
            j += 1;
        }
        i += 1;
    }
    true
}

const fn meet(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start < b.end && b.start < a.end
}

/// Ranges of an arena that do not overlap: a layer's inputs, its scratch and its output.
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
/// If they overlap or leave the arena. Generated code checks its ranges by [`none_meet`] when it is compiled.
#[inline(always)]
#[must_use]
pub fn disjoint<const N: usize>(arena: &mut [i32], ranges: [Range<usize>; N]) -> [&mut [i32]; N] {
    match arena.get_disjoint_mut(ranges) {
        Ok(parts) => parts,
        Err(_) => panic!("ranges overlap or leave the arena"),
    }
}

/// The elements of a tensor that begins where some words do.
///
/// ```
/// let mut words = [0x0403_0201, 0x0605];
/// let tensor = condconv::elements::<i8, 6>(&mut words);
/// # if cfg!(target_endian = "little") {
/// assert_eq!(tensor, &[1, 2, 3, 4, 5, 6]);
/// # }
/// ```
///
/// # Panics
///
/// If there are not words enough.
#[inline(always)]
#[must_use]
pub fn elements<X: Element, const LEN: usize>(words: &mut [i32]) -> &mut [X; LEN] {
    match X::of_words(words).first_chunk_mut() {
        Some(elements) => elements,
        None => panic!("the words are fewer than the tensor"),
    }
}

/// The rows of a tensor, or those of it that are kept, where they begin where some words do.
///
/// ```
/// let mut words = [0x0403_0201, 0x0605];
/// let rows = condconv::rows::<i8, 3, 2>(&mut words);
/// # if cfg!(target_endian = "little") {
/// assert_eq!(rows, &[[1, 2, 3], [4, 5, 6]]);
/// # }
/// ```
///
/// # Panics
///
/// If there are not words enough.
#[inline(always)]
#[must_use]
pub fn rows<X: Element, const ROW: usize, const ROWS: usize>(words: &mut [i32]) -> &mut [[X; ROW]; ROWS] {
    match X::of_words(words).as_chunks_mut().0.first_chunk_mut() {
        Some(rows) => rows,
        None => panic!("the words are fewer than the rows"),
    }
}
