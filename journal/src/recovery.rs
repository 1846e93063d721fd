//! What a start finds, and what it does about it.
//!
//! A crash of the process leaves every committed group. Power loss leaves any subset of what was not
//! synced. Damage can change anything. The durable watermark tells the last two apart: what it covers was
//! synced, so nothing but damage can have taken it; what lies above it was acknowledged to nobody.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::record::{HEADER_BYTES, KIND_END, RECORD_ALIGN, Slot, slot};
use crate::scan::{Found, claim, found_at};
use crate::segment::{BadHeader, SEGMENT_HEADER_BYTES, SegmentHeader, list, path_of, sync_dir_of};
use crate::{Damage, OpenError};

/// What was found at the first place that holds no valid next group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Any group was found before it.
    pub has_groups: bool,
    /// Anything but zeros lies behind it, in its segment or a later one.
    pub has_bytes_behind: bool,
    /// The number that should stand there is at or below the durable watermark.
    pub is_below_durable: bool,
}

/// What a start does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was ever written.
    Empty,
    /// Every group is whole, and nothing follows the last.
    Clean,
    /// What lies behind the last whole group was never durable: it is cut, kept aside and reported.
    Torn,
    /// What was durable is not there: refused, nothing is touched.
    Damaged,
}

/// The decision table.
#[must_use]
pub const fn decide(facts: Facts) -> Outcome {
    let Facts { has_groups, has_bytes_behind, is_below_durable } = facts;
    match (has_groups, has_bytes_behind, is_below_durable) {
        (true | false, true | false, true) => Outcome::Damaged,
        (true | false, true, false) => Outcome::Torn,
        (true, false, false) => Outcome::Clean,
        (false, false, false) => Outcome::Empty,
    }
}

/// What recovery found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryReport {
    /// What the journal was.
    pub outcome: Outcome,
    /// Last sequence number that is kept; 0 for none.
    pub last_seq: u64,
    /// Highest number that is proven to have been synced before.
    pub durable_seq: u64,
    /// Time of the last group kept, ns UTC.
    pub last_ts_ns: u64,
    /// Records kept.
    pub records: u64,
    /// Bytes that were cut.
    pub cut_bytes: u64,
    /// Where they are kept.
    pub kept_at: Option<PathBuf>,
    /// True when the journal ends with the seal of a clean stop.
    pub is_sealed: bool,
    /// Epoch that this start raised.
    pub epoch: u32,
}

struct Segment {
    segno: u64,
    header: SegmentHeader,
    bytes: Vec<u8>,
}

/// What a walk over all segments found.
struct Walk {
    last_seq: u64,
    last_ts_ns: u64,
    records: u64,
    claimed: u64,
    is_sealed: bool,
    /// Index of the segment, and offset, of the first place without a valid next group.
    end: (usize, usize),
}

/// Walks, judges, and mends what may be mended. Returns the report and the number of the next segment.
pub(crate) fn recover(dir: &Path, durable_slot: u64) -> Result<(RecoveryReport, u64), OpenError> {
    let io_error = |source| OpenError::io(dir, source);
    let segnos = list(dir, "jnl").map_err(io_error)?;
    let mut segments = Vec::new();
    for segno in &segnos {
        segments.push(read(dir, *segno)?);
    }
    let walk = walk(&segments);
    let behind = behind(&segments, walk.end);
    let durable_seq = durable_slot.max(walk.claimed).max(behind.claimed);
    let facts = Facts {
        has_groups: walk.last_seq > 0,
        has_bytes_behind: behind.has_bytes,
        is_below_durable: walk.last_seq < durable_seq,
    };
    let outcome = decide(facts);
    let mut report = RecoveryReport {
        outcome,
        last_seq: walk.last_seq,
        durable_seq,
        last_ts_ns: walk.last_ts_ns,
        records: walk.records,
        cut_bytes: 0,
        kept_at: None,
        is_sealed: walk.is_sealed,
        epoch: 0,
    };
    match outcome {
        Outcome::Damaged => {
            let place = segments.get(walk.end.0);
            return Err(OpenError::Damaged(Damage {
                segment: path_of(dir, place.map_or(1, |segment| segment.segno)),
                offset: walk.end.1 as u64,
                first_lost_seq: walk.last_seq.saturating_add(1),
                durable_seq,
            }));
        }
        Outcome::Torn => {
            let (cut_bytes, kept_at) = cut(dir, &segments, walk.end).map_err(io_error)?;
            report.cut_bytes = cut_bytes;
            report.kept_at = Some(kept_at);
        }
        Outcome::Empty | Outcome::Clean => {}
    }
    let next_segno = end_last_segment(dir, &segments, walk.end, walk.last_ts_ns).map_err(io_error)?;
    Ok((report, next_segno))
}

