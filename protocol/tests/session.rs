//! The session rules, both ends, as cases.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    dead_code,
    missing_docs,
    unreachable_pub
)]

use proptest::prelude::*;
use tradecore_protocol::codes::{KillState, ReplayMode, TakeoverPolicy, frame_flags};
use tradecore_protocol::fields::{BrokerStatus, CodMode, Durability, Environment, Role, TradingState};
use tradecore_protocol::frame::{FRAME_BYTES_MAX, FrameError, HEADER_BYTES};
use tradecore_protocol::layout::wire::{U32, U64};
use tradecore_protocol::messages::*;
use tradecore_protocol::session::*;
use tradecore_protocol::transcript::{Greeting, MacKey};
use tradecore_protocol::{Envelope, Message, Reason, Text, encode, next_frame};

const MS: u64 = 1_000_000;

fn at(ms: u64) -> Now {
    Now { mono_ns: ms * MS, utc_ns: 1_767_225_600_000_000_000 + ms * MS }
}

fn key() -> MacKey {
    MacKey::new(b"0123456789abcdef0123456789abcdef").unwrap()
}

fn server_config() -> ServerConfig {
    ServerConfig {
        gateway_id: Text::new("gw-1"),
        instance_id: 77,
        environment: Environment::Paper,
        core: 1,
        resend_count_max: 16,
        logon_timeout_ns: 5_000 * MS,
        heartbeat_min_ms: 100,
        heartbeat_max_ms: 60_000,
    }
}

fn client_config() -> ClientConfig {
    ClientConfig {
        key_id: Text::new("algo-1"),
        session_id: 42,
        core: 1,
        role: Role::Trade,
        environment: Environment::Paper,
        heartbeat_ms: 1_000,
        cod_mode: Some(CodMode::Disconnect),
        cod_window_ms: 0,
        takeover: TakeoverPolicy::Refuse,
        replay_mode: ReplayMode::Replay,
        logon_timeout_ns: 5_000 * MS,
        app_name: Text::new("tests"),
        app_version: Text::new("1"),
    }
}

fn session_facts() -> SessionFacts {
    SessionFacts {
        session_epoch: 3,
        last_client_seq: 10,
        next_report_seq: 21,
        oldest_report_seq: 5,
        client_epoch: 1,
        roles: roles::TRADE,
        cod_mode: CodMode::None,
        is_connected: false,
        served_at: Text::new("10.0.0.2:7000"),
    }
}

fn gateway_facts() -> GatewayFacts {
    GatewayFacts {
        trading_state: TradingState::Open,
        kill_state: KillState::Released,
        durability: Durability::Synced,
        broker_status: BrokerStatus::Ready,
        throttle_rate: 100,
        throttle_burst: 200,
        core_epoch: 9,
        ids_max: 1_000_000,
    }
}

fn position() -> ClientPosition {
    ClientPosition { session_epoch: 3, next_expected_seq: 18, next_client_seq: 11 }
}

/// Both ends of a connection, with their buffers between them.
struct Pair {
    server: ServerSession,
    client: ClientSession,
    facts: SessionFacts,
    key: MacKey,
    now: Now,
    replayed_to: Option<u64>,
}

impl Pair {
    fn new(server: &ServerConfig, client: &ClientConfig, facts: SessionFacts, position: ClientPosition) -> Self {
        let now = at(0);
        Self {
            server: ServerSession::new(server, [2; 32], now),
            client: ClientSession::new(client, &key(), position, [1; 32], now),
            facts,
            key: key(),
            now,
            replayed_to: None,
        }
    }

    /// Delivers client bytes, answers logon questions; what the server did and wrote.
    fn deliver_to_server(&mut self, bytes: &[u8]) -> (Vec<ServerAction>, Vec<u8>) {
        let (mut actions, mut reply, mut rest) = (vec![], vec![], bytes);
        let mut out = [0; REPLY_BYTES_MAX];
        loop {
            let step = match next_frame(rest) {
                Ok(None) => return (actions, reply),
                Ok(Some(frame)) => {
                    rest = &rest[frame.bytes.len()..];
                    self.server.handle_frame(self.now, &frame, &mut out)
                }
                Err(fault) => {
                    rest = &[];
                    self.server.handle_frame_error(self.now, fault, &mut out)
                }
            };
            reply.extend_from_slice(&out[..step.written]);
            actions.push(step.action);
            if matches!(step.action, ServerAction::CheckLogon(_)) {
                let gateway = gateway_facts();
                let answer = LogonAnswer::Known { key: &self.key, session: &self.facts, gateway: &gateway };
                let step = self.server.answer_logon(self.now, answer, &mut out);
                reply.extend_from_slice(&out[..step.written]);
                actions.push(step.action);
            }
        }
    }

    fn deliver_to_client(&mut self, bytes: &[u8]) -> (Vec<ClientAction>, Vec<u8>) {
        let (mut actions, mut reply, mut rest) = (vec![], vec![], bytes);
        let mut out = [0; REPLY_BYTES_MAX];
        while let Some(frame) = next_frame(rest).expect("a server writes whole, good frames") {
            rest = &rest[frame.bytes.len()..];
            let step = self.client.handle_frame(self.now, &frame, &mut out);
            reply.extend_from_slice(&out[..step.written]);
            actions.push(step.action);
        }
        assert!(rest.is_empty(), "a server writes whole frames");
        (actions, reply)
    }

