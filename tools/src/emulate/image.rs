//! The firmware, built and linked around networks.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{env, io};

use object::elf::{FileHeader32, SHF_ALLOC, SHF_WRITE, SHT_NOBITS};
use object::read::elf::{FileHeader, SectionHeader};
use tempfile::{NamedTempFile, TempPath};

use super::{Core, EmulateError};

/// The firmware's sources.
const FIRMWARE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../boards/qemu");

/// The sources of the plugin that counts instructions.
const PLUGIN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../boards/qemu-plugin");

/// Lines of a failed build that are shown.
const TAIL: usize = 40;

/// A program of the firmware, and how it is built.
struct Program {
    name: &'static str,
    /// Of the firmware, which bring those of the library.
    features: &'static str,
    /// Bytes of data and of stack, if not all that the machine has.
    memory: Option<(usize, u64)>,
}

/// Compares results.
const CHECK: Program = Program { name: "condconv-qemu", features: "", memory: None };

/// Marks steps.
const PROFILE: Program = Program { name: "profile", features: "", memory: None };

/// Firmware that is ready to run, in a temporary file.
#[derive(Debug)]
pub struct Image {
    pub(super) machine: &'static str,
    pub(super) elf: TempPath,
}

/// Bytes of an image, as the linker placed them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sections {
    /// Code and constants.
    pub text: u64,
    /// Variables with an initial value, which lies in flash.
    pub data: u64,
    /// Variables that start as zero.
    pub bss: u64,
}

/// Builds the firmware around the module that `condconv convert` wrote. Where a core has several machines, it is
/// the first that the network fits.
///
/// # Errors
///
/// If cargo or the target is missing, the module does not compile, or the network fits no machine.
pub fn build(core: Core, module: &Path) -> Result<Image, EmulateError> {
    let networks = search_path(&[module])?;
    let (largest, smaller) = core.platform().machines.split_last().expect("every core has a machine");
    for machine in smaller {
        match build_for(core, machine, &CHECK, &networks) {
            Err(EmulateError::DoesNotFit { .. }) => {}
            result => return result,
        }
    }
    build_for(core, largest, &CHECK, &networks)
}

/// Builds the firmware that [`count`](super::count) runs, around modules that `condconv convert` wrote, for the core's
/// largest machine: all of them count the same.
///
/// # Errors
///
/// As [`build`].
pub fn build_profile(core: Core, modules: &[&Path]) -> Result<Image, EmulateError> {
    build_largest(core, &PROFILE, modules)
}

/// The same, with all optional features of the library, of which it uses none.
///
/// # Errors
///
/// As [`build`].
pub fn build_profile_with_features(core: Core, modules: &[&Path]) -> Result<Image, EmulateError> {
    build_largest(core, &Program { features: "observers", ..PROFILE }, modules)
}

/// The same, for a machine that has no more memory than bytes of data and of stack.
///
/// # Errors
///
/// As [`build`].
pub fn build_within(core: Core, modules: &[&Path], data: usize, stack: u64) -> Result<Image, EmulateError> {
    build_largest(core, &Program { memory: Some((data, stack)), ..PROFILE }, modules)
}

/// Builds firmware that runs a network between words that nothing may write to, and fails if something does, for the core's
/// largest machine.
///
/// # Errors
///
/// As [`build`].
pub fn build_guarded(core: Core, module: &Path) -> Result<Image, EmulateError> {
    build_largest(core, &Program { name: "guarded", ..PROFILE }, &[module])
}

/// Builds firmware that measures a network's layers by the processor's own counters, for the core's largest machine.
///
/// # Errors
///
/// As [`build`].
pub fn build_timing(core: Core, module: &Path) -> Result<Image, EmulateError> {
    build_largest(core, &Program { name: "timing", features: "observers", memory: None }, &[module])
}

fn build_largest(core: Core, program: &Program, modules: &[&Path]) -> Result<Image, EmulateError> {
    let largest = core.platform().machines.last().expect("every core has a machine");
    build_for(core, largest, program, &search_path(modules)?)
}

/// Absolute paths in one variable, as in PATH.
fn search_path(modules: &[&Path]) -> Result<OsString, EmulateError> {
    let absolute = |module: &&Path| fs::canonicalize(module).map_err(at(module));
    let modules: Vec<PathBuf> = modules.iter().map(absolute).collect::<Result<_, _>>()?;
    env::join_paths(&modules).map_err(|error| EmulateError::File {
        path: modules.first().cloned().unwrap_or_default(),
        error: io::Error::other(error),
    })
}

fn build_for(
    core: Core,
    machine: &'static str,
    program: &Program,
    networks: &OsString,
) -> Result<Image, EmulateError> {
    let platform = core.platform();
    let flags = platform.cpu.map(|cpu| format!("-Ctarget-cpu={cpu}")).unwrap_or_default();
    let artifact = Path::new(platform.target).join("release").join(program.name);
    let elf = cargo_build(Path::new(FIRMWARE), &artifact, |cargo| {
        cargo
            .args(["--bin", program.name, "--target", platform.target, "--features", program.features])
            // Overrides RUSTFLAGS, which are meant for the host.
            .env("CARGO_ENCODED_RUSTFLAGS", flags)
            .env("CONDCONV_NETWORK", networks)
            .env("CONDCONV_MACHINE", machine);
        match program.memory {
            Some((data, stack)) => cargo.env("CONDCONV_MEMORY", format!("{data}+{stack}")),
            None => cargo.env_remove("CONDCONV_MEMORY"),
        }
    })?;
    match elf {
        Ok(elf) => Ok(Image { machine, elf }),
        Err(output) => Err(diagnose(core, machine, &String::from_utf8_lossy(&output.stderr))),
    }
}

