//! That the cluster still has what it has acknowledged: read back from time to time, on a thread of its own with
//! consumers of its own, since it takes as long as the cluster lets it, and shipping goes on meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use super::beginning::{check_term, check_told};
use super::cluster::Cluster;
use super::progress::{Progress, Slot};
use super::tail::Looker;
use super::trouble::Trouble;
use crate::shipping::alerts::{self, Kind};

/// Up to where each slot was read.
type Seen = BTreeMap<Slot, i64>;

/// The audits of a session.
#[derive(Debug)]
pub(super) struct Audit {
    /// From one to the next; zero: none.
    every: Duration,
    ended_at: Instant,
    under_way: Option<JoinHandle<Result<Seen, Trouble>>>,
}

impl Audit {
    /// What an earlier session has under way is of no interest any more, and ends by itself.
    pub(super) fn new(cluster: &Cluster) -> Self {
        let every = Duration::from_secs(cluster.kafka.audit_s);
        Self { every, ended_at: Instant::now(), under_way: None }
    }

    /// Begins one when it is time, of what is committed now; how far one has read that has found that all is there.
    pub(super) fn look(&mut self, cluster: &Arc<Cluster>, committed: &Progress) -> Result<Option<Seen>, Trouble> {
        if let Some(audit) = self.under_way.take_if(|audit| audit.is_finished()) {
            self.ended_at = Instant::now();
            let failed = |_| Err(Trouble::Doubt("the audit has failed".to_owned()));
            return audit.join().unwrap_or_else(failed).map(Some);
        }
        if self.under_way.is_none() && !self.every.is_zero() && self.ended_at.elapsed() >= self.every {
            let (cluster, known) = (Arc::clone(cluster), committed.clone());
            let begun = Builder::new().name("ship-audit".to_owned()).spawn(move || audit(&cluster, &known));
            self.under_way = begun.inspect_err(|error| tracing::warn!(%error, "the audit is put off")).ok();
            self.ended_at = Instant::now();
        }
        Ok(None)
    }
}

/// What came since is there as well, and more of it with every moment.
fn audit(cluster: &Cluster, known: &Progress) -> Result<Seen, Trouble> {
    let found = Looker::new(cluster)?.look(&known.seen)?;
    let progress = found.progress.as_ref();
    if let Some(progress) = progress {
        check_term(cluster.kafka.transactions, progress, known.term, &known.owner)?;
        check_told(cluster, progress, &found.tails)?;
    }
    let seq = progress.map_or(0, |progress| progress.seq);
    let has = |slot, seq| found.tails.get(slot).is_some_and(|tail| tail.seq >= seq);
    if seq < known.seq || !known.tails.iter().all(|(slot, tail)| has(slot, tail.seq)) {
        let text = "the audit has found that the cluster does not have what it has acknowledged";
        alerts::raise(Kind::ShippingLoss, known.seq.min(seq), text.to_owned());
        return Err(Trouble::Doubt(text.to_owned()));
    }
    Ok(found.seen)
}
