//! A CPU of its own for one thread.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Takes the calling thread, and every thread that it starts from now on, off a CPU that is meant for one alone. Where
/// there is no other CPU, all stay.
///
/// # Errors
/// `InvalidInput` when the process may not use that CPU; else as `sched_setaffinity(2)`.
pub fn leave(cpu: usize) -> io::Result<()> {
    let allowed = sched_getaffinity(None)?;
    if cpu >= CpuSet::MAX_CPU || !allowed.is_set(cpu) {
        let may: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect();
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("core.cpu = {cpu}: this process may use CPUs {may:?}"),
        ));
    }
    let mut others = allowed;
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
