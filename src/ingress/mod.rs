//! Frames to commands. Owns the translation of every application message that asks for a decision.
//!
//! Must not know why an order may live: values are passed on as they are, judging them is the domain's
//! work. What says no command at all, such as an unknown scope, is refused here, with a reason.

use tradecore_domain::command::{CancelOrder, Command, MassCancel, PlaceOrder, ReplaceOrder};
use tradecore_protocol::codes::{KillAction, KillScope, MassCancelScope, kill_flags, mass_cancel_flags};
use tradecore_protocol::fields::{AccountId, ClOrdId, InstrumentId, OrderId, Px, Qty, StrategyId};
use tradecore_protocol::frame::{Frame, ShapeError};
use tradecore_protocol::messages as wire;
use tradecore_protocol::reason::Reason;

/// What a frame asks of the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)]
pub enum Request {
    /// A decision.
    Command(Command),
    /// A reading of the state, answered by `queries`.
    Query,
    /// Something that is refused before any decision, with the ids that the answer carries.
    Refused(Reason),
}

/// Client order id, original client order id and order id of a request, for its refusal.
#[must_use]
pub fn ids_of(frame: &Frame<'_>) -> [u64; 3] {
    match frame.header.template_id {
        wire::CancelOrder::TEMPLATE_ID => frame
            .read::<wire::CancelOrder>()
            .map_or([0; 3], |m| [m.cl_ord_id.get(), m.orig_cl_ord_id.get(), m.order_id.get()]),
        wire::ReplaceOrder::TEMPLATE_ID => frame
            .read::<wire::ReplaceOrder>()
            .map_or([0; 3], |m| [m.cl_ord_id.get(), m.orig_cl_ord_id.get(), m.order_id.get()]),
        _ => [frame.leading_id(), 0, 0],
    }
}

/// The request in a frame of a session that is logged on.
///
/// # Errors
/// `ShapeError` for a template that no client may send here.
pub fn request_of(frame: &Frame<'_>) -> Result<Request, ShapeError> {
    Ok(match frame.header.template_id {
        wire::NewOrder::TEMPLATE_ID => {
            let m = frame.read::<wire::NewOrder>()?;
            Request::Command(Command::PlaceOrder(PlaceOrder {
                cl_ord_id: ClOrdId(m.cl_ord_id.get()),
                px: Px(m.px.get()),
                order_qty: Qty(m.qty.get()),
                valid_until_ns: m.valid_until_ns.get(),
                instrument_id: InstrumentId(m.instrument_id.get()),
                account_id: AccountId(m.account_id.get()),
                strategy_id: StrategyId(m.strategy_id.get()),
                decision_maker: m.decision_maker_id.get(),
                side: m.side,
                ord_type: m.ord_type,
                tif: m.tif,
                exec_flags: m.exec_flags,
            }))
        }
        wire::CancelOrder::TEMPLATE_ID => {
            let m = frame.read::<wire::CancelOrder>()?;
            Request::Command(Command::CancelOrder(CancelOrder {
                cl_ord_id: ClOrdId(m.cl_ord_id.get()),
                orig_cl_ord_id: ClOrdId(m.orig_cl_ord_id.get()),
                order_id: OrderId(m.order_id.get()),
            }))
        }
        wire::ReplaceOrder::TEMPLATE_ID => {
            let m = frame.read::<wire::ReplaceOrder>()?;
            Request::Command(Command::ReplaceOrder(ReplaceOrder {
                cl_ord_id: ClOrdId(m.cl_ord_id.get()),
                orig_cl_ord_id: ClOrdId(m.orig_cl_ord_id.get()),
                order_id: OrderId(m.order_id.get()),
                px: Px(m.px.get()),
                total_qty: Qty(m.total_qty.get()),
                valid_until_ns: m.valid_until_ns.get(),
            }))
        }
        wire::MassCancel::TEMPLATE_ID => mass_cancel(frame.read::<wire::MassCancel>()?),
        wire::KillSwitch::TEMPLATE_ID => kill_switch(frame.read::<wire::KillSwitch>()?),
        wire::OperatorNote::TEMPLATE_ID => operator_note(frame.read::<wire::OperatorNote>()?),
        wire::OrderStatusRequest::TEMPLATE_ID
        | wire::OpenOrdersRequest::TEMPLATE_ID
        | wire::PositionRequest::TEMPLATE_ID
        | wire::AccountRequest::TEMPLATE_ID
        | wire::FillsRequest::TEMPLATE_ID
        | wire::InstrumentsRequest::TEMPLATE_ID
        | wire::MarketDataSubscribe::TEMPLATE_ID => Request::Query,
        _ => return Err(ShapeError { reason: Reason::UnknownTemplate, offset: 2 }),
    })
}

fn mass_cancel(m: &wire::MassCancel) -> Request {
    let every_session = match MassCancelScope::from_raw(m.scope) {
        Some(MassCancelScope::Session) => false,
        Some(MassCancelScope::Account) if m.account_id.get() != 0 => true,
        Some(MassCancelScope::Core) if m.account_id.get() == 0 => true,
        Some(MassCancelScope::Account | MassCancelScope::Core) | None => {
            return Request::Refused(Reason::ScopeInvalid);
        }
    };
    let lockout = match m.flags {
        0 => 0,
        mass_cancel_flags::LOCK_OUT => 1,
        mass_cancel_flags::RELEASE_LOCK_OUT => 2,
        _ => return Request::Refused(Reason::FieldValue),
    };
    Request::Command(Command::MassCancel(MassCancel {
        request_id: m.cl_ord_id.get(),
        every_session,
        account_id: AccountId(m.account_id.get()),
        instrument_id: InstrumentId(m.instrument_id.get()),
        strategy_id: StrategyId(m.strategy_id.get()),
        side: m.side,
        lockout,
    }))
}

fn operator_note(m: &wire::OperatorNote) -> Request {
    if m.text.as_str().is_empty() {
        return Request::Refused(Reason::FieldValue);
    }
    Request::Command(Command::NoteByOperator { request_id: m.cl_ord_id.get(), text: m.text })
}

fn kill_switch(m: &wire::KillSwitch) -> Request {
    let account_id = match KillScope::from_raw(m.scope) {
        Some(KillScope::Core) if m.account_id.get() == 0 => AccountId::NONE,
        Some(KillScope::Account) if m.account_id.get() != 0 => AccountId(m.account_id.get()),
        Some(KillScope::Core | KillScope::Account) | None => return Request::Refused(Reason::ScopeInvalid),
    };
    let engage = match KillAction::from_raw(m.action) {
        Some(KillAction::Engage) => true,
        Some(KillAction::Release) => false,
        None => return Request::Refused(Reason::FieldValue),
    };
    let flags_allowed = if engage { kill_flags::CANCEL_OPEN } else { kill_flags::REOPEN };
    if m.flags & !flags_allowed != 0 {
        return Request::Refused(Reason::FieldValue);
    }
    let cancel_open = m.flags & kill_flags::CANCEL_OPEN != 0;
    let reopen = m.flags & kill_flags::REOPEN != 0;
    Request::Command(Command::SetKillSwitch {
        request_id: m.cl_ord_id.get(),
        account_id,
        engage,
        cancel_open,
        reopen,
        operator_tag: m.operator_tag,
    })
}
