//! The commands of a client, run as a user runs them against a gateway with a market.
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

#[path = "cli/desk.rs"]
mod desk;
#[path = "cli/figures.rs"]
mod figures;
#[path = "cli/read_side.rs"]
mod read_side;

const BINARY: &str = env!("CARGO_BIN_EXE_tradecore");
const DEADLINE: Duration = Duration::from_secs(30);

struct Gateway {
    child: Child,
    dir: tempfile::TempDir,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

const CONFIG: &str = r#"
[core]
id = 1
environment = "virtual"
data_dir = "data"
hot_dir = "hot"
durability = "journaled"
idle = "park"

[listen]
tcp = "127.0.0.1:0"

[broker]
kind = "paper"

[venue]
listen = []
log_dir = "venue"
log_sync = false
[venue.capture]
paths = ["CAPTURE"]
speed = "10x"
loop = true
[venue.exchange]
instruments = [{ symbol = "BTCUSDT", tick_size = "0.01", lot_size = "0.00001" }]

[[instruments]]
id = 1
symbol = "BTCUSDT"
currency = "USDT"
tick_size = "0.01"
lot_size = "0.00001"
qty_min = "0.00001"
order_qty_max = "10"
order_notional_max = "1000000"
collar_ppm = 900000
quote_age_max_ms = 60000

[[accounts]]
id = 1
currency = "USDT"
initial_cash = "1000000"
position_max = "100"
open_orders_max = 100

[[sessions]]
id = 1
key_id = "k"
secret_file = "key"
role = "trade"
accounts = [1]

[[sessions]]
id = 7
key_id = "k7"
secret_file = "key"
role = "drop_copy"

[[sessions]]
id = 8
key_id = "k8"
secret_file = "key"
role = "admin"
"#;

fn write_key(path: &Path, key: &str) {
    std::fs::write(path, key).expect("written");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("set");
}

/// A gateway whose broker is ready.
fn start() -> Gateway {
    start_with(&[])
}

fn start_with(words: &[&str]) -> Gateway {
    let dir = tempfile::tempdir().expect("a directory");
    write_key(&dir.path().join("key"), "a key for these tests");
    let child = run(dir.path(), CONFIG, words);
    Gateway { child, dir }
}

fn with_capture(config: &str) -> String {
    config.replace("CAPTURE", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/btcusdt.gz"))
}

/// Runs a gateway of this configuration until it listens.
fn run(dir: &Path, config: &str, words: &[&str]) -> Child {
    std::fs::create_dir_all(dir.join("data")).expect("made");
    std::fs::write(dir.join("gateway.toml"), with_capture(config)).expect("written");
    let child = Command::new(BINARY)
        .args(["run", "--config"])
        .arg(dir.join("gateway.toml"))
        .args(words)
        .stdin(Stdio::null())
        .stderr(std::fs::File::create(dir.join("log")).expect("made"))
        .spawn()
        .expect("started");
    let started = Instant::now();
    while tradecore::daemon::listening(&dir.join("data")).is_empty() {
        assert!(started.elapsed() < DEADLINE, "the gateway did not start");
        std::thread::yield_now();
    }
    child
}

impl Gateway {
    fn address(&self) -> String {
        tradecore::daemon::listening(&self.dir.path().join("data")).pop().expect("it listens")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command
            .args(words)
            .args(["--session", "1", "--json", "--state"])
            .arg(self.dir.path().join("cli.state"))
            .current_dir(self.dir.path());
        command
    }

    /// By the gateway's configuration.
    fn run(&self, words: &[&str]) -> Run {
        Run::of(self.command(words).args(["--config", "gateway.toml"]).output().expect("ran"))
    }

    /// A limit order far below the market, which rests: the last report of it.
    fn rest(&self) -> Value {
        let started = Instant::now();
        loop {
            let price = "50000.00";
            let run = self.run(&order(&["--qty", "0.01", "--price", price]));
            let reason = run.last()["reason"].clone();
            // A start takes its time until broker and market are there.
            if run.code == 65 && (reason == "BrokerNotReady" || reason == "MarketStale") {
                assert!(started.elapsed() < DEADLINE, "{run:?}");
                continue;
            }
            assert_eq!(run.code, 0, "{run:?}");
            return run.last().clone();
        }
    }
}

fn order<'a>(words: &[&'a str]) -> Vec<&'a str> {
    [&["order", "new", "--instrument", "BTCUSDT", "--side", "buy"], words].concat()
}

