//! All partitions, as one stream in the order of the journal, in whole groups.
//!
//! Every partition is in the order of the journal, so the events are merged by their numbers, one of each partition in
//! memory. Nothing is guessed: a gap, a repetition, a byte that differs from its checksum or a group that is not whole
//! ends it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::topic_partition_list::TopicPartitionList;
use tradecore_journal::crc32c;
use tradecore_journal::record::{FLAG_MORE, HEADER_BYTES, RecordHeader};
use tradecore_journal::{GROUP_RECORDS_MAX, Record};

use super::cluster::{Cluster, Context};
use super::lanes::{Head, Lanes, Looked, heed};
use super::progress::Slot;
use super::tail::failed;
use super::trouble::Trouble;

/// Records of other streams that are passed over at once.
const LOOKS_MAX: u32 = 1_000;

/// Why the topics are not the journal that they were.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unfit {
    #[error(transparent)]
    Cluster(#[from] Trouble),
    /// They lack events before one.
    #[error("events up to {last_seq} were removed from {place}")]
    Shortened { last_seq: u64, place: String },
    /// They do not hold each event once, in order and unchanged.
    #[error("event {seq}: {problem}")]
    Flaw { seq: u64, problem: String },
}

/// What was decided at once.
#[derive(Debug, Default)]
pub struct Group {
    pub(super) epoch: u32,
    pub(super) records: Vec<Vec<u8>>,
}

impl Group {
    /// The records, in order.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        self.records.iter().filter_map(|bytes| record(self.epoch, bytes))
    }
}

/// Bytes that were merged, as a record.
pub(super) fn record(epoch: u32, bytes: &[u8]) -> Option<Record<'_>> {
    let RecordHeader { seq, ts_ns, kind, version, .. } = RecordHeader::from_bytes(bytes)?;
    let payload = bytes.get(HEADER_BYTES..)?;
    Some(Record { seq, ts_ns, kind, version, payload, bytes, epoch, segment: 0, offset: 0 })
}

/// All partitions.
pub(super) struct Merge<'a> {
    cluster: &'a Cluster,
    consumer: Arc<BaseConsumer<Context>>,
    lanes: Lanes,
    /// Events come on and on: their end is not waited for.
    is_live: bool,
    /// The next event of each partition, the oldest first.
    heads: BinaryHeap<Reverse<(u64, Slot)>>,
    /// Partitions without one, where more may come.
    waiting: Vec<Slot>,
    stream: String,
    /// Events up to this are known to who reads.
    from_seq: u64,
    /// That event, once it was seen: its writer's epoch and its bytes.
    known: Option<(u32, Vec<u8>)>,
    taken_seq: u64,
    /// Where the last one was that was taken.
    last_taken: Option<(Slot, i64)>,
    /// What was taken of a group that is not whole yet.
    group: Group,
}

impl<'a> Merge<'a> {
    /// Merges what comes behind `from_seq`.
    pub(super) fn new(
        cluster: &'a Cluster,
        (consumer, lanes): (Arc<BaseConsumer<Context>>, Lanes),
        from_seq: u64,
        is_live: bool,
    ) -> Self {
        Self {
            cluster,
            consumer,
            lanes,
            is_live,
            heads: BinaryHeap::new(),
            waiting: Vec::new(),
            stream: cluster.stream().to_string(),
            from_seq,
            known: None,
            taken_seq: from_seq,
            last_taken: None,
            group: Group::default(),
        }
    }

