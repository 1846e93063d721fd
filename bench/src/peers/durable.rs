//! Batches that survive power loss, one after the other on one disk: the journal's groups, against write transactions
//! of redb.

use std::process::Command;
use std::time::{Duration, Instant};

use tradecore_journal::record::{HEADER_BYTES, stored_bytes};
use tradecore_journal::{Space, SyncPolicy};

use super::programs::{number, run};
use super::{Options, conclude, path_text};
use crate::Failure;
use crate::bare_sync::{PAGE_BYTES, PlainFile};
use crate::host::{self, Place};
use crate::journal::{self, Open, Segments};
use crate::outcome::Outcome;
use crate::thousandths::Thousandths;
use crate::timing::{between, print_run, round_trips};

/// Bytes of an entry.
const ENTRY_BYTES: usize = 256;
/// Batches that count for nobody, of both.
const WARM_UP: u64 = 20;
/// Longer than any disk that is worth a measurement.
const SYNC_DEADLINE: Duration = Duration::from_secs(10);

/// Measures both, round by round.
pub(super) fn measure(options: &Options, outcome: &mut Outcome) -> Result<(), Failure> {
    let program = options.programs().path("redb-append")?;
    println!("durable batches of {} entries of {ENTRY_BYTES} bytes, one after the other", options.batch);
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let (mut batches, mut bare) = (round_trips(), round_trips());
    for _ in 0..options.rounds {
        let (rate, times, plain) = journal_round(options)?;
        print_run("journal", &times);
        print_run("pwrite and fdatasync", &plain);
        batches.add(times)?;
        bare.add(plain)?;
        let dir = options.directory()?;
        let mut command = Command::new(&program);
        command.args([path_text(dir.path())?, &options.batches.to_string(), &options.batch.to_string()]);
        let printed = run(command.arg(ENTRY_BYTES.to_string()), Place::Server)?;
        outcome.configure_once("redb", printed.get("version").cloned().unwrap_or_default());
        let redb_rate = per_second(number(&printed, "operations")?, number(&printed, "elapsed_ns")?);
        println!("  redb: p50 {} ns, p99 {} ns a batch", number(&printed, "p50_ns")?, number(&printed, "p99_ns")?);
        println!("  events/s: journal {}, redb {}", Thousandths::whole(rate), Thousandths::whole(redb_rate));
        ratios.push(Thousandths::ratio(rate, redb_rate));
        ours.push(Thousandths::whole(rate));
        theirs.push(Thousandths::whole(redb_rate));
    }
    conclude(outcome, "journal_durable_events_per_s", ours);
    conclude(outcome, "redb_durable_events_per_s", theirs);
    conclude(outcome, "redb_ratio", ratios);
    outcome.add_series("durable batches", "journal", batches);
    outcome.add_series("durable batches", "pwrite and fdatasync of a page", bare);
    Ok(())
}

type Times = crate::timing::RoundTrips;

/// Events a second, what each batch took, and what a bare write and sync takes.
fn journal_round(options: &Options) -> Result<(u64, Times, Times), Failure> {
    let dir = options.directory()?;
    let opening = journal::Options::default();
    host::apart(
        || journal::open(&opening, Segments::Hot, SyncPolicy::default(), dir.path()),
        |mut open| {
            let (mut times, mut plain) = (round_trips(), round_trips());
            for _ in 0..WARM_UP {
                append_and_wait(&mut open, options.batch, &mut round_trips())?;
            }
            let started = Instant::now();
            for _ in 0..options.batches {
                append_and_wait(&mut open, options.batch, &mut times)?;
            }
            let elapsed = between(started, Instant::now());
            let mut file = PlainFile::create(dir.path(), PAGE_BYTES)?;
            for _ in 0..options.batches {
                file.write_and_sync(&mut plain)?;
            }
            open.closer.seal(open.writer);
            Ok((per_second(options.batches.saturating_mul(options.batch), elapsed), times, plain))
        },
    )
}

/// A group, as the core appends one, from its first append until the watermark has reached its last.
fn append_and_wait(open: &mut Open, entries: u64, times: &mut Times) -> Result<(), Failure> {
    let entries = usize::try_from(entries)?;
    let stored = stored_bytes(HEADER_BYTES.saturating_add(ENTRY_BYTES)).saturating_mul(entries);
    let before = Instant::now();
    while !open.writer.can_append(stored, entries, Space::Normal) {
        std::thread::yield_now();
    }
    open.writer.begin(1);
    let mut last_seq = 0;
    for _ in 0..entries {
        last_seq = open.writer.append(64, 1, ENTRY_BYTES, |out| out.fill(7));
    }
    open.writer.commit();
    while open.watermarks.synced() < last_seq {
        std::hint::spin_loop();
        if before.elapsed() > SYNC_DEADLINE {
            return Err("the sync thread does not sync".into());
        }
    }
    times.saturating_record(between(before, Instant::now()));
    Ok(())
}

fn per_second(count: u64, elapsed_ns: u64) -> u64 {
    let per_second = u128::from(count).saturating_mul(1_000_000_000).checked_div(u128::from(elapsed_ns));
    per_second.and_then(|rate| u64::try_from(rate).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_of_a_second() {
        assert_eq!(per_second(100, 500_000_000), 200);
        assert_eq!(per_second(u64::MAX, 1), 0, "no overflow");
        assert_eq!(per_second(1, 0), 0);
    }
}
