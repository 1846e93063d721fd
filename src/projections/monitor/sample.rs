//! Single rows, to be compared.

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

/// Key columns and their values; they are integers in every table that is compared.
pub(super) fn keys(table: &Table, cells: &[Cell]) -> Vec<(&'static str, i64)> {
    table.key.iter().filter_map(|column| Some((*column, int(table, cells, column)?))).collect()
}

/// Rows by their keys.
type ByKey = BTreeMap<Vec<(&'static str, i64)>, Vec<Cell>>;

/// The rows with the keys of others, in one question.
pub(super) fn rows(store: &mut Store, table: &Table, others: &[Vec<Cell>]) -> Result<ByKey, ProjectionError> {
    let of =
        |row: &Vec<Cell>| keys(table, row).iter().map(|(_, value)| value.to_string()).collect::<Vec<_>>().join(", ");
    let (names, list) = (table.cell_names().join(", "), others.iter().map(of));
    let wanted = match table.key {
        [key] => format!("{key} IN ({})", list.collect::<Vec<_>>().join(", ")),
        several => {
            let list: Vec<String> = list.map(|values| format!("({values})")).collect();
            format!("({}) IN (VALUES {})", several.join(", "), list.join(", "))
        }
    };
    let found = store.ask(&format!("SELECT {names} FROM {} WHERE {wanted}", table.name))?;
    Ok(found.into_iter().map(|row| (keys(table, &row), row)).collect())
}

fn number(rows: &[Vec<Cell>]) -> u64 {
    match rows.first().and_then(|row| row.first()) {
        Some(Cell::Int(value)) => *value as u64,
        _ => 0,
    }
}

/// How many rows of a table there are.
pub(super) fn count(store: &mut Store, table: &Table, only: &str) -> Result<u64, ProjectionError> {
    Ok(number(&store.ask(&format!("SELECT count(*) FROM {} {only}", table.name))?))
}

/// The first event in the log; 0 when there is none.
pub(super) fn first_seq(store: &mut Store) -> Result<u64, ProjectionError> {
    Ok(number(&store.ask("SELECT min(seq) FROM events")?))
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
