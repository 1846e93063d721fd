//! A journal that does not fill the disk: the lab registers as a reader of it, passes what is durable, and removes what
//! nobody needs any more, as any program beside a running gateway may.

use std::path::Path;

use tradecore_journal::Retention;

use crate::Failure;

/// The lab as a reader.
const READER: &str = "bench";

/// A reader of a running gateway's journal that needs nothing of it.
#[derive(Debug)]
pub(crate) struct Recycler<'a> {
    dir: &'a Path,
    retention: Retention,
    removed: u64,
    segment_bytes: u64,
}

impl<'a> Recycler<'a> {
    /// Registers it.
    pub(crate) fn register(dir: &'a Path) -> Result<Self, Failure> {
        let mut retention = Retention::open(dir)?;
        retention.register(READER)?;
        Ok(Self { dir, retention, removed: 0, segment_bytes: 0 })
    }

    /// Removes every segment of which all is durable.
    pub(crate) fn recycle(&mut self) -> Result<(), Failure> {
        let stat = tradecore_journal::stat(self.dir)?;
        self.segment_bytes = self.segment_bytes.max(stat.segment_bytes.checked_div(stat.segments).unwrap_or(0));
        self.retention.advance(READER, stat.synced_seq.min(stat.last_seq))?;
        self.removed = self.removed.saturating_add(self.retention.remove()?.len() as u64);
        Ok(())
    }

    /// Length of a segment, bytes: the mean of those that were there, where it was highest.
    pub(crate) const fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    /// Segments that were removed so far.
    pub(crate) const fn removed(&self) -> u64 {
        self.removed
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use tradecore_journal::{Config, Space};

    use super::*;

    #[test]
    fn a_journal_that_is_recycled_while_it_is_written_keeps_what_is_not_durable_and_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config {
            first_segment_bytes: 256 << 10,
            max_segment_bytes: 256 << 10,
            reserve_bytes: 16 << 10,
            ..Config::new(dir.path())
        };
        let (mut journal, _, watermarks, closer) = tradecore_journal::open(&config).unwrap().into_parts();
        let mut recycler = Recycler::register(dir.path()).unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut seq = 0;
        while recycler.removed() < 3 {
            assert!(Instant::now() < deadline, "{} segments are removed", recycler.removed());
            for _ in 0..1000 {
                while !journal.can_append(4096, 8, Space::Normal) {
                    std::thread::yield_now();
                }
                journal.begin(1);
                seq = journal.append(64, 1, 128, |out| out.fill(7));
                journal.commit();
            }
            recycler.recycle().unwrap();
        }
        let synced = watermarks.synced();
        let stat = tradecore_journal::stat(dir.path()).unwrap();
        assert!(stat.first_seq > 1 && stat.first_seq <= synced.saturating_add(1) && stat.last_seq == seq, "{stat:?}");
        closer.seal(journal);
    }
}
