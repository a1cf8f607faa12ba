//! Chooses the inner loops. What instructions a core has follows from the target and from `-C target-cpu`, but is not
//! visible to `cfg` on stable Rust. `CONDCONV_KERNELS=portable|dsp` overrides the choice: elsewhere than on an Arm core the
//! instructions of `dsp` are computed, so that its loops can be tested.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=CONDCONV_KERNELS");
    println!("cargo::rustc-check-cfg=cfg(condconv_kernels, values(\"portable\", \"dsp\"))");
    let target = env::var("TARGET").unwrap_or_default();
    let best = best(&target);
    let kernels = match env::var("CONDCONV_KERNELS").as_deref() {
        Ok("dsp") if target.starts_with("thumb") && best != "dsp" => {
            panic!(
                "CONDCONV_KERNELS=dsp: {target} has no DSP extension; name the core with -Ctarget-cpu if it has"
            )
        }
        Ok("dsp") => "dsp",
        Ok("portable") => "portable",
        Ok(other) => panic!("CONDCONV_KERNELS is portable or dsp, not {other}"),
        Err(_) => best,
    };
    println!("cargo::rustc-cfg=condconv_kernels=\"{kernels}\"");
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
    } else {
        "portable"
    }
}
