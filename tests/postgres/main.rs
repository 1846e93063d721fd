//! The tables on a real PostgreSQL server: what a fold of the journal gives, whatever happens to server and connection.
//!
//! `TRADECORE_TEST_POSTGRES` says where the server is. `TRADECORE_TEST_POSTGRES_KILLS` says how often the server
//! is killed in mid-commit, and each other way to lose one is taken.
#![allow(clippy::arithmetic_side_effects, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod commands;
#[cfg(feature = "root-tests")]
mod crammed;
#[path = "../../src/domain/tests/histories/history.rs"]
mod history;
#[path = "../projections/host.rs"]
mod host;
mod monitored;
mod proxy;
mod refusals;
mod server;
mod silent;
#[path = "../projections/support.rs"]
#[allow(dead_code, reason = "some of it is for the tests of SQLite alone")]
mod support;
mod tls;
#[path = "../projections/viewers.rs"]
mod viewers;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use history::LONG;
use proxy::{Cut, Proxy};
use server::{DEADLINE, Postgres};
use support::{Journal, archive, catch_up, events_of, source_of, write_history};
use tradecore::projections::cell::Kind;
use tradecore::projections::monitor::Heal;
use tradecore::projections::removal::{closed_orders, last_of_piece, statements};
use tradecore::projections::store::{Care, Store};
use tradecore::projections::tables::TABLES;
use tradecore::projections::{
    BATCH_EVENTS_MAX, Compared, ProjectionError, Projector, Source, compare, follow, follow_healed, open, verify,
};
use tradecore_domain::event::{AccountDefined, Event, InstrumentDefined, Meta};

fn differing(all: &[Compared]) -> Vec<String> {
    let differs = |one: &&Compared| one.there != one.folded;
    all.iter().filter(differs).map(|one| format!("{}: {:?}", one.table, one.first_difference)).collect()
}

fn assert_is_a_fold(source: &Source, what: &str) -> u64 {
    let (seq, all) = verify(source, &mut |_, _| true).expect("compared");
    assert_eq!(differing(&all), [""; 0], "{what}, as of event {seq}");
    seq
}

#[test]
fn no_role_sees_a_row_of_a_foreign_account_or_session_through_any_question() {
    let postgres = Postgres::get();
    let dir = tempfile::tempdir().expect("a directory");
    let (journal_dir, _) = write_history(dir.path(), LONG);
    let source = postgres.source(&journal_dir, "rights_of_roles");
    catch_up(&source);
    viewers::assert_each_sees_its_own(&source);
}

