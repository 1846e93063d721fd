//! One turn of the loop: the only file that calls every room, in a fixed order.
//!
//! clock → sockets → broker → timers and pending steps → watermarks → write. No allocation, lock, log line
//! or blocking call after start; one clock read a turn.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tradecore_domain::command::{Command, Origin};
use tradecore_domain::event::Event;
use tradecore_domain::market::Market;
use tradecore_domain::{Decision, State, apply, decide};
use tradecore_journal::{Space, Watermarks, Writer};
use tradecore_protocol::codes::er_flags;
use tradecore_protocol::fields::{AccountId, BrokerStatus, Durability, OrderId, Role, SessionId, UnixNanos};
use tradecore_protocol::frame::{Envelope, Frame, encode, next_frame};
use tradecore_protocol::messages as wire;
use tradecore_protocol::reason::Reason;
use tradecore_protocol::session::{LoggedOn, Now, REPLY_BYTES_MAX, ServerAction, ServerConfig, Step};

use crate::brokers::{Inbound, Instruction, Link};
use crate::clock::Clock;
use crate::counters::Counters;
use crate::egress::gate::Gate;
use crate::egress::replay::{Ask, Block, Question, ReplayLink, Stream};
use crate::egress::report::{self, REPORT_BYTES_MAX, ReportPlace};
use crate::ingress::{self, Request};
use crate::outbox::{self, Failures, Outbox};
use crate::queries;
use crate::session::directory::Directory;
use crate::session::{Connections, LoggedOnAs, READ_BYTES};

/// Record header in the journal, bytes: what an event needs beside its payload.
const RECORD_OVERHEAD: usize = 64;

/// Frames that one read of one connection can hold, at most: what the gate must have room for.
const FRAMES_PER_READ: usize = READ_BYTES / 32;

/// Reports that one decision can make for each stream, at most.
const REPORTS_PER_FRAME: usize = 4;

/// Numbers that the loop works by; each is a configuration key with a derivation in `docs/config.md`.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Commands from the broker in one turn.
    pub commands_per_turn_max: usize,
    /// Reports that can be replayed, per session.
    pub replay_window: u64,
    /// Sustained frames a second of a session; 0 for no bound.
    pub throttle_rate: u32,
    /// Frames above the rate.
    pub throttle_burst: u32,
    /// Throttled frames in a row after which the session is ended.
    pub throttle_strikes: u32,
    /// Events journaled but not yet durable above which new orders are refused.
    pub durability_lag_max: u64,
    /// Class that reports and new orders wait for.
    pub durability: Durability,
    /// ClOrdIDs of one client epoch, told at logon.
    pub ids_max: u32,
}

/// Everything the loop owns.
pub struct Gateway {
    settings: Settings,
    server: ServerConfig,
    clock: Clock,
    state: State,
    market: Market,
    decision: Decision,
    journal: Writer,
    watermarks: Arc<Watermarks>,
    connections: Connections,
    directory: Directory,
    gate: Gate,
    outbox: Outbox,
    link: Arc<Link>,
    replay: Arc<ReplayLink>,
    counters: Arc<Counters>,
    failures: Failures,
    held_block: Option<Block>,
    committed: Vec<(u64, Event)>,
    scratch: Box<[u8]>,
    nonce: fn() -> [u8; 32],
    connection_no: u64,
    queries_from: Option<(u64, usize)>,
    draining: bool,
}

/// What the loop is made of.
pub struct Parts {
    /// Numbers.
    pub settings: Settings,
    /// What every connection has in common.
    pub server: ServerConfig,
    /// The clock.
    pub clock: Clock,
    /// State after recovery.
    pub state: State,
    /// An empty market table.
    pub market: Market,
    /// The journal's one writer.
    pub journal: Writer,
    /// What is journaled and synced.
    pub watermarks: Arc<Watermarks>,
    /// Sockets.
    pub connections: Connections,
    /// Who may log on.
    pub directory: Directory,
    /// Report bytes that may wait, frames.
    pub gate: Gate,
    /// Effects.
    pub outbox: Outbox,
    /// Rings to the broker's adapter.
    pub link: Arc<Link>,
    /// Rings to the replay thread.
    pub replay: Arc<ReplayLink>,
    /// What the loop counts.
    pub counters: Arc<Counters>,
    /// 32 fresh random bytes.
    pub nonce: fn() -> [u8; 32],
}

