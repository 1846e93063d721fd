//! Gateways that trade at one venue and ship to one cluster, and who talks to them.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tradecore::venue::log::{LoggedOrder, log_path, read_log};
use tradecore_client::protocol::fields::{ClOrdId, Durability, OrdStatus, Side, Tif};
use tradecore_client::protocol::reason::Reason;
use tradecore_client::{Address, Client, Event, NewOrder, Options, px, qty};

use super::host::{DEADLINE, Host, Process};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A host whose gateway trades at a venue of its own process, on a market.
pub struct Desk {
    pub host: Host,
    _venue: Process,
}

/// A client of a gateway.
pub struct Algo {
    client: Client,
    /// Class of the last report.
    pub class: Option<Durability>,
}

impl Desk {
    pub fn new(settings: &str) -> Self {
        Self::of(Host::new(settings))
    }

    /// One whose host has the broker alone.
    pub fn alone(settings: &str) -> Self {
        Self::of(Host::alone(settings))
    }

    fn of(host: Host) -> Self {
        let key = host.dir.path().join("algo1");
        std::fs::write(&key, SECRET).expect("written");
        std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("set");
        let capture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/btcusdt.gz");
        let text = std::fs::read_to_string(host.config()).expect("read");
        let text = text
            .replace("[listen]", "[listen]\ntcp = \"127.0.0.1:0\"")
            .replace("\nkind = \"paper\"", "\nkind = \"venue\"\naddress = \"unix:venue.sock\"")
            .replace("listen = []", "listen = [\"unix:venue.sock\"]")
            .replace("collar_ppm = 50000", "collar_ppm = 900000")
            .replace("quote_age_max_ms = 5000", "quote_age_max_ms = 60000")
            .replace("#idle = \"busy\"", "idle = \"park\"")
            .replace("#hot_dir = \"\"", "hot_dir = \"hot\"")
            .replace("#log_sync = true", "log_sync = false");
        let text = format!("{text}\n[venue.capture]\npaths = [{capture:?}]\nspeed = \"10x\"\nloop = true\n");
        std::fs::write(host.config(), text).expect("written");
        let venue = Self::venue(&host.config());
        Self { host, _venue: venue }
    }

    /// The configuration of the same core on another host, which has nothing yet.
    pub fn other_host(&self) -> PathBuf {
        let text = std::fs::read_to_string(self.host.config()).expect("read");
        let path = self.host.dir.path().join("other.toml");
        std::fs::write(&path, text.replace("data_dir = \"data\"", "data_dir = \"other\"")).expect("written");
        path
    }

    /// Another venue for another host, with the past of the first: neither sees who logs on at the other, and fences none.
    pub fn venue_beside(&self, config: &Path) -> Process {
        let dir = self.host.dir.path();
        std::fs::create_dir_all(dir.join("other/venue")).expect("made");
        for entry in std::fs::read_dir(dir.join("data/venue")).expect("the venue's files") {
            let path = entry.expect("an entry").path();
            std::fs::copy(&path, dir.join("other/venue").join(path.file_name().expect("a name"))).expect("copied");
        }
        let text = std::fs::read_to_string(config).expect("read");
        std::fs::write(config, text.replace("venue.sock", "other.sock").replace("data/venue", "other/venue"))
            .expect("written");
        Self::venue(config)
    }

    /// A venue that listens: it has read its configuration, which a test may change for others.
    fn venue(config: &Path) -> Process {
        let mut venue = Host::start_at(config, &["venue"]);
        venue.wait_for("the venue listens");
        venue
    }

    /// A gateway that serves clients and ships.
    pub fn gateway(config: &Path) -> Process {
        let mut gateway = Host::start_at(config, &["run"]);
        gateway.wait_for("ready addresses");
        gateway.wait_for("shipping to Kafka stream");
        gateway
    }

    /// Orders at the venue, in the order in which they came: the start epoch of the core that sent each.
    pub fn epochs_at_venue(&self) -> Vec<u64> {
        self.epochs_at_venue_of("data")
    }

    /// As `epochs_at_venue`, at the venue with this directory.
    pub fn epochs_at_venue_of(&self, data_dir: &str) -> Vec<u64> {
        let mut orders = self.orders(data_dir);
        orders.sort_by_key(|order| order.venue_order_id);
        orders.iter().map(|order| epoch_of(&order.client_order_id.to_string())).collect()
    }
}

