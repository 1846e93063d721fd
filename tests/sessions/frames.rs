//! Bytes: cut anywhere, many at once, cut off, malformed.

use serde_json::Value;
use tradecore_protocol::Reason;
use tradecore_protocol::codes::TakeoverPolicy;
use tradecore_protocol::fields::ExecType;
use tradecore_protocol::messages::{
    CancelOrder, Heartbeat, LogonAck, LogonReject, NotApplied, ReplayComplete, RequestReject, SessionReject, Terminate,
};
use tradecore_protocol::wire::{U16, U64};

use super::host::{Host, Setup};
use super::peer::{Identity, Peer, frame_of, hello, reason, rejected, resting};

#[test]
fn a_conversation_that_comes_byte_by_byte_is_the_same_conversation() {
    let host = Host::trading(&Setup::default());
    let mut peer = Peer::connect(&host);
    let hello = frame_of(0, 0, &hello("k1"));
    peer.remember_hello(&hello);
    peer.send_byte_by_byte(&hello);
    peer.take_challenge();
    let logon = peer.signed(&Identity::of(1).logon());
    peer.send_byte_by_byte(&frame_of(0, 0, &logon));
    peer.expect::<LogonAck>();
    peer.expect::<ReplayComplete>();
    peer.send_byte_by_byte(&frame_of(1, 0, &resting(1)));
    let (header, _) = peer.expect_report(ExecType::PendingNew);
    assert_eq!((header.seq, header.ack_seq), (1, 1));
    peer.expect_report(ExecType::New);
    let cancel = CancelOrder { cl_ord_id: U64::new(2), orig_cl_ord_id: U64::new(1), ..CancelOrder::default() };
    peer.send_byte_by_byte(&frame_of(2, 0, &cancel));
    peer.expect_report(ExecType::PendingCancel);
    let (header, report) = peer.expect_report(ExecType::Canceled);
    assert_eq!((header.seq, report.req_cl_ord_id.get()), (4, 2));
    peer.send_byte_by_byte(&frame_of(0, 0, &logout()));
    let (before, goodbye) = peer.read_to_terminate();
    assert!(before.is_empty(), "{before:?}");
    assert_eq!((reason(goodbye.reason), goodbye.last_seq.get(), goodbye.last_peer_seq.get()), (Reason::Logout, 4, 2));
}

fn logout() -> Terminate {
    Terminate { reason: U16::new(Reason::Logout.raw()), ..Terminate::default() }
}

#[test]
fn thousands_of_frames_in_one_segment_are_answered_each_once_and_in_order() {
    const FRAMES: u64 = 5_000;
    let host = Host::start();
    let mut peer = Peer::live(&host, 1);
    let segment: Vec<u8> = (1..=FRAMES).flat_map(|seq| frame_of(seq, 0, &rejected(seq))).collect();
    peer.send_bytes(&segment);
    for seq in 1..=FRAMES {
        let said = peer.next_told();
        let reject = said.read::<RequestReject>().unwrap_or_else(|| panic!("{said:?}"));
        assert_eq!((said.header.seq, reject.ref_seq.get(), reject.cl_ord_id.get()), (seq, seq, seq));
    }
    peer.expect_alive(1);
}

#[test]
fn a_reset_in_the_middle_of_a_frame_leaves_nothing_of_it_and_the_session_resumes() {
    let host = Host::start();
    for cut in [1, 2, 31, 32, 33, 64, 95] {
        let mut peer = Peer::connect(&host);
        let resumed = Identity { next_expected_seq: 1, next_client_seq: 1, ..Identity::of(2) };
        peer.log_on(&resumed);
        let (replayed, _) = peer.read_to::<ReplayComplete>();
        let next = replayed.len() as u64 + 1;
        peer.send(next, &rejected(next));
        peer.expect::<RequestReject>();
        let half = frame_of(next + 1, 0, &rejected(next + 1));
        peer.send_bytes(&half[..cut]);
        peer.reset();
        let mut again = Peer::connect(&host);
        let ack = again.log_on(&Identity { next_expected_seq: next + 1, next_client_seq: next + 1, ..resumed });
        assert_eq!((ack.last_client_seq.get(), ack.next_report_seq.get()), (next, next + 1), "cut at {cut}");
        again.expect::<ReplayComplete>();
        again.expect_alive(1);
    }
}

