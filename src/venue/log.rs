//! The venue's log: append-only JSON lines, one group a line, written before anything is answered.
//!
//! It shares no code or format with the gateway's journal, so that it can witness for or against it. A last
//! line without its newline was never answered: it is cut, and kept aside where there is room. Any other line that
//! cannot be read is damage, and the venue does not start.

use super::event::EventKind;
use super::exchange::Exchange;
use super::order::{Fill, OrderStatus, VenueOrderId};
use super::record::{Group, LOG_FORMAT, Record};
use super::text::Name;
use crate::systemd::Notifier;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use tradecore_protocol::fields::{Px, Qty, Side};

/// Longest line, bytes: a decision of tens of thousands of fills.
const LINE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Groups replayed between two words to the service manager.
const GROUPS_PER_STEP: u64 = 16_384;

/// Why the log cannot be used; the venue stops, or does not start.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file system refused.
    #[error("venue log {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another venue runs on this directory.
    #[error("venue log {path} is locked: another venue runs here; stop it or use another log_dir")]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// A line in the middle cannot be read.
    #[error("venue log {path} line {line} is damaged: {reason}; restore the file or start with a new log_dir")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: u64,
        /// What was wrong.
        reason: String,
    },
}

/// What opening the log found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogReport {
    /// Whole lines replayed.
    pub groups: u64,
    /// Bytes of a torn last line that were cut.
    pub cut_bytes: u64,
    /// Where they are kept; `None` when nothing was cut, or a full disk had no room for it.
    pub kept_at: Option<PathBuf>,
}

/// An open log, locked against other processes.
#[derive(Debug)]
pub struct VenueLog {
    file: File,
    path: PathBuf,
    sync: bool,
    /// Lines, the first perhaps without its beginning, that the disk had no room for.
    unwritten: Vec<u8>,
    /// Held as long as the log is.
    lock: File,
}

/// The log file of a directory.
#[must_use]
pub fn log_path(dir: &Path) -> PathBuf {
    dir.join("venue.log")
}

impl VenueLog {
    /// Opens or makes the log in `dir`, cuts a torn last line, and folds every group into `exchange`.
    ///
    /// # Errors
    /// `LogError`; nothing but a torn last line has been changed.
    pub fn open(dir: &Path, sync: bool, exchange: &mut Exchange) -> Result<(Self, LogReport), LogError> {
        let path = log_path(dir);
        let io_error = |source| LogError::Io { path: path.clone(), source };
        fs::create_dir_all(dir).map_err(io_error)?;
        let lock = lock(&dir.join("venue.lock"))?;
        let file = OpenOptions::new().read(true).append(true).create(true).open(&path).map_err(io_error)?;
        let mut report = LogReport::default();
        let manager = Notifier::from_env();
        let mut applied: u64 = 0;
        let whole_bytes = for_each_group(&file, &path, &mut report.groups, |group| {
            applied = applied.saturating_add(1);
            if applied.is_multiple_of(GROUPS_PER_STEP) {
                manager.start_goes_on();
            }
            exchange.apply_group(&group);
        })?;
        report.cut_bytes = file.metadata().map_err(io_error)?.len().saturating_sub(whole_bytes);
        if report.cut_bytes > 0 {
            report.kept_at = keep_tail(&file, &path, whole_bytes).map_err(io_error)?;
        }
        if sync {
            File::open(dir).and_then(|d| d.sync_all()).map_err(io_error)?;
        }
        Ok((Self { file, path, sync, unwritten: Vec::new(), lock }, report))
    }

    /// Writes `groups`, and waits for the disk where configured; only then may they be told. False while a full
    /// disk has no room for all of them: nothing may be told, and nothing else be decided, until `append` of no
    /// further groups is true.
    ///
    /// # Errors
    /// `LogError::Io`: the venue must stop, since what is on disk is unknown.
    pub fn append(&mut self, groups: &[Group]) -> Result<bool, LogError> {
        let was_behind = self.is_behind();
        let Self { file, path, sync, unwritten, .. } = self;
        let io_error = |source| LogError::Io { path: path.clone(), source };
        for group in groups {
            write_line(unwritten, group).map_err(io_error)?;
        }
        if unwritten.is_empty() {
            return Ok(true);
        }
        while !unwritten.is_empty() {
            match file.write(unwritten) {
                Ok(0) => return Err(io_error(io::ErrorKind::WriteZero.into())),
                Ok(count) => drop(unwritten.drain(..count)),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::StorageFull => {
                    if !was_behind {
                        tracing::warn!(path = %path.display(), "no room for the venue's log: the venue stands still");
                    }
                    return Ok(false);
                }
                Err(source) => return Err(io_error(source)),
            }
        }
        if was_behind {
            tracing::info!(path = %path.display(), "room for the venue's log: the venue goes on");
        }
        if *sync {
            file.sync_data().map_err(io_error)?;
        }
        Ok(true)
    }

