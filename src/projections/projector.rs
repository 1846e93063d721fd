//! Journal, or whatever else has its records, → tables, a batch at a time, each with its position in one transaction.

use std::path::{Path, PathBuf};

use tradecore_domain::event::Event;
use tradecore_journal::{ReadError, Reader, Record, Until};

use super::error::ProjectionError;
use super::fold::{Entry, fold, order_needed};
use super::removal::due;
use super::rows::Rows;
use super::server::Server;
use super::store::{Care, Store};
use super::tables::PositionOfProjectionRow;

/// Events of a batch, at most: the group that passes it is its last. A commit that waits for its disk is shared by so
/// many, and an order that changes several times among them is written once.
pub const BATCH_EVENTS_MAX: u64 = 8_192;

/// Where a projection reads and writes.
#[derive(Clone, Debug)]
pub struct Source {
    /// The journal.
    pub journal_dir: PathBuf,
    /// The database; of one on a server, what this host makes beside it.
    pub path: PathBuf,
    /// Core and environment of the journal, as `stream_of` says it.
    pub stream: String,
    /// Days after which closed rows leave; 0: never.
    pub keep_days: u32,
    /// The PostgreSQL server that has the tables; `None` for SQLite.
    pub server: Option<Server>,
}

impl Source {
    /// What the database is called in errors.
    #[must_use]
    pub fn name(&self) -> PathBuf {
        self.server.as_ref().map_or_else(|| self.path.clone(), |server| server.name().into())
    }
}

/// How a core and its environment are called in the tables.
#[must_use]
pub fn stream_of(core: u16, environment: &str) -> String {
    format!("{core}-{}", environment.to_lowercase())
}

/// Why rows are not those of the journal as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// It ends before the position.
    #[error(
        "the tables know events up to {position_seq}, and the journal ends with {journal_seq}: its tail was cut below \
         them"
    )]
    Cut {
        /// The last event that the tables know.
        position_seq: u64,
        /// The last event of the journal.
        journal_seq: u64,
    },
    /// It says something else there.
    #[error(
        "event {position_seq} of the journal is not the one that the tables know: its tail was cut, or it is another journal"
    )]
    Other {
        /// The last event that the tables know.
        position_seq: u64,
    },
    /// Events are parked, and this release reads one of them.
    #[error("event {seq} was parked, and this release can take it")]
    Parked {
        /// The first such event.
        seq: u64,
    },
}

/// Takes the records of one group, one after the other.
pub(super) type Take<'a> = &'a mut dyn FnMut(&Record<'_>) -> Result<(), ProjectionError>;

/// Tables and the position that they have come to, wherever records come from.
#[derive(Debug)]
pub(super) struct Folding {
    store: Store,
    rows: Rows,
    position: PositionOfProjectionRow,
    keep_days: u32,
}

impl Folding {
    /// Goes on where the tables stand.
    ///
    /// # Errors
    /// What the database is instead.
    pub(super) fn open(source: &Source, care: Care) -> Result<Self, ProjectionError> {
        let (mut store, position) = Store::open(source, care)?;
        let mut rows = store.rows()?;
        rows.leave_some_day = source.keep_days > 0;
        Ok(Self { store, rows, position, keep_days: source.keep_days })
    }

    /// How far the tables have come.
    #[must_use]
    pub(super) const fn position(&self) -> &PositionOfProjectionRow {
        &self.position
    }

    /// Whether a record is the last one that the tables know.
    #[must_use]
    #[cfg(feature = "kafka")]
    pub(super) fn is_known(&self, record: &Record<'_>) -> bool {
        is_at(&self.position, record)
    }

    /// That nothing is parked which this release can take, as the log in the tables has it.
    ///
    /// # Errors
    /// `Outdated`, when something is.
    #[cfg(feature = "kafka")]
    pub(super) fn check_parked(&mut self) -> Result<(), ProjectionError> {
        for (aggregate, seq) in &self.rows.parked {
            if let super::aggregate::Aggregate::Unread(_) = aggregate
                && let Some(row) = self.store.event(*seq)?
                && let Ok(version) = u8::try_from(row.version)
                && Event::from_archive(row.event, version, &row.payload).is_ok()
            {
                return Err(self.store.outdated(Mismatch::Parked { seq: *seq }.to_string()));
            }
        }
        Ok(())
    }

    /// Takes in one batch of events up to `to_seq`, and moves the position with it; how many there were.
    /// `next_group` hands over one whole group, or says that there is none.
    ///
    /// # Errors
    /// Then this has come to its end: another may be opened.
    pub(super) fn step(
        &mut self,
        to_seq: u64,
        next_group: &mut dyn FnMut(Take<'_>) -> Result<bool, ProjectionError>,
    ) -> Result<u64, ProjectionError> {
        let Self { store, rows, position, keep_days } = self;
        let mut next = position.clone();
        let mut count: u64 = 0;
        while count < BATCH_EVENTS_MAX && next.seq < to_seq {
            let before_ns = next.ts_ns;
            let is_there = next_group(&mut |record| {
                let event = Event::from_archive(record.kind, record.version, record.payload);
                if let Ok(event) = &event
                    && let Some(order_id) = order_needed(event)
                    && rows.orders.get(order_id).is_none()
                    && let Some(row) = store.order(order_id)?
                {
                    rows.orders.load(order_id, row);
                }
                fold(rows, &entry_of(record), event.as_ref().map_err(ToString::to_string));
                (next.seq, next.ts_ns, next.record_crc) = (record.seq, record.ts_ns, crc_of(record));
                count = count.saturating_add(1);
                Ok(())
            })?;
            if !is_there {
                break;
            }
            rows.remove_before_ns = due(*keep_days, before_ns, next.ts_ns);
            if rows.remove_before_ns.is_some() {
                // What leaves is decided by the rows as they are behind this decision.
                break;
            }
        }
        if count > 0 {
            next.epoch = rows.epoch();
            store.write(rows, position, &next)?;
            rows.settle();
            *position = next;
        }
        Ok(count)
    }
}

/// Folds a journal into a database.
#[derive(Debug)]
pub struct Projector {
    folding: Folding,
    reader: Reader,
}

impl Projector {
    /// Goes on where the tables stand. The caller holds the `WriterLock`.
    ///
    /// # Errors
    /// What the database or the journal is instead. `Ok(Err(_))` when the rows have to be made anew.
    pub fn open(source: &Source, care: Care) -> Result<Result<Self, Mismatch>, ProjectionError> {
        let folding = Folding::open(source, care)?;
        check_place(source, folding.position())?;
        if let Some(mismatch) = mismatch(&source.journal_dir, folding.position())? {
            return Ok(Err(mismatch));
        }
        for (aggregate, seq) in &folding.rows.parked {
            if let super::aggregate::Aggregate::Unread(_) = aggregate
                && is_readable(&source.journal_dir, *seq)?
            {
                return Ok(Err(Mismatch::Parked { seq: *seq }));
            }
        }
        let reader = Reader::open(&source.journal_dir, folding.position.seq.saturating_add(1), Until::Synced)?;
        Ok(Ok(Self { folding, reader }))
    }

    /// How far the tables have come.
    #[must_use]
    pub const fn position(&self) -> &PositionOfProjectionRow {
        self.folding.position()
    }

    /// The database.
    pub const fn store(&mut self) -> &mut Store {
        &mut self.folding.store
    }

    /// Ends; everything is on the disk.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn close_durably(self) -> Result<(), ProjectionError> {
        self.folding.store.close_durably()
    }

    /// Takes in one batch of what is durable, of events up to `to_seq`; how many there were. 0 when there is nothing.
    ///
    /// # Errors
    /// Then this projector has come to its end: another may be opened.
    pub fn step(&mut self, to_seq: u64) -> Result<u64, ProjectionError> {
        let reader = &mut self.reader;
        self.folding.step(to_seq, &mut |take| {
            let Some(group) = reader.next_group()? else { return Ok(false) };
            group.records().try_for_each(|record| take(&record))?;
            Ok(true)
        })
    }
}

fn entry_of<'a>(record: &Record<'a>) -> Entry<'a> {
    let Record { seq, ts_ns, kind, version, payload, .. } = *record;
    Entry { seq, ts_ns, kind, version, payload }
}

