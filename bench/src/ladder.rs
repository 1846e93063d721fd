//! Ever higher rates, until one is not reached or an order takes many times as long as at the first.

use crate::outcome::Outcome;
use crate::pace::Sample;
use crate::thousandths::Thousandths;
use crate::timing::{RoundTrips, micros};
use crate::turns::Turns;
use crate::{Failure, RATE_MAX};

/// Where it begins.
const FIRST_RATE: u64 = 1_000;
/// From here on each step is a quarter more than the last, before it a half.
const SMALL_STEPS_FROM: u64 = 20_000;
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

/// Climbs until a step is the end; each is so long for each of the two.
pub(crate) fn measure(turns: &mut Turns, step_ms: u64, echo_max_us: u64) -> Result<Outcome, Failure> {
    turns.warm_up(FIRST_RATE)?;
    climb(echo_max_us, &mut |rate| match turns.run(rate, step_ms) {
        Ok((echo, gateway)) => Ok(Ok(Step { rate, echo, gateway })),
        // What is refused is the end of it too: a ring or a queue is full.
        Err(error) if turns.refusal().is_some() => Ok(Err(error.to_string())),
        Err(error) => Err(error),
    })
}

/// Adds every step to the outcome, and the highest rate that was reached. A step is what `run` has measured at a rate, or
/// why it could not go on.
fn climb(
    echo_max_us: u64,
    run: &mut dyn FnMut(u64) -> Result<Result<Step, String>, Failure>,
) -> Result<Outcome, Failure> {
    let (mut rate, mut saturation, mut first_p50_ns) = (FIRST_RATE, 0, None);
    let mut outcome = Outcome::default();
    let why = loop {
        let mut step = run(rate)?;
        if step.as_ref().is_ok_and(|step| step.end(first_p50_ns, echo_max_us).is_some()) {
            // It may have been the machine: once more.
            step = run(rate)?;
        }
        let step = match step {
            Ok(step) => step,
            Err(why) => break why,
        };
        if step.busy(echo_max_us).is_none() {
            step.tell(&mut outcome);
        }
        if let Some(why) = step.end(first_p50_ns, echo_max_us) {
            break why;
        }
        first_p50_ns.get_or_insert(step.p50_ns());
        saturation = rate;
        rate = next(rate);
        if rate > RATE_MAX {
            break format!("more than {RATE_MAX}/s are not sent");
        }
    };
    println!("saturation: {}/s; at {rate}/s: {why}", Thousandths::whole(saturation));
    outcome.configure("ladder_end", format!("{rate}/s: {why}"));
    outcome.add_value("saturation_per_s", Thousandths::whole(saturation));
    Ok(outcome)
}

const fn next(rate: u64) -> u64 {
    rate.saturating_add(if rate < SMALL_STEPS_FROM { rate / 2 } else { rate / 4 })
}

impl Step {
    fn p50_ns(&self) -> u64 {
        self.gateway.corrected.value_at_quantile(0.5)
    }

    /// Why it says nothing of the gateway, and is not told.
    fn busy(&self, echo_max_us: u64) -> Option<String> {
        let echo_ns = self.echo.service.value_at_quantile(0.5);
        (echo_ns > echo_max_us.saturating_mul(1000)).then(|| {
            let rate = self.echo.rate();
            format!(
                "not told: the echo takes {} µs, at {rate} answers/s: it or the machine is the bound",
                micros(echo_ns)
            )
        })
    }

    /// Why there is no step behind this one.
    fn end(&self, first_p50_ns: Option<u64>, echo_max_us: u64) -> Option<String> {
        if let Some(busy) = self.busy(echo_max_us) {
            return Some(busy);
        }
        if !self.gateway.has_reached(self.rate) {
            return Some(format!("{} answers/s only; the echo {}", self.gateway.rate(), self.echo.rate()));
        }
        let queued_ns = first_p50_ns?.saturating_mul(P50_TIMES_MAX);
        (self.p50_ns() > queued_ns).then(|| {
            format!("p50 is {} µs, more than {P50_TIMES_MAX} times that of the first step", micros(self.p50_ns()))
        })
    }

