//! Events as JSON, in the transaction that ships their records: CloudEvents in the binary mode of their binding to
//! Kafka, attributes as headers and the event's data as the value.
//!
//! What a sink refuses for good stops nothing: the transaction is given up, and made anew with that event in
//! `<topic>.dlq`. The client hands over many records at once and is refused all of them for one, so those are *suspects*
//! first, which are sent alone, and only what is refused alone is a dead letter.

use core::fmt::Write as _;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use tradecore_domain::event::Event;

use super::about::{About, Piece};
use super::cluster::Cluster;
use crate::shipping::alerts::Kind;
use crate::shipping::domains::{Channel, Saga};
use crate::shipping::json::{self, Place, Utc};

/// How long a topic of alerts or signs of life is told nothing after it has refused one.
const SILENCE: Duration = Duration::from_secs(600);

/// The JSON of a stream, over all sessions of its shipper.
#[derive(Debug)]
pub(super) struct Transport {
    is_on: bool,
    /// Of each channel.
    topics: Vec<String>,
    letter_topics: Vec<String>,
    /// Events that were refused together with others; in no transaction that is committed.
    suspects: BTreeSet<Piece>,
    /// Events that were refused alone.
    refused: BTreeMap<Piece, Refused>,
    /// Topics of alerts or signs of life that have refused one, by the index of `About::Note`, and when they did.
    silent: BTreeMap<usize, Instant>,
    /// The last alert of an event that was left out for that.
    left_out: Option<(u64, Kind)>,
    /// The value that is being made.
    value: String,
}

/// An event whose JSON the sink does not take.
#[derive(Clone, Debug)]
struct Refused {
    reason: String,
    /// Nor as a dead letter.
    is_letter_refused: bool,
}

/// Where the JSON of an event goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// To its topic, with others.
    Together,
    /// To its topic, alone: one like it was refused.
    Alone,
    /// To the dead letters, for this reason.
    Letter(String),
    /// Nowhere: not even the dead letters take it.
    Nowhere,
}

impl Transport {
    pub(super) fn new(cluster: &Cluster) -> Self {
        let named =
            |name: fn(&Cluster, Channel) -> String| Channel::all().map(|channel| name(cluster, channel)).collect();
        Self {
            is_on: cluster.kafka.transport,
            topics: named(Cluster::channel_topic),
            letter_topics: named(Cluster::letter_topic),
            suspects: BTreeSet::new(),
            refused: BTreeMap::new(),
            silent: BTreeMap::new(),
            left_out: None,
            value: String::new(),
        }
    }

    pub(super) const fn is_on(&self) -> bool {
        self.is_on
    }

    pub(super) fn way(&self, piece: Piece) -> Way {
        match self.refused.get(&piece) {
            Some(refused) if refused.is_letter_refused => Way::Nowhere,
            Some(refused) => Way::Letter(refused.reason.clone()),
            None if self.suspects.contains(&piece) => Way::Alone,
            None => Way::Together,
        }
    }

    pub(super) fn topic(&self, channel: Channel) -> &str {
        self.topics.get(channel.index()).map(String::as_str).unwrap_or_default()
    }

    pub(super) fn letter_topic(&self, channel: Channel) -> &str {
        self.letter_topics.get(channel.index()).map(String::as_str).unwrap_or_default()
    }

    /// Whether an alert or a sign of life with this index is not to be sent now: nobody needs it to go on.
    pub(super) fn is_silent(&self, index: usize) -> bool {
        self.silent.get(&index).is_some_and(|since| since.elapsed() < SILENCE)
    }

    /// Leaves the alert of an event out; false when it was left out before.
    pub(super) fn leave_out(&mut self, alert: (u64, Kind)) -> bool {
        let is_new = self.left_out.is_none_or(|last| last < alert);
        self.left_out = self.left_out.max(Some(alert));
        is_new
    }

