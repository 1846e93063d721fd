//! The questions that can be asked of the tables: one list, for the command line, for what else asks, for the documents.

use super::declare::{Row as _, Table};
use super::tables as t;

/// How fresh an answer is, unless who asks says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// It knows every event that was durable when it was asked, or there is none.
    Synchronous,
    /// It is as the tables are, some tens of milliseconds behind.
    Eventual,
}

/// A question: rows of one table.
#[derive(Clone, Copy, Debug)]
pub struct Query {
    /// Its name, and that of its command.
    pub name: &'static str,
    /// The table.
    pub table: Table,
    /// How fresh its answer is.
    pub freshness: Freshness,
    /// Columns that people see.
    pub columns: &'static [&'static str],
}

/// Orders that were accepted.
pub const ORDERS: Query = Query {
    name: "orders",
    table: t::OrderRow::TABLE,
    freshness: Freshness::Eventual,
    columns: &[
        "accepted_ns",
        "order_id",
        "cl_ord_id",
        "side",
        "order_qty",
        "instrument_id",
        "px",
        "tif",
        "ord_status",
        "cum_qty",
        "leaves_qty",
        "account_id",
        "session_id",
        "is_stale",
    ],
};

/// What has happened to orders.
pub const ORDER_HISTORY: Query = Query {
    name: "order-history",
    table: t::OrderHistoryRow::TABLE,
    freshness: Freshness::Eventual,
    columns: &[
        "seq",
        "ts_ns",
        "order_id",
        "event",
        "ord_status",
        "px",
        "order_qty",
        "cum_qty",
        "req_cl_ord_id",
        "reason",
        "exec_id",
    ],
};

/// Positions.
pub const POSITIONS: Query = Query {
    name: "positions",
    table: t::PositionRow::TABLE,
    freshness: Freshness::Eventual,
    columns: &[
        "account_id",
        "instrument_id",
        "position_qty",
        "cost",
        "realized_pnl",
        "fees",
        "open_buy_qty",
        "open_sell_qty",
        "updated_ns",
        "is_stale",
    ],
};

/// Positions after each fill.
pub const POSITIONS_HISTORY: Query = Query {
    name: "positions-history",
    table: t::PositionHistoryRow::TABLE,
    freshness: Freshness::Eventual,
    columns: &["seq", "ts_ns", "account_id", "instrument_id", "position_qty", "cost", "realized_pnl", "fees"],
};

/// Profit and fees by day.
pub const DAILY_PNL: Query = Query {
    name: "daily-pnl",
    table: t::DailyPnlRow::TABLE,
    freshness: Freshness::Eventual,
    columns: &[
        "day_ns",
        "account_id",
        "instrument_id",
        "currency",
        "realized_pnl",
        "fees",
        "bought_qty",
        "sold_qty",
        "fills",
        "is_stale",
    ],
};

/// Fills.
pub const FILLS: Query = Query {
    name: "fills",
    table: t::FillRow::TABLE,
    freshness: Freshness::Eventual,
    columns: &[
        "ts_ns",
        "exec_id",
        "order_id",
        "cl_ord_id",
        "side",
        "last_qty",
        "instrument_id",
        "last_px",
        "fee",
        "liquidity",
        "account_id",
        "session_id",
    ],
};

/// Accounts: limits and states.
pub const ACCOUNTS: Query = Query {
    name: "accounts",
    table: t::AccountRow::TABLE,
    freshness: Freshness::Eventual,
    columns: &[
        "account_id",
        "currency",
        "owner_id",
        "trading_state",
        "is_killed",
        "open_orders",
        "in_doubt",
        "open_orders_max",
        "position_max",
        "rate_max",
        "is_stale",
    ],
};

/// Cash, and what open orders may take of it.
pub const BALANCES: Query = Query {
    name: "balances",
    table: t::BalanceRow::TABLE,
    freshness: Freshness::Eventual,
    columns: &["account_id", "currency", "cash", "reserved", "buying_power", "open_notional", "updated_ns", "is_stale"],
};

/// Instruments.
pub const INSTRUMENTS: Query = Query {
    name: "instruments",
    table: t::InstrumentRow::TABLE,
    freshness: Freshness::Eventual,
    columns: &[
        "instrument_id",
        "currency",
        "tick_size",
        "lot_size",
        "qty_min",
        "order_qty_max",
        "order_notional_max",
        "collar_ppm",
    ],
};

