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

impl Waiting {
    const fn new(journal_seq: u64, instruction: Instruction, order_id: OrderId, kind: EffectKind) -> Self {
        Self { journal_seq, instruction, order_id, kind, cancel_follows: false, query_follows: false }
    }
}

/// What waits for nothing but room in the ring, in a quarter of the bytes of an instruction.
#[derive(Clone, Copy, Debug)]
enum Free {
    Cancel(OrderId),
    Query(OrderId),
    EndOfQueries { connection_no: u64 },
}

impl From<Free> for Instruction {
    fn from(free: Free) -> Self {
        match free {
            Free::Cancel(order_id) => Self::Cancel { order_id },
            Free::Query(order_id) => Self::Query { order_id },
            Free::EndOfQueries { connection_no } => Self::EndOfQueries { connection_no },
        }
    }
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
    cancels: VecDeque<Free>,
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
        let any = Instruction::EndOfQueries { connection_no: 0 };
        Self {
            link,
            waiting: brought_in(waiting_max as usize, Waiting::new(0, any, OrderId(0), EffectKind::Submit)),
            waiting_max: waiting_max as usize,
            first_no: 0,
            // Its keys are given by the core: nobody picks them.
            by_order_id: Index::new(waiting_max, 0),
            cancels: brought_in(cancels_max, Free::Query(OrderId(0))),
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
            Instruction::Cancel { order_id } => return self.offer_free(Free::Cancel(order_id)),
            Instruction::Query { order_id } => return self.offer_free(Free::Query(order_id)),
            Instruction::EndOfQueries { connection_no } => {
                return self.offer_free(Free::EndOfQueries { connection_no });
            }
        };
        let no = self.first_no.wrapping_add(self.waiting.len() as u32) % NUMBERS;
        let (waiting, first_no) = (&self.waiting, self.first_no);
        self.by_order_id.insert((order_id.0, 0), no, |no| is_of(waiting, first_no, no, order_id));
        self.waiting.push_back(Waiting::new(journal_seq, instruction, order_id, kind));
    }

    /// Takes a cancel or a query: behind the effect of its order, if that waits.
    fn offer_free(&mut self, free: Free) {
        let follows = match free {
            Free::Cancel(order_id) => self.effect_of(order_id).map(|waiting| &mut waiting.cancel_follows),
            Free::Query(order_id) => self.effect_of(order_id).map(|waiting| &mut waiting.query_follows),
            Free::EndOfQueries { .. } => None,
        };
        let Some(follows) = follows else { return self.cancels.push_back(free) };
        let is_more = !core::mem::replace(follows, true);
        self.followers = self.followers.saturating_add(usize::from(is_more));
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
        while let Some(free) = self.cancels.front().copied() {
            if !self.feed(free.into()) {
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
        for (follows, free) in
            [(first.cancel_follows, Free::Cancel(order_id)), (first.query_follows, Free::Query(order_id))]
        {
            if follows {
                self.followers = self.followers.saturating_sub(1);
                self.cancels.push_back(free);
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

/// An empty queue whose memory is brought in: the loop takes no fault when it first gets so deep.
fn brought_in<T: Clone>(places: usize, any: T) -> VecDeque<T> {
    let mut queue = VecDeque::from(vec![any; places]);
    queue.clear();
    queue
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
mod tests;
