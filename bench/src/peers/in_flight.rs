//! So many commands on their way at once, over one connection: the same for the gateway and for Redis.

use std::time::{Duration, Instant};

use crate::Failure;
use crate::pipeline::Pipeline;

/// Orders of the gateway's load that may be open at once.
const OPEN_MAX: u64 = 50_000;

/// A connection that keeps commands on their way.
pub(crate) trait Load {
    /// Takes in what was answered, and sends until `in_flight_max` are on their way; true when anything moved.
    fn turn(&mut self, in_flight_max: u64) -> Result<bool, Failure>;
    /// Commands on their way, and those that were answered.
    fn counts(&self) -> (u64, u64);
}

impl Load for Pipeline {
    fn turn(&mut self, in_flight_max: u64) -> Result<bool, Failure> {
        Self::turn(self, in_flight_max, OPEN_MAX)
    }

    fn counts(&self) -> (u64, u64) {
        let counts = self.counts();
        (counts.sent.saturating_sub(counts.accepted.saturating_add(counts.refused)), counts.accepted)
    }
}

/// When commands are sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refill {
    /// As soon as one was answered.
    AtOnce,
    /// When all were answered: fewer and larger writes.
    WhenEmpty,
}

/// Keeps the load busy for so long; commands a second that were answered.
pub(crate) fn drive(load: &mut dyn Load, in_flight: u64, refill: Refill, length: Duration) -> Result<u64, Failure> {
    let (_, before) = load.counts();
    let mut is_filling = true;
    let started = Instant::now();
    loop {
        let has_moved = load.turn(if is_filling { in_flight } else { 0 })?;
        let (waiting, answered) = load.counts();
        is_filling = refill == Refill::AtOnce || waiting == 0 || (is_filling && waiting < in_flight);
        let elapsed = started.elapsed();
        if elapsed >= length {
            let answers = u128::from(answered.saturating_sub(before)).saturating_mul(1_000_000_000);
            return Ok(u64::try_from(answers.checked_div(elapsed.as_nanos()).unwrap_or(0))?);
        }
        if !has_moved {
            // What is waited for may be a side thread that shares this CPU.
            rustix::thread::sched_yield();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes two commands a turn, and answers one.
    struct Slow {
        waiting: u64,
        answered: u64,
        most: u64,
        /// The fewest that were on their way since the most were.
        fewest: u64,
    }

    impl Load for Slow {
        fn turn(&mut self, in_flight_max: u64) -> Result<bool, Failure> {
            self.answered = self.answered.saturating_add(self.waiting.min(1));
            self.waiting = self.waiting.saturating_sub(1);
            self.fewest = self.fewest.min(self.waiting);
            let sent = in_flight_max.saturating_sub(self.waiting).min(2);
            self.waiting = self.waiting.saturating_add(sent);
            if self.waiting > self.most {
                (self.most, self.fewest) = (self.waiting, self.waiting);
            }
            Ok(true)
        }

        fn counts(&self) -> (u64, u64) {
            (self.waiting, self.answered)
        }
    }

    #[test]
    fn what_was_answered_before_a_run_is_none_of_its_rate() {
        let mut load = Slow { waiting: 0, answered: u64::MAX / 2, most: 0, fewest: 0 };
        let rate = drive(&mut load, 10, Refill::AtOnce, Duration::from_millis(2)).unwrap();
        assert!(rate < 1 << 40, "{rate}/s");
    }

    #[test]
    fn no_more_are_on_their_way_than_may_be_and_they_are_sent_again_at_once_or_when_all_were_answered() {
        for (refill, fewest) in [(Refill::AtOnce, 9), (Refill::WhenEmpty, 0)] {
            let mut load = Slow { waiting: 0, answered: 0, most: 0, fewest: 0 };
            drive(&mut load, 10, refill, Duration::from_millis(2)).unwrap();
            assert_eq!((load.most, load.fewest), (10, fewest), "{refill:?}");
        }
    }
}
