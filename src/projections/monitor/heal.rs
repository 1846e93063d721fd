//! What the monitor asks of the writer.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// Tables that are to be made anew; between side threads only.
#[derive(Debug, Default)]
pub struct Heal {
    tables: Mutex<BTreeSet<&'static str>>,
    is_asked: AtomicBool,
}

impl Heal {
    /// Asks for it.
    pub fn ask(&self, tables: BTreeSet<&'static str>) {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner).extend(tables);
        self.is_asked.store(true, Ordering::Release);
    }

    /// True until it is done.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.is_asked.load(Ordering::Acquire)
    }

    /// What was asked for.
    #[must_use]
    pub fn tables(&self) -> Vec<&'static str> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }

    /// It was done, or cannot be.
    pub fn done(&self) {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.is_asked.store(false, Ordering::Release);
    }
}
