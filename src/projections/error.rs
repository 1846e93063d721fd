//! Why a projection cannot go on.

use std::path::{Path, PathBuf};

use tradecore_journal::ReadError;

use super::projector::Mismatch;
use super::server::Trouble;
use crate::exit::Exit;

/// Why a projection cannot go on, or a database cannot be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProjectionError {
    /// There is none.
    #[error(
        "{}: no read model is there: set projection.sqlite or [projection.postgres] and start the gateway (with feed = \
         \"kafka\", `tradecore project`), or run `tradecore projection catch-up`",
        path.display()
    )]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// Another process projects into it.
    #[error(
        "{}: process {pid} writes this read model; one writer is allowed: it goes on, and nothing was changed here",
        path.display()
    )]
    Locked {
        /// The database.
        path: PathBuf,
        /// Who holds the lock.
        pid: String,
    },
    /// Another writer has moved the position meanwhile.
    #[error(
        "{}: the position is no longer {expected}: another writer has moved it to {found}; this one stops, and its \
         transaction was taken back", path.display()
    )]
    Moved {
        /// The database.
        path: PathBuf,
        /// Where this writer stood.
        expected: u64,
        /// What the database says.
        found: u64,
    },
    /// Tables on a server know what the journal of this host does not.
    #[error(
        "{}: {why}. Another host may have gone on with this core, so they are left as they are: if its place is taken, stop \
         this gateway for good; if this is the host that is to go on, and its journal the right one, run \
         `tradecore projection rebuild --database postgres`", path.display()
    )]
    Elsewhere {
        /// What they are called.
        path: PathBuf,
        /// What they know.
        why: Mismatch,
    },
    /// Its files are no longer those that were opened.
    #[error(
        "{}: removed, or replaced by another file, while it was written: the read model is made anew from the journal, \
         and what is found there is put aside, with `.replaced` behind its name", path.display()
    )]
    Replaced {
        /// The file.
        path: PathBuf,
    },
    /// The file is a database of something else.
    #[error(
        "{}: tables of another program are there; give projection.sqlite a path, or projection.postgres a schema of its \
         own", path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Something else than a database is at the path.
    #[error(
        "{}: this is no database, and is left as it is; move it away if it was the read model and is damaged, or give \
         projection.sqlite another path", path.display()
    )]
    NoDatabase {
        /// The file.
        path: PathBuf,
    },
    /// A newer release has made it.
    #[error(
        "{}: its schema is number {found}, and this release knows up to {known}: start a newer one, or run `{}` with this one",
        path.display(), rebuild_of(path)
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its number.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// An older schema or older rules have made it.
    #[error("{}: {why}; run `{}`", path.display(), rebuild_of(path))]
    Outdated {
        /// The file.
        path: PathBuf,
        /// What differs.
        why: String,
    },
    /// It is of another core or environment.
    #[error("{}: holds the rows of {found}, and the configuration is of {ours}: give each its own", path.display())]
    OtherStream {
        /// The file.
        path: PathBuf,
        /// Whose rows they are.
        found: String,
        /// Who asks.
        ours: String,
    },
    /// SQLite refused.
    #[error("{}: {}: {source}; {}", path.display(), state_of(source).0, state_of(source).1)]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: rusqlite::Error,
    },
    /// A PostgreSQL server cannot be reached, or refused.
    #[error("{}: {}: {text}; {}", path.display(), trouble.words().0, trouble.words().1)]
    Postgres {
        /// What it is called.
        path: PathBuf,
        /// What it means.
        trouble: Trouble,
        /// What it said.
        text: String,
    },
    /// A row is not as this release writes it.
    #[error("{}: {source}; run `{}`", path.display(), rebuild_of(path))]
    BadRow {
        /// The file.
        path: PathBuf,
        /// Which.
        source: super::cell::BadRow,
    },
    /// The system refused.
    #[error("{}: {source}; check its disk, and that the gateway's user may write there", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] ReadError),
    /// More aggregates are parked than are kept track of.
    #[error("{}: events of more than {max} aggregates are parked: see `tradecore projection status`", path.display())]
    TooManyParked {
        /// The file.
        path: PathBuf,
        /// The bound.
        max: usize,
    },
    /// More orders are open than the monitor holds.
    #[error("{}: more than {max} orders are open: too many to compare the tables with the journal beside them", path.display())]
    TooManyOrders {
        /// The database.
        path: PathBuf,
        /// The bound.
        max: usize,
    },
    /// It was asked to stop.
    #[error("stopped before it was done; what it was making is gone, and the read model is as it was")]
    Stopped,
}

