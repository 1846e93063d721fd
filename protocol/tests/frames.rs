//! Framing and codecs: what is accepted, what is refused, and that both directions agree.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    dead_code,
    missing_docs,
    unreachable_pub
)]

mod support;

use proptest::prelude::*;
use tradecore_protocol::frame::{FRAME_BYTES_MAX, Frame, HEADER_BYTES, Header};
use tradecore_protocol::layout::wire::U64;
use tradecore_protocol::messages::*;
use tradecore_protocol::{CATALOGUE, Envelope, Message, Reason, Text, encode, lookup, next_frame};

/// Calls `$check` once for each message type.
macro_rules! for_each_message {
    ($check:ident, $($arg:expr),*) => {{
        let mut count = 0;
        for_each_message!(@ $check, count, ($($arg),*),
            ClientHello, ServerChallenge, Logon, LogonAck, LogonReject, Heartbeat, TestRequest,
            ResendRequest, ResendBegin, ResendReject, GapFill, NotApplied, ReplayComplete, Terminate,
            SessionReject, NewOrder, CancelOrder, ReplaceOrder, MassCancel, ExecReport, RequestReject, MassCancelReport, KillSwitch, KillSwitchReport,
            OperatorNote, OperatorNoteReport,
            OrderStatusRequest, OpenOrdersRequest, QueryEnd, PositionRequest, Position, AccountRequest,
            Account, FillsRequest, InstrumentsRequest, InstrumentDef, MarketDataSubscribe,
            SubscribeReport, Quote);
        assert_eq!(count, CATALOGUE.len(), "every message is checked");
    }};
    (@ $check:ident, $count:ident, $args:tt, $($message:ident),*) => {
        $(for_each_message!(@one $check, $message, $args); $count += 1;)*
    };
    (@one $check:ident, $message:ident, ($($arg:expr),*)) => { $check::<$message>($($arg),*) };
}

fn check_round_trip<T: Message + PartialEq + std::fmt::Debug>(random: &[u8], envelope: Envelope) {
    let (block, _) = T::read_from_prefix(random).expect("enough bytes");
    let mut out = vec![0xaa; HEADER_BYTES + size_of::<T>() + 8];
    let written = encode(&mut out, envelope, &block).expect("room");
    assert_eq!(written, HEADER_BYTES + size_of::<T>());
    assert_eq!(out[written..], [0xaa; 8], "nothing is written behind the frame");
    let frame = next_frame(&out).expect("well framed").expect("whole");
    assert_eq!(frame.read::<T>().expect("readable"), &block);
    let header = frame.header;
    assert_eq!((header.flags, header.seq), (envelope.flags, envelope.seq));
    assert_eq!((header.ack_seq, header.send_ts_ns), (envelope.ack_seq, envelope.send_ts_ns));
    assert_eq!(header.template_id, T::INFO.template_id);
    for short in 0..written {
        assert!(encode(&mut vec![0; short], envelope, &block).is_err());
    }
}

/// A block is read as what it is, if it is whole, and as nothing else.
fn check_reading<T: Message>(frame: &Frame<'_>) {
    let is_readable = frame.header.template_id == T::INFO.template_id && frame.block.len() >= size_of::<T>();
    assert_eq!(frame.read::<T>().is_ok(), is_readable, "{}", T::INFO.name);
}

