//! Fill cases as scripts.

use crate::script::{Stage, config, events_of, show};
use tradecore::venue::config::FeeConfig;
use tradecore::venue::record::Record;

fn check(name: &str, script: &str) {
    Stage::new(config()).run(name, script);
}

#[test]
fn market_orders_take_the_displayed_size_once_and_lose_the_rest() {
    check(
        "market",
        "alice A buy market ioc 2
         > A rejected NoMarket
         quote 100x5 101x3
         alice B buy market day 2
         > B new
         > B trade 2@101 taker cum 2 leaves 0
         alice C buy market day 2
         > C new
         > C trade 1@101 taker cum 1 leaves 1
         > C canceled NoLiquidity cum 1
         quote 99.5x5 101x3
         alice D buy market day 1
         > D rejected NoMarket
         quote 99.5x5 101x4
         alice E buy market day 1
         > E new
         > E trade 1@101 taker cum 1 leaves 0
         alice F sell market fok 6
         > F new
         > F canceled FokNotFilled cum 0
         alice G sell market fok 5
         > G new
         > G trade 5@99.5 taker cum 5 leaves 0",
    );
}

#[test]
fn ioc_takes_what_there_is_and_fok_all_or_nothing() {
    check(
        "immediate",
        "quote 100x5 101x3
         alice A buy limit ioc 4@100.5
         > A new
         > A canceled IocRemainder cum 0
         alice B buy limit ioc 4@101
         > B new
         > B trade 3@101 taker cum 3 leaves 1
         > B canceled IocRemainder cum 3
         bob S sell limit gtc 2@102
         > S new
         quote 100x5 101x1
         alice C buy limit fok 3.1@102
         > C new
         > C canceled FokNotFilled cum 0
         alice D buy limit fok 3@101.5
         > D new
         > D canceled FokNotFilled cum 0
         alice E buy limit fok 3@102
         > E new
         > E trade 1@101 taker cum 1 leaves 2
         > S trade 2@102 maker cum 2 leaves 0
         > E trade 2@102 taker cum 3 leaves 0",
    );
}

#[test]
fn clients_meet_by_price_then_time_and_before_the_market_at_equal_price() {
    check(
        "price-time",
        "quote 100x5 103x1
         alice A1 sell limit gtc 1@103
         > A1 new
         bob B1 sell limit gtc 1@102
         > B1 new
         alice A2 sell limit gtc 1@102
         > A2 new
         carol C buy limit gtc 5@103
         > C new
         > B1 trade 1@102 maker cum 1 leaves 0
         > C trade 1@102 taker cum 1 leaves 4
         > A2 trade 1@102 maker cum 1 leaves 0
         > C trade 1@102 taker cum 2 leaves 3
         > A1 trade 1@103 maker cum 1 leaves 0
         > C trade 1@103 taker cum 3 leaves 2
         > C trade 1@103 taker cum 4 leaves 1
         bob B2 sell limit ioc 1@100
         > B2 new
         > C trade 1@103 maker cum 5 leaves 0
         > B2 trade 1@103 taker cum 1 leaves 0",
    );
}

#[test]
fn post_only_rests_or_is_rejected_and_never_takes() {
    check(
        "post-only",
        "quote 100x5 101x3
         alice A buy limit gtc 1@101 post-only
         > A rejected PostOnlyWouldCross
         alice B buy limit gtc 1@100.5 post-only
         > B new
         bob C sell limit gtc 1@100.5 post-only
         > C rejected PostOnlyWouldCross
         alice B replace R1 1@101
         > B replace_rejected R1 PostOnlyWouldCross
         alice D buy limit ioc 1@100 post-only
         > D rejected InvalidTerms",
    );
}

#[test]
fn a_quote_that_reaches_a_resting_order_fills_it_at_its_own_price_up_to_its_size() {
    check(
        "quote fills",
        "quote 100x5 103x3
         alice A buy limit gtc 4@101
         > A new
         bob B buy limit gtc 1@101.5
         > B new
         quote 99x5 101x3
         > B trade 1@101.5 maker cum 1 leaves 0
         > A trade 2@101 maker cum 2 leaves 2
         quote 98x5 101x3
         quote 98x5 101x0.5
         > A trade 0.5@101 maker cum 2.5 leaves 1.5
         quote 98x5 100.5x9
         > A trade 1.5@101 maker cum 4 leaves 0",
    );
}

