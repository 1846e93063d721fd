//! The served venue: requests over sockets, fencing, cursors, faults, market data, restart.

use crate::arbitrary::{spoiled, strokes};
use crate::capture::capture_path;
use crate::script::instruments;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tradecore::market_data::player::Pace;
use tradecore::venue::config::{CaptureConfig, FaultConfig, InstrumentConfig};
use tradecore::venue::log::log_path;
use tradecore::venue::{ExchangeConfig, Server, VenueConfig, VenueError, read_log};
use tradecore_protocol::fields::{Px, Qty};

struct Venue {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<(), VenueError>>>,
}

impl Venue {
    fn start(config: &VenueConfig) -> Self {
        let server = Server::bind(config).unwrap();
        let (address, stop) = (server.tcp_addresses()[0], Arc::new(AtomicBool::new(false)));
        let seen = Arc::clone(&stop);
        let thread = Some(std::thread::spawn(move || server.run(&seen)));
        Self { address, stop, thread }
    }

    fn connect(&self) -> Client<TcpStream> {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        // Only a broken venue makes a test wait this long.
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Client { writer: stream.try_clone().unwrap(), reader: BufReader::new(stream), req: 0 }
    }

    fn hello(&self, epoch: u64, resume_from: u64) -> Client<TcpStream> {
        let mut client = self.connect();
        let hello = json!({"client":"gw","epoch":epoch,"resume_from":resume_from});
        assert!(client.ask("hello", &hello)["ok"].is_object());
        client
    }
}

impl Drop for Venue {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let result = self.thread.take().unwrap().join();
        if !std::thread::panicking() {
            result.unwrap().unwrap();
        }
    }
}

struct Client<S> {
    writer: S,
    reader: BufReader<S>,
    req: u64,
}

impl<S: Write + std::io::Read> Client<S> {
    fn send(&mut self, operation: &str, content: &Value) -> u64 {
        self.req += 1;
        let line = json!({"req": self.req, operation: content}).to_string() + "\n";
        // The venue may have closed the connection on purpose.
        let _closed = self.writer.write_all(line.as_bytes());
        self.req
    }

    /// The next line; `None` at the end of the connection.
    fn next(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(serde_json::from_str(&line).unwrap()),
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(e) => panic!("{e}"),
        }
    }

    /// The next line, or `None` when the connection ended before it was whole.
    fn next_whole(&mut self) -> Option<Value> {
        let mut line = String::new();
        let read = self.reader.read_line(&mut line);
        read.ok().filter(|_| line.ends_with('\n')).map(|_| serde_json::from_str(&line).unwrap())
    }

    /// Sends, and skips to the reply.
    fn ask(&mut self, operation: &str, content: &Value) -> Value {
        let req = self.send(operation, content);
        loop {
            let message = self.next().expect("a reply");
            if message["req"] == json!(req) {
                return message;
            }
        }
    }

    fn next_event(&mut self) -> Value {
        loop {
            let message = self.next().expect("an event");
            if message["event"].is_object() {
                return message["event"].clone();
            }
        }
    }
}

fn config(dir: &Path) -> VenueConfig {
    VenueConfig {
        i_accept_anyone_on_a_network: false,
        listen: vec!["127.0.0.1:0".to_owned()],
        log_dir: dir.to_path_buf(),
        log_sync: false,
        connections_max: 16,
        faults: FaultConfig::default(),
        capture: None,
        exchange: ExchangeConfig::new(instruments()),
    }
}

fn order(id: &str, side: &str, px: &str, qty: &str) -> Value {
    json!({"client_order_id":id,"symbol":"X","side":side,"type":"limit","tif":"gtc","px":px,"qty":qty})
}

