//! `tradecore order`: places, changes and shows orders by hand.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tradecore::exit::Exit;
use tradecore_client::protocol::codes::{MassCancelScope, mass_cancel_flags};
use tradecore_client::protocol::fields::{ClOrdId, OrdStatus, Px, Qty, Role, Side, Tif, exec_flags};
use tradecore_client::protocol::messages as wire;
use tradecore_client::protocol::reason::Reason;
use tradecore_client::{Event, NewOrder};

use super::connection::Connection;
use super::desk::{Answer, Desk};
use super::failure::Failure;
use super::query;
use super::values::{duration, named, whole};

/// Places, changes and shows orders; every report is printed as it comes.
#[derive(clap::Subcommand)]
#[command(after_help = "Example: tradecore order list --config gateway.toml --session 1")]
pub(super) enum Order {
    New(Box<New>),
    Cancel(Cancel),
    CancelAll(Box<CancelAll>),
    Replace(Replace),
    Status(Status),
    List(query::List),
}

/// Places an order; without a price it is a market order.
#[derive(clap::Args)]
#[command(
    after_help = "Example: tradecore order new --config gateway.toml --session 1 --instrument BTCUSDT --side buy \
    --qty 0.01 --price 101.25"
)]
pub(super) struct New {
    /// Symbol or number of the instrument.
    #[arg(long)]
    instrument: String,
    /// Whether to buy or to sell.
    #[arg(long, value_parser = named(Side::TABLE))]
    side: Side,
    /// Quantity, exact.
    #[arg(long, value_parser = tradecore_client::qty, allow_hyphen_values = true)]
    qty: Qty,
    /// Price, exact.
    #[arg(long, value_parser = tradecore_client::px, allow_hyphen_values = true)]
    price: Option<Px>,
    /// Time in force.
    #[arg(long, default_value = "day", value_parser = named(Tif::TABLE))]
    tif: Tif,
    /// Refuses rather than takes liquidity.
    #[arg(long)]
    post_only: bool,
    /// The account; by default the only one that the session may use.
    #[arg(long, value_parser = whole::<u32>)]
    account: Option<u32>,
    /// The order is refused when it arrives later; `0s` for no bound.
    #[arg(long, default_value = "5s", value_parser = duration)]
    valid_for: Duration,
    /// How long to wait.
    #[arg(long, default_value = "ack")]
    wait: Wait,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Wait {
    /// Until the broker has the order.
    Ack,
    /// Until the order is closed, however long it takes.
    Done,
}

/// Cancels an order and waits until it is closed.
#[derive(clap::Args)]
#[command(after_help = "Example: tradecore order cancel --config gateway.toml --session 1 --cl-ord-id 281474976710657")]
pub(super) struct Cancel {
    /// The order's FIX ClOrdID (11), as the reports say it.
    #[arg(long, value_parser = whole::<u64>)]
    cl_ord_id: u64,
    #[command(flatten)]
    connection: Connection,
}

/// Changes price, total quantity or both of an order and waits for the broker's answer.
#[derive(clap::Args)]
#[command(
    after_help = "Example: tradecore order replace --config gateway.toml --session 1 --cl-ord-id 281474976710657 \
    --price 101.50"
)]
#[command(group(clap::ArgGroup::new("change").args(["qty", "price"]).required(true).multiple(true)))]
pub(super) struct Replace {
    /// The order's FIX ClOrdID (11), as the reports say it.
    #[arg(long, value_parser = whole::<u64>)]
    cl_ord_id: u64,
    /// Total quantity, what is filled included; by default as it is.
    #[arg(long, value_parser = tradecore_client::qty, allow_hyphen_values = true)]
    qty: Option<Qty>,
    /// Price; by default as it is.
    #[arg(long, value_parser = tradecore_client::px, allow_hyphen_values = true)]
    price: Option<Px>,
    #[command(flatten)]
    connection: Connection,
}

/// Prints the state of an order, open or closed.
#[derive(clap::Args)]
#[command(after_help = "Example: tradecore order status --config gateway.toml --session 1 --cl-ord-id 281474976710657")]
pub(super) struct Status {
    /// The order's FIX ClOrdID (11), as the reports say it.
    #[arg(long, value_parser = whole::<u64>)]
    cl_ord_id: u64,
    #[command(flatten)]
    connection: Connection,
}

