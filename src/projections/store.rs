//! The tables in a database, whichever it is: one writer, whole batches, the position in the same transaction.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use super::aggregate::Aggregate;
use super::cell::Cell;
use super::declare::{Row, Table};
use super::error::ProjectionError;
use super::postgres::Postgres;
use super::projector::Source;
use super::removal::{remove, rules, rules_and_days};
use super::rows::{Change, NextRow, Rows};
use super::schema;
use super::sqlite::Sqlite;
use super::tables::{
    AccountRow, BalanceRow, ConnectionRow, CoreRow, DailyPnlRow, InstrumentRow, KillSwitchRow, MassCancelRow, OrderRow,
    ParkedRow, PositionOfProjectionRow, PositionRow, RiskLimitRow, SagaRow, SessionRow,
};

pub use super::sqlite::{cell_of, open_for_questions, position};

/// Name of the one projection in its own table of positions.
const NAME: &str = "tables";

/// Aggregates whose parked events are kept track of.
pub const PARKED_MAX: usize = 65_536;

/// Rows of a table that are read at once.
const PAGE_ROWS: usize = 1_000;

/// How durable a database is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Care {
    /// As one that is read meanwhile, and that power loss leaves whole.
    Live,
    /// As one that is thrown away when it is not finished.
    Shadow,
}

/// What the store needs of a database: SQL that all of them understand, and rows put in many at a time.
pub(super) trait Database: std::fmt::Debug + Send {
    /// The rows that are asked for.
    fn ask(&mut self, sql: &str) -> Result<Vec<Vec<Cell>>, ProjectionError>;
    /// Does what is said; how many rows the last statement changed.
    fn run(&mut self, sql: &str) -> Result<u64, ProjectionError>;
    /// Puts rows.
    fn put(&mut self, table: &Table, change: Change, next_row: NextRow<'_>) -> Result<(), ProjectionError>;
    /// Makes tables, within the transaction that is open, and says that the schema is this release's.
    fn make(&mut self, tables: &[&Table]) -> Result<(), ProjectionError>;
    /// Asks for the bytes that the tables take.
    fn size_sql(&self) -> &'static str;
    /// Ends; everything is on the disk.
    fn close_durably(self: Box<Self>) -> Result<(), ProjectionError>;
}

/// A file lock beside the database, or beside what this host keeps of one on a server: one writer.
#[derive(Debug)]
pub struct WriterLock {
    _file: File,
}

impl WriterLock {
    /// Takes it.
    ///
    /// # Errors
    /// `Locked`, with the process that has it.
    pub fn take(path: &Path) -> Result<Self, ProjectionError> {
        let lock_path = beside(path, "lock");
        let io_error = |source| ProjectionError::Io { path: lock_path.clone(), source };
        if let Some(dir) = lock_path.parent() {
            std::fs::create_dir_all(dir).map_err(io_error)?;
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(io_error)?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut pid = String::new();
                // Who holds it is for people; the lock itself is what counts.
                drop(file.read_to_string(&mut pid));
                let pid = pid.lines().next().unwrap_or("?").to_owned();
                return Err(ProjectionError::Locked { path: path.to_owned(), pid });
            }
            Err(error) => return Err(io_error(error.into())),
        }
        drop(file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id())));
        Ok(Self { _file: file })
    }
}

/// `<path>.<ending>`.
#[must_use]
pub fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

/// The tables, of one writer or one reader.
#[derive(Debug)]
pub struct Store {
    database: Box<dyn Database>,
    /// What it is called in errors.
    path: PathBuf,
}

impl Store {
    /// Opens the tables, or makes them. The caller holds the `WriterLock`, or made up the path.
    ///
    /// # Errors
    /// What the database is instead, when it is not one that this release can go on with.
    pub fn open(source: &Source, care: Care) -> Result<(Self, PositionOfProjectionRow), ProjectionError> {
        let start = start_of(source);
        let database: Box<dyn Database> = match &source.server {
            None => Box::new(Sqlite::open(&source.path, &start, care)?),
            Some(server) => Box::new(Postgres::open(server, &start)?),
        };
        let mut store = Self { database, path: source.name() };
        let position = store.position_of(source)?;
        check_rules(source, &position)?;
        Ok((store, position))
    }

