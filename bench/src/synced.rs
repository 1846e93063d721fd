//! Class `synced`: what an order waits for until it survives power loss, against a bare sync on the same disk; and how
//! many orders a second share their syncs.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum as _;

use crate::Failure;
use crate::disk;
use crate::hiccup::Meter;
use crate::host;
use crate::latency::ECHO_MAX_US;
use crate::outcome::Outcome;
use crate::pace::{Idle, shortfall};
use crate::synced_flow::{self, Flow, in_flight_for};
use crate::synced_turns::{SyncedTurns, Times, group_bytes};
use crate::thousandths::Thousandths;
use crate::timing::{RoundTrips, median, micros, print_run};

/// Before a round that counts, ms of each of the three.
const WARM_UP_MS: u64 = 1000;
/// The rate that is promised, and for which orders have to be on their way.
const PROMISED_PER_S: u64 = 300_000;

/// How it is measured.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// What the generator does while it waits, one after the other: the sync thread shares its CPU. The first one's
    /// figures are the promised ones.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Idle::YieldAlways, Idle::Spin])]
    pub(crate) idle: Vec<Idle>,
    /// Orders a second of which each is timed: so few that one is on its way at a time.
    #[arg(long, default_value_t = 500, value_parser = crate::rate)]
    pub(crate) rate: u64,
    /// Length of a round for the gateway, for the echo and for the bare sync, s each.
    #[arg(long, default_value_t = 2, value_parser = crate::at_least_one::<u64>)]
    pub(crate) seconds: u64,
    /// Orders on their way where as many as possible are sent.
    #[arg(long, default_value_t = 4096, value_parser = crate::at_least_one::<u64>)]
    pub(crate) in_flight: u64,
    /// Length of a round of that, s.
    #[arg(long, default_value_t = 4, value_parser = crate::at_least_one::<u64>)]
    pub(crate) flow_seconds: u64,
    /// Rounds; each starts everything anew.
    #[arg(long, default_value_t = 5, value_parser = crate::at_least_one::<usize>)]
    pub(crate) rounds: usize,
    /// Where the journal lies, on the disk that is measured; by default the system's directory for temporary files.
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
    /// Median of the echo from which the machine is too busy to say anything, µs.
    #[arg(long, default_value_t = ECHO_MAX_US, value_parser = crate::at_least_one::<u64>)]
    pub(crate) echo_max_us: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            idle: vec![Idle::YieldAlways],
            rate: 500,
            seconds: 2,
            in_flight: 4096,
            flow_seconds: 4,
            rounds: 5,
            dir: None,
            echo_max_us: ECHO_MAX_US,
        }
    }
}

/// One way to wait, over all rounds.
struct Waiting {
    idle: Idle,
    all: Times,
    rounds: Vec<Times>,
    flows: Vec<Flow>,
}

/// Measures both, round by round.
pub(crate) fn measure(options: &Options) -> Result<Outcome, Failure> {
    let (dir, disk) = disk::measured(options.dir.as_deref())?;
    println!("class synced on {disk}; an order is {} bytes of the journal", group_bytes());
    let mut waiting: Vec<Waiting> = options.idle.iter().map(|idle| Waiting::new(*idle)).collect();
    let meter = Meter::start()?;
    for round in 1..=options.rounds {
        for waiting in &mut waiting {
            waiting.times(options, &dir, round)?;
            waiting.flow(options, &dir, round)?;
        }
    }
    let mut outcome = Outcome { hiccups: meter.stop()?, ..Outcome::default() };
    outcome.configure("durability", "synced");
    outcome.configure("disk", disk);
    outcome.configure("group_bytes", group_bytes());
    outcome.configure("idle", format!("{:?}", options.idle));
    outcome.configure("rate", options.rate);
    outcome.configure("seconds", options.seconds);
    outcome.configure("in_flight", options.in_flight);
    outcome.configure("flow_seconds", options.flow_seconds);
    outcome.configure("rounds", options.rounds);
    for (nth, waiting) in waiting.into_iter().enumerate() {
        waiting.conclude(options, nth == 0, &mut outcome)?;
    }
    Ok(outcome)
}

impl Waiting {
    fn new(idle: Idle) -> Self {
        Self { idle, all: Times::new(), rounds: Vec::new(), flows: Vec::new() }
    }

    fn times(&mut self, options: &Options, dir: &std::path::Path, round: usize) -> Result<(), Failure> {
        let mut turns = SyncedTurns::start(dir, self.idle)?;
        let times = host::pinned(|| {
            let mut both = || -> Result<Times, Failure> {
                turns.run(options.rate, WARM_UP_MS)?;
                turns.run(options.rate, options.seconds.saturating_mul(1000))
            };
            both().map_err(|error| error.to_string())
        })?;
        let name = name(self.idle);
        print_run(&format!("echo, {name}, round {round}"), &times.echo.corrected);
        print_run(&format!("gateway, {name}, round {round}"), &times.gateway.corrected);
        print_run(&format!("bare, {name}, round {round}"), &times.bare);
        self.all.add(&times)?;
        self.rounds.push(times);
        Ok(())
    }

