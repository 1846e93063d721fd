//! Commands a second at saturation, on one connection and on many, with every acceptance read back; against an echo.

use std::time::{Duration, Instant};

use crate::Failure;
use crate::echo_flow::requests_per_s;
use crate::hiccup::Meter;
use crate::host::{self, Broker, Gateway, Setup};
use crate::orders::{Active, wait_until_trading};
use crate::outcome::Outcome;
use crate::pace::Idle;
use crate::pipeline::{Counts, Pipeline};
use crate::thousandths::Thousandths;
use crate::timing::median;

/// Open orders and ids that the gateway has room for.
pub(crate) const BOUNDS: (u32, u32) = (131_072, 2_097_152);
/// Orders of all sessions that are open at once, at most.
const OPEN_MAX: u64 = 50_000;
/// Of the thread that sends, beyond that of all else that is measured.
const GENERATOR_NICENESS: i32 = 10;
/// What does not count: segments, tables and sockets grow to what they need.
const WARM_UP: Duration = Duration::from_millis(500);

/// How it is measured.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Connections, one number after the other.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 100, 1000], value_parser = crate::at_least_one::<u32>)]
    pub(crate) connections: Vec<u32>,
    /// Commands of all connections that wait for their acceptance.
    #[arg(long, default_value_t = 4096, value_parser = crate::at_least_one::<u64>)]
    pub(crate) in_flight: u64,
    /// Length of each run, s.
    #[arg(long, default_value_t = 6, value_parser = crate::at_least_one::<u64>)]
    pub(crate) seconds: u64,
    /// Rounds; each starts a gateway anew for each number of connections.
    #[arg(long, default_value_t = 5, value_parser = crate::at_least_one::<usize>)]
    pub(crate) rounds: usize,
    /// The gateway's broker.
    #[arg(long, value_enum, default_value_t = Broker::Instant)]
    pub(crate) broker: Broker,
}

impl Default for Options {
    fn default() -> Self {
        Self { connections: vec![1, 100], in_flight: 4096, seconds: 6, rounds: 5, broker: Broker::Instant }
    }
}

/// Measures them, round by round.
pub(crate) fn measure(options: &Options) -> Result<Outcome, Failure> {
    println!("half IOC that do not fill, half new and cancel; {} in flight; journal in memory", options.in_flight);
    let mut rates: Vec<Vec<u64>> = options.connections.iter().map(|_| Vec::new()).collect();
    let mut echoes: Vec<Vec<u64>> = rates.clone();
    let most = options.connections.iter().copied().max().unwrap_or(0);
    let files = u64::from(most).saturating_mul(2).saturating_add(256);
    tradecore::descriptors::allow(files)
        .map_err(|allowed| format!("{files} open files are needed, {allowed} allowed"))?;
    let meter = Meter::start()?;
    for round in 1..=options.rounds {
        for ((connections, rates), echoes) in options.connections.iter().zip(&mut rates).zip(&mut echoes) {
            // Who comes first takes turns too.
            for is_echo in [round.is_multiple_of(2), !round.is_multiple_of(2)] {
                if is_echo {
                    echoes.push(echo(options, *connections, round)?);
                } else {
                    rates.push(run(options, *connections, round)?);
                }
            }
        }
    }
    let mut outcome = Outcome { hiccups: meter.stop()?, ..Outcome::default() };
    outcome.configure("connections", format!("{:?}", options.connections));
    outcome.configure("in_flight", options.in_flight);
    outcome.configure("seconds", options.seconds);
    outcome.configure("rounds", options.rounds);
    outcome.configure("broker", format!("{:?}", options.broker));
    let one =
        options.connections.iter().zip(&rates).find(|(connections, _)| **connections == 1).map(|(_, rates)| rates);
    for ((connections, rates), echoes) in options.connections.iter().zip(&rates).zip(&echoes) {
        let suffix = if *connections == 1 { String::new() } else { format!("_{connections}") };
        let id = format!("orders_per_s{suffix}");
        outcome.add_value(id.clone(), Thousandths::whole(median(rates.clone())));
        outcome.add_value(format!("echo_requests_per_s{suffix}"), Thousandths::whole(median(echoes.clone())));
        if let Some(ratio) = median_ratio(rates, echoes) {
            println!("{connections} connections: {ratio} × the echo's requests a second");
            outcome.add_value(format!("{id}_echo_ratio"), ratio);
        }
        if let (true, Some(ratio)) = (*connections != 1, one.and_then(|one| median_ratio(rates, one))) {
            outcome.add_value(format!("orders_per_s_{connections}_ratio"), ratio);
        }
    }
    Ok(outcome)
}

/// The median over rounds of what each of them has over what the same round has of another; none over nothing.
fn median_ratio(values: &[u64], bases: &[u64]) -> Option<Thousandths> {
    Thousandths::median(values.iter().zip(bases).map(|(value, base)| Thousandths::ratio(*value, *base)).collect())
        .filter(|ratio| !ratio.is_endless())
}

