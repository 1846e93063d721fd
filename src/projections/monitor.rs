//! The integrity monitor: a side thread that folds the journal a second time, some of it a look, and lays samples of
//! rows beside what that gives. A third fold begins anew whenever it has come to the end: it compares every row that a
//! span of events has made or changed, and that there are no others. What differs, is missing or too many is an alarm;
//! its rows are marked, and the writer is asked to make that table anew.
//!
//! Work and memory of a look are bounded. It reads what the tables say they know, never beyond; a row that has changed
//! since the event that the fold has come to is left for another look.

mod heal;
mod report;
mod round;
mod sample;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tradecore_domain::event::Event;
use tradecore_journal::{Reader, Record, Until};

use super::cell::Cell;
use super::declare::{Row, Table};
use super::error::{ProjectionError, rebuild_of};
use super::fold::{Entry, fold, order_needed};
use super::projector::{Source, check_place};
use super::removal::horizon_ns;
use super::rows::{Keyed, Rows};
use super::store::{Store, check_rules};
use super::tables::OrderRow;
use crate::clock::utc_ns;
use crate::shipping::alerts::{self, Kind};

pub use heal::Heal;
pub use report::{Report, report_of};

/// Events that a look of the gateway folds, at most.
const EVENTS_PER_LOOK: u64 = 262_144;
/// Events that the fold which begins anew takes a look, at most: what makes a row of the past be looked at again.
const ROUND_EVENTS_PER_LOOK: u64 = 16_384;
/// Rows of a table that changes that a look compares, at most; the next goes on behind them.
const ROWS_PER_TABLE: usize = 512;
/// Rows that are asked for at once.
const ROWS_AT_ONCE: usize = 256;
/// Events of a span: behind each, rows are compared, and what is closed is forgotten.
const SPAN_EVENTS: u64 = 2_048;
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

/// A look that came to no end.
#[derive(Debug)]
pub struct Failed {
    /// Why.
    pub error: ProjectionError,
    /// What it had found by then.
    pub look: Box<Look>,
}

impl From<ProjectionError> for Failed {
    fn from(error: ProjectionError) -> Self {
        Self { error, look: Box::default() }
    }
}

/// What a look found.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// The fold has come to this event.
    pub seq: u64,
    /// The fold that begins anew has come to this event; `None` where the beginning of the journal is gone.
    pub round_seq: Option<u64>,
    /// Times that it has come to the end.
    pub rounds: u64,
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
    /// The last event that the tables know.
    known_seq: u64,
    /// The last one of these that was parked.
    parked_seq: u64,
    look: &'a mut Look,
}

/// A fold of the journal, in memory, and how far it has come.
#[derive(Debug)]
struct Folded {
    rows: Rows,
    reader: Reader,
    seq: u64,
    /// Time of that event.
    ts_ns: u64,
}

/// Hears of a span: the rows behind it, the event before it, the last one of it, orders whose rows were read.
type OnSpan<'a> = &'a mut dyn FnMut(&Rows, (u64, u64), &BTreeSet<u64>, &mut Store) -> Result<(), ProjectionError>;

impl Folded {
    fn begin(source: &Source) -> Result<Self, ProjectionError> {
        let reader = Reader::open(&source.journal_dir, 1, Until::Synced)?;
        let rows = Rows { leave_some_day: source.keep_days > 0, ..Rows::default() };
        Ok(Self { rows, reader, seq: 0, ts_ns: 0 })
    }

    /// Goes on to an event, at most; a group is taken whole.
    fn go_on(
        &mut self,
        source: &Source,
        end_seq: u64,
        store: &mut Store,
        on_span: OnSpan<'_>,
    ) -> Result<(), ProjectionError> {
        while self.seq < end_seq {
            let (before_seq, span_end_seq) = (self.seq, end_seq.min(self.seq.saturating_add(SPAN_EVENTS)));
            let read = self.fold_to(source, span_end_seq, store)?;
            on_span(&self.rows, (before_seq, self.seq), &read, store)?;
            self.rows.forget_closed();
            if self.seq < span_end_seq {
                break;
            }
        }
        let held = self.rows.orders.iter().count();
        if held > ORDERS_MAX {
            return Err(ProjectionError::TooManyOrders { path: source.path.clone(), max: ORDERS_MAX });
        }
        Ok(())
    }

