//! The second fold finds what is not as the journal says, and it is healed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tradecore::projections::monitor::{Heal, Monitor, Report, report_of, watch};
use tradecore::projections::store::Care;
use tradecore::projections::{Projector, follow_healed, verify};

use crate::support::{catch_up, dump, source_of, write_history};

/// Ends threads also where a test fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn change(path: &Path, sql: &str) {
    let connection = Connection::open(path).expect("opens");
    connection.busy_timeout(Duration::from_secs(10)).expect("set");
    assert!(connection.execute(sql, []).expect(sql) > 0, "{sql}: nothing changed");
}

#[test]
fn the_monitor_finds_nothing_while_the_tables_grow_and_it_is_behind_them() {
    let dir = tempfile::tempdir().expect("a directory");
    let (journal_dir, _) = write_history(dir.path(), crate::history::LONG);
    let source = source_of(&journal_dir, &dir.path().join("rows.sqlite"));
    let mut projector = Projector::open(&source, Care::Live).expect("opens").expect("goes on");
    let mut monitor = Monitor::open(&source, 101).expect("opens");
    let (mut looks, mut rows) = (0, 0);
    loop {
        let count = projector.step(projector.position().seq + 157).expect("a batch");
        let look = monitor.look().expect("looks");
        assert_eq!(look.findings, [], "as of {} of {}", look.seq, projector.position().seq);
        assert!(look.seq <= projector.position().seq);
        (looks, rows) = (looks + 1, rows + look.rows);
        if count == 0 && look.seq == projector.position().seq {
            break;
        }
    }
    assert!(looks > 20 && rows > 1_000, "{looks} looks, {rows} rows");
}

#[test]
fn the_monitor_finds_a_changed_a_missing_and_an_added_row_in_each_kind_of_table() {
    let dir = tempfile::tempdir().expect("a directory");
    let (journal_dir, _) = write_history(dir.path(), crate::history::LONG);
    let whole = source_of(&journal_dir, &dir.path().join("whole.sqlite"));
    catch_up(&whole);
    for (table, sql) in [
        ("positions", "UPDATE positions SET position_qty = position_qty + 1"),
        ("balances", "UPDATE balances SET cash_frac = cash_frac + 1 WHERE account_id = 1"),
        ("balances", "UPDATE balances SET cash = 0, updated_seq = 9000000000 WHERE account_id = 1"),
        ("accounts", "DELETE FROM accounts WHERE account_id = 1"),
        ("sessions", "UPDATE sessions SET next_report_seq = 1"),
        ("risk_limits", "UPDATE risk_limits SET value = value + 1 WHERE account_id = 1"),
        (
            "risk_limits",
            "INSERT INTO risk_limits SELECT since_seq + 1000000, risk_limit, 77, 0, value, value_frac, since_ns, 0, 0, 0 FROM risk_limits LIMIT 1",
        ),
        ("cores", "UPDATE cores SET kill_epoch = kill_epoch + 1"),
        (
            "instruments",
            "INSERT INTO instruments SELECT 77, symbol, currency, tick_size, lot_size, qty_min, order_qty_max, \
          order_notional_max, order_notional_max_frac, collar_ppm, quote_age_max_ns, updated_seq, updated_ns, is_stale \
          FROM instruments LIMIT 1",
        ),
        ("orders", "UPDATE orders SET cum_qty = cum_qty + 1"),
        ("order_history", "UPDATE order_history SET cum_qty = cum_qty + 1"),
        ("fills", "DELETE FROM fills"),
        ("positions_history", "UPDATE positions_history SET fees = fees + 1"),
        ("daily_pnl", "UPDATE daily_pnl SET fees_frac = fees_frac + 1"),
        ("risk_events", "DELETE FROM risk_events"),
        (
            "sagas",
            "INSERT INTO sagas SELECT saga_id + 1000000, saga, aggregate, aggregate_id, begun_by, session_id, account_id, 1, \
          steps, started_ns, 0, 0, updated_seq, updated_ns, is_stale FROM sagas LIMIT 1",
        ),
        ("saga_steps", "UPDATE saga_steps SET step = step + 1"),
        ("events", "DELETE FROM events WHERE seq > 100 AND seq % 50 = 0"),
        ("events", "UPDATE events SET ts_ns = ts_ns + 1"),
    ] {
        let source = source_of(&journal_dir, &dir.path().join("damaged.sqlite"));
        let connection = Connection::open(&whole.path).expect("opens");
        connection.execute("VACUUM INTO ?1", [source.path.to_str().expect("text")]).expect("copied");
        change(&source.path, sql);
        let mut monitor = Monitor::open(&source, u64::MAX).expect("opens");
        let mut found = monitor.look().expect("looks").findings;
        for _ in 0..200 {
            if found.iter().any(|finding| finding.table == table) {
                break;
            }
            found = monitor.look().expect("looks").findings;
        }
        assert!(found.iter().any(|finding| finding.table == table), "{sql}: {found:?}");
        std::fs::remove_file(&source.path).expect("removed");
    }
}

