//! Questions to the tables: which rows, the newest of them, as of one position.

use super::aggregate::Aggregate;
use super::cell::Cell;
use super::declare::{Row as _, Table};
use super::error::ProjectionError;
use super::rights::Rights;
use super::store::Store;
use super::tables::{EventRow, InstrumentRow, PositionOfProjectionRow};

/// Which rows of a table.
#[derive(Clone, Debug)]
pub struct Question {
    /// The table.
    pub table: Table,
    /// What holds for each row: column, comparison, value.
    pub conditions: Vec<(&'static str, Comparison, u64)>,
    /// Rows at most: those with the greatest keys.
    pub limit: u32,
}

/// How a column is compared with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// It is the same.
    Is,
    /// It is as great, or greater.
    AtLeast,
    /// It is as great, or less.
    AtMost,
}

impl Comparison {
    const fn sql(self) -> &'static str {
        match self {
            Self::Is => "=",
            Self::AtLeast => ">=",
            Self::AtMost => "<=",
        }
    }

    /// As the tables keep it: an id by its bits; a bound that no row can reach as the greatest.
    fn bound(self, value: u64) -> i64 {
        match self {
            Self::Is => value as i64,
            Self::AtLeast | Self::AtMost => i64::try_from(value).unwrap_or(i64::MAX),
        }
    }
}

/// The answer: rows by their key, and as of when.
#[derive(Clone, Debug)]
pub struct Answer {
    /// How far the tables had come.
    pub position: PositionOfProjectionRow,
    /// The rows, the least key first.
    pub rows: Vec<Vec<Cell>>,
    /// There are more, with lesser keys.
    pub is_cut: bool,
    /// Events that are in none of these rows, whichever they should have changed.
    pub unread: Vec<Unread>,
}

/// Events of a type that this release cannot read. What they are of is not known: no row is marked for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unread {
    /// The type.
    pub kind: u16,
    /// How many there are.
    pub events: u64,
    /// The first of them.
    pub first_seq: u64,
}

impl core::fmt::Display for Unread {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { kind, events, first_seq } = self;
        let is_one = *events == 1;
        let (noun, verb) = if is_one { ("event", "is") } else { ("events", "are") };
        write!(
            f,
            "{events} {noun} of type {kind}, from event {first_seq} on, {verb} in no row: this release cannot read"
        )?;
        f.write_str(if is_one { " it" } else { " them" })
    }
}

impl Question {
    /// What is asked of the database for somebody, with the rights in it.
    pub(super) fn sql(&self, rights: &Rights) -> String {
        let columns = self.table.cell_names();
        // Numbers stand in the text itself: an index of some rows is used only where they can be seen to be meant.
        let conditions: Vec<String> = self
            .conditions
            .iter()
            .map(|(column, comparison, value)| format!("{column} {} {}", comparison.sql(), comparison.bound(*value)))
            .chain(rights.filter(&self.table))
            .collect();
        let only = if conditions.is_empty() { String::new() } else { format!("WHERE {}", conditions.join(" AND ")) };
        let newest: Vec<String> = self.table.key.iter().map(|column| format!("{column} DESC")).collect();
        format!(
            "SELECT {} FROM {} {only} ORDER BY {} LIMIT {}",
            columns.join(", "),
            self.table.name,
            newest.join(", "),
            u64::from(self.limit).saturating_add(1)
        )
    }

    /// Asks for the rows that somebody may see, of the moment that the store was opened for.
    ///
    /// # Errors
    /// When the tables cannot be read.
    pub fn ask(&self, rights: &Rights, store: &mut Store) -> Result<Answer, ProjectionError> {
        let position = store.position()?;
        let sql = self.sql(rights);
        let mut rows = store.ask(&sql)?;
        let is_cut = rows.len() > self.limit as usize;
        rows.truncate(self.limit as usize);
        rows.reverse();
        // The log has every event.
        let unread = if self.table.name == EventRow::TABLE.name { Vec::new() } else { unread(store)? };
        Ok(Answer { position, rows, is_cut, unread })
    }
}

/// What this release cannot read of the events up to the position, by type.
///
/// # Errors
/// When the table cannot be read.
pub fn unread(store: &mut Store) -> Result<Vec<Unread>, ProjectionError> {
    let (code, _) = Aggregate::Unread(0).to_code();
    let rows = store.ask(&format!(
        "SELECT aggregate_id, count(*), min(seq) FROM parked_records WHERE aggregate = {code} \
         GROUP BY aggregate_id ORDER BY min(seq)"
    ))?;
    let unread = rows.iter().filter_map(|row| match row.as_slice() {
        [Cell::Int(kind), Cell::Int(events), Cell::Int(seq)] => {
            Some(Unread { kind: u16::try_from(*kind).ok()?, events: *events as u64, first_seq: *seq as u64 })
        }
        _ => None,
    });
    Ok(unread.collect())
}

/// Every instrument: its number and its symbol.
///
/// # Errors
/// When the table cannot be read.
pub fn symbols(store: &mut Store) -> Result<Vec<(u32, String)>, ProjectionError> {
    let mut symbols = Vec::new();
    store.load("", |row: InstrumentRow| symbols.push((row.instrument_id, row.symbol)))?;
    Ok(symbols)
}

/// What is parked of an aggregate.
#[derive(Clone, Debug)]
pub struct Parked {
    /// What it is; `None` for a kind of a newer release.
    pub aggregate: Option<Aggregate>,
    /// The first of its events that could not be taken.
    pub first_seq: u64,
    /// Why.
    pub error: String,
    /// It, and those behind it.
    pub events: u64,
}

/// What is parked, the oldest first; at most a thousand aggregates.
///
/// # Errors
/// When the table cannot be read.
pub fn parked(store: &mut Store) -> Result<Vec<Parked>, ProjectionError> {
    let rows = store.ask(
        "SELECT one.aggregate, one.aggregate_id, one.seq, one.error, many.events FROM parked_records AS one \
         JOIN (SELECT aggregate, aggregate_id, min(seq) AS seq, count(*) AS events FROM parked_records \
         GROUP BY aggregate, aggregate_id ORDER BY min(seq) LIMIT 1000) AS many \
         ON (one.seq, one.aggregate, one.aggregate_id) = (many.seq, many.aggregate, many.aggregate_id) \
         ORDER BY one.seq",
    )?;
    let rows = rows.into_iter().filter_map(|row| match row.as_slice() {
        [Cell::Int(code), Cell::Int(id), Cell::Int(seq), Cell::Text(error), Cell::Int(events)] => {
            let aggregate = u16::try_from(*code).ok().and_then(|code| Aggregate::from_code(code, *id as u64));
            Some(Parked { aggregate, first_seq: *seq as u64, error: error.clone(), events: *events as u64 })
        }
        _ => None,
    });
    Ok(rows.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_looked_for_by_its_bits_and_a_bound_beyond_all_rows_bounds_nothing() {
        for (comparison, value, bound) in [
            (Comparison::Is, u64::MAX, -1),
            (Comparison::AtLeast, u64::MAX, i64::MAX),
            (Comparison::AtMost, 1 << 63, i64::MAX),
            (Comparison::AtMost, 7, 7),
        ] {
            assert_eq!(comparison.bound(value), bound, "{comparison:?} {value}");
        }
    }
}
