//! The side threads: one makes what is written survive power loss, one keeps a segment ahead.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::queue::ArrayQueue;

use crate::map::Map;
use crate::scan::{Found, found_at};
use crate::segment::{self, Prepared, SEGMENT_HEADER_BYTES, SegmentHeader, hot_path_of, path_of};
use crate::slots::Slots;
use crate::watermarks::Watermarks;

const PAGE: usize = 4096;
const SYNC_POLL: Duration = Duration::from_micros(50);
const PREPARE_POLL: Duration = Duration::from_millis(5);
const RETRY_WHEN_FULL: Duration = Duration::from_millis(100);

/// What to do when a sync failed. The kernel may have dropped what it could not write, so nothing that is
/// tried afterwards proves anything: the process must stop and recover.
pub type OnSyncFailure = fn(&io::Error);

/// The side threads of an open journal. Dropping it stops them after a last sync.
#[derive(Debug)]
pub struct Background {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Background {
    /// Syncs what is written and ends the threads.
    pub fn stop(&mut self) {
        self.stop.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            // A thread that panicked has been reported by the panic itself.
            drop(thread.join());
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop();
    }
}

/// How segments are made.
#[derive(Debug)]
pub(crate) struct Maker {
    pub(crate) dir: PathBuf,
    pub(crate) hot_dir: Option<PathBuf>,
    pub(crate) core: u16,
    pub(crate) epoch: u32,
    pub(crate) next_segno: u64,
    pub(crate) next_bytes: u64,
    pub(crate) max_bytes: u64,
}

impl Maker {
    /// Makes the next segment; each is twice as long as the last, up to the bound.
    pub(crate) fn make(&mut self) -> io::Result<Prepared> {
        let header = SegmentHeader {
            format: segment::FORMAT_VERSION,
            core: self.core,
            epoch: self.epoch,
            segno: self.next_segno,
            segment_bytes: self.next_bytes,
            salt: fresh_salt(),
            created_ns: 0,
        };
        let prepared = segment::prepare(&self.dir, self.hot_dir.as_deref(), header)?;
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

pub(crate) struct Shared {
    pub(crate) prepared: Arc<ArrayQueue<Prepared>>,
    pub(crate) retired: Arc<ArrayQueue<Prepared>>,
    pub(crate) watermarks: Arc<Watermarks>,
    pub(crate) durable: Slots,
    pub(crate) on_sync_failure: OnSyncFailure,
    pub(crate) first_segno: u64,
    pub(crate) next_seq: u64,
}

pub(crate) fn start(maker: Maker, shared: Shared) -> io::Result<Background> {
    let stop = Arc::new(AtomicBool::new(false));
    let syncer = Syncer {
        dir: maker.dir.clone(),
        hot_dir: maker.hot_dir.clone(),
        watermarks: shared.watermarks,
        durable: shared.durable,
        segno: shared.first_segno,
        open: None,
        at: SEGMENT_HEADER_BYTES,
        synced_at: SEGMENT_HEADER_BYTES,
        next_seq: shared.next_seq,
    };
    let on_sync_failure = shared.on_sync_failure;
    let stop_sync = Arc::clone(&stop);
    let sync = std::thread::Builder::new()
        .name("journal-sync".into())
        .spawn(move || syncer.run(&stop_sync, on_sync_failure))?;
    let stop_prepare = Arc::clone(&stop);
    let prepare = std::thread::Builder::new()
        .name("journal-prepare".into())
        .spawn(move || prepare(maker, &shared.prepared, &shared.retired, &stop_prepare))?;
    Ok(Background { stop, threads: vec![sync, prepare] })
}

/// Keeps the ring of prepared segments full, and unmaps those that the writer has left.
fn prepare(mut maker: Maker, prepared: &ArrayQueue<Prepared>, retired: &ArrayQueue<Prepared>, stop: &AtomicBool) {
    while !stop.load(Ordering::Acquire) {
        while let Some(old) = retired.pop() {
            drop(old);
        }
        if prepared.is_full() {
            std::thread::park_timeout(PREPARE_POLL);
            continue;
        }
        match maker.make() {
            Ok(segment) => drop(prepared.push(segment)),
            // Named behaviour of a full disk: the writer refuses what adds risk, and this goes on trying.
            Err(_) => std::thread::park_timeout(RETRY_WHEN_FULL),
        }
    }
    // A segment that was never used holds nothing: a later start makes its own.
    while let Some(unused) = prepared.pop() {
        drop(std::fs::remove_file(path_of(&maker.dir, unused.header.segno)));
        if let Some(hot_dir) = &maker.hot_dir {
            drop(std::fs::remove_file(hot_path_of(hot_dir, unused.header.segno)));
        }
    }
}

struct OpenSegment {
    map: Map,
    file: std::fs::File,
    salt: u64,
    is_hot: bool,
}

struct Syncer {
    dir: PathBuf,
    hot_dir: Option<PathBuf>,
    watermarks: Arc<Watermarks>,
    durable: Slots,
    segno: u64,
    open: Option<OpenSegment>,
    at: usize,
    synced_at: usize,
    next_seq: u64,
}

impl Syncer {
    fn run(mut self, stop: &AtomicBool, on_sync_failure: OnSyncFailure) {
        loop {
            let stopping = stop.load(Ordering::Acquire);
            match self.sync_once() {
                Ok(true) => {}
                Ok(false) if stopping => return,
                Ok(false) => std::thread::park_timeout(SYNC_POLL),
                Err(error) => {
                    self.watermarks.set_failed();
                    on_sync_failure(&error);
                    return;
                }
            }
        }
    }

    /// Makes durable what is visible now, as one batch; true when there was anything.
    fn sync_once(&mut self) -> io::Result<bool> {
        let open = match self.open.take() {
            Some(open) => open,
            None => self.open_segment()?,
        };
        let ended = self.walk(&open);
        let moved = self.at > self.synced_at;
        if moved {
            if open.is_hot {
                let from = self.synced_at & !(PAGE.wrapping_sub(1));
                open.file.write_all_at(open.map.bytes(from, self.at.saturating_sub(from)), from as u64)?;
            }
            rustix::fs::fdatasync(&open.file)?;
            self.synced_at = self.at;
            let last_seq = self.next_seq.saturating_sub(1);
            // Recorded before it is told: a start must never believe less than what was acknowledged.
            self.durable.write(last_seq)?;
            self.watermarks.set_synced(last_seq);
        }
        if ended {
            if let (true, Some(hot_dir)) = (open.is_hot, &self.hot_dir) {
                std::fs::remove_file(hot_path_of(hot_dir, self.segno))?;
            }
            self.segno = self.segno.saturating_add(1);
            self.at = SEGMENT_HEADER_BYTES;
            self.synced_at = SEGMENT_HEADER_BYTES;
        } else {
            self.open = Some(open);
        }
        Ok(moved || ended)
    }

    /// Walks over what is visible; true when the segment has ended.
    fn walk(&mut self, open: &OpenSegment) -> bool {
        while open.map.length_word(self.at) != 0 {
            match found_at(open.map.bytes(0, open.map.len()), open.salt, self.at, self.next_seq) {
                Found::Group { end, last_seq, .. } => {
                    self.at = end;
                    self.next_seq = last_seq.saturating_add(1);
                }
                Found::Seal { end } => self.at = end,
                Found::End => {
                    self.at = self.at.saturating_add(crate::record::HEADER_BYTES);
                    return true;
                }
                // Our own writer makes nothing else; recovery judges it at the next start.
                Found::Free | Found::Bad => return false,
            }
        }
        false
    }

    fn open_segment(&self) -> io::Result<OpenSegment> {
        let file = std::fs::OpenOptions::new().read(true).write(true).open(path_of(&self.dir, self.segno))?;
        let hot = match &self.hot_dir {
            None => None,
            Some(hot_dir) => Some(std::fs::File::open(hot_path_of(hot_dir, self.segno))?),
        };
        let source = hot.as_ref().unwrap_or(&file);
        let map = Map::open_read_only(source, source.metadata()?.len() as usize)?;
        let header = SegmentHeader::from_bytes(map.bytes(0, SEGMENT_HEADER_BYTES))
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "a segment header changed under the writer"))?;
        Ok(OpenSegment { map, file, salt: header.salt, is_hot: hot.is_some() })
    }
}