    /// Hello to the answer of the logon: last actions of both ends.
    fn log_on(&mut self) -> (ServerAction, Vec<ClientAction>) {
        let mut out = [0; REPLY_BYTES_MAX];
        let written = self.client.start(self.now, &mut out).unwrap();
        let (_, challenge) = self.deliver_to_server(&out[..written]);
        let (_, logon) = self.deliver_to_client(&challenge);
        let (actions, answer) = self.deliver_to_server(&logon);
        let (client_actions, _) = self.deliver_to_client(&answer);
        (actions.last().copied().unwrap_or(ServerAction::None), client_actions)
    }

    /// Replays what the logon asked for and goes live; what the client was told.
    fn replay(&mut self, from_seq: u64, next_seq: u64) -> Vec<ClientAction> {
        let mut bytes = vec![];
        for seq in from_seq..next_seq {
            bytes.extend(self.report(seq, frame_flags::REPLAY));
        }
        let mut out = [0; REPLY_BYTES_MAX];
        let written = self.server.replay_complete(self.now, 4, 7, &mut out).unwrap();
        bytes.extend_from_slice(&out[..written]);
        self.replayed_to = Some(next_seq);
        self.deliver_to_client(&bytes).0
    }

    fn report(&mut self, seq: u64, flags: u8) -> Vec<u8> {
        let mut out = [0; 512];
        let block = ExecReport { order_id: U64::new(seq), ..ExecReport::default() };
        let written = encode(&mut out, self.server.envelope(self.now, seq, flags), &block).unwrap();
        self.server.sent(self.now, seq);
        out[..written].to_vec()
    }
}

fn live() -> Pair {
    let mut pair = Pair::new(&server_config(), &client_config(), session_facts(), position());
    let (action, _) = pair.log_on();
    assert!(matches!(action, ServerAction::LoggedOn(_)), "{action:?}");
    pair.replay(18, 21);
    assert!(pair.server.is_live() && pair.client.is_live());
    pair
}

fn frame_of<T: Message>(seq: u64, flags: u8, block: &T) -> Vec<u8> {
    let mut out = vec![0; HEADER_BYTES + size_of::<T>()];
    encode(&mut out, Envelope { seq, flags, ..Envelope::default() }, block).unwrap();
    out
}

fn order(seq: u64, flags: u8) -> Vec<u8> {
    frame_of(seq, flags, &NewOrder { cl_ord_id: U64::new(seq), ..NewOrder::default() })
}

fn templates(mut bytes: &[u8]) -> Vec<u16> {
    let mut ids = vec![];
    while let Ok(Some(frame)) = next_frame(bytes) {
        ids.push(frame.header.template_id);
        bytes = &bytes[frame.bytes.len()..];
    }
    ids
}

#[test]
fn a_logon_is_proven_both_ways_and_names_the_reports_to_replay() {
    let mut pair = Pair::new(&server_config(), &client_config(), session_facts(), position());
    let (action, client_actions) = pair.log_on();
    let ServerAction::LoggedOn(logged_on) = action else { panic!("{action:?}") };
    assert_eq!((logged_on.replay_from_seq, logged_on.next_report_seq), (18, 21));
    assert_eq!((logged_on.expected_client_seq, logged_on.not_applied), (11, 0));
    let [ClientAction::LoggedOn(ack)] = client_actions[..] else { panic!("{client_actions:?}") };
    assert_eq!((ack.last_client_seq.get(), ack.core_epoch.get(), ack.ids_max.get()), (10, 9, 1_000_000));
    let told = pair.replay(18, 21);
    assert_eq!(told.len(), 4);
    assert!(told[..3].iter().all(|action| matches!(action, ClientAction::Report(_))), "{told:?}");
    assert_eq!(told[3], ClientAction::ReplayComplete { open_orders: 4, last_id_counter: 7 });
    assert_eq!(pair.client.position().next_expected_seq, 21);
}

/// A named change of what the client asks for or of what the server knows.
type Change = fn(&mut ClientConfig, &mut SessionFacts, &mut ClientPosition);

