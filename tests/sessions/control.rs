//! Who may speak for a session, what ends it, what becomes of its orders, and what stops everybody.

use tradecore_protocol::Reason;
use tradecore_protocol::codes::{
    BatchStatus, CodAction, KillAction, KillScope, KillState, MassCancelScope, TakeoverPolicy, er_flags, kill_flags,
    mass_cancel_flags,
};
use tradecore_protocol::fields::{CodMode, ExecType, OrdStatus, Role, Side, exec_flags};
use tradecore_protocol::messages::{
    CancelOrder, ExecReport, FillsRequest, KillSwitch, KillSwitchReport, Logon, LogonReject, MassCancel,
    MassCancelReport, NewOrder, OpenOrdersRequest, OrderStatusRequest, QueryEnd, ReplayComplete, RequestReject,
    SessionReject, Terminate,
};
use tradecore_protocol::wire::{U16, U32, U64};

use super::host::{ADMIN, CLASSES, DROP_COPY, Host, MARKET_DATA, Setup, wait_for};
use super::peer::{Identity, Peer, Said, frame_of, reason, rejected, resting};

fn drop_copy(host: &Host) -> Peer {
    drop_copy_from(host, 1)
}

fn drop_copy_from(host: &Host, next_expected_seq: u64) -> Peer {
    Peer::live_as(host, &Identity { role: Role::DropCopy, next_expected_seq, ..Identity::of(DROP_COPY) })
}

fn admin(host: &Host) -> Peer {
    Peer::live_as(host, &Identity { role: Role::Admin, ..Identity::of(ADMIN) })
}

fn goodbye(reason: Reason) -> Terminate {
    Terminate { reason: U16::new(reason.raw()), ..Terminate::default() }
}

/// Reads a drop copy up to the end of this order, and says which orders ended on the way.
fn read_to_the_end_of(copy: &mut Peer, cl_ord_id: u64) -> Vec<(u32, u64, Reason)> {
    let mut ended = vec![];
    loop {
        let said = copy.next_told();
        let Some(report) = said.read::<ExecReport>() else { continue };
        if report.ord_status == OrdStatus::Canceled.raw() {
            ended.push((report.session_id.get(), report.cl_ord_id.get(), reason(report.reason)));
            if report.cl_ord_id.get() == cl_ord_id {
                return ended;
            }
        }
    }
}

// ---- who speaks for a session ----------------------------------------------------------------------------------

#[test]
fn a_take_over_ends_the_old_connection_keeps_its_orders_and_goes_on_with_its_stream() {
    let host = Host::trading(&Setup::default());
    let identity = Identity::of(1);
    let mut old = Peer::live_with(&host, &identity, |logon| logon.cod_mode = CodMode::Both.raw());
    old.place_resting(1, &resting(1));
    let mut new = Peer::connect(&host);
    new.log_on(&Identity { next_expected_seq: 3, next_client_seq: 2, ..identity });
    assert_eq!(new.expect::<ReplayComplete>().open_orders.get(), 1);
    let (before, terminate) = old.read_to_terminate();
    assert!(before.is_empty(), "{before:?}");
    assert_eq!(reason(terminate.reason), Reason::TakenOver);
    assert_eq!(terminate.cod_action, CodAction::Keep.raw());
    assert_eq!((terminate.last_seq.get(), terminate.last_peer_seq.get()), (2, 1));
    // The order lives, and belongs to the session.
    let cancel = CancelOrder { cl_ord_id: U64::new(2), orig_cl_ord_id: U64::new(1), ..CancelOrder::default() };
    new.send(2, &cancel);
    assert_eq!(new.expect_report(ExecType::PendingCancel).0.seq, 3);
    new.expect_report(ExecType::Canceled);
}

#[test]
fn a_second_logon_that_may_not_take_over_is_refused_while_the_first_lives_and_let_in_afterwards() {
    let host = Host::start();
    let mut first = Peer::live(&host, 1);
    let mut logon = Identity::of(1).logon();
    logon.takeover_policy = TakeoverPolicy::Refuse.raw();
    for _ in 0..3 {
        let mut second = Peer::connect(&host);
        second.ask_to_log_on("k1", &logon);
        assert_eq!(reason(second.expect_reject().reason), Reason::SessionInUse);
        first.expect_alive(1);
    }
    first.reset();
    wait_for("the first connection to be gone", || {
        let mut second = Peer::connect(&host);
        second.ask_to_log_on("k1", &logon);
        let said = second.next_told();
        let is_refused = said.read::<LogonReject>().map(|reject| reason(reject.reason));
        assert!(matches!(is_refused, None | Some(Reason::SessionInUse)), "{said:?}");
        is_refused.is_none().then_some(())
    });
}

// ---- what becomes of orders ------------------------------------------------------------------------------------

