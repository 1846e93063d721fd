//! What the machine does to whoever runs on it: how late a timer wakes a thread. It stands with every result, so that
//! nobody takes the machine's stalls for the gateway's.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rustix::thread::{ClockId, Timespec, clock_nanosleep_absolute, set_current_timer_slack};
use rustix::time::clock_gettime;

use crate::Failure;
use crate::timing::{RoundTrips, round_trips};

/// From one waking to the next: a thousand a second take some 0.3 % of a CPU.
const INTERVAL_NS: i64 = 1_000_000;
const SECOND_NS: i64 = 1_000_000_000;

/// A thread that a timer wakes, and that keeps by how much too late.
#[derive(Debug)]
pub(crate) struct Meter {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<RoundTrips>,
}

impl Meter {
    /// Starts it, on whatever CPUs the caller may use.
    pub(crate) fn start() -> Result<Self, Failure> {
        let stop = Arc::new(AtomicBool::new(false));
        let is_stopped = Arc::clone(&stop);
        let thread =
            std::thread::Builder::new().name("hiccup".to_owned()).spawn(move || lateness_until(&is_stopped))?;
        Ok(Self { stop, thread })
    }

    /// How late it was woken, each time.
    pub(crate) fn stop(self) -> Result<RoundTrips, Failure> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "the hiccup meter panicked".into())
    }
}

fn lateness_until(stop: &AtomicBool) -> RoundTrips {
    // The slack that lets the kernel gather timers is not the machine's stall. Without the call it is 50 µs.
    let _ = set_current_timer_slack(NonZeroU64::new(1));
    let mut lateness = round_trips();
    let mut planned = clock_gettime(ClockId::Monotonic);
    while !stop.load(Ordering::Relaxed) {
        planned = later(planned, INTERVAL_NS);
        // An interrupted sleep is a short one, which counts as no lateness.
        let _ = clock_nanosleep_absolute(ClockId::Monotonic, &planned);
        let late_ns = nanoseconds(clock_gettime(ClockId::Monotonic)).saturating_sub(nanoseconds(planned));
        lateness.saturating_record(u64::try_from(late_ns).unwrap_or(0));
    }
    lateness
}

fn later(time: Timespec, by_ns: i64) -> Timespec {
    let nsec = time.tv_nsec.saturating_add(by_ns);
    let (carry, tv_nsec) = if nsec >= SECOND_NS { (1, nsec.saturating_sub(SECOND_NS)) } else { (0, nsec) };
    Timespec { tv_sec: time.tv_sec.saturating_add(carry), tv_nsec }
}

const fn nanoseconds(time: Timespec) -> i64 {
    time.tv_sec.saturating_mul(SECOND_NS).saturating_add(time.tv_nsec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_waking_carries_into_the_second() {
        let time = Timespec { tv_sec: 7, tv_nsec: 999_500_000 };
        assert_eq!(later(time, INTERVAL_NS), Timespec { tv_sec: 8, tv_nsec: 500_000 });
    }
}
