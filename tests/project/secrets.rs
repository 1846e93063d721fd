//! Secrets of a worker: they open the door, and are found nowhere.

use super::host::Host;
use super::{configured, edit, end, worker};

const KEY: &str = "planted-key-of-algo1-0123456789abcdef";
const PASSWORD: &str = "planted-postgres-secret";

fn assert_clean(place: &str, text: &str) {
    for secret in [KEY, PASSWORD] {
        assert!(!text.contains(secret), "{secret} in {place}: {text}");
    }
}

/// A command that ends; its exit code.
fn run_clean(host: &Host, words: &[&str]) -> Option<i32> {
    let output = host.run(words);
    let said = [output.stdout, output.stderr].concat();
    assert!(!said.is_empty(), "{words:?}");
    assert_clean(&words.join(" "), &String::from_utf8_lossy(&said));
    output.status.code()
}

#[test]
fn secrets_are_found_in_no_table_log_or_error_of_a_worker_and_in_no_refusal_of_a_configuration() {
    let (postgres, mut host, mut core) = configured("project_secrets");
    host.log = "trace";
    let mut client = postgres.client();
    client
        .batch_execute(&format!(
            "DROP ROLE IF EXISTS tradecore_planted; CREATE ROLE tradecore_planted LOGIN PASSWORD '{PASSWORD}'; \
             CREATE SCHEMA project_secrets AUTHORIZATION tradecore_planted"
        ))
        .expect("a role");
    for (file, secret) in [("pg-password", PASSWORD), ("algo1", KEY)] {
        let path = host.dir.path().join(file);
        std::fs::write(&path, secret).expect("written");
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("set");
    }
    let user = |name: &str| format!("user = \"{name}\"");
    edit(&host, &user(&postgres.user), &user("tradecore_nobody"));
    let last = core.grow(60);
    core.ship();
    let mut live = worker(&host);
    live.wait_for("unauthorized");
    assert_clean("the log of a failure", live.heard());
    drop(live);
    assert_eq!(run_clean(&host, &["query", "orders", "--database", "postgres"]), Some(77));
    edit(&host, &user("tradecore_nobody"), &user("tradecore_planted"));
    let mut live = worker(&host);
    core.assert_is_a_fold(last, "let in");
    assert_clean("the log", live.heard());
    end(live);
    for words in [&["query", "events"][..], &["projection", "status"], &["config", "show"], &["config", "check"]] {
        assert_eq!(run_clean(&host, words), Some(0), "{words:?}");
    }
    let mut rows = 0;
    for table in client
        .query("SELECT tablename::text FROM pg_tables WHERE schemaname = 'project_secrets'", &[])
        .expect("tables")
        .iter()
        .map(|row| row.get::<_, String>(0))
    {
        for row in client.query(&format!("SELECT t::text FROM project_secrets.{table} t"), &[]).expect("rows") {
            rows += 1;
            assert_clean(&table, row.get(0));
        }
    }
    assert!(rows > 100, "{rows} rows");
    // Where they were written into the configuration itself, or into the wrong key of it.
    let file = "password_file = \"pg-password\"";
    for (from, to) in [
        (file, format!("password = \"{PASSWORD}\"")),
        (file, format!("password_file = [\"{PASSWORD}\"]")),
        ("settings = [", format!("settings = [\"sasl.password={PASSWORD}\", ")),
        ("settings = [", format!("secrets = [\"{PASSWORD}\"]\nsettings = [")),
        ("settings = [", format!("secrets = [\"sasl.pasword={PASSWORD}\"]\nsettings = [")),
        ("settings = [", "secrets = [\"sasl.pasword=pg-password\"]\nsettings = [".to_owned()),
    ] {
        let text = std::fs::read_to_string(host.config()).expect("read");
        edit(&host, from, &to);
        for words in [&["config", "check"][..], &["config", "check", "--json"], &["project"]] {
            let code = run_clean(&host, words);
            assert!(code == Some(78) || code == Some(77) && words[0] == "project", "{code:?}: {words:?} of {to}");
        }
        std::fs::write(host.config(), text).expect("written");
    }
    client.batch_execute("DROP SCHEMA project_secrets CASCADE; DROP ROLE tradecore_planted").expect("cleared");
}