    /// True while `append` waits for room.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        !self.unwritten.is_empty()
    }
}

impl Drop for VenueLog {
    fn drop(&mut self) {
        // Closing alone would not unlock while a process that was forked meanwhile has the file open too.
        // A lock that cannot be given up ends with this process.
        let _ended_with_the_process = self.lock.unlock();
    }
}

/// Appends the log line of `group` to `out`.
///
/// # Errors
/// None that a `Vec` gives; the signature is the serializer's.
pub fn write_line(out: &mut Vec<u8>, group: &Group) -> io::Result<()> {
    serde_json::to_writer(&mut *out, group)?;
    out.push(b'\n');
    Ok(())
}

fn lock(path: &Path) -> Result<File, LogError> {
    let io_error = |source| LogError::Io { path: path.to_path_buf(), source };
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(io_error)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LogError::Locked { path: path.to_path_buf() }),
        Err(TryLockError::Error(source)) => Err(io_error(source)),
    }
}

/// Calls `each` with the group of every whole line from where `file` stands, which is behind line `number`, and
/// counts on; returns the bytes of these lines.
fn for_each_group(file: &File, path: &Path, number: &mut u64, mut each: impl FnMut(Group)) -> Result<u64, LogError> {
    let mut input = BufReader::with_capacity(1 << 20, file);
    let (mut line, mut whole_bytes) = (Vec::new(), 0_u64);
    loop {
        line.clear();
        let read = input.read_until(b'\n', &mut line);
        read.map_err(|source| LogError::Io { path: path.to_path_buf(), source })?;
        if line.last() != Some(&b'\n') {
            return Ok(whole_bytes);
        }
        let nth = number.saturating_add(1);
        let damaged = |reason: String| LogError::Damaged { path: path.to_path_buf(), line: nth, reason };
        if line.len() > LINE_BYTES_MAX {
            return Err(damaged(format!("longer than {LINE_BYTES_MAX} bytes")));
        }
        let group: Group = serde_json::from_slice(&line).map_err(|e| damaged(e.to_string()))?;
        match group.records.first() {
            Some(Record::Start { format, .. }) if *format != LOG_FORMAT => {
                return Err(damaged(format!("format {format}, this release reads {LOG_FORMAT}")));
            }
            Some(Record::Start { .. }) => {}
            Some(_) if nth > 1 => {}
            Some(_) | None => return Err(damaged("the first line is not a start".to_owned())),
        }
        whole_bytes = whole_bytes.saturating_add(line.len() as u64);
        *number = nth;
        each(group);
    }
}

/// Copies what follows `whole_bytes` to a file of its own, then cuts it. A full disk has left such a tail and has no
/// room for the copy: nobody was told of it, so it is cut all the same.
fn keep_tail(file: &File, path: &Path, whole_bytes: u64) -> io::Result<Option<PathBuf>> {
    let kept_at = path.with_extension(format!("log.torn-{whole_bytes}"));
    let mut reader = file;
    reader.seek(SeekFrom::Start(whole_bytes))?;
    let mut kept = File::create(&kept_at)?;
    let is_kept = match io::copy(&mut reader, &mut kept).and_then(|_| kept.sync_all()) {
        Ok(()) => true,
        Err(e) if e.kind() == io::ErrorKind::StorageFull => false,
        Err(e) => return Err(e),
    };
    if !is_kept {
        fs::remove_file(&kept_at)?;
    }
    file.set_len(whole_bytes)?;
    Ok(is_kept.then_some(kept_at))
}

/// An order as the log proves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedOrder {
    /// Whose.
    pub client: Name,
    /// FIX ClOrdID (11).
    pub client_order_id: Name,
    /// The venue's number.
    pub venue_order_id: VenueOrderId,
    /// FIX Symbol (55).
    pub symbol: Name,
    /// FIX Side (54).
    pub side: Side,
    /// FIX Price (44), as last replaced; `Px::NONE` for a market order.
    pub px: Px,
    /// FIX OrderQty (38), as last replaced.
    pub qty: Qty,
    /// FIX CumQty (14): the sum of `fills`.
    pub cum_qty: Qty,
    /// State.
    pub status: OrderStatus,
    /// Every execution, oldest first.
    pub fills: Vec<Fill>,
    /// How often this client order id was submitted: 1, and 1 for each refused repetition.
    pub submissions: u32,
    /// Orders accepted under this client order id; above 1 the venue itself is broken.
    pub orders_accepted: u32,
}

/// Changes of an order that the log has a client ask for, whether or not the order was ever submitted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoggedChanges {
    /// Cancels accepted for the book.
    pub cancels: u32,
    /// Price and total quantity of every replace accepted for the book, oldest first.
    pub replaces: Vec<(Px, Qty)>,
}

