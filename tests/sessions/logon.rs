//! Who is let in: each reason of a refused logon, its action, and what silence leads to.

use tradecore_protocol::Reason;
use tradecore_protocol::fields::{ClOrdId, CodMode, Environment, Role};
use tradecore_protocol::messages::{
    ClientHello, Heartbeat, Logon, LogonReject, ReplayComplete, RequestReject, TestRequest,
};
use tradecore_protocol::transcript::MacKey;
use tradecore_protocol::wire::{U16, U32, U64};

use super::host::{DROP_COPY, Host, Setup};
use super::peer::{Identity, Peer, frame_of, hello, key, reason, rejected};

/// Logs on with what was changed, and reads the refusal.
fn refusal(host: &Host, key_id: &str, change: impl FnOnce(&mut Logon)) -> (Peer, Logon, LogonReject) {
    let mut logon = Identity::of(1).logon();
    change(&mut logon);
    let mut peer = Peer::connect(host);
    let logon = peer.ask_to_log_on(key_id, &logon);
    let reject = peer.expect_reject();
    (peer, logon, reject)
}

#[test]
fn every_wrong_logon_gets_its_reason_and_only_a_proven_identity_is_told_more() {
    let host = Host::start();
    let mut first = Peer::live(&host, 1);
    first.send(1, &rejected(1));
    first.expect::<RequestReject>();
    first.send(2, &rejected(2));
    first.expect::<RequestReject>();

    type Change = fn(&mut Logon);
    let unproven: [(&str, &str, Change, Reason); 8] = [
        ("an unknown key", "nobody", |_| {}, Reason::AuthFailed),
        ("the key of another session", "k2", |_| {}, Reason::AuthFailed),
        ("an unknown session", "k1", |logon| logon.session_id = U32::new(999), Reason::AuthFailed),
        ("a role that is none", "k1", |logon| logon.role = 9, Reason::FieldValue),
        ("a heartbeat that is too short", "k1", |logon| logon.heartbeat_ms = U32::new(1), Reason::FieldValue),
        ("a window that is too long", "k1", |logon| logon.cod_window_ms = U32::new(60_001), Reason::FieldValue),
        ("reports from 0", "k1", |logon| logon.next_expected_seq = U64::new(0), Reason::FieldValue),
        ("a mode that is none", "k1", |logon| logon.cod_mode = 5, Reason::FieldValue),
    ];
    for (name, key_id, change, expected) in unproven {
        let (_, _, reject) = refusal(&host, key_id, change);
        assert_eq!(reason(reject.reason), expected, "{name}");
        let told = (reject.mac, reject.session_epoch.get(), reject.next_report_seq.get(), reject.last_client_seq.get());
        assert_eq!(told, ([0; 32], 0, 0, 0), "{name}: a stranger is told nothing else");
    }

    let proven: [(&str, Change, Reason, &str); 8] = [
        ("a role of others", |logon| logon.role = Role::Admin.raw(), Reason::RoleForbidden, "role"),
        ("real money", |logon| logon.environment = Environment::Live.raw(), Reason::EnvironmentMismatch, "environment"),
        ("a core that is served elsewhere", |logon| logon.core = U16::new(2), Reason::Redirect, "core2.example:7400"),
        ("a core that nobody knows", |logon| logon.core = U16::new(3), Reason::Redirect, ""),
        ("a second connection", |logon| logon.takeover_policy = 1, Reason::SessionInUse, "takeover"),
        ("a stale epoch", |logon| logon.session_epoch = U64::new(7), Reason::EpochMismatch, "query"),
        ("reports of the future", |logon| logon.next_expected_seq = U64::new(4), Reason::SeqAhead, "next_expected_seq"),
        (
            "requests of a far future",
            |logon| logon.next_client_seq = U64::new(1_000_004),
            Reason::SeqAhead,
            "next_client_seq",
        ),
    ];
    for (name, change, expected, text) in proven {
        let (peer, logon, reject) = refusal(&host, "k1", change);
        assert_eq!(reason(reject.reason), expected, "{name}");
        assert!(reject.text.as_str().contains(text), "{name}: {:?}", reject.text.as_str());
        assert!(text.is_empty() == reject.text.as_str().is_empty(), "{name}: {:?}", reject.text.as_str());
        assert!(peer.greeting().verify_reject(&key(), &logon, &reject), "{name}: the reject can be believed");
        let told = (reject.session_epoch.get(), reject.next_report_seq.get(), reject.last_client_seq.get());
        assert_eq!(told, (1, 3, 2), "{name}: where the session stands");
    }
    first.expect_alive(1);
}

