//! Ever higher rates, until one is not reached or an order takes many times as long as at the first.

use crate::Failure;
use crate::outcome::Outcome;
use crate::pace::Sample;
use crate::thousandths::Thousandths;
use crate::timing::{RoundTrips, micros};
use crate::turns::Turns;

/// Where it begins.
const FIRST_RATE: u64 = 1_000;
/// From here on each step is a quarter more than the last, before it a half.
const SMALL_STEPS_FROM: u64 = 20_000;
/// No generator gets here.
const LAST_RATE: u64 = 1_000_000;
/// From so many times the first step's median on, orders queue.
const P50_TIMES_MAX: u64 = 10;
/// What a step is told by.
const TOLD: [(&str, f64); 5] = [("p50", 0.5), ("p99", 0.99), ("p999", 0.999), ("p9999", 0.9999), ("max", 1.0)];

/// What a rate has made of it.
struct Step {
    rate: u64,
    echo: Sample,
    gateway: Sample,
}

/// Climbs, and adds every step to the outcome, and the highest rate that was reached.
pub(crate) fn climb(turns: &mut Turns, step_ms: u64) -> Result<Outcome, Failure> {
    turns.warm_up(FIRST_RATE)?;
    let (mut rate, mut saturation, mut first_p50_ns) = (FIRST_RATE, 0, None);
    let mut outcome = Outcome::default();
    let why = loop {
        let mut step = match run(turns, rate, step_ms) {
            Ok(step) => step,
            // What is refused is the end of it too: a ring or a queue is full.
            Err(error) if turns.refusal().is_some() => break error.to_string(),
            Err(error) => return Err(error),
        };
        if step.end(first_p50_ns).is_some() {
            // It may have been the machine: once more.
            step = match run(turns, rate, step_ms) {
                Ok(again) => again,
                Err(error) if turns.refusal().is_some() => break error.to_string(),
                Err(error) => return Err(error),
            };
        }
        step.tell(&mut outcome);
        if let Some(why) = step.end(first_p50_ns) {
            break why;
        }
        first_p50_ns.get_or_insert(step.p50_ns());
        saturation = rate;
        rate = next(rate);
        if rate > LAST_RATE {
            break format!("more than {LAST_RATE}/s are not sent");
        }
    };
    println!("saturation: {}/s; at {rate}/s: {why}", Thousandths::whole(saturation));
    outcome.configure("ladder_end", format!("{rate}/s: {why}"));
    outcome.add_value("saturation_per_s", Thousandths::whole(saturation));
    Ok(outcome)
}

fn run(turns: &mut Turns, rate: u64, step_ms: u64) -> Result<Step, Failure> {
    let (echo, gateway) = turns.run(rate, step_ms)?;
    Ok(Step { rate, echo, gateway })
}

const fn next(rate: u64) -> u64 {
    rate.saturating_add(if rate < SMALL_STEPS_FROM { rate / 2 } else { rate / 4 })
}

impl Step {
    fn p50_ns(&self) -> u64 {
        self.gateway.corrected.value_at_quantile(0.5)
    }

    /// Why there is no step behind this one.
    fn end(&self, first_p50_ns: Option<u64>) -> Option<String> {
        if !self.gateway.has_reached(self.rate) {
            return Some(format!("{} answers/s only", self.gateway.rate()));
        }
        let queued_ns = first_p50_ns?.saturating_mul(P50_TIMES_MAX);
        (self.p50_ns() > queued_ns).then(|| {
            format!("p50 is {} µs, more than {P50_TIMES_MAX} times that of the first step", micros(self.p50_ns()))
        })
    }

    fn tell(&self, outcome: &mut Outcome) {
        let legs = self.gateway.legs.as_deref();
        let series: [(&str, Option<&RoundTrips>); 4] = [
            ("echo", Some(&self.echo.corrected)),
            ("accepted", Some(&self.gateway.corrected)),
            ("acknowledged", legs.map(|legs| &legs.acknowledged.corrected)),
            ("filled", legs.map(|legs| &legs.filled.corrected)),
        ];
        let mut line = format!("  ladder: {}/s:", self.rate);
        for (who, times) in series {
            let Some(times) = times.filter(|times| !times.is_empty()) else { continue };
            let at = |quantile| times.value_at_quantile(quantile);
            line.push_str(&format!("  {who} p50 {} p99 {}", micros(at(0.5)), micros(at(0.99))));
            for (name, quantile) in TOLD {
                let id = format!("ladder_{who}_{name}_ns_at_{}", self.rate);
                outcome.add_value(id, Thousandths::whole(at(quantile)));
            }
        }
        println!("{line} µs");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// So many answers in a second.
    fn step(rate: u64, answers: u64, p50_ns: u64) -> Step {
        let mut gateway = Sample { elapsed: Duration::from_secs(1), ..Sample::new() };
        gateway.corrected.record_n(p50_ns, answers).unwrap();
        Step { rate, echo: Sample::new(), gateway }
    }

    #[test]
    fn it_ends_where_a_rate_is_not_reached_or_the_median_is_ten_times_the_first() {
        assert_eq!(step(1000, 1000, 10_000).end(None), None, "the first is compared with nothing");
        assert_eq!(step(1000, 980, 99_000).end(Some(10_000)), None, "within 2 %, and below ten times");
        assert_eq!(step(1000, 979, 10_000).end(Some(10_000)), Some("979 answers/s only".to_owned()));
        let queued = step(1000, 1000, 101_000).end(Some(10_000)).unwrap();
        assert!(queued.contains("more than 10 times"), "{queued}");
    }

    #[test]
    fn a_step_is_told_by_every_percentile_of_what_was_measured_and_of_nothing_else() {
        let mut outcome = Outcome::default();
        step(1000, 1000, 10_000).tell(&mut outcome);
        let ids: Vec<&str> = outcome.values.iter().map(|value| value.id.as_str()).collect();
        assert_eq!(ids.len(), TOLD.len(), "{ids:?}");
        assert!(outcome.value("ladder_accepted_p9999_ns_at_1000").is_some());
    }

    #[test]
    fn steps_grow_by_a_half_and_then_by_a_quarter() {
        assert_eq!([next(1_000), next(19_999), next(20_000)], [1_500, 29_998, 25_000]);
    }
}