/// A log file that is read on as it grows. Folds the lines by itself, not through `Exchange`; a torn last line is
/// left out. The venue may be running.
#[derive(Debug)]
pub struct LogReader {
    path: PathBuf,
    orders: BTreeMap<(Name, Name), LoggedOrder>,
    changes: BTreeMap<(Name, Name), LoggedChanges>,
    whole_bytes: u64,
    lines: u64,
}

impl LogReader {
    /// A reader of the file at `path` that has read nothing.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self { path, orders: BTreeMap::new(), changes: BTreeMap::new(), whole_bytes: 0, lines: 0 }
    }

    /// Takes in what was appended since the last call.
    ///
    /// # Errors
    /// `LogError::Io` and `LogError::Damaged`.
    pub fn read_on(&mut self) -> Result<(), LogError> {
        let Self { path, orders, changes, whole_bytes, lines } = self;
        let open = || {
            let mut file = File::open(&*path)?;
            file.seek(SeekFrom::Start(*whole_bytes))?;
            Ok(file)
        };
        let file = open().map_err(|source| LogError::Io { path: path.clone(), source })?;
        let read_bytes = for_each_group(&file, path, lines, |group| {
            for record in group.records {
                fold(orders, changes, record);
            }
        })?;
        *whole_bytes = whole_bytes.saturating_add(read_bytes);
        Ok(())
    }

    /// Every order read, by client and client order id.
    pub fn orders(&self) -> impl Iterator<Item = &LoggedOrder> {
        self.orders.values()
    }

    /// Client order id and changes of every order that was asked to change.
    pub fn changes(&self) -> impl Iterator<Item = (&Name, &LoggedChanges)> {
        self.changes.iter().map(|((_, client_order_id), changes)| (client_order_id, changes))
    }
}

/// Every order in the log file at `path`, by client and client order id.
///
/// # Errors
/// As `LogReader::read_on`.
pub fn read_log(path: &Path) -> Result<Vec<LoggedOrder>, LogError> {
    let mut reader = LogReader::new(path.to_path_buf());
    reader.read_on()?;
    Ok(reader.orders.into_values().collect())
}

fn fold(
    orders: &mut BTreeMap<(Name, Name), LoggedOrder>,
    changes: &mut BTreeMap<(Name, Name), LoggedChanges>,
    record: Record,
) {
    match record {
        Record::Start { .. } | Record::Hello { .. } => {}
        Record::Cancel { client, request, .. } => {
            let entry = changes.entry((client, request.client_order_id)).or_default();
            entry.cancels = entry.cancels.saturating_add(1);
        }
        Record::Replace { client, request, .. } => {
            changes.entry((client, request.client_order_id)).or_default().replaces.push((request.px, request.qty));
        }
        Record::Submit { client, venue_order_id, order, .. } => {
            let key = (client.clone(), order.client_order_id.clone());
            let entry = orders.entry(key).or_insert_with(|| LoggedOrder {
                client,
                client_order_id: order.client_order_id,
                venue_order_id,
                symbol: order.symbol,
                side: order.side,
                px: order.px,
                qty: order.qty,
                cum_qty: Qty(0),
                status: OrderStatus::PendingNew,
                fills: Vec::new(),
                submissions: 0,
                orders_accepted: 0,
            });
            entry.submissions = entry.submissions.saturating_add(1);
            entry.orders_accepted = entry.orders_accepted.saturating_add(1);
        }
        Record::DuplicateSubmit { client, client_order_id } => {
            if let Some(order) = orders.get_mut(&(client, client_order_id)) {
                order.submissions = order.submissions.saturating_add(1);
            }
        }
        Record::Event { client, event } => {
            let Some(order) = orders.get_mut(&(client, event.client_order_id)) else {
                return;
            };
            match event.kind {
                EventKind::New { .. } => order.status = OrderStatus::New,
                EventKind::Trade { exec_id, last_px, last_qty, fee, liquidity, .. } => {
                    let venue_time_ns = event.venue_time_ns;
                    order.fills.push(Fill { exec_id, px: last_px, qty: last_qty, fee, liquidity, venue_time_ns });
                    order.cum_qty = Qty(order.cum_qty.0.saturating_add(last_qty.0));
                    let filled = order.cum_qty >= order.qty;
                    order.status = if filled { OrderStatus::Filled } else { OrderStatus::PartiallyFilled };
                }
                EventKind::Canceled { .. } => order.status = OrderStatus::Canceled,
                EventKind::Expired { .. } => order.status = OrderStatus::Expired,
                EventKind::Rejected { .. } => order.status = OrderStatus::Rejected,
                EventKind::Replaced { px, qty, .. } => (order.px, order.qty) = (px, qty),
                EventKind::CancelRejected { .. } | EventKind::ReplaceRejected { .. } => {}
            }
        }
    }
}
