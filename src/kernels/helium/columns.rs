//! What four output pixels see of the input, a vector of each in turn:
//!
//! ```text
//! 0..16 of pixel 0   0..16 of pixel 1   0..16 of pixel 2   0..16 of pixel 3   16..32 of pixel 0   16..32 of pixel 1   ..
//! ```
//!
//! Padding is the zero point.

use super::VECTOR;
use crate::kernels::windows::{Corner, PIXELS, Windows};
use crate::quantize::Element;

/// The columns of the windows of one group's input channels.
#[derive(Clone, Copy)]
pub(super) struct Columns<'a> {
    windows: Windows<'a>,
    zero_point: i8,
}

impl<'a> Columns<'a> {
    pub(super) fn new(windows: Windows<'a>, zero_point: i32) -> Self {
        Self { windows, zero_point: i8::saturate(zero_point) }
    }

    /// Puts what four pixels see into the columns.
    #[inline(never)]
    pub(super) fn put(&self, pixels: [[usize; 2]; PIXELS], columns: &mut [i8]) {
        if let Some(pixels) = self.windows.pixels_themselves(pixels) {
            for (lane, pixel) in pixels.into_iter().enumerate() {
                copy(pixel, lane, 0, columns);
            }
            return;
        }
        for (lane, pixel) in pixels.into_iter().enumerate() {
            self.put_one(self.windows.corner(pixel), lane, columns);
        }
    }

    fn put_one(&self, corner: Corner, lane: usize, columns: &mut [i8]) {
        let inside = self.windows.columns_inside(corner);
        if self.windows.meets_padding(corner, &inside) {
            for vectors in columns.chunks_exact_mut(PIXELS * VECTOR) {
                vectors[lane * VECTOR..][..VECTOR].fill(self.zero_point);
            }
        }
        self.windows.each_run_inside(corner, &inside, |at, run| copy(run, lane, at, columns));
    }
}

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
fn copy(run: &[i8], lane: usize, at: usize, columns: &mut [i8]) {
    if run.is_empty() {
        return;
    }
    assert!(lane < PIXELS && place(lane, at + run.len() - 1) < columns.len());
    #[cfg(target_arch = "arm")]
    native(run, at % VECTOR, &mut columns[place(lane, at)..]);
    #[cfg(not(target_arch = "arm"))]
    for (k, x) in run.iter().enumerate() {
        columns[place(lane, at + k)] = *x;
    }
}

#[cfg(target_arch = "arm")]
#[allow(unsafe_code, reason = "a loop that the compiler does not find")]
fn native(run: &[i8], filled: usize, columns: &mut [i8]) {
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

    // SAFETY: the caller has checked that the last byte has a place, and all others come before it.
    unsafe { copy(columns.as_mut_ptr(), run.as_ptr(), run.len(), filled) };
}
