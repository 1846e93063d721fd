//! Small made-up histories: the truth passes, and each kind of lie is found.
#![allow(clippy::arithmetic_side_effects)]

use tradecore_domain::broker_id::text_of;
use tradecore_protocol::fields::{Liquidity, OrderId, Px, Qty};

use super::super::history::{Fill, Terms};
use super::*;
use crate::venue::order::{Fill as VenueFill, VenueOrderId};

const FILLED: u64 = 0x10_0001;
const CANCELED: u64 = 0x10_0002;
const NOT_SENT: u64 = 0x10_0003;
const UNIT: i64 = 1_000_000_000;
const CASH: i128 = 1_000_000_000_000_000_000_000;
const FEE: i128 = 7;

#[derive(Clone)]
struct Story {
    seen: Seen,
    journal: History,
    venue: Vec<LoggedOrder>,
    changes: Vec<(Name, LoggedChanges)>,
}

impl Story {
    /// A buy that is filled in two parts, a sell that is replaced and canceled, an order that never left, an order that
    /// was rejected and one that was refused.
    fn new() -> Self {
        let buy = Terms { instrument_id: 1, side: Side::Buy.raw(), px: 100 * UNIT, qty: 3 * UNIT };
        let sell = Terms { instrument_id: 1, side: Side::Sell.raw(), px: 110 * UNIT, qty: UNIT };
        let replaced = Terms { px: 111 * UNIT, ..sell };
        let (seen, journal) = (Seen::new(1, Kind::Taker), History::default());
        let mut story = Self { seen, journal, venue: Vec::new(), changes: Vec::new() };
        story.journal.symbols.insert(1, "BTCUSDT".to_owned());
        story.journal.initial_cash.insert(1, CASH);
        story.add(FILLED, (1, buy, buy), OrdStatus::Filled, &[(100, 1), (99, 2)]);
        story.add(CANCELED, (2, sell, replaced), OrdStatus::Canceled, &[]);
        story.add(NOT_SENT, (4, buy, buy), OrdStatus::Rejected, &[]);
        let paid = i128::from(100 + 2 * 99) * i128::from(UNIT) * i128::from(UNIT) + 2 * FEE;
        let balance = Balance { cash: CASH - paid, positions: BTreeMap::from([(1, (3 * i128::from(UNIT), 0))]) };
        story.seen.balance = Some(balance.clone());
        story.journal.balances.insert(1, balance);
        // Order 2 is replaced and canceled by 3 and 7, order 5 is rejected, order 6 is refused.
        let (replace, cancel) = (Asked::Replace(2, replaced.px, replaced.qty), Asked::Cancel(2));
        story.seen.sent.extend([(3, replace), (5, Asked::New(buy)), (6, Asked::New(buy)), (7, cancel)]);
        story.journal.requests.extend([((1, 3), replace), ((1, 5), Asked::New(buy)), ((1, 7), cancel)]);
        story.seen.refused.insert(6);
        let order = story.ours(CANCELED);
        (order.replaces, order.cancels) = (vec![(replaced.px, replaced.qty)], 1);
        let changes = LoggedChanges { cancels: 1, replaces: vec![(Px(replaced.px), Qty(replaced.qty))] };
        story.changes.push((name_of(CANCELED), changes));
        story
    }

    /// An order as all three know it; one that was rejected here never got to the venue.
    fn add(&mut self, order_id: u64, of: (u64, Terms, Terms), status: OrdStatus, fills: &[(i64, i64)]) {
        let (cl_ord_id, asked, terms) = of;
        let fills: Vec<Fill> = (0..)
            .zip(fills)
            .map(|(nth, (px, qty))| Fill {
                exec_id: order_id * 16 + nth,
                broker_exec_id: 900 + nth,
                px: px * UNIT,
                qty: qty * UNIT,
                fee: FEE,
            })
            .collect();
        let order = Order {
            session_id: 1,
            account_id: 1,
            cl_ord_id,
            terms,
            cum_qty: fills.iter().map(|fill| fill.qty).sum(),
            cum_cost: fills.iter().map(|fill| i128::from(fill.px) * i128::from(fill.qty)).sum(),
            status: status.raw(),
            version: 4,
            is_acked: status != OrdStatus::Rejected,
            never_left: false,
            acceptances: 1,
            fills,
            cancels: 0,
            replaces: Vec::new(),
        };
        self.seen.sent.insert(cl_ord_id, Asked::New(asked));
        self.journal.requests.insert((1, cl_ord_id), Asked::New(asked));
        if order.is_acked {
            self.venue.push(at_venue(order_id, &order));
        }
        self.journal.orders.insert(order_id, order);
    }

