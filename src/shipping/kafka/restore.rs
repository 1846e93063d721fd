//! The journal made anew from the topics: for a host that is lost.
//!
//! Every partition is in the order of the journal, so the events are merged by their numbers, one of each partition in
//! memory. Nothing is guessed: a gap, a repetition, a byte that differs from its checksum or a group that is not whole
//! ends it. What was written is then read back, and must be what was received.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::path::Path;
use std::sync::Arc;

use rdkafka::consumer::BaseConsumer;
use sha2::{Digest, Sha256};
use tradecore_journal::record::{FLAG_MORE, RecordHeader, crc32c};
use tradecore_journal::{GROUP_RECORDS_MAX, ReadError, Reader, RestoreError, Restorer, Until};

use super::beginning::Identity;
use super::cluster::{Cluster, Context};
use super::lease::Leasing;
use super::progress::{Progress, Slot};
use super::proof::{Head, Lanes, lanes};
use super::session::Session;
use super::tail::Looker;
use super::trouble::Trouble;

/// A journal that was made anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Events, from the first to `last_seq`.
    pub events: u64,
    /// The last of them, as the cluster's progress says.
    pub last_seq: u64,
    /// Start epoch of the last of them.
    pub epoch: u32,
    /// SHA-256 over all records, header and payload as they are stored, one after the other.
    pub digest: [u8; 32],
}

/// Why none was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreTrouble {
    /// The cluster.
    #[error(transparent)]
    Cluster(#[from] Trouble),
    /// The journal's directory, or a record that does not fit.
    #[error(transparent)]
    Write(#[from] RestoreError),
    /// What was written cannot be read back.
    #[error("reading the restored journal back: {0}")]
    Read(#[from] ReadError),
    /// The stream was never shipped to these topics.
    #[error(
        "nothing of stream {0} was shipped to these topics; check core.id, core.environment and ship.kafka.topic_prefix"
    )]
    Nothing(String),
    /// The topics no longer begin with the first event.
    #[error(
        "the topics hold every event only from {first_seq} on, up to {last_seq}: older ones were removed from {place}. A \
         state is made of every event from the first, so no gateway starts from these"
    )]
    Shortened {
        /// From here on they are complete.
        first_seq: u64,
        /// The last.
        last_seq: u64,
        /// A partition that lacks some.
        place: String,
    },
    /// The topics do not hold each event once, in order and unchanged.
    #[error("event {seq}: {problem}; `tradecore ship verify` tells all, where a journal is left to compare with")]
    Flaw {
        /// The event.
        seq: u64,
        /// What is wrong, and where.
        problem: String,
    },
    /// What is read back is not what was written.
    #[error("read back, the restored journal is not what was received: the disk or its memory is faulty")]
    Differs,
    /// Somebody wanted an end.
    #[error("interrupted; run it again, it begins anew")]
    Stopped,
}

/// Makes the journal of the cluster's stream anew in `dir`, which must be empty or of an earlier restore that was
/// interrupted. With `is_take_over` every shipper of the stream is fenced first, so that nothing can come behind what is
/// restored. `tell` hears how far it is, of how much, twice: while it writes and while it reads back; false ends it.
///
/// # Errors
/// Anything that keeps the journal from being what was shipped; what is in `dir` then is no journal, and says so.
pub fn restore(
    cluster: &Cluster,
    dir: &Path,
    is_take_over: bool,
    tell: &mut dyn FnMut(u64, u64) -> bool,
) -> Result<Restored, RestoreTrouble> {
    let looker = Looker::new(cluster)?;
    let stream = cluster.stream().to_string();
    let Some(mut progress) = looker.progress()?.filter(|progress| progress.seq > 0) else {
        return Err(RestoreTrouble::Nothing(stream));
    };
    let identity = (cluster.stream().core, cluster.stream().environment);
    // Before anybody is fenced: a place that cannot be used ends nobody's trading.
    let mut restorer = Restorer::begin(dir, identity.0, identity.1, crate::clock::utc_ns())?;
    if is_take_over {
        let (session, looker) = Session::claim(cluster, &mut Identity::here(), &mut Leasing::new(cluster, None))?;
        if let Some(claimed) = looker.progress()? {
            progress = claimed;
        }
        drop(session);
    }
    let (consumer, lanes) = lanes(cluster, &looker)?;
    let mut merge = Merge { cluster, consumer, lanes, heads: BinaryHeap::new(), stream, last_seq: progress.seq };
    merge.begin(&progress)?;
    let (mut written, mut epoch) = (Sha256::new(), 0);
    while let Some(group) = merge.next_group(restorer.last_seq())? {
        group.records.iter().for_each(|record| written.update(record));
        epoch = group.epoch;
        restorer.append(group.epoch, &group.records)?;
        if !tell(restorer.last_seq(), progress.seq) {
            return Err(RestoreTrouble::Stopped);
        }
    }
    restorer.finish()?;
    let digest: [u8; 32] = written.finalize().into();
    if read_back(dir, progress.seq, tell)? != (progress.seq, digest) {
        return Err(RestoreTrouble::Differs);
    }
    restorer.confirm()?;
    Ok(Restored { events: progress.seq, last_seq: progress.seq, epoch, digest })
}

