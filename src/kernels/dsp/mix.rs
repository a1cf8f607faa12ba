//! Mixing: four experts a word, two multiply-accumulates an instruction.

use super::order::Order;
use super::pair;
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
        4 => fours::mix::<1>(mixture, channel, order, halves),
        8 => fours::mix::<2>(mixture, channel, order, halves),
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
mod fours {
    use super::{Order, pair};
    use crate::mixing::Mixture;
    use crate::quantize::round_shift;

    /// Coefficients of experts 0 and 2, and of 1 and 3, of each four.
    type Coefficients = [[i32; 2]; 2];

    /// Mixes the weights of one or two quads of experts.
    ///
    /// # Panics
    ///
    /// If they have no places.
    pub(super) fn mix<const QUADS: usize>(
        mixture: &Mixture<'_>,
        channel: usize,
        order: Order,
        halves: &mut [i16],
    ) {
        let experts = mixture.experts;
        let (len, shift) = (experts.kernel_len(), experts.shift());
        let mut each = [[0; 4]; 2];
        experts.coefficients(channel, mixture.routing, each.as_flattened_mut());
        let coefficients = each.map(|[a, b, c, d]| [pair(a, c), pair(b, d)]);
        let (fours, rest) = experts.quads(channel).split_at(len / 4 * 4 * 4 * QUADS);
        assert!((QUADS == 1 || QUADS == 2) && order.place(len - 1) < halves.len());
        if !fours.is_empty() {
            #[cfg(target_arch = "arm")]
            arm::mix(fours, QUADS, coefficients, shift, order, halves);
            #[cfg(not(target_arch = "arm"))]
            computed(fours, QUADS, coefficients, shift, order, halves);
        }
        for (k, weights) in (len / 4 * 4..).zip(rest.chunks_exact(4 * QUADS)) {
            let products = weights.iter().zip(each.as_flattened()).map(|(w, c)| i32::from(*w) * c);
            halves[order.place(k)] = round_shift(products.sum(), shift) as i16;
        }
    }

    #[cfg(not(target_arch = "arm"))]
    fn computed(
        weights: &[i8],
        quads: usize,
        coefficients: Coefficients,
        shift: u32,
        order: Order,
        halves: &mut [i16],
    ) {
        use super::super::instructions::smlad;
        use super::super::widen;
        for (k, weights) in weights.chunks_exact(4 * quads).enumerate() {
            let mut sum = 1 << (shift - 1);
            for (bytes, [even, odd]) in weights.as_chunks::<4>().0.iter().zip(coefficients) {
                let [a, b] = widen(*bytes, 0);
                sum = smlad(b, odd, smlad(a, even, sum));
            }
            halves[order.place(k)] = (sum >> shift) as i16;
        }
    }

    #[cfg(target_arch = "arm")]
    mod arm {
        #![allow(unsafe_code, reason = "loops that the compiler does not find")]

        use core::arch::asm;

        use super::{Coefficients, Order};

        /// What the loops read.
        #[repr(C)]
        struct Call {
            coefficients: Coefficients,
            half: i32,
            shift: u32,
        }

        pub(super) fn mix(
            weights: &[i8],
            quads: usize,
            coefficients: Coefficients,
            shift: u32,
            order: Order,
            halves: &mut [i16],
        ) {
            let call = Call { coefficients, half: 1 << (shift - 1), shift };
            let mix = match (order, quads) {
                (Order::Wide { .. }, 1) => wide_4,
                (Order::Wide { .. }, _) => wide_8,
                (Order::Taps { .. }, 1) => taps_4,
                (Order::Taps { .. }, _) => taps_8,
            };
            let weights = weights.as_ptr_range();
            // The loops step ahead before they write.
            let before = halves[order.place(0)..].as_mut_ptr().wrapping_sub(order.place(4) - order.place(0));
            // SAFETY: the caller has checked that there are whole fours of weights, at least one, of as many experts as the
            // loop reads, and that the last has a place in the order that the loop writes; all others come before it.
            unsafe { mix(weights.start, weights.end, before, &call) };
        }

        // r0 weights; r1 their end; r2 halves; r4..r7 coefficients; r8 half; r9 shift; r3, r10..r12 weights and sum.
        macro_rules! four_experts {
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
        macro_rules! mix {
            ($name:ident, $experts:ident, [$a:literal, $b:literal, $c:literal, $d:literal]) => {
                /// # Safety
                ///
                /// There are four weights of the experts from `weights` to `end`, and then perhaps more fours, and all have
                /// places from one step after `before` on.
                #[inline(never)]
                unsafe fn $name(
                    weights: *const i8,
                    end: *const i8,
                    before: *mut i16,
                    call: &Call,
                ) {
                    // SAFETY: the caller promises that all of these can be read and written; registers that are no operands are saved
                    // and restored.
                    unsafe {
                        asm!(
                            "push {{r4-r11, lr}}",
                            "ldmia r3, {{r4-r9}}",
                            "2:",
                            $experts!($a),
                            $experts!($b),
                            $experts!($c),
                            $experts!($d),
                            "cmp r0, r1",
                            "bne 2b",
                            "pop {{r4-r11, lr}}",
                            inout("r0") weights => _,
                            inout("r1") end => _,
                            inout("r2") before => _,
                            inout("r3") call => _,
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
