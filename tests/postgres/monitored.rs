//! The second fold beside tables on a server: what is not as the journal says is found, told of, and healed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tradecore::projections::monitor::{Heal, Monitor, report_of, watch};
use tradecore::projections::store::{Care, Store};
use tradecore::projections::{ProjectionError, Projector, Source, follow_healed, open, rebuild, verify};

use super::server::{DEADLINE, Postgres};
use super::support::{catch_up, write_history};
use super::{LONG, assert_is_a_fold};

/// Ends threads also where a test fails: one that waits is woken.
struct Ends<'a>(&'a AtomicBool, Vec<std::thread::Thread>);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
        self.1.iter().for_each(std::thread::Thread::unpark);
    }
}

/// Waits for what the monitor's report is to tell.
fn wait_until(source: &Source, what: &str, is_so: &dyn Fn() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < until, "{what}: {:?}", report_of(source));
        std::thread::park_timeout(std::time::Duration::from_millis(5));
    }
}

/// Tables of a gateway that writes to a server only.
fn source(postgres: &Postgres, dir: &tempfile::TempDir, schema: &str, seed: u64) -> Source {
    let (journal_dir, _) = write_history(dir.path(), seed);
    let source = postgres.source(&journal_dir, schema);
    catch_up(&source);
    source
}

#[test]
fn the_monitor_finds_a_changed_a_missing_and_an_added_row_on_a_server_and_nothing_in_what_is_right() {
    let postgres = Postgres::get();
    let dir = tempfile::tempdir().expect("a directory");
    let source = source(&postgres, &dir, "sampled", LONG);
    let mut client = postgres.client();
    let found = |looks| {
        let look = |_| {
            let look = Monitor::open(&source, u64::MAX).expect("opens").look().expect("looks");
            assert!(look.rows > 100, "{look:?}");
            look.findings
        };
        (0..looks).map(look).find(|findings| !findings.is_empty()).unwrap_or_default()
    };
    assert_eq!(found(3), []);
    for (table, key, damage, mend) in [
        ("positions", 2, "SET position_qty = position_qty + 1", "SET position_qty = position_qty - 1"),
        ("orders", 1, "SET cum_qty = cum_qty + 1 WHERE is_open = 1", "SET cum_qty = cum_qty - 1 WHERE is_open = 1"),
        ("connections", 2, "SET status = status + 1", "SET status = status - 1"),
        ("risk_limits", 2, "SET value = value + 1", "SET value = value - 1"),
        ("fills", 1, "SET fee = fee + 1", "SET fee = fee - 1"),
    ] {
        client.batch_execute(&format!("UPDATE sampled.{table} {damage}")).expect(damage);
        let seen = found(200);
        let is_it =
            |finding: &tradecore::projections::monitor::Finding| finding.table == table && finding.key.len() == key;
        assert!(seen.iter().any(is_it) && seen.iter().all(|finding| finding.table == table), "{table}: {seen:?}");
        client.batch_execute(&format!("UPDATE sampled.{table} {mend}")).expect(mend);
    }
    for (table, sql) in [
        ("balances", "DELETE FROM sampled.balances WHERE account_id = 1"),
        (
            "sessions",
            "INSERT INTO sampled.sessions SELECT (jsonb_populate_record(s, '{\"session_id\": 77}')).* FROM sampled.sessions s LIMIT 1",
        ),
    ] {
        client.batch_execute(sql).expect(sql);
        let seen = found(200);
        assert!(seen.iter().any(|finding| finding.table == table), "{sql}: {seen:?}");
    }
}

#[test]
fn of_tables_that_another_host_writes_the_monitor_says_what_differs_until_a_rebuild_has_mended_it() {
    let postgres = Postgres::get();
    let dir = tempfile::tempdir().expect("a directory");
    let source = source(&postgres, &dir, "elsewhere", 3);
    let (heal, stop) = (Arc::new(Heal::elsewhere()), AtomicBool::new(false));
    let report = || report_of(&source).unwrap_or_default();
    std::thread::scope(|scope| {
        let mut ends = Ends(&stop, Vec::new());
        let wait_until = |what: &str, is_so: &dyn Fn() -> bool| wait_until(&source, what, is_so);
        let watches = scope.spawn(|| watch(&source, std::time::Duration::from_millis(20), &heal, &stop));
        ends.1.push(watches.thread().clone());
        wait_until("a first round", &|| report().rounds > 0);
        assert_eq!(report().found, 0, "{:?}", report());
        let sql = "UPDATE elsewhere.fills SET fee = fee + 1 WHERE seq = (SELECT min(seq) FROM elsewhere.fills)";
        assert_eq!(postgres.client().execute(sql, &[]).expect("changed"), 1);
        wait_until("it is found", &|| report().found > 0);
        // Nobody makes them anew, and so it stays: it is found again.
        wait_until("it is found again", &|| report().found > 1 && report().is_stale);
        rebuild(&source, &mut |_, _| true).expect("made anew");
        wait_until("a round finds nothing", &|| !report().is_stale);
    });
    assert_is_a_fold(&source, "elsewhere");
}

