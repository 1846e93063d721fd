//! Whether a database is still the one that was opened: its files may be removed or replaced below it, and SQLite goes
//! on writing to what has no name any more.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::error::ProjectionError;
use crate::clock::utc_ns;

/// From one look to the next.
const LOOK_INTERVAL_NS: u64 = 500_000_000;

/// Which file a name stands for; `None` for no file.
fn file_of(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// `<path>-<ending>`: what SQLite keeps beside a database.
pub(super) fn kept_beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-");
    name.push(ending);
    name.into()
}

/// The files of an open database.
#[derive(Debug)]
pub(super) struct Identity {
    path: PathBuf,
    log: PathBuf,
    file: Option<(u64, u64)>,
    /// The log that the newest rows are in; `None` until it was seen.
    log_file: Option<(u64, u64)>,
    looked_ns: u64,
}

impl Identity {
    /// Of the database that was just opened there.
    pub(super) fn of(path: &Path) -> Self {
        let log = kept_beside(path, "wal");
        let (file, log_file) = (file_of(path), file_of(&log));
        Self { path: path.to_owned(), log, file, log_file, looked_ns: utc_ns() }
    }

    /// That it is still there, looked at now and then.
    ///
    /// # Errors
    /// `Replaced`.
    pub(super) fn check(&mut self) -> Result<(), ProjectionError> {
        let now_ns = utc_ns();
        if now_ns.abs_diff(self.looked_ns) < LOOK_INTERVAL_NS {
            return Ok(());
        }
        self.looked_ns = now_ns;
        let replaced = |path: &Path| Err(ProjectionError::Replaced { path: path.to_owned() });
        if file_of(&self.path) != self.file {
            return replaced(&self.path);
        }
        match (self.log_file, file_of(&self.log)) {
            (None, found) => self.log_file = found,
            (known, found) if known != found => return replaced(&self.log),
            (Some(_), _) => {}
        }
        Ok(())
    }
}

/// Puts aside what has taken the place of a database, so that it can be made anew: it may be somebody's. The caller holds
/// the lock, and has no connection to it.
///
/// # Errors
/// When the system refuses.
pub(super) fn put_aside(path: &Path) -> Result<(), ProjectionError> {
    // A log beside it may be of the database that was there before: under a name that goes with the other's it would be
    // taken for one of that.
    for log in [kept_beside(path, "wal"), kept_beside(path, "journal"), path.to_owned()] {
        if log.exists() {
            let aside = free_beside(&log);
            std::fs::rename(&log, aside).map_err(|source| ProjectionError::Io { path: log, source })?;
        }
    }
    // It holds nothing that is not in the log.
    super::rebuild::remove_if_there(&kept_beside(path, "shm"))
}

/// `<path>.replaced`, or with the first number behind it that nobody has.
fn free_beside(path: &Path) -> PathBuf {
    let first = super::store::beside(path, "replaced");
    let numbered = (1_u32..).map(|number| super::store::beside(&first, &number.to_string()));
    std::iter::once(first.clone()).chain(numbered).find(|name| !name.exists()).unwrap_or(first)
}
