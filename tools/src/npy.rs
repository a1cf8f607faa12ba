//! Reads calibration data, test data and labels from `.npy` files.

use std::path::{Path, PathBuf};

use half::f16;
use npyz::{Deserialize, NpyFile, Order, TypeChar};

/// Larger files are refused unread.
const MAX_FILE: u64 = 1 << 30;

/// NumPy's own headers take 118 bytes.
const MAX_HEADER: usize = 1024;

/// Samples of a network's input.
#[derive(Debug, Clone, PartialEq)]
pub struct Samples {
    /// Dimensions of the array: the number of samples, then those of one sample, as in the file.
    pub shape: Vec<usize>,
    /// The samples, one after the other, each in row-major order.
    pub data: Vec<f32>,
}

impl Samples {
    /// Reads samples for a network whose input has the dimensions `input_dims`, the batch of 1 included.
    ///
    /// Numbers of any width are taken as they are: integers are not scaled.
    ///
    /// # Errors
    ///
    /// A file that is no whole array of numbers, samples of another shape, NaN or infinity.
    pub fn read(path: &Path, input_dims: &[usize]) -> Result<Self, NpyError> {
        samples(path, input_dims).map_err(|fault| NpyError::new(path, fault))
    }

    /// Number of samples.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shape.first().copied().unwrap_or(0)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The samples, one at a time.
    pub fn iter(&self) -> std::slice::ChunksExact<'_, f32> {
        self.data.chunks_exact(self.shape.iter().skip(1).product::<usize>().max(1))
    }
}

impl<'a> IntoIterator for &'a Samples {
    type Item = &'a [f32];
    type IntoIter = std::slice::ChunksExact<'a, f32>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Why a `.npy` file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {reason}; {remedy}", file.display())]
pub struct NpyError {
    file: PathBuf,
    reason: String,
    remedy: String,
}

impl NpyError {
    fn new(file: &Path, (reason, remedy): Fault) -> Self {
        // The parser draws pictures of what it does not understand.
        let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
        Self { file: file.into(), reason, remedy }
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// What is wrong.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &str {
        &self.remedy
    }
}

/// Reason and remedy.
type Fault = (String, String);

fn fault<T>(reason: impl Into<String>, remedy: impl Into<String>) -> Result<T, Fault> {
    Err((reason.into(), remedy.into()))
}

fn samples(path: &Path, input_dims: &[usize]) -> Result<Samples, Fault> {
    let (shape, data) = read_array(path, &Floats)?;
    let sample = input_dims.get(1..).unwrap_or_default();
    if shape.get(1..) != Some(sample) {
        return fault(
            format!("holds an array of {shape:?}, where the network takes [samples, {}]", list(sample)),
            "store the samples along the first axis, the other axes as the network's input in the file",
        );
    }
    let length = sample.iter().product::<usize>().max(1);
    match data.iter().position(|x| !x.is_finite()) {
        Some(index) => fault(
            format!(
                "sample {} holds {} at {:?}",
                index / length,
                data[index],
                position(index % length, sample)
            ),
            "remove samples with NaN or infinity",
        ),
        None => Ok(Samples { shape, data }),
    }
}

/// Reads labels, integers from 0, one for each sample.
///
/// # Errors
///
/// A file that is no whole list of integers, or holds negative ones.
pub fn read_labels(path: &Path) -> Result<Vec<usize>, NpyError> {
    labels(path).map_err(|fault| NpyError::new(path, fault))
}

fn labels(path: &Path) -> Result<Vec<usize>, Fault> {
    let (shape, labels) = read_array(path, &Integers)?;
    if shape.len() != 1 {
        return fault(
            format!("holds labels of the shape {shape:?}"),
            "store a list with one label for each sample",
        );
    }
    let label = |label: i64| {
        usize::try_from(label)
            .or_else(|_| fault(format!("holds the label {label}"), "number the classes from 0"))
    };
    labels.into_iter().map(label).collect()
}

/// Which element types are taken, and as what.
trait Elements {
    type Element: Copy;
    fn read(&self, kind: TypeChar, size: u64, file: NpyFile<&[u8]>) -> Result<Vec<Self::Element>, Fault>;
}

struct Floats;

impl Elements for Floats {
    type Element = f32;

    fn read(&self, kind: TypeChar, size: u64, file: NpyFile<&[u8]>) -> Result<Vec<f32>, Fault> {
        match (kind, size) {
            (TypeChar::Float, 2) => numbers(file, f16::to_f32),
            (TypeChar::Float, 4) => numbers(file, |x: f32| x),
            (TypeChar::Float, 8) => numbers(file, |x: f64| x as f32),
            (TypeChar::Uint, 8) => numbers(file, |x: u64| x as f32),
            _ => Ok(Integers.read(kind, size, file)?.into_iter().map(|x| x as f32).collect()),
        }
    }
}

struct Integers;

impl Elements for Integers {
    type Element = i64;

