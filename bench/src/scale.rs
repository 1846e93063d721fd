//! Whether an order takes longer when there is more of everything: open orders, instruments, sessions, journal.
//!
//! Each point is a gateway of its own that has been filled beforehand; all stay alive and take turns on one CPU, a slice
//! each round, so that what else the machine does meets all alike. Each has the bounds that it needs: what its tables and
//! segments take of caches and memory is part of what is asked.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::filling;
use crate::hiccup::Meter;
use crate::host::{self, Broker, Extent, Gateway, Setup};
use crate::orders::{Active, Load, wait_until_trading};
use crate::outcome::Outcome;
use crate::pace::{Idle, Sample, Sent, Target, pace, shortfall};
use crate::pipeline::{Counts, Pipeline};
use crate::thousandths::Thousandths;
use crate::timing::{RoundTrips, print_run, round_trips};

/// How long a gateway has the CPU, ms.
const SLICE_MS: u64 = 200;
/// Requests after a change of turn that count for nobody: another's data is in the caches.
const UNTIMED: u64 = 20;
/// The figure compares these numbers of open orders.
const FEW_ORDERS: u64 = 1_000;
const MANY_ORDERS: u64 = 1_000_000;
/// Orders beyond those that rest.
const SPARE_ORDERS: u64 = 16_384;
/// Ids of a client epoch, and the share of each session.
const EPOCH_IDS: u64 = 2_000;
const SESSION_IDS: u32 = 8_192;
/// What makes a journal long: commands on their way, and orders of them that are open.
const IN_FLIGHT: u64 = 4_096;
const OPEN_MAX: u64 = 8_192;
/// What takes longer, stands still.
const DEADLINE: Duration = Duration::from_secs(60);
const MIB: u64 = 1 << 20;

/// How it is measured.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Open orders; all other points have the first number.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 10_000, 100_000, 1_000_000], value_parser = crate::at_least_one::<u64>)]
    pub(crate) open: Vec<u64>,
    /// Instruments that orders go to in turn; 1 is always there.
    #[arg(long, value_delimiter = ',', default_values_t = [16, 200], value_parser = crate::at_least_one::<u16>)]
    pub(crate) instruments: Vec<u16>,
    /// Sessions that send in turn; 1 is always there.
    #[arg(long, value_delimiter = ',', default_values_t = [16, 256], value_parser = crate::at_least_one::<u32>)]
    pub(crate) sessions: Vec<u32>,
    /// What the journal takes at least, MiB; one that holds no more than its orders is always there.
    #[arg(long, value_delimiter = ',', default_values_t = [1_024], value_parser = crate::at_least_one::<u64>)]
    pub(crate) journal_mib: Vec<u64>,
    /// Orders a second.
    #[arg(long, default_value_t = 1_000, value_parser = crate::rate)]
    pub(crate) rate: u64,
    /// Length of each point in a round, s.
    #[arg(long, default_value_t = 2, value_parser = crate::at_least_one::<u64>)]
    pub(crate) seconds: u64,
    /// Rounds; in each, all points have their turns.
    #[arg(long, default_value_t = 5, value_parser = crate::at_least_one::<usize>)]
    pub(crate) rounds: usize,
}

impl Options {
    /// What the figure needs, and no more.
    pub(crate) fn for_figure() -> Self {
        Self {
            open: vec![FEW_ORDERS, MANY_ORDERS],
            instruments: Vec::new(),
            sessions: Vec::new(),
            journal_mib: Vec::new(),
            rate: 1_000,
            seconds: 3,
            rounds: 7,
        }
    }

    /// The points, the first of which is what the others are compared with; each differs from it in one number.
    fn points(&self) -> Vec<Point> {
        let first = Point { open: self.open.first().copied().unwrap_or(FEW_ORDERS), ..Point::default() };
        let open = self.open.iter().map(|open| Point { open: *open, ..first });
        let instruments = self.instruments.iter().map(|instruments| Point { instruments: *instruments, ..first });
        let sessions = self.sessions.iter().map(|sessions| Point { sessions: *sessions, ..first });
        let journal = self.journal_mib.iter().map(|journal_mib| Point { journal_mib: *journal_mib, ..first });
        let mut points = vec![first];
        for point in open.chain(instruments).chain(sessions).chain(journal) {
            if !points.contains(&point) {
                points.push(point);
            }
        }
        points
    }
}

