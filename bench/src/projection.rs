//! How fast a journal becomes tables of SQLite and of PostgreSQL, as the gateway's side threads make them.
//!
//! PostgreSQL is measured where `TRADECORE_TEST_POSTGRES` says one, or one is installed and can be started.
#![allow(clippy::arithmetic_side_effects)]

use std::time::Instant;

use tradecore::projections::store::{Care, Store};
use tradecore::projections::{Projector, Source, verify};

use crate::Failure;
use crate::hiccup::Meter;
use crate::host::Place;
use crate::outcome::Outcome;
use crate::recovery::write;
use crate::servers::Postgres;
use crate::thousandths::Thousandths;
use crate::timing::median;

/// Projects a journal of so many orders, each run into a new database.
pub(crate) fn measure(orders: u64, runs: usize) -> Result<Outcome, Failure> {
    let mut outcome = Outcome::default();
    outcome.configure("orders", orders);
    outcome.configure("runs", runs);
    let dir = crate::scratch::dir()?;
    let journal_dir = dir.path().join("journal");
    let (events, _) = write(&journal_dir, orders)?;
    println!("projection of {events} events of {orders} orders: every table, position in each transaction");
    let meter = Meter::start()?;
    let file = Source {
        journal_dir,
        path: dir.path().join("run.sqlite"),
        stream: "1-virtual".to_owned(),
        keep_days: 0,
        server: None,
    };
    let bytes = |source: &Source| Ok(std::fs::metadata(&source.path)?.len());
    outcome.add_value(
        "sqlite_events_per_s",
        Thousandths::whole(rate_of(&file, events, runs, &bytes, &|source| Ok(std::fs::remove_file(&source.path)?))?),
    );
    match Postgres::get(Place::Anywhere) {
        Err(why) => outcome.missing.push(("postgres_events_per_s", why)),
        Ok(server) => {
            let reach = server.reach()?;
            println!("the same into tables of PostgreSQL, {}", reach.name());
            let source = Source { path: dir.path().join("server"), server: Some(reach), ..file };
            let bytes = |source: &Source| Ok(Store::open_to_read(source)?.bytes()?);
            outcome.add_value(
                "postgres_events_per_s",
                Thousandths::whole(rate_of(&source, events, runs, &bytes, &|_| server.clear())?),
            );
        }
    }
    outcome.hiccups = meter.stop()?;
    Ok(outcome)
}

/// The rate of the middle one of some runs, each into new tables.
fn rate_of(
    source: &Source,
    events: u64,
    runs: usize,
    bytes: &dyn Fn(&Source) -> Result<u64, Failure>,
    clear: &dyn Fn(&Source) -> Result<(), Failure>,
) -> Result<u64, Failure> {
    let mut rates = Vec::new();
    for run in 1..=runs {
        let started = Instant::now();
        let mut projector = Projector::open(source, Care::Live)??;
        let mut transactions: u64 = 0;
        while projector.step(u64::MAX)? > 0 {
            transactions += 1;
        }
        let elapsed_ns = u64::try_from(started.elapsed().as_nanos())?;
        if projector.position().seq != events {
            return Err("the tables do not know every event".into());
        }
        drop(projector);
        let rate = u64::try_from(u128::from(events) * 1_000_000_000 / u128::from(elapsed_ns.max(1)))?;
        println!(
            "  run {run}: {events} events in {transactions} transactions and {} ms, {rate} events/s, {} bytes an event",
            elapsed_ns / 1_000_000,
            bytes(source)? / events.max(1)
        );
        rates.push(rate);
        if run == runs {
            let (_, tables) = verify(source, &mut |_, _| true)?;
            if tables.iter().any(|table| table.there != table.folded) {
                return Err("the tables are not what a fold of the journal gives".into());
            }
        }
        clear(source)?;
    }
    Ok(median(rates))
}
