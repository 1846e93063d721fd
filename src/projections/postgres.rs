//! The tables in PostgreSQL.
//!
//! Its synchronous client is used: this is a thread of its own, which has nothing else to do while it waits. New rows go
//! over by COPY; changed ones as arrays, one of each column, which one statement takes into their table. Not by way of a
//! temporary table: the server would empty those at each commit, used or not.

use std::collections::BTreeMap;
use std::io::Write as _;

use postgres::types::{ToSql, Type};
use postgres::{Client, SimpleQueryMessage, Statement};

use super::cell::Cell;
use super::declare::{Dialect, Row as _, Table};
use super::error::ProjectionError;
use super::rebuild::MayReplace;
use super::rows::{Change, NextRow, one_row};
use super::schema;
use super::server::Server;
use super::store::{Database, Store, fill, upsert};
use super::tables::{PositionOfProjectionRow, TABLES};

/// Bytes of rows that are sent at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// How a COPY begins: signature, flags, length of an extension; and how it ends.
const COPY_HEAD: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const COPY_END: &[u8] = &(-1_i16).to_be_bytes();

/// What the comment on each table begins with; that on the table of positions goes on with the schema's number.
const MARK: &str = "tradecore read model";

/// Longest wait for a writer that ends: for the server to see that its connection is gone.
const WRITER_WAIT_MS: u32 = 2_000;

/// Longest wait for a lock that somebody holds on a table or row.
const LOCK_WAIT_MS: u32 = 10_000;

/// How many times as long as for an answer is waited for one that replaces all rows.
const REPLACING: u32 = 30;

/// A connection to a server.
pub(super) struct Postgres {
    client: Client,
    server: Server,
    /// What the server has made ready of what is said again and again.
    statements: BTreeMap<String, Statement>,
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.server.fmt(f)
    }
}

/// What the schema holds.
enum Found {
    /// There is no such schema.
    Nothing,
    /// There is nothing in it.
    Empty,
    /// Tables of another program.
    Foreign,
    /// Tables of ours: the comment on that of positions.
    Ours(String),
}

impl Postgres {
    /// Connects as the one writer, and makes the tables where there are none.
    pub(super) fn open(server: &Server, start: &PositionOfProjectionRow) -> Result<Self, ProjectionError> {
        let mut postgres = Self::connect(server)?;
        postgres.lock()?;
        let comment = match postgres.find()? {
            found @ (Found::Nothing | Found::Empty) => {
                let make_schema = match found {
                    Found::Nothing => format!("CREATE SCHEMA {};", quoted(&server.schema)),
                    _ => String::new(),
                };
                postgres.run(&format!("BEGIN; {make_schema}"))?;
                postgres.make_all(start)?;
                postgres.run("COMMIT")?;
                mark()
            }
            found => postgres.number_of(found)?,
        };
        if comment != mark() {
            // Views hold no rows: they are made as this release shows them.
            let views: String = schema::views(Dialect::Postgres).into_iter().map(|(_, view)| view).collect();
            let views = views.replace("CREATE VIEW", "CREATE OR REPLACE VIEW");
            postgres.run(&format!("BEGIN; {views} {}; COMMIT", comment_on_positions()))?;
        }
        Ok(postgres)
    }

    /// Connects as the one writer, to add to tables of ours; the number of their schema.
    pub(super) fn open_to_grow(server: &Server) -> Result<(Self, u32), ProjectionError> {
        let mut postgres = Self::connect_to_replace(server)?;
        match postgres.find()? {
            Found::Nothing | Found::Empty => Err(ProjectionError::Missing { path: server.name().into() }),
            Found::Foreign => Err(ProjectionError::Foreign { path: server.name().into() }),
            Found::Ours(comment) => Ok((postgres, number_in(&comment))),
        }
    }

    /// The same, for statements of any length, as long as rows go over.
    fn connect_to_replace(server: &Server) -> Result<Self, ProjectionError> {
        let mut server = server.clone();
        server.link.answer_max = server.link.answer_max.saturating_mul(REPLACING);
        let mut postgres = Self::connect(&server)?;
        postgres.run("SET statement_timeout = 0")?;
        postgres.lock()?;
        Ok(postgres)
    }