#[test]
fn prints_fill_through_the_price_in_full_and_at_the_price_behind_the_queue() {
    check(
        "queue",
        "quote 100x5 103x3
         alice A buy limit gtc 2@100
         > A new
         bob B buy limit gtc 1@100
         > B new
         print 100x4 sell
         print 100x2 buy
         print 100x2 sell
         > A trade 1@100 maker cum 1 leaves 1
         print 100x1.5 sell
         > A trade 1@100 maker cum 2 leaves 0
         > B trade 0.5@100 maker cum 0.5 leaves 0.5
         print 99x3 sell
         > B trade 0.5@100 maker cum 1 leaves 0",
    );
    check(
        "inside the spread there is no queue",
        "quote 100x5 103x3
         alice A sell limit gtc 2@102
         > A new
         print 102x1.5 buy
         > A trade 1.5@102 maker cum 1.5 leaves 0.5",
    );
    check(
        "behind the touch the queue is unknown until the price is the touch",
        "quote 100x5 103x3
         alice A buy limit gtc 2@99
         > A new
         print 99x9 sell
         quote 99x6 100x3
         print 99x5 sell
         quote 99x0.5 100x3
         print 99x1.5 sell
         > A trade 1@99 maker cum 1 leaves 1",
    );
    check(
        "a print is shared, not given to each",
        "quote 90x5 103x3
         alice A buy limit gtc 2@101
         > A new
         bob B buy limit gtc 2@100
         > B new
         print 99x3 sell
         > A trade 2@101 maker cum 2 leaves 0
         > B trade 1@100 maker cum 1 leaves 1",
    );
}

#[test]
fn a_replace_keeps_priority_only_for_less_at_the_same_price() {
    check(
        "kept",
        "alice A sell limit gtc 3@101
         > A new
         bob B sell limit gtc 1@101
         > B new
         alice A replace R1 2@101
         > A replaced R1 2@101 leaves 2 kept
         carol C buy limit ioc 1@101
         > C new
         > A trade 1@101 maker cum 1 leaves 1
         > C trade 1@101 taker cum 1 leaves 0",
    );
    for (name, to, shown) in [("more", "4@101", "4@101 leaves 4"), ("back and forth", "3@102", "3@102 leaves 3")] {
        let mut stage = Stage::new(config());
        stage.run(name, "alice A sell limit gtc 3@101\n > A new\n bob B sell limit gtc 1@101\n > B new");
        stage.run(name, &format!("alice A replace R1 {to}\n > A replaced R1 {shown} lost"));
        if to.ends_with("102") {
            stage.run(name, "alice A replace R2 3@101\n > A replaced R2 3@101 leaves 3 lost");
        }
        let script = "carol C buy limit ioc 1@101
             > C new
             > B trade 1@101 maker cum 1 leaves 0
             > C trade 1@101 taker cum 1 leaves 0";
        stage.run(name, script);
    }
}

#[test]
fn a_replace_that_crosses_takes_and_one_that_cannot_be_is_rejected() {
    check(
        "replace",
        "quote 100x5 102x3
         alice A buy limit gtc 4@101
         > A new
         alice A replace R1 5@102
         > A replaced R1 5@102 leaves 5 lost
         > A trade 3@102 taker cum 3 leaves 2
         alice A replace R1 6@102
         > A refused DuplicateRequestId
         alice A replace R2 3@102
         > A replace_rejected R2 QuantityBelowFilled
         alice A replace R3 4@102.3
         > A replace_rejected R3 InvalidPrice
         alice A replace R4 4.05@102
         > A replace_rejected R4 InvalidQuantity
         alice Z replace R5 4@102
         > Z replace_rejected R5 UnknownOrder
         alice A cancel
         > A canceled Requested cum 3
         alice A replace R6 4@102
         > A replace_rejected R6 TooLate
         alice A cancel
         > A cancel_rejected TooLate
         alice Z cancel
         > Z cancel_rejected UnknownOrder",
    );
}

#[test]
fn each_order_that_cannot_be_is_rejected_for_its_reason_in_order_of_precedence() {
    let cases = [
        ("A buy limit gtc 1@100 symbol=Y", "UnknownSymbol"),
        ("A buy limit gtc 1", "InvalidTerms"),
        ("A buy market gtc 1@100", "InvalidTerms"),
        ("A buy market gtc 1 post-only", "InvalidTerms"),
        ("A buy limit fok 1@100 post-only", "InvalidTerms"),
        ("A buy limit gtc 1@100.25", "InvalidPrice"),
        ("A buy limit gtc 1@0", "InvalidPrice"),
        ("A buy limit gtc 1@-1", "InvalidPrice"),
        ("A buy limit gtc 0@100.25", "InvalidPrice"),
        ("A buy limit gtc 0@100", "InvalidQuantity"),
        ("A buy limit gtc -1@100", "InvalidQuantity"),
        ("A buy limit gtc 0.05@100", "InvalidQuantity"),
        ("A sell market gtc 1", "NoMarket"),
    ];
    for (order, reason) in cases {
        check(order, &format!("alice {order}\n > A rejected {reason}"));
    }
}

