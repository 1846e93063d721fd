//! Events to report frames: a pure function, so that a replayed report is the same bytes as the first.
//!
//! Every number comes from the event itself; nothing is recomputed by rules that may be newer than it.

use tradecore_domain::event::{BrokerRef, Event, Meta, OrderImage};
use tradecore_protocol::codes::{BatchStatus, KillAction, KillScope, KillState, Layer, MassCancelScope, er_flags};
use tradecore_protocol::fields::{ExecType, OrdStatus, Px};
use tradecore_protocol::frame::{Envelope, FRAME_BYTES_MAX, NoRoom, encode};
use tradecore_protocol::layout::Text;
use tradecore_protocol::messages::{
    ExecReport, KillSwitchReport, MassCancelReport, NewOrder, OperatorNoteReport, RequestReject,
};
use tradecore_protocol::reason::Reason;

use super::text;

const _: () = assert!(REPORT_BYTES_MAX <= FRAME_BYTES_MAX);

/// Longest report frame, bytes.
pub const REPORT_BYTES_MAX: usize = 256;

/// Where a report stands in the journal, and for whom it is written.
#[derive(Clone, Copy, Debug)]
pub struct ReportPlace {
    /// Header of the frame; its `seq` is the report's number in the reader's stream.
    pub envelope: Envelope,
    /// Journal sequence number of the event.
    pub journal_seq: u64,
    /// Journal time of the event, ns UTC.
    pub transact_time_ns: u64,
    /// `Durability` class that the core's reports wait for.
    pub durability: u8,
    /// `er_flags` to add.
    pub er_flags: u8,
}

/// A report, one per event that has one.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::large_enum_variant)]
pub enum Report {
    /// Of an order.
    Exec(ExecReport),
    /// Of a refused request.
    Reject(RequestReject),
    /// Of a mass cancel.
    MassCancel(MassCancelReport),
    /// Of a kill switch.
    Kill(KillSwitchReport),
    /// Of a note.
    Note(OperatorNoteReport),
}

impl Report {
    /// Writes the frame; its length.
    ///
    /// # Errors
    /// `NoRoom` when `out` is shorter than `REPORT_BYTES_MAX`.
    #[inline]
    pub fn encode(&self, out: &mut [u8], envelope: Envelope) -> Result<usize, NoRoom> {
        match self {
            Self::Exec(block) => encode(out, envelope, block),
            Self::Reject(block) => encode(out, envelope, block),
            Self::MassCancel(block) => encode(out, envelope, block),
            Self::Kill(block) => encode(out, envelope, block),
            Self::Note(block) => encode(out, envelope, block),
        }
    }
}

/// What happened, beside the order's state after it.
#[derive(Clone, Copy, Debug, Default)]
struct Happening {
    exec_type: Option<ExecType>,
    exec_id: u64,
    req_cl_ord_id: u64,
    reason: u16,
    broker: BrokerRef,
    last_px: Option<i64>,
    last_qty: i64,
    fee: i128,
    liquidity: u8,
    er_flags: u8,
}