impl Desk {
    /// True when the venue has canceled the one order that rested there.
    pub fn is_canceled_at_venue(&self) -> bool {
        self.orders("data").iter().all(|order| !order.status.is_open())
    }

    fn orders(&self, data_dir: &str) -> Vec<LoggedOrder> {
        read_log(&log_path(&self.host.dir.path().join(data_dir).join("venue"))).expect("readable")
    }
}

/// Core, environment and order id make the client order id: the last part is the order's.
fn epoch_of(client_order_id: &str) -> u64 {
    let order_id = client_order_id.rsplit('-').next().expect("an id");
    u64::from_str_radix(order_id, 16).unwrap_or_else(|_| panic!("{client_order_id}")) >> 44
}

fn order(tif: Tif) -> NewOrder {
    let order = NewOrder::limit(1, 1, Side::Buy, qty("0.001").expect("exact"), px("50000").expect("exact"));
    NewOrder { tif, ..order }
}

impl Algo {
    /// Logs on at the gateway of a directory of data.
    pub fn at(data_dir: &Path) -> Self {
        let since = Instant::now();
        loop {
            let address = tradecore::daemon::listening(data_dir).pop().expect("it listens");
            // A gateway that is paused must not lose its clients: what they have sent waits in its sockets.
            let options =
                Options { heartbeat_ms: 60_000, ..Options::new(Address::Tcp(address), 1, "algo1", SECRET.as_bytes()) };
            match Client::connect(options) {
                Ok(client) => return Self { client, class: None },
                Err(error) => assert!(since.elapsed() < DEADLINE, "{error}"),
            }
        }
    }

    /// Sends an order that ends at once at the venue, or rests there.
    pub fn send(&mut self, tif: Tif) -> ClOrdId {
        self.client.new_order(&order(tif)).expect("sent")
    }

    pub fn cancel(&mut self, cl_ord_id: ClOrdId) {
        self.client.cancel(cl_ord_id).expect("sent");
    }

    /// What comes next, if anything comes soon.
    pub fn poll(&mut self, longest: Duration) -> Option<Event> {
        let event = self.client.poll(longest).expect("connected");
        if let Some(Event::Exec(report)) = &event {
            self.class = Durability::from_raw(report.durability);
        }
        event
    }

    /// As `send`; false while the client cannot send.
    pub fn try_send(&mut self, tif: Tif) -> bool {
        self.client.is_ready() && self.client.new_order(&order(tif)).is_ok()
    }

    /// Takes what has come, until nothing comes for so long; reports and refusals among it. A connection may be lost.
    pub fn drain(&mut self, longest: Duration) -> usize {
        let mut count = 0;
        while let Ok(Some(event)) = self.client.poll(longest) {
            count += usize::from(matches!(event, Event::Exec(_) | Event::Reject(_)));
        }
        count
    }

    /// Until the order is reported as canceled.
    pub fn wait_for_canceled(&mut self, id: ClOrdId) {
        self.wait_for(id, &[OrdStatus::Canceled]);
    }

    /// Until the order is reported in one of these states.
    pub fn wait_for(&mut self, id: ClOrdId, states: &[OrdStatus]) {
        let since = Instant::now();
        loop {
            assert!(since.elapsed() < DEADLINE, "not {states:?}");
            if let Some(Event::Exec(report)) = self.poll(Duration::from_millis(100))
                && report.cl_ord_id.get() == id.0
                && states.iter().any(|state| report.ord_status == state.raw())
            {
                return;
            }
        }
    }

    /// Sends orders until one is accepted; why the others were not.
    pub fn trade(&mut self, tif: Tif) -> (ClOrdId, Vec<Reason>) {
        let (since, mut refused) = (Instant::now(), Vec::new());
        loop {
            let id = self.send(tif);
            match self.answer(id) {
                None => return (id, refused),
                Some(reason) => refused.push(reason),
            }
            assert!(since.elapsed() < DEADLINE, "{refused:?}");
        }
    }

    /// The first word on an order: `None` when it is accepted.
    pub fn answer(&mut self, id: ClOrdId) -> Option<Reason> {
        let since = Instant::now();
        loop {
            assert!(since.elapsed() < DEADLINE, "no answer");
            match self.poll(Duration::from_millis(100)) {
                Some(Event::Reject(reject)) if reject.cl_ord_id.get() == id.0 => {
                    return Some(Reason::from_raw(reject.reason.get()).expect("known"));
                }
                Some(Event::Exec(report)) if report.cl_ord_id.get() == id.0 => return None,
                _ => {}
            }
        }
    }
}
