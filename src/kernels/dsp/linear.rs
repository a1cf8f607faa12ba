//! Fully connected layers: four features of up to five rows at a time.

use super::features::Features;
#[cfg(not(target_arch = "arm"))]
use super::instructions::{smlad, smmlar};
#[cfg(not(target_arch = "arm"))]
use super::widen;
use crate::quantize::Element;
use crate::{Requantize, StaticKernels};

/// Multiplies a vector by a matrix; returns whether there is a loop for the input: there is none for int16 with a zero point.
/// Outputs are bounded by their type only.
///
/// # Panics
///
/// If lengths do not fit together.
#[inline(always)]
pub(crate) fn linear<X: Element, Y: Element>(
    kernels: &StaticKernels<'_>,
    zero_point: i32,
    requantize: &Requantize<'_>,
    input: &[X],
    output: &mut [Y],
) -> bool {
    let Some(input) = Features::of(input, zero_point) else { return false };
    input.multiply(kernels, requantize, output);
    true
}

impl Features<'_> {
    #[inline(always)]
    fn multiply<Y: Element>(
        self,
        kernels: &StaticKernels<'_>,
        requantize: &Requantize<'_>,
        output: &mut [Y],
    ) {
        assert!(
            self.len() > 0
                && kernels.weights().len() == self.len() * output.len()
                && kernels.bias().len() == output.len()
                && requantize.multipliers().len() == output.len()
        );
        #[cfg(target_arch = "arm")]
        self.native(kernels, requantize, output);
        #[cfg(not(target_arch = "arm"))]
        self.computed(kernels, requantize, output);
    }

    #[cfg(target_arch = "arm")]
    #[inline(always)]
    #[allow(unsafe_code, reason = "loops that the compiler does not find")]
    fn native<Y: Element>(self, kernels: &StaticKernels<'_>, requantize: &Requantize<'_>, output: &mut [Y]) {
        let groups = self.len() / 4;
        let (input, bytes, offset) = self.place();
        let loops = match self {
            Self::Narrow { .. } => arm::NARROW,
            Self::Wide(_) => arm::WIDE,
        };
        let mut call = arm::Call {
            output: output.as_mut_ptr().cast(),
            output_end: core::ptr::null(),
            input,
            odd_end: input.wrapping_add(groups % 2 * 4 * bytes),
            whole_end: input.wrapping_add(groups * 4 * bytes),
            row: kernels.weights().as_ptr(),
            stride: self.len(),
            offset,
            bias: kernels.bias().as_ptr(),
            multipliers: requantize.multipliers().as_ptr(),
            zero_point: requantize.zero_point(),
            end: input.wrapping_add(self.len() * bytes),
            is_wide: Y::MAX > 127,
        };
        // SAFETY: the caller has checked that there are features, and a row of as many weights, a bias and a multiplier for each
        // output. Nothing else refers to the outputs.
        unsafe { arm::run(&mut call, loops, output.len()) };
    }

    #[cfg(not(target_arch = "arm"))]
    fn computed<Y: Element>(
        self,
        kernels: &StaticKernels<'_>,
        requantize: &Requantize<'_>,
        output: &mut [Y],
    ) {
        let rows = kernels.weights().chunks_exact(self.len()).zip(kernels.bias());
        for ((output, multiplier), (row, bias)) in output.iter_mut().zip(requantize.multipliers()).zip(rows) {
            let mut sum = *bias;
            let (whole, rest) = row.as_chunks::<4>();
            for (k, weights) in whole.iter().enumerate() {
                let (x, weights) = (self.four(k), widen(*weights, 0));
                sum = smlad(weights[1], x[1], smlad(weights[0], x[0], sum));
            }
            for (k, weight) in (4 * whole.len()..).zip(rest) {
                sum += i32::from(*weight) * self.get(k);
            }
            *output = Y::saturate(smmlar(sum, *multiplier, requantize.zero_point()));
        }
    }
}

#[cfg(target_arch = "arm")]
mod arm {
    #![allow(unsafe_code, reason = "loops that need every register")]

    use core::arch::asm;

    use super::super::features::{narrow, wide};

    /// What the loops read, and walk along. Steps are in bytes.
    #[repr(C)]
    pub(super) struct Call {
        pub(super) output: *mut i8,
        /// Where the outputs end that one loop is for.
        pub(super) output_end: *const i8,
        pub(super) input: *const i8,
        /// Where groups of four features end that fill no two.
        pub(super) odd_end: *const i8,
        /// Where all groups of four end.
        pub(super) whole_end: *const i8,
        pub(super) row: *const i8,
        pub(super) stride: usize,
        pub(super) offset: i32,
        pub(super) bias: *const i32,
        pub(super) multipliers: *const i32,
        /// The output's.
        pub(super) zero_point: i32,
        pub(super) end: *const i8,
        /// Whether outputs are int16.
        pub(super) is_wide: bool,
    }

