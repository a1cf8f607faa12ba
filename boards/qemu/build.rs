//! Brings the networks and the machine's memory map into the program.

use std::path::PathBuf;
use std::{env, error, fs, io};

fn main() -> Result<(), Box<dyn error::Error>> {
    let networks =
        variable("CONDCONV_NETWORK", "absolute paths of modules made by `condconv convert`, as in PATH")?;
    let machine = variable("CONDCONV_MACHINE", "the QEMU machine, such as mps2-an386")?;
    let out = PathBuf::from(env::var("OUT_DIR")?);

    println!("cargo::rerun-if-env-changed=CONDCONV_MEMORY");
    let memory = env::var("CONDCONV_MEMORY").ok();

    fs::write(out.join("networks.rs"), modules(&networks)?)?;
    fs::write(out.join("memory.x"), memory_map(&machine, memory.as_deref())?)?;

    println!("cargo::rustc-link-search={}", out.display());
    // Without --nmagic the sections would be moved to pages of 64 KB.
    println!("cargo::rustc-link-arg-bins=--nmagic");
    println!("cargo::rustc-link-arg-bins=-Tlink.x");
    Ok(())
}

fn variable(name: &str, meaning: &str) -> Result<String, String> {
    println!("cargo::rerun-if-env-changed={name}");
    env::var(name).map_err(|_| format!("set {name} to {meaning}"))
}

/// A module for each network, and `for_networks!`, which hands all their names to another macro, each with how its input
/// arrives: `whole` or in `rows`.
fn modules(paths: &str) -> io::Result<String> {
    let (mut modules, mut names) = (String::new(), String::new());
    for (number, path) in env::split_paths(paths).enumerate() {
        modules += &format!("#[path = {path:?}]\npub mod network_{number};\n");
        let in_rows = fs::read_to_string(path)?.contains("\npub const ROW_LEN: usize");
        names += &format!(" network_{number} {}", if in_rows { "rows" } else { "whole" });
    }
    modules += &format!(
        "#[allow(unused_macros)]\nmacro_rules! for_networks {{ ($macro:ident) => {{ $macro! {{{names} }} }} }}\n"
    );
    Ok(modules)
}

/// The memory of QEMU's machines, or no more of it than bytes of data and of stack. The stack lies below the data, so that an
/// overflow of it is a fault and not a wrong result.
fn memory_map(machine: &str, memory: Option<&str>) -> Result<String, String> {
    let (flash, flash_kib, ram, ram_kib, stack_kib) = match machine {
        "microbit" => (0, 256, 0x2000_0000, 16, 3),
        "mps2-an385" | "mps2-an386" | "mps2-an500" => (0, 4096, 0x2000_0000, 4096, 64),
        "mps2-an505" => (0x1000_0000, 4096, 0x3800_0000, 4096, 64),
        "mps3-an547" => (0x1000_0000, 512, 0x3100_0000, 4096, 64),
        _ => return Err(format!("the memory map of CONDCONV_MACHINE={machine} is not known")),
    };
    let (data, stack) = match memory {
        None => ((ram_kib - stack_kib) << 10, stack_kib << 10),
        Some(memory) => {
            let numbers = memory.split_once('+').map(|(data, stack)| (data.parse(), stack.parse()));
            let Some((Ok(data), Ok(stack))) = numbers else {
                return Err(format!(
                    "CONDCONV_MEMORY is bytes of data and of stack, such as 4096+1024, not {memory}"
                ));
            };
            (data, stack)
        }
    };
    Ok(format!(
        "MEMORY
{{
  FLASH : ORIGIN = {flash:#x}, LENGTH = {flash_kib}K
  RAM : ORIGIN = {ram:#x} + {stack}, LENGTH = {data}
}}
_stack_start = ORIGIN(RAM);
_stack_end = {ram:#x};
"
    ))
}
