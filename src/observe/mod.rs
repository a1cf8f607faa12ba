//! A look at a network while it runs.

mod cycles;
#[cfg(feature = "defmt")]
mod log;
#[cfg(feature = "embedded-hal")]
mod pin;
#[cfg(feature = "cortex-m")]
mod processor;
mod timing;
mod trace;

pub use cycles::Cycles;
#[cfg(feature = "defmt")]
pub use log::DefmtLogger;
#[cfg(feature = "embedded-hal")]
pub use pin::PinProbe;
#[cfg(feature = "cortex-m")]
pub use processor::{CounterError, DwtCycles, SysTickCycles};
pub use timing::Timing;
pub use trace::RoutingTrace;

use crate::RoutingWeight;

/// What a generated network calls while it runs. Every method does nothing unless it is implemented, and an
/// observer that does nothing (`()`) costs nothing.
pub trait Observer {
    /// Before a layer or routing function.
    fn begin(&mut self, layer: &'static str) {
        let _ = layer;
    }

    /// After it.
    fn end(&mut self, layer: &'static str) {
        let _ = layer;
    }

    /// The routing weights that an input chose.
    fn routing(&mut self, name: &'static str, weights: &[RoutingWeight]) {
        let _ = (name, weights);
    }
}

impl Observer for () {}
