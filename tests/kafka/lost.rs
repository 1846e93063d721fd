//! A host is lost: its journal is made anew from the topics, and its gateway goes on elsewhere.

use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rustix::process::Signal;
use tradecore::exit::Exit;
use tradecore_client::protocol::fields::{Durability, OrdStatus, Tif};
use tradecore_client::protocol::reason::Reason;
use tradecore_domain::{Limits, State};
use tradecore_journal::{Reader, Until};

use super::desk::{Algo, Desk};
use super::host::{DEADLINE, Host, LOG, PARTITIONS, Process, said};
use super::{pass, wait_until};

fn run_at(config: &Path, words: &[&str]) -> Output {
    Host::command_at(config, LOG, words).output().expect("run")
}

fn check(output: &Output, code: i32, part: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(part), "{part:?} in {said}");
}

fn status_at(config: &Path, key: &str) -> String {
    let output = run_at(config, &["ship", "status", "--json"]);
    let status = said(&output);
    status[key].as_str().unwrap_or_else(|| panic!("{key} in {status}")).to_owned()
}

/// Every record of a journal: epoch and bytes.
fn records(journal_dir: &Path) -> Vec<(u32, Vec<u8>)> {
    let mut records = Vec::new();
    let mut reader = Reader::open(journal_dir, 1, Until::Synced).expect("a journal");
    reader.for_each(|record| records.push((record.epoch, record.bytes.to_vec()))).expect("readable");
    records
}

fn state_hash(journal_dir: &Path) -> u64 {
    let mut state = State::new(Limits::default());
    tradecore::recovery::replay(journal_dir, &mut state, &mut |_| ()).expect("replayed");
    state.hash()
}

#[test]
fn a_lost_host_is_rebuilt_from_the_topics_byte_for_byte_and_its_gateway_goes_on() {
    let desk = Desk::new("timeout_ms = 15000");
    // Two lives, so that there are two epochs and some segments; the last ends with all synced, so that all is shipped.
    for (orders, signal) in [(40, Signal::KILL), (60, Signal::TERM)] {
        let gateway = Desk::gateway(&desk.host.config());
        let mut algo = Algo::at(&desk.host.dir.path().join("data"));
        for _ in 0..orders {
            algo.trade(Tif::Ioc);
        }
        gateway.signal(signal);
        gateway.end();
    }
    desk.host.succeed(&["ship", "run", "--drain"]);
    let (other, lost) = (desk.other_host(), desk.host.journal_dir());
    let journal = desk.host.dir.path().join("other/journal");

    // As one that was interrupted has left it: no start takes it for a journal, not even for an empty one.
    std::fs::create_dir_all(&journal).expect("made");
    std::fs::write(journal.join("restoring"), "").expect("written");
    check(&run_at(&other, &["run"]), 94, "a restore of this journal was interrupted");
    let restore = ["journal", "restore", "--from-kafka", "--take-over", "--json"];
    let output = run_at(&other, &restore);
    check(&output, 0, "");
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("an object");
    let before = records(&lost);
    assert!(before.len() > 200, "{} events", before.len());
    assert_eq!(told["events"], before.len().to_string(), "{told}");
    assert!(records(&journal) == before, "each record is as it was");
    assert_eq!(state_hash(&journal), state_hash(&lost));
    check(&run_at(&other, &restore), 64, "not empty");
    // The lost one comes back while the cluster has nothing yet that its journal lacks, and knows it by another address.
    let address = format!("brokers = \"{}", desk.host.broker.address);
    let text = std::fs::read_to_string(desk.host.config()).expect("read");
    let more = format!("{address},127.0.0.1:9");
    std::fs::write(desk.host.config(), text.replace(&address, &more)).expect("written");
    check(&desk.host.run(&["ship", "run", "--drain"]), Exit::Superseded as i32, "its place is taken");

    let gateway = Desk::gateway(&other);
    let mut algo = Algo::at(&desk.host.dir.path().join("other"));
    algo.trade(Tif::Ioc);
    let since = Instant::now();
    while status_at(&other, "lag_events") != "0" {
        assert!(since.elapsed() < DEADLINE, "it does not go on shipping");
    }
    gateway.signal(Signal::TERM);
    let (code, said) = gateway.end();
    assert_eq!(code, Some(0), "{said}");
    check(&run_at(&other, &["ship", "run", "--drain"]), 0, "");
    check(&run_at(&other, &["ship", "verify"]), 0, "");
    let after = records(&journal);
    let (epoch, last_epoch) = (before.last().expect("some").0, after.last().expect("some").0);
    assert!(after.starts_with(&before) && last_epoch > epoch + 1, "epoch {last_epoch} after {epoch}");
    let epochs = desk.epochs_at_venue();
    assert!(epochs.ends_with(&[u64::from(last_epoch)]), "{epochs:?}");
}

