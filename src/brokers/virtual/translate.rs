//! Our words to the venue's, and back.

use tradecore_domain::command::{BrokerFact, FactKind};
use tradecore_protocol::fields::{OrderId, Px, Qty};
use tradecore_protocol::reason::Reason;

use crate::brokers::SubmitOrder;
use crate::venue::event::{CancelReason, EventKind, RejectReason, VenueEvent};
use crate::venue::order::{CancelOrder, NewOrder, OrderReport, OrderStatus, ReplaceOrder};
use crate::venue::text::Name;

pub(super) fn new_order(order: &SubmitOrder, client_order_id: Name, symbol: Name) -> NewOrder {
    NewOrder {
        client_order_id,
        symbol,
        side: order.side,
        ord_type: order.ord_type,
        tif: order.tif,
        post_only: order.post_only,
        px: order.px,
        qty: order.order_qty,
    }
}

pub(super) const fn cancel(client_order_id: Name) -> CancelOrder {
    CancelOrder { client_order_id, request_id: None }
}

pub(super) const fn replace(client_order_id: Name, request_id: Name, px: Px, qty: Qty) -> ReplaceOrder {
    ReplaceOrder { client_order_id, request_id, px, qty }
}

/// An event of the venue as a fact.
pub(super) fn fact(event: &VenueEvent, order_id: OrderId) -> BrokerFact {
    let kind = match &event.kind {
        EventKind::New { .. } => FactKind::Acknowledged,
        EventKind::Trade { exec_id, last_px, last_qty, fee, liquidity, .. } => FactKind::Trade {
            broker_exec_id: *exec_id,
            last_px: *last_px,
            last_qty: *last_qty,
            fee: fee.0,
            liquidity: Some(*liquidity),
        },
        EventKind::Canceled { reason, .. } => match reason {
            CancelReason::Requested => FactKind::Canceled { requested: true },
            // The time in force, or an empty market, ended it.
            CancelReason::IocRemainder | CancelReason::FokNotFilled | CancelReason::NoLiquidity => FactKind::Expired,
        },
        EventKind::Expired { .. } => FactKind::Expired,
        EventKind::Replaced { px, qty, .. } => FactKind::Replaced { px: *px, total_qty: *qty },
        EventKind::Rejected { reason, .. } => FactKind::Rejected { reason: reason_of(*reason) },
        EventKind::CancelRejected { reason, .. } => FactKind::CancelRejected { reason: reason_of(*reason) },
        EventKind::ReplaceRejected { reason, .. } => FactKind::ReplaceRejected { reason: reason_of(*reason) },
    };
    BrokerFact {
        order_id,
        broker_seq: event.event_seq,
        broker_order_id: event.venue_order_id.0,
        broker_time_ns: event.venue_time_ns,
        kind,
    }
}

/// A refusal of the venue in our words.
const fn reason_of(reason: RejectReason) -> Reason {
    match reason {
        RejectReason::PostOnlyWouldCross => Reason::WouldTake,
        RejectReason::TooLate => Reason::TooLate,
        RejectReason::UnknownOrder => Reason::NotAtBroker,
        RejectReason::QuantityBelowFilled => Reason::QtyBelowExecuted,
        RejectReason::UnknownSymbol
        | RejectReason::InvalidTerms
        | RejectReason::InvalidPrice
        | RejectReason::InvalidQuantity
        | RejectReason::NoMarket => Reason::BrokerReject,
    }
}

/// The answer to a query as a fact; `None` when the stream has told, or will tell, more than the answer does.
pub(super) fn found(order: &OrderReport) -> Option<FactKind> {
    match order.status {
        OrderStatus::New | OrderStatus::PartiallyFilled => {
            Some(FactKind::FoundLive { cum_qty: order.cum_qty, px: order.px, total_qty: order.qty })
        }
        // On its way to the book, which may still refuse it; or ended.
        OrderStatus::PendingNew
        | OrderStatus::Filled
        | OrderStatus::Canceled
        | OrderStatus::Expired
        | OrderStatus::Rejected => None,
    }
}