#[test]
fn a_look_that_fails_in_the_midst_of_a_decision_is_gone_on_with() {
    let dir = tempfile::tempdir().expect("a directory");
    let (journal_dir, _) = write_history(dir.path(), crate::history::LONG);
    let source = source_of(&journal_dir, &dir.path().join("rows.sqlite"));
    catch_up(&source);
    let connection = Connection::open(&source.path).expect("opens");
    let mut monitor = Monitor::open(&source, 101).expect("opens");
    let mut seq = 0;
    for _ in 0..20 {
        connection.execute_batch("ALTER TABLE events RENAME TO away").expect("renamed");
        monitor.look().expect_err("a table is away");
        connection.execute_batch("ALTER TABLE away RENAME TO events").expect("renamed");
    }
    loop {
        let look = monitor.look().expect("looks");
        assert_eq!(look.findings, [], "as of {}", look.seq);
        if look.seq == seq {
            break;
        }
        seq = look.seq;
    }
    assert_eq!(seq, verify(&source, &mut |_, _| true).expect("compared").0, "it comes to the end");
}

#[test]
fn a_monitor_that_cannot_look_for_a_while_says_since_when_and_keeps_its_place() {
    let dir = tempfile::tempdir().expect("a directory");
    let (journal_dir, _) = write_history(dir.path(), 3);
    let source = source_of(&journal_dir, &dir.path().join("rows.sqlite"));
    catch_up(&source);
    let stop = AtomicBool::new(false);
    let heal = Arc::new(Heal::default());
    std::thread::scope(|scope| {
        let _ends = Ends(&stop);
        let wait_until = |what: &str, is_so: &dyn Fn(Report) -> bool| {
            let deadline = Instant::now() + Duration::from_secs(60);
            loop {
                match report_of(&source.path) {
                    Some(report) if is_so(report.clone()) => return report,
                    report if Instant::now() > deadline => panic!("{what}: {report:?}"),
                    _ => std::thread::park_timeout(Duration::from_millis(5)),
                }
            }
        };
        scope.spawn(|| watch(&source, Duration::from_millis(5), &heal, &stop));
        let before = wait_until("a first look", &|report| report.rows > 0);
        assert_eq!(before.error, None);
        let away = dir.path().join("away");
        std::fs::rename(&source.path, &away).expect("moved");
        std::fs::create_dir(&source.path).expect("made");
        let meanwhile = wait_until("it cannot look", &|report| report.error.is_some());
        let (what, since_ns) = meanwhile.error.expect("why");
        assert!(what.contains("rows.sqlite: ") && since_ns >= before.checked_ns, "{what}");
        std::fs::remove_dir(&source.path).expect("removed");
        std::fs::rename(&away, &source.path).expect("moved back");
        let after = wait_until("it looks again", &|report| report.error.is_none());
        assert_eq!((after.since_ns, after.checked_seq), (before.since_ns, before.checked_seq), "it begins anew");
    });
}

#[test]
fn what_the_monitor_finds_is_marked_and_made_anew_and_its_report_says_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let (journal_dir, _) = write_history(dir.path(), 3);
    let source = source_of(&journal_dir, &dir.path().join("rows.sqlite"));
    catch_up(&source);
    let right = dump(&source.path);
    let (heal, stop) = (Arc::new(Heal::default()), Arc::new(AtomicBool::new(false)));
    std::thread::scope(|scope| {
        let wait_until = |what: &str, is_so: &dyn Fn() -> bool| {
            let deadline = Instant::now() + Duration::from_secs(60);
            while !is_so() {
                if Instant::now() > deadline {
                    stop.store(true, Ordering::Release);
                    panic!("{what}");
                }
                std::thread::park_timeout(Duration::from_millis(5));
            }
        };
        scope.spawn(|| follow_healed(&source, &heal, &stop));
        scope.spawn(|| watch(&source, Duration::from_millis(5), &heal, &stop));
        let report = || report_of(&source.path);
        wait_until("a first look", &|| report().is_some_and(|report| report.rows > 0));
        assert_eq!(report().expect("a report").found, 0);
        change(&source.path, "UPDATE positions SET cost = cost + 1 WHERE account_id = 1");
        wait_until("it is found", &|| report().is_some_and(|report| report.found > 0));
        wait_until("it is healed", &|| report().is_some_and(|report| !report.is_stale));
        let (what, _) = report().expect("a report").last.expect("what was found");
        assert!(what.starts_with("positions, account_id 1, instrument_id "), "{what}");
        stop.store(true, Ordering::Release);
    });
    assert_eq!(dump(&source.path), right);
    let (_, compared) = verify(&source, &mut |_, _| true).expect("compared");
    assert!(compared.iter().all(|table| table.there == table.folded));
}
