//! What each role sees through each declared question, whichever database answers.

use std::collections::BTreeMap;

use tradecore::config::{CodModeName, RoleName, SessionEntry};
use tradecore::projections::Source;
use tradecore::projections::ask::Question;
use tradecore::projections::cell::Cell;
use tradecore::projections::declare::{Row as _, Table};
use tradecore::projections::queries;
use tradecore::projections::rights::Rights;
use tradecore::projections::store::Store;
use tradecore::projections::tables::OrderRow;

/// Session and account of who asks.
const MINE: (u64, u64) = (1, 1);

pub(crate) fn entry(role: RoleName, accounts: Vec<u32>) -> SessionEntry {
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

fn ask(table: Table, rights: &Rights, store: &mut Store) -> Vec<Vec<Cell>> {
    let question = Question { table, conditions: Vec::new(), limit: 1_000_000 };
    question.ask(rights, store).expect("answered").rows
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
    let is_trade = matches!(entry.role, RoleName::Trade | RoleName::MarketData);
    // Who is there for quotes has no account.
    let is_mine = |account: u64| {
        entry.role != RoleName::MarketData && (entry.accounts.is_empty() || entry.accounts.contains(&(account as u32)))
    };
    let int = |column| int(table, row, column);
    match (int("session_id"), int("account_id"), int("order_id")) {
        _ if ["cores", "connections", "instruments"].contains(&table.name) => true,
        (Some(session), Some(account), _) if ["mass_cancels", "sagas", "saga_steps"].contains(&table.name) => {
            session == MINE.0 || !is_trade && is_mine(account)
        }
        (_, Some(account), _) if ["kill_switches", "risk_limits"].contains(&table.name) => {
            account == 0 || is_mine(account)
        }
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

/// That no role sees a row of a foreign account or session, and all others.
pub(crate) fn assert_each_sees_its_own(source: &Source) {
    let mut store = Store::open_to_read(source).expect("opens");
    let mut all = |table| ask(table, &Rights::all(), &mut store);
    let of = |row: &Vec<Cell>, column| int(&OrderRow::TABLE, row, column).expect("there");
    let tables: Vec<Vec<Vec<Cell>>> = queries::ALL.iter().map(|query| all(query.table)).collect();
    let orders: BTreeMap<u64, (u64, u64)> = all(OrderRow::TABLE)
        .iter()
        .map(|row| (of(row, "order_id"), (of(row, "session_id"), of(row, "account_id"))))
        .collect();
    for role in [RoleName::Trade, RoleName::Admin, RoleName::DropCopy, RoleName::MarketData] {
        for accounts in [vec![], vec![MINE.1 as u32]] {
            let entry = entry(role, accounts);
            let rights = Rights::of(&entry);
            let (mut hidden, mut shown) = (Vec::new(), 0);
            for (query, everything) in queries::ALL.iter().zip(&tables) {
                let seen = ask(query.table, &rights, &mut store);
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
            let is_limited = matches!(role, RoleName::Trade | RoleName::MarketData) || !entry.accounts.is_empty();
            assert!(shown > 0 && hidden.is_empty() != is_limited, "{role:?} {:?}: {hidden:?}", entry.accounts);
            if role == RoleName::Trade && is_limited {
                for name in [
                    "orders",
                    "order-history",
                    "fills",
                    "risk-events",
                    "events",
                    "sessions",
                    "mass-cancels",
                    "sagas",
                    "saga-steps",
                ] {
                    assert!(hidden.contains(&name), "the history has rows of others for {name}: {hidden:?}");
                }
            }
            if !entry.accounts.is_empty() {
                for name in [
                    "orders",
                    "positions",
                    "positions-history",
                    "daily-pnl",
                    "accounts",
                    "balances",
                    "fills",
                    "risk-limits",
                ] {
                    assert!(hidden.contains(&name), "the history has rows of others for {name}: {hidden:?}");
                }
            }
        }
    }
}
