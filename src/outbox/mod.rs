//! Effects on their way out: the only room that feeds `brokers/`.
//!
//! Decides whether these bytes may leave *now*: the durability watermark, what the state says of the effect,
//! valid-until. Must not know why an order lives. A new order or a replace waits for the core's durability class; a
//! cancel waits for `journaled` only, but never overtakes its own order, and neither does a query.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tradecore_domain::command::{Command, EffectFailure, EffectKind};
use tradecore_domain::event::Event;
use tradecore_domain::{Index, State};
use tradecore_protocol::fields::{AccountId, InstrumentId, OrdType, OrderId, Px, Qty, Side, Tif, exec_flags};
use tradecore_protocol::reason::Reason;

use crate::brokers::{Instruction, Link, SubmitOrder};

/// Numbers of effects start again behind this one: more than can ever wait, and all are places of an `Index`.
const NUMBERS: u32 = 1 << 31;

/// A new order or a replace that waits, and what waits behind it.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    journal_seq: u64,
    instruction: Instruction,
    order_id: OrderId,
    kind: EffectKind,
    cancel_follows: bool,
    query_follows: bool,
}

/// Effects that wait for their watermark or for room in the broker's ring.
#[derive(Debug)]
pub struct Outbox {
    link: Arc<Link>,
    /// New orders and replaces, in the order of the journal.
    waiting: VecDeque<Waiting>,
    waiting_max: usize,
    /// Number of the first that waits; the others have those that follow.
    first_no: u32,
    /// Numbers by order id.
    by_order_id: Index,
    /// Cancels and queries that wait for nothing but room in the ring.
    cancels: VecDeque<Instruction>,
    cancels_max: usize,
    /// Cancels and queries that wait behind their own order.
    followers: usize,
    /// Instructions that have been put into the ring.
    fed: u64,
    /// Some of them just now, and the adapter may be asleep.
    has_fed: bool,
}

/// What a release found: effects that must not leave any more, as commands for the domain.
pub type Failures = VecDeque<Command>;

impl Outbox {
    /// An outbox for at most `waiting_max` new orders and replaces, and as many as `cancels_max` cancels and queries.
    #[must_use]
    pub fn new(link: Arc<Link>, waiting_max: u32, cancels_max: usize) -> Self {
        Self {
            link,
            waiting: VecDeque::with_capacity(waiting_max as usize),
            waiting_max: waiting_max as usize,
            first_no: 0,
            // Its keys are given by the core: nobody picks them.
            by_order_id: Index::new(waiting_max, 0),
            cancels: VecDeque::with_capacity(cancels_max),
            cancels_max,
            followers: 0,
            fed: 0,
            has_fed: false,
        }
    }

    /// True when `effects` more new orders or replaces fit; they are refused otherwise.
    #[must_use]
    pub fn has_room(&self, effects: usize) -> bool {
        self.waiting.len().saturating_add(effects) <= self.waiting_max
    }

    /// True when so many more cancels fit; the loop stops taking commands otherwise. New orders and replaces, however
    /// many wait, take nothing of their room.
    #[must_use]
    pub fn has_room_for_cancels(&self, cancels: usize) -> bool {
        self.cancels.len().saturating_add(self.followers).saturating_add(cancels) <= self.cancels_max
    }

    /// True when a new order or a replace waits: not a byte of it has left.
    #[must_use]
    pub fn has_effects(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Effects that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len().saturating_add(self.followers).saturating_add(self.cancels.len())
    }

