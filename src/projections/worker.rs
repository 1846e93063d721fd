//! Topics → tables on a PostgreSQL server: a process of its own, beside others like it, on any host.
//!
//! A group of the cluster says which worker has which stream; the position in the database, which moves by
//! compare-and-set in the transaction of the rows, says how far its tables are. So whatever a worker believes, and
//! whenever it wakes up, nothing is folded twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::error::ProjectionError;
use super::follow::{Backoff, IDLE_WAIT, RETRY_MIN, pause};
use super::postgres::end_fellow;
use super::projector::{Folding, Source};
use super::store::Care;
use crate::exit::Exit;
use crate::shipping::kafka::{Cluster, Feed, FeedError, Known, Membership, Trouble};

/// Longest wait for an answer of the group, and for a stop.
const POLL_WAIT: Duration = Duration::from_millis(100);

/// How often the lock of tables is asked for, two seconds and a half each time, before the connection of a fellow is ended
/// that has lost their stream, has the lock, and so may stand still.
const LOCK_TRIES: u32 = 4;

/// How often, and with which waits, a stop looks whether all has ended.
const STOP_LOOKS: u32 = 500;
const STOP_WAIT: Duration = Duration::from_millis(10);

/// A stream, and the tables that are made of it.
#[derive(Debug)]
pub struct Work {
    /// Where its events are.
    pub cluster: Cluster,
    /// Where its tables are.
    pub source: Source,
}

/// Why a stream is not folded any more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkError {
    /// The tables.
    #[error(transparent)]
    Tables(#[from] ProjectionError),
    /// The topics.
    #[error(transparent)]
    Feed(#[from] FeedError),
    /// The tables are of other events.
    #[error(
        "other-journal: event {seq} of the topics is not the one that the tables know: check core.id, core.environment and \
         ship.kafka.topic_prefix, or make the tables anew with `tradecore projection rebuild --database postgres` where \
         the journal is"
    )]
    Other {
        /// The last event that the tables know.
        seq: u64,
    },
}

impl WorkError {
    /// True for what may pass by itself, or by what somebody does on the server or the cluster.
    fn may_pass(&self) -> bool {
        match self {
            // Who wrote meanwhile is done, or goes on: the lock tells.
            Self::Tables(ProjectionError::Moved { .. }) => true,
            Self::Tables(error) => error.may_pass(),
            Self::Feed(error) => matches!(error, FeedError::Cluster(Trouble::Doubt(_) | Trouble::Unfit(_))),
            Self::Other { .. } => false,
        }
    }

    /// The event of the topics that is not as it should be.
    const fn seq(&self) -> Option<u64> {
        match self {
            Self::Feed(error) => error.seq(),
            Self::Tables(_) | Self::Other { .. } => None,
        }
    }

    const fn is_stop(&self) -> bool {
        matches!(self, Self::Tables(ProjectionError::Stopped) | Self::Feed(FeedError::Cluster(Trouble::Stopped)))
    }
}

impl From<&WorkError> for Exit {
    fn from(error: &WorkError) -> Self {
        match error {
            WorkError::Tables(error) => Self::from(error),
            WorkError::Feed(FeedError::Removed { .. }) => Self::JournalShortened,
            WorkError::Feed(FeedError::Flaw { .. }) => Self::ProofFailed,
            WorkError::Feed(FeedError::Cluster(Trouble::Refused(_))) => Self::Rejected,
            WorkError::Feed(_) => Self::Unavailable,
            WorkError::Other { .. } => Self::ProjectionUnusable,
        }
    }
}

/// A stream that this worker folds now.
struct Running {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<(), WorkError>>,
}

impl Running {
    fn ask(&self) {
        self.stop.store(true, Ordering::Release);
        self.thread.thread().unpark();
    }
}

/// Folds the streams that the group gives to this worker, until `stop` is set.
///
/// # Errors
/// When none of its streams can be folded on; each is told when that happens.
pub fn project(works: Vec<Work>, stop: &AtomicBool) -> Result<(), WorkError> {
    let works: Vec<Arc<Work>> = works.into_iter().map(Arc::new).collect();
    let Some(first) = works.first() else { return Ok(()) };
    let streams: Vec<_> = works.iter().map(|work| work.cluster.stream()).collect();
    let mut membership = Membership::join(&first.cluster, &streams).map_err(FeedError::from)?;
    tracing::info!(streams = works.len(), "joins the group of workers; a stream that another has is waited for");
    let mut running: Vec<Option<Running>> = works.iter().map(|_| None).collect();
    let mut failed: Vec<Option<WorkError>> = works.iter().map(|_| None).collect();
    while !stop.load(Ordering::Acquire) && failed.iter().any(Option::is_none) {
        let ours = membership.poll(POLL_WAIT);
        for (((work, is_ours), running), failed) in works.iter().zip(ours).zip(&mut running).zip(&mut failed) {
            let stream = work.cluster.stream();
            if let Some(one) = running.as_ref().filter(|_| !is_ours) {
                one.ask();
            }
            if let Some(ended) = running.take_if(|running| running.thread.is_finished()) {
                match ended.thread.join().unwrap_or(Ok(())) {
                    Ok(()) => tracing::info!(%stream, "the group has taken this stream from this worker"),
                    Err(error) => {
                        tracing::error!(%stream, %error, "the tables of this stream stand still until a start of this worker");
                        *failed = Some(error);
                    }
                }
            } else if is_ours && running.is_none() && failed.is_none() {
                *running = begin(work);
            }
        }
    }
    let running: Vec<Running> = running.into_iter().flatten().collect();
    running.iter().for_each(Running::ask);
    // Who waits for a server or a cluster that does not answer is left behind: what is not committed is taken back.
    let mut looks = 0..STOP_LOOKS;
    while running.iter().any(|running| !running.thread.is_finished()) && looks.next().is_some() {
        std::thread::park_timeout(STOP_WAIT);
    }
    match failed.into_iter().collect::<Option<Vec<_>>>().map(|all| all.into_iter().next()) {
        Some(Some(error)) => Err(error),
        _ => Ok(()),
    }
}

