//! The side threads: one makes what is written survive power loss, one keeps a segment ahead.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::exchange::Exchange;
use crate::map::Map;
use crate::record::HEADER_BYTES;
use crate::scan::{Found, found_at};
use crate::segment::{self, Pace, Prepared, SEGMENT_HEADER_BYTES, SegmentHeader, hot_path_of, path_of};
use crate::slots::Slots;
use crate::start::Started;
use crate::storage::{Storage, StorageFile};
use crate::watermarks::Watermarks;
use crate::{Config, OpenError};

const PAGE: usize = 4096;
const RETRY_WHEN_FULL: Duration = Duration::from_millis(100);
/// So many batches, at most, until the durable watermark itself is synced.
const BATCHES_PER_CHECKPOINT: u32 = 1024;
/// Without a batch for so long, it is synced.
const CALM_AFTER: Duration = Duration::from_millis(10);
/// Between looks whether the writer has taken the segment that lay ready.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// What to do when a sync failed. The kernel may have dropped what it could not write, so nothing that is
/// tried afterwards proves anything: the process must stop and recover.
pub type OnSyncFailure = fn(&io::Error);

/// What to do when no segment can be kept ahead, and (`None`) when one can again.
pub type OnPrepare = fn(Option<&OpenError>);

/// How often the sync thread syncs. One sync is in flight at a time, and takes all that was written before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncPolicy {
    /// From the start of one sync to the start of the next, at least, ns; 0 for one right after the other.
    pub interval_min_ns: u64,
    /// How long the thread sleeps before it looks again when there was nothing to sync and nobody wakes it, ns; 0 yields
    /// only, and keeps a CPU busy.
    pub idle_poll_ns: u64,
}

impl Default for SyncPolicy {
    fn default() -> Self {
        Self { interval_min_ns: 0, idle_poll_ns: 20_000 }
    }
}

/// The side threads of an open journal. Dropping it stops them after a last sync.
#[derive(Debug)]
pub struct Background {
    stop_sync: Arc<AtomicBool>,
    exchange: Arc<Exchange>,
    sync: Option<JoinHandle<()>>,
    prepare: Option<JoinHandle<()>>,
}

impl Background {
    /// Ends the thread that makes segments; what it has made stays.
    pub(crate) fn stop_making(&mut self) {
        self.exchange.close();
        join(self.prepare.take());
    }

    /// Syncs what is written and ends the threads.
    pub fn stop(&mut self) {
        self.stop_making();
        self.stop_sync.store(true, Ordering::Release);
        join(self.sync.take());
    }
}

fn join(thread: Option<JoinHandle<()>>) {
    if let Some(thread) = thread {
        thread.thread().unpark();
        // A thread that panicked has been reported by the panic itself.
        drop(thread.join());
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop();
    }
}

/// How segments are made.
#[derive(Debug)]
pub(crate) struct Maker<S> {
    pub(crate) storage: S,
    pub(crate) dir: PathBuf,
    pub(crate) hot_dir: Option<PathBuf>,
    pub(crate) core: u16,
    pub(crate) environment: u8,
    pub(crate) epoch: u32,
    pub(crate) next_segno: u64,
    pub(crate) next_bytes: u64,
    pub(crate) max_bytes: u64,
    pub(crate) created_ns: u64,
}

impl<S: Storage> Maker<S> {
    /// Makes the next segment; from the third of a life on each is twice as long as the last, up to the bound.
    pub(crate) fn make(&mut self, pace: Pace<'_>) -> Result<Prepared, OpenError> {
        let header = SegmentHeader {
            format: segment::FORMAT_VERSION,
            core: self.core,
            epoch: self.epoch,
            segno: self.next_segno,
            segment_bytes: self.next_bytes,
            salt: fresh_salt(),
            created_ns: self.created_ns,
            environment: self.environment,
        };
        let prepared = segment::prepare(&self.storage, &self.dir, self.hot_dir.as_deref(), header, pace)?;
        self.next_segno = self.next_segno.saturating_add(1);
        self.next_bytes = self.next_bytes.saturating_mul(2).min(self.max_bytes);
        Ok(prepared)
    }
}

fn fresh_salt() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // Seeded by the system for every process, and different at every call.
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

