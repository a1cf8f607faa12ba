//! Layers on a logic analyser.

use embedded_hal::digital::OutputPin;

use super::Observer;

/// Holds a pin high while a layer or routing function runs, and low between them, for a logic analyser or an oscilloscope: the
/// n-th pulse is the n-th step. Feature `embedded-hal`.
///
/// An error of the pin does not disturb the inference; it is counted.
///
/// ```
/// # use embedded_hal_mock::eh1::digital::{Mock, State, Transaction};
/// # let expected = [Transaction::set(State::High), Transaction::set(State::Low)];
/// # let pin = Mock::new(&expected);
/// use condconv::{Observer, PinProbe};
///
/// let mut probe = PinProbe::new(pin); // any output pin of embedded-hal 1.0
/// // net.infer_observed(&mut probe) does this for each layer:
/// probe.begin("conv1");
/// probe.end("conv1");
/// assert_eq!(probe.errors(), 0);
/// # probe.release().done();
/// ```
#[derive(Clone, Debug)]
pub struct PinProbe<P> {
    pin: P,
    errors: u32,
}

impl<P: OutputPin> PinProbe<P> {
    /// A probe on a pin, which should be low.
    #[must_use]
    pub const fn new(pin: P) -> Self {
        Self { pin, errors: 0 }
    }

    /// How often the pin could not be set; pulses are missing then.
    #[must_use]
    pub const fn errors(&self) -> u32 {
        self.errors
    }

    /// The pin.
    #[must_use]
    pub fn release(self) -> P {
        self.pin
    }

    fn count(&mut self, result: Result<(), P::Error>) {
        self.errors = self.errors.saturating_add(u32::from(result.is_err()));
    }
}

impl<P: OutputPin> Observer for PinProbe<P> {
    fn begin(&mut self, _: &'static str) {
        let result = self.pin.set_high();
        self.count(result);
    }

    fn end(&mut self, _: &'static str) {
        let result = self.pin.set_low();
        self.count(result);
    }
}