    /// Opens tables of an older schema, when this release has no other but some more: how far they have come, and the tables
    /// that they lack. The caller holds the `WriterLock`.
    ///
    /// # Errors
    /// What the database is instead.
    pub(super) fn open_to_grow(source: &Source) -> Result<Option<Older>, ProjectionError> {
        let (database, number): (Box<dyn Database>, u32) = match &source.server {
            None => Sqlite::open_to_grow(&source.path).map(|(sqlite, number)| (Box::new(sqlite) as Box<_>, number))?,
            Some(server) => {
                Postgres::open_to_grow(server).map(|(postgres, number)| (Box::new(postgres) as Box<_>, number))?
            }
        };
        let Some(lacking) = schema::added_since(number) else { return Ok(None) };
        let mut store = Self { database, path: source.name() };
        let position = store.position_of(source)?;
        check_rules(source, &position)?;
        Ok(Some(Older { store, position, lacking }))
    }

    /// Opens the tables as they are now: until it is dropped, it sees one moment, whoever writes.
    ///
    /// # Errors
    /// `Missing`, or what the database is instead.
    pub fn open_to_read(source: &Source) -> Result<Self, ProjectionError> {
        let (mut database, begin): (Box<dyn Database>, _) = match &source.server {
            None => (Box::new(Sqlite::open_to_read(&source.path)?), "BEGIN"),
            Some(server) => {
                (Box::new(Postgres::open_to_read(server)?), "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            }
        };
        database.run(begin)?;
        Ok(Self { database, path: source.name() })
    }

    /// The rows that are asked for.
    ///
    /// # Errors
    /// When the database cannot answer.
    pub(super) fn ask(&mut self, sql: &str) -> Result<Vec<Vec<Cell>>, ProjectionError> {
        self.database.ask(sql)
    }

    /// Calls `each` with the rows of a table.
    pub(super) fn load<R: Row>(&mut self, only: &str, mut each: impl FnMut(R)) -> Result<(), ProjectionError> {
        let sql = format!("SELECT {} FROM {} {only}", R::TABLE.cell_names().join(", "), R::TABLE.name);
        for cells in self.database.ask(&sql)? {
            let bad = |source| ProjectionError::BadRow { path: self.path.clone(), source };
            each(R::take(&cells).map_err(bad)?);
        }
        Ok(())
    }

    /// How far the tables have come.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn position(&mut self) -> Result<PositionOfProjectionRow, ProjectionError> {
        let mut found = PositionOfProjectionRow::default();
        self.load("", |row| found = row)?;
        Ok(found)
    }

    /// The same, when they are those of this core.
    ///
    /// # Errors
    /// `OtherStream`; when it cannot be read.
    pub fn position_of(&mut self, source: &Source) -> Result<PositionOfProjectionRow, ProjectionError> {
        let position = self.position()?;
        if position.stream != source.stream {
            let (found, ours) = (position.stream, source.stream.clone());
            return Err(ProjectionError::OtherStream { path: self.path.clone(), found, ours });
        }
        Ok(position)
    }

    /// What the fold needs to go on: all rows but those of orders and of what only grows.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn rows(&mut self) -> Result<Rows, ProjectionError> {
        let mut rows = Rows::default();
        self.load("", |row: CoreRow| rows.cores.load(row.core_id, row))?;
        let current = rows.cores.iter().next().map_or((0, 0), |(_, core)| (core.epoch, core.broker_connection_no));
        let only = format!("WHERE epoch = {} AND connection_no = {}", current.0, current.1 as i64);
        self.load(&only, |row: ConnectionRow| rows.connections.load((row.epoch, row.connection_no), row))?;
        self.load("", |row: InstrumentRow| rows.instruments.load(row.instrument_id, row))?;
        self.load("", |row: AccountRow| rows.accounts.load(row.account_id, row))?;
        self.load("", |row: BalanceRow| rows.balances.load(row.account_id, row))?;
        self.load("", |row: PositionRow| rows.positions.load((row.account_id, row.instrument_id), row))?;
        self.load("WHERE day_ns = (SELECT max(day_ns) FROM daily_pnl)", |row: DailyPnlRow| {
            rows.daily_pnl.load((row.day_ns, row.account_id, row.instrument_id), row);
        })?;
        self.load("", |row: SessionRow| rows.sessions.load(row.session_id, row))?;
        self.load("WHERE until_seq = 0", |row: RiskLimitRow| {
            rows.risk_limits.load((row.since_seq, row.risk_limit), row);
        })?;
        self.load("", |row: KillSwitchRow| rows.kill_switches.load(row.account_id, row))?;
        self.load("WHERE is_completed = 0", |row: MassCancelRow| rows.mass_cancels.load(row.mass_cancel_id, row))?;
        self.load("WHERE ended_seq = 0", |row: SagaRow| rows.sagas.load(row.saga_id, row))?;
        let mut parked = Vec::new();
        let first = "WHERE (aggregate, aggregate_id, seq) IN \
                     (SELECT aggregate, aggregate_id, min(seq) FROM parked_records GROUP BY aggregate, aggregate_id)";
        self.load(first, |row: ParkedRow| {
            parked.extend(Aggregate::from_code(row.aggregate, row.aggregate_id).map(|aggregate| (aggregate, row.seq)));
        })?;
        rows.parked.extend(parked);
        Ok(rows)
    }

