//! Every phase of both ends × every message: what comes of it.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

use tradecore_protocol::codes::{KillState, ReplayMode, TakeoverPolicy};
use tradecore_protocol::fields::{BrokerStatus, CodMode, Durability, Environment, Role, TradingState};
use tradecore_protocol::frame::HEADER_BYTES;
use tradecore_protocol::layout::wire::{U32, U64};
use tradecore_protocol::layout::{Direction, MessageInfo, Sequencing};
use tradecore_protocol::messages::*;
use tradecore_protocol::session::*;
use tradecore_protocol::transcript::MacKey;
use tradecore_protocol::{CATALOGUE, Envelope, Message, Text, encode, next_frame};

const NOW: Now = Now { mono_ns: 1, utc_ns: 1 };
const ROLES: [(char, Role); 4] =
    [('T', Role::Trade), ('D', Role::DropCopy), ('M', Role::MarketData), ('A', Role::Admin)];

/// What a server does in `AwaitHello`, `AwaitLogon`, `Checking`, `Replaying`, a resend, `Live` and `Closed`. A role
/// that is not listed is refused with `RoleForbidden` wherever another would be heard.
const SERVER: &str = "
message             | hello     | logon  | checking | replaying                | resending                | live                   | closed | roles
ClientHello         | challenge | no     | no       | refuse FieldValue        | refuse FieldValue        | refuse FieldValue      | -      | TDMA
Logon               | no        | check  | no       | refuse FieldValue        | refuse FieldValue        | refuse FieldValue      | -      | TDMA
Heartbeat           | no        | no     | no       | -                        | -                        | -                      | -      | TDMA
TestRequest         | no        | no     | no       | heartbeat                | heartbeat                | heartbeat              | -      | TDMA
ResendRequest       | no        | no     | no       | refuse ResendInProgress  | refuse ResendInProgress  | resend                 | -      | TDMA
Terminate           | no        | no     | no       | part                     | part                     | part                   | -      | TDMA
NewOrder            | no        | no     | no       | refuse ReplayInProgress  | command                  | command                | -      | T
CancelOrder         | no        | no     | no       | command                  | command                  | command                | -      | T
ReplaceOrder        | no        | no     | no       | refuse ReplayInProgress  | command                  | command                | -      | T
MassCancel          | no        | no     | no       | command                  | command                  | command                | -      | TA
OrderStatusRequest  | no        | no     | no       | query                    | query                    | query                  | -      | TDA
OpenOrdersRequest   | no        | no     | no       | query                    | query                    | query                  | -      | TDA
PositionRequest     | no        | no     | no       | query                    | query                    | query                  | -      | TDA
AccountRequest      | no        | no     | no       | query                    | query                    | query                  | -      | TDA
FillsRequest        | no        | no     | no       | query                    | query                    | query                  | -      | TDA
KillSwitch          | no        | no     | no       | command                  | command                  | command                | -      | A
OperatorNote        | no        | no     | no       | command                  | command                  | command                | -      | A
InstrumentsRequest  | no        | no     | no       | query                    | query                    | query                  | -      | TDMA
MarketDataSubscribe | no        | no     | no       | query                    | query                    | query                  | -      | TMA
a server's          | no        | no     | no       | refuse UnknownTemplate   | refuse UnknownTemplate   | refuse UnknownTemplate | -      | TDMA
an unknown          | unknown   | unknown | unknown | refuse UnknownTemplate   | refuse UnknownTemplate   | refuse UnknownTemplate | -      | TDMA
";

