//! Where the time of an order goes inside the gateway, as the gateway itself has measured it; and what measuring costs:
//! two gateways take turns on one CPU, one that measures and one that does not.

use tradecore::mapped::{Reader, Snapshot};

use crate::Failure;
use crate::hiccup::Meter;
use crate::host::{self, Broker, Gateway, Setup};
use crate::orders::{Active, wait_until_trading};
use crate::outcome::Outcome;
use crate::pace::{Idle, Sample, shortfall};
use crate::thousandths::Thousandths;
use crate::timing::{RoundTrips, micros, print_run, round_trips};
use crate::turns::{SLICE_MS, slice};

/// Slices of each after a start that count for nobody.
const WARM_UP_SLICES: u64 = 5;
/// Orders that may be open, and ids.
pub(crate) const BOUNDS: (u32, u32) = (65_536, 524_288);
/// The bar of all.
const BAR: usize = 50;
/// What switches measuring off.
const OFF: &[(&str, &str)] = &[("TRADECORE__CORE__STAGES", "false")];
/// Orders that take longer say that the machine is not free, and nothing of the gateway.
const P50_MAX_US: u64 = 100;
pub(crate) const TOTAL: &str = "total";

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
    #[arg(long, default_value_t = 7, value_parser = crate::at_least_one::<usize>)]
    pub(crate) rounds: usize,
    /// What the generator does while it awaits nothing.
    #[arg(long, value_enum, default_value_t = Idle::Spin)]
    pub(crate) idle: Idle,
    /// Median of an order from which the machine is too busy to say anything, µs.
    #[arg(long, default_value_t = P50_MAX_US, value_parser = crate::at_least_one::<u64>)]
    pub(crate) p50_max_us: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { rate: 5_000, seconds: 4, rounds: 7, idle: Idle::Spin, p50_max_us: P50_MAX_US }
    }
}

/// A gateway, a session of it, and what its orders took.
pub(crate) struct Side {
    pub(crate) gateway: Gateway,
    pub(crate) active: Active,
    pub(crate) sample: Sample,
}

/// The time of a stage over all rounds.
struct Times {
    name: String,
    times: RoundTrips,
    sum_ns: u64,
}

/// Measures both in turn.
pub(crate) fn measure(options: &Options) -> Result<Outcome, Failure> {
    println!(
        "stages of an order, class journaled, {}/s open loop; {SLICE_MS} ms in turn with one that measures none",
        options.rate
    );
    let (mut stages, mut ratios) = (Vec::new(), Vec::new());
    let (mut all_on, mut all_off) = (Sample::new(), Sample::new());
    let meter = Meter::start()?;
    for round in 1..=options.rounds {
        let (on, off) = (Side::start(&[])?, Side::start(OFF)?);
        let (on, off) = host::pinned(|| both(on, off, options, &mut stages).map_err(|error| error.to_string()))?;
        print_run(&format!("measured, round {round}"), &on.corrected);
        print_run(&format!("not measured, round {round}"), &off.corrected);
        let p50 = |sample: &Sample| sample.corrected.value_at_quantile(0.5);
        ratios.push(Thousandths::ratio(p50(&on), p50(&off)));
        all_on.add(&on)?;
        all_off.add(&off)?;
    }
    let mut outcome = Outcome { hiccups: meter.stop()?, ..Outcome::default() };
    outcome.configure("rate", options.rate);
    outcome.configure("seconds", options.seconds);
    outcome.configure("rounds", options.rounds);
    outcome.configure("idle", format!("{:?}", options.idle));
    outcome.configure("slice_ms", SLICE_MS);
    print_bars(&stages);
    for Times { name, times, .. } in stages {
        outcome.add_value(format!("stage_{name}_p50_ns"), Thousandths::whole(times.value_at_quantile(0.5)));
        outcome.add_value(format!("stage_{name}_p99_ns"), Thousandths::whole(times.value_at_quantile(0.99)));
        outcome.add_series("stages", format!("stage {name}"), times);
    }
    let p50_ns = all_off.corrected.value_at_quantile(0.5);
    if p50_ns / 1000 > options.p50_max_us {
        return Err(format!("an order takes {} µs: others use these CPUs; measure again", micros(p50_ns)).into());
    }
    let void = shortfall(options.rate, &[("measured", &all_on), ("not measured", &all_off)]);
    let plot = format!("order to acceptance, {} orders/s", options.rate);
    outcome.add_series(&plot, "measured", all_on.corrected);
    outcome.add_series(&plot, "not measured", all_off.corrected);
    match void {
        Some(why) => outcome.miss("stage_cost_ratio", why),
        None => outcome.add_value("stage_cost_ratio", Thousandths::median(ratios).unwrap_or(Thousandths(u64::MAX))),
    }
    Ok(outcome)
}

impl Side {
    /// Starts one, takes an order from it, and holds it.
    pub(crate) fn start(overrides: &[(&str, &str)]) -> Result<Self, Failure> {
        let setup = Setup { sessions: 1, broker: Broker::Instant, bounds: Some(BOUNDS), is_in_memory: false };
        let gateway = Gateway::start_with(setup, overrides)?;
        let mut active = Active::log_on(&gateway.address, 1)?;
        wait_until_trading(&mut active)?;
        gateway.process.hold()?;
        Ok(Self { gateway, active, sample: Sample::new() })
    }

