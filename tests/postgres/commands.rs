//! The commands and the gateway itself, with tables on a server.

use std::process::Stdio;
use std::time::Instant;

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
    assert!(said(dir.path(), "projection catch-up").contains("events taken in"));
    assert!(said(dir.path(), "projection verify").contains("ok: as a fold of the journal"));
}
