//! The gateway as a process: what bad input gets, what a start refuses, and what survives a kill. Sessions and their
//! bytes are the matter of `tests/sessions.rs`.
#![allow(clippy::expect_used, clippy::panic, clippy::arithmetic_side_effects, clippy::indexing_slicing)]

#[path = "gateway/journals.rs"]
mod journals;
#[path = "gateway/stop.rs"]
mod stop;
#[path = "gateway/venue.rs"]
mod venue;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tradecore_client::protocol::reason::Reason;
use tradecore_client::{Address, Client, ClientError, Event, Options, px, qty};

const BINARY: &str = env!("CARGO_BIN_EXE_tradecore");
const SECRET: &[u8] = b"a key for these tests";

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

fn config(extra: &str) -> String {
    format!(
        r#"
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
[venue.exchange]
instruments = [{{ symbol = "BTCUSDT", tick_size = "0.01", lot_size = "0.00001" }}]

[[instruments]]
id = 1
symbol = "BTCUSDT"
currency = "USDT"
tick_size = "0.01"
lot_size = "0.00001"
qty_min = "0.00001"
order_qty_max = "10"
order_notional_max = "1000000"
collar_ppm = 50000
quote_age_max_ms = 5000

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
{extra}"#
    )
}

fn write_config(dir: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::create_dir_all(dir.join("data")).expect("made");
    std::fs::write(dir.join("gateway.toml"), text).expect("written");
    std::fs::write(dir.join("key"), SECRET).expect("written");
    std::fs::set_permissions(dir.join("key"), std::fs::Permissions::from_mode(0o600)).expect("set");
}

fn spawn(dir: &Path) -> Child {
    drop(std::fs::remove_file(dir.join("data/listening")));
    Command::new(BINARY)
        .args(["run", "--config"])
        .arg(dir.join("gateway.toml"))
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started")
}

fn start() -> Gateway {
    let dir = tempfile::tempdir().expect("a directory");
    write_config(dir.path(), &config(""));
    let gateway = Gateway { child: spawn(dir.path()), dir };
    address(&gateway);
    gateway
}

fn address(gateway: &Gateway) -> String {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(20) {
        if let Some(address) = tradecore::daemon::listening(&gateway.dir.path().join("data")).pop() {
            return address;
        }
        std::thread::yield_now();
    }
    panic!("the gateway did not start");
}

fn options(gateway: &Gateway, secret: &[u8]) -> Options {
    Options::new(Address::Tcp(address(gateway)), 1, "k", secret)
}

#[test]
fn a_wrong_key_is_refused_and_told_nothing_else() {
    let gateway = start();
    match Client::connect(options(&gateway, b"another key, as long")) {
        Err(ClientError::Refused { reason, text }) => assert_eq!((reason, text.as_str()), (Reason::AuthFailed, "")),
        other => panic!("{:?}", other.map(drop)),
    }
}

#[test]
fn every_refusable_field_of_an_order_gets_its_own_reason() {
    use tradecore_client::NewOrder;
    use tradecore_client::protocol::fields::{Px, Qty, Side, Tif};
    let gateway = start();
    let mut client = Client::connect(options(&gateway, SECRET)).expect("logs on");
    let good = NewOrder::limit(1, 1, Side::Buy, qty("0.5").expect("exact"), px("100.25").expect("exact"));
    let cases = [
        (NewOrder { qty: Qty(0), ..good }, Reason::QtyNotPositive),
        (NewOrder { px: Some(Px(0)), ..good }, Reason::PriceNotPositive),
        (NewOrder { px: Some(Px(1)), ..good }, Reason::PriceTick),
        (NewOrder { qty: Qty(1), ..good }, Reason::QtyLot),
        (NewOrder { qty: qty("11").expect("exact"), ..good }, Reason::OrderQtyMax),
        (NewOrder { instrument_id: 9, ..good }, Reason::InstrumentUnknown),
        (NewOrder { exec_flags: 0x40, ..good }, Reason::ExecFlagsInvalid),
        (NewOrder { exec_flags: 1, tif: Tif::Ioc, ..good }, Reason::PostOnlyInvalid),
        (NewOrder { px: None, tif: Tif::Gtc, ..good }, Reason::MarketTifInvalid),
        (NewOrder { valid_until_ns: 1, ..good }, Reason::StaleRequest),
        // The venue of this test has no market: the collar cannot be checked, so nothing passes.
        (good, Reason::MarketStale),
    ];
    let mut waiting = cases.iter();
    let mut next = waiting.next();
    while let Some((order, reason)) = next {
        let id = client.new_order(order).expect("sent");
        loop {
            match client.poll(Duration::from_secs(5)).expect("answered") {
                Some(Event::Reject(reject)) => {
                    let said = Reason::from_raw(reject.reason.get()).expect("known");
                    if said == Reason::BrokerNotReady {
                        // Not a decision: the same order is tried again, under a new id.
                        break;
                    }
                    assert_eq!((said, reject.cl_ord_id.get()), (*reason, id.0), "{order:?}");
                    assert!(!reject.text.as_str().is_empty(), "{reason:?} has a text");
                    next = waiting.next();
                    break;
                }
                Some(_) => {}
                None => panic!("{reason:?}: no answer"),
            }
        }
    }
}

