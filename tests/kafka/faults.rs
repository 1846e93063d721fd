//! What one broker alone does not show: a change of leaders, answers that are lost, the end of a transaction that comes
//! late, a fence without a successor.
//!
//! The faults are put in front of the real broker; without signs of life, so that it is events that they hit. The mock
//! cluster of librdkafka does not serve here: it neither makes topics nor knows their settings, which the shipper asks for
//! first, and it tells readers of what was never committed.

use std::time::Instant;

use rdkafka::admin::AdminOptions;
use rustix::process::Signal;

use super::host::{self, DEADLINE, Host, PARTITIONS, Process, wait_for};
use super::proxy::{END_TXN, FETCH, Fault, LIST_OFFSETS, PRODUCE, Proxy};
use super::{settled_shipper, wait_until};

/// Codes of Kafka's protocol.
const NOT_LEADER: i16 = 6;
const NOT_COORDINATOR: i16 = 16;
const INVALID_PRODUCER_EPOCH: i16 = 47;
const PRODUCER_FENCED: i16 = 90;

const BEGINS_ANEW: &str = "begins anew from what the cluster has";

fn end(shipper: Process) -> String {
    shipper.signal(Signal::TERM);
    let (code, said) = shipper.end();
    assert_eq!(code, Some(0), "{said}");
    said
}

#[test]
fn what_the_client_may_ask_again_by_itself_is_there_once_and_starts_nothing_anew() {
    let host = Host::new("health_s = 0\ntimeout_ms = 60000\nlinger_ms = 1");
    let Some(door) = Proxy::before(&host) else { return };
    let mut journal = host.journal();
    let shipper = settled_shipper(&host, &mut journal);
    let (told, term) = (shipper.said.len(), host.term());
    let faults = [
        // Leaders and coordinators that have just become others.
        (PRODUCE, Fault::Refuse(NOT_LEADER), 3),
        (END_TXN, Fault::Refuse(NOT_COORDINATOR), 2),
        // What was done, and not heard of.
        (PRODUCE, Fault::LoseReply, 3),
        (END_TXN, Fault::LoseReply, 2),
    ];
    for (kind, fault, times) in faults {
        door.arm(kind, fault, times);
        journal.append(500);
        door.wait_for_hits(times);
        wait_until(&host, "lag_events", "0");
        println!("kind {kind}, {fault:?}: shipped");
    }
    let said = end(shipper);
    assert!(!said[told..].contains(BEGINS_ANEW), "{said}");
    assert_eq!(host.term(), term);
    assert_eq!(host.assert_exactly_once(), 2_001);
    assert_eq!(host.assert_json_once().len(), 2_001);
    journal.closer.seal(journal.writer);
}

#[test]
fn a_transaction_whose_end_was_done_and_never_heard_of_is_found_and_not_sent_again() {
    let host = Host::new("health_s = 0\ntimeout_ms = 2000\nlinger_ms = 1");
    let Some(door) = Proxy::before(&host) else { return };
    let mut journal = host.journal();
    let mut shipper = settled_shipper(&host, &mut journal);
    let term = host.term();
    door.arm(END_TXN, Fault::LoseReply, u32::MAX);
    journal.append(500);
    door.wait_for_hits(1);
    shipper.wait_for(BEGINS_ANEW);
    door.disarm();
    journal.append(500);
    wait_until(&host, "lag_events", "0");
    assert_eq!(host.term(), term);
    assert_eq!(host.assert_exactly_once(), 1_001);
    assert_eq!(host.assert_json_once().len(), 1_001);
    end(shipper);
    journal.closer.seal(journal.writer);
}

#[test]
fn the_end_of_a_transaction_that_comes_during_the_next_ends_neither() {
    let host = Host::new("health_s = 0\ntimeout_ms = 15000\nlinger_ms = 1");
    let Some(door) = Proxy::before(&host) else { return };
    let mut journal = host.journal();
    let mut shipper = settled_shipper(&host, &mut journal);
    door.arm(END_TXN, Fault::Hold, 2);
    journal.append(500);
    door.wait_for_hits(1);
    shipper.wait_for(BEGINS_ANEW);
    // The same events, sent again and as good as committed, by the same producer of a later epoch: whose earlier ones
    // the broker has ended, and does not only wait for.
    door.wait_for_hits(2);
    let producers = door.held();
    let [(first, epoch), (next, later)] = producers[..] else { panic!("{producers:?}") };
    assert!(first == next && epoch < later, "{producers:?}");
    assert!(door.release().is_some_and(|code| code != 0), "the broker takes the end of what was given up");
    assert_eq!(host.status("shipped_seq"), "1", "it has ended the next transaction");
    assert_eq!(door.release(), Some(0));
    wait_until(&host, "lag_events", "0");
    assert_eq!(host.assert_exactly_once(), 501);
    assert_eq!(host.assert_json_once().len(), 501);
    end(shipper);
    journal.closer.seal(journal.writer);
}

#[test]
fn an_audit_that_takes_long_holds_up_no_event() {
    // Longer than is waited for below: who waits for the audit is seen.
    let long = "timeout_ms = 300000\nsettings = [\"socket.timeout.ms=300000\"]";
    let host = Host::new(&format!("health_s = 0\nlinger_ms = 1\naudit_s = 1\n{long}"));
    let Some(door) = Proxy::before(&host) else { return };
    let mut journal = host.journal();
    journal.append(500);
    let shipper = host.shipper();
    wait_until(&host, "lag_events", "0");
    let told = shipper.said.len();
    // With nothing to ship, nobody else reads.
    door.arm(FETCH, Fault::Hold, 1);
    door.wait_for_hits(1);
    journal.append(500);
    wait_until(&host, "lag_events", "0");
    door.release();
    assert_eq!(host.assert_exactly_once(), 1_000);
    let said = end(shipper);
    assert!(!said[told..].contains(BEGINS_ANEW), "{said}");
    journal.closer.seal(journal.writer);
}