    /// Connects to ask.
    pub(super) fn open_to_read(server: &Server) -> Result<Self, ProjectionError> {
        let mut postgres = Self::connect(server)?;
        match postgres.find()? {
            Found::Nothing | Found::Empty => Err(ProjectionError::Missing { path: server.name().into() }),
            found => postgres.number_of(found).map(|_| postgres),
        }
    }

    fn connect(server: &Server) -> Result<Self, ProjectionError> {
        let client = server.config.connect(server.link.clone()).map_err(|source| server.error(source))?;
        let mut postgres = Self { client, server: server.clone(), statements: BTreeMap::new() };
        postgres.run(&format!(
            "SET search_path TO {}; SET lock_timeout = {LOCK_WAIT_MS}; SET client_min_messages = warning; \
             SET synchronous_commit = on; SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3; \
             SET idle_in_transaction_session_timeout = 0; SET statement_timeout = {}",
            quoted(&server.schema),
            // A server that works on something says so before it counts as silent.
            server.link.answer_max.saturating_mul(9).as_millis() / 10
        ))?;
        Ok(postgres)
    }

    /// Takes the lock of the one writer, which ends with the connection. One whose connection was lost has it until the
    /// server has seen that too, and its last transaction is committed or taken back: so what the position says after
    /// this does not change any more.
    fn lock(&mut self) -> Result<(), ProjectionError> {
        let (one, schema) = lock_of(&self.server);
        let two = schema as i32;
        let taken = self.client.simple_query(&format!(
            "SET lock_timeout = {WRITER_WAIT_MS}; SELECT pg_advisory_lock({one}, {two}); SET lock_timeout = {LOCK_WAIT_MS}"
        ));
        let Err(source) = taken else { return Ok(()) };
        if source.code() != Some(&postgres::error::SqlState::LOCK_NOT_AVAILABLE) {
            return Err(self.server.error(source));
        }
        let holder = self.ask(&format!(
            "SELECT format('%s of the server, of %s', pid, coalesce(host(client_addr), 'its own host')) \
             FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' AND granted \
             AND pg_locks.classid = {one} AND pg_locks.objid = {schema} \
             AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        ))?;
        let pid = match holder.first().and_then(|row| row.first()) {
            Some(Cell::Text(text)) => text.clone(),
            _ => "?".to_owned(),
        };
        Err(ProjectionError::Locked { path: self.server.name().into(), pid })
    }

    fn find(&mut self) -> Result<Found, ProjectionError> {
        let schema = literal(&self.server.schema);
        if self.ask(&format!("SELECT nspname::text FROM pg_namespace WHERE nspname = {schema}"))?.is_empty() {
            return Ok(Found::Nothing);
        }
        let tables = self.ask(&format!(
            "SELECT relname::text, coalesce(obj_description(pg_class.oid, 'pg_class'), '') \
             FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace \
             WHERE nspname = {schema} AND relkind IN ('r', 'p', 'v', 'm', 'f')"
        ))?;
        let positions = tables.iter().find_map(|row| match row.as_slice() {
            [Cell::Text(name), Cell::Text(comment)] if name == PositionOfProjectionRow::TABLE.name => Some(comment),
            _ => None,
        });
        Ok(match positions {
            Some(comment) if comment.starts_with(MARK) => Found::Ours(comment.clone()),
            None if tables.is_empty() => Found::Empty,
            Some(_) | None => Found::Foreign,
        })
    }

    /// The comment on tables of this release's schema; else what they are instead.
    fn number_of(&self, found: Found) -> Result<String, ProjectionError> {
        let path = self.server.name().into();
        let Found::Ours(comment) = found else { return Err(ProjectionError::Foreign { path }) };
        let (found, known) = (number_in(&comment), schema::number());
        match found.cmp(&known) {
            std::cmp::Ordering::Greater => Err(ProjectionError::Newer { path, found, known }),
            std::cmp::Ordering::Less => {
                let why = format!("its schema is number {found}, and this release has {known}");
                Err(ProjectionError::Outdated { path, why })
            }
            std::cmp::Ordering::Equal => Ok(comment),
        }
    }

    /// Whose tables they are, and what they know last, if they say: in every schema that there has been.
    fn place(&mut self) -> Result<Option<PositionOfProjectionRow>, ProjectionError> {
        let rows = self.ask("SELECT stream, seq, record_crc FROM projection_positions LIMIT 1")?;
        Ok(match rows.first().map(Vec::as_slice) {
            Some([Cell::Text(stream), Cell::Int(seq), Cell::Int(record_crc)]) => Some(PositionOfProjectionRow {
                stream: stream.clone(),
                seq: *seq as u64,
                record_crc: *record_crc as u64,
                ..PositionOfProjectionRow::default()
            }),
            _ => None,
        })
    }

    /// Makes tables and views, within the transaction that is open.
    fn make_all(&mut self, start: &PositionOfProjectionRow) -> Result<(), ProjectionError> {
        self.make(&Vec::from_iter(TABLES))?;
        self.run(&comment_on_positions())?;
        self.put(&PositionOfProjectionRow::TABLE, Change::New, &mut one_row(start))
    }

    /// What is said again and again, made ready once.
    fn prepared(&mut self, sql: String) -> Result<Statement, ProjectionError> {
        if let Some(statement) = self.statements.get(&sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(&sql).map_err(|source| self.server.error(source))?;
        self.statements.insert(sql, statement.clone());
        Ok(statement)
    }

    /// Rows of which there may be some: as columns, so that one statement takes them all.
    fn put_changed(&mut self, table: &Table, next_row: NextRow<'_>) -> Result<(), ProjectionError> {
        let names = table.cell_names().join(", ");
        let described = self.prepared(format!("SELECT {names} FROM {}", table.name))?;
        let types: Vec<&Type> = described.columns().iter().map(postgres::Column::type_).collect();
        let mut columns: Vec<Cells> = types.iter().map(|of| Cells::of(of)).collect();
        let mut cells = Vec::new();
        while next_row(&mut cells)? {
            columns.iter_mut().zip(cells.drain(..)).for_each(|(column, cell)| column.push(cell));
        }
        let places = (1..).zip(&types).map(|(place, of)| format!("${place}::{}[]", of.name()));
        let rows = format!("SELECT * FROM unnest({})", places.collect::<Vec<_>>().join(", "));
        let statement = self.prepared(upsert(table, &rows))?;
        let values: Vec<&(dyn ToSql + Sync)> = columns.iter().map(Cells::as_sql).collect();
        self.client.execute(&statement, &values).map(drop).map_err(|source| self.server.error(source))
    }

    /// Takes away what a release of another schema has made, within the transaction that is open.
    fn unmake(&mut self) -> Result<(), ProjectionError> {
        let schema = literal(&self.server.schema);
        let ours = self.ask(&format!(
            "SELECT relname::text FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace \
             WHERE nspname = {schema} AND relkind = 'r' AND obj_description(pg_class.oid, 'pg_class') LIKE '{MARK}%'"
        ))?;
        for row in ours {
            if let Some(Cell::Text(name)) = row.first() {
                let (view, table) = (quoted(&format!("{name}_view")), quoted(name));
                self.run(&format!("DROP VIEW IF EXISTS {view}; DROP TABLE {table}"))?;
            }
        }
        Ok(())
    }
}

/// The two numbers of the lock of the one writer.
fn lock_of(server: &Server) -> (i32, u32) {
    let schema = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, server.schema.as_bytes()) as u32;
    (schema::APPLICATION_ID, schema)
}

/// Ends the connection of a worker of the same group that holds the lock of the one writer; false when nobody of them
/// does. What it has not committed is taken back.
#[cfg(feature = "kafka")]
pub(super) fn end_fellow(server: &Server) -> Result<bool, ProjectionError> {
    let (one, schema) = lock_of(server);
    // In the list, and not in the condition, which may be looked at in any order: it is done for these rows alone.
    let ended = Postgres::connect(server)?.ask(&format!(
        "SELECT pg_terminate_backend(pid)::int::bigint FROM pg_locks JOIN pg_stat_activity USING (pid) \
         WHERE locktype = 'advisory' AND granted AND pg_locks.classid = {one} AND pg_locks.objid = {schema} \
         AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
         AND application_name = current_setting('application_name')"
    ))?;
    Ok(!ended.is_empty())
}

/// What tables of any release on a server know last; `None` where there are none of ours.
pub(super) fn place_of(server: &Server) -> Result<Option<PositionOfProjectionRow>, ProjectionError> {
    let mut postgres = Postgres::connect(server)?;
    match postgres.find()? {
        Found::Ours(_) => postgres.place(),
        Found::Nothing | Found::Empty | Found::Foreign => Ok(None),
    }
}

/// Does what is said, beside the writer.
pub(super) fn run_beside(server: &Server, sql: &str) -> Result<(), ProjectionError> {
    Postgres::open_to_read(server)?.run(sql).map(drop)
}

/// Puts the rows of another store in the place of all that there are, in one transaction: who reads sees the old rows
/// until it ends, or waits for it where the schema is another.
pub(super) fn replace(
    server: &Server,
    start: &PositionOfProjectionRow,
    may_replace: MayReplace<'_>,
    from: &mut Store,
) -> Result<(), ProjectionError> {
    let mut postgres = Postgres::connect_to_replace(server)?;
    let found = postgres.find()?;
    let make_schema = match found {
        Found::Nothing => format!("CREATE SCHEMA {};", quoted(&server.schema)),
        _ => String::new(),
    };
    postgres.run(&format!("BEGIN; {make_schema}"))?;
    match found {
        Found::Foreign => return Err(ProjectionError::Foreign { path: server.name().into() }),
        Found::Nothing | Found::Empty => postgres.make_all(start)?,
        Found::Ours(comment) => {
            if let Some(place) = postgres.place()? {
                if place.stream != start.stream {
                    let (found, ours) = (place.stream, start.stream.clone());
                    return Err(ProjectionError::OtherStream { path: server.name().into(), found, ours });
                }
                may_replace(&place)?;
            }
            if number_in(&comment) != schema::number() {
                postgres.unmake()?;
                postgres.make_all(start)?;
            }
        }
    }
    for table in TABLES {
        postgres.run(&format!("DELETE FROM {}", table.name))?;
        fill(&mut postgres, table, from)?;
    }
    postgres.run("COMMIT").map(drop)
}

impl Database for Postgres {
    fn ask(&mut self, sql: &str) -> Result<Vec<Vec<Cell>>, ProjectionError> {
        let rows = self.client.query(sql, &[]).map_err(|source| self.server.error(source))?;
        let cells = rows.iter().map(|row| (0..row.len()).map(|at| cell_of(row, at)).collect::<Result<_, _>>());
        cells.collect::<Result<_, _>>().map_err(|source| self.server.error(source))
    }

    fn run(&mut self, sql: &str) -> Result<u64, ProjectionError> {
        let said = self.client.simple_query(sql).map_err(|source| self.server.error(source))?;
        let counts = said.iter().filter_map(|one| match one {
            SimpleQueryMessage::CommandComplete(count) => Some(*count),
            _ => None,
        });
        Ok(counts.last().unwrap_or(0))
    }

    fn make(&mut self, tables: &[&Table]) -> Result<(), ProjectionError> {
        let sql: String = tables
            .iter()
            .map(|table| {
                let comment = literal(&format!("{MARK}: {}", table.doc.trim()));
                let (ddl, view) = (table.ddl(Dialect::Postgres), table.view_ddl(Dialect::Postgres));
                format!("{ddl}{view}COMMENT ON TABLE {} IS {comment};\n", table.name)
            })
            .collect();
        // Views of other tables may be those of an older release: the next who opens them looks.
        let number = literal(&format!("{MARK}, schema {}", schema::number()));
        self.run(&format!("{sql}COMMENT ON TABLE {} IS {number}", PositionOfProjectionRow::TABLE.name)).map(drop)
    }

    fn put(&mut self, table: &Table, change: Change, next_row: NextRow<'_>) -> Result<(), ProjectionError> {
        if change == Change::Changed {
            return self.put_changed(table, next_row);
        }
        let names = table.cell_names().join(", ");
        let statement = self.prepared(format!("COPY {} ({names}) FROM STDIN (FORMAT binary)", table.name))?;
        let copy = self.client.copy_in(&statement);
        let mut copy = copy.map_err(|source| self.server.error(source))?;
        let lost = |source: std::io::Error| self.server.io_error(&source);
        let (mut bytes, mut cells) = (COPY_HEAD.to_vec(), Vec::new());
        while next_row(&mut cells)? {
            encode(&cells, &mut bytes);
            if bytes.len() >= CHUNK_BYTES {
                copy.write_all(&bytes).map_err(lost)?;
                bytes.clear();
            }
        }
        bytes.extend_from_slice(COPY_END);
        copy.write_all(&bytes).map_err(lost)?;
        copy.finish().map(drop).map_err(|source| self.server.error(source))
    }

    fn size_sql(&self) -> &'static str {
        "SELECT coalesce(sum(pg_total_relation_size(pg_class.oid)), 0)::bigint FROM pg_class \
         JOIN pg_namespace ON pg_namespace.oid = relnamespace WHERE nspname = current_schema() AND relkind = 'r'"
    }

    fn close_durably(self: Box<Self>) -> Result<(), ProjectionError> {
        let Self { client, server, .. } = *self;
        client.close().map_err(|source| server.error(source))
    }
}

/// A name as SQL says it, whatever stands in it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as SQL says it, whatever stands in it.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// What the comment on the table of positions says: number of the schema, fingerprint of the views.
fn mark() -> String {
    let views: String = schema::views(Dialect::Postgres).into_iter().map(|(_, view)| view).collect();
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, views.as_bytes());
    format!("{MARK}, schema {}, views {crc:016x}", schema::number())
}