/// Who may log on, and who is.
pub const SESSIONS: Query = Query {
    name: "sessions",
    table: t::SessionRow::TABLE,
    freshness: Freshness::Synchronous,
    columns: &[
        "session_id",
        "session_epoch",
        "role",
        "cod_mode",
        "connection_no",
        "is_locked_out",
        "last_client_seq",
        "next_report_seq",
        "open_orders",
        "logged_on_ns",
        "ended_ns",
        "end_reason",
    ],
};

/// Connections to the broker.
pub const CONNECTIONS: Query = Query {
    name: "connections",
    table: t::ConnectionRow::TABLE,
    freshness: Freshness::Synchronous,
    columns: &["epoch", "connection_no", "status", "since_ns", "updated_ns", "is_stale"],
};

/// The core, and the state of its broker.
pub const CORE: Query = Query {
    name: "core",
    table: t::CoreRow::TABLE,
    freshness: Freshness::Synchronous,
    columns: &[
        "core_id",
        "environment",
        "durability",
        "epoch",
        "started_ns",
        "trading_state",
        "kill_epoch",
        "broker_status",
        "broker_cursor",
        "is_stale",
    ],
};

/// Refusals, doubts, changes of what passes.
pub const RISK_EVENTS: Query = Query {
    name: "risk-events",
    table: t::RiskEventRow::TABLE,
    freshness: Freshness::Eventual,
    columns: &["seq", "ts_ns", "event", "account_id", "session_id", "instrument_id", "order_id", "reason", "text"],
};

/// Limits of risk, and when each held.
pub const RISK_LIMITS: Query = Query {
    name: "risk-limits",
    table: t::RiskLimitRow::TABLE,
    freshness: Freshness::Eventual,
    columns: &[
        "risk_limit",
        "account_id",
        "instrument_id",
        "value",
        "since_seq",
        "since_ns",
        "until_seq",
        "until_ns",
        "is_stale",
    ],
};

/// Kill switches.
pub const KILL_SWITCHES: Query = Query {
    name: "kill-switches",
    table: t::KillSwitchRow::TABLE,
    freshness: Freshness::Synchronous,
    columns: &["account_id", "is_engaged", "kill_epoch", "operator_tag", "session_id", "updated_ns", "is_stale"],
};

/// Mass cancels.
pub const MASS_CANCELS: Query = Query {
    name: "mass-cancels",
    table: t::MassCancelRow::TABLE,
    freshness: Freshness::Eventual,
    columns: &[
        "mass_cancel_id",
        "accepted_ns",
        "session_id",
        "target_session_id",
        "account_id",
        "reason",
        "cancel_requested",
        "already_pending",
        "is_completed",
    ],
};

/// Sagas.
pub const SAGAS: Query = Query {
    name: "sagas",
    table: t::SagaRow::TABLE,
    freshness: Freshness::Eventual,
    columns: &[
        "saga_id",
        "saga",
        "aggregate",
        "aggregate_id",
        "begun_by",
        "session_id",
        "account_id",
        "state",
        "steps",
        "started_ns",
        "ended_seq",
        "ended_ns",
        "is_stale",
    ],
};

/// What has moved each saga.
pub const SAGA_STEPS: Query = Query {
    name: "saga-steps",
    table: t::SagaStepRow::TABLE,
    freshness: Freshness::Eventual,
    columns: &["seq", "ts_ns", "saga_id", "saga", "step", "event", "state"],
};

/// The log itself.
pub const EVENTS: Query = Query {
    name: "events",
    table: t::EventRow::TABLE,
    freshness: Freshness::Eventual,
    columns: &["seq", "ts_ns", "aggregate", "aggregate_id", "payload"],
};

/// Every question.
pub const ALL: &[Query] = &[
    ORDERS,
    ORDER_HISTORY,
    POSITIONS,
    POSITIONS_HISTORY,
    DAILY_PNL,
    FILLS,
    ACCOUNTS,
    BALANCES,
    INSTRUMENTS,
    SESSIONS,
    CONNECTIONS,
    CORE,
    RISK_EVENTS,
    RISK_LIMITS,
    KILL_SWITCHES,
    MASS_CANCELS,
    SAGAS,
    SAGA_STEPS,
    EVENTS,
];
