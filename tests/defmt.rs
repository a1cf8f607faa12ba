//! What is logged: the bytes that a logger sends, apart from the numbers of the format strings, which a linker gives.

use std::cell::{Cell, RefCell};

use condconv::{
    Cycles, DefmtLogger, Geometry, LayerError, Observer, Overlap, Padding, Quantization, RoutingTrace,
    RoutingWeight, Shape, Timing, Window,
};
use defmt::Format;

thread_local! {
    static SENT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Keeps what it is told, each thread's for itself.
#[defmt::global_logger]
struct Keep;

#[allow(unsafe_code, reason = "required by defmt")]
// SAFETY: threads share nothing.
unsafe impl defmt::Logger for Keep {
    fn acquire() {}

    unsafe fn flush() {}

    unsafe fn release() {}

    unsafe fn write(bytes: &[u8]) {
        SENT.with_borrow_mut(|sent| sent.extend(bytes));
    }
}

defmt::timestamp!("");

fn sent() -> Vec<u8> {
    SENT.take()
}

fn print(value: &impl Format) -> Vec<u8> {
    defmt::println!("{}", value);
    sent()
}

/// Whether these lie in the bytes, in this order.
fn contains(bytes: &[u8], parts: &[Vec<u8>]) -> bool {
    let mut rest = bytes;
    parts.iter().all(|part| {
        let found = rest.windows(part.len()).position(|window| window == part);
        found.inspect(|start| rest = &rest[start + part.len()..]).is_some()
    })
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

struct Counter(Cell<u32>);

impl Cycles for Counter {
    const MAX_TICKS: u32 = u32::MAX;

    fn now(&self) -> u32 {
        self.0.set(self.0.get() + 0x0102_0304);
        self.0.get()
    }
}

fn run(observer: &mut impl Observer) {
    for layer in ["route", "conv"] {
        observer.begin(layer);
        observer.end(layer);
    }
    observer.routing("route", &[RoutingWeight::from_num(0.25), RoutingWeight::from_num(0.75)]);
}

fn weights() -> [Vec<u8>; 3] {
    [text("route"), 0.25_f32.to_le_bytes().to_vec(), 0.75_f32.to_le_bytes().to_vec()]
}

fn ticks() -> [Vec<u8>; 4] {
    let ticks = 0x0102_0304_u32.to_le_bytes().to_vec();
    [text("route"), ticks.clone(), text("conv"), ticks]
}

#[test]
fn weights_and_ticks_as_they_come() {
    run(&mut DefmtLogger::new(Counter(Cell::new(0))));
    let sent = sent();
    assert!(contains(&sent, &[&ticks()[..], &weights()].concat()), "{sent:x?}");
}

#[test]
fn weights_and_ticks_afterwards() {
    let mut timing = Timing::<_, 2>::new(Counter(Cell::new(0)));
    run(&mut timing);
    assert_eq!(sent(), [0; 0]);
    assert!(contains(&print(&timing), &ticks()));

    let mut trace = RoutingTrace::<1>::new();
    run(&mut trace);
    assert!(contains(&print(&trace), &weights()));
}

#[test]
fn descriptions() {
    let number = |number: u32| number.to_le_bytes().to_vec();
    assert!(contains(&print(&Shape::new(28, 30, 3)), &[28, 30, 3].map(number)));
    assert!(contains(&print(&Padding::new(1, 2, 3, 4)), &[1, 2, 3, 4].map(number)));
    let window = Window::new([3, 5]).stride([2, 1]);
    assert!(contains(&print(&window), &[3, 5, 2, 1].map(number)));
    let geometry = Geometry::new(Shape::new(8, 9, 4), 6, window, 2).unwrap();
    assert!(contains(&print(&geometry), &[8, 9, 4, 3, 5, 6, 3, 5, 2, 1].map(number)));
    assert!(contains(&print(&Overlap { before: 7, after: Some(9), step: 2 }), &[7, 9, 2].map(number)));
    let quantization = print(&Quantization::new(0.5, -7));
    assert!(contains(&quantization, &[0.5_f32.to_le_bytes().to_vec(), (-7_i32).to_le_bytes().to_vec()]));
    assert_ne!(print(&LayerError::Groups), print(&LayerError::Experts));
}
