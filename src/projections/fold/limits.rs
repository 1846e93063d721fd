//! Limits of risk: what was allowed, from which event to which.

use tradecore_domain::event::{AccountDefined, InstrumentDefined};

use super::{Entry, Fold};
use crate::projections::aggregate::Aggregate;
use crate::projections::declare::Row as _;
use crate::projections::rows::Rows;
use crate::projections::tables::RiskLimitRow;

/// Codes and names: as accounts, instruments and the configuration call them.
pub const LIMITS: &[(u16, &str)] = &[
    (1, "position_max"),
    (2, "open_orders_max"),
    (3, "rate_max"),
    (4, "order_qty_max"),
    (5, "qty_min"),
    (6, "order_notional_max"),
    (7, "collar_ppm"),
    (8, "quote_age_max_ns"),
];

/// As money is kept, × 10⁻¹⁸: quantities, and what is counted.
const fn of_units(units: i64) -> i128 {
    (units as i128).saturating_mul(1_000_000_000)
}

const fn of_count(count: u64) -> i128 {
    (count as i128).saturating_mul(1_000_000_000_000_000_000)
}

/// The limits that hold for an account, or an instrument; 0 for neither.
fn current(rows: &Rows, (account_id, instrument_id): (u32, u32)) -> impl Iterator<Item = ((u64, u16), &RiskLimitRow)> {
    let holds = move |row: &RiskLimitRow| {
        row.until_seq == 0 && (row.account_id, row.instrument_id) == (account_id, instrument_id)
    };
    rows.risk_limits.iter().filter(move |(_, row)| holds(row))
}

impl Fold<'_, '_> {
    pub(super) fn limit_account(&mut self, e: &AccountDefined) {
        let account_id = e.meta.account_id;
        let limits =
            [(1, of_units(e.position_max)), (2, of_count(e.open_orders_max.into())), (3, of_count(e.rate_max.into()))];
        self.limit(Aggregate::Account(account_id), (account_id, 0), &limits);
    }

    pub(super) fn limit_instrument(&mut self, e: &InstrumentDefined) {
        let limits = [
            (4, of_units(e.order_qty_max)),
            (5, of_units(e.qty_min)),
            (6, e.order_notional_max),
            (7, of_count(e.collar_ppm.into())),
            (8, of_count(e.quote_age_max_ns)),
        ];
        self.limit(Aggregate::Instrument(e.instrument_id), (0, e.instrument_id), &limits);
    }

    /// Ends the limits that are others now, and begins those; all of them or none.
    fn limit(&mut self, of: Aggregate, scope: (u32, u32), limits: &[(u16, i128)]) {
        let Entry { seq, ts_ns, .. } = self.entry;
        self.part(of, |rows| {
            let mut fresh = Vec::new();
            for (code, value) in limits {
                let known = current(rows, scope).find(|(_, row)| row.risk_limit == *code);
                if known.is_some_and(|(_, row)| row.value == *value) {
                    continue;
                }
                let row = RiskLimitRow {
                    since_seq: seq,
                    risk_limit: *code,
                    account_id: scope.0,
                    instrument_id: scope.1,
                    value: *value,
                    since_ns: ts_ns,
                    ..RiskLimitRow::default()
                };
                row.check()?;
                fresh.push((known.map(|(key, _)| key), row));
            }
            for (known, row) in fresh {
                if let Some(key) = known {
                    rows.risk_limits.mark(key, |row| (row.until_seq, row.until_ns) = (seq, ts_ns));
                }
                rows.risk_limits.put((seq, row.risk_limit), row);
            }
            Ok(())
        });
    }

    /// Marks the limits that hold for an account, or an instrument.
    pub(super) fn mark_limits(&mut self, scope: (u32, u32)) {
        let keys: Vec<(u64, u16)> = current(self.rows, scope).map(|(key, _)| key).collect();
        for key in keys {
            self.rows.risk_limits.mark(key, |row| row.is_stale = true);
        }
    }
}