#[test]
fn a_conversation_has_the_documented_shape() {
    let dir = tempfile::tempdir().unwrap();
    let venue = Venue::start(&config(dir.path()));
    let mut gw = venue.hello(1, 1);
    assert_eq!(gw.ask("submit", &order("A", "buy", "100", "2"))["ok"], json!({"venue_order_id":1}));
    let event = gw.next_event();
    assert_eq!((&event["event_seq"], &event["type"], &event["order"]["px"]), (&json!(1), &json!("new"), &json!("100")));
    let again = gw.ask("submit", &order("A", "buy", "100", "2"));
    assert_eq!(again["error"]["code"], json!("duplicate_client_order_id"));
    assert_eq!(gw.ask("submit", &order("B", "sell", "100", "0.5"))["ok"], json!({"venue_order_id":2}));
    let types: Vec<Value> = (0..3).map(|_| gw.next_event()["type"].clone()).collect();
    assert_eq!(types, ["new", "trade", "trade"]);
    let replace = json!({"client_order_id":"A","request_id":"R1","px":"100.5","qty":"1.5"});
    assert_eq!(gw.ask("replace", &replace)["ok"], json!({}));
    let event = gw.next_event();
    assert_eq!(
        (&event["type"], &event["leaves_qty"], &event["request_id"]),
        (&json!("replaced"), &json!("1"), &json!("R1"))
    );
    let queried = gw.ask("query", &json!({"client_order_id":"A"}))["ok"].clone();
    assert_eq!(queried["order"]["status"], json!("partially_filled"));
    assert_eq!(queried["last_event_seq"], event["event_seq"], "what it tells of");
    assert_eq!(queried["order"]["fills"][0]["qty"], json!("0.5"));
    let open = gw.ask("open_orders", &json!({}))["ok"].clone();
    assert_eq!((open["orders"].as_array().unwrap().len(), &open["more"]), (1, &json!(false)));
    assert_eq!(gw.ask("cancel", &json!({"client_order_id":"A","request_id":"C1"}))["ok"], json!({}));
    let event = gw.next_event();
    assert_eq!(
        (&event["type"], &event["reason"], &event["request_id"]),
        (&json!("canceled"), &json!("requested"), &json!("C1"))
    );
    assert_eq!(gw.ask("query", &json!({"client_order_id":"Z"}))["error"]["code"], json!("unknown_order"));
    assert!(gw.ask("ping", &json!({}))["ok"]["venue_time_ns"].is_u64());
    let moved = gw.ask("events", &json!({"from":2}));
    assert_eq!(moved["ok"]["last_event_seq"], json!(6));
    let seqs: Vec<u64> = (0..5).map(|_| gw.next_event()["event_seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, [2, 3, 4, 5, 6]);
}

#[test]
fn malformed_and_unidentified_requests_get_their_codes_and_the_connection_lives() {
    let dir = tempfile::tempdir().unwrap();
    let venue = Venue::start(&config(dir.path()));
    let mut gw = venue.connect();
    assert_eq!(gw.ask("submit", &order("A", "buy", "100", "2"))["error"]["code"], json!("not_identified"));
    assert_eq!(gw.ask("sumbit", &json!({}))["error"]["code"], json!("malformed"));
    gw.writer.write_all(b"what?\n").unwrap();
    assert_eq!(gw.next().unwrap()["error"]["code"], json!("malformed"));
    let ahead = json!({"client":"gw","epoch":1,"resume_from":2});
    assert_eq!(gw.ask("hello", &ahead)["error"]["code"], json!("cursor_ahead"));
    assert!(gw.ask("hello", &json!({"client":"gw","epoch":1}))["ok"].is_object());
    let id = "x".repeat(65);
    assert_eq!(gw.ask("submit", &order(&id, "buy", "100", "2"))["error"]["code"], json!("malformed"));
    gw.writer.write_all(&vec![b'x'; 40_000]).unwrap();
    assert_eq!(gw.next().unwrap()["error"]["code"], json!("malformed"));
    assert_eq!(gw.next(), None, "a line without end ends the connection");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn arbitrary_bytes_on_a_connection_are_answered_and_leave_the_venue_as_it_was(
        spoilt in proptest::collection::vec((strokes(), 0_usize..9, any::<bool>()), 1..20),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let venue = Venue::start(&config(dir.path()));
        let requests = [
            ("hello", json!({"client":"gw","epoch":1,"resume_from":1})),
            ("submit", order("A", "buy", "100", "2")),
            ("cancel", json!({"client_order_id":"A","request_id":"C1"})),
            ("replace", json!({"client_order_id":"A","request_id":"R1","px":"100.5","qty":"1.5"})),
            ("query", json!({"client_order_id":"A","fills_after":0})),
            ("open_orders", json!({"after":0})),
            ("events", json!({"from":1})),
            ("subscribe_quotes", json!({})),
            ("ping", json!({})),
        ];
        for (strokes, nth, is_inserted) in &spoilt {
            let mut gw = venue.hello(1, 1);
            gw.ask("submit", &order("A", "buy", "100", "2"));
            let (operation, content) = &requests[*nth];
            let line = json!({"req": 77, *operation: content}).to_string();
            gw.writer.write_all(&spoiled(line.as_bytes(), strokes, *is_inserted)).unwrap();
            gw.writer.write_all(b"\n").unwrap();
            gw.req = 1_000;
            let answer = gw.ask("ping", &json!({}));
            prop_assert!(answer["ok"]["venue_time_ns"].is_u64(), "{}", answer);
        }
    }
}

#[test]
fn a_new_hello_fences_older_connections_and_what_they_had_not_had_read() {
    let dir = tempfile::tempdir().unwrap();
    let venue = Venue::start(&config(dir.path()));
    let mut old = venue.hello(1, 1);
    assert!(old.ask("submit", &order("A", "buy", "100", "1"))["ok"].is_object());
    let mut new = venue.hello(2, 1);
    // From here on nothing that the old connection sends may be executed.
    old.send("submit", &order("B", "buy", "100", "1"));
    while old.next().is_some() {}
    assert_eq!(new.ask("query", &json!({"client_order_id":"B"}))["error"]["code"], json!("unknown_order"));
    assert_eq!(new.ask("query", &json!({"client_order_id":"A"}))["ok"]["order"]["status"], json!("new"));
    let mut stale = venue.connect();
    assert_eq!(stale.ask("hello", &json!({"client":"gw","epoch":1}))["error"]["code"], json!("fenced"));
    assert!(new.ask("ping", &json!({}))["ok"].is_object(), "a refused hello fences nobody");
    let mut other = venue.connect();
    assert!(other.ask("hello", &json!({"client":"other","epoch":1}))["ok"].is_object());
    assert!(new.ask("ping", &json!({}))["ok"].is_object(), "another client fences nobody");
}

#[test]
fn a_restarted_venue_resumes_streams_and_knows_every_order() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = venue_events(dir.path(), |gw| {
        gw.ask("submit", &order("A", "buy", "100", "1"));
        gw.ask("submit", &order("B", "sell", "100", "0.4"));
    });
    let second = venue_events(dir.path(), |gw| {
        assert_eq!(
            gw.ask("submit", &order("A", "buy", "100", "1"))["error"]["code"],
            json!("duplicate_client_order_id")
        );
        assert_eq!(gw.ask("submit", &order("C", "sell", "100", "0.6"))["ok"], json!({"venue_order_id":3}));
    });
    assert_eq!(second[..first.len()], first[..], "what was told stays true");
    first = second;
    let seqs: Vec<u64> = first.iter().map(|e| e["event_seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
    let orders = read_log(&log_path(dir.path())).unwrap();
    let shown: Vec<(String, i64, u32)> =
        orders.iter().map(|o| (o.client_order_id.to_string(), o.cum_qty.0, o.submissions)).collect();
    let tenth = 100_000_000;
    assert_eq!(
        shown,
        [("A".to_owned(), 10 * tenth, 2), ("B".to_owned(), 4 * tenth, 1), ("C".to_owned(), 6 * tenth, 1)]
    );
}

/// Starts a venue on `dir`, runs `act`, and returns every event from the first.
fn venue_events(dir: &Path, act: impl FnOnce(&mut Client<TcpStream>)) -> Vec<Value> {
    let venue = Venue::start(&config(dir));
    let mut gw = venue.connect();
    assert!(gw.ask("hello", &json!({"client":"gw","epoch":1000}))["ok"].is_object());
    act(&mut gw);
    let last = gw.ask("events", &json!({"from":1}))["ok"]["last_event_seq"].as_u64().unwrap();
    (0..last).map(|_| gw.next_event()).collect()
}

/// The child of the test below: serves until it is killed.
#[test]
fn child_that_serves_until_killed() {
    let Some(dir) = std::env::var_os("TRADECORE_TEST_VENUE_DIR") else {
        return;
    };
    let server = Server::bind(&config(Path::new(&dir))).unwrap();
    println!("\nserving {}", server.tcp_addresses()[0]);
    server.run(&AtomicBool::new(false)).unwrap();
}

#[test]
fn a_venue_killed_at_any_moment_has_logged_all_that_it_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut told: Vec<Value> = Vec::new();
    for round in 0..5 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "server::child_that_serves_until_killed", "--nocapture"])
            .env("TRADECORE_TEST_VENUE_DIR", dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines.find_map(|line| line.unwrap().strip_prefix("serving ").map(str::to_owned)).unwrap();
        let stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut gw = Client { writer: stream.try_clone().unwrap(), reader: BufReader::new(stream), req: 0 };
        let from = told.len() as u64 + 1;
        assert!(gw.ask("hello", &json!({"client":"gw","epoch":round,"resume_from":from}))["ok"].is_object());
        for n in 0..200 {
            gw.send("submit", &order(&format!("O{round}-{n}"), ["buy", "sell"][n % 2], "100", "1"));
        }
        // The kill falls somewhere into the answers.
        let mut replies = 0;
        while replies < 20 * (round + 1) {
            let message = gw.next().unwrap();
            replies += u64::from(message["ok"].is_object());
            told.extend(message.get("event").cloned());
        }
        child.kill().unwrap();
        child.wait().unwrap();
        while let Some(message) = gw.next_whole() {
            told.extend(message.get("event").cloned());
        }
    }
    let all = venue_events(dir.path(), |_| {});
    assert!(all.len() >= told.len());
    assert_eq!(all[..told.len()], told[..]);
}

