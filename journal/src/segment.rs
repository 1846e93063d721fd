//! Segments: files of fixed length, allocated and zeroed before use, with a header that names them.

use std::io;
use std::path::{Path, PathBuf};

use crate::OpenError;
use crate::checksum::crc32c;
use crate::exchange::Exchange;
use crate::map::Map;
use crate::slots::Slots;
use crate::start::removed_path;
use crate::storage::{Disk, Storage, StorageFile, dir_of, numbered};

/// Length of the segment header, bytes.
pub const SEGMENT_HEADER_BYTES: usize = 4096;
/// First bytes of every segment.
pub const MAGIC: [u8; 8] = *b"TCJRNL\0\x01";
/// Version of the format that this release writes.
pub const FORMAT_VERSION: u16 = 1;

const PAGE: usize = 4096;
/// Zeros that are written at a time by who takes his time, bytes.
const PACE_BYTES: usize = 256 << 10;

/// What segments are filled with, on pages.
#[repr(C, align(4096))]
struct Zeros([u8; 1 << 20]);
static ZEROS: Zeros = Zeros([0; 1 << 20]);
const CRC_AT: usize = 56;
/// Extension of a file in the making.
pub(crate) const PARTIAL: &str = "partial";

/// The header's fields for the specification: offset, bytes, name, meaning.
pub const FIELDS: &[(usize, usize, &str, &str)] = &[
    (0, 8, "magic", "`TCJRNL`, 0, 1"),
    (8, 2, "format", "version of the format, 1"),
    (10, 2, "core", "core that writes"),
    (12, 4, "epoch", "epoch of the writer that made the segment"),
    (16, 8, "segno", "number of the segment, from 1; also its name"),
    (24, 8, "segment_bytes", "length of the file"),
    (32, 8, "salt", "part of every record's checksum; another for every segment"),
    (40, 8, "created_ns", "when it was made, ns UTC; 0 if unknown"),
    (48, 1, "environment", "environment of the core, a number of the application's"),
    (49, 7, "", "zero"),
    (CRC_AT, 4, "crc", "CRC-32C of the 56 bytes before"),
    (CRC_AT + 4, SEGMENT_HEADER_BYTES - CRC_AT - 4, "", "zero"),
];

/// The header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Format version.
    pub format: u16,
    /// Core that writes the journal.
    pub core: u16,
    /// Epoch of the writer that made the segment.
    pub epoch: u32,
    /// Number of the segment, from 1.
    pub segno: u64,
    /// Length of the file, bytes.
    pub segment_bytes: u64,
    /// Part of every record's checksum: bytes of another segment are no records here.
    pub salt: u64,
    /// When it was made, ns UTC; 0 if unknown.
    pub created_ns: u64,
    /// Environment of the core, a number of the application's.
    pub environment: u8,
}

/// Why a header was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadHeader {
    /// Not a segment, or damaged.
    Damaged,
    /// Made by a newer release.
    TooNew(u16),
}