#[test]
fn what_a_logon_says_of_its_end_is_what_happens_to_the_orders() {
    let host = Host::trading(&Setup::default());
    let mut copy = drop_copy(&host);
    // Mode, window, how the session ends, what the goodbye says, and whether the order is canceled.
    let cases = [
        (CodMode::None, 0, Reason::Logout, CodAction::Keep, false),
        (CodMode::None, 0, Reason::ConnectionLost, CodAction::Keep, false),
        (CodMode::Disconnect, 0, Reason::Logout, CodAction::Keep, false),
        (CodMode::Disconnect, 0, Reason::ConnectionLost, CodAction::CancelNow, true),
        (CodMode::Disconnect, 100, Reason::ConnectionLost, CodAction::CancelAfterWindow, true),
        (CodMode::Logout, 0, Reason::ConnectionLost, CodAction::Keep, false),
        (CodMode::Logout, 60_000, Reason::Logout, CodAction::CancelNow, true),
        (CodMode::Both, 0, Reason::Logout, CodAction::CancelNow, true),
        (CodMode::Both, 0, Reason::ConnectionLost, CodAction::CancelNow, true),
    ];
    let mut numbers = Identity::of(1);
    // An order of another session, canceled at the end of each case: what came before it on the copy is all there was.
    let mut witness = Peer::live(&host, 2);
    for (nth, (mode, window_ms, ends, action, is_canceled)) in cases.into_iter().enumerate() {
        let id = nth as u64 + 1;
        let name = format!("{mode:?}, {window_ms} ms, {ends:?}");
        let mut peer = Peer::connect(&host);
        let mut logon = numbers.logon();
        (logon.cod_mode, logon.cod_window_ms) = (mode.raw(), U32::new(window_ms));
        peer.log_on_with("k1", &logon);
        let (replayed, _) = peer.read_to::<ReplayComplete>();
        numbers.next_expected_seq += replayed.len() as u64;
        peer.place_resting(id, &resting(id));
        numbers.next_expected_seq += 2;
        numbers.next_client_seq = id + 1;
        peer.send(0, &goodbye(ends));
        let (_, terminate) = peer.read_to_terminate();
        assert_eq!((reason(terminate.reason), terminate.cod_action), (ends, action.raw()), "{name}");
        if is_canceled {
            let ended = read_to_the_end_of(&mut copy, id);
            assert_eq!(ended.last().unwrap().1, id, "{name}");
        }
        let witness_id = 1_000 + id;
        witness.place_resting(2 * id - 1, &resting(witness_id));
        let cancel = CancelOrder {
            cl_ord_id: U64::new(2_000 + id),
            orig_cl_ord_id: U64::new(witness_id),
            ..CancelOrder::default()
        };
        witness.send(2 * id, &cancel);
        witness.expect_report(ExecType::PendingCancel);
        witness.expect_report(ExecType::Canceled);
        assert_eq!(read_to_the_end_of(&mut copy, witness_id).len(), 1, "{name}: nothing else was canceled");
        if !is_canceled {
            // It goes with a session that cancels, so that the next case begins without it.
            let mut logon = numbers.logon();
            logon.cod_mode = CodMode::Logout.raw();
            let mut peer = Peer::connect(&host);
            peer.log_on_with("k1", &logon);
            peer.expect::<ReplayComplete>();
            peer.send(0, &goodbye(Reason::Logout));
            read_to_the_end_of(&mut copy, id);
        }
    }
}

#[test]
fn a_logon_that_names_no_mode_has_the_configured_one() {
    let sections =
        "[[sessions]]\nid = 8\nkey_id = \"k8\"\nsecret_file = \"key\"\nrole = \"trade\"\ncod_mode = \"both\"\n";
    let host = Host::trading(&Setup { sections, ..Setup::default() });
    let mut logon = Identity::of(8).logon();
    logon.cod_mode = 0;
    let mut peer = Peer::connect(&host);
    assert_eq!(peer.log_on_with("k8", &logon).cod_mode, CodMode::Both.raw());
    peer.expect::<ReplayComplete>();
    peer.place_resting(1, &resting(1));
    let mut copy = drop_copy_from(&host, 3);
    peer.send(0, &goodbye(Reason::Logout));
    assert_eq!(peer.read_to_terminate().1.cod_action, CodAction::CancelNow.raw());
    assert_eq!(read_to_the_end_of(&mut copy, 1).len(), 1);

    let ack = Peer::connect(&host).log_on_with("k8", &Identity { next_client_seq: 2, ..Identity::of(8) }.logon());
    assert_eq!(ack.cod_mode, CodMode::None.raw(), "what the logon names is in force");
    logon.session_id = U32::new(1);
    assert_eq!(Peer::connect(&host).log_on_with("k1", &logon).cod_mode, CodMode::None.raw(), "the default");
}

