//! Mixing: the products of a weight's experts with their coefficients are one instruction.

use crate::Experts;
use crate::kernels::portable;

/// As [`mix`](portable::mix), but with the kernel's weights `step` apart.
///
/// # Panics
///
/// If the kernel ends before its last weight.
#[inline(never)]
pub(crate) fn mix(
    experts: &Experts<'_>,
    channel: usize,
    coefficients: &[i32],
    step: usize,
    kernel: &mut [i16],
) {
    let len = experts.kernel_len();
    assert!(step > 0 && kernel.len() > (len - 1) * step);
    #[cfg(target_arch = "arm")]
    if len >= arm::WEIGHTS && matches!(coefficients.len(), 4 | 8) {
        return arm::mix(experts, channel, coefficients, step, kernel);
    }
    portable::mix(experts, channel, coefficients, kernel.iter_mut().step_by(step).take(len));
}

#[cfg(target_arch = "arm")]
mod arm {
    #![allow(unsafe_code, reason = "loops that the compiler does not find")]

    use core::arch::asm;

    use crate::Experts;

    /// Weights that are mixed at a time.
    pub(super) const WEIGHTS: usize = 4;

    /// What the loops read.
    #[repr(C)]
    struct Call {
        /// Those of eight experts, or of four in the first half and in the second.
        coefficients: [[i16; 8]; 2],
        /// To the right.
        shift: i32,
        /// From a weight to the next, in bytes.
        step: usize,
    }

    /// Mixes the kernel of four or eight experts, which has four weights at least and room for its last one.
    pub(super) fn mix(
        experts: &Experts<'_>,
        channel: usize,
        coefficients: &[i32],
        step: usize,
        kernel: &mut [i16],
    ) {
        let (count, len) = (coefficients.len(), experts.kernel_len());
        let mut pairs = [[0; 8]; 2];
        for (i, coefficient) in coefficients.iter().enumerate().take(8) {
            // At most 16383.
            pairs[0][i] = *coefficient as i16;
            pairs[1][(i + 4) % 8] = *coefficient as i16;
        }
        let call = Call { coefficients: pairs, shift: -(experts.shift() as i32), step: 2 * step };
        let weights = experts.quads(channel);
        assert!(weights.len() >= len * count);
        let mix = if count == 4 { four } else { eight };
        let mut run = |first: usize, fours: usize| {
            let (weights, kernel) = (&weights[first * count..], &mut kernel[first * step..]);
            // SAFETY: there are weights and places for so many fours from the first on, since there are for the whole kernel.
            unsafe { mix(weights.as_ptr(), fours, kernel.as_mut_ptr(), &call) };
        };
        run(0, len / WEIGHTS);
        if !len.is_multiple_of(WEIGHTS) {
            // The last four are mixed again in part.
            run(len - WEIGHTS, 1);
        }
    }

    macro_rules! mix {
        ($(#[$doc:meta])* $name:ident, $weights:literal) => {
            $(#[$doc])*
            ///
            /// # Safety
            ///
            /// There are so many fours of weights, at least one, and as many places.
            #[inline(never)]
            unsafe fn $name(weights: *const i8, fours: usize, kernel: *mut i16, call: &Call) {
                // SAFETY: the caller promises that all of these can be read and written; registers that are no operands are
                // saved and restored.
                unsafe {
                    asm!(
                        "push {{r4-r10, lr}}",
                        "vldrw.u32 q0, [r3]",
                        "vldrw.u32 q3, [r3, #16]",
                        "ldrd r12, r5, [r3, #32]",
                        "movs r4, #0",
                        "vidup.u32 q4, r4, #1",
                        "vmul.i32 q4, q4, r5",
                        "dls lr, r1",
                        "2:",
                        $weights,
                        "vmov q1[2], q1[0], r4, r8",
                        "vmov q1[3], q1[1], r6, r10",
                        "vrshl.s32 q1, r12",
                        "vstrh.32 q1, [r2, q4]",
                        "add r2, r2, r5, lsl #2",
                        "le lr, 2b",
                        "pop {{r4-r10, lr}}",
                        inout("r0") weights => _,
                        in("r1") fours,
                        inout("r2") kernel => _,
                        in("r3") call,
                        out("r12") _,
                        out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _,
                        out("d6") _, out("d7") _, out("d8") _, out("d9") _,
                    )
                }
            }
        };
    }
    mix!(
        /// Twelve instructions for four weights of four experts.
        four,
        "vldrb.s16 q1, [r0], #8
         vmladav.s16 r4, q0, q1
         vldrb.s16 q2, [r0], #8
         vmladav.s16 r6, q3, q1
         vmladav.s16 r8, q0, q2
         vmladav.s16 r10, q3, q2"
    );
    mix!(
        /// Fourteen instructions for four weights of eight experts.
        eight,
        "vldrb.s16 q1, [r0], #8
         vmladav.s16 r4, q0, q1
         vldrb.s16 q2, [r0], #8
         vmladav.s16 r6, q0, q2
         vldrb.s16 q1, [r0], #8
         vmladav.s16 r8, q0, q1
         vldrb.s16 q2, [r0], #8
         vmladav.s16 r10, q0, q2"
    );
}