    fn tell(&self, outcome: &mut Outcome) {
        let legs = self.gateway.legs.as_deref();
        let series: [(&str, Option<&RoundTrips>); 6] = [
            ("echo", Some(&self.echo.corrected)),
            ("accepted", Some(&self.gateway.corrected)),
            ("acknowledged", legs.map(|legs| &legs.acknowledged.corrected)),
            ("filled", legs.map(|legs| &legs.filled.corrected)),
            ("service_echo", Some(&self.echo.service)),
            ("service_accepted", Some(&self.gateway.service)),
        ];
        let mut line = format!("  ladder: {}/s:", self.rate);
        for (who, times) in series {
            let Some(times) = times.filter(|times| !times.is_empty()) else { continue };
            let at = |quantile| times.value_at_quantile(quantile);
            if !who.starts_with("service_") {
                line.push_str(&format!("  {who} p50 {} p99 {}", micros(at(0.5)), micros(at(0.99))));
            }
            for (name, quantile) in TOLD {
                let id = format!("ladder_{who}_{name}_ns_at_{}", self.rate);
                outcome.add_value(id, Thousandths::whole(at(quantile)));
            }
        }
        println!("{line} µs");
        for (who, sample) in [("echo", &self.echo), ("accepted", &self.gateway)] {
            let id = format!("ladder_{who}_answers_per_s_at_{}", self.rate);
            outcome.add_value(id, Thousandths::whole(sample.rate()));
        }
        if !self.echo.has_reached(self.rate) {
            println!("    the echo has not reached it: {} answers/s", self.echo.rate());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ECHO_MAX_US: u64 = 50;

    /// So many answers in a second; the echo keeps up.
    fn step(rate: u64, answers: u64, p50_ns: u64) -> Step {
        let sample = |answers, ns| {
            let mut sample = Sample { elapsed: Duration::from_secs(1), ..Sample::new() };
            sample.corrected.record_n(ns, answers).unwrap();
            sample.service.record_n(ns, answers).unwrap();
            sample
        };
        Step { rate, echo: sample(rate, 1_000), gateway: sample(answers, p50_ns) }
    }

    /// The same where the echo takes so long.
    fn beside(rate: u64, echo_ns: u64) -> Step {
        Step { echo: step(rate, rate, echo_ns).gateway, ..step(rate, rate, 10_000) }
    }

    /// Climbs by what is there, step by step: the rates that were asked for, and the outcome.
    fn climbed(steps: Vec<Result<Step, String>>) -> (Vec<u64>, Outcome) {
        let (mut asked, mut steps) = (Vec::new(), steps.into_iter());
        let outcome = climb(ECHO_MAX_US, &mut |rate| {
            asked.push(rate);
            steps.next().ok_or_else(|| "it climbs too high".into())
        });
        (asked, outcome.unwrap())
    }

    fn end_of(outcome: &Outcome) -> &str {
        outcome.configuration.iter().find(|(name, _)| *name == "ladder_end").map_or("", |(_, why)| why)
    }

    #[test]
    fn a_step_that_would_be_the_end_is_taken_once_more_and_saturation_is_the_last_rate_that_was_reached() {
        let reached = |rate| Ok(step(rate, rate, 10_000));
        let missed = |rate| Ok(step(rate, rate / 2, 10_000));
        let (asked, outcome) = climbed(vec![reached(1000), missed(1500), reached(1500), missed(2250), missed(2250)]);
        assert_eq!(asked, [1000, 1500, 1500, 2250, 2250]);
        assert_eq!(outcome.value("saturation_per_s"), Some(Thousandths::whole(1500)));
        assert_eq!(end_of(&outcome), "2250/s: 1125 answers/s only; the echo 2250");
        let told =
            |rate| outcome.values.iter().filter(|value| value.id == format!("ladder_echo_p50_ns_at_{rate}")).count();
        assert_eq!([1000, 1500, 2250].map(told), [1, 1, 1], "each by the last try");
    }

    #[test]
    fn the_median_is_compared_with_that_of_the_first_step_and_a_refusal_ends_it_at_once() {
        let slow = |rate, ns| Ok(step(rate, rate, ns));
        let steps = vec![slow(1000, 10_000), slow(1500, 90_000), slow(2250, 101_000), slow(2250, 101_000)];
        let (asked, outcome) = climbed(steps);
        assert_eq!((asked.len(), outcome.value("saturation_per_s")), (4, Some(Thousandths::whole(1500))));
        let (asked, outcome) = climbed(vec![slow(1000, 10_000), Err("an order was refused".to_owned())]);
        assert_eq!((asked.len(), outcome.value("saturation_per_s")), (2, Some(Thousandths::whole(1000))));
        assert_eq!(end_of(&outcome), "1500/s: an order was refused");
    }

    #[test]
    fn a_step_beside_a_slow_echo_is_not_told_and_ends_it() {
        let (asked, outcome) =
            climbed(vec![Ok(beside(1000, 49_000)), Ok(beside(1500, 51_000)), Ok(beside(1500, 51_000))]);
        assert_eq!(asked, [1000, 1500, 1500]);
        assert_eq!(outcome.value("saturation_per_s"), Some(Thousandths::whole(1000)));
        assert!(end_of(&outcome).starts_with("1500/s: not told: the echo takes 51."), "{}", end_of(&outcome));
        assert!(outcome.value("ladder_accepted_p50_ns_at_1000").is_some());
        assert!(outcome.value("ladder_accepted_p50_ns_at_1500").is_none());
    }

    #[test]
    fn it_ends_where_a_rate_is_not_reached_or_the_median_is_ten_times_the_first() {
        let end = |step: Step, first_p50_ns| step.end(first_p50_ns, ECHO_MAX_US);
        assert_eq!(end(step(1000, 1000, 10_000), None), None, "the first is compared with nothing");
        assert_eq!(end(step(1000, 980, 99_000), Some(10_000)), None, "within 2 %, and below ten times");
        assert_eq!(end(step(1000, 979, 10_000), Some(10_000)), Some("979 answers/s only; the echo 1000".to_owned()));
        let queued = end(step(1000, 1000, 101_000), Some(10_000)).unwrap();
        assert!(queued.contains("more than 10 times"), "{queued}");
    }

    #[test]
    fn a_step_is_told_by_every_percentile_of_what_was_measured_and_of_nothing_else() {
        let mut outcome = Outcome::default();
        step(1000, 1000, 10_000).tell(&mut outcome);
        let ids: Vec<&str> = outcome.values.iter().map(|value| value.id.as_str()).collect();
        assert_eq!(ids.len(), 4 * TOLD.len() + 2, "echo and acceptance, corrected and service, and answers: {ids:?}");
        assert!(outcome.value("ladder_service_accepted_p9999_ns_at_1000").is_some());
        assert_eq!(outcome.value("ladder_echo_answers_per_s_at_1000"), Some(Thousandths::whole(1000)));
    }

    #[test]
    fn steps_grow_by_a_half_and_then_by_a_quarter() {
        assert_eq!([next(1_000), next(19_999), next(20_000)], [1_500, 29_998, 25_000]);
    }
}
