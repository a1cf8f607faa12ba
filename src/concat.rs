//! Copies of a tensor into a larger one: concatenation along channels, and padding.

use core::marker::PhantomData;

use crate::quantize::{Element, check_zero_point, round_shift, span};
use crate::{LayerError, Operand, Padding, Shape};

/// One tensor's part of a concatenation along channels, brought to the output's scale.
///
/// ```text
/// y = saturate(zero_point + (((x - zx) m + 2^(shift-1)) >> shift))      in i32
/// ```
///
/// ```
/// use condconv::{ConcatPart, Operand, Shape, checked};
///
/// // Two pixels of one channel become the second of two channels; same scale.
/// static PART: ConcatPart =
///     checked(ConcatPart::new(Shape::new(1, 2, 1), 2, 1, Operand::new(0, 1 << 8), 8, 0));
/// let mut output = [1i8, 0, 2, 0];
/// PART.infer(&[7i8, 8], &mut output);
/// assert_eq!(output, [1, 7, 2, 8]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ConcatPart<X = i8, Y = i8> {
    input: Shape,
    output_channels: usize,
    first_channel: usize,
    operand: Operand,
    shift: u32,
    zero_point: i32,
    elements: PhantomData<(X, Y)>,
}

impl<X: Element, Y: Element> ConcatPart<X, Y> {
    /// The input becomes the channels from `first_channel` on of an output that has `output_channels`.
    ///
    /// # Errors
    ///
    /// [`LayerError::TableLength`] if the output has too few channels, [`LayerError::AccumulatorOverflow`], and
    /// errors for ranges.
    pub const fn new(
        input: Shape,
        output_channels: usize,
        first_channel: usize,
        operand: Operand,
        shift: u32,
        zero_point: i32,
    ) -> Result<Self, LayerError> {
        if let Err(error) = input.check() {
            return Err(error);
        }
        if output_channels < input.channels || first_channel > output_channels - input.channels {
            return Err(LayerError::TableLength);
        }
        if let Err(error) = Shape::new(input.height, input.width, output_channels).check() {
            return Err(error);
        }
        if shift == 0 || shift > 30 || operand.multiplier < 0 {
            return Err(LayerError::Multiplier);
        }
        if span::<X>() * operand.multiplier as i64 + (1 << (shift - 1)) > i32::MAX as i64 {
            return Err(LayerError::AccumulatorOverflow);
        }
        let zero_points = (check_zero_point::<X>(operand.zero_point), check_zero_point::<Y>(zero_point));
        match zero_points {
            (Ok(()), Ok(())) => Ok(Self {
                input,
                output_channels,
                first_channel,
                operand,
                shift,
                zero_point,
                elements: PhantomData,
            }),
            (Err(error), _) | (_, Err(error)) => Err(error),
        }
    }

    /// Elements of the input.
    #[must_use]
    pub const fn input_len(&self) -> usize {
        self.input.len()
    }

    /// Elements of the output.
    #[must_use]
    pub const fn output_len(&self) -> usize {
        self.input.pixels() * self.output_channels
    }

    /// Writes this part of the output and leaves the rest as it is.
    ///
    /// # Panics
    ///
    /// If a slice is not of the layer's shape.
    #[inline]
    pub fn infer(&self, input: &[X], output: &mut [Y]) {
        assert!(input.len() == self.input_len() && output.len() == self.output_len());
        self.copy(input, output);
    }

    /// Writes this part of one row.
    ///
    /// # Panics
    ///
    /// If a slice is not one row of the layer's shape.
    #[inline]
    pub fn infer_row(&self, input: &[X], output: &mut [Y]) {
        let pixels = self.input.width;
        assert!(input.len() == self.input.row_len() && output.len() == pixels * self.output_channels);
        self.copy(input, output);
    }

    fn copy(&self, input: &[X], output: &mut [Y]) {
        let channels = self.first_channel..self.first_channel + self.input.channels;
        let pixels = input.chunks_exact(self.input.channels);
        for (input, output) in pixels.zip(output.chunks_exact_mut(self.output_channels)) {
            for (output, x) in output[channels.clone()].iter_mut().zip(input) {
                let rounded = round_shift(self.operand.scaled(*x), self.shift);
                *output = Y::saturate(self.zero_point + rounded);
            }
        }
    }
}

/// Zeros around a tensor, where no convolution takes the padding over.
///
/// ```
/// use condconv::{Pad, Padding, Shape, checked};
///
/// static PAD: Pad = checked(Pad::new(Shape::new(1, 2, 1), Padding::new(0, 1, 0, 2), -5));
/// let mut output = [0i8; 5];
/// PAD.infer(&[7, 8], &mut output);
/// assert_eq!(output, [-5, 7, 8, -5, -5]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Pad<X = i8> {
    input: Shape,
    padding: Padding,
    zero_point: i32,
    element: PhantomData<X>,
}

impl<X: Element> Pad<X> {
    /// Scale and zero point are the same for input and output.
    ///
    /// # Errors
    ///
    /// [`LayerError::ZeroDimension`], [`LayerError::TooLarge`] and [`LayerError::OutputRange`].
    pub const fn new(input: Shape, padding: Padding, zero_point: i32) -> Result<Self, LayerError> {
        match (input.check(), padding.check(), check_zero_point::<X>(zero_point)) {
            (Ok(()), Ok(()), Ok(())) => {}
            (Err(error), ..) | (_, Err(error), _) | (.., Err(error)) => return Err(error),
        }
        let layer = Self { input, padding, zero_point, element: PhantomData };
        match layer.output().check() {
            Ok(()) => Ok(layer),
            Err(error) => Err(error),
        }
    }

    /// The output's shape.
    #[must_use]
    pub const fn output(&self) -> Shape {
        Shape::new(
            self.input.height + self.padding.top + self.padding.bottom,
            self.input.width + self.padding.left + self.padding.right,
            self.input.channels,
        )
    }

    /// Elements of the input.
    #[must_use]
    pub const fn input_len(&self) -> usize {
        self.input.len()
    }

    /// Elements of the output.
    #[must_use]
    pub const fn output_len(&self) -> usize {
        self.output().len()
    }

    /// Pads an NHWC tensor.
    ///
    /// # Panics
    ///
    /// If a slice is not of the layer's shape.
    #[inline]
    pub fn infer(&self, input: &[X], output: &mut [X]) {
        assert!(input.len() == self.input_len() && output.len() == self.output_len());
        self.pad(input, output);
    }

    fn pad(&self, input: &[X], output: &mut [X]) {
        output.fill(X::saturate(self.zero_point));
        let row = self.input.width * self.input.channels;
        let padded_row = self.output().width * self.input.channels;
        let left = self.padding.left * self.input.channels;
        let rows = output.chunks_exact_mut(padded_row).skip(self.padding.top);
        for (output, input) in rows.zip(input.chunks_exact(row)) {
            output[left..left + row].copy_from_slice(input);
        }
    }
}
