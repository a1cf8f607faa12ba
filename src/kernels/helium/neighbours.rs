//! Convolutions with mixed kernels of three columns: four neighbouring pixels see six columns of the map, and most of what one
//! sees its neighbour sees too. Six columns of sixteen channels are put side by side:
//!
//! ```text
//! channels 0..16 of columns 0 1 2 3 4 5   channels 16..32 of columns 0 1 2 3 4 5   ..   those of the next row   ..
//! ```
//!
//! and kernels of two output channels in the order in which they meet them, a vector of eight weights of each in turn:
//!
//! ```text
//! channels 0..8 of column 0, of columns 1 and 2   channels 8..16 of column 0, of columns 1 and 2   ..   those of the next row   ..
//! ```

use super::VECTOR;
use super::conv::{CHANNELS, Source};
use super::copy::fill_all;
use super::mix::Order;
use super::multiply::Channels;
#[cfg(target_arch = "arm")]
use super::multiply::{Calls, NEIGHBOURS};
use crate::kernels::Tensors;
use crate::kernels::windows::{PIXELS, have_room};
use crate::quantize::Element;
use crate::{Geometry, Requantize};

/// Columns of a kernel, and those that four neighbours see.
const KERNEL: usize = 3;
const COLUMNS: usize = PIXELS + KERNEL - 1;

/// Weights in a vector.
const WEIGHTS: usize = 8;

/// What the loops need to know of a layer.
#[derive(Clone, Copy)]
pub(super) struct Neighbours<'a> {
    geometry: &'a Geometry,
    zero_point: i8,
}

impl<'a> Neighbours<'a> {
    /// If kernels have three columns next to each other, channels fill vectors, and rows of pixels may be cut in fours: an eighth
    /// of them is computed twice at most, none where the output overlaps the input.
    pub(super) fn of(geometry: &'a Geometry, zero_point: i32, overlap: bool) -> Option<Self> {
        let Geometry { input: shape, output, window, .. } = *geometry;
        let twice = output.width.next_multiple_of(PIXELS) - output.width;
        let suits = geometry.whole_rows()
            && window.kernel[1] == KERNEL
            && window.stride[1] == 1
            && shape.channels.is_multiple_of(VECTOR)
            && output.width >= PIXELS
            && if overlap { twice == 0 } else { 8 * twice <= output.width };
        suits.then_some(Self { geometry, zero_point: i8::saturate(zero_point) })
    }

    /// Convolves block by block of as many channels as there is room for in `kernels`, which are mixed in the `room` for columns;
    /// returns whether there is room for any, or for all where the output overlaps the input.
    ///
    /// # Panics
    ///
    /// If there is none for columns.
    #[inline(never)]
    pub(super) fn convolve(
        &self,
        source: &impl Source,
        requantize: &Requantize<'_>,
        room: &mut [i16],
        kernels: &mut [i16],
        tensors: &mut Tensors<'_, i8, i8>,
    ) -> bool {
        let shape = self.geometry.output;
        let kernel_len = self.geometry.kernel_len();
        let step = (kernels.len() / (2 * kernel_len) * 2).min(CHANNELS);
        if step < if tensors.overlap() { shape.channels } else { 1 } {
            return false;
        }
        for first in (0..shape.channels).step_by(step) {
            let channels = first..shape.channels.min(first + step);
            let kernels = &mut kernels[..channels.len().next_multiple_of(2) * kernel_len];
            let mut bias = [0; CHANNELS];
            source.put_biases(first, &mut bias[..channels.len()]);
            for (i, (channel, bias)) in channels.clone().zip(&mut bias).enumerate() {
                let kernel = &mut room[..kernel_len];
                source.put(channel..channel + 1, Order::Channels, kernel);
                let pair = &mut kernels[i / 2 * (2 * kernel_len)..][..2 * kernel_len];
                let sum = self.put_kernel(kernel, i % 2, pair);
                *bias -= i32::from(self.zero_point) * sum;
            }
            let requantize = Channels {
                multipliers: &requantize.multipliers()[channels.clone()],
                zero_point: requantize.zero_point(),
                bounds: requantize.bounds(),
            };
            let block = Block::new(kernels, kernel_len, &bias[..channels.len()], requantize);
            let columns: &mut [i8] = bytemuck::must_cast_slice_mut(room);
            let columns = &mut columns[..COLUMNS * self.geometry.window.kernel[0] * self.depth()];
            self.convolve_block(&block, first, columns, tensors);
        }
        true
    }

