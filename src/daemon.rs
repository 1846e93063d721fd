//! Start and stop: builds every part, runs the loop, and takes it down again.
//!
//! Start: configuration, keys, a try of the listeners → journal lock and recovery → replay → listeners → definitions →
//! side threads → READY.
//! Stop: no new sessions → reports flushed → goodbye → journal sealed. A stop is never needed for safety.

mod figures;
mod journal;
mod listening;
mod projection;
mod shipping;
mod stop;
mod venue;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tradecore_domain::command::Command;
use tradecore_domain::market::Market;
use tradecore_domain::{Limits, State};
use tradecore_protocol::fields::{Durability, Environment, InstrumentId, Role, SessionId};
use tradecore_protocol::layout::Text;
use tradecore_protocol::session::ServerConfig;
use tradecore_protocol::transcript::MacKey;

pub use journal::sync_policy;

use crate::brokers::Link;
use crate::brokers::virtual_venue::{VirtualBroker, VirtualConfig};
use crate::clock::Clock;
use crate::config::{Code, Config, ConfigError, Idle, RoleName, roles_of};
use crate::egress::gate::Gate;
use crate::egress::replay::{ReplayLink, Replayer, Source};
use crate::exit::Exit;
use crate::gateway::{Gateway, Parts, Settings, gate_frames_min};
use crate::notices::Notices;
use crate::outbox::Outbox;
use crate::recovery::ReplayError;
use crate::session::directory::{Directory, Entry};
use crate::session::lockout::{LockoutBounds, Lockouts};
use crate::session::pool::CHUNK_BYTES;
use crate::session::socket::Listener;
use crate::session::throttle::Pace;
use crate::session::{Bounds, Connections};
use crate::systemd::Notifier;
use crate::ticks::Calibration;
use crate::watchdog::{Watchdog, Watched};
use listening::Listening;

pub use journal::raised_lengths;
pub use listening::listening;
pub use stop::Stop;

/// Time that a stop may take before the process ends without it, as after a crash.
const STOP_DEADLINE: Duration = Duration::from_secs(5);
/// Time that side threads have to end, once the journal is sealed.
const JOIN_DEADLINE: Duration = Duration::from_secs(1);
/// Effects and frames that may wait; what happens beyond is named where they are used.
const OUTBOX_MAX: u32 = 8_192;
const GATE_MAX: usize = 262_144;
const RING_MAX: usize = 4_096;
const QUOTES_MAX: usize = 4_096;

/// Why a daemon did not start, or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DaemonError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] tradecore_journal::OpenError),
    /// The journal is of another core or environment: an order of it would be asked for under another id, and
    /// taken for one that never arrived.
    #[error(
        "{journal} is of core.id = {}, core.environment = \"{}\", and the configuration says core.id = {}, \
         core.environment = \"{}\": give each its own core.data_dir", found.0, found.1, configured.0, configured.1
    )]
    OtherCore {
        /// The journal.
        journal: String,
        /// Whose it is.
        found: (u16, String),
        /// Who starts.
        configured: (u16, String),
    },
    /// The replay.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The journal's reader.
    #[error(transparent)]
    Read(#[from] tradecore_journal::ReadError),
    /// The venue inside this process.
    #[error("the venue: {0}")]
    Venue(#[from] crate::venue::VenueError),
    /// An address cannot be listened on.
    #[error("{address}: {source}; is another gateway running?")]
    Listen {
        /// The address.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The system refused.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// Another host trades, or will.
    #[error("{0}; this gateway trades no more: do not start it again here")]
    TakenOver(String),
    /// A definition was refused.
    #[error("{what} was refused: {reason:?}")]
    Definition {
        /// What.
        what: String,
        /// Why.
        reason: tradecore_protocol::Reason,
    },
}

impl DaemonError {
    /// The exit code.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Config(error) if error.code == Code::Secret => Exit::Credential,
            Self::Definition { reason: tradecore_protocol::Reason::JournalFull, .. } => Exit::JournalNoSpace,
            Self::Config(_) | Self::Definition { .. } | Self::OtherCore { .. } => Exit::Config,
            Self::Replay(crate::recovery::ReplayError::Limit { .. }) => Exit::Config,
            Self::Journal(error) => Exit::from(error),
            Self::Replay(ReplayError::Shortened { .. }) => Exit::JournalShortened,
            Self::Replay(ReplayError::Decode { source, .. }) => Exit::from(source),
            Self::Replay(ReplayError::Read(error)) | Self::Read(error) => Exit::from(error),
            Self::Venue(error) => Exit::from(error),
            Self::Listen { .. } => Exit::Unavailable,
            Self::TakenOver(_) => Exit::TakenOver,
            Self::Io(_) => Exit::Io,
        }
    }
}