#[test]
fn every_refused_logon_has_its_reason_and_tells_only_those_who_proved_themselves() {
    let cases: [(&str, Reason, bool, Change); 15] = [
        ("heartbeat of zero", Reason::FieldValue, false, |c, _, _| c.heartbeat_ms = 0),
        ("heartbeat too short", Reason::FieldValue, false, |c, _, _| c.heartbeat_ms = 99),
        ("heartbeat too long", Reason::FieldValue, false, |c, _, _| c.heartbeat_ms = 60_001),
        ("window too long", Reason::FieldValue, false, |c, _, _| c.cod_window_ms = 60_001),
        ("expects report 0", Reason::FieldValue, false, |_, _, p| p.next_expected_seq = 0),
        ("sends from 0", Reason::FieldValue, false, |_, _, p| p.next_client_seq = 0),
        ("role not granted", Reason::RoleForbidden, true, |c, _, _| c.role = Role::Admin),
        ("other money", Reason::EnvironmentMismatch, true, |c, _, _| c.environment = Environment::Live),
        ("other core", Reason::Redirect, true, |c, _, _| c.core = 2),
        ("connected", Reason::SessionInUse, true, |_, f, _| f.is_connected = true),
        ("no epoch", Reason::EpochMismatch, true, |_, _, p| p.session_epoch = 0),
        ("old epoch", Reason::EpochMismatch, true, |_, _, p| p.session_epoch = 2),
        ("reports from the future", Reason::SeqAhead, true, |_, _, p| p.next_expected_seq = 22),
        ("skips too much", Reason::SeqAhead, true, |_, _, p| p.next_client_seq = 12 + NOT_APPLIED_MAX),
        ("older than the window", Reason::SeqUnavailable, true, |_, _, p| p.next_expected_seq = 4),
    ];
    for (name, reason, is_told, change) in cases {
        let (mut config, mut facts, mut position) = (client_config(), session_facts(), position());
        change(&mut config, &mut facts, &mut position);
        let mut pair = Pair::new(&server_config(), &config, facts, position);
        let (action, client_actions) = pair.log_on();
        assert_eq!(action, ServerAction::Close { reason, by_peer: false }, "{name}");
        let [ClientAction::LogonRefused { reject, is_authentic }] = client_actions[..] else {
            panic!("{name}: {client_actions:?}")
        };
        assert_eq!(Reason::from_raw(reject.reason.get()), Some(reason), "{name}");
        assert_eq!(is_authentic, is_told, "{name}");
        let told = if is_told { (3, 21, 10, 5) } else { (0, 0, 0, 0) };
        let fields = (reject.session_epoch, reject.next_report_seq, reject.last_client_seq, reject.oldest_report_seq);
        assert_eq!((fields.0.get(), fields.1.get(), fields.2.get(), fields.3.get()), told, "{name}");
        let redirect = if reason == Reason::Redirect { "10.0.0.2:7000" } else { reject.text.as_str() };
        assert_eq!(reject.text.as_str(), redirect, "{name}");
    }
}

#[test]
fn of_two_faults_the_one_that_comes_first_in_the_documented_order_is_named() {
    let (mut config, mut facts, mut position) = (client_config(), session_facts(), position());
    config.role = Role::Admin;
    config.environment = Environment::Live;
    config.core = 2;
    facts.is_connected = true;
    position.session_epoch = 1;
    position.next_expected_seq = 99;
    let order = [
        Reason::RoleForbidden,
        Reason::EnvironmentMismatch,
        Reason::Redirect,
        Reason::SessionInUse,
        Reason::EpochMismatch,
        Reason::SeqAhead,
    ];
    for reason in order {
        let (action, _) = Pair::new(&server_config(), &config, facts, position).log_on();
        assert_eq!(action, ServerAction::Close { reason, by_peer: false });
        match reason {
            Reason::RoleForbidden => config.role = Role::Trade,
            Reason::EnvironmentMismatch => config.environment = Environment::Paper,
            Reason::Redirect => config.core = 1,
            Reason::SessionInUse => facts.is_connected = false,
            Reason::EpochMismatch => position.session_epoch = 3,
            other => assert_eq!(other, Reason::SeqAhead),
        }
    }
}

#[test]
fn a_wrong_key_is_refused_and_nothing_is_told() {
    let mut pair = Pair::new(&server_config(), &client_config(), session_facts(), position());
    pair.key = MacKey::new(&[9; 32]).unwrap();
    let (action, client_actions) = pair.log_on();
    assert_eq!(action, ServerAction::Close { reason: Reason::AuthFailed, by_peer: false });
    let [ClientAction::LogonRefused { reject, is_authentic: false }] = client_actions[..] else {
        panic!("{client_actions:?}")
    };
    assert_eq!(reject.session_epoch.get(), 0);
    assert_eq!(MacKey::new(b"short").map(|_| ()), None);
}

#[test]
fn a_replayed_transcript_is_refused_since_the_servers_nonce_is_fresh() {
    let mut pair = Pair::new(&server_config(), &client_config(), session_facts(), position());
    let mut hello = [0; REPLY_BYTES_MAX];
    let written = pair.client.start(pair.now, &mut hello).unwrap();
    let (_, challenge) = pair.deliver_to_server(&hello[..written]);
    let (_, logon) = pair.deliver_to_client(&challenge);
    assert!(matches!(pair.deliver_to_server(&logon).0[..], [_, ServerAction::LoggedOn(_)]));
    pair.server = ServerSession::new(&server_config(), [3; 32], pair.now);
    pair.deliver_to_server(&hello[..written]);
    let (actions, _) = pair.deliver_to_server(&logon);
    assert_eq!(actions.last(), Some(&ServerAction::Close { reason: Reason::AuthFailed, by_peer: false }));
}

#[test]
fn a_client_refuses_an_ack_with_any_bit_flipped() {
    let mut pair = Pair::new(&server_config(), &client_config(), session_facts(), position());
    let mut out = [0; REPLY_BYTES_MAX];
    let written = pair.client.start(pair.now, &mut out).unwrap();
    let (_, challenge) = pair.deliver_to_server(&out[..written]);
    let (_, logon) = pair.deliver_to_client(&challenge);
    let (_, ack) = pair.deliver_to_server(&logon);
    let client = pair.client.clone();
    for bit in HEADER_BYTES * 8..ack.len() * 8 {
        let mut ack = ack.clone();
        ack[bit / 8] ^= 1 << (bit % 8);
        pair.client = client.clone();
        let (actions, _) = pair.deliver_to_client(&ack);
        // What must be 0 is looked at before it is believed.
        let is_reserved = bit / 8 >= HEADER_BYTES + core::mem::offset_of!(LogonAck, reserved0);
        let reason = if is_reserved { Reason::NonzeroReserved } else { Reason::AuthFailed };
        assert_eq!(actions, [ClientAction::Close { reason, by_peer: false }], "bit {bit}");
    }
}

