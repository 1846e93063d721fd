//! Journal → state at start: `apply`, nothing else.

use std::path::{Path, PathBuf};

use tradecore_domain::event::{DecodeError, Event};
use tradecore_domain::{State, apply};
use tradecore_journal::{ReadError, Reader, Until};

/// Why a journal could not be folded into a state.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Its first events are not there, and no snapshot stands for them.
    #[error(
        "{}: older segments were removed, and the state is made of every event from the first: put them back, or start \
         a journal in a new directory", dir.display()
    )]
    Shortened {
        /// The journal.
        dir: PathBuf,
    },
    /// An event is of a newer release, or its bytes are none.
    #[error("event {seq}: {source}")]
    Decode {
        /// Its sequence number.
        seq: u64,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// It holds more than is configured; nothing of it may be forgotten.
    #[error("the journal holds {held} {what}, and {key} = {configured}: set {key} to {held} or more")]
    Limit {
        /// Of what.
        what: &'static str,
        /// How many.
        held: u64,
        /// The key of the configuration.
        key: &'static str,
        /// Its value.
        configured: u32,
    },
}

/// Folds the whole journal into `state`; how many events there were. `progress` hears of every 65,536th.
///
/// # Errors
/// The journal cannot be read, holds an event that this release does not know, or more than the limits of the state
/// allow: the start is refused.
pub fn replay(dir: &Path, state: &mut State, progress: &mut dyn FnMut(u64)) -> Result<u64, ReplayError> {
    let mut events: u64 = 0;
    let mut reader = Reader::open(dir, 1, Until::Journaled).map_err(|error| match error {
        ReadError::Gone { dir, .. } => ReplayError::Shortened { dir },
        error => ReplayError::Read(error),
    })?;
    while let Some(group) = reader.next_group()? {
        for record in group.records() {
            let event = Event::from_archive(record.kind, record.version, record.payload)
                .map_err(|source| ReplayError::Decode { seq: record.seq, source })?;
            apply(state, &event);
            events = events.saturating_add(1);
            if events.is_multiple_of(65_536) {
                progress(events);
            }
        }
    }
    let limits = state.limits();
    [
        ("open orders", state.open_orders_count().into(), "core.orders_max", limits.orders_max),
        ("ClOrdIDs", state.ids_count() as u64, "core.ids_max", limits.ids_max),
    ]
    .into_iter()
    .find(|(_, held, _, configured)| *held > u64::from(*configured))
    .map_or(Ok(events), |(what, held, key, configured)| Err(ReplayError::Limit { what, held, key, configured }))
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests;
