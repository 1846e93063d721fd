//! `PROTOCOL.md` and `vectors/` against the code. `UPDATE_DOCS=1` writes their generated parts.
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

mod support;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use support::{hex, unhex};
use tradecore_protocol::codes::*;
use tradecore_protocol::fields::*;
use tradecore_protocol::frame::HEADER_BYTES;
use tradecore_protocol::layout::{Direction, FieldType, MessageInfo, Sequencing};
use tradecore_protocol::messages::{ClientHello, Heartbeat, KillSwitch, NewOrder, roles};
use tradecore_protocol::session::*;
use tradecore_protocol::transcript::MacKey;
use tradecore_protocol::{CATALOGUE, Message, Reason, Text, lookup, messages, next_frame};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

/// The file must have this text; with `UPDATE_DOCS=1` it gets it.
fn check_file(name: &str, text: &str) {
    let path = root().join(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == text, "{name} differs from the code: run `UPDATE_DOCS=1 cargo test -p tradecore-protocol`");
}

fn escape(text: &str) -> String {
    text.trim().replace('|', "\\|")
}

fn type_name(ty: FieldType, len: u16) -> String {
    match ty {
        FieldType::U8 => "u8".into(),
        FieldType::U16 => "u16".into(),
        FieldType::U32 => "u32".into(),
        FieldType::U64 => "u64".into(),
        FieldType::I64 => "i64".into(),
        FieldType::I128 => "i128".into(),
        FieldType::Text => format!("text{len}"),
        FieldType::Bytes => format!("bytes{len}"),
    }
}

fn role_names(set: u8) -> String {
    if set == roles::ALL {
        return "all".into();
    }
    let all = Role::TABLE.iter().filter(|(role, ..)| set & roles::only(*role) != 0);
    all.map(|(_, _, name, _)| *name).collect::<Vec<_>>().join(", ")
}

fn render_messages() -> String {
    let mut text = String::from("\n| id | message | from | numbered | roles | block |\n|---|---|---|---|---|---|\n");
    for info in CATALOGUE {
        let (from, numbered) = (direction(info), sequencing(info));
        let MessageInfo { template_id, name, roles, block_len, .. } = info;
        let roles = role_names(*roles);
        writeln!(text, "| {template_id} | [{name}](#{}) | {from} | {numbered} | {roles} | {block_len} |", anchor(info))
            .unwrap();
    }
    for info in CATALOGUE {
        render_message(&mut text, info);
    }
    text
}

fn anchor(info: &MessageInfo) -> String {
    format!("{}-{}", info.name.to_lowercase(), info.template_id)
}

fn direction(info: &MessageInfo) -> &'static str {
    match info.direction {
        Direction::ToServer => "client",
        Direction::ToClient => "server",
        Direction::Both => "both",
    }
}

fn sequencing(info: &MessageInfo) -> &'static str {
    match info.sequencing {
        Sequencing::Sequenced => "yes",
        Sequencing::Unsequenced => "no",
        Sequencing::Either => "either",
    }
}

fn render_message(text: &mut String, info: &MessageInfo) {
    let frame_len = usize::from(info.block_len) + HEADER_BYTES;
    writeln!(text, "\n### {} {}\n\n{}\n", info.name, info.template_id, info.doc.trim()).unwrap();
    writeln!(text, "From {}; numbered: {}; frame {frame_len} bytes.\n", direction(info), sequencing(info)).unwrap();
    text.push_str("| offset | field | type | unit | rule |\n|---|---|---|---|---|\n");
    for field in info.fields {
        let (offset, name, ty) = (field.offset, field.name, type_name(field.ty, field.len));
        writeln!(text, "| {offset} | `{name}` | {ty} | {} | {} |", escape(field.unit), escape(field.doc)).unwrap();
    }
    text.push_str("\n```text\n");
    for (row, bytes) in support::sample_frame(info).chunks(16).enumerate() {
        let pairs: Vec<String> = bytes.chunks(2).map(hex).collect();
        writeln!(text, "{:03x}: {}", row * 16, pairs.join(" ")).unwrap();
    }
    text.push_str("```\n");
}

