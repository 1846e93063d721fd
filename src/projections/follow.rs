//! The side thread that keeps the tables behind the journal of a gateway that runs.
//!
//! It never stops the gateway: what fails is logged with what to do, shows as lag in `tradecore projection status`, and
//! is tried again with growing waits, also what does not pass by itself: a person, or the monitor, may mend it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::error::ProjectionError;
use super::identity::{Identity, put_aside};
use super::monitor::Heal;
use super::partial::{From, add, remake};
use super::projector::{Projector, Source};
use super::rebuild::{rebuild, rebuild_unasked};
use super::store::{Care, WriterLock};
use crate::retention::{Mark, PROJECTION_PG};
use crate::shipping::alerts::{self, Kind};

/// How often the journal is looked at when nothing came: half of what a reader may lag.
pub(super) const IDLE_WAIT: Duration = Duration::from_millis(25);

/// First wait after a failure; it doubles up to the longest.
const RETRY_MIN_MS: u64 = 500;
const RETRY_MAX_MS: u64 = 10_000;
pub(super) const RETRY_MIN: Duration = Duration::from_millis(RETRY_MIN_MS);

/// A try that cannot pass by itself is followed by a rest of so many times what opening the tables took, up to an hour.
const REST_TIMES: u32 = 20;
const REST_MAX: Duration = Duration::from_secs(3_600);

/// Waits after failures. Each is drawn from its upper half: who have lost the same server do not all come back at once.
#[derive(Debug)]
pub(super) struct Backoff {
    next_ms: u64,
}

impl Backoff {
    pub(super) const fn new() -> Self {
        Self { next_ms: RETRY_MIN_MS }
    }

    pub(super) fn wait(&mut self) -> Duration {
        let longest_ms = self.next_ms;
        self.next_ms = longest_ms.saturating_mul(2).min(RETRY_MAX_MS);
        let mut random = [0; 8];
        // Without randomness there is no jitter, and nothing is wrong.
        let _ = getrandom::fill(&mut random);
        let less_ms = u64::from_le_bytes(random).checked_rem((longest_ms / 2).saturating_add(1)).unwrap_or(0);
        Duration::from_millis(longest_ms.saturating_sub(less_ms))
    }
}

/// What has become of a try.
#[derive(Debug, Default)]
struct Try {
    /// It has taken events in.
    is_working: bool,
    /// How long it took until the tables were open: the whole journal may have been folded, and will be again.
    opening: Duration,
}

fn rest_after(opening: Duration) -> Duration {
    opening.saturating_mul(REST_TIMES).min(REST_MAX)
}

/// Follows the journal until `stop` is set.
pub fn follow(source: &Source, stop: &AtomicBool) {
    follow_healed(source, &Heal::default(), stop);
}

/// As `follow`, and makes tables anew when a monitor asks for it.
pub fn follow_healed(source: &Source, heal: &Heal, stop: &AtomicBool) {
    let mut backoff = Backoff::new();
    let mut told = String::new();
    while !stop.load(Ordering::Acquire) {
        let mut tried = Try::default();
        match run(source, heal, stop, &mut tried) {
            Ok(()) if heal.is_asked() => mend(source, heal, stop),
            Ok(()) | Err(ProjectionError::Stopped) => return,
            Err(error @ ProjectionError::Replaced { .. }) => {
                alerts::raise(Kind::DataIntegrity, 0, error.to_string());
                match make_anew(source, stop) {
                    Ok(()) | Err(ProjectionError::Stopped) => {}
                    Err(error) => {
                        tracing::warn!(%error, "the read model cannot be made anew; that is tried again");
                        pause(stop, RETRY_MIN);
                    }
                }
            }
            Err(error) => {
                if tried.is_working {
                    (backoff, told) = (Backoff::new(), String::new());
                }
                let text = error.to_string();
                // Once a cause: a server that is away for an hour is no hour of lines.
                match error.may_pass() {
                    _ if text == told => {}
                    true => tracing::warn!(%error, "the read model lags, which is tried again; trading goes on"),
                    false => {
                        tracing::error!(%error, "the read model stands still until that is mended; trading goes on")
                    }
                }
                told = text;
                let mut wait = backoff.wait();
                if !(tried.is_working || error.may_pass()) {
                    wait = wait.max(rest_after(tried.opening));
                }
                // What the monitor has found may be what stands in the way.
                let may_mend = || heal.is_asked() && error.is_of_rows();
                let since = Instant::now();
                while since.elapsed() < wait && !stop.load(Ordering::Acquire) && !may_mend() {
                    pause(stop, RETRY_MIN.min(wait));
                }
                if may_mend() {
                    mend(source, heal, stop);
                }
            }
        }
    }
}

/// Waits, but for a stop, which unparks this thread.
pub(super) fn pause(stop: &AtomicBool, wait: Duration) {
    if !stop.load(Ordering::Acquire) {
        std::thread::park_timeout(wait);
    }
}

/// Makes the read model anew where something else stands, or nothing.
fn make_anew(source: &Source, stop: &AtomicBool) -> Result<(), ProjectionError> {
    let _lock = WriterLock::take(&source.path)?;
    put_aside(&source.path)?;
    let rebuilt = rebuild(source, &mut |_, _| !stop.load(Ordering::Acquire))?;
    alerts::clear(Kind::DataIntegrity, &format!("the read model was made anew, up to event {}", rebuilt.seq));
    Ok(())
}

