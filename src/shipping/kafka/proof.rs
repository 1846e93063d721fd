//! That the topics hold each event exactly once, in order, byte for byte: read back, and laid beside the journal.
//!
//! The journal is walked once; the record that must come next in its partition is taken from there. So memory does not
//! grow with the journal, and an event is missing, extra or different where it stands.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::Offset;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::TopicPartitionList;
use tradecore_domain::event::Event;
use tradecore_journal::record::crc32c;
use tradecore_journal::{Reader, Record, Until};

use super::cluster::{Cluster, Context};
use super::progress::Slot;
use super::tail::{EventHeaders, Looker, failed, is_foreign};
use super::trouble::Trouble;
use crate::shipping::domains::{self, Domain};

/// Flaws that are told one by one; further ones are counted.
const FLAWS_MAX: usize = 100;

/// What the topics and the journal differ in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Events that were said to be shipped and are not there.
    Missing {
        /// The first.
        from: u64,
        /// The last, without a gap in between.
        to: u64,
    },
    /// An event that is there again, or where it does not belong.
    Extra {
        /// Its number.
        seq: u64,
        /// Topic, partition and offset.
        place: String,
    },
    /// An event with other bytes, or headers that do not fit it.
    Differs {
        /// Its number.
        seq: u64,
        /// Topic, partition and offset.
        place: String,
        /// What does not fit.
        what: &'static str,
    },
}

/// What a comparison has found.
#[derive(Clone, Debug, Default)]
pub struct Proof {
    /// First event that was compared; 0 for none.
    pub first_seq: u64,
    /// Last event that is shipped, as progress says.
    pub last_seq: u64,
    /// Events that are there exactly once, in order and equal.
    pub events: u64,
    /// Events that are there again behind themselves, as they may be without transactions: no flaw then.
    pub repeated: u64,
    /// Partitions that hold events of the stream, or could.
    pub partitions: usize,
    /// The first flaws.
    pub flaws: Vec<Flaw>,
    /// All flaws.
    pub flaws_count: u64,
}

impl Proof {
    fn add(&mut self, flaw: Flaw) {
        if let (Flaw::Missing { from, to }, Some(Flaw::Missing { to: end, .. })) = (&flaw, self.flaws.last_mut())
            && *from == end.saturating_add(1)
        {
            *end = *to;
            return;
        }
        self.flaws_count = self.flaws_count.saturating_add(1);
        if self.flaws.len() < FLAWS_MAX {
            self.flaws.push(flaw);
        }
    }
}

/// A partition, read from its start to where it ended when the comparison began.
pub(super) struct Lane {
    topic: String,
    partition: i32,
    queue: PartitionQueue<Context>,
    pub(super) head: Option<Head>,
    is_ended: bool,
    /// Last event of the stream that was taken; `None` before the first.
    pub(super) last_seq: Option<u64>,
    /// Events that were there again behind it.
    repeated: u64,
}

/// Every partition that holds records.
pub(super) type Lanes = BTreeMap<Slot, Lane>;

/// The next event of a lane.
pub(super) struct Head {
    pub(super) seq: u64,
    pub(super) prev_seq: u64,
    pub(super) epoch: u32,
    pub(super) crc: u32,
    pub(super) offset: i64,
    pub(super) bytes: Vec<u8>,
}

/// Reads the topics back and compares them with the journal, up to what progress says is shipped.
///
/// # Errors
/// When the cluster or the journal cannot be read; what differs is in the proof.
pub fn prove(cluster: &Cluster, stop: &AtomicBool) -> Result<Proof, Trouble> {
    let looker = Looker::new(cluster)?;
    let mut proof = Proof { last_seq: looker.progress()?.map_or(0, |progress| progress.seq), ..Proof::default() };
    let (consumer, mut lanes) = lanes(cluster, &looker)?;
    proof.partitions = lanes.len();
    let stream = cluster.stream().to_string();
    let mut reader = Reader::open_oldest(&cluster.journal_dir, Until::Synced)?;
    'journal: while let Some(group) = reader.next_group()? {
        if stop.load(Ordering::Acquire) {
            return Err(Trouble::Stopped);
        }
        for record in group.records() {
            if record.seq > proof.last_seq {
                break 'journal;
            }
            if proof.first_seq == 0 {
                proof.first_seq = record.seq;
            }
            let slot = slot_of(cluster, &record)?;
            match lanes.get_mut(&slot) {
                Some(lane) => compare(&mut proof, lane, &record, &consumer, cluster, &stream)?,
                None => proof.add(Flaw::Missing { from: record.seq, to: record.seq }),
            }
        }
    }
    let ends_at = reader.next_seq();
    if proof.first_seq == 0 || ends_at <= proof.last_seq {
        let from = if proof.first_seq == 0 { 1 } else { ends_at };
        if proof.last_seq >= from {
            let problem = format!("the cluster has events {from} to {}, and the journal has not", proof.last_seq);
            return Err(Trouble::Refused(problem));
        }
    }
    for lane in lanes.values_mut() {
        while let Some(head) = lane.peek(&consumer, cluster, &stream)? {
            let (seq, offset) = (head.seq, head.offset);
            // What came since is of another comparison.
            if seq > proof.last_seq {
                break;
            }
            if seq >= proof.first_seq {
                proof.add(Flaw::Extra { seq, place: lane.place(offset) });
            }
            lane.head = None;
        }
        proof.repeated = proof.repeated.saturating_add(lane.repeated);
    }
    Ok(proof)
}

