//! Profit by day: what the fills of each have made of the positions.

use std::collections::{BTreeMap, BTreeSet};

use tradecore::projections::ask::Question;
use tradecore::projections::declare::Row;
use tradecore::projections::rights::Rights;
use tradecore::projections::store::{Care, Store};
use tradecore::projections::tables::{DailyPnlRow, FillRow, PositionRow};
use tradecore::projections::{Projector, Source, rebuild};
use tradecore_protocol::fields::Side;

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