#[test]
fn tables_on_a_server_are_those_of_a_file_and_its_views_show_the_same_decimals() {
    let postgres = Postgres::get();
    for seed in [2, LONG] {
        let dir = tempfile::tempdir().expect("a directory");
        let mut groups = events_of(seed);
        let meta = |account_id| Meta { account_id, ..Meta::default() };
        // What is as great, as small and as long as columns hold.
        let edge = |account_id, initial_cash| {
            let currency = *b"USDT\0\0\0\0";
            let (position_max, meta) = (i64::MAX, meta(account_id));
            Event::AccountDefined(AccountDefined { meta, initial_cash, position_max, currency, ..Default::default() })
        };
        let one = 1_000_000_000_000_000_000_i128;
        groups.push(vec![
            edge(7001, i128::from(i64::MAX) * one + one - 1),
            edge(7002, i128::from(i64::MIN) * one + 1),
            edge(7003, -1),
            Event::InstrumentDefined(InstrumentDefined { instrument_id: 7001, tick_size: 1, ..Default::default() }),
        ]);
        let journal_dir = dir.path().join("journal");
        support::write(&journal_dir, &groups);
        let file = source_of(&journal_dir, &dir.path().join("rows.sqlite"));
        let server = postgres.source(&journal_dir, "same");
        catch_up(&file);
        catch_up(&server);
        let (mut one, mut other) =
            (Store::open_to_read(&file).expect("opens"), Store::open_to_read(&server).expect("opens"));
        let all = compare(&mut other, &mut one).expect("compared");
        assert_eq!(differing(&all), [""; 0], "seed {seed}");
        assert!(all.iter().map(|table| table.there.0).sum::<u64>() > 1000, "seed {seed}: {all:?}");
        assert_is_a_fold(&server, "caught up");

        let connection = rusqlite::Connection::open(&file.path).expect("opens");
        let mut client = postgres.client();
        let mut decimals = 0;
        for table in TABLES {
            for column in table.columns {
                let as_text = match column.kind {
                    Kind::Units | Kind::Price | Kind::Amount | Kind::Money | Kind::Id | Kind::Code(_) => column.name,
                    Kind::Count | Kind::Time | Kind::Flag | Kind::Number | Kind::Text | Kind::Bytes => continue,
                };
                let (view, key) = (format!("{}_view", table.name), table.key.join(", "));
                // By the key of the table itself: in the view a number of 64 bits sorts as it is.
                let of = |cast: &str, schema: &str| {
                    format!(
                        "SELECT CAST(v.{as_text} AS {cast}) FROM (SELECT row_number() OVER (ORDER BY {key}) AS n, * FROM \
                         {schema}{}) t JOIN (SELECT row_number() OVER () AS n, * FROM {schema}{view}) v ON v.n = t.n",
                        table.name
                    )
                };
                let mut shown: Vec<Option<String>> =
                    client.query(&of("text", "same."), &[]).expect("a view").iter().map(|row| row.get(0)).collect();
                let mut statement = connection.prepare(&of("text", "")).expect("a view");
                let mut expected: Vec<Option<String>> =
                    statement.query_map([], |row| row.get(0)).expect("rows").map(|row| row.expect("a text")).collect();
                shown.sort();
                expected.sort();
                assert_eq!(shown, expected, "seed {seed}: {view}.{}", column.name);
                decimals += shown.len();
            }
        }
        assert!(decimals > 1000, "seed {seed}: {decimals} values were compared");
        let cash: String = client
            .query_one("SELECT cash::text FROM same.balances_view WHERE account_id = 7002", &[])
            .expect("a row")
            .get(0);
        assert_eq!(cash, "-9223372036854775807.999999999999999999");
        let sum: String = client
            .query_one("SELECT sum(cash)::text FROM same.balances_view WHERE account_id IN (7001, 7002, 7003)", &[])
            .expect("a row")
            .get(0);
        assert_eq!(sum, "-0.000000000000000001");
    }
}

#[test]
fn a_release_with_more_tables_makes_those_on_a_server_and_leaves_the_others_as_they_are() {
    let postgres = Postgres::get();
    let dir = tempfile::tempdir().expect("a directory");
    let (journal_dir, _) = write_history(dir.path(), 3);
    let source = postgres.source(&journal_dir, "grown");
    catch_up(&source);
    let mut client = postgres.client();
    client.batch_execute("SET search_path TO grown").expect("set");
    let mut older = |number: u32| {
        let drop =
            ["daily_pnl", "sagas", "saga_steps"].map(|name| format!("DROP VIEW {name}_view; DROP TABLE {name};"));
        let comment =
            format!("COMMENT ON TABLE projection_positions IS 'tradecore read model, schema {number}, views 0'");
        // A view that an older release shows otherwise.
        let view = "DROP VIEW sessions_view; CREATE VIEW sessions_view AS SELECT session_id FROM sessions";
        let sql = format!("UPDATE sessions SET open_orders = 7; {}{view}; {comment}", drop.concat());
        client.batch_execute(&sql).expect("changed");
    };
    let found = || differing(&verify(&source, &mut |_, _| true).expect("compared").1);
    older(3);
    drop(open(&source, &mut |_, _| true).expect("opens"));
    let changed = found();
    assert!(matches!(changed.as_slice(), [one] if one.starts_with("sessions: ")), "{changed:?}");
    for (view, column) in [("sessions_view", "open_orders"), ("daily_pnl_view", "day_ns")] {
        let sql = format!("SELECT count({column}) FROM grown.{view}");
        let rows: i64 = postgres.client().query_one(&sql, &[]).expect("a view of this release").get(0);
        assert!(rows > 0, "{view}");
    }
    // Then more was changed.
    older(1);
    drop(open(&source, &mut |_, _| true).expect("opens"));
    assert_eq!(found(), [""; 0]);
}

