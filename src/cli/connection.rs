//! Who logs on, and where: the options that the commands of a client share.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tradecore::config::{Code, SessionEntry};
use tradecore::exit::Exit;
use tradecore_client::protocol::codes::{ReplayMode, TakeoverPolicy};
use tradecore_client::protocol::fields::{Environment, Role};
use tradecore_client::protocol::reason::Reason;
use tradecore_client::{Address, Client, ClientError, Event, Options, StoreError};

use super::failure::Failure;
use super::report::Printer;
use super::values::{address, duration, named, whole};

#[derive(clap::Args)]
#[command(next_help_heading = "Connection")]
pub(super) struct Connection {
    /// The gateway's configuration; it says everything but the session.
    #[arg(long, required_unless_present = "address", conflicts_with = "address")]
    config: Option<PathBuf>,
    /// The configured session.
    #[arg(long, value_parser = whole::<u32>)]
    pub(super) session: u32,
    /// Where the gateway listens: `host:port` or `unix:PATH`.
    #[arg(long, requires_all = ["core", "environment", "key_id", "secret_file"],
        value_parser = address)]
    address: Option<String>,
    /// Number of the core.
    #[arg(long, requires = "address", value_parser = whole::<u16>)]
    core: Option<u16>,
    /// Whose money.
    #[arg(long, requires = "address", value_parser = named(Environment::TABLE))]
    environment: Option<Environment>,
    /// Names the key.
    #[arg(long, requires = "address")]
    key_id: Option<String>,
    /// File with the key, readable by its owner only.
    #[arg(long, requires = "address")]
    secret_file: Option<PathBuf>,
    /// What the session may do; by default `trade`.
    #[arg(long, requires = "address", value_parser = named(Role::TABLE))]
    role: Option<Role>,
    /// What the client must not forget; by default
    /// `$XDG_STATE_HOME/tradecore/<environment>-<core>-<session>@<place>.state`, in `~/.local/state` without the
    /// variable; the place is the gateway's data directory, or its address.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Ends the connection that the session has already.
    #[arg(long)]
    take_over: bool,
    /// Longest wait for the gateway: `500ms`, `5s`, `2m`.
    #[arg(long, default_value = "5s", value_parser = duration)]
    pub(super) timeout: Duration,
    /// Prints one JSON object a line.
    #[arg(long)]
    pub(super) json: bool,
}

/// A client, and what is known of its session before it is connected.
pub(super) struct Line {
    pub(super) client: Client,
    pub(super) role: Role,
    /// There was no state file: what the session was told earlier is not known.
    pub(super) is_new_state: bool,
    pub(super) printer: Printer,
    /// As people write it.
    address: String,
}

/// A gateway, as far as the options say.
struct Place {
    options: Options,
    /// Tells this gateway from others: its data directory, or its address.
    name: String,
    /// Names of the instruments, as far as they are known.
    symbols: BTreeMap<u32, String>,
}

impl Connection {
    /// That of a configured session, with all else at its default.
    #[cfg(feature = "kafka")]
    pub(super) fn of(config: &Path, session: u32) -> Self {
        Self {
            config: Some(config.to_owned()),
            session,
            address: None,
            core: None,
            environment: None,
            key_id: None,
            secret_file: None,
            role: None,
            state: None,
            take_over: false,
            timeout: Duration::from_secs(5),
            json: false,
        }
    }

    /// A client that is logged on and up to date, in time or not at all.
    pub(super) fn connect(&self, replay_mode: ReplayMode, stop: &AtomicBool) -> Result<Line, Failure> {
        let mut line = self.line(replay_mode)?;
        let deadline = Instant::now().checked_add(self.timeout);
        loop {
            if stop.load(Ordering::Acquire) {
                line.client.logout();
                return Err(Failure::new(Exit::Interrupted, "interrupted before the logon; nothing was sent"));
            }
            match line.client.poll(Duration::from_millis(50)).map_err(|error| self.refused(error))? {
                Some(Event::Ready { .. }) => return Ok(line),
                Some(Event::Abandoned { cl_ord_id }) => {
                    super::warn(&format!("order {} of an earlier command was not sent: too late", cl_ord_id.0));
                }
                Some(Event::NotApplied { cl_ord_id }) => {
                    super::warn(&format!(
                        "request {} of an earlier command was refused and had no effect",
                        cl_ord_id.0
                    ));
                }
                Some(Event::OutcomeUnknown { cl_ord_id }) => {
                    super::warn(&format!(
                        "what became of request {} of an earlier command is not known; look at open orders and fills",
                        cl_ord_id.0
                    ));
                }
                Some(_) => {}
                None if deadline.is_some_and(|deadline| Instant::now() < deadline) => {}
                None => return Err(self.unreachable(&line)),
            }
        }
    }

