//! Alerts and signs of life.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::admin::AdminOptions;
use rustix::process::Signal;
use serde_json::Value;

use super::host::{DEADLINE, Host, objects, wait_for};
use super::{pass, wait_until};

#[test]
fn each_event_that_somebody_must_know_is_an_alert_once_though_the_shipper_is_killed() {
    let host = Host::new("batch_events_max = 50\nlinger_ms = 1\ntimeout_ms = 10000");
    let mut journal = host.journal();
    let mut before = "0".to_owned();
    for _ in 0..4 {
        journal.append(250);
        let shipper = host.shipper();
        // Some is shipped, and some under way.
        let since = Instant::now();
        while host.status("shipped_seq") == before {
            assert!(since.elapsed() < DEADLINE, "nothing is shipped behind {before}");
        }
        journal.append(250);
        pass(Duration::from_millis(20));
        shipper.kill();
        before = host.status("shipped_seq");
    }
    host.succeed(&["ship", "run", "--drain"]);
    let dir = host.journal_dir();
    let export = ["journal", "export", "--out", "-", "--dir", dir.to_str().expect("text")];
    let lines = std::process::Command::new(env!("CARGO_BIN_EXE_tradecore")).args(export).output().expect("run").stdout;
    let mut wanted: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for line in String::from_utf8(lines).expect("text").lines() {
        let line: Value = serde_json::from_str(line).expect("an object");
        let topic = match line["type"].as_str().expect("text") {
            "tradecore.OrderInDoubt.v1" => "alerts.order-in-doubt",
            "tradecore.BrokerContradicted.v1" => "alerts.broker-contradiction",
            "tradecore.KillSwitchChanged.v1" if line["data"]["engaged"] == true => "alerts.kill-switch",
            "tradecore.TradingStateChanged.v1" if line["data"]["state"] != "OPEN" => "alerts.trading-state",
            _ => continue,
        };
        wanted.entry(topic).or_default().push(line["seq"].as_str().expect("text").to_owned());
    }
    assert_eq!(wanted.len(), 4, "{:?}", wanted.keys());
    for (topic, seqs) in wanted {
        let alerts = objects(&host, topic);
        let found: Vec<&str> = alerts.iter().map(|alert| alert["seq"].as_str().expect("text")).collect();
        assert!(seqs.len() > 5, "{topic}: {seqs:?}");
        assert_eq!(found, seqs, "{topic}");
        assert!(alerts.iter().all(|alert| format!("alerts.{}", alert["kind"].as_str().expect("text")) == topic));
    }
    journal.closer.seal(journal.writer);
}

#[test]
fn a_sign_of_life_tells_how_far_shipping_is_though_nothing_happens() {
    let host = Host::new("health_s = 1\ntimeout_ms = 10000");
    host.write(50);
    let shipper = host.shipper();
    let since = Instant::now();
    let life = loop {
        let life = objects(&host, "system.health");
        if life.iter().filter(|life| life["shipped_seq"] == "50").count() >= 2 {
            break life;
        }
        assert!(since.elapsed() < DEADLINE, "{life:?}");
    };
    // The first stands before all that there was to ship.
    for (name, value) in [("synced_seq", "50"), ("shipped_seq", "0"), ("lag_events", "50")] {
        assert_eq!(life[0][name], value, "{}", life[0]);
    }
    assert_ne!(life[0]["lag_ms"], "0", "they wait since they were journaled: {}", life[0]);
    let last = life.last().expect("one");
    for (name, value) in [
        ("stream", "virtual-1"),
        ("synced_seq", "50"),
        ("lag_events", "0"),
        ("term", &host.status("term")),
        ("lag_ms", "0"),
    ] {
        assert_eq!(last[name], value, "{last}");
    }
    shipper.signal(Signal::TERM);
    assert_eq!(shipper.end().0, Some(0));
    assert_eq!(host.assert_exactly_once(), 50);
}

