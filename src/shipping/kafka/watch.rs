//! What stands in place of a fence where the cluster has no transactions: who writes progress sees whether another does.

use std::time::{Duration, Instant};

use super::beginning::superseded;
use super::cluster::Cluster;
use super::progress::Progress;
use super::tail::Looker;
use super::trouble::Trouble;

/// From one look at what others wrote to the next; other cores write there all the time.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a session knows of the topic of progress.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// All before this offset is looked at; `None` before the first progress of this session.
    from: Option<i64>,
    looked_at: Option<Instant>,
}

impl Watch {
    /// Own progress has come to stand at `offset`: what stands between it and the last may be another shipper's.
    pub(super) fn look(&mut self, cluster: &Cluster, own: &Progress, offset: Option<i64>) -> Result<(), Trouble> {
        let Some(offset) = offset else { return Ok(()) };
        let is_between = self.from.is_some_and(|from| from < offset);
        if is_between && self.looked_at.is_some_and(|at| at.elapsed() < LOOK_EVERY) {
            return Ok(());
        }
        if let Some(from) = self.from.filter(|_| is_between) {
            let writers = Looker::new(cluster)?.writers_since(from, &own.owner)?;
            // Two that have claimed the same term at once: one of them ends, and both know which.
            let is_later = |(term, owner): &&(u64, String)| (*term, owner) > (own.term, &own.owner);
            if let Some((_, owner)) = writers.iter().find(is_later) {
                return Err(superseded(owner, None));
            }
            self.looked_at = Some(Instant::now());
        }
        self.from = Some(offset.saturating_add(1));
        Ok(())
    }
}
