//! The inner loop of convolutions.

use crate::Shape;
use crate::kernels::windows::{PIXELS, Pixels, have_room};

/// Kernels of a block of channels, one after the other.
#[derive(Clone, Copy)]
pub(super) enum Weights<'a> {
    /// As they lie in flash, each a multiple of four weights.
    Narrow(&'a [i8]),
    /// As wide words of two channels: `even 0, even 1, odd 0, odd 1` for four weights of each. Of an odd number the last has
    /// no partner.
    Wide(&'a [i32]),
}

/// A block of output channels, ready to be multiplied.
pub(super) struct Block<'a> {
    pub(super) weights: Weights<'a>,
    /// One a channel; with wide weights filled up to a whole pair.
    pub(super) bias: &'a [i32],
    pub(super) multipliers: &'a [i32],
    /// The output's.
    pub(super) zero_point: i32,
    pub(super) output: Shape,
    /// The first of the channels.
    pub(super) first: usize,
}

impl Block<'_> {
    /// All channels of four pixels: `columns` is what they see. Outputs are bounded by int8 only.
    ///
    /// # Panics
    ///
    /// If lengths do not fit together.
    #[inline(never)]
    pub(super) fn multiply(&self, columns: &[i32], pixels: &Pixels, output: &mut [i8]) {
        let places = pixels.map(|pixel| self.output.place(pixel) + self.first);
        let channels = self.multipliers.len();
        let groups = columns.len() / (2 * PIXELS);
        let fits = match self.weights {
            Weights::Narrow(weights) => weights.len() == 4 * groups * channels && self.bias.len() == channels,
            Weights::Wide(weights) => {
                let pairs = channels.div_ceil(2);
                weights.len() == 4 * groups * pairs && self.bias.len() == 2 * pairs
            }
        };
        assert!(
            fits && groups > 0
                && columns.len().is_multiple_of(2 * PIXELS)
                && channels > 0
                && have_room(places, channels, output)
        );
        #[cfg(target_arch = "arm")]
        self.native(columns, places, output);
        #[cfg(not(target_arch = "arm"))]
        self.computed(columns, places, output);
    }

    #[cfg(target_arch = "arm")]
    #[allow(unsafe_code, reason = "a loop that the compiler does not find")]
    fn native(&self, columns: &[i32], places: [usize; PIXELS], output: &mut [i8]) {
        let output = output.as_mut_ptr();
        let groups = columns.len() / (2 * PIXELS);
        let (odd, skipped) = match self.weights {
            Weights::Narrow(_) => (groups % 3, groups / 3 % 2),
            Weights::Wide(_) => (0, groups.wrapping_neg() % 8),
        };
        let mut call = arm::Call {
            outputs: places.map(|place| output.wrapping_add(place)),
            columns: columns.as_ptr(),
            odd_columns_end: columns[2 * PIXELS * odd..].as_ptr(),
            columns_end: columns.as_ptr_range().end,
            bias: self.bias.as_ptr(),
            multipliers: self.multipliers.as_ptr(),
            bias_end: self.bias[..self.multipliers.len()].as_ptr_range().end,
            zero_point: self.zero_point,
            skipped,
        };
        // SAFETY: the assertion above says that there are as many kernels of the columns' length and as many multipliers as
        // biases, at least one, and that so many outputs fit from each place on. Nothing else refers to the output.
        unsafe {
            match self.weights {
                Weights::Narrow(weights) => arm::narrow(&mut call, weights.as_ptr()),
                Weights::Wide(weights) => arm::wide(&mut call, weights.as_ptr()),
            }
        }
    }

    #[cfg(not(target_arch = "arm"))]
    fn computed(&self, columns: &[i32], places: [usize; PIXELS], output: &mut [i8]) {
        use super::instructions::{smlad, smmlar};
        use super::widen;
        for (channel, (&bias, &multiplier)) in self.bias.iter().zip(self.multipliers).enumerate() {
            let mut sums = [bias; PIXELS];
            let groups = columns.as_chunks::<{ 2 * PIXELS }>().0;
            for (k, columns) in groups.iter().enumerate() {
                let [even, odd] = match self.weights {
                    Weights::Narrow(weights) => widen(weights.as_chunks().0[channel * groups.len() + k], 0),
                    Weights::Wide(weights) => {
                        let pairs = weights.as_chunks::<4>().0[channel / 2 * groups.len() + k];
                        [pairs[channel % 2], pairs[channel % 2 + 2]]
                    }
                };
                for (pixel, sum) in sums.iter_mut().enumerate() {
                    *sum = smlad(odd, columns[pixel + PIXELS], smlad(even, columns[pixel], *sum));
                }
            }
            for (place, sum) in places.into_iter().zip(sums) {
                output[place + channel] = smmlar(sum, multiplier, self.zero_point).clamp(-128, 127) as i8;
            }
        }
    }
}

