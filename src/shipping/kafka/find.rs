//! Single events, found again in the event store: for who follows one order. It is no proof.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::TopicPartitionList;

use super::cluster::{Cluster, Context};
use super::tail::{EventHeaders, Looker, failed};
use super::trouble::Trouble;
use crate::shipping::domains::Domain;

/// How far the clock of the cluster may be behind that of the host at first; further and further where the events are not
/// found so.
const BEHIND_MS: u64 = 2_000;
/// Events that lie so close together are read in one go.
const READ_ON_NS: u64 = 1_000_000_000;

/// An event that is looked for.
#[derive(Clone, Copy, Debug)]
pub struct Sought {
    /// Its number.
    pub seq: u64,
    /// Its time in the journal.
    pub ts_ns: u64,
    /// Its domain.
    pub domain: Domain,
    /// Its partition.
    pub partition: u32,
}

/// Where an event is in its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spot {
    /// Offset.
    pub offset: i64,
    /// The time of the record, UTC ms: when the cluster took it, where topics are as the gateway makes them.
    pub time_ms: Option<i64>,
}

/// Looks for events, by number, so long at most; adds those that it has found, and says how far the stream is shipped.
///
/// # Errors
/// When the cluster does not answer in time; what was found until then stays.
pub fn find(
    cluster: Cluster,
    sought: &[Sought],
    patience: Duration,
    found: &mut BTreeMap<u64, Spot>,
) -> Result<u64, Trouble> {
    let until = Instant::now().checked_add(patience);
    let cluster = cluster.answering_within(patience);
    let looker = Looker::new(&cluster)?.with_patience(Duration::from_millis(500));
    let shipped_seq = looker.progress()?.map_or(0, |progress| progress.seq);
    let mut by_place: BTreeMap<(Domain, u32), Vec<Sought>> = BTreeMap::new();
    for one in sought.iter().filter(|one| one.seq <= shipped_seq) {
        by_place.entry((one.domain, one.partition)).or_default().push(*one);
    }
    let mut search = Search { cluster: &cluster, consumer: &looker.committed, until, found };
    for ((domain, partition), mut events) in by_place {
        events.sort_by_key(|one| one.seq);
        let (topic, partition) = (cluster.topic(domain), i32::try_from(partition).unwrap_or(i32::MAX));
        for run in events.chunk_by(|one, next| next.ts_ns.saturating_sub(one.ts_ns) < READ_ON_NS) {
            search.run(&topic, partition, run)?;
        }
    }
    Ok(shipped_seq)
}

struct Search<'a> {
    cluster: &'a Cluster,
    consumer: &'a BaseConsumer<Context>,
    until: Option<Instant>,
    found: &'a mut BTreeMap<u64, Spot>,
}

impl Search<'_> {
    /// Finds events that lie close together, in their order.
    fn run(&mut self, topic: &str, partition: i32, run: &[Sought]) -> Result<(), Trouble> {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { return Ok(()) };
        let bounds = self.consumer.fetch_watermarks(topic, partition, self.cluster.timeout());
        let (begin, _) = bounds.map_err(failed("asking for the end of a partition"))?;
        let (mut behind_ms, mut read_from) = (BEHIND_MS, None);
        loop {
            let since_ms = (first.ts_ns / 1_000_000).saturating_sub(behind_ms);
            let from = match self.offset_at(topic, partition, since_ms)? {
                Some(offset) if since_ms > 0 => offset.max(begin),
                // Nothing is as young: it is looked for further back.
                None if since_ms > 0 => i64::MAX,
                Some(_) | None => begin,
            };
            let is_reached = from != i64::MAX
                && read_from != Some(from)
                && self.read(topic, partition, from, run)?.is_some_and(|seen| seen <= first.seq);
            if is_reached || from == begin || run.iter().all(|one| self.found.contains_key(&one.seq)) {
                tracing::debug!(topic, partition, from, first = first.seq, last = last.seq, "looked for events");
                return Ok(());
            }
            (read_from, behind_ms) = (Some(from), behind_ms.saturating_mul(16));
        }
    }

    /// The first offset of a record that is as young; `None` when there is none.
    fn offset_at(&self, topic: &str, partition: i32, since_ms: u64) -> Result<Option<i64>, Trouble> {
        let failed = failed("asking for an offset by its time");
        let time = Offset::Offset(i64::try_from(since_ms).unwrap_or(i64::MAX));
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition_offset(topic, partition, time).map_err(&failed)?;
        let answer = self.consumer.offsets_for_times(list, self.cluster.timeout()).map_err(&failed)?;
        let found = answer.find_partition(topic, partition);
        if let Some(Err(error)) = found.as_ref().map(rdkafka::topic_partition_list::TopicPartitionListElem::error) {
            return Err(failed(error));
        }
        Ok(found.and_then(|place| if let Offset::Offset(offset) = place.offset() { Some(offset) } else { None }))
    }

    /// Reads from an offset on, up to the last of the events; the first event of the stream that was seen.
    fn read(&mut self, topic: &str, partition: i32, from: i64, run: &[Sought]) -> Result<Option<u64>, Trouble> {
        let failed = failed("reading back an event");
        let last_seq = run.last().map_or(0, |last| last.seq);
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition_offset(topic, partition, Offset::Offset(from)).map_err(&failed)?;
        self.consumer.assign(&list).map_err(&failed)?;
        let (stream, mut seen) = (self.cluster.stream().to_string(), None);
        loop {
            if self.until.is_none_or(|until| Instant::now() >= until) {
                return Err(Trouble::Doubt(format!("{topic}/{partition}: not read up to event {last_seq} in time")));
            }
            let message = match self.consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => message,
                Some(Err(KafkaError::PartitionEOF(_))) => break,
                Some(Err(error)) => return Err(failed(error)),
                None => continue,
            };
            let Some(headers) = EventHeaders::of(&message).filter(|headers| headers.stream == stream.as_bytes()) else {
                continue;
            };
            seen = seen.or(Some(headers.seq));
            if run.iter().any(|one| one.seq == headers.seq) {
                // Where it is there again, the first counts.
                let spot = Spot { offset: message.offset(), time_ms: message.timestamp().to_millis() };
                self.found.entry(headers.seq).or_insert(spot);
            }
            if headers.seq >= last_seq {
                break;
            }
        }
        self.consumer.unassign().map_err(&failed)?;
        Ok(seen)
    }
}