#[test]
fn closed_rows_leave_a_server_as_they_leave_a_file_and_in_no_time_that_grows_with_the_square_of_them() {
    let postgres = Postgres::get();
    let dir = tempfile::tempdir().expect("a directory");
    let journal_dir = dir.path().join("journal");
    let mut journal = Journal::open(&journal_dir);
    for group in events_of(LONG) {
        journal.pass(3_600_000_000_000);
        journal.group(&group.iter().map(archive).collect::<Vec<_>>());
    }
    journal.seal();
    let kept = |source: Source| Source { keep_days: 30, ..source };
    let file = kept(source_of(&journal_dir, &dir.path().join("rows.sqlite")));
    let (server, whole) = (kept(postgres.source(&journal_dir, "kept")), postgres.source(&journal_dir, "whole"));
    [&file, &server, &whole].into_iter().for_each(catch_up);
    let mut client = postgres.client();
    let mut count = |table: &str| -> i64 {
        client.query_one(&format!("SELECT count(*) FROM {table}"), &[]).expect("a number").get(0)
    };
    for table in ["orders", "fills", "order_history", "positions_history", "sagas", "saga_steps", "events"] {
        let (left, all) = (count(&format!("kept.{table}")), count(&format!("whole.{table}")));
        assert!(left > 0 && left < all, "{table}: {left} of {all}");
    }
    let mut stores = [&server, &file].map(|source| Store::open_to_read(source).expect("opens"));
    let [one, other] = &mut stores;
    assert_eq!(differing(&compare(one, other).expect("compared")), [""; 0]);
    assert_is_a_fold(&server, "rows have left");
    // A plan within a plan is carried out once for each row of that around it, unless it fits into memory.
    client.batch_execute("SET search_path TO whole").expect("set");
    let plan_of = |client: &mut postgres::Client, statement: &str| -> Vec<String> {
        let plan = client.query(&format!("EXPLAIN {statement}"), &[]).expect("a plan");
        plan.iter().map(|row| row.get(0)).collect()
    };
    for statement in statements(1_000_000) {
        let plan = plan_of(&mut client, &statement);
        assert!(!plan.iter().any(|line| line.contains("SubPlan")), "{statement}: {plan:#?}");
    }
    // Orders are found by their keys: a server looks through a table that is small, and a large one it must not have to.
    let small = ["seqscan", "bitmapscan", "hashjoin", "mergejoin"].map(|way| format!("SET enable_{way} = off"));
    client.batch_execute(&small.join("; ")).expect("set");
    for statement in [last_of_piece(1, 1_000_000), closed_orders(1, 100_000, 1_000_000)] {
        let plan = plan_of(&mut client, &statement);
        let count = |word| plan.iter().filter(|line| line.contains(word)).count();
        assert!(count("Scan") > 0 && count("Scan") == count("Index Cond: "), "{statement}: {plan:#?}");
    }
}

#[test]
fn who_leaves_its_tables_to_another_host_ends_with_the_batch_that_it_is_at_and_who_stops_takes_in_all() {
    const LOCK: i64 = 7_205_759_403;
    let postgres = Postgres::get();
    let dir = tempfile::tempdir().expect("a directory");
    let journal_dir = dir.path().join("journal");
    let mut journal = Journal::open(&journal_dir);
    let mut last = 0;
    for group in events_of(LONG).into_iter().cycle() {
        if last > 2 * BATCH_EVENTS_MAX {
            break;
        }
        journal.group(&group.iter().map(archive).collect::<Vec<_>>());
        last += group.len() as u64;
    }
    journal.seal();
    for is_left in [true, false] {
        let source = postgres.source(&journal_dir, "leaving");
        drop(Projector::open(&source, Care::Live).expect("opens").expect("goes on"));
        let mut client = postgres.client();
        // The first batch waits until it is known that it is on its way.
        client
            .batch_execute(&format!(
                "CREATE FUNCTION leaving.wait() RETURNS trigger LANGUAGE plpgsql SET lock_timeout = 0 AS
                 $$ BEGIN PERFORM pg_advisory_xact_lock_shared({LOCK}); RETURN NULL; END $$;
                 CREATE TRIGGER wait AFTER INSERT ON leaving.events EXECUTE FUNCTION leaving.wait();
                 SELECT pg_advisory_lock({LOCK})"
            ))
            .expect("a trigger");
        let (heal, stop) = (Arc::new(Heal::default()), Arc::new(AtomicBool::new(false)));
        let (followed, asks, asked) = (source.clone(), Arc::clone(&heal), Arc::clone(&stop));
        let follower = std::thread::spawn(move || follow_healed(&followed, &asks, &asked));
        let until = Instant::now() + DEADLINE;
        let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
        while client.query_one(waiting, &[]).expect("a number").get::<_, i64>(0) == 0 {
            assert!(Instant::now() < until, "nobody writes");
            std::thread::yield_now();
        }
        if is_left {
            heal.leave();
        }
        stop.store(true, Ordering::Release);
        client.batch_execute(&format!("SELECT pg_advisory_unlock({LOCK})")).expect("let go");
        follower.join().expect("no panic");
        let known = seq_of(&source);
        assert!(known > 0 && (known == last) != is_left, "left: {is_left}, {known} of {last}");
    }
}

