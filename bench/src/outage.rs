//! Kafka and PostgreSQL down for long, at a rate: what an order feels of it, what the gateway's memory does, whether the
//! disk gate alarms and then lets only cancels pass, and whether all has arrived once they are back, each event once.
#![allow(clippy::arithmetic_side_effects)]

use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tradecore::config::Config;
use tradecore::mapped::{Reader, Snapshot};
use tradecore::projections::{server_source_of, source_of, verify};
use tradecore::shipping::alerts::Kind;
use tradecore::shipping::kafka::{Cluster, prove};
use tradecore_protocol::fields::{ExecType, Tif};
use tradecore_protocol::messages::{CancelOrder, ExecReport};
use tradecore_protocol::reason::Reason;
use tradecore_protocol::wire::U64;

use crate::Failure;
use crate::beside::Beside;
use crate::growth::{self, Allowance};
use crate::host::{self, Broker, Gateway, Place, Setup};
use crate::orders::{Active, Load, wait_until_trading};
use crate::outcome::Outcome;
use crate::pace::{Idle, pace};
use crate::peer::Peer;
use crate::servers::{Kafka, Postgres};
use crate::sides::{Sides, borrowed};
use crate::stages::TOTAL;
use crate::thousandths::Thousandths;
use crate::timing::{self, micros};
use crate::vitals::Vitals;

/// Events that the instant broker makes of an order: accepted, acknowledged, expired.
const EVENTS_OF_ORDER: u64 = 3;
/// What the journal has of an event, padding and all, roughly: it says how much may wait for the gate to close in time.
const EVENT_BYTES: u64 = 234;
/// Orders of a client epoch, of which there are enough for days.
const EPOCH_IDS: u64 = 32_768;
/// Orders that may be open, and ids.
const BOUNDS: (u32, u32) = (8_192, 524_288);
/// The session that has an order that rests.
const RESTING_SESSION: u32 = 2;
/// From one look at the process to the next, s.
const STRETCH_S: u64 = 1;
/// Who is away for so many times as long as was meant has not closed the gate.
const LENGTH_MAX: u64 = 3;
/// No answer for so long is none.
const ANSWER_MAX: Duration = Duration::from_secs(20);
/// How long it may take to catch up, for each second of the outage and at least.
const CATCH_UP_MAX: u32 = 2;
const CATCH_UP_MIN: Duration = Duration::from_secs(120);
/// How much of the outage's length is looked at before it.
const BEFORE_PART: u64 = 8;
/// Of the outage's length, the window that has percentiles of its own: what a neighbour does for a minute is a minute's.
const WINDOWS: u64 = 120;
/// How the windows of the outage are told, so that what grows can be told from what comes and goes.
const QUARTERS: usize = 4;
/// How much longer an order may take, thousandths.
const PATH_MAX: Thousandths = Thousandths(1_100);
/// Percentiles that are compared: their names, as parts of a million, as parts of one.
const COMPARED: [(&str, u64, f64); 2] = [("p50", 500_000, 0.5), ("p99", 990_000, 0.99)];
const MIB: u64 = 1 << 20;
const MEMORY: Allowance = Allowance { amount: 2 * MIB, parts: Some(50) };

/// How it is measured.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Length of the outage, s: what may wait in the journal is such that the gate closes at about that time.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(10..))]
    pub(crate) seconds: u64,
    /// Events a second.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(30..))]
    pub(crate) rate: u64,
}

