//! The shipper: one session after the other, waits in between, until it is stopped or superseded.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tradecore_journal::Reader;

use super::audit::Audit;
use super::beginning::Identity;
use super::cluster::Cluster;
use super::lease::Leasing;
use super::session::Session;
use super::signs::Signs;
use super::transport::Transport;
use super::trouble::Trouble;
use crate::replication::Replication;
use crate::retention::{self, Mark};
use crate::shipping::alerts::{self, Kind};

/// Failures in a row from which on the circuit is open: then one line tells of it, and tries are rare.
const FAILURES_MAX: u32 = 5;
/// Longest sleep with nothing to ship, and longest time that a stop waits for it.
const IDLE_WAIT_MAX: Duration = Duration::from_millis(20);

/// Ships a journal to a cluster.
#[derive(Debug)]
pub struct Shipper {
    /// Shared with the audit.
    cluster: Arc<Cluster>,
    identity: Identity,
    leasing: Leasing,
    transport: Transport,
    signs: Signs,
    breaker: Breaker,
    /// Last event that it knows to be shipped.
    shipped_seq: u64,
}

/// Why a shipper ended without having failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was asked to.
    Stopped,
    /// It was to end when all was shipped: up to this event.
    Drained(u64),
}

impl Shipper {
    /// A shipper for a cluster.
    #[must_use]
    pub fn new(cluster: Cluster) -> Self {
        let (min, max) = (cluster.kafka.backoff_min_ms, cluster.kafka.backoff_max_ms);
        let (leasing, transport, signs) =
            (Leasing::new(&cluster, None), Transport::new(&cluster), Signs::new(&cluster));
        let breaker = Breaker { failures: 0, min, max };
        Self {
            cluster: Arc::new(cluster),
            identity: Identity::here(),
            leasing,
            transport,
            signs,
            breaker,
            shipped_seq: 0,
        }
    }

    /// Beside a core that wants to know what the cluster has confirmed, and trades under its lease if there is one.
    #[must_use]
    pub fn confirming(self, replication: Arc<Replication>) -> Self {
        Self { leasing: Leasing::new(&self.cluster, Some(replication)), ..self }
    }

    /// Ships what is synced, as it comes; with `is_drain` what there is, then it ends.
    ///
    /// # Errors
    /// `Superseded` when another has taken over, `Journal` and `Unknown` when the journal cannot be read, and with `is_drain`
    /// `Refused`. All else is waited out.
    pub fn run(mut self, stop: &AtomicBool, is_drain: bool) -> Result<End, Trouble> {
        let mut told = String::new();
        loop {
            let trouble = match self.ship(stop, is_drain) {
                Ok(end) => return Ok(end),
                Err(Trouble::Stopped) => return Ok(End::Stopped),
                Err(trouble @ (Trouble::Superseded(_) | Trouble::Diverged(_)))
                    if !is_drain && self.leasing.is_asked_for() =>
                {
                    self.leasing.lost(&trouble.to_string());
                    return Err(trouble);
                }
                Err(trouble @ (Trouble::Superseded(_) | Trouble::Journal(_) | Trouble::Unknown { .. })) => {
                    return Err(trouble);
                }
                // Without transactions the session ends with what is refused; the next knows of it.
                Err(Trouble::Refusal) => continue,
                // Somebody waits for its end.
                Err(trouble @ (Trouble::Refused(_) | Trouble::Diverged(_))) if is_drain => return Err(trouble),
                // A refusal of JSON does not end a session, and what the client itself does not take is for people.
                Err(trouble) => trouble,
            };
            let is_refused = matches!(trouble, Trouble::Refused(_) | Trouble::Diverged(_));
            let wait = self.breaker.failed(is_refused);
            let text = trouble.to_string();
            // Once a cause: a cluster that is away for an hour is no hour of lines.
            if is_refused {
                if text != told || self.breaker.failures == 1 {
                    let text = format!("shipping to Kafka is refused: {text}");
                    alerts::raise(Kind::ShippingRefused, self.shipped_seq, text);
                }
                told = text;
            } else if self.breaker.failures == FAILURES_MAX {
                let brokers = self.cluster.brokers();
                let text = format!("Kafka is away ({brokers}); shipping is tried on: {text}");
                alerts::raise(Kind::ClusterAway, self.shipped_seq, text);
            } else if self.breaker.failures < FAILURES_MAX {
                tracing::warn!(?wait, "shipping to Kafka begins anew from what the cluster has: {text}");
            }
            sleep(wait, stop);
            if stop.load(Ordering::Acquire) {
                return Ok(End::Stopped);
            }
        }
    }

