//! Chooses the inner loops. What instructions a core has follows from the target and from `-C target-cpu`, but is not
//! visible to `cfg` on stable Rust. `CONDCONV_KERNELS=portable|scalar|dsp` overrides the choice: elsewhere than on an Arm
//! core the instructions of `scalar` and `dsp` are computed, so that their loops can be tested.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=CONDCONV_KERNELS");
    println!("cargo::rustc-check-cfg=cfg(condconv_kernels, values(\"portable\", \"scalar\", \"dsp\"))");
    println!("cargo::rustc-check-cfg=cfg(condconv_thumb, values(\"1\", \"2\"))");
    let target = env::var("TARGET").unwrap_or_default();
    let best = best(&target);
    let kernels = match env::var("CONDCONV_KERNELS").as_deref() {
        Ok("dsp") if target.starts_with("thumb") && best != "dsp" => {
            panic!(
                "CONDCONV_KERNELS=dsp: {target} has no DSP extension; name the core with -Ctarget-cpu if it has"
            )
        }
        Ok("dsp") => "dsp",
        Ok("scalar") => "scalar",
        Ok("portable") => "portable",
        Ok(other) => panic!("CONDCONV_KERNELS is portable, scalar or dsp, not {other}"),
        Err(_) => best,
    };
    println!("cargo::rustc-cfg=condconv_kernels=\"{kernels}\"");
    if let Some(thumb) = thumb(&target) {
        println!("cargo::rustc-cfg=condconv_thumb=\"{thumb}\"");
    }
}

/// The fastest loops that the core can run. Cortex-M4 and M7 have the DSP extension always, Cortex-M33 and later if they are
/// named.
fn best(target: &str) -> &'static str {
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let cpu = flags
        .split('\u{1f}')
        .filter_map(|flag| flag.split_once("target-cpu="))
        .map(|(_, cpu)| cpu)
        .next_back();
    let named = matches!(cpu, Some("cortex-m33" | "cortex-m35p" | "cortex-m55" | "cortex-m85"));
    if target.starts_with("thumbv7em-") || (target.starts_with("thumbv8m.main-") && named) {
        "dsp"
    } else if thumb(target).is_some() {
        "scalar"
    } else {
        "portable"
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
