//! Where the counters and stages of a gateway lie.

use std::io;
use std::path::Path;

use crate::mapped::Mapped;
use crate::ticks::Calibration;

/// With the hot segments, in memory that others can read; without them, or without room there, in memory of our own: what
/// is mapped from a disk would stop the loop whenever it is written back.
pub(super) fn mapped(hot_dir: Option<&Path>, calibration: Calibration) -> io::Result<Mapped> {
    let Some(dir) = hot_dir else {
        tracing::info!("without hot segments the counters are in private memory: `tradecore stages` cannot see them");
        return Mapped::private();
    };
    match Mapped::in_dir(dir, calibration.end()?) {
        Ok(mapped) => {
            tracing::info!(path = %mapped.path().unwrap_or(dir).display(), "counters");
            Ok(mapped)
        }
        Err(error) => {
            tracing::warn!(dir = %dir.display(), %error, "the counters are in private memory: `tradecore stages` cannot see them");
            Mapped::private()
        }
    }
}
