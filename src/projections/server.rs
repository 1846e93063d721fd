//! A PostgreSQL server that has the tables: where it is, and what its refusals mean.

use std::time::Duration;

use postgres::config::{SslMode, SslNegotiation};
use postgres::error::SqlState;

use super::error::ProjectionError;
use super::link::{Link, Tls, is_untrusted};

/// Longest wait for a connection, to each address of the server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long what was sent may stay without an answer of the other host before the connection counts as lost.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// Where the tables are on a server.
#[derive(Clone)]
pub struct Server {
    pub(super) config: postgres::Config,
    pub(super) link: Link,
    pub(super) schema: String,
    name: String,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

/// How a server is reached, and as whom.
#[derive(Clone, Copy, Debug)]
pub struct Reach<'a> {
    /// Host, or the directory of a unix socket.
    pub host: &'a str,
    /// Port.
    pub port: u16,
    /// Database.
    pub database: &'a str,
    /// User.
    pub user: &'a str,
    /// Schema of the tables.
    pub schema: &'a str,
    /// Longest silence while an answer is waited for.
    pub answer_max: Duration,
}

impl Server {
    /// A server that is reached so, in the clear without `tls`.
    #[must_use]
    pub fn new(reach: Reach<'_>, password: Option<&[u8]>, tls: Option<Tls>) -> Self {
        let Reach { host, port, database, user, schema, answer_max } = reach;
        let mut config = postgres::Config::new();
        config.host(host).port(port).dbname(database).user(user).application_name("tradecore projection");
        config.connect_timeout(CONNECT_TIMEOUT).tcp_user_timeout(SILENCE_MAX);
        config
            .keepalives_idle(Duration::from_secs(5))
            .keepalives_interval(Duration::from_secs(5))
            .keepalives_retries(3);
        // `Link` does what the client would do of TLS, so that it sees all of it; a unix socket has nobody in between.
        let is_watched = !host.starts_with('/');
        config.ssl_mode(if is_watched { SslMode::Require } else { SslMode::Disable });
        config.ssl_negotiation(SslNegotiation::Direct);
        if let Some(password) = password {
            config.password(password);
        }
        let name = format!("postgres://{user}@{host}:{port}/{database}, schema {schema}");
        Self { config, link: Link { answer_max, tls }, schema: schema.to_owned(), name }
    }

    /// The same, of a worker of a group: its fellows know its connections by that.
    #[must_use]
    pub fn of_group(mut self, group: &str) -> Self {
        let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, group.as_bytes());
        self.config.application_name(&format!("tradecore project {crc:016x}"));
        self
    }

    /// How it is called in errors: without the password.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Of rows that are sent: what the server says, or that it is gone.
    pub(super) fn io_error(&self, source: &std::io::Error) -> ProjectionError {
        match source.get_ref().and_then(|error| error.downcast_ref::<postgres::Error>()) {
            Some(error) => self.error_of(error),
            None => {
                let (path, trouble) = (self.name().into(), Trouble::Unreachable);
                ProjectionError::Postgres { path, trouble, text: source.to_string() }
            }
        }
    }

    pub(super) fn error(&self, source: postgres::Error) -> ProjectionError {
        self.error_of(&source)
    }

    fn error_of(&self, source: &postgres::Error) -> ProjectionError {
        let trouble = Trouble::of(source);
        ProjectionError::Postgres { path: self.name().into(), trouble, text: text_of(source) }
    }
}

/// What the server said, in one line.
fn text_of(error: &postgres::Error) -> String {
    if let Some(said) = error.as_db_error() {
        let detail = said.detail().map(|detail| format!(" ({detail})")).unwrap_or_default();
        return format!("{} {}{detail}", said.code().code(), said.message());
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Why a server does not do what it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It cannot be reached, or the connection to it was lost.
    Unreachable,
    /// It does not offer TLS, or does not show that it is who it should be.
    Untrusted,
    /// It does not let this user in.
    Unauthorized,
    /// It has no such database.
    NoDatabase,
    /// This user may not do what is needed.
    NoRights,
    /// It has no room.
    NoRoom,
    /// It takes no changes, as a standby.
    ReadOnly,
    /// Somebody else holds what is needed.
    Busy,
    /// It starts or stops.
    Restarting,
    /// Others have built upon the tables that have to be made anew.
    Depended,
    /// Something else, which trying again does not mend.
    Refused,
}

impl Trouble {
    fn of(error: &postgres::Error) -> Self {
        let Some(code) = error.code() else {
            return if is_untrusted(error) { Self::Untrusted } else { Self::Unreachable };
        };
        match *code {
            // A schema that this user may not use is as none to the search path.
            SqlState::INSUFFICIENT_PRIVILEGE | SqlState::INVALID_SCHEMA_NAME => return Self::NoRights,
            SqlState::INVALID_CATALOG_NAME => return Self::NoDatabase,
            SqlState::READ_ONLY_SQL_TRANSACTION => return Self::ReadOnly,
            SqlState::DISK_FULL => return Self::NoRoom,
            SqlState::DEPENDENT_OBJECTS_STILL_EXIST => return Self::Depended,
            SqlState::QUERY_CANCELED => return Self::Busy,
            _ => {}
        }
        match code.code().get(..2) {
            Some("08") => Self::Unreachable,
            Some("28") => Self::Unauthorized,
            Some("25" | "40" | "53" | "55") => Self::Busy,
            Some("57") => Self::Restarting,
            Some("58") => Self::NoRoom,
            _ => Self::Refused,
        }
    }

    /// Its name, and what to do.
    #[must_use]
    pub const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Unreachable => ("unreachable", "start it, or check host and port of projection.postgres"),
            Self::Untrusted => (
                "untrusted",
                "check host and ca_file of projection.postgres, and ssl and the certificate of the server",
            ),
            Self::Unauthorized => {
                ("unauthorized", "check user and password_file of projection.postgres, and pg_hba.conf of the server")
            }
            Self::NoDatabase => ("no-database", "make it with CREATE DATABASE, or check projection.postgres.database"),
            Self::NoRights => {
                ("no-rights", "make the schema with CREATE SCHEMA name AUTHORIZATION user, as docs/postgres.md says")
            }
            Self::NoRoom => ("no-room", "make room on the disk of the server"),
            Self::ReadOnly => ("read-only", "give projection.postgres the host of the primary"),
            Self::Busy => ("busy", "look for locks and limits in pg_stat_activity and pg_locks of the server"),
            Self::Restarting => ("restarting", "wait, or look at the log of the server"),
            Self::Depended => ("depended-on", "drop the views that others have made of these tables, and try again"),
            Self::Refused => (
                "refused",
                "look at the log of the server, then run `tradecore projection rebuild --database postgres`",
            ),
        }
    }

    /// True for what passes, or can be mended on the server: it is tried again.
    #[must_use]
    pub const fn may_pass(self) -> bool {
        !matches!(self, Self::Refused)
    }
}