    #[inline(never)]
    fn convolve_block(
        &self,
        block: &Block<'_>,
        first: usize,
        columns: &mut [i8],
        tensors: &mut Tensors<'_, i8, i8>,
    ) {
        let shape = self.geometry.output;
        for y in tensors.in_order(shape.height) {
            for four in tensors.in_order(shape.width.div_ceil(PIXELS)) {
                let x = (PIXELS * four).min(shape.width - PIXELS);
                self.put(tensors.input(), y, x, columns);
                let place = (y * shape.width + x) * shape.channels + first;
                let places = core::array::from_fn(|lane| place + lane * shape.channels);
                block.multiply(columns, places, tensors.output());
            }
        }
    }

    const fn depth(&self) -> usize {
        self.geometry.input.channels
    }

    /// Puts a kernel among those of a pair, and returns the sum of its weights.
    fn put_kernel(&self, kernel: &[i16], lane: usize, pair: &mut [i16]) -> i32 {
        let depth = self.depth();
        assert!(
            lane < 2
                && pair.len() == 2 * kernel.len()
                && depth.is_multiple_of(VECTOR)
                && kernel.len() == self.geometry.window.kernel[0] * KERNEL * depth
        );
        #[cfg(target_arch = "arm")]
        return arm::put_kernel(kernel, depth, &mut pair[lane * WEIGHTS..]);
        #[cfg(not(target_arch = "arm"))]
        kernel
            .iter()
            .enumerate()
            .map(|(k, weight)| {
                pair[place(k, depth, lane)] = *weight;
                i32::from(*weight)
            })
            .sum()
    }

    /// Puts what four pixels see of the input into the columns.
    fn put(&self, input: &[i8], y: usize, x: usize, columns: &mut [i8]) {
        let Geometry { input: shape, window, .. } = *self.geometry;
        let depth = self.depth();
        let (rows, first_row) = self.geometry.rows(y);
        let left = window.padding.left;
        let start = left.saturating_sub(x).min(COLUMNS);
        let inside = start..(shape.width + left).saturating_sub(x).clamp(start, COLUMNS);
        if rows.len() < window.kernel[0] || inside.is_empty() {
            fill_all(self.zero_point, columns);
        }
        if rows.is_empty() || inside.is_empty() {
            return;
        }
        let row_len = shape.width * depth;
        let from = &input[first_row * row_len + (x + start - left) * depth..];
        let to = &mut columns[rows.start * COLUMNS * depth..];
        let step = window.dilation[0].wrapping_mul(row_len);
        let rows = rows.len();
        assert!(from.len() >= (rows - 1) * step + inside.len() * depth && to.len() >= rows * COLUMNS * depth);
        #[cfg(target_arch = "arm")]
        arm::put(from, rows, step, &inside, depth, to);
        #[cfg(not(target_arch = "arm"))]
        for row in 0..rows {
            for (column, i) in inside.clone().enumerate() {
                for channel in 0..depth {
                    let vector = (row * depth + channel) / VECTOR * COLUMNS + i;
                    to[vector * VECTOR + channel % VECTOR] = from[row * step + column * depth + channel];
                }
            }
        }
        for column in (0..inside.start).chain(inside.end..COLUMNS) {
            fill_column(self.zero_point, column, &mut to[..rows * COLUMNS * depth]);
        }
    }
}

/// Fills a column's vectors.
fn fill_column(value: i8, column: usize, columns: &mut [i8]) {
    assert!(column < COLUMNS && columns.len() >= COLUMNS * VECTOR);
    #[cfg(target_arch = "arm")]
    arm::fill_column(value, columns.len() / (COLUMNS * VECTOR), &mut columns[column * VECTOR..]);
    #[cfg(not(target_arch = "arm"))]
    for vectors in columns.chunks_exact_mut(COLUMNS * VECTOR) {
        vectors[column * VECTOR..][..VECTOR].fill(value);
    }
}

/// Where a kernel's weight goes among those of a pair.
#[cfg(not(target_arch = "arm"))]
const fn place(k: usize, depth: usize, lane: usize) -> usize {
    let (row, column, channel) = (k / (KERNEL * depth), k / depth % KERNEL, k % depth);
    let vector = (row * depth + channel) / WEIGHTS * KERNEL + column;
    (2 * vector + lane) * WEIGHTS + channel % WEIGHTS
}

