//! Tailing: whole groups, from any thread or process, without a lock.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::hot::open_newest;
use crate::map::Map;
use crate::record::Slot;
use crate::scan::{Found, Group, Record, found_at, slot_at};
use crate::segment::{BadHeader, SEGMENT_HEADER_BYTES, SegmentHeader, list};
use crate::slots;
use crate::start::durable_path;

/// Why a journal could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// No segment holds the place asked for.
    #[error("{}: the journal starts after sequence number {seq}; older segments were removed", dir.display())]
    Gone {
        /// The journal.
        dir: PathBuf,
        /// Asked for.
        seq: u64,
    },
    /// The bytes are no journal.
    #[error("{}: damaged at byte {offset}, sequence number {seq}; run `tradecore journal verify`", path.display())]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// Where.
        offset: usize,
        /// The record that should stand there.
        seq: u64,
    },
    /// The file is not as long as it was made.
    #[error(
        "{}: the file has {file_bytes} bytes, and was made with {header_bytes}: it was truncated or added to",
        path.display()
    )]
    Truncated {
        /// The segment.
        path: PathBuf,
        /// What its header says.
        header_bytes: u64,
        /// What the file has.
        file_bytes: u64,
    },
    /// Written by a newer release.
    #[error("{}: format {format} is newer than this release reads; start a newer one", path.display())]
    FormatTooNew {
        /// The segment.
        path: PathBuf,
        /// Its format.
        format: u16,
    },
}

/// How far a reader may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Everything that is visible.
    Journaled,
    /// What survives power loss.
    Synced,
}

#[derive(Debug)]
struct Open {
    map: Map,
    header: SegmentHeader,
    path: PathBuf,
}

/// Where a group begins, for a reader to come back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    segno: u64,
    at: usize,
    next_seq: u64,
}

/// A reader with a place in the journal.
#[derive(Debug)]
pub struct Reader {
    dir: PathBuf,
    until: Until,
    /// The file `durable`, once it is there.
    durable: Option<File>,
    /// What it said last.
    synced_seq: u64,
    segment: Option<Open>,
    segno: u64,
    at: usize,
    next_seq: u64,
    /// It started at the beginning: every page of a segment will be read.
    reads_all: bool,
}

impl Reader {
    /// A reader whose first group is the one that holds `from_seq`, or comes after it; 0 and 1 mean the start.
    ///
    /// # Errors
    /// `Gone` when older segments were removed; else as the files say.
    pub fn open(dir: &Path, from_seq: u64, until: Until) -> Result<Self, ReadError> {
        let wanted = from_seq.max(1);
        let mut this = Self::open_before(dir, wanted, until)?;
        this.reads_all = wanted == 1;
        this.populate();
        if this.next_seq > wanted {
            return Err(ReadError::Gone { dir: dir.to_owned(), seq: wanted });
        }
        this.skip_to(wanted)?;
        Ok(this)
    }

    /// A reader at a place where one stood: nothing before it is read again.
    ///
    /// # Errors
    /// `Gone` when that segment was removed; else as the files say.
    pub fn open_at(dir: &Path, place: Place, until: Until) -> Result<Self, ReadError> {
        let Place { segno, at, next_seq } = place;
        let segment = open_segment(dir, segno)?;
        if segment.is_none() && first_record(dir, segno.saturating_add(1))?.is_some() {
            return Err(ReadError::Gone { dir: dir.to_owned(), seq: next_seq });
        }
        let reads_all = false;
        Ok(Self { dir: dir.to_owned(), until, durable: None, synced_seq: 0, segment, segno, at, next_seq, reads_all })
    }

    /// A reader that starts with the oldest group there is.
    ///
    /// # Errors
    /// As the files say.
    pub fn open_oldest(dir: &Path, until: Until) -> Result<Self, ReadError> {
        Self::open_before(dir, 0, until)
    }

    /// A reader at the start of the last segment that begins at or before `wanted`, or else of the oldest.
    fn open_before(dir: &Path, wanted: u64, until: Until) -> Result<Self, ReadError> {
        let segments = list(dir).map_err(|source| ReadError::Io { path: dir.to_owned(), source })?;
        // Without any record: the place where the first one will be.
        let (mut segno, mut next_seq) = (segments.first().copied().unwrap_or(1), 1);
        // From the end: what is asked for is most often new.
        for candidate in segments.iter().rev() {
            if let Some((first_seq, _)) = first_record(dir, *candidate)? {
                (segno, next_seq) = (*candidate, first_seq);
                if first_seq <= wanted {
                    break;
                }
            }
        }
        Ok(Self {
            dir: dir.to_owned(),
            until,
            durable: None,
            synced_seq: 0,
            segment: open_segment(dir, segno)?,
            segno,
            at: SEGMENT_HEADER_BYTES,
            next_seq,
            reads_all: false,
        })
    }

    fn populate(&self) {
        // One that holds nothing yet will be followed as it grows.
        if let (true, Some(open)) = (self.reads_all, &self.segment)
            && open.map.length_word(self.at) != 0
        {
            open.map.populate_for_reading();
        }
    }

    fn skip_to(&mut self, seq: u64) -> Result<(), ReadError> {
        loop {
            let place = (self.segno, self.at, self.next_seq);
            match self.advance(u64::MAX)? {
                Some((_, _, last_seq)) if last_seq < seq => {}
                Some(_) | None => {
                    (self.at, self.next_seq) = (place.1, place.2);
                    if self.segno != place.0 {
                        self.segno = place.0;
                        self.segment = open_segment(&self.dir, place.0)?;
                    }
                    return Ok(());
                }
            }
        }
    }

