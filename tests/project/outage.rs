//! Cluster and server that are away for long, in seconds: what waits is bounded, costs no memory, and arrives.
//! `tradecore-bench outage` does so for as long as one likes, and measures what an order feels of it.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use tradecore_client::protocol::fields::Tif;
use tradecore_client::protocol::reason::Reason;

use super::desk::{Algo, Desk};
use super::host::{DEADLINE, Host, Process, objects, pass, said, wait_until};
use super::server::Postgres;
use super::write_password;

/// How much more memory the gateway may have at the end than behind the first orders: some 9 MiB of events later.
const GROWTH_MAX_KIB: u64 = 2_048;
/// Orders that are sent before one of them is waited for.
const BURST: usize = 20;
/// Then everything that a gateway makes room for once is there; the bound of what may wait is far.
const EARLY_ORDERS: usize = 4_000;
/// Each burst waits for a sync, on whatever disk this is.
const FILLING_MAX: Duration = Duration::from_secs(600);
const BURST_EVERY: Duration = Duration::from_millis(5);

const SCHEMA: &str = "project_outage";

#[test]
fn cluster_and_server_that_are_away_for_long_cost_new_orders_at_last_and_neither_memory_nor_an_event() {
    let postgres = Postgres::get();
    postgres.drop_schema(SCHEMA);
    let section = postgres.section(SCHEMA);
    let desk = Desk::alone(&format!("timeout_ms = 10000\nbatch_events_max = 2000\nhealth_s = 0\n{section}"));
    let host = &desk.host;
    write_password(host.dir.path(), &postgres);
    let mut text = std::fs::read_to_string(host.config()).expect("read");
    // Small segments, for what waits is counted in whole ones.
    for (default, small) in [
        ("#orders_max = 8192", "orders_max = 256"),
        ("#first_segment_mib = 8", "first_segment_mib = 1"),
        ("#max_segment_mib = 64", "max_segment_mib = 1"),
        ("#unshipped_max_mib = 0", "unshipped_max_mib = 12"),
    ] {
        assert!(text.contains(default), "{default}");
        text = text.replace(default, small);
    }
    std::fs::write(host.config(), text).expect("written");
    let mut gateway = Desk::gateway(&host.config());
    let mut algo = Algo::at(&host.dir.path().join("data"));
    let (resting, _) = algo.trade(Tif::Gtc);
    wait_until(host, "lag_events", "0");
    wait_for_tables(host);
    if !host.broker.kill() || !postgres.kill() {
        println!("NOT run: broker or server is not ours (TRADECORE_TEST_KAFKA_DIR, TRADECORE_TEST_POSTGRES_DIR)");
        return;
    }
    let (since, mut early_kib, mut orders) = (Instant::now(), None, 0);
    loop {
        // Slower than it could: what waits beyond the bound until the gate is looked at must be shipped as well.
        pass(BURST_EVERY);
        let ids: Vec<_> = (0..BURST).map(|_| algo.send(Tif::Ioc)).collect();
        orders += BURST;
        let answer = algo.answer(ids[BURST - 1]);
        if early_kib.is_none() && orders >= EARLY_ORDERS {
            early_kib = Some(own_kib(&gateway));
        }
        if answer == Some(Reason::JournalFull) {
            break;
        }
        assert!(since.elapsed() < FILLING_MAX, "the gate does not close: {answer:?}, {orders} orders");
    }
    if !gateway.heard().contains("alarm at 50 %") {
        gateway.wait_for("alarm at 50 %");
    }
    let end_kib = own_kib(&gateway);
    let early_kib = early_kib.expect("the gate closes later");
    println!("{orders} orders in {:?}; {early_kib} KiB, then {end_kib} KiB", since.elapsed());
    assert!(end_kib <= early_kib + GROWTH_MAX_KIB, "memory grows: {early_kib} KiB, then {end_kib} KiB");
    algo.cancel(resting);
    algo.wait_for_canceled(resting);
    // All that follows may take longer than a client may be silent.
    drop(algo);
    // Told once it was tried twice.
    let (since, shown) = (Instant::now(), || said(&host.run(&["ship", "status", "--json"])));
    while shown()["state"] != "away" {
        assert!(since.elapsed() < DEADLINE, "not told: {}", shown());
    }

    postgres.start();
    host.broker.restart();
    gateway.wait_for("Kafka is back");
    wait_until(host, "lag_events", "0");
    wait_for_tables(host);
    // From refusals on the gate opens by itself.
    let mut algo = Algo::at(&host.dir.path().join("data"));
    algo.trade(Tif::Ioc);
    let alarms = ["alarm at 50 %", "alarm at 80 %", "alarm at 95 %"];
    let since = Instant::now();
    while objects(host, "alerts.journal-backlog").len() < alarms.len() {
        assert!(since.elapsed() < DEADLINE, "not told: {:?}", objects(host, "alerts.journal-backlog"));
    }
    for (alert, alarm) in objects(host, "alerts.journal-backlog").iter().zip(alarms) {
        assert!(alert["text"].as_str().is_some_and(|text| text.starts_with(alarm)), "{alarm}: {alert}");
    }
    gateway.signal(Signal::TERM);
    let (code, words) = gateway.end();
    assert_eq!(code, Some(0), "{words}");
    host.succeed(&["ship", "run", "--drain"]);
    assert!(host.assert_exactly_once() > orders as u64);
    host.assert_json_once();
    for command in ["catch-up", "verify"] {
        host.succeed(&["projection", command, "--database", "postgres"]);
    }
}

/// Until the gateway's tables know all that is in its journal.
#[track_caller]
fn wait_for_tables(host: &Host) {
    let since = Instant::now();
    loop {
        let output = host.run(&["projection", "status", "--database", "postgres", "--json"]);
        if output.status.success() && said(&output)["lag_events"] == "0" {
            return;
        }
        assert!(since.elapsed() < DEADLINE, "the tables lag: {}", String::from_utf8_lossy(&output.stdout));
        // Each look is a process of its own.
        pass(Duration::from_millis(50));
    }
}

/// Memory of its own, not of files, KiB.
fn own_kib(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.child.id())).expect("it runs");
    let own = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("told");
    own.trim().trim_end_matches(" kB").parse().expect("a number")
}
