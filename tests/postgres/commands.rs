//! The commands and the gateway itself, with tables on a server.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Instant;

use serde_json::Value;
use tradecore::projections::queries;
use tradecore::shipping::domains::partition;

use super::host::{self, Gateway, command, refused, run, said, write_secret};
use super::server::{DEADLINE, Postgres};
use super::support::{events_of, write};

pub(crate) fn configured(postgres: &Postgres, schema: &str) -> tempfile::TempDir {
    let dir = host::configured(&postgres.section(schema));
    write_secret(dir.path(), "pg-password", postgres.password());
    drop(postgres.source(&dir.path().join("data/journal"), schema));
    dir
}

#[test]
fn tables_on_a_server_are_caught_up_verified_and_made_anew_without_the_gateway() {
    let postgres = Postgres::get();
    let dir = configured(&postgres, "commands");
    write(&dir.path().join("data/journal"), &events_of(3));
    let (code, error) = refused(dir.path(), "projection status");
    assert!(code == 69 && error.contains("[projection.postgres]"), "{code}: {error}");
    assert!(said(dir.path(), "projection catch-up").contains("events taken in"));
    let status = said(dir.path(), "projection status");
    assert!(
        status.contains("schema commands, ") && status.contains("nothing in the journal is durable and not"),
        "{status}"
    );
    assert!(said(dir.path(), "projection status --json").contains("\"lag_events\":\"0\""));
    assert!(said(dir.path(), "projection verify").contains("ok: as a fold of the journal"));
    // Those of SQLite are others, and were not made.
    assert_eq!(refused(dir.path(), "projection status --database sqlite").0, 69);
    postgres.client().batch_execute("DELETE FROM commands.fills").expect("deleted");
    let (code, error) = refused(dir.path(), "projection verify --database postgres");
    assert!(code == 96 && error.contains("fills as of event"), "{code}: {error}");
    assert!(said(dir.path(), "projection rebuild").contains("these tables differed:"));
    assert!(said(dir.path(), "projection rebuild").contains("every row was as it is now"));
    assert!(said(dir.path(), "projection verify --json").contains("\"ok\":true"));
    // Nothing that was made on the way is left.
    let left: Vec<String> = std::fs::read_dir(dir.path().join("data"))
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("read-model"))
        .collect();
    assert_eq!(left, ["read-model-postgres.lock"]);

    std::fs::set_permissions(dir.path().join("pg-password"), std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .expect("set");
    let (code, error) = refused(dir.path(), "projection status");
    assert!(code == 77 && error.contains("projection.postgres.password_file"), "{code}: {error}");
    let text = std::fs::read_to_string(dir.path().join("gateway.toml")).expect("read");
    let (_, without) = text.split_once("[core]").expect("a core");
    std::fs::write(dir.path().join("gateway.toml"), format!("[core]{without}")).expect("written");
    let (code, error) = refused(dir.path(), "projection status --database postgres");
    assert!(code == 78 && error.contains("no section [projection.postgres]"), "{code}: {error}");
}

#[test]
fn on_a_server_all_tables_are_made_anew_whatever_part_of_them_is_asked_for() {
    let postgres = Postgres::get();
    let dir = configured(&postgres, "partly");
    write(&dir.path().join("data/journal"), &events_of(3));
    assert!(said(dir.path(), "projection catch-up").contains("events taken in"));
    let damage = "UPDATE partly.sessions SET open_orders = 7; UPDATE partly.events SET correlation_id = 99; \
                  DELETE FROM partly.fills WHERE seq > 500";
    postgres.client().batch_execute(damage).expect("damaged");
    let differed = said(dir.path(), "projection rebuild --domain order --from 1000");
    assert!(["sessions", "fills", "events"].iter().all(|table| differed.contains(table)), "{differed}");
    assert!(said(dir.path(), "projection verify").contains("ok: as a fold of the journal"));
}

