//! The one place that asks what time it is.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tradecore_protocol::session::Now;

/// A clock that is read once a turn. UTC never goes back, however the system's clock is set.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
    last_utc_ns: u64,
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock {
    /// A clock whose monotonic time starts now.
    #[must_use]
    pub fn new() -> Self {
        Self { origin: Instant::now(), last_utc_ns: 0 }
    }

    /// Both times.
    pub fn read(&mut self) -> Now {
        let utc_ns = utc_ns().max(self.last_utc_ns);
        self.last_utc_ns = utc_ns;
        Now { mono_ns: u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX), utc_ns }
    }
}

/// UTC as the system says, ns since the Unix epoch.
#[must_use]
pub fn utc_ns() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX)
}
