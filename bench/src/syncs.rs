//! When a running gateway's journal has been synced, seen from outside: its file `durable` has a new number then.
//!
//! The generator itself looks, between its orders and ten thousand times a second, and beside the echo as often: a thread of
//! its own would take the CPU from what is measured. So a sync is dated to a tenth of a millisecond. When it began nobody
//! outside can know; all that was under way since the one before is put down to it.

use std::path::Path;
use std::time::{Duration, Instant};

use tradecore_journal::{Reader, Until};

use crate::Failure;
use crate::pace::{Sample, Sent, Target};

/// From one look to the next.
const LOOK_INTERVAL: Duration = Duration::from_micros(100);

/// What ends a span.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cut {
    /// A sync of the gateway.
    AtSyncs,
    /// A length of time.
    Every(Duration),
}

/// A journal whose syncs are looked for.
#[derive(Debug)]
pub(crate) struct Syncs {
    reader: Reader,
    seen_seq: u64,
    looked_at: Instant,
}

impl Syncs {
    /// Of the gateway that writes to this directory.
    pub(crate) fn of(journal_dir: &Path) -> Result<Self, Failure> {
        let reader = Reader::open_oldest(journal_dir, Until::Synced)?;
        Ok(Self { reader, seen_seq: 0, looked_at: Instant::now() })
    }

    /// True when there was a sync since the last look, of something new; looks only when it is time to.
    fn has_synced(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.looked_at) < LOOK_INTERVAL {
            return false;
        }
        self.looked_at = now;
        let seq = self.reader.latest_synced_seq();
        std::mem::replace(&mut self.seen_seq, seq) != seq
    }
}

/// A target whose answers are cut into spans.
pub(crate) struct Watched<'a> {
    target: &'a mut dyn Target,
    syncs: &'a mut Syncs,
    cut: Cut,
    ended_at: Instant,
}

impl<'a> Watched<'a> {
    /// What was synced before counts for none of its spans.
    pub(crate) fn new(target: &'a mut dyn Target, syncs: &'a mut Syncs, cut: Cut) -> Self {
        syncs.seen_seq = syncs.reader.latest_synced_seq();
        Self { target, syncs, cut, ended_at: Instant::now() }
    }
}

impl Target for Watched<'_> {
    fn prepare(&mut self) -> Result<(), Failure> {
        self.target.prepare()
    }

    fn can_send(&self) -> bool {
        self.target.can_send()
    }

    fn send(&mut self, sent: Sent) -> Result<(), Failure> {
        self.target.send(sent)
    }

    fn poll(&mut self, sample: &mut Sample) -> Result<(), Failure> {
        self.target.poll(sample)?;
        let now = Instant::now();
        let has_synced = self.syncs.has_synced(now);
        let is_over = match self.cut {
            Cut::AtSyncs => has_synced,
            Cut::Every(length) => now.saturating_duration_since(self.ended_at) >= length,
        };
        if is_over {
            self.ended_at = now;
            sample.spans.end(now);
        }
        Ok(())
    }

    fn is_waiting(&self) -> bool {
        self.target.is_waiting()
    }

    fn is_settled(&self) -> bool {
        self.target.is_settled()
    }

    fn sample(&self) -> Sample {
        self.target.sample()
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use tradecore_journal::{Config, Space, Watermarks, Writer};

    use super::*;

    /// A record, when it is durable and can be seen to be.
    fn append_and_sync(journal: &mut Writer, watermarks: &Watermarks, syncs: &mut Syncs) {
        assert!(journal.can_append(4096, 8, Space::Normal));
        journal.begin(1);
        let seq = journal.append(64, 1, 128, |out| out.fill(7));
        journal.commit();
        let deadline = Instant::now() + Duration::from_secs(60);
        while watermarks.synced() < seq || syncs.reader.latest_synced_seq() < seq {
            assert!(Instant::now() < deadline, "the record is not durable");
            std::thread::yield_now();
        }
    }

    /// Has an answer at every look.
    struct Answers;

    impl Target for Answers {
        fn prepare(&mut self) -> Result<(), Failure> {
            Ok(())
        }

        fn send(&mut self, _: Sent) -> Result<(), Failure> {
            Ok(())
        }

        fn poll(&mut self, sample: &mut Sample) -> Result<(), Failure> {
            let now = Instant::now();
            sample.answered(Sent { planned: now, at: now }, now + Duration::from_millis(1));
            Ok(())
        }

        fn is_waiting(&self) -> bool {
            false
        }
    }

    #[test]
    fn a_span_of_what_is_watched_ends_at_a_sync_or_after_a_length_and_has_the_answers_until_then() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, _, watermarks, closer) =
            tradecore_journal::open(&Config::new(dir.path())).unwrap().into_parts();
        let mut syncs = Syncs::of(dir.path()).unwrap();
        append_and_sync(&mut journal, &watermarks, &mut syncs);
        let (mut answers, mut sample) = (Answers, Sample::new());
        let mut watched = Watched::new(&mut answers, &mut syncs, Cut::AtSyncs);
        let mut poll = |watched: &mut Watched<'_>| {
            // It is time to look.
            watched.syncs.looked_at -= LOOK_INTERVAL;
            watched.poll(&mut sample).unwrap();
            (sample.spans.count(), sample.spans.count_above(0))
        };
        assert_eq!(poll(&mut watched), (0, 0), "what was synced before ends none");
        append_and_sync(&mut journal, &watermarks, watched.syncs);
        assert_eq!(poll(&mut watched), (1, 1));
        assert_eq!(poll(&mut watched), (1, 1), "nothing new is synced");
        let minute = Duration::from_secs(60);
        watched.cut = Cut::Every(minute);
        append_and_sync(&mut journal, &watermarks, watched.syncs);
        assert_eq!(poll(&mut watched), (1, 1), "a sync ends none where a length does");
        watched.ended_at -= minute;
        assert_eq!(poll(&mut watched), (2, 2));
        assert_eq!(poll(&mut watched), (2, 2), "the next has just begun");
        closer.seal(journal);
    }

    #[test]
    fn a_sync_is_seen_once_and_none_where_nothing_is_new() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, _, watermarks, closer) =
            tradecore_journal::open(&Config::new(dir.path())).unwrap().into_parts();
        let mut syncs = Syncs::of(dir.path()).unwrap();
        syncs.seen_seq = syncs.reader.latest_synced_seq();
        let later = |nth: u32| Instant::now() + LOOK_INTERVAL * nth;
        assert!(!syncs.has_synced(later(1)));
        append_and_sync(&mut journal, &watermarks, &mut syncs);
        assert!(!syncs.has_synced(syncs.looked_at), "it is not yet time to look");
        assert!(syncs.has_synced(later(2)));
        assert!(!syncs.has_synced(later(3)));
        closer.seal(journal);
    }
}
