//! What a user would pick instead, in the same run, on the same work, in turn: each is set up as its users set it up
//! for speed, and `bench/README.md` says how. `bench/peers/fetch` brings them; none is linked into the product.
//!
//! | file | owns |
//! |---|---|
//! | `programs.rs` | where they are, and how they are started |
//! | `quickfix.rs`, `fix.rs` | order to reply: rounds in turn; a client that speaks FIX |
//! | `redis.rs`, `resp.rs`, `in_flight.rs` | pipelined: rounds; a client that speaks RESP; the load of both |
//! | `durable.rs` | batches that survive power loss |
//! | `chronicle.rs` | an append that survives the process |

mod chronicle;
mod durable;
mod fix;
mod in_flight;
mod programs;
mod quickfix;
mod redis;
mod resp;

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::Failure;
use crate::disk;
use crate::hiccup::Meter;
use crate::latency::ECHO_MAX_US;
use crate::outcome::Outcome;
use crate::thousandths::Thousandths;
use programs::Programs;

/// Whom the gateway is measured against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Peer {
    /// QuickFIX C++: order to reply.
    Quickfix,
    /// Redis: commands pipelined, with its log synced and without one.
    Redis,
    /// redb: durable batches.
    Redb,
    /// Chronicle Queue: an append.
    Chronicle,
}

const ALL: [Peer; 4] = [Peer::Quickfix, Peer::Redis, Peer::Redb, Peer::Chronicle];

impl Peer {
    /// The figures that need it.
    const fn figures(self) -> &'static [&'static str] {
        match self {
            Self::Quickfix => &["quickfix_memory_ratio", "quickfix_file_ratio"],
            Self::Redis => &["redis_ratio", "redis_sync_ratio"],
            Self::Redb => &["redb_ratio"],
            Self::Chronicle => &[],
        }
    }

    fn measure(self, options: &Options, outcome: &mut Outcome) -> Result<(), Failure> {
        match self {
            Self::Quickfix => quickfix::measure(options, outcome),
            Self::Redis => redis::measure(options, outcome),
            Self::Redb => durable::measure(options, outcome),
            Self::Chronicle => chronicle::measure(options, outcome),
        }
    }
}

/// How it is measured.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Only these.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) only: Vec<Peer>,
    /// Rounds; each starts all that it compares anew.
    #[arg(long, default_value_t = 5, value_parser = crate::at_least_one::<usize>)]
    pub(crate) rounds: usize,
    /// Length of each measurement in a round, ms.
    #[arg(long, default_value_t = 1000, value_parser = crate::at_least_one::<u64>)]
    pub(crate) length_ms: u64,
    /// Orders a second, for the round trip of one: low enough for the slowest.
    #[arg(long, default_value_t = 1000, value_parser = crate::rate)]
    pub(crate) rate: u64,
    /// Commands on their way, where they are pipelined.
    #[arg(long, default_value_t = 100, value_parser = crate::at_least_one::<u64>)]
    pub(crate) in_flight: u64,
    /// Entries of a durable batch.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=256))]
    pub(crate) batch: u64,
    /// Durable batches in a round.
    #[arg(long, default_value_t = 300, value_parser = crate::at_least_one::<u64>)]
    pub(crate) batches: u64,
    /// Where the files of all lie that are synced: the disk that is measured.
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
    /// Where `bench/peers/fetch` has put the programs.
    #[arg(long, default_value = Programs::DEFAULT_DIR)]
    pub(crate) programs: PathBuf,
    /// Median of the echo from which the machine is too busy to say anything, µs.
    #[arg(long, default_value_t = ECHO_MAX_US, value_parser = crate::at_least_one::<u64>)]
    pub(crate) echo_max_us: u64,
}

impl Options {
    /// One of them, at the length that `figures` takes.
    pub(crate) fn only(peer: Peer) -> Self {
        Self {
            only: vec![peer],
            rounds: 5,
            length_ms: 1000,
            rate: 1000,
            in_flight: 100,
            batch: 100,
            batches: 300,
            dir: None,
            programs: Programs::DEFAULT_DIR.into(),
            echo_max_us: ECHO_MAX_US,
        }
    }

    fn programs(&self) -> Programs<'_> {
        Programs::new(&self.programs)
    }

    /// A directory on the measured disk.
    fn directory(&self) -> Result<TempDir, Failure> {
        Ok(crate::scratch::dir_in(&disk::measured(self.dir.as_deref())?.0)?)
    }
}

/// Measures them, one after the other; who cannot be had is said, and the others are measured.
pub(crate) fn measure(options: &Options) -> Result<Outcome, Failure> {
    let mut outcome = Outcome::default();
    if let Ok((_, disk)) = disk::measured(options.dir.as_deref()) {
        outcome.configure("disk", disk);
    }
    outcome.configure("rounds", options.rounds);
    outcome.configure("length_ms", options.length_ms);
    let meter = Meter::start()?;
    for peer in ALL.into_iter().filter(|peer| options.only.is_empty() || options.only.contains(peer)) {
        if let Err(reason) = peer.measure(options, &mut outcome) {
            println!("{peer:?}: not measured: {reason}");
            for figure in peer.figures() {
                outcome.miss(figure, reason.to_string());
            }
        }
    }
    outcome.hiccups = meter.stop()?;
    Ok(outcome)
}

/// Adds the median over rounds of one figure.
fn conclude(outcome: &mut Outcome, id: &str, rounds: Vec<Thousandths>) {
    if let Some(value) = Thousandths::median(rounds) {
        println!("{id}: {value}");
        outcome.add_value(id, value);
    }
}

/// A path as an argument of a program.
fn path_text(path: &Path) -> Result<&str, Failure> {
    path.to_str().ok_or_else(|| format!("{}: not a name that every program takes", path.display()).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Figure;

    #[test]
    fn every_figure_of_a_peer_is_promised() {
        for id in ALL.into_iter().flat_map(Peer::figures) {
            assert!(Figure::of(id).is_some(), "{id}");
        }
    }

    #[test]
    fn a_peer_that_cannot_be_had_leaves_its_figures_not_measured_and_not_met() {
        let nowhere = tempfile::tempdir().unwrap();
        let outcome = measure(&Options { programs: nowhere.path().into(), ..Options::only(Peer::Redb) }).unwrap();
        assert_eq!(outcome.value("redb_ratio"), None);
        let reason = outcome.complete().unwrap_err().to_string();
        assert!(reason.contains("redb_ratio") && reason.contains("bench/peers/fetch"), "{reason}");
    }
}
