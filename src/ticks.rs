//! The CPU's time-stamp counter: what the stages of the loop are measured with.
//!
//! It is no clock: it has no zero and no unit, nothing is decided by it, and only who reads the figures from outside
//! turns ticks into time. A reading costs some nanoseconds and no system call. Where the counter does not run evenly on
//! all CPUs (Linux says so: its clock source is not `tsc` then), neither do the figures. Elsewhere than on x86-64 a tick
//! is a nanosecond of the monotonic clock.

use std::io;
use std::time::{Duration, Instant};

/// The shortest time over which ticks are counted against the clock: 100 ns of uncertainty at both ends are 0.01 %.
const CALIBRATION_MIN: Duration = Duration::from_millis(2);

/// Readings of both of which the closest counts: between the two of one the system may have run somebody else.
const TRIES: u32 = 16;

/// Ticks since some moment.
#[cfg(target_arch = "x86_64")]
#[inline]
#[must_use]
pub fn now() -> u64 {
    // SAFETY: every x86-64 CPU has the instruction; it reads a register and touches no memory. A kernel that takes it
    // away from processes (`PR_SET_TSC`) takes it from `clock_gettime` too.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Ticks since some moment.
#[cfg(not(target_arch = "x86_64"))]
#[must_use]
pub fn now() -> u64 {
    static ORIGIN: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    u64::try_from(ORIGIN.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// A count of ticks against the clock, under way.
#[derive(Clone, Copy, Debug)]
pub struct Calibration {
    since: Instant,
    ticks: u64,
}

impl Calibration {
    /// Begins to count.
    #[must_use]
    pub fn begin() -> Self {
        let (since, ticks) = both();
        Self { since, ticks }
    }

    /// Ticks a second, from the beginning until now; waits until that is long enough.
    ///
    /// # Errors
    /// When the counter stands still.
    pub fn end(self) -> io::Result<u64> {
        while self.since.elapsed() < CALIBRATION_MIN {
            std::hint::spin_loop();
        }
        let (until, ticks) = both();
        let (elapsed, ticks) = (until.saturating_duration_since(self.since), ticks.saturating_sub(self.ticks));
        let per_s = u128::from(ticks).saturating_mul(1_000_000_000).checked_div(elapsed.as_nanos()).unwrap_or(0);
        match u64::try_from(per_s) {
            Ok(per_s) if per_s > 0 => Ok(per_s),
            _ => Err(io::Error::other("the time-stamp counter stands still")),
        }
    }
}

/// Clock and counter at the same moment.
fn both() -> (Instant, u64) {
    let read = |_| {
        let (before, at, after) = (now(), Instant::now(), now());
        let apart = after.saturating_sub(before);
        (apart, at, before.saturating_add(apart / 2))
    };
    let closest = (0..TRIES).map(read).min_by_key(|(apart, ..)| *apart);
    closest.map_or_else(|| (Instant::now(), now()), |(_, at, ticks)| (at, ticks))
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    #[test]
    fn ticks_in_nanoseconds_are_what_the_clock_says_within_one_percent() {
        let per_s = u128::from(Calibration::begin().end().unwrap());
        let (since, first) = both();
        while since.elapsed() < CALIBRATION_MIN {
            std::hint::spin_loop();
        }
        let (until, last) = both();
        let counted_ns = u128::from(last - first) * 1_000_000_000 / per_s;
        let elapsed_ns = (until - since).as_nanos();
        assert!(counted_ns.abs_diff(elapsed_ns) < elapsed_ns / 100, "{counted_ns} counted, {elapsed_ns} ns elapsed");
    }
}
