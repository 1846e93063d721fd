//! How fast a start folds a journal into its state, against the bare reading of its files.
#![allow(clippy::arithmetic_side_effects)]

use std::collections::VecDeque;
use std::io::Read;
use std::path::Path;
use std::time::Instant;

use tradecore_domain::command::FactKind;
use tradecore_domain::{Limits, State};
use tradecore_journal::Config;
use tradecore_protocol::fields::{Qty, Side, Tif};

use crate::Failure;
use crate::hiccup::Meter;
use crate::host;
use crate::in_process::{Core, ONE};
use crate::outcome::Outcome;
use crate::thousandths::Thousandths;
use crate::timing::median;

/// Orders open at once.
const WINDOW: usize = 500;

/// Replays a journal of so many orders.
pub(crate) fn measure(orders: u64, runs: usize) -> Result<Outcome, Failure> {
    let mut outcome = Outcome::default();
    outcome.configure("orders", orders);
    outcome.configure("runs", runs);
    let dir = tempfile::tempdir()?;
    let (events, hash) = write(dir.path(), orders)?;
    println!("replay of {events} events of {orders} orders, {WINDOW} open at once, checksums and archives checked");
    let (mut rates, mut ratios) = (Vec::new(), Vec::new());
    let meter = Meter::start()?;
    for run in 1..=runs {
        let (replay_ns, read_ns) =
            host::apart(|| Ok(()), |()| Ok((replay(dir.path(), events, hash)?, read(dir.path())?)))?;
        let rate = u64::try_from(u128::from(events) * 1_000_000_000 / u128::from(replay_ns.max(1)))?;
        let ratio = Thousandths::ratio(replay_ns, read_ns);
        println!(
            "  run {run}: {events} events in {} ms, {rate} events/s; {ratio} x a bare read",
            replay_ns / 1_000_000
        );
        rates.push(rate);
        ratios.push(ratio);
    }
    outcome.hiccups = meter.stop()?;
    outcome.add_value("recovery_events_per_s", Thousandths::whole(median(rates)));
    outcome.add_value("recovery_read_ratio", Thousandths::median(ratios).unwrap_or(Thousandths(u64::MAX)));
    Ok(outcome)
}

/// One replay, ns.
fn replay(dir: &Path, events: u64, hash: u64) -> Result<u64, Failure> {
    let mut state = State::new(Limits::default());
    let started = Instant::now();
    let replayed = tradecore::recovery::replay(dir, &mut state, &mut |_| {})?;
    let elapsed_ns = u64::try_from(started.elapsed().as_nanos())?;
    if (replayed, state.hash()) != (events, hash) {
        return Err("the replayed state is not the live one".into());
    }
    Ok(elapsed_ns)
}

/// All files of the journal, read from the system's cache as they were by the replay, ns.
fn read(dir: &Path) -> Result<u64, Failure> {
    let mut buffer = vec![0; 1 << 20];
    let started = Instant::now();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_file() {
            let mut file = std::fs::File::open(path)?;
            while file.read(&mut buffer)? > 0 {}
        }
    }
    Ok(u64::try_from(started.elapsed().as_nanos())?)
}

/// Writes a journal of whole lives of orders: accepted, acknowledged, filled in two parts. How many events,
/// and the hash of the state that they make.
pub(crate) fn write(dir: &Path, orders: u64) -> Result<(u64, u64), Failure> {
    let opened = tradecore_journal::open(&Config::new(dir))?;
    let (journal, _, _, closer) = opened.into_parts();
    let mut core = Core::start(Some(journal))?;
    let mut open = VecDeque::new();
    for order in 0..orders {
        let side = if order.is_multiple_of(2) { Side::Buy } else { Side::Sell };
        open.push_back(core.place(side, Tif::Day)?);
        let kept = if order + 1 == orders { 0 } else { WINDOW - 1 };
        while open.len() > kept {
            let Some(id) = open.pop_front() else { break };
            core.fact(id, FactKind::Acknowledged)?;
            core.trade(id, Qty(ONE / 2))?;
            core.trade(id, Qty(ONE / 2))?;
        }
    }
    let made = (core.events, core.state.hash());
    if let (_, Some(journal)) = core.into_parts() {
        closer.seal(journal);
    }
    Ok(made)
}