#[test]
fn what_the_cluster_lost_is_noticed_by_the_audit_told_and_sent_again() {
    let host = Host::new("audit_s = 1\ntimeout_ms = 10000");
    host.write(300);
    let mut shipper = host.shipper();
    wait_until(&host, "lag_events", "0");
    let topic = format!("{}eventstore.order-events", host.prefix);
    let deleted = wait_for(host.broker.admin().delete_topics(&[&topic], &AdminOptions::new())).expect("an answer");
    assert!(deleted.iter().all(Result::is_ok), "{deleted:?}");
    shipper.wait_for("the cluster has lost events that it had acknowledged");
    let since = Instant::now();
    while objects(&host, "alerts.shipping-loss").is_empty() {
        assert!(since.elapsed() < DEADLINE, "it is not told");
    }
    wait_until(&host, "lag_events", "0");
    assert_eq!(host.assert_exactly_once(), 300);
    shipper.signal(Signal::TERM);
    let (code, said) = shipper.end();
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn that_the_cluster_was_away_is_told_once_it_is_back() {
    let host = Host::alone("timeout_ms = 5000\nbackoff_min_ms = 10");
    let mut journal = host.journal();
    journal.append(100);
    let mut shipper = host.shipper();
    wait_until(&host, "lag_events", "0");
    // Topics that were made a moment ago may be away at first.
    let before = objects(&host, "alerts.cluster-away").len();
    // Only a broker of ours can be killed.
    if !host.broker.kill() {
        println!("NOT killed: the broker is not ours (TRADECORE_TEST_KAFKA_DIR)");
        return;
    }
    journal.append(100);
    shipper.wait_for("Kafka is away");
    host.broker.restart();
    shipper.wait_for("Kafka is back");
    wait_until(&host, "lag_events", "0");
    let since = Instant::now();
    let alerts = loop {
        let alerts = objects(&host, "alerts.cluster-away").split_off(before);
        if !alerts.is_empty() {
            break alerts;
        }
        assert!(since.elapsed() < DEADLINE, "it is not told");
    };
    assert_eq!((alerts.len(), &alerts[0]["seq"], &alerts[0]["severity"]), (1, &"100".into(), &"critical".into()));
    assert_eq!(host.assert_exactly_once(), 200);
    drop(shipper);
    journal.closer.seal(journal.writer);
}

#[test]
fn a_journal_that_cannot_be_read_for_a_while_is_told_of_and_shipped_after_that() {
    let host = Host::new("timeout_ms = 10000\nbackoff_min_ms = 10");
    host.write(100);
    let dir = std::fs::read_dir(host.journal_dir()).expect("the journal");
    let segment = dir
        .map(|entry| entry.expect("an entry").path())
        .find(|path| path.extension().is_some_and(|extension| extension == "jnl"))
        .expect("a segment");
    let aside = host.dir.path().join("aside");
    std::fs::rename(&segment, &aside).expect("moved");
    // A link to itself is listed, and the system does not open it.
    std::os::unix::fs::symlink(&segment, &segment).expect("linked");
    let mut shipper = host.start(&["ship", "run"]);
    shipper.wait_for("the journal cannot be read; shipping is tried on");
    std::fs::rename(&aside, &segment).expect("moved back");
    shipper.wait_for("shipping to Kafka goes on");
    wait_until(&host, "lag_events", "0");
    let since = Instant::now();
    let alerts = loop {
        let alerts = objects(&host, "alerts.shipping-refused");
        if !alerts.is_empty() {
            break alerts;
        }
        assert!(since.elapsed() < DEADLINE, "it is not told");
    };
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    assert_eq!(host.assert_exactly_once(), 100);
    shipper.signal(Signal::TERM);
    let (code, said) = shipper.end();
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_topic_of_alerts_that_takes_none_hides_no_other_and_stops_nothing() {
    let host = Host::new("health_s = 1\ntimeout_ms = 10000");
    let mut journal = host.journal();
    journal.append(1);
    let mut shipper = host.shipper();
    wait_until(&host, "lag_events", "0");
    // It has room for the end of a transaction.
    let settings = [("max.message.bytes", "150"), ("retention.ms", "-1")];
    host.broker.set(&format!("{}alerts.kill-switch", host.prefix), &settings);
    journal.append(500);
    shipper.wait_for("the topic refuses what it is told");
    let since = Instant::now();
    let left_out = |life: &Value| life["alerts_left_out"].as_str().expect("text").parse::<u64>().expect("a number");
    while !objects(&host, "system.health").iter().any(|life| left_out(life) > 0 && life["shipped_seq"] == "501") {
        assert!(since.elapsed() < DEADLINE, "{:?}; {}", objects(&host, "system.health").last(), shipper.heard());
    }
    assert_eq!(host.assert_exactly_once(), 501);
    assert_eq!(objects(&host, "alerts.kill-switch"), [] as [Value; 0]);
    for topic in ["alerts.trading-state", "alerts.order-in-doubt", "alerts.broker-contradiction"] {
        let last = |alert: Option<&Value>| alert.and_then(|alert| alert["seq"].as_str()?.parse::<u64>().ok());
        // Of the first events and of the last.
        assert!(last(objects(&host, topic).last()).is_some_and(|seq| seq > 300), "{topic}");
    }
    shipper.signal(Signal::TERM);
    let (code, said) = shipper.end();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(said.matches("the topic refuses what it is told").count(), 1, "{said}");
    journal.closer.seal(journal.writer);
}
