//! The configuration: one TOML file, overridden by `TRADECORE__SECTION__KEY`. Unknown keys are errors.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tradecore_domain::Limits;
use tradecore_domain::event::{AccountDefined, InstrumentDefined, Meta};
use tradecore_protocol::fields::{CodMode, Durability, Environment, Role};
use tradecore_protocol::messages::roles;

use crate::market_data::decimal::{parse_money, parse_units};

/// Prefix of overriding environment variables.
pub const ENV_PREFIX: &str = "TRADECORE__";

/// Why a configuration was not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is no configuration; the message names line, key and what is allowed.
    #[error("{}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What was wrong, and where.
        message: String,
    },
    /// A value is not allowed.
    #[error("{}: {key} = {value}: {allowed}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// Its value.
        value: String,
        /// What is allowed.
        allowed: String,
    },
    /// A secret is missing or readable by others.
    #[error("{}: {message}", path.display())]
    Secret {
        /// The file.
        path: PathBuf,
        /// What was wrong.
        message: String,
    },
}

/// A whole configuration.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The core.
    pub core: Core,
    /// Where clients connect.
    #[serde(default)]
    pub listen: Listen,
    /// What sessions may do.
    #[serde(default)]
    pub session: Session,
    /// The journal.
    #[serde(default)]
    pub journal: Journal,
    /// The broker.
    pub broker: Broker,
    /// The built-in venue, when `broker.kind = "paper"` and for `tradecore venue`.
    #[serde(default, skip_serializing)]
    pub venue: Option<toml::Table>,
    /// What may be traded.
    #[serde(default)]
    pub instruments: Vec<Instrument>,
    /// For whom.
    #[serde(default)]
    pub accounts: Vec<Account>,
    /// Who may log on.
    #[serde(default)]
    pub sessions: Vec<SessionEntry>,
    #[serde(skip)]
    path: PathBuf,
}

/// `[core]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Core {
    /// Number of the core, 1 to 65,535.
    pub id: u16,
    /// `live`, `paper` or `virtual`.
    pub environment: EnvironmentName,
    /// Directory of the journal and its files.
    pub data_dir: PathBuf,
    /// Directory in memory for hot segments; absent: the runtime directory of the service, else one in `/dev/shm`;
    /// `off`: segments are mapped in `data_dir`.
    #[serde(default)]
    pub hot_dir: Option<PathBuf>,
    /// `synced` (survives power loss) or `journaled` (survives a crash of the process).
    #[serde(default = "default_durability")]
    pub durability: DurabilityName,
    /// CPU that the loop is pinned to; none: the system decides.
    #[serde(default)]
    pub cpu: Option<usize>,
    /// What the loop does when there is nothing to do.
    #[serde(default)]
    pub idle: Idle,
    /// Open orders.
    #[serde(default = "default_orders_max")]
    pub orders_max: u32,
    /// ClOrdIDs of the open client epochs.
    #[serde(default = "default_ids_max")]
    pub ids_max: u32,
}

/// What the loop does when there is nothing to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Idle {
    /// Asks again at once: lowest latency, one CPU.
    #[default]
    Busy,
    /// Gives the CPU to others between two turns.
    Yield,
    /// Waits in the poll, at most 100 µs.
    Park,
}

/// Whose money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EnvironmentName {
    /// Real.
    Live,
    /// A broker's paper account.
    Paper,
    /// The built-in venue.
    Virtual,
}

impl From<EnvironmentName> for Environment {
    fn from(name: EnvironmentName) -> Self {
        match name {
            EnvironmentName::Live => Self::Live,
            EnvironmentName::Paper => Self::Paper,
            EnvironmentName::Virtual => Self::Virtual,
        }
    }
}

/// Durability class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DurabilityName {
    /// Survives a crash of the process.
    Journaled,
    /// Survives power loss.
    Synced,
}

impl From<DurabilityName> for Durability {
    fn from(name: DurabilityName) -> Self {
        match name {
            DurabilityName::Journaled => Self::Journaled,
            DurabilityName::Synced => Self::Synced,
        }
    }
}