proptest! {
    #[test]
    fn every_codec_round_trips(
        random in proptest::collection::vec(any::<u8>(), 256),
        seq: u64, ack_seq: u64, send_ts_ns: u64, flags in 0_u8..8,
    ) {
        let envelope = Envelope { flags, seq, ack_seq, send_ts_ns };
        for_each_message!(check_round_trip, &random, envelope);
    }

    #[test]
    fn arbitrary_bytes_are_framed_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(Some(frame)) = next_frame(&bytes) {
            prop_assert!(frame.bytes.len() <= bytes.len());
            let _ = frame.check();
        }
    }

    #[test]
    fn arbitrary_bytes_behind_a_good_header_are_checked_and_only_then_read(
        bytes in proptest::collection::vec(any::<u8>(), 512),
        template in prop_oneof![0_u16..=u16::MAX, proptest::sample::select(CATALOGUE).prop_map(|info| info.template_id)],
        rest_words in 0_u16..64, block_words in 0_u16..64, zeroed in any::<bool>(),
    ) {
        let block_len = 8 * block_words.min(rest_words);
        let header = Header {
            frame_len: 32 + 8 * rest_words, template_id: template, block_len, version: 1,
            flags: 0, seq: 1, ack_seq: 0, send_ts_ns: 0,
        };
        let mut frame = support::header_bytes(&header);
        frame.extend(&bytes[..8 * usize::from(rest_words)]);
        if zeroed {
            // What is reserved and what is text is then right.
            frame[HEADER_BYTES..][..usize::from(block_len)].fill(0);
        }
        let frame = next_frame(&frame).expect("well framed").expect("whole");
        prop_assert_eq!(frame.block.len(), usize::from(block_len));
        prop_assert_eq!(frame.block.len() + frame.groups.len(), frame.bytes.len() - HEADER_BYTES);
        prop_assert!(frame.groups().all(|group| group.entries.len().is_multiple_of(usize::from(group.entry_len))));
        match (lookup(template), frame.check()) {
            (Some(info), Ok(checked)) => {
                prop_assert_eq!(info, checked);
                prop_assert!(block_len >= info.block_len);
            }
            (None, checked) => prop_assert_eq!(checked.map_err(|fault| fault.reason), Err(Reason::UnknownTemplate)),
            (Some(info), Err(fault)) => {
                let is_short = fault.reason == Reason::BlockTooShort;
                prop_assert_eq!(is_short, block_len < info.block_len);
            }
        }
        for_each_message!(check_reading, &frame);
    }

    #[test]
    fn flipping_any_bytes_of_a_good_stream_never_panics(
        flips in proptest::collection::vec((0_usize..4_000, any::<u8>()), 1..8),
    ) {
        let mut stream: Vec<u8> = CATALOGUE.iter().flat_map(|info| support::sample_frame(info)).collect();
        let len = stream.len();
        for (at, value) in flips {
            stream[at % len] = value;
        }
        let mut rest = &stream[..];
        while let Ok(Some(frame)) = next_frame(rest) {
            let _ = frame.check();
            rest = &rest[frame.bytes.len()..];
        }
    }
}

#[test]
fn a_sample_of_every_message_passes_the_checks() {
    for info in CATALOGUE {
        let bytes = support::sample_frame(info);
        let frame = next_frame(&bytes).unwrap().unwrap();
        assert_eq!(frame.check(), Ok(*info), "{}", info.name);
    }
}

#[test]
fn the_catalogue_is_sorted_and_every_template_is_found() {
    assert!(CATALOGUE.is_sorted_by(|a, b| a.template_id < b.template_id));
    for id in 0..=u16::MAX {
        let found = lookup(id).map(|info| info.template_id);
        let declared = CATALOGUE.iter().any(|info| info.template_id == id);
        assert_eq!(found, declared.then_some(id));
    }
}

#[test]
fn a_truncated_frame_waits_for_more_at_every_byte() {
    for info in CATALOGUE {
        let bytes = support::sample_frame(info);
        for len in 0..bytes.len() {
            assert_eq!(next_frame(&bytes[..len]), Ok(None), "{} cut to {len}", info.name);
        }
    }
}

#[test]
fn byte_by_byte_delivery_equals_whole_delivery() {
    let stream: Vec<u8> = CATALOGUE.iter().flat_map(|info| support::sample_frame(info)).collect();
    let (mut whole, mut rest) = (vec![], &stream[..]);
    while let Some(frame) = next_frame(rest).unwrap() {
        whole.push(frame.bytes.to_vec());
        rest = &rest[frame.bytes.len()..];
    }
    let (mut pieces, mut buffer) = (vec![], vec![]);
    for byte in &stream {
        buffer.push(*byte);
        if let Some(frame) = next_frame(&buffer).unwrap() {
            pieces.push(frame.bytes.to_vec());
            buffer.clear();
        }
    }
    assert_eq!((whole.len(), rest.len()), (CATALOGUE.len(), 0));
    assert_eq!(whole, pieces);
}

#[test]
fn thousands_of_frames_in_one_buffer_are_read_in_order() {
    let mut buffer = vec![0; 5_000 * Heartbeat::FRAME_BYTES];
    for (seq, out) in buffer.chunks_exact_mut(Heartbeat::FRAME_BYTES).enumerate() {
        let block = Heartbeat { next_seq: U64::new(seq as u64), ..Heartbeat::default() };
        encode(out, Envelope::default(), &block).unwrap();
    }
    let (mut rest, mut count) = (&buffer[..], 0);
    while let Some(frame) = next_frame(rest).unwrap() {
        assert_eq!(frame.read::<Heartbeat>().unwrap().next_seq.get(), count);
        rest = &rest[frame.bytes.len()..];
        count += 1;
    }
    assert_eq!((count, rest.len()), (5_000, 0));
}

