//! The life of an order as tables: every standing against every fact, failed effect and command.
//!
//! `lifecycle/*.txt` hold one row for every pair, `standing | standing after | what is decided`, in sections by
//! what happens. A standing is the order's own progress, then what is under way: `C` a cancel, `R` a replace,
//! `D` a doubt. Every standing is built by real decisions, on both sides and for orders of every kind of limit order,
//! and after each event the account, the position and the session must agree with the orders and the fills.
#![allow(clippy::arithmetic_side_effects, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "lifecycle/bench.rs"]
mod bench;
#[path = "lifecycle/system.rs"]
mod system;

use std::collections::BTreeMap;

use bench::{Bench, NEW_PX, NEW_QTY, ONE, PART, PX, QTY, SESSION};
use tradecore_domain::command::{
    CancelOrder, Command, EffectFailure, EffectKind, FactKind, MassCancel, PlaceOrder, ReplaceOrder,
};
use tradecore_domain::event::OrderImage;
use tradecore_protocol::fields::{AccountId, ClOrdId, CodMode, OrderId, Px, Qty, Side, Tif, TradingState, exec_flags};
use tradecore_protocol::layout::Text;
use tradecore_protocol::reason::Reason;

/// Every standing that there is. A replace needs an acknowledged order: `PendingNew` never has one under way.
const STANDINGS: [&str; 24] = [
    "PendingNew",
    "PendingNew C",
    "PendingNew D",
    "PendingNew CD",
    "New",
    "New C",
    "New R",
    "New CR",
    "New D",
    "New CD",
    "New RD",
    "New CRD",
    "PartiallyFilled",
    "PartiallyFilled C",
    "PartiallyFilled R",
    "PartiallyFilled CR",
    "PartiallyFilled D",
    "PartiallyFilled CD",
    "PartiallyFilled RD",
    "PartiallyFilled CRD",
    "Filled",
    "Canceled",
    "Rejected",
    "Expired",
];

const CANCEL_ID: ClOrdId = ClOrdId(900);

fn place(px: Px) -> PlaceOrder {
    PlaceOrder { px, ..Bench::order(Side::Buy) }
}

fn cancel() -> Command {
    Command::CancelOrder(CancelOrder { cl_ord_id: CANCEL_ID, orig_cl_ord_id: bench::CL_ORD_ID, ..Default::default() })
}

fn replace() -> Command {
    Command::ReplaceOrder(ReplaceOrder {
        cl_ord_id: ClOrdId(901),
        orig_cl_ord_id: bench::CL_ORD_ID,
        px: NEW_PX,
        total_qty: NEW_QTY,
        ..Default::default()
    })
}

/// A fill that has not been told before.
fn trade(last_qty: i64) -> FactKind {
    fill(77, last_qty)
}

fn fill(broker_exec_id: u64, last_qty: i64) -> FactKind {
    FactKind::Trade {
        broker_exec_id,
        last_px: Px(99 * ONE),
        last_qty: Qty(last_qty),
        fee: i128::from(ONE) * 3,
        liquidity: None,
    }
}

/// Limit orders of every kind: how long they live and what they may do makes no difference to what is decided.
fn limit_orders() -> Vec<PlaceOrder> {
    let [buy, sell] = [Side::Buy, Side::Sell].map(Bench::order);
    let kinds = |order: PlaceOrder| {
        let lives = [Tif::Day, Tif::Ioc, Tif::Fok].map(|tif| PlaceOrder { tif: tif.raw(), ..order });
        let px = Px(if order.side == buy.side { PX.0 - ONE } else { PX.0 + ONE });
        let passive = PlaceOrder { px, exec_flags: exec_flags::POST_ONLY, ..order };
        lives.into_iter().chain([order, passive, PlaceOrder { valid_until_ns: bench::NOW, ..order }, flagged(order)])
    };
    kinds(buy).chain(kinds(sell)).collect()
}

/// The order, to be canceled when its session's connection is lost.
fn flagged(order: PlaceOrder) -> PlaceOrder {
    PlaceOrder { exec_flags: exec_flags::CANCEL_ON_DISCONNECT, ..order }
}

/// A bench with one order of that standing.
fn stand(standing: &str, side: Side) -> Bench {
    stand_of(standing, Bench::order(side))
}