#[test]
fn a_session_that_returns_within_its_window_keeps_its_orders_and_one_that_does_not_loses_them() {
    let host = Host::trading(&Setup::default());
    let mut copy = drop_copy(&host);
    let windowed = |logon: &mut Logon| {
        (logon.cod_mode, logon.cod_window_ms) = (CodMode::Disconnect.raw(), U32::new(3_000));
    };
    let mut returns = Peer::live_with(&host, &Identity::of(1), windowed);
    returns.place_resting(1, &resting(1));
    let mut stays_away = Peer::live_with(&host, &Identity::of(2), windowed);
    stays_away.place_resting(1, &resting(2));
    returns.send(0, &goodbye(Reason::ConnectionLost));
    returns.read_to_terminate();
    let back = Identity { next_expected_seq: 3, next_client_seq: 2, ..Identity::of(1) };
    let mut returns = Peer::live_with(&host, &back, windowed);
    // This one leaves later: when its window has passed, that of the other has as well.
    stays_away.reset();
    let ended = read_to_the_end_of(&mut copy, 2);
    assert_eq!(ended, [(2, 2, Reason::ClientDisconnect)], "only the order of the session that stayed away");
    returns.expect_alive(1);
    let cancel = CancelOrder { cl_ord_id: U64::new(9), orig_cl_ord_id: U64::new(1), ..CancelOrder::default() };
    returns.send(2, &cancel);
    returns.expect_report(ExecType::PendingCancel);
    returns.expect_report(ExecType::Canceled);
    // What happened while it was away is in the stream of the other.
    let mut late = Peer::connect(&host);
    late.log_on(&Identity { next_expected_seq: 3, next_client_seq: 2, ..Identity::of(2) });
    let (replayed, _) = late.read_to::<ReplayComplete>();
    let types: Vec<u8> = replayed.iter().map(|said| said.read::<ExecReport>().unwrap().exec_type).collect();
    assert_eq!(types, [ExecType::PendingCancel.raw(), ExecType::Canceled.raw()]);
}

#[test]
fn a_crash_of_the_gateway_is_a_lost_connection_to_the_sessions_that_it_cut_off() {
    let mut host = Host::trading(&Setup::default());
    let mut at_risk = Peer::live_with(&host, &Identity::of(1), |logon| logon.cod_mode = CodMode::Disconnect.raw());
    at_risk.place_resting(1, &resting(1));
    let mut patient = Peer::live(&host, 2);
    patient.place_resting(1, &resting(2));
    host.crash_and_restart();
    let mut back = Peer::connect(&host);
    back.log_on(&Identity { next_expected_seq: 3, next_client_seq: 2, ..Identity::of(1) });
    // In the replay or live: the cancel does not wait for the client, nor the client for the cancel.
    while back.next_told().read::<ExecReport>().is_none_or(|report| report.exec_type != ExecType::Canceled.raw()) {}
    let mut patient = Peer::connect(&host);
    patient.log_on(&Identity { next_expected_seq: 3, next_client_seq: 2, ..Identity::of(2) });
    assert_eq!(patient.read_to::<ReplayComplete>().1.open_orders.get(), 1, "it never asked for that");
}

#[test]
fn an_order_with_the_flag_is_canceled_when_the_connection_is_lost_whatever_the_mode() {
    let host = Host::trading(&Setup::default());
    let mut copy = drop_copy(&host);
    let mut peer = Peer::live(&host, 1);
    peer.place_resting(1, &resting(1));
    peer.place_resting(2, &NewOrder { exec_flags: exec_flags::CANCEL_ON_DISCONNECT, ..resting(2) });
    peer.reset();
    assert_eq!(read_to_the_end_of(&mut copy, 2), [(1, 2, Reason::ClientDisconnect)]);
    let mut peer = Peer::connect(&host);
    peer.log_on(&Identity { next_expected_seq: 5, next_client_seq: 3, ..Identity::of(1) });
    assert_eq!(peer.read_to::<ReplayComplete>().1.open_orders.get(), 1, "the other stays");
}

// ---- what a session may not do ---------------------------------------------------------------------------------

#[test]
fn a_peer_that_does_not_read_is_sent_away_alone_and_reads_its_reports_at_its_next_logon() {
    CLASSES.into_iter().for_each(check_slow_peer);
}

fn check_slow_peer(durability: &'static str) {
    let host = Host::start_with(&Setup {
        listen: "close_linger_ms = 60000",
        durability,
        session: "outbound_bytes_max = 131072",
        ..Setup::default()
    });
    let mut other = Peer::live(&host, 2);
    let mut slow = Peer::connect_unix(&host);
    slow.log_on(&Identity::of(1));
    let mut logon = Identity::of(1).logon();
    logon.takeover_policy = TakeoverPolicy::Refuse.raw();
    let mut seq = 0;
    let (mut next, sent) = wait_for("the session to be sent away", || {
        let segment: Vec<u8> = (seq + 1..=seq + 100).flat_map(|seq| frame_of(seq, 0, &rejected(seq))).collect();
        seq += 100;
        slow.send_bytes(&segment);
        // When another may speak for the session, this one has ended.
        let mut next = Peer::connect(&host);
        (logon.next_client_seq, logon.next_expected_seq) = (U64::new(1), U64::new(1));
        next.ask_to_log_on("k1", &logon);
        let said = next.next_told();
        let refused = said.read::<LogonReject>().map(|reject| reason(reject.reason));
        assert!(matches!(refused, None | Some(Reason::SessionInUse)), "{said:?}");
        refused.is_none().then_some((next, seq))
    });
    other.expect_alive(1);
    let (replayed, _) = next.read_to::<ReplayComplete>();
    let told: Vec<u64> = replayed.iter().map(|said| said.header.seq).collect();
    assert_eq!(told, (1..=told.len() as u64).collect::<Vec<_>>(), "every report comes once");
    assert!(told.len() as u64 <= sent);
    // What was queued for the slow reader is whole, and ends with the reason.
    let (said, terminate) = slow.read_to_terminate();
    assert_eq!(reason(terminate.reason), Reason::SlowConsumer);
    let seen: Vec<u64> = said.iter().map(|said| said.header.seq).filter(|seq| *seq != 0).collect();
    assert_eq!(seen, (1..=seen.len() as u64).collect::<Vec<_>>());
    assert_eq!(terminate.last_seq.get(), seen.len() as u64, "the last report that was sent");
    assert!(seen.len() < told.len(), "the report that did not fit came at the next logon");
    other.expect_alive(2);
}

