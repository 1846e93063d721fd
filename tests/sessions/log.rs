//! What the log of a gateway tells its operator: who came, who was kept out, who went and why, and what is at risk.

use tradecore_protocol::Reason;
use tradecore_protocol::codes::{KillAction, KillScope};
use tradecore_protocol::fields::{CodMode, Role, exec_flags};
use tradecore_protocol::layout::Text;
use tradecore_protocol::messages::{KillSwitch, KillSwitchReport, Logon, NewOrder, ReplayComplete, RequestReject};
use tradecore_protocol::wire::{U32, U64};

use super::host::{ADMIN, Host, Setup};
use super::peer::{Identity, Peer, frame_of, reason, resting};

#[test]
fn the_log_tells_who_came_who_took_over_and_why_a_session_ended() {
    let mut host = Host::start();
    let first = Peer::live(&host, 1);
    host.wait_for_log(&["logged on", "session=1", "key_id=\"k1\"", "address=127.0.0.1", "role=Trade"]);
    let mut second = Peer::connect_unix(&host);
    second.log_on(&Identity::of(1));
    host.wait_for_log(&["WARN", "the session ended", "session=1", "address=127.0.0.1", "reason=TakenOver"]);
    host.wait_for_log(&["logged on", "session=1", "address=unix"]);
    drop((first, second));
    host.wait_for_log(&["the session ended", "session=1", "address=unix", "reason=ConnectionLost"]);
    let _last = Peer::live(&host, 2);
    assert!(host.stop().success());
    // The process has ended: what the last turns told is in the log as well.
    let log = std::fs::read_to_string(host.dir.path().join("stderr")).unwrap();
    let ended = log.lines().find(|line| line.contains("reason=Shutdown")).unwrap_or_else(|| panic!("{log}"));
    assert!(ended.contains("the session ended session=2 key_id=\"k2\""), "{ended}");
}

#[test]
fn the_log_tells_of_refused_logons_and_once_of_a_lock_out() {
    let host =
        Host::start_with(&Setup { listen: "logon_failures_max = 2\nlogon_lockout_ms = 86400000", ..Setup::default() });
    let refused = |key_id: &str, session_id: u32| {
        let mut peer = Peer::connect(&host);
        peer.ask_to_log_on(key_id, &Identity::of(session_id).logon());
        reason(peer.expect_reject().reason)
    };
    assert_eq!(refused("nobody", 999), Reason::AuthFailed);
    host.wait_for_log(&["WARN", "a logon was refused", "session=999", "key_id=\"nobody\"", "127.0.0.1", "AuthFailed"]);
    assert_eq!(refused("nobody", 999), Reason::AuthFailed);
    host.wait_for_log(&["too many failed logons", "session=999", "key_id=\"nobody\"", "address=127.0.0.1"]);
    assert_eq!(refused("nobody", 999), Reason::LoginRate);
    Peer::connect(&host).send(1, &resting(1));
    host.wait_for_log(&["a logon was refused", "session=0", "NotLoggedOn"]);
    let log = std::fs::read_to_string(host.dir.path().join("stderr")).unwrap();
    let told = log.lines().filter(|line| line.contains("nobody")).count();
    assert_eq!(told, 3, "the refusals of a lock-out are not told of, each: {log}");
}

#[test]
fn the_log_does_not_tell_of_a_client_that_asks_for_its_epoch_as_if_it_had_failed() {
    let host = Host::start();
    let mut new = Peer::connect(&host);
    let identity = Identity::of(1);
    new.ask_to_log_on(&identity.key_id(), &Logon { session_epoch: U64::new(0), ..identity.logon() });
    assert_eq!(reason(new.expect_reject().reason), Reason::EpochMismatch);
    // Notices are told in their order.
    let _live = Peer::live(&host, 2);
    host.wait_for_log(&["logged on", "session=2"]);
    let log = std::fs::read_to_string(host.dir.path().join("stderr")).unwrap();
    assert!(!log.contains("session=1") && !log.contains("EpochMismatch"), "{log}");
}