#[test]
fn questions_and_traces_are_answered_by_a_server_as_by_a_file() {
    let postgres = Postgres::get();
    let dir = configured(&postgres, "asked");
    let dir = dir.path();
    write(&dir.join("data/journal"), &events_of(3));
    for database in ["sqlite", "postgres"] {
        assert!(said(dir, &format!("projection catch-up --database {database}")).contains("events taken in"));
    }
    let of_file = |words: &str| said(dir, &format!("{words} --database sqlite"));
    for query in queries::ALL {
        let words = format!("query {} --json --limit 100000", query.name);
        assert!(said(dir, &words) == of_file(&words), "{words}");
    }
    for words in [
        "query orders --open --account 1",
        "query orders --csv --instrument BTCUSDT --as k",
        "query fills --session 1 --at-least-seq 20",
        "query events --from 5 --to 9",
    ] {
        assert_eq!(said(dir, words), of_file(words), "{words}");
    }
    let (code, error) = refused(dir, "query orders --at-least-seq 99999999 --wait-ms 20");
    assert!(code == 97 && error.contains("99999999 was asked for"), "{code}: {error}");
    assert!(error.contains("no gateway runs on this journal: `tradecore projection catch-up`"), "{error}");

    let lines = said(dir, "query orders --json --limit 100000");
    let rows: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    let rows = &rows[..rows.len() - 1];
    let mut of_id: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    // 1 and 2 are those of the cancels and replaces of this history.
    for row in rows.iter().filter(|row| row["cl_ord_id"] != "1" && row["cl_ord_id"] != "2") {
        of_id.entry(row["cl_ord_id"].as_str().expect("text")).or_default().push(row);
    }
    let text = |row: &Value, name: &str| row[name].as_str().expect("text").to_owned();
    let (id, one) = of_id.iter().find(|(_, rows)| rows.len() == 1).expect("of one order");
    let order_id = text(one[0], "order_id");
    let trace = said(dir, &format!("trace {order_id}"));
    assert_eq!(trace, of_file(&format!("trace {order_id}")));
    let at_the_broker = format!("V0001-{:016x}", order_id.parse::<u64>().expect("a number"));
    assert!(trace.contains(&format!("at the broker {at_the_broker}")), "{trace}");
    assert_eq!(said(dir, &format!("trace {at_the_broker}")), trace);
    assert_eq!(said(dir, &format!("trace --cl-ord-id {id}")), trace);
    // The broker of this history calls all of them 1.
    let sql = format!("UPDATE asked.orders SET broker_order_id = 77 WHERE order_id = {order_id}");
    postgres.client().batch_execute(&sql).expect("changed");
    assert_eq!(said(dir, "trace --broker-order-id 77").lines().count(), trace.lines().count());
    let (code, error) = refused(dir, "trace --broker-order-id 1");
    assert!(code == 64 && error.contains("orders have number 1 of the broker; "), "{code}: {error}");
    // Used by several sessions: they are named, and one of them is found by its session.
    let (id, several) = of_id.iter().find(|(_, rows)| rows.len() > 1).expect("of several orders");
    let (code, error) = refused(dir, &format!("trace --cl-ord-id {id}"));
    assert!(code == 64 && several.iter().all(|row| error.contains(&text(row, "order_id"))), "{code}: {error}");
    let of_session = |row: &Value| several.iter().filter(|one| one["session_id"] == row["session_id"]).count();
    let one = several.iter().find(|row| of_session(row) == 1).expect("one of its session");
    let found = said(dir, &format!("trace --cl-ord-id {id} --session {}", one["session_id"]));
    assert!(found.starts_with(&format!("order {}, ", text(one, "order_id"))), "{found}");
    // The id of a replace is that of its order.
    let history = said(dir, "query order-history --json --limit 100000");
    let mut history = history.lines().map(|line| serde_json::from_str::<Value>(line).expect("an object"));
    let replaced = history.find(|row| row["req_cl_ord_id"] == "2").expect("a replace");
    let found = said(dir, "trace --cl-ord-id 2");
    assert!(found.starts_with(&format!("order {}, ", text(&replaced, "order_id"))), "{found}");
    for nobody in ["--cl-ord-id 987654321", "--broker-order-id 987654321", "V0001-00000000ffffffff"] {
        assert_eq!(refused(dir, &format!("trace {nobody}")).0, 69, "{nobody}");
    }
    assert_eq!(refused(dir, &format!("trace {}", at_the_broker.replacen('V', "L", 1))).0, 64, "of another core");

    // Where it is shipped, and as on a host that has no journal.
    let path = dir.join("gateway.toml");
    let config = std::fs::read_to_string(&path).expect("read");
    let kafka = "[ship.kafka]\nbrokers = \"127.0.0.1:9\"\npartitions = 7\ntopic_prefix = \"a.\"\n";
    std::fs::write(&path, format!("{config}{kafka}")).expect("written");
    let shipped = partition(format!("virtual-1/order-{order_id}").as_bytes(), 7);
    let shipped = format!("topic    a.eventstore.order-events, partition {shipped}, header seq=");
    assert!(said(dir, &format!("trace {order_id}")).contains(&shipped), "{shipped}");
    std::fs::write(&path, &config).expect("written");
    std::fs::rename(dir.join("data/journal"), dir.join("away")).expect("moved");
    assert!(said(dir, &format!("trace {order_id}")).contains("the journal is on another host"));
    assert!(said(dir, "query orders").contains("as of event "));
    let (code, error) = refused(dir, "query kill-switches");
    assert!(code == 69 && error.contains("with --at-least-seq 0 the tables answer as they are"), "{code}: {error}");
    assert!(said(dir, "query kill-switches --at-least-seq 0").contains("as of event "));
    // Those of another core.
    std::fs::write(&path, config.replace("[core]\nid = 1", "[core]\nid = 2")).expect("written");
    let (code, error) = refused(dir, "query orders");
    assert!(code == 78 && error.contains("holds the rows of 1-virtual"), "{code}: {error}");
}

