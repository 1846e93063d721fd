//! Who sees which rows: every role, every declared question, rows of others.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::Connection;
use tradecore::config::{CodModeName, RoleName, SessionEntry};
use tradecore::projections::ask::Question;
use tradecore::projections::cell::Cell;
use tradecore::projections::declare::{Row as _, Table};
use tradecore::projections::queries;
use tradecore::projections::rights::Rights;
use tradecore::projections::tables::{OrderRow, ParkedRow};

use crate::support::{catch_up, source_of, write_history};

const MINE: (u64, u64) = (1, 1);

fn entry(role: RoleName, accounts: Vec<u32>) -> SessionEntry {
    SessionEntry {
        id: MINE.0 as u32,
        key_id: "mine".to_owned(),
        secret_file: "mine".into(),
        role,
        accounts,
        cod_mode: CodModeName::None,
        epoch: 1,
    }
}

fn ask(table: Table, rights: &Rights, database: &(Connection, &Path)) -> Vec<Vec<Cell>> {
    let question = Question { table, conditions: Vec::new(), limit: 1_000_000 };
    question.ask(rights, &database.0, database.1).expect("answered").rows
}

fn int(table: &Table, row: &[Cell], column: &str) -> Option<u64> {
    let at = table.cell_names().iter().position(|name| name == column)?;
    match row[at] {
        Cell::Int(value) => Some(value as u64),
        _ => None,
    }
}

/// Whether a row may be seen; what it is judged by are its own columns, whatever the filter says of its table.
fn may_see(entry: &SessionEntry, table: &Table, row: &[Cell], orders: &BTreeMap<u64, (u64, u64)>) -> bool {
    let is_trade = entry.role == RoleName::Trade;
    let is_mine = |account: u64| entry.accounts.is_empty() || entry.accounts.contains(&(account as u32));
    let int = |column| int(table, row, column);
    match (int("session_id"), int("account_id"), int("order_id")) {
        _ if ["cores", "connections", "instruments"].contains(&table.name) => true,
        (Some(session), Some(account), _) if table.name == "mass_cancels" => {
            session == MINE.0 || !is_trade && is_mine(account)
        }
        (_, Some(account), _) if table.name == "kill_switches" => account == 0 || is_mine(account),
        (Some(session), Some(account), _) => is_mine(account) && (!is_trade || session == MINE.0),
        (None, Some(account), _) => is_mine(account),
        (Some(session), None, _) => session == MINE.0 || !is_trade && entry.accounts.is_empty(),
        (None, None, Some(order)) => {
            let (session, account) = orders[&order];
            is_mine(account) && (!is_trade || session == MINE.0)
        }
        (None, None, None) => panic!("nothing says whose the rows of {} are: give it a rule", table.name),
    }
}

#[test]
fn no_role_sees_a_row_of_a_foreign_account_or_session_through_any_question() {
    let dir = tempfile::tempdir().expect("a directory");
    let (journal_dir, _) = write_history(dir.path(), super::history::LONG);
    let source = source_of(&journal_dir, &dir.path().join("rows.sqlite"));
    catch_up(&source);
    let database = (Connection::open(&source.path).expect("opens"), source.path.as_path());
    let all = |table| ask(table, &Rights::all(), &database);
    let of = |row: &Vec<Cell>, column| int(&OrderRow::TABLE, row, column).expect("there");
    let orders: BTreeMap<u64, (u64, u64)> = all(OrderRow::TABLE)
        .iter()
        .map(|row| (of(row, "order_id"), (of(row, "session_id"), of(row, "account_id"))))
        .collect();
    for role in [RoleName::Trade, RoleName::Admin, RoleName::DropCopy] {
        for accounts in [vec![], vec![MINE.1 as u32]] {
            let entry = entry(role, accounts);
            let rights = Rights::of(&entry);
            let (mut hidden, mut shown) = (Vec::new(), 0);
            for query in queries::ALL {
                let seen = ask(query.table, &rights, &database);
                let everything = all(query.table);
                let expected: Vec<Vec<Cell>> =
                    everything.iter().filter(|row| may_see(&entry, &query.table, row, &orders)).cloned().collect();
                assert!(
                    seen == expected,
                    "{role:?} {:?} {}: {} of {}",
                    entry.accounts,
                    query.name,
                    seen.len(),
                    expected.len()
                );
                shown += seen.len();
                if seen.len() < everything.len() {
                    hidden.push(query.name);
                }
            }
            let is_limited = role == RoleName::Trade || !entry.accounts.is_empty();
            assert!(shown > 0 && hidden.is_empty() != is_limited, "{role:?} {:?}: {hidden:?}", entry.accounts);
            if role == RoleName::Trade && is_limited {
                for name in ["orders", "order-history", "fills", "risk-events", "events", "sessions", "mass-cancels"] {
                    assert!(hidden.contains(&name), "the history has rows of others for {name}: {hidden:?}");
                }
            }
            if !entry.accounts.is_empty() {
                for name in ["orders", "positions", "positions-history", "accounts", "balances", "fills"] {
                    assert!(hidden.contains(&name), "the history has rows of others for {name}: {hidden:?}");
                }
            }
        }
    }
}

#[test]
fn who_is_limited_sees_nothing_of_a_table_that_no_rule_is_made_for_and_quotes_alone_show_no_orders() {
    let limited = Rights::of(&entry(RoleName::Admin, vec![1]));
    assert_eq!(limited.filter(&ParkedRow::TABLE).as_deref(), Some("0"));
    let unknown = Table { name: "of_tomorrow", ..OrderRow::TABLE };
    assert_eq!(limited.filter(&unknown).as_deref(), Some("0"));
    assert_eq!(Rights::all().filter(&unknown), None);
    let quotes = Rights::of(&entry(RoleName::MarketData, vec![]));
    let filter = quotes.filter(&OrderRow::TABLE).expect("a filter");
    let none: bool = Connection::open_in_memory()
        .expect("opens")
        .query_row(&format!("SELECT {filter} FROM (SELECT 1 AS account_id, 1 AS session_id)"), [], |row| row.get(0))
        .expect("SQL");
    assert!(!none, "{filter}");
}