#[test]
fn an_account_of_another_session_is_refused() {
    use tradecore_client::NewOrder;
    use tradecore_client::protocol::fields::Side;
    let gateway = start();
    let mut client = Client::connect(options(&gateway, SECRET)).expect("logs on");
    client
        .new_order(&NewOrder::limit(1, 2, Side::Buy, qty("1").expect("exact"), px("1").expect("exact")))
        .expect("sent");
    match client.poll(Duration::from_secs(5)).expect("answered") {
        Some(Event::Reject(reject)) => assert_eq!(reject.reason.get(), Reason::AccountForbidden.raw()),
        other => panic!("{other:?}"),
    }
}

fn exit_of(dir: &Path) -> (i32, String) {
    end_of(spawn(dir))
}

/// Exit code and words of a process that ends by itself.
fn end_of(mut child: Child) -> (i32, String) {
    let started = Instant::now();
    while child.try_wait().expect("asked").is_none() {
        if started.elapsed() > Duration::from_secs(20) {
            drop(child.kill());
            panic!("it goes on, and should not");
        }
        std::thread::yield_now();
    }
    let output = child.wait_with_output().expect("ended");
    (output.status.code().expect("by itself"), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_wrong_configuration_names_the_key_and_what_is_allowed() {
    let dir = tempfile::tempdir().expect("a directory");
    let cases = [
        (config("colour = 1"), "colour"),
        (config("").replace("127.0.0.1:0", "0.0.0.0:0"), "i_accept_plaintext_on_a_network"),
        (config("").replace("tick_size = \"0.01\"\nlot_size", "tick_size = \"-1\"\nlot_size"), "tick_size"),
        (config("").replace("accounts = [1]", "accounts = [7]"), "accounts"),
        (config("").replace("id = 1\nenvironment", "id = \"one\"\nenvironment"), "id"),
    ];
    for (text, named) in cases {
        write_config(dir.path(), &text);
        let (code, message) = exit_of(dir.path());
        assert_eq!(code, 78, "{message}");
        assert!(message.contains(named), "{named}: {message}");
    }
    write_config(dir.path(), &config("").replace("idle = ", "cpu = 1023\nidle = "));
    let check =
        Command::new(BINARY).args(["config", "check", "--config"]).arg(dir.path().join("gateway.toml")).output();
    let check = check.expect("ran");
    let checked = (check.status.code().expect("by itself"), String::from_utf8_lossy(&check.stderr).into_owned());
    for (code, message) in [exit_of(dir.path()), checked] {
        assert_eq!(code, 78, "{message}");
        assert!(
            message.contains("gateway.toml:8: core.cpu = 1023: this process may not use that CPU; allowed: one of ["),
            "{message}"
        );
    }
    write_config(dir.path(), &config(""));
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(dir.path().join("key"), std::fs::Permissions::from_mode(0o644)).expect("set");
    let (code, message) = exit_of(dir.path());
    assert_eq!(code, 77, "{message}");
    assert!(message.contains("chmod 600"), "{message}");
}

#[test]
fn a_venue_says_where_it_listens_and_who_comes_and_goes() {
    let dir = tempfile::tempdir().expect("a directory");
    write_config(dir.path(), &config("").replace("listen = []", "listen = [\"127.0.0.1:0\"]"));
    let log = dir.path().join("log");
    let child = Command::new(BINARY)
        .args(["venue", "--config"])
        .arg(dir.path().join("gateway.toml"))
        .stdin(Stdio::null())
        .stderr(std::fs::File::create(&log).expect("made"))
        .spawn()
        .expect("started");
    let _venue = Gateway { child, dir };
    let wait_for = |words: &str| {
        let started = Instant::now();
        loop {
            let text = std::fs::read_to_string(&log).expect("text");
            // A line that has its end.
            let line = text.split_inclusive('\n').find(|line| line.contains(words) && line.ends_with('\n'));
            if let Some((_, behind)) = line.and_then(|line| line.split_once(words)) {
                return behind.trim_end().to_owned();
            }
            assert!(started.elapsed() < Duration::from_secs(20), "{words}: {text}");
            std::thread::yield_now();
        }
    };
    let address = wait_for("the venue listens address=\"tcp:");
    let client = std::net::TcpStream::connect(address.trim_end_matches('"')).expect("connects");
    wait_for("a connection to the venue has come no=1");
    drop(client);
    wait_for("a connection to the venue has gone no=1");
}

#[test]
fn what_a_start_lacks_on_this_host_is_found_before_the_journal_is_touched() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let no_key = config("").replace("secret_file = \"key\"", "secret_file = \"none\"");
    let no_socket = config("").replace("[broker]", "unix = \"none/gateway.sock\"\n[broker]");
    let cases = [
        (no_key, 77, "none"),
        (config("").replace("127.0.0.1:0", &address), 69, "is another gateway running?"),
        (no_socket, 69, "none/gateway.sock"),
    ];
    for (text, exit, named) in cases {
        let dir = tempfile::tempdir().expect("a directory");
        write_config(dir.path(), &text);
        let (code, message) = exit_of(dir.path());
        assert_eq!(code, exit, "{message}");
        assert!(message.contains(named), "{message}");
        for made in ["data/journal", "hot"] {
            assert!(!dir.path().join(made).exists(), "{named}: no epoch, no segment, in memory neither: {made}");
        }
    }
}

#[test]
fn a_journal_whose_first_segments_were_removed_is_refused_with_its_own_code() {
    let mut gateway = start();
    gateway.child.kill().expect("killed");
    gateway.child.wait().expect("gone");
    gateway.child = spawn(gateway.dir.path());
    address(&gateway);
    gateway.child.kill().expect("killed");
    gateway.child.wait().expect("gone");
    let dir = gateway.dir.path().join("data/journal");
    let stat = tradecore_journal::stat(&dir).expect("undamaged");
    let mut retention = tradecore_journal::Retention::open(&dir).expect("opens");
    retention.register("reader").expect("a name");
    retention.advance("reader", stat.last_seq).expect("written");
    assert_eq!(retention.remove().expect("removed"), [1]);
    let (code, message) = exit_of(gateway.dir.path());
    assert_eq!(code, 89, "{message}");
    assert!(message.contains("older segments were removed"), "{message}");
}

#[test]
fn a_second_gateway_and_a_damaged_journal_are_refused_with_their_own_codes() {
    let mut gateway = start();
    let (code, message) = exit_of(gateway.dir.path());
    assert_eq!(code, 81, "{message}");
    // Damage is told from a torn tail by what was durable.
    let dir = gateway.dir.path().join("data/journal");
    let is_synced = |stat: tradecore_journal::Stat| stat.synced_seq >= stat.last_seq;
    while !is_synced(tradecore_journal::stat(&dir).expect("undamaged")) {
        std::thread::yield_now();
    }
    gateway.child.kill().expect("killed");
    gateway.child.wait().expect("gone");
    // The newest bytes are those in memory.
    let marker = std::fs::read_to_string(dir.join("hot")).expect("there");
    let segment = PathBuf::from(marker.lines().nth(1).expect("a directory")).join("0000000001.hot");
    let mut bytes = std::fs::read(&segment).expect("readable");
    bytes[4096 + 40] ^= 1;
    std::fs::write(&segment, &bytes).expect("written");
    let (code, message) = exit_of(gateway.dir.path());
    assert_eq!(code, 80, "{message}");
    assert_eq!(std::fs::read(&segment).expect("readable"), bytes, "nothing was changed");
}

#[test]
fn a_journal_of_another_core_or_environment_is_refused_and_not_touched() {
    let mut gateway = start();
    gateway.child.kill().expect("killed");
    gateway.child.wait().expect("gone");
    let data = gateway.dir.path().join("data/journal");
    let content = || {
        let mut files: Vec<_> =
            std::fs::read_dir(&data).expect("readable").map(|e| e.expect("an entry").path()).collect();
        files.sort();
        let files = files.into_iter().filter(|path| path.is_file() && !path.ends_with("LOCK"));
        files.map(|path| (std::fs::read(&path).expect("readable"), path)).collect::<Vec<_>>()
    };
    let before = content();
    let is_not_touched = || content() == before;
    for (from, to, named) in [
        ("id = 1\nenvironment", "id = 2\nenvironment", "core.id = 2"),
        ("environment = \"virtual\"", "environment = \"paper\"", "core.environment = \"paper\""),
    ] {
        write_config(gateway.dir.path(), &config("").replace(from, to));
        let (code, message) = exit_of(gateway.dir.path());
        assert_eq!(code, 78, "{message}");
        assert!(message.contains("is of core.id = 1, core.environment = \"virtual\""), "{message}");
        assert!(message.contains(named), "{named}: {message}");
        assert!(is_not_touched(), "{named}: no epoch, no segment, no event");
    }
    write_config(gateway.dir.path(), &config(""));
    gateway.child = spawn(gateway.dir.path());
    address(&gateway);
}

/// Runs a demo in a directory of its own: how it ended, what it said, and where it was.
fn demo(arguments: &[&str]) -> (Option<i32>, String, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    let output =
        Command::new(BINARY).args(["demo", "--quiet", "--dir"]).arg(dir.path()).args(arguments).output().expect("ran");
    let text = format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code(), text, dir)
}

