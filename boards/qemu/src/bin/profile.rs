//! Runs networks on a sample each and marks every step for the plugin that counts instructions.
//!
//! The file `samples.f32` in the folder where QEMU was started has a sample for each network, in the networks'
//! order: real numbers (f32, little endian), NHWC. The output, for each network:
//!
//! ```text
//! network PLAN_ID ram BYTES flash BYTES
//! sample 7 -120,33,-9,1042               the prediction and all scores
//! ```
//!
//! `mark` is called before `infer`, before and after each layer and routing function, and after `infer`; where layers run row by
//! row, before and after each row of theirs and of the input.
#![no_std]
#![no_main]

use core::hint::black_box;

use condconv::Observer;
use condconv_qemu::{print_list, read_sample};
use cortex_m_rt::entry;
use semihosting::fs::File;
use semihosting::{print, println, process};

include!(concat!(env!("OUT_DIR"), "/networks.rs"));

/// Does nothing; the plugin sees that it was called.
#[inline(never)]
fn mark() {
    black_box(());
}

/// Marks the steps of an inference.
#[derive(Clone, Copy, Debug)]
struct Mark;

impl Observer for Mark {
    #[inline(always)]
    fn begin(&mut self, _: &'static str) {
        mark();
    }

    #[inline(always)]
    fn end(&mut self, _: &'static str) {
        mark();
    }
}

/// Runs a network on the next sample of a file.
macro_rules! infer {
    ($network:ident whole $samples:expr) => {{
        read_sample(&mut $samples, $network::quantize, $network.input_mut()).expect("samples.f32");
        // Not inlined, so that what it keeps on the stack is its own.
        #[inline(never)]
        fn infer(network: &mut $network::Network) -> &[i16; $network::OUTPUT_LEN] {
            network.infer_observed(&mut Mark)
        }
        mark();
        infer($network)
    }};
    ($network:ident rows $samples:expr) => {{
        #[inline(never)]
        fn infer<'n>(
            network: &'n mut $network::Network,
            samples: &mut File,
        ) -> &'n [i16; $network::OUTPUT_LEN] {
            let source = |_: usize, row: &mut [_; $network::ROW_LEN]| {
                read_sample(samples, $network::quantize, row).expect("samples.f32");
            };
            network.infer_observed(source, &mut Mark)
        }
        mark();
        infer($network, &mut $samples)
    }};
}

macro_rules! run {
    ($($network:ident $input:ident)*) => {
        #[entry]
        fn main() -> ! {
            // `entry` lends them out once, as `&'static mut`.
            $(
                #[allow(non_upper_case_globals)]
                static mut $network: $network::Network = $network::Network::new();
            )*
            let mut samples = File::open(c"samples.f32").expect("samples.f32");
            $({
                println!(
                    "network {} ram {} flash {}",
                    $network::PLAN_ID,
                    $network::RAM_BYTES,
                    $network::FLASH_BYTES
                );
                let scores = infer!($network $input samples);
                mark();
                print!("sample {} ", $network::argmax(scores));
                print_list(scores);
                println!();
            })*
            process::exit(0)
        }
    };
}

for_networks!(run);
