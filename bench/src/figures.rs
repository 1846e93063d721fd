//! The figures that are promised, each declared once.

use crate::outcome::Outcome;
use crate::peers::{self, Peer};
use crate::thousandths::Thousandths;
use crate::{
    Failure, journal, lag, latency, loop_counts, mix, projection, rebuild, recovery, scale, sessions, stages, start,
    synced, tail_latency, throughput,
};

/// Why a figure of shipping is missing.
#[cfg(not(feature = "kafka"))]
pub(crate) const NOT_IN_THIS_BUILD: &str = "not in this build: --features kafka";

/// Where a figure should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    AtMost(Thousandths),
    AtLeast(Thousandths),
}

use Bound::{AtLeast, AtMost};

/// The measurement that a figure comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    Latency,
    Journal,
    Throughput,
    Core,
    Recovery,
    Projection,
    Rebuild,
    Lag,
    Shipping,
    CatchUp,
    Path,
    Memory,
    Start,
    Sessions,
    Synced,
    Stages,
    Scale,
    Tail,
    Loop,
    Quickfix,
    Redis,
    Redb,
}

use Source::{
    CatchUp, Core, Journal, Lag, Latency, Loop, Memory, Path, Projection, Quickfix, Rebuild, Recovery, Redb, Redis,
    Scale, Sessions, Shipping, Stages, Start, Synced, Tail, Throughput,
};

impl Source {
    /// Measures in a form of at most two minutes.
    pub(crate) fn measure(self) -> Result<Outcome, Failure> {
        match self {
            Latency => latency::measure(&latency::Options::default()),
            Journal => journal::measure(&journal::Options::default()),
            Throughput => throughput::measure(&throughput::Options::default()),
            Core => mix::measure(&mix::Options::default()),
            Recovery => recovery::measure(&recovery::ORDERS, 5),
            Projection => projection::measure(100_000, 3),
            Rebuild => rebuild::measure(&rebuild::Options::default()),
            Lag => lag::measure(&lag::Options::default()),
            #[cfg(feature = "kafka")]
            Shipping => crate::shipping::measure(250_000, 3),
            #[cfg(feature = "kafka")]
            CatchUp => crate::catch_up::measure(&crate::catch_up::Options::default()),
            #[cfg(feature = "kafka")]
            Path => crate::path::measure(&crate::path::Options::default()),
            #[cfg(feature = "kafka")]
            Memory => crate::side_memory::measure(&crate::side_memory::Options::default()),
            #[cfg(not(feature = "kafka"))]
            Shipping | CatchUp | Path | Memory => Err(NOT_IN_THIS_BUILD.into()),
            Start => start::measure(&start::Options::default()),
            Sessions => sessions::measure(1000, 1000, 2, 5),
            Synced => synced::measure(&synced::Options::default()),
            Stages => stages::measure(&stages::Options::default()),
            Scale => scale::measure(&scale::Options::for_figure()),
            Tail => tail_latency::measure(&tail_latency::Options::default()),
            Loop => loop_counts::measure(&loop_counts::Options::default()),
            Quickfix => peers::measure(&peers::Options::only(Peer::Quickfix)),
            Redis => peers::measure(&peers::Options::only(Peer::Redis)),
            Redb => peers::measure(&peers::Options::only(Peer::Redb)),
        }
    }
}

/// A figure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figure {
    pub(crate) id: &'static str,
    pub(crate) what: &'static str,
    bound: Bound,
    pub(crate) source: Source,
}

const fn at_most(id: &'static str, source: Source, thousandths: u64, what: &'static str) -> Figure {
    Figure { id, what, bound: AtMost(Thousandths(thousandths)), source }
}

const fn at_least(id: &'static str, source: Source, thousandths: u64, what: &'static str) -> Figure {
    Figure { id, what, bound: AtLeast(Thousandths(thousandths)), source }
}

