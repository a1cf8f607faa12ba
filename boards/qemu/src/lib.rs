//! What the programs of this firmware share: samples from the host's disk, and lists on its terminal.
#![no_std]

use core::ffi::CStr;
use core::fmt::Display;

use semihosting::fs::File;
use semihosting::io::{self, Read};
use semihosting::print;

/// A file, and how many records of `len` bytes it holds.
///
/// # Errors
///
/// If it cannot be read.
///
/// # Panics
///
/// If its last record is cut off.
pub fn open(name: &'static CStr, len: usize) -> io::Result<(File, u64)> {
    let file = File::open(name)?;
    let (bytes, len) = (file.metadata()?.len(), len as u64);
    assert!(bytes.is_multiple_of(len), "{name:?}: {bytes} bytes are not a multiple of {len}");
    Ok((file, bytes / len))
}

/// Quantises the next sample, to int8 or int16 as the network takes it.
///
/// # Errors
///
/// If it cannot be read.
#[inline(never)]
pub fn read_sample<T>(samples: &mut File, quantize: fn(f32) -> T, input: &mut [T]) -> io::Result<()> {
    let mut buffer = [[0; 4]; 64];
    for piece in input.chunks_mut(buffer.len()) {
        let reals = &mut buffer[..piece.len()];
        samples.read_exact(reals.as_flattened_mut())?;
        for (quantized, real) in piece.iter_mut().zip(reals) {
            *quantized = quantize(f32::from_le_bytes(*real));
        }
    }
    Ok(())
}

/// Prints numbers with commas between them.
pub fn print_list(values: impl IntoIterator<Item = impl Display>) {
    for (i, value) in values.into_iter().enumerate() {
        print!("{}{value}", if i == 0 { "" } else { "," });
    }
}

/// Defines `infer`, which runs the network on the next sample, however its input arrives.
#[macro_export]
macro_rules! define_infer {
    ($network:ident whole) => {
        fn infer<'n>(
            network: &'n mut $network::Network,
            samples: &mut semihosting::fs::File,
            observer: &mut impl condconv::Observer,
        ) -> semihosting::io::Result<&'n [i16; $network::OUTPUT_LEN]> {
            $crate::read_sample(samples, $network::quantize, network.input_mut())?;
            Ok(network.infer_observed(observer))
        }
    };
    ($network:ident rows) => {
        fn infer<'n>(
            network: &'n mut $network::Network,
            samples: &mut semihosting::fs::File,
            observer: &mut impl condconv::Observer,
        ) -> semihosting::io::Result<&'n [i16; $network::OUTPUT_LEN]> {
            let mut result = Ok(());
            let read = |_: usize, row: &mut [_; $network::ROW_LEN]| {
                if result.is_ok() {
                    result = $crate::read_sample(samples, $network::quantize, row);
                }
            };
            let scores = network.infer_observed(read, observer);
            result.map(|()| scores)
        }
    };
}
