//! What a journal is, read only: for tools.

use std::path::{Path, PathBuf};

use crate::reader::{ReadError, Reader, Until};
use crate::segment::list;

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
    /// Highest number known to survive power loss.
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

/// Walks the whole journal, checking every record.
///
/// # Errors
/// `Damaged` at the first place that is no whole group.
pub fn stat(dir: &Path, hot_dir: Option<&Path>) -> Result<Stat, ReadError> {
    let io_error = |source| ReadError::Io { path: dir.to_owned(), source };
    let segments = list(dir, "jnl").map_err(io_error)?;
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
        synced_seq: crate::Watermarks::open(dir).map_or(0, |watermarks| watermarks.synced()),
        groups: 0,
        records: 0,
        payload_bytes: 0,
        first_ts_ns: 0,
        last_ts_ns: 0,
    };
    let mut reader = Reader::open(dir, hot_dir, 1, Until::Journaled).or_else(|error| match error {
        ReadError::Gone { .. } => first_reader(dir, hot_dir),
        other => Err(other),
    })?;
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

fn first_reader(dir: &Path, hot_dir: Option<&Path>) -> Result<Reader, ReadError> {
    // The first record that is left says where a shortened journal starts.
    Reader::open(dir, hot_dir, u64::MAX, Until::Journaled)
}
