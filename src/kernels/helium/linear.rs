//! Fully connected layers: a vector of features of four rows at a time.

use crate::kernels::features::Features;
use crate::quantize::Element;
use crate::{Requantize, StaticKernels};

/// Rows that are multiplied at a time.
#[cfg(target_arch = "arm")]
const ROWS: usize = 4;

/// Multiplies a vector by a matrix; returns whether there is a loop for the input: there is none for int16 with a zero point.
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
    let rows = Rows { weights: kernels.weights(), bias: kernels.bias(), requantize };
    let count = output.len();
    assert!(
        count > 0
            && input.len() > 0
            && rows.weights.len() == count * input.len()
            && rows.bias.len() == count
            && requantize.multipliers().len() == count
    );
    multiply(input, rows, output);
    true
}

/// Rows of a matrix, and what belongs to them.
#[derive(Clone, Copy)]
struct Rows<'a> {
    weights: &'a [i8],
    bias: &'a [i32],
    requantize: &'a Requantize<'a>,
}

/// Everything is as long as it must be.
#[inline(never)]
#[cfg(not(target_arch = "arm"))]
fn multiply<Y: Element>(input: Features<'_>, rows: Rows<'_>, output: &mut [Y]) {
    use crate::kernels::portable::dot;
    for (channel, (output, row)) in output.iter_mut().zip(rows.weights.chunks_exact(input.len())).enumerate()
    {
        let product = match input {
            Features::Narrow { input, zero_point } => dot(input, row, zero_point),
            Features::Wide(input) => dot(input, row, 0),
        };
        *output = rows.requantize.apply(channel, rows.bias[channel] + product);
    }
}

#[cfg(target_arch = "arm")]
use arm::multiply;

#[cfg(target_arch = "arm")]
mod arm {
    #![allow(unsafe_code, reason = "loops that the compiler does not find")]

    use core::arch::asm;

    use super::{Features, ROWS, Rows};
    use crate::quantize::Element;

    /// What the loops read, and walk along.
    #[repr(C)]
    struct Call<Y> {
        bias: *const i32,
        multipliers: *const i32,
        output: *mut Y,
        zero_point: i32,
        input: *const i8,
        /// From each of four rows to the next.
        steps: [usize; 3],
        bounds: [i32; 2],
        flip: Flip,
    }

    /// Features are multiplied as they are, and another time the zero point. As it, or what is opposite to it, need not be of
    /// int8, everything has the other sign if it is negative: `-x - 1` and `zero_point + 1` instead of `x` and `-zero_point`.
    #[repr(C)]
    struct Flip {
        mask: i32,
        zero_point: i32,
    }

    impl Flip {
        const fn new(zero_point: i32) -> Self {
            if zero_point < 0 {
                Self { mask: -1, zero_point: zero_point + 1 }
            } else {
                Self { mask: 0, zero_point: -zero_point }
            }
        }
    }

    /// Everything is as long as the caller has checked.
    #[inline(never)]
    pub(super) fn multiply<Y: Element>(input: Features<'_>, rows: Rows<'_>, output: &mut [Y]) {
        let (len, multipliers) = (input.len(), rows.requantize.multipliers());
        let (features, flip) = match input {
            Features::Narrow { input, zero_point } => (input.as_ptr(), Flip::new(zero_point)),
            Features::Wide(input) => (input.as_ptr().cast(), Flip::new(0)),
        };
        let (min, max) = rows.requantize.bounds();
        let mut call = Call {
            bias: rows.bias.as_ptr(),
            multipliers: multipliers.as_ptr(),
            output: output.as_mut_ptr(),
            zero_point: rows.requantize.zero_point(),
            input: features,
            steps: [len; 3],
            bounds: [min, max],
            flip,
        };
        let multiply = match (input, size_of::<Y>()) {
            (Features::Narrow { .. }, 1) => narrow_to_int8,
            (Features::Narrow { .. }, _) => narrow_to_int16,
            (Features::Wide(_), 1) => wide_to_int8,
            (Features::Wide(_), _) => wide_to_int16,
        };
        if output.len() >= ROWS {
            // SAFETY: there are so many features, rows of as many weights, and outputs, as the caller has checked.
            unsafe { multiply(&mut call, rows.weights.as_ptr(), len, output.len()) };
            return;
        }
        // Rows that are missing of four are the last of those that there are.
        let last = output.len() - 1;
        let four = core::array::from_fn::<usize, ROWS, _>(|row| row.min(last));
        let (bias, multipliers) = (four.map(|row| rows.bias[row]), four.map(|row| multipliers[row]));
        let mut outputs = [Y::default(); ROWS];
        call.bias = bias.as_ptr();
        call.multipliers = multipliers.as_ptr();
        call.output = outputs.as_mut_ptr();
        call.steps = core::array::from_fn(|row| if row < last { len } else { 0 });
        // SAFETY: as above.
        unsafe { multiply(&mut call, rows.weights.as_ptr(), len, ROWS) };
        output.copy_from_slice(&outputs[..output.len()]);
    }

    // r0 r2 r4 r6 sums, r9 features, r1 r3 r5 r7 rows; r8 outputs left behind four, r10 features, r11 call, r12 first of the rows; q4 mask,
    // q5 zero point.

