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
    /// A note of an operator.
    Note(wire::OperatorNoteReport),
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
    /// This request had no effect and never will: it was refused, and the refusal was lost with a connection. Its
    /// ClOrdID is still unused.
    NotApplied {
        /// FIX ClOrdID (11).
        cl_ord_id: ClOrdId,
    },
    /// What became of this request is not known, and it is not sent again: its answer may be among reports that were
    /// skipped. Ask for the order's status.
    OutcomeUnknown {
        /// FIX ClOrdID (11).
        cl_ord_id: ClOrdId,
    },
    /// A kept request had no effect and was not sent again: its valid-until has passed.
    Abandoned {
        /// FIX ClOrdID (11).
        cl_ord_id: ClOrdId,
    },
    /// The session rules refused a frame: a defect of the caller. If it was a kept request, `NotApplied` follows.
    SessionReject(wire::SessionReject),
    /// Reports were skipped, numbers were reset, or the state is new and the session is not: query open orders,
    /// positions and fills. It comes when queries pass, and again after the next logon if they did not pass any more.
    Resynchronize,
    /// The connection is gone; the client reconnects by itself.
    Disconnected {
        /// Why.
        reason: Reason,
    },
}

impl Event {
    /// ClOrdIDs of the requests that this may be the answer to, with the number if it answers under that one only.
    pub(crate) fn answers(&self) -> [(u64, Option<u64>); 2] {
        let none = (0, None);
        match self {
            Self::Exec(report) => [(report.cl_ord_id.get(), None), (report.req_cl_ord_id.get(), None)],
            // Of two requests under one id one may be refused, and the other not.
            Self::Reject(reject) => [(reject.cl_ord_id.get(), Some(reject.ref_seq.get())), none],
            Self::MassCancel(report) => [(report.cl_ord_id.get(), None), none],
            Self::Kill(report) => [(report.cl_ord_id.get(), None), none],
            Self::Note(report) => [(report.cl_ord_id.get(), None), none],
            Self::Ready { .. }
            | Self::Quote(_)
            | Self::Position(_)
            | Self::Account(_)
            | Self::Instrument(_)
            | Self::QueryEnd(_)
            | Self::NotApplied { .. }
            | Self::OutcomeUnknown { .. }
            | Self::Abandoned { .. }
            | Self::SessionReject(_)
            | Self::Resynchronize
            | Self::Disconnected { .. } => [none, none],
        }
    }

    /// The event that a report or an answer is; `None` for a template that is of no interest to an algo.
    pub(crate) fn of(frame: &Frame<'_>) -> Option<Self> {
        let event = match frame.header.template_id {
            wire::ExecReport::TEMPLATE_ID => frame.read().map(|block| Self::Exec(*block)),
            wire::RequestReject::TEMPLATE_ID => frame.read().map(|block| Self::Reject(*block)),
            wire::MassCancelReport::TEMPLATE_ID => frame.read().map(|block| Self::MassCancel(*block)),
            wire::KillSwitchReport::TEMPLATE_ID => frame.read().map(|block| Self::Kill(*block)),
            wire::OperatorNoteReport::TEMPLATE_ID => frame.read().map(|block| Self::Note(*block)),
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
