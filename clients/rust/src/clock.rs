//! The clocks of a client that reads them itself.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tradecore_protocol::session::Now;

/// A monotonic clock that began with its client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { origin: Instant::now() }
    }

    pub(crate) fn now(self) -> Now {
        Now { mono_ns: ns(self.origin.elapsed()), utc_ns: ns(since_1970()) }
    }

    /// How long it is until a monotonic time.
    pub(crate) fn until(self, mono_ns: u64) -> Duration {
        Duration::from_nanos(mono_ns.saturating_sub(ns(self.origin.elapsed())))
    }
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
