//! What was missed: replays at logon, resends, what was never applied, and what is too old.

use tradecore_protocol::Reason;
use tradecore_protocol::codes::{ReplayMode, frame_flags};
use tradecore_protocol::fields::{ExecType, OrdStatus};
use tradecore_protocol::frame::HEADER_BYTES;
use tradecore_protocol::messages::{
    CancelOrder, ExecReport, GapFill, LogonAck, NewOrder, NotApplied, ReplayComplete, RequestReject, ResendBegin,
    ResendReject, ResendRequest,
};
use tradecore_protocol::wire::{I64, U32, U64};

use super::host::{CLASSES, Host, Setup, wait_for};
use super::peer::{Identity, Peer, Said, frame_of, reason, rejected, resting};

fn resend(request_id: u64, from_seq: u64, count: u32) -> ResendRequest {
    ResendRequest {
        request_id: U64::new(request_id),
        from_seq: U64::new(from_seq),
        count: U32::new(count),
        ..ResendRequest::default()
    }
}

/// Makes reports `1..=count`, each by a request with the same number, and reads them.
fn make_reports(peer: &mut Peer, count: u64) -> Vec<Said> {
    let segment: Vec<u8> = (1..=count).flat_map(|seq| frame_of(seq, 0, &rejected(seq))).collect();
    peer.send_bytes(&segment);
    let reports: Vec<Said> = (0..count).map(|_| peer.next_told()).collect();
    assert_eq!(numbers(&reports), (1..=count).collect::<Vec<_>>());
    reports
}

fn numbers(said: &[Said]) -> Vec<u64> {
    said.iter().map(|said| said.header.seq).collect()
}

/// The block and its header without what may differ when it is sent again: flags, acknowledgement and time.
fn content(said: &Said) -> (u64, &[u8]) {
    (said.header.seq, &said.bytes[HEADER_BYTES..])
}

#[test]
fn after_every_prefix_of_a_conversation_the_rest_comes_once_in_order_and_as_it_was_also_after_a_crash() {
    CLASSES.into_iter().for_each(check_every_prefix);
}

fn check_every_prefix(durability: &'static str) {
    let mut host = Host::trading(&Setup { durability, ..Setup::default() });
    let mut peer = Peer::live(&host, 1);
    let mut seq = 0;
    let mut send = |bytes: &dyn Fn(u64) -> Vec<u8>| {
        seq += 1;
        peer.send_bytes(&bytes(seq));
    };
    for id in 1..=3 {
        send(&|seq| frame_of(seq, 0, &resting(id)));
        send(&|seq| frame_of(seq, 0, &rejected(100 + id)));
    }
    let mut said: Vec<Said> = (0..9).map(|_| peer.next_told()).collect();
    for id in 1..=2 {
        let cancel =
            CancelOrder { cl_ord_id: U64::new(200 + id), orig_cl_ord_id: U64::new(id), ..CancelOrder::default() };
        peer.send(6 + id, &cancel);
        said.push(peer.next_told());
        said.push(peer.next_told());
    }
    let count = said.len() as u64;
    assert_eq!(numbers(&said), (1..=count).collect::<Vec<_>>());
    assert!(said.iter().all(|said| !said.header.has(frame_flags::REPLAY)));
    for is_restarted in [false, true] {
        if is_restarted {
            host.crash_and_restart();
        }
        for seen in 0..=count {
            let mut peer = Peer::connect(&host);
            let ack = peer.log_on(&Identity { next_expected_seq: seen + 1, next_client_seq: 9, ..Identity::of(1) });
            assert_eq!((ack.next_report_seq.get(), ack.last_client_seq.get()), (count + 1, 8));
            let (replayed, complete) = peer.read_to::<ReplayComplete>();
            let expected: Vec<_> = said.iter().skip(seen as usize).map(content).collect();
            assert_eq!(replayed.iter().map(content).collect::<Vec<_>>(), expected, "after {seen} reports");
            assert!(replayed.iter().all(|said| said.header.has(frame_flags::REPLAY)));
            let told = (complete.last_seq.get(), complete.replayed.get(), complete.open_orders.get());
            assert_eq!(told, (count, count - seen, 1), "after {seen} reports");
            peer.reset();
        }
    }
}

