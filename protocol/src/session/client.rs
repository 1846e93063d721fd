//! The client's end of a connection.
//!
//! Owns the proof of identity of both sides, the numbering of what is sent, the gaps in what comes,
//! and heartbeats. What must outlive the connection is a `ClientPosition`, which the caller keeps.

mod inbound;

use super::liveness::{Due, Liveness};
use super::{Now, Step};
use crate::codes::{ReplayMode, TakeoverPolicy, frame_flags};
use crate::fields::{CodMode, Environment, Role};
use crate::frame::{Envelope, Frame, FrameError, MINOR, NoRoom, VERSION, encode};
use crate::layout::wire::{U16, U64};
use crate::layout::{Direction, Message, MessageInfo, Sequencing, Text};
use crate::messages::{
    ClientHello, Heartbeat, Logon, LogonAck, LogonReject, MAGIC, ServerChallenge, SessionReject, Terminate, TestRequest,
};
use crate::reason::Reason;
use crate::transcript::{Greeting, MacKey};

/// Who the client is and what it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// Names the key.
    pub key_id: Text<16>,
    /// The configured session.
    pub session_id: u32,
    /// The core that the session belongs to.
    pub core: u16,
    /// What the session wants to do.
    pub role: Role,
    /// Whose money the client believes that it trades.
    pub environment: Environment,
    /// Heartbeat interval, ms.
    pub heartbeat_ms: u32,
    /// Cancel-on-disconnect mode; `None` for the one that the gateway has configured.
    pub cod_mode: Option<CodMode>,
    /// Cancel-on-disconnect window, ms.
    pub cod_window_ms: u32,
    /// What to do if the session is connected already.
    pub takeover: TakeoverPolicy,
    /// What to do about missed reports.
    pub replay_mode: ReplayMode,
    /// Time from hello to ack, ns.
    pub logon_timeout_ns: u64,
    /// Name of the application.
    pub app_name: Text<16>,
    /// Version of the application.
    pub app_version: Text<8>,
}

/// What a client keeps between connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientPosition {
    /// The epoch that the numbers belong to; 0 if none is known.
    pub session_epoch: u64,
    /// The first report that has not been applied; from 1.
    pub next_expected_seq: u64,
    /// The first number that will be sent; from 1. To send frames in doubt again, the first of them.
    pub next_client_seq: u64,
}

impl Default for ClientPosition {
    /// A client that knows nothing: its first logon is refused with the current epoch and numbers.
    fn default() -> Self {
        Self { session_epoch: 0, next_expected_seq: 1, next_client_seq: 1 }
    }
}

/// What the caller must do after a verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAction {
    /// Nothing.
    None,
    /// Logged on, server proven; send frames in doubt above `last_client_seq` with `send_again`.
    LoggedOn(LogonAck),
    /// Refused. Numbers and text may be believed only if `is_authentic`.
    LogonRefused {
        /// What the server says.
        reject: LogonReject,
        /// True if the reject's MAC is right.
        is_authentic: bool,
    },
    /// The next report, in order: apply it.
    Report(&'static MessageInfo),
    /// An unsequenced frame of the application: an answer, a refusal or a quote.
    Answer(&'static MessageInfo),
    /// A frame of a template that this build does not know; if sequenced, its number was counted.
    Skipped,
    /// A report that was applied already; drop it.
    Duplicate,
    /// A report is missing; this one is dropped, a resend has been asked for.
    Gap {
        /// The first report that is missing.
        expected_seq: u64,
    },
    /// These reports will not come: query open orders and fills.
    GapFilled {
        /// The first.
        from_seq: u64,
        /// The next report that will come.
        new_seq: u64,
    },
    /// A resend was refused: reconnect, or skip and query.
    ResendRefused(Reason),
    /// These frames had no effect and never will.
    NotApplied {
        /// The first.
        from_seq: u64,
        /// How many.
        count: u32,
    },
    /// The replay is over: new orders pass.
    ReplayComplete {
        /// Open orders of the session.
        open_orders: u32,
        /// Greatest counter of the ClOrdIDs that its orders have had in the client epoch.
        last_id_counter: u64,
    },
    /// A frame of ours was refused by the session rules.
    Rejected(SessionReject),
    /// Send what was written, then close.
    Close {
        /// Why.
        reason: Reason,
        /// True if the server said so.
        by_peer: bool,
    },
}

/// A frame that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Bytes written to the start of the caller's buffer.
    pub written: usize,
    /// Its number; 0 if it is unsequenced.
    pub seq: u64,
}

