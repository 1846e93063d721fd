//! The read side: tables are what a fold of the journal gives, over long random histories, whatever happens in between.
#![allow(clippy::arithmetic_side_effects, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "projections/cache.rs"]
mod cache;
#[path = "projections/daily.rs"]
mod daily;
#[path = "../src/domain/tests/histories/history.rs"]
mod history;
#[path = "projections/host.rs"]
mod host;
#[path = "projections/limits.rs"]
mod limits_of_risk;
#[path = "projections/monitor.rs"]
mod monitor;
#[path = "projections/partial.rs"]
mod partial;
#[path = "projections/removal.rs"]
mod removal;
#[path = "projections/rights.rs"]
mod rights;
#[path = "projections/sagas.rs"]
mod sagas;
#[path = "projections/shown.rs"]
mod shown;
#[path = "projections/support.rs"]
mod support;
#[path = "projections/taken.rs"]
mod taken;
#[path = "projections/viewers.rs"]
mod viewers;

use history::{LONG, history, limits};
use rusqlite::Connection;
use support::{Journal, archive, assert_rows_are_those_of, catch_up, dump, source_of, write_history};
use tradecore::projections::ask::Question;
use tradecore::projections::fold::{Entry, fold};
use tradecore::projections::queries;
use tradecore::projections::rights::Rights;
use tradecore::projections::rows::Rows;
use tradecore::projections::store::{Care, Store, WriterLock};
use tradecore::projections::{Mismatch, ProjectionError, Projector, rebuild, verify};
use tradecore_domain::State;
use tradecore_domain::event::{AccountDefined, Event, KillSwitchChanged, Meta};

#[test]
fn rows_are_those_of_the_domain_after_every_group_of_long_random_histories() {
    for seed in (1..=6).chain([LONG]) {
        let (mut rows, mut seq) = (Rows::default(), 0);
        let mut listener = |live: &State, events: &[Event]| {
            for event in events {
                seq += 1;
                let (kind, version) = event.kind();
                let entry = Entry { seq, ts_ns: seq, kind, version, payload: &[] };
                fold(&mut rows, &entry, Ok(event));
            }
            assert_rows_are_those_of(live, &rows, seed);
        };
        history(seed, &mut listener);
        assert!(rows.parked.is_empty(), "seed {seed}: {:?}", rows.parked);
    }
}

#[test]
fn tables_are_those_of_the_domain_and_the_same_however_often_the_projector_is_killed_between_two_batches() {
    for seed in [3, LONG] {
        let dir = tempfile::tempdir().expect("a directory");
        let (journal_dir, state) = write_history(dir.path(), seed);
        let whole = source_of(&journal_dir, &dir.path().join("whole.sqlite"));
        catch_up(&whole);
        let (mut store, position) = Store::open(&whole, Care::Live).expect("opens");
        let mut rows = store.rows().expect("reads");
        let connection = Connection::open(&whole.path).expect("opens");
        let mut ids = connection.prepare("SELECT order_id FROM orders").expect("a table");
        let ids: Vec<i64> = ids.query_map([], |row| row.get(0)).expect("rows").map(|id| id.expect("an id")).collect();
        for id in ids {
            rows.orders.load(id as u64, store.order(id as u64).expect("reads").expect("there"));
        }
        assert_rows_are_those_of(&state, &rows, seed);
        assert!(position.seq > 1000, "seed {seed}: {position:?}");
        // One batch a life.
        let killed = source_of(&journal_dir, &dir.path().join("killed.sqlite"));
        let mut lives = 0;
        loop {
            let mut projector = Projector::open(&killed, Care::Live).expect("opens").expect("goes on");
            lives += 1;
            let to_seq = projector.position().seq + 97;
            if projector.step(to_seq).expect("a batch") == 0 {
                break;
            }
        }
        assert!(lives > 10, "seed {seed}: {lives} lives");
        assert_eq!(dump(&whole.path), dump(&killed.path), "seed {seed}");
        catch_up(&killed);
        assert_eq!(dump(&whole.path), dump(&killed.path), "seed {seed}: nothing is taken in twice");
    }
}

