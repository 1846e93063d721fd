//! What the cluster has of a stream, read back: the truth that a shipper goes on from.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders};
use rdkafka::topic_partition_list::TopicPartitionList;
use tradecore_journal::{Record, crc32c};

use super::cluster::{Cluster, Context, explained};
use super::progress::{Progress, Slot, Tail};
use super::trouble::Trouble;
use crate::shipping::domains::Domain;

/// Records that are read backwards at first; sixteen times as many, as long as nothing is found.
const WINDOW: i64 = 64;

/// What is said of a partition that is being made, or has no leader for a moment.
const NOT_YET: [RDKafkaErrorCode; 3] =
    [RDKafkaErrorCode::UnknownPartition, RDKafkaErrorCode::NotLeaderForPartition, RDKafkaErrorCode::LeaderNotAvailable];

/// What the cluster has of a stream.
#[derive(Debug)]
pub(super) struct Found {
    /// The last progress; `None`: nothing was ever shipped.
    pub(super) progress: Option<Progress>,
    /// The last record in each slot that has one.
    pub(super) tails: BTreeMap<Slot, Tail>,
    /// Up to where each slot was read.
    pub(super) seen: BTreeMap<Slot, i64>,
}

/// A consumer that sees what is committed, and one that sees how far the rest goes.
pub(super) struct Looker<'a> {
    cluster: &'a Cluster,
    pub(super) committed: BaseConsumer<Context>,
    uncommitted: BaseConsumer<Context>,
    /// How long what is under way is waited for; then what is before it must do.
    patience: Option<Duration>,
}

/// How far a stream is shipped, as the cluster says; `None`: nothing was.
///
/// # Errors
/// When the cluster does not answer.
pub fn progress(cluster: &Cluster) -> Result<Option<Progress>, Trouble> {
    // A transaction ends a moment after its commit was answered; a shipper that stands still may have one open.
    Looker::new(cluster)?.with_patience(Duration::from_millis(500)).progress()
}

pub(super) fn failed(doing: &'static str) -> impl Fn(KafkaError) -> Trouble {
    move |error| Trouble::of(doing, &error)
}

impl<'a> Looker<'a> {
    pub(super) fn new(cluster: &'a Cluster) -> Result<Self, Trouble> {
        Ok(Self { cluster, committed: cluster.consumer(true)?, uncommitted: cluster.consumer(false)?, patience: None })
    }

    /// One that waits so long for what is under way.
    pub(super) fn with_patience(self, patience: Duration) -> Self {
        Self { patience: Some(patience), ..self }
    }

    /// All that counts of the stream, for who has fenced every other writer of it, and has seen so much.
    pub(super) fn look(&self, seen: &BTreeMap<Slot, i64>) -> Result<Found, Trouble> {
        let progress = self.progress()?;
        self.tails(progress.map(|progress| Progress { seen: seen.clone(), ..progress }))
    }

    /// The last event in each slot, from where progress says that it is.
    pub(super) fn tails(&self, progress: Option<Progress>) -> Result<Found, Trouble> {
        let mut found = Found { progress, tails: BTreeMap::new(), seen: BTreeMap::new() };
        for domain in Domain::ALL {
            self.look_at(*domain, &mut found)?;
        }
        Ok(found)
    }

