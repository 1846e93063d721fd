//! The thread beside the loop that looks after it twice a second: it feeds the service manager's watchdog while the
//! loop turns, and writes to the log what an operator must know. The loop itself writes none.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tradecore_protocol::fields::Durability;
use tradecore_protocol::reason::Reason;

use crate::counters::Counter;
use crate::mapped::Mapped;
use crate::notices::{Notice, Notices};
use crate::systemd::Notifier;

const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Looks without a refusal, 5 s, after which refusals are told as over: what comes and goes faster is one thing.
const QUIET_LOOKS: u32 = 10;
/// Looks from one search for the hot segment to the next, 5 s.
const HOT_LOOKS: u32 = 10;

/// Looks after the loop until it is stopped.
#[derive(Debug)]
pub struct Watchdog {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// What is looked at.
#[derive(Debug)]
pub struct Watched {
    /// What the loop counts.
    pub counters: Arc<Mapped>,
    /// What it leaves for the log.
    pub notices: Arc<Notices>,
    /// The journal, for its hot segments.
    pub journal_dir: PathBuf,
    /// Class that is at risk without them.
    pub durability: Durability,
}

impl Watchdog {
    /// Starts it.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(watched: Watched) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stop_thread = Arc::clone(&stop);
        let thread =
            std::thread::Builder::new().name("watchdog".to_owned()).spawn(move || watched.look_until(&stop_thread))?;
        Ok(Self { stop, thread })
    }

    /// Ends it, after a last look.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Release);
        self.thread.thread().unpark();
        drop(self.thread.join());
    }
}

impl Watched {
    fn look_until(&self, stop: &AtomicBool) {
        let notifier = Notifier::from_env();
        let (mut last_turns, mut last_dropped) = (0, 0);
        let mut refusals = self.counters.of_pressure().map(|(reason, _)| (reason, Refusals::default()));
        let mut hot = HotSegments::default();
        loop {
            let is_last = stop.load(Ordering::Acquire);
            let turns = self.counters.turns.get();
            if turns != last_turns {
                notifier.watchdog();
            }
            last_turns = turns;
            while let Some(notice) = self.notices.take() {
                write(notice);
            }
            let dropped = self.notices.dropped();
            if dropped != last_dropped {
                let count = dropped.saturating_sub(last_dropped);
                tracing::warn!(count, "lines were left out here: more was to be told than there was room for");
            }
            last_dropped = dropped;
            for ((reason, refusals), (_, counter)) in refusals.iter_mut().zip(self.counters.of_pressure()) {
                refusals.look(reason, counter);
            }
            if is_last {
                return;
            }
            hot.look(&self.journal_dir, self.durability);
            std::thread::park_timeout(LOOK_INTERVAL);
        }
    }
}

fn write(notice: Notice) {
    match notice {
        Notice::LoggedOn { who, role } => {
            tracing::info!(session = who.session_id, key_id = ?who.key_id, address = %who.host, ?role, "logged on");
        }
        // No failure: the first logon of every client that is new.
        Notice::LogonRefused { who, reason: Reason::EpochMismatch } => {
            tracing::debug!(
                session = who.session_id, key_id = ?who.key_id, address = %who.host,
                "a client asked for the epoch of its session, as new ones do; it logs on again with it"
            );
        }
        Notice::LogonRefused { who, reason } => {
            tracing::warn!(session = who.session_id, key_id = ?who.key_id, address = %who.host, ?reason, "a logon was refused");
        }
        Notice::LockedOut { who } => {
            tracing::warn!(
                session = who.session_id, key_id = ?who.key_id, address = %who.host,
                "too many failed logons: LoginRate refuses those of this key from this address, which are not told of again"
            );
        }
        Notice::SessionEnded { who, reason: reason @ (Reason::Logout | Reason::Shutdown) } => {
            tracing::info!(session = who.session_id, key_id = ?who.key_id, address = %who.host, ?reason, "the session ended");
        }
        Notice::SessionEnded { who, reason } => {
            tracing::warn!(session = who.session_id, key_id = ?who.key_id, address = %who.host, ?reason, "the session ended");
        }
        Notice::CancelOnDisconnect { session_id, flagged_only: true } => {
            tracing::info!(
                session = session_id,
                "cancel-on-disconnect cancels what orders of the session carry its flag"
            );
        }
        Notice::CancelOnDisconnect { session_id, flagged_only: false } => {
            tracing::warn!(session = session_id, "cancel-on-disconnect cancels all orders of the session");
        }
        Notice::KillSwitch { session_id, account_id: 0, is_engaged, operator_tag } => {
            tracing::warn!(session = session_id, is_engaged, ?operator_tag, "the kill switch of the core has changed");
        }
        Notice::KillSwitch { session_id, account_id, is_engaged, operator_tag } => {
            tracing::warn!(
                session = session_id,
                account = account_id,
                is_engaged,
                ?operator_tag,
                "the kill switch of an account has changed"
            );
        }
    }
}

