//! Effects on their way out: the only room that feeds `brokers/`.
//!
//! Decides whether these bytes may leave *now*: the durability watermark, the kill epoch, valid-until.
//! Must not know why an order lives. A new order or a replace waits for the core's durability class; a
//! cancel waits for `journaled` only, but never overtakes its own order.

use std::collections::VecDeque;
use std::sync::Arc;

use tradecore_domain::command::{Command, EffectFailure, EffectKind};
use tradecore_protocol::fields::OrderId;
use tradecore_protocol::reason::Reason;

use tradecore_domain::State;
use tradecore_domain::event::Event;
use tradecore_protocol::fields::{InstrumentId, OrdType, Px, Qty, Side, Tif, exec_flags};

use crate::brokers::{Instruction, Link, SubmitOrder};

/// Counters of effects that wait, by a hash of the order id: a zero proves that none of this order waits.
const WAITING_SLOTS: usize = 4096;

#[derive(Clone, Copy, Debug)]
struct Waiting {
    journal_seq: u64,
    valid_until_ns: u64,
    instruction: Instruction,
}

/// Effects that wait for their watermark or for room in the broker's ring.
#[derive(Debug)]
pub struct Outbox {
    link: Arc<Link>,
    waiting: VecDeque<Waiting>,
    waiting_max: usize,
    cancels: VecDeque<Instruction>,
    waiting_by_order: Box<[u16; WAITING_SLOTS]>,
    /// Instructions have been put into the ring, and the adapter may be asleep.
    has_fed: bool,
}

/// What a release found: effects that must not leave any more, as commands for the domain.
pub type Failures = VecDeque<Command>;

impl Outbox {
    /// An outbox for at most `waiting_max` effects and `cancels_max` cancels that wait for room.
    #[must_use]
    pub fn new(link: Arc<Link>, waiting_max: usize, cancels_max: usize) -> Self {
        Self {
            link,
            waiting: VecDeque::with_capacity(waiting_max),
            waiting_max,
            cancels: VecDeque::with_capacity(cancels_max),
            waiting_by_order: Box::new([0; WAITING_SLOTS]),
            has_fed: false,
        }
    }

    /// True when `effects` more effects fit; new orders are refused otherwise.
    #[must_use]
    pub fn has_room(&self, effects: usize) -> bool {
        self.waiting.len().saturating_add(effects) <= self.waiting_max
    }

    /// True when another cancel fits; the loop stops taking commands otherwise.
    #[must_use]
    pub fn has_room_for_cancels(&self, cancels: usize) -> bool {
        self.cancels.len().saturating_add(cancels) <= self.cancels.capacity()
            && self.waiting.len().saturating_add(cancels) <= self.waiting.capacity()
    }

