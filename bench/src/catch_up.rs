//! How fast those who follow the journal catch up after an outage, while events go on coming at their rate.
#![allow(clippy::arithmetic_side_effects)]

use std::time::{Duration, Instant};

use tradecore::projections::Source;

use crate::Failure;
use crate::hiccup::Meter;
use crate::host::Place;
use crate::lag::{Follower, into_kafka, into_postgres, into_sqlite};
use crate::live::{Live, Watch};
use crate::outcome::Outcome;
use crate::servers::{Kafka, Postgres};
use crate::thousandths::Thousandths;

/// Who is behind by less than this time's events has caught up.
const CAUGHT_UP: Duration = Duration::from_millis(250);
/// How long it may take at most.
const LENGTH_MAX: Duration = Duration::from_secs(600);

/// How it is measured.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Events a second that go on coming.
    #[arg(long, default_value_t = 5_000, value_parser = crate::rate)]
    pub(crate) rate: u64,
    /// Length of the outage: the events of so many seconds wait.
    #[arg(long, default_value_t = 120, value_parser = crate::at_least_one::<u64>)]
    pub(crate) outage_s: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { rate: 5_000, outage_s: 120 }
    }
}

/// Measures those who follow one after the other, each behind an outage of its own.
pub(crate) fn measure(options: &Options) -> Result<Outcome, Failure> {
    let mut outcome = Outcome::default();
    outcome.configure("rate", options.rate);
    outcome.configure("outage_s", options.outage_s);
    let broker = Kafka::get(Place::Anywhere)?;
    let server = Postgres::get(Place::Anywhere);
    println!("catching up with {} s of {} events/s, which go on coming", options.outage_s, options.rate);
    let meter = Meter::start()?;
    let kafka = |name: &str, options: &Options| {
        one(name, options, |_, dir| {
            let prefix = format!("bench{}-{}.", std::process::id(), options.outage_s);
            into_kafka(crate::shipping::cluster(dir, &broker, &prefix, true)?)
        })
    };
    // A broker that has just been started compiles what it does: what it does first counts for nobody.
    kafka("Kafka, to warm it", &Options { outage_s: options.outage_s / 2, ..options.clone() })?;
    outcome.add_value("catchup_ratio", kafka("Kafka, with JSON", options)?);
    outcome.add_value("catchup_sqlite_ratio", one("SQLite", options, |source, _| into_sqlite(source))?);
    if let Ok(server) = &server {
        let ratio = one("PostgreSQL", options, |source, _| into_postgres(source, server))?;
        outcome.add_value("catchup_postgres_ratio", ratio);
    }
    outcome.hiccups = meter.stop()?;
    Ok(outcome)
}

/// The rate of one that catches up, to that of the events.
fn one(
    name: &str,
    options: &Options,
    start: impl FnOnce(&Source, &std::path::Path) -> Result<(Follower, Watch), Failure>,
) -> Result<Thousandths, Failure> {
    let dir = crate::scratch::dir()?;
    let journal_dir = dir.path().join("data/journal");
    std::fs::create_dir_all(&journal_dir)?;
    let path = dir.path().join("read-model.sqlite");
    let source =
        Source { journal_dir: journal_dir.clone(), path, stream: "1-virtual".to_owned(), keep_days: 0, server: None };
    let mut live = Live::start(&journal_dir)?;
    live.fill(options.rate * options.outage_s)?;
    while tradecore_journal::stat(&journal_dir)?.synced_seq < live.seq() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let (follower, watch) = start(&source, dir.path())?;
    let started = Instant::now();
    let margin = u64::try_from(u128::from(options.rate) * CAUGHT_UP.as_millis() / 1000)?;
    let mut caught_up = None;
    live.run(options.rate, |seq| {
        if watch.seq() + margin >= seq {
            caught_up = Some((watch.seq(), started.elapsed()));
        }
        caught_up.is_some() || started.elapsed() > LENGTH_MAX
    })?;
    let last = live.seq();
    watch.wait_for(last)?;
    watch.end()?;
    follower.end()?;
    live.end();
    let (events, elapsed) = caught_up.ok_or("it does not catch up")?;
    let rate = u64::try_from(u128::from(events) * 1_000_000_000 / elapsed.as_nanos().max(1))?;
    println!("  {name}: {events} events in {} ms, {rate} events/s", elapsed.as_millis());
    Ok(Thousandths::ratio(rate, options.rate))
}
