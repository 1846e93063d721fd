//! What the adapter makes of the venue's answers and of a lost connection.

use std::io::Write;

use serde_json::json;
use tradecore_protocol::fields::{AccountId, OrdType, Px, Qty, Side, Tif};

use super::*;
use crate::brokers::SubmitOrder;

const ORDER: OrderId = OrderId(1);

fn broker() -> (VirtualBroker, Arc<Link>) {
    let link = Arc::new(Link::new(4, 4, 4, 1).unwrap());
    let config = VirtualConfig {
        address: String::new(),
        client: "test".to_owned(),
        environment: Environment::Virtual,
        core: 1,
        epoch: 1,
        cursor: 0,
        instruments: vec![(InstrumentId(1), "BTCUSDT".to_owned())],
        backoff_min: Duration::ZERO,
        backoff_max: Duration::ZERO,
    };
    (VirtualBroker::new(config, Arc::clone(&link)), link)
}

#[test]
fn a_quote_is_as_old_as_the_venue_says_and_not_as_its_arrival() {
    const HOUR_NS: u64 = 3_600_000_000_000;
    let (mut broker, link) = broker();
    let quote = |ts_ns| QuoteMessage {
        symbol: "BTCUSDT".into(),
        bid: Px(1),
        bid_qty: Qty(1),
        ask: Px(2),
        ask_qty: Qty(1),
        ts_ns,
    };
    let now_ns = crate::clock::utc_ns();
    for (ts_ns, age_min_ns, age_max_ns) in
        [(now_ns - HOUR_NS, HOUR_NS, 2 * HOUR_NS), (now_ns, 0, HOUR_NS), (now_ns + 2 * HOUR_NS, 0, 0)]
    {
        assert!(broker.handle(Message { quote: Some(quote(ts_ns)), ..Message::default() }));
        broker.hand_over();
        let age_ns = link.quotes.pop().unwrap().age_ns;
        assert!((age_min_ns..=age_max_ns).contains(&age_ns), "{age_ns}");
    }
}

#[test]
fn without_a_connection_an_order_is_refused_and_a_cancel_stays_a_wish() {
    let (mut broker, link) = broker();
    let (order_id, account_id) = (ORDER, AccountId(1));
    let replace =
        Instruction::Replace { order_id, account_id, px: Px(1), total_qty: Qty(1), valid_until_ns: 0, kill_epoch: 0 };
    for (instruction, expected) in
        [(replace, EffectFailure::NotSent), (Instruction::Cancel { order_id }, EffectFailure::Unknown)]
    {
        link.instructions.push(instruction).unwrap();
        broker.refuse_instructions();
        broker.hand_over();
        let Some(Inbound::Failed { failure, reason, .. }) = link.inbound.pop() else { panic!("an answer") };
        assert_eq!((failure, reason), (expected, Reason::BrokerNotReady));
    }
}

/// The venue's answer to a query for `ORDER`.
fn answer(broker: &mut VirtualBroker, status: &str, request_pending: bool) {
    answer_at(broker, status, request_pending, 0);
}

/// The same, with the last event that has happened at the venue.
fn answer_at(broker: &mut VirtualBroker, status: &str, request_pending: bool, last_event_seq: u64) {
    let order = json!({
        "venue_order_id": 1, "client_order_id": broker.name_of(ORDER), "symbol": "X", "side": "buy",
        "type": "limit", "tif": "gtc", "post_only": true, "px": "1", "qty": "1", "cum_qty": "0",
        "leaves_qty": "1", "status": status, "request_pending": request_pending,
    });
    let message =
        serde_json::from_value(json!({ "req": 9, "ok": { "order": order, "last_event_seq": last_event_seq } }))
            .unwrap();
    broker.unanswered.insert(9, (Purpose::Query(ORDER), Instant::now()));
    broker.queries_out = 1;
    assert!(broker.handle(message));
}

