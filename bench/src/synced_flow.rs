//! Orders a second of a gateway of class `synced` on one connection, and how many the bare disk would take in syncs of
//! the same length.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use tradecore_journal::{Reader, Until};

use crate::Failure;
use crate::bare_sync::PlainFile;
use crate::host::{self, Broker, Gateway, Setup};
use crate::orders::{Active, wait_until_trading};
use crate::pace::Idle;
use crate::pipeline::Pipeline;
use crate::scratch;
use crate::throughput::{BOUNDS, drive};
use crate::timing::round_trips;

/// What does not count: segments, tables and sockets grow to what they need.
const WARM_UP: Duration = Duration::from_secs(1);
/// How long the bare disk is measured.
const BARE_TIME: Duration = Duration::from_millis(500);
/// Groups from which the mean length of a record is taken.
const SAMPLED_GROUPS: u64 = 20_000;
/// Where the file `durable` has its second slot.
const SLOT_BYTES: usize = 512;

/// One run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flow {
    pub(crate) orders_per_s: u64,
    pub(crate) refused: u64,
    pub(crate) syncs_per_s: u64,
    pub(crate) bytes_per_sync: u64,
    /// Orders a second when the bare disk syncs as many at a time.
    pub(crate) bare_orders_per_s: u64,
}

/// Keeps `in_flight` orders on their way for so long, on a disk that `dir` is on.
pub(crate) fn run(dir: &Path, in_flight: u64, length: Duration, idle: Idle) -> Result<Flow, Failure> {
    let setup = Setup { sessions: 1, broker: Broker::Instant, bounds: Some(BOUNDS), is_in_memory: false };
    let gateway = Gateway::start_in(scratch::dir_in(dir)?, setup, "synced")?;
    wait_until_trading(&mut Active::log_on(&gateway.address, 1)?)?;
    let mut pipelines = vec![Pipeline::log_on(&gateway.address, 1)?];
    let journal = gateway.journal_dir();
    let (counts, elapsed, syncs, events) = host::pinned(|| {
        let mut all = || -> Result<_, Failure> {
            drive(&mut pipelines, in_flight, WARM_UP, idle)?;
            let before = durable(&journal)?;
            let (counts, elapsed) = drive(&mut pipelines, in_flight, length, idle)?;
            let after = durable(&journal)?;
            Ok((counts, elapsed, after.0.saturating_sub(before.0).max(1), after.1.saturating_sub(before.1)))
        };
        all().map_err(|error| error.to_string())
    })?;
    let bytes_per_sync = events.saturating_mul(record_bytes(&journal)?).checked_div(syncs).unwrap_or(0);
    drop(gateway);
    let bare_syncs_per_s = bare_syncs_per_s(dir, usize::try_from(bytes_per_sync)?.max(1))?;
    Ok(Flow {
        orders_per_s: per_second(counts.accepted, elapsed),
        refused: counts.refused,
        syncs_per_s: per_second(syncs, elapsed),
        bytes_per_sync,
        bare_orders_per_s: bare_syncs_per_s.saturating_mul(counts.accepted).checked_div(syncs).unwrap_or(0),
    })
}

/// Orders that have to be on their way for `rate` a second: each waits for the sync that runs, and for its own.
pub(crate) fn in_flight_for(rate: u64, sync_ns: u64) -> u64 {
    let nanos = u128::from(rate).saturating_mul(2).saturating_mul(u128::from(sync_ns));
    u64::try_from(nanos.div_ceil(1_000_000_000)).unwrap_or(u64::MAX)
}

fn per_second(count: u64, elapsed: Duration) -> u64 {
    let per_second = u128::from(count).saturating_mul(1_000_000_000).checked_div(elapsed.as_nanos().max(1));
    u64::try_from(per_second.unwrap_or(0)).unwrap_or(u64::MAX)
}

