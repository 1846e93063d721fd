//! A journal that grows at a rate, and those who follow it: what they had seen, and when.
#![allow(clippy::arithmetic_side_effects)]

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tradecore_domain::command::FactKind;
use tradecore_journal::Closer;
use tradecore_protocol::fields::{OrderId, Qty, Side, Tif};

use crate::Failure;
use crate::in_process::{Core, ONE};
use crate::timing::{RoundTrips, Schedule, between, round_trips};

/// Orders open at once.
const WINDOW: usize = 500;
/// From one look for what is due to the next.
const TURN: Duration = Duration::from_millis(1);
/// Without anything new for so long, nothing comes any more.
const STALL_MAX: Duration = Duration::from_secs(60);

/// A number that was reached, and when.
pub(crate) type Reached = (Instant, u64);

/// A core that writes whole lives of orders, an event at a time: accepted, acknowledged, filled in two parts.
pub(crate) struct Live {
    core: Core,
    closer: Closer,
    /// The open orders, and how many events each has.
    open: VecDeque<(OrderId, u8)>,
    orders: u64,
}

impl Live {
    /// A journal that has nothing but a core's beginning.
    pub(crate) fn start(journal_dir: &Path) -> Result<Self, Failure> {
        let (journal, _, _, closer) = tradecore_journal::open(&crate::in_process::journal(journal_dir))?.into_parts();
        Ok(Self { core: Core::start(Some(journal))?, closer, open: VecDeque::new(), orders: 0 })
    }

    /// The last event.
    pub(crate) const fn seq(&self) -> u64 {
        self.core.events
    }

    /// Ends the journal.
    pub(crate) fn end(self) {
        if let (_, Some(journal)) = self.core.into_parts() {
            self.closer.seal(journal);
        }
    }

    /// So many events as fast as they can be written.
    pub(crate) fn fill(&mut self, events: u64) -> Result<(), Failure> {
        (0..events).try_for_each(|_| self.step())
    }

    /// Events at a rate until `is_over`, which is handed the last of them; when each was visible. The thread sleeps in
    /// between, so that both CPUs are there for those who follow.
    pub(crate) fn run(&mut self, rate: u64, mut is_over: impl FnMut(u64) -> bool) -> Result<Vec<Reached>, Failure> {
        let mut schedule = Schedule::new(rate);
        let mut made = Vec::new();
        while !is_over(self.seq()) {
            while schedule.due(Instant::now()).is_some() {
                self.step()?;
                made.push((Instant::now(), self.seq()));
            }
            std::thread::sleep(TURN);
        }
        Ok(made)
    }

    fn step(&mut self) -> Result<(), Failure> {
        if self.open.len() < WINDOW {
            self.orders += 1;
            let side = if self.orders.is_multiple_of(2) { Side::Buy } else { Side::Sell };
            let id = self.core.place(side, Tif::Day)?;
            self.open.push_back((id, 1));
            return Ok(());
        }
        let Some((id, events)) = self.open.front_mut() else { return Ok(()) };
        let (id, known) = (*id, *events);
        *events += 1;
        match known {
            1 => self.core.fact(id, FactKind::Acknowledged),
            2 => self.core.trade(id, Qty(ONE / 2)),
            _ => {
                self.open.pop_front();
                self.core.trade(id, Qty(ONE / 2))
            }
        }
    }
}

/// Who looks how far a reader has come.
#[derive(Debug)]
pub(crate) struct Watch {
    thread: JoinHandle<Result<Vec<Reached>, String>>,
    seq: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
}

