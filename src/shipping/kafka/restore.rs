//! The journal made anew from the topics: for a host that is lost.
//!
//! What is merged is written, read back, and must be what was received.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tradecore_journal::{ReadError, Reader, RestoreError, Restorer, Until};

use super::beginning::Identity;
use super::cluster::Cluster;
use super::lanes::{Lanes, lanes};
use super::lease::Leasing;
use super::merge::{Merge, Unfit};
use super::progress::{Progress, Slot};
use super::session::Session;
use super::tail::Looker;
use super::term::Claimed;
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
/// restored, and its trading lease is waited out, so that whoever starts from the journal may trade. `tell` hears how far
/// it is, of how much, twice: while it writes and while it reads back; false ends it.
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
    let mut leasing = Leasing::new(cluster, None);
    if is_take_over {
        let (session, looker) = Session::claim(cluster, &mut Identity::without_journal(), &mut leasing)?;
        if let Some(claimed) = looker.progress()? {
            progress = claimed;
        }
        drop(session);
    }
    let lanes = lanes(cluster, &looker)?;
    let emptied = emptied(cluster, &progress, &lanes.1);
    let mut merge = Merge::new(cluster, lanes, 0, false);
    let failed = |unfit| trouble_of(unfit, progress.seq);
    let cut = match merge.begin(&AtomicBool::new(false)) {
        Ok(()) => None,
        Err(Unfit::Shortened { last_seq, place }) => Some((last_seq, place)),
        Err(unfit) => return Err(failed(unfit)),
    };
    // Of all that was removed, the last tells from where on everything is there.
    if let Some((last_seq, place)) = cut.max(emptied) {
        return Err(failed(Unfit::Shortened { last_seq, place }));
    }
    let (mut written, mut epoch) = (Sha256::new(), 0);
    while merge.taken_seq() < progress.seq {
        let Some(group) = merge.next_group().map_err(failed)? else {
            let (seq, problem) = (merge.taken_seq().saturating_add(1), "no partition has it".to_owned());
            return Err(RestoreTrouble::Flaw { seq, problem });
        };
        if merge.taken_seq() > progress.seq {
            return Err(RestoreTrouble::Flaw { seq: progress.seq, problem: "its group does not end".to_owned() });
        }
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
    if is_take_over && leasing.is_waiting(Instant::now()) {
        tracing::info!("all is there; the lost host may trade until its lease has run out, which is waited for");
    }
    while is_take_over && leasing.is_waiting(Instant::now()) {
        if !tell(progress.seq, progress.seq) {
            return Err(RestoreTrouble::Stopped);
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    if is_take_over {
        // Before the journal may be used: without it, this host's own claim would be taken for another's.
        Claimed::of(cluster, &progress)?.write(dir)?;
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

/// What keeps a journal from being made.
fn trouble_of(unfit: Unfit, last_seq: u64) -> RestoreTrouble {
    match unfit {
        Unfit::Cluster(trouble) => RestoreTrouble::Cluster(trouble),
        Unfit::Shortened { last_seq: removed_seq, place } => {
            RestoreTrouble::Shortened { first_seq: removed_seq.saturating_add(1), last_seq, place }
        }
        Unfit::Flaw { seq, problem } => RestoreTrouble::Flaw { seq, problem },
    }
}

/// Partitions that held events of the stream, and hold nothing at all.
fn emptied(cluster: &Cluster, progress: &Progress, lanes: &Lanes) -> Option<(u64, String)> {
    let is_gone = |(slot, _): &(&Slot, _)| !lanes.contains_key(*slot);
    let gone = progress.tails.iter().filter(is_gone);
    gone.map(|((domain, partition), tail)| (tail.seq, format!("{}/{partition}", cluster.topic(*domain)))).max()
}
