//! The venue inside the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{DaemonError, Side};
use crate::config::{BrokerKind, Config};
use crate::exit::Exit;

/// Starts it, where the configuration has none elsewhere; the address that the adapter connects to.
pub(super) fn start(config: &Config, side: &mut Side) -> Result<String, DaemonError> {
    if config.broker.kind == BrokerKind::Venue {
        return Ok(config.address_beside(&config.broker.address));
    }
    let mut venue = config.venue()?;
    if venue.listen.is_empty() {
        venue.listen.push("127.0.0.1:0".to_owned());
    }
    let server = crate::venue::Server::bind(&venue)?;
    let address = server
        .tcp_addresses()
        .first()
        .map_or_else(|| venue.listen.first().cloned().unwrap_or_default(), ToString::to_string);
    let stop = Arc::new(AtomicBool::new(false));
    let stop_venue = Arc::clone(&stop);
    side.spawn("venue", move || {
        if let Err(error) = server.run(&stop_venue) {
            tracing::error!(%error, "the venue cannot go on; stopping");
            std::process::exit(i32::from(Exit::from(&error).code()));
        }
    })?;
    side.stop.push(Box::new(move || stop.store(true, Ordering::Release)));
    Ok(address)
}
