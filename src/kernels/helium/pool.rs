//! Pooling: sixteen channels at a time, summed in 32 bits.

/// Adds channels, from `first` on, over all pixels, and returns how many that are: all.
///
/// # Panics
///
/// If a pixel has no such channels, or there is none.
pub(crate) fn add_pixels(channels: usize, first: usize, input: &[i8], sums: &mut [i32]) -> usize {
    let len = sums.len();
    assert!(first + len <= channels && input.len() >= channels);
    #[cfg(target_arch = "arm")]
    arm::add(channels, &input[first..], input.len() / channels, sums);
    #[cfg(not(target_arch = "arm"))]
    crate::kernels::portable::add_pixels(channels, first, input, sums);
    len
}

#[cfg(target_arch = "arm")]
mod arm {
    #![allow(unsafe_code, reason = "loops that the compiler does not find")]

    use core::arch::asm;

    /// Channels that are summed at a time.
    const CHANNELS: usize = 16;

    /// Channels of a vector of sums.
    const QUAD: usize = 4;

    /// Adds so many pixels of which each has as many channels as there are sums.
    pub(super) fn add(step: usize, input: &[i8], pixels: usize, sums: &mut [i32]) {
        let (whole, rest) = sums.as_chunks_mut::<CHANNELS>();
        let mut from = input.as_ptr();
        for sums in whole {
            // SAFETY: there are so many pixels, and each has as many channels from here on as sums are left.
            unsafe { sixteen(from, step, pixels, sums.as_mut_ptr()) };
            from = from.wrapping_add(CHANNELS);
        }
        for sums in rest.chunks_mut(QUAD) {
            // SAFETY: as above.
            unsafe { up_to_four(from, step, pixels, sums.as_mut_ptr(), sums.len()) };
            from = from.wrapping_add(QUAD);
        }
    }

    /// Ten instructions for sixteen channels of a pixel.
    ///
    /// # Safety
    ///
    /// There are sixteen sums, and as many numbers of each pixel, `step` bytes apart; there is a pixel.
    #[inline(never)]
    unsafe fn sixteen(from: *const i8, step: usize, pixels: usize, sums: *mut i32) {
        // SAFETY: the caller promises that all of these can be read and written; lr, which is no operand, is saved and
        // restored.
        unsafe {
            asm!(
                "push {{r4, lr}}",
                "vldrw.u32 q0, [r3]",
                "vldrw.u32 q1, [r3, #16]",
                "vldrw.u32 q2, [r3, #32]",
                "vldrw.u32 q3, [r3, #48]",
                "dls lr, r2",
                "2:",
                "vldrb.s32 q4, [r0]",
                "vldrb.s32 q5, [r0, #4]",
                "vadd.i32 q0, q0, q4",
                "vldrb.s32 q4, [r0, #8]",
                "vadd.i32 q1, q1, q5",
                "vldrb.s32 q5, [r0, #12]",
                "vadd.i32 q2, q2, q4",
                "add r0, r1",
                "vadd.i32 q3, q3, q5",
                "le lr, 2b",
                "vstrw.32 q0, [r3]",
                "vstrw.32 q1, [r3, #16]",
                "vstrw.32 q2, [r3, #32]",
                "vstrw.32 q3, [r3, #48]",
                "pop {{r4, lr}}",
                inout("r0") from => _,
                in("r1") step,
                in("r2") pixels,
                in("r3") sums,
                out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _,
                out("d6") _, out("d7") _, out("d8") _, out("d9") _, out("d10") _, out("d11") _,
            );
        }
    }

    /// # Safety
    ///
    /// There are so many sums, one to four, and as many numbers of each pixel, `step` bytes apart; there is a pixel.
    #[inline(never)]
    unsafe fn up_to_four(from: *const i8, step: usize, pixels: usize, sums: *mut i32, count: usize) {
        // SAFETY: as above; what is more than the sums is switched off.
        unsafe {
            asm!(
                "push {{r4, lr}}",
                "vctp.32 r12",
                "vpst",
                "vldrwt.u32 q0, [r3]",
                "dls lr, r2",
                "2:",
                "vpst",
                "vldrbt.s32 q1, [r0]",
                "add r0, r1",
                "vadd.i32 q0, q0, q1",
                "le lr, 2b",
                "vpst",
                "vstrwt.32 q0, [r3]",
                "pop {{r4, lr}}",
                inout("r0") from => _,
                in("r1") step,
                in("r2") pixels,
                in("r3") sums,
                in("r12") count,
                out("d0") _, out("d1") _, out("d2") _, out("d3") _,
            );
        }
    }
}
