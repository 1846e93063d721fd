//! Events as files: rotated JSON lines, each event exactly once and in order, whatever ends the process.
//!
//! A thread of its own follows what survives power loss. Where it has come to stands nowhere but in the files
//! themselves: a start reads the newest, cuts what is no whole line, and goes on behind the last. While there is no room,
//! it waits. While there is nothing to write, files that have ended get a Parquet file beside them, where that is
//! wanted. `docs/events.md` is for those who read the files.

mod analysis;
mod place;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tradecore_domain::event::Event;
use tradecore_journal::{ReadError, Reader, Retention, RetentionError, Until};

use super::domains::Stream;
use super::json::{Place, write_event};
use super::tail::{Tail, TailError};
use analysis::Analysis;
use place::{Head, Newest};

/// Name as which the journal keeps what this reader has not yet passed.
pub const READER: &str = "files";

/// Text that is gathered before it is written, bytes; what is held beyond is the rest of one decision.
const BLOCK_BYTES: usize = 256 << 10;
/// Written text that is not yet synced, bytes; what comes more slowly is synced once a second.
const UNSYNCED_BYTES_MAX: u64 = 8 << 20;
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// Looks that find nothing new after which what was written is synced, 1 s.
const SYNC_LOOKS: u32 = 20;
/// Time until a write that failed is tried again.
const WRITE_AGAIN: Duration = Duration::from_secs(1);
/// Time until files that could not be opened, synced or gone on with are opened again.
const OPEN_AGAIN: Duration = Duration::from_secs(5);

