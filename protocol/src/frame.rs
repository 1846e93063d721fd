//! Bytes to frames and back: no copy, no allocation, every length checked before it is believed.
//!
//! Owns the header, the framing rules and the shape of a block. Must not know what a message means.
//! A *framing* fault (`FrameError`) ends the connection, since the next frame cannot be found or
//! trusted. A *shape* fault (`ShapeError`) concerns one frame, which can be skipped.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::codes::frame_flags;
use crate::layout::wire::{U16, U64};
use crate::layout::{Message, MessageInfo, is_text};
use crate::messages::lookup;
use crate::reason::Reason;

/// Length of the header, bytes.
pub const HEADER_BYTES: usize = 32;
/// Length of the longest frame, bytes.
pub const FRAME_BYTES_MAX: usize = 65_528;
/// Length of the longest frame that a client may send, bytes. Every client message is far shorter.
pub const CLIENT_FRAME_BYTES_MAX: usize = 1024;
/// The major version, in every header.
pub const VERSION: u8 = 1;
/// Templates up to this one never grow, so that their transcripts have a fixed length.
pub const FROZEN_TEMPLATE_MAX: u16 = 5;
/// The newest minor version that this build writes.
pub const MINOR: u8 = 0;

/// The header as it lies in the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawHeader {
    frame_len: U16,
    template_id: U16,
    block_len: U16,
    version: u8,
    flags: u8,
    seq: U64,
    ack_seq: U64,
    send_ts_ns: U64,
}

const _: () = assert!(size_of::<RawHeader>() == HEADER_BYTES, "the header is 32 bytes");

/// The header of a frame, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Length of the frame with its header, bytes; 32 to 65,528, a multiple of 8. Offset 0.
    pub frame_len: u16,
    /// Which message it is. Offset 2.
    pub template_id: u16,
    /// Length of the block, bytes, a multiple of 8. Offset 4.
    pub block_len: u16,
    /// Major version. Offset 6.
    pub version: u8,
    /// `frame_flags`. Offset 7.
    pub flags: u8,
    /// Number in the sender's stream, from 1; 0 for unsequenced frames. Offset 8.
    pub seq: u64,
    /// The last frame of the peer's stream that was durably processed. Offset 16.
    pub ack_seq: u64,
    /// When the sender wrote it, ns UTC; informative. Offset 24.
    pub send_ts_ns: u64,
}

impl Header {
    /// True when the flag bit is set.
    #[must_use]
    pub const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// What a sender chooses in a header; the rest follows from the block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    /// `frame_flags`.
    pub flags: u8,
    /// Number in the sender's stream; 0 for unsequenced frames.
    pub seq: u64,
    /// The last frame of the peer's stream that was durably processed.
    pub ack_seq: u64,
    /// Now, ns UTC.
    pub send_ts_ns: u64,
}

/// A framing fault: the reader ends the connection with this reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameError {
    /// Why.
    pub reason: Reason,
    /// Offset of the offending header field, bytes.
    pub offset: u16,
}

/// A fault of one frame: the reader refuses the frame and goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShapeError {
    /// Why.
    pub reason: Reason,
    /// Offset of the offending byte from the start of the frame.
    pub offset: u16,
}

/// The buffer is too short for the frame; nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom {
    /// Length that the frame needs, bytes.
    pub needed: usize,
}

impl core::fmt::Display for FrameError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "malformed frame: {} at byte {}", self.reason.name(), self.offset)
    }
}
impl core::fmt::Display for ShapeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "malformed message: {} at byte {}", self.reason.name(), self.offset)
    }
}
impl core::fmt::Display for NoRoom {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "no room for a frame of {} bytes", self.needed)
    }
}
impl core::error::Error for FrameError {}
impl core::error::Error for ShapeError {}
impl core::error::Error for NoRoom {}

