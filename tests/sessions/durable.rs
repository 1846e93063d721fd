//! What a client is told has been synced: the gateway runs in this process, so that the sync can be held back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tradecore::brokers::Link;
use tradecore::clock::Clock;
use tradecore::egress::gate::Gate;
use tradecore::egress::replay::ReplayLink;
use tradecore::gateway::{Gateway, Parts, Settings};
use tradecore::mapped::Mapped;
use tradecore::outbox::Outbox;
use tradecore::session::directory::{Directory, Entry};
use tradecore::session::lockout::{LockoutBounds, Lockouts};
use tradecore::session::socket::Listener;
use tradecore::session::throttle::Pace;
use tradecore::session::{Bounds, Connections};
use tradecore_domain::command::Command;
use tradecore_domain::market::Market;
use tradecore_domain::{Limits, State};
use tradecore_journal::{Closer, Watermarks};
use tradecore_protocol::fields::{CodMode, Durability, Environment, Role, SessionId};
use tradecore_protocol::messages::{
    CancelOrder, Heartbeat, Logon, LogonAck, ReplayComplete, RequestReject, TestRequest, roles,
};
use tradecore_protocol::session::ServerConfig;
use tradecore_protocol::wire::{U32, U64};
use tradecore_protocol::{Reason, Text};

use super::host::wait_for;
use super::peer::{Identity, Peer, frame_of, key, reason, resting};

/// What may be held for a connection follows from it.
const OUTBOUND_BYTES_MAX: usize = 1 << 16;

/// A gateway of class `synced` whose loop sees a sync only when this test lets it. It has no broker, and no thread
/// that reads old reports: a session that has missed one stays in its replay.
struct Gated {
    address: String,
    counters: Arc<Mapped>,
    is_held: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    _closer: Closer,
    _dir: tempfile::TempDir,
}

impl Drop for Gated {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        drop(self.thread.take().map(JoinHandle::join));
    }
}

fn directory() -> Directory {
    let mut directory = Directory::default();
    for session_id in [1, 2, 3] {
        let entry = Entry {
            key_id: Text::new(&Identity::of(session_id).key_id()),
            key: key(),
            roles: roles::TRADE,
            accounts: Box::default(),
            cod_mode: CodMode::None,
            pace: Pace::new(0, 0, 100),
            connection: None,
        };
        directory.insert(session_id, entry);
    }
    directory
}

impl Gated {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let journal = tradecore_journal::open(&tradecore_journal::Config::new(dir.path().join("journal"))).unwrap();
        let (writer, report, durable, closer) = journal.into_parts();
        // The loop looks at a watermark that this test moves.
        let seen = Arc::new(Watermarks::new(0));
        let limits = Limits { orders_max: 64, ids_max: 1024, ..Limits::default() };
        let link = Arc::new(Link::new(64, 64, 64, 1).unwrap());
        let counters = Arc::new(Mapped::private().unwrap());
        let bounds = Bounds {
            connections_max: 16,
            outbound_bytes_max: OUTBOUND_BYTES_MAX,
            pool_chunks: 64,
            close_linger_ns: 60_000_000_000,
        };
        let mut gateway = Gateway::new(Parts {
            settings: Settings {
                commands_per_turn_max: 256,
                replay_window: 1000,
                throttle_rate: 0,
                throttle_burst: 0,
                throttle_strikes: 0,
                durability_lag_max: 1000,
                durability: Durability::Synced,
                stages: true,
            },
            server: ServerConfig {
                gateway_id: Text::new("tests"),
                instance_id: 1,
                environment: Environment::Virtual,
                core: 1,
                resend_count_max: 100,
                logon_timeout_ns: 60_000_000_000,
                heartbeat_min_ms: 100,
                heartbeat_max_ms: 60_000,
            },
            clock: Clock::new(),
            state: State::new(limits),
            market: Market::new(limits.instruments_max),
            journal: writer,
            watermarks: Arc::clone(&seen),
            connections: Connections::new(bounds, vec![Listener::tcp("127.0.0.1:0".parse().unwrap()).unwrap()])
                .unwrap(),
            directory: directory(),
            lockouts: Lockouts::new(LockoutBounds { failures_max: 10, lockout_ns: 1 }),
            gate: Gate::new(1 << 16),
            outbox: Outbox::new(Arc::clone(&link), 1 << 16, 1 << 16),
            link,
            replay: Arc::new(ReplayLink::new(16, 4).unwrap()),
            counters: Arc::clone(&counters),
            notices: Arc::default(),
            nonce: || [9; 32],
        })
        .unwrap();
        let environment = Environment::Virtual.raw();
        let durability = Durability::Synced.raw();
        gateway.run(&Command::StartCore { epoch: report.epoch, core: 1, environment, durability }).unwrap();
        for session_id in [1, 2, 3].map(SessionId) {
            let (role, cod_mode) = (Role::Trade, CodMode::None);
            gateway.run(&Command::DefineSession { session_id, session_epoch: 1, role, cod_mode }).unwrap();
        }
        let address = gateway.addresses().pop().unwrap();
        let [is_held, stop] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let (held, stopped) = (Arc::clone(&is_held), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Acquire) {
                if !held.load(Ordering::Acquire) {
                    seen.set_synced(durable.synced());
                }
                gateway.turn(Duration::ZERO).unwrap();
                std::thread::yield_now();
            }
        });
        Self { address, counters, is_held, stop, thread: Some(thread), _closer: closer, _dir: dir }
    }

    /// From here on nothing more becomes durable.
    fn hold_syncs(&self) {
        self.is_held.store(true, Ordering::Release);
        self.finish_turns();
    }

    fn let_syncs_go_on(&self) {
        self.is_held.store(false, Ordering::Release);
    }

    /// What the turn under way does has left, if it may.
    fn finish_turns(&self) {
        let turns = self.counters.turns.get();
        wait_for("three turns", || (self.counters.turns.get() >= turns + 3).then_some(()));
    }

    fn wait_for_commands(&self, count: u64) {
        wait_for("the decisions", || (self.counters.commands.get() >= count).then_some(()));
        self.finish_turns();
    }
}

