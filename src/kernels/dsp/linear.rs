//! Fully connected layers: four outputs at a time.

use super::instructions::smlad;
use super::{both, pair, widen};
use crate::quantize::Element;

/// Calls `each` with rows of a matrix and their products with the input less its zero point, in whole fours; returns how
/// many rows that were. There is no loop for int16 inputs with a zero point.
#[inline(always)]
pub(crate) fn dots<X: Element>(
    input: &[X],
    rows: &[i8],
    zero_point: i32,
    each: &mut impl FnMut(usize, i32),
) -> usize {
    let mut done = 0;
    for rows in rows.chunks_exact(4 * input.len()) {
        let mut rows = rows.chunks_exact(input.len());
        let four = core::array::from_fn(|_| rows.next().unwrap_or_default());
        let Some(products) = four_dots(input, four, zero_point) else { break };
        for product in products {
            each(done, product);
            done += 1;
        }
    }
    done
}

#[inline(always)]
fn four_dots<X: Element>(input: &[X], rows: [&[i8]; 4], zero_point: i32) -> Option<[i32; 4]> {
    if let Some(input) = X::int8(input) {
        let offset = both(-zero_point);
        return Some(products(input, rows, |bytes| widen(*bytes, offset), |x| i32::from(*x) - zero_point));
    }
    let input = X::int16(input)?;
    let wide = |x: &[i16; 4]| [pair(x[0].into(), x[2].into()), pair(x[1].into(), x[3].into())];
    (zero_point == 0).then(|| products(input, rows, wide, |x| i32::from(*x)))
}

#[inline(always)]
fn products<X>(
    input: &[X],
    rows: [&[i8]; 4],
    wide: impl Fn(&[X; 4]) -> [i32; 2],
    one: impl Fn(&X) -> i32,
) -> [i32; 4] {
    let (words, rest) = input.as_chunks::<4>();
    let [a, b, c, d] = rows.map(|row| row[..input.len()].as_chunks::<4>());
    let mut sums = [0; 4];
    for ((((x, a), b), c), d) in words.iter().zip(a.0).zip(b.0).zip(c.0).zip(d.0) {
        let [x_even, x_odd] = wide(x);
        for (sum, weights) in sums.iter_mut().zip([a, b, c, d]) {
            let [even, odd] = widen(*weights, 0);
            *sum = smlad(odd, x_odd, smlad(even, x_even, *sum));
        }
    }
    for (sum, weights) in sums.iter_mut().zip([a.1, b.1, c.1, d.1]) {
        *sum += weights.iter().zip(rest).map(|(w, x)| i32::from(*w) * one(x)).sum::<i32>();
    }
    sums
}
