//! Segments: files of fixed length, allocated and zeroed before use, with a header that names them.

use std::io;
use std::path::{Path, PathBuf};

use crate::OpenError;
use crate::exchange::Exchange;
use crate::map::Map;
use crate::record::crc32c;
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
/// Zeros written before they are synced, bytes.
const PACE_BYTES: usize = 256 << 10;
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
    let on_disk = || {
        let file = storage.create(&partial, header.segment_bytes)?;
        // Page by page: a larger write would make pages that the kernel later syncs as one.
        let zeros = [0; PAGE];
        let mut at = PAGE;
        while at < len {
            file.write_at(&zeros, at as u64)?;
            at = at.saturating_add(PAGE);
            if let Pace::Gentle(exchange) = pace {
                if exchange.is_closed() {
                    return Err(io::ErrorKind::Interrupted.into());
                }
                if exchange.is_writer_short() {
                    break;
                }
                if at.is_multiple_of(PACE_BYTES) {
                    file.sync()?;
                }
            }
        }
        file.write_at(&header.to_bytes(), 0)?;
        file.sync()?;
        Ok(file)
    };
    let in_memory = |hot_path: &Path| {
        // Named when its header stands, so that no reader finds half of it.
        let hot_partial = hot_path.with_extension(PARTIAL);
        let hot = storage.create(&hot_partial, header.segment_bytes)?;
        hot.write_at(&header.to_bytes(), 0)?;
        let map = hot.map(len)?;
        storage.rename(&hot_partial, hot_path)?;
        Ok(map)
    };
    let file = on_disk().map_err(failed(path))?;
    let map = match hot_path {
        None => file.map(len).map_err(failed(path))?,
        Some(hot_path) => in_memory(hot_path).map_err(failed(hot_path))?,
    };
    map.populate().map_err(failed(hot_path.unwrap_or(path)))?;
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