    /// Folds a span; the orders whose rows were read for that.
    fn fold_to(&mut self, source: &Source, end_seq: u64, store: &mut Store) -> Result<BTreeSet<u64>, ProjectionError> {
        let mut read = BTreeSet::new();
        while self.seq < end_seq {
            let begun_seq = self.seq;
            let Some(group) = self.reader.next_group()? else { break };
            for record in group.records().filter(|record| record.seq > begun_seq) {
                if record.seq != self.seq.saturating_add(1) {
                    // The journal has no holes: it is not the one that was begun with.
                    let (dir, seq) = (source.journal_dir.clone(), record.seq);
                    return Err(tradecore_journal::ReadError::Gone { dir, seq }.into());
                }
                let event = Event::from_archive(record.kind, record.version, record.payload);
                if let Some(order_id) = event.as_ref().ok().and_then(order_needed)
                    && self.rows.orders.get(order_id).is_none()
                {
                    // Closed since long: its row says so, and counts for nothing.
                    let only = format!("WHERE order_id = {} AND is_open = 0", order_id as i64);
                    let orders = &mut self.rows.orders;
                    store.load(&only, |row: OrderRow| orders.load(order_id, row))?;
                    read.insert(order_id);
                }
                fold(&mut self.rows, &entry_of(&record), event.as_ref().map_err(ToString::to_string));
                (self.seq, self.ts_ns) = (record.seq, record.ts_ns);
            }
        }
        Ok(read)
    }

    /// After a failure: what was read of a group and not folded is read again, and no row of the span is asked for.
    fn take_back(&mut self, source: &Source) -> Result<(), ProjectionError> {
        self.rows.forget_closed();
        self.reader = Reader::open(&source.journal_dir, self.seq.saturating_add(1), Until::Synced)?;
        Ok(())
    }
}

/// The second fold, and the one that begins anew.
#[derive(Debug)]
pub struct Monitor {
    source: Source,
    head: Folded,
    round: Option<Folded>,
    rounds: u64,
    /// Last rows of the pages that were asked for last.
    pages_after: [i64; round::FIRST_PAGES.len()],
    events_per_look: u64,
    /// Chooses what is looked at.
    turn: u64,
}

impl Monitor {
    /// At the beginning of the journal, of which each look folds so many events at most.
    ///
    /// # Errors
    /// When that is not there.
    pub fn open(source: &Source, events_per_look: u64) -> Result<Self, ProjectionError> {
        let (head, round) = (Folded::begin(source)?, Some(Folded::begin(source)?));
        Ok(Self {
            source: source.clone(),
            head,
            round,
            rounds: 0,
            pages_after: round::FIRST_PAGES,
            events_per_look,
            turn: 0,
        })
    }

    /// One look. After one that failed, the next goes on where it had come to.
    ///
    /// # Errors
    /// When the tables or the journal cannot be read; with what was found before.
    pub fn look(&mut self) -> Result<Look, Failed> {
        let mut look = Look::default();
        let mut looked = self.try_look(&mut look);
        if looked.is_err() {
            looked = self.head.take_back(&self.source).and(looked);
            if let Some(round) = &mut self.round
                && round.take_back(&self.source).is_err()
            {
                self.round = None;
            }
        }
        (look.seq, look.rounds) = (self.head.seq, self.rounds);
        look.round_seq = self.round.as_ref().map(|round| round.seq);
        match looked {
            Ok(()) => Ok(look),
            Err(error) => Err(Failed { error, look: Box::new(look) }),
        }
    }

    fn try_look(&mut self, look: &mut Look) -> Result<(), ProjectionError> {
        // What is compared is of one moment.
        let mut store = Store::open_to_read(&self.source)?;
        let known = store.position_of(&self.source)?;
        check_place(&self.source, &known)?;
        // Their writer makes such rows anew: what differs in them is no damage.
        check_rules(&self.source, &known)?;
        let mut random = [0; 8];
        // Without randomness it is the next place.
        let _ = getrandom::fill(&mut random);
        self.turn = self.turn.wrapping_add(1).wrapping_add(u64::from_le_bytes(random) >> 32);
        let parked_seq = sample::ints(&mut store, "SELECT coalesce(max(seq), 0) FROM parked_records")?;
        let mut comparison = Comparison {
            store: &mut store,
            kept_ns: horizon_ns(self.source.keep_days, known.ts_ns),
            known_seq: known.seq,
            parked_seq: parked_seq.first().map_or(0, |seq| *seq as u64),
            look,
        };
        let end_seq = known.seq.min(self.head.seq.saturating_add(self.events_per_look));
        self.head.go_on(&self.source, end_seq, comparison.store, &mut |_, _, _, _| Ok(()))?;
        self.compare_state(&mut comparison, known.seq)?;
        self.go_round(&mut comparison)
    }

    /// Some rows of each table that changes.
    fn compare_state(&self, comparison: &mut Comparison<'_>, known_seq: u64) -> Result<(), ProjectionError> {
        let (turn, rows) = (self.turn, &self.head.rows);
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
            comparison.rows(&table, &rows, self.head.seq..known_seq)?;
        }
        Ok(())
    }
}