#[test]
fn what_the_cluster_lost_without_a_word_is_found_by_the_audit() {
    let host = Host::new("health_s = 0\ntimeout_ms = 60000\nlinger_ms = 1\naudit_s = 1");
    let Some(door) = Proxy::before(&host) else { return };
    let mut journal = host.journal();
    journal.append(300);
    let mut shipper = host.shipper();
    wait_until(&host, "lag_events", "0");
    let topic = "eventstore.order-events";
    let orders = host.records(topic, PARTITIONS).len();
    // An audit that has just begun: later it would hear that there is no such topic.
    door.arm_about("tradecore.progress", LIST_OFFSETS, Fault::Hold, 1);
    door.wait_for_hits(1);
    let whole = format!("{}{topic}", host.prefix);
    let deleted = wait_for(host.broker.admin().delete_topics(&[&whole], &AdminOptions::new())).expect("an answer");
    assert!(deleted.iter().all(Result::is_ok), "{deleted:?}");
    host.broker.make(&whole, PARTITIONS);
    host.broker.set(&whole, &[("retention.ms", "-1"), ("unclean.leader.election.enable", "false")]);
    door.release();
    shipper.wait_for("the audit has found that the cluster does not have what it has acknowledged");
    shipper.wait_for("the cluster has lost events that it had acknowledged");
    // Until it has begun to send them again, what stands in the progress still says that all is there.
    let since = Instant::now();
    while host.records(topic, PARTITIONS).len() < orders {
        assert!(since.elapsed() < DEADLINE, "they are not sent again");
    }
    assert_eq!(host.assert_exactly_once(), 300);
    end(shipper);
    journal.closer.seal(journal.writer);
}

#[test]
fn the_end_of_a_transaction_that_comes_after_a_successor_took_over_counts_for_nothing() {
    let host = Host::new("health_s = 0\ntimeout_ms = 60000\nlinger_ms = 1");
    let Some(door) = Proxy::before(&host) else { return };
    let mut journal = host.journal();
    let first = host.shipper();
    let term = host.term();
    door.arm(END_TXN, Fault::Hold, 1);
    journal.append(500);
    door.wait_for_hits(1);
    let second = host.shipper();
    wait_until(&host, "lag_events", "0");
    assert!(door.release().is_some_and(|code| code != 0), "the broker takes the end of what was fenced");
    let (code, said) = first.end();
    assert_eq!(code, Some(92), "{said}");
    assert!(said.contains("another shipper of this stream has taken over"), "{said}");
    assert_eq!(host.term(), term + 1);
    assert_eq!(host.assert_exactly_once(), 500);
    end(second);
    journal.closer.seal(journal.writer);
}

#[test]
fn a_broker_whose_disk_takes_nothing_more_is_waited_for_and_nothing_is_lost_or_there_twice() {
    // Uncompressed, so that files grow.
    let host = Host::alone("linger_ms = 1\ntimeout_ms = 5000\nsettings = [\"compression.type=none\"]");
    let mut journal = host.journal();
    let mut shipper = settled_shipper(&host, &mut journal);
    let told = shipper.said.len();
    // What the broker writes down for itself is larger by now than what it has of this host.
    let dir = std::env::var("TRADECORE_TEST_KAFKA_DIR").unwrap_or_default();
    let own = std::fs::metadata(format!("{dir}/data/__cluster_metadata-0/00000000000000000000.log"));
    let bytes = own.map_or(0, |file| file.len()) + (1 << 19);
    if !host.broker.fill(bytes) {
        println!("NOT tested: the broker is not ours (TRADECORE_TEST_KAFKA_DIR)");
        return;
    }
    journal.append(bytes / 100);
    shipper.wait_for("Kafka is away");
    // Now and then such a broker takes something all the same.
    let since = Instant::now();
    loop {
        let output = host.run(&["ship", "status", "--json"]);
        let shown = host::said(&output);
        if (&shown["state"], output.status.code()) == (&"away".into(), Some(69)) {
            break;
        }
        assert!(since.elapsed() < DEADLINE, "{shown}");
    }
    // There is room again.
    assert!(host.broker.kill() && host.broker.restart());
    shipper.wait_for("Kafka is back");
    wait_until(&host, "lag_events", "0");
    assert_eq!(host.find_status("state"), None);
    let said = end(shipper);
    assert!(!said[told..].contains("is refused"), "{said}");
    assert_eq!(host.assert_exactly_once(), 1 + bytes / 100);
    assert_eq!(host.assert_json_once().len() as u64, 1 + bytes / 100);
    journal.closer.seal(journal.writer);
}

#[test]
fn one_that_is_fenced_and_finds_its_own_term_goes_on_and_says_why_it_began_anew() {
    for code in [PRODUCER_FENCED, INVALID_PRODUCER_EPOCH] {
        let host = Host::new("health_s = 0\ntimeout_ms = 15000\nlinger_ms = 1");
        let Some(door) = Proxy::before(&host) else { return };
        let mut journal = host.journal();
        let mut shipper = settled_shipper(&host, &mut journal);
        let term = host.term();
        door.arm(END_TXN, Fault::Refuse(code), 1);
        journal.append(500);
        door.wait_for_hits(1);
        let line = shipper.wait_for(BEGINS_ANEW);
        assert!(line.contains("another shipper of this stream has begun"), "{code}: {line}");
        wait_until(&host, "lag_events", "0");
        assert_eq!(host.term(), term, "nobody else has claimed one");
        assert_eq!(host.assert_exactly_once(), 501);
        end(shipper);
        journal.closer.seal(journal.writer);
    }
}
