//! Closed rows leave after some days of the journal's time, and the rest is as if they were there.

use rusqlite::Connection;
use tradecore::projections::monitor::Monitor;
use tradecore::projections::store::Care;
use tradecore::projections::{ProjectionError, Projector, Source, open, rebuild, verify};

use tradecore_domain::event::Event;

use crate::host::{configured, said};
use crate::support::{Journal, archive, catch_up, dump, events_of, source_of};

const DAY_NS: i64 = 86_400_000_000_000;
const KEEP_DAYS: u32 = 30;

fn of(rows: &[String], table: &str) -> Vec<String> {
    rows.iter().filter(|row| row.starts_with(&format!("{table} "))).cloned().collect()
}

#[test]
fn closed_rows_leave_after_their_days_the_same_ones_however_the_batches_fall() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal_dir = dir.path().join("journal");
    let mut journal = Journal::open(&journal_dir);
    for group in events_of(crate::history::LONG) {
        journal.pass(3_600_000_000_000);
        journal.group(&group.iter().map(archive).collect::<Vec<_>>());
    }
    journal.seal();
    let kept = |name: &str, keep_days| Source { keep_days, ..source_of(&journal_dir, &dir.path().join(name)) };
    let (all, some, killed) = (kept("all.sqlite", 0), kept("some.sqlite", KEEP_DAYS), kept("killed.sqlite", KEEP_DAYS));
    catch_up(&all);
    catch_up(&some);
    let mut monitor = None;
    loop {
        let mut projector = Projector::open(&killed, Care::Live).expect("opens").expect("goes on");
        if projector.step(projector.position().seq + 97).expect("a batch") == 0 {
            break;
        }
        let seq = projector.position().seq;
        drop(projector);
        let monitor = monitor.get_or_insert_with(|| Monitor::open(&killed, u64::MAX).expect("opens"));
        assert_eq!(monitor.look().expect("looks").findings, [], "as of {seq}");
        if seq.is_multiple_of(8) {
            let (_, compared) = verify(&killed, &mut |_, _| true).expect("compared");
            let differing: Vec<_> = compared.iter().filter(|table| table.there != table.folded).collect();
            assert!(differing.is_empty(), "as of {seq}: {differing:?}");
        }
    }
    assert!(dump(&some.path) == dump(&killed.path), "one batch a life");
    // A monitor that starts late finds that rows have left which its fold still has as open.
    let mut late = Monitor::open(&killed, 101).expect("opens");
    let last = late_look(&mut late);
    assert!(last > 101, "it comes on");
    let rebuilt = rebuild(&killed, &mut |_, _| true).expect("made");
    assert_eq!(rebuilt.differing, Some(vec![]));
    let connection = Connection::open(&some.path).expect("opens");
    let one = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).expect(sql);
    let now_ns = one("SELECT ts_ns FROM projection_positions");
    let horizon_ns = now_ns / DAY_NS * DAY_NS - i64::from(KEEP_DAYS) * DAY_NS;
    let (old, new) = (dump(&all.path), dump(&some.path));
    for (table, column) in [
        ("orders", "updated_ns"),
        ("order_history", "ts_ns"),
        ("events", "ts_ns"),
        ("fills", "ts_ns"),
        ("sagas", "updated_ns"),
        ("saga_steps", "ts_ns"),
    ] {
        let (before, after) = (of(&old, table).len(), of(&new, table).len());
        assert!(after > 0 && after < before, "{table}: {after} of {before}");
        let open = match table {
            "orders" => " AND is_open = 0",
            "events" => "",
            "sagas" => " AND ended_seq <> 0",
            "saga_steps" => " AND saga_id NOT IN (SELECT saga_id FROM sagas)",
            _ => " AND order_id NOT IN (SELECT order_id FROM orders)",
        };
        assert_eq!(one(&format!("SELECT count(*) FROM {table} WHERE {column} < {horizon_ns}{open}")), 0, "{table}");
    }
    let of_left = "SELECT count(*) FROM order_history WHERE order_id NOT IN (SELECT order_id FROM orders)";
    assert_eq!(one(of_left), 0, "an order leaves with its history");
    for table in [
        "accounts",
        "balances",
        "positions",
        "daily_pnl",
        "sessions",
        "instruments",
        "kill_switches",
        "cores",
        "connections",
    ] {
        assert_eq!(of(&old, table), of(&new, table), "{table} does not change by what leaves");
    }
    let open = "SELECT count(*) FROM orders WHERE is_open = 1";
    let there: i64 =
        Connection::open(&all.path).expect("opens").query_row(open, [], |row| row.get(0)).expect("a number");
    assert!(there > 0 && one(open) == there, "open orders stay");
    let other = Source { keep_days: KEEP_DAYS + 1, ..some.clone() };
    let refused = Projector::open(&other, Care::Live).expect_err("other rules");
    assert!(matches!(&refused, ProjectionError::Outdated { why, .. } if why.contains("days 30")), "{refused}");
    open_anew(&other);
}

