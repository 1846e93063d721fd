//! The journal: an append-only sequence of records, in groups, in memory-mapped segments.
//!
//! Owns pages, checksums, durability, recovery and tailing. Must not know orders, or what a payload means.
//! `FORMAT.md` is the specification of the files.
//!
//! | file | owns |
//! |---|---|
//! | `record.rs` | the record's header and checksum |
//! | `segment.rs` | files, their headers, how they are made |
//! | `map.rs` | mapped memory; `unsafe` |
//! | `checksum.rs` | CRC-32C of short records; `unsafe` |
//! | `writer.rs` | appending groups |
//! | `background.rs` | the sync thread, the thread that keeps a segment ahead |
//! | `start.rs` | opening, in the order in which each step is safe |
//! | `hot.rs` | where the copies in memory are |
//! | `recovery.rs`, `recovery/table.rs` | what a start finds, and the decision table |
//! | `reader.rs`, `scan.rs` | tailing |
//! | `verify.rs` | what a journal is, and whether it is whole |
//! | `retention.rs`, `spans.rs` | who still needs which segment; what each holds |
//! | `restore.rs` | a journal made anew of its own records |
//! | `watermarks.rs`, `slots.rs` | how far it is durable; numbers that survive |
//! | `storage.rs` | the seam to the disk |

mod background;
mod checksum;
#[cfg(test)]
mod crash_tests;
mod error;
mod exchange;
mod hot;
mod map;
mod reader;
pub mod record;
pub mod recovery;
mod restore;
mod retention;
mod scan;
pub mod segment;
#[cfg(test)]
mod simulation;
mod slots;
mod spans;
mod start;
mod stop;
mod storage;
mod verify;
mod watermarks;
mod writer;

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use background::{Background, OnPrepare, OnSyncFailure, SyncPolicy};
pub use checksum::crc32c;
pub use error::{Damage, OpenError};
pub use hot::{hot_dir_of, missing_hot_segment};
pub use reader::{Place, ReadError, Reader, Until};
pub use recovery::{Outcome, RecoveryReport};
pub use restore::{EPOCHS_LEFT_OUT, RestoreError, Restorer};
pub use retention::{Retention, RetentionError};
pub use scan::{Group, Record, Records};
pub use spans::{Span, Spans, held};
pub use verify::{Finding, Flaw, Stat, VerifyReport, has_journal, stat, synced_seq, verify};
pub use watermarks::Watermarks;
pub use writer::{GROUP_RECORDS_MAX, PAYLOAD_BYTES_MAX, Space, Writer};

use hot::Marker;
use storage::Disk;

/// How a journal is opened.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it lies; a directory of its own on a local disk.
    pub dir: PathBuf,
    /// A directory in memory that survives the process: segments are written there, in a directory of the journal's
    /// own, and drained to `dir`. `None`: segments in `dir` are mapped themselves.
    pub hot_dir: Option<PathBuf>,
    /// Core that writes.
    pub core: u16,
    /// Environment that it writes in, a number of the application's; a journal is of one core in one environment.
    pub environment: u8,
    /// Length of the first segment, bytes; raised to twice the reserve. Shorter on a full disk.
    pub first_segment_bytes: u64,
    /// Length of the longest segment, bytes.
    pub max_segment_bytes: u64,
    /// Bytes that only `Space::Reserve` may use, and of their first quarter `Space::FirstQuarter`.
    pub reserve_bytes: u64,
    /// How often the sync thread syncs.
    pub sync: SyncPolicy,
    /// What to do when a sync failed.
    pub on_sync_failure: OnSyncFailure,
    /// Whether this release knows a kind and version of event: a journal that holds another is not opened.
    pub is_known: fn(u16, u8) -> bool,
    /// Called for each segment that a start has read: a long journal takes its time.
    pub on_progress: fn(),
    /// Told why no segment can be kept ahead, once a reason, and with `None` when one could be made again.
    pub on_prepare: OnPrepare,
}

impl Config {
    /// A journal in `dir` with 4 MiB for the first segment and 64 MiB for the longest.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            hot_dir: None,
            core: 1,
            environment: 0,
            first_segment_bytes: 4 << 20,
            max_segment_bytes: 64 << 20,
            reserve_bytes: 256 << 10,
            sync: SyncPolicy::default(),
            on_sync_failure: |_| std::process::abort(),
            is_known: |_, _| true,
            on_progress: || {},
            on_prepare: |_| {},
        }
    }
}

/// An open journal.
#[derive(Debug)]
pub struct Opened {
    /// The one writer.
    pub writer: Writer,
    /// What recovery found.
    pub report: RecoveryReport,
    /// How far it is durable.
    pub watermarks: Arc<Watermarks>,
    /// The side threads.
    pub background: Background,
    lock: Lock,
    dir: PathBuf,
    hot_dir: Option<PathBuf>,
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
    dir: PathBuf,
    hot_dir: Option<PathBuf>,
}

