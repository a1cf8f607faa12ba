//! Mixing: the products of a weight's experts with their coefficients are one instruction.

use core::ops::Range;

use crate::MAX_EXPERTS;
use crate::kernels::portable;
use crate::mixing::Mixture;

/// How mixed kernels lie.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Order {
    /// One after the other.
    Channels,
    /// Weight by weight, of so many channels or less side by side.
    Weights { channels: usize },
}

impl Order {
    /// From a weight to the next, and from a kernel to the next.
    pub(super) const fn steps(self, kernel_len: usize) -> [usize; 2] {
        match self {
            Self::Channels => [1, kernel_len],
            Self::Weights { channels } => [channels, 1],
        }
    }
}

/// Mixes the kernels of some channels, at least one.
///
/// # Panics
///
/// If there is no room for the last weight.
#[inline(never)]
pub(crate) fn mix(mixture: &Mixture<'_>, channels: Range<usize>, order: Order, kernels: &mut [i16]) {
    let Mixture { experts, .. } = *mixture;
    let len = experts.kernel_len();
    let [step, kernel_step] = order.steps(len);
    assert!(!channels.is_empty() && kernels.len() > (channels.len() - 1) * kernel_step + (len - 1) * step);
    #[cfg(target_arch = "arm")]
    if len >= arm::WEIGHTS && matches!(experts.count(), 4 | 8) {
        return arm::mix(mixture, channels, order, kernels);
    }
    for (i, channel) in channels.enumerate() {
        let kernel = kernels[i * kernel_step..].iter_mut().step_by(step).take(len);
        portable::mix(mixture, channel, &mut [0; MAX_EXPERTS][..experts.count()], kernel);
    }
}

#[cfg(target_arch = "arm")]
pub(crate) use arm::mix_biases;

#[cfg(target_arch = "arm")]
mod arm {
    #![allow(unsafe_code, reason = "loops that the compiler does not find")]

    use core::arch::asm;
    use core::ops::Range;

    use super::Order;
    use crate::RoutingWeight;
    use crate::mixing::Mixture;

    /// Weights that are mixed at a time.
    pub(super) const WEIGHTS: usize = 4;

    /// What the loops read. Steps are in bytes.
    #[repr(C)]
    struct Call {
        routing: *const i16,
        /// From a weight to the next.
        step: usize,
        ratios: *const i16,
        channels: usize,
        /// From where a kernel's last weights are put to the next kernel.
        skip: usize,
        /// To the right.
        shift: i32,
        /// Back from the end of whole fours, of weights and of what is mixed, so that a last four fits: none if fours are whole.
        back: [usize; 2],
    }

    /// Mixes kernels of four or eight experts, which have four weights at least and room for their last ones.
    pub(super) fn mix(mixture: &Mixture<'_>, channels: Range<usize>, order: Order, kernels: &mut [i16]) {
        let Mixture { experts, routing } = *mixture;
        let (count, len) = (experts.count(), experts.kernel_len());
        let [step, kernel_step] = order.steps(len).map(|step| step * size_of::<i16>());
        let (weights, ratios) = (experts.quads_of(channels.clone()), experts.ratios(channels.clone()));
        assert!(routing.len() == count);
        let back = len.next_multiple_of(WEIGHTS) - len;
        let call = Call {
            routing: routing.as_ptr().cast(),
            step,
            ratios: ratios.as_ptr(),
            channels: channels.len(),
            skip: kernel_step.wrapping_sub(len * step),
            shift: -(experts.shift() as i32),
            back: [back * count, back * step],
        };
        let mix = match (count, order) {
            (4, Order::Channels) => four,
            (4, _) => four_apart,
            (_, Order::Channels) => eight,
            _ => eight_apart,
        };
        // SAFETY: routing weights are int16 inside; there are weights and ratios of all channels, and room, as the caller has
        // checked.
        unsafe { mix(weights.as_ptr(), len / WEIGHTS, kernels.as_mut_ptr(), &call) };
    }

