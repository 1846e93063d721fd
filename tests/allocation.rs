//! The loop allocates nothing after start: a counting allocator watches its thread over 100,000 orders, and over what
//! happens once in a while.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub
)]

#[allow(dead_code)]
#[path = "sessions/host.rs"]
mod host;
#[allow(dead_code)]
#[path = "sessions/peer.rs"]
mod peer;
#[path = "allocation/rare.rs"]
mod rare;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use host::SECRET;
use rare::{ADMIN, TRADER, Venue, do_what_is_rare};
use tradecore::config::Config;
use tradecore::daemon::{self, Stop};
use tradecore_client::protocol::fields::{ExecType, Role, Side, Tif};
use tradecore_client::protocol::{Reason, messages};
use tradecore_client::{Address, Client, Event, NewOrder, Options, px, qty};

const ORDERS: u64 = 100_000;
/// Orders on their way at once.
const WINDOW: u64 = 200;
/// Orders that are replaced.
const REPLACES: u64 = 500;
/// Orders of a session whose connection ends before it reads.
const MISSED: u64 = 200;
const PATIENCE: Duration = Duration::from_secs(30);

/// Calls to the allocator by the thread that is watched.
static CALLS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static IS_WATCHED: Cell<bool> = const { Cell::new(false) };
}

struct Counting;

fn count() {
    if IS_WATCHED.try_with(Cell::get).unwrap_or(false) {
        CALLS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: every call goes on to the system's allocator, unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count();
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn config(durability: &str) -> String {
    format!(
        r#"
[core]
id = 1
environment = "virtual"
data_dir = "data"
hot_dir = "hot"
durability = "{durability}"
idle = "yield"

[listen]
unix = "gateway.sock"
tcp = "127.0.0.1:0"

[session]
throttle_rate = 0
outbound_bytes_max = 131072

[journal]
first_segment_mib = 64

[broker]
kind = "venue"
address = "unix:venue.sock"

[venue]
listen = ["unix:venue.sock"]
log_dir = "venue"
log_sync = false

[venue.capture]
paths = ["{capture}"]
loop = true

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
order_notional_max = "10000000"
collar_ppm = 1000000
quote_age_max_ms = 60000

[[accounts]]
id = 1
currency = "USDT"
initial_cash = "1000000000"
position_max = "100000"
open_orders_max = 8000

[[sessions]]
id = 1
key_id = "k"
secret_file = "key"
role = "trade"
accounts = [1]

[[sessions]]
id = 2
key_id = "k"
secret_file = "key"
role = "trade"

[[sessions]]
id = 3
key_id = "k"
secret_file = "key"
role = "drop_copy"

[[sessions]]
id = 4
key_id = "k"
secret_file = "key"
role = "drop_copy"

[[sessions]]
id = {TRADER}
key_id = "k{TRADER}"
secret_file = "key"
role = "trade"

[[sessions]]
id = {ADMIN}
key_id = "k{ADMIN}"
secret_file = "key"
role = "admin"
"#,
        capture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/btcusdt.gz").display()
    )
}

/// Sends orders that fill, that rest and are canceled, and that the market does not take, until `total` have ended.
/// How many of them were filled, and how many refused.
fn trade(client: &mut Client, total: u64) -> (u64, u64) {
    let (mut sent, mut ended, mut filled, mut refused) = (0_u64, 0_u64, 0, 0);
    let mut open = BTreeMap::new();
    let deadline = Instant::now() + Duration::from_secs(300);
    while ended < total {
        assert!(Instant::now() < deadline, "{ended} of {total} orders have ended");
        while sent < total && sent - ended < WINDOW {
            let size = qty("0.001").expect("exact");
            let resting = NewOrder::limit(1, 1, Side::Buy, size, px("20000").expect("exact"));
            let order = match sent % 4 {
                0 => NewOrder { tif: Tif::Ioc, ..resting },
                1 => NewOrder { tif: Tif::Ioc, px: None, side: Side::Sell, ..resting },
                2 => NewOrder { tif: Tif::Ioc, px: None, ..resting },
                _ => resting,
            };
            let id = client.new_order(&order).expect("sent");
            open.insert(id.0, (sent, None));
            if sent % 4 == 3 {
                client.cancel(id).expect("sent");
            }
            sent += 1;
        }
        let event = client.poll(Duration::from_secs(30)).expect("connected");
        match event
            .unwrap_or_else(|| panic!("no answer in time: {sent} sent, {ended} ended, {refused} refused, {open:?}"))
        {
            Event::Exec(report) => {
                let id = report.cl_ord_id.get();
                open.entry(id).and_modify(|(_, last)| *last = Some((report.exec_type, report.ord_status)));
                let is_filled = report.exec_type == ExecType::Trade.raw() && report.leaves_qty.get() == 0;
                let is_ended = [ExecType::Canceled, ExecType::Expired, ExecType::Rejected]
                    .iter()
                    .any(|end| report.exec_type == end.raw());
                filled += u64::from(is_filled);
                ended += u64::from(is_filled || is_ended);
                if is_filled || is_ended {
                    open.remove(&id);
                }
            }
            Event::Reject(reject) if reject.ref_template.get() == messages::NewOrder::TEMPLATE_ID => {
                refused += 1;
                ended += 1;
                open.remove(&reject.cl_ord_id.get());
            }
            _ => {}
        }
    }
    (filled, refused)
}

/// Polls until a report of this type comes.
fn wait_for(client: &mut Client, exec_type: ExecType) {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        match client.poll(PATIENCE).expect("connected") {
            Some(Event::Exec(report)) if report.exec_type == exec_type.raw() => return,
            Some(Event::Reject(reject)) => panic!("{exec_type:?} expected: {reject:?}"),
            _ => {}
        }
    }
    panic!("waited in vain for {exec_type:?}");
}

/// Polls until the gateway refuses with this reason.
fn wait_for_refusal(client: &mut Client, reason: Reason) {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(Event::Reject(reject)) = client.poll(PATIENCE).expect("connected") {
            assert_eq!(reject.reason.get(), reason.raw());
            return;
        }
    }
    panic!("waited in vain for {reason:?}");
}

