//! Walking a segment: whole groups, in order, and what ends them.

use crate::map::Map;
use crate::record::{FLAG_MORE, HEADER_BYTES, KIND_END, KIND_SEAL, RecordHeader, Slot, check, offset, stored_bytes};

/// A record, as read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Sequence number, gapless from 1.
    pub seq: u64,
    /// Journal time, ns UTC.
    pub ts_ns: u64,
    /// Kind, 64 or above.
    pub kind: u16,
    /// Version of the payload's layout.
    pub version: u8,
    /// The payload.
    pub payload: &'a [u8],
    /// Header and payload as they are stored, without the padding: what leaves the host verbatim.
    pub bytes: &'a [u8],
    /// Epoch of the writer that appended it.
    pub epoch: u32,
    /// Number of the segment that holds it.
    pub segment: u64,
    /// Offset in the segment, bytes.
    pub offset: usize,
}

/// Where records are read from: a segment in a file's copy, or one that is being written.
pub(crate) trait Source {
    /// The bytes of the record at `at`, padding included; `None` while its length word is zero, empty when
    /// the length leads out of the segment. Nothing that a length word does not cover is ever looked at.
    fn committed(&self, at: usize) -> Option<&[u8]>;
}

impl Source for [u8] {
    fn committed(&self, at: usize) -> Option<&[u8]> {
        let rest = self.get(at..)?;
        let len = u32::from_le_bytes(*rest.get(offset::LEN..)?.first_chunk::<4>()?);
        (len != 0).then(|| rest.get(..stored_bytes(len as usize)).unwrap_or_default())
    }
}

impl Source for Map {
    fn committed(&self, at: usize) -> Option<&[u8]> {
        // The acquire load of a group's first length word makes all of the group visible.
        let len = self.length_word(at);
        (len != 0).then(|| self.bytes(at, stored_bytes(len as usize)))
    }
}

/// Reads and checks the record at `at`.
pub(crate) fn slot_at<B: Source + ?Sized>(source: &B, at: usize, salt: u64) -> Slot<'_> {
    source.committed(at).map_or(Slot::Free, |bytes| check(bytes, salt))
}

/// What stands at a place of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A whole group: where it ends, its last sequence number, how many records.
    Group { end: usize, last_seq: u64, records: u64, durable_seq: u64, last_ts_ns: u64 },
    /// The segment's end record: the journal goes on in the next.
    End,
    /// The seal of a clean stop, and where it ends.
    Seal { end: usize },
    /// Nothing, yet.
    Free,
    /// No record, or one that is not the expected one, or a group that breaks off.
    Bad,
}

/// What stands at `at`, when `next_seq` is expected.
pub(crate) fn found_at<B: Source + ?Sized>(source: &B, salt: u64, at: usize, next_seq: u64) -> Found {
    let mut end = at;
    let mut seq = next_seq;
    let mut durable_seq = 0;
    loop {
        let header = match slot_at(source, end, salt) {
            Slot::Free if end == at => return Found::Free,
            Slot::Free | Slot::Bad => return Found::Bad,
            Slot::Record(header, _) => header,
        };
        match header.kind {
            KIND_END if end == at => return Found::End,
            KIND_SEAL if end == at => {
                return Found::Seal { end: end.saturating_add(header.stored_bytes()) };
            }
            _ if header.seq != seq => return Found::Bad,
            _ => {}
        }
        end = end.saturating_add(header.stored_bytes());
        durable_seq = claim(&header).max(durable_seq);
        if header.flags & FLAG_MORE == 0 {
            let records = seq.saturating_sub(next_seq).saturating_add(1);
            return Found::Group { end, last_seq: seq, records, durable_seq, last_ts_ns: header.ts_ns };
        }
        seq = seq.saturating_add(1);
    }
}

/// The sequence number that a record proves to have been synced when it was written.
pub(crate) fn claim(header: &RecordHeader) -> u64 {
    if header.durable_lag == u32::MAX { 0 } else { header.seq.saturating_sub(u64::from(header.durable_lag)) }
}

/// A group of records that became visible together.
#[derive(Clone, Copy, Debug)]
pub struct Group<'a> {
    /// The group's bytes, and no more: what follows may be in the making.
    pub(crate) bytes: &'a [u8],
    pub(crate) start: usize,
    pub(crate) segment: u64,
    pub(crate) epoch: u32,
}

impl<'a> Group<'a> {
    /// The records, in order.
    #[must_use]
    pub const fn records(&self) -> Records<'a> {
        Records { rest: self.bytes, at: self.start, segment: self.segment, epoch: self.epoch }
    }
}

/// The records of a group.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
    at: usize,
    segment: u64,
    epoch: u32,
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        // `found_at` has checked the checksum of every record of the group.
        let header = RecordHeader::from_bytes(self.rest)?;
        let bytes = self.rest.get(..header.len as usize)?;
        let payload = bytes.get(HEADER_BYTES..)?;
        let record = Record {
            seq: header.seq,
            ts_ns: header.ts_ns,
            kind: header.kind,
            version: header.version,
            payload,
            bytes,
            epoch: self.epoch,
            segment: self.segment,
            offset: self.at,
        };
        self.rest = self.rest.get(header.stored_bytes()..).unwrap_or_default();
        self.at = self.at.saturating_add(header.stored_bytes());
        Some(record)
    }
}
