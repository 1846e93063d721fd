//! How a journal is opened: recovery, the epoch, the first segment, in the order in which each is safe.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::background::{Maker, Syncer};
use crate::exchange::Exchange;
use crate::hot::Marker;
use crate::recovery::{self, Known, RecoveryReport};
use crate::segment::{PARTIAL, Pace, Prepared, SEGMENT_HEADER_BYTES};
use crate::slots::Slots;
use crate::storage::{Storage, numbered};
use crate::watermarks::Watermarks;
use crate::writer::{self, Writer};
use crate::{Config, Damage, OpenError};

/// Shortest segment, bytes.
pub(crate) const SEGMENT_BYTES_MIN: u64 = 64 << 10;

/// The file with the durable watermark.
pub(crate) fn durable_path(dir: &Path) -> PathBuf {
    dir.join("durable")
}

/// The file with the epoch.
pub(crate) fn epoch_path(dir: &Path) -> PathBuf {
    dir.join("epoch")
}

/// The file with the last segment that was removed on purpose.
pub(crate) fn removed_path(dir: &Path) -> PathBuf {
    dir.join("removed")
}

/// All that an open journal consists of, before its threads run.
#[derive(Debug)]
pub(crate) struct Started<S: Storage> {
    pub(crate) writer: Writer,
    pub(crate) report: RecoveryReport,
    pub(crate) watermarks: Arc<Watermarks>,
    pub(crate) maker: Maker<S>,
    pub(crate) syncer: Syncer<S>,
    pub(crate) exchange: Arc<Exchange>,
}

/// Recovers the journal and makes it ready to be written. The caller holds the lock.
pub(crate) fn start<S: Storage>(
    storage: &S,
    config: &Config,
    boot_id: &str,
    created_ns: u64,
) -> Result<Started<S>, OpenError> {
    let dir = config.dir.as_path();
    let io_error = |source| OpenError::io(dir, source);
    let written_durable = Slots::peek(storage, &durable_path(dir)).map_err(io_error)?;
    if written_durable.is_none() && was_started(storage, dir).map_err(io_error)? {
        // Without it a loss of what was durable would look like the torn tail of a power loss, and be cut.
        return Err(OpenError::Damaged(Damage::Watermark { path: durable_path(dir) }));
    }
    // Memory of an earlier boot is gone: that is power loss, and recovery judges it as that.
    let hot = Marker::read(storage, dir).map_err(io_error)?.filter(|marker| marker.boot_id == boot_id);
    let known = Known {
        durable_seq: written_durable.unwrap_or(0),
        removed_segno: Slots::peek(storage, &removed_path(dir)).map_err(io_error)?.unwrap_or(0),
        hot,
        core: config.core,
        environment: config.environment,
    };
    let recovered = recovery::recover(storage, config, &known)?;
    let mut report = recovered.report;

    // All that was in memory only is on the disk now: a later start needs no hot copy.
    Marker::remove(storage, dir).map_err(io_error)?;
    // Before the first epoch and the first segment: from there on a watermark that is missing is a loss.
    let mut durable = Slots::open(storage, &durable_path(dir)).map_err(io_error)?;
    durable.write(report.last_seq).and_then(|()| durable.sync()).map_err(io_error)?;
    // The epoch is durable before any identity is made of it.
    let mut epoch = Slots::open(storage, &epoch_path(dir)).map_err(io_error)?;
    let raised = u32::try_from(epoch.value().max(recovered.epoch_max).saturating_add(1))
        .map_err(|_| io_error(io::Error::other("all epochs are used up; start a journal in a new directory")))?;
    epoch.write(u64::from(raised)).and_then(|()| epoch.sync()).map_err(io_error)?;
    report.epoch = raised;
    remove_all(storage, dir, PARTIAL).map_err(io_error)?;
    if let Some(hot_dir) = &config.hot_dir {
        let io_error = |source| OpenError::io(hot_dir, source);
        storage.create_dir(hot_dir).map_err(io_error)?;
        remove_all(storage, hot_dir, PARTIAL).map_err(io_error)?;
        remove_all(storage, hot_dir, "hot").map_err(io_error)?;
    }

    let first_bytes = config
        .first_segment_bytes
        .max(config.reserve_bytes.saturating_mul(2))
        .max(SEGMENT_BYTES_MIN)
        .next_multiple_of(4096);
    let mut maker = Maker {
        storage: storage.clone(),
        dir: dir.to_owned(),
        hot_dir: config.hot_dir.clone(),
        core: config.core,
        environment: config.environment,
        epoch: raised,
        next_segno: recovered.next_segno,
        next_bytes: first_bytes,
        max_bytes: config.max_segment_bytes.max(first_bytes).next_multiple_of(4096),
        created_ns,
    };
    if let Some(hot_dir) = &config.hot_dir {
        // Before the first hot segment: from here on one that is missing is a loss.
        let marker = Marker { boot_id: boot_id.to_owned(), dir: hot_dir.clone(), first_segno: recovered.next_segno };
        marker.write(storage, dir).map_err(io_error)?;
    }
    let current = make_first(&mut maker)?;
    let watermarks = Arc::new(Watermarks::new(report.last_seq));
    let exchange = Arc::new(Exchange::new());
    let writer = Writer::new(writer::Start {
        current,
        exchange: Arc::clone(&exchange),
        watermarks: Arc::clone(&watermarks),
        reserve_bytes: config.reserve_bytes as usize,
        epoch: raised,
        last_seq: report.last_seq,
        last_ts_ns: report.last_ts_ns,
    });
    let syncer = Syncer {
        storage: storage.clone(),
        dir: dir.to_owned(),
        hot_dir: config.hot_dir.clone(),
        watermarks: Arc::clone(&watermarks),
        durable_synced: durable.value(),
        durable,
        segno: recovered.next_segno,
        open: None,
        at: SEGMENT_HEADER_BYTES,
        synced_at: SEGMENT_HEADER_BYTES,
        next_seq: report.last_seq.saturating_add(1),
        batches: 0,
        is_sealed: false,
    };
    Ok(Started { writer, report, watermarks, maker, syncer, exchange })
}

/// The first segment: as long as it should be, or else as there is room for. A full disk must not keep a gateway down
/// whose orders can still be canceled, and what the last life had left was freed by now.
fn make_first<S: Storage>(maker: &mut Maker<S>) -> Result<Prepared, OpenError> {
    let wanted = maker.next_bytes;
    loop {
        match maker.make(Pace::Fast) {
            Err(OpenError::NoSpace { .. }) if maker.next_bytes > SEGMENT_BYTES_MIN => {
                // By a sixteenth each time: so much of the room, at most, is not found.
                let shorter = (maker.next_bytes / 16).next_multiple_of(4096);
                maker.next_bytes = maker.next_bytes.saturating_sub(shorter).max(SEGMENT_BYTES_MIN);
            }
            Ok(segment) => {
                // The second is no longer: many a life needs no third.
                maker.next_bytes = wanted;
                return Ok(segment);
            }
            refused => return refused,
        }
    }
}

/// True once a start came so far that the durable watermark was written down.
fn was_started<S: Storage>(storage: &S, dir: &Path) -> io::Result<bool> {
    Ok(Slots::peek(storage, &epoch_path(dir))?.is_some() || !numbered(storage, dir, "jnl")?.is_empty())
}

fn remove_all<S: Storage>(storage: &S, dir: &Path, extension: &str) -> io::Result<()> {
    for name in storage.list(dir)? {
        if Path::new(&name).extension().is_some_and(|found| found == extension) {
            storage.remove(&dir.join(name))?;
        }
    }
    Ok(())
}