    /// Puts channels' own biases and those of their experts, weighed by the routing: a negative weight counts as zero. Returns
    /// that there is a loop.
    ///
    /// # Panics
    ///
    /// If lengths do not fit together, or there is no channel or no expert.
    #[inline(never)]
    pub(crate) fn mix_biases(
        routing: &[RoutingWeight],
        own: &[i32],
        of_experts: &[i32],
        biases: &mut [i32],
    ) -> bool {
        let (experts, channels) = (routing.len(), biases.len());
        assert!(!of_experts.is_empty() && of_experts.len() == channels * experts && own.len() == channels);
        let ends = [own.as_ptr().cast_mut(), biases.as_mut_ptr()];
        // SAFETY: routing weights are int16 inside, and lengths are as the assertion says; registers that are no operands are
        // saved and restored. What is left of a vector is switched off.
        unsafe {
            asm!(
                "push {{r4-r9, lr}}",
                "ldrd r4, r5, [r3]",
                // From the end of a channel's biases to the end of their last vector.
                "rsb r9, r1, #0",
                "and r9, r9, #3",
                "lsl r9, r9, #2",
                "vmov.i32 q2, #0",
                "2:",
                "mov r3, r0",
                "movs r6, #0",
                "movs r7, #0",
                "dlstp.32 lr, r1",
                "3:",
                "vldrh.s32 q0, [r3], #8",
                "vldrw.u32 q1, [r2], #16",
                "vmax.s32 q0, q0, q2",
                "vmlaldava.s32 r6, r7, q0, q1",
                "letp lr, 3b",
                "sub r2, r9",
                "srshrl r6, r7, #15",
                "ldr r8, [r4], #4",
                "add r6, r8",
                "str r6, [r5], #4",
                "subs r12, #1",
                "bne 2b",
                "pop {{r4-r9, lr}}",
                in("r0") routing.as_ptr(),
                in("r1") experts,
                inout("r2") of_experts.as_ptr() => _,
                inout("r3") &ends => _,
                inout("r12") channels => _,
                out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _,
            );
        }
        true
    }

    /// Four weights: sums of products, rounded.
    macro_rules! weights {
        ($products:literal, $put:literal) => {
            concat!(
                $products,
                "
                vmov q1[2], q1[0], r4, r8
                vmov q1[3], q1[1], r6, r10
                vrshl.s32 q1, r12
                ",
                $put,
            )
        };
    }

    macro_rules! mix {
        ($(#[$doc:meta])* $name:ident, $routing:literal, $coefficients:literal, $products:literal, $put:literal) => {
            $(#[$doc])*
            ///
            /// # Safety
            ///
            /// There are so many fours of weights of each channel and what is left, at least one four, and as many places;
            /// routing weights, and ratios of each channel, for as many experts as the loop mixes.
            #[inline(never)]
            unsafe fn $name(weights: *const i8, fours: usize, kernels: *mut i16, call: &Call) {
                // SAFETY: the caller promises that all of these can be read and written; registers that are no operands are
                // saved and restored.
                unsafe {
                    asm!(
                        "push {{r4-r11, lr}}",
                        "ldm r3, {{r4, r5, r7, r9, r11, r12}}",
                        $routing,
                        // Negative routing weights count as zero.
                        "vmov.i32 q3, #0",
                        "vmax.s16 q5, q5, q3",
                        "movs r4, #0",
                        "vidup.u32 q4, r4, #1",
                        "vmul.i32 q4, q4, r5",
                        "2:",
                        $coefficients,
                        "dls lr, r1",
                        "3:",
                        weights!($products, $put),
                        "le lr, 3b",
                        "ldrd r4, r6, [r3, #24]",
                        "cbz r4, 4f",
                        // The last four are mixed again in part.
                        "sub r0, r4",
                        "sub r2, r6",
                        weights!($products, $put),
                        "4:",
                        "add r2, r11",
                        "subs r9, #1",
                        "bne 2b",
                        "pop {{r4-r11, lr}}",
                        inout("r0") weights => _,
                        in("r1") fours,
                        inout("r2") kernels => _,
                        in("r3") call,
                        out("r12") _,
                        out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _,
                        out("d6") _, out("d7") _, out("d8") _, out("d9") _, out("d10") _, out("d11") _,
                    )
                }
            }
        };
        ($(#[$doc:meta])* $name:ident, $apart:ident, $routing:literal, $coefficients:literal, $products:literal) => {
            mix!($(#[$doc])* $name, $routing, $coefficients, $products, "vstrh.32 q1, [r2], #8");
            mix!(
                /// The same with weights that are not put side by side.
                $apart, $routing, $coefficients, $products, "vstrh.32 q1, [r2, q4]\nadd r2, r2, r5, lsl #2"
            );
        };
    }
    // Coefficients of four experts are in the first half of a vector and in the second of another.
    mix!(
        /// Eleven instructions for four weights of four experts.
        four,
        four_apart,
        "movs r6, #4
         vctp.16 r6
         vpst
         vldrht.u16 q5, [r4]",
        "vpst
         vldrht.u16 q0, [r7], #8
         vrmulh.s16 q0, q0, q5
         vmov r4, r6, d0
         vmov d7, r4, r6",
        "vldrb.s16 q1, [r0], #8
         vmladav.s16 r4, q0, q1
         vldrb.s16 q2, [r0], #8
         vmladav.s16 r6, q3, q1
         vmladav.s16 r8, q0, q2
         vmladav.s16 r10, q3, q2"
    );
    mix!(
        /// Thirteen instructions for four weights of eight experts.
        eight,
        eight_apart,
        "vldrh.u16 q5, [r4]",
        "vldrh.u16 q0, [r7], #16
         vrmulh.s16 q0, q0, q5",
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
