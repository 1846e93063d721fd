//! What the cluster has confirmed, as the core must know it: how far it has the journal, and until when this core may
//! trade.
//!
//! Written by the thread that ships, read by the loop and by the adapter: a load each, no lock, nothing waits.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam::utils::CachePadded;

use crate::clock::{Moment, boottime_ns};

/// No lease is needed: the core may always trade.
const ALWAYS: u64 = u64::MAX;

/// What the cluster has confirmed.
#[derive(Debug)]
pub struct Replication {
    /// Where the loop's monotonic time starts.
    origin: Instant,
    replicated_seq: CachePadded<AtomicU64>,
    /// ns of that time.
    leased_until_ns: CachePadded<AtomicU64>,
    /// The same moment, in ns since the host was started.
    leased_until_boot_ns: CachePadded<AtomicU64>,
    /// Before this, by both clocks, the core does not trade, whatever else is said: others may.
    held_until_ns: AtomicU64,
    held_until_boot_ns: AtomicU64,
    taken_over: OnceLock<String>,
}

impl Replication {
    /// Nothing is confirmed. With `is_leased` the core may not trade until it is.
    #[must_use]
    pub fn new(origin: Instant, is_leased: bool) -> Self {
        let until = || CachePadded::new(AtomicU64::new(if is_leased { 0 } else { ALWAYS }));
        Self {
            origin,
            replicated_seq: CachePadded::new(AtomicU64::new(0)),
            leased_until_ns: until(),
            leased_until_boot_ns: until(),
            held_until_ns: AtomicU64::new(0),
            held_until_boot_ns: AtomicU64::new(0),
            taken_over: OnceLock::new(),
        }
    }

    /// Last event that survives the loss of the host.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.replicated_seq.load(Ordering::Acquire)
    }

    /// The cluster has all up to this event.
    pub fn set_seq(&self, seq: u64) {
        self.replicated_seq.store(seq, Ordering::Release);
    }

    /// True when new orders may leave at this time of the loop's, ns.
    #[must_use]
    pub fn may_trade(&self, mono_ns: u64) -> bool {
        let held_until_ns = self.held_until_ns.load(Ordering::Acquire);
        mono_ns >= held_until_ns && mono_ns < self.leased_until_ns.load(Ordering::Acquire)
    }

    /// The same, now: for who writes to a broker, at the last moment before it does. While a host is suspended, the loop's
    /// time stands still and a lease runs out all the same.
    #[must_use]
    pub fn may_trade_now(&self) -> bool {
        let held_until_ns = self.held_until_boot_ns.load(Ordering::Acquire);
        match (held_until_ns, self.leased_until_boot_ns.load(Ordering::Acquire)) {
            (0, ALWAYS) => true,
            (_, until_ns) => (held_until_ns..until_ns).contains(&boottime_ns()),
        }
    }

    /// The cluster has confirmed a commit that was begun then: nobody else can trade for `lease` from that moment on.
    pub fn renew(&self, begun: Moment, lease: Duration) {
        if self.taken_over.get().is_none() {
            let lease_ns = u64::try_from(lease.as_nanos()).unwrap_or(0);
            self.leased_until_ns.store(self.ns_at(begun.at).saturating_add(lease_ns), Ordering::Release);
            self.leased_until_boot_ns.store(begun.boot_ns.saturating_add(lease_ns), Ordering::Release);
        }
    }

    /// Leases of others may last for `wait` from then on: this core does not trade before, with a lease or without.
    pub fn hold(&self, from: Moment, wait: Duration) {
        let wait_ns = u64::try_from(wait.as_nanos()).unwrap_or(ALWAYS);
        // A shorter wait that is asked for later cuts none short.
        self.held_until_boot_ns.fetch_max(from.boot_ns.saturating_add(wait_ns), Ordering::AcqRel);
        self.held_until_ns.fetch_max(self.ns_at(from.at).saturating_add(wait_ns), Ordering::AcqRel);
    }

    /// Another has taken over, or will: nothing new leaves from here on, whatever was confirmed before.
    pub fn end(&self, why: String) {
        // The first reason counts.
        drop(self.taken_over.set(why));
        self.leased_until_ns.store(0, Ordering::Release);
        self.leased_until_boot_ns.store(0, Ordering::Release);
    }

    /// Why this core must stop, when another has taken over.
    #[must_use]
    pub fn taken_over(&self) -> Option<&str> {
        self.taken_over.get().map(String::as_str)
    }

    fn ns_at(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.origin).as_nanos()).unwrap_or(ALWAYS)
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(1);
    const LEASE_NS: u64 = 1_000_000_000;

    #[test]
    fn a_lease_lasts_from_the_beginning_of_the_commit_that_renewed_it_and_not_a_moment_longer() {
        let origin = Instant::now();
        let replication = Replication::new(origin, true);
        assert!(!replication.may_trade(0), "nothing is confirmed yet");
        replication.renew(Moment { at: origin + Duration::from_millis(300), boot_ns: boottime_ns() }, LEASE);
        assert!(replication.may_trade(0) && replication.may_trade(300_000_000 + LEASE_NS - 1));
        assert!(!replication.may_trade(300_000_000 + LEASE_NS));
        assert!(replication.may_trade_now());
        // As long ago as a paused process would find it.
        replication.renew(Moment::now(), Duration::ZERO);
        assert!(!replication.may_trade_now());
    }

    #[test]
    fn a_lease_runs_out_while_the_host_is_suspended_though_the_loops_time_stands_still() {
        let replication = Replication::new(Instant::now(), true);
        let now = Moment::now();
        // A commit was begun, the host was suspended for the length of the lease, and wakes up.
        replication.renew(Moment { boot_ns: now.boot_ns - LEASE_NS, ..now }, LEASE);
        assert!(replication.may_trade(replication.ns_at(now.at)), "the loop cannot know");
        assert!(!replication.may_trade_now());
    }

    #[test]
    fn who_needs_no_lease_waits_all_the_same_until_those_of_others_have_run_out() {
        let replication = Replication::new(Instant::now(), false);
        let now = Moment::now();
        replication.hold(now, LEASE);
        let until_ns = replication.ns_at(now.at) + LEASE_NS;
        assert!(!replication.may_trade(0) && !replication.may_trade(until_ns - 1) && !replication.may_trade_now());
        assert!(replication.may_trade(until_ns));
        let past = Moment { at: now.at, boot_ns: now.boot_ns - LEASE_NS };
        replication.hold(past, Duration::ZERO);
        assert!(!replication.may_trade_now() && !replication.may_trade(until_ns - 1), "a shorter one cuts none short");
        let replication = Replication::new(Instant::now(), false);
        replication.hold(past, LEASE);
        assert!(replication.may_trade_now());
    }

    #[test]
    fn who_was_superseded_gets_no_lease_any_more_and_who_needs_none_always_trades() {
        let origin = Instant::now();
        let replication = Replication::new(origin, true);
        replication.renew(Moment::now(), LEASE);
        replication.end("host b".to_owned());
        replication.renew(Moment::now(), LEASE);
        replication.end("host c".to_owned());
        assert!(!replication.may_trade(0) && !replication.may_trade_now());
        assert_eq!(replication.taken_over(), Some("host b"));
        let free = Replication::new(origin, false);
        assert!(free.may_trade(u64::MAX - 1) && free.may_trade_now());
    }
}
