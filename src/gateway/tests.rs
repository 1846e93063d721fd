//! The loop without its threads: what leaves for the broker while a sync stalls, and what becomes of the rest.
#![allow(clippy::arithmetic_side_effects)]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use tradecore_domain::command::{CancelOrder, EffectKind, MassCancel, PlaceOrder};
use tradecore_domain::event::{
    AccountDefined, CancelRequested, CoreStarted, InstrumentDefined, Meta, OrderAccepted, OrderImage, RequestRejected,
    order_flags,
};
use tradecore_domain::{Known, Limits, market::Quote};
use tradecore_journal::{Closer, Config, Opened, SyncPolicy};
use tradecore_protocol::fields::{
    BrokerStatus, ClOrdId, CodMode, Environment, InstrumentId, OrdStatus, OrdType, Px, Qty, SessionId, Side, Tif,
};
use tradecore_protocol::layout::Text;
use tradecore_protocol::messages::ExecReport;
use tradecore_protocol::transcript::MacKey;

use super::*;
use crate::brokers::{Inbound, Instruction};
use crate::session::directory::Entry;
use crate::session::lockout::LockoutBounds;
use crate::session::socket::Listener;
use crate::session::throttle::Pace;
use crate::session::{Bounds, LoggedOnAs, OpenOrdersCursor};

mod broker;
mod rehearsal;
mod replication;
mod space;
mod stages;

const ONE: i64 = 1_000_000_000;
const SESSION: SessionId = SessionId(1);
const TRADER: LoggedOnAs = LoggedOnAs { session_id: SESSION.0, role: Role::Trade, cod_mode: CodMode::None };
const OUTBOX_MAX: u32 = 4;

/// A gateway of class `synced`, ready to trade, that sees no sync until it is told to.
struct Core {
    gateway: Gateway,
    link: Arc<Link>,
    synced: Arc<Watermarks>,
    client_seq: u64,
    /// The sync thread ends with it.
    _closer: Closer,
    dirs: [tempfile::TempDir; 2],
}

impl Core {
    fn new() -> Self {
        Self::with(64)
    }

