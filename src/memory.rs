//! Memory that a start needs and the loop does not.

/// Gives what was freed back to the system: the allocator keeps it otherwise, as resident memory of nobody.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: `malloc_trim` takes a number, reads and writes no object of ours, and may run beside any other thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
