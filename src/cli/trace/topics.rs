//! Where the events of an order are in the topics, as far as the cluster says.

#[cfg(feature = "kafka")]
use std::time::Duration;

use serde_json::{Value, json};
use tradecore::config::Config;
use tradecore::shipping::domains::{Channel, Domain, Stream, key, partition};
use tradecore_client::protocol::fields::Environment;
use tradecore_domain::event::Event;

use super::Hop;

/// Longest wait for the cluster.
#[cfg(feature = "kafka")]
const PATIENCE: Duration = Duration::from_secs(5);

/// What is known of the events of an order.
pub(super) struct Topics<'a> {
    config: &'a Config,
    #[cfg(feature = "kafka")]
    spots: std::collections::BTreeMap<u64, tradecore::shipping::kafka::Spot>,
    /// How far the stream is shipped; or why what is not in `spots` was not looked up.
    shipped_seq: Result<u64, String>,
}

fn stream(config: &Config) -> Stream {
    Stream { environment: Environment::from(config.core.environment).raw(), core: config.core.id }
}

impl<'a> Topics<'a> {
    /// Asks the cluster for events: number, time, event.
    #[cfg(feature = "kafka")]
    pub(super) fn of(config: &'a Config, events: &[(u64, u64, Event)]) -> Self {
        use tradecore::shipping::kafka::{Cluster, Sought, find};
        let partitions = config.kafka().map_or(0, |kafka| kafka.partitions);
        let sought = events.iter().map(|(seq, ts_ns, event)| Sought {
            seq: *seq,
            ts_ns: *ts_ns,
            domain: Domain::of(event),
            partition: partition(key(stream(config), event).as_bytes(), partitions),
        });
        let sought: Vec<Sought> = sought.collect();
        let mut spots = std::collections::BTreeMap::new();
        let shipped_seq = match Cluster::of(config) {
            Ok(Some(cluster)) => find(cluster, &sought, PATIENCE, &mut spots).map_err(|trouble| trouble.to_string()),
            Ok(None) => Err("there is no section [ship.kafka]".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        Self { config, spots, shipped_seq }
    }

    #[cfg(not(feature = "kafka"))]
    pub(super) fn of(config: &'a Config, _: &[(u64, u64, Event)]) -> Self {
        Self { config, shipped_seq: Err("this build of the gateway cannot speak to Kafka".to_owned()) }
    }

    /// Offset and time, UTC ns; else why not.
    #[cfg(feature = "kafka")]
    fn spot(&self, seq: u64) -> Result<(i64, Option<u64>), String> {
        let time_ns = |ms: i64| u64::try_from(ms).ok().and_then(|ms| ms.checked_mul(1_000_000));
        self.spots.get(&seq).map(|spot| (spot.offset, spot.time_ms.and_then(time_ns))).ok_or_else(|| self.why_not(seq))
    }

    #[cfg(not(feature = "kafka"))]
    fn spot(&self, seq: u64) -> Result<(i64, Option<u64>), String> {
        Err(self.why_not(seq))
    }

    fn why_not(&self, seq: u64) -> String {
        match &self.shipped_seq {
            Ok(shipped_seq) if seq > *shipped_seq => {
                format!("not shipped yet: the cluster has events up to {shipped_seq}")
            }
            Ok(_) => "not there: `tradecore ship verify` compares all of it".to_owned(),
            Err(why) => format!("not looked up: {why}"),
        }
    }

    /// The hop of an event into the event store; `None` when nothing is shipped to Kafka.
    pub(super) fn hop(&self, seq: u64, ts_ns: u64, event: &Event) -> Option<Hop> {
        let kafka = self.config.kafka()?;
        let topic = format!("{}{}", kafka.topic_prefix, Domain::of(event).eventstore_topic());
        let partition = partition(key(stream(self.config), event).as_bytes(), kafka.partitions);
        let spot = self.spot(seq);
        let said = match &spot {
            Ok((offset, _)) => format!(", offset {offset}"),
            Err(why) => format!("; {why}"),
        };
        let time_ns = spot.as_ref().ok().and_then(|(_, time_ns)| *time_ns);
        let offset = spot.as_ref().map_or(Value::Null, |(offset, _)| offset.to_string().into());
        Some(Hop {
            ts_ns: time_ns.unwrap_or(ts_ns),
            kind: "topic",
            text: format!("{topic}, partition {partition}, header seq={seq}{said}"),
            more: json!({
                "topic": topic, "partition": partition, "seq": seq.to_string(), "offset": offset,
                "why_not": spot.err(),
            }),
        })
    }

    /// The hop of a decision that a saga has made: its own event of that decision, and where that is told.
    pub(super) fn saga(&self, seq: u64, ts_ns: u64, event: &Event) -> Hop {
        use tradecore::shipping::domains::Aggregate;
        let told = self.config.kafka().filter(|kafka| kafka.transport).map(|kafka| {
            let partition = partition(key(stream(self.config), event).as_bytes(), kafka.partitions);
            (format!("{}{}", kafka.topic_prefix, Channel::Sagas.topic()), partition)
        });
        let of = Aggregate::of(event).to_string();
        let is_shipped = self.shipped_seq.as_ref().is_ok_and(|shipped_seq| seq <= *shipped_seq);
        let when = if is_shipped { "" } else { ", once it is shipped" };
        let place = told.as_ref().map(|(topic, partition)| format!("; told in {topic}, partition {partition}{when}"));
        Hop {
            ts_ns,
            kind: "saga",
            text: format!("decided by a step of {of}: event {seq}, {}{}", event.name(), place.unwrap_or_default()),
            more: json!({
                "saga": of, "seq": seq.to_string(), "event": event.name(),
                "topic": told.as_ref().map(|(topic, _)| topic), "partition": told.as_ref().map(|(_, partition)| partition),
            }),
        }
    }
}
