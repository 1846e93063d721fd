//! `tradecore journal restore`.

use std::path::PathBuf;

use serde_json::json;
use tradecore::exit::Exit;
use tradecore::shipping::kafka::{Cluster, RestoreTrouble, Restored, restore};
use tradecore_journal::RestoreError;

use super::super::failure::Failure;
use super::super::print;
use super::super::projection::Progress;
use super::super::ship;

/// Makes the journal anew from the topics that it was shipped to, for a host that is lost; `docs/kafka.md` says how.
///
/// Every event is checked on the way, and all is read back: records are byte for byte as they were. The place must be
/// empty, or of a restore that was interrupted. Exit code 89 when the topics no longer begin with the first event, 86
/// when they do not hold each event once.
#[derive(clap::Args)]
#[command(after_help = "Example: tradecore journal restore --from-kafka --config gateway.toml --take-over\n\
                        Example: tradecore journal restore --from-kafka --config gateway.toml --into /tmp/drill")]
pub(crate) struct Restore {
    /// From the topics of [ship.kafka]; there is no other source yet.
    #[arg(long, required = true)]
    from_kafka: bool,
    /// The configuration of the gateway, with a section [ship.kafka].
    #[arg(long)]
    config: PathBuf,
    /// Directory for the journal; without it the one where the gateway looks for it.
    #[arg(long)]
    into: Option<PathBuf>,
    /// Fences the shipper of the lost host first, so that nothing can come behind what is restored. Where it still runs
    /// under a trading lease, it trades no more, and stops.
    #[arg(long)]
    take_over: bool,
    /// Prints one JSON object; integers of 64 bits are strings.
    #[arg(long)]
    json: bool,
}

impl Restore {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let config = super::super::config::load(&self.config)?;
        let cluster = Cluster::of(&config).map_err(|error| Failure::new(Exit::Credential, error.to_string()))?;
        let cluster = cluster
            .ok_or_else(|| Failure::new(Exit::Config, format!("{}: no section [ship.kafka]", self.config.display())))?;
        let dir = self.into.clone().unwrap_or_else(|| tradecore::daemon::journal_dir(&config));
        tracing::info!(brokers = cluster.brokers(), stream = %cluster.stream(), "asking what is shipped");
        let mut progress = Progress::new("restoring")?;
        let restored = restore(&cluster, &dir, self.take_over, &mut |seq, end_seq| progress.tell(seq, end_seq));
        progress.end();
        let Restored { events, last_seq, epoch, digest } = restored.map_err(failed)?;
        let rate = progress.rate(events);
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        if self.json {
            let text = json!({
                "dir": dir, "stream": cluster.stream().to_string(), "events": events.to_string(),
                "last_seq": last_seq.to_string(), "epoch": epoch, "sha256": digest,
                "events_per_s": rate.to_string(),
            });
            return print(&text.to_string()).map(drop);
        }
        print(&format!(
            "restored {events} events of stream {} into {}, {rate}/s; last event {last_seq} of start epoch {epoch}, read \
             back byte for byte, sha256 {digest}",
            cluster.stream(),
            dir.display()
        ))
        .map(drop)
    }
}

fn failed(trouble: RestoreTrouble) -> Failure {
    let exit = match trouble {
        RestoreTrouble::Cluster(trouble) => return ship::failed(trouble),
        RestoreTrouble::Read(error) => return super::unreadable(error),
        RestoreTrouble::Write(RestoreError::Open(ref error)) => Exit::from(error),
        RestoreTrouble::Write(RestoreError::NotEmpty { .. }) => Exit::Usage,
        RestoreTrouble::Write(RestoreError::Record { .. }) | RestoreTrouble::Flaw { .. } => Exit::ProofFailed,
        RestoreTrouble::Write(RestoreError::Io { ref source, .. })
            if source.kind() == std::io::ErrorKind::StorageFull =>
        {
            Exit::JournalNoSpace
        }
        RestoreTrouble::Nothing(_) => Exit::Unavailable,
        RestoreTrouble::Shortened { .. } => Exit::JournalShortened,
        RestoreTrouble::Stopped => Exit::Interrupted,
        _ => Exit::Io,
    };
    Failure::new(exit, trouble.to_string())
}
