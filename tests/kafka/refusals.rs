//! What is refused, and with which words.

use std::time::Instant;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

use super::host::{self, DEADLINE, Host};
use super::proxy::{INIT_PRODUCER_ID, Proxy};
use super::wait_until;

#[test]
fn an_unsafe_topic_is_refused_with_what_to_change() {
    let host = Host::new("timeout_ms = 5000");
    host.write(10);
    let name = format!("{}eventstore.order-events", host.prefix);
    let topic = NewTopic::new(&name, 3, TopicReplication::Fixed(1)).set("retention.ms", "604800000");
    let admin: AdminClient<DefaultClientContext> = host.broker.client().create().expect("a client");
    // The request leaves at once; that it was done is seen below.
    drop(admin.create_topics(&[topic], &AdminOptions::new()));
    let since = Instant::now();
    while !admin
        .inner()
        .fetch_metadata(None, DEADLINE)
        .expect("metadata")
        .topics()
        .iter()
        .any(|known| known.name() == name && known.partitions().len() == 3)
    {
        assert!(since.elapsed() < DEADLINE, "the topic is not made");
    }
    let output = host.run(&["ship", "run", "--drain"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(65), "{said}");
    for part in [&name, "retention.ms is 604800000", "set it to -1", "it has 3 partitions"] {
        assert!(said.contains(part), "{part:?} in {said}");
    }
}

#[test]
fn another_journal_under_the_same_name_is_refused() {
    let host = Host::new("timeout_ms = 5000");
    host.write(1_000);
    host.succeed(&["ship", "run", "--drain"]);
    for (events, problem) in [(500, "the journal ends before"), (2_000, "differs from what the cluster has")] {
        std::fs::remove_dir_all(host.journal_dir()).expect("removed");
        host.write(events);
        let output = host.run(&["ship", "run", "--drain"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(65), "{said}");
        assert!(said.contains(problem), "{problem:?} in {said}");
        assert_eq!(host.status("synced_seq"), events.to_string(), "what this journal has");
        let output = host.ask(&["ship", "status"]);
        let (shown, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.code() == Some(65) && said.contains(problem), "{said}");
        let refused = shown.lines().find(|line| line.starts_with("refused ")).unwrap_or_else(|| panic!("{shown}"));
        assert!(refused.contains(" another journal: ") && refused.contains(problem), "{shown}");
        assert!(!shown.contains("\nlag_"), "{shown}");
    }
}

#[test]
fn without_the_cluster_the_status_tells_what_the_host_knows() {
    let host = Host::new("timeout_ms = 15000");
    host.write(100);
    host.succeed(&["ship", "run", "--drain"]);
    host.write(20);
    let text = std::fs::read_to_string(host.config()).expect("read");
    let text = text.replace(&format!("\"{}\"", host.broker.address), "\"127.0.0.1:9\"");
    std::fs::write(host.config(), text.replace("timeout_ms = 15000", "timeout_ms = 1000")).expect("written");
    let output = host.run(&["ship", "status", "--json"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(69) && said.contains("127.0.0.1:9: "), "{said}");
    let shown = host::said(&output);
    let of = |name: &str| shown[name].as_str().unwrap_or_else(|| panic!("{name} in {shown}"));
    assert_eq!([of("passed_seq"), of("synced_seq"), of("lag_events")], ["100", "120", "20"]);
}

#[test]
fn a_broker_that_is_too_old_is_refused_with_what_is_needed() {
    for transactions in [true, false] {
        let host = Host::new(&format!("transactions = {transactions}\ntimeout_ms = 3000"));
        let Some(door) = Proxy::before(&host) else { return };
        host.write(10);
        host.succeed(&["ship", "run", "--drain"]);
        host.write(10);
        // Kafka 0.10 ends with DeleteTopics; what came behind it are settings, and producers that are known again.
        let old: [fn(i16) -> bool; 2] = [|kind| kind <= 20, |kind| kind != INIT_PRODUCER_ID];
        for has in old {
            door.only_with(has);
            let output = host.run(&["ship", "run", "--drain"]);
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(65), "transactions = {transactions}: {said}");
            assert!(said.contains("Apache Kafka 2.5 or later is needed, 1.0"), "{said}");
        }
        door.only_with(|_| true);
        host.succeed(&["ship", "run", "--drain"]);
        assert_eq!(host.assert_exactly_once(), 20);
    }
}

#[test]
fn topics_that_are_missing_are_named_and_not_made_where_they_are_made_by_hand() {
    let host = Host::new("timeout_ms = 10000\ncreate_topics = false");
    host.write(10);
    let output = host.run(&["ship", "run", "--drain"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(65), "{said}");
    let missing = ["eventstore.order-events", "transport.order-events.dlq", "saga.events", "tradecore.progress"];
    for part in missing.into_iter().chain(["create_topics is false"]) {
        assert!(said.contains(part), "{part:?} in {said}");
    }
    assert_eq!(host.topics(), Vec::<String>::new());
    // Made by another, they serve.
    let config = std::fs::read_to_string(host.config()).expect("read");
    std::fs::write(host.config(), config.replace("create_topics = false", "create_topics = true")).expect("written");
    host.succeed(&["ship", "run", "--drain"]);
    host.write(10);
    std::fs::write(host.config(), &config).expect("written");
    host.succeed(&["ship", "run", "--drain"]);
    assert_eq!(host.assert_exactly_once(), 20);
}

#[test]
fn an_event_that_its_topic_refuses_stops_shipping_until_the_topic_takes_it() {
    let host = Host::new("timeout_ms = 10000");
    let mut journal = host.journal();
    journal.append(100);
    let mut shipper = host.shipper();
    wait_until(&host, "lag_events", "0");
    let topic = format!("{}eventstore.order-events", host.prefix);
    let kept = [
        ("cleanup.policy", "delete"),
        ("retention.ms", "-1"),
        ("retention.bytes", "-1"),
        ("min.insync.replicas", "1"),
        ("unclean.leader.election.enable", "false"),
    ];
    host.broker.set(&topic, &[&kept[..], &[("max.message.bytes", "300")]].concat());
    journal.append(100);
    let line = shipper.wait_for("refuses an event for good");
    assert!(line.contains(&topic) && line.contains("max.message.bytes"), "{line}");
    assert_eq!(host.status("shipped_seq"), "100");
    host.broker.set(&topic, &kept);
    wait_until(&host, "lag_events", "0");
    assert_eq!(host.assert_exactly_once(), 200);
    assert_eq!(host.assert_json_once().len(), 200);
    journal.closer.seal(journal.writer);
    drop(shipper);
}

#[test]
fn settings_of_which_no_producer_can_be_made_are_refused_by_the_check_of_the_configuration() {
    // The library compares it with the time limit of a transaction, which is twice `timeout_ms`, and only in a producer.
    for (setting, is_refused) in [("socket.timeout.ms=60000", true), ("socket.timeout.ms=20000", false)] {
        let host = Host::new(&format!("timeout_ms = 10000\nsettings = [{setting:?}]"));
        let output = host.run(&["config", "check"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(if is_refused { 78 } else { 0 }), "{setting}: {said}");
        assert_eq!(
            said.contains("ship.kafka") && said.contains("transaction.timeout.ms"),
            is_refused,
            "{setting}: {said}"
        );
    }
}
