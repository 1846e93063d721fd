//! Both witnesses on disk, read on while the demo runs: the gateway's journal and the venue's log.

use std::path::Path;
use std::time::{Duration, Instant};

use super::Failure;
use super::algo::Seen;
use super::history::{History, JournalReader};
use super::proof::{self, AtVenue};
use crate::exit::Exit;
use crate::venue::log::{LogReader, log_path};

pub(super) struct Evidence {
    journal: JournalReader,
    venue: LogReader,
}

impl Evidence {
    pub(super) fn new(dir: &Path) -> Self {
        Self {
            journal: JournalReader::new(dir.join("data/journal")),
            venue: LogReader::new(log_path(&dir.join("venue"))),
        }
    }

    fn read_venue_on(&mut self) -> Result<(), Failure> {
        self.venue.read_on().map_err(|error| (Exit::Io, error.to_string()))
    }

    /// The proof while everything runs: no order is at the venue that was not journaled before, and what the journal
    /// holds as settled is what the venue did. What algos saw cannot change any more: it is compared at the end.
    pub(super) fn prove_settled(&mut self) -> Result<Vec<String>, Failure> {
        // Each is read after the one that must not be ahead of it.
        self.read_venue_on()?;
        self.journal.read_on()?;
        let mut wrong = proof::unjournaled(&AtVenue::new(self.venue.orders()), &self.journal.history);
        self.read_venue_on()?;
        wrong.extend(proof::unsettled(&AtVenue::new(self.venue.orders()), &self.journal.history));
        Ok(wrong)
    }

    /// The proof after the end: all three. How many events the journal has, and how long they took to replay.
    pub(super) fn prove(&mut self, seen: &[Seen]) -> Result<(Vec<String>, u64, Duration), Failure> {
        self.read_venue_on()?;
        self.journal.read_on()?;
        let started = Instant::now();
        let events = self.journal.balances()?;
        let replayed = started.elapsed();
        Ok((proof::compare(seen, &self.journal.history, &AtVenue::new(self.venue.orders())), events, replayed))
    }

    pub(super) const fn history(&self) -> &History {
        &self.journal.history
    }
}
