//! The side threads that keep the read model and look after it.

use std::sync::Arc;
use std::time::Duration;

use super::shipping::stop_of;
use super::{DaemonError, Side};
use crate::config::Config;
use crate::projections::monitor::{Heal, watch};
use crate::projections::{self, Source};

/// Starts two for each database that is configured: one that writes, one that compares. They end by themselves, or when
/// all are stopped, and never the process.
pub(super) fn start(config: &Config, side: &mut Side) -> Result<(), DaemonError> {
    let check_interval = Duration::from_secs(config.projection.check_s);
    if config.projection.sqlite.is_some() {
        keep(projections::source_of(config), ["projection", "integrity"], check_interval, side)?;
    }
    if config.projection.has_postgres_thread()
        && let Some(source) = projections::server_source_of(config)?
    {
        keep(source, ["projection-pg", "integrity-pg"], check_interval, side)?;
    }
    Ok(())
}

fn keep(
    source: Source,
    [writer, monitor]: [&'static str; 2],
    check_interval: Duration,
    side: &mut Side,
) -> Result<(), DaemonError> {
    let heal = Arc::new(Heal::default());
    let (asked, watched, asks) = (stop_of(side), source.clone(), Arc::clone(&heal));
    side.spawn(writer, move || projections::follow_healed(&source, &heal, &asked))?;
    if !check_interval.is_zero() {
        let asked = stop_of(side);
        side.spawn(monitor, move || watch(&watched, check_interval, &asks, &asked))?;
    }
    Ok(())
}
