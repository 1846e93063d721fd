//! What the broker says: facts never abort, and what does not fit freezes the account.

use tradecore_protocol::fields::{BrokerStatus, Money, OrdStatus, OrderId, Px, Qty, TradingState};
use tradecore_protocol::reason::Reason;

use super::Deciding;
use crate::command::{BrokerFact, EffectFailure, EffectKind, FactKind};
use crate::event::{
    BrokerContradicted, BrokerFactIgnored, BrokerRef, BrokerStatusChanged, ChangeRejected, Meta, OrderAcknowledged,
    OrderClosed, OrderFilled, OrderImage, OrderInDoubt, OrderReplaced, OrderRestated, TradingStateChanged, order_flags,
};
use crate::order::{FactOutcome, open_status, outcome, standing};

/// Which change a `ChangeRejected` is about.
const CHANGE_CANCEL: u8 = 1;
const CHANGE_REPLACE: u8 = 2;

const fn broker_ref(fact: &BrokerFact) -> BrokerRef {
    BrokerRef {
        broker_seq: fact.broker_seq,
        broker_order_id: fact.broker_order_id,
        broker_time_ns: fact.broker_time_ns,
    }
}

/// Why the broker refused a change.
const fn refusal_of(kind: &FactKind) -> Reason {
    match kind {
        FactKind::CancelRejected { reason } | FactKind::ReplaceRejected { reason } => *reason,
        _ => Reason::BrokerReject,
    }
}

/// The next version of an order, open, with these flags.
fn next(image: &OrderImage, set: u8, clear: u8) -> OrderImage {
    let mut image = *image;
    image.flags = (image.flags | set) & !clear;
    image.order_version = image.order_version.saturating_add(1);
    image.ord_status = open_status(&image).raw();
    image
}

const UNDER_WAY: u8 = order_flags::CANCEL_PENDING | order_flags::REPLACE_PENDING | order_flags::DOUBT;

fn closed(image: &OrderImage, status: OrdStatus) -> OrderImage {
    let mut image = next(image, 0, UNDER_WAY);
    image.ord_status = status.raw();
    image
}

/// The order after a refused change. The doubt ends with it only when it can be about nothing else: a cancel is
/// also refused for an order that never arrived, and the other change may still be on its way.
fn change_refused(image: &OrderImage, change: u8) -> OrderImage {
    let order = next(image, 0, change);
    let is_certain = order.flags & order_flags::ACKED != 0 && pending_doubt(&order) == 0;
    if is_certain { next(image, 0, change | order_flags::DOUBT) } else { order }
}

