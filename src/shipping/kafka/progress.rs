//! The record that says how far a stream is shipped; written in the transaction that ships, read before anything is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::shipping::domains::Domain;

/// A partition of a domain's topic.
pub(super) type Slot = (Domain, u32);

/// The last record of a stream in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tail {
    /// Its number.
    pub(super) seq: u64,
    /// It stands here or behind.
    pub(super) offset: i64,
    /// CRC-32C of it; progress does not tell.
    pub(super) crc: Option<u32>,
}

/// How far a stream is shipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Journal sequence number of the last event that is shipped; 0 for none.
    pub seq: u64,
    /// Epoch of that event's writer.
    pub epoch: u32,
    /// CRC-32C of that event's record: another journal has another.
    pub crc: u32,
    /// Raised by each shipper that starts: who finds a higher one than its own was superseded.
    pub term: u64,
    /// Host and process of that shipper.
    pub owner: String,
    /// Partitions of each topic.
    pub partitions: u32,
    /// Longest lease under which its core, or one before it, may still trade, ms; 0 for none.
    pub lease_ms: u64,
    pub(super) tails: BTreeMap<Slot, Tail>,
    /// Up to here, nothing of the stream stands in a slot but what is no later than its tail: others have written since.
    pub(super) seen: BTreeMap<Slot, i64>,
}

/// As it is written: JSON, and what may be beyond 2⁵³ as text.
#[derive(Deserialize, Serialize)]
struct Written {
    stream: String,
    epoch: u32,
    seq: String,
    crc: String,
    term: String,
    owner: String,
    partitions: u32,
    #[serde(default)]
    lease_ms: u64,
    tails: Vec<(String, u32, String, String)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    seen: Vec<(String, Vec<String>)>,
}

impl Progress {
    pub(super) const fn new(partitions: u32) -> Self {
        Self {
            seq: 0,
            epoch: 0,
            crc: 0,
            term: 0,
            owner: String::new(),
            partitions,
            lease_ms: 0,
            tails: BTreeMap::new(),
            seen: BTreeMap::new(),
        }
    }

    pub(super) fn to_json(&self, stream: &str) -> String {
        let tails = self.tails.iter().map(|((domain, partition), tail)| {
            (domain.name().to_owned(), *partition, tail.seq.to_string(), tail.offset.to_string())
        });
        // Of each domain, partition by partition, with nothing where nothing is: it must be short.
        let end_of = |slot: &Slot| {
            // Right behind the tail stands the end of its transaction.
            let least = self.tails.get(slot).map_or(0, |tail| tail.offset.saturating_add(2));
            self.seen.get(slot).copied().filter(|end| *end > least)
        };
        let text_of = |slot: Slot| end_of(&slot).map_or_else(String::new, |end| end.to_string());
        let ends_of = |domain: Domain| (0..self.partitions).map(|partition| text_of((domain, partition))).collect();
        let is_told = |domain: &&Domain| self.seen.keys().any(|slot| slot.0 == **domain && end_of(slot).is_some());
        let seen = Domain::ALL.iter().filter(is_told);
        let seen = seen.map(|domain| (domain.name().to_owned(), ends_of(*domain)));
        let written = Written {
            stream: stream.to_owned(),
            epoch: self.epoch,
            seq: self.seq.to_string(),
            crc: format!("{:08x}", self.crc),
            term: self.term.to_string(),
            owner: self.owner.clone(),
            partitions: self.partitions,
            lease_ms: self.lease_ms,
            tails: tails.collect(),
            seen: seen.collect(),
        };
        // Of strings and numbers only: it cannot fail.
        serde_json::to_string(&written).unwrap_or_default()
    }

    /// `None` for what is no progress of this stream, as this release writes it.
    pub(super) fn from_json(bytes: &[u8], stream: &str) -> Option<Self> {
        let written: Written = serde_json::from_slice(bytes).ok().filter(|w: &Written| w.stream == stream)?;
        let tail = |(domain, partition, seq, offset): (String, u32, String, String)| {
            let tail = Tail { seq: seq.parse().ok()?, offset: offset.parse().ok()?, crc: None };
            Some(((Domain::from_name(&domain)?, partition), tail))
        };
        let mut seen = BTreeMap::new();
        for (domain, ends) in written.seen {
            let domain = Domain::from_name(&domain)?;
            for (partition, end) in (0..).zip(ends).filter(|(_, end)| !end.is_empty()) {
                seen.insert((domain, partition), end.parse().ok()?);
            }
        }
        Some(Self {
            seq: written.seq.parse().ok()?,
            epoch: written.epoch,
            crc: u32::from_str_radix(&written.crc, 16).ok()?,
            term: written.term.parse().ok()?,
            owner: written.owner,
            partitions: written.partitions,
            lease_ms: written.lease_ms,
            tails: written.tails.into_iter().map(tail).collect::<Option<_>>()?,
            seen,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::topics::BATCH_BYTES_MAX;
    use super::*;

    #[test]
    fn the_longest_progress_fits_into_what_its_topic_must_take() {
        // As many as `ship.kafka.partitions` may say.
        let mut progress = Progress { seq: u64::MAX, owner: "h".repeat(253), ..Progress::new(1_024) };
        let tail = Tail { seq: u64::MAX, offset: i64::MAX, crc: None };
        let slots = Domain::ALL.iter().flat_map(|domain| (0..1_024).map(|partition| (*domain, partition)));
        progress.tails = slots.clone().map(|slot| (slot, tail)).collect();
        progress.tails.values_mut().for_each(|tail| tail.offset = i64::MAX / 2);
        progress.seen = slots.map(|slot| (slot, i64::MAX)).collect();
        let bytes = progress.to_json("virtual-1").len() as i64;
        assert!(bytes < BATCH_BYTES_MAX, "{bytes} bytes");
    }

    #[test]
    fn progress_is_read_back_as_it_was_written_and_of_its_own_stream_only() {
        let tails = BTreeMap::from([
            ((Domain::Order, 7), Tail { seq: u64::MAX, offset: i64::MAX, crc: None }),
            ((Domain::System, 0), Tail { seq: 1, offset: 0, crc: None }),
        ]);
        let owner = "host \"a\", 17".to_owned();
        let seen = BTreeMap::from([((Domain::System, 0), 3), ((Domain::Position, 1), i64::MAX)]);
        let progress =
            Progress { seq: u64::MAX, epoch: 3, crc: 0xa, term: 9, owner, partitions: 8, lease_ms: 5_000, tails, seen };
        let json = progress.to_json("virtual-1");
        assert_eq!(Progress::from_json(json.as_bytes(), "virtual-1"), Some(progress));
        assert_eq!(Progress::from_json(json.as_bytes(), "virtual-2"), None);
        for wrong in ["", "{}", "[]", &json.replace("order", "other"), &json.replace("\"9\"", "9")] {
            assert_eq!(Progress::from_json(wrong.as_bytes(), "virtual-1"), None, "{wrong}");
        }
    }
}
