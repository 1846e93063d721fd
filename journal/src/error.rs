//! Why a journal was not opened.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Where a journal is damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The segment.
    pub segment: PathBuf,
    /// First bad place, bytes.
    pub offset: u64,
    /// First sequence number that is lost; 0 when a whole segment cannot be read.
    pub first_lost_seq: u64,
    /// Highest number that was durable.
    pub durable_seq: u64,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let segment = self.segment.display();
        if self.first_lost_seq == 0 {
            write!(f, "{segment}: the segment is missing, or its header cannot be read")
        } else {
            let Self { offset, first_lost_seq, durable_seq, .. } = self;
            write!(
                f,
                "{segment}: damaged at byte {offset}: events {first_lost_seq} to {durable_seq} were durable and \
                 cannot be read"
            )
        }
    }
}

/// Why a journal was not opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process writes it.
    #[error("{}: another process writes this journal (pid {pid}); stop it first", dir.display())]
    Locked {
        /// The journal.
        dir: PathBuf,
        /// Who, as far as it is known.
        pid: String,
    },
    /// What was durable is not there.
    #[error("{0}; restore the file from a copy, nothing was changed")]
    Damaged(Damage),
    /// Written by a newer release.
    #[error("{}: format {format} is newer than this release reads; start a newer one", path.display())]
    FormatTooNew {
        /// The segment.
        path: PathBuf,
        /// Its format.
        format: u16,
    },
    /// The hot segment of this boot is gone: what was journaled but not synced would be lost unseen.
    #[error(
        "{}: the hot segment of a journal that was not stopped cleanly is missing; put it back, or remove {} to \
         accept the loss of what was not synced", path.display(), marker.display()
    )]
    MissingHotSegment {
        /// The file that is missing.
        path: PathBuf,
        /// The file that says that it should be there.
        marker: PathBuf,
    },
    /// No room for the first segment.
    #[error("{}: no room for a segment of {bytes} bytes; make room and start again", dir.display())]
    NoSpace {
        /// The journal.
        dir: PathBuf,
        /// What was needed.
        bytes: u64,
    },
    /// The system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

impl OpenError {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }
}
