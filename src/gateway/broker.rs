//! What comes from the broker, and work that is stepped from state.

use tradecore_domain::PLACES_PER_STEP;
use tradecore_domain::command::{Command, Origin};
use tradecore_protocol::fields::{BrokerStatus, UnixNanos};
use tradecore_protocol::session::Now;

use super::{DECISIONS_AHEAD, FACT_BYTES, FACT_RECORDS, FRAMES_PER_READ, Gateway, STEPS_PER_TURN};
use crate::brokers::{AgedQuote, Inbound, Instruction};
use tradecore_journal::Space;

impl Gateway {
    pub(super) fn take_facts(&mut self, now: Now) -> usize {
        let mut work: usize = 0;
        // To see that a ring is empty costs less than to pop nothing: it has no fence.
        while !self.link.quotes.is_empty()
            && let Some(AgedQuote { instrument_id, mut quote, age_ns }) = self.link.quotes.pop()
        {
            quote.time_ns = now.utc_ns.saturating_sub(age_ns);
            self.market.set(instrument_id, quote);
            self.counters.quotes.add(1);
            work = work.saturating_add(1);
            for nth in 0..self.connections.len() {
                if let Some(index) = self.connections.nth(nth)
                    && let Some(connection) = self.connections.get_mut(index)
                    && connection.subscribed.has(instrument_id.0)
                {
                    connection.stale_quotes.set(instrument_id.0, true);
                    self.connections.attend(index);
                }
            }
            if work >= self.settings.commands_per_turn_max {
                break;
            }
        }
        let origin = Origin { recv_time_ns: now.utc_ns, ..Origin::default() };
        for _ in 0..self.settings.commands_per_turn_max {
            if self.link.inbound.is_empty() {
                break;
            }
            // A fact is taken only when all that follows from it has room: it waits in its ring otherwise.
            if !self.has_room_for_reports_of(DECISIONS_AHEAD)
                || !self.journal.can_append(FACT_BYTES, FACT_RECORDS, Space::Reserve)
            {
                break;
            }
            let Some(inbound) = self.link.inbound.pop() else { break };
            work = work.saturating_add(1);
            let command = match inbound {
                Inbound::Status { status, connection_no } => {
                    self.queries_from = (status == BrokerStatus::Syncing).then_some((connection_no, 0));
                    Command::BrokerStatus { status, connection_no }
                }
                Inbound::Fact(fact) => {
                    self.counters.broker_facts.add(1);
                    Command::BrokerFact(fact)
                }
                Inbound::Failed { order_id, kind, failure, reason } => {
                    Command::EffectFailed { order_id, kind, failure, reason }
                }
            };
            // A fact is never refused.
            let _ = self.execute(&origin, &command, now);
        }
        work
    }

    pub(super) fn step(&mut self, now: Now) -> usize {
        let origin = Origin { recv_time_ns: now.utc_ns, ..Origin::default() };
        let mut work: usize = 0;
        // Without the broker what waits in the outbox fails, for it has not left; only then is it looked for what has,
        // and has no answer.
        let has_unsent = self.outbox.has_effects() || !self.failures.is_empty();
        while work < STEPS_PER_TURN
            && !(has_unsent && self.state.has_doubts_to_note())
            && self.state.has_pending_step(UnixNanos(now.utc_ns))
            && self.has_room_for_reports_of(DECISIONS_AHEAD)
            && self.outbox.has_room_for_cancels(FRAMES_PER_READ)
        {
            if self.execute(&origin, &Command::Step, now).is_err() {
                break;
            }
            work = work.saturating_add(1);
        }
        work.saturating_add(self.ask_broker())
    }

    /// After a reconnect: asks the broker for every order in doubt, some a turn, then says that it was all.
    pub(super) fn ask_broker(&mut self) -> usize {
        let Some((connection_no, position)) = self.queries_from else { return 0 };
        if self.state.has_doubts_to_note() {
            return 0;
        }
        let mut position = position;
        let mut work: usize = 0;
        while self.outbox.has_room_for_cancels(FRAMES_PER_READ.saturating_add(2)) && work < STEPS_PER_TURN {
            work = work.saturating_add(1);
            match self.state.next_in_doubt(&mut position, PLACES_PER_STEP) {
                Some(order_id) => self.outbox.offer(0, Instruction::Query { order_id }),
                None if position < self.state.order_places() => {}
                None => {
                    self.outbox.offer(0, Instruction::EndOfQueries { connection_no });
                    self.queries_from = None;
                    return work;
                }
            }
        }
        self.queries_from = Some((connection_no, position));
        work
    }
}