#[test]
fn topics_that_no_longer_hold_every_event_are_told_from_where_they_do() {
    let host = Host::new("timeout_ms = 5000");
    host.write(2_000);
    host.succeed(&["ship", "run", "--drain"]);
    let topic = format!("{}eventstore.order-events", host.prefix);
    let mut list = rdkafka::TopicPartitionList::new();
    list.add_partition_offset(&topic, PARTITIONS - 1, rdkafka::Offset::Offset(5)).expect("added");
    let admin: AdminClient<DefaultClientContext> = host.broker.client().create().expect("a client");
    drop(admin.delete_records(&list, &AdminOptions::new()));
    let since = Instant::now();
    while admin.inner().fetch_watermarks(&topic, PARTITIONS - 1, DEADLINE).expect("bounds").0 < 5 {
        assert!(since.elapsed() < DEADLINE, "the records are not removed");
    }
    let drill = host.dir.path().join("drill");
    let drill = drill.to_str().expect("text");
    let words = ["journal", "restore", "--from-kafka", "--into", drill];
    let output = host.run(&words);
    check(&output, 89, "the topics hold every event only from ");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains(", up to 2000: ") && said.contains(&topic), "{said}");
    let config = std::fs::read_to_string(host.config()).expect("read");
    std::fs::write(host.config(), config.replace(&host.prefix, "never-used.")).expect("written");
    assert_eq!(host.run(&words).status.code(), Some(69), "topics of nobody");
}

#[test]
fn a_drill_restores_all_that_is_shipped_and_leaves_the_shipper_alone() {
    let host = Host::new("timeout_ms = 5000");
    let mut journal = host.journal();
    journal.append(5_000);
    let shipper = host.shipper();
    let since = Instant::now();
    while host.status("lag_events") != "0" {
        assert!(since.elapsed() < DEADLINE, "it is not shipped");
    }
    let drill = host.dir.path().join("drill");
    host.succeed(&["journal", "restore", "--from-kafka", "--into", drill.to_str().expect("text")]);
    assert!(records(&drill) == records(&host.journal_dir()), "each record is as it was");
    journal.append(10);
    let since = Instant::now();
    while host.status("lag_events") != "0" {
        assert!(since.elapsed() < DEADLINE, "the shipper goes on");
    }
    shipper.signal(Signal::TERM);
    assert_eq!(shipper.end().0, Some(0));
    journal.closer.seal(journal.writer);
}

#[test]
fn at_no_time_do_two_hosts_of_one_core_send_new_orders() {
    check_take_over(false);
}

#[test]
fn a_paused_host_whose_lease_has_run_out_sends_none_of_the_orders_that_wait_for_it() {
    check_take_over(true);
}

