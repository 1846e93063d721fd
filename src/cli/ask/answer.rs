//! How an answer is told: as a table, as JSON, as CSV.

use serde_json::{Map, Value};
use tradecore::projections::ask::{Answer, Unread};
use tradecore::projections::cell::Cell;
use tradecore::projections::declare::{ColumnInfo, Row as _, Table};
use tradecore::projections::queries::Query;
use tradecore::projections::tables::{self as t};
use tradecore_domain::event::Event;

use super::super::failure::Failure;
use super::super::journal::{event_text, fields_of};
use super::super::read_model::{as_of, csv_line, unread_words, values, words};
use super::super::report::aligned;
use super::super::{print, warn};
use super::Symbols;

/// The event in a row of the log; `None` when this release cannot read it.
pub(in crate::cli) fn event_in(cells: &[Cell]) -> Option<Event> {
    let at = |name: &str| t::EventRow::TABLE.cell_names().iter().position(|column| column == name);
    let int = |name: &str| match at(name).and_then(|at| cells.get(at)) {
        Some(Cell::Int(value)) => Some(*value),
        _ => None,
    };
    let (kind, version) = (u16::try_from(int("event")?).ok()?, u8::try_from(int("version")?).ok()?);
    let Some(Cell::Bytes(payload)) = at("payload").and_then(|at| cells.get(at)) else { return None };
    // An archive is read where the journal aligns it.
    let mut words = vec![0_u128; payload.len().div_ceil(16)];
    let aligned = zerocopy::IntoBytes::as_mut_bytes(words.as_mut_slice()).get_mut(..payload.len())?;
    aligned.copy_from_slice(payload);
    Event::from_archive(kind, version, aligned).ok()
}

fn row_json(table: &Table, cells: &[Cell]) -> Value {
    let mut row: Map<String, Value> =
        values(table, cells).into_iter().map(|(column, value)| (column.name.to_owned(), value)).collect();
    if table.name == t::EventRow::TABLE.name
        && let Some(event) = event_in(cells)
    {
        row.remove("payload");
        row.insert("fields".to_owned(), fields_of(&event).into());
    }
    Value::Object(row)
}

/// What is said behind the rows, with as many of them, or themselves, as `rows`.
fn end_json(kind: &str, rows: Value, answer: &Answer) -> String {
    let position = &answer.position;
    let end = serde_json::json!({
        "type": kind, "rows": rows, "is_cut": answer.is_cut,
        "as_of_seq": position.seq.to_string(), "as_of_ts_ns": position.ts_ns.to_string(),
        "unread": answer.unread.iter().map(unread_json).collect::<Vec<_>>(),
    });
    end.to_string()
}

pub(super) fn json(table: &Table, answer: &Answer) -> Result<(), Failure> {
    for cells in &answer.rows {
        if !print(&row_json(table, cells).to_string())? {
            return Ok(());
        }
    }
    print(&end_json("QueryEnd", answer.rows.len().into(), answer)).map(drop)
}

/// All of an answer in one line.
pub(super) fn json_line(table: &Table, answer: &Answer) -> String {
    let rows = answer.rows.iter().map(|cells| row_json(table, cells)).collect();
    end_json("QueryAnswer", rows, answer)
}

pub(super) fn csv(table: &Table, answer: &Answer) -> Result<(), Failure> {
    let header = table.columns.iter().map(|column| column.name.to_owned());
    let mut is_read = print(&csv_line(header))?;
    for cells in &answer.rows {
        if !is_read {
            return Ok(());
        }
        let raw = |(_, value): (&ColumnInfo, Value)| match value {
            Value::Null => String::new(),
            Value::String(text) => text,
            Value::Array(names) => names.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("|"),
            other => other.to_string(),
        };
        is_read = print(&csv_line(values(table, cells).into_iter().map(raw)))?;
    }
    warn(&end(table, answer));
    Ok(())
}

pub(super) fn table(Query { table, columns, .. }: &Query, answer: &Answer, symbols: &Symbols) -> String {
    let symbol_of = |id: &Value| {
        let symbol = symbols.iter().find(|(known, _)| Some(u64::from(*known)) == id.as_u64());
        symbol.map(|(_, symbol)| symbol.clone())
    };
    let header = |name: &str| match name {
        "instrument_id" => "instrument".to_owned(),
        "ts_ns" => "time".to_owned(),
        "payload" => "event".to_owned(),
        name => name.trim_end_matches("_ns").to_owned(),
    };
    let mut rows = vec![columns.iter().map(|name| header(name)).collect::<Vec<_>>()];
    for cells in &answer.rows {
        let row = values(table, cells);
        let cell = |name: &&str| {
            let Some((column, value)) = row.iter().find(|(column, _)| column.name == *name) else {
                return String::new();
            };
            match *name {
                "instrument_id" => symbol_of(value).unwrap_or_else(|| words(column, value)),
                "payload" => event_in(cells).map_or_else(|| "unreadable".to_owned(), |event| event_text(&event)),
                _ => words(column, value),
            }
        };
        rows.push(columns.iter().map(cell).collect());
    }
    format!("{}\n{}", aligned(&rows), end(table, answer))
}

fn unread_json(unread: &Unread) -> Value {
    let Unread { kind, events, first_seq } = unread;
    serde_json::json!({"event": kind, "events": events.to_string(), "first_seq": first_seq.to_string()})
}

fn end(table: &Table, answer: &Answer) -> String {
    let cut = match table.key {
        _ if !answer.is_cut => "",
        // Those with the greatest keys are shown, which here are not the newest.
        ["account_id" | "instrument_id" | "session_id" | "core_id" | "since_seq", ..] => {
            "; there are more: raise --limit"
        }
        _ => "; there are older ones: raise --limit",
    };
    format!("{} rows {}{cut}{}", answer.rows.len(), as_of(&answer.position), unread_words(answer))
}