const fn default_durability() -> DurabilityName {
    DurabilityName::Synced
}
const fn default_orders_max() -> u32 {
    8_192
}
const fn default_ids_max() -> u32 {
    262_144
}

/// `[listen]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listen {
    /// TCP address; none: no TCP.
    pub tcp: Option<SocketAddr>,
    /// Path of a unix socket; none: no unix socket.
    pub unix: Option<PathBuf>,
    /// Allows a TCP address that is not loopback: keys are safe there, orders can be read and changed.
    pub i_accept_plaintext_on_a_network: bool,
    /// Connections at once.
    pub connections_max: u32,
    /// Time from connection to logon, ms.
    pub logon_timeout_ms: u64,
    /// Shortest heartbeat interval, ms.
    pub heartbeat_min_ms: u32,
    /// Longest heartbeat interval, ms.
    pub heartbeat_max_ms: u32,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            tcp: Some(SocketAddr::from(([127, 0, 0, 1], 7400))),
            unix: None,
            i_accept_plaintext_on_a_network: false,
            connections_max: 1024,
            logon_timeout_ms: 5_000,
            heartbeat_min_ms: 100,
            heartbeat_max_ms: 60_000,
        }
    }
}

/// `[session]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Session {
    /// Reports that can be replayed.
    pub replay_window: u64,
    /// Bytes that may wait for a slow reader.
    pub outbound_bytes_max: usize,
    /// Frames a second; 0: no bound.
    pub throttle_rate: u32,
    /// Frames above the rate.
    pub throttle_burst: u32,
    /// Refused frames in a row after which the session ends.
    pub throttle_strikes: u32,
}

impl Default for Session {
    fn default() -> Self {
        Self {
            replay_window: 65_536,
            outbound_bytes_max: 4 << 20,
            throttle_rate: 0,
            throttle_burst: 10_000,
            throttle_strikes: 1_000,
        }
    }
}

/// `[journal]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Journal {
    /// Length of the first segment, MiB.
    pub first_segment_mib: u64,
    /// Length of the longest segment, MiB.
    pub max_segment_mib: u64,
    /// Events journaled but not yet durable above which new orders are refused.
    pub durability_lag_max: u64,
}

impl Default for Journal {
    fn default() -> Self {
        Self { first_segment_mib: 8, max_segment_mib: 64, durability_lag_max: 1_000_000 }
    }
}

/// `[broker]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Broker {
    /// `venue`: a venue process; `paper`: the same code inside this process.
    pub kind: BrokerKind,
    /// `host:port` or `unix:/path` of the venue.
    #[serde(default)]
    pub address: String,
    /// The gateway's name at the broker.
    #[serde(default = "default_client")]
    pub client: String,
    /// First wait before a reconnect, ms.
    #[serde(default = "default_backoff_min_ms")]
    pub backoff_min_ms: u64,
    /// Longest wait before a reconnect, ms.
    #[serde(default = "default_backoff_max_ms")]
    pub backoff_max_ms: u64,
}

/// Which broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BrokerKind {
    /// A venue process.
    Venue,
    /// A venue inside this process.
    Paper,
}

fn default_client() -> String {
    "tradecore".to_owned()
}
const fn default_backoff_min_ms() -> u64 {
    20
}
const fn default_backoff_max_ms() -> u64 {
    2_000
}

/// `[[instruments]]`; decimals are strings.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Instrument {
    /// From 1.
    pub id: u32,
    /// As the broker writes it.
    pub symbol: String,
    /// Of the price.
    pub currency: String,
    /// Price step.
    pub tick_size: String,
    /// Quantity step.
    pub lot_size: String,
    /// Smallest order.
    pub qty_min: String,
    /// Largest order.
    pub order_qty_max: String,
    /// Largest notional of an order.
    pub order_notional_max: String,
    /// Greatest distance from the market, parts per million.
    pub collar_ppm: u32,
    /// Greatest age of a price that a check may use, ms.
    pub quote_age_max_ms: u64,
}

