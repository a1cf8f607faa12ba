//! The inner loop of convolutions: two channels of four pixels at a time.

use super::VECTOR;
use super::sum;
use crate::kernels::windows::{PIXELS, have_room};
use crate::quantize::Element;

/// A weight that vectors are multiplied with.
pub(crate) trait Weight: Element {
    /// The sum of weights.
    fn sum(weights: &[Self]) -> i32;

    /// The loop for kernels of such weights.
    #[cfg(target_arch = "arm")]
    const MULTIPLY: unsafe fn(&mut arm::Call, *const Self);
}

impl Weight for i8 {
    fn sum(weights: &[Self]) -> i32 {
        sum::int8(weights)
    }

    #[cfg(target_arch = "arm")]
    const MULTIPLY: unsafe fn(&mut arm::Call, *const Self) = arm::int8;
}

impl Weight for i16 {
    fn sum(weights: &[Self]) -> i32 {
        sum::int16(weights)
    }

    #[cfg(target_arch = "arm")]
    const MULTIPLY: unsafe fn(&mut arm::Call, *const Self) = arm::int16;
}

/// A block of output channels, ready to be multiplied.
pub(super) struct Block<'a, W> {
    /// Kernels one after the other.
    pub(super) weights: &'a [W],
    /// One a channel, the input's zero point folded in; an even number.
    pub(super) bias: &'a [i32],
    pub(super) multipliers: &'a [i32],
    /// The output's.
    pub(super) zero_point: i32,
    pub(super) bounds: (i32, i32),
}

impl<W: Weight> Block<'_, W> {
    /// All channels of four pixels: `columns` is what they see, `places` is where their outputs lie.
    ///
    /// # Panics
    ///
    /// If lengths do not fit together.
    pub(super) fn multiply(&self, columns: &[i8], places: [usize; PIXELS], output: &mut [i8]) {
        let channels = self.multipliers.len();
        assert!(channels > 0);
        let kernel_len = self.weights.len() / channels;
        assert!(
            self.weights.len() == kernel_len * channels
                && columns.len() == PIXELS * kernel_len.next_multiple_of(VECTOR)
                && self.bias.len() == channels.next_multiple_of(2)
                && have_room(places, channels, output)
        );
        #[cfg(target_arch = "arm")]
        self.native(kernel_len, columns, places, output);
        #[cfg(not(target_arch = "arm"))]
        self.computed(kernel_len, columns, places, output);
    }

    #[cfg(target_arch = "arm")]
    #[allow(unsafe_code, reason = "a loop that the compiler does not find")]
    fn native(&self, kernel_len: usize, columns: &[i8], places: [usize; PIXELS], output: &mut [i8]) {
        let (pairs, single) = (self.bias.as_chunks::<2>().0, self.multipliers.len() % 2);
        let (even, last) = pairs.split_at(pairs.len() - single);
        for (pairs, second) in [(even, 1), (last, 0)] {
            if pairs.is_empty() {
                continue;
            }
            // The last of an odd number is its own partner.
            let first = (1 - second) * 2 * even.len();
            let bias = pairs.as_flattened().as_ptr_range();
            let mut call = arm::Call {
                bias: bias.start,
                multipliers: self.multipliers[first..].as_ptr(),
                output: output[first..].as_mut_ptr(),
                bias_end: bias.end,
                columns: columns.as_ptr(),
                whole_end: columns[kernel_len / VECTOR * (PIXELS * VECTOR)..].as_ptr(),
                tail: kernel_len % VECTOR,
                kernel_bytes: second * kernel_len * size_of::<W>(),
                second,
                zero_point: self.zero_point,
                bounds: [self.bounds.0, self.bounds.1],
                places,
            };
            // SAFETY: the assertion above says that there are as many kernels of the columns' length, less what fills their
            // last vectors, as multipliers, that biases are filled up to pairs, and that so many outputs fit from each place
            // on. Nothing else refers to the output.
            unsafe { W::MULTIPLY(&mut call, self.weights[first * kernel_len..].as_ptr()) };
        }
    }

    #[cfg(not(target_arch = "arm"))]
    fn computed(&self, kernel_len: usize, columns: &[i8], places: [usize; PIXELS], output: &mut [i8]) {
        use crate::quantize::rescale;
        let kernels = self.weights.chunks_exact(kernel_len).zip(self.bias).zip(self.multipliers);
        for (channel, ((kernel, &bias), &multiplier)) in kernels.enumerate() {
            for (lane, place) in places.into_iter().enumerate() {
                let vectors = columns.chunks_exact(VECTOR).skip(lane).step_by(PIXELS);
                let sum = vectors
                    .flatten()
                    .zip(kernel)
                    .fold(bias, |sum, (x, w)| sum.wrapping_add(w.widen() * i32::from(*x)));
                output[place + channel] =
                    (self.zero_point + rescale(sum, multiplier)).clamp(self.bounds.0, self.bounds.1) as i8;
            }
        }
    }
}

