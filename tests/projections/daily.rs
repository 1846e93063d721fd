//! Profit by day: what the fills of each have made of the positions.

use std::collections::{BTreeMap, BTreeSet};

use tradecore::projections::ask::Question;
use tradecore::projections::declare::Row;
use tradecore::projections::rights::Rights;
use tradecore::projections::store::{Care, Store};
use tradecore::projections::tables::{DailyPnlRow, FillRow, PositionRow};
use tradecore::projections::{Projector, Source, rebuild};
use tradecore_domain::event::{CoreStarted, Event, InstrumentDefined, Meta, OrderAccepted, OrderFilled, OrderImage};
use tradecore_protocol::fields::{OrdStatus, Side};

use crate::support::{Journal, archive, dump, events_of, source_of};

const DAY_NS: u64 = 86_400_000_000_000;

fn all<R: Row>(source: &Source) -> Vec<R> {
    let mut store = Store::open_to_read(source).expect("opens");
    let question = Question { table: R::TABLE, conditions: Vec::new(), limit: 1_000_000 };
    let rows = question.ask(&Rights::all(), &mut store).expect("answered").rows;
    rows.iter().map(|cells| R::take(cells).expect("a row")).collect()
}

#[test]
fn the_days_sum_up_to_the_position_and_each_has_its_own_fills_however_the_batches_fall() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal_dir = dir.path().join("journal");
    let mut journal = Journal::open(&journal_dir);
    for group in events_of(crate::history::LONG) {
        // Some twenty decisions a day.
        journal.pass(4_000_000_000_000);
        journal.group(&group.iter().map(archive).collect::<Vec<_>>());
    }
    journal.seal();
    let source = source_of(&journal_dir, &dir.path().join("rows.sqlite"));
    // One batch a life: a day begins in one and goes on in another.
    loop {
        let mut projector = Projector::open(&source, Care::Live).expect("opens").expect("goes on");
        if projector.step(projector.position().seq + 97).expect("a batch") == 0 {
            break;
        }
    }
    let (days, fills): (Vec<DailyPnlRow>, Vec<FillRow>) = (all(&source), all(&source));
    assert!(days.iter().map(|row| row.day_ns).collect::<BTreeSet<_>>().len() > 20, "many days");
    let mut sums = BTreeMap::new();
    for day in &days {
        let (realized, fees) = sums.entry((day.account_id, day.instrument_id)).or_insert((0, 0));
        (*realized, *fees) = (*realized + day.realized_pnl, *fees + day.fees);
        assert_eq!((day.day_ns % DAY_NS, day.currency.as_str(), day.is_stale), (0, "USDT", false));
        let is_of = |fill: &&FillRow| {
            (fill.account_id, fill.instrument_id) == (day.account_id, day.instrument_id)
                && fill.ts_ns / DAY_NS * DAY_NS == day.day_ns
        };
        let of_day: Vec<&FillRow> = fills.iter().filter(is_of).collect();
        let traded = |side: Side| -> i128 {
            of_day.iter().filter(|fill| fill.side == u16::from(side.raw())).map(|fill| i128::from(fill.last_qty)).sum()
        };
        assert_eq!((day.fills as usize, day.bought_qty), (of_day.len(), traded(Side::Buy)), "{day:?}");
        assert_eq!((day.sold_qty, day.fees), (traded(Side::Sell), of_day.iter().map(|fill| fill.fee).sum()), "{day:?}");
        assert_eq!(day.updated_seq, of_day.last().expect("a fill").seq);
    }
    let positions: Vec<PositionRow> = all(&source);
    let is_traded = |row: &&PositionRow| {
        fills.iter().any(|fill| (fill.account_id, fill.instrument_id) == (row.account_id, row.instrument_id))
    };
    let traded: BTreeMap<(u32, u32), (i128, i128)> = positions
        .iter()
        .filter(is_traded)
        .map(|row| ((row.account_id, row.instrument_id), (row.realized_pnl, row.fees)))
        .collect();
    assert_eq!(sums, traded);
    assert!(sums.len() > 1 && sums.values().all(|(realized, fees)| (*realized, *fees) != (0, 0)), "{sums:?}");
    let before = dump(&source.path);
    let rebuilt = rebuild(&source, &mut |_, _| true).expect("made anew");
    assert_eq!(rebuilt.differing.as_deref(), Some(&[][..]));
    assert_eq!(dump(&source.path), before);
}