#[derive(Debug)]
struct Run {
    code: i32,
    lines: Vec<Value>,
    words: String,
}

impl Run {
    fn of(output: Output) -> Self {
        let text = String::from_utf8(output.stdout).expect("text");
        Self {
            code: output.status.code().expect("ended by itself"),
            lines: text.lines().map(|line| serde_json::from_str(line).expect(line)).collect(),
            words: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    fn last(&self) -> &Value {
        self.lines.last().unwrap_or(&Value::Null)
    }

    fn text(&self, name: &str) -> &str {
        self.last()[name].as_str().unwrap_or_else(|| panic!("{name}: {self:?}"))
    }

    /// It failed, and said so to people and to programs.
    fn failed(&self, code: i32, reason: &str, said: &str) {
        assert_eq!((self.code, self.text("reason")), (code, reason), "{self:?}");
        assert!(self.text("text").contains(said), "{said}: {self:?}");
        assert!(self.words.contains(&format!("{reason} (")) && self.words.contains(said), "{said}: {self:?}");
    }
}

#[test]
fn an_order_is_placed_shown_replaced_and_canceled_by_hand() {
    let gateway = start();
    let placed = gateway.rest();
    assert_eq!(placed["ord_status"], "New", "{placed}");
    let id = placed["cl_ord_id"].as_str().expect("ids are text");

    let status = gateway.run(&["order", "status", "--cl-ord-id", id]);
    assert_eq!((status.code, status.lines.len(), status.text("px")), (0, 1, "50000"), "{status:?}");

    let replaced = gateway.run(&["order", "replace", "--cl-ord-id", id, "--price", "49999.5"]);
    assert_eq!((replaced.code, replaced.text("exec_type")), (0, "Replaced"), "{replaced:?}");
    assert_eq!((replaced.text("px"), replaced.text("order_qty")), ("49999.5", "0.01"), "what is not named stays");

    let all = gateway.run(&["order", "list"]);
    assert_eq!((all.code, all.lines.len(), all.text("cl_ord_id")), (0, 1, id), "{all:?}");

    let canceled = gateway.run(&["order", "cancel", "--cl-ord-id", id]);
    assert_eq!((canceled.code, canceled.text("ord_status")), (0, "Canceled"), "{canceled:?}");
    assert_eq!(gateway.run(&["order", "list"]).lines.len(), 0);

    gateway.run(&["order", "cancel", "--cl-ord-id", id]).failed(65, "TooLate", "");
    gateway.run(&["order", "status", "--cl-ord-id", "7"]).failed(65, "UnknownOrder", "");
}

#[test]
fn a_market_order_is_followed_until_it_is_filled() {
    let gateway = start();
    gateway.rest();
    let run = gateway.run(&order(&["--qty", "0.001", "--wait", "done"]));
    assert_eq!((run.code, run.text("ord_status"), run.text("cum_qty")), (0, "Filled", "0.001"), "{run:?}");
}

#[test]
fn every_failure_has_an_exit_code_and_a_reason_of_its_own() {
    let gateway = start();
    gateway.rest();
    gateway.run(&order(&["--qty", "0.0000000001"])).failed(64, "Usage", "at most nine places");
    gateway.run(&order(&["--qty", "1", "--tif", "gtd"])).failed(64, "Usage", "day, gtc, ioc, fok");
    gateway.run(&order(&["--qty", "11", "--price", "50000"])).failed(65, "OrderQtyMax", "");
    gateway.run(&order(&["--qty", "0.01", "--price", "50000.001"])).failed(65, "PriceTick", "");
    let unknown = ["order", "new", "--instrument", "DOGE", "--side", "sell", "--qty", "1"];
    gateway.run(&unknown).failed(65, "InstrumentUnknown", "BTCUSDT (1)");
    let status = ["order", "list"];
    let by_hand = |address: &str, key: &str| {
        let place = ["--address", address, "--core", "1", "--environment", "virtual", "--key-id", "k"];
        let key = ["--secret-file", key, "--timeout", "500ms"];
        Run::of(gateway.command(&status).args(place).args(key).output().expect("ran"))
    };
    assert_eq!(by_hand(&gateway.address(), "key").code, 0, "the address is enough");
    write_key(&gateway.dir.path().join("wrong"), "another key, as long");
    by_hand(&gateway.address(), "wrong").failed(77, "AuthFailed", "secret");
    by_hand("unix:nobody.sock", "key").failed(69, "Unavailable", "unix:nobody.sock");
    std::fs::set_permissions(gateway.dir.path().join("wrong"), std::fs::Permissions::from_mode(0o644)).expect("set");
    by_hand(&gateway.address(), "wrong").failed(77, "Credential", "chmod 600");
    let options: [&[&str]; 3] = [&[], &["--log-format", "json"], &["--log-format=json"]];
    for options in options {
        let other = Command::new(BINARY)
            .args(options)
            .args(["order", "list", "--session", "9", "--json", "--config", "gateway.toml"])
            .current_dir(gateway.dir.path())
            .output();
        Run::of(other.expect("ran")).failed(64, "Usage", "allowed: 1");
    }
}

#[cfg(not(feature = "kafka"))]
#[test]
fn a_command_that_this_build_leaves_out_says_which_build_has_it() {
    for command in ["ship", "project", "dlq"] {
        let output = Command::new(BINARY).args(["--log-format=json", command, "status"]).output().expect("ran");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{said}");
        assert!(said.contains(command) && said.contains("--features kafka"), "{said}");
    }
}

/// A `watch` that runs, and its lines.
struct Watch {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Watch {
    fn start(gateway: &Gateway, words: &[&str]) -> Self {
        Self::of(gateway.command(&["watch"]).args(["--config", "gateway.toml"]).args(words))
    }

    fn of(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("started");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { child, lines }
    }

    /// Reads up to a line of this kind.
    fn read_to(&mut self, kind: &str) -> Value {
        loop {
            let line = self.lines.next().expect("watch goes on").expect("readable");
            let line: Value = serde_json::from_str(&line).expect("JSON");
            if line["type"] == kind {
                return line;
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn of_two_that_may_take_a_session_over_the_first_ends_rather_than_take_it_back() {
    let gateway = start();
    let mut first = Watch::start(&gateway, &["--take-over"]);
    first.read_to("Connected");
    let words = ["watch", "--session", "1", "--take-over", "--state", "second.state", "--json"];
    let mut command = Command::new(BINARY);
    let command = command.args(words).args(["--config", "gateway.toml"]).current_dir(gateway.dir.path());
    let mut second = Watch::of(command);
    second.read_to("Connected");
    assert_eq!(first.child.wait().expect("ended").code(), Some(69));
    assert!(second.child.try_wait().expect("known").is_none(), "the second has it to itself");
}

#[test]
fn a_command_that_follows_an_order_ends_when_its_gateway_knows_the_order_no_more() {
    let dir = tempfile::tempdir().expect("a directory");
    write_key(&dir.path().join("key"), "a key for these tests");
    // The place of a socket is the same after a restart.
    let config = CONFIG.replace("[listen]", "[listen]\nunix = \"socket\"");
    let mut gateway = Gateway { child: run(dir.path(), &config, &[]), dir };
    gateway.rest();
    let words = order(&["--qty", "0.01", "--price", "50000", "--wait", "done"]);
    let mut order = Watch::of(gateway.command(&words).args(["--config", "gateway.toml"]));
    while order.read_to("ExecReport")["ord_status"] != "New" {}
    gateway.child.kill().expect("killed");
    gateway.child.wait().expect("ended");
    for lost in ["data", "hot", "venue"] {
        std::fs::remove_dir_all(gateway.dir.path().join(lost)).expect("there");
    }
    let raised = config.replace("key_id = \"k\"", "key_id = \"k\"\nepoch = 2");
    gateway.child = run(gateway.dir.path(), &raised, &[]);
    let started = Instant::now();
    let end = loop {
        if let Some(end) = order.child.try_wait().expect("known") {
            break end;
        }
        assert!(started.elapsed() < DEADLINE, "it waits for ever");
        std::thread::yield_now();
    };
    assert_eq!((end.code(), order.read_to("Failure")["reason"].as_str()), (Some(69), Some("OutcomeUnknown")));
}

#[test]
fn a_watch_keeps_its_session_until_it_is_taken_and_replays_what_it_missed() {
    let gateway = start();
    let placed = gateway.rest();
    let mut watch = Watch::start(&gateway, &[]);
    assert_eq!(watch.read_to("Connected")["open_orders"], 1);
    gateway.run(&["order", "list"]).failed(77, "SessionInUse", "--take-over");
    // With it a command goes on without the file of the one that holds the session.
    assert_eq!(gateway.run(&["order", "list", "--take-over"]).text("cl_ord_id"), placed["cl_ord_id"]);
    assert_eq!(watch.read_to("Disconnected")["reason"], "TakenOver");
    watch.read_to("Connected");
    let second = |words: &[&str]| {
        let words = [&["order", "list", "--session", "1", "--json", "--config", "gateway.toml"], words].concat();
        let output =
            Command::new(BINARY).args(words).args(["--state", "second.state"]).current_dir(gateway.dir.path()).output();
        Run::of(output.expect("ran"))
    };
    second(&[]).failed(77, "SessionInUse", "--take-over");
    assert_eq!(second(&["--take-over"]).text("cl_ord_id"), placed["cl_ord_id"]);
    assert_eq!(watch.read_to("Disconnected")["reason"], "TakenOver");
    watch.read_to("Connected");
    kill_process(Pid::from_child(&watch.child), Signal::INT).expect("sent");
    assert!(watch.child.wait().expect("ended").success(), "Ctrl-C is a clean end");

    let id = placed["cl_ord_id"].as_str().expect("ids are text");
    let cancel = ["order", "cancel", "--cl-ord-id", id, "--session", "1", "--config", "gateway.toml"];
    let output =
        Command::new(BINARY).args(cancel).args(["--state", "second.state"]).current_dir(gateway.dir.path()).output();
    assert!(output.expect("ran").status.success());
    let mut watch = Watch::start(&gateway, &[]);
    let missed = watch.read_to("ExecReport");
    assert_eq!((&missed["exec_type"], &missed["cl_ord_id"]), (&"PendingCancel".into(), &placed["cl_ord_id"]));
    assert_eq!(watch.read_to("ExecReport")["exec_type"], "Canceled");
    assert_eq!(watch.read_to("Connected")["open_orders"], 0);
}

#[test]
fn a_flipped_bit_in_the_journal_is_named_with_its_place() {
    let mut gateway = start();
    let dir = gateway.dir.path().join("data/journal");
    let started = Instant::now();
    while tradecore_journal::stat(&dir).expect("undamaged").synced_seq < 2 {
        assert!(started.elapsed() < DEADLINE, "nothing was synced");
        std::thread::yield_now();
    }
    gateway.child.kill().expect("killed");
    gateway.child.wait().expect("gone");
    let verify = || look(&["verify", "--json"], &dir);
    let whole = verify();
    assert_eq!((whole.code, &whole.last()["ok"]), (0, &true.into()), "{whole:?}");
    assert!(whole.last()["last_seq"].as_str().and_then(|seq| seq.parse().ok()) >= Some(2), "{whole:?}");
    // The newest bytes are those in memory.
    let marker = std::fs::read_to_string(dir.join("hot")).expect("there");
    let segment = Path::new(marker.lines().nth(1).expect("a directory")).join("0000000001.hot");
    let mut bytes = std::fs::read(&segment).expect("readable");
    bytes[4096 + 40] ^= 1;
    std::fs::write(&segment, &bytes).expect("written");
    let damaged = verify();
    assert_eq!((damaged.code, &damaged.lines[0]["ok"]), (80, &false.into()), "{damaged:?}");
    let finding = &damaged.lines[0]["finding"];
    assert_eq!((&finding["flaw"], &finding["offset"]), (&"record".into(), &"4096".into()), "{damaged:?}");
    assert!(damaged.words.contains("JournalDamaged (80)") && damaged.words.contains("byte 4096"), "{damaged:?}");
}

/// A look at a journal, by its directory.
fn look(words: &[&str], dir: &Path) -> Run {
    Run::of(Command::new(BINARY).arg("journal").args(words).arg("--dir").arg(dir).output().expect("ran"))
}

#[test]
fn a_directory_without_a_journal_is_said_to_be_none() {
    let root = tempfile::tempdir().expect("a directory");
    let missing = root.path().join("missing");
    for dir in [root.path(), missing.as_path()] {
        for words in [["verify", "--json"], ["stat", "--json"], ["dump", "--json"], ["tail", "--json"]] {
            let run = look(&words, dir);
            assert_eq!(run.code, 69, "{words:?}: {run:?}");
            assert!(run.words.contains(&format!("no journal in {}\n", dir.display())), "{words:?}: {run:?}");
        }
    }
    assert!(!missing.exists());
}

#[test]
fn every_command_with_json_says_a_failure_as_the_last_line_of_stdout() {
    let mut asked = 0;
    let mut commands: Vec<Vec<String>> = vec![Vec::new()];
    while let Some(words) = commands.pop() {
        let help = Command::new(BINARY).args(&words).arg("--help").output().expect("ran");
        let help = String::from_utf8(help.stdout).expect("text");
        let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
        // What goes on behind a name that fits no line is deeper in.
        let names = listed.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
        let names = names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help");
        commands.extend(names.map(|name| [&words[..], &[name.to_owned()]].concat()));
        if help.lines().any(|line| line.trim_start().starts_with("--json")) {
            asked += 1;
            let output = Command::new(BINARY).args(&words).args(["--json", "--no-such-option"]).output().expect("ran");
            let run = Run::of(output);
            assert_eq!(run.code, 64, "{words:?}: {run:?}");
            let failure = run.last();
            let told = (&failure["type"], &failure["exit"], &failure["reason"]);
            assert_eq!(told, (&"Failure".into(), &64.into(), &"Usage".into()), "{words:?}: {run:?}");
        }
    }
    assert!(asked > 20, "{asked} commands");
}

#[test]
fn what_was_durable_and_is_missing_fails_a_check_of_the_journal() {
    let root = tempfile::tempdir().expect("a directory");
    let dir = root.path().join("journal");
    let (writer, _, _, closer) =
        tradecore_journal::open(&tradecore_journal::Config::new(&dir)).expect("opens").into_parts();
    closer.seal(writer);
    assert_eq!(look(&["verify", "--json"], &dir).code, 0);
    let (durable, kept) = (dir.join("durable"), root.path().join("kept"));
    std::fs::rename(&durable, &kept).expect("moved");
    let run = look(&["verify", "--json"], &dir);
    assert_eq!((run.code, &run.lines[0]["finding"]["flaw"]), (80, &"number".into()), "{run:?}");
    assert!(run.words.contains(&format!("{}: the file is missing", durable.display())), "{run:?}");

    std::fs::rename(&kept, &durable).expect("moved");
    let (mut writer, _, watermarks, closer) =
        tradecore_journal::open(&tradecore_journal::Config::new(&dir)).expect("opens").into_parts();
    writer.begin(1);
    writer.append(64, 1, 8, |out| out.fill(1));
    writer.commit();
    closer.seal(writer);
    assert_eq!(watermarks.synced(), 1);
    assert_eq!(look(&["verify", "--json"], &dir).code, 0);
    std::fs::remove_file(dir.join("0000000002.jnl")).expect("removed");
    let run = look(&["verify", "--json"], &dir);
    assert_eq!((run.code, &run.lines[0]["finding"]["flaw"]), (80, &"lost".into()), "{run:?}");
    assert!(run.words.contains("0000000001.jnl, byte ") && run.words.contains(": events 1 to 1 were"), "{run:?}");
}

#[test]
fn output_that_cannot_be_written_is_a_failure_and_a_reader_that_has_gone_is_none() {
    let gateway = start();
    gateway.rest();
    let commands: [&[&str]; 7] = [
        &["journal", "stat", "--dir", "data/journal"],
        &["journal", "dump", "--json", "--dir", "data/journal"],
        &["journal", "verify", "--dir", "data/journal"],
        &["config", "show", "--config", "gateway.toml"],
        &["order", "list", "--session", "1", "--state", "cli.state", "--config", "gateway.toml"],
        &["watch", "--session", "1", "--state", "cli.state", "--config", "gateway.toml"],
        &["--help"],
    ];
    for words in commands {
        let run = |stdout: Stdio| {
            let output = Command::new(BINARY).args(words).current_dir(gateway.dir.path()).stdout(stdout).output();
            Run::of(output.expect("ran"))
        };
        let full = run(std::fs::File::create("/dev/full").expect("there").into());
        assert_eq!(full.code, 74, "{words:?}: {full:?}");
        assert!(full.words.contains("Io (74): stdout: No space left on device"), "{words:?}: {full:?}");
        let (reader, writer) = std::io::pipe().expect("made");
        drop(reader);
        let closed = run(writer.into());
        assert_eq!((closed.code, closed.words.as_str()), (0, ""), "{words:?}: {closed:?}");
    }
}

#[test]
fn log_lines_are_plain_text_or_objects_where_no_terminal_reads_them() {
    let lines_of = |format: &str| {
        let mut gateway = start_with(&["--log-format", format]);
        let log = || std::fs::read_to_string(gateway.dir.path().join("log")).expect("a log");
        let started = Instant::now();
        while !log().lines().any(|line| line.contains("ready")) {
            assert!(started.elapsed() < DEADLINE, "{}", log());
            std::thread::yield_now();
        }
        drop(gateway.child.kill());
        drop(gateway.child.wait());
        log().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let text = lines_of("text");
    assert!(text.iter().any(|line| line.contains("INFO") && line.contains("ready")), "{text:?}");
    assert!(!text.iter().any(|line| line.contains('\u{1b}')), "colors are for terminals: {text:?}");
    let messages = lines_of("json").into_iter().map(|line| {
        let object: Value = serde_json::from_str(&line).expect("an object");
        assert!(object["level"].is_string(), "{line}");
        object["message"].as_str().expect("a text").to_owned()
    });
    assert!(messages.collect::<Vec<_>>().contains(&"ready".to_owned()));
}

#[test]
fn the_readme_lists_every_exit_code() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).expect("there");
    let table = readme.lines().skip_while(|line| !line.starts_with("| exit code")).take_while(|line| !line.is_empty());
    let mut listed: Vec<u8> = table
        .filter_map(|line| line.split('|').nth(1))
        .flat_map(|codes| codes.split(','))
        .filter_map(|code| code.trim().parse().ok())
        .collect();
    listed.sort_unstable();
    let declared: Vec<u8> = tradecore::exit::Exit::TABLE.iter().map(|(code, ..)| *code).collect();
    assert_eq!(listed, declared);
}

#[test]
fn the_unit_starts_no_gateway_again_that_a_person_must_look_at_first() {
    let unit =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/tradecore@.service")).expect("there");
    let listed = unit.lines().find_map(|line| line.strip_prefix("RestartPreventExitStatus=")).expect("a list");
    let listed: Vec<u8> = listed.split(' ').map(|code| code.parse().expect("a number")).collect();
    let declared: Vec<u8> = tradecore::exit::Exit::FOR_PEOPLE.iter().map(|exit| exit.code()).collect();
    assert_eq!(listed, declared);
}

/// Pids of every child of a process.
fn children(parent: u32) -> Vec<u32> {
    let pids = std::fs::read_dir("/proc").expect("there").flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| stat(*pid).is_some_and(|stat| stat.1 == parent))
        .collect()
}

/// State and parent of a process, proc_pid_stat(5).
fn stat(pid: u32) -> Option<(char, u32)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut words = text.rsplit(')').next()?.split_whitespace();
    Some((words.next()?.chars().next()?, words.next()?.parse().ok()?))
}

#[test]
fn a_demo_that_is_killed_takes_venue_and_gateway_with_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut demo = Command::new(BINARY)
        .args(["demo", "--quiet", "--seconds", "600", "--kills", "0", "--dir", "demo"])
        .current_dir(dir.path())
        .spawn()
        .expect("started");
    let started = Instant::now();
    while !dir.path().join("demo/data/listening").exists() {
        assert!(started.elapsed() < DEADLINE, "the gateway did not start");
        std::thread::yield_now();
    }
    let children = children(demo.id());
    demo.kill().expect("killed");
    demo.wait().expect("gone");
    assert_eq!(children.len(), 2, "venue and gateway");
    // What nobody waits for stays as a zombie; it runs no more.
    let runs = |pid: &u32| stat(*pid).is_some_and(|(state, _)| state != 'Z');
    let killed = Instant::now();
    while children.iter().any(runs) {
        if killed.elapsed() > DEADLINE {
            for pid in children {
                // It may have ended meanwhile.
                let _ended = kill_process(Pid::from_raw(pid.cast_signed()).expect("not 0"), Signal::KILL);
            }
            panic!("a child outlives the demo");
        }
        std::thread::yield_now();
    }
    // Segments in memory outlive whoever is killed; here nobody comes back for them.
    let marker = std::fs::read_to_string(dir.path().join("demo/data/journal/hot")).unwrap_or_default();
    if let Some(hot_dir) = marker.lines().nth(1) {
        std::fs::remove_dir_all(hot_dir).expect("removed");
    }
}

#[test]
fn a_demo_refuses_a_directory_that_is_in_use_and_touches_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("key"), "mine").expect("written");
    let output = Command::new(BINARY).args(["demo", "--quiet", "--dir"]).arg(dir.path()).output().expect("ran");
    assert_eq!(output.status.code(), Some(64));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("is not empty"), "{text}");
    assert_eq!(std::fs::read_to_string(dir.path().join("key")).expect("there"), "mine");
    assert_eq!(std::fs::read_dir(dir.path()).expect("there").count(), 1);
}

