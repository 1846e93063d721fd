//! Rows made anew from the journal, in a database beside, compared with what there was, and put in its place.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::cell::Cell;
use super::declare::Table;
use super::error::ProjectionError;
use super::postgres;
use super::projector::{Projector, Source, check_place};
use super::store::{Care, Store, Walk, beside, start_of};
use super::tables::{PositionOfProjectionRow, TABLES};

/// What a table is, there and in the fold of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compared {
    /// The table.
    pub table: &'static str,
    /// Rows that are there, and their CRC-64.
    pub there: (u64, u64),
    /// Rows of the fold, and their CRC-64.
    pub folded: (u64, u64),
    /// Key of the first row that differs.
    pub first_difference: Option<String>,
}

/// What a rebuild did.
#[derive(Clone, Debug)]
pub struct Rebuilt {
    /// The last event that the tables know now.
    pub seq: u64,
    /// Tables whose rows differed from the fold, as far as they had come; `None` when they could not be compared.
    pub differing: Option<Vec<Compared>>,
    /// Tables of which only the newest rows were made anew, and that differ still, in rows before these.
    pub left: Vec<Compared>,
}

/// Hears how far the work has come: the last event that was folded, and the last that will be. False ends it.
pub type OnProgress<'a> = &'a mut dyn FnMut(u64, u64) -> bool;

/// Says whether rows of a position may be replaced by others.
pub(super) type MayReplace<'a> = &'a dyn Fn(&PositionOfProjectionRow) -> Result<(), ProjectionError>;

fn sqlite(path: &Path) -> impl Fn(rusqlite::Error) -> ProjectionError {
    move |source| ProjectionError::Sqlite { path: path.to_owned(), source }
}

/// A database that is removed with all that lies beside it.
pub(super) struct Shadow(PathBuf);

impl Shadow {
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn new(path: PathBuf) -> Result<Self, ProjectionError> {
        let shadow = Self(path);
        shadow.remove()?;
        Ok(shadow)
    }

    fn remove(&self) -> Result<(), ProjectionError> {
        remove_if_there(&self.0)?;
        remove_beside(&self.0)
    }
}

impl Drop for Shadow {
    fn drop(&mut self) {
        // What is left of it is removed by the next.
        drop(self.remove());
    }
}

pub(super) fn remove_if_there(path: &Path) -> Result<(), ProjectionError> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(ProjectionError::Io { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

fn remove_beside(path: &Path) -> Result<(), ProjectionError> {
    ["wal", "shm", "journal"].iter().try_for_each(|ending| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!("-{ending}"));
        remove_if_there(Path::new(&name))
    })
}

/// Folds up to an event.
pub(super) fn fold_to(
    projector: &mut Projector,
    to_seq: u64,
    end_seq: u64,
    progress: OnProgress<'_>,
) -> Result<(), ProjectionError> {
    while projector.position().seq < to_seq {
        if projector.step(to_seq)? == 0 {
            break;
        }
        if !progress(projector.position().seq, end_seq) {
            return Err(ProjectionError::Stopped);
        }
    }
    Ok(())
}

/// A projector that folds from the beginning, into a file of this host.
pub(super) fn fresh(source: &Source, shadow: &Shadow) -> Result<Projector, ProjectionError> {
    let source = Source { path: shadow.0.clone(), server: None, ..source.clone() };
    // A database that was just made has no position that could differ.
    Projector::open(&source, Care::Shadow)?
        .map_err(|mismatch| ProjectionError::Outdated { path: source.path.clone(), why: mismatch.to_string() })
}

/// Compares the tables with a fold of the journal up to the same event. The tables may be written meanwhile: what is
/// compared is as of one moment.
///
/// # Errors
/// When either cannot be read; `Elsewhere` for tables on a server that know what the journal does not.
pub fn verify(source: &Source, progress: OnProgress<'_>) -> Result<(u64, Vec<Compared>), ProjectionError> {
    let mut there = Store::open_to_read(source)?;
    let position = there.position()?;
    check_place(source, &position)?;
    let seq = position.seq;
    let shadow = Shadow::new(beside(&source.path, &format!("verify-{}", std::process::id())))?;
    let mut projector = fresh(source, &shadow)?;
    fold_to(&mut projector, seq, seq, progress)?;
    let compared = compare(&mut there, projector.store())?;
    Ok((seq, compared))
}

