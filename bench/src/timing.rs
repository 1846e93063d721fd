//! Open-loop pacing, histograms, and how they are compared.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// Round trips, ns.
pub(crate) type RoundTrips = Histogram<u64>;

/// An empty one: up to ten seconds, three digits.
pub(crate) fn round_trips() -> RoundTrips {
    Histogram::new_with_bounds(1, 10_000_000_000, 3).unwrap_or_else(|_| unreachable!("the bounds are in order"))
}

/// The times at which something should happen: evenly, whatever happened before.
#[derive(Debug)]
pub(crate) struct Schedule {
    start: Instant,
    interval: Duration,
    next: u32,
}

impl Schedule {
    /// So many a second, from now on.
    pub(crate) fn new(rate: u64) -> Self {
        let interval = Duration::from_nanos(1_000_000_000_u64.checked_div(rate).unwrap_or(1_000_000_000));
        Self { start: Instant::now(), interval, next: 0 }
    }

    /// The time of the next one, when it has come at `now`.
    pub(crate) fn due(&mut self, now: Instant) -> Option<Instant> {
        let planned = self.start.checked_add(self.interval.saturating_mul(self.next))?;
        (now >= planned).then(|| {
            self.next = self.next.saturating_add(1);
            planned
        })
    }

    /// The time of the next one.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.start.checked_add(self.interval.saturating_mul(self.next))
    }
}

/// Nanoseconds from `planned` to `arrived`.
pub(crate) fn between(planned: Instant, arrived: Instant) -> u64 {
    u64::try_from(arrived.saturating_duration_since(planned).as_nanos()).unwrap_or(u64::MAX)
}

/// The middle one.
pub(crate) fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

/// One run's line.
pub(crate) fn print_run(name: &str, run: &RoundTrips) {
    let at = |quantile| micros(run.value_at_quantile(quantile));
    println!(
        "  {name:<26} p50 {:>9}  p99 {:>9}  p99.9 {:>9}  p99.99 {:>9}  max {:>9} µs   n={}",
        at(0.5),
        at(0.99),
        at(0.999),
        at(0.9999),
        micros(run.max()),
        run.len()
    );
}

/// Microseconds, from nanoseconds: with one decimal, below ten with three.
pub(crate) fn micros(ns: u64) -> String {
    if ns < 10_000 {
        return format!("{}.{:03}", ns / 1000, ns % 1000);
    }
    format!("{}.{}", ns / 1000, (ns % 1000) / 100)
}
