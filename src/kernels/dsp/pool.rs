//! Pooling: four channels at a time, which are a word of each pixel, summed in the halves of two words.

#[cfg(not(target_arch = "arm"))]
use super::instructions::{sxtab16, sxtab16_ror8};

/// Pixels whose sum fits the half of a word: `256 * -128` is the least int16.
const PIXELS: usize = 256;

/// Adds as many channels as fill whole words, from `first` on, over all pixels, and returns how many that are.
pub(crate) fn add_pixels(channels: usize, first: usize, input: &[i8], sums: &mut [i32]) -> usize {
    let words = sums.as_chunks_mut::<4>().0;
    for (word, sums) in words.iter_mut().enumerate() {
        for pixels in input.chunks(PIXELS * channels) {
            let [even, odd] = add_words(channels, first + 4 * word, pixels);
            let halves = [even as i16, odd as i16, (even >> 16) as i16, (odd >> 16) as i16];
            for (sum, half) in sums.iter_mut().zip(halves) {
                *sum += i32::from(half);
            }
        }
    }
    4 * words.len()
}

/// The sums of the first and third channel, and of the second and fourth.
///
/// # Panics
///
/// If a pixel has no such channels.
fn add_words(channels: usize, first: usize, pixels: &[i8]) -> [i32; 2] {
    assert!(first + 4 <= channels && pixels.len() >= channels);
    #[cfg(target_arch = "arm")]
    return arm::add_words(channels, first, pixels);
    #[cfg(not(target_arch = "arm"))]
    pixels.chunks_exact(channels).fold([0; 2], |[even, odd], pixel| {
        let word = i32::from_le_bytes(core::array::from_fn(|i| pixel[first + i].cast_unsigned()));
        [sxtab16(even, word), sxtab16_ror8(odd, word)]
    })
}

#[cfg(target_arch = "arm")]
mod arm {
    #![allow(unsafe_code, reason = "a loop that the compiler does not find")]

    use core::arch::asm;

    pub(super) fn add_words(channels: usize, first: usize, pixels: &[i8]) -> [i32; 2] {
        macro_rules! pixel {
            () => {
                "ldr {word}, [{pixel}]
                 add {pixel}, {step}
                 sxtab16 {even}, {even}, {word}
                 sxtab16 {odd}, {odd}, {word}, ror #8
                 "
            };
        }
        let [mut even, mut odd] = [0; 2];
        let fours = pixels.len() / channels / 4;
        let ones = pixels.len() / channels % 4;
        // SAFETY: the caller has checked that each pixel has four channels from the first on, and that there is a pixel.
        unsafe {
            asm!(
                "cbz r2, 3f",
                "2:",
                pixel!(),
                "subs r2, #1",
                "bne 2b",
                "3:",
                "cbz r3, 5f",
                "4:",
                pixel!(),
                pixel!(),
                pixel!(),
                pixel!(),
                "subs r3, #1",
                "bne 4b",
                "5:",
                pixel = inout(reg) pixels.as_ptr().wrapping_add(first) => _,
                step = in(reg) channels,
                inout("r2") ones => _,
                inout("r3") fours => _,
                even = inout(reg) even,
                odd = inout(reg) odd,
                word = out(reg) _,
                options(nostack, readonly),
            );
        }
        [even, odd]
    }
}
