//! What the integers of events mean: one list, for all that print or export them.

use tradecore_domain::command::FactKind;
use tradecore_domain::event::order_flags;
use tradecore_protocol::codes::mass_cancel_flags;
use tradecore_protocol::fields::{
    BrokerStatus, CodMode, Durability, Environment, Liquidity, OrdStatus, OrdType, Role, Side, Tif, TradingState,
    exec_flags,
};
use tradecore_protocol::{CATALOGUE, Reason, lookup};

/// What the integer of a field stands for.
#[derive(Clone, Copy, Debug)]
pub enum Meaning {
    /// Itself: an id, a count, a time, a span of time.
    Integer,
    /// A price × 10⁻⁹, with `Px::NONE` for none.
    Px,
    /// A quantity or a price step × 10⁻⁹.
    Units,
    /// Money × 10⁻¹⁸.
    Money,
    /// 1 for yes, 0 for no.
    Mark,
    /// A code; 0 for none.
    Code(&'static Codes),
    /// Bits, each with a name.
    Bits(&'static [(u8, &'static str, &'static str)]),
    /// Bytes: text up to the first NUL.
    Text,
}

/// The codes of a field.
#[derive(Debug)]
pub struct Codes {
    /// What they are called together.
    pub name: &'static str,
    /// The name of a code; `None` for one that this release does not know.
    pub name_of: fn(u32) -> Option<&'static str>,
    /// Every name but that of 0.
    pub names: fn() -> Vec<&'static str>,
}

/// Bits of `OrderImage::flags`.
pub const ORDER_FLAGS: &[(u8, &str, &str)] = &[
    (order_flags::ACKED, "ACKED", "The broker has shown that it has the order."),
    (order_flags::CANCEL_PENDING, "CANCEL_PENDING", "A cancel is on its way."),
    (order_flags::REPLACE_PENDING, "REPLACE_PENDING", "A replace is on its way."),
    (order_flags::DOUBT, "DOUBT", "The outcome of something that was sent is unknown."),
];
/// Bits of `exec_flags`.
pub const EXEC_FLAGS: &[(u8, &str, &str)] = &[
    (exec_flags::POST_ONLY, "POST_ONLY", "Refuse rather than take liquidity."),
    (exec_flags::CANCEL_ON_DISCONNECT, "CANCEL_ON_DISCONNECT", "Cancel when the session's connection is lost."),
];
/// Values of `ChangeRejected::change`.
const CHANGES: &[(u8, &str)] = &[(1, "Cancel"), (2, "Replace")];

macro_rules! codes {
    ($Enum:ident) => {{
        const CODES: &Codes = &Codes {
            name: stringify!($Enum),
            name_of: |raw| raw.try_into().ok().and_then($Enum::from_raw).map($Enum::name),
            names: || $Enum::TABLE.iter().filter(|(_, raw, ..)| *raw != 0).map(|(_, _, name, _)| *name).collect(),
        };
        Meaning::Code(CODES)
    }};
    ($name:literal in $table:expr) => {{
        const CODES: &Codes = &Codes {
            name: $name,
            name_of: |raw| $table.iter().find(|(code, _)| u32::from(*code) == raw).map(|(_, name)| *name),
            names: || $table.iter().map(|(_, name)| *name).collect(),
        };
        Meaning::Code(CODES)
    }};
}

const TEMPLATES: &Codes = &Codes {
    name: "template",
    name_of: |raw| raw.try_into().ok().and_then(lookup).map(|message| message.name),
    names: || CATALOGUE.iter().map(|message| message.name).collect(),
};

/// What a field of an event means, by its name, which means the same in every event; `None` for a name that no event
/// has.
#[must_use]
pub fn meaning(name: &str) -> Option<Meaning> {
    Some(match name {
        "px" | "last_px" | "new_px" | "market_px" => Meaning::Px,
        "order_qty" | "cum_qty" | "last_qty" | "new_qty" | "tick_size" | "lot_size" | "qty_min" | "order_qty_max"
        | "position_max" => Meaning::Units,
        "cum_cost" | "fee" | "initial_cash" | "order_notional_max" => Meaning::Money,
        "cod_all" | "done" | "engaged" | "flagged_only" | "overfill" => Meaning::Mark,
        "environment" => codes!(Environment),
        "durability" => codes!(Durability),
        "role" => codes!(Role),
        "cod_mode" => codes!(CodMode),
        "reason" => codes!(Reason),
        "side" => codes!(Side),
        "ord_type" => codes!(OrdType),
        "tif" => codes!(Tif),
        "ord_status" => codes!(OrdStatus),
        "liquidity" => codes!(Liquidity),
        "status" => codes!(BrokerStatus),
        "state" => codes!(TradingState),
        "fact" => codes!("FactKind" in FactKind::TABLE),
        "change" => codes!("Change" in CHANGES),
        "ref_template" => Meaning::Code(TEMPLATES),
        "exec_flags" => Meaning::Bits(EXEC_FLAGS),
        "flags" => Meaning::Bits(ORDER_FLAGS),
        "lockout" => Meaning::Bits(mass_cancel_flags::TABLE),
        "symbol" | "currency" | "operator_tag" | "text" => Meaning::Text,
        "account_id" | "allowed" | "already_pending" | "broker_exec_id" | "broker_order_id" | "broker_seq"
        | "broker_time_ns" | "cancel_requested" | "cl_ord_id" | "client_seq" | "cod_due_ns" | "cod_window_ms"
        | "collar_ppm" | "connection_no" | "content_hash" | "core" | "correlation_id" | "decision_maker" | "epoch"
        | "exec_id" | "instrument_id" | "kill_epoch" | "market_time_ns" | "mass_cancel_id" | "next_slot"
        | "offered" | "open_orders_max" | "order_id" | "order_id_max" | "order_version" | "orig_cl_ord_id"
        | "owner_id" | "quote_age_max_ns" | "rate_max" | "recv_time_ns" | "report_no" | "report_seq"
        | "req_cl_ord_id" | "request_id" | "session_epoch" | "session_id" | "strategy_id" | "target_session_id"
        | "valid_until_ns" => Meaning::Integer,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use tradecore_domain::event::{Event, FieldValue};
    use tradecore_protocol::fields::{Px, Qty};

    use super::*;

    /// Units, codes and marks are written into the declaration's own words; the list here must say the same.
    #[test]
    fn every_field_means_what_its_declaration_says() {
        for event in Event::zeroed() {
            event.visit_parts(&mut |field| {
                let doc = event.doc_of(field.part, field.name);
                let what = format!("{} {}.{}: {doc}", event.name(), field.part, field.name);
                assert!(!doc.is_empty(), "{what}");
                let Some(meaning) = meaning(field.name) else { panic!("no meaning: {what}") };
                let is_right = match (meaning, field.value) {
                    (Meaning::Px, FieldValue::Signed(_)) => doc.contains("10⁻⁹"),
                    (Meaning::Units, FieldValue::Signed(_)) => doc.contains("10⁻⁹") && !doc.contains("NONE"),
                    (Meaning::Money, FieldValue::Signed(_)) => doc.contains("10⁻¹⁸"),
                    (Meaning::Integer, FieldValue::Signed(_)) => doc.contains("in the unit of the reason"),
                    (Meaning::Mark, FieldValue::Short(_)) => doc.trim().starts_with("1 "),
                    (Meaning::Code(codes), FieldValue::Short(_)) => match codes.name {
                        "template" => doc.contains("Template"),
                        "Change" => doc.contains("1 for a cancel, 2 for a replace"),
                        name => doc.contains(&format!("`{name}`")),
                    },
                    (Meaning::Bits(_), FieldValue::Short(_)) => doc.contains("flags`") || doc.contains("lock-out"),
                    (Meaning::Integer, FieldValue::Unsigned(_)) => !doc.contains("10⁻"),
                    (Meaning::Integer, FieldValue::Short(_)) => !doc.contains('`') && !doc.trim().starts_with("1 "),
                    (Meaning::Text, FieldValue::Text(_)) => doc.contains("NUL-padded"),
                    (_, _) => false,
                };
                assert!(is_right, "{what} is not {meaning:?}");
            });
        }
    }

    #[test]
    fn facts_have_the_names_of_their_kinds() {
        let reason = Reason::BrokerReject;
        let (px, qty) = (Px(1), Qty(1));
        let kinds = [
            FactKind::Acknowledged,
            FactKind::Rejected { reason },
            FactKind::Trade { broker_exec_id: 1, last_px: px, last_qty: qty, fee: 0, liquidity: None },
            FactKind::Canceled { requested: true },
            FactKind::Expired,
            FactKind::Replaced { px, total_qty: qty },
            FactKind::CancelRejected { reason },
            FactKind::ReplaceRejected { reason },
            FactKind::FoundLive { cum_qty: qty, px, total_qty: qty },
            FactKind::NotFound,
        ];
        let named: Vec<(u8, String)> = kinds
            .iter()
            .map(|kind| (kind.code(), format!("{kind:?}").split(' ').next().unwrap_or_default().to_owned()))
            .collect();
        let table: Vec<(u8, String)> = FactKind::TABLE.iter().map(|(code, name)| (*code, (*name).to_owned())).collect();
        assert_eq!(named, table);
    }
}
