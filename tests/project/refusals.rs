//! What a worker refuses or waits for, and with which words.

use rdkafka::admin::AdminOptions;
use rdkafka::message::{Header, Message, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use super::host::{self, DEADLINE, Host, PARTITIONS};
use super::{Core, configured, edit, end, rebuild, started, worker};

/// Removes what a partition holds up to an offset, as retention does.
fn remove(host: &Host, topic: &str, partition: i32, offset: Offset) {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&format!("{}{topic}", host.prefix), partition, offset).expect("added");
    host::wait_for(host.broker.admin().delete_records(&list, &AdminOptions::new())).expect("removed");
}

/// The partition of a topic that holds most.
fn busiest(host: &Host, topic: &str) -> i32 {
    let records = host.records(topic, PARTITIONS);
    let count = |partition: &i32| records.iter().filter(|record| record.partition() == *partition).count();
    (0..PARTITIONS).max_by_key(count).expect("a partition")
}

/// Sends records as they are, to the same partitions of a topic.
fn send<'a>(host: &Host, topic: &str, records: impl IntoIterator<Item = &'a OwnedMessage>) {
    let producer: BaseProducer = host.broker.client().create().expect("a producer");
    let topic = format!("{}{topic}", host.prefix);
    for record in records {
        let (key, payload) = (record.key().expect("a key"), record.payload().expect("bytes"));
        let copy = BaseRecord::to(&topic).key(key).payload(payload).partition(record.partition());
        let headers = record.headers().cloned().unwrap_or_else(OwnedHeaders::new);
        producer.send(copy.headers(headers)).expect("taken");
    }
    producer.flush(DEADLINE).expect("sent");
}

#[test]
fn events_that_are_missing_stop_the_worker_which_names_them() {
    let (_postgres, host, mut core, live, known) = started("project_missing", "");
    end(live);
    core.grow(200);
    core.ship();
    let partition = busiest(&host, "eventstore.order-events");
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
    let (postgres, host, mut core, mut live, mut last) = started("project_again", "transactions = false\n");
    // As a request does that comes late.
    let topic = "eventstore.order-events";
    let partition = busiest(&host, topic);
    let records = host.records(topic, PARTITIONS);
    send(&host, topic, records.iter().filter(|record| record.partition() == partition));
    last = core.grow(60).max(last);
    core.ship();
    core.assert_is_a_fold(last, "as they come");
    assert!(!live.heard().contains("looked at again"), "{}", live.said);
    end(live);
    assert!(host.assert_seen_once().1 > 0, "nothing is there again");
    postgres.client().batch_execute("DROP SCHEMA project_again CASCADE").expect("dropped");
    let mut live = worker(&host);
    core.assert_is_a_fold(last, "from the start");
    assert!(!live.heard().contains("looked at again"), "{}", live.said);
    live.kill();
}

#[test]
fn without_transactions_an_event_that_is_not_shipped_yet_is_waited_for_and_one_that_progress_has_passed_is_missing() {
    let (_postgres, host, mut core, live, mut last) = started("project_unfenced", "transactions = false\n");
    end(live);
    // Shipped elsewhere, and taken over from there as requests arrive: one partition later than the others.
    let elsewhere = host.dir.path().join("elsewhere.toml");
    let text = std::fs::read_to_string(host.config()).expect("read");
    let prefix = |prefix: &str| format!("topic_prefix = \"{prefix}\"");
    let text = text.replace(&prefix(&host.prefix), &prefix(&format!("{}elsewhere.", host.prefix)));
    std::fs::write(&elsewhere, text).expect("written");
    // Of the worker alone.
    edit(&host, "timeout_ms = 5000", "timeout_ms = 1000");
    let late = "eventstore.order-events";
    let take_over = |behind: u64, is_late: bool| {
        let topics = host.topics();
        let slowest = busiest(&host, &format!("elsewhere.{late}"));
        for topic in topics.iter().filter_map(|topic| topic.strip_prefix("elsewhere.")) {
            if !topic.starts_with("eventstore.") {
                continue;
            }
            let records = host.records(&format!("elsewhere.{topic}"), PARTITIONS);
            let seq = |record: &OwnedMessage| host::header(record, "seq").expect("a number").parse::<u64>();
            let is_wanted = |record: &&OwnedMessage| {
                seq(record).expect("a number") > behind && is_late == (topic == late && record.partition() == slowest)
            };
            send(&host, topic, records.iter().filter(is_wanted));
        }
    };
    let known = last;
    last = core.grow(60);
    core.ship_as(&elsewhere);
    take_over(known, false);
    let mut live = worker(&host);
    live.wait_for("is not shipped yet: no partition has it, and later ones are there");
    take_over(known, true);
    core.assert_is_a_fold(last, "it has come");
    core.grow(60);
    core.ship_as(&elsewhere);
    take_over(last, false);
    let progress = host.records("elsewhere.tradecore.progress", 1);
    send(&host, "tradecore.progress", progress.last());
    let (code, said) = live.end();
    assert!(code == Some(86) && said.contains("event-missing: event "), "{code:?}: {said}");
}

