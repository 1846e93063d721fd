//! What keeps the order path in the caches of a loop that waits.
//!
//! Between orders the loop spins on a few lines of code and data, and all that an order needs has left the caches when
//! the next one comes: a decision takes ten times as long then. So a loop with nothing to do rehearses the last order
//! as if the next like it had come, every few turns. Nothing comes of it: what is called changes nothing, or works on a
//! copy, or on a stage of its own.

use core::hint::black_box;
use std::io;
use std::sync::Arc;

use tradecore_domain::command::{Command, EffectKind};
use tradecore_domain::event::{EVENT_BYTES_MAX, Event, OrderClosed, SessionDefined};
use tradecore_domain::{Limits, State, apply, decide};
use tradecore_protocol::fields::{ClOrdId, Durability, OrdStatus, OrderId, SessionId, UnixNanos};
use tradecore_protocol::frame::{Envelope, Frame, next_client_frame};
use tradecore_protocol::messages::NewOrder;
use tradecore_protocol::session::{Now, REPLY_BYTES_MAX};

use super::{Gateway, Origin};
use crate::brokers::{Instruction, Link};
use crate::egress::gate::{ConnectionId, Gate};
use crate::egress::report::{self, REPORT_BYTES_MAX, ReportPlace};
use crate::ingress::{self, Request};
use crate::outbox::{self, Failures, Outbox};

/// Turns without work from one rehearsal to the next: an order that comes in the middle of one waits for its end.
const IDLE_TURNS: u32 = 16;

/// The stage has one session, account, instrument and open order.
const ONE: u32 = 1;

/// The last order, and where the next is rehearsed.
pub(super) struct Rehearsal {
    idle_turns: u32,
    from: Option<ConnectionId>,
    frame: [u8; NewOrder::FRAME_BYTES],
    stage: Stage,
}

/// What changes when an order comes, but that nobody sees: a state, an outbox and a gate.
struct Stage {
    state: State,
    client_epoch: u16,
    session_epoch: u64,
    orders: u64,
    link: Arc<Link>,
    outbox: Outbox,
    failures: Failures,
    gate: Gate,
}

impl Rehearsal {
    /// An empty stage.
    ///
    /// # Errors
    /// When the process has no file descriptor left.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { idle_turns: 0, from: None, frame: [0; NewOrder::FRAME_BYTES], stage: Stage::new()? })
    }

    /// The next rehearsal is of an order like this, if it made one.
    pub(super) fn remember(&mut self, from: ConnectionId, frame: &Frame<'_>, made: &[Event]) {
        if matches!(made, [Event::OrderAccepted(_)]) && frame.bytes.len() == self.frame.len() {
            self.frame.copy_from_slice(frame.bytes);
            self.from = Some(from);
        }
    }
}

impl Stage {
    fn new() -> io::Result<Self> {
        let limits = Limits {
            orders_max: ONE,
            closed_kept: ONE,
            executions_kept: ONE,
            ids_max: 4,
            sessions_max: ONE,
            accounts_max: ONE,
            instruments_max: ONE,
            mass_cancels_max: ONE,
            hash_seed: 0,
        };
        let link = Arc::new(Link::new(1, 1, 1, ONE)?);
        let mut stage = Self {
            state: State::new(limits),
            client_epoch: 0,
            session_epoch: 0,
            orders: 0,
            outbox: Outbox::new(Arc::clone(&link), ONE, 1),
            link,
            failures: Failures::with_capacity(1),
            gate: Gate::new(1),
        };
        stage.open_session();
        Ok(stage)
    }

    /// A new session epoch, in which client epochs begin anew.
    fn open_session(&mut self) {
        self.session_epoch = self.session_epoch.wrapping_add(1);
        self.client_epoch = 0;
        let mut event = SessionDefined { session_epoch: self.session_epoch, ..SessionDefined::default() };
        event.meta.session_id = ONE;
        apply(&mut self.state, &Event::SessionDefined(event));
    }

    /// The event of an order, as it would be applied and handed on, at once where it `is_durable` with its commit; what
    /// would have reached the adapter. Then the order ends, so that the stage is empty again.
    fn play(&mut self, event: &Event, connection: ConnectionId, is_durable: bool) -> Option<Instruction> {
        let Event::OrderAccepted(mut accepted) = *event else { return None };
        // A client epoch for each order: it closes the one before, whose id is forgotten.
        let Some(client_epoch) = self.client_epoch.checked_add(1) else {
            self.open_session();
            return None;
        };
        self.client_epoch = client_epoch;
        self.orders = self.orders.wrapping_add(1);
        accepted.meta.session_id = ONE;
        accepted.meta.account_id = ONE;
        accepted.order.order_id = self.orders;
        accepted.order.cl_ord_id = ClOrdId::new(client_epoch, ONE.into()).0;
        accepted.order.session_id = ONE;
        accepted.order.account_id = ONE;
        accepted.order.instrument_id = ONE;
        let event = Event::OrderAccepted(accepted);
        apply(&mut self.state, &event);
        let order_id = OrderId(self.orders);
        black_box(self.state.stops(order_id, EffectKind::Submit));
        if let Some(instruction) = outbox::instruction_of(&event, &self.state)
            && !(is_durable && self.outbox.pass(instruction))
        {
            self.outbox.offer(self.orders, instruction);
        }
        if !is_durable {
            self.gate.hold(self.orders, connection, REPORT_BYTES_MAX, &mut 0);
        }
        black_box(self.gate.release(self.orders));
        black_box(self.outbox.release(0, self.orders, &|_, _| None, &mut self.failures));
        let instruction = self.link.instructions.pop();
        let mut closed = OrderClosed { meta: accepted.meta, order: accepted.order, ..OrderClosed::default() };
        closed.order.ord_status = OrdStatus::Expired.raw();
        apply(&mut self.state, &Event::OrderClosed(closed));
        instruction
    }
}

