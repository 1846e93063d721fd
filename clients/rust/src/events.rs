//! What a client tells its caller.

use tradecore_protocol::fields::ClOrdId;
use tradecore_protocol::frame::Frame;
use tradecore_protocol::messages as wire;
use tradecore_protocol::reason::Reason;

/// What happened, in order.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// Logged on and up to date: new orders pass.
    Ready {
        /// Open orders of the session.
        open_orders: u32,
    },
    /// A report of an order.
    Exec(wire::ExecReport),
    /// A request was refused or rejected.
    Reject(wire::RequestReject),
    /// A mass cancel.
    MassCancel(wire::MassCancelReport),
    /// A kill switch.
    Kill(wire::KillSwitchReport),
    /// A quote.
    Quote(wire::Quote),
    /// A position, answer to a query.
    Position(wire::Position),
    /// An account, answer to a query.
    Account(wire::Account),
    /// An instrument, answer to a query.
    Instrument(wire::InstrumentDef),
    /// The end of an answer.
    QueryEnd(wire::QueryEnd),
    /// These requests had no effect and never will.
    NotApplied {
        /// The first.
        from_seq: u64,
        /// How many.
        count: u32,
    },
    /// A kept order was not sent again: its valid-until has passed.
    Abandoned {
        /// FIX ClOrdID (11).
        cl_ord_id: ClOrdId,
    },
    /// The session rules refused a frame: a defect of the caller.
    SessionReject(wire::SessionReject),
    /// Reports were skipped or numbers were reset: query open orders, positions and fills.
    Resynchronize,
    /// The connection is gone; the client reconnects by itself.
    Disconnected {
        /// Why.
        reason: Reason,
    },
}

impl Event {
    /// The event that a report or an answer is; `None` for a template that is of no interest to an algo.
    pub(crate) fn of(frame: &Frame<'_>) -> Option<Self> {
        let event = match frame.header.template_id {
            wire::ExecReport::TEMPLATE_ID => frame.read().map(|block| Self::Exec(*block)),
            wire::RequestReject::TEMPLATE_ID => frame.read().map(|block| Self::Reject(*block)),
            wire::MassCancelReport::TEMPLATE_ID => frame.read().map(|block| Self::MassCancel(*block)),
            wire::KillSwitchReport::TEMPLATE_ID => frame.read().map(|block| Self::Kill(*block)),
            wire::Quote::TEMPLATE_ID => frame.read().map(|block| Self::Quote(*block)),
            wire::Position::TEMPLATE_ID => frame.read().map(|block| Self::Position(*block)),
            wire::Account::TEMPLATE_ID => frame.read().map(|block| Self::Account(*block)),
            wire::InstrumentDef::TEMPLATE_ID => frame.read().map(|block| Self::Instrument(*block)),
            wire::QueryEnd::TEMPLATE_ID => frame.read().map(|block| Self::QueryEnd(*block)),
            _ => return None,
        };
        event.ok()
    }
}
