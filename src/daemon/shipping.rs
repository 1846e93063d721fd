//! The side threads that ship the journal, where the configuration says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
#[cfg(feature = "kafka")]
use std::time::Duration;

use tradecore_journal::Watermarks;
use tradecore_protocol::fields::Environment;

use super::projection::Leave;
use super::{DaemonError, Side, Stop, journal_dir};
use crate::clock::Clock;
use crate::config::Config;
use crate::replication::Replication;
use crate::retention::{self, Gate, Needs};
#[cfg(feature = "kafka")]
use crate::shipping::alerts;
use crate::shipping::domains::Stream;
use crate::shipping::files::Files;
#[cfg(feature = "kafka")]
use crate::shipping::kafka::{self, Cluster, Shipper, Trouble};

/// From one question to a cluster that does not answer to the next.
#[cfg(feature = "kafka")]
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// What the cluster has confirmed, to begin with: nothing.
pub(super) fn replication(config: &Config, clock: &Clock) -> Arc<Replication> {
    let is_leased = config.kafka().is_some_and(|kafka| kafka.lease_ms > 0);
    Arc::new(Replication::new(clock.origin(), is_leased))
}

/// Starts them. Whatever becomes of them, trading goes on: what is not shipped waits in the journal. But a host whose place
/// another has taken lets go of what both write, by `leave`, and stops: without a trading lease as soon as the cluster
/// tells of it, with one before the other trades.
pub(super) fn start(
    config: &Config,
    side: &mut Side,
    replication: &Arc<Replication>,
    watermarks: &Arc<Watermarks>,
    stop: &Stop,
    leave: Option<Leave>,
) -> Result<(), DaemonError> {
    keep(config, side, watermarks)?;
    if let Some(files) = config.ship.as_ref().and_then(|ship| ship.files.as_ref()) {
        let environment = Environment::from(config.core.environment).raw();
        let files = Files {
            journal_dir: journal_dir(config),
            dir: config.beside(&files.dir),
            file_bytes_max: files.file_mib.saturating_mul(1 << 20),
            parquet: files.parquet,
            stream: Stream { environment, core: config.core.id },
        };
        let asked = stop_of(side);
        side.spawn("ship-files", move || files.run(&asked))?;
    }
    // A build without Kafka has refused such a configuration (`Config::check_host`).
    #[cfg(feature = "kafka")]
    if let (Some(cluster), Some(looked_at)) = (Cluster::of(config)?, Cluster::of(config)?) {
        let (asked, stop, replication) = (stop_of(side), stop.clone(), Arc::clone(replication));
        side.spawn("ship-kafka", move || {
            let shipper = Shipper::new(cluster).confirming(Arc::clone(&replication));
            let Err(error) = shipper.run(&asked, false) else { return };
            // With a lease that is settled. Without one `ship run` may have taken over, for this very host.
            let is_another = |error| matches!(error, &Trouble::Superseded(_)) && has_another_host(&looked_at, &asked);
            if replication.taken_over().is_none() && is_another(&error) {
                replication.end(error.to_string());
            }
            if replication.taken_over().is_none() {
                let text = format!("shipping to Kafka has stopped, until the next start: {error}");
                alerts::raise(alerts::Kind::ShippingRefused, 0, text);
                return;
            }
            if let Some(leave) = leave {
                leave();
                tracing::warn!("the tables on the PostgreSQL server are left to the other host");
            }
            tracing::error!(%error, "another host has taken over; new orders are refused, and the gateway stops");
            stop.ask();
        })?;
    }
    #[cfg(not(feature = "kafka"))]
    let _ = (replication, stop, leave);
    Ok(())
}

/// Whether who has taken over ships another journal: `ship run` on this host ships this one. Asks until the cluster says
/// so, or `stop` is set.
#[cfg(feature = "kafka")]
fn has_another_host(cluster: &Cluster, stop: &AtomicBool) -> bool {
    while !stop.load(Ordering::Acquire) {
        let checked = match kafka::progress(cluster) {
            Ok(None) => return false,
            Ok(Some(progress)) => kafka::check_place(cluster, &progress),
            Err(error) => Err(error),
        };
        match checked {
            Ok(()) => return false,
            Err(Trouble::Superseded(_) | Trouble::Diverged(_)) => return true,
            Err(_) => std::thread::park_timeout(ASK_AGAIN),
        }
    }
    false
}

/// Before any reader starts, the journal knows of it; then what they keep is looked after, where there are any.
fn keep(config: &Config, side: &mut Side, watermarks: &Arc<Watermarks>) -> std::io::Result<()> {
    let needs = Needs::of(config);
    if let Err(error) = retention::prepare(&needs) {
        tracing::error!(%error, "readers of the journal could not be written down: segments must not be removed now");
    }
    if needs.readers.is_empty() {
        return Ok(());
    }
    let asked = stop_of(side);
    let gate = Gate::new(needs, Arc::clone(watermarks));
    side.spawn("retention", move || gate.run(&asked))
}

/// What tells a further thread to end.
pub(super) fn stop_of(side: &mut Side) -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&stop);
    side.stop.push(Box::new(move || stop.store(true, Ordering::Release)));
    asked
}