/// Starts a thread that folds a stream; `None` where the system has none, which is tried again.
fn begin(work: &Arc<Work>) -> Option<Running> {
    let (stop, work) = (Arc::new(AtomicBool::new(false)), Arc::clone(work));
    let asked = Arc::clone(&stop);
    match std::thread::Builder::new().name("project".to_owned()).spawn(move || follow(&work, &asked)) {
        Ok(thread) => Some(Running { stop, thread }),
        Err(error) => {
            tracing::warn!(%error, "a thread cannot be started; that is tried again");
            None
        }
    }
}

/// Folds a stream until it is asked to stop, or something failed that does not pass.
fn follow(work: &Work, stop: &AtomicBool) -> Result<(), WorkError> {
    let stream = work.cluster.stream();
    let (mut backoff, mut doubted, mut locked) = (Backoff::new(), None, 0_u32);
    while !stop.load(Ordering::Acquire) {
        let mut is_working = false;
        let Err(error) = run(work, doubted, stop, &mut is_working) else { return Ok(()) };
        if is_working {
            (backoff, locked) = (Backoff::new(), 0);
        }
        if error.is_stop() {
            return Ok(());
        }
        if error.seq().is_some() && error.seq() != doubted {
            // Offsets may be wrong, or a partition may be late: only what is seen again is so.
            tracing::warn!(%stream, %error, "this is looked at again, from the first record on");
            doubted = error.seq();
            continue;
        }
        if !error.may_pass() {
            return Err(error);
        }
        let is_locked = matches!(error, WorkError::Tables(ProjectionError::Locked { .. }));
        let wait = if is_locked { RETRY_MIN } else { backoff.wait() };
        tracing::warn!(%stream, %error, retry_ms = wait.as_millis() as u64, "these tables lag");
        if is_locked {
            // The group says that this stream is ours: a fellow that still has the lock stands still, or its host is gone.
            locked = locked.saturating_add(1);
            if locked >= LOCK_TRIES
                && let Some(server) = &work.source.server
                && let Ok(true) = end_fellow(server)
            {
                tracing::warn!(%stream, "the connection of the worker that had this stream was ended");
            }
        }
        pause(stop, wait);
    }
    Ok(())
}

fn run(work: &Work, doubted: Option<u64>, stop: &AtomicBool, is_working: &mut bool) -> Result<(), WorkError> {
    let Work { cluster, source } = work;
    let mut folding = Folding::open(source, Care::Live)?;
    folding.check_parked()?;
    let seq = folding.position().seq;
    let mut feed = Feed::open(cluster, seq, doubted.filter(|doubted| *doubted >= seq), stop)?;
    let (mut is_checked, mut is_told) = (seq == 0, false);
    tracing::info!(stream = %cluster.stream(), path = %source.name().display(), seq, "projecting");
    while !stop.load(Ordering::Acquire) {
        if !is_checked {
            // Before anything is folded: tables may be ahead of the topics, and the topics may be of another journal.
            match feed.known()? {
                Known::There(record) if !folding.is_known(&record) => return Err(WorkError::Other { seq }),
                Known::There(_) => {}
                Known::Removed => {
                    tracing::info!(stream = %cluster.stream(), seq, "the topics no longer have the event that the tables know last");
                }
                Known::Awaited => {
                    if !std::mem::replace(&mut is_told, true) {
                        tracing::info!(stream = %cluster.stream(), seq, "the tables are ahead of the topics, and wait for them");
                    }
                    pause(stop, IDLE_WAIT);
                    continue;
                }
            }
            is_checked = true;
        }
        let mut failed = None;
        let count = folding.step(u64::MAX, &mut |take| match feed.next_group() {
            Ok(Some(group)) => group.records().try_for_each(|record| take(&record)).map(|()| true),
            Ok(None) => Ok(false),
            Err(error) => {
                failed = Some(error);
                Ok(false)
            }
        })?;
        *is_working |= count > 0;
        if let Some(error) = failed {
            return Err(error.into());
        }
        feed.folded(count);
        if count == 0 {
            pause(stop, IDLE_WAIT);
        }
    }
    Ok(())
}