/// How much there is of everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Point {
    open: u64,
    instruments: u16,
    sessions: u32,
    journal_mib: u64,
}

impl Default for Point {
    fn default() -> Self {
        Self { open: FEW_ORDERS, instruments: 1, sessions: 1, journal_mib: 0 }
    }
}

impl Point {
    /// What it differs in from the first, as part of an id; of the first, its open orders.
    fn name(&self, first: &Self) -> String {
        if self.instruments != first.instruments {
            format!("{}_instruments", self.instruments)
        } else if self.sessions != first.sessions {
            format!("{}_sessions", self.sessions)
        } else if self.journal_mib != first.journal_mib {
            format!("journal_{}_mib", self.journal_mib)
        } else {
            format!("{}_open", self.open)
        }
    }

    fn load(&self) -> Load {
        Load { instruments: self.instruments.into(), epoch_ids: EPOCH_IDS, ..Load::default() }
    }
}

/// A filled gateway, and who sends to it.
struct Filled {
    gateway: Gateway,
    sessions: Sessions,
    sample: Sample,
    /// Of each round: p50, p99, ns.
    rounds: Vec<(u64, u64)>,
}

/// Measures all points in turn.
pub(crate) fn measure(options: &Options) -> Result<Outcome, Failure> {
    println!("order to acceptance at {}/s by what there is of everything, {SLICE_MS} ms in turn", options.rate);
    let points = options.points();
    let first = points.first().copied().unwrap_or_default();
    let mut outcome = Outcome::default();
    outcome.configure("points", format!("{points:?}"));
    outcome.configure("rate", options.rate);
    outcome.configure("seconds", options.seconds);
    outcome.configure("rounds", options.rounds);
    let mut filled = Vec::new();
    for point in &points {
        let gateway = Filled::start(point)?;
        let (anonymous, hot) = (gateway.gateway.resident_bytes()?, gateway.gateway.hot_bytes()?);
        let (name, journal) = (point.name(&first), gateway.gateway.journal_bytes()?);
        println!(
            "  {name}: {} MiB anonymous, {} MiB hot segments, journal of {} MiB",
            anonymous / MIB,
            hot / MIB,
            journal / MIB
        );
        outcome.add_value(format!("scale_anonymous_mib_{name}"), Thousandths::whole(anonymous / MIB));
        outcome.add_value(format!("scale_hot_segments_mib_{name}"), Thousandths::whole(hot / MIB));
        filled.push(gateway);
    }
    let meter = Meter::start()?;
    host::pinned(|| {
        let mut all = || {
            filled.iter_mut().try_for_each(Filled::warm_up)?;
            (0..options.rounds).try_for_each(|_| round(&mut filled, options))
        };
        all().map_err(|error: Failure| error.to_string())
    })?;
    outcome.hiccups = meter.stop()?;
    let baseline = filled.first().map(|first| first.rounds.clone()).unwrap_or_default();
    let baseline_void = filled.first().and_then(|filled| shortfall(options.rate, &[("the first", &filled.sample)]));
    for (point, filled) in points.iter().zip(filled) {
        let name = point.name(&first);
        print_run(&name, &filled.sample.corrected);
        let [p50, p99] = ratios(&filled.rounds, &baseline);
        println!("    {p50} of the first at p50, {p99} at p99; median of {} rounds", options.rounds);
        let is_figure = first.open == FEW_ORDERS && *point == (Point { open: MANY_ORDERS, ..first });
        match baseline_void.clone().or_else(|| shortfall(options.rate, &[(&name, &filled.sample)])) {
            Some(why) => {
                println!("    {why}");
                if is_figure {
                    outcome.miss("scale_ratio", why);
                }
            }
            None => {
                outcome.add_value(format!("scale_p50_ratio_{name}"), p50);
                outcome.add_value(format!("scale_p99_ratio_{name}"), p99);
                if is_figure {
                    outcome.add_value("scale_ratio", p50);
                }
            }
        }
        outcome.add_series("scale", name.clone(), filled.sample.corrected);
        outcome.add_series("generator", format!("{name} generator away"), filled.sample.gaps);
    }
    Ok(outcome)
}

