//! The state file, cut or damaged anywhere: it opens or says what is wrong, and no ClOrdID is given twice.
#![allow(clippy::arithmetic_side_effects, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use support::{CONFIG, GATEWAY, Gateway, SECRET, State};
use tradecore_client::protocol::codes::frame_flags;
use tradecore_client::protocol::fields::{ClOrdId, Px, Qty, Side};
use tradecore_client::protocol::frame::{encode, next_frame};
use tradecore_client::protocol::messages::ExecReport;
use tradecore_client::protocol::session::{LogonAnswer, Now, ServerAction, ServerSession, SessionFacts};
use tradecore_client::protocol::transcript::MacKey;
use tradecore_client::{Address, Client, ClientError, Conversation, Event, NewOrder, Options, StoreError};

const NOW: Now = Now { mono_ns: 1, utc_ns: 1_000_000_000 };

fn order() -> NewOrder {
    NewOrder::limit(1, 1, Side::Buy, Qty(1), Px(1))
}

/// The state file after some orders, in two lives, and every id that they gave.
fn file_with_a_past(dir: &Path) -> (Vec<u8>, BTreeSet<ClOrdId>) {
    let gateway = Gateway::start(State::default());
    let mut options = gateway.options();
    options.state_path = Some(dir.join("past"));
    let mut ids = BTreeSet::new();
    for _ in 0..2 {
        let mut client = Client::connect(options.clone()).expect("logs on");
        for _ in 0..3 {
            assert!(ids.insert(client.new_order(&order()).expect("sent")));
            while !matches!(client.poll(Duration::from_secs(30)).expect("mended"), Some(Event::Exec(_))) {}
        }
    }
    (fs::read(dir.join("past")).expect("there"), ids)
}

/// Connects and logs on to a gateway without a socket, which replays these reports.
fn log_on(conversation: &mut Conversation, next_report_seq: u64, replayed: &[u64]) -> Result<(), ClientError> {
    let key = MacKey::new(SECRET).expect("long enough");
    let facts = SessionFacts { next_report_seq, ..State::default().facts() };
    let mut server = ServerSession::new(&CONFIG, [7; 32], NOW);
    let (mut to_server, mut to_client) = (vec![], vec![]);
    conversation.connect(NOW, &mut to_server)?;
    while !to_server.is_empty() {
        let bytes = std::mem::take(&mut to_server);
        let mut rest = bytes.as_slice();
        while let Some(frame) = next_frame(rest).expect("frames") {
            rest = &rest[frame.bytes.len()..];
            let mut out = [0; 512];
            let mut step = server.handle_frame(NOW, &frame, &mut out);
            if matches!(step.action, ServerAction::CheckLogon(_)) {
                let answer = LogonAnswer::Known { key: &key, session: &facts, gateway: &GATEWAY };
                step = server.answer_logon(NOW, answer, &mut out);
            }
            to_client.extend_from_slice(&out[..step.written]);
            if matches!(step.action, ServerAction::LoggedOn(_)) {
                for seq in replayed {
                    let envelope = server.envelope(NOW, *seq, frame_flags::REPLAY);
                    let written = encode(&mut out, envelope, &ExecReport::default()).expect("room");
                    to_client.extend_from_slice(&out[..written]);
                }
                let written = server.replay_complete(NOW, 0, 0, &mut out).expect("room");
                to_client.extend_from_slice(&out[..written]);
            }
        }
        conversation.take_bytes(NOW, &to_client, &mut to_server)?;
        to_client.clear();
    }
    Ok(())
}

/// Opens a state file, logs on without a socket, and gives one id.
fn next_id(path: &Path) -> Result<ClOrdId, ClientError> {
    let mut options = Options::new(Address::Tcp(String::new()), 1, "key", SECRET);
    options.state_path = Some(path.to_owned());
    let mut conversation = Conversation::new(options, NOW.utc_ns)?;
    for _ in 0..2 {
        // Every number that the file may hold is one that this gateway knows.
        log_on(&mut conversation, 1_000, &[])?;
        if conversation.is_ready() {
            break;
        }
    }
    conversation.new_order(NOW, &order(), &mut Vec::new())
}

/// True if the file opens; else its error must say where and what to do. Either way no id comes twice.
fn opens_or_says_why(path: &Path, bytes: &[u8], given: &BTreeSet<ClOrdId>, at: &str) -> bool {
    fs::write(path, bytes).expect("written");
    match next_id(path) {
        Ok(id) => {
            assert!(!given.contains(&id), "{at}: {id:?} was given before");
            true
        }
        Err(ClientError::Store(error @ StoreError::Damaged { .. })) => {
            let text = error.to_string();
            assert!(text.contains("damaged at byte") && text.contains("query open orders"), "{at}: {text}");
            assert_eq!(fs::read(path).expect("there"), bytes, "{at}: a damaged file is evidence");
            false
        }
        Err(error) => panic!("{at}: {error}"),
    }
}

