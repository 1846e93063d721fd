//! Who still needs which segment. A segment goes only when every registered reader has passed it.
//!
//! Positions survive: one file a reader in `readers/`. The number of the last segment that was removed
//! survives in `removed`, so that recovery tells a removed segment from a lost one.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::reader::{ReadError, first_record};
use crate::segment::{list, path_of};
use crate::slots::Slots;
use crate::start::removed_path;
use crate::storage::{Disk, Storage, numbered};

/// Why retention could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RetentionError {
    /// Not a name for a reader.
    #[error("{name:?} is no name for a reader; use lower-case letters, digits and '-', 1 to 64 of them")]
    BadName {
        /// What was given.
        name: String,
    },
    /// Nobody of that name is registered.
    #[error("no reader {name:?} is registered; register it first")]
    Unknown {
        /// What was given.
        name: String,
    },
    /// A segment could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// The registered readers of a journal, and what they no longer need.
#[derive(Debug)]
pub struct Retention {
    dir: PathBuf,
    readers: BTreeMap<String, Slots<std::fs::File>>,
}

impl Retention {
    /// The readers that are registered in a journal's directory.
    ///
    /// # Errors
    /// When the files cannot be read.
    pub fn open(dir: &Path) -> Result<Self, RetentionError> {
        let mut this = Self { dir: dir.to_owned(), readers: BTreeMap::new() };
        let readers_dir = this.readers_dir();
        let io_error = |source| RetentionError::Io { path: readers_dir.clone(), source };
        for file_name in Disk.list(&readers_dir).map_err(io_error)? {
            if let Some(name) = file_name.strip_suffix(".pos").filter(|name| is_name(name)) {
                let slots = Slots::open(&Disk, &readers_dir.join(&file_name)).map_err(io_error)?;
                this.readers.insert(name.to_owned(), slots);
            }
        }
        Ok(this)
    }

    fn readers_dir(&self) -> PathBuf {
        self.dir.join("readers")
    }

    /// Registers a reader that has seen nothing yet; one that is registered keeps its position. Synced.
    ///
    /// # Errors
    /// `BadName`, or when the file cannot be made.
    pub fn register(&mut self, name: &str) -> Result<(), RetentionError> {
        if !is_name(name) {
            return Err(RetentionError::BadName { name: name.to_owned() });
        }
        if !self.readers.contains_key(name) {
            let path = self.readers_dir().join(format!("{name}.pos"));
            let make = || {
                Disk.create_dir(&self.readers_dir())?;
                Disk.sync_dir(&self.dir)?;
                Slots::open(&Disk, &path)
            };
            let slots = make().map_err(|source| RetentionError::Io { path: path.clone(), source })?;
            self.readers.insert(name.to_owned(), slots);
        }
        Ok(())
    }

    /// Records that a reader needs nothing up to `seq` any more; never goes back. Synced.
    ///
    /// # Errors
    /// `Unknown`, or when the position cannot be written.
    pub fn advance(&mut self, name: &str, seq: u64) -> Result<(), RetentionError> {
        let path = self.readers_dir().join(format!("{name}.pos"));
        let slots = self.readers.get_mut(name).ok_or_else(|| RetentionError::Unknown { name: name.to_owned() })?;
        if seq <= slots.value() {
            return Ok(());
        }
        slots.write(seq).and_then(|()| slots.sync()).map_err(|source| RetentionError::Io { path, source })
    }

    /// Takes a reader out: what only it needed may go. The caller journals that it did.
    ///
    /// # Errors
    /// `Unknown`, or when its file cannot be removed.
    pub fn unregister(&mut self, name: &str) -> Result<(), RetentionError> {
        if self.readers.remove(name).is_none() {
            return Err(RetentionError::Unknown { name: name.to_owned() });
        }
        let path = self.readers_dir().join(format!("{name}.pos"));
        let remove = || {
            Disk.remove(&path)?;
            Disk.sync_dir(&self.readers_dir())
        };
        remove().map_err(|source| RetentionError::Io { path: path.clone(), source })
    }

    /// The registered readers, and up to which sequence number each needs nothing any more.
    pub fn positions(&self) -> impl Iterator<Item = (&str, u64)> {
        self.readers.iter().map(|(name, slots)| (name.as_str(), slots.value()))
    }

    /// Segments that nobody needs: every reader has passed their last record. Without a registered reader
    /// there are none; nor is the last segment that holds a record ever among them, since it says where the
    /// numbering stands.
    ///
    /// # Errors
    /// When a segment cannot be read.
    pub fn removable_segments(&self) -> Result<Vec<u64>, RetentionError> {
        self.removable_segments_before(u64::MAX)
    }

    /// As `removable_segments`, and old enough: all that they hold was journaled before `before_ns`, UTC.
    ///
    /// # Errors
    /// When a segment cannot be read.
    pub fn removable_segments_before(&self, before_ns: u64) -> Result<Vec<u64>, RetentionError> {
        let Some(passed) = self.positions().map(|(_, seq)| seq).min() else {
            return Ok(Vec::new());
        };
        let segnos = list(&self.dir).map_err(|source| RetentionError::Io { path: self.dir.clone(), source })?;
        let mut removable = Vec::new();
        let mut ended = Vec::new();
        for segno in segnos {
            // All that stand before a segment whose first record is at most one ahead of the slowest reader, and old
            // enough: what stands before it is older.
            if let Some((first_seq, first_ts_ns)) = first_record(&self.dir, segno)? {
                if first_seq > passed.saturating_add(1) || first_ts_ns > before_ns {
                    break;
                }
                removable.append(&mut ended);
            }
            ended.push(segno);
        }
        Ok(removable)
    }

    /// Removes those segments; their numbers. What is going is written down and synced first.
    ///
    /// # Errors
    /// When a segment cannot be read or removed; those before it are gone.
    pub fn remove(&mut self) -> Result<Vec<u64>, RetentionError> {
        let removable = self.removable_segments()?;
        let Some(last) = removable.last() else {
            return Ok(removable);
        };
        remove_up_to(&Disk, &self.dir, *last)
            .map_err(|source| RetentionError::Io { path: self.dir.clone(), source })?;
        Ok(removable)
    }
}

/// Removes the segments up to `last`. A crash in between leaves any of them, and all count as removed.
pub(crate) fn remove_up_to<S: Storage>(storage: &S, dir: &Path, last: u64) -> io::Result<()> {
    let mut removed = Slots::open(storage, &removed_path(dir))?;
    removed.write(removed.value().max(last))?;
    removed.sync()?;
    for segno in numbered(storage, dir, "jnl")?.into_iter().filter(|segno| *segno <= last) {
        storage.remove(&path_of(dir, segno))?;
    }
    storage.sync_dir(dir)
}

fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}