/// Why the files cannot be written on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilesError {
    /// The system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// Another process writes there.
    #[error("{}: another gateway writes events there; give each a directory of its own", dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// The events in the files are not those of the journal.
    #[error(
        "{}: its event {seq} is not that of the journal: the files are those of another; move them away, and all events \
         are written anew", path.display()
    )]
    OtherJournal {
        /// The newest file.
        path: PathBuf,
        /// Its last event.
        seq: u64,
    },
    /// An event is missing between the files and the journal.
    #[error("the files end before event {expected}, and the journal goes on with {found}; move the files away")]
    Gap {
        /// What would come next.
        expected: u64,
        /// What came.
        found: u64,
    },
    /// The journal.
    #[error(transparent)]
    Tail(#[from] TailError),
    /// The journal.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The place in the journal that is kept.
    #[error(transparent)]
    Retention(#[from] RetentionError),
}

/// What is written where.
#[derive(Clone, Debug)]
pub struct Files {
    /// The journal that is read.
    pub journal_dir: PathBuf,
    /// Directory of the files.
    pub dir: PathBuf,
    /// Length at which a file ends, bytes.
    pub file_bytes_max: u64,
    /// Whether a file that has ended gets a Parquet file beside it.
    pub parquet: bool,
    /// Whose journal it is.
    pub stream: Stream,
}

/// Text that is to be written, and where each of its lines ends.
#[derive(Debug, Default)]
struct Block {
    text: String,
    lines: Vec<Line>,
}

#[derive(Clone, Copy, Debug)]
struct Line {
    seq: u64,
    /// Days since 1970.
    day: u64,
    end: usize,
}

impl Block {
    fn add(&mut self, place: &Place, event: &Event) {
        write_event(&mut self.text, place, event);
        self.text.push('\n');
        self.lines.push(Line { seq: place.seq, day: place.ts_ns / 86_400_000_000_000, end: self.text.len() });
    }

    fn clear(&mut self) {
        self.text.clear();
        self.lines.clear();
    }
}

impl Files {
    /// Writes until `stop` is set. What goes wrong is told to the log and tried again: trading does not depend on it.
    pub fn run(&self, stop: &AtomicBool) {
        let mut told = String::new();
        while !stop.load(Ordering::Acquire) {
            let Err(error) = self.write_until(stop, || told.clear()) else { return };
            let text = error.to_string();
            if text != told {
                tracing::error!(error = text, "events are not written to files; trying again");
                told = text;
            }
            pause(stop, OPEN_AGAIN);
        }
    }

    /// Opens the newest file, tells `on_open`, and writes until `stop` is set.
    ///
    /// # Errors
    /// What keeps the files from being gone on with. Nothing is lost by it: they may be opened again.
    pub fn write_until(&self, stop: &AtomicBool, on_open: impl FnOnce()) -> Result<(), FilesError> {
        let mut out = Newest::open(&self.dir, self.stream, self.file_bytes_max)?;
        let mut retention = Retention::open(&self.journal_dir)?;
        retention.register(READER)?;
        if let Some(last) = out.last() {
            self.check_last(&out, last)?;
        }
        let mut tail = Tail::open(&self.journal_dir, out.next_seq())?;
        // What is cut here the journal still has: it was opened behind it.
        out.cut()?;
        retention.advance(READER, out.synced_seq())?;
        let next_seq = out.next_seq();
        tracing::info!(dir = %self.dir.display(), next_seq, "events are written to files");
        on_open();
        let (mut block, mut analysis) = (Block::default(), Analysis::default());
        let mut looks: u32 = 0;
        loop {
            block.clear();
            while block.text.len() < BLOCK_BYTES && tail.next_group(|place, event| block.add(place, event))? {}
            if !block.lines.is_empty() {
                looks = 0;
                if !write(&mut out, &block, stop)? {
                    break;
                }
            } else if self.parquet && analysis.make_one(self, out.path(), stop) {
                looks = SYNC_LOOKS;
            } else if !stop.load(Ordering::Acquire) {
                looks = looks.saturating_add(1);
                std::thread::park_timeout(LOOK_INTERVAL);
            }
            let is_stopped = stop.load(Ordering::Acquire);
            if looks >= SYNC_LOOKS || out.unsynced_bytes() >= UNSYNCED_BYTES_MAX || is_stopped {
                looks = 0;
                out.sync()?;
                retention.advance(READER, out.synced_seq())?;
            }
            if is_stopped {
                break;
            }
        }
        Ok(())
    }

    /// The last event of the files must be the journal's: its identity, and the time that it was journaled at.
    fn check_last(&self, out: &Newest, last: &Head) -> Result<(), FilesError> {
        // All that was ever durable is visible, from the start on.
        let mut reader = match Reader::open(&self.journal_dir, last.seq, Until::Journaled) {
            Err(ReadError::Gone { .. }) => return Ok(()),
            opened => opened?,
        };
        let stream = self.stream;
        let is_ours = reader.next_group()?.is_some_and(|group| {
            group.records().any(|record| {
                let place = Place { stream, epoch: record.epoch, seq: record.seq, ts_ns: record.ts_ns };
                record.seq == last.seq && last.is_of(&place)
            })
        });
        if is_ours {
            return Ok(());
        }
        Err(FilesError::OtherJournal { path: out.path().to_owned(), seq: last.seq })
    }
}

/// Writes the lines of a block, each into the file that it belongs to; false when it was stopped before it was done.
fn write(out: &mut Newest, block: &Block, stop: &AtomicBool) -> Result<bool, FilesError> {
    let mut from = 0;
    let mut lines = block.lines.as_slice();
    while let Some(first) = lines.first() {
        out.begin(first.seq, first.day)?;
        let room = out.room();
        let is_in = |line: &Line| line.day == first.day && (line.end.saturating_sub(from) as u64) <= room;
        // A file has one line at least, however long that is.
        let count = lines.iter().take_while(|line| is_in(line)).count().max(1);
        let Some((now, later)) = lines.split_at_checked(count) else { break };
        let last = now.last().unwrap_or(first);
        let text = block.text.as_bytes().get(from..last.end).unwrap_or_default();
        let mut is_told = false;
        while let Err(source) = out.append(text, last.seq) {
            if stop.load(Ordering::Acquire) {
                return Ok(false);
            }
            if !is_told {
                is_told = true;
                tracing::warn!(path = %out.path().display(), error = %source, "events wait to be written to files");
            }
            pause(stop, WRITE_AGAIN);
        }
        if is_told {
            tracing::info!(path = %out.path().display(), "events are written to files again");
        }
        (from, lines) = (last.end, later);
    }
    Ok(true)
}

fn pause(stop: &AtomicBool, time: Duration) {
    if !stop.load(Ordering::Acquire) {
        std::thread::park_timeout(time);
    }
}
