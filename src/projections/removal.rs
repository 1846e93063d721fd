//! Closed rows leave the tables after some days of the journal's own time; the journal keeps what they were made of.
//!
//! It happens in the transaction of the first decision of each day of UTC: so the rows of a position are the same
//! whenever and however often they are made, and however the batches fall.

use super::cell::Cell;
use super::declare::{Row as _, Table};
use super::error::ProjectionError;
use super::fold::FOLD_VERSION;
use super::store::Database;
use super::tables::{
    EventRow, FillRow, MassCancelRow, OrderHistoryRow, OrderRow, PositionHistoryRow, RiskEventRow, SagaRow, SagaStepRow,
};

pub(super) const DAY_NS: u64 = 86_400_000_000_000;
/// A database says by one number which rules made its rows: those of the fold, and after how many days rows leave.
const PER_DAY: u32 = 1_000;

/// The number of the rules of this release, with rows that leave after so many days; 0: never.
#[must_use]
pub fn rules(keep_days: u32) -> u32 {
    keep_days.saturating_mul(PER_DAY).saturating_add(FOLD_VERSION)
}

/// Rules of the fold, and days, of such a number.
#[must_use]
pub fn rules_and_days(rules: u32) -> (u32, u32) {
    (rules.checked_rem(PER_DAY).unwrap_or(0), rules.checked_div(PER_DAY).unwrap_or(0))
}

/// What was closed before leaves, when a decision of `ts_ns` follows one of `before_ns`; `None` when nothing does.
pub(super) fn due(keep_days: u32, before_ns: u64, ts_ns: u64) -> Option<u64> {
    let day = ts_ns / DAY_NS;
    if keep_days == 0 || before_ns / DAY_NS == day {
        return None;
    }
    Some(horizon_ns(keep_days, ts_ns))
}

/// Rows of events before this time may have left tables that know a decision of `ts_ns`; 0 when none ever does.
pub(super) fn horizon_ns(keep_days: u32, ts_ns: u64) -> u64 {
    match keep_days {
        0 => 0,
        days => (ts_ns / DAY_NS).saturating_sub(days.into()).saturating_mul(DAY_NS),
    }
}

/// Rows that a statement removes at most: a server that works for a minute says nothing meanwhile, and counts as gone.
const PIECE_ROWS: u64 = 100_000;

/// Removes closed rows of events before a time, within the transaction that is open.
pub(super) fn remove(database: &mut dyn Database, before_ns: u64) -> Result<(), ProjectionError> {
    let before_seq = first_seq(database, before_ns)?;
    remove_orders(database, before_seq)?;
    for statement in statements(before_seq) {
        while database.run(&statement)? == PIECE_ROWS {}
    }
    Ok(())
}

/// What a question for one number has for an answer; 0 where there is none.
fn number(database: &mut dyn Database, sql: &str) -> Result<u64, ProjectionError> {
    match database.ask(sql)?.first().and_then(|row| row.first()) {
        Some(Cell::Int(number)) => Ok(*number as u64),
        Some(Cell::Null | Cell::Text(_) | Cell::Bytes(_)) | None => Ok(0),
    }
}

/// The first event of a time or later: the decision that a removal follows is in the log, and behind that time.
fn first_seq(database: &mut dyn Database, ts_ns: u64) -> Result<u64, ProjectionError> {
    let mut low = number(database, "SELECT min(seq) FROM events")?;
    let mut high = number(database, "SELECT max(seq) FROM events")?;
    // Times never go back in a journal, and the log of a day is long.
    while low < high {
        let mid = low.midpoint(high);
        if number(database, &format!("SELECT ts_ns FROM events WHERE seq >= {mid} ORDER BY seq LIMIT 1"))? < ts_ns {
            low = mid.saturating_add(1);
        } else {
            high = mid;
        }
    }
    Ok(low)
}

/// Removes orders closed before an event, piece by piece of what their history tells, which is there by its events: all
/// orders are too many to look through, and what is old is what was a day's.
fn remove_orders(database: &mut dyn Database, before_seq: u64) -> Result<(), ProjectionError> {
    let mut from_seq = 0;
    loop {
        let to_seq = number(database, &last_of_piece(from_seq, before_seq))?;
        if to_seq == 0 {
            return Ok(());
        }
        database.run(&closed_orders(from_seq, to_seq, before_seq))?;
        from_seq = to_seq.saturating_add(1);
    }
}