fn nonce<const BYTES: usize>() -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    // Without randomness no logon may be judged: an all-zero nonce would make transcripts repeatable.
    if getrandom::fill(&mut bytes).is_err() {
        std::process::abort();
    }
    bytes
}

fn pool_chunks(pool_mib: u64) -> u32 {
    const CHUNKS_PER_MIB: u64 = (1 << 20) / CHUNK_BYTES as u64;
    u32::try_from(pool_mib.saturating_mul(CHUNKS_PER_MIB)).unwrap_or(u32::MAX)
}

/// A drop copy doubles what one decision makes: there is room for those that the configuration knows.
fn gate_frames(config: &Config) -> usize {
    let drop_copies = config.sessions.iter().filter(|session| session.role == RoleName::DropCopy).count();
    gate_frames_min(drop_copies).max(GATE_MAX)
}

fn limits_of(config: &Config) -> Limits {
    let hash_seed = u64::from_le_bytes(nonce());
    Limits { orders_max: config.core.orders_max, ids_max: config.core.ids_max, hash_seed, ..Limits::default() }
}

/// The directory of the journal of a configuration.
#[must_use]
pub fn journal_dir(config: &Config) -> PathBuf {
    config.beside(&config.core.data_dir).join("journal")
}

struct Side {
    stop: Vec<Box<dyn Fn() + Send>>,
    threads: Vec<JoinHandle<()>>,
}

impl Side {
    fn spawn(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        self.threads.push(std::thread::Builder::new().name(name.to_owned()).spawn(work)?);
        Ok(())
    }

    /// Tells all of them to end.
    fn stop(&self) {
        self.stop.iter().for_each(|stop| stop());
        self.threads.iter().for_each(|thread| thread.thread().unpark());
    }

    /// Waits for them, but not for ever: one that the system holds ends with the process.
    fn join(self) {
        let since = Instant::now();
        for thread in self.threads {
            while !thread.is_finished() && since.elapsed() < JOIN_DEADLINE {
                std::thread::park_timeout(Duration::from_millis(1));
            }
            if thread.is_finished() {
                // A panic has been reported where it happened.
                drop(thread.join());
            }
        }
    }
}

/// What talks to a broker, on a thread of its own, until `Link::stop` is set.
pub type Adapter = Box<dyn FnOnce(Arc<Link>) + Send>;

/// Runs a gateway until it is asked to stop.
///
/// # Errors
/// Everything that refuses a start, with its exit code.
pub fn run(config: Config, stop: &Stop) -> Result<(), DaemonError> {
    run_with(config, stop, None)
}