#[test]
fn versions_without_a_common_one_are_refused() {
    for (major_min, major_max, is_ok) in [(1, 1, true), (0, 5, true), (2, 3, false), (0, 0, false), (3, 1, false)] {
        let mut pair = live();
        pair.server = ServerSession::new(&server_config(), [2; 32], pair.now);
        let block = ClientHello {
            magic: U64::new(MAGIC),
            client_nonce: [1; 32],
            major_min,
            major_max,
            ..ClientHello::default()
        };
        let (actions, reply) = pair.deliver_to_server(&frame_of(0, 0, &block));
        let wanted =
            if is_ok { ServerAction::None } else { ServerAction::Close { reason: Reason::Version, by_peer: false } };
        assert_eq!(actions, [wanted], "{major_min} to {major_max}");
        assert_eq!(templates(&reply), [if is_ok { ServerChallenge::TEMPLATE_ID } else { LogonReject::TEMPLATE_ID }]);
    }
}

#[test]
fn before_logon_everything_but_hello_and_logon_ends_the_connection() {
    for info in tradecore_protocol::CATALOGUE {
        if matches!(info.template_id, ClientHello::TEMPLATE_ID) {
            continue;
        }
        let mut pair = live();
        pair.server = ServerSession::new(&server_config(), [2; 32], pair.now);
        let mut bytes = vec![0; HEADER_BYTES + usize::from(info.block_len)];
        let len = u16::try_from(bytes.len()).unwrap().to_le_bytes();
        bytes[..2].copy_from_slice(&len);
        bytes[2..4].copy_from_slice(&info.template_id.to_le_bytes());
        bytes[4..6].copy_from_slice(&info.block_len.to_le_bytes());
        bytes[6] = 1;
        // As its kind of message is numbered: the time is wrong before the number is.
        bytes[8] = u8::from(info.may_be_sequenced());
        let (actions, reply) = pair.deliver_to_server(&bytes);
        assert_eq!(actions, [ServerAction::Close { reason: Reason::NotLoggedOn, by_peer: false }], "{}", info.name);
        assert_eq!(templates(&reply), [LogonReject::TEMPLATE_ID]);
        assert_eq!(pair.server.poll_timeout(), None);
    }
}

#[test]
fn a_logon_that_does_not_come_is_not_waited_for() {
    let mut server = ServerSession::new(&server_config(), [2; 32], at(0));
    let mut out = [0; REPLY_BYTES_MAX];
    assert_eq!(server.poll_timeout(), Some(5_000 * MS));
    assert_eq!(server.handle_timeout(at(4_999), &mut out).action, ServerAction::None);
    let closed = ServerAction::Close { reason: Reason::LogonTimeout, by_peer: false };
    assert_eq!(server.handle_timeout(at(5_000), &mut out).action, closed);
}

#[test]
fn client_frames_are_processed_once_and_in_order() {
    let resend = frame_flags::POSS_RESEND;
    let ended = ServerAction::Close { reason: Reason::SeqError, by_peer: false };
    for (name, seq, flags, wanted) in [
        ("the next", 11, 0, ServerAction::Command(NewOrder::INFO)),
        ("the next, sent again", 11, resend, ServerAction::Command(NewOrder::INFO)),
        ("an old one, sent again", 10, resend, ServerAction::Duplicate),
        ("an old one", 10, 0, ended),
        ("a gap", 12, 0, ended),
        ("a gap, sent again", 12, resend, ended),
        ("no number", 0, 0, ended),
    ] {
        let mut pair = live();
        let (actions, _) = pair.deliver_to_server(&order(seq, flags));
        assert_eq!(actions, [wanted], "{name}");
        assert_eq!(pair.server.counts().duplicates, u64::from(wanted == ServerAction::Duplicate), "{name}");
    }
    let mut pair = live();
    let query = frame_of(11, 0, &OpenOrdersRequest::default());
    assert_eq!(pair.deliver_to_server(&query).0, [ended], "a query has no number");
}

#[test]
fn a_client_that_starts_higher_is_told_what_was_not_applied() {
    let position = ClientPosition { next_client_seq: 15, ..position() };
    let mut pair = Pair::new(&server_config(), &client_config(), session_facts(), position);
    let (action, told) = pair.log_on();
    let ServerAction::LoggedOn(logged_on) = action else { panic!("{action:?}") };
    assert_eq!((logged_on.expected_client_seq, logged_on.not_applied), (15, 4));
    assert_eq!(told[1], ClientAction::NotApplied { from_seq: 11, count: 4 });
    pair.replay(18, 21);
    assert_eq!(pair.deliver_to_server(&order(15, 0)).0, [ServerAction::Command(NewOrder::INFO)]);
}

