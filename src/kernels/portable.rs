//! The inner loops in plain Rust, for every target.

use core::ops::Range;

use super::Tensors;
use crate::kernel_source::{KernelSource, Kernels};
use crate::mixing::Mixture;
use crate::quantize::{Element, round_shift};
use crate::{Experts, Geometry, MAX_EXPERTS, Requantize, StaticKernels};

/// `sum w (x - zero_point)`.
#[inline]
pub(super) fn dot<X: Element, W: Element>(input: &[X], weights: &[W], zero_point: i32) -> i32 {
    input.iter().zip(weights).map(|(x, w)| w.widen() * (x.widen() - zero_point)).sum()
}

/// Multiplies a vector by a matrix.
pub(crate) fn linear<X: Element, Y: Element>(
    kernels: &StaticKernels<'_>,
    zero_point: i32,
    requantize: &Requantize<'_>,
    input: &[X],
    output: &mut [Y],
) {
    let rows = kernels.weights().chunks_exact(input.len()).zip(kernels.bias());
    for (channel, (output, (row, bias))) in output.iter_mut().zip(rows).enumerate() {
        *output = requantize.apply(channel, bias + dot(input, row, zero_point));
    }
}

/// Runs a loop for block after block of output channels, as many as the scratch has room for.
///
/// # Panics
///
/// If it has no room for `least` of them.
#[inline(always)]
fn in_blocks<S: KernelSource>(
    geometry: &Geometry,
    source: &S,
    scratch: &mut [i32],
    least: usize,
    mut inner_loop: impl FnMut(Range<usize>, &Kernels<'_, S::Weight>),
) {
    let step = source.block_channels(scratch);
    assert!(step >= least);
    let mut first = 0;
    while first < geometry.output.channels {
        let block = first..geometry.output.channels.min(first + step);
        inner_loop(block.clone(), &source.block(block, scratch));
        first += step;
    }
}

/// Convolves block by block: all channels in one where the output may overlap the input.
#[inline(never)]
pub(crate) fn convolve<X: Element, Y: Element>(
    geometry: &Geometry,
    zero_point: i32,
    requantize: &Requantize<'_>,
    source: &impl KernelSource,
    scratch: &mut [i32],
    tensors: &mut Tensors<'_, X, Y>,
) {
    let least = if tensors.overlap() { geometry.output.channels } else { 1 };
    in_blocks(geometry, source, scratch, least, |channels, kernels| {
        convolve_block(geometry, zero_point, channels, kernels, requantize, tensors);
    });
}

/// Convolves each channel with its kernel, block by block.
#[inline(never)]
pub(crate) fn depthwise<X: Element, Y: Element>(
    geometry: &Geometry,
    zero_point: i32,
    requantize: &Requantize<'_>,
    source: &impl KernelSource,
    scratch: &mut [i32],
    tensors: &mut Tensors<'_, X, Y>,
) {
    in_blocks(geometry, source, scratch, 1, |channels, kernels| {
        depthwise_block(geometry, zero_point, channels, kernels, requantize, tensors);
    });
}

/// Convolves `channels` of the output. Padding is what the zero point stands for, so its taps are skipped.
fn convolve_block<X: Element, W: Element, Y: Element>(
    geometry: &Geometry,
    zero_point: i32,
    channels: Range<usize>,
    kernels: &Kernels<'_, W>,
    requantize: &Requantize<'_>,
    tensors: &mut Tensors<'_, X, Y>,
) {
    let Geometry { input: shape, output: out_shape, window, groups } = *geometry;
    let depth = geometry.group_channels();
    let kernel_len = geometry.kernel_len();
    let group_outputs = out_shape.channels / groups;
    // Neighbouring taps of a row are one run of memory unless something lies between them.
    let whole_rows = geometry.whole_rows();
    for y in tensors.in_order(out_shape.height) {
        let (rows, first_row) = geometry.rows(y);
        for x in tensors.in_order(out_shape.width) {
            let (columns, first_column) = geometry.columns(x);
            let (taps, run) = if whole_rows { (1, columns.len() * depth) } else { (columns.len(), depth) };
            let pixel = (y * out_shape.width + x) * out_shape.channels;
            for (channel, (kernel, &bias)) in
                channels.clone().zip(kernels.weights.chunks_exact(kernel_len).zip(kernels.bias))
            {
                let group = channel / group_outputs;
                let mut accumulator = bias;
                for (i, row) in rows.clone().enumerate() {
                    let input_row = (first_row + i * window.dilation[0]) * shape.width;
                    for tap in 0..taps {
                        let column = first_column + tap * window.dilation[1];
                        let from = (input_row + column) * shape.channels + group * depth;
                        let weight = (row * window.kernel[1] + columns.start + tap) * depth;
                        let seen = &tensors.input()[from..from + run];
                        accumulator += dot(seen, &kernel[weight..weight + run], zero_point);
                    }
                }
                tensors.output()[pixel + channel] = requantize.apply(channel, accumulator);
            }
        }
    }
}

/// Convolves `channels`, each with its own kernel.
fn depthwise_block<X: Element, W: Element, Y: Element>(
    geometry: &Geometry,
    zero_point: i32,
    channels: Range<usize>,
    kernels: &Kernels<'_, W>,
    requantize: &Requantize<'_>,
    tensors: &mut Tensors<'_, X, Y>,
) {
    let Geometry { input: shape, output: out_shape, window, .. } = *geometry;
    for y in 0..out_shape.height {
        let (rows, first_row) = geometry.rows(y);
        for x in 0..out_shape.width {
            let (columns, first_column) = geometry.columns(x);
            let pixel = (y * out_shape.width + x) * shape.channels;
            for (channel, (kernel, &bias)) in
                channels.clone().zip(kernels.weights.chunks_exact(window.taps()).zip(kernels.bias))
            {
                let mut accumulator = bias;
                for (i, row) in rows.clone().enumerate() {
                    let input_row = (first_row + i * window.dilation[0]) * shape.width;
                    for (j, column) in columns.clone().enumerate() {
                        let input_column = first_column + j * window.dilation[1];
                        let from = (input_row + input_column) * shape.channels + channel;
                        let weight = kernel[row * window.kernel[1] + column].widen();
                        accumulator += weight * (tensors.input()[from].widen() - zero_point);
                    }
                }
                tensors.output()[pixel + channel] = requantize.apply(channel, accumulator);
            }
        }
    }
}

/// Mixes one channel's kernel: `(sum_i coefficient_i W_ik + 2^(shift-1)) >> shift`.
pub(crate) fn mix<'k>(
    mixture: &Mixture<'_>,
    channel: usize,
    coefficients: &mut [i32],
    kernel: impl Iterator<Item = &'k mut i16>,
) {
    let experts = mixture.experts;
    experts.coefficients(channel, mixture.routing, coefficients);
    let coefficients = &*coefficients;
    let quads = experts.quads(channel);
    // The usual numbers of experts have loops of their own.
    if let Some(coefficients) = coefficients.as_array::<4>() {
        return mix_whole(quads.as_chunks().0, coefficients, experts.shift(), kernel);
    }
    if let Some(coefficients) = coefficients.as_array::<8>() {
        return mix_whole(quads.as_chunks().0, coefficients, experts.shift(), kernel);
    }
    let whole = coefficients.len() / 4 * 4;
    let (quad_coefficients, tail_coefficients) = coefficients.split_at(whole);
    let tails: [&[i8]; 3] =
        core::array::from_fn(
            |tail| {
                if tail < tail_coefficients.len() { experts.tail(channel, tail) } else { &[] }
            },
        );
    for (k, mixed) in kernel.enumerate() {
        let mut sum = 0;
        for (&weight, &coefficient) in quads[k * whole..].iter().zip(quad_coefficients) {
            sum += coefficient * i32::from(weight);
        }
        for (tail, &coefficient) in tails.iter().zip(tail_coefficients) {
            sum += coefficient * i32::from(tail[k]);
        }
        *mixed = round_shift(sum, experts.shift()) as i16;
    }
}