#[test]
fn a_flood_is_refused_at_the_rate_that_was_told_and_ended_after_its_strikes_while_cancels_pass() {
    let host = Host::start_with(&Setup {
        session: "throttle_rate = 1\nthrottle_burst = 10\nthrottle_strikes = 20",
        ..Setup::default()
    });
    let mut other = Peer::live(&host, 2);
    let mut peer = Peer::connect(&host);
    let ack = peer.log_on(&Identity::of(1));
    assert_eq!((ack.throttle_rate.get(), ack.throttle_burst.get()), (1, 10));
    peer.expect::<ReplayComplete>();
    let mut segment: Vec<u8> = (1..=20).flat_map(|seq| frame_of(seq, 0, &rejected(seq))).collect();
    segment.extend((1..=15).flat_map(|id| {
        frame_of(0, 0, &OrderStatusRequest { request_id: U64::new(id), ..OrderStatusRequest::default() })
    }));
    segment.extend(frame_of(21, 0, &CancelOrder { cl_ord_id: U64::new(21), ..CancelOrder::default() }));
    segment.extend((22..=1_000).flat_map(|seq| frame_of(seq, 0, &rejected(seq))));
    peer.try_send_bytes(&segment);
    let (said, terminate) = peer.read_to_terminate();
    assert_eq!(reason(terminate.reason), Reason::RateLimit);
    let rejects: Vec<(u64, RequestReject)> =
        said.iter().filter_map(|said| Some((said.header.seq, said.read::<RequestReject>()?))).collect();
    let answers = said.iter().filter(|said| said.read::<QueryEnd>().is_some()).count();
    assert!((10..15).contains(&answers), "queries have a rate of their own: {answers}");
    let (refused, decided): (Vec<_>, Vec<_>) =
        rejects.iter().partition(|(_, reject)| reason(reject.reason) == Reason::RateLimit);
    assert!(
        refused.iter().all(|(seq, reject)| *seq == 0 && (1..=1_000_000_000).contains(&reject.retry_after_ns.get()))
    );
    // A token a second comes back, so on a slow machine a few more pass.
    assert!((11..100).contains(&decided.len()), "{}", decided.len());
    let canceled = decided.iter().find(|(_, reject)| reject.ref_seq.get() == 21).expect("the cancel was not refused");
    assert_eq!(reason(canceled.1.reason), Reason::UnknownOrder);
    let strikes = rejects.iter().rev().take_while(|(_, reject)| reason(reject.reason) == Reason::RateLimit).count();
    assert_eq!(strikes, 21, "the strikes in a row, and the one too many");
    other.expect_alive(1);
    let decided = decided.len() as u64;
    let mut again = Peer::connect(&host);
    let ack = again.log_on(&Identity { next_expected_seq: decided + 1, next_client_seq: 2_000, ..Identity::of(1) });
    assert_eq!(ack.next_report_seq.get(), decided + 1, "refusals are no reports");
}

#[test]
fn a_reconnect_refills_no_throttle_and_a_refused_order_leaves_its_id_unused() {
    let host = Host::start_with(&Setup {
        session: "throttle_rate = 1\nthrottle_burst = 100\nthrottle_strikes = 10000000",
        ..Setup::default()
    });
    let mut numbers = Identity::of(1);
    let mut decided = vec![];
    // The whole burst, then a little after each of some reconnects, one of which takes the session over.
    let mut last = None;
    for orders in [100, 10, 10, 10] {
        let mut peer = Peer::connect(&host);
        peer.log_on(&numbers);
        peer.read_to::<ReplayComplete>();
        let seqs = numbers.next_client_seq..numbers.next_client_seq + orders;
        peer.send_bytes(&seqs.clone().flat_map(|seq| frame_of(seq, 0, &rejected(seq))).collect::<Vec<u8>>());
        for seq in seqs {
            let said = peer.next_told();
            let reject = said.read::<RequestReject>().unwrap_or_else(|| panic!("{said:?}"));
            assert_eq!(reject.ref_seq.get(), seq);
            if reason(reject.reason) != Reason::RateLimit {
                decided.push(seq);
                numbers.next_expected_seq = said.header.seq + 1;
            }
        }
        numbers.next_client_seq += orders;
        last = Some(peer);
    }
    assert_eq!(decided[..100], (1..=100).collect::<Vec<u64>>(), "the burst");
    // A token a second comes back, so on a slow machine some of the thirty pass; a full bucket would let all.
    assert!(decided.len() < 130, "{}", decided.len());
    let (mut peer, mut seq) = (last.unwrap(), numbers.next_client_seq);
    let decided = wait_for("a token", || {
        peer.send(seq, &rejected(1_000));
        seq += 1;
        Some(reason(peer.expect::<RequestReject>().reason)).filter(|reason| *reason != Reason::RateLimit)
    });
    assert_eq!(decided, Reason::SideInvalid);
}

