//! The one place that asks what time it is.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tradecore_protocol::session::Now;

/// How often UTC is compared with the system's, ns.
const COMPARE_EVERY_NS: u64 = 1_000_000;

/// UTC follows the system's by one part in so many at most, 500 ppm: as fast as NTP slews a clock.
const SLEW_PARTS: u64 = 2_000;

/// A clock that is read once a turn.
///
/// Its UTC is the system's at the start and goes on with the monotonic clock: what is measured with it, like a
/// cancel-on-disconnect window or the age of a quote, neither ends early nor stands still when the system's clock is
/// set. Where the two differ it comes closer by 500 ppm, so that it stays with a clock that NTP slews; to take over a
/// clock that was set by more than a little, start the gateway again. It never goes back.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
    /// Where UTC was compared last.
    anchor: Now,
    last_utc_ns: u64,
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock {
    /// A clock whose monotonic time starts now.
    #[must_use]
    pub fn new() -> Self {
        Self::starting_at(utc_ns())
    }

    fn starting_at(utc_ns: u64) -> Self {
        Self { origin: Instant::now(), anchor: Now { mono_ns: 0, utc_ns }, last_utc_ns: utc_ns }
    }

    /// Where its monotonic time starts.
    #[must_use]
    pub const fn origin(&self) -> Instant {
        self.origin
    }

    /// Both times.
    pub fn read(&mut self) -> Now {
        self.at(u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX), utc_ns)
    }

    fn at(&mut self, mono_ns: u64, system_utc_ns: impl FnOnce() -> u64) -> Now {
        let elapsed_ns = mono_ns.saturating_sub(self.anchor.mono_ns);
        let mut utc_ns = self.anchor.utc_ns.saturating_add(elapsed_ns);
        if elapsed_ns >= COMPARE_EVERY_NS {
            let slew_ns = elapsed_ns / SLEW_PARTS;
            utc_ns = system_utc_ns().clamp(utc_ns.saturating_sub(slew_ns), utc_ns.saturating_add(slew_ns));
            self.anchor = Now { mono_ns, utc_ns };
        }
        self.last_utc_ns = self.last_utc_ns.max(utc_ns);
        Now { mono_ns, utc_ns: self.last_utc_ns }
    }
}

/// Time since the host was started, ns, also while it was suspended, which `Instant` leaves out.
#[must_use]
pub fn boottime_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// Now, by the clock that the loop has, and by one that does not stand still while the host is suspended.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The loop's.
    pub at: Instant,
    /// Time since the host was started, ns.
    pub boot_ns: u64,
}

impl Moment {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        // In this order: what lies between is on the side of who takes over.
        let boot_ns = boottime_ns();
        Self { at: Instant::now(), boot_ns }
    }
}

/// UTC as the system says, ns since the Unix epoch.
#[must_use]
pub fn utc_ns() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    const START: u64 = 1_800_000_000_000_000_000;
    const SECOND: u64 = 1_000_000_000;
    const HOUR: u64 = 3_600 * SECOND;

    /// Turns of 100 µs for a minute, during which the system's clock is `ahead` of the true time; UTC at the end.
    fn a_minute(ahead: i64) -> u64 {
        let mut clock = Clock::starting_at(START);
        let mut last = START;
        for mono_ns in (0..=60 * SECOND).step_by(100_000) {
            let now = clock.at(mono_ns, || (START + mono_ns).saturating_add_signed(ahead));
            assert!(now.utc_ns >= last, "{} after {last}", now.utc_ns);
            assert_eq!(now.mono_ns, mono_ns);
            last = now.utc_ns;
        }
        last - START
    }

    #[test]
    fn a_step_of_the_system_clock_neither_hurries_nor_holds_up_what_is_measured() {
        assert_eq!(a_minute(0), 60 * SECOND);
        assert_eq!(a_minute(HOUR as i64), 60 * SECOND + 60 * SECOND / SLEW_PARTS, "500 ppm, no more");
        assert_eq!(a_minute(-(HOUR as i64)), 60 * SECOND - 60 * SECOND / SLEW_PARTS);
    }

    #[test]
    fn a_small_difference_to_the_system_clock_goes_away() {
        let ms = 1_000_000;
        assert_eq!(a_minute(ms), 60 * SECOND + ms as u64);
        assert_eq!(a_minute(-ms), 60 * SECOND - ms as u64);
    }

    #[test]
    fn turns_that_are_far_apart_are_measured_as_well() {
        let mut clock = Clock::starting_at(START);
        assert_eq!(clock.at(HOUR, || START).utc_ns, START + HOUR - HOUR / SLEW_PARTS);
        assert_eq!(clock.at(HOUR + 1, || 0).utc_ns, START + HOUR - HOUR / SLEW_PARTS + 1);
    }
}
