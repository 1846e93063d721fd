//! Segments: files of fixed length, allocated and zeroed before use, with a header that names them.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::map::Map;

/// Length of the segment header, bytes.
pub const SEGMENT_HEADER_BYTES: usize = 4096;
/// First bytes of every segment.
pub const MAGIC: [u8; 8] = *b"TCJRNL\0\x01";
/// Version of the format that this release writes.
pub const FORMAT_VERSION: u16 = 1;

const PAGE: usize = 4096;
const CRC_AT: usize = 56;

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
        put(&[0; 8]);
        let crc = crc32c::crc32c(page.get(..CRC_AT).unwrap_or_default());
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
        if stored.map(|bytes| u32::from_le_bytes(*bytes)) != Some(crc32c::crc32c(covered))
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

/// Numbers of the segments in a directory, rising.
///
/// # Errors
/// When the directory cannot be read.
pub fn list(dir: &Path, extension: &str) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        if let (Some(number), Some(true)) = (number, path.extension().map(|found| found == extension)) {
            found.push(number);
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// A segment that is ready to be written.
#[derive(Debug)]
pub struct Prepared {
    /// Its header.
    pub header: SegmentHeader,
    /// Where the writer stores.
    pub map: Map,
    /// What is synced.
    pub file: File,
    /// True when `map` is a hot copy that must be drained to `file`.
    pub is_hot: bool,
}

/// Makes a segment: allocated for real, zeroed, header written, synced, its directory synced, mapped and
/// populated. With `hot_dir` the map is of a copy in memory.
///
/// # Errors
/// `StorageFull` when there is no room; nothing is left behind then.
pub fn prepare(dir: &Path, hot_dir: Option<&Path>, header: SegmentHeader) -> io::Result<Prepared> {
    let path = path_of(dir, header.segno);
    let hot_path = hot_dir.map(|hot_dir| hot_path_of(hot_dir, header.segno));
    let made = make(&path, hot_path.as_deref(), &header);
    if made.is_err() {
        drop(std::fs::remove_file(&path));
        if let Some(hot_path) = hot_path {
            drop(std::fs::remove_file(hot_path));
        }
    }
    made
}

fn make(path: &Path, hot_path: Option<&Path>, header: &SegmentHeader) -> io::Result<Prepared> {
    let len = header.segment_bytes as usize;
    let partial = path.with_extension("prep");
    let file = create(&partial, header.segment_bytes)?;
    // Page by page: a larger write would make pages that the kernel later syncs as one.
    let zeros = [0; PAGE];
    let mut at = PAGE;
    while at < len {
        file.write_all_at(&zeros, at as u64)?;
        at = at.saturating_add(PAGE);
    }
    file.write_all_at(&header.to_bytes(), 0)?;
    file.sync_all()?;
    let map = match hot_path {
        None => Map::open(&file, len)?,
        Some(hot_path) => {
            let hot = create(hot_path, header.segment_bytes)?;
            hot.write_all_at(&header.to_bytes(), 0)?;
            Map::open(&hot, len)?
        }
    };
    map.populate()?;
    // Only now may a start find it.
    std::fs::rename(&partial, path)?;
    sync_dir_of(path)?;
    Ok(Prepared { header: *header, map, file, is_hot: hot_path.is_some() })
}

fn create(path: &Path, len: u64) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, len)?;
    Ok(file)
}

/// Syncs the directory that holds `path`, so that its entry survives.
///
/// # Errors
/// As `fsync(2)`.
pub fn sync_dir_of(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}