#[cfg(target_arch = "arm")]
mod arm {
    #![allow(unsafe_code, reason = "loops that need every register")]

    use core::arch::asm;

    use super::PIXELS;

    /// What the loops read, and walk along.
    #[repr(C)]
    pub(crate) struct Call {
        pub(super) bias: *const i32,
        pub(super) multipliers: *const i32,
        pub(super) output: *mut i8,
        pub(super) bias_end: *const i32,
        pub(super) columns: *const i8,
        pub(super) whole_end: *const i8,
        /// Weights that are left when whole vectors are multiplied.
        pub(super) tail: usize,
        /// From a kernel to its partner's.
        pub(super) kernel_bytes: usize,
        /// From a channel to its partner.
        pub(super) second: usize,
        pub(super) zero_point: i32,
        pub(super) bounds: [i32; 2],
        pub(super) places: [usize; PIXELS],
    }

    // r0 r2 r4 r6 and r8 r10 r12 lr accumulators; r1 columns; r3 r5 kernels; r7 end of columns, then tail; r9 biases; r11 call;
    // q0 q1 weights; q2 q3 columns; q4 places; q5 q6 bounds.

    /// Products of weights in q0 and q1 with what four pixels see, one after the other.
    macro_rules! products {
        ($multiply:literal, $load:literal, $a:literal, $b:literal, $c:literal, $d:literal) => {
            concat!(
                $load,
                " q2, ",
                $a,
                "\n",
                $multiply,
                " r0, q0, q2\n",
                $load,
                " q3, ",
                $b,
                "\n",
                $multiply,
                " r8, q1, q2\n",
                $multiply,
                " r2, q0, q3\n",
                $load,
                " q2, ",
                $c,
                "\n",
                $multiply,
                " r10, q1, q3\n",
                $multiply,
                " r4, q0, q2\n",
                $load,
                " q3, ",
                $d,
                "\n",
                $multiply,
                " r12, q1, q2\n",
                $multiply,
                " r6, q0, q3\n",
                $multiply,
                " lr, q1, q3\n",
            )
        };
    }
    macro_rules! sixteen_int8 {
        () => {
            products!("vmladava.s8", "vldrb.u8", "[r1], #16", "[r1], #16", "[r1], #16", "[r1], #16")
        };
    }
    macro_rules! first_eight_int16 {
        () => {
            products!("vmladava.s16", "vldrb.s16", "[r1], #8", "[r1, #8]", "[r1, #24]", "[r1, #40]")
        };
    }
    macro_rules! last_eight_int16 {
        () => {
            products!("vmladava.s16", "vldrb.s16", "[r1], #56", "[r1, #-40]", "[r1, #-24]", "[r1, #-8]")
        };
    }
    macro_rules! whole_int8 {
        () => {
            concat!("vldrb.u8 q0, [r3], #16\n", "vldrb.u8 q1, [r5], #16\n", sixteen_int8!())
        };
    }
    macro_rules! whole_int16 {
        () => {
            concat!(
                "vldrh.u16 q0, [r3], #16\n",
                "vldrh.u16 q1, [r5], #16\n",
                first_eight_int16!(),
                "vldrh.u16 q0, [r3], #16\n",
                "vldrh.u16 q1, [r5], #16\n",
                last_eight_int16!()
            )
        };
    }
    macro_rules! tail_int8 {
        () => {
            concat!(
                "vctp.8 r7\n",
                "vpstt\n",
                "vldrbt.u8 q0, [r3]\n",
                "vldrbt.u8 q1, [r5]\n",
                "add r5, r7\n",
                sixteen_int8!()
            )
        };
    }
    macro_rules! tail_int16 {
        () => {
            concat!(
                "vctp.16 r7\n",
                "vpstt\n",
                "vldrht.u16 q0, [r3]\n",
                "vldrht.u16 q1, [r5]\n",
                "add r3, #16\n",
                first_eight_int16!(),
                "subs r7, #8\n",
                "ble 7f\n",
                "add r5, #16\n",
                "vctp.16 r7\n",
                "vpstt\n",
                "vldrht.u16 q0, [r3]\n",
                "vldrht.u16 q1, [r5]\n",
                last_eight_int16!(),
                "b 8f\n",
                "7:\n",
                "adds r7, #8\n",
                "8:\n",
                "add r5, r5, r7, lsl #1\n",
            )
        };
    }

