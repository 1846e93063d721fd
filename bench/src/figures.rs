//! The figures that are promised, each declared once.

use crate::outcome::Outcome;
use crate::thousandths::Thousandths;

/// Where a figure should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    AtMost(Thousandths),
    AtLeast(Thousandths),
}

use Bound::{AtLeast, AtMost};

/// A figure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figure {
    pub(crate) id: &'static str,
    pub(crate) what: &'static str,
    pub(crate) bound: Bound,
}

const fn figure(id: &'static str, what: &'static str, bound: Bound) -> Figure {
    Figure { id, what, bound }
}

/// All of them.
pub(crate) const FIGURES: [Figure; 13] = [
    figure("ack_p50_ratio", "order to acceptance, p50 / p50 of the echo, worst rate", AtMost(Thousandths(1_100))),
    figure("ack_p99_ratio", "the same, p99 / p99", AtMost(Thousandths(1_250))),
    figure("ack_p999_ratio", "the same, p99.9 / p99.9", AtMost(Thousandths(1_500))),
    figure("append_p50_ns", "append of a 128-byte event, p50, ns", AtMost(Thousandths::whole(45))),
    figure("append_p999_ns", "the same, p99.9, across roll-overs, sync on", AtMost(Thousandths::whole(1_000))),
    figure("append_p9999_ns", "the same, p99.99", AtMost(Thousandths::whole(5_000))),
    figure("orders_per_s", "one connection, pipelined, acceptances read", AtLeast(Thousandths::whole(1_000_000))),
    figure("orders_per_s_100_ratio", "100 connections / one", AtLeast(Thousandths(800))),
    figure("core_commands_per_s", "the core alone, checks and journal on", AtLeast(Thousandths::whole(3_000_000))),
    figure("journal_on_off_ratio", "the same, journal on / off", AtLeast(Thousandths(850))),
    figure("recovery_events_per_s", "replay into state, one core", AtLeast(Thousandths::whole(5_000_000))),
    figure("sessions_p50_ratio", "ten sessions among all, p50 / p50 of the ten alone", AtMost(Thousandths(1_500))),
    figure("idle_session_bytes", "memory of an idle session", AtMost(Thousandths::whole(4096))),
];

impl Figure {
    /// The figure of an id.
    pub(crate) fn of(id: &str) -> Option<&'static Self> {
        FIGURES.iter().find(|figure| figure.id == id)
    }

    /// True when `value` is where it should be.
    pub(crate) fn is_met(&self, value: Thousandths) -> bool {
        match self.bound {
            AtMost(bound) => value <= bound,
            AtLeast(bound) => value >= bound,
        }
    }

    /// The bound in words.
    pub(crate) fn target(&self) -> String {
        match self.bound {
            AtMost(bound) => format!("at most {bound}"),
            AtLeast(bound) => format!("at least {bound}"),
        }
    }
}

/// Prints how each promised figure of an outcome stands; true when all are met.
pub(crate) fn judge(outcome: &Outcome) -> bool {
    let mut are_met = true;
    for value in &outcome.values {
        if let Some(figure) = Figure::of(&value.id) {
            let is_met = figure.is_met(value.value);
            are_met &= is_met;
            let word = if is_met { "met" } else { "NOT MET" };
            println!("{}: {}; {}: {word}   ({})", figure.id, value.value, figure.target(), figure.what);
        }
    }
    are_met
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_met_at_its_value_and_on_its_side() {
        let at = |bound, value| figure("x", "", bound).is_met(Thousandths(value));
        assert!(at(AtMost(Thousandths(1100)), 1100) && !at(AtMost(Thousandths(1100)), 1101));
        assert!(at(AtLeast(Thousandths(1100)), 1100) && !at(AtLeast(Thousandths(1100)), 1099));
    }

    #[test]
    fn an_outcome_is_judged_by_the_figures_that_are_promised_and_by_no_other() {
        let mut outcome = Outcome::default();
        outcome.add_value("ack_p50_ratio", Thousandths(1_090));
        outcome.add_value("ack_p50_ratio_at_1000", Thousandths(9_000));
        assert!(judge(&outcome));
        outcome.add_value("ack_p99_ratio", Thousandths(1_251));
        assert!(!judge(&outcome));
    }

    #[test]
    fn every_figure_is_declared_once() {
        for (index, figure) in FIGURES.iter().enumerate() {
            assert!(FIGURES.iter().skip(index + 1).all(|other| other.id != figure.id), "{}", figure.id);
        }
    }
}
