//! Times of layers, by counters of all kinds, and the routing weights of an inference.

use std::cell::Cell;

use condconv::{Cycles, Observer, RoutingTrace, RoutingWeight, Timing};

/// A counter of `MAX_TICKS` that is `step` ticks further each time that it is read.
struct Counter<const MAX_TICKS: u32> {
    count: Cell<u32>,
    step: u32,
}

impl<const MAX_TICKS: u32> Counter<MAX_TICKS> {
    const fn new(count: u32, step: u32) -> Self {
        Self { count: Cell::new(count), step }
    }
}

impl<const MAX_TICKS: u32> Cycles for Counter<MAX_TICKS> {
    const MAX_TICKS: u32 = MAX_TICKS;

    fn now(&self) -> u32 {
        self.count.set(self.count.get().wrapping_add(self.step) & MAX_TICKS);
        self.count.get()
    }
}

/// Like SysTick's, and like CYCCNT's.
const BITS_24: u32 = (1 << 24) - 1;
const BITS_32: u32 = u32::MAX;

#[test]
fn counters_wrap() {
    fn check<const MAX_TICKS: u32>() {
        for step in [1, 1000, MAX_TICKS / 2 + 1, MAX_TICKS] {
            for count in [0, 1, MAX_TICKS / 2, MAX_TICKS - 1, MAX_TICKS] {
                let counter = Counter::<MAX_TICKS>::new(count, step);
                let start = counter.now();
                assert_eq!(counter.elapsed(start), step, "{MAX_TICKS:x}: {step} after {count}");
            }
        }
    }
    check::<0xffff>();
    check::<BITS_24>();
    check::<BITS_32>();
}

#[test]
fn longer_than_a_counter_lasts() {
    let counter = Counter::<BITS_24>::new(5, BITS_24);
    let start = counter.now();
    counter.now();
    // 2 (2^24 - 1) ticks.
    assert_eq!(counter.elapsed(start), BITS_24 - 1);
}

#[test]
fn dead_counters_are_told_from_slow_ones() {
    struct Slow(Cell<u32>);
    impl Cycles for Slow {
        const MAX_TICKS: u32 = BITS_32;

        fn now(&self) -> u32 {
            self.0.set(self.0.get() + 1);
            self.0.get() / 5000
        }
    }
    assert!(!Counter::<BITS_32>::new(0, 0).is_running());
    assert!(!Counter::<BITS_24>::new(BITS_24, 0).is_running());
    assert!(Counter::<BITS_24>::new(BITS_24, 1).is_running());
    assert!(Slow(Cell::new(0)).is_running());
}

/// What a network calls whose layers `a` and `b` run row by row.
fn rows(observer: &mut impl Observer) {
    for layer in ["a", "a", "b", "a", "b", "c"] {
        observer.begin(layer);
        observer.end(layer);
    }
}

#[test]
fn rows_of_a_layer_are_summed() {
    let mut timing = Timing::<_, 3>::new(Counter::<BITS_24>::new(BITS_24 - 10, 7));
    rows(&mut timing);
    assert!(timing.iter().eq([("a", 21), ("b", 14), ("c", 7)]));
    rows(&mut timing);
    assert!(timing.iter().eq([("a", 42), ("b", 28), ("c", 14)]));
    timing.clear();
    rows(&mut timing);
    assert!(timing.iter().eq([("a", 21), ("b", 14), ("c", 7)]));
}

#[test]
fn sums_do_not_wrap() {
    let mut timing = Timing::<_, 1>::new(Counter::<BITS_32>::new(0, u32::MAX / 2));
    rows(&mut timing);
    assert!(timing.iter().eq([("a", u32::MAX)]));
}

#[test]
fn what_is_full_keeps_what_it_has() {
    let mut timing = Timing::<_, 2>::new(Counter::<BITS_24>::new(0, 1));
    rows(&mut timing);
    assert!(timing.iter().eq([("a", 3), ("b", 2)]));

    let mut trace = RoutingTrace::<1>::new();
    let weights = [RoutingWeight::from_num(0.5), RoutingWeight::MAX];
    trace.routing("first", &weights);
    trace.routing("second", &weights[..1]);
    assert!(trace.iter().eq([("first", &weights[..])]));
    trace.clear();
    assert_eq!(trace.iter().count(), 0);
}