#[test]
fn a_session_that_goes_on_with_messages_that_are_refused_is_ended() {
    let host = Host::start_with(&Setup { session: "refusals_max = 20", ..Setup::default() });
    let mut other = Peer::live(&host, 2);
    let mut peer = Peer::live(&host, 1);
    let segment: Vec<u8> = (1..=1_000).flat_map(|seq| frame_of(seq, 0, &KillSwitch::default())).collect();
    peer.try_send_bytes(&segment);
    let (said, terminate) = peer.read_to_terminate();
    assert_eq!(reason(terminate.reason), Reason::RateLimit);
    assert!(said.iter().all(|said| said.read::<SessionReject>().is_some()));
    assert!((21..100).contains(&said.len()), "{}", said.len());
    other.expect_alive(1);
    Peer::live(&host, 1).expect_alive(1);
}

#[test]
fn an_order_that_comes_after_its_time_is_refused_as_stale() {
    let host = Host::trading(&Setup::default());
    let mut peer = Peer::live(&host, 1);
    peer.send(1, &NewOrder { valid_until_ns: U64::new(1), ..resting(1) });
    let said = peer.next_told();
    let reject = said.read::<RequestReject>().unwrap_or_else(|| panic!("{said:?}"));
    assert_eq!((said.header.seq, reason(reject.reason)), (1, Reason::StaleRequest), "a decision, hence numbered");
    peer.place_resting(2, &NewOrder { valid_until_ns: U64::new(i64::MAX as u64), ..resting(2) });
}

// ---- what stops everybody --------------------------------------------------------------------------------------

fn mass_cancel(cl_ord_id: u64, flags: u8) -> MassCancel {
    MassCancel { cl_ord_id: U64::new(cl_ord_id), scope: MassCancelScope::Session.raw(), flags, ..MassCancel::default() }
}

/// Frames of a mass cancel of `orders` orders, from its acceptance to its end.
fn read_mass_cancel(peer: &mut Peer, orders: u32) -> Vec<Said> {
    let accepted = peer.expect::<MassCancelReport>();
    assert_eq!(accepted.status, BatchStatus::Pending.raw());
    let (before, done) = peer.read_to::<MassCancelReport>();
    assert_eq!(done.status, BatchStatus::Done.raw());
    let counts = [done.matched, done.cancel_requested, done.already_pending].map(U32::get);
    assert_eq!(counts, [orders, orders, 0]);
    assert_eq!((accepted.scope, accepted.account_id), (done.scope, done.account_id), "it says twice whom it is about");
    before
}

/// As above, up to the end of the last of its own orders: the broker answers when it likes.
fn read_mass_cancel_of_own(peer: &mut Peer, orders: u32) {
    let is_canceled = |said: &Said| {
        said.read::<ExecReport>().is_some_and(|report| {
            let is_unsolicited = report.er_flags & er_flags::UNSOLICITED != 0;
            assert!(!is_unsolicited && report.req_cl_ord_id.get() != 0, "it was asked for: {report:?}");
            report.exec_type == ExecType::Canceled.raw()
        })
    };
    let mut canceled = read_mass_cancel(peer, orders).iter().filter(|said| is_canceled(said)).count();
    while canceled < orders as usize {
        canceled += usize::from(is_canceled(&peer.next_told()));
    }
}

#[test]
fn a_mass_cancel_with_lock_out_stops_its_session_only_until_it_is_released() {
    let host = Host::trading(&Setup::default());
    let mut peer = Peer::live(&host, 1);
    let mut other = Peer::live(&host, 2);
    other.place_resting(1, &resting(1));
    peer.place_resting(1, &resting(1));
    peer.place_resting(2, &resting(2));
    // Sells only: the two buys stay, and the session is locked out all the same.
    let sells = MassCancel { side: Side::Sell.raw(), ..mass_cancel(3, mass_cancel_flags::LOCK_OUT) };
    peer.send(3, &sells);
    read_mass_cancel(&mut peer, 0);
    peer.send(4, &resting(4));
    assert_eq!(reason(peer.expect::<RequestReject>().reason), Reason::LockedOut);
    other.place_resting(2, &resting(2));
    peer.send(5, &mass_cancel(5, mass_cancel_flags::RELEASE_LOCK_OUT));
    assert!(read_mass_cancel(&mut peer, 0).is_empty(), "a release cancels nothing");
    peer.place_resting(6, &resting(6));

    peer.send(7, &mass_cancel(7, mass_cancel_flags::LOCK_OUT | mass_cancel_flags::RELEASE_LOCK_OUT));
    assert_eq!(reason(peer.expect::<RequestReject>().reason), Reason::FieldValue, "both at once");
    peer.send(8, &mass_cancel(8, mass_cancel_flags::LOCK_OUT));
    read_mass_cancel_of_own(&mut peer, 3);
    drop(peer);
    // The lock-out is the session's, not the connection's.
    let mut peer = Peer::connect(&host);
    peer.log_on(&Identity { next_client_seq: 9, ..Identity::of(1) });
    peer.read_to::<ReplayComplete>();
    peer.send(9, &resting(9));
    assert_eq!(reason(peer.expect::<RequestReject>().reason), Reason::LockedOut);
    peer.send(10, &mass_cancel(10, mass_cancel_flags::RELEASE_LOCK_OUT));
    read_mass_cancel(&mut peer, 0);
    peer.place_resting(11, &resting(11));
    other.expect_alive(1);
}

