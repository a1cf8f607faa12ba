//! Mixing: four experts a word, two multiply-accumulates an instruction.

use super::order::Order;
use crate::MAX_EXPERTS;
use crate::mixing::Mixture;

/// Mixes one channel's kernel.
///
/// # Panics
///
/// If its last weight has no place.
#[inline(never)]
pub(super) fn mix(mixture: &Mixture<'_>, channel: usize, order: Order, words: &mut [i32]) {
    let halves: &mut [i16] = bytemuck::must_cast_slice_mut(words);
    // The usual numbers of experts have loops of their own.
    match mixture.experts.count() {
        4 | 8 => quads::mix(mixture, channel, order, halves),
        _ => one_by_one(mixture, channel, order, halves),
    }
    let len = mixture.experts.kernel_len();
    if matches!(order, Order::Wide { .. }) {
        for k in len..len.next_multiple_of(4) {
            halves[order.place(k)] = 0;
        }
    }
}

/// Mixes weights one by one.
#[inline(never)]
fn one_by_one(mixture: &Mixture<'_>, channel: usize, order: Order, halves: &mut [i16]) {
    let experts = mixture.experts;
    let mut coefficients = [0; MAX_EXPERTS];
    experts.coefficients(channel, mixture.routing, &mut coefficients);
    let (whole, rest) = coefficients[..experts.count()].as_chunks::<4>();
    let weights = experts.quads(channel);
    for k in 0..experts.kernel_len() {
        let mut sum = 1 << (experts.shift() - 1);
        let quads = weights[4 * whole.len() * k..].as_chunks::<4>().0;
        for (weights, coefficients) in quads.iter().zip(whole) {
            sum += dot(weights, coefficients);
        }
        for (tail, coefficient) in rest.iter().enumerate() {
            sum += coefficient * i32::from(experts.tail(channel, tail)[k]);
        }
        halves[order.place(k)] = (sum >> experts.shift()) as i16;
    }
}

fn dot(weights: &[i8; 4], coefficients: &[i32; 4]) -> i32 {
    weights.iter().zip(coefficients).map(|(w, c)| i32::from(*w) * c).sum()
}

/// Four weights at a time of four or eight experts.
mod quads {
    use super::Order;
    use crate::mixing::Mixture;

    /// Mixes the weights of four or eight experts.
    ///
    /// # Panics
    ///
    /// If they have no places, or there are not so many experts.
    #[inline(always)]
    pub(super) fn mix(mixture: &Mixture<'_>, channel: usize, order: Order, halves: &mut [i16]) {
        let Mixture { experts, routing } = *mixture;
        let (ratios, weights) = (experts.ratios(channel), experts.quads(channel));
        let len = experts.kernel_len();
        assert!(
            (routing.len() == 4 || routing.len() == 8)
                && ratios.len() == routing.len()
                && weights.len() == len * routing.len()
                && order.place(len - 1) < halves.len()
        );
        #[cfg(target_arch = "arm")]
        arm::mix(mixture, weights, ratios, order, halves);
        #[cfg(not(target_arch = "arm"))]
        computed(mixture, channel, order, halves);
    }

    #[cfg(not(target_arch = "arm"))]
    fn computed(mixture: &Mixture<'_>, channel: usize, order: Order, halves: &mut [i16]) {
        use super::super::instructions::smlad;
        use super::super::{pair, widen};
        let experts = mixture.experts;
        let mut coefficients = [0; 8];
        experts.coefficients(channel, mixture.routing, &mut coefficients);
        for (k, weights) in experts.quads(channel).chunks_exact(experts.count()).enumerate() {
            let mut sum = 1 << (experts.shift() - 1);
            let quads = weights.as_chunks::<4>().0.iter().zip(coefficients.as_chunks().0);
            for (bytes, &[a, b, c, d]) in quads {
                let [even, odd] = widen(*bytes, 0);
                sum = smlad(odd, pair(b, d), smlad(even, pair(a, c), sum));
            }
            halves[order.place(k)] = (sum >> experts.shift()) as i16;
        }
    }

    #[cfg(target_arch = "arm")]
    mod arm {
        #![allow(unsafe_code, reason = "loops that the compiler does not find")]

        use core::arch::asm;

        use super::Order;
        use crate::RoutingWeight;
        use crate::mixing::Mixture;

        /// What the loops read.
        #[repr(C)]
        struct Call {
            routing: *const RoutingWeight,
            ratios: *const i16,
            half: i32,
            shift: u32,
            /// Where the weights end that fill fours.
            whole_end: *const i8,
            end: *const i8,
        }

        #[inline(always)]
        pub(super) fn mix(
            mixture: &Mixture<'_>,
            weights: &[i8],
            ratios: &[i16],
            order: Order,
            halves: &mut [i16],
        ) {
            let shift = mixture.experts.shift();
            let ends = weights.as_ptr_range();
            let call = Call {
                routing: mixture.routing.as_ptr(),
                ratios: ratios.as_ptr(),
                half: 1 << (shift - 1),
                shift,
                whole_end: ends.start.wrapping_add(weights.len() / (4 * ratios.len()) * (4 * ratios.len())),
                end: ends.end,
            };
            let mix = match (order, ratios.len()) {
                (Order::Wide { .. }, 4) => wide_4,
                (Order::Wide { .. }, _) => wide_8,
                (Order::Taps { .. }, 4) => taps_4,
                (Order::Taps { .. }, _) => taps_8,
            };
            // The loops step ahead before they write.
            let before = halves[order.place(0)..].as_mut_ptr().wrapping_sub(order.place(4) - order.place(0));
            // SAFETY: the caller has checked that there are routing weights and ratios of as many experts as the loop mixes, and
            // weights of so many; that the last weight has a place in the order that the loop writes. All others come before it.
            unsafe { mix(ends.start, &call, before) };
        }