    /// Effects that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len().saturating_add(self.cancels.len())
    }

    /// True when nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.cancels.is_empty()
    }

    /// Takes the effect of a journaled event. The caller has asked for room before it decided.
    pub fn offer(&mut self, journal_seq: u64, valid_until_ns: u64, instruction: Instruction) {
        match instruction {
            Instruction::Cancel { order_id } if !self.order_waits(order_id) => self.cancels.push_back(instruction),
            Instruction::Query { .. } | Instruction::EndOfQueries { .. } => self.cancels.push_back(instruction),
            Instruction::Submit(_) | Instruction::Replace { .. } | Instruction::Cancel { .. } => {
                self.count(order_of(&instruction), 1);
                self.waiting.push_back(Waiting { journal_seq, valid_until_ns, instruction });
            }
        }
    }

    /// Lets leave what may: everything at or below the durable watermark `released_seq`, and cancels.
    ///
    /// What must not leave any more goes to `failures`: killed since (`is_killed`), or past valid-until.
    pub fn release(
        &mut self,
        now_ns: u64,
        released_seq: u64,
        is_killed: impl Fn(OrderId) -> bool,
        failures: &mut Failures,
    ) -> usize {
        let mut work: usize = 0;
        while let Some(instruction) = self.cancels.front() {
            if self.link.instructions.push(*instruction).is_err() {
                return work;
            }
            self.has_fed = true;
            self.cancels.pop_front();
            work = work.saturating_add(1);
        }
        while let Some(front) = self.waiting.front() {
            if front.journal_seq > released_seq || failures.len() == failures.capacity() {
                break;
            }
            let front = *front;
            let order_id = order_of(&front.instruction);
            match guard(&front, now_ns, is_killed(order_id)) {
                Some((kind, reason)) => failures.push_back(Command::EffectFailed {
                    order_id,
                    kind,
                    failure: EffectFailure::NotSent,
                    reason,
                }),
                None if self.link.instructions.push(front.instruction).is_err() => break,
                None => self.has_fed = true,
            }
            self.waiting.pop_front();
            self.count(order_id, -1);
            work = work.saturating_add(1);
        }
        work
    }

    /// Wakes the adapter if it sleeps and instructions wait for it.
    pub fn wake_adapter(&mut self) {
        if core::mem::take(&mut self.has_fed) {
            self.link.bell.ring();
        }
    }

    fn order_waits(&self, order_id: OrderId) -> bool {
        self.waiting_by_order.get(slot_of(order_id)).is_some_and(|count| *count > 0)
    }

    fn count(&mut self, order_id: OrderId, change: i16) {
        if let Some(count) = self.waiting_by_order.get_mut(slot_of(order_id)) {
            *count = count.saturating_add_signed(change);
        }
    }
}

/// What an event asks of the broker; `None` for events that are no intent.
#[must_use]
pub fn instruction_of(event: &Event, state: &State) -> Option<Instruction> {
    match event {
        Event::OrderAccepted(e) => Some(Instruction::Submit(SubmitOrder {
            order_id: OrderId(e.order.order_id),
            instrument_id: InstrumentId(e.order.instrument_id),
            side: Side::from_raw(e.order.side)?,
            ord_type: OrdType::from_raw(e.order.ord_type)?,
            tif: Tif::from_raw(e.order.tif)?,
            post_only: e.order.exec_flags & exec_flags::POST_ONLY != 0,
            px: Px(e.order.px),
            order_qty: Qty(e.order.order_qty),
            kill_epoch: state.kill_epoch(),
        })),
        Event::CancelRequested(e) => Some(Instruction::Cancel { order_id: OrderId(e.order.order_id) }),
        Event::ReplaceRequested(e) => Some(Instruction::Replace {
            order_id: OrderId(e.order.order_id),
            px: Px(e.new_px),
            total_qty: Qty(e.new_qty),
            kill_epoch: state.kill_epoch(),
        }),
        _ => None,
    }
}

/// UTC ns after which the effect of an event must not leave; 0 for never.
#[must_use]
pub const fn valid_until_ns(event: &Event) -> u64 {
    match event {
        Event::OrderAccepted(e) => e.order.valid_until_ns,
        Event::ReplaceRequested(e) => e.valid_until_ns,
        _ => 0,
    }
}

const fn slot_of(order_id: OrderId) -> usize {
    (order_id.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 52) as usize % WAITING_SLOTS
}

const fn order_of(instruction: &Instruction) -> OrderId {
    match instruction {
        Instruction::Submit(order) => order.order_id,
        Instruction::Cancel { order_id } | Instruction::Replace { order_id, .. } | Instruction::Query { order_id } => {
            *order_id
        }
        Instruction::EndOfQueries { .. } => OrderId::NONE,
    }
}

