//! The inner loop of depthwise convolutions.

use crate::kernels::Tensors;
use crate::kernels::runs::Run;

/// Channels that are convolved at a time.
pub(super) const LANES: usize = 8;

/// Where there are fewer, or no room for the kernels of eight.
pub(super) const FEW_LANES: usize = 4;

/// Kernels of a block of channels, ready to be multiplied.
pub(super) struct Block<'a> {
    /// Channels of a vector. Full vectors only, if they are not [few](FEW_LANES): the last has channels of the one before.
    pub(super) lanes: usize,
    /// Vector by vector of channels, tap by tap; and so many numbers more that a load of the last is full.
    pub(super) kernels: &'a [i16],
    /// Of all channels, and so many more that a load of the last is full.
    pub(super) bias: &'a [i32],
    pub(super) multipliers: &'a [i32],
    pub(super) taps: usize,
    pub(super) input_zero_point: i32,
    /// The output's.
    pub(super) zero_point: i32,
    pub(super) bounds: (i32, i32),
}

impl Block<'_> {
    /// All channels of a run's pixels.
    ///
    /// # Panics
    ///
    /// If the run leaves the input, the output or the kernels, or lengths do not fit together.
    pub(super) fn multiply(&self, run: &Run, tensors: &mut Tensors<'_, i8, i8>) {
        let channels = self.multipliers.len();
        let vectors = channels.div_ceil(self.lanes);
        assert!(
            channels > 0
                && (self.lanes == FEW_LANES || (self.lanes == LANES && channels >= LANES))
                && self.bias.len() >= channels + LANES
                && self.kernels.len() >= vectors * self.taps * self.lanes + (LANES - self.lanes)
        );
        run.check(channels, self.taps, tensors);
        #[cfg(target_arch = "arm")]
        self.native(run, tensors);
        #[cfg(not(target_arch = "arm"))]
        self.computed(run, tensors);
    }

    #[cfg(target_arch = "arm")]
    #[allow(unsafe_code, reason = "loops that the compiler does not find")]
    fn native(&self, run: &Run, tensors: &mut Tensors<'_, i8, i8>) {
        let (input, output) = tensors.pointers();
        let mut call = arm::Call {
            lanes: [[0; 4]; 4],
            bias: self.bias.as_ptr(),
            multipliers: self.multipliers.as_ptr(),
            input: input.wrapping_add(run.input),
            output: output.wrapping_add(run.output),
            kernel: self.kernels.as_ptr().wrapping_add(run.tap * self.lanes),
            kernel_bytes: 2 * self.taps * self.lanes,
            channels: self.multipliers.len(),
            pixels: run.pixels,
            input_step: run.input_step,
            output_step: run.output_step,
            column_step: run.column_step,
            rows: run.rows.max(1),
            columns: if run.rows == 0 { 0 } else { run.columns },
            offset: -self.input_zero_point,
            row_step: run.row_step.wrapping_sub(run.columns.wrapping_mul(run.column_step)),
            kernel_skip: if [run.columns, run.kernel_columns] == [3, 3] {
                arm::THREE_COLUMNS
            } else {
                2 * self.lanes * (run.kernel_columns - run.columns)
            },
            zero_point: self.zero_point,
            bounds: [self.bounds.0, self.bounds.1],
        };
        let multiply = if self.lanes == LANES { arm::eight } else { arm::up_to_four };
        // SAFETY: the assertions above say that the last tap of the last pixel lies within the input and the kernel, that the
        // last output lies within the output, and no tap and no output lies further; that there are multipliers and kernels
        // for all channels, and biases for more. Nothing else refers to the output but the input where they overlap, and that
        // too by its pointer only.
        unsafe { multiply(&mut call) };
    }

    #[cfg(not(target_arch = "arm"))]
    fn computed(&self, run: &Run, tensors: &mut Tensors<'_, i8, i8>) {
        use crate::quantize::rescale;
        let channels = self.multipliers.len();
        for (vector, kernel) in self.kernels.chunks_exact(self.taps * self.lanes).enumerate() {
            if vector * self.lanes >= channels {
                break;
            }
            let first = vector * self.lanes;
            let first = if self.lanes == LANES { first.min(channels - LANES) } else { first };
            for pixel in 0..run.pixels {
                for (lane, channel) in (first..channels.min(first + self.lanes)).enumerate() {
                    let mut sum = self.bias[channel];
                    for row in 0..run.rows {
                        for column in 0..run.columns {
                            let at = run.input
                                + pixel * run.input_step
                                + row * run.row_step
                                + column * run.column_step;
                            let weight =
                                kernel[self.lanes * (run.tap + row * run.kernel_columns + column) + lane];
                            let x = i32::from(tensors.input()[at + channel]) - self.input_zero_point;
                            sum = sum.wrapping_add(i32::from(weight) * x);
                        }
                    }
                    let scaled = self.zero_point + rescale(sum, self.multipliers[channel]);
                    tensors.output()[run.output + pixel * run.output_step + channel] =
                        scaled.clamp(self.bounds.0, self.bounds.1) as i8;
                }
            }
        }
    }
}

