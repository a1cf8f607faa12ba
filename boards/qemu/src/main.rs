//! Runs a network on samples from the host's disk, on a Cortex-M that QEMU emulates.
//!
//! The samples are the file `samples.f32` in the folder where QEMU was started: real numbers (f32, little
//! endian), NHWC, one sample after the other. They are read piece by piece, so that neither the image nor the
//! RAM it needs depends on them. With the argument `labels` there is also `labels.u8`, one byte a sample; with
//! `trace` the routing weights are printed too, in units of 2^-15. The output:
//!
//! ```text
//! network PLAN_ID ram BYTES flash BYTES
//! routing 1523,32011,19 NAME             a line a routing function, before its sample's
//! sample 7 -120,33,-9,1042               the prediction and all scores
//! accuracy 493 of 500
//! ```
//!
//! The exit status is 0; a panic prints its message and exits with 101.
#![no_std]
#![no_main]

use condconv::{Observer, RoutingWeight};
use condconv_qemu::{define_infer, open, print_list};
use cortex_m_rt::entry;
use network_0 as network;
use network_0::{INPUT_LEN, Network};
use semihosting::experimental::env;
use semihosting::io::{self, Read};
use semihosting::{print, println, process};

include!(concat!(env!("OUT_DIR"), "/networks.rs"));

#[entry]
fn main() -> ! {
    // `entry` lends it out once, as `&'static mut`: all the RAM of the network, where the linker sees it.
    static mut NETWORK: Network = Network::new();
    match run(NETWORK) {
        Ok(()) => process::exit(0),
        Err(error) => panic!("samples.f32 or labels.u8: {error}"),
    }
}

fn run(network: &mut Network) -> io::Result<()> {
    let (mut labelled, mut traced) = (false, false);
    for argument in (&env::args::<64>()?).skip(1) {
        match argument {
            Ok("labels") => labelled = true,
            Ok("trace") => traced = true,
            _ => panic!("the arguments are labels and trace, not {argument:?}"),
        }
    }
    println!("network {} ram {} flash {}", network::PLAN_ID, network::RAM_BYTES, network::FLASH_BYTES);

    let (mut samples, count) = open(c"samples.f32", 4 * INPUT_LEN)?;
    let mut labels = None;
    if labelled {
        let (file, len) = open(c"labels.u8", 1)?;
        assert!(len == count, "{count} samples, but {len} labels");
        labels = Some(file);
    }
    let mut correct = 0;
    for _ in 0..count {
        let scores = if traced {
            infer(network, &mut samples, &mut PrintRouting)?
        } else {
            infer(network, &mut samples, &mut ())?
        };
        let prediction = network::argmax(scores);
        print!("sample {prediction} ");
        print_list(scores);
        println!();
        if let Some(labels) = &mut labels {
            let mut label = [0];
            labels.read_exact(&mut label)?;
            correct += u32::from(usize::from(label[0]) == prediction);
        }
    }
    if labelled {
        println!("accuracy {correct} of {count}");
    }
    Ok(())
}

for_networks!(define_infer);

/// Prints routing weights as they are chosen.
#[derive(Clone, Copy, Debug)]
struct PrintRouting;

impl Observer for PrintRouting {
    fn routing(&mut self, name: &'static str, weights: &[RoutingWeight]) {
        print!("routing ");
        print_list(weights.iter().map(|weight| weight.to_bits()));
        println!(" {name}");
    }
}
