//! Mixing: the products of a weight's experts with their coefficients are one instruction.

use crate::RoutingWeight;
use crate::kernels::portable;
use crate::mixing::Mixture;

/// As [`mix`](portable::mix), but with the kernel's weights `step` apart.
///
/// # Panics
///
/// If the kernel ends before its last weight.
#[inline(never)]
pub(crate) fn mix(
    mixture: &Mixture<'_>,
    channel: usize,
    coefficients: &mut [i32],
    step: usize,
    kernel: &mut [i16],
) {
    let len = mixture.experts.kernel_len();
    assert!(step > 0 && kernel.len() > (len - 1) * step);
    #[cfg(target_arch = "arm")]
    if len >= arm::WEIGHTS && matches!(coefficients.len(), 4 | 8) {
        return arm::mix(mixture, channel, step, kernel);
    }
    portable::mix(mixture, channel, coefficients, kernel.iter_mut().step_by(step).take(len));
}

/// The sum of biases, as many as routing weights, times these; a negative one counts as zero.
pub(crate) fn weigh(routing: &[RoutingWeight], biases: &[i32]) -> i64 {
    assert!(routing.len() == biases.len());
    #[cfg(target_arch = "arm")]
    return arm::weigh(routing, biases);
    #[cfg(not(target_arch = "arm"))]
    portable::weigh(routing, biases)
}

#[cfg(target_arch = "arm")]
mod arm {
    #![allow(unsafe_code, reason = "loops that the compiler does not find")]

    use core::arch::asm;

    use crate::RoutingWeight;
    use crate::mixing::Mixture;

    /// Weights that are mixed at a time.
    pub(super) const WEIGHTS: usize = 4;

    /// What the loops read.
    #[repr(C)]
    struct Call {
        routing: *const i16,
        ratios: *const i16,
        /// To the right.
        shift: i32,
        /// From a weight to the next, in bytes.
        step: usize,
    }

    /// Mixes the kernel of four or eight experts, which has four weights at least and room for its last one.
    pub(super) fn mix(mixture: &Mixture<'_>, channel: usize, step: usize, kernel: &mut [i16]) {
        let Mixture { experts, routing } = *mixture;
        let (count, len) = (experts.count(), experts.kernel_len());
        let ratios = experts.ratios(channel..channel + 1);
        assert!(routing.len() == count && ratios.len() == count);
        let call = Call {
            routing: routing.as_ptr().cast(),
            ratios: ratios.as_ptr(),
            shift: -(experts.shift() as i32),
            step: 2 * step,
        };
        let weights = experts.quads(channel);
        assert!(weights.len() >= len * count);
        let mix = if count == 4 { four } else { eight };
        let mut run = |first: usize, fours: usize| {
            let (weights, kernel) = (&weights[first * count..], &mut kernel[first * step..]);
            // SAFETY: routing weights are int16 inside; there are weights and places for so many fours from the first on, since there are for the whole kernel.
            unsafe { mix(weights.as_ptr(), fours, kernel.as_mut_ptr(), &call) };
        };
        run(0, len / WEIGHTS);
        if !len.is_multiple_of(WEIGHTS) {
            // The last four are mixed again in part.
            run(len - WEIGHTS, 1);
        }
    }

    /// There are as many biases as routing weights.
    #[inline(never)]
    pub(super) fn weigh(routing: &[RoutingWeight], biases: &[i32]) -> i64 {
        let (low, high): (u32, i32);
        // SAFETY: routing weights are int16 inside, as many as biases; lr, which is no operand, is saved and restored. What is
        // left of a vector is switched off.
        unsafe {
            asm!(
                "push {{r4, lr}}",
                "vmov.i32 q2, #0",
                "movs r4, #0",
                "movs r3, #0",
                "wlstp.32 lr, r2, 3f",
                "2:",
                "vldrh.s32 q0, [r0], #8",
                "vldrw.u32 q1, [r1], #16",
                "vmax.s32 q0, q0, q2",
                "vmlaldava.s32 r4, r3, q0, q1",
                "letp lr, 2b",
                "3:",
                "mov r2, r4",
                "pop {{r4, lr}}",
                inout("r0") routing.as_ptr() => _,
                inout("r1") biases.as_ptr() => _,
                inout("r2") biases.len() => low,
                out("r3") high,
                out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _,
            );
        }
        i64::from(high) << 32 | i64::from(low)
    }

    macro_rules! mix {
        ($(#[$doc:meta])* $name:ident, $experts:literal, $weights:literal) => {
            $(#[$doc])*
            ///
            /// # Safety
            ///
            /// There are so many fours of weights, at least one, and as many places; routing weights and ratios for as many
            /// experts as the loop mixes.
            #[inline(never)]
            unsafe fn $name(weights: *const i8, fours: usize, kernel: *mut i16, call: &Call) {
                // SAFETY: the caller promises that all of these can be read and written; registers that are no operands are
                // saved and restored.
                unsafe {
                    asm!(
                        "push {{r4-r10, lr}}",
                        "ldm r3, {{r4, r5, r12}}",
                        // Coefficients: negative routing weights count as zero. Those of four experts are in the first half
                        // of a vector and in the second of another.
                        concat!("mov r6, #", $experts),
                        "vctp.16 r6",
                        "vpstt",
                        "vldrht.u16 q0, [r4]",
                        "vldrht.u16 q1, [r5]",
                        "vmov.i32 q3, #0",
                        "vmax.s16 q0, q0, q3",
                        "vrmulh.s16 q0, q0, q1",
                        "vmov r4, r5, d0",
                        "vmov d7, r4, r5",
                        "ldr r5, [r3, #12]",
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
        "4",
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
        "8",
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
