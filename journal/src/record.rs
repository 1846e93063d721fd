//! The record: 32 bytes of header, 32-byte aligned, committed by its length word.

use crate::checksum;

/// Alignment and header length of a record, bytes.
pub const RECORD_ALIGN: usize = 32;
/// Length of a record's header, bytes.
pub const HEADER_BYTES: usize = 32;

/// Kinds below this are the journal's own.
pub const APPLICATION_KINDS: u16 = 64;
/// Ends a segment: the next group stands in the next segment.
pub const KIND_END: u16 = 1;
/// Ends the journal at a clean stop.
pub const KIND_SEAL: u16 = 2;

/// More records of the same group follow.
pub const FLAG_MORE: u8 = 1;

/// Bits below the flags in the last word of a header.
pub(crate) const FLAGS_SHIFT: u32 = 24;

/// Offsets of the header's fields, bytes.
pub mod offset {
    /// Length word: 0 while free.
    pub const LEN: usize = 0;
    /// CRC-32C of salt, length, and what follows.
    pub const CRC: usize = 4;
    /// Sequence number.
    pub const SEQ: usize = 8;
    /// Journal time.
    pub const TS: usize = 16;
    /// Kind.
    pub const KIND: usize = 24;
    /// Version.
    pub const VERSION: usize = 26;
    /// Flags.
    pub const FLAGS: usize = 27;
    /// Durable lag.
    pub const LAG: usize = 28;
}

/// The header's fields for the specification: offset, bytes, name, meaning.
pub const FIELDS: &[(usize, usize, &str, &str)] = &[
    (offset::LEN, 4, "len", "commit word, stored last; 0 while free; header and payload, bytes"),
    (offset::CRC, 4, "crc", "CRC-32C of salt, `len`, and the record from `seq` to its end"),
    (offset::SEQ, 8, "seq", "sequence number, gapless from 1; 0 in the journal's own records"),
    (offset::TS, 8, "ts_ns", "journal time, ns UTC, never going back; one for a group"),
    (offset::KIND, 2, "kind", "below 64 the journal's own, from 64 the application's"),
    (offset::VERSION, 1, "version", "version of the payload's layout"),
    (offset::FLAGS, 1, "flags", "1 = MORE: the next record belongs to the same group"),
    (offset::LAG, 4, "durable_lag", "`seq` less the durable watermark at the append; 2³²−1 claims nothing"),
];

/// A record's header, as read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// Header and payload, bytes; the record occupies it rounded up to 32.
    pub len: u32,
    /// CRC-32C.
    pub crc: u32,
    /// Sequence number; 0 for the journal's own records.
    pub seq: u64,
    /// Journal time, ns UTC.
    pub ts_ns: u64,
    /// Kind.
    pub kind: u16,
    /// Version of the payload's layout.
    pub version: u8,
    /// Flags.
    pub flags: u8,
    /// Records appended but not yet synced when this one was; `u32::MAX` claims nothing.
    pub durable_lag: u32,
}

impl RecordHeader {
    /// What is stored behind its sum, as three words.
    #[must_use]
    #[inline]
    pub(crate) const fn words(&self) -> [u64; 3] {
        let last = self.kind as u64
            | ((self.version as u64) << 16)
            | ((self.flags as u64) << FLAGS_SHIFT)
            | ((self.durable_lag as u64) << 32);
        [self.seq, self.ts_ns, last]
    }

