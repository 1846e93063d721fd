//! The trading lease: who has committed to the cluster, under its fence, may trade for a while.
//!
//! A commit that was confirmed proves that nobody had taken over when it was begun. Who takes over fences first, and
//! trades only when every lease that was given before has run out, also if it needs none itself. So at no time do two
//! trade, as long as both clocks run at the same rate; the margin is for what is on its way to the broker.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cluster::Cluster;
use crate::clock::Moment;
use crate::replication::Replication;

/// So many commits at least in the time of a lease, also with nothing to ship.
const COMMITS_PER_LEASE: u32 = 4;
/// Part of a lease that a successor waits beyond it.
const MARGIN_PART: u32 = 4;

/// What follows from commits for the core, if there is one beside the shipper.
#[derive(Debug)]
pub(super) struct Leasing {
    replication: Option<Arc<Replication>>,
    /// Zero: no lease is asked for.
    lease: Duration,
    trade_from: Option<Instant>,
    /// When the last commit was begun that was confirmed.
    committed_at: Option<Instant>,
}

impl Leasing {
    pub(super) fn new(cluster: &Cluster, replication: Option<Arc<Replication>>) -> Self {
        let lease_ms = if replication.is_some() { cluster.kafka.lease_ms } else { 0 };
        Self { replication, lease: Duration::from_millis(lease_ms), trade_from: None, committed_at: None }
    }

    /// Its length, ms; 0 without one.
    pub(super) fn lease_ms(&self) -> u64 {
        u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) const fn is_asked_for(&self) -> bool {
        !self.lease.is_zero()
    }

    /// A term was claimed, and every lease of an earlier one is at most this long.
    pub(super) fn claimed(&mut self, now: Moment, longest_ms: u64) {
        let longest = Duration::from_millis(longest_ms);
        let wait = longest.saturating_add(longest.checked_div(MARGIN_PART).unwrap_or_default());
        self.trade_from = now.at.checked_add(wait);
        if let Some(replication) = self.replication.as_ref().filter(|_| !wait.is_zero()) {
            replication.hold(now, wait);
            tracing::info!(?wait, "new orders wait until no other host can trade");
        }
    }

    /// True while leases of an earlier term may last.
    pub(super) fn is_waiting(&self, now: Instant) -> bool {
        self.trade_from.is_none_or(|from| now < from)
    }

    /// True when it is time for a commit, whether or not there is something to ship.
    pub(super) fn is_due(&self) -> bool {
        let every = self.lease.checked_div(COMMITS_PER_LEASE).unwrap_or_default();
        !self.lease.is_zero() && self.committed_at.is_none_or(|at| at.elapsed() >= every)
    }

    /// The cluster has all up to `seq`.
    pub(super) fn found(&self, seq: u64) {
        if let Some(replication) = &self.replication {
            replication.set_seq(seq);
        }
    }

    /// A commit that was begun then was confirmed.
    pub(super) fn committed(&mut self, begun: Moment, seq: u64) {
        self.committed_at = Some(begun.at);
        let Some(replication) = &self.replication else { return };
        replication.set_seq(seq);
        if !self.lease.is_zero() {
            replication.renew(begun, self.lease);
        }
    }

    /// Another has taken over.
    pub(super) fn lost(&self, why: &str) {
        if let Some(replication) = &self.replication {
            replication.end(why.to_owned());
        }
    }
}
