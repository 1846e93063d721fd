//! How far the journal has come, in a mapped file: readers of every process see it.

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use crate::map::Map;
use crate::storage::{Storage, StorageFile};

const FILE_BYTES: usize = 4096;
// A cache line each: the writer's and the sync thread's stores do not disturb each other.
const JOURNALED_AT: usize = 0;
const SYNCED_AT: usize = 128;
const EPOCH_AT: usize = 256;
const FAILED_AT: usize = 384;

/// Where the file of watermarks lies.
#[must_use]
pub(crate) fn path_of(dir: &Path) -> PathBuf {
    dir.join("watermarks")
}

/// The watermarks of a live journal. Informative after a stop: recovery never trusts them.
#[derive(Debug)]
pub struct Watermarks {
    map: Map,
}

impl Watermarks {
    /// Makes the file, or takes the one that readers have mapped, and sets it to these numbers.
    pub(crate) fn create<S: Storage>(storage: &S, dir: &Path, last_seq: u64, epoch: u32) -> io::Result<Self> {
        let path = path_of(dir);
        let file = match storage.open(&path) {
            Ok(file) if file.len()? == FILE_BYTES as u64 => file,
            Ok(_) => storage.create(&path, FILE_BYTES as u64)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => storage.create(&path, FILE_BYTES as u64)?,
            Err(error) => return Err(error),
        };
        // A store into a page without room would be a SIGBUS: it is written once before it is mapped.
        file.write_at(&[0; FILE_BYTES], 0)?;
        let this = Self { map: file.map(FILE_BYTES)? };
        this.store(SYNCED_AT, last_seq);
        this.store(JOURNALED_AT, last_seq);
        this.store(EPOCH_AT, u64::from(epoch));
        Ok(this)
    }

    /// Opens the file of another's journal for reading.
    ///
    /// # Errors
    /// `NotFound` when no writer has ever made it.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).open(path_of(dir))?;
        Ok(Self { map: Map::open_read_only(&file, FILE_BYTES)? })
    }

    fn load(&self, at: usize) -> u64 {
        self.map.counter(at).map_or(0, |counter| counter.load(Ordering::Acquire))
    }

    fn store(&self, at: usize, value: u64) {
        if let Some(counter) = self.map.counter(at) {
            counter.store(value, Ordering::Release);
        }
    }

    /// Last sequence number that survives a crash of the process.
    #[must_use]
    pub fn journaled(&self) -> u64 {
        self.load(JOURNALED_AT)
    }

    /// Last sequence number that survives power loss.
    #[must_use]
    pub fn synced(&self) -> u64 {
        self.load(SYNCED_AT)
    }

    /// Epoch of the writer.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.load(EPOCH_AT) as u32
    }

    /// True once a sync has failed: nothing is durable any more, the process must stop.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.load(FAILED_AT) != 0
    }

    pub(crate) fn set_journaled(&self, seq: u64) {
        self.store(JOURNALED_AT, seq);
    }

    pub(crate) fn set_synced(&self, seq: u64) {
        self.store(SYNCED_AT, seq);
    }

    pub(crate) fn set_failed(&self) {
        self.store(FAILED_AT, 1);
    }
}
