//! Copies of what pixels see into columns.

use super::VECTOR;
use crate::kernels::windows::PIXELS;

/// Where a number of a pixel goes.
const fn place(lane: usize, k: usize) -> usize {
    k / VECTOR * (PIXELS * VECTOR) + lane * VECTOR + k % VECTOR
}

/// Copies a run of what one pixel sees to its place in the columns.
///
/// # Panics
///
/// If there is not room for all.
#[inline(always)]
pub(super) fn copy_run(run: &[i8], lane: usize, at: usize, columns: &mut [i8]) {
    if run.is_empty() {
        return;
    }
    assert!(lane < PIXELS && place(lane, at + run.len() - 1) < columns.len());
    #[cfg(target_arch = "arm")]
    arm::run(run, at % VECTOR, &mut columns[place(lane, at)..]);
    #[cfg(not(target_arch = "arm"))]
    for (k, x) in run.iter().enumerate() {
        columns[place(lane, at + k)] = *x;
    }
}

/// Copies so many runs of so many numbers, whole vectors or a single run, `step` apart, of what each pixel sees.
///
/// # Panics
///
/// If they do not lie there, or there is not room for all.
#[inline(always)]
pub(super) fn copy_runs(
    input: &[i8],
    places: [usize; PIXELS],
    count: usize,
    len: usize,
    step: usize,
    columns: &mut [i8],
) {
    assert!(
        count > 0
            && len > 0
            && (count == 1 || len.is_multiple_of(VECTOR))
            && columns.len() >= PIXELS * (count * len).next_multiple_of(VECTOR)
            && all_see(input, places, (count - 1) * step + len)
    );
    #[cfg(target_arch = "arm")]
    arm::runs(input, places, count, len, step, columns);
    #[cfg(not(target_arch = "arm"))]
    for (lane, place) in places.into_iter().enumerate() {
        for run in 0..count {
            copy_run(&input[place + run * step..][..len], lane, run * len, columns);
        }
    }
}

/// Fills all vectors.
///
/// # Panics
///
/// If there is none.
pub(super) fn fill_all(value: i8, vectors: &mut [i8]) {
    assert!(!vectors.is_empty() && vectors.len().is_multiple_of(VECTOR));
    #[cfg(target_arch = "arm")]
    arm::fill_all(value, vectors);
    #[cfg(not(target_arch = "arm"))]
    vectors.fill(value);
}

/// Fills a pixel's vectors.
///
/// # Panics
///
/// If there is no such pixel.
pub(super) fn fill(value: i8, lane: usize, columns: &mut [i8]) {
    assert!(lane < PIXELS && columns.len() >= PIXELS * VECTOR);
    #[cfg(target_arch = "arm")]
    arm::fill(value, columns.len() / (PIXELS * VECTOR), &mut columns[lane * VECTOR..]);
    #[cfg(not(target_arch = "arm"))]
    for vectors in columns.chunks_exact_mut(PIXELS * VECTOR) {
        vectors[lane * VECTOR..][..VECTOR].fill(value);
    }
}

/// Copies so many runs of so many numbers, whole vectors, `step` apart, of what one pixel sees, the first of them to the vectors
/// from `at` on, the others `row_len` further.
///
/// # Panics
///
/// If they do not lie there, or there is not room for all.
#[allow(clippy::too_many_arguments, reason = "a loop, not an interface")]
pub(super) fn copy_runs_of_one(
    seen: &[i8],
    count: usize,
    len: usize,
    step: usize,
    lane: usize,
    at: usize,
    row_len: usize,
    columns: &mut [i8],
) {
    if count == 0 || len == 0 {
        return;
    }
    assert!(
        [len, at, row_len].iter().all(|len| len.is_multiple_of(VECTOR))
            && lane < PIXELS
            && seen.len() >= (count - 1) * step + len
            && columns.len() >= PIXELS * (at + (count - 1) * row_len + len)
    );
    #[cfg(target_arch = "arm")]
    arm::runs_of_one(seen, count, len, step, row_len, &mut columns[place(lane, at)..]);
    #[cfg(not(target_arch = "arm"))]
    for run in 0..count {
        copy_run(&seen[run * step..][..len], lane, at + run * row_len, columns);
    }
}

