//! Single rows, to be compared.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

use super::Finding;
use crate::projections::cell::Cell;
use crate::projections::declare::Table;
use crate::projections::error::ProjectionError;
use crate::projections::projector::Source;
use crate::projections::store::cells_of;
use crate::projections::tables::TABLES;

fn sqlite(path: &Path) -> impl Fn(rusqlite::Error) -> ProjectionError {
    move |source| ProjectionError::Sqlite { path: path.to_owned(), source }
}

/// The cell of a column, if it is an integer.
pub(super) fn int(table: &Table, cells: &[Cell], column: &str) -> Option<i64> {
    let at = table.cell_names().iter().position(|name| name == column)?;
    match cells.get(at) {
        Some(Cell::Int(value)) => Some(*value),
        _ => None,
    }
}

/// Key columns and their values; they are integers in every table that is compared.
pub(super) fn keys(table: &Table, cells: &[Cell]) -> Vec<(&'static str, i64)> {
    table.key.iter().filter_map(|column| Some((*column, int(table, cells, column)?))).collect()
}

/// The row with the key of another.
pub(super) fn row(
    connection: &Connection,
    path: &Path,
    table: &Table,
    other: &[Cell],
) -> Result<Option<Vec<Cell>>, ProjectionError> {
    let keys = keys(table, other);
    let places: Vec<String> = (1..).zip(&keys).map(|(nth, (column, _))| format!("{column} = ?{nth}")).collect();
    let names = table.cell_names();
    let sql = format!("SELECT {} FROM {} WHERE {}", names.join(", "), table.name, places.join(" AND "));
    let mut statement = connection.prepare_cached(&sql).map_err(sqlite(path))?;
    let values = rusqlite::params_from_iter(keys.iter().map(|(_, value)| *value));
    let mut found = statement.query(values).map_err(sqlite(path))?;
    let row = found.next().map_err(sqlite(path))?;
    row.map(|row| cells_of(row, names.len())).transpose().map_err(sqlite(path))
}

/// Rows of a table.
pub(super) fn count(connection: &Connection, path: &Path, table: &Table, only: &str) -> Result<u64, ProjectionError> {
    let sql = format!("SELECT count(*) FROM {} {only}", table.name);
    connection.query_row(&sql, [], |row| row.get::<_, u32>(0)).map(u64::from).map_err(sqlite(path))
}

/// The first event in the log; 0 when there is none.
pub(super) fn first_seq(connection: &Connection, path: &Path) -> Result<u64, ProjectionError> {
    let first = connection.query_row("SELECT min(seq) FROM events", [], |row| row.get::<_, Option<i64>>(0));
    first.map(|seq| seq.unwrap_or(0) as u64).map_err(sqlite(path))
}

/// Marks rows that differ, where their table has a mark: until it is made anew, who reads them is told.
pub(super) fn mark_stale(source: &Source, findings: &[Finding]) {
    let mark = || -> rusqlite::Result<()> {
        let connection = Connection::open(&source.path)?;
        connection.busy_timeout(Duration::from_secs(1))?;
        for finding in findings {
            let has_mark = |table: &&Table| table.name == finding.table && table.column("is_stale").is_some();
            let Some(table) = TABLES.iter().find(has_mark) else { continue };
            let key: Vec<String> =
                finding.key.iter().map(|(column, value)| format!(" AND {column} = {value}")).collect();
            connection.execute(&format!("UPDATE {} SET is_stale = 1 WHERE 1{}", table.name, key.concat()), [])?;
        }
        Ok(())
    };
    if let Err(error) = mark() {
        tracing::warn!(%error, "rows that differ could not be marked as stale");
    }
}
