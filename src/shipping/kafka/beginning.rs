//! Where a session begins: behind what the cluster has, in the journal that it came from.

use std::collections::BTreeMap;
use std::path::Path;

use tradecore_journal::crc32c;
use tradecore_journal::{ReadError, Reader, Until};

use super::cluster::Cluster;
use super::progress::{Progress, Slot, Tail};
use super::tail::is_foreign;
use super::term;
use super::trouble::Trouble;
use crate::shipping::domains::Stream;

/// What a shipper is, over all of its sessions.
#[derive(Debug)]
pub(super) struct Identity {
    /// Host and process, and what tells it from another of the same names: containers often have both in common.
    pub(super) owner: String,
    /// Its term; `None` before its first session has claimed one.
    pub(super) term: Option<u64>,
    /// It ships a journal of this host, and does not only fence whoever does.
    pub(super) has_journal: bool,
}

impl Identity {
    /// Of this process, which ships a journal.
    pub(super) fn here() -> Self {
        Self { has_journal: true, ..Self::without_journal() }
    }

    /// Of this process, which has none yet.
    pub(super) fn without_journal() -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let mut random = [0; 4];
        // Without randomness the time tells one start from another.
        if getrandom::fill(&mut random).is_err() {
            random = (crate::clock::utc_ns() as u32).to_be_bytes();
        }
        let random = u32::from_be_bytes(random);
        let owner = format!("host {}, process {}, start {random:08x}", host.trim(), std::process::id());
        Self { owner, term: None, has_journal: false }
    }
}

/// `noted`: the file that says so of a host which comes back.
pub(super) fn superseded(owner: &str, noted: Option<&Path>) -> Trouble {
    let what_to_do = match noted.map(Path::display) {
        Some(path) => format!(
            "; stop this one, for its place is taken. If that host is given up and this one is to go on, remove {path}"
        ),
        None => {
            "; if it was started by mistake, or has ended and this host is to go on, start this one again".to_owned()
        }
    };
    Trouble::Superseded(format!("another shipper of this stream has taken over: {owner}{what_to_do}"))
}

/// That the journal is of the stream that it would be shipped as: under another's name nobody could tell the two apart.
pub(super) fn check_journal(cluster: &Cluster) -> Result<(), Trouble> {
    let ours = (cluster.stream.core, cluster.stream.environment);
    match Reader::open_oldest(&cluster.journal_dir, Until::Synced)?.origin() {
        Some((core, environment)) if (core, environment) != ours => Err(Trouble::Refused(format!(
            "the journal in {} is of {}, and the configuration of {}: core.environment, core.id and core.data_dir must be \
             those that it was written with",
            cluster.journal_dir.display(),
            Stream { environment, core },
            cluster.stream
        ))),
        Some(_) | None => Ok(()),
    }
}

/// That what the cluster has is of this journal, and of a shipper that may be followed.
pub(super) fn check_progress(cluster: &Cluster, progress: &Progress, identity: &Identity) -> Result<(), Trouble> {
    if let Some(term) = identity.term {
        check_term(cluster.kafka.transactions, progress, term, &identity.owner)?;
    }
    if identity.term.is_none() && identity.has_journal {
        term::check(cluster, progress)?;
    }
    check_partitions(cluster, progress)
}

/// That nobody has claimed since this shipper did; itself may have, without having heard of it. One of the same term has, where progress was lost: then both have claimed
/// what came next. Without a fence two may do so at once; then one of them ends, and both know which.
pub(super) fn check_term(is_fencing: bool, progress: &Progress, term: u64, owner: &str) -> Result<(), Trouble> {
    let is_other = progress.owner != owner;
    let has_won = is_fencing || progress.owner.as_str() > owner;
    if is_other && (progress.term > term || progress.term == term && has_won) {
        return Err(superseded(&progress.owner, None));
    }
    Ok(())
}

fn check_partitions(cluster: &Cluster, progress: &Progress) -> Result<(), Trouble> {
    if progress.partitions != cluster.kafka.partitions {
        let Progress { partitions, .. } = progress;
        return Err(Trouble::Refused(format!(
            "events were shipped to {partitions} partitions; set ship.kafka.partitions to {partitions}, or use another \
             ship.kafka.topic_prefix"
        )));
    }
    Ok(())
}

/// Last event up to which the cluster lacks none: before the end of a slot that was lost, else what progress says.
pub(super) fn last_seq(progress: &Progress, tails: &BTreeMap<Slot, Tail>) -> u64 {
    let lost = progress.tails.iter().filter_map(|(slot, known)| match tails.get(slot) {
        Some(tail) if tail.seq >= known.seq => None,
        Some(tail) => Some(tail.seq),
        None => Some(0),
    });
    lost.chain([progress.seq]).min().unwrap_or(0)
}