#[test]
fn a_journal_that_was_cut_below_the_position_is_found_and_the_rows_are_made_anew() {
    let dir = tempfile::tempdir().expect("a directory");
    let events = support::events_of(5);
    let (long, short) = (dir.path().join("long"), dir.path().join("short"));
    support::write(&long, &events);
    support::write(&short, &events[..events.len() / 2]);
    let path = dir.path().join("rows.sqlite");
    catch_up(&source_of(&long, &path));
    let position_seq = events.iter().map(Vec::len).sum::<usize>() as u64;
    let journal_seq = events[..events.len() / 2].iter().map(Vec::len).sum::<usize>() as u64;
    let source = source_of(&short, &path);
    let mismatch = Projector::open(&source, Care::Live).expect("opens").expect_err("cut");
    assert_eq!(mismatch, Mismatch::Cut { position_seq, journal_seq });
    // As the daemon and `catch-up` do it.
    let projector = tradecore::projections::open(&source, &mut |_, _| true).expect("made anew");
    assert_eq!(projector.position().seq, journal_seq);
    drop(projector);
    let expected = source_of(&short, &dir.path().join("expected.sqlite"));
    catch_up(&expected);
    assert_eq!(dump(&path), dump(&expected.path));
    // The numbers go on with other events.
    let mut other = events[..events.len() / 2 - 1].to_vec();
    other.extend(vec![vec![events[events.len() / 2 - 1][0]]; events.len()]);
    let longer = dir.path().join("other");
    support::write(&longer, &other);
    let mismatch = Projector::open(&source_of(&longer, &path), Care::Live).expect("opens").expect_err("another");
    assert_eq!(mismatch, Mismatch::Other { position_seq: journal_seq });
}

#[test]
fn a_second_writer_is_refused_and_one_that_has_lost_the_race_writes_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let (journal_dir, _) = write_history(dir.path(), 2);
    let source = source_of(&journal_dir, &dir.path().join("rows.sqlite"));
    let lock = WriterLock::take(&source.path).expect("free");
    let refused = WriterLock::take(&source.path).expect_err("held");
    assert!(matches!(refused, ProjectionError::Locked { ref pid, .. } if *pid == std::process::id().to_string()));
    drop(lock);
    // Two that do not know of each other, as on a file system without locks.
    let open = || Projector::open(&source, Care::Live).expect("opens").expect("goes on");
    let (mut first, mut second) = (open(), open());
    assert!(first.step(50).expect("a batch") >= 50);
    let found = first.position().seq;
    let before = dump(&source.path);
    match second.step(100) {
        Err(ProjectionError::Moved { expected: 0, found: now, .. }) => assert_eq!(now, found),
        other => panic!("{other:?}"),
    }
    assert_eq!(dump(&source.path), before, "its transaction was taken back");
    assert!(first.step(100).expect("the first goes on") > 0);
}

