//! `.npy` files of all element types are read, and damaged or unsuitable ones refused.

use condconv_tools::npy::{NpyError, Samples, read_labels};

/// A file as NumPy writes it.
fn npy(of: &str, fortran: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{of}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n");
    let length = u16::try_from(header.len()).unwrap();
    [b"\x93NUMPY\x01\x00", &length.to_le_bytes()[..], header.as_bytes(), data].concat()
}

fn on_disk<T>(bytes: &[u8], read: impl Fn(&std::path::Path) -> T) -> T {
    let file = tempfile::NamedTempFile::with_suffix(".npy").unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    read(file.path())
}

fn samples(bytes: &[u8]) -> Result<Samples, NpyError> {
    on_disk(bytes, |path| Samples::read(path, &[1, 2, 3]))
}

fn labels(bytes: &[u8]) -> Result<Vec<usize>, NpyError> {
    on_disk(bytes, read_labels)
}

fn bytes<const N: usize>(numbers: impl IntoIterator<Item = [u8; N]>) -> Vec<u8> {
    numbers.into_iter().flatten().collect()
}

fn assert_refused<T: std::fmt::Debug>(result: Result<T, NpyError>, reason: &str, remedy: &str) {
    let error = result.unwrap_err();
    assert!(error.reason().contains(reason), "{error}");
    assert!(error.remedy().contains(remedy), "{error}");
    let text = error.to_string();
    assert!(text.starts_with(error.file().to_str().unwrap()) && text.lines().count() == 1, "{text}");
}

#[test]
fn all_element_types() {
    let read = |of: &str, data: Vec<u8>| samples(&npy(of, "False", "(2, 2, 3)", &data)).unwrap().data;
    let expected: Vec<f32> = (0..12u8).map(f32::from).collect();
    let halves =
        [0x0000, 0x3c00, 0x4000, 0x4200, 0x4400, 0x4500, 0x4600, 0x4700, 0x4800, 0x4880, 0x4900, 0x4980u16];
    assert_eq!(read("<f2", bytes(halves.map(u16::to_le_bytes))), expected);
    assert_eq!(read("<f4", bytes((0..12u8).map(|x| f32::from(x).to_le_bytes()))), expected);
    assert_eq!(read(">f4", bytes((0..12u8).map(|x| f32::from(x).to_be_bytes()))), expected);
    assert_eq!(read("<f8", bytes((0..12u8).map(|x| f64::from(x).to_le_bytes()))), expected);
    assert_eq!(read("|u1", (0..12).collect()), expected);
    assert_eq!(read("|i1", (0..12).collect()), expected);
    assert_eq!(read("<i2", bytes((0..12i16).map(i16::to_le_bytes))), expected);
    assert_eq!(read("<i4", bytes((0..12i32).map(i32::to_le_bytes))), expected);
    assert_eq!(read("<i8", bytes((0..12i64).map(i64::to_le_bytes))), expected);
    assert_eq!(read("<u8", bytes((0..12u64).map(u64::to_le_bytes))), expected);
    assert_eq!(read("<u8", bytes([u64::MAX; 12].map(u64::to_le_bytes))), [18_446_744_073_709_551_615.0; 12]);
}

#[test]
fn samples_one_by_one() {
    let samples = samples(&npy("|u1", "False", "(2, 2, 3)", &(0..12).collect::<Vec<_>>())).unwrap();
    assert_eq!((samples.len(), &samples.shape[..]), (2, &[2, 2, 3][..]));
    let each: Vec<&[f32]> = samples.iter().collect();
    assert_eq!(each, [[0.0, 1.0, 2.0, 3.0, 4.0, 5.0], [6.0, 7.0, 8.0, 9.0, 10.0, 11.0]]);
}

/// Stored column by column: the first axis runs fastest.
#[test]
fn fortran_order() {
    let samples = samples(&npy("|u1", "True", "(2, 2, 3)", &(0..12).collect::<Vec<_>>())).unwrap();
    assert_eq!(samples.data, [0.0, 4.0, 8.0, 2.0, 6.0, 10.0, 1.0, 5.0, 9.0, 3.0, 7.0, 11.0]);
    let none = npy("|u1", "True", "(0, 2, 3)", &[]);
    assert!(on_disk(&none, |path| Samples::read(path, &[1, 2, 3])).unwrap().is_empty());
}

#[test]
fn unsuitable_samples() {
    let wrong = npy("|u1", "False", "(2, 3, 2)", &[0; 12]);
    assert_refused(samples(&wrong), "[2, 3, 2], where the network takes [samples, 2, 3]", "in the file");
    let data = bytes([1.0, f32::NAN].into_iter().cycle().take(6).map(f32::to_le_bytes));
    assert_refused(samples(&npy("<f4", "False", "(1, 2, 3)", &data)), "sample 0 holds NaN", "remove");
    let data = bytes([1e300; 6].map(f64::to_le_bytes));
    assert_refused(samples(&npy("<f8", "False", "(1, 2, 3)", &data)), "sample 0 holds inf", "remove");
    assert_refused(samples(&npy("<c8", "False", "(1, 2, 3)", &[0; 48])), "<c8", "float32");
    assert_refused(samples(&npy("|O", "False", "(1, 2, 3)", &[0; 48])), "|O", "float32");
    assert_refused(samples(&npy("|b1", "False", "(1, 2, 3)", &[0; 6])), "|b1", "astype(numpy.float32)");
}

#[test]
fn damaged_files() {
    let good = npy("<f4", "False", "(1, 2, 3)", &[0; 24]);
    assert!(samples(&good).is_ok());
    for length in 0..good.len() {
        assert!(samples(&good[..length]).is_err(), "cut to {length} bytes");
    }
    assert_refused(samples(&good[..good.len() - 1]), "23 bytes", "truncated");
    assert_refused(samples(b"not an array at all"), "no .npy file", "numpy.save");
    assert_refused(
        samples(&npy("<f4", "False", "(4294967296, 4294967296, 2, 3)", &[])),
        "header",
        "numpy.save",
    );
    assert_refused(samples(b"\x93NUMPY\x02\x00\xff\xff\xff\xff"), "no .npy file", "numpy.save");
    let missing = Samples::read(std::path::Path::new("no/such.npy"), &[1, 2, 3]);
    assert_refused(missing, "cannot be read", "path");
    let nested = format!("{{'descr': {}", "(".repeat(900));
    let nested = [b"\x93NUMPY\x01\x00", &900u16.to_le_bytes()[..], nested.as_bytes()].concat();
    assert!(samples(&nested).is_err());
}

#[test]
fn labels_are_integers() {
    assert_eq!(labels(&npy("|u1", "False", "(3,)", &[2, 0, 1])).unwrap(), [2, 0, 1]);
    let wide = bytes([7i64, 300].map(i64::to_le_bytes));
    assert_eq!(labels(&npy("<i8", "False", "(2,)", &wide)).unwrap(), [7, 300]);
    assert_eq!(labels(&npy("<u8", "False", "(1,)", &300u64.to_le_bytes())).unwrap(), [300]);
    assert_refused(labels(&npy("<f4", "False", "(1,)", &[0; 4])), "<f4", "astype(numpy.int64)");
    assert_refused(labels(&npy("|b1", "False", "(1,)", &[1])), "|b1", "astype(numpy.int64)");
    assert_refused(labels(&npy("|i1", "False", "(2,)", &[0, 255])), "label -1", "from 0");
    assert_refused(labels(&npy("|u1", "False", "(2, 1)", &[0, 1])), "[2, 1]", "one label");
}
