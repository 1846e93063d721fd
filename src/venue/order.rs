//! An order at the venue, and what clients ask for.

use super::text::{self, Name};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

use tradecore_protocol::fields::{Liquidity, Money, OrdType, Px, Qty, Side, Tif};

/// The venue's number of an order, from 1, never given twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VenueOrderId(pub u64);

/// A connected participant: an index into the exchange's clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientIndex(pub(crate) usize);

/// A new order as a client sends it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewOrder {
    /// FIX ClOrdID (11): 1 to 64 printable ASCII characters, unique per client for ever.
    pub client_order_id: Name,
    /// FIX Symbol (55).
    pub symbol: Name,
    /// FIX Side (54).
    #[serde(with = "text::side")]
    pub side: Side,
    /// FIX OrdType (40).
    #[serde(rename = "type", with = "text::ord_type")]
    pub ord_type: OrdType,
    /// FIX TimeInForce (59).
    #[serde(with = "text::tif")]
    pub tif: Tif,
    /// Refuse rather than take.
    #[serde(default)]
    pub post_only: bool,
    /// FIX Price (44); `Px::NONE`, absent on the wire, for a market order.
    #[serde(with = "text::optional_px", default = "text::optional_px::none")]
    pub px: Px,
    /// FIX OrderQty (38).
    #[serde(with = "text::qty")]
    pub qty: Qty,
}

/// A change of price and total quantity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplaceOrder {
    /// FIX ClOrdID (11) of the order.
    pub client_order_id: Name,
    /// The client's own id of this request, unique per order; the outcome carries it.
    pub request_id: Name,
    /// New price.
    #[serde(with = "text::px")]
    pub px: Px,
    /// New total quantity, filled part included.
    #[serde(with = "text::qty")]
    pub qty: Qty,
}

/// A cancel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CancelOrder {
    /// FIX ClOrdID (11) of the order.
    pub client_order_id: Name,
    /// The client's own id of this request, if it wants it in the outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<Name>,
}

/// State of an order at the venue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderStatus {
    /// Accepted, not yet at the book.
    PendingNew,
    /// At the book, nothing filled.
    New,
    /// At the book, in part filled.
    PartiallyFilled,
    /// Filled in full.
    Filled,
    /// Canceled.
    Canceled,
    /// Ended with its day.
    Expired,
    /// Refused.
    Rejected,
}

impl OrderStatus {
    /// True while the order can trade or will get to the book.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::PendingNew | Self::New | Self::PartiallyFilled)
    }
}

/// One execution of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fill {
    /// FIX ExecID (17), unique at the venue.
    pub exec_id: u64,
    /// FIX LastPx (31).
    #[serde(with = "text::px")]
    pub px: Px,
    /// FIX LastQty (32).
    #[serde(with = "text::qty")]
    pub qty: Qty,
    /// Fee in the quote currency; negative is a rebate.
    #[serde(with = "text::money")]
    pub fee: Money,
    /// FIX LastLiquidityInd (851).
    #[serde(with = "text::liquidity")]
    pub liquidity: Liquidity,
    /// When, UTC nanoseconds.
    pub venue_time_ns: u64,
}

/// The answer to a query: an order's whole state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderReport {
    /// The venue's number.
    pub venue_order_id: VenueOrderId,
    /// FIX ClOrdID (11).
    pub client_order_id: Name,
    /// FIX Symbol (55).
    pub symbol: Name,
    /// FIX Side (54).
    #[serde(with = "text::side")]
    pub side: Side,
    /// FIX OrdType (40).
    #[serde(rename = "type", with = "text::ord_type")]
    pub ord_type: OrdType,
    /// FIX TimeInForce (59).
    #[serde(with = "text::tif")]
    pub tif: Tif,
    /// Refuses rather than takes.
    pub post_only: bool,
    /// FIX Price (44), as last replaced.
    #[serde(with = "text::optional_px", default = "text::optional_px::none")]
    pub px: Px,
    /// FIX OrderQty (38), as last replaced.
    #[serde(with = "text::qty")]
    pub qty: Qty,
    /// FIX CumQty (14).
    #[serde(with = "text::qty")]
    pub cum_qty: Qty,
    /// FIX LeavesQty (151): 0 once closed.
    #[serde(with = "text::qty")]
    pub leaves_qty: Qty,
    /// State.
    pub status: OrderStatus,
    /// True while a request for it is on its way to the book: an event is still to tell what became of that.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub request_pending: bool,
    /// The last replace that took effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replace_request_id: Option<Name>,
    /// Executions, oldest first; lists of orders leave them out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fills: Vec<Fill>,
}

/// An order in the exchange's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) id: VenueOrderId,
    pub(crate) client: ClientIndex,
    pub(crate) terms: NewOrder,
    /// Index of the instrument; `None` when the symbol is not traded here.
    pub(crate) instrument: Option<usize>,
    pub(crate) cum_qty: Qty,
    pub(crate) status: OrderStatus,
    /// Rank in time among orders of one price; given at `new`, and anew when a replace loses it.
    pub(crate) priority: u64,
    /// Displayed size ahead at this price; `None` while the price has not been at the touch.
    pub(crate) queue_ahead: Option<i64>,
    /// When a day order ends.
    pub(crate) expires_ns: Option<u64>,
    pub(crate) request_ids: BTreeSet<Name>,
    pub(crate) replace_request_id: Option<Name>,
    pub(crate) fills: Vec<Fill>,
}

impl Order {
    pub(crate) fn new(id: VenueOrderId, client: ClientIndex, terms: NewOrder, instrument: Option<usize>) -> Self {
        Self {
            id,
            client,
            terms,
            instrument,
            cum_qty: Qty(0),
            status: OrderStatus::PendingNew,
            priority: 0,
            queue_ahead: None,
            expires_ns: None,
            request_ids: BTreeSet::new(),
            replace_request_id: None,
            fills: Vec::new(),
        }
    }

    /// What can still trade.
    pub(crate) fn leaves(&self) -> i64 {
        if self.status.is_open() { self.terms.qty.0.saturating_sub(self.cum_qty.0) } else { 0 }
    }

    pub(crate) fn report(&self) -> OrderReport {
        OrderReport { fills: self.fills.clone(), ..self.report_without_fills() }
    }

    pub(crate) fn report_without_fills(&self) -> OrderReport {
        OrderReport {
            venue_order_id: self.id,
            client_order_id: self.terms.client_order_id.clone(),
            symbol: self.terms.symbol.clone(),
            side: self.terms.side,
            ord_type: self.terms.ord_type,
            tif: self.terms.tif,
            post_only: self.terms.post_only,
            px: self.terms.px,
            qty: self.terms.qty,
            cum_qty: self.cum_qty,
            leaves_qty: Qty(self.leaves()),
            status: self.status,
            request_pending: self.status == OrderStatus::PendingNew,
            replace_request_id: self.replace_request_id.clone(),
            fills: Vec::new(),
        }
    }
}
