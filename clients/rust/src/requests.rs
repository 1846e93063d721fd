//! Requests, as an algo thinks of them, and the wire blocks that they become.

use tradecore_protocol::codes::{MassCancelScope, SubscribeAction, mass_cancel_flags};
use tradecore_protocol::fields::{ClOrdId, OrdType, Px, Qty, Side, Tif};
use tradecore_protocol::layout::Message;
use tradecore_protocol::messages as wire;
use tradecore_protocol::session::{ClientSession, Now, SendError};
use tradecore_protocol::wire::{I64, U32, U64};

use crate::store::Request;

/// A new order, as an algo thinks of it.
#[derive(Clone, Copy, Debug)]
pub struct NewOrder {
    /// Instrument.
    pub instrument_id: u32,
    /// Account.
    pub account_id: u32,
    /// Side.
    pub side: Side,
    /// Quantity.
    pub qty: Qty,
    /// Price; none for a market order.
    pub px: Option<Px>,
    /// Time in force.
    pub tif: Tif,
    /// `exec_flags`.
    pub exec_flags: u8,
    /// Free for the algo.
    pub strategy_id: u32,
    /// Not sent later than this, ns UTC; 0 for no bound.
    pub valid_until_ns: u64,
}

impl NewOrder {
    /// A limit order for the day.
    #[must_use]
    pub const fn limit(instrument_id: u32, account_id: u32, side: Side, qty: Qty, px: Px) -> Self {
        Self {
            instrument_id,
            account_id,
            side,
            qty,
            px: Some(px),
            tif: Tif::Day,
            exec_flags: 0,
            strategy_id: 0,
            valid_until_ns: 0,
        }
    }

    pub(crate) fn block(&self, cl_ord_id: ClOrdId) -> wire::NewOrder {
        wire::NewOrder {
            cl_ord_id: U64::new(cl_ord_id.0),
            px: I64::new(self.px.unwrap_or(Px::NONE).0),
            qty: I64::new(self.qty.0),
            valid_until_ns: U64::new(self.valid_until_ns),
            instrument_id: U32::new(self.instrument_id),
            account_id: U32::new(self.account_id),
            strategy_id: U32::new(self.strategy_id),
            side: self.side.raw(),
            ord_type: if self.px.is_some() { OrdType::Limit } else { OrdType::Market }.raw(),
            tif: self.tif.raw(),
            exec_flags: self.exec_flags,
            ..wire::NewOrder::default()
        }
    }
}

pub(crate) fn cancel(cl_ord_id: ClOrdId, orig_cl_ord_id: ClOrdId) -> wire::CancelOrder {
    wire::CancelOrder {
        cl_ord_id: U64::new(cl_ord_id.0),
        orig_cl_ord_id: U64::new(orig_cl_ord_id.0),
        ..wire::CancelOrder::default()
    }
}

pub(crate) fn replace(cl_ord_id: ClOrdId, orig_cl_ord_id: ClOrdId, px: Px, total_qty: Qty) -> wire::ReplaceOrder {
    wire::ReplaceOrder {
        cl_ord_id: U64::new(cl_ord_id.0),
        orig_cl_ord_id: U64::new(orig_cl_ord_id.0),
        px: I64::new(px.0),
        total_qty: I64::new(total_qty.0),
        ..wire::ReplaceOrder::default()
    }
}

pub(crate) fn mass_cancel(cl_ord_id: ClOrdId, lock_out: bool) -> wire::MassCancel {
    wire::MassCancel {
        cl_ord_id: U64::new(cl_ord_id.0),
        scope: MassCancelScope::Session.raw(),
        flags: if lock_out { mass_cancel_flags::LOCK_OUT } else { 0 },
        ..wire::MassCancel::default()
    }
}

pub(crate) fn subscribe(request_id: u64, instrument_id: u32) -> wire::MarketDataSubscribe {
    wire::MarketDataSubscribe {
        request_id: U64::new(request_id),
        instrument_id: U32::new(instrument_id),
        action: SubscribeAction::Subscribe.raw(),
        ..wire::MarketDataSubscribe::default()
    }
}

