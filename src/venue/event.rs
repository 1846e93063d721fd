//! What the venue tells a client: events in a gapless stream of its own, and refusals of requests.

use super::order::{NewOrder, VenueOrderId};
use super::text::{self, Name};
use serde::{Deserialize, Serialize};

use tradecore_protocol::fields::{Liquidity, Money, Px, Qty};

/// One event of a client's stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VenueEvent {
    /// Contiguous from 1 for each client, over restarts.
    pub event_seq: u64,
    /// The venue's number of the order; 0 when no order has the client order id.
    pub venue_order_id: VenueOrderId,
    /// FIX ClOrdID (11).
    pub client_order_id: Name,
    /// FIX TransactTime (60), UTC nanoseconds, never going back.
    pub venue_time_ns: u64,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened to an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EventKind {
    /// The order got to the book.
    New {
        /// Its terms.
        order: NewOrder,
    },
    /// An execution.
    Trade {
        /// FIX ExecID (17), unique at the venue.
        exec_id: u64,
        /// FIX LastPx (31).
        #[serde(with = "text::px")]
        last_px: Px,
        /// FIX LastQty (32).
        #[serde(with = "text::qty")]
        last_qty: Qty,
        /// FIX CumQty (14).
        #[serde(with = "text::qty")]
        cum_qty: Qty,
        /// FIX LeavesQty (151).
        #[serde(with = "text::qty")]
        leaves_qty: Qty,
        /// Fee in the quote currency; negative is a rebate.
        #[serde(with = "text::money")]
        fee: Money,
        /// FIX LastLiquidityInd (851).
        #[serde(with = "text::liquidity")]
        liquidity: Liquidity,
    },
    /// The rest of the order is canceled.
    Canceled {
        /// Why.
        reason: CancelReason,
        /// FIX CumQty (14).
        #[serde(with = "text::qty")]
        cum_qty: Qty,
        /// The cancel request's own id, if it had one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request_id: Option<Name>,
    },
    /// The day of a day order is over.
    Expired {
        /// FIX CumQty (14).
        #[serde(with = "text::qty")]
        cum_qty: Qty,
    },
    /// Price and total quantity are changed.
    Replaced {
        /// The request's own id.
        request_id: Name,
        /// The price now.
        #[serde(with = "text::px")]
        px: Px,
        /// The total quantity now.
        #[serde(with = "text::qty")]
        qty: Qty,
        /// FIX CumQty (14).
        #[serde(with = "text::qty")]
        cum_qty: Qty,
        /// FIX LeavesQty (151).
        #[serde(with = "text::qty")]
        leaves_qty: Qty,
        /// False when the order went to the back of its price.
        priority_kept: bool,
    },
    /// The order did not get to the book.
    Rejected {
        /// Why.
        reason: RejectReason,
    },
    /// A cancel changed nothing.
    CancelRejected {
        /// Why.
        reason: RejectReason,
        /// The request's own id, if it had one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request_id: Option<Name>,
    },
    /// A replace changed nothing.
    ReplaceRejected {
        /// Why.
        reason: RejectReason,
        /// The request's own id.
        request_id: Name,
    },
}

/// Why the rest of an order was canceled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelReason {
    /// The client asked.
    Requested,
    /// Immediate or cancel: what did not fill at once.
    IocRemainder,
    /// Fill or kill: not all of it could fill at once.
    FokNotFilled,
    /// A market order met less than its quantity.
    NoLiquidity,
}

/// Why an order, cancel or replace was refused by the book, in order of precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RejectReason {
    /// The symbol is not traded here.
    UnknownSymbol,
    /// No order has the client order id.
    UnknownOrder,
    /// The order is filled, canceled, expired or rejected.
    TooLate,
    /// Market with price or post-only, limit without price, post-only with IOC or FOK, replace of a market order.
    InvalidTerms,
    /// Price not positive or not a multiple of the tick size.
    InvalidPrice,
    /// Quantity not positive or not a multiple of the lot size.
    InvalidQuantity,
    /// The total quantity of a replace is not above what is filled.
    QuantityBelowFilled,
    /// A market order found nothing to trade with.
    NoMarket,
    /// A post-only order would have taken liquidity.
    PostOnlyWouldCross,
}

/// Why a request was not accepted at all: nothing was recorded but a duplicate's witness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum RequestError {
    /// Not a request of this protocol.
    #[error("not a request of this protocol")]
    Malformed,
    /// A request before `hello`, or a second `hello` on one connection.
    #[error("`hello` comes first, once a connection")]
    NotIdentified,
    /// The client has said hello with a higher epoch.
    #[error("a newer epoch of this client exists")]
    Fenced,
    /// The client has used the client order id before.
    #[error("client_order_id was used before; query it")]
    DuplicateClientOrderId,
    /// The order has seen this replace request before.
    #[error("request_id was used before on this order; query the order")]
    DuplicateRequestId,
    /// The client has no order with the client order id.
    #[error("no order has this client_order_id")]
    UnknownOrder,
    /// The cursor is beyond the last event: the client knows more than this log.
    #[error("the cursor is beyond the last event of this venue's log")]
    CursorAhead,
    /// The event at the cursor has left memory.
    #[error("the event at the cursor is no longer kept; query orders instead")]
    EventsGone,
    /// A limit of the venue is reached: clients, orders, requests in flight or replaces of one order.
    #[error("a configured limit of the venue is reached")]
    Full,
}
