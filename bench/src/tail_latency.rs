//! The far tail at half of saturation, against the echo in turn, and the stalls at roll-overs and syncs of the journal.
//!
//! Saturation is what one connection takes when every order is sent by itself, as algorithms send them: the highest rate
//! of a ladder that the echo and the gateway both answer in open loop without falling behind. A sync comes a hundred times
//! a second and each of its spans has an answer that is its longest, so what the machine does is in many of them: the echo's
//! time is cut into spans of the same length, and those of them that hold such an answer are counted beside.

use std::time::Duration;

use crate::Failure;
use crate::host::{self, Broker};
use crate::orders::{EPOCH_IDS, Load};
use crate::outcome::Outcome;
use crate::pace::{Idle, Sample, shortfall};
use crate::rollovers::{self, Stretch};
use crate::thousandths::Thousandths;
use crate::timing::{RoundTrips, median, micros, print_run};
use crate::turns::{SLICE_MS, Turns};

/// Where the ladder of rates begins and ends; each step is a quarter more.
const FIRST_RATE: u64 = 20_000;
const LAST_RATE: u64 = 500_000;
/// From one sync to the next in class `journaled`, until it is known how long that is here.
const SYNC_SPAN: Duration = Duration::from_millis(10);
/// How long each of the two has at a step, ms.
const STEP_MS: u64 = 600;
/// A roll-over or a sync that delays an order by more than so many times p99.9 is a stall.
const STALL: u64 = 2;

/// Orders that the market does not take.
const LOAD: Load = Load { instruments: 1, epoch_ids: EPOCH_IDS, is_taken: false };

/// How it is measured.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Orders a second; without it, half of the saturation that is measured first.
    #[arg(long, value_parser = crate::rate)]
    pub(crate) rate: Option<u64>,
    /// Length of a round, for each of the two, s.
    #[arg(long, default_value_t = 12, value_parser = crate::at_least_one::<u64>)]
    pub(crate) seconds: u64,
    /// Rounds; each starts both servers anew.
    #[arg(long, default_value_t = 5, value_parser = crate::at_least_one::<usize>)]
    pub(crate) rounds: usize,
    /// The gateway's broker.
    #[arg(long, value_enum, default_value_t = Broker::Instant)]
    pub(crate) broker: Broker,
    /// What the generator does while it awaits nothing.
    #[arg(long, value_enum, default_value_t = Idle::Spin)]
    pub(crate) idle: Idle,
}

impl Default for Options {
    fn default() -> Self {
        Self { rate: None, seconds: 12, rounds: 5, broker: Broker::Instant, idle: Idle::Spin }
    }
}

/// All rounds.
struct Measured {
    echo: Sample,
    gateway: Sample,
    /// Of each round, gateway / echo: p99.9, p99.99, p99.99 of service times.
    ratios: [Vec<Thousandths>; 3],
    /// The longest answer at each roll-over, ns.
    stalls: Vec<u64>,
    /// Of each round, the spans of gateway and echo, and how many of them hold a stall.
    syncs: Vec<[u64; 4]>,
}

/// Measures both in turn.
pub(crate) fn measure(options: &Options) -> Result<Outcome, Failure> {
    let mut measured = Measured {
        echo: Sample::new(),
        gateway: Sample::new(),
        ratios: Default::default(),
        stalls: Vec::new(),
        syncs: Vec::new(),
    };
    let rate = match options.rate {
        Some(rate) => rate,
        None => saturation(options)? / 2,
    };
    println!("order to acceptance at {rate}/s, open loop; {SLICE_MS} ms in turn, one held");
    for number in 1..=options.rounds {
        let mut turns = Turns::start(options.broker, options.idle, LOAD)?;
        host::pinned(|| measured.round(&mut turns, number, rate, options.seconds).map_err(|error| error.to_string()))?;
    }
    outcome(options, rate, measured)
}

/// The highest rate that both keep up with.
fn saturation(options: &Options) -> Result<u64, Failure> {
    let mut turns = Turns::start(options.broker, options.idle, LOAD)?;
    let mut climb = || -> Result<u64, Failure> {
        turns.warm_up(FIRST_RATE)?;
        let (mut reached, mut rate) = (0, FIRST_RATE);
        while rate <= LAST_RATE {
            let (echo, gateway) = turns.run(rate, STEP_MS)?;
            println!("  ladder: {rate}/s: echo {}/s, gateway {}/s", echo.rate(), gateway.rate());
            if !(echo.has_reached(rate) && gateway.has_reached(rate)) {
                break;
            }
            reached = rate;
            rate = rate.saturating_add(rate / 4);
        }
        Ok(reached)
    };
    match host::pinned(|| climb().map_err(|error| error.to_string()))? {
        0 => Err(format!("{FIRST_RATE} orders/s are not reached: others use these CPUs").into()),
        reached => Ok(reached),
    }
}

