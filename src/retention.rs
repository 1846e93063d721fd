//! Who still needs which part of the journal, and what becomes of new orders when that is too much of it.
//!
//! A segment may go when every configured reader has passed it (the files of events, Kafka, the read model, and
//! whoever else is registered in `readers/`) and it is old enough. Nothing is removed here: a start needs every event.
//! What the shippers keep has a bound: a side thread alarms at half and at four fifths of it, and short of all of it
//! the loop is told to take cancels only.

mod gate;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tradecore_journal::{Retention, RetentionError, Span, Spans, held};

use crate::clock::utc_ns;
use crate::config::Config;
use crate::projections::{self, Source};

pub use gate::{Gate, prepare};

/// Name of the writer of files of events.
pub const FILES: &str = crate::shipping::files::READER;
/// Name of the shipper to Kafka.
pub const KAFKA: &str = "kafka";
/// Name of the projector into SQLite.
pub const PROJECTION: &str = "projection";

/// Name of the projector into PostgreSQL.
pub const PROJECTION_PG: &str = "projection-pg";

/// Readers that are ours: each is registered while it is configured. All others come and go by themselves.
const OURS: [&str; 4] = [FILES, KAFKA, PROJECTION, PROJECTION_PG];
/// Those that ship: what they have not passed is nowhere else.
const SHIPPERS: [&str; 2] = [FILES, KAFKA];

const DAY_NS: u64 = 86_400_000_000_000;

/// What a configuration needs of its journal.
#[derive(Clone, Debug)]
pub struct Needs {
    /// The journal.
    pub journal_dir: PathBuf,
    /// Readers of ours that are configured.
    pub readers: Vec<&'static str>,
    /// A configuration says so: each of them counts, whether it is registered or not.
    pub is_of_configuration: bool,
    /// The read model, if there is one.
    pub projection: Option<Source>,
    /// Time that a segment is kept, whoever has passed it.
    pub keep_ns: u64,
    /// What shippers may keep, bytes; 0 for what the disk has.
    pub unshipped_max_bytes: u64,
}

impl Needs {
    /// Those of a configuration.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let ship = config.ship.as_ref();
        let has = |name: &&str| match *name {
            FILES => ship.is_some_and(|ship| ship.files.is_some()),
            KAFKA => ship.is_some_and(|ship| ship.kafka.is_some()),
            PROJECTION_PG => config.projection.has_postgres_thread(),
            _ => config.projection.sqlite.is_some(),
        };
        Self {
            journal_dir: crate::daemon::journal_dir(config),
            readers: OURS.into_iter().filter(has).collect(),
            is_of_configuration: true,
            projection: config.projection.sqlite.is_some().then(|| projections::source_of(config)),
            keep_ns: config.journal.keep_days.saturating_mul(DAY_NS),
            unshipped_max_bytes: config.journal.unshipped_max_mib << 20,
        }
    }

    /// Those of every reader that is registered in a journal, without a configuration.
    #[must_use]
    pub fn of_all(journal_dir: &Path) -> Self {
        let (projection, keep_ns, unshipped_max_bytes) = (None, 0, 0);
        Self {
            journal_dir: journal_dir.to_owned(),
            readers: OURS.to_vec(),
            is_of_configuration: false,
            projection,
            keep_ns,
            unshipped_max_bytes,
        }
    }

    /// Whether a reader of this name holds anything: ours when it is configured, all others always.
    fn gates(&self, name: &str) -> bool {
        !OURS.contains(&name) || self.readers.contains(&name)
    }
}

/// A reader, and what it keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its name.
    pub name: String,
    /// It needs nothing up to this event any more.
    pub seq: u64,
    /// Its word counts: one of ours that is not configured keeps nothing.
    pub is_configured: bool,
    /// Segments that it keeps, but for the one that is written.
    pub segments: u64,
    /// Their length, bytes.
    pub bytes: u64,
    /// When the oldest event in them was journaled, UTC ns; 0 when there are none.
    pub since_ns: u64,
}

/// What is kept, by whom, and how near that is to the bound.
#[derive(Clone, Debug)]
pub struct Look {
    /// Who is registered, by name.
    pub holders: Vec<Holder>,
    /// Segments that all have passed and that are old enough.
    pub removable: u64,
    /// What shippers keep, bytes.
    pub unshipped_bytes: u64,
    /// What they may, bytes.
    pub unshipped_max_bytes: u64,
    /// Time until that is reached, at the rate since the oldest event that waits, s; `None` when nothing waits.
    pub seconds_left: Option<u64>,
}

