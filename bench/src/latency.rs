//! Order to the gateway's own acceptance, against an echo of the same frame sizes, round by round in turn; of the same orders
//! the broker's acknowledgement and the fill; and a ladder of rates up to saturation.

use crate::Failure;
use crate::echo::{REPLY_BYTES, REQUEST_BYTES};
use crate::host::{self, Broker};
use crate::ladder;
use crate::legs::Legs;
use crate::orders::{EPOCH_IDS, Load};
use crate::outcome::Outcome;
use crate::pace::{Idle, Sample, shortfall};
use crate::thousandths::Thousandths;
use crate::timing::{micros, print_run};
use crate::turns::{SLICE_MS, Turns};

/// An echo that takes longer says that the machine is not free, and nothing of the gateway, µs.
pub(crate) const ECHO_MAX_US: u64 = 50;
/// The percentiles that are compared: name, quantile.
pub(crate) const COMPARED: [(&str, f64); 4] = [("p50", 0.5), ("p99", 0.99), ("p999", 0.999), ("p9999", 0.9999)];
/// The figures of `COMPARED`.
const FIGURES: [&str; COMPARED.len()] = ["ack_p50_ratio", "ack_p99_ratio", "ack_p999_ratio", "ack_p9999_ratio"];

/// Orders that the market takes, so that each is acknowledged and filled.
const LOAD: Load = Load { instruments: 1, epoch_ids: EPOCH_IDS, is_taken: true };

/// How it is measured.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Orders a second, one after the other.
    #[arg(long = "rate", value_delimiter = ',', default_values_t = [1_000, 5_000, 20_000], value_parser = crate::rate)]
    pub(crate) rates: Vec<u64>,
    /// Length of each rate in a round, for each of the two, s.
    #[arg(long, default_value_t = 3, value_parser = crate::at_least_one::<u64>)]
    pub(crate) seconds: u64,
    /// Rounds; each starts both servers anew.
    #[arg(long, default_value_t = 5, value_parser = crate::at_least_one::<usize>)]
    pub(crate) rounds: usize,
    /// Length of each step of the ladder that climbs to saturation, for each of the two, ms; 0: no ladder.
    #[arg(long, default_value_t = 1000)]
    pub(crate) ladder_ms: u64,
    /// The gateway's broker: what it costs besides is on the generator's CPU.
    #[arg(long, value_enum, default_value_t = Broker::Instant)]
    pub(crate) broker: Broker,
    /// What the generator does while it awaits nothing.
    #[arg(long, value_enum, default_value_t = Idle::Spin)]
    pub(crate) idle: Idle,
    /// Median of the echo from which the machine is too busy to say anything, µs.
    #[arg(long, default_value_t = ECHO_MAX_US, value_parser = crate::at_least_one::<u64>)]
    pub(crate) echo_max_us: u64,
}

impl Default for Options {
    /// What the figures need: no ladder.
    fn default() -> Self {
        Self {
            rates: vec![1_000, 5_000, 20_000],
            seconds: 3,
            rounds: 5,
            ladder_ms: 0,
            broker: Broker::Instant,
            idle: Idle::Spin,
            echo_max_us: ECHO_MAX_US,
        }
    }
}

/// One rate, over all rounds.
struct Rate {
    rate: u64,
    echo: Sample,
    gateway: Sample,
    /// For each of `COMPARED`, the ratio of each round: corrected, service time.
    ratios: [(Vec<Thousandths>, Vec<Thousandths>); COMPARED.len()],
}

/// Measures both in turn.
pub(crate) fn measure(options: &Options) -> Result<Outcome, Failure> {
    println!("order to acceptance, class journaled, open loop, loopback TCP, busy polling on both sides");
    println!("frames: {REQUEST_BYTES} bytes to the server, {REPLY_BYTES} bytes back; {SLICE_MS} ms in turn, one held");
    let mut rates: Vec<Rate> = options.rates.iter().map(|rate| Rate::new(*rate)).collect();
    for round in 1..=options.rounds {
        let mut turns = Turns::start(options.broker, options.idle, LOAD)?;
        host::pinned(|| {
            let mut all = || -> Result<(), Failure> {
                turns.warm_up(rates.first().map_or(1, |rate| rate.rate))?;
                rates.iter_mut().try_for_each(|rate| rate.round(&mut turns, round, options.seconds))
            };
            all().map_err(|error| error.to_string())
        })?;
    }
    let mut outcome = outcome(options, rates)?;
    if options.ladder_ms > 0 {
        let mut turns = Turns::start(options.broker, options.idle, LOAD)?;
        let mut climb = || ladder::measure(&mut turns, options.ladder_ms, options.echo_max_us);
        let ladder = host::pinned(|| climb().map_err(|error| error.to_string()))?;
        outcome.configuration.extend(ladder.configuration);
        outcome.values.extend(ladder.values);
    }
    Ok(outcome)
}

