//! The witnesses, read on while the demo runs: what algos were told, the gateway's journal, the venue's log.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use super::Failure;
use super::algo::{Kind, Seen};
use super::history::{History, JournalReader};
use super::proof::{self, AtVenue};
use super::reports::{Heard, Reports};
use crate::exit::Exit;
use crate::venue::log::{LogReader, log_path};

pub(super) struct Evidence {
    /// By session.
    told: BTreeMap<u32, Ear>,
    journal: JournalReader,
    venue: LogReader,
}

/// What a session is told, as it comes.
pub(super) struct Ear {
    pub(super) kind: Kind,
    pub(super) heard: Receiver<Heard>,
    pub(super) reports: Reports,
}

impl Evidence {
    pub(super) fn new(dir: &Path, told: BTreeMap<u32, Ear>) -> Self {
        Self {
            told,
            journal: JournalReader::new(dir.join("data/journal")),
            venue: LogReader::new(log_path(&dir.join("venue"))),
        }
    }

    fn read_venue_on(&mut self) -> Result<(), Failure> {
        self.venue.read_on().map_err(|error| (Exit::Io, error.to_string()))
    }

    fn at_venue(&self) -> AtVenue<'_> {
        AtVenue::new(self.venue.orders(), self.venue.changes())
    }

    /// Reads the journal on, after the venue and what was told, which must not be ahead of it: what was told otherwise
    /// than it says.
    fn read_journal_behind_them(&mut self) -> Result<Vec<String>, Failure> {
        self.read_venue_on()?;
        let heard: Vec<Vec<Heard>> = self.told.values().map(|ear| ear.heard.try_iter().collect()).collect();
        self.journal.read_on()?;
        let mut wrong = Vec::new();
        for ((session_id, ear), heard) in self.told.iter_mut().zip(heard) {
            let due = self.journal.history.due.entry(*session_id).or_default();
            let found = ear.reports.take(heard, due);
            wrong.extend(found.into_iter().map(|line| format!("{}: {line}", ear.kind.name())));
        }
        Ok(wrong)
    }

    /// The proof while everything runs: nothing was told and nothing was asked of the venue that was not journaled
    /// before, and what the journal holds as settled is what the venue did.
    pub(super) fn prove_settled(&mut self) -> Result<Vec<String>, Failure> {
        let mut wrong = self.read_journal_behind_them()?;
        wrong.extend(proof::unjournaled(&self.at_venue(), &self.journal.history));
        // What is settled here was settled there before.
        self.read_venue_on()?;
        wrong.extend(proof::unsettled(&self.at_venue(), &self.journal.history));
        Ok(wrong)
    }

    /// The proof after the end: all three. How many events the journal has, and how long they took to replay.
    pub(super) fn prove(&mut self, seen: &[Seen]) -> Result<(Vec<String>, u64, Duration), Failure> {
        let mut wrong = self.read_journal_behind_them()?;
        for (session_id, ear) in &mut self.told {
            let due = self.journal.history.due.entry(*session_id).or_default();
            let found = ear.reports.finish(due);
            wrong.extend(found.into_iter().map(|line| format!("{}: {line}", ear.kind.name())));
        }
        if !self.journal.still_holds_what_it_held()? {
            wrong.push("the journal does not hold any more what was read of it before a kill".to_owned());
        }
        let started = Instant::now();
        let events = self.journal.balances()?;
        let replayed = started.elapsed();
        wrong.extend(proof::compare(seen, &self.journal.history, &self.at_venue()));
        Ok((wrong, events, replayed))
    }

    /// Reports that were told, as the journal has them.
    pub(super) fn reports(&self) -> u64 {
        self.told.values().map(|ear| ear.reports.told()).sum()
    }

    pub(super) const fn history(&self) -> &History {
        &self.journal.history
    }
}
