//! From accumulators to outputs, four at a time.

use crate::Requantize;
use crate::quantize::Element;

/// The outputs of channels from the first on, for their biases and products.
///
/// # Panics
///
/// If lengths do not fit together.
#[inline(never)]
pub(super) fn apply_all<Y: Element>(
    requantize: &Requantize<'_>,
    first: usize,
    bias: &[i32],
    products: &[i32],
    output: &mut [Y],
) {
    #[cfg(target_arch = "arm")]
    arm::apply_all(requantize, first, bias, products, output);
    #[cfg(not(target_arch = "arm"))]
    for (channel, (bias, product)) in (first..).zip(bias[first..].iter().zip(products)) {
        output[channel] = requantize.apply(channel, bias + product);
    }
}

#[cfg(target_arch = "arm")]
mod arm {
    #![allow(unsafe_code, reason = "loops that the compiler does not find")]

    use core::arch::asm;

    use crate::Requantize;
    use crate::quantize::Element;

    /// What the loops read.
    #[repr(C)]
    struct Call {
        bias: *const i32,
        multipliers: *const i32,
        products: *const i32,
        zero_point: i32,
        bounds: [i32; 2],
    }

    pub(super) fn apply_all<Y: Element>(
        requantize: &Requantize<'_>,
        first: usize,
        bias: &[i32],
        products: &[i32],
        output: &mut [Y],
    ) {
        let len = products.len();
        let channels = first..first + len;
        let (min, max) = requantize.bounds();
        let call = Call {
            bias: bias[channels.clone()].as_ptr(),
            multipliers: requantize.multipliers()[channels.clone()].as_ptr(),
            products: products.as_ptr(),
            zero_point: requantize.zero_point(),
            bounds: [min, max],
        };
        let output = output[channels].as_mut_ptr();
        // SAFETY: all slices are of that length; elements are of one byte or two.
        unsafe {
            if size_of::<Y>() == 1 {
                int8(&call, output.cast(), len);
            } else {
                int16(&call, output.cast(), len);
            }
        }
    }

    macro_rules! apply {
        ($name:ident, $element:ty, $store:literal) => {
            /// # Safety
            ///
            /// So many numbers lie where the call says, and there is room for as many outputs.
            #[inline(never)]
            unsafe fn $name(call: &Call, output: *mut $element, len: usize) {
                // SAFETY: the caller promises that all of these can be read and written; registers that are no operands are
                // saved and restored. What is left of a vector is switched off.
                unsafe {
                    asm!(
                        "push {{r4-r7, lr}}",
                        "ldm r0, {{r3-r7, r12}}",
                        "vdup.32 q2, r7",
                        "vdup.32 q3, r12",
                        "wlstp.32 lr, r2, 3f",
                        "2:",
                        "vldrw.u32 q0, [r3], #16",
                        "vldrw.u32 q1, [r5], #16",
                        "vadd.i32 q0, q0, q1",
                        "vldrw.u32 q1, [r4], #16",
                        "vrmulh.s32 q0, q0, q1",
                        "vadd.i32 q0, q0, r6",
                        "vmax.s32 q0, q0, q2",
                        "vmin.s32 q0, q0, q3",
                        $store,
                        "letp lr, 2b",
                        "3:",
                        "pop {{r4-r7, lr}}",
                        in("r0") call,
                        inout("r1") output => _,
                        in("r2") len,
                        out("r3") _,
                        out("r12") _,
                        out("d0") _, out("d1") _, out("d2") _, out("d3") _,
                        out("d4") _, out("d5") _, out("d6") _, out("d7") _,
                    )
                }
            }
        };
    }
    apply!(int8, i8, "vstrb.32 q0, [r1], #4");
    apply!(int16, i16, "vstrh.32 q0, [r1], #8");
}
