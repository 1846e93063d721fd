//! The shipper is killed at each of its points, which have the names of what it asks the cluster for there: at some the
//! request never arrives, at some it comes while a successor is at work, at some it is done and nobody hears of it.

use std::time::{Duration, Instant};

use rdkafka::admin::AdminOptions;

use super::host::{DEADLINE, Host, Process, wait_for};
use super::number;
use super::proxy::{
    ADD_PARTITIONS_TO_TXN, CREATE_TOPICS, DESCRIBE_CONFIGS, END_TXN, FETCH, FIND_COORDINATOR, Fault, INIT_PRODUCER_ID,
    LIST_OFFSETS, METADATA, PRODUCE, Proxy, Step,
};

const PROGRESS: &str = "tradecore.progress";
const EVENTS: &str = "eventstore.";
const JSON: &str = "transport.";
/// A topic that these events need none of.
const SPARE: &str = "alerts.shipping-loss";
const END: Step = (END_TXN, "");
const AUDIT: Step = (LIST_OFFSETS, PROGRESS);

/// What becomes of the request that the shipper has made when it is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// It is on its way: by turns it never arrives, or comes later.
    Asked,
    /// The broker has done it, and the shipper has not heard of it.
    Done,
}

/// Each point: its name, the requests up to the one that is meant, and what becomes of that. The first end of a transaction
/// in a life is that of the claim, those behind are of events.
const POINTS: &[(&str, &[Step], At)] = &[
    ("the topics are looked for", &[(METADATA, "")], At::Asked),
    ("a topic is to be made", &[(CREATE_TOPICS, SPARE)], At::Asked),
    ("a topic was made", &[(CREATE_TOPICS, SPARE)], At::Done),
    ("settings are asked for", &[(DESCRIBE_CONFIGS, "")], At::Asked),
    ("the end of progress is asked for", &[(LIST_OFFSETS, PROGRESS)], At::Asked),
    ("the coordinator is looked for", &[(FIND_COORDINATOR, "")], At::Asked),
    ("predecessors are to be fenced", &[(INIT_PRODUCER_ID, "")], At::Asked),
    ("predecessors were fenced", &[(INIT_PRODUCER_ID, "")], At::Done),
    ("progress is read behind the fence", &[(INIT_PRODUCER_ID, ""), (FETCH, "")], At::Asked),
    ("the claim begins", &[(ADD_PARTITIONS_TO_TXN, PROGRESS)], At::Done),
    ("the claim is to be written", &[(PRODUCE, PROGRESS)], At::Asked),
    ("the claim was written", &[(PRODUCE, PROGRESS)], At::Done),
    ("the claim is to be committed", &[END], At::Asked),
    ("the claim was committed", &[END], At::Done),
    ("ends of topics are asked for", &[END, (LIST_OFFSETS, EVENTS)], At::Asked),
    ("partitions are to be added", &[(ADD_PARTITIONS_TO_TXN, EVENTS)], At::Asked),
    ("partitions were added", &[(ADD_PARTITIONS_TO_TXN, EVENTS)], At::Done),
    ("the first events are to be written", &[(PRODUCE, EVENTS)], At::Asked),
    ("the first events were written", &[(PRODUCE, EVENTS)], At::Done),
    ("later events are to be written", &[END, END, END, (PRODUCE, EVENTS)], At::Asked),
    ("later events were written", &[END, END, END, (PRODUCE, EVENTS)], At::Done),
    ("JSON is to be written", &[(PRODUCE, JSON)], At::Asked),
    ("JSON was written", &[(PRODUCE, JSON)], At::Done),
    ("progress is to be written", &[END, (PRODUCE, PROGRESS)], At::Asked),
    ("progress was written", &[END, (PRODUCE, PROGRESS)], At::Done),
    ("the first transaction is to be committed", &[END, END], At::Asked),
    ("the first transaction was committed", &[END, END], At::Done),
    ("a later transaction is to be committed", &[END, END, END, END], At::Asked),
    ("a later transaction was committed", &[END, END, END, END], At::Done),
    ("an audit begins", &[END, AUDIT], At::Asked),
    ("an audit reads", &[END, AUDIT, (FETCH, "")], At::Asked),
];

#[test]
fn each_event_is_there_once_after_kills_of_the_shipper_at_each_of_its_points() {
    let kills = number("TRADECORE_TEST_KAFKA_POINT_KILLS", 1);
    let host = Host::new("health_s = 0\naudit_s = 1\nlinger_ms = 1\nbatch_events_max = 20\ntimeout_ms = 15000");
    // A second shipper goes past the door.
    let beside = host.dir.path().join("beside.toml");
    std::fs::copy(host.config(), &beside).expect("copied");
    let Some(door) = Proxy::before(&host) else { return };
    let mut journal = host.journal();
    journal.append(100);
    host.succeed(&["ship", "run", "--drain"]);
    let (mut is_held, mut lives) = (false, 0_u64);
    for kill in 0..kills {
        for (index, (name, steps, at)) in POINTS.iter().enumerate() {
            lives += 1;
            let fault = match (at, (kill + index as u64) % 2) {
                (At::Done, _) => Fault::Mute,
                (At::Asked, 0) => Fault::Hold,
                (At::Asked, _) => Fault::Lose,
            };
            // Some have a rival, whom they must fence first.
            let rival = lives.is_multiple_of(5).then(|| {
                let mut rival = Host::start_at(&beside, &["ship", "run"]);
                rival.wait_for("shipping to Kafka stream");
                rival
            });
            println!("kill {kill} when {name}: {fault:?}, beside a rival: {}", rival.is_some());
            let (meant, before) = steps.split_last().expect("a step");
            if meant.0 == CREATE_TOPICS {
                forget(&host, SPARE);
            }
            door.arm_behind(before, *meant, fault, 1);
            let shipper = host.start(&["ship", "run"]);
            let since = Instant::now();
            journal.append(30);
            // More events only now and then: what is appended for nothing is shipped at the end, in small transactions.
            while !door.is_hit_within(Duration::from_millis(250)) {
                assert!(since.elapsed() < DEADLINE, "never reached: {name}");
                journal.append(2);
            }
            // What its predecessor had under way comes only now.
            if std::mem::replace(&mut is_held, fault == Fault::Hold) {
                door.release();
            }
            shipper.kill();
            door.wait_for_last_words();
            rival.into_iter().for_each(Process::kill);
        }
        door.disarm();
        while door.release().is_some() {}
        is_held = false;
        host.succeed(&["ship", "run", "--drain"]);
    }
    let events = host.assert_exactly_once();
    assert_eq!(events, journal.writer.last_seq());
    assert_eq!(host.assert_json_once().len() as u64, events);
    assert_eq!(host.status("lag_events"), "0");
    println!("{events} events, {lives} kills");
    journal.closer.seal(journal.writer);
}

/// Deletes a topic, unless it is not there, and waits until it is gone.
fn forget(host: &Host, topic: &str) {
    let is_there = || host.topics().iter().any(|known| known == topic);
    if !is_there() {
        return;
    }
    let name = format!("{}{topic}", host.prefix);
    let deleted = wait_for(host.broker.admin().delete_topics(&[&name], &AdminOptions::new())).expect("an answer");
    assert!(deleted.iter().all(Result::is_ok), "{deleted:?}");
    let since = Instant::now();
    while is_there() {
        assert!(since.elapsed() < DEADLINE, "{topic} is still there");
    }
}
