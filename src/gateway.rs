//! One turn of the loop: the only file that calls every room, in a fixed order.
//!
//! clock → sockets → broker → timers and pending steps → watermarks → write → with nothing to do, a rehearsal. No
//! allocation, lock, log line or blocking call after start; one clock read a turn. What is done for each of them stands
//! in the files of `gateway/`; here are the order of the turn and the one door.

mod broker;
mod leaving;
mod logon;
mod rehearsal;
mod replays;
mod requests;
mod sockets;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tradecore_domain::command::{Command, Origin};
use tradecore_domain::event::Event;
use tradecore_domain::market::Market;
use tradecore_domain::{Decision, State, apply, decide};
use tradecore_journal::{Space, Watermarks, Writer};
use tradecore_protocol::codes::er_flags;
use tradecore_protocol::fields::{AccountId, Durability, OrderId, Role, SessionId, UnixNanos};
use tradecore_protocol::frame::Envelope;
use tradecore_protocol::reason::Reason;
use tradecore_protocol::session::{Now, ServerConfig};

use crate::brokers::Link;
use crate::clock::Clock;
use crate::egress::gate::{ConnectionId, Gate};
use crate::egress::replay::ReplayLink;
use crate::egress::report::{self, REPORT_BYTES_MAX, ReportPlace};
use crate::mapped::Mapped;
use crate::notices::{Notice, Notices};
use crate::outbox::{self, Failures, Outbox};
use crate::session::directory::Directory;
use crate::session::lockout::Lockouts;
use crate::session::{Connections, READ_BYTES};
use crate::stages::{Recorder, Stage};
use rehearsal::Rehearsal;

/// Record header in the journal, bytes: what an event needs beside its payload.
const RECORD_OVERHEAD: usize = 64;

/// Frames that one read of one connection can hold, at most: what the gate must have room for.
const FRAMES_PER_READ: usize = READ_BYTES / 32;

/// Reports that one decision can make for each stream, at most.
const REPORTS_PER_FRAME: usize = 4;

/// Decisions whose reports must have room before a fact is taken or a step is made: a step is the longest, with a
/// report for each order that it changes. The sockets ask for more, so that they wait first.
const DECISIONS_AHEAD: usize = FRAMES_PER_READ / REPORTS_PER_FRAME;

/// Reports of this many decisions, for the session of each and for `drop_copies` connections that get every report.
const fn reports_max(decisions: usize, drop_copies: usize) -> usize {
    decisions.saturating_mul(REPORTS_PER_FRAME).saturating_mul(drop_copies.saturating_add(1))
}

/// Places that a gate needs with so many drop copies: room for a read, twice.
#[must_use]
pub const fn gate_frames_min(drop_copies: usize) -> usize {
    reports_max(FRAMES_PER_READ, drop_copies).saturating_mul(2)
}

/// Numbers that the loop works by; `docs/config.md` explains those that are configured.
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
    /// Where the time of an order goes is measured.
    pub stages: bool,
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
    lockouts: Lockouts,
    gate: Gate,
    outbox: Outbox,
    link: Arc<Link>,
    replay: Arc<ReplayLink>,
    counters: Arc<Mapped>,
    notices: Arc<Notices>,
    failures: Failures,
    scratch: Box<[u8]>,
    nonce: fn() -> [u8; 32],
    connection_no: u64,
    queries_from: Option<(u64, usize)>,
    /// Last event that the sync thread was woken for.
    woken_seq: u64,
    /// Connections that get every report of the core.
    drop_copies: Vec<ConnectionId>,
    draining: bool,
    /// This turn: new orders may leave.
    may_trade: bool,
    rehearsal: Rehearsal,
    stages: Recorder,
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
    /// Who may not try to log on for a while.
    pub lockouts: Lockouts,
    /// Report bytes that may wait, frames.
    pub gate: Gate,
    /// Effects.
    pub outbox: Outbox,
    /// Rings to the broker's adapter.
    pub link: Arc<Link>,
    /// Rings to the replay thread.
    pub replay: Arc<ReplayLink>,
    /// What the loop counts.
    pub counters: Arc<Mapped>,
    /// What the loop leaves for the log.
    pub notices: Arc<Notices>,
    /// 32 fresh random bytes.
    pub nonce: fn() -> [u8; 32],
}