macro_rules! enum_tables {
    ($text:ident: $($name:ident),*) => {$(
        writeln!($text, "\n### {}\n\n| code | name | meaning |\n|---|---|---|", stringify!($name)).unwrap();
        for (_, code, name, doc) in $name::TABLE {
            writeln!($text, "| {code} | {name} | {} |", escape(doc)).unwrap();
        }
    )*};
}

macro_rules! flag_tables {
    ($text:ident: $($name:ident),*) => {$(
        writeln!($text, "\n### {}\n\n| bit | name | meaning |\n|---|---|---|", stringify!($name)).unwrap();
        for (bit, name, doc) in $name::TABLE {
            writeln!($text, "| {bit} | {name} | {} |", escape(doc)).unwrap();
        }
    )*};
}

fn render_codes() -> String {
    let mut text = String::new();
    enum_tables!(text: Side, OrdType, Tif, OrdStatus, ExecType, Liquidity, Role, Environment, Durability,
        CodMode, TradingState, BrokerStatus, TakeoverPolicy, ReplayMode, KillState, CodAction, Layer,
        MassCancelScope, BatchStatus, KillScope, KillAction, SubscribeAction);
    text.push_str("\n### exec_flags\n\n| bit | name | meaning |\n|---|---|---|\n");
    writeln!(text, "| {} | POST_ONLY | Refuse rather than take liquidity. |", exec_flags::POST_ONLY).unwrap();
    let cod = exec_flags::CANCEL_ON_DISCONNECT;
    writeln!(text, "| {cod} | CANCEL_ON_DISCONNECT | Cancel when the connection is lost, whatever the mode. |")
        .unwrap();
    flag_tables!(text: frame_flags, er_flags, mass_cancel_flags, kill_flags, quote_flags);
    text
}

fn render_reasons() -> String {
    let mut text = String::from("\n| code | reason | meaning |\n|---|---|---|\n");
    for (_, code, name, doc) in Reason::TABLE {
        writeln!(text, "| {code} | {name} | {} |", escape(doc)).unwrap();
    }
    text
}

/// `document` with the part between the marks of `section` replaced.
fn with_section(document: &str, section: &str, text: &str) -> String {
    let (start, end) = (format!("<!-- generated: {section} -->\n"), format!("<!-- end: {section} -->"));
    let (before, rest) = document.split_once(&start).unwrap_or_else(|| panic!("no mark for {section}"));
    let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("no end mark for {section}"));
    format!("{before}{start}{text}\n{end}{after}")
}

#[test]
fn the_specification_says_what_the_code_does() {
    let document = std::fs::read_to_string(root().join("PROTOCOL.md")).unwrap();
    let document = with_section(&document, "messages", &render_messages());
    let document = with_section(&document, "codes", &render_codes());
    let document = with_section(&document, "reasons", &render_reasons());
    check_file("PROTOCOL.md", &document);
}

#[test]
fn every_unit_that_names_an_enum_or_flags_has_its_table() {
    let codes = render_codes();
    for (info, field) in CATALOGUE.iter().flat_map(|info| info.fields.iter().map(move |field| (info, field))) {
        let is_table =
            field.unit.starts_with(char::is_uppercase) && !matches!(field.unit, "HMAC-SHA256" | "FNV-1a" | "Reason");
        if is_table || field.unit.ends_with("_flags") {
            let title = format!("### {}\n", field.unit);
            assert!(codes.contains(&title), "{}.{}: {}", info.name, field.name, field.unit);
        }
    }
}

fn pretty(value: &Value) -> String {
    let mut text = serde_json::to_string_pretty(value).unwrap();
    text.push('\n');
    text
}

fn ordered_fields(info: &MessageInfo) -> Vec<Value> {
    let fields = support::sample_fields(info);
    let one = |field: &tradecore_protocol::layout::FieldInfo| json!({ "name": field.name, "type": type_name(field.ty, field.len), "offset": field.offset, "value": fields[field.name] });
    info.fields.iter().map(one).collect()
}