    /// True when nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.cancels.is_empty()
    }

    /// True when nothing waits here, in the ring, or for the broker's answer.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.is_empty() && self.link.settled.load(Ordering::Acquire) == self.fed
    }

    /// Puts an effect into the ring at once, when nothing waits here before it; false, and nothing done, otherwise. The
    /// caller has seen that it may leave.
    pub fn pass(&mut self, instruction: Instruction) -> bool {
        self.is_empty() && self.feed(instruction)
    }

    /// Takes the effect of a journaled event. The caller has asked for room before it decided.
    pub fn offer(&mut self, journal_seq: u64, instruction: Instruction) {
        let (order_id, kind) = match instruction {
            Instruction::Submit(order) => (order.order_id, EffectKind::Submit),
            Instruction::Replace { order_id, .. } => (order_id, EffectKind::Replace),
            Instruction::Cancel { order_id } | Instruction::Query { order_id } => {
                let Some(waiting) = self.effect_of(order_id) else { return self.cancels.push_back(instruction) };
                let is_cancel = matches!(instruction, Instruction::Cancel { .. });
                let follows = if is_cancel { &mut waiting.cancel_follows } else { &mut waiting.query_follows };
                let is_more = !core::mem::replace(follows, true);
                self.followers = self.followers.saturating_add(usize::from(is_more));
                return;
            }
            Instruction::EndOfQueries { .. } => return self.cancels.push_back(instruction),
        };
        let no = self.first_no.wrapping_add(self.waiting.len() as u32) % NUMBERS;
        let (waiting, first_no) = (&self.waiting, self.first_no);
        self.by_order_id.insert((order_id.0, 0), no, |no| is_of(waiting, first_no, no, order_id));
        self.waiting.push_back(Waiting {
            journal_seq,
            instruction,
            order_id,
            kind,
            cancel_follows: false,
            query_follows: false,
        });
    }

    /// Lets leave what may: everything at or below the durable watermark `released_seq`, and cancels.
    ///
    /// What must not leave any more goes to `failures`, durable or not: what the state stops (`stopped`), and what is
    /// past valid-until. The cancel of a new order that never leaves has nothing to cancel, and ends with it.
    pub fn release(
        &mut self,
        now_ns: u64,
        released_seq: u64,
        stopped: &dyn Fn(OrderId, EffectKind) -> Option<Reason>,
        failures: &mut Failures,
    ) -> usize {
        let mut work: usize = self.release_cancels();
        while let Some(front) = self.waiting.front().copied() {
            let is_stale = front.instruction.is_stale(now_ns);
            let reason = stopped(front.order_id, front.kind).or(is_stale.then_some(Reason::StaleRequest));
            match reason {
                Some(_) if failures.len() == failures.capacity() => break,
                Some(reason) => {
                    failures.push_back(Command::EffectFailed {
                        order_id: front.order_id,
                        kind: front.kind,
                        failure: EffectFailure::NotSent,
                        reason,
                    });
                    // Too late is what the broker knows already: there its cancel has something to cancel.
                    if front.kind == EffectKind::Submit && reason != Reason::TooLate {
                        self.forget_cancel_of_first();
                    }
                }
                None if front.journal_seq > released_seq || !self.cancels.is_empty() => break,
                None if !self.feed(front.instruction) => break,
                None => {}
            }
            self.remove_first();
            work = work.saturating_add(1).saturating_add(self.release_cancels());
        }
        work
    }

    /// Wakes the adapter if it sleeps and instructions wait for it.
    pub fn wake_adapter(&mut self) {
        if core::mem::take(&mut self.has_fed) {
            self.link.bell.ring();
        }
    }

    fn release_cancels(&mut self) -> usize {
        let mut work: usize = 0;
        while let Some(instruction) = self.cancels.front().copied() {
            if !self.feed(instruction) {
                break;
            }
            self.cancels.pop_front();
            work = work.saturating_add(1);
        }
        if self.cancels.is_empty() {
            self.cancels.clear();
        }
        work
    }

    /// Puts an instruction into the broker's ring; false when that is full.
    fn feed(&mut self, instruction: Instruction) -> bool {
        let has_room = self.link.instructions.push(instruction).is_ok();
        self.fed = self.fed.saturating_add(u64::from(has_room));
        self.has_fed |= has_room;
        has_room
    }

    /// The first effect waits no more: what waited behind it goes on.
    fn remove_first(&mut self) {
        let Some(first) = self.waiting.pop_front() else { return };
        if self.waiting.is_empty() {
            // From its start again, which lies in the cache.
            self.waiting.clear();
        }
        // Not that of a later effect of the order.
        let first_no = self.first_no;
        self.by_order_id.remove((first.order_id.0, 0), |no| no == first_no);
        self.first_no = self.first_no.wrapping_add(1) % NUMBERS;
        let order_id = first.order_id;
        for (follows, instruction) in [
            (first.cancel_follows, Instruction::Cancel { order_id }),
            (first.query_follows, Instruction::Query { order_id }),
        ] {
            if follows {
                self.followers = self.followers.saturating_sub(1);
                self.cancels.push_back(instruction);
            }
        }
    }

    fn forget_cancel_of_first(&mut self) {
        if let Some(first) = self.waiting.front_mut()
            && core::mem::take(&mut first.cancel_follows)
        {
            self.followers = self.followers.saturating_sub(1);
        }
    }

    /// The effect of an order that waits.
    fn effect_of(&mut self, order_id: OrderId) -> Option<&mut Waiting> {
        let (waiting, first_no) = (&self.waiting, self.first_no);
        let no = self.by_order_id.get((order_id.0, 0), |no| is_of(waiting, first_no, no, order_id))?;
        self.waiting.get_mut((no.wrapping_sub(self.first_no) % NUMBERS) as usize)
    }
}

/// True when the effect of this number is of the order.
fn is_of(waiting: &VecDeque<Waiting>, first_no: u32, no: u32, order_id: OrderId) -> bool {
    waiting.get((no.wrapping_sub(first_no) % NUMBERS) as usize).is_some_and(|effect| effect.order_id == order_id)
}