#[test]
fn a_file_cut_at_any_byte_opens_or_says_why_and_gives_no_id_twice() {
    let dir = tempfile::tempdir().expect("a directory");
    let (bytes, given) = file_with_a_past(dir.path());
    let mut opened = 0_usize;
    for cut in 0..=bytes.len() {
        let opens = opens_or_says_why(&dir.path().join("cut"), &bytes[..cut], &given, &format!("cut at {cut}"));
        opened += usize::from(opens);
    }
    // Its first record is on the disk before the file has its name; what follows may be torn anywhere.
    assert_eq!(opened, bytes.len() - 27, "files that open");
}

#[test]
fn a_file_with_any_bit_flipped_says_why_and_gives_no_id_twice() {
    let dir = tempfile::tempdir().expect("a directory");
    let (bytes, given) = file_with_a_past(dir.path());
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let opens = opens_or_says_why(&dir.path().join("flipped"), &flipped, &given, &format!("bit {bit}"));
        assert!(!opens, "bit {bit}: nobody noticed");
    }
}

#[test]
fn an_end_of_zeros_is_a_torn_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut bytes, given) = file_with_a_past(dir.path());
    bytes.resize(bytes.len() + 100, 0);
    assert!(opens_or_says_why(&dir.path().join("zeros"), &bytes, &given, "zeros"));
}

#[test]
fn a_gateway_is_told_of_no_report_that_the_caller_has_not_come_back_for_also_after_a_reconnect() {
    let options = Options::new(Address::Tcp(String::new()), 1, "key", SECRET);
    let mut conversation = Conversation::new(options, NOW.utc_ns).expect("a key");
    log_on(&mut conversation, 1, &[]).expect("learns the epoch");
    log_on(&mut conversation, 3, &[1, 2]).expect("logs on");
    let acknowledged = |conversation: &mut Conversation| {
        let mut sent = vec![];
        conversation.new_order(NOW, &order(), &mut sent).expect("sent");
        next_frame(&sent).expect("a frame").expect("whole").header.ack_seq
    };
    conversation.connection_lost();
    log_on(&mut conversation, 3, &[]).expect("logs on");
    for count in [0, 0, 1] {
        assert_eq!(acknowledged(&mut conversation), count);
        assert!(matches!(conversation.next_event(), Ok(Some(Event::Exec(_) | Event::Ready { .. }))));
    }
    assert_eq!(acknowledged(&mut conversation), 2);
}

#[test]
fn a_report_comes_again_in_the_next_life_unless_the_caller_came_back_for_more() {
    let dir = tempfile::tempdir().expect("a directory");
    let gateway = Gateway::start(State::default());
    let mut options = gateway.options();
    options.state_path = Some(dir.path().join("state"));
    let next_report = |client: &mut Client| loop {
        if let Some(Event::Exec(report)) = client.poll(Duration::from_secs(30)).expect("mended") {
            return report.journal_seq.get();
        }
    };
    let mut client = Client::connect(options.clone()).expect("logs on");
    client.new_order(&order()).expect("sent");
    assert_eq!((next_report(&mut client), next_report(&mut client)), (1, 2));
    drop(client);
    let mut client = Client::connect(options.clone()).expect("logs on");
    assert_eq!(next_report(&mut client), 2, "the first was dealt with, the second perhaps not");
    client.logout();
    drop(client);
    let mut client = Client::connect(options).expect("logs on");
    client.new_order(&order()).expect("sent");
    assert_eq!(next_report(&mut client), 3, "a goodbye says that all was dealt with");
}

#[test]
fn a_request_whose_refusal_was_heard_by_a_life_that_ended_is_told_again_and_never_sent_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let gateway = Gateway::start(State { refuse_every: 1, ..State::default() });
    let mut options = gateway.options();
    options.state_path = Some(dir.path().join("state"));
    let mut client = Client::connect(options.clone()).expect("logs on");
    let id = client.new_order(&order()).expect("sent");
    let heard = client.poll(Duration::from_secs(30)).expect("mended");
    assert!(matches!(&heard, Some(Event::Reject(reject)) if reject.cl_ord_id.get() == id.0), "{heard:?}");
    drop(client);
    gateway.state().refuse_every = 0;
    let mut client = Client::connect(options.clone()).expect("logs on");
    let told = client.poll(Duration::from_secs(30)).expect("mended");
    assert!(matches!(told, Some(Event::NotApplied { cl_ord_id }) if cl_ord_id == id), "{told:?}");
    client.logout();
    drop(client);
    let mut client = Client::connect(options).expect("logs on");
    let next_id = client.new_order(&order()).expect("sent");
    let told = client.poll(Duration::from_secs(30)).expect("mended");
    assert!(matches!(&told, Some(Event::Exec(report)) if report.cl_ord_id.get() == next_id.0), "{told:?}");
    assert_eq!(gateway.state().applied, [(next_id.0, 0)]);
}
