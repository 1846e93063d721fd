//! The tables in SQLite.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, OpenFlags, ToSql, TransactionBehavior};

use super::cell::Cell;
use super::declare::{Dialect, Row, Table};
use super::error::ProjectionError;
use super::rows::{Change, NextRow, one_row};
use super::schema;
use super::store::{Care, Database, upsert};
use super::tables::PositionOfProjectionRow;

/// Longest wait for a lock that a reader holds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Pages that are written to the database from its log at once: 16 MiB.
const CHECKPOINT_PAGES: u32 = 4_096;

impl ToSql for Cell {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Null => ToSqlOutput::Owned(Value::Null),
            Self::Int(value) => ToSqlOutput::Owned(Value::Integer(*value)),
            Self::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Self::Bytes(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
        })
    }
}

/// A cell as SQLite has it; what it should never have is null.
#[must_use]
pub fn cell_of(value: ValueRef<'_>) -> Cell {
    match value {
        ValueRef::Integer(value) => Cell::Int(value),
        ValueRef::Text(text) => Cell::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Cell::Bytes(bytes.to_vec()),
        ValueRef::Null | ValueRef::Real(_) => Cell::Null,
    }
}

/// A database in a file.
#[derive(Debug)]
pub(super) struct Sqlite {
    connection: Connection,
    path: PathBuf,
    scratch: Vec<Cell>,
}

impl Sqlite {
    /// Opens the database, or makes it.
    pub(super) fn open(path: &Path, start: &PositionOfProjectionRow, care: Care) -> Result<Self, ProjectionError> {
        let sqlite = |source| ProjectionError::Sqlite { path: path.to_owned(), source };
        let mut connection = Connection::open(path).map_err(sqlite)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(sqlite)?;
        if is_empty(&connection).map_err(sqlite)? {
            make(&mut connection, path, start)?;
        }
        check(&connection, path)?;
        let pragmas = match care {
            // What power loss takes of it is folded again.
            Care::Live => "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;",
            Care::Shadow => "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;",
        };
        connection
            .execute_batch(&format!(
                "{pragmas} PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}; PRAGMA journal_size_limit = 67108864; \
                 PRAGMA cache_size = -16384; PRAGMA temp_store = MEMORY;"
            ))
            .map_err(sqlite)?;
        connection.set_prepared_statement_cache_capacity(64);
        make_views(&mut connection).map_err(sqlite)?;
        Ok(Self { connection, path: path.to_owned(), scratch: Vec::new() })
    }

    /// Opens one of ours to be added to; the number of its schema. Nobody else writes it.
    pub(super) fn open_to_grow(path: &Path) -> Result<(Self, u32), ProjectionError> {
        let sqlite = |source| ProjectionError::Sqlite { path: path.to_owned(), source };
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(sqlite)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(sqlite)?;
        let number = number_of(&connection, path)?;
        Ok((Self { connection, path: path.to_owned(), scratch: Vec::new() }, number))
    }

    /// Opens it for questions.
    pub(super) fn open_to_read(path: &Path) -> Result<Self, ProjectionError> {
        Ok(Self { connection: open_for_questions(path)?, path: path.to_owned(), scratch: Vec::new() })
    }

    fn error(&self, source: rusqlite::Error) -> ProjectionError {
        ProjectionError::Sqlite { path: self.path.clone(), source }
    }
}

impl Database for Sqlite {
    fn ask(&mut self, sql: &str) -> Result<Vec<Vec<Cell>>, ProjectionError> {
        let ask = || {
            let mut statement = self.connection.prepare(sql)?;
            let count = statement.column_count();
            let mut found = statement.query([])?;
            let mut rows = Vec::new();
            while let Some(row) = found.next()? {
                rows.push(cells_of(row, count)?);
            }
            Ok(rows)
        };
        ask().map_err(|source| self.error(source))
    }

    fn run(&mut self, sql: &str) -> Result<u64, ProjectionError> {
        self.connection.execute_batch(sql).map_err(|source| self.error(source))?;
        Ok(self.connection.changes())
    }

