//! `tradecore trace` says of each event of an order where it is in the topics, as an independent reader finds it there.

use std::collections::BTreeMap;

use rdkafka::Message;
use rdkafka::message::OwnedMessage;
use serde_json::Value;
use tradecore_domain::event::Event;

use super::history::LONG;
use super::host::{Host, PARTITIONS, header};
use super::support::events_of;
use super::{configured_with, edit};

const TOPIC: &str = "eventstore.order-events";

/// The hops of a kind of an order.
fn hops(host: &Host, order_id: u64, kind: &str) -> Vec<Value> {
    let said = host.succeed(&["trace", &order_id.to_string(), "--database", "sqlite", "--json"]);
    let hops = said.lines().map(|line| serde_json::from_str::<Value>(line).expect("an object"));
    hops.filter(|hop| hop["type"] == kind).collect()
}

fn seq_of(message: &OwnedMessage) -> u64 {
    header(message, "seq").expect("a header").parse().expect("a number")
}

#[test]
fn a_trace_tells_offset_and_time_of_each_event_as_they_stand_in_the_topic_and_why_where_it_does_not() {
    let (_postgres, host, mut core) = configured_with("project_traced", "");
    // By twenty minutes: what the cluster took is older to it than the host says.
    core.ahead_ns = 1_200_000_000_000;
    let groups = events_of(LONG);
    // The first order that a step of a mass cancel has canceled, and that decision.
    let is_step = |group: &[Event]| {
        matches!(group.first(), Some(Event::CancelRequested(_)))
            && matches!(group.last(), Some(Event::MassCancelProgressed(_) | Event::MassCancelCompleted(_)))
    };
    let at = groups.iter().position(|group| is_step(group)).expect("a step that cancels");
    let Some(Event::CancelRequested(cancel)) = groups[at].first() else { panic!("a cancel") };
    let order_id = cancel.order.order_id;
    let shipped = core.grow(at + 1);
    core.ship();
    core.grow(40);
    let catch_up = || host.succeed(&["projection", "catch-up", "--database", "sqlite"]);
    catch_up();

    let records = host.records(TOPIC, PARTITIONS);
    let by_seq: BTreeMap<u64, &OwnedMessage> = records.iter().map(|record| (seq_of(record), record)).collect();
    let found = hops(&host, order_id, "topic");
    let (mut there, mut not_yet) = (0, 0);
    for hop in &found {
        let seq: u64 = hop["more"]["seq"].as_str().expect("text").parse().expect("a number");
        if seq > shipped {
            not_yet += 1;
            let why = format!("not shipped yet: the cluster has events up to {shipped}");
            assert_eq!((&hop["more"]["why_not"], &hop["more"]["offset"]), (&why.into(), &Value::Null), "{hop}");
            continue;
        }
        there += 1;
        let record = by_seq[&seq];
        let time_ns = record.timestamp().to_millis().expect("a time") * 1_000_000;
        assert_eq!(hop["more"]["offset"], record.offset().to_string(), "{hop}");
        assert_eq!(hop["more"]["partition"], record.partition(), "{hop}");
        assert_eq!(hop["ts_ns"], time_ns.to_string(), "{hop}");
        assert_eq!(hop["more"]["topic"], record.topic(), "{hop}");
    }
    assert!(there >= 2, "an order that was accepted and canceled: {found:?}");

    let sagas = hops(&host, order_id, "saga");
    let [saga] = sagas.as_slice() else { panic!("one step: {sagas:?}") };
    assert_eq!(saga["more"]["seq"], shipped.to_string(), "{saga}");
    let told = host.records("saga.events", PARTITIONS);
    let told = told.iter().find(|record| header(record, "ce_seq").as_deref() == Some(shipped.to_string().as_str()));
    let told = told.expect("it is told of");
    assert_eq!((&saga["more"]["topic"], &saga["more"]["partition"]), (&told.topic().into(), &told.partition().into()));
    let is_waiting = |saga: &Value| saga["text"].as_str().expect("text").ends_with(", once it is shipped");
    assert!(!is_waiting(saga), "{saga}");

    // Of an order that goes on behind what is shipped.
    let open = groups[at + 1..at + 41].iter().flatten().find_map(|event| match event {
        Event::OrderAccepted(e) => Some(e.order.order_id),
        _ => None,
    });
    let later = hops(&host, open.expect("a new order"), "topic");
    not_yet += later
        .iter()
        .filter(|hop| hop["more"]["why_not"].as_str().is_some_and(|why| why.starts_with("not shipped yet")))
        .count();
    assert!(not_yet > 0, "{later:?}");

    edit(&host, &format!("\"{}\"", host.broker.address), "\"127.0.0.1:9\"");
    assert!(hops(&host, order_id, "saga").iter().all(is_waiting), "nobody knows whether it is");
    let away = hops(&host, order_id, "topic");
    let is_told = |hop: &Value| hop["more"]["why_not"].as_str().is_some_and(|why| why.starts_with("not looked up: "));
    assert!(away.len() == found.len() && away.iter().all(is_told), "{away:?}");
}