impl SegmentHeader {
    /// The header's page.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut page = [0; SEGMENT_HEADER_BYTES];
        let mut at: usize = 0;
        let mut put = |bytes: &[u8]| {
            let end = at.saturating_add(bytes.len());
            if let Some(to) = page.get_mut(at..end) {
                to.copy_from_slice(bytes);
            }
            at = end;
        };
        put(&MAGIC);
        put(&self.format.to_le_bytes());
        put(&self.core.to_le_bytes());
        put(&self.epoch.to_le_bytes());
        put(&self.segno.to_le_bytes());
        put(&self.segment_bytes.to_le_bytes());
        put(&self.salt.to_le_bytes());
        put(&self.created_ns.to_le_bytes());
        put(&[self.environment, 0, 0, 0, 0, 0, 0, 0]);
        let crc = crc32c(page.get(..CRC_AT).unwrap_or_default(), &[]);
        if let Some(to) = page.get_mut(CRC_AT..CRC_AT + 4) {
            to.copy_from_slice(&crc.to_le_bytes());
        }
        page
    }

    /// Reads a header page.
    ///
    /// # Errors
    /// `TooNew` for a newer format with an intact header, `Damaged` for anything else.
    pub fn from_bytes(page: &[u8]) -> Result<Self, BadHeader> {
        let covered = page.get(..CRC_AT).ok_or(BadHeader::Damaged)?;
        let rest = page.get(CRC_AT + 4..SEGMENT_HEADER_BYTES).ok_or(BadHeader::Damaged)?;
        let u64_at = |at: usize| -> u64 {
            let bytes = page.get(at..).and_then(|bytes| bytes.first_chunk::<8>());
            bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
        };
        let stored = page.get(CRC_AT..).and_then(|bytes| bytes.first_chunk::<4>());
        let format = u64_at(8) as u16;
        if stored.map(|bytes| u32::from_le_bytes(*bytes)) != Some(crc32c(covered, &[]))
            || !covered.starts_with(&MAGIC)
            || rest.iter().any(|byte| *byte != 0)
        {
            return Err(BadHeader::Damaged);
        }
        if format > FORMAT_VERSION {
            return Err(BadHeader::TooNew(format));
        }
        Ok(Self {
            format,
            core: (u64_at(8) >> 16) as u16,
            epoch: (u64_at(8) >> 32) as u32,
            segno: u64_at(16),
            segment_bytes: u64_at(24),
            salt: u64_at(32),
            created_ns: u64_at(40),
            environment: u64_at(48) as u8,
        })
    }
}

/// Where segment `segno` lies on disk.
#[must_use]
pub fn path_of(dir: &Path, segno: u64) -> PathBuf {
    dir.join(format!("{segno:010}.jnl"))
}

/// Where the hot copy of segment `segno` lies in memory.
#[must_use]
pub fn hot_path_of(hot_dir: &Path, segno: u64) -> PathBuf {
    hot_dir.join(format!("{segno:010}.hot"))
}

/// Numbers of a journal's segments, rising; without those that were removed on purpose and whose files a power loss
/// has brought back.
///
/// # Errors
/// When the directory cannot be read.
pub fn list(dir: &Path) -> io::Result<Vec<u64>> {
    // In this order: a segment that is removed in between is at worst missed as a file.
    let mut segnos = numbered(&Disk, dir, "jnl")?;
    let removed_segno = Slots::peek(&Disk, &removed_path(dir))?.unwrap_or(0);
    segnos.retain(|segno| *segno > removed_segno);
    Ok(segnos)
}

/// How a segment is zeroed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace<'a> {
    /// At once: nobody trades yet.
    Fast,
    /// In small portions: the sync thread's syncs queue behind what is written here. When the writer runs short, the
    /// rest stays allocated and unwritten: it reads as zeros, and costs the syncs of this segment more.
    Gentle(&'a Exchange),
}

/// A segment that is ready to be written.
#[derive(Debug)]
pub struct Prepared {
    /// Its header.
    pub header: SegmentHeader,
    /// Where the writer stores.
    pub map: Map,
}

/// Makes a segment: allocated for real, zeroed, header written, synced, mapped and populated; only then does
/// it get its name, and its directory is synced. With `hot_dir` the map is of a copy in memory.
///
/// # Errors
/// `NoSpace` when there is no room; no room is kept then.
pub(crate) fn prepare<S: Storage>(
    storage: &S,
    dir: &Path,
    hot_dir: Option<&Path>,
    header: SegmentHeader,
    pace: Pace<'_>,
) -> Result<Prepared, OpenError> {
    let path = path_of(dir, header.segno);
    let hot_path = hot_dir.map(|hot_dir| hot_path_of(hot_dir, header.segno));
    let made = make(storage, &path, hot_path.as_deref(), &header, pace);
    if made.is_err() {
        for path in [Some(&path), hot_path.as_ref()].into_iter().flatten() {
            drop(storage.remove(&path.with_extension(PARTIAL)));
            drop(storage.remove(path));
        }
    }
    made
}

