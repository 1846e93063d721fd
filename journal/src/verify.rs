//! What a journal is, read only: for tools.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::hot::open_newest;
use crate::reader::{ReadError, Reader, Until};
use crate::record::{HEADER_BYTES, Slot};
use crate::scan::{Found, found_at, slot_at};
use crate::segment::{BadHeader, SEGMENT_HEADER_BYTES, SegmentHeader, list, path_of};
use crate::slots::Slots;
use crate::start::{durable_path, epoch_path, removed_path};
use crate::storage::Disk;

/// What can be wrong at a place of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// A segment that should be there is not.
    Missing,
    /// The segment's header is none, or not of this segment.
    Header,
    /// The segment is of this newer format.
    TooNew(u16),
    /// The file is not as long as it was made: so many bytes.
    Length(u64),
    /// A record or group that is not the expected one.
    Record,
    /// Bytes behind the end of a segment that has ended, or behind a seal.
    BehindEnd,
    /// Bytes behind the last group, and nothing durable in them: a torn tail, or a group that a live writer is making.
    Tail,
    /// The journal ends before the last event that was durable.
    Lost,
    /// A file beside the segments is missing, or no number in it is valid.
    Number,
}

/// A place where a journal is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The segment; of a `Number` the file that holds it.
    pub segment: PathBuf,
    /// Where, bytes.
    pub offset: u64,
    /// The record that should stand there, or come next.
    pub next_seq: u64,
    /// What is wrong.
    pub flaw: Flaw,
}

/// What a check of every bit found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyReport {
    /// Segments that were read.
    pub segments: u64,
    /// Whole groups.
    pub groups: u64,
    /// Records in them.
    pub records: u64,
    /// Last sequence number before the first flaw; 0 when there is none.
    pub last_seq: u64,
    /// Highest number that was durable, by the file that says so, before the check.
    pub durable_seq: u64,
    /// True when the journal ends with the seal of a clean stop.
    pub is_sealed: bool,
    /// The first flaw; what lies behind it cannot be judged.
    pub finding: Option<Finding>,
}

/// Where a check of segments, one after the other, stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Check {
    pub(crate) groups: u64,
    pub(crate) records: u64,
    /// `None` while the first record has yet to say where the numbering starts.
    pub(crate) next_seq: Option<u64>,
    pub(crate) is_sealed: bool,
    has_ended: bool,
    /// Segment, and offset in it, behind the last whole group.
    end: (u64, usize),
}

impl Check {
    pub(crate) const fn new(next_seq: Option<u64>) -> Self {
        Self { groups: 0, records: 0, next_seq, is_sealed: false, has_ended: true, end: (1, 0) }
    }

    /// Last sequence number of a whole group; 0 when there is none.
    fn last_seq(&self) -> u64 {
        if self.records == 0 { 0 } else { self.next_seq.unwrap_or(1).saturating_sub(1) }
    }

    /// Checks every bit of a segment: where, and what is wrong.
    pub(crate) fn segment(&mut self, bytes: &[u8], segno: u64) -> Result<(), (usize, Flaw)> {
        let header = match SegmentHeader::from_bytes(bytes) {
            Ok(header) if header.segno == segno && header.segment_bytes == bytes.len() as u64 => header,
            Ok(header) if header.segno == segno => return Err((bytes.len(), Flaw::Length(header.segment_bytes))),
            Ok(_) | Err(BadHeader::Damaged) => return Err((0, Flaw::Header)),
            Err(BadHeader::TooNew(format)) => return Err((0, Flaw::TooNew(format))),
        };
        if !self.has_ended {
            // Prepared ahead: nothing may stand in it before the one before it has ended.
            return check_zeros(bytes, SEGMENT_HEADER_BYTES, Flaw::Tail);
        }
        self.has_ended = false;
        let mut at = SEGMENT_HEADER_BYTES;
        self.end = (segno, at);
        let mut is_sealed_here = false;
        loop {
            if self.next_seq.is_none()
                && let Slot::Record(first, _) = slot_at(bytes, at, header.salt)
                && first.seq > 0
            {
                self.next_seq = Some(first.seq);
            }
            match found_at(bytes, header.salt, at, self.next_seq.unwrap_or(1)) {
                Found::Group { end, last_seq, records, .. } => {
                    if is_sealed_here {
                        return Err((at, Flaw::BehindEnd));
                    }
                    at = end;
                    self.end = (segno, at);
                    self.is_sealed = false;
                    self.groups = self.groups.saturating_add(1);
                    self.records = self.records.saturating_add(records);
                    self.next_seq = Some(last_seq.saturating_add(1));
                }
                Found::Seal { end } => {
                    at = end;
                    is_sealed_here = true;
                    self.is_sealed = true;
                }
                Found::End => {
                    self.has_ended = true;
                    let end = at.saturating_add(HEADER_BYTES);
                    return check_zeros(bytes, end, Flaw::BehindEnd);
                }
                Found::Free if is_sealed_here => return check_zeros(bytes, at, Flaw::BehindEnd),
                Found::Free => return check_zeros(bytes, at, Flaw::Tail),
                Found::Bad => return Err((at, Flaw::Record)),
            }
        }
    }
}

