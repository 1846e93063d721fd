//! A disk that fills: a small tmpfs under the journal, and under the venue's log. Needs root, to mount it.
#![allow(clippy::arithmetic_side_effects, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tradecore::venue::order::OrderStatus;
use tradecore_client::protocol::fields::{ClOrdId, ExecType, Px, Side, Tif};
use tradecore_client::protocol::reason::Reason;
use tradecore_client::{Address, Client, Event, NewOrder, Options, px, qty};

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const DISK_MIB: u64 = 24;
const BALLAST_MIB: usize = 8;
const RESTING: i64 = 40;

/// A small disk, and a gateway that has its journal there.
struct Place {
    dir: tempfile::TempDir,
    child: Option<Child>,
}

impl Place {
    fn new(hot_dir: &str) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a directory");
        let place = Self { dir, child: None };
        std::fs::create_dir_all(place.disk()).expect("made");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={DISK_MIB}m"), "tmpfs"])
            .arg(place.disk())
            .status()
            .expect("mount is there");
        assert!(mounted.success(), "this test mounts a tmpfs: run it as root");
        let path = place.dir.path();
        std::fs::write(path.join("gateway.toml"), config(hot_dir)).expect("written");
        std::fs::write(path.join("key"), SECRET).expect("written");
        std::fs::set_permissions(path.join("key"), std::fs::Permissions::from_mode(0o600)).expect("set");
        place
    }

    fn disk(&self) -> PathBuf {
        self.dir.path().join("disk")
    }

    fn ballast(&self) -> PathBuf {
        self.disk().join("ballast")
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    fn venue_log(&self) -> PathBuf {
        self.disk().join("venue/venue.log")
    }

    /// How often the gateway's log says that the venue has no room.
    fn standstills(&self) -> usize {
        std::fs::read_to_string(self.log()).expect("a log").matches("the venue stands still").count()
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("gateway.sock")
    }

    fn spawn(&mut self) {
        assert!(self.child.is_none(), "one gateway at a time");
        drop(std::fs::remove_file(self.disk().join("listening")));
        let log = std::fs::File::options().create(true).append(true).open(self.log()).expect("made");
        let child = Command::new(env!("CARGO_BIN_EXE_tradecore"))
            .args(["run", "--config"])
            .arg(self.dir.path().join("gateway.toml"))
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("started");
        self.child = Some(child);
    }

    fn start(&mut self) {
        self.spawn();
        let deadline = Instant::now() + Duration::from_secs(30);
        while !self.disk().join("listening").exists() {
            assert!(self.is_alive() && Instant::now() < deadline, "the gateway starts");
            std::thread::yield_now();
        }
    }

    fn is_alive(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().expect("asked").is_none())
    }

    /// Takes what is left of the disk, as another process would.
    fn fill_up(&self) {
        let mut ballast = std::fs::File::options().create(true).append(true).open(self.ballast()).expect("there");
        while std::io::Write::write_all(&mut ballast, &[1; 4096]).is_ok() {}
    }

    /// Starts again, until the client has what it missed.
    fn restart(&mut self, client: &mut Client, seen: &mut Seen) {
        self.start();
        let ready = seen.ready;
        seen.wait(client, "a session that goes on", |seen| seen.ready > ready);
    }

    fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("killed");
        child.wait().expect("gone");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            drop(child.kill());
            drop(child.wait());
        }
        if std::thread::panicking() {
            eprintln!("{}", std::fs::read_to_string(self.log()).unwrap_or_default());
        }
        drop(Command::new("umount").arg("-l").arg(self.disk()).status());
    }
}

fn config(hot_dir: &str) -> String {
    let capture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/btcusdt.gz");
    format!(
        r#"
[core]
id = 1
environment = "virtual"
data_dir = "disk"
hot_dir = "{hot_dir}"
durability = "synced"
idle = "yield"
orders_max = 256

[listen]
tcp = ""
unix = "gateway.sock"

[session]
throttle_rate = 0

[journal]
first_segment_mib = 1
max_segment_mib = 2

[broker]
kind = "paper"

[venue]
listen = []
log_dir = "venue"
log_sync = false

[venue.capture]
paths = ["{capture}"]
speed = "10x"
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
collar_ppm = 900000
quote_age_max_ms = 60000

[[accounts]]
id = 1
currency = "USDT"
initial_cash = "1000000000"
position_max = "100000"
open_orders_max = 200

[[sessions]]
id = 1
key_id = "k"
secret_file = "key"
role = "trade"
accounts = [1]
"#,
        capture = capture.display()
    )
}

