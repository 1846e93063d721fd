//! How the monitor stands, in a file beside the database: for `projection status`, which is another process.

use serde::{Deserialize, Serialize};

use super::Finding;
use crate::clock::utc_ns;
use crate::projections::projector::Source;
use crate::projections::store::beside;

/// How the monitor stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Report {
    /// The server's tables that it is about, and their schema: those of another have a file of the same name.
    pub of: String,
    /// The second fold has come to this event.
    pub checked_seq: u64,
    /// When it looked last, UTC ns.
    pub checked_ns: u64,
    /// When the second fold began with the first event, UTC ns.
    pub since_ns: u64,
    /// How far the round of every row has come; `None` where the beginning of the journal is gone.
    pub round_seq: Option<u64>,
    /// Rounds that were ended since then.
    pub rounds: u64,
    /// Why it cannot look, and since when, UTC ns.
    pub error: Option<(String, u64)>,
    /// Rows that were compared since the start.
    pub rows: u64,
    /// Looks that found something.
    pub found: u64,
    /// Rows differ, and their tables are not made anew yet.
    pub is_stale: bool,
    /// Rounds that end before what was found is taken back where nobody has made it anew.
    pub clear_rounds: u64,
    /// What was found last, and when, UTC ns.
    pub last: Option<(String, u64)>,
}

impl Report {
    /// At a start: what was found before it is still known.
    pub(super) fn begin(source: &Source) -> Self {
        let Self { found, is_stale, last, .. } = report_of(source).unwrap_or_default();
        Self { of: name_of(source), found, is_stale, last, ..Self::default() }
    }

    /// Both folds begin with the first event: their first round says of every row what it is.
    pub(super) fn begin_anew(&mut self) {
        (self.since_ns, self.rounds, self.clear_rounds) = (utc_ns(), 0, 1);
    }

    pub(super) fn found(&mut self, first: &Finding) {
        self.found = self.found.saturating_add(1);
        // The round that is under way may have passed it before.
        (self.is_stale, self.clear_rounds) = (true, self.rounds.saturating_add(2));
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

/// How the monitor of these tables stands; `None` when none has looked at them.
#[must_use]
pub fn report_of(source: &Source) -> Option<Report> {
    let report: Report = serde_json::from_slice(&std::fs::read(beside(&source.path, "integrity")).ok()?).ok()?;
    (report.of == name_of(source)).then_some(report)
}

fn name_of(source: &Source) -> String {
    source.server.as_ref().map_or_else(String::new, |server| server.name().to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::{Heal, Look, judge};
    use super::*;

    #[test]
    fn what_was_found_is_taken_back_when_it_was_made_anew_or_a_whole_round_behind_it_found_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let (path, journal_dir) = (dir.path().join("rows.sqlite"), dir.path().join("journal"));
        let source = Source { journal_dir, path, stream: "1-virtual".to_owned(), keep_days: 0, server: None };
        let look = |rounds, found: bool| {
            let finding = Finding { table: "fills", key: Vec::new(), what: "it is missing" };
            Look { rounds, findings: if found { vec![finding] } else { Vec::new() }, ..Look::default() }
        };
        let heal = Heal::default();
        let is_stale = |report: &mut Report, look: &Look| {
            judge(&source, look, report, &heal);
            report.is_stale
        };
        let mut report = Report::begin(&source);
        report.begin_anew();
        assert!(is_stale(&mut report, &look(7, true)));
        heal.done(true);
        assert!(!is_stale(&mut report, &look(7, false)), "it was made anew");
        assert!(is_stale(&mut report, &look(7, true)));
        heal.done(false);
        assert!(is_stale(&mut report, &look(8, false)), "that round may have passed it before");
        assert!(!is_stale(&mut report, &look(9, false)));
        assert!(is_stale(&mut report, &look(9, true)));
        heal.done(false);
        // It begins anew, or the gateway does.
        for mut report in [report.clone(), Report::begin(&source)] {
            report.begin_anew();
            assert!(is_stale(&mut report, &look(0, false)), "no round was ended");
            assert!(!is_stale(&mut report, &look(1, false)));
            report.write(&source).expect("written");
        }
    }
}