/// `[[accounts]]`; decimals are strings.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// From 1.
    pub id: u32,
    /// Of its cash.
    pub currency: String,
    /// Cash when the account is new.
    pub initial_cash: String,
    /// Greatest absolute position.
    pub position_max: String,
    /// Greatest number of open orders.
    pub open_orders_max: u32,
    /// New orders and replaces a second; 0: no bound.
    #[serde(default)]
    pub rate_max: u32,
    /// User who owns it.
    #[serde(default)]
    pub owner: u64,
}

/// `[[sessions]]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SessionEntry {
    /// From 1.
    pub id: u32,
    /// Names the key, 1 to 16 characters.
    pub key_id: String,
    /// File with the key, readable by its owner only; or a name in `$CREDENTIALS_DIRECTORY`.
    pub secret_file: PathBuf,
    /// `trade`, `drop_copy`, `market_data` or `admin`.
    pub role: RoleName,
    /// Accounts that it may use; empty: all.
    #[serde(default)]
    pub accounts: Vec<u32>,
    /// `none`, `disconnect`, `logout` or `both`.
    #[serde(default)]
    pub cod_mode: CodModeName,
    /// Raised by an operator to reset the session's numbers.
    #[serde(default = "default_session_epoch")]
    pub epoch: u64,
}

const fn default_session_epoch() -> u64 {
    1
}

/// A session's role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RoleName {
    /// Orders.
    Trade,
    /// Copies of every report.
    DropCopy,
    /// Quotes.
    MarketData,
    /// Operators.
    Admin,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Trade => Self::Trade,
            RoleName::DropCopy => Self::DropCopy,
            RoleName::MarketData => Self::MarketData,
            RoleName::Admin => Self::Admin,
        }
    }
}

/// Cancel-on-disconnect by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CodModeName {
    /// Flagged orders only.
    #[default]
    None,
    /// On a lost connection.
    Disconnect,
    /// On logout.
    Logout,
    /// On both.
    Both,
}

impl From<CodModeName> for CodMode {
    fn from(name: CodModeName) -> Self {
        match name {
            CodModeName::None => Self::None,
            CodModeName::Disconnect => Self::Disconnect,
            CodModeName::Logout => Self::Logout,
            CodModeName::Both => Self::Both,
        }
    }
}

