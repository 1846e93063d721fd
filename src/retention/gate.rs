//! The side thread that looks at what is kept, and closes and opens the gate for new orders.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tradecore_journal::{Retention, RetentionError, Spans, Watermarks};

use super::{Look, Mark, Needs, OURS, PROJECTION};
use crate::clock::utc_ns;
use crate::projections;
use crate::shipping::alerts::{self, Kind};

/// From one look to the next.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Looks from one time to the next that the read model is made to survive power loss, to know what it needs no more: 10 s.
const PROJECTION_LOOKS: u32 = 10;

/// How much of what shippers may keep they do, of 100: alarms, and the end of new orders. What is left then is for
/// cancels and for what has happened.
const HALF: u64 = 50;
const MOST: u64 = 80;
const FULL: u64 = 95;
/// Below these an alarm is over.
const HALF_IS_OVER: u64 = 45;
const MOST_IS_OVER: u64 = 75;

/// How near the bound is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    #[default]
    Low,
    Half,
    Most,
    Full,
}

impl Level {
    /// Those that alarm, and from which percentage on.
    const ALARMS: [(Self, u64); 3] = [(Self::Half, HALF), (Self::Most, MOST), (Self::Full, FULL)];

    /// The level of a percentage, coming from this one: what is full is so until there is room worth the name.
    pub(super) const fn next(self, percent: u64) -> Self {
        match percent {
            // Not over and over again when it swings about a bound.
            HALF_IS_OVER..HALF if !matches!(self, Self::Low) => Self::Half,
            ..HALF => Self::Low,
            MOST_IS_OVER..MOST if matches!(self, Self::Most | Self::Full) => Self::Most,
            HALF..MOST => Self::Half,
            MOST..FULL if matches!(self, Self::Full) => Self::Full,
            MOST..FULL => Self::Most,
            FULL.. => Self::Full,
        }
    }
}

/// Registers the readers of a configuration, and takes those of ours out that it does not have: they keep nothing more.
///
/// # Errors
/// When a file in `readers/` cannot be read, made or removed.
pub fn prepare(needs: &Needs) -> Result<(), RetentionError> {
    let mut retention = Retention::open(&needs.journal_dir)?;
    needs.readers.iter().try_for_each(|name| retention.register(name))?;
    let positions = |retention: &Retention| retention.positions().map(|(n, seq)| (n.to_owned(), seq)).collect();
    let registered: Vec<(String, u64)> = positions(&retention);
    for (name, seq) in registered {
        if OURS.contains(&name.as_str()) && !needs.gates(&name) {
            retention.unregister(&name)?;
            tracing::warn!(reader = name, seq, "not configured any more: the journal keeps nothing for it");
        }
    }
    Ok(())
}

/// Looks after what readers keep of a journal.
#[derive(Debug)]
pub struct Gate {
    pub(super) needs: Needs,
    spans: Spans,
    watermarks: Arc<Watermarks>,
    projection: Mark,
    level: Level,
    is_told: bool,
}

impl Gate {
    /// Of the journal that `watermarks` are of.
    #[must_use]
    pub fn new(needs: Needs, watermarks: Arc<Watermarks>) -> Self {
        let spans = Spans::new(&needs.journal_dir);
        let projection = Mark::new(&needs.journal_dir, PROJECTION);
        Self { needs, spans, watermarks, projection, level: Level::Low, is_told: false }
    }

    /// Looks until `stop` is set.
    pub fn run(mut self, stop: &AtomicBool) {
        let mut looks: u32 = 0;
        while !stop.load(Ordering::Acquire) {
            looks = looks.wrapping_add(1);
            if looks.is_multiple_of(PROJECTION_LOOKS) {
                self.note_projection();
            }
            self.look();
            std::thread::park_timeout(LOOK_INTERVAL);
        }
    }

    /// What of the read model survives power loss, it needs no more.
    pub(super) fn note_projection(&mut self) {
        let Some(source) = &self.needs.projection else { return };
        // What the tables cannot say the projector itself tells.
        if let Some(seq) = projections::durable_seq(source) {
            self.projection.pass(seq.min(self.watermarks.synced()));
        }
    }

    /// One look; what it found.
    pub(super) fn look(&mut self) -> Option<Look> {
        match Look::at(&self.needs, &mut self.spans, utc_ns()) {
            Ok(look) => {
                self.is_told = false;
                self.judge(&look);
                Some(look)
            }
            Err(error) => {
                // As it was: what cannot be seen neither refuses orders nor lets them in.
                if !self.is_told {
                    tracing::warn!(%error, "what readers keep of the journal cannot be seen");
                }
                self.is_told = true;
                None
            }
        }
    }

    fn judge(&mut self, look: &Look) {
        let (last, level) = (self.level, self.level.next(look.percent()));
        self.level = level;
        self.watermarks.set_backlogged(level == Level::Full);
        let text = |then: &str| {
            let (bytes, max) = (look.unshipped_bytes >> 20, look.unshipped_max_bytes >> 20);
            let left = look.seconds_left.unwrap_or(0) / 60;
            format!(
                "the journal keeps {bytes} MiB that are not shipped, {} % of {max} MiB; {left} minutes are left{then}",
                look.percent()
            )
        };
        let seq = self.watermarks.synced();
        // Large segments leap over a bound: it is told of all the same.
        for (_, bound) in Level::ALARMS.into_iter().filter(|(passed, _)| *passed > last && *passed <= level) {
            let then = if bound == FULL { ": cancels only, new orders are refused with JournalFull" } else { "" };
            alerts::raise(Kind::JournalBacklog, seq, format!("alarm at {bound} %: {}", text(then)));
        }
        match level {
            Level::Most | Level::Half if last == Level::Full => {
                alerts::clear(Kind::JournalBacklog, &text(": new orders pass again"));
            }
            Level::Low if last > level => alerts::clear(Kind::JournalBacklog, &text(": over")),
            Level::Low | Level::Half | Level::Most | Level::Full => {}
        }
    }
}