/// Requests a second of an echo with as many connections and as much on its way.
fn echo(options: &Options, connections: u32, round: usize) -> Result<u64, Failure> {
    // Half as long: it holds no tables that fill.
    let length = Duration::from_secs(options.seconds).checked_div(2).unwrap_or_default();
    let rate = requests_per_s(connections, options.in_flight, WARM_UP, length)?;
    println!("  round {round}, {connections:>4} connections: echo {} requests/s", Thousandths::whole(rate));
    Ok(rate)
}

/// Commands a second whose acceptance was read.
fn run(options: &Options, connections: u32, round: usize) -> Result<u64, Failure> {
    let setup = Setup { sessions: connections, broker: options.broker, bounds: Some(BOUNDS), is_in_memory: true };
    let gateway = Gateway::start(setup)?;
    wait_until_trading(&mut Active::log_on(&gateway.address, 1)?)?;
    let mut pipelines =
        (1..=connections).map(|id| Pipeline::log_on(&gateway.address, id)).collect::<Result<Vec<_>, _>>()?;
    let (counts, elapsed) = host::pinned(|| {
        // The gateway's side threads and the broker go first on the CPU that they share with the generator: it has all that
        // they leave, and would only be refused what it takes from them.
        let theirs = rustix::process::getpriority_process(None).unwrap_or(0);
        let _ = rustix::process::setpriority_process(None, theirs.saturating_add(GENERATOR_NICENESS));
        let mut both = || -> Result<(Counts, Duration), Failure> {
            drive(&mut pipelines, options.in_flight, WARM_UP, Idle::Yield)?;
            drive(&mut pipelines, options.in_flight, Duration::from_secs(options.seconds), Idle::Yield)
        };
        both().map_err(|error| error.to_string())
    })?;
    let nanos = elapsed.as_nanos().max(1);
    let per_second = |count: u64| u128::from(count).saturating_mul(1_000_000_000).checked_div(nanos).unwrap_or(0);
    let rate = u64::try_from(per_second(counts.accepted))?;
    println!(
        "  round {round}, {connections:>4} connections: {} commands/s, {} reports/s, {} refused (reason {}), {} open",
        Thousandths::whole(rate),
        per_second(counts.reports),
        counts.refused,
        counts.last_reason,
        counts.open
    );
    Ok(rate)
}

/// Keeps all busy for so long; what they did meanwhile.
pub(crate) fn drive(
    pipelines: &mut [Pipeline],
    in_flight: u64,
    length: Duration,
    idle: Idle,
) -> Result<(Counts, Duration), Failure> {
    let share = |all: u64| all.checked_div(pipelines.len() as u64).unwrap_or(0).max(1);
    let (in_flight, open) = (share(in_flight), share(OPEN_MAX));
    let before = total(pipelines);
    let started = Instant::now();
    loop {
        let mut has_moved = false;
        for pipeline in pipelines.iter_mut() {
            has_moved |= pipeline.turn(in_flight, open)?;
        }
        let elapsed = started.elapsed();
        if elapsed >= length {
            return Ok((since(total(pipelines), before), elapsed));
        }
        if !has_moved && idle != Idle::Spin {
            // What is waited for may be the broker or a sync, which share this CPU.
            rustix::thread::sched_yield();
        }
    }
}

fn total(pipelines: &[Pipeline]) -> Counts {
    let mut total = Counts::default();
    for counts in pipelines.iter().map(Pipeline::counts) {
        total.sent = total.sent.saturating_add(counts.sent);
        total.accepted = total.accepted.saturating_add(counts.accepted);
        total.refused = total.refused.saturating_add(counts.refused);
        total.open = total.open.saturating_add(counts.open);
        total.reports = total.reports.saturating_add(counts.reports);
        total.last_reason = total.last_reason.max(counts.last_reason);
    }
    total
}

fn since(now: Counts, before: Counts) -> Counts {
    Counts {
        sent: now.sent.saturating_sub(before.sent),
        accepted: now.accepted.saturating_sub(before.accepted),
        refused: now.refused.saturating_sub(before.refused),
        reports: now.reports.saturating_sub(before.reports),
        ..now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_before_a_run_is_none_of_it_but_what_is_open() {
        let counts =
            |count| Counts { sent: count, accepted: count, refused: count, open: 7, reports: count, last_reason: 3 };
        let run = since(counts(100), counts(40));
        assert_eq!((run.sent, run.accepted, run.refused, run.reports), (60, 60, 60, 60));
        assert_eq!((run.open, run.last_reason), (7, 3));
    }

    #[test]
    fn a_ratio_is_the_median_of_those_of_the_rounds() {
        assert_eq!(median_ratio(&[50, 90, 10], &[100, 100, 10]), Some(Thousandths(900)), "not 50 of 100");
        assert_eq!(median_ratio(&[], &[]), None);
        assert_eq!(median_ratio(&[5], &[0]), None, "an echo that answered nothing is no baseline");
    }
}
