//! The fold that begins anew: every row that a span of events has made or changed is compared, and no other is there.

use std::collections::{BTreeMap, BTreeSet};

use tradecore_journal::ReadError;

use super::{Comparison, Folded, Monitor, ROUND_EVENTS_PER_LOOK, Rows, sample};
use crate::projections::cell::Cell;
use crate::projections::declare::{Row as _, Table};
use crate::projections::error::ProjectionError;
use crate::projections::removal::DAY_NS;
use crate::projections::tables::{OrderRow, TABLES};

/// Keys of rows by table.
type Keys = BTreeMap<&'static str, BTreeSet<Vec<(&'static str, i64)>>>;

/// Tables whose rows say how far their steps have come: key, and the table of these, which has an index of it.
const OF_STEPS: [(&str, &str, &str); 2] = [("orders", "order_id", "order_history"), ("sagas", "saga_id", "saga_steps")];
/// Below every key.
const BEFORE_FIRST: i64 = -i64::MAX;

/// The tables that are folded; in the last stands how far that has come.
fn folded_tables() -> impl Iterator<Item = &'static Table> {
    TABLES.iter().filter(|table| table.name != "projection_positions")
}

/// Whether rows are only added: each stands at its event.
fn only_grows(table: &Table) -> bool {
    table.key.first() == Some(&"seq")
}

/// Before the first row of each.
pub(super) const FIRST_PAGES: [i64; OF_STEPS.len()] = [BEFORE_FIRST; OF_STEPS.len()];

impl Monitor {
    /// Some more of the round; behind the last event it begins anew, unless the beginning of the journal is gone.
    pub(super) fn go_round(&mut self, comparison: &mut Comparison<'_>) -> Result<(), ProjectionError> {
        let round = match &mut self.round {
            Some(round) => round,
            // The beginning of the journal is gone; or it could not be read at that moment, and can now.
            none => match Folded::begin(&self.source) {
                Err(ProjectionError::Journal(ReadError::Gone { .. })) => return Ok(()),
                begun => none.insert(begun?),
            },
        };
        let (from_seq, from_ns, known_seq) = (round.seq, round.ts_ns, comparison.known_seq);
        let end_seq = known_seq.min(from_seq.saturating_add(self.events_per_look.min(ROUND_EVENTS_PER_LOOK)));
        let mut keys = Keys::new();
        let Comparison { store, kept_ns, parked_seq, look, .. } = comparison;
        let (kept_ns, parked_seq) = (*kept_ns, *parked_seq);
        round.go_on(&self.source, end_seq, store, &mut |rows, span, read, store| {
            Comparison { store, kept_ns, known_seq, parked_seq, look }.span(rows, span, read, &mut keys)
        })?;
        // A day that none is of lies between two, or behind the last.
        let last_ns = if round.seq >= known_seq { i64::MAX as u64 } else { round.ts_ns };
        let first_ns = (from_ns / DAY_NS).saturating_mul(DAY_NS);
        comparison.others((from_seq, round.seq), &keys, (first_ns, last_ns))?;
        comparison.pages(&mut self.pages_after)?;
        if round.seq >= known_seq {
            self.rounds = self.rounds.saturating_add(1);
            self.round = Folded::begin(&self.source).ok();
        }
        Ok(())
    }
}