fn kill(cl_ord_id: u64, action: KillAction, flags: u8) -> KillSwitch {
    KillSwitch {
        cl_ord_id: U64::new(cl_ord_id),
        scope: KillScope::Core.raw(),
        action: action.raw(),
        flags,
        ..KillSwitch::default()
    }
}

#[test]
fn a_kill_switch_of_an_admin_stops_every_session_until_it_is_released() {
    let host = Host::trading(&Setup::default());
    let mut admin = admin(&host);
    let mut traders = [Peer::live(&host, 1), Peer::live(&host, 2)];
    for peer in &mut traders {
        peer.place_resting(1, &resting(1));
    }

    // Without the flag open orders stay.
    admin.send(1, &kill(1, KillAction::Engage, 0));
    let report = admin.expect::<KillSwitchReport>();
    assert_eq!((report.kill_state, report.cl_ord_id.get()), (KillState::Engaged.raw(), 1));
    for peer in &mut traders {
        peer.send(2, &resting(2));
        assert_eq!(reason(peer.expect::<RequestReject>().reason), Reason::Killed);
    }
    let mut late = Peer::connect(&host);
    assert_eq!(late.log_on(&Identity::of(3)).kill_state, KillState::Engaged.raw(), "the logon tells of it");

    // With it they go, the switch being engaged already.
    admin.send(2, &kill(2, KillAction::Engage, kill_flags::CANCEL_OPEN));
    assert_eq!(admin.expect::<KillSwitchReport>().cl_ord_id.get(), 2);
    read_mass_cancel(&mut admin, 2);
    for peer in &mut traders {
        peer.expect_report(ExecType::PendingCancel);
        let (_, report) = peer.expect_report(ExecType::Canceled);
        assert_eq!(report.er_flags & er_flags::UNSOLICITED, er_flags::UNSOLICITED);
        assert_eq!(report.req_cl_ord_id.get(), 0, "no request of its own");
    }

    for (seq, wrong) in [
        (3, kill(3, KillAction::Release, kill_flags::CANCEL_OPEN)),
        (4, kill(4, KillAction::Engage, 4)),
        (5, kill(5, KillAction::Engage, kill_flags::REOPEN)),
        (6, KillSwitch { action: 9, ..kill(6, KillAction::Engage, 0) }),
    ] {
        admin.send(seq, &wrong);
        assert_eq!(reason(admin.expect::<RequestReject>().reason), Reason::FieldValue, "{wrong:?}");
    }
    admin.send(7, &KillSwitch { scope: 3, ..kill(7, KillAction::Engage, 0) });
    assert_eq!(reason(admin.expect::<RequestReject>().reason), Reason::ScopeInvalid);

    admin.send(8, &kill(8, KillAction::Release, kill_flags::REOPEN));
    assert_eq!(admin.expect::<KillSwitchReport>().kill_state, KillState::Released.raw());
    for peer in &mut traders {
        peer.place_resting(3, &resting(3));
    }
}

#[test]
fn an_admin_cancels_the_orders_of_every_session_and_cannot_lock_one_out_by_mistake() {
    let host = Host::trading(&Setup::default());
    let mut admin = admin(&host);
    let mut traders = [Peer::live(&host, 1), Peer::live(&host, 2)];
    for peer in &mut traders {
        peer.place_resting(1, &resting(1));
    }
    let core = |seq, flags| MassCancel { scope: MassCancelScope::Core.raw(), ..mass_cancel(seq, flags) };
    admin.send(1, &core(1, mass_cancel_flags::LOCK_OUT));
    assert_eq!(reason(admin.expect::<RequestReject>().reason), Reason::ScopeInvalid);
    admin.send(2, &mass_cancel(2, 0));
    assert_eq!(reason(admin.expect::<RequestReject>().reason), Reason::ScopeInvalid, "it has no orders of its own");
    admin.send(3, &core(3, 0));
    read_mass_cancel(&mut admin, 2);
    for peer in &mut traders {
        peer.expect_report(ExecType::PendingCancel);
        let (_, report) = peer.expect_report(ExecType::Canceled);
        assert_eq!(report.er_flags & er_flags::UNSOLICITED, er_flags::UNSOLICITED);
        peer.place_resting(2, &resting(2));
    }
}

