//! Commands a second, pipelined over one connection: the gateway's orders, each answered by its acceptance, against
//! Redis, each `SET` answered by `OK`. With nothing synced, and with every answer behind a sync of the same disk.

use std::process::{Command, Stdio};
use std::time::Duration;

use super::in_flight::{Load, Refill, drive};
use super::programs::free_port;
use super::resp::{Request, RespClient};
use super::{Options, conclude, path_text};
use crate::echo::REQUEST_BYTES;
use crate::host::{self, Broker, Gateway, Place, Process, Setup};
use crate::orders::{Active, wait_until_trading};
use crate::outcome::Outcome;
use crate::pipeline::Pipeline;
use crate::thousandths::Thousandths;
use crate::timing::median;
use crate::{Failure, cpus};

/// Open orders and ids that the gateway has room for.
const ORDERS_MAX: u32 = 131_072;
const IDS_MAX: u32 = 2_097_152;
/// What does not count.
const WARM_UP: Duration = Duration::from_millis(300);
/// Bytes of an entry of the stream, as of a durable batch.
const ENTRY_BYTES: usize = 256;

/// Rates of each round, by way of refilling.
#[derive(Default)]
struct Rates {
    at_once: Vec<u64>,
    when_empty: Vec<u64>,
}

impl Rates {
    /// The rate of each round in the way that was the better one over all rounds.
    fn best(&self) -> (&'static str, &[u64]) {
        if median(self.at_once.clone()) >= median(self.when_empty.clone()) {
            ("refilled at once", &self.at_once)
        } else {
            ("refilled when all were answered", &self.when_empty)
        }
    }
}

/// Measures all of them, round by round.
pub(super) fn measure(options: &Options, outcome: &mut Outcome) -> Result<(), Failure> {
    outcome.configure("redis", version(options)?);
    outcome.configure("in_flight", options.in_flight);
    println!(
        "{} commands in flight on one connection; SET of {REQUEST_BYTES} bytes, as an order has",
        options.in_flight
    );
    let mut appended = Rates::default();
    let mut classes = [false, true].map(|is_synced| (is_synced, Rates::default(), Rates::default()));
    for round in 1..=options.rounds {
        for (is_synced, ours, theirs) in &mut classes {
            // Who comes first changes with each round.
            if round.is_multiple_of(2) {
                redis_round(options, *is_synced, Request::Set, theirs)?;
                gateway_round(options, *is_synced, ours)?;
            } else {
                gateway_round(options, *is_synced, ours)?;
                redis_round(options, *is_synced, Request::Set, theirs)?;
            }
            print_round(round, *is_synced, "gateway", ours);
            print_round(round, *is_synced, "Redis SET", theirs);
        }
        redis_round(options, true, Request::Append, &mut appended)?;
        print_round(round, true, "Redis XADD", &appended);
    }
    for (is_synced, ours, theirs) in classes {
        let ((our_way, ours), (their_way, theirs)) = (ours.best(), theirs.best());
        let infix = if is_synced { "_sync" } else { "" };
        println!("{}: gateway {our_way}, Redis {their_way}", name(is_synced));
        for (who, rates) in [("gateway", ours), ("redis", theirs)] {
            let rates = rates.iter().map(|rate| Thousandths::whole(*rate)).collect();
            conclude(outcome, &format!("{who}{infix}_per_s_in_flight"), rates);
        }
        let ratios = ours.iter().zip(theirs).map(|(ours, theirs)| Thousandths::ratio(*ours, *theirs)).collect();
        conclude(outcome, &format!("redis{infix}_ratio"), ratios);
    }
    let appended = appended.best().1.iter().map(|rate| Thousandths::whole(*rate)).collect();
    conclude(outcome, "redis_aof_appends_per_s", appended);
    Ok(())
}

const fn name(is_synced: bool) -> &'static str {
    if is_synced { "synced" } else { "not synced" }
}

fn print_round(round: usize, is_synced: bool, who: &str, rates: &Rates) {
    let last = |rates: &[u64]| Thousandths::whole(rates.last().copied().unwrap_or(0));
    let (at_once, when_empty) = (last(&rates.at_once), last(&rates.when_empty));
    println!("  round {round}, {:<10} {who:<10} {at_once:>9}/s at once, {when_empty:>9}/s when empty", name(is_synced));
}

fn both_ways(options: &Options, load: &mut (dyn Load + Send), rates: &mut Rates) -> Result<(), Failure> {
    let length = Duration::from_millis(options.length_ms);
    let ways = [(Refill::AtOnce, &mut rates.at_once), (Refill::WhenEmpty, &mut rates.when_empty)];
    host::pinned(|| {
        let all = || -> Result<(), Failure> {
            for (refill, rates) in ways {
                drive(load, options.in_flight, refill, WARM_UP)?;
                rates.push(drive(load, options.in_flight, refill, length)?);
            }
            Ok(())
        };
        all().map_err(|error| error.to_string())
    })
}

fn gateway_round(options: &Options, is_synced: bool, rates: &mut Rates) -> Result<(), Failure> {
    let bounds = Some((ORDERS_MAX, IDS_MAX));
    let setup = Setup { sessions: 1, broker: Broker::Instant, bounds, is_in_memory: !is_synced };
    let gateway =
        if is_synced { Gateway::start_in(options.directory()?, setup, "synced")? } else { Gateway::start(setup)? };
    wait_until_trading(&mut Active::log_on(&gateway.address, 1)?)?;
    let mut pipeline = Pipeline::log_on(&gateway.address, 1)?;
    both_ways(options, &mut pipeline, rates)?;
    let counts = pipeline.counts();
    if counts.refused > 0 {
        println!("  {} orders were refused, reason {}", counts.refused, counts.last_reason);
    }
    Ok(())
}

fn redis_round(options: &Options, is_synced: bool, request: Request, rates: &mut Rates) -> Result<(), Failure> {
    let (dir, port) = (options.directory()?, free_port()?);
    let mut command = Command::new(options.programs().path("redis-server")?);
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir", path_text(dir.path())?]);
    command.args(["--save", "", "--loglevel", "warning", "--appendonly", if is_synced { "yes" } else { "no" }]);
    // Without rewrites of its log, which would cost it a fork now and then.
    command.args(["--appendfsync", "always", "--auto-aof-rewrite-percentage", "0"]);
    if let (Some(server), Some(side)) = (cpus::server(), cpus::generator()) {
        command.args(["--server_cpulist", &server.to_string(), "--bio_cpulist", &side.to_string()]);
    }
    let _process = Process::start(command.stdin(Stdio::null()).stdout(Stdio::null()), Place::Server)?;
    let value_bytes = if request == Request::Set { REQUEST_BYTES } else { ENTRY_BYTES };
    let mut client = RespClient::connect(&format!("127.0.0.1:{port}"), request, value_bytes)?;
    both_ways(options, &mut client, rates)
}

fn version(options: &Options) -> Result<String, Failure> {
    let output = Command::new(options.programs().path("redis-server")?).arg("--version").output()?;
    let text = String::from_utf8(output.stdout)?;
    let version = text.split(' ').find_map(|word| word.strip_prefix("v="));
    Ok(version.ok_or("Redis tells no version")?.to_owned())
}