#[test]
fn what_differs_on_a_server_is_marked_and_made_anew_and_the_report_says_so() {
    let postgres = Postgres::get();
    let dir = tempfile::tempdir().expect("a directory");
    let source = source(&postgres, &dir, "healed", 3);
    let (heal, stop) = (Arc::new(Heal::default()), AtomicBool::new(false));
    let report = || report_of(&source);
    std::thread::scope(|scope| {
        let mut ends = Ends(&stop, Vec::new());
        let wait_until = |what: &str, is_so: &dyn Fn() -> bool| wait_until(&source, what, is_so);
        ends.1.push(scope.spawn(|| follow_healed(&source, &heal, &stop)).thread().clone());
        let watches = scope.spawn(|| watch(&source, std::time::Duration::from_millis(50), &heal, &stop));
        ends.1.push(watches.thread().clone());
        wait_until("a first look", &|| report().is_some_and(|report| report.rows > 0 && report.found == 0));
        let rows = || -> Vec<(i64, i64, i64)> {
            let sql = "SELECT instrument_id, cost, is_stale FROM healed.positions WHERE account_id = 1 ORDER BY 1";
            let rows = postgres.client().query(sql, &[]).expect("rows");
            rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
        };
        let right = rows();
        assert!(!right.is_empty() && right.iter().all(|(.., is_stale)| *is_stale == 0), "{right:?}");
        let found = || report().expect("a report").found;
        let sql = "UPDATE healed.positions SET cost = cost + 1 WHERE account_id = 1";
        assert!(postgres.client().execute(sql, &[]).expect("changed") > 0);
        wait_until("it is found", &|| found() > 0);
        wait_until("it is healed", &|| report().is_some_and(|report| !report.is_stale));
        // Of the past: an event compared long ago.
        let before = found();
        let sql = "UPDATE healed.events SET ts_ns = ts_ns + 1 WHERE seq = 100";
        assert!(postgres.client().execute(sql, &[]).expect("changed") > 0);
        wait_until("that is found", &|| found() > before);
        wait_until("that is healed", &|| report().is_some_and(|report| !report.is_stale));
        let before = found();
        let sql = "DELETE FROM healed.fills WHERE seq = (SELECT max(seq) FROM healed.fills)";
        assert!(postgres.client().execute(sql, &[]).expect("removed") > 0);
        wait_until("the third is found", &|| found() > before);
        wait_until("the third is healed", &|| report().is_some_and(|report| !report.is_stale));
        assert_eq!(rows(), right, "the rows were made anew, and are not stale");
        let (what, _) = report().expect("a report").last.expect("what was found");
        assert!(what.starts_with("fills, seq "), "{what}");
    });
    assert_is_a_fold(&source, "healed");
}

#[test]
fn a_writer_that_what_the_monitor_finds_stands_in_the_way_of_goes_on_once_that_is_healed() {
    let postgres = Postgres::get();
    let dir = tempfile::tempdir().expect("a directory");
    let (journal_dir, _) = write_history(dir.path(), LONG);
    let source = postgres.source(&journal_dir, "barred");
    let mut projector = Projector::open(&source, Care::Live).expect("opens").expect("goes on");
    projector.step(500).expect("a batch");
    let known_seq = projector.position().seq;
    drop(projector);
    let last_seq = tradecore_journal::stat(&journal_dir).expect("undamaged").last_seq;
    // An event that the writer has yet to add.
    let add = format!(
        "CREATE TEMP TABLE added AS SELECT * FROM barred.events WHERE seq = {known_seq};
         UPDATE added SET seq = seq + 2; INSERT INTO barred.events SELECT * FROM added"
    );
    postgres.client().batch_execute(&add).expect("added");
    let (heal, stop) = (Arc::new(Heal::default()), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let mut ends = Ends(&stop, Vec::new());
        ends.1.push(scope.spawn(|| follow_healed(&source, &heal, &stop)).thread().clone());
        let watches = scope.spawn(|| watch(&source, std::time::Duration::from_millis(50), &heal, &stop));
        ends.1.push(watches.thread().clone());
        let seq =
            || Store::open_to_read(&source).and_then(|mut store| store.position()).map_or(0, |position| position.seq);
        wait_until(&source, "it goes on", &|| seq() == last_seq);
    });
    assert_is_a_fold(&source, "barred");
}

#[test]
fn tables_that_know_what_the_journal_does_not_are_made_anew_by_nobody_but_a_person_whatever_rules_made_them() {
    let postgres = Postgres::get();
    let dir = tempfile::tempdir().expect("a directory");
    let source = source(&postgres, &dir, "later", LONG);
    let mut client = postgres.client();
    client.execute("UPDATE later.projection_positions SET record_crc = record_crc + 1", &[]).expect("changed");
    let elsewhere = |error: ProjectionError| assert!(matches!(error, ProjectionError::Elsewhere { .. }), "{error}");
    elsewhere(Projector::open(&source, Care::Live).map(drop).expect_err("it is another host's"));
    let mut monitor = Monitor::open(&source, u64::MAX).expect("opens");
    elsewhere(monitor.look().map(drop).expect_err("it is another host's").error);
    elsewhere(verify(&source, &mut |_, _| true).map(drop).expect_err("it is another host's"));
    // A writer of other rules would make them anew.
    let of_other_days = Source { keep_days: source.keep_days + 1, ..source.clone() };
    let mut go_on = |_, _| true;
    elsewhere(open(&of_other_days, &mut go_on).map(drop).expect_err("it is another host's"));
    rebuild(&source, &mut go_on).expect("made anew");
    assert_is_a_fold(&source, "by a person's word");
}
