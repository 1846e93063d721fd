//! Walking a segment: whole groups, in order, and what ends them.

use crate::record::{FLAG_MORE, KIND_END, KIND_SEAL, RecordHeader, Slot, slot};

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
    /// Offset in the segment, bytes.
    pub offset: usize,
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
pub(crate) fn found_at(segment: &[u8], salt: u64, at: usize, next_seq: u64) -> Found {
    let mut end = at;
    let mut seq = next_seq;
    let mut durable_seq = 0;
    loop {
        let header = match slot(segment.get(end..).unwrap_or_default(), salt) {
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
    pub(crate) segment: &'a [u8],
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl<'a> Group<'a> {
    /// The records, in order.
    #[must_use]
    pub const fn records(&self) -> Records<'a> {
        Records { segment: self.segment, at: self.start, end: self.end }
    }
}

/// The records of a group.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    segment: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        if self.at >= self.end {
            return None;
        }
        let rest = self.segment.get(self.at..)?;
        // `found_at` has checked the checksum of every record of the group.
        let header = RecordHeader::from_bytes(rest)?;
        let payload = rest.get(crate::record::HEADER_BYTES..header.len as usize)?;
        let record = Record {
            seq: header.seq,
            ts_ns: header.ts_ns,
            kind: header.kind,
            version: header.version,
            payload,
            offset: self.at,
        };
        self.at = self.at.saturating_add(header.stored_bytes());
        Some(record)
    }
}
