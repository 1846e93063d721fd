//! The server's end of a connection.
//!
//! Owns the phases, what is allowed in which, the numbering of client frames, and what is answered.
//! Everything that a peer does wrong ends in a documented answer: a framing fault ends the
//! connection, a fault of one message refuses that message.

mod inbound;

use inbound::Place;

use super::liveness::{Due, Liveness};
use super::logon::{self, LoggedOn, LogonAnswer, LogonFields, LogonQuery};
use super::rules::Phase;
use super::{Now, Step, cod_action};
use crate::codes::frame_flags;
use crate::fields::{CodMode, Environment};
use crate::frame::{Envelope, Frame, FrameError, Header, NoRoom, ShapeError, encode};
use crate::layout::wire::{U16, U32, U64};
use crate::layout::{Message, MessageInfo, Text};
use crate::messages::{
    ClientHello, Heartbeat, Logon, LogonReject, ReplayComplete, ServerChallenge, SessionReject, Terminate, TestRequest,
    roles,
};
use crate::reason::Reason;
use crate::transcript::{Greeting, MacKey};

/// What every connection of a gateway has in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Name of the gateway, told in the challenge.
    pub gateway_id: Text<16>,
    /// Changes with every start, told in the challenge.
    pub instance_id: u64,
    /// Whose money.
    pub environment: Environment,
    /// The core that is served.
    pub core: u16,
    /// Most reports that one resend request may ask for.
    pub resend_count_max: u16,
    /// Time from connection to ack, ns.
    pub logon_timeout_ns: u64,
    /// Shortest heartbeat interval, ms; at least 1.
    pub heartbeat_min_ms: u32,
    /// Longest heartbeat interval, ms.
    pub heartbeat_max_ms: u32,
}

/// What the caller must do after a verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerAction {
    /// Nothing.
    None,
    /// Look up key and session, then call `answer_logon`.
    CheckLogon(LogonQuery),
    /// The session is logged on: replay.
    LoggedOn(LoggedOn),
    /// A sequenced request, in order: decide on it. Its number counts as processed.
    Command(&'static MessageInfo),
    /// An unsequenced request: answer it.
    Query(&'static MessageInfo),
    /// Send these reports again, flagged `REPLAY`, hold live ones back, then call `resend_complete`.
    Resend {
        /// The first.
        from_seq: u64,
        /// How many.
        count: u32,
    },
    /// A repetition of what was processed; dropped.
    Duplicate,
    /// A frame was refused and answered. If it was sequenced, its number counts as processed.
    Refused(Reason),
    /// Send what was written, then close.
    Close {
        /// Why.
        reason: Reason,
        /// True if the peer said so.
        by_peer: bool,
    },
}

/// What a connection has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerCounts {
    /// Complete frames from the client.
    pub frames: u64,
    /// Repetitions that were dropped.
    pub duplicates: u64,
    /// Frames that were refused by the session rules.
    pub refused: u64,
}

/// The server's end of one connection. Small, and without a pointer: one a connection, sized at start.
#[derive(Clone, Debug)]
pub struct ServerSession {
    config: ServerConfig,
    phase: Phase,
    logon_deadline_ns: u64,
    liveness: Liveness,
    test_id: u64,
    role_bit: u8,
    cod_mode: CodMode,
    cod_window_ms: u32,
    expected_seq: u64,
    ack_seq: u64,
    peer_ack_seq: u64,
    next_seq: u64,
    next_report_seq: u64,
    oldest_report_seq: u64,
    replay_from_seq: u64,
    is_resending: bool,
    counts: ServerCounts,
    nonce: [u8; 32],
    key_id: Text<16>,
    hello: [u8; ClientHello::FRAME_BYTES],
    challenge: [u8; ServerChallenge::FRAME_BYTES],
    logon: Logon,
    fields: Option<LogonFields>,
}

impl ServerSession {
    /// A connection that was accepted now; `nonce` is 32 fresh random bytes.
    #[must_use]
    pub fn new(config: &ServerConfig, nonce: [u8; 32], now: Now) -> Self {
        Self {
            config: *config,
            phase: Phase::AwaitHello,
            logon_deadline_ns: now.mono_ns.saturating_add(config.logon_timeout_ns),
            liveness: Liveness::new(config.heartbeat_max_ms, now.mono_ns),
            test_id: 0,
            role_bit: 0,
            cod_mode: CodMode::None,
            cod_window_ms: 0,
            expected_seq: 1,
            ack_seq: 0,
            peer_ack_seq: 0,
            next_seq: 1,
            next_report_seq: 1,
            oldest_report_seq: 1,
            replay_from_seq: 1,
            is_resending: false,
            counts: ServerCounts::default(),
            nonce,
            key_id: Text::EMPTY,
            hello: [0; ClientHello::FRAME_BYTES],
            challenge: [0; ServerChallenge::FRAME_BYTES],
            logon: Logon::default(),
            fields: None,
        }
    }

