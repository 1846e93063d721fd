//! The second fold finds what is not as the journal says, and it is healed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tradecore::projections::declare::Table;
use tradecore::projections::monitor::{Heal, Monitor, Report, report_of, watch};
use tradecore::projections::store::Care;
use tradecore::projections::tables::TABLES;
use tradecore::projections::{ProjectionError, Projector, Source, follow_healed, rebuild, verify};

use tradecore_domain::event::{AccountDefined, Event, Meta};

use crate::support::{Journal, archive, catch_up, dump, events_of, source_of, write_history};

/// Waits for what the monitor's report is to tell.
fn report_when(source: &Source, what: &str, is_so: &dyn Fn(&Report) -> bool) -> Report {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match report_of(source) {
            Some(report) if is_so(&report) => return report,
            report if Instant::now() > deadline => panic!("{what}: {report:?}"),
            _ => std::thread::park_timeout(Duration::from_millis(2)),
        }
    }
}

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
fn what_is_parked_is_no_damage_however_far_behind_the_monitor_is() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal_dir = dir.path().join("journal");
    let mut journal = Journal::open(&journal_dir);
    let of_account = Meta { account_id: 1, ..Meta::default() };
    let mut groups = events_of(crate::history::LONG);
    let middle = groups.len() / 2;
    // What does not fit into a column parks the account, and all of it that follows.
    let unfit =
        AccountDefined { meta: of_account, initial_cash: i128::MAX, currency: *b"USDT\0\0\0\0", ..Default::default() };
    groups.insert(middle, vec![Event::AccountDefined(unfit)]);
    for group in groups {
        journal.group(&group.iter().map(archive).collect::<Vec<_>>());
    }
    journal.seal();
    let source = source_of(&journal_dir, &dir.path().join("rows.sqlite"));
    catch_up(&source);
    let known_seq = Projector::open(&source, Care::Live).expect("opens").expect("goes on").position().seq;
    let one = |sql: &str| -> i64 {
        Connection::open(&source.path).expect("opens").query_row(sql, [], |row| row.get(0)).expect(sql)
    };
    assert!(one("SELECT count(*) FROM parked_records") > 1);
    assert_eq!(one("SELECT is_stale FROM balances WHERE account_id = 1"), 1);
    let mut monitor = Monitor::open(&source, 101).expect("opens");
    loop {
        let look = monitor.look().expect("looks");
        assert_eq!(look.findings, [], "as of {} of {known_seq}", look.seq);
        if look.rounds == 1 {
            break;
        }
    }
    // A mark of nobody is damage, once all that is parked is behind.
    change(&source.path, "UPDATE positions SET is_stale = 1 - is_stale");
    let look = monitor.look().expect("looks");
    assert!(look.seq == known_seq && look.findings.iter().any(|found| found.table == "positions"), "{look:?}");
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
        ("orders", "UPDATE orders SET cum_qty = cum_qty + 1, updated_seq = updated_seq + 1 WHERE is_open = 0"),
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
        let source = copy_of(&whole, &dir.path().join("damaged.sqlite"));
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

fn copy_of(whole: &Source, path: &Path) -> Source {
    let connection = Connection::open(&whole.path).expect("opens");
    connection.execute("VACUUM INTO ?1", [path.to_str().expect("text")]).expect("copied");
    source_of(&whole.journal_dir, path)
}