    /// An order; `None` when there is no such row.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn order(&mut self, order_id: u64) -> Result<Option<OrderRow>, ProjectionError> {
        let mut found = None;
        self.load(&format!("WHERE order_id = {}", order_id as i64), |row| found = Some(row))?;
        Ok(found)
    }

    /// An event of the log in the tables; `None` when it has left them.
    #[cfg(feature = "kafka")]
    pub(super) fn event(&mut self, seq: u64) -> Result<Option<super::tables::EventRow>, ProjectionError> {
        let mut found = None;
        self.load(&format!("WHERE seq = {}", seq as i64), |row| found = Some(row))?;
        Ok(found)
    }

    /// That its rows must be made anew.
    #[cfg(feature = "kafka")]
    pub(super) fn outdated(&self, why: String) -> ProjectionError {
        ProjectionError::Outdated { path: self.path.clone(), why }
    }

    /// Room that the tables take on their disk.
    ///
    /// # Errors
    /// When the database cannot say.
    pub fn bytes(&mut self) -> Result<u64, ProjectionError> {
        let rows = self.database.ask(self.database.size_sql())?;
        Ok(match rows.first().and_then(|row| row.first()) {
            Some(Cell::Int(bytes)) => *bytes as u64,
            _ => 0,
        })
    }

    /// Writes what has changed and moves the position, in one transaction.
    ///
    /// # Errors
    /// `Moved` when the position is not the one that was left: nothing is written. After any error the rows in memory
    /// are ahead of the database, or behind it where the answer to a commit was lost: they must be dropped.
    pub fn write(
        &mut self,
        rows: &Rows,
        from: &PositionOfProjectionRow,
        to: &PositionOfProjectionRow,
    ) -> Result<(), ProjectionError> {
        if rows.parked.len() > PARKED_MAX {
            return Err(ProjectionError::TooManyParked { path: self.path.clone(), max: PARKED_MAX });
        }
        let written = self.transact(rows, from, to);
        if !matches!(written, Ok(true)) {
            // Where that fails too, the connection is gone, and the transaction with it.
            drop(self.database.run("ROLLBACK"));
        }
        if written? {
            return Ok(());
        }
        let found = self.position()?.seq;
        Err(ProjectionError::Moved { path: self.path.clone(), expected: from.seq, found })
    }

    /// False when the position is another.
    fn transact(
        &mut self,
        rows: &Rows,
        from: &PositionOfProjectionRow,
        to: &PositionOfProjectionRow,
    ) -> Result<bool, ProjectionError> {
        // First: who has lost the race need not write in vain.
        if !self.begin_at(from, to)? {
            return Ok(false);
        }
        rows.each_change(&mut |table, change, next_row| self.database.put(table, change, next_row))?;
        if let Some(before_ns) = rows.remove_before_ns {
            remove(self.database.as_mut(), before_ns)?;
        }
        self.database.run("COMMIT")?;
        Ok(true)
    }

    /// Begins a transaction in which the position is another; false when it is not the one that it was.
    fn begin_at(
        &mut self,
        from: &PositionOfProjectionRow,
        to: &PositionOfProjectionRow,
    ) -> Result<bool, ProjectionError> {
        let moved = self.database.run(&format!(
            "BEGIN; UPDATE projection_positions SET epoch = {}, seq = {}, ts_ns = {}, record_crc = {} \
             WHERE name = '{NAME}' AND seq = {} AND record_crc = {}",
            to.epoch, to.seq as i64, to.ts_ns as i64, to.record_crc as i64, from.seq as i64, from.record_crc as i64,
        ))?;
        Ok(moved == 1)
    }

    /// Ends; everything is on the disk.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn close_durably(self) -> Result<(), ProjectionError> {
        self.database.close_durably()
    }
}

/// Tables of an older schema.
#[derive(Debug)]
pub(super) struct Older {
    pub(super) store: Store,
    pub(super) position: PositionOfProjectionRow,
    pub(super) lacking: Vec<&'static Table>,
}