impl Rate {
    fn new(rate: u64) -> Self {
        Self {
            rate,
            echo: Sample::new(),
            gateway: Sample::new(),
            ratios: std::array::from_fn(|_| (Vec::new(), Vec::new())),
        }
    }

    fn round(&mut self, turns: &mut Turns, round: usize, seconds: u64) -> Result<(), Failure> {
        let (echo, gateway) = turns.run(self.rate, seconds.saturating_mul(1000))?;
        print_run(&format!("echo    {}/s, round {round}", self.rate), &echo.corrected);
        print_run(&format!("gateway {}/s, round {round}", self.rate), &gateway.corrected);
        for ((_, quantile), (corrected, service)) in COMPARED.iter().zip(&mut self.ratios) {
            corrected.push(ratio(&gateway.corrected, &echo.corrected, *quantile));
            service.push(ratio(&gateway.service, &echo.service, *quantile));
        }
        self.echo.add(&echo)?;
        self.gateway.add(&gateway)
    }
}

fn ratio(value: &crate::timing::RoundTrips, baseline: &crate::timing::RoundTrips, quantile: f64) -> Thousandths {
    Thousandths::ratio(value.value_at_quantile(quantile), baseline.value_at_quantile(quantile))
}

fn outcome(options: &Options, rates: Vec<Rate>) -> Result<Outcome, Failure> {
    let mut outcome = Outcome::default();
    outcome.configure("durability", "journaled");
    outcome.configure("broker", format!("{:?}", options.broker));
    outcome.configure("idle", format!("{:?}", options.idle));
    outcome.configure("rates", format!("{:?}", options.rates));
    outcome.configure("seconds", options.seconds);
    outcome.configure("rounds", options.rounds);
    outcome.configure("ladder_ms", options.ladder_ms);
    outcome.configure("slice_ms", SLICE_MS);
    let mut worst = [Thousandths(0); COMPARED.len()];
    let mut void = None;
    for Rate { rate, echo, gateway, ratios } in rates {
        let why_void = shortfall(rate, &[("echo", &echo), ("gateway", &gateway)]);
        let echo_p50 = echo.service.value_at_quantile(0.5);
        if why_void.is_none() && echo_p50 > options.echo_max_us.saturating_mul(1000) {
            return Err(format!("the echo takes {} µs: others use these CPUs; measure again", micros(echo_p50)).into());
        }
        let mut line = format!("{rate}/s, median ratio over rounds:");
        for (((name, _), (corrected, service)), worst) in COMPARED.iter().zip(ratios).zip(&mut worst) {
            let (corrected, service) = (middle(corrected), middle(service));
            line.push_str(&format!("  {name} {corrected} (service {service})"));
            if why_void.is_none() {
                outcome.add_value(format!("ack_{name}_ratio_at_{rate}"), corrected);
                outcome.add_value(format!("ack_{name}_service_ratio_at_{rate}"), service);
                *worst = (*worst).max(corrected);
            }
        }
        match &why_void {
            Some(why) => println!("{rate}/s: no ratios: {why}"),
            None => println!("{line}"),
        }
        void = void.or(why_void);
        let (plot, generator) = (format!("{rate} orders/s"), format!("generator at {rate} orders/s"));
        for (name, sample) in [("echo", echo), ("gateway", gateway)] {
            outcome.add_value(format!("{name}_answers_per_s_at_{rate}"), Thousandths::whole(sample.rate()));
            // Beside the gateway the generator shares its CPU with the gateway's side threads: only beside the echo,
            // which has none, is a gap the machine's own doing.
            if name == "echo" {
                outcome.hiccups.add(&sample.gaps)?;
            } else {
                outcome.add_series(&generator, format!("generator away beside gateway {rate}/s"), sample.gaps);
            }
            if let Some(legs) = sample.legs {
                add_legs(&mut outcome, rate, *legs);
            }
            outcome.add_series(&plot, format!("{name} {rate}/s corrected"), sample.corrected);
            outcome.add_series(&plot, format!("{name} {rate}/s service"), sample.service);
            outcome.add_series(&generator, format!("{name} {rate}/s sent late"), sample.lateness);
        }
    }
    for (id, worst) in FIGURES.into_iter().zip(worst) {
        // The worst rate is not known where one of them is void.
        match &void {
            Some(why) => outcome.miss(id, why.clone()),
            None => {
                outcome.add_value(id, worst);
                println!("worst rate, {id}: {worst} × the echo");
            }
        }
    }
    println!(
        "gaps of the generator beside the echo: {}, longest {} µs",
        outcome.hiccups.len(),
        micros(outcome.hiccups.max())
    );
    Ok(outcome)
}

