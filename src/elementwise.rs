//! Sums and products of two tensors, element by element.

use core::marker::PhantomData;

use crate::quantize::{Element, check_range, check_zero_point, round_shift, span};
use crate::{LayerError, Requantize, Shape};

/// One operand of a sum: how far an element is from its zero point, and what that is worth in the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operand {
    /// The operand's zero point.
    pub zero_point: i32,
    /// `round(2^shift * operand's scale / output's scale)`.
    pub multiplier: i32,
}

impl Operand {
    /// From zero point and multiplier.
    #[must_use]
    pub const fn new(zero_point: i32, multiplier: i32) -> Self {
        Self { zero_point, multiplier }
    }

    /// What an element is worth, before the shift.
    #[inline(always)]
    pub(crate) fn scaled<X: Element>(&self, x: X) -> i32 {
        (x.widen() - self.zero_point) * self.multiplier
    }
}

/// The sum of two tensors of the same shape, each with its own scale, activation included; residual connections.
///
/// ```text
/// y = clamp(zero_point + (((a - za) ma + (b - zb) mb + 2^(shift-1)) >> shift))      in i32
/// ```
///
/// ```
/// use condconv::{Add, Operand, Shape, checked};
///
/// // Scales 1 and 1/2, output scale 1: multipliers 2^8 and 2^7.
/// static ADD: Add = checked(Add::new(Shape::vector(2), Operand::new(0, 256), Operand::new(-2, 128), 8, 0, -128, 127));
/// let mut output = [0; 2];
/// ADD.infer(&[1i8, 100], &[2i8, 100], &mut output);
/// assert_eq!(output, [3i8, 127]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Add<A = i8, B = i8, Y = i8> {
    shape: Shape,
    operands: [Operand; 2],
    shift: u32,
    zero_point: i32,
    min: i32,
    max: i32,
    elements: PhantomData<(A, B, Y)>,
}

impl<A: Element, B: Element, Y: Element> Add<A, B, Y> {
    /// `zero_point`, `min` and `max` are the output's.
    ///
    /// # Errors
    ///
    /// [`LayerError::AccumulatorOverflow`] if the sum could leave i32; errors for ranges.
    pub const fn new(
        shape: Shape,
        a: Operand,
        b: Operand,
        shift: u32,
        zero_point: i32,
        min: i32,
        max: i32,
    ) -> Result<Self, LayerError> {
        if shift == 0 || shift > 30 || a.multiplier < 0 || b.multiplier < 0 {
            return Err(LayerError::Multiplier);
        }
        let reach = span::<A>() * a.multiplier as i64 + span::<B>() * b.multiplier as i64;
        if reach + (1 << (shift - 1)) > i32::MAX as i64 {
            return Err(LayerError::AccumulatorOverflow);
        }
        let range = check_range::<Y>(zero_point, min, max);
        let zero_points = (check_zero_point::<A>(a.zero_point), check_zero_point::<B>(b.zero_point));
        match (shape.check(), zero_points.0, zero_points.1, range) {
            (Ok(()), Ok(()), Ok(()), Ok(())) => {
                Ok(Self { shape, operands: [a, b], shift, zero_point, min, max, elements: PhantomData })
            }
            (Err(error), ..) | (_, Err(error), ..) | (_, _, Err(error), _) | (.., Err(error)) => Err(error),
        }
    }

    /// Elements of each input.
    #[must_use]
    pub const fn input_len(&self) -> usize {
        self.shape.len()
    }

    /// Elements of the output.
    #[must_use]
    pub const fn output_len(&self) -> usize {
        self.shape.len()
    }

    /// Adds two tensors.
    ///
    /// # Panics
    ///
    /// If a slice is not of the layer's shape.
    #[inline]
    pub fn infer(&self, a: &[A], b: &[B], output: &mut [Y]) {
        assert!(a.len() == self.input_len() && b.len() == a.len() && output.len() == self.output_len());
        self.add(a, b, output);
    }

    /// Adds two rows.
    ///
    /// # Panics
    ///
    /// If a slice is not one row of the layer's shape.
    #[inline]
    pub fn infer_row(&self, a: &[A], b: &[B], output: &mut [Y]) {
        assert!(a.len() == self.shape.row_len() && b.len() == a.len() && output.len() == a.len());
        self.add(a, b, output);
    }

    fn add(&self, a: &[A], b: &[B], output: &mut [Y]) {
        for (output, (a, b)) in output.iter_mut().zip(a.iter().zip(b)) {
            *output = self.sum(*a, *b);
        }
    }

    #[inline(always)]
    fn sum(&self, a: A, b: B) -> Y {
        let [for_a, for_b] = self.operands;
        let rounded = round_shift(for_a.scaled(a) + for_b.scaled(b), self.shift);
        Y::saturate((self.zero_point + rounded).clamp(self.min, self.max))
    }
}

impl<A: Element, B: Element> Add<A, B, A> {
    /// Adds a tensor to another, in its place.
    ///
    /// # Panics
    ///
    /// If a slice is not of the layer's shape.
    #[inline]
    pub fn infer_in_place(&self, a: &mut [A], b: &[B]) {
        assert!(a.len() == self.input_len() && b.len() == a.len());
        self.add_in_place(a, b);
    }

