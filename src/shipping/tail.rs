//! The journal as events with their places, in order: what survives power loss, and nothing else.

use std::path::{Path, PathBuf};

use tradecore_domain::event::{DecodeError, Event};
use tradecore_journal::{ReadError, Reader, Until};

use super::domains::Stream;
use super::json::Place;

/// Why the events cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    /// The journal.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// An event; those before it have been handed out.
    #[error("event {seq}: {error}")]
    Decode {
        /// Its number.
        seq: u64,
        /// What is wrong with it.
        error: DecodeError,
    },
}

/// A reader of events, with a place in the journal.
#[derive(Debug)]
pub struct Tail {
    dir: PathBuf,
    reader: Reader,
    from_seq: u64,
}

impl Tail {
    /// A reader whose first event is `from_seq`; 0 stands for the oldest that there is.
    ///
    /// # Errors
    /// `Gone` when older segments were removed; else as the files say.
    pub fn open(dir: &Path, from_seq: u64) -> Result<Self, ReadError> {
        let reader = match from_seq {
            0 => Reader::open_oldest(dir, Until::Synced)?,
            from_seq => Reader::open(dir, from_seq, Until::Synced)?,
        };
        Ok(Self { dir: dir.to_owned(), reader, from_seq })
    }

    /// Hands the events of the next group to `each`; false when none is durable yet.
    ///
    /// # Errors
    /// As the files say.
    pub fn next_group(&mut self, mut each: impl FnMut(&Place, &Event)) -> Result<bool, TailError> {
        if self.reader.origin().is_none() {
            // The first segment was in the making, and is found when one asks for a group of it.
            let place = self.reader.place();
            if self.reader.next_group()?.is_none() {
                return Ok(false);
            }
            self.reader = Reader::open_at(&self.dir, place, Until::Synced)?;
        }
        let Some((core, environment)) = self.reader.origin() else { return Ok(false) };
        let (stream, from_seq) = (Stream { environment, core }, self.from_seq);
        let Some(group) = self.reader.next_group()? else { return Ok(false) };
        for record in group.records().filter(|record| record.seq >= from_seq) {
            let event = Event::from_archive(record.kind, record.version, record.payload)
                .map_err(|error| TailError::Decode { seq: record.seq, error })?;
            each(&Place { stream, epoch: record.epoch, seq: record.seq, ts_ns: record.ts_ns }, &event);
        }
        Ok(true)
    }
}
