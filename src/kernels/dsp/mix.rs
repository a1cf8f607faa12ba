//! Mixing: four experts a word, two multiply-accumulates an instruction.

use core::ops::Range;

use super::order::Order;
use crate::MAX_EXPERTS;
use crate::mixing::Mixture;

/// Mixes the kernels of some channels.
///
/// # Panics
///
/// If a weight has no place.
#[inline(never)]
pub(super) fn mix(mixture: &Mixture<'_>, channels: Range<usize>, order: Order, words: &mut [i32]) {
    let len = mixture.experts.kernel_len();
    if let Order::Wide { words: pair } = order
        && !len.is_multiple_of(4)
    {
        words.chunks_exact_mut(pair).for_each(|pair| pair[len / 4 * 4..].fill(0));
    }
    let halves: &mut [i16] = bytemuck::must_cast_slice_mut(words);
    // The usual numbers of experts have loops of their own.
    match mixture.experts.count() {
        4 | 8 => quads::mix(mixture, channels, order, halves),
        _ => one_by_one(mixture, channels, order, halves),
    }
}

/// Mixes weights one by one.
#[inline(never)]
fn one_by_one(mixture: &Mixture<'_>, channels: Range<usize>, order: Order, halves: &mut [i16]) {
    let experts = mixture.experts;
    let mut coefficients = [0; MAX_EXPERTS];
    for (i, channel) in channels.enumerate() {
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
            halves[order.place(i, k)] = (sum >> experts.shift()) as i16;
        }
    }
}

fn dot(weights: &[i8; 4], coefficients: &[i32; 4]) -> i32 {
    weights.iter().zip(coefficients).map(|(w, c)| i32::from(*w) * c).sum()
}

/// Four weights at a time of four or eight experts.
mod quads {
    use core::ops::Range;

    use super::Order;
    use crate::mixing::Mixture;

    /// Mixes the weights of four or eight experts.
    ///
    /// # Panics
    ///
    /// If they have no places, or there are not so many experts.
    #[inline(always)]
    pub(super) fn mix(mixture: &Mixture<'_>, channels: Range<usize>, order: Order, halves: &mut [i16]) {
        let Mixture { experts, routing } = *mixture;
        let (ratios, weights) = (experts.ratios(channels.clone()), experts.quads_of(channels.clone()));
        let (len, count) = (experts.kernel_len(), channels.len());
        assert!(
            (routing.len() == 4 || routing.len() == 8)
                && count > 0
                && ratios.len() == count * routing.len()
                && weights.len() == len * ratios.len()
        );
        // The last of two channels, or of four, goes furthest.
        let (together, words) = match order {
            Order::Wide { words } => (2, words),
            Order::Taps { words } => (4, words),
        };
        assert!(
            order.place(together - 1, len - 1) < 2 * words
                && halves.len() >= count.div_ceil(together) * 2 * words
        );
        #[cfg(target_arch = "arm")]
        arm::mix(mixture, weights, ratios, order, halves);
        #[cfg(not(target_arch = "arm"))]
        computed(mixture, channels, order, halves);
    }

    #[cfg(not(target_arch = "arm"))]
    fn computed(mixture: &Mixture<'_>, channels: Range<usize>, order: Order, halves: &mut [i16]) {
        use super::super::instructions::smlad;
        use super::super::{pair, widen};
        let experts = mixture.experts;
        let mut coefficients = [0; 8];
        for (i, channel) in channels.enumerate() {
            experts.coefficients(channel, mixture.routing, &mut coefficients);
            for (k, weights) in experts.quads(channel).chunks_exact(experts.count()).enumerate() {
                let mut sum = 1 << (experts.shift() - 1);
                let quads = weights.as_chunks::<4>().0.iter().zip(coefficients.as_chunks().0);
                for (bytes, &[a, b, c, d]) in quads {
                    let [even, odd] = widen(*bytes, 0);
                    sum = smlad(odd, pair(b, d), smlad(even, pair(a, c), sum));
                }
                halves[order.place(i, k)] = (sum >> experts.shift()) as i16;
            }
        }
    }

    #[cfg(target_arch = "arm")]
    mod arm {
        #![allow(unsafe_code, reason = "loops that the compiler does not find")]

        use core::arch::asm;

        use super::Order;
        use crate::RoutingWeight;
        use crate::mixing::Mixture;