/// Copies what lies so far from the first number that each pixel sees; whole vectors.
///
/// # Panics
///
/// If nothing lies there, or there is not room for all.
#[inline(always)]
pub(super) fn copy_gathered(
    input: &[i8],
    places: [usize; PIXELS],
    offsets: &Offsets<'_>,
    columns: &mut [i8],
) {
    let Offsets { offsets, last } = *offsets;
    assert!(columns.len() >= PIXELS * offsets.len() && all_see(input, places, usize::from(last) + 1));
    #[cfg(target_arch = "arm")]
    arm::gathered(input, places, offsets, columns);
    #[cfg(not(target_arch = "arm"))]
    for (lane, from) in places.into_iter().enumerate() {
        for (k, offset) in offsets.iter().enumerate() {
            columns[place(lane, k)] = input[from + usize::from(*offset)];
        }
    }
}

/// Places of numbers, as far from the first.
#[derive(Clone, Copy)]
pub(super) struct Offsets<'a> {
    offsets: &'a [u16],
    /// The largest.
    last: u16,
}

impl<'a> Offsets<'a> {
    /// In rising order, then zeros up to the end of a vector.
    ///
    /// # Panics
    ///
    /// If they fill no vectors.
    pub(super) fn new(offsets: &'a [u16]) -> Self {
        assert!(!offsets.is_empty() && offsets.len().is_multiple_of(VECTOR));
        Self { offsets, last: offsets.iter().fold(0, |last, offset| last.max(*offset)) }
    }
}

/// Whether so many numbers lie at each place.
fn all_see(input: &[i8], places: [usize; PIXELS], len: usize) -> bool {
    len <= input.len() && places.iter().all(|place| *place <= input.len() - len)
}

#[cfg(target_arch = "arm")]
mod arm {
    #![allow(unsafe_code, reason = "loops that the compiler does not find")]

    use core::arch::asm;

    use super::{PIXELS, VECTOR};

    /// Copies a run to vectors of which `filled` bytes of the first are filled.
    pub(super) fn run(run: &[i8], filled: usize, columns: &mut [i8]) {
        // SAFETY: the caller has checked that the last byte has a place, and all others come before it.
        unsafe { copy(columns.as_mut_ptr(), run.as_ptr(), run.len(), filled) };
    }

    /// # Safety
    ///
    /// `len` bytes can be read at `from`, and at `to` can be written what is left of a vector when `filled` bytes of it are
    /// filled, then vectors of which each begins 64 bytes after the one before, as far as the bytes go.
    #[inline(never)]
    unsafe fn copy(to: *mut i8, from: *const i8, len: usize, filled: usize) {
        // SAFETY: the caller promises that all of these can be read and written.
        unsafe {
            core::arch::asm!(
                "cbz r3, 2f",
                // What is left of the first vector.
                "rsb r12, r3, #16",
                "cmp r12, r2",
                "it hi",
                "movhi r12, r2",
                "vctp.8 r12",
                "vpstt",
                "vldrbt.u8 q0, [r1]",
                "vstrbt.8 q0, [r0]",
                "sub r0, r3",
                "add r0, #64",
                "add r1, r12",
                "subs r2, r12",
                "beq 4f",
                "2:",
                "vctp.8 r2",
                "vpstt",
                "vldrbt.u8 q0, [r1], #16",
                "vstrbt.8 q0, [r0], #64",
                "subs r2, #16",
                "bhi 2b",
                "4:",
                inout("r0") to => _,
                inout("r1") from => _,
                inout("r2") len => _,
                inout("r3") filled => _,
                out("r12") _,
                out("d0") _,
                out("d1") _,
            )
        }
    }

    /// What the loop reads.
    #[repr(C)]
    struct Runs {
        seen: [*const i8; PIXELS],
        /// From the end of a run to the next, in bytes.
        skip: usize,
        tail: usize,
    }

    pub(super) fn runs(
        input: &[i8],
        places: [usize; PIXELS],
        count: usize,
        len: usize,
        step: usize,
        columns: &mut [i8],
    ) {
        let seen = places.map(|place| input.as_ptr().wrapping_add(place));
        let runs = Runs { seen, skip: step.wrapping_sub(len), tail: len % VECTOR };
        // SAFETY: the caller has checked that all runs can be read, that all but a single one are whole vectors, and that there
        // is room for so many.
        unsafe { copy_runs(columns.as_mut_ptr(), len / VECTOR, count, &runs) };
    }