pub(crate) fn positions(request_id: u64) -> wire::PositionRequest {
    wire::PositionRequest { request_id: U64::new(request_id), ..wire::PositionRequest::default() }
}

pub(crate) fn accounts(request_id: u64) -> wire::AccountRequest {
    wire::AccountRequest { request_id: U64::new(request_id), ..wire::AccountRequest::default() }
}

pub(crate) fn open_orders(request_id: u64) -> wire::OpenOrdersRequest {
    wire::OpenOrdersRequest { request_id: U64::new(request_id), ..wire::OpenOrdersRequest::default() }
}

pub(crate) fn fills(request_id: u64) -> wire::FillsRequest {
    wire::FillsRequest { request_id: U64::new(request_id), ..wire::FillsRequest::default() }
}

pub(crate) fn instruments(request_id: u64) -> wire::InstrumentsRequest {
    wire::InstrumentsRequest { request_id: U64::new(request_id), ..wire::InstrumentsRequest::default() }
}

pub(crate) fn order_status(request_id: u64, cl_ord_id: ClOrdId) -> wire::OrderStatusRequest {
    wire::OrderStatusRequest {
        request_id: U64::new(request_id),
        cl_ord_id: U64::new(cl_ord_id.0),
        ..wire::OrderStatusRequest::default()
    }
}

/// True for a request that opens or enlarges a risk: it is not taken while its fate would be uncertain.
pub(crate) const fn adds_risk(template_id: u16) -> bool {
    matches!(template_id, wire::NewOrder::TEMPLATE_ID | wire::ReplaceOrder::TEMPLATE_ID)
}

/// True for a request that must not be sent any more: its valid-until has passed.
pub(crate) fn is_stale(request: &Request, utc_ns: u64) -> bool {
    let valid_until_ns = match request.template_id {
        wire::NewOrder::TEMPLATE_ID => read_block::<wire::NewOrder>(&request.block).map(|block| block.valid_until_ns),
        wire::ReplaceOrder::TEMPLATE_ID => {
            read_block::<wire::ReplaceOrder>(&request.block).map(|block| block.valid_until_ns)
        }
        _ => None,
    };
    valid_until_ns.is_some_and(|valid_until_ns| valid_until_ns.get() != 0 && valid_until_ns.get() < utc_ns)
}

/// Writes a kept request again, as what it was; bytes written.
pub(crate) fn send_again(
    session: &mut ClientSession,
    now: Now,
    request: &Request,
    out: &mut [u8],
) -> Result<usize, SendError> {
    fn typed<T: Message>(
        session: &mut ClientSession,
        now: Now,
        block: &[u8],
        out: &mut [u8],
    ) -> Result<usize, SendError> {
        let block = read_block::<T>(block).ok_or(SendError::NotAllowed)?;
        session.send_again(now, &block, out).map(|sent| sent.written)
    }
    match request.template_id {
        wire::NewOrder::TEMPLATE_ID => typed::<wire::NewOrder>(session, now, &request.block, out),
        wire::CancelOrder::TEMPLATE_ID => typed::<wire::CancelOrder>(session, now, &request.block, out),
        wire::ReplaceOrder::TEMPLATE_ID => typed::<wire::ReplaceOrder>(session, now, &request.block, out),
        wire::MassCancel::TEMPLATE_ID => typed::<wire::MassCancel>(session, now, &request.block, out),
        wire::KillSwitch::TEMPLATE_ID => typed::<wire::KillSwitch>(session, now, &request.block, out),
        wire::OperatorNote::TEMPLATE_ID => typed::<wire::OperatorNote>(session, now, &request.block, out),
        // A file of a newer build: nothing that this one could send.
        _ => Err(SendError::NotAllowed),
    }
}

fn read_block<T: Message>(block: &[u8]) -> Option<T> {
    T::read_from_bytes(block).ok()
}
