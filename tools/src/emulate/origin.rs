//! Where instructions come from. Functions are inlined into others, so that it takes the line tables to tell.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use addr2line::gimli::{Dwarf, EndianSlice, LittleEndian};
use addr2line::{Context, demangle_auto};
use object::{Object as _, ObjectSection as _};

use super::EmulateError;
use super::count::Elf;

/// Where an instruction comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The library's file that it was inlined from last, below `src`; none for the generated module, Rust's own libraries and
    /// the compiler's.
    pub file: Option<String>,
    /// Whether the name, module or file of its function, or of one that it was inlined into, says that it mixes kernels.
    pub mixes: bool,
}

/// The origins of some addresses.
pub(super) fn origins(
    elf: &Elf<'_>,
    addresses: BTreeSet<u64>,
) -> Result<BTreeMap<u64, Origin>, EmulateError> {
    let symbols = elf.symbol_map();
    let lines = Context::from_dwarf(Dwarf::load(|id| -> Result<_, EmulateError> {
        let section = elf.section_by_name(id.name()).map(|section| section.data()).transpose()?;
        Ok(EndianSlice::new(section.unwrap_or_default(), LittleEndian))
    })?)?;
    let mut origins = BTreeMap::new();
    for address in addresses {
        // The lowest bit of a symbol says that it is Thumb code.
        let symbol = symbols.before(address | 1).map(|symbol| demangle_auto(symbol.name().into(), None));
        let mut origin =
            Origin { file: None, mixes: symbol.is_some_and(|path| path.split("::").any(says_so)) };
        let mut frames = lines.find_frames(address).skip_all_loads()?;
        while let Some(frame) = frames.next()? {
            let path = frame.location.and_then(|location| location.file).unwrap_or_default();
            let function =
                frame.function.map(|function| function.raw_name().map(Cow::into_owned)).transpose()?;
            origin.mixes |= path.rsplit(['/', '\\']).next().is_some_and(says_so)
                || function.as_deref().is_some_and(says_so);
            origin.file = origin.file.or_else(|| in_library(path));
        }
        origins.insert(address, origin);
    }
    Ok(origins)
}

/// The part of a path below the library's `src`.
fn in_library(path: &str) -> Option<String> {
    let file = Path::new(path).strip_prefix(LIBRARY.as_path()).ok()?;
    Some(file.to_string_lossy().replace('\\', "/"))
}

/// The library's sources, as the compiler names them.
static LIBRARY: LazyLock<PathBuf> = LazyLock::new(|| {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../src");
    path.canonicalize().unwrap_or(path)
});

fn says_so(name: &str) -> bool {
    name.starts_with("mix")
}
