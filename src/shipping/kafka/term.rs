//! The term that a host has claimed last, beside its journal: so that one which comes back, and whose place another host
//! has taken, knows of that before it fences anybody, also while the journal of the other has nothing new yet.

use std::fs::File;
use std::io::{Error, ErrorKind, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use tradecore_journal::ReadError;

use super::beginning::superseded;
use super::cluster::Cluster;
use super::progress::Progress;
use super::trouble::Trouble;

const FILE: &str = "shipping-term";

/// A claim of this host's, or one that was about to be made.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Claimed {
    /// Where: other topics have terms of their own.
    place: String,
    term: u64,
    owner: String,
}

impl Claimed {
    /// The claim that this progress tells of.
    pub(super) fn of(cluster: &Cluster, progress: &Progress) -> Result<Self, Trouble> {
        Ok(Self::at(place(cluster)?, progress))
    }

    fn at(place: String, progress: &Progress) -> Self {
        Self { place, term: progress.term, owner: progress.owner.clone() }
    }

    /// Writes it down, for good, before it is made: a claim that nobody has written down would be taken for another's.
    pub(super) fn write(&self, journal_dir: &Path) -> Result<(), Trouble> {
        let path = journal_dir.join(FILE);
        let partial = path.with_extension("partial");
        let write = || -> Result<(), Error> {
            let mut file = File::create(&partial)?;
            file.write_all(&serde_json::to_vec(self)?)?;
            file.sync_all()?;
            std::fs::rename(&partial, &path)?;
            File::open(journal_dir)?.sync_all()
        };
        let forget = |error: Error| match std::fs::remove_file(&path) {
            // On a full disk, which shipping makes room on, it is better not known than wrong.
            Err(second) if second.kind() != ErrorKind::NotFound => Err(error),
            _ => {
                tracing::warn!(%error, path = %path.display(), "the term of this host is not written down");
                Ok(())
            }
        };
        // Of this host, and none of the cluster's.
        let unwritten = |source: Error| Trouble::Journal(ReadError::Io { path: path.clone(), source });
        write().or_else(forget).map_err(unwritten)
    }
}

/// By its own name, for a cluster has many addresses.
fn place(cluster: &Cluster) -> Result<String, Trouble> {
    Ok(format!("{} {}", cluster.id()?, cluster.kafka.topic_prefix))
}

/// That the last claim is none of another host, since this one has claimed. Where it never has, nobody knows.
pub(super) fn check(cluster: &Cluster, progress: &Progress) -> Result<(), Trouble> {
    check_at(&cluster.journal_dir, || place(cluster), progress)
}

fn check_at(
    journal_dir: &Path,
    place: impl FnOnce() -> Result<String, Trouble>,
    progress: &Progress,
) -> Result<(), Trouble> {
    let path = journal_dir.join(FILE);
    let json = match std::fs::read(&path) {
        Err(source) if source.kind() != ErrorKind::NotFound => {
            return Err(Trouble::Journal(ReadError::Io { path, source }));
        }
        json => json.ok(),
    };
    let Some(ours) = json.and_then(|json| serde_json::from_slice::<Claimed>(&json).ok()) else { return Ok(()) };
    let place = place()?;
    let is_ours = ours.place != place || progress.term < ours.term || Claimed::at(place, progress) == ours;
    if is_ours { Ok(()) } else { Err(superseded(&progress.owner, Some(&path))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_claimed_knows_a_later_claim_and_one_of_the_same_term_that_is_another_s() {
        let dir = tempfile::tempdir().expect("a directory");
        let progress = |term, owner: &str| Progress { term, owner: owner.to_owned(), ..Progress::new(1) };
        let is_ours_at =
            |place: &str, term, owner| check_at(dir.path(), || Ok(place.to_owned()), &progress(term, owner)).is_ok();
        let is_ours = |term, owner| is_ours_at("here", term, owner);
        assert!(is_ours(7, "another"), "never claimed");
        Claimed::at("here".to_owned(), &progress(4, "this")).write(dir.path()).expect("written");
        assert!(is_ours(4, "this"));
        assert!(is_ours(3, "another"), "it was about to be made");
        assert!(!is_ours(4, "another") && !is_ours(5, "another") && !is_ours(5, "this"));
        assert!(is_ours_at("elsewhere", 5, "another"), "terms of other topics say nothing");
        std::fs::remove_file(dir.path().join(FILE)).expect("there");
        std::fs::create_dir(dir.path().join(FILE)).expect("made");
        let unread = check_at(dir.path(), || Ok("here".to_owned()), &progress(7, "another"));
        assert!(matches!(unread, Err(Trouble::Journal(ReadError::Io { .. }))), "{unread:?}");
        std::fs::remove_dir(dir.path().join(FILE)).expect("there");
        std::fs::write(dir.path().join(FILE), "").expect("written");
        assert!(is_ours(7, "another"), "what cannot be read says nothing");
        assert!(
            Claimed::at("here".to_owned(), &progress(4, "this")).write(&dir.path().join("gone")).is_ok(),
            "nothing wrong is left"
        );
    }
}
