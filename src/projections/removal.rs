//! Closed rows leave the tables after some days of the journal's own time; the journal keeps what they were made of.
//!
//! It happens in the transaction of the first decision of each day of UTC: so the rows of a position are the same
//! whenever and however often they are made, and however the batches fall.

use super::fold::FOLD_VERSION;

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

/// Removes closed rows of events before a time: what SQLite and PostgreSQL both understand, in this order.
#[must_use]
pub fn statements(before_ns: u64) -> [String; 9] {
    // The decision that this follows is in the log, and behind that time.
    let cut = format!("(SELECT seq FROM events WHERE ts_ns >= {} ORDER BY seq LIMIT 1)", before_ns as i64);
    let left = "order_id NOT IN (SELECT order_id FROM orders)";
    [
        format!("DELETE FROM orders WHERE is_open = 0 AND updated_seq < {cut}"),
        format!("DELETE FROM fills WHERE seq < {cut} AND {left}"),
        format!("DELETE FROM order_history WHERE seq < {cut} AND {left}"),
        format!("DELETE FROM positions_history WHERE seq < {cut}"),
        format!("DELETE FROM risk_events WHERE seq < {cut}"),
        format!("DELETE FROM mass_cancels WHERE is_completed = 1 AND updated_seq < {cut}"),
        format!("DELETE FROM sagas WHERE ended_seq <> 0 AND updated_seq < {cut}"),
        format!("DELETE FROM saga_steps WHERE seq < {cut} AND saga_id NOT IN (SELECT saga_id FROM sagas)"),
        format!("DELETE FROM events WHERE seq < {cut}"),
    ]
}
