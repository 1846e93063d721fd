//! Commands: everything that may be asked of the domain, whoever asks.

use tradecore_protocol::fields::{
    AccountId, BrokerStatus, ClOrdId, CodMode, InstrumentId, Liquidity, OrderId, Px, Qty, Role, SessionId, StrategyId,
    TradingState,
};
use tradecore_protocol::layout::Text;
use tradecore_protocol::reason::Reason;

/// Who asks and when it came: the same for every command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Session; `NONE` when the command does not come from one.
    pub session_id: SessionId,
    /// In-sequence number of the session's frame; 0 when there is none.
    pub client_seq: u64,
    /// UTC ns when it reached the gateway.
    pub recv_time_ns: u64,
}

/// A new order. Codes are raw: judging them is the domain's work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlaceOrder {
    /// FIX ClOrdID (11).
    pub cl_ord_id: ClOrdId,
    /// FIX Price (44); `Px::NONE` for a market order.
    pub px: Px,
    /// FIX OrderQty (38).
    pub order_qty: Qty,
    /// UTC ns after which the order must not leave; 0 for none.
    pub valid_until_ns: u64,
    /// Instrument.
    pub instrument_id: InstrumentId,
    /// FIX Account (1).
    pub account_id: AccountId,
    /// Strategy, free for the client.
    pub strategy_id: StrategyId,
    /// Person or algorithm that decided, free for the client.
    pub decision_maker: u32,
    /// FIX Side (54), raw.
    pub side: u8,
    /// FIX OrdType (40), raw.
    pub ord_type: u8,
    /// FIX TimeInForce (59), raw.
    pub tif: u8,
    /// `exec_flags`, raw.
    pub exec_flags: u8,
}

/// A cancel. `order_id` wins over `orig_cl_ord_id` when it is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CancelOrder {
    /// ClOrdID of this request, for the reports.
    pub cl_ord_id: ClOrdId,
    /// FIX OrigClOrdID (41).
    pub orig_cl_ord_id: ClOrdId,
    /// FIX OrderID (37); `NONE` when unknown.
    pub order_id: OrderId,
}

/// A replace: new price and new total quantity (including what is executed).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplaceOrder {
    /// ClOrdID of this request, for the reports.
    pub cl_ord_id: ClOrdId,
    /// FIX OrigClOrdID (41).
    pub orig_cl_ord_id: ClOrdId,
    /// FIX OrderID (37); `NONE` when unknown.
    pub order_id: OrderId,
    /// New price.
    pub px: Px,
    /// New total quantity.
    pub total_qty: Qty,
    /// UTC ns after which the replace must not leave; 0 for none.
    pub valid_until_ns: u64,
}

/// A mass cancel: every open order in scope that all given filters name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MassCancel {
    /// The client's id of the request.
    pub request_id: u64,
    /// True for the orders of every session, false for those of this one alone.
    pub every_session: bool,
    /// Account; `NONE` for all, which with `every_session` is for an operator.
    pub account_id: AccountId,
    /// Instrument; `NONE` for all.
    pub instrument_id: InstrumentId,
    /// Strategy; `NONE` for all.
    pub strategy_id: StrategyId,
    /// Side, raw; 0 for both.
    pub side: u8,
    /// 1 engages the lock-out of new orders of the session, 2 releases it, 0 leaves it; raw.
    pub lockout: u8,
}

/// What a broker said of one order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokerFact {
    /// The order, from the client order id that we gave it; `NONE` when it is not ours.
    pub order_id: OrderId,
    /// Cursor of the broker's event stream; 0 when the fact answers a query or a request.
    pub broker_seq: u64,
    /// The broker's own order number; 0 when unknown.
    pub broker_order_id: u64,
    /// Broker's time, UTC ns; 0 when unknown.
    pub broker_time_ns: u64,
    /// What happened.
    pub kind: FactKind,
}

/// The kinds of facts that a broker tells.
// The word of the tag keeps copies aligned: with a byte, all behind it is moved at odd places, and waits for its stores.
#[repr(u64)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FactKind {
    /// The order is live at the broker.
    Acknowledged,
    /// The order was refused.
    Rejected {
        /// Why, as far as the broker's word has a reason of ours; else `BrokerReject`.
        reason: Reason,
    },
    /// A fill.
    Trade {
        /// The broker's execution id, by which a fill is applied once; 0 when it has none.
        broker_exec_id: u64,
        /// FIX LastPx (31).
        last_px: Px,
        /// FIX LastQty (32).
        last_qty: Qty,
        /// Fee, money × 10⁻¹⁸.
        fee: i128,
        /// Added or removed.
        liquidity: Option<Liquidity>,
    },
    /// Canceled at the broker; `requested` tells whether the broker says that we asked.
    Canceled {
        /// True when it answers a cancel of ours.
        requested: bool,
    },
    /// Ended by its time in force.
    Expired,
    /// Replaced: the price and total quantity that now hold.
    Replaced {
        /// Price in force.
        px: Px,
        /// Total quantity in force.
        total_qty: Qty,
    },
    /// A cancel was refused.
    CancelRejected {
        /// Why, as in `Rejected`.
        reason: Reason,
    },
    /// A replace was refused.
    ReplaceRejected {
        /// Why, as in `Rejected`.
        reason: Reason,
    },
    /// Answer to a query: the broker has the order live, with this much executed, at these terms.
    FoundLive {
        /// FIX CumQty (14) at the broker.
        cum_qty: Qty,
        /// Price in force.
        px: Px,
        /// Total quantity in force.
        total_qty: Qty,
    },
    /// Answer to a query: the broker definitely has never had the order.
    NotFound,
}

