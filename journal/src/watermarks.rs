//! How far the journal is durable, for the threads of the writer's process: in its memory, since a store into a page of
//! a file may have to wait for the disk. Readers of other processes take it from the file `durable`. Beside it stands
//! whether its readers are so far behind that it may not grow by what can wait.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::Thread;

use crossbeam::utils::CachePadded;

/// The durable watermark of an open journal.
#[derive(Debug)]
pub struct Watermarks {
    synced: CachePadded<AtomicU64>,
    is_backlogged: AtomicBool,
    /// The thread that moves it.
    syncer: OnceLock<Thread>,
}

impl Watermarks {
    /// A watermark that stands at `synced`.
    #[must_use]
    pub const fn new(synced: u64) -> Self {
        Self {
            synced: CachePadded::new(AtomicU64::new(synced)),
            is_backlogged: AtomicBool::new(false),
            syncer: OnceLock::new(),
        }
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

    /// Wakes the sync thread, if it sleeps, after something was committed that somebody waits for: a system call then,
    /// and none otherwise. Without it the thread looks again by itself (`SyncPolicy::idle_poll_ns`).
    pub fn wake_syncer(&self) {
        if let Some(syncer) = self.syncer.get() {
            syncer.unpark();
        }
    }

    /// The calling thread is the sync thread.
    pub(crate) fn sync_here(&self) {
        // There is one, for as long as the journal is open.
        let _ = self.syncer.set(std::thread::current());
    }

    /// True while readers that must not miss a record keep as much of the journal as they may.
    #[must_use]
    pub fn is_backlogged(&self) -> bool {
        // It orders nothing: a decision sooner or later makes no difference.
        self.is_backlogged.load(Ordering::Relaxed)
    }

    /// Says so: for whoever looks after these readers.
    pub fn set_backlogged(&self, is_backlogged: bool) {
        self.is_backlogged.store(is_backlogged, Ordering::Relaxed);
    }
}