/// An order that is filled at once: whole units of its price, quantity and fee.
fn traded(order_id: u64, account_id: u32, side: Side, (px, qty, fee): (i64, i64, i128)) -> Vec<Event> {
    let meta = Meta { account_id, ..Meta::default() };
    let image = |ord_status: OrdStatus, cum_qty: i64| OrderImage {
        order_id,
        account_id,
        instrument_id: 9,
        side: side.raw(),
        ord_status: ord_status.raw(),
        px: px * ONE,
        order_qty: qty * ONE,
        cum_qty: cum_qty * ONE,
        ..OrderImage::default()
    };
    vec![
        Event::OrderAccepted(OrderAccepted { meta, order: image(OrdStatus::New, 0), ..Default::default() }),
        Event::OrderFilled(OrderFilled {
            meta,
            order: image(OrdStatus::Filled, qty),
            last_px: px * ONE,
            last_qty: qty * ONE,
            fee: fee * ONE_OF_MONEY,
            ..Default::default()
        }),
    ]
}

const ONE: i64 = 1_000_000_000;
const ONE_OF_MONEY: i128 = 1_000_000_000_000_000_000;

#[test]
fn a_day_has_the_profit_of_what_was_closed_on_it_and_none_of_the_days_before() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal_dir = dir.path().join("journal");
    let mut journal = Journal::open(&journal_dir);
    let started = CoreStarted { epoch: 1, core: 1, environment: 3, durability: 1, ..Default::default() };
    let instrument = InstrumentDefined { instrument_id: 9, currency: *b"USDT\0\0\0\0", ..Default::default() };
    let days = [
        vec![
            vec![Event::CoreStarted(started), Event::InstrumentDefined(instrument)],
            traded(1, 5, Side::Buy, (100, 3, 2)),
            traded(2, 5, Side::Sell, (110, 1, -1)),
            traded(3, 6, Side::Sell, (100, 1, 0)),
        ],
        vec![traded(4, 5, Side::Sell, (95, 1, 1)), traded(5, 6, Side::Buy, (93, 1, 0))],
        // To the other side: what is left is closed, and two are new.
        vec![traded(6, 5, Side::Sell, (104, 3, 1))],
    ];
    for groups in &days {
        for group in groups {
            journal.group(&group.iter().map(archive).collect::<Vec<_>>());
        }
        journal.pass(DAY_NS);
    }
    journal.seal();
    let source = source_of(&journal_dir, &dir.path().join("rows.sqlite"));
    crate::support::catch_up(&source);
    let rows: Vec<DailyPnlRow> = all(&source);
    let first = rows.first().expect("a day").day_ns;
    let whole = |units: i128, one: i128| {
        assert_eq!(units % one, 0);
        units / one
    };
    let said = |row: &DailyPnlRow| {
        let money = [row.realized_pnl, row.fees].map(|money| whole(money, ONE_OF_MONEY));
        let traded = [row.bought_qty, row.sold_qty].map(|qty| whole(qty, ONE.into()));
        ((row.day_ns - first) / DAY_NS, row.account_id, money, traded, row.fills)
    };
    assert_eq!(
        rows.iter().map(said).collect::<Vec<_>>(),
        [
            (0, 5, [10, 1], [3, 1], 2),
            (0, 6, [0, 0], [0, 1], 1),
            (1, 5, [-5, 1], [0, 1], 1),
            (1, 6, [7, 0], [1, 0], 1),
            (2, 5, [4, 1], [0, 3], 1),
        ]
    );
    let positions: Vec<PositionRow> = all(&source);
    let realized: Vec<i128> = positions.iter().map(|row| whole(row.realized_pnl, ONE_OF_MONEY)).collect();
    assert_eq!(realized, [9, 7], "as the days sum up to");
}