    /// The bytes that a header is stored as, but for the length word, which is stored last.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let first = u64::from(self.len) | (u64::from(self.crc) << 32);
        let mut out = [0; HEADER_BYTES];
        for (to, word) in out.as_chunks_mut().0.iter_mut().zip([first].into_iter().chain(self.words())) {
            *to = word.to_le_bytes();
        }
        out
    }

    /// Reads a header from the start of `bytes`; `None` when there are fewer than 32.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (words, _) = bytes.first_chunk::<HEADER_BYTES>()?.as_chunks::<8>();
        let [first, seq, ts_ns, last] = words else {
            return None;
        };
        let (first, last) = (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
        Some(Self {
            len: first as u32,
            crc: (first >> 32) as u32,
            seq: u64::from_le_bytes(*seq),
            ts_ns: u64::from_le_bytes(*ts_ns),
            kind: last as u16,
            version: (last >> 16) as u8,
            flags: (last >> 24) as u8,
            durable_lag: (last >> 32) as u32,
        })
    }

    /// The checksum that belongs to it with this payload in a segment of this salt: over salt, length, and the record
    /// behind its CRC word. The salt makes bytes of another segment, or of the same place in an earlier life, invalid.
    #[must_use]
    #[inline]
    pub fn sum(&self, salt: u64, payload: &[u8]) -> u32 {
        checksum::of_record(salt, self.len, self.words(), payload)
    }

    /// Bytes that the record occupies.
    #[must_use]
    pub const fn stored_bytes(&self) -> usize {
        stored_bytes(self.len as usize)
    }
}

/// `len` rounded up to the alignment.
#[must_use]
pub const fn stored_bytes(len: usize) -> usize {
    len.saturating_add(RECORD_ALIGN.wrapping_sub(1)) & !(RECORD_ALIGN.wrapping_sub(1))
}

/// What stands at a place of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot<'a> {
    /// Nothing: the length word is zero, or the segment ends.
    Free,
    /// A whole record.
    Record(RecordHeader, &'a [u8]),
    /// Bytes that are no record.
    Bad,
}

/// Checks the bytes of one record, padding included.
#[must_use]
pub fn check(bytes: &[u8], salt: u64) -> Slot<'_> {
    let Some(header) = RecordHeader::from_bytes(bytes) else {
        return Slot::Bad;
    };
    let len = header.len as usize;
    let Some(payload) = bytes.get(HEADER_BYTES..len) else {
        return Slot::Bad;
    };
    let pad = bytes.get(len..).unwrap_or_default();
    if header.sum(salt, payload) != header.crc || pad.iter().any(|byte| *byte != 0) {
        return Slot::Bad;
    }
    Slot::Record(header, payload)
}

/// One of the journal's own records, whole: no payload, no sequence number.
#[must_use]
pub(crate) fn own_record(kind: u16, salt: u64, ts_ns: u64, durable_lag: u32) -> [u8; HEADER_BYTES] {
    let len = HEADER_BYTES as u32;
    let mut header = RecordHeader { len, crc: 0, seq: 0, ts_ns, kind, version: 1, flags: 0, durable_lag };
    header.crc = header.sum(salt, &[]);
    header.to_bytes()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn the_checksum_is_the_one_of_an_independent_implementation() {
        let oracle = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);
        let salt = 0x1234_5678_9ABC_DEF0_u64;
        for len in (0..2_000).chain([70_000]) {
            let payload: Vec<u8> = (0..len).map(|nth: usize| (nth * 31 + nth / 256) as u8).collect();
            let header = RecordHeader {
                len: (HEADER_BYTES + len) as u32,
                crc: 99,
                seq: u64::MAX / 3,
                ts_ns: 1 << 60,
                kind: 64,
                version: 2,
                flags: FLAG_MORE,
                durable_lag: 5,
            };
            let mut whole = salt.to_le_bytes().to_vec();
            whole.extend_from_slice(&header.len.to_le_bytes());
            whole.extend_from_slice(&header.to_bytes()[offset::SEQ..]);
            whole.extend_from_slice(&payload);
            assert_eq!(header.sum(salt, &payload), oracle.checksum(&whole), "{len} bytes");
        }
    }

    #[test]
    fn a_record_of_another_segment_is_none() {
        let record = own_record(KIND_END, 7, 1, 0);
        assert!(matches!(check(&record, 7), Slot::Record(..)));
        assert_eq!(check(&record, 8), Slot::Bad);
    }

    #[test]
    fn headers_are_read_as_they_are_written() {
        let header = RecordHeader {
            len: 1,
            crc: 2,
            seq: u64::MAX - 3,
            ts_ns: 1 << 40,
            kind: 0x0506,
            version: 7,
            flags: 8,
            durable_lag: 9,
        };
        assert_eq!(RecordHeader::from_bytes(&header.to_bytes()), Some(header));
    }
}