/// A whole frame, in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The checked header.
    pub header: Header,
    /// The block: fixed fields, perhaps longer than this version knows.
    pub block: &'a [u8],
    /// What follows the block: groups of entries, checked by `Groups`.
    pub groups: &'a [u8],
    /// The whole frame, header included.
    pub bytes: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Checks the frame against its template: what is declared about it, if all is well.
    ///
    /// # Errors
    /// `UnknownTemplate`, `BlockTooShort`, `FrameSize` for a logon frame longer than its template,
    /// `NonzeroReserved`, `FieldValue` for text that is not
    /// ASCII padded with NUL, `FrameSize` for groups that do not fill the frame; in this order.
    pub fn check(&self) -> Result<&'static MessageInfo, ShapeError> {
        let at = |offset: u16, reason| ShapeError { reason, offset };
        let info = lookup(self.header.template_id).ok_or(at(2, Reason::UnknownTemplate))?;
        if self.header.block_len < info.block_len {
            return Err(at(4, Reason::BlockTooShort));
        }
        let is_frozen = self.header.template_id <= FROZEN_TEMPLATE_MAX;
        if is_frozen && self.header.frame_len != in_frame(info.block_len) {
            return Err(at(0, Reason::FrameSize));
        }
        for check in info.checks.iter().take_while(|check| check.len != 0) {
            let run = run(self.block, check.offset, check.len);
            let ok = if check.text { is_text(run) } else { run.iter().all(|byte| *byte == 0) };
            if !ok {
                let reason = if check.text { Reason::FieldValue } else { Reason::NonzeroReserved };
                return Err(at(in_frame(check.offset), reason));
            }
        }
        let mut groups = Groups { rest: self.groups };
        if groups.by_ref().count() > GROUPS_MAX || !groups.rest.is_empty() {
            let offset = in_frame(self.header.block_len);
            return Err(at(offset, Reason::FrameSize));
        }
        Ok(info)
    }

    /// The block as `T`; a longer block of a newer minor version is read as far as it is known.
    ///
    /// # Errors
    /// `UnknownTemplate` if the frame is another message, `BlockTooShort` if it is cut.
    pub fn read<T: Message>(&self) -> Result<&'a T, ShapeError> {
        if self.header.template_id != T::INFO.template_id {
            return Err(ShapeError { reason: Reason::UnknownTemplate, offset: 2 });
        }
        let (block, _newer) =
            T::ref_from_prefix(self.block).map_err(|_| ShapeError { reason: Reason::BlockTooShort, offset: 4 })?;
        Ok(block)
    }

    /// The first 8 bytes of the block as a number: the id of every request.
    #[must_use]
    pub fn leading_id(&self) -> u64 {
        U64::read_from_prefix(self.block).map_or(0, |(id, _)| id.get())
    }
}

fn run(block: &[u8], offset: u16, len: u16) -> &[u8] {
    let end = usize::from(offset).saturating_add(usize::from(len));
    block.get(usize::from(offset)..end).unwrap_or_default()
}

const fn in_frame(block_offset: u16) -> u16 {
    block_offset.saturating_add(HEADER_BYTES as u16)
}

/// Groups that a frame may carry at most.
pub const GROUPS_MAX: usize = 8;

/// One group of entries of equal length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group<'a> {
    /// Length of an entry, bytes, a multiple of 8, at least 8.
    pub entry_len: u16,
    /// The entries, one after the other.
    pub entries: &'a [u8],
}

/// The groups after a block: `{entry_len u16, count u16, reserved u32, entries}` each.
#[derive(Clone, Copy, Debug)]
pub struct Groups<'a> {
    rest: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The groups after the block; ends at the first that is malformed.
    #[must_use]
    pub const fn groups(&self) -> Groups<'a> {
        Groups { rest: self.groups }
    }
}

impl<'a> Iterator for Groups<'a> {
    type Item = Group<'a>;

    fn next(&mut self) -> Option<Group<'a>> {
        let (head, rest) = self.rest.split_first_chunk::<8>()?;
        let [len0, len1, count0, count1, 0, 0, 0, 0] = *head else {
            return None;
        };
        let entry_len = u16::from_le_bytes([len0, len1]);
        let count = u16::from_le_bytes([count0, count1]);
        if entry_len == 0 || !entry_len.is_multiple_of(8) {
            return None;
        }
        let entries_bytes = usize::from(entry_len).saturating_mul(usize::from(count));
        let (entries, rest) = rest.split_at_checked(entries_bytes)?;
        self.rest = rest;
        Some(Group { entry_len, entries })
    }
}