impl Comparison<'_> {
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
        // What is parked marks the rows that it would have changed, and is no change of theirs.
        let is_parked = !ahead.is_empty() && self.parked_seq > ahead.start;
        match found {
            Some(found) if found == expected || is_ahead(&found) => {}
            Some(found) if is_parked && sample::is_but_marked(table, &found, expected) => {}
            Some(_) => self.found(table, sample::keys(table, expected), "it differs"),
            None if self.may_have_left(table, expected, !ahead.is_empty()) => {}
            None => self.found(table, sample::keys(table, expected), "it is missing"),
        }
    }

    /// Whether a row that should be there may have left: it is old, or perhaps closed by an event that the fold does
    /// not know yet, and old by now.
    fn may_have_left(&self, table: &Table, expected: &[Cell], is_behind: bool) -> bool {
        let int = |name| sample::int(table, expected, name);
        let is_open = match table.name {
            "orders" => int("is_open") == Some(1),
            "mass_cancels" => int("is_completed") == Some(0),
            "sagas" => int("ended_seq") == Some(0),
            "order_history" | "fills" | "positions_history" | "risk_events" | "saga_steps" | "events" => false,
            _ => return false,
        };
        let of_ns = int("updated_ns").or_else(|| int("ts_ns")).unwrap_or_default();
        self.kept_ns > 0 && if is_open { is_behind } else { (of_ns as u64) < self.kept_ns }
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

/// Looks every so often, until `stop` is set; what it finds it has healed, where somebody here can.
pub fn watch(source: &Source, interval: Duration, heal: &Arc<Heal>, stop: &AtomicBool) {
    let mut monitor: Option<Monitor> = None;
    let mut report = Report::begin(source);
    if report.is_stale {
        // Nobody has made that anew, as far as is known.
        heal.done(false);
    }
    let mut told = String::new();
    let mut wait = interval;
    while !stop.load(Ordering::Acquire) {
        std::thread::park_timeout(wait);
        if stop.load(Ordering::Acquire) || heal.is_asked() {
            continue;
        }
        let looked = match &mut monitor {
            Some(monitor) => monitor.look(),
            None => Monitor::open(source, EVENTS_PER_LOOK).map_err(Failed::from).and_then(|opened| {
                report.begin_anew();
                monitor.insert(opened).look()
            }),
        };
        let (look, error) = match looked {
            Ok(look) => {
                told.clear();
                report.error = None;
                (Some(look), None)
            }
            // That nothing was found until then says nothing.
            Err(Failed { error, look }) => (Some(*look).filter(|look| !look.findings.is_empty()), Some(error)),
        };
        if let Some(look) = look {
            // What is found again and again is not healed by making it anew again and again.
            wait = if look.findings.is_empty() { interval } else { wait.saturating_mul(2).min(WAIT_MAX).max(interval) };
            judge(source, &look, &mut report, heal);
        }
        match error {
            None => {}
            // There is none yet, or it is being made anew; but nobody here does.
            Some(ProjectionError::Missing { .. } | ProjectionError::Outdated { .. }) if heal.has_writer() => {}
            Some(error) => {
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
    (report.round_seq, report.rounds) = (look.round_seq, look.rounds);
    report.rows = report.rows.saturating_add(look.rows);
    if let Some(first) = look.findings.first() {
        let tables: BTreeSet<&'static str> = look.findings.iter().map(|finding| finding.table).collect();
        let names: Vec<&str> = tables.iter().copied().collect();
        let anew = match &source.server {
            None => format!("made anew: {}", names.join(", ")),
            // There they are made anew all at once.
            Some(_) if heal.has_writer() => "made anew: all tables".to_owned(),
            Some(_) => format!("`{}` makes it anew", rebuild_of(&source.name())),
        };
        let text = format!("{}: not what the journal says: {first}; {anew}", source.name().display());
        alerts::raise(Kind::DataIntegrity, look.seq, text);
        report.found(first);
        sample::mark_stale(source, &look.findings);
        heal.ask(tables);
    } else if report.is_stale && (!heal.has_failed() || look.rounds >= report.clear_rounds) {
        // They were made anew; or, by whomever, are right all the same: a whole round has found nothing.
        report.is_stale = false;
        alerts::clear(Kind::DataIntegrity, &format!("{}: what the journal says again", source.name().display()));
    }
    write(report, source);
}

fn write(report: &Report, source: &Source) {
    if let Err(error) = report.write(source) {
        tracing::debug!(%error, "what was compared is not written down");
    }
}
