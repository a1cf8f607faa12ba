//! Ranges that leave the outermost numbers out.

use super::calibrate::Range;
use super::options::RangeMethod;

/// Bins between the smallest and the largest number of a tensor.
const BINS: usize = 2048;

/// Share of the numbers that a percentile leaves out on each side.
const OUTSIDE: f64 = 0.0005;

/// Ranges that are tried: this many for each end.
const STEPS: usize = 64;

/// How the numbers of a tensor are distributed. Exact zeros, which no range rounds, are left out.
#[derive(Debug, Clone)]
pub(super) struct Histogram {
    range: Range,
    counts: Vec<u64>,
}

impl Histogram {
    pub(super) fn new(range: Range) -> Self {
        Self { range, counts: vec![0; BINS] }
    }

    fn bin(&self) -> f64 {
        (self.range.max - self.range.min) / BINS as f64
    }

    /// Counts numbers, each times a gain.
    pub(super) fn add(&mut self, values: &[f32], gain: f64) {
        let bin = self.bin();
        for &value in values.iter().filter(|&&value| value != 0.0) {
            let index = ((f64::from(value) * gain - self.range.min) / bin) as usize;
            self.counts[index.min(BINS - 1)] += 1;
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
    }

    /// The range that a method chooses; zero stays inside.
    pub(super) fn choose(&self, method: RangeMethod) -> Range {
        match method {
            RangeMethod::MinMax => self.range,
            RangeMethod::Percentile => self.percentile(),
            RangeMethod::Mse => self.least_squares(),
        }
    }

    /// Position of a bin's middle.
    fn middle(&self, bin: usize) -> f64 {
        self.range.min + (bin as f64 + 0.5) * self.bin()
    }

    fn percentile(&self) -> Range {
        let half = self.bin() / 2.0;
        let first = self.first_inside(0..BINS).map_or(0.0, |bin| self.middle(bin) - half);
        let last = self.first_inside((0..BINS).rev()).map_or(0.0, |bin| self.middle(bin) + half);
        Range { min: first.clamp(self.range.min, 0.0), max: last.clamp(0.0, self.range.max) }
    }

    /// The first of some bins that is not left out.
    fn first_inside(&self, mut bins: impl Iterator<Item = usize>) -> Option<usize> {
        let spare = (self.counts.iter().sum::<u64>() as f64 * OUTSIDE) as u64;
        let mut left_out = 0;
        bins.find(|&bin| {
            left_out += self.counts[bin];
            left_out > spare
        })
    }

    /// The ends are tried at even steps from zero to the outermost number.
    fn least_squares(&self) -> Range {
        let below: Vec<f64> = self.clipping(self.range.min);
        let above: Vec<f64> = self.clipping(self.range.max);
        let numbers = self.counts.iter().sum::<u64>() as f64;
        let mut best = (f64::INFINITY, self.range);
        for (i, &clipped_below) in below.iter().enumerate() {
            for (j, &clipped_above) in above.iter().enumerate() {
                let end = |outermost: f64, step: usize| outermost * (step + 1) as f64 / STEPS as f64;
                let range = Range { min: end(self.range.min, i), max: end(self.range.max, j) };
                let rounding = ((range.max - range.min) / 255.0).powi(2) / 12.0 * numbers;
                let error = rounding + clipped_below + clipped_above;
                // Of equals the wider.
                if error <= best.0 {
                    best = (error, range);
                }
            }
        }
        best.1
    }

    /// The squared error of numbers beyond each end that is tried on one side.
    fn clipping(&self, outermost: f64) -> Vec<f64> {
        (1..=STEPS)
            .map(|step| {
                let end = outermost * step as f64 / STEPS as f64;
                let beyond = |bin: usize| (self.middle(bin) - end) * outermost.signum();
                (0..BINS)
                    .filter(|&bin| outermost != 0.0 && self.counts[bin] > 0 && beyond(bin) > 0.0)
                    .map(|bin| self.counts[bin] as f64 * beyond(bin).powi(2))
                    .sum()
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers spread evenly over -1..1, and one far out.
    fn histogram() -> Histogram {
        let mut histogram = Histogram::new(Range { min: -1.0, max: 100.0 });
        let numbers: Vec<f32> = (0..10_000).map(|i| (i as f32 - 4999.5) / 5000.0).collect();
        histogram.add(&numbers, 1.0);
        histogram.add(&[50.0], 2.0);
        histogram
    }

    #[test]
    fn percentile_leaves_outliers_out() {
        let Range { min, max } = histogram().choose(RangeMethod::Percentile);
        let bin = 101.0 / BINS as f64;
        assert!((min + 1.0).abs() <= bin && (max - 1.0).abs() <= bin, "{min} {max}");
    }

    #[test]
    fn least_squares_weighs_outliers() {
        // One number of 10,001 at distance d costs d^2; a step of r / 255 costs r^2 / 12 / 255^2 each: the best end is
        // close to 100 for one outlier among few numbers, and below for one among many.
        let few = histogram().choose(RangeMethod::Mse);
        assert!(few.min <= -0.9, "{few:?}");
        let error = |max: f64| ((max + 1.0) / 255.0).powi(2) / 12.0 * 10_001.0 + (100.0 - max).powi(2);
        let best = (1..=STEPS)
            .map(|step| 100.0 * step as f64 / STEPS as f64)
            .min_by(|a, b| error(*a).total_cmp(&error(*b)));
        assert!((few.max - best.unwrap()).abs() <= 100.0 / STEPS as f64, "{few:?} {best:?}");
        let mut many = histogram();
        let more = many.clone();
        (0..1000).for_each(|_| many.merge(&more));
        many.counts[BINS - 1] = 1;
        assert!(many.choose(RangeMethod::Mse).max < 0.1 * 100.0);
    }

    #[test]
    fn zeros_do_not_count() {
        let mut sparse = Histogram::new(Range { min: 0.0, max: 1.0 });
        sparse.add(&[1.0], 1.0);
        sparse.add(&[0.0; 9999], 1.0);
        assert_eq!(sparse.choose(RangeMethod::Percentile), Range { min: 0.0, max: 1.0 });
        assert_eq!(sparse.choose(RangeMethod::Mse), Range { min: 0.0, max: 1.0 });
    }
}