/// Why this effect must not leave any more; `None` when it may.
fn guard(waiting: &Waiting, now_ns: u64, killed: bool) -> Option<(EffectKind, Reason)> {
    let kind = match waiting.instruction {
        Instruction::Submit(_) => EffectKind::Submit,
        Instruction::Replace { .. } => EffectKind::Replace,
        // Risk can always be reduced.
        Instruction::Cancel { .. } | Instruction::Query { .. } | Instruction::EndOfQueries { .. } => return None,
    };
    if killed {
        return Some((kind, Reason::Killed));
    }
    let stale = waiting.valid_until_ns != 0 && waiting.valid_until_ns < now_ns;
    stale.then_some((kind, Reason::StaleRequest))
}

#[cfg(test)]
mod tests {
    use tradecore_protocol::fields::{InstrumentId, OrdType, Px, Qty, Side, Tif};

    use super::*;
    use crate::brokers::SubmitOrder;

    fn submit(order: u64) -> Instruction {
        Instruction::Submit(SubmitOrder {
            order_id: OrderId(order),
            instrument_id: InstrumentId(1),
            side: Side::Buy,
            ord_type: OrdType::Limit,
            tif: Tif::Day,
            post_only: false,
            px: Px(1),
            order_qty: Qty(1),
            kill_epoch: 0,
        })
    }

    fn cancel(order: u64) -> Instruction {
        Instruction::Cancel { order_id: OrderId(order) }
    }

    fn outbox(ring: usize) -> (Outbox, Arc<Link>, Failures) {
        let link = Arc::new(Link::new(ring, 1, 1).unwrap());
        (Outbox::new(Arc::clone(&link), 16, 16), link, VecDeque::with_capacity(4))
    }

    fn left(link: &Link) -> Vec<Instruction> {
        std::iter::from_fn(|| link.instructions.pop()).collect()
    }

    #[test]
    fn an_order_leaves_when_its_event_is_durable_and_not_before() {
        let (mut outbox, link, mut failures) = outbox(8);
        outbox.offer(5, 0, submit(1));
        outbox.release(0, 4, |_| false, &mut failures);
        assert_eq!(left(&link), []);
        outbox.release(0, 5, |_| false, &mut failures);
        assert_eq!(left(&link), [submit(1)]);
        assert!(outbox.is_empty());
    }

    #[test]
    fn a_cancel_waits_for_nothing_but_its_own_order() {
        let (mut outbox, link, mut failures) = outbox(8);
        outbox.offer(5, 0, submit(1));
        outbox.offer(6, 0, cancel(1));
        outbox.offer(7, 0, cancel(2));
        outbox.release(0, 0, |_| false, &mut failures);
        assert_eq!(left(&link), [cancel(2)]);
        outbox.release(0, 9, |_| false, &mut failures);
        assert_eq!(left(&link), [submit(1), cancel(1)]);
        outbox.offer(10, 0, cancel(1));
        outbox.release(0, 0, |_| false, &mut failures);
        assert_eq!(left(&link), [cancel(1)]);
    }

    #[test]
    fn what_was_killed_or_is_stale_never_leaves_and_its_cancel_still_does() {
        let (mut outbox, link, mut failures) = outbox(8);
        outbox.offer(1, 0, submit(1));
        outbox.offer(2, 100, submit(2));
        outbox.offer(3, 0, cancel(1));
        outbox.release(101, 3, |order| order == OrderId(1), &mut failures);
        assert_eq!(left(&link), [cancel(1)]);
        let reasons: Vec<_> = failures
            .iter()
            .map(|failure| match failure {
                Command::EffectFailed { order_id, reason, .. } => (order_id.0, *reason),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(reasons, [(1, Reason::Killed), (2, Reason::StaleRequest)]);
    }

    #[test]
    fn a_full_ring_keeps_the_rest_in_order() {
        let (mut outbox, link, mut failures) = outbox(1);
        outbox.offer(1, 0, submit(1));
        outbox.offer(2, 0, submit(2));
        outbox.release(0, 9, |_| false, &mut failures);
        assert_eq!(left(&link), [submit(1)]);
        outbox.release(0, 9, |_| false, &mut failures);
        assert_eq!(left(&link), [submit(2)]);
    }
}