#[test]
fn a_flood_with_fast_market_data_loses_no_reply_and_no_event() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.exchange.instruments.push(InstrumentConfig {
        symbol: "BTCUSDT".into(),
        tick_size: Px(10_000_000),
        lot_size: Qty(10_000),
    });
    let paths = vec![capture_path("btcusdt.gz")];
    config.capture = Some(CaptureConfig { paths, speed: Pace::AsFast, repeat: true });
    let venue = Venue::start(&config);
    let mut gw = venue.hello(1, 1);
    gw.send("subscribe_quotes", &json!({}));
    let count = 3000;
    let mut flood = Client {
        writer: gw.writer.try_clone().unwrap(),
        reader: BufReader::new(gw.writer.try_clone().unwrap()),
        req: gw.req,
    };
    let writer = std::thread::spawn(move || {
        for n in 0..count {
            flood.send("submit", &order(&format!("O{n}"), "buy", "100", "1"));
        }
    });
    let (mut replies, mut events, mut quote_ts) = (2_u64, 0_u64, 0);
    while replies < count + 2 || events < count {
        let message = gw.next().unwrap();
        if let Some(req) = message["req"].as_u64().filter(|req| *req > 2) {
            replies += 1;
            assert_eq!(req, replies);
        } else if let Some(seq) = message["event"]["event_seq"].as_u64() {
            events += 1;
            assert_eq!(seq, events);
        } else if let Some(ts_ns) = message["quote"]["ts_ns"].as_u64() {
            assert!(ts_ns >= quote_ts);
            quote_ts = ts_ns;
        }
    }
    writer.join().unwrap();
    assert!(quote_ts > 0);
}