#[test]
fn a_client_order_id_is_taken_once_and_each_client_has_its_own() {
    check(
        "ids",
        "alice A buy limit gtc 1@100
         > A new
         alice A buy limit gtc 1@100
         > A refused DuplicateClientOrderId
         bob A buy limit gtc 1@100
         > A new
         alice A cancel
         > A canceled Requested cum 0
         alice A buy limit gtc 9@99
         > A refused DuplicateClientOrderId
         alice B buy limit gtc 1@100 symbol=Y
         > B rejected UnknownSymbol
         alice B buy limit gtc 1@100
         > B refused DuplicateClientOrderId",
    );
}

#[test]
fn day_orders_expire_with_the_day_and_good_till_canceled_ones_do_not() {
    check(
        "day",
        "alice A buy limit day 1@100
         > A new
         alice B buy limit gtc 1@100
         > B new
         bob S sell limit ioc 0.4@100
         > S new
         > A trade 0.4@100 maker cum 0.4 leaves 0.6
         > S trade 0.4@100 taker cum 0.4 leaves 0
         at 86399999999999
         at 86400000000000
         > A expired cum 0.4
         alice A cancel
         > A cancel_rejected TooLate
         at 172800000000000",
    );
}

#[test]
fn fees_are_charged_by_liquidity() {
    let mut config = config();
    config.fees = FeeConfig { maker_ppm: -100, taker_ppm: 250 };
    Stage::new(config).run(
        "fees",
        "alice A buy limit gtc 2@100
         > A new
         bob B sell limit gtc 2@100
         > B new
         > A trade 2@100 maker cum 2 leaves 0 fee -0.02
         > B trade 2@100 taker cum 2 leaves 0 fee 0.05",
    );
}

#[test]
fn latency_delays_requests_and_events_and_nothing_overtakes() {
    let mut config = config();
    (config.request_latency_ns, config.event_latency_ns, config.latency_jitter_ns) = (500, 300, 50);
    let mut stage = Stage::new(config);
    let alice = stage.client("alice");
    for n in 0..20 {
        assert!(stage.call(&format!("alice A{n} buy limit gtc 1@100")).is_empty());
    }
    let records = stage.groups.iter().flat_map(|group| &group.records);
    let due: Vec<u64> = records
        .filter_map(|record| match record {
            Record::Submit { due_ns, .. } => Some(*due_ns),
            _ => None,
        })
        .collect();
    assert!(due.is_sorted() && due[0] < due[19], "drawn, but never overtaking: {due:?}");
    assert!(stage.call("at 1499").is_empty());
    let executed = stage.call("at 1550");
    let expected: Vec<String> = (0..20).map(|n| format!("A{n} new")).collect();
    assert_eq!(executed, expected, "in the order of the requests");
    assert_eq!(stage.exchange.events(alice, 1, 1849).unwrap().count(), 0);
    assert_eq!(stage.exchange.events(alice, 1, 1850).unwrap().count(), 20);
}

#[test]
fn an_order_says_while_a_request_for_it_is_on_its_way_to_the_book() {
    let mut config = config();
    config.request_latency_ns = 500;
    let mut stage = Stage::new(config);
    let alice = stage.client("alice");
    let is_pending = |stage: &Stage, name| stage.exchange.query(alice, name).unwrap().request_pending;
    stage.call("alice A buy limit gtc 1@100");
    stage.call("alice B buy limit gtc 1@100");
    assert!(is_pending(&stage, "A") && is_pending(&stage, "B"));
    stage.call("at 2000");
    assert!(!is_pending(&stage, "A") && !is_pending(&stage, "B"));
    for request in ["alice A cancel", "alice B replace R1 1@99"] {
        let name = request.split(' ').nth(1).unwrap();
        stage.call(request);
        assert!(is_pending(&stage, name), "{request}");
        let other = if name == "A" { "B" } else { "A" };
        assert!(!is_pending(&stage, other), "{request}");
        let later = stage.exchange.next_due().unwrap();
        stage.call(&format!("at {later}"));
        assert!(!is_pending(&stage, name), "{request}");
    }
}

#[test]
fn one_event_stream_a_client_is_contiguous_and_its_cursor_is_checked() {
    let mut config = config();
    config.events_kept_max = 3;
    let mut stage = Stage::new(config);
    let (alice, bob) = (stage.client("alice"), stage.client("bob"));
    for n in 0..5 {
        stage.call(&format!("alice A{n} buy limit gtc 1@100"));
        stage.call(&format!("bob B{n} sell limit ioc 1@100"));
    }
    let seqs: Vec<u64> = stage.exchange.events(alice, 8, u64::MAX).unwrap().map(|e| e.event_seq).collect();
    assert_eq!(seqs, [8, 9, 10]);
    assert_eq!(stage.exchange.last_event_seq(bob), 10);
    for (from, error) in [(7, "EventsGone"), (0, "EventsGone"), (12, "CursorAhead")] {
        assert_eq!(format!("{:?}", stage.exchange.events(alice, from, u64::MAX).err().unwrap()), error, "{from}");
    }
    assert_eq!(stage.exchange.events(alice, 11, u64::MAX).unwrap().count(), 0);
}