fn read(dir: &Path, segno: u64) -> Result<Segment, OpenError> {
    let path = path_of(dir, segno);
    let io_error = |source| OpenError::io(&path, source);
    let file = File::open(&path).map_err(io_error)?;
    // What the page cache holds may never have reached the disk: only what is synced now counts as read.
    file.sync_all().map_err(io_error)?;
    let bytes = std::fs::read(&path).map_err(io_error)?;
    let damaged = || OpenError::Damaged(Damage { segment: path.clone(), offset: 0, first_lost_seq: 0, durable_seq: 0 });
    let header = match SegmentHeader::from_bytes(&bytes) {
        Ok(header) if header.segno == segno && header.segment_bytes == bytes.len() as u64 => header,
        Ok(_) | Err(BadHeader::Damaged) => return Err(damaged()),
        Err(BadHeader::TooNew(format)) => return Err(OpenError::FormatTooNew { path, format }),
    };
    Ok(Segment { segno, header, bytes })
}

fn walk(segments: &[Segment]) -> Walk {
    let mut walk =
        Walk { last_seq: 0, last_ts_ns: 0, records: 0, claimed: 0, is_sealed: false, end: (0, SEGMENT_HEADER_BYTES) };
    // Older segments may have been removed: the first record says where the journal starts.
    let first = segments
        .first()
        .and_then(|segment| segment.bytes.get(SEGMENT_HEADER_BYTES..).map(|b| (b, segment.header.salt)));
    if let Some(Slot::Record(header, _)) = first.map(|(bytes, salt)| slot(bytes, salt)) {
        walk.last_seq = header.seq.saturating_sub(1);
    }
    let start_seq = walk.last_seq;
    let mut at = SEGMENT_HEADER_BYTES;
    let mut index = 0;
    while let Some(segment) = segments.get(index) {
        walk.end = (index, at);
        match found_at(&segment.bytes, segment.header.salt, at, walk.last_seq.saturating_add(1)) {
            Found::Group { end, last_seq, records, durable_seq, last_ts_ns } => {
                at = end;
                walk.last_seq = last_seq;
                walk.last_ts_ns = last_ts_ns;
                walk.records = walk.records.saturating_add(records);
                walk.claimed = walk.claimed.max(durable_seq);
                walk.is_sealed = false;
            }
            Found::Seal { end } => {
                at = end;
                walk.is_sealed = true;
            }
            Found::End => {
                index = index.saturating_add(1);
                at = SEGMENT_HEADER_BYTES;
                if index >= segments.len() {
                    // The next segment was never made: the journal ends here.
                    break;
                }
            }
            Found::Free | Found::Bad => break,
        }
    }
    if walk.records == 0 {
        walk.last_seq = start_seq;
    }
    walk
}

struct Behind {
    has_bytes: bool,
    claimed: u64,
}

