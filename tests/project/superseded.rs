//! Tables on a server that two hosts of one core reach: those of the host that has taken over, whatever the other does.

use std::path::Path;
use std::process::Output;
use std::time::Instant;

use rustix::process::Signal;
use tradecore::exit::Exit;
use tradecore::projections::Source;
use tradecore::projections::store::Store;

use super::host::{DEADLINE, Host, LOG, Process};
use super::server::Postgres;
use super::{LOOK, edit, write_password};

const STOPS: &str = "another host has taken over; new orders are refused, and the gateway stops";
const LEFT: &str = "the tables on the PostgreSQL server are left to the other host";

/// Start epochs of a host that was restored are so many above those of the lost one, at least.
const APART: u32 = 60;

fn epoch_of(source: &Source) -> u32 {
    Store::open_to_read(source).and_then(|mut store| store.position()).map_or(0, |position| position.epoch)
}

#[track_caller]
fn wait_for_epoch(source: &Source, least: u32) {
    let until = Instant::now() + DEADLINE;
    while epoch_of(source) < least {
        assert!(Instant::now() < until, "the tables are of start epoch {}, not {least}", epoch_of(source));
        std::thread::park_timeout(LOOK);
    }
}

fn gateway(config: &Path) -> Process {
    let mut gateway = Host::start_at(config, &["run"]);
    gateway.wait_for("ready addresses");
    gateway
}

#[track_caller]
fn end(gateway: Process) {
    gateway.signal(Signal::TERM);
    let (code, said) = gateway.end();
    assert_eq!(code, Some(0), "{said}");
}

/// Though it has no lease: it trades no more.
#[track_caller]
fn assert_stops_for_good(mut gateway: Process) {
    if !gateway.heard().contains(STOPS) {
        gateway.wait_for(STOPS);
    }
    let (code, said) = gateway.end();
    assert_eq!(code, Some(i32::from(Exit::TakenOver.code())), "{said}");
}

#[track_caller]
fn assert_left(output: &Output) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(i32::from(Exit::ProjectionLocked.code())), "{said}");
    assert!(said.contains("the tables know") && said.contains("rebuild --database postgres"), "{said}");
}

#[test]
fn a_host_whose_place_was_taken_lets_go_of_the_tables_and_makes_none_anew_but_by_a_person_s_word() {
    let postgres = Postgres::get();
    let (name, settings) = ("project_superseded", "timeout_ms = 15000\nhealth_s = 1\n");
    let host = Host::new(&format!("{settings}{}", postgres.section(name)));
    write_password(host.dir.path(), &postgres);
    let key = host.dir.path().join("algo1");
    std::fs::write(&key, "0123456789abcdef0123456789abcdef").expect("written");
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("set");
    edit(&host, "[listen]", "[listen]\ntcp = \"127.0.0.1:0\"");
    edit(&host, "#idle = \"busy\"", "idle = \"park\"");
    let source = Source { keep_days: 90, ..postgres.source(&host.journal_dir(), name) };
    let other = host.dir.path().join("other.toml");
    let text = std::fs::read_to_string(host.config()).expect("read");
    // With a venue of its own process.
    let text = text.replace("data_dir = \"data\"", "data_dir = \"other\"").replace("data/venue", "other/venue");
    std::fs::write(&other, text).expect("written");

    let mut first = gateway(&host.config());
    first.wait_for("shipping to Kafka stream");
    wait_for_epoch(&source, 1);
    // Who ships the same journal takes nothing of it over.
    host.succeed(&["ship", "run", "--drain"]);
    first.wait_for("shipping to Kafka has stopped");
    assert!(!first.heard().contains(LEFT), "{}", first.heard());
    end(first);
    let mut first = gateway(&host.config());
    first.wait_for("shipping to Kafka stream");
    let words = ["journal", "restore", "--from-kafka", "--take-over"];
    let output = Host::command_at(&other, LOG, &words).output().expect("run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    first.wait_for(LEFT);
    assert_stops_for_good(first);
    let second = gateway(&other);
    wait_for_epoch(&source, APART);
    end(second);

    // It comes back while nobody writes them.
    assert_stops_for_good(gateway(&host.config()));
    let of_second = epoch_of(&source);
    assert!(of_second >= APART, "{of_second}");
    for command in ["catch-up", "status"] {
        assert_left(&host.run(&["projection", command, "--database", "postgres"]));
    }
    assert_eq!(epoch_of(&source), of_second);
    host.succeed(&["projection", "rebuild", "--database", "postgres"]);
    assert!(epoch_of(&source) < APART);
    host.succeed(&["projection", "verify", "--database", "postgres"]);
}
