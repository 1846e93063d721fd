//! What a person at a terminal asks for, and reads.

use std::io::Read;
use std::process::Output;

use super::*;

impl Gateway {
    /// As a person runs it, with a session of their own: for people unless the words ask for JSON.
    fn by_hand(&self, session: &str, words: &[&str]) -> Output {
        self.hand(session, words).output().expect("ran")
    }

    fn hand(&self, session: &str, words: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command
            .args(words)
            .args(["--config", "gateway.toml", "--session", session, "--state"])
            .arg(format!("{session}.state"))
            .current_dir(self.dir.path());
        command
    }

    fn json(&self, session: &str, words: &[&str]) -> Run {
        Run::of(self.hand(session, words).arg("--json").output().expect("ran"))
    }

    /// What a person reads on stdout, as lines of words.
    fn read(&self, session: &str, words: &[&str]) -> Vec<Vec<String>> {
        let output = self.by_hand(session, words);
        assert_eq!(output.status.code(), Some(0), "{words:?}: {output:?}");
        let text = String::from_utf8(output.stdout).expect("text");
        text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
    }
}

/// The cell of a table in a column, by its header.
fn cell<'a>(table: &'a [Vec<String>], row: usize, column: &str) -> &'a str {
    let place = table[0].iter().position(|header| header == column).unwrap_or_else(|| panic!("{column}: {table:?}"));
    &table[row][place]
}

#[test]
fn orders_fills_positions_and_cash_are_asked_for_with_a_command_each() {
    let gateway = start();
    let id = gateway.rest()["cl_ord_id"].as_str().expect("ids are text").to_owned();
    let bought = gateway.run(&order(&["--qty", "0.001", "--wait", "done"]));
    assert_eq!(bought.code, 0, "{bought:?}");

    let orders = gateway.read("1", &["order", "list"]);
    assert_eq!(orders.len(), 2, "{orders:?}");
    assert_eq!(cell(&orders, 1, "cl_ord_id"), id);
    assert_eq!((cell(&orders, 1, "px"), cell(&orders, 1, "order_qty")), ("50000", "0.01"));
    assert_eq!((cell(&orders, 1, "instrument"), cell(&orders, 1, "ord_status")), ("BTCUSDT", "New"));

    let fills = gateway.read("1", &["fills"]);
    assert!(fills.len() >= 2, "{fills:?}");
    assert_eq!((cell(&fills, 1, "side"), cell(&fills, 1, "instrument")), ("Buy", "BTCUSDT"));
    assert!(cell(&fills, 1, "time").ends_with('Z'), "{fills:?}");
    assert_eq!(gateway.json("1", &["fills"]).lines.len() + 1, fills.len());

    let positions = gateway.json("1", &["positions"]);
    assert_eq!((positions.code, positions.text("position_qty")), (0, "0.001"), "{positions:?}");
    let account = gateway.json("1", &["account"]);
    assert_eq!((account.code, account.text("currency"), account.text("kill_state")), (0, "USDT", "Released"));
    let none = gateway.read("1", &["positions", "--account", "2"]);
    assert_eq!(none.len(), 1, "a header says that there is none: {none:?}");
}

#[test]
fn every_order_is_canceled_with_one_command_and_new_ones_locked_out_until_released() {
    let gateway = start();
    let first = gateway.rest();
    gateway.rest();
    let nothing = gateway.json("1", &["order", "cancel-all", "--side", "sell"]);
    assert_eq!((nothing.code, &nothing.last()["matched"]), (0, &0.into()), "{nothing:?}");
    assert_eq!(gateway.json("1", &["order", "list"]).lines.len(), 2);

    let canceled = gateway.json("1", &["order", "cancel-all", "--instrument", "BTCUSDT", "--lock-out"]);
    assert_eq!(canceled.code, 0, "{canceled:?}");
    let closed = |line: &&Value| line["ord_status"] == "Canceled";
    assert_eq!(canceled.lines.iter().filter(closed).count(), 2, "it waits for each: {canceled:?}");
    assert!(canceled.lines.iter().any(|line| line["cl_ord_id"] == first["cl_ord_id"]), "{canceled:?}");
    assert_eq!(gateway.json("1", &["order", "list"]).lines.len(), 0);

    gateway.run(&order(&["--qty", "0.01", "--price", "50000"])).failed(65, "LockedOut", "");
    let release = ["order", "cancel-all", "--release-lock-out", "--instrument", "BTCUSDT"];
    assert_eq!(gateway.json("1", &release).code, 0);
    gateway.rest();
}

