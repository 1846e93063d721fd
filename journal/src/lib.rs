//! The journal: an append-only sequence of records, in groups, in memory-mapped segments.
//!
//! Owns pages, checksums, durability, recovery and tailing. Must not know orders, or what a payload means.
//! `FORMAT.md` is the specification of the files.
//!
//! | file | owns |
//! |---|---|
//! | `record.rs` | the record's header and checksum |
//! | `segment.rs` | files, their headers, how they are made |
//! | `map.rs` | mapped memory: the only `unsafe` |
//! | `writer.rs` | appending groups |
//! | `background.rs` | the sync thread, the thread that keeps a segment ahead |
//! | `recovery.rs` | what a start finds, and the decision table |
//! | `reader.rs`, `scan.rs` | tailing |
//! | `watermarks.rs`, `slots.rs` | how far it has come; numbers that survive |

mod background;
mod map;
mod reader;
pub mod record;
pub mod recovery;
mod scan;
pub mod segment;
mod slots;
mod verify;
mod watermarks;
mod writer;

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crossbeam::queue::ArrayQueue;

pub use background::{Background, OnSyncFailure};
pub use reader::{ReadError, Reader, Until};
pub use recovery::{Outcome, RecoveryReport};
pub use scan::{Group, Record, Records};
pub use verify::{Stat, stat};
pub use watermarks::Watermarks;
pub use writer::{GROUP_RECORDS_MAX, Space, Writer};

use segment::{SEGMENT_HEADER_BYTES, SegmentHeader, hot_path_of, list, path_of};
use slots::Slots;

/// How a journal is opened.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it lies; a directory of its own on a local disk.
    pub dir: PathBuf,
    /// A directory in memory that survives the process: segments are written there and drained to `dir`.
    /// `None`: segments in `dir` are mapped themselves.
    pub hot_dir: Option<PathBuf>,
    /// Core that writes.
    pub core: u16,
    /// Length of the first segment, bytes; raised to twice the reserve.
    pub first_segment_bytes: u64,
    /// Length of the longest segment, bytes.
    pub max_segment_bytes: u64,
    /// Bytes that only `Space::Reserve` may use.
    pub reserve_bytes: u64,
    /// What to do when a sync failed.
    pub on_sync_failure: OnSyncFailure,
}

impl Config {
    /// A journal in `dir` with 4 MiB for the first segment and 64 MiB for the longest.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            hot_dir: None,
            core: 1,
            first_segment_bytes: 4 << 20,
            max_segment_bytes: 64 << 20,
            reserve_bytes: 256 << 10,
            on_sync_failure: |_| std::process::abort(),
        }
    }
}

/// Where a journal is damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The segment.
    pub segment: PathBuf,
    /// First bad place, bytes.
    pub offset: u64,
    /// First sequence number that is lost; 0 when a whole segment cannot be read.
    pub first_lost_seq: u64,
    /// Highest number that was durable.
    pub durable_seq: u64,
}

/// Why a journal was not opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process writes it.
    #[error("{}: another process writes this journal (pid {pid}); stop it first", dir.display())]
    Locked {
        /// The journal.
        dir: PathBuf,
        /// Who, as far as it is known.
        pid: String,
    },
    /// What was durable is not there.
    #[error(
        "{}: damaged at byte {}: events {} to {} were durable and cannot be read; restore the file from a copy, nothing was changed",
        .0.segment.display(), .0.offset, .0.first_lost_seq, .0.durable_seq
    )]
    Damaged(Damage),
    /// Written by a newer release.
    #[error("{}: format {format} is newer than this release reads; start a newer one", path.display())]
    FormatTooNew {
        /// The segment.
        path: PathBuf,
        /// Its format.
        format: u16,
    },
    /// The hot segment of this boot is gone: what was journaled but not synced would be lost unseen.
    #[error("{}: the hot segment of a journal that was not stopped cleanly is missing; put it back, or remove {} to accept the loss of what was not synced", path.display(), marker.display())]
    MissingHotSegment {
        /// The file that is missing.
        path: PathBuf,
        /// The file that says that it should be there.
        marker: PathBuf,
    },
    /// No room for the first segment.
    #[error("{}: no room for a segment of {bytes} bytes; make room and start again", dir.display())]
    NoSpace {
        /// The journal.
        dir: PathBuf,
        /// What was needed.
        bytes: u64,
    },
    /// The system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