    fn wrong(&self) -> Vec<String> {
        compare(std::slice::from_ref(&self.seen), &self.journal, &self.at_venue())
    }

    fn at_venue(&self) -> AtVenue<'_> {
        AtVenue::new(self.venue.iter(), self.changes.iter().map(|(name, changes)| (name, changes)))
    }

    /// Makes the journal hold another new order than was sent.
    fn request(&mut self, cl_ord_id: u64, change: fn(&mut Terms)) {
        let Some(Asked::New(terms)) = self.journal.requests.get_mut(&(1, cl_ord_id)) else { panic!("no new order") };
        change(terms);
    }

    fn ours(&mut self, order_id: u64) -> &mut Order {
        self.journal.orders.get_mut(&order_id).unwrap()
    }

    /// How the order ended, by the journal.
    fn end(&mut self, order_id: u64, status: OrdStatus) {
        self.ours(order_id).status = status.raw();
    }
}

fn name_of(order_id: u64) -> Name {
    let name = text_of(Environment::Virtual, CORE, OrderId(order_id));
    core::str::from_utf8(&name).unwrap().into()
}

fn at_venue(order_id: u64, order: &Order) -> LoggedOrder {
    let status = if order.fills.is_empty() { OrderStatus::Canceled } else { OrderStatus::Filled };
    let fill = |fill: &Fill| VenueFill {
        exec_id: fill.broker_exec_id,
        px: Px(fill.px),
        qty: Qty(fill.qty),
        fee: Money(fill.fee),
        liquidity: Liquidity::Taker,
        venue_time_ns: 1,
    };
    LoggedOrder {
        client: "core1".into(),
        client_order_id: name_of(order_id),
        venue_order_id: VenueOrderId(order_id & 15),
        symbol: "BTCUSDT".into(),
        side: Side::from_raw(order.terms.side).unwrap(),
        px: Px(order.terms.px),
        qty: Qty(order.terms.qty),
        cum_qty: Qty(order.cum_qty),
        status,
        fills: order.fills.iter().map(fill).collect(),
        submissions: 1,
        orders_accepted: 1,
    }
}

#[test]
fn a_true_story_holds() {
    assert_eq!(Story::new().wrong(), [""; 0]);
    // The venue has not heard of an order that is on its way.
    let mut story = Story::new();
    story.ours(NOT_SENT).status = OrdStatus::PendingNew.raw();
    assert_eq!(unsettled(&story.at_venue(), &story.journal), [""; 0]);
    // Nor of one that was canceled before it left.
    let mut story = Story::new();
    story.end(NOT_SENT, OrdStatus::Canceled);
    story.ours(NOT_SENT).never_left = true;
    assert_eq!(story.wrong(), [""; 0]);
    // It may have filled more of an open order than the journal knows.
    let mut story = Story::new();
    let order = story.ours(FILLED);
    order.fills.pop();
    (order.cum_qty, order.cum_cost) = (UNIT, i128::from(100 * UNIT) * i128::from(UNIT));
    order.status = OrdStatus::PartiallyFilled.raw();
    assert_eq!(unsettled(&story.at_venue(), &story.journal), [""; 0]);
}

/// A lie, how it is told, and what must be said of it.
type Lie = (&'static str, fn(&mut Story), &'static str);