#[test]
fn the_kill_switch_is_worked_by_an_admin_and_by_nobody_else() {
    let gateway = start();
    gateway.rest();
    gateway.json("1", &["kill", "on"]).failed(65, "RoleForbidden", "role `admin`");
    let on = gateway.json("8", &["kill", "on", "--cancel-open", "--tag", "ann: wrong prices"]);
    assert_eq!(on.code, 0, "{on:?}");
    let kinds: Vec<_> = on.lines.iter().map(|line| line["type"].as_str().expect("a type")).collect();
    assert_eq!(kinds, ["KillSwitchReport", "MassCancelReport", "MassCancelReport"], "{on:?}");
    assert_eq!(on.lines[0]["kill_state"], "Engaged");
    assert_eq!((&on.lines[2]["cancel_requested"], &on.lines[2]["scope"]), (&1.into(), &"Core".into()));
    gateway.run(&order(&["--qty", "0.01", "--price", "50000"])).failed(65, "Killed", "");
    let account = gateway.json("1", &["account"]);
    assert_eq!(account.text("kill_state"), "Engaged", "that of the core holds for every account: {account:?}");
    let off = gateway.json("8", &["kill", "off"]);
    assert_eq!((off.code, off.text("kill_state")), (0, "Released"), "{off:?}");
    gateway.json("8", &["kill", "on", "--account", "2"]).failed(65, "AccountUnknown", "");
    gateway.rest();
    let mut dump = Command::new(BINARY);
    let dump = dump.args(["journal", "dump", "--dir", "data/journal"]).current_dir(gateway.dir.path());
    let text = String::from_utf8(dump.output().expect("ran").stdout).expect("text");
    assert!(text.contains(r#" operator_tag="ann: wrong prices""#), "{text}");
    gateway.json("8", &["kill", "on", "--tag", &"x".repeat(33)]).failed(64, "Usage", "at most 32");
    let canceled = gateway.json("8", &["order", "cancel-all", "--account", "1"]);
    assert_eq!((canceled.code, &canceled.last()["scope"]), (0, &"Account".into()), "{canceled:?}");
    assert_eq!(canceled.last()["cancel_requested"], 1);
}

#[test]
fn what_an_operator_notes_is_in_the_journal_and_changes_nothing_else() {
    let gateway = start();
    gateway.json("1", &["note", "anna: hello"]).failed(65, "RoleForbidden", "role `admin`");
    gateway.json("8", &["note", ""]).failed(65, "FieldValue", "");
    gateway.json("8", &["note", &"x".repeat(97)]).failed(64, "Usage", "at most 96");
    let words = format!("anna: the broker called, {}", "x".repeat(71));
    let noted = gateway.json("8", &["note", &words]);
    assert_eq!((noted.code, noted.text("type")), (0, "OperatorNoteReport"), "{noted:?}");
    let mut dump = Command::new(BINARY);
    let dump = dump.args(["journal", "dump", "--dir", "data/journal"]).current_dir(gateway.dir.path());
    let text = String::from_utf8(dump.output().expect("ran").stdout).expect("text");
    let notes: Vec<&str> = text.lines().filter(|line| line.contains(" OperatorNoted ")).collect();
    assert_eq!(notes.len(), 1, "{text}");
    assert!(notes[0].starts_with(&format!("{} ", noted.text("journal_seq"))), "{}", notes[0]);
    assert!(notes[0].contains(&format!("text={words:?}")) && notes[0].contains(" session_id=8 "), "{}", notes[0]);
    gateway.rest();
}

#[test]
fn a_report_is_a_line_that_a_person_can_read() {
    let gateway = start();
    gateway.rest();
    let output = gateway.by_hand("1", &order(&["--qty", "0.01", "--price", "50000.00"]));
    let text = String::from_utf8(output.stdout).expect("text");
    let line = text.lines().last().expect("a report");
    for said in [" New cl_ord_id=", " side=Buy order_qty=0.01 instrument=BTCUSDT px=50000 tif=Day "] {
        assert!(line.contains(said), "{said}: {line}");
    }
    assert!(!line.contains("journal_seq") && !line.contains("recv_time_ns"), "for programs: {line}");
    let output = gateway.by_hand("1", &order(&["--qty", "0.01", "--price", "50000.001"]));
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.contains("reason=PriceTick (The price is not a multiple of the tick size)"), "{text}");
}

#[test]
fn a_watch_says_in_words_what_its_session_is_told() {
    let gateway = start();
    gateway.rest();
    let said = |session: &str, until: &str| {
        let mut watch = Watch::of(&mut gateway.hand(session, &["watch"]));
        let mut text = String::new();
        while !text.contains(until) {
            text.push_str(&watch.lines.next().expect("it goes on").expect("readable"));
            text.push('\n');
        }
        kill_process(Pid::from_child(&watch.child), Signal::INT).expect("sent");
        assert!(watch.child.wait().expect("ended").success(), "Ctrl-C is a clean end");
        text
    };
    let fresh = said("1", "Connected");
    assert!(fresh.starts_with("Started: ") && !fresh.contains("ReportsSkipped"), "nothing was missed: {fresh}");
    assert!(fresh.contains("Connected: session 1, open orders: 1"), "{fresh}");
    assert!(said("1", "Connected").starts_with("Connected: "), "the state file is known now");
    let drop_copy = said("7", "Connected");
    assert!(drop_copy.contains("role DropCopy") && !drop_copy.contains("open orders"), "{drop_copy}");
}

#[test]
fn an_interrupted_order_says_what_was_told_last_and_how_to_ask_for_it() {
    let gateway = start();
    gateway.rest();
    let words = order(&["--qty", "0.01", "--price", "50000", "--wait", "done"]);
    let mut child = gateway.hand("1", &words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    while !lines.next().expect("it waits").expect("readable").contains(" New ") {}
    kill_process(Pid::from_child(&child), Signal::INT).expect("sent");
    let mut text = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut text).expect("read");
    assert_eq!(child.wait().expect("ended").code(), Some(90), "{text}");
    assert!(text.contains("Interrupted (90): interrupted: the order was New when it was told last"), "{text}");
    let command = text.split('`').nth(1).expect("a command");
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    let asked = Command::new(BINARY).args(words).arg("--json").current_dir(gateway.dir.path()).output();
    let asked = Run::of(asked.expect("ran"));
    assert_eq!((asked.code, asked.text("ord_status")), (0, "New"), "{command}: {asked:?}");
}

#[test]
fn an_address_without_a_port_is_a_wrong_command_line_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().expect("a directory");
    write_key(&dir.path().join("key"), "a key for these tests");
    let words = ["order", "list", "--session", "1", "--core", "1", "--key-id", "k", "--secret-file", "key", "--json"];
    let run = |more: &[&str]| {
        let state = ["--state", "cli.state"];
        let output = Command::new(BINARY).args(words).args(state).args(more).current_dir(dir.path()).output();
        Run::of(output.expect("ran"))
    };
    run(&["--environment", "virtual", "--address", "127.0.0.1"]).failed(64, "Usage", "host:port");
    run(&["--environment", "vrtual", "--address", "127.0.0.1:1"]).failed(64, "Usage", "live, paper, virtual");
    run(&["--environment", "virtual", "--address", "127.0.0.1:1", "--core", "x"]).failed(64, "Usage", "--core");
    run(&["--environment", "virtual", "--account", "x"]).failed(64, "Usage", "a whole number from 0 to 4294967295");
    assert!(!dir.path().join("cli.state").exists());
}

