//! The one writer: groups of records into a mapped segment, no system call, no allocation.
//!
//! A record is made and summed in memory that stays in the nearest cache, and then only stored to the segment: to read
//! it back there would wait for lines that the processor has just begun to fetch.

use std::sync::Arc;

use crate::checksum;
use crate::exchange::Exchange;
use crate::record::{
    FLAG_MORE, FLAGS_SHIFT, HEADER_BYTES, KIND_END, KIND_SEAL, RecordHeader, offset, own_record, stored_bytes,
};
use crate::segment::{Prepared, SEGMENT_HEADER_BYTES};
use crate::watermarks::Watermarks;

/// Bytes at the end of a segment for its seal and its end record, and nothing else.
pub(crate) const END_RECORD_BYTES: usize = 2 * HEADER_BYTES;

/// Records that one group may hold.
pub const GROUP_RECORDS_MAX: usize = 256;
/// Longest payload of a record, bytes.
pub const PAYLOAD_BYTES_MAX: usize = (8 << 10) - HEADER_BYTES;

/// Which part of the space an append may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// Leaves the reserve: what adds risk.
    Normal,
    /// Uses the first quarter of the reserve: what may be repeated without end, and costs nobody a risk.
    FirstQuarter,
    /// Uses the reserve: cancels, outcomes, facts of the broker.
    Reserve,
}

/// The journal's one writer.
#[derive(Debug)]
pub struct Writer {
    current: Prepared,
    next: Option<Prepared>,
    /// The maker of segments was told to hurry with the next one.
    is_short: bool,
    exchange: Arc<Exchange>,
    watermarks: Arc<Watermarks>,
    reserve_bytes: usize,
    epoch: u32,
    last_seq: u64,
    last_ts_ns: u64,
    tail: usize,
    group_start: usize,
    group_ts_ns: u64,
    group_records: usize,
    /// Length word of the group's first record, not yet stored.
    first_len: u32,
    /// Length of the group's newest record, which is not yet in the segment, with its header; 0 when there is none.
    staged_len: u32,
    /// The words of its header behind the sum, without flags.
    staged: [u64; 3],
    /// Its payload, padded with zeros to the alignment.
    payload: Box<Payload>,
}

/// Room for a payload, as aligned as it will lie in the segment: archives are made here.
#[derive(Debug)]
#[repr(align(32))]
struct Payload([u8; PAYLOAD_BYTES_MAX]);

/// What a writer starts from.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) current: Prepared,
    pub(crate) exchange: Arc<Exchange>,
    pub(crate) watermarks: Arc<Watermarks>,
    pub(crate) reserve_bytes: usize,
    pub(crate) epoch: u32,
    pub(crate) last_seq: u64,
    pub(crate) last_ts_ns: u64,
}

impl Writer {
    pub(crate) fn new(start: Start) -> Self {
        Self {
            current: start.current,
            next: None,
            is_short: false,
            exchange: start.exchange,
            watermarks: start.watermarks,
            reserve_bytes: start.reserve_bytes,
            epoch: start.epoch,
            last_seq: start.last_seq,
            last_ts_ns: start.last_ts_ns,
            tail: SEGMENT_HEADER_BYTES,
            group_start: SEGMENT_HEADER_BYTES,
            group_ts_ns: 0,
            group_records: 0,
            first_len: 0,
            staged_len: 0,
            staged: [0; 3],
            payload: Box::new(Payload([0; PAYLOAD_BYTES_MAX])),
        }
    }

    /// Reads the place of the next group and sums it, so that memory and code lie in the cache when it comes.
    pub fn read_ahead(&self, payload_len: usize) {
        let place = self.current.map.bytes(self.tail, payload_len.min(self.room()));
        let header = RecordHeader::from_bytes(&[0; HEADER_BYTES]);
        core::hint::black_box(header.map(|header| header.sum(self.current.header.salt, place)));
    }

    /// Epoch of this writer.
    #[must_use]
    pub const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Last sequence number given; 0 before the first.
    #[must_use]
    pub const fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// Bytes that the current segment still takes.
    #[must_use]
    pub const fn room(&self) -> usize {
        self.current.map.len().saturating_sub(END_RECORD_BYTES).saturating_sub(self.tail)
    }

    /// Time of the last group, ns UTC: later than the caller's when the clock was set back.
    #[must_use]
    pub const fn last_ts_ns(&self) -> u64 {
        self.last_ts_ns
    }