#[cfg(target_arch = "arm")]
mod arm {
    #![allow(unsafe_code, reason = "loops that need every register")]

    use core::arch::asm;

    /// What the loops read, and walk along.
    #[repr(C)]
    pub(super) struct Call {
        pub(super) outputs: [*mut i8; super::PIXELS],
        pub(super) columns: *const i32,
        pub(super) odd_columns_end: *const i32,
        pub(super) columns_end: *const i32,
        pub(super) bias: *const i32,
        pub(super) multipliers: *const i32,
        pub(super) bias_end: *const i32,
        pub(super) zero_point: i32,
        /// Of what is multiplied at a time, as many parts are left out the first time.
        pub(super) skipped: usize,
    }

    /// Multiplies with kernels as they lie in flash: 37 instructions for twelve weights and four pixels.
    ///
    /// # Safety
    ///
    /// The pointers of the call are those of the slices that their names say; each output can take a byte for every bias, and
    /// there are as many multipliers, and kernels of as many words as columns have in a lane, at least one.
    #[inline(never)]
    pub(super) unsafe fn narrow(call: *mut Call, kernels: *const i8) {
        // r0 kernel; r1 columns; r2 r3 weights; r4..r9 columns; r10..r12, lr accumulators of four pixels. On the stack: the end of
        // the columns, the end of the odd columns, whether half of six groups is left out, call.
        macro_rules! weights {
            () => {
                "ldr r2, [r0], #4
                 sxtb16 r3, r2, ror #8
                 sxtb16 r2, r2
                 "
            };
        }
        macro_rules! four_pixels {
            ($weights:literal, $a:literal, $b:literal, $c:literal, $d:literal) => {
                concat!(two_pixels!($weights, "r10" $a, "r11" $b), two_pixels!($weights, "r12" $c, "lr" $d))
            };
        }
        macro_rules! two_pixels {
            ($weights:literal, $sum:literal $a:literal, $other:literal $b:literal) => {
                concat!(
                    "smlad ",
                    $sum,
                    ", ",
                    $weights,
                    ", ",
                    $a,
                    ", ",
                    $sum,
                    "
                     smlad ",
                    $other,
                    ", ",
                    $weights,
                    ", ",
                    $b,
                    ", ",
                    $other,
                    "
                     "
                )
            };
        }
        macro_rules! group {
            () => {
                concat!(
                    weights!(),
                    "ldmia r1!, {{r4-r7}}\n",
                    four_pixels!("r2", "r4", "r5", "r6", "r7"),
                    "ldmia r1!, {{r4-r7}}\n",
                    four_pixels!("r3", "r4", "r5", "r6", "r7"),
                )
            };
        }
        // Columns are loaded by as many as there are registers.
        macro_rules! three_groups {
            () => {
                concat!(
                    weights!(),
                    "ldmia r1!, {{r4-r9}}\n",
                    four_pixels!("r2", "r4", "r5", "r6", "r7"),
                    two_pixels!("r3", "r10" "r8", "r11" "r9"),
                    "ldmia r1!, {{r4-r9}}\n",
                    two_pixels!("r3", "r12" "r4", "lr" "r5"),
                    weights!(),
                    four_pixels!("r2", "r6", "r7", "r8", "r9"),
                    "ldmia r1!, {{r4-r9}}\n",
                    four_pixels!("r3", "r4", "r5", "r6", "r7"),
                    weights!(),
                    two_pixels!("r2", "r10" "r8", "r11" "r9"),
                    "ldmia r1!, {{r4-r9}}\n",
                    two_pixels!("r2", "r12" "r4", "lr" "r5"),
                    four_pixels!("r3", "r6", "r7", "r8", "r9"),
                )
            };
        }
        // SAFETY: the caller promises that all of these can be read and written; registers that are no operands are saved
        // and restored.
        unsafe {
            asm!(
                "push {{r4-r11, lr}}",
                "mov r5, r0",
                "mov r0, r1",
                "ldrd r3, r2, [r5, #20]",
                "ldr r4, [r5, #44]",
                "push {{r2, r3, r4, r5}}",
                // A channel: the accumulators start with its bias.
                "2:",
                "ldr r9, [sp, #12]",
                "ldr r1, [r9, #16]",
                "ldr r2, [r9, #28]",
                "ldr r10, [r2]",
                "mov r11, r10",
                "mov r12, r10",
                "mov lr, r10",
                "ldrd r9, r8, [sp]",
                "cmp r1, r8",
                "beq 4f",
                "3:",
                group!(),
                "cmp r1, r8",
                "bne 3b",
                "4:",
                "cmp r1, r9",
                "beq 7f",
                // Six groups at a time, entered in their midst if three would be too many.
                "ldr r4, [sp, #8]",
                "cmp r4, #0",
                "bne 6f",
                "5:",
                three_groups!(),
                "6:",
                three_groups!(),
                "ldr r4, [sp]",
                "cmp r1, r4",
                "bne 5b",
                "7:",
                // Requantised, and a step to the next channel.
                "ldr r9, [sp, #12]",
                "add r1, r9, #28",
                "ldmia r1, {{r2, r3, r4, r5}}",
                "ldr r6, [r3], #4",
                "adds r2, #4",
                "stmia r1!, {{r2, r3}}",
                "smmlar r10, r10, r6, r5",
                "smmlar r11, r11, r6, r5",
                "smmlar r12, r12, r6, r5",
                "smmlar lr, lr, r6, r5",
                "ldmia r9, {{r1, r3, r5, r6}}",
                "ssat r10, #8, r10",
                "ssat r11, #8, r11",
                "ssat r12, #8, r12",
                "ssat lr, #8, lr",
                "strb r10, [r1], #1",
                "strb r11, [r3], #1",
                "strb r12, [r5], #1",
                "strb lr, [r6], #1",
                "stmia r9, {{r1, r3, r5, r6}}",
                "cmp r2, r4",
                "bne 2b",
                "add sp, #16",
                "pop {{r4-r11, lr}}",
                inout("r0") call => _,
                inout("r1") kernels => _,
                out("r2") _,
                out("r3") _,
                out("r12") _,
            )
        }
    }

