//! Counters that time is measured with.

/// How often a counter is read before it counts as one that stands still: longer than a tick of 32 kHz takes at 100 MHz.
const READINGS: usize = 10_000;

/// A counter of processor cycles or of a timer's ticks, such as `DwtCycles` and `SysTickCycles` (feature `cortex-m`).
///
/// ```
/// use condconv::Cycles;
///
/// /// A timer of 16 bits that counts down.
/// struct Timer(core::cell::Cell<u16>);
///
/// impl Cycles for Timer {
///     const MAX_TICKS: u32 = 0xffff;
///
///     fn now(&self) -> u32 {
///         self.0.set(self.0.get().wrapping_sub(3)); // the hardware does this
///         u32::from(!self.0.get())
///     }
/// }
///
/// let timer = Timer(1.into()); // about to wrap
/// let start = timer.now();
/// assert_eq!(timer.elapsed(start), 3);
/// assert!(timer.is_running());
/// ```
pub trait Cycles {
    /// The largest count, `2^n - 1` of a counter of n bits, after which it is zero again; in ticks also the longest time that
    /// can be measured. A longer one looks shorter by a multiple of `2^n`.
    const MAX_TICKS: u32;

    /// The count, which goes up.
    fn now(&self) -> u32;

    /// Ticks since the count was `start`, at most [`MAX_TICKS`](Self::MAX_TICKS) of them.
    fn elapsed(&self, start: u32) -> u32 {
        self.now().wrapping_sub(start) & Self::MAX_TICKS
    }

    /// Whether the count moves: looks until it does, or for some ten thousand cycles. Counters may be missing, off, or emulated
    /// by nothing, and then all times would be zero.
    fn is_running(&self) -> bool {
        let start = self.now();
        (0..READINGS).any(|_| self.now() != start)
    }
}