/// A cancel of an order that never was: it is decided on, and needs no broker.
fn cancel(cl_ord_id: u64) -> CancelOrder {
    CancelOrder { cl_ord_id: U64::new(cl_ord_id), orig_cl_ord_id: U64::new(1 << 40), ..CancelOrder::default() }
}

fn live(gated: &Gated, session_id: u32) -> Peer {
    let mut peer = Peer::connect_to(&gated.address);
    peer.log_on(&Identity::of(session_id));
    peer.expect::<ReplayComplete>();
    peer.send(1, &cancel(1));
    peer.expect::<RequestReject>();
    peer
}

#[test]
fn the_answer_to_a_logon_waits_until_what_it_tells_is_durable() {
    let gated = Gated::start();
    let mut first = live(&gated, 1);
    gated.hold_syncs();
    let decided = gated.counters.commands.get();
    first.send(2, &cancel(2));
    gated.wait_for_commands(decided + 1);
    assert!(!first.has_unread(), "the report waits");

    // A client that has forgotten its numbers, and takes over what the reject says.
    let mut stranger = Peer::connect_to(&gated.address);
    let mut logon = Identity::of(1).logon();
    logon.session_epoch = U64::new(7);
    stranger.ask_to_log_on("k1", &logon);
    wait_for("the logon to be refused", || (gated.counters.logons_refused.get() == 1).then_some(()));
    gated.finish_turns();
    assert!(!stranger.has_unread(), "the reject waits");

    // A client that would forget request 2.
    first.reset();
    let mut again = Peer::connect_to(&gated.address);
    let logons = gated.counters.logons.get();
    again.ask_to_log_on("k1", &Identity { next_expected_seq: 2, next_client_seq: 2, ..Identity::of(1) }.logon());
    wait_for("the logon", || (gated.counters.logons.get() > logons).then_some(()));
    gated.finish_turns();
    assert!(!again.has_unread(), "the ack waits");

    gated.let_syncs_go_on();
    let reject = stranger.expect_reject();
    assert_eq!((reason(reject.reason), reject.last_client_seq.get()), (Reason::EpochMismatch, 2));
    assert_eq!(again.expect::<LogonAck>().last_client_seq.get(), 2);
}

#[test]
fn no_header_acknowledges_what_is_not_durable() {
    let gated = Gated::start();
    live(&gated, 2).reset();
    // It has missed the report, which nobody reads back: it stays in its replay, and reports make no way for others.
    let mut peer = Peer::connect_to(&gated.address);
    peer.log_on(&Identity { next_expected_seq: 1, next_client_seq: 2, ..Identity::of(2) });
    gated.hold_syncs();
    let decided = gated.counters.commands.get();
    peer.send(2, &cancel(2));
    peer.send(0, &TestRequest { test_id: U64::new(5) });
    peer.send(3, &cancel(3));
    gated.wait_for_commands(decided + 2);
    assert!(!peer.has_unread(), "a heartbeat with that acknowledgement waits");
    gated.let_syncs_go_on();
    let heartbeat = peer.next().unwrap();
    assert_eq!((heartbeat.read::<Heartbeat>().unwrap().test_id.get(), heartbeat.header.ack_seq), (5, 2));
}

