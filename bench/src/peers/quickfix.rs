//! Order to reply: the gateway's own acceptance, against a QuickFIX acceptor that answers each order with a report.
//!
//! All have the servers' CPU, 200 ms each in turn while the others are held; one generator times all of them.

use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::fix::FixClient;
use super::programs::{Programs, free_port};
use super::{Options, conclude, path_text};
use crate::Failure;
use crate::echo::EchoClient;
use crate::host::{self, Broker, Gateway, Place, Process, Setup};
use crate::orders::{Active, wait_until_trading};
use crate::outcome::Outcome;
use crate::pace::{Idle, Sample, Target, shortfall};
use crate::thousandths::Thousandths;
use crate::timing::{micros, print_run};
use crate::turns::{SLICE_MS, slice};

/// Slices after a start that count for nobody.
const WARM_UP_SLICES: u64 = 3;

/// The acceptor's store, how its thread waits for what comes, and the ratio of it.
const KINDS: [(&str, &str, &str); 4] = [
    ("memory", "block", "quickfix_memory_ratio"),
    ("file", "block", "quickfix_file_ratio"),
    ("memory", "poll", "quickfix_memory_poll_ratio"),
    ("file", "poll", "quickfix_file_poll_ratio"),
];

/// One that is measured.
struct Contender {
    process: Host,
    client: Box<dyn Target + Send>,
    sample: Sample,
}

enum Host {
    Ours(Gateway),
    Echo(Process),
    Theirs { process: Process, _dir: TempDir },
}

impl Host {
    const fn process(&self) -> &Process {
        match self {
            Self::Ours(gateway) => &gateway.process,
            Self::Echo(process) | Self::Theirs { process, .. } => process,
        }
    }
}

/// Measures all of them, round by round.
pub(super) fn measure(options: &Options, outcome: &mut Outcome) -> Result<(), Failure> {
    let programs = options.programs();
    programs.path("quickfix")?;
    println!("order to reply: {} orders/s, open loop; the gateway journals, spins and checks", options.rate);
    let mut ratios = KINDS.map(|_| Vec::new());
    let mut totals: Vec<(String, Sample)> = Vec::new();
    for _ in 0..options.rounds {
        let (mut contenders, names) = start(options, &programs, outcome)?;
        host::pinned(|| round(&mut contenders, options).map_err(|error| error.to_string()))?;
        let p50 = |contender: &Contender| contender.sample.corrected.value_at_quantile(0.5);
        let ours = contenders.first().map_or(0, p50);
        for (ratios, theirs) in ratios.iter_mut().zip(contenders.iter().skip(1)) {
            ratios.push(Thousandths::ratio(p50(theirs), ours));
        }
        check_echo(contenders.last().map_or(0, p50), options.echo_max_us)?;
        for (index, (name, contender)) in names.into_iter().zip(contenders).enumerate() {
            print_run(&name, &contender.sample.corrected);
            match totals.get_mut(index) {
                Some((_, total)) => total.add(&contender.sample)?,
                None => totals.push((name, contender.sample)),
            }
        }
    }
    let samples: Vec<&Sample> = totals.iter().map(|(_, total)| total).collect();
    judge(options.rate, ratios, &samples, outcome);
    for (name, total) in totals {
        outcome.add_series("order to reply", name, total.corrected);
    }
    Ok(())
}

/// The ratios, but those of a rate that either side has not reached; the gateway's sample is the first.
fn judge(rate: u64, ratios: [Vec<Thousandths>; KINDS.len()], samples: &[&Sample], outcome: &mut Outcome) {
    let Some((ours, theirs)) = samples.split_first() else { return };
    for (((_, _, id), ratios), theirs) in KINDS.into_iter().zip(ratios).zip(theirs) {
        match shortfall(rate, &[("the gateway", ours), ("QuickFIX", theirs)]) {
            Some(why) => outcome.miss(id, why),
            None => conclude(outcome, id, ratios),
        }
    }
}