#[test]
fn reports_that_are_on_their_way_when_the_connection_breaks_come_once_each_afterwards() {
    CLASSES.into_iter().for_each(check_broken_line);
}

fn check_broken_line(durability: &'static str) {
    const ROUNDS: u64 = 8;
    let host = Host::trading(&Setup { durability, ..Setup::default() });
    let mut seen: Vec<u64> = vec![];
    for round in 1..=ROUNDS + 1 {
        let mut peer = Peer::connect(&host);
        let next_expected_seq = seen.last().map_or(1, |last| last + 1);
        peer.log_on(&Identity { next_expected_seq, next_client_seq: round, ..Identity::of(1) });
        seen.extend(numbers(&peer.read_to::<ReplayComplete>().0));
        if round <= ROUNDS {
            // Two reports follow; the line breaks after the first.
            peer.send(round, &resting(round));
            seen.push(peer.next_told().header.seq);
            peer.reset();
        } else {
            while (seen.len() as u64) < 2 * ROUNDS {
                seen.push(peer.next_told().header.seq);
            }
            peer.expect_alive(1);
        }
    }
    assert_eq!(seen, (1..=2 * ROUNDS).collect::<Vec<_>>());
}

#[test]
fn new_orders_wait_for_the_end_of_the_replay_and_cancels_do_not() {
    CLASSES.into_iter().for_each(check_orders_during_a_replay);
}

fn check_orders_during_a_replay(durability: &'static str) {
    const REPORTS: u64 = 20_000;
    let host = Host::trading(&Setup { durability, session: "outbound_bytes_max = 131072", ..Setup::default() });
    let mut peer = Peer::connect(&host);
    peer.log_on(&Identity::of(1));
    peer.expect::<ReplayComplete>();
    peer.place_resting(1, &resting(1));
    for first in (2..REPORTS).step_by(200) {
        let segment: Vec<u8> = (first..first + 200).flat_map(|seq| frame_of(seq, 0, &rejected(seq))).collect();
        peer.send_bytes(&segment);
        (0..200).for_each(|_| drop(peer.next_told()));
    }
    let next = REPORTS + 2;
    drop(peer);
    // The replay is longer than what fits the socket, so it is under way while nothing is read.
    let mut peer = Peer::connect_unix(&host);
    peer.log_on(&Identity { next_client_seq: next, ..Identity::of(1) });
    peer.send(next, &resting(next));
    let cancel = CancelOrder { cl_ord_id: U64::new(next + 1), orig_cl_ord_id: U64::new(1), ..CancelOrder::default() };
    peer.send(next + 1, &cancel);
    let (said, _) = peer.read_to::<ReplayComplete>();
    let (refusals, reports): (Vec<Said>, Vec<Said>) = said.into_iter().partition(|said| said.header.seq == 0);
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    let refusal = refusals[0].read::<RequestReject>().unwrap();
    assert_eq!((reason(refusal.reason), refusal.cl_ord_id.get()), (Reason::ReplayInProgress, next));
    let mut numbers = numbers(&reports);
    // The cancel had its effect meanwhile: its reports come in their place, replayed or live.
    let last = numbers.last().copied().unwrap();
    numbers.extend((last + 1..=REPORTS + 4).map(|_| peer.next_told().header.seq));
    assert_eq!(numbers, (1..=REPORTS + 4).collect::<Vec<_>>());
    peer.send(next + 2, &resting(next));
    peer.expect_report(ExecType::PendingNew);
}