#[test]
fn a_mass_cancel_of_an_account_covers_the_orders_of_others_in_it_and_no_other_account() {
    let sections = r#"
[[accounts]]
id = 2
currency = "USDT"
initial_cash = "1000000"
position_max = "100"
open_orders_max = 100
"#;
    let host = Host::trading(&Setup { sections, ..Setup::default() });
    let mut peer = Peer::live(&host, 1);
    let mut other = Peer::live(&host, 2);
    peer.place_resting(1, &resting(1));
    other.place_resting(1, &resting(1));
    other.place_resting(2, &NewOrder { account_id: U32::new(2), ..resting(2) });
    let of = |seq, scope: MassCancelScope, account_id| {
        let account_id = U32::new(account_id);
        MassCancel { scope: scope.raw(), account_id, ..mass_cancel(seq, 0) }
    };
    // The core is for an operator; an account has a number, and the core has none.
    for (seq, wrong) in [
        (2, of(2, MassCancelScope::Core, 0)),
        (3, of(3, MassCancelScope::Account, 0)),
        (4, of(4, MassCancelScope::Core, 1)),
        (5, MassCancel { scope: 9, ..mass_cancel(5, 0) }),
    ] {
        peer.send(seq, &wrong);
        let said = peer.next_told();
        let reject = said.read::<RequestReject>().unwrap_or_else(|| panic!("{said:?}"));
        assert_eq!(reason(reject.reason), Reason::ScopeInvalid, "{wrong:?}");
    }

    peer.send(6, &of(6, MassCancelScope::Account, 1));
    let accepted = peer.expect::<MassCancelReport>();
    assert_eq!((accepted.scope, accepted.account_id.get()), (MassCancelScope::Account.raw(), 1));
    let (_, report) = other.expect_report(ExecType::PendingCancel);
    assert_eq!((report.er_flags, report.req_cl_ord_id.get()), (er_flags::UNSOLICITED, 0), "another's request");
    assert_eq!(other.expect_report(ExecType::Canceled).1.cl_ord_id.get(), 1);
    other.send(0, &OpenOrdersRequest::default());
    let (open, _) = other.read_to::<QueryEnd>();
    let open: Vec<u64> = open.iter().map(|said| said.read::<ExecReport>().unwrap().cl_ord_id.get()).collect();
    assert_eq!(open, [2], "the other account's order stays");
}

#[test]
fn a_mass_cancel_of_a_strategy_leaves_the_orders_of_others() {
    let host = Host::trading(&Setup::default());
    let mut peer = Peer::live(&host, 1);
    peer.place_resting(1, &NewOrder { strategy_id: U32::new(7), ..resting(1) });
    peer.place_resting(2, &NewOrder { strategy_id: U32::new(8), ..resting(2) });
    peer.send(3, &MassCancel { strategy_id: U32::new(7), ..mass_cancel(3, 0) });
    read_mass_cancel_of_own(&mut peer, 1);
    peer.send(0, &OpenOrdersRequest::default());
    let (open, _) = peer.read_to::<QueryEnd>();
    let open: Vec<u64> = open.iter().map(|said| said.read::<ExecReport>().unwrap().strategy_id.get().into()).collect();
    assert_eq!(open, [8]);
}

#[test]
fn an_operator_of_some_accounts_sees_and_stops_no_others() {
    let sections = r#"
[[accounts]]
id = 2
currency = "USDT"
initial_cash = "1000000"
position_max = "100"
open_orders_max = 100
[[sessions]]
id = 8
key_id = "k8"
secret_file = "key"
role = "admin"
accounts = [1]
"#;
    let host = Host::trading(&Setup { sections, ..Setup::default() });
    let mut trader = Peer::live(&host, 1);
    let own = trader.place_resting(1, &resting(1));
    let hidden = trader.place_resting(2, &NewOrder { account_id: U32::new(2), ..resting(2) });
    let mut admin = Peer::live_as(&host, &Identity { role: Role::Admin, ..Identity::of(8) });

    let status = |order: &ExecReport| OrderStatusRequest { order_id: order.order_id, ..OrderStatusRequest::default() };
    admin.send(0, &status(&own));
    assert_eq!(admin.read_to::<QueryEnd>().0.len(), 1);
    admin.send(0, &status(&hidden));
    let (seen, end) = admin.read_to::<QueryEnd>();
    assert_eq!((seen.len(), reason(end.reason)), (0, Reason::UnknownOrder));
    admin.send(0, &OpenOrdersRequest::default());
    let (seen, _) = admin.read_to::<QueryEnd>();
    let seen: Vec<U64> = seen.iter().map(|said| said.read::<ExecReport>().unwrap().order_id).collect();
    assert_eq!(seen, [own.order_id]);
    for (account_id, is_allowed) in [(0, false), (1, true), (2, false)] {
        admin.send(0, &FillsRequest { account_id: U32::new(account_id), ..FillsRequest::default() });
        let said = admin.next_told();
        let refused = said.read::<RequestReject>().map(|reject| reason(reject.reason));
        assert_eq!(refused, (!is_allowed).then_some(Reason::AccountForbidden), "fills of {account_id}: {said:?}");
    }

    let all = kill(1, KillAction::Engage, kill_flags::CANCEL_OPEN);
    let of = |account_id| KillSwitch { scope: KillScope::Account.raw(), account_id: U32::new(account_id), ..all };
    let cancel_of = |scope: MassCancelScope, account_id| MassCancel {
        scope: scope.raw(),
        account_id: U32::new(account_id),
        ..mass_cancel(1, 0)
    };
    let acts = [
        frame_of(1, 0, &all),
        frame_of(2, 0, &of(2)),
        frame_of(3, 0, &cancel_of(MassCancelScope::Core, 0)),
        frame_of(4, 0, &cancel_of(MassCancelScope::Account, 2)),
    ];
    for act in acts {
        admin.send_bytes(&act);
        assert_eq!(reason(admin.expect::<RequestReject>().reason), Reason::AccountForbidden, "{act:?}");
    }
    admin.send(5, &of(1));
    assert_eq!(admin.expect::<KillSwitchReport>().account_id.get(), 1);
    read_mass_cancel(&mut admin, 1);
    trader.expect_report(ExecType::PendingCancel);
    assert_eq!(trader.expect_report(ExecType::Canceled).1.order_id, own.order_id);
    trader.place_resting(3, &NewOrder { account_id: U32::new(2), ..resting(3) });
}

