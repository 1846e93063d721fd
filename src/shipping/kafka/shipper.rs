//! The shipper: one session after the other, waits in between, until it is stopped or superseded.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tradecore_journal::{ReadError, Reader};

use super::audit::Audit;
use super::beginning::Identity;
use super::cluster::Cluster;
use super::lease::Leasing;
use super::session::Session;
use super::signs::Signs;
use super::standing::Board;
use super::transport::Transport;
use super::trouble::Trouble;
use crate::replication::Replication;
use crate::retention::{self, Mark};
use crate::shipping::alerts::{self, Kind};

/// Failures in a row from which on the circuit is open: then one line tells of it. Each may have taken `timeout_ms`.
const FAILURES_MAX: u32 = 2;
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
    board: Board,
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
        let breaker = Breaker { away: 0, refused: 0, unread: 0, min, max };
        let board = Board::new(&cluster.journal_dir);
        Self {
            cluster: Arc::new(cluster),
            identity: Identity::here(),
            leasing,
            transport,
            signs,
            breaker,
            board,
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
    /// `Superseded` when another has taken over, `Journal` and `Unknown` when what the journal holds cannot be read, and with
    /// `is_drain` what a person must change first. All else is waited out.
    pub fn run(mut self, stop: &AtomicBool, is_drain: bool) -> Result<End, Trouble> {
        let ended = self.run_sessions(stop, is_drain);
        if let Err(trouble) = &ended
            && !is_drain
        {
            self.board.say("ended", &trouble.to_string());
        }
        ended
    }

    fn run_sessions(&mut self, stop: &AtomicBool, is_drain: bool) -> Result<End, Trouble> {
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
                // Without transactions the session ends with what is refused; the next knows of it.
                Err(Trouble::Refusal) => continue,
                Err(trouble) => trouble,
            };
            let Some(cause) = Cause::of(&trouble) else { return Err(trouble) };
            // Somebody waits for its end.
            if is_drain && cause != Cause::Away {
                return Err(trouble);
            }
            let (wait, failures) = self.breaker.failed(cause);
            let text = trouble.to_string();
            if cause == Cause::Refused || failures >= FAILURES_MAX {
                self.board.say(cause.name(), &text);
            }
            // Once a cause: a cluster that is away for an hour is no hour of lines.
            match cause {
                Cause::Refused => {
                    if text != told || failures == 1 {
                        let text = format!("shipping to Kafka is refused: {text}");
                        alerts::raise(Kind::ShippingRefused, self.shipped_seq, text);
                    }
                    told = text;
                }
                Cause::Away if failures == FAILURES_MAX => {
                    let brokers = self.cluster.brokers();
                    let text = format!("Kafka is away ({brokers}); shipping is tried on: {text}");
                    alerts::raise(Kind::ClusterAway, self.shipped_seq, text);
                }
                Cause::Unread if failures == FAILURES_MAX => {
                    let text = format!("the journal cannot be read; shipping is tried on: {text}");
                    alerts::raise(Kind::ShippingRefused, self.shipped_seq, text);
                }
                Cause::Away | Cause::Unread if failures < FAILURES_MAX => {
                    let brokers = self.cluster.brokers();
                    tracing::warn!(?wait, brokers, "shipping to Kafka begins anew from what the cluster has: {text}");
                }
                Cause::Away | Cause::Unread => {}
            }
            sleep(wait, stop);
            if stop.load(Ordering::Acquire) {
                return Ok(End::Stopped);
            }
        }
    }

    /// One session: until the first doubt.
    fn ship(&mut self, stop: &AtomicBool, is_drain: bool) -> Result<End, Trouble> {
        let Self { cluster, identity, leasing, transport, signs, breaker, board, shipped_seq } = self;
        signs.begin_anew();
        let (mut session, mut reader) = Session::open(cluster, identity, leasing)?;
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
            if !session.is_open()
                && let Some(seen) = audit.look(cluster, session.progress())?
            {
                session.saw(seen);
                breaker.succeeded();
                board.clear();
            }
            // They gather in the journal, not in a transaction: what is handed over at once takes the cluster fewer
            // requests, and one that comes right behind a commit is put off while the cluster still ends that.
            // What opens one takes all of them with it: else it would end their gathering, over and over.
            let is_lease_due = leasing.is_due();
            let mut may_send = is_drain || is_behind || session.is_open() || is_lease_due || signs.is_due(transport);
            let mut pause = idle;
            if !may_send && reader.latest_synced_seq() >= reader.next_seq() {
                pause = linger.saturating_sub(gathering_since.get_or_insert_with(Instant::now).elapsed());
                may_send = pause.is_zero();
            }
            let filled = send_signs(&mut session, &mut reader, signs, identity, transport, stop).and_then(|()| {
                if may_send { send_group(&mut session, &mut reader, transport, stop) } else { Ok(false) }
            });
            if is_lease_due && !session.is_open() && filled.is_ok() {
                // Nothing to ship: what counts is that nobody has taken over.
                session.begin()?;
            }
            let is_due = is_lease_due || session.is_full();
            let is_sent = match filled {
                // As long as there is more, a transaction is filled: what is behind catches up in large ones.
                Ok(is_sent) if session.is_open() && (is_due || !is_sent) => {
                    // Ended with more to come: that has gathered long enough.
                    is_behind = is_sent;
                    gathering_since = None;
                    session.confirm(leasing, transport).map(|()| {
                        // Of alerts and signs of life alone one cannot tell, while events wait.
                        if session.shipped_seq() > *shipped_seq || reader.latest_synced_seq() < reader.next_seq() {
                            breaker.succeeded();
                            board.clear();
                        }
                        signs.committed();
                        *shipped_seq = session.shipped_seq();
                        mark.pass(*shipped_seq);
                        idle = Duration::from_millis(1);
                        // What has come meanwhile begins to gather now, not after a sleep.
                        true
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
                    board.clear();
                    return Ok(End::Drained(session.shipped_seq()));
                }
                idle = idle.saturating_mul(2).min(IDLE_WAIT_MAX);
            }
            // However long events may gather: a stop, and a lease that is due, wait for no longer.
            let least = Duration::from_millis(1);
            std::thread::park_timeout(pause.clamp(least, linger.clamp(least, IDLE_WAIT_MAX)));
        }
    }
}