#[test]
fn a_resend_brings_what_was_asked_for_and_nothing_else_before_live_reports_go_on() {
    let host = Host::start();
    let mut peer = Peer::live(&host, 1);
    let reports = make_reports(&mut peer, 10);
    peer.send(0, &resend(7, 3, 4));
    let begin = peer.expect::<ResendBegin>();
    assert_eq!((begin.request_id.get(), begin.from_seq.get(), begin.count.get()), (7, 3, 4));
    let again: Vec<Said> = (0..4).map(|_| peer.next_told()).collect();
    assert_eq!(again.iter().map(content).collect::<Vec<_>>(), reports[2..6].iter().map(content).collect::<Vec<_>>());
    assert!(again.iter().all(|said| said.header.has(frame_flags::REPLAY)));
    // Nothing comes that was not asked for: the next report is a new one.
    peer.expect_alive(1);
    peer.send(11, &rejected(11));
    let live = peer.next_told();
    assert_eq!((live.header.seq, live.header.has(frame_flags::REPLAY)), (11, false));

    // More than there are: those that there are.
    peer.send(0, &resend(8, 10, 4096));
    assert_eq!(peer.expect::<ResendBegin>().count.get(), 2);
    assert_eq!(numbers(&[peer.next_told(), peer.next_told()]), [10, 11]);
    peer.expect_alive(2);
}

#[test]
fn reports_that_come_up_during_a_resend_follow_it_in_their_order() {
    CLASSES.into_iter().for_each(check_reports_during_a_resend);
}

fn check_reports_during_a_resend(durability: &'static str) {
    let host = Host::start_with(&Setup { durability, ..Setup::default() });
    let mut peer = Peer::live(&host, 1);
    make_reports(&mut peer, 10);
    let segment = [frame_of(0, 0, &resend(1, 2, 3)), frame_of(11, 0, &rejected(11)), frame_of(0, 0, &resend(2, 1, 1))];
    peer.send_bytes(&segment.concat());
    peer.expect::<ResendBegin>();
    let second = peer.expect::<ResendReject>();
    assert_eq!((reason(second.reason), second.request_id.get()), (Reason::ResendInProgress, 2), "one at a time");
    let said: Vec<Said> = (0..4).map(|_| peer.next_told()).collect();
    assert_eq!(numbers(&said), [2, 3, 4, 11]);
    peer.send(12, &rejected(12));
    assert_eq!(peer.next_told().header.seq, 12);
}

#[test]
fn a_resend_that_cannot_be_given_is_refused_with_its_reason_and_where_the_stream_stands() {
    let host = Host::start_with(&Setup { session: "replay_window = 8", ..Setup::default() });
    let mut peer = Peer::live(&host, 1);
    make_reports(&mut peer, 20);
    let cases = [
        (resend(1, 0, 1), Reason::FieldValue),
        (resend(2, 15, 0), Reason::FieldValue),
        (resend(3, 15, 4097), Reason::ResendLimit),
        (resend(4, 21, 1), Reason::SeqAhead),
        (resend(5, 12, 1), Reason::SeqUnavailable),
    ];
    for (request, expected) in cases {
        peer.send(0, &request);
        let reject = peer.expect::<ResendReject>();
        assert_eq!((reason(reject.reason), reject.request_id), (expected, request.request_id));
        assert_eq!((reject.oldest_report_seq.get(), reject.next_report_seq.get()), (13, 21), "{expected:?}");
    }
    peer.send(0, &resend(6, 13, 1));
    peer.expect::<ResendBegin>();
    assert_eq!(peer.next_told().header.seq, 13, "the oldest that is in the window");
}

