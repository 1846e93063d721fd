//! What a roll-over of the journal costs the orders that meet it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use tradecore_journal::record::{HEADER_BYTES, RecordHeader};
use tradecore_journal::segment::SEGMENT_HEADER_BYTES;

use crate::Failure;
use crate::longest::Longest;

/// From the time that the first record of a segment has, which the loop read at the start of its turn, until the turn is
/// over even if the roll-over is slow to begin.
const ROLL_OVER_NS: u64 = 200_000;

/// A stretch of time and the longest answers in it, ns since 1970.
#[derive(Clone, Debug)]
pub(crate) struct Stretch {
    from_ns: u64,
    to_ns: u64,
    /// When each was due, and how long it took.
    longest: Vec<(u64, u64)>,
    /// No other answer took longer.
    others_ns: u64,
}

impl Stretch {
    /// The stretch that ends now.
    pub(crate) fn ending_now(elapsed: Duration, longest: &Longest) -> Self {
        let (now, to_ns) = (Instant::now(), tradecore::clock::utc_ns());
        let before = |length: Duration| to_ns.saturating_sub(u64::try_from(length.as_nanos()).unwrap_or(u64::MAX));
        Self {
            from_ns: before(elapsed),
            to_ns,
            longest: longest.iter().map(|(start, ns)| (before(now.saturating_duration_since(start)), ns)).collect(),
            others_ns: longest.shortest_ns(),
        }
    }

    /// The longest answer that a roll-over at this time can have delayed; `None` when it was not in this stretch.
    fn longest_at(&self, at_ns: u64) -> Option<u64> {
        if !(self.from_ns..self.to_ns).contains(&at_ns) {
            return None;
        }
        let met =
            |due_ns: u64, ns: u64| due_ns <= at_ns.saturating_add(ROLL_OVER_NS) && due_ns.saturating_add(ns) >= at_ns;
        let known = self.longest.iter().filter(|(due_ns, ns)| met(*due_ns, *ns)).map(|(_, ns)| *ns).max();
        Some(known.unwrap_or(self.others_ns))
    }
}

/// The longest answer at each roll-over that fell into a stretch, ns.
pub(crate) fn stalls(roll_overs_ns: &[u64], stretches: &[Stretch]) -> Vec<u64> {
    roll_overs_ns.iter().filter_map(|at| stretches.iter().find_map(|stretch| stretch.longest_at(*at))).collect()
}

/// When the writer came to each segment of a journal but the first, ns since 1970; only what is drained to `dir` is seen.
pub(crate) fn times(dir: &Path) -> Result<Vec<u64>, Failure> {
    let mut times = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let segno = path.file_stem().and_then(|name| name.to_str()).and_then(|name| name.parse::<u64>().ok());
        if path.extension().is_none_or(|extension| extension != "jnl") || segno.is_none_or(|segno| segno < 2) {
            continue;
        }
        let mut bytes = [0; HEADER_BYTES];
        File::open(&path)?.read_exact_at(&mut bytes, SEGMENT_HEADER_BYTES as u64)?;
        // One that nobody has written to yet has no record.
        times.extend(RecordHeader::from_bytes(&bytes).map(|header| header.ts_ns).filter(|ts_ns| *ts_ns > 0));
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use tradecore_journal::{Config, Space};

    use super::*;

    #[test]
    fn a_roll_over_is_blamed_for_the_longest_answer_that_it_met_and_for_no_other() {
        let ms = 1_000_000;
        let longest = vec![(100 * ms, 3 * ms), (102 * ms, ms), (150 * ms, 9 * ms)];
        let stretches = [Stretch { from_ns: 90 * ms, to_ns: 200 * ms, longest, others_ns: 7 }];
        let stalls = |at_ms: u64| stalls(&[at_ms * ms], &stretches);
        assert_eq!(stalls(102), [3 * ms], "under way when it began");
        assert_eq!(stalls(120), [7], "not among the longest");
        assert_eq!(stalls(80), Vec::<u64>::new(), "measured by nobody");
    }

    #[test]
    fn the_time_of_a_roll_over_is_that_of_the_first_record_behind_it() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config {
            first_segment_bytes: 128 << 10,
            max_segment_bytes: 128 << 10,
            reserve_bytes: 16 << 10,
            ..Config::new(dir.path())
        };
        let (mut journal, _, watermarks, closer) = tradecore_journal::open(&config).unwrap().into_parts();
        let mut seq = 0;
        for ts_ns in 1..=1000 {
            while !journal.can_append(4096, 8, Space::Normal) {
                std::thread::yield_now();
            }
            journal.begin(ts_ns);
            seq = journal.append(64, 1, 128, |out| out.fill(7));
            journal.commit();
        }
        while watermarks.synced() < seq {
            std::thread::yield_now();
        }
        let times = times(dir.path()).unwrap();
        closer.seal(journal);
        assert_eq!(times.len(), 1, "160 KiB in segments of 128 KiB: {times:?}");
        assert!((700..=800).contains(&times[0]), "{times:?}");
    }
}