/// Mixes experts that fill whole words.
fn mix_whole<'k, const N: usize>(
    weights: &[[i8; N]],
    coefficients: &[i32; N],
    shift: u32,
    kernel: impl Iterator<Item = &'k mut i16>,
) {
    for (mixed, weights) in kernel.zip(weights) {
        let products = weights.iter().zip(coefficients).map(|(w, c)| i32::from(*w) * c);
        *mixed = round_shift(products.sum(), shift) as i16;
    }
}

/// The sum of biases, as many as routing weights, times these; a negative one counts as zero.
#[inline(always)]
pub(crate) fn weigh(routing: &[crate::RoutingWeight], biases: &[i32]) -> i64 {
    let products =
        routing.iter().zip(biases).map(|(w, &b)| i64::from(crate::mixing::non_negative(*w)) * i64::from(b));
    products.sum()
}

/// Multiplies a vector by the matrices of all experts.
pub(crate) fn cond_linear<X: Element, Y: Element>(
    mixture: &Mixture<'_>,
    zero_point: i32,
    requantize: &Requantize<'_>,
    input: &[X],
    output: &mut [Y],
) {
    let Mixture { experts, routing } = *mixture;
    let mut products = [0; MAX_EXPERTS];
    let products = &mut products[..routing.len()];
    for (channel, output) in output.iter_mut().enumerate() {
        expert_dots(experts, channel, input, zero_point, products);
        *output = requantize.apply(channel, experts.combine(channel, routing, products));
    }
}