/// As `run`, with another adapter than that of the configured broker: for measurements, in which the broker takes no time.
///
/// # Errors
/// As `run`.
pub fn run_with(mut config: Config, stop: &Stop, adapter: Option<Adapter>) -> Result<(), DaemonError> {
    let (started, calibration) = (Instant::now(), Calibration::begin());
    let notifier = Notifier::from_env();
    config.check_host()?;
    let limits = limits_of(&config);
    // Some tens of megabytes that are written once, while the journal waits for the disk.
    let state = std::thread::Builder::new().name("state".to_owned()).spawn(move || State::new(limits))?;
    if let Some(cpu) = config.core.cpu {
        crate::interrupts::warn(cpu);
        crate::affinity::leave(cpu)?;
    }
    let dir = journal_dir(&config);
    let environment = Environment::from(config.core.environment);
    let durability = Durability::from(config.core.durability);
    // What would refuse the start later, before the journal is touched. The sockets open when all is replayed.
    let directory = directory(&config)?;
    drop(listeners(&config)?);
    let listening = Listening::reserve(&config);

    let opened = journal::open(&config, &dir, &limits, durability)?;
    let hot_dir = opened.hot_dir().map(Path::to_owned);
    let (writer, report, watermarks, closer) = opened.into_parts();
    tracing::info!(?report.outcome, report.last_seq, report.durable_seq, report.epoch, "journal open");
    if let Some(kept_at) = &report.kept_at {
        tracing::warn!(bytes = report.cut_bytes, kept_at = %kept_at.display(), "a torn tail was cut: nothing of it was ever acknowledged as synced");
    }
    let mut state = state.join().map_err(|_| std::io::Error::other("no memory for the state"))?;
    let events = crate::recovery::replay(&dir, &mut state, &mut |events| {
        notifier.start_goes_on();
        notifier.status(&format!("replayed {events} events"));
    })?;
    let (pool_mib, connections_max) = (config.session.pool_mib, config.listen.connections_max);
    let Limits { orders_max, ids_max, .. } = limits;
    tracing::info!(pool_mib, connections_max, orders_max, ids_max, "memory");
    tracing::info!(events, open_orders = state.open_orders_count(), since_start = ?started.elapsed(), "state replayed");

    let mut side = Side { stop: Vec::new(), threads: Vec::new() };
    let address = venue::start(&config, &mut side)?;
    let clock = Clock::new();
    let replication = shipping::replication(&config, &clock);
    let link = Link::new(RING_MAX, RING_MAX, QUOTES_MAX, limits.accounts_max)?.with(Arc::clone(&replication));
    let link = Arc::new(link);
    let replay = Arc::new(ReplayLink::new(1024, 64)?);
    let counters = Arc::new(figures::mapped(hot_dir.as_deref(), calibration)?);
    let notices = Arc::new(Notices::default());
    let mut gateway = Gateway::new(Parts {
        settings: Settings {
            commands_per_turn_max: 256,
            replay_window: config.session.replay_window,
            throttle_rate: config.session.throttle_rate,
            throttle_burst: config.session.throttle_burst,
            throttle_strikes: config.session.throttle_strikes,
            durability_lag_max: config.journal.durability_lag_max,
            durability,
            stages: config.core.stages,
        },
        server: ServerConfig {
            gateway_id: Text::new(&config.broker.client),
            instance_id: u64::from(report.epoch),
            environment,
            core: config.core.id,
            resend_count_max: 4096,
            logon_timeout_ns: config.listen.logon_timeout_ms.saturating_mul(1_000_000),
            heartbeat_min_ms: config.listen.heartbeat_min_ms,
            heartbeat_max_ms: config.listen.heartbeat_max_ms,
        },
        clock,
        market: Market::new(limits.instruments_max),
        journal: writer,
        watermarks: Arc::clone(&watermarks),
        connections: Connections::new(
            Bounds {
                connections_max: config.listen.connections_max,
                outbound_bytes_max: config.session.outbound_bytes_max,
                pool_chunks: pool_chunks(config.session.pool_mib),
                close_linger_ns: config.listen.close_linger_ms.saturating_mul(1_000_000),
            },
            listeners(&config)?,
        )?,
        directory,
        lockouts: Lockouts::new(LockoutBounds {
            failures_max: config.listen.logon_failures_max,
            lockout_ns: config.listen.logon_lockout_ms.saturating_mul(1_000_000),
        }),
        gate: Gate::new(gate_frames(&config)),
        outbox: Outbox::new(Arc::clone(&link), OUTBOX_MAX, OUTBOX_MAX as usize),
        link: Arc::clone(&link),
        replay: Arc::clone(&replay),
        counters: Arc::clone(&counters),
        notices: Arc::clone(&notices),
        nonce,
        state,
    })?;
    define(&mut gateway, &config, report.epoch, durability)?;

    let watched = Watched { counters, notices, journal_dir: dir.clone(), durability };
    let source = Source { dir, durability: durability.raw(), replication: Arc::clone(&replication) };
    let replayer = Replayer::new(source, Arc::clone(&replay), config.session.replay_window)?;
    side.spawn("replay", move || {
        if let Err(error) = replayer.run() {
            tracing::error!(%error, "the journal cannot be read back; stopping");
            std::process::exit(i32::from(Exit::from(&error).code()));
        }
    })?;
    let leave = projection::start(&config, &mut side)?;
    shipping::start(&config, &mut side, &replication, &watermarks, stop, leave)?;
    let broker = VirtualBroker::new(
        VirtualConfig {
            address,
            client: config.broker.client.clone(),
            environment,
            core: config.core.id,
            epoch: report.epoch,
            cursor: gateway.state().broker_cursor(),
            instruments: config.instruments.iter().map(|i| (InstrumentId(i.id), i.symbol.clone())).collect(),
            backoff_min: Duration::from_millis(config.broker.backoff_min_ms),
            backoff_max: Duration::from_millis(config.broker.backoff_max_ms),
        },
        Arc::clone(&link),
    );
    let adapter = adapter.unwrap_or_else(|| Box::new(move |_| broker.run()));
    let adapter_link = Arc::clone(&link);
    side.spawn("broker", move || adapter(adapter_link))?;
    side.stop.push(Box::new(move || {
        link.stop.store(true, Ordering::Release);
        link.bell.ring();
    }));
    side.stop.push(Box::new(move || {
        replay.stop.store(true, Ordering::Release);
        replay.bell.ring();
    }));

    // The loop needs neither what the file said nor what reading it has left behind.
    config.forget_places();
    crate::memory::give_back();
    let result = run_loop(&mut gateway, &config, stop, watched, listening, &notifier);
    side.stop();
    // Before anything that may have to be waited for; the file of counters goes with the gateway, before its directory.
    closer.seal(gateway.into_journal());
    tracing::info!("stopped; the journal is sealed");
    side.join();
    match replication.taken_over() {
        Some(why) => Err(DaemonError::TakenOver(why.to_owned())),
        None => result,
    }
}

