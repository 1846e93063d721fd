//! The decision on a logon: which of the reasons, in which order.
//!
//! Owns the checks and the facts that they need. The order is: shape of the fields, then identity
//! (key, MAC), then role, environment, core, then state (connected, epoch, numbers). Until the MAC
//! is valid nothing is told but a reason that the peer could know itself.

use super::NOT_APPLIED_MAX;
use super::server::ServerConfig;
use crate::codes::{KillState, ReplayMode, TakeoverPolicy};
use crate::fields::{BrokerStatus, CodMode, Durability, Environment, Role, TradingState};
use crate::layout::Text;
use crate::layout::wire::{U16, U32, U64};
use crate::messages::{Logon, LogonAck, LogonReject, roles};
use crate::reason::Reason;
use crate::transcript::MacKey;

/// Longest cancel-on-disconnect window, ms.
pub(super) const COD_WINDOW_MS_MAX: u32 = 60_000;

/// What a logon names: the caller looks up key and session, then calls `answer_logon`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogonQuery {
    /// Key id of the hello.
    pub key_id: Text<16>,
    /// The session wanted.
    pub session_id: u32,
    /// The core wanted.
    pub core: u16,
    /// The role wanted.
    pub role: Role,
}

/// What the gateway knows about a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionFacts {
    /// The current session epoch, from 1.
    pub session_epoch: u64,
    /// The last client frame that was processed; 0 if none was.
    pub last_client_seq: u64,
    /// The next new report, from 1.
    pub next_report_seq: u64,
    /// The oldest report that can be replayed; `next_report_seq` if none can.
    pub oldest_report_seq: u64,
    /// The client epoch that new ClOrdIDs must have at least.
    pub client_epoch: u16,
    /// Roles that the session may take: bit `1 << Role::raw()` each.
    pub roles: u8,
    /// Cancel-on-disconnect mode of a logon that names none.
    pub cod_mode: CodMode,
    /// True while another connection has the session.
    pub is_connected: bool,
    /// `host:port` of the gateway that serves the core which the logon names; empty if unknown.
    pub served_at: Text<64>,
}

/// What the gateway says of itself in an ack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatewayFacts {
    /// State of the core.
    pub trading_state: TradingState,
    /// State of the core's kill switch.
    pub kill_state: KillState,
    /// The class that reports wait for.
    pub durability: Durability,
    /// State of the connection to the broker.
    pub broker_status: BrokerStatus,
    /// Sustained rate of client frames, frames/s.
    pub throttle_rate: u32,
    /// Size of a burst above the rate, frames.
    pub throttle_burst: u32,
    /// Start epoch of the core.
    pub core_epoch: u32,
    /// ClOrdIDs after which a client should raise its epoch.
    pub ids_max: u32,
}

/// The caller's answer to a `LogonQuery`.
#[derive(Clone, Copy, Debug)]
pub enum LogonAnswer<'a> {
    /// No such key, no such session, or the key is not the session's.
    Unknown,
    /// Not now: too many attempts or connections.
    Refused {
        /// `LoginRate`, `Shutdown` or `JournalFull`.
        reason: Reason,
        /// Earliest useful next attempt, ms.
        retry_after_ms: u32,
    },
    /// The session exists.
    Known {
        /// The session's key.
        key: &'a MacKey,
        /// Where the session stands.
        session: &'a SessionFacts,
        /// Where the gateway stands.
        gateway: &'a GatewayFacts,
    },
}

/// An accepted logon: what the caller must do next.
///
/// It ends the old connection if `take_over`, sends the reports from `replay_from_seq` up to but not
/// including `next_report_seq`, then calls `replay_complete`, also when there are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoggedOn {
    /// The session.
    pub session_id: u32,
    /// Its role on this connection.
    pub role: Role,
    /// Another connection has the session and must be ended with `TakenOver`.
    pub take_over: bool,
    /// The first report to replay.
    pub replay_from_seq: u64,
    /// The first report that is not replayed.
    pub next_report_seq: u64,
    /// The first client frame that will be processed.
    pub expected_client_seq: u64,
    /// Client frames that the client skipped: `NotApplied` was sent for them.
    pub not_applied: u32,
    /// Cancel-on-disconnect mode in force.
    pub cod_mode: CodMode,
    /// Cancel-on-disconnect window in force, ms.
    pub cod_window_ms: u32,
    /// Heartbeat interval in force, ms.
    pub heartbeat_ms: u32,
}

/// A logon whose fields have passed the check of shape.
#[derive(Clone, Copy, Debug)]
pub(super) struct LogonFields {
    pub(super) role: Role,
    pub(super) environment: Environment,
    /// `None`: as configured.
    pub(super) cod_mode: Option<CodMode>,
    pub(super) takeover: TakeoverPolicy,
    pub(super) replay_mode: ReplayMode,
}

