//! More inputs than the files of fixtures hold, so that chance averages out.

use std::path::Path;

use condconv_tools::convert::{Model, read_samples};
use condconv_tools::npy::Samples;
use proptest::prelude::Rng as _;
use proptest::test_runner::{RngAlgorithm, TestRng};

/// From so many on, chance moves decibels by tenths.
const ENOUGH: usize = 64;

/// Test inputs of a network: those of its file, or, where these are few, as many as are enough of the same kind, which
/// are digits for networks with labels, and noise for the others.
pub(crate) fn test_inputs(model: &Model) -> Vec<Vec<f32>> {
    let name = model.path.file_stem().unwrap().to_str().unwrap();
    let (base, _exporter) = name.rsplit_once('_').unwrap();
    let data = |kind: &str| model.path.with_file_name(format!("{base}.{kind}.npy"));
    let samples = read_samples(&data("test"), &model.import).unwrap();
    if samples.len() >= ENOUGH {
        return samples.iter().map(<[f32]>::to_vec).collect();
    }
    let [_, channels, height, width] = model.import.input_dims[..] else { panic!("{name}: no image") };
    if data("labels").exists() {
        digits(channels, [height, width])
    } else {
        noise(channels, [height, width], ENOUGH)
    }
}

/// Images of `models/`, enlarged, with equal channels.
fn digits(channels: usize, size: [usize; 2]) -> Vec<Vec<f32>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/digits.test.npy");
    let images = Samples::read(&path, &[1, 1, 28, 28]).unwrap();
    let enlarged = |image| enlarge(image, [28, 28], size).iter().map(|x| x.round()).collect::<Vec<f32>>();
    images.iter().take(ENOUGH).map(|image| enlarged(image).repeat(channels)).collect()
}

/// As `inputs` of `tests/fixtures/networks/make.py`: smooth noise, finer noise and an offset.
pub(crate) fn noise(channels: usize, size: [usize; 2], count: usize) -> Vec<Vec<f32>> {
    let mut random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    // Sums of twelve even numbers are as good as normal.
    let mut normal = || (0..12).map(|_| random.next_u32() as f32 / u32::MAX as f32).sum::<f32>() - 6.0;
    let mut plane = || -> Vec<f32> {
        let coarse: Vec<f32> = (0..16).map(|_| normal()).collect();
        let offset = normal();
        enlarge(&coarse, [4, 4], size).iter().map(|x| x + 0.3 * normal() + 0.3 * offset).collect()
    };
    (0..count).map(|_| (0..channels).flat_map(|_| plane()).collect()).collect()
}

/// Bilinear interpolation, corners not aligned.
fn enlarge(plane: &[f32], from: [usize; 2], to: [usize; 2]) -> Vec<f32> {
    let place = |axis: usize, at: usize| {
        let exact = ((at as f32 + 0.5) * from[axis] as f32 / to[axis] as f32 - 0.5).max(0.0);
        let low = exact as usize;
        (low, (low + 1).min(from[axis] - 1), exact.fract())
    };
    let pixel = |row: usize, column: usize| {
        let ((top, bottom, down), (left, right, across)) = (place(0, row), place(1, column));
        let between = |row: usize| {
            let row = &plane[row * from[1]..][..from[1]];
            row[left] + across * (row[right] - row[left])
        };
        between(top) + down * (between(bottom) - between(top))
    };
    (0..to[0]).flat_map(|row| (0..to[1]).map(move |column| pixel(row, column))).collect()
}