/// What else a session does: it subscribes, asks, replaces, and is refused.
fn do_everything_else(client: &mut Client) {
    let size = qty("0.001").expect("exact");
    let [low, lower] = ["20000", "19000"].map(|text| px(text).expect("exact"));
    client.subscribe(1).expect("sent");
    for _ in 0..REPLACES {
        let id = client.new_order(&NewOrder::limit(1, 1, Side::Buy, size, low)).expect("sent");
        wait_for(client, ExecType::New);
        client.replace(id, lower, size).expect("sent");
        wait_for(client, ExecType::Replaced);
        client.cancel(id).expect("sent");
        wait_for(client, ExecType::Canceled);
    }
    let asks = [Client::positions, Client::accounts, Client::open_orders, Client::fills, Client::instruments];
    for ask in asks {
        ask(client).expect("sent");
        while !matches!(client.poll(PATIENCE).expect("connected").expect("an answer in time"), Event::QueryEnd(_)) {}
    }
    let mut quotes = 0;
    while quotes < 3 {
        quotes += u64::from(matches!(client.poll(PATIENCE).expect("connected"), Some(Event::Quote(_))));
    }
    client.new_order(&NewOrder::limit(9, 1, Side::Buy, size, low)).expect("sent");
    wait_for_refusal(client, Reason::InstrumentUnknown);
    client.cancel(tradecore_client::protocol::fields::ClOrdId(1)).expect("sent");
    wait_for_refusal(client, Reason::UnknownOrder);
}