const LIES: &[Lie] = &[
    ("nothing traded", |s| (s.journal.orders, s.venue) = (BTreeMap::new(), Vec::new()), NOTHING),
    // Between the journal and the venue.
    (
        "lost at the venue",
        |s| {
            s.venue.remove(0);
        },
        "the venue never had it",
    ),
    ("canceled, and never there", |s| s.end(NOT_SENT, OrdStatus::Canceled), "the venue never had it"),
    ("canceled before it left, and there", |s| s.ours(CANCELED).never_left = true, "is at the venue"),
    ("acknowledged, and never there", |s| s.ours(NOT_SENT).is_acked = true, "the venue never had it"),
    (
        "lost in the journal",
        |s| {
            s.journal.orders.remove(&CANCELED);
        },
        "left before it was journaled",
    ),
    ("of no gateway", |s| s.venue[0].client_order_id = "mine".into(), "that no gateway names"),
    ("submitted twice", |s| s.venue[0].submissions = 2, "more than once"),
    ("accepted twice by the venue", |s| s.venue[0].orders_accepted = 2, "more than once"),
    ("canceled twice, meant once", |s| s.changes[0].1.cancels = 2, "2 cancels were sent"),
    ("canceled and never meant", |s| s.ours(CANCELED).cancels = 0, "1 cancels were sent"),
    (
        "replaced twice, meant once",
        |s| {
            let twin = s.changes[0].1.replaces[0];
            s.changes[0].1.replaces.push(twin);
        },
        "once more than journaled",
    ),
    ("replaced by another price", |s| s.changes[0].1.replaces[0].0 = Px(1), "once more than journaled"),
    ("canceled, and of no order", |s| s.changes[0].0 = name_of(CANCELED + 7), "left before it was journaled"),
    ("of two clients", |s| s.venue.push(LoggedOrder { client: "b".into(), ..s.venue[0].clone() }), "more than once"),
    ("open there, canceled here", |s| s.venue[1].status = OrderStatus::New, "has it as New"),
    (
        "open there, rejected here",
        |s| {
            s.end(CANCELED, OrdStatus::Rejected);
            s.venue[1].status = OrderStatus::New;
        },
        "still open at the venue",
    ),
    ("canceled there, rejected here", |s| s.end(CANCELED, OrdStatus::Rejected), "has it as Canceled"),
    ("rejected there, canceled here", |s| s.venue[1].status = OrderStatus::Rejected, "has it as Rejected"),
    ("open here", |s| s.end(CANCELED, OrdStatus::New), "still open in the journal"),
    ("wrong side", |s| s.venue[0].side = Side::Sell, "has a Sell"),
    ("wrong symbol", |s| s.venue[0].symbol = "ETHUSDT".into(), "of ETHUSDT"),
    ("wrong price", |s| s.venue[1].px = Px(110 * UNIT), "has it at"),
    ("wrong quantity", |s| s.venue[1].qty = Qty(2 * UNIT), "has it at"),
    ("fill at another price", |s| s.venue[0].fills[1].px = Px(1), "is not the venue's"),
    ("fill of another quantity", |s| s.venue[0].fills[1].qty = Qty(1), "is not the venue's"),
    ("fill with another fee", |s| s.venue[0].fills[1].fee = Money(1), "is not the venue's"),
    (
        "fill lost here",
        |s| {
            s.ours(FILLED).fills.pop();
        },
        "do not add up",
    ),
    (
        "fill lost here and not counted",
        |s| {
            let order = s.ours(FILLED);
            order.fills.pop();
            (order.cum_qty, order.cum_cost) = (UNIT, i128::from(100 * UNIT) * i128::from(UNIT));
        },
        "filled it once more",
    ),
    (
        "fill twice here",
        |s| {
            let order = s.ours(FILLED);
            order.fills.push(order.fills[1]);
        },
        "is not the venue's",
    ),
    ("cost is not the sum of the fills", |s| s.ours(FILLED).cum_cost += 1, "do not add up"),
    ("contradicted", |s| s.journal.contradictions = 1, "contradicted"),
    // Within the journal.
    (
        "two orders of one ClOrdID",
        |s| {
            let twin = Order { is_acked: false, ..s.ours(NOT_SENT).clone() };
            s.journal.orders.insert(NOT_SENT + 1, twin);
        },
        "has another order too",
    ),
    ("accepted twice here", |s| s.ours(CANCELED).acceptances = 2, "accepted 2 times"),
    // Between an algo and the journal.
    (
        "sent and nowhere",
        |s| {
            s.seen.sent.insert(9, Asked::New(Terms::default()));
        },
        "nothing became of it",
    ),
    (
        "cancel sent and nowhere",
        |s| {
            s.seen.sent.insert(9, Asked::Cancel(1));
        },
        "nothing became of it",
    ),
    (
        "refused and not told",
        |s| {
            s.seen.refused.remove(&6);
        },
        "nothing became of it",
    ),
    (
        "refused and journaled",
        |s| {
            s.seen.refused.insert(2);
        },
        "told to have had no effect, and is in the journal",
    ),
    ("in doubt at the end", |s| s.seen.in_doubt = 1, "in doubt at the end"),
    ("skipped reports", |s| s.seen.irregular = 1, "reports were skipped"),
    (
        "never sent",
        |s| {
            s.seen.sent.remove(&2);
        },
        "was never sent",
    ),
    ("journaled as a sell", |s| s.request(1, |terms| terms.side = Side::Sell.raw()), "sent New"),
    ("journaled at another price", |s| s.request(2, |terms| terms.px = 1), "sent New"),
    ("rejected at another price", |s| s.request(5, |terms| terms.px = 1), "sent New"),
    (
        "another order canceled",
        |s| {
            s.journal.requests.insert((1, 7), Asked::Cancel(1));
        },
        "sent Cancel",
    ),
    (
        "replaced by another price here",
        |s| {
            s.journal.requests.insert((1, 3), Asked::Replace(2, 1, UNIT));
        },
        "sent Replace",
    ),
    ("of no algo", |s| s.ours(NOT_SENT).session_id = 2, "of no algo"),
    (
        "repeated and not answered",
        |s| {
            s.seen.unanswered_repeats.insert(1);
        },
        "were not answered",
    ),
    ("repeated and never known", |s| s.seen.repeats = 1, "no answer knew of a first one"),
    // Balances.
    ("no end", |s| s.seen.balance = None, "did not come to its end"),
    ("told of other cash", |s| s.seen.balance.as_mut().unwrap().cash += 1, "was told of"),
    ("told of another position", |s| s.seen.balance.as_mut().unwrap().positions.clear(), "was told of"),
    (
        "cash that no fill explains",
        |s| {
            s.seen.balance.as_mut().unwrap().cash += 1;
            s.journal.balances.get_mut(&1).unwrap().cash += 1;
        },
        "the venue's fills to",
    ),
];