/// Runs the side threads of a started journal.
pub(crate) fn spawn<S: Storage>(started: Started<S>, config: &Config) -> io::Result<(crate::Writer, Background)> {
    let Started { writer, maker, syncer, exchange, .. } = started;
    let mut background = Background {
        stop_sync: Arc::new(AtomicBool::new(false)),
        exchange: Arc::clone(&exchange),
        sync: None,
        prepare: None,
    };
    let stop = Arc::clone(&background.stop_sync);
    let (policy, on_sync_failure, on_prepare) = (config.sync, config.on_sync_failure, config.on_prepare);
    let sync = std::thread::Builder::new()
        .name("journal-sync".into())
        .spawn(move || syncer.run(&stop, policy, on_sync_failure))?;
    background.sync = Some(sync);
    let prepare = std::thread::Builder::new()
        .name("journal-prepare".into())
        .spawn(move || prepare(maker, &exchange, on_prepare))?;
    background.prepare = Some(prepare);
    Ok((writer, background))
}

/// Keeps the ring of prepared segments full, and unmaps those that the writer has left.
fn prepare<S: Storage>(mut maker: Maker<S>, exchange: &Exchange, on_prepare: OnPrepare) {
    let mut told = None;
    while !exchange.is_closed() {
        while let Some(old) = exchange.retired.pop() {
            drop(old);
        }
        if exchange.prepared.is_full() {
            // The writer wakes nobody: that is a system call.
            std::thread::park_timeout(LOOK_INTERVAL);
            continue;
        }
        maker.created_ns = wall_clock_ns();
        match maker.make(Pace::Gentle(exchange)) {
            Ok(segment) => {
                drop(exchange.prepared.push(segment));
                if told.take().is_some() {
                    on_prepare(None);
                }
            }
            Err(_) if exchange.is_closed() => return,
            // Named behaviour of a full disk: the writer refuses what adds risk, and this goes on trying.
            Err(error) => {
                let reason = Some(error.to_string());
                if told != reason {
                    told = reason;
                    on_prepare(Some(&error));
                }
                std::thread::park_timeout(RETRY_WHEN_FULL);
            }
        }
    }
}

/// UTC, ns, for the header of a segment; 0 when the clock stands before 1970.
pub(crate) fn wall_clock_ns() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.ok().and_then(|since| u64::try_from(since.as_nanos()).ok()).unwrap_or(0)
}

/// The segment that is being synced.
#[derive(Debug)]
pub(crate) struct OpenSegment<F> {
    map: Map,
    file: F,
    salt: u64,
    is_hot: bool,
}

/// Makes what is written survive power loss.
#[derive(Debug)]
pub(crate) struct Syncer<S: Storage> {
    pub(crate) storage: S,
    pub(crate) dir: PathBuf,
    pub(crate) hot_dir: Option<PathBuf>,
    pub(crate) watermarks: Arc<Watermarks>,
    pub(crate) durable: Slots<S::File>,
    pub(crate) durable_synced: u64,
    pub(crate) segno: u64,
    pub(crate) open: Option<OpenSegment<S::File>>,
    pub(crate) at: usize,
    pub(crate) synced_at: usize,
    pub(crate) next_seq: u64,
    pub(crate) batches: u32,
    /// The writer has sealed the journal: nothing comes but the end of its segment.
    pub(crate) is_sealed: bool,
}

impl<S: Storage> Syncer<S> {
    fn run(mut self, stop: &AtomicBool, policy: SyncPolicy, on_sync_failure: OnSyncFailure) {
        // The default slack of 50 µs would more than double the wait for a sync.
        let _ = rustix::thread::set_current_timer_slack(core::num::NonZeroU64::new(1));
        self.watermarks.sync_here();
        let mut moved_at = Instant::now();
        loop {
            let is_stopping = stop.load(Ordering::Acquire);
            let started = Instant::now();
            let is_calm = is_stopping || started.saturating_duration_since(moved_at) >= CALM_AFTER;
            match self.sync_once(is_calm) {
                Ok(true) => {
                    moved_at = Instant::now();
                    let interval_min = Duration::from_nanos(policy.interval_min_ns);
                    let left = interval_min.saturating_sub(started.elapsed());
                    if !is_stopping && !left.is_zero() {
                        std::thread::park_timeout(left);
                    }
                }
                Ok(false) if is_stopping => return,
                Ok(false) if policy.idle_poll_ns == 0 => std::thread::yield_now(),
                Ok(false) => std::thread::park_timeout(Duration::from_nanos(policy.idle_poll_ns)),
                Err(error) => {
                    on_sync_failure(&error);
                    return;
                }
            }
        }
    }

