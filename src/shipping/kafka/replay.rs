//! JSON that is sent again, from the journal, for who has lost it: by a producer of its own, so that neither the shipper
//! nor what it has done is touched.

use std::sync::atomic::{AtomicBool, Ordering};

use rdkafka::consumer::Consumer;
use rdkafka::message::Header;
use rdkafka::producer::BaseRecord;
use tradecore_domain::event::Event;
use tradecore_journal::{Reader, Record, Until};

use super::about::{About, Piece};
use super::beginning::check_journal;
use super::cluster::{Cluster, HEALTH_TOPIC, PROGRESS_TOPIC};
use super::desk::Desk;
use super::tail::{Looker, failed};
use super::transport;
use super::trouble::Trouble;
use crate::shipping::alerts::Kind;
use crate::shipping::domains::{self, Channel, Domain};
use crate::shipping::json::{self, Place, Utc};

/// What is sent again, and where to.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    /// First event.
    pub from_seq: u64,
    /// Last event; `None`: the last that is shipped.
    pub to_seq: Option<u64>,
    /// Of this domain only.
    pub domain: Option<Domain>,
    /// To this topic; `None`: to those of JSON.
    pub topic: Option<String>,
}

/// What a replay has sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Events.
    pub events: u64,
    /// Up to this one the journal was read.
    pub to_seq: u64,
}

/// Sends the JSON of events again: nothing beyond what is shipped, and nothing to a topic that the shipper needs.
///
/// # Errors
/// `Refused` for a first event that is not shipped, a topic of the shipper, one that is not there, or one that refuses a
/// record; what was committed before stays there.
pub fn replay(cluster: &Cluster, what: &Replay, stop: &AtomicBool) -> Result<Replayed, Trouble> {
    check_journal(cluster)?;
    let looker = Looker::new(cluster)?;
    let shipped_seq = looker.progress()?.map_or(0, |progress| progress.seq);
    if what.from_seq > shipped_seq {
        let problem = format!("nothing is shipped from event {} on: the last that is, is {shipped_seq}", what.from_seq);
        return Err(Trouble::Refused(problem));
    }
    let to_seq = what.to_seq.unwrap_or(shipped_seq).min(shipped_seq);
    let target = Target::new(cluster, &looker, what.topic.as_deref())?;
    let mut done = Replayed { events: 0, to_seq: what.from_seq.saturating_sub(1) };
    let mut reader = Reader::open(cluster.journal_dir(), what.from_seq, Until::Synced)?;
    let (desk, time) = (Desk::open(cluster, "replay")?, Utc(crate::clock::utc_ns()).to_string());
    let (mut in_transaction, mut value) = (0_u32, String::new());
    while let Some(group) = reader.next_group()? {
        for record in group.records().filter(|record| (what.from_seq..=to_seq).contains(&record.seq)) {
            let event = Event::from_archive(record.kind, record.version, record.payload)
                .map_err(|error| Trouble::Unknown { seq: record.seq, text: error.to_string() })?;
            done.to_seq = record.seq;
            if what.domain.is_some_and(|domain| domain != Domain::of(&event)) {
                continue;
            }
            if in_transaction == 0 {
                desk.begin()?;
            }
            value.clear();
            json::write_data(&mut value, &event);
            // To a topic that is named it goes once, as its domain tells it.
            for channel in Channel::of(&event).take(if target.topic.is_some() { 1 } else { usize::MAX }) {
                send(cluster, &desk, &target, (&record, &event, channel), &time, &value)?;
            }
            in_transaction = in_transaction.saturating_add(1);
            done.events = done.events.saturating_add(1);
        }
        let is_stopped = stop.load(Ordering::Acquire);
        if in_transaction >= cluster.kafka.batch_events_max || is_stopped && in_transaction > 0 {
            commit(&desk, &mut in_transaction)?;
        }
        if is_stopped {
            return Err(Trouble::Stopped);
        }
        if reader.next_seq() > to_seq {
            break;
        }
    }
    if in_transaction > 0 {
        commit(&desk, &mut in_transaction)?;
    }
    Ok(done)
}

fn commit(desk: &Desk<'_>, in_transaction: &mut u32) -> Result<(), Trouble> {
    if let Some(error) = desk.told()? {
        return Err(refused(&error.to_string()));
    }
    *in_transaction = 0;
    desk.commit()
}

fn refused(error: &str) -> Trouble {
    Trouble::Refused(format!(
        "the topic refuses an event for good: {error}; what was sent since the last commit is not there, where there are transactions"
    ))
}

fn send(
    cluster: &Cluster,
    desk: &Desk<'_>,
    target: &Target,
    (record, event, channel): (&Record<'_>, &Event, Channel),
    time: &str,
    value: &str,
) -> Result<(), Trouble> {
    let place = Place { stream: cluster.stream, epoch: record.epoch, seq: record.seq, ts_ns: record.ts_ns };
    let key = domains::key(cluster.stream, event);
    let headers = transport::headers(&place, event, channel).insert(Header { key: "replayed", value: Some(time) });
    let partition = i32::try_from(domains::partition(key.as_bytes(), target.partitions)).unwrap_or(0);
    let topic = target.topic.clone().unwrap_or_else(|| cluster.channel_topic(channel));
    let message = BaseRecord::with_opaque_to(
        &topic,
        About::Json(Piece { seq: record.seq, is_saga: channel == Channel::Sagas }).word(),
    )
    .key(key.as_bytes())
    .payload(value.as_bytes())
    .partition(partition)
    .headers(headers);
    desk.post(message)?.map_or(Ok(()), |error| Err(refused(&error.to_string())))
}

/// Where it goes.
struct Target {
    /// `None`: to the topics of JSON.
    topic: Option<String>,
    partitions: u32,
}

impl Target {
    fn new(cluster: &Cluster, looker: &Looker<'_>, topic: Option<&str>) -> Result<Self, Trouble> {
        let missing =
            |topic: &str| Trouble::Refused(format!("topic {topic} is not there; it is not made for a replay"));
        let Some(topic) = topic else {
            for channel in Channel::all() {
                let topic = cluster.channel_topic(channel);
                if !looker.has_topic(&topic)? {
                    return Err(missing(&topic));
                }
            }
            return Ok(Self { topic: None, partitions: cluster.kafka.partitions });
        };
        if is_own(topic) {
            let problem = "is one that the gateway needs as it is; name another, or none for the topics of JSON";
            return Err(Trouble::Refused(format!("topic {topic} {problem}")));
        }
        // Of all topics: to ask for one by name can make it.
        let metadata =
            looker.committed.fetch_metadata(None, cluster.timeout()).map_err(failed("looking for a topic"))?;
        let found = metadata.topics().iter().find(|known| known.name() == topic).ok_or_else(|| missing(topic))?;
        let partitions = u32::try_from(found.partitions().len()).unwrap_or(u32::MAX);
        Ok(Self { topic: Some(topic.to_owned()), partitions })
    }
}

/// Topics in which each record means something, to this installation or to another whose prefix is not known here.
fn is_own(topic: &str) -> bool {
    let is = |name: &str| topic.ends_with(name);
    let of_domains = Domain::ALL.iter().any(|domain| is(domain.eventstore_topic()));
    let of_channels = Channel::all().any(|channel| is(channel.topic()) || is(&format!("{}.dlq", channel.topic())));
    let of_alerts = Kind::ALL.iter().any(|kind| is(kind.topic()));
    of_domains || of_channels || of_alerts || is(PROGRESS_TOPIC) || is(HEALTH_TOPIC)
}
