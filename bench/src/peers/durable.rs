//! Batches that survive power loss, on one disk: the journal's groups, against write transactions of redb.
//!
//! A transaction of redb returns when it is durable, and one is open at a time. Two things are compared with it: the journal
//! as every core in class `synced` uses it, which takes the next group while an earlier one is synced, on two CPUs; and the
//! journal with one group in flight and all of its threads on the CPU that redb has, which is like with like.

use std::collections::VecDeque;
use std::process::Command;
use std::time::{Duration, Instant};

use tradecore_journal::record::{HEADER_BYTES, stored_bytes};
use tradecore_journal::{Space, SyncPolicy};

use super::programs::{number, run};
use super::{Options, conclude, path_text};
use crate::bare_sync::{PAGE_BYTES, PlainFile};
use crate::host::{self, Place};
use crate::journal::{self, Open, Segments};
use crate::outcome::Outcome;
use crate::thousandths::Thousandths;
use crate::timing::{between, print_run, round_trips};
use crate::{Failure, cpus};

/// Bytes of an entry.
const ENTRY_BYTES: usize = 256;
/// Batches that count for nobody, of both.
const WARM_UP: u64 = 20;
/// Groups of the journal on their way to the disk.
const IN_FLIGHT: usize = 8;
/// Longer than any disk that is worth a measurement.
const SYNC_DEADLINE: Duration = Duration::from_secs(10);

/// Measures both, round by round.
pub(super) fn measure(options: &Options, outcome: &mut Outcome) -> Result<(), Failure> {
    let program = options.programs().path("redb-append")?;
    println!("durable batches of {} entries of {ENTRY_BYTES} bytes", options.batch);
    outcome.configure("journal_batches_in_flight", IN_FLIGHT);
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let (mut ours_one, mut ratios_one) = (Vec::new(), Vec::new());
    let (mut batches, mut bare) = (round_trips(), round_trips());
    for _ in 0..options.rounds {
        let one = journal_round(options, 1, Threads::OnOneCpu)?;
        print_run("journal, one in flight, one CPU", &one.times);
        print_run("pwrite and fdatasync", &one.plain);
        let many = journal_round(options, IN_FLIGHT, Threads::Apart)?;
        print_run(&format!("journal, {IN_FLIGHT} in flight"), &many.times);
        batches.add(one.times)?;
        bare.add(one.plain)?;
        let dir = options.directory()?;
        let mut command = Command::new(&program);
        command.args([path_text(dir.path())?, &options.batches.to_string(), &options.batch.to_string()]);
        let printed = run(command.arg(ENTRY_BYTES.to_string()), Place::Server)?;
        outcome.configure_once("redb", printed.get("version").cloned().unwrap_or_default());
        let redb_rate = per_second(number(&printed, "operations")?, number(&printed, "elapsed_ns")?);
        println!("  redb: p50 {} ns, p99 {} ns a batch", number(&printed, "p50_ns")?, number(&printed, "p99_ns")?);
        let [one_rate, rate, their_rate] = [one.rate, many.rate, redb_rate].map(Thousandths::whole);
        println!(
            "  events/s: one in flight and one CPU each: journal {one_rate}, redb {their_rate}; journal with {IN_FLIGHT} in \
             flight on two CPUs {rate}"
        );
        ratios.push(Thousandths::ratio(many.rate, redb_rate));
        ratios_one.push(Thousandths::ratio(one.rate, redb_rate));
        ours.push(rate);
        ours_one.push(one_rate);
        theirs.push(Thousandths::whole(redb_rate));
    }
    conclude(outcome, "journal_durable_events_per_s", ours);
    conclude(outcome, "journal_durable_one_in_flight_events_per_s", ours_one);
    conclude(outcome, "redb_durable_events_per_s", theirs);
    conclude(outcome, "redb_ratio", ratios);
    conclude(outcome, "redb_one_in_flight_ratio", ratios_one);
    outcome.add_series("durable batches", "journal, one in flight", batches);
    outcome.add_series("durable batches", "pwrite and fdatasync of a page", bare);
    Ok(())
}

type Times = crate::timing::RoundTrips;

/// What a round of the journal gave.
struct Round {
    /// Events a second.
    rate: u64,
    /// What each batch took, from its first append until it was durable.
    times: Times,
    /// What a bare write and sync takes.
    plain: Times,
}

/// Where the threads of the journal are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Threads {
    /// The writer on the servers' CPU, the others beside it.
    Apart,
    /// All on the servers' CPU, as all of redb is.
    OnOneCpu,
}

fn journal_round(options: &Options, in_flight: usize, threads: Threads) -> Result<Round, Failure> {
    let dir = options.directory()?;
    let opening = journal::Options::default();
    host::apart(
        || {
            if let (Threads::OnOneCpu, Some(cpu)) = (threads, cpus::server()) {
                tradecore::affinity::pin(cpu)?;
            }
            journal::open(&opening, Segments::Hot, SyncPolicy::default(), dir.path())
        },
        |mut open| {
            let (mut times, mut plain) = (round_trips(), round_trips());
            append_all(&mut open, options.batch, WARM_UP, in_flight, threads, &mut round_trips())?;
            let started = Instant::now();
            append_all(&mut open, options.batch, options.batches, in_flight, threads, &mut times)?;
            let elapsed = between(started, Instant::now());
            let mut file = PlainFile::create(dir.path(), PAGE_BYTES)?;
            for _ in 0..options.batches {
                file.write_and_sync(&mut plain)?;
            }
            open.closer.seal(open.writer);
            Ok(Round { rate: per_second(options.batches.saturating_mul(options.batch), elapsed), times, plain })
        },
    )
}

/// So many groups, with at most `in_flight` that are not durable, until all of them are.
fn append_all(
    open: &mut Open,
    entries: u64,
    batches: u64,
    in_flight: usize,
    threads: Threads,
    times: &mut Times,
) -> Result<(), Failure> {
    let mut waiting = VecDeque::with_capacity(in_flight);
    for _ in 0..batches {
        if waiting.len() >= in_flight {
            wait_for(open, waiting.pop_front(), threads, times)?;
        }
        let before = Instant::now();
        waiting.push_back((before, append(open, usize::try_from(entries)?)));
    }
    while let Some(first) = waiting.pop_front() {
        wait_for(open, Some(first), threads, times)?;
    }
    Ok(())
}

/// A group, as the core appends one: its last number.
fn append(open: &mut Open, entries: usize) -> u64 {
    let stored = stored_bytes(HEADER_BYTES.saturating_add(ENTRY_BYTES)).saturating_mul(entries);
    while !open.writer.can_append(stored, entries, Space::Normal) {
        std::thread::yield_now();
    }
    open.writer.begin(1);
    for _ in 0..entries {
        open.writer.append(64, 1, ENTRY_BYTES, |out| out.fill(7));
    }
    open.writer.commit()
}

/// Until the watermark has reached the last of a group that was begun `before`.
fn wait_for(open: &Open, group: Option<(Instant, u64)>, threads: Threads, times: &mut Times) -> Result<(), Failure> {
    let Some((before, last_seq)) = group else { return Ok(()) };
    while open.watermarks.synced() < last_seq {
        match threads {
            Threads::Apart => std::hint::spin_loop(),
            // Who is waited for has this CPU too.
            Threads::OnOneCpu => rustix::thread::sched_yield(),
        }
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
