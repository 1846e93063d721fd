//! The read side beside a gateway that trades: who sees what, what keeps the journal, what is healed.

use super::*;

const READ_SIDE: &str = r#"
[projection]
sqlite = "rows.sqlite"
check_s = 1

[ship.files]
dir = "events"

[[sessions]]
id = 2
key_id = "k2"
secret_file = "key"
role = "trade"
accounts = [1]
"#;

fn config() -> String {
    CONFIG.replace("durability = \"journaled\"", "durability = \"synced\"") + READ_SIDE
}

fn started() -> Gateway {
    let dir = tempfile::tempdir().expect("a directory");
    write_key(&dir.path().join("key"), "a key for these tests");
    let child = run(dir.path(), &config(), &[]);
    Gateway { child, dir }
}

/// A command that asks no gateway.
fn look(gateway: &Gateway, words: &[&str]) -> Run {
    let mut command = Command::new(BINARY);
    command.args(words).args(["--config", "gateway.toml", "--json"]).current_dir(gateway.dir.path());
    Run::of(command.output().expect("ran"))
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < 2 * DEADLINE, "{what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

#[test]
fn a_session_sees_its_own_rows_and_a_kill_switch_is_never_told_of_as_it_was() {
    let mut gateway = started();
    let placed = gateway.rest();
    let seq = placed["journal_seq"].as_str().expect("text").to_owned();
    let orders = |words: &[&str]| {
        look(&gateway, &[&["query", "orders", "--at-least-seq", &seq, "--wait-ms", "30000"], words].concat())
    };
    assert_eq!(orders(&[]).last()["rows"], 1, "{:?}", orders(&[]));
    assert_eq!(orders(&["--as", "k"]).last()["rows"], 1);
    assert_eq!(orders(&["--as", "8"]).last()["rows"], 1, "an operator of all accounts");
    assert_eq!(orders(&["--as", "k2"]).last()["rows"], 0, "the order of another session");
    orders(&["--as", "nobody"]).failed(64, "Usage", "allowed: 1 (k), 7 (k7), 8 (k8), 2 (k2)");
    let order_id = placed["order_id"].as_str().expect("text");
    assert_eq!(look(&gateway, &["trace", order_id, "--as", "k"]).code, 0);
    // 0 is no id, but what stands where there is none.
    look(&gateway, &["trace", "--cl-ord-id", "0"]).failed(64, "Usage", "from 1 to");
    look(&gateway, &["trace", order_id, "--as", "k2"]).failed(69, "Unavailable", "no event of order");

    let killed = look(&gateway, &["kill", "on", "--account", "1", "--session", "8", "--state", "admin.state"]);
    assert_eq!(killed.code, 0, "{killed:?}");
    let switches = look(&gateway, &["query", "kill-switches", "--wait-ms", "30000"]);
    assert_eq!(
        (switches.lines[0]["account_id"].as_u64(), switches.lines[0]["is_engaged"].as_bool()),
        (Some(1), Some(true))
    );

    let stat = look(&gateway, &["journal", "stat"]);
    let readers: Vec<&str> = stat.last()["readers"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| one["reader"].as_str().expect("text"))
        .collect();
    assert_eq!(readers, ["files", "projection"], "{stat:?}");
    assert_eq!(stat.last()["unshipped"]["percent"], 0, "{stat:?}");

    // A start without files of events keeps nothing for them.
    gateway.child.kill().expect("killed");
    gateway.child.wait().expect("gone");
    gateway.child = run(gateway.dir.path(), &config().replace("[ship.files]\ndir = \"events\"\n", ""), &[]);
    wait_until("files are forgotten", || {
        look(&gateway, &["journal", "stat"]).last()["readers"].as_array().is_some_and(|readers| readers.len() == 1)
    });
    // The line is written behind the deed.
    let log = || std::fs::read_to_string(gateway.dir.path().join("log")).expect("a log");
    wait_until("it is told", || log().contains("not configured any more") && log().contains("files"));
}

#[test]
fn a_gateway_heals_rows_that_differ_and_a_read_model_that_is_gone() {
    let mut gateway = started();
    gateway.rest();
    let status = || look(&gateway, &["projection", "status"]).last().clone();
    let integrity = |name: &str| status()["integrity"][name].clone();
    wait_until("it is compared", || integrity("checked_seq").as_str().is_some_and(|seq| seq != "0"));
    assert_eq!((integrity("found"), integrity("is_stale")), ("0".into(), false.into()), "{}", status());
    let path = gateway.dir.path().join("rows.sqlite");
    let connection = rusqlite::Connection::open(&path).expect("opens");
    connection.busy_timeout(DEADLINE).expect("set");
    assert_eq!(connection.execute("UPDATE accounts SET rate_max = 77", []), Ok(1));
    drop(connection);
    wait_until("it is found", || integrity("found") != "0");
    wait_until("it is healed", || integrity("is_stale") == false);
    assert!(
        status()["integrity"]["last"]["what"].as_str().expect("text").starts_with("accounts, account_id 1: it differs")
    );
    let accounts = look(&gateway, &["query", "accounts"]);
    assert_eq!(accounts.lines[0]["rate_max"], 0, "{accounts:?}");

    std::fs::remove_file(&path).expect("removed");
    wait_until("it is made anew", || look(&gateway, &["query", "orders"]).last()["rows"] == 1);
    let log = std::fs::read_to_string(gateway.dir.path().join("log")).expect("a log");
    assert!(log.contains("removed, or replaced by another file") && log.contains("data-integrity"), "{log}");
    assert!(gateway.child.try_wait().expect("asked").is_none(), "it trades on");
}

#[test]
fn a_journal_is_followed_until_a_signal_ends_that_with_0() {
    let gateway = started();
    let mut tail = Command::new(BINARY)
        .args(["journal", "tail", "--dir", "data/journal"])
        .current_dir(gateway.dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    let (send, lines) = std::sync::mpsc::channel();
    let said = BufReader::new(tail.stdout.take().expect("piped")).lines();
    std::thread::spawn(move || said.map_while(Result::ok).try_for_each(|line| send.send(line)));
    // It shows what comes behind its start, whenever that was.
    wait_until("it shows an event", || {
        gateway.rest();
        lines.recv_timeout(Duration::from_millis(200)).is_ok()
    });
    kill_process(Pid::from_child(&tail), Signal::INT).expect("sent");
    wait_until("it ends", || tail.try_wait().expect("asked").is_some());
    assert_eq!(tail.wait().expect("ended").code(), Some(0));
}