#[test]
fn nothing_is_lost_or_doubled_when_gateway_and_venue_are_killed_under_load() {
    let (code, text, _) = demo(&["--seconds", "8", "--kills", "5", "--venue-kills", "4"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("SIGKILLs: 3 to the gateway, 2 to the venue, 2 to both at once"), "{text}");
    assert!(text.contains("after each of 7 SIGKILLs"), "{text}");
    assert!(text.contains("times an order came in doubt: each was resolved"), "the kills struck something: {text}");
    assert!(text.contains("holds: nothing lost, nothing twice"), "{text}");
}

#[test]
fn nothing_is_lost_or_doubled_when_the_venue_loses_replies() {
    // Kills would end a connection before its silence is noticed.
    let faults = ["--lost-reply-ppm", "5000", "--duplicate-event-ppm", "50000"];
    let (code, text, dir) = demo(&[&["--seconds", "12", "--kills", "0"], &faults[..]].concat());
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("holds: nothing lost, nothing twice"), "{text}");
    let log = std::fs::read_to_string(dir.path().join("run.log")).expect("a log");
    assert!(log.contains("has not answered"), "a reply was lost: {log}");
}

#[test]
fn nothing_is_lost_or_doubled_when_the_venue_drops_connections_and_repeats_events() {
    let faults = ["--drop-ppm", "2000", "--lost-reply-ppm", "2000", "--duplicate-event-ppm", "50000"];
    let (code, text, dir) = demo(&[&["--seconds", "8", "--kills", "2", "--venue-kills", "2"], &faults[..]].concat());
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("holds: nothing lost, nothing twice"), "{text}");
    let log = std::fs::read_to_string(dir.path().join("run.log")).expect("a log");
    // Once each for the start and three strikes; the rest are dropped connections.
    assert!(log.matches("the broker is ready").count() > 4, "connections were dropped: {log}");
}