    fn put(&mut self, table: &Table, _: Change, next_row: NextRow<'_>) -> Result<(), ProjectionError> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let put = put(&self.connection, &self.path, &mut scratch, table, next_row);
        self.scratch = scratch;
        put
    }

    fn make(&mut self, tables: &[&Table]) -> Result<(), ProjectionError> {
        let ddl: String = tables.iter().map(|table| table.ddl(Dialect::Sqlite)).collect();
        self.run(&format!("{ddl} PRAGMA user_version = {};", schema::number())).map(drop)
    }

    fn size_sql(&self) -> &'static str {
        "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
    }

    fn close_durably(self: Box<Self>) -> Result<(), ProjectionError> {
        let Self { connection, path, .. } = *self;
        connection.close().map_err(|(_, source)| ProjectionError::Sqlite { path: path.clone(), source })?;
        let io_error = |source| ProjectionError::Io { path: path.clone(), source };
        File::open(&path).and_then(|file| file.sync_all()).map_err(io_error)
    }
}

/// Opens a database for questions.
///
/// # Errors
/// `Missing`, or what it is instead.
pub fn open_for_questions(path: &Path) -> Result<Connection, ProjectionError> {
    if !path.exists() {
        return Err(ProjectionError::Missing { path: path.to_owned() });
    }
    let sqlite = |source| ProjectionError::Sqlite { path: path.to_owned(), source };
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(sqlite)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(sqlite)?;
    if is_empty(&connection).map_err(sqlite)? {
        // Its writer is about to make it.
        return Err(ProjectionError::Missing { path: path.to_owned() });
    }
    check(&connection, path)?;
    Ok(connection)
}

fn put(
    connection: &Connection,
    path: &Path,
    scratch: &mut Vec<Cell>,
    table: &Table,
    next_row: NextRow<'_>,
) -> Result<(), ProjectionError> {
    let sqlite = |source| ProjectionError::Sqlite { path: path.to_owned(), source };
    let places: Vec<String> = (1..=table.cell_names().len()).map(|at| format!("?{at}")).collect();
    let sql = upsert(table, &format!("VALUES ({})", places.join(", ")));
    let mut statement = connection.prepare_cached(&sql).map_err(sqlite)?;
    while next_row(scratch)? {
        for (at, cell) in (1_usize..).zip(scratch.iter()) {
            statement.raw_bind_parameter(at, cell).map_err(sqlite)?;
        }
        statement.raw_execute().map_err(sqlite)?;
    }
    Ok(())
}

/// Calls `each` with the rows of a table.
fn load<R: Row>(
    connection: &Connection,
    path: &Path,
    only: &str,
    mut each: impl FnMut(R),
) -> Result<(), ProjectionError> {
    let sqlite = |source| ProjectionError::Sqlite { path: path.to_owned(), source };
    let names = R::TABLE.cell_names();
    let sql = format!("SELECT {} FROM {} {only}", names.join(", "), R::TABLE.name);
    let mut statement = connection.prepare(&sql).map_err(sqlite)?;
    let mut found = statement.query([]).map_err(sqlite)?;
    while let Some(row) = found.next().map_err(sqlite)? {
        let cells = cells_of(row, names.len()).map_err(sqlite)?;
        each(R::take(&cells).map_err(|source| ProjectionError::BadRow { path: path.to_owned(), source })?);
    }
    Ok(())
}

/// The cells of a row that was found.
fn cells_of(row: &rusqlite::Row<'_>, count: usize) -> rusqlite::Result<Vec<Cell>> {
    // Not collected: a result of a collection does not know its length, and grows.
    let mut cells = Vec::with_capacity(count);
    for at in 0..count {
        cells.push(cell_of(row.get_ref(at)?));
    }
    Ok(cells)
}

fn is_empty(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, u32>(0)).map(|tables| tables == 0)
}

