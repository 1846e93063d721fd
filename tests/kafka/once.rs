//! Each event once: kills, a second shipper, one that wakes up late, lost progress.

use std::time::Duration;

use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rustix::process::Signal;
use serde_json::Value;

use super::host::{DEADLINE, Host, PARTITIONS};
use super::{Random, number, pass, wait_until};

#[test]
fn each_event_is_there_once_after_kills_of_the_shipper_and_of_the_broker() {
    let events = number("TRADECORE_TEST_KAFKA_EVENTS", 100_000);
    let (kills, broker_kills) =
        (number("TRADECORE_TEST_KAFKA_KILLS", 20), number("TRADECORE_TEST_KAFKA_BROKER_KILLS", 3));
    let seed = number("TRADECORE_TEST_SEED", u64::from(std::process::id()) | 1 << 40);
    println!("TRADECORE_TEST_SEED={seed}");
    let mut random = Random(seed);
    // Small transactions, so that a kill finds one under way.
    let host = Host::alone("batch_events_max = 200\nlinger_ms = 1\ntimeout_ms = 15000");
    let mut journal = host.journal();
    let every = kills / (broker_kills + 1).max(1);
    let (mut begun, mut broker_killed, mut first) = (Vec::new(), 0, 0);
    for life in 0..kills {
        // Some of it comes while it is shipped.
        journal.append(events / (kills + 1));
        let shipper = host.shipper();
        begun.push(shipper.said.lines().last().expect("a line").to_owned());
        if life == 0 {
            first = host.term();
        }
        pass(Duration::from_millis(random.below(300)));
        // Every other one has shipped something when it dies, however long a broker takes for its first transactions.
        let since = std::time::Instant::now();
        while life % 2 == 1 && begun[begun.len() - 1].ends_with(&format!("={}", host.status("shipped_seq"))) {
            assert!(since.elapsed() < DEADLINE, "nothing is shipped: {begun:#?}");
        }
        if every > 0 && life % every == every - 1 && broker_killed < broker_kills {
            broker_killed += 1;
            if host.broker.kill_and_restart() {
                journal.append(1_000.min(events / (kills + 1)));
                pass(Duration::from_millis(random.below(2_000)));
            } else {
                println!("NOT killed: the broker is not ours (TRADECORE_TEST_KAFKA_DIR)");
            }
        }
        shipper.kill();
    }
    journal.append(events.saturating_sub(journal.writer.last_seq()));
    println!("{}", host.succeed(&["ship", "run", "--drain"]));
    let found = host.assert_exactly_once();
    assert!(found >= events, "{found} events");
    assert_eq!(host.assert_json_once().len() as u64, found, "each as JSON, none refused");
    assert_eq!(host.status("lag_events"), "0");
    assert_eq!(host.term(), first + kills, "each life has claimed once: {begun:#?}");
    let mid = begun.iter().filter(|line| !line.ends_with("shipped_seq=0")).count();
    println!("{found} events; {mid} of {kills} lives went on from what an earlier one had shipped");
    assert!(mid > 0, "no life went on from another's work: {begun:#?}");
    journal.closer.seal(journal.writer);
}

#[test]
fn a_second_shipper_of_the_same_stream_fences_the_first_which_says_so_and_ends() {
    let host = Host::new("timeout_ms = 5000");
    let mut journal = host.journal();
    journal.append(1_000);
    let first = host.shipper();
    let second = host.shipper();
    journal.append(1_000);
    let (code, said) = first.end();
    assert_eq!(code, Some(92), "{said}");
    assert!(said.contains("taken over"), "{said}");
    wait_until(&host, "lag_events", "0");
    assert_eq!(host.assert_exactly_once(), 2_000);
    // The first has written that it ended, beside the journal that they share.
    let (since, status) = (std::time::Instant::now(), || host.run(&["ship", "status"]));
    while !status().status.success() {
        assert!(since.elapsed() < DEADLINE, "{:?}", status());
        journal.append(10);
    }
    second.signal(Signal::TERM);
    let (code, said) = second.end();
    assert_eq!(code, Some(0), "{said}");
    journal.closer.seal(journal.writer);
}