/// New orders, or connections, that are refused for one reason of pressure: told when it begins, and when it has been quiet.
#[derive(Debug, Default)]
struct Refusals {
    seen: u64,
    /// What had been counted when it began, while it lasts.
    before: Option<u64>,
    quiet_looks: u32,
}

/// What is to be told of them.
#[derive(Debug, PartialEq, Eq)]
enum Turn {
    Begun,
    Ended { count: u64 },
}

impl Refusals {
    fn look(&mut self, reason: &'static str, counter: &Counter) {
        match self.turn(counter.get()) {
            Some(Turn::Begun) if reason == Reason::ConnectionsMax.name() => {
                tracing::warn!(
                    reason,
                    "listen.connections_max are open: the oldest that is not logged on makes room, or else the new one is refused"
                );
            }
            Some(Turn::Begun) => tracing::warn!(reason, "new orders are refused"),
            Some(Turn::Ended { count }) => {
                tracing::info!(reason, count, "none was refused so for 5 s");
            }
            None => {}
        }
    }

    fn turn(&mut self, count: u64) -> Option<Turn> {
        let earlier = std::mem::replace(&mut self.seen, count);
        if count != earlier {
            self.quiet_looks = 0;
            return self.before.replace(self.before.unwrap_or(earlier)).is_none().then_some(Turn::Begun);
        }
        self.quiet_looks = self.quiet_looks.saturating_add(1);
        if self.quiet_looks < QUIET_LOOKS {
            return None;
        }
        self.before.take().map(|before| Turn::Ended { count: count.saturating_sub(before) })
    }
}

/// The copy in memory of what is being written: whether it still has its name.
#[derive(Debug, Default)]
struct HotSegments {
    looks: u32,
    was_missing: bool,
    is_told: bool,
}

impl HotSegments {
    fn look(&mut self, journal_dir: &Path, durability: Durability) {
        self.looks = self.looks.wrapping_add(1);
        if self.is_told || !self.was_missing && !self.looks.is_multiple_of(HOT_LOOKS) {
            return;
        }
        // What cannot be looked at is not known to be missing.
        let missing = tradecore_journal::missing_hot_segment(journal_dir).ok().flatten();
        // Two looks in a row: a segment may have been drained between the parts of one.
        if let Some(path) = missing.as_ref().filter(|_| self.was_missing) {
            self.is_told = true;
            let at_risk = match durability {
                Durability::Journaled => "the process must not crash: what was told in the last 10 ms would be lost",
                Durability::Synced | Durability::Replicated => "nothing that was told is lost",
            };
            tracing::error!(
                path = %path.display(),
                "the hot segment was taken away under the gateway; {at_risk}, but a start after a crash is refused with exit \
                 code 84, and with this segment full the gateway does not go on. Stop it with SIGTERM, which brings all of \
                 it to the disk, then start it again"
            );
        }
        self.was_missing = missing.is_some();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_once_when_they_begin_and_once_when_none_has_come_for_a_while() {
        let mut refusals = Refusals::default();
        assert_eq!(refusals.turn(0), None);
        assert_eq!(refusals.turn(3), Some(Turn::Begun));
        assert_eq!(refusals.turn(5), None);
        for _ in 1..QUIET_LOOKS {
            assert_eq!(refusals.turn(5), None, "a pause is no end");
        }
        assert_eq!(refusals.turn(6), None, "they go on");
        for _ in 1..QUIET_LOOKS {
            assert_eq!(refusals.turn(6), None);
        }
        assert_eq!(refusals.turn(6), Some(Turn::Ended { count: 6 }));
        assert_eq!(refusals.turn(6), None, "and that was told");
        assert_eq!(refusals.turn(7), Some(Turn::Begun));
    }
}
