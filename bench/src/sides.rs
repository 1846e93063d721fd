//! What a gateway has beside its order path: Kafka, tables in SQLite, and tables in PostgreSQL where there is one.

use std::path::Path;

use tempfile::TempDir;
use tradecore::projections::store::{open_for_questions, position};
use tradecore_journal::Retention;

use crate::Failure;
use crate::host::{Gateway, Place};
use crate::servers::{Kafka, Postgres};

/// The name of the shipper among the readers of a journal.
const SHIPPER: &str = "kafka";

/// The servers of it.
#[derive(Debug)]
pub(crate) struct Sides {
    pub(crate) kafka: Kafka,
    pub(crate) postgres: Option<Postgres>,
    keys: TempDir,
    gateways: u32,
}

/// How far each has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reached {
    pub(crate) shipped: u64,
    pub(crate) sqlite: u64,
    pub(crate) postgres: Option<u64>,
}

impl Reached {
    /// The last event that all have.
    pub(crate) fn all(self) -> u64 {
        self.shipped.min(self.sqlite).min(self.postgres.unwrap_or(u64::MAX))
    }
}

impl Sides {
    /// Those that are named or can be started, on the CPUs that the loop does not have.
    pub(crate) fn get() -> Result<Self, Failure> {
        let postgres = Postgres::get(Place::Aside);
        if let Err(why) = &postgres {
            println!("without PostgreSQL: {why}");
        }
        Self::of(Kafka::get(Place::Aside)?, postgres.ok())
    }

    /// Of these servers.
    pub(crate) fn of(kafka: Kafka, postgres: Option<Postgres>) -> Result<Self, Failure> {
        Ok(Self { kafka, postgres, keys: crate::scratch::dir()?, gateways: 0 })
    }

    /// The variables that switch it all on in a new gateway: topics and tables are its own.
    pub(crate) fn overrides(&mut self) -> Result<Vec<(&'static str, String)>, Failure> {
        self.gateways = self.gateways.saturating_add(1);
        let prefix = format!("bench{}-{}.", std::process::id(), self.gateways);
        let mut overrides = vec![
            ("TRADECORE__PROJECTION__SQLITE", "data/read-model.sqlite".to_owned()),
            ("TRADECORE__SHIP__KAFKA__BROKERS", self.kafka.address.clone()),
            ("TRADECORE__SHIP__KAFKA__TOPIC_PREFIX", prefix),
            ("TRADECORE__SHIP__KAFKA__REPLICATION_FACTOR", "1".to_owned()),
            ("TRADECORE__SHIP__KAFKA__MIN_INSYNC_REPLICAS", "1".to_owned()),
        ];
        if let Some(postgres) = &self.postgres {
            postgres.clear()?;
            overrides.extend(postgres.overrides(&self.keys.path().join("postgres"))?);
        }
        Ok(overrides)
    }

    /// How far they have come behind a gateway; nowhere what is not there yet.
    pub(crate) fn reached(&self, gateway: &Gateway) -> Result<Reached, Failure> {
        let retention = Retention::open(&gateway.journal_dir())?;
        let shipped = retention.positions().find(|(name, _)| *name == SHIPPER).map_or(0, |(_, seq)| seq);
        let postgres = self.postgres.as_ref().map(|server| {
            let asked = server.connect().and_then(|mut client| {
                let row = client.query_one("SELECT seq FROM projection_positions", &[])?;
                Ok(u64::try_from(row.get::<_, i64>(0))?)
            });
            asked.unwrap_or(0)
        });
        Ok(Reached { shipped, sqlite: sqlite_seq(&gateway.sqlite_path()), postgres })
    }
}

fn sqlite_seq(path: &Path) -> u64 {
    open_for_questions(path).and_then(|connection| position(&connection, path)).map_or(0, |position| position.seq)
}

/// As the start of a process takes them.
pub(crate) fn borrowed<'a>(overrides: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    overrides.iter().map(|(name, value)| (*name, value.as_str())).collect()
}