#[test]
fn the_log_tells_of_kill_switches_and_of_cancel_on_disconnect() {
    let host = Host::trading(&Setup::default());
    let mut admin = Peer::live_as(&host, &Identity { role: Role::Admin, ..Identity::of(ADMIN) });
    let mut trader = Peer::live_with(&host, &Identity::of(1), |logon| logon.cod_mode = CodMode::Disconnect.raw());
    trader.place_resting(1, &resting(1));
    drop(trader);
    host.wait_for_log(&["WARN", "cancel-on-disconnect cancels all orders", "session=1"]);
    let mut trader = Peer::connect(&host);
    trader.log_on(&Identity { next_client_seq: 2, ..Identity::of(1) });
    trader.read_to::<ReplayComplete>();
    trader.place_resting(2, &NewOrder { exec_flags: exec_flags::CANCEL_ON_DISCONNECT, ..resting(2) });
    drop(trader);
    host.wait_for_log(&["cancel-on-disconnect", "carry its flag", "session=1"]);

    let mut turn = |seq: u64, scope: KillScope, account_id: u32, action: KillAction| {
        let account_id = U32::new(account_id);
        let (scope, action) = (scope.raw(), action.raw());
        let operator_tag = Text::new("ann: prices");
        let block =
            KillSwitch { cl_ord_id: U64::new(seq), scope, action, account_id, operator_tag, ..KillSwitch::default() };
        admin.send(seq, &block);
        admin.expect::<KillSwitchReport>();
    };
    turn(1, KillScope::Core, 0, KillAction::Engage);
    host.wait_for_log(&[
        "WARN",
        "the kill switch of the core",
        "session=5",
        "is_engaged=true",
        "operator_tag=\"ann: prices\"",
    ]);
    turn(2, KillScope::Core, 0, KillAction::Release);
    host.wait_for_log(&["the kill switch of the core", "session=5", "is_engaged=false"]);
    turn(3, KillScope::Account, 1, KillAction::Engage);
    host.wait_for_log(&["the kill switch of an account", "session=5", "account=1", "is_engaged=true"]);
}

#[test]
fn the_log_tells_when_pressure_refuses_orders_and_when_it_has_passed() {
    let host = Host::trading(&Setup { sections: "[journal]\ndurability_lag_max = 1\n", ..Setup::default() });
    let mut peer = Peer::live(&host, 1);
    // At once, so that they are decided before a sync can be.
    let orders: Vec<u8> = (1..=100).flat_map(|seq| frame_of(seq, 0, &resting(seq))).collect();
    peer.send_bytes(&orders);
    let (_, reject) = peer.read_to::<RequestReject>();
    assert_eq!(reason(reject.reason), Reason::DurabilityLag);
    host.wait_for_log(&["WARN", "new orders are refused", "reason=\"DurabilityLag\""]);
    host.wait_for_log(&["INFO", "none was refused so for 5 s", "reason=\"DurabilityLag\"", "count="]);
}

#[test]
fn the_log_tells_at_start_what_of_disk_and_memory_is_taken() {
    let host = Host::start_with(&Setup { sections: "[journal]\nfirst_segment_mib = 1\n", ..Setup::default() });
    let line = host.wait_for_log(&["disk_free_mib=", "hot_dir=", "hot_free_mib=", "max_segment_mib=64"]);
    let value = |key: &str| -> u64 {
        let (_, behind) = line.split_once(key).unwrap_or_else(|| panic!("{key}: {line}"));
        behind.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("{key}: {line}"))
    };
    let [first, reserve] = ["first_segment_mib=", "reserve_mib="].map(value);
    assert!(first > 1 && first <= 2 * reserve, "it is twice the reserve: {line}");
    host.wait_for_log(&["WARN", &format!("journal.first_segment_mib = 1 is raised to {first}")]);
    host.wait_for_log(&["pool_mib=256", "connections_max=1024", "orders_max=4096", "ids_max="]);
}

#[test]
fn hot_segments_that_are_taken_away_are_told_of_and_a_stop_saves_what_they_held() {
    for (durability, at_risk) in [("synced", "nothing that was told is lost"), ("journaled", "would be lost")] {
        let mut host = Host::trading(&Setup { durability, ..Setup::default() });
        let mut peer = Peer::live(&host, 1);
        peer.place_resting(1, &resting(1));
        std::fs::remove_dir_all(host.dir.path().join("hot")).unwrap();
        peer.place_resting(2, &resting(2));
        host.wait_for_log(&["ERROR", "the hot segment was taken away", at_risk, "SIGTERM", "hot/tradecore-"]);
        assert!(host.stop().success(), "{durability}: an orderly stop");
        let verified = tradecore_journal::verify(&host.dir.path().join("data/journal")).unwrap();
        assert!(verified.is_sealed && verified.finding.is_none(), "{durability}: {verified:?}");
        host.crash_and_restart();
        let mut peer = Peer::connect(&host);
        let ack = peer.log_on(&Identity { next_client_seq: 3, ..Identity::of(1) });
        assert_eq!(ack.last_client_seq.get(), 2, "{durability}: both orders are known");
    }
}