fn comment_on_positions() -> String {
    format!("COMMENT ON TABLE {} IS {}", PositionOfProjectionRow::TABLE.name, literal(&mark()))
}

/// The number of the schema in a comment; 0 where none can be read.
fn number_in(comment: &str) -> u32 {
    let rest = comment.split_once(", schema ").map_or("", |(_, rest)| rest);
    rest.split(',').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn cell_of(row: &postgres::Row, at: usize) -> Result<Cell, postgres::Error> {
    Ok(match row.columns().get(at).map(postgres::Column::type_) {
        Some(&Type::INT8) => row.try_get::<_, Option<i64>>(at)?.map_or(Cell::Null, Cell::Int),
        Some(&Type::TEXT) => row.try_get::<_, Option<String>>(at)?.map_or(Cell::Null, Cell::Text),
        Some(&Type::BYTEA) => row.try_get::<_, Option<Vec<u8>>>(at)?.map_or(Cell::Null, Cell::Bytes),
        _ => Cell::Null,
    })
}

/// The cells of a column.
enum Cells {
    Int(Vec<Option<i64>>),
    Text(Vec<Option<String>>),
    Bytes(Vec<Option<Vec<u8>>>),
}

impl Cells {
    fn of(column: &Type) -> Self {
        match *column {
            Type::TEXT => Self::Text(Vec::new()),
            Type::BYTEA => Self::Bytes(Vec::new()),
            _ => Self::Int(Vec::new()),
        }
    }

    /// What is not of the column's type, which the declaration of the tables rules out, is null.
    fn push(&mut self, cell: Cell) {
        match (self, cell) {
            (Self::Int(cells), Cell::Int(value)) => cells.push(Some(value)),
            (Self::Text(cells), Cell::Text(text)) => cells.push(Some(text)),
            (Self::Bytes(cells), Cell::Bytes(bytes)) => cells.push(Some(bytes)),
            (Self::Int(cells), _) => cells.push(None),
            (Self::Text(cells), _) => cells.push(None),
            (Self::Bytes(cells), _) => cells.push(None),
        }
    }

    fn as_sql(&self) -> &(dyn ToSql + Sync) {
        match self {
            Self::Int(cells) => cells,
            Self::Text(cells) => cells,
            Self::Bytes(cells) => cells,
        }
    }
}

/// Adds a row as a binary COPY has it: how many cells, and each with its length.
fn encode(cells: &[Cell], out: &mut Vec<u8>) {
    // No table has more columns than a number of 16 bits counts, and no cell more bytes than one of 31.
    out.extend_from_slice(&(cells.len() as i16).to_be_bytes());
    for cell in cells {
        let bytes: &[u8] = match cell {
            Cell::Null => {
                out.extend_from_slice(&(-1_i32).to_be_bytes());
                continue;
            }
            Cell::Int(value) => &value.to_be_bytes(),
            Cell::Text(text) => text.as_bytes(),
            Cell::Bytes(bytes) => bytes,
        };
        out.extend_from_slice(&(bytes.len() as i32).to_be_bytes());
        out.extend_from_slice(bytes);
    }
}