/// What a trader saw.
#[derive(Default)]
struct Seen {
    ask_px: i64,
    open: BTreeSet<u64>,
    bought: i128,
    canceled: u64,
    accepted: u64,
    rejected: u64,
    refused: Option<Reason>,
    answered: u64,
    position: i128,
    answers: u64,
    ready: u64,
}

impl Seen {
    fn take(&mut self, event: &Event) {
        match event {
            Event::Quote(quote) => self.ask_px = quote.ask_px.get(),
            Event::Exec(report) => {
                let is_fill = report.exec_type == ExecType::Trade.raw();
                let is_canceled = report.exec_type == ExecType::Canceled.raw();
                self.bought += if is_fill { i128::from(report.last_qty.get()) } else { 0 };
                self.canceled += u64::from(is_canceled);
                self.accepted += u64::from(report.exec_type == ExecType::PendingNew.raw());
                self.answered += u64::from(is_canceled || is_fill || report.exec_type == ExecType::Expired.raw());
                let id = report.cl_ord_id.get();
                if report.leaves_qty.get() == 0 {
                    self.open.remove(&id);
                } else {
                    self.open.insert(id);
                }
            }
            Event::Reject(reject) => {
                self.refused = Reason::from_raw(reject.reason.get());
                self.rejected += 1;
                self.answered += 1;
            }
            Event::Position(position) => self.position = position.position_qty.get(),
            Event::QueryEnd(_) => self.answers += 1,
            Event::Ready { .. } => self.ready += 1,
            _ => {}
        }
    }

    /// Takes events in until `done`.
    fn wait(&mut self, client: &mut Client, what: &str, done: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(120);
        while !done(self) {
            assert!(
                Instant::now() < deadline,
                "{what}: bought {}, canceled {}, open {:?}, refused {:?}",
                self.bought,
                self.canceled,
                self.open,
                self.refused
            );
            if let Some(event) = client.poll(Duration::from_millis(100)).expect("connected") {
                self.take(&event);
            }
        }
    }

    /// Sends orders that rest below the market, until so many do; some will fill. Returns how many were sent.
    fn rest(&mut self, client: &mut Client, open_min: usize) -> u64 {
        let tick = 10_000_000;
        let (before, mut sent) = (self.accepted + self.rejected, 0);
        while self.open.len() < open_min {
            for step in 1..=RESTING {
                let price = Px(self.ask_px - step * 200 * tick);
                let order = NewOrder::limit(1, 1, Side::Buy, qty("0.001").expect("exact"), price);
                client.new_order(&order).expect("sent");
            }
            // Refused, at first, while the broker is not ready; every one is answered before more are sent.
            sent += RESTING.unsigned_abs();
            self.wait(client, "resting orders", |seen| seen.accepted + seen.rejected == before + sent);
        }
        sent
    }

    /// Asks again for what was refused, until nothing is open.
    fn cancel_all(&mut self, client: &mut Client) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.open.is_empty() {
            assert!(Instant::now() < deadline, "open: {:?}, refused {:?}", self.open, self.refused);
            let answered = self.answered + self.open.len() as u64;
            for id in &self.open {
                client.cancel(ClOrdId(*id)).expect("sent");
            }
            self.wait(client, "answers to cancels", |seen| seen.open.is_empty() || seen.answered >= answered);
        }
    }

    /// What the gateway says is open and held must be what this trader was told.
    fn agrees(&self, client: &mut Client) {
        let mut told = Self::default();
        client.open_orders().expect("sent");
        client.positions().expect("sent");
        told.wait(client, "both answers", |told| told.answers == 2);
        assert_eq!((&told.open, told.position), (&self.open, self.bought), "open orders, position");
    }
}

fn ioc() -> NewOrder {
    NewOrder {
        tif: Tif::Ioc,
        ..NewOrder::limit(1, 1, Side::Buy, qty("0.001").expect("exact"), px("20000").expect("exact"))
    }
}

#[test]
fn a_full_disk_refuses_new_orders_takes_cancels_and_fills_and_a_start_with_hot_segments_in_memory() {
    let mut place = Place::new("hot");
    fill_and_recover(&mut place);

    // A first start without room says so.
    place.kill();
    std::fs::remove_dir_all(place.disk().join("journal")).expect("removed");
    place.fill_up();
    place.spawn();
    let status = place.child.take().expect("it runs").wait().expect("ended");
    let log = std::fs::read_to_string(place.log()).expect("a log");
    assert_eq!(status.code(), Some(83), "{log}");
    assert!(log.contains("no room for a first segment, nor for a shorter one"), "{log}");
}

#[test]
fn a_full_disk_refuses_new_orders_takes_cancels_and_fills_and_a_start_with_segments_mapped_on_it() {
    fill_and_recover(&mut Place::new("off"));
}