/// What an event asks of the broker; `None` for events that are no intent.
#[must_use]
pub fn instruction_of(event: &Event, state: &State) -> Option<Instruction> {
    match event {
        Event::OrderAccepted(e) => Some(Instruction::Submit(SubmitOrder {
            order_id: OrderId(e.order.order_id),
            account_id: AccountId(e.order.account_id),
            instrument_id: InstrumentId(e.order.instrument_id),
            side: Side::from_raw(e.order.side)?,
            ord_type: OrdType::from_raw(e.order.ord_type)?,
            tif: Tif::from_raw(e.order.tif)?,
            post_only: e.order.exec_flags & exec_flags::POST_ONLY != 0,
            px: Px(e.order.px),
            order_qty: Qty(e.order.order_qty),
            valid_until_ns: e.order.valid_until_ns,
            kill_epoch: state.kill_epoch(),
        })),
        Event::CancelRequested(e) => Some(Instruction::Cancel { order_id: OrderId(e.order.order_id) }),
        Event::ReplaceRequested(e) => Some(Instruction::Replace {
            order_id: OrderId(e.order.order_id),
            account_id: AccountId(e.order.account_id),
            px: Px(e.new_px),
            total_qty: Qty(e.new_qty),
            valid_until_ns: e.valid_until_ns,
            kill_epoch: state.kill_epoch(),
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn submit(order: u64) -> Instruction {
        Instruction::Submit(SubmitOrder {
            order_id: OrderId(order),
            account_id: AccountId(1),
            instrument_id: InstrumentId(1),
            side: Side::Buy,
            ord_type: OrdType::Limit,
            tif: Tif::Day,
            post_only: false,
            px: Px(1),
            order_qty: Qty(1),
            valid_until_ns: 0,
            kill_epoch: 0,
        })
    }

    fn until(ns: u64, instruction: Instruction) -> Instruction {
        let Instruction::Submit(order) = instruction else { panic!("{instruction:?}") };
        Instruction::Submit(SubmitOrder { valid_until_ns: ns, ..order })
    }

    fn replace(order: u64) -> Instruction {
        let (order_id, account_id) = (OrderId(order), AccountId(1));
        Instruction::Replace { order_id, account_id, px: Px(2), total_qty: Qty(2), valid_until_ns: 0, kill_epoch: 0 }
    }

    fn cancel(order: u64) -> Instruction {
        Instruction::Cancel { order_id: OrderId(order) }
    }

    fn query(order: u64) -> Instruction {
        Instruction::Query { order_id: OrderId(order) }
    }

    fn outbox(ring: usize) -> (Outbox, Arc<Link>, Failures) {
        let link = Arc::new(Link::new(ring, 1, 1, 1).unwrap());
        (Outbox::new(Arc::clone(&link), 16, 16), link, VecDeque::with_capacity(4))
    }

    fn left(link: &Link) -> Vec<Instruction> {
        std::iter::from_fn(|| link.instructions.pop()).collect()
    }

    /// What has failed, as definitely not sent.
    fn failed(failures: &mut Failures) -> Vec<(u64, EffectKind, Reason)> {
        let each = |failure| match failure {
            Command::EffectFailed { order_id, kind, failure: EffectFailure::NotSent, reason } => {
                (order_id.0, kind, reason)
            }
            other => panic!("{other:?}"),
        };
        failures.drain(..).map(each).collect()
    }

    #[test]
    fn an_effect_that_may_leave_is_in_the_ring_at_once_and_passes_nothing_that_waits() {
        let (mut outbox, link, mut failures) = outbox(2);
        assert!(outbox.pass(submit(1)) && outbox.is_empty());
        assert_eq!(left(&link), [submit(1)]);
        outbox.offer(9, submit(2));
        assert!(!outbox.pass(submit(3)), "an order waits for its sync");
        outbox.release(0, 9, &|_, _| None, &mut failures);
        assert!(outbox.pass(cancel(2)), "nothing waits any more");
        assert!(!outbox.pass(cancel(1)), "the ring is full");
        outbox.offer(9, cancel(1));
        assert_eq!(left(&link), [submit(2), cancel(2)]);
        assert!(!outbox.pass(cancel(3)), "a cancel waits for the ring");
    }

    #[test]
    fn an_order_leaves_when_its_event_is_durable_and_not_before() {
        let (mut outbox, link, mut failures) = outbox(8);
        outbox.offer(5, submit(1));
        outbox.release(0, 4, &|_, _| None, &mut failures);
        assert_eq!(left(&link), []);
        outbox.release(0, 5, &|_, _| None, &mut failures);
        assert_eq!(left(&link), [submit(1)]);
        assert!(outbox.is_empty());
    }

    #[test]
    fn a_cancel_waits_for_nothing_but_its_own_order() {
        let (mut outbox, link, mut failures) = outbox(8);
        outbox.offer(5, submit(1));
        outbox.offer(6, cancel(1));
        outbox.offer(7, cancel(2));
        outbox.offer(8, submit(3));
        outbox.release(0, 0, &|_, _| None, &mut failures);
        assert_eq!(left(&link), [cancel(2)]);
        outbox.release(0, 5, &|_, _| None, &mut failures);
        assert_eq!(left(&link), [submit(1), cancel(1)]);
        outbox.offer(10, cancel(1));
        outbox.release(0, 5, &|_, _| None, &mut failures);
        assert_eq!(left(&link), [cancel(1)]);
    }

    #[test]
    fn a_query_waits_behind_its_own_order_and_no_other() {
        let (mut outbox, link, mut failures) = outbox(8);
        outbox.offer(5, replace(1));
        outbox.offer(0, query(1));
        outbox.offer(0, query(2));
        outbox.release(0, 4, &|_, _| None, &mut failures);
        assert_eq!(left(&link), [query(2)]);
        outbox.release(0, 5, &|_, _| None, &mut failures);
        assert_eq!(left(&link), [replace(1), query(1)]);
        assert!(outbox.is_empty());
    }

    #[test]
    fn with_every_place_taken_no_cancel_of_another_order_waits_and_all_have_room() {
        let link = Arc::new(Link::new(8_192, 1, 1, 1).unwrap());
        let mut outbox = Outbox::new(Arc::clone(&link), 4_096, 4_096);
        let mut failures = VecDeque::with_capacity(4);
        // Numbers and order ids go round: what waited before has left no trace.
        for round in 0..3_u64 {
            let mine = || round * 10_000 + 1..=round * 10_000 + 4_096;
            mine().for_each(|order| outbox.offer(order, submit(order)));
            assert!(!outbox.has_room(1) && outbox.has_room_for_cancels(4_096), "{round}");
            let others: Vec<_> = (0..2_048).map(|nth| cancel(1_000_000 + nth)).collect();
            others.iter().for_each(|cancel| outbox.offer(1, *cancel));
            outbox.release(0, 0, &|_, _| None, &mut failures);
            assert_eq!(left(&link), others, "{round}");
            mine().for_each(|order| outbox.offer(1, cancel(order)));
            mine().for_each(|order| outbox.offer(1, cancel(order)));
            assert!(!outbox.has_room_for_cancels(1), "those that wait behind their orders count, and each once");
            outbox.release(0, u64::MAX, &|_, _| None, &mut failures);
            let expected: Vec<_> = mine().flat_map(|order| [submit(order), cancel(order)]).collect();
            assert!(left(&link) == expected, "{round}");
            assert!(outbox.is_empty() && outbox.has_room_for_cancels(4_096), "{round}");
        }
    }

    #[test]
    fn what_is_stopped_or_stale_never_leaves_durable_or_not_and_its_cancel_does_where_the_broker_has_the_order() {
        let (mut outbox, link, mut failures) = outbox(8);
        outbox.offer(1, submit(1));
        outbox.offer(2, until(100, submit(2)));
        outbox.offer(3, submit(3));
        outbox.offer(3, replace(4));
        (1..=4).for_each(|order| outbox.offer(4, cancel(order)));
        let stopped = |order: OrderId, kind: EffectKind| match (order.0, kind) {
            (1, EffectKind::Submit) => Some(Reason::Killed),
            (3, EffectKind::Submit) => Some(Reason::TooLate),
            (4, EffectKind::Replace) => Some(Reason::PendingChange),
            _ => None,
        };
        outbox.release(101, 0, &stopped, &mut failures);
        assert_eq!(left(&link), [cancel(3), cancel(4)]);
        assert!(outbox.is_empty() && outbox.has_room_for_cancels(16));
        let expected = [
            (1, EffectKind::Submit, Reason::Killed),
            (2, EffectKind::Submit, Reason::StaleRequest),
            (3, EffectKind::Submit, Reason::TooLate),
            (4, EffectKind::Replace, Reason::PendingChange),
        ];
        assert_eq!(failed(&mut failures), expected);
    }

    #[test]
    fn a_full_ring_keeps_the_rest_in_order() {
        let (mut outbox, link, mut failures) = outbox(1);
        outbox.offer(1, submit(1));
        outbox.offer(2, submit(2));
        outbox.offer(3, cancel(1));
        outbox.release(0, 9, &|_, _| None, &mut failures);
        for expected in [submit(1), cancel(1), submit(2)] {
            assert_eq!(left(&link), [expected]);
            outbox.release(0, 9, &|_, _| None, &mut failures);
        }
        assert!(outbox.is_empty());
    }
}