/// A host is paused with orders in its sockets, another takes over. `wakes_first`: before the other trades, which needs no
/// lease itself; else after, and the other has a venue of its own, since the first's would keep that out by itself.
fn check_take_over(wakes_first: bool) {
    // Longer than a commit takes on a busy machine: else nobody gets one.
    let lease = Duration::from_millis(6_000);
    let desk = Desk::new(&format!("timeout_ms = 15000\nlease_ms = {}", lease.as_millis()));
    let assert_waited = |started: Instant, refused: &[Reason]| {
        // On a slow machine the wait may be over before the first order is sent.
        let is_over = started.elapsed() >= lease * 5 / 4;
        assert!(is_over || refused.contains(&Reason::NoLease), "it trades while others may: {refused:?}");
    };
    let (data, other_data) = (desk.host.dir.path().join("data"), desk.host.dir.path().join("other"));
    let started = Instant::now();
    let first = Desk::gateway(&desk.host.config());
    let mut algo = Algo::at(&data);
    let (_, refused) = algo.trade(Tif::Ioc);
    assert_waited(started, &refused);
    let words = "a gateway runs on this journal";
    check(&desk.host.run(&["ship", "run", "--drain"]), Exit::JournalLocked.code().into(), words);
    // Orders without a pause, more than it has read when it is paused: they wait in its socket.
    let (stop, is_asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let sending = {
        let (stop, is_asked) = (Arc::clone(&stop), Arc::clone(&is_asked));
        std::thread::spawn(move || {
            let mut sent = 0;
            while !stop.load(Ordering::Acquire) && sent < 2_000 {
                if algo.try_send(Tif::Ioc) {
                    sent += 1;
                }
                // While it is paused nothing is answered: what is sent stays in its socket.
                algo.drain(if is_asked.load(Ordering::Acquire) { Duration::ZERO } else { Duration::from_millis(1) });
            }
            sent
        })
    };
    let since = Instant::now();
    while desk.epochs_at_venue().len() < 50 {
        assert!(since.elapsed() < DEADLINE, "it does not trade");
    }
    is_asked.store(true, Ordering::Release);
    first.signal(Signal::STOP);

    // Another host takes over, waits, and trades; then the first wakes up.
    let other = desk.other_host();
    if wakes_first {
        let text = std::fs::read_to_string(&other).expect("read");
        std::fs::write(&other, text.replace("lease_ms = 6000", "lease_ms = 0")).expect("written");
    }
    let started = Instant::now();
    check(&run_at(&other, &["journal", "restore", "--from-kafka", "--take-over"]), 0, "");
    assert!(started.elapsed() >= lease * 5 / 4, "whoever starts from it may meet the first");
    let end = |first: Process| {
        let (code, said) = first.end();
        assert_eq!(code, Some(93), "{said}");
        assert!(said.contains("TakenOver"), "{said}");
    };
    let first = if wakes_first {
        let before = desk.epochs_at_venue().len();
        first.signal(Signal::CONT);
        end(first);
        assert_eq!(desk.epochs_at_venue().len(), before, "it has sent what waited for it");
        None
    } else {
        Some(first)
    };
    let (venue, before) = match &first {
        Some(_) => (Some(desk.venue_beside(&other)), desk.epochs_at_venue().len()),
        None => (None, 0),
    };
    let started = Instant::now();
    let second = Desk::gateway(&other);
    let mut successor = Algo::at(&other_data);
    let (_, refused) = successor.trade(Tif::Ioc);
    assert_waited(started, &refused);
    if let Some(first) = &first {
        first.signal(Signal::CONT);
    }
    for _ in 0..20 {
        successor.trade(Tif::Ioc);
    }
    first.into_iter().for_each(end);
    stop.store(true, Ordering::Release);
    assert!(sending.join().expect("ended") > 50);
    for _ in 0..20 {
        successor.trade(Tif::Ioc);
    }

    // And once more: a start of the old host, whose journal is not the stream's any more, takes nothing from anybody.
    let (code, said) = Host::start_at(&desk.host.config(), &["run"]).end();
    assert_eq!(code, Some(93), "{said}");
    let (_, refused) = successor.trade(Tif::Ioc);
    assert_eq!(refused, [], "the successor was not disturbed");
    if wakes_first {
        second.signal(Signal::TERM);
        assert_eq!(second.end().0, Some(0));
    } else {
        check(&run_at(&other, &["ship", "run", "--drain", "--take-over"]), 0, "");
        end(second);
    }

    let mut epochs = desk.epochs_at_venue();
    if venue.is_some() {
        assert_eq!(epochs.len(), before, "the first has sent when another traded already");
        epochs.extend(&desk.epochs_at_venue_of("other")[before..]);
    }
    let (old, new) = (epochs.first().expect("some"), epochs.last().expect("some"));
    let turn = epochs.iter().position(|epoch| epoch != old).expect("two owners");
    println!("{turn} orders of epoch {old}, then {} of epoch {new}", epochs.len() - turn);
    assert!(epochs.len() - turn >= 41, "{epochs:?}");
    assert!(epochs[turn..].iter().all(|epoch| epoch == new), "the first has sent after the second: {epochs:?}");
}

#[test]
fn without_the_cluster_a_leased_core_refuses_new_orders_and_cancels_pass() {
    let desk = Desk::alone("timeout_ms = 5000\nlease_ms = 4000");
    let data = desk.host.dir.path().join("data");
    let gateway = Desk::gateway(&desk.host.config());
    let mut algo = Algo::at(&data);
    let (resting, _) = algo.trade(Tif::Gtc);
    if !desk.host.broker.kill() {
        println!("NOT run: the broker is not ours (TRADECORE_TEST_KAFKA_DIR)");
        return;
    }
    let since = Instant::now();
    loop {
        let id = algo.send(Tif::Ioc);
        match algo.answer(id) {
            Some(Reason::NoLease) => break,
            Some(other) => panic!("{other:?}"),
            None => assert!(since.elapsed() < DEADLINE, "it trades on without the cluster"),
        }
    }
    algo.cancel(resting);
    algo.wait_for_canceled(resting);
    desk.host.broker.restart();
    algo.trade(Tif::Ioc);
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.end().0, Some(0));
}