// ---- who sees everything ---------------------------------------------------------------------------------------

/// A report without what differs between the session's and its copy.
fn copied(said: &Said) -> (u16, Vec<u8>) {
    let mut block = said.bytes[32..].to_vec();
    let flags_at = match said.header.template_id {
        ExecReport::TEMPLATE_ID => 126,
        RequestReject::TEMPLATE_ID => 65,
        MassCancelReport::TEMPLATE_ID => 45,
        KillSwitchReport::TEMPLATE_ID => 24,
        other => panic!("template {other} is no report"),
    };
    block[flags_at] &= !er_flags::DROP_COPY;
    (said.header.template_id, block)
}

#[test]
fn a_drop_copy_sees_every_report_of_every_session_in_one_stream_of_its_own_that_resumes() {
    let host = Host::trading(&Setup::default());
    let mut copy = drop_copy(&host);
    let mut admin = admin(&host);
    let mut peers = [Peer::live(&host, 1), Peer::live(&host, 2)];
    let mut told: Vec<Said> = vec![];
    for (nth, peer) in peers.iter_mut().enumerate() {
        peer.send(1, &resting(1));
        told.extend([peer.next_told(), peer.next_told()]);
        peer.send(2, &rejected(2));
        told.push(peer.next_told());
        if nth == 1 {
            peer.send(3, &mass_cancel(3, 0));
            told.extend((0..4).map(|_| peer.next_told()));
        }
    }
    admin.send(1, &kill(1, KillAction::Engage, 0));
    told.push(admin.next_told());

    let copies: Vec<Said> = told.iter().map(|_| copy.next_told()).collect();
    let numbers: Vec<u64> = copies.iter().map(|said| said.header.seq).collect();
    assert_eq!(numbers, (1..=told.len() as u64).collect::<Vec<_>>(), "gapless");
    let expected: Vec<_> = told.iter().map(copied).collect();
    assert_eq!(copies.iter().map(copied).collect::<Vec<_>>(), expected);
    drop(copy);
    // What it missed comes at its next logon, like for any session.
    let mut copy = Peer::connect(&host);
    copy.log_on(&Identity { role: Role::DropCopy, next_expected_seq: 4, ..Identity::of(DROP_COPY) });
    let (replayed, _) = copy.read_to::<ReplayComplete>();
    assert_eq!(replayed.iter().map(copied).collect::<Vec<_>>(), expected[3..]);
    let [first, _] = &mut peers;
    first.send(3, &rejected(3));
    let live = copy.next_told();
    assert_eq!(live.header.seq, told.len() as u64 + 1);
    assert_eq!(live.read::<RequestReject>().unwrap().er_flags, er_flags::DROP_COPY);
}

#[test]
fn a_drop_copy_that_does_not_read_is_sent_away_and_the_others_miss_nothing() {
    const SEGMENTS: u64 = 40;
    const REPORTS: u64 = 100;
    CLASSES.into_iter().for_each(|durability| {
        let host = Host::start_with(&Setup {
            durability,
            listen: "close_linger_ms = 60000",
            session: "outbound_bytes_max = 131072",
            drop_copies_more: 2,
            ..Setup::default()
        });
        let copy = |session_id| Identity { role: Role::DropCopy, ..Identity::of(session_id) };
        let mut slow = Peer::connect_unix(&host);
        slow.log_on(&copy(DROP_COPY));
        // Those behind it in the order of their logons.
        let mut copies = [1, 2].map(|nth| Peer::live_as(&host, &copy(MARKET_DATA + nth)));
        let mut peer = Peer::live(&host, 1);
        for first in (1..=SEGMENTS * REPORTS).step_by(REPORTS as usize) {
            let seqs = first..first + REPORTS;
            let segment: Vec<u8> = seqs.clone().flat_map(|seq| frame_of(seq, 0, &rejected(seq))).collect();
            peer.send_bytes(&segment);
            for reader in std::iter::once(&mut peer).chain(&mut copies) {
                let numbers: Vec<u64> = seqs.clone().map(|_| reader.next_told().header.seq).collect();
                assert_eq!(numbers, seqs.clone().collect::<Vec<_>>(), "{durability}");
            }
        }
        let (said, terminate) = slow.read_to_terminate();
        assert_eq!(reason(terminate.reason), Reason::SlowConsumer);
        let seen: Vec<u64> = said.iter().map(|said| said.header.seq).filter(|seq| *seq != 0).collect();
        assert_eq!(seen, (1..=seen.len() as u64).collect::<Vec<_>>());
    });
}