/// Why a frame was not written; nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// Before logon or after the end.
    NotLoggedOn,
    /// Not a message that a client's application sends.
    NotAllowed,
    /// The buffer is too short.
    NoRoom(NoRoom),
}

impl core::fmt::Display for SendError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NotLoggedOn => f.write_str("not logged on: log on first"),
            Self::NotAllowed => f.write_str("not a message that this role may send"),
            Self::NoRoom(error) => core::fmt::Display::fmt(error, f),
        }
    }
}
impl core::error::Error for SendError {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    AwaitChallenge,
    AwaitAck,
    Replaying,
    Live,
    Closed,
}

/// The client's end of one connection.
#[derive(Clone, Debug)]
pub struct ClientSession {
    config: ClientConfig,
    key: MacKey,
    phase: Phase,
    position: ClientPosition,
    applied_seq: u64,
    peer_ack_seq: u64,
    logon_deadline_ns: u64,
    liveness: Liveness,
    test_id: u64,
    nonce: [u8; 32],
    hello: [u8; ClientHello::FRAME_BYTES],
    challenge: [u8; ServerChallenge::FRAME_BYTES],
    logon: Logon,
    resend_id: u64,
    resend_count_max: u16,
    /// The first report after the resend that is under way.
    resend_until_seq: Option<u64>,
}

impl ClientSession {
    /// A connection that was opened now; `nonce` is 32 fresh random bytes.
    #[must_use]
    pub fn new(config: &ClientConfig, key: &MacKey, position: ClientPosition, nonce: [u8; 32], now: Now) -> Self {
        Self {
            config: *config,
            key: key.clone(),
            phase: Phase::AwaitChallenge,
            position,
            applied_seq: 0,
            peer_ack_seq: 0,
            logon_deadline_ns: now.mono_ns.saturating_add(config.logon_timeout_ns),
            liveness: Liveness::new(config.heartbeat_ms, now.mono_ns),
            test_id: 0,
            nonce,
            hello: [0; ClientHello::FRAME_BYTES],
            challenge: [0; ServerChallenge::FRAME_BYTES],
            logon: Logon::default(),
            resend_id: 0,
            resend_count_max: 0,
            resend_until_seq: None,
        }
    }

    /// Writes the hello that opens the connection; bytes written.
    ///
    /// # Errors
    /// `NoRoom`: nothing was written.
    pub fn start(&mut self, now: Now, out: &mut [u8]) -> Result<usize, NoRoom> {
        let block = ClientHello {
            magic: U64::new(MAGIC),
            client_nonce: self.nonce,
            key_id: self.config.key_id,
            major_min: VERSION,
            major_max: VERSION,
            minor_max: MINOR,
            client_build: Text::new(concat!("tradecore-rs ", env!("CARGO_PKG_VERSION"))),
            ..ClientHello::default()
        };
        let envelope = self.envelope(now, 0, 0);
        encode(&mut self.hello, envelope, &block)?;
        let needed = self.hello.len();
        out.get_mut(..needed).ok_or(NoRoom { needed })?.copy_from_slice(&self.hello);
        Ok(needed)
    }