fn check_zeros(bytes: &[u8], from: usize, flaw: Flaw) -> Result<(), (usize, Flaw)> {
    const ZEROS: [u8; 4096] = [0; 4096];
    let rest = bytes.get(from..).unwrap_or_default();
    for (nth, chunk) in rest.chunks(ZEROS.len()).enumerate() {
        if Some(chunk) != ZEROS.get(..chunk.len()) {
            return Err((from.saturating_add(nth.saturating_mul(ZEROS.len())), flaw));
        }
    }
    Ok(())
}

/// True when a journal was ever started in a directory.
///
/// # Errors
/// When the directory cannot be read.
pub fn has_journal(dir: &Path) -> Result<bool, ReadError> {
    let look = || {
        let has_segments = !list(dir)?.is_empty();
        Ok(has_segments || durable_path(dir).try_exists()? || epoch_path(dir).try_exists()?)
    };
    look().map_err(|source| ReadError::Io { path: dir.to_owned(), source })
}

/// Checks every bit of every segment: headers, records, order, that what is free is zero, and that nothing is missing
/// of what the files beside the segments say. Read only, and safe on a live journal, where only a `Tail` may come from the writer being at work.
///
/// # Errors
/// When a file cannot be read; what is wrong inside is in the report.
pub fn verify(dir: &Path) -> Result<VerifyReport, ReadError> {
    look_until_steady(|| {
        let report = verify_once(dir)?;
        match &report.finding {
            // The list was read while segments went and came.
            Some(Finding { flaw: Flaw::Missing, segment, .. }) if segment.exists() => {
                Err(ReadError::Io { path: segment.clone(), source: io::ErrorKind::NotFound.into() })
            }
            _ => Ok(report),
        }
    })
}