impl OpenError {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }
}

/// An open journal.
#[derive(Debug)]
pub struct Opened {
    /// The one writer.
    pub writer: Writer,
    /// What recovery found.
    pub report: RecoveryReport,
    /// How far it has come.
    pub watermarks: Arc<Watermarks>,
    /// The side threads.
    pub background: Background,
    lock: Lock,
    marker: PathBuf,
}

/// What keeps other writers out, while it lives.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// What `Opened` is taken apart into.
pub type Parts = (Writer, RecoveryReport, Arc<Watermarks>, Closer);

/// The end of a journal: side threads and lock.
#[derive(Debug)]
pub struct Closer {
    background: Background,
    _lock: Lock,
    marker: PathBuf,
}

impl Closer {
    /// A clean stop: seals, syncs, and ends the side threads.
    pub fn seal(mut self, mut writer: Writer) {
        writer.write_seal();
        self.background.stop();
        // Without the marker a later start does not ask for the hot segment; with it, it still finds it.
        drop(std::fs::remove_file(&self.marker));
    }
}

impl Opened {
    /// The writer for the loop, and the rest for those who start and stop it.
    #[must_use]
    pub fn into_parts(self) -> Parts {
        let closer = Closer { background: self.background, _lock: self.lock, marker: self.marker };
        (self.writer, self.report, self.watermarks, closer)
    }
}

/// Opens a journal for writing: locks it, recovers it, raises its epoch.
///
/// # Errors
/// Every way in which a start is refused; nothing but a torn tail is ever changed, and that is kept aside.
pub fn open(config: &Config) -> Result<Opened, OpenError> {
    let dir = config.dir.as_path();
    let io_error = |source| OpenError::io(dir, source);
    std::fs::create_dir_all(dir).map_err(io_error)?;
    let lock = lock(dir)?;
    let marker = dir.join("hot");
    let boot_id = boot_id();
    drain_hot_segments(config, &marker, &boot_id)?;
    let durable = Slots::open(&dir.join("durable")).map_err(io_error)?;
    let mut epoch = Slots::open(&dir.join("epoch")).map_err(io_error)?;
    let (mut report, next_segno) = recovery::recover(dir, durable.value())?;
    // The epoch is durable before any identity is made of it.
    let raised = u32::try_from(epoch.value().saturating_add(1)).unwrap_or(u32::MAX);
    epoch.write(u64::from(raised)).and_then(|()| epoch.sync()).map_err(io_error)?;
    segment::sync_dir_of(&dir.join("epoch")).map_err(io_error)?;
    report.epoch = raised;
    if let Some(hot_dir) = &config.hot_dir {
        std::fs::create_dir_all(hot_dir).map_err(|source| OpenError::io(hot_dir, source))?;
        std::fs::write(&marker, format!("{boot_id}\n{}\n", hot_dir.display())).map_err(io_error)?;
        File::open(&marker).and_then(|file| file.sync_all()).map_err(io_error)?;
        for segno in list(hot_dir, "hot").map_err(io_error)? {
            std::fs::remove_file(hot_path_of(hot_dir, segno)).map_err(io_error)?;
        }
    }
    let first_bytes = config.first_segment_bytes.max(config.reserve_bytes.saturating_mul(2)).next_multiple_of(4096);
    let mut maker = background::Maker {
        dir: dir.to_owned(),
        hot_dir: config.hot_dir.clone(),
        core: config.core,
        epoch: raised,
        next_segno,
        next_bytes: first_bytes.max(64 << 10),
        max_bytes: config.max_segment_bytes.max(first_bytes),
    };
    let current = maker.make().map_err(|source| match source.kind() {
        io::ErrorKind::StorageFull => OpenError::NoSpace { dir: dir.to_owned(), bytes: first_bytes },
        _ => OpenError::io(dir, source),
    })?;
    let watermarks = Arc::new(Watermarks::create(dir, report.last_seq, raised).map_err(io_error)?);
    let prepared = Arc::new(ArrayQueue::new(1));
    let retired = Arc::new(ArrayQueue::new(4));
    let writer = Writer::new(writer::Start {
        current,
        prepared: Arc::clone(&prepared),
        retired: Arc::clone(&retired),
        watermarks: Arc::clone(&watermarks),
        reserve_bytes: config.reserve_bytes as usize,
        epoch: raised,
        last_seq: report.last_seq,
        last_ts_ns: report.last_ts_ns,
    });
    let shared = background::Shared {
        prepared,
        retired,
        watermarks: Arc::clone(&watermarks),
        durable,
        on_sync_failure: config.on_sync_failure,
        first_segno: next_segno,
        next_seq: report.last_seq.saturating_add(1),
    };
    let background = background::start(maker, shared).map_err(io_error)?;
    Ok(Opened { writer, report, watermarks, background, lock, marker })
}

