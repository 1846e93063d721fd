//! What the monitor asks of the writer.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// Tables that are to be made anew; between side threads only.
#[derive(Debug, Default)]
pub struct Heal {
    tables: Mutex<BTreeSet<&'static str>>,
    is_asked: AtomicBool,
    has_failed: AtomicBool,
    has_no_writer: bool,
    is_left: AtomicBool,
}

impl Heal {
    /// Of tables that another host writes: nobody here makes them anew.
    #[must_use]
    pub fn elsewhere() -> Self {
        Self { has_no_writer: true, ..Self::default() }
    }

    pub(super) const fn has_writer(&self) -> bool {
        !self.has_no_writer
    }

    /// The tables are another host's from now on: whoever writes here ends with what it is at.
    pub fn leave(&self) {
        self.is_left.store(true, Ordering::Release);
    }

    /// True once they are.
    #[must_use]
    pub fn is_left(&self) -> bool {
        self.is_left.load(Ordering::Acquire)
    }

    /// Asks for it.
    pub fn ask(&self, tables: BTreeSet<&'static str>) {
        if self.has_no_writer {
            return;
        }
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

    /// True when what was asked for last was not done, or nobody here could.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.has_no_writer || self.has_failed.load(Ordering::Acquire)
    }

    /// It was done, or cannot be.
    pub fn done(&self, is_healed: bool) {
        self.has_failed.store(!is_healed, Ordering::Release);
        self.tables.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.is_asked.store(false, Ordering::Release);
    }
}
