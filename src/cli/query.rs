//! `tradecore positions`, `account`, `fills` and `order list`: questions about the state, answered with a table.

use std::collections::BTreeSet;

use tradecore_client::Event;
use tradecore_client::protocol::fields::ExecType;
use tradecore_client::protocol::layout::Message;
use tradecore_client::protocol::messages as wire;
use tradecore_client::protocol::reason::Reason;

use super::connection::Connection;
use super::desk::Desk;
use super::failure::Failure;
use super::report::Table;
use super::values::whole;

/// What every question is asked with.
#[derive(clap::Args)]
struct Filter {
    /// Only this account; by default every one that the session may see.
    #[arg(long, value_parser = whole::<u32>)]
    account: Option<u32>,
    #[command(flatten)]
    connection: Connection,
}

/// Prints the positions: quantity, cost, profit, fees, what open orders may add.
#[derive(clap::Args)]
#[command(after_help = "Example: tradecore positions --config gateway.toml --session 1")]
pub(super) struct Positions {
    #[command(flatten)]
    filter: Filter,
}

/// Prints the accounts: cash, buying power, profit, open orders, what new orders may pass.
#[derive(clap::Args)]
#[command(after_help = "Example: tradecore account --config gateway.toml --session 1 --json")]
pub(super) struct Account {
    #[command(flatten)]
    filter: Filter,
}

/// Prints the fills, oldest first: those of the session; for roles that see the whole core, all of the core.
#[derive(clap::Args)]
#[command(after_help = "Example: tradecore fills --config gateway.toml --session 1 --account 1")]
pub(super) struct Fills {
    #[command(flatten)]
    filter: Filter,
}

/// Prints every open order of the session; for roles that see the whole core, of the core.
#[derive(clap::Args)]
#[command(after_help = "Example: tradecore order list --config gateway.toml --session 1 --json")]
pub(super) struct List {
    #[command(flatten)]
    filter: Filter,
}

impl Positions {
    pub(super) fn run(self) -> Result<(), Failure> {
        let columns = &[
            "account_id",
            "instrument_id",
            "position_qty",
            "cost",
            "realized_pnl",
            "fees",
            "open_buy_qty",
            "open_sell_qty",
        ];
        let account_id = self.filter.account.unwrap_or(0);
        self.filter.ask(columns, |request_id, _| {
            let mut block = wire::PositionRequest::default();
            block.request_id.set(request_id);
            block.account_id.set(account_id);
            block
        })
    }
}

impl Account {
    pub(super) fn run(self) -> Result<(), Failure> {
        let columns = &[
            "account_id",
            "currency",
            "cash",
            "buying_power",
            "open_notional",
            "realized_pnl",
            "fees",
            "open_orders",
            "in_doubt_orders",
            "trading_state",
            "kill_state",
        ];
        let account_id = self.filter.account.unwrap_or(0);
        self.filter.ask(columns, |request_id, _| {
            let mut block = wire::AccountRequest::default();
            block.request_id.set(request_id);
            block.account_id.set(account_id);
            block
        })
    }
}

impl Fills {
    pub(super) fn run(self) -> Result<(), Failure> {
        let columns = &[
            "transact_time_ns",
            "cl_ord_id",
            "side",
            "last_qty",
            "instrument_id",
            "last_px",
            "fee",
            "liquidity",
            "account_id",
            "session_id",
            "exec_id",
        ];
        let account_id = self.filter.account.unwrap_or(0);
        self.filter.ask(columns, |request_id, from_seq| {
            let mut block = wire::FillsRequest::default();
            block.request_id.set(request_id);
            block.from_seq.set(from_seq);
            block.account_id.set(account_id);
            block
        })
    }
}

impl List {
    pub(super) fn run(self) -> Result<(), Failure> {
        let columns = &[
            "cl_ord_id",
            "side",
            "order_qty",
            "instrument_id",
            "px",
            "tif",
            "ord_status",
            "cum_qty",
            "avg_px",
            "leaves_qty",
            "account_id",
            "session_id",
            "order_id",
        ];
        let account_id = self.filter.account.unwrap_or(0);
        self.filter.ask(columns, |request_id, _| {
            let mut block = wire::OpenOrdersRequest::default();
            block.request_id.set(request_id);
            block.account_id.set(account_id);
            block
        })
    }
}

impl Filter {
    /// Asks, for a cut answer again behind its end, and prints all that is told. `block` makes the query of a request
    /// id and the first report wanted.
    fn ask<T: Message>(&self, columns: &'static [&'static str], block: impl Fn(u64, u64) -> T) -> Result<(), Failure> {
        let mut desk = Desk::open(&self.connection)?;
        let mut table = Table::new(columns);
        let mut from_seq = 0;
        // What happens meanwhile is told on the same connection: it is no row, or one that comes again.
        let mut seen = BTreeSet::new();
        let mut is_row = |row: &wire::ExecReport| {
            let is_asked_for = self.account.is_none_or(|account| account == row.account_id.get());
            match ExecType::from_raw(row.exec_type) {
                Some(ExecType::Status) => T::INFO.template_id == wire::OpenOrdersRequest::TEMPLATE_ID,
                Some(ExecType::Trade) if T::INFO.template_id == wire::FillsRequest::TEMPLATE_ID => {
                    is_asked_for && seen.insert(row.exec_id.get())
                }
                Some(_) | None => false,
            }
        };
        loop {
            desk.client.query(|request_id| block(request_id, from_seq))?;
            let mut is_read = Ok(true);
            let end = desk.answers(T::INFO.template_id, |printer, event| {
                if matches!(is_read, Ok(true)) {
                    is_read = match event {
                        Event::Exec(row) if is_row(row) => table.add(printer, row),
                        Event::Position(row) => table.add(printer, row),
                        Event::Account(row) => table.add(printer, row),
                        _ => Ok(true),
                    };
                }
            })?;
            if !is_read? || end.reason.get() != Reason::ResendLimit.raw() {
                return table.end(&desk.printer).map(drop);
            }
            from_seq = end.report_seq.get().saturating_add(1);
        }
    }
}
