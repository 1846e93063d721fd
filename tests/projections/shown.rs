//! What rows say of things that are over, or were never there.

use rusqlite::Connection;
use tradecore::projections::fold::{Entry, fold};
use tradecore::projections::rows::Rows;
use tradecore_domain::event::{BrokerStatusChanged, CoreStarted, Event};
use tradecore_protocol::fields::BrokerStatus;

use crate::support::{catch_up, source_of, write_history};

#[test]
fn a_connection_of_an_older_start_is_down_and_an_order_without_a_replace_has_no_price_of_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let (journal_dir, _) = write_history(dir.path(), crate::history::LONG);
    let source = source_of(&journal_dir, &dir.path().join("rows.sqlite"));
    catch_up(&source);
    let connection = Connection::open(&source.path).expect("opens");
    let one = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).expect(sql);
    let down = BrokerStatus::Down.raw();
    let last = "(epoch, connection_no) = (SELECT epoch, broker_connection_no FROM cores)";
    let older = one(&format!("SELECT count(*) FROM connections WHERE NOT {last}"));
    assert!(older > 1, "the history has several connections: {older}");
    let up = format!("SELECT count(*) FROM connections WHERE NOT {last} AND status <> {down}");
    assert_eq!(one(&up), 0);
    let of_requests = "(SELECT order_id FROM order_history WHERE event = 86)";
    assert!(one(&format!("SELECT count(*) FROM orders WHERE order_id NOT IN {of_requests}")) > 0);
    assert_eq!(
        one(&format!("SELECT count(*) FROM orders WHERE (new_px IS NULL) <> (order_id NOT IN {of_requests})")),
        0
    );
}

#[test]
fn of_a_broker_that_comes_and_goes_the_last_connection_is_kept_in_memory() {
    let (mut rows, mut seq) = (Rows::default(), 0);
    let mut take = |rows: &mut Rows, event| {
        seq += 1;
        let (kind, version) = Event::kind(&event);
        fold(rows, &Entry { seq, ts_ns: seq, kind, version, payload: &[] }, Ok(&event));
        rows.settle();
    };
    take(&mut rows, Event::CoreStarted(CoreStarted { epoch: 1, core: 1, environment: 3, ..Default::default() }));
    for connection_no in 1..=500 {
        for status in [BrokerStatus::Ready, BrokerStatus::Down].map(BrokerStatus::raw) {
            take(
                &mut rows,
                Event::BrokerStatusChanged(BrokerStatusChanged { status, connection_no, ..Default::default() }),
            );
            let kept: Vec<_> = rows.connections.iter().map(|(key, row)| (key, row.status)).collect();
            assert_eq!(kept, [((1, connection_no), status.into())]);
        }
    }
    assert!(rows.parked.is_empty(), "{:?}", rows.parked);
}
