//! How far a reader that follows the journal is behind its writer: from the commit of a group to the reader's having
//! seen it, each on a CPU of its own. The baseline is what two CPUs take to hand each other a number.

use std::hint::spin_loop;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use tradecore_journal::record::{HEADER_BYTES, stored_bytes};
use tradecore_journal::{Reader, Space, Until, Writer};

use crate::append::EVENT_BYTES;
use crate::timing::{RoundTrips, Schedule, between, round_trips};
use crate::{Failure, host};

/// Groups of one kind before the other has its turn.
const SLICE: u64 = 5_000;

/// Times from the one thread to the other, ns.
#[derive(Clone, Debug)]
pub(crate) struct Lags {
    /// From a group's commit to its being read.
    pub(crate) tail: RoundTrips,
    /// From a number's store to its being loaded.
    pub(crate) handoff: RoundTrips,
}

impl Lags {
    pub(crate) fn new() -> Self {
        Self { tail: round_trips(), handoff: round_trips() }
    }

    /// Takes in those of another round.
    pub(crate) fn add(&mut self, other: &Self) -> Result<(), Failure> {
        self.tail.add(&other.tail)?;
        Ok(self.handoff.add(&other.handoff)?)
    }
}

/// Commits `groups` groups at a rate while another thread reads them, and hands over as many numbers in between.
pub(crate) fn follow(dir: &Path, writer: &mut Writer, rate: u64, groups: u64, lags: &mut Lags) -> Result<(), Failure> {
    let mut reader = Reader::open(dir, writer.last_seq().saturating_add(1), Until::Journaled)?;
    for _ in 0..groups.div_ceil(SLICE) {
        let number = AtomicU64::new(0);
        let handed = beside(
            rate,
            |nth| {
                let before = Instant::now();
                number.store(nth, Ordering::Release);
                Ok(before)
            },
            |seen| {
                let next = seen.saturating_add(1);
                Ok(if number.load(Ordering::Acquire) >= next { 1 } else { 0 })
            },
        )?;
        record(&handed, &mut lags.handoff);
        let read = beside(
            rate,
            |_| Ok(commit(writer)),
            |_| {
                let group = reader.next_group().map_err(|error| error.to_string())?;
                Ok(group.map_or(0, |group| group.records().count() as u64))
            },
        )?;
        record(&read, &mut lags.tail);
    }
    Ok(())
}

/// A group of one event; the time just before it became visible.
fn commit(writer: &mut Writer) -> Instant {
    while !writer.can_append(stored_bytes(HEADER_BYTES.saturating_add(EVENT_BYTES)), 1, Space::Normal) {
        spin_loop();
    }
    writer.begin(1);
    writer.append(64, 1, EVENT_BYTES, |out| out.fill(7));
    let before = Instant::now();
    writer.commit();
    before
}

/// When each was made, and when it was seen.
type Seen = (Vec<Instant>, Vec<Instant>);

/// Makes `SLICE` of something here, at a rate, each with its number from 1, while a thread on the other CPU looks for
/// them: `look` gets how many it has seen and returns how many more there are.
fn beside(
    rate: u64,
    mut make: impl FnMut(u64) -> Result<Instant, Failure>,
    mut look: impl FnMut(u64) -> Result<u64, String> + Send,
) -> Result<Seen, Failure> {
    let (is_looking, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let seen = host::pinned(|| {
                let mut seen = Vec::with_capacity(SLICE as usize);
                is_looking.store(true, Ordering::Release);
                while (seen.len() as u64) < SLICE && !is_over.load(Ordering::Relaxed) {
                    let more = look(seen.len() as u64)?;
                    if more > 0 {
                        let now = Instant::now();
                        seen.extend((0..more).map(|_| now));
                    }
                    spin_loop();
                }
                Ok(seen)
            });
            seen.map_err(|error| error.to_string())
        });
        while !is_looking.load(Ordering::Acquire) && !looking.is_finished() {
            std::thread::yield_now();
        }
        let made = make_all(rate, &mut make, || looking.is_finished());
        if made.is_err() {
            is_over.store(true, Ordering::Relaxed);
        }
        let seen = looking.join().map_err(|_| "the reading thread panicked")??;
        Ok((made?, seen))
    })
}

fn make_all(
    rate: u64,
    make: &mut dyn FnMut(u64) -> Result<Instant, Failure>,
    is_alone: impl Fn() -> bool,
) -> Result<Vec<Instant>, Failure> {
    let mut made = Vec::with_capacity(SLICE as usize);
    let mut schedule = Schedule::new(rate);
    while (made.len() as u64) < SLICE {
        if schedule.due(Instant::now()).is_some() {
            made.push(make((made.len() as u64).saturating_add(1))?);
        } else if is_alone() {
            break;
        }
    }
    Ok(made)
}

fn record((made, seen): &Seen, lags: &mut RoundTrips) {
    for (made, seen) in made.iter().zip(seen) {
        lags.saturating_record(between(*made, *seen).max(1));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_reader_sees_every_group_behind_its_commit() {
        let dir = tempfile::tempdir().unwrap();
        let config = tradecore_journal::Config {
            first_segment_bytes: 1 << 20,
            ..tradecore_journal::Config::new(dir.path().join("j"))
        };
        let (mut writer, _, _, closer) = tradecore_journal::open(&config).unwrap().into_parts();
        let mut lags = Lags::new();
        follow(&dir.path().join("j"), &mut writer, 1_000_000, SLICE + 1, &mut lags).unwrap();
        assert_eq!((lags.tail.len(), lags.handoff.len()), (2 * SLICE, 2 * SLICE), "whole slices, over a roll-over");
        closer.seal(writer);
    }

    #[test]
    fn a_lag_runs_from_the_making_to_the_seeing() {
        let start = Instant::now();
        let at = |micros| start + Duration::from_micros(micros);
        let mut lags = round_trips();
        record(&(vec![at(0), at(10)], vec![at(3), at(15)]), &mut lags);
        assert_eq!((lags.len(), lags.min() / 1000, lags.max() / 1000), (2, 3, 5));
    }

    #[test]
    fn a_reader_that_fails_ends_the_writing_and_is_told() {
        let failure = beside(1000, |_| Ok(Instant::now()), |_| Err("damaged".to_owned())).unwrap_err();
        assert_eq!(failure.to_string(), "damaged");
    }
}
