//! What a start finds, and what it does about it.
//!
//! A crash of the process leaves every committed group. Power loss leaves any subset of what was not
//! synced. Damage can change anything. The durable watermark tells the last two apart: what it covers was
//! synced, so nothing but damage can have taken it; what lies above it was acknowledged to nobody.

mod table;

use std::io;
use std::path::{Path, PathBuf};

use crate::hot::{Marker, marker_path};
use crate::record::{HEADER_BYTES, KIND_END, RECORD_ALIGN, Slot, own_record};
use crate::scan::{Found, Group, Record, claim, found_at, slot_at};
use crate::segment::{BadHeader, SEGMENT_HEADER_BYTES, SegmentHeader, hot_path_of, path_of};
use crate::storage::{Storage, StorageFile, numbered};
use crate::{Config, Damage, OpenError};

pub use table::{Facts, Outcome, decide};

/// What is read first of a segment that another follows.
const READ_FIRST_BYTES: usize = 4096;

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

/// What the files beside the segments say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// The durable watermark as last written down; it may be behind, never ahead.
    pub(crate) durable_seq: u64,
    /// The last segment that was removed on purpose.
    pub(crate) removed_segno: u64,
    /// Set when a hot copy may be ahead of its segment.
    pub(crate) hot: Option<Marker>,
    /// Core and environment that start: of another's identities none may be taken for theirs.
    pub(crate) core: u16,
    pub(crate) environment: u8,
}

/// What recovery hands to the start.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) report: RecoveryReport,
    pub(crate) next_segno: u64,
    /// Highest epoch that made a segment.
    pub(crate) epoch_max: u64,
}

/// Walks, judges, and mends what may be mended. One segment is in memory at a time.
pub(crate) fn recover<S: Storage>(storage: &S, config: &Config, known: &Known) -> Result<Recovered, OpenError> {
    let dir = config.dir.as_path();
    let io_error = |source| OpenError::io(dir, source);
    let (gone, segnos): (Vec<u64>, Vec<u64>) =
        numbered(storage, dir, "jnl").map_err(io_error)?.into_iter().partition(|segno| *segno <= known.removed_segno);
    let files = Files { storage, config, dir, known, segnos: &segnos };
    if let Some(first) = segnos.first().filter(|first| **first > known.removed_segno.saturating_add(1)) {
        let missing = first.saturating_sub(1);
        return Err(files.damaged_segment(missing));
    }
    let (walk, unsynced) = files.walk()?;
    let behind = files.behind(&walk)?;
    let durable_seq = known.durable_seq.max(walk.claimed).max(behind.claimed);
    let outcome = decide(Facts {
        has_groups: walk.records > 0,
        has_bytes_behind: behind.has_bytes,
        is_below_durable: walk.last_seq < durable_seq,
    });
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
    if outcome == Outcome::Damaged {
        let segno = segnos.get(walk.end.0).copied().unwrap_or(1);
        if walk.has_end_record && walk.end.0.saturating_add(1) < segnos.len() {
            // It leads to one that is not there, and there are later ones.
            return Err(files.damaged_segment(segno.saturating_add(1)));
        }
        return Err(OpenError::Damaged(Damage::Events {
            segment: path_of(dir, segno),
            offset: walk.end.1 as u64,
            first_lost_seq: walk.last_seq.saturating_add(1),
            durable_seq,
        }));
    }
    // After this point nothing is refused any more; every step may be repeated by a later start.
    for segno in gone {
        // Removed on purpose, and brought back by a power loss.
        storage.remove(&path_of(dir, segno)).map_err(io_error)?;
    }
    for part in unsynced.iter().filter(|part| !part.bytes.is_empty()) {
        // Also what the file seems to hold: after a failed sync the page cache does, and takes it for written.
        files.write(part.segno, &part.bytes, part.at)?;
    }
    if outcome == Outcome::Torn {
        (report.cut_bytes, report.kept_at) = files.cut(&walk)?;
    }
    let next_segno = files.end_last(&walk)?;
    Ok(Recovered { report, next_segno, epoch_max: walk.epoch_max.max(behind.epoch_max) })
}

struct Segment {
    header: SegmentHeader,
    /// Its start, or all of it.
    bytes: Vec<u8>,
    /// True when `bytes` are the hot copy's.
    is_hot: bool,
}

impl Segment {
    const fn is_whole(&self) -> bool {
        self.bytes.len() as u64 == self.header.segment_bytes
    }
}

/// What a walk over all segments found.
#[derive(Clone, Copy, Debug)]
struct Walk {
    last_seq: u64,
    last_ts_ns: u64,
    records: u64,
    claimed: u64,
    is_sealed: bool,
    epoch_max: u64,
    /// Index of the segment, and offset, of the first place without a valid next group.
    end: (usize, usize),
    /// True when an end record stands there, and the segment that it leads to does not.
    has_end_record: bool,
    /// Index of the segment, and offset, behind the last group that is known to be on the disk.
    durable_end: (usize, usize),
}