/// What lies behind a place: any bytes, and the highest watermark that a valid record there claims.
fn behind(segments: &[Segment], (index, at): (usize, usize)) -> Behind {
    let mut behind = Behind { has_bytes: false, claimed: 0 };
    for (nth, segment) in segments.iter().enumerate().skip(index) {
        let start = if nth == index { at } else { SEGMENT_HEADER_BYTES };
        let is_end = matches!(found_at(&segment.bytes, segment.header.salt, start, 0), Found::End);
        let start = if is_end { start.saturating_add(HEADER_BYTES) } else { start };
        let bytes = segment.bytes.get(start..).unwrap_or_default();
        behind.has_bytes |= bytes.iter().any(|byte| *byte != 0);
        for place in (start..segment.bytes.len()).step_by(RECORD_ALIGN) {
            if let Slot::Record(header, _) = slot(segment.bytes.get(place..).unwrap_or_default(), segment.header.salt) {
                behind.claimed = behind.claimed.max(claim(&header));
            }
        }
    }
    behind
}

/// Keeps aside what lies behind the place, then zeroes it.
fn cut(dir: &Path, segments: &[Segment], (index, at): (usize, usize)) -> io::Result<(u64, PathBuf)> {
    let quarantine = dir.join("quarantine");
    std::fs::create_dir_all(&quarantine)?;
    let mut kept_at = quarantine.clone();
    let mut cut_bytes: u64 = 0;
    for (nth, segment) in segments.iter().enumerate().skip(index) {
        let start = if nth == index { at } else { SEGMENT_HEADER_BYTES };
        let bytes = segment.bytes.get(start..).unwrap_or_default();
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last.saturating_add(1));
        if used == 0 {
            continue;
        }
        kept_at = unused_name(&quarantine, segment.segno, start);
        let mut kept = File::create(&kept_at)?;
        kept.write_all(bytes.get(..used).unwrap_or_default())?;
        kept.sync_all()?;
        sync_dir_of(&kept_at)?;
        let file = OpenOptions::new().write(true).open(path_of(dir, segment.segno))?;
        file.write_all_at(&vec![0; used], start as u64)?;
        file.sync_all()?;
        cut_bytes = cut_bytes.saturating_add(used as u64);
    }
    Ok((cut_bytes, kept_at))
}

fn unused_name(quarantine: &Path, segno: u64, at: usize) -> PathBuf {
    let mut turn: u32 = 0;
    loop {
        let path = quarantine.join(format!("{segno:010}-{at}-{turn}.cut"));
        if !path.exists() {
            return path;
        }
        turn = turn.saturating_add(1);
    }
}

/// Leads readers from the last segment that holds anything to the one that comes next, whose number it
/// returns; removes those that hold nothing.
fn end_last_segment(dir: &Path, segments: &[Segment], (index, at): (usize, usize), ts_ns: u64) -> io::Result<u64> {
    for unused in segments.iter().skip(index.saturating_add(1)) {
        std::fs::remove_file(path_of(dir, unused.segno))?;
    }
    let Some(segment) = segments.get(index) else {
        return Ok(1);
    };
    let next_segno = segment.segno.saturating_add(1);
    if at == SEGMENT_HEADER_BYTES {
        std::fs::remove_file(path_of(dir, segment.segno))?;
        sync_dir_of(&path_of(dir, segment.segno))?;
        return Ok(segment.segno);
    }
    if !matches!(found_at(&segment.bytes, segment.header.salt, at, 0), Found::End) {
        let mut header = crate::record::RecordHeader {
            len: HEADER_BYTES as u32,
            crc: 0,
            seq: 0,
            ts_ns,
            kind: KIND_END,
            version: 1,
            flags: 0,
            durable_lag: u32::MAX,
        };
        let bytes = header.to_bytes();
        header.crc = crate::record::crc(header.len, segment.header.salt, bytes.get(8..).unwrap_or_default());
        let file = OpenOptions::new().write(true).open(path_of(dir, segment.segno))?;
        file.write_all_at(&header.to_bytes(), at as u64)?;
        file.sync_all()?;
    }
    sync_dir_of(&path_of(dir, segment.segno))?;
    Ok(next_segno)
}