impl Config {
    /// Reads a file, lays the overrides of the environment over it, and checks every value.
    ///
    /// # Errors
    /// The file, the line, the key, and what is allowed.
    pub fn load(path: &Path, env: impl Iterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Io { path: path.to_owned(), source })?;
        Self::parse(path, &text, env)
    }

    /// As `load`, of a text.
    ///
    /// # Errors
    /// As `load`.
    pub fn parse(path: &Path, text: &str, env: impl Iterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let syntax = |message: String| ConfigError::Syntax { path: path.to_owned(), message };
        // The file by itself first: its errors name the line.
        let mut config: Self = toml::from_str(text).map_err(|error| syntax(error.to_string()))?;
        let overrides: Vec<_> = env.filter(|(name, _)| name.starts_with(ENV_PREFIX)).collect();
        if !overrides.is_empty() {
            let mut table: toml::Table = toml::from_str(text).map_err(|error| syntax(error.to_string()))?;
            for (name, value) in &overrides {
                lay_over(&mut table, name, value).map_err(&syntax)?;
            }
            config = table
                .try_into()
                .map_err(|error: toml::de::Error| syntax(format!("with the overrides of the environment: {error}")))?;
        }
        config.path = path.to_owned();
        config.check()?;
        Ok(config)
    }

    fn value(&self, key: impl Into<String>, value: impl ToString, allowed: impl Into<String>) -> ConfigError {
        ConfigError::Value {
            path: self.path.clone(),
            key: key.into(),
            value: value.to_string(),
            allowed: allowed.into(),
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        if self.core.id == 0 {
            return Err(self.value("core.id", 0, "1 to 65535"));
        }
        if let Some(address) = self.listen.tcp
            && !address.ip().is_loopback()
            && !self.listen.i_accept_plaintext_on_a_network
        {
            return Err(self.value(
                "listen.tcp",
                address,
                "a loopback address; on a network orders can be read and changed on their way: \
                 set listen.i_accept_plaintext_on_a_network = true only on a network that you trust with them",
            ));
        }
        if self.broker.kind == BrokerKind::Venue && self.broker.address.is_empty() {
            return Err(self.value("broker.address", "\"\"", "host:port or unix:/path of the venue"));
        }
        if self.broker.kind == BrokerKind::Paper && self.venue.is_none() {
            return Err(self.value("broker.kind", "paper", "needs a [venue] section"));
        }
        self.instruments()?;
        self.accounts()?;
        for session in &self.sessions {
            let key = format!("sessions[id={}]", session.id);
            if session.id == 0 || session.id > 1024 {
                return Err(self.value(format!("{key}.id"), session.id, "1 to 1024"));
            }
            if session.key_id.is_empty() || session.key_id.len() > 16 {
                return Err(self.value(format!("{key}.key_id"), &session.key_id, "1 to 16 characters"));
            }
            for account in &session.accounts {
                if !self.accounts.iter().any(|known| known.id == *account) {
                    return Err(self.value(format!("{key}.accounts"), account, "an id of [[accounts]]"));
                }
            }
        }
        Ok(())
    }

    fn units(&self, key: String, text: &str) -> Result<i64, ConfigError> {
        match parse_units(text) {
            Ok(units) if units > 0 => Ok(units),
            Ok(_) => Err(self.value(key, text, "above 0")),
            Err(error) => Err(self.value(key, text, format!("a decimal string: {error}"))),
        }
    }

    /// The instruments, as the domain defines them.
    ///
    /// # Errors
    /// The key, and what is allowed.
    pub fn instruments(&self) -> Result<Vec<InstrumentDefined>, ConfigError> {
        let limits = Limits::default();
        self.instruments
            .iter()
            .map(|instrument| {
                let key = |name: &str| format!("instruments[id={}].{name}", instrument.id);
                if instrument.id == 0 || instrument.id > limits.instruments_max {
                    return Err(self.value(key("id"), instrument.id, format!("1 to {}", limits.instruments_max)));
                }
                let money = parse_money(&instrument.order_notional_max).map_err(|error| {
                    self.value(key("order_notional_max"), &instrument.order_notional_max, error.to_string())
                })?;
                Ok(InstrumentDefined {
                    meta: Meta::default(),
                    order_notional_max: money.0,
                    order_qty_max: self.units(key("order_qty_max"), &instrument.order_qty_max)?,
                    tick_size: self.units(key("tick_size"), &instrument.tick_size)?,
                    lot_size: self.units(key("lot_size"), &instrument.lot_size)?,
                    qty_min: self.units(key("qty_min"), &instrument.qty_min)?,
                    collar_ppm: instrument.collar_ppm,
                    instrument_id: instrument.id,
                    quote_age_max_ns: instrument.quote_age_max_ms.saturating_mul(1_000_000),
                    symbol: self.text(key("symbol"), &instrument.symbol)?,
                    currency: self.text(key("currency"), &instrument.currency)?,
                    reserved: 0,
                })
            })
            .collect()
    }

    /// The accounts, as the domain defines them.
    ///
    /// # Errors
    /// The key, and what is allowed.
    pub fn accounts(&self) -> Result<Vec<AccountDefined>, ConfigError> {
        let limits = Limits::default();
        self.accounts
            .iter()
            .map(|account| {
                let key = |name: &str| format!("accounts[id={}].{name}", account.id);
                if account.id == 0 || account.id > limits.accounts_max {
                    return Err(self.value(key("id"), account.id, format!("1 to {}", limits.accounts_max)));
                }
                let cash = parse_money(&account.initial_cash)
                    .map_err(|error| self.value(key("initial_cash"), &account.initial_cash, error.to_string()))?;
                Ok(AccountDefined {
                    meta: Meta { account_id: account.id, ..Meta::default() },
                    initial_cash: cash.0,
                    position_max: self.units(key("position_max"), &account.position_max)?,
                    open_orders_max: account.open_orders_max,
                    rate_max: account.rate_max,
                    currency: self.text(key("currency"), &account.currency)?,
                    owner_id: account.owner,
                })
            })
            .collect()
    }

    fn text<const N: usize>(&self, key: String, text: &str) -> Result<[u8; N], ConfigError> {
        let mut bytes = [0; N];
        let is_printable = text.bytes().all(|byte| byte.is_ascii_graphic());
        match bytes.get_mut(..text.len()) {
            Some(place) if is_printable && !text.is_empty() => {
                place.copy_from_slice(text.as_bytes());
                Ok(bytes)
            }
            Some(_) | None => Err(self.value(key, text, format!("1 to {N} printable ASCII characters"))),
        }
    }

    /// The venue's own section.
    ///
    /// # Errors
    /// The key, and what is allowed.
    pub fn venue(&self) -> Result<crate::venue::VenueConfig, ConfigError> {
        let table = self.venue.clone().unwrap_or_default();
        table.try_into().map_err(|error: toml::de::Error| ConfigError::Syntax {
            path: self.path.clone(),
            message: format!("[venue]: {error}"),
        })
    }

    /// The key of a session.
    ///
    /// # Errors
    /// When it is missing, too short, or readable by others than its owner.
    pub fn secret(&self, session: &SessionEntry) -> Result<Vec<u8>, ConfigError> {
        use std::os::unix::fs::MetadataExt;
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        let in_credentials = credentials.map(|dir| dir.join(&session.secret_file)).filter(|path| path.exists());
        let path = in_credentials.clone().unwrap_or_else(|| self.beside(&session.secret_file));
        let failed = |message: String| ConfigError::Secret { path: path.clone(), message };
        let metadata =
            std::fs::metadata(&path).map_err(|error| failed(format!("the key of session {}: {error}", session.id)))?;
        if in_credentials.is_none() && metadata.mode() & 0o077 != 0 {
            return Err(failed("others can read this key; run chmod 600 on it".to_owned()));
        }
        let secret = std::fs::read(&path).map_err(|error| failed(error.to_string()))?;
        let secret = secret.trim_ascii().to_vec();
        if secret.len() < tradecore_protocol::transcript::KEY_BYTES_MIN {
            return Err(failed(
                "a key has at least 16 bytes; make one with: head -c 32 /dev/urandom | base64".to_owned(),
            ));
        }
        Ok(secret)
    }

    /// A path that the file names, relative to the file itself.
    #[must_use]
    pub fn beside(&self, path: &Path) -> PathBuf {
        self.path.parent().map_or_else(|| path.to_owned(), |dir| dir.join(path))
    }
}

/// Roles that a session of this role may log on with.
#[must_use]
pub const fn roles_of(role: Role) -> u8 {
    roles::only(role)
}

/// Sets `section.key` of a `TRADECORE__SECTION__KEY`.
fn lay_over(table: &mut toml::Table, name: &str, value: &str) -> Result<(), String> {
    let path: Vec<String> = name.trim_start_matches(ENV_PREFIX).split("__").map(str::to_lowercase).collect();
    let [section, key] = path.as_slice() else {
        return Err(format!("{name}: is TRADECORE__SECTION__KEY"));
    };
    let section_table = table.entry(section.clone()).or_insert_with(|| toml::Value::Table(toml::Table::new()));
    let Some(section_table) = section_table.as_table_mut() else {
        return Err(format!("{name}: {section} is a list; set it in the file"));
    };
    // A number or a boolean is what it looks like; everything else is text.
    let parsed = toml::from_str::<toml::Table>(&format!("v = {value}")).ok().and_then(|mut table| table.remove("v"));
    section_table.insert(key.clone(), parsed.unwrap_or_else(|| toml::Value::String(value.to_owned())));
    Ok(())
}
