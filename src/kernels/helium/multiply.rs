//! The inner loop of convolutions: two channels of four pixels at a time, requantised four channels at a time.

use super::VECTOR;
use super::sum;
use crate::kernels::windows::{PIXELS, have_room};
use crate::quantize::Element;

/// A weight that vectors are multiplied with.
pub(crate) trait Weight: Element {
    /// Whether kernels are mixed, and so may be put in any order.
    const MIXED: bool;

    /// The sum of weights.
    fn sum(weights: &[Self]) -> i32;

    /// The loop for kernels of such weights.
    #[cfg(target_arch = "arm")]
    const MULTIPLY: arm::Multiply;
}

impl Weight for i8 {
    const MIXED: bool = false;

    fn sum(weights: &[Self]) -> i32 {
        sum::int8(weights)
    }

    #[cfg(target_arch = "arm")]
    const MULTIPLY: arm::Multiply = arm::int8;
}

impl Weight for i16 {
    const MIXED: bool = true;

    fn sum(weights: &[Self]) -> i32 {
        sum::int16(weights)
    }

    #[cfg(target_arch = "arm")]
    const MULTIPLY: arm::Multiply = arm::int16;
}

/// A block of output channels, ready to be multiplied.
pub(super) struct Block<'a, W> {
    /// Kernels one after the other.
    #[cfg_attr(target_arch = "arm", allow(dead_code, reason = "read by the calls' pointers"))]
    weights: &'a [W],
    kernel_len: usize,
    /// One a channel, the input's zero point folded in.
    #[cfg_attr(target_arch = "arm", allow(dead_code, reason = "read by the calls' pointers"))]
    bias: &'a [i32],
    requantize: Channels<'a>,
    /// Pairs of channels, and the last of an odd number, which is its own partner.
    #[cfg(target_arch = "arm")]
    calls: Calls,
}

/// How accumulators of a block's channels become outputs.
#[derive(Clone, Copy)]
pub(super) struct Channels<'a> {
    pub(super) multipliers: &'a [i32],
    /// The output's.
    pub(super) zero_point: i32,
    pub(super) bounds: (i32, i32),
}

impl<'a, W: Weight> Block<'a, W> {
    /// # Panics
    ///
    /// If lengths do not fit together.
    pub(super) fn new(weights: &'a [W], bias: &'a [i32], requantize: Channels<'a>) -> Self {
        let channels = requantize.multipliers.len();
        assert!(channels > 0 && bias.len() == channels);
        let kernel_len = weights.len() / channels;
        assert!(weights.len() == kernel_len * channels);
        Self {
            weights,
            kernel_len,
            bias,
            requantize,
            #[cfg(target_arch = "arm")]
            calls: Calls::new(
                weights,
                kernel_len,
                kernel_len / VECTOR * (PIXELS * VECTOR),
                bias,
                &requantize,
            ),
        }
    }

    /// All channels of four pixels: `columns` is what they see, `places` is where their outputs lie.
    ///
    /// # Panics
    ///
    /// If lengths do not fit together.
    pub(super) fn multiply(&self, columns: &[i8], places: [usize; PIXELS], output: &mut [i8]) {
        assert!(
            columns.len() == PIXELS * self.kernel_len.next_multiple_of(VECTOR)
                && have_room(places, self.requantize.multipliers.len(), output)
        );
        #[cfg(target_arch = "arm")]
        #[allow(unsafe_code, reason = "a loop that the compiler does not find")]
        // SAFETY: the assertions, here and where the block was made, say that there are kernels for all channels, of the
        // columns' length less what fills their last vectors, and that so many outputs fit from each place on.
        unsafe {
            self.calls.run(W::MULTIPLY, columns, &places, output);
        }
        #[cfg(not(target_arch = "arm"))]
        self.computed(columns, places, output);
    }

    #[cfg(not(target_arch = "arm"))]
    fn computed(&self, columns: &[i8], places: [usize; PIXELS], output: &mut [i8]) {
        use crate::quantize::rescale;
        let Channels { multipliers, zero_point, bounds: (min, max) } = self.requantize;
        let kernels = self.weights.chunks_exact(self.kernel_len).zip(self.bias).zip(multipliers);
        for (channel, ((kernel, &bias), &multiplier)) in kernels.enumerate() {
            for (lane, place) in places.into_iter().enumerate() {
                let vectors = columns.chunks_exact(VECTOR).skip(lane).step_by(PIXELS);
                let sum = vectors
                    .flatten()
                    .zip(kernel)
                    .fold(bias, |sum, (x, w)| sum.wrapping_add(w.widen() * i32::from(*x)));
                output[place + channel] = (zero_point + rescale(sum, multiplier)).clamp(min, max) as i8;
            }
        }
    }
}