    /// Multiplies with wide kernels, two channels at a time: 22 instructions for four weights of each and four pixels.
    ///
    /// # Safety
    ///
    /// As [`narrow`], but the kernels are those of half as many pairs of channels, rounded up; and so many pairs of biases can
    /// be read.
    #[inline(never)]
    pub(super) unsafe fn wide(call: *mut Call, kernels: *const i32) {
        // r0 kernels; r1 columns; r2 r3 weights of two channels; r4 r5 columns of two pixels; r6..r9 and r10..r12, lr
        // accumulators. On the stack: the end of the columns, groups that are left out, call.
        macro_rules! half {
            () => {
                "ldmia r0!, {{r2, r3}}
                 ldmia r1!, {{r4, r5}}
                 smlad r6, r2, r4, r6
                 smlad r7, r2, r5, r7
                 smlad r10, r3, r4, r10
                 smlad r11, r3, r5, r11
                 ldmia r1!, {{r4, r5}}
                 smlad r8, r2, r4, r8
                 smlad r9, r2, r5, r9
                 smlad r12, r3, r4, r12
                 smlad lr, r3, r5, lr
                 "
            };
        }
        macro_rules! group {
            () => {
                concat!(half!(), half!())
            };
        }
        // SAFETY: the caller promises that all of these can be read and written; registers that are no operands are saved
        // and restored.
        unsafe {
            asm!(
                "push {{r4-r11, lr}}",
                "mov r4, r0",
                "mov r0, r1",
                "ldr r2, [r4, #24]",
                "ldr r3, [r4, #44]",
                "push {{r2, r3, r4}}",
                // Two channels: the accumulators start with their biases. r4 is the call.
                "2:",
                "ldr r2, [r4, #28]",
                "ldr r1, [r4, #16]",
                "ldrd r6, r10, [r2]",
                "mov r7, r6",
                "mov r8, r6",
                "mov r9, r6",
                "mov r11, r10",
                "mov r12, r10",
                "mov lr, r10",
                // Eight groups at a time; the first of them are left out that would be too many.
                "ldr r2, [sp, #4]",
                "tbh [pc, r2, lsl #1]",
                "3:",
                ".hword (20f - 3b) / 2",
                ".hword (21f - 3b) / 2",
                ".hword (22f - 3b) / 2",
                ".hword (23f - 3b) / 2",
                ".hword (24f - 3b) / 2",
                ".hword (25f - 3b) / 2",
                ".hword (26f - 3b) / 2",
                ".hword (27f - 3b) / 2",
                "20:",
                group!(),
                "21:",
                group!(),
                "22:",
                group!(),
                "23:",
                group!(),
                "24:",
                group!(),
                "25:",
                group!(),
                "26:",
                group!(),
                "27:",
                group!(),
                "ldr r4, [sp]",
                "cmp r1, r4",
                "bne 20b",
                // Requantised, and a step to the next two channels.
                "ldr r4, [sp, #8]",
                "add r1, r4, #28",
                "ldmia r1, {{r1, r2, r3, r5}}",
                "adds r1, #8",
                // Nothing from here to the branch back changes the flags.
                "cmp r1, r3",
                "bhi 7f",
                "ldr r3, [r2], #4",
                "smmlar r6, r6, r3, r5",
                "smmlar r7, r7, r3, r5",
                "smmlar r8, r8, r3, r5",
                "smmlar r9, r9, r3, r5",
                "ldr r3, [r2], #4",
                "smmlar r10, r10, r3, r5",
                "smmlar r11, r11, r3, r5",
                "smmlar r12, r12, r3, r5",
                "smmlar lr, lr, r3, r5",
                "strd r1, r2, [r4, #28]",
                "ldmia r4, {{r1, r2, r3, r5}}",
                "ssat r6, #8, r6",
                "ssat r7, #8, r7",
                "ssat r8, #8, r8",
                "ssat r9, #8, r9",
                "ssat r10, #8, r10",
                "ssat r11, #8, r11",
                "ssat r12, #8, r12",
                "ssat lr, #8, lr",
                "strb r6, [r1], #1",
                "strb r7, [r2], #1",
                "strb r8, [r3], #1",
                "strb r9, [r5], #1",
                "strb r10, [r1], #1",
                "strb r11, [r2], #1",
                "strb r12, [r3], #1",
                "strb lr, [r5], #1",
                "stmia r4, {{r1, r2, r3, r5}}",
                "bne 2b",
                "b 8f",
                // The last of an odd number.
                "7:",
                "ldr r3, [r2]",
                "smmlar r6, r6, r3, r5",
                "smmlar r7, r7, r3, r5",
                "smmlar r8, r8, r3, r5",
                "smmlar r9, r9, r3, r5",
                "ldmia r4, {{r1, r2, r3, r5}}",
                "ssat r6, #8, r6",
                "ssat r7, #8, r7",
                "ssat r8, #8, r8",
                "ssat r9, #8, r9",
                "strb r6, [r1]",
                "strb r7, [r2]",
                "strb r8, [r3]",
                "strb r9, [r5]",
                "8:",
                "add sp, #12",
                "pop {{r4-r11, lr}}",
                inout("r0") call => _,
                inout("r1") kernels => _,
                out("r2") _,
                out("r3") _,
                out("r12") _,
            )
        }
    }
}
