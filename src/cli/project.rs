//! `tradecore project`.

use std::path::PathBuf;

use tradecore::config::{Config, ConfigError, FeedName, ShipKafka};
use tradecore::exit::Exit;
use tradecore::projections::server_source_of;
use tradecore::projections::worker::{Work, project};
use tradecore::shipping::kafka::{Cluster, group_of};

use super::failure::Failure;

/// Keeps the tables on a PostgreSQL server, from the topics in Kafka: a worker of its own, on any host, until SIGTERM.
///
/// It takes the configuration of the gateway, with `[ship.kafka]`, and `[projection.postgres]` with `feed = "kafka"`; for
/// several cores that share the topics, one of each. Workers with the same configurations share the cores; when one is
/// gone, another has its cores after the session timeout of the group (45 s, or `session.timeout.ms` in
/// ship.kafka.settings). Neither the journal nor the gateway is needed.
#[derive(clap::Args)]
#[command(after_help = "Example: tradecore project --config gateway.toml\n\
                        Example: tradecore project --config live-1.toml --config live-2.toml")]
pub(super) struct Project {
    /// The configuration of a gateway; may be given several times.
    #[arg(long, required = true)]
    config: Vec<PathBuf>,
    /// Ends with this process, its parent.
    #[arg(long, hide = true, value_name = "PID")]
    die_with_parent: Option<i32>,
}

impl Project {
    pub(super) fn run(self) -> Result<(), Failure> {
        super::die_with_parent(self.die_with_parent)?;
        let stop = super::stop_at_signals()?;
        let mut works: Vec<Work> = Vec::new();
        let mut shared: Option<ShipKafka> = None;
        for path in &self.config {
            let failed = |exit, problem: &str| Failure::new(exit, format!("{}: {problem}", path.display()));
            let refused = |problem: &str| failed(Exit::Config, problem);
            let config = super::config::load(path)?;
            let kafka = config.kafka().ok_or_else(|| refused("no section [ship.kafka]; docs/kafka.md has one"))?;
            let first = shared.get_or_insert_with(|| kafka.clone());
            if (&first.brokers, &first.topic_prefix, first.partitions)
                != (&kafka.brokers, &kafka.topic_prefix, kafka.partitions)
            {
                return Err(refused(
                    "brokers, topic_prefix or partitions of [ship.kafka] are others than in the first configuration: \
                     start a worker for each cluster",
                ));
            }
            let work = work_of(&config).map_err(|(exit, problem)| failed(exit, &problem))?;
            if works.iter().any(|known| known.cluster.stream() == work.cluster.stream()) {
                return Err(refused("its core is that of another configuration; each is given once"));
            }
            works.push(work);
        }
        let streams: Vec<_> = works.iter().map(|work| work.cluster.stream()).collect();
        for work in &mut works {
            let group = group_of(&work.cluster, &streams);
            work.source.server = work.source.server.take().map(|server| server.of_group(&group));
        }
        project(works, &stop).map_err(|error| Failure::new(Exit::from(&error), error.to_string()))
    }
}

fn work_of(config: &Config) -> Result<Work, (Exit, String)> {
    let no_secret = |error: ConfigError| (Exit::Credential, error.to_string());
    let is_fed = config.projection.postgres.as_ref().is_some_and(|keys| keys.feed == FeedName::Kafka);
    let (true, Some(source)) = (is_fed, server_source_of(config).map_err(no_secret)?) else {
        let problem = "these tables are the gateway's own: set projection.postgres.feed = \"kafka\", there too, and start it \
                       again; docs/postgres.md tells how";
        return Err((Exit::Config, problem.to_owned()));
    };
    let cluster = Cluster::of(config).map_err(no_secret)?;
    let cluster = cluster.ok_or_else(|| (Exit::Config, "no section [ship.kafka]".to_owned()))?;
    Ok(Work { cluster, source })
}
