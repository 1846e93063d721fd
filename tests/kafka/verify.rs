//! `ship verify`, and a gateway that ships by itself.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Instant;

use rdkafka::Message;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::{Header, Headers, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rustix::process::Signal;

use super::host::{self, DEADLINE, Host, PARTITIONS, header, wait_for};
use super::wait_until;

#[test]
fn verify_tells_a_repetition_a_foreign_change_and_a_gap_where_they_are() {
    let host = Host::new("timeout_ms = 5000");
    host.write(2_000);
    host.succeed(&["ship", "run", "--drain"]);
    assert_eq!(host.assert_exactly_once(), 2_000);
    let topic = format!("{}eventstore.order-events", host.prefix);
    let producer: BaseProducer = host.broker.client().create().expect("a producer");
    let header = |key, value| Header { key, value: Some(value) };
    let headers = OwnedHeaders::new()
        .insert(header("stream", "virtual-1"))
        .insert(header("epoch", "1"))
        .insert(header("seq", "17"))
        .insert(header("prev_seq_same_partition", "1"))
        .insert(header("crc", "00000000"));
    let record = BaseRecord::to(&topic).key("k").payload("x").partition(0).headers(headers);
    producer.send(record).map_err(|(error, _)| error).expect("sent");
    // What is no event at all hides nothing of what is there.
    let record = BaseRecord::<str, str>::to(&topic).payload("y").partition(1);
    producer.send(record).map_err(|(error, _)| error).expect("sent");
    producer.flush(DEADLINE).expect("flushed");
    let output = host.run(&["ship", "verify"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(86), "{said}");
    assert!(said.contains("event 17 is there again") && said.contains(&topic), "{said}");
    assert!(said.contains("partition 1: the record at offset") && said.contains("no event of a gateway"), "{said}");
    let proof = host::said(&host.run(&["ship", "verify", "--json"]));
    assert_eq!((&proof["events"], &proof["flaws_count"]), (&"2000".into(), &"2".into()), "{proof}");
    // The first records of both partitions go.
    let mut list = rdkafka::TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition_offset(&topic, partition, rdkafka::Offset::Offset(5)).expect("added");
    }
    let admin: AdminClient<DefaultClientContext> = host.broker.client().create().expect("a client");
    drop(admin.delete_records(&list, &AdminOptions::new()));
    let since = Instant::now();
    let first = |partition| admin.inner().fetch_watermarks(&topic, partition, DEADLINE).expect("bounds").0;
    while (0..PARTITIONS).any(|partition| first(partition) < 5) {
        assert!(since.elapsed() < DEADLINE, "the records are not removed");
    }
    let output = host.run(&["ship", "verify", "--json"]);
    assert_eq!(output.status.code(), Some(86));
    let proof = host::said(&output);
    assert_eq!((&proof["ok"], &proof["events"]), (&false.into(), &"1990".into()), "{proof}");
    let missing = proof["flaws"].as_array().expect("a list").iter().filter(|flaw| flaw["flaw"] == "missing").count();
    assert!(missing > 0, "{proof}");
}

#[test]
fn verify_tells_a_wrong_key_and_a_wrong_epoch_of_records_whose_bytes_are_right() {
    let mut host = Host::new("timeout_ms = 5000");
    let (config, ours) = (host.config(), host.prefix.clone());
    let ship_to = |prefix: &str| {
        let text = std::fs::read_to_string(&config).expect("read");
        let line = text.lines().find(|line| line.starts_with("topic_prefix = ")).expect("it has one");
        std::fs::write(&config, text.replace(line, &format!("topic_prefix = {prefix:?}"))).expect("written");
    };
    host.write(100);
    host.succeed(&["ship", "run", "--drain"]);
    // As the last two, of orders, are in topics of another name.
    host.write(6);
    host.prefix = format!("{ours}other.");
    ship_to(&host.prefix);
    host.succeed(&["ship", "run", "--drain"]);
    let records = host.records("eventstore.order-events", PARTITIONS);
    let of_seq = |record: &OwnedMessage| header(record, "seq").expect("a number").parse::<u64>().expect("a number");
    let producer: BaseProducer = host.broker.client().create().expect("a producer");
    let topic = format!("{ours}eventstore.order-events");
    let new: Vec<&OwnedMessage> = records.iter().filter(|record| of_seq(record) > 100).collect();
    let (first, last) = (of_seq(new[0]), of_seq(new[new.len() - 1]));
    assert!(first != last, "events of orders are there");
    for record in new {
        let seq = of_seq(record);
        let headers = record.headers().expect("headers").iter().fold(OwnedHeaders::new(), |headers, header| {
            let value = if header.key == "epoch" && seq == last { Some(&b"99"[..]) } else { header.value };
            headers.insert(Header { key: header.key, value })
        });
        let key = if seq == first { b"other" } else { record.key().expect("a key") };
        let copy = BaseRecord::to(&topic).key(key).payload(record.payload().expect("bytes")).headers(headers);
        producer.send(copy.partition(record.partition())).map_err(|(error, _)| error).expect("sent");
    }
    producer.flush(DEADLINE).expect("flushed");
    ship_to(&ours);
    // It finds them there, and sends the others.
    host.succeed(&["ship", "run", "--drain"]);
    let output = host.run(&["ship", "verify", "--json"]);
    assert_eq!(output.status.code(), Some(86));
    let proof = host::said(&output);
    let flaws = proof["flaws"].as_array().expect("a list");
    let is_told =
        |words: String| flaws.iter().any(|flaw| flaw["text"].as_str().unwrap_or_default().starts_with(&words));
    assert!(is_told(format!("event {first}: the key differs: ")), "{proof}");
    assert!(is_told(format!("event {last}: the header epoch differs: ")), "{proof}");
    assert_eq!(flaws.len(), 2, "{proof}");
}

#[test]
fn a_journal_of_another_environment_is_neither_shipped_nor_compared_and_nor_is_one_that_was_never_shipped() {
    let host = Host::new("timeout_ms = 10000");
    host.write(10);
    let refused = |words: &[&str], code: i32, part: &str| {
        let output = host.run(words);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(code) && said.contains(part), "{words:?}: {said}");
    };
    let ours = std::fs::read_to_string(host.config()).expect("read");
    assert!(ours.contains("environment = \"virtual\""));
    std::fs::write(host.config(), ours.replace("environment = \"virtual\"", "environment = \"paper\""))
        .expect("written");
    for words in [&["ship", "run", "--drain"][..], &["ship", "verify"], &["ship", "replay", "--from", "1"]] {
        refused(words, 65, "is of virtual-1, and the configuration of paper-1");
    }
    assert!(host.topics().is_empty(), "nothing was made for it: {:?}", host.topics());
    std::fs::write(host.config(), ours).expect("written");
    host.broker.make(&format!("{}tradecore.progress", host.prefix), 1);
    refused(&["ship", "verify"], 69, "tells of no progress");
}