fn watch_a_hundred_thousand_orders(durability: &str, orders: u64) {
    use std::os::unix::fs::PermissionsExt;
    // In memory: orders that come faster than a busy disk makes segments are refused, and that is not what is tested.
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory");
    std::fs::create_dir_all(dir.path().join("data")).expect("made");
    std::fs::write(dir.path().join("gateway.toml"), config(durability)).expect("written");
    std::fs::write(dir.path().join("key"), SECRET).expect("written");
    std::fs::set_permissions(dir.path().join("key"), std::fs::Permissions::from_mode(0o600)).expect("set");
    let config = Config::load(&dir.path().join("gateway.toml"), std::iter::empty()).expect("a configuration");
    let mut venue = Venue::start(dir.path());
    let stop = Stop::default();
    let gateway = std::thread::spawn({
        let stop = stop.clone();
        move || {
            IS_WATCHED.set(true);
            daemon::run(config, &stop)
        }
    });
    let deadline = Instant::now() + Duration::from_secs(30);
    while !dir.path().join("data/listening").exists() {
        assert!(Instant::now() < deadline && !gateway.is_finished(), "the gateway starts");
        std::thread::yield_now();
    }
    let address = Address::Unix(dir.path().join("gateway.sock"));
    let options = |session_id: u32| Options::new(address.clone(), session_id, "k", SECRET);
    let mut client = Client::connect(options(1)).expect("logs on");
    assert!(CALLS.load(Ordering::Relaxed) > 0, "the start was watched");
    let before = CALLS.load(Ordering::Relaxed);
    // Two that do not read what they are told, and are sent away in the middle of it.
    let mut copies = [3, 4]
        .map(|session_id| Client::connect(Options { role: Role::DropCopy, ..options(session_id) }).expect("logs on"));
    // Until the broker is ready and the market has a price.
    while trade(&mut client, 2).0 == 0 {
        assert!(Instant::now() < deadline, "orders pass");
    }
    let (filled, refused) = trade(&mut client, orders);
    assert!(filled > orders / 4 && refused < orders / 10, "{filled} filled, {refused} refused");
    for copy in &mut copies {
        while !matches!(copy.poll(PATIENCE).expect("recovers"), Some(Event::Disconnected { .. })) {}
    }
    do_everything_else(&mut client);
    // A connection that comes and goes costs nothing either, nor does a replay of what it has missed.
    client.logout();
    let wrong = Options::new(address.clone(), 1, "k", b"another key, which is as long as it");
    assert!(Client::connect(wrong).is_err(), "a logon that is refused");
    let mut client = Client::connect(options(1)).expect("logs on again");
    trade(&mut client, 10);
    let kept = || Options { state_path: Some(dir.path().join("algo")), ..options(2) };
    let mut unread = Client::connect(kept()).expect("logs on");
    let size = qty("0.001").expect("exact");
    let order = NewOrder { tif: Tif::Ioc, ..NewOrder::limit(1, 1, Side::Buy, size, px("20000").expect("exact")) };
    for _ in 0..MISSED {
        unread.new_order(&order).expect("sent");
    }
    drop(unread);
    let mut again = Client::connect(kept()).expect("logs on again");
    let mut told = 0;
    while told < MISSED {
        let event = again.poll(PATIENCE).expect("connected").expect("a report in time");
        told += u64::from(matches!(event, Event::Exec(_)));
    }
    let addresses = daemon::listening(&dir.path().join("data"));
    let address = addresses.iter().find(|address| !address.contains('/')).expect("a TCP address");
    do_what_is_rare(address, dir.path(), &mut venue);
    assert_eq!(CALLS.load(Ordering::Relaxed) - before, 0, "calls of the allocator on the loop, {durability}");
    stop.ask();
    gateway.join().expect("no panic").expect("a clean stop");
}

// One test: what is counted is counted for the whole process.
#[test]
fn the_loop_allocates_nothing_over_a_hundred_thousand_orders_in_any_class() {
    watch_a_hundred_thousand_orders("journaled", ORDERS);
    watch_a_hundred_thousand_orders("synced", ORDERS / 10);
}
