//! The inner loop of depthwise convolutions.

use core::arch::asm;

use super::super::call::Call;

macro_rules! tap {
    ($weight:literal) => {
        concat!(
            $weight,
            "
             ldmia r1!, {{r4-r7}}
             ldrsb r4, [r12, r4]
             ldrsb r5, [r12, r5]
             ldrsb r6, [r12, r6]
             ldrsb r7, [r12, r7]
             mla r8, r4, r2, r8
             mla r9, r5, r2, r9
             mla r10, r6, r2, r10
             mla r11, r7, r2, r11
             "
        )
    };
}

channels!(
    /// Multiplies numbers that lie where columns say with int8 weights: ten instructions for a weight and four pixels.
    depthwise_static,
    i8,
    tap!("ldrsb r2, [r0], #1")
);
channels!(
    /// The same with int16 weights.
    depthwise_mixed,
    i16,
    tap!("ldrsh r2, [r0], #2")
);
