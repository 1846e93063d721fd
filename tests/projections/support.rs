//! Journals of random histories, and what tables must hold of them.

use std::path::{Path, PathBuf};

use tradecore::projections::rows::Rows;
use tradecore::projections::store::Care;
use tradecore::projections::tables::{SagaRow, TABLES};
use tradecore::projections::{Projector, Source};
use tradecore::shipping::domains::Saga;
use tradecore_domain::event::Event;
use tradecore_domain::{State, apply};
use tradecore_journal::{Closer, Config, Writer};
use tradecore_protocol::fields::{AccountId, InstrumentId, OrderId, SessionId, UnixNanos};

use super::history::{history, limits};

/// An event as the journal keeps it.
pub(crate) type Archive = (u16, u8, Vec<u128>);

pub(crate) fn archive(event: &Event) -> Archive {
    let (kind, version) = event.kind();
    let len = event.payload_len();
    let mut words = vec![0_u128; len / 16];
    assert!(event.archive_into(&mut zerocopy::IntoBytes::as_mut_bytes(words.as_mut_slice())[..len]));
    (kind, version, words)
}

/// A journal that is being written.
pub(crate) struct Journal {
    writer: Writer,
    closer: Closer,
    now_ns: u64,
}

impl Journal {
    pub(crate) fn open(dir: &Path) -> Self {
        let opened = tradecore_journal::open(&Config::new(dir)).expect("opens");
        let (writer, _, _, closer) = opened.into_parts();
        Self { writer, closer, now_ns: 1_700_000_000_000_000_000 }
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, ns: u64) {
        self.now_ns += ns;
    }

    pub(crate) fn group(&mut self, group: &[Archive]) {
        self.now_ns += 1000;
        while !self.writer.can_append(64 * 1024, group.len(), tradecore_journal::Space::Normal) {
            std::thread::yield_now();
        }
        self.writer.begin(self.now_ns);
        for (kind, version, words) in group {
            let bytes = zerocopy::IntoBytes::as_bytes(words.as_slice());
            self.writer.append(*kind, *version, bytes.len(), |payload| payload.copy_from_slice(bytes));
        }
        self.writer.commit();
    }

    /// Everything is synced.
    pub(crate) fn seal(self) {
        self.closer.seal(self.writer);
    }
}

/// The groups of a history.
pub(crate) fn events_of(seed: u64) -> Vec<Vec<Event>> {
    let mut groups = Vec::new();
    let mut listener = |_: &State, events: &[Event]| groups.push(events.to_vec());
    history(seed, &mut listener);
    groups
}

pub(crate) fn write(dir: &Path, groups: &[Vec<Event>]) {
    let mut journal = Journal::open(dir);
    for group in groups {
        journal.group(&group.iter().map(archive).collect::<Vec<_>>());
    }
    journal.seal();
}

/// A journal below `dir`, and the state that it makes.
pub(crate) fn write_history(dir: &Path, seed: u64) -> (PathBuf, State) {
    let groups = events_of(seed);
    let journal_dir = dir.join("journal");
    write(&journal_dir, &groups);
    let mut state = State::new(limits(seed));
    groups.iter().flatten().for_each(|event| apply(&mut state, event));
    (journal_dir, state)
}

pub(crate) fn source_of(journal_dir: &Path, path: &Path) -> Source {
    Source {
        journal_dir: journal_dir.to_owned(),
        path: path.to_owned(),
        stream: "1-virtual".to_owned(),
        keep_days: 0,
        server: None,
    }
}

/// Takes in all there is.
pub(crate) fn catch_up(source: &Source) {
    let mut projector = Projector::open(source, Care::Live).expect("opens").expect("goes on");
    while projector.step(u64::MAX).expect("a batch") > 0 {}
}

/// Every row of every table.
pub(crate) fn dump(path: &Path) -> Vec<String> {
    let connection = rusqlite::Connection::open(path).expect("opens");
    let mut all = Vec::new();
    for table in TABLES {
        let columns = table.cell_names();
        let sql = format!("SELECT {} FROM {} ORDER BY {}", columns.join(", "), table.name, table.key.join(", "));
        let mut statement = connection.prepare(&sql).expect("a table");
        let mut rows = statement.query([]).expect("rows");
        while let Some(row) = rows.next().expect("a row") {
            let cells: Vec<rusqlite::types::Value> =
                (0..columns.len()).map(|at| row.get(at).expect("a cell")).collect();
            all.push(format!("{} {cells:?}", table.name));
        }
    }
    all
}

