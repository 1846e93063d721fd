//! How far the journal is durable, for the threads of the writer's process: in its memory, since a store into a page of
//! a file may have to wait for the disk. Readers of other processes take it from the file `durable`.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::utils::CachePadded;

/// The durable watermark of an open journal.
#[derive(Debug)]
pub struct Watermarks {
    synced: CachePadded<AtomicU64>,
}

impl Watermarks {
    /// A watermark that stands at `synced`.
    #[must_use]
    pub const fn new(synced: u64) -> Self {
        Self { synced: CachePadded::new(AtomicU64::new(synced)) }
    }

    /// Last sequence number that survives power loss.
    #[must_use]
    pub fn synced(&self) -> u64 {
        self.synced.load(Ordering::Acquire)
    }

    /// Moves it: the sync thread's to do.
    pub fn set_synced(&self, seq: u64) {
        self.synced.store(seq, Ordering::Release);
    }
}