fn make(connection: &mut Connection, path: &Path, start: &PositionOfProjectionRow) -> Result<(), ProjectionError> {
    let sqlite = |source| ProjectionError::Sqlite { path: path.to_owned(), source };
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sqlite)?;
    transaction
        .execute_batch(&format!(
            "{} PRAGMA application_id = {}; PRAGMA user_version = {};",
            schema::ddl(Dialect::Sqlite),
            schema::APPLICATION_ID,
            schema::number()
        ))
        .map_err(sqlite)?;
    put(&transaction, path, &mut Vec::new(), &PositionOfProjectionRow::TABLE, &mut one_row(start))?;
    transaction.commit().map_err(sqlite)
}

/// Makes the views that are not there as this release shows them.
fn make_views(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    for (name, view) in schema::views(Dialect::Sqlite) {
        let mut statement = transaction.prepare("SELECT 1 FROM sqlite_schema WHERE name = ?1 AND sql = ?2")?;
        if !statement.exists((&name, view.trim_end().trim_end_matches(';')))? {
            transaction.execute_batch(&format!("DROP VIEW IF EXISTS {name}; {view}"))?;
        }
    }
    transaction.commit()
}

/// The number of the schema of a database of ours.
fn number_of(connection: &Connection, path: &Path) -> Result<u32, ProjectionError> {
    let pragma = |name: &str| {
        connection
            .query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i32>(0))
            .map_err(|source| ProjectionError::Sqlite { path: path.to_owned(), source })
    };
    if pragma("application_id")? != schema::APPLICATION_ID {
        return Err(ProjectionError::Foreign { path: path.to_owned() });
    }
    Ok(u32::try_from(pragma("user_version")?).unwrap_or(0))
}

/// That it is a database of ours, of our schema.
fn check(connection: &Connection, path: &Path) -> Result<(), ProjectionError> {
    let (found, known) = (number_of(connection, path)?, schema::number());
    match found.cmp(&known) {
        std::cmp::Ordering::Greater => Err(ProjectionError::Newer { path: path.to_owned(), found, known }),
        std::cmp::Ordering::Less => {
            let why = format!("its schema is number {found}, and this release has {known}");
            Err(ProjectionError::Outdated { path: path.to_owned(), why })
        }
        std::cmp::Ordering::Equal => Ok(()),
    }
}

/// That what stands at a path may be replaced: nothing, or tables of this stream, of whatever schema. What is no database
/// may be anything, a key or a device.
pub(super) fn check_owner(path: &Path, stream: &str) -> Result<(), ProjectionError> {
    match std::fs::metadata(path) {
        Ok(found) if found.is_file() => {}
        Ok(_) => return Err(ProjectionError::NoDatabase { path: path.to_owned() }),
        Err(_) => return Ok(()),
    }
    let ask = || -> rusqlite::Result<(i32, bool, Option<String>)> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        let id = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
        let stream = "SELECT stream FROM projection_positions LIMIT 1";
        // Damaged tables of ours, and those of a schema without it, say nothing.
        Ok((id, is_empty(&connection)?, connection.query_row(stream, [], |row| row.get(0)).ok()))
    };
    match ask() {
        Ok((_, true, _)) => Ok(()),
        Ok((id, ..)) if id != schema::APPLICATION_ID => Err(ProjectionError::Foreign { path: path.to_owned() }),
        Ok((.., Some(found))) if found != stream => {
            Err(ProjectionError::OtherStream { path: path.to_owned(), found, ours: stream.to_owned() })
        }
        Err(rusqlite::Error::SqliteFailure(error, _)) if error.code == rusqlite::ErrorCode::NotADatabase => {
            Err(ProjectionError::NoDatabase { path: path.to_owned() })
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// How far the tables have come.
///
/// # Errors
/// When it cannot be read.
pub fn position(connection: &Connection, path: &Path) -> Result<PositionOfProjectionRow, ProjectionError> {
    let mut found = PositionOfProjectionRow::default();
    load(connection, path, "", |row| found = row)?;
    Ok(found)
}