    fn flow(&mut self, options: &Options, dir: &std::path::Path, round: usize) -> Result<(), Failure> {
        let length = Duration::from_secs(options.flow_seconds);
        let flow = synced_flow::run(dir, options.in_flight, length, self.idle)?;
        println!(
            "  {}, round {round}: {} orders/s, {} refused; {} syncs/s of {} bytes; bare {} orders/s",
            name(self.idle),
            Thousandths::whole(flow.orders_per_s),
            flow.refused,
            Thousandths::whole(flow.syncs_per_s),
            Thousandths::whole(flow.bytes_per_sync),
            Thousandths::whole(flow.bare_orders_per_s)
        );
        self.flows.push(flow);
        Ok(())
    }

    fn conclude(self, options: &Options, is_first: bool, outcome: &mut Outcome) -> Result<(), Failure> {
        let name = name(self.idle);
        let echo_p50 = self.all.echo.service.value_at_quantile(0.5);
        if echo_p50 / 1000 > options.echo_max_us {
            return Err(format!("the echo takes {} µs: others use these CPUs; measure again", micros(echo_p50)).into());
        }
        let void = shortfall(options.rate, &[("echo", &self.all.echo), ("gateway", &self.all.gateway)]);
        if let Some(why) = &void {
            println!("{name}: {why}");
        }
        for (percentile, quantile) in [("p50", 0.5), ("p99", 0.99)] {
            let ratios = self.rounds.iter().map(|times| excess(times, quantile)).collect();
            match (&void, Thousandths::median(ratios)) {
                (Some(why), _) if is_first && percentile == "p50" => outcome.miss("synced_p50_excess", why.clone()),
                (None, Some(ratio)) => {
                    println!("{name}, {percentile}: (order to acceptance - echo) / bare sync {ratio}");
                    add(outcome, is_first, &name, &format!("synced_{percentile}_excess"), ratio);
                }
                _ => {}
            }
        }
        let over_rounds = |of: &dyn Fn(&Flow) -> u64| Thousandths::whole(median(self.flows.iter().map(of).collect()));
        let bare = self.flows.iter().map(|flow| Thousandths::ratio(flow.orders_per_s, flow.bare_orders_per_s));
        add(outcome, is_first, &name, "synced_orders_per_s", over_rounds(&|flow| flow.orders_per_s));
        add(outcome, is_first, &name, "synced_syncs_per_s", over_rounds(&|flow| flow.syncs_per_s));
        add(outcome, is_first, &name, "synced_bytes_per_sync", over_rounds(&|flow| flow.bytes_per_sync));
        add(outcome, is_first, &name, "synced_refused", over_rounds(&|flow| flow.refused));
        if let Some(ratio) = Thousandths::median(bare.collect()) {
            add(outcome, is_first, &name, "synced_orders_per_s_bare_ratio", ratio);
        }
        let sync_ns = self.all.bare.value_at_quantile(0.99);
        let needed = in_flight_for(PROMISED_PER_S, sync_ns);
        println!(
            "{name}: {} in flight; {PROMISED_PER_S} orders/s need {needed} where a sync takes {} µs, its p99",
            options.in_flight,
            micros(sync_ns)
        );
        add(outcome, is_first, &name, "synced_in_flight_needed", Thousandths::whole(needed));
        let (plot, late) = (format!("synced, {name}"), format!("generator beside synced, {name}"));
        outcome.add_series(&plot, format!("echo {name}"), self.all.echo.corrected);
        outcome.add_series(&plot, format!("gateway synced {name}"), self.all.gateway.corrected);
        outcome.add_series(&plot, format!("bare sync {name}"), self.all.bare);
        outcome.add_series(&late, format!("synced {name} sent late"), self.all.gateway.lateness);
        outcome.add_series(&late, format!("generator away beside synced {name}"), self.all.gateway.gaps);
        Ok(())
    }
}

/// What the gateway's class costs over an echo, in syncs.
fn excess(times: &Times, quantile: f64) -> Thousandths {
    let at = |times: &RoundTrips| times.value_at_quantile(quantile);
    let over_echo = at(&times.gateway.corrected).saturating_sub(at(&times.echo.corrected));
    Thousandths::ratio(over_echo, at(&times.bare))
}

/// The value of one way to wait; that of the first is the promised one.
fn add(outcome: &mut Outcome, is_first: bool, name: &str, id: &str, value: Thousandths) {
    if is_first {
        outcome.add_value(id, value);
    }
    outcome.add_value(format!("{id}_{}", name.replace('-', "_")), value);
}

fn name(idle: Idle) -> String {
    idle.to_possible_value().map_or(String::new(), |value| value.get_name().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_excess_is_what_the_gateway_takes_over_the_echo_in_bare_syncs() {
        let mut times = Times::new();
        for _ in 0..100 {
            times.gateway.corrected.record(130_000).unwrap();
            times.echo.corrected.record(10_000).unwrap();
            times.bare.record(100_000).unwrap();
        }
        let ratio = excess(&times, 0.5);
        assert!((Thousandths(1_195)..=Thousandths(1_205)).contains(&ratio), "{ratio}");
    }

    #[test]
    fn only_the_first_way_to_wait_is_judged() {
        let mut outcome = Outcome::default();
        add(&mut outcome, true, "yield-always", "synced_p50_excess", Thousandths(1_100));
        add(&mut outcome, false, "spin", "synced_p50_excess", Thousandths(40_000));
        assert_eq!(outcome.value("synced_p50_excess"), Some(Thousandths(1_100)));
        assert_eq!(outcome.value("synced_p50_excess_yield_always"), Some(Thousandths(1_100)));
        assert_eq!(outcome.value("synced_p50_excess_spin"), Some(Thousandths(40_000)));
    }
}
