//! Signs of life, and the alerts of this process, in the transactions of the shipper.

use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use serde_json::json;
use tradecore_journal::Reader;

use super::beginning::Identity;
use super::cluster::Cluster;
use super::session::Session;
use super::transport::Transport;
use super::trouble::Trouble;
use crate::shipping::alerts::{self, Alert, Kind};
use crate::shipping::json::Utc;

/// What the shipper tells beside events.
#[derive(Debug)]
pub(super) struct Signs {
    /// Between signs of life; zero: none.
    every: Duration,
    told_at: Option<Instant>,
    /// Numbers of the alerts that are in the open transaction.
    sent: Vec<u64>,
}

impl Signs {
    pub(super) fn new(cluster: &Cluster) -> Self {
        Self { every: Duration::from_secs(cluster.kafka.health_s), told_at: None, sent: Vec::new() }
    }

    /// What a transaction held that came to nothing is told again; the sign of life follows in its time.
    pub(super) fn begin_anew(&mut self) {
        self.sent.clear();
    }

    fn is_life_due(&self, transport: &Transport) -> bool {
        !(self.every.is_zero() || transport.is_silent(Kind::ALL.len()))
            && self.told_at.is_none_or(|at| at.elapsed() >= self.every)
    }

    pub(super) fn is_due(&self, transport: &Transport) -> bool {
        self.is_life_due(transport) || alerts::waiting().iter().any(|waiting| self.is_new(waiting, transport))
    }

    /// One waits that its topic takes.
    fn is_new(&self, (number, alert): &(u64, Alert), transport: &Transport) -> bool {
        !(self.sent.contains(number) || transport.is_silent(alert.kind as usize))
    }

    /// Adds what is due to the open transaction.
    pub(super) fn send(
        &mut self,
        session: &mut Session<'_>,
        identity: &Identity,
        reader: &mut Reader,
        transport: &mut Transport,
        stop: &AtomicBool,
    ) -> Result<(), Trouble> {
        let is_new = |waiting: &&(u64, Alert)| self.is_new(waiting, transport);
        let new: Vec<(u64, Alert)> = alerts::waiting().iter().filter(is_new).cloned().collect();
        for (number, alert) in new {
            // One that is refused waits on.
            if session.send_alert(&alert, transport, stop)? {
                self.sent.push(number);
            }
        }
        if self.is_life_due(transport) {
            let now_ns = crate::clock::utc_ns();
            let (synced_seq, shipped_seq) = (reader.latest_synced_seq(), session.committed_seq());
            let lag_ns = session.oldest_ns().map_or(0, |ns| now_ns.saturating_sub(ns));
            let life = json!({
                "stream": session.stream(),
                "time": Utc(now_ns).to_string(),
                "owner": identity.owner,
                "version": env!("CARGO_PKG_VERSION"),
                "term": identity.term.unwrap_or(0).to_string(),
                "synced_seq": synced_seq.to_string(),
                "shipped_seq": shipped_seq.to_string(),
                "lag_events": synced_seq.saturating_sub(shipped_seq).to_string(),
                "lag_ms": (lag_ns / 1_000_000).to_string(),
                "alerts_left_out": alerts::waiting().left_out().to_string(),
            });
            session.send_life(&life.to_string(), transport, stop)?;
            self.told_at = Some(Instant::now());
        }
        Ok(())
    }

    /// The transaction counts.
    pub(super) fn committed(&mut self) {
        if !self.sent.is_empty() {
            alerts::waiting().shipped(&std::mem::take(&mut self.sent));
        }
    }
}
