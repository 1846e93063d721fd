//! How the monitor stands, in a file beside the database: for `projection status`, which is another process.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Finding;
use crate::clock::utc_ns;
use crate::projections::projector::Source;
use crate::projections::store::beside;

/// How the monitor stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Report {
    /// The second fold has come to this event.
    pub checked_seq: u64,
    /// When it looked last, UTC ns.
    pub checked_ns: u64,
    /// When the second fold began with the first event, UTC ns.
    pub since_ns: u64,
    /// Why it cannot look, and since when, UTC ns.
    pub error: Option<(String, u64)>,
    /// Rows that were compared since the start.
    pub rows: u64,
    /// Looks that found something since the start.
    pub found: u64,
    /// Rows differ, and their tables are not made anew yet.
    pub is_stale: bool,
    /// What was found last, and when, UTC ns.
    pub last: Option<(String, u64)>,
}

impl Report {
    pub(super) fn found(&mut self, first: &Finding) {
        self.found = self.found.saturating_add(1);
        self.is_stale = true;
        self.last = Some((first.to_string(), utc_ns()));
    }

    /// In one piece: who reads it sees this or the last.
    pub(super) fn write(&self, source: &Source) -> std::io::Result<()> {
        let path = beside(&source.path, "integrity");
        let partial = beside(&path, "partial");
        std::fs::write(&partial, serde_json::to_vec(self)?)?;
        std::fs::rename(&partial, &path)
    }
}

/// How the monitor of a database stands; `None` when none has looked at it.
#[must_use]
pub fn report_of(path: &Path) -> Option<Report> {
    serde_json::from_slice(&std::fs::read(beside(path, "integrity")).ok()?).ok()
}
