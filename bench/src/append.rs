//! What an append costs: against copying and summing the same bytes, and against writing them to a file.
//!
//! Each operation is timed by a reading of the clock before and one after; the clock's own cost, measured in the same
//! run, is taken from the medians and stays in the tails.

use std::fs::File;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use tradecore_domain::event::{BrokerContradicted, BrokerRef, Event, Meta};
use tradecore_journal::record::{HEADER_BYTES, stored_bytes};
use tradecore_journal::{Space, Writer, crc32c};

use crate::Failure;
use crate::timing::{RoundTrips, Schedule, between, round_trips};

/// Payload whose append is an event's archive, as the core appends it; others are copied.
pub(crate) const EVENT_BYTES: usize = 128;
/// The memory that the baseline copies to, as long as the longest segment.
const MEMORY_BYTES: usize = 64 << 20;
/// The file that the baseline writes to begins anew behind so many bytes.
const FILE_BYTES: u64 = 64 << 20;
/// Operations of one kind before the next has its turn.
const SLICE: u64 = 20_000;

/// Times of each kind of operation, ns.
#[derive(Clone, Debug)]
pub(crate) struct Costs {
    pub(crate) clock: RoundTrips,
    pub(crate) append: RoundTrips,
    pub(crate) copy: RoundTrips,
    pub(crate) write: RoundTrips,
    /// Appends that found no segment ready, and waited for one.
    pub(crate) waits: u64,
}

impl Costs {
    pub(crate) fn new() -> Self {
        Self { clock: round_trips(), append: round_trips(), copy: round_trips(), write: round_trips(), waits: 0 }
    }

    /// The median of one kind of operation, without the clock's own.
    pub(crate) fn net(&self, times: &RoundTrips) -> u64 {
        times.value_at_quantile(0.5).saturating_sub(self.clock.value_at_quantile(0.5)).max(1)
    }

    /// Takes in those of another round.
    pub(crate) fn add(&mut self, other: &Self) -> Result<(), Failure> {
        self.clock.add(&other.clock)?;
        self.append.add(&other.append)?;
        self.copy.add(&other.copy)?;
        self.write.add(&other.write)?;
        self.waits = self.waits.saturating_add(other.waits);
        Ok(())
    }
}

/// What is appended, and where the baselines put it.
pub(crate) struct Bench<'a> {
    journal: &'a mut Writer,
    memory: Vec<u8>,
    memory_at: usize,
    file: File,
    file_at: u64,
    payload: Vec<u8>,
    event: Event,
}

impl<'a> Bench<'a> {
    /// Payloads of `bytes` bytes, for a journal and a file in `dir`.
    pub(crate) fn new(journal: &'a mut Writer, dir: &Path, bytes: usize) -> Result<Self, Failure> {
        // Written once, so that no page is touched for the first time while it is timed.
        let memory = vec![1; MEMORY_BYTES];
        let file = File::options().create(true).truncate(true).write(true).open(dir.join("plain"))?;
        Ok(Self { journal, memory, memory_at: 0, file, file_at: 0, payload: vec![7; bytes], event: event().into() })
    }

    /// `operations` of each kind, at a rate that the disk can follow.
    pub(crate) fn run(&mut self, rate: u64, operations: u64, costs: &mut Costs) -> Result<(), Failure> {
        let mut left = operations;
        while left > 0 {
            let slice = left.min(SLICE);
            timed(rate, slice, &mut costs.clock, || Ok(()))?;
            let waits = &mut costs.waits;
            timed(rate, slice, &mut costs.append, || {
                *waits = waits.saturating_add(self.append());
                Ok(())
            })?;
            timed(rate, slice, &mut costs.copy, || self.copy())?;
            timed(rate, slice, &mut costs.write, || self.write())?;
            left = left.saturating_sub(slice);
        }
        Ok(())
    }