impl Older {
    /// Makes the tables that are lacking, with the rows that a store has which knows as much.
    pub(super) fn grow(mut self, folded: &mut Store) -> Result<(), ProjectionError> {
        if !self.store.begin_at(&self.position, &self.position)? {
            let (path, expected) = (self.store.path.clone(), self.position.seq);
            return Err(ProjectionError::Moved { path, expected, found: self.store.position()?.seq });
        }
        self.store.database.make(&self.lacking)?;
        self.lacking.iter().try_for_each(|table| fill(self.store.database.as_mut(), table, folded))?;
        self.store.database.run("COMMIT").map(drop)
    }
}

/// Puts the rows that a store has of a table.
pub(super) fn fill(database: &mut dyn Database, table: &Table, from: &mut Store) -> Result<(), ProjectionError> {
    let mut rows = Walk::new(table);
    database.put(table, Change::New, &mut |cells| {
        let row = rows.next(from)?;
        let is_there = row.is_some();
        *cells = row.unwrap_or_default();
        Ok(is_there)
    })
}

/// That the rules of this release, with the days of its configuration, made the rows of a position.
pub(super) fn check_rules(source: &Source, position: &PositionOfProjectionRow) -> Result<(), ProjectionError> {
    let ours = rules(source.keep_days);
    if position.fold_version == ours {
        return Ok(());
    }
    let [found, ours] = [position.fold_version, ours].map(|rules| {
        let (fold, days) = rules_and_days(rules);
        format!("{fold} and days {days}")
    });
    // Others may write it.
    let who = match source.server {
        Some(_) => ", which all need that write or compare it: one release, and one projection.keep_days",
        None => "",
    };
    let why = format!("rules {found} made its rows, and this gateway has rules {ours}{who}");
    Err(ProjectionError::Outdated { path: source.name(), why })
}

/// The position of tables that hold nothing yet.
pub(super) fn start_of(source: &Source) -> PositionOfProjectionRow {
    PositionOfProjectionRow {
        name: NAME.to_owned(),
        stream: source.stream.clone(),
        fold_version: rules(source.keep_days),
        ..PositionOfProjectionRow::default()
    }
}

/// What puts rows of a table, of which `rows` says the values.
///
/// Columns of a key or an index never change, so that an update touches no index but those whose condition it changes.
pub(super) fn upsert(table: &Table, rows: &str) -> String {
    let names = table.cell_names();
    let is_fixed =
        |name: &str| table.key.contains(&name) || table.indexes.iter().any(|index| index.columns.contains(&name));
    let changes: Vec<String> =
        names.iter().filter(|name| !is_fixed(name)).map(|name| format!("{name} = excluded.{name}")).collect();
    format!(
        "INSERT INTO {} ({}) {rows} ON CONFLICT ({}) DO UPDATE SET {}",
        table.name,
        names.join(", "),
        table.key.join(", "),
        changes.join(", ")
    )
}

/// All rows of a table by their key, a page at a time.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    table: &'a Table,
    names: Vec<String>,
    page: std::vec::IntoIter<Vec<Cell>>,
    /// What comes behind it; `None` when nothing does.
    next: Option<String>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(table: &'a Table) -> Self {
        Self { table, names: table.cell_names(), page: Vec::new().into_iter(), next: Some(String::new()) }
    }

    pub(super) fn next(&mut self, store: &mut Store) -> Result<Option<Vec<Cell>>, ProjectionError> {
        if let Some(row) = self.page.next() {
            return Ok(Some(row));
        }
        let Some(only) = self.next.take() else { return Ok(None) };
        let key = self.table.key.join(", ");
        let (names, name) = (self.names.join(", "), self.table.name);
        let rows = store.ask(&format!("SELECT {names} FROM {name} {only} ORDER BY {key} LIMIT {PAGE_ROWS}"))?;
        if let Some(last) = rows.last().filter(|_| rows.len() == PAGE_ROWS) {
            let values: Vec<String> = self.table.key.iter().map(|key| self.literal(last, key)).collect();
            self.next = Some(format!("WHERE ({key}) > ({})", values.join(", ")));
        }
        self.page = rows.into_iter();
        Ok(self.page.next())
    }

    /// A cell of a key as SQL says it.
    fn literal(&self, row: &[Cell], key: &str) -> String {
        match self.names.iter().position(|name| name == key).and_then(|at| row.get(at)) {
            Some(Cell::Int(value)) => value.to_string(),
            Some(Cell::Text(text)) => format!("'{}'", text.replace('\'', "''")),
            Some(Cell::Null | Cell::Bytes(_)) | None => "NULL".to_owned(),
        }
    }
}