#[test]
fn foreign_records_other_events_and_tables_of_a_newer_release_are_refused_by_name() {
    let (postgres, host, core, live, known) = started("project_foreign", "");
    end(live);
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
fn tables_that_are_ahead_of_the_topics_wait_for_them_and_fold_nothing_of_another_life() {
    let (_postgres, host, mut core, live, _) = started("project_ahead", "");
    end(live);
    core.grow(60);
    rebuild(&host);
    // What they wait for and what comes behind it arrive together.
    let last = core.grow(60);
    let mut live = worker(&host);
    live.wait_for("the tables are ahead of the topics");
    core.ship();
    core.assert_is_a_fold(last, "of the same journal");
    end(live);
    // A host that has the journal as it was shipped goes on from there, and the tables know more.
    let source = core.source.clone();
    drop(core);
    let (journal, shipped) = (host.journal_dir(), host.dir.path().join("shipped"));
    let copied = std::process::Command::new("cp").arg("-a").args([&journal, &shipped]).status().expect("run");
    assert!(copied.success(), "{copied}");
    let mut core = Core::with(host.config(), 1, source.clone());
    let known = core.grow(60);
    rebuild(&host);
    drop(core);
    std::fs::remove_dir_all(&journal).expect("removed");
    std::fs::rename(&shipped, &journal).expect("moved");
    let mut core = Core::with(host.config(), 1, source);
    let mut live = worker(&host);
    live.wait_for("the tables are ahead of the topics");
    core.grow(120);
    core.ship();
    for live in [live, worker(&host)] {
        let (code, said) = live.end();
        assert!(code == Some(98) && said.contains(&format!("other-journal: event {known} ")), "{code:?}: {said}");
        assert_eq!(core.position(), Some(known), "nothing was folded");
    }
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
        // What it said before was of topics.
        live.wait_for("these tables lag stream=virtual-1 error=postgres://");
        live.wait_for("projecting");
        core.assert_is_a_fold(last, "the server was away");
    }
    if host.broker.kill() {
        live.wait_for("these tables lag");
        assert!(host.broker.restart());
        last = core.grow(60).max(last);
        core.ship();
        core.assert_is_a_fold(last, "the cluster was away");
    }
    end(live);
}

#[test]
fn tables_that_the_gateway_keeps_itself_are_left_to_it() {
    let (_postgres, host, core) = configured("project_journal");
    edit(&host, "feed = \"kafka\"", "feed = \"journal\"");
    let (code, said) = worker(&host).end();
    assert!(code == Some(78) && said.contains("set projection.postgres.feed = \"kafka\""), "{code:?}: {said}");
    edit(&host, "[ship.kafka]", "[ship.files]\ndir = \"events\"\n[other]");
    let (code, said) = worker(&host).end();
    assert!(code == Some(78), "{code:?}: {said}");
    drop(core);
}