/// A cell changed, a row removed, a row added, in the midst of a table; only the last where there is no row.
fn damages(whole: &Source, table: &Table) -> Vec<String> {
    let connection = Connection::open(&whole.path).expect("opens");
    let (name, keys) = (table.name, table.key.join(", "));
    let rows: i64 = connection.query_row(&format!("SELECT count(*) FROM {name}"), [], |row| row.get(0)).expect("rows");
    let columns = table.cell_names();
    if rows == 0 {
        let ones = vec!["1"; columns.len()].join(", ");
        return vec![format!("INSERT INTO {name} SELECT {ones}")];
    }
    let middle = format!("SELECT {keys} FROM {name} ORDER BY {keys} LIMIT 1 OFFSET {}", rows / 2);
    let cell = columns.iter().find(|column| !table.key.contains(&column.as_str())).expect("a column");
    let of_events = "(SELECT max(seq) FROM events e WHERE e.seq NOT IN (SELECT seq FROM";
    let added = columns.iter().map(|column| match column.as_str() {
        "seq" if name == "events" => "seq + 1000003".to_owned(),
        "seq" => format!("{of_events} {name}))"),
        column if Some(&column) == table.key.first() => format!("{column} + 1000003"),
        column => column.to_owned(),
    });
    let added = added.collect::<Vec<_>>().join(", ");
    vec![
        format!("UPDATE {name} SET {cell} = {cell} || '1' WHERE ({keys}) = ({middle})"),
        format!("DELETE FROM {name} WHERE ({keys}) = ({middle})"),
        format!("INSERT INTO {name} SELECT {added} FROM {name} WHERE ({keys}) = ({middle})"),
    ]
}

/// Every table but the one of the position, without which there is no writer.
fn folded_tables() -> impl Iterator<Item = &'static Table> {
    TABLES.iter().filter(|table| table.name != "projection_positions")
}

#[test]
fn a_round_finds_any_cell_changed_any_row_removed_and_any_row_added_in_every_table() {
    let dir = tempfile::tempdir().expect("a directory");
    let (journal_dir, _) = write_history(dir.path(), crate::history::LONG);
    for keep_days in [0, 90] {
        let whole = source_of(&journal_dir, &dir.path().join(format!("whole-{keep_days}.sqlite")));
        let whole = Source { keep_days, ..whole };
        catch_up(&whole);
        for table in folded_tables() {
            for sql in damages(&whole, table) {
                let source = Source { keep_days, ..copy_of(&whole, &dir.path().join("damaged.sqlite")) };
                change(&source.path, &sql);
                let mut monitor = Monitor::open(&source, u64::MAX).expect("opens");
                let found = loop {
                    let look = monitor.look().expect("looks");
                    if !look.findings.is_empty() || look.rounds > 0 {
                        break look.findings;
                    }
                };
                assert!(found.iter().any(|finding| finding.table == table.name), "{sql}: {found:?}");
                std::fs::remove_file(&source.path).expect("removed");
            }
        }
    }
}

#[test]
fn what_is_damaged_long_after_it_was_compared_is_found_and_healed_in_every_table() {
    let dir = tempfile::tempdir().expect("a directory");
    let (journal_dir, _) = write_history(dir.path(), 3);
    let source = source_of(&journal_dir, &dir.path().join("rows.sqlite"));
    catch_up(&source);
    let right = dump(&source.path);
    let (heal, stop) = (Arc::new(Heal::default()), Arc::new(AtomicBool::new(false)));
    std::thread::scope(|scope| {
        let _ends = Ends(&stop);
        scope.spawn(|| follow_healed(&source, &heal, &stop));
        scope.spawn(|| watch(&source, Duration::from_millis(2), &heal, &stop));
        let wait_until = |what: &str, is_so: &dyn Fn(&Report) -> bool| report_when(&source, what, is_so);
        for table in folded_tables() {
            for sql in damages(&source, table) {
                let rounds = report_of(&source).map_or(0, |report| report.rounds);
                // The one that ends first may have begun before.
                let before = wait_until("two rounds", &|report| report.rounds > rounds + 1 && !report.is_stale);
                change(&source.path, &sql);
                wait_until(&sql, &|report| report.found > before.found && !report.is_stale);
                assert_eq!(dump(&source.path), right, "{sql}");
            }
        }
        stop.store(true, Ordering::Release);
    });
}