/// A bench with this order, of that standing.
fn stand_of(standing: &str, order: PlaceOrder) -> Bench {
    let (progress, under_way) = standing.split_once(' ').unwrap_or((standing, ""));
    let mut bench = Bench::new();
    bench.session(&Command::PlaceOrder(order));
    let part = fill(1, PART.0);
    let facts: &[FactKind] = match progress {
        "PendingNew" => &[],
        "New" => &[FactKind::Acknowledged],
        "PartiallyFilled" => &[FactKind::Acknowledged, part],
        "Filled" => &[FactKind::Acknowledged, part, fill(2, QTY.0 - PART.0)],
        "Canceled" => &[FactKind::Acknowledged, part, FactKind::Canceled { requested: false }],
        "Rejected" => &[FactKind::Rejected { reason: Reason::BrokerReject }],
        "Expired" => &[FactKind::Acknowledged, FactKind::Expired],
        other => panic!("no such standing: {other}"),
    };
    facts.iter().for_each(|fact| bench.fact(*fact));
    if under_way.contains('R') {
        bench.session(&replace());
    }
    if under_way.contains('C') {
        bench.session(&cancel());
    }
    if under_way.contains('D') {
        bench.effect_failed(EffectKind::Submit, EffectFailure::Unknown);
    }
    assert_eq!(bench.standing(), standing, "the standing is built");
    bench
}

/// The rows of a table: by section and standing, the standing after and what is decided.
fn rows(table: &str) -> BTreeMap<(&str, &str), (&str, &str)> {
    let mut rows = BTreeMap::new();
    let mut section = "";
    for line in table.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[') {
            section = name.strip_suffix(']').expect("[section]");
            continue;
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [standing, after, decided] = cells[..] else { panic!("`standing | after | decided`, not: {line}") };
        assert!(rows.insert((section, standing), (after, decided)).is_none(), "two rows of {section}, {standing}");
    }
    rows
}

