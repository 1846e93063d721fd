//! Why a journal was not opened.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::storage::dir_of;

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
    /// A segment whose file is not as long as it was made.
    Length {
        /// The segment.
        segment: PathBuf,
        /// What its header says.
        header_bytes: u64,
        /// What the file has.
        file_bytes: u64,
    },
    /// The file that says where the newest events are in memory.
    HotMarker {
        /// The file.
        path: PathBuf,
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
            Self::Length { segment, header_bytes, file_bytes } => write!(
                f,
                "{}: the file has {file_bytes} bytes, and was made with {header_bytes}: it was truncated or added to",
                segment.display()
            ),
            Self::HotMarker { path } => write!(
                f,
                "{}: damaged: it says where in memory the newest events are; without it, what was not synced is lost",
                path.display()
            ),
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
    /// An event was written by a newer release.
    #[error(
        "{}: event {seq} of type {kind} version {version} is newer than this release; start a newer one, nothing was \
         changed", segment.display()
    )]
    EventTooNew {
        /// The segment.
        segment: PathBuf,
        /// Its sequence number.
        seq: u64,
        /// Its type.
        kind: u16,
        /// Its version.
        version: u8,
    },
    /// Written by another core, or by this one in another environment.
    #[error("{}: the journal of core {core}, environment {environment}", dir.display())]
    OtherCore {
        /// The journal.
        dir: PathBuf,
        /// Whose it is.
        core: u16,
        /// In which environment.
        environment: u8,
    },
    /// A restore was begun there, and is not done.
    #[error("{}: a restore of this journal was interrupted: run it again, it begins anew", dir.display())]
    Unfinished {
        /// The journal that is to be.
        dir: PathBuf,
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
    /// Copied from a journal that was not stopped cleanly: what it had not synced is in the memory of the original.
    #[error(
        "{}: names the memory of another journal, {}: this one was copied while that was open or killed; start the \
         original, or remove the file to accept the loss of what was not synced", marker.display(), hot_dir.display()
    )]
    Copied {
        /// Where the original has its hot segments.
        hot_dir: PathBuf,
        /// The file that came along.
        marker: PathBuf,
    },
    /// No room for a segment.
    #[error("{}: no room for a segment of {bytes} bytes; make room there", dir.display())]
    NoSpace {
        /// Where: the journal's directory, or that of its hot segments.
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

    /// Why a file of a segment could not be made.
    pub(crate) fn making(path: &Path, bytes: u64, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull => Self::NoSpace { dir: dir_of(path).to_owned(), bytes },
            _ => Self::io(path, source),
        }
    }
}