#[test]
fn a_gateway_trades_on_while_its_server_is_away_and_the_tables_follow_when_it_is_back() {
    let postgres = Postgres::get();
    let dir = configured(&postgres, "followed");
    let mut gateway = Gateway(command(dir.path(), "run").stdout(Stdio::null()).spawn().expect("runs"));
    let until = Instant::now() + DEADLINE;
    let switch = |to: &str| loop {
        let output = run(dir.path(), &format!("kill {to} --session 1 --account 1 --json"));
        if output.status.success() {
            break;
        }
        assert!(Instant::now() < until, "{}", String::from_utf8_lossy(&output.stderr));
        std::thread::yield_now();
    };
    let is_engaged = || {
        let sql = "SELECT is_engaged FROM followed.kill_switches WHERE account_id = 1";
        postgres.client().query_opt(sql, &[]).ok().flatten().map(|row| row.get::<_, i64>(0))
    };
    let wait_for = |engaged| {
        let until = Instant::now() + DEADLINE;
        while is_engaged() != Some(engaged) {
            assert!(Instant::now() < until, "the tables do not follow");
            std::thread::yield_now();
        }
    };
    switch("on");
    wait_for(1);
    let (code, error) = refused(dir.path(), "projection catch-up");
    assert!(code == 95 && error.contains(&format!("process {}", gateway.0.id())), "{code}: {error}");
    let is_ours = std::env::var_os("TRADECORE_TEST_POSTGRES_DIR").is_some();
    assert_eq!(postgres.kill_and_restart(), is_ours);
    switch("off");
    wait_for(0);
    gateway.0.kill().expect("killed");
    gateway.0.wait().expect("ended");
    // With the server away the status says what this host knows.
    let path = dir.path().join("gateway.toml");
    let config = std::fs::read_to_string(&path).expect("read");
    let away = config.replace(&format!("port = {}\n", postgres.port), "port = 9\n");
    assert_ne!(away, config);
    std::fs::write(&path, away).expect("written");
    let output = run(dir.path(), "projection status --json");
    let lines: Vec<Value> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("an object"))
        .collect();
    let [known, failure] = lines.as_slice() else { panic!("what is known, and why not more: {lines:?}") };
    let of = |name: &str| known[name].as_str().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let (passed, synced, lag) = (of("passed_seq"), of("journal_synced_seq"), of("lag_events"));
    let why = failure["text"].as_str().expect("text");
    assert!(output.status.code() == Some(69) && why.contains("unreachable"), "{failure}");
    assert!(known["seq"].is_null() && passed > 0 && synced >= passed && lag == synced - passed, "{known}");
    std::fs::write(&path, &config).expect("written");
    assert!(said(dir.path(), "projection catch-up").contains("events taken in"));
    assert!(said(dir.path(), "projection verify").contains("ok: as a fold of the journal"));
}