impl Comparison<'_> {
    /// What a span has made and changed.
    fn span(
        &mut self,
        rows: &Rows,
        (before_seq, seq): (u64, u64),
        read: &BTreeSet<u64>,
        keys: &mut Keys,
    ) -> Result<(), ProjectionError> {
        let mut made: BTreeMap<&'static str, Vec<Vec<Cell>>> = BTreeMap::new();
        rows.each_change(&mut |table, _, next| {
            let (all, mut cells) = (made.entry(table.name).or_default(), Vec::new());
            while next(&mut cells)? {
                all.push(std::mem::take(&mut cells));
            }
            Ok(())
        })?;
        for table in folded_tables() {
            let mut expected = made.remove(table.name).unwrap_or_default();
            if only_grows(table) {
                let room = expected.len().saturating_add(super::FINDINGS_MAX);
                let within = format!("seq > {} AND seq <= {}", before_seq as i64, seq as i64);
                let mut there = sample::rows_where(self.store, table, &within, room)?;
                for row in expected {
                    let found = there.remove(&sample::keys(table, &row));
                    self.row(table, &row, found, 0..0);
                }
                there.into_keys().for_each(|key| self.found(table, key, "no event has made it"));
            } else {
                keys.entry(table.name).or_default().extend(expected.iter().map(|row| sample::keys(table, row)));
                if table.name == OrderRow::TABLE.name {
                    // What was told of them before is forgotten: their rows are what this was made of.
                    let id = |row: &Vec<Cell>| sample::int(table, row, "order_id").unwrap_or_default() as u64;
                    expected.retain(|row| !read.contains(&id(row)));
                }
                self.rows(table, &expected, seq..self.known_seq)?;
            }
        }
        Ok(())
    }

    /// Rows that say they were changed last by these events, and were not; or by none that the tables know. No query
    /// walks a table that grows with what is traded.
    fn others(&mut self, (before_seq, seq): (u64, u64), keys: &Keys, days: (u64, u64)) -> Result<(), ProjectionError> {
        let known_seq = self.known_seq as i64;
        let tables = folded_tables().filter(|table| !OF_STEPS.iter().any(|(of, ..)| *of == table.name));
        for table in tables {
            let changed = match table.column("updated_seq") {
                Some(_) => "updated_seq",
                None if only_grows(table) => "seq",
                None => "CASE until_seq WHEN 0 THEN since_seq ELSE until_seq END",
            };
            // Of tables that only grow, what is within was compared.
            let (from_seq, to_seq) = if only_grows(table) { (seq, seq) } else { (before_seq, seq) };
            let of_span = format!(
                "({changed} <= 0 OR {changed} > {known_seq} OR ({changed} > {} AND {changed} <= {}))",
                from_seq as i64, to_seq as i64
            );
            let wanted = match table.key {
                ["day_ns", ..] => format!("day_ns >= {} AND day_ns <= {} AND {of_span}", days.0 as i64, days.1 as i64),
                _ => of_span,
            };
            let ours = keys.get(table.name);
            let room = ours.map_or(0, BTreeSet::len).saturating_add(super::FINDINGS_MAX);
            for key in sample::keys_where(self.store, table, &wanted, room)? {
                if !ours.is_some_and(|ours| ours.contains(&key)) {
                    self.found(table, key, "no event has made it");
                }
            }
        }
        Ok(())
    }

    /// A page of each table whose rows are the last of their steps: these were compared, and say so of a row that is
    /// one too many.
    fn pages(&mut self, after: &mut [i64; OF_STEPS.len()]) -> Result<(), ProjectionError> {
        for ((name, key, steps), after) in OF_STEPS.iter().zip(after) {
            let Some(table) = folded_tables().find(|table| table.name == *name) else { continue };
            let page = format!(
                "(SELECT {key}, updated_seq FROM {name} WHERE {key} > {after} ORDER BY {key} LIMIT {ROUND_EVENTS_PER_LOOK}) AS page"
            );
            let last = format!("(SELECT max(seq) FROM {steps} WHERE {steps}.{key} = page.{key})");
            let wanted = format!("updated_seq <> coalesce({last}, 0)");
            let sql = format!("SELECT {key} FROM {page} WHERE {wanted} LIMIT {}", super::FINDINGS_MAX);
            for key_of in sample::ints(self.store, &sql)? {
                self.found(table, vec![(*key, key_of)], "it is not what was compared of its steps");
            }
            let end = format!(
                "SELECT {key} FROM {name} WHERE {key} > {after} ORDER BY {key} LIMIT 1 OFFSET {}",
                ROUND_EVENTS_PER_LOOK.saturating_sub(1)
            );
            let end = sample::ints(self.store, &end)?;
            // Behind the last page, the first.
            *after = end.first().copied().unwrap_or(BEFORE_FIRST);
        }
        Ok(())
    }
}
