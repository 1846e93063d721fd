//! What an operator must be told: small facts that the loop leaves for the watchdog's thread, which writes them to the
//! log.
//!
//! The ring is made at start, and nobody is woken for it: a line comes up to half a second after what it tells of.

use crossbeam::queue::ArrayQueue;
use tradecore_domain::event::Event;
use tradecore_protocol::fields::Role;
use tradecore_protocol::layout::Text;
use tradecore_protocol::reason::Reason;

use crate::counters::Counter;
use crate::session::lockout::Host;

/// Notices that wait at once: more than every configured session can cause by going and coming again.
const NOTICES_MAX: usize = 4_096;

/// Of whom a notice tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Who {
    /// The session; of a refused logon, the one that was asked for; 0 when none was.
    pub session_id: u32,
    /// Names the key.
    pub key_id: Text<16>,
    /// Where the connection comes from.
    pub host: Host,
}

/// A fact for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A session has begun.
    LoggedOn {
        /// Whose.
        who: Who,
        /// What it may do.
        role: Role,
    },
    /// A connection has ended before it was a session.
    LogonRefused {
        /// Whose, as it says itself.
        who: Who,
        /// Why.
        reason: Reason,
    },
    /// So many logons of this address and key have failed that `LoginRate` refuses the next ones.
    LockedOut {
        /// Whose, as it says itself.
        who: Who,
    },
    /// A session has ended.
    SessionEnded {
        /// Whose.
        who: Who,
        /// Why.
        reason: Reason,
    },
    /// The end of a session cancels its orders.
    CancelOnDisconnect {
        /// The session.
        session_id: u32,
        /// Only orders that carry the flag.
        flagged_only: bool,
    },
    /// A kill switch has changed.
    KillSwitch {
        /// Session that asked for it.
        session_id: u32,
        /// Account concerned; 0 for the whole core.
        account_id: u32,
        /// New orders are refused from now on.
        is_engaged: bool,
        /// Who and why, in the operator's words.
        operator_tag: Text<32>,
    },
}

impl Notice {
    /// What an operator must be told of an event.
    #[must_use]
    pub fn of(event: &Event) -> Option<Self> {
        match event {
            Event::KillSwitchChanged(e) => Some(Self::KillSwitch {
                session_id: e.meta.session_id,
                account_id: e.meta.account_id,
                is_engaged: e.engaged == 1,
                operator_tag: Text::of(e.operator_tag),
            }),
            Event::MassCancelAccepted(e) if e.reason == Reason::ClientDisconnect.raw() => {
                Some(Self::CancelOnDisconnect { session_id: e.target_session_id, flagged_only: e.flagged_only == 1 })
            }
            _ => None,
        }
    }
}

/// The ring between the loop and the log.
#[derive(Debug)]
pub struct Notices {
    ring: ArrayQueue<Notice>,
    dropped: Counter,
}

impl Default for Notices {
    fn default() -> Self {
        Self { ring: ArrayQueue::new(NOTICES_MAX), dropped: Counter::default() }
    }
}

impl Notices {
    /// Leaves a notice, from the loop; one without room is counted instead. Strangers get half of the room, so that a
    /// flood of wrong logons hides nothing else.
    pub fn leave(&self, notice: Notice) {
        let is_of_stranger = matches!(notice, Notice::LogonRefused { .. } | Notice::LockedOut { .. });
        let is_full = is_of_stranger && self.ring.len() >= NOTICES_MAX / 2;
        if is_full || self.ring.push(notice).is_err() {
            self.dropped.add(1);
        }
    }

    /// The oldest that was left.
    #[must_use]
    pub fn take(&self) -> Option<Notice> {
        self.ring.pop()
    }

    /// How many found no room since the start.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_fill_half_of_the_room_and_what_finds_none_is_counted() {
        let notices = Notices::default();
        let who = Who { session_id: 1, key_id: Text::new("k"), host: Host::Unix };
        for _ in 0..NOTICES_MAX {
            notices.leave(Notice::LogonRefused { who, reason: Reason::AuthFailed });
        }
        assert_eq!(notices.dropped(), (NOTICES_MAX / 2) as u64);
        let ended = Notice::SessionEnded { who, reason: Reason::ConnectionLost };
        for _ in 0..NOTICES_MAX {
            notices.leave(ended);
        }
        assert_eq!(notices.dropped(), NOTICES_MAX as u64);
        let taken = std::iter::from_fn(|| notices.take()).filter(|notice| *notice == ended).count();
        assert_eq!(taken, NOTICES_MAX / 2);
    }
}
