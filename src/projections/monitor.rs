//! The integrity monitor: a side thread that folds the journal a second time, some of it a look, and lays samples of
//! rows beside what that gives. What differs, or is missing, is an alarm; its rows are marked, and the writer is asked to
//! make that table anew.
//!
//! Work and memory of a look are bounded. It reads what the tables say they know, never beyond; a row that has changed
//! since the event that the fold has come to is left for another look.

mod heal;
mod report;
mod sample;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tradecore_domain::event::Event;
use tradecore_journal::{Reader, Record, Until};

use super::cell::Cell;
use super::declare::{Row, Table};
use super::error::ProjectionError;
use super::fold::{Entry, fold, order_needed};
use super::projector::Source;
use super::removal::horizon_ns;
use super::rows::{Keyed, New, Rows};
use super::store::Store;
use super::tables::{EventRow, OrderRow};
use crate::clock::utc_ns;
use crate::shipping::alerts::{self, Kind};

pub use heal::Heal;
pub use report::{Report, report_of};

/// Events that a look of the gateway folds, at most.
const EVENTS_PER_LOOK: u64 = 262_144;
/// Of how many events one is looked for in the tables that only grow.
const ONE_OF: u64 = 64;
/// Rows of a table that changes that a look compares, at most; the next goes on behind them.
const ROWS_PER_TABLE: usize = 512;
/// Rows that are asked for at once.
const ROWS_AT_ONCE: usize = 256;
/// Events of the past that a look reads again.
const WINDOW: u64 = 128;
/// Events after which what is closed is forgotten.
const SETTLE_EVENTS: u64 = 2_048;
/// Longest wait after something was found.
const WAIT_MAX: Duration = Duration::from_secs(3_600);
/// Open orders that the fold holds in memory, at most.
const ORDERS_MAX: usize = 262_144;

/// A row that is not what the journal says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The table.
    pub table: &'static str,
    /// Key of the row; empty for all of them.
    pub key: Vec<(&'static str, i64)>,
    /// What is wrong with it.
    pub what: &'static str,
}

impl core::fmt::Display for Finding {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let key: Vec<String> = self.key.iter().map(|(column, value)| format!(", {column} {value}")).collect();
        write!(out, "{}{}: {}", self.table, key.concat(), self.what)
    }
}

/// What a look found.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// The fold has come to this event.
    pub seq: u64,
    /// Rows that were compared.
    pub rows: u64,
    /// The first few rows that differ.
    pub findings: Vec<Finding>,
}

/// Findings of a look, at most: one is enough to make a table anew.
const FINDINGS_MAX: usize = 16;

/// Rows as they are, laid beside rows as they should be.
struct Comparison<'a> {
    store: &'a mut Store,
    /// Rows of older events may have left.
    kept_ns: u64,
    /// Rows that events have added, and that wait to be looked for, by table.
    added: BTreeMap<&'static str, (Table, Vec<Vec<Cell>>)>,
    look: Look,
}

/// The second fold, and how far it has come.
#[derive(Debug)]
pub struct Monitor {
    source: Source,
    rows: Rows,
    reader: Reader,
    events_per_look: u64,
    seq: u64,
    /// Chooses what is looked at.
    turn: u64,
}

impl Monitor {
    /// At the beginning of the journal, of which each look folds so many events at most.
    ///
    /// # Errors
    /// When that is not there.
    pub fn open(source: &Source, events_per_look: u64) -> Result<Self, ProjectionError> {
        let reader = Reader::open(&source.journal_dir, 1, Until::Synced)?;
        let source = source.clone();
        let rows = Rows { leave_some_day: source.keep_days > 0, ..Rows::default() };
        Ok(Self { source, rows, reader, events_per_look, seq: 0, turn: 0 })
    }

    /// One look. After one that failed, the next goes on where it had come to.
    ///
    /// # Errors
    /// When the tables or the journal cannot be read.
    pub fn look(&mut self) -> Result<Look, ProjectionError> {
        let looked = self.try_look();
        if looked.is_err() {
            // What was read of a group and not folded is read again.
            self.rows.new.clear();
            self.reader = Reader::open(&self.source.journal_dir, self.seq.saturating_add(1), Until::Synced)?;
        }
        looked
    }