#[test]
fn a_row_that_the_writer_cannot_read_is_healed_and_the_writer_goes_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let (journal_dir, _) = write_history(dir.path(), 3);
    let source = source_of(&journal_dir, &dir.path().join("rows.sqlite"));
    catch_up(&source);
    let right = dump(&source.path);
    change(&source.path, "UPDATE accounts SET rate_max = -1 WHERE account_id = 1");
    let error = Projector::open(&source, Care::Live).map(drop).expect_err("no number");
    assert!(matches!(error, ProjectionError::BadRow { .. }), "{error}");
    let (heal, stop) = (Arc::new(Heal::default()), Arc::new(AtomicBool::new(false)));
    std::thread::scope(|scope| {
        let _ends = Ends(&stop);
        scope.spawn(|| follow_healed(&source, &heal, &stop));
        scope.spawn(|| watch(&source, Duration::from_millis(2), &heal, &stop));
        report_when(&source, "it is healed", &|report| report.found > 0 && !report.is_stale);
        let (rounds, before) = report_of(&source).map(|report| (report.rounds, report.found)).expect("a report");
        // The writer is back at its work: what it is asked for next is done, too.
        change(&source.path, "UPDATE accounts SET rate_max = -1 WHERE account_id = 1");
        report_when(&source, "again", &|report| report.found > before && !report.is_stale && report.rounds > rounds);
    });
    assert_eq!(dump(&source.path), right);
}

#[test]
fn what_was_parked_since_an_order_was_damaged_away_is_healed_with_the_tables() {
    let dir = tempfile::tempdir().expect("a directory");
    let (journal_dir, _) = write_history(dir.path(), crate::history::LONG);
    let (whole, source) = ["whole", "rows"].map(|name| source_of(&journal_dir, &dir.path().join(name))).into();
    catch_up(&whole);
    let mut projector = Projector::open(&source, Care::Live).expect("opens").expect("goes on");
    projector.step(projector.position().seq + 500).expect("a batch");
    drop(projector);
    change(&source.path, "DELETE FROM orders WHERE is_open = 1");
    // The next events of these orders have none.
    catch_up(&source);
    let parked = "SELECT count(*) FROM parked_records";
    let parked: i64 =
        Connection::open(&source.path).expect("opens").query_row(parked, [], |row| row.get(0)).expect("one");
    assert!(parked > 4, "{parked} records");
    let (heal, stop) = (Arc::new(Heal::default()), Arc::new(AtomicBool::new(false)));
    std::thread::scope(|scope| {
        let _ends = Ends(&stop);
        scope.spawn(|| follow_healed(&source, &heal, &stop));
        scope.spawn(|| watch(&source, Duration::from_millis(2), &heal, &stop));
        let healed = report_when(&source, "it is healed", &|report| report.found > 0 && !report.is_stale);
        assert_eq!(healed.found, 1, "with what was found first");
        stop.store(true, Ordering::Release);
    });
    assert_eq!(dump(&source.path), dump(&whole.path));
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
fn what_a_look_found_before_it_failed_is_told_and_so_is_the_failure() {
    let dir = tempfile::tempdir().expect("a directory");
    let (journal_dir, _) = write_history(dir.path(), 3);
    let source = source_of(&journal_dir, &dir.path().join("rows.sqlite"));
    catch_up(&source);
    // The accounts are compared first.
    change(&source.path, "UPDATE accounts SET open_orders = open_orders + 1 WHERE account_id = 1");
    Connection::open(&source.path).expect("opens").execute_batch("ALTER TABLE events RENAME TO away").expect("renamed");
    let failed = Monitor::open(&source, u64::MAX).expect("opens").look().expect_err("a table is away");
    let found: Vec<String> = failed.look.findings.iter().map(ToString::to_string).collect();
    assert!(!found.is_empty() && found.iter().all(|what| what == "accounts, account_id 1: it differs"), "{found:?}");
    let (heal, stop) = (Arc::new(Heal::elsewhere()), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let _ends = Ends(&stop);
        scope.spawn(|| watch(&source, Duration::from_millis(2), &heal, &stop));
        let report = report_when(&source, "found, and failed", &|report| report.is_stale && report.error.is_some());
        let ((found, _), (error, _)) = (report.last.expect("found"), report.error.expect("failed"));
        assert_eq!(found, "accounts, account_id 1: it differs");
        assert!(error.contains("no such table: events"), "{error}");
    });
}

