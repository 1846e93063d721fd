//! A CPU of its own for one thread.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// CPUs that this process may use.
#[must_use]
pub fn usable() -> Vec<usize> {
    let allowed = sched_getaffinity(None).unwrap_or_default();
    (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect()
}

/// Takes the calling thread, and every thread that it starts from now on, off a CPU that is meant for one alone, one of
/// `usable`. Where there is no other CPU, all stay.
///
/// # Errors
/// As `sched_setaffinity(2)`.
pub fn leave(cpu: usize) -> io::Result<()> {
    let mut others = sched_getaffinity(None)?;
    others.unset(cpu);
    if others.count() > 0 {
        sched_setaffinity(None, &others)?;
    }
    Ok(())
}

/// Pins the calling thread.
///
/// # Errors
/// As `sched_setaffinity(2)`.
pub fn pin(cpu: usize) -> io::Result<()> {
    let mut one = CpuSet::new();
    one.set(cpu);
    sched_setaffinity(None, &one)?;
    Ok(())
}