/// Cancels every open order of the session and waits until they are closed; a session of role `admin` cancels those of
/// all sessions.
#[derive(clap::Args)]
#[command(after_help = "Example: tradecore order cancel-all --config gateway.toml --session 1 --lock-out")]
pub(super) struct CancelAll {
    /// Only orders of this instrument: its symbol or number.
    #[arg(long)]
    instrument: Option<String>,
    /// Only orders of this side.
    #[arg(long, value_parser = named(Side::TABLE))]
    side: Option<Side>,
    /// Only orders of this account.
    #[arg(long, value_parser = whole::<u32>)]
    account: Option<u32>,
    /// Only orders of this strategy.
    #[arg(long, value_parser = whole::<u32>)]
    strategy: Option<u32>,
    /// Refuses new orders of the session from now on, whatever the filters.
    #[arg(long)]
    lock_out: bool,
    /// Lets new orders pass again after `--lock-out`; cancels nothing.
    #[arg(long, conflicts_with = "lock_out")]
    release_lock_out: bool,
    #[command(flatten)]
    connection: Connection,
}

impl Order {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self {
            Self::New(command) => command.run(),
            Self::Cancel(command) => command.run(),
            Self::CancelAll(command) => command.run(),
            Self::Replace(command) => command.run(),
            Self::Status(command) => command.run(),
            Self::List(command) => command.run(),
        }
    }
}

impl New {
    fn run(self) -> Result<(), Failure> {
        let mut desk = Desk::open(&self.connection)?;
        let order = NewOrder {
            tif: self.tif,
            px: self.price,
            exec_flags: if self.post_only { exec_flags::POST_ONLY } else { 0 },
            valid_until_ns: valid_until_ns(self.valid_for),
            ..NewOrder::limit(
                instrument(&mut desk, &self.instrument)?,
                self.account(&mut desk)?,
                self.side,
                self.qty,
                Px::NONE,
            )
        };
        let cl_ord_id = desk.client.new_order(&order)?;
        let bound = if self.wait == Wait::Ack { Some(self.connection.timeout) } else { None };
        desk.follow(cl_ord_id, cl_ord_id, bound, |report| match OrdStatus::from_raw(report.ord_status) {
            Some(OrdStatus::Rejected) => Answer::Refused,
            Some(status) if status.is_closed() => Answer::Done,
            Some(OrdStatus::PendingNew | OrdStatus::InDoubt) | None => Answer::NotYet,
            Some(_) if self.wait == Wait::Ack => Answer::Done,
            Some(_) => Answer::NotYet,
        })
    }

    fn account(&self, desk: &mut Desk) -> Result<u32, Failure> {
        if let Some(account) = self.account {
            return Ok(account);
        }
        let mut accounts = Vec::new();
        desk.client.accounts()?;
        desk.answers(wire::AccountRequest::TEMPLATE_ID, |_, event| {
            if let Event::Account(account) = event {
                accounts.push(account.account_id.get());
            }
        })?;
        match accounts.as_slice() {
            [account] => Ok(*account),
            [] => Err(Failure::refused(Exit::Rejected, Reason::AccountForbidden, "the session may use no account")),
            accounts => {
                let allowed: Vec<String> = accounts.iter().map(ToString::to_string).collect();
                Err(Failure::new(Exit::Usage, format!("--account is missing; allowed: {}", allowed.join(", "))))
            }
        }
    }
}

/// 0 for no bound.
fn valid_until_ns(valid_for: Duration) -> u64 {
    if valid_for.is_zero() {
        return 0;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.saturating_add(valid_for).as_nanos()).unwrap_or(0)
}