impl Measured {
    fn round(&mut self, turns: &mut Turns, number: usize, rate: u64, seconds: u64) -> Result<(), Failure> {
        turns.watch_syncs(SYNC_SPAN)?;
        let warm = turns.warm_up(rate)?.1;
        // As long as those of the gateway are here: a disk that is slow to sync makes them longer.
        let syncs = u32::try_from(warm.spans.count())?;
        turns.watch_syncs(warm.elapsed.checked_div(syncs).unwrap_or(SYNC_SPAN))?;
        let mut stretches = Vec::new();
        let (echo, gateway) = turns.run_each(rate, seconds.saturating_mul(1000), &mut |sample| {
            stretches.push(Stretch::ending_now(sample.elapsed, &sample.longest));
        })?;
        print_run(&format!("echo, round {number}"), &echo.corrected);
        print_run(&format!("gateway, round {number}"), &gateway.corrected);
        let ratio = |times: fn(&Sample) -> &RoundTrips, quantile| {
            Thousandths::ratio(times(&gateway).value_at_quantile(quantile), times(&echo).value_at_quantile(quantile))
        };
        let of_round = [
            ratio(|sample| &sample.corrected, 0.999),
            ratio(|sample| &sample.corrected, 0.9999),
            ratio(|sample| &sample.service, 0.9999),
        ];
        self.ratios.iter_mut().zip(of_round).for_each(|(ratios, ratio)| ratios.push(ratio));
        self.stalls.extend(rollovers::stalls(&rollovers::times(&turns.journal_dir())?, &stretches));
        let stall_ns = gateway.corrected.value_at_quantile(0.999).saturating_mul(STALL);
        let (own, theirs) = (&gateway.spans, &echo.spans);
        self.syncs.push([own.count(), own.count_above(stall_ns), theirs.count(), theirs.count_above(stall_ns)]);
        self.echo.add(&echo)?;
        self.gateway.add(&gateway)
    }
}

fn outcome(options: &Options, rate: u64, measured: Measured) -> Result<Outcome, Failure> {
    let Measured { echo, gateway, ratios, stalls, syncs } = measured;
    let mut outcome = Outcome::default();
    outcome.configure("rate", rate);
    outcome.configure("seconds", options.seconds);
    outcome.configure("rounds", options.rounds);
    outcome.configure("broker", format!("{:?}", options.broker));
    outcome.configure("idle", format!("{:?}", options.idle));
    if let Some(why) = shortfall(rate, &[("echo", &echo), ("gateway", &gateway)]) {
        return Err(why.into());
    }
    outcome.add_value("tail_rate", Thousandths::whole(rate));
    for (id, ratios) in ["tail_p999_ratio", "tail_ratio", "tail_service_ratio"].into_iter().zip(ratios) {
        let ratio = Thousandths::median(ratios).unwrap_or(Thousandths(u64::MAX));
        println!("{id}: {ratio}");
        outcome.add_value(id, ratio);
    }
    tell_roll_overs(&mut outcome, stalls, &gateway);
    tell_syncs(&mut outcome, &syncs);
    // Beside the gateway the generator shares its CPU with the side threads: only beside the echo is a gap the machine's.
    outcome.hiccups.add(&echo.gaps)?;
    for (name, sample) in [("echo", echo), ("gateway", gateway)] {
        outcome.add_series("generator", format!("{name} sent late"), sample.lateness);
        outcome.add_series("half of saturation", format!("{name} corrected"), sample.corrected);
        outcome.add_series("half of saturation", format!("{name} service"), sample.service);
    }
    Ok(outcome)
}