/// Makes the tables anew and puts them in the place of the old, whatever these know: as a person asks for it. The caller
/// holds the `WriterLock`.
///
/// # Errors
/// When the journal cannot be read or the disk is full: the old tables stay.
pub fn rebuild(source: &Source, progress: OnProgress<'_>) -> Result<Rebuilt, ProjectionError> {
    make_anew(source, &|_| Ok(()), progress)
}

/// The same, as a gateway does it by itself: tables on a server stay when they know what this journal does not.
///
/// # Errors
/// As `rebuild`, and as `check_place`.
pub fn rebuild_unasked(source: &Source, progress: OnProgress<'_>) -> Result<Rebuilt, ProjectionError> {
    let check = |position: &PositionOfProjectionRow| check_place(source, position);
    if let Some(server) = &source.server {
        // And again when they are replaced, which is minutes later.
        postgres::place_of(server)?.as_ref().map_or(Ok(()), check)?;
    }
    make_anew(source, &check, progress)
}

fn make_anew(
    source: &Source,
    may_replace: MayReplace<'_>,
    progress: OnProgress<'_>,
) -> Result<Rebuilt, ProjectionError> {
    if source.server.is_none() {
        super::sqlite::check_owner(&source.path, &source.stream)?;
    }
    let shadow = Shadow::new(beside(&source.path, "rebuild"))?;
    let mut projector = fresh(source, &shadow)?;
    let end_seq = tradecore_journal::synced_seq(&source.journal_dir)?;
    let differing = match old(source) {
        Some((mut there, seq)) => {
            fold_to(&mut projector, seq, end_seq, progress)?;
            // Rows that the journal does not have any more cannot be compared.
            if projector.position().seq == seq {
                let all = compare(&mut there, projector.store())?;
                Some(all.into_iter().filter(|table| table.there != table.folded).collect())
            } else {
                None
            }
        }
        None => None,
    };
    fold_to(&mut projector, u64::MAX, end_seq, progress)?;
    let seq = projector.position().seq;
    match &source.server {
        None => {
            projector.close_durably()?;
            swap(&source.path, &shadow.0)?;
        }
        Some(server) => postgres::replace(server, &start_of(source), may_replace, projector.store())?,
    }
    Ok(Rebuilt { seq, differing, left: Vec::new() })
}

/// The tables that there are and how far they have come; `None` when they cannot be read.
pub(super) fn old(source: &Source) -> Option<(Store, u64)> {
    let mut store = Store::open_to_read(source).ok()?;
    let seq = store.position().ok()?.seq;
    Some((store, seq))
}

/// Puts the new database in the place of the old: as a file when nobody reads the old one, else page by page in one
/// transaction, so that who reads sees either the old rows or the new.
fn swap(path: &Path, shadow: &Path) -> Result<(), ProjectionError> {
    if path.exists() {
        // A log beside the old file would be taken for one of the new: it is taken in first, and is gone.
        let closed = Connection::open(path).and_then(|connection| {
            connection.busy_timeout(std::time::Duration::ZERO)?;
            connection.execute_batch("PRAGMA journal_mode = DELETE")
        });
        if let Err(error) = closed {
            let error = sqlite(path)(error);
            // One that is damaged has no reader.
            if error.may_pass() {
                return copy(path, shadow);
            }
        }
        remove_beside(path)?;
    }
    let io_error = |source| ProjectionError::Io { path: path.to_owned(), source };
    std::fs::rename(shadow, path).map_err(io_error)?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(io_error)
}

fn copy(path: &Path, shadow: &Path) -> Result<(), ProjectionError> {
    let from = Connection::open(shadow).map_err(sqlite(shadow))?;
    let mut to = Connection::open(path).map_err(sqlite(path))?;
    to.busy_timeout(std::time::Duration::from_secs(30)).map_err(sqlite(path))?;
    let backup = rusqlite::backup::Backup::new(&from, &mut to).map_err(sqlite(path))?;
    // All pages at once: in one transaction.
    match backup.step(-1).map_err(sqlite(path))? {
        rusqlite::backup::StepResult::Done => Ok(()),
        _ => Err(sqlite(path)(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY),
            Some("a reader holds the database".to_owned()),
        ))),
    }
}