/// Syncs of a journal so far, and the last event that they cover.
fn durable(journal: &Path) -> Result<(u64, u64), Failure> {
    Ok(newest_slot(&fs::read(journal.join("durable"))?))
}

/// The turn and the number of the newest slot: `FORMAT.md`.
fn newest_slot(file: &[u8]) -> (u64, u64) {
    let slot = |at: usize| {
        let words = file.get(at..)?.as_chunks::<8>().0;
        Some((u64::from_le_bytes(*words.first()?), u64::from_le_bytes(*words.get(1)?)))
    };
    slot(0).max(slot(SLOT_BYTES)).unwrap_or((0, 0))
}

/// The mean length of a record, bytes.
fn record_bytes(journal: &Path) -> Result<u64, Failure> {
    let mut reader = Reader::open_oldest(journal, Until::Journaled)?;
    let (mut bytes, mut records, mut groups) = (0_u64, 0_u64, 0_u64);
    let mut ends_at = reader.position();
    while groups < SAMPLED_GROUPS
        && let Some(group) = reader.next_group()?
    {
        let in_group = group.records().count() as u64;
        let (segment, at) = reader.position();
        // A roll-over stands between the groups of two segments.
        if segment == ends_at.0 {
            bytes = bytes.saturating_add(at.saturating_sub(ends_at.1) as u64);
            records = records.saturating_add(in_group);
        }
        ends_at = (segment, at);
        groups = groups.saturating_add(1);
    }
    Ok(bytes.checked_div(records).unwrap_or(0))
}

fn bare_syncs_per_s(dir: &Path, bytes: usize) -> Result<u64, Failure> {
    let dir = scratch::dir_in(dir)?;
    let mut file = PlainFile::create(dir.path(), bytes)?;
    host::pinned(|| {
        let mut times = round_trips();
        let started = Instant::now();
        while started.elapsed() < BARE_TIME {
            file.write_and_sync(&mut times).map_err(|error| error.to_string())?;
        }
        Ok(per_second(times.len(), started.elapsed()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_flight_is_what_comes_in_while_two_syncs_run() {
        assert_eq!(in_flight_for(300_000, 100_000), 60);
        assert_eq!(in_flight_for(1, 1), 1, "part of an order is one");
        assert_eq!(in_flight_for(u64::MAX, u64::MAX), u64::MAX, "no overflow");
    }

    #[test]
    fn the_syncs_of_a_journal_are_the_turn_of_its_newest_slot() {
        let mut file = vec![0; 1024];
        assert_eq!(newest_slot(&file), (0, 0));
        for (at, word) in [(0, 8_u64), (8, 90), (512, 7), (520, 80)] {
            file[at..at + 8].copy_from_slice(&word.to_le_bytes());
        }
        assert_eq!(newest_slot(&file), (8, 90));
        file[512] = 9;
        assert_eq!(newest_slot(&file), (9, 80));
        assert_eq!(newest_slot(&file[..20]), (8, 90), "a short file has what it has");
    }

    #[test]
    fn a_journal_tells_its_syncs_and_the_length_of_its_records() {
        let dir = tempfile::tempdir().unwrap();
        let opened = tradecore_journal::open(&tradecore_journal::Config::new(dir.path().join("j"))).unwrap();
        let (mut writer, _, watermarks, closer) = opened.into_parts();
        let mut times = round_trips();
        for _ in 0..3 {
            crate::bare_sync::append_and_wait(&mut writer, &watermarks, &mut times).unwrap();
        }
        let (syncs, seq) = durable(&dir.path().join("j")).unwrap();
        assert!(syncs >= 3 && seq == 3, "{syncs} {seq}");
        let payload = 128 + tradecore_journal::record::HEADER_BYTES;
        let stored = tradecore_journal::record::stored_bytes(payload) as u64;
        assert_eq!(record_bytes(&dir.path().join("j")).unwrap(), stored);
        closer.seal(writer);
    }
}