    /// Nine instructions for a vector of four pixels.
    ///
    /// # Safety
    ///
    /// So many runs of so many vectors, and then a tail, can be read of what each pixel sees, and as many vectors written.
    #[inline(never)]
    unsafe fn copy_runs(to: *mut i8, vectors: usize, count: usize, runs: &Runs) {
        // SAFETY: the caller promises that all of these can be read and written; registers that are no operands are saved
        // and restored. What is left of a tail's vectors is switched off.
        unsafe {
            asm!(
                "push {{r4-r9, lr}}",
                "ldm r3, {{r4-r6, r8, r9, r12}}",
                "2:",
                "wls lr, r1, 4f",
                "3:",
                "vldrb.u8 q0, [r4], #16",
                "vldrb.u8 q1, [r5], #16",
                "vstrb.8 q0, [r0], #16",
                "vldrb.u8 q0, [r6], #16",
                "vstrb.8 q1, [r0], #16",
                "vldrb.u8 q1, [r8], #16",
                "vstrb.8 q0, [r0], #16",
                "vstrb.8 q1, [r0], #16",
                "le lr, 3b",
                "4:",
                "subs r2, #1",
                "beq 5f",
                "add r4, r9",
                "add r5, r9",
                "add r6, r9",
                "add r8, r9",
                "b 2b",
                "5:",
                "cmp r12, #0",
                "beq 6f",
                "vctp.8 r12",
                "vpstttt",
                "vldrbt.u8 q0, [r4]",
                "vldrbt.u8 q1, [r5]",
                "vldrbt.u8 q2, [r6]",
                "vldrbt.u8 q3, [r8]",
                "vstrb.8 q0, [r0]",
                "vstrb.8 q1, [r0, #16]",
                "vstrb.8 q2, [r0, #32]",
                "vstrb.8 q3, [r0, #48]",
                "6:",
                "pop {{r4-r9, lr}}",
                inout("r0") to => _,
                in("r1") vectors,
                inout("r2") count => _,
                in("r3") runs,
                out("r12") _,
                out("d0") _, out("d1") _, out("d2") _, out("d3") _,
                out("d4") _, out("d5") _, out("d6") _, out("d7") _,
            );
        }
    }

    /// Fills vectors side by side.
    pub(super) fn fill_all(value: i8, vectors: &mut [i8]) {
        // SAFETY: the vectors are a slice; lr, which is no operand, is saved and restored.
        unsafe {
            asm!(
                "push {{r4, lr}}",
                "vdup.8 q0, {value}",
                "wlstp.8 lr, {len}, 3f",
                "2:",
                "vstrb.8 q0, [{to}], #16",
                "letp lr, 2b",
                "3:",
                "pop {{r4, lr}}",
                to = inout(reg) vectors.as_mut_ptr() => _,
                value = in(reg) i32::from(value),
                len = in(reg) vectors.len(),
                out("d0") _,
                out("d1") _,
            );
        }
    }

    /// Fills so many vectors of one pixel.
    pub(super) fn fill(value: i8, vectors: usize, columns: &mut [i8]) {
        // SAFETY: the caller has checked that there is a vector; each is followed by three of other pixels, but for those that
        // lie before this one.
        unsafe { fill_vectors(columns.as_mut_ptr(), value.into(), vectors) };
    }

    /// # Safety
    ///
    /// So many vectors, at least one, can be written, 64 bytes apart.
    #[inline(never)]
    unsafe fn fill_vectors(to: *mut i8, value: i32, vectors: usize) {
        // SAFETY: the caller promises that all of these can be written; lr, which is no operand, is saved and restored.
        unsafe {
            asm!(
                "push {{r4, lr}}",
                "vdup.8 q0, r1",
                "dls lr, r2",
                "2:",
                "vstrb.8 q0, [r0], #64",
                "le lr, 2b",
                "pop {{r4, lr}}",
                inout("r0") to => _,
                in("r1") value,
                in("r2") vectors,
                out("d0") _,
                out("d1") _,
            );
        }
    }