/// The command that makes these tables anew: each of the two databases has its own.
#[must_use]
pub fn rebuild_of(path: &Path) -> &'static str {
    if path.to_string_lossy().starts_with("postgres://") {
        "tradecore projection rebuild --database postgres"
    } else {
        "tradecore projection rebuild"
    }
}

/// What SQLite's refusal is called, and the next step.
fn state_of(source: &rusqlite::Error) -> (&'static str, &'static str) {
    use rusqlite::ErrorCode as C;
    match source.sqlite_error_code() {
        Some(C::DiskFull) => ("no-room", "make room on its disk"),
        Some(C::ReadOnly | C::PermissionDenied | C::CannotOpen) => {
            ("no-rights", "let the gateway's user write the file, and make files beside it")
        }
        Some(C::DatabaseBusy | C::DatabaseLocked) => ("busy", "end the program that holds it"),
        Some(C::SystemIoFailure) => ("disk-failed", "look at the system's log, and at its disk"),
        Some(C::NotADatabase) => ("no-database", "move it away, or give projection.sqlite another path"),
        _ => ("refused", "run `tradecore projection rebuild`"),
    }
}

impl ProjectionError {
    /// True for what may pass by itself: a full disk, a reader that holds a lock.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        use rusqlite::ErrorCode as C;
        match self {
            Self::Sqlite { source, .. } => matches!(
                source.sqlite_error_code(),
                Some(
                    C::DiskFull
                        | C::DatabaseBusy
                        | C::DatabaseLocked
                        | C::SystemIoFailure
                        | C::CannotOpen
                        | C::ReadOnly
                        | C::PermissionDenied
                )
            ),
            Self::Postgres { trouble, .. } => trouble.may_pass(),
            // Descriptors or memory may be short for a while; of what is another host's, a person may say otherwise.
            Self::Journal(ReadError::Io { .. }) | Self::Io { .. } | Self::Locked { .. } | Self::Elsewhere { .. } => {
                true
            }
            _ => false,
        }
    }

    /// True for what rows made anew may mend: not what passes, and not what another program, core or release has made.
    pub(super) fn is_of_rows(&self) -> bool {
        !self.may_pass()
            && !matches!(
                self,
                Self::Foreign { .. } | Self::NoDatabase { .. } | Self::Newer { .. } | Self::OtherStream { .. }
            )
    }
}

impl From<&ProjectionError> for Exit {
    fn from(error: &ProjectionError) -> Self {
        use ProjectionError as E;
        match error {
            E::Missing { .. } => Self::Unavailable,
            E::Locked { .. } | E::Moved { .. } | E::Elsewhere { .. } => Self::ProjectionLocked,
            E::Foreign { .. } | E::NoDatabase { .. } | E::OtherStream { .. } => Self::Config,
            E::Replaced { .. }
            | E::Newer { .. }
            | E::Outdated { .. }
            | E::BadRow { .. }
            | E::TooManyParked { .. }
            | E::TooManyOrders { .. } => Self::ProjectionUnusable,
            E::Postgres { trouble: Trouble::Unauthorized | Trouble::Untrusted | Trouble::NoRights, .. } => {
                Self::Credential
            }
            E::Postgres { .. } => Self::Unavailable,
            E::Sqlite { .. } | E::Io { .. } => Self::Io,
            E::Journal(ReadError::Gone { .. }) => Self::JournalShortened,
            E::Journal(error) => Self::from(error),
            E::Stopped => Self::Interrupted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sqlite_refuses_has_a_name_and_what_can_be_mended_is_tried_again() {
        use rusqlite::ffi;
        for (code, name, may_pass) in [
            (ffi::SQLITE_FULL, "no-room", true),
            (ffi::SQLITE_READONLY, "no-rights", true),
            (ffi::SQLITE_PERM, "no-rights", true),
            (ffi::SQLITE_CANTOPEN, "no-rights", true),
            (ffi::SQLITE_BUSY, "busy", true),
            (ffi::SQLITE_IOERR, "disk-failed", true),
            (ffi::SQLITE_CORRUPT, "refused", false),
            (ffi::SQLITE_NOTADB, "no-database", false),
        ] {
            let source = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            let error = ProjectionError::Sqlite { path: "rows.sqlite".into(), source };
            assert!(error.to_string().starts_with(&format!("rows.sqlite: {name}: ")), "{error}");
            assert_eq!(error.may_pass(), may_pass, "{error}");
        }
    }
}
