//! What the adapter makes of the venue's answers and of a lost connection.

use serde_json::json;
use tradecore_protocol::fields::{AccountId, Px, Qty};

use super::*;

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
    let replace = Instruction::Replace { order_id, account_id, px: Px(1), total_qty: Qty(1), kill_epoch: 0 };
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
    let order = json!({
        "venue_order_id": 1, "client_order_id": broker.name_of(ORDER), "symbol": "X", "side": "buy",
        "type": "limit", "tif": "gtc", "post_only": true, "px": "1", "qty": "1", "cum_qty": "0",
        "leaves_qty": "1", "status": status, "request_pending": request_pending,
    });
    let message = serde_json::from_value(json!({ "req": 9, "ok": { "order": order } })).unwrap();
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
