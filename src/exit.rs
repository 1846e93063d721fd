//! Exit codes: stable, documented, declared once.

macro_rules! exit_codes {
    ($($(#[doc = $doc:literal])* $name:ident = $code:literal,)*) => {
        /// How a command ended.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Exit { $($(#[doc = $doc])* $name = $code,)* }

        impl Exit {
            /// Every code: number, name, meaning.
            pub const TABLE: &'static [(u8, &'static str, &'static str)] =
                &[$(($code, stringify!($name), concat!($($doc),*)),)*];

            /// The number.
            #[must_use]
            pub const fn code(self) -> u8 {
                self as u8
            }

            /// The name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }
        }
    };
}

exit_codes! {
    /// Done.
    Ok = 0,
    /// The command line is wrong.
    Usage = 64,
    /// The gateway or the broker rejected a request.
    Rejected = 65,
    /// A gateway, venue or address is not there.
    Unavailable = 69,
    /// A broken invariant of ours.
    Internal = 70,
    /// The system refused to read or write.
    Io = 74,
    /// Credentials are missing or readable by others, or the gateway refuses the logon.
    Credential = 77,
    /// The configuration is wrong.
    Config = 78,
    /// The journal is damaged below its durable watermark, or the venue's log before its last line.
    JournalDamaged = 80,
    /// Another process writes the journal, or the venue's log.
    JournalLocked = 81,
    /// The journal was written by a newer release.
    JournalTooNew = 82,
    /// No room for the journal, or the venue's log.
    JournalNoSpace = 83,
    /// The hot segment that should exist is missing, or is that of the journal from which this one was copied.
    HotSegmentMissing = 84,
    /// A sync failed: nothing that follows would be durable.
    SyncFailed = 85,
    /// What the algos saw, the journal and the venue do not agree, or what the topics hold and the journal.
    ProofFailed = 86,
    /// A file of the journal is shorter or longer than it was made.
    JournalTruncated = 87,
    /// A second signal ended a stop that was not done; the next start recovers as after a crash.
    StopCutShort = 88,
    /// Segments that a start needs were removed from the journal, or events from the topics that it, or tables, are made of.
    JournalShortened = 89,
    /// A signal ended the command before it was done.
    Interrupted = 90,
    /// The gateway that runs is of another release than the command that looks at its memory.
    OtherRelease = 91,
    /// Another shipper of the same stream has taken over.
    Superseded = 92,
    /// Another host has taken over the trading of this core: the gateway trades no more, and must not be started again.
    TakenOver = 93,
    /// A restore of the journal was interrupted: it is to be run again.
    JournalUnfinished = 94,
    /// Another process writes the read model.
    ProjectionLocked = 95,
    /// The read model is not what a fold of the journal gives.
    ProjectionDiffers = 96,
    /// The read model did not come as far as was asked for in the time allowed.
    ProjectionBehind = 97,
    /// The read model cannot be used by this release as it is.
    ProjectionUnusable = 98,
}

impl Exit {
    /// A gateway that ended so must not be started again before a person has looked: `systemd/tradecore@.service` says so.
    pub const FOR_PEOPLE: &'static [Self] = &[
        Self::Usage,
        Self::Credential,
        Self::Config,
        Self::JournalDamaged,
        Self::JournalTooNew,
        Self::HotSegmentMissing,
        Self::JournalTruncated,
        Self::StopCutShort,
        Self::JournalShortened,
        Self::TakenOver,
        Self::JournalUnfinished,
    ];
}

impl From<&tradecore_journal::OpenError> for Exit {
    fn from(error: &tradecore_journal::OpenError) -> Self {
        use tradecore_journal::OpenError as E;
        match error {
            E::Locked { .. } => Self::JournalLocked,
            E::Damaged(tradecore_journal::Damage::Length { .. }) => Self::JournalTruncated,
            E::Damaged(_) => Self::JournalDamaged,
            E::FormatTooNew { .. } | E::EventTooNew { .. } => Self::JournalTooNew,
            E::MissingHotSegment { .. } | E::Copied { .. } => Self::HotSegmentMissing,
            E::NoSpace { .. } => Self::JournalNoSpace,
            E::Unfinished { .. } => Self::JournalUnfinished,
            E::OtherCore { .. } => Self::Config,
            E::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => Self::JournalNoSpace,
            _ => Self::Io,
        }
    }
}

impl From<&tradecore_journal::ReadError> for Exit {
    fn from(error: &tradecore_journal::ReadError) -> Self {
        use tradecore_journal::ReadError as E;
        match error {
            E::Io { .. } => Self::Io,
            E::FormatTooNew { .. } => Self::JournalTooNew,
            E::Truncated { .. } => Self::JournalTruncated,
            _ => Self::JournalDamaged,
        }
    }
}

impl From<&crate::venue::VenueError> for Exit {
    fn from(error: &crate::venue::VenueError) -> Self {
        use crate::market_data::capture::CaptureError;
        use crate::venue::{VenueError as E, log::LogError};
        match error {
            E::Config(_) | E::Capture(CaptureError::Line { .. }) => Self::Config,
            E::Listen { .. } => Self::Unavailable,
            E::Log(LogError::Locked { .. }) => Self::JournalLocked,
            E::Log(LogError::Damaged { .. }) => Self::JournalDamaged,
            E::Log(LogError::Io { source, .. }) if source.kind() == std::io::ErrorKind::StorageFull => {
                Self::JournalNoSpace
            }
            E::Log(LogError::Io { .. }) | E::Capture(CaptureError::Io { .. }) | E::Poll(_) => Self::Io,
        }
    }
}

impl From<&tradecore_domain::event::DecodeError> for Exit {
    fn from(error: &tradecore_domain::event::DecodeError) -> Self {
        use tradecore_domain::event::DecodeError as E;
        match error {
            E::Unknown { .. } => Self::JournalTooNew,
            E::Malformed { .. } => Self::JournalDamaged,
        }
    }
}
