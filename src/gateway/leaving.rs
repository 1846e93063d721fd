//! What may leave: reports, once their event is durable, and effects, once nothing stops them either.

use tradecore_domain::State;
use tradecore_domain::command::{EffectKind, Origin};
use tradecore_protocol::fields::{Durability, OrderId};
use tradecore_protocol::reason::Reason;
use tradecore_protocol::session::Now;

use super::{FRAMES_PER_READ, Gateway};
use crate::brokers::Instruction;

impl Gateway {
    pub(super) fn durable_seq(&self) -> u64 {
        match self.settings.durability {
            Durability::Journaled => self.journal.last_seq(),
            Durability::Synced => self.watermarks.synced(),
            Durability::Replicated => self.link.replication.seq(),
        }
    }

    /// Wakes the sync thread for what was committed, where somebody waits for it.
    pub(super) fn wake_syncer(&mut self) {
        let last_seq = self.journal.last_seq();
        if self.settings.durability != Durability::Journaled && last_seq > self.woken_seq {
            self.woken_seq = last_seq;
            self.watermarks.wake_syncer();
        }
    }

    pub(super) fn let_leave(&mut self, now: Now) -> usize {
        self.stages.leaving();
        let durable_seq = self.durable_seq();
        let mut work: usize = 0;
        while let Some((connection, bytes)) = self.gate.release(durable_seq) {
            self.connections.release(connection, bytes);
            work = work.saturating_add(1);
        }
        if self.gate.look_for_stall(now.mono_ns, work > 0) {
            self.connections.read_again();
        }
        let (state, may_trade) = (&self.state, self.may_trade);
        let stopped = |order_id: OrderId, kind: EffectKind| stop_of(state, may_trade, order_id, kind);
        work = work.saturating_add(self.outbox.release(now.utc_ns, durable_seq, &stopped, &mut self.failures));
        let origin = Origin { recv_time_ns: now.utc_ns, ..Origin::default() };
        while let Some(command) = self.failures.front().copied() {
            if self.gate.room() < FRAMES_PER_READ || self.execute(&origin, &command, now).is_err() {
                break;
            }
            self.failures.pop_front();
            work = work.saturating_add(1);
        }
        self.stages.released(durable_seq);
        work
    }

    /// Hands on the effect of an event: into the broker's ring at once, where nothing is to be waited for.
    pub(super) fn hand_on(&mut self, seq: u64, instruction: Instruction, now: Now) {
        let may_leave = match instruction.effect() {
            Some((_, EffectKind::Cancel)) => true,
            Some((order_id, kind)) => {
                seq <= self.durable_seq()
                    && !instruction.is_stale(now.utc_ns)
                    && stop_of(&self.state, self.may_trade, order_id, kind).is_none()
            }
            None => false,
        };
        if !(may_leave && self.outbox.pass(instruction)) {
            self.outbox.offer(seq, instruction);
        }
    }
}

/// Why an effect must not leave any more. A cancel may always.
fn stop_of(state: &State, may_trade: bool, order_id: OrderId, kind: EffectKind) -> Option<Reason> {
    let no_lease = (!may_trade && kind != EffectKind::Cancel).then_some(Reason::NoLease);
    state.stops(order_id, kind).or(no_lease)
}