/// The report of an event; `None` for events that nobody is told.
#[must_use]
pub fn of(event: &Event, place: &ReportPlace) -> Option<Report> {
    let meta = event.meta();
    let exec =
        |order: &OrderImage, happening: Happening| Some(Report::Exec(exec_report(meta, order, happening, place)));
    let base = Happening::default();
    match event {
        Event::OrderAccepted(e) => {
            exec(&e.order, Happening { exec_type: Some(ExecType::PendingNew), exec_id: e.exec_id, ..base })
        }
        // A new order that was never accepted has no state to report: it is answered like any refused request.
        Event::OrderRejected(e) => {
            let why = Why { reason: e.reason, offered: e.offered, allowed: e.allowed };
            let mut block = rejected_request(meta, &why, NewOrder::TEMPLATE_ID, place);
            block.cl_ord_id.set(e.order.cl_ord_id);
            block.ord_status = OrdStatus::Rejected.raw();
            Some(Report::Reject(block))
        }
        Event::OrderAcknowledged(e) => {
            exec(&e.order, Happening { exec_type: Some(ExecType::New), exec_id: e.exec_id, broker: e.broker, ..base })
        }
        Event::OrderFilled(e) => exec(
            &e.order,
            Happening {
                exec_type: Some(ExecType::Trade),
                exec_id: e.exec_id,
                broker: e.broker,
                last_px: Some(e.last_px),
                last_qty: e.last_qty,
                fee: e.fee,
                liquidity: e.liquidity,
                reason: if e.overfill == 1 { Reason::Overfill.raw() } else { 0 },
                ..base
            },
        ),
        Event::OrderClosed(e) => {
            let exec_type = match OrdStatus::from_raw(e.order.ord_status) {
                Some(OrdStatus::Rejected) => ExecType::Rejected,
                Some(OrdStatus::Expired) => ExecType::Expired,
                _ => ExecType::Canceled,
            };
            // A rejection answers the new order itself.
            let is_answer = e.req_cl_ord_id != 0 || exec_type == ExecType::Rejected;
            exec(
                &e.order,
                Happening {
                    exec_type: Some(exec_type),
                    exec_id: e.exec_id,
                    req_cl_ord_id: e.req_cl_ord_id,
                    reason: e.reason,
                    broker: e.broker,
                    er_flags: if is_answer { 0 } else { er_flags::UNSOLICITED },
                    ..base
                },
            )
        }
        Event::CancelRequested(e) => exec(
            &e.order,
            Happening {
                exec_type: Some(ExecType::PendingCancel),
                exec_id: e.exec_id,
                req_cl_ord_id: e.req_cl_ord_id,
                er_flags: if e.req_cl_ord_id == 0 { er_flags::UNSOLICITED } else { 0 },
                ..base
            },
        ),
        Event::ReplaceRequested(e) => exec(
            &e.order,
            Happening {
                exec_type: Some(ExecType::PendingReplace),
                exec_id: e.exec_id,
                req_cl_ord_id: e.req_cl_ord_id,
                ..base
            },
        ),
        Event::OrderReplaced(e) => exec(
            &e.order,
            Happening {
                exec_type: Some(ExecType::Replaced),
                exec_id: e.exec_id,
                req_cl_ord_id: e.req_cl_ord_id,
                broker: e.broker,
                ..base
            },
        ),
        Event::ChangeRejected(e) => exec(
            &e.order,
            Happening {
                exec_type: Some(ExecType::Restated),
                exec_id: e.exec_id,
                req_cl_ord_id: e.req_cl_ord_id,
                reason: e.reason,
                broker: e.broker,
                ..base
            },
        ),
        Event::OrderInDoubt(e) => exec(
            &e.order,
            Happening {
                exec_type: Some(ExecType::InDoubt),
                exec_id: e.exec_id,
                reason: e.reason,
                er_flags: er_flags::UNSOLICITED,
                ..base
            },
        ),
        Event::OrderRestated(e) => exec(
            &e.order,
            Happening {
                exec_type: Some(ExecType::Restated),
                exec_id: e.exec_id,
                broker: e.broker,
                er_flags: er_flags::UNSOLICITED | er_flags::RECONCILED,
                ..base
            },
        ),
        Event::RequestRejected(e) => {
            let why = Why { reason: e.reason, offered: e.offered, allowed: e.allowed };
            let mut block = rejected_request(meta, &why, e.ref_template, place);
            block.cl_ord_id.set(e.req_cl_ord_id);
            block.orig_cl_ord_id.set(e.orig_cl_ord_id);
            block.order_id.set(e.order_id);
            block.ord_status = e.ord_status;
            Some(Report::Reject(block))
        }
        Event::MassCancelAccepted(e) => {
            let mut block = mass_cancel(meta, e.request_id, e.target_session_id, BatchStatus::Pending, place);
            block.instrument_id.set(e.instrument_id);
            block.strategy_id.set(e.strategy_id);
            block.side = e.side;
            block.flags = e.lockout;
            reported(meta).then_some(Report::MassCancel(block))
        }
        Event::MassCancelCompleted(e) => {
            let mut block = mass_cancel(meta, e.request_id, e.target_session_id, BatchStatus::Done, place);
            block.matched.set(e.cancel_requested.saturating_add(e.already_pending));
            block.cancel_requested.set(e.cancel_requested);
            block.already_pending.set(e.already_pending);
            reported(meta).then_some(Report::MassCancel(block))
        }
        Event::KillSwitchChanged(e) => {
            let mut block = KillSwitchReport::default();
            block.cl_ord_id.set(e.request_id);
            block.journal_seq.set(place.journal_seq);
            block.account_id.set(meta.account_id);
            let engaged = e.engaged == 1;
            block.kill_state = if engaged { KillState::Engaged } else { KillState::Released }.raw();
            block.action = if engaged { KillAction::Engage } else { KillAction::Release }.raw();
            block.scope = if meta.account_id == 0 { KillScope::Core } else { KillScope::Account }.raw();
            block.durability = place.durability;
            block.er_flags = place.er_flags;
            reported(meta).then_some(Report::Kill(block))
        }
        Event::OperatorNoted(e) => {
            let mut block = OperatorNoteReport::default();
            block.cl_ord_id.set(e.request_id);
            block.journal_seq.set(place.journal_seq);
            block.durability = place.durability;
            block.er_flags = place.er_flags;
            reported(meta).then_some(Report::Note(block))
        }
        Event::CoreStarted(_)
        | Event::InstrumentDefined(_)
        | Event::AccountDefined(_)
        | Event::SessionDefined(_)
        | Event::SessionLoggedOn(_)
        | Event::SessionEnded(_)
        | Event::BrokerContradicted(_)
        | Event::BrokerFactIgnored(_)
        | Event::BrokerStatusChanged(_)
        | Event::TradingStateChanged(_)
        | Event::MassCancelProgressed(_)
        | Event::DoubtSearchProgressed(_) => None,
    }
}