    /// Int8 features of a row.
    macro_rules! narrow_row {
        ($row:literal, $sum:literal) => {
            concat!(
                "vldrb.u8 q1, [",
                $row,
                "], #16\n",
                "vmladava.s8 ",
                $sum,
                ", q0, q1\n",
                "vmladava.s8 ",
                $sum,
                ", q5, q1\n",
            )
        };
    }
    /// Int16 features of a row.
    macro_rules! wide_row {
        ($row:literal, $sum:literal) => {
            concat!("vldrb.s16 q1, [", $row, "], #8\n", "vmladava.s16 ", $sum, ", q0, q1\n")
        };
    }

    macro_rules! multiply {
        (
            $(#[$doc:meta])* $name:ident, $start:literal, $features:literal, $row:ident, $flip:literal, $put:literal,
            $size:literal
        ) => {
            $(#[$doc])*
            ///
            /// # Safety
            ///
            /// There are so many features, rows of as many weights, where steps lead, and outputs, at least four; and
            /// what the call's names say.
            #[inline(never)]
            unsafe fn $name<Y>(call: &mut Call<Y>, rows: *const i8, features: usize, outputs: usize) {
                // SAFETY: the caller promises that all of these can be read and written; registers that are no operands are
                // saved and restored. What is left of a vector is switched off.
                unsafe {
                    asm!(
                        "push {{r4-r11, lr}}",
                        "mov r11, r0",
                        "mov r12, r1",
                        "mov r10, r2",
                        "sub r8, r3, #4",
                        "ldrd r0, r1, [r11, #32]",
                        "ldrd r2, r3, [r11, #40]",
                        "vdup.32 q2, r0",
                        "vdup.32 q3, r1",
                        "vdup.32 q4, r2",
                        "vdup.8 q5, r3",
                        "2:",
                        "ldrd r9, r3, [r11, #16]",
                        "ldrd r5, r7, [r11, #24]",
                        "mov r1, r12",
                        "add r3, r1",
                        "add r5, r3",
                        "add r7, r5",
                        "movs r0, #0",
                        "movs r2, #0",
                        "movs r4, #0",
                        "movs r6, #0",
                        $start,
                        "3:",
                        $features,
                        $row!("r1", "r0"),
                        $row!("r3", "r2"),
                        $row!("r5", "r4"),
                        $row!("r7", "r6"),
                        "letp lr, 3b",
                        "vmov q0[2], q0[0], r0, r4",
                        "vmov q0[3], q0[1], r2, r6",
                        $flip,
                        "ldm r11, {{r1, r3, r5, r7}}",
                        "vldrw.u32 q1, [r1], #16",
                        "vadd.i32 q0, q0, q1",
                        "vldrw.u32 q1, [r3], #16",
                        "vrmulh.s32 q0, q0, q1",
                        "vadd.i32 q0, q0, r7",
                        "vmax.s32 q0, q0, q2",
                        "vmin.s32 q0, q0, q3",
                        $put,
                        "stm r11, {{r1, r3, r5}}",
                        "add r12, r12, r10, lsl #2",
                        "subs r8, #4",
                        "bhs 2b",
                        "cmn r8, #4",
                        "beq 4f",
                        // Of the last four, some have been there before.
                        "rsb r8, r8, #0",
                        "mls r12, r8, r10, r12",
                        "sub r1, r1, r8, lsl #2",
                        "sub r3, r3, r8, lsl #2",
                        concat!("sub r5, r5, r8, lsl #", $size),
                        "stm r11, {{r1, r3, r5}}",
                        "movs r8, #0",
                        "b 2b",
                        "4:",
                        "pop {{r4-r11, lr}}",
                        inout("r0") call => _,
                        inout("r1") rows => _,
                        inout("r2") features => _,
                        inout("r3") outputs => _,
                        out("r12") _,
                        out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _,
                        out("d6") _, out("d7") _, out("d8") _, out("d9") _, out("d10") _, out("d11") _,
                    )
                }
            }
        };
        (
            $(#[$doc:meta])* $int8:ident, $int16:ident, $start:literal, $features:literal, $row:ident, $flip:literal
        ) => {
            multiply!($(#[$doc])* $int8, $start, $features, $row, $flip, "vstrb.32 q0, [r5], #4", "0");
            multiply!($(#[$doc])* $int16, $start, $features, $row, $flip, "vstrh.32 q0, [r5], #8", "1");
        };
    }

    multiply!(
        /// Int8 features: fifteen instructions for sixteen of four rows.
        narrow_to_int8,
        narrow_to_int16,
        "dlstp.8 lr, r10",
        "vldrb.u8 q0, [r9], #16
         veor q0, q0, q4",
        narrow_row,
        "veor q0, q0, q4
         vsub.i32 q0, q0, q4"
    );
    multiply!(
        /// Int16 features: ten instructions for eight of four rows.
        wide_to_int8,
        wide_to_int16,
        "dlstp.16 lr, r10",
        "vldrh.u16 q0, [r9], #16",
        wide_row,
        ""
    );
}
