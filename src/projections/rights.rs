//! Who may see which rows: the one filter in front of every question.
//!
//! As on the wire, a trading session sees its own orders and the positions of the accounts that it may use, an operator
//! all of the accounts that it may use, a drop copy all. A table that nothing is said of here is shown to those alone
//! who may see everything.

use tradecore_protocol::fields::Role;

use super::declare::Table;
use crate::config::SessionEntry;

/// What somebody may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rights {
    /// The accounts; `None` for all.
    accounts: Option<Vec<u32>>,
    /// The session of who asks; 0 for none.
    session_id: u32,
    /// Of orders, only those of that session.
    is_own_only: bool,
}

/// What limits the rows of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// Nothing: they tell of nobody.
    Public,
    /// Their account.
    Account,
    /// Their account; what is of the whole core is for all.
    AccountOrCore,
    /// Their account and their session.
    Order,
    /// Account and session of their order.
    OfOrder,
    /// Their session.
    Session,
    /// Session that asked, or account.
    Asked,
}

/// What holds for no row, in both databases.
const NONE: &str = "1 = 0";

/// What limits the rows of the table of a name; `None`: only who sees all may ask.
fn scope_of(table: &str) -> Option<Scope> {
    Some(match table {
        "cores" | "connections" | "instruments" | "projection_positions" => Scope::Public,
        "accounts" | "balances" | "positions" | "positions_history" | "daily_pnl" => Scope::Account,
        // Of account 0 are those of instruments.
        "kill_switches" | "risk_limits" => Scope::AccountOrCore,
        "orders" | "fills" | "risk_events" | "events" => Scope::Order,
        "order_history" => Scope::OfOrder,
        "sessions" => Scope::Session,
        "mass_cancels" | "sagas" | "saga_steps" => Scope::Asked,
        _ => return None,
    })
}

/// Who sees which rows of a table, for the documents.
#[must_use]
pub fn doc_of(table: &Table) -> &'static str {
    match scope_of(table.name) {
        None => "for who sees all",
        Some(Scope::Public) => "for all",
        Some(Scope::Account) => "its accounts",
        Some(Scope::AccountOrCore) => "its accounts, and account 0",
        Some(Scope::Order | Scope::OfOrder) => "its accounts; of a trading session, its own",
        Some(Scope::Session) => "its own; all where its accounts are not limited, but for a trading session",
        Some(Scope::Asked) => "its accounts, and what it has asked for itself; of a trading session, that alone",
    }
}

impl Rights {
    /// Those of who owns the files: everything.
    #[must_use]
    pub const fn all() -> Self {
        Self { accounts: None, session_id: 0, is_own_only: false }
    }

    /// Those of a session, as configured.
    #[must_use]
    pub fn of(entry: &SessionEntry) -> Self {
        let configured = (!entry.accounts.is_empty()).then(|| entry.accounts.clone());
        let (accounts, is_own_only) = match Role::from(entry.role) {
            Role::Trade => (configured, true),
            Role::Admin | Role::DropCopy => (configured, false),
            // It is for quotes.
            Role::MarketData => (Some(Vec::new()), true),
        };
        Self { accounts, session_id: entry.id, is_own_only }
    }

    /// What must hold for each row of a table, as SQL; `None` when nothing must.
    #[must_use]
    pub fn filter(&self, table: &Table) -> Option<String> {
        if *self == Self::all() {
            return None;
        }
        let Some(scope) = scope_of(table.name) else { return Some(NONE.to_owned()) };
        let session = format!("session_id = {}", self.session_id);
        let own = self.is_own_only.then(|| session.clone());
        let account = self.accounts.as_ref().map(|accounts| {
            let list: Vec<String> = accounts.iter().map(ToString::to_string).collect();
            // Of no account: a list without a number is no SQL to PostgreSQL.
            if list.is_empty() { NONE.to_owned() } else { format!("account_id IN ({})", list.join(", ")) }
        });
        let both = |conditions: [Option<String>; 2]| {
            let conditions: Vec<String> = conditions.into_iter().flatten().collect();
            (!conditions.is_empty()).then(|| conditions.join(" AND "))
        };
        match scope {
            Scope::Public => None,
            Scope::Account => account,
            Scope::AccountOrCore => account.map(|of| format!("({of} OR account_id = 0)")),
            Scope::Order => both([account, own]),
            Scope::OfOrder => both([account, own]).map(|of| {
                format!("EXISTS (SELECT 1 FROM orders o WHERE o.order_id = {}.order_id AND {of})", table.name)
            }),
            // Who is bound to accounts is bound to itself: sessions have none.
            Scope::Session => (self.is_own_only || self.accounts.is_some()).then_some(session),
            Scope::Asked if self.is_own_only => Some(session),
            Scope::Asked => account.map(|of| format!("({of} OR {session})")),
        }
    }
}
