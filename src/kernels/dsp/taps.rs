//! The inner loop of depthwise convolutions.

use crate::kernels::Tensors;
use crate::kernels::runs::Run;

/// Kernels of a block of channels, ready to be multiplied: two words a tap of four channels.
pub(super) struct Block<'a> {
    /// The first of the channels.
    pub(super) first: usize,
    pub(super) kernels: &'a [i32],
    pub(super) bias: &'a [i32],
    pub(super) multipliers: &'a [i32],
    pub(super) input_zero_point: i32,
    /// The output's.
    pub(super) zero_point: i32,
}

impl Block<'_> {
    /// All channels of a run's pixels. Outputs are bounded by int8 only.
    ///
    /// # Panics
    ///
    /// If the run leaves the input, the output or the kernels, or lengths do not fit together.
    pub(super) fn multiply(&self, run: &Run, tensors: &mut Tensors<'_, i8, i8>) {
        let channels = self.bias.len();
        let kernel_words = self.kernels.len() / (channels / 4).max(1);
        assert!(
            channels > 0
                && channels.is_multiple_of(4)
                && self.multipliers.len() == channels
                && self.kernels.len() == kernel_words * (channels / 4)
        );
        run.check(channels, kernel_words / 2, tensors);
        #[cfg(target_arch = "arm")]
        self.native(run, kernel_words, tensors);
        #[cfg(not(target_arch = "arm"))]
        self.computed(run, kernel_words, tensors);
    }

    #[cfg(target_arch = "arm")]
    #[allow(unsafe_code, reason = "a loop that the compiler does not find")]
    fn native(&self, run: &Run, kernel_words: usize, tensors: &mut Tensors<'_, i8, i8>) {
        let (input, output) = tensors.pointers();
        let mut call = arm::Call {
            bias: self.bias.as_ptr(),
            multipliers: self.multipliers.as_ptr(),
            bias_end: self.bias.as_ptr_range().end,
            kernel: self.kernels.as_ptr().wrapping_add(2 * run.tap),
            kernel_bytes: 4 * kernel_words,
            input: input.wrapping_add(run.input),
            output: output.wrapping_add(run.output),
            zero_point: self.zero_point,
            offset: super::both(-self.input_zero_point),
            rows: run.rows,
            columns: run.columns,
            column_step: run.column_step,
            row_step: run.row_step,
            kernel_skip: 8 * (run.kernel_columns - run.columns),
            pixels: run.pixels,
            input_step: run.input_step,
            output_step: run.output_step,
        };
        // SAFETY: the assertions above say that the last tap of the last pixel lies within the input and the kernel, that the
        // last output lies within the output, and no tap and no output lies further; that there are four biases and
        // multipliers, and a kernel, for every four channels. Nothing else refers to the output but the input where they
        // overlap, and that too by its pointer only.
        unsafe { arm::multiply(&mut call) };
    }

    #[cfg(not(target_arch = "arm"))]
    fn computed(&self, run: &Run, kernel_words: usize, tensors: &mut Tensors<'_, i8, i8>) {
        use super::instructions::{smlabb, smlatt, smmlar};
        use super::{both, widen};
        let offset = both(-self.input_zero_point);
        for (quad, kernel) in self.kernels.chunks_exact(kernel_words).enumerate() {
            let channels = 4 * quad..4 * quad + 4;
            for pixel in 0..run.pixels {
                let [mut a, mut b, mut c, mut d] = *self.bias[channels.clone()].as_array().unwrap_or(&[0; 4]);
                for row in 0..run.rows {
                    for column in 0..run.columns {
                        let at = run.input
                            + pixel * run.input_step
                            + row * run.row_step
                            + column * run.column_step;
                        let [even, odd] =
                            widen(core::array::from_fn(|i| tensors.input()[at + channels.start + i]), offset);
                        let tap = 2 * (run.tap + row * run.kernel_columns + column);
                        a = smlabb(even, kernel[tap], a);
                        b = smlabb(odd, kernel[tap + 1], b);
                        c = smlatt(even, kernel[tap], c);
                        d = smlatt(odd, kernel[tap + 1], d);
                    }
                }
                let multipliers = &self.multipliers[channels.clone()];
                for (i, (sum, multiplier)) in [a, b, c, d].into_iter().zip(multipliers).enumerate() {
                    tensors.output()[run.output + pixel * run.output_step + channels.start + i] =
                        smmlar(sum, *multiplier, self.zero_point).clamp(-128, 127) as i8;
                }
            }
        }
    }
}

#[cfg(target_arch = "arm")]
mod arm {
    #![allow(unsafe_code, reason = "a loop that needs every register")]

    use core::arch::asm;