    /// A client that is not connected yet.
    pub(super) fn line(&self, replay_mode: ReplayMode) -> Result<Line, Failure> {
        let Place { mut options, name, symbols } = self.place()?;
        let state_path = self.state_path(&options, &name)?;
        let is_new_state = !state_path.exists();
        options.state_path = Some(state_path);
        options.app_name = "tradecore".to_owned();
        options.replay_mode = replay_mode;
        options.takeover = if self.take_over { TakeoverPolicy::TakeOver } else { TakeoverPolicy::Refuse };
        let address = match &options.address {
            Address::Tcp(address) => address.clone(),
            Address::Unix(path) => format!("unix:{}", path.display()),
        };
        let role = options.role;
        let client = match Client::new(options.clone()) {
            // Another command's: with `--take-over` this one goes on without a file, as a client that is new.
            Err(ClientError::Store(StoreError::Locked { .. })) if self.take_over => {
                Client::new(Options { state_path: None, ..options })?
            }
            Err(ClientError::Store(error @ StoreError::Locked { .. })) => {
                let text = format!("{error} (a `tradecore watch`?), give it a session of its own, or use --take-over");
                return Err(Failure::refused(Exit::Credential, Reason::SessionInUse, &text));
            }
            client => client?,
        };
        match client.in_doubt() {
            0 => {}
            count => super::warn(&format!("{count} requests of an earlier command had no answer; they are sent again")),
        }
        Ok(Line { client, role, is_new_state, printer: Printer::new(self.json, symbols), address })
    }

    /// The gateway was waited for in vain.
    pub(super) fn unreachable(&self, line: &Line) -> Failure {
        let Line { client, address, .. } = line;
        let trouble = client.trouble().unwrap_or("no answer");
        match client.refusal() {
            Some(reason) => self.advised(reason, Failure::refused(Exit::Credential, reason, trouble)),
            None => {
                let text = format!("{address}: {trouble}; waited {:?} (--timeout)", self.timeout);
                Failure::new(Exit::Unavailable, text)
            }
        }
    }

    /// Why a logon is refused, and what helps.
    pub(super) fn refused(&self, error: ClientError) -> Failure {
        let reason = match &error {
            ClientError::Refused { reason, .. } => *reason,
            _ => Reason::None,
        };
        self.advised(reason, Failure::from(error))
    }

    fn advised(&self, reason: Reason, mut failure: Failure) -> Failure {
        let advice = match reason {
            Reason::SessionInUse => "an algo may be at work; --take-over ends its connection",
            Reason::AuthFailed | Reason::LoginRate => "look at session, key id and secret",
            Reason::SeqAhead => "--state names another file",
            Reason::SeqUnavailable => "with --skip-missed the reports that are gone are left out",
            _ => return failure,
        };
        let text = failure.text.trim_end_matches('.');
        failure.text = format!("session {}: {text}; {advice}", self.session);
        failure
    }