#[test]
fn a_partition_that_the_cluster_is_still_making_is_asked_for_again() {
    let mut host = Host::new("");
    host.log = "info,librdkafka=off,tradecore=debug";
    host.write(100);
    host.succeed(&["ship", "run", "--drain"]);
    // No event goes there; with one partition it is as a broker knows it that has not heard of the other.
    let (topic, admin) = (format!("{}eventstore.portfolio-events", host.prefix), host.broker.admin());
    let deleted = wait_for(admin.delete_topics(&[&topic], &AdminOptions::new())).expect("an answer");
    assert!(deleted.iter().all(Result::is_ok), "{deleted:?}");
    host.broker.make(&topic, 1);
    // A broker that still knows the deleted one has both partitions of it.
    let since = Instant::now();
    let metadata = || admin.inner().fetch_metadata(None, DEADLINE).expect("metadata");
    while !metadata().topics().iter().any(|known| known.name() == topic && known.partitions().len() == 1) {
        assert!(since.elapsed() < DEADLINE, "the broker does not hear of the new topic");
    }
    let mut verify = host.command(&["ship", "verify"]);
    let mut verify = verify.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("started");
    // It ends by itself when it has waited for `timeout_ms`.
    let mut said = BufReader::new(verify.stderr.take().expect("piped")).lines().map_while(Result::ok);
    assert!(said.any(|line| line.contains("a partition is not there yet")), "it did not wait for the partition");
    let more = NewPartitions::new(&topic, PARTITIONS as usize);
    let made = wait_for(admin.create_partitions(&[more], &AdminOptions::new())).expect("an answer");
    assert!(made.iter().all(Result::is_ok), "{made:?}");
    let said: Vec<String> = said.collect();
    assert!(verify.wait().expect("ended").success(), "{said:?}");
}

#[test]
fn a_gateway_ships_what_it_journals() {
    let host = Host::new("timeout_ms = 5000");
    let key = host.dir.path().join("algo1");
    std::fs::write(&key, "0123456789abcdef0123456789abcdef").expect("written");
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("set");
    let text = std::fs::read_to_string(host.config()).expect("read");
    let text = text.replace("[listen]", "[listen]\ntcp = \"127.0.0.1:0\"");
    std::fs::write(host.config(), text).expect("written");
    let mut gateway = host.start(&["run"]);
    gateway.wait_for("ready addresses");
    gateway.wait_for("shipping to Kafka stream");
    wait_until(&host, "lag_events", "0");
    assert!(host.status("gateway").starts_with("runs, process "), "{}", host.status("gateway"));
    gateway.signal(Signal::TERM);
    let (code, said) = gateway.end();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(host.status("gateway"), "none runs on this journal", "though it was the last that shipped");
    host.succeed(&["ship", "run", "--drain"]);
    assert!(host.assert_exactly_once() >= 4, "a start, an instrument, an account, a session");
}
