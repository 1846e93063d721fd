//! A gateway process with the built-in venue, and the sessions that may log on to it.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tradecore_protocol::fields::{BrokerStatus, Role};

use super::peer::{Identity, Peer};

pub const BINARY: &str = env!("CARGO_BIN_EXE_tradecore");
pub const SECRET: &[u8] = b"a key for these tests";

/// Longest wait for anything: only a test that fails gets there.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Sessions that trade.
pub const TRADERS: [u32; 4] = [1, 2, 3, 4];
pub const ADMIN: u32 = 5;
pub const DROP_COPY: u32 = 6;
pub const MARKET_DATA: u32 = 7;

pub struct Host {
    child: Child,
    pub dir: tempfile::TempDir,
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The durability classes that a gateway can have, the default first.
pub const CLASSES: [&str; 2] = ["synced", "journaled"];

/// What differs between the gateways of the tests: the durability class, lines of `[listen]`, of `[session]` and of
/// `[venue.exchange]`, further sessions, and further sections.
pub struct Setup {
    pub durability: &'static str,
    pub listen: &'static str,
    pub session: &'static str,
    pub exchange: &'static str,
    pub traders_more: u32,
    pub drop_copies_more: u32,
    pub sections: &'static str,
}

impl Default for Setup {
    fn default() -> Self {
        let [durability, _] = CLASSES;
        let exchange = r#"instruments = [{ symbol = "BTCUSDT", tick_size = "0.01", lot_size = "0.00001" }]"#;
        Self { durability, listen: "", session: "", exchange, traders_more: 0, drop_copies_more: 0, sections: "" }
    }
}

fn config(setup: &Setup) -> String {
    let mut text = format!(
        r#"
[core]
id = 1
environment = "virtual"
data_dir = "data"
hot_dir = "hot"
durability = "{}"
idle = "park"
orders_max = 4096

[listen]
tcp = "127.0.0.1:0"
unix = "gateway.sock"
{}

[session]
{}

[broker]
kind = "paper"


[[cores]]
id = 2
address = "core2.example:7400"

[venue]
listen = []
log_dir = "venue"
log_sync = false
[venue.capture]
paths = ["{}/tests/data/btcusdt.gz"]
loop = true
[venue.exchange]
{}

[[instruments]]
id = 1
symbol = "BTCUSDT"
currency = "USDT"
tick_size = "0.01"
lot_size = "0.00001"
qty_min = "0.00001"
order_qty_max = "10"
order_notional_max = "1000000"
collar_ppm = 1000000
quote_age_max_ms = 86400000

[[accounts]]
id = 1
currency = "USDT"
initial_cash = "1000000"
position_max = "100"
open_orders_max = 4000
"#,
        setup.durability,
        setup.listen,
        setup.session,
        env!("CARGO_MANIFEST_DIR"),
        setup.exchange,
    );
    let mut session = |id: u32, role: &str| {
        write!(text, "[[sessions]]\nid = {id}\nkey_id = \"k{id}\"\nsecret_file = \"key\"\nrole = \"{role}\"\n")
            .unwrap();
    };
    TRADERS.iter().for_each(|id| session(*id, "trade"));
    session(ADMIN, "admin");
    session(DROP_COPY, "drop_copy");
    session(MARKET_DATA, "market_data");
    (0..setup.traders_more).for_each(|nth| session(MARKET_DATA + 1 + nth, "trade"));
    (0..setup.drop_copies_more).for_each(|nth| session(MARKET_DATA + 1 + setup.traders_more + nth, "drop_copy"));
    text.push_str(setup.sections);
    text
}

fn spawn(dir: &Path) -> Child {
    drop(std::fs::remove_file(dir.join("data/listening")));
    Command::new(BINARY)
        .args(["run", "--config"])
        .arg(dir.join("gateway.toml"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(dir.join("stderr")).unwrap())
        .spawn()
        .expect("started")
}

impl Host {
    pub fn start() -> Self {
        Self::start_with(&Setup::default())
    }

    /// Starts a gateway, and waits until its sockets are open.
    pub fn start_with(setup: &Setup) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir_all(dir.path().join("data")).unwrap();
        std::fs::write(dir.path().join("gateway.toml"), config(setup)).unwrap();
        std::fs::write(dir.path().join("key"), SECRET).unwrap();
        std::fs::set_permissions(dir.path().join("key"), std::fs::Permissions::from_mode(0o600)).unwrap();
        let mut host = Self { child: spawn(dir.path()), dir };
        host.wait_until_it_listens();
        host
    }

    /// Starts a gateway, and waits until orders pass: the broker is ready, and the market has a price.
    pub fn trading(setup: &Setup) -> Self {
        let host = Self::start_with(setup);
        host.wait_until_orders_pass();
        host
    }

    fn wait_until_it_listens(&mut self) {
        wait_for("the gateway to listen", || {
            if let Some(status) = self.child.try_wait().unwrap() {
                let said = std::fs::read_to_string(self.dir.path().join("stderr")).unwrap_or_default();
                panic!("the gateway ended with {status}: {said}");
            }
            (!self.addresses().is_empty()).then_some(())
        });
    }

    pub fn wait_until_orders_pass(&self) {
        let watcher = Identity { role: Role::MarketData, ..Identity::of(MARKET_DATA) };
        wait_for("the broker to be ready", || {
            let mut peer = Peer::connect(self);
            let ack = peer.log_on(&watcher);
            let is_ready = ack.broker_status == BrokerStatus::Ready.raw();
            is_ready.then(|| peer.wait_for_quote())
        });
    }

    /// Follows what of the journal of the gateway survives power loss.
    pub fn synced(&self) -> tradecore_journal::Reader {
        let until = tradecore_journal::Until::Synced;
        tradecore_journal::Reader::open(&self.dir.path().join("data/journal"), 1, until).expect("a live journal")
    }

    fn addresses(&self) -> Vec<String> {
        tradecore::daemon::listening(&self.dir.path().join("data"))
    }

    pub fn tcp_address(&self) -> String {
        self.addresses().into_iter().find(|address| !address.contains('/')).expect("a TCP address")
    }

    /// Waits until a line of the log holds all of these words.
    pub fn wait_for_log(&self, words: &[&str]) -> String {
        wait_for(&format!("a line of the log with {words:?}"), || {
            let log = std::fs::read_to_string(self.dir.path().join("stderr")).unwrap();
            log.lines().find(|line| words.iter().all(|word| line.contains(word))).map(str::to_owned)
        })
    }

    /// What the venue has written down.
    pub fn venue_log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("venue/venue.log")).expect("a log")
    }

    /// Stops the gateway as an operator would; what it ended with.
    pub fn stop(&mut self) -> std::process::ExitStatus {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap()
    }

    /// Kills the gateway as a crash would, and starts it again on the same journal.
    pub fn crash_and_restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = spawn(self.dir.path());
        self.wait_until_it_listens();
        self.wait_until_orders_pass();
    }
}

impl Host {
    /// What `work` sends comes to the gateway at once: it does not run meanwhile.
    pub fn while_it_sleeps<T>(&self, work: impl FnOnce() -> T) -> T {
        use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::STOP).unwrap();
        waitpid(Some(pid), WaitOptions::UNTRACED).unwrap().expect("it has stopped");
        let done = work();
        kill_process(pid, Signal::CONT).unwrap();
        done
    }
}

/// Asks until there is an answer.
pub fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        if let Some(answer) = ask() {
            return answer;
        }
        std::thread::yield_now();
    }
    panic!("waited in vain for {what}");
}