/// Command lines of the processes that run with a file of `dir`.
fn running_in(dir: &std::path::Path) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").expect("there").flatten();
    let command_lines = processes.filter_map(|entry| std::fs::read_to_string(entry.path().join("cmdline")).ok());
    command_lines.filter(|line| line.contains(&dir.display().to_string())).collect()
}

/// A demo that is sent SIGINT once `file` is there, and that leaves no process behind: its exit code, and what it said.
fn interrupted(file: &str) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().expect("a directory");
    let demo = Command::new(BINARY)
        .args(["demo", "--quiet", "--seconds", "600", "--dir"])
        .arg(dir.path())
        // Of another gateway; the demo has a journal of its own.
        .env("TRADECORE__CORE__DATA_DIR", "/nonexistent/elsewhere")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    let started = Instant::now();
    while !dir.path().join(file).exists() {
        assert!(started.elapsed() < DEADLINE, "{file} did not come");
        std::thread::yield_now();
    }
    kill_process(Pid::from_child(&demo), Signal::INT).expect("sent");
    let output = demo.wait_with_output().expect("ended");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(running_in(dir.path()), [""; 0], "{file}: {text}");
    (output.status.code(), text)
}

#[test]
fn a_demo_that_is_interrupted_says_so_and_never_ends_as_if_it_had_proven_all() {
    for file in ["gateway.toml", "algo3.state"] {
        let (code, text) = interrupted(file);
        assert_eq!(code, Some(90), "{file}: {text}");
        assert!(text.contains("Interrupted (90): interrupted"), "{file}: {text}");
    }
}