#[test]
fn an_order_with_a_request_on_its_way_to_the_book_is_in_doubt_until_the_stream_has_told_of_it() {
    for (status, told) in [
        ("pending_new", json!({ "type": "rejected", "reason": "post_only_would_cross" })),
        ("new", json!({ "type": "replace_rejected", "reason": "post_only_would_cross", "request_id": "R" })),
    ] {
        let (mut broker, link) = broker();
        broker.ends_queries = Some(broker.connection_no);
        answer(&mut broker, status, true);
        broker.hand_over();
        assert_eq!(link.inbound.pop(), None, "{status}: nothing is known yet");
        assert!(!broker.note_progress(), "{status}: not ready before");
        let mut event = json!({
            "event_seq": 1, "venue_order_id": 1, "client_order_id": broker.name_of(ORDER), "venue_time_ns": 5,
        });
        event.as_object_mut().unwrap().extend(told.as_object().unwrap().clone());
        assert!(broker.handle(serde_json::from_value(json!({ "event": event })).unwrap()));
        broker.hand_over();
        assert!(matches!(link.inbound.pop(), Some(Inbound::Fact(fact)) if fact.order_id == ORDER), "{status}");
        assert!(!broker.note_progress(), "{status}: it is asked for again");
        assert_eq!(broker.ask_again.pop(), Some(ORDER), "{status}");
        answer(&mut broker, "new", false);
        assert!(broker.note_progress(), "{status}: all is told");
        broker.hand_over();
        let Some(Inbound::Fact(fact)) = link.inbound.pop() else { panic!("{status}: it is live") };
        assert!(matches!(fact.kind, FactKind::FoundLive { .. }), "{status}: {fact:?}");
    }
}

fn event(broker: &VirtualBroker, event_seq: u64, order_id: OrderId, told: &serde_json::Value) -> Message {
    let mut event = json!({
        "event_seq": event_seq, "venue_order_id": 1, "client_order_id": broker.name_of(order_id), "venue_time_ns": 5,
    });
    event.as_object_mut().unwrap().extend(told.as_object().unwrap().clone());
    serde_json::from_value(json!({ "event": event })).unwrap()
}