    /// Makes durable what is visible now, as one batch; true when there was anything. When there was not, and it `is_calm`,
    /// the durable watermark itself is synced: a batch that comes meanwhile waits for that.
    pub(crate) fn sync_once(&mut self, is_calm: bool) -> io::Result<bool> {
        let open = match self.open.take() {
            Some(open) => open,
            None if self.is_sealed => return Ok(false),
            None => self.open_segment()?,
        };
        let has_ended = self.walk(&open)?;
        let has_moved = self.at > self.synced_at;
        if has_moved {
            if open.is_hot {
                self.drain(&open)?;
            }
            open.file.sync()?;
            self.synced_at = self.at;
            let last_seq = self.next_seq.saturating_sub(1);
            // Recorded before it is told: a start must never believe less than what was acknowledged.
            self.durable.write(last_seq)?;
            self.watermarks.set_synced(last_seq);
            self.batches = self.batches.saturating_add(1);
        }
        let is_idle = is_calm && !has_moved && self.durable_synced != self.durable.value();
        if is_idle || self.is_sealed || self.batches >= BATCHES_PER_CHECKPOINT {
            // From here on damage of what it covers is told from a torn tail, also after power loss.
            self.durable.sync()?;
            self.durable_synced = self.durable.value();
            self.batches = 0;
        }
        if has_ended {
            if let (true, Some(hot_dir)) = (open.is_hot, &self.hot_dir) {
                match self.storage.remove(&hot_path_of(hot_dir, self.segno)) {
                    // Somebody has taken it away; all of it is on the disk.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    removed => removed?,
                }
            }
            self.segno = self.segno.saturating_add(1);
            self.at = SEGMENT_HEADER_BYTES;
            self.synced_at = SEGMENT_HEADER_BYTES;
        } else {
            self.open = Some(open);
        }
        Ok(has_moved || has_ended)
    }

    /// Writes what is visible to the disk, in whole pages: none has to be read first. The first one holds the same bytes as
    /// before and more, the last one zeros behind what is visible.
    fn drain(&self, open: &OpenSegment<S::File>) -> io::Result<()> {
        let page_of = |at: usize| at & !(PAGE.wrapping_sub(1));
        let (from, last) = (page_of(self.synced_at), page_of(self.at));
        if last > from {
            open.file.write_at(open.map.bytes(from, last.saturating_sub(from)), from as u64)?;
        }
        let rest = open.map.bytes(last, self.at.saturating_sub(last));
        let mut page = [0; PAGE];
        match page.get_mut(..rest.len()) {
            Some(start) if !rest.is_empty() => {
                start.copy_from_slice(rest);
                open.file.write_at(&page, last as u64)
            }
            _ => Ok(()),
        }
    }

    /// Walks over what is visible; true when the segment has ended.
    fn walk(&mut self, open: &OpenSegment<S::File>) -> io::Result<bool> {
        loop {
            match found_at(&open.map, open.salt, self.at, self.next_seq) {
                Found::Group { end, last_seq, .. } => {
                    self.at = end;
                    self.next_seq = last_seq.saturating_add(1);
                }
                Found::Seal { end } => {
                    self.at = end;
                    self.is_sealed = true;
                }
                Found::End => {
                    self.at = self.at.saturating_add(HEADER_BYTES);
                    return Ok(true);
                }
                Found::Free => return Ok(false),
                Found::Bad => {
                    // Our writer makes nothing like it: the memory has changed under us.
                    let what = format!("segment {} changed at byte {} after it was written", self.segno, self.at);
                    return Err(io::Error::new(io::ErrorKind::InvalidData, what));
                }
            }
        }
    }

    fn open_segment(&self) -> io::Result<OpenSegment<S::File>> {
        let file = self.storage.open(&path_of(&self.dir, self.segno))?;
        let hot = match &self.hot_dir {
            None => None,
            Some(hot_dir) => Some(self.storage.open(&hot_path_of(hot_dir, self.segno))?),
        };
        let source = hot.as_ref().unwrap_or(&file);
        let map = source.map_read_only(source.len()? as usize)?;
        let header = SegmentHeader::from_bytes(map.bytes(0, SEGMENT_HEADER_BYTES))
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "a segment header changed under the writer"))?;
        Ok(OpenSegment { map, file, salt: header.salt, is_hot: hot.is_some() })
    }
}