#[test]
fn each_fault_does_what_it_says() {
    // (rates, executed, connection lives)
    let always = 1_000_000;
    let cases = [
        ("lost reply", FaultConfig { lost_reply_ppm: always, ..FaultConfig::default() }, true, true),
        ("dropped before", FaultConfig { drop_before_ppm: always, ..FaultConfig::default() }, false, false),
        ("dropped after", FaultConfig { drop_after_ppm: always, ..FaultConfig::default() }, true, false),
    ];
    for (name, faults, executed, lives) in cases {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path());
        config.faults = faults;
        let venue = Venue::start(&config);
        let mut gw = venue.hello(1, 1);
        gw.send("submit", &order("A", "buy", "100", "1"));
        let next = gw.next();
        assert_eq!(next.is_some(), lives, "{name}");
        if let Some(message) = next {
            assert_eq!(message["event"]["type"], json!("new"), "{name}: the event, no reply");
        }
        let orders = read_log(&log_path(dir.path())).unwrap();
        assert_eq!(orders.len(), usize::from(executed), "{name}");
    }
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.faults.duplicate_event_ppm = always;
    let venue = Venue::start(&config);
    let mut gw = venue.hello(1, 1);
    gw.send("submit", &order("A", "buy", "100", "1"));
    let (one, two) = (gw.next_event(), gw.next_event());
    assert_eq!(one, two, "the same event, told twice");
}

