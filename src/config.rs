//! The configuration: one TOML file, overridden by `TRADECORE__SECTION__KEY`. Unknown keys are errors.
//!
//! `keys` and `venue_keys` declare every key once; `read` turns text and environment into a checked table; here the
//! table becomes a `Config`, whose parts must agree (`agree`); `reference` and `show` write what people read of it.

mod agree;
mod allowed;
mod declare;
mod error;
mod keys;
mod names;
mod nearest;
mod overrides;
mod postgres_keys;
mod read;
mod reference;
mod secret;
mod ship_keys;
mod show;
#[cfg(test)]
mod tests;
mod venue_keys;

use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Table, Value};
use tradecore_domain::event::{AccountDefined, InstrumentDefined, Meta};
use tradecore_protocol::fields::Role;
use tradecore_protocol::messages::roles;

use crate::market_data::decimal::{parse_money, parse_units};

pub use allowed::Allowed;
pub use declare::{Key, Section, Shape};
pub use error::{Code, ConfigError, Place, Refusal};
pub use keys::{Account, Broker, Core, Instrument, Journal, Listen, OtherCore, Projection, Session, SessionEntry};
pub use names::{BrokerKind, CodModeName, DurabilityName, EnvironmentName, FeedName, Idle, RoleName, TlsName};
pub use overrides::{ENV_PREFIX, environment, variable};
pub use postgres_keys::ProjectionPostgres;
pub use reference::{markdown, sample};
pub use ship_keys::{Ship, ShipFiles, ShipKafka};
pub use show::{check_command, show_command};

/// A longer file is no configuration.
/// File descriptors that a gateway has beside its clients' connections: journal, replay, venue, listeners.
const OTHER_DESCRIPTORS: u64 = 128;

const FILE_BYTES_MAX: u64 = 4 << 20;

/// Sections of the core, in the order in which people read them.
const SECTIONS: [Section; 14] = [
    Core::SECTION,
    Listen::SECTION,
    Session::SECTION,
    Journal::SECTION,
    Projection::SECTION,
    ProjectionPostgres::SECTION,
    Broker::SECTION,
    Instrument::SECTION,
    Account::SECTION,
    SessionEntry::SECTION,
    OtherCore::SECTION,
    Ship::SECTION,
    ShipFiles::SECTION,
    ShipKafka::SECTION,
];
static ALL: [&[Section]; 2] = [&SECTIONS, &venue_keys::VENUE_SECTIONS];

/// Every section that a configuration may have.
pub fn sections() -> impl Iterator<Item = &'static Section> + Clone {
    ALL.iter().flat_map(|sections| sections.iter())
}

/// A whole configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The core.
    pub core: Core,
    /// Where clients connect.
    pub listen: Listen,
    /// What sessions may do.
    pub session: Session,
    /// The journal.
    pub journal: Journal,
    /// The read model.
    pub projection: Projection,
    /// The broker.
    pub broker: Broker,
    /// The built-in venue, when `broker.kind = "paper"` and for `tradecore venue`.
    #[serde(default)]
    pub venue: Option<Table>,
    /// What may be traded.
    #[serde(default)]
    pub instruments: Vec<Instrument>,
    /// For whom.
    #[serde(default)]
    pub accounts: Vec<Account>,
    /// Who may log on.
    #[serde(default)]
    pub sessions: Vec<SessionEntry>,
    /// Where other cores are served.
    #[serde(default)]
    pub cores: Vec<OtherCore>,
    /// Where the journal is shipped to.
    #[serde(default)]
    pub ship: Option<Ship>,
    /// Every value as it was read, and where.
    #[serde(skip)]
    values: Table,
    #[serde(skip)]
    places: read::Places,
}

impl Config {
    /// Forgets where each value came from: a start that has succeeded needs it no more, and with many sessions it is
    /// most of a configuration. Errors and `show` know no lines afterwards.
    pub fn forget_places(&mut self) {
        self.values = Table::new();
        self.places.forget();
    }

