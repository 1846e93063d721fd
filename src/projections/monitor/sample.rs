//! Rows and keys, to be compared.

use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::Connection;

use super::Finding;
use crate::projections::cell::Cell;
use crate::projections::declare::Table;
use crate::projections::error::ProjectionError;
use crate::projections::postgres::run_beside;
use crate::projections::projector::Source;
use crate::projections::store::Store;
use crate::projections::tables::TABLES;

/// The cell of a column, if it is an integer.
pub(super) fn int(table: &Table, cells: &[Cell], column: &str) -> Option<i64> {
    let at = table.cell_names().iter().position(|name| name == column)?;
    match cells.get(at) {
        Some(Cell::Int(value)) => Some(*value),
        _ => None,
    }
}

/// Whether a row is another but for its mark of being stale.
pub(super) fn is_but_marked(table: &Table, marked: &[Cell], row: &[Cell]) -> bool {
    let Some(at) = table.cell_names().iter().position(|name| name == "is_stale") else { return false };
    let but = |cells: &[Cell]| {
        cells.iter().enumerate().filter(|(place, _)| *place != at).map(|(_, cell)| cell.clone()).collect::<Vec<_>>()
    };
    marked.get(at) == Some(&Cell::Int(1)) && but(marked) == but(row)
}

/// Key columns and their values.
pub(super) type Key = Vec<(&'static str, i64)>;

/// Key columns and their values; they are integers in every table that is compared.
pub(super) fn keys(table: &Table, cells: &[Cell]) -> Key {
    table.key.iter().filter_map(|column| Some((*column, int(table, cells, column)?))).collect()
}

/// Rows by their keys.
type ByKey = BTreeMap<Key, Vec<Cell>>;

/// The rows with the keys of others, in one question.
pub(super) fn rows(store: &mut Store, table: &Table, others: &[Vec<Cell>]) -> Result<ByKey, ProjectionError> {
    let of =
        |row: &Vec<Cell>| keys(table, row).iter().map(|(_, value)| value.to_string()).collect::<Vec<_>>().join(", ");
    let list = others.iter().map(of);
    let wanted = match table.key {
        [key] => format!("{key} IN ({})", list.collect::<Vec<_>>().join(", ")),
        several => {
            let list: Vec<String> = list.map(|values| format!("({values})")).collect();
            format!("({}) IN (VALUES {})", several.join(", "), list.join(", "))
        }
    };
    rows_where(store, table, &wanted, others.len())
}

/// Rows of a table, so many at most.
pub(super) fn rows_where(
    store: &mut Store,
    table: &Table,
    wanted: &str,
    most: usize,
) -> Result<ByKey, ProjectionError> {
    let names = table.cell_names().join(", ");
    let found = store.ask(&format!("SELECT {names} FROM {} WHERE {wanted} LIMIT {most}", table.name))?;
    Ok(found.into_iter().map(|row| (keys(table, &row), row)).collect())
}

/// Keys of such rows, so many at most.
pub(super) fn keys_where(
    store: &mut Store,
    table: &Table,
    wanted: &str,
    most: usize,
) -> Result<Vec<Key>, ProjectionError> {
    let names = table.key.join(", ");
    let found = store.ask(&format!("SELECT {names} FROM {} WHERE {wanted} LIMIT {most}", table.name))?;
    let key = |row: Vec<Cell>| {
        let value = |cell| if let Cell::Int(value) = cell { value } else { 0 };
        table.key.iter().copied().zip(row.into_iter().map(value)).collect()
    };
    Ok(found.into_iter().map(key).collect())
}

/// Integers, one a row.
pub(super) fn ints(store: &mut Store, sql: &str) -> Result<Vec<i64>, ProjectionError> {
    let int = |row: &Vec<Cell>| if let Some(Cell::Int(value)) = row.first() { Some(*value) } else { None };
    Ok(store.ask(sql)?.iter().filter_map(int).collect())
}

/// Marks rows that differ, where their table has a mark: until it is made anew, who reads them is told.
pub(super) fn mark_stale(source: &Source, findings: &[Finding]) {
    let marks = findings.iter().filter_map(|finding| {
        let has_mark = |table: &&Table| table.name == finding.table && table.column("is_stale").is_some();
        let table = TABLES.iter().find(has_mark)?;
        let key: Vec<String> = finding.key.iter().map(|(column, value)| format!(" AND {column} = {value}")).collect();
        Some(format!("UPDATE {} SET is_stale = 1 WHERE 1 = 1{};", table.name, key.concat()))
    });
    let marks: String = marks.collect();
    let sqlite = |error| ProjectionError::Sqlite { path: source.path.clone(), source: error };
    let marked = match &source.server {
        Some(server) => run_beside(server, &marks),
        None => Connection::open(&source.path)
            .and_then(|connection| {
                connection.busy_timeout(Duration::from_secs(1))?;
                connection.execute_batch(&marks)
            })
            .map_err(sqlite),
    };
    if let Err(error) = marked {
        tracing::warn!(%error, "rows that differ could not be marked as stale");
    }
}
