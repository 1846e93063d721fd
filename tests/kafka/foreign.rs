//! What somebody else has written into topics of the gateway: named, and nothing is shipped over it.

use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;

use super::host::{DEADLINE, Host};
use super::settled_shipper;

fn put(host: &Host, topic: &str, key: &str, value: &str, headers: Option<OwnedHeaders>) {
    let producer: BaseProducer = host.broker.client().create().expect("a producer");
    let topic = format!("{}{topic}", host.prefix);
    let record = BaseRecord::to(&topic).key(key).payload(value).partition(0);
    let record = match headers {
        Some(headers) => record.headers(headers),
        None => record,
    };
    producer.send(record).map_err(|(error, _)| error).expect("sent");
    producer.flush(DEADLINE).expect("flushed");
}

/// Those of an event of this stream.
fn headers(seq: &str, crc: &str) -> OwnedHeaders {
    let values =
        [("stream", "virtual-1"), ("epoch", "1"), ("seq", seq), ("prev_seq_same_partition", "0"), ("crc", crc)];
    values.iter().fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(*value) }))
}

const ORDERS: &str = "eventstore.order-events";

#[test]
fn what_no_gateway_has_written_is_found_before_anything_is_added_to_it() {
    // As somebody else writes it; with a sum that is not its own; with one of 4, that is of events of the system.
    let crc_of_x = format!("{:08x}", tradecore_journal::crc32c(b"x", &[]));
    for foreign in [None, Some(headers("100", "00000000")), Some(headers("4", &crc_of_x))] {
        let mut host = Host::new("timeout_ms = 5000\ntransport = false");
        host.write(4);
        host.succeed(&["ship", "run", "--drain"]);
        let count = || host.records(ORDERS, 2).len();
        put(&host, ORDERS, "k", "x", foreign.clone());
        let (before, at) = (count(), host.records(ORDERS, 1).last().expect("one").offset());
        host.write(100);
        for words in [&["ship", "run", "--drain"][..], &["ship", "run", "--drain"]] {
            let output = host.run(words);
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(65), "{foreign:?}: {said}");
            let place = format!("{}{ORDERS}, partition 0: the record at offset {at} is no event", host.prefix);
            assert!(said.contains(&place) && said.contains("another ship.kafka.topic_prefix"), "{place:?} in {said}");
        }
        assert_eq!(count(), before, "nothing stands behind it");
        if foreign.is_none() {
            let text = std::fs::read_to_string(host.config()).expect("read");
            let other = format!("other-{}", host.prefix);
            std::fs::write(host.config(), text.replace(&host.prefix, &other)).expect("written");
            host.prefix = other;
            host.succeed(&["ship", "run", "--drain"]);
            assert_eq!(host.assert_exactly_once(), 104, "as it was told to do");
        }
    }
}

#[test]
fn what_somebody_writes_beside_the_shipper_is_found_by_the_audit_and_shipping_stops() {
    for foreign in [None, Some("4")] {
        let host = Host::new("timeout_ms = 5000\naudit_s = 1\nhealth_s = 0");
        let mut journal = host.journal();
        let mut shipper = settled_shipper(&host, &mut journal);
        journal.append(3);
        super::wait_until(&host, "lag_events", "0");
        let crc = format!("{:08x}", tradecore_journal::crc32c(b"x", &[]));
        put(&host, ORDERS, "k", "x", foreign.map(|seq| headers(seq, &crc)));
        let line = shipper.wait_for("shipping to Kafka is refused");
        let place = format!("{}{ORDERS}, partition 0: the record at offset ", host.prefix);
        assert!(line.contains(&place) && line.contains("another ship.kafka.topic_prefix"), "{line}");
        journal.append(100);
        assert_eq!(host.find_status("state").as_deref(), Some("refused"));
        assert_eq!((host.status("shipped_seq"), host.status("lag_events")), ("4".to_owned(), "100".to_owned()));
        assert!(host.records("alerts.shipping-refused", 1).is_empty(), "nothing is shipped, and no alert either");
        drop(shipper);
        journal.closer.seal(journal.writer);
    }
}

#[test]
fn progress_that_this_journal_cannot_have_made_is_refused_by_what_is_wrong_with_it() {
    let host = Host::new("timeout_ms = 5000");
    host.write(100);
    host.succeed(&["ship", "run", "--drain"]);
    host.write(50);
    let topic = "tradecore.progress";
    let own = host.records(topic, 1).pop().expect("progress");
    let own = String::from_utf8(own.payload().expect("a value").to_vec()).expect("text");
    let changed = |name: &str, value: Value| {
        let mut progress: Value = serde_json::from_str(&own).expect("an object");
        progress[name] = value;
        progress.to_string()
    };
    let topics = host.topics().len();
    for (progress, problem) in [
        // Of a later release, of another stream, from the future, of other topics.
        (changed("seq", Value::from(100)), "is not what this release writes; start a newer one"),
        (changed("stream", "virtual-2".into()), "is not what this release writes"),
        (changed("seq", "1000".into()), "the cluster has events up to 1000, and the journal ends before"),
        (changed("crc", "00000000".into()), "event 100 of the journal differs from what the cluster has"),
        (changed("partitions", 3.into()), "set ship.kafka.partitions to 3"),
    ] {
        put(&host, topic, "virtual-1", &progress, None);
        let output = host.run(&["ship", "run", "--drain"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(65), "{progress}: {said}");
        assert!(said.contains(problem) && said.contains("topic_prefix"), "{problem:?} in {said}");
        if problem.contains("partitions") {
            let output = host.ask(&["ship", "status"]);
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.code() == Some(65) && said.contains(problem), "{said}");
        }
    }
    // One of a later term is another host's, until a person says that this one is to go on: then it is no hindrance if its
    // shipper is gone; nor are places that no topic has.
    let mut last: Value = serde_json::from_str(&own).expect("an object");
    let term = 1 << 40;
    last["term"] = term.to_string().into();
    for tail in last["tails"].as_array_mut().expect("a list") {
        tail[3] = "1000000".into();
    }
    put(&host, topic, "virtual-1", &last.to_string(), None);
    host.go_on_though_superseded();
    assert_eq!((host.assert_exactly_once(), host.term()), (150, term + 1));
    assert_eq!(host.topics().len(), topics);
}