/// The median over rounds of p50 and of p99, each against the baseline of its round.
fn ratios(rounds: &[(u64, u64)], baseline: &[(u64, u64)]) -> [Thousandths; 2] {
    let of = |pick: fn(&(u64, u64)) -> u64| {
        let ratios = rounds.iter().zip(baseline).map(|(own, first)| Thousandths::ratio(pick(own), pick(first)));
        Thousandths::median(ratios.collect()).unwrap_or(Thousandths(u64::MAX))
    };
    [of(|round| round.0), of(|round| round.1)]
}

/// Every point has its slices, one after the other.
fn round(filled: &mut [Filled], options: &Options) -> Result<(), Failure> {
    let requests = options.rate.saturating_mul(SLICE_MS).checked_div(1000).unwrap_or(0).max(1);
    let slices = options.seconds.saturating_mul(1000).checked_div(SLICE_MS).unwrap_or(0).max(1);
    let mut times: Vec<RoundTrips> = filled.iter().map(|_| round_trips()).collect();
    for _ in 0..slices {
        for (filled, times) in filled.iter_mut().zip(&mut times) {
            let sample = filled.slice(options.rate, requests)?;
            times.add(&sample.corrected)?;
            filled.sample.add(&sample)?;
        }
    }
    for (filled, times) in filled.iter_mut().zip(&times) {
        filled.rounds.push((times.value_at_quantile(0.5), times.value_at_quantile(0.99)));
    }
    Ok(())
}

impl Filled {
    /// Starts one and fills it; it is held afterwards.
    fn start(point: &Point) -> Result<Self, Failure> {
        let orders_max = u32::try_from(point.open.saturating_add(point.open / 64).saturating_add(SPARE_ORDERS))?;
        let ids_max = orders_max.saturating_add(point.sessions.saturating_mul(SESSION_IDS));
        let bounds = Some((orders_max, ids_max));
        let setup = Setup { sessions: point.sessions, broker: Broker::Instant, bounds, is_in_memory: false };
        let extent = Extent { instruments: point.instruments, open_orders_max: orders_max, ..Extent::default() };
        let gateway = Gateway::start_at(setup, extent)?;
        let mut first = Active::log_on_with(&gateway.address, 1, point.load())?;
        wait_until_trading(&mut first)?;
        drop(first);
        if point.journal_mib > 0 {
            lengthen(&gateway, point.journal_mib.saturating_mul(MIB))?;
        }
        let took = filling::rest(&gateway.address, 1, point.load(), point.open)?;
        println!("  {} orders rest after {} ms", point.open, took.as_millis());
        let log_on = |id| Active::log_on_with(&gateway.address, id, point.load());
        let sessions = Sessions::new((1..=point.sessions).map(log_on).collect::<Result<Vec<_>, _>>()?);
        settle(&gateway)?;
        gateway.process.hold()?;
        Ok(Self { gateway, sessions, sample: Sample::new(), rounds: Vec::new() })
    }

    /// The market of a gateway that was held for long is too old for orders, until its broker has told of a new one.
    fn warm_up(&mut self) -> Result<(), Failure> {
        self.gateway.process.go_on()?;
        self.sessions.all.iter_mut().try_for_each(wait_until_trading)?;
        self.gateway.process.hold()
    }

    fn slice(&mut self, rate: u64, requests: u64) -> Result<Sample, Failure> {
        self.gateway.process.go_on()?;
        pace(&mut self.sessions, rate, UNTIMED, Idle::Spin)?;
        let sample = pace(&mut self.sessions, rate, requests, Idle::Spin)?;
        self.gateway.process.hold()?;
        Ok(sample)
    }
}

/// Waits until its side threads make no segment any more: for a million orders that is gigabytes, and what it costs is not
/// what is measured.
pub(crate) fn settle(gateway: &Gateway) -> Result<(), Failure> {
    let started = Instant::now();
    let taken = || -> Result<u64, Failure> { Ok(gateway.hot_bytes()?.saturating_add(gateway.journal_bytes()?)) };
    let mut before = taken()?;
    loop {
        std::thread::sleep(Duration::from_secs(1));
        let now = taken()?;
        if now == before {
            return Ok(());
        }
        if started.elapsed() > DEADLINE {
            return Err("the gateway goes on making segments".into());
        }
        before = now;
    }
}