    /// The options that say so again, for a further command.
    pub(super) fn words(&self) -> String {
        let mut words = format!("--session {}", self.session);
        let mut say = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                words = format!("{words} --{name} {value}");
            }
        };
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        say("config", path(&self.config));
        say("address", self.address.clone());
        say("core", self.core.map(|core| core.to_string()));
        say("environment", self.environment.map(|environment| environment.name().to_lowercase()));
        say("key-id", self.key_id.clone());
        say("secret-file", path(&self.secret_file));
        say("state", path(&self.state));
        words
    }

    fn place(&self) -> Result<Place, Failure> {
        if let Some(path) = &self.config {
            return self.configured(path);
        }
        let (Some(address), Some(core), Some(environment), Some(key_id), Some(secret_file)) =
            (&self.address, self.core, self.environment, &self.key_id, &self.secret_file)
        else {
            let allowed = "--config, or --address with --core, --environment, --key-id and --secret-file";
            return Err(Failure::new(Exit::Usage, format!("the connection is not said; allowed: {allowed}")));
        };
        let secret =
            tradecore::config::read_secret(secret_file).map_err(|text| Failure::new(Exit::Credential, text))?;
        let name = address.clone();
        let address = match address.strip_prefix("unix:") {
            Some(path) => Address::Unix(path.into()),
            None => Address::Tcp(address.clone()),
        };
        let mut options = Options::new(address, self.session, key_id, &secret);
        (options.core, options.environment) = (core, environment);
        options.role = self.role.unwrap_or(Role::Trade);
        Ok(Place { options, name, symbols: BTreeMap::new() })
    }

    fn configured(&self, path: &Path) -> Result<Place, Failure> {
        let config = super::config::load(path)?;
        let Some(session) = config.sessions.iter().find(|session| session.id == self.session) else {
            let known: Vec<String> = config.sessions.iter().map(|session| session.id.to_string()).collect();
            let text = format!("--session {}: not in {}; allowed: {}", self.session, path.display(), known.join(", "));
            return Err(Failure::new(Exit::Usage, text));
        };
        let secret = config.secret(session).map_err(|error| {
            let exit = if error.code == Code::Secret { Exit::Credential } else { Exit::Config };
            Failure::new(exit, error.to_string())
        })?;
        let SessionEntry { id, key_id, role, .. } = session;
        let mut options = Options::new(listener(&config)?, *id, key_id, &secret);
        options.core = config.core.id;
        options.environment = config.core.environment.into();
        options.role = (*role).into();
        let allowed = &config.listen;
        options.heartbeat_ms = options.heartbeat_ms.max(allowed.heartbeat_min_ms).min(allowed.heartbeat_max_ms);
        let data_dir = config.beside(&config.core.data_dir);
        let name = std::fs::canonicalize(&data_dir).unwrap_or(data_dir).display().to_string();
        let symbols = config.instruments.iter().map(|known| (known.id, known.symbol.clone())).collect();
        Ok(Place { options, name, symbols })
    }

    fn state_path(&self, options: &Options, place: &str) -> Result<PathBuf, Failure> {
        if let Some(path) = &self.state {
            return Ok(path.clone());
        }
        // Relative values are to be ignored: XDG Base Directory Specification.
        let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let base = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
        let Some(dir) = base.map(|base| base.join("tradecore")) else {
            return Err(Failure::new(Exit::Usage, "neither XDG_STATE_HOME nor HOME is set; name a file with --state"));
        };
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .map_err(|error| Failure::new(Exit::Io, format!("{}: {error}", dir.display())))?;
        let environment = options.environment.name().to_lowercase();
        let is_plain = |letter: &char| letter.is_ascii_alphanumeric() || *letter == '.';
        let plain: String = place.chars().map(|letter| if is_plain(&letter) { letter } else { '-' }).collect();
        // The end tells more than the beginning; a file's name has at most 255 bytes.
        let place = plain.get(plain.len().saturating_sub(160)..).unwrap_or_default().trim_matches('-');
        Ok(dir.join(format!("{environment}-{}-{}@{place}.state", options.core, options.session_id)))
    }
}

/// Where the gateway of a configuration listens: a unix socket where there is one.
fn listener(config: &tradecore::config::Config) -> Result<Address, Failure> {
    if let Some(path) = &config.listen.unix {
        return Ok(Address::Unix(config.beside(path)));
    }
    match config.listen.tcp {
        Some(address) if address.port() != 0 => return Ok(Address::Tcp(address.to_string())),
        Some(_) => {}
        None => return Err(Failure::new(Exit::Config, "listen: neither tcp nor unix; allowed: at least one")),
    }
    let data_dir = config.beside(&config.core.data_dir);
    let addresses = tradecore::daemon::listening(&data_dir);
    match addresses.into_iter().find(|address| address.parse::<SocketAddr>().is_ok()) {
        Some(address) => Ok(Address::Tcp(address)),
        None => {
            let text = format!("{} names no address: the gateway has not run", data_dir.join("listening").display());
            Err(Failure::new(Exit::Unavailable, text))
        }
    }
}