    /// Takes a frame in.
    ///
    /// `out` should have `REPLY_BYTES_MAX` bytes of room; if an answer does not fit, the action is a
    /// close with `SlowConsumer`.
    pub fn handle_frame(&mut self, now: Now, frame: &Frame<'_>, out: &mut [u8]) -> Step<ServerAction> {
        let header = &frame.header;
        self.counts.frames = self.counts.frames.saturating_add(1);
        self.liveness.heard(now.mono_ns);
        if self.phase == Phase::Closed {
            return Step { written: 0, action: ServerAction::None };
        }
        if header.flags & !frame_flags::POSS_RESEND != 0 {
            return self.end(now, out, Reason::NonzeroReserved, "flags: not for this direction");
        }
        self.peer_ack_seq = self.peer_ack_seq.max(header.ack_seq.min(self.next_report_seq.saturating_sub(1)));
        let shape = frame.check();
        let info = match shape {
            Ok(info) => Some(info),
            Err(_) => crate::messages::lookup(header.template_id),
        };
        if !self.is_logged_on() {
            return match shape {
                Ok(info) => self.before_logon(now, info, frame, out),
                Err(fault) => self.end(now, out, fault.reason, "malformed message"),
            };
        }
        match self.place(header, info) {
            Place::Broken => {
                return self.end(now, out, Reason::SeqError, "seq: not the expected number");
            }
            Place::Duplicate => {
                self.counts.duplicates = self.counts.duplicates.saturating_add(1);
                return Step { written: 0, action: ServerAction::Duplicate };
            }
            Place::Unsequenced | Place::InOrder => {}
        }
        match shape {
            Ok(info) => self.after_logon(now, info, frame, out),
            Err(fault) => self.refuse(now, header, fault, "malformed message", out),
        }
    }

    /// Takes the end of the stream of frames in: what follows cannot be read.
    pub fn handle_frame_error(&mut self, now: Now, fault: FrameError, out: &mut [u8]) -> Step<ServerAction> {
        let text = match fault.reason {
            Reason::FrameSize => "lengths: multiples of 8, frames 32 to 1024 bytes",
            _ => "malformed frame header",
        };
        self.end(now, out, fault.reason, text)
    }

    /// True when the logon that waits for its answer was signed with this key.
    #[must_use]
    pub fn is_proven_by(&self, key: &MacKey) -> bool {
        let greeting = Greeting { hello: &self.hello, challenge: &self.challenge };
        self.phase == Phase::Checking && greeting.verify_logon(key, &self.logon)
    }

    /// Takes the caller's answer to `CheckLogon` in.
    pub fn answer_logon(&mut self, now: Now, answer: LogonAnswer<'_>, out: &mut [u8]) -> Step<ServerAction> {
        let (Phase::Checking, Some(fields)) = (self.phase, self.fields) else {
            return Step { written: 0, action: ServerAction::None };
        };
        let greeting = Greeting { hello: &self.hello, challenge: &self.challenge };
        let (key, session, gateway) = match answer {
            LogonAnswer::Unknown => return self.end(now, out, Reason::AuthFailed, ""),
            LogonAnswer::Refused { reason, retry_after_ms } => {
                let text = match reason {
                    Reason::LoginRate => "too many failed logons from this host with this key",
                    Reason::Shutdown => "the gateway stops",
                    _ => "",
                };
                let reject = logon::blind_reject((reason, text), retry_after_ms);
                return self.reject(now, &reject, reason, out);
            }
            LogonAnswer::Known { key, session, gateway } => (key, session, gateway),
        };
        if !greeting.verify_logon(key, &self.logon) {
            return self.end(now, out, Reason::AuthFailed, "");
        }
        let logged_on = match logon::decide(&self.logon, &fields, &self.config, session) {
            Ok(logged_on) => logged_on,
            Err(refusal) => {
                let mut reject = logon::informed_reject(refusal, session);
                greeting.sign_reject(key, &self.logon, &mut reject);
                return self.reject(now, &reject, refusal.0, out);
            }
        };
        // After this point it must succeed, but for room.
        let mut ack = logon::ack_of(&self.logon, &logged_on, &self.config, session, gateway, now.utc_ns);
        greeting.sign_ack(key, &self.logon, &mut ack);
        self.phase = Phase::Replaying;
        self.liveness = Liveness::new(logged_on.heartbeat_ms, now.mono_ns);
        self.role_bit = roles::only(logged_on.role);
        self.cod_mode = logged_on.cod_mode;
        self.cod_window_ms = logged_on.cod_window_ms;
        self.expected_seq = logged_on.expected_client_seq;
        self.ack_seq = session.last_client_seq;
        self.next_seq = logged_on.replay_from_seq;
        self.replay_from_seq = logged_on.replay_from_seq;
        self.next_report_seq = session.next_report_seq;
        self.oldest_report_seq = session.oldest_report_seq;
        match self.write_logged_on(now, &fields, &ack, &logged_on, out) {
            Ok(written) => Step { written, action: ServerAction::LoggedOn(logged_on) },
            Err(NoRoom { .. }) => self.no_room(),
        }
    }