struct Case {
    name: String,
    bytes: Vec<u8>,
    reason: Reason,
    offset: u16,
    is_framing: bool,
}

/// The malformed list of the vectors.
fn malformed() -> Vec<Case> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/protocol/vectors/malformed.json");
    let list: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let case = |value: &Value| {
        let hex = value["hex"].as_str().unwrap();
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        Case {
            name: value["case"].as_str().unwrap().to_owned(),
            bytes: (0..hex.len()).step_by(2).map(byte).collect(),
            reason: Reason::from_raw(value["code"].as_u64().unwrap() as u16).unwrap(),
            offset: value["offset"].as_u64().unwrap() as u16,
            is_framing: value["level"] == "framing",
        }
    };
    assert!(list.len() > 20, "the list has its cases");
    list.iter().map(case).collect()
}

#[test]
fn every_malformed_frame_gets_its_code_and_its_action_and_disturbs_nobody() {
    let host = Host::start();
    let mut other = Peer::live(&host, 2);
    for (nth, case) in malformed().iter().enumerate() {
        let name = &case.name;
        // Before the ack the answer is a reject, and the end.
        let mut stranger = Peer::connect(&host);
        stranger.send_bytes(&case.bytes);
        let reject = stranger.expect_reject();
        assert_eq!(reason(reject.reason), case.reason, "{name}, before the ack");
        assert_eq!(reject.mac, [0; 32], "{name}: a stranger is told nothing else");

        // After it a fault of the frame ends the session, a fault of the message refuses the message.
        let mut peer = Peer::connect(&host);
        let numbers = Identity { next_client_seq: 7, ..Identity::of(1) };
        peer.log_on(&numbers);
        peer.expect::<NotApplied>();
        peer.expect::<ReplayComplete>();
        peer.send_bytes(&case.bytes);
        if case.is_framing {
            let (before, terminate) = peer.read_to_terminate();
            assert!(before.is_empty(), "{name}: {before:?}");
            assert_eq!(reason(terminate.reason), case.reason, "{name}");
        } else {
            let refused = peer.expect::<SessionReject>();
            let numbered = u64::from_le_bytes(case.bytes[8..16].try_into().unwrap());
            assert_eq!((reason(refused.reason), refused.ref_offset.get()), (case.reason, case.offset), "{name}");
            assert_eq!(refused.ref_seq.get(), numbered, "{name}");
            assert!(!refused.text.as_str().is_empty(), "{name} has a text");
            peer.expect_alive(1);
            // The number of what was refused is used up.
            let next = numbered.max(6) + 1;
            peer.send(next, &frame_probe(next));
            peer.expect_alive(2);
        }
        other.expect_alive(nth as u64 + 1);
    }
    other.send(1, &rejected(1));
    assert_eq!(other.expect::<RequestReject>().ref_seq.get(), 1);
}

/// A message that trade sessions may not send: refused without a decision, so that it leaves no report behind.
fn frame_probe(seq: u64) -> tradecore_protocol::messages::KillSwitch {
    tradecore_protocol::messages::KillSwitch { cl_ord_id: U64::new(seq), ..Default::default() }
}

