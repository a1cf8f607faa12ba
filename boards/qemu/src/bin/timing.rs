//! Runs a network on a sample and measures its layers by the processor's own counters.
//!
//! The sample is the file `samples.f32` in the folder where QEMU was started: real numbers (f32, little endian), NHWC. The output:
//!
//! ```text
//! cyccnt REASON           why the processor's cycle counter cannot be used, or `counts`
//! layer 48211 NAME        ticks of SysTick, a line a layer or routing function
//! ```
#![no_std]
#![no_main]

use condconv::{DwtCycles, SysTickCycles, Timing};
use condconv_qemu::{define_infer, open};
use cortex_m::Peripherals;
use cortex_m_rt::entry;
use network_0::{INPUT_LEN, Network};
use semihosting::{println, process};

include!(concat!(env!("OUT_DIR"), "/networks.rs"));

for_networks!(define_infer);

#[entry]
fn main() -> ! {
    // `entry` lends it out once, as `&'static mut`.
    static mut NETWORK: Network = Network::new();
    let mut processor = Peripherals::take().expect("nobody else takes them");
    match DwtCycles::new(&mut processor.DWT, &mut processor.DCB) {
        Ok(_) => println!("cyccnt counts"),
        Err(reason) => println!("cyccnt {reason}"),
    }
    let cycles = SysTickCycles::new(&mut processor.SYST).expect("SysTick");
    let mut timing = Timing::<_, 64>::new(cycles);
    let (mut samples, _) = open(c"samples.f32", 4 * INPUT_LEN).expect("samples.f32");
    infer(NETWORK, &mut samples, &mut timing).expect("samples.f32");
    for (name, ticks) in timing.iter() {
        println!("layer {ticks} {name}");
    }
    process::exit(0)
}
