//! What of the tables survives power loss.

use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::projector::Source;
use super::store::position;

/// Longest wait for a lock: another time does as well.
const BUSY_TIMEOUT: Duration = Duration::from_millis(100);

/// Brings what is written into the database itself, and says up to which event that is on the disk; `None` when that
/// cannot be said now, or it is the database of something else.
#[must_use]
pub fn durable_seq(source: &Source) -> Option<u64> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(&source.path, flags).ok()?;
    connection.busy_timeout(BUSY_TIMEOUT).ok()?;
    let known = position(&connection, &source.path).ok()?;
    // Syncs the log, then the database: what was committed before is in it, if no reader held it back.
    let (is_busy, frames, moved) = connection
        .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
            Ok((row.get::<_, i64>(0)? != 0, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
        })
        .ok()?;
    (!is_busy && frames == moved && known.stream == source.stream).then_some(known.seq)
}