    fn with(orders_max: u32) -> Self {
        let dirs = [tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory")];
        let [opened, stalled]: [Opened; 2] =
            dirs.each_ref().map(|dir| tradecore_journal::open(&config(dir.path())).expect("a journal"));
        let (journal, report, synced, closer) = opened.into_parts();
        // The watermarks of a journal that nobody writes to: nothing is synced.
        let (_, _, watermarks, _) = stalled.into_parts();
        let limits = Limits { orders_max, ids_max: 16 * orders_max, ..Limits::default() };
        let link = Arc::new(Link::new(64, 64, 64, limits.accounts_max).expect("a link"));
        let bounds =
            Bounds { connections_max: 3, outbound_bytes_max: 65_536, pool_chunks: 64, close_linger_ns: 1_000_000 };
        let mut directory = Directory::default();
        let entry = Entry {
            key_id: Text::new("k"),
            key: MacKey::new(b"a key for these tests").expect("a key"),
            roles: u8::MAX,
            accounts: Box::new([]),
            cod_mode: CodMode::None,
            pace: Pace::new(0, 0, 1),
            connection: None,
        };
        directory.insert(SESSION.0, entry);
        let listener = Listener::unix(&dirs[1].path().join("socket")).expect("a socket");
        let gateway = Gateway::new(Parts {
            settings: Settings {
                commands_per_turn_max: 256,
                replay_window: 1_024,
                throttle_rate: 0,
                throttle_burst: 1,
                throttle_strikes: 1,
                durability_lag_max: 1_000,
                durability: Durability::Synced,
                stages: true,
            },
            server: ServerConfig {
                gateway_id: Text::new("test"),
                instance_id: 1,
                environment: Environment::Virtual,
                core: 1,
                resend_count_max: 64,
                logon_timeout_ns: 1_000_000_000,
                heartbeat_min_ms: 1_000,
                heartbeat_max_ms: 1_000,
            },
            clock: Clock::new(),
            state: State::new(limits),
            market: Market::new(1),
            journal,
            watermarks,
            connections: Connections::new(bounds, vec![listener]).expect("a socket"),
            directory,
            lockouts: Lockouts::new(LockoutBounds { failures_max: 1, lockout_ns: 1 }),
            gate: Gate::new(65_536),
            outbox: Outbox::new(Arc::clone(&link), OUTBOX_MAX, 4_096),
            link: Arc::clone(&link),
            replay: Arc::new(ReplayLink::new(4, 4).expect("works")),
            counters: Arc::new(Mapped::private().expect("memory")),
            notices: Arc::new(Notices::default()),
            nonce: || [0; 32],
        })
        .expect("a gateway");
        let mut core = Self { gateway, link, synced, client_seq: 0, _closer: closer, dirs };
        core.define(report.epoch);
        core.connect(1);
        core
    }

    fn define(&mut self, epoch: u32) {
        let instrument = InstrumentDefined {
            meta: Meta::default(),
            order_notional_max: i128::MAX,
            order_qty_max: 100 * ONE,
            tick_size: 1,
            lot_size: 1,
            qty_min: 1,
            collar_ppm: 1_000_000,
            instrument_id: 1,
            quote_age_max_ns: u64::MAX,
            symbol: *b"BTCUSDT\0\0\0\0\0\0\0\0\0",
            currency: *b"USDT\0\0\0\0",
            reserved: 0,
        };
        let account = AccountDefined {
            meta: Meta { account_id: 1, ..Meta::default() },
            initial_cash: i128::from(ONE) * i128::from(ONE) * 1_000_000,
            position_max: 1_000 * ONE,
            open_orders_max: 64,
            rate_max: 0,
            currency: *b"USDT\0\0\0\0",
            owner_id: 1,
        };
        let session = Command::DefineSession {
            session_id: SESSION,
            session_epoch: 1,
            role: Role::Trade,
            cod_mode: CodMode::None,
        };
        for command in [
            Command::StartCore { epoch, core: 1, environment: 3, durability: 2 },
            Command::DefineInstrument(instrument),
            Command::DefineAccount(account),
            session,
        ] {
            self.gateway.run(&command).expect("a definition");
        }
        let (px, qty) = (Px(100 * ONE), Qty(ONE));
        let quote = Quote { bid_px: px, bid_qty: qty, ask_px: px, ask_qty: qty, time_ns: 1, md_seq: 0 };
        self.gateway.market.set(InstrumentId(1), quote);
    }

    /// The broker's connection of this number comes up; what the loop asks of it until it has no more questions.
    fn connect(&mut self, connection_no: u64) -> Vec<Instruction> {
        self.tell(BrokerStatus::Syncing, connection_no);
        let mut asked = Vec::new();
        for _ in 0..100 {
            asked.extend(self.turn());
            if asked.last() == Some(&Instruction::EndOfQueries { connection_no }) {
                self.tell(BrokerStatus::Ready, connection_no);
                asked.extend(self.turn());
                return asked;
            }
        }
        panic!("the loop never ended its queries: {asked:?}");
    }

    fn tell(&self, status: BrokerStatus, connection_no: u64) {
        self.link.inbound.push(Inbound::Status { status, connection_no }).expect("room in the ring");
    }

    /// One turn, and what left for the broker in it.
    fn turn(&mut self) -> Vec<Instruction> {
        self.gateway.turn(Duration::ZERO).expect("a turn");
        std::iter::from_fn(|| self.link.instructions.pop()).collect()
    }

    fn order(cl_ord_id: u64) -> PlaceOrder {
        PlaceOrder {
            cl_ord_id: ClOrdId::new(1, cl_ord_id),
            px: Px(100 * ONE),
            order_qty: Qty(ONE),
            instrument_id: InstrumentId(1),
            account_id: AccountId(1),
            side: Side::Buy.raw(),
            ord_type: OrdType::Limit.raw(),
            tif: Tif::Gtc.raw(),
            ..PlaceOrder::default()
        }
    }

    /// A request of the session, as its frame would bring it: its own refusal first.
    fn request(&mut self, command: &Command) -> Result<(), Reason> {
        if let Some(reason) = self.gateway.refusal_of(command, TRADER) {
            return Err(reason);
        }
        self.client_seq += 1;
        let now = self.gateway.clock.read();
        let origin = Origin { session_id: SESSION, client_seq: self.client_seq, recv_time_ns: now.utc_ns };
        self.gateway.execute(&origin, command, now)
    }

    fn place(&mut self, cl_ord_id: u64) -> Result<OrderId, Reason> {
        self.request(&Command::PlaceOrder(Self::order(cl_ord_id)))?;
        Ok(OrderId(self.known(cl_ord_id).order.order_id))
    }

    fn cancel(&mut self, order_id: OrderId) -> Result<(), Reason> {
        let cl_ord_id = ClOrdId::new(1, 1_000 + self.client_seq);
        self.request(&Command::CancelOrder(CancelOrder { cl_ord_id, order_id, ..CancelOrder::default() }))
    }

    fn known(&self, cl_ord_id: u64) -> Known {
        self.gateway.state.known(SESSION, ClOrdId::new(1, cl_ord_id)).expect("a known id")
    }

    fn status(&self, cl_ord_id: u64) -> OrdStatus {
        OrdStatus::from_raw(self.known(cl_ord_id).order.ord_status).expect("a status")
    }

    /// A client that speaks for the session, however it logged on; its socket.
    fn client(&mut self) -> UnixStream {
        let socket = UnixStream::connect(self.dirs[1].path().join("socket")).expect("connects");
        socket.set_read_timeout(Some(Duration::from_secs(30))).expect("works");
        while self.gateway.connections.is_empty() {
            self.turn();
        }
        let connection = self.gateway.connections.get_mut(0).expect("the connection");
        connection.logged_on = Some(TRADER);
        let id = connection.id;
        self.gateway.directory.get_mut(SESSION.0).expect("the session").connection = Some(id);
        socket
    }

    /// As many open orders of another session.
    fn hold_orders_of_others(&mut self, count: u32, flags: u8) {
        for nth in 1..=u64::from(count) {
            let order = OrderImage {
                order_id: nth,
                cl_ord_id: nth,
                order_qty: ONE,
                session_id: 2,
                instrument_id: 1,
                account_id: 1,
                side: Side::Buy.raw(),
                ord_status: OrdStatus::New.raw(),
                flags,
                ..OrderImage::default()
            };
            let meta = Meta { session_id: 2, account_id: 1, ..Meta::default() };
            let accepted = OrderAccepted { meta, order, content_hash: 0, market_px: 0, market_time_ns: 0, exec_id: 0 };
            apply(&mut self.gateway.state, &Event::from(accepted));
        }
    }

    /// From here on nothing is seen to be synced.
    fn unsync(&mut self) {
        self.gateway.watermarks = Arc::new(Watermarks::new(0));
    }

    /// The sync goes on: all that is journaled is durable, and seen to be.
    fn sync(&mut self) {
        self.gateway.watermarks = Arc::clone(&self.synced);
        self.synced.wake_syncer();
        self.wait_for_sync();
    }

    fn wait_for_sync(&mut self) {
        let deadline_ns = self.gateway.clock.read().mono_ns + 30_000_000_000;
        while self.synced.synced() < self.gateway.journal.last_seq() {
            assert!(self.gateway.clock.read().mono_ns < deadline_ns, "the sync goes on");
            std::thread::yield_now();
        }
    }
}

/// A journal that is synced when the loop asks for it, and at no other time.
fn config(dir: &Path) -> Config {
    let sync = SyncPolicy { interval_min_ns: 0, idle_poll_ns: 3_600_000_000_000 };
    Config { sync, ..Config::new(dir) }
}

#[test]
fn what_a_turn_has_committed_is_synced_though_the_sync_thread_sleeps() {
    let mut core = Core::new();
    core.sync();
    for order in 1..=20 {
        core.place(order).expect("accepted");
        core.turn();
        core.wait_for_sync();
    }
}

#[test]
fn an_order_that_had_not_left_when_the_broker_went_away_is_in_no_doubt_and_never_leaves() {
    let mut core = Core::new();
    core.place(1).expect("accepted");
    assert_eq!(core.turn(), [], "it waits for its sync");
    core.tell(BrokerStatus::Down, 1);
    let asked = core.connect(2);
    assert_eq!(asked, [Instruction::EndOfQueries { connection_no: 2 }], "there is nothing to ask for");
    assert_eq!(core.status(1), OrdStatus::Rejected);
    let second = core.place(2).expect("accepted");
    core.sync();
    let left = core.turn();
    assert!(matches!(left[..], [Instruction::Submit(order)] if order.order_id == second), "{left:?}");
    assert_eq!(core.status(2), OrdStatus::PendingNew);
}

#[test]
fn an_order_that_had_left_when_the_broker_went_away_is_in_doubt_and_asked_for() {
    let mut core = Core::new();
    core.sync();
    let order_id = core.place(1).expect("accepted");
    core.sync();
    assert!(matches!(core.turn()[..], [Instruction::Submit(_)]));
    core.tell(BrokerStatus::Down, 1);
    let asked = core.connect(2);
    assert_eq!(asked, [Instruction::Query { order_id }, Instruction::EndOfQueries { connection_no: 2 }]);
    assert_eq!(core.status(1), OrdStatus::InDoubt);
}

#[test]
fn when_the_outbox_is_full_new_orders_are_refused_and_cancels_still_leave() {
    let mut core = Core::new();
    core.sync();
    let resting = core.place(100).expect("accepted");
    core.sync();
    assert!(matches!(core.turn()[..], [Instruction::Submit(_)]));
    // From here on nothing is synced.
    let stalled = tempfile::tempdir().expect("a directory");
    let (_, _, watermarks, _) = tradecore_journal::open(&Config::new(stalled.path())).expect("a journal").into_parts();
    core.gateway.watermarks = watermarks;
    for nth in 1..=u64::from(OUTBOX_MAX) {
        core.place(nth).expect("accepted");
    }
    assert_eq!(core.place(99), Err(Reason::OutboxFull));
    assert!(core.gateway.outbox.has_room_for_cancels(FRAMES_PER_READ), "sockets are read");
    assert_eq!(core.turn(), []);
    core.cancel(resting).expect("taken");
    assert_eq!(core.turn(), [Instruction::Cancel { order_id: resting }]);
}

#[test]
fn when_the_gate_is_half_full_new_orders_are_refused_and_cancels_still_leave() {
    let mut core = Core::new();
    core.sync();
    let resting = core.place(1).expect("accepted");
    core.sync();
    assert!(matches!(core.turn()[..], [Instruction::Submit(_)]));
    let client = ConnectionId { index: 0, no: 1 };
    for journal_seq in 1_000.. {
        if core.gateway.gate.is_half_full() {
            break;
        }
        core.gateway.gate.hold(journal_seq, client, 1, &mut 0);
    }
    assert_eq!(core.place(2), Err(Reason::DurabilityLag));
    core.cancel(resting).expect("taken");
    assert_eq!(core.turn(), [Instruction::Cancel { order_id: resting }]);
}

#[test]
fn a_report_tells_the_time_of_its_record_also_when_the_journal_is_ahead_of_the_clock() {
    let mut core = Core::new();
    let mut socket = core.client();
    let ahead_ns = core.gateway.clock.read().utc_ns + 3_600_000_000_000;
    core.gateway.journal.begin(ahead_ns);
    core.gateway.journal.append(u16::MAX, 1, 0, |_| {});
    core.gateway.journal.commit();
    core.place(1).expect("accepted");
    core.sync();
    core.turn();
    let mut report = [0; ExecReport::FRAME_BYTES];
    socket.read_exact(&mut report).expect("a report");
    let frame = tradecore_protocol::next_frame(&report).expect("a frame").expect("whole");
    assert_eq!(frame.read::<ExecReport>().expect("a report").transact_time_ns.get(), ahead_ns);
}

#[test]
fn an_open_orders_answer_looks_at_no_more_of_the_orders_of_others_than_one_turn_allows() {
    const ORDERS: u32 = 10_000;
    let mut core = Core::with(ORDERS);
    let _socket = core.client();
    core.hold_orders_of_others(ORDERS, 0);
    let cursor = OpenOrdersCursor { request_id: 1, account_id: 0, instrument_id: 0, position: 0, count: 0 };
    core.gateway.connections.get_mut(0).expect("the connection").open_orders = Some(cursor);
    core.gateway.connections.attend(0);
    let mut positions = vec![];
    while let Some(cursor) = core.gateway.connections.get_mut(0).expect("the connection").open_orders {
        positions.push(cursor.position);
        core.turn();
    }
    assert_eq!(positions, [0, 4_096, 8_192]);
}

#[test]
fn while_the_adapter_is_asked_for_more_than_it_takes_there_is_room_to_read_sockets() {
    const ORDERS: u32 = 10_000;
    let mut core = Core::with(ORDERS);
    core.hold_orders_of_others(ORDERS, order_flags::DOUBT);
    core.gateway.queries_from = Some((2, 0));
    for _ in 0..ORDERS / 16 {
        core.gateway.turn(Duration::ZERO).expect("a turn");
    }
    assert!(core.gateway.queries_from.is_some(), "there are more");
    assert!(core.gateway.outbox.has_room_for_cancels(FRAMES_PER_READ));
}

#[test]
fn a_flood_of_many_connections_is_read_in_parts() {
    let mut core = Core::new();
    core.gateway.settings.durability = Durability::Journaled;
    let path = core.dirs[1].path().join("socket");
    let mut flood: Vec<UnixStream> = (0..3).map(|_| UnixStream::connect(&path).expect("connects")).collect();
    while core.gateway.connections.len() < flood.len() || core.gateway.connections.readable_count() > 0 {
        core.turn();
    }
    for socket in &mut flood {
        socket.write_all(&[0; READ_BYTES]).expect("written");
    }
    // Each is ended when it is read: no frame begins like this.
    for left in [2, 1, 0] {
        core.turn();
        let connections = &core.gateway.connections;
        let open = (0..connections.len()).filter_map(|nth| connections.get(connections.nth(nth)?));
        assert_eq!(open.filter(|connection| !connection.is_closing()).count(), left);
        assert!(core.gateway.is_waiting(), "no socket tells of the rest");
    }
    core.turn();
    assert!(!core.gateway.is_waiting(), "nothing is left");
}

#[test]
fn a_burst_that_passes_refuses_no_order_and_a_stall_does_and_lets_cancels_leave() {
    let mut core = Core::new();
    core.sync();
    let resting = core.place(1).expect("accepted");
    core.sync();
    assert!(matches!(core.turn()[..], [Instruction::Submit(_)]));
    // The bytes of somebody else, as many as keep one waiting.
    core.gateway.gate.hold(1_000, ConnectionId { index: 0, no: 1 }, 1, &mut 0);
    core.gateway.gate.half_fill();
    core.place(2).expect("accepted");
    core.sync();
    assert!(matches!(core.turn()[..], [Instruction::Submit(_)]));
    let deadline_ns = core.gateway.clock.read().mono_ns + 30_000_000_000;
    while !core.gateway.gate.is_stalled() {
        core.turn();
        assert!(core.gateway.clock.read().mono_ns < deadline_ns, "a stall is noticed");
    }
    assert_eq!(core.place(3), Err(Reason::DurabilityLag));
    core.cancel(resting).expect("taken");
    assert_eq!(core.turn(), [Instruction::Cancel { order_id: resting }]);
}

#[test]
fn a_gate_has_room_for_a_read_and_all_that_is_taken_behind_it_with_any_number_of_drop_copies() {
    for drop_copies in [0, 1, 8, 1_024] {
        let read = reports_max(FRAMES_PER_READ, drop_copies);
        assert_eq!(read, FRAMES_PER_READ * REPORTS_PER_FRAME * (1 + drop_copies));
        assert!(gate_frames_min(drop_copies) >= read + reports_max(DECISIONS_AHEAD, drop_copies));
    }
}