#[test]
fn what_is_older_than_the_replay_window_is_refused_and_can_be_skipped() {
    let host = Host::start_with(&Setup { session: "replay_window = 8", ..Setup::default() });
    let mut peer = Peer::live(&host, 1);
    make_reports(&mut peer, 20);
    drop(peer);
    for too_old in [1, 12] {
        let identity = Identity { next_expected_seq: too_old, next_client_seq: 21, ..Identity::of(1) };
        let mut peer = Peer::connect(&host);
        peer.ask_to_log_on("k1", &identity.logon());
        let reject = peer.expect_reject();
        assert_eq!(reason(reject.reason), Reason::SeqUnavailable);
        assert_eq!((reject.oldest_report_seq.get(), reject.next_report_seq.get()), (13, 21));
    }
    let mut peer = Peer::connect(&host);
    let ack = peer.log_on(&Identity { next_expected_seq: 13, next_client_seq: 21, ..Identity::of(1) });
    assert_eq!(ack.oldest_report_seq.get(), 13);
    assert_eq!(numbers(&peer.read_to::<ReplayComplete>().0), (13..=20).collect::<Vec<_>>());

    let skip = Identity { next_expected_seq: 5, next_client_seq: 21, ..Identity::of(1) };
    let mut logon = skip.logon();
    logon.replay_mode = ReplayMode::Skip.raw();
    let mut peer = Peer::connect(&host);
    peer.log_on_with("k1", &logon);
    let gap = peer.expect::<GapFill>();
    assert_eq!((gap.from_seq.get(), gap.new_seq.get()), (5, 21));
    let complete = peer.expect::<ReplayComplete>();
    assert_eq!((complete.last_seq.get(), complete.replayed.get()), (20, 0));
    peer.send(21, &rejected(21));
    assert_eq!(peer.next_told().header.seq, 21);
}

#[test]
fn requests_that_were_lost_are_told_as_not_applied_and_never_come_back() {
    let host = Host::start();
    let mut peer = Peer::live(&host, 1);
    make_reports(&mut peer, 2);
    // Requests 3 and 4 were numbered by the client, and lost with its line.
    peer.reset();
    let mut peer = Peer::connect(&host);
    let identity = Identity { next_expected_seq: 3, next_client_seq: 5, ..Identity::of(1) };
    assert_eq!(peer.log_on(&identity).last_client_seq.get(), 2);
    let lost = peer.expect::<NotApplied>();
    assert_eq!((lost.from_seq.get(), lost.count.get()), (3, 2));
    peer.expect::<ReplayComplete>();
    // They are repeated too late: dropped silently, since they are below the expected number.
    peer.send_bytes(&frame_of(3, frame_flags::POSS_RESEND, &rejected(3)));
    peer.send(5, &rejected(5));
    let report = peer.expect::<RequestReject>();
    assert_eq!(report.cl_ord_id.get(), 5);
    // Without the flag a repetition is an error.
    peer.send(4, &rejected(4));
    assert_eq!(reason(peer.read_to_terminate().1.reason), Reason::SeqError);
}

#[test]
fn a_request_that_may_have_arrived_is_sent_again_under_its_number_and_acts_once() {
    let host = Host::trading(&Setup::default());
    let mut peer = Peer::live(&host, 1);
    peer.place_resting(1, &resting(1));
    peer.reset();
    let mut peer = Peer::live_as(&host, &Identity { next_expected_seq: 3, next_client_seq: 1, ..Identity::of(1) });
    peer.send_bytes(&frame_of(1, frame_flags::POSS_RESEND, &resting(1)));
    peer.send_bytes(&frame_of(2, frame_flags::POSS_RESEND, &resting(2)));
    let (header, report) = peer.expect_report(ExecType::PendingNew);
    assert_eq!((header.seq, report.cl_ord_id.get()), (3, 2), "the first had been processed, the second had not");
}

#[test]
fn numbers_out_of_order_end_the_session_with_their_reason() {
    let host = Host::start();
    let cases: [(&str, Vec<u8>); 4] = [
        ("a gap", frame_of(2, 0, &rejected(1))),
        ("a gap with the resend flag", frame_of(2, frame_flags::POSS_RESEND, &rejected(1))),
        ("a request without a number", frame_of(0, 0, &rejected(1))),
        ("a session message with a number", frame_of(1, 0, &resend(1, 1, 1))),
    ];
    for (name, bytes) in cases {
        let mut peer = Peer::live(&host, 1);
        peer.send_bytes(&bytes);
        let (before, terminate) = peer.read_to_terminate();
        assert!(before.is_empty(), "{name}: {before:?}");
        assert_eq!((reason(terminate.reason), terminate.last_peer_seq.get()), (Reason::SeqError, 0), "{name}");
    }
}