    /// Looks at the first event of every partition behind `from_seq`: nothing that is not known may lie before it.
    pub(super) fn begin(&mut self, stop: &AtomicBool) -> Result<(), Unfit> {
        let mut cut = None;
        for slot in self.lanes.keys().copied().collect::<Vec<_>>() {
            loop {
                if stop.load(Ordering::Acquire) {
                    return Err(Trouble::Stopped.into());
                }
                let Some(lane) = self.lanes.get_mut(&slot) else { break };
                lane.peek(&self.consumer, self.cluster, &self.stream)?;
                if self.settle(slot) {
                    break;
                }
            }
            let Some(lane) = self.lanes.get_mut(&slot) else { continue };
            if let (Some(head), None) = (&lane.head, lane.last_seq) {
                let (prev_seq, offset) = (head.prev_seq, head.offset);
                lane.last_seq = Some(prev_seq);
                if prev_seq > self.from_seq {
                    cut = cut.max(Some((prev_seq, lane.place(offset))));
                }
            }
        }
        cut.map_or(Ok(()), |(last_seq, place)| Err(Unfit::Shortened { last_seq, place }))
    }

    /// The last event that was handed out, or is part of a group that is not whole.
    pub(super) const fn taken_seq(&self) -> u64 {
        self.taken_seq
    }

