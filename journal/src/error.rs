//! Why a journal was not opened.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// What of a journal is damaged, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Events that were durable.
    Events {
        /// The segment.
        segment: PathBuf,
        /// First bad place, bytes.
        offset: u64,
        /// First sequence number that is lost.
        first_lost_seq: u64,
        /// Highest number that was durable.
        durable_seq: u64,
    },
    /// A whole segment.
    Segment {
        /// The segment.
        segment: PathBuf,
    },
    /// The durable watermark: what may be missing cannot be known.
    Watermark {
        /// The file that holds it.
        path: PathBuf,
    },
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Events { segment, offset, first_lost_seq, durable_seq } => write!(
                f,
                "{}: damaged at byte {offset}: events {first_lost_seq} to {durable_seq} were durable and cannot be \
                 read",
                segment.display()
            ),
            Self::Segment { segment } => {
                write!(f, "{}: the segment is missing, or its header cannot be read", segment.display())
            }
            Self::Watermark { path } => write!(
                f,
                "{}: the file is missing, or no number in it is valid: how many events were durable is not known",
                path.display()
            ),
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
