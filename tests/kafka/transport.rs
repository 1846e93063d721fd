//! Events as JSON, and what becomes of those that the cluster refuses.

use std::collections::BTreeSet;

use rdkafka::message::{Headers, Message, OwnedMessage};

use serde_json::Value;

use tradecore_protocol::fields::Tif;

use super::desk::{Algo, Desk};
use super::host::{DEADLINE, Host, header};
use super::wait_until;

/// What a batch of one record adds to it, bytes: its head, and lengths.
const BATCH_OVERHEAD: usize = 97;

/// What a record takes of a batch, but for some bytes of lengths.
fn size(message: &OwnedMessage) -> usize {
    let headers = message.headers().expect("headers");
    let headers: usize = headers.iter().map(|header| header.key.len() + header.value.map_or(0, <[u8]>::len)).sum();
    headers + message.payload().map_or(0, <[u8]>::len) + message.key().map_or(0, <[u8]>::len)
}

#[test]
fn json_that_is_refused_for_good_becomes_a_dead_letter_and_all_else_is_shipped() {
    let host = Host::new("timeout_ms = 10000\nsettings = [\"compression.type=none\"]");
    let mut journal = host.journal();
    journal.append(200);
    let shipper = host.shipper();
    wait_until(&host, "lag_events", "0");
    assert_eq!(host.assert_json_once().len(), 200, "all of them are taken");

    let mut sizes: Vec<usize> = host.records("transport.order-events", 2).iter().map(size).collect();
    sizes.sort_unstable();
    // Between two kinds of events that differ most in size.
    let gap = sizes.windows(2).max_by_key(|pair| pair[1] - pair[0]).expect("two sizes");
    assert!(gap[1] - gap[0] > 80, "{sizes:?}");
    let limit = usize::midpoint(gap[0], gap[1]);
    let topic = format!("{}transport.order-events", host.prefix);
    host.broker.set(&topic, &[("max.message.bytes", &(limit + BATCH_OVERHEAD).to_string())]);
    journal.append(60);
    wait_until(&host, "lag_events", "0");
    assert_eq!(host.assert_exactly_once(), 260, "the event store has all of them");
    let delivered = host.assert_json_once();
    let letters = host.records("transport.order-events.dlq", 1);
    assert_eq!(delivered.len() + letters.len(), 260);
    assert!(letters.len() > 10, "{} letters", letters.len());
    let later = host.records("transport.order-events", 2);
    let later =
        later.iter().filter(|record| header(record, "ce_seq").expect("seq").parse::<u64>().expect("a number") > 200);
    let later: Vec<usize> = later.map(size).collect();
    assert!(!later.is_empty() && later.iter().all(|size| *size < limit), "the small ones are taken: {later:?}");
    for letter in &letters {
        let of = |name| header(letter, name).unwrap_or_else(|| panic!("{name} in {letter:?}"));
        assert!(size(letter) > limit, "{letter:?}");
        assert_eq!((of("original_topic"), of("retry_count")), (topic.clone(), "0".to_owned()));
        assert!(of("reason").contains("MessageSizeTooLarge"), "{}", of("reason"));
        assert!(of("time").starts_with("20") && of("time").ends_with('Z'), "{}", of("time"));
        assert!(["0", "1"].contains(&of("original_partition").as_str()));
    }
    shipper.signal(rustix::process::Signal::TERM);
    let (code, said) = shipper.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("becomes a dead letter"), "the log tells of it: {said}");
    journal.closer.seal(journal.writer);
}

