//! The codec: however the bytes come, the same frames come out.
#![cfg(feature = "async")]
#![allow(clippy::arithmetic_side_effects, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use bytes::BytesMut;
use tokio_util::codec::{Decoder, Encoder};
use tradecore_client::protocol::frame::Envelope;
use tradecore_client::protocol::messages::{Heartbeat, NewOrder};
use tradecore_client::protocol::reason::Reason;
use tradecore_client::protocol::wire::U64;
use tradecore_client::{FrameCodec, OwnedFrame};

/// Frames of two lengths, numbered from 1.
fn stream(count: u64) -> BytesMut {
    let mut bytes = BytesMut::new();
    for seq in 1..=count {
        let envelope = Envelope { seq, ..Envelope::default() };
        let order = NewOrder { cl_ord_id: U64::new(seq), ..NewOrder::default() };
        let heartbeat = Heartbeat { test_id: U64::new(seq), ..Heartbeat::default() };
        if seq % 2 == 0 {
            FrameCodec.encode((envelope, &order), &mut bytes).expect("written");
        } else {
            FrameCodec.encode((envelope, &heartbeat), &mut bytes).expect("written");
        }
    }
    bytes
}

fn take_all(buffer: &mut BytesMut, into: &mut Vec<OwnedFrame>) {
    while let Some(frame) = FrameCodec.decode(buffer).expect("frames") {
        into.push(frame);
    }
}

fn assert_numbered(frames: &[OwnedFrame], count: u64) {
    assert_eq!(frames.len() as u64, count);
    for (frame, seq) in frames.iter().zip(1..) {
        assert_eq!((frame.header().seq, frame.as_frame().leading_id()), (seq, seq));
        frame.as_frame().check().expect("a message");
    }
}

#[test]
fn frames_that_come_one_byte_at_a_time_come_out_whole() {
    let (mut buffer, mut frames) = (BytesMut::new(), Vec::new());
    for byte in stream(40) {
        buffer.extend_from_slice(&[byte]);
        take_all(&mut buffer, &mut frames);
    }
    assert_numbered(&frames, 40);
    assert!(buffer.is_empty());
}

#[test]
fn thousands_of_frames_in_one_chunk_come_out_in_order_and_write_the_same_bytes() {
    let (bytes, mut frames) = (stream(5_000), Vec::new());
    take_all(&mut bytes.clone(), &mut frames);
    assert_numbered(&frames, 5_000);
    let mut again = BytesMut::new();
    for frame in frames {
        FrameCodec.encode(frame, &mut again).expect("written");
    }
    assert_eq!(again, bytes);
}

#[test]
fn a_length_out_of_bounds_gives_its_reason_before_anything_is_allocated() {
    for len in [0_u16, 31, 33, 65_529, u16::MAX] {
        let mut buffer = BytesMut::with_capacity(64);
        buffer.extend_from_slice(&len.to_le_bytes());
        let capacity = buffer.capacity();
        let error = FrameCodec.decode(&mut buffer).expect_err("refused");
        assert_eq!(error.reason(), Reason::FrameSize, "{len}");
        assert_eq!(buffer.capacity(), capacity, "{len}: allocated on the word of a wrong length");
    }
}

#[test]
fn a_header_fault_gives_its_own_reason_with_the_last_byte_of_the_header() {
    for (at, value, reason) in
        [(6, 9, Reason::Version), (7, 0x80, Reason::NonzeroReserved), (4, 0xF8, Reason::FrameSize)]
    {
        let mut whole = stream(1);
        whole[at] = value;
        let mut buffer = BytesMut::from(&whole[..31]);
        assert_eq!(FrameCodec.decode(&mut buffer).expect("waits"), None);
        buffer.extend_from_slice(&whole[31..32]);
        assert_eq!(FrameCodec.decode(&mut buffer).expect_err("refused").reason(), reason, "byte {at}");
    }
}

#[test]
fn a_stream_that_ends_within_a_frame_is_a_lost_connection() {
    let mut whole = stream(1);
    whole.truncate(40);
    assert_eq!(FrameCodec.decode_eof(&mut whole).expect_err("cut").reason(), Reason::ConnectionLost);
    assert_eq!(FrameCodec.decode_eof(&mut BytesMut::new()).expect("a clean end"), None);
}
