//! Which instructions mix kernels. Functions that do are inlined into others, so that it takes the line tables to tell.

use std::borrow::Cow;
use std::collections::BTreeSet;

use addr2line::gimli::{Dwarf, EndianSlice, LittleEndian};
use addr2line::{Context, demangle_auto};
use object::{Object as _, ObjectSection as _};

use super::EmulateError;
use super::count::Elf;

/// Those of some addresses whose instruction comes from a function whose name, module or file says that it mixes.
pub(super) fn mixing(elf: &Elf<'_>, addresses: BTreeSet<u64>) -> Result<BTreeSet<u64>, EmulateError> {
    let symbols = elf.symbol_map();
    let lines = Context::from_dwarf(Dwarf::load(|id| -> Result<_, EmulateError> {
        let section = elf.section_by_name(id.name()).map(|section| section.data()).transpose()?;
        Ok(EndianSlice::new(section.unwrap_or_default(), LittleEndian))
    })?)?;
    let mut mixing = BTreeSet::new();
    for address in addresses {
        // Functions written in assembly have no lines, but symbols, whose lowest bit says that they are Thumb code.
        let symbol = symbols.before(address | 1).map(|symbol| demangle_auto(symbol.name().into(), None));
        let mut mixes = symbol.is_some_and(|path| path.split("::").any(says_so));
        let mut frames = lines.find_frames(address).skip_all_loads()?;
        while let Some(frame) = frames.next()? {
            let file = frame.location.and_then(|location| location.file).unwrap_or_default();
            let function =
                frame.function.map(|function| function.raw_name().map(Cow::into_owned)).transpose()?;
            mixes |= file.rsplit(['/', '\\']).next().is_some_and(says_so)
                || function.as_deref().is_some_and(says_so);
        }
        if mixes {
            mixing.insert(address);
        }
    }
    Ok(mixing)
}

fn says_so(name: &str) -> bool {
    name.starts_with("mix")
}
