//! What an order feels of shipping and projecting: the time from the socket's read to its write, by the gateway's own
//! counters, of one that ships and projects and of one that does neither, in turn on one CPU.

use std::time::{Duration, Instant};

use tradecore::mapped::{Reader, Snapshot};

use crate::Failure;
use crate::hiccup::Meter;
use crate::host;
use crate::outcome::Outcome;
use crate::pace::{Idle, Sample};
use crate::sides::{Sides, borrowed};
use crate::stages::{Side, TOTAL};
use crate::thousandths::Thousandths;
use crate::timing::{micros, round_trips};

/// How long one of the two has the CPU: long enough for what is shipped in large pieces.
const SLICE_MS: u64 = 1_000;
const WARM_UP_SLICES: u64 = 2;
/// How long topics and tables may take to be made.
const START_MAX: Duration = Duration::from_secs(60);
/// What is compared: name, parts of a million.
const COMPARED: [(&str, u64); 2] = [("p50", 500_000), ("p99", 990_000)];

/// How it is measured.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Orders a second.
    #[arg(long, default_value_t = 5_000, value_parser = crate::rate)]
    pub(crate) rate: u64,
    /// Length of a round, for each of the two, s.
    #[arg(long, default_value_t = 4, value_parser = crate::at_least_one::<u64>)]
    pub(crate) seconds: u64,
    /// Rounds; each starts both gateways anew.
    #[arg(long, default_value_t = 5, value_parser = crate::at_least_one::<usize>)]
    pub(crate) rounds: usize,
    /// What the generator does while it awaits nothing.
    #[arg(long, value_enum, default_value_t = Idle::Sleep)]
    pub(crate) idle: Idle,
}

impl Default for Options {
    fn default() -> Self {
        Self { rate: 5_000, seconds: 4, rounds: 5, idle: Idle::Sleep }
    }
}

/// Measures both in turn.
pub(crate) fn measure(options: &Options) -> Result<Outcome, Failure> {
    let mut outcome = Outcome::default();
    outcome.configure("rate", options.rate);
    outcome.configure("seconds", options.seconds);
    outcome.configure("rounds", options.rounds);
    outcome.configure("idle", format!("{:?}", options.idle));
    outcome.configure("slice_ms", SLICE_MS);
    let mut sides = Sides::get()?;
    outcome.configure("postgres", sides.postgres.is_some());
    println!("socket read to write, {} orders/s, shipped and projected or not, {SLICE_MS} ms in turn", options.rate);
    let meter = Meter::start()?;
    let mut ratios: [Vec<Thousandths>; COMPARED.len()] = Default::default();
    let (mut all_on, mut all_off) = (round_trips(), round_trips());
    let mut is_ahead = false;
    for round in 1..=options.rounds {
        let overrides = sides.overrides()?;
        let (mut on, mut off) = (Side::start(&borrowed(&overrides))?, Side::start(&[])?);
        await_shipping(&sides, &on)?;
        let (with, without) = host::pinned(|| {
            is_ahead = host::ahead();
            both(&mut on, &mut off, options).map_err(|error| error.to_string())
        })?;
        on.gateway.process.go_on()?;
        let reached = sides.reached(&on.gateway)?;
        let events = tradecore_journal::stat(&on.gateway.journal_dir())?.synced_seq;
        let mut line = format!("  round {round}:");
        for ((name, parts), ratios) in COMPARED.iter().zip(&mut ratios) {
            let at = |(reader, snapshot): &(Reader, Snapshot)| {
                snapshot.stage(TOTAL).map_or(0, |times| reader.nanos(times.at(*parts)))
            };
            let (on_ns, off_ns) = (at(&with), at(&without));
            ratios.push(Thousandths::ratio(on_ns, off_ns));
            line.push_str(&format!("  {name} {} µs on, {} µs off", micros(on_ns), micros(off_ns)));
        }
        println!(
            "{line}; {} of {events} events shipped, {} in SQLite, {} in PostgreSQL",
            reached.shipped,
            reached.sqlite,
            reached.postgres.unwrap_or(0)
        );
        for ((reader, snapshot), all) in [(&with, &mut all_on), (&without, &mut all_off)] {
            let Some(times) = snapshot.stage(TOTAL) else { continue };
            times.values().for_each(|(ticks, count)| all.saturating_record_n(reader.nanos(ticks), count));
        }
    }
    outcome.hiccups = meter.stop()?;
    outcome.configure("generator", if is_ahead { "before all others" } else { "among the others" });
    let mut worst = Thousandths(0);
    for ((name, _), ratios) in COMPARED.iter().zip(ratios) {
        let ratio = Thousandths::median(ratios).ok_or("no round was measured")?;
        outcome.add_value(format!("ship_path_{name}_ratio"), ratio);
        worst = worst.max(ratio);
    }
    outcome.add_value("ship_path_ratio", worst);
    outcome.add_series("socket read to write", "shipped and projected", all_on);
    outcome.add_series("socket read to write", "neither", all_off);
    Ok(outcome)
}

/// Until the first event has arrived everywhere: that topics and tables are made is not measured.
fn await_shipping(sides: &Sides, on: &Side) -> Result<(), Failure> {
    on.gateway.process.go_on()?;
    let since = Instant::now();
    while sides.reached(&on.gateway)?.all() == 0 {
        if since.elapsed() > START_MAX {
            return Err(format!("nothing is shipped or projected: {:?}", sides.reached(&on.gateway)?).into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    on.gateway.process.hold()
}

type Measured = (Reader, Snapshot);

fn both(on: &mut Side, off: &mut Side, options: &Options) -> Result<(Measured, Measured), Failure> {
    let turns = |on: &mut Side, off: &mut Side, slices: u64| -> Result<(), Failure> {
        for nth in 0..slices {
            // Who comes first takes turns too.
            let (first, second) = if nth.is_multiple_of(2) { (&mut *on, &mut *off) } else { (&mut *off, &mut *on) };
            first.run(options.rate, SLICE_MS, options.idle)?;
            second.run(options.rate, SLICE_MS, options.idle)?;
        }
        Ok(())
    };
    let open = |side: &Side| Reader::open(&side.gateway.journal_dir());
    let (reader_on, reader_off) = (open(on)?, open(off)?);
    turns(on, off, WARM_UP_SLICES)?;
    (on.sample, off.sample) = (Sample::new(), Sample::new());
    let (before_on, before_off) = (reader_on.snapshot(), reader_off.snapshot());
    turns(on, off, options.seconds.saturating_mul(1000).checked_div(SLICE_MS).unwrap_or(0).max(1))?;
    let (now_on, now_off) = (reader_on.snapshot().since(&before_on), reader_off.snapshot().since(&before_off));
    if [&now_on, &now_off].iter().any(|now| now.stage(TOTAL).is_none_or(|times| times.count() == 0)) {
        return Err("a gateway has measured nothing".into());
    }
    Ok(((reader_on, now_on), (reader_off, now_off)))
}