#[test]
fn a_wrong_mac_and_a_recorded_logon_are_refused_alike() {
    let host = Host::start();
    let mut peer = Peer::connect(&host);
    peer.say_hello(&hello("k1"));
    let mut logon = Identity::of(1).logon();
    peer.greeting().sign_logon(&MacKey::new(b"another key, as long").unwrap(), &mut logon);
    peer.send(0, &logon);
    assert_eq!(reason(peer.expect_reject().reason), Reason::AuthFailed);

    // One bit of a field that the MAC covers.
    let mut peer = Peer::connect(&host);
    peer.say_hello(&hello("k1"));
    let mut logon = peer.signed(&Identity::of(1).logon());
    logon.cod_mode = CodMode::Both.raw();
    peer.send(0, &logon);
    assert_eq!(reason(peer.expect_reject().reason), Reason::AuthFailed);

    // The very bytes of a logon that was good, on a new connection.
    let recorded = Peer::live(&host, 1).sent;
    let mut replayed = Peer::connect(&host);
    replayed.send_bytes(&recorded);
    replayed.take_challenge();
    assert_eq!(reason(replayed.expect_reject().reason), Reason::AuthFailed);
}

#[test]
fn a_hello_that_cannot_be_met_gets_its_reason() {
    let host = Host::start();
    let good = hello("k1");
    let cases: [(&str, ClientHello, Reason); 5] = [
        ("newer versions only", ClientHello { major_min: 2, major_max: 3, ..good }, Reason::Version),
        ("older versions only", ClientHello { major_min: 0, major_max: 0, ..good }, Reason::Version),
        ("no version at all", ClientHello { major_min: 2, major_max: 1, ..good }, Reason::Version),
        ("another magic", ClientHello { magic: U64::new(1), ..good }, Reason::FieldValue),
        ("no nonce", ClientHello { client_nonce: [0; 32], ..good }, Reason::FieldValue),
    ];
    for (name, hello, expected) in cases {
        let mut peer = Peer::connect(&host);
        peer.send(0, &hello);
        assert_eq!(reason(peer.expect_reject().reason), expected, "{name}");
    }
    let mut peer = Peer::connect(&host);
    let challenge = peer.say_hello(&ClientHello { major_min: 0, major_max: 9, minor_max: 9, ..good });
    assert_eq!((challenge.major, challenge.minor), (1, 0), "a range that holds version 1 is met with it");
}