    /// Makes the value of an event; it stands in `value` until the next is made.
    pub(super) fn write(&mut self, event: &Event) {
        self.value.clear();
        json::write_data(&mut self.value, event);
    }

    pub(super) fn value(&self) -> &str {
        &self.value
    }

    /// The sink takes this message at no time.
    pub(super) fn refuse(&mut self, about: About, error: &KafkaError) {
        match about {
            About::Json(piece) if self.suspects.contains(&piece) => self.refuse_alone(piece, error),
            About::Json(piece) => {
                self.suspects.insert(piece);
            }
            About::Letter(piece) => {
                tracing::error!(seq = piece.seq, %error, "an event's JSON is refused, by the dead letters too; it is in the event store only");
                let reason = error.to_string();
                self.refused.insert(piece, Refused { reason, is_letter_refused: true });
            }
            About::Note(index) => {
                let topic = Kind::ALL.get(index).map_or("system.health", |kind| kind.topic());
                // Once for all that a transaction held.
                if !self.is_silent(index) {
                    tracing::error!(topic, %error, "the topic refuses what it is told: for ten minutes that is in the log only; see its settings");
                }
                self.silent.insert(index, Instant::now());
            }
            About::Event(_) | About::Other => {}
        }
    }

    /// What was sent alone, or cannot be sent at all.
    pub(super) fn refuse_alone(&mut self, piece: Piece, error: &KafkaError) {
        tracing::warn!(seq = piece.seq, %error, "the JSON of an event is refused; it becomes a dead letter");
        self.refused.insert(piece, Refused { reason: error.to_string(), is_letter_refused: false });
    }

    /// All up to this event is committed.
    pub(super) fn commit(&mut self, seq: u64) {
        if self.suspects.is_empty() && self.refused.is_empty() {
            return;
        }
        let next = Piece { seq: seq.saturating_add(1), is_saga: false };
        self.suspects = self.suspects.split_off(&next);
        self.refused = self.refused.split_off(&next);
    }
}

/// The attributes of an event as headers: `content-type`, and `ce_…` for the others; in the channel of sagas with that
/// which it belongs to.
pub(super) fn headers(place: &Place, event: &Event, channel: Channel) -> OwnedHeaders {
    // The twelve, that of a saga, and those of a dead letter.
    let mut headers = Some(OwnedHeaders::new_with_capacity(18));
    let (mut name_text, mut value_text) = (String::new(), String::new());
    json::attributes(place, event, |name, value| {
        name_text.clear();
        value_text.clear();
        match name {
            "datacontenttype" => name_text.push_str("content-type"),
            name => {
                name_text.push_str("ce_");
                name_text.push_str(name);
            }
        }
        // A `String` takes everything.
        value_text.write_fmt(value).unwrap_or_default();
        headers = headers.take().map(|taken| taken.insert(Header { key: &name_text, value: Some(&value_text) }));
    });
    let headers = headers.unwrap_or_default();
    match Saga::of(event).filter(|_| channel == Channel::Sagas) {
        Some(saga) => headers.insert(Header { key: "ce_saga", value: Some(saga.name()) }),
        None => headers,
    }
}

/// What a dead letter says beside its event: `docs/kafka.md`.
pub(super) fn letter_headers(headers: OwnedHeaders, letter: &Letter<'_>) -> OwnedHeaders {
    headers
        .insert(Header { key: "original_topic", value: Some(letter.topic) })
        .insert(Header { key: "original_partition", value: Some(&letter.partition.to_string()) })
        .insert(Header { key: "reason", value: Some(letter.reason) })
        .insert(Header { key: "time", value: Some(&Utc(letter.time_ns).to_string()) })
        .insert(Header { key: "retry_count", value: Some(&letter.retry_count.to_string()) })
}

/// Why a record is a dead letter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Letter<'a> {
    pub(super) topic: &'a str,
    pub(super) partition: i32,
    pub(super) reason: &'a str,
    pub(super) time_ns: u64,
    pub(super) retry_count: u32,
}
