//! How fast a start folds a journal into its state, by the journal's length, against the bare reading of its files.
#![allow(clippy::arithmetic_side_effects)]

use std::collections::VecDeque;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Instant;

use tradecore_domain::command::FactKind;
use tradecore_domain::{Limits, State};
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

/// Orders of the journals, one after the other: of 0.1, 1 and 4 million events.
pub(crate) const ORDERS: [u64; 3] = [25_000, 250_000, 1_000_000];

/// Replays a journal of each number of orders; the promised figure is that of the longest.
pub(crate) fn measure(orders: &[u64], runs: usize) -> Result<Outcome, Failure> {
    let mut outcome = Outcome::default();
    outcome.configure("orders", format!("{orders:?}"));
    outcome.configure("runs", runs);
    println!("replay of whole lives of orders, {WINDOW} open at once, checksums and archives checked");
    let longest = orders.iter().copied().max();
    for orders in orders {
        let (rate, ratio) = of_length(*orders, runs, &mut outcome)?;
        outcome.add_value(format!("recovery_events_per_s_at_{orders}_orders"), rate);
        outcome.add_value(format!("recovery_read_ratio_at_{orders}_orders"), ratio);
        if Some(*orders) == longest && outcome.value("recovery_events_per_s").is_none() {
            outcome.add_value("recovery_events_per_s", rate);
            outcome.add_value("recovery_read_ratio", ratio);
        }
    }
    Ok(outcome)
}

/// Events a second of one journal, and what it takes in bare reads.
fn of_length(orders: u64, runs: usize, outcome: &mut Outcome) -> Result<(Thousandths, Thousandths), Failure> {
    let dir = crate::scratch::dir()?;
    let (events, hash) = write(dir.path(), orders)?;
    let files = used(dir.path())?;
    let (mut rates, mut ratios) = (Vec::new(), Vec::new());
    let meter = Meter::start()?;
    for run in 1..=runs {
        let (replay_ns, read_ns) = host::apart(|| Ok(()), |()| Ok((replay(dir.path(), events, hash)?, read(&files)?)))?;
        let rate = u64::try_from(u128::from(events) * 1_000_000_000 / u128::from(replay_ns.max(1)))?;
        let ratio = Thousandths::ratio(replay_ns, read_ns);
        println!(
            "  {orders} orders, run {run}: {events} events in {} ms, {} events/s; {ratio} x a bare read",
            replay_ns / 1_000_000,
            Thousandths::whole(rate)
        );
        rates.push(rate);
        ratios.push(ratio);
    }
    outcome.hiccups.add(meter.stop()?)?;
    let ratio = Thousandths::median(ratios).unwrap_or(Thousandths(u64::MAX));
    Ok((Thousandths::whole(median(rates)), ratio))
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

/// The journal's files, each with the bytes that are used: segments are longer.
fn used(dir: &Path) -> Result<Vec<(PathBuf, u64)>, Failure> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_file() {
            let last = std::fs::read(&path)?.iter().rposition(|byte| *byte != 0);
            files.push((path, last.map_or(0, |last| last as u64 + 1)));
        }
    }
    Ok(files)
}

/// All of that, read from the system's cache as it was by the replay, ns.
fn read(files: &[(PathBuf, u64)]) -> Result<u64, Failure> {
    let mut buffer = vec![0; 1 << 20];
    let started = Instant::now();
    for (path, len) in files {
        let mut file = std::fs::File::open(path)?.take(*len);
        while file.read(&mut buffer)? > 0 {}
    }
    Ok(u64::try_from(started.elapsed().as_nanos())?)
}

/// Writes a journal of whole lives of orders: accepted, acknowledged, filled in two parts. How many events,
/// and the hash of the state that they make.
pub(crate) fn write(dir: &Path, orders: u64) -> Result<(u64, u64), Failure> {
    let opened = tradecore_journal::open(&crate::in_process::journal(dir))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_has_its_rate_and_the_promised_one_is_that_of_the_longest() {
        let outcome = measure(&[20, 60, 40], 1).unwrap();
        let at = |orders: u64| outcome.value(&format!("recovery_events_per_s_at_{orders}_orders"));
        assert!(at(20).is_some() && at(60).is_some());
        assert_eq!(outcome.value("recovery_events_per_s"), at(60));
        assert_eq!(outcome.value("recovery_read_ratio"), outcome.value("recovery_read_ratio_at_60_orders"));
    }
}
