//! How fast a journal is shipped to Kafka, exactly once, against a bare producer of librdkafka that sends the same
//! records with the same settings, in turn with it.
#![allow(clippy::arithmetic_side_effects)]

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use tradecore::config::Config;
use tradecore::shipping::domains::{self, Domain, Stream};
use tradecore::shipping::kafka::{Cluster, End, Shipper};
use tradecore_domain::event::Event;
use tradecore_journal::{Reader, Until};

use crate::Failure;
use crate::hiccup::Meter;
use crate::host::Place;
use crate::outcome::Outcome;
use crate::recovery::write;
use crate::servers::Kafka;
use crate::thousandths::Thousandths;
use crate::timing::median;

/// Events of a transaction, as the gateway has it by default.
const BATCH_EVENTS: usize = 10_000;
/// Bytes of a transaction.
const BATCH_BYTES: usize = 4 << 20;
/// Time that events wait for more to share their transaction, the default.
pub(crate) const LINGER: Duration = Duration::from_millis(5);
const TIMEOUT: Duration = Duration::from_secs(60);
/// The sample's: virtual, core 1.
const STREAM: Stream = Stream { environment: 3, core: 1 };

/// Ships a journal of so many orders, and sends it bare, in turn.
pub(crate) fn measure(orders: u64, runs: usize) -> Result<Outcome, Failure> {
    let mut outcome = Outcome::default();
    outcome.configure("orders", orders);
    outcome.configure("runs", runs);
    let dir = crate::scratch::dir()?;
    let journal_dir = dir.path().join("data/journal");
    std::fs::create_dir_all(&journal_dir)?;
    let (events, _) = write(&journal_dir, orders)?;
    let broker = Kafka::get(Place::Anywhere)?;
    println!(
        "shipping of {events} events of {orders} orders to a real broker, and a bare producer with the same records"
    );
    let (mut shipped, mut with_json, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    // A broker that has just been started compiles what it does: what it does first counts for nobody.
    ship(dir.path(), &broker, &format!("bench{}-warm.", std::process::id()), true, events)?;
    let meter = Meter::start()?;
    for run in 1..=runs {
        let prefix = format!("bench{}-{run}.", std::process::id());
        let rate = |elapsed: Duration| -> Result<u64, Failure> {
            Ok(u64::try_from(u128::from(events) * 1_000_000_000 / elapsed.as_nanos().max(1))?)
        };
        // The bare one has the same topics, but of its own.
        let bare_prefix = format!("bare-{prefix}");
        cluster(dir.path(), &broker, &bare_prefix, false)?;
        let partitions = config(dir.path(), &broker, &bare_prefix, false)?.kafka().map_or(1, |kafka| kafka.partitions);
        let ship_it = || rate(ship(dir.path(), &broker, &prefix, false, events)?);
        let send_it = || rate(send(&journal_dir, &broker, &bare_prefix, partitions, events)?);
        // Who comes first takes turns.
        let (ours, theirs) = if run.is_multiple_of(2) {
            let theirs = send_it()?;
            (ship_it()?, theirs)
        } else {
            (ship_it()?, send_it()?)
        };
        let json = rate(ship(dir.path(), &broker, &format!("json-{prefix}"), true, events)?)?;
        println!("  run {run}: {ours} events/s shipped, {theirs} bare, {json} shipped with JSON");
        shipped.push(ours);
        bare.push(theirs);
        with_json.push(json);
    }
    outcome.hiccups = meter.stop()?;
    let (ours, theirs) = (median(shipped), median(bare));
    outcome.add_value("ship_events_per_s", Thousandths::whole(ours));
    outcome.add_value("ship_ratio", Thousandths(ours * 1000 / theirs.max(1)));
    outcome.add_value("ship_json_events_per_s", Thousandths::whole(median(with_json)));
    Ok(outcome)
}

/// A gateway of this directory that ships to topics of its own, with all other keys at their defaults.
fn config(dir: &Path, broker: &Kafka, prefix: &str, has_json: bool) -> Result<Config, Failure> {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../systemd/tradecore.toml");
    let sample = std::fs::read_to_string(sample)?.replace("/var/lib/tradecore/virtual", "data");
    let text = format!(
        "{sample}\n[ship.kafka]\nbrokers = \"{}\"\ntopic_prefix = \"{prefix}\"\n\
         replication_factor = 1\nmin_insync_replicas = 1\ntransport = {has_json}\n\
         linger_ms = {}\n",
        broker.address,
        LINGER.as_millis()
    );
    Ok(Config::parse(&dir.join("gateway.toml"), &text, std::iter::empty())?)
}

/// Where it ships to. The topics are there when it returns.
pub(crate) fn cluster(dir: &Path, broker: &Kafka, prefix: &str, has_json: bool) -> Result<Cluster, Failure> {
    let config = config(dir, broker, prefix, has_json)?;
    let cluster = || Cluster::of(&config)?.ok_or_else(|| Failure::from("no section [ship.kafka]"));
    make_topics(cluster()?)?;
    cluster()
}

/// Ships all of it, as a gateway does that is behind: how long from the first transaction to the last.
pub(crate) fn ship(dir: &Path, broker: &Kafka, prefix: &str, has_json: bool, events: u64) -> Result<Duration, Failure> {
    let cluster = cluster(dir, broker, prefix, has_json)?;
    let started = Instant::now();
    match Shipper::new(cluster).run(&AtomicBool::new(false), true)? {
        End::Drained(seq) if seq == events => Ok(started.elapsed()),
        end => Err(format!("not all was shipped: {end:?}").into()),
    }
}

/// A shipper that is to stop makes its topics first.
fn make_topics(cluster: Cluster) -> Result<(), Failure> {
    Shipper::new(cluster).run(&AtomicBool::new(true), false)?;
    Ok(())
}

/// Sends the same records from memory, in transactions of the same size.
fn send(journal_dir: &Path, broker: &Kafka, prefix: &str, partitions: u32, events: u64) -> Result<Duration, Failure> {
    let mut records = Vec::new();
    let mut failure = None;
    Reader::open_oldest(journal_dir, Until::Synced)?.for_each(|record| {
        match Event::from_archive(record.kind, record.version, record.payload) {
            Ok(event) => {
                let key = domains::key(STREAM, &event);
                let partition = domains::partition(key.as_bytes(), partitions);
                records.push((Domain::of(&event), partition, key, record.seq, record.bytes.to_vec()));
            }
            Err(error) => failure = Some(error),
        }
    })?;
    if let Some(error) = failure {
        return Err(error.to_string().into());
    }
    let topics: Vec<String> =
        Domain::ALL.iter().map(|domain| format!("{prefix}{}", domain.eventstore_topic())).collect();
    let started = Instant::now();
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", &broker.address).set("transactional.id", format!("{prefix}bare"));
    client.set("acks", "all").set("enable.idempotence", "true").set("compression.type", "lz4").set("linger.ms", "1");
    client.set("queue.buffering.max.messages", "100000").set("queue.buffering.max.kbytes", "1048576");
    let producer: BaseProducer = client.create()?;
    producer.init_transactions(TIMEOUT)?;
    let (mut count, mut bytes, mut sent) = (0, 0, 0_u64);
    producer.begin_transaction()?;
    for (domain, partition, key, seq, value) in &records {
        let seq = seq.to_string();
        let header = |key, value| Header { key, value: Some(value) };
        let headers = OwnedHeaders::new_with_capacity(5)
            .insert(header("stream", "virtual-1"))
            .insert(header("epoch", "1"))
            .insert(header("seq", &seq))
            .insert(header("prev_seq_same_partition", &seq))
            .insert(header("crc", "00000000"));
        let topic = topics.get(*domain as usize).ok_or("no topic")?;
        let mut message = BaseRecord::to(topic).key(key).payload(value).headers(headers);
        message = message.partition(i32::try_from(*partition)?);
        while let Err((error, refused)) = producer.send(message) {
            if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                return Err(error.into());
            }
            listen(&producer);
            message = refused;
        }
        (count, bytes, sent) = (count + 1, bytes + value.len(), sent + 1);
        if count >= BATCH_EVENTS || bytes >= BATCH_BYTES || sent == events {
            while producer.in_flight_count() > 0 {
                listen(&producer);
            }
            producer.commit_transaction(TIMEOUT)?;
            if sent < events {
                producer.begin_transaction()?;
            }
            (count, bytes) = (0, 0);
        }
    }
    Ok(started.elapsed())
}

/// Takes in what the client has to report, or waits a little, as the shipper does.
fn listen(producer: &BaseProducer) {
    let before = producer.in_flight_count();
    producer.poll(Duration::ZERO);
    if producer.in_flight_count() >= before {
        std::thread::sleep(Duration::from_micros(250));
    }
}