#[test]
fn a_paused_shipper_that_wakes_up_after_its_successor_took_over_commits_nothing() {
    // So much time that no message and no transaction of the paused one is too old when it wakes up.
    let host = Host::new("batch_events_max = 100\nlinger_ms = 1\ntimeout_ms = 300000");
    let mut journal = host.journal();
    journal.append(2_000);
    let paused = host.shipper();
    let since = std::time::Instant::now();
    while host.status("shipped_seq") == "0" {
        assert!(since.elapsed() < DEADLINE, "nothing is shipped");
    }
    paused.signal(Signal::STOP);
    let term = host.term();
    // However much it had shipped: this it has not.
    journal.append(4_000);
    host.succeed(&["ship", "run", "--drain"]);
    let owner = host.status("shipper");
    paused.signal(Signal::CONT);
    let (code, said) = paused.end();
    assert_eq!(code, Some(92), "{said}");
    // The cluster's own fence stopped it, with half of the journal still to send; only then it looked at the term.
    assert!(said.contains("another shipper of this stream has begun"), "{said}");
    assert!(said.contains("another shipper of this stream has taken over"), "{said}");
    assert_eq!((host.status("shipped_seq"), host.status("shipper")), ("6000".to_owned(), owner));
    assert_eq!(host.term(), term + 1);
    assert_eq!(host.assert_exactly_once(), 6_000);
    journal.closer.seal(journal.writer);
}

#[test]
fn a_shipper_that_was_paused_for_longer_than_it_waits_ends_and_leaves_its_successor_alone() {
    let host = Host::new("batch_events_max = 50\nlinger_ms = 1\ntimeout_ms = 5000");
    let mut journal = host.journal();
    journal.append(2_000);
    let paused = host.shipper();
    pass(Duration::from_millis(50));
    paused.signal(Signal::STOP);
    let successor = host.shipper();
    wait_until(&host, "lag_events", "0");
    let term = host.term();
    // What it waits for is over when it wakes up.
    pass(Duration::from_secs(7));
    paused.signal(Signal::CONT);
    let (code, said) = paused.end();
    assert_eq!(code, Some(92), "{said}");
    journal.append(1_000);
    wait_until(&host, "lag_events", "0");
    assert_eq!(host.term(), term, "nobody had to claim again");
    successor.signal(Signal::TERM);
    let (code, said) = successor.end();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(host.assert_exactly_once(), 3_000);
    journal.closer.seal(journal.writer);
}

/// Has nobody know any more how far the stream is shipped, nor who has claimed it.
fn lose_progress(host: &Host) {
    let producer: BaseProducer = host.broker.client().create().expect("a producer");
    let topic = format!("{}tradecore.progress", host.prefix);
    let tombstone: BaseRecord<'_, str, [u8]> = BaseRecord::to(&topic).key("virtual-1").partition(0);
    producer.send(tombstone).map_err(|(error, _)| error).expect("sent");
    producer.flush(DEADLINE).expect("flushed");
}