    fn try_look(&mut self) -> Result<Look, ProjectionError> {
        // What is compared is of one moment.
        let mut store = Store::open_to_read(&self.source)?;
        let known = store.position()?;
        if known.stream != self.source.stream {
            let (path, found, ours) = (self.source.name(), known.stream, self.source.stream.clone());
            return Err(ProjectionError::OtherStream { path, found, ours });
        }
        let known_seq = known.seq;
        let mut random = [0; 8];
        // Without randomness it is the next place.
        let _ = getrandom::fill(&mut random);
        self.turn = self.turn.wrapping_add(1).wrapping_add(u64::from_le_bytes(random) >> 32);
        let mut comparison = Comparison {
            store: &mut store,
            kept_ns: horizon_ns(self.source.keep_days, known.ts_ns),
            added: BTreeMap::new(),
            look: Look::default(),
        };
        self.fold(&mut comparison, known_seq)?;
        self.compare_state(&mut comparison, known_seq)?;
        self.compare_past(&mut comparison)?;
        Ok(Look { seq: self.seq, ..comparison.look })
    }

    /// Folds on, and looks for one of so many events in the tables that only grow.
    fn fold(&mut self, comparison: &mut Comparison<'_>, known_seq: u64) -> Result<(), ProjectionError> {
        let end_seq = known_seq.min(self.seq.saturating_add(self.events_per_look));
        let phase = self.turn.checked_rem(ONE_OF).unwrap_or(0);
        let mut settle_seq = self.seq.saturating_add(SETTLE_EVENTS);
        while self.seq < end_seq {
            let begun_seq = self.seq;
            let Some(group) = self.reader.next_group()? else { break };
            for record in group.records().filter(|record| record.seq > begun_seq) {
                if record.seq != self.seq.saturating_add(1) {
                    // The journal has no holes: it is not the one that was begun with.
                    return Err(tradecore_journal::ReadError::Gone {
                        dir: self.source.journal_dir.clone(),
                        seq: record.seq,
                    }
                    .into());
                }
                let event = Event::from_archive(record.kind, record.version, record.payload);
                if let Some(order_id) = event.as_ref().ok().and_then(order_needed)
                    && self.rows.orders.get(order_id).is_none()
                {
                    // Closed since long: its row says so, and counts for nothing.
                    let only = format!("WHERE order_id = {} AND is_open = 0", order_id as i64);
                    let orders = &mut self.rows.orders;
                    comparison.store.load(&only, |row: OrderRow| orders.load(order_id, row))?;
                }
                fold(&mut self.rows, &entry_of(&record), event.as_ref().map_err(ToString::to_string));
                self.seq = record.seq;
                if record.seq.checked_rem(ONE_OF) == Some(phase) && record.ts_ns >= comparison.kept_ns {
                    comparison.new_rows(&self.rows.new)?;
                }
                self.rows.new.clear();
            }
            if self.seq >= settle_seq {
                self.rows.forget_closed();
                settle_seq = self.seq.saturating_add(SETTLE_EVENTS);
            }
        }
        comparison.flush()?;
        self.rows.forget_closed();
        let held = self.rows.orders.iter().count();
        if held > ORDERS_MAX {
            return Err(ProjectionError::TooManyOrders { path: self.source.path.clone(), max: ORDERS_MAX });
        }
        Ok(())
    }

    /// Some rows of each table that changes.
    fn compare_state(&self, comparison: &mut Comparison<'_>, known_seq: u64) -> Result<(), ProjectionError> {
        let (turn, rows) = (self.turn, &self.rows);
        let expected = [
            some_of(&rows.cores, turn),
            some_of(&rows.connections, turn),
            some_of(&rows.instruments, turn),
            some_of(&rows.accounts, turn),
            some_of(&rows.balances, turn),
            some_of(&rows.positions, turn),
            some_of(&rows.daily_pnl, turn),
            some_of(&rows.sessions, turn),
            some_of(&rows.orders, turn),
            some_of(&rows.risk_limits, turn),
            some_of(&rows.kill_switches, turn),
            some_of(&rows.mass_cancels, turn),
            some_of(&rows.sagas, turn),
        ];
        for (table, rows) in expected {
            comparison.rows(&table, &rows, self.seq..known_seq)?;
        }
        if self.seq == known_seq {
            let counts = [
                (<super::tables::AccountRow as Row>::TABLE, self.rows.accounts.iter().count()),
                (<super::tables::BalanceRow as Row>::TABLE, self.rows.balances.iter().count()),
                (<super::tables::PositionRow as Row>::TABLE, self.rows.positions.iter().count()),
                (<super::tables::SessionRow as Row>::TABLE, self.rows.sessions.iter().count()),
                (<super::tables::InstrumentRow as Row>::TABLE, self.rows.instruments.iter().count()),
                (<super::tables::KillSwitchRow as Row>::TABLE, self.rows.kill_switches.iter().count()),
                (<super::tables::RiskLimitRow as Row>::TABLE, self.rows.risk_limits.iter().count()),
                (<super::tables::SagaRow as Row>::TABLE, self.rows.sagas.iter().count()),
            ];
            for (table, count) in counts {
                // Of limits those that hold, of sagas those under way.
                let end = ["until_seq", "ended_seq"].into_iter().find(|name| table.column(name).is_some());
                let only = end.map_or_else(String::new, |column| format!("WHERE {column} = 0"));
                if sample::count(comparison.store, &table, &only)? != count as u64 {
                    comparison.found(&table, Vec::new(), "there are more or fewer rows");
                }
            }
        }
        Ok(())
    }

