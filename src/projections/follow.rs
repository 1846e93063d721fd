//! The side thread that keeps the tables behind the journal of a gateway that runs.
//!
//! It never stops the gateway: what may pass is tried again, with growing waits; what does not ends the thread, is
//! logged with what to do, and shows as lag in `tradecore projection status`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::error::ProjectionError;
use super::identity::{Identity, put_aside};
use super::monitor::Heal;
use super::partial::{From, remake};
use super::projector::{Projector, Source};
use super::rebuild::rebuild;
use super::store::{Care, WriterLock};
use crate::retention::{Mark, PROJECTION_PG};
use crate::shipping::alerts::{self, Kind};

/// How often the journal is looked at when nothing came: half of what a reader may lag.
pub(super) const IDLE_WAIT: Duration = Duration::from_millis(25);

/// First wait after a failure; it doubles up to the longest.
pub(super) const RETRY_MIN: Duration = Duration::from_millis(500);
pub(super) const RETRY_MAX: Duration = Duration::from_secs(60);

/// Follows the journal until `stop` is set, or something failed that does not pass.
pub fn follow(source: &Source, stop: &AtomicBool) {
    follow_healed(source, &Heal::default(), stop);
}

/// As `follow`, and makes tables anew when a monitor asks for it.
pub fn follow_healed(source: &Source, heal: &Heal, stop: &AtomicBool) {
    let mut wait = RETRY_MIN;
    while !stop.load(Ordering::Acquire) {
        let mut is_working = false;
        match run(source, heal, stop, &mut is_working) {
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
            Err(error) if error.may_pass() => {
                wait = if is_working { RETRY_MIN } else { wait };
                tracing::warn!(%error, retry_ms = wait.as_millis() as u64, "the read model lags; trading goes on");
                pause(stop, wait);
                wait = wait.saturating_mul(2).min(RETRY_MAX);
            }
            Err(error) => {
                tracing::error!(%error, "the read model stands still until the next start; trading goes on");
                return;
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
        remake(source, &tables, From::Start, &mut |_, _| !stop.load(Ordering::Acquire))
    };
    match remake() {
        Ok(remade) => tracing::info!(?tables, seq = remade.seq, "tables of the read model were made anew"),
        Err(ProjectionError::Stopped) => {}
        Err(error) => tracing::warn!(?tables, %error, "tables of the read model cannot be made anew"),
    }
    heal.done();
}

fn run(source: &Source, heal: &Heal, stop: &AtomicBool, is_working: &mut bool) -> Result<(), ProjectionError> {
    let _lock = WriterLock::take(&source.path)?;
    let mut projector = open(source, &mut |_, _| !stop.load(Ordering::Acquire))?;
    tracing::info!(path = %source.path.display(), seq = projector.position().seq, "read model");
    let mut identity = source.server.is_none().then(|| Identity::of(&source.path));
    // What a server has committed survives power loss; of a file, the gate looks for itself.
    let mut mark = source.server.is_some().then(|| Mark::new(&source.journal_dir, PROJECTION_PG));
    while !stop.load(Ordering::Acquire) {
        if heal.is_asked() {
            return Ok(());
        }
        identity.as_mut().map_or(Ok(()), Identity::check)?;
        let count = projector.step(u64::MAX)?;
        *is_working |= count > 0;
        if let Some(mark) = &mut mark {
            mark.pass(projector.position().seq);
        }
        if count == 0 {
            pause(stop, IDLE_WAIT);
        }
    }
    // What is durable by now is in the tables when a stop was orderly.
    while projector.step(u64::MAX)? > 0 {}
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
        Err(ProjectionError::Outdated { why, .. }) => why,
        Err(error) => return Err(error),
    };
    tracing::warn!(path = %source.path.display(), %why, "the rows of the read model are made anew from the journal");
    let rebuilt = rebuild(source, progress)?;
    tracing::info!(path = %source.path.display(), seq = rebuilt.seq, "the rows of the read model were made anew");
    Projector::open(source, Care::Live)?
        .map_err(|mismatch| ProjectionError::Outdated { path: source.path.clone(), why: mismatch.to_string() })
}
