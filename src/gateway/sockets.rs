//! What comes from sockets, and what becomes of connections.

use tradecore_domain::command::{Command, Origin};
use tradecore_protocol::fields::SessionId;
use tradecore_protocol::frame::{Frame, encode, next_client_frame};
use tradecore_protocol::reason::Reason;
use tradecore_protocol::session::{Now, REPLY_BYTES_MAX, ServerAction, Step};

use super::{FRAMES_PER_READ, Gateway, reports_max};
use crate::egress::report::REPORT_BYTES_MAX;
use crate::notices::{Notice, Who};
use crate::queries;
use crate::session::{Connection, READ_BYTES};

/// Connections whose deadlines are looked at in one turn: with a thousand of them, each every 63rd turn.
const DEADLINES_PER_TURN: usize = 16;

/// Connections that are taken in one turn, or turned away: each costs some system calls.
const ACCEPTS_PER_TURN: usize = 8;

impl Gateway {
    pub(super) fn take_frames(&mut self, now: Now) -> usize {
        let mut work: usize = 0;
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(_index) = self.connections.accept(&self.server, self.nonce, now) else { break };
            self.counters.accepted.add(1);
            work = work.saturating_add(1);
        }
        let mut bytes: usize = 0;
        for _ in 0..self.connections.readable_count() {
            // A flood of many is taken in parts: what the broker says has its turn in between.
            if bytes >= READ_BYTES {
                break;
            }
            // Named behaviour of a full gate: clients wait in their sockets.
            if !self.has_room_for_reports_of(FRAMES_PER_READ) || !self.outbox.has_room_for_cancels(FRAMES_PER_READ) {
                break;
            }
            let Some(index) = self.connections.next_readable() else { break };
            // It comes in line again when the gate lets something of it go, or stalls.
            if self.connections.waits_for_gate(index, &self.gate) {
                continue;
            }
            if let Some(read) = self.serve(index, now) {
                work = work.saturating_add(1);
                bytes = bytes.saturating_add(read);
            }
        }
        work
    }

    /// Reads once, and does what was asked for; how many bytes that was, when there was anything to hear.
    fn serve(&mut self, index: u32, now: Now) -> Option<usize> {
        let mut scratch = core::mem::take(&mut self.scratch);
        let read = self.connections.read(index, &mut scratch);
        self.stages.read();
        if let Some((filled, ended)) = read {
            let mut rest = scratch.get(..filled).unwrap_or_default();
            loop {
                if self.connections.get(index).is_none_or(Connection::is_closing) {
                    rest = &[];
                }
                match next_client_frame(rest) {
                    Ok(Some(frame)) => {
                        rest = rest.get(frame.bytes.len()..).unwrap_or_default();
                        self.handle_frame(index, &frame, now);
                    }
                    Ok(None) => {
                        self.connections.keep(index, rest);
                        break;
                    }
                    Err(fault) => {
                        let mut reply = [0; REPLY_BYTES_MAX];
                        if let Some(connection) = self.connections.get_mut(index) {
                            let step = connection.session.handle_frame_error(now, fault, &mut reply);
                            self.obey(index, None, step, &reply, now);
                        }
                        break;
                    }
                }
            }
            if ended {
                self.lose(index, Reason::ConnectionLost, now);
            }
        }
        self.scratch = scratch;
        read.map(|(filled, _)| filled)
    }

    pub(super) fn handle_frame(&mut self, index: u32, frame: &Frame<'_>, now: Now) {
        let mut reply = [0; REPLY_BYTES_MAX];
        let Some(connection) = self.connections.get_mut(index) else { return };
        let step = connection.session.handle_frame(now, frame, &mut reply);
        self.obey(index, Some(frame), step, &reply, now);
        self.stages.passed();
    }

    /// Does what the session rules say.
    pub(super) fn obey(
        &mut self,
        index: u32,
        frame: Option<&Frame<'_>>,
        step: Step<ServerAction>,
        reply: &[u8],
        now: Now,
    ) {
        let written = reply.get(..step.written).unwrap_or_default();
        match step.action {
            ServerAction::Close { .. } => self.queue_goodbye(index, written),
            // It tells where the session stands: the client forgets what it hears was processed.
            ServerAction::LoggedOn(_) => self.queue(index, written, Some(self.journal.last_seq())),
            _ => self.queue(index, written, None),
        }
        match step.action {
            ServerAction::None | ServerAction::Duplicate => {}
            ServerAction::Refused(reason) => self.refused(index, reason, now),
            ServerAction::CheckLogon(query) => self.check_logon(index, &query, now),
            ServerAction::LoggedOn(logged_on) => self.logged_on(index, &logged_on, now),
            ServerAction::Command(_) | ServerAction::Query(_) => {
                if let Some(frame) = frame {
                    self.request(index, frame, now);
                }
            }
            ServerAction::Resend { from_seq, count } => self.resend(index, from_seq, count, now),
            ServerAction::Close { reason, .. } => self.lose(index, reason, now),
        }
    }

    /// Goes on with long answers and quotes, and looks for passed deadlines.
    pub(super) fn attend(&mut self, now: Now) -> usize {
        let mut work: usize = 0;
        for _ in 0..self.connections.attention_count() {
            let Some(index) = self.connections.next_to_attend() else { break };
            work = work.saturating_add(self.go_on_with_answers(index, now));
            work = work.saturating_add(queries::go_on(
                &mut self.connections,
                index,
                &self.state,
                &self.directory,
                &mut self.gate,
                &queries::Place { now, journal_seq: self.journal.last_seq(), durability: self.settings.durability },
            ));
            work = work.saturating_add(self.send_quotes(index, now));
            self.connections.attend(index);
        }
        let mut reply = [0; REPLY_BYTES_MAX];
        for _ in 0..self.connections.len().min(DEADLINES_PER_TURN) {
            let Some(index) = self.connections.next_to_sweep() else { break };
            self.connections.look_for_hoarding(index, now);
            let Some(connection) = self.connections.get_mut(index) else { continue };
            if connection.is_unheard() {
                connection.session.not_listening(now);
            }
            if let Some(left_ns) = connection.held_back_since_ns() {
                let written = connection.session.heartbeat_ahead(now, left_ns, &mut reply).unwrap_or(0);
                self.connections.queue_ahead(index, reply.get(..written).unwrap_or_default());
            }
            let Some(connection) = self.connections.get_mut(index) else { continue };
            let is_due = connection.session.poll_timeout().is_some_and(|deadline_ns| deadline_ns <= now.mono_ns);
            if is_due && !connection.is_closing() {
                let step = connection.session.handle_timeout(now, &mut reply);
                self.obey(index, None, step, &reply, now);
                work = work.saturating_add(1);
            }
        }
        work
    }

    /// Sends the newest quotes of a connection whose earlier bytes are all gone: a slow reader misses those between.
    pub(super) fn send_quotes(&mut self, index: u32, now: Now) -> usize {
        let mut work: usize = 0;
        while let Some(connection) = self.connections.get_mut(index) {
            if connection.queued_bytes() > 0 || connection.is_closing() {
                break;
            }
            let Some(instrument_id) = connection.stale_quotes.take_first() else { break };
            let mut frame = [0; REPORT_BYTES_MAX];
            let envelope = connection.session.envelope(now, 0, 0);
            if let Some(quote) = queries::quote(&self.market, instrument_id)
                && let Ok(len) = encode(&mut frame, envelope, &quote)
            {
                self.queue(index, frame.get(..len).unwrap_or_default(), None);
                work = work.saturating_add(1);
            }
        }
        work
    }

    /// The session rules or the peer have ended the connection.
    pub(super) fn lose(&mut self, index: u32, reason: Reason, now: Now) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        let (id, host, logged_on) = (connection.id, connection.host, connection.logged_on.take());
        // `LoginRate` was told of when it began; and who only looks whether somebody listens is no news.
        let is_news = !connection.is_closing()
            && !matches!(reason, Reason::LoginRate | Reason::ConnectionLost | Reason::Shutdown);
        if logged_on.is_none() && is_news {
            let (session_id, key_id) = connection.session.claimed();
            self.notices.leave(Notice::LogonRefused { who: Who { session_id, key_id, host }, reason });
        }
        self.drop_copies.retain(|copy| *copy != id);
        self.connections.close(index, reason, now);
        let Some(logged_on) = logged_on else { return };
        if let Some(entry) = self.directory.get_mut(logged_on.session_id) {
            if entry.connection == Some(id) {
                entry.connection = None;
            }
            let who = Who { session_id: logged_on.session_id, key_id: entry.key_id, host };
            self.notices.leave(Notice::SessionEnded { who, reason });
        }
        let origin = Origin { session_id: SessionId(logged_on.session_id), client_seq: 0, recv_time_ns: now.utc_ns };
        // Without room in the journal the session counts as connected, until the next start ends it.
        let _ = self.execute(&origin, &Command::EndSession { reason }, now);
    }

    /// We end the connection.
    pub(super) fn end_connection(&mut self, index: u32, reason: Reason, text: &str, now: Now) {
        let mut reply = [0; REPLY_BYTES_MAX];
        let Some(connection) = self.connections.get_mut(index) else { return };
        let step = connection.session.terminate(now, reason, text, &mut reply);
        let written = reply.get(..step.written).unwrap_or_default();
        self.queue_goodbye(index, written);
        self.lose(index, reason, now);
    }

    /// Ends the connections that were noted as slow, now that whole groups are applied: the end of a session is a
    /// decision of its own.
    pub(super) fn end_slow_consumers(&mut self, now: Now) {
        while let Some(index) = self.connections.next_slow() {
            self.counters.slow_consumers.add(1);
            self.end_connection(index, Reason::SlowConsumer, "read faster; reports are replayed at logon", now);
        }
    }

    /// Room for the reports of this many decisions, in every stream that gets them.
    pub(super) fn has_room_for_reports_of(&self, decisions: usize) -> bool {
        self.gate.room() >= reports_max(decisions, self.drop_copies.len()) && !self.connections.is_crowded()
    }

    /// The session rules have refused a message: a session that goes on like that is ended.
    fn refused(&mut self, index: u32, reason: Reason, now: Now) {
        self.counters.refusals.add(1);
        // Orders that come before the replay is complete are early, not wrong.
        if reason != Reason::ReplayInProgress
            && let Some(logged_on) = self.connections.get(index).and_then(|connection| connection.logged_on)
            && let Some(entry) = self.directory.get_mut(logged_on.session_id)
            && entry.pace.refusals.take(now.mono_ns).is_err()
        {
            self.end_connection(index, Reason::RateLimit, "too many messages that the session refuses", now);
        }
    }

    fn queue_goodbye(&mut self, index: u32, frame: &[u8]) {
        let last_seq = self.journal.last_seq();
        self.connections.queue_goodbye(index, frame, last_seq, &mut self.gate);
    }

    pub(super) fn queue(&mut self, index: u32, frame: &[u8], journal_seq: Option<u64>) {
        // What most commands are answered with here: their report is queued by its event.
        if frame.is_empty() {
            return;
        }
        let last_seq = self.journal.last_seq();
        // Every header acknowledges: no frame leaves before what its `ack_seq` says is durable.
        let ack_at = self.connections.get(index).map_or(0, |connection| connection.ack_journal_seq);
        // What is durable already has nothing to wait for.
        let held_to = Some(journal_seq.unwrap_or(ack_at)).filter(|seq| *seq > self.durable_seq());
        self.connections.queue(index, frame, held_to, last_seq, &mut self.gate);
    }
}
