//! Messages of the gateway as text and as JSON, made from their declaration in the protocol: no field can be
//! forgotten.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde_json::{Value, json};
use tradecore::shipping::fields::EXEC_FLAGS;
use tradecore::shipping::json::Utc;
use tradecore_client::protocol::codes::{
    BatchStatus, KillAction, KillScope, KillState, Layer, MassCancelScope, er_flags, kill_flags, mass_cancel_flags,
    quote_flags,
};
use tradecore_client::protocol::fields::{
    BrokerStatus, CodMode, Durability, Environment, ExecType, Liquidity, OrdStatus, OrdType, Px, Role, Side, Tif,
    TradingState,
};
use tradecore_client::protocol::layout::{FieldInfo, FieldType, Message};
use tradecore_client::protocol::messages::lookup;
use tradecore_client::protocol::reason::Reason;

use super::failure::Failure;

/// What of a report is shown to people, in the order in which it is read; of other messages all but `FOR_PROGRAMS`.
const REPORT: &[&str] = &[
    "transact_time_ns",
    "exec_type",
    "ord_status",
    "cl_ord_id",
    "req_cl_ord_id",
    "side",
    "order_qty",
    "instrument_id",
    "px",
    "tif",
    "exec_flags",
    "last_qty",
    "last_px",
    "fee",
    "cum_qty",
    "avg_px",
    "leaves_qty",
    "reason",
    "er_flags",
    "account_id",
    "session_id",
    "durability",
];
const FOR_PROGRAMS: &[&str] =
    &["request_id", "journal_seq", "recv_time_ns", "ref_seq", "ref_offset", "retry_after_ns", "layer", "as_of_seq"];
/// Where nothing is something.
const ZERO_SAYS: &[&str] = &["px", "cum_qty", "leaves_qty", "matched", "cancel_requested", "open_orders", "engaged"];

