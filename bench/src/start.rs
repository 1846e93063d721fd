//! What a gateway costs before it does anything: the time until it accepts, and its memory while it is idle.

use crate::Failure;
use crate::hiccup::Meter;
use crate::host::{Broker, Gateway, Setup};
use crate::outcome::Outcome;
use crate::scale::settle;
use crate::thousandths::Thousandths;
use crate::timing::median;

/// How it is measured.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Starts.
    #[arg(long, default_value_t = 5, value_parser = crate::at_least_one::<usize>)]
    pub(crate) rounds: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { rounds: 5 }
    }
}

const MIB: u64 = 1 << 20;

/// Starts gateways with the defaults of any, each in an empty directory.
pub(crate) fn measure(options: &Options) -> Result<Outcome, Failure> {
    println!("from an empty directory to accepting, and the memory of an idle gateway with the defaults");
    let (mut starts, mut anonymous, mut hot) = (Vec::new(), Vec::new(), Vec::new());
    let meter = Meter::start()?;
    for round in 1..=options.rounds {
        let setup = Setup { sessions: 1, broker: Broker::Instant, bounds: None, is_in_memory: false };
        let gateway = Gateway::start(setup)?;
        // Memory is read when the side threads have done what a start leaves to them: the next segment.
        settle(&gateway)?;
        let start_ns = u64::try_from(gateway.started_in.as_nanos())?;
        let (anonymous_bytes, hot_bytes) = (gateway.resident_bytes()?, gateway.hot_bytes()?);
        println!(
            "  start {round}: {} ms; {} MiB anonymous, {} MiB hot segments",
            Thousandths::ratio(start_ns, 1_000_000),
            Thousandths::ratio(anonymous_bytes, MIB),
            Thousandths::ratio(hot_bytes, MIB)
        );
        starts.push(start_ns);
        anonymous.push(anonymous_bytes);
        hot.push(hot_bytes);
    }
    let mut outcome = Outcome { hiccups: meter.stop()?, ..Outcome::default() };
    outcome.configure("rounds", options.rounds);
    let (anonymous, hot) = (median(anonymous), median(hot));
    outcome.add_value("cold_start_ms", Thousandths::ratio(median(starts), 1_000_000));
    outcome.add_value("rss_idle_mib", Thousandths::ratio(anonymous.saturating_add(hot), MIB));
    outcome.add_value("rss_idle_anonymous_mib", Thousandths::ratio(anonymous, MIB));
    outcome.add_value("rss_idle_hot_segments_mib", Thousandths::ratio(hot, MIB));
    Ok(outcome)
}
