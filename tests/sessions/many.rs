//! As many sessions as the configuration allows, and one more.

use tradecore_protocol::Reason;
use tradecore_protocol::messages::{LogonReject, ReplayComplete, RequestReject, Terminate};
use tradecore_protocol::wire::U16;

use super::host::{Host, MARKET_DATA, Setup, wait_for};
use super::peer::{Identity, Peer, hello, reason, rejected};

const SESSIONS: u32 = 1_000;

#[test]
fn a_thousand_sessions_are_served_at_once_and_one_more_is_told_that_there_is_no_room() {
    // A gateway that was started with fewer descriptors takes what it may have.
    tradecore::descriptors::allow(u64::from(SESSIONS) + 256).expect("within the bound");
    let host =
        Host::start_with(&Setup { listen: "connections_max = 1000", traders_more: SESSIONS, ..Setup::default() });
    let session_ids = MARKET_DATA + 1..MARKET_DATA + 1 + SESSIONS;
    let mut peers: Vec<Peer> = session_ids.clone().map(|session_id| Peer::live(&host, session_id)).collect();
    // Everybody asks at once, then everybody reads.
    peers.iter_mut().for_each(|peer| peer.send(1, &rejected(1)));
    for peer in &mut peers {
        let said = peer.next_told();
        let reject = said.read::<RequestReject>().unwrap_or_else(|| panic!("{said:?}"));
        assert_eq!((said.header.seq, reject.ref_seq.get()), (1, 1));
    }
    for _ in 0..3 {
        let mut one_more = Peer::connect(&host);
        let reject = one_more.expect_reject();
        assert_eq!((reason(reject.reason), reject.mac), (Reason::ConnectionsMax, [0; 32]));
        assert!(reject.retry_after_ms.get() > 0 && !reject.text.as_str().is_empty());
    }
    host.wait_for_log(&["WARN", "listen.connections_max are open", "reason=\"ConnectionsMax\""]);
    peers.iter_mut().for_each(|peer| peer.expect_alive(1));

    // Who leaves makes room.
    let mut leaving = peers.pop().unwrap();
    leaving.send(0, &Terminate { reason: U16::new(Reason::Logout.raw()), ..Terminate::default() });
    leaving.read_to_terminate();
    let mut next = wait_for("a place", || {
        let mut peer = Peer::connect(&host);
        peer.try_send_hello(&hello(&Identity::of(1).key_id()));
        let said = peer.next_told();
        match said.read::<LogonReject>() {
            Some(reject) => {
                assert_eq!(reason(reject.reason), Reason::ConnectionsMax);
                None
            }
            None => {
                peer.remember_challenge(said);
                Some(peer)
            }
        }
    });
    let logon = next.signed(&Identity::of(1).logon());
    next.send(0, &logon);
    next.read_to::<ReplayComplete>();
    next.expect_alive(1);
}