/// Makes a journal of so many bytes of orders that come and go.
fn lengthen(gateway: &Gateway, bytes: u64) -> Result<(), Failure> {
    let mut pipeline = Pipeline::log_on(&gateway.address, 1)?;
    let mut last_move = Instant::now();
    let mut turn = |in_flight, open_max| -> Result<Counts, Failure> {
        if pipeline.turn(in_flight, open_max)? {
            last_move = Instant::now();
        } else if last_move.elapsed() > DEADLINE {
            return Err(format!("the gateway stands still: {:?}", pipeline.counts()).into());
        } else {
            rustix::thread::sched_yield();
        }
        Ok(pipeline.counts())
    };
    while gateway.journal_bytes()? < bytes {
        for _ in 0..10_000 {
            turn(IN_FLIGHT, OPEN_MAX)?;
        }
    }
    // What is on its way is answered before the session ends.
    loop {
        let counts = turn(0, 0)?;
        if counts.sent == counts.accepted.saturating_add(counts.refused) {
            return Ok(());
        }
    }
}

/// Sessions of which each sends one order in turn. Only those are read that await an answer: what it costs to look at
/// hundreds of sockets is the generator's.
struct Sessions {
    all: Vec<Active>,
    next: usize,
    waiting: VecDeque<usize>,
}

impl Sessions {
    fn new(all: Vec<Active>) -> Self {
        Self { all, next: 0, waiting: VecDeque::new() }
    }
}

impl Target for Sessions {
    fn prepare(&mut self) -> Result<(), Failure> {
        self.all.get_mut(self.next).map_or(Ok(()), Target::prepare)
    }

    fn can_send(&self) -> bool {
        self.all.get(self.next).is_none_or(Target::can_send)
    }

    fn send(&mut self, sent: Sent) -> Result<(), Failure> {
        let turn = self.next;
        self.next = turn.saturating_add(1).checked_rem(self.all.len()).unwrap_or(0);
        self.waiting.push_back(turn);
        self.all.get_mut(turn).map_or(Ok(()), |active| active.send(sent))
    }

    fn poll(&mut self, sample: &mut Sample) -> Result<(), Failure> {
        let Some(active) = self.waiting.front().and_then(|oldest| self.all.get_mut(*oldest)) else { return Ok(()) };
        active.poll(sample)?;
        if !active.is_waiting() {
            self.waiting.pop_front();
        }
        Ok(())
    }

    fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_differs_from_the_first_in_one_number_and_stands_there_once() {
        let options = Options {
            open: vec![10, 20],
            instruments: vec![1, 16],
            sessions: vec![1, 256],
            journal_mib: vec![0, 1024],
            ..Options::for_figure()
        };
        let points = options.points();
        let names: Vec<String> = points.iter().map(|point| point.name(&points[0])).collect();
        assert_eq!(names, ["10_open", "20_open", "16_instruments", "256_sessions", "journal_1024_mib"]);
    }

    #[test]
    fn nothing_of_something_is_refused() {
        use clap::Parser as _;
        for option in ["--open", "--instruments", "--sessions", "--journal-mib", "--rate"] {
            let parse = |count| crate::Arguments::try_parse_from(["bench", "scale", option, count]);
            assert!(parse("0").is_err() && parse("1").is_ok(), "{option}");
        }
        let parse = |rate| crate::Arguments::try_parse_from(["bench", "tail", "--rate", rate]);
        assert!(parse("0").is_err() && parse("1").is_ok());
        assert!(parse("1000000").is_ok() && parse("1000001").is_err(), "what nobody sends would not end");
    }

    #[test]
    fn a_ratio_is_the_median_of_those_of_the_rounds() {
        let baseline = [(10, 100), (20, 100), (10, 100)];
        let rounds = [(11, 200), (30, 300), (13, 900)];
        assert_eq!(ratios(&rounds, &baseline), [Thousandths(1300), Thousandths(3000)]);
    }
}
