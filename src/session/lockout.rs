//! Who may not try to log on for a while: failed logons, by where they come from and the key that they name.
//!
//! Bounded, not journaled, and with no exception for loopback: a process of this host may guess keys as well. A key
//! that is not known is counted like one that is, so that the answer tells nothing. What names one key from one place
//! locks out neither other keys nor other places.

use std::net::IpAddr;

use tradecore_protocol::layout::Text;

/// Pairs of place and key that are remembered; a further one takes the place of that which would be forgotten first.
pub const LOCKOUTS_MAX: usize = 256;

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// An address; ports say nothing.
    Ip(IpAddr),
    /// The unix socket.
    Unix,
}

impl core::fmt::Display for Host {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

/// When a pair is locked out, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct LockoutBounds {
    /// Failed logons in a row that are let pass.
    pub failures_max: u32,
    /// Time that a failure counts, and that a lock-out lasts, ns.
    pub lockout_ns: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    host: Host,
    key_id: Text<16>,
    failures: u32,
    until_ns: u64,
}

/// The failures that still count.
#[derive(Debug)]
pub struct Lockouts {
    bounds: LockoutBounds,
    entries: Vec<Entry>,
}

impl Lockouts {
    /// No failures; the table is allocated here.
    #[must_use]
    pub fn new(bounds: LockoutBounds) -> Self {
        Self { bounds, entries: Vec::with_capacity(LOCKOUTS_MAX) }
    }

    /// How much longer the pair is locked out, ns; `None` when it may try.
    #[must_use]
    pub fn left_ns(&self, host: Host, key_id: Text<16>, now_ns: u64) -> Option<u64> {
        let entry = self.entries.iter().find(|entry| entry.host == host && entry.key_id == key_id)?;
        let left_ns = entry.until_ns.saturating_sub(now_ns);
        (entry.failures >= self.bounds.failures_max && left_ns > 0).then_some(left_ns)
    }

    /// A logon failed: its key is unknown or its MAC wrong. True when the pair is locked out from now on.
    pub fn failed(&mut self, host: Host, key_id: Text<16>, now_ns: u64) -> bool {
        let until_ns = now_ns.saturating_add(self.bounds.lockout_ns);
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.host == host && entry.key_id == key_id) {
            let earlier = if entry.until_ns > now_ns { entry.failures } else { 0 };
            entry.failures = earlier.saturating_add(1);
            entry.until_ns = until_ns;
            return entry.failures >= self.bounds.failures_max;
        }
        let entry = Entry { host, key_id, failures: 1, until_ns };
        if self.entries.len() < LOCKOUTS_MAX {
            self.entries.push(entry);
        } else {
            let failures_max = self.bounds.failures_max;
            let first_out = |entry: &&mut Entry| (entry.failures >= failures_max, entry.until_ns);
            if let Some(place) = self.entries.iter_mut().min_by_key(first_out) {
                *place = entry;
            }
        }
        self.bounds.failures_max <= 1
    }

    /// A logon succeeded: what failed before does not count any more.
    pub fn succeeded(&mut self, host: Host, key_id: Text<16>) {
        self.entries.retain(|entry| entry.host != host || entry.key_id != key_id);
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    const HERE: Host = Host::Unix;

    fn lockouts() -> Lockouts {
        Lockouts::new(LockoutBounds { failures_max: 3, lockout_ns: 1_000 })
    }

    #[test]
    fn a_pair_is_locked_out_after_its_last_allowed_failure_and_free_again_after_the_time() {
        let mut lockouts = lockouts();
        let key = Text::new("k");
        for now_ns in 0..3 {
            assert_eq!(lockouts.left_ns(HERE, key, now_ns), None);
            assert_eq!(lockouts.failed(HERE, key, now_ns), now_ns == 2);
        }
        assert_eq!(lockouts.left_ns(HERE, key, 2), Some(1_000));
        assert_eq!(lockouts.left_ns(HERE, key, 1_001), Some(1));
        assert_eq!(lockouts.left_ns(HERE, key, 1_002), None);
        lockouts.failed(HERE, key, 1_002);
        assert_eq!(lockouts.left_ns(HERE, key, 1_002), None, "old failures do not count");
    }

    #[test]
    fn another_key_another_place_and_a_success_are_not_locked_out() {
        let mut lockouts = lockouts();
        let [key, other] = [Text::new("k"), Text::new("l")];
        for now_ns in 0..3 {
            lockouts.failed(HERE, key, now_ns);
        }
        assert_eq!(lockouts.left_ns(HERE, other, 3), None);
        assert_eq!(lockouts.left_ns(Host::Ip([127, 0, 0, 1].into()), key, 3), None);
        for now_ns in 0..2 {
            lockouts.failed(HERE, other, now_ns);
        }
        lockouts.succeeded(HERE, other);
        lockouts.failed(HERE, other, 3);
        assert_eq!(lockouts.left_ns(HERE, other, 3), None);
    }

    #[test]
    fn a_full_table_forgets_first_whom_it_does_not_lock_out() {
        let mut lockouts = lockouts();
        let locked = Text::new("locked");
        for _ in 0..3 {
            lockouts.failed(HERE, locked, 0);
        }
        for nth in 0..LOCKOUTS_MAX * 2 {
            lockouts.failed(HERE, Text::new(&format!("k{nth}")), 1 + nth as u64);
        }
        assert_eq!(lockouts.entries.len(), LOCKOUTS_MAX);
        assert!(lockouts.left_ns(HERE, locked, 600).is_some());
    }
}