#[test]
fn a_second_writer_stays_outside_and_one_that_has_lost_the_race_writes_nothing() {
    let postgres = Postgres::get();
    let dir = tempfile::tempdir().expect("a directory");
    let (journal_dir, _) = write_history(dir.path(), 2);
    let source = postgres.source(&journal_dir, "second");
    let mut first = Projector::open(&source, Care::Live).expect("opens").expect("goes on");
    assert!(first.step(50).expect("a batch") >= 50);
    match Projector::open(&source, Care::Live) {
        Err(error @ ProjectionError::Locked { .. }) => {
            assert!(error.may_pass() && error.to_string().contains(" of the server, of "), "{error}");
        }
        other => panic!("{other:?}"),
    }
    assert!(first.step(100).expect("the first goes on") > 0);
    // As one does that has no lock: a position from another host's restored backup, or a proxy that shares connections.
    let mut client = postgres.client();
    let seq = first.position().seq;
    client.execute("UPDATE second.projection_positions SET seq = seq - 1", &[]).expect("moved");
    let count = |client: &mut postgres::Client| -> i64 {
        client.query_one("SELECT count(*) FROM second.events", &[]).expect("a row").get(0)
    };
    let before = count(&mut client);
    match first.step(u64::MAX) {
        Err(ProjectionError::Moved { expected, found, .. }) => assert_eq!((expected, found), (seq, seq - 1)),
        other => panic!("{other:?}"),
    }
    assert_eq!(count(&mut client), before, "its transaction was taken back");
}

/// How often commits are killed.
fn kills() -> usize {
    std::env::var("TRADECORE_TEST_POSTGRES_KILLS").map_or(5, |kills| kills.parse().expect("a number"))
}

/// Follows the journal as the gateway's side thread does, until it is dropped.
struct Follower {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Follower {
    fn start(source: &Source) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (source, asked) = (source.clone(), Arc::clone(&stop));
        Self { stop, thread: Some(std::thread::spawn(move || follow(&source, &asked))) }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            thread.join().expect("no panic");
        }
    }
}

/// The last event that the tables know.
fn seq_of(source: &Source) -> u64 {
    Store::open_to_read(source).and_then(|mut store| store.position()).expect("a position").seq
}

/// Waits until the tables know an event.
fn wait_for(source: &Source, seq: u64, what: &str) {
    let until = Instant::now() + DEADLINE;
    loop {
        let found = Store::open_to_read(source).and_then(|mut store| store.position()).map(|position| position.seq);
        if found.as_ref().is_ok_and(|found| *found >= seq) {
            return;
        }
        assert!(Instant::now() < until, "{what}: {found:?}, and {seq} was waited for");
        std::thread::park_timeout(std::time::Duration::from_millis(5));
    }
}