impl Look {
    /// Looks at a journal.
    ///
    /// # Errors
    /// When its readers or segments cannot be read.
    pub fn at(needs: &Needs, spans: &mut Spans, now_ns: u64) -> Result<Self, RetentionError> {
        let retention = Retention::open(&needs.journal_dir)?;
        let spans = spans.look()?;
        let mut positions: BTreeMap<&str, u64> = retention.positions().collect();
        for name in needs.readers.iter().filter(|_| needs.is_of_configuration) {
            // Before its first start it has read nothing.
            positions.entry(name).or_insert(0);
        }
        let holders: Vec<Holder> = positions.iter().map(|(name, seq)| needs.holder(name, *seq, &spans)).collect();
        let is_counted = |holder: &&Holder| holder.is_configured;
        let passed = holders.iter().filter(is_counted).map(|holder| holder.seq).min();
        let before_ns = now_ns.saturating_sub(needs.keep_ns);
        let removable = passed.map_or(0, |seq| {
            let kept = held(&spans, seq).len().saturating_add(1);
            let passed = spans.len().saturating_sub(kept);
            spans.iter().skip(1).take(passed).take_while(|next| next.first_ts_ns <= before_ns).count() as u64
        });
        let shipper = |holder: &&Holder| holder.is_configured && SHIPPERS.contains(&holder.name.as_str());
        let slowest = holders.iter().filter(shipper).max_by_key(|holder| holder.bytes);
        let unshipped_bytes = slowest.map_or(0, |holder| holder.bytes);
        let by_disk = unshipped_bytes.saturating_add(free_bytes(&needs.journal_dir));
        let unshipped_max_bytes = match needs.unshipped_max_bytes {
            0 => by_disk,
            configured => configured.min(by_disk),
        };
        let since_ns = slowest.map_or(0, |holder| holder.since_ns);
        let room = unshipped_max_bytes.saturating_sub(unshipped_bytes);
        let span_ns = u128::from(now_ns.saturating_sub(since_ns));
        let seconds_left = (u128::from(room).saturating_mul(span_ns))
            .checked_div(u128::from(unshipped_bytes))
            .map(|ns| u64::try_from(ns / 1_000_000_000).unwrap_or(u64::MAX));
        Ok(Self { holders, removable, unshipped_bytes, unshipped_max_bytes, seconds_left })
    }

    /// How much of what shippers may keep they do, of 100.
    #[must_use]
    pub fn percent(&self) -> u64 {
        self.unshipped_bytes.saturating_mul(100).checked_div(self.unshipped_max_bytes).unwrap_or(0)
    }
}

impl Needs {
    fn holder(&self, name: &str, seq: u64, spans: &[Span]) -> Holder {
        let is_configured = self.gates(name);
        let kept = if is_configured { held(spans, seq) } else { &[] };
        Holder {
            name: name.to_owned(),
            seq,
            is_configured,
            segments: kept.len() as u64,
            bytes: kept.iter().fold(0, |sum: u64, span| sum.saturating_add(span.bytes)),
            since_ns: kept.first().map_or(0, |span| span.first_ts_ns),
        }
    }
}

/// Bytes that are free where a journal lies; without an answer all that there could be, so that no alarm is made up.
fn free_bytes(dir: &Path) -> u64 {
    rustix::fs::statvfs(dir).map_or(u64::MAX, |stat| stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// From one write of a position to the next.
const MARK_INTERVAL_NS: u64 = 1_000_000_000;

/// The place of a reader, written down now and then. What cannot be written is told once: the journal keeps more than
/// it must, and nothing else.
#[derive(Debug)]
pub struct Mark {
    journal_dir: PathBuf,
    name: &'static str,
    written: Option<(u64, u64)>,
    is_told: bool,
}

impl Mark {
    /// Of a reader of a journal.
    #[must_use]
    pub fn new(journal_dir: &Path, name: &'static str) -> Self {
        Self { journal_dir: journal_dir.to_owned(), name, written: None, is_told: false }
    }

    /// The reader begins behind `seq`: what is written of it may be of another database, which had more.
    ///
    /// # Errors
    /// When the place cannot be read or written.
    pub fn begin(&mut self, seq: u64) -> Result<(), RetentionError> {
        let mut retention = Retention::open(&self.journal_dir)?;
        if retention.positions().any(|(name, passed)| name == self.name && passed > seq) {
            retention.unregister(self.name)?;
            retention.register(self.name)?;
            retention.advance(self.name, seq)?;
        }
        Ok(())
    }

    /// The reader needs nothing up to `seq` any more, whatever happens to it.
    pub fn pass(&mut self, seq: u64) {
        let now_ns = utc_ns();
        if self.written.is_some_and(|(last, at_ns)| last >= seq || now_ns.abs_diff(at_ns) < MARK_INTERVAL_NS) {
            return;
        }
        self.written = Some((seq, now_ns));
        let write = || {
            let mut retention = Retention::open(&self.journal_dir)?;
            retention.register(self.name)?;
            retention.advance(self.name, seq)
        };
        match write() {
            Ok(()) => self.is_told = false,
            Err(error) if !self.is_told => {
                self.is_told = true;
                tracing::warn!(reader = self.name, %error, "a place cannot be written: the journal keeps what it could lose");
            }
            Err(_) => {}
        }
    }
}