/// What a client does in `AwaitChallenge`, `AwaitAck`, `Replaying`, `Live` and `Closed`.
const CLIENT: &str = "
message          | challenge       | ack             | replaying           | live                | closed
ServerChallenge  | logon           | end NotLoggedOn | end FieldValue      | end FieldValue      | -
LogonAck         | end NotLoggedOn | logged on       | end FieldValue      | end FieldValue      | -
LogonReject      | refused         | refused         | end FieldValue      | end FieldValue      | -
Heartbeat        | end NotLoggedOn | end NotLoggedOn | -                   | -                   | -
TestRequest      | end NotLoggedOn | end NotLoggedOn | heartbeat           | heartbeat           | -
ResendBegin      | end NotLoggedOn | end NotLoggedOn | -                   | -                   | -
ResendReject     | end NotLoggedOn | end NotLoggedOn | resend refused      | resend refused      | -
GapFill          | end NotLoggedOn | end NotLoggedOn | gap                 | gap                 | -
NotApplied       | end NotLoggedOn | end NotLoggedOn | not applied         | not applied         | -
ReplayComplete   | end NotLoggedOn | end NotLoggedOn | complete            | complete            | -
Terminate        | part            | part            | part                | part                | -
SessionReject    | end NotLoggedOn | end NotLoggedOn | rejected            | rejected            | -
a numbered       | end NotLoggedOn | end NotLoggedOn | report              | report              | -
an answer        | end NotLoggedOn | end NotLoggedOn | answer              | answer              | -
a client's       | end NotLoggedOn | end NotLoggedOn | end UnknownTemplate | end UnknownTemplate | -
an unknown       | end UnknownTemplate | end UnknownTemplate | skipped     | skipped             | -
";

/// The rows of a table: name and cells.
fn rows(table: &'static str) -> Vec<(&'static str, Vec<&'static str>)> {
    let cells = |line: &'static str| line.split('|').map(str::trim).collect::<Vec<_>>();
    let lines = table.lines().filter(|line| !line.is_empty()).skip(1);
    lines.map(|line| (cells(line)[0], cells(line)[1..].to_vec())).collect()
}

/// The one row for a message: its own, or that of its kind.
fn row_of(table: &'static str, name: &str, kind: &str) -> Vec<&'static str> {
    let named = |wanted: &str| -> Vec<Vec<&'static str>> {
        rows(table).into_iter().filter(|(name, _)| *name == wanted).map(|(_, cells)| cells).collect()
    };
    let found = if named(name).is_empty() { named(kind) } else { named(name) };
    assert_eq!(found.len(), 1, "{name} has one row");
    found[0].clone()
}

fn frame_of<T: Message>(seq: u64, block: &T) -> Vec<u8> {
    let mut out = [0; 512];
    let len = encode(&mut out, Envelope { seq, ..Envelope::default() }, block).unwrap();
    out[..len].to_vec()
}

/// The frame of a message with nothing but zeros in its block.
fn empty_frame(template_id: u16, block_len: u16, seq: u64) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_BYTES + usize::from(block_len)];
    bytes[0..2].copy_from_slice(&(HEADER_BYTES as u16 + block_len).to_le_bytes());
    bytes[2..4].copy_from_slice(&template_id.to_le_bytes());
    bytes[4..6].copy_from_slice(&block_len.to_le_bytes());
    bytes[6] = 1;
    bytes[8..16].copy_from_slice(&seq.to_le_bytes());
    bytes
}

fn key() -> MacKey {
    MacKey::new(b"0123456789abcdef").unwrap()
}

/// Both ends at the start of a connection.
fn ends(role: Role) -> (ServerSession, ClientSession) {
    let server = ServerConfig {
        gateway_id: Text::EMPTY,
        instance_id: 1,
        environment: Environment::Paper,
        core: 1,
        resend_count_max: 16,
        logon_timeout_ns: 1_000,
        heartbeat_min_ms: 1,
        heartbeat_max_ms: 1_000,
    };
    let client = ClientConfig {
        key_id: Text::EMPTY,
        session_id: 1,
        core: 1,
        role,
        environment: Environment::Paper,
        heartbeat_ms: 100,
        cod_mode: Some(CodMode::None),
        cod_window_ms: 0,
        takeover: TakeoverPolicy::Refuse,
        replay_mode: ReplayMode::Replay,
        logon_timeout_ns: 1_000,
        app_name: Text::EMPTY,
        app_version: Text::EMPTY,
    };
    let position = ClientPosition { session_epoch: 1, next_expected_seq: 5, next_client_seq: 1 };
    (ServerSession::new(&server, [2; 32], NOW), ClientSession::new(&client, &key(), position, [1; 32], NOW))
}

