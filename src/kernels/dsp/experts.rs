//! Fully connected layers of four or eight experts: four features of four experts at a time.

use super::features::{Features, GROUPS};
use crate::mixing::Mixture;
use crate::quantize::Element;
use crate::{Experts, Requantize, RoutingWeight};

/// Experts that share a word of weights.
const QUAD: usize = 4;

/// As [`cond_linear`](super::super::cond_linear); returns whether there is a loop for so many experts and for the input.
#[inline(always)]
pub(crate) fn cond_linear<X: Element, Y: Element>(
    mixture: &Mixture<'_>,
    zero_point: i32,
    requantize: &Requantize<'_>,
    input: &[X],
    output: &mut [Y],
) -> bool {
    let Some(features) = Features::of(input, zero_point) else { return false };
    if let Some(routing) = mixture.routing.as_array::<4>() {
        features.multiply_experts(mixture.experts, routing, requantize, output);
    } else if let Some(routing) = mixture.routing.as_array::<8>() {
        features.multiply_experts(mixture.experts, routing, requantize, output);
    } else {
        return false;
    }
    true
}

impl Features<'_> {
    #[inline(never)]
    fn multiply_experts<const N: usize, Y: Element>(
        self,
        experts: &Experts<'_>,
        routing: &[RoutingWeight; N],
        requantize: &Requantize<'_>,
        output: &mut [Y],
    ) {
        let whole = self.len() / 4;
        let mut groups = [[0; 2]; GROUPS];
        // Few features are made wide once, and not for every channel.
        let few = whole <= GROUPS;
        if few {
            self.widen(0, &mut groups[..whole]);
        }
        for (channel, output) in output.iter_mut().enumerate() {
            let weights = experts.quads(channel);
            let mut products = [0; N];
            for first in (0..whole).step_by(GROUPS) {
                let groups = &mut groups[..GROUPS.min(whole - first)];
                if !few {
                    self.widen(first, groups);
                }
                let weights = &weights[4 * N * first..][..4 * N * groups.len()];
                for (quad, products) in products.as_chunks_mut().0.iter_mut().enumerate() {
                    add_products::<N>(groups, &weights[QUAD * quad..], products);
                }
            }
            for k in 4 * whole..self.len() {
                for (weight, product) in weights[N * k..].iter().zip(&mut products) {
                    *product += i32::from(*weight) * self.get(k);
                }
            }
            let accumulator = experts.combine(channel, routing, &products);
            *output = requantize.apply(channel, accumulator);
        }
    }
}

/// Adds the products of features with four of `N` experts.
///
/// # Panics
///
/// If there are no features, or not as many weights of all experts from the first of these on.
#[inline(always)]
fn add_products<const N: usize>(groups: &[[i32; 2]], weights: &[i8], products: &mut [i32; QUAD]) {
    assert!((N == 4 || N == 8) && !groups.is_empty() && weights.len() + N - QUAD >= 4 * N * groups.len());
    #[cfg(target_arch = "arm")]
    arm::add_products::<N>(groups, weights, products);
    #[cfg(not(target_arch = "arm"))]
    for (group, x) in groups.iter().enumerate() {
        use super::instructions::smlad;
        use super::pair;
        for (expert, product) in products.iter_mut().enumerate() {
            let [a, b, c, d] = core::array::from_fn(|k| i32::from(weights[(4 * group + k) * N + expert]));
            *product = smlad(pair(b, d), x[1], smlad(pair(a, c), x[0], *product));
        }
    }
}

#[cfg(target_arch = "arm")]
mod arm {
    #![allow(unsafe_code, reason = "loops that need every register")]

    use core::arch::asm;

    use super::QUAD;

    #[inline(always)]
    pub(super) fn add_products<const N: usize>(
        groups: &[[i32; 2]],
        weights: &[i8],
        products: &mut [i32; QUAD],
    ) {
        let add = if N == QUAD { of_4 } else { of_8 };
        let groups = groups.as_ptr_range();
        // SAFETY: the caller has checked that there are features, and four weights of these experts for each, as far apart as all
        // experts are many.
        unsafe { add(groups.start, groups.end, weights.as_ptr(), products) };
    }

    // Two features of four experts, to be multiplied by a pair of inputs.
    macro_rules! two_features {
        ($a:literal, $b:literal, $x:literal) => {
            concat!(
                "ldr r8, ",
                $b,
                "
                 ldr r9, ",
                $a,
                "
                 pkhbt r4, r9, r8, lsl #16
                 pkhtb r8, r8, r9, asr #16
                 sxtb16 r9, r4
                 sxtb16 r4, r4, ror #8
                 smlad r10, r9, ",
                $x,
                ", r10
                 smlad r11, r4, ",
                $x,
                ", r11
                 sxtb16 r9, r8
                 sxtb16 r8, r8, ror #8
                 smlad r12, r9, ",
                $x,
                ", r12
                 smlad lr, r8, ",
                $x,
                ", lr
                 "
            )
        };
    }
    // r0 features; r1 their end; r2 weights; r3 sums; r4 r8 r9 weights; r6 r7 pairs of features; r10..r12, lr sums.
    macro_rules! add_products {
        ($name:ident, $a:literal, $b:literal, $c:literal, $d:literal) => {
            /// Adds products with four experts: 25 instructions for 16.
            ///
            /// # Safety
            ///
            /// There are groups of four features, at least one, and from `weights` on those of four experts for each feature.
            #[inline(never)]
            unsafe fn $name(
                groups: *const [i32; 2],
                end: *const [i32; 2],
                weights: *const i8,
                sums: &mut [i32; QUAD],
            ) {
                macro_rules! group {
                    () => {
                        concat!(
                            "ldrd r6, r7, [r0], #8\n",
                            two_features!($b, $d, "r7"),
                            two_features!($a, $c, "r6"),
                        )
                    };
                }
                // SAFETY: the caller promises that all of these can be read and written; registers that are no operands are
                // saved and restored.
                unsafe {
                    asm!(
                        "push {{r4-r11, lr}}",
                        "ldmia r3, {{r10-r12, lr}}",
                        "subs r4, r1, r0",
                        "lsls r4, r4, #28",
                        // Two groups at a time, entered between them if there is an odd one.
                        "bne 3f",
                        "2:",
                        group!(),
                        "3:",
                        group!(),
                        "cmp r0, r1",
                        "bne 2b",
                        "stmia r3, {{r10-r12, lr}}",
                        "pop {{r4-r11, lr}}",
                        inout("r0") groups => _,
                        inout("r1") end => _,
                        inout("r2") weights => _,
                        inout("r3") sums => _,
                        out("r12") _,
                    )
                }
            }
        };
    }
    add_products!(of_4, "[r2], #16", "[r2, #4]", "[r2, #8]", "[r2, #12]");
    add_products!(of_8, "[r2], #32", "[r2, #8]", "[r2, #16]", "[r2, #24]");
}
