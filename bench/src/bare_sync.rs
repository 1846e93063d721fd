//! How long it takes until an append survives power loss, against a bare `pwrite` and `fdatasync` on the same disk.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use tradecore_journal::record::{HEADER_BYTES, stored_bytes};
use tradecore_journal::{Space, Watermarks, Writer};

use crate::Failure;
use crate::timing::{RoundTrips, between};

/// A disk writes whole pages.
pub(crate) const PAGE_BYTES: usize = 4096;
/// Pages of the baseline's file; written before, so that a sync has no metadata to carry.
const PAGES: u64 = 4096;
const PAYLOAD_BYTES: usize = 128;
/// Longer than any disk that is worth a measurement.
const SYNC_DEADLINE: Duration = Duration::from_secs(10);

/// The baseline's file.
#[derive(Debug)]
pub(crate) struct PlainFile {
    file: File,
    bytes: Vec<u8>,
    at: u64,
}

impl PlainFile {
    /// One in `dir`, filled and synced, for writes of `len` bytes.
    pub(crate) fn create(dir: &Path, len: usize) -> Result<Self, Failure> {
        let file = File::options().create(true).truncate(true).write(true).open(dir.join("synced"))?;
        let page = vec![0; PAGE_BYTES];
        for index in 0..PAGES {
            file.write_all_at(&page, index.saturating_mul(PAGE_BYTES as u64))?;
        }
        file.sync_all()?;
        Ok(Self { file, bytes: vec![7; len], at: 0 })
    }

    /// One write, behind the last one as in a journal, and its sync.
    pub(crate) fn write_and_sync(&mut self, times: &mut RoundTrips) -> Result<(), Failure> {
        let before = Instant::now();
        self.file.write_all_at(&self.bytes, self.at)?;
        self.file.sync_data()?;
        times.saturating_record(between(before, Instant::now()));
        let len = self.bytes.len() as u64;
        self.at = self.at.saturating_add(len);
        if self.at.saturating_add(len) > PAGES.saturating_mul(PAGE_BYTES as u64) {
            self.at = 0;
        }
        Ok(())
    }
}

/// One group, from its append until the watermark has reached it.
pub(crate) fn append_and_wait(
    journal: &mut Writer,
    watermarks: &Watermarks,
    times: &mut RoundTrips,
) -> Result<(), Failure> {
    let stored = stored_bytes(HEADER_BYTES.saturating_add(PAYLOAD_BYTES));
    while !journal.can_append(stored, 1, Space::Normal) {
        std::thread::yield_now();
    }
    let before = Instant::now();
    journal.begin(1);
    let seq = journal.append(64, 1, PAYLOAD_BYTES, |out| out.fill(7));
    journal.commit();
    while watermarks.synced() < seq {
        std::hint::spin_loop();
        if before.elapsed() > SYNC_DEADLINE {
            return Err("the sync thread does not sync".into());
        }
    }
    times.saturating_record(between(before, Instant::now()));
    Ok(())
}