#[test]
fn a_frame_longer_than_any_client_message_ends_the_connection_however_it_comes() {
    let host = Host::start();
    // Well-formed, and longer than a client's frame may be: an order with a block of a newer version.
    let long = |frame_len: u16| {
        let mut long = frame_of(1, 0, &rejected(1));
        long[0..2].copy_from_slice(&frame_len.to_le_bytes());
        long[4..6].copy_from_slice(&(frame_len - 32).to_le_bytes());
        long.resize(usize::from(frame_len), 0);
        long
    };
    for (frame_len, sent) in [(4032, 4032), (4032, 100), (1032, 1032), (65_528, 2), (65_528, 40)] {
        let mut peer = Peer::live(&host, 1);
        let bytes = &long(frame_len)[..sent];
        host.while_it_sleeps(|| peer.send_bytes(bytes));
        let (before, terminate) = peer.read_to_terminate();
        assert!(before.is_empty(), "{sent} of {frame_len} bytes: {before:?}");
        assert_eq!(reason(terminate.reason), Reason::FrameSize, "{sent} of {frame_len} bytes");
        assert!(terminate.text.as_str().contains("1024"), "{}", terminate.text.as_str());
    }
    let mut again = Peer::connect(&host);
    assert_eq!(again.log_on(&Identity::of(1)).last_client_seq.get(), 0, "nothing of it acted");
}

#[test]
fn the_longest_client_frame_is_taken_at_once_and_byte_by_byte() {
    let host = Host::start();
    let mut peer = Peer::live(&host, 1);
    let longest = |seq| {
        let mut frame = frame_of(seq, 0, &rejected(seq));
        frame[0..2].copy_from_slice(&1024_u16.to_le_bytes());
        frame[4..6].copy_from_slice(&992_u16.to_le_bytes());
        frame.resize(1024, 0);
        frame
    };
    peer.send_bytes(&longest(1));
    assert_eq!(peer.expect::<RequestReject>().ref_seq.get(), 1);
    peer.send_byte_by_byte(&longest(2));
    assert_eq!(peer.expect::<RequestReject>().ref_seq.get(), 2);
}

#[test]
fn the_end_of_a_stream_ends_the_connection_at_once_though_it_comes_with_the_last_bytes() {
    let host = Host::start();
    let heartbeat = frame_of(0, 0, &Heartbeat { next_seq: U64::new(1), ..Heartbeat::default() });
    let half = &frame_of(1, 0, &rejected(1))[..50];
    for last in [&heartbeat[..], half, &[heartbeat.as_slice(), half].concat()] {
        let mut peer = Peer::live(&host, 1);
        host.while_it_sleeps(|| {
            peer.send_bytes(last);
            peer.end_stream();
        });
        assert!(peer.read_to_end().is_empty(), "nobody is there to be told anything");
        // Its session is free at once.
        let mut logon = Identity::of(1).logon();
        logon.takeover_policy = TakeoverPolicy::Refuse.raw();
        Peer::connect(&host).log_on_with("k1", &logon);
    }
}

#[test]
fn a_half_hello_or_logon_then_the_end_of_the_stream_is_no_logon_and_disturbs_nobody() {
    let host = Host::start();
    let mut other = Peer::live(&host, 2);
    let half_hello = &frame_of(0, 0, &hello("k1"))[..50];
    let mut stranger = Peer::connect(&host);
    stranger.send_bytes(half_hello);
    stranger.end_stream();
    assert!(stranger.read_to_end().is_empty(), "nobody is there to be told anything");
    let mut stranger = Peer::connect(&host);
    stranger.say_hello(&hello("k1"));
    let half_logon = frame_of(0, 0, &stranger.signed(&Identity::of(1).logon()))[..100].to_vec();
    host.while_it_sleeps(|| {
        stranger.send_bytes(&half_logon);
        stranger.end_stream();
    });
    assert!(stranger.read_to_end().is_empty(), "nor is it waited for");
    let mut stranger = Peer::connect(&host);
    stranger.send_bytes(half_hello);
    stranger.reset();
    let mut refused = Peer::connect(&host);
    refused.send_bytes(&frame_of(0, 0, &LogonReject::default()));
    assert_eq!(reason(refused.expect_reject().reason), Reason::NotLoggedOn, "a message of the other direction");
    other.expect_alive(1);
}