#[test]
fn a_client_that_skips_the_replay_gets_a_gap_fill() {
    let config = ClientConfig { replay_mode: ReplayMode::Skip, ..client_config() };
    let position = ClientPosition { next_expected_seq: 2, ..position() };
    let mut pair = Pair::new(&server_config(), &config, session_facts(), position);
    let (action, told) = pair.log_on();
    assert!(matches!(action, ServerAction::LoggedOn(on) if on.replay_from_seq == on.next_report_seq));
    assert_eq!(told[1], ClientAction::GapFilled { from_seq: 2, new_seq: 21 });
    pair.replay(21, 21);
    let report = pair.report(21, 0);
    assert_eq!(pair.deliver_to_client(&report).0, [ClientAction::Report(ExecReport::INFO)]);
}

#[test]
fn during_the_replay_cancels_pass_and_new_orders_wait() {
    let mut pair = Pair::new(&server_config(), &client_config(), session_facts(), position());
    pair.log_on();
    let (actions, reply) = pair.deliver_to_server(&order(11, 0));
    assert_eq!(actions, [ServerAction::Refused(Reason::ReplayInProgress)]);
    let frame = next_frame(&reply).unwrap().unwrap();
    let reject = frame.read::<RequestReject>().unwrap();
    assert_eq!((frame.header.seq, reject.cl_ord_id.get(), reject.ref_seq.get()), (0, 11, 11));
    assert_eq!(pair.deliver_to_client(&reply).0, [ClientAction::Answer(RequestReject::INFO)]);
    let cancel = frame_of(12, 0, &CancelOrder::default());
    assert_eq!(pair.deliver_to_server(&cancel).0, [ServerAction::Command(CancelOrder::INFO)]);
}

#[test]
fn a_role_sends_what_its_table_says_and_the_connection_goes_on() {
    let facts = SessionFacts { roles: roles::DROP_COPY, ..session_facts() };
    let config = ClientConfig { role: Role::DropCopy, ..client_config() };
    let mut pair = Pair::new(&server_config(), &config, facts, position());
    pair.log_on();
    pair.replay(18, 21);
    let (actions, reply) = pair.deliver_to_server(&order(11, 0));
    assert_eq!(actions, [ServerAction::Refused(Reason::RoleForbidden)]);
    assert!(matches!(pair.deliver_to_client(&reply).0[..], [ClientAction::Rejected(_)]));
    let query = frame_of(0, 0, &OpenOrdersRequest::default());
    assert_eq!(pair.deliver_to_server(&query).0, [ServerAction::Query(OpenOrdersRequest::INFO)]);
    assert_eq!(pair.server.expected_seq(), 12, "the refused frame's number is used up");
    let refused = pair.client.send(pair.now, &NewOrder::default(), &mut [0; 512]);
    assert_eq!(refused, Err(SendError::NotAllowed));
}

#[test]
fn a_malformed_message_is_refused_and_the_next_one_processed() {
    let unknown = {
        let mut bytes = order(11, 0);
        bytes[2..4].copy_from_slice(&999_u16.to_le_bytes());
        bytes
    };
    let reserved = {
        let mut bytes = order(11, 0);
        *bytes.last_mut().unwrap() = 1;
        bytes
    };
    let short = {
        let mut bytes = order(11, 0);
        bytes[4] = 56;
        bytes
    };
    for (bytes, reason, offset) in [
        (unknown, Reason::UnknownTemplate, 2),
        (reserved, Reason::NonzeroReserved, 32 + 56),
        (short, Reason::BlockTooShort, 4),
    ] {
        let mut pair = live();
        let (actions, reply) = pair.deliver_to_server(&bytes);
        assert_eq!(actions, [ServerAction::Refused(reason)]);
        let [ClientAction::Rejected(reject)] = pair.deliver_to_client(&reply).0[..] else { panic!("{reason:?}") };
        assert_eq!((reject.ref_seq.get(), reject.ref_offset.get()), (11, offset), "{reason:?}");
        assert_eq!(pair.deliver_to_server(&order(12, 0)).0, [ServerAction::Command(NewOrder::INFO)]);
    }
}

#[test]
fn a_malformed_header_ends_the_connection() {
    let mut pair = live();
    let mut bytes = order(11, 0);
    bytes[0] = 33;
    let closed = ServerAction::Close { reason: Reason::FrameSize, by_peer: false };
    let (actions, reply) = pair.deliver_to_server(&bytes);
    assert_eq!((actions, templates(&reply)), (vec![closed], vec![Terminate::TEMPLATE_ID]));
    let mut pair = live();
    let (actions, _) = pair.deliver_to_server(&order(11, frame_flags::REPLAY));
    assert_eq!(actions, [ServerAction::Close { reason: Reason::NonzeroReserved, by_peer: false }]);
    let fault = FrameError { reason: Reason::Version, offset: 6 };
    let action = live().server.handle_frame_error(at(0), fault, &mut [0; REPLY_BYTES_MAX]).action;
    assert_eq!(action, ServerAction::Close { reason: Reason::Version, by_peer: false });
}

#[test]
fn a_second_logon_is_refused() {
    let mut pair = live();
    let (actions, _) = pair.deliver_to_server(&frame_of(0, 0, &Logon::default()));
    assert_eq!(actions, [ServerAction::Refused(Reason::FieldValue)]);
}