    /// What the loop reads, and walks along. Steps are in bytes.
    #[repr(C)]
    pub(super) struct Call {
        pub(super) bias: *const i32,
        pub(super) multipliers: *const i32,
        pub(super) bias_end: *const i32,
        pub(super) kernel: *const i32,
        pub(super) kernel_bytes: usize,
        pub(super) input: *const i8,
        pub(super) output: *mut i8,
        pub(super) zero_point: i32,
        pub(super) offset: i32,
        pub(super) rows: usize,
        pub(super) columns: usize,
        pub(super) column_step: usize,
        pub(super) row_step: usize,
        pub(super) kernel_skip: usize,
        pub(super) pixels: usize,
        pub(super) input_step: usize,
        pub(super) output_step: usize,
    }

    // r0 input; r1 kernel; r2 step of columns; r3 offset; r4 r5 weights; r6 r7 inputs of channels (0, 2) and (1, 3);
    // r8..r11 accumulators; r12 columns; lr rows.
    macro_rules! tap {
        ($address:literal) => {
            concat!(
                "ldr r6, ",
                $address,
                "
                 ldmia r1!, {{r4, r5}}
                 sxtab16 r7, r3, r6, ror #8
                 sxtab16 r6, r3, r6
                 smlabb r8, r6, r4, r8
                 smlabb r9, r7, r5, r9
                 smlatt r10, r6, r4, r10
                 smlatt r11, r7, r5, r11
                 "
            )
        };
    }

    /// Multiplies: eight instructions for four products where a window has three columns, eleven else.
    ///
    /// # Safety
    ///
    /// All that the call leads to can be read, and its outputs written. There is a pixel and there are four channels at
    /// least.
    #[inline(never)]
    pub(super) unsafe fn multiply(call: *mut Call) {
        // SAFETY: the caller promises that all of these can be read and written; registers that are no operands are saved
        // and restored.
        unsafe {
            asm!(
                // On the stack: pixels that are left, input and output of the pixel, call.
                "push {{r4-r11, lr}}",
                "push {{r0}}",
                "sub sp, #12",
                // Four channels.
                "2:",
                "ldr r12, [sp, #12]",
                "ldrd r0, r1, [r12, #20]",
                "ldr r4, [r12, #56]",
                "stmia sp, {{r0, r1, r4}}",
                "ldr r2, [r12, #44]",
                "ldr r3, [r12, #32]",
                // A pixel.
                "3:",
                "ldr r1, [r12, #0]",
                "ldmia r1, {{r8-r11}}",
                "ldr r1, [r12, #12]",
                "ldrd lr, r4, [r12, #36]", // rows, columns
                "cmp r4, #0",
                "beq 9f",
                "cmp lr, #0",
                "beq 9f",
                "cmp r4, #3",
                "bne 6f",
                // Three columns.
                "4:",
                tap!("[r0]"),
                tap!("[r0, r2]"),
                tap!("[r0, r2, lsl #1]"),
                "subs lr, #1",
                "beq 9f",
                "ldrd r4, r5, [r12, #48]", // row step, kernel skip
                "add r0, r4",
                "add r1, r5",
                "b 4b",
                // Any number of columns.
                "6:",
                "ldr r12, [sp, #12]",
                "ldr r12, [r12, #40]",
                "7:",
                tap!("[r0]"),
                "add r0, r2",
                "subs r12, #1",
                "bne 7b",
                "ldr r12, [sp, #12]",
                "subs lr, #1",
                "beq 9f",
                "ldr r4, [r12, #40]",      // columns
                "ldrd r5, r6, [r12, #48]", // row step, kernel skip
                "add r1, r6",
                "mls r0, r4, r2, r0",
                "add r0, r5",
                "b 6b",
                // Requantised, and a step to the next pixel.
                "9:",
                "ldr r1, [r12, #4]",
                "ldmia r1, {{r4-r7}}",
                "ldr r1, [r12, #28]",
                "smmlar r8, r8, r4, r1",
                "smmlar r9, r9, r5, r1",
                "smmlar r10, r10, r6, r1",
                "smmlar r11, r11, r7, r1",
                "ldmia sp, {{r0, r1, r4}}",
                "ssat r8, #8, r8",
                "ssat r9, #8, r9",
                "ssat r10, #8, r10",
                "ssat r11, #8, r11",
                "strb r8, [r1]",
                "strb r9, [r1, #1]",
                "strb r10, [r1, #2]",
                "strb r11, [r1, #3]",
                "ldrd r5, r6, [r12, #60]", // input step, output step
                "add r0, r5",
                "add r1, r6",
                "subs r4, #1",
                "stmia sp, {{r0, r1, r4}}",
                "bne 3b",
                // A step to the next four channels.
                "ldmia r12, {{r0-r4}}", // bias, multipliers, end of biases, kernel, bytes of a kernel
                "adds r0, #16",
                "adds r1, #16",
                "add r3, r4",
                "ldrd r5, r6, [r12, #20]", // input, output
                "adds r5, #4",
                "adds r6, #4",
                "stmia r12, {{r0-r6}}",
                "cmp r0, r2",
                "bne 2b",
                "add sp, #16",
                "pop {{r4-r11, lr}}",
                inout("r0") call => _,
                out("r1") _,
                out("r2") _,
                out("r3") _,
                out("r12") _,
            )
        }
    }
}