impl FactKind {
    /// Every kind: its code in events, its name.
    pub const TABLE: &'static [(u8, &'static str)] = &[
        (1, "Acknowledged"),
        (2, "Rejected"),
        (3, "Trade"),
        (4, "Canceled"),
        (5, "Expired"),
        (6, "Replaced"),
        (7, "CancelRejected"),
        (8, "ReplaceRejected"),
        (9, "FoundLive"),
        (10, "NotFound"),
    ];

    /// The code that stands for it in an event.
    #[must_use]
    pub const fn code(&self) -> u8 {
        match self {
            Self::Acknowledged => 1,
            Self::Rejected { .. } => 2,
            Self::Trade { .. } => 3,
            Self::Canceled { .. } => 4,
            Self::Expired => 5,
            Self::Replaced { .. } => 6,
            Self::CancelRejected { .. } => 7,
            Self::ReplaceRejected { .. } => 8,
            Self::FoundLive { .. } => 9,
            Self::NotFound => 10,
        }
    }
}

/// What was to be done at the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EffectKind {
    /// A new order.
    Submit,
    /// A cancel.
    Cancel,
    /// A replace.
    Replace,
}

/// How an effect ended when it did not simply leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EffectFailure {
    /// Definitely not a byte of it left.
    NotSent,
    /// It may have reached the broker.
    Unknown,
}

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)]
pub enum Command {
    /// Starts a new epoch; the first command of every start.
    StartCore {
        /// Epoch, already synced.
        epoch: u32,
        /// Core.
        core: u16,
        /// `Environment`, raw.
        environment: u8,
        /// `Durability`, raw.
        durability: u8,
    },
    /// Defines or redefines an instrument; nothing happens when it is the same.
    DefineInstrument(crate::event::InstrumentDefined),
    /// Defines or redefines an account; nothing happens when it is the same.
    DefineAccount(crate::event::AccountDefined),
    /// Defines or redefines a session; nothing happens when it is the same.
    DefineSession {
        /// Session.
        session_id: SessionId,
        /// Raised by an operator's reset.
        session_epoch: u64,
        /// Role.
        role: Role,
        /// Default mode.
        cod_mode: CodMode,
    },
    /// A session logged on.
    LogOn {
        /// Number of the connection within the core's epoch.
        connection_no: u64,
        /// Mode in force.
        cod_mode: CodMode,
        /// Grace window, ms.
        cod_window_ms: u32,
    },
    /// A session's connection ended.
    EndSession {
        /// Why: `Logout` counts as logout, `TakenOver` and `Shutdown` cancel nothing, all else as disconnect.
        reason: Reason,
    },
    /// A new order.
    PlaceOrder(PlaceOrder),
    /// A cancel.
    CancelOrder(CancelOrder),
    /// A replace.
    ReplaceOrder(ReplaceOrder),
    /// A mass cancel.
    MassCancel(MassCancel),
    /// Engages or releases a kill switch.
    SetKillSwitch {
        /// The client's id of the request.
        request_id: u64,
        /// Account; `NONE` for the whole core.
        account_id: AccountId,
        /// True to engage.
        engage: bool,
        /// True to cancel every open order in scope when it engages.
        cancel_open: bool,
        /// True to lift a restriction of the trading state in scope when it is released.
        reopen: bool,
        /// Who and why, in the operator's words.
        operator_tag: Text<32>,
    },
    /// Writes something down.
    NoteByOperator {
        /// The client's id of the request.
        request_id: u64,
        /// The operator's words.
        text: Text<96>,
    },
    /// Sets the trading state of an account, or of the core when `account_id` is `NONE`.
    SetTradingState {
        /// Account.
        account_id: AccountId,
        /// State.
        state: TradingState,
        /// Why.
        reason: Reason,
    },
    /// The connection to the broker changed.
    BrokerStatus {
        /// State.
        status: BrokerStatus,
        /// Number of the connection within the core's epoch.
        connection_no: u64,
    },
    /// The broker told a fact.
    BrokerFact(BrokerFact),
    /// An effect did not simply leave.
    EffectFailed {
        /// The order.
        order_id: OrderId,
        /// What was to be done.
        kind: EffectKind,
        /// How it ended.
        failure: EffectFailure,
        /// Why.
        reason: Reason,
    },
    /// One step of what is pending in the state: mass cancels, cancel-on-disconnect, doubts.
    Step,
}
