//! What the loop asks for once it is warm, and should not: allocations, page faults, and system calls other than poll,
//! receive and send; each per million commands.

use std::time::{Duration, Instant};

use crate::Failure;
use crate::hiccup::Meter;
use crate::host::{self, Broker, Extent, Gateway, Setup};
use crate::orders::{Active, wait_until_trading};
use crate::outcome::Outcome;
use crate::pipeline::Pipeline;
use crate::recycling::Recycler;
use crate::syscalls::{Calls, Tracer};
use crate::thousandths::Thousandths;
use crate::vitals::Faults;

/// Open orders and ids that the gateway has room for.
const ORDERS_MAX: u32 = 65_536;
const IDS_MAX: u32 = 524_288;
/// Orders that are open at once, at most.
const OPEN_MAX: u64 = 20_000;
/// Commands from one recycling of the journal to the next: half a gigabyte.
const RECYCLE_COMMANDS: u64 = 1_000_000;
/// Without an answer for so long, there is none.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// How it is measured.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Commands that are not counted: tables, buffers and the first segments are filled with them.
    #[arg(long, default_value_t = 3_000_000, value_parser = crate::at_least_one::<u64>)]
    pub(crate) warm_up: u64,
    /// Commands over which allocations and page faults are counted.
    #[arg(long, default_value_t = 5_000_000, value_parser = crate::at_least_one::<u64>)]
    pub(crate) commands: u64,
    /// Commands over which system calls are counted.
    #[arg(long, default_value_t = 1_000_000, value_parser = crate::at_least_one::<u64>)]
    pub(crate) traced: u64,
    /// Commands that wait for their acceptance.
    #[arg(long, default_value_t = 1024, value_parser = crate::at_least_one::<u64>)]
    pub(crate) in_flight: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { warm_up: 3_000_000, commands: 5_000_000, traced: 1_000_000, in_flight: 1024 }
    }
}

/// What the loop has asked for.
struct Counted {
    commands: u64,
    allocator_calls: u64,
    faults: Faults,
    traced: u64,
    calls: Calls,
}

/// Counts.
pub(crate) fn measure(options: &Options) -> Result<Outcome, Failure> {
    println!("what the loop asks for after {} commands, journal in memory", options.warm_up);
    let meter = Meter::start()?;
    let setup = Setup { sessions: 1, broker: Broker::Instant, bounds: Some((ORDERS_MAX, IDS_MAX)), is_in_memory: true };
    let mut gateway = Gateway::start_at(setup, Extent { is_counted: true, ..Extent::default() })?;
    wait_until_trading(&mut Active::log_on(&gateway.address, 1)?)?;
    let mut pipeline = Pipeline::log_on(&gateway.address, 1)?;
    let counted = host::pinned(|| count(options, &mut gateway, &mut pipeline).map_err(|error| error.to_string()))?;
    let mut outcome = Outcome { hiccups: meter.stop()?, ..Outcome::default() };
    outcome.configure("warm_up", options.warm_up);
    outcome.configure("commands", options.commands);
    outcome.configure("traced", options.traced);
    outcome.configure("in_flight", options.in_flight);
    let Counted { commands, allocator_calls, faults, traced, calls } = counted;
    println!("  {commands} commands: {allocator_calls} calls of the allocator, {faults:?}");
    println!("  {traced} commands under strace: {} system calls, others: {:?}", calls.total(), calls.others());
    let others = calls.others().iter().fold(0_u64, |sum, (_, count)| sum.saturating_add(*count));
    outcome.add_value("loop_allocs", per_million(allocator_calls, commands));
    outcome.add_value("loop_faults", per_million(faults.minor.saturating_add(faults.major), commands));
    outcome.add_value("loop_other_syscalls", per_million(others, traced));
    for (name, count) in calls.others() {
        outcome.add_value(format!("loop_other_syscalls_{name}"), per_million(count, traced));
    }
    outcome.add_value("loop_syscalls", per_million(calls.total(), traced));
    Ok(outcome)
}

fn per_million(count: u64, commands: u64) -> Thousandths {
    Thousandths::ratio(count.saturating_mul(1_000_000), commands)
}

fn count(options: &Options, gateway: &mut Gateway, pipeline: &mut Pipeline) -> Result<Counted, Failure> {
    let (pid, dir) = (gateway.process.id(), gateway.journal_dir());
    let mut recycler = Recycler::register(&dir)?;
    send_and_recycle(pipeline, &mut recycler, options.in_flight, options.warm_up)?;
    let start = gateway.allocator_calls()?;
    if start == 0 {
        return Err("the start of the gateway allocated nothing: its thread is not the one that is watched".into());
    }
    let faults = Faults::of_main_thread(pid)?;
    let commands = send_and_recycle(pipeline, &mut recycler, options.in_flight, options.commands)?;
    let faults = Faults::of_main_thread(pid)?.since(faults);
    let allocator_calls = gateway.allocator_calls()?.saturating_sub(start);
    let tracer = Tracer::attach(pid)?;
    let traced = send(pipeline, options.in_flight, options.traced)?;
    let calls = tracer.detach()?;
    Ok(Counted { commands, allocator_calls, faults, traced, calls })
}

/// Sends so many, and removes in between what of the journal is durable: it lies in memory.
fn send_and_recycle(
    pipeline: &mut Pipeline,
    recycler: &mut Recycler<'_>,
    in_flight: u64,
    commands: u64,
) -> Result<u64, Failure> {
    let mut accepted: u64 = 0;
    while accepted < commands {
        let part = commands.saturating_sub(accepted).min(RECYCLE_COMMANDS);
        accepted = accepted.saturating_add(send(pipeline, in_flight, part)?);
        recycler.recycle()?;
    }
    Ok(accepted)
}

/// Keeps commands on their way until so many more are accepted; how many are.
fn send(pipeline: &mut Pipeline, in_flight: u64, commands: u64) -> Result<u64, Failure> {
    let before = pipeline.counts();
    let mut last_answer = Instant::now();
    let accepted = loop {
        if pipeline.turn(in_flight, OPEN_MAX)? {
            last_answer = Instant::now();
        } else {
            // What is waited for may be the broker, which shares this CPU.
            rustix::thread::sched_yield();
        }
        let accepted = pipeline.counts().accepted.saturating_sub(before.accepted);
        if accepted >= commands {
            break accepted;
        }
        if last_answer.elapsed() > ANSWER_DEADLINE {
            let reason = pipeline.counts().last_reason;
            return Err(format!("{accepted} of {commands} commands accepted, last refusal {reason}; no answer").into());
        }
    };
    let refused = pipeline.counts().refused.saturating_sub(before.refused);
    if refused > 0 {
        println!("  {refused} refused (reason {})", pipeline.counts().last_reason);
    }
    Ok(accepted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_five_million_is_a_fifth_per_million() {
        assert_eq!(per_million(1, 5_000_000), Thousandths(200));
        assert_eq!(per_million(0, 5_000_000), Thousandths(0));
        assert_eq!(per_million(3, 0), Thousandths(u64::MAX), "of no commands, nothing is known");
    }
}