/// Builds the plugin that counts instructions, a shared library in a temporary file.
pub(super) fn build_plugin() -> Result<TempPath, EmulateError> {
    use env::consts::{DLL_PREFIX, DLL_SUFFIX};
    let artifact = format!("release/{DLL_PREFIX}condconv_qemu_plugin{DLL_SUFFIX}");
    let plugin = cargo_build(Path::new(PLUGIN), Path::new(&artifact), |cargo| {
        cargo.env_remove("CARGO_BUILD_TARGET").env("CARGO_ENCODED_RUSTFLAGS", "")
    })?;
    plugin.map_err(|output| EmulateError::Plugin(tail(&String::from_utf8_lossy(&output.stderr))))
}

/// Runs `cargo build --release` in a folder of the repository and copies what it makes; what it says where it fails.
fn cargo_build(
    folder: &Path,
    artifact: &Path,
    arguments: impl FnOnce(&mut Command) -> &mut Command,
) -> Result<Result<TempPath, Output>, EmulateError> {
    if !folder.is_dir() {
        return Err(EmulateError::NoFirmware(folder.to_owned()));
    }
    let target_dir = folder.join("target");
    fs::create_dir_all(&target_dir).map_err(at(&target_dir))?;
    // Nothing else may be built there until this is copied.
    let lock_path = target_dir.join("emulate.lock");
    let lock = File::create(&lock_path).map_err(at(&lock_path))?;
    lock.lock().map_err(at(&lock_path))?;

    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "--target-dir"]).arg(&target_dir).current_dir(folder);
    let output = arguments(&mut cargo).env("CARGO_TERM_COLOR", "never").output();
    let output = output.map_err(EmulateError::Cargo)?;
    if !output.status.success() {
        return Ok(Err(output));
    }
    let artifact = target_dir.join(artifact);
    let copy = NamedTempFile::new().map_err(at(Path::new("a temporary file")))?.into_temp_path();
    fs::copy(&artifact, &copy).map_err(at(&artifact))?;
    Ok(Ok(copy))
}

/// The reason for a failed build.
fn diagnose(core: Core, machine: &'static str, stderr: &str) -> EmulateError {
    let target = core.target();
    if stderr.contains(&format!("the `{target}` target may not be installed")) {
        return EmulateError::NoTarget(target);
    }
    for (region, memory) in [("RAM", "RAM"), ("FLASH", "flash")] {
        if let Some(bytes) = overflow(stderr, region) {
            return EmulateError::DoesNotFit { machine, memory, bytes };
        }
    }
    EmulateError::Build { core, stderr: tail(stderr) }
}

/// The last lines.
fn tail(stderr: &str) -> String {
    let lines: Vec<_> = stderr.lines().collect();
    lines[lines.len().saturating_sub(TAIL)..].join("\n")
}

/// By how many bytes the linker found a region of memory overflowed, if it did.
fn overflow(stderr: &str, region: &str) -> Option<u64> {
    // One line a section, each with the overflow up to its own end.
    let marker = format!("will not fit in region '{region}': overflowed by ");
    let amounts = stderr.split(&marker).skip(1);
    amounts.filter_map(|rest| rest.split(' ').next()?.parse().ok()).max()
}

impl Image {
    /// QEMU's name of the machine that it is for.
    #[must_use]
    pub const fn machine(&self) -> &'static str {
        self.machine
    }

    /// The linked program, an ELF file that goes when the image goes.
    #[must_use]
    pub fn elf(&self) -> &Path {
        &self.elf
    }

    /// Its size.
    ///
    /// # Errors
    ///
    /// If the program cannot be read.
    pub fn sections(&self) -> Result<Sections, EmulateError> {
        let file = fs::read(&self.elf).map_err(at(&self.elf))?;
        let header = FileHeader32::<object::Endianness>::parse(&*file)?;
        let endian = header.endian()?;
        let mut sections = Sections { text: 0, data: 0, bss: 0 };
        for section in header.sections(endian, &*file)?.iter() {
            let (flags, size) = (section.sh_flags(endian), u64::from(section.sh_size(endian)));
            if !flags.contains(SHF_ALLOC) {
                continue; // debug information
            }
            if section.sh_type(endian) == SHT_NOBITS {
                sections.bss += size;
            } else if flags.contains(SHF_WRITE) {
                sections.data += size;
            } else {
                sections.text += size;
            }
        }
        Ok(sections)
    }
}

/// Puts the path to an error.
pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> EmulateError {
    let path = path.to_owned();
    |error| EmulateError::File { path, error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_build_names_its_remedy() {
        let linker = "rust-lld: error: section '.bss' will not fit in region 'RAM': overflowed by 5 bytes\n\
                      rust-lld: error: section '.uninit' will not fit in region 'RAM': overflowed by 44 bytes\n";
        let error = diagnose(Core::CortexM0, "microbit", linker);
        assert_eq!(error.to_string(), "the network does not fit microbit: its RAM is 44 bytes too small");

        let rustc = "error[E0463]: can't find crate for `core`\n  = note: the `thumbv6m-none-eabi` target may \
                     not be installed";
        let error = diagnose(Core::CortexM0, "microbit", rustc);
        assert!(error.to_string().ends_with("`rustup target add thumbv6m-none-eabi`"));

        let error = diagnose(Core::CortexM0, "microbit", &"line\n".repeat(100));
        assert_eq!(error.to_string().lines().count(), 1 + TAIL);
    }
}