fn answer(server: &mut ServerSession, out: &mut [u8]) -> usize {
    let session = SessionFacts {
        session_epoch: 1,
        last_client_seq: 0,
        next_report_seq: 5,
        oldest_report_seq: 1,
        client_epoch: 1,
        roles: roles::ALL,
        cod_mode: CodMode::None,
        is_connected: false,
        served_at: Text::EMPTY,
    };
    let gateway = GatewayFacts {
        trading_state: TradingState::Open,
        kill_state: KillState::Released,
        durability: Durability::Synced,
        broker_status: BrokerStatus::Ready,
        throttle_rate: 0,
        throttle_burst: 1,
        core_epoch: 1,
        ids_max: 1,
    };
    let step = server.answer_logon(NOW, LogonAnswer::Known { key: &key(), session: &session, gateway: &gateway }, out);
    assert!(matches!(step.action, ServerAction::LoggedOn(_)), "{:?}", step.action);
    step.written
}

/// Hello, challenge, logon and ack of a connection between `ends`.
fn greeting(role: Role) -> [Vec<u8>; 4] {
    let (mut server, mut client) = ends(role);
    let mut out = [0; REPLY_BYTES_MAX];
    let frame = |len: usize, out: &[u8]| out[..len].to_vec();
    let written = client.start(NOW, &mut out).unwrap();
    let hello = frame(written, &out);
    let step = server.handle_frame(NOW, &next_frame(&hello).unwrap().unwrap(), &mut out);
    let challenge = frame(step.written, &out);
    let step = client.handle_frame(NOW, &next_frame(&challenge).unwrap().unwrap(), &mut out);
    let logon = frame(step.written, &out);
    server.handle_frame(NOW, &next_frame(&logon).unwrap().unwrap(), &mut out);
    let written = answer(&mut server, &mut out);
    [hello, challenge, logon, frame(written, &out)]
}

fn resend_request() -> Vec<u8> {
    frame_of(0, &ResendRequest { from_seq: U64::new(2), count: U32::new(2), ..ResendRequest::default() })
}

/// A server in a phase, by the number of its column.
fn server_in(phase: usize, role: Role) -> ServerSession {
    let (mut server, _) = ends(role);
    let [hello, _, logon, _] = greeting(role);
    let mut out = [0; REPLY_BYTES_MAX];
    let mut steps = 0;
    let mut is_reached = || {
        steps += 1;
        steps > phase
    };
    if is_reached() {
        return server;
    }
    server.handle_frame(NOW, &next_frame(&hello).unwrap().unwrap(), &mut out);
    if is_reached() {
        return server;
    }
    server.handle_frame(NOW, &next_frame(&logon).unwrap().unwrap(), &mut out);
    if is_reached() {
        return server;
    }
    answer(&mut server, &mut out);
    if is_reached() {
        return server;
    }
    server.replay_complete(NOW, 0, 0, &mut out).unwrap();
    server.handle_frame(NOW, &next_frame(&resend_request()).unwrap().unwrap(), &mut out);
    assert!(server.holds_live_reports() && server.is_live());
    if is_reached() {
        return server;
    }
    server.resend_complete();
    if is_reached() {
        return server;
    }
    server.terminate(NOW, tradecore_protocol::Reason::Shutdown, "", &mut out);
    server
}