impl Closer {
    /// A clean stop: seals, syncs, and ends the side threads.
    pub fn seal(mut self, mut writer: Writer) {
        writer.write_seal();
        self.background.stop_making();
        stop::end(&Disk, &self.dir, self.hot_dir.as_deref(), &mut writer);
        self.background.stop();
        // All is on the disk. With what is taken away here, or without, the next start finds the same.
        drop(Marker::remove(&Disk, &self.dir));
        if let Some(hot_dir) = &self.hot_dir {
            drop(std::fs::remove_dir(hot_dir));
        }
    }
}

impl Opened {
    /// Where its hot segments are, in memory; `None`: its segments are mapped on the disk.
    #[must_use]
    pub fn hot_dir(&self) -> Option<&Path> {
        self.hot_dir.as_deref()
    }

    /// The writer for the loop, and the rest for those who start and stop it.
    #[must_use]
    pub fn into_parts(self) -> Parts {
        let closer = Closer { background: self.background, _lock: self.lock, dir: self.dir, hot_dir: self.hot_dir };
        (self.writer, self.report, self.watermarks, closer)
    }
}

/// Opens a journal for writing: locks it, recovers it, raises its epoch.
///
/// # Errors
/// Every way in which a start is refused; nothing but a torn tail is ever changed, and that is kept aside.
pub fn open(config: &Config) -> Result<Opened, OpenError> {
    let dir = config.dir.clone();
    make_dirs(&dir).map_err(|source| OpenError::io(&dir, source))?;
    let lock = lock(&dir)?;
    let io_error = |source| OpenError::io(&dir, source);
    if restore::is_unfinished(&dir).map_err(io_error)? {
        return Err(OpenError::Unfinished { dir });
    }
    let boot_id = boot_id();
    let last_life = Marker::read(&Disk, &dir).map_err(|source| match source.kind() {
        io::ErrorKind::InvalidData => OpenError::Damaged(Damage::HotMarker { path: hot::marker_path(&dir) }),
        _ => io_error(source),
    })?;
    if let Some(last_life) = &last_life
        && last_life.boot_id == boot_id
        && !last_life.is_of(&dir).map_err(io_error)?
    {
        return Err(OpenError::Copied { hot_dir: last_life.dir.clone(), marker: hot::marker_path(&dir) });
    }
    let hot_dir = config.hot_dir.as_deref().map(|root| hot::own_dir(root, &dir)).transpose()?;
    let config = Config { hot_dir, ..config.clone() };
    let started = start::start(&Disk, &config, &boot_id, background::wall_clock_ns())?;
    if let Some(last_life) = last_life {
        hot::remove_old(&last_life, config.hot_dir.as_deref(), &dir);
    }
    let (report, watermarks) = (started.report.clone(), Arc::clone(&started.watermarks));
    let (writer, background) = background::spawn(started, &config).map_err(io_error)?;
    Ok(Opened { writer, report, watermarks, background, lock, dir, hot_dir: config.hot_dir })
}

/// Makes a directory so that it survives power loss, with all that it lies in.
fn make_dirs(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_dirs(parent)?;
    match std::fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => File::open(parent)?.sync_all(),
    }
}

/// True for a journal whose last life, in this boot, has left segments in memory.
#[must_use]
pub fn has_hot_segments(dir: &Path) -> bool {
    Marker::read(&Disk, dir).is_ok_and(|marker| marker.is_some_and(|marker| marker.boot_id == boot_id()))
}

/// Who only asks whether somebody writes has the lock for a moment (`writer_pid`): that keeps no writer out.
const LOCK_TRIES: u32 = 10;
const LOCK_WAIT: Duration = Duration::from_millis(10);

fn lock(dir: &Path) -> Result<Lock, OpenError> {
    let path = dir.join("LOCK");
    let io_error = |source| OpenError::io(&path, source);
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(io_error)?;
    let mut tries = LOCK_TRIES;
    loop {
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => break,
            Err(rustix::io::Errno::WOULDBLOCK) if tries == 0 => {
                return Err(OpenError::Locked { dir: dir.to_owned(), pid: holder_pid(&mut file) });
            }
            Err(rustix::io::Errno::WOULDBLOCK) => std::thread::park_timeout(LOCK_WAIT),
            Err(error) => return Err(io_error(error.into())),
        }
        tries = tries.saturating_sub(1);
    }
    // In place, so that a full disk does not refuse it. It is for people: nothing depends on it.
    let holder = format!("{}\n{}\n", std::process::id(), boot_id());
    drop(file.write_all_at(holder.as_bytes(), 0).and_then(|()| file.set_len(holder.len() as u64)));
    Ok(Lock { _file: file })
}

/// Process of who writes the journal now, if anybody does.
///
/// # Errors
/// When the system does not tell.
pub fn writer_pid(dir: &Path) -> io::Result<Option<String>> {
    let mut file = match File::open(dir.join("LOCK")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(None),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(Some(holder_pid(&mut file))),
        Err(error) => Err(error.into()),
    }
}

/// What the holder of a lock has written into it: for people, the lock itself is what counts.
fn holder_pid(file: &mut File) -> String {
    let mut pid = String::new();
    drop(file.read_to_string(&mut pid));
    pid.lines().next().unwrap_or("?").to_owned()
}

fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}
