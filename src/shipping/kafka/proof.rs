//! That the topics hold each event exactly once, in order, byte for byte: read back, and laid beside the journal.
//!
//! The journal is walked once; the record that must come next in its partition is taken from there. So memory does not
//! grow with the journal, and an event is missing, extra or different where it stands.

use std::sync::atomic::{AtomicBool, Ordering};

use rdkafka::consumer::BaseConsumer;
use tradecore_domain::event::Event;
use tradecore_journal::crc32c;
use tradecore_journal::{Reader, Record, Until};

use super::beginning::check_journal;
use super::cluster::{Cluster, Context};
use super::lanes::{Head, Lane, lanes};
use super::progress::Slot;
use super::tail::Looker;
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
    /// A record that no gateway has written.
    Foreign {
        /// Topic, partition and offset, and what to do.
        text: String,
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

/// Reads the topics back and compares them with the journal, up to what progress says is shipped.
///
/// # Errors
/// When the cluster or the journal cannot be read; what differs is in the proof.
pub fn prove(cluster: &Cluster, stop: &AtomicBool) -> Result<Proof, Trouble> {
    check_journal(cluster)?;
    let looker = Looker::new(cluster)?;
    let Some(progress) = looker.progress()? else {
        let problem = "it tells of no progress: nothing was shipped under this name yet, or its topic has lost it";
        return Err(Trouble::Doubt(format!("{} of stream {}: {problem}", cluster.progress_topic(), cluster.stream())));
    };
    let mut proof = Proof { last_seq: progress.seq, ..Proof::default() };
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
            let (slot, key) = place_of(cluster, &record)?;
            match lanes.get_mut(&slot) {
                Some(lane) => compare(&mut proof, lane, (&record, &key), &consumer, cluster, &stream)?,
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
        while let Some(head) = peek(&mut proof, lane, &consumer, cluster, &stream)? {
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

/// Where a record must be, and under which key.
fn place_of(cluster: &Cluster, record: &Record<'_>) -> Result<(Slot, String), Trouble> {
    let event = Event::from_archive(record.kind, record.version, record.payload)
        .map_err(|error| Trouble::Unknown { seq: record.seq, text: error.to_string() })?;
    let key = domains::key(cluster.stream(), &event);
    Ok(((Domain::of(&event), domains::partition(key.as_bytes(), cluster.kafka.partitions)), key))
}

/// The next event of a lane. What is none is told of, and left out.
fn peek<'a>(
    proof: &mut Proof,
    lane: &'a mut Lane,
    consumer: &BaseConsumer<Context>,
    cluster: &Cluster,
    stream: &str,
) -> Result<Option<&'a Head>, Trouble> {
    loop {
        match lane.peek(consumer, cluster, stream) {
            Err(Trouble::Refused(text)) => proof.add(Flaw::Foreign { text }),
            Err(trouble) => return Err(trouble),
            Ok(_) => return Ok(lane.head.as_ref()),
        }
    }
}

fn compare(
    proof: &mut Proof,
    lane: &mut Lane,
    (record, key): (&Record<'_>, &str),
    consumer: &BaseConsumer<Context>,
    cluster: &Cluster,
    stream: &str,
) -> Result<(), Trouble> {
    let crc = crc32c(record.bytes, &[]);
    loop {
        let last_seq = lane.last_seq;
        let Some(head) = peek(proof, lane, consumer, cluster, stream)? else {
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
        } else if head.epoch != record.epoch {
            Some("the header epoch")
        } else if head.key_crc != crc32c(key.as_bytes(), &[]) {
            Some("the key")
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