/// Measures; true when all is as promised.
pub(crate) fn measure(options: &Options) -> Result<(Outcome, bool), Failure> {
    let mut outcome = Outcome::default();
    outcome.configure("seconds", options.seconds);
    outcome.configure("rate", options.rate);
    let postgres = Postgres::start(Place::Aside);
    if let Err(why) = &postgres {
        println!("without PostgreSQL: {why}");
    }
    let mut sides = Sides::of(Kafka::start(Place::Aside)?, postgres.ok())?;
    outcome.configure("postgres", sides.postgres.is_some());
    let mut overrides = sides.overrides()?;
    let waiting_mib = (options.rate * options.seconds * EVENT_BYTES / MIB).max(8);
    let segment_mib = (waiting_mib / 64).clamp(1, 64);
    overrides.extend([
        ("TRADECORE__JOURNAL__UNSHIPPED_MAX_MIB", waiting_mib.to_string()),
        ("TRADECORE__JOURNAL__FIRST_SEGMENT_MIB", segment_mib.to_string()),
        ("TRADECORE__JOURNAL__MAX_SEGMENT_MIB", segment_mib.to_string()),
    ]);
    let setup = Setup { sessions: 2, broker: Broker::Instant, bounds: Some(BOUNDS), is_in_memory: false };
    let gateway = Gateway::start_with(setup, &borrowed(&overrides))?;
    println!("outage of Kafka and PostgreSQL at {} events/s; {waiting_mib} MiB may wait", options.rate);
    let resting = rest(&gateway.address)?;
    let run = host::pinned(|| {
        host::ahead();
        run(options, &gateway, &sides).map_err(|error| error.to_string())
    })?;
    let mut is_kept = judge(&run, &mut outcome);
    is_kept &= told("cancels pass while new orders are refused", cancel(&gateway.address, resting).is_ok());

    go_on(&sides)?;
    let since = Instant::now();
    let events = tradecore_journal::stat(&gateway.journal_dir())?.synced_seq;
    let longest = CATCH_UP_MIN.max(Duration::from_secs(options.seconds) * CATCH_UP_MAX);
    while sides.reached(&gateway)?.all() < events {
        if since.elapsed() > longest {
            return Err(format!("they do not catch up with {events} events: {:?}", sides.reached(&gateway)?).into());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    println!("  caught up with {events} events {} ms after the servers' start", since.elapsed().as_millis());
    outcome.add_value("outage_events", Thousandths::whole(events));
    outcome.add_value("outage_catch_up_ms", Thousandths::whole(u64::try_from(since.elapsed().as_millis())?));
    let mut active = log_on(&gateway.address)?;
    is_kept &= told("new orders pass again", wait_until_trading(&mut active).is_ok());
    let variables = overrides.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    let config = Config::load(&gateway.config_path(), variables)?;
    is_kept &= arrived(&config, &sides)?;
    Ok((outcome, is_kept))
}

fn told(what: &str, is_so: bool) -> bool {
    println!("  {what}: {}", if is_so { "yes" } else { "NO" });
    is_so
}

/// What was seen while they were away.
struct Seen {
    before: Windows,
    meanwhile: Windows,
    anonymous_bytes: Vec<u64>,
    is_closed: bool,
    down_for: Duration,
}

/// Percentiles of the time from socket read to write, ns.
type Percentiles = [u64; COMPARED.len()];

/// Of a while, those of orders and those of the raw echo beside them.
#[derive(Clone, Copy)]
struct Window {
    orders: Percentiles,
    echo: Percentiles,
}

/// What was seen in each window, and of all orders.
struct Windows {
    length_s: u64,
    each: Vec<Window>,
    all: Percentiles,
}

/// Follows the gateway's counters.
struct Watch<'a> {
    reader: &'a Reader,
    beside: &'a Beside,
    first: Snapshot,
    last: Snapshot,
    since: Instant,
    windows: Windows,
}

impl<'a> Watch<'a> {
    fn begin(reader: &'a Reader, beside: &'a Beside, length_s: u64) -> Self {
        let windows = Windows { length_s, each: Vec::new(), all: [0; COMPARED.len()] };
        beside.take();
        Self { reader, beside, first: reader.snapshot(), last: reader.snapshot(), since: Instant::now(), windows }
    }

    fn look(&mut self) {
        if self.since.elapsed() >= Duration::from_secs(self.windows.length_s) {
            let (now, echo) = (self.reader.snapshot(), self.beside.take());
            let orders = self.percentiles(&now.since(&self.last));
            self.windows.each.push(Window { orders, echo: COMPARED.map(|(.., part)| echo.value_at_quantile(part)) });
            (self.last, self.since) = (now, Instant::now());
        }
    }

    fn end(mut self) -> Windows {
        self.windows.all = self.percentiles(&self.reader.snapshot().since(&self.first));
        self.windows
    }

    fn percentiles(&self, snapshot: &Snapshot) -> Percentiles {
        COMPARED.map(|(_, parts, _)| snapshot.stage(TOTAL).map_or(0, |times| self.reader.nanos(times.at(parts))))
    }
}

fn nth(percentiles: &Percentiles, index: usize) -> u64 {
    percentiles.get(index).copied().unwrap_or(0)
}

/// The medians of one percentile over some windows: of orders, of the echo, and of how many echoes an order took.
struct Medians {
    orders_ns: u64,
    echo_ns: u64,
    echoes: Thousandths,
}

impl Medians {
    fn of(windows: &[Window], index: usize) -> Self {
        let ns = |of: fn(&Window) -> &Percentiles| windows.iter().map(|window| nth(of(window), index)).collect();
        let echoes =
            windows.iter().map(|window| Thousandths::ratio(nth(&window.orders, index), nth(&window.echo, index)));
        Self {
            orders_ns: timing::median(ns(|window| &window.orders)),
            echo_ns: timing::median(ns(|window| &window.echo)),
            echoes: Thousandths::median(echoes.collect()).unwrap_or(Thousandths(0)),
        }
    }
}

fn log_on(address: &str) -> Result<Active, Failure> {
    Active::log_on_with(address, 1, Load { epoch_ids: EPOCH_IDS, ..Load::default() })
}

/// Before, and while they are away, until the gate closes.
fn run(options: &Options, gateway: &Gateway, sides: &Sides) -> Result<Seen, Failure> {
    let mut active = log_on(&gateway.address)?;
    wait_until_trading(&mut active)?;
    let rate = (options.rate / EVENTS_OF_ORDER).max(1);
    let stretch = rate * STRETCH_S;
    pace(&mut active, rate, stretch * 3, Idle::Sleep)?;
    let (reader, beside) = (Reader::open(&gateway.journal_dir())?, Beside::start()?);
    let window_s = (options.seconds / WINDOWS).max(1);
    let mut watch = Watch::begin(&reader, &beside, window_s);
    for _ in 0..(options.seconds / BEFORE_PART).max(5) / STRETCH_S {
        pace(&mut active, rate, stretch, Idle::Sleep)?;
        watch.look();
    }
    let before = watch.end();
    stop(sides)?;
    let (since, mut watch) = (Instant::now(), Watch::begin(&reader, &beside, window_s));
    let (mut anonymous_bytes, mut is_closed) = (Vec::new(), false);
    let longest = Duration::from_secs(options.seconds * LENGTH_MAX);
    while !is_closed && since.elapsed() < longest {
        if let Err(error) = pace(&mut active, rate, stretch, Idle::Sleep) {
            is_closed = active.refusal() == Some(Reason::JournalFull.raw());
            if !is_closed {
                return Err(error);
            }
        }
        watch.look();
        anonymous_bytes.push(Vitals::of(gateway.process.id())?.anonymous_bytes);
    }
    Ok(Seen { before, meanwhile: watch.end(), anonymous_bytes, is_closed, down_for: since.elapsed() })
}

fn judge(seen: &Seen, outcome: &mut Outcome) -> bool {
    let mut is_kept = true;
    let (before, meanwhile) = (&seen.before, &seen.meanwhile);
    for (index, (name, ..)) in COMPARED.iter().enumerate() {
        let first = Medians::of(&before.each, index);
        let quarters = meanwhile.each.chunks(meanwhile.each.len().div_ceil(QUARTERS).max(1));
        let quarters: Vec<Medians> = quarters.map(|quarter| Medians::of(quarter, index)).collect();
        let worst = quarters.iter().map(|quarter| quarter.echoes).max().unwrap_or(Thousandths(0));
        let ratio = Thousandths::ratio(worst.0, first.echoes.0);
        let line = format!(
            "socket read to write, {name}, median of windows of {} s: {} times a raw echo beside it before, {worst} times in \
             the worst quarter, {ratio}, at most 1.1",
            before.length_s, first.echoes,
        );
        is_kept &= told(&line, ratio <= PATH_MAX && first.echoes.0 > 0 && !first.echoes.is_endless() && worst.0 > 0);
        outcome.add_value(format!("outage_path_{name}_ratio"), ratio);
        let each = |what: fn(&Medians) -> u64| {
            let quarters: Vec<String> = quarters.iter().map(|quarter| micros(what(quarter))).collect();
            format!("{} µs before, by quarters {} µs", micros(what(&first)), quarters.join(", "))
        };
        println!("    orders {}; echo {}", each(|medians| medians.orders_ns), each(|medians| medians.echo_ns));
        let (before_ns, meanwhile_ns) = (nth(&before.all, index), nth(&meanwhile.all, index));
        let all_ratio = Thousandths::ratio(meanwhile_ns, before_ns);
        println!(
            "    of all orders {} µs before, {} µs meanwhile, {all_ratio}",
            micros(before_ns),
            micros(meanwhile_ns)
        );
        outcome.add_value(format!("outage_path_{name}_all_ratio"), all_ratio);
    }
    let growth = growth::of(&seen.anonymous_bytes);
    let mib = |bytes| Thousandths::ratio(bytes, MIB);
    let line = format!("memory is flat: {} to {} MiB", mib(growth.from), mib(growth.to));
    is_kept &= told(&line, growth.is_within(MEMORY));
    outcome.add_value("outage_memory_growth_mib", mib(growth.amount()));
    let line = format!("after {} s new orders are refused with JournalFull", seen.down_for.as_secs());
    is_kept & told(&line, seen.is_closed)
}

fn stop(sides: &Sides) -> Result<(), Failure> {
    let mut own = sides.kafka.own.iter().chain(sides.postgres.iter().filter_map(|postgres| postgres.own.as_ref()));
    own.try_for_each(crate::servers::Own::stop)
}

fn go_on(sides: &Sides) -> Result<(), Failure> {
    let mut own = sides.kafka.own.iter().chain(sides.postgres.iter().filter_map(|postgres| postgres.own.as_ref()));
    own.try_for_each(|own| own.go_on().map(drop))
}

/// An order that rests; its id.
fn rest(address: &str) -> Result<u64, Failure> {
    let started = Instant::now();
    loop {
        let mut peer = Peer::log_on(address, RESTING_SESSION)?;
        let counter = peer.last_client_seq().saturating_add(1);
        let order = Load::default().order(counter, Tif::Gtc);
        peer.queue(peer.now(), &order)?;
        // Until the market is there, orders are refused.
        if has_come(&mut peer, ExecType::New)? {
            return Ok(order.cl_ord_id.get());
        }
        if started.elapsed() > ANSWER_MAX {
            return Err("no order rests".into());
        }
    }
}

fn cancel(address: &str, order: u64) -> Result<(), Failure> {
    let mut peer = Peer::log_on(address, RESTING_SESSION)?;
    let id = Load::default().id_of(peer.last_client_seq().saturating_add(1));
    let cancel = CancelOrder { cl_ord_id: U64::new(id), orig_cl_ord_id: U64::new(order), ..CancelOrder::default() };
    peer.queue(peer.now(), &cancel)?;
    if has_come(&mut peer, ExecType::Canceled)? { Ok(()) } else { Err("the cancel was refused".into()) }
}

/// Whether a report of a kind comes, and not a refusal.
fn has_come(peer: &mut Peer, wanted: ExecType) -> Result<bool, Failure> {
    let (since, mut answer) = (Instant::now(), None);
    while answer.is_none() && since.elapsed() < ANSWER_MAX {
        peer.flush()?;
        peer.poll(&mut |frame, _| match frame.read::<ExecReport>() {
            Ok(report) if report.exec_type == wanted.raw() => answer = Some(true),
            Ok(_) => {}
            Err(_) if frame.header.template_id == tradecore_protocol::messages::RequestReject::TEMPLATE_ID => {
                answer = Some(false);
            }
            Err(_) => {}
        })?;
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(answer.unwrap_or(false))
}

/// That everything is everywhere, once, and that the alarms were told.
fn arrived(config: &Config, sides: &Sides) -> Result<bool, Failure> {
    let cluster = Cluster::of(config)?.ok_or("no section [ship.kafka]")?;
    let proof = prove(&cluster, &AtomicBool::new(false))?;
    let line =
        format!("{} events in Kafka, each once, in order and byte-equal; {} flaws", proof.events, proof.flaws_count);
    let mut is_kept = told(&line, proof.flaws_count == 0 && proof.events > 0);
    for source in std::iter::once(source_of(config)).chain(server_source_of(config)?) {
        let (seq, tables) = verify(&source, &mut |_, _| true)?;
        let is_equal = tables.iter().all(|table| table.there == table.folded);
        is_kept &= told(&format!("the tables of {} are those of {seq} events", source.name().display()), is_equal);
    }
    let prefix = config.kafka().map_or("", |kafka| kafka.topic_prefix.as_str());
    let alerts = alerts(&sides.kafka.address, &format!("{prefix}{}", Kind::JournalBacklog.topic()))?;
    alerts.iter().for_each(|text| println!("  alert: {text}"));
    for alarm in [50, 80, 95].map(|percent| format!("alarm at {percent} %")) {
        let is_there = alerts.iter().any(|text| text.starts_with(&alarm));
        is_kept &= told(&alarm, is_there);
    }
    Ok(is_kept)
}

/// The texts of a topic of alerts.
fn alerts(address: &str, topic: &str) -> Result<Vec<String>, Failure> {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", address).set("group.id", "bench").set("isolation.level", "read_committed");
    client.set("enable.auto.commit", "false").set("enable.partition.eof", "true");
    let consumer: BaseConsumer = client.create()?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Beginning)?;
    consumer.assign(&list)?;
    let (mut texts, since) = (Vec::new(), Instant::now());
    while since.elapsed() < ANSWER_MAX {
        match consumer.poll(Duration::from_millis(100)) {
            None => {}
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => return Ok(texts),
            Some(message) => {
                let alert: serde_json::Value = serde_json::from_slice(message?.payload().unwrap_or_default())?;
                texts.push(alert.get("text").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned());
            }
        }
    }
    Err(format!("{topic} cannot be read").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of orders, beside an echo that takes a tenth of what they do before.
    fn windows(each: &[Percentiles]) -> Windows {
        let each = each.iter().map(|orders| Window { orders: *orders, echo: [100, 900] }).collect();
        Windows { length_s: 1, each, all: [1_000, 9_000] }
    }

    #[test]
    fn what_was_seen_is_as_promised_only_if_no_order_was_slower_no_memory_grew_and_the_gate_has_closed() {
        let seen = || Seen {
            before: windows(&[[1_000, 9_000]]),
            // One window of three in each quarter is a neighbour's.
            meanwhile: windows(&[[1_100, 8_000], [9_000, 90_000], [1_050, 9_900]].repeat(QUARTERS)),
            anonymous_bytes: vec![100 * MIB; 40],
            is_closed: true,
            down_for: Duration::from_secs(40),
        };
        let is_kept = |seen: &Seen| judge(seen, &mut Outcome::default());
        assert!(is_kept(&seen()));
        assert!(!is_kept(&Seen { meanwhile: windows(&[]), ..seen() }), "nothing was seen");
        assert!(!is_kept(&Seen { before: windows(&[]), ..seen() }), "nothing was seen");
        assert!(!is_kept(&Seen { meanwhile: windows(&[[1_000, 10_000]]), ..seen() }));
        let slow_at_the_end = [[[1_000, 9_000]; 3].as_slice(), &[[1_000, 10_000]]].concat();
        assert!(!is_kept(&Seen { meanwhile: windows(&slow_at_the_end), ..seen() }));
        // What the echo feels as well is the machine's; that the echo became faster and orders did not is not.
        let both =
            windows(&[[2_000, 18_000]]).each.iter().map(|window| Window { echo: [200, 1_800], ..*window }).collect();
        assert!(is_kept(&Seen { meanwhile: Windows { each: both, ..windows(&[]) }, ..seen() }));
        let echo = windows(&[[1_000, 9_000]]).each.iter().map(|window| Window { echo: [90, 800], ..*window }).collect();
        assert!(!is_kept(&Seen { meanwhile: Windows { each: echo, ..windows(&[]) }, ..seen() }));
        let none = windows(&[[1_000, 9_000]]).each.iter().map(|window| Window { echo: [0, 0], ..*window }).collect();
        assert!(!is_kept(&Seen { before: Windows { each: none, ..windows(&[]) }, ..seen() }), "no echo");
        assert!(!is_kept(&Seen { anonymous_bytes: (0..40).map(|second| (100 + second) * MIB).collect(), ..seen() }));
        assert!(!is_kept(&Seen { is_closed: false, ..seen() }));
    }
}
