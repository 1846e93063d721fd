//! The side threads that keep the read model and look after it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::shipping::stop_of;
use super::{DaemonError, Side};
use crate::config::Config;
use crate::projections::monitor::{Heal, watch};
use crate::projections::{self, Source};

/// Leaves the tables on a server to another host.
pub(super) type Leave = Box<dyn FnOnce() + Send>;

/// Starts two for each database that is configured: one that writes, unless another host does, and one that compares. They
/// end by themselves, or when all are stopped, and never the process. What is given back ends those of a server alone, for
/// another host that trades: its tables are those of whoever does.
pub(super) fn start(config: &Config, side: &mut Side) -> Result<Option<Leave>, DaemonError> {
    let check_interval = Duration::from_secs(config.projection.check_s);
    if config.projection.sqlite.is_some() {
        let stop = stop_of(side);
        keep(projections::source_of(config), ["projection", "integrity"], check_interval, &stop, side)?;
    }
    let Some(source) = projections::server_source_of(config)? else { return Ok(None) };
    let stop = stop_of(side);
    let heal = if config.projection.has_postgres_thread() {
        keep(source, ["projection-pg", "integrity-pg"], check_interval, &stop, side)?
    } else {
        let heal = Arc::new(Heal::elsewhere());
        compare(source, Arc::clone(&heal), "integrity-pg", check_interval, &stop, side)?;
        heal
    };
    Ok(Some(Box::new(move || {
        heal.leave();
        stop.store(true, Ordering::Release);
    })))
}

fn keep(
    source: Source,
    [writer, monitor]: [&'static str; 2],
    check_interval: Duration,
    stop: &Arc<AtomicBool>,
    side: &mut Side,
) -> Result<Arc<Heal>, DaemonError> {
    let heal = Arc::new(Heal::default());
    let (asked, written, asks) = (Arc::clone(stop), source.clone(), Arc::clone(&heal));
    side.spawn(writer, move || projections::follow_healed(&written, &asks, &asked))?;
    compare(source, Arc::clone(&heal), monitor, check_interval, stop, side)?;
    Ok(heal)
}

fn compare(
    source: Source,
    heal: Arc<Heal>,
    name: &'static str,
    interval: Duration,
    stop: &Arc<AtomicBool>,
    side: &mut Side,
) -> Result<(), DaemonError> {
    if !interval.is_zero() {
        let asked = Arc::clone(stop);
        side.spawn(name, move || watch(&source, interval, &heal, &asked))?;
    }
    Ok(())
}
