//! Logging with defmt.

use defmt::{Format, Formatter};

use super::{Cycles, Observer, RoutingTrace, Timing};
use crate::RoutingWeight;

/// Logs the routing weights that each routing function chose, and the ticks of each layer and routing function, as they run.
/// Feature `defmt`.
///
/// The lines, which are `defmt::println!`'s and so pass whatever `DEFMT_LOG` says:
///
/// ```text
/// block1/route: 312 ticks
/// block1/route: 0.25 0.75
/// block1/conv: 48211 ticks
/// ```
///
/// Logging takes no part in these times, but in that of the whole inference. To log afterwards, run with [`Timing`] or
/// [`RoutingTrace`], and log that.
///
/// ```no_run
/// use condconv::{Cycles, DefmtLogger, Observer};
///
/// fn infer(cycles: impl Cycles) {
///     let mut logger = DefmtLogger::new(cycles);
///     // net.infer_observed(&mut logger) does this for each layer:
///     logger.begin("block1/conv");
///     logger.end("block1/conv");
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct DefmtLogger<C> {
    cycles: C,
    /// The count when the layer began.
    start: u32,
}

impl<C: Cycles> DefmtLogger<C> {
    /// A logger that measures with this counter.
    #[must_use]
    pub const fn new(cycles: C) -> Self {
        Self { cycles, start: 0 }
    }
}

impl<C: Cycles> Observer for DefmtLogger<C> {
    fn begin(&mut self, _: &'static str) {
        self.start = self.cycles.now();
    }

    fn end(&mut self, layer: &'static str) {
        let ticks = self.cycles.elapsed(self.start);
        defmt::println!("{=str}: {=u32} ticks", layer, ticks);
    }

    fn routing(&mut self, name: &'static str, weights: &[RoutingWeight]) {
        defmt::println!("{=str}:{}", name, Fractions(weights));
    }
}

/// Routing weights, with a space before each. Floats are written out by who reads the log, where fixed-point numbers would need
/// `core::fmt` here.
struct Fractions<'a>(&'a [RoutingWeight]);

impl Format for Fractions<'_> {
    fn format(&self, f: Formatter<'_>) {
        for weight in self.0 {
            defmt::write!(f, " {=f32}", f32::from(weight.to_bits()) / 32768.0);
        }
    }
}

impl<const ROUTINGS: usize> Format for RoutingTrace<ROUTINGS> {
    fn format(&self, f: Formatter<'_>) {
        for (number, (name, weights)) in self.iter().enumerate() {
            defmt::write!(f, "{=str}{=str}:{}", separator(number), name, Fractions(weights));
        }
    }
}

impl<C: Cycles, const LAYERS: usize> Format for Timing<C, LAYERS> {
    fn format(&self, f: Formatter<'_>) {
        for (number, (name, ticks)) in self.iter().enumerate() {
            defmt::write!(f, "{=str}{=str}: {=u32} ticks", separator(number), name, ticks);
        }
    }
}

const fn separator(number: usize) -> &'static str {
    if number == 0 { "" } else { ", " }
}