/// What roll-overs delayed, by the longest answer at each of them, ns.
fn tell_roll_overs(outcome: &mut Outcome, mut stalls: Vec<u64>, gateway: &Sample) {
    outcome.add_value("tail_roll_overs", Thousandths::whole(stalls.len() as u64));
    stalls.sort_unstable();
    let Some(longest) = stalls.last().copied() else {
        let why = "no roll-over fell into the rounds; --seconds makes them longer";
        println!("tail_roll_over_stalls: {why}");
        return outcome.miss("tail_roll_over_stalls", why.to_owned());
    };
    let p999 = gateway.corrected.value_at_quantile(0.999);
    let over = stalls.iter().filter(|stall| **stall > p999.saturating_mul(STALL)).count();
    let middle = stalls.get(stalls.len() / 2).copied().unwrap_or(0);
    println!(
        "{} roll-overs; longest answer at one: median {} µs, {over} of them more than {STALL} × p99.9 ({} µs)",
        stalls.len(),
        micros(middle),
        micros(p999)
    );
    outcome.add_value("tail_roll_over_stalls", Thousandths::whole(over as u64));
    outcome.add_value("tail_roll_over_median_ratio", Thousandths::ratio(middle, p999));
    outcome.add_value("tail_roll_over_max_ratio", Thousandths::ratio(longest, p999));
}

/// What syncs delayed, beside the echo's spans of the same length.
fn tell_syncs(outcome: &mut Outcome, syncs: &[[u64; 4]]) {
    let over_rounds = |index: usize| median(syncs.iter().filter_map(|round| round.get(index).copied()).collect());
    let [of_gateway, stalled, of_echo, echo_stalled] = std::array::from_fn(over_rounds);
    println!(
        "{of_gateway} syncs a round, {stalled} of them with an answer of more than {STALL} × p99.9; of {of_echo} spans of the \
         echo, as long, {echo_stalled}"
    );
    outcome.add_value("tail_syncs", Thousandths::whole(of_gateway));
    outcome.add_value("tail_sync_stalls", Thousandths::whole(stalled));
    outcome.add_value("tail_echo_spans", Thousandths::whole(of_echo));
    outcome.add_value("tail_echo_span_stalls", Thousandths::whole(echo_stalled));
    if let Some(excess) = Thousandths::median(syncs.iter().filter_map(excess).collect()) {
        let word = if excess == Thousandths(0) { "met" } else { "not met" };
        println!("tail_sync_stall_excess: {excess} of 1,000 syncs beyond the echo's spans, median of rounds: {word}");
        outcome.add_value("tail_sync_stall_excess", excess);
    }
}

/// How many more of a thousand syncs hold a stall than of a thousand of the echo's spans; `None` where there were none.
fn excess([syncs, stalled, spans, echo_stalled]: &[u64; 4]) -> Option<Thousandths> {
    let of_1000 = |part: &u64, whole: &u64| (*whole > 0).then(|| Thousandths::ratio(part.saturating_mul(1000), *whole));
    let (own, theirs) = (of_1000(stalled, syncs)?, of_1000(echo_stalled, spans)?);
    Some(Thousandths(own.0.saturating_sub(theirs.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(stalls: Vec<u64>, syncs: Vec<[u64; 4]>) -> Outcome {
        let mut sample = Sample { elapsed: Duration::from_secs(1), ..Sample::new() };
        sample.corrected.record_n(10_000, 1000).unwrap();
        let ratios = std::array::from_fn(|_| vec![Thousandths(1_000)]);
        let measured = Measured { echo: sample.clone(), gateway: sample, ratios, stalls, syncs };
        outcome(&Options::default(), 1000, measured).unwrap()
    }

    #[test]
    fn stalls_at_roll_overs_are_a_figure_only_where_there_was_a_roll_over() {
        let none = of(Vec::new(), Vec::new());
        assert_eq!(none.value("tail_roll_over_stalls"), None);
        assert!(
            none.complete().unwrap_err().to_string().starts_with("tail_roll_over_stalls: not measured: no roll-over")
        );
        let some = of(vec![10_000, 30_000], Vec::new());
        assert_eq!(some.value("tail_roll_over_stalls"), Some(Thousandths::whole(1)));
        assert!(some.complete().is_ok());
    }

    #[test]
    fn syncs_are_judged_by_the_share_of_the_echos_spans_that_stall_in_the_middle_round() {
        let excess = |syncs| of(vec![1], syncs).value("tail_sync_stall_excess");
        assert_eq!(excess(vec![[1000, 5, 1000, 5]]), Some(Thousandths(0)));
        assert_eq!(excess(vec![[1000, 5, 500, 4]]), Some(Thousandths(0)), "the echo's share is larger");
        assert_eq!(excess(vec![[500, 5, 1000, 4]]), Some(Thousandths::whole(6)));
        assert_eq!(
            excess(vec![[1000, 9, 1000, 0], [1000, 2, 1000, 0], [1000, 0, 1000, 9]]),
            Some(Thousandths::whole(2))
        );
        assert_eq!(excess(vec![[0, 0, 1000, 0], [1000, 0, 0, 0]]), None, "no sync, or nothing to judge it by");
    }
}