#[test]
fn a_dead_letter_is_sent_again_or_put_aside_once_and_who_did_it_is_written_down() {
    let host = Host::new("timeout_ms = 10000");
    host.write(20);
    host.succeed(&["ship", "run", "--drain"]);
    let topic = format!("{}transport.order-events", host.prefix);
    host.broker.set(&topic, &[("retention.ms", "-1"), ("max.message.bytes", "100")]);
    host.write(20);
    host.succeed(&["ship", "run", "--drain"]);
    let refused = host.records("transport.order-events.dlq", 1).len();
    assert!(refused > 5, "{refused} letters");
    let list = |words: &[&str]| -> Vec<Value> {
        let said = host.succeed(&[&["dlq", "list", "--json"], words].concat());
        said.lines().map(|line| serde_json::from_str(line).expect("an object")).collect()
    };
    let letters = list(&[]);
    assert_eq!(letters.len(), refused);
    let id = |nth: usize| letters[nth]["letter"].as_str().expect("text").to_owned();
    let shown: Value = serde_json::from_str(&host.succeed(&["dlq", "show", &id(0)])).expect("an object");
    assert_eq!((&shown["seq"], &shown["headers"]["original_topic"]), (&letters[0]["seq"], &topic.clone().into()));
    assert!(shown["data"]["meta"].is_object(), "{shown}");

    // Still refused: another letter takes its place.
    let output = host.run(&["dlq", "retry", &id(0), "--by", "anna", "--unjournaled"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(65), "{said}");
    assert!(said.contains("refuses it again") && said.contains("MessageSizeTooLarge"), "{said}");
    let again = list(&[]);
    let last = again.last().expect("a letter");
    assert_eq!((again.len(), &last["retry_count"], &last["seq"]), (refused, &"1".into(), &letters[0]["seq"]));

    // The topic takes them now.
    host.broker.set(&topic, &[("retention.ms", "-1")]);
    let before = host.records("transport.order-events", 2).len();
    let last = last["letter"].as_str().expect("text");
    host.succeed(&["dlq", "retry", last, &id(1), "--by", "anna", "--unjournaled"]);
    host.succeed(&["dlq", "discard", &id(2), "--by", "ben", "--unjournaled"]);
    let records = host.records("transport.order-events", 2);
    assert_eq!(records.len(), before + 2);
    let sent = records.iter().filter(|record| header(record, "ce_seq").as_deref() == letters[1]["seq"].as_str());
    let sent: Vec<_> = sent.collect();
    assert_eq!(sent.len(), 1, "once");
    assert_eq!(sent[0].key(), letters[1]["key"].as_str().map(str::as_bytes));
    assert!(
        header(sent[0], "reason").is_none() && header(sent[0], "ce_id").is_some(),
        "as if it had never been refused"
    );
    assert_eq!(list(&[]).len(), refused - 3);
    let all = list(&["--all"]);
    assert_eq!(all.len(), refused + 1, "with the one that was refused again");
    for (letter, state, by) in
        [(id(0), "refused-again", "anna"), (id(1), "retried", "anna"), (id(2), "discarded", "ben")]
    {
        let found = all.iter().find(|found| found["letter"] == letter.as_str()).expect("listed");
        assert_eq!((&found["state"], &found["by"]), (&state.into(), &by.into()), "{found}");
    }
    for words in [["retry", &id(1)], ["discard", &id(2)], ["retry", &id(2)]] {
        let output = host.run(&["dlq", words[0], words[1], "--unjournaled"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(65), "{words:?}: {said}");
        assert!(said.contains("was retried by anna") || said.contains("was discarded by ben"), "{said}");
    }
    let output = host.run(&["dlq", "retry", "order/999999", "--unjournaled"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("no dead letter order/999999"), "{output:?}");
    assert_eq!(host.records("transport.order-events", 2).len(), before + 2, "nothing more was sent");
    assert_eq!(host.assert_exactly_once(), 40);
}

#[test]
fn what_is_done_about_a_dead_letter_is_in_the_journal_before_it_is_done_or_it_is_not_done() {
    let desk = Desk::new("timeout_ms = 10000");
    let config = std::fs::read_to_string(desk.host.config()).expect("read");
    let session = |id: u32, role: &str| {
        format!("[[sessions]]\nid = {id}\nkey_id = \"key{id}\"\nsecret_file = \"algo1\"\nrole = \"{role}\"\n")
    };
    let config = [config, session(7, "drop_copy"), session(8, "admin")].join("\n");
    std::fs::write(desk.host.config(), config).expect("written");
    let gateway = Desk::gateway(&desk.host.config());
    let topic = format!("{}transport.order-events", desk.host.prefix);
    desk.host.broker.set(&topic, &[("retention.ms", "-1"), ("max.message.bytes", "100")]);
    let mut algo = Algo::at(&desk.host.dir.path().join("data"));
    algo.send(Tif::Ioc);
    let letters = || -> Vec<String> {
        let said = desk.host.succeed(&["dlq", "list", "--json"]);
        let letter = |line: &str| -> Value { serde_json::from_str(line).expect("an object") };
        said.lines().map(|line| letter(line)["letter"].as_str().expect("text").to_owned()).collect()
    };
    let since = std::time::Instant::now();
    while letters().len() < 2 {
        assert!(since.elapsed() < DEADLINE, "no dead letters: {:?}", letters());
    }
    let before = letters();
    let refused = |words: &[&str], code: i32, part: &str| {
        let output = desk.host.run(&[&["dlq", "discard", &before[0]], words].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(code) && said.contains(part), "{words:?}: {said}");
    };
    refused(&[], 64, "--session");
    refused(&["--session", "7", "--by", "eve"], 65, "RoleForbidden");
    refused(&["order/424242", "--session", "8"], 65, "no dead letter order/424242");
    refused(&["--session", "8", "--by", &"x".repeat(97)], 64, "at most 96");
    desk.host.succeed(&["dlq", "discard", &before[0], "--session", "8", "--by", "anna"]);
    assert!(letters().starts_with(&before[1..2]), "one is put aside: {before:?}, {:?}", letters());
    refused(&["--session", "8", "--by", "carl"], 65, "was discarded by anna");
    gateway.signal(rustix::process::Signal::TERM);
    gateway.end();
    let before = letters();
    let output = desk.host.run(&["dlq", "discard", &before[0], "--session", "8", "--by", "ben"]);
    assert_eq!(output.status.code(), Some(69), "nobody writes it down: {output:?}");
    assert_eq!(letters(), before);
    let journal = desk.host.journal_dir();
    let dump = std::process::Command::new(env!("CARGO_BIN_EXE_tradecore"))
        .args(["journal", "dump", "--dir"])
        .arg(&journal)
        .output()
        .expect("ran");
    let text = String::from_utf8(dump.stdout).expect("text");
    let notes: Vec<&str> = text.lines().filter(|line| line.contains(" OperatorNoted ")).collect();
    let [note] = notes[..] else { panic!("{notes:?}") };
    assert!(note.contains("text=\"dlq discard order/") && note.contains(" by anna\""), "{note}");
}

#[test]
fn what_the_topic_of_sagas_refuses_is_its_own_dead_letter_and_no_other_topic_misses_it() {
    let host = Host::new("timeout_ms = 10000");
    host.write(200);
    host.succeed(&["ship", "run", "--drain"]);
    assert_eq!(host.assert_json_once().len(), 200);
    let before = host.records("saga.events", 2).len();
    assert!(before > 5, "{before} events of sagas");
    let topic = format!("{}saga.events", host.prefix);
    host.broker.set(&topic, &[("retention.ms", "-1"), ("max.message.bytes", "100")]);
    host.write(200);
    host.succeed(&["ship", "run", "--drain"]);
    assert_eq!((host.assert_exactly_once(), host.assert_json_once().len()), (400, 400), "their domains have them");
    let letters = host.succeed(&["dlq", "list", "--json", "--domain", "saga"]);
    let letters: Vec<Value> = letters.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    assert!(letters.len() > 5 && letters[0]["headers"]["original_topic"] == topic.as_str(), "{letters:?}");
    host.broker.set(&topic, &[("retention.ms", "-1")]);
    let ids: Vec<&str> = letters.iter().map(|letter| letter["letter"].as_str().expect("text")).collect();
    host.succeed(&[&["dlq", "retry", "--by", "anna", "--unjournaled"], &ids[..]].concat());
    assert_eq!(host.records("saga.events", 2).len(), before + letters.len());
    assert!(host.succeed(&["dlq", "list"]).contains("no dead letter"));
}

#[test]
fn without_transport_no_topic_of_json_is_made() {
    let host = Host::new("timeout_ms = 10000\ntransport = false");
    host.write(100);
    host.succeed(&["ship", "run", "--drain"]);
    assert_eq!(host.assert_exactly_once(), 100);
    let topics = host.topics();
    assert!(topics.iter().any(|topic| topic == "eventstore.order-events"), "{topics:?}");
    assert!(!topics.iter().any(|topic| topic.starts_with("transport.") || topic.starts_with("saga.")), "{topics:?}");
}

#[test]
fn a_replay_sends_json_again_where_it_may_and_nothing_else() {
    let host = Host::new("timeout_ms = 10000");
    host.write(300);
    host.succeed(&["ship", "run", "--drain"]);
    let again = format!("{}again", host.prefix);
    host.broker.make(&again, 3);
    // What is not shipped is not sent, though the journal has it.
    host.write(50);
    let said = host.succeed(&["ship", "replay", "--from", "101", "--topic", &again]);
    assert!(said.contains("sent 200 events again, 101 to 300"), "{said}");
    let sent = host.records("again", 3);
    let seqs: BTreeSet<u64> =
        sent.iter().map(|record| header(record, "ce_seq").expect("seq").parse().expect("a number")).collect();
    assert_eq!((sent.len(), seqs), (200, (101..=300).collect()));
    let first: Vec<_> = host.records("transport.order-events", 2);
    for record in &sent {
        assert!(header(record, "replayed").is_some());
        let id = header(record, "ce_id");
        if let Some(original) = first.iter().find(|original| header(original, "ce_id") == id) {
            assert_eq!((record.key(), record.payload()), (original.key(), original.payload()));
        }
    }
    let own =
        ["eventstore.order-events", "transport.order-events.dlq", "saga.events", "tradecore.progress", "system.health"];
    // Those of another installation as well, whatever its prefix is.
    for (prefix, topic) in own.iter().flat_map(|topic| [(host.prefix.as_str(), topic), ("other.", topic)]) {
        let topic = format!("{prefix}{topic}");
        let output = host.run(&["ship", "replay", "--from", "1", "--topic", &topic]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(65), "{said}");
        assert!(said.contains("the gateway needs as it is"), "{said}");
    }
    let output = host.run(&["ship", "replay", "--from", "301"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(65), "{said}");
    assert!(said.contains("nothing is shipped from event 301 on"), "{said}");
    let said = host.succeed(&["ship", "replay", "--from", "81", "--to", "90"]);
    assert!(said.contains("sent 10 events again, 81 to 90"), "{said}");
    let all: usize = ["order", "system", "user-account", "broker-account", "broker-connection"]
        .iter()
        .map(|domain| host.records(&format!("transport.{domain}-events"), 2).len())
        .sum();
    assert_eq!(all, 310, "each once, and ten of them again");
    let sagas = host.records("saga.events", 2);
    let seq = |record: &OwnedMessage| header(record, "ce_seq").expect("seq").parse::<u64>().expect("a number");
    let mut of_sagas: Vec<u64> = sagas.iter().map(seq).filter(|seq| (81..=90).contains(seq)).collect();
    of_sagas.sort_unstable();
    assert_eq!(of_sagas, [84, 84, 88, 88], "those of sagas as well");
    let term = host.term();
    host.succeed(&["ship", "run", "--drain"]);
    assert_eq!((host.assert_exactly_once(), host.term()), (350, term + 1));
}