#[test]
fn what_comes_before_the_logon_but_hello_and_logon_ends_the_connection() {
    let host = Host::start();
    let cases: [(&str, Vec<u8>, Reason); 6] = [
        ("an order that is numbered", frame_of(1, 0, &rejected(1)), Reason::NotLoggedOn),
        ("an order", frame_of(0, 0, &rejected(1)), Reason::NotLoggedOn),
        ("a heartbeat", frame_of(0, 0, &Heartbeat::default()), Reason::NotLoggedOn),
        ("a test request", frame_of(0, 0, &TestRequest::default()), Reason::NotLoggedOn),
        ("a message of the gateway", frame_of(0, 0, &ReplayComplete::default()), Reason::NotLoggedOn),
        ("a logon without a hello", frame_of(0, 0, &Identity::of(1).logon()), Reason::NotLoggedOn),
    ];
    for (name, bytes, expected) in &cases {
        let mut peer = Peer::connect(&host);
        peer.send_bytes(bytes);
        assert_eq!(reason(peer.expect_reject().reason), *expected, "{name}");
    }
    for (name, bytes, expected) in &cases[..5] {
        let mut peer = Peer::connect(&host);
        peer.say_hello(&hello("k1"));
        peer.send_bytes(bytes);
        assert_eq!(reason(peer.expect_reject().reason), *expected, "{name}, after the hello");
    }
    let mut peer = Peer::connect(&host);
    peer.say_hello(&hello("k1"));
    peer.send(0, &hello("k1"));
    assert_eq!(reason(peer.expect_reject().reason), Reason::NotLoggedOn, "a second hello");
    assert_eq!(Peer::connect(&host).log_on(&Identity::of(1)).last_client_seq.get(), 0, "nothing of it acted");
}

#[test]
fn a_logon_that_does_not_come_in_time_is_not_waited_for() {
    let host = Host::start_with(&Setup { listen: "logon_timeout_ms = 2000", ..Setup::default() });
    let mut live = Peer::live(&host, 1);
    let mut silent = Peer::connect(&host);
    let mut slow = Peer::connect(&host);
    slow.say_hello(&hello("k2"));
    assert_eq!(reason(silent.expect_reject().reason), Reason::LogonTimeout, "nothing was said");
    assert_eq!(reason(slow.expect_reject().reason), Reason::LogonTimeout, "the hello alone is no logon");
    live.expect_alive(1);
}

#[test]
fn a_peer_that_falls_silent_is_tested_and_then_ended_while_one_that_answers_goes_on() {
    let host = Host::start();
    let short = |logon: &mut Logon| logon.heartbeat_ms = U32::new(1_000);
    let mut answering = Peer::live_with(&host, &Identity::of(2), short);
    let mut silent = Peer::live_with(&host, &Identity::of(1), short);
    // Two test requests that are answered: three lives of a silent peer.
    for test_id in 1..=2 {
        let (_, test) = answering.read_to::<TestRequest>();
        assert_eq!(test.test_id.get(), test_id);
        answering.send(0, &Heartbeat { test_id: test.test_id, next_seq: U64::new(1) });
    }
    let (said, terminate) = silent.read_to_terminate();
    assert_eq!(reason(terminate.reason), Reason::HeartbeatTimeout);
    let tests: Vec<u64> = said.iter().filter_map(|said| Some(said.read::<TestRequest>()?.test_id.get())).collect();
    assert_eq!(tests, [1], "it is asked once whether it lives");
    assert!(said.iter().any(|said| said.read::<Heartbeat>().is_some()), "the gateway shows life meanwhile");
    answering.expect_alive(9);
}

#[test]
fn a_heartbeat_that_tells_of_missing_frames_ends_the_session() {
    let host = Host::start();
    let mut peer = Peer::live(&host, 1);
    peer.send(0, &Heartbeat { test_id: U64::new(0), next_seq: U64::new(1) });
    peer.expect_alive(1);
    peer.send(0, &Heartbeat { test_id: U64::new(0), next_seq: U64::new(2) });
    let (_, terminate) = peer.read_to_terminate();
    assert_eq!(reason(terminate.reason), Reason::SeqError);
}