    /// A few events of the past, from anywhere: each is in the log, and none is missing between them.
    fn compare_past(&self, comparison: &mut Comparison<'_>) -> Result<(), ProjectionError> {
        let first_seq = sample::first_seq(comparison.store)?;
        let span = self.seq.saturating_sub(first_seq).saturating_sub(WINDOW);
        if first_seq == 0 || first_seq > self.seq {
            return Ok(());
        }
        let from_seq = first_seq
            .saturating_add(self.turn.wrapping_mul(0x9e37_79b9_7f4a_7c15).checked_rem(span.max(1)).unwrap_or(0));
        let mut reader = match Reader::open(&self.source.journal_dir, from_seq, Until::Synced) {
            Err(tradecore_journal::ReadError::Gone { .. }) => return Ok(()),
            reader => reader?,
        };
        let end_seq = self.seq.min(from_seq.saturating_add(WINDOW));
        let mut count: u64 = 0;
        let mut expected = Vec::new();
        'window: while let Some(group) = reader.next_group()? {
            for record in group.records().filter(|record| record.seq >= from_seq) {
                if record.seq >= end_seq {
                    break 'window;
                }
                count = count.saturating_add(1);
                expected.push((record.seq, record.ts_ns, record.payload.to_vec()));
            }
        }
        let within = format!("WHERE seq >= {} AND seq < {}", from_seq as i64, end_seq as i64);
        let mut there = BTreeMap::new();
        comparison.store.load(&within, |row: EventRow| drop(there.insert(row.seq, row)))?;
        if there.len() as u64 != count {
            comparison.found(&EventRow::TABLE, vec![("seq", from_seq as i64)], "from here on events are missing");
        }
        for (seq, ts_ns, payload) in expected {
            comparison.look.rows = comparison.look.rows.saturating_add(1);
            match there.get(&seq) {
                Some(row) if row.payload == payload && row.ts_ns == ts_ns => {}
                Some(_) => comparison.found(&EventRow::TABLE, vec![("seq", seq as i64)], "it differs"),
                None => comparison.found(&EventRow::TABLE, vec![("seq", seq as i64)], "it is missing"),
            }
        }
        Ok(())
    }
}

impl Comparison<'_> {
    /// What an event has added.
    fn new_rows(&mut self, new: &New) -> Result<(), ProjectionError> {
        let all = [
            cells_of_all(&new.events),
            cells_of_all(&new.order_history),
            cells_of_all(&new.fills),
            cells_of_all(&new.positions_history),
            cells_of_all(&new.risk_events),
            cells_of_all(&new.saga_steps),
        ];
        for (table, rows) in all {
            let (_, waiting) = self.added.entry(table.name).or_insert_with(|| (table, Vec::new()));
            waiting.extend(rows);
        }
        if self.added.values().any(|(_, waiting)| waiting.len() >= ROWS_PER_TABLE) { self.flush() } else { Ok(()) }
    }

    /// Looks for what events have added.
    fn flush(&mut self) -> Result<(), ProjectionError> {
        let added = std::mem::take(&mut self.added);
        added.into_values().try_for_each(|(table, rows)| self.rows(&table, &rows, 0..0))
    }

    /// Compares rows, many at a time.
    fn rows(
        &mut self,
        table: &Table,
        expected: &[Vec<Cell>],
        ahead: std::ops::Range<u64>,
    ) -> Result<(), ProjectionError> {
        for some in expected.chunks(ROWS_AT_ONCE) {
            let mut there = sample::rows(self.store, table, some)?;
            for row in some {
                let found = there.remove(&sample::keys(table, row));
                self.row(table, row, found, ahead.clone());
            }
        }
        Ok(())
    }

    /// Compares a row, unless it has changed by an event that the tables know and the fold does not.
    fn row(&mut self, table: &Table, expected: &[Cell], found: Option<Vec<Cell>>, ahead: std::ops::Range<u64>) {
        self.look.rows = self.look.rows.saturating_add(1);
        let is_ahead = |cells: &[Cell]| {
            let changed = ["updated_seq", "until_seq"].into_iter().find_map(|name| sample::int(table, cells, name));
            let seq = changed.map_or(0, |seq| seq as u64);
            seq > ahead.start && seq <= ahead.end
        };
        match found {
            Some(found) if found == expected || is_ahead(&found) => {}
            Some(_) => self.found(table, sample::keys(table, expected), "it differs"),
            // Closed by an event that the fold does not know yet, and old enough to have left.
            None if self.kept_ns > 0
                && !ahead.is_empty()
                && matches!(table.name, "orders" | "mass_cancels" | "sagas") => {}
            None => self.found(table, sample::keys(table, expected), "it is missing"),
        }
    }

    fn found(&mut self, table: &Table, key: Vec<(&'static str, i64)>, what: &'static str) {
        if self.look.findings.len() < FINDINGS_MAX {
            self.look.findings.push(Finding { table: table.name, key, what });
        }
    }
}

