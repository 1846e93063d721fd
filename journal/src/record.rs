//! The record: 32 bytes of header, 32-byte aligned, committed by its length word.

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

/// Offsets of the header's fields, bytes.
pub mod offset {
    /// Length word: 0 while free.
    pub const LEN: usize = 0;
    /// CRC-32C of what follows it, with length and salt.
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
    /// The bytes that a header is stored as, but for the length word, which is stored last.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        put(&mut out, offset::LEN, &self.len.to_le_bytes());
        put(&mut out, offset::CRC, &self.crc.to_le_bytes());
        put(&mut out, offset::SEQ, &self.seq.to_le_bytes());
        put(&mut out, offset::TS, &self.ts_ns.to_le_bytes());
        put(&mut out, offset::KIND, &self.kind.to_le_bytes());
        put(&mut out, offset::VERSION, &[self.version]);
        put(&mut out, offset::FLAGS, &[self.flags]);
        put(&mut out, offset::LAG, &self.durable_lag.to_le_bytes());
        out
    }

    /// Reads a header from the start of `bytes`; `None` when there are fewer than 32.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let header = bytes.first_chunk::<HEADER_BYTES>()?;
        let [
            l0,
            l1,
            l2,
            l3,
            c0,
            c1,
            c2,
            c3,
            s0,
            s1,
            s2,
            s3,
            s4,
            s5,
            s6,
            s7,
            t0,
            t1,
            t2,
            t3,
            t4,
            t5,
            t6,
            t7,
            k0,
            k1,
            version,
            flags,
            d0,
            d1,
            d2,
            d3,
        ] = *header;
        Some(Self {
            len: u32::from_le_bytes([l0, l1, l2, l3]),
            crc: u32::from_le_bytes([c0, c1, c2, c3]),
            seq: u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]),
            ts_ns: u64::from_le_bytes([t0, t1, t2, t3, t4, t5, t6, t7]),
            kind: u16::from_le_bytes([k0, k1]),
            version,
            flags,
            durable_lag: u32::from_le_bytes([d0, d1, d2, d3]),
        })
    }

    /// Bytes that the record occupies.
    #[must_use]
    pub const fn stored_bytes(&self) -> usize {
        stored_bytes(self.len as usize)
    }
}

fn put(out: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(to) = out.get_mut(at..at.saturating_add(bytes.len())) {
        to.copy_from_slice(bytes);
    }
}

/// `len` rounded up to the alignment.
#[must_use]
pub const fn stored_bytes(len: usize) -> usize {
    len.saturating_add(RECORD_ALIGN.wrapping_sub(1)) & !(RECORD_ALIGN.wrapping_sub(1))
}

/// CRC-32C over length, salt, and the record behind its CRC word.
///
/// The salt makes bytes of another segment, or of the same place in an earlier life, invalid.
#[must_use]
pub fn crc(len: u32, salt: u64, behind_crc: &[u8]) -> u32 {
    let seed = crc32c::crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), &len.to_le_bytes());
    crc32c::crc32c_append(seed, behind_crc)
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

/// Reads and checks the record at the start of `bytes` (the rest of the segment).
#[must_use]
pub fn slot(bytes: &[u8], salt: u64) -> Slot<'_> {
    let Some(header) = RecordHeader::from_bytes(bytes) else {
        return Slot::Free;
    };
    if header.len == 0 {
        return Slot::Free;
    }
    let len = header.len as usize;
    let (Some(behind_crc), Some(payload)) = (bytes.get(offset::SEQ..len), bytes.get(HEADER_BYTES..len)) else {
        return Slot::Bad;
    };
    let pad = bytes.get(len..header.stored_bytes()).unwrap_or_default();
    if crc(header.len, salt, behind_crc) != header.crc || pad.iter().any(|byte| *byte != 0) {
        return Slot::Bad;
    }
    Slot::Record(header, payload)
}