    /// Sequence number of the next record that this reader returns.
    #[must_use]
    pub const fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Where the reader stands, to `open_at`.
    #[must_use]
    pub const fn place(&self) -> Place {
        Place { segno: self.segno, at: self.at, next_seq: self.next_seq }
    }

    /// Segment and offset that the reader stands at.
    #[must_use]
    pub const fn position(&self) -> (u64, usize) {
        (self.segno, self.at)
    }

    /// Core and environment that the journal is of; `None` while there is no segment.
    #[must_use]
    pub fn origin(&self) -> Option<(u16, u8)> {
        self.segment.as_ref().map(|open| (open.header.core, open.header.environment))
    }

    /// The next whole group; `None` when there is none yet.
    ///
    /// # Errors
    /// `Damaged` for bytes that can be no group, however long one waits.
    pub fn next_group(&mut self) -> Result<Option<Group<'_>>, ReadError> {
        let bound = match self.until {
            Until::Journaled => u64::MAX,
            Until::Synced => self.synced_seq(),
        };
        let Some((start, end, _)) = self.advance(bound)? else {
            return Ok(None);
        };
        let segment = self.segno;
        Ok(self.segment.as_ref().map(|open| {
            let bytes = open.map.bytes(start, end.saturating_sub(start));
            Group { bytes, start, segment, epoch: open.header.epoch }
        }))
    }

    /// What survives power loss, as the journal says now; 0 before it has said anything.
    pub fn latest_synced_seq(&mut self) -> u64 {
        self.look_for_synced();
        self.synced_seq
    }

    fn synced_seq(&mut self) -> u64 {
        if self.next_seq > self.synced_seq {
            self.look_for_synced();
        }
        self.synced_seq
    }

    fn look_for_synced(&mut self) {
        if self.durable.is_none() {
            self.durable = File::open(durable_path(&self.dir)).ok();
        }
        let synced_seq = self.durable.as_ref().and_then(slots::value_of);
        self.synced_seq = synced_seq.unwrap_or(0).max(self.synced_seq);
    }

    /// Hands every record up to the present end of the journal to `each`; how many there were. For replay.
    ///
    /// # Errors
    /// As `next_group`; the records before the bad place have been handed out.
    pub fn for_each(&mut self, mut each: impl FnMut(&Record<'_>)) -> Result<u64, ReadError> {
        let mut count: u64 = 0;
        while let Some(group) = self.next_group()? {
            for record in group.records() {
                each(&record);
                count = count.saturating_add(1);
            }
        }
        Ok(count)
    }

    /// Steps over the next group if it ends at or below `bound`: its start, end and last number.
    fn advance(&mut self, bound: u64) -> Result<Option<(usize, usize, u64)>, ReadError> {
        loop {
            if self.segment.is_none() {
                self.segment = open_segment(&self.dir, self.segno)?;
            }
            let Some(open) = &self.segment else {
                return Ok(None);
            };
            match found_at(&open.map, open.header.salt, self.at, self.next_seq) {
                Found::Group { last_seq, .. } if last_seq > bound => return Ok(None),
                Found::Group { end, last_seq, .. } => {
                    let start = self.at;
                    self.at = end;
                    self.next_seq = last_seq.saturating_add(1);
                    return Ok(Some((start, end, last_seq)));
                }
                Found::Seal { end } => self.at = end,
                Found::End => match open_segment(&self.dir, self.segno.saturating_add(1))? {
                    Some(next) => {
                        self.segno = self.segno.saturating_add(1);
                        self.at = SEGMENT_HEADER_BYTES;
                        self.segment = Some(next);
                        self.populate();
                    }
                    None => return Ok(None),
                },
                Found::Free => return Ok(None),
                Found::Bad => {
                    return Err(ReadError::Damaged { path: open.path.clone(), offset: self.at, seq: self.next_seq });
                }
            }
        }
    }
}

/// Sequence number and time of the first record of a segment; `None` when it holds none.
pub(crate) fn first_record(dir: &Path, segno: u64) -> Result<Option<(u64, u64)>, ReadError> {
    let Some(open) = open_segment(dir, segno)? else {
        return Ok(None);
    };
    Ok(match slot_at(&open.map, SEGMENT_HEADER_BYTES, open.header.salt) {
        Slot::Record(header, _) => Some((header.seq, header.ts_ns)).filter(|(seq, _)| *seq != 0),
        Slot::Free | Slot::Bad => None,
    })
}

fn open_segment(dir: &Path, segno: u64) -> Result<Option<Open>, ReadError> {
    let opened = open_newest(dir, segno).map_err(|source| ReadError::Io { path: dir.to_owned(), source })?;
    opened.map(|(file, path)| map(&file, path)).transpose()
}

fn map(file: &File, path: PathBuf) -> Result<Open, ReadError> {
    let io_error = |source| ReadError::Io { path: path.clone(), source };
    let len = file.metadata().map_err(io_error)?.len() as usize;
    let damaged = || ReadError::Damaged { path: path.clone(), offset: 0, seq: 0 };
    if len < SEGMENT_HEADER_BYTES {
        return Err(damaged());
    }
    let map = Map::open_read_only(file, len).map_err(io_error)?;
    let header = SegmentHeader::from_bytes(map.bytes(0, SEGMENT_HEADER_BYTES)).map_err(|bad| match bad {
        BadHeader::Damaged => damaged(),
        BadHeader::TooNew(format) => ReadError::FormatTooNew { path: path.clone(), format },
    })?;
    if header.segment_bytes != len as u64 {
        return Err(ReadError::Truncated { path, header_bytes: header.segment_bytes, file_bytes: len as u64 });
    }
    Ok(Open { map, header, path })
}