#[test]
fn open_orders_come_in_pages_and_closed_ones_are_left_out() {
    let mut stage = Stage::new(config());
    let alice = stage.client("alice");
    for n in 0..5 {
        stage.call(&format!("alice A{n} buy limit gtc 1@100"));
    }
    stage.call("bob B buy limit gtc 1@100");
    stage.call("alice A1 cancel");
    let first = stage.exchange.open_orders(alice, Default::default(), 3);
    let ids = |page: &tradecore::venue::exchange::OrderPage| -> Vec<String> {
        page.orders.iter().map(|o| o.client_order_id.to_string()).collect()
    };
    assert_eq!((ids(&first).join(" "), first.more), ("A0 A2 A3".to_owned(), true));
    let rest = stage.exchange.open_orders(alice, first.orders[2].venue_order_id, 3);
    assert_eq!((ids(&rest).join(" "), rest.more), ("A4".to_owned(), false));
}

#[test]
fn limits_refuse_and_do_not_forget() {
    let mut config = config();
    (config.orders_max, config.clients_max) = (2, 1);
    let mut stage = Stage::new(config);
    stage.run(
        "limits",
        "alice A buy limit gtc 1@100
         > A new
         alice B buy limit gtc 1@100
         > B new
         alice C buy limit gtc 1@100
         > C refused Full
         alice A buy limit gtc 1@100
         > A refused DuplicateClientOrderId
         alice A cancel
         > A canceled Requested cum 0",
    );
    assert_eq!(format!("{:?}", stage.exchange.hello(1, &"bob".into(), 1).unwrap_err()), "Full");
}

/// Thousands of pseudo-random calls: quantities are conserved and books never stay crossed.
#[test]
fn any_run_of_calls_conserves_quantity() {
    for seed in 0..20_u64 {
        let stage = random_run(seed, 600);
        let mut cum = std::collections::BTreeMap::new();
        let mut taken = [0_i64; 2];
        for event in events_of(&stage.groups) {
            let text = show(event);
            if let tradecore::venue::event::EventKind::Trade { last_qty, cum_qty, leaves_qty, .. } = &event.kind {
                let sum = cum.entry(event.venue_order_id).or_insert(0);
                *sum += last_qty.0;
                assert_eq!(*sum, cum_qty.0, "seed {seed}: {text}");
                assert!(last_qty.0 > 0 && leaves_qty.0 >= 0, "seed {seed}: {text}");
                taken[usize::from(text.contains("maker"))] += 1;
            }
        }
        assert!(taken[0] > 0 && taken[1] > 0, "seed {seed} trades on both sides: {taken:?}");
    }
}

/// A stage after `calls` pseudo-random calls.
pub(crate) fn random_run(seed: u64, calls: u64) -> Stage {
    let mut config = config();
    (config.seed, config.request_latency_ns, config.latency_jitter_ns) = (seed, 20, 30);
    let mut stage = Stage::new(config);
    random_calls(&mut stage, seed, 0..calls);
    stage
}

pub(crate) fn random_calls(stage: &mut Stage, seed: u64, calls: std::ops::Range<u64>) {
    for n in calls {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ n.wrapping_mul(0xD1B5_4A32_D192_ED03);
        let mut below = |bound: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % bound
        };
        below(2);
        let client = ["alice", "bob"][below(2) as usize];
        let (side, px, qty) = (["buy", "sell"][below(2) as usize], 95 + below(10), 1 + below(5));
        let old = below(n.max(1));
        let call = match below(10) {
            0..=4 => {
                let tif = ["gtc", "day", "ioc", "fok"][below(4) as usize];
                format!("{client} O{n} {side} limit {tif} {qty}@{px}")
            }
            5 => format!("{client} O{n} {side} market ioc {qty}"),
            6 => format!("{client} O{old} cancel"),
            7 => format!("{client} O{old} replace R{n} {qty}@{px}"),
            8 => format!("quote {px}x{qty} {}x{}", px + 1, 6 - qty),
            _ => format!("print {px}x{qty} {}", ["buy", "sell"][below(2) as usize]),
        };
        stage.call(&call);
        stage.call(&format!("at {}", stage.now_ns + 10));
    }
}
