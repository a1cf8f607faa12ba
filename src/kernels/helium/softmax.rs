//! Softmax: four classes at a time.
//!
//! ```text
//! s  = sum_j e_j                               below 2^31
//! q' = round(e_i floor(2^47 / s) / 2^32)       at most one below q_i = floor((2^15 e_i + floor(s / 2)) / s), never above
//! ```
//!
//! Which of both it is follows from what is left of the dividend: less than `2 s`, and so known from its lower 32 bits.

use crate::quantize::Element;

/// Turns scores into shares of one, as [`Softmax`](crate::Softmax) does; returns whether there is a loop for them: sums of 128
/// classes may reach 2^31, and distances, shifted to the left, must fit 32 bits.
///
/// # Panics
///
/// If there are not as many shares as scores, or none.
#[inline(always)]
pub(crate) fn softmax<X: Element>(
    scores: &[X],
    multiplier: i32,
    shift: u32,
    powers: &[u32; 65],
    shares: &mut [i16],
) -> bool {
    let least_shift = 8 * size_of::<X>() as u32 + 1;
    if scores.len() >= 128 || shift < least_shift {
        return false;
    }
    let scale = arm::Scale { left: 32 - shift, multiplier, powers };
    if let Some(scores) = X::int8(scores) {
        arm::int8(scores, &scale, shares);
        return true;
    }
    if let Some(scores) = X::int16(scores) {
        arm::int16(scores, &scale, shares);
        return true;
    }
    false
}

mod arm {
    #![allow(unsafe_code, reason = "loops that the compiler does not find")]

    use core::arch::asm;

    use crate::softmax::LARGEST_EXPONENT;

    /// From scores to exponents, and from these to powers.
    #[repr(C)]
    pub(super) struct Scale<'a> {
        pub(super) left: u32,
        pub(super) multiplier: i32,
        pub(super) powers: &'a [u32; 65],
    }

    /// What the division reads.
    #[repr(C)]
    struct Divide {
        shares: *mut i16,
        /// Exponent.
        largest: i32,
        sum: u32,
        inverse: u32,
    }

    /// Puts `2^-z` of four scores into q2. r1 scores, r3 scale's left, r5 r6 table; q4 largest score, q5 multiplier, q6 largest
    /// exponent, q7 63.
    macro_rules! powers {
        ($load:literal) => {
            concat!(
                $load,
                "
                vsub.i32 q0, q4, q0
                vshl.s32 q0, r3
                vrmulh.s32 q0, q0, q5
                vmin.s32 q0, q0, q6
                vshr.u32 q1, q0, #6
                vand q1, q1, q7
                vldrw.u32 q2, [r5, q1, uxtw #2]
                vldrw.u32 q3, [r6, q1, uxtw #2]
                vsub.i32 q3, q2, q3
                vand q1, q0, q7
                vmul.i32 q3, q3, q1
                vshl.i32 q2, q2, #6
                vsub.i32 q2, q2, q3
                vshl.i32 q2, q2, #2
                vshr.u32 q0, q0, #12
                vneg.s32 q0, q0
                vrshl.u32 q2, q2, q0"
            )
        };
    }

    macro_rules! softmax {
        ($name:ident, $element:ty, $load:literal) => {
            pub(super) fn $name(scores: &[$element], scale: &Scale<'_>, shares: &mut [i16]) {
                assert!(!scores.is_empty() && scores.len() == shares.len());
                let (largest, sum): (i32, u32);
                // SAFETY: scores are a slice; of the table, 64 nodes and those behind them are read; lr, which is no operand, is
                // saved and restored. What is left of a vector is switched off.
                unsafe {
                    asm!(
                        "push {{r4-r6, lr}}",
                        "ldm r3, {{r3, r4, r5}}",
                        "adds r6, r5, #4",
                        "vdup.32 q5, r4",
                        "mov r4, r1",
                        "dlstp.32 lr, r2",
                        "2:",
                        $load,
                        "vmaxv.s32 r0, q0",
                        "letp lr, 2b",
                        "mov r1, r4",
                        "vdup.32 q4, r0",
                        "vdup.32 q6, r12",
                        "vmov.i32 q7, #63",
                        "movs r4, #0",
                        "dlstp.32 lr, r2",
                        "3:",
                        powers!($load),
                        "vaddva.u32 r4, q2",
                        "letp lr, 3b",
                        "mov r12, r4",
                        "pop {{r4-r6, lr}}",
                        inout("r0") i32::MIN => largest,
                        inout("r1") scores.as_ptr() => _,
                        in("r2") scores.len(),
                        inout("r3") scale => _,
                        inout("r12") LARGEST_EXPONENT => sum,
                        out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _,
                        out("d6") _, out("d7") _, out("d8") _, out("d9") _, out("d10") _, out("d11") _,
                        out("d12") _, out("d13") _, out("d14") _, out("d15") _,
                    );
                }
                let inverse = ((1 << 47) / u64::from(sum)) as u32;
                // SAFETY: as above; there are as many shares as scores.
                unsafe {
                    asm!(
                        "push {{r4-r10, lr}}",
                        "vdup.32 q4, r12",
                        "ldm r0, {{r7, r8, r9, r10}}",
                        "vdup.32 q6, r8",
                        "ldm r3, {{r3, r4, r5}}",
                        "adds r6, r5, #4",
                        "vdup.32 q5, r4",
                        "vmov.i32 q7, #63",
                        "lsrs r4, r9, #1",
                        "movs r0, #1",
                        "dlstp.32 lr, r2",
                        "2:",
                        powers!($load),
                        "vdup.32 q0, r10",
                        "vrmulh.u32 q0, q2, q0",
                        "vshl.i32 q2, q2, #15",
                        "vadd.i32 q2, q2, r4",
                        "vmul.i32 q1, q0, r9",
                        "vsub.i32 q2, q2, q1",
                        "vpt.u32 cs, q2, r9",
                        "vaddt.i32 q0, q0, r0",
                        // 2^15 becomes 2^15 - 1.
                        "vshr.u32 q1, q0, #15",
                        "vsub.i32 q0, q0, q1",
                        "vstrh.32 q0, [r7], #8",
                        "letp lr, 2b",
                        "pop {{r4-r10, lr}}",
                        inout("r0") &Divide { shares: shares.as_mut_ptr(), largest: LARGEST_EXPONENT, sum, inverse } => _,
                        inout("r1") scores.as_ptr() => _,
                        in("r2") scores.len(),
                        inout("r3") scale => _,
                        in("r12") largest,
                        out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _,
                        out("d6") _, out("d7") _, out("d8") _, out("d9") _, out("d10") _, out("d11") _,
                        out("d12") _, out("d13") _, out("d14") _, out("d15") _,
                    );
                }
            }
        };
    }

    softmax!(int8, i8, "vldrb.s32 q0, [r1], #4");
    softmax!(int16, i16, "vldrh.s32 q0, [r1], #8");
}
