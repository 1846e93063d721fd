//! How long a rebuild of the tables takes, with all that belongs to it: the fold into a shadow, the comparison with the
//! tables that there are, the swap.
//!
//! Ten million events take minutes: a million tells what they would take, first half of them and then all, if the second
//! half took no longer than the first, within a quarter. Fewer show that it runs, and tell nothing.
#![allow(clippy::arithmetic_side_effects)]

use std::time::{Duration, Instant};

use tradecore::projections::{Source, open, rebuild};

use crate::Failure;
use crate::hiccup::Meter;
use crate::live::Live;
use crate::outcome::Outcome;
use crate::thousandths::Thousandths;

/// The events of the figure.
const EVENTS: u64 = 10_000_000;
/// As few tell what ten million take: below, what a machine does for milliseconds decides.
const TELLING: u64 = 1_000_000;
/// How much longer the second half may take than the first, of 100, for the rest to be told from both.
const UNEVEN_MAX: u128 = 125;

/// How it is measured.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Events in the journal; with 10,000,000 nothing is told from fewer, and below 1,000,000 nothing of ten million.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(2_000..))]
    pub(crate) events: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { events: 1_000_000 }
    }
}

/// Measures.
pub(crate) fn measure(options: &Options) -> Result<Outcome, Failure> {
    let mut outcome = Outcome::default();
    outcome.configure("events", options.events);
    let dir = crate::scratch::dir()?;
    let journal_dir = dir.path().join("journal");
    let path = dir.path().join("read-model.sqlite");
    let source = Source { journal_dir, path, stream: "1-virtual".to_owned(), keep_days: 0, server: None };
    let meter = Meter::start()?;
    let mut live = Live::start(&source.journal_dir)?;
    live.fill((options.events / 2).saturating_sub(live.seq()))?;
    println!("rebuild of the tables in SQLite: fold, comparison with the old ones, swap");
    let half = rebuilt(&source, live.seq())?;
    live.fill(options.events.saturating_sub(live.seq()))?;
    let all = rebuilt(&source, live.seq())?;
    live.end();
    outcome.hiccups = meter.stop()?;
    outcome.add_value("rebuild_events_per_s", Thousandths::ratio(options.events, all.as_secs().max(1)));
    outcome.add_value("rebuild_s", seconds(all));
    outcome.add_value("rebuild_s_of_half", seconds(half));
    match of_all(half, all, options.events) {
        Some(Ok(whole)) => outcome.add_value("rebuild_s_10m", seconds(whole)),
        Some(Err(why)) => outcome.missing.push(("rebuild_s_10m", why)),
        None => println!("  too few to tell what {EVENTS} take"),
    }
    Ok(outcome)
}

/// Brings the tables up to date, and makes them anew.
fn rebuilt(source: &Source, events: u64) -> Result<Duration, Failure> {
    while tradecore_journal::stat(&source.journal_dir)?.synced_seq < events {
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut projector = open(source, &mut |_, _| true)?;
    while projector.step(u64::MAX)? > 0 {}
    drop(projector);
    let started = Instant::now();
    let rebuilt = rebuild(source, &mut |_, _| true)?;
    let elapsed = started.elapsed();
    if rebuilt.seq != events || rebuilt.differing.is_none_or(|tables| !tables.is_empty()) {
        return Err("a rebuild gives other tables than the fold did".into());
    }
    println!("  {events} events in {} ms", elapsed.as_millis());
    Ok(elapsed)
}

/// What ten million take, from what a half of fewer and all of them took; nothing of very few.
fn of_all(half: Duration, all: Duration, events: u64) -> Option<Result<Duration, String>> {
    let second_half = all.saturating_sub(half);
    if events >= EVENTS {
        return Some(Ok(all));
    }
    if events < TELLING {
        return None;
    }
    if second_half.as_nanos() * 100 > half.as_nanos() * UNEVEN_MAX {
        return Some(Err(format!(
            "it is not linear: the first half of {events} events took {} ms, the second {} ms; measure --events {EVENTS}",
            half.as_millis(),
            second_half.as_millis()
        )));
    }
    // The rest at the pace of the slower half.
    let slower = second_half.max(half).as_nanos() * u128::from(EVENTS - events) / u128::from(events / 2);
    Some(Ok(all + Duration::from_nanos(u64::try_from(slower).unwrap_or(u64::MAX))))
}

fn seconds(time: Duration) -> Thousandths {
    Thousandths(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_million_are_told_from_fewer_only_where_the_second_half_took_no_longer() {
        let of = |half, all, events| of_all(Duration::from_secs(half), Duration::from_secs(all), events);
        let told = |half, all, events| of(half, all, events).unwrap();
        assert_eq!(told(10, 20, 1_000_000), Ok(Duration::from_secs(200)));
        assert_eq!(told(10, 22, 1_000_000), Ok(Duration::from_secs(22 + 18 * 12)), "at the pace of the slower half");
        assert_eq!(told(10, 18, 1_000_000), Ok(Duration::from_secs(18 + 18 * 10)));
        assert!(told(10, 23, 1_000_000).unwrap_err().contains("not linear"));
        assert_eq!(told(10, 40, 10_000_000), Ok(Duration::from_secs(40)), "that was measured");
        for all in [20, 40] {
            assert_eq!(of(10, all, 999_999), None, "however it grew");
        }
    }
}
