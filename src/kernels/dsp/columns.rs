//! What four output pixels see of the input, side by side and widened:
//!
//! ```text
//! pixel 0 (0, 2)   pixel 1 (0, 2)   pixel 2 (0, 2)   pixel 3 (0, 2)   pixel 0 (1, 3)   ..   pixel 3 (1, 3)   pixel 0 (4, 6)   ..
//! ```

use super::both;
use crate::Geometry;
use crate::kernels::windows::{PIXELS, Pixels, Windows};
use crate::quantize::Element;

/// Four numbers that each of four pixels sees.
pub(super) type Group = [i32; 2 * PIXELS];

/// The columns of four pixels of a group.
pub(super) struct Columns<'a> {
    geometry: &'a Geometry,
    pub(super) group: usize,
    zero_point: i32,
    words: &'a mut [i32],
    /// Where padding, or what pixels see, is put together.
    staged: &'a mut [i8],
}

impl<'a> Columns<'a> {
    pub(super) fn new(
        geometry: &'a Geometry,
        zero_point: i32,
        words: &'a mut [i32],
        staged: &'a mut [i8],
    ) -> Self {
        staged.fill(i8::saturate(zero_point));
        Self { geometry, group: 0, zero_point, words, staged }
    }

    pub(super) const fn words(&self) -> &[i32] {
        self.words
    }

    /// Puts what four pixels see of the input, less the zero point, into the columns; padding is zero.
    #[inline(always)]
    pub(super) fn put(&mut self, input: &[i8], pixels: &Pixels) {
        if self.geometry.runs_are_words() {
            self.put_runs(input, pixels);
        } else {
            self.put_staged(input, pixels);
        }
    }

    /// Where runs are whole words they are taken from the input as they are.
    #[inline(never)]
    fn put_runs(&mut self, input: &[i8], pixels: &Pixels) {
        let offset = both(-self.zero_point);
        let mut groups = self.words.as_chunks_mut().0;
        Windows::new(self.geometry, self.group, input).each_run(pixels, self.staged, |runs| {
            let run;
            (run, groups) = core::mem::take(&mut groups).split_at_mut(runs[0].len() / 4);
            spread(runs, offset, run);
        });
    }

    /// Where runs end within words they are put together as bytes first. Past the last kernels are zero.
    #[inline(never)]
    fn put_staged(&mut self, input: &[i8], pixels: &Pixels) {
        let groups = self.words.as_chunks_mut().0;
        let len = 4 * groups.len();
        let windows = Windows::new(self.geometry, self.group, input);
        for (&[y, x], bytes) in pixels.iter().zip(self.staged.chunks_exact_mut(len)) {
            let (rows, columns) = (self.geometry.rows(y), self.geometry.columns(x));
            if [rows.0.len(), columns.0.len()] != self.geometry.window.kernel {
                bytes.fill(i8::saturate(self.zero_point));
            }
            windows.each_run_inside(rows, columns, |at, run| copy(run, &mut bytes[at..]));
        }
        let staged = &self.staged[..PIXELS * len];
        spread(core::array::from_fn(|lane| &staged[lane * len..][..len]), both(-self.zero_point), groups);
    }
}

/// Copies a few bytes, which a call of `memcpy` is too long for.
///
/// # Panics
///
/// If there is not room for all.
#[inline(always)]
fn copy(from: &[i8], to: &mut [i8]) {
    assert!(to.len() >= from.len());
    #[cfg(target_arch = "arm")]
    native_copy(from, to);
    #[cfg(not(target_arch = "arm"))]
    to[..from.len()].copy_from_slice(from);
}

