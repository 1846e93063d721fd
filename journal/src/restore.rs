//! A journal made anew of its own records, as another place has kept them.
//!
//! Records are written verbatim, checksum included: what was lost and what is restored cannot be told apart by any
//! record. A checksum covers the salt of the record's segment, which is kept nowhere else. But of a salt only the 32 bits
//! matter that the checksum has taken in before the record begins, and these are found by running a checksum backwards
//! over its record. So a segment begins where it began, and has another salt of the same effect.
//!
//! The file `restoring` is there from before the first segment until all is read back: a directory that holds it is no
//! journal, no start takes it for one, and a further restore begins anew in it.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::checksum::crc32c;
use crate::record::{self, FLAG_MORE, HEADER_BYTES, KIND_END, RecordHeader, Slot, offset, own_record};
use crate::segment::{FORMAT_VERSION, PARTIAL, SEGMENT_HEADER_BYTES, SegmentHeader, path_of};
use crate::slots::Slots;
use crate::start::{durable_path, epoch_path};
use crate::storage::{Disk, Storage, numbered, write_whole};
use crate::{Lock, OpenError};

/// Starts of the lost host of which nothing may have been kept: the identities that they gave are never given again.
pub const EPOCHS_LEFT_OUT: u32 = 64;

/// Why a journal was not restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// There is something already.
    #[error("{}: not empty ({name}); restore into a directory of its own, or move what is there away", dir.display())]
    NotEmpty {
        /// Where.
        dir: PathBuf,
        /// One of the files.
        name: String,
    },
    /// It cannot be locked.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A record is none, or not the one that comes next.
    #[error("event {seq}: {problem}")]
    Record {
        /// The one that is expected.
        seq: u64,
        /// What is wrong.
        problem: &'static str,
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

/// Writes a journal of records that were written before.
#[derive(Debug)]
pub struct Restorer {
    dir: PathBuf,
    _lock: Lock,
    core: u16,
    environment: u8,
    created_ns: u64,
    segment: Option<Segment>,
    segno: u64,
    last_seq: u64,
    epoch_max: u32,
}

/// The segment that is being written.
#[derive(Debug)]
struct Segment {
    partial: PathBuf,
    out: BufWriter<File>,
    salt: u64,
    epoch: u32,
    bytes: u64,
    last_ts_ns: u64,
}

impl Restorer {
    /// Begins in a directory that is empty, or that an earlier restore has left unfinished.
    ///
    /// # Errors
    /// `NotEmpty`; `Open` when another process has it; `Io`.
    pub fn begin(dir: &Path, core: u16, environment: u8, created_ns: u64) -> Result<Self, RestoreError> {
        let failed = |source| RestoreError::Io { path: dir.to_owned(), source };
        crate::make_dirs(dir).map_err(failed)?;
        let is_unfinished = is_unfinished(dir).map_err(failed)?;
        let names = Disk.list(dir).map_err(failed)?;
        if let Some(name) = names.into_iter().find(|name| !is_unfinished && name != "LOCK") {
            return Err(RestoreError::NotEmpty { dir: dir.to_owned(), name });
        }
        let lock = crate::lock(dir)?;
        write_whole(&Disk, &marker_path(dir), b"not yet a journal: `tradecore journal restore` was interrupted\n")
            .map_err(failed)?;
        // What an earlier one has left; the marker stands, so that a crash in between changes nothing.
        for path in [durable_path(dir), epoch_path(dir)] {
            remove(&path)?;
        }
        for segno in numbered(&Disk, dir, "jnl").map_err(failed)? {
            remove(&path_of(dir, segno))?;
        }
        for segno in numbered(&Disk, dir, PARTIAL).map_err(failed)? {
            remove(&path_of(dir, segno).with_extension(PARTIAL))?;
        }
        let dir = dir.to_owned();
        Ok(Self { dir, _lock: lock, core, environment, created_ns, segment: None, segno: 0, last_seq: 0, epoch_max: 0 })
    }

    /// Last record that was taken; 0 before the first.
    #[must_use]
    pub const fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// Takes one whole group: each record header and payload without padding, all of one writer's epoch.
    ///
    /// # Errors
    /// `Record` when it is not the group that comes next; nothing of it was taken then.
    pub fn append(&mut self, epoch: u32, group: &[Vec<u8>]) -> Result<(), RestoreError> {
        let next_seq = self.last_seq.saturating_add(1);
        let refused = |seq, problem| RestoreError::Record { seq, problem };
        let mut last_ts_ns = self.segment.as_ref().map_or(0, |segment| segment.last_ts_ns);
        let first = group.first().ok_or(refused(next_seq, "a group without records"))?;
        let salt = match &self.segment {
            Some(segment) if segment.epoch == epoch && is_of(first, segment.salt) => segment.salt,
            _ => salt_of(first).ok_or(refused(next_seq, "the record is too short"))?,
        };
        for (seq, (nth, record)) in (next_seq..).zip(group.iter().enumerate()) {
            let Slot::Record(header, _) = record::check(record, salt) else {
                return Err(refused(seq, "the record's length or checksum does not fit those of its group"));
            };
            let has_more = nth.saturating_add(1) < group.len();
            let problem = if header.seq != seq {
                "another record stands in its place"
            } else if header.kind < record::APPLICATION_KINDS {
                "the record is of the journal's own kinds"
            } else if (header.flags & FLAG_MORE != 0) != has_more {
                "its group does not end where it should"
            } else if header.ts_ns < last_ts_ns {
                "its time is before that of the record before"
            } else {
                last_ts_ns = header.ts_ns;
                continue;
            };
            return Err(refused(seq, problem));
        }
        if epoch < self.epoch_max {
            return Err(refused(next_seq, "its epoch is before that of the record before"));
        }
        // After this point only the disk may refuse.
        let is_new = self.segment.as_ref().is_none_or(|segment| (segment.salt, segment.epoch) != (salt, epoch));
        if is_new {
            self.end_segment()?;
            self.segno = self.segno.saturating_add(1);
            self.segment = Some(Segment::make(&self.dir, self.segno, salt, epoch)?);
        }
        if let Some(segment) = &mut self.segment {
            group.iter().try_for_each(|record| segment.write(record))?;
            segment.last_ts_ns = last_ts_ns;
        }
        self.last_seq = self.last_seq.saturating_add(group.len() as u64);
        self.epoch_max = epoch;
        Ok(())
    }

    /// Ends the last segment and writes down what stands beside them. It can be read from here on, and is a journal
    /// when it is `confirm`ed.
    ///
    /// # Errors
    /// `Io`.
    pub fn finish(&mut self) -> Result<(), RestoreError> {
        self.end_segment()?;
        let epoch = self.epoch_max.saturating_add(EPOCHS_LEFT_OUT);
        for (path, number) in [(epoch_path(&self.dir), u64::from(epoch)), (durable_path(&self.dir), self.last_seq)] {
            let failed = |source| RestoreError::Io { path: path.clone(), source };
            let mut slots = Slots::open(&Disk, &path).map_err(failed)?;
            slots.write(number).and_then(|()| slots.sync()).map_err(failed)?;
        }
        Disk.sync_dir(&self.dir).map_err(|source| RestoreError::Io { path: self.dir.clone(), source })
    }

    /// Says that what was read back is what was written: from here on it is a journal as any other.
    ///
    /// # Errors
    /// `Io`.
    pub fn confirm(self) -> Result<(), RestoreError> {
        remove(&marker_path(&self.dir))?;
        Disk.sync_dir(&self.dir).map_err(|source| RestoreError::Io { path: self.dir.clone(), source })
    }

    fn end_segment(&mut self) -> Result<(), RestoreError> {
        let Some(segment) = self.segment.take() else { return Ok(()) };
        let path = path_of(&self.dir, self.segno);
        let header = SegmentHeader {
            format: FORMAT_VERSION,
            core: self.core,
            epoch: segment.epoch,
            segno: self.segno,
            segment_bytes: 0,
            salt: segment.salt,
            created_ns: self.created_ns,
            environment: self.environment,
        };
        let partial = segment.partial.clone();
        let end = || {
            segment.end(header)?;
            Disk.rename(&partial, &path)?;
            Disk.sync_dir(&self.dir)
        };
        end().map_err(|source| RestoreError::Io { path: partial.clone(), source })
    }
}

impl Segment {
    fn make(dir: &Path, segno: u64, salt: u64, epoch: u32) -> Result<Self, RestoreError> {
        let partial = path_of(dir, segno).with_extension(PARTIAL);
        let make = || {
            let file = OpenOptions::new().write(true).create_new(true).open(&partial)?;
            let mut out = BufWriter::with_capacity(1 << 20, file);
            // The header's place: its length is known at the end.
            out.write_all(&[0; SEGMENT_HEADER_BYTES])?;
            Ok(out)
        };
        let out = make().map_err(|source| RestoreError::Io { path: partial.clone(), source })?;
        Ok(Self { partial, out, salt, epoch, bytes: SEGMENT_HEADER_BYTES as u64, last_ts_ns: 0 })
    }

    fn write(&mut self, record: &[u8]) -> Result<(), RestoreError> {
        const ZEROS: [u8; record::RECORD_ALIGN] = [0; record::RECORD_ALIGN];
        let stored = record::stored_bytes(record.len());
        let pad = ZEROS.get(..stored.saturating_sub(record.len())).unwrap_or_default();
        let written = self.out.write_all(record).and_then(|()| self.out.write_all(pad));
        written.map_err(|source| RestoreError::Io { path: self.partial.clone(), source })?;
        self.bytes = self.bytes.saturating_add(stored as u64);
        Ok(())
    }

    /// Its end record, and the header, which tells its length.
    fn end(mut self, header: SegmentHeader) -> io::Result<()> {
        self.out.write_all(&own_record(KIND_END, self.salt, self.last_ts_ns, u32::MAX))?;
        let file = self.out.into_inner().map_err(io::IntoInnerError::into_error)?;
        let segment_bytes =
            self.bytes.saturating_add(HEADER_BYTES as u64).next_multiple_of(SEGMENT_HEADER_BYTES as u64);
        file.set_len(segment_bytes)?;
        file.write_all_at(&SegmentHeader { segment_bytes, ..header }.to_bytes(), 0)?;
        file.sync_all()
    }
}

/// True for a directory in which a restore was begun and not confirmed.
pub(crate) fn is_unfinished(dir: &Path) -> io::Result<bool> {
    marker_path(dir).try_exists()
}

fn marker_path(dir: &Path) -> PathBuf {
    dir.join("restoring")
}

fn remove(path: &Path) -> Result<(), RestoreError> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(RestoreError::Io { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

fn is_of(record: &[u8], salt: u64) -> bool {
    matches!(record::check(record, salt), Slot::Record(..))
}

/// A salt under which a record's checksum is right; `None` when it is shorter than its header.
fn salt_of(record: &[u8]) -> Option<u64> {
    let header = RecordHeader::from_bytes(record)?;
    let behind_crc = record.get(offset::SEQ..)?;
    let mut register = !header.crc;
    for byte in header.len.to_le_bytes().iter().chain(behind_crc).rev() {
        register = before(register, *byte);
    }
    // Four bytes take the register anywhere: those that lead from behind four zeros to here.
    let target = (0..4).fold(register, |register, _| before(register, 0));
    let from = !crc32c(&[0; 4], &[]);
    Some(u64::from(target ^ from) << 32)
}

/// The register of a CRC-32C before it took in a byte.
fn before(register: u32, byte: u8) -> u32 {
    let top = (register >> 24) as u8;
    let index = BY_TOP.get(usize::from(top)).copied().unwrap_or(0);
    let entry = TABLE.get(usize::from(index)).copied().unwrap_or(0);
    ((register ^ entry) << 8) | u32::from(index ^ byte)
}

/// What a byte does to the register.
static TABLE: [u32; 256] = table();
/// Which entry of the table has these upper eight bits: each has its own.
static BY_TOP: [u8; 256] = by_top(&table());

#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
const fn table() -> [u32; 256] {
    // The polynomial of CRC-32C, its bits in reverse.
    const POLYNOMIAL: u32 = 0x82F6_3B78;
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut entry = index as u32;
        let mut bit = 0;
        while bit < 8 {
            entry = if entry & 1 == 1 { (entry >> 1) ^ POLYNOMIAL } else { entry >> 1 };
            bit += 1;
        }
        table[index] = entry;
        index += 1;
    }
    table
}

#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
const fn by_top(table: &[u32; 256]) -> [u8; 256] {
    let mut by_top = [0; 256];
    let mut index = 0;
    while index < 256 {
        by_top[(table[index] >> 24) as usize] = index as u8;
        index += 1;
    }
    by_top
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests;
