//! A CondConv layer by hand, without generated code: a camera filter that smooths in the dark, where images are
//! noisy, and sharpens in the light. One convolution is run, whatever the light.
//!
//! ```text
//! cargo run --example by_hand
//! ```

use condconv::{
    CondConv2d, Experts, Geometry, Padding, Requantize, Routing, RoutingWeight, Shape, WeightSums, Window,
    checked,
};

/// Pixels are bytes: scale 1, zero point -128.
const SIZE: usize = 8;
const IMAGE: Shape = Shape::new(SIZE, SIZE, 1);
const ZERO_POINT: i32 = -128;

/// Step one, route. Expert 0 is for means below 100, expert 1 above; the logit is (mean - 100) / 8.
///
/// The accumulator is `32767 * 64 pixels * mean`, about `2^21 mean`; the logit in steps of 2^-11 is
/// `2^8 (mean - 100)`: a multiplier of 2^14 and a shift of 27.
static ROUTE: Routing<'static> = {
    static BIAS: [i64; 2] = [100 * 32767 * 64, -100 * 32767 * 64];
    checked(Routing::new(IMAGE, ZERO_POINT, &[-32767, 32767], &BIAS, &[1 << 14; 2], &[27; 2]))
};

/// Steps two and three, mix and convolve.
static FILTER: CondConv2d<'static> = {
    // Smooth: nine times 1/9. Sharpen: 5 in the middle, -1 beside it. Each expert has its own scale, the largest
    // weight over 127.
    const SMOOTH: [i8; 9] = [127; 9];
    const SHARPEN: [i8; 9] = [0, -25, 0, -25, 127, -25, 0, -25, 0];
    const SUMS: [WeightSums; 2] = [WeightSums::of(&SMOOTH), WeightSums::of(&SHARPEN)];
    // Two experts fill no word of four, so they lie one after the other.
    static WEIGHTS: [i8; 18] = {
        let mut weights = [0; 18];
        let mut k = 0;
        while k < 9 {
            weights[k] = SMOOTH[k];
            weights[9 + k] = SHARPEN[k];
            k += 1;
        }
        weights
    };
    // The experts' scales over the larger one: (1/9) / 5, and 1.
    static RATIOS: [i16; 2] = [728, 32767];
    // With a mixing shift of 7 a unit of the accumulator is 5/127 * 2^(7 - 14) grey levels.
    const SHIFT: u32 = 7;
    static MULTIPLIER: [i32; 1] = [(5.0 / 127.0 / 128.0 * 4_294_967_296.0_f64) as i32];
    let window = Window::new([3, 3]).padding(Padding::symmetric(1, 1));
    checked(CondConv2d::new(
        checked(Geometry::new(IMAGE, 1, window, 1)),
        ZERO_POINT,
        checked(Experts::new(2, &WEIGHTS, &RATIOS, SHIFT, &[0], &[], &SUMS)),
        checked(Requantize::new(&MULTIPLIER, ZERO_POINT, -128, 127)),
    ))
};

fn main() {
    let dark = scene(40);
    let light = scene(160);
    let (smoothing, smoothed) = filter(&dark);
    let (sharpening, sharpened) = filter(&light);
    show("dark", &dark, &smoothing, &smoothed);
    show("light", &light, &sharpening, &sharpened);

    // The step in the middle of the picture becomes softer in the dark and harder in the light.
    assert!(smoothing[0] > 0.99 && sharpening[1] > 0.99);
    assert!(step(&smoothed) < step(&dark) && step(&sharpened) > step(&light));
}

/// Routing weights and filtered image.
fn filter(image: &[u8; IMAGE.len()]) -> ([RoutingWeight; 2], [u8; IMAGE.len()]) {
    let input = image.map(|pixel| (i32::from(pixel) + ZERO_POINT) as i8);
    let mut weights = [RoutingWeight::ZERO; 2];
    ROUTE.infer(&input, &mut weights);
    let mut scratch = [0; FILTER.scratch_words()];
    let mut output = [0; IMAGE.len()];
    FILTER.infer(&input, &weights, &mut scratch, &mut output);
    (weights, output.map(|value| (i32::from(value) - ZERO_POINT) as u8))
}

/// A darker half beside a lighter one.
fn scene(level: u8) -> [u8; IMAGE.len()] {
    std::array::from_fn(|i| if i % SIZE < SIZE / 2 { level } else { level + 30 })
}

/// The step between the two halves.
fn step(image: &[u8]) -> i32 {
    let middle = SIZE * SIZE / 2 + SIZE / 2;
    i32::from(image[middle]) - i32::from(image[middle - 1])
}

fn show(name: &str, before: &[u8], weights: &[RoutingWeight], after: &[u8]) {
    let row = |image: &[u8]| format!("{:?}", &image[SIZE * SIZE / 2..][..SIZE]);
    println!("{name}: smooth {:.3}, sharpen {:.3}", weights[0], weights[1]);
    println!("  before {}\n  after  {}", row(before), row(after));
}