/// Reads and checks a header.
///
/// # Errors
/// `FrameSize` for lengths out of bounds or not multiples of 8, `Version`, `NonzeroReserved` for
/// flags without meaning; also `FrameSize` if `bytes` holds no whole header.
pub fn decode_header(bytes: &[u8]) -> Result<Header, FrameError> {
    let fault = |reason, offset| Err(FrameError { reason, offset });
    let Ok((raw, _)) = RawHeader::ref_from_prefix(bytes) else {
        return fault(Reason::FrameSize, 0);
    };
    let (frame_len, block_len) = (raw.frame_len.get(), raw.block_len.get());
    check_frame_len(frame_len, FRAME_BYTES_MAX)?;
    if raw.version != VERSION {
        return fault(Reason::Version, 6);
    }
    if !block_len.is_multiple_of(8) || in_frame(block_len) > frame_len {
        return fault(Reason::FrameSize, 4);
    }
    if raw.flags & !frame_flags::ALL != 0 {
        return fault(Reason::NonzeroReserved, 7);
    }
    Ok(Header {
        frame_len,
        template_id: raw.template_id.get(),
        block_len,
        version: raw.version,
        flags: raw.flags,
        seq: raw.seq.get(),
        ack_seq: raw.ack_seq.get(),
        send_ts_ns: raw.send_ts_ns.get(),
    })
}

fn check_frame_len(frame_len: u16, bytes_max: usize) -> Result<(), FrameError> {
    let bytes = usize::from(frame_len);
    if !(HEADER_BYTES..=bytes_max).contains(&bytes) || !bytes.is_multiple_of(8) {
        return Err(FrameError { reason: Reason::FrameSize, offset: 0 });
    }
    Ok(())
}

/// The first whole frame of `buf`, or `None` while bytes are missing.
///
/// The caller drops `frame.bytes.len()` bytes and calls again. A wrong length is found as soon as
/// its two bytes are there, any other header fault with the 32nd byte: before a reader has waited
/// for, or kept, what such a frame announces.
///
/// # Errors
/// As `decode_header`: the connection must be ended.
pub fn next_frame(buf: &[u8]) -> Result<Option<Frame<'_>>, FrameError> {
    next_frame_up_to(FRAME_BYTES_MAX, buf)
}

/// As `next_frame`, of what a client sends: at most `CLIENT_FRAME_BYTES_MAX` bytes.
///
/// # Errors
/// As `next_frame`.
pub fn next_client_frame(buf: &[u8]) -> Result<Option<Frame<'_>>, FrameError> {
    next_frame_up_to(CLIENT_FRAME_BYTES_MAX, buf)
}

fn next_frame_up_to(bytes_max: usize, buf: &[u8]) -> Result<Option<Frame<'_>>, FrameError> {
    let Some(frame_len) = buf.first_chunk::<2>() else {
        return Ok(None);
    };
    check_frame_len(u16::from_le_bytes(*frame_len), bytes_max)?;
    let Some((_, after_header)) = buf.split_at_checked(HEADER_BYTES) else {
        return Ok(None);
    };
    let header = decode_header(buf)?;
    let Some(bytes) = buf.get(..usize::from(header.frame_len)) else {
        return Ok(None);
    };
    let Some((block, _)) = after_header.split_at_checked(usize::from(header.block_len)) else {
        return Ok(None);
    };
    let groups_at = usize::from(in_frame(header.block_len));
    let groups = bytes.get(groups_at..).unwrap_or_default();
    Ok(Some(Frame { header, block, groups, bytes }))
}

/// Writes a frame with `block` to the start of `out`; its length in bytes.
///
/// # Errors
/// `NoRoom` if `out` is too short; nothing was written.
pub fn encode<T: Message>(out: &mut [u8], envelope: Envelope, block: &T) -> Result<usize, NoRoom> {
    let needed = HEADER_BYTES.saturating_add(size_of::<T>());
    let Some((head, body)) = out.get_mut(..needed).and_then(|out| out.split_at_mut_checked(HEADER_BYTES)) else {
        return Err(NoRoom { needed });
    };
    let header = RawHeader {
        frame_len: U16::new(needed as u16),
        template_id: U16::new(T::INFO.template_id),
        block_len: U16::new(size_of::<T>() as u16),
        version: VERSION,
        flags: envelope.flags,
        seq: U64::new(envelope.seq),
        ack_seq: U64::new(envelope.ack_seq),
        send_ts_ns: U64::new(envelope.send_ts_ns),
    };
    head.copy_from_slice(header.as_bytes());
    body.copy_from_slice(block.as_bytes());
    Ok(needed)
}