/// All of them, with their targets in thousandths.
pub(crate) const FIGURES: [Figure; 39] = [
    at_most("ack_p50_ratio", Latency, 1_100, "order to acceptance, p50 / p50 of the echo, worst rate"),
    at_most("ack_p99_ratio", Latency, 1_250, "the same, p99 / p99"),
    at_most("ack_p999_ratio", Latency, 1_500, "the same, p99.9 / p99.9"),
    at_least("orders_per_s", Throughput, 1_000_000_000, "one connection, pipelined, acceptances read"),
    at_least("orders_per_s_100_ratio", Throughput, 800, "100 connections / one"),
    at_least("core_commands_per_s", Core, 3_000_000_000, "the core alone, checks and journal on"),
    at_least("journal_on_off_ratio", Core, 850, "the same, journal on / off"),
    at_most("append_p50_ns", Journal, 45_000, "append of a 128-byte event, p50"),
    at_most("append_p999_ns", Journal, 1_000_000, "the same, p99.9, across roll-overs, sync on"),
    at_most("append_p9999_ns", Journal, 5_000_000, "the same, p99.99"),
    at_least("recovery_events_per_s", Recovery, 5_000_000_000, "replay into state, one core"),
    at_least(
        "sqlite_events_per_s",
        Projection,
        50_000_000,
        "journal into tables of SQLite, position in each transaction",
    ),
    at_least("postgres_events_per_s", Projection, 30_000_000, "the same of PostgreSQL, over loopback"),
    at_least(
        "ship_events_per_s",
        Shipping,
        100_000_000,
        "journal into a real Kafka broker on this machine, exactly once",
    ),
    at_least("ship_ratio", Shipping, 700, "the same / a bare producer with the same records and settings"),
    at_most(
        "ship_path_ratio",
        Path,
        1_100,
        "socket read to write, p50 and p99, the worse: shipped and projected / not",
    ),
    at_most("rebuild_s_10m", Rebuild, 300_000, "rebuild of the tables from 10 million events, compared and swapped in"),
    at_most("read_lag_p99_ms", Lag, 100_000, "at 5,000 events/s, journal to a row that can be read, p99"),
    at_most("ship_lag_p99_ms", Lag, 20_000, "the same, to the cluster's acknowledgement, beyond linger"),
    at_least(
        "catchup_ratio",
        CatchUp,
        10_000,
        "catching up with Kafka after an outage / the 5,000 events/s that go on",
    ),
    at_most("side_rss_mib", Memory, 128_000, "memory of shipper and projector, behind a large backlog"),
    at_most("rss_idle_mib", Start, 96_000, "anonymous memory and hot segments of an idle gateway"),
    at_most("cold_start_ms", Start, 100_000, "empty directory to accepting"),
    at_most("sessions_p50_ratio", Sessions, 1_500, "ten sessions among a thousand, p50 / p50 of the ten alone"),
    at_most("stage_cost_ratio", Stages, 1_030, "order to acceptance, p50 with stages measured / without"),
    at_most("idle_session_bytes", Sessions, 4_096_000, "memory of an idle session"),
    at_most("synced_p50_excess", Synced, 1_200, "class synced: (order to acceptance - echo) / bare sync, p50"),
    at_least("synced_orders_per_s", Synced, 300_000_000, "class synced, one connection, pipelined, group commit"),
    at_most("scale_ratio", Scale, 1_100, "order to acceptance with 1 million open orders, p50 / p50 with 1 thousand"),
    at_most("tail_ratio", Tail, 1_500, "the same at half of saturation, p99.99 / p99.99 of the echo"),
    at_most("tail_roll_over_stalls", Tail, 0, "roll-overs there that delay an order by more than 2 x p99.9"),
    at_most("loop_allocs", Loop, 0, "calls of the allocator by the warm loop, per million commands"),
    at_most("loop_faults", Loop, 0, "page faults of the same"),
    at_most("loop_other_syscalls", Loop, 0, "its system calls other than poll, receive and send"),
    at_least("quickfix_memory_ratio", Quickfix, 6_000, "order to reply, QuickFIX with its memory store / ours, p50"),
    at_least("quickfix_file_ratio", Quickfix, 12_000, "the same, with its file store"),
    at_least("redis_ratio", Redis, 1_500, "commands/s with 100 in flight, class journaled / Redis SET without a log"),
    at_least("redis_sync_ratio", Redis, 5_000, "the same, class synced / Redis that syncs its log always"),
    at_least("redb_ratio", Redb, 5_000, "durable batches of 100 entries of 256 bytes, events/s / redb"),
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
            AtLeast(bound) => value >= bound && !value.is_endless(),
        }
    }

    /// Where it should be.
    pub(crate) const fn target(&self) -> Thousandths {
        match self.bound {
            AtMost(bound) | AtLeast(bound) => bound,
        }
    }

    /// Where it should be seen from its target.
    pub(crate) const fn sign(&self) -> &'static str {
        match self.bound {
            AtMost(_) => "≤",
            AtLeast(_) => "≥",
        }
    }

    /// The target in words.
    pub(crate) fn promise(&self) -> String {
        let side = match self.bound {
            AtMost(_) => "at most",
            AtLeast(_) => "at least",
        };
        format!("{side} {}", self.target())
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
            println!("{}: {}; {}: {word}   ({})", figure.id, value.value, figure.promise(), figure.what);
        }
    }
    are_met
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_met_at_its_value_and_on_its_side() {
        let (most, least) = (at_most("x", Start, 1100, ""), at_least("x", Start, 1100, ""));
        assert!(most.is_met(Thousandths(1100)) && !most.is_met(Thousandths(1101)));
        assert!(least.is_met(Thousandths(1100)) && !least.is_met(Thousandths(1099)));
        assert!(!least.is_met(Thousandths::ratio(1, 0)), "a ratio to nothing is no figure");
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