/// Sends alerts and signs of life, when it is time.
fn send_signs(
    session: &mut Session<'_>,
    reader: &mut Reader,
    signs: &mut Signs,
    identity: &Identity,
    transport: &mut Transport,
    stop: &AtomicBool,
) -> Result<(), Trouble> {
    if !signs.is_due(transport) {
        return Ok(());
    }
    if !session.is_open() {
        session.begin()?;
    }
    signs.send(session, identity, reader, transport, stop)
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

/// Why a session ended that is followed by another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// The cluster.
    Away,
    /// What people must change first.
    Refused,
    /// The system did not let the journal be read: that may pass, as when descriptors or memory are short.
    Unread,
}

impl Cause {
    const fn name(self) -> &'static str {
        match self {
            Self::Away => "away",
            Self::Refused => "refused",
            Self::Unread => "unread",
        }
    }

    /// `None`: none follows.
    const fn of(trouble: &Trouble) -> Option<Self> {
        Some(match trouble {
            Trouble::Superseded(_) | Trouble::Unknown { .. } | Trouble::Stopped => return None,
            Trouble::Journal(ReadError::Io { .. }) => Self::Unread,
            Trouble::Journal(_) => return None,
            // What the client itself does not take of an event, it will not take again.
            Trouble::Refused(_) | Trouble::Unfit(_) | Trouble::Diverged(_) | Trouble::Unsent(_) => Self::Refused,
            Trouble::Doubt(_) | Trouble::Refusal => Self::Away,
        })
    }
}

/// How long is waited after a failure: longer from one to the next, and by chance, so that many cores do not come back
/// at once.
#[derive(Debug)]
struct Breaker {
    // In a row, each cause by itself: one must not hide when another is to be told.
    away: u32,
    refused: u32,
    unread: u32,
    min: u64,
    max: u64,
}