    /// First offset, and the one behind the last record that is decided. A record that is there is waited for: what
    /// other cores have under way hides it, for as long as a transaction may take.
    pub(super) fn bounds(&self, topic: &str, partition: i32) -> Result<(i64, i64), Trouble> {
        let timeout = self.cluster.timeout();
        let (_, end) = self.watermarks(&self.uncommitted, topic, partition)?;
        let since = Instant::now();
        loop {
            let (first, stable) = self.watermarks(&self.committed, topic, partition)?;
            if stable >= end || self.patience.is_some_and(|patience| since.elapsed() > patience) {
                return Ok((first, stable));
            }
            if since.elapsed() > timeout.saturating_mul(3) {
                return Err(Trouble::Doubt(format!("{topic}/{partition}: a transaction of another core does not end")));
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// First offset and end of a partition. Of a topic that was just made, or whose leader changes, a client may have heard
    /// before the brokers have: they are asked again.
    fn watermarks(&self, consumer: &BaseConsumer<Context>, topic: &str, partition: i32) -> Result<(i64, i64), Trouble> {
        let (since, timeout) = (Instant::now(), self.cluster.timeout());
        let ask = |error| explained(consumer, "asking for the end of a partition", &error);
        loop {
            match consumer.fetch_watermarks(topic, partition, timeout) {
                Err(error)
                    if error.rdkafka_error_code().is_some_and(|code| NOT_YET.contains(&code))
                        && since.elapsed() < timeout =>
                {
                    tracing::debug!(topic, partition, "a partition is not there yet; the cluster is asked again");
                    // Of all topics: to ask for one by name can make it.
                    consumer.fetch_metadata(None, timeout).map_err(ask)?;
                    std::thread::park_timeout(Duration::from_millis(20));
                }
                asked => return asked.map_err(ask),
            }
        }
    }

    pub(super) fn progress(&self) -> Result<Option<Progress>, Trouble> {
        let (topic, stream) = (self.cluster.progress_topic(), self.cluster.stream.to_string());
        let (first, end) = self.bounds(&topic, 0)?;
        let mut window = WINDOW;
        loop {
            let from = end.saturating_sub(window).max(first);
            let (mut found, mut foreign) = (None, None);
            self.read(&topic, &[(0, from)], &mut |message| {
                if message.key() != Some(stream.as_bytes()) {
                    return;
                }
                // A tombstone says that it is forgotten: then the topics alone tell what they have.
                let told = message.payload().map(|json| Progress::from_json(json, &stream));
                foreign = told.as_ref().is_some_and(Option::is_none).then(|| message.offset());
                let term = |told: &Option<Option<Progress>>| told.as_ref()?.as_ref().map(|progress| progress.term);
                // Where nobody is fenced, one of an older term may still write: that of the greatest term counts.
                if told.is_none() || term(&told) >= term(&found) {
                    found = told;
                }
            })?;
            if let Some(offset) = foreign {
                let problem = "is not what this release writes; start a newer one, or use another topic_prefix";
                return Err(Trouble::Refused(format!("topic {topic}: the record at offset {offset} {problem}")));
            }
            if found.is_some() || from == first {
                return Ok(found.flatten());
            }
            window = window.saturating_mul(16);
        }
    }

    /// Who has written progress of the stream from this offset on, but for `own`: each term, and its owner.
    pub(super) fn writers_since(&self, from: i64, own: &str) -> Result<Vec<(u64, String)>, Trouble> {
        let (topic, stream) = (self.cluster.progress_topic(), self.cluster.stream.to_string());
        let mut writers = Vec::new();
        self.read(&topic, &[(0, from)], &mut |message| {
            let told = message.payload().filter(|_| message.key() == Some(stream.as_bytes()));
            if let Some(progress) = told.and_then(|json| Progress::from_json(json, &stream))
                && progress.owner != own
            {
                writers.push((progress.term, progress.owner));
            }
        })?;
        Ok(writers)
    }

    /// Whether there is such a topic.
    pub(super) fn has_topic(&self, topic: &str) -> Result<bool, Trouble> {
        // Of all topics: to ask for one by name can make it.
        let metadata =
            self.committed.fetch_metadata(None, self.cluster.timeout()).map_err(failed("looking for a topic"))?;
        Ok(metadata.topics().iter().any(|known| known.name() == topic))
    }

    /// Hands every committed record of a partition to `each`.
    pub(super) fn read_all(
        &self,
        topic: &str,
        partition: i32,
        each: &mut dyn FnMut(&BorrowedMessage<'_>),
    ) -> Result<(), Trouble> {
        let (first, end) = self.bounds(topic, partition)?;
        if first < end { self.read(topic, &[(partition, first)], each) } else { Ok(()) }
    }

    fn look_at(&self, domain: Domain, found: &mut Found) -> Result<(), Trouble> {
        let Found { progress, tails, seen } = found;
        let topic = self.cluster.topic(domain);
        let known = |partition: u32| progress.as_ref()?.tails.get(&(domain, partition));
        let seen_before = |partition| progress.as_ref()?.seen.get(&(domain, partition)).copied();
        let (mut of_tails, mut starts, mut firsts) = (Vec::new(), Vec::new(), BTreeMap::new());
        for partition in 0..self.cluster.kafka.partitions {
            let number = i32::try_from(partition).unwrap_or(i32::MAX);
            let (first, end) = self.bounds(&topic, number)?;
            let (of_tail, from) =
                starts_of(known(partition).map(|tail| tail.offset), seen_before(partition), first, end);
            of_tails.extend(of_tail.map(|from| (number, from)));
            starts.extend(from.map(|from| (number, from)));
            if let Some(tail) = known(partition).filter(|tail| tail.offset < first) {
                // It was removed as too old, as it was to be.
                tails.insert((domain, partition), *tail);
            }
            firsts.insert(partition, first);
            seen.insert((domain, partition), end);
        }
        self.read_tails(domain, &topic, &of_tails, &|partition| known(partition).map(|tail| tail.seq), tails)?;
        self.read_tails(domain, &topic, &starts, &|_| None, tails)?;
        let is_lost = |partition: &u32| match (known(*partition), tails.get(&(domain, *partition))) {
            (Some(known), found) => found.is_none_or(|found| found.seq < known.seq),
            (None, _) => false,
        };
        let lost: Vec<u32> = firsts.keys().copied().filter(is_lost).collect();
        for partition in lost {
            tracing::warn!(topic, partition, "the cluster has lost the end of a partition; all of it is read");
            tails.remove(&(domain, partition));
            let first = firsts.get(&partition).copied().unwrap_or(0);
            let number = i32::try_from(partition).unwrap_or(i32::MAX);
            if self.bounds(&topic, number)?.1 > first {
                self.read_tails(domain, &topic, &[(number, first)], &|_| None, tails)?;
            }
        }
        Ok(())
    }

    /// The last events of the stream from `starts` on, up to the end or the event that is looked for.
    fn read_tails(
        &self,
        domain: Domain,
        topic: &str,
        starts: &[(i32, i64)],
        last_seq: &dyn Fn(u32) -> Option<u64>,
        tails: &mut BTreeMap<Slot, Tail>,
    ) -> Result<(), Trouble> {
        let stream = self.cluster.stream.to_string();
        let mut foreign = None;
        self.read_until(topic, starts, &mut |message| {
            let is_whole =
                |headers: &EventHeaders<'_>| message.payload().is_some_and(|value| crc32c(value, &[]) == headers.crc);
            let Some(headers) = EventHeaders::of(message).filter(is_whole) else {
                foreign.get_or_insert((message.partition(), message.offset()));
                return true;
            };
            let slot = (domain, u32::try_from(message.partition()).unwrap_or(0));
            // Without transactions what is behind may be there again.
            let is_ours = headers.stream == stream.as_bytes();
            if is_ours && tails.get(&slot).is_none_or(|tail| tail.seq < headers.seq) {
                tails.insert(slot, Tail { seq: headers.seq, offset: message.offset(), crc: Some(headers.crc) });
            }
            !is_ours || last_seq(slot.1) != Some(headers.seq)
        })?;
        foreign.map_or(Ok(()), |(partition, offset)| Err(is_foreign(topic, partition, offset)))
    }

    /// Hands every committed record from `starts` to the end to `each`.
    fn read(
        &self,
        topic: &str,
        starts: &[(i32, i64)],
        each: &mut dyn FnMut(&BorrowedMessage<'_>),
    ) -> Result<(), Trouble> {
        self.read_until(topic, starts, &mut |message| {
            each(message);
            true
        })
    }

    /// The same, of each partition until `each` says that it goes on no further.
    fn read_until(
        &self,
        topic: &str,
        starts: &[(i32, i64)],
        each: &mut dyn FnMut(&BorrowedMessage<'_>) -> bool,
    ) -> Result<(), Trouble> {
        if starts.is_empty() {
            return Ok(());
        }
        let failed = failed("reading back what is shipped");
        let mut list = TopicPartitionList::with_capacity(starts.len());
        for (partition, from) in starts {
            list.add_partition_offset(topic, *partition, Offset::Offset(*from)).map_err(&failed)?;
        }
        self.committed.assign(&list).map_err(&failed)?;
        let mut open: Vec<i32> = starts.iter().map(|(partition, _)| *partition).collect();
        let mut heard_at = Instant::now();
        while !open.is_empty() {
            match self.committed.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    let partition = message.partition();
                    if open.contains(&partition) {
                        heard_at = Instant::now();
                        if !each(&message) {
                            open.retain(|known| *known != partition);
                        }
                    }
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => open.retain(|known| *known != partition),
                Some(Err(error)) => return Err(failed(error)),
                None => {}
            }
            // Also while those that are done with go on being written by others.
            if heard_at.elapsed() > self.cluster.timeout() {
                return Err(Trouble::Doubt(format!("topic {topic} cannot be read: the cluster does not answer")));
            }
        }
        self.committed.unassign().map_err(&failed)
    }
}

/// From where a partition is read for its tail alone, and from where up to its end: where progress says that the tail
/// is, and behind what was seen, for others may have written for days since; all of it where nothing is known.
fn starts_of(tail: Option<i64>, seen: Option<i64>, first: i64, end: i64) -> (Option<i64>, Option<i64>) {
    // Behind the end: that is another topic of this name.
    let seen = seen.filter(|seen| *seen <= end).unwrap_or(first).max(first);
    let of_tail = tail.filter(|tail| (first..seen).contains(tail));
    let from = tail.map_or(seen, |tail| tail.max(seen));
    (of_tail, Some(from).filter(|from| *from < end))
}

/// A record that this gateway would never write.
pub(super) fn is_foreign(topic: &str, partition: impl core::fmt::Display, offset: i64) -> Trouble {
    Trouble::Refused(format!(
        "topic {topic}, partition {partition}: the record at offset {offset} is no event of a gateway; the topic is \
         written by somebody else: use another ship.kafka.topic_prefix"
    ))
}

/// What the headers of an event say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EventHeaders<'a> {
    pub(super) stream: &'a [u8],
    pub(super) epoch: u32,
    pub(super) seq: u64,
    pub(super) prev_seq: u64,
    pub(super) crc: u32,
}

impl<'a> EventHeaders<'a> {
    pub(super) fn of(message: &'a BorrowedMessage<'_>) -> Option<Self> {
        let headers = message.headers()?;
        let value = |name: &str| headers.iter().find(|header| header.key == name)?.value;
        let text = |name: &str| value(name).and_then(|bytes| std::str::from_utf8(bytes).ok());
        Some(Self {
            stream: value("stream")?,
            epoch: text("epoch")?.parse().ok()?,
            seq: text("seq")?.parse().ok()?,
            prev_seq: text("prev_seq_same_partition")?.parse().ok()?,
            crc: u32::from_str_radix(text("crc")?, 16).ok()?,
        })
    }
}

/// What `EventHeaders` reads.
pub(super) fn headers(stream: &str, record: &Record<'_>, prev_seq: u64, crc: u32) -> OwnedHeaders {
    let (epoch, seq, prev_seq) = (record.epoch.to_string(), record.seq.to_string(), prev_seq.to_string());
    OwnedHeaders::new_with_capacity(5)
        .insert(Header { key: "stream", value: Some(stream) })
        .insert(Header { key: "epoch", value: Some(&epoch) })
        .insert(Header { key: "seq", value: Some(&seq) })
        .insert(Header { key: "prev_seq_same_partition", value: Some(&prev_seq) })
        .insert(Header { key: "crc", value: Some(&format!("{crc:08x}")) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_read_from_its_tail_on_and_what_others_have_written_behind_it_only_once() {
        for (tail, seen, first, expected, what) in [
            (None, None, 10, (None, Some(10)), "nothing is known: all of it"),
            (Some(40), None, 10, (None, Some(40)), "nothing was seen behind it"),
            (Some(40), Some(90), 10, (Some(40), Some(90)), "others have written"),
            (Some(40), Some(100), 10, (Some(40), None), "and nobody since"),
            (None, Some(90), 10, (None, Some(90)), "nothing of ours was there"),
            (Some(95), Some(90), 10, (None, Some(95)), "we have, since"),
            (Some(40), Some(101), 10, (None, Some(40)), "another topic of this name"),
            (Some(40), Some(90), 60, (None, Some(90)), "the tail was removed as too old"),
            (Some(40), Some(50), 60, (None, Some(60)), "and all that was seen"),
            (Some(100), Some(100), 10, (None, None), "the end of it was lost"),
        ] {
            assert_eq!(starts_of(tail, seen, first, 100), expected, "{what}");
        }
    }
}