/// A reason with its numbers.
struct Why {
    reason: u16,
    offered: i128,
    allowed: i128,
}

fn rejected_request(meta: &Meta, why: &Why, ref_template: u16, place: &ReportPlace) -> RequestReject {
    let reason = why.reason;
    let mut block = RequestReject::default();
    block.ref_seq.set(meta.client_seq);
    block.recv_time_ns.set(meta.recv_time_ns);
    block.ref_template.set(ref_template);
    block.reason.set(reason);
    block.layer = layer(reason).raw();
    block.journal_seq.set(place.journal_seq);
    block.durability = place.durability;
    block.er_flags = place.er_flags;
    block.text = text::of(reason, why.offered, why.allowed);
    block
}

const fn reported(meta: &Meta) -> bool {
    meta.report_no != 0
}

/// The account that a mass cancel covers stands in the meta of its events.
fn mass_cancel(
    meta: &Meta,
    request_id: u64,
    target_session_id: u32,
    status: BatchStatus,
    place: &ReportPlace,
) -> MassCancelReport {
    let mut block = MassCancelReport::default();
    block.cl_ord_id.set(request_id);
    block.journal_seq.set(place.journal_seq);
    block.status = status.raw();
    block.durability = place.durability;
    block.er_flags = place.er_flags;
    block.account_id.set(meta.account_id);
    block.scope = match (target_session_id, meta.account_id) {
        (0, 0) => MassCancelScope::Core,
        (0, _) => MassCancelScope::Account,
        (_, _) => MassCancelScope::Session,
    }
    .raw();
    block
}

/// Who refuses for this reason.
#[must_use]
pub const fn layer(reason: u16) -> Layer {
    match reason {
        0..=99 => Layer::Session,
        200..=299 => Layer::Risk,
        300..=399 => Layer::Broker,
        _ => Layer::Gateway,
    }
}

/// Average price, rounded half to even; `Px::NONE` without fills.
#[must_use]
pub fn avg_px(cum_cost: i128, cum_qty: i64) -> i64 {
    let qty = i128::from(cum_qty);
    let (Some(quotient), Some(rest)) = (cum_cost.checked_div_euclid(qty), cum_cost.checked_rem_euclid(qty)) else {
        return Px::NONE.0;
    };
    let twice = rest.saturating_mul(2);
    let up = match twice.cmp(&qty) {
        core::cmp::Ordering::Greater => 1,
        core::cmp::Ordering::Equal => quotient & 1,
        core::cmp::Ordering::Less => 0,
    };
    i64::try_from(quotient.saturating_add(up)).unwrap_or(Px::NONE.0)
}

fn exec_report(meta: &Meta, order: &OrderImage, happening: Happening, place: &ReportPlace) -> ExecReport {
    let mut block = status_report(order, place);
    block.req_cl_ord_id.set(happening.req_cl_ord_id);
    block.exec_id.set(happening.exec_id);
    block.last_px.set(happening.last_px.unwrap_or(Px::NONE.0));
    block.last_qty.set(happening.last_qty);
    block.exec_type = happening.exec_type.map_or(0, ExecType::raw);
    block.liquidity = happening.liquidity;
    block.er_flags = happening.er_flags | place.er_flags;
    block.reason.set(happening.reason);
    block.recv_time_ns.set(meta.recv_time_ns);
    block.broker_time_ns.set(happening.broker.broker_time_ns);
    block.fee.set(happening.fee);
    block
}