impl Breaker {
    fn succeeded(&mut self) {
        if self.away >= FAILURES_MAX {
            tracing::info!("Kafka is back; shipping goes on");
        }
        if self.refused > 0 || self.unread >= FAILURES_MAX {
            alerts::clear(Kind::ShippingRefused, "shipping to Kafka goes on");
        }
        (self.away, self.refused, self.unread) = (0, 0, 0);
    }

    /// The wait, and how often it was this cause. What people must change first is not asked for often.
    fn failed(&mut self, cause: Cause) -> (Duration, u32) {
        if cause == Cause::Refused {
            // Who refuses is there: what it had closed on the way was no absence.
            if self.away >= FAILURES_MAX {
                tracing::info!("Kafka is back, and refuses what is shipped");
            }
            self.away = 0;
        }
        let failures = match cause {
            Cause::Away => &mut self.away,
            Cause::Refused => &mut self.refused,
            Cause::Unread => &mut self.unread,
        };
        *failures = failures.saturating_add(1);
        let doubled = self.min.saturating_mul(1_u64.checked_shl(failures.saturating_sub(1)).unwrap_or(u64::MAX));
        let ms = if cause == Cause::Refused { self.max } else { doubled.min(self.max) };
        let mut random = [0; 8];
        let half = ms / 2;
        // Without randomness there is no jitter, and nothing is wrong.
        let jitter = match getrandom::fill(&mut random) {
            Ok(()) => u64::from_le_bytes(random).checked_rem(half.saturating_add(1)).unwrap_or(0),
            Err(_) => half,
        };
        (Duration::from_millis(half.saturating_add(jitter)), *failures)
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::error::{KafkaError, RDKafkaErrorCode};

    use super::*;

    #[test]
    fn waits_double_up_to_their_bound_and_begin_anew_after_success() {
        let mut breaker = Breaker { away: 0, refused: 0, unread: 0, min: 100, max: 1_000 };
        let bounds = [(50, 100), (100, 200), (200, 400), (400, 800), (500, 1_000), (500, 1_000)];
        for (failure, (least, most)) in bounds.iter().enumerate() {
            let wait = breaker.failed(Cause::Away).0.as_millis();
            assert!((*least..=*most).contains(&wait), "failure {failure}: {wait} ms");
        }
        breaker.succeeded();
        assert!(breaker.failed(Cause::Away).0.as_millis() <= 100);
        assert!(breaker.failed(Cause::Refused).0.as_millis() >= 500, "what people must change first");
        breaker.away = u32::MAX;
        assert!(breaker.failed(Cause::Away).0.as_millis() <= 1_000);
    }

    #[test]
    fn each_cause_has_a_count_of_its_own_until_shipping_goes_on() {
        let mut breaker = Breaker { away: 0, refused: 0, unread: 0, min: 1, max: 1 };
        for cause in [Cause::Refused, Cause::Away, Cause::Unread] {
            // So an outage that follows five refusals is told of as any other is.
            for failure in 1..=FAILURES_MAX {
                assert_eq!(breaker.failed(cause).1, failure, "{cause:?}");
            }
        }
        breaker.failed(Cause::Refused);
        assert_eq!(breaker.failed(Cause::Away).1, 1, "a cluster that refuses was not away");
        breaker.succeeded();
        assert_eq!(breaker.failed(Cause::Away).1, 1);
    }

    #[test]
    fn what_may_pass_is_tried_again_and_what_does_not_ends_the_shipper() {
        let (path, dir, seq) = ("segment".into(), "journal".into(), 7);
        let io = ReadError::Io { path, source: std::io::Error::from_raw_os_error(24) };
        let too_large = KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge);
        for (trouble, cause) in [
            (Trouble::Journal(io), Some(Cause::Unread)),
            (Trouble::Journal(ReadError::Gone { dir, seq }), None),
            (Trouble::Unknown { seq, text: String::new() }, None),
            (Trouble::Superseded(String::new()), None),
            (Trouble::Unsent(too_large), Some(Cause::Refused)),
            (Trouble::Refused(String::new()), Some(Cause::Refused)),
            (Trouble::Unfit(String::new()), Some(Cause::Refused)),
            (Trouble::Doubt(String::new()), Some(Cause::Away)),
        ] {
            assert_eq!(Cause::of(&trouble), cause, "{trouble:?}");
        }
    }
}
