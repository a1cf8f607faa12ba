//! The counters of Cortex-M processors.

use core::fmt;
use core::marker::PhantomData;

use cortex_m::peripheral::syst::SystClkSource;
use cortex_m::peripheral::{DCB, DWT, SYST};

use super::Cycles;

/// Why a counter cannot be used. Feature `cortex-m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum CounterError {
    /// The processor has none: Cortex-M0, M0+ and M23 count no cycles.
    Missing,
    /// It was started and stands still: it is left out of the chip or of the emulator (QEMU counts no cycles), or locked.
    Still,
}

impl fmt::Display for CounterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "the processor has no such counter",
            Self::Still => "the counter was started and does not count",
        })
    }
}

impl core::error::Error for CounterError {}

/// Processor cycles, by CYCCNT of the data watchpoint and trace unit (DWT) of Cortex-M3 and later: 32 bits, 25 s at
/// 168 MHz. It stands still while the processor sleeps. Feature `cortex-m`.
///
/// ```no_run
/// use condconv::{DwtCycles, Timing};
///
/// let mut core = cortex_m::Peripherals::take().unwrap();
/// let cycles = DwtCycles::new(&mut core.DWT, &mut core.DCB)?;
/// let mut timing = Timing::<_, 16>::new(cycles);
/// # Ok::<(), condconv::CounterError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct DwtCycles(());

impl DwtCycles {
    /// Starts the counter, and looks whether it counts. It goes on from what it has counted before.
    ///
    /// # Errors
    ///
    /// [`CounterError::Missing`], or [`CounterError::Still`] if it does not count.
    pub fn new(dwt: &mut DWT, dcb: &mut DCB) -> Result<Self, CounterError> {
        start(dwt, dcb)?;
        let cycles = Self(());
        if cycles.is_running() { Ok(cycles) } else { Err(CounterError::Still) }
    }
}

/// Only the second Thumb's processors have the counter's registers.
#[cfg(condconv_thumb = "2")]
fn start(dwt: &mut DWT, dcb: &mut DCB) -> Result<(), CounterError> {
    dcb.enable_trace();
    // A Cortex-M7 ignores what is written before.
    DWT::unlock();
    if !DWT::has_cycle_counter() {
        return Err(CounterError::Missing);
    }
    dwt.enable_cycle_counter();
    Ok(())
}

#[cfg(not(condconv_thumb = "2"))]
const fn start(_: &mut DWT, _: &mut DCB) -> Result<(), CounterError> {
    Err(CounterError::Missing)
}

impl Cycles for DwtCycles {
    const MAX_TICKS: u32 = u32::MAX;

    #[cfg(condconv_thumb = "2")]
    fn now(&self) -> u32 {
        DWT::cycle_count()
    }

    #[cfg(not(condconv_thumb = "2"))]
    fn now(&self) -> u32 {
        0
    }
}

/// Processor cycles, by the SysTick timer, which nearly all Cortex-M have, the smallest too: 24 bits, of which a layer, or a row
/// of it, must not take more than 0.1 s at 168 MHz and 1 s at 16 MHz. It is not to be had where an operating system or a
/// delay uses it. Feature `cortex-m`.
///
/// ```no_run
/// use condconv::{SysTickCycles, Timing};
///
/// let mut core = cortex_m::Peripherals::take().unwrap();
/// let mut timing = Timing::<_, 16>::new(SysTickCycles::new(&mut core.SYST)?);
/// # Ok::<(), condconv::CounterError>(())
/// ```
#[derive(Debug)]
pub struct SysTickCycles<'a> {
    /// Nobody else may start it anew meanwhile.
    timer: PhantomData<&'a mut SYST>,
}

impl<'a> SysTickCycles<'a> {
    /// Starts the timer at the processor's clock, without interrupts, and looks whether it counts.
    ///
    /// # Errors
    ///
    /// [`CounterError::Still`] if it does not.
    pub fn new(timer: &'a mut SYST) -> Result<Self, CounterError> {
        timer.disable_interrupt();
        timer.set_clock_source(SystClkSource::Core);
        timer.set_reload(Self::MAX_TICKS);
        timer.clear_current();
        timer.enable_counter();
        let cycles = Self { timer: PhantomData };
        if cycles.is_running() { Ok(cycles) } else { Err(CounterError::Still) }
    }
}

impl Cycles for SysTickCycles<'_> {
    const MAX_TICKS: u32 = 0x00ff_ffff;

    fn now(&self) -> u32 {
        // It counts down.
        Self::MAX_TICKS - SYST::get_current()
    }
}