#[test]
fn a_demo_whose_output_cannot_be_written_fails() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("there");
    let output = Command::new(BINARY)
        .args(["demo", "--seconds", "1"])
        .env("TMPDIR", tempfile::tempdir().expect("a directory").path())
        .stdout(full)
        .output()
        .expect("ran");
    assert_eq!(output.status.code(), Some(74), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_demo_whose_venue_does_not_start_says_so_and_names_its_log() {
    let above = tempfile::tempdir().expect("a directory");
    // Longer than a path of a socket may be.
    let dir = above.path().join("d".repeat(120));
    let output = Command::new(BINARY).args(["demo", "--quiet", "--dir"]).arg(&dir).output().expect("ran");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(69), "{text}");
    let log = dir.join("venue.log");
    assert!(text.contains("`tradecore venue` ended by itself"), "{text}");
    assert!(text.contains(&log.display().to_string()), "{text}");
    assert!(!std::fs::read_to_string(log).expect("there").is_empty());
}

#[test]
fn a_length_of_segments_that_is_not_in_force_is_told_of_by_check_and_show_where_it_was_written() {
    let dir = tempfile::tempdir().expect("a directory");
    for (lengths, told) in [("", 0), ("[journal]\nfirst_segment_mib = 1\nmax_segment_mib = 2\n", 2)] {
        let config = format!("{}{lengths}", with_capture(CONFIG));
        std::fs::write(dir.path().join("gateway.toml"), config).expect("written");
        for command in ["check", "show"] {
            let words = ["config", command, "--config", "gateway.toml"];
            let output = Command::new(BINARY).args(words).current_dir(dir.path()).output().expect("ran");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{said}");
            let told_of =
                said.lines().filter(|line| line.contains("_segment_mib = ") && line.contains(" is raised to "));
            assert_eq!(told_of.count(), told, "{command}: {said}");
        }
    }
}