    /// It has the CPU for a slice.
    pub(crate) fn run(&mut self, rate: u64, slice_ms: u64, idle: Idle) -> Result<(), Failure> {
        let orders = rate.saturating_mul(slice_ms).checked_div(1000).unwrap_or(0).max(1);
        self.gateway.process.go_on()?;
        self.sample.add(&slice(&mut self.active, rate, orders, idle)?)?;
        self.gateway.process.hold()
    }
}

/// A round: the samples of the one that measures and of the other; what the first has measured goes to `stages`.
fn both(mut on: Side, mut off: Side, options: &Options, stages: &mut Vec<Times>) -> Result<(Sample, Sample), Failure> {
    let (reader, reader_off) = (Reader::open(&on.gateway.journal_dir())?, Reader::open(&off.gateway.journal_dir())?);
    let slices = options.seconds.saturating_mul(1000).checked_div(SLICE_MS).unwrap_or(0).max(1);
    let turns = |on: &mut Side, off: &mut Side, slices: u64| -> Result<(), Failure> {
        for nth in 0..slices {
            // Who comes first takes turns too.
            let (first, second) = if nth.is_multiple_of(2) { (&mut *on, &mut *off) } else { (&mut *off, &mut *on) };
            first.run(options.rate, SLICE_MS, options.idle)?;
            second.run(options.rate, SLICE_MS, options.idle)?;
        }
        Ok(())
    };
    turns(&mut on, &mut off, WARM_UP_SLICES)?;
    (on.sample, off.sample) = (Sample::new(), Sample::new());
    let before = reader.snapshot();
    turns(&mut on, &mut off, slices)?;
    let measured = reader.snapshot().since(&before);
    if reader_off.snapshot().stage(TOTAL).is_none_or(|times| times.count() > 0) {
        return Err("a gateway that should not measure does".into());
    }
    add(stages, &reader, &measured)?;
    Ok((on.sample, off.sample))
}

/// Adds a round to what the earlier ones have measured.
fn add(stages: &mut Vec<Times>, reader: &Reader, measured: &Snapshot) -> Result<(), Failure> {
    if measured.stage(TOTAL).is_none_or(|times| times.count() == 0) {
        return Err("the gateway has measured no stages".into());
    }
    for (name, _, reading) in &measured.stages {
        if stages.iter().all(|known| known.name != *name) {
            stages.push(Times { name: name.clone(), times: round_trips(), sum_ns: 0 });
        }
        let Some(known) = stages.iter_mut().find(|known| known.name == *name) else { continue };
        for (ticks, count) in reading.values() {
            known.times.saturating_record_n(reader.nanos(ticks), count);
        }
        known.sum_ns = known.sum_ns.saturating_add(reader.nanos(reading.sum()));
    }
    Ok(())
}

/// The stages as bars, each as long as its share of all.
fn print_bars(stages: &[Times]) {
    let total_ns = stages.iter().find(|stage| stage.name == TOTAL).map_or(0, |stage| stage.sum_ns);
    for Times { name, times, sum_ns } in stages {
        let share = Thousandths::ratio(sum_ns.saturating_mul(100), total_ns.max(1));
        let bar = "#".repeat(length_of(*sum_ns, total_ns));
        let at = |quantile| times.value_at_quantile(quantile);
        println!("  {name:<8} p50 {:>7} ns  p99 {:>7} ns  {share:>7} %  {bar}", at(0.5), at(0.99));
    }
}

/// A bar of a part of the whole.
fn length_of(part: u64, whole: u64) -> usize {
    let length = u128::from(part).saturating_mul(BAR as u128).checked_div(whole.into()).unwrap_or(0);
    usize::try_from(length).unwrap_or(BAR).min(BAR)
}

#[cfg(test)]
mod tests {
    use tradecore::mapped::Mapped;

    use super::*;

    #[test]
    fn rounds_add_up_and_what_was_before_them_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        // Two ticks a nanosecond.
        let mapped = Mapped::in_dir(dir.path(), 2_000_000_000).unwrap();
        let reader = Reader::in_dir(dir.path()).unwrap();
        let mut stages = Vec::new();
        let order = |ticks| mapped.stages().iter().for_each(|stage| stage.record(ticks));
        order(1_000_000);
        let before = reader.snapshot();
        assert!(add(&mut stages, &reader, &before.since(&before)).is_err(), "nothing was measured");
        for round in 1..=2_u64 {
            let before = reader.snapshot();
            order(20 * round);
            add(&mut stages, &reader, &reader.snapshot().since(&before)).unwrap();
        }
        assert_eq!(stages.len(), tradecore::stages::COUNT);
        assert!(stages.iter().all(|stage| stage.times.len() == 2 && stage.sum_ns == 30 && stage.times.max() == 20));
    }

    #[test]
    fn a_bar_is_as_long_as_its_share() {
        assert_eq!((length_of(0, 10), length_of(5, 10), length_of(10, 10), length_of(1, 0)), (0, 25, 50, 0));
    }
}