#[test]
fn silence_is_answered_by_heartbeat_test_request_and_the_end() {
    let mut pair = live();
    let mut out = [0; REPLY_BYTES_MAX];
    let mut seen = vec![];
    while let Some(deadline_ns) = pair.server.poll_timeout() {
        let now = Now { mono_ns: deadline_ns, ..pair.now };
        let step = pair.server.handle_timeout(now, &mut out);
        seen.push((deadline_ns / MS, templates(&out[..step.written])));
    }
    let wanted = [
        (1_000, vec![Heartbeat::TEMPLATE_ID]),
        (1_500, vec![TestRequest::TEMPLATE_ID]),
        (2_500, vec![Terminate::TEMPLATE_ID]),
    ];
    assert_eq!(seen, wanted);
}

#[test]
fn any_frame_of_the_peer_is_life_and_a_test_request_is_answered() {
    let mut pair = live();
    let mut out = [0; REPLY_BYTES_MAX];
    let step = pair.server.handle_timeout(at(1_500), &mut out);
    assert_eq!(templates(&out[..step.written]), [TestRequest::TEMPLATE_ID]);
    pair.now = at(1_501);
    let (_, answer) = pair.deliver_to_client(&out[..step.written]);
    let frame = next_frame(&answer).unwrap().unwrap();
    assert_eq!(frame.read::<Heartbeat>().unwrap().test_id.get(), 1);
    assert_eq!(pair.deliver_to_server(&answer).0, [ServerAction::None]);
    assert_eq!(pair.server.handle_timeout(at(2_500), &mut out).action, ServerAction::None);
    assert!(pair.server.is_live());
}

#[test]
fn heartbeats_are_not_starved_by_a_replay_that_cannot_be_written() {
    let mut pair = Pair::new(&server_config(), &client_config(), session_facts(), position());
    pair.log_on();
    let mut out = [0; REPLY_BYTES_MAX];
    let step = pair.server.handle_timeout(at(1_000), &mut out);
    assert_eq!(templates(&out[..step.written]), [Heartbeat::TEMPLATE_ID]);
    let heartbeat = out[..step.written].to_vec();
    assert_eq!(pair.deliver_to_client(&heartbeat).0, [ClientAction::None], "no gap is seen in a replay under way");
}

#[test]
fn a_heartbeat_that_passes_what_waits_shows_no_gap_and_acknowledges_nothing() {
    let mut pair = live();
    let _held = pair.report(21, 0);
    let mut out = [0; REPLY_BYTES_MAX];
    assert_eq!(pair.server.heartbeat_ahead(at(1_999), 1_000 * MS, &mut out), Ok(0), "something left not long ago");
    let written = pair.server.heartbeat_ahead(at(2_000), 1_000 * MS, &mut out).unwrap();
    assert_eq!(templates(&out[..written]), [Heartbeat::TEMPLATE_ID]);
    assert_eq!(next_frame(&out[..written]).unwrap().unwrap().header.ack_seq, 0);
    assert_eq!(pair.deliver_to_client(&out[..written]).0, [ClientAction::None]);
}

#[test]
fn the_silence_of_a_peer_that_is_not_listened_to_does_not_count() {
    let mut out = [0; REPLY_BYTES_MAX];
    let mut fresh = ServerSession::new(&server_config(), [2; 32], at(0));
    fresh.not_listening(at(9_000));
    assert_eq!(fresh.handle_timeout(at(9_000), &mut out).action, ServerAction::None);
    let mut pair = live();
    pair.server.not_listening(at(9_000));
    assert_eq!(pair.server.handle_timeout(at(9_000), &mut out).action, ServerAction::None);
    let closed = ServerAction::Close { reason: Reason::HeartbeatTimeout, by_peer: false };
    assert_eq!(pair.server.handle_timeout(at(11_500), &mut out).action, closed, "once it is, its silence does");
}

#[test]
fn a_heartbeat_shows_a_gap_while_idle() {
    let mut pair = live();
    let _lost = pair.report(21, 0);
    let mut out = [0; REPLY_BYTES_MAX];
    let step = pair.server.handle_timeout(at(1_000), &mut out);
    let (told, request) = pair.deliver_to_client(&out[..step.written]);
    assert_eq!(told, [ClientAction::Gap { expected_seq: 21 }]);
    assert_eq!(pair.deliver_to_server(&request).0, [ServerAction::Resend { from_seq: 21, count: 1 }]);
    let ahead = frame_of(0, 0, &Heartbeat { test_id: U64::ZERO, next_seq: U64::new(12) });
    let closed = ServerAction::Close { reason: Reason::SeqError, by_peer: false };
    assert_eq!(live().deliver_to_server(&ahead).0, [closed], "a client's lost frames are not waited for");
}

#[test]
fn a_gap_is_closed_by_a_resend_and_each_report_is_delivered_once() {
    let mut pair = live();
    let all: Vec<_> = (21..61).map(|seq| pair.report(seq, 0)).collect();
    let mut delivered = 0;
    let mut to_client = [all[..3].concat(), all[20..].concat()].concat();
    for _ in 0..20 {
        let (told, request) = pair.deliver_to_client(&to_client);
        delivered += told.iter().filter(|action| matches!(action, ClientAction::Report(_))).count();
        let (actions, mut answer) = pair.deliver_to_server(&request);
        for action in actions {
            let ServerAction::Resend { from_seq, count } = action else {
                continue;
            };
            assert!(count <= 16);
            for seq in from_seq..from_seq + u64::from(count) {
                answer.extend(pair.report(seq, frame_flags::REPLAY));
            }
            pair.server.resend_complete();
        }
        if answer.is_empty() {
            let mut out = [0; REPLY_BYTES_MAX];
            pair.now.mono_ns += 1_000 * MS;
            let step = pair.server.handle_timeout(pair.now, &mut out);
            answer.extend_from_slice(&out[..step.written]);
        }
        to_client = answer;
    }
    assert_eq!((delivered, pair.client.position().next_expected_seq), (40, 61));
}