    /// Takes a frame in; `out` should have `REPLY_BYTES_MAX` bytes of room.
    pub fn handle_frame(&mut self, now: Now, frame: &Frame<'_>, out: &mut [u8]) -> Step<ClientAction> {
        self.liveness.heard(now.mono_ns);
        self.peer_ack_seq = self.peer_ack_seq.max(frame.header.ack_seq);
        let shape = frame.check();
        match self.phase {
            Phase::Closed => just(ClientAction::None),
            Phase::AwaitChallenge | Phase::AwaitAck => match shape {
                Ok(info) => self.before_ack(now, info, frame, out),
                Err(fault) => self.end(now, fault.reason, out),
            },
            Phase::Replaying | Phase::Live => match shape {
                Ok(info) if info.direction == Direction::ToServer => self.end(now, Reason::UnknownTemplate, out),
                Ok(info) => self.after_ack(now, info, frame, out),
                Err(fault) if fault.reason == Reason::UnknownTemplate => match frame.header.seq {
                    0 => just(ClientAction::Skipped),
                    seq => self.place(now, seq, ClientAction::Skipped, out),
                },
                Err(fault) => self.end(now, fault.reason, out),
            },
        }
    }

    /// Takes the end of the stream of frames in: what follows cannot be read.
    pub fn handle_frame_error(&mut self, now: Now, fault: FrameError, out: &mut [u8]) -> Step<ClientAction> {
        self.end(now, fault.reason, out)
    }

    /// Takes the passing of time in: heartbeat, test request or the end.
    pub fn handle_timeout(&mut self, now: Now, out: &mut [u8]) -> Step<ClientAction> {
        match self.phase {
            Phase::Closed => just(ClientAction::None),
            Phase::AwaitChallenge | Phase::AwaitAck if now.mono_ns >= self.logon_deadline_ns => {
                self.end(now, Reason::LogonTimeout, out)
            }
            Phase::AwaitChallenge | Phase::AwaitAck => just(ClientAction::None),
            Phase::Replaying | Phase::Live => match self.liveness.due(now.mono_ns) {
                Due::Nothing => just(ClientAction::None),
                Due::Dead => self.end(now, Reason::HeartbeatTimeout, out),
                Due::Heartbeat => self.heartbeat(now, 0, out),
                Due::TestRequest => {
                    self.test_id = self.test_id.saturating_add(1);
                    self.liveness.tested();
                    let block = TestRequest { test_id: U64::new(self.test_id) };
                    self.reply(now, &block, ClientAction::None, out)
                }
            },
        }
    }

