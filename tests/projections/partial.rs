//! Some tables made anew, all rows or those from an event on.

use rusqlite::Connection;
use tradecore::projections::partial::{From, domain_of, remake, tables_of};
use tradecore::projections::tables::TABLES;
use tradecore::projections::{ProjectionError, Source, open};
use tradecore::shipping::domains::Domain;

use crate::support::{catch_up, dump, source_of, write_history};

/// Tables of a history, and the directory that they and its journal are in.
fn tables() -> (tempfile::TempDir, Source) {
    let dir = tempfile::tempdir().expect("a directory");
    let (journal_dir, _) = write_history(dir.path(), 3);
    let source = source_of(&journal_dir, &dir.path().join("rows.sqlite"));
    catch_up(&source);
    (dir, source)
}

#[test]
fn a_domain_is_made_anew_and_nothing_else_is_touched() {
    let (_dir, source) = tables();
    let right = dump(&source.path);
    let connection = Connection::open(&source.path).expect("opens");
    connection
        .execute_batch(
            "UPDATE positions SET cost = cost + 1; DELETE FROM fills WHERE seq > 500; UPDATE sessions SET open_orders = 7;",
        )
        .expect("changed");
    drop(connection);
    let damaged = dump(&source.path);
    let remade = remake(&source, &tables_of(&[Domain::Order, Domain::Position]), From::Start, &mut |_, _| true);
    let differing: Vec<&str> = remade.expect("made").differing.expect("compared").iter().map(|one| one.table).collect();
    assert_eq!(differing, ["positions", "fills"]);
    let now = dump(&source.path);
    let of = |rows: &[String], table: &str| -> Vec<String> {
        rows.iter().filter(|row| row.starts_with(&format!("{table} "))).cloned().collect()
    };
    for table in TABLES {
        let expected = if table.name == "sessions" { &damaged } else { &right };
        assert_eq!(of(&now, table.name), of(expected, table.name), "{}", table.name);
    }
    let all: Vec<Domain> = Domain::ALL.to_vec();
    assert_eq!(
        tables_of(&all).len() + 1,
        TABLES.len(),
        "every table has a domain, but for the place of the projection"
    );
    assert_eq!(domain_of("projection_positions"), None);
}

#[test]
fn rows_are_made_anew_from_an_event_or_a_time_on_and_older_ones_stay_as_they_are() {
    let (_dir, source) = tables();
    let connection = Connection::open(&source.path).expect("opens");
    let one = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).expect(sql);
    let ts_ns = one("SELECT ts_ns FROM events WHERE seq = 600") as u64;
    let first = one(&format!("SELECT min(seq) FROM events WHERE ts_ns >= {ts_ns}"));
    for (from, from_seq) in [(From::Seq(500), 500), (From::Time(ts_ns), first)] {
        connection.execute_batch("UPDATE events SET correlation_id = 99").expect("changed");
        remake(&source, &["events"], from, &mut |_, _| true).expect("made");
        assert_eq!(one("SELECT max(seq) FROM events WHERE correlation_id = 99"), from_seq - 1, "{from:?}");
        assert_eq!(one("SELECT min(seq) FROM events WHERE correlation_id <> 99"), from_seq, "{from:?}");
    }
    connection.execute_batch("UPDATE events SET correlation_id = 99").expect("changed");
    let damaged = dump(&source.path);
    let none = [From::Time(u64::MAX >> 1), From::Time(u64::MAX), From::Seq(u64::MAX), From::Seq(1 << 63)];
    for from in none {
        remake(&source, &["events"], from, &mut |_, _| true).expect("nothing to make");
        assert!(dump(&source.path) == damaged, "{from:?}: there is no such event");
    }
}

#[test]
fn a_row_that_said_wrongly_to_be_among_the_newest_is_made_anew_with_them() {
    let (_dir, source) = tables();
    let right = dump(&source.path);
    let connection = Connection::open(&source.path).expect("opens");
    let last = "(SELECT seq FROM projection_positions)";
    for (table, key) in [("orders", "order_id"), ("instruments", "instrument_id")] {
        let oldest =
            format!("{key} = (SELECT {key} FROM {table} WHERE updated_seq < 500 ORDER BY updated_seq LIMIT 1)");
        let sql = format!("UPDATE {table} SET updated_seq = {last} + 7 WHERE {oldest}");
        assert_eq!(connection.execute(&sql, []), Ok(1), "{sql}");
    }
    let remade = remake(&source, &tables_of(Domain::ALL), From::Seq(500), &mut |_, _| true).expect("made");
    assert_eq!(remade.left, []);
    assert!(dump(&source.path) == right);
}

#[test]
fn a_release_with_more_tables_makes_those_and_leaves_the_others_as_they_are() {
    let (_dir, source) = tables();
    let right = dump(&source.path);
    assert!(right.iter().any(|row| row.starts_with("daily_pnl ")));
    let older = |number: u32| {
        let connection = Connection::open(&source.path).expect("opens");
        connection.execute_batch("UPDATE sessions SET open_orders = 7").expect("changed");
        let changed = dump(&source.path);
        for table in ["daily_pnl", "sagas", "saga_steps"] {
            connection.execute_batch(&format!("DROP VIEW {table}_view; DROP TABLE {table}")).expect("dropped");
        }
        connection.execute_batch(&format!("PRAGMA user_version = {number}")).expect("set");
        changed
    };
    // One that is stopped leaves what there is.
    let changed = older(3);
    assert!(matches!(open(&source, &mut |_, _| false), Err(ProjectionError::Stopped)));
    drop(open(&source, &mut |_, _| true).expect("opens"));
    assert_eq!(dump(&source.path), changed);
    // Then more was changed.
    older(1);
    drop(open(&source, &mut |_, _| true).expect("opens"));
    assert_eq!(dump(&source.path), right);
    // What was parked for no reason is in no table.
    older(3);
    let connection = Connection::open(&source.path).expect("opens");
    let parked = "INSERT INTO parked_records (seq, aggregate, aggregate_id, ts_ns, event, version, error) \
                  VALUES (5, 4, 1, 5, 1, 1, 'for no reason')";
    connection.execute_batch(parked).expect("parked");
    drop(connection);
    drop(open(&source, &mut |_, _| true).expect("opens"));
    assert_eq!(dump(&source.path), right);
}