    /// For five, four, two rows and one row at a time.
    type Loops = [unsafe fn(*mut Call); 4];
    pub(super) const NARROW: Loops = [narrow_5, narrow_4, narrow_2, narrow_1];
    pub(super) const WIDE: Loops = [wide_5, wide_4, wide_2, wide_1];

    /// Runs one loop after the other, until all outputs are there.
    ///
    /// # Safety
    ///
    /// The pointers of the call are those that their names say; of `outputs` rows, `stride` bytes apart, as many bytes can be read
    /// as there are features, at least one, and there are as many biases and multipliers.
    #[inline(never)]
    pub(super) unsafe fn run(call: &mut Call, [five, four, two, one]: Loops, outputs: usize) {
        let mut run = |rows: unsafe fn(*mut Call), count: usize| {
            if count > 0 {
                call.output_end = call.output.wrapping_add(count << u32::from(call.is_wide));
                // SAFETY: the caller promises that all of these can be read and written; no loop takes more rows at a time than
                // it is run for.
                unsafe { rows(call) };
            }
        };
        // Fives in place of fours take in rows that fill no four.
        let (fours, left) = (outputs / 4, outputs % 4);
        let fives = fours.min(left);
        let left = left - fives;
        run(five, 5 * fives);
        run(four, 4 * (fours - fives));
        run(two, left & 2);
        run(one, left & 1);
    }