/// So many orders rest that some fill while the disk is full, and some are left to cancel.
const ENOUGH_TO_FILL_AND_TO_CANCEL: usize = 30;

fn fill_and_recover(place: &mut Place) {
    std::fs::write(place.ballast(), vec![1; BALLAST_MIB << 20]).expect("written");
    place.start();
    let options = Options::new(Address::Unix(place.socket()), 1, "k", SECRET);
    let (mut client, mut seen) = (Client::connect(options).expect("logs on"), Seen::default());
    client.subscribe(1).expect("sent");
    seen.wait(&mut client, "a quote", |seen| seen.ask_px > 0);

    let mut sent = seen.rest(&mut client, ENOUGH_TO_FILL_AND_TO_CANCEL);

    // Until the disk is full.
    while seen.refused != Some(Reason::JournalFull) {
        seen.refused = None;
        for _ in 0..50 {
            client.new_order(&ioc()).expect("sent");
            sent += 1;
        }
        let wanted = seen.answered + 50;
        seen.wait(&mut client, "orders that fill the disk", |seen| {
            seen.answered >= wanted || seen.refused == Some(Reason::JournalFull)
        });
        assert!(seen.refused.is_none_or(|reason| reason == Reason::JournalFull), "{:?} after {sent}", seen.refused);
    }
    assert!(place.is_alive());

    // The market goes on: its fills are journaled; so are cancels.
    let bought = seen.bought;
    seen.wait(&mut client, "a fill on a full disk", |seen| seen.bought > bought);
    let half: Vec<u64> = seen.open.iter().copied().take(seen.open.len() / 2).collect();
    assert!(!half.is_empty(), "something is left to cancel");
    for id in &half {
        client.cancel(ClOrdId(*id)).expect("sent");
    }
    seen.wait(&mut client, "cancels on a full disk", |seen| half.iter().all(|id| !seen.open.contains(id)));
    assert!(place.is_alive(), "no SIGBUS, no exit");

    // Killed, and started while there is no more room than it has left itself: risk can still be reduced.
    place.kill();
    place.fill_up();
    place.restart(&mut client, &mut seen);
    let open: Vec<u64> = seen.open.iter().copied().collect();
    for id in &open {
        client.cancel(ClOrdId(*id)).expect("sent");
    }
    seen.wait(&mut client, "cancels after a start on a full disk", |seen| seen.open.is_empty());
    // The first ones may come before the broker is ready again.
    seen.refused = None;
    while seen.refused != Some(Reason::JournalFull) {
        assert!(seen.refused.is_none_or(|reason| reason == Reason::BrokerNotReady), "{:?}", seen.refused);
        let rejected = seen.rejected;
        client.new_order(&ioc()).expect("sent");
        seen.wait(&mut client, "a refusal", |seen| seen.rejected > rejected);
    }

    for told in ["there is no room for the whole first segment", "new orders are refused reason=\"JournalFull\""] {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !std::fs::read_to_string(place.log()).expect("a log").contains(told) {
            assert!(Instant::now() < deadline, "the log tells of it: {told}");
            std::thread::yield_now();
        }
    }

    // Room again.
    std::fs::remove_file(place.ballast()).expect("removed");
    let deadline = Instant::now() + Duration::from_secs(60);
    let accepted = seen.accepted;
    while seen.accepted == accepted {
        assert!(Instant::now() < deadline, "new orders pass again: {:?}", seen.refused);
        let answered = seen.answered;
        client.new_order(&ioc()).expect("sent");
        seen.wait(&mut client, "an answer", |seen| seen.answered > answered);
    }

    // What was told survives, and every bit of it is whole.
    seen.agrees(&mut client);
    place.kill();
    let verified = tradecore_journal::verify(&place.disk().join("journal")).expect("readable");
    assert!(verified.finding.is_none_or(|finding| finding.flaw == tradecore_journal::Flaw::Tail), "whole");
    place.restart(&mut client, &mut seen);
    seen.agrees(&mut client);
}

/// Mounts a tmpfs, or changes one.
fn mount(path: &Path, options: &str) {
    let status = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(path).status();
    assert!(status.expect("mount is there").success(), "mount {options}");
}

impl Place {
    fn command(&self, words: &str) -> std::process::Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tradecore"));
        command.args(words.split(' ')).arg("--config").arg(self.dir.path().join("gateway.toml"));
        command.output().expect("runs")
    }

    fn wait_until(&self, what: &str, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !is_so() {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::yield_now();
        }
    }
}

/// Takes the disk of the tables away, also where a test fails.
struct Unmounted<'a>(&'a Path);

impl Drop for Unmounted<'_> {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(self.0).status());
    }
}