    /// What the loop reads.
    #[repr(C)]
    struct RunsOfOne {
        /// From the end of a run to the next, there and here, in bytes.
        skips: [usize; 2],
        vectors: usize,
    }

    pub(super) fn runs_of_one(
        seen: &[i8],
        count: usize,
        len: usize,
        step: usize,
        row_len: usize,
        columns: &mut [i8],
    ) {
        let skips = [step.wrapping_sub(len), PIXELS * row_len.wrapping_sub(len)];
        let runs = RunsOfOne { skips, vectors: len / VECTOR };
        // SAFETY: the caller has checked that all runs can be read, that there is one and it is not empty, and that there is
        // room for all.
        unsafe { copy_runs_of_one(columns.as_mut_ptr(), seen.as_ptr(), count, &runs) };
    }

    /// # Safety
    ///
    /// So many runs of so many vectors, at least one, can be read, and written 64 bytes apart.
    #[inline(never)]
    unsafe fn copy_runs_of_one(to: *mut i8, from: *const i8, count: usize, runs: &RunsOfOne) {
        // SAFETY: the caller promises that all of these can be read and written; registers that are no operands are saved
        // and restored.
        unsafe {
            asm!(
                "push {{r4-r6, lr}}",
                "ldm r3, {{r4-r6}}",
                "2:",
                "dls lr, r6",
                "3:",
                "vldrb.u8 q0, [r1], #16",
                "vstrb.8 q0, [r0], #64",
                "le lr, 3b",
                "add r1, r4",
                "add r0, r5",
                "subs r2, #1",
                "bne 2b",
                "pop {{r4-r6, lr}}",
                inout("r0") to => _,
                inout("r1") from => _,
                inout("r2") count => _,
                in("r3") runs,
                out("d0") _,
                out("d1") _,
            );
        }
    }

    pub(super) fn gathered(input: &[i8], places: [usize; PIXELS], offsets: &[u16], columns: &mut [i8]) {
        let seen = places.map(|place| input.as_ptr().wrapping_add(place));
        // SAFETY: the caller has checked that all that pixels see reaches as far as offsets, that these fill whole vectors,
        // and that there is room for as many of each pixel.
        unsafe { copy_gathered(columns.as_mut_ptr(), offsets.as_ptr(), offsets.len() / VECTOR, &seen) };
    }

    /// Twenty instructions for a vector of four pixels.
    ///
    /// # Safety
    ///
    /// There are offsets for so many vectors, at least one, what pixels see reaches as far, and as many vectors of four
    /// pixels can be written.
    #[inline(never)]
    unsafe fn copy_gathered(to: *mut i8, offsets: *const u16, vectors: usize, seen: &[*const i8; PIXELS]) {
        // SAFETY: the caller promises that all of these can be read and written; registers that are no operands are saved
        // and restored.
        unsafe {
            asm!(
                "push {{r4, r5, r6, lr}}",
                "ldm r3, {{r3-r6}}",
                "dls lr, r2",
                "2:",
                "vldrh.u16 q0, [r1], #16",
                "vldrh.u16 q1, [r1], #16",
                "vldrb.u16 q2, [r3, q0]",
                "vldrb.u16 q3, [r4, q0]",
                "vstrb.16 q2, [r0]",
                "vldrb.u16 q2, [r5, q0]",
                "vstrb.16 q3, [r0, #16]",
                "vldrb.u16 q3, [r6, q0]",
                "vstrb.16 q2, [r0, #32]",
                "vldrb.u16 q2, [r3, q1]",
                "vstrb.16 q3, [r0, #48]",
                "vldrb.u16 q3, [r4, q1]",
                "vstrb.16 q2, [r0, #8]",
                "vldrb.u16 q2, [r5, q1]",
                "vstrb.16 q3, [r0, #24]",
                "vldrb.u16 q3, [r6, q1]",
                "vstrb.16 q2, [r0, #40]",
                "vstrb.16 q3, [r0, #56]",
                "add r0, #64",
                "le lr, 2b",
                "pop {{r4, r5, r6, lr}}",
                inout("r0") to => _,
                inout("r1") offsets => _,
                in("r2") vectors,
                inout("r3") seen => _,
                out("d0") _, out("d1") _, out("d2") _, out("d3") _,
                out("d4") _, out("d5") _, out("d6") _, out("d7") _,
            );
        }
    }
}