/// One channel's products with every expert.
fn expert_dots<X: Element>(
    experts: &Experts<'_>,
    channel: usize,
    input: &[X],
    zero_point: i32,
    products: &mut [i32],
) {
    // The usual numbers of experts have loops of their own, where there are registers for their sums and no vectors.
    if cfg!(not(any(condconv_thumb = "1", condconv_kernels = "helium"))) {
        if let Some(products) = products.as_mut_array::<4>() {
            *products = whole_dots(experts.quads(channel).as_chunks().0, input, zero_point);
            return;
        }
        if let Some(products) = products.as_mut_array::<8>() {
            *products = whole_dots(experts.quads(channel).as_chunks().0, input, zero_point);
            return;
        }
    }
    let whole = products.len() / 4 * 4;
    let (quad_products, tail_products) = products.split_at_mut(whole);
    quad_products.fill(0);
    let quads = experts.quads(channel);
    for (k, x) in input.iter().enumerate() {
        let x = x.widen() - zero_point;
        for (&weight, product) in quads[k * whole..].iter().zip(&mut *quad_products) {
            *product += i32::from(weight) * x;
        }
    }
    for (tail, product) in tail_products.iter_mut().enumerate() {
        *product = dot(input, experts.tail(channel, tail), zero_point);
    }
}

/// Products with experts that fill whole words.
fn whole_dots<X: Element, const N: usize>(weights: &[[i8; N]], input: &[X], zero_point: i32) -> [i32; N] {
    let mut products = [0; N];
    for (x, weights) in input.iter().zip(weights) {
        let x = x.widen() - zero_point;
        for (product, weight) in products.iter_mut().zip(weights) {
            *product += i32::from(*weight) * x;
        }
    }
    products
}

/// Adds channels, from `first` on, over all pixels.
pub(crate) fn add_pixels<X: Element>(channels: usize, first: usize, input: &[X], sums: &mut [i32]) {
    for pixel in input.chunks_exact(channels) {
        for (sum, x) in sums.iter_mut().zip(&pixel[first..]) {
            *sum += x.widen();
        }
    }
}

/// Where the taps of the window at an output pixel lie that meet the input: offsets of their first channel.
fn taps(geometry: &Geometry, y: usize, x: usize) -> impl Iterator<Item = usize> + Clone + use<> {
    let Geometry { input, window, .. } = *geometry;
    let ((rows, first_row), (columns, first_column)) = (geometry.rows(y), geometry.columns(x));
    (0..rows.len()).flat_map(move |i| {
        let row = (first_row + i * window.dilation[0]) * input.width;
        (0..columns.len()).map(move |j| (row + first_column + j * window.dilation[1]) * input.channels)
    })
}

/// The largest element of each window, channel by channel.
pub(crate) fn max_pool<X: Element>(geometry: &Geometry, mut tensors: Tensors<'_, X, X>) {
    let shape = geometry.output();
    for pixel in 0..shape.pixels() {
        let taps = taps(geometry, pixel / shape.width, pixel % shape.width);
        for channel in 0..shape.channels {
            let input = tensors.input();
            let largest = taps.clone().map(|tap| input[tap + channel].widen()).fold(X::MIN, i32::max);
            tensors.output()[pixel * shape.channels + channel] = X::saturate(largest);
        }
    }
}
