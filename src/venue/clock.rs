//! The venue process's only clock.

use std::time::{SystemTime, UNIX_EPOCH};

/// UTC nanoseconds now; 0 before 1970.
pub(crate) fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos());
    u64::try_from(since).unwrap_or(u64::MAX)
}
