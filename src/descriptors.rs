//! File descriptors: as many as are needed, if the system gives them.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises what this process, and those that it starts, may open to `count`.
///
/// # Errors
/// What the system allows, when that is less.
pub fn allow(count: u64) -> Result<(), u64> {
    let limit = getrlimit(Resource::Nofile);
    // `None` is no limit.
    if limit.current.is_none_or(|current| current >= count) {
        return Ok(());
    }
    let allowed = limit.maximum.map_or(count, |maximum| maximum.min(count));
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(allowed), maximum: limit.maximum });
    if raised.is_ok() && allowed == count { Ok(()) } else { Err(allowed) }
}