#[test]
fn at_partial_fault_rates_every_order_is_resolved_by_asking_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    let rate = 100_000;
    config.faults =
        FaultConfig { lost_reply_ppm: 0, drop_before_ppm: rate, drop_after_ppm: rate, duplicate_event_ppm: rate };
    let venue = Venue::start(&config);
    let mut gw = venue.hello(1, 1);
    let mut epoch = 1;
    for n in 0..100 {
        let content = order(&format!("O{n}"), "buy", "100", "1");
        loop {
            let req = gw.send("submit", &content);
            let reply = loop {
                match gw.next() {
                    Some(message) if message["req"] == json!(req) => break Some(message),
                    Some(_) => {}
                    None => break None,
                }
            };
            if let Some(reply) = reply {
                let known = reply["error"]["code"] == json!("duplicate_client_order_id");
                assert!(known || reply["ok"].is_object(), "{reply}");
                break;
            }
            epoch += 1;
            gw = venue.hello(epoch, 1);
        }
    }
    let orders = read_log(&log_path(dir.path())).unwrap();
    assert_eq!(orders.len(), 100);
    assert!(orders.iter().all(|o| o.orders_accepted == 1));
    assert!(orders.iter().any(|o| o.submissions > 1), "some were dropped after execution");
    assert!(epoch > 1);
}

#[test]
fn a_capture_is_streamed_conflated_and_traded_against_over_a_unix_socket() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("venue.sock");
    let mut config = config(dir.path());
    config.listen.push(format!("unix:{}", socket.display()));
    config.exchange.instruments =
        vec![InstrumentConfig { symbol: "BTCUSDT".into(), tick_size: Px(10_000_000), lot_size: Qty(10_000) }];
    let paths = vec![capture_path("btcusdt.gz"), capture_path("ethusdt.gz")];
    config.capture = Some(CaptureConfig { paths, speed: Pace::AsFast, repeat: true });
    let _venue = Venue::start(&config);
    let stream = UnixStream::connect(&socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut gw = Client { writer: stream.try_clone().unwrap(), reader: BufReader::new(stream), req: 0 };
    gw.send("hello", &json!({"client":"gw","epoch":1,"resume_from":1}));
    gw.send("subscribe_quotes", &json!({}));
    let (mut quote, mut print) = (None, None);
    while quote.is_none() || print.is_none() {
        let message = gw.next().unwrap();
        quote = quote.or_else(|| message["quote"]["bid"].as_str().map(str::to_owned));
        print = print.or_else(|| message["print"]["px"].as_str().map(str::to_owned));
    }
    assert!(quote.unwrap().starts_with("6"));
    let order = json!({"client_order_id":"A","symbol":"BTCUSDT","side":"buy","type":"limit","tif":"gtc","px":"99999","qty":"0.00001"});
    gw.send("submit", &order);
    let types: Vec<Value> = (0..2).map(|_| gw.next_event()["type"].clone()).collect();
    assert_eq!(types, ["new", "trade"]);
    let announced = std::fs::read_to_string(dir.path().join("listening")).unwrap();
    assert!(announced.lines().nth(1).unwrap().ends_with("venue.sock"));
}

#[test]
fn a_configuration_is_read_strictly_and_checked() {
    let good = json!({
        "listen": ["127.0.0.1:0"], "log_dir": "/tmp/x",
        "exchange": {"seed": 7, "instruments": [{"symbol":"BTCUSDT","tick_size":"0.01","lot_size":"0.00001"}],
                     "fees": {"maker_ppm": 100, "taker_ppm": 200}},
        "faults": {"lost_reply_ppm": 5},
        "capture": {"paths": ["a.gz"], "speed": "10x", "loop": true}
    });
    let config: VenueConfig = serde_json::from_value(good.clone()).unwrap();
    assert_eq!(config.exchange.instruments[0].tick_size, Px(10_000_000));
    assert_eq!(config.capture.unwrap().speed, Pace::Multiple { numerator: 10, denominator: 1 });
    for (pointer, key) in [("", "lisen"), ("/exchange", "sed"), ("/faults", "lost_reply"), ("/capture", "lop")] {
        let mut bad = good.clone();
        bad.pointer_mut(pointer).unwrap()[key] = json!(1);
        assert!(serde_json::from_value::<VenueConfig>(bad).is_err(), "{pointer}/{key}");
    }
    let mut exchange = ExchangeConfig::new(instruments());
    assert_eq!(exchange.check(), Ok(()));
    exchange.instruments.push(instruments()[0].clone());
    assert!(exchange.check().unwrap_err().contains("twice"));
}