#[test]
fn tables_are_a_fold_of_the_journal_after_every_commit_that_was_killed_or_whose_answer_was_lost() {
    let postgres = Postgres::get();
    let dir = tempfile::tempdir().expect("a directory");
    let journal_dir = dir.path().join("journal");
    let mut groups = events_of(LONG).into_iter().cycle();
    let mut journal = Journal::open(&journal_dir);
    let straight = postgres.source(&journal_dir, "killed");
    let proxy = Proxy::start(format!("{}:{}", postgres.host, postgres.port).parse().expect("an address"));
    let source = Source { server: Some(postgres.reach("killed", proxy.port)), ..straight.clone() };
    let mut seq = 0;
    let mut grow = |groups_count: usize| {
        for group in groups.by_ref().take(groups_count) {
            journal.group(&group.iter().map(archive).collect::<Vec<_>>());
            seq += group.len() as u64;
        }
        seq
    };
    let first = grow(20);
    let follower = Follower::start(&source);
    wait_for(&straight, first, "the first batch");
    // A commit takes a while, so that a server can be killed in the midst of it.
    postgres
        .client()
        .batch_execute(
            "CREATE FUNCTION killed.linger() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN PERFORM pg_sleep(0.03); RETURN NULL; END $$;
             CREATE CONSTRAINT TRIGGER linger AFTER UPDATE ON killed.projection_positions
             DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION killed.linger()",
        )
        .expect("a trigger");
    let mut done = std::collections::BTreeMap::<&str, usize>::new();
    for round in 1..=kills() * 4 {
        let known = seq_of(&straight);
        let (how, cut) = match round % 4 {
            0 => ("answer lost", Cut::Reply),
            1 => ("commit lost", Cut::Before),
            2 => ("connection ended by the server", Cut::Tell),
            _ => ("server killed", Cut::Tell),
        };
        proxy.plan(cut);
        let last = grow(10);
        let heard = proxy.done.recv_timeout(DEADLINE).unwrap_or_else(|error| panic!("round {round}, {how}: {error}"));
        assert_eq!(heard, cut, "round {round}");
        let is_done = match round % 4 {
            2 => {
                let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                           WHERE application_name = 'tradecore projection' AND pid <> pg_backend_pid()";
                postgres.client().query_one(end, &[]).expect("ended").get::<_, i64>(0) > 0
            }
            // From at once to long after the commit should be done.
            3 => postgres.kill_after(std::time::Duration::from_millis(10) * ((round / 4) % 8) as u32, || {
                // Nobody writes before it is known what the server had.
                proxy.be_silent(true);
            }),
            _ => true,
        };
        *done.entry(how).or_default() += usize::from(is_done);
        if round % 4 == 3 && is_done {
            let what = if seq_of(&straight) > known { "the killed server had committed" } else { "it had not" };
            *done.entry(what).or_default() += 1;
            proxy.be_silent(false);
        }
        wait_for(&straight, last, how);
        let seq = assert_is_a_fold(&straight, &format!("round {round}, {how}"));
        assert!(seq >= last, "round {round}: {seq}");
    }
    drop(follower);
    println!("{done:?}");
    let is_ours = std::env::var_os("TRADECORE_TEST_POSTGRES_DIR").is_some();
    for (how, least) in [
        ("answer lost", kills()),
        ("commit lost", kills()),
        ("connection ended by the server", kills() / 2),
        ("server killed", if is_ours { kills() } else { 0 }),
    ] {
        assert!(done.get(how).is_some_and(|count| *count >= least), "{how}: {done:?}");
    }
    // Of few it may be all or none.
    let are_both = ["the killed server had committed", "it had not"].iter().all(|what| done.contains_key(what));
    assert!(are_both || !is_ours || kills() < 16, "{done:?}");
}

#[test]
fn what_is_compared_may_take_longer_than_the_server_lets_others_keep_a_transaction_open() {
    let postgres = Postgres::get();
    let dir = tempfile::tempdir().expect("a directory");
    let (journal_dir, _) = write_history(dir.path(), 2);
    let source = postgres.source(&journal_dir, "idle");
    catch_up(&source);
    let (mut client, user) = (postgres.client(), &postgres.user);
    client.batch_execute(&format!("ALTER ROLE {user} SET idle_in_transaction_session_timeout = 20")).expect("set");
    let compared = verify(&source, &mut |_, _| {
        server::pass(std::time::Duration::from_millis(200));
        true
    });
    client.batch_execute(&format!("ALTER ROLE {user} RESET idle_in_transaction_session_timeout")).expect("set back");
    assert_eq!(differing(&compared.expect("compared").1), [""; 0]);
}

#[test]
fn a_commit_is_waited_for_though_the_role_says_otherwise() {
    let postgres = Postgres::get();
    let dir = tempfile::tempdir().expect("a directory");
    let (journal_dir, _) = write_history(dir.path(), 2);
    let source = postgres.source(&journal_dir, "waits");
    let (mut client, user) = (postgres.client(), &postgres.user);
    client.batch_execute(&format!("ALTER ROLE {user} SET synchronous_commit = off")).expect("set");
    let mut projector = Projector::open(&source, Care::Live).expect("opens").expect("goes on");
    client.batch_execute(&format!("ALTER ROLE {user} RESET synchronous_commit")).expect("set back");
    client
        .batch_execute(
            "CREATE TABLE waits.seen (setting text);
             CREATE FUNCTION waits.note() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN INSERT INTO waits.seen VALUES (current_setting('synchronous_commit')); RETURN NULL; END $$;
             CREATE TRIGGER note AFTER INSERT OR UPDATE ON waits.orders EXECUTE FUNCTION waits.note()",
        )
        .expect("a trigger");
    while projector.step(u64::MAX).expect("a batch") > 0 {}
    let seen = client.query("SELECT DISTINCT setting FROM waits.seen", &[]).expect("rows");
    let seen: Vec<String> = seen.iter().map(|row| row.get(0)).collect();
    assert_eq!(seen, ["on"]);
}