impl Gateway {
    /// A loop that has not turned yet.
    ///
    /// # Errors
    /// When the process has no file descriptor left.
    pub fn new(parts: Parts) -> io::Result<Self> {
        let decision = Decision::new();
        let drop_copies = Vec::with_capacity(parts.connections.connections_max());
        Ok(Self {
            settings: parts.settings,
            server: parts.server,
            clock: parts.clock,
            state: parts.state,
            market: parts.market,
            decision,
            journal: parts.journal,
            watermarks: parts.watermarks,
            connections: parts.connections,
            directory: parts.directory,
            lockouts: parts.lockouts,
            gate: parts.gate,
            outbox: parts.outbox,
            link: parts.link,
            replay: parts.replay,
            counters: parts.counters,
            notices: parts.notices,
            failures: VecDeque::with_capacity(64),
            scratch: vec![0; READ_BYTES].into_boxed_slice(),
            nonce: parts.nonce,
            connection_no: 0,
            queries_from: None,
            woken_seq: 0,
            drop_copies,
            draining: false,
            may_trade: false,
            rehearsal: Rehearsal::new()?,
            stages: Recorder::new(parts.settings.stages),
        })
    }

    /// True while something waits that no socket will tell of: the watermark, the broker's ring, the rest of a flood.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        let is_in_ring = !self.link.inbound.is_empty();
        !self.gate.is_empty() || !self.outbox.is_empty() || is_in_ring || self.connections.readable_count() > 0
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
        self.stages.begin();
        let mut work = self.connections.poll(wait)?;
        self.stages.polled(!wait.is_zero());
        // What came while the poll waited is later than the clock's reading.
        let now = if wait.is_zero() { now } else { self.clock.read() };
        self.may_trade = self.link.replication.may_trade(now.mono_ns);
        work = work.saturating_add(self.take_frames(now));
        work = work.saturating_add(self.take_facts(now));
        work = work.saturating_add(self.step(now));
        self.wake_syncer();
        work = work.saturating_add(self.let_leave(now));
        work = work.saturating_add(self.take_blocks());
        work = work.saturating_add(self.attend(now));
        self.end_slow_consumers(now);
        self.stages.flushing();
        let replay = &self.replay;
        // A block that cannot go home is dropped; its ring was made for all there are.
        work = work
            .saturating_add(self.connections.flush(now, &mut self.stages, &mut |block| drop(replay.free.push(block))));
        // Last, since it may cost a system call: reports have left.
        self.outbox.wake_adapter();
        self.stages.finish(self.counters.stages());
        if work == 0 {
            self.idle(now);
        }
        self.publish_progress();
        Ok(work)
    }

    /// Stops taking connections and new orders; what is under way goes on.
    pub fn drain(&mut self) {
        self.draining = true;
        self.connections.stop_accepting();
    }

    /// True when a draining loop has nothing left that a client or the broker waits for.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        // Cancels that are under way go on; windows that end later are for the next start.
        let is_idle = self.failures.is_empty() && !self.state.has_pending_step(UnixNanos(0));
        self.draining && is_idle && self.gate.is_empty() && self.outbox.is_settled() && self.connections.is_empty()
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

    /// Ends the sessions that were connected when the last life of this core ended without a goodbye.
    pub fn end_sessions_of_last_life(&mut self) {
        let now = self.clock.read();
        for session_id in self.state.connected_sessions() {
            let origin = Origin { session_id, recv_time_ns: now.utc_ns, ..Origin::default() };
            // It is never refused: it needs no more than the journal's reserve.
            let _ = self.execute(&origin, &Command::EndSession { reason: Reason::ConnectionLost }, now);
        }
    }

    /// Decides, journals, applies, and hands on what follows.
    fn execute(&mut self, origin: &Origin, command: &Command, now: Now) -> Result<(), Reason> {
        self.counters.commands.add(1);
        decide(&self.state, UnixNanos(now.utc_ns), &self.market, origin, command, &mut self.decision);
        self.stages.ended(Stage::Decide);
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
        let (space, otherwise) = space_of(&self.state, origin.session_id, command, events);
        let is_kept_out = space == Space::Normal && self.watermarks.is_backlogged();
        if is_kept_out || !self.journal.can_append(bytes, events.len(), space) {
            return Err(otherwise);
        }
        // After this point it must succeed.
        let first_seq = self.journal.last_seq().saturating_add(1);
        self.journal.begin(now.utc_ns);
        for event in events {
            let (kind, version) = event.kind();
            self.journal.append(kind, version, event.payload_len(), |payload| {
                let whole = event.archive_into(payload);
                debug_assert!(whole, "a payload is as long as declared");
            });
        }
        self.journal.commit();
        self.stages.ended(Stage::Append);
        self.counters.events.add(events.len() as u64);
        let events = self.decision.take_events();
        for (event, seq) in events.iter().zip(first_seq..) {
            apply(&mut self.state, event);
            self.stages.ended(Stage::Apply);
            self.publish(seq, event, now);
            if let Event::KillSwitchChanged(e) = event
                && e.engaged == 1
            {
                self.link.note_kill(AccountId(e.meta.account_id), e.kill_epoch);
            }
            if let Some(notice) = Notice::of(event) {
                self.notices.leave(notice);
            }
            if let Some(instruction) = outbox::instruction_of(event, &self.state) {
                self.hand_on(seq, instruction, now);
            }
            self.stages.ended(Stage::Report);
        }
        self.decision.give_back(events);
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
            connection.ack_journal_seq = seq;
        }
        if meta.report_no == 0 {
            return;
        }
        let mut place = ReportPlace {
            envelope: Envelope::default(),
            journal_seq: seq,
            // As a replay reads it: the clock may be behind the journal's last life.
            transact_time_ns: self.journal.last_ts_ns(),
            durability: self.settings.durability.raw(),
            er_flags: 0,
        };
        if meta.report_seq != 0
            && let Some(index) = self.connection_of(meta.session_id)
        {
            self.send_report(index, event, meta.report_seq, &place, now);
        }
        place.er_flags = er_flags::DROP_COPY;
        for nth in 0..self.drop_copies.len() {
            let Some(id) = self.drop_copies.get(nth).copied() else { break };
            if self.connections.find_mut(id).is_some() {
                self.send_report(id.index, event, meta.report_no, &place, now);
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
        let journal_seq = Some(place.journal_seq);
        self.queue(index, out.get(..len).unwrap_or_default(), journal_seq);
        let next = number.saturating_add(1);
        let oldest = self.oldest_report(next);
        if let Some(connection) = self.connections.get_mut(index)
            && !connection.is_closing()
        {
            connection.session.sent(now, number);
            connection.session.set_report_window(oldest, next);
        }
    }

    fn connection_of(&self, session_id: u32) -> Option<u32> {
        self.directory.get(session_id).and_then(|entry| entry.connection).map(|id| id.index)
    }

    fn publish_progress(&mut self) {
        let counters = &self.counters;
        counters.turns.add(1);
        counters.connections.set(self.connections.len() as u64);
        counters.refused_connections_max.set(self.connections.turned_away());
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

/// What of the journal's space a decision may use, and what is said when that is full: the reserve is for what takes
/// risk away and for what has happened. What can be asked for without end must not use it up: it has the first quarter.
fn space_of(state: &State, session_id: SessionId, command: &Command, events: &[Event]) -> (Space, Reason) {
    let is_endless = match (command, events) {
        (Command::PlaceOrder(_) | Command::ReplaceOrder(_), _) => return (Space::Normal, Reason::JournalFull),
        // A reject changes nothing: without room it is told all the same, as a refusal.
        (_, [Event::RequestRejected(event)]) => {
            return (Space::Normal, Reason::from_raw(event.reason).unwrap_or(Reason::JournalFull));
        }
        (Command::MassCancel(_) | Command::NoteByOperator { .. }, _) => true,
        // A logon was let in while the journal had the room that it may use.
        (Command::LogOn { .. }, _) => false,
        // Of a connection whose logon found no room.
        (Command::EndSession { .. }, _) => state.session(session_id).is_none_or(|session| session.connection_no == 0),
        (Command::SetKillSwitch { account_id, engage, .. }, _) => !engage || state.is_killed(*account_id),
        (Command::CancelOrder(_), [Event::CancelRequested(event)]) => state.is_canceling(OrderId(event.order.order_id)),
        (_, _) => false,
    };
    (if is_endless { Space::FirstQuarter } else { Space::Reserve }, Reason::JournalFull)
}

#[cfg(test)]
mod tests;
