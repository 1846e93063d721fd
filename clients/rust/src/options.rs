//! Who logs on, where and how, and why that may fail for good.

use std::path::PathBuf;
use std::time::Duration;

use tradecore_protocol::codes::{ReplayMode, TakeoverPolicy};
use tradecore_protocol::fields::{CodMode, Environment, Role};
use tradecore_protocol::layout::Text;
use tradecore_protocol::reason::Reason;
use tradecore_protocol::session::{ClientConfig, SendError};

use crate::store::StoreError;

/// Time from connection to ack, ns.
const LOGON_TIMEOUT_NS: u64 = 5_000_000_000;
/// Longest wait for a connection to open, and for a gateway that does not read.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// Most requests without acknowledgement with which an order or a replace is still taken.
pub(crate) const IN_DOUBT_MAX: usize = 65_536;

/// Where the gateway listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `host:port`.
    Tcp(String),
    /// Path of a unix socket.
    Unix(PathBuf),
}

/// Who logs on, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where.
    pub address: Address,
    /// The configured session.
    pub session_id: u32,
    /// Its core.
    pub core: u16,
    /// Names the key.
    pub key_id: String,
    /// The key, at least 16 bytes.
    pub secret: Vec<u8>,
    /// What the session wants to do.
    pub role: Role,
    /// Whose money the algo believes that it trades.
    pub environment: Environment,
    /// Heartbeat interval, ms.
    pub heartbeat_ms: u32,
    /// Cancel-on-disconnect mode; `None` for the one that the gateway has configured.
    pub cod_mode: Option<CodMode>,
    /// Cancel-on-disconnect window, ms.
    pub cod_window_ms: u32,
    /// What happens to a connection that the session has already. With `Refuse` it stays, and the first logon ends
    /// with `ClientError::Refused`; later ones are tried again, since a half-open connection of our own goes away.
    pub takeover: TakeoverPolicy,
    /// Whether reports that were missed since the state file's last word come first, or are skipped, and
    /// `Event::Resynchronize` stands for them. Those of later logons always come. A new state has no last word: the first
    /// logon goes on from now, and `Event::Resynchronize` stands for all that the session was told before, if anything.
    pub replay_mode: ReplayMode,
    /// The file of what must not be forgotten; none: in memory.
    pub state_path: Option<PathBuf>,
    /// For the gateway's logs.
    pub app_name: String,
}

impl Options {
    /// A trading session on the virtual environment of core 1, with a heartbeat a second.
    #[must_use]
    pub fn new(address: Address, session_id: u32, key_id: &str, secret: &[u8]) -> Self {
        Self {
            address,
            session_id,
            core: 1,
            key_id: key_id.to_owned(),
            secret: secret.to_vec(),
            role: Role::Trade,
            environment: Environment::Virtual,
            heartbeat_ms: 1000,
            cod_mode: None,
            cod_window_ms: 0,
            // A half-open connection of our own must not keep us out.
            takeover: TakeoverPolicy::TakeOver,
            replay_mode: ReplayMode::Replay,
            state_path: None,
            app_name: "algo".to_owned(),
        }
    }

    /// What is asked for at logon; `replay_mode` says what to do about missed reports.
    pub(crate) fn config(&self, replay_mode: ReplayMode) -> ClientConfig {
        ClientConfig {
            key_id: Text::new(&self.key_id),
            session_id: self.session_id,
            core: self.core,
            role: self.role,
            environment: self.environment,
            heartbeat_ms: self.heartbeat_ms,
            cod_mode: self.cod_mode,
            cod_window_ms: self.cod_window_ms,
            takeover: self.takeover,
            replay_mode,
            logon_timeout_ns: LOGON_TIMEOUT_NS,
            app_name: Text::new(&self.app_name),
            app_version: Text::new(env!("CARGO_PKG_VERSION")),
        }
    }
}

/// Why a client cannot go on. Broken connections are none: they are mended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The state file.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The logon cannot succeed: the gateway refuses it for good, or is not the one that it should be.
    #[error("no logon: {reason:?}: {text}")]
    Refused {
        /// Why.
        reason: Reason,
        /// What is allowed.
        text: String,
    },
    /// Another client has logged on to the session, and both may take it over: they would do so for ever. A client
    /// whose policy is `Refuse` waits until the session is free.
    #[error("another client has taken the session over")]
    TakenOver,
    /// The key is shorter than 16 bytes.
    #[error("a key has at least 16 bytes")]
    Key,
    /// Not connected now, and the request adds risk: it was not kept and will not be sent.
    #[error("not connected; poll until `Event::Ready`")]
    NotReady,
    /// So many requests wait for the gateway's acknowledgement that none that adds risk is taken.
    #[error("{IN_DOUBT_MAX} requests are not acknowledged yet; poll, and send fewer")]
    InDoubtMax,
    /// A repetition of an order that was placed before the session's epoch was raised: the gateway may know it no more,
    /// and would take it for a new one.
    #[error("the order is of an earlier epoch of the session: ask for it, do not repeat it")]
    EarlierEpoch,
    /// The role may not send this.
    #[error("{0}")]
    NotAllowed(SendError),
    /// The system gives no randomness.
    #[error("no randomness for the logon")]
    Random,
}