/// A report of type `Status`: the order as it stands.
#[must_use]
pub fn status_report(order: &OrderImage, place: &ReportPlace) -> ExecReport {
    let mut block = ExecReport::default();
    let closed = OrdStatus::from_raw(order.ord_status).is_some_and(OrdStatus::is_closed);
    let leaves = if closed { 0 } else { order.order_qty.saturating_sub(order.cum_qty).max(0) };
    block.cl_ord_id.set(order.cl_ord_id);
    block.order_id.set(order.order_id);
    block.last_px.set(Px::NONE.0);
    block.cum_qty.set(order.cum_qty);
    block.leaves_qty.set(leaves);
    block.cum_cost.set(order.cum_cost);
    block.avg_px.set(avg_px(order.cum_cost, order.cum_qty));
    block.order_qty.set(order.order_qty);
    block.px.set(order.px);
    block.instrument_id.set(order.instrument_id);
    block.account_id.set(order.account_id);
    block.strategy_id.set(order.strategy_id);
    block.order_version.set(order.order_version);
    block.exec_type = ExecType::Status.raw();
    block.ord_status = order.ord_status;
    block.side = order.side;
    block.ord_type = order.ord_type;
    block.tif = order.tif;
    block.er_flags = place.er_flags;
    block.durability = place.durability;
    block.exec_flags = order.exec_flags;
    block.session_id.set(order.session_id);
    block.transact_time_ns.set(place.transact_time_ns);
    block.journal_seq.set(place.journal_seq);
    block
}

/// An unsequenced refusal: nothing was decided, the ids stay unused.
#[must_use]
pub fn refusal(ref_template: u16, ref_seq: u64, ids: [u64; 3], reason: Reason, retry_after_ns: u64) -> RequestReject {
    let [cl_ord_id, orig_cl_ord_id, order_id] = ids;
    let mut block = RequestReject::default();
    block.cl_ord_id.set(cl_ord_id);
    block.orig_cl_ord_id.set(orig_cl_ord_id);
    block.order_id.set(order_id);
    block.ref_seq.set(ref_seq);
    block.retry_after_ns.set(retry_after_ns);
    block.ref_template.set(ref_template);
    block.reason.set(reason.raw());
    block.layer = layer(reason.raw()).raw();
    block.text = text::of(reason.raw(), 0, 0);
    block
}

/// Text of a fixed width, for callers of this module.
pub type ReasonText = Text<REASON_TEXT_BYTES>;

/// Bytes of it.
pub const REASON_TEXT_BYTES: usize = 96;

#[cfg(test)]
mod tests {
    use tradecore_domain::event::MassCancelCompleted;

    use super::*;

    #[test]
    fn average_price_rounds_half_to_even() {
        // (cost, quantity) → price, all in raw units.
        for (cost, qty, px) in [(10, 4, 2), (14, 4, 4), (11, 4, 3), (9, 4, 2), (-10, 4, -2), (-14, 4, -4), (0, 7, 0)] {
            assert_eq!(avg_px(cost, qty), px, "{cost} / {qty}");
        }
        assert_eq!(avg_px(0, 0), Px::NONE.0);
    }

    #[test]
    fn a_mass_cancel_is_reported_with_what_it_has_done_and_whose_orders_it_covers() {
        let place = ReportPlace {
            envelope: Envelope::default(),
            journal_seq: 9,
            transact_time_ns: 0,
            durability: 1,
            er_flags: 0,
        };
        for (target_session_id, account_id, scope) in [
            (3, 0, MassCancelScope::Session),
            (3, 1, MassCancelScope::Session),
            (0, 1, MassCancelScope::Account),
            (0, 0, MassCancelScope::Core),
        ] {
            let event = MassCancelCompleted {
                meta: Meta { account_id, report_no: 1, ..Meta::default() },
                request_id: 7,
                mass_cancel_id: 1,
                cancel_requested: 2,
                already_pending: 1,
                target_session_id,
                reserved: 0,
            };
            let Some(Report::MassCancel(block)) = of(&event.into(), &place) else { panic!("a report") };
            assert_eq!((block.scope, block.account_id.get()), (scope.raw(), account_id));
            let counts = (block.matched.get(), block.cancel_requested.get(), block.already_pending.get());
            assert_eq!(counts, (3, 2, 1));
        }
    }
}