#[cfg(target_arch = "arm")]
#[allow(unsafe_code, reason = "a loop that the compiler makes a call of")]
fn native_copy(from: &[i8], to: &mut [i8]) {
    use core::arch::asm;

    /// # Safety
    ///
    /// `len` bytes can be read at `from` and written at `to`.
    #[inline(never)]
    unsafe fn copy(to: *mut i8, from: *const i8, len: usize) {
        // SAFETY: the caller promises that all of these can be read and written.
        unsafe {
            asm!(
                "subs r2, #4",
                "bcc 3f",
                "2:",
                "ldr r3, [r1], #4",
                "subs r2, #4",
                "str r3, [r0], #4",
                "bcs 2b",
                "3:",
                "adds r2, #4",
                "beq 5f",
                "4:",
                "ldrb r3, [r1], #1",
                "subs r2, #1",
                "strb r3, [r0], #1",
                "bne 4b",
                "5:",
                inout("r0") to => _,
                inout("r1") from => _,
                inout("r2") len => _,
                out("r3") _,
            )
        }
    }

    // SAFETY: the caller has checked that there is room for all.
    unsafe { copy(to.as_mut_ptr(), from.as_ptr(), from.len()) };
}

/// Widens what four pixels see, each as many bytes as four a group, and adds `offset` to each half.
///
/// # Panics
///
/// If they are not as many.
#[inline(always)]
fn spread(pixels: [&[i8]; PIXELS], offset: i32, groups: &mut [Group]) {
    assert!(!groups.is_empty() && pixels.iter().all(|pixel| pixel.len() == 4 * groups.len()));
    #[cfg(target_arch = "arm")]
    native(pixels, offset, groups);
    #[cfg(not(target_arch = "arm"))]
    for (i, group) in groups.iter_mut().enumerate() {
        for (lane, pixel) in pixels.iter().enumerate() {
            [group[lane], group[lane + PIXELS]] = super::widen(pixel.as_chunks().0[i], offset);
        }
    }
}

#[cfg(target_arch = "arm")]
#[allow(unsafe_code, reason = "a loop that needs every register")]
fn native(pixels: [&[i8]; PIXELS], offset: i32, groups: &mut [Group]) {
    use core::arch::asm;

    /// # Safety
    ///
    /// Groups can be written from `groups` to `end`, at least one, and four bytes be read for each from each pixel on.
    #[inline(never)]
    unsafe fn spread(pixels: &[*const i8; PIXELS], offset: i32, groups: *mut Group, end: *const Group) {
        // r0..r3 pixels; r4..r7 bytes; r8..r11 pairs; r12 groups; lr offset. On the stack: the end.
        macro_rules! group {
            () => {
                "ldr r4, [r0], #4
                 ldr r5, [r1], #4
                 ldr r6, [r2], #4
                 ldr r7, [r3], #4
                 sxtab16 r8, lr, r4
                 sxtab16 r9, lr, r5
                 sxtab16 r10, lr, r6
                 sxtab16 r11, lr, r7
                 stmia r12!, {{r8-r11}}
                 sxtab16 r8, lr, r4, ror #8
                 sxtab16 r9, lr, r5, ror #8
                 sxtab16 r10, lr, r6, ror #8
                 sxtab16 r11, lr, r7, ror #8
                 stmia r12!, {{r8-r11}}
                 "
            };
        }
        // SAFETY: the caller promises that all of these can be read and written; registers that are no operands are saved
        // and restored.
        unsafe {
            asm!(
                "push {{r4-r11, lr}}",
                "push {{r3}}",
                "mov lr, r1",
                "mov r12, r2",
                // Four groups at a time; the first of them are left out that would be too many.
                "subs r4, r2, r3",
                "ubfx r4, r4, #5, #2",
                "ldmia r0, {{r0-r3}}",
                "tbb [pc, r4]",
                "2:",
                ".byte (20f - 2b) / 2",
                ".byte (21f - 2b) / 2",
                ".byte (22f - 2b) / 2",
                ".byte (23f - 2b) / 2",
                "20:",
                group!(),
                "21:",
                group!(),
                "22:",
                group!(),
                "23:",
                group!(),
                "ldr r4, [sp]",
                "cmp r12, r4",
                "bne 20b",
                "add sp, #4",
                "pop {{r4-r11, lr}}",
                inout("r0") pixels => _,
                inout("r1") offset => _,
                inout("r2") groups => _,
                inout("r3") end => _,
                out("r12") _,
            )
        }
    }

    let ends = groups.as_mut_ptr_range();
    // SAFETY: the caller has checked that each pixel has four bytes for each group, and that there is a group.
    unsafe { spread(&pixels.map(<[i8]>::as_ptr), offset, ends.start, ends.end) };
}
