//! Chooses the inner loops. What instructions a core has follows from the target and from `-C target-cpu`, but is not
//! visible to `cfg` on stable Rust. `CONDCONV_KERNELS=portable|dsp|helium` overrides the choice: elsewhere than on an Arm
//! core the loops that are written in instructions are computed, so that all that leads to them can be tested.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=CONDCONV_KERNELS");
    println!("cargo::rustc-check-cfg=cfg(condconv_kernels, values(\"portable\", \"dsp\", \"helium\"))");
    let target = env::var("TARGET").unwrap_or_default();
    let best = best(&target);
    let kernels = match env::var("CONDCONV_KERNELS").as_deref() {
        Ok("dsp") if target.starts_with("thumb") && best != "dsp" => {
            panic!(
                "CONDCONV_KERNELS=dsp: {target} has no DSP extension; name the core with -Ctarget-cpu if it has"
            )
        }
        Ok("helium") if target.starts_with("thumb") && !has_helium(&target) => {
            panic!(
                "CONDCONV_KERNELS=helium: {target} has no Helium; name the core with -Ctarget-cpu if it has"
            )
        }
        Ok("dsp") => "dsp",
        Ok("helium") => "helium",
        Ok("portable") => "portable",
        Ok(other) => panic!("CONDCONV_KERNELS is portable, dsp or helium, not {other}"),
        Err(_) => best,
    };
    println!("cargo::rustc-cfg=condconv_kernels=\"{kernels}\"");
}

/// The fastest loops that the core can run. Cortex-M4 and M7 have the DSP extension always, Cortex-M33 and later if they are
/// named; Cortex-M55 and M85 have Helium too.
fn best(target: &str) -> &'static str {
    if has_helium(target) {
        return "helium";
    }
    let named = matches!(cpu().as_deref(), Some("cortex-m33" | "cortex-m35p" | "cortex-m55" | "cortex-m85"));
    if target.starts_with("thumbv7em-") || (target.starts_with("thumbv8m.main-") && named) {
        "dsp"
    } else {
        "portable"
    }
}

/// Whether the core has Helium and it is not switched off.
fn has_helium(target: &str) -> bool {
    let named = matches!(cpu().as_deref(), Some("cortex-m55" | "cortex-m85"));
    target.starts_with("thumbv8m.main-") && named && !flags().contains("-mve")
}

fn flags() -> String {
    env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default()
}

/// The core that `-C target-cpu` names.
fn cpu() -> Option<String> {
    let flags = flags();
    let cpus = flags.split('\u{1f}').filter_map(|flag| flag.split_once("target-cpu="));
    cpus.map(|(_, cpu)| cpu.to_owned()).next_back()
}