/// Makes tables anew that the monitor has found to differ. What fails is told, and found again.
fn mend(source: &Source, heal: &Heal, stop: &AtomicBool) {
    let tables = heal.tables();
    let remake = || {
        let _lock = WriterLock::take(&source.path)?;
        let go_on = &mut |_, _| !stop.load(Ordering::Acquire);
        match &source.server {
            None => remake(source, &tables, From::Start, go_on),
            Some(_) => rebuild_unasked(source, go_on),
        }
    };
    let remade = remake();
    let is_healed = remade.is_ok();
    match remade {
        Ok(remade) => tracing::info!(?tables, seq = remade.seq, "tables of the read model were made anew"),
        Err(ProjectionError::Stopped) => {}
        Err(error) => tracing::warn!(?tables, %error, "tables of the read model cannot be made anew"),
    }
    heal.done(is_healed);
}

fn run(source: &Source, heal: &Heal, stop: &AtomicBool, tried: &mut Try) -> Result<(), ProjectionError> {
    let _lock = WriterLock::take(&source.path)?;
    let since = Instant::now();
    let opened = open(source, &mut |_, _| !stop.load(Ordering::Acquire));
    tried.opening = since.elapsed();
    let mut projector = opened?;
    tracing::info!(path = %source.name().display(), seq = projector.position().seq, "read model");
    let mut identity = source.server.is_none().then(|| Identity::of(&source.path));
    // What a server has committed survives power loss; of a file, the gate looks for itself.
    let mut mark = source.server.is_some().then(|| Mark::new(&source.journal_dir, PROJECTION_PG));
    if let Some(mark) = &mut mark
        && let Err(error) = mark.begin(projector.position().seq)
    {
        tracing::warn!(%error, "the place of these tables cannot be written: segments must not be removed now");
    }
    while !stop.load(Ordering::Acquire) {
        if heal.is_asked() {
            return Ok(());
        }
        identity.as_mut().map_or(Ok(()), Identity::check)?;
        let count = projector.step(u64::MAX)?;
        tried.is_working |= count > 0;
        if let Some(mark) = &mut mark {
            mark.pass(projector.position().seq);
        }
        if count == 0 {
            pause(stop, IDLE_WAIT);
        }
    }
    if heal.is_left() {
        return Ok(());
    }
    // What is durable by now is in the tables when a stop was orderly; not what a gateway that trades on adds meanwhile.
    let synced_seq = tradecore_journal::synced_seq(&source.journal_dir)?;
    while projector.position().seq < synced_seq && projector.step(synced_seq)? > 0 {}
    Ok(())
}

/// A projector that goes on, after a rebuild where the rows have to be made anew: that is told. The caller holds the
/// lock.
///
/// # Errors
/// As `Projector::open` and `rebuild`.
pub fn open(source: &Source, progress: super::rebuild::OnProgress<'_>) -> Result<Projector, ProjectionError> {
    let why = match Projector::open(source, Care::Live) {
        Ok(Ok(projector)) => return Ok(projector),
        Ok(Err(mismatch)) => mismatch.to_string(),
        // Whoever's they are: other rules do not make them this host's.
        Err(ProjectionError::Outdated { why, .. }) => match add(source, progress) {
            Ok(Some(tables)) => {
                tracing::info!(path = %source.name().display(), %why, ?tables, "tables were added to the read model");
                return go_on(source);
            }
            // What is wrong with the others as well.
            Err(error) if !error.is_of_rows() => return Err(error),
            Ok(None) | Err(_) => why,
        },
        Err(error) => return Err(error),
    };
    tracing::warn!(path = %source.name().display(), %why, "the rows of the read model are made anew from the journal");
    let rebuilt = rebuild_unasked(source, progress)?;
    tracing::info!(path = %source.name().display(), seq = rebuilt.seq, "the rows of the read model were made anew");
    go_on(source)
}

fn go_on(source: &Source) -> Result<Projector, ProjectionError> {
    Projector::open(source, Care::Live)?
        .map_err(|mismatch| ProjectionError::Outdated { path: source.path.clone(), why: mismatch.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_ten_seconds_and_are_drawn_from_their_upper_half() {
        let mut backoff = Backoff::new();
        let most_ms = [500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000];
        let waits = most_ms.map(|most_ms| (backoff.wait().as_millis(), most_ms));
        assert!(waits.iter().all(|(ms, most_ms)| (most_ms / 2..=*most_ms).contains(ms)), "{waits:?}");
        assert!(waits.iter().any(|(ms, most_ms)| ms != most_ms), "nothing is drawn: {waits:?}");
    }

    #[test]
    fn a_rest_is_long_behind_a_long_fold_and_never_longer_than_an_hour() {
        assert_eq!(rest_after(Duration::from_millis(10)), Duration::from_millis(200));
        assert_eq!(rest_after(Duration::from_secs(60)), Duration::from_secs(1_200));
        assert_eq!(rest_after(Duration::from_secs(3_600)), Duration::from_secs(3_600));
    }
}