/// A session whose silence is soon noticed.
fn short_lived(gated: &Gated, session_id: u32) -> Peer {
    let mut peer = Peer::connect_to(&gated.address);
    let identity = Identity::of(session_id);
    peer.log_on_with(&identity.key_id(), &Logon { heartbeat_ms: U32::new(500), ..identity.logon() });
    peer.expect::<ReplayComplete>();
    peer
}

#[test]
fn a_stalled_sync_ends_no_session_that_shows_life_and_sees_it_shown() {
    let gated = Gated::start();
    let mut crowded = short_lived(&gated, 1);
    let mut idle = short_lived(&gated, 2);
    gated.hold_syncs();
    let decided = gated.counters.commands.get();
    crowded.send(1, &cancel(1));
    gated.wait_for_commands(decided + 1);
    let logons = gated.counters.logons.get();
    let mut waiting = Peer::connect_to(&gated.address);
    let identity = Identity::of(3);
    waiting.ask_to_log_on(&identity.key_id(), &Logon { heartbeat_ms: U32::new(500), ..identity.logon() });
    wait_for("the logon", || (gated.counters.logons.get() > logons).then_some(()));
    // More reports than may be held for one: from here on its socket is not read.
    let decided = gated.counters.commands.get();
    crowded.send_bytes(&(2..=200).flat_map(|seq| frame_of(seq, 0, &cancel(seq))).collect::<Vec<u8>>());
    gated.wait_for_commands(decided + 199);
    // Longer than anybody may be silent, three times over.
    for _ in 0..8 {
        for peer in [&mut crowded, &mut idle] {
            let said = peer.next().expect("the session goes on");
            assert!(said.read::<Heartbeat>().is_some() || said.read::<TestRequest>().is_some(), "{said:?}");
            assert_eq!((said.header.seq, said.header.ack_seq), (0, 0), "nothing of it is durable");
            peer.send(0, &Heartbeat::default());
        }
    }
    assert!(!waiting.has_unread(), "nothing comes before the ack");
    gated.let_syncs_go_on();
    waiting.expect::<LogonAck>();
    waiting.expect::<ReplayComplete>();
    for seq in 1..=200 {
        assert_eq!(crowded.expect::<RequestReject>().ref_seq.get(), seq);
    }
    for mut peer in [crowded, idle, waiting] {
        peer.expect_alive(9);
    }
}

#[test]
fn while_a_sync_stalls_orders_are_refused_and_the_cancels_behind_them_are_decided() {
    let gated = Gated::start();
    let mut crowded = live(&gated, 1);
    let mut other = live(&gated, 2);
    gated.hold_syncs();
    // As much as may be held before its requests wait in its socket.
    let end = 3 + (OUTBOUND_BYTES_MAX / 4 / RequestReject::FRAME_BYTES) as u64;
    let decided = gated.counters.commands.get();
    crowded.send_bytes(&(2..end).flat_map(|seq| frame_of(seq, 0, &cancel(seq))).collect::<Vec<u8>>());
    gated.wait_for_commands(decided + end - 2);
    crowded.send_bytes(&[frame_of(end, 0, &resting(end)), frame_of(end + 1, 0, &cancel(end + 1))].concat());
    gated.wait_for_commands(decided + end - 1);
    other.send_bytes(&[frame_of(2, 0, &resting(2)), frame_of(3, 0, &cancel(3))].concat());
    gated.wait_for_commands(decided + end);

    gated.let_syncs_go_on();
    for (peer, order, last) in [(&mut crowded, end, end + 1), (&mut other, 2, 3)] {
        for seq in 2..=last {
            let reject = peer.expect::<RequestReject>();
            let expected = if seq == order { Reason::DurabilityLag } else { Reason::UnknownOrder };
            assert_eq!((reject.ref_seq.get(), reason(reject.reason)), (seq, expected));
        }
    }
    // All has left: it is a gateway like any other, and says what it has against that order.
    crowded.send(end + 2, &resting(end));
    assert_ne!(reason(crowded.expect::<RequestReject>().reason), Reason::DurabilityLag);
}
