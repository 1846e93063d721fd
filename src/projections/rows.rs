//! Rows in memory between two transactions: what the fold reads and changes, and what the store then writes.

use std::collections::{BTreeMap, BTreeSet};

use super::aggregate::Aggregate;
use super::cell::{Cell, Unfit};
use super::declare::{Row, Table};
use super::error::ProjectionError;
use super::tables::{
    AccountRow, BalanceRow, ConnectionRow, CoreRow, DailyPnlRow, EventRow, FillRow, InstrumentRow, KillSwitchRow,
    MassCancelRow, OrderHistoryRow, OrderRow, ParkedRow, PositionHistoryRow, PositionRow, RiskEventRow, RiskLimitRow,
    SagaRow, SagaStepRow, SessionRow,
};

/// Gives the cells of the next row in the place of what is there; false when there is none.
pub(super) type NextRow<'a> = &'a mut dyn FnMut(&mut Vec<Cell>) -> Result<bool, ProjectionError>;

/// What rows are to their table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// There are none of their keys.
    New,
    /// There may be: they take the new values.
    Changed,
}

/// Takes rows of a table.
type Put<'a> = &'a mut dyn FnMut(&Table, Change, NextRow<'_>) -> Result<(), ProjectionError>;

/// The one row of a table.
pub(super) fn one_row<R: Row>(row: &R) -> impl FnMut(&mut Vec<Cell>) -> Result<bool, ProjectionError> {
    each_of(std::iter::once(row))
}

fn each_of<'a, R: Row + 'a>(
    mut rows: impl Iterator<Item = &'a R>,
) -> impl FnMut(&mut Vec<Cell>) -> Result<bool, ProjectionError> {
    move |cells| {
        cells.clear();
        Ok(rows.next().map(|row| row.put(cells)).is_some())
    }
}

fn put_all<'a, R: Row + 'a>(
    put: Put<'_>,
    change: Change,
    rows: impl Iterator<Item = &'a R>,
) -> Result<(), ProjectionError> {
    let mut rows = rows.peekable();
    if rows.peek().is_none() { Ok(()) } else { put(&R::TABLE, change, &mut each_of(rows)) }
}

/// Rows of a table by their key, and which of them have changed.
#[derive(Clone, Debug)]
pub struct Keyed<K, R> {
    rows: BTreeMap<K, R>,
    changed: BTreeSet<K>,
}

impl<K, R> Default for Keyed<K, R> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), changed: BTreeSet::new() }
    }
}

impl<K: Ord + Copy, R: Row> Keyed<K, R> {
    /// The row of a key.
    #[must_use]
    pub fn get(&self, key: K) -> Option<&R> {
        self.rows.get(&key)
    }

    /// Every row, by key.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (K, &R)> {
        self.rows.iter().map(|(key, row)| (*key, row))
    }

    /// Takes in a row as the database has it.
    pub fn load(&mut self, key: K, row: R) {
        self.rows.insert(key, row);
    }

    /// Puts a changed row.
    pub(super) fn put(&mut self, key: K, row: R) {
        self.rows.insert(key, row);
        self.changed.insert(key);
    }

    /// Changes a row, or makes it; nothing is changed when a number does not fit.
    pub(super) fn change(&mut self, key: K, change: impl FnOnce(&mut R)) -> Result<(), Unfit> {
        let mut row = self.get(key).cloned().unwrap_or_default();
        change(&mut row);
        row.check()?;
        self.put(key, row);
        Ok(())
    }

    /// Changes a row that is there.
    pub(super) fn mark(&mut self, key: K, mark: impl FnOnce(&mut R)) {
        if let Some(row) = self.rows.get_mut(&key) {
            mark(row);
            self.changed.insert(key);
        }
    }

    /// Rows that have changed since the last `settle`.
    pub(super) fn changed(&self) -> impl Iterator<Item = &R> {
        self.changed.iter().filter_map(|key| self.rows.get(key))
    }

    /// What has changed is written; rows that are no longer needed are forgotten.
    fn settle(&mut self, is_needed: impl Fn(&R) -> bool) {
        for key in std::mem::take(&mut self.changed) {
            if self.rows.get(&key).is_some_and(|row| !is_needed(row)) {
                self.rows.remove(&key);
            }
        }
    }
}

/// The orders that are kept in memory between transactions; others are read again when an event of theirs comes.
const ORDERS_KEPT: usize = 65_536;

