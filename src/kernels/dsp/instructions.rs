//! The instructions of the DSP extension, one function each. Elsewhere than on an Arm core they are computed, and so are the
//! loops that are written in instructions, so that all that leads to them is tested on the host.

#[cfg(target_arch = "arm")]
mod native {
    #![allow(unsafe_code, reason = "instructions that Rust has no name for")]

    use core::arch::asm;

    macro_rules! binary {
        ($(#[$doc:meta])* $name:ident, $text:literal) => {
            $(#[$doc])*
            #[inline(always)]
            pub(in super::super) fn $name(a: i32, b: i32) -> i32 {
                let result;
                // SAFETY: the instruction reads and writes the registers named and nothing else.
                unsafe { asm!($text, out(reg) result, in(reg) a, in(reg) b, options(pure, nomem, nostack, preserves_flags)) };
                result
            }
        };
    }

    binary!(sxtab16, "sxtab16 {}, {}, {}");
    binary!(sxtab16_ror8, "sxtab16 {}, {}, {}, ror #8");
}

#[cfg(not(target_arch = "arm"))]
mod computed {
    use super::super::pair;

    fn low(x: i32) -> i32 {
        i32::from(x as i16)
    }

    fn high(x: i32) -> i32 {
        x >> 16
    }

    pub(in super::super) fn sxtab16(a: i32, b: i32) -> i32 {
        pair(low(a) + i32::from(b as i8), high(a) + i32::from((b >> 16) as i8))
    }

    pub(in super::super) fn sxtab16_ror8(a: i32, b: i32) -> i32 {
        sxtab16(a, b.rotate_right(8))
    }

    pub(in super::super) fn smlad(a: i32, b: i32, sum: i32) -> i32 {
        smlatt(a, b, smlabb(a, b, sum))
    }

    pub(in super::super) fn smlabb(a: i32, b: i32, sum: i32) -> i32 {
        sum.wrapping_add(low(a) * low(b))
    }

    pub(in super::super) fn smlatt(a: i32, b: i32, sum: i32) -> i32 {
        sum.wrapping_add(high(a) * high(b))
    }

    pub(in super::super) fn smmlar(a: i32, b: i32, sum: i32) -> i32 {
        (((i64::from(sum) << 32) + i64::from(a) * i64::from(b) + (1 << 31)) >> 32) as i32
    }
}

#[cfg(not(target_arch = "arm"))]
pub(super) use computed::*;
#[cfg(target_arch = "arm")]
pub(super) use native::*;