    fn add_in_place(&self, a: &mut [A], b: &[B]) {
        for (a, b) in a.iter_mut().zip(b) {
            *a = self.sum(*a, *b);
        }
    }
}

/// A tensor times a second one, element by element, or times one number a channel (squeeze-and-excitation).
///
/// ```
/// use condconv::{Mul, Requantize, Shape, checked};
///
/// // Two pixels of two channels; the channels are halved and kept: factors 64 and 128 of scale 1/128.
/// static GATE: Mul<'static> = checked(Mul::new(
///     Shape::new(1, 2, 2), 0, true, -128, checked(Requantize::new(&[1 << 25], 0, -128, 127)),
/// ));
/// let mut output = [0; 4];
/// GATE.infer(&[10i8, 20, 30, 40], &[-64i8, 0], &mut output);
/// assert_eq!(output, [5i8, 20, 15, 40]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Mul<'a, A = i8, B = i8, Y = i8> {
    shape: Shape,
    per_channel: bool,
    zero_points: [i32; 2],
    requantize: Requantize<'a>,
    elements: PhantomData<(A, B, Y)>,
}

impl<'a, A: Element, B: Element, Y: Element> Mul<'a, A, B, Y> {
    /// `a_zero_point` and `b_zero_point` are the operands'; with `per_channel` the second has one element a channel.
    /// `requantize` has one multiplier.
    ///
    /// # Errors
    ///
    /// [`LayerError::AccumulatorOverflow`] if a product could leave i32; errors for lengths and ranges.
    pub const fn new(
        shape: Shape,
        a_zero_point: i32,
        per_channel: bool,
        b_zero_point: i32,
        requantize: Requantize<'a>,
    ) -> Result<Self, LayerError> {
        if span::<A>() * span::<B>() > i32::MAX as i64 {
            return Err(LayerError::AccumulatorOverflow);
        }
        let zero_points = (check_zero_point::<A>(a_zero_point), check_zero_point::<B>(b_zero_point));
        match (shape.check(), zero_points.0, zero_points.1, requantize.check::<Y>(1)) {
            (Ok(()), Ok(()), Ok(()), Ok(())) => Ok(Self {
                shape,
                per_channel,
                zero_points: [a_zero_point, b_zero_point],
                requantize,
                elements: PhantomData,
            }),
            (Err(error), ..) | (_, Err(error), ..) | (_, _, Err(error), _) | (.., Err(error)) => Err(error),
        }
    }

    /// Elements of the first input.
    #[must_use]
    pub const fn input_len(&self) -> usize {
        self.shape.len()
    }

    /// Elements of the output.
    #[must_use]
    pub const fn output_len(&self) -> usize {
        self.shape.len()
    }

    /// Elements of the second input.
    #[must_use]
    pub const fn factor_len(&self) -> usize {
        if self.per_channel { self.shape.channels } else { self.shape.len() }
    }

    /// Multiplies two tensors.
    ///
    /// # Panics
    ///
    /// If a slice is not of the layer's shape.
    #[inline]
    pub fn infer(&self, a: &[A], b: &[B], output: &mut [Y]) {
        assert!(
            a.len() == self.input_len() && b.len() == self.factor_len() && output.len() == self.output_len()
        );
        self.multiply(a, b, output);
    }

    /// Multiplies two rows, or a row by one number a channel.
    ///
    /// # Panics
    ///
    /// If a slice is not one row of the layer's shape.
    #[inline]
    pub fn infer_row(&self, a: &[A], b: &[B], output: &mut [Y]) {
        let factors = if self.per_channel { self.shape.channels } else { self.shape.row_len() };
        assert!(a.len() == self.shape.row_len() && b.len() == factors && output.len() == a.len());
        self.multiply(a, b, output);
    }

    fn multiply(&self, a: &[A], b: &[B], output: &mut [Y]) {
        for (a, output) in a.chunks_exact(b.len()).zip(output.chunks_exact_mut(b.len())) {
            for (output, (a, b)) in output.iter_mut().zip(a.iter().zip(b)) {
                *output = self.product(*a, *b);
            }
        }
    }

    #[inline(always)]
    fn product(&self, a: A, b: B) -> Y {
        let [for_a, for_b] = self.zero_points;
        self.requantize.apply(0, (a.widen() - for_a) * (b.widen() - for_b))
    }
}

impl<A: Element, B: Element> Mul<'_, A, B, A> {
    /// Multiplies a tensor by a second one, in its place.
    ///
    /// # Panics
    ///
    /// If a slice is not of the layer's shape.
    #[inline]
    pub fn infer_in_place(&self, a: &mut [A], b: &[B]) {
        assert!(a.len() == self.input_len() && b.len() == self.factor_len());
        self.multiply_in_place(a, b);
    }

    fn multiply_in_place(&self, a: &mut [A], b: &[B]) {
        for a in a.chunks_exact_mut(b.len()) {
            for (a, b) in a.iter_mut().zip(b) {
                *a = self.product(*a, *b);
            }
        }
    }
}