fn listeners(config: &Config) -> Result<Vec<Listener>, DaemonError> {
    let mut listeners = Vec::new();
    if let Some(address) = config.listen.tcp {
        let listener =
            Listener::tcp(address).map_err(|source| DaemonError::Listen { address: address.to_string(), source })?;
        listeners.push(listener);
    }
    if let Some(path) = &config.listen.unix {
        let path = config.beside(path);
        let listener = Listener::unix(&path)
            .map_err(|source| DaemonError::Listen { address: path.display().to_string(), source })?;
        listeners.push(listener);
    }
    Ok(listeners)
}

fn directory(config: &Config) -> Result<Directory, DaemonError> {
    let bounds = &config.session;
    let mut directory = Directory::default();
    for session in &config.sessions {
        let secret = config.secret(session)?;
        let Some(key) = MacKey::new(&secret) else { continue };
        let entry = Entry {
            key_id: Text::new(&session.key_id),
            key,
            roles: roles_of(Role::from(session.role)),
            accounts: session.accounts.clone().into_boxed_slice(),
            cod_mode: session.cod_mode.into(),
            pace: Pace::new(bounds.throttle_rate, bounds.throttle_burst, bounds.refusals_max),
            connection: None,
        };
        directory.insert(session.id, entry);
    }
    for core in &config.cores {
        directory.insert_core(core.id, Text::new(&core.address));
    }
    Ok(directory)
}

/// Journals what the configuration says, where it is new: a replay needs no configuration.
fn define(gateway: &mut Gateway, config: &Config, epoch: u32, durability: Durability) -> Result<(), DaemonError> {
    let environment = Environment::from(config.core.environment).raw();
    // A crash has cut them off: their orders are due as after any lost connection.
    gateway.end_sessions_of_last_life();
    let mut run = |what: String, command: &Command| {
        gateway.run(command).map_err(|reason| DaemonError::Definition { what, reason })
    };
    let start = Command::StartCore { epoch, core: config.core.id, environment, durability: durability.raw() };
    run("the start".to_owned(), &start)?;
    for instrument in config.instruments()? {
        run(format!("instrument {}", instrument.instrument_id), &Command::DefineInstrument(instrument))?;
    }
    for account in config.accounts()? {
        run(format!("account {}", account.meta.account_id), &Command::DefineAccount(account))?;
    }
    for session in &config.sessions {
        let command = Command::DefineSession {
            session_id: SessionId(session.id),
            session_epoch: session.epoch,
            role: session.role.into(),
            cod_mode: session.cod_mode.into(),
        };
        run(format!("session {} with epoch {}", session.id, session.epoch), &command)?;
    }
    Ok(())
}

fn run_loop(
    gateway: &mut Gateway,
    config: &Config,
    stop: &Stop,
    watched: Watched,
    listening: Listening,
    notifier: &Notifier,
) -> Result<(), DaemonError> {
    let addresses: Vec<String> = gateway.addresses();
    // Before anybody can know that it listens: who stops it then finds the journal sealed.
    stop.started();
    if let Err(error) = listening.write(&addresses) {
        // A full disk must not keep a gateway down whose orders can still be canceled.
        tracing::warn!(%error, "the addresses could not be written down");
    }
    tracing::info!(?addresses, "ready");
    notifier.ready(&format!("listening on {}", addresses.join(", ")));
    let watchdog = Watchdog::start(watched)?;
    // Last: a thread that is started behind it would share the loop's CPU.
    if let Some(cpu) = config.core.cpu {
        crate::affinity::pin(cpu)?;
    }
    let wait = match config.core.idle {
        Idle::Busy | Idle::Yield => Duration::ZERO,
        Idle::Park => Duration::from_micros(100),
    };
    let mut result = Ok(());
    while !stop.is_asked() {
        let wait = if gateway.is_waiting() { Duration::ZERO } else { wait };
        match gateway.turn(wait) {
            Ok(0) if config.core.idle != Idle::Busy => std::thread::yield_now(),
            Ok(_) => {}
            Err(error) => {
                result = Err(DaemonError::Io(error));
                break;
            }
        }
    }
    notifier.stopping("stopping");
    drain(gateway);
    watchdog.stop();
    result
}

/// No new sessions; goodbye to those there are; what is durable is sent. Ends by itself at the deadline.
fn drain(gateway: &mut Gateway) {
    let asked_at = Instant::now();
    gateway.drain();
    gateway.terminate_all();
    while !gateway.is_drained() && asked_at.elapsed() < STOP_DEADLINE {
        if gateway.turn(Duration::from_millis(1)).is_err() {
            return;
        }
    }
}