/// Events and digest of a journal.
fn read_back(
    dir: &Path,
    last_seq: u64,
    tell: &mut dyn FnMut(u64, u64) -> bool,
) -> Result<(u64, [u8; 32]), RestoreTrouble> {
    let (mut events, mut digest) = (0_u64, Sha256::new());
    let mut reader = Reader::open(dir, 1, Until::Synced)?;
    while let Some(group) = reader.next_group()? {
        for record in group.records() {
            digest.update(record.bytes);
            events = events.saturating_add(1);
        }
        if !tell(events, last_seq) {
            return Err(RestoreTrouble::Stopped);
        }
    }
    Ok((events, digest.finalize().into()))
}

struct Group {
    epoch: u32,
    records: Vec<Vec<u8>>,
}

/// All partitions, as one stream in the order of the journal.
struct Merge<'a> {
    cluster: &'a Cluster,
    consumer: Arc<BaseConsumer<Context>>,
    lanes: Lanes,
    /// The next event of each partition, the oldest first.
    heads: BinaryHeap<Reverse<(u64, Slot)>>,
    stream: String,
    last_seq: u64,
}

impl Merge<'_> {
    /// Looks at the first event of every partition: what came before it must be nothing.
    fn begin(&mut self, progress: &Progress) -> Result<(), RestoreTrouble> {
        let mut cut: BTreeMap<u64, String> = BTreeMap::new();
        for ((domain, partition), tail) in &progress.tails {
            if !self.lanes.contains_key(&(*domain, *partition)) {
                cut.insert(tail.seq, format!("{}/{partition}", self.cluster.topic(*domain)));
            }
        }
        for slot in self.lanes.keys().copied().collect::<Vec<_>>() {
            let Some(lane) = self.lanes.get_mut(&slot) else { continue };
            if let Some(Head { seq, prev_seq, offset, .. }) = lane.peek(&self.consumer, self.cluster, &self.stream)? {
                let (seq, prev_seq, offset) = (*seq, *prev_seq, *offset);
                self.heads.push(Reverse((seq, slot)));
                lane.last_seq = Some(prev_seq);
                if prev_seq > 0 {
                    cut.insert(prev_seq, lane.place(offset));
                }
            }
        }
        match cut.pop_last() {
            Some((seq, place)) => {
                Err(RestoreTrouble::Shortened { first_seq: seq.saturating_add(1), last_seq: self.last_seq, place })
            }
            None => Ok(()),
        }
    }

    /// The next whole group; `None` when all that is shipped was handed out.
    fn next_group(&mut self, taken_seq: u64) -> Result<Option<Group>, RestoreTrouble> {
        if taken_seq >= self.last_seq {
            return Ok(None);
        }
        let mut group = Group { epoch: 0, records: Vec::new() };
        let mut seq = taken_seq.saturating_add(1);
        loop {
            let head = self.next(seq)?;
            let flaw = |problem: &str| RestoreTrouble::Flaw { seq, problem: problem.to_owned() };
            if group.records.is_empty() {
                group.epoch = head.epoch;
            } else if group.epoch != head.epoch {
                return Err(flaw("its group has another epoch"));
            }
            let header = RecordHeader::from_bytes(&head.bytes).ok_or_else(|| flaw("the record is too short"))?;
            group.records.push(head.bytes);
            if header.flags & FLAG_MORE == 0 {
                return Ok(Some(group));
            }
            if seq >= self.last_seq || group.records.len() > GROUP_RECORDS_MAX {
                return Err(flaw("its group does not end"));
            }
            seq = seq.saturating_add(1);
        }
    }

    /// The event with this number, checked.
    fn next(&mut self, seq: u64) -> Result<Head, RestoreTrouble> {
        let flaw = |problem: String| RestoreTrouble::Flaw { seq, problem };
        let (found, lane) = match self.heads.pop() {
            Some(Reverse((found, slot))) => (found, self.lanes.get_mut(&slot).map(|lane| (slot, lane))),
            None => (u64::MAX, None),
        };
        let Some((slot, lane)) = lane.filter(|_| found <= seq) else {
            return Err(flaw("no partition has it".to_owned()));
        };
        let Some(head) = lane.head.take() else { return Err(flaw("no partition has it".to_owned())) };
        let place = lane.place(head.offset);
        if found < seq {
            return Err(flaw(format!("event {found} is there again, or out of order: {place}")));
        }
        if lane.last_seq != Some(head.prev_seq) {
            return Err(flaw(format!("the header prev_seq_same_partition does not fit: {place}")));
        }
        if crc32c(&head.bytes, &[]) != head.crc {
            return Err(flaw(format!("the bytes do not fit the header crc: {place}")));
        }
        lane.last_seq = Some(seq);
        if let Some(next) = lane.peek(&self.consumer, self.cluster, &self.stream)? {
            self.heads.push(Reverse((next.seq, slot)));
        }
        Ok(head)
    }
}