type Fields = Vec<(&'static str, Value)>;

/// Prints what a gateway says: for people, or with `--json` one object a line.
pub(super) struct Printer {
    json: bool,
    /// Names of the instruments, as far as they are known.
    symbols: BTreeMap<u32, String>,
}

impl Printer {
    pub(super) const fn new(json: bool, symbols: BTreeMap<u32, String>) -> Self {
        Self { json, symbols }
    }

    /// Prints a message as one line. False when nobody reads any more.
    pub(super) fn message<T: Message>(&self, message: &T) -> Result<bool, Failure> {
        self.fields(&fields(message))
    }

    /// Prints what is no message of the gateway in the same form, the words for people as its `text`.
    pub(super) fn event(
        &self,
        kind: &'static str,
        values: &[(&'static str, Value)],
        text: &str,
    ) -> Result<bool, Failure> {
        if !self.json {
            return super::print(&format!("{kind}: {text}"));
        }
        let kind = std::iter::once(("type", Value::from(kind)));
        self.fields(&kind.chain(values.iter().cloned()).chain([("text", text.into())]).collect::<Fields>())
    }

    fn fields(&self, fields: &[(&'static str, Value)]) -> Result<bool, Failure> {
        let line = if self.json { Value::from_iter(fields.iter().cloned()).to_string() } else { self.line(fields) };
        super::print(&line)
    }

    /// For people: what has no value is left out.
    fn line(&self, fields: &[(&'static str, Value)]) -> String {
        let value_of = |wanted: &str| fields.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value);
        let is_report = value_of("type").is_some_and(|kind| kind == "ExecReport");
        // Nothing is counted yet when a mass cancel begins; a state is often named like its event.
        let is_said = |name: &str| match name {
            "matched" | "cancel_requested" => value_of("status").is_none_or(|status| status == "Done"),
            "ord_status" => value_of("ord_status") != value_of("exec_type"),
            _ => true,
        };
        let shown: Vec<&(&str, Value)> = if is_report {
            REPORT.iter().filter_map(|wanted| fields.iter().find(|(name, _)| name == wanted)).collect()
        } else {
            fields.iter().filter(|(name, _)| !FOR_PROGRAMS.contains(name)).collect()
        };
        let said =
            shown.into_iter().filter(|(name, value)| is_said(name) && has_value(name, value)).map(|(name, value)| {
                let words = self.words(name, value);
                let words = if words.contains(' ') && *name != "reason" { format!("{words:?}") } else { words };
                match *name {
                    "type" | "transact_time_ns" | "exec_type" => words,
                    name => format!("{}={words}", header(name)),
                }
            });
        said.collect::<Vec<_>>().join(" ")
    }

    /// A value as people read it.
    pub(super) fn words(&self, name: &str, value: &Value) -> String {
        match value {
            Value::Null => "-".to_owned(),
            Value::String(text) if is_time(name) => text.parse().map_or_else(|_| text.clone(), utc),
            Value::String(text) if name == "reason" => {
                match Reason::TABLE.iter().find(|(_, _, name, _)| name == text) {
                    Some((_, _, name, meaning)) => format!("{name} ({})", meaning.trim().trim_end_matches('.')),
                    None => text.clone(),
                }
            }
            Value::String(text) => text.clone(),
            Value::Array(names) => names.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("|"),
            Value::Number(number) if name == "instrument_id" => {
                let id = number.as_u64().and_then(|id| u32::try_from(id).ok());
                id.and_then(|id| self.symbols.get(&id)).cloned().unwrap_or_else(|| number.to_string())
            }
            other => other.to_string(),
        }
    }
}

/// The answer to a query: for people a table once it is whole, with `--json` each row as it comes.
pub(super) struct Table {
    columns: &'static [&'static str],
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(columns: &'static [&'static str]) -> Self {
        let header = columns.iter().map(|name| header(name).to_owned()).collect();
        Self { columns, rows: vec![header] }
    }

    /// False when nobody reads any more.
    pub(super) fn add<T: Message>(&mut self, printer: &Printer, message: &T) -> Result<bool, Failure> {
        if printer.json {
            return printer.message(message);
        }
        let fields = fields(message);
        let cell = |wanted: &&str| {
            let value = fields.iter().find(|(name, _)| name == wanted);
            value.map(|(name, value)| printer.words(name, value)).unwrap_or_default()
        };
        self.rows.push(self.columns.iter().map(cell).collect());
        Ok(true)
    }

    /// Prints the rows for people, in columns: numbers to the right.
    pub(super) fn end(&self, printer: &Printer) -> Result<bool, Failure> {
        if printer.json {
            return Ok(true);
        }
        super::print(&aligned(&self.rows))
    }
}

/// Rows in columns, the first of them the header: numbers to the right.
pub(super) fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let cells = |column: usize| rows.iter().filter_map(move |row| row.get(column));
    let layout: Vec<(usize, bool)> = (0..columns)
        .map(|column| {
            let width = cells(column).map(|cell| cell.chars().count()).max().unwrap_or(0);
            let is_number = |cell: &String| cell == "-" || cell.parse::<Decimal>().is_ok();
            (width, cells(column).skip(1).all(is_number))
        })
        .collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&layout).map(|(cell, (width, to_the_right))| match to_the_right {
            true => format!("{cell:>width$}"),
            false => format!("{cell:<width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The name of a field whose value is shown to people as something else than its number.
fn header(name: &str) -> &str {
    match name {
        "instrument_id" => "instrument",
        "transact_time_ns" => "time",
        name => name,
    }
}

/// True for a field that is a time, not a span of it.
fn is_time(name: &str) -> bool {
    name.ends_with("_time_ns") || matches!(name, "valid_until_ns" | "cod_due_ns")
}

pub(super) fn has_value(name: &str, value: &Value) -> bool {
    let is_zero = value == "0" || *value == 0;
    !value.is_null() && value != "" && *value != json!([]) && (!is_zero || ZERO_SAYS.contains(&name))
}

/// A time in ns since 1970 as ISO 8601, UTC.
pub(super) fn utc(ns: u64) -> String {
    Utc(ns).to_string()
}

/// The message's own name as `type`, then the fields in their order. What has no value is null; integers of 64 bits and
/// decimals are strings, since JSON numbers are floats to many readers.
fn fields<T: Message>(message: &T) -> Fields {
    let block = message.as_bytes();
    let declared = T::INFO.fields.iter().filter(|field| !field.reserved).map(|field| {
        let from = usize::from(field.offset);
        let bytes = block.get(from..from.saturating_add(usize::from(field.len))).unwrap_or_default();
        (field.name, value(field, bytes))
    });
    std::iter::once(("type", T::INFO.name.into())).chain(declared).collect()
}

fn value(field: &FieldInfo, bytes: &[u8]) -> Value {
    let unsigned = bytes.iter().rev().fold(0_u64, |sum, byte| sum.wrapping_shl(8) | u64::from(*byte));
    match field.ty {
        FieldType::U8 | FieldType::U16 => code(field.unit, unsigned as u16),
        FieldType::U32 => unsigned.into(),
        FieldType::U64 => unsigned.to_string().into(),
        FieldType::I64 if unsigned as i64 == Px::NONE.0 => Value::Null,
        FieldType::I64 => tradecore_client::format(unsigned as i64).into(),
        FieldType::I128 => {
            let places = if field.unit == "10⁻¹⁸" { 18 } else { 9 };
            decimal(bytes.try_into().map_or(0, i128::from_le_bytes), places)
        }
        FieldType::Text => String::from_utf8_lossy(bytes).trim_end_matches('\0').into(),
        FieldType::Bytes => bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into(),
    }
}

/// As `units` with an exponent what a decimal cannot hold.
pub(super) fn decimal(units: i128, places: u32) -> Value {
    Decimal::try_from_i128_with_scale(units, places)
        .map_or_else(|_| format!("{units}e-{places}"), |decimal| decimal.normalize().to_string())
        .into()
}

/// A number by its name, where it has one.
fn code(unit: &str, raw: u16) -> Value {
    macro_rules! names {
        ($($Enum:ident)* ; $($flags:ident)*) => {
            match unit {
                $(stringify!($Enum) => named($Enum::TABLE.iter().map(|(_, code, name, _)| (u16::from(*code), *name)), raw),)*
                $(stringify!($flags) => bits($flags::TABLE, raw),)*
                "exec_flags" => bits(EXEC_FLAGS, raw),
                "template" => lookup(raw).map_or(raw.into(), |message| message.name.into()),
                _ => raw.into(),
            }
        };
    }
    names!(BatchStatus BrokerStatus CodMode Durability Environment ExecType KillAction KillScope KillState Layer Liquidity MassCancelScope OrdStatus
        OrdType Reason Role Side Tif TradingState; er_flags kill_flags mass_cancel_flags quote_flags)
}

fn named(mut names: impl Iterator<Item = (u16, &'static str)>, raw: u16) -> Value {
    match names.find(|(code, _)| *code == raw) {
        Some((0, _)) => Value::Null,
        Some((_, name)) => name.into(),
        None if raw == 0 => Value::Null,
        None => raw.into(),
    }
}

pub(super) fn bits(table: &[(u8, &'static str, &str)], raw: u16) -> Value {
    table.iter().filter(|(bit, ..)| raw & u16::from(*bit) != 0).map(|(_, name, _)| *name).collect()
}

#[cfg(test)]
mod tests {
    use tradecore_client::protocol::messages::ExecReport;

    use super::*;

    #[test]
    fn a_report_says_numbers_as_exact_text_and_codes_by_name() {
        let mut report = ExecReport { side: Side::Sell.raw(), er_flags: 3, ..ExecReport::default() };
        report.cl_ord_id.set(u64::MAX);
        report.px.set(101_250_000_000);
        report.last_px.set(Px::NONE.0);
        report.cum_cost.set(-1);
        report.reason.set(Reason::TooLate.raw());
        let fields = fields(&report);
        let expected = [
            ("type", json!("ExecReport")),
            ("cl_ord_id", json!("18446744073709551615")),
            ("px", json!("101.25")),
            ("last_px", Value::Null),
            ("cum_cost", json!("-0.000000000000000001")),
            ("side", json!("Sell")),
            ("ord_type", Value::Null),
            ("reason", json!("TooLate")),
            ("er_flags", json!(["UNSOLICITED", "DUPLICATE_REQUEST"])),
        ];
        for (name, value) in expected {
            assert_eq!(fields.iter().find(|(known, _)| *known == name), Some(&(name, value)));
        }
    }

    #[test]
    fn a_report_is_one_line_of_words_for_people() {
        let mut report = ExecReport { side: Side::Buy.raw(), ..ExecReport::default() };
        report.exec_type = ExecType::Rejected.raw();
        report.ord_status = OrdStatus::Rejected.raw();
        report.cl_ord_id.set(7);
        report.order_qty.set(10_000_000);
        report.px.set(Px::NONE.0);
        report.instrument_id.set(1);
        report.transact_time_ns.set(1_709_210_096_000_000_001);
        report.reason.set(Reason::PriceTick.raw());
        let printer = Printer::new(false, BTreeMap::from([(1, "BTCUSDT".to_owned())]));
        let expected = "2024-02-29T12:34:56.000000001Z Rejected cl_ord_id=7 side=Buy \
            order_qty=0.01 instrument=BTCUSDT cum_qty=0 leaves_qty=0 \
            reason=PriceTick (The price is not a multiple of the tick size)";
        assert_eq!(printer.line(&fields(&report)), expected);
    }
}