/// What a server did, in the words of the table; what it wrote must go with it.
fn server_word(step: Step<ServerAction>, out: &[u8]) -> String {
    let written = next_frame(&out[..step.written]).unwrap().map(|frame| frame.check().unwrap().name);
    match (step.action, written) {
        (ServerAction::None, None) => "-".to_owned(),
        (ServerAction::None, Some("ServerChallenge")) => "challenge".to_owned(),
        (ServerAction::None, Some("Heartbeat")) => "heartbeat".to_owned(),
        (ServerAction::CheckLogon(_), None) => "check".to_owned(),
        (ServerAction::Command(_), None) => "command".to_owned(),
        (ServerAction::Query(_), None) => "query".to_owned(),
        (ServerAction::Resend { from_seq: 2, count: 2 }, Some("ResendBegin")) => "resend".to_owned(),
        (ServerAction::Refused(reason), Some("SessionReject" | "RequestReject" | "ResendReject")) => {
            format!("refuse {}", reason.name())
        }
        (ServerAction::Close { by_peer: true, .. }, Some("Terminate")) => "part".to_owned(),
        (ServerAction::Close { reason, by_peer: false }, Some("LogonReject")) => match reason.name() {
            "NotLoggedOn" => "no".to_owned(),
            "UnknownTemplate" => "unknown".to_owned(),
            other => format!("reject {other}"),
        },
        (action, written) => format!("{action:?} and {written:?}"),
    }
}

const UNKNOWN_TEMPLATE: u16 = 999;

#[test]
fn a_server_does_with_every_message_in_every_phase_what_the_table_says() {
    for (letter, role) in ROLES {
        let [hello, _, logon, _] = greeting(role);
        for info in CATALOGUE.iter().map(Some).chain([None]) {
            let name = info.map_or("an unknown", |info| info.name);
            let row = row_of(SERVER, name, "a server's");
            assert_eq!(row.len(), 8, "{name}: seven phases, and roles");
            for (phase, cell) in row.iter().take(7).enumerate() {
                let numbered = u64::from(info.is_some_and(|info| {
                    info.direction != Direction::ToClient && info.sequencing == Sequencing::Sequenced
                }));
                let bytes = match name {
                    "ClientHello" => hello.clone(),
                    "Logon" => logon.clone(),
                    "ResendRequest" => resend_request(),
                    "an unknown" => empty_frame(UNKNOWN_TEMPLATE, 8, 0),
                    _ => info.map(|info| empty_frame(info.template_id, info.block_len, numbered)).unwrap(),
                };
                let is_heard = matches!(phase, 3..=5);
                let expected = if is_heard && !row[7].contains(letter) { "refuse RoleForbidden" } else { cell };
                let mut out = [0; REPLY_BYTES_MAX];
                let mut server = server_in(phase, role);
                let next_seq = server.expected_seq();
                let step = server.handle_frame(NOW, &next_frame(&bytes).unwrap().unwrap(), &mut out);
                assert_eq!(server_word(step, &out), expected, "{name} in column {phase}, {role:?}");
                let is_used_up = is_heard && numbered == 1;
                assert_eq!(server.expected_seq() - next_seq, u64::from(is_used_up), "{name} in column {phase}");
            }
        }
    }
}

#[test]
fn a_message_with_a_number_that_it_should_not_have_ends_the_session() {
    for info in CATALOGUE.iter().filter(|info| info.direction != Direction::ToClient) {
        let seq = u64::from(info.sequencing == Sequencing::Unsequenced);
        for phase in 3..6 {
            let mut out = [0; REPLY_BYTES_MAX];
            let bytes = empty_frame(info.template_id, info.block_len, seq);
            let mut server = server_in(phase, Role::Trade);
            let step = server.handle_frame(NOW, &next_frame(&bytes).unwrap().unwrap(), &mut out);
            let reason = tradecore_protocol::Reason::SeqError;
            assert_eq!(step.action, ServerAction::Close { reason, by_peer: false }, "{} in {phase}", info.name);
        }
    }
}

/// A client in a phase, by the number of its column.
fn client_in(phase: usize) -> ClientSession {
    let (_, mut client) = ends(Role::Trade);
    let [_, challenge, _, ack] = greeting(Role::Trade);
    let complete = frame_of(0, &ReplayComplete::default());
    let terminate = frame_of(0, &Terminate::default());
    let mut out = [0; REPLY_BYTES_MAX];
    client.start(NOW, &mut out).unwrap();
    for bytes in [challenge, ack, complete, terminate].iter().take(phase) {
        client.handle_frame(NOW, &next_frame(bytes).unwrap().unwrap(), &mut out);
    }
    client
}

