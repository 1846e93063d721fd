//! The terms that a host has claimed, beside its journal: so that one which comes back, and whose place another host has
//! taken, knows of that before it fences anybody, also while the journal of the other has nothing new yet.

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
/// The last ones are known: two shippers of one host may be about to claim at once, and whose claim is taken they cannot
/// know before.
const CLAIMS_MAX: usize = 16;

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
            let dir = File::open(journal_dir)?;
            // One after the other, or the second would write over what the first has noted.
            dir.lock()?;
            let mut claims = read(&path)?;
            let older = claims.len().saturating_add(1).saturating_sub(CLAIMS_MAX);
            claims.drain(..older);
            claims.push(self.clone());
            let mut file = File::create(&partial)?;
            file.write_all(&serde_json::to_vec(&claims)?)?;
            file.sync_all()?;
            std::fs::rename(&partial, &path)?;
            dir.sync_all()
        };
        let remove = || match std::fs::remove_file(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed.and_then(|()| File::open(journal_dir)?.sync_all()),
        };
        let forget = |error: Error| match remove() {
            // On a full disk, which shipping makes room on, it is better not known than wrong.
            Err(_) => Err(error),
            Ok(()) => {
                tracing::warn!(%error, path = %path.display(), "the term of this host is not written down");
                Ok(())
            }
        };
        // Of this host, and none of the cluster's.
        let unwritten = |source: Error| Trouble::Journal(ReadError::Io { path: path.clone(), source });
        write().or_else(forget).map_err(unwritten)
    }
}

/// What is noted; nothing where it cannot be told what is.
fn read(path: &Path) -> Result<Vec<Claimed>, Error> {
    match std::fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        json => Ok(serde_json::from_slice(&json?).unwrap_or_default()),
    }
}

/// By its own name, for a cluster has many addresses.
fn place(cluster: &Cluster) -> Result<String, Trouble> {
    Ok(format!("{} {}", cluster.id()?, cluster.kafka.topic_prefix))
}

/// The last term that this host has claimed there; 0 where it knows of none.
pub(super) fn last_claimed(cluster: &Cluster) -> Result<u64, Trouble> {
    let path = cluster.journal_dir.join(FILE);
    let ours = read(&path).map_err(|source| Trouble::Journal(ReadError::Io { path, source }))?;
    if ours.is_empty() {
        return Ok(0);
    }
    let place = place(cluster)?;
    Ok(ours.iter().filter(|one| one.place == place).map(|one| one.term).max().unwrap_or(0))
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
    let mut ours = read(&path).map_err(|source| Trouble::Journal(ReadError::Io { path: path.clone(), source }))?;
    if ours.is_empty() {
        return Ok(());
    }
    let told = Claimed::at(place()?, progress);
    ours.retain(|one| one.place == told.place);
    let is_later = ours.iter().all(|one| one.term <= told.term);
    if !is_later || ours.is_empty() || ours.contains(&told) {
        Ok(())
    } else {
        Err(superseded(&progress.owner, Some(&path)))
    }
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
        Claimed::at("here".to_owned(), &progress(4, "beside")).write(dir.path()).expect("written");
        assert!(is_ours(4, "this") && is_ours(4, "beside"), "two of this host, of whom one was faster");
        assert!(!is_ours(4, "another") && !is_ours(5, "beside"));
        assert!(is_ours_at("elsewhere", 5, "another"), "terms of other topics say nothing");
        let noted: Vec<u64> = (10..40).collect();
        for term in &noted {
            Claimed::at("here".to_owned(), &progress(*term, "this")).write(dir.path()).expect("written");
        }
        let known = read(&dir.path().join(FILE)).expect("readable");
        assert_eq!(known.iter().map(|one| one.term).collect::<Vec<_>>(), noted[noted.len() - CLAIMS_MAX..]);
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
