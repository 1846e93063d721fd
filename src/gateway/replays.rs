//! Answers from the journal: asked for block by block, while their connection has room.

use tradecore_protocol::fields::{Role, SessionId};
use tradecore_protocol::messages::FillsRequest;
use tradecore_protocol::session::{Now, REPLY_BYTES_MAX};

use super::Gateway;
use crate::egress::replay::{Ask, BLOCK_BYTES, Progress, Question, Stream};

impl Gateway {
    /// Sends old reports again that the connection has had: what is new goes on behind them.
    pub(super) fn resend(&mut self, index: u32, from: u64, count: u32, now: Now) {
        let Some(logged_on) = self.connections.get(index).and_then(|connection| connection.logged_on) else { return };
        let Some(facts) = self.session_facts(logged_on.session_id, logged_on.role) else { return };
        let to = from.saturating_add(u64::from(count)).saturating_sub(1);
        self.ask_replay(index, from, to, now);
        if let Some(connection) = self.connections.get_mut(index) {
            connection.replay_next = facts.next_report_seq;
        }
    }

    /// Asks for old reports `from..=to`; with none to send the replay is complete at once.
    pub(super) fn ask_replay(&mut self, index: u32, from: u64, to: u64, now: Now) {
        let journal_seq = self.journal.last_seq();
        let Some(connection) = self.connections.get_mut(index) else { return };
        let Some(logged_on) = connection.logged_on else { return };
        connection.replay_next = to.saturating_add(1);
        if from > to || logged_on.role == Role::MarketData {
            self.replay_done(index, now);
            return;
        }
        connection.answers.reports = Some(Ask {
            connection: connection.id,
            stream: match logged_on.role {
                Role::DropCopy => Stream::DropCopy,
                Role::Trade | Role::Admin | Role::MarketData => Stream::Session(logged_on.session_id),
            },
            question: Question::Reports { from, to },
            journal_seq,
            send_ts_ns: now.utc_ns,
            progress: Progress::default(),
        });
        self.connections.attend(index);
    }

    /// Asks for old fills; false when an answer of that kind is under way.
    pub(super) fn ask_fills(&mut self, index: u32, request: FillsRequest, now: Now) -> bool {
        let journal_seq = self.journal.last_seq();
        let Some(connection) = self.connections.get_mut(index) else { return true };
        let Some(logged_on) = connection.logged_on else { return true };
        if connection.answers.fills.is_some() {
            return false;
        }
        connection.answers.fills = Some(Ask {
            connection: connection.id,
            stream: match logged_on.role {
                Role::Trade => Stream::Session(logged_on.session_id),
                Role::DropCopy | Role::Admin | Role::MarketData => Stream::DropCopy,
            },
            question: Question::Fills(request),
            journal_seq,
            send_ts_ns: now.utc_ns,
            progress: Progress::default(),
        });
        self.connections.attend(index);
        true
    }

    /// All that was asked for has been queued: goes on with what came meanwhile, or goes live.
    pub(super) fn replay_done(&mut self, index: u32, now: Now) {
        let mut reply = [0; REPLY_BYTES_MAX];
        let Some(connection) = self.connections.get(index) else { return };
        let Some(logged_on) = connection.logged_on else { return };
        let (from, is_live) = (connection.replay_next, connection.session.is_live());
        let to = match self.session_facts(logged_on.session_id, logged_on.role) {
            Some(facts) if logged_on.role != Role::MarketData => facts.next_report_seq.saturating_sub(1),
            Some(_) | None => from.saturating_sub(1),
        };
        if from <= to {
            self.ask_replay(index, from, to, now);
            return;
        }
        let session_id = SessionId(logged_on.session_id);
        let open_orders = self.state.open_orders_of_session(session_id);
        let last_id_counter = self.state.session(session_id).map_or(0, |session| session.last_id_counter);
        let next = to.saturating_add(1);
        let oldest = self.oldest_report(next);
        let Some(connection) = self.connections.get_mut(index) else { return };
        connection.replay_next = 0;
        connection.session.set_report_window(oldest, next);
        if is_live {
            connection.session.resend_complete();
            return;
        }
        let written = connection.session.replay_complete(now, open_orders, last_id_counter, &mut reply).unwrap_or(0);
        let journal_seq = Some(self.journal.last_seq());
        self.queue(index, reply.get(..written).unwrap_or_default(), journal_seq);
    }

    /// Gives the blocks that came to their connections.
    pub(super) fn take_blocks(&mut self) -> usize {
        let mut work: usize = 0;
        while !self.replay.blocks.is_empty()
            && let Some(block) = self.replay.blocks.pop()
        {
            work = work.saturating_add(1);
            let index = block.ask.connection.index;
            match self.connections.find_mut(block.ask.connection) {
                // One block is asked for at a time.
                Some(connection) if !connection.is_closing() => {
                    connection.answers.block = Some(block);
                    self.connections.attend(index);
                }
                Some(_) | None => drop(self.replay.free.push(block)),
            }
        }
        work
    }

    /// Queues the block that came, then asks for the next: each when the connection has room for it.
    pub(super) fn go_on_with_answers(&mut self, index: u32, now: Now) -> usize {
        let mut work: usize = 0;
        let len = self.connections.get(index).and_then(|c| c.answers.block.as_ref()).map(|block| block.len);
        if let Some(len) = len
            && self.connections.has_room(index, len)
        {
            self.send_block(index, now);
            work = work.saturating_add(1);
        }
        if !self.connections.has_room(index, BLOCK_BYTES) {
            return work;
        }
        let Some(connection) = self.connections.get_mut(index) else { return work };
        let answers = &mut connection.answers;
        if answers.is_asked || connection.is_closing() {
            return work;
        }
        if let Some(ask) = connection.answers.reports.or(connection.answers.fills)
            && self.replay.ask(ask)
        {
            connection.answers.is_asked = true;
            self.replay.bell.ring();
            work = work.saturating_add(1);
        }
        work
    }

    fn send_block(&mut self, index: u32, now: Now) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        let Some(block) = connection.answers.block.take() else { return };
        connection.answers.is_asked = false;
        let next = (!block.last).then_some(block.ask);
        let is_replay = matches!(block.ask.question, Question::Reports { .. });
        if is_replay {
            connection.answers.reports = next;
        } else {
            connection.answers.fills = next;
        }
        if block.last_number != 0 {
            connection.session.sent(now, block.last_number);
        }
        let bytes = block.bytes.get(..block.len).unwrap_or_default();
        let last_seq = self.journal.last_seq();
        self.connections.queue(index, bytes, None, last_seq, &mut self.gate);
        let is_last = block.last;
        drop(self.replay.free.push(block));
        if is_last && is_replay {
            self.replay_done(index, now);
        }
    }
}
