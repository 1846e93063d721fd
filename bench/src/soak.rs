//! A gateway at a rate for hours: percentiles by minute, and what it takes of the system.
//!
//! Between stretches of some seconds, and so beside no order that is timed, its journal is recycled and its process
//! looked at.

use crate::Failure;
use crate::growth::{self, Allowance};
use crate::hiccup::Meter;
use crate::host::{self, Broker, Gateway, Setup};
use crate::orders::{Active, EPOCH_IDS, Load, wait_until_trading};
use crate::outcome::Outcome;
use crate::pace::{Idle, Sample, pace};
use crate::recycling::Recycler;
use crate::thousandths::Thousandths;
use crate::timing::micros;
use crate::vitals::Vitals;

/// Orders that may be open, and ids.
const ORDERS_MAX: u32 = 16_384;
const IDS_MAX: u32 = 524_288;
/// From one look at the process to the next.
const STRETCH_SECONDS: u64 = 5;
const STRETCHES_A_MINUTE: u64 = 60 / STRETCH_SECONDS;
const MIB: u64 = 1 << 20;

/// Segments that are mapped vary by two: one that is drained, and one that is made.
const SEGMENTS_ALLOWED: u64 = 2;

/// What must not grow without end.
struct Bounded {
    name: &'static str,
    of: fn(&Vitals) -> u64,
    allowance: Allowance,
}

const BOUNDED: [Bounded; 2] = [
    // They come and go as segments do.
    Bounded { name: "descriptors", of: |vitals| vitals.descriptors, allowance: Allowance { amount: 4, parts: None } },
    Bounded {
        name: "anonymous_bytes",
        of: |vitals| vitals.anonymous_bytes,
        allowance: Allowance { amount: MIB, parts: Some(100) },
    },
];

/// How it is measured.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// How long, min.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) minutes: u64,
    /// Orders a second.
    #[arg(long, default_value_t = 5_000, value_parser = crate::rate)]
    pub(crate) rate: u64,
    /// The gateway's broker.
    #[arg(long, value_enum, default_value_t = Broker::Instant)]
    pub(crate) broker: Broker,
    /// What the generator does while it awaits nothing.
    #[arg(long, value_enum, default_value_t = Idle::Spin)]
    pub(crate) idle: Idle,
}

/// What was seen of the process.
struct Seen {
    minutes: Vec<Sample>,
    /// After each stretch.
    vitals: Vec<Vitals>,
    segments_removed: u64,
    /// Length of the longest segment.
    segment_bytes: u64,
}

/// Measures; true when nothing grows without end.
pub(crate) fn measure(options: &Options) -> Result<(Outcome, bool), Failure> {
    println!("{} min at {} orders/s, the journal recycled every {STRETCH_SECONDS} s", options.minutes, options.rate);
    let bounds = Some((ORDERS_MAX, IDS_MAX));
    let gateway = Gateway::start(Setup { sessions: 1, broker: options.broker, bounds, is_in_memory: false })?;
    let load = Load { epoch_ids: EPOCH_IDS, ..Load::default() };
    let mut active = Active::log_on_with(&gateway.address, 1, load)?;
    wait_until_trading(&mut active)?;
    let meter = Meter::start()?;
    let seen = host::pinned(|| soak(options, &gateway, &mut active).map_err(|error| error.to_string()))?;
    let mut outcome = Outcome { hiccups: meter.stop()?, ..Outcome::default() };
    outcome.configure("minutes", options.minutes);
    outcome.configure("rate", options.rate);
    outcome.configure("broker", format!("{:?}", options.broker));
    outcome.configure("idle", format!("{:?}", options.idle));
    outcome.add_value("soak_segments_removed", Thousandths::whole(seen.segments_removed));
    let is_bounded = judge(&seen.vitals, seen.segment_bytes, &mut outcome);
    for (index, sample) in seen.minutes.into_iter().enumerate() {
        let minute = index.saturating_add(1);
        outcome.add_value(format!("soak_answers_per_s_minute_{minute}"), Thousandths::whole(sample.rate()));
        outcome.add_series("soak", format!("minute {minute} corrected"), sample.corrected);
        // Gaps beside the gateway are also those of its side threads, which share the CPU: a series, and no hiccups.
        outcome.add_series("generator", format!("minute {minute} generator away"), sample.gaps);
    }
    Ok((outcome, is_bounded))
}