/// What the fold reads and changes.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// The core.
    pub cores: Keyed<u32, CoreRow>,
    /// Connections of this epoch.
    pub connections: Keyed<(u32, u64), ConnectionRow>,
    /// All instruments.
    pub instruments: Keyed<u32, InstrumentRow>,
    /// All accounts.
    pub accounts: Keyed<u32, AccountRow>,
    /// All balances.
    pub balances: Keyed<u32, BalanceRow>,
    /// All positions.
    pub positions: Keyed<(u32, u32), PositionRow>,
    /// Profit by day: of the last one.
    pub daily_pnl: Keyed<(u64, u32, u32), DailyPnlRow>,
    /// All sessions.
    pub sessions: Keyed<u32, SessionRow>,
    /// Orders that were touched lately.
    pub orders: Keyed<u64, OrderRow>,
    /// Limits of risk that hold.
    pub risk_limits: Keyed<(u64, u16), RiskLimitRow>,
    /// All kill switches.
    pub kill_switches: Keyed<u32, KillSwitchRow>,
    /// Mass cancels under way.
    pub mass_cancels: Keyed<u64, MassCancelRow>,
    /// Sagas under way.
    pub sagas: Keyed<u64, SagaRow>,
    /// New rows.
    pub new: New,
    /// Closed rows leave some day: a closed order that is in no row was there.
    pub leave_some_day: bool,
    /// Closed rows of events before this time leave with the next transaction, UTC ns.
    pub remove_before_ns: Option<u64>,
    /// Aggregates whose events are parked, and the first of them.
    pub parked: BTreeMap<Aggregate, u64>,
}

/// Rows of tables that only grow.
#[derive(Clone, Debug, Default)]
pub struct New {
    /// Histories of positions.
    pub positions_history: Vec<PositionHistoryRow>,
    /// Histories of orders.
    pub order_history: Vec<OrderHistoryRow>,
    /// Fills.
    pub fills: Vec<FillRow>,
    /// Risk events.
    pub risk_events: Vec<RiskEventRow>,
    /// What has moved sagas.
    pub saga_steps: Vec<SagaStepRow>,
    /// Events.
    pub events: Vec<EventRow>,
    /// Parked records.
    pub parked_records: Vec<ParkedRow>,
}

impl New {
    pub(super) fn clear(&mut self) {
        self.positions_history.clear();
        self.order_history.clear();
        self.fills.clear();
        self.risk_events.clear();
        self.saga_steps.clear();
        self.events.clear();
        self.parked_records.clear();
    }
}

impl Rows {
    /// Start epoch of the core; 0 before its first start.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.cores.iter().next().map_or(0, |(_, core)| core.epoch)
    }

    /// Hands over what has changed and what is new, table by table.
    pub(super) fn each_change(&self, put: Put<'_>) -> Result<(), ProjectionError> {
        put_all(put, Change::Changed, self.cores.changed())?;
        put_all(put, Change::Changed, self.connections.changed())?;
        put_all(put, Change::Changed, self.instruments.changed())?;
        put_all(put, Change::Changed, self.accounts.changed())?;
        put_all(put, Change::Changed, self.balances.changed())?;
        put_all(put, Change::Changed, self.positions.changed())?;
        put_all(put, Change::Changed, self.daily_pnl.changed())?;
        put_all(put, Change::Changed, self.sessions.changed())?;
        put_all(put, Change::Changed, self.orders.changed())?;
        put_all(put, Change::Changed, self.risk_limits.changed())?;
        put_all(put, Change::Changed, self.kill_switches.changed())?;
        put_all(put, Change::Changed, self.mass_cancels.changed())?;
        put_all(put, Change::Changed, self.sagas.changed())?;
        put_all(put, Change::New, self.new.positions_history.iter())?;
        put_all(put, Change::New, self.new.order_history.iter())?;
        put_all(put, Change::New, self.new.fills.iter())?;
        put_all(put, Change::New, self.new.risk_events.iter())?;
        put_all(put, Change::New, self.new.saga_steps.iter())?;
        put_all(put, Change::New, self.new.events.iter())?;
        put_all(put, Change::New, self.new.parked_records.iter())
    }

    /// Everything is written: what is not needed to go on is forgotten.
    pub fn settle(&mut self) {
        self.forget_closed();
        if self.orders.rows.len() > ORDERS_KEPT {
            self.orders = Keyed::default();
        }
    }

    /// Journal time never goes back: no fill changes the days before the last.
    fn forget_days(&mut self) {
        self.daily_pnl.settle(|_| true);
        let days = &mut self.daily_pnl.rows;
        if let (Some((first, ..)), Some((last, ..))) = (days.keys().next(), days.keys().next_back())
            && first < last
        {
            *days = days.split_off(&(*last, 0, 0));
        }
    }

    /// As `settle`, and every open order stays in memory.
    pub(super) fn forget_closed(&mut self) {
        let last = self.cores.iter().next().map(|(_, core)| (core.epoch, core.broker_connection_no));
        self.cores.settle(|_| true);
        // A connection is over when the next begins, of which there may be many in a day.
        self.connections.settle(|_| true);
        self.connections.rows.retain(|key, _| Some(*key) == last);
        self.instruments.settle(|_| true);
        self.accounts.settle(|_| true);
        self.balances.settle(|_| true);
        self.positions.settle(|_| true);
        self.forget_days();
        self.sessions.settle(|_| true);
        self.orders.settle(|row| row.is_open);
        self.risk_limits.settle(|row| row.until_seq == 0);
        self.kill_switches.settle(|_| true);
        self.mass_cancels.settle(|row| !row.is_completed);
        self.sagas.settle(|row| row.ended_seq == 0);
        self.new.clear();
        self.remove_before_ns = None;
    }
}