fn entry_of<'a>(record: &Record<'a>) -> Entry<'a> {
    let Record { seq, ts_ns, kind, version, payload, .. } = *record;
    Entry { seq, ts_ns, kind, version, payload }
}

fn cells_of_all<R: Row>(rows: &[R]) -> (Table, Vec<Vec<Cell>>) {
    (R::TABLE, rows.iter().map(cells).collect())
}

fn cells<R: Row>(row: &R) -> Vec<Cell> {
    let mut cells = Vec::new();
    row.put(&mut cells);
    cells
}

/// Rows of a table, others each time.
fn some_of<K: Ord + Copy, R: Row>(rows: &Keyed<K, R>, turn: u64) -> (Table, Vec<Vec<Cell>>) {
    let count = rows.iter().count();
    let steps = count.div_ceil(ROWS_PER_TABLE).max(1);
    let from = (turn as usize).checked_rem(steps).unwrap_or(0).saturating_mul(ROWS_PER_TABLE);
    (R::TABLE, rows.iter().skip(from).take(ROWS_PER_TABLE).map(|(_, row)| cells(row)).collect())
}

/// Looks every so often, until `stop` is set; what it finds it has healed.
pub fn watch(source: &Source, interval: Duration, heal: &Arc<Heal>, stop: &AtomicBool) {
    let mut monitor: Option<Monitor> = None;
    let mut report = Report::default();
    let mut told = String::new();
    let mut wait = interval;
    while !stop.load(Ordering::Acquire) {
        std::thread::park_timeout(wait);
        if stop.load(Ordering::Acquire) || heal.is_asked() {
            continue;
        }
        let looked = match &mut monitor {
            Some(monitor) => monitor.look(),
            None => Monitor::open(source, EVENTS_PER_LOOK).and_then(|opened| {
                report.since_ns = utc_ns();
                monitor.insert(opened).look()
            }),
        };
        match looked {
            Ok(look) => {
                told.clear();
                report.error = None;
                // What is found again and again is not healed by making it anew again and again.
                wait = if look.findings.is_empty() {
                    interval
                } else {
                    wait.saturating_mul(2).min(WAIT_MAX).max(interval)
                };
                judge(source, &look, &mut report, heal);
            }
            // There is none yet, or it is being made anew.
            Err(ProjectionError::Missing { .. } | ProjectionError::Outdated { .. }) => {}
            Err(error) => {
                let text = error.to_string();
                if text != told {
                    tracing::warn!(%error, "the read model cannot be compared with the journal; that is tried again");
                }
                told.clone_from(&text);
                report.error = Some((text, report.error.take().map_or_else(utc_ns, |(_, since_ns)| since_ns)));
                write(&report, source);
                if !error.may_pass() {
                    // What it holds may be of a journal that is no more.
                    monitor = None;
                }
            }
        }
    }
}

fn judge(source: &Source, look: &Look, report: &mut Report, heal: &Heal) {
    (report.checked_seq, report.checked_ns) = (look.seq, utc_ns());
    report.rows = report.rows.saturating_add(look.rows);
    if let Some(first) = look.findings.first() {
        let tables: BTreeSet<&'static str> = look.findings.iter().map(|finding| finding.table).collect();
        let names: Vec<&str> = tables.iter().copied().collect();
        let (of, anew) = match &source.server {
            None => ("", names.join(", ")),
            // There they are made anew all at once.
            Some(_) => (" on the server", "all tables".to_owned()),
        };
        let text = format!("the read model{of} is not what the journal says: {first}; made anew: {anew}");
        alerts::raise(Kind::DataIntegrity, look.seq, text);
        report.found(first);
        sample::mark_stale(source, &look.findings);
        heal.ask(tables);
    } else if report.is_stale {
        report.is_stale = false;
        alerts::clear(Kind::DataIntegrity, "the read model is what the journal says again");
    }
    write(report, source);
}

fn write(report: &Report, source: &Source) {
    if let Err(error) = report.write(source) {
        tracing::debug!(%error, "what was compared is not written down");
    }
}