/// That rows say of orders, positions, accounts and sessions what the state does.
pub(crate) fn assert_rows_are_those_of(state: &State, rows: &Rows, seed: u64) {
    let what = |what: &str, id: u64| format!("seed {seed}: {what} {id}");
    let core = rows.cores.iter().next().expect("a core").1;
    assert_eq!(core.epoch, state.epoch(), "seed {seed}");
    assert_eq!(core.broker_status, u16::from(state.broker_status().raw()), "seed {seed}");
    assert_eq!(core.broker_cursor, state.broker_cursor(), "seed {seed}");
    assert_eq!(core.kill_epoch, state.kill_epoch(), "seed {seed}");
    assert_eq!(core.trading_state, u16::from(state.trading_state().raw()), "seed {seed}");
    let is_killed = |account_id| rows.kill_switches.get(account_id).is_some_and(|row| row.is_engaged);
    assert_eq!(is_killed(0), state.is_killed(AccountId::NONE), "seed {seed}");
    let under_way = |wanted: Option<u16>| {
        let is_it = |row: &SagaRow| row.ended_seq == 0 && wanted.is_none_or(|saga| row.saga == saga);
        rows.sagas.iter().any(|(_, row)| is_it(row))
    };
    assert_eq!(under_way(Some(Saga::DoubtSearch.code())), state.has_doubts_to_note(), "seed {seed}");
    // Of before any session is due.
    assert_eq!(under_way(None), state.has_pending_step(UnixNanos(0)), "seed {seed}");
    let mut open = 0;
    for (order_id, row) in rows.orders.iter() {
        open += u32::from(row.is_open);
        let Some(order) = state.order(OrderId(order_id)) else {
            assert!(!row.is_open, "{}", what("order", order_id));
            continue;
        };
        let is = (row.px, row.order_qty, row.cum_qty, row.cum_cost, row.ord_status, row.flags, row.order_version);
        let should = (
            order.px,
            order.order_qty,
            order.cum_qty,
            order.cum_cost,
            u16::from(order.ord_status),
            u16::from(order.flags),
            order.order_version,
        );
        assert_eq!(is, should, "{}", what("order", order_id));
        assert_eq!(
            (row.session_id, row.account_id, row.cl_ord_id),
            (order.session_id, order.account_id, order.cl_ord_id)
        );
    }
    assert_eq!(open, state.open_orders_count(), "seed {seed}: every open order has a row");
    for (account_id, account) in state.accounts() {
        let (row, balance) = (rows.accounts.get(account_id.0), rows.balances.get(account_id.0));
        let (row, balance) = (row.expect("an account"), balance.expect("a balance"));
        let id = what("account", account_id.0.into());
        assert_eq!((row.open_orders, row.in_doubt), (account.open_orders, account.in_doubt), "{id}");
        assert_eq!((balance.cash, balance.reserved), (account.cash, account.reserved), "{id}");
        assert_eq!(balance.open_notional, account.open_notional, "{id}");
        assert_eq!(balance.buying_power, account.buying_power(), "{id}");
        assert_eq!(row.is_killed, account.is_killed, "{id}");
        assert_eq!(row.trading_state, u16::from(account.trading_state.max(1)), "{id}");
        for instrument in state.instruments() {
            let instrument_id = instrument.instrument_id;
            let position = state.position(account_id, InstrumentId(instrument_id)).expect("a position");
            let row = rows.positions.get((account_id.0, instrument_id)).cloned().unwrap_or_default();
            assert_eq!(
                (row.position_qty, row.cost, row.realized_pnl, row.fees, row.open_buy_qty, row.open_sell_qty),
                (
                    position.qty,
                    position.cost,
                    position.realized_pnl,
                    position.fees,
                    position.open_buy_qty,
                    position.open_sell_qty
                ),
                "{id}, instrument {instrument_id}"
            );
        }
    }
    for (session_id, row) in rows.sessions.iter() {
        let session = state.session(SessionId(session_id)).expect("a session");
        assert_eq!(
            (row.session_epoch, row.last_client_seq, row.next_report_seq, row.connection_no, row.cod_due_ns),
            (
                session.session_epoch,
                session.last_client_seq,
                session.next_report_seq,
                session.connection_no,
                session.cod_due_ns
            ),
            "{}",
            what("session", session_id.into())
        );
        assert_eq!((row.is_locked_out, row.open_orders), (session.is_locked_out, session.open_orders), "seed {seed}");
    }
}