#[test]
fn too_many_failed_logons_say_how_long_to_wait() {
    let gateway = start();
    gateway.rest();
    write_key(&gateway.dir.path().join("wrong"), "another key, as long");
    let try_once = || {
        let address = gateway.address();
        let place = ["--address", &address, "--core", "1", "--environment", "virtual", "--key-id", "k"];
        let key = ["--secret-file", "wrong", "--timeout", "100ms"];
        Run::of(gateway.command(&["order", "list"]).args(place).args(key).output().expect("ran"))
    };
    let mut run = try_once();
    for _ in 0..100 {
        if run.text("reason") != "AuthFailed" {
            break;
        }
        run = try_once();
    }
    run.failed(77, "LoginRate", "try again in ");
}

#[test]
fn a_journal_is_read_as_names_decimals_and_times() {
    let gateway = start();
    gateway.rest();
    gateway.run(&order(&["--qty", "0.01", "--price", "50000.001"])).failed(65, "PriceTick", "");
    let mut command = Command::new(BINARY);
    let output = command.args(["journal", "dump", "--dir", "data/journal"]).current_dir(gateway.dir.path());
    let text = String::from_utf8(output.output().expect("ran").stdout).expect("text");
    let event = |name: &str| text.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("{name}: {text}"));
    let accepted = event(" OrderAccepted ");
    for said in [" px=50000 ", " order_qty=0.01 ", " side=Buy ", " tif=Day ", " ord_status=PendingNew "] {
        assert!(accepted.contains(said), "{said}: {accepted}");
    }
    assert!(accepted.split(' ').nth(1).is_some_and(|time| time.starts_with("20") && time.ends_with('Z')), "{accepted}");
    let rejected = event("reason=PriceTick ");
    assert!(rejected.ends_with("px 50000.001 is no multiple of tick_size 0.01"), "{rejected}");
    let mut command = Command::new(BINARY);
    let swapped = command.args(["journal", "dump", "--from", "20", "--to", "10", "--dir", "data/journal"]);
    let swapped = swapped.current_dir(gateway.dir.path()).output().expect("ran");
    let text = String::from_utf8_lossy(&swapped.stderr);
    assert!(swapped.status.code() == Some(64) && text.contains("--from 20 is behind --to 10"), "{text}");
}
