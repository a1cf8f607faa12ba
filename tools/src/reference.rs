//! The float reference: the original graph, run as the file states it.

use std::sync::Arc;

use condconv::Shape;
use rten::ValueView;

use crate::onnx::{Engine, Import, floats};

/// Runs an imported network in float, from its ONNX graph, not from what was made of it.
///
/// Each run takes one thread, so that its result does not depend on how many there are at a time.
#[derive(Debug, Clone)]
pub struct Reference {
    engine: Arc<Engine>,
    input_name: String,
    input_dims: Vec<usize>,
    input_order: Arc<[usize]>,
}

/// Why the float reference cannot run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// The input is not as large as the network's.
    #[error("the network takes {expected} numbers, not {found}; give one sample at a time")]
    Input {
        /// Numbers that the network takes.
        expected: usize,
        /// Numbers given.
        found: usize,
    },
    /// The graph does not run.
    #[error("the float network cannot be evaluated: {0}; check it with onnx.checker")]
    Evaluation(String),
    /// A value that was asked for holds NaN or infinity.
    #[error("value `{0}` is NaN or infinite for this input; check the network's weights and the input")]
    NotFinite(String),
    /// A value that was asked for holds integers.
    #[error("value `{0}` does not hold floats; ask for the values that the network names")]
    NotFloat(String),
}

impl Reference {
    /// The reference of an imported network.
    #[must_use]
    pub fn new(import: &Import) -> Self {
        Self {
            engine: Arc::clone(&import.engine),
            input_name: import.input_name.clone(),
            input_dims: import.input_dims.clone(),
            input_order: Arc::clone(&import.input_order),
        }
    }

    /// A sample, ordered as in the file, in the order of the device, NHWC.
    ///
    /// # Panics
    ///
    /// If it is shorter than the network's input.
    #[must_use]
    pub fn nhwc(&self, sample: &[f32]) -> Vec<f32> {
        self.input_order.iter().map(|&index| sample[index]).collect()
    }

    /// Computes the values named in `wanted`, in NCHW order, for one sample ordered as in the file; names may repeat.
    ///
    /// # Errors
    ///
    /// An input of another length, or a value that the graph does not compute.
    pub fn run(&self, input: &[f32], wanted: &[&str]) -> Result<Vec<Vec<f32>>, ReferenceError> {
        let expected = self.input_dims.iter().product();
        let view = ValueView::from_shape(&self.input_dims, input)
            .map_err(|_| ReferenceError::Input { expected, found: input.len() })?;
        let mut distinct = wanted.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        let values =
            self.engine.run(&[(&self.input_name, view)], &distinct).map_err(ReferenceError::Evaluation)?;
        wanted
            .iter()
            .map(|&name| {
                let value = distinct.binary_search(&name).ok().and_then(|index| values.get(index));
                let numbers = value.and_then(floats).ok_or_else(|| ReferenceError::NotFloat(name.into()))?;
                if numbers.iter().all(|number| number.is_finite()) {
                    Ok(numbers)
                } else {
                    Err(ReferenceError::NotFinite(name.into()))
                }
            })
            .collect()
    }
}

/// Reorders a tensor from NCHW to NHWC.
///
/// ```
/// use condconv::Shape;
/// // One row of two pixels with three channels.
/// let nhwc = condconv_tools::reference::nhwc_from_nchw(&[1., 2., 3., 4., 5., 6.], Shape::new(1, 2, 3));
/// assert_eq!(nhwc, [1., 3., 5., 2., 4., 6.]);
/// ```
#[must_use]
pub fn nhwc_from_nchw<T: Copy>(nchw: &[T], shape: Shape) -> Vec<T> {
    let pixels = nchw.len() / shape.channels.max(1);
    (0..pixels).flat_map(|pixel| nchw.iter().skip(pixel).step_by(pixels).copied()).collect()
}