#[test]
fn a_demo_that_trades_nothing_by_itself_waits_until_something_is_proven_and_says_it_to_programs() {
    let (code, text, _) = demo(&["--seconds", "0", "--kills", "1", "--json"]);
    assert_eq!(code, Some(0), "{text}");
    let said: serde_json::Value = serde_json::from_str(&text).expect("one object, and nothing else");
    let count = |value: &serde_json::Value| value.as_u64().expect("a number");
    assert!(count(&said["proof"]["orders"]) >= 20, "{text}");
    assert_eq!(said["proof"]["holds"], true, "{text}");
    assert_eq!(said["proof"]["differences"], serde_json::json!([]), "{text}");
    assert_eq!(said["kills"]["gateway"], 1, "{text}");
    assert!(count(&said["kills"]["orders_on_their_way"]) > 0, "{text}");
    let orders: u64 = said["algos"].as_array().expect("algos").iter().map(|algo| count(&algo["orders"])).sum();
    assert_eq!(orders, count(&said["proof"]["orders"]), "every order was accepted once, and told: {text}");
}

#[test]
fn more_connections_than_the_system_gives_descriptors_for_are_refused_before_anything_is_touched() {
    let dir = tempfile::tempdir().expect("a directory");
    write_config(dir.path(), &config(""));
    let run = |files: u32| {
        let script = format!("ulimit -n {files} && exec \"$0\" config check --config \"$1\"");
        let config = dir.path().join("gateway.toml");
        Command::new("sh").args(["-c", &script, BINARY]).arg(config).output().expect("ran")
    };
    let refused = run(600);
    let text = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(78), "{text}");
    assert!(text.contains("listen.connections_max") && text.contains("at most 472"), "{text}");
    assert!(run(1_200).status.success());
}