#[cfg(target_arch = "arm")]
mod arm {
    #![allow(unsafe_code, reason = "loops that need every register")]

    use core::arch::asm;

    /// What the loops read, and walk along. Steps are in bytes.
    #[repr(C)]
    pub(super) struct Call {
        /// Biases of even channels, and of odd ones; multipliers likewise.
        pub(super) lanes: [[i32; 4]; 4],
        pub(super) bias: *const i32,
        pub(super) multipliers: *const i32,
        pub(super) input: *const i8,
        pub(super) output: *mut i8,
        pub(super) kernel: *const i16,
        pub(super) kernel_bytes: usize,
        pub(super) channels: usize,
        pub(super) pixels: usize,
        pub(super) input_step: usize,
        pub(super) output_step: usize,
        pub(super) column_step: usize,
        pub(super) rows: usize,
        pub(super) columns: usize,
        pub(super) offset: i32,
        /// From behind the last column of a row to the next row.
        pub(super) row_step: usize,
        /// To the columns of the kernel's next row that meet the map.
        pub(super) kernel_skip: usize,
        pub(super) zero_point: i32,
        pub(super) bounds: [i32; 2],
    }

    // r0 input; r1 kernel; r2 step of columns; r3 rows; r4 columns; r5 offset; r6 step of rows; r10 skip of kernel; r8 pixels;
    // r9 input and r7 output of the pixel; r11 kernel of the vector; r12 call; q0 q1 accumulators of even and odd channels;
    // q2 input; q3 weights; q4 q5 products; q6 q7 bounds.

    /// A skip of a kernel whose three columns all meet the map, which has none.
    pub(super) const THREE_COLUMNS: usize = 1;

