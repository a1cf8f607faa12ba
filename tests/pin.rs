//! Layers on a pin.

use condconv::{Observer, PinProbe, RoutingWeight};
use embedded_hal::digital::{ErrorKind, ErrorType, OutputPin};
use embedded_hal_mock::eh1::MockError;
use embedded_hal_mock::eh1::digital::{Mock, State, Transaction};

/// What a network of a routing function and a layer calls.
fn infer(observer: &mut impl Observer) {
    observer.begin("block/route");
    observer.end("block/route");
    observer.routing("block/route", &[RoutingWeight::MAX]);
    observer.begin("block/conv");
    observer.end("block/conv");
}

#[test]
fn a_pulse_for_each_step() {
    let (high, low) = (Transaction::set(State::High), Transaction::set(State::Low));
    let mut probe = PinProbe::new(Mock::new(&[high.clone(), low.clone(), high, low]));
    infer(&mut probe);
    assert_eq!(probe.errors(), 0);
    probe.release().done();
}

#[test]
fn errors_are_counted_and_the_inference_goes_on() {
    let (high, low) = (Transaction::set(State::High), Transaction::set(State::Low));
    let failed = || MockError::Io(std::io::ErrorKind::NotConnected);
    let expected = [high.clone().with_error(failed()), low.clone(), high, low.with_error(failed())];
    let mut probe = PinProbe::new(Mock::new(&expected));
    infer(&mut probe);
    assert_eq!(probe.errors(), 2);
    probe.release().done();
}

/// On a port expander that is not there.
#[test]
fn a_pin_that_always_fails() {
    struct Absent;
    impl ErrorType for Absent {
        type Error = ErrorKind;
    }
    impl OutputPin for Absent {
        fn set_low(&mut self) -> Result<(), ErrorKind> {
            Err(ErrorKind::Other)
        }

        fn set_high(&mut self) -> Result<(), ErrorKind> {
            Err(ErrorKind::Other)
        }
    }
    let mut probe = PinProbe::new(Absent);
    infer(&mut probe);
    assert_eq!(probe.errors(), 4);
}