    macro_rules! multiply {
        ($(#[$doc:meta])* $name:ident, $weight:ty, $whole:ident, $tail:ident) => {
            $(#[$doc])*
            ///
            /// # Safety
            ///
            /// The pointers of the call are those of the slices that their names say; there are kernels, multipliers and room
            /// for outputs at each place for every bias, or for one of two if the second channel is the first.
            #[inline(never)]
            pub(super) unsafe fn $name(call: &mut Call, kernels: *const $weight) {
                // SAFETY: the caller promises that all of these can be read and written; registers that are no operands are
                // saved and restored.
                unsafe {
                    asm!(
                        "push {{r4-r11, lr}}",
                        "vpush {{d8-d13}}",
                        "mov r11, r0",
                        "mov r3, r1",
                        "ldrd r1, r2, [r11, #40]",
                        "vdup.32 q5, r1",
                        "vdup.32 q6, r2",
                        "vldrw.u32 q4, [r11, #48]",
                        "ldr r9, [r11]",
                        // Two channels: the accumulators start with their biases.
                        "2:",
                        "ldrd r0, r8, [r9], #8",
                        "ldrd r1, r7, [r11, #16]",
                        "ldr r5, [r11, #28]",
                        "add r5, r3",
                        "mov r2, r0",
                        "mov r4, r0",
                        "mov r6, r0",
                        "mov r10, r8",
                        "mov r12, r8",
                        "mov lr, r8",
                        "cmp r1, r7",
                        "beq 5f",
                        // An odd number of vectors begins in the middle.
                        "sub r7, r1",
                        "lsls r7, r7, #25",
                        "ldr r7, [r11, #20]",
                        "bmi 4f",
                        "3:",
                        $whole!(),
                        "4:",
                        $whole!(),
                        "cmp r1, r7",
                        "bne 3b",
                        "5:",
                        "ldr r7, [r11, #24]",
                        "cmp r7, #0",
                        "beq 6f",
                        $tail!(),
                        "6:",
                        // Requantised, and a step to the next two channels.
                        "vmov q0[2], q0[0], r0, r4",
                        "vmov q0[3], q0[1], r2, r6",
                        "vmov q1[2], q1[0], r8, r12",
                        "vmov q1[3], q1[1], r10, lr",
                        "ldrd r0, r2, [r11, #4]", // multipliers, output
                        "ldrd r4, r6, [r11, #32]", // second, zero point
                        "ldr r8, [r0]",
                        "ldr r10, [r0, r4, lsl #2]",
                        "vdup.32 q2, r8",
                        "vdup.32 q3, r10",
                        "vrmulh.s32 q0, q0, q2",
                        "vrmulh.s32 q1, q1, q3",
                        "vadd.i32 q0, q0, r6",
                        "vadd.i32 q1, q1, r6",
                        "vmax.s32 q0, q0, q5",
                        "vmax.s32 q1, q1, q5",
                        "vmin.s32 q0, q0, q6",
                        "vmin.s32 q1, q1, q6",
                        "add r4, r2",
                        "vstrb.32 q1, [r4, q4]",
                        "vstrb.32 q0, [r2, q4]",
                        "adds r0, #8",
                        "adds r2, #2",
                        "strd r0, r2, [r11, #4]",
                        "ldr r8, [r11, #12]",
                        "mov r3, r5",
                        "cmp r9, r8",
                        "bne 2b",
                        "vpop {{d8-d13}}",
                        "pop {{r4-r11, lr}}",
                        inout("r0") call => _,
                        inout("r1") kernels => _,
                        out("r2") _,
                        out("r3") _,
                        out("r12") _,
                        out("d0") _, out("d1") _, out("d2") _, out("d3") _,
                        out("d4") _, out("d5") _, out("d6") _, out("d7") _,
                    )
                }
            }
        };
    }

    multiply!(
        /// Multiplies with kernels as they lie in flash: 14 instructions for sixteen weights of each channel.
        int8, i8, whole_int8, tail_int8
    );
    multiply!(
        /// Multiplies with mixed kernels: 28 instructions for sixteen weights of each channel.
        int16, i16, whole_int16, tail_int16
    );
}
