//! Limits of risk: what was allowed, from which event to which.

use tradecore::projections::ask::{Comparison, Question};
use tradecore::projections::declare::Row as _;
use tradecore::projections::rights::Rights;
use tradecore::projections::store::{Care, Store};
use tradecore::projections::tables::RiskLimitRow;
use tradecore::projections::{Projector, Source, rebuild, verify};
use tradecore_domain::event::{AccountDefined, CoreStarted, Event, InstrumentDefined, Meta};

use crate::support::{catch_up, dump, source_of, write};

const ONE: i128 = 1_000_000_000_000_000_000;

fn account(open_orders_max: u32, position_max: i64) -> Event {
    let meta = Meta { account_id: 5, ..Meta::default() };
    let currency = *b"USDT\0\0\0\0";
    Event::AccountDefined(AccountDefined { meta, position_max, open_orders_max, currency, ..Default::default() })
}

fn instrument(collar_ppm: u32, order_notional_max: i128) -> Event {
    let currency = *b"USDT\0\0\0\0";
    let e = InstrumentDefined { instrument_id: 9, collar_ppm, order_notional_max, currency, ..Default::default() };
    Event::InstrumentDefined(e)
}

/// Which limit, of whom, its value × 10⁻¹⁸, and the events from which and until which it held.
type Limit = (u16, u32, u32, i128, u64, u64);

fn limits(source: &Source, conditions: Vec<(&'static str, Comparison, u64)>) -> Vec<Limit> {
    let mut store = Store::open_to_read(source).expect("opens");
    let question = Question { table: RiskLimitRow::TABLE, conditions, limit: 1_000 };
    let rows = question.ask(&Rights::all(), &mut store).expect("answered").rows;
    let rows = rows.iter().map(|cells| RiskLimitRow::take(cells).expect("a row"));
    rows.map(|row| (row.risk_limit, row.account_id, row.instrument_id, row.value, row.since_seq, row.until_seq))
        .collect()
}

#[test]
fn a_limit_holds_from_the_event_that_set_it_to_the_one_that_changed_it_and_a_rebuild_says_the_same() {
    let dir = tempfile::tempdir().expect("a directory");
    let started =
        Event::CoreStarted(CoreStarted { epoch: 1, core: 1, environment: 3, durability: 1, ..Default::default() });
    let groups = [
        vec![started, instrument(50_000, 7 * ONE)],
        vec![account(10, 2_500_000_000)],
        // The same again, as at each start: nothing has changed.
        vec![account(10, 2_500_000_000)],
        vec![account(3, 2_500_000_000), instrument(50_000, 7 * ONE + 1)],
        vec![account(4, 2_500_000_000)],
    ];
    let journal_dir = dir.path().join("journal");
    write(&journal_dir, &groups);
    let source = source_of(&journal_dir, &dir.path().join("rows.sqlite"));
    // A life for each decision: what holds is read from the tables.
    for to_seq in 1..=7 {
        let mut projector = Projector::open(&source, Care::Live).expect("opens").expect("goes on");
        projector.step(to_seq).expect("a batch");
    }
    let all = limits(&source, Vec::new());
    let of = |limit: u16| -> Vec<Limit> { all.iter().copied().filter(|row| row.0 == limit).collect() };
    assert_eq!(of(1), [(1, 5, 0, 2_500_000_000 * 1_000_000_000, 3, 0)]);
    assert_eq!(of(2), [(2, 5, 0, 10 * ONE, 3, 5), (2, 5, 0, 3 * ONE, 5, 7), (2, 5, 0, 4 * ONE, 7, 0)]);
    assert_eq!(of(6), [(6, 0, 9, 7 * ONE, 2, 6), (6, 0, 9, 7 * ONE + 1, 6, 0)]);
    assert_eq!(of(7), [(7, 0, 9, 50_000 * ONE, 2, 0)]);
    // Those of today, as the command asks for them.
    let today = limits(&source, vec![("until_seq", Comparison::Is, 0), ("account_id", Comparison::Is, 5)]);
    assert_eq!(
        today.iter().map(|row| (row.0, row.3)).collect::<Vec<_>>(),
        [(1, 2_500_000_000 * 1_000_000_000), (3, 0), (2, 4 * ONE)]
    );
    let before = dump(&source.path);
    let rebuilt = rebuild(&source, &mut |_, _| true).expect("made anew");
    assert_eq!(rebuilt.differing.as_deref(), Some(&[][..]));
    assert_eq!(dump(&source.path), before);
}

#[test]
fn limits_of_an_account_that_is_parked_are_stale_and_none_of_what_does_not_fit_is_taken() {
    let dir = tempfile::tempdir().expect("a directory");
    let groups = [
        vec![instrument(1, ONE), account(10, 1)],
        // Its notional fits no column.
        vec![instrument(2, i128::MAX)],
        vec![instrument(3, ONE)],
    ];
    let journal_dir = dir.path().join("journal");
    write(&journal_dir, &groups);
    let source = source_of(&journal_dir, &dir.path().join("rows.sqlite"));
    catch_up(&source);
    let mut store = Store::open_to_read(&source).expect("opens");
    let stale: Vec<(u16, bool)> = Question { table: RiskLimitRow::TABLE, conditions: Vec::new(), limit: 1_000 }
        .ask(&Rights::all(), &mut store)
        .expect("answered")
        .rows
        .iter()
        .map(|cells| RiskLimitRow::take(cells).expect("a row"))
        .map(|row| (row.risk_limit, row.is_stale))
        .collect();
    let expected = [(4, true), (5, true), (6, true), (7, true), (8, true), (1, false), (2, false), (3, false)];
    assert_eq!(stale, expected, "what held before goes on, and says that it may be older");
    let (_, compared) = verify(&source, &mut |_, _| true).expect("compared");
    assert!(compared.iter().all(|table| table.there == table.folded), "{compared:?}");
}