    /// True when a group of `records` records with `bytes` bytes in all (headers and padding included, or
    /// generously estimated) fits. Takes a prepared segment in when there is one; never waits for it.
    pub fn can_append(&mut self, bytes: usize, records: usize, space: Space) -> bool {
        if records > GROUP_RECORDS_MAX {
            return false;
        }
        let left = match space {
            Space::Normal => self.reserve_bytes,
            // Of a segment that a full disk has made short, a quarter of what there is.
            Space::FirstQuarter => (self.reserve_bytes.min(self.current.map.len()) / 4).saturating_mul(3),
            Space::Reserve => 0,
        };
        let needed = bytes.saturating_add(left);
        if !self.is_short && self.next.is_none() && self.room() < self.hurry_below() {
            self.is_short = true;
            self.exchange.set_writer_short(true);
        }
        if self.room() >= needed {
            return true;
        }
        if self.next.is_none() {
            self.next = self.take_prepared();
        }
        let next_room = self
            .next
            .as_ref()
            .map_or(0, |next| next.map.len().saturating_sub(SEGMENT_HEADER_BYTES).saturating_sub(END_RECORD_BYTES));
        let fits = self.room() >= bytes || next_room >= bytes;
        fits && self.room().saturating_add(next_room) >= needed
    }

    /// Room below which the next segment is urgent: three quarters of what may be used without it.
    fn hurry_below(&self) -> usize {
        let len = self.current.map.len();
        len.saturating_sub(len.saturating_sub(self.reserve_bytes) / 4)
    }

    /// Starts a group; its time is never earlier than the last one's.
    pub fn begin(&mut self, ts_ns: u64) {
        debug_assert_eq!(self.staged_len, 0, "the group before was not committed");
        self.group_ts_ns = ts_ns.max(self.last_ts_ns);
        self.group_start = self.tail;
        self.group_records = 0;
    }

    /// Adds a record to the group: `fill` gets exactly `payload_len` zeroed bytes, 16-aligned, at most
    /// `PAYLOAD_BYTES_MAX`. Its sequence number. The caller has asked `can_append` for the whole group; one that has
    /// not, and finds no room, is our own broken invariant, and the process stops.
    pub fn append(&mut self, kind: u16, version: u8, payload_len: usize, fill: impl FnOnce(&mut [u8])) -> u64 {
        self.store_staged(FLAG_MORE);
        let len = HEADER_BYTES.saturating_add(payload_len);
        let stored = stored_bytes(len);
        if self.room() < stored {
            self.move_group_to_next_segment();
        }
        assert!(self.room() >= stored, "append without can_append: no room for {stored} bytes");
        assert!(self.group_records < GROUP_RECORDS_MAX, "a group of more than {GROUP_RECORDS_MAX} records");
        assert!(payload_len <= PAYLOAD_BYTES_MAX, "a payload of {payload_len} bytes, more than {PAYLOAD_BYTES_MAX}");
        self.last_seq = self.last_seq.saturating_add(1);
        let (seq, ts_ns, durable_lag) = (self.last_seq, self.group_ts_ns, self.durable_lag());
        let header = RecordHeader { len: 0, crc: 0, seq, ts_ns, kind, version, flags: 0, durable_lag };
        (self.staged_len, self.staged) = (len as u32, header.words());
        self.payload.0.get_mut(..stored.saturating_sub(HEADER_BYTES)).unwrap_or_default().fill(0);
        fill(self.payload.0.get_mut(..payload_len).unwrap_or_default());
        self.group_records = self.group_records.saturating_add(1);
        self.last_seq
    }

    /// Sums the staged record and stores it at the tail: all of it, but of the group's first not the length word, so
    /// that readers see nothing of the group yet.
    fn store_staged(&mut self, flags: u8) {
        let len = core::mem::take(&mut self.staged_len);
        if len == 0 {
            return;
        }
        let [seq, ts_ns, last] = self.staged;
        let words = [seq, ts_ns, last | (u64::from(flags) << FLAGS_SHIFT)];
        let payload = self.payload.0.get(..(len as usize).saturating_sub(HEADER_BYTES)).unwrap_or_default();
        let sum = checksum::of_record(self.current.header.salt, len, words, payload);
        let at = self.tail;
        self.tail = at.saturating_add(stored_bytes(len as usize));
        let behind_len = self.current.map.bytes_mut(at.saturating_add(offset::CRC), HEADER_BYTES - offset::CRC);
        if let Some((to, rest)) = behind_len.split_first_chunk_mut() {
            *to = sum.to_le_bytes();
            for (to, word) in rest.as_chunks_mut().0.iter_mut().zip(words) {
                *to = word.to_le_bytes();
            }
        }
        let place = at.saturating_add(HEADER_BYTES);
        let padded = self.payload.0.get(..self.tail.saturating_sub(place)).unwrap_or_default();
        self.current.map.bytes_mut(place, padded.len()).copy_from_slice(padded);
        if at == self.group_start {
            self.first_len = len;
        } else {
            self.current.map.publish(at, len);
        }
    }

