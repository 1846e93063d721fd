//! What shipper and projectors take of memory together, however much waits for them: the gateway's own anonymous memory
//! without them, and the most that it has while they catch up.
#![allow(clippy::arithmetic_side_effects)]

use std::time::{Duration, Instant};

use crate::Failure;
use crate::hiccup::Meter;
use crate::host::{self, Broker, Gateway, Setup};
use crate::orders::{Active, wait_until_trading};
use crate::outcome::Outcome;
use crate::pace::{Idle, pace};
use crate::sides::{Sides, borrowed};
use crate::stages::BOUNDS;
use crate::thousandths::Thousandths;

/// Orders a second while the backlog is made.
const RATE: u64 = 20_000;
/// How long a gateway is left alone before its memory counts.
const SETTLE: Duration = Duration::from_secs(2);
/// From one look to the next.
const LOOK: Duration = Duration::from_millis(20);
/// How long it may take to catch up.
const LENGTH_MAX: Duration = Duration::from_secs(3_600);
const MIB: u64 = 1 << 20;

/// How it is measured.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Orders that wait; each makes some three events.
    #[arg(long, default_value_t = 200_000, value_parser = crate::at_least_one::<u64>)]
    pub(crate) orders: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { orders: 200_000 }
    }
}

/// Measures.
pub(crate) fn measure(options: &Options) -> Result<Outcome, Failure> {
    let mut outcome = Outcome::default();
    outcome.configure("orders", options.orders);
    let mut sides = Sides::get()?;
    outcome.configure("postgres", sides.postgres.is_some());
    let meter = Meter::start()?;
    let setup = Setup { sessions: 1, broker: Broker::Instant, bounds: Some(BOUNDS), is_in_memory: false };
    let gateway = Gateway::start(setup)?;
    let mut active = Active::log_on(&gateway.address, 1)?;
    wait_until_trading(&mut active)?;
    host::pinned(|| pace(&mut active, RATE, options.orders, Idle::Yield).map_err(|error| error.to_string()))?;
    drop(active);
    // Started again: what is left of making the backlog does not count.
    let gateway = gateway.again(&[])?;
    std::thread::sleep(SETTLE);
    let without = gateway.resident_bytes()?;
    let overrides = sides.overrides()?;
    let gateway = gateway.again(&borrowed(&overrides))?;
    let events = tradecore_journal::stat(&gateway.journal_dir())?.synced_seq;
    println!("memory of shipper and projectors with {events} events behind them");
    let (since, mut most) = (Instant::now(), 0);
    let mut looked_at = since;
    loop {
        most = most.max(gateway.resident_bytes()?);
        if looked_at.elapsed() >= SETTLE {
            looked_at = Instant::now();
            if sides.reached(&gateway)?.all() >= events {
                break;
            }
            if since.elapsed() > LENGTH_MAX {
                return Err(format!("they do not catch up: {:?}", sides.reached(&gateway)?).into());
            }
        }
        std::thread::sleep(LOOK);
    }
    let after = gateway.resident_bytes()?;
    outcome.hiccups = meter.stop()?;
    let mib = |bytes| Thousandths::ratio(bytes, MIB);
    println!("  {} MiB without, at most {} MiB with, {} MiB behind it", mib(without), mib(most), mib(after));
    outcome.add_value("side_events", Thousandths::whole(events));
    outcome.add_value("rss_without_sides_mib", mib(without));
    outcome.add_value("side_rss_mib", mib(most.saturating_sub(without)));
    Ok(outcome)
}