#[test]
fn resends_that_ask_for_too_much_are_refused() {
    for (name, from_seq, count, reason) in [
        ("from zero", 0, 1, Reason::FieldValue),
        ("none", 18, 0, Reason::FieldValue),
        ("too many", 5, 17, Reason::ResendLimit),
        ("the future", 21, 1, Reason::SeqAhead),
        ("too old", 4, 1, Reason::SeqUnavailable),
    ] {
        let mut pair = live();
        let block = ResendRequest {
            request_id: U64::new(8),
            from_seq: U64::new(from_seq),
            count: U32::new(count),
            ..ResendRequest::default()
        };
        let (actions, reply) = pair.deliver_to_server(&frame_of(0, 0, &block));
        assert_eq!(actions, [ServerAction::Refused(reason)], "{name}");
        assert_eq!(pair.deliver_to_client(&reply).0, [ClientAction::ResendRefused(reason)], "{name}");
    }
    let mut pair = live();
    let block = ResendRequest { from_seq: U64::new(18), count: U32::new(16), ..ResendRequest::default() };
    let twice = [frame_of(0, 0, &block), frame_of(0, 0, &block)].concat();
    let (actions, _) = pair.deliver_to_server(&twice);
    let first = ServerAction::Resend { from_seq: 18, count: 3 };
    assert_eq!(actions, [first, ServerAction::Refused(Reason::ResendInProgress)]);
}

#[test]
fn a_client_counts_unknown_templates_and_drops_repetitions() {
    let mut pair = live();
    let mut newer = pair.report(21, 0);
    newer[2..4].copy_from_slice(&1_000_u16.to_le_bytes());
    assert_eq!(pair.deliver_to_client(&newer).0, [ClientAction::Skipped]);
    let report = pair.report(22, 0);
    assert_eq!(pair.deliver_to_client(&report).0, [ClientAction::Report(ExecReport::INFO)]);
    assert_eq!(pair.deliver_to_client(&report).0, [ClientAction::Duplicate]);
    let fill = frame_of(0, 0, &GapFill { from_seq: U64::new(1), new_seq: U64::new(20), ..GapFill::default() });
    assert_eq!(pair.deliver_to_client(&fill).0, [ClientAction::Duplicate], "a repeated gap fill changes nothing");
}

#[test]
fn a_logout_is_answered_and_is_not_a_lost_connection() {
    let mut pair = live();
    let mut out = [0; REPLY_BYTES_MAX];
    let written = pair.client.logout(pair.now, &mut out).unwrap();
    let (actions, reply) = pair.deliver_to_server(&out[..written]);
    assert_eq!(actions, [ServerAction::Close { reason: Reason::Logout, by_peer: true }]);
    assert_eq!(pair.deliver_to_client(&reply).0, [ClientAction::Close { reason: Reason::Logout, by_peer: true }]);
    assert_eq!(pair.deliver_to_server(&order(11, 0)).0, [ServerAction::None], "nothing is processed after the end");
}

#[test]
fn a_buffer_without_room_ends_the_connection_and_not_the_process() {
    for room in 0..REPLY_BYTES_MAX {
        let mut pair = live();
        let bytes = frame_of(0, 0, &TestRequest { test_id: U64::new(5) });
        let frame = next_frame(&bytes).unwrap().unwrap();
        let step = pair.server.handle_frame(pair.now, &frame, &mut vec![0; room]);
        let closed = ServerAction::Close { reason: Reason::SlowConsumer, by_peer: false };
        let is_short = room < Heartbeat::FRAME_BYTES;
        assert_eq!(step.action, if is_short { closed } else { ServerAction::None });
    }
}

#[test]
fn a_session_goes_on_after_every_prefix_of_a_conversation() {
    const ORDERS: u64 = 12;
    for cut in 0..=ORDERS {
        // The first connection breaks when `cut` orders have arrived, none of the answers came back.
        let mut pair = live();
        let mut sent = vec![];
        for seq in 11..11 + ORDERS {
            let mut out = [0; 512];
            let block = NewOrder { cl_ord_id: U64::new(seq), ..NewOrder::default() };
            let written = pair.client.send(pair.now, &block, &mut out).unwrap();
            assert_eq!(written.seq, seq);
            sent.push(out[..written.written].to_vec());
        }
        let mut processed = vec![];
        for bytes in sent.iter().take(usize::try_from(cut).unwrap()) {
            processed.extend(pair.deliver_to_server(bytes).0);
        }
        let kept = ClientPosition { next_client_seq: 11, ..pair.client.position() };
        let facts = SessionFacts {
            last_client_seq: pair.server.expected_seq() - 1,
            next_report_seq: 21 + cut,
            ..session_facts()
        };
        // The second sends everything again that is in doubt.
        let mut pair = Pair::new(&server_config(), &client_config(), facts, kept);
        let (_, told) = pair.log_on();
        let ClientAction::LoggedOn(ack) = told[0] else { panic!("{told:?}") };
        let reports = pair.replay(21, 21 + cut);
        assert_eq!(reports.len() as u64, cut + 1, "each missed report comes once");
        for seq in ack.last_client_seq.get() + 1..11 + ORDERS {
            let mut out = [0; 512];
            let block = NewOrder { cl_ord_id: U64::new(seq), ..NewOrder::default() };
            let written = pair.client.send_again(pair.now, &block, &mut out).unwrap();
            assert_eq!(written.seq, seq);
            processed.extend(pair.deliver_to_server(&out[..written.written]).0);
        }
        let once = vec![ServerAction::Command(NewOrder::INFO); usize::try_from(ORDERS).unwrap()];
        assert_eq!(processed, once, "cut after {cut}");
    }
}