/// Walks all tables of two databases side by side.
///
/// # Errors
/// When either cannot be read.
pub fn compare(there: &mut Store, folded: &mut Store) -> Result<Vec<Compared>, ProjectionError> {
    let mut all = Vec::new();
    for table in TABLES {
        all.push(compare_one(table, there, folded)?);
    }
    Ok(all)
}

/// The same of one table.
pub(super) fn compare_one(
    table: &'static Table,
    there: &mut Store,
    folded: &mut Store,
) -> Result<Compared, ProjectionError> {
    let columns = table.cell_names();
    let (mut there_rows, mut folded_rows) = (Walk::new(table), Walk::new(table));
    let mut compared = Pair::default();
    loop {
        let (left, right) = (there_rows.next(there)?, folded_rows.next(folded)?);
        if (&left, &right) == (&None, &None) {
            return Ok(compared.end(table));
        }
        compared.take(table, &columns, left, right);
    }
}

struct Side {
    rows: u64,
    digest: crc_fast::Digest,
    /// The row that is summed: a checksum of many small pieces costs more than one of all.
    row: Vec<u8>,
}

impl Default for Side {
    fn default() -> Self {
        let digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme);
        Self { rows: 0, digest, row: Vec::new() }
    }
}

impl Side {
    fn take(&mut self, cells: &[Cell]) {
        self.rows = self.rows.saturating_add(1);
        self.row.clear();
        for cell in cells {
            match cell {
                Cell::Null => self.row.push(0),
                Cell::Int(value) => {
                    self.row.push(1);
                    self.row.extend(value.to_le_bytes());
                }
                Cell::Text(text) => self.bytes(2, text.as_bytes()),
                Cell::Bytes(bytes) => self.bytes(3, bytes),
            }
        }
        self.digest.update(&self.row);
    }

    fn bytes(&mut self, kind: u8, bytes: &[u8]) {
        self.row.push(kind);
        self.row.extend((bytes.len() as u64).to_le_bytes());
        self.row.extend(bytes);
    }
}

/// True when one key comes before another: they are integers and texts, as the database orders them.
fn is_below(one: &[Option<Cell>], other: &[Option<Cell>]) -> bool {
    let order = one.iter().zip(other).map(|pair| match pair {
        (Some(Cell::Int(one)), Some(Cell::Int(other))) => one.cmp(other),
        (Some(Cell::Text(one)), Some(Cell::Text(other))) => one.cmp(other),
        _ => std::cmp::Ordering::Equal,
    });
    order.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then).is_lt()
}

#[derive(Default)]
struct Pair {
    there: Side,
    folded: Side,
    first_difference: Option<String>,
}

impl Pair {
    fn take(&mut self, table: &Table, columns: &[String], left: Option<Vec<Cell>>, right: Option<Vec<Cell>>) {
        if left != right && self.first_difference.is_none() {
            let cell_in = |row: &[Cell], key: &str| {
                let at = columns.iter().position(|column| column == key);
                at.and_then(|at| row.get(at)).cloned()
            };
            // Both sides rise by the key: where one lacks a row, the other stands at it, and is the lower.
            let key_of = |row: &[Cell]| -> Vec<_> { table.key.iter().map(|key| cell_in(row, key)).collect() };
            let row = match (left.as_deref(), right.as_deref()) {
                (Some(left), Some(right)) if is_below(&key_of(right), &key_of(left)) => right,
                (Some(left), _) => left,
                (None, right) => right.unwrap_or_default(),
            };
            let cell_of = |key: &str| match cell_in(row, key) {
                Some(Cell::Int(value)) => value.to_string(),
                Some(Cell::Text(text)) => text,
                Some(Cell::Null | Cell::Bytes(_)) | None => String::new(),
            };
            let key: Vec<String> = table.key.iter().map(|key| format!("{key} {}", cell_of(key))).collect();
            self.first_difference = Some(key.join(", "));
        }
        if let Some(cells) = &left {
            self.there.take(cells);
        }
        if let Some(cells) = &right {
            self.folded.take(cells);
        }
    }

    fn end(self, table: &Table) -> Compared {
        Compared {
            table: table.name,
            there: (self.there.rows, self.there.digest.finalize()),
            folded: (self.folded.rows, self.folded.digest.finalize()),
            first_difference: self.first_difference,
        }
    }
}