/// A block of output channels, ready to be multiplied.
struct Block<'a> {
    /// Of pairs of channels.
    #[cfg_attr(target_arch = "arm", allow(dead_code, reason = "read by the calls' pointers"))]
    weights: &'a [i16],
    kernel_len: usize,
    /// One a channel, the input's zero point folded in.
    #[cfg_attr(target_arch = "arm", allow(dead_code, reason = "read by the calls' pointers"))]
    bias: &'a [i32],
    requantize: Channels<'a>,
    #[cfg(target_arch = "arm")]
    calls: Calls,
}

impl<'a> Block<'a> {
    fn new(weights: &'a [i16], kernel_len: usize, bias: &'a [i32], requantize: Channels<'a>) -> Self {
        let channels = requantize.multipliers.len();
        assert!(
            bias.len() == channels
                && weights.len() == channels.next_multiple_of(2) * kernel_len
                && kernel_len.is_multiple_of(KERNEL * VECTOR)
        );
        Self {
            weights,
            kernel_len,
            bias,
            requantize,
            #[cfg(target_arch = "arm")]
            calls: Calls::new(weights, kernel_len, kernel_len / KERNEL * COLUMNS, bias, &requantize),
        }
    }

    /// All channels of four pixels: `columns` is what they see, `places` is where their outputs lie.
    fn multiply(&self, columns: &[i8], places: [usize; PIXELS], output: &mut [i8]) {
        assert!(
            columns.len() == self.kernel_len / KERNEL * COLUMNS
                && have_room(places, self.requantize.multipliers.len(), output)
        );
        #[cfg(target_arch = "arm")]
        #[allow(unsafe_code, reason = "a loop that the compiler does not find")]
        // SAFETY: the assertions, here and where the block was made, say that there are kernels for all pairs of channels, of
        // the columns' length, and that so many outputs fit from each place on.
        unsafe {
            self.calls.run(NEIGHBOURS, columns, &places, output);
        }
        #[cfg(not(target_arch = "arm"))]
        self.computed(columns, places, output);
    }

    #[cfg(not(target_arch = "arm"))]
    fn computed(&self, columns: &[i8], places: [usize; PIXELS], output: &mut [i8]) {
        use crate::quantize::rescale;
        let Channels { multipliers, zero_point, bounds: (min, max) } = self.requantize;
        let pairs = self.weights.chunks_exact(2 * self.kernel_len);
        for (channel, (&bias, &multiplier)) in self.bias.iter().zip(multipliers).enumerate() {
            let pair = pairs.clone().nth(channel / 2).unwrap_or_default();
            for (lane, output_place) in places.into_iter().enumerate() {
                let mut sum = bias;
                for (vector, weights) in pair.chunks_exact(WEIGHTS).enumerate().skip(channel % 2).step_by(2) {
                    let (eight, column) = (vector / 2 / KERNEL, vector / 2 % KERNEL);
                    let at = (eight / 2 * COLUMNS + column + lane) * VECTOR + eight % 2 * WEIGHTS;
                    for (x, weight) in columns[at..].iter().zip(weights) {
                        sum = sum.wrapping_add(i32::from(*weight) * i32::from(*x));
                    }
                }
                output[output_place + channel] =
                    (zero_point + rescale(sum, multiplier)).clamp(min, max) as i8;
            }
        }
    }
}

#[cfg(target_arch = "arm")]
mod arm {
    #![allow(unsafe_code, reason = "loops that the compiler does not find")]

    use core::arch::asm;
    use core::ops::Range;

    use super::{KERNEL, VECTOR, WEIGHTS};

    /// Puts a kernel of whole rows of three columns of so many channels among those of a pair.
    pub(super) fn put_kernel(kernel: &[i16], depth: usize, pair: &mut [i16]) -> i32 {
        let rows = kernel.len() / (KERNEL * depth);
        // SAFETY: the caller has checked that the pair is twice as long as the kernel.
        unsafe { put_weights(pair.as_mut_ptr(), kernel.as_ptr(), rows, depth / WEIGHTS) }
    }

    /// # Safety
    ///
    /// So many rows of three columns of so many vectors, at least one, can be read; twice as many written.
    #[inline(never)]
    unsafe fn put_weights(to: *mut i16, from: *const i16, rows: usize, vectors: usize) -> i32 {
        let sum;
        // SAFETY: the caller promises that all of these can be read and written; registers that are no operands are saved
        // and restored.
        unsafe {
            asm!(
                "push {{r4-r6, lr}}",
                "movs r6, #0",
                "2:",
                "movs r4, #3",
                "mov r5, r0",
                "3:",
                "mov r0, r5",
                "dls lr, r3",
                "4:",
                "vldrh.u16 q0, [r1], #16",
                "vaddva.s16 r6, q0",
                "vstrb.8 q0, [r0], #96",
                "le lr, 4b",
                "adds r5, #32",
                "subs r4, #1",
                "bne 3b",
                "subs r0, #64",
                "subs r2, #1",
                "bne 2b",
                "mov r0, r6",
                "pop {{r4-r6, lr}}",
                inout("r0") to => sum,
                inout("r1") from => _,
                inout("r2") rows => _,
                in("r3") vectors,
                out("d0") _,
                out("d1") _,
            );
        }
        sum
    }

