//! How a process is asked to stop: by its own, or by signals.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::exit::Exit;

/// Orders a stop.
#[derive(Clone, Debug)]
pub struct Stop {
    is_asked: Arc<AtomicBool>,
    /// Until then there is nothing to drain, and a signal need not wait for what the start is busy with.
    is_starting: Arc<AtomicBool>,
}

impl Default for Stop {
    fn default() -> Self {
        Self { is_asked: Arc::default(), is_starting: Arc::new(AtomicBool::new(true)) }
    }
}

impl Stop {
    /// Asks for the stop.
    pub fn ask(&self) {
        self.is_asked.store(true, Ordering::Release);
    }

    /// True from the first time that it was asked for.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.is_asked.load(Ordering::Acquire)
    }

    /// The flag itself, for those who look at nothing else.
    #[must_use]
    pub fn flag(&self) -> &AtomicBool {
        &self.is_asked
    }

    /// The start is over: from here on the first signal leads to an orderly stop.
    pub fn started(&self) {
        self.is_starting.store(false, Ordering::Release);
    }

    /// SIGTERM and SIGINT ask from here on. During a start, and when it is the second one, a signal ends the process
    /// at once, in the handler: whatever a start or a stop waits for, it does not wait for that.
    ///
    /// # Errors
    /// When the system refuses a handler.
    pub fn at_signals(&self) -> io::Result<()> {
        use signal_hook::flag::{register, register_conditional_shutdown};
        for signal in [SIGTERM, SIGINT] {
            // In this order: a handler sees what the signals before it have set, and nothing of its own.
            register_conditional_shutdown(signal, i32::from(Exit::Ok.code()), Arc::clone(&self.is_starting))?;
            register_conditional_shutdown(signal, i32::from(Exit::StopCutShort.code()), Arc::clone(&self.is_asked))?;
            register(signal, Arc::clone(&self.is_asked))?;
        }
        Ok(())
    }
}
