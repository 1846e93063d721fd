//! Who sees which rows: every role, every declared question, rows of others.

use rusqlite::Connection;
use tradecore::config::RoleName;
use tradecore::projections::declare::{Row as _, Table};
use tradecore::projections::rights::Rights;
use tradecore::projections::tables::{OrderRow, ParkedRow};

use crate::support::{catch_up, source_of, write_history};
use crate::viewers::{assert_each_sees_its_own, entry};

#[test]
fn no_role_sees_a_row_of_a_foreign_account_or_session_through_any_question() {
    let dir = tempfile::tempdir().expect("a directory");
    let (journal_dir, _) = write_history(dir.path(), super::history::LONG);
    let source = source_of(&journal_dir, &dir.path().join("rows.sqlite"));
    catch_up(&source);
    assert_each_sees_its_own(&source);
}

#[test]
fn who_is_limited_sees_nothing_of_a_table_that_no_rule_is_made_for_and_quotes_alone_show_no_orders() {
    let limited = Rights::of(&entry(RoleName::Admin, vec![1]));
    assert_eq!(limited.filter(&ParkedRow::TABLE).as_deref(), Some("1 = 0"));
    let unknown = Table { name: "of_tomorrow", ..OrderRow::TABLE };
    assert_eq!(limited.filter(&unknown).as_deref(), Some("1 = 0"));
    assert_eq!(Rights::all().filter(&unknown), None);
    let quotes = Rights::of(&entry(RoleName::MarketData, vec![]));
    let filter = quotes.filter(&OrderRow::TABLE).expect("a filter");
    let none: bool = Connection::open_in_memory()
        .expect("opens")
        .query_row(&format!("SELECT {filter} FROM (SELECT 1 AS account_id, 1 AS session_id)"), [], |row| row.get(0))
        .expect("SQL");
    assert!(!none, "{filter}");
}