/// What a client did, in the words of the table; what it wrote must go with it.
fn client_word(step: Step<ClientAction>, out: &[u8]) -> String {
    let written = next_frame(&out[..step.written]).unwrap().map(|frame| frame.check().unwrap().name);
    let word = match (step.action, written) {
        (ClientAction::None, None) => "-",
        (ClientAction::None, Some("Logon")) => "logon",
        (ClientAction::None, Some("Heartbeat")) => "heartbeat",
        (ClientAction::LoggedOn(_), None) => "logged on",
        (ClientAction::LogonRefused { is_authentic: false, .. }, None) => "refused",
        (ClientAction::Report(_), None) => "report",
        (ClientAction::Answer(_), None) => "answer",
        (ClientAction::Skipped, None) => "skipped",
        (ClientAction::GapFilled { from_seq: 5, new_seq: 7 }, None) => "gap",
        (ClientAction::ResendRefused(_), None) => "resend refused",
        (ClientAction::NotApplied { .. }, None) => "not applied",
        (ClientAction::ReplayComplete { .. }, None) => "complete",
        (ClientAction::Rejected(_), None) => "rejected",
        (ClientAction::Close { by_peer: true, .. }, None) => "part",
        // Before the ack there is nobody to say goodbye to.
        (ClientAction::Close { reason, by_peer: false }, None | Some("Terminate")) => {
            return format!("end {}", reason.name());
        }
        (action, written) => return format!("{action:?} and {written:?}"),
    };
    word.to_owned()
}

#[test]
fn a_client_does_with_every_message_in_every_phase_what_the_table_says() {
    let [_, challenge, _, ack] = greeting(Role::Trade);
    let check = |name: &str, kind: &str, bytes: &[u8]| {
        let row = row_of(CLIENT, name, kind);
        assert_eq!(row.len(), 5, "{name}: five phases");
        for (phase, cell) in row.iter().enumerate() {
            let mut out = [0; REPLY_BYTES_MAX];
            let mut client = client_in(phase);
            let step = client.handle_frame(NOW, &next_frame(bytes).unwrap().unwrap(), &mut out);
            assert_eq!(client_word(step, &out), *cell, "{name} as {kind} in column {phase}");
        }
    };
    let empty = |info: &MessageInfo, seq| empty_frame(info.template_id, info.block_len, seq);
    for info in CATALOGUE {
        let name = info.name;
        match (name, info.direction) {
            ("ServerChallenge", _) => check(name, name, &challenge),
            ("LogonAck", _) => check(name, name, &ack),
            ("GapFill", _) => {
                let block = GapFill { from_seq: U64::new(5), new_seq: U64::new(7), ..GapFill::default() };
                check(name, name, &frame_of(0, &block));
            }
            (_, Direction::ToServer) => check(name, "a client's", &empty(info, 0)),
            (_, Direction::ToClient | Direction::Both) => {
                if info.may_be_sequenced() {
                    check(name, "a numbered", &empty(info, 5));
                }
                if info.sequencing != Sequencing::Sequenced {
                    check(name, "an answer", &empty(info, 0));
                }
            }
        }
    }
    check("an unknown", "an unknown", &empty_frame(UNKNOWN_TEMPLATE, 8, 0));
    check("an unknown", "an unknown", &empty_frame(UNKNOWN_TEMPLATE, 8, 5));
}

#[test]
fn the_tables_name_no_message_twice_and_none_that_does_not_exist() {
    for (table, kinds) in [
        (SERVER, vec!["a server's", "an unknown"]),
        (CLIENT, vec!["a numbered", "an answer", "a client's", "an unknown"]),
    ] {
        let mut names: Vec<_> = rows(table).into_iter().map(|(name, _)| name).collect();
        for name in &names {
            let is_message = CATALOGUE.iter().any(|info| info.name == *name);
            assert!(is_message || kinds.contains(name), "{name}");
        }
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