    fn durable_lag(&self) -> u32 {
        u32::try_from(self.last_seq.saturating_sub(self.watermarks.synced())).unwrap_or(u32::MAX)
    }

    /// Makes the group visible by one store. The last sequence number.
    pub fn commit(&mut self) -> u64 {
        self.store_staged(0);
        if self.group_records > 0 {
            self.current.map.publish(self.group_start, self.first_len);
            self.last_ts_ns = self.group_ts_ns;
        }
        self.group_records = 0;
        self.last_seq
    }

    /// The rest of the segment is too short for the group: ends it, and copies what is staged to the next.
    fn move_group_to_next_segment(&mut self) {
        let Some(next) = self.next.take().or_else(|| self.take_prepared()) else {
            // The assertion of `append` says what is wrong.
            return;
        };
        let group_len = self.tail.saturating_sub(self.group_start);
        let old = core::mem::replace(&mut self.current, next);
        let mut at = self.group_start;
        self.tail = SEGMENT_HEADER_BYTES;
        let from = core::mem::replace(&mut self.group_start, SEGMENT_HEADER_BYTES);
        // Record by record: the salt of the segment is in each sum.
        while let Some(header) = RecordHeader::from_bytes(old.map.bytes(at, HEADER_BYTES))
            && at < from.saturating_add(group_len)
        {
            let len = if at == from { self.first_len } else { header.len };
            (self.staged_len, self.staged) = (len, RecordHeader { flags: 0, ..header }.words());
            let payload =
                old.map.bytes(at.saturating_add(HEADER_BYTES), stored_bytes(len as usize).saturating_sub(HEADER_BYTES));
            self.payload.0.get_mut(..payload.len()).unwrap_or_default().copy_from_slice(payload);
            self.store_staged(FLAG_MORE);
            at = at.saturating_add(HEADER_BYTES).saturating_add(payload.len());
        }
        let old = self.end_segment(old, from, group_len);
        drop(self.exchange.retired.push(old));
    }

    /// Takes the segment that lies ready. Its maker, who makes another and lets the old one go, looks for itself: to wake
    /// it would take a system call.
    fn take_prepared(&mut self) -> Option<Prepared> {
        let taken = self.exchange.prepared.pop();
        if taken.is_some() {
            self.is_short = false;
            self.exchange.set_writer_short(false);
        }
        taken
    }

    fn end_segment(&self, mut old: Prepared, at: usize, group_len: usize) -> Prepared {
        // All but the group's first length word, which is zero: no reader looks behind it.
        old.map.bytes_mut(at.saturating_add(offset::CRC), group_len.saturating_sub(offset::CRC)).fill(0);
        write_own(&mut old, at, KIND_END, self.last_ts_ns, self.durable_lag());
        old
    }

    /// A segment that lies ready and was not begun; the last first, so that who takes them away leaves no gap.
    pub(crate) fn take_unused(&mut self) -> Option<Prepared> {
        self.exchange.prepared.pop().or_else(|| self.next.take())
    }

    /// The first half of a clean stop: the seal. Nothing is appended behind it.
    pub(crate) fn write_seal(&mut self) {
        self.write_own_record(KIND_SEAL);
    }

    /// The second: leads tailers to what the next start writes.
    pub(crate) fn write_end(&mut self) {
        self.write_own_record(KIND_END);
    }

    fn write_own_record(&mut self, kind: u16) {
        let (ts_ns, lag) = (self.last_ts_ns, self.durable_lag());
        write_own(&mut self.current, self.tail, kind, ts_ns, lag);
        self.tail = self.tail.saturating_add(HEADER_BYTES);
    }
}

fn write_own(segment: &mut Prepared, at: usize, kind: u16, ts_ns: u64, durable_lag: u32) {
    let record = own_record(kind, segment.header.salt, ts_ns, durable_lag);
    let behind_len = record.get(offset::CRC..).unwrap_or_default();
    segment.map.bytes_mut(at.saturating_add(offset::CRC), behind_len.len()).copy_from_slice(behind_len);
    segment.map.publish(at, HEADER_BYTES as u32);
}