#[test]
fn of_an_order_that_is_sent_twice_one_may_be_refused() {
    let mut story = Story::new();
    story.seen.kind = Kind::Repeater;
    story.seen.refused.insert(2);
    (story.seen.repeats, story.seen.duplicates_answered) = (2, 1);
    assert_eq!(story.wrong(), [""; 0]);
}

#[test]
fn every_kind_of_lie_is_found() {
    for (name, tell, said) in LIES {
        let mut story = Story::new();
        tell(&mut story);
        let wrong = story.wrong();
        assert!(wrong.iter().any(|line| line.contains(said)), "{name}: {wrong:?}");
    }
}

#[test]
fn lies_between_journal_and_venue_are_found_before_the_end_too() {
    for name in
        ["lost at the venue", "open there, canceled here", "wrong side", "fill at another price", "fill twice here"]
    {
        let (_, tell, said) = LIES.iter().find(|(known, ..)| *known == name).unwrap();
        let mut story = Story::new();
        tell(&mut story);
        let wrong = unsettled(&story.at_venue(), &story.journal);
        assert!(wrong.iter().any(|line| line.contains(said)), "{name}: {wrong:?}");
    }
    let mut story = Story::new();
    story.journal.orders.remove(&CANCELED);
    let wrong = unjournaled(&story.at_venue(), &story.journal);
    assert!(wrong.iter().any(|line| line.contains("left before it was journaled")), "{wrong:?}");
}