        // To r4..r7: coefficients of experts 0 and 2, and of 1 and 3, of a quad. r10 routing weights, of which a negative one is
        // made zero; r11 ratios; r8 half of what coefficients are shifted by.
        macro_rules! coefficients {
            ($first:literal, $second:literal, $even:literal, $odd:literal) => {
                concat!(
                    "ldr r3, [r10, #",
                    $first,
                    "]
                     ldr r9, [r11, #",
                    $first,
                    "]
                     usat16 r3, #15, r3
                     smlabb ",
                    $even,
                    ", r3, r9, r8
                     smlatt ",
                    $odd,
                    ", r3, r9, r8
                     ldr r3, [r10, #",
                    $second,
                    "]
                     ldr r9, [r11, #",
                    $second,
                    "]
                     usat16 r3, #15, r3
                     smlabb r12, r3, r9, r8
                     smlatt r3, r3, r9, r8
                     pkhtb ",
                    $even,
                    ", r12, ",
                    $even,
                    ", asr #16
                     pkhtb ",
                    $odd,
                    ", r3, ",
                    $odd,
                    ", asr #16
                     "
                )
            };
        }
        macro_rules! four_experts {
            (coefficients) => {
                coefficients!("0", "4", "r4", "r5")
            };
            ($place:literal) => {
                concat!(
                    "ldr r3, [r0], #4
                     sxtb16 r10, r3, ror #8
                     sxtb16 r3, r3
                     smlad r3, r3, r4, r8
                     smlad r3, r10, r5, r3
                     asr r3, r3, r9
                     strh r3, ",
                    $place,
                    "
                     "
                )
            };
        }
        macro_rules! eight_experts {
            (coefficients) => {
                concat!(coefficients!("0", "4", "r4", "r5"), coefficients!("8", "12", "r6", "r7"))
            };
            ($place:literal) => {
                concat!(
                    "ldr r3, [r0], #4
                     ldr r11, [r0], #4
                     sxtb16 r10, r3, ror #8
                     sxtb16 r3, r3
                     smlad r3, r3, r4, r8
                     sxtb16 r12, r11, ror #8
                     sxtb16 r11, r11
                     smlad r3, r10, r5, r3
                     smlad r3, r11, r6, r3
                     smlad r3, r12, r7, r3
                     asr r3, r3, r9
                     strh r3, ",
                    $place,
                    "
                     "
                )
            };
        }
        // r0 weights; r1 their end; r2 halves; r4..r7 coefficients; r8 half; r9 shift; r3, r10..r12 weights and sum; lr call.
        macro_rules! mix {
            ($name:ident, $experts:ident, [$a:literal, $b:literal, $c:literal, $d:literal]) => {
                /// # Safety
                ///
                /// The pointers of the call are those that their names say; there is a weight of all experts, and all have places
                /// from one step after `before` on.
                #[inline(never)]
                unsafe fn $name(weights: *const i8, call: &Call, before: *mut i16) {
                    // SAFETY: the caller promises that all of these can be read and written; registers that are no operands are
                    // saved and restored.
                    unsafe {
                        asm!(
                            "push {{r4-r11, lr}}",
                            "mov lr, r1",
                            "ldrd r10, r11, [lr]",
                            "mov r8, #0x8000",
                            $experts!(coefficients),
                            "ldrd r8, r9, [lr, #8]",
                            "ldr r1, [lr, #16]",
                            "cmp r0, r1",
                            "beq 3f",
                            "2:",
                            $experts!($a),
                            $experts!($b),
                            $experts!($c),
                            $experts!($d),
                            "cmp r0, r1",
                            "bne 2b",
                            "3:",
                            "ldr r1, [lr, #20]",
                            "cmp r0, r1",
                            "beq 4f",
                            $experts!($a),
                            "cmp r0, r1",
                            "beq 4f",
                            $experts!($b),
                            "cmp r0, r1",
                            "beq 4f",
                            $experts!($c),
                            "4:",
                            "pop {{r4-r11, lr}}",
                            inout("r0") weights => _,
                            inout("r1") call => _,
                            inout("r2") before => _,
                            out("r3") _,
                            out("r12") _,
                        )
                    }
                }
            };
        }
        mix!(wide_4, four_experts, ["[r2, #16]!", "[r2, #8]", "[r2, #2]", "[r2, #10]"]);
        mix!(wide_8, eight_experts, ["[r2, #16]!", "[r2, #8]", "[r2, #2]", "[r2, #10]"]);
        mix!(taps_4, four_experts, ["[r2, #32]!", "[r2, #8]", "[r2, #16]", "[r2, #24]"]);
        mix!(taps_8, eight_experts, ["[r2, #32]!", "[r2, #8]", "[r2, #16]", "[r2, #24]"]);
    }
}
