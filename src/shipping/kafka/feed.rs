//! A stream as it comes, out of all partitions of the event store: for who folds it, and keeps elsewhere how far.
//!
//! Offsets in the stream's own group save reading, no more: the last event that is known is read again, and must be the
//! one that is known. If it is not found there, or something does not fit, everything is read from the first record on.

use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::TopicPartitionList;
use tradecore_journal::Record;

use super::cluster::{Cluster, Context};
use super::lanes::{begin, places};
use super::merge::{Group, Merge, Unfit};
use super::tail::{Looker, failed};
use super::trouble::Trouble;

/// Offsets are kept after so many events, or so long.
const COMMIT_EVENTS: u64 = 100;
const COMMIT_INTERVAL: Duration = Duration::from_secs(5);

/// What other cores have under way is waited for so long, where nothing is in doubt.
const PATIENCE: Duration = Duration::from_millis(500);

/// Why a stream cannot be followed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FeedError {
    /// The cluster.
    #[error(transparent)]
    Cluster(#[from] Trouble),
    /// The topics begin behind what is known.
    #[error(
        "events-removed: events {from_seq} to {last_seq} are no longer in the topics, which begin behind them: {place}; \
         run `tradecore projection rebuild --database postgres` where the journal is, then start this again"
    )]
    Removed {
        /// The next one that is needed.
        from_seq: u64,
        /// The last that was removed.
        last_seq: u64,
        /// A partition that lacks it.
        place: String,
    },
    /// An event is missing, there again, or not as it was sent.
    #[error(
        "event-missing: event {seq}: {problem}; `tradecore ship verify` where the journal is tells all, and `tradecore \
         projection rebuild --database postgres` there takes the tables past it"
    )]
    Flaw {
        /// The event.
        seq: u64,
        /// What is wrong, and where.
        problem: String,
    },
}

impl FeedError {
    /// The event that is not as it should be, where this is about what the topics hold, and not how they are reached.
    #[must_use]
    pub const fn seq(&self) -> Option<u64> {
        match self {
            Self::Removed { from_seq: seq, .. } | Self::Flaw { seq, .. } => Some(*seq),
            Self::Cluster(_) => None,
        }
    }
}

/// The event behind which a feed began: whoever follows it compares that first, and takes nothing before.
#[derive(Debug)]
pub enum Known<'a> {
    /// The topics do not have it yet: what is fed from them is ahead.
    Awaited,
    /// They had it, and it was removed: there is nothing to compare with.
    Removed,
    /// It is there.
    There(Record<'a>),
}

/// A stream that is followed.
pub struct Feed<'a> {
    cluster: &'a Cluster,
    merge: Merge<'a>,
    /// Later events were seen without this one, and since then everything is read from the start: if it is not there, it
    /// is missing.
    doubted: Option<u64>,
    gap_since: Option<Instant>,
    uncommitted: u64,
    committed_at: Instant,
    is_told: bool,
}

impl<'a> Feed<'a> {
    /// Goes on behind an event. With one that is doubted, since it was not as it should be the last time, everything is
    /// read from the start.
    ///
    /// # Errors
    /// When the topics cannot be read, or lack what comes next.
    pub fn open(
        cluster: &'a Cluster,
        from_seq: u64,
        doubted: Option<u64>,
        stop: &AtomicBool,
    ) -> Result<Self, FeedError> {
        check(cluster)?;
        if from_seq > 0 && doubted.is_none() {
            match Self::open_at(cluster, from_seq, true, None, stop) {
                Ok(feed) if feed.merge.known().is_some() => return Ok(feed),
                Ok(_) => {}
                Err(error) if error.seq().is_some() => {}
                Err(error) => return Err(error),
            }
            tracing::info!(stream = %cluster.stream(), from_seq, "no offsets lead to that event: the topics are read from their start");
        }
        Self::open_at(cluster, from_seq, false, doubted, stop)
    }

    fn open_at(
        cluster: &'a Cluster,
        from_seq: u64,
        is_saving: bool,
        doubted: Option<u64>,
        stop: &AtomicBool,
    ) -> Result<Self, FeedError> {
        let looker = Looker::new(cluster)?;
        // What is there behind a doubted event is decided; so is the event then, if it is there.
        let looker = if doubted.is_some() { looker } else { looker.with_patience(PATIENCE) };
        let places = places(cluster);
        let consumer = cluster.follower(&group_of(cluster), places.len())?;
        let mut starts = Vec::new();
        for (slot, topic, partition) in places {
            let (first, end) = looker.bounds(&topic, partition)?;
            starts.push((slot, topic, partition, first, end));
        }
        let kept = if is_saving { kept(cluster, &consumer, &starts)? } else { Vec::new() };
        let starts = starts.into_iter().enumerate().map(|(nth, (slot, topic, partition, first, end))| {
            let offset = kept.get(nth).copied().flatten().filter(|kept| (first..=end).contains(kept));
            (slot, topic, partition, offset.unwrap_or(first))
        });
        let mut merge = Merge::new(cluster, begin(consumer, starts.collect())?, from_seq, true);
        merge.begin(stop).map_err(|unfit| error_of(unfit, from_seq))?;
        let committed_at = Instant::now();
        Ok(Self { cluster, merge, doubted, gap_since: None, uncommitted: 0, committed_at, is_told: false })
    }