/// What came behind the acceptance.
fn add_legs(outcome: &mut Outcome, rate: u64, legs: Legs) {
    let (plot, told) = (format!("{rate} orders/s, at the broker"), format!("{rate} orders/s, from the broker's word"));
    for (name, leg) in [("acknowledged", legs.acknowledged), ("filled", legs.filled)] {
        print_run(&format!("{name} {rate}/s"), &leg.corrected);
        print_run("  from the broker's word", &leg.told);
        outcome.add_series(&plot, format!("{name} {rate}/s corrected"), leg.corrected);
        outcome.add_series(&plot, format!("{name} {rate}/s service"), leg.service);
        outcome.add_series(&told, format!("broker's word to {name} {rate}/s"), leg.told);
    }
}

fn middle(ratios: Vec<Thousandths>) -> Thousandths {
    Thousandths::median(ratios).unwrap_or(Thousandths(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A rate at which both had a second.
    fn rate(rate: u64, echo: u64, gateway: u64) -> Rate {
        let of = |answers| {
            let mut sample = Sample { elapsed: Duration::from_secs(1), ..Sample::new() };
            sample.corrected.record_n(1000, answers).unwrap();
            sample
        };
        let ratios = std::array::from_fn(|_| (vec![Thousandths(1_000)], vec![Thousandths(1_000)]));
        Rate { rate, echo: of(echo), gateway: of(gateway), ratios }
    }

    #[test]
    fn a_figure_is_the_median_of_the_rounds_at_the_worst_rate_wherever_that_stands() {
        let ratios = |ratios: [u64; 3]| Rate {
            ratios: std::array::from_fn(|_| (ratios.map(Thousandths).to_vec(), vec![Thousandths(9_000)])),
            ..rate(1000, 1000, 1000)
        };
        let of = |rates| outcome(&Options::default(), rates).unwrap().value("ack_p99_ratio");
        let (better, worse) = ([1_000, 1_100, 5_000], [1_000, 1_200, 1_300]);
        assert_eq!(of(vec![ratios(better), ratios(worse)]), Some(Thousandths(1_200)));
        assert_eq!(of(vec![ratios(worse), ratios(better)]), Some(Thousandths(1_200)));
    }

    #[test]
    fn a_ratio_is_that_of_the_gateway_to_the_echo_at_its_percentile() {
        let (mut echo, mut gateway) = (Sample::new().corrected, Sample::new().corrected);
        for (times, half, tail) in [(&mut echo, 1_000, 5_000), (&mut gateway, 2_000, 50_000)] {
            times.record_n(half, 90).unwrap();
            times.record_n(tail, 10).unwrap();
        }
        let whole = |quantile| ratio(&gateway, &echo, quantile).0.div_ceil(100) * 100;
        assert_eq!([whole(0.5), whole(0.99)], [2_000, 10_000]);
    }

    #[test]
    fn the_figures_are_missed_when_either_of_the_two_has_not_reached_a_rate() {
        let of =
            |echo, gateway| outcome(&Options::default(), vec![rate(500, 500, 500), rate(1000, echo, gateway)]).unwrap();
        assert!(of(1000, 1000).missing.is_empty());
        assert!(FIGURES.iter().all(|id| of(1000, 1000).value(id) == Some(Thousandths(1_000))));
        for (echo, gateway) in [(900, 1000), (1000, 900)] {
            let outcome = of(echo, gateway);
            assert!(FIGURES.iter().all(|id| outcome.value(id).is_none()));
            assert_eq!(outcome.missing.iter().map(|(id, _)| *id).collect::<Vec<_>>(), FIGURES);
            assert!(outcome.value("ack_p50_ratio_at_1000").is_none() && outcome.complete().is_err());
            assert!(outcome.value("ack_p50_ratio_at_500").is_some(), "that rate was reached");
        }
    }
}