#[test]
fn a_longer_block_of_a_newer_minor_version_is_read_as_far_as_it_is_known() {
    for info in CATALOGUE {
        let mut bytes = support::sample_frame(info);
        bytes.extend([0xee; 16]);
        bytes[..2].copy_from_slice(&(info.block_len + 48).to_le_bytes());
        bytes[4..6].copy_from_slice(&(info.block_len + 16).to_le_bytes());
        let frame = next_frame(&bytes).unwrap().unwrap();
        let is_frozen = info.template_id <= 5;
        let wanted = if is_frozen { Err(Reason::FrameSize) } else { Ok(*info) };
        assert_eq!(frame.check().map_err(|fault| fault.reason), wanted, "{}", info.name);
    }
}

#[test]
fn groups_after_the_block_are_skipped_if_well_formed() {
    let base = support::sample_frame(NewOrder::INFO);
    for (name, groups, is_ok) in [
        ("two entries", [&[8, 0, 2, 0, 0, 0, 0, 0][..], &[7; 16]].concat(), true),
        ("no entry", vec![16, 0, 0, 0, 0, 0, 0, 0], true),
        ("entries missing", vec![8, 0, 1, 0, 0, 0, 0, 0], false),
        ("no length", vec![0, 0, 1, 0, 0, 0, 0, 0], false),
        ("odd length", [&[4, 0, 2, 0, 0, 0, 0, 0][..], &[7; 8]].concat(), false),
        ("reserved", vec![8, 0, 0, 0, 0, 0, 1, 0], false),
        ("too many", [8, 0, 0, 0, 0, 0, 0, 0].repeat(9), false),
    ] {
        let mut bytes = [base.clone(), groups].concat();
        let len = u16::try_from(bytes.len()).unwrap();
        bytes[..2].copy_from_slice(&len.to_le_bytes());
        let frame = next_frame(&bytes).unwrap().unwrap();
        assert_eq!(frame.check().is_ok(), is_ok, "{name}");
    }
}

#[test]
fn a_wrong_length_is_found_with_its_second_byte() {
    for len in [0_u16, 8, 24, 31, 33, 65_529, 65_535] {
        let fault = next_frame(&len.to_le_bytes()).unwrap_err();
        assert_eq!((fault.reason, fault.offset), (Reason::FrameSize, 0), "{len}");
    }
    assert_eq!(next_frame(&(FRAME_BYTES_MAX as u16).to_le_bytes()), Ok(None));
}

#[test]
fn text_is_cut_padded_and_never_trusted() {
    assert_eq!(Text::<4>::new("abcdef").as_str(), "abcd");
    assert_eq!(Text::<8>::new("aé").as_str(), "a??");
    assert_eq!(Text::<8>::new("ab").as_bytes(), b"ab\0\0\0\0\0\0");
    let mut bytes = support::sample_frame(KillSwitch::INFO);
    bytes[32 + 16 + 1] = 0;
    let fault = next_frame(&bytes).unwrap().unwrap().check().unwrap_err();
    assert_eq!((fault.reason, fault.offset), (Reason::FieldValue, 48), "text goes on after its end");
}

#[test]
fn the_session_tables_know_every_message_a_client_sends() {
    use tradecore_protocol::layout::{Direction, Sequencing};
    for info in CATALOGUE {
        let is_client = info.direction != Direction::ToClient;
        assert!(
            !(is_client && info.sequencing == Sequencing::Either),
            "{}: a client's number is not optional",
            info.name
        );
        if is_client && info.sequencing == Sequencing::Sequenced {
            assert_eq!((info.fields[0].name, info.fields[0].offset), ("cl_ord_id", 0), "{}", info.name);
        }
    }
}

#[test]
fn the_messages_of_a_logon_have_the_length_that_they_have_for_ever() {
    let lengths = [
        ClientHello::INFO.block_len,
        ServerChallenge::INFO.block_len,
        Logon::INFO.block_len,
        LogonAck::INFO.block_len,
        LogonReject::INFO.block_len,
    ];
    assert_eq!(lengths, [88, 88, 104, 120, 136]);
}
