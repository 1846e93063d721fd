//! Why a host's shipper does not ship: written down beside the journal, for `ship status`, since the cluster may be what
//! it cannot tell.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::shipping::json::Utc;

const FILE: &str = "shipping";

/// What a shipper has said last of why it does not ship.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Standing {
    /// `refused`, `away`, `unread`, or `ended`: until the next start.
    pub state: String,
    /// Since when, RFC 3339.
    pub since: String,
    /// Why, and what to do.
    pub text: String,
}

impl Standing {
    /// Of a journal; `None` while it is shipped, or when nobody has shipped it.
    #[must_use]
    pub fn of(journal_dir: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(journal_dir.join(FILE)).ok()?).ok()
    }
}

/// Where it is written.
#[derive(Debug)]
pub(super) struct Board {
    path: PathBuf,
    /// What an earlier shipper has left counts until this one ships.
    standing: Option<Standing>,
    /// When somebody else's was looked for last.
    looked_at: Option<Instant>,
}

/// From one look for what another of this host has said to the next: one that was superseded says so when it hears of it.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Board {
    pub(super) fn new(journal_dir: &Path) -> Self {
        Self { path: journal_dir.join(FILE), standing: Standing::of(journal_dir), looked_at: None }
    }

    /// It does not ship.
    pub(super) fn say(&mut self, state: &str, text: &str) {
        let before = self.standing.take();
        if before.as_ref().is_some_and(|before| before.state == state && before.text == text) {
            self.standing = before;
            return;
        }
        let since = before.filter(|before| before.state == state).map(|before| before.since);
        let since = since.unwrap_or_else(|| Utc(crate::clock::utc_ns()).to_string());
        let standing = Standing { state: state.to_owned(), since, text: text.to_owned() };
        // In one piece: who reads it sees this or the last.
        let partial = self.path.with_extension("partial");
        let json = serde_json::to_vec(&standing).unwrap_or_default();
        let written = std::fs::write(&partial, json).and_then(|()| std::fs::rename(&partial, &self.path));
        if let Err(error) = written {
            tracing::warn!(%error, path = %self.path.display(), "why nothing is shipped is in this log only");
        }
        self.standing = Some(standing);
    }

    /// It ships.
    pub(super) fn clear(&mut self) {
        let is_look_due = self.looked_at.is_none_or(|at| at.elapsed() >= LOOK_EVERY);
        if is_look_due {
            self.looked_at = Some(Instant::now());
        }
        if (self.standing.take().is_some() || is_look_due)
            && let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, path = %self.path.display(), "it says that nothing is shipped, which is over");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_read_by_others_until_it_is_over_also_by_a_successor() {
        let dir = tempfile::tempdir().expect("a directory");
        let told = || Standing::of(dir.path());
        let mut board = Board::new(dir.path());
        board.clear();
        assert_eq!(told(), None);
        board.say("away", "no answer");
        let first = told().expect("said");
        assert_eq!((first.state.as_str(), first.text.as_str()), ("away", "no answer"));
        std::fs::remove_file(dir.path().join(FILE)).expect("there");
        board.say("away", "no answer");
        assert_eq!(told(), None, "the same is not written again");
        board.say("away", "no route");
        let second = told().expect("said");
        assert_eq!((second.since, second.text.as_str()), (first.since, "no route"), "since the first");
        let mut successor = Board::new(dir.path());
        assert_eq!(told().map(|standing| standing.text), Some("no route".to_owned()));
        successor.clear();
        assert_eq!(told(), None);
        // Its predecessor hears only then that its place is taken.
        board.say("ended", "another has taken over");
        successor.looked_at = None;
        successor.clear();
        assert_eq!(told(), None);
    }
}