/// The loop for kernels of [neighbours](super::neighbours).
#[cfg(target_arch = "arm")]
pub(super) const NEIGHBOURS: arm::Multiply = arm::neighbours;
#[cfg(target_arch = "arm")]
pub(super) use arm::Calls;

#[cfg(target_arch = "arm")]
mod arm {
    #![allow(unsafe_code, reason = "loops that need every register")]

    use core::arch::asm;

    use super::{Channels, PIXELS, VECTOR};

    /// A loop: what a block's channels need, what pixels see, where outputs lie, and the output.
    pub(crate) type Multiply = unsafe fn(&Call, *const i8, &[usize; PIXELS], *mut i8);

    /// What the loops read.
    #[repr(C)]
    pub(crate) struct Call {
        bias: *const i32,
        multipliers: *const i32,
        kernels: *const i8,
        /// From a kernel to its partner's.
        kernel_bytes: usize,
        /// None, if no vector is whole; below, if their number is odd.
        entry: i32,
        /// Weights that are left when whole vectors are multiplied.
        tail: usize,
        /// Of columns that fill vectors, in bytes.
        whole: usize,
        channels: usize,
        zero_point: i32,
        bounds: [i32; 2],
        /// The first channel.
        first: usize,
    }

    /// What the loops read of pairs of channels, and of the last of an odd number, which is its own partner.
    pub(crate) struct Calls([Call; 2]);

    impl Calls {
        /// `whole` is how many numbers fill vectors of what four pixels see.
        pub(in super::super) fn new<W>(
            weights: &[W],
            kernel_len: usize,
            whole: usize,
            bias: &[i32],
            requantize: &Channels<'_>,
        ) -> Self {
            let single = bias.len() % 2;
            let paired = bias.len() - single;
            let vectors = kernel_len / VECTOR;
            Self([(0, paired, kernel_len), (paired, single, 0)].map(|(first, channels, partner)| Call {
                bias: bias[first..].as_ptr(),
                multipliers: requantize.multipliers[first..].as_ptr(),
                kernels: weights[first * kernel_len..].as_ptr().cast(),
                kernel_bytes: partner * size_of::<W>(),
                entry: match (vectors, vectors % 2) {
                    (0, _) => 0,
                    (_, 0) => 1,
                    _ => -1,
                },
                tail: kernel_len % VECTOR,
                whole,
                channels,
                zero_point: requantize.zero_point,
                bounds: [requantize.bounds.0, requantize.bounds.1],
                first,
            }))
        }

        /// Runs a loop.
        ///
        /// # Safety
        ///
        /// There are biases, multipliers and kernels for as many channels as there is room for from each place on, in the order
        /// that the loop wants; columns are as long as it makes of kernels.
        pub(in super::super) unsafe fn run(
            &self,
            multiply: Multiply,
            columns: &[i8],
            places: &[usize; PIXELS],
            output: &mut [i8],
        ) {
            for call in &self.0 {
                if call.channels > 0 {
                    // SAFETY: as the caller promises. Nothing else refers to the output.
                    unsafe { multiply(call, columns.as_ptr(), places, output.as_mut_ptr()) };
                }
            }
        }
    }