fn make<S: Storage>(
    storage: &S,
    path: &Path,
    hot_path: Option<&Path>,
    header: &SegmentHeader,
    pace: Pace<'_>,
) -> Result<Prepared, OpenError> {
    let len = header.segment_bytes as usize;
    let failed = |path| move |source| OpenError::making(path, header.segment_bytes, source);
    let partial = path.with_extension(PARTIAL);
    // Before anything is made in memory: a full disk has the last word on the length.
    let file = storage.create(&partial, header.segment_bytes).map_err(failed(path))?;
    let on_disk = || {
        // What is mapped from the disk itself should be in the cache.
        let mut is_direct = hot_path.is_some() && file.bypass_cache(true);
        let mut at = PAGE;
        while at < len {
            let portion = match pace {
                // Through the cache, a write of more than a page would make pages that the kernel later syncs as one.
                _ if !is_direct => PAGE,
                Pace::Fast => ZEROS.0.len(),
                Pace::Gentle(_) => PACE_BYTES,
            };
            let zeros = ZEROS.0.get(..portion.min(len.saturating_sub(at))).unwrap_or_default();
            match file.write_at(zeros, at as u64) {
                // A disk with other pages than memory.
                Err(error) if is_direct && error.kind() == io::ErrorKind::InvalidInput => {
                    is_direct = false;
                    file.bypass_cache(false);
                    continue;
                }
                written => written?,
            }
            at = at.saturating_add(zeros.len());
            if let Pace::Gentle(exchange) = pace {
                if exchange.is_closed() {
                    return Err(io::ErrorKind::Interrupted.into());
                }
                if exchange.is_writer_short() {
                    break;
                }
                if !is_direct && at.is_multiple_of(PACE_BYTES) {
                    file.sync()?;
                }
            }
        }
        if is_direct {
            file.bypass_cache(false);
        }
        file.write_at(&header.to_bytes(), 0)?;
        file.sync()
    };
    let in_memory = |hot_path: &Path| {
        // Named when its header stands, so that no reader finds half of it.
        let hot = storage.create(&hot_path.with_extension(PARTIAL), header.segment_bytes)?;
        hot.write_at(&header.to_bytes(), 0)?;
        let map = hot.map(len)?;
        map.populate()?;
        Ok(map)
    };
    let (zeroed, hot) = match (hot_path, pace) {
        (None, _) => (on_disk(), None),
        (Some(hot_path), Pace::Fast) => {
            let (zeroed, hot) = storage.both(on_disk, || in_memory(hot_path));
            (zeroed, Some((hot_path, hot)))
        }
        (Some(hot_path), Pace::Gentle(_)) => {
            let zeroed = on_disk();
            let hot = zeroed.is_ok().then(|| (hot_path, in_memory(hot_path)));
            (zeroed, hot)
        }
    };
    zeroed.map_err(failed(path))?;
    let map = match hot {
        Some((hot_path, map)) => {
            let map = map.map_err(failed(hot_path))?;
            storage.rename(&hot_path.with_extension(PARTIAL), hot_path).map_err(failed(hot_path))?;
            map
        }
        None => {
            let map = file.map(len).map_err(failed(path))?;
            map.populate().map_err(failed(path))?;
            map
        }
    };
    storage.rename(&partial, path).and_then(|()| storage.sync_dir(dir_of(path))).map_err(failed(path))?;
    Ok(Prepared { header: *header, map })
}

/// Takes a segment away that was never written: a later start makes its own. Best effort.
pub(crate) fn remove_unused<S: Storage>(storage: &S, dir: &Path, hot_dir: Option<&Path>, unused: &Prepared) {
    drop(storage.remove(&path_of(dir, unused.header.segno)));
    if let Some(hot_dir) = hot_dir {
        drop(storage.remove(&hot_path_of(hot_dir, unused.header.segno)));
    }
}
