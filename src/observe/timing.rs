//! How long each layer takes, to be looked at after an inference.

use heapless::Vec;

use super::{Cycles, Observer};

/// Remembers the ticks of up to `LAYERS` layers and routing functions; further ones are left out. Ticks of the same name are
/// summed: of the rows of layers that run row by row, and of all inferences since [`clear`](Self::clear).
///
/// One layer, or a row of it, must not take longer than [`Cycles::MAX_TICKS`]; a sum stops at `u32::MAX`.
///
/// ```
/// use condconv::{Cycles, Observer, Timing};
///
/// struct Counter(core::cell::Cell<u32>);
///
/// impl Cycles for Counter {
///     const MAX_TICKS: u32 = u32::MAX;
///
///     fn now(&self) -> u32 {
///         self.0.set(self.0.get() + 5);
///         self.0.get()
///     }
/// }
///
/// let mut timing = Timing::<_, 16>::new(Counter(0.into()));
/// // net.infer_observed(&mut timing) does this for each layer:
/// timing.begin("conv1");
/// timing.end("conv1");
/// assert!(timing.iter().eq([("conv1", 5)]));
/// ```
#[derive(Clone, Debug)]
pub struct Timing<C, const LAYERS: usize> {
    cycles: C,
    /// The count when the layer began.
    start: u32,
    entries: Vec<(&'static str, u32), LAYERS>,
}

impl<C: Cycles, const LAYERS: usize> Timing<C, LAYERS> {
    /// No layers yet.
    #[must_use]
    pub const fn new(cycles: C) -> Self {
        Self { cycles, start: 0, entries: Vec::new() }
    }

    /// Forgets everything; before the next inference, unless sums over several are wanted.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// Name and ticks of each layer and routing function, in the order in which they first ran.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u32)> {
        self.entries.iter().copied()
    }
}

impl<C: Cycles, const LAYERS: usize> Observer for Timing<C, LAYERS> {
    fn begin(&mut self, _: &'static str) {
        self.start = self.cycles.now();
    }

    fn end(&mut self, layer: &'static str) {
        let ticks = self.cycles.elapsed(self.start);
        if let Some((_, sum)) = self.entries.iter_mut().find(|(name, _)| *name == layer) {
            *sum = sum.saturating_add(ticks);
        } else {
            // Full, it keeps what it has.
            let _ = self.entries.push((layer, ticks));
        }
    }
}
