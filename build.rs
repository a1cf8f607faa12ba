//! Chooses the inner loops. What instructions a core has follows from the target and from `-C target-cpu`, but is not
//! visible to `cfg` on stable Rust. `CONDCONV_KERNELS` overrides the choice: elsewhere than on an Arm core the loops that are
//! written in instructions are computed, so that all that leads to them can be tested.

use std::env;

/// From the fastest to the one for every target.
const KERNELS: [&str; 4] = ["helium", "dsp", "scalar", "portable"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=CONDCONV_KERNELS");
    println!("cargo::rustc-check-cfg=cfg(condconv_kernels, values(\"{}\"))", KERNELS.join("\", \""));
    println!("cargo::rustc-check-cfg=cfg(condconv_thumb, values(\"1\", \"2\"))");
    let target = env::var("TARGET").unwrap_or_default();
    let runs = |kernels: &&str| has(&target, kernels);
    let asked = env::var("CONDCONV_KERNELS").ok();
    let kernels = match asked.as_deref() {
        None => KERNELS.into_iter().find(runs).unwrap_or("portable"),
        Some(asked) => KERNELS
            .into_iter()
            .find(|kernels| *kernels == asked)
            .unwrap_or_else(|| panic!("CONDCONV_KERNELS is one of {}, not {asked}", KERNELS.join(", "))),
    };
    assert!(
        !target.starts_with("thumb") || runs(&kernels),
        "CONDCONV_KERNELS={kernels}: {target} has no such instructions; name the core with -Ctarget-cpu if it has"
    );
    println!("cargo::rustc-cfg=condconv_kernels=\"{kernels}\"");
    if let Some(thumb) = thumb(&target) {
        println!("cargo::rustc-cfg=condconv_thumb=\"{thumb}\"");
    }
}

/// Whether the core has the instructions of some loops. Cortex-M4 and M7 have the DSP extension always, Cortex-M33 and later
/// if they are named and it is not switched off; Cortex-M55 and M85 have Helium too, whose registers start-up code enables where
/// floats are passed in them.
fn has(target: &str, kernels: &str) -> bool {
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let flags = || flags.split('\u{1f}');
    let cpu = flags().filter_map(|flag| flag.split_once("target-cpu=")).map(|(_, cpu)| cpu).next_back();
    let named =
        |cores: &[&str]| target.starts_with("thumbv8m.main-") && cpu.is_some_and(|cpu| cores.contains(&cpu));
    let off = |feature| flags().any(|flag| flag.contains(feature));
    match kernels {
        "helium" => {
            named(&["cortex-m55", "cortex-m85"]) && target.ends_with("hf") && !off("-mve") && !off("-dsp")
        }
        "dsp" => {
            target.starts_with("thumbv7em-")
                || (named(&["cortex-m33", "cortex-m35p", "cortex-m55", "cortex-m85"]) && !off("-dsp"))
        }
        "scalar" => thumb(target).is_some(),
        _ => true,
    }
}

/// Which Thumb a microcontroller has: the first, of 16-bit instructions that see eight registers, or the second.
fn thumb(target: &str) -> Option<u32> {
    if target.starts_with("thumbv6m-") || target.starts_with("thumbv8m.base-") {
        Some(1)
    } else if target.starts_with("thumbv7m-")
        || target.starts_with("thumbv7em-")
        || target.starts_with("thumbv8m.main-")
    {
        Some(2)
    } else {
        None
    }
}
