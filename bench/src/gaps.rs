//! What the machine does to a thread that spins, and so needs no other beside it: the gaps between its readings of the
//! clock.

use std::time::{Duration, Instant};

use crate::timing::{RoundTrips, between, round_trips};

/// The gaps of one thread.
#[derive(Debug)]
pub(crate) struct Gaps {
    last: Option<Instant>,
    gaps: RoundTrips,
}

/// A shorter gap is what a turn of the thread's own work takes.
const GAP_MIN: Duration = Duration::from_micros(20);

impl Gaps {
    pub(crate) fn new() -> Self {
        Self { last: None, gaps: round_trips() }
    }

    /// Takes a reading of the clock; a gap is kept when it is longer than the thread's own work.
    pub(crate) fn read(&mut self, now: Instant) {
        if let Some(last) = self.last.replace(now) {
            let gap = now.saturating_duration_since(last);
            if gap >= GAP_MIN {
                self.gaps.saturating_record(between(last, now));
            }
        }
    }

    /// All gaps.
    pub(crate) fn into_histogram(self) -> RoundTrips {
        self.gaps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_kept_when_it_is_longer_than_a_turn_of_the_thread() {
        let start = Instant::now();
        let at = |micros| start + Duration::from_micros(micros);
        let mut gaps = Gaps::new();
        for micros in [0, 5, 10, 510, 515] {
            gaps.read(at(micros));
        }
        let gaps = gaps.into_histogram();
        assert_eq!((gaps.len(), gaps.max() / 1000), (1, 500));
    }
}