#[test]
fn a_full_disk_below_the_tables_is_named_while_the_gateway_trades_on_and_they_follow_once_there_is_room() {
    let mut place = Place::new("hot");
    let rows = place.dir.path().join("rows");
    std::fs::create_dir(&rows).expect("made");
    let _unmounted = Unmounted(&rows);
    mount(&rows, "size=2m");
    let path = place.dir.path().join("gateway.toml");
    let config = std::fs::read_to_string(&path).expect("written");
    std::fs::write(&path, format!("{config}[projection]\nsqlite = \"rows/read-model.sqlite\"\n")).expect("written");
    place.start();
    let options = Options::new(Address::Unix(place.socket()), 1, "k", SECRET);
    let (mut client, mut seen) = (Client::connect(options).expect("logs on"), Seen::default());
    client.subscribe(1).expect("sent");
    seen.wait(&mut client, "a quote", |seen| seen.ask_px > 0);
    let mut trade = |seen: &mut Seen| {
        let wanted = seen.answered + 50;
        for _ in 0..50 {
            client.new_order(&ioc()).expect("sent");
        }
        seen.wait(&mut client, "orders", |seen| seen.answered >= wanted);
    };
    let says = |place: &Place, words: &str| std::fs::read_to_string(place.log()).expect("a log").contains(words);
    let deadline = Instant::now() + Duration::from_secs(60);
    while !says(&place, "no-room: ") {
        assert!(Instant::now() < deadline && place.is_alive(), "the tables take more than the disk has");
        trade(&mut seen);
    }
    assert!(says(&place, "make room on its disk"));
    let accepted = seen.accepted;
    (0..4).for_each(|_| trade(&mut seen));
    assert_eq!(seen.accepted, accepted + 200, "trading goes on: {:?}", seen.refused);
    mount(&rows, "remount,size=64m");
    let lag = |place: &Place| String::from_utf8(place.command("projection status --json").stdout).expect("text");
    place.wait_until("the tables follow", || lag(&place).contains("\"lag_events\":\"0\""));
    place.kill();
    // Where it may not write at all.
    mount(&rows, "remount,ro");
    let refused = place.command("projection catch-up");
    let text = String::from_utf8(refused.stderr).expect("text");
    assert!(refused.status.code() == Some(74) && text.contains("may write there"), "{text}");
    mount(&rows, "remount,rw");
    assert!(place.command("projection catch-up").status.success());
    let verified = place.command("projection verify");
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
}

/// Cancels of so many orders have no room in the page that the log has begun.
const CANCELS_THAT_DO_NOT_FIT: usize = 20;

#[test]
fn a_venue_without_room_for_its_log_tells_nothing_and_goes_on_when_there_is_room() {
    let mut place = Place::new("hot");
    let text = config("hot").replace("log_dir = \"venue\"", "log_dir = \"disk/venue\"");
    std::fs::write(place.dir.path().join("gateway.toml"), text).expect("written");
    place.start();
    let options = Options::new(Address::Unix(place.socket()), 1, "k", SECRET);
    let (mut client, mut seen) = (Client::connect(options).expect("logs on"), Seen::default());
    client.subscribe(1).expect("sent");
    seen.wait(&mut client, "a quote", |seen| seen.ask_px > 0);
    for is_killed in [false, true] {
        seen.rest(&mut client, CANCELS_THAT_DO_NOT_FIT);
        let standstills = place.standstills();
        place.fill_up();
        for id in &seen.open {
            client.cancel(ClOrdId(*id)).expect("sent");
        }
        seen.wait(&mut client, "a standstill", |_| place.standstills() > standstills);
        if is_killed {
            // The rest of a line is cut, the start waits for room, and the gateway is there all the same.
            place.kill();
            place.fill_up();
            let ready = seen.ready;
            place.spawn();
            seen.wait(&mut client, "a session that goes on", |seen| seen.ready > ready);
        }
        let logged = tradecore::venue::read_log(&place.venue_log()).expect("whole");
        let logged = logged.iter().filter(|order| order.status == OrderStatus::Canceled).count() as u64;
        assert!(seen.canceled <= logged, "{} were told of, {logged} are logged", seen.canceled);
        assert!(place.is_alive(), "a full disk ends nothing");

        std::fs::remove_file(place.ballast()).expect("removed");
        seen.cancel_all(&mut client);
        seen.agrees(&mut client);
    }
    for order in tradecore::venue::read_log(&place.venue_log()).expect("whole") {
        assert_eq!((order.orders_accepted, order.submissions), (1, 1), "{order:?}");
        assert!(matches!(order.status, OrderStatus::Canceled | OrderStatus::Filled), "{order:?}");
    }
}