impl Deciding<'_> {
    pub(super) fn broker_status(&mut self, status: BrokerStatus, connection_no: u64) {
        // A connection may end before it was `Syncing`, and cancels have left by it: what became of them is in doubt
        // with every connection that ends. Without an open order there is nothing to look for.
        let is_down = status == BrokerStatus::Down && self.state.broker_status() == BrokerStatus::Down;
        if is_down && (connection_no == self.state.broker_connection_no || self.state.open_orders == 0) {
            return;
        }
        let event =
            BrokerStatusChanged { meta: Meta::default(), status: status.raw(), reserved: [0; 7], connection_no };
        self.note(0, connection_no, event);
    }

    pub(super) fn broker_fact(&mut self, fact: &BrokerFact) {
        // The stream is numbered: what is at or below the cursor has been applied.
        if fact.broker_seq != 0 && fact.broker_seq <= self.state.broker_cursor {
            return;
        }
        let Some(image) = self.state.order(fact.order_id).copied() else {
            return self.unknown_order(fact);
        };
        let broker = broker_ref(fact);
        let meta = Meta::default();
        match outcome(standing(&image), &fact.kind, image.flags) {
            FactOutcome::Acknowledge => {
                let order = next(&image, order_flags::ACKED, order_flags::DOUBT & !pending_doubt(&image));
                let event = OrderAcknowledged { meta, order, broker, exec_id: self.exec_id() };
                self.tell(&image, event);
            }
            FactOutcome::Fill => self.fill(&image, fact, false),
            FactOutcome::FillLate => self.fill(&image, fact, true),
            FactOutcome::Close(status) => {
                let reason = match (status, &fact.kind) {
                    (_, FactKind::NotFound) => Reason::NotAtBroker,
                    (_, FactKind::Rejected { reason }) => *reason,
                    (OrdStatus::Rejected, _) => Reason::BrokerReject,
                    (OrdStatus::Expired, _) => Reason::Expired,
                    (_, FactKind::Canceled { requested: true }) => self.cancel_reason(&image),
                    (_, _) => Reason::BrokerCancel,
                };
                self.close_order(&image, status, reason, broker);
            }
            FactOutcome::Replace => self.replaced(&image, fact),
            FactOutcome::CancelRefused => {
                let order = change_refused(&image, order_flags::CANCEL_PENDING);
                self.change_rejected(&image, order, CHANGE_CANCEL, refusal_of(&fact.kind), broker);
            }
            FactOutcome::ReplaceRefused => {
                let order = change_refused(&image, order_flags::REPLACE_PENDING);
                self.change_rejected(&image, order, CHANGE_REPLACE, refusal_of(&fact.kind), broker);
            }
            FactOutcome::Restate => self.restate(&image, fact),
            FactOutcome::Ignore => self.ignore(&image, fact),
            FactOutcome::Contradict => {
                self.contradict(Some(&image), fact, Reason::BrokerContradiction);
                self.restrict(image.account_id, TradingState::CancelOnly, Reason::BrokerContradiction);
            }
        }
    }

    /// An event of an order, told to its owner.
    fn tell(&mut self, image: &OrderImage, event: impl Into<crate::event::Event>) {
        self.report(image.session_id, image.account_id, image.order_id, event);
    }

    /// Nothing changes; the stream has moved on all the same.
    fn ignore(&mut self, image: &OrderImage, fact: &BrokerFact) {
        if fact.broker_seq != 0 {
            let event = BrokerFactIgnored { meta: Meta::default(), broker: broker_ref(fact), order_id: image.order_id };
            self.note(image.account_id, image.order_id, event);
        }
    }

    fn fill(&mut self, image: &OrderImage, fact: &BrokerFact, is_late: bool) {
        let FactKind::Trade { broker_exec_id, last_px, last_qty, fee, liquidity } = fact.kind else { return };
        if self.state.executions.has(broker_exec_id, image.order_id) {
            return self.ignore(image, fact);
        }
        let cum_qty = image.cum_qty.checked_add(last_qty.0).filter(|_| last_qty.0 > 0 && last_px.0 >= 0);
        let cum_cost = image.cum_cost.checked_add(Money::of(last_px, last_qty).0);
        let (Some(cum_qty), Some(cum_cost)) = (cum_qty, cum_cost) else {
            return self.freeze(image, fact);
        };
        let mut order = *image;
        order.cum_qty = cum_qty;
        order.cum_cost = cum_cost;
        let is_overfill = cum_qty > image.order_qty;
        if is_late {
            order.order_version = order.order_version.saturating_add(1);
        } else if cum_qty >= image.order_qty {
            order = closed(&order, OrdStatus::Filled);
        } else {
            // A fill proves that the order is there; of a change under way it proves nothing.
            order = next(&order, order_flags::ACKED, order_flags::DOUBT & !pending_doubt(image));
        }
        let event = OrderFilled {
            meta: Meta::default(),
            order,
            broker: broker_ref(fact),
            exec_id: self.exec_id(),
            fee,
            broker_exec_id,
            last_px: last_px.0,
            last_qty: last_qty.0,
            liquidity: liquidity.map_or(0, tradecore_protocol::fields::Liquidity::raw),
            overfill: u8::from(is_overfill),
            reserved: [0; 6],
        };
        self.tell(image, event);
        if is_overfill || is_late {
            let reason = if is_overfill { Reason::Overfill } else { Reason::BrokerContradiction };
            self.contradict(Some(image), fact, reason);
            self.restrict(image.account_id, TradingState::CancelOnly, reason);
        }
    }

    /// A number that does not fit: nothing of it is applied, all of it is kept, a person must look.
    fn freeze(&mut self, image: &OrderImage, fact: &BrokerFact) {
        self.contradict(Some(image), fact, Reason::BrokerContradiction);
        self.restrict(image.account_id, TradingState::Frozen, Reason::BrokerContradiction);
    }

    fn replaced(&mut self, image: &OrderImage, fact: &BrokerFact) {
        let FactKind::Replaced { px, total_qty } = fact.kind else { return };
        if px.0 <= 0 || total_qty.0 <= 0 {
            return self.freeze(image, fact);
        }
        let mut order = *image;
        order.px = px.0;
        order.order_qty = total_qty.0;
        let order = if order.cum_qty >= total_qty.0 {
            closed(&order, OrdStatus::Filled)
        } else {
            next(&order, order_flags::ACKED, order_flags::REPLACE_PENDING | (order_flags::DOUBT & !cancel_doubt(image)))
        };
        let event = OrderReplaced {
            meta: Meta::default(),
            order,
            broker: broker_ref(fact),
            exec_id: self.exec_id(),
            req_cl_ord_id: self.pending(image).1,
            reserved: 0,
        };
        self.tell(image, event);
    }

    /// The doubt ends: the order is live at these terms. A cancel whose outcome was unknown is asked for again.
    fn restate(&mut self, image: &OrderImage, fact: &BrokerFact) {
        let FactKind::FoundLive { px, total_qty, .. } = fact.kind else { return };
        if (px != Px::NONE && px.0 <= 0) || total_qty.0 < 0 {
            return self.freeze(image, fact);
        }
        // What is live has something left: a total that says otherwise does not hold, the greater one counts on.
        let is_told = total_qty != Qty(0);
        let leaves_nothing = is_told && total_qty.0 <= image.cum_qty;
        let was_canceling = image.flags & order_flags::CANCEL_PENDING != 0;
        let cancel_id = self.pending(image).0;
        let mut order = *image;
        if px != Px::NONE {
            order.px = px.0;
        }
        if is_told && !leaves_nothing {
            order.order_qty = total_qty.0;
        }
        let order = next(&order, order_flags::ACKED, UNDER_WAY);
        let event = OrderRestated { meta: Meta::default(), order, broker: broker_ref(fact), exec_id: self.exec_id() };
        self.tell(image, event);
        if leaves_nothing {
            self.contradict(Some(image), fact, Reason::BrokerContradiction);
            self.restrict(image.account_id, TradingState::CancelOnly, Reason::BrokerContradiction);
        }
        if was_canceling {
            let reason = self.cancel_reason(image);
            self.request_cancel(order, cancel_id, reason);
        }
    }

    /// ClOrdIDs of the pending cancel and replace.
    fn pending(&self, image: &OrderImage) -> (u64, u64) {
        let slot = self.state.slot_of(OrderId(image.order_id));
        let order = slot.and_then(|slot| self.state.orders.get(slot as usize));
        order.map_or((0, 0), |order| (order.cancel_id, order.replace_id))
    }

    /// Who wanted the cancel; when nobody here did, it was the broker's own.
    fn cancel_reason(&self, image: &OrderImage) -> Reason {
        let slot = self.state.slot_of(OrderId(image.order_id));
        let raw = slot.and_then(|slot| self.state.orders.get(slot as usize)).map_or(0, |order| order.cancel_reason);
        Reason::from_raw(raw).filter(|reason| *reason != Reason::None).unwrap_or(Reason::BrokerCancel)
    }

    pub(super) fn close_order(&mut self, image: &OrderImage, status: OrdStatus, reason: Reason, broker: BrokerRef) {
        let was_canceling = image.flags & order_flags::CANCEL_PENDING != 0;
        let event = OrderClosed {
            meta: Meta::default(),
            order: closed(image, status),
            broker,
            exec_id: self.exec_id(),
            req_cl_ord_id: if was_canceling { self.pending(image).0 } else { 0 },
            reason: reason.raw(),
            reserved: [0; 6],
        };
        self.tell(image, event);
    }

    fn change_rejected(
        &mut self,
        image: &OrderImage,
        order: OrderImage,
        change: u8,
        reason: Reason,
        broker: BrokerRef,
    ) {
        let (cancel_id, replace_id) = self.pending(image);
        let event = ChangeRejected {
            meta: Meta::default(),
            order,
            broker,
            exec_id: self.exec_id(),
            req_cl_ord_id: if change == CHANGE_CANCEL { cancel_id } else { replace_id },
            reason: reason.raw(),
            change,
            reserved: [0; 5],
        };
        self.tell(image, event);
    }

    fn unknown_order(&mut self, fact: &BrokerFact) {
        // Not an order of this core, or one closed so long ago that nothing can follow from it but money.
        let moves_money = matches!(fact.kind, FactKind::Trade { .. } | FactKind::FoundLive { .. });
        self.contradict(None, fact, Reason::UnknownOrder);
        if moves_money {
            self.restrict(0, TradingState::CancelOnly, Reason::BrokerContradiction);
        }
    }

    fn contradict(&mut self, image: Option<&OrderImage>, fact: &BrokerFact, reason: Reason) {
        let (broker_exec_id, last_px, last_qty) = match fact.kind {
            FactKind::Trade { broker_exec_id, last_px, last_qty, .. } => (broker_exec_id, last_px.0, last_qty.0),
            FactKind::Replaced { px, total_qty } | FactKind::FoundLive { px, total_qty, .. } => (0, px.0, total_qty.0),
            _ => (0, 0, 0),
        };
        let event = BrokerContradicted {
            meta: Meta::default(),
            broker: broker_ref(fact),
            order_id: fact.order_id.0,
            broker_exec_id,
            last_px,
            last_qty,
            fact: fact.kind.code(),
            ord_status: image.map_or(0, |image| image.ord_status),
            reason: reason.raw(),
            side: image.map_or(0, |image| image.side),
            reserved: [0; 3],
            instrument_id: image.map_or(0, |image| image.instrument_id),
            reserved2: 0,
            reserved3: 0,
        };
        self.note(image.map_or(0, |image| image.account_id), fact.order_id.0, event);
    }

    /// Narrows what passes; never widens it.
    pub(super) fn restrict(&mut self, account_id: u32, to: TradingState, reason: Reason) {
        let current = match self.account_of(account_id) {
            Some(account) => account.trading_state,
            None => self.state.trading_state,
        };
        if current >= to.raw() {
            return;
        }
        let event = TradingStateChanged {
            meta: Meta::default(),
            state: to.raw(),
            reserved: 0,
            reason: reason.raw(),
            reserved2: [0; 12],
        };
        self.note(account_id, 0, event);
    }

    pub(super) fn effect_failed(
        &mut self,
        order_id: OrderId,
        kind: EffectKind,
        failure: EffectFailure,
        reason: Reason,
    ) {
        let Some(image) = self.state.order(order_id).copied() else { return };
        if crate::order::is_closed(&image) {
            return;
        }
        match (failure, kind) {
            (EffectFailure::Unknown, EffectKind::Submit | EffectKind::Cancel | EffectKind::Replace) => {
                self.doubt(&image, reason);
            }
            // Once the broker has the order, it cannot be unsent: the broker's word counts.
            (EffectFailure::NotSent, EffectKind::Submit) if image.flags & order_flags::ACKED == 0 => {
                let (status, reason) = if image.flags & order_flags::CANCEL_PENDING == 0 {
                    (OrdStatus::Rejected, reason)
                } else {
                    // Whoever wanted the cancel has it.
                    (OrdStatus::Canceled, self.cancel_reason(&image))
                };
                self.close_order(&image, status, reason, BrokerRef::default());
            }
            (EffectFailure::NotSent, EffectKind::Submit) => {}
            (EffectFailure::NotSent, EffectKind::Cancel) if image.flags & order_flags::CANCEL_PENDING != 0 => {
                let order = next(&image, 0, order_flags::CANCEL_PENDING);
                self.change_rejected(&image, order, CHANGE_CANCEL, reason, BrokerRef::default());
            }
            (EffectFailure::NotSent, EffectKind::Replace) if image.flags & order_flags::REPLACE_PENDING != 0 => {
                let order = next(&image, 0, order_flags::REPLACE_PENDING);
                self.change_rejected(&image, order, CHANGE_REPLACE, reason, BrokerRef::default());
            }
            // The broker has answered it, or the doubt about it has ended.
            (EffectFailure::NotSent, EffectKind::Cancel | EffectKind::Replace) => {}
        }
    }

    /// The outcome of something that was sent is unknown, until the broker's own evidence comes.
    pub(super) fn doubt(&mut self, image: &OrderImage, reason: Reason) {
        if image.flags & order_flags::DOUBT != 0 {
            return;
        }
        let order = next(image, order_flags::DOUBT, 0);
        let event = OrderInDoubt {
            meta: Meta::default(),
            order,
            exec_id: self.exec_id(),
            reason: reason.raw(),
            reserved: [0; 6],
        };
        self.tell(image, event);
    }
}

/// `DOUBT` if it is (also) about a change under way.
const fn pending_doubt(image: &OrderImage) -> u8 {
    if image.flags & (order_flags::CANCEL_PENDING | order_flags::REPLACE_PENDING) != 0 { order_flags::DOUBT } else { 0 }
}

const fn cancel_doubt(image: &OrderImage) -> u8 {
    if image.flags & order_flags::CANCEL_PENDING != 0 { order_flags::DOUBT } else { 0 }
}