    /// A group of one record; how often it had to wait for a segment.
    fn append(&mut self) -> u64 {
        let stored = stored_bytes(HEADER_BYTES.saturating_add(self.payload.len()));
        let mut waits = 0;
        while !self.journal.can_append(stored, 1, Space::Normal) {
            waits = 1;
            std::hint::spin_loop();
        }
        // The core takes its time once a turn, not for an append.
        self.journal.begin(1);
        let (kind, version) = self.event.kind();
        if self.payload.len() == EVENT_BYTES {
            let event = black_box(&self.event);
            self.journal.append(kind, version, EVENT_BYTES, |out| {
                event.archive_into(out);
            });
        } else {
            let payload = black_box(&self.payload);
            self.journal.append(kind, version, payload.len(), |out| out.copy_from_slice(payload));
        }
        self.journal.commit();
        waits
    }

    /// Copies as many bytes as a record has, and sums them.
    fn copy(&mut self) -> Result<(), Failure> {
        let len = self.payload.len();
        let stored = stored_bytes(HEADER_BYTES.saturating_add(len));
        if self.memory_at.saturating_add(stored) > self.memory.len() {
            self.memory_at = 0;
        }
        let from = self.memory_at.saturating_add(HEADER_BYTES);
        let out = self.memory.get_mut(from..from.saturating_add(len)).ok_or("the memory is too short")?;
        out.copy_from_slice(black_box(&self.payload));
        black_box(crc32c(out, &[]));
        self.memory_at = self.memory_at.saturating_add(stored);
        Ok(())
    }

    /// Writes them to a file, with no sync.
    fn write(&mut self) -> Result<(), Failure> {
        use std::os::unix::fs::FileExt;
        self.file.write_all_at(&self.payload, self.file_at)?;
        self.file_at = self.file_at.saturating_add(self.payload.len() as u64);
        if self.file_at >= FILE_BYTES {
            self.file_at = 0;
        }
        Ok(())
    }
}

/// An event of `EVENT_BYTES` bytes.
fn event() -> BrokerContradicted {
    BrokerContradicted {
        meta: Meta::default(),
        broker: BrokerRef::default(),
        order_id: 1,
        broker_exec_id: 2,
        last_px: 3,
        last_qty: 4,
        fact: 1,
        ord_status: 1,
        reason: 1,
        side: 1,
        reserved: [0; 3],
        instrument_id: 1,
        reserved2: 0,
        reserved3: 0,
    }
}

fn timed(
    rate: u64,
    operations: u64,
    times: &mut RoundTrips,
    mut operation: impl FnMut() -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut schedule = Schedule::new(rate);
    let mut left = operations;
    while left > 0 {
        let before = Instant::now();
        if schedule.due(before).is_none() {
            continue;
        }
        // Read anew: what `due` costs is not the operation's.
        let before = before.max(Instant::now());
        operation()?;
        times.saturating_record(between(before, Instant::now()).max(1));
        left = left.saturating_sub(1);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_median_the_clock_is_taken_once_and_no_tail_is_touched() {
        let mut costs = Costs::new();
        costs.clock.record_n(20, 100).unwrap();
        costs.append.record_n(50, 100).unwrap();
        assert_eq!((costs.net(&costs.append), costs.append.max()), (30, 50));
        assert_eq!(costs.net(&round_trips()), 1, "no ratio to nothing");
    }

    #[test]
    fn as_many_are_timed_as_were_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let config = tradecore_journal::Config::new(dir.path().join("journal"));
        let (mut writer, _, _, closer) = tradecore_journal::open(&config).unwrap().into_parts();
        for operations in [1, SLICE + 1] {
            let mut costs = Costs::new();
            Bench::new(&mut writer, dir.path(), 64).unwrap().run(1_000_000, operations, &mut costs).unwrap();
            let counts = [&costs.clock, &costs.append, &costs.copy, &costs.write].map(|times| times.len());
            assert_eq!(counts, [operations; 4]);
        }
        closer.seal(writer);
    }
}