    /// The monotonic time at which `handle_timeout` wants to be called; `None` once closed.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        match self.phase {
            Phase::AwaitChallenge | Phase::AwaitAck => Some(self.logon_deadline_ns),
            Phase::Replaying | Phase::Live => Some(self.liveness.deadline_ns()),
            Phase::Closed => None,
        }
    }

    /// Writes a request; sequenced ones get the next number.
    ///
    /// # Errors
    /// `SendError`: nothing was written, no number was used.
    pub fn send<T: Message>(&mut self, now: Now, block: &T, out: &mut [u8]) -> Result<Sent, SendError> {
        self.send_flagged(now, 0, block, out)
    }

    /// Writes a request that may have been sent on an earlier connection.
    ///
    /// # Errors
    /// As `send`.
    pub fn send_again<T: Message>(&mut self, now: Now, block: &T, out: &mut [u8]) -> Result<Sent, SendError> {
        self.send_flagged(now, frame_flags::POSS_RESEND, block, out)
    }

    /// Says goodbye: what was written must be sent; the server answers and closes.
    ///
    /// # Errors
    /// `NoRoom`: nothing was written.
    pub fn logout(&mut self, now: Now, out: &mut [u8]) -> Result<usize, NoRoom> {
        self.write(now, &self.goodbye(Reason::Logout), out)
    }

    /// Reports up to `seq` are kept by the client, also those of earlier connections: told in every further header.
    pub fn applied(&mut self, seq: u64) {
        self.applied_seq = self.applied_seq.max(seq);
    }

    /// What to keep for the next connection.
    #[must_use]
    pub const fn position(&self) -> ClientPosition {
        self.position
    }

    /// The last frame of ours that the server has durably processed, as it says.
    #[must_use]
    pub const fn peer_ack_seq(&self) -> u64 {
        self.peer_ack_seq
    }

    /// True once the replay is complete: new orders pass.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Live)
    }

    fn heartbeat(&mut self, now: Now, test_id: u64, out: &mut [u8]) -> Step<ClientAction> {
        let next_seq = U64::new(self.position.next_client_seq);
        self.reply(now, &Heartbeat { test_id: U64::new(test_id), next_seq }, ClientAction::None, out)
    }

    fn goodbye(&self, reason: Reason) -> Terminate {
        Terminate {
            last_seq: U64::new(self.position.next_client_seq.saturating_sub(1)),
            last_peer_seq: U64::new(self.position.next_expected_seq.saturating_sub(1)),
            reason: U16::new(reason.raw()),
            ..Terminate::default()
        }
    }

    fn end(&mut self, now: Now, reason: Reason, out: &mut [u8]) -> Step<ClientAction> {
        if self.phase == Phase::Closed {
            return just(ClientAction::None);
        }
        // Before the ack a server takes nothing but a logon: the client just closes.
        let written = match self.phase {
            Phase::AwaitChallenge | Phase::AwaitAck | Phase::Closed => 0,
            Phase::Replaying | Phase::Live => self.write(now, &self.goodbye(reason), out).unwrap_or(0),
        };
        self.phase = Phase::Closed;
        Step { written, action: ClientAction::Close { reason, by_peer: false } }
    }

    fn send_flagged<T: Message>(&mut self, now: Now, flags: u8, block: &T, out: &mut [u8]) -> Result<Sent, SendError> {
        if !matches!(self.phase, Phase::Replaying | Phase::Live) {
            return Err(SendError::NotLoggedOn);
        }
        let info = T::INFO;
        let is_logon = info.template_id <= crate::frame::FROZEN_TEMPLATE_MAX;
        let is_allowed = info.roles & crate::messages::roles::only(self.config.role) != 0;
        if info.direction == Direction::ToClient || is_logon || !is_allowed {
            return Err(SendError::NotAllowed);
        }
        let (seq, flags) = match info.sequencing {
            Sequencing::Sequenced => (self.position.next_client_seq, flags),
            Sequencing::Unsequenced | Sequencing::Either => (0, 0),
        };
        let written = encode(out, self.envelope(now, seq, flags), block).map_err(SendError::NoRoom)?;
        self.liveness.sent(now.mono_ns);
        if seq != 0 {
            self.position.next_client_seq = seq.saturating_add(1);
        }
        Ok(Sent { written, seq })
    }

    fn greeting(&self) -> Greeting<'_> {
        Greeting { hello: &self.hello, challenge: &self.challenge }
    }

    const fn envelope(&self, now: Now, seq: u64, flags: u8) -> Envelope {
        Envelope { flags, seq, ack_seq: self.applied_seq, send_ts_ns: now.utc_ns }
    }

    fn reply<T: Message>(&mut self, now: Now, block: &T, action: ClientAction, out: &mut [u8]) -> Step<ClientAction> {
        match self.write(now, block, out) {
            Ok(written) => Step { written, action },
            Err(NoRoom { .. }) => {
                self.phase = Phase::Closed;
                just(ClientAction::Close { reason: Reason::SlowConsumer, by_peer: false })
            }
        }
    }

    fn write<T: Message>(&mut self, now: Now, block: &T, out: &mut [u8]) -> Result<usize, NoRoom> {
        let written = encode(out, self.envelope(now, 0, 0), block)?;
        self.liveness.sent(now.mono_ns);
        Ok(written)
    }
}

const fn just(action: ClientAction) -> Step<ClientAction> {
    Step { written: 0, action }
}
