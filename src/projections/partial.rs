//! Some tables made anew, or their newest rows: folded from the journal beside, and taken over in one transaction.

use std::collections::BTreeSet;

use rusqlite::Connection;

use super::declare::{Row as _, Table};
use super::error::ProjectionError;
use super::projector::{Source, check_place};
use super::rebuild::{Compared, OnProgress, Rebuilt, Shadow, compare, compare_one, fold_to, fresh, old, rebuild};
use super::store::{Store, beside};
use super::tables::{ParkedRow, TABLES};
use crate::shipping::domains::Domain;

/// The domain that a table tells of; `None` for the place of the projection itself.
#[must_use]
pub fn domain_of(table: &str) -> Option<Domain> {
    Some(match table {
        "orders" | "order_history" | "fills" | "mass_cancels" => Domain::Order,
        "positions" | "positions_history" | "daily_pnl" => Domain::Position,
        "accounts" | "balances" | "kill_switches" | "risk_events" | "risk_limits" => Domain::BrokerAccount,
        "sessions" => Domain::UserAccount,
        "connections" => Domain::BrokerConnection,
        "cores" | "instruments" | "sagas" | "saga_steps" | "events" | "parked_records" => Domain::System,
        _ => return None,
    })
}

/// Tables of some domains.
#[must_use]
pub fn tables_of(domains: &[Domain]) -> Vec<&'static str> {
    let is_of = |table: &&Table| domain_of(table.name).is_some_and(|domain| domains.contains(&domain));
    TABLES.iter().filter(is_of).map(|table| table.name).collect()
}

/// From where on rows are made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// All of them.
    Start,
    /// From an event on.
    Seq(u64),
    /// From the first event at or after a time, UTC ns.
    Time(u64),
}

/// The rows of a table that an event at or behind `seq` has made or changed, as SQL.
fn rows_from(table: &Table, seq: u64) -> String {
    let column = ["updated_seq", "seq"].into_iter().find(|name| table.column(name).is_some());
    column.map_or_else(|| "1".to_owned(), |column| format!("{column} >= {}", bound(seq)))
}

/// As a column keeps it: one that no row can reach is not any other.
fn bound(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Makes tables anew in place, while those who read see the old rows or the new. The caller holds the `WriterLock`. All
/// are made anew where the old ones cannot be read, are not of this journal, or have parked what it does not.
///
/// # Errors
/// When the journal cannot be read or the disk is full: the old rows stay.
pub fn remake(
    source: &Source,
    tables: &[&'static str],
    from: From,
    progress: OnProgress<'_>,
) -> Result<Rebuilt, ProjectionError> {
    // A server's tables are made anew all at once, in one transaction: its host has no file to take rows over from.
    let Some((mut there, seq)) = old(source).filter(|_| source.server.is_none()) else {
        return rebuild(source, progress);
    };
    let shadow = Shadow::new(beside(&source.path, "rebuild"))?;
    let mut projector = fresh(source, &shadow)?;
    fold_to(&mut projector, seq, seq, progress)?;
    if projector.position().seq != seq {
        drop((there, projector, shadow));
        return rebuild(source, progress);
    }
    let wanted: BTreeSet<&str> = tables.iter().copied().collect();
    let all = compare(&mut there, projector.store())?;
    if all.iter().any(|table| table.table == ParkedRow::TABLE.name && table.there != table.folded) {
        // What is parked keeps what follows out of other tables: so what was parked for no reason is in none of them.
        drop((there, projector, shadow));
        return rebuild(source, progress);
    }
    let differing: Vec<Compared> =
        all.into_iter().filter(|table| wanted.contains(table.table) && table.there != table.folded).collect();
    drop(there);
    projector.close_durably()?;
    let found = take_over(source, &shadow, &wanted, from, seq)?;
    if found != seq {
        // Somebody has written meanwhile, without the lock.
        return Err(ProjectionError::Moved { path: source.path.clone(), expected: seq, found });
    }
    let mut left = Vec::new();
    if from != From::Start {
        let folded = Source { path: shadow.path().to_owned(), ..source.clone() };
        left = compare(&mut Store::open_to_read(source)?, &mut Store::open_to_read(&folded)?)?;
        left.retain(|table| wanted.contains(table.table) && table.there != table.folded);
    }
    Ok(Rebuilt { seq, differing: Some(differing), left })
}

/// Makes and fills the tables that this release has more than the one that made the others, which stay as they are; which
/// those are. `None` where that would not do: all are to be made anew. The caller holds the `WriterLock`.
///
/// # Errors
/// As `remake`, and as `check_place`.
pub(super) fn add(source: &Source, progress: OnProgress<'_>) -> Result<Option<Vec<&'static str>>, ProjectionError> {
    let Some(mut older) = Store::open_to_grow(source)? else { return Ok(None) };
    let at = older.position.clone();
    check_place(source, &at)?;
    let shadow = Shadow::new(beside(&source.path, "rebuild"))?;
    let mut projector = fresh(source, &shadow)?;
    fold_to(&mut projector, at.seq, at.seq, progress)?;
    // Another journal, or another end of it.
    let is_of_it = (projector.position().seq, projector.position().record_crc) == (at.seq, at.record_crc);
    // What is parked keeps what follows out of other tables.
    let parked = compare_one(&ParkedRow::TABLE, &mut older.store, projector.store())?;
    if !is_of_it || parked.there != parked.folded {
        return Ok(None);
    }
    let added = older.lacking.iter().map(|table| table.name).collect();
    older.grow(projector.store())?;
    Ok(Some(added))
}

/// Rows of the shadow in the place of those that are there, when these are as of `seq`; as of which event they are.
fn take_over(
    source: &Source,
    shadow: &Shadow,
    wanted: &BTreeSet<&str>,
    from: From,
    seq: u64,
) -> Result<u64, ProjectionError> {
    let sqlite = |error| ProjectionError::Sqlite { path: source.path.clone(), source: error };
    let take = || -> rusqlite::Result<u64> {
        let mut connection = Connection::open(&source.path)?;
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        connection.execute("ATTACH ?1 AS shadow", [shadow.path().to_string_lossy()])?;
        let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let found: i64 = transaction.query_row("SELECT seq FROM main.projection_positions", [], |row| row.get(0))?;
        if found as u64 != seq {
            return Ok(found as u64);
        }
        let from_seq = match from {
            From::Start => None,
            From::Seq(seq) => Some(seq),
            From::Time(ns) => {
                let first = "SELECT min(seq) FROM shadow.events WHERE ts_ns >= ?1";
                let first: Option<i64> = transaction.query_row(first, [bound(ns)], |row| row.get(0))?;
                // No such event: no row is asked for.
                Some(first.map_or(u64::MAX, |seq| seq as u64))
            }
        };
        for table in TABLES.iter().filter(|table| wanted.contains(table.name)) {
            let (name, columns) = (table.name, table.cell_names().join(", "));
            let only = from_seq.map_or_else(|| "1".to_owned(), |seq| rows_from(table, seq));
            let insert = format!("INTO main.{name} ({columns}) SELECT {columns} FROM shadow.{name}");
            transaction.execute_batch(&format!(
                "DELETE FROM main.{name} WHERE {only}; INSERT OR REPLACE {insert} WHERE {only};"
            ))?;
            if from_seq.is_some() {
                // A row that said wrongly to be of these is gone with them, and is one of those before.
                transaction.execute_batch(&format!("INSERT OR IGNORE {insert}"))?;
            }
        }
        transaction.commit()?;
        Ok(seq)
    };
    take().map_err(sqlite)
}