#[test]
fn the_macs_of_the_three_answers_are_not_exchangeable() {
    let (hello, challenge) = ([1; 120], [2; 120]);
    let greeting = Greeting { hello: &hello, challenge: &challenge };
    let mut logon = Logon::default();
    greeting.sign_logon(&key(), &mut logon);
    let mut ack = LogonAck::default();
    greeting.sign_ack(&key(), &logon, &mut ack);
    let mut reject = LogonReject::default();
    greeting.sign_reject(&key(), &logon, &mut reject);
    assert!(greeting.verify_logon(&key(), &logon));
    assert!(greeting.verify_ack(&key(), &logon, &ack));
    assert!(greeting.verify_reject(&key(), &logon, &reject));
    assert!(logon.mac != ack.mac && ack.mac != reject.mac);
    let other = LogonAck { mac: reject.mac, ..ack };
    assert!(!greeting.verify_ack(&key(), &logon, &other));
}

#[test]
fn open_orders_are_kept_or_canceled_by_mode_window_and_reason() {
    use tradecore_protocol::codes::CodAction::{CancelAfterWindow, CancelNow, Keep};
    let (loss, logout) = (Reason::ConnectionLost, Reason::Logout);
    for (mode, window_ms, wanted) in [
        (CodMode::None, 0, [Keep, Keep, Keep]),
        (CodMode::Disconnect, 0, [CancelNow, Keep, Keep]),
        (CodMode::Disconnect, 5, [CancelAfterWindow, Keep, Keep]),
        (CodMode::Logout, 5, [Keep, CancelNow, Keep]),
        (CodMode::Both, 0, [CancelNow, CancelNow, Keep]),
        (CodMode::Both, 5, [CancelAfterWindow, CancelNow, Keep]),
    ] {
        for kept in [Reason::TakenOver, Reason::Shutdown] {
            let found = [loss, logout, kept].map(|reason| cod_action(mode, window_ms, reason));
            assert_eq!(found, wanted, "{mode:?}, {window_ms} ms, {kept:?}");
        }
    }
}

#[test]
fn a_client_asks_for_one_resend_at_a_time() {
    let mut pair = live();
    let reports: Vec<_> = (21..25).map(|seq| pair.report(seq, 0)).collect();
    let (told, request) = pair.deliver_to_client(&reports[1..].concat());
    assert_eq!(told, [ClientAction::Gap { expected_seq: 21 }; 3]);
    assert_eq!(templates(&request), [ResendRequest::TEMPLATE_ID]);
}

#[test]
fn each_end_learns_what_the_other_has_kept() {
    let mut pair = live();
    pair.client.applied(20);
    let mut out = [0; 512];
    let sent = pair.client.send(pair.now, &NewOrder::default(), &mut out).unwrap();
    pair.deliver_to_server(&out[..sent.written]);
    assert_eq!(pair.server.peer_ack_seq(), 20);
    pair.server.set_ack(11);
    let report = pair.report(21, 0);
    pair.deliver_to_client(&report);
    assert_eq!(pair.client.peer_ack_seq(), 11);
    let mut future = frame_of(0, 0, &Heartbeat::default());
    future[16..24].fill(0xff);
    pair.deliver_to_server(&future);
    assert_eq!(pair.server.peer_ack_seq(), 21, "a claim from the future is cut to what was sent");
}

proptest! {
    #[test]
    fn no_bytes_make_either_end_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..512),
        template in 0_u16..700, seq in 0_u64..30, flags in 0_u8..8, skip in 0_u64..4_000,
    ) {
        let mut block = bytes.clone();
        block.truncate(bytes.len() / 8 * 8);
        let mut frame = frame_of(seq, flags, &Heartbeat::default());
        frame.truncate(HEADER_BYTES);
        frame.extend_from_slice(&block);
        let len = u16::try_from(frame.len()).unwrap();
        frame[..2].copy_from_slice(&len.to_le_bytes());
        frame[2..4].copy_from_slice(&template.to_le_bytes());
        frame[4..6].copy_from_slice(&(len - 32).to_le_bytes());
        for input in [&bytes, &frame] {
            let mut pair = live();
            pair.now = at(skip);
            pair.deliver_to_server(input);
            let mut out = [0; REPLY_BYTES_MAX];
            pair.server.handle_timeout(pair.now, &mut out);
            if let Ok(Some(frame)) = next_frame(input) {
                pair.client.handle_frame(pair.now, &frame, &mut out);
            }
            pair.client.handle_timeout(pair.now, &mut out);
        }
        prop_assert!(frame.len() <= FRAME_BYTES_MAX);
    }
}
