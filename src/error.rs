//! What can be wrong with a layer's description.

use core::fmt;

/// Why a layer cannot be built. Checked once, when the layer is made: in generated code during constant
/// evaluation, so that a wrong layer is a compile error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum LayerError {
    /// A height, width, channel count, kernel extent, stride, dilation or group count is zero.
    ZeroDimension,
    /// An extent exceeds 2^24, or a tensor has 2^31 elements or more.
    TooLarge,
    /// The padded input is smaller than the kernel.
    KernelLargerThanInput,
    /// A pooling window meets nothing but padding.
    EmptyWindow,
    /// Rows are dropped before others are computed from them, or computed from none.
    Rows,
    /// Input or output channels are not a multiple of the number of groups, or a depthwise layer's output
    /// channels differ from its input channels.
    Groups,
    /// The number of weights is not output channels x kernel length (x experts).
    WeightLength,
    /// A bias, multiplier, shift, ratio or weight-sum table has not one entry for each channel or expert.
    TableLength,
    /// The number of experts is not in 1..=[`MAX_EXPERTS`](crate::MAX_EXPERTS).
    Experts,
    /// A zero point or clamp bound lies outside the element type, or min > max.
    OutputRange,
    /// A multiplier is negative or a shift is out of range.
    Multiplier,
    /// A mixed kernel could leave int16: the mixing shift is too small.
    MixOverflow,
    /// The accumulator could leave int32.
    AccumulatorOverflow,
    /// The routing accumulator could leave 47 bits.
    RoutingOverflow,
}

impl LayerError {
    /// The reason in words.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::ZeroDimension => "a dimension, stride, dilation or group count is zero",
            Self::TooLarge => "an extent exceeds 2^24 or a tensor has 2^31 elements or more",
            Self::KernelLargerThanInput => "the kernel is larger than the padded input",
            Self::EmptyWindow => "a pooling window meets nothing but padding",
            Self::Rows => "rows are dropped before others are computed from them, or computed from none",
            Self::Groups => "channels and groups do not match",
            Self::WeightLength => "the number of weights does not match the shape",
            Self::TableLength => "a table does not have one entry per channel or expert",
            Self::Experts => "the number of experts is not between 1 and 32",
            Self::OutputRange => "a zero point or clamp bound lies outside the element type",
            Self::Multiplier => "a multiplier or shift is out of range",
            Self::MixOverflow => "the mixed kernel could overflow int16",
            Self::AccumulatorOverflow => "the accumulator could overflow int32",
            Self::RoutingOverflow => "the routing accumulator could overflow",
        }
    }
}

impl fmt::Display for LayerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl core::error::Error for LayerError {}

/// The layer, or a compile error that says what is wrong with it.
///
/// For layers in statics:
///
/// ```
/// use condconv::{Shape, LayerError, checked};
/// const fn shape() -> Result<Shape, LayerError> { Ok(Shape::new(1, 2, 3)) }
/// static SHAPE: Shape = checked(shape());
/// # assert_eq!(SHAPE.len(), 6);
/// ```
///
/// # Panics
///
/// If the result is an error; in constant evaluation that is a compile error.
#[must_use]
#[track_caller]
pub const fn checked<T: Copy>(layer: Result<T, LayerError>) -> T {
    match layer {
        Ok(layer) => layer,
        Err(error) => panic!("{}", error.message()),
    }
}
