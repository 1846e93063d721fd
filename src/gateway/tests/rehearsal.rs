//! Nothing comes of a rehearsal.

use std::io::Write;

use tradecore_protocol::codes::{ReplayMode, TakeoverPolicy};
use tradecore_protocol::frame::next_frame;
use tradecore_protocol::messages::NewOrder;
use tradecore_protocol::session::{ClientAction, ClientConfig, ClientPosition, ClientSession, REPLY_BYTES_MAX};
use tradecore_protocol::wire::{I64, U32, U64};

use super::*;

/// A client whose bytes move between two turns.
struct Client {
    socket: UnixStream,
    session: ClientSession,
    is_live: bool,
    reports: usize,
}

impl Client {
    fn log_on(core: &mut Core) -> Self {
        let config = ClientConfig {
            key_id: Text::new("k"),
            session_id: SESSION.0,
            core: 1,
            role: Role::Trade,
            environment: Environment::Virtual,
            heartbeat_ms: 1_000,
            cod_mode: Some(CodMode::None),
            cod_window_ms: 0,
            takeover: TakeoverPolicy::TakeOver,
            replay_mode: ReplayMode::Replay,
            logon_timeout_ns: u64::MAX / 2,
            app_name: Text::new("test"),
            app_version: Text::new("1"),
        };
        let key = MacKey::new(b"a key for these tests").expect("a key");
        let position = ClientPosition { session_epoch: 1, next_expected_seq: 1, next_client_seq: 1 };
        let now = core.gateway.clock.read();
        let socket = UnixStream::connect(core.dirs[1].path().join("socket")).expect("connects");
        socket.set_nonblocking(true).expect("works");
        let session = ClientSession::new(&config, &key, position, [7; 32], now);
        let mut client = Self { socket, session, is_live: false, reports: 0 };
        let mut out = [0; REPLY_BYTES_MAX];
        let len = client.session.start(now, &mut out).expect("room");
        client.socket.write_all(&out[..len]).expect("room");
        for _ in 0..1_000 {
            core.sync();
            core.turn();
            client.take_in(core);
            if client.is_live {
                return client;
            }
        }
        panic!("it was never let in");
    }

    fn take_in(&mut self, core: &mut Core) {
        let mut bytes = [0; 4096];
        let Ok(len) = self.socket.read(&mut bytes) else { return };
        let mut rest = &bytes[..len];
        while let Some(frame) = next_frame(rest).expect("well-formed") {
            rest = &rest[frame.bytes.len()..];
            let mut out = [0; REPLY_BYTES_MAX];
            let step = self.session.handle_frame(core.gateway.clock.read(), &frame, &mut out);
            self.socket.write_all(&out[..step.written]).expect("room");
            match step.action {
                ClientAction::ReplayComplete { .. } => self.is_live = true,
                ClientAction::Report(_) => {
                    self.reports += 1;
                    self.session.applied(frame.header.seq);
                }
                ClientAction::LogonRefused { .. } => panic!("{step:?}"),
                _ => {}
            }
        }
    }

    fn order(&mut self, core: &mut Core, cl_ord_id: u64) {
        let block = NewOrder {
            cl_ord_id: U64::new(ClOrdId::new(1, cl_ord_id).0),
            px: I64::new(100 * ONE),
            qty: I64::new(ONE),
            instrument_id: U32::new(1),
            account_id: U32::new(1),
            side: Side::Buy.raw(),
            ord_type: OrdType::Limit.raw(),
            tif: Tif::Gtc.raw(),
            ..NewOrder::default()
        };
        let mut out = [0; REPLY_BYTES_MAX];
        let sent = self.session.send(core.gateway.clock.read(), &block, &mut out).expect("room");
        self.socket.write_all(&out[..sent.written]).expect("room");
    }
}

fn rehearsals(core: &Core) -> u64 {
    core.gateway.counters.rehearsals.get()
}

#[test]
fn a_loop_with_nothing_to_do_rehearses_the_last_order_and_nothing_comes_of_it() {
    let mut core = Core::new();
    core.sync();
    let mut client = Client::log_on(&mut core);
    for _ in 0..100 {
        core.turn();
    }
    assert_eq!(rehearsals(&core), 0, "there was no order yet");
    client.order(&mut core, 1);
    let mut left = Vec::new();
    while client.reports == 0 {
        left.extend(core.turn());
        core.sync();
        client.take_in(&mut core);
    }
    assert!(matches!(left[..], [Instruction::Submit(_)]), "{left:?}");

    let seen = |core: &Core| {
        let gateway = &core.gateway;
        let connection = gateway.connections.get(0).expect("the connection");
        let session = (connection.session.counts(), connection.session.expected_seq(), connection.is_closing());
        let waiting = (connection.queued_bytes(), gateway.gate.is_empty(), gateway.outbox.is_empty());
        (gateway.state.hash(), gateway.journal.last_seq(), format!("{session:?}"), waiting, connection.strikes)
    };
    let before = seen(&core);
    let mut turns = 0;
    while rehearsals(&core) < 100 {
        assert_eq!(core.turn(), [], "nothing leaves for the broker");
        turns += 1;
        assert!(turns < 10_000, "it never rehearses");
    }
    assert_eq!(seen(&core), before);
    assert!(client.socket.read(&mut [0; 64]).is_err(), "nothing leaves for the client");
    assert_eq!(core.status(1), OrdStatus::PendingNew);

    drop(client);
    while !core.gateway.connections.is_empty() {
        core.sync();
        core.turn();
    }
    let rehearsed = rehearsals(&core);
    core.client();
    for _ in 0..100 {
        core.turn();
    }
    assert_eq!(rehearsals(&core), rehearsed, "whoever has the place of a sender that is gone sent no order");
}