#[test]
fn an_answer_that_knows_more_than_the_stream_has_told_is_handed_over_in_its_place() {
    let (mut broker, link) = broker();
    broker.ends_queries = Some(broker.connection_no);
    answer_at(&mut broker, "new", false, 2);
    broker.hand_over();
    assert_eq!(link.inbound.pop(), None, "two events are on their way");
    assert!(!broker.note_progress(), "not ready before");
    let refused = json!({ "type": "replace_rejected", "reason": "post_only_would_cross", "request_id": "R" });
    for event_seq in 1..=3 {
        let message = event(&broker, event_seq, ORDER, &refused);
        assert!(broker.handle(message));
    }
    broker.hand_over();
    let told: Vec<_> = std::iter::from_fn(|| link.inbound.pop())
        .map(|inbound| match inbound {
            Inbound::Fact(fact) => (fact.broker_seq, matches!(fact.kind, FactKind::FoundLive { .. })),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told, [(1, false), (2, false), (0, true), (3, false)]);
    assert!(broker.note_progress(), "all is told");
}

/// A connection that is open, and what is at its other end.
fn connected() -> (Connection, std::os::unix::net::UnixStream, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("venue");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let connection = Connection::open(&format!("unix:{}", path.display()), || true).unwrap();
    (connection, listener.accept().unwrap().0, dir)
}

fn submit(valid_until_ns: u64) -> Instruction {
    Instruction::Submit(SubmitOrder {
        order_id: ORDER,
        account_id: AccountId(1),
        instrument_id: InstrumentId(1),
        side: Side::Buy,
        ord_type: OrdType::Limit,
        tif: Tif::Day,
        post_only: false,
        px: Px(1),
        order_qty: Qty(1),
        valid_until_ns,
        kill_epoch: 0,
    })
}

#[test]
fn nothing_is_taken_before_the_venue_has_answered_hello() {
    let (mut broker, link) = broker();
    let (mut connection, ..) = connected();
    link.instructions.push(submit(0)).unwrap();
    broker.unanswered.insert(1, (Purpose::Hello, Instant::now()));
    broker.take_instructions(&mut connection);
    assert_eq!(link.instructions.len(), 1);
    let reply = serde_json::from_value(json!({ "req": 1, "ok": { "last_event_seq": 7 } })).unwrap();
    assert!(broker.handle(reply));
    broker.take_instructions(&mut connection);
    assert!(link.instructions.is_empty());
    assert!(broker.unanswered.values().any(|(purpose, _)| *purpose == Purpose::Effect(ORDER, EffectKind::Submit)));
}

#[test]
fn what_has_passed_its_valid_until_in_the_ring_is_not_sent() {
    let (order_id, account_id) = (ORDER, AccountId(1));
    let (px, total_qty, kill_epoch) = (Px(1), Qty(1), 0);
    let replace =
        |valid_until_ns| Instruction::Replace { order_id, account_id, px, total_qty, valid_until_ns, kill_epoch };
    for (stale, valid, kind) in
        [(submit(1), submit(u64::MAX), EffectKind::Submit), (replace(1), replace(u64::MAX), EffectKind::Replace)]
    {
        let (mut broker, link) = broker();
        let (mut connection, ..) = connected();
        broker.is_known = true;
        link.instructions.push(stale).unwrap();
        broker.take_instructions(&mut connection);
        broker.hand_over();
        let failure = EffectFailure::NotSent;
        let expected = Inbound::Failed { order_id, kind, failure, reason: Reason::StaleRequest };
        assert_eq!((link.inbound.pop(), broker.unanswered.len()), (Some(expected), 0));
        link.instructions.push(valid).unwrap();
        broker.take_instructions(&mut connection);
        assert_eq!((broker.waiting.len(), broker.unanswered.len()), (0, 1), "in time, it leaves");
    }
}

#[test]
fn a_cancel_that_finds_no_room_at_the_venue_stays_a_wish_and_an_order_is_refused() {
    for (kind, goes_on) in [(EffectKind::Cancel, false), (EffectKind::Submit, true), (EffectKind::Replace, true)] {
        let (mut broker, link) = broker();
        broker.unanswered.insert(9, (Purpose::Effect(ORDER, kind), Instant::now()));
        let full = serde_json::from_value(json!({ "req": 9, "error": { "code": "full", "text": "" } })).unwrap();
        // What the end of the connection leaves unanswered is in doubt, and looked up by the next.
        assert_eq!(broker.handle(full), goes_on, "{kind:?}");
        broker.hand_over();
        assert_eq!(link.inbound.pop().is_some(), goes_on, "{kind:?}");
    }
}

#[test]
fn the_loop_learns_which_instructions_are_answered_refused_or_lost_with_their_connection() {
    let (mut broker, link) = broker();
    let (mut connection, ..) = connected();
    let settled = |broker: &VirtualBroker| {
        broker.note_settled();
        link.settled.load(Ordering::Acquire)
    };
    broker.is_known = true;
    let cancel = Instruction::Cancel { order_id: ORDER };
    [cancel, cancel, submit(1)].into_iter().for_each(|instruction| link.instructions.push(instruction).unwrap());
    assert_eq!(settled(&broker), 0, "all are in the ring");
    broker.take_instructions(&mut connection);
    assert_eq!(settled(&broker), 1, "one was not sent");
    assert!(broker.handle(serde_json::from_value(json!({ "req": 1, "ok": {} })).unwrap()));
    assert_eq!(settled(&broker), 2, "one is answered");
    link.instructions.push(cancel).unwrap();
    link.stop.store(true, Ordering::Release);
    assert!(!broker.serve(connection));
    assert!(!broker.goes_on_without());
    assert_eq!(link.settled.load(Ordering::Acquire), 4, "one was lost, one refused");
}

#[test]
fn the_end_of_a_connection_is_told_only_when_something_can_have_left_by_it() {
    let down = Inbound::Status { status: BrokerStatus::Down, connection_no: 1 };
    for (greeting, told) in [("{}", None), (r#"{"req":1,"ok":{"last_event_seq":5}}"#, Some(down))] {
        let (mut broker, link) = broker();
        let (connection, mut venue, _dir) = connected();
        writeln!(venue, "{greeting}").unwrap();
        venue.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(!broker.serve(connection));
        broker.hand_over();
        assert_eq!(link.inbound.pop(), told);
    }
}