    macro_rules! four_weights {
        ($row:literal, $sum:literal) => {
            concat!(
                "ldr r8, ",
                $row,
                "
                 sxtb16 r9, r8
                 sxtb16 r8, r8, ror #8
                 smlad ",
                $sum,
                ", r9, r6, ",
                $sum,
                "
                 smlad ",
                $sum,
                ", r8, r7, ",
                $sum,
                "
                 "
            )
        };
    }
    macro_rules! one_weight {
        ($row:literal, $sum:literal) => {
            concat!("ldrsb r8, ", $row, "\n mla ", $sum, ", r8, r6, ", $sum, "\n")
        };
    }
    // Registers: r2 the first row, whose address steps on, so that it comes last; r3 and r4 one and three strides; r5 the end of
    // whole groups but with five rows, where it is the first sum; r8 the call when there is nothing else in it. Biases are loaded
    // from r9, multipliers from r6; r6 is to be the row after these. On the stack: call, the end of whole groups.
    macro_rules! multiply {
        (
            $name:ident, $features:ident, $biases:literal, $multipliers:literal, $next:literal, $end:literal, $at_end:literal,
            $first:literal $by:literal $(, $row:literal $sum:literal $factor:literal)*
        ) => {
            /// Multiplies some rows at a time.
            ///
            /// # Safety
            ///
            /// As [`run`], for outputs up to `output_end`, a multiple of so many rows and at least one.
            #[inline(never)]
            pub(super) unsafe fn $name(call: *mut Call) {
                macro_rules! group {
                    () => {
                        concat!(
                            $features!(four),
                            $(four_weights!($row, $sum),)*
                            four_weights!("[r2], #4", $first),
                        )
                    };
                }
                // SAFETY: the caller promises that all of these can be read and written; registers that are no operands are
                // saved and restored.
                unsafe {
                    asm!(
                        "push {{r4-r11, lr}}",
                        "ldr r1, [r0, #16]",
                        "push {{r0, r1}}",
                        "mov r8, r0",
                        "2:",
                        "ldrd r1, r9, [r8, #28]",
                        $end,
                        $biases,
                        "ldrd r2, r3, [r8, #20]",
                        "str r9, [r8, #32]",
                        "add r4, r3, r3, lsl #1",
                        $next,
                        "str r6, [r8, #20]",
                        "ldrd r0, r9, [r8, #8]",
                        "cmp r0, r9",
                        "bne 4f",
                        $at_end,
                        "beq 5f",
                        // Two groups at a time, entered between them if there is an odd one.
                        "3:",
                        group!(),
                        "4:",
                        group!(),
                        $at_end,
                        "bne 3b",
                        "5:",
                        "ldr r8, [sp]",
                        "ldr r9, [r8, #44]",
                        "cmp r0, r9",
                        "beq 7f",
                        "6:",
                        $features!(one),
                        $(one_weight!($row, $sum),)*
                        one_weight!("[r2], #1", $first),
                        "cmp r0, r9",
                        "bne 6b",
                        "ldr r8, [sp]",
                        "7:",
                        "ldrd r6, r7, [r8, #36]",
                        $multipliers,
                        "str r6, [r8, #36]",
                        concat!("smmlar ", $first, ", ", $first, ", ", $by, ", r7"),
                        $(concat!("smmlar ", $sum, ", ", $sum, ", ", $factor, ", r7"),)*
                        "ldrd r0, r1, [r8]",
                        "ldrb r2, [r8, #48]",
                        "cbnz r2, 8f",
                        concat!("ssat ", $first, ", #8, ", $first),
                        $(concat!("ssat ", $sum, ", #8, ", $sum),)*
                        concat!("strb ", $first, ", [r0], #1"),
                        $(concat!("strb ", $sum, ", [r0], #1"),)*
                        "b 9f",
                        "8:",
                        concat!("ssat ", $first, ", #16, ", $first),
                        $(concat!("ssat ", $sum, ", #16, ", $sum),)*
                        concat!("strh ", $first, ", [r0], #2"),
                        $(concat!("strh ", $sum, ", [r0], #2"),)*
                        "9:",
                        "str r0, [r8]",
                        "cmp r0, r1",
                        "bne 2b",
                        "add sp, #8",
                        "pop {{r4-r11, lr}}",
                        inout("r0") call => _,
                        out("r1") _,
                        out("r2") _,
                        out("r3") _,
                        out("r12") _,
                    )
                }
            }
        };
    }
    multiply!(narrow_5, narrow, "ldmia r9!, {{r5, r10-r12, lr}}", "ldmia r6!, {{r0-r4}}", "add r6, r2, r3, lsl #2\n add r6, r3", "", "ldr r8, [sp, #4]\n cmp r0, r8", "r5" "r0", "[r2, r3]" "r10" "r1", "[r2, r3, lsl #1]" "r11" "r2", "[r2, r4]" "r12" "r3", "[r2, r3, lsl #2]" "lr" "r4");
    multiply!(narrow_4, narrow, "ldmia r9!, {{r10-r12, lr}}", "ldmia r6!, {{r0-r3}}", "add r6, r2, r3, lsl #2", "ldr r5, [r8, #16]", "cmp r0, r5", "r10" "r0", "[r2, r3]" "r11" "r1", "[r2, r3, lsl #1]" "r12" "r2", "[r2, r4]" "lr" "r3");
    multiply!(narrow_2, narrow, "ldmia r9!, {{r10, r11}}", "ldmia r6!, {{r0, r1}}", "add r6, r2, r3, lsl #1", "ldr r5, [r8, #16]", "cmp r0, r5", "r10" "r0", "[r2, r3]" "r11" "r1");
    multiply!(narrow_1, narrow, "ldr r10, [r9], #4", "ldr r0, [r6], #4", "add r6, r2, r3", "ldr r5, [r8, #16]", "cmp r0, r5", "r10" "r0");
    multiply!(wide_5, wide, "ldmia r9!, {{r5, r10-r12, lr}}", "ldmia r6!, {{r0-r4}}", "add r6, r2, r3, lsl #2\n add r6, r3", "", "ldr r8, [sp, #4]\n cmp r0, r8", "r5" "r0", "[r2, r3]" "r10" "r1", "[r2, r3, lsl #1]" "r11" "r2", "[r2, r4]" "r12" "r3", "[r2, r3, lsl #2]" "lr" "r4");
    multiply!(wide_4, wide, "ldmia r9!, {{r10-r12, lr}}", "ldmia r6!, {{r0-r3}}", "add r6, r2, r3, lsl #2", "ldr r5, [r8, #16]", "cmp r0, r5", "r10" "r0", "[r2, r3]" "r11" "r1", "[r2, r3, lsl #1]" "r12" "r2", "[r2, r4]" "lr" "r3");
    multiply!(wide_2, wide, "ldmia r9!, {{r10, r11}}", "ldmia r6!, {{r0, r1}}", "add r6, r2, r3, lsl #1", "ldr r5, [r8, #16]", "cmp r0, r5", "r10" "r0", "[r2, r3]" "r11" "r1");
    multiply!(wide_1, wide, "ldr r10, [r9], #4", "ldr r0, [r6], #4", "add r6, r2, r3", "ldr r5, [r8, #16]", "cmp r0, r5", "r10" "r0");
}