#[test]
fn repeated_bad_logons_lock_their_key_out_and_no_other_and_not_its_owner() {
    let host =
        Host::start_with(&Setup { listen: "logon_failures_max = 3\nlogon_lockout_ms = 86400000", ..Setup::default() });
    let fail = |key_id: &str| reason(refusal(&host, key_id, |logon| logon.session_id = U32::new(999)).2.reason);
    for key_id in ["k1", "nobody"] {
        for _ in 0..3 {
            assert_eq!(fail(key_id), Reason::AuthFailed);
        }
        assert_eq!(fail(key_id), Reason::LoginRate, "{key_id}: known or not makes no difference");
    }
    let mut wrong = Peer::connect(&host);
    wrong.say_hello(&hello("k1"));
    let mut logon = Identity::of(1).logon();
    wrong.greeting().sign_logon(&MacKey::new(b"another key, as long").unwrap(), &mut logon);
    wrong.send(0, &logon);
    let reject = wrong.expect_reject();
    assert_eq!(reason(reject.reason), Reason::LoginRate, "a wrong key, for a session that there is");
    assert!((86_000_000..=86_400_000).contains(&reject.retry_after_ms.get()), "{}", reject.retry_after_ms.get());
    assert_eq!(reject.mac, [0; 32]);

    // Whoever has tried in its name: the owner of the key is let in, and its count begins again.
    Peer::live(&host, 1).expect_alive(1);
    assert_eq!(fail("k1"), Reason::AuthFailed);

    // Two failures, a success, and the count begins again.
    for _ in 0..2 {
        assert_eq!(fail("k2"), Reason::AuthFailed);
        assert_eq!(fail("k2"), Reason::AuthFailed);
        Peer::live(&host, 2);
    }
    // Another way in is another address.
    let mut peer = Peer::connect_unix(&host);
    peer.log_on(&Identity::of(1));
}

#[test]
fn a_lock_out_ends_by_itself() {
    let host =
        Host::start_with(&Setup { listen: "logon_failures_max = 1\nlogon_lockout_ms = 200", ..Setup::default() });
    let (_, _, reject) = refusal(&host, "k1", |logon| logon.session_id = U32::new(999));
    assert_eq!(reason(reject.reason), Reason::AuthFailed);
    super::host::wait_for("the lock-out to end", || {
        let (_, _, reject) = refusal(&host, "k1", |logon| logon.session_id = U32::new(999));
        if reason(reject.reason) == Reason::AuthFailed {
            return Some(());
        }
        assert_eq!(reason(reject.reason), Reason::LoginRate);
        assert!((1..=200).contains(&reject.retry_after_ms.get()), "{}", reject.retry_after_ms.get());
        None
    });
}

#[test]
fn a_role_may_send_its_own_messages_only() {
    use tradecore_protocol::messages::{KillSwitch, SessionReject};
    let host = Host::start();
    let copies = Identity { role: Role::DropCopy, ..Identity::of(DROP_COPY) };
    let mut copy = Peer::live_as(&host, &copies);
    copy.send(1, &rejected(1));
    let refused = copy.expect::<SessionReject>();
    assert_eq!((reason(refused.reason), refused.ref_seq.get()), (Reason::RoleForbidden, 1));
    copy.expect_alive(1);
    let mut trader = Peer::live(&host, 1);
    trader.send(1, &KillSwitch::default());
    assert_eq!(reason(trader.expect::<SessionReject>().reason), Reason::RoleForbidden);
    trader.send(2, &rejected(1));
    assert_eq!(trader.expect::<RequestReject>().ref_seq.get(), 2, "the number of what was refused is used up");
}

#[test]
fn a_logon_tells_the_greatest_id_that_an_order_of_the_session_has_had_also_after_a_crash() {
    let mut host = Host::trading(&Setup::default());
    let mut peer = Peer::live(&host, 1);
    for (seq, id) in [(1, ClOrdId::new(1, 90)), (2, ClOrdId::new(2, 69)), (3, ClOrdId::new(2, 68))] {
        peer.send(seq, &rejected(id.0));
        peer.expect::<RequestReject>();
    }
    drop(peer);
    let told = |host: &Host, session_id| {
        let mut peer = Peer::connect(host);
        peer.log_on(&Identity::of(session_id));
        peer.read_to::<ReplayComplete>().1.last_id_counter.get()
    };
    assert_eq!((told(&host, 1), told(&host, 2)), (69, 0), "of its client epoch");
    host.crash_and_restart();
    assert_eq!((told(&host, 1), told(&host, 2)), (69, 0));
}
