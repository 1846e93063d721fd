//! Without transactions: a reader that leaves out what it has sees each event once, and finds no gap.

use std::time::Duration;

use rdkafka::message::Message;
use rustix::process::Signal;

use super::host::{Host, Process};
use super::proxy::{Fault, PRODUCE, Proxy};
use super::{Random, number, pass, settled_shipper, wait_until};

fn end(shipper: Process) -> String {
    shipper.signal(Signal::TERM);
    let (code, said) = shipper.end();
    assert_eq!(code, Some(0), "{said}");
    said
}

#[test]
fn without_transactions_each_event_is_seen_once_after_kills_of_the_shipper_and_of_the_broker() {
    let host = Host::alone("transactions = false\nbatch_events_max = 200\nlinger_ms = 1\ntimeout_ms = 15000");
    let seed = number("TRADECORE_TEST_SEED", u64::from(std::process::id()) | 1 << 40);
    println!("TRADECORE_TEST_SEED={seed}");
    let mut random = Random(seed);
    let mut journal = host.journal();
    let mut first = 0;
    for life in 0..8 {
        journal.append(4_000);
        let shipper = host.shipper();
        if life == 0 {
            first = host.term();
        }
        pass(Duration::from_millis(random.below(300)));
        if life == 4 && !host.broker.kill_and_restart() {
            println!("NOT killed: the broker is not ours (TRADECORE_TEST_KAFKA_DIR)");
        }
        shipper.kill();
    }
    host.succeed(&["ship", "run", "--drain"]);
    let (events, repeated) = host.assert_seen_once();
    assert_eq!(events, 32_000);
    println!("{repeated} of {events} are there again");
    assert_eq!((host.status("lag_events").as_str(), host.term()), ("0", first + 8));
    journal.closer.seal(journal.writer);
}

#[test]
fn without_transactions_what_was_written_and_never_acknowledged_is_found_and_not_sent_again() {
    let host = Host::new("transactions = false\nhealth_s = 0\nlinger_ms = 1\ntimeout_ms = 2000");
    let Some(door) = Proxy::before(&host) else { return };
    let mut journal = host.journal();
    let mut shipper = settled_shipper(&host, &mut journal);
    door.arm(PRODUCE, Fault::LoseReply, u32::MAX);
    journal.append(500);
    shipper.wait_for("begins anew from what the cluster has: sending");
    door.disarm();
    wait_until(&host, "lag_events", "0");
    assert_eq!(host.assert_seen_once(), (501, 0), "some was sent again");
    end(shipper);
    journal.closer.seal(journal.writer);
}

#[test]
fn without_transactions_records_that_come_late_are_there_again_and_change_nothing_for_readers_and_shippers() {
    let host = Host::new("transactions = false\nhealth_s = 0\nlinger_ms = 1\ntimeout_ms = 2000");
    let Some(door) = Proxy::before(&host) else { return };
    let mut journal = host.journal();
    let mut shipper = settled_shipper(&host, &mut journal);
    door.arm(PRODUCE, Fault::Hold, u32::MAX);
    journal.append(500);
    shipper.wait_for("begins anew from what the cluster has: sending");
    door.disarm();
    wait_until(&host, "lag_events", "0");
    assert_eq!(host.assert_seen_once(), (501, 0));
    while door.release().is_some() {}
    end(shipper);
    // The next finds what is old at the end of partitions.
    let shipper = host.shipper();
    journal.append(500);
    wait_until(&host, "lag_events", "0");
    let said = end(shipper);
    let (events, repeated) = host.assert_seen_once();
    assert_eq!(events, 1_001);
    assert!(repeated > 0, "nothing came late");
    assert!(!said.contains("has lost"), "{said}");
    journal.closer.seal(journal.writer);
}

#[test]
fn without_transactions_a_shipper_that_finds_another_of_a_later_term_ends() {
    let host = Host::new("transactions = false\nlinger_ms = 1\ntimeout_ms = 5000");
    let mut journal = host.journal();
    journal.append(1_000);
    let first = host.shipper();
    let term = host.term();
    let second = host.shipper();
    journal.append(1_000);
    let (code, said) = first.end();
    assert_eq!(code, Some(92), "{said}");
    assert!(said.contains("has taken over"), "{said}");
    wait_until(&host, "lag_events", "0");
    end(second);
    assert_eq!(host.term(), term + 1);
    assert_eq!(host.assert_seen_once().0, 2_000);
    let drill = host.dir.path().join("drill");
    host.succeed(&["journal", "restore", "--from-kafka", "--into", drill.to_str().expect("text")]);
    journal.closer.seal(journal.writer);
}

#[test]
fn without_transactions_json_that_is_refused_for_good_becomes_a_dead_letter() {
    let host = Host::new("transactions = false\ntimeout_ms = 10000");
    let mut journal = host.journal();
    let shipper = host.shipper();
    let topic = format!("{}transport.order-events", host.prefix);
    host.broker.set(&topic, &[("max.message.bytes", "300")]);
    journal.append(8);
    wait_until(&host, "lag_events", "0");
    let letters = host.records("transport.order-events.dlq", 1);
    assert!(!letters.is_empty(), "no dead letter");
    host.succeed(&["dlq", "discard", &format!("order/{}", letters[0].offset()), "--unjournaled"]);
    end(shipper);
    assert_eq!(host.assert_seen_once().0, 8);
    journal.closer.seal(journal.writer);
}
