//! All partitions of the event store, each read by itself: one event of each in memory, and what librdkafka has fetched.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::Offset;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::TopicPartitionList;
use tradecore_journal::crc32c;

use super::cluster::{Cluster, Context};
use super::progress::Slot;
use super::tail::{EventHeaders, Looker, failed, is_foreign};
use super::trouble::Trouble;
use crate::shipping::domains::Domain;

/// A partition, read from its start to where it ended when that began, or on and on.
pub(super) struct Lane {
    topic: String,
    partition: i32,
    queue: PartitionQueue<Context>,
    pub(super) head: Option<Head>,
    /// The end was seen, behind what was read.
    pub(super) is_ended: bool,
    /// Last event of the stream that was taken; `None` before the first.
    pub(super) last_seq: Option<u64>,
    /// Events that were there again behind it.
    pub(super) repeated: u64,
    /// Behind what was read of it, whoever's that was; where it begins, before anything was.
    pub(super) next_offset: i64,
}

/// Partitions by what they hold.
pub(super) type Lanes = BTreeMap<Slot, Lane>;

/// The next event of a lane.
pub(super) struct Head {
    pub(super) seq: u64,
    pub(super) prev_seq: u64,
    pub(super) epoch: u32,
    pub(super) crc: u32,
    /// CRC-32C of the record's key.
    pub(super) key_crc: u32,
    pub(super) offset: i64,
    pub(super) bytes: Vec<u8>,
}

/// What a look at a lane has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Looked {
    /// The next event of the stream.
    Event,
    /// One of another stream, or that was there before.
    Other,
    /// The end, for now.
    End,
    /// Nothing yet.
    Nothing,
}

/// Every partition that holds records, from its first on.
pub(super) fn lanes(cluster: &Cluster, looker: &Looker<'_>) -> Result<(Arc<BaseConsumer<Context>>, Lanes), Trouble> {
    let mut starts = Vec::new();
    for (slot, topic, number) in places(cluster) {
        let (first, end) = looker.bounds(&topic, number)?;
        if first < end {
            starts.push((slot, topic, number, first));
        }
    }
    begin(cluster.reader(starts.len())?, starts)
}

/// Every partition of the event store: slot, topic, number.
pub(super) fn places(cluster: &Cluster) -> Vec<(Slot, String, i32)> {
    let of = |domain: Domain| {
        let place =
            move |partition| ((domain, partition), cluster.topic(domain), i32::try_from(partition).unwrap_or(i32::MAX));
        (0..cluster.kafka.partitions).map(place)
    };
    Domain::ALL.iter().copied().flat_map(of).collect()
}

/// Reads these partitions from these offsets on.
pub(super) fn begin(
    consumer: BaseConsumer<Context>,
    starts: Vec<(Slot, String, i32, i64)>,
) -> Result<(Arc<BaseConsumer<Context>>, Lanes), Trouble> {
    let failed = failed("reading the topics");
    let consumer = Arc::new(consumer);
    let mut list = TopicPartitionList::new();
    for (_, topic, partition, offset) in &starts {
        list.add_partition_offset(topic, *partition, Offset::Offset(*offset)).map_err(&failed)?;
    }
    consumer.assign(&list).map_err(&failed)?;
    let mut lanes = BTreeMap::new();
    for (slot, topic, partition, next_offset) in starts {
        let Some(queue) = consumer.split_partition_queue(&topic, partition) else {
            return Err(Trouble::Doubt(format!("partition {partition} of {topic} cannot be read by itself")));
        };
        let lane =
            Lane { topic, partition, queue, head: None, is_ended: false, last_seq: None, repeated: 0, next_offset };
        lanes.insert(slot, lane);
    }
    Ok((consumer, lanes))
}

impl Lane {
    pub(super) fn place(&self, offset: i64) -> String {
        format!("{}/{} at {offset}", self.topic, self.partition)
    }

    /// Topic and number, as the cluster knows it.
    pub(super) fn name(&self) -> (&str, i32) {
        (&self.topic, self.partition)
    }

    /// The next event of the stream, without taking it; `None` at the end.
    pub(super) fn peek(
        &mut self,
        consumer: &BaseConsumer<Context>,
        cluster: &Cluster,
        stream: &str,
    ) -> Result<Option<&Head>, Trouble> {
        let mut since = Instant::now();
        while self.head.is_none() && !self.is_ended {
            if self.look(Duration::from_millis(10), cluster, stream)? != Looked::Nothing {
                since = Instant::now();
                continue;
            }
            heed(consumer)?;
            if since.elapsed() > cluster.timeout() {
                let problem = "cannot be read: the cluster does not answer";
                return Err(Trouble::Doubt(format!("{}/{} {problem}", self.topic, self.partition)));
            }
        }
        Ok(self.head.as_ref())
    }

    /// Looks at the next record, and waits for it so long.
    pub(super) fn look(&mut self, wait: Duration, cluster: &Cluster, stream: &str) -> Result<Looked, Trouble> {
        match self.queue.poll(wait) {
            Some(Ok(message)) => {
                let Some(headers) = EventHeaders::of(&message) else {
                    return Err(is_foreign(&self.topic, self.partition, message.offset()));
                };
                (self.next_offset, self.is_ended) = (message.offset().saturating_add(1), false);
                if headers.stream != stream.as_bytes() {
                    return Ok(Looked::Other);
                }
                // Without transactions it may be there again, which readers leave out.
                if !cluster.kafka.transactions && self.last_seq.is_some_and(|last| headers.seq <= last) {
                    self.repeated = self.repeated.saturating_add(1);
                    return Ok(Looked::Other);
                }
                self.head = Some(Head {
                    seq: headers.seq,
                    prev_seq: headers.prev_seq,
                    epoch: headers.epoch,
                    crc: headers.crc,
                    key_crc: crc32c(message.key().unwrap_or_default(), &[]),
                    offset: message.offset(),
                    bytes: message.payload().unwrap_or_default().to_vec(),
                });
                Ok(Looked::Event)
            }
            Some(Err(KafkaError::PartitionEOF(_))) => {
                self.is_ended = true;
                Ok(Looked::End)
            }
            Some(Err(error)) => Err(Trouble::of("reading the topics", &error)),
            None => Ok(Looked::Nothing),
        }
    }
}

/// What concerns all partitions comes by the consumer's own queue.
pub(super) fn heed(consumer: &BaseConsumer<Context>) -> Result<(), Trouble> {
    match consumer.poll(Duration::ZERO) {
        Some(Err(error)) => Err(Trouble::of("reading the topics", &error)),
        Some(Ok(_)) | None => Ok(()),
    }
}