    /// One session: until the first doubt.
    fn ship(&mut self, stop: &AtomicBool, is_drain: bool) -> Result<End, Trouble> {
        let Self { cluster, identity, leasing, transport, signs, breaker, shipped_seq } = self;
        signs.begin_anew();
        let (mut session, mut reader) = Session::open(cluster, identity, leasing)?;
        if transport.are_notes_refused && !cluster.kafka.transactions {
            session.keep_silent();
        }
        tracing::info!(stream = %cluster.stream(), shipped_seq = session.shipped_seq(), "shipping to Kafka");
        *shipped_seq = session.shipped_seq();
        let linger = Duration::from_millis(cluster.kafka.linger_ms);
        let mut audit = Audit::new(cluster);
        let mut idle = Duration::from_millis(1);
        let mut mark = Mark::new(cluster.journal_dir(), retention::KAFKA);
        // Since when events gather for the next transaction; whether the last one was full, and more waits.
        let (mut gathering_since, mut is_behind) = (None::<Instant>, false);
        loop {
            if stop.load(Ordering::Acquire) {
                if session.is_open() {
                    // Left open, it would hide what other cores ship until it is too old.
                    match session.commit(transport) {
                        Err(Trouble::Refusal) => drop(session.give_up(transport)),
                        ended => ended?,
                    }
                }
                return Err(Trouble::Stopped);
            }
            if !session.is_open() && audit.look(cluster, session.progress())? {
                breaker.succeeded();
            }
            // They gather in the journal, not in a transaction: what is handed over at once takes the cluster fewer
            // requests, and one that comes right behind a commit is put off while the cluster still ends that.
            let mut may_send = is_drain || is_behind || session.is_open();
            let mut pause = idle;
            if !may_send && reader.latest_synced_seq() >= reader.next_seq() {
                pause = linger.saturating_sub(gathering_since.get_or_insert_with(Instant::now).elapsed());
                may_send = pause.is_zero();
            }
            let filled = send_signs(&mut session, &mut reader, signs, identity, stop).and_then(|()| {
                if may_send { send_group(&mut session, &mut reader, transport, stop) } else { Ok(false) }
            });
            let is_lease_due = leasing.is_due();
            if is_lease_due && !session.is_open() && filled.is_ok() {
                // Nothing to ship: what counts is that nobody has taken over.
                session.begin()?;
            }
            let is_due = is_lease_due || session.is_full();
            let is_sent = match filled {
                // As long as there is more, a transaction is filled: what is behind catches up in large ones.
                Ok(is_sent) if session.is_open() && (is_due || !is_sent) => {
                    is_behind = session.is_full();
                    gathering_since = None;
                    session.confirm(leasing, transport).map(|()| {
                        breaker.succeeded();
                        signs.committed();
                        *shipped_seq = session.shipped_seq();
                        mark.pass(*shipped_seq);
                        idle = Duration::from_millis(1);
                        is_sent
                    })
                }
                result => result,
            };
            let is_sent = match is_sent {
                Err(Trouble::Refusal) => {
                    reader = session.give_up(transport)?;
                    signs.begin_anew();
                    true
                }
                is_sent => is_sent?,
            };
            if is_sent {
                continue;
            }
            is_behind = false;
            if !session.is_open() {
                mark.pass(session.shipped_seq());
                if is_drain {
                    return Ok(End::Drained(session.shipped_seq()));
                }
                idle = idle.saturating_mul(2).min(IDLE_WAIT_MAX);
            }
            let least = Duration::from_millis(1);
            std::thread::park_timeout(pause.clamp(least, linger.max(least)));
        }
    }
}

/// Sends alerts and signs of life, when it is time.
fn send_signs(
    session: &mut Session<'_>,
    reader: &mut Reader,
    signs: &mut Signs,
    identity: &Identity,
    stop: &AtomicBool,
) -> Result<(), Trouble> {
    if !signs.is_due() {
        return Ok(());
    }
    if !session.is_open() {
        session.begin()?;
    }
    signs.send(session, identity, reader, stop)
}

/// Sends the next group, if there is one: always whole, so that a transaction holds whole decisions.
fn send_group(
    session: &mut Session<'_>,
    reader: &mut Reader,
    transport: &mut Transport,
    stop: &AtomicBool,
) -> Result<bool, Trouble> {
    let Some(group) = reader.next_group()? else { return Ok(false) };
    if !session.is_open() {
        session.begin()?;
    }
    group.records().try_for_each(|record| session.send(&record, transport, stop))?;
    Ok(true)
}

fn sleep(wait: Duration, stop: &AtomicBool) {
    let since = Instant::now();
    while since.elapsed() < wait && !stop.load(Ordering::Acquire) {
        std::thread::park_timeout(wait.saturating_sub(since.elapsed()));
    }
}

/// How long is waited after a failure: longer from one to the next, and by chance, so that many cores do not come back
/// at once.
#[derive(Debug)]
struct Breaker {
    failures: u32,
    min: u64,
    max: u64,
}

impl Breaker {
    fn succeeded(&mut self) {
        if self.failures >= FAILURES_MAX {
            tracing::info!("Kafka is back; shipping goes on");
        }
        self.failures = 0;
    }

    /// The wait. What people must change first is not asked for often.
    fn failed(&mut self, is_refused: bool) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let doubled = self.min.saturating_mul(1_u64.checked_shl(self.failures.saturating_sub(1)).unwrap_or(u64::MAX));
        let ms = if is_refused { self.max } else { doubled.min(self.max) };
        let mut random = [0; 8];
        let half = ms / 2;
        // Without randomness there is no jitter, and nothing is wrong.
        let jitter = match getrandom::fill(&mut random) {
            Ok(()) => u64::from_le_bytes(random).checked_rem(half.saturating_add(1)).unwrap_or(0),
            Err(_) => half,
        };
        Duration::from_millis(half.saturating_add(jitter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_their_bound_and_begin_anew_after_success() {
        let mut breaker = Breaker { failures: 0, min: 100, max: 1_000 };
        let bounds = [(50, 100), (100, 200), (200, 400), (400, 800), (500, 1_000), (500, 1_000)];
        for (failure, (least, most)) in bounds.iter().enumerate() {
            let wait = breaker.failed(false).as_millis();
            assert!((*least..=*most).contains(&wait), "failure {failure}: {wait} ms");
        }
        breaker.succeeded();
        assert!(breaker.failed(false).as_millis() <= 100);
        assert!(breaker.failed(true).as_millis() >= 500, "what people must change first");
        breaker.failures = u32::MAX;
        assert!(breaker.failed(false).as_millis() <= 1_000);
    }
}