/// What was found valid in a segment, and is not known to be on the disk.
#[derive(Debug)]
struct Unsynced {
    segno: u64,
    at: usize,
    bytes: Vec<u8>,
}

struct Behind {
    has_bytes: bool,
    claimed: u64,
    epoch_max: u64,
}

struct Files<'a, S> {
    storage: &'a S,
    config: &'a Config,
    dir: &'a Path,
    known: &'a Known,
    segnos: &'a [u64],
}

impl<S: Storage> Files<'_, S> {
    fn damaged_segment(&self, segno: u64) -> OpenError {
        OpenError::Damaged(Damage::Segment { segment: path_of(self.dir, segno) })
    }

    fn read(&self, segno: u64) -> Result<Segment, OpenError> {
        self.read_start(segno, usize::MAX)
    }

    /// The first `longest` bytes of a segment; all of it if there is a hot copy.
    fn read_start(&self, segno: u64, longest: usize) -> Result<Segment, OpenError> {
        let path = path_of(self.dir, segno);
        let io_error = |source| OpenError::io(&path, source);
        let file = self.storage.open(&path).map_err(io_error)?;
        let bytes = file.read_start(longest).map_err(io_error)?;
        let file_bytes = file.len().map_err(io_error)?;
        (self.config.on_progress)();
        let header = match SegmentHeader::from_bytes(&bytes) {
            Ok(header) if header.segno == segno && header.segment_bytes == file_bytes => header,
            Ok(header) if header.segno == segno => {
                let header_bytes = header.segment_bytes;
                return Err(OpenError::Damaged(Damage::Length { segment: path, header_bytes, file_bytes }));
            }
            Ok(_) | Err(BadHeader::Damaged) => return Err(self.damaged_segment(segno)),
            Err(BadHeader::TooNew(format)) => return Err(OpenError::FormatTooNew { path, format }),
        };
        let (core, environment) = (header.core, header.environment);
        if (core, environment) != (self.known.core, self.known.environment) {
            return Err(OpenError::OtherCore { dir: self.dir.to_owned(), core, environment });
        }
        Ok(match self.read_hot(segno, &header)? {
            Some(bytes) => Segment { header, bytes, is_hot: true },
            None => Segment { header, bytes, is_hot: false },
        })
    }

    /// The hot copy of a segment: the same bytes, and those that were not drained yet.
    fn read_hot(&self, segno: u64, header: &SegmentHeader) -> Result<Option<Vec<u8>>, OpenError> {
        let Some(hot) = self.known.hot.as_ref().filter(|hot| segno >= hot.first_segno) else {
            return Ok(None);
        };
        let path = hot_path_of(&hot.dir, segno);
        let file = match self.storage.open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(OpenError::io(&path, error)),
        };
        let bytes = file.read_all().map_err(|source| OpenError::io(&path, source))?;
        let is_same = SegmentHeader::from_bytes(&bytes) == Ok(*header) && bytes.len() as u64 == header.segment_bytes;
        Ok(is_same.then_some(bytes))
    }

    fn walk(&self) -> Result<(Walk, Vec<Unsynced>), OpenError> {
        let mut unsynced = Vec::new();
        let mut walk = Walk {
            last_seq: 0,
            last_ts_ns: 0,
            records: 0,
            claimed: 0,
            is_sealed: false,
            epoch_max: 0,
            end: (0, SEGMENT_HEADER_BYTES),
            has_end_record: false,
            durable_end: (0, SEGMENT_HEADER_BYTES),
        };
        for (index, segno) in self.segnos.iter().enumerate() {
            let (segment, found) = self.walk_over(index, *segno, &mut walk)?;
            walk.epoch_max = walk.epoch_max.max(u64::from(segment.header.epoch));
            walk.has_end_record = found == Found::End;
            let (durable_index, durable_at) = walk.durable_end;
            if durable_index == index {
                unsynced.clear();
            }
            let at = if durable_index == index { durable_at } else { SEGMENT_HEADER_BYTES };
            let bytes = segment.bytes.get(at..Self::behind_from(&walk, index)).unwrap_or_default().to_vec();
            unsynced.push(Unsynced { segno: *segno, at, bytes });
            if found == Found::End {
                if self.is_followed(index) {
                    continue;
                }
            } else if let Some(hot) = self.known.hot.as_ref().filter(|hot| *segno >= hot.first_segno)
                && !segment.is_hot
            {
                // Not ended, so not wholly drained: what was journaled in it is only in the copy that is gone.
                let path = hot_path_of(&hot.dir, *segno);
                return Err(OpenError::MissingHotSegment { path, marker: marker_path(self.dir) });
            }
            break;
        }
        Ok((walk, unsynced))
    }

    fn is_followed(&self, index: usize) -> bool {
        let next = self.segnos.get(index).map(|segno| segno.saturating_add(1));
        next.is_some() && self.segnos.get(index.saturating_add(1)).copied() == next
    }

    /// Walks over one segment. Of one that another follows no more is read than leads to its end: each start leaves a
    /// segment behind that is hardly used, and a thousand of them must not make the next start slow.
    fn walk_over(&self, index: usize, segno: u64, walk: &mut Walk) -> Result<(Segment, Found), OpenError> {
        let mut longest = if self.is_followed(index) { READ_FIRST_BYTES } else { usize::MAX };
        loop {
            let segment = self.read_start(segno, longest)?;
            let mut walked = *walk;
            let found = self.walk_segment(index, &segment, &mut walked)?;
            if found == Found::End || segment.is_whole() {
                *walk = walked;
                return Ok((segment, found));
            }
            longest = longest.saturating_mul(8);
        }
    }

    /// Walks over one segment, to what ends it.
    fn walk_segment(&self, index: usize, segment: &Segment, walk: &mut Walk) -> Result<Found, OpenError> {
        let (bytes, salt) = (segment.bytes.as_slice(), segment.header.salt);
        walk.has_end_record = false;
        let mut at = SEGMENT_HEADER_BYTES;
        loop {
            walk.end = (index, at);
            if walk.records == 0
                && self.known.removed_segno > 0
                && let Slot::Record(first, _) = slot_at(bytes, at, salt)
            {
                // Older segments were removed: the first record says where the journal starts.
                walk.last_seq = first.seq.saturating_sub(1);
            }
            match found_at(bytes, salt, at, walk.last_seq.saturating_add(1)) {
                Found::Group { end, last_seq, records, durable_seq, last_ts_ns } => {
                    let group = Group {
                        bytes: bytes.get(at..end).unwrap_or_default(),
                        start: at,
                        segment: segment.header.segno,
                        epoch: segment.header.epoch,
                    };
                    self.check_known(&group)?;
                    at = end;
                    if last_seq <= self.known.durable_seq {
                        walk.durable_end = (index, end);
                    }
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
                found @ (Found::End | Found::Free | Found::Bad) => return Ok(found),
            }
        }
    }

    /// Refuses what a newer release wrote while nothing has been changed yet.
    fn check_known(&self, group: &Group<'_>) -> Result<(), OpenError> {
        match group.records().find(|record| !(self.config.is_known)(record.kind, record.version)) {
            None => Ok(()),
            Some(Record { seq, kind, version, .. }) => {
                Err(OpenError::EventTooNew { segment: path_of(self.dir, group.segment), seq, kind, version })
            }
        }
    }

    /// Offset of the first byte in segment `index` that belongs to nothing valid.
    fn behind_from(walk: &Walk, index: usize) -> usize {
        match (index == walk.end.0, walk.has_end_record) {
            (true, true) => walk.end.1.saturating_add(HEADER_BYTES),
            (true, false) => walk.end.1,
            (false, _) => SEGMENT_HEADER_BYTES,
        }
    }

    /// What lies behind the walk's end: any bytes, and the highest watermark that a valid record there claims.
    fn behind(&self, walk: &Walk) -> Result<Behind, OpenError> {
        let mut behind = Behind { has_bytes: false, claimed: 0, epoch_max: 0 };
        for (index, segno) in self.segnos.iter().enumerate().skip(walk.end.0) {
            let segment = self.read(*segno)?;
            behind.epoch_max = behind.epoch_max.max(u64::from(segment.header.epoch));
            let start = Self::behind_from(walk, index);
            if used_bytes(segment.bytes.get(start..).unwrap_or_default()) == 0 {
                continue;
            }
            behind.has_bytes = true;
            for place in (start..segment.bytes.len()).step_by(RECORD_ALIGN) {
                if let Slot::Record(header, _) = slot_at(segment.bytes.as_slice(), place, segment.header.salt) {
                    behind.claimed = behind.claimed.max(claim(&header));
                }
            }
        }
        Ok(behind)
    }

    fn write(&self, segno: u64, bytes: &[u8], at: usize) -> Result<(), OpenError> {
        let path = path_of(self.dir, segno);
        let write = || {
            let file = self.storage.open(&path)?;
            file.write_at(bytes, at as u64)?;
            file.sync()
        };
        write().map_err(|source| OpenError::io(&path, source))
    }

    /// Keeps aside what lies behind the walk's end, then zeroes it.
    fn cut(&self, walk: &Walk) -> Result<(u64, Option<PathBuf>), OpenError> {
        let quarantine = self.dir.join("quarantine");
        let io_error = |source| OpenError::io(&quarantine, source);
        self.storage.create_dir(&quarantine).map_err(io_error)?;
        self.storage.sync_dir(self.dir).map_err(io_error)?;
        let mut kept_at = None;
        let mut cut_bytes: u64 = 0;
        for (index, segno) in self.segnos.iter().enumerate().skip(walk.end.0) {
            let segment = self.read(*segno)?;
            let start = Self::behind_from(walk, index);
            let bytes = segment.bytes.get(start..).unwrap_or_default();
            let used = used_bytes(bytes);
            if used == 0 {
                continue;
            }
            // The disk may be full: room behind it is given back before the copy needs some.
            self.free_behind(*segno, start.saturating_add(used))?;
            let name = self.unused_name(&quarantine, *segno, start).map_err(io_error)?;
            let keep = || {
                let kept = self.storage.create(&name, used as u64)?;
                kept.write_at(bytes.get(..used).unwrap_or_default(), 0)?;
                kept.sync()?;
                self.storage.sync_dir(&quarantine)
            };
            keep().map_err(|source| OpenError::io(&name, source))?;
            self.write(*segno, &vec![0; used], start)?;
            cut_bytes = cut_bytes.saturating_add(used as u64);
            kept_at.get_or_insert(name);
        }
        Ok((cut_bytes, kept_at))
    }

    /// Gives back the room of a segment's end, from the page behind `at`.
    fn free_behind(&self, segno: u64, at: usize) -> Result<(), OpenError> {
        let path = path_of(self.dir, segno);
        let file = self.storage.open(&path).map_err(|source| OpenError::io(&path, source))?;
        file.free_from(at.next_multiple_of(SEGMENT_HEADER_BYTES) as u64);
        Ok(())
    }

    fn unused_name(&self, quarantine: &Path, segno: u64, at: usize) -> io::Result<PathBuf> {
        let names = self.storage.list(quarantine)?;
        let mut turn: u32 = 0;
        loop {
            let name = format!("{segno:010}-{at}-{turn}.cut");
            if !names.contains(&name) {
                return Ok(quarantine.join(name));
            }
            turn = turn.saturating_add(1);
        }
    }

    /// Leads readers from the last segment to the one that comes next, whose number it returns; removes
    /// those behind it, which hold nothing.
    fn end_last(&self, walk: &Walk) -> Result<u64, OpenError> {
        let io_error = |source| OpenError::io(self.dir, source);
        let (index, at) = walk.end;
        let Some(segno) = self.segnos.get(index).copied() else {
            return Ok(self.known.removed_segno.saturating_add(1));
        };
        // The last first: a crash in between must leave no gap.
        for unused in self.segnos.iter().skip(index.saturating_add(1)).rev() {
            // Both, before a tailer is led on: the next start gives their numbers again.
            if let Some(hot) = &self.known.hot {
                match self.storage.remove(&hot_path_of(&hot.dir, *unused)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error(error)),
                    _ => {}
                }
            }
            self.storage.remove(&path_of(self.dir, *unused)).map_err(io_error)?;
        }
        self.storage.sync_dir(self.dir).map_err(io_error)?;
        if !walk.has_end_record {
            // A reader that tails the hot copy must be led on as well.
            let hot_path = self.known.hot.as_ref().map(|hot| hot_path_of(&hot.dir, segno));
            for path in hot_path.into_iter().chain([path_of(self.dir, segno)]) {
                match self.storage.open(&path) {
                    Ok(file) => self.write_end(&file, walk, at).map_err(|source| OpenError::io(&path, source))?,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(OpenError::io(&path, error)),
                }
            }
        }
        // The segment that this start makes may need it; until now it kept room for that.
        self.free_behind(segno, at.saturating_add(HEADER_BYTES))?;
        Ok(segno.saturating_add(1))
    }

    fn write_end(&self, file: &S::File, walk: &Walk, at: usize) -> io::Result<()> {
        let mut page = vec![0; SEGMENT_HEADER_BYTES];
        file.read_at(&mut page, 0)?;
        let Ok(header) = SegmentHeader::from_bytes(&page) else {
            return Ok(());
        };
        let end = own_record(KIND_END, header.salt, walk.last_ts_ns, u32::MAX);
        // The length word last, as the writer does it: a reader may be looking.
        let (len, rest) = end.split_at(4);
        file.write_at(rest, at.saturating_add(4) as u64)?;
        file.write_at(len, at as u64)?;
        file.sync()
    }
}

/// Length up to the last byte that is not zero.
fn used_bytes(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last.saturating_add(1))
}