    /// Writes the end of the logon's replay: the session is live. Bytes written.
    ///
    /// # Errors
    /// `NoRoom`: call again when there is room.
    pub fn replay_complete(
        &mut self,
        now: Now,
        open_orders: u32,
        last_id_counter: u64,
        out: &mut [u8],
    ) -> Result<usize, NoRoom> {
        let last_seq = self.next_seq.saturating_sub(1);
        let block = ReplayComplete {
            last_seq: U64::new(last_seq),
            replayed: U64::new(self.next_seq.saturating_sub(self.replay_from_seq)),
            open_orders: U32::new(open_orders),
            reserved0: U32::ZERO,
            last_id_counter: U64::new(last_id_counter),
        };
        let written = self.write(now, &block, out)?;
        if self.phase == Phase::Replaying {
            self.phase = Phase::Live;
        }
        Ok(written)
    }

    /// Ends a resend: live reports go on.
    pub const fn resend_complete(&mut self) {
        self.is_resending = false;
        self.next_seq = self.next_report_seq;
    }

    /// Ends the connection from our side: what was written must be sent before the close.
    pub fn terminate(&mut self, now: Now, reason: Reason, text: &str, out: &mut [u8]) -> Step<ServerAction> {
        self.end(now, out, reason, text)
    }

    /// Takes the passing of time in: heartbeat, test request or the end.
    pub fn handle_timeout(&mut self, now: Now, out: &mut [u8]) -> Step<ServerAction> {
        if self.phase == Phase::Closed {
            return Step { written: 0, action: ServerAction::None };
        }
        if !self.is_logged_on() {
            return if now.mono_ns >= self.logon_deadline_ns {
                self.end(now, out, Reason::LogonTimeout, "logon did not come in time")
            } else {
                Step { written: 0, action: ServerAction::None }
            };
        }
        match self.liveness.due(now.mono_ns) {
            Due::Nothing => Step { written: 0, action: ServerAction::None },
            Due::Dead => self.end(now, out, Reason::HeartbeatTimeout, "nothing heard for 2.5 intervals"),
            Due::Heartbeat => self.heartbeat(now, 0, out),
            Due::TestRequest => {
                self.test_id = self.test_id.saturating_add(1);
                self.liveness.tested();
                let block = TestRequest { test_id: U64::new(self.test_id) };
                self.reply(now, &block, ServerAction::None, out)
            }
        }
    }

    /// The caller does not listen now, or has not yet told the peer that it is logged on: silence is not its fault.
    pub const fn not_listening(&mut self, now: Now) {
        self.logon_deadline_ns = now.mono_ns.saturating_add(self.config.logon_timeout_ns);
        self.liveness.heard(now.mono_ns);
    }

    /// Writes a heartbeat that may pass everything that waits, when the last byte left at `left_ns` and that is an
    /// interval ago: it acknowledges nothing and tells of no number. Bytes written.
    ///
    /// # Errors
    /// `NoRoom`: nothing was written.
    pub fn heartbeat_ahead(&self, now: Now, left_ns: u64, out: &mut [u8]) -> Result<usize, NoRoom> {
        if !self.is_logged_on() || now.mono_ns.saturating_sub(left_ns) < self.liveness.interval_ns() {
            return Ok(0);
        }
        let envelope = Envelope { flags: 0, seq: 0, ack_seq: 0, send_ts_ns: now.utc_ns };
        encode(out, envelope, &Heartbeat::default())
    }

