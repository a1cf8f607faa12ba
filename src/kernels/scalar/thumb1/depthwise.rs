//! The inner loop of depthwise convolutions.

use core::arch::asm;

use super::super::call::Call;

macro_rules! tap {
    ($load:literal, $step:literal) => {
        concat!(
            "movs r3, #0
             ",
            $load,
            " r3, [r0, r3]
             adds r0, #",
            $step,
            "
             ldmia r1!, {{r4-r7}}
             ldrsb r4, [r2, r4]
             ldrsb r5, [r2, r5]
             ldrsb r6, [r2, r6]
             ldrsb r7, [r2, r7]
             muls r4, r3, r4
             muls r5, r3, r5
             muls r6, r3, r6
             muls r7, r3, r7
             add r8, r4
             add r9, r5
             add r10, r6
             add r11, r7
             "
        )
    };
}

channels!(
    /// Multiplies numbers that lie where columns say with int8 weights: sixteen instructions for a weight and four pixels.
    depthwise_static,
    i8,
    tap!("ldrsb", "1")
);
channels!(
    /// The same with int16 weights.
    depthwise_mixed,
    i16,
    tap!("ldrsh", "2")
);
