//! Frames for `tokio_util::codec`, for those who speak the protocol without the recovery recipe.
//!
//! Owns the cutting of a byte stream into frames. Must not know what a frame says.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};
use tradecore_protocol::frame::{Envelope, Frame, FrameError, HEADER_BYTES, Header, encode, next_frame};
use tradecore_protocol::layout::Message;
use tradecore_protocol::reason::Reason;

/// Why a stream of frames ends: close the connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The bytes are no frame, and nothing behind them can be read.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The connection.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl CodecError {
    /// The protocol's stable code of the fault.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Frame(fault) => fault.reason,
            Self::Io(_) => Reason::ConnectionLost,
        }
    }
}

/// A whole frame that owns its bytes; its header has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedFrame {
    header: Header,
    bytes: Bytes,
}

impl OwnedFrame {
    /// The checked header.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The whole frame, header included.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The frame in place: `check` it, then `read` it as the message that it is.
    #[must_use]
    pub fn as_frame(&self) -> Frame<'_> {
        let behind = self.bytes.get(HEADER_BYTES..).unwrap_or_default();
        let (block, groups) = behind.split_at_checked(usize::from(self.header.block_len)).unwrap_or_default();
        Frame { header: self.header, block, groups, bytes: &self.bytes }
    }
}

/// Cuts a byte stream into frames, and writes messages as frames.
///
/// A frame's length is checked as soon as its two bytes are there: before anything is allocated or waited for on its
/// word. So a buffer holds at most the longest frame and what one read added to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameCodec;

impl Decoder for FrameCodec {
    type Item = OwnedFrame;
    type Error = CodecError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<OwnedFrame>, CodecError> {
        let Some(Frame { header, .. }) = next_frame(src)? else {
            let announced = src.first_chunk::<2>().map_or(HEADER_BYTES, |len| usize::from(u16::from_le_bytes(*len)));
            src.reserve(announced.saturating_sub(src.len()));
            return Ok(None);
        };
        let bytes = src.split_to(usize::from(header.frame_len)).freeze();
        Ok(Some(OwnedFrame { header, bytes }))
    }
}

impl<T: Message> Encoder<(Envelope, &T)> for FrameCodec {
    type Error = CodecError;

    fn encode(&mut self, (envelope, block): (Envelope, &T), dst: &mut BytesMut) -> Result<(), CodecError> {
        let at = dst.len();
        dst.resize(at.saturating_add(HEADER_BYTES).saturating_add(size_of::<T>()), 0);
        let written = encode(dst.get_mut(at..).unwrap_or_default(), envelope, block);
        written.map(drop).map_err(|error| CodecError::Io(io::Error::other(error)))
    }
}

impl Encoder<OwnedFrame> for FrameCodec {
    type Error = CodecError;

    fn encode(&mut self, frame: OwnedFrame, dst: &mut BytesMut) -> Result<(), CodecError> {
        dst.extend_from_slice(&frame.bytes);
        Ok(())
    }
}