#[test]
fn in_class_replicated_reports_wait_for_the_cluster_and_cancels_do_not() {
    let desk = Desk::alone("timeout_ms = 5000");
    let text = std::fs::read_to_string(desk.host.config()).expect("read");
    // The venue may be reading it.
    let partial = desk.host.dir.path().join("partial");
    std::fs::write(&partial, text.replace("#durability = \"synced\"", "durability = \"replicated\"")).expect("written");
    std::fs::rename(partial, desk.host.config()).expect("renamed");
    let data = desk.host.dir.path().join("data");
    let gateway = Desk::gateway(&desk.host.config());
    let mut algo = Algo::at(&data);
    let (resting, _) = algo.trade(Tif::Gtc);
    algo.wait_for(resting, &[OrdStatus::New]);
    let mut waits: Vec<Duration> = (0..50)
        .map(|_| {
            let since = Instant::now();
            let id = algo.send(Tif::Ioc);
            assert_eq!(algo.answer(id), None);
            let waited = since.elapsed();
            // Nothing of it is still to be told.
            algo.wait_for(id, &[OrdStatus::Canceled, OrdStatus::Expired]);
            waited
        })
        .collect();
    waits.sort_unstable();
    println!("order to acceptance in class replicated: p50 {:?}, longest {:?}", waits[25], waits[49]);
    assert_eq!(algo.class, Some(Durability::Replicated), "a report says its class");
    if !desk.host.broker.kill() {
        println!("NOT run: the broker is not ours (TRADECORE_TEST_KAFKA_DIR)");
        return;
    }
    let orders = desk.epochs_at_venue().len();
    let waiting = algo.send(Tif::Ioc);
    algo.cancel(resting);
    // The cancel is at the venue while nothing is told, and the order that was sent before it has not left.
    let since = Instant::now();
    while !desk.is_canceled_at_venue() {
        assert!(since.elapsed() < DEADLINE, "the cancel does not reach the venue");
        assert_eq!(algo.drain(Duration::from_millis(10)), 0, "nothing is told that the cluster has not");
    }
    assert_eq!(desk.epochs_at_venue().len(), orders, "a new order waits for the cluster");
    desk.host.broker.restart();
    assert_eq!(algo.answer(waiting), None, "told when the cluster is back");
    algo.wait_for_canceled(resting);
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.end().0, Some(0));
}

#[test]
fn a_lease_is_renewed_in_its_time_however_long_events_may_gather() {
    let lease = Duration::from_secs(10);
    let desk = Desk::new(&format!("timeout_ms = 15000\nlinger_ms = 60000\nlease_ms = {}", lease.as_millis()));
    let gateway = Desk::gateway(&desk.host.config());
    let mut algo = Algo::at(&desk.host.dir.path().join("data"));
    algo.trade(Tif::Ioc);
    let since = Instant::now();
    while since.elapsed() < lease + lease / 4 {
        let (_, refused) = algo.trade(Tif::Ioc);
        assert!(refused.is_empty(), "after {:?}: {refused:?}", since.elapsed());
        pass(Duration::from_millis(500));
    }
    // Nor does what is renewed more often than events gather hold them up.
    wait_until(&desk.host, "lag_events", "0");
    gateway.signal(Signal::TERM);
    let (code, said) = gateway.end();
    assert_eq!(code, Some(0), "{said}");
}
