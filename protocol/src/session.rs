//! The rules of a connection, for both ends, without I/O.
//!
//! Owns logon, numbering, heartbeats, resends and the end of a session. Must not know sockets,
//! clocks, keys' origin or what a command means. Each end is a state machine with three verbs:
//! `handle_frame`, `handle_timeout` and `poll_timeout`. What has to be sent is written into the
//! caller's buffer, which must have `REPLY_BYTES_MAX` bytes of room: so a server that reads only
//! while its send buffer has that room bounds its memory, and nothing is allocated.

mod client;
mod liveness;
mod logon;
mod rules;
mod server;

pub use client::{ClientAction, ClientConfig, ClientPosition, ClientSession, SendError, Sent};
pub use logon::{GatewayFacts, LoggedOn, LogonAnswer, LogonQuery, SessionFacts};
pub use server::{ServerAction, ServerConfig, ServerCounts, ServerSession};

use crate::codes::CodAction;
use crate::fields::CodMode;
use crate::messages::{GapFill, LogonAck, LogonReject, NotApplied};
use crate::reason::Reason;

/// Most bytes that one verb writes: an ack with what may follow it.
pub const REPLY_BYTES_MAX: usize = {
    let logon = LogonAck::FRAME_BYTES.wrapping_add(NotApplied::FRAME_BYTES).wrapping_add(GapFill::FRAME_BYTES);
    if logon > LogonReject::FRAME_BYTES { logon } else { LogonReject::FRAME_BYTES }
};

/// Most client frames that a logon may skip; more is taken for a claim from the future.
pub const NOT_APPLIED_MAX: u64 = 1_000_000;

/// The clocks, read once by the caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Monotonic, ns from any origin: deadlines are measured with it.
    pub mono_ns: u64,
    /// UTC, ns since the Unix epoch: only written into frames.
    pub utc_ns: u64,
}

/// What a verb did: bytes written to the caller's buffer, and what the caller must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step<A> {
    /// Bytes written to the start of the caller's buffer; send them, also before a close.
    pub written: usize,
    /// What the caller must do.
    pub action: A,
}

/// What becomes of open orders when a session with this mode ends for `reason`.
///
/// A take-over is no loss of the session, and a stop of the gateway none of the client: the orders stay. A logout is
/// what the client says.
#[must_use]
pub const fn cod_action(mode: CodMode, window_ms: u32, reason: Reason) -> CodAction {
    let (on_loss, on_logout) = match mode {
        CodMode::None => (false, false),
        CodMode::Disconnect => (true, false),
        CodMode::Logout => (false, true),
        CodMode::Both => (true, true),
    };
    if matches!(reason, Reason::TakenOver | Reason::Shutdown) {
        CodAction::Keep
    } else if matches!(reason, Reason::Logout) {
        if on_logout { CodAction::CancelNow } else { CodAction::Keep }
    } else if !on_loss {
        CodAction::Keep
    } else if window_ms == 0 {
        CodAction::CancelNow
    } else {
        CodAction::CancelAfterWindow
    }
}