    /// The monotonic time at which `handle_timeout` wants to be called; `None` once closed.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        match self.phase {
            Phase::AwaitHello | Phase::AwaitLogon | Phase::Checking => Some(self.logon_deadline_ns),
            Phase::Replaying | Phase::Live => Some(self.liveness.deadline_ns()),
            Phase::Closed => None,
        }
    }

    /// The envelope of a frame that the caller is about to send; `seq` 0 for unsequenced ones.
    #[must_use]
    pub const fn envelope(&self, now: Now, seq: u64, flags: u8) -> Envelope {
        Envelope { flags, seq, ack_seq: self.ack_seq, send_ts_ns: now.utc_ns }
    }

    /// The caller has put a frame into the send buffer.
    pub fn sent(&mut self, now: Now, seq: u64) {
        self.liveness.sent(now.mono_ns);
        if seq != 0 {
            self.next_seq = seq.saturating_add(1);
            self.next_report_seq = self.next_report_seq.max(self.next_seq);
        }
    }

    /// Client frames up to `seq` are processed: told in every further header. No frame may leave before that is
    /// durable.
    pub fn set_ack(&mut self, seq: u64) {
        self.ack_seq = self.ack_seq.max(seq);
    }

    /// The window of reports that can be sent again has moved.
    pub fn set_report_window(&mut self, oldest_report_seq: u64, next_report_seq: u64) {
        self.oldest_report_seq = oldest_report_seq;
        self.next_report_seq = self.next_report_seq.max(next_report_seq);
    }

    /// The session and the key that the peer has named so far, proven or not; 0 and empty before.
    #[must_use]
    pub const fn claimed(&self) -> (u32, Text<16>) {
        (self.logon.session_id.get(), self.key_id)
    }

    /// True from ack to close.
    #[must_use]
    pub const fn is_logged_on(&self) -> bool {
        matches!(self.phase, Phase::Replaying | Phase::Live)
    }

    /// True once the replay is complete.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Live)
    }

    /// True while live reports must wait for a replay or resend.
    #[must_use]
    pub const fn holds_live_reports(&self) -> bool {
        matches!(self.phase, Phase::Replaying) || self.is_resending
    }

    /// The number that the next client frame must have.
    #[must_use]
    pub const fn expected_seq(&self) -> u64 {
        self.expected_seq
    }

    /// The last report that the client has durably processed, as it says.
    #[must_use]
    pub const fn peer_ack_seq(&self) -> u64 {
        self.peer_ack_seq
    }

    /// What has been counted.
    #[must_use]
    pub const fn counts(&self) -> ServerCounts {
        self.counts
    }

    fn heartbeat(&mut self, now: Now, test_id: u64, out: &mut [u8]) -> Step<ServerAction> {
        let block = Heartbeat { test_id: U64::new(test_id), next_seq: U64::new(self.next_seq) };
        self.reply(now, &block, ServerAction::None, out)
    }

    fn refuse(
        &mut self,
        now: Now,
        header: &Header,
        fault: ShapeError,
        text: &str,
        out: &mut [u8],
    ) -> Step<ServerAction> {
        self.counts.refused = self.counts.refused.saturating_add(1);
        let block = SessionReject {
            ref_seq: U64::new(header.seq),
            ref_template: U16::new(header.template_id),
            reason: U16::new(fault.reason.raw()),
            ref_offset: U16::new(fault.offset),
            reserved0: U16::ZERO,
            text: Text::new(text),
        };
        self.reply(now, &block, ServerAction::Refused(fault.reason), out)
    }

    /// Ends the connection: with a logon reject before the ack, with a terminate after it.
    fn end(&mut self, now: Now, out: &mut [u8], reason: Reason, text: &str) -> Step<ServerAction> {
        if self.phase == Phase::Closed {
            return Step { written: 0, action: ServerAction::None };
        }
        if !self.is_logged_on() {
            let reject = LogonReject { text: Text::new(text), ..logon::blind_reject((reason, ""), 0) };
            return self.reject(now, &reject, reason, out);
        }
        let block = Terminate {
            last_seq: U64::new(self.next_seq.saturating_sub(1)),
            last_peer_seq: U64::new(self.expected_seq.saturating_sub(1)),
            reason: U16::new(reason.raw()),
            cod_action: cod_action(self.cod_mode, self.cod_window_ms, reason).raw(),
            text: Text::new(text),
            ..Terminate::default()
        };
        let written = self.write(now, &block, out).unwrap_or(0);
        self.phase = Phase::Closed;
        Step { written, action: ServerAction::Close { reason, by_peer: false } }
    }

    fn reject(&mut self, now: Now, reject: &LogonReject, reason: Reason, out: &mut [u8]) -> Step<ServerAction> {
        let written = self.write(now, reject, out).unwrap_or(0);
        self.phase = Phase::Closed;
        Step { written, action: ServerAction::Close { reason, by_peer: false } }
    }

    fn no_room(&mut self) -> Step<ServerAction> {
        self.phase = Phase::Closed;
        Step { written: 0, action: ServerAction::Close { reason: Reason::SlowConsumer, by_peer: false } }
    }

    fn reply<T: Message>(&mut self, now: Now, block: &T, action: ServerAction, out: &mut [u8]) -> Step<ServerAction> {
        match self.write(now, block, out) {
            Ok(written) => Step { written, action },
            Err(NoRoom { .. }) => self.no_room(),
        }
    }

    fn write<T: Message>(&mut self, now: Now, block: &T, out: &mut [u8]) -> Result<usize, NoRoom> {
        let written = encode(out, self.envelope(now, 0, 0), block)?;
        self.liveness.sent(now.mono_ns);
        Ok(written)
    }
}

const _: () = assert!(size_of::<ServerSession>() < 1024, "a session is small");