#[test]
fn what_does_not_fit_parks_its_account_and_the_rest_goes_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut events = support::events_of(4);
    let too_much = AccountDefined {
        meta: Meta { account_id: 1, ..Meta::default() },
        initial_cash: i128::MAX,
        currency: *b"USDT\0\0\0\0",
        ..AccountDefined::default()
    };
    let at = events.len() / 2;
    let kill = KillSwitchChanged { meta: too_much.meta, engaged: 1, ..KillSwitchChanged::default() };
    events.splice(at..at, [vec![Event::KillSwitchChanged(kill)], vec![Event::AccountDefined(too_much)]]);
    let bad_seq = events[..=at].iter().map(Vec::len).sum::<usize>() as u64 + 1;
    let journal_dir = dir.path().join("journal");
    support::write(&journal_dir, &events);
    let source = source_of(&journal_dir, &dir.path().join("rows.sqlite"));
    catch_up(&source);
    let connection = Connection::open(&source.path).expect("opens");
    let one = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).expect(sql) as u64;
    let error: String = connection
        .query_row("SELECT error FROM parked_records ORDER BY seq LIMIT 1", [], |row| row.get(0))
        .expect("a parked record");
    assert!(error.starts_with("initial_cash = 170141183460469231731687303715884105727"), "{error}");
    assert_eq!(one("SELECT min(seq) FROM parked_records"), bad_seq);
    assert!(
        one(
            "SELECT count(*) FROM parked_records WHERE error = 'behind event ' || (SELECT min(seq) FROM parked_records)"
        ) > 10
    );
    assert_eq!(one("SELECT count(*) FROM parked_records WHERE (aggregate, aggregate_id) <> (4, 1)"), 0);
    assert_eq!(one("SELECT sum(is_stale) FROM accounts"), 1);
    assert_eq!(one("SELECT is_stale FROM balances WHERE account_id = 1"), 1);
    assert_eq!(one("SELECT is_stale FROM kill_switches WHERE account_id = 1"), 1);
    assert!(one("SELECT updated_seq FROM accounts WHERE account_id = 1") < bad_seq, "its row is as it was");
    assert!(one("SELECT updated_seq FROM accounts WHERE account_id = 2") > bad_seq, "the other goes on");
    assert!(one("SELECT max(updated_seq) FROM orders WHERE account_id = 1") > bad_seq, "its orders go on");
    assert_eq!(one("SELECT seq FROM projection_positions"), one("SELECT max(seq) FROM events"));
    // After a restart it is still parked.
    let again = Projector::open(&source, Care::Live).expect("opens").expect("goes on");
    assert_eq!(again.position().seq, one("SELECT max(seq) FROM events"));
}

#[test]
fn an_event_of_a_newer_release_is_parked_and_taken_by_a_release_that_knows_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let events = support::events_of(4);
    let journal_dir = dir.path().join("journal");
    let mut journal = Journal::open(&journal_dir);
    for group in &events[..20] {
        journal.group(&group.iter().map(archive).collect::<Vec<_>>());
    }
    journal.group(&[(4000, 1, vec![0_u128; 4])]);
    for group in &events[20..40] {
        journal.group(&group.iter().map(archive).collect::<Vec<_>>());
    }
    journal.seal();
    let source = source_of(&journal_dir, &dir.path().join("rows.sqlite"));
    catch_up(&source);
    let connection = Connection::open(&source.path).expect("opens");
    let (seq, aggregate, id): (u64, u16, u64) = connection
        .query_row("SELECT seq, aggregate, aggregate_id FROM parked_records", [], |row| {
            Ok((row.get::<_, i64>(0)? as u64, row.get(1)?, row.get::<_, i64>(2)? as u64))
        })
        .expect("one");
    assert_eq!((seq, aggregate, id), (events[..20].iter().map(Vec::len).sum::<usize>() as u64 + 1, 8, 4000));
    // Whose it is cannot be known: every answer says that its rows may lack something, and the log lacks nothing.
    let mut store = Store::open_to_read(&source).expect("opens");
    for query in queries::ALL {
        let question = Question { table: query.table, conditions: Vec::new(), limit: 1 };
        let said: Vec<String> = question
            .ask(&Rights::all(), &mut store)
            .expect("answered")
            .unread
            .iter()
            .map(ToString::to_string)
            .collect();
        let expected = format!("1 event of type 4000, from event {seq} on, is in no row: this release cannot read it");
        assert_eq!(said, if query.name == "events" { vec![] } else { vec![expected] }, "{}", query.name);
    }
    drop(store);
    // To this release the record that it can read now stands for one that it could not: it makes the rows anew.
    connection.execute("UPDATE parked_records SET seq = 1, aggregate_id = 64", []).expect("written");
    let mismatch = Projector::open(&source, Care::Live).expect("opens").expect_err("it can be taken");
    assert_eq!(mismatch, Mismatch::Parked { seq: 1 });
    drop(tradecore::projections::open(&source, &mut |_, _| true).expect("made anew"));
    let parked: i64 = Connection::open(&source.path)
        .expect("opens")
        .query_row("SELECT seq FROM parked_records", [], |row| row.get(0))
        .expect("one");
    assert_eq!(parked as u64, seq, "the row that was wrong is right again");
}

