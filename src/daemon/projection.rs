//! The side threads that keep the read model and look after it.

use std::sync::Arc;
use std::time::Duration;

use super::shipping::stop_of;
use super::{DaemonError, Side};
use crate::config::Config;
use crate::projections;
use crate::projections::monitor::{Heal, watch};

/// Starts one for each database that is configured, and one that compares. They end by themselves, or when all are
/// stopped, and never the process.
pub(super) fn start(config: &Config, side: &mut Side) -> Result<(), DaemonError> {
    if config.projection.sqlite.is_some() {
        let source = projections::source_of(config);
        let heal = Arc::new(Heal::default());
        let (asked, watched, asks) = (stop_of(side), source.clone(), Arc::clone(&heal));
        side.spawn("projection", move || projections::follow_healed(&source, &heal, &asked))?;
        let interval = Duration::from_secs(config.projection.check_s);
        if !interval.is_zero() {
            let asked = stop_of(side);
            side.spawn("integrity", move || watch(&watched, interval, &asks, &asked))?;
        }
    }
    if config.projection.has_postgres_thread()
        && let Some(source) = projections::server_source_of(config)?
    {
        let asked = stop_of(side);
        side.spawn("projection-pg", move || projections::follow(&source, &asked))?;
    }
    Ok(())
}