fn soak(options: &Options, gateway: &Gateway, active: &mut Active) -> Result<Seen, Failure> {
    let (pid, dir) = (gateway.process.id(), gateway.journal_dir());
    let mut recycler = Recycler::register(&dir)?;
    let mut seen = Seen { minutes: Vec::new(), vitals: Vec::new(), segments_removed: 0, segment_bytes: 0 };
    let requests = options.rate.saturating_mul(STRETCH_SECONDS).max(1);
    println!(
        "  minute       p50       p99     p99.9    p99.99       max µs  anonymous  segments MiB  descriptors  faults minor/major"
    );
    let mut before = Vitals::of(pid)?;
    for minute in 1..=options.minutes {
        let mut sample = Sample::new();
        for _ in 0..STRETCHES_A_MINUTE {
            sample.add(&pace(active, options.rate, requests, options.idle)?)?;
            recycler.recycle()?;
            seen.segment_bytes = seen.segment_bytes.max(recycler.segment_bytes());
            seen.vitals.push(Vitals::of(pid)?);
        }
        let now = Vitals::of(pid)?;
        print_minute(minute, &sample, &now, &before);
        before = now;
        if !sample.has_reached(options.rate) {
            println!("  {} answers/s only: the rate was not reached, and its latency is void", sample.rate());
        }
        seen.minutes.push(sample);
    }
    seen.segments_removed = recycler.removed();
    Ok(seen)
}

fn print_minute(minute: u64, sample: &Sample, now: &Vitals, before: &Vitals) {
    let at = |quantile| micros(sample.corrected.value_at_quantile(quantile));
    let faults = now.faults.since(before.faults);
    println!(
        "  {minute:>6} {:>9} {:>9} {:>9} {:>9} {:>12} {:>10} {:>13} {:>12}  {}/{}",
        at(0.5),
        at(0.99),
        at(0.999),
        at(0.9999),
        micros(sample.corrected.max()),
        Thousandths::ratio(now.anonymous_bytes, MIB),
        Thousandths::ratio(now.shared_bytes, MIB),
        now.descriptors,
        faults.minor,
        faults.major
    );
}

/// Adds what it took to the outcome; true when nothing of it grows without end.
fn judge(vitals: &[Vitals], segment_bytes: u64, outcome: &mut Outcome) -> bool {
    let Some((first, last)) = vitals.first().zip(vitals.last()) else { return false };
    let faults = last.faults.since(first.faults);
    outcome.add_value("soak_faults_minor", Thousandths::whole(faults.minor));
    outcome.add_value("soak_faults_major", Thousandths::whole(faults.major));
    outcome.add_value("soak_resident_mib", Thousandths::ratio(last.resident_bytes, MIB));
    let segments = Bounded {
        name: "segments_bytes",
        of: |vitals| vitals.shared_bytes,
        allowance: Allowance { amount: segment_bytes.saturating_mul(SEGMENTS_ALLOWED), parts: None },
    };
    let mut is_bounded = true;
    for Bounded { name, of, allowance } in BOUNDED.into_iter().chain([segments]) {
        let growth = growth::of(&vitals.iter().map(of).collect::<Vec<_>>());
        let is_within = growth.is_within(allowance);
        is_bounded &= is_within;
        let word = if is_within { "bounded" } else { "GROWS" };
        println!("soak_{name}: from {} to {}: {word}", growth.from, growth.to);
        outcome.add_value(format!("soak_{name}"), Thousandths::whole(growth.to));
        outcome.add_value(format!("soak_{name}_growth"), Thousandths::whole(growth.amount()));
    }
    is_bounded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_whose_memory_or_descriptors_grow_is_not_bounded_and_a_steady_one_is() {
        let steady = Vitals { anonymous_bytes: 50 * MIB, descriptors: 20, ..Vitals::default() };
        let run = |at: fn(u64, Vitals) -> Vitals| -> bool {
            let vitals: Vec<Vitals> = (0..24).map(|index| at(index, steady)).collect();
            judge(&vitals, 64 * MIB, &mut Outcome::default())
        };
        assert!(run(|_, vitals| vitals));
        assert!(run(|index, vitals| Vitals { descriptors: 20 + index % 3, ..vitals }), "they come and go");
        assert!(!run(|index, vitals| Vitals { descriptors: 20 + index, ..vitals }));
        assert!(!run(|index, vitals| Vitals { anonymous_bytes: 50 * MIB + index * MIB / 4, ..vitals }));
        assert!(run(|index, vitals| Vitals { shared_bytes: (2 + index % 3) * 64 * MIB, ..vitals }), "roll-overs");
        assert!(!run(|index, vitals| Vitals { shared_bytes: index * 64 * MIB, ..vitals }));
        assert!(!judge(&[], 0, &mut Outcome::default()), "of nothing, nothing is known");
    }
}
