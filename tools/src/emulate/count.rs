//! Counts executed instructions with the plugin of `boards/qemu-plugin`.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;

use object::elf::FileHeader32;
use object::read::elf::ElfFile;
use object::{Endianness, Object as _, ObjectSection as _, ObjectSymbol as _, SymbolKind};

use super::image::{at, build_plugin};
use super::origin::{Origin, origins};
use super::run::{Folder, Report};
use super::{EmulateError, Image, Run};

/// A linked program.
pub(super) type Elf<'a> = ElfFile<'a, FileHeader32<Endianness>>;

/// What ran, and how often.
#[derive(Debug)]
pub struct Counted {
    /// What the networks reported, each on its sample.
    pub networks: Vec<Run>,
    /// What ran before the first mark, between the first and the second, and so on.
    pub segments: Vec<Segment>,
    /// The program.
    pub code: Code,
    /// Where the instructions that ran come from, by address.
    pub origins: BTreeMap<u64, Origin>,
}

/// What ran between two marks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Segment {
    /// Lowest and highest address in the stack that was stored to.
    pub stack: Option<(u64, u64)>,
    /// Instructions that ran, by address.
    pub executed: Vec<Executed>,
}

/// An instruction that ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Executed {
    /// Its address.
    pub address: u64,
    /// How often it ran.
    pub count: u64,
    /// How often another than the next one followed: a branch was taken.
    pub left: u64,
}

/// A program's instructions and functions.
#[derive(Debug)]
pub struct Code {
    start: u64,
    bytes: Vec<u8>,
    /// By address.
    functions: Vec<Function>,
    /// The function that marks.
    pub mark: Range<u64>,
}

/// A function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Function {
    /// Its addresses.
    pub start: u64,
    /// Behind its last.
    pub end: u64,
    /// Whether it is one of the library's, or made from one for the network.
    pub of_library: bool,
}

/// Runs firmware of [`build_profile`](super::build_profile) on samples, one for each network, NHWC, and counts.
///
/// # Errors
///
/// As [`run`](super::run), and if the plugin cannot be built or QEMU has no plugins.
pub fn count(image: &Image, samples: &[f32]) -> Result<Counted, EmulateError> {
    let elf = fs::read(image.elf()).map_err(at(image.elf()))?;
    let elf = ElfFile::parse(&*elf)?;
    let (code, stack) = read(&elf)?;
    let plugin = build_plugin()?;
    let folder = Folder::with(samples)?;
    let plugin = format!(
        "{},out=counts,mark={:x},code={:x}:{:x},stack={:x}:{:x}",
        plugin.display(),
        code.mark.start,
        code.start,
        code.start + code.bytes.len() as u64,
        stack.start,
        stack.end
    );
    let machine = image.machine();
    let mut networks = Vec::new();
    let mut report = Report::default();
    for line in folder.qemu(image, "", &["-plugin".into(), plugin])? {
        report.read(&line).ok_or(EmulateError::Line { machine, line })?;
        if !report.run.samples.is_empty() {
            networks.push(std::mem::take(&mut report).run);
        }
    }
    let path = folder.path("counts");
    let text = fs::read_to_string(&path).map_err(at(&path))?;
    let mut segments = Vec::new();
    for line in text.lines() {
        read_line(&mut segments, line).ok_or_else(|| EmulateError::Line { machine, line: line.into() })?;
    }
    let executed = segments.iter().flat_map(|segment: &Segment| &segment.executed);
    let origins = origins(&elf, executed.map(|executed| executed.address).collect())?;
    Ok(Counted { networks, segments, code, origins })
}

/// Takes a line of the form that the plugin's documentation gives.
fn read_line(segments: &mut Vec<Segment>, line: &str) -> Option<()> {
    let number = |text: &str| u64::from_str_radix(text, 16).ok();
    if let Some(stack) = line.strip_prefix("segment ") {
        let (lowest, highest) = stack.split_once(' ')?;
        let stack = (number(lowest)?, number(highest)?);
        segments.push(Segment { stack: (stack.1 > 0).then_some(stack), executed: Vec::new() });
    } else {
        let mut numbers = line.split(' ').map(number);
        let [address, count, left] = [numbers.next()??, numbers.next()??, numbers.next()??];
        segments.last_mut()?.executed.push(Executed { address, count, left });
    }
    Some(())
}

/// What a program consists of, and where its stack lies.
fn read(elf: &Elf<'_>) -> Result<(Code, Range<u64>), EmulateError> {
    let text = elf.section_by_name(".text").ok_or(EmulateError::Symbol("section .text"))?;
    let mut functions = Vec::new();
    let (mut mark, mut stack_start, mut stack_end) = (None, None, None);
    for symbol in elf.symbols() {
        let name = symbol.name().unwrap_or_default();
        // The lowest bit of an address says that it is Thumb code.
        let start = symbol.address() & !1;
        match name {
            "_stack_start" => stack_start = Some(start),
            "_stack_end" => stack_end = Some(start),
            _ if symbol.kind() == SymbolKind::Text && symbol.size() > 0 => {
                let end = start + symbol.size();
                if name.contains("profile4mark") {
                    mark = Some(start..end);
                }
                // The crate's name, as symbols have it.
                functions.push(Function { start, end, of_library: name.contains("8condconv") });
            }
            _ => {}
        }
    }
    let mark = mark.ok_or(EmulateError::Symbol("function that marks"))?;
    // A stack grows downwards.
    let (Some(start), Some(end)) = (stack_end, stack_start) else {
        return Err(EmulateError::Symbol("symbols of its stack"));
    };
    Ok((Code::new(text.address(), text.data()?.to_vec(), functions, mark), start..end))
}

impl Code {
    /// Bytes from an address on, the functions there, and the one among them that marks.
    #[must_use]
    pub fn new(start: u64, bytes: Vec<u8>, mut functions: Vec<Function>, mark: Range<u64>) -> Self {
        functions.sort();
        Self { start, bytes, functions, mark }
    }

    /// The bytes from an address on; `None` outside.
    #[must_use]
    pub fn from(&self, address: u64) -> Option<&[u8]> {
        self.bytes.get(usize::try_from(address.checked_sub(self.start)?).ok()?..)
    }

    /// Bytes of the library's functions.
    #[must_use]
    pub fn library_bytes(&self) -> u64 {
        let of_library = self.functions.iter().filter(|function| function.of_library);
        of_library.map(|function| function.end - function.start).sum()
    }

    /// The function that an address lies in.
    #[must_use]
    pub fn function_at(&self, address: u64) -> Option<&Function> {
        let after = self.functions.partition_point(|function| function.start <= address);
        let function = self.functions.get(after.checked_sub(1)?)?;
        (function.start..function.end).contains(&address).then_some(function)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_segments() {
        let mut segments = Vec::new();
        for line in ["segment 0 0", "segment 20000ff0 20001000", "1a4 ff 10", "1a6 1 0"] {
            assert_eq!(read_line(&mut segments, line), Some(()), "{line}");
        }
        let executed = vec![
            Executed { address: 0x1a4, count: 0xff, left: 0x10 },
            Executed { address: 0x1a6, count: 1, left: 0 },
        ];
        assert_eq!(
            segments,
            [Segment::default(), Segment { stack: Some((0x2000_0ff0, 0x2000_1000)), executed }]
        );
        for line in ["", "segment", "1a4 ff", "1a4 ff x"] {
            assert_eq!(read_line(&mut segments, line), None, "{line}");
        }
    }
}
