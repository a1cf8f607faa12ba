//! Sums of weights.

macro_rules! sum {
    ($name:ident, $weight:ty, $lanes:literal, $load:literal, $add:literal) => {
        /// The sum of weights.
        #[cfg(target_arch = "arm")]
        #[allow(unsafe_code, reason = "a loop that the compiler does not find")]
        pub(super) fn $name(weights: &[$weight]) -> i32 {
            /// # Safety
            ///
            /// So many weights can be read.
            #[inline(never)]
            unsafe fn sum(weights: *const $weight, len: usize) -> i32 {
                let sum;
                // SAFETY: the caller promises that all of these can be read; lr, which is no operand, is saved and restored.
                unsafe {
                    core::arch::asm!(
                        "push {{r4, lr}}",
                        "mov r2, #0",
                        concat!("wlstp.", $lanes, " lr, r1, 3f"),
                        "2:",
                        concat!($load, " q0, [r0], #16"),
                        concat!($add, " r2, q0"),
                        "letp lr, 2b",
                        "3:",
                        "pop {{r4, lr}}",
                        inout("r0") weights => _,
                        inout("r1") len => _,
                        out("r2") sum,
                        out("d0") _,
                        out("d1") _,
                    )
                };
                sum
            }

            // SAFETY: the weights are a slice.
            unsafe { sum(weights.as_ptr(), weights.len()) }
        }

        /// The sum of weights.
        #[cfg(not(target_arch = "arm"))]
        pub(super) fn $name(weights: &[$weight]) -> i32 {
            weights.iter().map(|weight| i32::from(*weight)).sum()
        }
    };
}

sum!(int8, i8, "8", "vldrb.u8", "vaddva.s8");
sum!(int16, i16, "16", "vldrh.u16", "vaddva.s16");