#[test]
fn a_replay_that_is_not_read_holds_no_other_up() {
    CLASSES.into_iter().for_each(check_unread_replay);
}

fn check_unread_replay(durability: &'static str) {
    const REPORTS: u64 = 6_000;
    let host = Host::start_with(&Setup { durability, session: "outbound_bytes_max = 131072", ..Setup::default() });
    for session_id in [1, 2, 3] {
        let mut peer = Peer::live(&host, session_id);
        for first in (1..=REPORTS).step_by(200) {
            let segment: Vec<u8> = (first..first + 200).flat_map(|seq| frame_of(seq, 0, &rejected(seq))).collect();
            peer.send_bytes(&segment);
            (0..200).for_each(|_| drop(peer.next_told()));
        }
    }
    // Two replays that are longer than what sockets and queues hold, and nobody reads.
    let again = |session_id| Identity { next_client_seq: REPORTS + 1, ..Identity::of(session_id) };
    let mut unread: Vec<Peer> = [1, 2]
        .into_iter()
        .map(|session_id| {
            let mut peer = Peer::connect_unix(&host);
            peer.log_on(&again(session_id));
            peer
        })
        .collect();
    let mut reading = Peer::connect_unix(&host);
    reading.log_on(&again(3));
    assert_eq!(numbers(&reading.read_to::<ReplayComplete>().0), (1..=REPORTS).collect::<Vec<_>>());
    reading.send(REPORTS + 1, &rejected(1_000_000));
    assert_eq!(reading.next_told().header.seq, REPORTS + 1, "and live reports go on");
    for peer in &mut unread {
        assert_eq!(numbers(&peer.read_to::<ReplayComplete>().0), (1..=REPORTS).collect::<Vec<_>>());
    }
}

#[test]
fn a_session_without_a_past_has_nothing_to_replay() {
    let host = Host::start();
    let mut peer = Peer::connect(&host);
    peer.ask_to_log_on("k1", &Identity::of(1).logon());
    let ack = peer.expect::<LogonAck>();
    assert_eq!((ack.next_report_seq.get(), ack.oldest_report_seq.get(), ack.last_client_seq.get()), (1, 1, 0));
    let complete = peer.expect::<ReplayComplete>();
    assert_eq!((complete.last_seq.get(), complete.replayed.get(), complete.open_orders.get()), (0, 0, 0));
}

#[test]
fn an_order_on_its_way_to_the_book_in_a_crash_is_in_doubt_until_the_venue_has_taken_or_refused_it() {
    // The venue has another lot: it refuses at the book, two seconds after it has taken the order.
    let mut host = Host::trading(&Setup {
        exchange: r#"request_latency_ns = 2000000000
instruments = [{ symbol = "BTCUSDT", tick_size = "0.01", lot_size = "0.00002" }]"#,
        ..Setup::default()
    });
    let identity = Identity::of(1);
    let mut peer = Peer::live_with(&host, &identity, |_| {});
    peer.send(1, &NewOrder { qty: I64::new(1_000_010_000), ..resting(1) });
    peer.expect_report(ExecType::PendingNew);
    wait_for("the venue to have the order", || host.venue_log().contains("1.00001").then_some(()));
    host.crash_and_restart();
    let mut peer = Peer::connect(&host);
    peer.log_on(&Identity { next_expected_seq: 2, next_client_seq: 2, ..identity });
    let (told, complete) = peer.read_to::<ReplayComplete>();
    let statuses: Vec<u8> = told.iter().map(|said| said.read::<ExecReport>().unwrap().ord_status).collect();
    assert_eq!(statuses, [OrdStatus::InDoubt.raw(), OrdStatus::Rejected.raw()]);
    assert_eq!(complete.open_orders.get(), 0);
    peer.send(2, &resting(2));
    peer.expect_report(ExecType::PendingNew);
}
