//! What a worker refuses or waits for, and with which words.

use rdkafka::admin::AdminOptions;
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use rustix::process::Signal;

use super::host::{self, DEADLINE, Host, PARTITIONS};
use super::{configured, configured_with, worker};

/// Removes what a partition holds up to an offset, as retention does.
fn remove(host: &Host, topic: &str, partition: i32, offset: Offset) {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&format!("{}{topic}", host.prefix), partition, offset).expect("added");
    host::wait_for(host.broker.admin().delete_records(&list, &AdminOptions::new())).expect("removed");
}

/// The partition of orders that holds most.
fn busiest(host: &Host) -> i32 {
    let records = |partition: &i32| {
        host.records("eventstore.order-events", PARTITIONS)
            .iter()
            .filter(|record| record.partition() == *partition)
            .count()
    };
    (0..PARTITIONS).max_by_key(records).expect("a partition")
}

#[test]
fn events_that_are_missing_stop_the_worker_which_names_them() {
    let (_postgres, host, mut core) = configured("project_missing");
    let known = core.grow(60);
    core.ship();
    let mut live = worker(&host);
    live.wait_for("projecting");
    core.assert_is_a_fold(known, "before");
    live.signal(Signal::TERM);
    assert_eq!(live.end().0, Some(0));
    core.grow(200);
    core.ship();
    let partition = busiest(&host);
    let end = host.records("eventstore.order-events", PARTITIONS);
    let end = end.iter().filter(|record| record.partition() == partition).map(|record| record.offset()).max();
    // Of some the partition itself tells that they were there, of all only the others can.
    for (offset, code, name) in [
        (Offset::Offset(end.expect("records")), 89, "events-removed: events "),
        (Offset::End, 86, "event-missing: event "),
    ] {
        remove(&host, "eventstore.order-events", partition, offset);
        let (found, said) = worker(&host).end();
        assert!(found == Some(code) && said.contains(name) && said.contains("projection rebuild"), "{found:?}: {said}");
        let stands = core.position().expect("a position");
        assert!(stands >= known, "{stands}");
        core.assert_is_a_fold(stands, "what came before is in the tables");
    }
}

#[test]
fn records_that_are_there_again_are_left_out_where_there_are_no_transactions() {
    let (postgres, host, mut core) = configured_with("project_again", "transactions = false\n");
    let mut last = core.grow(60);
    core.ship();
    let mut live = worker(&host);
    live.wait_for("projecting");
    core.assert_is_a_fold(last, "before");
    // As a request does that comes late.
    let partition = busiest(&host);
    let records = host.records("eventstore.order-events", PARTITIONS);
    let topic = format!("{}eventstore.order-events", host.prefix);
    let producer: BaseProducer = host.broker.client().create().expect("a producer");
    for record in records.iter().filter(|record| record.partition() == partition) {
        let (key, payload) = (record.key().expect("a key"), record.payload().expect("bytes"));
        let headers = record.headers().expect("headers").clone();
        producer
            .send(BaseRecord::to(&topic).key(key).payload(payload).partition(partition).headers(headers))
            .expect("taken");
    }
    producer.flush(DEADLINE).expect("sent");
    last = core.grow(60).max(last);
    core.ship();
    core.assert_is_a_fold(last, "as they come");
    assert!(!live.heard().contains("looked at again"), "{}", live.said);
    live.signal(Signal::TERM);
    assert_eq!(live.end().0, Some(0));
    assert!(host.assert_seen_once().1 > 0, "nothing is there again");
    postgres.client().batch_execute("DROP SCHEMA project_again CASCADE").expect("dropped");
    let mut live = worker(&host);
    core.assert_is_a_fold(last, "from the start");
    assert!(!live.heard().contains("looked at again"), "{}", live.said);
    live.kill();
}

#[test]
fn foreign_records_other_events_and_tables_of_a_newer_release_are_refused_by_name() {
    let (postgres, host, mut core) = configured("project_foreign");
    let known = core.grow(60);
    core.ship();
    let mut live = worker(&host);
    live.wait_for("projecting");
    core.assert_is_a_fold(known, "before");
    live.signal(Signal::TERM);
    assert_eq!(live.end().0, Some(0));

    let mut client = postgres.client();
    let comment: String = client
        .query_one("SELECT obj_description('project_foreign.projection_positions'::regclass)", &[])
        .expect("a comment")
        .get(0);
    let say = |text: &str| format!("COMMENT ON TABLE project_foreign.projection_positions IS '{text}'");
    client.batch_execute(&say("tradecore read model, schema 99999, views 0")).expect("changed");
    let (code, said) = worker(&host).end();
    assert!(code == Some(98) && said.contains("its schema is number 99999"), "{code:?}: {said}");
    client.batch_execute(&say(&comment)).expect("changed back");

    client.batch_execute("UPDATE project_foreign.projection_positions SET record_crc = record_crc + 1").expect("set");
    let (code, said) = worker(&host).end();
    assert!(
        code == Some(98) && said.contains(&format!("other-journal: event {known} of the topics")),
        "{code:?}: {said}"
    );
    client.batch_execute("UPDATE project_foreign.projection_positions SET record_crc = record_crc - 1").expect("set");

    let producer: BaseProducer = host.broker.client().create().expect("a producer");
    let topic = format!("{}eventstore.system-events", host.prefix);
    let headers = OwnedHeaders::new().insert(Header { key: "who", value: Some("somebody") });
    let record = BaseRecord::<str, str>::to(&topic).payload("hello").partition(0).headers(headers);
    producer.send(record).expect("taken");
    producer.flush(DEADLINE).expect("sent");
    let (code, said) = worker(&host).end();
    assert!(code == Some(65) && said.contains("is no event of a gateway"), "{code:?}: {said}");
    core.assert_is_a_fold(known, "nothing was changed");
}

#[test]
fn a_worker_waits_for_cluster_and_server_and_for_topics_that_nobody_has_made_yet() {
    let (postgres, host, mut core) = configured("project_waits");
    let mut live = worker(&host);
    live.wait_for("a topic is missing");
    let mut last = core.grow(60);
    core.ship();
    core.assert_is_a_fold(last, "topics were made");
    if postgres.kill_and_restart() {
        last = core.grow(60).max(last);
        core.ship();
        live.wait_for("these tables lag");
        core.assert_is_a_fold(last, "the server was away");
    }
    if host.broker.kill() {
        live.wait_for("reading the topics: ");
        assert!(host.broker.restart());
        last = core.grow(60).max(last);
        core.ship();
        core.assert_is_a_fold(last, "the cluster was away");
    }
    live.signal(Signal::TERM);
    assert_eq!(live.end().0, Some(0));
}

#[test]
fn tables_that_the_gateway_keeps_itself_are_left_to_it() {
    let (_postgres, host, core) = configured("project_journal");
    let text = std::fs::read_to_string(host.config()).expect("read");
    std::fs::write(host.config(), text.replace("feed = \"kafka\"", "feed = \"journal\"")).expect("written");
    let (code, said) = worker(&host).end();
    assert!(code == Some(78) && said.contains("set projection.postgres.feed = \"kafka\""), "{code:?}: {said}");
    std::fs::write(host.config(), text.replace("[ship.kafka]", "[ship.files]\ndir = \"events\"\n[other]"))
        .expect("written");
    let (code, said) = worker(&host).end();
    assert!(code == Some(78), "{code:?}: {said}");
    drop(core);
}