    macro_rules! tap {
        ($input:literal, $weights:literal) => {
            concat!(
                $input,
                "\n",
                $weights,
                "
                 vadd.i16 q2, q2, r5
                 add r0, r2
                 vmullb.s16 q4, q2, q3
                 vmullt.s16 q5, q2, q3
                 vadd.i32 q0, q0, q4
                 vadd.i32 q1, q1, q5
                 "
            )
        };
    }
    macro_rules! multiply {
        ($(#[$doc:meta])* $name:ident, $multipliers:literal, $input:literal, $weights:literal, $store:literal, $next:literal) => {
            $(#[$doc])*
            ///
            /// # Safety
            ///
            /// All that the call leads to can be read, and its outputs written; there is a pixel and there is a vector of
            /// channels.
            #[inline(never)]
            pub(super) unsafe fn $name(call: &mut Call) {
                // SAFETY: the caller promises that all of these can be read and written; registers that are no operands are
                // saved and restored.
                unsafe {
                    asm!(
                        "push {{r4-r11, lr}}",
                        "vpush {{d8-d15}}",
                        "mov r12, r0",
                        "ldrd r1, r2, [r12, #132]",
                        "vdup.16 q6, r1",
                        "vdup.16 q7, r2",
                        // A vector of channels: biases and multipliers as products come, even and odd.
                        "2:",
                        "movs r0, #0",
                        "vidup.u32 q2, r0, #8",
                        "ldrd r1, r3, [r12, #64]",
                        "vldrw.u32 q0, [r1, q2]",
                        "adds r1, #4",
                        "vldrw.u32 q1, [r1, q2]",
                        $multipliers,
                        "vstrw.32 q0, [r12]",
                        "vstrw.32 q1, [r12, #16]",
                        "vstrw.32 q3, [r12, #32]",
                        "vstrw.32 q4, [r12, #48]",
                        "ldrd r9, r7, [r12, #72]",
                        "ldr r11, [r12, #80]",
                        "ldr r8, [r12, #92]",
                        "add r0, r12, #104",
                        "ldm r0, {{r2-r6, r10}}",
                        // A pixel.
                        "3:",
                        "vldrw.u32 q0, [r12]",
                        "vldrw.u32 q1, [r12, #16]",
                        "mov r0, r9",
                        "mov r1, r11",
                        "ldr r3, [r12, #108]",
                        "cmp r10, #1",
                        "bne 5f",
                        "4:",
                        tap!($input, $weights),
                        tap!($input, $weights),
                        tap!($input, $weights),
                        "add r0, r6",
                        "subs r3, #1",
                        "bne 4b",
                        "b 7f",
                        "5:",
                        "wls lr, r4, 8f",
                        "6:",
                        tap!($input, $weights),
                        "le lr, 6b",
                        "8:",
                        "add r0, r6",
                        "add r1, r10",
                        "subs r3, #1",
                        "bne 5b",
                        "7:",
                        "vldrw.u32 q2, [r12, #32]",
                        "vldrw.u32 q3, [r12, #48]",
                        "vrmulh.s32 q0, q0, q2",
                        "vrmulh.s32 q1, q1, q3",
                        "ldr r0, [r12, #128]",
                        "vqmovnb.s32 q0, q0",
                        "vqmovnt.s32 q0, q1",
                        "ldrd r1, r3, [r12, #96]",
                        "vqadd.s16 q0, q0, r0",
                        "vmax.s16 q0, q0, q6",
                        "vmin.s16 q0, q0, q7",
                        $store,
                        "add r9, r1",
                        "add r7, r3",
                        "subs r8, #1",
                        "bne 3b",
                        // The next channels.
                        "ldr r0, [r12, #88]",
                        $next,
                        "str r0, [r12, #88]",
                        "add r0, r12, #64",
                        "ldm r0, {{r2-r7}}",
                        "add r2, r2, r1, lsl #2",
                        "add r3, r3, r1, lsl #2",
                        "add r4, r1",
                        "add r5, r1",
                        "add r6, r7",
                        "stm r0, {{r2-r6}}",
                        "b 2b",
                        "9:",
                        "vpop {{d8-d15}}",
                        "pop {{r4-r11, lr}}",
                        inout("r0") call => _,
                        out("r1") _,
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
        /// Eight instructions for eight products where a window has three columns, nine else.
        eight,
        "vldrw.u32 q3, [r3, q2]
         adds r3, #4
         vldrw.u32 q4, [r3, q2]",
        "vldrb.s16 q2, [r0]",
        "vldrh.u16 q3, [r1], #16",
        "vstrb.16 q0, [r7]",
        // A last vector that is not full begins earlier.
        "mov r1, #8
         subs r0, #8
         ble 9f
         cmp r0, #8
         itt lt
         movlt r1, r0
         movlt r0, #8"
    );
    multiply!(
        /// The same for four channels or fewer; others are switched off.
        up_to_four,
        "ldr r0, [r12, #88]
         cmp r0, #4
         it gt
         movgt r0, #4
         adds r1, r0, #1
         lsrs r1, r1, #1
         vctp.32 r1
         vpst
         vldrwt.u32 q3, [r3, q2]
         lsrs r1, r0, #1
         adds r3, #4
         vctp.32 r1
         vpst
         vldrwt.u32 q4, [r3, q2]
         vctp.16 r0",
        "vpst
         vldrbt.s16 q2, [r0]",
        "vldrh.u16 q3, [r1], #8",
        "vpst
         vstrbt.16 q0, [r7]",
        "mov r1, #4
         subs r0, #4
         ble 9f"
    );
}