/// Looks again when a segment that was listed has gone: a stop and a start take away what was prepared, retention what
/// every reader has passed.
fn look_until_steady<T>(look: impl Fn() -> Result<T, ReadError>) -> Result<T, ReadError> {
    const LOOKS_MAX: u32 = 1_000;
    let mut looks: u32 = 1;
    loop {
        match look() {
            Err(ReadError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound && looks < LOOKS_MAX => {
                looks = looks.saturating_add(1);
            }
            looked => return looked,
        }
    }
}

fn verify_once(dir: &Path) -> Result<VerifyReport, ReadError> {
    let io_error = |source| ReadError::Io { path: dir.to_owned(), source };
    let removed = Slots::peek(&Disk, &removed_path(dir)).map_err(io_error)?.unwrap_or(0);
    // Before the segments: what is durable now must be whole in them.
    let durable = Slots::peek(&Disk, &durable_path(dir)).map_err(io_error)?;
    let mut check = Check::new((removed == 0).then_some(1));
    let mut segments: u64 = 0;
    let mut expected = None;
    let mut finding = None;
    let segnos = list(dir).map_err(io_error)?;
    let lost_number = lost_number(dir, durable, !segnos.is_empty()).map_err(io_error)?;
    for segno in segnos {
        let first_max = removed.saturating_add(1);
        let missing = match expected {
            None => (segno > first_max).then_some(first_max),
            Some(expected) => (segno != expected).then_some(expected),
        };
        let (segno, result) = match missing {
            Some(missing) => (missing, Err((0, Flaw::Missing))),
            None => {
                let bytes = read(dir, segno)?;
                segments = segments.saturating_add(1);
                (segno, check.segment(&bytes, segno))
            }
        };
        if let Err((at, flaw)) = result {
            let next_seq = check.next_seq.unwrap_or(0);
            finding = Some(Finding { segment: path_of(dir, segno), offset: at as u64, next_seq, flaw });
            break;
        }
        expected = Some(segno.saturating_add(1));
    }
    let last_seq = check.last_seq();
    let durable_seq = durable.unwrap_or(0);
    // What lies behind any other flaw cannot be judged.
    if finding.as_ref().is_none_or(|finding| finding.flaw == Flaw::Tail) {
        if let Some(path) = lost_number {
            finding = Some(Finding { segment: path, offset: 0, next_seq: 0, flaw: Flaw::Number });
        } else if last_seq < durable_seq {
            let (segno, at) = if segments == 0 { (removed.saturating_add(1), 0) } else { check.end };
            let next_seq = last_seq.saturating_add(1);
            finding = Some(Finding { segment: path_of(dir, segno), offset: at as u64, next_seq, flaw: Flaw::Lost });
        }
    }
    Ok(VerifyReport {
        segments,
        groups: check.groups,
        records: check.records,
        last_seq,
        durable_seq,
        is_sealed: check.is_sealed,
        finding,
    })
}

/// The file beside the segments that holds no number and should.
fn lost_number(dir: &Path, durable: Option<u64>, has_segments: bool) -> io::Result<Option<PathBuf>> {
    let has_epoch = Slots::peek(&Disk, &epoch_path(dir))?.is_some();
    // Looked at again: a first start may have written both between the first look and the list of segments.
    let has_durable = durable.is_some() || Slots::peek(&Disk, &durable_path(dir))?.is_some();
    Ok(if !has_durable && (has_segments || has_epoch) {
        Some(durable_path(dir))
    } else if !has_epoch && has_segments {
        Some(epoch_path(dir))
    } else {
        None
    })
}

/// A segment's newest bytes.
fn read(dir: &Path, segno: u64) -> Result<Vec<u8>, ReadError> {
    let path = path_of(dir, segno);
    let read = || {
        let (mut file, _) = open_newest(dir, segno)?.ok_or(io::ErrorKind::NotFound)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map_err(|source| ReadError::Io { path, source })
}

/// What a walk over the whole journal found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The journal.
    pub dir: PathBuf,
    /// Segment files.
    pub segments: u64,
    /// Their length, bytes.
    pub segment_bytes: u64,
    /// First sequence number; 0 when there is none.
    pub first_seq: u64,
    /// Last sequence number; 0 when there is none.
    pub last_seq: u64,
    /// Highest number that was durable, by the file that says so, before the walk.
    pub synced_seq: u64,
    /// Groups.
    pub groups: u64,
    /// Records.
    pub records: u64,
    /// Payload bytes.
    pub payload_bytes: u64,
    /// Time of the first record, ns UTC.
    pub first_ts_ns: u64,
    /// Time of the last record, ns UTC.
    pub last_ts_ns: u64,
}

/// Highest number that is durable, by the file that says so; 0 before the first.
///
/// # Errors
/// When it cannot be read.
pub fn synced_seq(dir: &Path) -> Result<u64, ReadError> {
    let peeked = Slots::peek(&Disk, &durable_path(dir));
    Ok(peeked.map_err(|source| ReadError::Io { path: dir.to_owned(), source })?.unwrap_or(0))
}

/// Walks the whole journal, checking every record.
///
/// # Errors
/// `Damaged` at the first place that is no whole group.
pub fn stat(dir: &Path) -> Result<Stat, ReadError> {
    look_until_steady(|| stat_once(dir))
}

fn stat_once(dir: &Path) -> Result<Stat, ReadError> {
    let io_error = |source| ReadError::Io { path: dir.to_owned(), source };
    let segments = list(dir).map_err(io_error)?;
    let mut segment_bytes: u64 = 0;
    for segno in &segments {
        let metadata = std::fs::metadata(crate::segment::path_of(dir, *segno)).map_err(io_error)?;
        segment_bytes = segment_bytes.saturating_add(metadata.len());
    }
    let mut stat = Stat {
        dir: dir.to_owned(),
        segments: segments.len() as u64,
        segment_bytes,
        first_seq: 0,
        last_seq: 0,
        synced_seq: synced_seq(dir)?,
        groups: 0,
        records: 0,
        payload_bytes: 0,
        first_ts_ns: 0,
        last_ts_ns: 0,
    };
    let mut reader = Reader::open_oldest(dir, Until::Journaled)?;
    while let Some(group) = reader.next_group()? {
        stat.groups = stat.groups.saturating_add(1);
        for record in group.records() {
            if stat.records == 0 {
                stat.first_seq = record.seq;
                stat.first_ts_ns = record.ts_ns;
            }
            stat.records = stat.records.saturating_add(1);
            stat.payload_bytes = stat.payload_bytes.saturating_add(record.payload.len() as u64);
            stat.last_seq = record.seq;
            stat.last_ts_ns = record.ts_ns;
        }
    }
    Ok(stat)
}
