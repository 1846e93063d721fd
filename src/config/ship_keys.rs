//! The keys of `[ship]`.

use std::path::PathBuf;

use serde::Deserialize;
use toml::Value;

use super::allowed::Allowed;
use super::declare::{Key, Section, Shape, section, to_value};

/// What `[ship]` may hold.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ship {
    /// Files of events.
    #[serde(default)]
    pub files: Option<ShipFiles>,
    /// Where a Kafka-compatible cluster is.
    #[serde(default)]
    pub kafka: Option<ShipKafka>,
}

impl Ship {
    /// The section as documented and checked.
    pub const SECTION: Section = Section {
        name: "ship",
        shape: Shape::OptionalTable,
        doc: "Where the journal is shipped to: `docs/events.md` tells what arrives in files, `docs/kafka.md` how a cluster is set up.",
        keys: &[],
    };
}

section! {
    /// Files that every event is written to once it survives power loss: JSON lines, each event exactly once.
    ShipFiles "ship.files" Shape::OptionalTable => {
        /// Directory of the files; made if missing. Nothing in it is ever deleted by the gateway. Better on another disk
        /// than the journal, which a full one would stop; while there is no room here, events wait in the journal.
        dir: PathBuf = [required "/var/lib/tradecore/virtual/events".into()] in Allowed::Path;
        /// Length at which a file ends and the next begins, as it does with each day of UTC.
        file_mib: u64 = [64] in Allowed::Integer(1, 65_536), "MiB";
        /// Makes a Parquet file beside each that has ended, for DuckDB, pandas and the like.
        parquet: bool = [false] in Allowed::Bool;
    }
}

section! {
    /// A Kafka-compatible cluster that every event is shipped to, exactly once. Takes a build with `--features kafka`.
    ShipKafka "ship.kafka" Shape::OptionalTable => {
        /// `host:port` of some of its brokers, with commas between.
        brokers: String = [required "127.0.0.1:9092".to_owned()] in Allowed::Text(1, 1_024);
        /// Begins the name of every topic; for a cluster that several installations share.
        topic_prefix: String = [String::new()] in Allowed::Text(0, 64);
        /// Partitions of each topic of events. It cannot be changed: an event is looked for where it was put. Each that a
        /// transaction writes to is a request of its own, which a broker takes one after the other: 1 has the shortest way,
        /// and all events of a domain in order; more are for readers who share a topic's work.
        partitions: u32 = [1] in Allowed::Integer(1, 1_024), "partitions";
        /// Copies of every topic; topics with fewer are refused.
        replication_factor: u32 = [3] in Allowed::Integer(1, 32), "copies";
        /// Copies that have an event before it counts; topics with fewer are refused. 1 loses events with a host, and
        /// is refused with `core.durability = "replicated"` in environment `live`.
        min_insync_replicas: u32 = [2] in Allowed::Integer(1, 32), "copies";
        /// Makes topics that are missing, with the settings that are needed. Without it they must be there.
        create_topics: bool = [true] in Allowed::Bool;
        /// Ships every event as JSON as well, to `transport.DOMAIN-events`, and those of sagas to `saga.events`, in the
        /// same transaction.
        transport: bool = [true] in Allowed::Bool;
        /// Each batch of events is a transaction. `false` is for a cluster that has none: then events may be there again,
        /// which those who read must leave out, and nobody is fenced: `docs/kafka.md`. Not with `lease_ms`, nor with
        /// `core.durability = "replicated"`.
        transactions: bool = [true] in Allowed::Bool;
        /// From one sign of life in `system.health` to the next, with how far shipping is; 0: none.
        health_s: u64 = [10] in Allowed::Integer(0, 3_600), "s";
        /// Time that events wait for more to share their transaction.
        linger_ms: u64 = [5] in Allowed::Integer(0, 60_000), "ms";
        /// Events of a transaction, but for the rest of the last decision.
        batch_events_max: u32 = [10_000] in Allowed::Integer(1, 1_000_000), "events";
        /// Bytes of a transaction; all that the shipper holds in memory is four times as much, whatever waits.
        batch_bytes_max: usize = [4 << 20] in Allowed::Integer(65_536, 268_435_456), "bytes";
        /// Time that the cluster has for a transaction or an answer; then the producer is dropped, and what the cluster
        /// has is read before anything is sent again.
        timeout_ms: u64 = [30_000] in Allowed::Integer(1_000, 300_000), "ms";
        /// First wait after a failure; it doubles from wait to wait, and each is drawn from its upper half.
        backoff_min_ms: u64 = [100] in Allowed::Integer(1, 60_000), "ms";
        /// Longest wait after a failure.
        backoff_max_ms: u64 = [10_000] in Allowed::Integer(1, 600_000), "ms";
        /// From one look at what the cluster has to the next, while all goes well; 0: never.
        audit_s: u64 = [60] in Allowed::Integer(0, 86_400), "s";
        /// The trading lease: new orders leave only while the last commit to the cluster was begun less than this ago, and
        /// are refused with `NoLease` otherwise; cancels pass. Who takes over waits for it, and a quarter more. 0: none,
        /// and of two gateways on one journal's stream the older trades until the cluster tells it of the other. 500 or more.
        /// `docs/kafka.md` tells what it costs.
        lease_ms: u64 = [0] in Allowed::Integer(0, 60_000), "ms";
        /// Settings of librdkafka, each `name=value`: `"security.protocol=sasl_ssl"`, `"sasl.mechanism=SCRAM-SHA-512"`,
        /// `"sasl.username=gateway"`, `"ssl.ca.location=/etc/tradecore/ca.pem"`. What the shipper itself sets, and
        /// secrets, are refused. `config show` has values of those alone that are known to be no secret.
        settings: Vec<String> = [vec![]] in Allowed::Texts;
        /// Secrets of librdkafka, each `name=FILE`: `"sasl.password=kafka"`. The file is one that its owner alone may
        /// read, or a credential of the service manager, as those of keys of sessions.
        secrets: Vec<String> = [vec![]] in Allowed::Texts;
    }
}

/// Settings of librdkafka whose values may be printed. Of all others only the name: it may be a secret that somebody has
/// misspelled.
const SHOWN: &[&str] = &[
    "batch.num.messages",
    "batch.size",
    "broker.address.family",
    "client.rack",
    "compression.codec",
    "compression.level",
    "compression.type",
    "connections.max.idle.ms",
    "debug",
    "enable.ssl.certificate.verification",
    "fetch.wait.max.ms",
    "heartbeat.interval.ms",
    "metadata.max.age.ms",
    "sasl.kerberos.principal",
    "sasl.kerberos.service.name",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.oauthbearer.method",
    "sasl.username",
    "security.protocol",
    "session.timeout.ms",
    "socket.connection.setup.timeout.ms",
    "socket.keepalive.enable",
    "socket.timeout.ms",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.endpoint.identification.algorithm",
    "ssl.key.location",
    "topic.metadata.refresh.interval.ms",
];

impl ShipKafka {
    /// True when the value of this setting of librdkafka may be printed.
    #[must_use]
    pub fn is_shown(name: &str) -> bool {
        SHOWN.contains(&name)
    }

    /// `ship.kafka.settings` as it may be printed.
    pub(super) fn shown(settings: &Value) -> Value {
        let entry = |entry: &Value| match entry.as_str().unwrap_or_default().split_once('=') {
            Some((name, _)) if Self::is_shown(name) => entry.clone(),
            Some((name, _)) => Value::String(format!("{name}=…")),
            None => Value::String("…".to_owned()),
        };
        Value::Array(settings.as_array().into_iter().flatten().map(entry).collect())
    }
}
