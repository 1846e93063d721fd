//! The read side: events folded into tables of a database, each batch with its position in one transaction.
//!
//! Owns rows, schema, rebuilds and the questions that are asked of them. Reads the journal, from what is synced only,
//! and must not know the loop: nothing here can hold it up.
//!
//! | file | owns |
//! |---|---|
//! | `tables.rs` | every table and column, declared once |
//! | `cell.rs`, `declare.rs` | how values become cells; how a declaration becomes rows, DDL and views |
//! | `schema.rs` | numbered migrations, for both databases |
//! | `fold.rs` | what an event means for a row: pure |
//! | `rows.rs` | rows between two transactions |
//! | `store.rs` | the tables, whichever database has them |
//! | `sqlite.rs`; `postgres.rs`, `server.rs`, `link.rs` | SQLite; PostgreSQL, what its refusals mean, TLS, and when it counts as lost |
//! | `projector.rs`, `follow.rs` | journal → tables; the daemon's thread |
//! | `worker.rs` | topics → tables on a server; a process of its own, one of several (feature `kafka`) |
//! | `removal.rs` | closed rows that leave after some days |
//! | `rebuild.rs` | rows made anew, compared, put in place |
//! | `identity.rs` | whether the files are still those that were opened |
//! | `partial.rs` | some tables made anew in place, or added |
//! | `monitor.rs` | a second fold, laid beside samples of rows |
//! | `durable.rs` | what of the tables survives power loss |
//! | `queries.rs`, `ask.rs`, `rights.rs` | the list of questions; how one is asked; who may see which rows |
//! | `cache.rs` | answers that are still true |
//! | `reference.rs` | the lists in `docs/queries.md` |

pub mod aggregate;
pub mod ask;
pub mod cache;
pub mod cell;
pub mod codes;
pub mod declare;
mod durable;
mod error;
pub mod fold;
mod follow;
mod identity;
mod link;
pub mod monitor;
pub mod partial;
mod postgres;
mod projector;
pub mod queries;
mod rebuild;
pub mod reference;
pub mod removal;
pub mod rights;
pub mod rows;
pub mod schema;
pub mod server;
mod sqlite;
pub mod store;
pub mod tables;
#[cfg(feature = "kafka")]
pub mod worker;

use crate::config::{Config, ConfigError};

pub use durable::durable_seq;
pub use error::{ProjectionError, rebuild_of};
pub use follow::{follow, follow_healed, open};
pub use link::Tls;
pub use projector::{BATCH_EVENTS_MAX, Mismatch, Projector, Source, check_place, stream_of};
pub use rebuild::{Compared, OnProgress, Rebuilt, compare, rebuild, rebuild_unasked, verify};
pub use server::{Reach, Server};

/// Where the projection of a gateway reads and writes: as configured, else beside the journal.
#[must_use]
pub fn source_of(config: &Config) -> Source {
    let path = match &config.projection.sqlite {
        Some(path) => config.beside(path),
        None => config.beside(&config.core.data_dir).join("read-model.sqlite"),
    };
    let environment = tradecore_protocol::fields::Environment::from(config.core.environment);
    let stream = stream_of(config.core.id, environment.name());
    let keep_days = config.projection.keep_days;
    Source { journal_dir: crate::daemon::journal_dir(config), path, stream, keep_days, server: None }
}

/// The same of the tables on a PostgreSQL server, if one is configured; what is made beside them on this host is made in
/// `data_dir`.
///
/// # Errors
/// When the password or the certificates cannot be read.
pub fn server_source_of(config: &Config) -> Result<Option<Source>, ConfigError> {
    let Some(keys) = &config.projection.postgres else { return Ok(None) };
    let reach = Reach {
        host: &keys.host,
        port: keys.port,
        database: &keys.database,
        user: &keys.user,
        schema: &keys.schema,
        answer_max: std::time::Duration::from_secs(keys.answer_timeout_s),
    };
    let tls = config.postgres_ca()?.map(|pem| Tls::of(&pem)).transpose();
    let tls = tls.map_err(|problem| config.bad_postgres_ca(&problem))?;
    let server = Server::new(reach, config.postgres_password()?.as_deref(), tls);
    let path = config.beside(&config.core.data_dir).join("read-model-postgres");
    Ok(Some(Source { path, server: Some(server), ..source_of(config) }))
}