impl Watch {
    /// Looks every `pause`.
    pub(crate) fn start<L>(
        pause: Duration,
        open: impl FnOnce() -> Result<L, Failure> + Send + 'static,
    ) -> Result<Self, Failure>
    where
        L: FnMut() -> Result<u64, Failure>,
    {
        let (seq, is_over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (reached, is_ended) = (Arc::clone(&seq), Arc::clone(&is_over));
        let work = move || -> Result<Vec<Reached>, Failure> {
            let mut look = open()?;
            let mut seen = Vec::new();
            while !is_ended.load(Ordering::Acquire) {
                let now_seq = look()?;
                if now_seq > reached.load(Ordering::Relaxed) {
                    seen.push((Instant::now(), now_seq));
                    reached.store(now_seq, Ordering::Release);
                }
                std::thread::sleep(pause);
            }
            Ok(seen)
        };
        let thread = std::thread::Builder::new()
            .name("watch".to_owned())
            .spawn(move || work().map_err(|error| error.to_string()))?;
        Ok(Self { thread, seq, is_over })
    }

    /// How far it has come.
    pub(crate) fn seq(&self) -> u64 {
        self.seq.load(Ordering::Acquire)
    }

    /// Waits until it has come to `seq`.
    pub(crate) fn wait_for(&self, seq: u64) -> Result<(), Failure> {
        let (mut last, mut since) = (self.seq(), Instant::now());
        while self.seq() < seq {
            if self.seq() > last {
                (last, since) = (self.seq(), Instant::now());
            }
            if self.thread.is_finished() || since.elapsed() > STALL_MAX {
                return Err(format!("event {} of {seq} was reached, and no more", self.seq()).into());
            }
            std::thread::sleep(TURN);
        }
        Ok(())
    }

    /// What it has seen.
    pub(crate) fn end(self) -> Result<Vec<Reached>, Failure> {
        self.is_over.store(true, Ordering::Release);
        Ok(self.thread.join().map_err(|_| "a thread that watches panicked")??)
    }
}

/// From each event's being made, from `from` on, to its being seen, but for what is `allowed`.
pub(crate) fn lags(
    made: &[Reached],
    seen: &[Reached],
    from: Instant,
    allowed: Duration,
) -> Result<RoundTrips, Failure> {
    let mut lags = round_trips();
    let mut seen = seen.iter().peekable();
    for (made_at, seq) in made.iter().filter(|(made_at, _)| *made_at >= from) {
        while seen.next_if(|(_, seen_seq)| seen_seq < seq).is_some() {}
        let (seen_at, _) = seen.peek().ok_or("an event was not seen")?;
        let lag = Duration::from_nanos(between(*made_at, *seen_at)).saturating_sub(allowed);
        lags.saturating_record(u64::try_from(lag.as_nanos())?.max(1));
    }
    Ok(lags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lag_runs_from_an_event_to_the_first_look_that_found_it_and_those_before_the_start_do_not_count() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let made = [(at(0), 1), (at(10), 2), (at(20), 3), (at(30), 4)];
        let seen = [(at(5), 1), (at(26), 3), (at(38), 4)];
        let lags_of = |from, allowed| lags(&made, &seen, from, Duration::from_millis(allowed));
        let found = lags_of(at(10), 5).unwrap();
        let count_at = |ms: u64| found.count_between(ms * 1_000_000 - 100_000, ms * 1_000_000 + 100_000);
        assert_eq!((found.len(), count_at(11), count_at(1), count_at(3)), (3, 1, 1, 1), "{found:?}");
        assert!(lags(&made, &seen[..2], start, Duration::ZERO).is_err(), "the last was not seen");
    }

    #[test]
    fn a_journal_grows_by_one_event_a_step_at_its_rate() {
        let dir = tempfile::tempdir().unwrap();
        let mut live = Live::start(&dir.path().join("j")).unwrap();
        let first = live.seq();
        live.fill(3_000).unwrap();
        let begun = Instant::now();
        let made = live.run(10_000, |seq| seq >= first + 3_200).unwrap();
        let due_at = |nth: u32| begun + Duration::from_micros(100) * nth;
        assert!((0..).zip(&made).all(|(nth, (made_at, _))| *made_at >= due_at(nth)), "before it was due: {made:?}");
        assert_eq!(live.seq(), first + 3_000 + made.len() as u64);
        assert!(made.windows(2).all(|pair| pair[0].1 + 1 == pair[1].1 && pair[0].0 <= pair[1].0));
        live.end();
    }
}