/// Starts all, and holds all: the gateway is the first, an echo the last.
fn start(
    options: &Options,
    programs: &Programs<'_>,
    outcome: &mut Outcome,
) -> Result<(Vec<Contender>, Vec<String>), Failure> {
    let setup = Setup { sessions: 1, broker: Broker::Instant, bounds: None, is_in_memory: false };
    let gateway = Gateway::start_in(options.directory()?, setup, "journaled")?;
    let mut active = Active::log_on(&gateway.address, 1)?;
    wait_until_trading(&mut active)?;
    gateway.process.hold()?;
    let ours = Contender { process: Host::Ours(gateway), client: Box::new(active), sample: Sample::new() };
    let (mut contenders, mut names) = (vec![ours], vec!["gateway".to_owned()]);
    for (store, wait, _) in KINDS {
        let dir = options.directory()?;
        let port = free_port()?;
        let mut command = Command::new(programs.path("quickfix")?);
        command.args([&port.to_string(), store, path_text(dir.path())?, wait]);
        let mut process = Process::start(command.stdin(Stdio::null()).stdout(Stdio::piped()), Place::Server)?;
        let version = process.first_line()?;
        if version.is_empty() {
            return Err("QuickFIX did not start".into());
        }
        outcome.configure_once("quickfix", version);
        let client = Box::new(FixClient::log_on(&format!("127.0.0.1:{port}"))?);
        process.hold()?;
        contenders.push(Contender { process: Host::Theirs { process, _dir: dir }, client, sample: Sample::new() });
        names.push(format!("QuickFIX {store} store, {wait}"));
    }
    let (process, address) = host::start_echo()?;
    let client = Box::new(EchoClient::connect(&address)?);
    process.hold()?;
    contenders.push(Contender { process: Host::Echo(process), client, sample: Sample::new() });
    names.push("echo".to_owned());
    Ok((contenders, names))
}

/// Beside other programs those that spin wait for the CPU, and those that sleep are favoured: nothing is compared then.
fn check_echo(p50_ns: u64, max_us: u64) -> Result<(), Failure> {
    if p50_ns / 1000 > max_us {
        return Err(format!("the echo takes {} µs: others use these CPUs; measure again", micros(p50_ns)).into());
    }
    Ok(())
}

fn round(contenders: &mut [Contender], options: &Options) -> Result<(), Failure> {
    let requests = options.rate.saturating_mul(SLICE_MS).checked_div(1000).unwrap_or(0).max(1);
    let slices = options.length_ms.checked_div(SLICE_MS).unwrap_or(0).max(1);
    for nth in 0..slices.saturating_add(WARM_UP_SLICES) {
        for contender in contenders.iter_mut() {
            contender.process.process().go_on()?;
            let sample = slice(contender.client.as_mut(), options.rate, requests, Idle::Spin)?;
            contender.process.process().hold()?;
            if nth >= WARM_UP_SLICES {
                contender.sample.add(&sample)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn who_has_not_reached_the_rate_has_no_ratio_and_the_others_have_theirs() {
        let sample = |answers| {
            let mut sample = Sample { elapsed: Duration::from_secs(1), ..Sample::new() };
            sample.corrected.record_n(1000, answers).unwrap();
            sample
        };
        let judged = |answers: [u64; 5]| {
            let mut outcome = Outcome::default();
            let samples = answers.map(sample);
            judge(1000, KINDS.map(|_| vec![Thousandths(9_000)]), &samples.each_ref(), &mut outcome);
            KINDS.map(|(_, _, id)| (outcome.value(id).is_some(), outcome.missing.iter().any(|(other, _)| *other == id)))
        };
        assert_eq!(judged([1000; 5]), [(true, false); 4]);
        assert_eq!(judged([1000, 1000, 900, 1000, 1000]), [(true, false), (false, true), (true, false), (true, false)]);
        assert_eq!(judged([900, 1000, 1000, 1000, 1000]), [(false, true); 4], "the gateway itself");
    }
}