/// Section of the table, and what happens.
type Happening = (&'static str, Box<dyn Fn(&mut Bench)>);
/// Section of the table, and what the broker says of the order as it stands.
type Fact = (&'static str, Box<dyn Fn(&Bench) -> FactKind>);

/// Every standing of every limit order against everything that may happen, as the table says.
fn check(table: &str, happenings: &[Happening]) {
    check_of(&limit_orders(), table, happenings);
}

fn check_of(orders: &[PlaceOrder], table: &str, happenings: &[Happening]) {
    let mut rows = rows(table);
    let mut wrong = Vec::new();
    for (section, happen) in happenings {
        for standing in STANDINGS {
            let expected = rows.remove(&(*section, standing));
            for order in orders {
                let mut bench = stand_of(standing, *order);
                bench.listen();
                happen(&mut bench);
                let (after, decided) = (bench.standing(), bench.heard());
                if expected != Some((after.as_str(), decided.as_str())) {
                    wrong.push(format!("[{section}] {order:?}\n{standing:19} | {after:19} | {decided}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "rows that are missing or differ; the code says:\n{}", wrong.join("\n"));
    assert!(rows.is_empty(), "rows of nothing that happens: {:?}", rows.keys());
}

/// Every kind of fact, with the numbers that make a difference.
fn facts() -> Vec<Fact> {
    let found = |px, total_qty| FactKind::FoundLive { cum_qty: PART, px, total_qty };
    let replaced = |px, total_qty| FactKind::Replaced { px, total_qty };
    let fixed = |name, kind| -> Fact { (name, Box::new(move |_| kind)) };
    vec![
        fixed("Acknowledged", FactKind::Acknowledged),
        fixed("Rejected", FactKind::Rejected { reason: Reason::WouldTake }),
        fixed("Trade of a part", trade(ONE)),
        (
            "Trade of all that is left",
            Box::new(|bench| trade((bench.image().order_qty - bench.image().cum_qty).max(1))),
        ),
        fixed("Trade of more than is left", trade(QTY.0 + 1)),
        fixed("Trade of nothing", trade(0)),
        fixed("Canceled as asked", FactKind::Canceled { requested: true }),
        fixed("Canceled unasked", FactKind::Canceled { requested: false }),
        fixed("Expired", FactKind::Expired),
        fixed("Replaced", replaced(NEW_PX, NEW_QTY)),
        fixed("Replaced down to what is filled of a part", replaced(NEW_PX, PART)),
        fixed("Replaced to a quantity of zero", replaced(NEW_PX, Qty(0))),
        fixed("Replaced to no price", replaced(Px::NONE, NEW_QTY)),
        fixed("CancelRejected", FactKind::CancelRejected { reason: Reason::TooLate }),
        fixed("ReplaceRejected", FactKind::ReplaceRejected { reason: Reason::WouldTake }),
        fixed("FoundLive", found(Px::NONE, Qty(0))),
        fixed("FoundLive at new terms", found(NEW_PX, NEW_QTY)),
        fixed("FoundLive with nothing left of a part", found(NEW_PX, PART)),
        fixed("NotFound", FactKind::NotFound),
    ]
}

/// One number for each kind; a kind that is added stops the build here, and is then missing in `facts`.
const fn kind_no(kind: &FactKind) -> usize {
    match kind {
        FactKind::Acknowledged => 0,
        FactKind::Rejected { .. } => 1,
        FactKind::Trade { .. } => 2,
        FactKind::Canceled { .. } => 3,
        FactKind::Expired => 4,
        FactKind::Replaced { .. } => 5,
        FactKind::CancelRejected { .. } => 6,
        FactKind::ReplaceRejected { .. } => 7,
        FactKind::FoundLive { .. } => 8,
        FactKind::NotFound => 9,
    }
}

#[test]
fn no_kind_of_fact_is_left_out() {
    let bench = stand("New", Side::Buy);
    let mut kinds: Vec<usize> = facts().iter().map(|(_, fact)| kind_no(&fact(&bench))).collect();
    kinds.dedup();
    assert_eq!(kinds, Vec::from_iter(0..10));
}

#[test]
fn every_fact_of_the_stream_does_to_every_standing_what_the_table_says() {
    let by_stream =
        facts().into_iter().map(|(name, fact)| -> Happening { (name, Box::new(move |bench| bench.fact(fact(bench)))) });
    check(include_str!("lifecycle/facts.txt"), &by_stream.collect::<Vec<_>>());
}

#[test]
fn a_fact_that_answers_a_query_does_the_same_and_leaves_the_cursor() {
    let answers = facts().into_iter().map(|(name, fact)| -> Happening {
        (
            name,
            Box::new(move |bench| {
                let cursor = bench.state.broker_cursor();
                bench.fact_at(0, fact(bench));
                assert_eq!(bench.state.broker_cursor(), cursor, "an answer has no place in the stream");
            }),
        )
    });
    // Only the stream must be seen to move on.
    let table = include_str!("lifecycle/facts.txt").replace("BrokerFactIgnored", "nothing");
    check(&table, &answers.collect::<Vec<_>>());
}

#[test]
fn every_failed_effect_does_to_every_standing_what_the_table_says() {
    check(
        include_str!("lifecycle/effects.txt"),
        &[
            ("Submit not sent", Box::new(|bench| bench.effect_failed(EffectKind::Submit, EffectFailure::NotSent))),
            ("Cancel not sent", Box::new(|bench| bench.effect_failed(EffectKind::Cancel, EffectFailure::NotSent))),
            ("Replace not sent", Box::new(|bench| bench.effect_failed(EffectKind::Replace, EffectFailure::NotSent))),
            ("Submit unknown", Box::new(|bench| bench.effect_failed(EffectKind::Submit, EffectFailure::Unknown))),
            ("Cancel unknown", Box::new(|bench| bench.effect_failed(EffectKind::Cancel, EffectFailure::Unknown))),
            ("Replace unknown", Box::new(|bench| bench.effect_failed(EffectKind::Replace, EffectFailure::Unknown))),
        ],
    );
}

#[test]
fn every_request_does_to_every_standing_what_the_table_says() {
    check(
        include_str!("lifecycle/requests.txt"),
        &[
            ("PlaceOrder again", Box::new(|bench| bench.session(&Command::PlaceOrder(bench.placed())))),
            (
                "PlaceOrder with other content",
                Box::new(|bench| bench.session(&Command::PlaceOrder(place(Px(98 * ONE))))),
            ),
            ("CancelOrder", Box::new(|bench| bench.session(&cancel()))),
            ("ReplaceOrder", Box::new(|bench| bench.session(&replace()))),
            (
                "MassCancel",
                Box::new(|bench| {
                    bench.session(&Command::MassCancel(MassCancel { request_id: 5, ..Default::default() }));
                    bench.step();
                }),
            ),
        ],
    );
}

/// Standings that a first fill of `PART`, execution 1, has led to.
const FILLED_BY_1: [&str; 6] =
    ["PartiallyFilled", "PartiallyFilled C", "PartiallyFilled R", "PartiallyFilled CRD", "Filled", "Canceled"];

#[test]
fn a_fact_at_or_below_the_cursor_changes_nothing() {
    for standing in STANDINGS {
        for (name, fact) in facts() {
            let mut bench = stand(standing, Side::Buy);
            bench.fact(fill(50, ONE));
            let (hash, cursor) = (bench.state.hash(), bench.state.broker_cursor());
            bench.listen();
            bench.fact_at(cursor, fact(&bench));
            bench.fact_at(1, fact(&bench));
            assert_eq!(bench.heard(), "nothing", "{standing}: {name}");
            assert_eq!(bench.state.hash(), hash, "{standing}: {name}");
        }
    }
}

#[test]
fn an_execution_that_is_told_again_at_another_place_only_moves_the_cursor() {
    for standing in FILLED_BY_1 {
        for qty in [PART.0, PART.0 + ONE] {
            let mut bench = stand(standing, Side::Sell);
            let (image, hash) = (bench.image(), bench.state.hash());
            bench.listen();
            bench.fact_at(0, fill(1, qty));
            assert_eq!(bench.heard(), "nothing", "{standing}");
            assert_eq!(bench.state.hash(), hash, "{standing}");
            bench.fact(fill(1, qty));
            assert_eq!(bench.heard(), "BrokerFactIgnored", "{standing}");
            assert_eq!(bench.image(), image, "{standing}");
        }
    }
}

#[test]
fn executions_without_an_id_are_each_applied() {
    let mut bench = stand("New", Side::Buy);
    bench.fact(fill(0, ONE));
    bench.fact(fill(0, ONE));
    assert_eq!(bench.image().cum_qty, 2 * ONE);
}

#[test]
fn two_orders_may_have_executions_of_the_same_id() {
    let mut bench = stand("PartiallyFilled", Side::Buy);
    let first = bench.image();
    bench.session(&Command::PlaceOrder(PlaceOrder { cl_ord_id: ClOrdId::new(1, 2), ..Bench::order(Side::Sell) }));
    let second = OrderId(first.order_id + 1);
    bench.fact_of(second, fill(1, ONE));
    assert_eq!(bench.state.order(second).expect("the second order").cum_qty, ONE);
    assert_eq!(bench.image(), first);
}

#[test]
fn a_late_fill_moves_money_and_quantity_and_leaves_the_order_closed() {
    for (standing, filled) in [("Filled", QTY.0), ("Canceled", PART.0), ("Rejected", 0), ("Expired", 0)] {
        for side in [Side::Buy, Side::Sell] {
            let mut bench = stand(standing, side);
            bench.fact(fill(60, ONE));
            bench.fact(fill(61, ONE));
            // Cash and position are checked against the fills by the bench.
            assert_eq!((bench.standing().as_str(), bench.image().cum_qty), (standing, filled + 2 * ONE));
            assert_eq!(bench.trading_state(), TradingState::CancelOnly, "{standing}");
        }
    }
}

#[test]
fn a_late_fill_of_an_order_whose_id_is_forgotten_leaves_what_is_known_of_the_same_id_of_another_session() {
    let mut bench = stand("Canceled", Side::Buy);
    let order_id = OrderId(bench.image().order_id);
    let rejected = |cl_ord_id| Command::PlaceOrder(PlaceOrder { cl_ord_id, ..place(Px(0)) });
    // The next client epoch frees the places of both ids, and takes the second; the other session gets the first.
    bench.session(&rejected(ClOrdId::new(1, 2)));
    bench.session(&rejected(ClOrdId::new(2, 1)));
    bench.other_session(&rejected(bench::CL_ORD_ID));
    let known = |bench: &Bench| bench.state.known(bench::OTHER_SESSION, bench::CL_ORD_ID).expect("it is known");
    let before = known(&bench);
    assert_eq!(before.reject_reason, Reason::PriceNotPositive);
    bench.fact_of(order_id, fill(60, ONE));
    assert_eq!(known(&bench), before);
    assert_eq!(bench.state.order(order_id).expect("kept").cum_qty, PART.0 + ONE);
}

#[test]
fn an_overfill_is_applied_in_full_and_lets_the_account_only_cancel() {
    for side in [Side::Buy, Side::Sell] {
        let mut bench = stand("PartiallyFilled CRD", side);
        bench.fact(fill(60, QTY.0));
        assert_eq!((bench.standing().as_str(), bench.image().cum_qty), ("Filled", QTY.0 + PART.0));
        assert_eq!(bench.trading_state(), TradingState::CancelOnly);
    }
}

/// Engages or releases the kill switch of the core.
fn kill_switch(engage: bool, reopen: bool) -> Command {
    let account_id = AccountId::NONE;
    let operator_tag = Text::new("desk 3");
    Command::SetKillSwitch { request_id: 9, account_id, engage, cancel_open: engage, reopen, operator_tag }
}

#[test]
fn a_kill_switch_cancels_also_when_clients_have_taken_every_place_for_mass_cancels() {
    let mut bench = stand("New", Side::Buy);
    for request_id in 1..=3 {
        // They cover sells: the order is not theirs.
        let side = Side::Sell.raw();
        bench.session(&Command::MassCancel(MassCancel { request_id, side, ..Default::default() }));
    }
    assert!(bench.heard().ends_with("refused PendingChange"), "every place is taken: {}", bench.heard());
    bench.system(&kill_switch(true, false));
    bench.step();
    assert_eq!(bench.standing(), "New C");
}

#[test]
fn a_session_that_is_due_and_a_kill_switch_do_not_stand_behind_what_clients_have_asked_for() {
    let requests: [fn(&mut Bench); 2] = [
        |bench| {
            let end = Command::EndSession { reason: Reason::ConnectionLost };
            bench.run(SESSION, 0, &end);
        },
        |bench| bench.system(&kill_switch(true, false)),
    ];
    for request in requests {
        let mut bench = stand("New", Side::Buy);
        let log_on = Command::LogOn { connection_no: 1, cod_mode: CodMode::Disconnect, cod_window_ms: 0 };
        bench.run(SESSION, 0, &log_on);
        let ask = |bench: &mut Bench, request_id: u64| {
            let side = Side::Sell.raw();
            bench.session(&Command::MassCancel(MassCancel { request_id, side, ..Default::default() }));
        };
        (1..=3).for_each(|request_id| ask(&mut bench, request_id));
        assert!(bench.heard().ends_with("refused PendingChange"), "every place is taken: {}", bench.heard());
        request(&mut bench);
        // One step at most to begin, one to cancel; meanwhile clients go on asking.
        for request_id in 4..=5 {
            bench.system(&Command::Step);
            ask(&mut bench, request_id);
        }
        assert_eq!(bench.standing(), "New C", "{}", bench.heard());
        bench.step();
    }
}

#[test]
fn what_a_contradiction_has_restricted_a_person_can_open_again() {
    let mut bench = stand("Filled", Side::Buy);
    bench.fact(fill(60, ONE));
    bench.system(&kill_switch(false, false));
    assert_eq!(bench.trading_state(), TradingState::CancelOnly, "a release alone lifts the switch alone");
    let account_id = bench::ACCOUNT;
    bench.system(&Command::SetKillSwitch {
        request_id: 9,
        account_id,
        engage: false,
        cancel_open: false,
        reopen: true,
        operator_tag: Text::EMPTY,
    });
    assert_eq!(bench.trading_state(), TradingState::Open);
}

#[test]
fn a_refused_replace_leaves_nothing_of_it_in_the_order() {
    let mut bench = stand("New", Side::Buy);
    let before = bench.image();
    let Command::ReplaceOrder(replace) = replace() else { panic!("a replace") };
    bench.session(&Command::ReplaceOrder(ReplaceOrder { valid_until_ns: bench::NOW + 1, ..replace }));
    bench.fact(FactKind::ReplaceRejected { reason: Reason::BrokerReject });
    assert_eq!(OrderImage { order_version: before.order_version, ..bench.image() }, before);
}