#[test]
fn rows_of_other_rules_are_no_damage_and_where_nobody_here_makes_them_anew_the_report_says_what_to_do() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal_dir = dir.path().join("journal");
    let mut journal = Journal::open(&journal_dir);
    for group in events_of(3) {
        journal.pass(3_600_000_000_000);
        journal.group(&group.iter().map(archive).collect::<Vec<_>>());
    }
    journal.seal();
    let source = source_of(&journal_dir, &dir.path().join("rows.sqlite"));
    let (heal, stop) = (Arc::new(Heal::elsewhere()), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let _ends = Ends(&stop);
        scope.spawn(|| watch(&source, Duration::from_millis(2), &heal, &stop));
        let says = |words: &'static str| {
            let is_so = move |report: &Report| report.error.as_ref().is_some_and(|(error, _)| error.contains(words));
            report_when(&source, words, &is_so)
        };
        says("no read model is there: set projection.sqlite");
        let made = Source { keep_days: 1, ..source.clone() };
        catch_up(&made);
        let rows = dump(&source.path);
        let failed = Monitor::open(&source, u64::MAX).expect("opens").look().expect_err("other rules");
        assert_eq!(failed.look.findings, [], "rows have left that would stay here");
        let report = says("and days 1 made its rows, and this gateway has rules");
        let (error, _) = report.error.clone().expect("an error");
        assert!(error.ends_with("days 0; run `tradecore projection rebuild`"), "{error}");
        assert!(!report.is_stale && report.found == 0 && dump(&source.path) == rows, "{report:?}");
        rebuild(&source, &mut |_, _| true).expect("made anew");
        let after = report_when(&source, "it compares", &|report| report.error.is_none() && report.rows > 0);
        assert_eq!(after.last, None);
    });
}

#[test]
fn what_was_found_is_known_over_a_restart_and_one_whole_round_of_a_monitor_that_began_anew_takes_it_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let (journal_dir, _) = write_history(dir.path(), 3);
    let source = source_of(&journal_dir, &dir.path().join("rows.sqlite"));
    catch_up(&source);
    let set_stream = |stream| change(&source.path, &format!("UPDATE projection_positions SET stream = '{stream}'"));
    let known = |stop: &AtomicBool| {
        let heal = Arc::new(Heal::elsewhere());
        std::thread::scope(|scope| {
            let _ends = Ends(stop);
            scope.spawn(|| watch(&source, Duration::from_millis(2), &heal, stop));
            report_when(&source, "some rounds", &|report| report.rounds > 2 && !report.is_stale);
            change(&source.path, "UPDATE accounts SET open_orders = open_orders + 1 WHERE account_id = 1");
            report_when(&source, "it is found", &|report| report.is_stale && report.clear_rounds > 4);
            set_stream("theirs");
            let is_anew = |report: &Report| report.error.is_some() && report.clear_rounds == 1 && report.rounds == 0;
            let report = report_when(&source, "it begins anew", &is_anew);
            assert!(report.is_stale, "nothing was looked at since: {report:?}");
            report
        })
    };
    let before = known(&AtomicBool::new(false));
    let (heal, stop) = (Arc::new(Heal::default()), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let _ends = Ends(&stop);
        scope.spawn(|| watch(&source, Duration::from_millis(2), &heal, &stop));
        let is_new = |report: &Report| report.error.is_some() && report.checked_ns == 0;
        let after = report_when(&source, "it cannot look", &is_new);
        assert_eq!((after.is_stale, after.found, &after.last), (true, before.found, &before.last));
        assert_eq!((after.rows, after.checked_seq, after.rounds), (0, 0, 0), "of before the start");
        assert!(heal.has_failed(), "nobody has made it anew");
        // Mended meanwhile, by whomever.
        change(&source.path, "UPDATE accounts SET open_orders = open_orders - 1, is_stale = 0 WHERE account_id = 1");
        set_stream("1-virtual");
        let right = report_when(&source, "a round has found nothing", &|report| !report.is_stale);
        assert!(right.rounds >= 1 && right.found == before.found, "{right:?}");
    });
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
        let wait_until = |what: &str, is_so: &dyn Fn(&Report) -> bool| report_when(&source, what, is_so);
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
        let report = || report_of(&source);
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