fn slot_of(cluster: &Cluster, record: &Record<'_>) -> Result<Slot, Trouble> {
    let event = Event::from_archive(record.kind, record.version, record.payload)
        .map_err(|error| Trouble::Unknown { seq: record.seq, text: error.to_string() })?;
    let key = domains::key(cluster.stream(), &event);
    Ok((Domain::of(&event), domains::partition(key.as_bytes(), cluster.kafka.partitions)))
}

pub(super) fn lanes(cluster: &Cluster, looker: &Looker<'_>) -> Result<(Arc<BaseConsumer<Context>>, Lanes), Trouble> {
    let failed = failed("reading the topics");
    let refused = |error: KafkaError| Trouble::Refused(format!("a setting of librdkafka: {error}"));
    let consumer = Arc::new(cluster.consumer(true).map_err(refused)?);
    let mut list = TopicPartitionList::new();
    let mut slots = Vec::new();
    for domain in Domain::ALL {
        let topic = cluster.topic(*domain);
        for partition in 0..cluster.kafka.partitions {
            let number = i32::try_from(partition).unwrap_or(i32::MAX);
            let (first, end) = looker.bounds(&topic, number)?;
            if first < end {
                list.add_partition_offset(&topic, number, Offset::Offset(first)).map_err(&failed)?;
                slots.push(((*domain, partition), topic.clone(), number));
            }
        }
    }
    consumer.assign(&list).map_err(&failed)?;
    let mut lanes = BTreeMap::new();
    for (slot, topic, partition) in slots {
        let Some(queue) = consumer.split_partition_queue(&topic, partition) else {
            return Err(Trouble::Doubt(format!("partition {partition} of {topic} cannot be read by itself")));
        };
        let lane = Lane { topic, partition, queue, head: None, is_ended: false, last_seq: None, repeated: 0 };
        lanes.insert(slot, lane);
    }
    Ok((consumer, lanes))
}

fn compare(
    proof: &mut Proof,
    lane: &mut Lane,
    record: &Record<'_>,
    consumer: &BaseConsumer<Context>,
    cluster: &Cluster,
    stream: &str,
) -> Result<(), Trouble> {
    let crc = crc32c(record.bytes, &[]);
    loop {
        let last_seq = lane.last_seq;
        let Some(head) = lane.peek(consumer, cluster, stream)? else {
            proof.add(Flaw::Missing { from: record.seq, to: record.seq });
            return Ok(());
        };
        if head.seq > record.seq {
            proof.add(Flaw::Missing { from: record.seq, to: record.seq });
            return Ok(());
        }
        let (seq, offset) = (head.seq, head.offset);
        let differs = if head.bytes != record.bytes {
            Some("the bytes")
        } else if head.crc != crc {
            Some("the header crc")
        } else if last_seq.is_some_and(|last_seq| last_seq != head.prev_seq) {
            Some("the header prev_seq_same_partition")
        } else {
            None
        };
        lane.head = None;
        if seq == record.seq {
            lane.last_seq = Some(seq);
            match differs {
                Some(what) => proof.add(Flaw::Differs { seq, place: lane.place(offset), what }),
                None => proof.events = proof.events.saturating_add(1),
            }
            return Ok(());
        }
        // Older than what the journal begins with: nothing is left to compare it with.
        if seq >= proof.first_seq {
            proof.add(Flaw::Extra { seq, place: lane.place(offset) });
        } else {
            lane.last_seq = Some(seq);
        }
    }
}

impl Lane {
    pub(super) fn place(&self, offset: i64) -> String {
        format!("{}/{} at {offset}", self.topic, self.partition)
    }

    /// The next event of the stream, without taking it; `None` at the end.
    pub(super) fn peek(
        &mut self,
        consumer: &BaseConsumer<Context>,
        cluster: &Cluster,
        stream: &str,
    ) -> Result<Option<&Head>, Trouble> {
        let since = Instant::now();
        while self.head.is_none() && !self.is_ended {
            match self.queue.poll(Duration::from_millis(10)) {
                Some(Ok(message)) => {
                    let Some(headers) = EventHeaders::of(&message) else {
                        return Err(is_foreign(&self.topic, self.partition, message.offset()));
                    };
                    // Without transactions it may be there again, which readers leave out.
                    let is_again = !cluster.kafka.transactions && self.last_seq.is_some_and(|last| headers.seq <= last);
                    if is_again && headers.stream == stream.as_bytes() {
                        self.repeated = self.repeated.saturating_add(1);
                    } else if headers.stream == stream.as_bytes() {
                        self.head = Some(Head {
                            seq: headers.seq,
                            prev_seq: headers.prev_seq,
                            epoch: headers.epoch,
                            crc: headers.crc,
                            offset: message.offset(),
                            bytes: message.payload().unwrap_or_default().to_vec(),
                        });
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => self.is_ended = true,
                Some(Err(error)) => return Err(Trouble::of("reading the topics", &error)),
                None => {
                    // What concerns all partitions comes by the consumer's own queue.
                    if let Some(Err(error)) = consumer.poll(Duration::ZERO) {
                        return Err(Trouble::of("reading the topics", &error));
                    }
                    if since.elapsed() > cluster.timeout() {
                        let problem = "cannot be read: the cluster does not answer";
                        return Err(Trouble::Doubt(format!("{}/{} {problem}", self.topic, self.partition)));
                    }
                }
            }
        }
        Ok(self.head.as_ref())
    }
}