#[test]
fn a_verify_finds_a_changed_row_and_a_rebuild_heals_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let (journal_dir, _) = write_history(dir.path(), 6);
    let source = source_of(&journal_dir, &dir.path().join("rows.sqlite"));
    catch_up(&source);
    let good = dump(&source.path);
    let differing = |source| {
        let (_, all) = verify(source, &mut |_, _| true).expect("compares");
        all.into_iter().filter(|table| table.there != table.folded).collect::<Vec<_>>()
    };
    assert_eq!(differing(&source), []);
    let connection = Connection::open(&source.path).expect("opens");
    connection.execute_batch("UPDATE balances SET cash_frac = cash_frac + 1 WHERE account_id = 2").expect("written");
    drop(connection);
    let found = differing(&source);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].table, found[0].first_difference.as_deref()), ("balances", Some("account_id 2")));
    assert_eq!(found[0].there.0, found[0].folded.0);
    let connection = Connection::open(&source.path).expect("opens");
    let missing: i64 = connection
        .query_row("SELECT order_id FROM orders ORDER BY order_id LIMIT 1 OFFSET 1", [], |row| row.get(0))
        .expect("two orders");
    let sql = format!(
        "UPDATE balances SET cash_frac = cash_frac - 1 WHERE account_id = 2; DELETE FROM orders WHERE order_id = {missing}"
    );
    connection.execute_batch(&sql).expect("written");
    drop(connection);
    let found = differing(&source);
    let first = found.iter().map(|table| (table.table, table.first_difference.clone().unwrap_or_default()));
    assert_eq!(first.collect::<Vec<_>>(), [("orders", format!("order_id {missing}"))], "the row that is not there");
    let mut told = Vec::new();
    let rebuilt = rebuild(&source, &mut |seq, end_seq| {
        told.push((seq, end_seq));
        true
    })
    .expect("made anew");
    assert_eq!(rebuilt.differing.expect("compared").len(), 1);
    assert_eq!(told.last().map(|(seq, _)| *seq), Some(rebuilt.seq));
    assert_eq!(dump(&source.path), good);
    assert_eq!(differing(&source), []);
    // One that is stopped leaves what there is.
    assert!(matches!(rebuild(&source, &mut |_, _| false), Err(ProjectionError::Stopped)));
    assert_eq!(dump(&source.path), good);
    let left: Vec<String> = std::fs::read_dir(dir.path())
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .filter(|name| name.contains("rebuild") || name.contains("verify"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_database_that_is_not_ours_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().expect("a directory");
    let (journal_dir, _) = write_history(dir.path(), 1);
    let source = source_of(&journal_dir, &dir.path().join("rows.sqlite"));
    let refused = |source| Projector::open(source, Care::Live).expect_err("refused").to_string();
    let foreign = Connection::open(&source.path).expect("opens");
    foreign.execute_batch("CREATE TABLE theirs (id INTEGER)").expect("made");
    drop(foreign);
    assert!(refused(&source).contains("of another program"));
    std::fs::remove_file(&source.path).expect("removed");
    catch_up(&source);
    let other = tradecore::projections::Source { stream: "2-live".to_owned(), ..source.clone() };
    assert!(refused(&other).contains("holds the rows of 1-virtual, and the configuration is of 2-live"));
    let ours = Connection::open(&source.path).expect("opens");
    ours.execute_batch("PRAGMA user_version = 99").expect("set");
    let number = tradecore::projections::schema::number();
    assert!(refused(&source).contains(&format!("its schema is number 99, and this release knows up to {number}")));
    ours.execute_batch("PRAGMA user_version = 0").expect("set");
    assert!(refused(&source).contains(&format!("its schema is number 0, and this release has {number}")));
    drop(ours);
    std::fs::write(
        &source.path,
        "no database at all, and longer than a header would be: more than a hundred bytes of it, so that it is read",
    )
    .expect("written");
    assert!(refused(&source).contains("file is not a database"));
    // Nor is it replaced: it may be a key.
    let rebuilt = |source| rebuild(source, &mut |_, _| true).expect_err("refused");
    let kept = std::fs::read(&source.path).expect("there");
    assert!(matches!(rebuilt(&source), ProjectionError::NoDatabase { .. }));
    assert_eq!(std::fs::read(&source.path).expect("there"), kept);
    let in_the_way = tradecore::projections::Source { path: dir.path().to_owned(), ..source.clone() };
    assert!(matches!(rebuilt(&in_the_way), ProjectionError::NoDatabase { .. }));
}

#[test]
fn the_views_show_decimals_names_and_numbers_as_people_read_them() {
    let dir = tempfile::tempdir().expect("a directory");
    let (journal_dir, state) = write_history(dir.path(), 3);
    let source = source_of(&journal_dir, &dir.path().join("rows.sqlite"));
    catch_up(&source);
    let connection = Connection::open(&source.path).expect("opens");
    let mut rows = connection.prepare("SELECT account_id, cash, currency FROM balances_view").expect("a view");
    let shown: Vec<(u32, String)> = rows
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .expect("rows")
        .map(|row| row.expect("a row"))
        .collect();
    for (account_id, account) in state.accounts() {
        let decimal = rust_decimal::Decimal::from_i128_with_scale(account.cash, 18).normalize();
        assert!(shown.contains(&(account_id.0, decimal.to_string())), "{shown:?}: {decimal}");
    }
    // What lies between -1 and 0 has its sign, and a number of 64 bits none.
    connection
        .execute_batch(
            "UPDATE balances SET cash = -1, cash_frac = 500000000000000000 WHERE account_id = 1;
             UPDATE balances SET cash = -7, cash_frac = 0 WHERE account_id = 2;
             UPDATE orders SET px = -250000000, cl_ord_id = -1 WHERE order_id = (SELECT min(order_id) FROM orders)",
        )
        .expect("written");
    let text = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, String>(0)).expect(sql);
    assert_eq!(text("SELECT cash FROM balances_view WHERE account_id = 1"), "-0.5");
    assert_eq!(text("SELECT cash FROM balances_view WHERE account_id = 2"), "-7");
    let order = "FROM orders_view ORDER BY accepted_seq LIMIT 1";
    assert_eq!(text(&format!("SELECT px {order}")), "-0.25");
    assert_eq!(text(&format!("SELECT cl_ord_id {order}")), u64::MAX.to_string());
    assert!(["Buy", "Sell"].contains(&text(&format!("SELECT side {order}")).as_str()));
    assert_eq!(limits(3).accounts_max, 2);
}