    /// The event `from_seq`, once it was seen.
    pub(super) fn known(&self) -> Option<Record<'_>> {
        self.known.as_ref().and_then(|(epoch, bytes)| record(*epoch, bytes))
    }

    /// Reads on, without taking anything.
    pub(super) fn look(&mut self) -> Result<(), Unfit> {
        self.fill().map(drop)
    }

    /// The event `from_seq` was in a partition, and is not there any more: what came behind it there says so.
    pub(super) fn is_known_removed(&self) -> bool {
        let mut heads = self.lanes.values().filter_map(|lane| lane.head.as_ref());
        self.known.is_none() && heads.any(|head| head.prev_seq == self.from_seq)
    }

    /// Events are there, and the one that comes next is not.
    pub(super) fn has_gap(&self) -> bool {
        !self.heads.is_empty()
    }

    /// Every partition without an event was read to its end.
    pub(super) fn is_at_the_end(&self) -> bool {
        self.waiting.iter().all(|slot| self.lanes.get(slot).is_some_and(|lane| lane.is_ended))
    }

    /// Keeps offsets in the consumer's group: without waiting for it, since they only save reading.
    pub(super) fn commit(&self) -> Result<(), Trouble> {
        let Some(offsets) = self.offsets() else { return Ok(()) };
        let failed = failed("keeping offsets");
        let mut list = TopicPartitionList::new();
        for (topic, partition, offset) in offsets {
            list.add_partition_offset(topic, partition, Offset::Offset(offset)).map_err(&failed)?;
        }
        self.consumer.commit(&list, CommitMode::Async).map_err(&failed)
    }

    /// Where to read on, so that the last event that was taken is seen again; `None` within a group.
    fn offsets(&self) -> Option<impl Iterator<Item = (&str, i32, i64)>> {
        self.group.records.is_empty().then(|| {
            self.lanes.iter().map(|(slot, lane)| {
                let offset = match self.last_taken {
                    Some((taken, offset)) if taken == *slot => offset,
                    _ => lane.head.as_ref().map_or(lane.next_offset, |head| head.offset),
                };
                let (topic, partition) = lane.name();
                (topic, partition, offset)
            })
        })
    }

    /// The next whole group; `None` when the partitions do not have it, or not yet.
    pub(super) fn next_group(&mut self) -> Result<Option<Group>, Unfit> {
        while let Some(head) = self.take()? {
            let seq = self.taken_seq;
            let flaw = |problem: &str| Unfit::Flaw { seq, problem: problem.to_owned() };
            if self.group.records.is_empty() {
                self.group.epoch = head.epoch;
            } else if self.group.epoch != head.epoch {
                return Err(flaw("its group has another epoch"));
            }
            let header = RecordHeader::from_bytes(&head.bytes).ok_or_else(|| flaw("the record is too short"))?;
            self.group.records.push(head.bytes);
            if header.flags & FLAG_MORE == 0 {
                return Ok(Some(std::mem::take(&mut self.group)));
            }
            if self.group.records.len() > GROUP_RECORDS_MAX {
                return Err(flaw("its group does not end"));
            }
        }
        Ok(None)
    }

    /// The event behind the last one, checked; `None` when no partition has it.
    fn take(&mut self) -> Result<Option<Head>, Unfit> {
        let seq = self.taken_seq.saturating_add(1);
        let flaw = |problem: String| Unfit::Flaw { seq, problem };
        while self.heads.peek().is_none_or(|Reverse((found, _))| *found > seq) {
            if !self.is_live || !self.fill()? {
                return self.find_hole(seq).map(|()| None);
            }
        }
        let Some(Reverse((found, slot))) = self.heads.pop() else { return Ok(None) };
        let Some(lane) = self.lanes.get_mut(&slot) else { return Ok(None) };
        let Some(head) = lane.head.take() else { return Ok(None) };
        let place = lane.place(head.offset);
        if found < seq {
            return Err(flaw(format!("event {found} is there again, or out of order: {place}")));
        }
        // Of a partition that had none when it began, what lies before its first is checked here.
        if lane.last_seq.map_or(head.prev_seq > self.from_seq, |last_seq| last_seq != head.prev_seq) {
            return Err(flaw(format!("the header prev_seq_same_partition does not fit: {place}")));
        }
        if crc32c(&head.bytes, &[]) != head.crc {
            return Err(flaw(format!("the bytes do not fit the header crc: {place}")));
        }
        if RecordHeader::from_bytes(&head.bytes).is_none_or(|header| header.seq != seq) {
            return Err(flaw(format!("the record has another number than the header seq: {place}")));
        }
        lane.last_seq = Some(seq);
        (self.taken_seq, self.last_taken) = (seq, Some((slot, head.offset)));
        self.refill(slot)?;
        Ok(Some(head))
    }

    /// What comes behind an event of its partition proves that it was there.
    fn find_hole(&self, seq: u64) -> Result<(), Unfit> {
        let behind = self.lanes.values().find_map(|lane| {
            lane.head.as_ref().filter(|head| head.prev_seq >= seq).map(|head| (head.prev_seq, lane.place(head.offset)))
        });
        behind.map_or(Ok(()), |(seq, place)| {
            Err(Unfit::Flaw { seq, problem: format!("no partition has it; it was before {place}") })
        })
    }

    /// Looks at the partitions without an event; true when one has come.
    fn fill(&mut self) -> Result<bool, Unfit> {
        let before = self.heads.len();
        for slot in std::mem::take(&mut self.waiting) {
            self.refill(slot)?;
        }
        if self.heads.len() == before {
            heed(&self.consumer)?;
        }
        Ok(self.heads.len() > before)
    }

    fn refill(&mut self, slot: Slot) -> Result<(), Unfit> {
        loop {
            let Some(lane) = self.lanes.get_mut(&slot) else { return Ok(()) };
            if self.is_live {
                // Others are read meanwhile: what is not there yet is looked for again.
                let mut looks = 0..LOOKS_MAX;
                while lane.head.is_none()
                    && looks.next().is_some()
                    && matches!(lane.look(Duration::ZERO, self.cluster, &self.stream)?, Looked::Other | Looked::End)
                {
                }
            } else {
                lane.peek(&self.consumer, self.cluster, &self.stream)?;
            }
            if self.settle(slot) {
                return Ok(());
            }
        }
    }

    /// Puts the next event of a partition in its place, or what is known already away: then false.
    fn settle(&mut self, slot: Slot) -> bool {
        let Some(lane) = self.lanes.get_mut(&slot) else { return true };
        match &lane.head {
            Some(head) if head.seq > self.from_seq => {
                self.heads.push(Reverse((head.seq, slot)));
                true
            }
            Some(_) => {
                if let Some(head) = lane.head.take() {
                    lane.last_seq = Some(head.seq);
                    if head.seq == self.from_seq {
                        self.last_taken = Some((slot, head.offset));
                        self.known = Some((head.epoch, head.bytes));
                    }
                }
                false
            }
            None => {
                self.waiting.push(slot);
                true
            }
        }
    }
}