    fn read(&self, kind: TypeChar, size: u64, file: NpyFile<&[u8]>) -> Result<Vec<i64>, Fault> {
        match (kind, size) {
            (TypeChar::Uint, 1) => numbers(file, |x: u8| x.into()),
            (TypeChar::Uint, 2) => numbers(file, |x: u16| x.into()),
            (TypeChar::Uint, 4) => numbers(file, |x: u32| x.into()),
            // A label of this size is no class, nor is the largest of the others.
            (TypeChar::Uint, 8) => numbers(file, |x: u64| x.try_into().unwrap_or(i64::MAX)),
            (TypeChar::Int, 1) => numbers(file, |x: i8| x.into()),
            (TypeChar::Int, 2) => numbers(file, |x: i16| x.into()),
            (TypeChar::Int, 4) => numbers(file, |x: i32| x.into()),
            (TypeChar::Int, 8) => numbers(file, |x: i64| x),
            _ => fault(format!("holds elements of type {}", file.dtype().descr()), ELEMENTS),
        }
    }
}

fn numbers<T: Deserialize, U>(file: NpyFile<&[u8]>, convert: impl Fn(T) -> U) -> Result<Vec<U>, Fault> {
    let numbers: Result<Vec<T>, _> = file.into_vec();
    let numbers = numbers.or_else(|error| fault(error.to_string(), DAMAGED))?;
    Ok(numbers.into_iter().map(convert).collect())
}

const ELEMENTS: &str = "convert samples with .astype(numpy.float32), labels with .astype(numpy.int64)";

const DAMAGED: &str = "write the array with numpy.save again";

/// Shape and elements of an array, in row-major order.
fn read_array<E: Elements>(path: &Path, elements: &E) -> Result<(Vec<usize>, Vec<E::Element>), Fault> {
    let unreadable =
        |error: std::io::Error| (format!("cannot be read ({error})"), "check the path".to_string());
    if std::fs::metadata(path).map_err(unreadable)?.len() > MAX_FILE {
        return fault("is larger than 1 GiB", "a few hundred samples are enough");
    }
    let bytes = std::fs::read(path).map_err(unreadable)?;
    check_header(&bytes)?;
    let mut rest = bytes.as_slice();
    let header = npyz::NpyHeader::from_reader(&mut rest)
        .or_else(|error| fault(format!("is no .npy file or a damaged one ({error})"), DAMAGED))?;
    let of = match header.dtype() {
        npyz::DType::Plain(of) if !header.uses_pickled_array() => of,
        other => return fault(format!("holds elements of type {}", other.descr()), ELEMENTS),
    };
    let size = of.size_field();
    if header.len().checked_mul(size) != u64::try_from(rest.len()).ok() {
        return fault(
            format!(
                "holds {} bytes where {:?} elements of {size} bytes are announced",
                rest.len(),
                header.shape()
            ),
            "the file is truncated or damaged: write the array with numpy.save again",
        );
    }
    let shape: Vec<usize> = header.shape().iter().filter_map(|&dim| dim.try_into().ok()).collect();
    let order = header.order();
    let stored = elements.read(of.type_char(), size, NpyFile::with_header(header, rest))?;
    Ok((shape.clone(), if order == Order::Fortran { row_major(&stored, &shape) } else { stored }))
}

/// Bounds the header before it is parsed: the parser allocates what the file announces, multiplies dimensions
/// without a check for overflow, which 18 digits cannot reach, and takes time exponential in the depth of nesting,
/// where an array of numbers has but one dictionary and one tuple.
fn check_header(bytes: &[u8]) -> Result<(), Fault> {
    let length = match bytes {
        [0x93, b'N', b'U', b'M', b'P', b'Y', 1, 0, a, b, ..] => {
            10 + usize::from(u16::from_le_bytes([*a, *b]))
        }
        [0x93, b'N', b'U', b'M', b'P', b'Y', 2 | 3, 0, a, b, 0, 0, ..] => {
            12 + usize::from(u16::from_le_bytes([*a, *b]))
        }
        _ => return fault("is no .npy file", "write the array with numpy.save"),
    };
    match bytes.get(..length) {
        Some(header) if length <= MAX_HEADER => {
            let count = |kind: fn(&u8) -> bool| header[10..].iter().filter(|c| kind(c)).count();
            let digits = count(u8::is_ascii_digit);
            let brackets = count(|c| b"{([".contains(c));
            if digits <= 18 && brackets <= 2 { Ok(()) } else { fault("has a damaged header", DAMAGED) }
        }
        _ => fault("has a damaged header", DAMAGED),
    }
}

/// Reorders an array that is stored column by column.
fn row_major<T: Copy>(stored: &[T], shape: &[usize]) -> Vec<T> {
    let strides: Vec<usize> = (0..shape.len()).map(|axis| shape[..axis].iter().product()).collect();
    let place = |index| -> usize { position(index, shape).iter().zip(&strides).map(|(a, b)| a * b).sum() };
    (0..stored.len()).map(|index| stored[place(index)]).collect()
}

/// The index along each axis.
fn position(mut index: usize, dims: &[usize]) -> Vec<usize> {
    let mut position = vec![0; dims.len()];
    for (along, dim) in position.iter_mut().zip(dims).rev() {
        *along = index % dim;
        index /= dim;
    }
    position
}

fn list(dims: &[usize]) -> String {
    dims.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
}