mod commands {
    use std::io::{BufRead as _, BufReader};
    use std::process::Stdio;

    use serde_json::Value;

    use super::host::{Gateway, command, configured, refused, run, said};
    use super::support::{Journal, archive, events_of, source_of, write};
    use super::{Care, Projector};

    fn json(text: &str) -> Vec<Value> {
        text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }

    #[test]
    fn a_question_is_asked_again_and_again_and_told_when_its_answer_has_changed_until_a_signal_ends_it() {
        let dir = configured("");
        let journal_dir = dir.path().join("data/journal");
        write(&journal_dir, &events_of(3));
        let source = source_of(&journal_dir, &dir.path().join("data/read-model.sqlite"));
        let mut projector = Projector::open(&source, Care::Live).expect("opens").expect("goes on");
        projector.step(500).expect("a batch");
        let mut asks = command(dir.path(), "query orders --json --watch");
        let mut watch = Gateway(asks.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts"));
        let mut errors = BufReader::new(watch.0.stderr.take().expect("piped")).lines();
        let mut lines = BufReader::new(watch.0.stdout.take().expect("piped")).lines();
        let mut next = || json(&lines.next().expect("it goes on").expect("readable")).remove(0);
        for _ in 0..2 {
            // What a command says that asks once.
            let asked = json(&said(dir.path(), "query orders --json"));
            let (end, rows) = asked.split_last().expect("an end");
            let told = next();
            assert_eq!((&told["type"], &told["as_of_seq"]), (&"QueryAnswer".into(), &end["as_of_seq"]));
            assert_eq!(told["rows"].as_array().expect("rows"), rows);
            assert!(projector.step(projector.position().seq + 300).expect("a batch") > 0);
        }
        let away = dir.path().join("away");
        std::fs::rename(&source.path, &away).expect("moved");
        let error = errors.next().expect("it goes on").expect("readable");
        assert!(error.contains("it is asked again"), "{error}");
        std::fs::rename(&away, &source.path).expect("moved back");
        assert!(projector.step(projector.position().seq + 300).expect("a batch") > 0);
        let position_seq = projector.position().seq.to_string();
        while next()["as_of_seq"] != position_seq.as_str() {}
        rustix::process::kill_process(rustix::process::Pid::from_child(&watch.0), rustix::process::Signal::TERM)
            .expect("sent");
        assert!(watch.0.wait().expect("ended").success(), "a signal is a clean end");
        let (code, error) = refused(dir.path(), "query orders --csv --watch 5");
        assert!(code == 64 && error.contains("--csv"), "{code}: {error}");
    }

    #[test]
    fn the_tables_are_caught_up_asked_verified_and_made_anew_without_the_gateway() {
        let dir = configured("");
        let groups = events_of(3);
        let events: u64 = groups.iter().map(Vec::len).sum::<usize>() as u64;
        let (code, error) = refused(dir.path(), "projection status");
        assert!(code == 69 && error.contains("no journal in"), "{code}: {error}");
        write(&dir.path().join("data/journal"), &groups);
        let (code, error) = refused(dir.path(), "query orders");
        assert!(code == 69 && error.contains("run `tradecore projection catch-up`"), "{code}: {error}");
        let caught_up = json(&said(dir.path(), "projection catch-up --json"));
        assert_eq!(
            (&caught_up[0]["seq"], &caught_up[0]["events"]),
            (&events.to_string().into(), &events.to_string().into())
        );
        assert!(said(dir.path(), "projection catch-up").starts_with("0 events taken in"));
        let status = json(&said(dir.path(), "projection status --json"));
        assert_eq!((&status[0]["lag_events"], &status[0]["stream"]), (&"0".into(), &"1-virtual".into()));
        assert!(said(dir.path(), "projection status").contains("nothing is parked"));

        let all = json(&said(dir.path(), "query orders --json --limit 100000"));
        let open = json(&said(dir.path(), "query orders --json --open --account 1"));
        let (end, rows) = all.split_last().expect("an end");
        assert_eq!((&end["type"], &end["as_of_seq"]), (&"QueryEnd".into(), &events.to_string().into()));
        let expected: Vec<&Value> =
            rows.iter().filter(|row| row["is_open"] == true && row["account_id"] == 1).collect();
        assert_eq!(open.split_last().expect("an end").1.iter().collect::<Vec<_>>(), expected);
        assert!(rows.len() > 100 && !expected.is_empty());
        assert!(rows.iter().all(|row| row["order_id"].is_string() && row["order_qty"].is_string()));
        // The newest, oldest first.
        let newest = json(&said(dir.path(), "query orders --json --limit 3"));
        assert_eq!((&newest[..3], &newest[3]["is_cut"]), (&rows[rows.len() - 3..], &Value::Bool(true)));
        let table = said(dir.path(), "query orders --limit 3 --instrument BTCUSDT");
        assert!(table.contains("BTCUSDT") && table.contains(&format!("as of event {events}, ")), "{table}");
        assert!(table.contains("there are older ones: raise --limit"), "{table}");
        for question in ["positions", "accounts", "sessions", "risk-limits"] {
            let table = said(dir.path(), &format!("query {question} --limit 1"));
            assert!(table.contains("; there are more: raise --limit"), "{table}");
        }
        let csv = said(dir.path(), "query fills --csv --limit 5");
        assert_eq!(csv.lines().count(), 6);
        assert!(csv.starts_with("seq,ts_ns,exec_id,order_id,"), "{csv}");
        for words in [
            "query positions",
            "query positions-history",
            "query daily-pnl",
            "query order-history",
            "query accounts",
            "query balances",
            "query instruments",
            "query sessions",
            "query connections",
            "query core",
            "query risk-events",
            "query kill-switches",
            "query mass-cancels",
            "query sagas --history",
            "query saga-steps",
            "query events",
        ] {
            let rows = json(&said(dir.path(), &format!("{words} --json")));
            assert!(rows.len() > 1, "{words}");
            assert!(said(dir.path(), words).lines().count() > 2, "{words}");
        }
        let log = json(&said(dir.path(), "query events --from 2 --to 2 --json"));
        assert_eq!(log[0]["fields"]["symbol"], "BTCUSDT");
        let (code, error) = refused(dir.path(), "query orders --instrument DOGE");
        assert!(code == 64 && error.contains("there is no instrument \"DOGE\"; allowed: BTCUSDT"), "{code}: {error}");
        let (code, error) = refused(dir.path(), &format!("query orders --at-least-seq {} --wait-ms 20", events + 1));
        assert!(code == 97 && error.contains(&format!("know events up to {events}")), "{code}: {error}");

        // An order that was filled has come a long way.
        let fill = json(&said(dir.path(), "query fills --json --limit 1"));
        let order_id = fill[0]["order_id"].as_str().expect("an id");
        let trace = said(dir.path(), &format!("trace {order_id}"));
        for hop in [
            "frame    session=",
            "decision event ",
            "segment ",
            "byte ",
            "report   session=",
            "broker   broker_seq=",
            "rows     orders: ",
        ] {
            assert!(trace.contains(hop), "{hop}: {trace}");
        }
        assert!(trace.starts_with(&format!("order {order_id}, at the broker V0001-")), "{trace}");
        assert!(json(&said(dir.path(), &format!("trace {order_id} --json"))).len() > 4);
        assert_eq!(refused(dir.path(), "trace 5").0, 69);

        assert!(said(dir.path(), "projection verify").contains("ok: as a fold of the journal"));
        let path = dir.path().join("data/read-model.sqlite");
        let connection = rusqlite::Connection::open(&path).expect("opens");
        connection.execute_batch("DELETE FROM fills WHERE seq = (SELECT max(seq) FROM fills)").expect("written");
        drop(connection);
        let (code, error) = refused(dir.path(), "projection verify");
        assert!(code == 96 && error.contains("fills as of event"), "{code}: {error}");
        assert!(said(dir.path(), "projection rebuild").contains("these tables differed:"));
        assert!(said(dir.path(), "projection rebuild").contains("every row was as it is now"));
        assert!(said(dir.path(), "projection verify --json").contains("\"ok\":true"));
        let connection = rusqlite::Connection::open(&path).expect("opens");
        connection.execute_batch("UPDATE events SET session_id = 77 WHERE seq IN (2, 500)").expect("written");
        drop(connection);
        let (code, error) = refused(dir.path(), "projection rebuild --from 400");
        assert!(code == 96 && error.contains("events: rows before those differ still"), "{code}: {error}");
        assert!(said(dir.path(), "projection rebuild --from 2").contains("these tables differed:"));
        assert!(said(dir.path(), "projection verify --json").contains("\"ok\":true"));
        let (code, error) = refused(dir.path(), "projection rebuild --from 99999999");
        assert!(code == 64 && error.contains("is the last one that is durable"), "{code}: {error}");
        let (code, error) = refused(dir.path(), "projection rebuild --since 2100-01-01T00:00:00Z");
        assert!(code == 64 && error.contains(&format!("event {events}, 2023-11-14T")), "{code}: {error}");
        let _held = tradecore::projections::store::WriterLock::take(&path).expect("free");
        let (code, error) = refused(dir.path(), "projection rebuild");
        assert!(code == 95 && error.contains("writes this read model"), "{code}: {error}");
    }

    #[test]
    fn a_projector_that_is_killed_while_it_writes_goes_on_to_the_same_rows() {
        let dir = configured("");
        let journal_dir = dir.path().join("data/journal");
        // The same again and again: no core would write it, and rows of it there are.
        let groups = events_of(super::LONG);
        write(&journal_dir, &groups.iter().cycle().take(groups.len() * 8).cloned().collect::<Vec<_>>());
        let path = dir.path().join("data/read-model.sqlite");
        let (mut killed, mut stages) = (0, std::collections::BTreeSet::new());
        for life in 1..=40_u64 {
            let mut child =
                Gateway(command(dir.path(), "projection catch-up").stdout(Stdio::null()).spawn().expect("runs"));
            // Its log has grown so far in this life: less than a batch, or some.
            let log = dir.path().join("data/read-model.sqlite-wal");
            let bytes = || std::fs::metadata(&log).map_or(0, |metadata| metadata.len());
            let until = bytes() + life * 160_000;
            while bytes() < until && child.0.try_wait().expect("asked").is_none() {
                std::thread::yield_now();
            }
            killed += u32::from(child.0.try_wait().expect("asked").is_none());
            drop(child);
            if path.exists() {
                let connection = rusqlite::Connection::open(&path).expect("opens");
                let seq = connection.query_row("SELECT seq FROM projection_positions", [], |row| row.get::<_, i64>(0));
                let last =
                    connection.query_row("SELECT coalesce(max(seq), 0) FROM events", [], |row| row.get::<_, i64>(0));
                // Killed before the tables were made, it has none.
                if let (Ok(seq), Ok(last)) = (seq, last) {
                    assert_eq!(seq, last, "life {life}: position and rows are of one transaction");
                    stages.insert(seq);
                }
            }
        }
        assert!(killed > 3 && stages.len() > 3, "killed {killed} times at {stages:?}");
        said(dir.path(), "projection catch-up");
        let of_days = super::source_of(&journal_dir, &dir.path().join("whole.sqlite"));
        let whole = tradecore::projections::Source { keep_days: 90, ..of_days };
        super::catch_up(&whole);
        let (one_life, many) = (super::dump(&whole.path), super::dump(&path));
        let differs = one_life.iter().zip(&many).find(|(one, other)| one != other);
        assert_eq!((differs, one_life.len()), (None, many.len()), "the rows of one life");
    }

    #[test]
    fn what_is_journaled_after_the_tables_were_made_is_told_as_lag() {
        let dir = configured("");
        let groups = events_of(3);
        let journal_dir = dir.path().join("data/journal");
        write(&journal_dir, &groups[..50]);
        said(dir.path(), "projection catch-up");
        let mut journal = Journal::open(&journal_dir);
        journal.group(&groups[50].iter().map(archive).collect::<Vec<_>>());
        journal.seal();
        let status = json(&said(dir.path(), "projection status --json"));
        assert_eq!(status[0]["lag_events"], groups[50].len().to_string());
        assert!(said(dir.path(), "projection status").contains("events behind: event"));
    }

    #[test]
    fn the_tables_follow_a_gateway_and_answer_with_what_a_report_has_told() {
        let dir = configured("[projection]\nsqlite = \"tables/rows.sqlite\"\n");
        let mut gateway = Gateway(command(dir.path(), "run").stdout(Stdio::null()).spawn().expect("runs"));
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        // The session is in no row before the gateway listens.
        let ask = "kill on --session 1 --account 1 --json";
        let said_by_gateway = loop {
            let output = run(dir.path(), ask);
            if output.status.success() {
                break String::from_utf8(output.stdout).expect("text");
            }
            assert!(std::time::Instant::now() < deadline, "{}", String::from_utf8_lossy(&output.stdout));
            std::thread::yield_now();
        };
        let journal_seq = json(&said_by_gateway)
            .iter()
            .filter_map(|line| line["journal_seq"].as_str().or(line["as_of_seq"].as_str())?.parse::<u64>().ok())
            .max()
            .unwrap_or(1);
        let killed = json(&said(
            dir.path(),
            &format!("query kill-switches --json --at-least-seq {journal_seq} --wait-ms 20000"),
        ));
        assert_eq!(
            (&killed[0]["account_id"], &killed[0]["is_engaged"]),
            (&1.into(), &true.into()),
            "{said_by_gateway}"
        );
        // It is the one writer.
        let (code, error) = refused(dir.path(), "projection catch-up");
        assert!(code == 95 && error.contains(&format!("process {}", gateway.0.id())), "{code}: {error}");
        gateway.0.kill().expect("killed");
        gateway.0.wait().expect("ended");
        assert!(said(dir.path(), "projection catch-up").contains("events taken in"));
        assert!(said(dir.path(), "projection verify").contains("ok: as a fold of the journal"));
    }
}