fn check_message_vectors() {
    let all: Vec<Value> = CATALOGUE
        .iter()
        .map(|info| {
            json!({
                "message": info.name,
                "header": support::header_json(&support::sample_header(info)),
                "fields": ordered_fields(info),
                "hex": hex(&support::sample_frame(info)),
            })
        })
        .collect();
    check_file("vectors/messages.json", &pretty(&Value::Array(all)));
}

fn vectors(name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(root().join("vectors").join(name)).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn message_vectors_are_what_the_code_writes_and_reads_back() {
    check_message_vectors();
    let all = vectors("messages.json");
    assert_eq!(all.len(), CATALOGUE.len());
    for vector in all {
        let bytes = unhex(vector["hex"].as_str().unwrap());
        let frame = next_frame(&bytes).unwrap().unwrap();
        let info = frame.check().unwrap();
        assert_eq!(vector["message"], info.name);
        assert_eq!(vector["header"], support::header_json(&frame.header));
        let read = support::block_to_json(info, frame.block);
        for field in vector["fields"].as_array().unwrap() {
            assert_eq!(read[field["name"].as_str().unwrap()], field["value"], "{}: {field}", info.name);
        }
        let written = [support::header_bytes(&frame.header), support::block_from_json(info, &read)].concat();
        assert_eq!(hex(&written), vector["hex"].as_str().unwrap());
    }
}

#[test]
fn typed_reading_agrees_with_metadata() {
    let bytes = support::sample_frame(messages::ExecReport::INFO);
    let frame = next_frame(&bytes).unwrap().unwrap();
    let report = frame.read::<messages::ExecReport>().unwrap();
    let fields = support::block_to_json(messages::ExecReport::INFO, frame.block);
    assert_eq!(fields["cum_cost"], json!(report.cum_cost.get().to_string()));
    assert_eq!(fields["last_px"], json!(report.last_px.get()));
    assert_eq!(fields["order_version"], json!(report.order_version.get()));
    assert_eq!(fields["reason"], json!(report.reason.get()));
    assert_eq!(fields["fee"], json!(report.fee.get().to_string()));
    assert_eq!(fields["ord_status"], json!(report.ord_status));
}

/// A change of a good frame, and what becomes of it: level, reason, offset.
type Malformed = (&'static str, &'static MessageInfo, fn(&mut Vec<u8>), &'static str, Reason, u16);

fn set_len(bytes: &mut [u8], len: u16) {
    bytes[..2].copy_from_slice(&len.to_le_bytes());
}

fn malformed() -> Vec<Malformed> {
    let order = NewOrder::INFO;
    vec![
        ("length zero", order, |b| set_len(b, 0), "framing", Reason::FrameSize, 0),
        ("length below the header", order, |b| set_len(b, 24), "framing", Reason::FrameSize, 0),
        ("length not a multiple of 8", order, |b| set_len(b, 97), "framing", Reason::FrameSize, 0),
        ("length above the maximum", order, |b| set_len(b, 65_535), "framing", Reason::FrameSize, 0),
        ("length just above the maximum", order, |b| set_len(b, 65_529), "framing", Reason::FrameSize, 0),
        ("version 0", order, |b| b[6] = 0, "framing", Reason::Version, 6),
        ("version 2", order, |b| b[6] = 2, "framing", Reason::Version, 6),
        ("block longer than the frame", order, |b| b[4] = 72, "framing", Reason::FrameSize, 4),
        ("block length not a multiple of 8", order, |b| b[4] = 60, "framing", Reason::FrameSize, 4),
        ("flag without meaning", order, |b| b[7] = 8, "framing", Reason::NonzeroReserved, 7),
        ("highest flag", order, |b| b[7] = 128, "framing", Reason::NonzeroReserved, 7),
        ("template 0", order, |b| b[2..4].fill(0), "shape", Reason::UnknownTemplate, 2),
        ("template 65535", order, |b| b[2..4].fill(255), "shape", Reason::UnknownTemplate, 2),
        (
            "block one word short",
            order,
            |b| {
                b.truncate(88);
                set_len(b, 88);
                b[4] = 56;
            },
            "shape",
            Reason::BlockTooShort,
            4,
        ),
        (
            "no block",
            order,
            |b| {
                b.truncate(32);
                set_len(b, 32);
                b[4] = 0;
            },
            "shape",
            Reason::BlockTooShort,
            4,
        ),
        ("first reserved field", order, |b| b[32 + 52] = 1, "shape", Reason::NonzeroReserved, 84),
        ("last reserved byte", order, |b| b[32 + 63] = 128, "shape", Reason::NonzeroReserved, 88),
        (
            "garbage after the block",
            order,
            |b| {
                b.extend([255; 8]);
                set_len(b, 104);
            },
            "shape",
            Reason::FrameSize,
            96,
        ),
        (
            "group without entries",
            order,
            |b| {
                b.extend([8, 0, 1, 0, 0, 0, 0, 0]);
                set_len(b, 104);
            },
            "shape",
            Reason::FrameSize,
            96,
        ),
        ("text with a control byte", KillSwitch::INFO, |b| b[48] = 10, "shape", Reason::FieldValue, 48),
        ("text after its end", KillSwitch::INFO, |b| b[49] = 0, "shape", Reason::FieldValue, 48),
        (
            "hello with a longer block",
            ClientHello::INFO,
            |b| {
                b.extend([0; 8]);
                set_len(b, 128);
                b[4] = 96;
            },
            "shape",
            Reason::FrameSize,
            0,
        ),
        ("hello with a reserved byte", ClientHello::INFO, |b| b[32 + 59] = 1, "shape", Reason::NonzeroReserved, 91),
        (
            "heartbeat cut to a test request",
            Heartbeat::INFO,
            |b| {
                b.truncate(40);
                set_len(b, 40);
                b[4] = 8;
            },
            "shape",
            Reason::BlockTooShort,
            4,
        ),
    ]
}

#[test]
fn malformed_vectors_are_what_the_code_refuses() {
    let one = |(name, info, change, level, reason, offset): Malformed| {
        let mut bytes = support::sample_frame(info);
        change(&mut bytes);
        json!({ "case": name, "hex": hex(&bytes), "level": level, "reason": reason.name(), "code": reason.raw(), "offset": offset })
    };
    check_file("vectors/malformed.json", &pretty(&malformed().into_iter().map(one).collect()));
    for vector in vectors("malformed.json") {
        let bytes = unhex(vector["hex"].as_str().unwrap());
        let (level, reason, offset) = match next_frame(&bytes) {
            Err(fault) => ("framing", fault.reason, fault.offset),
            Ok(frame) => {
                let fault = frame.expect("whole").check().expect_err("refused");
                ("shape", fault.reason, fault.offset)
            }
        };
        assert_eq!(
            (json!(level), json!(reason.raw()), json!(offset)),
            (vector["level"].clone(), vector["code"].clone(), vector["offset"].clone()),
            "{}",
            vector["case"]
        );
    }
}

const KEY: &[u8] = b"tradecore test vector key, 32 b.";

/// Frames of a logon, from hello to ack.
fn transcript() -> [Vec<u8>; 4] {
    let now = Now { mono_ns: 0, utc_ns: 1_767_225_600_000_000_000 };
    let server_config = ServerConfig {
        gateway_id: Text::new("gateway-1"),
        instance_id: 1,
        environment: Environment::Virtual,
        core: 1,
        resend_count_max: 4_096,
        logon_timeout_ns: 5_000_000_000,
        heartbeat_min_ms: 100,
        heartbeat_max_ms: 60_000,
    };
    let client_config = ClientConfig {
        key_id: Text::new("key-1"),
        session_id: 42,
        core: 1,
        role: Role::Trade,
        environment: Environment::Virtual,
        heartbeat_ms: 1_000,
        cod_mode: Some(CodMode::Disconnect),
        cod_window_ms: 5_000,
        takeover: TakeoverPolicy::TakeOver,
        replay_mode: ReplayMode::Replay,
        logon_timeout_ns: 5_000_000_000,
        app_name: Text::new("vectors"),
        app_version: Text::new("1.0"),
    };
    let session = SessionFacts {
        session_epoch: 3,
        last_client_seq: 10,
        next_report_seq: 21,
        oldest_report_seq: 1,
        client_epoch: 1,
        roles: roles::TRADE,
        cod_mode: CodMode::None,
        is_connected: false,
        served_at: Text::EMPTY,
    };
    let gateway = GatewayFacts {
        trading_state: TradingState::Open,
        kill_state: KillState::Released,
        durability: Durability::Synced,
        broker_status: BrokerStatus::Ready,
        throttle_rate: 100,
        throttle_burst: 200,
        core_epoch: 9,
        ids_max: 1_000_000,
    };
    let key = MacKey::new(KEY).unwrap();
    let position = ClientPosition { session_epoch: 3, next_expected_seq: 18, next_client_seq: 11 };
    let mut client = ClientSession::new(&client_config, &key, position, [0x11; 32], now);
    let mut server = ServerSession::new(&server_config, [0x22; 32], now);
    let mut out = [0; REPLY_BYTES_MAX];
    let written = client.start(now, &mut out).unwrap();
    let hello = out[..written].to_vec();
    let step = server.handle_frame(now, &next_frame(&hello).unwrap().unwrap(), &mut out);
    let challenge = out[..step.written].to_vec();
    let step = client.handle_frame(now, &next_frame(&challenge).unwrap().unwrap(), &mut out);
    let logon = out[..step.written].to_vec();
    let step = server.handle_frame(now, &next_frame(&logon).unwrap().unwrap(), &mut out);
    assert!(matches!(step.action, ServerAction::CheckLogon(_)), "{:?}", step.action);
    let answer = LogonAnswer::Known { key: &key, session: &session, gateway: &gateway };
    let step = server.answer_logon(now, answer, &mut out);
    let ack = out[..step.written].to_vec();
    let step = client.handle_frame(now, &next_frame(&ack).unwrap().unwrap(), &mut out);
    assert!(matches!(step.action, ClientAction::LoggedOn(_)), "{:?}", step.action);
    [hello, challenge, logon, ack]
}

#[test]
fn the_logon_transcript_is_what_the_sessions_write() {
    let [hello, challenge, logon, ack] = transcript();
    let mac = |frame: &[u8]| hex(&frame[HEADER_BYTES..HEADER_BYTES + 32]);
    let value = json!({
        "key": hex(KEY),
        "client_nonce": hex(&[0x11; 32]),
        "server_nonce": hex(&[0x22; 32]),
        "hello": hex(&hello),
        "challenge": hex(&challenge),
        "logon": hex(&logon),
        "ack": hex(&ack),
        "client_mac": mac(&logon),
        "server_mac": mac(&ack),
        "client_mac_input": hex(&[b"TC1 client", &hello[..], &challenge, &logon[HEADER_BYTES + 32..]].concat()),
        "server_mac_input": hex(&[b"TC1 server", &hello[..], &challenge, &logon[HEADER_BYTES..], &ack[HEADER_BYTES + 32..]].concat()),
    });
    check_file("vectors/logon_transcript.json", &pretty(&value));
    for (input, expected) in [("client_mac_input", "client_mac"), ("server_mac_input", "server_mac")] {
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(KEY).unwrap();
        mac.update(&unhex(value[input].as_str().unwrap()));
        assert_eq!(hex(&mac.finalize().into_bytes()), value[expected].as_str().unwrap(), "{expected}");
    }
}

#[test]
fn every_documented_template_is_known() {
    assert!(CATALOGUE.iter().all(|info| lookup(info.template_id) == Some(*info)));
}
