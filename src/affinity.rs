//! Pinning a thread to a CPU.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Pins the calling thread.
///
/// # Errors
/// `InvalidInput` when the process may not use that CPU; else as `sched_setaffinity(2)`.
pub fn pin(cpu: usize) -> io::Result<()> {
    let allowed = sched_getaffinity(None)?;
    if cpu >= CpuSet::MAX_CPU || !allowed.is_set(cpu) {
        let may: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect();
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("core.cpu = {cpu}: this process may use CPUs {may:?}"),
        ));
    }
    let mut one = CpuSet::new();
    one.set(cpu);
    sched_setaffinity(None, &one)?;
    Ok(())
}