    /// The event behind which it began, as the topics have it.
    ///
    /// # Errors
    /// When the topics cannot be read, or have later events without it, which is to be looked at again.
    pub fn known(&mut self) -> Result<Known<'_>, FeedError> {
        if self.merge.known().is_none() {
            let seq = self.merge.taken_seq();
            self.merge.look().map_err(|unfit| error_of(unfit, seq))?;
            if self.merge.is_known_removed() {
                return Ok(Known::Removed);
            }
            match self.miss(seq) {
                // It was decided before later ones were seen, and since then all was read.
                Err(FeedError::Flaw { .. }) if self.doubted.is_some() && self.merge.is_at_the_end() => {
                    return Ok(Known::Removed);
                }
                missed => missed?,
            }
        }
        Ok(self.merge.known().map_or(Known::Awaited, Known::There))
    }

    /// The next whole group; `None` when there is none yet.
    ///
    /// # Errors
    /// When the topics cannot be read, or do not have it.
    pub fn next_group(&mut self) -> Result<Option<Group>, FeedError> {
        let last_seq = self.merge.taken_seq();
        let group = self.merge.next_group().map_err(|unfit| error_of(unfit, last_seq))?;
        if group.is_some() {
            self.gap_since = None;
            return Ok(group);
        }
        self.miss(self.merge.taken_seq().saturating_add(1)).map(|()| None)
    }

    /// An event is not there: an error, once later ones have been there without it for too long.
    fn miss(&mut self, seq: u64) -> Result<(), FeedError> {
        if !self.merge.has_gap() {
            self.gap_since = None;
            return Ok(());
        }
        // A transaction is seen at once, but not in all partitions at the same moment.
        let since = *self.gap_since.get_or_insert_with(Instant::now);
        let (is_late, is_doubted) = (since.elapsed() > self.cluster.timeout(), self.doubted == Some(seq));
        if !(is_late || is_doubted && self.merge.is_at_the_end()) {
            return Ok(());
        }
        let problem = "no partition has it, and later ones are there";
        if is_doubted && !self.merge.is_at_the_end() {
            return Err(Trouble::Doubt("some partitions cannot be read: the cluster does not answer".to_owned()).into());
        }
        if !self.cluster.kafka.transactions
            && Looker::new(self.cluster)?.progress()?.is_none_or(|progress| progress.seq < seq)
        {
            // Each partition takes what it gets by itself; progress is written when all have.
            return Err(Trouble::Doubt(format!("event {seq} is not shipped yet: {problem}")).into());
        }
        Err(FeedError::Flaw { seq, problem: problem.to_owned() })
    }

    /// So many events were folded since the last time, all that it has handed out.
    pub fn folded(&mut self, events: u64) {
        self.uncommitted = self.uncommitted.saturating_add(events);
        let is_due = self.uncommitted >= COMMIT_EVENTS || self.committed_at.elapsed() >= COMMIT_INTERVAL;
        // Also without any: others write behind these, and offsets that nobody keeps anew are forgotten after days.
        if !is_due {
            return;
        }
        (self.uncommitted, self.committed_at) = (0, Instant::now());
        if let Err(error) = self.merge.commit()
            && !std::mem::replace(&mut self.is_told, true)
        {
            tracing::warn!(%error, "offsets are not kept: a start reads the topics from their beginning");
        }
    }
}

/// The group of a stream that keeps how far its tables have come; nobody is a member of it.
fn group_of(cluster: &Cluster) -> String {
    format!("{}tradecore-offsets-{}", cluster.kafka.topic_prefix, cluster.stream())
}

fn error_of(unfit: Unfit, known_seq: u64) -> FeedError {
    match unfit {
        Unfit::Cluster(trouble) => FeedError::Cluster(trouble),
        Unfit::Shortened { last_seq, place } => {
            FeedError::Removed { from_seq: known_seq.saturating_add(1), last_seq, place }
        }
        Unfit::Flaw { seq, problem } => FeedError::Flaw { seq, problem },
    }
}

/// That the topics are there, with as many partitions as they are looked for in.
fn check(cluster: &Cluster) -> Result<(), Trouble> {
    let consumer = cluster.consumer(true)?;
    // Of all topics: to ask for one by name can make it.
    let metadata = consumer.fetch_metadata(None, cluster.timeout()).map_err(failed("looking for the topics"))?;
    let wanted = cluster.kafka.partitions;
    for domain in crate::shipping::domains::Domain::ALL {
        let name = cluster.topic(*domain);
        match metadata.topics().iter().find(|topic| topic.name() == name).map(|topic| topic.partitions().len()) {
            None => {
                let why = "nothing was shipped yet, or ship.kafka.topic_prefix is another";
                return Err(Trouble::Doubt(format!("topic {name} is missing: {why}")));
            }
            Some(found) if found != wanted as usize => {
                return Err(Trouble::Refused(format!(
                    "topic {name} has {found} partitions, and ship.kafka.partitions says {wanted}: configure {found}"
                )));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// Offsets that the group keeps, in the order of `starts`.
fn kept<S>(
    cluster: &Cluster,
    consumer: &BaseConsumer<Context>,
    starts: &[(S, String, i32, i64, i64)],
) -> Result<Vec<Option<i64>>, Trouble> {
    let failed = failed("asking for kept offsets");
    let mut list = TopicPartitionList::new();
    for (_, topic, partition, ..) in starts {
        list.add_partition(topic, *partition);
    }
    let found = consumer.committed_offsets(list, cluster.timeout()).map_err(&failed)?;
    let of = |(_, topic, partition, ..): &(S, String, i32, i64, i64)| {
        found.find_partition(topic, *partition).and_then(|found| match found.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        })
    };
    Ok(starts.iter().map(of).collect())
}