/// Asks for the last event of a piece of the history of orders, from one event on and before another.
#[must_use]
pub fn last_of_piece(from_seq: u64, before_seq: u64) -> String {
    let of_time = format!("seq >= {from_seq} AND seq < {before_seq}");
    let piece =
        format!("SELECT seq FROM {} WHERE {of_time} ORDER BY seq LIMIT {PIECE_ROWS}", OrderHistoryRow::TABLE.name);
    format!("SELECT max(seq) FROM ({piece}) AS piece")
}

/// What removes orders closed before an event, of which events from one to another tell.
#[must_use]
pub fn closed_orders(from_seq: u64, to_seq: u64, before_seq: u64) -> String {
    let (orders, history) = (OrderRow::TABLE.name, OrderHistoryRow::TABLE.name);
    let is_told = format!("SELECT order_id FROM {history} WHERE seq >= {from_seq} AND seq <= {to_seq}");
    format!("DELETE FROM {orders} WHERE is_open = 0 AND updated_seq < {before_seq} AND order_id IN ({is_told})")
}

/// What removes other closed rows of events before one, once the orders have left, in this order, each until it finds
/// less than a piece: what SQLite and PostgreSQL both understand.
#[must_use]
pub fn statements(before_seq: u64) -> [String; 8] {
    let piece = |table: &Table, is_closed: &str| {
        let (name, key) = (table.name, table.key.join(", "));
        format!("DELETE FROM {name} WHERE ({key}) IN (SELECT {key} FROM {name} WHERE {is_closed} LIMIT {PIECE_ROWS})")
    };
    // Not NOT IN: PostgreSQL makes no join of that, and goes through all orders again for each row where they are many.
    let left = |table: &Table, of: &Table, key: &str| {
        let (name, of) = (table.name, of.name);
        let is_left = format!("NOT EXISTS (SELECT 1 FROM {of} WHERE {of}.{key} = {name}.{key})");
        piece(table, &format!("seq < {before_seq} AND {is_left}"))
    };
    let closed = |table: &Table, is_closed: &str| piece(table, &format!("{is_closed} AND updated_seq < {before_seq}"));
    let old = |table: &Table| piece(table, &format!("seq < {before_seq}"));
    [
        left(&FillRow::TABLE, &OrderRow::TABLE, "order_id"),
        left(&OrderHistoryRow::TABLE, &OrderRow::TABLE, "order_id"),
        old(&PositionHistoryRow::TABLE),
        old(&RiskEventRow::TABLE),
        closed(&MassCancelRow::TABLE, "is_completed = 1"),
        closed(&SagaRow::TABLE, "ended_seq <> 0"),
        left(&SagaStepRow::TABLE, &SagaRow::TABLE, "saga_id"),
        old(&EventRow::TABLE),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::projections::rows::{Change, NextRow};

    /// Pieces of the history of orders, rows that each kind of statement has left to remove, and what was said.
    #[derive(Debug, Default)]
    struct Heard {
        pieces: Vec<i64>,
        left: u64,
        said: Vec<String>,
    }

    impl Database for Heard {
        fn ask(&mut self, sql: &str) -> Result<Vec<Vec<Cell>>, ProjectionError> {
            let is_of_events = !sql.contains(" FROM order_history ");
            let seq = if is_of_events { Some(7) } else { self.pieces.pop() };
            Ok(vec![vec![seq.map_or(Cell::Null, Cell::Int)]])
        }

        fn run(&mut self, sql: &str) -> Result<u64, ProjectionError> {
            if self.said.last().is_none_or(|last| last != sql) {
                self.left = 2 * PIECE_ROWS + 1;
            }
            self.said.push(sql.to_owned());
            let removed = self.left.min(PIECE_ROWS);
            self.left = self.left.saturating_sub(removed);
            Ok(removed)
        }

        fn put(&mut self, _: &Table, _: Change, _: NextRow<'_>) -> Result<(), ProjectionError> {
            Ok(())
        }

        fn make(&mut self, _: &[&Table]) -> Result<(), ProjectionError> {
            Ok(())
        }

        fn size_sql(&self) -> &'static str {
            ""
        }

        fn close_durably(self: Box<Self>) -> Result<(), ProjectionError> {
            Ok(())
        }
    }

    #[test]
    fn each_statement_is_said_again_until_it_finds_less_than_a_piece_and_once_for_each_piece_of_the_history_of_orders()
    {
        let mut heard = Heard { pieces: vec![6, 4], ..Heard::default() };
        remove(&mut heard, 1).expect("removed");
        let of_orders = [closed_orders(0, 4, 7), closed_orders(5, 6, 7)];
        let each_thrice = statements(7).into_iter().flat_map(|one| [one.clone(), one.clone(), one]);
        assert_eq!(heard.said, of_orders.into_iter().chain(each_thrice).collect::<Vec<String>>());
    }
}
