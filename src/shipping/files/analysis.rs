//! A Parquet file beside each file of lines that has ended, made of the journal.
//!
//! Lines go first: one is made while there is nothing to write. Where there is none, nothing is lost: it is made with
//! the end of the next file, or at the next start.

use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use tradecore_journal::ReadError;

use super::super::parquet::{RowError, Rows};
use super::super::tail::{Tail, TailError};
use super::super::whole::write_whole;
use super::Files;
use super::place::{Head, files_of};

/// More than the longest line has, bytes.
const LINE_BYTES: u64 = 1 << 16;

/// Why there is none.
#[derive(Debug, thiserror::Error)]
enum Missing {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("it does not end with an event")]
    NoEvent,
    #[error("its events are not those of the journal")]
    OtherJournal,
    #[error(transparent)]
    Row(#[from] RowError),
    #[error(transparent)]
    Tail(#[from] TailError),
    #[error("the gateway ends")]
    Stopped,
}

impl From<ReadError> for Missing {
    fn from(error: ReadError) -> Self {
        Self::Tail(error.into())
    }
}

/// What is still to be made.
#[derive(Debug, Default)]
pub(super) struct Analysis {
    /// The file that has not ended, as of the last look.
    newest: PathBuf,
    waiting: VecDeque<(u64, PathBuf)>,
    /// Files of which the log has been told that they have none.
    told: BTreeSet<PathBuf>,
}

impl Analysis {
    /// Makes one, if one is missing; false when there was nothing to do.
    pub(super) fn make_one(&mut self, files: &Files, newest: &Path, stop: &AtomicBool) -> bool {
        if self.newest != newest {
            newest.clone_into(&mut self.newest);
            self.look(files);
        }
        let Some((first_seq, lines)) = self.waiting.pop_front() else { return false };
        match make(files, first_seq, &lines, stop) {
            Ok(()) => {
                self.told.remove(&lines);
            }
            Err(Missing::Stopped) => {}
            Err(error) => {
                // What the disk refused to one it refuses to all.
                if matches!(error, Missing::Io { .. } | Missing::Row(RowError::Parquet(_))) {
                    self.waiting.clear();
                }
                self.tell(lines, &error);
            }
        }
        true
    }

    /// Finds the files that have ended and have none, the oldest first.
    fn look(&mut self, files: &Files) {
        match files_of(&files.dir, files.stream) {
            Ok(ended) => {
                let is_missing = |path: &Path| path != self.newest && !path.with_extension("parquet").exists();
                self.waiting = ended.into_iter().filter(|(_, path)| is_missing(path)).collect();
            }
            Err(source) => self.tell(files.dir.clone(), &Missing::Io { path: files.dir.clone(), source }),
        }
    }

    fn tell(&mut self, path: PathBuf, error: &Missing) {
        let shown = path.display().to_string();
        if self.told.insert(path) {
            tracing::warn!(
                path = shown,
                %error,
                "no Parquet file was made of these events; it is tried again when a file ends, and at the next start"
            );
        }
    }
}

fn make(files: &Files, first_seq: u64, lines: &Path, stop: &AtomicBool) -> Result<(), Missing> {
    let failed = |path: &Path, source| Missing::Io { path: path.to_owned(), source };
    let last = last_of(lines).map_err(|source| failed(lines, source))?.ok_or(Missing::NoEvent)?;
    write_whole(&lines.with_extension("parquet"), failed, |out| {
        let mut rows = Rows::new(out)?;
        let mut tail = Tail::open(&files.journal_dir, first_seq)?;
        let mut is_whole = false;
        while !is_whole {
            if stop.load(Ordering::Acquire) {
                return Err(Missing::Stopped);
            }
            let mut added = Ok(());
            let is_more = tail.next_group(|place, event| {
                if is_whole || added.is_err() {
                    return;
                }
                is_whole = place.seq == last.seq;
                added = match rows.add(place, event) {
                    Ok(()) if is_whole && !last.is_of(place) => Err(Missing::OtherJournal),
                    added => added.map_err(Missing::Row),
                };
            })?;
            added?;
            if !is_more {
                return Err(Missing::OtherJournal);
            }
        }
        Ok(((), rows.end()?))
    })
}

/// What the last line of a file says of its place.
fn last_of(path: &Path) -> io::Result<Option<Head>> {
    let mut file = File::open(path)?;
    let bytes = file.metadata()?.len();
    let from = bytes.saturating_sub(LINE_BYTES);
    let mut end = Vec::new();
    file.seek(SeekFrom::Start(from))?;
    file.read_to_end(&mut end)?;
    Ok(end.strip_suffix(b"\n").and_then(|lines| Head::of(lines.rsplit(|byte| *byte == b'\n').next()?)))
}