/// A reader behind what the cluster has, in the journal that it came from.
pub(super) fn reader(cluster: &Cluster, progress: &Progress, last_seq: u64) -> Result<Reader, Trouble> {
    let dir = &cluster.journal_dir;
    if progress.seq == 0 {
        // What was removed before the first start of a shipper is not asked for.
        return Ok(Reader::open_oldest(dir, Until::Synced)?);
    }
    check_last(cluster, progress)?;
    match Reader::open(dir, last_seq.saturating_add(1), Until::Synced) {
        Err(ReadError::Gone { .. }) => Err(Trouble::Refused(format!(
            "the cluster has lost events from {} on, of which {} no longer has all: put its older segments back from the \
             archive, or set another ship.kafka.topic_prefix, under which all is shipped from the oldest that is there",
            last_seq.saturating_add(1),
            dir.display()
        ))),
        reader => Ok(reader?),
    }
}

/// The last record that was shipped is in the journal, byte for byte: else it is the journal of another life.
///
/// # Errors
/// `Diverged` when it is not; when the journal cannot be read.
pub(super) fn check_last(cluster: &Cluster, progress: &Progress) -> Result<(), Trouble> {
    if progress.seq == 0 { Ok(()) } else { check(cluster, progress.seq, progress.crc) }
}

/// Whose the stream is: this host's, with this journal.
///
/// # Errors
/// `Superseded` when another host has claimed it since this one did, `Diverged` when the cluster has another journal,
/// `Refused` when events were shipped to another number of partitions.
pub fn check_place(cluster: &Cluster, progress: &Progress) -> Result<(), Trouble> {
    term::check(cluster, progress)?;
    check_last(cluster, progress)?;
    check_partitions(cluster, progress)
}

/// So are those that the topics hold behind what progress tells of, which may have been lost: they are not sent again.
pub(super) fn check_tails(cluster: &Cluster, progress: &Progress, tails: &BTreeMap<Slot, Tail>) -> Result<(), Trouble> {
    check_told(cluster, progress, tails)?;
    let untold = tails.values().filter(|tail| tail.seq > progress.seq);
    untold.filter_map(|tail| Some((tail.seq, tail.crc?))).try_for_each(|(seq, crc)| check(cluster, seq, crc))
}

/// Of what progress tells of, none stands behind what it says is the last of its slot: nobody of ours has sent it there.
pub(super) fn check_told(cluster: &Cluster, progress: &Progress, tails: &BTreeMap<Slot, Tail>) -> Result<(), Trouble> {
    let last = |slot| progress.tails.get(slot).map_or(0, |tail| tail.seq);
    let foreign = tails.iter().find(|(slot, tail)| tail.seq > last(slot) && tail.seq <= progress.seq);
    foreign
        .map_or(Ok(()), |((domain, partition), tail)| Err(is_foreign(&cluster.topic(*domain), *partition, tail.offset)))
}

fn check(cluster: &Cluster, seq: u64, crc: u32) -> Result<(), Trouble> {
    let problem = match known(cluster, seq) {
        // It was shipped and is gone: nothing is left to compare with.
        Err(Trouble::Journal(ReadError::Gone { .. })) => return Ok(()),
        Err(trouble) => return Err(trouble),
        Ok(Some((_, found))) if found == crc => return Ok(()),
        Ok(Some(_)) => format!("event {seq} of the journal differs from what the cluster has"),
        Ok(None) => format!("the cluster has events up to {seq}, and the journal ends before"),
    };
    let stream = cluster.stream;
    Err(Trouble::Diverged(format!(
        "{problem}: it is not the journal that stream {stream} was shipped from; give that back, or set another core.id \
         or ship.kafka.topic_prefix"
    )))
}

/// Epoch and checksum of a record of the journal; `None` when it ends before.
pub(super) fn known(cluster: &Cluster, seq: u64) -> Result<Option<(u32, u32)>, Trouble> {
    // It was synced before it was shipped, though the file that counts syncs may be behind after a power loss.
    let mut reader = Reader::open(&cluster.journal_dir, seq, Until::Journaled)?;
    let Some(group) = reader.next_group()? else { return Ok(None) };
    let record = group.records().find(|record| record.seq == seq);
    Ok(record.map(|record| (record.epoch, crc32c(record.bytes, &[]))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_claim_of_another_supersedes_one_s_own_does_not_and_of_two_at_once_one_ends() {
        let is_ours = |is_fencing, term, owner: &str| {
            let progress = Progress { term, owner: owner.to_owned(), ..Progress::new(1) };
            check_term(is_fencing, &progress, 7, "b").is_ok()
        };
        for is_fencing in [true, false] {
            assert!(is_ours(is_fencing, 7, "b") && is_ours(is_fencing, 6, "a"));
            assert!(is_ours(is_fencing, 8, "b"), "claimed, and never heard of");
            assert!(!is_ours(is_fencing, 8, "a") && !is_ours(is_fencing, 7, "c"));
        }
        assert!(!is_ours(true, 7, "a"), "it came later, or it would have been fenced");
        assert!(is_ours(false, 7, "a"), "that one ends");
    }

    #[test]
    fn two_of_the_same_host_and_process_are_told_apart() {
        assert_ne!(Identity::here().owner, Identity::here().owner);
    }
}