/// What tells a record from another of the same number.
fn crc_of(record: &Record<'_>) -> u64 {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme);
    digest.update(&record.seq.to_le_bytes());
    digest.update(&record.ts_ns.to_le_bytes());
    digest.update(&record.kind.to_le_bytes());
    digest.update(record.payload);
    digest.finalize()
}

/// Whether a record is the last one that tables at this position know.
fn is_at(position: &PositionOfProjectionRow, record: &Record<'_>) -> bool {
    record.seq == position.seq && crc_of(record) == position.record_crc
}

/// That tables on a server, which several hosts reach, know nothing that this journal does not: else they may be those of
/// another host that has taken over, and no host makes them anew from its journal unasked. A person may, by a rebuild.
///
/// # Errors
/// `Elsewhere` when they do; when the journal cannot be read.
pub fn check_place(source: &Source, position: &PositionOfProjectionRow) -> Result<(), ProjectionError> {
    let found = if source.server.is_some() { mismatch(&source.journal_dir, position)? } else { None };
    found.map_or(Ok(()), |why| Err(ProjectionError::Elsewhere { path: source.name(), why }))
}

/// Why the rows of a position are not those of the journal; `None` when they are.
fn mismatch(dir: &Path, position: &PositionOfProjectionRow) -> Result<Option<Mismatch>, ProjectionError> {
    let position_seq = position.seq;
    if position_seq == 0 {
        return Ok(None);
    }
    // What the tables know was synced: it is there, whatever the file says that counts syncs.
    let mut reader = match Reader::open(dir, position_seq, Until::Journaled) {
        Ok(reader) => reader,
        // That segment was removed: then what follows it is all that is asked for.
        Err(ReadError::Gone { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let journal_seq = reader.next_seq().saturating_sub(1);
    let Some(group) = reader.next_group()? else {
        return Ok(Some(Mismatch::Cut { position_seq, journal_seq }));
    };
    let is_it = group.records().any(|record| is_at(position, &record));
    Ok((!is_it).then_some(Mismatch::Other { position_seq }))
}

fn is_readable(dir: &Path, seq: u64) -> Result<bool, ProjectionError> {
    let mut reader = match Reader::open(dir, seq, Until::Journaled) {
        Ok(reader) => reader,
        Err(ReadError::Gone { .. }) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    let Some(group) = reader.next_group()? else { return Ok(false) };
    Ok(group
        .records()
        .any(|record| record.seq == seq && Event::from_archive(record.kind, record.version, record.payload).is_ok()))
}
