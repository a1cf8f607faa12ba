//! Runs a network on samples, between words that nothing may write to: loops in assembly know no bounds.
//!
//! Samples and output are those of the program beside it, without arguments. A word that has changed is a panic.
#![no_std]
#![no_main]

use core::hint::black_box;

use condconv_qemu::{define_infer, open, print_list};
use cortex_m_rt::entry;
use network_0 as network;
use network_0::{INPUT_LEN, Network};
use semihosting::{print, println, process};

include!(concat!(env!("OUT_DIR"), "/networks.rs"));

for_networks!(define_infer);

/// What stands on either side.
const GUARD: [u32; 64] = [0x600d_600d; 64];

/// In this order, without gaps.
#[repr(C)]
struct Guarded {
    before: [u32; 64],
    network: Network,
    after: [u32; 64],
}

#[entry]
fn main() -> ! {
    // `entry` lends it out once, as `&'static mut`.
    static mut GUARDED: Guarded = Guarded { before: GUARD, network: Network::new(), after: GUARD };
    println!("network {} ram {} flash {}", network::PLAN_ID, network::RAM_BYTES, network::FLASH_BYTES);
    let (mut samples, count) = open(c"samples.f32", 4 * INPUT_LEN).expect("samples.f32");
    for _ in 0..count {
        let scores = infer(&mut GUARDED.network, &mut samples, &mut ()).expect("samples.f32");
        print!("sample {} ", network::argmax(scores));
        print_list(scores);
        println!();
        // The compiler sees that nobody writes to them; this makes it look.
        let guarded = black_box(&mut *GUARDED);
        assert!(guarded.before == GUARD, "written before the network");
        assert!(guarded.after == GUARD, "written behind the network");
    }
    process::exit(0)
}