    /// Reads a file, lays the overrides of the environment over it, and checks every value.
    ///
    /// # Errors
    /// The file, the line or variable, the key, and what is allowed; the caller refuses to start.
    pub fn load(path: &Path, env: impl Iterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let unreadable = |problem: String| Refusal {
            code: Code::Unreadable,
            file: path.to_owned(),
            place: None,
            key: None,
            value: None,
            problem,
            allowed: format!("a file of at most {FILE_BYTES_MAX} bytes, UTF-8"),
        };
        let mut text = String::new();
        let file = std::fs::File::open(path).map_err(|error| unreadable(error.to_string()))?;
        file.take(FILE_BYTES_MAX.saturating_add(1))
            .read_to_string(&mut text)
            .map_err(|error| unreadable(error.to_string()))?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(unreadable("the file is too long".to_owned()).into());
        }
        Self::parse(path, &text, env)
    }

    /// As `load`, of a text.
    ///
    /// # Errors
    /// As `load`.
    pub fn parse(path: &Path, text: &str, env: impl Iterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let overrides = env.filter(|(name, _)| name.starts_with(ENV_PREFIX));
        let (values, places) = read::read(path, text, overrides)?;
        // What was checked is of the right types: an error here is a list of keys that is not that of the structs.
        let mut config: Self = values
            .clone()
            .try_into()
            .map_err(|error: toml::de::Error| places.error(Code::WrongType, "", None, error.to_string(), "-"))?;
        (config.values, config.places) = (values, places);
        agree::check(&config)?;
        Ok(config)
    }

    fn disagreement(&self, path: &str, problem: impl Into<String>, allowed: impl Into<String>) -> ConfigError {
        self.places.error(
            Code::Disagreement,
            path,
            self.value_at(path).map(|value| value.to_string()),
            problem,
            allowed,
        )
    }

    fn not_allowed(&self, path: &str, problem: impl ToString, allowed: impl Into<String>) -> ConfigError {
        let value = self.value_at(path).map(|value| value.to_string());
        self.places.error(Code::NotAllowed, path, value, problem.to_string(), allowed)
    }

    /// The value at `core.id` or `instruments[0].symbol`.
    fn value_at(&self, path: &str) -> Option<&Value> {
        let mut parts = path.split(['.', '[']);
        let mut value = self.values.get(parts.next()?)?;
        for part in parts {
            value = match part.strip_suffix(']') {
                Some(index) => value.get(index.parse::<usize>().ok()?)?,
                None => value.get(part)?,
            };
        }
        Some(value)
    }

    /// True when the file or the environment says something of a key, as `core.id`.
    #[must_use]
    pub fn is_written(&self, path: &str) -> bool {
        self.places.of(path).is_some()
    }

    /// The instruments, as the domain defines them.
    ///
    /// # Errors
    /// The key, and what is allowed.
    pub fn instruments(&self) -> Result<Vec<InstrumentDefined>, ConfigError> {
        let define = |(index, instrument): (usize, &Instrument)| {
            let path = |name: &str| format!("instruments[{index}].{name}");
            Ok(InstrumentDefined {
                meta: Meta::default(),
                order_notional_max: self.money(&path("order_notional_max"), &instrument.order_notional_max)?,
                order_qty_max: self.units(&path("order_qty_max"), &instrument.order_qty_max)?,
                tick_size: self.units(&path("tick_size"), &instrument.tick_size)?,
                lot_size: self.units(&path("lot_size"), &instrument.lot_size)?,
                qty_min: self.units(&path("qty_min"), &instrument.qty_min)?,
                collar_ppm: instrument.collar_ppm,
                instrument_id: instrument.id,
                quote_age_max_ns: instrument.quote_age_max_ms.saturating_mul(1_000_000),
                symbol: self.text(&path("symbol"), &instrument.symbol)?,
                currency: self.text(&path("currency"), &instrument.currency)?,
                reserved: 0,
            })
        };
        self.instruments.iter().enumerate().map(define).collect()
    }

    /// The accounts, as the domain defines them.
    ///
    /// # Errors
    /// The key, and what is allowed.
    pub fn accounts(&self) -> Result<Vec<AccountDefined>, ConfigError> {
        let define = |(index, account): (usize, &Account)| {
            let path = |name: &str| format!("accounts[{index}].{name}");
            Ok(AccountDefined {
                meta: Meta { account_id: account.id, ..Meta::default() },
                initial_cash: self.money(&path("initial_cash"), &account.initial_cash)?,
                position_max: self.units(&path("position_max"), &account.position_max)?,
                open_orders_max: account.open_orders_max,
                rate_max: account.rate_max,
                currency: self.text(&path("currency"), &account.currency)?,
                owner_id: account.owner,
            })
        };
        self.accounts.iter().enumerate().map(define).collect()
    }

    fn units(&self, path: &str, text: &str) -> Result<i64, ConfigError> {
        parse_units(text).map_err(|error| self.not_allowed(path, error, Allowed::Units.to_string()))
    }

    fn money(&self, path: &str, text: &str) -> Result<i128, ConfigError> {
        let allowed = Allowed::Money { is_above_zero: false };
        parse_money(text).map(|money| money.0).map_err(|error| self.not_allowed(path, error, allowed.to_string()))
    }

    fn text<const N: usize>(&self, path: &str, text: &str) -> Result<[u8; N], ConfigError> {
        let mut bytes = [0; N];
        let Some(place) = bytes.get_mut(..text.len()) else {
            return Err(self.not_allowed(path, "is too long", format!("1 to {N} printable ASCII characters")));
        };
        place.copy_from_slice(text.as_bytes());
        Ok(bytes)
    }

    /// The venue's own section.
    ///
    /// # Errors
    /// The key, and what is allowed.
    pub fn venue(&self) -> Result<crate::venue::VenueConfig, ConfigError> {
        let allowed = "a section [venue] as docs/config.md lists it";
        let Some(table) = &self.venue else {
            return Err(self.places.error(Code::MissingKey, "venue", None, "is missing", allowed));
        };
        let refused = |problem: String| self.places.error(Code::NotAllowed, "venue.exchange", None, problem, allowed);
        let mut venue: crate::venue::VenueConfig =
            table.clone().try_into().map_err(|error: toml::de::Error| refused(error.message().to_owned()))?;
        venue.exchange.check().map_err(refused)?;
        venue.log_dir = self.beside(&venue.log_dir);
        venue.listen.iter_mut().for_each(|address| *address = self.address_beside(address));
        if let Some(capture) = &mut venue.capture {
            capture.paths.iter_mut().for_each(|path| *path = self.beside(path));
        }
        Ok(venue)
    }

    /// The key of a session.
    ///
    /// # Errors
    /// When it is missing, too short, or readable by others than its owner; `Code::Secret`.
    pub fn secret(&self, session: &SessionEntry) -> Result<Vec<u8>, ConfigError> {
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        self.secret_among(session, credentials.as_deref())
    }

    fn secret_among(&self, session: &SessionEntry, credentials: Option<&Path>) -> Result<Vec<u8>, ConfigError> {
        let named = &session.secret_file;
        secret::read(named, self.beside(named), credentials).map_err(|problem| {
            let index = self.sessions.iter().position(|known| known.id == session.id).unwrap_or_default();
            let path = format!("sessions[{index}].secret_file");
            let value = self.value_at(&path).map(ToString::to_string);
            self.places.error(Code::Secret, &path, value, problem, secret::ALLOWED)
        })
    }

    /// The cluster that the journal is shipped to, if there is one.
    #[must_use]
    pub fn kafka(&self) -> Option<&ShipKafka> {
        self.ship.as_ref()?.kafka.as_ref()
    }

    /// The secrets of `ship.kafka`, by the names of librdkafka.
    ///
    /// # Errors
    /// When one is missing, or readable by others than its owner; `Code::Secret`.
    pub fn kafka_secrets(&self) -> Result<Vec<(String, String)>, ConfigError> {
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        let entries = self.kafka().map_or(&[][..], |kafka| &kafka.secrets).iter().enumerate();
        let read = |(index, entry): (usize, &String)| {
            let (name, file) = entry.split_once('=').unwrap_or((entry, ""));
            let refused = |problem: String| {
                let allowed = "name=FILE, of a file that only its owner can read";
                self.places.error(Code::Secret, &format!("ship.kafka.secrets[{index}]"), None, problem, allowed)
            };
            let named = Path::new(file);
            let bytes = secret::read_any(named, self.beside(named), credentials.as_deref()).map_err(refused)?;
            let text = String::from_utf8(bytes).map_err(|_| refused(format!("{file}: is not UTF-8")))?;
            Ok((name.to_owned(), text))
        };
        entries.map(read).collect()
    }

    /// What is wrong with the settings of a client of the cluster.
    #[cfg(feature = "kafka")]
    pub(crate) fn bad_kafka(&self, problem: &str) -> ConfigError {
        let allowed = "names and values that librdkafka's CONFIGURATION.md lists";
        self.places.error(Code::NotAllowed, "ship.kafka", None, problem, allowed)
    }

    /// The password for `projection.postgres`; `None` when none is sent.
    ///
    /// # Errors
    /// When its file is missing, or readable by others than its owner; `Code::Secret`.
    pub fn postgres_password(&self) -> Result<Option<Vec<u8>>, ConfigError> {
        let Some(named) = self.projection.postgres.as_ref().and_then(|keys| keys.password_file.as_ref()) else {
            return Ok(None);
        };
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        let read = secret::read_any(named, self.beside(named), credentials.as_deref()).map(Some);
        read.map_err(|problem| {
            let allowed = "a file that only its owner can read, with the password in it";
            self.places.error(Code::Secret, "projection.postgres.password_file", None, problem, allowed)
        })
    }

    /// The certificates of the authorities that may sign that of the PostgreSQL server, as its file has them; `None` when
    /// it is spoken to in the clear.
    ///
    /// # Errors
    /// When the file cannot be read; `Code::Secret`.
    pub fn postgres_ca(&self) -> Result<Option<Vec<u8>>, ConfigError> {
        let keys = self.projection.postgres.as_ref().filter(|keys| keys.tls == TlsName::VerifyFull);
        let Some(named) = keys.and_then(|keys| keys.ca_file.as_ref()) else { return Ok(None) };
        std::fs::read(self.beside(named)).map(Some).map_err(|error| self.bad_postgres_ca(&error.to_string()))
    }

    /// What is wrong with that file.
    #[must_use]
    pub fn bad_postgres_ca(&self, problem: &str) -> ConfigError {
        let allowed = "a file of certificates in PEM, of the authorities that sign that of the server";
        self.places.error(Code::Secret, "projection.postgres.ca_file", None, problem, allowed)
    }

    /// Checks what depends on the host, and takes the file descriptors that are needed: a client may read this file
    /// elsewhere.
    ///
    /// # Errors
    /// The key, and what is allowed.
    pub fn check_host(&self) -> Result<(), ConfigError> {
        if self.kafka().is_some() && !cfg!(feature = "kafka") {
            let allowed = "a build with `--features kafka`, or no such section";
            return Err(self.not_allowed("ship.kafka", "this build of the gateway cannot speak to Kafka", allowed));
        }
        #[cfg(feature = "kafka")]
        crate::shipping::kafka::Cluster::check(self)?;
        let needed = u64::from(self.listen.connections_max).saturating_add(OTHER_DESCRIPTORS);
        if let Err(allowed) = crate::descriptors::allow(needed) {
            let problem = format!("{needed} file descriptors are needed with it, and this process may have {allowed}");
            let max = allowed.saturating_sub(OTHER_DESCRIPTORS);
            let allowed = format!("at most {max}, or a higher limit of open files (LimitNOFILE, ulimit -Hn)");
            return Err(self.not_allowed("listen.connections_max", problem, allowed));
        }
        let built_in = if self.broker.kind == BrokerKind::Paper { self.venue()?.capture } else { None };
        for (index, path) in built_in.iter().flat_map(|capture| &capture.paths).enumerate() {
            if let Err(error) = std::fs::metadata(path) {
                let (key, problem) = (format!("venue.capture.paths[{index}]"), format!("{}: {error}", path.display()));
                return Err(self.not_allowed(&key, problem, "a capture that is there"));
            }
        }
        let Some(cpu) = self.core.cpu else { return Ok(()) };
        let usable = crate::affinity::usable();
        if usable.contains(&cpu) {
            return Ok(());
        }
        Err(self.not_allowed("core.cpu", "this process may not use that CPU", format!("one of {usable:?}")))
    }

    /// An address that the file names: the path of a unix socket is relative to the file itself.
    #[must_use]
    pub fn address_beside(&self, address: &str) -> String {
        match address.strip_prefix("unix:") {
            Some(path) => format!("unix:{}", self.beside(Path::new(path)).display()),
            None => address.to_owned(),
        }
    }

    /// A path that the file names, relative to the file itself.
    #[must_use]
    pub fn beside(&self, path: &Path) -> PathBuf {
        self.places.file().parent().map_or_else(|| path.to_owned(), |dir| dir.join(path))
    }
}

/// The key of a session, from a file that no configuration names.
///
/// # Errors
/// The file, what is wrong with it, and what it must be.
pub fn read_secret(path: &Path) -> Result<Vec<u8>, String> {
    secret::read(path, path.to_owned(), None).map_err(|problem| format!("{problem}; allowed: {}", secret::ALLOWED))
}

/// Roles that a session of this role may log on with.
#[must_use]
pub const fn roles_of(role: Role) -> u8 {
    roles::only(role)
}