fn lock(dir: &Path) -> Result<Lock, OpenError> {
    let path = dir.join("LOCK");
    let io_error = |source| OpenError::io(&path, source);
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(io_error)?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut pid = String::new();
            // Who holds it is for people; the lock itself is what counts.
            drop(file.read_to_string(&mut pid));
            return Err(OpenError::Locked { dir: dir.to_owned(), pid: pid.lines().next().unwrap_or("?").to_owned() });
        }
        Err(error) => return Err(io_error(error.into())),
    }
    file.set_len(0).and_then(|()| write!(file, "{}\n{}\n", std::process::id(), boot_id())).map_err(io_error)?;
    Ok(Lock { _file: file })
}

fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// Brings what an earlier process left in memory to the disk; refuses when it should be there and is not.
fn drain_hot_segments(config: &Config, marker: &Path, boot_id: &str) -> Result<(), OpenError> {
    let Ok(marked) = std::fs::read_to_string(marker) else {
        return Ok(());
    };
    let mut lines = marked.lines();
    let (marked_boot, hot_dir) = (lines.next().unwrap_or_default(), PathBuf::from(lines.next().unwrap_or_default()));
    let io_error = |source| OpenError::io(&hot_dir, source);
    if marked_boot != boot_id {
        // The memory did not survive: power loss, which recovery judges.
        return Ok(());
    }
    let newest = list(&config.dir, "jnl").map_err(io_error)?.last().copied();
    if let Some(newest) = newest {
        let path = hot_path_of(&hot_dir, newest);
        if !path.exists() {
            return Err(OpenError::MissingHotSegment { path, marker: marker.to_owned() });
        }
    }
    for segno in list(&hot_dir, "hot").map_err(io_error)? {
        let bytes = std::fs::read(hot_path_of(&hot_dir, segno)).map_err(io_error)?;
        let path = path_of(&config.dir, segno);
        let Ok(file) = OpenOptions::new().write(true).open(&path) else {
            // Memory came first, its file was never named: nothing was written to it.
            continue;
        };
        let same = SegmentHeader::from_bytes(&bytes)
            .ok()
            .zip(std::fs::read(&path).ok())
            .is_some_and(|(hot, cold)| SegmentHeader::from_bytes(&cold) == Ok(hot));
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last.saturating_add(1));
        if same && used > SEGMENT_HEADER_BYTES {
            let records = bytes.get(SEGMENT_HEADER_BYTES..used).unwrap_or_default();
            file.write_all_at(records, SEGMENT_HEADER_BYTES as u64).map_err(io_error)?;
            file.sync_all().map_err(io_error)?;
        }
    }
    Ok(())
}
