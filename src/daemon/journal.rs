//! How the daemon opens its journal: where hot segments go, how much is kept in reserve, how often it syncs.

use std::path::{Path, PathBuf};

use tradecore_domain::event::{
    CancelRequested, DecodeError, Event, KillSwitchChanged, MassCancelAccepted, MassCancelCompleted,
    MassCancelProgressed, OrderClosed, OrderFilled, OrderInDoubt, SessionEnded,
};
use tradecore_domain::{Limits, PLACES_PER_STEP};
use tradecore_journal::record::{HEADER_BYTES, stored_bytes};
use tradecore_journal::{OpenError, Opened, SyncPolicy};
use tradecore_protocol::fields::{Durability, Environment};

use super::DaemonError;
use crate::config::Config;
use crate::exit::Exit;
use crate::systemd::Notifier;

/// Opens it.
///
/// # Errors
/// As the journal says.
pub(super) fn open(
    config: &Config,
    dir: &Path,
    limits: &Limits,
    durability: Durability,
) -> Result<Opened, DaemonError> {
    let environment = Environment::from(config.core.environment).raw();
    let Lengths { first_segment_bytes, max_segment_bytes, reserve_bytes } = Lengths::of(config, limits);
    for line in raised_lengths(config) {
        tracing::warn!("{line}");
    }
    let opened = tradecore_journal::open(&tradecore_journal::Config {
        hot_dir: hot_root(config, dir, max_segment_bytes),
        core: config.core.id,
        environment,
        first_segment_bytes,
        max_segment_bytes,
        reserve_bytes,
        sync: sync_policy(durability),
        on_sync_failure: sync_failed,
        is_known,
        on_progress: || Notifier::from_env().start_goes_on(),
        on_prepare: prepared,
        ..tradecore_journal::Config::new(dir)
    })
    .inspect_err(|error| {
        if Exit::from(error) == Exit::JournalNoSpace {
            let (needed_mib, disk_free_mib) = (mib(first_segment_bytes), free_bytes(dir) >> 20);
            tracing::error!(dir = %dir.display(), needed_mib, disk_free_mib, "no room for a first segment, nor for a shorter one");
        }
    })
    .map_err(|error| match error {
        OpenError::OtherCore { dir, core, environment: found } => DaemonError::OtherCore {
            journal: dir.display().to_string(),
            found: (core, word_of(found)),
            configured: (config.core.id, word_of(environment)),
        },
        error => error.into(),
    })?;
    let room = opened.writer.room() as u64;
    let hot_dir = opened.hot_dir().unwrap_or(dir);
    tracing::info!(
        dir = %dir.display(), disk_free_mib = free_bytes(dir) >> 20,
        hot_dir = %hot_dir.display(), hot_free_mib = free_bytes(hot_dir) >> 20,
        first_segment_mib = mib(first_segment_bytes), max_segment_mib = mib(max_segment_bytes),
        reserve_mib = mib(reserve_bytes), "the journal takes up to three segments of memory, and of disk what it grows to"
    );
    if room < reserve_bytes {
        tracing::warn!(
            needed_mib = mib(first_segment_bytes), made_mib = room >> 20,
            dir = %dir.display(), disk_free_mib = free_bytes(dir) >> 20,
            hot_dir = %hot_dir.display(), hot_free_mib = free_bytes(hot_dir) >> 20,
            "there is no room for the whole first segment: new orders are refused with JournalFull until there is, \
             cancels pass"
        );
    }
    Ok(opened)
}

/// How long segments are: as configured, but each has room for the reserve, and for as much again.
struct Lengths {
    first_segment_bytes: u64,
    max_segment_bytes: u64,
    reserve_bytes: u64,
}

impl Lengths {
    fn of(config: &Config, limits: &Limits) -> Self {
        let reserve_bytes = reserve_bytes(limits);
        let in_force = |configured_mib: u64| (configured_mib << 20).max(reserve_bytes.saturating_mul(2));
        Self {
            first_segment_bytes: in_force(config.journal.first_segment_mib),
            max_segment_bytes: in_force(config.journal.max_segment_mib),
            reserve_bytes,
        }
    }
}

/// Lengths of segments that somebody has configured and that are not in force, a line each.
#[must_use]
pub fn raised_lengths(config: &Config) -> Vec<String> {
    let Lengths { first_segment_bytes, max_segment_bytes, reserve_bytes } =
        Lengths::of(config, &super::limits_of(config));
    [
        ("journal.first_segment_mib", config.journal.first_segment_mib, first_segment_bytes),
        ("journal.max_segment_mib", config.journal.max_segment_mib, max_segment_bytes),
    ]
    .into_iter()
    .filter(|(key, configured_mib, bytes)| config.is_written(key) && configured_mib << 20 < *bytes)
    .map(|(key, configured_mib, bytes)| {
        format!(
            "{key} = {configured_mib} is raised to {}: twice the reserve of {} MiB that core.orders_max = {} needs",
            mib(bytes),
            mib(reserve_bytes),
            config.core.orders_max
        )
    })
    .collect()
}