    // Sums of sixteen channels at most are put on the stack, those of four pixels side by side; then they are requantised, and
    // lanes are channels.
    //
    // r0 r2 r4 r6 and r8 r10 r12 lr accumulators; r1 columns; r3 r5 kernels; r7 end of columns, then tail; r9 sums, r11 their end;
    // q0 q1 weights; q2 q3 columns; q4 where sums of channels begin, less a step; q5 q6 bounds. On the stack:
    //
    //  0  zeros         40  outputs of pixels    64  channels left    80  channels at hand
    // 32  columns       56  bias                 68  to a partner     84  zero point
    // 36  their end     60  multipliers          72  entry, tail      88  sums

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
                "7:\n",
                "vctp.8 r7\n",
                "vpstt\n",
                "vldrbt.u8 q0, [r3]\n",
                "vldrbt.u8 q1, [r5]\n",
                "add r5, r7\n",
                sixteen_int8!(),
                "b 6b\n",
            )
        };
    }
    macro_rules! tail_int16 {
        () => {
            concat!(
                "7:\n",
                "vctp.16 r7\n",
                "vpstt\n",
                "vldrht.u16 q0, [r3]\n",
                "vldrht.u16 q1, [r5]\n",
                "add r3, #16\n",
                first_eight_int16!(),
                "subs r7, #8\n",
                "ble 12f\n",
                "add r5, #16\n",
                "vctp.16 r7\n",
                "vpstt\n",
                "vldrht.u16 q0, [r3]\n",
                "vldrht.u16 q1, [r5]\n",
                last_eight_int16!(),
                "b 13f\n",
                "12:\n",
                "adds r7, #8\n",
                "13:\n",
                "add r5, r5, r7, lsl #1\n",
                "b 6b\n",
            )
        };
    }

    /// Products of a vector of weights with what neighbours see.
    macro_rules! four {
        ($a:literal, $b:literal, $c:literal, $d:literal, $p:literal, $q:literal, $r:literal, $s:literal) => {
            concat!(
                "vldrh.u16 q7, [r3], #16\n",
                "vmladava.s16 ",
                $a,
                ", q7, ",
                $p,
                "\n",
                "vmladava.s16 ",
                $b,
                ", q7, ",
                $q,
                "\n",
                "vmladava.s16 ",
                $c,
                ", q7, ",
                $r,
                "\n",
                "vmladava.s16 ",
                $d,
                ", q7, ",
                $s,
                "\n",
            )
        };
    }
    macro_rules! two_channels {
        ($p:literal, $q:literal, $r:literal, $s:literal) => {
            concat!(
                four!("r0", "r2", "r4", "r6", $p, $q, $r, $s),
                four!("r8", "r10", "r12", "lr", $p, $q, $r, $s),
            )
        };
    }
    macro_rules! eight_channels {
        ($a:literal, $b:literal, $c:literal, $d:literal, $e:literal, $f:literal) => {
            concat!(
                "vldrb.s16 q0, ",
                $a,
                "\n",
                "vldrb.s16 q1, ",
                $b,
                "\n",
                "vldrb.s16 q2, ",
                $c,
                "\n",
                "vldrb.s16 q3, ",
                $d,
                "\n",
                two_channels!("q0", "q1", "q2", "q3"),
                "vldrb.s16 q0, ",
                $e,
                "\n",
                two_channels!("q1", "q2", "q3", "q0"),
                "vldrb.s16 q1, ",
                $f,
                "\n",
                two_channels!("q2", "q3", "q0", "q1"),
            )
        };
    }
    /// The pointer is eight bytes behind, so that the last load moves it on.
    macro_rules! three_columns {
        () => {
            concat!(
                eight_channels!("[r1, #8]", "[r1, #24]", "[r1, #40]", "[r1, #56]", "[r1, #72]", "[r1, #88]"),
                eight_channels!(
                    "[r1, #16]",
                    "[r1, #32]",
                    "[r1, #48]",
                    "[r1, #64]",
                    "[r1, #80]",
                    "[r1, #96]!"
                ),
            )
        };
    }
    macro_rules! no_tail {
        () => {
            ""
        };
    }

    /// Outputs of four channels of a pixel, the sums of which are the next.
    macro_rules! outputs {
        ($sums:literal, $output:literal) => {
            concat!(
                "vldrw.u32 q2, ",
                $sums,
                "\n",
                "vadd.i32 q2, q2, q0\n",
                "vrmulh.s32 q2, q2, q1\n",
                "vadd.i32 q2, q2, r10\n",
                "vmax.s32 q2, q2, q5\n",
                "vmin.s32 q2, q2, q6\n",
                "vstrb.32 q2, ",
                $output,
                "\n",
            )
        };
    }

    macro_rules! multiply {
        ($(#[$doc:meta])* $name:ident, $first:literal, $whole:ident, $left:literal, $tail:ident, $next:literal) => {
            $(#[$doc])*
            ///
            /// # Safety
            ///
            /// The pointers of the call are those of the slices that their names say; there are kernels, multipliers and room
            /// for outputs at each place for every bias, or for one of two if the second channel is the first.
            #[inline(never)]
            pub(super) unsafe fn $name(
                call: &Call,
                columns: *const i8,
                places: &[usize; PIXELS],
                output: *mut i8,
            ) {
                // SAFETY: the caller promises that all of these can be read and written; registers that are no operands are
                // saved and restored.
                unsafe {
                    asm!(
                        "push {{r4-r11, lr}}",
                        "vpush {{d8-d15}}",
                        "sub sp, #344",
                        "ldr lr, [r0, #44]",
                        "add r3, lr",
                        "ldm r2, {{r4, r6, r8, r10}}",
                        "add r4, r3",
                        "add r6, r3",
                        "add r8, r3",
                        "add r10, r3",
                        "ldrd r11, r12, [r0]",
                        "add r5, sp, #40",
                        "stm r5, {{r4, r6, r8, r10, r11, r12}}",
                        "ldrd r2, r4, [r0, #36]",
                        "vdup.32 q5, r2",
                        "vdup.32 q6, r4",
                        "ldrd r3, r2, [r0, #8]",
                        "ldrd r4, r6, [r0, #16]",
                        "ldrd r7, r8, [r0, #24]",
                        "ldr r10, [r0, #32]",
                        "add r5, r3, r2",
                        "strd r8, r2, [sp, #64]",
                        "strd r4, r6, [sp, #72]",
                        "str r10, [sp, #84]",
                        $first,
                        "add r7, r1",
                        "strd r1, r7, [sp, #32]",
                        "vmov.i32 q0, #0",
                        "vstrw.32 q0, [sp]",
                        "vstrw.32 q0, [sp, #16]",
                        "add r2, sp, #24",
                        "lsrs r2, #1",
                        "vidup.u32 q4, r2, #8",
                        "vshl.i32 q4, q4, #1",
                        "1:",
                        "ldr r4, [sp, #64]",
                        "cmp r4, #16",
                        "it hi",
                        "movhi r4, #16",
                        "str r4, [sp, #80]",
                        "add r9, sp, #88",
                        "adds r4, #1",
                        "lsrs r4, #1",
                        "add r11, r9, r4, lsl #5",
                        // Two channels.
                        "2:",
                        "ldr r2, [sp, #72]",
                        "cmp r2, #0",
                        "ldm sp, {{r0, r2, r4, r6, r8, r10, r12, lr}}",
                        "ldrd r1, r7, [sp, #32]",
                        "ble 9f",
                        "3:",
                        $whole!(),
                        "4:",
                        $whole!(),
                        "cmp r1, r7",
                        "bne 3b",
                        "5:",
                        $left,
                        "6:",
                        "stm r9!, {{r0, r2, r4, r6, r8, r10, r12, lr}}",
                        $next,
                        "cmp r9, r11",
                        "bne 2b",
                        "b 8f",
                        "9:",
                        // An odd number of vectors begins in the middle.
                        "bmi 4b",
                        "b 5b",
                        $tail!(),
                        "8:",
                        "add r7, sp, #40",
                        "ldm r7, {{r0, r2, r4, r6, r8, r12}}",
                        "ldrd r1, r10, [sp, #80]",
                        "vmov q7, q4",
                        "dlstp.32 lr, r1",
                        "14:",
                        "vldrw.u32 q0, [r8], #16",
                        "vldrw.u32 q1, [r12], #16",
                        outputs!("[q7, #64]!", "[r0], #4"),
                        outputs!("[q7, #4]", "[r2], #4"),
                        outputs!("[q7, #8]", "[r4], #4"),
                        outputs!("[q7, #12]", "[r6], #4"),
                        "letp lr, 14b",
                        "stm r7, {{r0, r2, r4, r6, r8, r12}}",
                        "ldr r4, [sp, #64]",
                        "subs r4, r1",
                        "str r4, [sp, #64]",
                        "bne 1b",
                        "add sp, #344",
                        "vpop {{d8-d15}}",
                        "pop {{r4-r11, lr}}",
                        inout("r0") call => _,
                        inout("r1") columns => _,
                        inout("r2") places => _,
                        inout("r3") output => _,
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
        int8, "", whole_int8, "ldr r7, [sp, #76]\ncbnz r7, 7f", tail_int8, "mov r3, r5\nldr r4, [sp, #68]\nadd r5, r4"
    );
    multiply!(
        /// Multiplies with mixed kernels: 28 instructions for sixteen weights of each channel.
        int16, "", whole_int16, "ldr r7, [sp, #76]\ncbnz r7, 7f", tail_int16, "mov r3, r5\nldr r4, [sp, #68]\nadd r5, r4"
    );
    multiply!(
        /// Multiplies [neighbours](super::super::neighbours): 72 instructions for sixteen channels of three columns.
        neighbours, "subs r1, #8", three_columns, "", no_tail, ""
    );
}