#[test]
fn an_open_order_whose_events_have_left_is_traced_by_what_there_is_and_that_is_said() {
    let dir = configured(&format!("[projection]\nkeep_days = {KEEP_DAYS}\n"));
    let mut journal = Journal::open(&dir.path().join("data/journal"));
    for group in events_of(crate::history::LONG) {
        journal.pass(3_600_000_000_000);
        journal.group(&group.iter().map(archive).collect::<Vec<_>>());
    }
    journal.seal();
    said(dir.path(), "projection catch-up");
    let connection = Connection::open(dir.path().join("data/read-model.sqlite")).expect("opens");
    let find = |sql: &str| connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).expect(sql);
    let all_left: (i64, i64) = find(
        "SELECT order_id, accepted_seq FROM orders WHERE is_open = 1 \
         AND NOT EXISTS (SELECT 1 FROM events WHERE events.order_id = orders.order_id) LIMIT 1",
    );
    let none_left: (i64, i64) = find("SELECT order_id, accepted_seq FROM orders ORDER BY accepted_seq DESC LIMIT 1");
    let words = format!("all events of it, from event {} on, left these tables after {KEEP_DAYS} days", all_left.1);
    let trace = said(dir.path(), &format!("trace {}", all_left.0));
    assert!(trace.contains(&words) && trace.contains("rows     orders: "), "{trace}");
    let trace = said(dir.path(), &format!("trace {}", none_left.0));
    assert!(trace.contains(&format!("decision event {}", none_left.1)) && !trace.contains("earlier"), "{trace}");
}

#[test]
fn of_an_order_with_more_events_than_are_shown_the_newest_are_and_that_is_said() {
    let dir = configured("");
    let mut journal = Journal::open(&dir.path().join("data/journal"));
    let (groups, mut refused) = (events_of(2), None);
    for group in &groups {
        journal.group(&group.iter().map(archive).collect::<Vec<_>>());
        refused = group.iter().find(|event| matches!(event, Event::RequestRejected(e) if e.order_id != 0)).or(refused);
    }
    let Some(Event::RequestRejected(refused)) = refused else { panic!("a history without a refusal") };
    for _ in 0..10_001 {
        journal.group(&[archive(&Event::RequestRejected(*refused))]);
    }
    journal.seal();
    said(dir.path(), "projection catch-up");
    let trace = said(dir.path(), &format!("trace {}", refused.order_id));
    let lines = trace.lines().filter(|line| line.contains(" decision ")).count();
    assert!(
        lines == 10_000 && trace.contains("is not shown: of an order, the newest 10000 are"),
        "{lines}: {trace:.2000}"
    );
}

fn open_anew(source: &Source) {
    let projector = open(source, &mut |_, _| true).expect("made anew");
    assert!(projector.position().seq > 0);
}

/// Looks until it has seen all; up to which event.
fn late_look(monitor: &mut Monitor) -> u64 {
    let mut last = 0;
    loop {
        let look = monitor.look().expect("looks");
        assert_eq!(look.findings, [], "as of {}", look.seq);
        if look.seq == last {
            return last;
        }
        last = look.seq;
    }
}