/// MiB that hold so many bytes.
const fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

/// Bytes that are free where a directory lies; 0 when the system does not say.
fn free_bytes(dir: &Path) -> u64 {
    rustix::fs::statvfs(dir).map_or(0, |stat| stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// What the configuration calls an environment.
fn word_of(environment: u8) -> String {
    Environment::from_raw(environment).map_or_else(|| environment.to_string(), |known| known.name().to_lowercase())
}

fn sync_failed(error: &std::io::Error) {
    // Nothing is durable any more, and nobody may be told that it is.
    tracing::error!(%error, "a sync of the journal failed; stopping");
    std::process::exit(i32::from(Exit::SyncFailed.code()));
}

/// Types and versions of events that this release can replay.
fn is_known(kind: u16, version: u8) -> bool {
    !matches!(Event::from_archive(kind, version, &[]), Err(DecodeError::Unknown { .. }))
}

fn prepared(error: Option<&OpenError>) {
    match error {
        Some(OpenError::NoSpace { dir, bytes }) => {
            tracing::error!(
                dir = %dir.display(), needed_mib = mib(*bytes), free_mib = free_bytes(dir) >> 20,
                "no room for a further segment; when this one is full, new orders are refused until there is"
            );
        }
        Some(error) => {
            tracing::error!(%error, "no further segment can be made; when this one is full, new orders are refused");
        }
        None => tracing::info!("segments can be made again"),
    }
}

/// Where the directory of its hot segments is made, in memory that survives the process: as configured; else the runtime
/// directory that systemd preserves; else `/dev/shm`. `None`, when configured `off` or when memory is too small for the
/// segments: they are mapped in the journal's directory then, and the loop pays for it (`journal/FORMAT.md`).
fn hot_root(config: &Config, journal_dir: &Path, segment_bytes_max: u64) -> Option<PathBuf> {
    let memory = match &config.core.hot_dir {
        Some(dir) if dir.as_os_str() == "off" => return None,
        Some(dir) => return Some(config.beside(dir)),
        None => std::env::var_os("RUNTIME_DIRECTORY").map_or_else(|| PathBuf::from("/dev/shm"), PathBuf::from),
    };
    // The segment that is written, the one that is taken next, the one ahead of it, and the one being drained.
    let needed = segment_bytes_max.saturating_mul(4);
    let free = free_bytes(&memory);
    // What a killed life has left there makes room.
    if free < needed && !tradecore_journal::has_hot_segments(journal_dir) {
        tracing::warn!(memory = %memory.display(), free, needed, "no room for hot segments; mapping them on the disk");
        return None;
    }
    Some(memory)
}

/// What must still be journaled when the disk is full: for every order that can be open a doubt, a cancel, its
/// outcome and two fills; for every mass cancel its beginning, its end and each step over the order table; for every
/// session and account a few changes of their state.
fn reserve_bytes(limits: &Limits) -> u64 {
    let places = u64::from(limits.orders_max).saturating_add(limits.closed_kept.into());
    let steps = places.div_ceil(PLACES_PER_STEP as u64);
    let (orders, mass_cancels) = (u64::from(limits.orders_max), limits.mass_cancel_places() as u64);
    [
        (orders, OrderInDoubt::BYTES),
        (orders, CancelRequested::BYTES),
        (orders, OrderClosed::BYTES),
        (orders.saturating_mul(2), OrderFilled::BYTES),
        (mass_cancels, MassCancelAccepted::BYTES),
        (mass_cancels.saturating_mul(steps), MassCancelProgressed::BYTES),
        (mass_cancels, MassCancelCompleted::BYTES),
        (u64::from(limits.sessions_max).saturating_mul(2), SessionEnded::BYTES),
        (u64::from(limits.accounts_max).saturating_mul(4), KillSwitchChanged::BYTES),
    ]
    .iter()
    .fold(0, |sum: u64, (count, bytes)| {
        sum.saturating_add(count.saturating_mul(stored_bytes(HEADER_BYTES.saturating_add(*bytes)) as u64))
    })
}

/// In class `journaled` nobody waits for a sync: it comes often enough to bound what power loss takes, and leaves
/// the CPU to the loop in between. In the others the loop wakes the thread, which looks by itself only so
/// that nothing rests on that.
#[must_use]
pub const fn sync_policy(durability: Durability) -> SyncPolicy {
    match durability {
        Durability::Journaled => SyncPolicy { interval_min_ns: 10_000_000, idle_poll_ns: 10_000_000 },
        Durability::Synced | Durability::Replicated => SyncPolicy { interval_min_ns: 0, idle_poll_ns: 1_000_000 },
    }
}
