//! Messages of the gateway as text and as JSON, made from their declaration in the protocol: no field can be
//! forgotten.

use rust_decimal::Decimal;
use serde_json::{Value, json};
use tradecore_client::protocol::codes::{
    BatchStatus, KillAction, KillScope, KillState, Layer, MassCancelScope, er_flags, kill_flags, mass_cancel_flags,
    quote_flags,
};
use tradecore_client::protocol::fields::{
    Durability, ExecType, Liquidity, OrdStatus, OrdType, Px, Side, Tif, TradingState, exec_flags,
};
use tradecore_client::protocol::layout::{FieldInfo, FieldType, Message};
use tradecore_client::protocol::reason::Reason;

use super::failure::Failure;

const EXEC_FLAGS: &[(u8, &str, &str)] =
    &[(exec_flags::POST_ONLY, "POST_ONLY", ""), (exec_flags::CANCEL_ON_DISCONNECT, "CANCEL_ON_DISCONNECT", "")];

/// Prints a message: one line, `name=value` or one JSON object. False when nobody reads any more.
pub(super) fn print<T: Message>(message: &T, json: bool) -> Result<bool, Failure> {
    print_fields(&fields(message), json)
}

/// Prints what is no message of the gateway in the same form.
pub(super) fn print_fields(fields: &[(&'static str, Value)], json: bool) -> Result<bool, Failure> {
    let line = if json { Value::from_iter(fields.iter().cloned()).to_string() } else { text(fields) };
    super::print(&line)
}

/// The message's own name as `type`, then the fields in their order. What has no value is null; integers of 64 bits and
/// decimals are strings, since JSON numbers are floats to many readers.
fn fields<T: Message>(message: &T) -> Vec<(&'static str, Value)> {
    let block = message.as_bytes();
    let declared = T::INFO.fields.iter().filter(|field| !field.reserved).map(|field| {
        let from = usize::from(field.offset);
        let bytes = block.get(from..from.saturating_add(usize::from(field.len))).unwrap_or_default();
        (field.name, value(field, bytes))
    });
    std::iter::once(("type", T::INFO.name.into())).chain(declared).collect()
}

/// For people: without names of what has no value.
fn text(fields: &[(&'static str, Value)]) -> String {
    let plain = |value: &Value| match value {
        Value::String(text) if text.contains(' ') => format!("{text:?}"),
        Value::String(text) => text.clone(),
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("|"),
        other => other.to_string(),
    };
    let has_value =
        |value: &Value| !value.is_null() && value != "" && *value != json!([]) && value != "0" && value != 0;
    let said = fields.iter().filter(|(_, value)| has_value(value)).map(|(name, value)| match *name {
        "type" => plain(value),
        name => format!("{name}={}", plain(value)),
    });
    said.collect::<Vec<_>>().join(" ")
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
fn decimal(units: i128, places: u32) -> Value {
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
                _ => raw.into(),
            }
        };
    }
    names!(BatchStatus Durability ExecType KillAction KillScope KillState Layer Liquidity MassCancelScope OrdStatus
        OrdType Reason Side Tif TradingState; er_flags kill_flags mass_cancel_flags quote_flags)
}

fn named(mut names: impl Iterator<Item = (u16, &'static str)>, raw: u16) -> Value {
    match names.find(|(code, _)| *code == raw) {
        Some((0, _)) => Value::Null,
        Some((_, name)) => name.into(),
        None if raw == 0 => Value::Null,
        None => raw.into(),
    }
}

fn bits(table: &[(u8, &'static str, &str)], raw: u16) -> Value {
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
        assert!(text(&fields).starts_with("ExecReport cl_ord_id=18446744073709551615 "), "{}", text(&fields));
    }
}