    /// What the loop reads.
    #[repr(C)]
    struct Put {
        /// Of columns, those that lie in the map.
        first: usize,
        last: usize,
        depth: usize,
        /// Of a column.
        vectors: usize,
        /// From the end of a row's column to the next row, in bytes.
        skip: usize,
    }

    /// Puts rows of all columns, for those that lie outside something else; the caller has checked that there is a row and a
    /// column inside, and room for all.
    pub(super) fn put(
        from: &[i8],
        rows: usize,
        step: usize,
        inside: &Range<usize>,
        depth: usize,
        to: &mut [i8],
    ) {
        let skip = step.wrapping_sub(depth);
        let put = Put { first: inside.start, last: inside.end - 1, depth, vectors: depth / VECTOR, skip };
        let column = from.as_ptr().wrapping_sub(inside.start * depth);
        // SAFETY: columns from the first to the last can be read, as the caller has checked.
        unsafe { put_columns(to.as_mut_ptr(), column, rows, &put) };
    }

    /// A vector of a column.
    macro_rules! put_vector {
        ($column:literal) => {
            concat!("vldrb.u8 q0, [", $column, "], #16\n", "vstrb.8 q0, [r0], #16\n")
        };
    }

    /// # Safety
    ///
    /// So many rows of columns from the first to the last, where the first of all would be at `column`, can be read; all have
    /// room.
    #[inline(never)]
    unsafe fn put_columns(to: *mut i8, column: *const i8, rows: usize, put: &Put) {
        // SAFETY: the caller promises that all of these can be read and written; registers that are no operands are saved
        // and restored.
        unsafe {
            asm!(
                "push {{r4-r9, lr}}",
                "ldm r3, {{r4-r6, r8, r9}}",
                // Where columns begin: instead of one that lies outside, that of the nearest.
                "vdup.32 q2, r4",
                "vdup.32 q3, r5",
                "movs r4, #0",
                "vidup.u32 q0, r4, #1",
                "vidup.u32 q1, r4, #1",
                "vmax.u32 q0, q0, q2",
                "vmax.u32 q1, q1, q2",
                "vmin.u32 q0, q0, q3",
                "vmin.u32 q1, q1, q3",
                "vdup.32 q2, r6",
                "vmlas.i32 q0, q2, r1",
                "vmlas.i32 q1, q2, r1",
                "vmov r1, r4, q0[2], q0[0]",
                "vmov r3, r5, q0[3], q0[1]",
                "vmov r6, r7, d2",
                "2:",
                "dls lr, r8",
                "3:",
                put_vector!("r1"),
                put_vector!("r3"),
                put_vector!("r4"),
                put_vector!("r5"),
                put_vector!("r6"),
                put_vector!("r7"),
                "le lr, 3b",
                "add r1, r9",
                "add r3, r9",
                "add r4, r9",
                "add r5, r9",
                "add r6, r9",
                "add r7, r9",
                "subs r2, #1",
                "bne 2b",
                "pop {{r4-r9, lr}}",
                inout("r0") to => _,
                inout("r1") column => _,
                inout("r2") rows => _,
                inout("r3") put => _,
                out("d0") _, out("d1") _, out("d2") _, out("d3") _,
                out("d4") _, out("d5") _, out("d6") _, out("d7") _,
            );
        }
    }

    /// Fills so many vectors of a column, the first of which the columns begin with.
    pub(super) fn fill_column(value: i8, vectors: usize, columns: &mut [i8]) {
        // SAFETY: the caller has checked that there is a vector; each is followed by five of other columns, but for those that
        // lie before this one.
        unsafe {
            asm!(
                "push {{r4, lr}}",
                "vdup.8 q0, r1",
                "dls lr, r2",
                "2:",
                "vstrb.8 q0, [r0], #96",
                "le lr, 2b",
                "pop {{r4, lr}}",
                inout("r0") columns.as_mut_ptr() => _,
                in("r1") i32::from(value),
                in("r2") vectors,
                out("d0") _,
                out("d1") _,
            );
        }
    }
}
