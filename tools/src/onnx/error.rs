//! Why a file was refused.

use std::path::{Path, PathBuf};

use super::node::{Node, is_invisible};
use crate::names::shortened;

/// Why an ONNX file cannot be imported: where, what and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {fault}", file.display())]
pub struct ImportError {
    file: PathBuf,
    fault: Fault,
}

impl ImportError {
    pub(super) fn new(file: &Path, mut fault: Fault) -> Self {
        for text in [&mut fault.reason, &mut fault.remedy] {
            // Names come from the file; they stand between backticks.
            let parts: Vec<_> = text.split('`').map(|part| part.replace(is_invisible, "_")).collect();
            let shown = parts
                .iter()
                .enumerate()
                .map(|(i, part)| if i % 2 == 1 { shortened(part) } else { part.clone() });
            *text = shown.collect::<Vec<_>>().join("`");
        }
        Self { file: file.to_path_buf(), fault }
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Name of the node at fault, if it is one node's fault.
    #[must_use]
    pub fn node(&self) -> Option<&str> {
        self.fault.place.as_ref().map(|place| place.node.as_str())
    }

    /// Operator of the node at fault.
    #[must_use]
    pub fn operator(&self) -> Option<&str> {
        self.fault.place.as_ref().map(|place| place.operator.as_str())
    }

    /// What is wrong.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.fault.reason
    }

    /// What to do about it, such as the nearest supported form.
    #[must_use]
    pub fn remedy(&self) -> &str {
        &self.fault.remedy
    }
}

/// An [`ImportError`] before the file is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    place: Option<Box<Place>>,
    reason: String,
    remedy: String,
    /// Whether the elements are not where they are expected, for which the way the input is taken may be to blame.
    of_order: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    node: String,
    operator: String,
}

impl Fault {
    /// A fault of the file as a whole.
    pub(super) fn new(reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { place: None, reason: reason.into(), remedy: remedy.into(), of_order: false }
    }

    /// A fault of one node.
    pub(super) fn at(node: &Node, reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        let place = Place { node: node.name.clone(), operator: node.operator.clone() };
        Self { place: Some(Box::new(place)), ..Self::new(reason, remedy) }
    }

    /// A fault of one node: the elements that it reads are not where they should be.
    pub(super) fn of_order(node: &Node, reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { of_order: true, ..Self::at(node, reason, remedy) }
    }

    /// Whether the way the input is taken may be to blame.
    pub(super) fn is_of_order(&self) -> bool {
        self.of_order
    }

    /// The same fault with another remedy.
    pub(super) fn with_remedy(self, remedy: &str) -> Self {
        Self { remedy: remedy.into(), ..self }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(Place { node, operator }) = self.place.as_deref() {
            write!(f, "node `{}` ({}): ", shortened(node), shortened(operator))?;
        }
        write!(f, "{}; {}", self.reason, self.remedy)
    }
}
