//! The networks of `models/` and the data that each is for.

use std::path::{Path, PathBuf};

/// Networks and the names of their data.
pub(crate) const NETWORKS: [(&str, &str); 12] = [
    ("digits", "digits"),
    ("digits_static", "digits"),
    ("digits_wide", "digits"),
    ("resnet8", "digits"),
    ("resnet8_static", "digits"),
    ("resnet8_wide", "digits"),
    ("watch", "watch"),
    ("watch_static", "watch"),
    ("watch_wide", "watch"),
    ("watch_acc", "watch_acc"),
    ("watch_acc_static", "watch_acc"),
    ("watch_acc_wide", "watch_acc"),
];

/// A file of the folder, such as `digits.onnx` or `digits.test.npy`.
pub(crate) fn file(name: &str, end: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models").join(format!("{name}.{end}"))
}