        /// What the loops read, and walk along. Steps are in bytes.
        #[repr(C)]
        struct Call {
            routing: *const RoutingWeight,
            ratios: *const i16,
            ratios_end: *const i16,
            /// Of the weights of a channel that fill fours.
            whole: usize,
            /// Of all weights of a channel.
            all: usize,
            half: i32,
            shift: u32,
            /// One step of four weights before the channel's first: the loops step ahead before they write.
            before: *mut i16,
            /// To the next four channels.
            steps: [isize; 4],
        }

        #[inline(always)]
        pub(super) fn mix(
            mixture: &Mixture<'_>,
            weights: &[i8],
            ratios: &[i16],
            order: Order,
            halves: &mut [i16],
        ) {
            let Mixture { experts, routing } = *mixture;
            let (shift, len) = (experts.shift(), experts.kernel_len());
            let place = |channel, k| 2 * order.place(channel, k) as isize;
            let ends = ratios.as_ptr_range();
            let mut call = Call {
                routing: routing.as_ptr(),
                ratios: ends.start,
                ratios_end: ends.end,
                whole: len / 4 * 4 * routing.len(),
                all: len * routing.len(),
                half: 1 << (shift - 1),
                shift,
                before: halves.as_mut_ptr().wrapping_byte_offset(place(0, 0) - place(0, 4)),
                steps: core::array::from_fn(|channel| place(channel + 1, 0) - place(channel, 0)),
            };
            let mix = match (order, routing.len()) {
                (Order::Wide { .. }, 4) => wide_4,
                (Order::Wide { .. }, _) => wide_8,
                (Order::Taps { .. }, 4) => taps_4,
                (Order::Taps { .. }, _) => taps_8,
            };
            // SAFETY: the caller has checked that there are routing weights of as many experts as the loop mixes, ratios of one
            // channel or more, and weights of so many; that the last weights of channels have places in the order that the loop
            // writes. All others come before them.
            unsafe { mix(weights.as_ptr(), &mut call) };
        }

        // To r4..r7: coefficients of experts 0 and 2, and of 1 and 3, of a quad. r10 routing weights, of which a negative one is
        // made zero; r11 ratios, of which those of the next channel come then; r8 half of what coefficients are shifted by.
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
                concat!(coefficients!("0", "4", "r4", "r5"), "add r11, #8\n")
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
                concat!(
                    coefficients!("0", "4", "r4", "r5"),
                    coefficients!("8", "12", "r6", "r7"),
                    "add r11, #16\n"
                )
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
                /// The pointers of the call are those that their names say; there are ratios of one channel or more, and a weight of
                /// all experts or more for each, and all have places.
                #[inline(never)]
                unsafe fn $name(weights: *const i8, call: &mut Call) {
                    // SAFETY: the caller promises that all of these can be read and written; registers that are no operands are
                    // saved and restored.
                    unsafe {
                        asm!(
                            "push {{r4-r11, lr}}",
                            "mov lr, r1",
                            // A channel.
                            "2:",
                            "ldrd r10, r11, [lr]",
                            "mov r8, #0x8000",
                            $experts!(coefficients),
                            "str r11, [lr, #4]",
                            "ldrd r1, r10, [lr, #12]",
                            "add r10, r0",
                            "add r1, r0",
                            "str r10, [sp, #-4]!",
                            "ldr r2, [lr, #28]",
                            "ldrd r3, r10, [lr, #32]",
                            "ldrd r11, r12, [lr, #40]",
                            "strd r10, r11, [lr, #32]",
                            "strd r12, r3, [lr, #40]",
                            "add r3, r2",
                            "str r3, [lr, #28]",
                            "ldrd r8, r9, [lr, #20]",
                            "cmp r0, r1",
                            "beq 4f",
                            "3:",
                            $experts!($a),
                            $experts!($b),
                            $experts!($c),
                            $experts!($d),
                            "cmp r0, r1",
                            "bne 3b",
                            "4:",
                            "ldr r1, [sp], #4",
                            "cmp r0, r1",
                            "beq 5f",
                            $experts!($a),
                            "cmp r0, r1",
                            "beq 5f",
                            $experts!($b),
                            "cmp r0, r1",
                            "beq 5f",
                            $experts!($c),
                            "5:",
                            "ldrd r3, r10, [lr, #4]",
                            "cmp r3, r10",
                            "bne 2b",
                            "pop {{r4-r11, lr}}",
                            inout("r0") weights => _,
                            inout("r1") call => _,
                            out("r2") _,
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