/// The number of an instrument, by its symbol or its number.
fn instrument(desk: &mut Desk, wanted: &str) -> Result<u32, Failure> {
    let mut known = Vec::new();
    desk.client.instruments()?;
    desk.answers(wire::InstrumentsRequest::TEMPLATE_ID, |_, event| {
        if let Event::Instrument(instrument) = event {
            known.push((instrument.instrument_id.get(), instrument.symbol.as_str().to_owned()));
        }
    })?;
    let number = wanted.parse::<u32>().ok();
    // A symbol may look like a number; it is the name that people see.
    let by_symbol = known.iter().find(|(_, symbol)| symbol == wanted);
    match by_symbol.or_else(|| known.iter().find(|(id, _)| Some(*id) == number)) {
        Some((id, _)) => Ok(*id),
        None => {
            let allowed: Vec<String> = known.iter().map(|(id, symbol)| format!("{symbol} ({id})")).collect();
            let text = format!("--instrument {wanted}; allowed: {}", allowed.join(", "));
            Err(Failure::refused(Exit::Rejected, Reason::InstrumentUnknown, &text))
        }
    }
}

impl Cancel {
    fn run(self) -> Result<(), Failure> {
        let mut desk = Desk::open(&self.connection)?;
        let order = ClOrdId(self.cl_ord_id);
        let request = desk.client.cancel(order)?;
        desk.follow(order, request, Some(self.connection.timeout), |report| {
            match OrdStatus::from_raw(report.ord_status) {
                Some(OrdStatus::Filled) => Answer::TooLate,
                Some(status) if status.is_closed() => Answer::Done,
                Some(_) if is_refusal(report, request) => Answer::Refused,
                Some(_) | None => Answer::NotYet,
            }
        })
    }
}

impl Replace {
    fn run(self) -> Result<(), Failure> {
        let mut desk = Desk::open(&self.connection)?;
        let order = ClOrdId(self.cl_ord_id);
        let (qty, px) = match (self.qty, self.price) {
            (Some(qty), Some(px)) => (qty, px),
            (qty, px) => {
                let now = desk.status(order)?;
                (qty.unwrap_or(Qty(now.order_qty.get())), px.unwrap_or(Px(now.px.get())))
            }
        };
        let request = desk.client.replace(order, px, qty)?;
        desk.follow(order, request, Some(self.connection.timeout), |report| {
            let is_in_force = report.order_qty.get() == qty.0 && report.px.get() == px.0;
            match OrdStatus::from_raw(report.ord_status) {
                Some(_) if is_refusal(report, request) => Answer::Refused,
                Some(OrdStatus::New | OrdStatus::PartiallyFilled) if is_in_force => Answer::Done,
                Some(status) if status.is_closed() && !is_in_force => Answer::TooLate,
                Some(status) if status.is_closed() => Answer::Done,
                Some(_) | None => Answer::NotYet,
            }
        })
    }
}

/// True when the broker refused the change; the order goes on as it was.
fn is_refusal(report: &wire::ExecReport, request: ClOrdId) -> bool {
    report.req_cl_ord_id.get() == request.0 && report.reason.get() != Reason::None.raw()
}

impl Status {
    fn run(self) -> Result<(), Failure> {
        let mut desk = Desk::open(&self.connection)?;
        let status = desk.status(ClOrdId(self.cl_ord_id))?;
        desk.printer.message(&status).map(drop)
    }
}

impl CancelAll {
    fn run(self) -> Result<(), Failure> {
        let mut desk = Desk::open(&self.connection)?;
        let scope = match (desk.role, self.account) {
            (Role::Admin, None) => MassCancelScope::Core,
            (Role::Admin, Some(_)) => MassCancelScope::Account,
            (Role::Trade | Role::DropCopy | Role::MarketData, _) => MassCancelScope::Session,
        };
        let mut block = wire::MassCancel { scope: scope.raw(), ..wire::MassCancel::default() };
        if let Some(symbol) = &self.instrument {
            block.instrument_id.set(instrument(&mut desk, symbol)?);
        }
        block.account_id.set(self.account.unwrap_or(0));
        block.strategy_id.set(self.strategy.unwrap_or(0));
        block.side = self.side.map_or(0, Side::raw);
        block.flags = match (self.lock_out, self.release_lock_out) {
            (true, _) => mass_cancel_flags::LOCK_OUT,
            (false, true) => mass_cancel_flags::RELEASE_LOCK_OUT,
            (false, false) => 0,
        };
        let request = desk.client.request(|id| {
            block.cl_ord_id.set(id.0);
            block
        })?;
        desk.follow_all(request, true, "order list")
    }
}
