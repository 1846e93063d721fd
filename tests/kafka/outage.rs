//! A cluster that is away for long, in seconds: what waits is bounded, costs no memory, and arrives. `tradecore-bench
//! outage` does so for as long as one likes, with PostgreSQL, and measures what an order feels of it.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use tradecore_client::protocol::fields::Tif;
use tradecore_client::protocol::reason::Reason;

use super::alerts::objects;
use super::desk::{Algo, Desk};
use super::host::{DEADLINE, said};
use super::{pass, wait_until};

/// How much more memory the gateway may have at the end than when half of what may wait does: that is 6 MiB of events.
const GROWTH_MAX_KIB: u64 = 2_048;
/// Orders that are sent before one of them is waited for.
const BURST: usize = 20;
/// Then everything that a gateway makes room for once is there; the bound of what may wait is far.
const EARLY_ORDERS: usize = 4_000;
/// Each burst waits for a sync, on whatever disk this is.
const FILLING_MAX: Duration = Duration::from_secs(600);
const BURST_EVERY: Duration = Duration::from_millis(5);

#[test]
fn a_cluster_that_is_away_for_long_costs_new_orders_at_last_and_neither_memory_nor_an_event() {
    let desk = Desk::alone("timeout_ms = 10000\nbatch_events_max = 2000\nhealth_s = 0");
    let host = &desk.host;
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
    if !host.broker.kill() {
        println!("NOT run: the broker is not ours (TRADECORE_TEST_KAFKA_DIR)");
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
            early_kib = Some(gateway.own_kib());
        }
        if answer == Some(Reason::JournalFull) {
            break;
        }
        assert!(since.elapsed() < FILLING_MAX, "the gate does not close: {answer:?}, {orders} orders");
    }
    gateway.wait_for_said("alarm at 50 %");
    let end_kib = gateway.own_kib();
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

    host.broker.restart();
    gateway.wait_for("Kafka is back");
    wait_until(host, "lag_events", "0");
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
}
