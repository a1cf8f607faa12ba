//! A network on an emulated microcontroller: builds the firmware of `boards/qemu` around it, runs that in QEMU and
//! counts what it executes.

mod count;
mod image;
mod origin;
mod run;

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::str::FromStr;

use thiserror::Error;

pub use count::{Code, Counted, Executed, Function, Segment, count};
pub use image::{
    Image, Sections, build, build_guarded, build_profile, build_profile_with_features, build_timing,
    build_within,
};
pub use origin::Origin;
pub use run::{Run, Sample, Timed, run, time};

/// A processor core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Core {
    /// ARMv6-M, no DSP instructions.
    CortexM0,
    /// ARMv7-M, no DSP instructions.
    CortexM3,
    /// ARMv7E-M with DSP instructions.
    CortexM4,
    /// ARMv7E-M with DSP instructions, dual issue.
    CortexM7,
    /// ARMv8-M with DSP instructions.
    CortexM33,
    /// ARMv8.1-M with vector instructions (Helium).
    CortexM55,
}

/// What a core is called, and how to build for it and emulate it.
struct Platform {
    name: &'static str,
    target: &'static str,
    /// Where the target alone does not say which instructions there are.
    cpu: Option<&'static str>,
    /// QEMU's machines, the smallest first.
    machines: &'static [&'static str],
}

impl Core {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::CortexM0, Self::CortexM3, Self::CortexM4, Self::CortexM7, Self::CortexM33, Self::CortexM55];

    const fn platform(self) -> Platform {
        let (name, target, cpu, machines): (_, _, _, &[_]) = match self {
            // The microbit's 16 KB of RAM are typical of the core; the larger machine has an M3, which runs
            // the same instructions.
            Self::CortexM0 => ("cortex-m0", "thumbv6m-none-eabi", None, &["microbit", "mps2-an385"]),
            Self::CortexM3 => ("cortex-m3", "thumbv7m-none-eabi", None, &["mps2-an385"]),
            Self::CortexM4 => ("cortex-m4", "thumbv7em-none-eabihf", None, &["mps2-an386"]),
            Self::CortexM7 => ("cortex-m7", "thumbv7em-none-eabihf", None, &["mps2-an500"]),
            Self::CortexM33 => {
                ("cortex-m33", "thumbv8m.main-none-eabihf", Some("cortex-m33"), &["mps2-an505"])
            }
            Self::CortexM55 => {
                ("cortex-m55", "thumbv8m.main-none-eabihf", Some("cortex-m55"), &["mps3-an547"])
            }
        };
        Platform { name, target, cpu, machines }
    }

    /// The name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.platform().name
    }

    /// The compiler's target.
    #[must_use]
    pub const fn target(self) -> &'static str {
        self.platform().target
    }
}

impl FromStr for Core {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let core = Self::ALL.into_iter().find(|core| core.name() == name);
        core.ok_or_else(|| format!("the cores are {}", Self::ALL.map(Self::name).join(", ")))
    }
}

/// Why a network could not be built or run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EmulateError {
    /// The firmware's sources are not there.
    #[error("{}: no firmware there; it is part of the repository, not of the installed program: run from a clone", .0.display())]
    NoFirmware(PathBuf),
    /// Cargo could not be started.
    #[error("cargo: {0}; install Rust with rustup (https://rustup.rs)")]
    Cargo(#[source] io::Error),
    /// The compiler has no core library for the target.
    #[error("the compiler has no target {0}; install it with `rustup target add {0}`")]
    NoTarget(&'static str),
    /// The network is too large for the machine.
    #[error("the network does not fit {machine}: its {memory} is {bytes} bytes too small")]
    DoesNotFit {
        /// QEMU's machine.
        machine: &'static str,
        /// RAM or flash.
        memory: &'static str,
        /// How much is missing.
        bytes: u64,
    },
    /// The compiler refuses the firmware.
    #[error("building the firmware for {core} failed:\n{stderr}", core = .core.name())]
    Build {
        /// The core it was for.
        core: Core,
        /// The end of cargo's messages.
        stderr: String,
    },
    /// The compiler refuses the plugin that counts instructions.
    #[error("building boards/qemu-plugin failed:\n{0}")]
    Plugin(String),
    /// The firmware lacks what the plugin needs to know.
    #[error(
        "the firmware has no {0}: its sources are not those that this program was built with; build it again"
    )]
    Symbol(&'static str),
    /// The linked program cannot be read.
    #[error("reading the firmware: {0}")]
    Elf(#[from] object::Error),
    /// The linked program's line tables cannot be read.
    #[error("reading the firmware's line tables: {0}")]
    Lines(#[from] addr2line::gimli::Error),
    /// The firmware marked another number of steps than the networks have.
    #[error("{machine}: {found} marks instead of {expected}; this is a bug of condconv, please report it")]
    Marks {
        /// QEMU's machine.
        machine: &'static str,
        /// How many there were.
        found: usize,
        /// How many there should be.
        expected: usize,
    },
    /// QEMU could not be started.
    #[error("qemu-system-arm: {0}; install it (Debian and Ubuntu: `apt-get install qemu-system-arm`)")]
    Qemu(#[source] io::Error),
    /// The firmware hangs.
    #[error(
        "{machine}: nothing to be heard for {} s, given up; a fault, such as an overflow of the stack, looks so",
        run::SILENCE.as_secs()
    )]
    Silent {
        /// QEMU's machine.
        machine: &'static str,
    },
    /// The firmware stopped with a status other than 0.
    #[error("{machine}: {status}\n{stderr}")]
    Failed {
        /// QEMU's machine.
        machine: &'static str,
        /// Its status.
        status: ExitStatus,
        /// The firmware's or QEMU's message.
        stderr: String,
    },
    /// The firmware printed something unforeseen.
    #[error("{machine}: cannot make sense of the line `{line}`")]
    Line {
        /// QEMU's machine.
        machine: &'static str,
        /// What it printed.
        line: String,
    },
    /// A file could not be read or written.
    #[error("{}: {error}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What happened.
        #[source]
        error: io::Error,
    },
}
