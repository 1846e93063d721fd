//! What rows say of things that are over, or were never there.

use rusqlite::Connection;
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