#[test]
fn a_stream_whose_progress_was_lost_goes_on_from_what_its_topics_hold() {
    let host = Host::new("timeout_ms = 5000");
    host.write(3_000);
    host.succeed(&["ship", "run", "--drain"]);
    lose_progress(&host);
    assert_eq!(host.status("shipped_seq"), "0");
    // Of another journal nothing is taken for shipped.
    let (journal, kept) = (host.journal_dir(), host.dir.path().join("kept"));
    std::fs::rename(&journal, &kept).expect("moved");
    for (events, problem) in [(500, "the journal ends before"), (4_000, "differs from what the cluster has")] {
        host.write(events);
        let output = host.run(&["ship", "run", "--drain"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(65) && said.contains(problem), "{problem:?} in {said}");
        std::fs::remove_dir_all(&journal).expect("removed");
    }
    std::fs::rename(&kept, &journal).expect("moved");
    host.write(500);
    // The others have claimed the stream.
    host.go_on_though_superseded();
    assert_eq!(host.status("shipped_seq"), "3500");
    assert_eq!(host.assert_exactly_once(), 3_500);
}

#[test]
fn a_paused_shipper_leaves_its_successor_alone_though_that_found_no_progress() {
    let host = Host::new("linger_ms = 1\ntimeout_ms = 5000");
    let mut journal = host.journal();
    journal.append(500);
    // Some terms have gone by.
    for _ in 0..3 {
        host.succeed(&["ship", "run", "--drain"]);
    }
    let paused = host.shipper();
    paused.signal(Signal::STOP);
    let term = host.term();
    lose_progress(&host);
    let successor = host.shipper();
    journal.append(500);
    wait_until(&host, "lag_events", "0");
    assert!(host.term() > term, "{} behind {term}", host.term());
    paused.signal(Signal::CONT);
    let (code, said) = paused.end();
    assert_eq!(code, Some(92), "{said}");
    journal.append(500);
    wait_until(&host, "lag_events", "0");
    successor.signal(Signal::TERM);
    let (code, said) = successor.end();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(host.assert_exactly_once(), 1_500);
    journal.closer.seal(journal.writer);
}

#[test]
fn a_journal_whose_count_of_syncs_went_back_with_a_power_loss_is_the_one_that_was_shipped() {
    let host = Host::new("timeout_ms = 5000");
    host.write(100);
    let (durable, kept) = (host.journal_dir().join("durable"), host.dir.path().join("kept"));
    std::fs::copy(&durable, &kept).expect("copied");
    host.write(900);
    host.succeed(&["ship", "run", "--drain"]);
    std::fs::copy(&kept, &durable).expect("copied");
    assert_eq!((host.status("synced_seq"), host.status("lag_events")), ("100".to_owned(), "0".to_owned()));
    assert_eq!(host.succeed(&["ship", "run", "--drain"]), "shipped up to event 1000\n");
    host.write(10);
    host.succeed(&["ship", "run", "--drain"]);
    assert_eq!(host.assert_exactly_once(), 1_010);
}

/// What a core has said last of how far it has looked, partition by partition; empty where it has said nothing.
fn seen(host: &Host, stream: &str, domain: &str) -> Vec<String> {
    let records = host.records("tradecore.progress", 1);
    let last = records.iter().rev().find(|record| record.key() == Some(stream.as_bytes())).expect("progress");
    let progress: Value = serde_json::from_slice(last.payload().expect("a value")).expect("an object");
    let of_domain = |seen: &Value| seen.as_array()?.iter().find(|one| one[0] == domain)?[1].as_array().cloned();
    let ends = of_domain(&progress["seen"]).unwrap_or_default();
    ends.iter().map(|end| end.as_str().expect("text").to_owned()).collect()
}

#[test]
fn a_quiet_core_says_how_far_it_has_seen_what_others_write_behind_its_last_event_and_goes_on_there() {
    let busy = Host::new("health_s = 0");
    let mut quiet = Host::new("health_s = 1\naudit_s = 1\ntimeout_ms = 10000");
    let text = std::fs::read_to_string(quiet.config()).expect("read").replace(&quiet.prefix, &busy.prefix);
    assert!(text.contains("\nid = 1\n"), "{text}");
    std::fs::write(quiet.config(), text.replace("\nid = 1\n", "\nid = 2\n")).expect("written");
    quiet.prefix.clone_from(&busy.prefix);
    let mut journal = quiet.journal_of(2);
    journal.append(50);
    let shipper = quiet.shipper();
    wait_until(&quiet, "lag_events", "0");
    busy.write(2_000);
    busy.succeed(&["ship", "run", "--drain"]);
    let topic = format!("{}eventstore.order-events", busy.prefix);
    let admin = quiet.broker.admin();
    let end = |partition| admin.inner().fetch_watermarks(&topic, partition, DEADLINE).expect("bounds").1.to_string();
    // A transaction is at its end a moment after that was answered.
    let ends = || (0..PARTITIONS).map(end).collect::<Vec<String>>();
    let since = std::time::Instant::now();
    let is_all = |ends: &[String]| ends.iter().all(|end| end.len() > 2);
    while !is_all(&ends()) || seen(&quiet, "virtual-2", "order") != ends() {
        assert!(since.elapsed() < DEADLINE, "{:?}, and {:?}", seen(&quiet, "virtual-2", "order"), ends());
    }
    // Behind that, and killed in between, both go on where they were.
    shipper.kill();
    journal.append(50);
    busy.write(100);
    quiet.succeed(&["ship", "run", "--drain"]);
    busy.succeed(&["ship", "run", "--drain"]);
    for (host, events) in [(&quiet, "100"), (&busy, "2100")] {
        assert_eq!(host.proof()["events"], events);
    }
    journal.closer.seal(journal.writer);
}