impl Gateway {
    /// A loop that has not turned yet.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let decision = Decision::new();
        Self {
            settings: parts.settings,
            server: parts.server,
            clock: parts.clock,
            state: parts.state,
            market: parts.market,
            committed: Vec::with_capacity(decision.capacity()),
            decision,
            journal: parts.journal,
            watermarks: parts.watermarks,
            connections: parts.connections,
            directory: parts.directory,
            gate: parts.gate,
            outbox: parts.outbox,
            link: parts.link,
            replay: parts.replay,
            counters: parts.counters,
            failures: VecDeque::with_capacity(64),
            held_block: None,
            scratch: vec![0; READ_BYTES].into_boxed_slice(),
            nonce: parts.nonce,
            connection_no: 0,
            queries_from: None,
            draining: false,
        }
    }

    /// True while something waits that no socket will tell of: the watermark, the broker's ring, a pending step.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.gate.is_empty() || !self.outbox.is_empty() || !self.link.inbound.is_empty()
    }

    /// Where clients connect.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        self.connections.addresses().collect()
    }

    /// The state, for tools and tests.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// One turn; how much was done. `wait` is the longest time to wait for sockets when nothing is there.
    ///
    /// # Errors
    /// When the poll itself fails: the process cannot go on.
    pub fn turn(&mut self, wait: Duration) -> io::Result<usize> {
        let now = self.clock.read();
        let mut work = self.connections.poll(wait)?;
        // What came while the poll waited is later than the clock's reading.
        let now = if wait.is_zero() { now } else { self.clock.read() };
        work = work.saturating_add(self.take_frames(now));
        work = work.saturating_add(self.take_facts(now));
        work = work.saturating_add(self.step(now));
        work = work.saturating_add(self.let_leave(now));
        work = work.saturating_add(self.take_blocks(now));
        work = work.saturating_add(self.watch_connections(now));
        let replay = &self.replay;
        // A block that cannot go home is dropped; its ring was made for all there are.
        work = work.saturating_add(self.connections.flush(now, &mut |block| drop(replay.free.push(block))));
        self.publish_progress();
        Ok(work)
    }

    /// Stops taking connections and new orders; what is under way goes on.
    pub fn drain(&mut self) {
        self.draining = true;
        self.connections.stop_accepting();
    }

    /// True when a draining loop has nothing left that a client waits for.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.draining && self.gate.is_empty() && self.outbox.is_empty() && self.connections.is_empty()
    }

    /// Says goodbye to every connection.
    pub fn terminate_all(&mut self) {
        let now = self.clock.read();
        for nth in 0..self.connections.len() {
            if let Some(index) = self.connections.nth(nth) {
                self.end_connection(index, Reason::Shutdown, "the gateway stops", now);
            }
        }
    }

    /// Gives the journal back, to be sealed.
    #[must_use]
    pub fn into_journal(self) -> Writer {
        self.journal
    }

    /// Runs a command that comes from no session: configuration, start, operators.
    ///
    /// # Errors
    /// The reason, when it is refused.
    pub fn run(&mut self, command: &Command) -> Result<(), Reason> {
        let now = self.clock.read();
        let origin = Origin { recv_time_ns: now.utc_ns, ..Origin::default() };
        self.execute(&origin, command, now)
    }

    // ---- sockets -----------------------------------------------------------------------------------------

    fn take_frames(&mut self, now: Now) -> usize {
        let mut work: usize = 0;
        while let Some(_index) = self.connections.accept(&self.server, self.nonce, now) {
            self.counters.accepted.add(1);
            work = work.saturating_add(1);
        }
        let room_needed = FRAMES_PER_READ.saturating_mul(REPORTS_PER_FRAME);
        for nth in 0..self.connections.len() {
            // Named behaviour of a full gate: clients wait in their sockets.
            if self.gate.room() < room_needed || !self.outbox.has_room_for_cancels(FRAMES_PER_READ) {
                break;
            }
            if let Some(index) = self.connections.nth(nth)
                && self.serve(index, now)
            {
                work = work.saturating_add(1);
            }
        }
        work
    }

    fn serve(&mut self, index: u32, now: Now) -> bool {
        let mut scratch = core::mem::take(&mut self.scratch);
        let read = self.connections.read(index, &mut scratch);
        if let Some((filled, ended)) = read {
            let mut rest = scratch.get(..filled).unwrap_or_default();
            loop {
                if self.connections.get(index).is_none_or(crate::session::Connection::is_closing) {
                    rest = &[];
                }
                match next_frame(rest) {
                    Ok(Some(frame)) => {
                        rest = rest.get(frame.bytes.len()..).unwrap_or_default();
                        self.handle_frame(index, &frame, now);
                    }
                    Ok(None) if self.connections.keep(index, rest) => break,
                    Ok(None) => {
                        self.end_connection(index, Reason::FrameSize, "a client frame has at most 1024 bytes", now);
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
        read.is_some()
    }

    fn handle_frame(&mut self, index: u32, frame: &Frame<'_>, now: Now) {
        let mut reply = [0; REPLY_BYTES_MAX];
        let Some(connection) = self.connections.get_mut(index) else { return };
        let step = connection.session.handle_frame(now, frame, &mut reply);
        self.obey(index, Some(frame), step, &reply, now);
    }

    /// Does what the session rules say.
    fn obey(&mut self, index: u32, frame: Option<&Frame<'_>>, step: Step<ServerAction>, reply: &[u8], now: Now) {
        let written = reply.get(..step.written).unwrap_or_default();
        let has_room = self.queue(index, written, None, now);
        match step.action {
            ServerAction::None | ServerAction::Duplicate => {}
            ServerAction::Refused(_) => self.counters.refusals.add(1),
            ServerAction::CheckLogon(query) => self.check_logon(index, &query, now),
            ServerAction::LoggedOn(logged_on) => self.logged_on(index, &logged_on, now),
            ServerAction::Command(_) | ServerAction::Query(_) => {
                if let Some(frame) = frame {
                    self.request(index, frame, now);
                }
            }
            ServerAction::Resend { from_seq, count } => {
                let to = from_seq.saturating_add(u64::from(count)).saturating_sub(1);
                self.ask_replay(index, from_seq, to, now);
            }
            ServerAction::Close { reason, .. } => self.lose(index, reason, now),
        }
        if !has_room {
            self.slow_consumer(index, now);
        }
    }

    fn check_logon(&mut self, index: u32, query: &tradecore_protocol::session::LogonQuery, now: Now) {
        use tradecore_protocol::session::{GatewayFacts, LogonAnswer};
        let mut reply = [0; REPLY_BYTES_MAX];
        let facts = self.session_facts(query.session_id, query.role);
        let gateway = GatewayFacts {
            trading_state: self.state.trading_state(),
            kill_state: self.state.kill_state(),
            durability: self.settings.durability,
            broker_status: self.state.broker_status(),
            throttle_rate: self.settings.throttle_rate,
            throttle_burst: self.settings.throttle_burst,
            core_epoch: self.state.epoch(),
            ids_max: self.settings.ids_max,
        };
        let answer = match (self.directory.get(query.session_id), &facts) {
            _ if self.draining => LogonAnswer::Refused { reason: Reason::Shutdown, retry_after_ms: 1000 },
            (Some(entry), Some(session)) if entry.key_id == query.key_id => {
                LogonAnswer::Known { key: &entry.key, session, gateway: &gateway }
            }
            (Some(_) | None, Some(_) | None) => LogonAnswer::Unknown,
        };
        let Some(connection) = self.connections.get_mut(index) else { return };
        let step = connection.session.answer_logon(now, answer, &mut reply);
        if !matches!(step.action, ServerAction::LoggedOn(_)) {
            self.counters.logons_refused.add(1);
        }
        self.obey(index, None, step, &reply, now);
    }

    fn session_facts(&self, session_id: u32, role: Role) -> Option<tradecore_protocol::session::SessionFacts> {
        let entry = self.directory.get(session_id)?;
        let session = self.state.session(SessionId(session_id))?;
        let next_report_seq = match role {
            Role::DropCopy => self.state.next_report_no(),
            Role::Trade | Role::Admin => session.next_report_seq,
            Role::MarketData => 1,
        };
        Some(tradecore_protocol::session::SessionFacts {
            session_epoch: session.session_epoch,
            last_client_seq: session.last_client_seq,
            next_report_seq,
            oldest_report_seq: next_report_seq.saturating_sub(self.settings.replay_window).max(1),
            roles: entry.roles,
            is_connected: entry.connection.is_some(),
            served_at: tradecore_protocol::Text::EMPTY,
        })
    }

    fn logged_on(&mut self, index: u32, logged_on: &LoggedOn, now: Now) {
        let session_id = logged_on.session_id;
        let old = self.directory.get(session_id).and_then(|entry| entry.connection);
        if let Some(old) = old
            && self.connections.find_mut(old).is_some()
        {
            self.end_connection(old.index, Reason::TakenOver, "another connection has the session", now);
        }
        self.counters.logons.add(1);
        let settings = self.settings;
        let Some(connection) = self.connections.get_mut(index) else { return };
        connection.logged_on = Some(LoggedOnAs { session_id, role: logged_on.role, cod_mode: logged_on.cod_mode });
        connection.throttle =
            crate::session::throttle::Throttle::new(settings.throttle_rate, settings.throttle_burst, now.mono_ns);
        connection.cancel_throttle = connection.throttle;
        let id = connection.id;
        if let Some(entry) = self.directory.get_mut(session_id) {
            entry.connection = Some(id);
        }
        self.connection_no = self.connection_no.saturating_add(1);
        let command = Command::LogOn {
            connection_no: self.connection_no,
            cod_mode: logged_on.cod_mode,
            cod_window_ms: logged_on.cod_window_ms,
        };
        let origin = Origin { session_id: SessionId(session_id), client_seq: 0, recv_time_ns: now.utc_ns };
        // A logon is never refused by the domain; without room in the journal the old state stands.
        let _ = self.execute(&origin, &command, now);
        let to = logged_on.next_report_seq.saturating_sub(1);
        self.ask_replay(index, logged_on.replay_from_seq, to, now);
    }

    /// Asks for old reports `from..=to`; with none to send the replay is complete at once.
    fn ask_replay(&mut self, index: u32, from: u64, to: u64, now: Now) {
        let journal_seq = self.journal.last_seq();
        let Some(connection) = self.connections.get_mut(index) else { return };
        let Some(logged_on) = connection.logged_on else { return };
        connection.replay_next = to.saturating_add(1);
        if from > to || logged_on.role == Role::MarketData {
            self.replay_done(index, now);
            return;
        }
        let stream = match logged_on.role {
            Role::DropCopy => Stream::DropCopy,
            Role::Trade | Role::Admin | Role::MarketData => Stream::Session(logged_on.session_id),
        };
        let question = Question::Reports { from, to };
        let ask = Ask { connection: connection.id, stream, question, journal_seq, send_ts_ns: now.utc_ns };
        if self.replay.asks.push(ask).is_err() {
            self.end_connection(index, Reason::ResendInProgress, "too many replays at once; reconnect", now);
        }
    }

    /// All that was asked for has been queued: goes on with what came meanwhile, or goes live.
    fn replay_done(&mut self, index: u32, now: Now) {
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
        let open_orders = self.state.open_orders_of_session(SessionId(logged_on.session_id));
        let Some(connection) = self.connections.get_mut(index) else { return };
        connection.replay_next = 0;
        connection
            .session
            .set_report_window(to.saturating_sub(self.settings.replay_window).max(1), to.saturating_add(1));
        if is_live {
            connection.session.resend_complete();
            return;
        }
        let written = connection.session.replay_complete(now, open_orders, &mut reply).unwrap_or(0);
        if !self.queue(index, reply.get(..written).unwrap_or_default(), None, now) {
            self.slow_consumer(index, now);
        }
    }

    fn take_blocks(&mut self, now: Now) -> usize {
        let mut work: usize = 0;
        // Blocks of one answer come in order: while a connection has not taken the last one, the next waits,
        // and with it those of others.
        while let Some(block) = self.held_block.take().or_else(|| self.replay.blocks.pop()) {
            match self.connections.find_mut(block.connection) {
                Some(connection) if connection.block.is_none() && !connection.is_closing() => {
                    connection.block = Some(block);
                    work = work.saturating_add(1);
                }
                Some(connection) if !connection.is_closing() => {
                    self.held_block = Some(block);
                    break;
                }
                Some(_) | None => drop(self.replay.free.push(block)),
            }
        }
        for nth in 0..self.connections.len() {
            let Some(index) = self.connections.nth(nth) else { break };
            let Some(len) = self.connections.get(index).and_then(|c| c.block.as_ref()).map(|block| block.len) else {
                continue;
            };
            if self.connections.has_room(index, len) {
                self.send_block(index, now);
                work = work.saturating_add(1);
            }
        }
        work
    }

    fn send_block(&mut self, index: u32, now: Now) {
        let Some(block) = self.connections.get_mut(index).and_then(|connection| connection.block.take()) else {
            return;
        };
        let Block { len, last, last_number, .. } = block;
        let bytes = block.bytes.get(..len).unwrap_or_default();
        let last_seq = self.journal.last_seq();
        let queued = self.connections.queue(index, bytes, None, last_seq, &mut self.gate);
        if let Some(connection) = self.connections.get_mut(index)
            && last_number != 0
        {
            connection.session.sent(now, last_number);
        }
        drop(self.replay.free.push(block));
        if !queued {
            self.slow_consumer(index, now);
        } else if last && self.connections.get(index).is_some_and(|c| c.replay_next != 0) {
            self.replay_done(index, now);
        }
    }

    fn watch_connections(&mut self, now: Now) -> usize {
        let mut work: usize = 0;
        let mut reply = [0; REPLY_BYTES_MAX];
        for nth in 0..self.connections.len() {
            let Some(index) = self.connections.nth(nth) else { break };
            let Some(connection) = self.connections.get_mut(index) else { continue };
            if connection.is_closing() {
                continue;
            }
            if connection.session.poll_timeout().is_some_and(|deadline_ns| deadline_ns <= now.mono_ns) {
                let step = connection.session.handle_timeout(now, &mut reply);
                self.obey(index, None, step, &reply, now);
                work = work.saturating_add(1);
            }
            work = work.saturating_add(queries::go_on(
                &mut self.connections,
                index,
                &self.state,
                &mut self.gate,
                &queries::Place { now, journal_seq: self.journal.last_seq(), durability: self.settings.durability },
            ));
            work = work.saturating_add(self.send_quotes(index, now));
        }
        work
    }

    /// Sends the newest quotes of a connection whose earlier bytes are all gone: a slow reader misses those between.
    fn send_quotes(&mut self, index: u32, now: Now) -> usize {
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
                let _ = self.queue(index, frame.get(..len).unwrap_or_default(), None, now);
                work = work.saturating_add(1);
            }
        }
        work
    }

    /// The session rules or the peer have ended the connection.
    fn lose(&mut self, index: u32, reason: Reason, now: Now) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        if connection.is_closing() {
            return;
        }
        let (id, logged_on) = (connection.id, connection.logged_on.take());
        self.connections.close(index, reason, now);
        let Some(logged_on) = logged_on else { return };
        if let Some(entry) = self.directory.get_mut(logged_on.session_id)
            && entry.connection == Some(id)
        {
            entry.connection = None;
        }
        let origin = Origin { session_id: SessionId(logged_on.session_id), client_seq: 0, recv_time_ns: now.utc_ns };
        // Without room in the journal the session counts as connected: its orders stay, as after a crash.
        let _ = self.execute(&origin, &Command::EndSession { reason }, now);
    }

    /// We end the connection.
    fn end_connection(&mut self, index: u32, reason: Reason, text: &str, now: Now) {
        let mut reply = [0; REPLY_BYTES_MAX];
        let Some(connection) = self.connections.get_mut(index) else { return };
        let step = connection.session.terminate(now, reason, text, &mut reply);
        let written = reply.get(..step.written).unwrap_or_default();
        // A slow consumer may have no room for the goodbye; it is closed all the same.
        let _ = self.queue(index, written, None, now);
        self.lose(index, reason, now);
    }

    fn slow_consumer(&mut self, index: u32, now: Now) {
        if self.connections.get(index).is_some_and(|connection| !connection.is_closing()) {
            self.counters.slow_consumers.add(1);
            self.end_connection(index, Reason::SlowConsumer, "read faster; reports are replayed at logon", now);
        }
    }

    fn queue(&mut self, index: u32, frame: &[u8], journal_seq: Option<u64>, _now: Now) -> bool {
        let last_seq = self.journal.last_seq();
        self.connections.queue(index, frame, journal_seq, last_seq, &mut self.gate)
    }

    // ---- requests ----------------------------------------------------------------------------------------

    fn request(&mut self, index: u32, frame: &Frame<'_>, now: Now) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        let Some(logged_on) = connection.logged_on else { return };
        let template_id = frame.header.template_id;
        let adds_risk = matches!(template_id, wire::NewOrder::TEMPLATE_ID | wire::ReplaceOrder::TEMPLATE_ID);
        let bucket = if adds_risk { &mut connection.throttle } else { &mut connection.cancel_throttle };
        if let Err(wait_ns) = bucket.take(now.mono_ns) {
            connection.strikes = connection.strikes.saturating_add(1);
            let too_many = connection.strikes > self.settings.throttle_strikes;
            self.refuse(index, frame, Reason::RateLimit, wait_ns, now);
            if too_many {
                self.end_connection(index, Reason::RateLimit, "the rate was told at logon", now);
            }
            return;
        }
        connection.strikes = 0;
        let request = ingress::request_of(frame);
        match request {
            Ok(Request::Command(command)) => {
                if let Some(reason) = self.refusal_of(&command, logged_on) {
                    self.refuse(index, frame, reason, 0, now);
                    return;
                }
                let origin = Origin {
                    session_id: SessionId(logged_on.session_id),
                    client_seq: frame.header.seq,
                    recv_time_ns: now.utc_ns,
                };
                match self.execute(&origin, &command, now) {
                    Ok(()) => self.answer_duplicate(index, frame, now),
                    Err(reason) => {
                        let wait_ns = self.decision.retry_after_ns();
                        self.refuse(index, frame, reason, wait_ns, now);
                    }
                }
            }
            Ok(Request::Query) => self.query(index, frame, logged_on, now),
            Ok(Request::Refused(reason)) => self.refuse(index, frame, reason, 0, now),
            Err(fault) => self.refuse(index, frame, fault.reason, 0, now),
        }
    }

    /// Why the gateway itself refuses, before any decision.
    fn refusal_of(&self, command: &Command, logged_on: LoggedOnAs) -> Option<Reason> {
        let may_use = |account: AccountId| {
            account == AccountId::NONE
                || self.directory.get(logged_on.session_id).is_some_and(|entry| entry.may_use(account.0))
        };
        let lag = self.journal.last_seq().saturating_sub(self.durable_seq());
        let (account_id, adds_risk) = match command {
            Command::PlaceOrder(order) => (order.account_id, true),
            Command::ReplaceOrder(_) => (AccountId::NONE, true),
            Command::MassCancel(cancel) => (cancel.account_id, false),
            _ => (AccountId::NONE, false),
        };
        if !may_use(account_id) {
            Some(Reason::AccountForbidden)
        } else if !adds_risk {
            None
        } else if self.draining {
            Some(Reason::Shutdown)
        } else if !self.outbox.has_room(1) {
            Some(Reason::OutboxFull)
        } else if lag > self.settings.durability_lag_max {
            Some(Reason::DurabilityLag)
        } else {
            None
        }
    }

    fn refuse(&mut self, index: u32, frame: &Frame<'_>, reason: Reason, retry_after_ns: u64, now: Now) {
        self.counters.refusals.add(1);
        let mut out = [0; REPORT_BYTES_MAX];
        let header = &frame.header;
        let mut block = report::refusal(header.template_id, header.seq, ingress::ids_of(frame), reason, retry_after_ns);
        block.recv_time_ns.set(now.utc_ns);
        let Some(connection) = self.connections.get(index) else { return };
        let len = encode(&mut out, connection.session.envelope(now, 0, 0), &block).unwrap_or(0);
        if !self.queue(index, out.get(..len).unwrap_or_default(), None, now) {
            self.slow_consumer(index, now);
        }
    }

    /// A repeated request is answered with what is known, flagged.
    fn answer_duplicate(&mut self, index: u32, frame: &Frame<'_>, now: Now) {
        let Some(duplicate) = self.decision.duplicate() else { return };
        self.counters.duplicates.add(1);
        let mut out = [0; REPORT_BYTES_MAX];
        let place = ReportPlace {
            envelope: Envelope::default(),
            journal_seq: self.journal.last_seq(),
            transact_time_ns: now.utc_ns,
            durability: self.settings.durability.raw(),
            er_flags: er_flags::DUPLICATE_REQUEST,
        };
        let Some(connection) = self.connections.get(index) else { return };
        let envelope = connection.session.envelope(now, 0, 0);
        let len = if duplicate.reject_reason == Reason::None {
            encode(&mut out, envelope, &report::status_report(&duplicate.order, &place))
        } else {
            let header = &frame.header;
            let ids = ingress::ids_of(frame);
            let mut block = report::refusal(header.template_id, header.seq, ids, duplicate.reject_reason, 0);
            block.er_flags = er_flags::DUPLICATE_REQUEST;
            encode(&mut out, envelope, &block)
        };
        // What is known may not be durable yet.
        let journal_seq = Some(self.journal.last_seq());
        if !self.queue(index, out.get(..len.unwrap_or(0)).unwrap_or_default(), journal_seq, now) {
            self.slow_consumer(index, now);
        }
    }

    fn query(&mut self, index: u32, frame: &Frame<'_>, logged_on: LoggedOnAs, now: Now) {
        let place = queries::Place { now, journal_seq: self.journal.last_seq(), durability: self.settings.durability };
        let asked = queries::answer(
            queries::Sources { state: &self.state, market: &self.market, directory: &self.directory },
            &mut self.connections,
            &mut self.gate,
            index,
            frame,
            logged_on,
            &place,
        );
        match asked {
            queries::Answer::Done => {}
            queries::Answer::NoRoom => self.slow_consumer(index, now),
            queries::Answer::Refused(reason) => self.refuse(index, frame, reason, 0, now),
            queries::Answer::Fills(request) => {
                let Some(connection) = self.connections.get(index) else { return };
                let stream = match logged_on.role {
                    Role::Trade => Stream::Session(logged_on.session_id),
                    Role::DropCopy | Role::Admin | Role::MarketData => Stream::DropCopy,
                };
                let ask = Ask {
                    connection: connection.id,
                    stream,
                    question: Question::Fills(request),
                    journal_seq: place.journal_seq,
                    send_ts_ns: now.utc_ns,
                };
                if self.replay.asks.push(ask).is_err() {
                    self.refuse(index, frame, Reason::ResendInProgress, 1_000_000_000, now);
                }
            }
        }
    }

    // ---- the one door --------------------------------------------------------------------------------------

    /// Decides, journals, applies, and hands on what follows.
    fn execute(&mut self, origin: &Origin, command: &Command, now: Now) -> Result<(), Reason> {
        self.counters.commands.add(1);
        decide(&self.state, UnixNanos(now.utc_ns), &self.market, origin, command, &mut self.decision);
        if let Some(reason) = self.decision.refusal() {
            return Err(reason);
        }
        let events = self.decision.events();
        if events.is_empty() {
            return Ok(());
        }
        let bytes = events
            .iter()
            .fold(0_usize, |sum, event| sum.saturating_add(event.payload_len()).saturating_add(RECORD_OVERHEAD));
        let space = if adds_risk(command) { Space::Normal } else { Space::Reserve };
        if !self.journal.can_append(bytes, events.len(), space) {
            return Err(Reason::JournalFull);
        }
        // After this point it must succeed.
        self.committed.clear();
        self.journal.begin(now.utc_ns);
        for event in events {
            let (kind, version) = event.kind();
            let seq = self.journal.append(kind, version, event.payload_len(), |payload| {
                let whole = event.archive_into(payload);
                debug_assert!(whole, "a payload is as long as declared");
            });
            self.committed.push((seq, *event));
        }
        self.journal.commit();
        self.counters.events.add(self.committed.len() as u64);
        let committed = core::mem::take(&mut self.committed);
        for (seq, event) in &committed {
            apply(&mut self.state, event);
            self.publish(*seq, event, now);
            if let Some(instruction) = outbox::instruction_of(event, &self.state) {
                let valid_until_ns = outbox::valid_until_ns(event);
                self.outbox.offer(*seq, valid_until_ns, instruction);
            }
        }
        self.committed = committed;
        self.link.kill_epoch.store(self.state.kill_epoch(), Ordering::Release);
        Ok(())
    }

    /// Queues the report of an event for whom it concerns.
    fn publish(&mut self, seq: u64, event: &Event, now: Now) {
        let meta = *event.meta();
        if meta.client_seq != 0
            && let Some(connection) = self.connection_of(meta.session_id)
            && let Some(connection) = self.connections.get_mut(connection)
        {
            connection.session.set_ack(meta.client_seq);
        }
        if meta.report_no == 0 {
            return;
        }
        let mut place = ReportPlace {
            envelope: Envelope::default(),
            journal_seq: seq,
            transact_time_ns: now.utc_ns,
            durability: self.settings.durability.raw(),
            er_flags: 0,
        };
        if meta.report_seq != 0
            && let Some(index) = self.connection_of(meta.session_id)
        {
            self.send_report(index, event, meta.report_seq, &place, now);
        }
        place.er_flags = er_flags::DROP_COPY;
        for nth in 0..self.connections.len() {
            let Some(index) = self.connections.nth(nth) else { break };
            let role = self.connections.get(index).and_then(|connection| connection.logged_on).map(|l| l.role);
            if role == Some(Role::DropCopy) {
                self.send_report(index, event, meta.report_no, &place, now);
            }
        }
    }

    fn send_report(&mut self, index: u32, event: &Event, number: u64, place: &ReportPlace, now: Now) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        let is_trade = place.er_flags & er_flags::DROP_COPY == 0;
        let speaks = connection.logged_on.is_some_and(|l| (l.role == Role::DropCopy) != is_trade);
        // What comes during a replay is read from the journal when its turn comes.
        if !speaks || connection.is_closing() || connection.session.holds_live_reports() {
            return;
        }
        let Some(report) = report::of(event, place) else { return };
        let mut out = [0; REPORT_BYTES_MAX];
        let len = report.encode(&mut out, connection.session.envelope(now, number, 0)).unwrap_or(0);
        connection.session.sent(now, number);
        let oldest = number.saturating_sub(self.settings.replay_window).max(1);
        connection.session.set_report_window(oldest, number.saturating_add(1));
        let journal_seq = Some(place.journal_seq);
        if !self.queue(index, out.get(..len).unwrap_or_default(), journal_seq, now) {
            self.slow_consumer(index, now);
        }
    }

    fn connection_of(&self, session_id: u32) -> Option<u32> {
        self.directory.get(session_id).and_then(|entry| entry.connection).map(|id| id.index)
    }

    // ---- broker, timers, watermarks --------------------------------------------------------------------------

    fn take_facts(&mut self, now: Now) -> usize {
        let mut work: usize = 0;
        while let Some((instrument_id, mut quote)) = self.link.quotes.pop() {
            quote.time_ns = now.utc_ns;
            self.market.set(instrument_id, quote);
            self.counters.quotes.add(1);
            work = work.saturating_add(1);
            for nth in 0..self.connections.len() {
                if let Some(index) = self.connections.nth(nth)
                    && let Some(connection) = self.connections.get_mut(index)
                    && connection.subscribed.has(instrument_id.0)
                {
                    connection.stale_quotes.set(instrument_id.0, true);
                }
            }
            if work >= self.settings.commands_per_turn_max {
                break;
            }
        }
        let origin = Origin { recv_time_ns: now.utc_ns, ..Origin::default() };
        let room = FRAMES_PER_READ;
        for _ in 0..self.settings.commands_per_turn_max {
            // A fact is taken only when all that follows from it has room: it waits in its ring otherwise.
            if self.gate.room() < room || !self.journal.can_append(FACT_BYTES, FACT_RECORDS, Space::Reserve) {
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

    fn step(&mut self, now: Now) -> usize {
        let origin = Origin { recv_time_ns: now.utc_ns, ..Origin::default() };
        let mut work: usize = 0;
        while work < STEPS_PER_TURN
            && self.state.has_pending_step(UnixNanos(now.utc_ns))
            && self.gate.room() >= FRAMES_PER_READ
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
    fn ask_broker(&mut self) -> usize {
        let Some((connection_no, position)) = self.queries_from else { return 0 };
        if self.state.has_doubts_to_note() {
            return 0;
        }
        let mut position = position;
        let mut work: usize = 0;
        while self.outbox.has_room_for_cancels(2) && work < STEPS_PER_TURN {
            work = work.saturating_add(1);
            match self.state.next_in_doubt(&mut position) {
                Some(order_id) => self.outbox.offer(0, 0, Instruction::Query { order_id }),
                None => {
                    self.outbox.offer(0, 0, Instruction::EndOfQueries { connection_no });
                    self.queries_from = None;
                    return work;
                }
            }
        }
        self.queries_from = Some((connection_no, position));
        work
    }

    fn durable_seq(&self) -> u64 {
        match self.settings.durability {
            Durability::Journaled => self.journal.last_seq(),
            Durability::Synced | Durability::Replicated => self.watermarks.synced(),
        }
    }

    fn let_leave(&mut self, now: Now) -> usize {
        let durable_seq = self.durable_seq();
        let mut work: usize = 0;
        while let Some((connection, bytes)) = self.gate.release(durable_seq) {
            self.connections.release(connection, bytes);
            work = work.saturating_add(1);
        }
        let state = &self.state;
        let is_killed = |order_id: OrderId| state.is_order_killed(order_id);
        work = work.saturating_add(self.outbox.release(now.utc_ns, durable_seq, is_killed, &mut self.failures));
        let origin = Origin { recv_time_ns: now.utc_ns, ..Origin::default() };
        while let Some(command) = self.failures.front().copied() {
            if self.execute(&origin, &command, now).is_err() {
                break;
            }
            self.failures.pop_front();
            work = work.saturating_add(1);
        }
        work
    }

    fn publish_progress(&mut self) {
        let counters = &self.counters;
        counters.turns.add(1);
        counters.connections.set(self.connections.len() as u64);
        counters.open_orders.set(self.state.open_orders_count() as u64);
        counters.outbox_waiting.set(self.outbox.len() as u64);
        counters.broker_status.set(u64::from(self.state.broker_status().raw()));
        counters.journal_seq.set(self.journal.last_seq());
    }
}

/// Steps of pending work in one turn.
const STEPS_PER_TURN: usize = 16;

/// What one fact can make of records and bytes, at most.
const FACT_RECORDS: usize = 4;
const FACT_BYTES: usize = FACT_RECORDS * (tradecore_domain::event::EVENT_BYTES_MAX + RECORD_OVERHEAD);

/// True for commands that a full disk refuses; all others use the reserve.
const fn adds_risk(command: &Command) -> bool {
    matches!(command, Command::PlaceOrder(_) | Command::ReplaceOrder(_))
}