/// A refusal with what is told to people.
pub(super) type Refusal = (Reason, &'static str);

/// Shape: every field by itself.
pub(super) fn check_fields(logon: &Logon, config: &ServerConfig) -> Result<LogonFields, Refusal> {
    let value = |text| (Reason::FieldValue, text);
    let heartbeat_ms = config.heartbeat_min_ms..=config.heartbeat_max_ms;
    if !heartbeat_ms.contains(&logon.heartbeat_ms.get()) {
        return Err(value("heartbeat_ms: outside the challenge's bounds"));
    }
    if logon.cod_window_ms.get() > COD_WINDOW_MS_MAX {
        return Err(value("cod_window_ms: at most 60000"));
    }
    if logon.next_expected_seq.get() == 0 || logon.next_client_seq.get() == 0 {
        return Err(value("next_expected_seq, next_client_seq: from 1"));
    }
    Ok(LogonFields {
        role: Role::from_raw(logon.role).ok_or(value("role: 1 to 4"))?,
        environment: Environment::from_raw(logon.environment).ok_or(value("environment: 1 to 3"))?,
        cod_mode: match logon.cod_mode {
            0 => None,
            raw => Some(CodMode::from_raw(raw).ok_or(value("cod_mode: 0 to 4"))?),
        },
        takeover: TakeoverPolicy::from_raw(logon.takeover_policy)
            .ok_or(value("takeover_policy: 1 (Refuse) or 2 (TakeOver)"))?,
        replay_mode: ReplayMode::from_raw(logon.replay_mode).ok_or(value("replay_mode: 1 (Replay) or 2 (Skip)"))?,
    })
}

/// Role, place and state, once the MAC is valid.
pub(super) fn decide(
    logon: &Logon,
    fields: &LogonFields,
    config: &ServerConfig,
    session: &SessionFacts,
) -> Result<LoggedOn, Refusal> {
    let next_expected_seq = logon.next_expected_seq.get();
    let next_client_seq = logon.next_client_seq.get();
    let unsent_client_seq = session.last_client_seq.saturating_add(1);
    if session.roles & roles::only(fields.role) == 0 {
        return Err((Reason::RoleForbidden, "role: not one of the session's"));
    }
    if fields.environment != config.environment {
        return Err((Reason::EnvironmentMismatch, "environment: not this gateway's"));
    }
    if logon.core.get() != config.core {
        return Err((Reason::Redirect, ""));
    }
    if session.is_connected && fields.takeover == TakeoverPolicy::Refuse {
        return Err((Reason::SessionInUse, "connected; takeover_policy TakeOver takes over"));
    }
    if logon.session_epoch.get() != session.session_epoch {
        return Err((Reason::EpochMismatch, "query open orders, positions, fills; then log on"));
    }
    if next_expected_seq > session.next_report_seq {
        return Err((Reason::SeqAhead, "next_expected_seq: above next_report_seq"));
    }
    let not_applied = next_client_seq.saturating_sub(unsent_client_seq);
    if not_applied > NOT_APPLIED_MAX {
        return Err((Reason::SeqAhead, "next_client_seq: skips more than 1000000"));
    }
    if fields.replay_mode == ReplayMode::Replay && next_expected_seq < session.oldest_report_seq {
        return Err((Reason::SeqUnavailable, "replay_mode Skip skips; then query what is missing"));
    }
    Ok(LoggedOn {
        session_id: logon.session_id.get(),
        role: fields.role,
        take_over: session.is_connected,
        replay_from_seq: match fields.replay_mode {
            ReplayMode::Replay => next_expected_seq,
            ReplayMode::Skip => session.next_report_seq,
        },
        next_report_seq: session.next_report_seq,
        expected_client_seq: next_client_seq.max(unsent_client_seq),
        not_applied: u32::try_from(not_applied).unwrap_or(u32::MAX),
        cod_mode: fields.cod_mode.unwrap_or(session.cod_mode),
        cod_window_ms: logon.cod_window_ms.get(),
        heartbeat_ms: logon.heartbeat_ms.get(),
    })
}

/// The ack of an accepted logon, but for its MAC.
pub(super) fn ack_of(
    logon: &Logon,
    logged_on: &LoggedOn,
    config: &ServerConfig,
    session: &SessionFacts,
    gateway: &GatewayFacts,
    utc_ns: u64,
) -> LogonAck {
    LogonAck {
        mac: [0; 32],
        session_id: logon.session_id,
        core: logon.core,
        role: logon.role,
        environment: config.environment.raw(),
        session_epoch: U64::new(session.session_epoch),
        next_report_seq: U64::new(session.next_report_seq),
        last_client_seq: U64::new(session.last_client_seq),
        oldest_report_seq: U64::new(session.oldest_report_seq),
        server_time_ns: U64::new(utc_ns),
        heartbeat_ms: logon.heartbeat_ms,
        cod_window_ms: logon.cod_window_ms,
        cod_mode: logged_on.cod_mode.raw(),
        replay_mode: logon.replay_mode,
        trading_state: gateway.trading_state.raw(),
        kill_state: gateway.kill_state.raw(),
        durability: gateway.durability.raw(),
        broker_status: gateway.broker_status.raw(),
        resend_count_max: U16::new(config.resend_count_max),
        throttle_rate: U32::new(gateway.throttle_rate),
        throttle_burst: U32::new(gateway.throttle_burst),
        core_epoch: U32::new(gateway.core_epoch),
        ids_max: U32::new(gateway.ids_max),
        client_epoch: U16::new(session.client_epoch),
        reserved0: U16::new(0),
        reserved1: U32::new(0),
    }
}

/// A reject that tells where the session stands: only for those whose MAC is valid, and to be signed.
pub(super) fn informed_reject((reason, text): Refusal, session: &SessionFacts) -> LogonReject {
    LogonReject {
        session_epoch: U64::new(session.session_epoch),
        next_report_seq: U64::new(session.next_report_seq),
        last_client_seq: U64::new(session.last_client_seq),
        oldest_report_seq: U64::new(session.oldest_report_seq),
        text: if reason == Reason::Redirect { session.served_at } else { Text::new(text) },
        ..blind_reject((reason, text), 0)
    }
}

/// A reject that tells nothing but its reason.
pub(super) fn blind_reject((reason, text): Refusal, retry_after_ms: u32) -> LogonReject {
    LogonReject {
        reason: U16::new(reason.raw()),
        retry_after_ms: U32::new(retry_after_ms),
        text: Text::new(text),
        ..LogonReject::default()
    }
}
