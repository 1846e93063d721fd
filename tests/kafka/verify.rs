//! `ship verify`, and a gateway that ships by itself.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Instant;

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rustix::process::Signal;

use super::host::{self, DEADLINE, Host, PARTITIONS, wait_for};
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
    producer.flush(DEADLINE).expect("flushed");
    let output = host.run(&["ship", "verify"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(86), "{said}");
    assert!(said.contains("event 17 is there again") && said.contains(&topic), "{said}");
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
    gateway.signal(Signal::TERM);
    let (code, said) = gateway.end();
    assert_eq!(code, Some(0), "{said}");
    host.succeed(&["ship", "run", "--drain"]);
    assert!(host.assert_exactly_once() >= 4, "a start, an instrument, an account, a session");
}
