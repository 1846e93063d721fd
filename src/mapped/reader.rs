//! Reading the counters and stages of a gateway from another process.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::Ordering;

use super::table::{self, CELLS_AT, Entry, FILE_BYTES, HEADER_WORDS, MAGIC, VERSION, word};
use super::{FILE_NAME, Map};
use crate::histogram::{self, Reading};

/// Of a journal that nobody has open, or without memory of its own.
const HAS_NO_MEMORY: &str = "has no hot segments: it is not in use, or by a gateway with core.hot_dir = \"off\" or too \
    little memory, which keeps its figures to itself";

/// Why the figures of a gateway cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Nobody writes there.
    #[error("no gateway runs whose figures can be seen: {path} {what}")]
    NotRunning {
        /// What was looked at.
        path: String,
        /// What is wrong with it.
        what: String,
    },
    /// It is written by a gateway of another release.
    #[error(
        "{path} is of version {found} and length {bytes}, and this release reads version {VERSION} and length {FILE_BYTES}: use the command of the gateway's own release"
    )]
    OtherVersion {
        /// The file.
        path: String,
        /// Version of the file.
        found: u64,
        /// Length that it says it has.
        bytes: u64,
    },
    /// The system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
}

/// The figures of a gateway, from outside.
#[derive(Debug)]
pub struct Reader {
    file: File,
    map: Map,
    entries: Vec<Entry>,
    /// Ticks a second of the time-stamp counter.
    pub ticks_per_s: u64,
    /// The gateway's process.
    pub process: u64,
}

/// What the cells held when they were read.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Counters: name, meaning, value.
    pub counters: Vec<(String, String, u64)>,
    /// Stages: name, meaning, histogram of ticks.
    pub stages: Vec<(String, String, Reading)>,
}

impl Reader {
    /// Finds the figures of the gateway that has the journal of a directory open.
    ///
    /// # Errors
    /// When no gateway runs there, or one whose figures are not to be seen, or of another release.
    pub fn open(journal_dir: &Path) -> Result<Self, ReadError> {
        let not_running =
            |what: &str| ReadError::NotRunning { path: journal_dir.display().to_string(), what: what.to_owned() };
        let hot_dir = match tradecore_journal::hot_dir_of(journal_dir) {
            Ok(Some(dir)) => dir,
            Ok(None) => return Err(not_running(HAS_NO_MEMORY)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(not_running("is not there")),
            Err(source) => return Err(io_error(journal_dir, source)),
        };
        Self::in_dir(&hot_dir)
    }

    /// Of the gateway whose hot segments are in a directory.
    ///
    /// # Errors
    /// As `open`.
    pub fn in_dir(hot_dir: &Path) -> Result<Self, ReadError> {
        let path = hot_dir.join(FILE_NAME);
        let not_running =
            |what: &str| ReadError::NotRunning { path: path.display().to_string(), what: what.to_owned() };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(not_running("is not there")),
            Err(source) => return Err(io_error(&path, source)),
        };
        if !is_written(&file).map_err(|source| io_error(&path, source))? {
            return Err(not_running("was left by one that was killed"));
        }
        Self::of(file, &path)
    }

    pub(super) fn of(file: File, path: &Path) -> Result<Self, ReadError> {
        let mut header = [0; HEADER_WORDS * 8];
        let failed = |source| io_error(path, source);
        file.read_exact_at(&mut header, 0).map_err(failed)?;
        let words: Vec<u64> =
            header.chunks_exact(8).map(|word| word.try_into().map_or(0, u64::from_ne_bytes)).collect();
        let word = |place: usize| words.get(place).copied().unwrap_or(0);
        let malformed = |what: &str| failed(io::Error::new(io::ErrorKind::InvalidData, what.to_owned()));
        if word(word::MAGIC) != MAGIC {
            return Err(malformed("no file of counters"));
        }
        let (found, bytes) = (word(word::VERSION), word(word::FILE_BYTES));
        if found != VERSION || bytes != FILE_BYTES as u64 || word(word::CELLS_AT) != CELLS_AT as u64 {
            return Err(ReadError::OtherVersion { path: path.display().to_string(), found, bytes });
        }
        let table_bytes = usize::try_from(word(word::TABLE_BYTES)).unwrap_or(usize::MAX).min(CELLS_AT);
        let mut text = vec![0; table_bytes];
        file.read_exact_at(&mut text, word(word::TABLE_AT)).map_err(failed)?;
        let entries = std::str::from_utf8(&text).ok().and_then(table::entries).ok_or_else(|| malformed("no table"))?;
        let map = Map::read_only(&file).map_err(failed)?;
        Ok(Self { file, map, entries, ticks_per_s: word(word::TICKS_PER_S).max(1), process: word(word::PROCESS) })
    }

    /// True as long as the gateway lives.
    ///
    /// # Errors
    /// As the system says.
    pub fn is_written(&self) -> io::Result<bool> {
        is_written(&self.file)
    }

    /// What the cells hold now. The loop goes on meanwhile: of a command it may hold some stages and not yet the others.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let cell = |nth: usize| {
            let at = nth.saturating_mul(8).saturating_add(CELLS_AT);
            self.map.cell(at).map_or(0, |cell| cell.load(Ordering::Relaxed))
        };
        let (histograms, counters): (Vec<_>, Vec<_>) = self.entries.iter().partition(|entry| entry.is_histogram);
        let counters = counters.iter().map(|entry| (entry.name.clone(), entry.meaning.clone(), cell(entry.first)));
        let reading = |entry: &Entry| {
            let cells = entry.cells.min(histogram::CELLS);
            Reading::of((entry.first..entry.first.saturating_add(cells)).map(cell))
        };
        let stages = histograms.iter().map(|entry| (entry.name.clone(), entry.meaning.clone(), reading(entry)));
        Snapshot { counters: counters.collect(), stages: stages.collect() }
    }

    /// Ticks in nanoseconds.
    #[must_use]
    pub fn nanos(&self, ticks: u64) -> u64 {
        let nanos = u128::from(ticks).saturating_mul(1_000_000_000).checked_div(self.ticks_per_s.into()).unwrap_or(0);
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }
}

impl Snapshot {
    /// What has come since an earlier one of the same reader; counters stay as they are.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let stages = self.stages.iter().zip(&earlier.stages);
        let stages =
            stages.map(|((name, meaning, now), (.., before))| (name.clone(), meaning.clone(), now.since(before)));
        Self { counters: self.counters.clone(), stages: stages.collect() }
    }

    /// The histogram of a stage, in ticks.
    #[must_use]
    pub fn stage(&self, name: &str) -> Option<&Reading> {
        self.stages.iter().find(|(known, ..)| known == name).map(|(.., reading)| reading)
    }

    /// The value of a counter.
    #[must_use]
    pub fn counter(&self, name: &str) -> Option<u64> {
        self.counters.iter().find(|(known, ..)| known == name).map(|(.., value)| *value)
    }
}

/// A living gateway holds the lock: what can be locked is of a dead one.
fn is_written(file: &File) -> io::Result<bool> {
    match file.try_lock_shared() {
        Ok(()) => file.unlock().map(|()| false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn io_error(path: &Path, source: io::Error) -> ReadError {
    ReadError::Io { path: path.display().to_string(), source }
}
