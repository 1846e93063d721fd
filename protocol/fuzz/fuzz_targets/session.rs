//! Any frames, at any time, to both ends: neither panics, and the server's numbers never go back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tradecore_protocol::codes::{KillState, ReplayMode, TakeoverPolicy};
use tradecore_protocol::fields::{BrokerStatus, CodMode, Durability, Environment, Role, TradingState};
use tradecore_protocol::layout::Text;
use tradecore_protocol::next_frame;
use tradecore_protocol::session::{
    ClientConfig, ClientPosition, ClientSession, GatewayFacts, LogonAnswer, Now, REPLY_BYTES_MAX, ServerAction,
    ServerConfig, ServerSession, SessionFacts,
};
use tradecore_protocol::transcript::MacKey;

fn ends() -> (ServerSession, ClientSession) {
    let now = Now::default();
    let key = MacKey::new(&[7; 32]).expect("long enough");
    let server = ServerConfig {
        gateway_id: Text::EMPTY,
        instance_id: 1,
        environment: Environment::Virtual,
        core: 1,
        resend_count_max: 16,
        logon_timeout_ns: 5_000_000_000,
        heartbeat_min_ms: 100,
        heartbeat_max_ms: 60_000,
    };
    let client = ClientConfig {
        key_id: Text::EMPTY,
        session_id: 1,
        core: 1,
        role: Role::Trade,
        environment: Environment::Virtual,
        heartbeat_ms: 1_000,
        cod_mode: Some(CodMode::Both),
        cod_window_ms: 0,
        takeover: TakeoverPolicy::TakeOver,
        replay_mode: ReplayMode::Replay,
        logon_timeout_ns: 5_000_000_000,
        app_name: Text::EMPTY,
        app_version: Text::EMPTY,
    };
    let facts = SessionFacts {
        session_epoch: 1,
        last_client_seq: 3,
        next_report_seq: 9,
        oldest_report_seq: 2,
        client_epoch: 1,
        roles: 0xff,
        cod_mode: CodMode::None,
        is_connected: false,
        served_at: Text::EMPTY,
    };
    let gateway = GatewayFacts {
        trading_state: TradingState::Open,
        kill_state: KillState::Released,
        durability: Durability::Journaled,
        broker_status: BrokerStatus::Ready,
        throttle_rate: 1,
        throttle_burst: 1,
        core_epoch: 1,
        ids_max: 1,
    };
    let position = ClientPosition { session_epoch: 1, next_expected_seq: 5, next_client_seq: 4 };
    let mut server = ServerSession::new(&server, [2; 32], now);
    let mut client = ClientSession::new(&client, &key, position, [1; 32], now);
    let (mut to_server, mut to_client) = ([0; REPLY_BYTES_MAX], [0; REPLY_BYTES_MAX]);
    let mut len = client.start(now, &mut to_server).expect("room");
    while let Ok(Some(frame)) = next_frame(&to_server[..len]) {
        let mut step = server.handle_frame(now, &frame, &mut to_client);
        if let ServerAction::CheckLogon(_) = step.action {
            let answer = LogonAnswer::Known { key: &key, session: &facts, gateway: &gateway };
            step = server.answer_logon(now, answer, &mut to_client);
        }
        let Ok(Some(frame)) = next_frame(&to_client[..step.written]) else { break };
        len = client.handle_frame(now, &frame, &mut to_server).written;
    }
    assert!(server.is_logged_on());
    (server, client)
}

fuzz_target!(|bytes: &[u8]| {
    let (mut server, mut client) = ends();
    let mut out = [0; REPLY_BYTES_MAX];
    let mut rest = bytes;
    let mut mono_ns = 0_u64;
    while let Ok(Some(frame)) = next_frame(rest) {
        mono_ns = mono_ns.saturating_add(frame.header.send_ts_ns % 2_000_000_000);
        let now = Now { mono_ns, utc_ns: mono_ns };
        let before = server.expected_seq();
        server.handle_timeout(now, &mut out);
        let step = server.handle_frame(now, &frame, &mut out);
        assert!(server.expected_seq() - before <= 1);
        assert!(step.written <= REPLY_BYTES_MAX);
        if frame.header.ack_seq % 2 == 1 && server.is_logged_on() {
            server.replay_complete(now, 0, 0, &mut out).expect("room");
        }
        let before = client.position().next_expected_seq;
        client.handle_timeout(now, &mut out);
        client.handle_frame(now, &frame, &mut out);
        assert!(client.position().next_expected_seq >= before);
        rest = &rest[frame.bytes.len()..];
    }
});