impl Gateway {
    /// A turn had nothing to do.
    pub(super) fn idle(&mut self, now: Now) {
        self.rehearsal.idle_turns = self.rehearsal.idle_turns.wrapping_add(1);
        if self.rehearsal.idle_turns.is_multiple_of(IDLE_TURNS)
            && let Some(from) = self.rehearsal.from
            && self.rehearse(from, now).is_none()
        {
            self.rehearsal.from = None;
        }
    }

    /// The way of an order, from its frame to what would leave. `None` when its sender is gone.
    fn rehearse(&mut self, from: ConnectionId, now: Now) -> Option<()> {
        let connection = self.connections.find_mut(from)?;
        let logged_on = connection.logged_on?;
        let bytes = self.rehearsal.frame;
        let mut frame = next_client_frame(&bytes).ok()??;
        frame.header.seq = connection.session.expected_seq();
        frame.header.flags = 0;
        let mut reply = [0; REPLY_BYTES_MAX];
        let step = connection.session.clone().handle_frame(now, &frame, &mut reply);
        black_box((&step, &reply));
        let Ok(Request::Command(mut command)) = ingress::request_of(&frame) else { return None };
        if let Command::PlaceOrder(order) = &mut command {
            order.cl_ord_id.0 = order.cl_ord_id.0.saturating_add(1);
            order.valid_until_ns = 0;
        }
        black_box(self.directory.get(logged_on.session_id).map(|entry| entry.pace));
        black_box(self.refusal_of(&command, logged_on));
        let session_id = SessionId(logged_on.session_id);
        let origin = Origin { session_id, client_seq: frame.header.seq, recv_time_ns: now.utc_ns };
        decide(&self.state, UnixNanos(now.utc_ns), &self.market, &origin, &command, &mut self.decision);
        let Some(event) = self.decision.events().first().copied() else { return Some(()) };
        black_box(super::space_of(&self.state, session_id, &command, self.decision.events()));
        let mut payload = [0; EVENT_BYTES_MAX];
        black_box(event.archive_into(payload.get_mut(..event.payload_len())?));
        black_box(&payload);
        self.journal.read_ahead(event.payload_len());
        if let Event::OrderAccepted(accepted) = &event {
            self.state.read_ahead(&accepted.order);
        }
        let is_durable = self.settings.durability == Durability::Journaled;
        black_box(self.rehearsal.stage.play(&event, from, is_durable));
        let place = ReportPlace {
            envelope: Envelope::default(),
            journal_seq: self.journal.last_seq(),
            transact_time_ns: self.journal.last_ts_ns(),
            durability: self.settings.durability.raw(),
            er_flags: 0,
        };
        let envelope = self.connections.find_mut(from)?.session.envelope(now, event.meta().report_seq, 0);
        let mut out = [0; REPORT_BYTES_MAX];
        let len = report::of(&event, &place)?.encode(&mut out, envelope).unwrap_or(0);
        self.connections.queue_for_nobody(out.get(..len)?);
        self.counters.rehearsals.add(1);
        Some(())
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::panic)]
mod tests {
    use tradecore_domain::event::OrderAccepted;
    use tradecore_protocol::fields::{OrdType, Side, Tif};

    use super::*;

    #[test]
    fn a_stage_is_as_empty_after_many_orders_as_after_one() {
        let mut stage = Stage::new().unwrap();
        let mut accepted = OrderAccepted::default();
        accepted.order.side = Side::Buy.raw();
        accepted.order.ord_type = OrdType::Limit.raw();
        accepted.order.tif = Tif::Day.raw();
        let event = Event::OrderAccepted(accepted);
        let connection = ConnectionId { index: 0, no: 1 };
        let mut orders = 0;
        for nth in 0..3 * usize::from(u16::MAX) {
            match stage.play(&event, connection, nth % 2 == 0) {
                Some(Instruction::Submit(order)) => {
                    orders += 1;
                    assert_eq!(order.order_id.0, orders);
                }
                None => assert_eq!(stage.client_epoch, 0, "client epochs have worn out, and begin anew"),
                other => panic!("{other:?}"),
            }
            let (ids, places) = (stage.state.ids_count(), stage.state.order_places());
            assert!(ids <= 2 && places <= 2 && stage.state.open_orders_count() == 0, "{ids} ids, {places} places");
            assert!(stage.gate.is_empty() && stage.outbox.is_empty() && stage.failures.is_empty());
        }
        assert_eq!(orders, 3 * u64::from(u16::MAX) - 2);
        assert!(stage.session_epoch > 2);
    }
}
